/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/support/memory_disk.h"

#include <stdlib.h>
#include <string.h>

kvp_status disk_count_change(struct memory_env *env, bool *happens)
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

struct memory_map *disk_current_map(const struct disk_store *disk)
{
    return disk->roots[disk->root_count - 1];
}

struct disk_store *disk_find_store(const struct memory_env *env, const char *name)
{
    for (struct disk_store *disk = env->stores; disk != NULL; disk = disk->next) {
        if (strcmp(disk->name, name) == 0) {
            return disk;
        }
    }
    return NULL;
}

struct disk_file *disk_find_file(const struct memory_env *env, const char *name)
{
    for (struct disk_file *file = env->files; file != NULL; file = file->next) {
        if (strcmp(file->name, name) == 0) {
            return file;
        }
    }
    return NULL;
}

void disk_journal_forget(struct disk_journal *journal, size_t from, size_t count)
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
    disk_journal_forget(&disk->journal, 0, disk->journal.count);
    free(disk->journal.frames);
    free(disk);
}

struct disk_store *disk_new(struct memory_env *env, const char *name)
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

void disk_unlink_store(struct memory_env *env, struct disk_store *disk)
{
    struct disk_store **link = &env->stores;
    while (*link != disk) {
        link = &(*link)->next;
    }
    *link = disk->next;
    disk_free(disk);
}

bool disk_reserve_root(struct disk_store *disk)
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

void disk_settle(struct disk_store *disk, size_t keep)
{
    struct memory_map *kept = memory_map_ref(disk->roots[keep]);
    for (size_t i = 0; i < disk->root_count; i++) {
        memory_map_unref(disk->roots[i]);
    }
    disk->roots[0] = kept;
    disk->root_count = 1;
}

kvp_status disk_journal_add(struct disk_journal *journal, const kvp_slice *parts, size_t count)
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

struct disk_file *disk_make_file(struct memory_env *env, const char *name)
{
    struct disk_file *file = disk_find_file(env, name);
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

void disk_sync_file(struct disk_file *file)
{
    file->durable = true;
    file->synced_size = file->size;
    memcpy(file->synced, file->content, file->size);
}
