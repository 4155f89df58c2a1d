/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The creation of a group, by nodes that are all blank, or by one whose store was made of a backup;
 * and how a node that does not lead keeps in touch with the others.
 */
#include "replication/core/core_state.h"

#include <assert.h>

#define BLANK_FRESH_US 2000000u

/* A blank disk says nothing about the group: it is made only when every node of the configuration
 * has just said that it is blank, and by the one with the lowest id. A node whose damaged store
 * was set aside is empty, and not blank. */
static bool boot_may_found(const struct kvp_core *core)
{
    if (core->repaired || core_members_out(core)) {
        return false;
    }
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
static void boot_found(struct kvp_core *core)
{
    assert(core->meta.view.version == 0 && core->proposal.stage == PROPOSAL_NONE);
    if (core->meta.group_id == 0) {
        core->meta.group_id = core_random(core);
        core_persist(core);
    }
    if (core->meta_durable == core->meta_wanted) {
        core_propose(core, REASON_CREATE, core->config.self, kvp_set_of(core->config.self), 0);
    }
}

/* A store that was made of a backup needs nobody's consent. But while nodes of the group that it
 * was made of are there, under the addresses of this one's, two groups would go by one name. */
static bool boot_may_restore(const struct kvp_core *core)
{
    uint64_t heard_us = core->stranger_us > core->started_us ? core->stranger_us : core->started_us;
    return !core_restored(core) || core->peer_count == 0 ||
           core->now_us - heard_us > BLANK_FRESH_US || KVP_MUTANT(RESTORE_UNAWARE);
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
        core->now_us >= core->propose_after_us && (founder || boot_may_found(core)) &&
        boot_may_restore(core)) {
        boot_found(core);
    }
}
