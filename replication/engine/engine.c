/* SPDX-License-Identifier: Apache-2.0 */
/* The engine: what a request does, given everything before it. */
#include "replication/engine/engine_state.h"
#include "kvstore/base/mutant.h"

#include "kvpair/job_spec.h"
#include "kvstore/writeset.h"
#include "replication/wire/wire.h"

#include <assert.h>
#include <stdlib.h>

kvp_status kvp_engine_open(const struct kvp_engine_config *config, struct kvp_engine **engine)
{
    struct kvp_engine *made = calloc(1, sizeof(*made));
    if (made == NULL) {
        return KVP_NO_MEMORY;
    }
    made->config = *config;
    kvp_status status = overlay_init(&made->overlay);
    if (status == KVP_OK) {
        status = engine_open_sessions(made);
    }
    if (status == KVP_OK) {
        status = engine_open_jobs(made);
    }
    if (status != KVP_OK) {
        kvp_engine_close(made);
        return status;
    }
    *engine = made;
    return KVP_OK;
}

void kvp_engine_close(struct kvp_engine *engine)
{
    while (engine != NULL) {
        struct kvp_engine *past = engine->past;
        overlay_free(&engine->overlay);
        session_table_free(&engine->sessions);
        kvp_jobs_close(engine->jobs);
        engine_leases_free(engine);
        free(engine->large);
        kvp_buf_free(&engine->scratch);
        kvp_buf_free(&engine->kept);
        free(engine);
        engine = past;
    }
}

kvp_status kvp_engine_start(struct kvp_engine *engine, struct kvp_storage *storage, uint64_t seq)
{
    kvp_engine_reset(engine);
    kvp_status status = session_table_start(&engine->sessions, storage, seq, engine->now_us);
    if (status != KVP_OK) {
        session_table_clear(&engine->sessions);
        return status;
    }
    status = engine_leases_start(engine, storage);
    if (status != KVP_OK) {
        session_table_clear(&engine->sessions);
        return status;
    }
    engine->storage = storage;
    engine->committed = engine->executed = seq;
    return KVP_OK;
}

void kvp_engine_reset(struct kvp_engine *engine)
{
    overlay_clear(&engine->overlay);
    session_table_clear(&engine->sessions);
    kvp_jobs_reset(engine->jobs);
    engine_leases_free(engine);
    engine->large_count = 0;
    engine->storage = NULL;
}

void kvp_engine_release(struct kvp_engine *engine)
{
    session_table_release(&engine->sessions);
    engine_leases_release(engine);
    kvp_jobs_reset(engine->jobs);
}

/* ---- operations ---- */

static kvp_status answer_uint(struct kvp_execution *execution, kvp_status status, uint64_t value)
{
    execution->status = status;
    return kvp_wire_result_uint(&execution->answer, value);
}

static kvp_status execute_put(struct kvp_engine *engine, const struct kvp_request *request,
                              uint64_t seq, struct kvp_execution *execution)
{
    struct engine_value present;
    kvp_status status = engine_look(engine, request->key, &present);
    if (status != KVP_OK) {
        return status;
    }
    if (request->op == KVP_OP_CREATE && present.present) {
        return answer_uint(execution, KVP_EXISTS, present.modify_revision);
    }
    if (request->op == KVP_OP_CAS && present.modify_revision != request->version) {
        return answer_uint(execution, KVP_VERSION_DIFFERS, present.modify_revision);
    }
    status = engine_put_wish(engine, request->key, request->value,
                             (struct engine_wish){request->ttl_ms, request->lease}, seq, &present);
    if (engine->leases.refusal != NULL && status != KVP_OK) {
        execution->status = status;
        return kvp_wire_result_string(&execution->answer, engine->leases.refusal);
    }
    return status == KVP_OK ? answer_uint(execution, KVP_OK, seq) : status;
}

static kvp_status execute_delete(struct kvp_engine *engine, const struct kvp_request *request,
                                 uint64_t seq, struct kvp_execution *execution)
{
    struct engine_value present;
    kvp_status status = engine_look(engine, request->key, &present);
    if (status != KVP_OK) {
        return status;
    }
    if (request->version != 0 && request->version != present.modify_revision) {
        return answer_uint(execution, KVP_VERSION_DIFFERS, present.modify_revision);
    }
    if (!present.present) {
        execution->status = KVP_NOT_FOUND;
        return KVP_OK;
    }
    if (present.lease != 0) {
        status = engine_lease_leave(engine, &present);
    }
    status = status == KVP_OK ? engine_delete(engine, request->key) : status;
    return status == KVP_OK ? answer_uint(execution, KVP_OK, seq) : status;
}

static kvp_status engine_run(struct kvp_engine *engine, const struct kvp_request *request,
                             uint64_t seq, struct kvp_execution *execution)
{
    switch (request->op) {
    case KVP_OP_PUT:
    case KVP_OP_CREATE:
    case KVP_OP_CAS:
        return execute_put(engine, request, seq, execution);
    case KVP_OP_DELETE:
        return execute_delete(engine, request, seq, execution);
    case KVP_OP_TXN:
        return engine_txn(engine, request, seq, execution);
    case KVP_OP_ACCESS_CHANGE:
    case KVP_OP_ACCESS_LIST:
        return engine_access(engine, request, execution);
    case KVP_OP_MEMBER_CHANGE:
        return engine_members(engine, request, execution);
    case KVP_OP_LEASE_GRANT:
    case KVP_OP_LEASE_REVOKE:
        return engine_lease(engine, request, seq, execution);
    default:
        return engine_job(engine, request, seq, execution);
    }
}

/* ---- execution ---- */

static bool has_no_key(unsigned op)
{
    return op == KVP_OP_ACCESS_LIST || op == KVP_OP_LEASE_GRANT || op == KVP_OP_LEASE_REVOKE;
}

static kvp_status check(const struct kvp_request *request, const char **reason)
{
    if (request->op == KVP_OP_TXN) {
        return engine_txn_check(request, reason);
    }
    if (request->op == KVP_OP_JOB_TASKS) {
        *reason = "the list of tasks is longer than 4 MiB";
        return request->value.size > KVP_JOB_TASKS_SIZE_MAX ? KVP_TOO_LARGE : KVP_OK;
    }
    if (kvp_operation_of(request->op)->is_job || request->op == KVP_OP_MEMBER_CHANGE) {
        return engine_check_value(request->value, reason);
    }
    kvp_status status = kvp_wire_check_hold(request->ttl_ms, request->lease, reason);
    if (request->op == KVP_OP_LEASE_GRANT && request->ttl_ms == 0) {
        *reason = "a lease has a time to live";
        return KVP_BAD_REQUEST;
    }
    if (status == KVP_OK && !has_no_key(request->op)) {
        status = engine_check_key(request->key, reason);
    }
    return status == KVP_OK ? engine_check_value(request->value, reason) : status;
}

static void wait_for_last(const struct kvp_engine *engine, struct kvp_execution *execution)
{
    bool pending = engine->executed > engine->committed;
    execution->kind = pending ? KVP_EXECUTION_WAIT : KVP_EXECUTION_ANSWER;
    execution->wait_seq = engine->executed;
}

/* Nothing was executed: a repeat may be. */
static bool not_executed(const struct kvp_execution *execution)
{
    return (execution->status == KVP_UNAVAILABLE || execution->status == KVP_BUSY) &&
           !KVP_MUTANT(JOB_USED_UP);
}

/* `found`: NULL without a session. */
static kvp_status engine_perform(struct kvp_engine *engine, const struct kvp_request *request,
                                 uint64_t seq, const struct session_found *found,
                                 struct kvp_execution *execution)
{
    engine->leases.changed = false;
    engine->leases.refusal = NULL;
    engine->leases.made = engine->leases.unread = 0;
    kvp_status status = engine_run(engine, request, seq, execution);
    if (status == KVP_OK && found != NULL) {
        status = engine_fit_answer(engine, &request->session, found, execution);
    }
    if (status != KVP_OK) {
        return status;
    }
    if (engine->overlay.newest->first == NULL && found == NULL) {
        overlay_rollback(&engine->overlay);
        wait_for_last(engine, execution);
        return KVP_OK;
    }
    bool refused = not_executed(execution);
    if (refused &&
        (engine->overlay.newest->first == NULL || !kvp_operation_of(request->op)->is_job)) {
        overlay_rollback(&engine->overlay);
        return KVP_OK;
    }
    /* The job engine may have made room, in vain, before it refused: that counts, the request does
     * not. */
    execution->kind = KVP_EXECUTION_APPEND;
    status = engine_collect(engine, &execution->writeset);
    if (status == KVP_OK && found != NULL && !refused) {
        status = engine_close_session(engine, &request->session, found, seq, execution);
    }
    if (status == KVP_OK) {
        engine->executed = seq;
        if (engine->leases.changed) {
            engine_leases_follow(engine);
        }
    }
    return status;
}

static kvp_status engine_execute(struct kvp_engine *engine, const struct kvp_request *request,
                                 uint64_t seq, struct kvp_execution *made)
{
    struct session_found found;
    bool session = request->session.client != 0 && kvp_operation_of(request->op)->is_update;
    bool handled = false;
    const char *reason = "";
    kvp_status status = check(request, &reason);
    if (status != KVP_OK) {
        made->status = status;
        return kvp_wire_result_string(&made->answer, reason);
    }
    if (session) {
        status = engine_open_session(engine, &request->session, &found, made, &handled);
    }
    if (status != KVP_OK || handled) {
        return status;
    }
    status = overlay_begin(&engine->overlay, seq);
    if (status == KVP_OK) {
        status = engine_perform(engine, request, seq, session ? &found : NULL, made);
        if (status != KVP_OK) {
            overlay_rollback(&engine->overlay);
        }
    }
    return status;
}

kvp_status kvp_engine_execute(struct kvp_engine *engine, const struct kvp_request *request,
                              uint64_t seq, struct kvp_execution *execution)
{
    assert(engine->storage != NULL && seq == engine->executed + 1);
    execution->kind = KVP_EXECUTION_ANSWER;
    execution->status = KVP_OK;
    execution->wait_seq = 0;
    execution->answer.size = 0;
    execution->writeset.size = KVP_MUTANT(ROOM_NOT_EMPTY) ? execution->writeset.size : 0;
    kvp_status status = engine_execute(engine, request, seq, execution);
    if (status != KVP_OK) {
        kvp_buf_free(&execution->answer);
        kvp_buf_free(&execution->writeset);
    }
    return status;
}

/* ---- commit ---- */

void kvp_engine_commit(struct kvp_engine *engine, uint64_t seq)
{
    if (seq > engine->committed) {
        assert(seq <= engine->executed);
        engine->committed = seq;
    }
}

void kvp_engine_applied(struct kvp_engine *engine, uint64_t seq)
{
    size_t kept = 0;
    overlay_drop(&engine->overlay, seq);
    for (size_t i = 0; i < engine->large_count; i++) {
        struct engine_large large = engine->large[i];
        if (large.seq <= seq) {
            session_applied(&engine->sessions, large.client, large.slot, large.seq);
        } else {
            engine->large[kept++] = large;
        }
    }
    engine->large_count = kept;
}

uint64_t kvp_engine_committed(const struct kvp_engine *engine)
{
    return engine->committed;
}
