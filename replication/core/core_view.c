/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Views and their changes. A change is a proposal that goes through stages:
 *
 *   PROMOTE   LOOK -> (FENCE) -> CAS -> GRANTED      a backup wants to lead
 *   HANDOVER  LOOK -> CAS -> (GRANTED)               the primary gives its role away; an arbiter
 *                                                    has it durably, a pair's holder needs to
 *   CREATE    LOOK -> CAS -> GRANTED                 the group comes into being
 *   REMOVE            CAS -> GRANTED                 the primary goes on without a member
 *   ADD    LOOK -> PREPARE -> CAS -> GRANTED         the primary takes a member in
 *   FORCE          (FENCE) -> CAS -> GRANTED         an operator's word, against the register
 *   BEQUEATH  LOOK -> CAS                            the primary's disk hangs (core_disk.c)
 *
 * Up to CAS a proposal may be dropped. From then on the register may hold it, known to us or not:
 * it is asked for again until the answer is definite, and until then both views bind this node:
 * every member of either has to acknowledge, and who may be primary no more serves no more. LOOK
 * keeps a node from getting there while the arbiter cannot be reached.
 *
 * The register is an arbiter's (port.arbiter) or, in pair mode, lies with one of the two nodes
 * (core_pair.c).
 */
#include "replication/core/core_state.h"

#include <assert.h>
#include <string.h>

#define ASK_AGAIN_US    300000u
#define BACK_OFF_US     1000000u
#define WATCH_PERIOD_US 2000000u

bool core_eligible(const struct kvp_core *core)
{
    return (core->meta.member_epoch != 0 && !core->meta.doubt && !core->replacing) ||
           KVP_MUTANT(PROMOTE_OUTSIDE);
}

static bool paired(const struct kvp_core *core)
{
    return core->config.policy != KVP_PAIR_NONE;
}

/* The arbiter counts epochs one by one. In pair mode they are {counter, node id}: two nodes cut
 * from each other never make the same one. */
static struct kvp_view next_view(const struct kvp_core *core, uint8_t primary, kvp_node_set in_sync)
{
    struct kvp_view view = {.primary = primary, .in_sync = in_sync};
    /* Whoever is forced to lead with entries of a view that nobody granted goes on behind them. */
    uint64_t epoch =
        core->meta.view.epoch > core->log.tail.epoch ? core->meta.view.epoch : core->log.tail.epoch;
    if (paired(core)) {
        view.epoch = ((epoch >> 6) + 1) << 6 | core->config.self;
        view.version = view.epoch;
    } else {
        view.epoch = epoch + 1;
        view.version = core->meta.view.version + 1;
    }
    return view;
}

/* ---- a view comes into force ---- */

static void answer_leavers(struct kvp_core *core);

static void step_down(struct kvp_core *core)
{
    core->lead_epoch = 0;
    core->draining = false;
    core->life++; /* the log may have parted from the other's: what that knew of it holds no more */
    for (unsigned i = 0; i < core->peer_count; i++) {
        core_snapshot_end(core, &core->peers[i]);
        core->peers[i].caught_up = false;
    }
}

void core_retire(struct kvp_core *core)
{
    core_proposal_abort(core);
    core_answer_waiters(core, true);
    if (core_leading(core)) {
        step_down(core);
    }
    core_set_role(core, KVP_ROLE_OUTSIDE);
    answer_leavers(core);
    core_wishes_changed(core);
}

static void answer_leavers(struct kvp_core *core)
{
    for (unsigned i = 0; i < core->peer_count; i++) {
        struct core_peer *peer = &core->peers[i];
        bool member = kvp_set_has(core->view.in_sync, peer->id);
        if (peer->leave_token && (!member || !core_leading(core))) {
            core_answer(core, peer->leave_token, KVP_OP_LEAVE, 0,
                        member ? KVP_NOT_PRIMARY : KVP_OK);
            peer->leave_token = NULL;
        }
    }
}

static void install(struct kvp_core *core, const struct kvp_view *view, bool may_lead)
{
    bool led = core_leading(core);
    core->proposal.stage = PROPOSAL_NONE;
    core->view = *view;
    core->heard_primary_us = core->now_us;
    core->primary_resigned = false;
    core->noted_not_eligible = core->noted_waits = core->noted_primary_silent = false;
    if (may_lead && view->primary == core->config.self && (led || core_eligible(core))) {
        if (!led) {
            core_lead(core);
        }
    } else {
        if (led) {
            step_down(core);
        }
        core_set_role(core, core_follower_role(core));
    }
    answer_leavers(core);
    core_pair_installed(core);
    core->port.changed(core->port.arg);
    core_wishes_changed(core);
}

void core_install(struct kvp_core *core, const struct kvp_view *view)
{
    install(core, view, true);
}

void core_follow_view(struct kvp_core *core, const struct kvp_view *view)
{
    install(core, view, false);
}

/* From here on entries that the other members lack may be acknowledged: what was not committed so
 * far counts as made alone, too. */
void core_note_solo(struct kvp_core *core, const struct kvp_view *view)
{
    if (view->in_sync == kvp_set_of(core->config.self) && core->meta.solo_from == 0) {
        core->meta.solo_from = core->commit + 1;
    }
}

static void granted(struct kvp_core *core)
{
    struct core_proposal *proposal = &core->proposal;
    core->meta.view = proposal->view;
    core->meta.shown_version = proposal->view.version;
    core->told = false;
    core_note_solo(core, &proposal->view);
    if (proposal->reason == REASON_FORCE || proposal->reason == REASON_CREATE) {
        core->meta.member_epoch = proposal->view.epoch;
        core->meta.doubt = false;
    }
    if (proposal->reason == REASON_FORCE) {
        core->meta.forced_epoch = proposal->view.epoch;
    }
    proposal->meta_needed = core_persist(core);
    proposal->call_id = 0;
    proposal->retry_us = UINT64_MAX;
    proposal->stage = PROPOSAL_GRANTED;
    if (proposal->reason == REASON_CREATE) {
        core_note(core, KVP_NOTE_GROUP_CREATED, core->meta.group_id);
    }
    if (proposal->view.primary != core->config.self && !paired(core)) {
        struct kvp_view view = proposal->view;
        core_install(core, &view); /* nothing that we may do now needs to be durable */
        if (proposal->reason == REASON_BEQUEATH) {
            core_send_state(core, core_peer(core, view.primary)); /* it leads from now on */
        }
    }
}

bool core_adopt(struct kvp_core *core, const struct kvp_view *view)
{
    struct core_proposal *proposal = &core->proposal;
    if (view->epoch <= core->meta.view.epoch) {
        return false;
    }
    /* A founder's first view may have been granted to an earlier life of it. */
    bool asked = proposal->stage == PROPOSAL_CAS ||
                 (proposal->stage == PROPOSAL_LOOK && proposal->reason == REASON_CREATE);
    if (asked && kvp_view_equal(view, &proposal->view)) {
        granted(core);
        return true;
    }
    core_proposal_abort(core);
    if (view->primary == core->config.self && core_leading(core)) {
        /* Nothing is made in an epoch that a crash could make this node forget: it would make other
         * entries with the same numbers. */
        *proposal = (struct core_proposal){.reason = REASON_PROMOTE, .view = *view};
        granted(core);
        return true;
    }
    core->meta.view = *view;
    core_note_solo(core, view);
    if (view->primary != core->config.self && !core_parted(core)) {
        core->meta.solo_from = 0; /* from now on it takes what another one makes */
    }
    core_persist(core);
    core_install(core, view);
    return true;
}

/* ---- proposals ---- */

void core_proposal_abort(struct kvp_core *core)
{
    struct core_proposal *proposal = &core->proposal;
    if (proposal->stage == PROPOSAL_NONE) {
        return;
    }
    if (proposal->solo_from != 0 && proposal->stage < PROPOSAL_GRANTED) {
        core->meta.solo_from = proposal->solo_from; /* alone as before */
        core_persist(core);
    }
    proposal->stage = PROPOSAL_NONE;
    proposal->call_id = 0;
    if (core->role == KVP_ROLE_CANDIDATE) {
        core->heard_primary_us = core->now_us;
        core_set_role(core, core_follower_role(core));
    }
}

static void give_up(struct kvp_core *core)
{
    core_proposal_abort(core);
    core->propose_after_us = core->now_us + BACK_OFF_US;
}

static void ask_arbiter(struct kvp_core *core, enum kvp_arbiter_op op)
{
    struct core_proposal *proposal = &core->proposal;
    if (proposal->call_id == 0) {
        proposal->call_id = ++core->last_call_id;
    }
    struct kvp_arbiter_request request = {
        .op = op,
        .id = proposal->call_id,
        .group_id = core->meta.group_id,
        .expected = core->meta.view.version,
        .view = proposal->view,
        .force = proposal->reason == REASON_FORCE,
    };
    proposal->retry_us = core->now_us + ASK_AGAIN_US;
    core->port.arbiter(core->port.arg, &request);
}

static void ask(struct kvp_core *core)
{
    if (paired(core)) {
        core->proposal.retry_us = core->now_us + ASK_AGAIN_US;
        core_pair_ask(core);
    } else {
        ask_arbiter(core,
                    core->proposal.reason == REASON_FORCE ? KVP_ARBITER_SEED : KVP_ARBITER_CAS);
    }
}

static void enter_cas(struct kvp_core *core)
{
    struct core_proposal *proposal = &core->proposal;
    proposal->stage = PROPOSAL_CAS;
    proposal->call_id = 0;
    proposal->asked_us = core->now_us;
    if (proposal->view.primary == core->config.self && !core_leading(core)) {
        /* From now on no lease is given to the old primary. */
        core_set_role(core, KVP_ROLE_CANDIDATE);
    }
    ask(core);
}

/* The old primary is made harmless first, where the operator has given a way to do that. */
static void fence_then_cas(struct kvp_core *core)
{
    struct core_proposal *proposal = &core->proposal;
    bool other = proposal->view.primary == core->config.self && core->view.primary != 0 &&
                 core->view.primary != core->config.self;
    if (!core->config.fence || !other || proposal->reason == REASON_CREATE) {
        enter_cas(core);
        return;
    }
    proposal->stage = PROPOSAL_FENCE;
    proposal->retry_us = UINT64_MAX;
    if (!core->fencing) {
        core->fencing = true;
        core->port.fence(core->port.arg);
    }
}

static void prepare(struct kvp_core *core)
{
    struct core_proposal *proposal = &core->proposal;
    proposal->stage = PROPOSAL_PREPARE;
    proposal->call_id = 0;
    proposal->retry_us = UINT64_MAX;
    proposal->solo_from = core->meta.solo_from;
    core->meta.solo_from = 0;
    proposal->meta_needed = proposal->solo_from ? core_persist(core) : core->meta_durable;
}

/* Behind LOOK, where there is one. */
static void go_on(struct kvp_core *core)
{
    if (core->proposal.reason == REASON_ADD) {
        prepare(core);
    } else {
        fence_then_cas(core);
    }
}

void kvp_core_fence_done(struct kvp_core *core, uint64_t now_us, bool success)
{
    core_enter(core, now_us);
    core->fencing = false;
    if (!success) {
        core_note(core, KVP_NOTE_FENCE_FAILED, core->view.primary);
    }
    if (core->proposal.stage != PROPOSAL_FENCE) {
        return;
    }
    if (success) {
        enter_cas(core);
    } else {
        give_up(core);
    }
}

void core_propose(struct kvp_core *core, enum proposal_reason reason, uint8_t primary,
                  kvp_node_set in_sync, uint8_t subject)
{
    struct core_proposal *proposal = &core->proposal;
    assert(proposal->stage == PROPOSAL_NONE);
    *proposal = (struct core_proposal){
        .reason = reason,
        .view = next_view(core, primary, in_sync),
        .subject = subject,
        .retry_us = core->now_us,
    };
    switch (reason) {
    case REASON_REMOVE:
        enter_cas(core);
        break;
    case REASON_FORCE:
        fence_then_cas(core);
        break;
    default:
        if (paired(core)) {
            go_on(core);
        } else {
            proposal->stage = PROPOSAL_LOOK;
        }
        break;
    }
    core_proposal_step(core);
}

static bool joiner_ready(struct kvp_core *core)
{
    const struct core_peer *peer = core_peer(core, core->proposal.subject);
    return KVP_MUTANT(ADD_UNREADY) || (core->meta_durable >= core->proposal.meta_needed &&
                                       peer->mode == PEER_REPLICATE && peer->match >= core->commit);
}

void core_proposal_step(struct kvp_core *core)
{
    struct core_proposal *proposal = &core->proposal;
    bool due = core->now_us >= proposal->retry_us;
    switch (proposal->stage) {
    case PROPOSAL_LOOK:
        if (due) {
            ask_arbiter(core, KVP_ARBITER_GET);
        }
        break;
    case PROPOSAL_PREPARE:
        if (joiner_ready(core)) {
            enter_cas(core);
        }
        break;
    case PROPOSAL_CAS:
        if (due) {
            ask(core);
        }
        break;
    case PROPOSAL_GRANTED:
        if (core->meta_durable >= proposal->meta_needed) {
            struct kvp_view view = proposal->view;
            core_install(core, &view);
        }
        break;
    case PROPOSAL_NONE:
    case PROPOSAL_FENCE:
        break;
    }
}

/* ---- the arbiter's answers ---- */

static void note_once(struct kvp_core *core, bool *noted, enum kvp_note note)
{
    if (!*noted) {
        *noted = true;
        core_note(core, note, 0);
    }
}

/* Not even our own group id is known there: what we have is not a group yet. */
static void forget_founding(struct kvp_core *core)
{
    if (core->meta.view.version == 0 && core->meta.group_id != 0) {
        core->meta.group_id = 0;
        core_persist(core);
        note_once(core, &core->noted_blank_known, KVP_NOTE_BLANK_BUT_KNOWN);
    }
}

static void wrong_group(struct kvp_core *core)
{
    bool founding = core->proposal.reason == REASON_CREATE;
    note_once(core, &core->noted_foreign, KVP_NOTE_ARBITER_FOREIGN);
    give_up(core);
    if (founding) {
        forget_founding(core);
    }
}

static void looked(struct kvp_core *core, const struct kvp_arbiter_answer *answer)
{
    struct core_proposal *proposal = &core->proposal;
    bool creating = proposal->reason == REASON_CREATE;
    switch (answer->status) {
    case KVP_OK:
        if (answer->group_id != core->meta.group_id) {
            wrong_group(core);
        } else if (creating && kvp_view_equal(&answer->view, &proposal->view)) {
            granted(core); /* by an earlier life of ours, which never came to serve */
        } else if (core_shown(core, &answer->view, answer->id)) {
            return;
        } else if (kvp_view_equal(&answer->view, &core->meta.view)) {
            go_on(core);
        } else {
            note_once(core, &core->noted_unknown, KVP_NOTE_ARBITER_UNKNOWN);
            give_up(core); /* the register has gone back: an operator must look at it */
        }
        break;
    case KVP_NOT_SEEDED:
        if (creating) {
            fence_then_cas(core);
        } else {
            note_once(core, &core->noted_unknown, KVP_NOTE_ARBITER_UNKNOWN);
            give_up(core);
        }
        break;
    case KVP_WRONG_GROUP:
        wrong_group(core);
        break;
    default:
        break; /* asked again */
    }
}

void core_proposal_answer(struct kvp_core *core, kvp_status status, const struct kvp_view *view)
{
    switch (status) {
    case KVP_OK:
        if (core->proposal.reason == REASON_FORCE && view->epoch == core->proposal.view.epoch) {
            core->proposal.view.version = view->version; /* the register's versions go on */
        }
        granted(core);
        break;
    case KVP_STALE_VIEW:
    case KVP_REFUSED:
        /* A pair's other node has been heard where its answer came in. */
        if (paired(core) || !core_shown(core, view, core->proposal.call_id)) {
            give_up(core);
        }
        break;
    case KVP_NOT_SEEDED:
        note_once(core, &core->noted_unknown, KVP_NOTE_ARBITER_UNKNOWN);
        give_up(core);
        break;
    case KVP_WRONG_GROUP:
        wrong_group(core);
        break;
    default:
        break; /* unknown: asked again */
    }
}

/* ---- the regular look at the register ---- */

void core_watch_tick(struct kvp_core *core)
{
    if (paired(core) || core->meta.group_id == 0 || core->now_us < core->watch_us) {
        return;
    }
    if (core->watch_call_id != 0 && core->now_us - core->looked_us >= WATCH_PERIOD_US) {
        note_once(core, &core->noted_silent, KVP_NOTE_ARBITER_SILENT);
    }
    core->looked_us = core->now_us;
    core->watch_us = core->now_us + (core->confirmed ? WATCH_PERIOD_US : ASK_AGAIN_US);
    core->watch_call_id = ++core->last_call_id;
    struct kvp_arbiter_request request = {
        .op = core->claims_unknown ? KVP_ARBITER_GET : KVP_ARBITER_CLAIM,
        .id = core->watch_call_id,
        .group_id = core->meta.group_id,
    };
    core_identity_numbers(core, &request.numbers);
    core->port.arbiter(core->port.arg, &request);
}

void core_look_soon(struct kvp_core *core)
{
    uint64_t due = core->looked_us + core->config.heartbeat_us;
    core->watch_us = due < core->watch_us ? due : core->watch_us;
    core_watch_tick(core);
}

/* A register that has lost its state comes back when all members name the same view. While a change
 * of ours may have been granted we name none. */
static void seed(struct kvp_core *core)
{
    note_once(core, &core->noted_unknown, KVP_NOTE_ARBITER_UNKNOWN);
    if (core->proposal.stage >= PROPOSAL_CAS || core->meta_durable != core->meta_wanted ||
        !kvp_set_has(core->view.in_sync, core->config.self)) {
        return;
    }
    struct kvp_arbiter_request request = {
        .op = KVP_ARBITER_SEED,
        .id = ++core->last_call_id,
        .group_id = core->meta.group_id,
        .view = core->view,
    };
    core->port.arbiter(core->port.arg, &request);
}

static void watched(struct kvp_core *core, const struct kvp_arbiter_answer *answer)
{
    core->watch_call_id = 0;
    switch (answer->status) {
    case KVP_OK:
        core->noted_unknown = false;
        if (answer->group_id != core->meta.group_id) {
            note_once(core, &core->noted_foreign, KVP_NOTE_ARBITER_FOREIGN);
        } else {
            core_identity_confirmed(core);
            core_shown(core, &answer->view, answer->id);
        }
        break;
    case KVP_BUSY:
        core->claim_waits = true;
        if (core_identity_replaces(core, answer->known)) {
            core->watch_us = core->now_us; /* now it can be named */
            core_watch_tick(core);
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
        if (core->view.version != 0) {
            seed(core);
        }
        break;
    case KVP_WRONG_GROUP:
        note_once(core, &core->noted_foreign, KVP_NOTE_ARBITER_FOREIGN);
        break;
    default:
        core->watch_call_id = UINT32_MAX; /* no answer: noted when it is time to look again */
        break;
    }
}

static void note_shown(struct kvp_core *core, const struct kvp_arbiter_answer *answer)
{
    bool asked = answer->id == core->watch_call_id ||
                 (core->proposal.stage != PROPOSAL_NONE && answer->id == core->proposal.call_id);
    bool shows = answer->status == KVP_OK || answer->status == KVP_STALE_VIEW ||
                 answer->status == KVP_REFUSED;
    if (asked && shows && answer->group_id == core->meta.group_id) {
        core->shown = answer->view;
    }
}

void kvp_core_arbiter_answer(struct kvp_core *core, uint64_t now_us,
                             const struct kvp_arbiter_answer *answer)
{
    core_enter(core, now_us);
    if (core->role == KVP_ROLE_FAILED || core->role == KVP_ROLE_STOPPED || core->loading) {
        return;
    }
    if (answer->status != KVP_TIMEOUT && answer->status != KVP_UNAVAILABLE) {
        core->noted_silent = false;
    }
    note_shown(core, answer);
    if (answer->id == core->watch_call_id) {
        watched(core, answer);
    } else if (core->proposal.stage == PROPOSAL_LOOK && answer->id == core->proposal.call_id) {
        looked(core, answer);
    } else if (core->proposal.stage == PROPOSAL_CAS && answer->id == core->proposal.call_id) {
        core_proposal_answer(core, answer->status, &answer->view);
    }
    core_incoming_tick(core);
}
