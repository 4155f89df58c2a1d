/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading the applied state: single keys, and consistent views for scans and snapshots. A view
 * holds its store open, also one that has failed meanwhile; it never sees what was written later.
 */
#include "kvstore/storage_private.h"

#include <stdlib.h>

struct kvp_state_view {
    struct kvp_storage *storage;
    struct storage_held *held;
    struct kvp_snapshot *snapshot;
    struct kvp_iter *iter;
    struct kvp_point point;
    kvp_buf end; /* empty: the end of the state; backwards: where it ends, included */
    bool backwards;
};

kvp_status kvp_storage_get(struct kvp_storage *storage, kvp_slice key, kvp_buf *value)
{
    kvp_status status = KVP_FAILED;
    if (atomic_load(&storage->failed)) {
        return KVP_FAILED;
    }
    if (!kvp_raw_key_is_state(key)) {
        return KVP_NOT_FOUND; /* metadata are not for everybody's eyes */
    }
    pthread_rwlock_rdlock(&storage->lock);
    if (storage->held != NULL) {
        struct kvp_store *store = storage->held->store;
        status = store->ops->get(store, key, value);
        if (status != KVP_OK && status != KVP_NOT_FOUND && status != KVP_NO_MEMORY) {
            status = storage_fail_soon(storage, status, "reading a key", store->ops->error(store));
        }
    }
    pthread_rwlock_unlock(&storage->lock);
    return status;
}

static const struct kvp_store_ops *ops_of(const struct kvp_state_view *view)
{
    return view->held->store->ops;
}

static bool view_read_point(struct kvp_state_view *view)
{
    const struct kvp_store_ops *ops = ops_of(view);
    kvp_slice key = kvp_slice_of(STORAGE_KEY_APPLIED, sizeof(STORAGE_KEY_APPLIED) - 1);
    ops->iter_seek(view->iter, key);
    if (!ops->iter_valid(view->iter) || kvp_slice_compare(ops->iter_key(view->iter), key) != 0 ||
        ops->iter_value(view->iter).size != STORAGE_POINT_SIZE) {
        kvp_status status = ops->iter_status(view->iter);
        (void)storage_fail_soon(view->storage, status == KVP_OK ? KVP_CORRUPT : status,
                                "reading the state", ops->error(view->held->store));
        return false;
    }
    view->point = storage_point_decode(ops->iter_value(view->iter).data);
    return true;
}

static struct storage_held *take_held(struct kvp_storage *storage)
{
    struct storage_held *held = NULL;
    pthread_rwlock_rdlock(&storage->lock);
    if (storage->held != NULL && !storage->replacing && !atomic_load(&storage->failed)) {
        held = storage->held;
        atomic_fetch_add(&held->references, 1);
    }
    pthread_rwlock_unlock(&storage->lock);
    return held;
}

struct kvp_state_view *kvp_storage_snapshot(struct kvp_storage *storage)
{
    struct kvp_state_view *view = calloc(1, sizeof(*view));
    if (view == NULL) {
        return NULL;
    }
    view->storage = storage;
    view->held = take_held(storage);
    if (view->held != NULL) {
        struct kvp_store *store = view->held->store;
        view->snapshot = store->ops->snapshot(store);
        view->iter = view->snapshot == NULL ? NULL : store->ops->iter(store, view->snapshot, false);
    }
    if (view->iter == NULL || !view_read_point(view) ||
        kvp_state_view_seek(view, kvp_slice_of(NULL, 0), kvp_slice_of(NULL, 0)) != KVP_OK) {
        kvp_state_view_close(view);
        return NULL;
    }
    return view;
}

struct kvp_point kvp_state_view_point(const struct kvp_state_view *view)
{
    return view->point;
}

/* Leaves out what is no state: metadata lie between its parts. */
static void skip_other(struct kvp_state_view *view)
{
    static const uint8_t behind_meta = KVP_PREFIX_META + 1;
    const struct kvp_store_ops *ops = ops_of(view);
    if (ops->iter_valid(view->iter)) {
        kvp_slice key = ops->iter_key(view->iter);
        uint8_t prefix = key.size == 0 ? 0 : *(const uint8_t *)key.data;
        if (prefix == KVP_PREFIX_META) {
            ops->iter_seek(view->iter, kvp_slice_of(&behind_meta, 1));
        }
    }
}

kvp_status kvp_state_view_seek(struct kvp_state_view *view, kvp_slice key, kvp_slice end)
{
    view->end.size = 0;
    view->backwards = false;
    kvp_status status = kvp_buf_append(&view->end, end.data, end.size);
    if (status == KVP_OK) {
        ops_of(view)->iter_seek(view->iter, key);
        skip_other(view);
    }
    return status;
}

kvp_status kvp_state_view_seek_back(struct kvp_state_view *view, kvp_slice key, kvp_slice start)
{
    view->end.size = 0;
    view->backwards = true;
    kvp_status status = kvp_buf_append(&view->end, start.data, start.size);
    if (status == KVP_OK) {
        ops_of(view)->iter_seek_back(view->iter, key);
    }
    return status;
}

/* Is `key` behind the last one that is to be shown? */
static bool view_is_over(const struct kvp_state_view *view, kvp_slice key)
{
    if (view->end.size == 0) {
        return false;
    }
    int order = kvp_slice_compare(key, kvp_buf_slice(&view->end));
    return view->backwards ? order < 0 : order >= 0;
}

kvp_status kvp_state_view_read(struct kvp_state_view *view, kvp_slice *key, kvp_slice *value)
{
    const struct kvp_store_ops *ops = ops_of(view);
    if (!ops->iter_valid(view->iter)) {
        kvp_status status = ops->iter_status(view->iter);
        if (status != KVP_OK) {
            (void)storage_fail_soon(view->storage, status, "reading the state",
                                    ops->error(view->held->store));
        }
        return status == KVP_OK ? KVP_NOT_FOUND : status;
    }
    *key = ops->iter_key(view->iter);
    if (view_is_over(view, *key) || !kvp_raw_key_is_state(*key)) {
        return KVP_NOT_FOUND;
    }
    *value = ops->iter_value(view->iter);
    return KVP_OK;
}

void kvp_state_view_next(struct kvp_state_view *view)
{
    if (view->backwards) {
        ops_of(view)->iter_back(view->iter);
    } else {
        ops_of(view)->iter_next(view->iter);
        skip_other(view);
    }
}

void kvp_state_view_close(struct kvp_state_view *view)
{
    if (view == NULL) {
        return;
    }
    if (view->held != NULL) {
        struct kvp_store *store = view->held->store;
        store->ops->iter_close(view->iter);
        store->ops->snapshot_release(store, view->snapshot);
        storage_held_unref(view->held);
    }
    kvp_buf_free(&view->end);
    free(view);
}

kvp_status kvp_state_view_chunk(struct kvp_state_view *view, size_t size_max, kvp_buf *chunk,
                                bool *last)
{
    size_t start = chunk->size;
    *last = false;
    while (chunk->size - start < size_max) {
        kvp_slice key, value;
        uint8_t sizes[STORAGE_PAIR_HEADER_SIZE];
        kvp_status status = kvp_state_view_read(view, &key, &value);
        if (status == KVP_NOT_FOUND) {
            *last = true;
            return KVP_OK;
        }
        if (status == KVP_OK) {
            status = kvp_buf_reserve(chunk, sizeof(sizes) + key.size + value.size);
        }
        if (status != KVP_OK) {
            return status;
        }
        kvp_put_u32(sizes, (uint32_t)key.size);
        kvp_put_u32(sizes + 4, (uint32_t)value.size);
        (void)kvp_buf_append(chunk, sizes, sizeof(sizes)); /* all of it fits the room reserved */
        (void)kvp_buf_append(chunk, key.data, key.size);
        (void)kvp_buf_append(chunk, value.data, value.size);
        kvp_state_view_next(view);
    }
    return KVP_OK;
}
