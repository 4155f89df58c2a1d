/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A write set: the puts and deletes of raw state keys that executing one request produced. It is
 * the payload of a log entry. Form, version 1: {u8 kind, u32 key size, key, [u32 value size,
 * value]}* with kind 1 put, 2 delete; numbers little-endian. An empty write set is valid.
 */
#ifndef KVP_WRITESET_H
#define KVP_WRITESET_H

#include "kvstore/store.h"

kvp_status kvp_writeset_put(kvp_buf *set, kvp_slice raw_key, kvp_slice raw_value);
kvp_status kvp_writeset_delete(kvp_buf *set, kvp_slice raw_key);

struct kvp_writeset_iter {
    const uint8_t *next;
    const uint8_t *end;
};

void kvp_writeset_begin(struct kvp_writeset_iter *iter, kvp_slice set);
/* KVP_OK with the next op (slices into the set), KVP_NOT_FOUND at the end, KVP_CORRUPT for anything
 * malformed, also for keys that are no state keys. */
kvp_status kvp_writeset_next(struct kvp_writeset_iter *iter, struct kvp_batch_op *op);

/* Walks the whole set: KVP_OK or KVP_CORRUPT. Used on every payload that comes from the network. */
kvp_status kvp_writeset_check(kvp_slice set);

#endif
