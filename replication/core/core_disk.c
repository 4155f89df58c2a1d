/* SPDX-License-Identifier: Apache-2.0 */
/*
 * This node's own disk: how long it has owed an answer. A disk that fails says so; one that hangs
 * says nothing, and a primary behind it would hold its group for ever. Past the time that a
 * backup's disk is given, a primary gives its role to a member whose disk works. That needs no
 * write here: an arbiter has the new view durably; in a pair the other one takes the role from a
 * node that has failed. What the disk answers later is an answer like others, and the node joins
 * like others.
 */
#include "replication/core/core_state.h"

void core_disk_asked(struct kvp_core *core, enum core_disk_queue queue)
{
    if (core->disk[queue].jobs++ == 0) {
        core->disk[queue].since_us = core->now_us;
    }
}

/* Jobs of a queue run one after the other: the next one is under way since now. */
void core_disk_answered(struct kvp_core *core, enum core_disk_queue queue)
{
    core->disk[queue].since_us = core->now_us;
    if (core->disk[queue].jobs > 0) {
        core->disk[queue].jobs--;
    }
}

static uint64_t silence(const struct kvp_core *core, enum core_disk_queue queue, uint64_t now_us)
{
    bool owes = core->disk[queue].jobs > 0 && now_us > core->disk[queue].since_us;
    return owes ? now_us - core->disk[queue].since_us : 0;
}

uint64_t core_disk_silence(const struct kvp_core *core, uint64_t now_us)
{
    uint64_t store = silence(core, CORE_DISK_STORE, now_us);
    uint64_t sender = silence(core, CORE_DISK_SENDER, now_us);
    return store > sender ? store : sender;
}

bool core_disk_hangs(const struct kvp_core *core, uint64_t now_us)
{
    return silence(core, CORE_DISK_STORE, now_us) > core->config.sync_timeout_us;
}

/* Long enough under way that nothing should be begun that needs the disk and cannot be taken back.
 */
bool core_disk_doubtful(const struct kvp_core *core)
{
    return silence(core, CORE_DISK_STORE, core->now_us) > core->config.lease_us;
}

/* Said when it is known, and again each time that it has lasted twice as long. */
void core_disk_note(struct kvp_core *core)
{
    uint64_t silent_us = core_disk_silence(core, core->now_us);
    if (core->disk_noted_us != 0 && silent_us < core->disk_noted_us) {
        core->disk_noted_us = 0;
        core_note(core, KVP_NOTE_DISK_ANSWERS, 0);
    }
    uint64_t due_us = core->disk_noted_us ? 2 * core->disk_noted_us : core->config.sync_timeout_us;
    if (silent_us > due_us) {
        core->disk_noted_us = silent_us;
        core_note(core, KVP_NOTE_DISK_SILENT, silent_us / 1000);
    }
}

static bool disk_works(const struct kvp_core *core, const struct core_peer *peer)
{
    return peer->behind_us == 0 || core->now_us - peer->behind_us <= core->config.sync_timeout_us;
}

static const struct core_peer *heir(const struct kvp_core *core)
{
    const struct core_peer *best = NULL;
    for (unsigned i = 0; i < core->peer_count; i++) {
        const struct core_peer *peer = &core->peers[i];
        if (core_can_take_over(core, peer) && disk_works(core, peer) &&
            (!best || peer->match > best->match)) {
            best = peer;
        }
    }
    return best;
}

/* The lead goes to `peer`. This node is out of the new view, so nobody waits for its disk. */
static void bequeath(struct kvp_core *core, const struct core_peer *peer)
{
    enum proposal_stage stage = core->proposal.stage;
    if (core->config.policy != KVP_PAIR_NONE || stage == PROPOSAL_GRANTED) {
        /* What was granted binds, and cannot come into force here. */
        core_note(core, KVP_NOTE_DISK_GIVEN_UP, peer->id);
        core_failed(core);
        return;
    }
    bool asked = stage >= PROPOSAL_CAS ||
                 (stage != PROPOSAL_NONE && core->proposal.reason == REASON_BEQUEATH);
    if (asked || core->now_us < core->propose_after_us) {
        return;
    }
    core_note(core, KVP_NOTE_DISK_GIVEN_UP, peer->id);
    core_proposal_abort(core);
    kvp_node_set self = KVP_MUTANT(KEEP_HUNG_MEMBER) ? 0 : kvp_set_of(core->config.self);
    core_propose(core, REASON_BEQUEATH, peer->id, core->view.in_sync & ~self, 0);
}

void core_disk_lead_tick(struct kvp_core *core)
{
    if (!core_disk_hangs(core, core->now_us) || KVP_MUTANT(UNWATCHED_DISK)) {
        return;
    }
    const struct core_peer *peer = heir(core);
    if (peer) {
        core->disk_no_heir = false;
        bequeath(core, peer);
    } else if (!core->disk_no_heir && core->proposal.stage == PROPOSAL_NONE) {
        core->disk_no_heir = true;
        core_note(core, KVP_NOTE_DISK_NO_HEIR, 0);
    }
}
