/* SPDX-License-Identifier: Apache-2.0 */
/* Status texts, byte buffers and slices: what everything else is built from. */
#include "kvpair/kvp_base.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

const char *kvp_strerror(int status)
{
    static const char *const texts[] = {
        "success",
        "not found",
        "the key exists already",
        "the key's version is another one",
        "this node is not the primary",
        "the outcome is not known; repeat with the same session",
        "not available now; nothing was executed",
        "busy; nothing was executed",
        "the session is not known any more",
        "a newer request of the session was executed",
        "malformed request",
        "over a size limit",
        "the node belongs to another group",
        "unknown wire or storage version",
        "unknown operation",
        "the cursor is not known any more",
        "refused by role, policy or permission",
        "the view is not the newest",
        "the deadline passed; nothing was executed",
        "the outcome is not known",
        "out of memory",
        "input or output failed",
        "data is damaged",
        "no space left for the store",
        "the data directory is in use by another process",
        "bad argument",
        "closed",
        "the address is in use",
        "the arbiter does not know the group",
        "stopped after a storage failure",
        "the store holds updates that the group never agreed on",
        "no such job or task",
        "the job is in a state that does not allow it",
        "no task for this worker now",
        "the worker is not registered",
        "another worker has registered under this name",
        "the worker is barred: its results lost too many votes, or it failed what others did",
        "the worker does not hold this task",
        "a number does not fit its type",
        "the log does not go back that far any more",
    };
    const int count = (int)(sizeof(texts) / sizeof(texts[0]));

    if (status > 0 || status <= -count) {
        return "unknown status";
    }
    return texts[-status];
}

const char *kvp_version(void)
{
    return KVP_VERSION_STRING;
}

unsigned kvp_version_number(void)
{
    return KVP_VERSION_NUMBER;
}

void kvp_buf_free(kvp_buf *buf)
{
    if (buf == NULL) {
        return;
    }
    free(buf->data);
    memset(buf, 0, sizeof(*buf));
}

kvp_status kvp_buf_reserve(kvp_buf *buf, size_t extra)
{
    if (buf == NULL) {
        return KVP_BAD_ARGUMENT;
    }
    size_t capacity = buf->capacity;

    assert(buf->size <= buf->capacity);
    if (extra <= capacity - buf->size) {
        return KVP_OK;
    }
    if (extra > SIZE_MAX / 2 - buf->size) {
        return KVP_NO_MEMORY;
    }
    capacity = capacity < 64 ? 64 : capacity;
    while (capacity < buf->size + extra) {
        capacity *= 2;
    }
    uint8_t *data = realloc(buf->data, capacity);
    if (data == NULL) {
        return KVP_NO_MEMORY;
    }
    buf->data = data;
    buf->capacity = capacity;
    return KVP_OK;
}

/* Without room, or with something missing. */
static kvp_status buf_append_slowly(kvp_buf *buf, const void *data, size_t size)
{
    if (buf == NULL || (data == NULL && size > 0)) {
        return KVP_BAD_ARGUMENT;
    }
    kvp_status status = size == 0 ? KVP_OK : kvp_buf_reserve(buf, size);
    if (status == KVP_OK && size > 0) {
        memcpy(buf->data + buf->size, data, size);
        buf->size += size;
    }
    return status;
}

kvp_status kvp_buf_append(kvp_buf *buf, const void *data, size_t size)
{
    /* The size 0 is not below any: it goes the other way. */
    if (buf == NULL || data == NULL || size - 1 >= buf->capacity - buf->size) {
        return buf_append_slowly(buf, data, size);
    }
    memcpy(buf->data + buf->size, data, size);
    buf->size += size;
    return KVP_OK;
}

int kvp_slice_compare(kvp_slice a, kvp_slice b)
{
    size_t common = a.size < b.size ? a.size : b.size;
    int order = common == 0 ? 0 : memcmp(a.data, b.data, common);
    if (order != 0) {
        return order;
    }
    return (a.size > b.size) - (a.size < b.size);
}
