/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an operator wants of this node: to hand the primary role over, to take it, to stop. Each is
 * pursued tick by tick until it is reached, has become pointless, or its time is over.
 */
#include "replication/core/core_state.h"

#include <assert.h>

#define HANDOVER_US    2000000u
#define PROMOTE_US     3000000u /* whoever asked waits for 5 s, if not told otherwise */
#define FENCE_US       10000000u
#define STOP_US        5000000u
#define LEAVE_AGAIN_US 200000u

/* ---- handover ---- */

static void admin_handover_end(struct kvp_core *core, kvp_status status)
{
    assert(core->handover != HANDOVER_NONE);
    bool told = core->handover_told;
    core->handover = HANDOVER_NONE;
    core->handover_told = false;
    core->draining = false;
    if (told) {
        core->port.handover_done(core->port.arg, status);
    }
    core->port.changed(core->port.arg);
}

static bool admin_is_wanted(const struct core_peer *peer, uint8_t target)
{
    return target == 0 || target == peer->id;
}

/* A lease, a promise, or the membership itself may be on its way to whoever is there. */
static bool admin_may_come(const struct kvp_core *core, uint8_t target)
{
    for (unsigned i = 0; i < core->peer_count; i++) {
        const struct core_peer *peer = &core->peers[i];
        bool there = peer->last_contact_us != 0 && !peer->resigned &&
                     core_members_may_count(core, peer->id) &&
                     core->now_us - peer->last_contact_us <= core->config.grace_us;
        bool member = kvp_set_has(core->view.in_sync, peer->id);
        bool room = kvp_set_count(core->view.in_sync) < core_members_wanted(core);
        if (there && admin_is_wanted(peer, target) && (member || room)) {
            return true;
        }
    }
    return false;
}

/* The member that is furthest, or the one asked for; NULL: there is none. */
static struct core_peer *admin_successor(struct kvp_core *core, uint8_t target)
{
    struct core_peer *best = NULL;
    for (unsigned i = 0; i < core->peer_count; i++) {
        struct core_peer *peer = &core->peers[i];
        if (core_can_take_over(core, peer) && admin_is_wanted(peer, target) &&
            (best == NULL || peer->match > best->match)) {
            best = peer;
        }
    }
    return best;
}

/* From here on no update is taken, until the role is given away or that has come to nothing. */
static bool admin_handover_drain(struct kvp_core *core, uint8_t target)
{
    struct core_peer *peer = admin_successor(core, target);
    if (core->role != KVP_ROLE_PRIMARY || peer == NULL) {
        return false;
    }
    if (core->proposal.stage == PROPOSAL_PREPARE) {
        core_proposal_abort(core);
    }
    assert(peer->id != core->config.self && core->proposal.stage != PROPOSAL_PREPARE);
    core->handover = HANDOVER_DRAINS;
    core->handover_target = peer->id;
    core->draining = true;
    core->port.changed(core->port.arg);
    return true;
}

static void admin_handover_ask(struct kvp_core *core, uint8_t target, bool told)
{
    assert(core->handover == HANDOVER_NONE);
    core->handover = HANDOVER_WAITS;
    core->handover_wanted = target;
    core->handover_told = told;
    core->handover_deadline_us = core->now_us + HANDOVER_US;
}

void core_admin_handover(struct kvp_core *core, uint8_t target)
{
    if (!core_leading(core)) {
        core->port.handover_done(core->port.arg, KVP_NOT_PRIMARY);
    } else if (core->handover != HANDOVER_NONE) {
        core->port.handover_done(core->port.arg, KVP_BUSY);
    } else if (target == core->config.self) {
        core->port.handover_done(core->port.arg, KVP_OK);
    } else {
        admin_handover_ask(core, target, true);
        core->due |= CORE_DUE_ADMIN;
    }
}

static void admin_handover_wait(struct kvp_core *core)
{
    assert(core->handover == HANDOVER_WAITS);
    if (!admin_handover_drain(core, core->handover_wanted) &&
        (core->now_us > core->handover_deadline_us ||
         !admin_may_come(core, core->handover_wanted))) {
        admin_handover_end(core, KVP_REFUSED);
    }
}

/* Its chosen one may have gone, or its lease have ended for a moment: within the time there is one
 * more choice, and meanwhile updates go on. */
static void admin_handover_again(struct kvp_core *core)
{
    assert(core->handover == HANDOVER_DRAINS && core->proposal.stage < PROPOSAL_CAS);
    bool over = core->now_us > core->handover_deadline_us;
    core_proposal_abort(core);
    if (over || !core->handover_told) {
        admin_handover_end(core, over ? KVP_TIMEOUT : KVP_REFUSED);
        return;
    }
    core->handover = HANDOVER_WAITS;
    core->draining = false;
    core->port.changed(core->port.arg);
    admin_handover_wait(core);
}

static void admin_handover_tick(struct kvp_core *core)
{
    enum proposal_stage stage = core->proposal.stage;
    if (core->handover == HANDOVER_GIVEN) {
        if (core->now_us > core->handover_deadline_us) {
            admin_handover_end(core, KVP_UNCERTAIN);
        } else if (core->now_us >= core->handover_look_us) {
            core_admin_heartbeat(core);
        }
        return;
    }
    if (core->handover == HANDOVER_WAITS) {
        admin_handover_wait(core);
    }
    if (core->handover != HANDOVER_DRAINS || core->proposal.stage >= PROPOSAL_CAS) {
        return; /* no way back, and no deadline: the register decides */
    }
    const struct core_peer *peer = core_peer(core, core->handover_target);
    if (core->now_us > core->handover_deadline_us || !core_can_take_over(core, peer)) {
        admin_handover_again(core);
    } else if (stage == PROPOSAL_NONE && core->commit == core->log.tail.seq &&
               core->now_us >= core->propose_after_us) {
        core_propose(core, REASON_HANDOVER, core->handover_target, core->view.in_sync, 0);
    }
}

/* The register has decided, or a storage has. It is answered when the target serves: whoever asked
 * may read there in the next moment. */
static void admin_handover_changed(struct kvp_core *core, bool ended)
{
    bool ours = !ended && core->view.primary == core->config.self;
    if (core->handover == HANDOVER_NONE || (ours && core->handover != HANDOVER_GIVEN)) {
        return;
    }
    if (ended || core->view.primary != core->handover_target || core->handover == HANDOVER_WAITS) {
        admin_handover_end(core, ended ? KVP_FAILED : KVP_STALE_VIEW);
        return;
    }
    core_send_state(core, core_peer(core, core->handover_target)); /* it leads from now on */
    if (!core->handover_told) {
        admin_handover_end(core, KVP_OK);
    } else if (core->handover != HANDOVER_GIVEN) {
        core->handover = HANDOVER_GIVEN;
        core->draining = false;
        core->handover_deadline_us = core->now_us + HANDOVER_US;
    }
}

void core_admin_heartbeat(struct kvp_core *core)
{
    if (core->handover == HANDOVER_GIVEN) { /* one comes with each step to its serving */
        core->handover_look_us = core->now_us + core->config.heartbeat_us / 4;
        core_send_state(core, core_peer(core, core->handover_target));
    }
}

void core_admin_heard(struct kvp_core *core, const struct kvp_peer_reply *reply)
{
    if (core->handover == HANDOVER_GIVEN && reply->from == core->handover_target &&
        reply->report.role == KVP_ROLE_PRIMARY && reply->report.view.epoch == core->view.epoch) {
        admin_handover_end(core, KVP_OK);
    }
}

/* ---- promotion ---- */

static void admin_promote_end(struct kvp_core *core, kvp_status status)
{
    assert(core->promote_asked);
    core->promote_asked = false;
    core->port.promote_done(core->port.arg, status);
}

static void admin_promote_force(struct kvp_core *core)
{
    core_proposal_abort(core);
    core_propose(core, REASON_FORCE, core->config.self, kvp_set_of(core->config.self), 0);
}

void core_admin_promote(struct kvp_core *core, bool force)
{
    bool heard =
        core->now_us - core->heard_primary_us <= core->config.grace_us && !core->primary_resigned;
    bool member = core->role == KVP_ROLE_BACKUP || core->role == KVP_ROLE_CANDIDATE;
    kvp_status status = KVP_OK;
    if (core->role == KVP_ROLE_FAILED || core->role == KVP_ROLE_STOPPED || core->stopping) {
        status = KVP_FAILED;
    } else if (core->promote_asked || core->replacing || core->loading ||
               core->proposal.stage == PROPOSAL_GRANTED) {
        status = KVP_BUSY;
    } else if (core->meta.group_id == 0 || core->meta.view.version == 0 || core->meta.copy ||
               core_members_out(core)) {
        status = KVP_REFUSED; /* nothing here that could be the truth */
    } else if (core_leading(core) && core_serving(core, core->now_us)) {
        core->port.promote_done(core->port.arg, KVP_OK);
        return;
    } else if (!force && !core_leading(core) && (!member || heard || !core_eligible(core))) {
        status = KVP_REFUSED;
    }
    if (status != KVP_OK) {
        core->port.promote_done(core->port.arg, status);
        return;
    }
    core->promote_asked = true;
    core->promote_refused = false;
    core->promote_leads = core_leading(core);
    core->promote_deadline_us = core->now_us + PROMOTE_US;
    if (core_leading(core) && !force) {
        /* It leads, and may be about to serve; if not, there is nothing more that it could become.
         */
        core->promote_deadline_us = core->now_us + core->config.lease_us + core->config.grace_us;
        return;
    }
    core->propose_after_us = 0;
    if (force) {
        admin_promote_force(core);
        return;
    }
    core->due |= CORE_DUE_TICK;
    if (!core_paired(core)) {
        core_look_soon(core); /* what the register says may be the answer */
    }
}

/* The register may be asked already: then it decides, later. */
static kvp_status admin_promote_over(struct kvp_core *core)
{
    if (core_leading(core)) {
        return KVP_REFUSED;
    }
    if (core->proposal.stage >= PROPOSAL_CAS) {
        return KVP_UNCERTAIN;
    }
    core_proposal_abort(core);
    return KVP_TIMEOUT;
}

static void admin_promote_tick(struct kvp_core *core)
{
    bool fences = core->proposal.stage == PROPOSAL_FENCE;
    if (core_leading(core) && !core->promote_leads) {
        core->promote_leads = true; /* the way from there to serving has a time of its own */
        core->promote_deadline_us = core->now_us + PROMOTE_US;
    }
    if (core_serving(core, core->now_us)) {
        admin_promote_end(core, KVP_OK);
    } else if (core->promote_refused && core->proposal.stage < PROPOSAL_CAS) {
        core_proposal_abort(core);
        admin_promote_end(core, KVP_REFUSED);
    } else if (core->now_us > core->promote_deadline_us + (fences ? FENCE_US : 0)) {
        admin_promote_end(core, admin_promote_over(core));
    }
}

/* ---- stop ---- */

static void admin_stop_end(struct kvp_core *core)
{
    assert(core->stopping && core->role != KVP_ROLE_STOPPED);
    if (core_leading(core)) {
        for (unsigned i = 0; i < core->peer_count; i++) {
            core_snapshot_end(core, &core->peers[i]);
        }
    }
    core->lead_epoch = 0;
    core_set_role(core, KVP_ROLE_STOPPED);
    core->due |= CORE_DUE_ENDED;
}

void core_admin_stop(struct kvp_core *core)
{
    if (core->stopping) {
        return;
    }
    core->stopping = true;
    core->stop_deadline_us = core->now_us + STOP_US;
    if (core->role == KVP_ROLE_FAILED || core->role == KVP_ROLE_STOPPED) {
        core->port.stopped(core->port.arg);
    } else {
        core->due |= CORE_DUE_ADMIN;
    }
}

void core_admin_left(struct kvp_core *core)
{
    core->left = core->leave_sent;
}

static void admin_leave(struct kvp_core *core)
{
    if (core->now_us < core->leave_due_us || core->view.primary == 0 ||
        !core_identity_known(core) || core->view.primary == core->config.self) {
        return;
    }
    struct kvp_peer_request request;
    core->leave_due_us = core->now_us + LEAVE_AGAIN_US;
    core->leave_sent = true;
    core_send_head(core, &request, KVP_OP_LEAVE, core->view.primary);
    core->port.send(core->port.arg, &request);
}

/* All that was promised is committed and there is nobody to hand over to. */
static bool admin_drained_alone(const struct kvp_core *core)
{
    return core->view.in_sync == kvp_set_of(core->config.self) &&
           core->commit == core->log.tail.seq && core->applied == core->commit &&
           core->proposal.stage == PROPOSAL_NONE;
}

static bool admin_stop_hands_over(struct kvp_core *core)
{
    if (admin_successor(core, 0) == NULL) {
        return false;
    }
    admin_handover_ask(core, 0, false);
    return admin_handover_drain(core, 0);
}

static void admin_stop_tick(struct kvp_core *core)
{
    bool over = core->now_us > core->stop_deadline_us;
    switch (core->role) {
    case KVP_ROLE_PRIMARY:
        if (core->handover == HANDOVER_NONE && !admin_stop_hands_over(core)) {
            core->draining = true;
            over = over || admin_drained_alone(core);
        }
        break;
    case KVP_ROLE_BACKUP:
        over = over || core->left || core->view.in_sync == kvp_set_of(core->config.self) ||
               !core_identity_known(core);
        admin_leave(core);
        break;
    case KVP_ROLE_OUTSIDE:
        /* Once more for the answer: then the primary has it durably. */
        over = over || core->left || !core->leave_sent;
        admin_leave(core);
        break;
    default:
        break;
    }
    if (over) {
        admin_stop_end(core);
    }
}

/* ---- all of them ---- */

void core_admin_tick(struct kvp_core *core)
{
    if (core->stopping && core->role != KVP_ROLE_STOPPED) {
        admin_stop_tick(core);
    }
    if (core->role == KVP_ROLE_STOPPED) {
        return;
    }
    if (core->handover != HANDOVER_NONE) {
        admin_handover_tick(core);
    }
    if (core->promote_asked) {
        admin_promote_tick(core);
    }
}

void core_admin_changed(struct kvp_core *core)
{
    bool ended = core->role == KVP_ROLE_FAILED || core->role == KVP_ROLE_STOPPED;
    admin_handover_changed(core, ended);
    if (core->promote_asked && (ended || core->view.primary != core->config.self)) {
        admin_promote_end(core, ended ? KVP_FAILED : KVP_REFUSED);
    }
    if (core->stopping && ended) {
        core->port.stopped(core->port.arg);
    }
}
