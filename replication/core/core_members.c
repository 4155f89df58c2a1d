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

bool core_members_out(const struct kvp_core *core)
{
    return core->config.removed && !kvp_set_has(core->view.in_sync, core->config.self);
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

bool kvp_core_counts(const struct kvp_core *core, uint8_t id)
{
    return kvp_set_has(members_counting(core), id);
}
