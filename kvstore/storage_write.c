/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The one step of the log: what happens to the log and the metadata at one moment is one frame of
 * the store's journal, and what then happens to the state is one batch of its map. The map is not
 * synced: what it loses in a power cut is in the journal and is applied again. But it may never be
 * ahead of what the journal has durably.
 */
#include "kvstore/storage_private.h"
#include "kvstore/writeset.h"

/* Where the log and the state will be after a write. */
struct step {
    struct kvp_point applied, tail;
    struct kvp_point cut; /* the tail between the truncation and the entries appended */
};

static kvp_status write_refuse(struct kvp_storage *storage, const char *reason)
{
    return storage_fail(storage, KVP_BAD_ARGUMENT, "writing the log", reason);
}

/* Finds the point that the log is cut behind. */
static kvp_status plan_cut(struct kvp_storage *storage, uint64_t after, struct step *step)
{
    kvp_status status = KVP_OK;
    if (after < step->applied.seq || after > step->tail.seq) {
        return write_refuse(storage, "cut outside of what is not applied yet");
    }
    if (after == storage->base.seq) {
        step->tail = storage->base;
    } else if (after != storage->tail.seq) {
        status = storage_log_look(storage, after, &step->tail);
    }
    if (status == KVP_OK || status == KVP_NO_MEMORY) {
        return status;
    }
    return storage_fail_store(storage, status, "reading an entry of the log", storage->held->store);
}

/* Finds out where the write leads, and that it is one that the log allows. */
static kvp_status plan(struct kvp_storage *storage, const struct kvp_storage_write *write,
                       struct step *step)
{
    kvp_status status = KVP_OK;
    step->applied = storage->applied;
    step->tail = storage->tail;
    if (write->truncate) {
        status = plan_cut(storage, write->truncate_after, step);
    }
    step->cut = step->tail;
    for (size_t i = 0; status == KVP_OK && i < write->append_count; i++) {
        if (write->append[i]->point.seq != step->tail.seq + 1) {
            return write_refuse(storage, "an entry that does not follow the tail");
        }
        step->tail = write->append[i]->point;
    }
    for (size_t i = 0; status == KVP_OK && i < write->apply_count; i++) {
        if (write->apply[i]->point.seq != step->applied.seq + 1 ||
            write->apply[i]->point.seq > step->tail.seq) {
            return write_refuse(storage, "an entry to apply that does not follow the applied ones");
        }
        step->applied = write->apply[i]->point;
    }
    return status;
}

static kvp_status count_ops(const struct kvp_storage_write *write, size_t *count)
{
    struct kvp_writeset_iter iter;
    struct kvp_batch_op op;
    for (size_t i = 0; i < write->apply_count; i++) {
        const struct kvp_entry *entry = write->apply[i];
        kvp_status status = KVP_OK;
        kvp_writeset_begin(&iter, kvp_slice_of(entry->payload, entry->size));
        while ((status = kvp_writeset_next(&iter, &op)) == KVP_OK) {
            ++*count;
        }
        if (status != KVP_NOT_FOUND) {
            return status;
        }
    }
    return KVP_OK;
}

static void batch_apply(struct storage_batch *batch, const struct kvp_entry *entry)
{
    struct kvp_writeset_iter iter;
    struct kvp_batch_op op;
    kvp_writeset_begin(&iter, kvp_slice_of(entry->payload, entry->size));
    while (kvp_writeset_next(&iter, &op) == KVP_OK) {
        storage_batch_add(batch, op);
    }
}

/* What the entries to apply do to the state. */
static kvp_status build_state(struct kvp_storage *storage, const struct kvp_storage_write *write,
                              struct kvp_point applied, struct storage_batch *batch)
{
    size_t count = 1;
    kvp_status status = count_ops(write, &count);
    if (status == KVP_CORRUPT) {
        return storage_fail(storage, status, "applying an entry", "its write set is malformed");
    }
    status = status == KVP_OK ? storage_batch_init(batch, count, STORAGE_POINT_SIZE) : status;
    if (status != KVP_OK) {
        return status;
    }
    for (size_t i = 0; i < write->apply_count; i++) {
        batch_apply(batch, write->apply[i]);
    }
    storage_batch_point(batch, STORAGE_KEY_APPLIED, applied);
    return KVP_OK;
}

/* After a synced write the whole log is durable, and the second record may say so. */
static kvp_status raise_tail(struct kvp_storage *storage, bool sync)
{
    enum storage_standing standing = storage_standing_of(storage, &storage->meta);
    bool same = kvp_point_equal(storage->slot.tail, storage->tail);
    if (same && storage->slot.standing == standing && (storage->slot_synced || !sync)) {
        return KVP_OK;
    }
    kvp_status status = storage_tail_write(storage, storage->name, storage->tail, standing, sync);
    return status == KVP_OK ? KVP_OK
                            : storage_fail_env(storage, status, "writing the record of the tail");
}

static kvp_status lower_tail(struct kvp_storage *storage, struct kvp_point tail)
{
    if (storage->slot.tail.seq <= tail.seq) {
        return KVP_OK;
    }
    kvp_status status =
        storage_tail_write(storage, storage->name, tail, storage->slot.standing, true);
    return status == KVP_OK ? KVP_OK
                            : storage_fail_env(storage, status, "writing the record of the tail");
}

static kvp_status sync_journal(struct kvp_storage *storage)
{
    struct kvp_store *store = storage->held->store;
    kvp_status status = store->ops->journal_sync(store);
    return status == KVP_OK ? KVP_OK
                            : storage_fail_store(storage, status, "syncing the log", store);
}

static kvp_status write_log(struct kvp_storage *storage, const struct kvp_storage_write *write,
                            const struct step *step)
{
    kvp_status status = KVP_OK;
    if (!write->truncate && write->append_count == 0 && write->meta == NULL) {
        return write->sync ? sync_journal(storage) : KVP_OK;
    }
    if (write->truncate) {
        status = lower_tail(storage, step->cut);
    }
    if (status == KVP_OK && write->meta != NULL &&
        storage_standing_of(storage, write->meta) == STANDING_ALONE) {
        status = storage_tail_alone(storage);
    }
    status = status == KVP_OK ? storage_log_write(storage, write) : status;
    if (status == KVP_OK) {
        storage->tail = step->tail;
        storage->meta = write->meta != NULL ? *write->meta : storage->meta;
    }
    return status;
}

static kvp_status write_state(struct kvp_storage *storage, const struct storage_batch *batch,
                              struct kvp_point applied)
{
    struct kvp_store *store = storage->held->store;
    kvp_status status = sync_journal(storage); /* what is applied has to be in it */

    if (status != KVP_OK) {
        return status;
    }
    status = store->ops->write(store, batch->ops, batch->count, false);
    if (status != KVP_OK) {
        return storage_fail_store(storage, status, "writing the store", store);
    }
    storage->applied = applied;
    return KVP_OK;
}

static kvp_status write_step(struct kvp_storage *storage, const struct kvp_storage_write *write,
                             const struct step *step, const struct storage_batch *batch)
{
    kvp_status status = write_log(storage, write, step);
    if (status == KVP_OK && write->sync) {
        status = raise_tail(storage, false);
    }
    if (status == KVP_OK && write->apply_count > 0) {
        status = write_state(storage, batch, step->applied);
    }
    uint64_t trim = write->trim_to < storage->applied.seq ? write->trim_to : storage->applied.seq;
    if (status == KVP_OK && trim > storage->base.seq) {
        status = storage_log_trim(storage, trim);
    }
    return status;
}

kvp_status kvp_storage_write(struct kvp_storage *storage, const struct kvp_storage_write *write)
{
    struct step step = {0};
    struct storage_batch batch = {0};
    kvp_status status = storage_check(storage);
    status = status == KVP_OK ? plan(storage, write, &step) : status;
    if (status == KVP_OK && write->apply_count > 0) {
        status = build_state(storage, write, step.applied, &batch);
    }
    status = status == KVP_OK ? write_step(storage, write, &step, &batch) : status;
    storage_batch_free(&batch);
    return status;
}

kvp_status kvp_storage_sync_tail(struct kvp_storage *storage)
{
    kvp_status status = storage_check(storage);
    status = status == KVP_OK ? sync_journal(storage) : status;
    return status == KVP_OK ? raise_tail(storage, true) : status;
}
