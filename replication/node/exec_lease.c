/* SPDX-License-Identifier: Apache-2.0 */
/* Leases at the executor: those that are kept and looked at. Nothing is written for it. */
#include "replication/node/exec_state.h"

struct lease_asker {
    struct kvp_executor *executor;
    const struct kvp_identity *identity;
};

static bool lease_may_read(void *arg, kvp_slice key)
{
    const struct lease_asker *asker = arg;
    return exec_access_may_read(asker->executor, asker->identity, key);
}

static kvp_status lease_look(struct kvp_executor *executor, const struct kvp_request *request)
{
    struct lease_asker asker = {executor, request->asker};
    struct kvp_lease_reader reader = {&asker, request->asker != NULL ? lease_may_read : NULL};
    return request->op == KVP_OP_LEASE_LIST
               ? kvp_engine_lease_list(executor->engine, request->lease, &executor->scratch)
               : kvp_engine_lease_show(executor->engine, request->lease, request->key, &reader,
                                       &executor->scratch);
}

/* That it goes on is true at once: a new primary gives it its full time again. */
static void lease_keep(struct kvp_executor *executor, const struct kvp_request *request,
                       void *token)
{
    uint64_t ttl_ms = 0;
    kvp_status status = kvp_engine_lease_keep(executor->engine, request->lease, &ttl_ms);
    if (status == KVP_OK) {
        status = kvp_wire_result_uint(&executor->scratch, ttl_ms);
        exec_answer(executor, token, status, kvp_buf_slice(&executor->scratch));
    } else if (status == KVP_NOT_FOUND) {
        exec_answer_committed(executor, token, status);
    } else {
        exec_storage_failed(executor, status);
        exec_refuse(executor, token, KVP_UNAVAILABLE, kvp_strerror(status));
    }
}

void exec_lease(struct kvp_executor *executor, const struct kvp_request *request, void *token)
{
    kvp_engine_set_now(executor->engine, executor->now_us);
    executor->scratch.size = 0;
    if (request->op == KVP_OP_LEASE_KEEP) {
        lease_keep(executor, request, token);
        return;
    }
    kvp_status status = lease_look(executor, request);
    if (status == KVP_OK || status == KVP_NOT_FOUND) {
        exec_answer_committed(executor, token, status);
    } else {
        exec_storage_failed(executor, status);
        exec_refuse(executor, token, KVP_UNAVAILABLE, kvp_strerror(status));
    }
}
