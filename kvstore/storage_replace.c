/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Exchanging the active store for another one: for a snapshot received, or for an empty one when
 * this one has diverged. The new store is made complete under its own name; the replacement of the
 * file `active` is the moment of the exchange.
 */
#include "kvstore/storage_private.h"

#include <stdio.h>
#include <string.h>

/* Nobody may read the store that is about to go. Ends with leave_replacing() or install(). */
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
static kvp_status install(struct kvp_storage *storage, struct kvp_store *store, const char *name,
                          const struct kvp_meta *meta, struct kvp_point point)
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
        /* What stays because of a failure is removed at the next opening. */
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
    storage_new_name(storage, STORAGE_INCOMING_PREFIX, storage->incoming_name);
    status = storage->env->ops->open_store(storage->env, storage->incoming_name, true,
                                           &storage->incoming);
    if (status != KVP_OK) {
        storage->incoming = NULL;
        return storage_fail_env(storage, status, "making a store for a snapshot");
    }
    return KVP_OK;
}

/* Takes {u32 key size, u32 value size, key, value} off the chunk's front. */
static bool take_pair(kvp_slice *chunk, struct kvp_batch_op *op)
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
        if (!take_pair(&chunk, &op) || !kvp_raw_key_is_state(op.key) ||
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
    for (struct kvp_batch_op op; take_pair(&chunk, &op);) {
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

kvp_status kvp_storage_incoming_finish(struct kvp_storage *storage, struct kvp_point point,
                                       const struct kvp_meta *meta)
{
    struct storage_pointer pointer = {0};
    char old[KVP_STORE_NAME_SIZE];
    kvp_status status = storage_check(storage);

    if (status != KVP_OK) {
        return status;
    }
    if (storage->incoming == NULL) {
        return KVP_BAD_ARGUMENT;
    }
    status = enter_replacing(storage);
    if (status != KVP_OK) {
        return status;
    }
    (void)snprintf(old, sizeof(old), "%s", storage->name);
    (void)snprintf(pointer.active, sizeof(pointer.active), "%s", storage->incoming_name);
    status = storage_start_empty(storage, &pointer, meta, point, storage->incoming);
    if (status != KVP_OK) {
        leave_replacing(storage);
        return status;
    }
    struct kvp_store *store = storage->incoming;
    storage->incoming = NULL;
    storage->incoming_key.size = 0;
    status = install(storage, store, pointer.active, meta, point);
    if (status != KVP_OK) {
        return status;
    }
    status = storage->env->ops->destroy_store(storage->env, old);
    return status == KVP_OK ? KVP_OK
                            : storage_fail_env(storage, status, "removing the store replaced");
}

/* ---- setting aside ---- */

static void find_name(void *arg, const char *name)
{
    struct storage_pointer *pointer = arg;

    if (strcmp(name, pointer->aside_to) == 0) {
        pointer->aside_to[0] = '\0';
    }
}

/* A name for the store that nothing in the directory has. */
static kvp_status choose_aside(struct kvp_storage *storage, uint64_t epoch,
                               struct storage_pointer *pointer)
{
    char wanted[KVP_STORE_NAME_SIZE];

    for (unsigned attempt = 1;; attempt++) {
        int size = snprintf(wanted, sizeof(wanted), STORAGE_DIVERGED_PREFIX "%llu-%llu",
                            (unsigned long long)epoch, (unsigned long long)storage->tail.seq);
        if (attempt > 1) {
            (void)snprintf(wanted + size, sizeof(wanted) - (size_t)size, "-%u", attempt);
        }
        memcpy(pointer->aside_to, wanted, sizeof(wanted));
        kvp_status status = storage->env->ops->list_stores(storage->env, find_name, pointer);
        if (status != KVP_OK) {
            return storage_fail_env(storage, status, "listing the data directory");
        }
        if (pointer->aside_to[0] != '\0') {
            return KVP_OK;
        }
    }
}

static kvp_status exchange_for_empty(struct kvp_storage *storage, const struct kvp_meta *meta,
                                     struct storage_pointer *pointer)
{
    struct kvp_store *store = NULL;
    struct kvp_point zero = {0};
    kvp_status status = storage_start_empty(storage, pointer, meta, zero, NULL);

    if (status != KVP_OK) {
        return status;
    }
    status = storage->env->ops->open_store(storage->env, pointer->active, false, &store);
    if (status != KVP_OK) {
        return storage_fail_env(storage, status, "opening the new store");
    }
    status = install(storage, store, pointer->active, meta, zero);
    if (status != KVP_OK) {
        return status;
    }
    status = storage->env->ops->rename_store(storage->env, pointer->aside_from, pointer->aside_to);
    if (status != KVP_OK) {
        return storage_fail_env(storage, status, "setting the store aside");
    }
    pointer->aside_from[0] = '\0';
    return storage_write_pointer(storage, pointer);
}

kvp_status kvp_storage_set_aside(struct kvp_storage *storage, const struct kvp_meta *meta,
                                 char *name, size_t name_size)
{
    struct storage_pointer pointer = {0};
    /* What goes aside is the only copy of what it has; later nobody could make it durable. */
    kvp_status status = kvp_storage_sync_tail(storage);

    if (status != KVP_OK) {
        return status;
    }
    kvp_storage_incoming_abort(storage);
    status = enter_replacing(storage);
    if (status != KVP_OK) {
        return status;
    }
    (void)snprintf(pointer.aside_from, sizeof(pointer.aside_from), "%s", storage->name);
    storage_new_name(storage, STORAGE_STORE_PREFIX, pointer.active);
    status = choose_aside(storage, storage->tail.epoch, &pointer);
    if (status == KVP_OK) {
        (void)snprintf(name, name_size, "%s", pointer.aside_to);
        status = exchange_for_empty(storage, meta, &pointer);
    }
    if (status != KVP_OK) {
        leave_replacing(storage);
    }
    return status;
}
