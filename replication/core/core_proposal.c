/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Changes of view. A change is a proposal that goes through stages:
 *
 *   PROMOTE   LOOK -> (FENCE) -> CAS -> GRANTED      a backup wants to lead
 *   HANDOVER  LOOK -> CAS -> (GRANTED)               the primary gives its role away; an arbiter
 *                                                    has it durably, a pair's holder needs to
 *   CREATE    LOOK -> CAS -> GRANTED                 the group comes into being
 *   REMOVE            CAS -> GRANTED                 the primary goes on without a member
 *   ADD    LOOK -> PREPARE -> CAS -> GRANTED         the primary takes a member in
 *   FORCE          (FENCE) -> CAS -> GRANTED         an operator's word, against the register
 *   BEQUEATH  LOOK -> CAS                            the primary's disk hangs (core_bequeath.c)
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
#include <stdlib.h>

#define BACK_OFF_US 1000000u

/* The arbiter counts epochs one by one. In pair mode they are {counter, node id}: two nodes cut
 * from each other never make the same one. */
static struct kvp_view proposal_next_view(const struct kvp_core *core, uint8_t primary,
                                          kvp_node_set in_sync)
{
    struct kvp_view view = {.primary = primary, .in_sync = in_sync};
    /* Whoever is forced to lead with entries of a view that nobody granted goes on behind them. */
    uint64_t epoch =
        core->meta.view.epoch > core->log.tail.epoch ? core->meta.view.epoch : core->log.tail.epoch;
    if (core_paired(core)) {
        view.epoch = ((epoch >> 6) + 1) << 6 | (KVP_MUTANT(EPOCH_SHARED) ? 1 : core->config.self);
        view.version = view.epoch;
    } else {
        view.epoch = epoch + 1;
        view.version = core->meta.view.version + 1;
    }
    assert(view.epoch > core->meta.view.epoch && view.version > core->meta.view.version);
    return view;
}

void core_proposal_granted(struct kvp_core *core)
{
    assert(core->proposal.view.epoch > core->view.epoch);
    assert(kvp_set_has(core->proposal.view.in_sync, core->proposal.view.primary));
    struct core_proposal *proposal = &core->proposal;
    core->meta.view = proposal->view;
    core->meta.shown_version = proposal->view.version;
    core->told = false;
    core_note_unreplicated(core, &proposal->view);
    if (proposal->reason == REASON_FORCE || proposal->reason == REASON_CREATE) {
        core->meta.member_epoch = proposal->view.epoch;
        core->meta.log_regressed = false;
    }
    if (proposal->reason == REASON_FORCE) {
        core->meta.forced_epoch = proposal->view.epoch;
    }
    proposal->meta_needed = core_persist(core);
    proposal->call_id = 0;
    proposal->retry_us = UINT64_MAX;
    proposal->stage = PROPOSAL_GRANTED;
    core->due |= CORE_DUE_PROPOSAL;
    if (proposal->reason == REASON_CREATE) {
        core_note(core, KVP_NOTE_GROUP_CREATED, core->meta.group_id);
    }
    if (proposal->view.primary != core->config.self && !core_paired(core)) {
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
    /* A founder's first view may have been granted to an earlier incarnation of it. */
    bool asked = proposal->stage == PROPOSAL_CAS ||
                 (proposal->stage == PROPOSAL_LOOK && proposal->reason == REASON_CREATE);
    if (asked && kvp_view_equal(view, &proposal->view)) {
        KVP_MARK(GRANT_TOLD);
        core_proposal_granted(core);
        return true;
    }
    core_proposal_abort(core);
    if (view->primary == core->config.self && core_leading(core)) {
        /* Nothing is made in an epoch that a crash could make this node forget: it would make other
         * entries with the same numbers. */
        *proposal = (struct core_proposal){.reason = REASON_PROMOTE, .view = *view};
        core_proposal_granted(core);
        return true;
    }
    core->meta.view = *view;
    core_note_unreplicated(core, view);
    if (view->primary != core->config.self && !core_parted(core)) {
        core->meta.unreplicated_from = 0; /* from now on it takes what another one makes */
    }
    core_persist(core);
    if (core_pair_may_lead_told(core)) {
        core_install(core, view);
    } else {
        KVP_MARK(TOLD_UNSETTLED);
        core_follow_view(core, view);
    }
    return true;
}

/* ---- proposals ---- */

void core_proposal_abort(struct kvp_core *core)
{
    struct core_proposal *proposal = &core->proposal;
    if (proposal->stage == PROPOSAL_NONE) {
        return;
    }
    if (proposal->unreplicated_from != 0 && proposal->stage < PROPOSAL_GRANTED) {
        KVP_MARK(ALONE_AGAIN);
        core->meta.unreplicated_from = proposal->unreplicated_from; /* alone as before */
        core_persist(core);
    }
    proposal->stage = PROPOSAL_NONE;
    proposal->call_id = 0;
    core->due |= CORE_DUE_LEAD; /* who has to acknowledge is another set */
    if (core->role == KVP_ROLE_CANDIDATE) {
        core->heard_primary_us = core->now_us;
        core_set_role(core, core_follower_role(core));
    }
    assert(core->role != KVP_ROLE_CANDIDATE);
}

void core_proposal_give_up(struct kvp_core *core)
{
    core_refuse_promote(core, true);
    core_proposal_abort(core);
    core->propose_after_us = core->now_us + BACK_OFF_US;
}

static void proposal_ask_arbiter(struct kvp_core *core, enum kvp_arbiter_op op)
{
    assert(!core_paired(core));
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
    proposal->retry_us = core->now_us + CORE_ASK_AGAIN_US;
    core->port.arbiter(core->port.arg, &request);
}

static void proposal_ask(struct kvp_core *core)
{
    if (core_paired(core) && core_pair_decides(core)) {
        core_proposal_granted(core);
    } else if (core_paired(core)) {
        core->proposal.retry_us = core->now_us + CORE_ASK_AGAIN_US;
        core_pair_ask(core);
    } else {
        proposal_ask_arbiter(core, core->proposal.reason == REASON_FORCE ? KVP_ARBITER_SEED
                                                                         : KVP_ARBITER_CAS);
    }
}

/* From here on the register may hold the new view. The proposal stays, and both views bind this
 * node, until the answer is definite: core_required() counts the members of both, and a node that
 * gives its role away serves no more. */
static void proposal_enter_cas(struct kvp_core *core)
{
    struct core_proposal *proposal = &core->proposal;
    proposal->stage = PROPOSAL_CAS;
    proposal->call_id = 0;
    proposal->asked_us = core->now_us;
    if (proposal->view.primary == core->config.self && !core_leading(core)) {
        /* From now on no lease is given to the old primary. */
        core_set_role(core, KVP_ROLE_CANDIDATE);
    }
    proposal->retry_us = core->now_us; /* asked for when the event is over */
    core->due |= CORE_DUE_PROPOSAL;
}

/* The old primary is made harmless first, where the operator has given a way to do that. */
void core_proposal_fence(struct kvp_core *core)
{
    assert(core->proposal.reason != REASON_ADD && core->proposal.reason != REASON_REMOVE);
    struct core_proposal *proposal = &core->proposal;
    bool other = proposal->view.primary == core->config.self && core->view.primary != 0 &&
                 core->view.primary != core->config.self;
    if (!core->config.fence || !other || proposal->reason == REASON_CREATE) {
        proposal_enter_cas(core);
        return;
    }
    KVP_MARK(FENCED);
    proposal->stage = PROPOSAL_FENCE;
    proposal->retry_us = UINT64_MAX;
    if (!core->fencing) {
        core->fencing = true;
        core->port.fence(core->port.arg);
    }
}

static void proposal_prepare(struct kvp_core *core)
{
    assert(core->proposal.reason == REASON_ADD && core_leading(core));
    struct core_proposal *proposal = &core->proposal;
    proposal->stage = PROPOSAL_PREPARE;
    proposal->call_id = 0;
    proposal->retry_us = UINT64_MAX;
    proposal->unreplicated_from = core->meta.unreplicated_from;
    core->meta.unreplicated_from = 0;
    proposal->meta_needed = proposal->unreplicated_from ? core_persist(core) : core->meta_durable;
}

/* The arbiter may have been away for long: whoever was to lead may have lost its log meanwhile, and
 * a disk that hung may answer again. */
static bool proposal_stands(struct kvp_core *core)
{
    const struct core_proposal *proposal = &core->proposal;
    bool bequeaths = proposal->reason == REASON_BEQUEATH;
    if ((!bequeaths && proposal->reason != REASON_HANDOVER) || KVP_MUTANT(HEIR_UNSEEN)) {
        return true;
    }
    return core_can_take_over(core, core_peer(core, proposal->view.primary)) &&
           (!bequeaths || core_disk_hangs(core, core->now_us));
}

void core_proposal_go_on(struct kvp_core *core)
{
    if (!proposal_stands(core)) {
        KVP_MARK(HEIR_GONE);
        core_proposal_abort(core);
        core->due |= CORE_DUE_ADMIN;
    } else if (core->proposal.reason == REASON_ADD) {
        proposal_prepare(core);
    } else {
        core_proposal_fence(core);
    }
}

void core_fence_done(struct kvp_core *core, bool success)
{
    core->fencing = false;
    if (!success) {
        KVP_MARK(FENCE_FAILED);
        core_note(core, KVP_NOTE_FENCE_FAILED, core->view.primary);
    }
    if (core->proposal.stage != PROPOSAL_FENCE) {
        return;
    }
    if (success) {
        proposal_enter_cas(core);
    } else {
        core_proposal_give_up(core);
    }
}

void core_propose(struct kvp_core *core, enum proposal_reason reason, uint8_t primary,
                  kvp_node_set in_sync, uint8_t subject)
{
    assert(kvp_set_has(in_sync, primary));
    assert(core->role < KVP_ROLE_FAILED);
    struct core_proposal *proposal = &core->proposal;
    assert(proposal->stage == PROPOSAL_NONE);
    *proposal = (struct core_proposal){
        .reason = reason,
        .view = proposal_next_view(core, primary, in_sync),
        .subject = subject,
        .retry_us = core->now_us,
    };
    switch (reason) {
    case REASON_REMOVE:
        proposal_enter_cas(core);
        break;
    case REASON_FORCE:
        core_proposal_fence(core);
        break;
    default:
        if (core_paired(core)) {
            core_proposal_go_on(core);
        } else {
            proposal->stage = PROPOSAL_LOOK;
        }
        break;
    }
    core->due |= CORE_DUE_PROPOSAL;
}

static bool proposal_joiner_ready(struct kvp_core *core)
{
    const struct core_peer *peer = core_peer(core, core->proposal.subject);
    assert(peer != NULL);
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
            proposal_ask_arbiter(core, KVP_ARBITER_GET);
        }
        break;
    case PROPOSAL_PREPARE:
        if (proposal_joiner_ready(core)) {
            proposal_enter_cas(core);
        }
        break;
    case PROPOSAL_CAS:
        if (due) {
            if (proposal->call_id != 0) {
                KVP_MARK(CAS_REPEATED);
            }
            if (proposal->call_id != 0 && KVP_MUTANT(CAS_FORGOTTEN)) {
                core_proposal_give_up(core);
                break;
            }
            proposal_ask(core);
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

/* A grant shows the view itself, and has been taken from there. What comes here may be a refusal,
 * or a late answer to what was asked for an earlier proposal: that one says nothing about this. */
void core_proposal_answered(struct kvp_core *core, const struct kvp_peer_reply *reply)
{
    kvp_status status = (kvp_status)-abs(reply->code);
    bool asked = core_paired(core) && core->proposal.stage == PROPOSAL_CAS &&
                 reply->echo_us >= core->proposal.asked_us;
    if (asked && (status == KVP_STALE_VIEW || status == KVP_REFUSED)) {
        KVP_MARK(VIEW_REFUSED);
        core_proposal_give_up(core);
    }
}
