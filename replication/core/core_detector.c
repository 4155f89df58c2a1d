/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The failure detector of a member that does not lead: has the primary been silent for longer than
 * the grace, and may this node ask to lead in its place?
 */
#include "replication/core/core_state.h"

#include <assert.h>

/* Why this member would have to become primary, if it may. */
static bool detector_wanted(struct kvp_core *core)
{
    kvp_node_set self = kvp_set_of(core->config.self);
    if (core->view.in_sync == self || core->view.primary == core->config.self) {
        return true; /* alone, or restarted before anybody missed us */
    }
    if (core->promote_asked || core->primary_resigned) {
        return true;
    }
    if (core->now_us - core->heard_primary_us > core_grace(core)) {
        core_note_once(core, &core->noted_primary_silent, KVP_NOTE_PRIMARY_SILENT,
                       core->view.primary);
        return true;
    }
    return false;
}

void core_backup_tick(struct kvp_core *core)
{
    if (core->proposal.stage != PROPOSAL_NONE || core->replacing || core->stopping ||
        core->ask_token != NULL || core->now_us < core->propose_after_us ||
        core_disk_is_suspect(core) || !detector_wanted(core)) {
        return;
    }
    if (!core_eligible(core)) {
        core_note_once(core, &core->noted_not_eligible, KVP_NOTE_NOT_ELIGIBLE, core->view.primary);
        return;
    }
    if (core->config.policy != KVP_PAIR_NONE && !core_pair_may_promote(core)) {
        core_note_once(core, &core->noted_waits, KVP_NOTE_WAITS_FOR_PEER, core->view.primary);
        return;
    }
    if (!core_identity_may_lead(core)) {
        return;
    }
    kvp_node_set set = core->view.in_sync;
    if (core->view.primary != core->config.self) {
        set &= ~kvp_set_of(core->view.primary);
    }
    assert(core_eligible(core) && !core_leading(core));
    core_propose(core, REASON_PROMOTE, core->config.self, set | kvp_set_of(core->config.self), 0);
}
