/* SPDX-License-Identifier: Apache-2.0 */
/* Scans, watches and transactions through a client: how their requests get to a node. */
#include "client/client_priv.h"
#include "replication/wire/asker.h"

#include <stdlib.h>
#include <string.h>

#define CLOSE_MS 1000u

static enum client_route client_query_route(const struct kvp_request *request, unsigned place)
{
    if (place != 0) {
        return CLIENT_TO_ONE;
    }
    return request->stale ? CLIENT_TO_ANY : CLIENT_TO_PRIMARY;
}

/* Places are endpoints, counted from 1. */
static kvp_status client_query_ask(void *handle, const struct kvp_request *request, unsigned *place,
                                   kvp_buf *answer)
{
    struct call call = {
        .core = {.request = *request,
                 .route = client_query_route(request, *place),
                 .endpoint = *place == 0 ? 0 : *place - 1,
                 .update = kvp_operation_of(request->op)->session != KVP_SESSION_NO},
    };
    uint32_t wait_ms = request->op == KVP_OP_WATCH ? request->wait_ms : 0;
    call.core.patience_us = (uint64_t)wait_ms * 1000;
    kvp_status status = client_perform(handle, &call, client_timeout_ms(handle, 0) + wait_ms);

    if (status == KVP_OK) {
        *place = call.core.answered_by + 1;
    }
    *answer = call.result.value;
    return status;
}

/* Nobody waits for the answer. */
static void client_query_close_scan(void *handle, uint64_t cursor, unsigned place)
{
    struct call *call = calloc(1, sizeof(*call));
    if (call != NULL) {
        call->core.request.op = KVP_OP_CLOSE_SCAN;
        call->core.request.cursor = cursor;
        call->core.route = CLIENT_TO_ONE;
        call->core.endpoint = place - 1;
        call->allocated = true;
        if (client_start(handle, call, CLOSE_MS) != KVP_OK) {
            free(call);
        }
    }
}

static struct kvp_asker client_query_asker(kvp_client *client)
{
    return (struct kvp_asker){client, client_query_ask, client_query_close_scan};
}

static kvp_status query_end(kvp_status status, kvp_buf *reason, kvp_result *result)
{
    (void)client_refuse(result, status, kvp_reason_text(reason));
    kvp_buf_free(reason);
    return status;
}

static kvp_status query_scan(kvp_client *client, kvp_slice start, kvp_slice end,
                             enum kvp_direction direction, bool keys_only, kvp_scan **scan,
                             kvp_result *result)
{
    struct kvp_asker asker = client_query_asker(client);
    kvp_buf reason = {0};
    if (client_require(client != NULL && scan != NULL, result) != KVP_OK) {
        return KVP_BAD_ARGUMENT;
    }
    kvp_status status = kvp_scan_start(&asker, start, end, direction, keys_only, scan, &reason);
    return query_end(status, &reason, result);
}

kvp_status kvp_scan_open(kvp_client *client, kvp_slice start, kvp_slice end, bool keys_only,
                         kvp_scan **scan, kvp_result *result)
{
    return query_scan(client, start, end, KVP_FORWARDS, keys_only, scan, result);
}

kvp_status kvp_scan_open_backwards(kvp_client *client, kvp_slice start, kvp_slice end,
                                   bool keys_only, kvp_scan **scan, kvp_result *result)
{
    return query_scan(client, start, end, KVP_BACKWARDS, keys_only, scan, result);
}

kvp_status kvp_scan_open_prefix(kvp_client *client, kvp_slice prefix, bool keys_only,
                                kvp_scan **scan, kvp_result *result)
{
    struct kvp_asker asker = client_query_asker(client);
    kvp_buf reason = {0};
    if (client_require(client != NULL && scan != NULL, result) != KVP_OK) {
        return KVP_BAD_ARGUMENT;
    }
    kvp_status status = kvp_scan_start_prefix(&asker, prefix, keys_only, scan, &reason);
    return query_end(status, &reason, result);
}

kvp_status kvp_watch_open(kvp_client *client, kvp_slice start, kvp_slice end, uint64_t from,
                          bool stale, kvp_watch **watch, kvp_result *result)
{
    struct kvp_asker asker = client_query_asker(client);
    kvp_buf reason = {0};
    if (client_require(client != NULL && watch != NULL, result) != KVP_OK) {
        return KVP_BAD_ARGUMENT;
    }
    kvp_status status = kvp_watch_start(&asker, start, end, from, stale, watch, &reason);
    return query_end(status, &reason, result);
}

kvp_status kvp_watch_open_key(kvp_client *client, kvp_slice key, uint64_t from, bool stale,
                              kvp_watch **watch, kvp_result *result)
{
    uint8_t end[KVP_KEY_SIZE_MAX] = {0};
    if (key.size == 0) {
        return client_refuse(result, KVP_BAD_ARGUMENT, "a key is 1 to 1024 bytes long");
    }
    if (key.data == NULL || key.size >= sizeof(end)) { /* nothing is behind the longest of keys */
        return kvp_watch_open_prefix(client, key, from, stale, watch, result);
    }
    memcpy(end, key.data, key.size); /* and a zero byte behind it: the next key that there may be */
    return kvp_watch_open(client, key, kvp_slice_of(end, key.size + 1), from, stale, watch, result);
}

kvp_status kvp_watch_open_prefix(kvp_client *client, kvp_slice prefix, uint64_t from, bool stale,
                                 kvp_watch **watch, kvp_result *result)
{
    struct kvp_asker asker = client_query_asker(client);
    kvp_buf reason = {0};
    if (client_require(client != NULL && watch != NULL, result) != KVP_OK) {
        return KVP_BAD_ARGUMENT;
    }
    kvp_status status = kvp_watch_start_prefix(&asker, prefix, from, stale, watch, &reason);
    return query_end(status, &reason, result);
}

kvp_txn *kvp_txn_new(kvp_client *client)
{
    struct kvp_asker asker = client_query_asker(client);
    return client == NULL ? NULL : kvp_txn_start(&asker);
}
