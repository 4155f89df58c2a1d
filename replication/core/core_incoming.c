/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Receiving a snapshot, chunk by chunk, into a store beside the active one. Nothing of it counts,
 * is served or makes this node eligible before the last chunk is in and the stores have been
 * switched.
 */
#include "replication/core/core_state.h"

#include <assert.h>

static void incoming_answer_pending(struct kvp_core *core, int code)
{
    if (core->incoming.token != NULL) {
        core_answer(core, core->incoming.token, KVP_OP_SNAPSHOT, core->incoming.echo_us, code);
        core->incoming.token = NULL;
    }
}

void core_incoming_abort(struct kvp_core *core)
{
    if (core->incoming.id == 0 || core->replacing) {
        return;
    }
    KVP_MARK(INCOMING_DROPPED);
    core->incoming.id = 0;
    core->incoming.next = 0;
    core->incoming.confirm_us = 0;
    incoming_answer_pending(core, KVP_NOT_FOUND);
    core->port.incoming_abort(core->port.arg);
}

static void incoming_add_job(struct kvp_core *core, enum incoming_job job)
{
    assert(core->incoming.job_count < sizeof(core->incoming.jobs) / sizeof(core->incoming.jobs[0]));
    core->incoming.jobs[core->incoming.job_count++] = job;
    core_disk_asked(core, CORE_DISK_STORE);
}

/* A member that may lead has everything: whoever offers it a snapshot is mistaken. */
static bool incoming_takes_from(const struct kvp_core *core, uint8_t from)
{
    return from == core->view.primary && from != core->config.self && core->meta.group_id != 0 &&
           core->role != KVP_ROLE_CANDIDATE &&
           !(kvp_set_has(core->view.in_sync, core->config.self) && core_eligible(core));
}

static bool incoming_acceptable(const struct kvp_core *core, const struct kvp_peer_request *request)
{
    return incoming_takes_from(core, request->from) && request->view.epoch == core->view.epoch &&
           request->snapshot != 0 && request->point.seq != 0;
}

void core_follow_snapshot(struct kvp_core *core, const struct kvp_peer_request *request,
                          void *token)
{
    if (!incoming_acceptable(core, request)) {
        core_answer(core, token, request->op, request->sent_us, KVP_STALE_VIEW);
        return;
    }
    core->heard_primary_us = core->now_us;
    core->leases_granted |= kvp_set_of(core->view.primary);
    core->lease_granted_us = core->now_us;
    bool fresh = request->snapshot != core->incoming.id;
    bool busy = core->incoming.job_count > 0 || core->incoming.confirm_us != 0;
    if (core->replacing || busy ||
        (fresh ? request->index != 0 : request->index != core->incoming.next)) {
        KVP_MARK(INCOMING_REPEATED);
        core_answer(core, token, request->op, request->sent_us, busy ? KVP_BUSY : KVP_NOT_FOUND);
        return;
    }
    if (fresh && core_keep_refused(core) && core_keep(core, request->point.seq) != KVP_KEEP_NOT) {
        KVP_MARK(INCOMING_NO_ROOM);
        core_answer(core, token, request->op, request->sent_us, KVP_REFUSED);
        return;
    }
    if (fresh) {
        core_note(core, KVP_NOTE_SNAPSHOT_RECEIVING, request->from);
        core->incoming.id = request->snapshot;
        core->incoming.next = 0;
        incoming_add_job(core, INCOMING_BEGIN);
        core->port.incoming_begin(core->port.arg);
    }
    assert(core->incoming.token == NULL);
    core->incoming.point = request->point;
    core->incoming.last = request->last;
    core->incoming.token = token;
    core->incoming.echo_us = request->sent_us;
    core->incoming.from = request->from;
    incoming_add_job(core, INCOMING_WRITE);
    core->port.incoming_write(core->port.arg, request->chunk);
}

static void incoming_finish(struct kvp_core *core, enum kvp_keep keep)
{
    assert(core->incoming.id != 0 && core->incoming.job_count == 0);
    assert(!core_leading(core));
    core->incoming.confirm_us = 0;
    core_replace_begin(core, 0);
    core->next_keep = keep;
    incoming_add_job(core, INCOMING_FINISH);
    core->port.incoming_finish(core->port.arg, core->incoming.point, &core->next_meta, keep);
}

/* All of it is in. What it replaces may be destroyed if the register shows who has sent it: that is
 * waited for, while the register answers. */
static void incoming_complete(struct kvp_core *core)
{
    assert(core->incoming.job_count == 0);
    enum kvp_keep keep = core_keep(core, core->incoming.point.seq);
    if (core_confirmed(core) || keep == KVP_KEEP_NOT) {
        incoming_finish(core, keep);
    } else {
        KVP_MARK(INCOMING_UNSEEN);
        core->incoming.confirm_us = core_confirm(core);
    }
}

void core_incoming_tick(struct kvp_core *core)
{
    if (core->incoming.confirm_us == 0) {
        return;
    }
    if (!incoming_takes_from(core, core->incoming.from)) {
        KVP_MARK(INCOMING_ORPHANED);
        core_incoming_abort(core); /* its sender was no primary, or is none any more */
    } else if (core->now_us >= core->incoming.confirm_us && core_keep_waits(core)) {
        KVP_MARK(INCOMING_WAITS);
        core->incoming.confirm_us = core_confirm(core);
    } else if (core_confirmed(core) || core->now_us >= core->incoming.confirm_us) {
        incoming_finish(core, core_keep(core, core->incoming.point.seq));
    }
}

static void incoming_finished(struct kvp_core *core)
{
    assert(core->replacing);
    core_replace_end(core, core->incoming.point);
    core->incoming.id = 0;
    core->incoming.next = 0;
    core_note(core, KVP_NOTE_SNAPSHOT_RECEIVED, core->incoming.point.seq);
    incoming_answer_pending(core, KVP_OK);
}

void core_incoming_job_done(struct kvp_core *core, kvp_status status)
{
    assert(core->incoming.job_count > 0);
    core_disk_answered(core, CORE_DISK_STORE);
    enum incoming_job job = core->incoming.jobs[0];
    core->incoming.job_count--;
    for (unsigned i = 0; i < core->incoming.job_count; i++) {
        core->incoming.jobs[i] = core->incoming.jobs[i + 1];
    }
    if (core->role == KVP_ROLE_FAILED) {
        return;
    }
    if (status == KVP_REFUSED && job == INCOMING_FINISH) {
        core_keep_failed(core);
        incoming_answer_pending(core, KVP_REFUSED);
        core_incoming_abort(core);
        return;
    }
    if (status == KVP_BAD_REQUEST || status == KVP_NO_MEMORY || status == KVP_BUSY) {
        /* Of a chunk: the store may be about to be quarantined, and stays to be. */
        core->replacing = core->replacing && job != INCOMING_FINISH;
        core_incoming_abort(core);
        return;
    }
    if (status != KVP_OK) {
        core_failed(core);
        return;
    }
    if (job == INCOMING_FINISH) {
        incoming_finished(core);
    } else if (job == INCOMING_WRITE && core->incoming.id != 0) {
        core->incoming.next++;
        if (core->incoming.last || KVP_MUTANT(SNAPSHOT_TORN)) {
            incoming_complete(core);
        } else {
            incoming_answer_pending(core, KVP_OK);
        }
    }
}
