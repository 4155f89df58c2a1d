/* SPDX-License-Identifier: Apache-2.0 */
/* Scans: page after page from the node that gave the first one, which holds the snapshot. */
#include "client/client_priv.h"

#include <stdlib.h>
#include <string.h>

#define PAGE_COUNT 4096u
#define PAGE_SIZE  (256u * 1024u)
#define CLOSE_MS   1000u

struct kvp_scan {
    kvp_client *client;
    kvp_buf start, end;
    bool keys_only;
    unsigned endpoint; /* of the node that holds the cursor */
    kvp_result failure; /* what ended it early: the pairs read so far are not all */
    kvp_buf page;
    struct kvp_scan_result rest;
};

static const char too_long[] = "the key is longer than 1024 bytes";

static kvp_status fetch(kvp_scan *scan, bool first)
{
    struct call call = {
        .core = {.request = {.op = KVP_OP_SCAN,
                             .key = kvp_buf_slice(&scan->start),
                             .value = kvp_buf_slice(&scan->end),
                             .count_max = PAGE_COUNT,
                             .size_max = PAGE_SIZE,
                             .cursor = scan->rest.cursor,
                             .keys_only = scan->keys_only},
                 .route = first ? CLIENT_TO_PRIMARY : CLIENT_TO_ONE,
                 .endpoint = scan->endpoint},
    };
    kvp_status status = client_perform(scan->client, &call, 0);

    scan->rest.cursor = 0;
    if (status == KVP_OK) {
        kvp_buf_free(&scan->page);
        scan->page = call.result.value;
        scan->endpoint = call.core.answered_by;
        return kvp_wire_read_scan(kvp_buf_slice(&scan->page), &scan->rest);
    }
    bool moved = status == KVP_NOT_PRIMARY || status == KVP_UNAVAILABLE || status == KVP_TIMEOUT;
    scan->failure = call.result;
    return !first && moved ? KVP_CURSOR_EXPIRED : status;
}

static kvp_status open_failed(kvp_scan *scan, kvp_status status, kvp_result *result)
{
    if (result != NULL) {
        *result = scan->failure;
        result->status = status;
        scan->failure = (kvp_result){0};
    }
    kvp_scan_close(scan);
    return status;
}

kvp_status kvp_scan_open(kvp_client *client, kvp_slice start, kvp_slice end, bool keys_only,
                         kvp_scan **scan, kvp_result *result)
{
    if (start.size > KVP_KEY_SIZE_MAX || end.size > KVP_KEY_SIZE_MAX) {
        return client_refuse(result, KVP_TOO_LARGE, too_long);
    }
    kvp_scan *opened = calloc(1, sizeof(*opened));
    if (opened == NULL) {
        return client_refuse(result, KVP_NO_MEMORY, "");
    }
    opened->client = client;
    opened->keys_only = keys_only;
    kvp_status status = kvp_buf_append(&opened->start, start.data, start.size);
    if (status == KVP_OK) {
        status = kvp_buf_append(&opened->end, end.data, end.size);
    }
    status = status == KVP_OK ? fetch(opened, true) : status;
    if (status != KVP_OK) {
        return open_failed(opened, status, result);
    }
    *scan = opened;
    return client_refuse(result, KVP_OK, "");
}

kvp_status kvp_scan_open_prefix(kvp_client *client, kvp_slice prefix, bool keys_only,
                                kvp_scan **scan, kvp_result *result)
{
    uint8_t end[KVP_KEY_SIZE_MAX];
    size_t size = prefix.size;

    if (size > KVP_KEY_SIZE_MAX) {
        return client_refuse(result, KVP_TOO_LARGE, too_long);
    }
    if (size > 0) {
        memcpy(end, prefix.data, size);
    }
    /* The first key behind all that begin with the prefix: its last byte that can be raised is. */
    while (size > 0 && end[size - 1] == UINT8_MAX) {
        size--;
    }
    if (size > 0) {
        end[size - 1]++;
    }
    return kvp_scan_open(client, prefix, kvp_slice_of(end, size), keys_only, scan, result);
}

kvp_status kvp_scan_next(kvp_scan *scan, kvp_slice *key, kvp_slice *value, uint64_t *version)
{
    struct kvp_get_result pair;

    if (scan->failure.status != KVP_OK) {
        return scan->failure.status;
    }
    kvp_status status = kvp_wire_scan_next(&scan->rest, key, &pair);
    while (status == KVP_NOT_FOUND && scan->rest.cursor != 0) {
        status = fetch(scan, false);
        status = status == KVP_OK ? kvp_wire_scan_next(&scan->rest, key, &pair) : status;
    }
    if (status == KVP_OK) {
        *value = pair.value;
        if (version != NULL) {
            *version = pair.modify;
        }
    } else if (status != KVP_NOT_FOUND) {
        scan->failure.status = status;
    }
    return status;
}

const char *kvp_scan_error(const kvp_scan *scan)
{
    return client_reason(&scan->failure);
}

/* Lets the node forget the cursor. It would by itself, so nobody waits for the answer. */
static void close_cursor(kvp_scan *scan)
{
    struct call *call = calloc(1, sizeof(*call));

    if (call != NULL) {
        call->core.request.op = KVP_OP_CLOSE_SCAN;
        call->core.request.cursor = scan->rest.cursor;
        call->core.route = CLIENT_TO_ONE;
        call->core.endpoint = scan->endpoint;
        call->allocated = true;
        if (client_start(scan->client, call, CLOSE_MS) != KVP_OK) {
            free(call);
        }
    }
}

void kvp_scan_close(kvp_scan *scan)
{
    if (scan == NULL) {
        return;
    }
    if (scan->rest.cursor != 0) {
        close_cursor(scan);
    }
    kvp_buf_free(&scan->start);
    kvp_buf_free(&scan->end);
    kvp_buf_free(&scan->page);
    kvp_result_free(&scan->failure);
    free(scan);
}
