/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The view in force: how this node comes to lead in one, follows in one, or takes part in none.
 * What that means for peers, requests that wait, and operators follows at the end of the event
 * (core_settle.c).
 */
#include "replication/core/core_state.h"

#include <assert.h>

#define BLANK_JUMP_MAX ((uint64_t)1 << 46) /* of a node that knows no view yet */

bool core_view_in_reach(const struct kvp_core *core, const struct kvp_view *view)
{
    const struct kvp_view *known = &core->meta.view;
    bool paired = core->config.policy != KVP_PAIR_NONE;
    uint64_t jump = paired ? KVP_VIEW_JUMP_MAX << 6 : KVP_VIEW_JUMP_MAX;
    if (known->version == 0) {
        jump = BLANK_JUMP_MAX;
    }
    if (paired && view->version != view->epoch) {
        return false;
    }
    return view->epoch <= known->epoch + jump && view->version > known->version &&
           view->version <= known->version + jump;
}

/* From here on entries that the other members lack may be acknowledged: what was not committed so
 * far counts as made alone, too. */
void core_note_unreplicated(struct kvp_core *core, const struct kvp_view *view)
{
    if (view->in_sync == kvp_set_of(core->config.self) && core->meta.unreplicated_from == 0 &&
        !KVP_MUTANT(ALONE_UNNOTED)) {
        core->meta.unreplicated_from = core->commit + 1;
    }
}

static void view_step_down(struct kvp_core *core)
{
    assert(core->lead_epoch != 0 && core->lead_epoch <= core->view.epoch);
    core->lead_epoch = 0;
    core->draining = false;
    core->barred = 0;
    /* The log may have parted from the other's: what that knew of it holds no more. */
    core->incarnation++;
    for (unsigned i = 0; i < core->peer_count; i++) {
        core_snapshot_end(core, &core->peers[i]);
        core->peers[i].caught_up = false;
    }
}

void core_view_retire(struct kvp_core *core)
{
    if (core_leading(core)) {
        view_step_down(core);
    }
    core_set_role(core, KVP_ROLE_OUTSIDE);
    assert(core->lead_epoch == 0);
}

void core_answer_leavers(struct kvp_core *core)
{
    for (unsigned i = 0; i < core->peer_count; i++) {
        struct core_peer *peer = &core->peers[i];
        bool member = kvp_set_has(core->view.in_sync, peer->id);
        if (peer->leave_token != NULL && (!member || !core_leading(core))) {
            core_answer(core, peer->leave_token, KVP_OP_LEAVE, 0,
                        member ? KVP_NOT_PRIMARY : KVP_OK);
            peer->leave_token = NULL;
        }
    }
}

/* What is known of the peers is of another time: core_lead() begins anew with them. */
static void view_elect(struct kvp_core *core)
{
    assert(core->view.primary == core->config.self);
    assert(core->lead_epoch == 0);
    core->lead_epoch = core->view.epoch;
    core->draining = false;
    core_set_role(core, KVP_ROLE_ELECT);
    core->due |= CORE_DUE_ELECTED;
}

/*
 * Puts the view in force, whatever this node was before. It may come to that from every stage of a
 * proposal, from a peer's word and from the register, also while this node leads or has just begun
 * to. So nothing that follows is done here but what the next lines of the same event rely on: the
 * view, the role, and that no proposal of the view before is under way. A primary that stays one
 * keeps what it knows of its peers; one that begins gets CORE_DUE_ELECTED; a node that stops
 * leading forgets at once which snapshots it sends, since their peers may soon hear another
 * primary.
 */
static void view_install(struct kvp_core *core, const struct kvp_view *view, bool may_lead)
{
    assert(view->epoch == 0 || kvp_set_has(view->in_sync, view->primary));
    assert(view->epoch <= core->meta.view.epoch);
    assert(core->role < KVP_ROLE_FAILED);
    bool led = core_leading(core);
    if (KVP_MUTANT(COMMIT_FALLS) && !led) {
        core->commit = core->applied;
        (void)kvp_core_log_point(&core->log, core->commit, &core->commit_point);
    }
    core->proposal.stage = PROPOSAL_NONE;
    core->view = *view;
    core_members_meet(core); /* also the primary, if no list tells of it */
    core->heard_primary_us = core->now_us;
    core->primary_resigned = false;
    core->noted_not_eligible = core->noted_waits = core->noted_primary_silent = false;
    if (may_lead && view->primary == core->config.self && (led || core_eligible(core))) {
        if (!led) {
            view_elect(core);
        }
    } else {
        if (led) {
            view_step_down(core);
        }
        core_set_role(core, core_follower_role(core));
    }
    core->due |= CORE_DUE_VIEW;
    core->port.changed(core->port.arg);
}

void core_install(struct kvp_core *core, const struct kvp_view *view)
{
    view_install(core, view, true);
}

void core_follow_view(struct kvp_core *core, const struct kvp_view *view)
{
    view_install(core, view, false);
    assert(!core_leading(core));
}
