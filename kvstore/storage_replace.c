/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Exchanging the active store for another one: for a snapshot received, or for an empty one when
 * this one has diverged. The new store is made complete under its own name; the replacement of the
 * file `active` is the moment of the exchange.
 */
#include "kvstore/storage_private.h"

#include <stdio.h>
#include <string.h>

/* Nobody may read the store that is about to go. Ends with leave_replacing() or replace_install().
 */
static kvp_status enter_replacing(struct kvp_storage *storage)
{
    kvp_status status = storage_check(storage);
    if (status != KVP_OK) {
        return status;
    }
    pthread_rwlock_wrlock(&storage->lock);
    bool busy = atomic_load(&storage->held->references) > 1;
    storage->replacing = !busy;
    pthread_rwlock_unlock(&storage->lock);
    return busy ? KVP_BUSY : KVP_OK;
}

static void leave_replacing(struct kvp_storage *storage)
{
    pthread_rwlock_wrlock(&storage->lock);
    storage->replacing = false;
    pthread_rwlock_unlock(&storage->lock);
}

/* Puts the store in the place of the active one and closes that. */
static kvp_status replace_install(struct kvp_storage *storage, struct kvp_store *store,
                                  const char *name, const struct kvp_meta *meta,
                                  struct kvp_point point)
{
    struct storage_held *held = storage_held_new(store);
    if (held == NULL) {
        store->ops->close(store);
        return storage_fail(storage, KVP_IO, "switching the active store", "out of memory");
    }
    pthread_rwlock_wrlock(&storage->lock);
    struct storage_held *old = storage->held;
    storage->held = held;
    storage->replacing = false;
    pthread_rwlock_unlock(&storage->lock);
    storage_held_unref(old);
    (void)snprintf(storage->name, sizeof(storage->name), "%s", name);
    storage->meta = *meta;
    storage->base = storage->applied = storage->tail = point;
    storage->first_frame = storage->next_frame = 1;
    storage_index_clear(&storage->index);
    return storage_begin_journal(storage, store);
}

/* ---- a snapshot received ---- */

void kvp_storage_incoming_abort(struct kvp_storage *storage)
{
    if (storage->incoming == NULL) {
        return;
    }
    storage->incoming->ops->close(storage->incoming);
    storage->incoming = NULL;
    storage->incoming_key.size = 0;
    if (storage_check(storage) == KVP_OK) {
        /* What stays because of a failure is removed when the books are written next. */
        (void)storage->env->ops->destroy_store(storage->env, storage->incoming_name);
    }
}

kvp_status kvp_storage_incoming_begin(struct kvp_storage *storage)
{
    kvp_status status = storage_check(storage);
    if (status != KVP_OK) {
        return status;
    }
    kvp_storage_incoming_abort(storage);
    status = storage_new_name(storage, STORAGE_INCOMING_PREFIX, storage->incoming_name);
    if (status == KVP_OK) {
        status = storage_books_temporary(storage, storage->incoming_name, storage->name);
    }
    if (status != KVP_OK) {
        return status;
    }
    status = storage->env->ops->open_store(storage->env, storage->incoming_name, true,
                                           &storage->incoming);
    if (status != KVP_OK) {
        storage->incoming = NULL;
        return storage_fail_env(storage, status, "making a store for a snapshot");
    }
    return KVP_OK;
}

/* Takes {u32 key size, u32 value size, key, value} off the chunk's front. */
static bool replace_take_pair(kvp_slice *chunk, struct kvp_batch_op *op)
{
    const uint8_t *bytes = chunk->data;
    if (chunk->size < STORAGE_PAIR_HEADER_SIZE) {
        return false;
    }
    size_t rest = chunk->size - STORAGE_PAIR_HEADER_SIZE;
    size_t key_size = kvp_get_u32(bytes);
    size_t value_size = kvp_get_u32(bytes + 4);
    if (key_size > rest || value_size > rest - key_size) {
        return false;
    }
    op->key = kvp_slice_of(bytes + STORAGE_PAIR_HEADER_SIZE, key_size);
    op->value = kvp_slice_of(bytes + STORAGE_PAIR_HEADER_SIZE + key_size, value_size);
    op->is_delete = false;
    chunk->data = bytes + STORAGE_PAIR_HEADER_SIZE + key_size + value_size;
    chunk->size = rest - key_size - value_size;
    return true;
}

/* Checks the whole chunk and counts its pairs. */
static kvp_status check_chunk(const struct kvp_storage *storage, kvp_slice chunk, size_t *count,
                              kvp_slice *last)
{
    struct kvp_batch_op op;
    *last = kvp_buf_slice(&storage->incoming_key);
    for (*count = 0; chunk.size > 0; ++*count) {
        if (!replace_take_pair(&chunk, &op) || !kvp_raw_key_is_state(op.key) ||
            kvp_slice_compare(op.key, *last) <= 0) {
            return KVP_BAD_REQUEST;
        }
        *last = op.key;
    }
    return KVP_OK;
}

kvp_status kvp_storage_incoming_write(struct kvp_storage *storage, kvp_slice chunk)
{
    struct kvp_store *store = storage->incoming;
    struct storage_batch batch;
    kvp_slice last;
    size_t count = 0;
    kvp_status status = storage_check(storage);
    if (status != KVP_OK) {
        return status;
    }
    if (store == NULL) {
        return KVP_BAD_ARGUMENT;
    }
    status = check_chunk(storage, chunk, &count, &last);
    if (status != KVP_OK || count == 0) {
        return status;
    }
    status = kvp_buf_reserve(&storage->incoming_key, KVP_RAW_KEY_SIZE_MAX);
    status = status == KVP_OK ? storage_batch_init(&batch, count, 0) : status;
    if (status != KVP_OK) {
        return status;
    }
    for (struct kvp_batch_op op; replace_take_pair(&chunk, &op);) {
        storage_batch_add(&batch, op);
    }
    status = store->ops->write(store, batch.ops, batch.count, false);
    storage_batch_free(&batch);
    if (status != KVP_OK) {
        return storage_fail_store(storage, status, "writing a snapshot", store);
    }
    storage->incoming_key.size = 0;
    return kvp_buf_append(&storage->incoming_key, last.data, last.size); /* room was made */
}

/* ---- keeping the store that goes ---- */

/* A name for the store that nothing in the directory has. */
static kvp_status choose_quarantine_name(struct kvp_storage *storage, enum kvp_keep keep,
                                         struct storage_pointer *pointer)
{
    const char *prefix = keep == KVP_KEEP ? STORAGE_DIVERGED_PREFIX : STORAGE_REPLACED_PREFIX;
    bool taken = true;
    kvp_status status = KVP_OK;
    (void)snprintf(pointer->quarantine_from, sizeof(pointer->quarantine_from), "%s", storage->name);
    for (unsigned attempt = 1; status == KVP_OK && taken; attempt++) {
        int size = snprintf(pointer->quarantine_to, sizeof(pointer->quarantine_to), "%s%llu-%llu",
                            prefix, (unsigned long long)storage->tail.epoch,
                            (unsigned long long)storage->tail.seq);
        if (attempt > 1) {
            (void)snprintf(pointer->quarantine_to + size,
                           sizeof(pointer->quarantine_to) - (size_t)size, "-%u", attempt);
        }
        status = storage_is_there(storage, pointer->quarantine_to, &taken);
    }
    return status;
}

/* What goes aside is the only copy of what it has; later nobody could make it durable. */
static kvp_status prepare_keeping(struct kvp_storage *storage, enum kvp_keep keep,
                                  struct storage_pointer *pointer,
                                  struct kvp_quarantined *quarantined)
{
    memset(quarantined, 0, sizeof(*quarantined));
    if (keep == KVP_KEEP_NOT) {
        return KVP_OK;
    }
    kvp_status status = kvp_storage_sync_tail(storage);
    status = status == KVP_OK ? storage_quarantine_room(storage, quarantined) : status;
    return status == KVP_OK ? choose_quarantine_name(storage, keep, pointer) : status;
}

/* The other store is the active one, and this one closed: it is renamed or destroyed. */
static kvp_status put_away(struct kvp_storage *storage, const char *old, enum kvp_keep keep,
                           struct storage_pointer *pointer, struct kvp_quarantined *quarantined)
{
    const struct kvp_env_ops *ops = storage->env->ops;
    if (keep == KVP_KEEP_NOT) {
        kvp_status status = ops->destroy_store(storage->env, old);
        return status == KVP_OK ? storage_books_temporary(storage, "", "")
                                : storage_fail_env(storage, status, "removing the store replaced");
    }
    kvp_status status = ops->rename_store(storage->env, old, pointer->quarantine_to);
    if (status != KVP_OK) {
        return storage_fail_env(storage, status, "setting the store aside");
    }
    (void)snprintf(quarantined->name, sizeof(quarantined->name), "%s", pointer->quarantine_to);
    quarantined->count++;
    pointer->quarantine_from[0] = '\0';
    status = storage_write_pointer(storage, pointer);
    if (status != KVP_OK) {
        return status;
    }
    return keep == KVP_KEEP_SPARE ? storage_books_spare(storage, quarantined->name)
                                  : storage_books_temporary(storage, "", "");
}

/* ---- the exchange ---- */

static kvp_status switch_to_incoming(struct kvp_storage *storage, struct kvp_point point,
                                     const struct kvp_meta *meta, struct storage_pointer *pointer)
{
    (void)snprintf(pointer->active, sizeof(pointer->active), "%s", storage->incoming_name);
    kvp_status status = storage_start_empty(storage, pointer, meta, point, storage->incoming);
    if (status != KVP_OK) {
        return status;
    }
    struct kvp_store *store = storage->incoming;
    storage->incoming = NULL;
    storage->incoming_key.size = 0;
    return replace_install(storage, store, pointer->active, meta, point);
}

kvp_status kvp_storage_incoming_finish(struct kvp_storage *storage, struct kvp_point point,
                                       const struct kvp_meta *meta, enum kvp_keep keep,
                                       struct kvp_quarantined *quarantined)
{
    struct storage_pointer pointer = {0};
    char old[KVP_STORE_NAME_SIZE];
    kvp_status status = storage_check(storage);
    if (status == KVP_OK && storage->incoming == NULL) {
        status = KVP_BAD_ARGUMENT;
    }
    status = status == KVP_OK ? enter_replacing(storage) : status;
    if (status != KVP_OK) {
        return status;
    }
    (void)snprintf(old, sizeof(old), "%s", storage->name);
    status = prepare_keeping(storage, keep, &pointer, quarantined);
    status = status == KVP_OK ? switch_to_incoming(storage, point, meta, &pointer) : status;
    if (status != KVP_OK) {
        leave_replacing(storage);
        return status;
    }
    return put_away(storage, old, keep, &pointer, quarantined);
}

static kvp_status switch_to_empty(struct kvp_storage *storage, const struct kvp_meta *meta,
                                  struct storage_pointer *pointer)
{
    struct kvp_store *store = NULL;
    struct kvp_point zero = {0};
    kvp_status status = storage_new_name(storage, STORAGE_STORE_PREFIX, pointer->active);
    status = status == KVP_OK ? storage_books_temporary(storage, pointer->active, "") : status;
    status = status == KVP_OK ? storage_start_empty(storage, pointer, meta, zero, NULL) : status;
    if (status != KVP_OK) {
        return status;
    }
    status = storage->env->ops->open_store(storage->env, pointer->active, false, &store);
    if (status != KVP_OK) {
        return storage_fail_env(storage, status, "opening the new store");
    }
    return replace_install(storage, store, pointer->active, meta, zero);
}

kvp_status kvp_storage_quarantine(struct kvp_storage *storage, const struct kvp_meta *meta,
                                  enum kvp_keep keep, struct kvp_quarantined *quarantined)
{
    struct storage_pointer pointer = {0};
    char old[KVP_STORE_NAME_SIZE];
    kvp_status status = storage_check(storage);
    if (status != KVP_OK || keep == KVP_KEEP_NOT) {
        return status != KVP_OK ? status : KVP_BAD_ARGUMENT;
    }
    kvp_storage_incoming_abort(storage);
    status = enter_replacing(storage);
    if (status != KVP_OK) {
        return status;
    }
    (void)snprintf(old, sizeof(old), "%s", storage->name);
    status = prepare_keeping(storage, keep, &pointer, quarantined);
    status = status == KVP_OK ? switch_to_empty(storage, meta, &pointer) : status;
    if (status != KVP_OK) {
        leave_replacing(storage);
        return status;
    }
    return put_away(storage, old, keep, &pointer, quarantined);
}
