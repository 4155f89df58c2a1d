/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Views that a peer tells, and what an arbiter shows.
 *
 * A peer's word may make this node follow or step down; it never makes it lead. A node leads,
 * counts a view for dropping a member and acknowledges alone only in a view that its own
 * compare-and-set made or that its arbiter has shown it. Whoever tells it that it is the primary
 * makes it look at the register.
 *
 * In pair mode the view says who holds the register, so that a view which is believed wrongly is a
 * register that has split. A request changes nothing there: it makes this node ask the other one,
 * at the address that is configured, and only the answer counts. It is the holder's word, durable
 * there (core_pair.c), or this node's own grant. A node that has just started does not lead in it
 * before the other one has settled: behind it there may be one that this node granted before.
 *
 * With an arbiter, why following is harmless: who follows acknowledges nothing to clients and asks
 * the arbiter before it leads; the register compares with what it has. Why it does not last: a view
 * that was only told is replaced by the one that the register shows to a question asked *after* it
 * was told. Registers do not go back: had the told one been granted, that answer would show it or a
 * later one. A view that the register itself has shown once (meta.shown_version) is never taken
 * back: then the register did go back, and an operator has to look at it. Nor does what was made in
 * a view that is taken back just go: if a lost register was made anew from an old directory, it may
 * have been granted after all (core_keep.c). A view that is taken back
 * to is not led in, even if it names this node: it goes the way of every candidate, with an epoch
 * of its own.
 *
 * Numbers: a told epoch may be ahead of the one known by KVP_VIEW_JUMP_MAX changes of view. A node
 * that was away for longer hears the rest from the register. So no word reaches the end of the
 * numbers.
 */
#include "replication/core/core_state.h"

#include <assert.h>

/* Is it what this node has asked for itself, or names it the primary? That is asked where it is
 * decided. */
static bool told_about_itself(const struct kvp_core *core, const struct kvp_view *view)
{
    const struct core_proposal *proposal = &core->proposal;
    return view->primary == core->config.self ||
           (core->config.policy == KVP_PAIR_NONE && proposal->stage == PROPOSAL_CAS &&
            kvp_view_equal(view, &proposal->view));
}

static void told_verify(struct kvp_core *core, const struct core_peer *peer)
{
    if (core->config.policy == KVP_PAIR_NONE) {
        core_look_soon(core);
        if (core->proposal.stage == PROPOSAL_CAS) {
            core->proposal.retry_us = core->now_us;
        }
    } else if (core->now_us >= core->verified_us + core->config.heartbeat_us / 2) {
        core->verified_us = core->now_us;
        core_send_state(core, peer);
    }
}

bool core_told(struct kvp_core *core, const struct core_peer *peer, const struct kvp_view *view,
               bool answered)
{
    bool paired = core_paired(core);
    if (view->epoch <= core->meta.view.epoch) {
        return false;
    }
    if (!core_view_in_reach(core, view)) {
        KVP_MARK(TOLD_TOO_FAR);
        if (!paired) {
            core_look_soon(core);
        }
        return false;
    }
    bool believed = paired ? answered : !told_about_itself(core, view);
    if (!believed && !KVP_MUTANT(TOLD_LEADS)) {
        KVP_MARK(TOLD_TO_LEAD);
        told_verify(core, peer);
        return false;
    }
    if (!core->told) {
        core->told_us = core->now_us;
        core->shown_member_epoch = core->meta.member_epoch;
        core->shown_log_regressed = core->meta.log_regressed;
    }
    core->told = !paired;
    core->told_call_id = core->last_call_id;
    bool newer = core_adopt(core, view);
    if (core->told) {
        core_look_soon(core);
    }
    return newer;
}

/* Nobody granted what was told, and what was promised in it does not count. */
static void told_take_back(struct kvp_core *core, const struct kvp_view *view)
{
    assert(!core_paired(core));
    if (core->meta.member_epoch > view->epoch) {
        bool since = core->shown_member_epoch > view->epoch; /* as told to an earlier incarnation */
        core->meta.member_epoch = since ? view->epoch : core->shown_member_epoch;
        core->meta.log_regressed = core->meta.log_regressed || core->shown_log_regressed;
    }
    KVP_MARK(TOLD_TAKEN_BACK);
    core_note(core, KVP_NOTE_VIEW_TAKEN_BACK, core->meta.view.epoch);
    core_proposal_abort(core);
    core_incoming_abort(core);
    core_keep_unsure(core, view);
    core->meta.view = *view;
    core_persist(core);
    core_follow_view(core, view);
    core_drop_later(core, view->epoch);
}

bool core_shown(struct kvp_core *core, const struct kvp_view *view, uint32_t call_id)
{
    assert(!core_paired(core));
    bool asked_since = (int32_t)(call_id - core->told_call_id) > 0;
    bool back = core->told && asked_since && view->version >= core->meta.shown_version;
    if (view->epoch > core->meta.view.epoch) {
        core->told = false;
        core->meta.shown_version = view->version;
        return core_adopt(core, view);
    }
    if (kvp_view_equal(view, &core->meta.view)) {
        core->told = false;
        core->meta.shown_version = view->version; /* durable with the next change */
        return false;
    }
    if (back && !KVP_MUTANT(TOLD_STAYS)) {
        core->told = false;
        core->meta.shown_version = view->version;
        told_take_back(core, view);
    }
    return back;
}
