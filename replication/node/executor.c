/* SPDX-License-Identifier: Apache-2.0 */
/* The executor's frame: the replication core's port, the events of the host, and what follows. */
#include "replication/node/exec_state.h"

#include "replication/wire/peer_wire.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* ---- the core's port: messages ---- */

static void executor_port_send(void *arg, const struct kvp_peer_request *request)
{
    struct kvp_executor *executor = arg;
    kvp_slice group = kvp_slice_of(executor->config.group, strlen(executor->config.group));
    executor->scratch.size = 0;
    if (kvp_peer_request_encode(request, group, &executor->scratch) != KVP_OK) {
        return; /* no memory: as if lost */
    }
    bool data = request->op == KVP_OP_APPEND || request->op == KVP_OP_SNAPSHOT;
    executor->host.send(executor->host.arg, request->to, data ? KVP_LINK_DATA : KVP_LINK_CONTROL,
                        kvp_buf_slice(&executor->scratch));
}

static void port_reply(void *arg, void *token, const struct kvp_peer_reply *reply)
{
    struct kvp_executor *executor = arg;
    executor->scratch.size = 0;
    if (kvp_peer_reply_encode(reply, &executor->scratch) != KVP_OK) {
        executor->scratch.size = 0;
    }
    executor->host.answer_peer(executor->host.arg, token, kvp_buf_slice(&executor->scratch));
}

/* ---- the core's port: the disk ---- */

static struct kvp_disk_job *new_job(struct kvp_executor *executor, enum kvp_disk_op op,
                                    uint8_t peer, size_t entry_max)
{
    struct kvp_disk_job *job = kvp_disk_job_new(op, peer, entry_max);
    executor->broken = executor->broken || job == NULL;
    return job;
}

static void submit(struct kvp_executor *executor, struct kvp_disk_job *job)
{
    if (job != NULL) {
        executor->host.disk(executor->host.arg, job);
    }
}

static void port_write(void *arg, const struct kvp_storage_write *write)
{
    struct kvp_executor *executor = arg;
    size_t count = write->append_count + write->apply_count;
    struct kvp_disk_job *job = new_job(executor, KVP_DISK_WRITE, 0, count);
    if (job == NULL) {
        return;
    }
    for (size_t i = 0; i < write->append_count; i++) {
        job->entries[job->entry_count++] = kvp_entry_ref(write->append[i]);
    }
    for (size_t i = 0; i < write->apply_count; i++) {
        job->entries[job->entry_count++] = kvp_entry_ref(write->apply[i]);
    }
    job->write = *write;
    job->write.append = job->entries;
    job->write.apply = job->entries + write->append_count;
    if (write->meta != NULL) {
        job->meta = *write->meta;
        job->write.meta = &job->meta;
    }
    submit(executor, job);
}

static void port_read_log(void *arg, uint8_t peer, uint64_t from, size_t size_max, size_t count_max)
{
    struct kvp_executor *executor = arg;
    struct kvp_disk_job *job = new_job(executor, KVP_DISK_READ_LOG, peer, count_max);
    if (job != NULL) {
        job->from = from;
        job->size_max = size_max;
        job->count_max = count_max;
        submit(executor, job);
    }
}

static void port_snapshot_open(void *arg, uint8_t peer)
{
    submit(arg, new_job(arg, KVP_DISK_SNAPSHOT_OPEN, peer, 0));
}

static void port_snapshot_read(void *arg, uint8_t peer)
{
    submit(arg, new_job(arg, KVP_DISK_SNAPSHOT_READ, peer, 0));
}

static void port_snapshot_close(void *arg, uint8_t peer)
{
    submit(arg, new_job(arg, KVP_DISK_SNAPSHOT_CLOSE, peer, 0));
}

static void port_incoming_begin(void *arg)
{
    submit(arg, new_job(arg, KVP_DISK_INCOMING_BEGIN, 0, 0));
}

static void port_incoming_write(void *arg, kvp_slice chunk)
{
    struct kvp_executor *executor = arg;
    struct kvp_disk_job *job = new_job(executor, KVP_DISK_INCOMING_WRITE, 0, 0);
    if (job != NULL && kvp_buf_append(&job->chunk, chunk.data, chunk.size) != KVP_OK) {
        executor->broken = true;
    }
    submit(executor, job);
}

/* A job after which the store is another one: nothing may read this one meanwhile. */
static void replace(struct kvp_executor *executor, enum kvp_disk_op op, struct kvp_point point,
                    const struct kvp_meta *meta, enum kvp_keep keep)
{
    struct kvp_disk_job *job = new_job(executor, op, 0, 0);
    if (job != NULL) {
        exec_scan_end(executor, true);
        exec_backup_end(executor);
        exec_watch_end(executor);
        kvp_engine_release(executor->engine);
        executor->replacing = true;
        job->point = point;
        job->meta = *meta;
        job->keep = keep;
        submit(executor, job);
    }
}

static void port_incoming_finish(void *arg, struct kvp_point point, const struct kvp_meta *meta,
                                 enum kvp_keep keep)
{
    replace(arg, KVP_DISK_INCOMING_FINISH, point, meta, keep);
}

static void port_incoming_abort(void *arg)
{
    submit(arg, new_job(arg, KVP_DISK_INCOMING_ABORT, 0, 0));
}

static void port_quarantine(void *arg, const struct kvp_meta *meta, enum kvp_keep keep)
{
    replace(arg, KVP_DISK_QUARANTINE, (struct kvp_point){0}, meta, keep);
}

/* ---- the core's port: the rest ---- */

static void port_arbiter(void *arg, const struct kvp_arbiter_request *request)
{
    struct kvp_executor *executor = arg;
    executor->host.arbiter(executor->host.arg, request);
}

static void port_fence(void *arg)
{
    struct kvp_executor *executor = arg;
    exec_say(executor, KVP_LOG_WARN, "fence_started", "primary=%u",
             kvp_core_view(executor->core)->primary);
    executor->host.fence(executor->host.arg);
}

static void port_committed(void *arg, uint64_t seq)
{
    struct kvp_executor *executor = arg;
    executor->committed = seq; /* looked at when the core is done: executor_settle() */
}

static void port_changed(void *arg)
{
    struct kvp_executor *executor = arg;
    executor->host.changed(executor->host.arg);
}

static void port_handover_done(void *arg, kvp_status status)
{
    struct kvp_executor *executor = arg;
    if (executor->handover_token != NULL) {
        void *token = executor->handover_token;
        executor->handover_token = NULL;
        executor->answering = KVP_OP_HANDOVER;
        exec_refuse(executor, token, status,
                    status == KVP_REFUSED     ? "no in-sync member could take over"
                    : status == KVP_UNCERTAIN ? "the role was handed over, but the new primary was "
                                                "not seen to serve in time"
                                              : NULL);
    }
}

static void port_promote_done(void *arg, kvp_status status)
{
    struct kvp_executor *executor = arg;
    if (executor->promote_token != NULL) {
        void *token = executor->promote_token;
        executor->promote_token = NULL;
        char text[768];
        executor->answering = KVP_OP_PROMOTE;
        exec_refuse(executor, token, status,
                    exec_promote_why(executor, status, text, sizeof(text)));
    }
}

static void port_stopped(void *arg)
{
    struct kvp_executor *executor = arg;
    executor->host.stopped(executor->host.arg);
}

static void port_note(void *arg, enum kvp_note note, uint64_t number)
{
    exec_note(arg, note, number);
}

static const struct kvp_core_port port_functions = {
    .send = executor_port_send,
    .reply = port_reply,
    .write = port_write,
    .read_log = port_read_log,
    .snapshot_open = port_snapshot_open,
    .snapshot_read = port_snapshot_read,
    .snapshot_close = port_snapshot_close,
    .incoming_begin = port_incoming_begin,
    .incoming_write = port_incoming_write,
    .incoming_finish = port_incoming_finish,
    .incoming_abort = port_incoming_abort,
    .quarantine = port_quarantine,
    .arbiter = port_arbiter,
    .fence = port_fence,
    .committed = port_committed,
    .changed = port_changed,
    .handover_done = port_handover_done,
    .promote_done = port_promote_done,
    .stopped = port_stopped,
    .note = port_note,
};

/* ---- what follows from an event ---- */

static void log_view(struct kvp_executor *executor, enum kvp_role role)
{
    const struct kvp_view *view = kvp_core_view(executor->core);
    char in_sync[KVP_SET_TEXT_SIZE];
    executor->noted_epoch = view->epoch;
    executor->noted_role = role;
    exec_role_changed(executor);
    exec_say(executor, role == KVP_ROLE_FAILED ? KVP_LOG_ERROR : KVP_LOG_INFO, "view",
             "role=%s epoch=%" PRIu64 " version=%" PRIu64 " primary=%u in_sync=%s"
             " tail=%" PRIu64,
             kvp_role_name(role), view->epoch, view->version, view->primary,
             kvp_set_print(in_sync, view->in_sync), kvp_core_next_seq(executor->core) - 1);
}

static void log_changes(struct kvp_executor *executor, bool serving)
{
    enum kvp_role role = kvp_core_role(executor->core);
    exec_count_view(executor);
    if (kvp_core_view(executor->core)->epoch != executor->noted_epoch ||
        role != executor->noted_role) {
        log_view(executor, role);
    }
    if (serving != executor->noted_serving) {
        uint64_t after_us = serving ? exec_serves_after_us(executor) : 0;
        char after[40] = "";
        executor->noted_serving = serving;
        if (after_us > 0) {
            snprintf(after, sizeof(after), " after_ms=%" PRIu64, after_us / 1000);
        }
        exec_say(executor, KVP_LOG_INFO, serving ? "serving" : "not_serving",
                 "role=%s epoch=%" PRIu64 "%s", kvp_role_name(role),
                 kvp_core_view(executor->core)->epoch, after);
    }
}

static void become_primary(struct kvp_executor *executor)
{
    uint64_t seq = kvp_core_applied(executor->core);
    kvp_engine_set_now(executor->engine, executor->now_us);
    kvp_status status = kvp_engine_start(executor->engine, executor->storage, seq);
    if (status == KVP_OK) {
        status = kvp_engine_start_jobs(executor->engine, kvp_core_group_id(executor->core),
                                       executor->config.core.random ^ executor->now_us);
    }
    exec_rest(executor, EXEC_REST_US);
    if (status != KVP_OK && kvp_storage_error(executor->storage)[0] != '\0') {
        exec_say_storage_failed(executor, KVP_FAILED);
        kvp_core_fail(executor->core, executor->now_us);
        return;
    }
    if (status != KVP_OK) {
        exec_say(executor, KVP_LOG_ERROR, "engine_start_failed", "reason=\"%s\"",
                 kvp_strerror(status));
        kvp_core_fail(executor->core, executor->now_us);
        return;
    }
    executor->running = true;
    exec_access_changed(executor);
    executor->committed = executor->applied_told = seq;
    exec_jobs_begin(executor);
}

static void cease_primary(struct kvp_executor *executor)
{
    executor->running = false;
    exec_access_changed(executor);
    executor->engine = kvp_engine_succeed(executor->engine);
    exec_members_end(executor);
    exec_rest(executor, EXEC_REST_US);
    exec_give_up(executor, KVP_UNCERTAIN);
    exec_scan_end(executor, false);
    exec_watch_end(executor);
    exec_fetch_end(executor);
}

/* Is the role another one than the engine's, or must this node give up? */
static bool executor_is_unsettled(const struct kvp_executor *executor)
{
    bool primary = kvp_core_role(executor->core) == KVP_ROLE_PRIMARY;
    return executor->broken || primary != executor->running;
}

static void settle_role(struct kvp_executor *executor)
{
    if (executor->broken) {
        executor->broken = false;
        exec_say(executor, KVP_LOG_ERROR, "out_of_memory", "%s", "");
        kvp_core_fail(executor->core, executor->now_us);
    }
    bool primary = kvp_core_role(executor->core) == KVP_ROLE_PRIMARY;
    if (primary && !executor->running) {
        become_primary(executor);
    } else if (!primary && executor->running) {
        cease_primary(executor);
    }
}

/* What is committed is answered, if this node serves. True: it does. */
static bool settle_engine(struct kvp_executor *executor)
{
    uint64_t applied = kvp_core_applied(executor->core);
    bool serving = exec_serving(executor);
    kvp_engine_lease_time(executor->engine, executor->now_us, serving);
    kvp_engine_commit(executor->engine, executor->committed);
    if (applied > executor->applied_told) {
        executor->applied_told = applied;
        kvp_engine_applied(executor->engine, applied);
    }
    if (serving) {
        exec_release(executor);
    }
    exec_jobs_step(executor);
    exec_jobs_hear(executor, serving);
    return serving;
}

/*
 * What every event ends with: what has nothing to do costs next to nothing. The order matters:
 * memory that ran out makes the core fail before anything is answered; the role is taken over or
 * given up before anything is committed, so that what was asked of the primary before is told its
 * outcome by the role that took it; what is committed is told before what is applied, which may
 * free it; answers leave only while the leases hold, after both; job work comes last, since it may
 * make new updates of what was just committed.
 */
static void executor_settle(struct kvp_executor *executor)
{
    if (executor_is_unsettled(executor)) {
        settle_role(executor);
    }
    bool serving = executor->running && settle_engine(executor);
    exec_scan_step(executor);
    if (executor->watches.count > 0) {
        exec_watch_step(executor);
    }
    log_changes(executor, serving && kvp_core_role(executor->core) == KVP_ROLE_PRIMARY);
    if (executor->troubled) {
        exec_notes_step(executor);
    }
}

/* ---- events ---- */

kvp_status kvp_executor_open(const struct kvp_executor_config *config,
                             const struct kvp_executor_host *host, struct kvp_storage *storage,
                             const struct kvp_loaded *loaded, uint64_t now_us,
                             struct kvp_executor **executor)
{
    struct kvp_executor *made = calloc(1, sizeof(*made));
    if (made == NULL) {
        return KVP_NO_MEMORY;
    }
    made->config = *config;
    made->host = *host;
    made->storage = storage;
    made->started_us = made->now_us = now_us;
    made->last_cursor = config->core.random >> 21; /* its page numbers need 20 bits */
    made->last_backup = config->core.random >> 33; /* and those of backups 32 */
    struct kvp_engine_config engine = {.sessions_max = config->sessions_max,
                                       .session_answers_max = config->session_answers_max,
                                       .session_idle_ms = config->session_idle_ms,
                                       .jobs = config->jobs};
    struct kvp_core_port port = port_functions;
    port.arg = made;
    exec_members_open(made);
    kvp_status status = kvp_engine_open(&engine, &made->engine);
    if (status == KVP_OK) {
        status = kvp_core_new(&made->config.core, &port, &made->core);
    }
    if (status != KVP_OK) {
        kvp_engine_close(made->engine);
        free(made);
        return status;
    }
    *executor = made;
    kvp_core_start(made->core, now_us, loaded);
    made->counted_view = *kvp_core_view(made->core); /* what was on the disk is no change */
    executor_settle(made);
    return KVP_OK;
}

void kvp_executor_close(struct kvp_executor *executor)
{
    if (executor == NULL) {
        return;
    }
    exec_give_up(executor, KVP_UNCERTAIN);
    exec_scan_end(executor, true);
    exec_backup_end(executor);
    exec_watch_free(executor);
    exec_fetch_end(executor);
    port_handover_done(executor, KVP_CLOSED);
    port_promote_done(executor, KVP_CLOSED);
    kvp_core_free(executor->core);
    kvp_engine_close(executor->engine);
    kvp_buf_free(&executor->scratch);
    kvp_buf_free(&executor->value);
    kvp_buf_free(&executor->writeset);
    exec_wait_free_spares(executor);
    kvp_rights_table_free(&executor->access.table);
    free(executor);
}

static void peer_message(struct kvp_executor *executor, kvp_slice body, void *token)
{
    struct kvp_peer_request *request = &executor->peer_request;
    kvp_slice group;
    kvp_status status = kvp_peer_request_decode(body, request, &group);
    kvp_slice ours = kvp_slice_of(executor->config.group, strlen(executor->config.group));
    if (status == KVP_OK && kvp_slice_compare(group, ours) != 0) {
        status = KVP_WRONG_GROUP;
    }
    if (status == KVP_OK) {
        kvp_core_request(executor->core, executor->now_us, request, token);
    } else {
        executor->answering = 0;
        exec_refuse(executor, token, status, "peer message refused");
    }
    kvp_peer_request_release(request);
}

void kvp_executor_message(struct kvp_executor *executor, uint64_t now_us, kvp_slice body,
                          const struct kvp_identity *asker, void *token)
{
    executor->now_us = now_us;
    unsigned version, op;
    struct kvp_request request;
    const char *reason;
    if (kvp_wire_peek(body, &version, &op) == KVP_OK && version == KVP_WIRE_VERSION &&
        KVP_OP_IS_PEER(op)) {
        peer_message(executor, body, token);
        return;
    }
    kvp_status status = kvp_wire_request_decode(body, &executor->txn, &request, &reason);
    if (status == KVP_OK && asker != NULL) {
        request.asker = asker;
        request.session.client = kvp_access_session(request.session.client, asker);
    }
    if (status == KVP_OK) {
        exec_request(executor, &request, token);
    } else {
        executor->answering = 0;
        exec_refuse(executor, token, status, reason);
    }
}

void kvp_executor_asked(struct kvp_executor *executor, uint64_t came_us)
{
    executor->asked_us = came_us;
}

void kvp_executor_handled(struct kvp_executor *executor, uint64_t now_us)
{
    if (executor->answered_at_once) {
        node_times_add(&executor->counts.requests[executor->answering % NODE_COUNTS_OPS],
                       now_us - executor->asked_us);
    }
    executor->answered_at_once = false;
    executor->asked_us = 0;
}

void kvp_executor_request(struct kvp_executor *executor, uint64_t now_us,
                          const struct kvp_request *request, void *token)
{
    executor->now_us = now_us;
    exec_request(executor, request, token);
}

/* Heartbeats wait for no disk. */
static void executor_time_trip(struct kvp_executor *executor, const struct kvp_peer_reply *reply)
{
    if (reply->op == KVP_OP_HEARTBEAT && reply->echo_us <= executor->now_us) {
        node_times_add(&executor->counts.trips[reply->from % NODE_COUNTS_PEERS],
                       executor->now_us - reply->echo_us);
    }
}

void kvp_executor_peer_answer(struct kvp_executor *executor, uint64_t now_us, uint8_t peer,
                              kvp_slice body)
{
    executor->now_us = now_us;
    struct kvp_peer_reply reply;
    if (kvp_peer_reply_decode(body, &reply) == KVP_OK) {
        bool unknown = -abs(reply.code) == KVP_NOT_FOUND &&
                       (reply.op == KVP_OP_STATE || reply.op == KVP_OP_HEARTBEAT);
        if (reply.from == peer && (unknown || -abs(reply.code) == KVP_REFUSED)) {
            exec_peer_refused(executor, peer, unknown);
        } else if (reply.from == peer) {
            exec_peer_answered(executor, peer, KVP_OK);
            executor_time_trip(executor, &reply);
        }
        if (reply.from == peer) {
            exec_peer_role(executor, peer, reply.report.role);
            kvp_core_reply(executor->core, now_us, &reply);
        } else {
            exec_peer_mistaken(executor, peer, reply.from);
        }
    } else {
        struct kvp_answer answer;
        if (kvp_wire_answer_decode(body, &answer) == KVP_OK) {
            exec_peer_answered(executor, peer, (kvp_status)answer.status);
            exec_say(executor, KVP_LOG_DEBUG, "peer_refused", "peer=%u reason=\"%s\"", peer,
                     kvp_strerror(answer.status));
        }
    }
}

void kvp_executor_link(struct kvp_executor *executor, uint64_t now_us, uint8_t peer,
                       enum kvp_link_kind kind, bool up)
{
    executor->now_us = now_us;
    exec_say(executor, KVP_LOG_DEBUG, up ? "link_up" : "link_down", "peer=%u kind=%s", peer,
             kind == KVP_LINK_DATA ? "data" : "control");
    if (kind == KVP_LINK_DATA) {
        kvp_core_link(executor->core, now_us, peer, up);
    }
}

static void replaced(struct kvp_executor *executor, const struct kvp_disk_job *job)
{
    const struct kvp_quarantined *quarantined = &job->quarantined;
    executor->replacing = false;
    if (job->op == KVP_DISK_INCOMING_FINISH && job->status == KVP_OK) {
        exec_members_replaced(executor);
    }
    if (job->status == KVP_REFUSED && !executor->noted_quarantine) {
        executor->noted_quarantine = true;
        exec_say(
            executor, KVP_LOG_ERROR, "quarantine_full",
            "stores=%u reason=\"this store has to make way and may have what nobody else has; as "
            "many "
            "are kept as allowed. Move or remove diverged-* in the data directory (kvnode(8)), or "
            "allow more; until then this node stays outside\"",
            quarantined->count);
    }
    executor->noted_quarantine = executor->noted_quarantine && job->status != KVP_OK;
    if (quarantined->dropped > 0) {
        exec_say(executor, KVP_LOG_WARN, "quarantine_dropped",
                 "count=%u reason=\"room was needed; they never counted\"", quarantined->dropped);
    }
    if (job->status == KVP_OK && quarantined->name[0]) {
        bool spare = job->keep == KVP_KEEP_SPARE;
        executor->config.stores_quarantined = quarantined->count;
        exec_say(executor, spare ? KVP_LOG_WARN : KVP_LOG_ERROR,
                 spare ? "store_kept" : "store_set_aside", "name=%s", quarantined->name);
    }
}

static void write_failed(struct kvp_executor *executor, const struct kvp_disk_job *job)
{
    bool expected = job->status == KVP_NOT_FOUND || job->status == KVP_BAD_REQUEST ||
                    job->status == KVP_NO_MEMORY || job->status == KVP_BUSY ||
                    job->status == KVP_REFUSED;
    if (job->status != KVP_OK && !expected && kvp_core_role(executor->core) != KVP_ROLE_FAILED) {
        exec_say_storage_failed(executor, job->status);
    }
}

void kvp_executor_disk_done(struct kvp_executor *executor, uint64_t now_us,
                            struct kvp_disk_job *job)
{
    struct kvp_core *core = executor->core;
    executor->now_us = now_us;
    write_failed(executor, job);
    switch (job->op) {
    case KVP_DISK_WRITE:
        if (job->members) {
            exec_members_written(executor, job);
        }
        kvp_core_write_done(core, now_us, job->status);
        if (job->members) {
            exec_members_step(executor);
        }
        break;
    case KVP_DISK_READ_LOG:
        kvp_core_read_log_done(core, now_us, job->peer, job->status, job->entries,
                               job->entry_count);
        break;
    case KVP_DISK_READ_WATCHED:
        exec_watch_page(executor, job);
        return; /* it has the job now */
    case KVP_DISK_SNAPSHOT_OPEN:
        kvp_core_snapshot_opened(core, now_us, job->peer, job->status, job->point);
        break;
    case KVP_DISK_SNAPSHOT_READ:
        kvp_core_snapshot_read_done(core, now_us, job->peer, job->status,
                                    kvp_buf_slice(&job->chunk), job->last);
        break;
    case KVP_DISK_INCOMING_FINISH:
        replaced(executor, job);
        kvp_core_incoming_done(core, now_us, job->status);
        break;
    case KVP_DISK_INCOMING_BEGIN:
    case KVP_DISK_INCOMING_WRITE:
        kvp_core_incoming_done(core, now_us, job->status);
        break;
    case KVP_DISK_QUARANTINE:
        replaced(executor, job);
        kvp_core_quarantine_done(core, now_us, job->status);
        break;
    case KVP_DISK_SNAPSHOT_CLOSE:
    case KVP_DISK_INCOMING_ABORT:
        break;
    }
    kvp_disk_job_free(job);
}

void kvp_executor_arbiter_answer(struct kvp_executor *executor, uint64_t now_us,
                                 const struct kvp_arbiter_answer *answer)
{
    executor->now_us = now_us;
    exec_arbiter_answered(executor, answer);
    kvp_core_arbiter_answer(executor->core, now_us, answer);
}

void kvp_executor_fence_done(struct kvp_executor *executor, uint64_t now_us, bool success)
{
    executor->now_us = now_us;
    kvp_core_fence_done(executor->core, now_us, success);
}

void kvp_executor_tick(struct kvp_executor *executor, uint64_t now_us)
{
    executor->now_us = now_us;
    kvp_core_tick(executor->core, now_us);
    exec_members_step(executor);
}

uint64_t kvp_executor_deadline(const struct kvp_executor *executor)
{
    uint64_t core_us = kvp_core_deadline(executor->core), jobs_us = exec_jobs_deadline(executor);
    uint64_t sweep_us = kvp_engine_sweep_us(executor->engine);
    uint64_t own_us = jobs_us < sweep_us ? jobs_us : sweep_us;
    uint64_t watch_us = executor->watches.count > 0 ? exec_watch_deadline(executor) : UINT64_MAX;
    own_us = own_us < watch_us ? own_us : watch_us;
    if (executor->members.barred != 0) {
        uint64_t bar_us = exec_members_deadline(executor);
        own_us = own_us < bar_us ? own_us : bar_us;
    }
    return own_us < core_us ? own_us : core_us;
}

void kvp_executor_flush(struct kvp_executor *executor, uint64_t now_us)
{
    executor->now_us = now_us;
    executor_settle(executor);
    kvp_core_flush(executor->core, now_us);
    if (executor_is_unsettled(executor)) {
        executor_settle(executor); /* no memory for what the core asks for */
    }
    if (kvp_engine_sweep_us(executor->engine) <= now_us) {
        kvp_engine_sweep(executor->engine);
        exec_rest(executor, EXEC_PAUSE_US);
    }
}

void kvp_executor_stop(struct kvp_executor *executor, uint64_t now_us)
{
    executor->now_us = now_us;
    kvp_core_stop(executor->core, now_us);
}

const struct node_counts *kvp_executor_counts(const struct kvp_executor *executor)
{
    return &executor->counts;
}

const struct kvp_core *kvp_executor_core(const struct kvp_executor *executor)
{
    return executor->core;
}
