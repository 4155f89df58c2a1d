/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What holds between the core's fields whenever an event has been dealt with. core_state.h says
 * what each field is; here is how they stand to each other. The checks cost less than a message and
 * are on in every build: a node that believes nonsense about its log had better stop.
 */
#include "replication/core/core_state.h"

#include <assert.h>

/* The log in memory, what is on disk, what is committed, what is applied. */
static void check_log(const struct kvp_core *core)
{
    const struct kvp_core_log *log = &core->log;
    assert(log->base.seq + 1 == log->first);
    assert(log->base.seq <= log->tail.seq);
    assert(log->base.epoch <= log->tail.epoch);
    assert(log->base.seq <= core->applied); /* what is not applied is in memory */
    assert(core->applied <= core->commit);
    assert(core->commit <= core->durable.seq);
    assert(core->commit_point.seq == core->commit);
    assert(core->commit_point.epoch <= core->durable.epoch);
    assert(core->loading || core->durable.seq <= log->tail.seq);
    assert(core->loading || core->written <= log->tail.seq);
    assert(core->durable.seq <= core->written);
}

static void check_writes(const struct kvp_core *core)
{
    assert(core->meta_durable <= core->meta_wanted);
    assert(!core->writing || core->meta_writing <= core->meta_wanted);
    assert(!core->writing || core->applied <= core->applying);
    assert(!core->writing || core->applying <= core->commit);
    assert(!core->writing || core->write_last <= core->log.tail.seq);
    assert(!core->cut_pending || core->cut_after >= core->commit);
    assert(core->waiter_count <= KVP_CORE_WAITERS);
    for (unsigned i = 0; i < core->waiter_count; i++) {
        assert(core->waiters[i].token != NULL);
        assert(core->waiters[i].last > core->durable.seq); /* others are answered */
    }
}

static void check_view(const struct kvp_core *core)
{
    const struct kvp_view *view = &core->view;
    assert(view->epoch <= core->meta.view.epoch);
    if (view->epoch != 0) {
        assert(core->meta.group_id != 0);
        assert(kvp_set_has(view->in_sync, view->primary));
    }
    assert(core->meta.member_epoch <= core->meta.view.epoch);
    assert(!kvp_set_has(core->leases_granted, core->config.self));
    assert(core->log.tail.epoch <= core->meta.view.epoch || core->meta.log_regressed ||
           core->replacing);
}

static void check_role(const struct kvp_core *core)
{
    bool leads = core_leading(core);
    assert(leads == (core->lead_epoch != 0));
    assert(!leads || core->view.primary == core->config.self);
    assert(!leads || core->lead_epoch <= core->view.epoch);
    assert(!leads || !core->replacing);
    assert(!leads || core->incoming.id == 0);
    assert(core->role != KVP_ROLE_BACKUP || kvp_set_has(core->view.in_sync, core->config.self));
    assert(core->role != KVP_ROLE_OUTSIDE || !kvp_set_has(core->view.in_sync, core->config.self));
    assert(!core->draining || leads);
    /* Rule R6: who may acknowledge alone keeps in mind from where on. */
    assert(!leads || core->view.in_sync != kvp_set_of(core->config.self) ||
           core->proposal.stage >= PROPOSAL_PREPARE || core->meta.unreplicated_from != 0);
}

/* What an operator has asked for, and what waits for this node's answer. */
static void check_admin(const struct kvp_core *core)
{
    if (core->handover != HANDOVER_NONE) {
        assert(core->handover != HANDOVER_DRAINS || core->draining);
        assert(core->handover == HANDOVER_GIVEN ? core->handover_told : core_leading(core));
        assert(core->handover_target != core->config.self);
    }
    assert(!core->left || core->leave_sent);
    assert(core->ask_token == NULL || core_paired(core));
    assert(core->ask_token == NULL || core->ask_meta_needed <= core->meta_wanted);
    assert(core->state_token == NULL || core_paired(core));
    assert(!core->told || !core_paired(core));
    assert(core->identity_needed <= core->meta_wanted);
}

static void check_incoming(const struct kvp_core *core)
{
    assert(core->incoming.job_count <=
           sizeof(core->incoming.jobs) / sizeof(core->incoming.jobs[0]));
    if (core->incoming.id == 0) {
        assert(core->incoming.token == NULL);
        assert(core->incoming.confirm_us == 0);
    } else {
        assert(core->incoming.confirm_us == 0 || core->incoming.last);
    }
}

static void check_proposal(const struct kvp_core *core)
{
    const struct core_proposal *proposal = &core->proposal;
    if (proposal->stage == PROPOSAL_NONE) {
        assert(core->role != KVP_ROLE_CANDIDATE);
        return;
    }
    assert(kvp_set_has(proposal->view.in_sync, proposal->view.primary));
    assert(proposal->stage != PROPOSAL_FENCE || core->fencing);
    assert(proposal->stage != PROPOSAL_PREPARE || proposal->reason == REASON_ADD);
    assert(proposal->stage != PROPOSAL_GRANTED ||
           kvp_view_equal(&proposal->view, &core->meta.view));
    assert(proposal->stage == PROPOSAL_GRANTED || proposal->view.epoch > core->view.epoch);
    assert(proposal->reason != REASON_ADD || core_leading(core));
    assert(proposal->reason != REASON_REMOVE || core_leading(core));
}

static void check_peer(const struct kvp_core *core, const struct core_peer *peer)
{
    assert(peer->flight_count <= KVP_CORE_FLIGHTS);
    assert(peer->flight_first < KVP_CORE_FLIGHTS);
    assert(peer->leave_token == NULL || core_leading(core));
    assert(!peer->snapshot.have_chunk || peer->snapshot.id != 0);
    assert(!peer->snapshot.opening || peer->snapshot.id == 0);
    if (!core_leading(core)) {
        return;
    }
    assert(peer->match <= core->log.tail.seq);
    assert(peer->mode != PEER_REPLICATE || peer->match <= peer->sent.seq);
    assert(peer->mode != PEER_REPLICATE || peer->sent.seq <= core->log.tail.seq);
    assert(peer->lease_us <= core->now_us + core->config.lease_us);
    for (unsigned i = 1; i < peer->flight_count; i++) {
        unsigned before = (peer->flight_first + i - 1) % KVP_CORE_FLIGHTS;
        unsigned at = (peer->flight_first + i) % KVP_CORE_FLIGHTS;
        assert(peer->flights[before].last <= peer->flights[at].last);
        assert(peer->flights[before].sent_us <= peer->flights[at].sent_us);
    }
}

void core_check(const struct kvp_core *core)
{
    if (core->role >= KVP_ROLE_FAILED || core->meta.copy) {
        return; /* what it believed is of no use any more */
    }
    check_log(core);
    check_writes(core);
    check_view(core);
    check_role(core);
    check_proposal(core);
    check_admin(core);
    check_incoming(core);
    for (unsigned i = 0; i < core->peer_count; i++) {
        check_peer(core, &core->peers[i]);
    }
}
