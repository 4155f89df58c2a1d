/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an operator wants of this node: to hand the primary role over, to take it, to stop. Each is
 * pursued tick by tick until it is reached, has become pointless, or its time is over.
 */
#include "replication/core_state.h"

#define HANDOVER_US    2000000u
#define PROMOTE_US     10000000u
#define STOP_US        5000000u
#define LEAVE_AGAIN_US 200000u

/* ---- handover ---- */

static void handover_end(struct kvp_core *core, kvp_status status)
{
    bool told = core->handover_told;
    core->handover_asked = false;
    core->handover_told = false;
    core->draining = false;
    if (told) {
        core->port.handover_done(core->port.arg, status);
    }
    core->port.changed(core->port.arg);
}

static bool can_take_over(const struct kvp_core *core, const struct core_peer *peer)
{
    return kvp_set_has(core->view.in_sync, peer->id) && peer->lease_us > core->now_us &&
           !peer->resigned && !peer->report.doubt && peer->report.member_epoch != 0;
}

/* The member that is furthest, or the one asked for; NULL: there is none. */
static struct core_peer *successor(struct kvp_core *core, uint8_t target)
{
    struct core_peer *best = NULL;
    for (unsigned i = 0; i < core->peer_count; i++) {
        struct core_peer *peer = &core->peers[i];
        if (can_take_over(core, peer) && (target == 0 || target == peer->id) &&
            (!best || peer->match > best->match)) {
            best = peer;
        }
    }
    return best;
}

static bool handover_begin(struct kvp_core *core, uint8_t target, bool told)
{
    struct core_peer *peer = successor(core, target);
    if (core->role != KVP_ROLE_PRIMARY || !peer) {
        return false;
    }
    if (core->proposal.stage == PROPOSAL_PREPARE) {
        core_proposal_abort(core);
    }
    core->handover_asked = true;
    core->handover_told = told;
    core->handover_target = peer->id;
    core->handover_deadline_us = core->now_us + HANDOVER_US;
    core->draining = true;
    core->port.changed(core->port.arg);
    return true;
}

void kvp_core_handover(struct kvp_core *core, uint64_t now_us, uint8_t target)
{
    core->now_us = now_us;
    if (core->role != KVP_ROLE_PRIMARY) {
        core->port.handover_done(core->port.arg, KVP_NOT_PRIMARY);
    } else if (core->handover_asked) {
        core->port.handover_done(core->port.arg, KVP_BUSY);
    } else if (target == core->config.self) {
        core->port.handover_done(core->port.arg, KVP_OK);
    } else if (!handover_begin(core, target, true)) {
        core->port.handover_done(core->port.arg, KVP_REFUSED);
    } else {
        core_wishes_tick(core);
    }
}

static void handover_tick(struct kvp_core *core)
{
    enum proposal_stage stage = core->proposal.stage;
    if (stage >= PROPOSAL_CAS) {
        return; /* no way back, and no deadline: the register decides */
    }
    const struct core_peer *peer = core_peer(core, core->handover_target);
    if (core->now_us > core->handover_deadline_us || !can_take_over(core, peer)) {
        core_proposal_abort(core);
        handover_end(core, core->now_us > core->handover_deadline_us ? KVP_TIMEOUT
                                                                     : KVP_REFUSED);
        return;
    }
    if (stage == PROPOSAL_NONE && core->commit == core->log.tail.seq &&
        core->now_us >= core->propose_after_us) {
        core_propose(core, REASON_HANDOVER, core->handover_target, core->view.in_sync, 0);
    }
}

/* ---- promotion ---- */

static void promote_end(struct kvp_core *core, kvp_status status)
{
    core->promote_asked = false;
    core->port.promote_done(core->port.arg, status);
}

static void promote_force(struct kvp_core *core)
{
    core_proposal_abort(core);
    core_propose(core, REASON_FORCE, core->config.self, kvp_set_of(core->config.self), 0);
}

void kvp_core_promote(struct kvp_core *core, uint64_t now_us, bool force)
{
    core->now_us = now_us;
    bool heard = core->now_us - core->heard_primary_us <= core->config.grace_us &&
                 !core->primary_resigned;
    bool member = core->role == KVP_ROLE_BACKUP || core->role == KVP_ROLE_CANDIDATE;
    kvp_status status = KVP_OK;
    if (core->role == KVP_ROLE_FAILED || core->role == KVP_ROLE_STOPPED || core->stopping) {
        status = KVP_FAILED;
    } else if (core->promote_asked || core->replacing || core->loading ||
               core->proposal.stage == PROPOSAL_GRANTED) {
        status = KVP_BUSY;
    } else if (core->meta.group_id == 0 || core->meta.view.version == 0) {
        status = KVP_REFUSED; /* nothing here that could be the truth */
    } else if (core_leading(core) && (!force || kvp_core_serving(core, now_us))) {
        core->port.promote_done(core->port.arg, KVP_OK);
        return;
    } else if (!force && (!member || heard || !core_eligible(core))) {
        status = KVP_REFUSED;
    }
    if (status != KVP_OK) {
        core->port.promote_done(core->port.arg, status);
        return;
    }
    core->promote_asked = true;
    core->promote_deadline_us = now_us + PROMOTE_US;
    core->propose_after_us = 0;
    if (force) {
        promote_force(core);
    } else {
        core_backup_tick(core);
    }
}

/* ---- stop ---- */

static void stop_end(struct kvp_core *core)
{
    core_proposal_abort(core);
    core_answer_waiters(core, true);
    if (core_leading(core)) {
        for (unsigned i = 0; i < core->peer_count; i++) {
            core_snapshot_end(core, &core->peers[i]);
        }
    }
    core->lead_epoch = 0;
    core_set_role(core, KVP_ROLE_STOPPED);
    core_wishes_changed(core);
}

void kvp_core_stop(struct kvp_core *core, uint64_t now_us)
{
    core->now_us = now_us;
    if (core->stopping) {
        return;
    }
    core->stopping = true;
    core->stop_deadline_us = now_us + STOP_US;
    if (core->role == KVP_ROLE_FAILED || core->role == KVP_ROLE_STOPPED) {
        core->port.stopped(core->port.arg);
    } else {
        core_wishes_tick(core);
    }
}

void core_wishes_left(struct kvp_core *core)
{
    core->left = core->leave_sent;
}

static void leave(struct kvp_core *core)
{
    if (core->now_us < core->leave_due_us || core->view.primary == 0 ||
        core->view.primary == core->config.self) {
        return;
    }
    struct kvp_peer_request request;
    core->leave_due_us = core->now_us + LEAVE_AGAIN_US;
    core->leave_sent = true;
    core_send_head(core, &request, KVP_OP_LEAVE, core->view.primary);
    core->port.send(core->port.arg, &request);
}

/* All that was promised is committed and there is nobody to hand over to. */
static bool drained_alone(const struct kvp_core *core)
{
    return core->view.in_sync == kvp_set_of(core->config.self) &&
           core->commit == core->log.tail.seq && core->applied == core->commit &&
           core->proposal.stage == PROPOSAL_NONE;
}

static void stop_tick(struct kvp_core *core)
{
    bool over = core->now_us > core->stop_deadline_us;
    switch (core->role) {
    case KVP_ROLE_PRIMARY:
        if (!core->handover_asked && !handover_begin(core, 0, false)) {
            core->draining = true;
            over = over || drained_alone(core);
        }
        break;
    case KVP_ROLE_BACKUP:
        over = over || core->left || core->view.in_sync == kvp_set_of(core->config.self);
        leave(core);
        break;
    case KVP_ROLE_OUTSIDE:
        /* Once more for the answer: then the primary has it durably. */
        over = over || core->left || !core->leave_sent;
        leave(core);
        break;
    default:
        break;
    }
    if (over) {
        stop_end(core);
    }
}

/* ---- all of them ---- */

void core_wishes_tick(struct kvp_core *core)
{
    if (core->stopping && core->role != KVP_ROLE_STOPPED) {
        stop_tick(core);
    }
    if (core->handover_asked) {
        handover_tick(core);
    }
    if (core->promote_asked && core->now_us > core->promote_deadline_us &&
        core->proposal.stage < PROPOSAL_CAS) {
        core_proposal_abort(core);
        promote_end(core, KVP_TIMEOUT);
    }
}

void core_wishes_changed(struct kvp_core *core)
{
    bool ended = core->role == KVP_ROLE_FAILED || core->role == KVP_ROLE_STOPPED;
    if (core->handover_asked && (ended || core->view.primary != core->config.self)) {
        bool reached = !ended && core->view.primary == core->handover_target;
        if (reached) {
            core_send_state(core, core_peer(core, core->handover_target)); /* it leads from now on */
        }
        handover_end(core, ended ? KVP_FAILED : reached ? KVP_OK : KVP_STALE_VIEW);
    }
    if (core->promote_asked && (ended || core->view.primary != core->config.self)) {
        promote_end(core, ended ? KVP_FAILED : KVP_REFUSED);
    } else if (core->promote_asked && core_leading(core)) {
        promote_end(core, KVP_OK);
    }
    if (core->stopping && ended) {
        core->port.stopped(core->port.arg);
    }
}
