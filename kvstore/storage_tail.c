/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The second record of the log's tail. LevelDB accepts a log file that was cut off and opens with
 * fewer batches than it had; so how far the log is durable is kept here as well.
 *
 * The record must never claim more than the store holds. It is raised after a synced write of the
 * store, without an fsync of its own (an older record is true, too), and lowered, with fsync,
 * before the store is truncated. Two slots are written in turn, so one is whole after a torn write.
 * A record names its store: the one for a new store is written before `active` names that, and
 * until then the other slot still speaks for the old one.
 */
#include "kvstore/storage_private.h"

#include <xxhash.h>

#define TAIL_FILE "tail"

static uint64_t name_hash(const char *name)
{
    return XXH3_64bits(name, strlen(name));
}

/* Takes the slot if it is the newest valid one of the active store. */
static void consider(struct kvp_storage *storage, kvp_slice content, unsigned index, bool *found)
{
    struct storage_slot slot;
    size_t at = (size_t)index * STORAGE_SLOT_SIZE;
    if (content.size < at + STORAGE_SLOT_SIZE ||
        storage_slot_decode((const uint8_t *)content.data + at, &slot) != KVP_OK) {
        return;
    }
    if (slot.generation > storage->generation) {
        storage->generation = slot.generation;
    }
    if (slot.store == name_hash(storage->name) &&
        (!*found || slot.generation > storage->slot.generation)) {
        *found = true;
        storage->slot = slot;
        storage->slot_index = index;
    }
}

kvp_status storage_tail_load(struct kvp_storage *storage, bool *found)
{
    kvp_buf content = {0};
    kvp_status status = storage->env->ops->read_file(storage->env, TAIL_FILE, &content);
    *found = false;
    storage->slot_synced = false;
    if (status == KVP_OK) {
        consider(storage, kvp_buf_slice(&content), 0, found);
        consider(storage, kvp_buf_slice(&content), 1, found);
    }
    kvp_buf_free(&content);
    /* A damaged record is no reason to refuse the store: it is the same as none. */
    return status == KVP_NOT_FOUND || status == KVP_CORRUPT ? KVP_OK : status;
}

kvp_status storage_tail_write(struct kvp_storage *storage, const char *name, struct kvp_point tail,
                              bool sync)
{
    uint8_t bytes[STORAGE_SLOT_SIZE];
    unsigned index = 1 - storage->slot_index;
    struct storage_slot slot = {
        .generation = storage->generation + 1,
        .store = name_hash(name),
        .tail = tail,
    };

    storage_slot_encode(&slot, bytes);
    kvp_status status =
        storage->env->ops->write_at(storage->env, TAIL_FILE, (uint64_t)index * STORAGE_SLOT_SIZE,
                                    kvp_slice_of(bytes, sizeof(bytes)), sync);
    if (status != KVP_OK) {
        return status;
    }
    storage->generation++;
    storage->slot = slot;
    storage->slot_index = index;
    storage->slot_synced = sync;
    return KVP_OK;
}
