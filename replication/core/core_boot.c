/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How a node that does not lead comes to do so, or not: the creation of a group by nodes that are
 * all blank, and the wait for the primary's silence.
 */
#include "replication/core/core_state.h"

#define BLANK_FRESH_US 2000000u

void core_send_state(struct kvp_core *core, const struct core_peer *peer)
{
    struct kvp_peer_request request;
    core_send_head(core, &request, KVP_OP_STATE, peer->id);
    core_report(core, &request.report);
    core->port.send(core->port.arg, &request);
}

/* A blank disk says nothing about the group: it is made only when every node of the configuration
 * has just said that it is blank, and by the one with the lowest id. */
static bool may_found(const struct kvp_core *core)
{
    for (unsigned i = 0; i < core->peer_count; i++) {
        const struct core_peer *peer = &core->peers[i];
        if (peer->id < core->config.self || !peer->blank_seen ||
            core->now_us - peer->last_contact_us > BLANK_FRESH_US) {
            return false;
        }
    }
    return true;
}

/* The id becomes durable before the arbiter hears of it: a node that finds it again after a crash,
 * and no view, knows that it never served. */
static void found(struct kvp_core *core)
{
    if (core->meta.group_id == 0) {
        core->meta.group_id = core_random(core);
        core_persist(core);
    }
    if (core->meta_durable == core->meta_wanted) {
        core_propose(core, REASON_CREATE, core->config.self, kvp_set_of(core->config.self), 0);
    }
}

void core_outside_tick(struct kvp_core *core)
{
    bool silent = core->now_us - core->heard_primary_us > core->config.grace_us;
    if (!core_leading(core) && (!core->contact || silent) && core->now_us >= core->state_due_us) {
        core->state_due_us = core->now_us + 2 * core->config.heartbeat_us;
        for (unsigned i = 0; i < core->peer_count; i++) {
            core_send_state(core, &core->peers[i]);
        }
    }
    bool founder = core->meta.group_id != 0;
    if (core->meta.view.version == 0 && core->proposal.stage == PROPOSAL_NONE && !core->stopping &&
        core->now_us >= core->propose_after_us && (founder || may_found(core))) {
        found(core);
    }
}

static void note_once(struct kvp_core *core, bool *noted, enum kvp_note note)
{
    if (!*noted) {
        *noted = true;
        core_note(core, note, core->view.primary);
    }
}

/* Why this member would have to become primary, if it may. */
static bool wanted(struct kvp_core *core)
{
    kvp_node_set self = kvp_set_of(core->config.self);
    if (core->view.in_sync == self || core->view.primary == core->config.self) {
        return true; /* alone, or restarted before anybody missed us */
    }
    if (core->promote_asked || core->primary_resigned) {
        return true;
    }
    if (core->now_us - core->heard_primary_us > core_grace(core)) {
        note_once(core, &core->noted_primary_silent, KVP_NOTE_PRIMARY_SILENT);
        return true;
    }
    return false;
}

void core_backup_tick(struct kvp_core *core)
{
    if (core->proposal.stage != PROPOSAL_NONE || core->replacing || core->stopping ||
        core->ask_token || core->now_us < core->propose_after_us || core_disk_doubtful(core) ||
        !wanted(core)) {
        return;
    }
    if (!core_eligible(core)) {
        note_once(core, &core->noted_not_eligible, KVP_NOTE_NOT_ELIGIBLE);
        return;
    }
    if (core->config.policy != KVP_PAIR_NONE && !core_pair_may_promote(core)) {
        note_once(core, &core->noted_waits, KVP_NOTE_WAITS_FOR_PEER);
        return;
    }
    if (!core_identity_may_lead(core)) {
        return;
    }
    kvp_node_set set = core->view.in_sync;
    if (core->view.primary != core->config.self) {
        set &= ~kvp_set_of(core->view.primary);
    }
    core_propose(core, REASON_PROMOTE, core->config.self, set | kvp_set_of(core->config.self), 0);
}
