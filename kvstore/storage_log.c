/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The log in its store. Entries that are written together lie together, in pieces: one pair of the
 * store each, under the number of its last entry, so that the first key at or behind a number is that
 * of the piece with that entry. One pair for each entry would cost the store twice as much: it looks
 * for the place of every pair, once when it comes and once when it goes.
 *
 * Where pieces end is kept in memory. A piece goes when all of it is trimmed; until then it has entries
 * that the log does not have any more.
 */
#include "kvstore/storage_private.h"

#include <stdlib.h>
#include <string.h>

/* ---- where pieces end ---- */

kvp_status storage_pieces_reserve(struct storage_pieces *pieces, size_t more)
{
    if (pieces->first > 0 && pieces->first >= pieces->count / 2) {
        pieces->count -= pieces->first;
        memmove(pieces->last, pieces->last + pieces->first, pieces->count * sizeof(uint64_t));
        pieces->first = 0;
    }
    if (pieces->capacity - pieces->count >= more) {
        return KVP_OK;
    }
    size_t capacity = 2 * pieces->capacity + more;
    uint64_t *last = realloc(pieces->last, capacity * sizeof(uint64_t));
    if (last == NULL) {
        return KVP_NO_MEMORY;
    }
    pieces->last = last;
    pieces->capacity = capacity;
    return KVP_OK;
}

void storage_pieces_add(struct storage_pieces *pieces, uint64_t last)
{
    pieces->last[pieces->count++] = last;
}

void storage_pieces_clear(struct storage_pieces *pieces)
{
    free(pieces->last);
    memset(pieces, 0, sizeof(*pieces));
}

size_t storage_pieces_find(const struct storage_pieces *pieces, uint64_t seq)
{
    size_t low = pieces->first, high = pieces->count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (pieces->last[middle] < seq) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

/* ---- reading a piece ---- */

kvp_status storage_piece_begin(struct storage_piece *piece, kvp_slice raw, uint64_t last)
{
    uint32_t count = raw.size < STORAGE_PIECE_HEAD_SIZE ? 0 : kvp_get_u32(raw.data);

    if (count == 0 || count > last) {
        return KVP_CORRUPT;
    }
    piece->rest = kvp_slice_of((const uint8_t *)raw.data + STORAGE_PIECE_HEAD_SIZE,
                               raw.size - STORAGE_PIECE_HEAD_SIZE);
    piece->next = last - count + 1;
    piece->last = last;
    return KVP_OK;
}

kvp_status storage_piece_next(struct storage_piece *piece, struct kvp_point *point,
                              kvp_slice *payload)
{
    const uint8_t *bytes = piece->rest.data;

    if (piece->next > piece->last) {
        return piece->rest.size == 0 ? KVP_NOT_FOUND : KVP_CORRUPT;
    }
    if (piece->rest.size < STORAGE_ENTRY_SIZE ||
        kvp_get_u32(bytes) > piece->rest.size - STORAGE_ENTRY_SIZE) {
        return KVP_CORRUPT;
    }
    size_t size = kvp_get_u32(bytes);
    point->seq = piece->next++;
    point->epoch = kvp_get_u64(bytes + 4);
    point->hash = kvp_get_u64(bytes + 12);
    *payload = kvp_slice_of(bytes + STORAGE_ENTRY_SIZE, size);
    bytes += STORAGE_ENTRY_SIZE + size;
    piece->rest = kvp_slice_of(bytes, piece->rest.size - STORAGE_ENTRY_SIZE - size);
    return KVP_OK;
}

/* Goes on until behind the entry `seq`. */
static kvp_status piece_to(struct storage_piece *piece, uint64_t seq, struct kvp_point *point,
                           kvp_slice *payload)
{
    kvp_status status = KVP_OK;

    point->seq = 0;
    while (status == KVP_OK && point->seq != seq) {
        status = storage_piece_next(piece, point, payload);
    }
    return status == KVP_NOT_FOUND ? KVP_CORRUPT : status;
}

/* ---- looking at one entry ---- */

kvp_status storage_log_look(struct kvp_storage *storage, uint64_t seq, kvp_buf *value,
                            struct kvp_point *point)
{
    struct kvp_store *store = storage->held->store;
    size_t index = storage_pieces_find(&storage->pieces, seq);
    struct storage_piece piece;
    struct kvp_raw_key raw;
    kvp_slice payload;

    if (index == storage->pieces.count) {
        return KVP_CORRUPT;
    }
    uint64_t last = storage->pieces.last[index];
    kvp_raw_key_log(&raw, last);
    value->size = 0;
    kvp_status status = store->ops->get(store, kvp_raw_key_slice(&raw), value);
    if (status == KVP_OK) {
        status = storage_piece_begin(&piece, kvp_buf_slice(value), last);
    }
    if (status == KVP_OK) {
        status = piece_to(&piece, seq, point, &payload);
    }
    if (status == KVP_OK) {
        value->size -= piece.rest.size;
        kvp_put_u32(value->data, kvp_get_u32(value->data) - (uint32_t)(last - seq));
    }
    return status == KVP_NOT_FOUND ? KVP_CORRUPT : status;
}

/* ---- changes ---- */

static kvp_slice log_key(struct storage_batch *batch, uint64_t last)
{
    uint8_t *bytes = storage_batch_bytes(batch, STORAGE_LOG_KEY_SIZE);

    bytes[0] = KVP_PREFIX_LOG;
    kvp_put_be64(bytes + 1, last);
    return kvp_slice_of(bytes, STORAGE_LOG_KEY_SIZE);
}

static void delete_piece(struct storage_batch *batch, uint64_t last)
{
    struct kvp_batch_op op = {.key = log_key(batch, last), .is_delete = true};

    storage_batch_add(batch, op);
}

void storage_log_cut(struct kvp_storage *storage, struct storage_batch *batch, uint64_t after,
                     kvp_slice kept)
{
    struct storage_pieces *pieces = &storage->pieces;
    size_t left = storage_pieces_find(pieces, after + 1);

    for (size_t i = left; i < pieces->count; i++) {
        delete_piece(batch, pieces->last[i]);
    }
    pieces->count = left;
    if (kept.size > 0) {
        struct kvp_batch_op op = {.key = log_key(batch, after)};
        uint8_t *bytes = storage_batch_bytes(batch, kept.size);
        memcpy(bytes, kept.data, kept.size);
        op.value = kvp_slice_of(bytes, kept.size);
        storage_batch_add(batch, op);
        storage_pieces_add(pieces, after);
    }
}

/* How many of the entries go into one piece. */
static size_t piece_length(struct kvp_entry *const *entries, size_t count, size_t *size)
{
    size_t length = 0;

    *size = STORAGE_PIECE_HEAD_SIZE;
    while (length < count) {
        size_t more = STORAGE_ENTRY_SIZE + (size_t)entries[length]->size;
        if (length > 0 && *size + more > STORAGE_PIECE_SIZE_MAX) {
            break;
        }
        *size += more;
        length++;
    }
    return length;
}

static void append_piece(struct storage_batch *batch, struct kvp_entry *const *entries,
                         size_t count, size_t size)
{
    struct kvp_batch_op op = {.key = log_key(batch, entries[count - 1]->point.seq)};
    uint8_t *bytes = storage_batch_bytes(batch, size);

    op.value = kvp_slice_of(bytes, size);
    kvp_put_u32(bytes, (uint32_t)count);
    bytes += STORAGE_PIECE_HEAD_SIZE;
    for (size_t i = 0; i < count; i++) {
        const struct kvp_entry *entry = entries[i];
        kvp_put_u32(bytes, (uint32_t)entry->size);
        kvp_put_u64(bytes + 4, entry->point.epoch);
        kvp_put_u64(bytes + 12, entry->point.hash);
        memcpy(bytes + STORAGE_ENTRY_SIZE, entry->payload, entry->size);
        bytes += STORAGE_ENTRY_SIZE + entry->size;
    }
    storage_batch_add(batch, op);
}

void storage_log_append(struct kvp_storage *storage, struct storage_batch *batch,
                        struct kvp_entry *const *entries, size_t count)
{
    while (count > 0) {
        size_t size, length = piece_length(entries, count, &size);
        append_piece(batch, entries, length, size);
        storage_pieces_add(&storage->pieces, entries[length - 1]->point.seq);
        entries += length;
        count -= length;
    }
}

void storage_log_trim(struct kvp_storage *storage, struct storage_batch *batch, uint64_t to)
{
    struct storage_pieces *pieces = &storage->pieces;

    for (; pieces->first < pieces->count && pieces->last[pieces->first] <= to; pieces->first++) {
        delete_piece(batch, pieces->last[pieces->first]);
    }
}

/* ---- reading entries ---- */

static kvp_status unreadable(struct kvp_storage *storage, kvp_status status)
{
    struct kvp_store *store = storage->held->store;

    return storage_fail_soon(storage, status == KVP_OK ? KVP_CORRUPT : status, "reading the log",
                             store->ops->error(store));
}

static kvp_status take_entry(struct kvp_point point, kvp_slice payload, struct kvp_entry **entry)
{
    *entry = kvp_entry_new(payload.size);
    if (*entry == NULL) {
        return KVP_NO_MEMORY;
    }
    (*entry)->point = point;
    memcpy((*entry)->payload, payload.data, payload.size);
    return KVP_OK;
}

/* What is being read, and how much may be. */
struct reading {
    struct kvp_entry **entries;
    size_t count, count_max, size, size_max;
    uint64_t next;
    bool full;
};

static kvp_status read_piece(struct kvp_storage *storage, struct kvp_iter *iter,
                             struct reading *reading)
{
    struct kvp_store *store = storage->held->store;
    uint64_t last = storage->pieces.last[storage_pieces_find(&storage->pieces, reading->next)];
    struct storage_piece piece;
    struct kvp_raw_key raw;
    struct kvp_point point;
    kvp_slice payload;

    kvp_raw_key_log(&raw, last);
    if (!store->ops->iter_valid(iter) ||
        kvp_slice_compare(store->ops->iter_key(iter), kvp_raw_key_slice(&raw)) != 0 ||
        storage_piece_begin(&piece, store->ops->iter_value(iter), last) != KVP_OK) {
        return unreadable(storage, store->ops->iter_status(iter));
    }
    while (piece.next <= last && !reading->full) {
        if (storage_piece_next(&piece, &point, &payload) != KVP_OK) {
            return unreadable(storage, KVP_CORRUPT);
        }
        if (point.seq < reading->next) {
            continue;
        }
        reading->full = reading->count == reading->count_max ||
                        (reading->count > 0 && reading->size + payload.size > reading->size_max);
        if (!reading->full) {
            kvp_status status = take_entry(point, payload, &reading->entries[reading->count]);
            if (status != KVP_OK) {
                return status;
            }
            reading->count++;
            reading->size += payload.size;
            reading->next++;
        }
    }
    return KVP_OK;
}

kvp_status kvp_storage_read_log(struct kvp_storage *storage, uint64_t from, size_t size_max,
                                struct kvp_entry **entries, size_t count_max, size_t *count)
{
    kvp_status status = storage_check(storage);
    struct reading reading = {
        .entries = entries, .count_max = count_max, .size_max = size_max, .next = from};
    struct kvp_raw_key raw;

    *count = 0;
    if (status != KVP_OK) {
        return status;
    }
    if (from <= storage->base.seq || from > storage->tail.seq) {
        return KVP_NOT_FOUND;
    }
    struct kvp_store *store = storage->held->store;
    struct kvp_iter *iter = store->ops->iter(store, NULL, false);
    if (iter == NULL) {
        return KVP_NO_MEMORY;
    }
    kvp_raw_key_log(&raw, from);
    store->ops->iter_seek(iter, kvp_raw_key_slice(&raw));
    status = read_piece(storage, iter, &reading);
    while (status == KVP_OK && !reading.full && reading.next <= storage->tail.seq) {
        store->ops->iter_next(iter);
        status = read_piece(storage, iter, &reading);
    }
    store->ops->iter_close(iter);
    for (; status != KVP_OK && reading.count > 0; reading.count--) {
        kvp_entry_unref(entries[reading.count - 1]);
    }
    *count = reading.count;
    (void)storage_check(storage); /* without the iterator a store that has failed can go */
    return status;
}
