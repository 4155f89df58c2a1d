/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Clients' requests: who may be answered what, and when. Reads are answered at once by a primary
 * whose leases hold; updates are executed at once and answered when they are committed and the
 * leases hold (rules R1 and R3).
 */
#include "replication/node/exec_state.h"
#include "kvstore/base/mutant.h"

#include <stdlib.h>
#include <string.h>

/* The engine has failed, or there is no memory. */
static void client_update_failed(struct kvp_executor *executor, const struct kvp_request *request,
                                 void *token, kvp_status status)
{
    exec_storage_failed(executor, status);
    /* The index of jobs may be ahead of what was written. */
    executor->broken = executor->broken || kvp_operation_of(request->op)->is_job;
    exec_refuse(executor, token, KVP_UNAVAILABLE, kvp_strerror(status));
}

/* Executes in the waiter's and the executor's buffers, which are theirs again. */
static kvp_status client_execute(struct kvp_executor *executor, const struct kvp_request *request,
                                 uint64_t seq, struct exec_waiter *waiter,
                                 struct kvp_execution *execution)
{
    *execution = (struct kvp_execution){.answer = waiter->answer, .writeset = executor->writeset};
    kvp_status status = kvp_engine_execute(executor->engine, request, seq, execution);
    waiter->answer = execution->answer;
    executor->writeset = execution->writeset;
    if (request->asker != NULL && status == KVP_OK) {
        exec_access_note(executor, request, kvp_buf_slice(&execution->answer),
                         kvp_strerror(execution->status));
    }
    return status;
}

static void client_update(struct kvp_executor *executor, const struct kvp_request *request,
                          void *token)
{
    struct kvp_execution execution;
    uint64_t seq = kvp_core_next_seq(executor->core);
    kvp_engine_set_now(executor->engine, executor->now_us);
    struct exec_waiter *waiter = exec_wait_new(executor);
    kvp_status status =
        waiter != NULL ? client_execute(executor, request, seq, waiter, &execution) : KVP_NO_MEMORY;
    if (status != KVP_OK || execution.kind == KVP_EXECUTION_ANSWER) {
        if (status != KVP_OK) {
            client_update_failed(executor, request, token, status);
        } else {
            exec_answer(executor, token, execution.status, kvp_buf_slice(&waiter->answer));
        }
        exec_wait_put(executor, waiter);
        return;
    }
    if (execution.kind == KVP_EXECUTION_APPEND &&
        exec_append(executor, &executor->writeset) != KVP_OK) {
        executor->broken = true; /* the engine has it, the log has not: this node cannot go on */
    }
    if (execution.kind == KVP_EXECUTION_APPEND && request->op == KVP_OP_MEMBER_CHANGE) {
        exec_members_appended(executor, seq);
    }
    waiter->token = token;
    waiter->op = request->op;
    waiter->seq = execution.kind == KVP_EXECUTION_APPEND ? seq : execution.wait_seq;
    waiter->size = executor->writeset.size + waiter->answer.size;
    waiter->status = execution.status;
    if (executor->writeset.capacity > EXEC_SPARE_SIZE_MAX) {
        kvp_buf_free(&executor->writeset);
    }
    exec_wait_add(executor, waiter);
}

static void client_change_members(struct kvp_executor *executor, const struct kvp_request *request,
                                  void *token)
{
    struct kvp_request ready = *request;
    kvp_buf founding = {0};
    if (exec_members_ready(executor, &ready, &founding, token)) {
        client_update(executor, &ready, token);
    }
    kvp_buf_free(&founding);
}

/* ---- reads ---- */

static void client_read_result(struct kvp_executor *executor, void *token, kvp_status status,
                               const struct kvp_record *record, uint64_t behind)
{
    executor->scratch.size = 0;
    if (status == KVP_OK) {
        status = kvp_wire_result_get(&executor->scratch, record->modify_revision,
                                     record->create_revision, record->value, behind);
    }
    if (status == KVP_OK || status == KVP_NOT_FOUND) {
        exec_answer(executor, token, status, kvp_buf_slice(&executor->scratch));
    } else {
        exec_storage_failed(executor, status);
        exec_refuse(executor, token, KVP_UNAVAILABLE, kvp_strerror(status));
    }
}

static void read_stale(struct kvp_executor *executor, const struct kvp_request *request,
                       void *token)
{
    struct kvp_raw_key raw;
    struct kvp_record record = {0};
    if (exec_store_is_away(executor, token)) {
        return;
    }
    kvp_raw_key_data(&raw, request->key);
    executor->value.size = 0;
    kvp_status status =
        kvp_storage_get(executor->storage, kvp_raw_key_slice(&raw), &executor->value);
    if (status == KVP_OK) {
        status = kvp_record_decode(kvp_buf_slice(&executor->value), &record);
    }
    uint64_t applied = kvp_core_applied(executor->core);
    uint64_t known = kvp_core_known_commit(executor->core);
    client_read_result(executor, token, status, &record, known > applied ? known - applied : 0);
}

static void read(struct kvp_executor *executor, const struct kvp_request *request, void *token)
{
    struct kvp_record_versions versions = {0};
    executor->value.size = 0;
    kvp_status status = kvp_engine_get(executor->engine, request->key, &executor->value, &versions);
    struct kvp_record record = {versions.create_revision, versions.modify_revision,
                                kvp_buf_slice(&executor->value)};
    client_read_result(executor, token, status, &record, 0);
}

/* ---- dispatch ---- */

static void hello(struct kvp_executor *executor, void *token)
{
    const struct kvp_view *view = kvp_core_view(executor->core);
    struct kvp_hello hello = {
        .node_id = executor->config.core.self,
        .role = (unsigned)kvp_core_role(executor->core),
        .primary_id = view->primary,
        .group_id = kvp_core_group_id(executor->core),
        .session_start = executor->running ? kvp_engine_committed(executor->engine) : 0,
        .node_count = executor->config.peer_count + 1,
    };
    hello.nodes[0].id = executor->config.core.self;
    hello.nodes[0].url = kvp_slice_of(executor->config.url, strlen(executor->config.url));
    for (unsigned i = 0; i < executor->config.peer_count; i++) {
        const struct kvp_executor_peer *peer = &executor->config.peers[i];
        hello.nodes[i + 1].id = peer->id;
        hello.nodes[i + 1].url = kvp_slice_of(peer->url, strlen(peer->url));
    }
    executor->scratch.size = 0;
    kvp_status status = kvp_wire_result_hello(&executor->scratch, &hello);
    exec_answer(executor, token, status, kvp_buf_slice(&executor->scratch));
}

static void status_map(struct kvp_executor *executor, void *token)
{
    kvp_buf map = {0};
    kvp_status status = kvp_executor_status(executor, executor->now_us, &map);
    exec_answer(executor, token, status, status == KVP_OK ? kvp_buf_slice(&map) : (kvp_slice){0});
    kvp_buf_free(&map);
}

static void operator_request(struct kvp_executor *executor, const struct kvp_request *request,
                             void *token)
{
    bool handover = request->op == KVP_OP_HANDOVER;
    void **slot = handover ? &executor->handover_token : &executor->promote_token;
    if (*slot != NULL) {
        exec_refuse(executor, token, KVP_BUSY, "one is under way");
        return;
    }
    const char *removed = handover ? NULL : exec_members_no_promotion(executor);
    if (removed != NULL) {
        exec_refuse(executor, token, KVP_REFUSED, removed);
        return;
    }
    *slot = token;
    if (request->asker != NULL) {
        exec_access_note(executor, request, (kvp_slice){0}, "begun");
    }
    if (handover) {
        kvp_core_handover(executor->core, executor->now_us, (uint8_t)request->target);
    } else {
        kvp_core_promote(executor->core, executor->now_us, request->force);
    }
}

/* The embedding application's requests have not come through the wire's checks. */
static kvp_status check_keys(const struct kvp_request *request)
{
    bool get = request->op == KVP_OP_GET;
    bool range = request->op == KVP_OP_SCAN || request->op == KVP_OP_WATCH;
    if ((get || range) && (request->key.size > KVP_KEY_SIZE_MAX ||
                           (range && request->value.size > KVP_KEY_SIZE_MAX))) {
        return KVP_TOO_LARGE;
    }
    return get && request->key.size == 0 ? KVP_BAD_REQUEST : KVP_OK;
}

static bool client_looks_at_leases(unsigned op)
{
    return op == KVP_OP_LEASE_KEEP || op == KVP_OP_LEASE_LIST || op == KVP_OP_LEASE_SHOW;
}

/* What is answered from what this node knows, at once, counts only while its leases hold. */
static bool client_writes(unsigned op)
{
    if (kvp_operation_of(op)->served == KVP_SERVED_READ) {
        return false;
    }
    return !client_looks_at_leases(op);
}

/* Is there a reason to refuse a request that only a primary may answer? KVP_OK: no. */
static kvp_status reason_to_refuse(const struct kvp_executor *executor,
                                   const struct kvp_request *request, const char **reason)
{
    bool writes = client_writes(request->op);
    *reason = NULL;
    if (kvp_core_role(executor->core) != KVP_ROLE_PRIMARY || !executor->running) {
        return KVP_NOT_PRIMARY;
    }
    bool able =
        writes ? kvp_core_accepting(executor->core, executor->now_us) : exec_serving(executor);
    if (request->epoch_seen > kvp_core_view(executor->core)->epoch) {
        *reason = "this node has not heard of the view that the request has seen";
        return KVP_UNAVAILABLE;
    }
    /* Broken: engine and log have parted, and the end of this batch of events is the node's. */
    if (executor->broken) {
        *reason = "this node is about to stop";
        return KVP_UNAVAILABLE;
    }
    if (!able) {
        bool hangs = writes && kvp_core_disk_hangs(executor->core, executor->now_us);
        *reason = hangs ? "the node's own disk does not answer" : "no lease from the in-sync set";
        return KVP_UNAVAILABLE;
    }
    if (writes && (executor->waiting_count >= EXEC_WAITING_MAX ||
                   executor->waiting_size >= EXEC_WAITING_SIZE_MAX)) {
        *reason = "too many updates under way";
        return KVP_BUSY;
    }
    return KVP_OK;
}

static bool refused(struct kvp_executor *executor, const struct kvp_request *request, void *token)
{
    const char *reason;
    kvp_status status = reason_to_refuse(executor, request, &reason);
    if (status != KVP_OK) {
        exec_refuse(executor, token, status, reason);
    }
    return status != KVP_OK;
}

kvp_status kvp_executor_get(struct kvp_executor *executor, uint64_t now_us, kvp_slice key,
                            kvp_buf *value, uint64_t *version)
{
    const struct kvp_request request = {.op = KVP_OP_GET, .key = key};
    struct kvp_record_versions versions = {0};
    const char *reason;
    executor->now_us = now_us;
    kvp_status status = reason_to_refuse(executor, &request, &reason);
    if (status == KVP_OK) {
        status = kvp_engine_get(executor->engine, key, value, &versions);
    }
    if (status == KVP_OK && version != NULL) {
        *version = versions.modify_revision;
    }
    return status;
}

/* A scan that goes on is asked for with any range: what counts is that of its cursor. */
static bool client_permits(struct kvp_executor *executor, const struct kvp_request *request,
                           void *token)
{
    struct kvp_request range;
    if (request->op != KVP_OP_SCAN || request->cursor == 0) {
        return exec_access_permits(executor, request, token);
    }
    range = *request;
    return !exec_scan_rest(executor, &range) || exec_access_permits(executor, &range, token);
}

void exec_request(struct kvp_executor *executor, const struct kvp_request *request, void *token)
{
    executor->answering = request->op;
    kvp_slice ours = kvp_slice_of(executor->config.group, strlen(executor->config.group));
    if (kvp_slice_compare(request->group, ours) != 0) {
        exec_refuse(executor, token, KVP_WRONG_GROUP, executor->config.group);
        return;
    }
    kvp_status status = check_keys(request);
    if (status != KVP_OK) {
        exec_refuse(executor, token, status, "a key is 1 to 1024 bytes long");
        return;
    }
    if (request->asker != NULL && !client_permits(executor, request, token)) {
        return;
    }
    switch (request->op) {
    case KVP_OP_HELLO:
        hello(executor, token);
        break;
    case KVP_OP_STATUS:
        status_map(executor, token);
        break;
    case KVP_OP_HANDOVER:
    case KVP_OP_PROMOTE:
        operator_request(executor, request, token);
        break;
    case KVP_OP_CLOSE_SCAN:
        exec_scan_close(executor, request, token);
        break;
    case KVP_OP_BACKUP:
        exec_backup(executor, request, token);
        break;
    case KVP_OP_GET:
        if (request->stale) {
            read_stale(executor, request, token);
        } else if (!refused(executor, request, token)) {
            read(executor, request, token);
        }
        break;
    case KVP_OP_SCAN:
        if (request->stale || !refused(executor, request, token)) {
            exec_scan(executor, request, token);
        }
        break;
    case KVP_OP_WATCH:
        if (request->stale || !refused(executor, request, token)) {
            exec_watch(executor, request, token);
        }
        break;
    case KVP_OP_TASK_FETCH:
        if (!refused(executor, request, token)) {
            exec_fetch(executor, request, token);
        }
        break;
    case KVP_OP_MEMBER_CHANGE:
        if (!refused(executor, request, token)) {
            client_change_members(executor, request, token);
        }
        break;
    default:
        if (!refused(executor, request, token)) {
            (client_looks_at_leases(request->op) ? exec_lease : client_update)(executor, request,
                                                                               token);
        }
        break;
    }
}
