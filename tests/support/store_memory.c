/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A data directory in memory that can lose power. Maps never change (memory_map.h), so what a store
 * held after each batch is one pointer: `roots[0]` is what is durable, the others are the states
 * after each unsynced batch, the last of them is what readers see. A power cut chooses one of them.
 * Of the journal it keeps the frames that are durable and some of the others.
 */
#include "tests/support/store_memory.h"
#include "tests/support/memory_map.h"
#include "kvstore/store_name.h"

#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

/* A frame is at frames[number - number of the first]. */
struct disk_journal {
    kvp_buf *frames;
    size_t count, capacity;
    size_t durable; /* so many of them */
    uint64_t first; /* number of the first */
    bool lost;      /* some that were written, in a power cut */
};

/* What lies on the "disk" under a store's name. */
struct disk_store {
    struct disk_store *next;
    char name[KVP_STORE_NAME_SIZE];
    bool open;
    struct memory_map **roots; /* NULL entries are empty maps */
    size_t root_count;         /* at least 1 */
    size_t root_capacity;
    struct disk_journal journal;
};

struct disk_file {
    struct disk_file *next;
    char name[KVP_STORE_NAME_SIZE];
    bool durable; /* the file itself would survive */
    size_t size, synced_size;
    uint8_t content[KVP_FILE_SIZE_MAX];
    uint8_t synced[KVP_FILE_SIZE_MAX];
};

struct memory_env {
    struct kvp_env env;
    pthread_mutex_t lock; /* of the roots and of `dead`, which readers of other threads see */
    struct disk_store *stores;
    struct disk_file *files;
    struct kvp_memory_fault fault;
    bool broken; /* the fault has come to stay */
    bool dead;   /* the power is off */
    uint64_t changes;
    _Atomic(const char *) error;
};

struct memory_store {
    struct kvp_store store;
    struct memory_env *env;
    struct disk_store *disk;
    bool begun; /* the journal */
    bool failed;
};

struct kvp_snapshot {
    struct memory_map *map;
};

struct kvp_iter {
    struct memory_store *owner;
    struct memory_map *map;
    const struct memory_map *node; /* NULL: at the end */
};

static struct memory_env *env_of(struct kvp_env *env)
{
    return (struct memory_env *)env;
}

static struct memory_store *of(struct kvp_store *store)
{
    return (struct memory_store *)store;
}

/* Counts a change and says whether it succeeds and whether it happens, which may be different. */
static kvp_status count_change(struct memory_env *env, bool *happens)
{
    *happens = false;
    env->changes++;
    if (env->dead) {
        env->error = "the power is off";
        return KVP_IO;
    }
    if (env->broken) {
        env->error = "injected fault, lasting";
        return env->fault.status;
    }
    if (env->fault.status == KVP_OK) {
        *happens = true;
        return KVP_OK;
    }
    if (env->fault.after > 0) {
        env->fault.after--;
        *happens = true;
        return KVP_OK;
    }
    kvp_status status = env->fault.status;
    *happens = env->fault.persist;
    env->broken = env->fault.stay;
    env->fault.status = env->fault.stay ? status : KVP_OK;
    env->error = "injected fault";
    return status;
}

/* ---- the disk ---- */

static struct memory_map *current_map(const struct disk_store *disk)
{
    return disk->roots[disk->root_count - 1];
}

static struct disk_store *find_store(const struct memory_env *env, const char *name)
{
    for (struct disk_store *disk = env->stores; disk != NULL; disk = disk->next) {
        if (strcmp(disk->name, name) == 0) {
            return disk;
        }
    }
    return NULL;
}

static struct disk_file *find_file(const struct memory_env *env, const char *name)
{
    for (struct disk_file *file = env->files; file != NULL; file = file->next) {
        if (strcmp(file->name, name) == 0) {
            return file;
        }
    }
    return NULL;
}

/* Takes `count` frames out, from the one at `from` on. */
static void journal_forget(struct disk_journal *journal, size_t from, size_t count)
{
    for (size_t i = from; i < from + count; i++) {
        kvp_buf_free(&journal->frames[i]);
    }
    if (count > 0) {
        memmove(journal->frames + from, journal->frames + from + count,
                (journal->count - from - count) * sizeof(journal->frames[0]));
        journal->count -= count;
    }
}

static void disk_free(struct disk_store *disk)
{
    for (size_t i = 0; i < disk->root_count; i++) {
        memory_map_unref(disk->roots[i]);
    }
    free(disk->roots);
    journal_forget(&disk->journal, 0, disk->journal.count);
    free(disk->journal.frames);
    free(disk);
}

static struct disk_store *disk_new(struct memory_env *env, const char *name)
{
    struct disk_store *disk = calloc(1, sizeof(*disk));
    struct memory_map **roots = calloc(8, sizeof(struct memory_map *));

    if (disk == NULL || roots == NULL) {
        free(disk);
        free(roots);
        return NULL;
    }
    memcpy(disk->name, name, strlen(name) + 1);
    disk->roots = roots;
    disk->root_count = 1;
    disk->root_capacity = 8;
    disk->journal.first = 1;
    disk->next = env->stores;
    env->stores = disk;
    return disk;
}

static void unlink_store(struct memory_env *env, struct disk_store *disk)
{
    struct disk_store **link = &env->stores;

    while (*link != disk) {
        link = &(*link)->next;
    }
    *link = disk->next;
    disk_free(disk);
}

static bool disk_reserve_root(struct disk_store *disk)
{
    if (disk->root_count < disk->root_capacity) {
        return true;
    }
    struct memory_map **roots =
        realloc(disk->roots, 2 * disk->root_capacity * sizeof(struct memory_map *));
    if (roots == NULL) {
        return false;
    }
    disk->roots = roots;
    disk->root_capacity *= 2;
    return true;
}

/* Makes the state number `keep` the durable one and forgets the others. */
static void disk_settle(struct disk_store *disk, size_t keep)
{
    struct memory_map *kept = memory_map_ref(disk->roots[keep]);

    for (size_t i = 0; i < disk->root_count; i++) {
        memory_map_unref(disk->roots[i]);
    }
    disk->roots[0] = kept;
    disk->root_count = 1;
}

/* ---- a store ---- */

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
    kvp_status status = apply_ops(current_map(disk), ops, count, &map);
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
        status = count_change(self->env, &happens);
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
        *map = memory_map_ref(current_map(self->disk));
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

static kvp_status add_frame(struct disk_journal *journal, const kvp_slice *parts, size_t count)
{
    if (journal->count == journal->capacity) {
        size_t capacity = 2 * journal->capacity + 8;
        kvp_buf *frames = realloc(journal->frames, capacity * sizeof(frames[0]));
        if (frames == NULL) {
            return KVP_NO_MEMORY;
        }
        journal->frames = frames;
        journal->capacity = capacity;
    }
    kvp_buf bytes = {0};
    kvp_status status = KVP_OK;
    for (size_t i = 0; status == KVP_OK && i < count; i++) {
        status = kvp_buf_append(&bytes, parts[i].data, parts[i].size);
    }
    if (status == KVP_OK) {
        journal->frames[journal->count++] = bytes;
    } else {
        kvp_buf_free(&bytes);
    }
    return status;
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
        status = count_change(self->env, &happens);
        if (happens) {
            kvp_status done = add_frame(journal, parts, count);
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
        status = count_change(self->env, &happens);
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
    kvp_status status = self->failed ? KVP_FAILED : count_change(self->env, &happens);
    if (happens) {
        assert(count <= journal->count);
        journal_forget(journal, 0, count);
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

static const struct kvp_store_ops memory_store_ops = {
    .write = store_write,
    .get = store_get,
    .snapshot = store_snapshot,
    .snapshot_release = store_snapshot_release,
    .iter = store_iter,
    .iter_seek = iter_seek,
    .iter_next = iter_next,
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

/* ---- the directory ---- */

static kvp_status refuse(struct memory_env *env, kvp_status status, const char *error)
{
    env->error = error;
    return status;
}

static kvp_status env_open_store(struct kvp_env *env, const char *name, bool create,
                                 struct kvp_store **store)
{
    struct memory_env *self = env_of(env);
    struct disk_store *disk = find_store(self, name);
    kvp_status status = KVP_OK;
    bool happens = false;

    if (!kvp_store_name_valid(name)) {
        return refuse(self, KVP_BAD_ARGUMENT, "not a name for a store");
    }
    if (self->dead) {
        return refuse(self, KVP_IO, "the power is off");
    }
    if (disk != NULL && disk->open) {
        return refuse(self, KVP_LOCKED, "the store is open already");
    }
    if (disk == NULL && !create) {
        return refuse(self, KVP_NOT_FOUND, "there is no such store");
    }
    struct memory_store *opened = calloc(1, sizeof(*opened));
    if (opened == NULL) {
        return KVP_NO_MEMORY;
    }
    if (disk == NULL) {
        status = count_change(self, &happens);
        disk = happens ? disk_new(self, name) : NULL;
        status = status == KVP_OK && disk == NULL ? KVP_NO_MEMORY : status;
    }
    if (status != KVP_OK) {
        free(opened);
        return status;
    }
    opened->store.ops = &memory_store_ops;
    opened->env = self;
    opened->disk = disk;
    disk->open = true;
    *store = &opened->store;
    return KVP_OK;
}

static kvp_status env_destroy_store(struct kvp_env *env, const char *name)
{
    struct memory_env *self = env_of(env);
    struct disk_store *disk = find_store(self, name);
    bool happens = false;

    if (!kvp_store_name_valid(name)) {
        return refuse(self, KVP_BAD_ARGUMENT, "not a name for a store");
    }
    if (disk == NULL) {
        return self->dead ? refuse(self, KVP_IO, "the power is off") : KVP_OK;
    }
    if (disk->open) {
        return refuse(self, KVP_BAD_ARGUMENT, "the store is open");
    }
    kvp_status status = count_change(self, &happens);
    if (happens) {
        unlink_store(self, disk);
    }
    return status;
}

static kvp_status env_rename_store(struct kvp_env *env, const char *from, const char *to)
{
    struct memory_env *self = env_of(env);
    struct disk_store *disk = find_store(self, from);
    bool happens = false;

    if (!kvp_store_name_valid(from) || !kvp_store_name_valid(to) || (disk != NULL && disk->open)) {
        return refuse(self, KVP_BAD_ARGUMENT, "not a name for a store, or the store is open");
    }
    if (disk == NULL) {
        return refuse(self, KVP_NOT_FOUND, "there is no such store");
    }
    if (find_store(self, to) != NULL) {
        return refuse(self, KVP_EXISTS, "the new name is taken");
    }
    kvp_status status = count_change(self, &happens);
    if (happens) {
        memcpy(disk->name, to, strlen(to) + 1);
    }
    return status;
}

static kvp_status env_list_stores(struct kvp_env *env, void (*each)(void *arg, const char *name),
                                  void *arg)
{
    struct memory_env *self = env_of(env);

    if (self->dead) {
        return refuse(self, KVP_IO, "the power is off");
    }
    for (struct disk_store *disk = self->stores; disk != NULL; disk = disk->next) {
        each(arg, disk->name);
    }
    return KVP_OK;
}

static uint64_t disk_size(const struct disk_store *disk)
{
    const struct memory_map *map = disk->roots[disk->root_count - 1];
    uint64_t size = 0;

    for (const struct memory_map *node = memory_map_find(map, kvp_slice_of("", 0), false);
         node != NULL; node = memory_map_find(map, memory_map_key(node), true)) {
        size += memory_map_key(node).size + memory_map_value(node).size;
    }
    for (size_t i = 0; i < disk->journal.count; i++) {
        size += disk->journal.frames[i].size;
    }
    return size;
}

static kvp_status env_store_size(struct kvp_env *env, const char *name, uint64_t *size)
{
    struct memory_env *self = env_of(env);
    const struct disk_store *disk = find_store(self, name);

    if (self->dead) {
        return refuse(self, KVP_IO, "the power is off");
    }
    *size += disk != NULL ? disk_size(disk) : 0;
    return KVP_OK;
}

static kvp_status env_read_file(struct kvp_env *env, const char *name, kvp_buf *content)
{
    struct memory_env *self = env_of(env);
    const struct disk_file *file = find_file(self, name);

    if (!kvp_store_name_valid(name)) {
        return refuse(self, KVP_BAD_ARGUMENT, "not a name for a file");
    }
    if (self->dead) {
        return refuse(self, KVP_IO, "the power is off");
    }
    if (file == NULL) {
        return refuse(self, KVP_NOT_FOUND, "there is no such file");
    }
    return kvp_buf_append(content, file->content, file->size);
}

static struct disk_file *make_file(struct memory_env *env, const char *name)
{
    struct disk_file *file = find_file(env, name);

    if (file == NULL) {
        file = calloc(1, sizeof(*file));
        if (file != NULL) {
            memcpy(file->name, name, strlen(name) + 1);
            file->next = env->files;
            env->files = file;
        }
    }
    return file;
}

static void sync_file(struct disk_file *file)
{
    file->durable = true;
    file->synced_size = file->size;
    memcpy(file->synced, file->content, file->size);
}

static kvp_status env_replace_file(struct kvp_env *env, const char *name, kvp_slice content)
{
    struct memory_env *self = env_of(env);
    bool happens = false;

    if (!kvp_store_name_valid(name) || content.size > KVP_FILE_SIZE_MAX) {
        return refuse(self, KVP_BAD_ARGUMENT, "not a name for a file, or too long");
    }
    kvp_status status = count_change(self, &happens);
    if (!happens) {
        return status;
    }
    struct disk_file *file = make_file(self, name);
    if (file == NULL) {
        return KVP_NO_MEMORY;
    }
    if (content.size > 0) {
        memcpy(file->content, content.data, content.size);
    }
    file->size = content.size;
    sync_file(file);
    return status;
}

static kvp_status env_write_at(struct kvp_env *env, const char *name, uint64_t offset,
                               kvp_slice content, bool sync)
{
    struct memory_env *self = env_of(env);
    bool happens = false;

    if (!kvp_store_name_valid(name) || content.size > KVP_FILE_SIZE_MAX ||
        offset > KVP_FILE_SIZE_MAX - content.size) {
        return refuse(self, KVP_BAD_ARGUMENT, "not a name for a file, or too long");
    }
    kvp_status status = count_change(self, &happens);
    if (!happens) {
        return status;
    }
    struct disk_file *file = make_file(self, name);
    if (file == NULL) {
        return KVP_NO_MEMORY;
    }
    if (content.size > 0) { /* no bytes: the file is made, but does not grow up to `offset` */
        size_t end = (size_t)offset + content.size;
        if (offset > file->size) {
            memset(file->content + file->size, 0, (size_t)offset - file->size);
        }
        memcpy(file->content + offset, content.data, content.size);
        file->size = end > file->size ? end : file->size;
    }
    if (sync && status == KVP_OK) {
        sync_file(file);
    }
    return status;
}

static const char *env_error(struct kvp_env *env)
{
    return env_of(env)->error;
}

static void env_close(struct kvp_env *env)
{
    struct memory_env *self = env_of(env);

    if (self == NULL) {
        return;
    }
    while (self->stores != NULL) {
        assert(!self->stores->open);
        unlink_store(self, self->stores);
    }
    while (self->files != NULL) {
        struct disk_file *file = self->files;
        self->files = file->next;
        free(file);
    }
    pthread_mutex_destroy(&self->lock);
    free(self);
}

static const struct kvp_env_ops memory_env_ops = {
    .open_store = env_open_store,
    .destroy_store = env_destroy_store,
    .rename_store = env_rename_store,
    .list_stores = env_list_stores,
    .store_size = env_store_size,
    .read_file = env_read_file,
    .replace_file = env_replace_file,
    .write_at = env_write_at,
    .error = env_error,
    .close = env_close,
};

kvp_status kvp_env_memory_open(struct kvp_env **env)
{
    struct memory_env *self = calloc(1, sizeof(*self));

    if (self == NULL) {
        return KVP_NO_MEMORY;
    }
    if (pthread_mutex_init(&self->lock, NULL) != 0) {
        free(self);
        return KVP_NO_MEMORY;
    }
    self->env.ops = &memory_env_ops;
    self->error = "";
    *env = &self->env;
    return KVP_OK;
}

/* ---- what tests do to it ---- */

static bool copy_frames(struct disk_journal *to, const struct disk_journal *from)
{
    for (size_t i = 0; i < from->count; i++) {
        const kvp_slice frame = kvp_buf_slice(&from->frames[i]);
        if (add_frame(to, &frame, 1) != KVP_OK) {
            return false;
        }
    }
    to->durable = from->durable;
    to->first = from->first;
    to->lost = from->lost;
    return true;
}

static bool copy_store(struct memory_env *env, const struct disk_store *from)
{
    struct disk_store *disk = disk_new(env, from->name);

    if (disk == NULL || !copy_frames(&disk->journal, &from->journal)) {
        return false;
    }
    for (size_t i = 0; i < from->root_count; i++) {
        if (i > 0 && !disk_reserve_root(disk)) {
            return false;
        }
        disk->roots[i] = memory_map_ref(from->roots[i]);
        disk->root_count = i + 1;
    }
    return true;
}

static bool copy_file(struct memory_env *env, const struct disk_file *from)
{
    struct disk_file *file = make_file(env, from->name);

    if (file != NULL) {
        struct disk_file *next = file->next;
        *file = *from;
        file->next = next;
    }
    return file != NULL;
}

kvp_status kvp_env_memory_copy(const struct kvp_env *env, struct kvp_env **copy)
{
    const struct memory_env *self = (const struct memory_env *)env;
    kvp_status status = kvp_env_memory_open(copy);
    bool whole = status == KVP_OK;

    for (const struct disk_store *disk = self->stores; whole && disk != NULL; disk = disk->next) {
        whole = copy_store(env_of(*copy), disk);
    }
    for (const struct disk_file *file = self->files; whole && file != NULL; file = file->next) {
        whole = copy_file(env_of(*copy), file);
    }
    if (status == KVP_OK && !whole) {
        (*copy)->ops->close(*copy);
        *copy = NULL;
        status = KVP_NO_MEMORY;
    }
    return status;
}

void kvp_env_memory_set_fault(struct kvp_env *env, struct kvp_memory_fault fault)
{
    struct memory_env *self = env_of(env);

    pthread_mutex_lock(&self->lock);
    self->fault = fault;
    self->broken = false;
    pthread_mutex_unlock(&self->lock);
}

uint64_t kvp_env_memory_changes(const struct kvp_env *env)
{
    return ((const struct memory_env *)env)->changes;
}

static void crash_files(struct memory_env *env, bool keep)
{
    struct disk_file **link = &env->files;

    while (*link != NULL) {
        struct disk_file *file = *link;
        if (keep) {
            sync_file(file);
        } else if (!file->durable) {
            *link = file->next;
            free(file);
            continue;
        }
        file->size = file->synced_size;
        memcpy(file->content, file->synced, file->size);
        link = &file->next;
    }
}

static void crash_journal(struct disk_journal *journal, size_t keep)
{
    size_t unsynced = journal->count - journal->durable;
    size_t lost = keep < unsynced ? unsynced - keep : 0;

    journal_forget(journal, journal->count - lost, lost);
    journal->durable = journal->count;
    journal->lost = journal->lost || lost > 0;
}

void kvp_env_memory_crash(struct kvp_env *env, size_t keep_batches, size_t keep_frames,
                          bool keep_files)
{
    struct memory_env *self = env_of(env);

    pthread_mutex_lock(&self->lock);
    if (!self->dead) {
        self->dead = true;
        for (struct disk_store *disk = self->stores; disk != NULL; disk = disk->next) {
            size_t unsynced = disk->root_count - 1;
            disk_settle(disk, keep_batches < unsynced ? keep_batches : unsynced);
            crash_journal(&disk->journal, keep_frames);
        }
        crash_files(self, keep_files);
    }
    pthread_mutex_unlock(&self->lock);
}

void kvp_env_memory_restart(struct kvp_env *env)
{
    struct memory_env *self = env_of(env);

    for (struct disk_store *disk = self->stores; disk != NULL; disk = disk->next) {
        assert(!disk->open);
    }
    self->dead = false;
    self->broken = false;
    memset(&self->fault, 0, sizeof(self->fault));
    self->error = "";
}

size_t kvp_env_memory_unsynced(const struct kvp_env *env, const char *name)
{
    const struct disk_store *disk = find_store((const struct memory_env *)env, name);

    return disk == NULL ? 0 : disk->root_count - 1;
}
