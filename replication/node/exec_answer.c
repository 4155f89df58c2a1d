/* SPDX-License-Identifier: Apache-2.0 */
/* What every answer has: where the primary is, its epoch; and whether this node may give one. */
#include "replication/node/exec_state.h"

#include <string.h>

const char *exec_hint(const struct kvp_executor *executor)
{
    const struct kvp_view *view = kvp_core_view(executor->core);
    if (view->primary == executor->config.core.self) {
        return kvp_core_role(executor->core) == KVP_ROLE_PRIMARY ? executor->config.url : "";
    }
    for (unsigned i = 0; i < executor->config.peer_count; i++) {
        if (executor->config.peers[i].id == view->primary) {
            return executor->config.peers[i].url;
        }
    }
    return "";
}

void exec_rest(struct kvp_executor *executor, uint64_t time_us)
{
    kvp_engine_rest(executor->engine, executor->now_us + time_us);
}

bool exec_serving(const struct kvp_executor *executor)
{
    return executor->running && kvp_core_serving(executor->core, executor->now_us);
}

void exec_answer(struct kvp_executor *executor, void *token, int status, kvp_slice result)
{
    node_counts_answer(&executor->counts, executor->answering, status);
    executor->answered_at_once = executor->asked_us != 0;
    const char *hint = exec_hint(executor);
    struct kvp_answer answer = {
        .status = status,
        .epoch = kvp_core_view(executor->core)->epoch,
        .hint = kvp_slice_of(hint, strlen(hint)),
        .result = result,
    };
    executor->host.answer(executor->host.arg, token, &answer);
}

void exec_refuse(struct kvp_executor *executor, void *token, int status, const char *reason)
{
    executor->scratch.size = 0;
    if (reason != NULL && kvp_wire_result_string(&executor->scratch, reason) != KVP_OK) {
        executor->scratch.size = 0;
    }
    exec_answer(executor, token, status, kvp_buf_slice(&executor->scratch));
}

bool exec_store_is_away(struct kvp_executor *executor, void *token)
{
    bool failed = kvp_core_role(executor->core) == KVP_ROLE_FAILED;
    if (failed || executor->replacing) {
        exec_refuse(executor, token, KVP_UNAVAILABLE,
                    failed ? "the storage has failed" : "the store is being replaced");
    }
    return failed || executor->replacing;
}
