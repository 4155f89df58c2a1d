/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The primary's side: heartbeats and leases, the commit point, who is lost, slow or ready to be
 * added, and the way from ELECT (the others are brought to our log's end) to PRIMARY.
 */
#include "replication/core/core_state.h"

#include <assert.h>

void core_lead(struct kvp_core *core)
{
    assert(core->role == KVP_ROLE_ELECT && core->lead_epoch == core->view.epoch);
    core_incoming_abort(core);
    core_members_meet(core);
    for (unsigned i = 0; i < core->peer_count; i++) {
        struct core_peer *peer = &core->peers[i];
        core_snapshot_end(core, peer);
        peer->match = 0;
        peer->match_us = core->now_us;
        peer->incarnation = 0;
        peer->lease_us = 0;
        peer->heard_us = 0;
        peer->behind_us = 0;
        peer->commit_told = 0;
        peer->caught_up = false;
        peer->diverged = false;
        peer->resigned = false;
        peer->round_us = 0;
        core_probe_restart(core, peer);
    }
    core_heartbeat(core);
    core->due |= CORE_DUE_LEAD;
}

/* A joiner about to be added promises to count; a member that came back in doubt does so again. */
static bool primary_wants_promise(const struct kvp_core *core, const struct core_peer *peer)
{
    if (!kvp_set_has(core->view.in_sync, peer->id)) {
        return (peer->caught_up || KVP_MUTANT(ADD_UNREADY)) &&
               core_members_may_count(core, peer->id);
    }
    return peer->mode == PEER_REPLICATE && peer->match >= core->commit &&
           (peer->report.log_regressed || peer->report.member_epoch == 0);
}

void core_heartbeat(struct kvp_core *core)
{
    assert(core_leading(core));
    struct kvp_peer_request request;
    for (unsigned i = 0; i < core->peer_count; i++) {
        struct core_peer *peer = &core->peers[i];
        core_send_head(core, &request, KVP_OP_HEARTBEAT, peer->id);
        request.commit = KVP_MUTANT(COMMIT_TOLD_AHEAD) ? core->log.tail : core->commit_point;
        request.prepare = primary_wants_promise(core, peer);
        request.incarnation = peer->incarnation;
        request.diverged = peer->diverged;
        request.forced = core->meta.forced_epoch;
        peer->commit_told = core->commit;
        core->port.send(core->port.arg, &request);
    }
}

/* ---- removal and addition ---- */

static void primary_remove_peer(struct kvp_core *core, struct core_peer *peer, enum kvp_note why)
{
    assert(core_leading(core) && peer->id != core->config.self);
    if (core->proposal.stage < PROPOSAL_CAS && core->proposal.reason == REASON_ADD) {
        KVP_MARK(ADDITION_GIVES_WAY);
        core_proposal_abort(core);
    }
    if (core->proposal.stage != PROPOSAL_NONE || core->handover == HANDOVER_DRAINS ||
        core->now_us < core->propose_after_us || core_disk_is_suspect(core) ||
        !kvp_set_has(core->view.in_sync, peer->id)) {
        return;
    }
    core_note(core, why, peer->id);
    core_propose(core, REASON_REMOVE, core->config.self, core->view.in_sync & ~kvp_set_of(peer->id),
                 peer->id);
}

/* Silent for the lease, counted from the moment that we began to lead. */
static bool primary_lost(const struct kvp_core *core, const struct core_peer *peer)
{
    uint64_t last = peer->heard_us > peer->match_us ? peer->heard_us : peer->match_us;
    return core->now_us - last > core->config.lease_us;
}

/* Whatever the reason: its disk, a connection that swallows entries, or none for them. */
static bool primary_slow(const struct kvp_core *core, const struct core_peer *peer)
{
    return peer->behind_us != 0 && core->now_us - peer->behind_us > core->config.sync_timeout_us;
}

static void primary_watch_progress(struct kvp_core *core, struct core_peer *peer)
{
    if (peer->match >= core->log.tail.seq) {
        peer->behind_us = 0;
    } else if (peer->behind_us == 0 || peer->match_us > peer->behind_us) {
        peer->behind_us = core->now_us;
    }
}

static void primary_watch_member(struct kvp_core *core, struct core_peer *peer)
{
    const struct core_proposal *proposal = &core->proposal;
    bool adding = proposal->reason == REASON_ADD &&
                  (proposal->stage == PROPOSAL_LOOK || proposal->stage == PROPOSAL_PREPARE);
    if (proposal->stage != PROPOSAL_NONE && !adding) {
        return;
    }
    if (!kvp_set_has(core->view.in_sync, peer->id)) {
        if (adding && proposal->subject == peer->id &&
            (primary_lost(core, peer) || peer->mode != PEER_REPLICATE)) {
            KVP_MARK(JOINER_GONE);
            core_proposal_abort(core);
        }
        return;
    }
    if (peer->id == core->barred) {
        primary_remove_peer(core, peer, KVP_NOTE_PEER_LEAVES);
    } else if (peer->resigned || primary_lost(core, peer)) {
        primary_remove_peer(core, peer, KVP_NOTE_PEER_LOST);
    } else if (primary_slow(core, peer)) {
        KVP_MARK(MEMBER_SLOW);
        primary_remove_peer(core, peer, KVP_NOTE_PEER_SLOW);
    } else if (peer->mode == PEER_SNAPSHOT || peer->diverged) {
        /* What it acknowledged is not there any more: it cannot stay, whatever it says. */
        KVP_MARK(MEMBER_NEEDS_SNAPSHOT);
        primary_remove_peer(core, peer, KVP_NOTE_PEER_REGRESSED);
    }
}

/* A joiner has caught up when it has, within one round, everything that was in the log when the
 * round began (Ongaro 2014, 4.2.1): then the last step costs no more than a round. */
static void primary_watch_joiner(struct kvp_core *core, struct core_peer *peer)
{
    if (kvp_set_has(core->view.in_sync, peer->id) || peer->mode != PEER_REPLICATE ||
        primary_lost(core, peer) || peer->resigned) {
        peer->round_us = 0;
        peer->caught_up = false;
        return;
    }
    if (peer->round_us != 0 && peer->match < peer->round_target) {
        return;
    }
    if (peer->round_us != 0 && !peer->caught_up &&
        core->now_us - peer->round_us <= core->config.sync_timeout_us / 4) {
        peer->caught_up = true;
        core_note(core, KVP_NOTE_PEER_CAUGHT_UP, peer->id);
    }
    peer->round_target = core->log.tail.seq;
    peer->round_us = core->now_us;
}

void core_add_ready_joiner(struct kvp_core *core)
{
    assert(core_leading(core));
    if (core->role != KVP_ROLE_PRIMARY || core->proposal.stage != PROPOSAL_NONE ||
        core->handover == HANDOVER_DRAINS || core->stopping || core_disk_is_suspect(core) ||
        kvp_set_count(core->view.in_sync) >= core_members_wanted(core)) {
        return;
    }
    for (unsigned i = 0; i < core->peer_count; i++) {
        struct core_peer *peer = &core->peers[i];
        if ((peer->caught_up || KVP_MUTANT(ADD_UNREADY)) &&
            core_members_may_count(core, peer->id) &&
            peer->report.member_epoch == core->view.epoch && !peer->report.log_regressed &&
            peer->lease_us > core->now_us) {
            core_propose(core, REASON_ADD, core->config.self,
                         core->view.in_sync | kvp_set_of(peer->id), peer->id);
            return;
        }
    }
}

void core_lead_tick(struct kvp_core *core)
{
    for (unsigned i = 0; i < core->peer_count && core_leading(core); i++) {
        struct core_peer *peer = &core->peers[i];
        primary_watch_progress(core, peer);
        primary_watch_member(core, peer);
        primary_watch_joiner(core, peer);
        core_snapshot_tick(core, peer);
    }
    core->due |= CORE_DUE_LEAD;
}

/* ---- commit ---- */

static void primary_commit_to(struct kvp_core *core, uint64_t seq)
{
    if (seq <= core->commit) {
        return;
    }
    core->commit = seq;
    if (!kvp_core_log_point(&core->log, seq, &core->commit_point)) {
        assert(!"what is not applied is in memory");
    }
    assert(core->commit <= core->log.tail.seq);
    core->port.committed(core->port.arg, seq);
}

/* The end of what every required member has durably. */
static uint64_t primary_agreed(const struct kvp_core *core)
{
    uint64_t seq = KVP_MUTANT(ACK_BEFORE_DISK) ? core->log.tail.seq : core->durable.seq;
    kvp_node_set set = KVP_MUTANT(ACK_ALONE) ? 0 : core_required(core);
    if ((set & ~core->known) != 0) {
        return core->commit; /* it may lack anything */
    }
    for (unsigned i = 0; i < core->peer_count; i++) {
        const struct core_peer *peer = &core->peers[i];
        if (kvp_set_has(set, peer->id) && peer->match < seq) {
            seq = peer->match;
        }
    }
    return seq;
}

/* ELECT ends when the whole log is on every member, applied here, and the leases hold. */
static void primary_try_serve(struct kvp_core *core)
{
    assert(core->role == KVP_ROLE_ELECT);
    bool whole = core->commit == core->log.tail.seq && core->applied == core->log.tail.seq;
    if ((!whole && !KVP_MUTANT(NO_ELECT)) || core->meta_durable != core->meta_wanted) {
        return;
    }
    /* Members of the view have stepped down when they give a lease; others may hold one of ours. */
    if ((core->leases_granted & ~core->view.in_sync) != 0 && !KVP_MUTANT(CANDIDATE_FOLLOWS) &&
        core->now_us - core->lease_granted_us <= core_grace(core)) {
        KVP_MARK(ELECT_WAITS_LEASE);
        return;
    }
    kvp_node_set set = core_required(core);
    if ((set & ~core->known) != 0) {
        return;
    }
    for (unsigned i = 0; i < core->peer_count; i++) {
        if (kvp_set_has(set, core->peers[i].id) && core->peers[i].lease_us <= core->now_us) {
            return;
        }
    }
    assert(core->meta_durable == core->meta_wanted);
    core_set_role(core, KVP_ROLE_PRIMARY);
    core_heartbeat(core);
}

void core_advance(struct kvp_core *core)
{
    assert(core_leading(core));
    primary_commit_to(core, primary_agreed(core));
    if (core->role == KVP_ROLE_ELECT) {
        primary_try_serve(core);
    }
}

void core_pump_all(struct kvp_core *core)
{
    for (unsigned i = 0; i < core->peer_count; i++) {
        core_pump(core, &core->peers[i]);
    }
}

/* ---- answers of the others ---- */

static void primary_land_flights(struct core_peer *peer)
{
    while (peer->flight_count > 0 && peer->flights[peer->flight_first].last <= peer->match) {
        peer->flight_first = (peer->flight_first + 1) % KVP_CORE_FLIGHTS;
        peer->flight_count--;
    }
}

static void primary_raise_match(struct kvp_core *core, struct core_peer *peer, uint64_t seq)
{
    assert(seq <= core->log.tail.seq);
    if (seq > peer->match) {
        peer->match = seq;
        peer->match_us = core->now_us;
    }
}

/* The first APPEND under way ought to have arrived before what this answers was sent. */
static bool primary_overdue(const struct kvp_core *core, const struct core_peer *peer,
                            const struct kvp_peer_reply *reply)
{
    return peer->flight_count > 0 && reply->op == KVP_OP_HEARTBEAT &&
           peer->flights[peer->flight_first].sent_us + 2 * core->config.heartbeat_us <
               reply->echo_us;
}

/*
 * Takes the end of the peer's log from its report. What holds before and after, while it
 * replicates:
 *
 *   match <= sent.seq <= our tail   `match` is durable there and compared; `sent` was sent after it
 *   flights                         the APPENDs between the two, oldest first
 *   position_us                     reports about the time before it say nothing: they predate the
 *                                   truncation of the peer's log. Only the answer to an APPEND
 * shows that a suffix is gone; until it comes position_us is UINT64_MAX.
 *
 * Answers overtake each other, so a report of less than `match` is old, unless it was asked for
 * after `match` rose last: then the peer has lost what it had acknowledged. A report of more than
 * was sent, or of an entry that is not ours, is about a log that must be compared anew.
 */
static void primary_take_position(struct kvp_core *core, struct core_peer *peer,
                                  const struct kvp_peer_reply *reply)
{
    assert(core_leading(core) && peer->mode == PEER_REPLICATE);
    const struct kvp_peer_report *report = &reply->report;
    struct kvp_point ours;
    if (reply->op == KVP_OP_APPEND && peer->position_us == UINT64_MAX) {
        peer->position_us = core->now_us; /* the suffix is gone */
    }
    if (reply->op != KVP_OP_APPEND && reply->echo_us < peer->position_us) {
        KVP_MARK(POSITION_OLD);
        if (peer->position_us == UINT64_MAX && primary_overdue(core, peer, reply)) {
            KVP_MARK(CUT_LOST);
            /* The APPEND that cuts the suffix, or its answer, got lost: a report does not tell
             * which, but a fresh comparison does. */
            core_probe_restart(core, peer);
        }
        return;
    }
    if (report->tail.seq < peer->match) {
        /* Answers overtake each other; but this one was asked for after we knew better. */
        if (reply->echo_us > peer->match_us) {
            peer->match = 0;
            peer->match_us = core->now_us;
            core_probe_restart(core, peer);
            primary_remove_peer(core, peer, KVP_NOTE_PEER_REGRESSED);
        }
        return;
    }
    if (report->tail.seq > core->log.tail.seq ||
        (kvp_core_log_point(&core->log, report->tail.seq, &ours) &&
         !kvp_point_equal(ours, report->tail))) {
        core_probe_restart(core, peer);
        return;
    }
    if (report->tail.seq <= peer->sent.seq) {
        primary_raise_match(core, peer, report->tail.seq);
    }
    primary_land_flights(peer);
    if (primary_overdue(core, peer, reply) &&
        report->received < peer->flights[peer->flight_first].last) {
        KVP_MARK(APPEND_LOST);
        core_probe_restart(core, peer); /* an APPEND got lost */
    }
}

/* Was it sent since the peer's position was compared? What is older may be about another log. */
static bool primary_answers_ours(const struct core_peer *peer, const struct kvp_peer_reply *reply)
{
    return peer->flight_count > 0 && reply->echo_us >= peer->flights[peer->flight_first].sent_us;
}

/*
 * How long an answer lets this node serve. Every node is told its times by itself: one that would
 * act before this node's lease ends gives a shorter one, which leaves a sixth of its grace for
 * clocks that drift.
 */
static uint64_t primary_lease_from(struct kvp_core *core, struct core_peer *peer, uint64_t grace_us)
{
    uint64_t most = grace_us == 0 ? UINT64_MAX : grace_us - grace_us / 6;
    if (most >= core->config.lease_us) {
        return core->config.lease_us;
    }
    if (!peer->times_noted) {
        peer->times_noted = true;
        core_note(core, KVP_NOTE_TIMES_DIFFER, peer->id);
    }
    return most;
}

/*
 * An answer of another incarnation than those before: the peer was started anew, or its store is
 * another one. What it had acknowledged says nothing about what it has. A late answer of the
 * incarnation before does the same, and the next one again: incarnations have no order.
 */
static void primary_meet_incarnation(struct kvp_core *core, struct core_peer *peer,
                                     const struct kvp_peer_reply *reply)
{
    const struct kvp_peer_report *report = &reply->report;
    bool first = peer->incarnation == 0;
    if (peer->incarnation == report->incarnation) {
        return;
    }
    peer->incarnation = report->incarnation;
    if (first) {
        return;
    }
    KVP_MARK(PEER_RESTARTED);
    if (report->tail.seq < peer->match && reply->echo_us > peer->match_us) {
        KVP_MARK(LOG_REGRESSED);
        primary_remove_peer(core, peer, KVP_NOTE_PEER_REGRESSED);
    }
    peer->match = 0;
    peer->match_us = core->now_us;
    peer->caught_up = false;
    if (peer->mode != PEER_PROBE) {
        core_snapshot_end(core, peer);
        core_probe_restart(core, peer);
    }
}

void core_lead_reply(struct kvp_core *core, struct core_peer *peer,
                     const struct kvp_peer_reply *reply)
{
    assert(core_leading(core));
    const struct kvp_peer_report *report = &reply->report;
    bool follows =
        report->view.primary == core->config.self && report->view.epoch >= core->lead_epoch;
    if (!follows) {
        return; /* said before it knew of us: it will, by the next heartbeat */
    }
    bool ours =
        reply->code == KVP_OK && (reply->op == KVP_OP_HEARTBEAT || reply->op == KVP_OP_APPEND ||
                                  reply->op == KVP_OP_SNAPSHOT);
    if (ours) {
        peer->heard_us = core->now_us;
        peer->resigned = peer->resigned && reply->echo_us <= peer->resigned_us;
        uint64_t asked_us = KVP_MUTANT(LEASE_FROM_RECEIPT) ? core->now_us : reply->echo_us;
        uint64_t lease = asked_us + primary_lease_from(core, peer, report->grace_us);
        peer->lease_us = lease > peer->lease_us ? lease : peer->lease_us;
    }
    primary_meet_incarnation(core, peer, reply);
    peer->report = *report;
    switch (peer->mode) {
    case PEER_PROBE:
        if (reply->op == KVP_OP_HEARTBEAT && ours && reply->echo_us >= peer->probe_us) {
            core_probe(core, peer);
        }
        break;
    case PEER_REPLICATE:
        if (!ours && reply->op == KVP_OP_APPEND) {
            peer->diverged = reply->code == KVP_DIVERGED && primary_answers_ours(peer, reply);
            core_probe_restart(core, peer);
        } else {
            primary_take_position(core, peer, reply);
        }
        break;
    case PEER_SNAPSHOT:
        core_snapshot_reply(core, peer, reply);
        break;
    case PEER_CHECK:
        break;
    }
    primary_watch_joiner(core, peer);
    core->due |= CORE_DUE_LEAD;
}
