/* SPDX-License-Identifier: Apache-2.0 */
/* Scans: page after page from the node that gave the first one, which holds the snapshot. */
#include "replication/wire/asker.h"
#include "replication/wire/wire.h"

#include <stdlib.h>
#include <string.h>

#define PAGE_COUNT 4096u
#define PAGE_SIZE  (256u * 1024u)

struct kvp_scan {
    struct kvp_asker asker;
    kvp_buf start, end;
    bool keys_only, backwards;
    unsigned place;    /* the node that holds the cursor */
    kvp_status status; /* what ended it early: the pairs read so far are not all */
    kvp_buf reason;
    kvp_buf page;
    struct kvp_scan_result rest;
};

static kvp_status scan_refuse(kvp_buf *reason, kvp_status status, const char *text)
{
    kvp_reason_set(reason, kvp_slice_of(text, strlen(text)));
    return status;
}

static kvp_status scan_fetch(kvp_scan *scan)
{
    bool first = scan->place == 0;
    struct kvp_request request = {.op = KVP_OP_SCAN,
                                  .key = kvp_buf_slice(&scan->start),
                                  .value = kvp_buf_slice(&scan->end),
                                  .count_max = PAGE_COUNT,
                                  .size_max = PAGE_SIZE,
                                  .cursor = scan->rest.cursor,
                                  .keys_only = scan->keys_only,
                                  .backwards = scan->backwards};
    kvp_buf answer = {0};
    kvp_status status = scan->asker.ask(scan->asker.handle, &request, &scan->place, &answer);

    scan->rest.cursor = 0;
    if (status == KVP_OK) {
        kvp_buf_free(&scan->page);
        scan->page = answer;
        return kvp_wire_read_scan(kvp_buf_slice(&scan->page), &scan->rest);
    }
    bool moved = status == KVP_NOT_PRIMARY || status == KVP_UNAVAILABLE || status == KVP_TIMEOUT;
    scan->reason = answer;
    return !first && moved ? KVP_CURSOR_EXPIRED : status;
}

kvp_status kvp_scan_start(const struct kvp_asker *asker, kvp_slice start, kvp_slice end,
                          enum kvp_direction direction, bool keys_only, kvp_scan **scan,
                          kvp_buf *reason)
{
    const char *text;
    kvp_status status = kvp_range_check(start, end, &text);
    if (status != KVP_OK) {
        return scan_refuse(reason, status, text);
    }
    kvp_scan *opened = calloc(1, sizeof(*opened));
    if (opened == NULL) {
        return KVP_NO_MEMORY;
    }
    opened->asker = *asker;
    opened->keys_only = keys_only;
    opened->backwards = direction == KVP_BACKWARDS;
    status = kvp_buf_append(&opened->start, start.data, start.size);
    if (status == KVP_OK) {
        status = kvp_buf_append(&opened->end, end.data, end.size);
    }
    status = status == KVP_OK ? scan_fetch(opened) : status;
    if (status != KVP_OK) {
        *reason = opened->reason;
        opened->reason = (kvp_buf){0};
        kvp_scan_close(opened);
        return status;
    }
    *scan = opened;
    return KVP_OK;
}

kvp_status kvp_scan_start_prefix(const struct kvp_asker *asker, kvp_slice prefix, bool keys_only,
                                 kvp_scan **scan, kvp_buf *reason)
{
    uint8_t end[KVP_KEY_SIZE_MAX];
    const char *text;
    kvp_status status = kvp_range_check(prefix, prefix, &text);
    if (status != KVP_OK) {
        return scan_refuse(reason, status, text);
    }
    return kvp_scan_start(asker, prefix, kvp_prefix_end(prefix, end), KVP_FORWARDS, keys_only, scan,
                          reason);
}

kvp_status kvp_scan_next(kvp_scan *scan, kvp_slice *key, kvp_slice *value, uint64_t *version)
{
    struct kvp_get_result pair;
    if (scan == NULL || key == NULL || value == NULL) {
        return KVP_BAD_ARGUMENT;
    }
    if (scan->status != KVP_OK) {
        return scan->status;
    }
    kvp_status status = kvp_wire_scan_next(&scan->rest, key, &pair);
    while (status == KVP_NOT_FOUND && scan->rest.cursor != 0) {
        status = scan_fetch(scan);
        status = status == KVP_OK ? kvp_wire_scan_next(&scan->rest, key, &pair) : status;
    }
    if (status == KVP_OK) {
        *value = pair.value;
        if (version != NULL) {
            *version = pair.modify;
        }
    } else if (status != KVP_NOT_FOUND) {
        scan->status = status;
    }
    return status;
}

const char *kvp_scan_error(const kvp_scan *scan)
{
    return scan != NULL ? kvp_reason_text(&scan->reason) : "";
}

void kvp_scan_close(kvp_scan *scan)
{
    if (scan == NULL) {
        return;
    }
    if (scan->rest.cursor != 0) { /* the node would forget it by itself, later */
        scan->asker.close_scan(scan->asker.handle, scan->rest.cursor, scan->place);
    }
    kvp_buf_free(&scan->start);
    kvp_buf_free(&scan->end);
    kvp_buf_free(&scan->page);
    kvp_buf_free(&scan->reason);
    free(scan);
}
