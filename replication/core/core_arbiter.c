/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What this node asks of the arbiter that keeps the register, besides a proposal's questions, and
 * what follows from its answers: it may confirm a proposal, show a view that nobody has told yet,
 * or have lost all that it knew.
 */
#include "replication/core/core_state.h"

#include <assert.h>

#define WATCH_PERIOD_US 2000000u

/* ---- the arbiter's answers ---- */

/* Not even our own group id is known there: what we have is not a group yet. Data of a backup are
 * no less worth for that: they wait for another register. */
static void arbiter_forget_founding(struct kvp_core *core)
{
    bool restored = core_restored(core) && !KVP_MUTANT(RESTORE_FORGETS);
    if (core->meta.view.version == 0 && core->meta.group_id != 0 && !restored) {
        core->meta.group_id = 0;
        core_persist(core);
        core_note_once(core, &core->noted_blank_known, KVP_NOTE_BLANK_BUT_KNOWN, 0);
    }
}

static void arbiter_wrong_group(struct kvp_core *core)
{
    bool founding = core->proposal.reason == REASON_CREATE;
    core_note_once(core, &core->noted_foreign, KVP_NOTE_ARBITER_FOREIGN, 0);
    core_proposal_give_up(core);
    if (founding) {
        arbiter_forget_founding(core);
    }
}

static void arbiter_looked(struct kvp_core *core, const struct kvp_arbiter_answer *answer)
{
    assert(core->proposal.stage == PROPOSAL_LOOK);
    struct core_proposal *proposal = &core->proposal;
    bool creating = proposal->reason == REASON_CREATE;
    switch (answer->status) {
    case KVP_OK:
        if (answer->group_id != core->meta.group_id) {
            arbiter_wrong_group(core);
        } else if (creating && kvp_view_equal(&answer->view, &proposal->view)) {
            /* By an earlier incarnation of ours, which never came to serve. */
            core_proposal_granted(core);
        } else if (core_shown(core, &answer->view, answer->id)) {
            KVP_MARK(LOOK_OUTDATED);
            return;
        } else if (kvp_view_equal(&answer->view, &core->meta.view)) {
            core_proposal_go_on(core);
        } else {
            /* The register has gone back: an operator must look at it. */
            core_note_once(core, &core->noted_older, KVP_NOTE_ARBITER_OLDER, 0);
            core_proposal_give_up(core);
        }
        break;
    case KVP_NOT_SEEDED:
        if (creating) {
            core_proposal_fence(core);
        } else {
            core_note_once(core, &core->noted_unknown, KVP_NOTE_ARBITER_UNKNOWN, 0);
            core_proposal_give_up(core);
        }
        break;
    case KVP_WRONG_GROUP:
        arbiter_wrong_group(core);
        break;
    default:
        break; /* asked again */
    }
}

static void arbiter_compared(struct kvp_core *core, kvp_status status, const struct kvp_view *view)
{
    assert(core->proposal.stage == PROPOSAL_CAS);
    switch (status) {
    case KVP_OK:
        if (core->proposal.reason == REASON_FORCE && view->epoch == core->proposal.view.epoch) {
            core->proposal.view.version = view->version; /* the register's versions go on */
        }
        core_proposal_granted(core);
        break;
    case KVP_STALE_VIEW:
    case KVP_REFUSED:
        if (!core_shown(core, view, core->proposal.call_id)) {
            KVP_MARK(VIEW_REFUSED);
            core_proposal_give_up(core);
        } else {
            KVP_MARK(CAS_LOST);
        }
        break;
    case KVP_NOT_SEEDED:
        core_note_once(core, &core->noted_unknown, KVP_NOTE_ARBITER_UNKNOWN, 0);
        core_proposal_give_up(core);
        break;
    case KVP_WRONG_GROUP:
        arbiter_wrong_group(core);
        break;
    default:
        break; /* unknown: asked again */
    }
}

/* ---- the regular look at the register ---- */

void core_watch_tick(struct kvp_core *core)
{
    if (core_paired(core) || core->meta.group_id == 0 || core->now_us < core->watch_us ||
        core_members_out(core)) {
        return;
    }
    if (core->watch_call_id != 0 && core->now_us - core->looked_us >= WATCH_PERIOD_US) {
        core_note_once(core, &core->noted_silent, KVP_NOTE_ARBITER_SILENT, 0);
    }
    core->looked_us = core->now_us;
    core->watch_us = core->now_us + (core->confirmed ? WATCH_PERIOD_US : CORE_ASK_AGAIN_US);
    core->watch_call_id = ++core->last_call_id;
    struct kvp_arbiter_request request = {
        .op = core->claims_unknown ? KVP_ARBITER_GET : KVP_ARBITER_CLAIM,
        .id = core->watch_call_id,
        .group_id = core->meta.group_id,
    };
    core_numbers(core, &request.numbers);
    core->port.arbiter(core->port.arg, &request);
}

/* A register that has lost its state comes back when all members name the same view. While a change
 * of ours may have been granted we name none. */
static void arbiter_seed(struct kvp_core *core)
{
    assert(core->view.version != 0);
    core_note_once(core, &core->noted_unknown, KVP_NOTE_ARBITER_UNKNOWN, 0);
    if (core->proposal.stage >= PROPOSAL_CAS || core->meta_durable != core->meta_wanted ||
        !kvp_set_has(core->view.in_sync, core->config.self)) {
        return;
    }
    KVP_MARK(REGISTER_SEEDED);
    struct kvp_arbiter_request request = {
        .op = KVP_ARBITER_SEED,
        .id = ++core->last_call_id,
        .group_id = core->meta.group_id,
        .view = core->view,
    };
    core->port.arbiter(core->port.arg, &request);
}

/* An answer may be older than the view that this node has made meanwhile, but not twice. */
static void arbiter_note_older(struct kvp_core *core, const struct kvp_view *view)
{
    bool other = view->version == core->meta.view.version && !core->told &&
                 !kvp_view_equal(view, &core->meta.view);
    bool older = view->version < core->meta.shown_version || other;
    if (older && core->shown_older) {
        core_note_once(core, &core->noted_older, KVP_NOTE_ARBITER_OLDER, 0);
        core_keep_unsure(core, view);
    }
    core->shown_older = older;
    core->noted_older = core->noted_older && older;
}

/* A register that has never heard of a store which counted once is not the one that it was. */
static void arbiter_note_unclaimed(struct kvp_core *core, const struct kvp_arbiter_answer *answer)
{
    bool unclaimed = !core->claims_unknown && answer->known == 0;
    if (unclaimed && !core->seen_unclaimed && !core_identity_new(&core->meta)) {
        core->seen_unclaimed = true;
        core_keep_unsure(core, &answer->view);
    }
}

static void arbiter_foreign(struct kvp_core *core)
{
    core_note_once(core, &core->noted_foreign, KVP_NOTE_ARBITER_FOREIGN, 0);
    core_refuse_promote(core, true);
}

static void arbiter_watched(struct kvp_core *core, const struct kvp_arbiter_answer *answer)
{
    assert(answer->id == core->watch_call_id);
    core->watch_call_id = 0;
    switch (answer->status) {
    case KVP_OK:
        core->noted_unknown = false;
        if (answer->group_id != core->meta.group_id) {
            arbiter_foreign(core);
        } else {
            arbiter_note_unclaimed(core, answer);
            core_identity_confirmed(core);
            core_shown(core, &answer->view, answer->id);
            arbiter_note_older(core, &answer->view);
        }
        break;
    case KVP_BUSY:
        core->claim_waits = true;
        if (core_identity_replaces(core, answer->known)) {
            core->watch_us = core->now_us; /* now it can be named */
            core->due |= CORE_DUE_LOOK;
        }
        break;
    case KVP_REFUSED:
        if (answer->group_id == core->meta.group_id) { /* else it says nothing about stores */
            core_identity_refused(core);
        }
        break;
    case KVP_BAD_OP: /* a witness of the version before */
        core->claims_unknown = true;
        core_identity_confirmed(core);
        break;
    case KVP_NOT_SEEDED:
        core_refuse_promote(core, false);
        if (core->view.version != 0) {
            arbiter_seed(core);
        }
        break;
    case KVP_WRONG_GROUP:
        arbiter_foreign(core);
        break;
    default:
        core->watch_call_id = UINT32_MAX; /* no answer: noted when it is time to look again */
        break;
    }
}

static void arbiter_note_shown(struct kvp_core *core, const struct kvp_arbiter_answer *answer)
{
    bool asked = answer->id == core->watch_call_id ||
                 (core->proposal.stage != PROPOSAL_NONE && answer->id == core->proposal.call_id);
    bool shows = answer->status == KVP_OK || answer->status == KVP_STALE_VIEW ||
                 answer->status == KVP_REFUSED;
    if (asked && shows && answer->group_id == core->meta.group_id) {
        core->shown = answer->view;
    }
}

void core_arbiter_answered(struct kvp_core *core, const struct kvp_arbiter_answer *answer)
{
    if (core->role == KVP_ROLE_FAILED || core->role == KVP_ROLE_STOPPED || core->loading) {
        return;
    }
    if (answer->status != KVP_TIMEOUT && answer->status != KVP_UNAVAILABLE) {
        core->noted_silent = false;
    }
    arbiter_note_shown(core, answer);
    if (answer->id == core->watch_call_id) {
        arbiter_watched(core, answer);
    } else if (core->proposal.stage == PROPOSAL_LOOK && answer->id == core->proposal.call_id) {
        arbiter_looked(core, answer);
    } else if (core->proposal.stage == PROPOSAL_CAS && answer->id == core->proposal.call_id) {
        arbiter_compared(core, answer->status, &answer->view);
    }
    core_incoming_tick(core);
}
