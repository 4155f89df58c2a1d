/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The storage's own records to bytes and back, and the batches that they travel in.
 *
 * `active` is text, for the eye of whoever looks into the directory:
 *
 *   active store-2
 *   set-aside store-1 diverged-5-120      (only until it has been done)
 *   crc 1a2b3c4d                          (CRC-32 of the lines before)
 *
 * Metadata, version 1: u8 version, u64 group id, view {u64 version, u64 epoch, u8 primary, u64
 * in-sync}, u64 member epoch, u64 unreplicated from, u8 log regressed, u64 diverged count, u64
 * forced epoch. A point: u64 seq, epoch, hash. A slot of `tail`: u32 magic, u32 version, u64
 * generation, u64 hash of the store's name, point, u8 standing, u8 damaged, 10 zeros, u32 CRC-32 of
 * what is before. Standing and damaged are 0 where the version before wrote it.
 */
#include "kvstore/storage_private.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <zlib.h>

enum {
    META_VERSION = 2,
    SLOT_VERSION = 1,
    SLOT_STANDING_AT = 48,
    SLOT_CRC_AT = STORAGE_SLOT_SIZE - 4,
};

#define SLOT_MAGIC 0x5450564bu /* "KVPT" */

void storage_point_encode(struct kvp_point point, uint8_t bytes[STORAGE_POINT_SIZE])
{
    kvp_put_u64(bytes, point.seq);
    kvp_put_u64(bytes + 8, point.epoch);
    kvp_put_u64(bytes + 16, point.hash);
}

struct kvp_point storage_point_decode(const uint8_t bytes[STORAGE_POINT_SIZE])
{
    struct kvp_point point = {
        .seq = kvp_get_u64(bytes),
        .epoch = kvp_get_u64(bytes + 8),
        .hash = kvp_get_u64(bytes + 16),
    };

    return point;
}

void storage_meta_encode(const struct kvp_meta *meta, uint8_t bytes[STORAGE_META_SIZE])
{
    bytes[0] = META_VERSION;
    kvp_put_u64(bytes + 1, meta->group_id);
    kvp_put_u64(bytes + 9, meta->view.version);
    kvp_put_u64(bytes + 17, meta->view.epoch);
    bytes[25] = meta->view.primary;
    kvp_put_u64(bytes + 26, meta->view.in_sync);
    kvp_put_u64(bytes + 34, meta->member_epoch);
    kvp_put_u64(bytes + 42, meta->unreplicated_from);
    bytes[50] = meta->log_regressed ? 1 : 0;
    kvp_put_u64(bytes + 51, meta->diverged_count);
    kvp_put_u64(bytes + 59, meta->forced_epoch);
    kvp_put_u64(bytes + 67, meta->shown_version);
    kvp_put_u64(bytes + 75, meta->incarnation);
    bytes[83] = meta->copy ? 1 : 0;
    kvp_put_u64(bytes + 84, meta->peer_incarnation);
    for (size_t i = 0; i < KVP_EARLIER_MAX; i++) {
        kvp_put_u64(bytes + 92 + 8 * i, meta->earlier[i]);
    }
}

size_t storage_meta_size(kvp_slice bytes)
{
    bool first = bytes.size > 0 && *(const uint8_t *)bytes.data == 1;
    return first ? STORAGE_META_SIZE_1 : STORAGE_META_SIZE;
}

/* What version 2 has behind the fields of version 1. */
static kvp_status decode_identity(const uint8_t *bytes, struct kvp_meta *meta)
{
    meta->shown_version = kvp_get_u64(bytes + 67);
    meta->incarnation = kvp_get_u64(bytes + 75);
    meta->copy = bytes[83] != 0;
    meta->peer_incarnation = kvp_get_u64(bytes + 84);
    for (size_t i = 0; i < KVP_EARLIER_MAX; i++) {
        meta->earlier[i] = kvp_get_u64(bytes + 92 + 8 * i);
    }
    return bytes[83] > 1 ? KVP_CORRUPT : KVP_OK;
}

kvp_status storage_meta_decode(kvp_slice raw, struct kvp_meta *meta)
{
    const uint8_t *bytes = raw.data;
    if (raw.size == 0 || bytes[0] == 0 || bytes[0] > META_VERSION ||
        raw.size != storage_meta_size(raw) || bytes[50] > 1) {
        return KVP_CORRUPT;
    }
    struct kvp_meta found = {
        .group_id = kvp_get_u64(bytes + 1),
        .view = {.version = kvp_get_u64(bytes + 9),
                 .epoch = kvp_get_u64(bytes + 17),
                 .primary = bytes[25],
                 .in_sync = kvp_get_u64(bytes + 26)},
        .member_epoch = kvp_get_u64(bytes + 34),
        .unreplicated_from = kvp_get_u64(bytes + 42),
        .log_regressed = bytes[50] != 0,
        .diverged_count = kvp_get_u64(bytes + 51),
        .forced_epoch = kvp_get_u64(bytes + 59),
    };
    kvp_status status = bytes[0] == 1 ? KVP_OK : decode_identity(bytes, &found);
    if (status == KVP_OK) {
        *meta = found;
    }
    return status;
}

kvp_status storage_pointer_encode(const struct storage_pointer *pointer, kvp_buf *text)
{
    char lines[4 * KVP_STORE_NAME_SIZE];
    char last[16];
    int size = snprintf(lines, sizeof(lines), "active %s\n", pointer->active);
    if (pointer->quarantine_from[0] != '\0') {
        size += snprintf(lines + size, sizeof(lines) - (size_t)size, "set-aside %s %s\n",
                         pointer->quarantine_from, pointer->quarantine_to);
    }
    assert((size_t)size < sizeof(lines));
    unsigned long crc = crc32(0, (const Bytef *)lines, (uInt)size);
    int last_size = snprintf(last, sizeof(last), "crc %08lx\n", crc);
    kvp_status status = kvp_buf_reserve(text, (size_t)size + (size_t)last_size);
    if (status == KVP_OK) {
        (void)kvp_buf_append(text, lines, (size_t)size); /* fits */
        (void)kvp_buf_append(text, last, (size_t)last_size);
    }
    return status;
}

/* Takes `word` and then a name from the text, up to the byte `stop`, which is skipped too. */
static bool codec_take_name(const char **text, const char *word, char stop, char *name)
{
    size_t size = strlen(word);
    if (strncmp(*text, word, size) != 0) {
        return false;
    }
    const char *start = *text + size;
    const char *end = strchr(start, stop);
    if (end == NULL || (size_t)(end - start) >= KVP_STORE_NAME_SIZE) {
        return false;
    }
    memcpy(name, start, (size_t)(end - start));
    name[end - start] = '\0';
    *text = end + 1;
    return kvp_store_name_valid(name);
}

/* What was understood is written again and has to come out the same: that checks all the rest. */
kvp_status storage_pointer_decode(kvp_slice text, struct storage_pointer *pointer)
{
    struct storage_pointer found = {0};
    char copy[5 * KVP_STORE_NAME_SIZE];
    const char *next = copy;
    kvp_buf again = {0};
    if (text.size == 0 || text.size >= sizeof(copy)) {
        return KVP_CORRUPT;
    }
    memcpy(copy, text.data, text.size);
    copy[text.size] = '\0';
    if (!codec_take_name(&next, "active ", '\n', found.active)) {
        return KVP_CORRUPT;
    }
    if (strncmp(next, "set-aside ", 10) == 0 &&
        (!codec_take_name(&next, "set-aside ", ' ', found.quarantine_from) ||
         !codec_take_name(&next, "", '\n', found.quarantine_to))) {
        return KVP_CORRUPT;
    }
    kvp_status status = storage_pointer_encode(&found, &again);
    if (status == KVP_OK && kvp_slice_compare(kvp_buf_slice(&again), text) != 0) {
        status = KVP_CORRUPT;
    }
    kvp_buf_free(&again);
    if (status == KVP_OK) {
        *pointer = found;
    }
    return status;
}

void storage_slot_encode(const struct storage_slot *slot, uint8_t bytes[STORAGE_SLOT_SIZE])
{
    memset(bytes, 0, STORAGE_SLOT_SIZE);
    kvp_put_u32(bytes, SLOT_MAGIC);
    kvp_put_u32(bytes + 4, SLOT_VERSION);
    kvp_put_u64(bytes + 8, slot->generation);
    kvp_put_u64(bytes + 16, slot->store);
    storage_point_encode(slot->tail, bytes + 24);
    bytes[SLOT_STANDING_AT] = (uint8_t)slot->standing;
    bytes[SLOT_STANDING_AT + 1] = slot->damaged ? 1 : 0;
    kvp_put_u32(bytes + SLOT_CRC_AT, (uint32_t)crc32(0, bytes, SLOT_CRC_AT));
}

kvp_status storage_slot_decode(const uint8_t bytes[STORAGE_SLOT_SIZE], struct storage_slot *slot)
{
    if (kvp_get_u32(bytes) != SLOT_MAGIC || kvp_get_u32(bytes + 4) != SLOT_VERSION ||
        kvp_get_u32(bytes + SLOT_CRC_AT) != (uint32_t)crc32(0, bytes, SLOT_CRC_AT)) {
        return KVP_CORRUPT;
    }
    slot->generation = kvp_get_u64(bytes + 8);
    slot->store = kvp_get_u64(bytes + 16);
    slot->tail = storage_point_decode(bytes + 24);
    uint8_t standing = bytes[SLOT_STANDING_AT];
    slot->standing = standing > STANDING_OUTSIDE ? STANDING_UNKNOWN : standing;
    slot->damaged = bytes[SLOT_STANDING_AT + 1] != 0;
    return KVP_OK;
}

/* ---- batches ---- */

kvp_status storage_batch_init(struct storage_batch *batch, size_t count, size_t size)
{
    memset(batch, 0, sizeof(*batch));
    batch->ops = calloc(count + 1, sizeof(batch->ops[0]));
    batch->bytes = malloc(size + 1);
    if (batch->ops == NULL || batch->bytes == NULL) {
        storage_batch_free(batch);
        return KVP_NO_MEMORY;
    }
    batch->capacity = count;
    batch->byte_capacity = size;
    return KVP_OK;
}

void storage_batch_free(struct storage_batch *batch)
{
    free(batch->ops);
    free(batch->bytes);
    memset(batch, 0, sizeof(*batch));
}

uint8_t *storage_batch_bytes(struct storage_batch *batch, size_t size)
{
    uint8_t *bytes = batch->bytes + batch->size;
    assert(size <= batch->byte_capacity - batch->size);
    batch->size += size;
    return bytes;
}

void storage_batch_add(struct storage_batch *batch, struct kvp_batch_op op)
{
    assert(batch->count < batch->capacity);
    batch->ops[batch->count++] = op;
}

void storage_batch_put(struct storage_batch *batch, const char *key, const void *value, size_t size)
{
    struct kvp_batch_op op = {
        .key = kvp_slice_of(key, strlen(key)),
        .value = kvp_slice_of(value, size),
    };

    storage_batch_add(batch, op);
}

void storage_batch_point(struct storage_batch *batch, const char *key, struct kvp_point point)
{
    uint8_t *bytes = storage_batch_bytes(batch, STORAGE_POINT_SIZE);
    storage_point_encode(point, bytes);
    storage_batch_put(batch, key, bytes, STORAGE_POINT_SIZE);
}

void storage_batch_base(struct storage_batch *batch, struct kvp_point base, uint64_t first_frame)
{
    uint8_t *bytes = storage_batch_bytes(batch, STORAGE_BASE_SIZE);
    storage_point_encode(base, bytes);
    kvp_put_u64(bytes + STORAGE_POINT_SIZE, first_frame);
    storage_batch_put(batch, STORAGE_KEY_BASE, bytes, STORAGE_BASE_SIZE);
}

void storage_batch_meta(struct storage_batch *batch, const struct kvp_meta *meta)
{
    uint8_t *bytes = storage_batch_bytes(batch, STORAGE_META_SIZE);
    storage_meta_encode(meta, bytes);
    storage_batch_put(batch, STORAGE_KEY_META, bytes, STORAGE_META_SIZE);
}
