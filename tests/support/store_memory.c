/* SPDX-License-Identifier: Apache-2.0 */
/* A store in memory: what it holds now, its snapshots, its journal. */
#include "tests/support/memory_disk.h"

#include <assert.h>
#include <stdlib.h>

struct kvp_snapshot {
    struct memory_map *map;
};

struct kvp_iter {
    struct memory_store *owner;
    struct memory_map *map;
    const struct memory_map *node; /* NULL: at the end */
};

static struct memory_store *of(struct kvp_store *store)
{
    return (struct memory_store *)store;
}

/* *result is the map with all of the ops done; the caller owns it. */
static kvp_status apply_ops(struct memory_map *map, const struct kvp_batch_op *ops, size_t count,
                            struct memory_map **result)
{
    struct memory_map *current = memory_map_ref(map);
    for (size_t i = 0; i < count; i++) {
        struct memory_map *changed = NULL;
        kvp_status status = ops[i].is_delete
                                ? memory_map_delete(current, ops[i].key, &changed)
                                : memory_map_put(current, ops[i].key, ops[i].value, &changed);
        memory_map_unref(current);
        if (status != KVP_OK) {
            return status;
        }
        current = changed;
    }
    *result = current;
    return KVP_OK;
}

static kvp_status commit_ops(struct memory_store *self, const struct kvp_batch_op *ops,
                             size_t count, bool sync)
{
    struct disk_store *disk = self->disk;
    struct memory_map *map = NULL;
    if (!disk_reserve_root(disk)) {
        return KVP_NO_MEMORY;
    }
    kvp_status status = apply_ops(disk_current_map(disk), ops, count, &map);
    if (status != KVP_OK) {
        return status;
    }
    disk->roots[disk->root_count++] = map;
    if (sync) {
        disk_settle(disk, disk->root_count - 1);
    }
    return KVP_OK;
}

static kvp_status store_write(struct kvp_store *store, const struct kvp_batch_op *ops, size_t count,
                              bool sync)
{
    struct memory_store *self = of(store);
    bool happens = false;
    pthread_mutex_lock(&self->env->lock);
    kvp_status status = KVP_FAILED;
    if (!self->failed) {
        status = disk_count_change(self->env, &happens);
        if (happens) {
            kvp_status done = commit_ops(self, ops, count, sync && status == KVP_OK);
            status = status == KVP_OK ? done : status;
        }
        self->failed = status != KVP_OK;
    }
    pthread_mutex_unlock(&self->env->lock);
    return status;
}

/* The map that readers see now, with a reference for the caller. */
static kvp_status take_map(struct memory_store *self, struct memory_map **map)
{
    kvp_status status = KVP_OK;
    pthread_mutex_lock(&self->env->lock);
    if (self->failed) {
        status = KVP_FAILED;
    } else if (self->env->dead) {
        status = KVP_IO;
    } else {
        *map = memory_map_ref(disk_current_map(self->disk));
    }
    pthread_mutex_unlock(&self->env->lock);
    return status;
}

static kvp_status store_get(struct kvp_store *store, kvp_slice key, kvp_buf *value)
{
    struct memory_map *map = NULL;
    kvp_status status = take_map(of(store), &map);
    if (status != KVP_OK) {
        return status;
    }
    const struct memory_map *node = memory_map_find(map, key, false);
    if (node == NULL || kvp_slice_compare(memory_map_key(node), key) != 0) {
        status = KVP_NOT_FOUND;
    } else {
        kvp_slice found = memory_map_value(node);
        status = kvp_buf_append(value, found.data, found.size);
    }
    memory_map_unref(map);
    return status;
}

static struct kvp_snapshot *store_snapshot(struct kvp_store *store)
{
    struct kvp_snapshot *snapshot = calloc(1, sizeof(*snapshot));
    if (snapshot != NULL) {
        (void)take_map(of(store), &snapshot->map); /* its iterators report the failure */
    }
    return snapshot;
}

static void store_snapshot_release(struct kvp_store *store, struct kvp_snapshot *snapshot)
{
    (void)store;
    if (snapshot != NULL) {
        memory_map_unref(snapshot->map);
        free(snapshot);
    }
}

static struct kvp_iter *store_iter(struct kvp_store *store, struct kvp_snapshot *snapshot,
                                   bool fill_cache)
{
    struct kvp_iter *iter = calloc(1, sizeof(*iter));
    (void)fill_cache;
    if (iter == NULL) {
        return NULL;
    }
    iter->owner = of(store);
    if (snapshot != NULL) {
        iter->map = memory_map_ref(snapshot->map);
    } else {
        (void)take_map(iter->owner, &iter->map);
    }
    return iter;
}

static kvp_status iter_status(struct kvp_iter *iter)
{
    struct memory_store *owner = iter->owner;
    pthread_mutex_lock(&owner->env->lock);
    kvp_status status = owner->failed ? KVP_FAILED : owner->env->dead ? KVP_IO : KVP_OK;
    pthread_mutex_unlock(&owner->env->lock);
    return status;
}

static void iter_seek(struct kvp_iter *iter, kvp_slice key)
{
    iter->node = memory_map_find(iter->map, key, false);
}

static void iter_seek_back(struct kvp_iter *iter, kvp_slice key)
{
    iter->node = memory_map_find_back(iter->map, key, false);
}

static bool iter_valid(struct kvp_iter *iter)
{
    return iter->node != NULL && iter_status(iter) == KVP_OK;
}

static void iter_next(struct kvp_iter *iter)
{
    if (iter->node != NULL) {
        iter->node = memory_map_find(iter->map, memory_map_key(iter->node), true);
    }
}

static void iter_back(struct kvp_iter *iter)
{
    if (iter->node != NULL) {
        iter->node = memory_map_find_back(iter->map, memory_map_key(iter->node), true);
    }
}

static kvp_slice iter_key(struct kvp_iter *iter)
{
    return memory_map_key(iter->node);
}

static kvp_slice iter_value(struct kvp_iter *iter)
{
    return memory_map_value(iter->node);
}

static void iter_close(struct kvp_iter *iter)
{
    if (iter != NULL) {
        memory_map_unref(iter->map);
        free(iter);
    }
}

/* ---- its journal ---- */

static kvp_status journal_usable(const struct memory_store *self)
{
    return self->failed ? KVP_FAILED : self->env->dead ? KVP_IO : KVP_OK;
}

static kvp_status store_journal_replay(struct kvp_store *store, uint64_t first,
                                       kvp_journal_each each, void *arg, bool *more)
{
    struct memory_store *self = of(store);
    const struct disk_journal *journal = &self->disk->journal;
    kvp_status status = journal_usable(self);
    *more = journal->lost;
    if (status == KVP_OK && first > journal->first + journal->count) {
        return KVP_CORRUPT;
    }
    for (size_t i = 0; status == KVP_OK && i < journal->count; i++) {
        struct kvp_frame frame = {.number = journal->first + i};
        if (frame.number >= first) {
            status = each(arg, frame, kvp_buf_slice(&journal->frames[i]));
        }
    }
    return status;
}

static kvp_status store_journal_begin(struct kvp_store *store)
{
    of(store)->begun = true;
    of(store)->disk->journal.lost = false;
    return journal_usable(of(store));
}

static kvp_status store_journal_append(struct kvp_store *store, const kvp_slice *parts,
                                       size_t count, bool sync, struct kvp_frame *frame)
{
    struct memory_store *self = of(store);
    struct disk_journal *journal = &self->disk->journal;
    bool happens = false;
    if (!self->begun) {
        return KVP_BAD_ARGUMENT;
    }
    pthread_mutex_lock(&self->env->lock);
    kvp_status status = KVP_FAILED;
    if (!self->failed) {
        status = disk_count_change(self->env, &happens);
        if (happens) {
            kvp_status done = disk_journal_add(journal, parts, count);
            status = status == KVP_OK ? done : status;
        }
        if (status == KVP_OK && sync) {
            journal->durable = journal->count;
        }
        self->failed = status != KVP_OK;
    }
    pthread_mutex_unlock(&self->env->lock);
    frame->number = journal->first + journal->count - 1;
    frame->place = 0;
    return status;
}

static kvp_status store_journal_sync(struct kvp_store *store)
{
    struct memory_store *self = of(store);
    struct disk_journal *journal = &self->disk->journal;
    bool happens = false;
    pthread_mutex_lock(&self->env->lock);
    kvp_status status = self->failed ? KVP_FAILED : KVP_OK;
    if (status == KVP_OK && journal->durable < journal->count) {
        status = disk_count_change(self->env, &happens);
        journal->durable = happens ? journal->count : journal->durable;
        self->failed = status != KVP_OK;
    }
    pthread_mutex_unlock(&self->env->lock);
    return status;
}

static kvp_status store_journal_read(struct kvp_store *store, struct kvp_frame frame,
                                     kvp_buf *bytes)
{
    struct memory_store *self = of(store);
    const struct disk_journal *journal = &self->disk->journal;
    kvp_status status = journal_usable(self);
    if (status != KVP_OK) {
        return status;
    }
    assert(frame.number >= journal->first && frame.number < journal->first + journal->count);
    kvp_slice found = kvp_buf_slice(&journal->frames[frame.number - journal->first]);
    return kvp_buf_append(bytes, found.data, found.size);
}

/* Frames go one by one here. */
static uint64_t store_journal_oldest(struct kvp_store *store, uint64_t keep)
{
    (void)store;
    return keep;
}

static kvp_status store_journal_drop(struct kvp_store *store, uint64_t keep)
{
    struct memory_store *self = of(store);
    struct disk_journal *journal = &self->disk->journal;
    size_t count = keep > journal->first ? (size_t)(keep - journal->first) : 0;
    bool happens = false;
    pthread_mutex_lock(&self->env->lock);
    kvp_status status = self->failed ? KVP_FAILED : disk_count_change(self->env, &happens);
    if (happens) {
        assert(count <= journal->count);
        disk_journal_forget(journal, 0, count);
        journal->first += count;
        journal->durable -= count < journal->durable ? count : journal->durable;
    }
    self->failed = status != KVP_OK;
    pthread_mutex_unlock(&self->env->lock);
    return status;
}

static const char *store_error(struct kvp_store *store)
{
    return of(store)->env->error;
}

static void store_close(struct kvp_store *store)
{
    struct memory_store *self = of(store);
    if (self != NULL) {
        self->disk->open = false;
        free(self);
    }
}

const struct kvp_store_ops memory_store_ops = {
    .write = store_write,
    .get = store_get,
    .snapshot = store_snapshot,
    .snapshot_release = store_snapshot_release,
    .iter = store_iter,
    .iter_seek = iter_seek,
    .iter_seek_back = iter_seek_back,
    .iter_next = iter_next,
    .iter_back = iter_back,
    .iter_valid = iter_valid,
    .iter_key = iter_key,
    .iter_value = iter_value,
    .iter_status = iter_status,
    .iter_close = iter_close,
    .journal_replay = store_journal_replay,
    .journal_begin = store_journal_begin,
    .journal_append = store_journal_append,
    .journal_sync = store_journal_sync,
    .journal_read = store_journal_read,
    .journal_oldest = store_journal_oldest,
    .journal_drop = store_journal_drop,
    .error = store_error,
    .close = store_close,
};
