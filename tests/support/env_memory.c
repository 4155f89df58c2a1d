/* SPDX-License-Identifier: Apache-2.0 */
/* A data directory in memory that can lose power: its stores by name, its files, and what tests do
 * to it. */
#include "tests/support/memory_disk.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

static struct memory_env *env_of(struct kvp_env *env)
{
    return (struct memory_env *)env;
}

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
    struct disk_store *disk = disk_find_store(self, name);
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
        status = disk_count_change(self, &happens);
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
    struct disk_store *disk = disk_find_store(self, name);
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
    kvp_status status = disk_count_change(self, &happens);
    if (happens) {
        disk_unlink_store(self, disk);
    }
    return status;
}

static kvp_status env_rename_store(struct kvp_env *env, const char *from, const char *to)
{
    struct memory_env *self = env_of(env);
    struct disk_store *disk = disk_find_store(self, from);
    bool happens = false;
    if (!kvp_store_name_valid(from) || !kvp_store_name_valid(to) || (disk != NULL && disk->open)) {
        return refuse(self, KVP_BAD_ARGUMENT, "not a name for a store, or the store is open");
    }
    if (disk == NULL) {
        return refuse(self, KVP_NOT_FOUND, "there is no such store");
    }
    if (disk_find_store(self, to) != NULL) {
        return refuse(self, KVP_EXISTS, "the new name is taken");
    }
    kvp_status status = disk_count_change(self, &happens);
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
    const struct disk_store *disk = disk_find_store(self, name);
    if (self->dead) {
        return refuse(self, KVP_IO, "the power is off");
    }
    *size += disk != NULL ? disk_size(disk) : 0;
    return KVP_OK;
}

static kvp_status env_read_file(struct kvp_env *env, const char *name, kvp_buf *content)
{
    struct memory_env *self = env_of(env);
    const struct disk_file *file = disk_find_file(self, name);
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

static kvp_status env_replace_file(struct kvp_env *env, const char *name, kvp_slice content)
{
    struct memory_env *self = env_of(env);
    bool happens = false;
    if (!kvp_store_name_valid(name) || content.size > KVP_FILE_SIZE_MAX) {
        return refuse(self, KVP_BAD_ARGUMENT, "not a name for a file, or too long");
    }
    kvp_status status = disk_count_change(self, &happens);
    if (!happens) {
        return status;
    }
    struct disk_file *file = disk_make_file(self, name);
    if (file == NULL) {
        return KVP_NO_MEMORY;
    }
    if (content.size > 0) {
        memcpy(file->content, content.data, content.size);
    }
    file->size = content.size;
    disk_sync_file(file);
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
    kvp_status status = disk_count_change(self, &happens);
    if (!happens) {
        return status;
    }
    struct disk_file *file = disk_make_file(self, name);
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
        disk_sync_file(file);
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
        disk_unlink_store(self, self->stores);
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
        if (disk_journal_add(to, &frame, 1) != KVP_OK) {
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
    struct disk_file *file = disk_make_file(env, from->name);
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
            disk_sync_file(file);
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
    disk_journal_forget(journal, journal->count - lost, lost);
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
    const struct disk_store *disk = disk_find_store((const struct memory_env *)env, name);
    return disk == NULL ? 0 : disk->root_count - 1;
}
