/* SPDX-License-Identifier: Apache-2.0 */
/* Write sets to bytes and back; the reader is the gate for every payload from the network. */
#include "kvstore/writeset.h"
#include "kvstore/keyspace.h"

enum {
    KIND_PUT = 1,
    KIND_DELETE = 2,
};

static kvp_status append_op(kvp_buf *set, uint8_t kind, kvp_slice key, const kvp_slice *value)
{
    uint8_t head[5];
    uint8_t length[4];
    size_t extra = sizeof(head) + key.size;
    if (!kvp_raw_key_is_state(key) || (value != NULL && value->size > UINT32_MAX)) {
        return KVP_BAD_ARGUMENT;
    }
    extra += value == NULL ? 0 : sizeof(length) + value->size;
    kvp_status status = kvp_buf_reserve(set, extra);
    if (status != KVP_OK) {
        return status;
    }
    /* What follows fits the room reserved and so cannot fail. */
    head[0] = kind;
    kvp_put_u32(head + 1, (uint32_t)key.size);
    (void)kvp_buf_append(set, head, sizeof(head));
    (void)kvp_buf_append(set, key.data, key.size);
    if (value != NULL) {
        kvp_put_u32(length, (uint32_t)value->size);
        (void)kvp_buf_append(set, length, sizeof(length));
        (void)kvp_buf_append(set, value->data, value->size);
    }
    return KVP_OK;
}

kvp_status kvp_writeset_put(kvp_buf *set, kvp_slice raw_key, kvp_slice raw_value)
{
    return append_op(set, KIND_PUT, raw_key, &raw_value);
}

kvp_status kvp_writeset_delete(kvp_buf *set, kvp_slice raw_key)
{
    return append_op(set, KIND_DELETE, raw_key, NULL);
}

void kvp_writeset_begin(struct kvp_writeset_iter *iter, kvp_slice set)
{
    iter->next = set.data;
    iter->end = set.size == 0 ? iter->next : iter->next + set.size;
}

/* Takes {u32 size, bytes} from the set. */
static bool writeset_take_bytes(const uint8_t **next, const uint8_t *end, kvp_slice *bytes)
{
    if (end - *next < 4) {
        return false;
    }
    uint32_t size = kvp_get_u32(*next);
    if (size > (size_t)(end - *next) - 4) {
        return false;
    }
    *bytes = kvp_slice_of(*next + 4, size);
    *next += 4 + (size_t)size;
    return true;
}

kvp_status kvp_writeset_next(struct kvp_writeset_iter *iter, struct kvp_batch_op *op)
{
    const uint8_t *next = iter->next;
    struct kvp_batch_op found = {0};
    if (next == iter->end) {
        return KVP_NOT_FOUND;
    }
    uint8_t kind = *next++;
    if (kind != KIND_PUT && kind != KIND_DELETE) {
        return KVP_CORRUPT;
    }
    if (!writeset_take_bytes(&next, iter->end, &found.key) || !kvp_raw_key_is_state(found.key)) {
        return KVP_CORRUPT;
    }
    found.is_delete = kind == KIND_DELETE;
    if (!found.is_delete && !writeset_take_bytes(&next, iter->end, &found.value)) {
        return KVP_CORRUPT;
    }
    iter->next = next;
    *op = found;
    return KVP_OK;
}

kvp_status kvp_writeset_check(kvp_slice set)
{
    struct kvp_writeset_iter iter;
    struct kvp_batch_op op;
    kvp_status status = KVP_OK;
    kvp_writeset_begin(&iter, set);
    while (status == KVP_OK) {
        status = kvp_writeset_next(&iter, &op);
    }
    return status == KVP_NOT_FOUND ? KVP_OK : status;
}
