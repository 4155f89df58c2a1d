/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which nodes this one deals with. The nodes of the group are told from outside (kvp_core_new(),
 * kvp_core_set_members()); the members of a view are the register's. Whoever counts in a view is a
 * peer, also if nothing else tells of him: he is waited for, found silent, and taken out of the
 * view by the register, as any other. So no list of nodes, however wrong, makes this node
 * acknowledge what a member lacks that may be given the lead. Of the list depends who may be taken
 * in: a node that is not in it, or is about to leave, never is.
 */
#include "replication/core/core_state.h"

#include <assert.h>
#include <string.h>

static kvp_node_set members_counting(const struct kvp_core *core)
{
    kvp_node_set set = core->view.in_sync | core->meta.view.in_sync;
    if (core->proposal.stage != PROPOSAL_NONE) {
        set |= core->proposal.view.in_sync;
    }
    return set & ~kvp_set_of(core->config.self);
}

bool core_members_has(const struct kvp_core *core, unsigned id)
{
    return kvp_set_has(core->listed | members_counting(core), id);
}

bool core_members_may_count(const struct kvp_core *core, unsigned id)
{
    return kvp_set_has(core->listed, id) && id != core->barred;
}

unsigned core_members_wanted(const struct kvp_core *core)
{
    unsigned wanted = core->config.sync_replicas;
    return wanted != 0 ? wanted : kvp_set_count(core->listed) + 1;
}

static void members_add(struct kvp_core *core, unsigned id)
{
    if (core->peer_count < CORE_PEERS_MAX) { /* else it counts as silent */
        core->peers[core->peer_count++] = (struct core_peer){.id = (uint8_t)id};
        core->known |= kvp_set_of(id);
    }
}

void core_members_meet(struct kvp_core *core)
{
    kvp_node_set wanted = core->listed | members_counting(core);
    for (unsigned id = 1; id <= KVP_NODE_ID_MAX; id++) {
        if (kvp_set_has(wanted & ~core->known, id)) {
            members_add(core, id);
        }
    }
}

/* The disk answers by the peer's id. */
static bool members_is_busy(const struct core_peer *peer)
{
    return peer->reading || peer->snapshot.opening || peer->snapshot.reading ||
           peer->leave_token != NULL;
}

void core_members_tick(struct kvp_core *core)
{
    for (unsigned i = core->peer_count; i > 0; i--) {
        struct core_peer *peer = &core->peers[i - 1];
        if (core_members_has(core, peer->id) || members_is_busy(peer)) {
            continue;
        }
        core_snapshot_end(core, peer);
        core->known &= ~kvp_set_of(peer->id);
        memmove(peer, peer + 1, (core->peer_count - i) * sizeof(*peer));
        core->peer_count--;
    }
}

/* A peer that is new to a primary is asked where its log ends, as all were when it began to lead.
 */
static void members_begin(struct kvp_core *core, kvp_node_set fresh)
{
    for (unsigned i = 0; i < core->peer_count; i++) {
        struct core_peer *peer = &core->peers[i];
        if (kvp_set_has(fresh, peer->id)) {
            peer->match_us = core->now_us;
            core_probe_restart(core, peer);
        }
    }
}

void kvp_core_set_members(struct kvp_core *core, uint64_t now_us, kvp_node_set nodes)
{
    core_enter(core, now_us);
    kvp_node_set known = core->known;
    core->config.nodes = nodes | kvp_set_of(core->config.self);
    core->listed = nodes & ~kvp_set_of(core->config.self);
    core_members_tick(core);
    core_members_meet(core);
    members_begin(core, core->known & ~known);
    core->due |= CORE_DUE_TICK;
    core_settle(core);
}

void kvp_core_bar(struct kvp_core *core, uint64_t now_us, uint8_t id)
{
    core_enter(core, now_us);
    if (core_leading(core)) {
        core->barred = id;
        bool adding = core->proposal.reason == REASON_ADD && core->proposal.subject == id &&
                      core->proposal.stage < PROPOSAL_CAS;
        if (adding && core->proposal.stage != PROPOSAL_NONE) {
            core_proposal_abort(core);
        }
        core->due |= CORE_DUE_TICK;
    }
    core_settle(core);
}

bool kvp_core_counts(const struct kvp_core *core, uint8_t id)
{
    return kvp_set_has(members_counting(core), id);
}
