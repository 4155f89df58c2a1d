/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A primary whose own disk hangs would hold its group for ever. Past the time that a backup's disk
 * is given, it gives its role to a member whose disk works. That needs no write here: an arbiter
 * has the new view durably; in a pair the other one takes the role from a node that has failed.
 * When the disk answers again, the node joins like others.
 */
#include "replication/core/core_state.h"

#include <assert.h>

static bool bequeath_disk_works(const struct kvp_core *core, const struct core_peer *peer)
{
    return peer->behind_us == 0 || core->now_us - peer->behind_us <= core->config.sync_timeout_us;
}

static const struct core_peer *bequeath_heir(const struct kvp_core *core)
{
    const struct core_peer *best = NULL;
    for (unsigned i = 0; i < core->peer_count; i++) {
        const struct core_peer *peer = &core->peers[i];
        if (core_can_take_over(core, peer) && bequeath_disk_works(core, peer) &&
            (best == NULL || peer->match > best->match)) {
            best = peer;
        }
    }
    return best;
}

/* The lead goes to `peer`. This node is out of the new view, so nobody waits for its disk. */
static void bequeath_bequeath(struct kvp_core *core, const struct core_peer *peer)
{
    assert(core_leading(core));
    assert(kvp_set_has(core->view.in_sync, peer->id));
    enum proposal_stage stage = core->proposal.stage;
    if (core->config.policy != KVP_PAIR_NONE || stage == PROPOSAL_GRANTED) {
        /* What was granted binds, and cannot come into force here. */
        KVP_MARK(DISK_FAILS_NODE);
        core_note(core, KVP_NOTE_DISK_GIVEN_UP, peer->id);
        core_failed(core);
        return;
    }
    bool asked = stage >= PROPOSAL_CAS ||
                 (stage != PROPOSAL_NONE && core->proposal.reason == REASON_BEQUEATH);
    if (asked || core->now_us < core->propose_after_us) {
        return;
    }
    KVP_MARK(DISK_GIVEN_UP);
    core_note(core, KVP_NOTE_DISK_GIVEN_UP, peer->id);
    core_proposal_abort(core);
    kvp_node_set self = KVP_MUTANT(KEEP_HUNG_MEMBER) ? 0 : kvp_set_of(core->config.self);
    core_propose(core, REASON_BEQUEATH, peer->id, core->view.in_sync & ~self, 0);
}

void core_disk_lead_tick(struct kvp_core *core)
{
    if (!core_leading(core) || !core_disk_hangs(core, core->now_us) || KVP_MUTANT(UNWATCHED_DISK)) {
        return;
    }
    const struct core_peer *peer = bequeath_heir(core);
    if (peer != NULL) {
        core->disk_no_heir = false;
        bequeath_bequeath(core, peer);
    } else if (!core->disk_no_heir && core->proposal.stage == PROPOSAL_NONE) {
        KVP_MARK(DISK_NO_HEIR);
        core->disk_no_heir = true;
        core_note(core, KVP_NOTE_DISK_NO_HEIR, 0);
    }
}
