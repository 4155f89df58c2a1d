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
 *
 * It also says who else has what this node has acknowledged, for the day on which the store cannot
 * be read (storage_repair.c). It never says "others" when the metadata say that this node is alone,
 * also after one of the slots was damaged: that is written to both before it is true.
 */
#include "kvstore/base/mutant.h"
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
    bool ours = storage->name[0] == '\0' || slot.store == name_hash(storage->name);
    if (ours && (!*found || slot.generation > storage->slot.generation)) {
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

enum storage_standing storage_standing_of(const struct kvp_storage *storage,
                                          const struct kvp_meta *meta)
{
    if (meta->view.version == 0) {
        return STANDING_BLANK;
    }
    if (meta->copy || !kvp_set_has(meta->view.in_sync, storage->node_id)) {
        return meta->unreplicated_from != 0 ? STANDING_OUTSIDE : STANDING_SHARED;
    }
    return meta->view.in_sync == kvp_set_of(storage->node_id) ? STANDING_ALONE : STANDING_SHARED;
}

kvp_status storage_tail_write(struct kvp_storage *storage, const char *name, struct kvp_point tail,
                              enum storage_standing standing, bool sync)
{
    uint8_t bytes[STORAGE_SLOT_SIZE];
    unsigned index = 1 - storage->slot_index;
    struct storage_slot slot = {
        .generation = storage->generation + 1,
        .store = name_hash(name),
        .tail = tail,
        .standing = standing,
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

kvp_status storage_tail_alone(struct kvp_storage *storage)
{
    kvp_status status = KVP_OK;
    if (storage->slot.standing == STANDING_ALONE) {
        return KVP_OK;
    }
    for (unsigned i = KVP_MUTANT(TAIL_ALONE_ONCE) ? 1 : 0; i < 2 && status == KVP_OK; i++) {
        status =
            storage_tail_write(storage, storage->name, storage->slot.tail, STANDING_ALONE, true);
    }
    return status == KVP_OK ? KVP_OK
                            : storage_fail_env(storage, status, "writing the record of the tail");
}

bool storage_tail_repairable(const struct kvp_storage *storage)
{
    return storage->slot.standing == STANDING_SHARED || storage->slot.standing == STANDING_OUTSIDE;
}

void storage_tail_condemn(struct kvp_storage *storage)
{
    uint8_t bytes[STORAGE_SLOT_SIZE];
    unsigned index = 1 - storage->slot_index;
    if (!storage_tail_repairable(storage)) {
        return; /* what can still be read of the last copy may be wanted */
    }
    storage->slot.generation = ++storage->generation;
    storage->slot.damaged = !KVP_MUTANT(DAMAGE_FORGOTTEN);
    storage_slot_encode(&storage->slot, bytes);
    /* If that fails, the damage is found again. */
    (void)storage->env->ops->write_at(storage->env, TAIL_FILE, (uint64_t)index * STORAGE_SLOT_SIZE,
                                      kvp_slice_of(bytes, sizeof(bytes)), true);
}
