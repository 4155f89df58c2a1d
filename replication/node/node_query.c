/* SPDX-License-Identifier: Apache-2.0 */
/* Scans, watches, transactions and handovers of the application that embeds the node. */
#include "replication/node/node_state.h"
#include "replication/wire/asker.h"

static kvp_status node_query_ask(void *handle, const struct kvp_request *request, unsigned *place,
                                 kvp_buf *answer)
{
    struct node_call *call = NULL;
    kvp_slice text = {0};
    struct kvp_node *node = handle;
    uint32_t wait_ms = request->op == KVP_OP_WATCH ? request->wait_ms : 0;
    uint64_t deadline_us = kvp_clock_now_us() + (node->timeout_ms + (uint64_t)wait_ms) * 1000;
    kvp_status status = node_call_perform_until(node, request, deadline_us, &call);
    *place = 1; /* there is no other */
    if (call == NULL) {
        return status;
    }
    if (status == KVP_OK || status == KVP_COMPACTED) {
        *answer = call->result;
        call->result = (kvp_buf){0};
    } else if (call->done && kvp_wire_read_string(kvp_buf_slice(&call->result), &text) == KVP_OK) {
        kvp_reason_set(answer, text);
    }
    node_call_unref(call);
    return status;
}

static void node_query_close_scan(void *handle, uint64_t cursor, unsigned place)
{
    const struct kvp_request request = {.op = KVP_OP_CLOSE_SCAN, .cursor = cursor};
    (void)place;
    node_call_forget(handle, &request);
}

static struct kvp_asker node_query_asker(struct kvp_node *node)
{
    return (struct kvp_asker){node, node_query_ask, node_query_close_scan};
}

static kvp_status node_query_scan(kvp_node *node, kvp_slice start, kvp_slice end,
                                  enum kvp_direction direction, bool keys_only, kvp_scan **scan)
{
    struct kvp_asker asker = node_query_asker(node);
    kvp_buf reason = {0};
    if (node == NULL || scan == NULL) {
        return KVP_BAD_ARGUMENT;
    }
    kvp_status status = kvp_scan_start(&asker, start, end, direction, keys_only, scan, &reason);
    kvp_buf_free(&reason);
    return status;
}

kvp_status kvp_node_scan_open(kvp_node *node, kvp_slice start, kvp_slice end, bool keys_only,
                              kvp_scan **scan)
{
    return node_query_scan(node, start, end, KVP_FORWARDS, keys_only, scan);
}

kvp_status kvp_node_scan_open_backwards(kvp_node *node, kvp_slice start, kvp_slice end,
                                        bool keys_only, kvp_scan **scan)
{
    return node_query_scan(node, start, end, KVP_BACKWARDS, keys_only, scan);
}

kvp_status kvp_node_scan_open_prefix(kvp_node *node, kvp_slice prefix, bool keys_only,
                                     kvp_scan **scan)
{
    struct kvp_asker asker = node_query_asker(node);
    kvp_buf reason = {0};
    if (node == NULL || scan == NULL) {
        return KVP_BAD_ARGUMENT;
    }
    kvp_status status = kvp_scan_start_prefix(&asker, prefix, keys_only, scan, &reason);
    kvp_buf_free(&reason);
    return status;
}

kvp_status kvp_node_watch_open(kvp_node *node, kvp_slice start, kvp_slice end, uint64_t from,
                               bool stale, kvp_watch **watch)
{
    struct kvp_asker asker = node_query_asker(node);
    kvp_buf reason = {0};
    if (node == NULL || watch == NULL) {
        return KVP_BAD_ARGUMENT;
    }
    kvp_status status = kvp_watch_start(&asker, start, end, from, stale, watch, &reason);
    kvp_buf_free(&reason);
    return status;
}

kvp_status kvp_node_watch_open_prefix(kvp_node *node, kvp_slice prefix, uint64_t from, bool stale,
                                      kvp_watch **watch)
{
    struct kvp_asker asker = node_query_asker(node);
    kvp_buf reason = {0};
    if (node == NULL || watch == NULL) {
        return KVP_BAD_ARGUMENT;
    }
    kvp_status status = kvp_watch_start_prefix(&asker, prefix, from, stale, watch, &reason);
    kvp_buf_free(&reason);
    return status;
}

kvp_txn *kvp_node_txn_new(kvp_node *node)
{
    struct kvp_asker asker = node_query_asker(node);
    return node != NULL ? kvp_txn_start(&asker) : NULL;
}

kvp_status kvp_node_handover(kvp_node *node, unsigned target_id)
{
    const struct kvp_request request = {.op = KVP_OP_HANDOVER, .target = target_id};
    struct node_call *call = NULL;
    if (node == NULL || target_id > KVP_NODE_ID_MAX) {
        return KVP_BAD_ARGUMENT;
    }
    kvp_status status = node_call_perform(node, &request, &call);
    if (call != NULL) {
        node_call_unref(call);
    }
    return status;
}
