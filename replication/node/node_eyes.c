/* SPDX-License-Identifier: Apache-2.0 */
#include "replication/node/node_eyes.h"
#include "replication/node/node_state.h"

uint64_t node_eyes_loop_busy_us(const kvp_node *node)
{
    uint64_t since_us = atomic_load_explicit(&node->loop_busy_us, memory_order_relaxed);
    uint64_t due_us = atomic_load_explicit(&node->loop_due_us, memory_order_relaxed);
    uint64_t now_us = kvp_clock_now_us();
    since_us = since_us != 0 ? since_us : due_us;
    return since_us != 0 && now_us > since_us ? now_us - since_us : 0;
}

static kvp_status eyes_ask(kvp_node *node, const struct kvp_request *request, uint32_t timeout_ms,
                           bool list, kvp_buf *text)
{
    struct node_call *call = NULL;
    uint64_t deadline_us = kvp_clock_now_us() + timeout_ms * 1000ull;
    kvp_status status = node_call_perform_until(node, request, deadline_us, &call);
    if (status == KVP_OK) {
        status = kvp_wire_json(kvp_buf_slice(&call->result), list, text);
    }
    if (call != NULL) {
        node_call_unref(call);
    }
    return status == KVP_TIMEOUT_UNKNOWN ? KVP_TIMEOUT : status;
}

kvp_status node_eyes_status(kvp_node *node, uint32_t timeout_ms, kvp_buf *text)
{
    const struct kvp_request request = {.op = KVP_OP_STATUS};
    return eyes_ask(node, &request, timeout_ms, false, text);
}

kvp_status node_eyes_work(kvp_node *node, unsigned what, uint32_t timeout_ms, kvp_buf *text)
{
    const struct kvp_request request = {.op = KVP_OP_JOB_INFO, .job = {.what = what}};
    return eyes_ask(node, &request, timeout_ms, true, text);
}

const struct node_counts *node_eyes_counts(const kvp_node *node)
{
    return kvp_executor_counts(node->executor);
}

const struct node_times *node_eyes_writes(const kvp_node *node)
{
    return &node->writes;
}

const struct node_times *node_eyes_syncs(const kvp_node *node)
{
    return &node->syncs;
}

void node_eyes_set_log_level(kvp_node *node, enum kvp_log_level level)
{
    kvp_logger_set_level(&node->logger, level);
}

unsigned node_eyes_connections(const kvp_node *node)
{
    return kvp_net_server_connections(node->server);
}

bool node_eyes_damaged(const kvp_node *node)
{
    return kvp_storage_repairable(node->storage);
}
