/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The store on LevelDB 1.23; the only file that sees its header.
 *
 * Fail-stop: after a failed write LevelDB goes on acknowledging writes that are gone after
 * reopening, so the first failure is final here.
 *
 * Unsynced batches must be lost from the end only, and LevelDB does not promise that by itself.
 * When its memtable is full it goes over to a new log file without an fsync of the old one. Until
 * the table made of the old memtable is complete, a power cut can then lose the end of the old log
 * while later batches survive in the new one: a hole in the middle of history. So whenever the
 * memtable may be full after a batch, that batch is synced although nobody asked; then the old log
 * has nothing to lose when the change comes. Near the limit, the directory tells when the change
 * has happened. So that this does not take long, a batch is synced now and then before.
 */
#include "kvstore/store_leveldb.h"

#include "kvstore/journal.h"
#include "kvstore/memtable.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <leveldb/c.h>

enum {
    WRITE_BUFFER_SIZE = 8 << 20,
    BLOCK_CACHE_SIZE = 32 << 20,
    BLOOM_BITS_PER_KEY = 10,
    /* Tables are mapped into memory: with the default of 1000 all of the data becomes resident. */
    OPEN_FILES_MAX = 60,
    JOURNAL_FILE_SIZE = 2 << 20,
    ERROR_SIZE = 256,
    UNSYNCED_MAX = 1 << 20,
};

struct leveldb_store {
    struct kvp_store store;
    leveldb_t *db;
    leveldb_options_t *options;
    leveldb_cache_t *cache;
    leveldb_filterpolicy_t *filter;
    leveldb_readoptions_t *read;
    leveldb_writeoptions_t *write;
    leveldb_writeoptions_t *write_sync;
    char *path;
    struct kvp_journal *journal;
    struct memtable_usage usage;
    size_t unsynced;     /* bytes added to the memtable since the last sync */
    uint64_t log_number; /* of the newest log file seen */
    atomic_bool failed;
    pthread_mutex_t lock; /* of error */
    char error[ERROR_SIZE];
};

struct kvp_snapshot {
    const leveldb_snapshot_t *snapshot;
};

struct kvp_iter {
    struct leveldb_store *owner;
    leveldb_iterator_t *iterator;
    leveldb_readoptions_t *read;
    kvp_status status; /* of all moves so far */
};

static struct leveldb_store *leveldb_of(struct kvp_store *store)
{
    return (struct leveldb_store *)store;
}

/* Nothing can be mapped of a table without bytes, and LevelDB tells the system's word for that. */
static bool is_empty_table(const char *text)
{
    static const char end[] = ": Invalid argument";
    size_t size = strlen(text);
    return strncmp(text, "IO error", 8) == 0 && size > sizeof(end) &&
           strcmp(text + size - (sizeof(end) - 1), end) == 0;
}

/* A missing file is damage, not an absent key: LevelDB says "NotFound" for both files and keys, but
 * keys never get here. */
static kvp_status status_of_text(const char *text)
{
    if (strstr(text, "No space left") != NULL || strstr(text, "quota exceeded") != NULL) {
        return KVP_DISK_FULL;
    }
    if (strncmp(text, "IO error: lock ", 15) == 0) {
        return KVP_LOCKED;
    }
    if (strstr(text, "does not exist (create_if_missing") != NULL) {
        return KVP_NOT_FOUND;
    }
    if (strncmp(text, "Corruption", 10) == 0 || strncmp(text, "NotFound", 8) == 0 ||
        strncmp(text, "Invalid argument", 16) == 0 || is_empty_table(text)) {
        return KVP_CORRUPT;
    }
    if (strstr(text, "Cannot allocate memory") != NULL) {
        return KVP_NO_MEMORY;
    }
    return KVP_IO;
}

/* Keeps the first reason: it is what matters, and readers may hold a pointer to it. */
static void keep_error(struct leveldb_store *self, const char *text)
{
    pthread_mutex_lock(&self->lock);
    if (self->error[0] == '\0') {
        (void)snprintf(self->error, sizeof(self->error), "%s", text);
    }
    pthread_mutex_unlock(&self->lock);
}

/* Consumes an error text of LevelDB. */
static kvp_status take_error(struct leveldb_store *self, char *text)
{
    if (text == NULL) {
        return KVP_OK;
    }
    kvp_status status = status_of_text(text);
    char named[ERROR_SIZE];
    bool names = strstr(text, self->path) != NULL;
    (void)snprintf(named, sizeof(named), "%s%s%s", names ? "" : self->path, names ? "" : ": ",
                   text);
    keep_error(self, named);
    leveldb_free(text);
    return status;
}

/* The number of the newest log file, 0 if the directory cannot be read. */
static uint64_t newest_log(const char *path)
{
    uint64_t newest = 0;
    DIR *dir = opendir(path);

    if (dir == NULL) {
        return 0;
    }
    for (struct dirent *item = readdir(dir); item != NULL; item = readdir(dir)) {
        char *end = NULL;
        unsigned long long number = strtoull(item->d_name, &end, 10);
        if (end != item->d_name && strcmp(end, ".log") == 0 && number > newest) {
            newest = number;
        }
    }
    closedir(dir);
    return newest;
}

static leveldb_writebatch_t *build_batch(const struct kvp_batch_op *ops, size_t count)
{
    leveldb_writebatch_t *batch = leveldb_writebatch_create();
    for (size_t i = 0; i < count; i++) {
        const struct kvp_batch_op *op = &ops[i];
        if (op->is_delete) {
            leveldb_writebatch_delete(batch, op->key.data, op->key.size);
        } else {
            const void *value = op->value.size == 0 ? "" : op->value.data;
            leveldb_writebatch_put(batch, op->key.data, op->key.size, value, op->value.size);
        }
    }
    return batch;
}

/* LevelDB does not sync the directory when it makes a new log. */
static bool leveldb_sync_directory(const char *path)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        return false;
    }
    bool synced = fsync(fd) == 0;
    close(fd);
    return synced;
}

static void count_usage(struct leveldb_store *self, const struct kvp_batch_op *ops, size_t count)
{
    size_t before = self->usage.bytes;
    for (size_t i = 0; i < count; i++) {
        memtable_usage_add(&self->usage, &ops[i]);
    }
    self->unsynced += self->usage.bytes - before;
}

/* Notices whether the batch just written was the first of a new log and memtable. */
static kvp_status follow_log(struct leveldb_store *self, const struct kvp_batch_op *ops,
                             size_t count)
{
    uint64_t newest = newest_log(self->path);
    if (newest <= self->log_number) {
        return KVP_OK;
    }
    if (!leveldb_sync_directory(self->path)) {
        atomic_store(&self->failed, true);
        keep_error(self, strerror(errno));
        return KVP_IO;
    }
    self->log_number = newest;
    memtable_usage_reset(&self->usage);
    count_usage(self, ops, count);
    return KVP_OK;
}

static kvp_status store_write(struct kvp_store *store, const struct kvp_batch_op *ops, size_t count,
                              bool sync)
{
    struct leveldb_store *self = leveldb_of(store);
    char *text = NULL;
    if (atomic_load(&self->failed)) {
        return KVP_FAILED;
    }
    leveldb_writebatch_t *batch = build_batch(ops, count);
    count_usage(self, ops, count);
    bool maybe_full = self->usage.bytes + MEMTABLE_SLACK > WRITE_BUFFER_SIZE;
    sync = sync || maybe_full || self->unsynced > UNSYNCED_MAX;
    leveldb_write(self->db, sync ? self->write_sync : self->write, batch, &text);
    leveldb_writebatch_destroy(batch);
    if (text != NULL) {
        atomic_store(&self->failed, true);
        kvp_status status = take_error(self, text);
        return status == KVP_NO_MEMORY ? KVP_IO : status; /* the outcome is unknown all the same */
    }
    self->unsynced = sync ? 0 : self->unsynced;
    return maybe_full ? follow_log(self, ops, count) : KVP_OK;
}

static kvp_status leveldb_store_get(struct kvp_store *store, kvp_slice key, kvp_buf *value)
{
    struct leveldb_store *self = leveldb_of(store);
    char *text = NULL;
    size_t size = 0;
    if (atomic_load(&self->failed)) {
        return KVP_FAILED;
    }
    char *found = leveldb_get(self->db, self->read, key.data, key.size, &size, &text);
    if (text != NULL) {
        return take_error(self, text);
    }
    if (found == NULL) {
        return KVP_NOT_FOUND;
    }
    kvp_status status = kvp_buf_append(value, found, size);
    leveldb_free(found);
    return status;
}

static struct kvp_snapshot *store_snapshot(struct kvp_store *store)
{
    struct kvp_snapshot *snapshot = malloc(sizeof(*snapshot));
    if (snapshot != NULL) {
        snapshot->snapshot = leveldb_create_snapshot(leveldb_of(store)->db);
    }
    return snapshot;
}

static void store_snapshot_release(struct kvp_store *store, struct kvp_snapshot *snapshot)
{
    if (snapshot == NULL) {
        return;
    }
    leveldb_release_snapshot(leveldb_of(store)->db, snapshot->snapshot);
    free(snapshot);
}

static struct kvp_iter *store_iter(struct kvp_store *store, struct kvp_snapshot *snapshot,
                                   bool fill_cache)
{
    struct leveldb_store *self = leveldb_of(store);
    struct kvp_iter *iter = malloc(sizeof(*iter));
    if (iter == NULL) {
        return NULL;
    }
    iter->owner = self;
    iter->status = KVP_OK;
    iter->read = leveldb_readoptions_create();
    leveldb_readoptions_set_verify_checksums(iter->read, 1);
    leveldb_readoptions_set_fill_cache(iter->read, fill_cache ? 1 : 0);
    leveldb_readoptions_set_snapshot(iter->read, snapshot == NULL ? NULL : snapshot->snapshot);
    iter->iterator = leveldb_create_iterator(self->db, iter->read);
    return iter;
}

/* To be called after each move: LevelDB steps over a block that it cannot read, and is then at a
 * valid pair behind a gap; only its status tells. */
static void note_status(struct kvp_iter *iter)
{
    char *text = NULL;
    leveldb_iter_get_error(iter->iterator, &text);
    if (text != NULL) {
        iter->status = take_error(iter->owner, text);
    }
}

static void iter_seek(struct kvp_iter *iter, kvp_slice key)
{
    leveldb_iter_seek(iter->iterator, key.size == 0 ? "" : key.data, key.size);
    note_status(iter);
}

static kvp_slice iter_key(struct kvp_iter *iter)
{
    size_t size = 0;
    const char *data = leveldb_iter_key(iter->iterator, &size);
    return kvp_slice_of(data, size);
}

static void iter_seek_back(struct kvp_iter *iter, kvp_slice key)
{
    iter_seek(iter, key);
    if (iter->status != KVP_OK) {
        return;
    }
    if (leveldb_iter_valid(iter->iterator) == 0) {
        leveldb_iter_seek_to_last(iter->iterator);
    } else if (kvp_slice_compare(iter_key(iter), key) != 0) {
        leveldb_iter_prev(iter->iterator);
    }
    note_status(iter);
}

static bool iter_valid(struct kvp_iter *iter)
{
    return iter->status == KVP_OK && !atomic_load(&iter->owner->failed) &&
           leveldb_iter_valid(iter->iterator) != 0;
}

static void iter_next(struct kvp_iter *iter)
{
    if (iter_valid(iter)) {
        leveldb_iter_next(iter->iterator);
        note_status(iter);
    }
}

static void iter_back(struct kvp_iter *iter)
{
    if (iter_valid(iter)) {
        leveldb_iter_prev(iter->iterator);
        note_status(iter);
    }
}

static kvp_slice iter_value(struct kvp_iter *iter)
{
    size_t size = 0;
    const char *data = leveldb_iter_value(iter->iterator, &size);
    return kvp_slice_of(data, size);
}

static kvp_status iter_status(struct kvp_iter *iter)
{
    return atomic_load(&iter->owner->failed) ? KVP_FAILED : iter->status;
}

static void iter_close(struct kvp_iter *iter)
{
    if (iter == NULL) {
        return;
    }
    leveldb_iter_destroy(iter->iterator);
    leveldb_readoptions_destroy(iter->read);
    free(iter);
}

/* ---- the journal ---- */

/* A journal that has failed ends the store, too. */
static kvp_status journal_done(struct leveldb_store *self, kvp_status status)
{
    self->store.syncs = kvp_journal_syncs(self->journal);
    if (status != KVP_OK) {
        atomic_store(&self->failed, true);
        keep_error(self, kvp_journal_error(self->journal));
    }
    return status;
}

static kvp_status store_journal_replay(struct kvp_store *store, uint64_t first,
                                       kvp_journal_each each, void *arg, bool *more)
{
    struct leveldb_store *self = leveldb_of(store);
    kvp_status status = kvp_journal_replay(self->journal, first, each, arg, more);
    keep_error(self, kvp_journal_error(self->journal));
    return status;
}

static kvp_status store_journal_begin(struct kvp_store *store)
{
    return journal_done(leveldb_of(store), kvp_journal_begin(leveldb_of(store)->journal));
}

static kvp_status store_journal_append(struct kvp_store *store, const kvp_slice *parts,
                                       size_t count, bool sync, struct kvp_frame *frame)
{
    struct leveldb_store *self = leveldb_of(store);
    if (atomic_load(&self->failed)) {
        return KVP_FAILED;
    }
    return journal_done(self, kvp_journal_append(self->journal, parts, count, sync, frame));
}

static kvp_status store_journal_sync(struct kvp_store *store)
{
    struct leveldb_store *self = leveldb_of(store);
    return atomic_load(&self->failed) ? KVP_FAILED
                                      : journal_done(self, kvp_journal_sync(self->journal));
}

static kvp_status store_journal_read(struct kvp_store *store, struct kvp_frame frame,
                                     kvp_buf *bytes)
{
    struct leveldb_store *self = leveldb_of(store);
    kvp_status status = kvp_journal_read(self->journal, frame, bytes);
    keep_error(self, kvp_journal_error(self->journal));
    return status;
}

static uint64_t store_journal_oldest(struct kvp_store *store, uint64_t keep)
{
    return kvp_journal_oldest(leveldb_of(store)->journal, keep);
}

static kvp_status store_journal_drop(struct kvp_store *store, uint64_t keep)
{
    return journal_done(leveldb_of(store), kvp_journal_drop(leveldb_of(store)->journal, keep));
}

static const char *store_error(struct kvp_store *store)
{
    struct leveldb_store *self = leveldb_of(store);
    /* Taken once for the order of memory; the text does not change any more once it is there. */
    pthread_mutex_lock(&self->lock);
    const char *error = self->error;
    pthread_mutex_unlock(&self->lock);
    return error;
}

static void store_close(struct kvp_store *store)
{
    struct leveldb_store *self = leveldb_of(store);
    if (self == NULL) {
        return;
    }
    if (self->db != NULL) {
        leveldb_close(self->db);
    }
    kvp_journal_close(self->journal);
    leveldb_options_destroy(self->options);
    leveldb_cache_destroy(self->cache);
    leveldb_filterpolicy_destroy(self->filter);
    leveldb_readoptions_destroy(self->read);
    leveldb_writeoptions_destroy(self->write);
    leveldb_writeoptions_destroy(self->write_sync);
    pthread_mutex_destroy(&self->lock);
    free(self->path);
    free(self);
}

static const struct kvp_store_ops leveldb_ops = {
    .write = store_write,
    .get = leveldb_store_get,
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

static void set_options(struct leveldb_store *self, bool create)
{
    self->options = leveldb_options_create();
    self->cache = leveldb_cache_create_lru(BLOCK_CACHE_SIZE);
    self->filter = leveldb_filterpolicy_create_bloom(BLOOM_BITS_PER_KEY);
    self->read = leveldb_readoptions_create();
    self->write = leveldb_writeoptions_create();
    self->write_sync = leveldb_writeoptions_create();
    leveldb_options_set_create_if_missing(self->options, create ? 1 : 0);
    leveldb_options_set_paranoid_checks(self->options, 1);
    leveldb_options_set_write_buffer_size(self->options, WRITE_BUFFER_SIZE);
    leveldb_options_set_max_open_files(self->options, OPEN_FILES_MAX);
    leveldb_options_set_cache(self->options, self->cache);
    leveldb_options_set_filter_policy(self->options, self->filter);
    leveldb_options_set_compression(self->options, leveldb_snappy_compression);
    leveldb_readoptions_set_verify_checksums(self->read, 1);
    leveldb_writeoptions_set_sync(self->write_sync, 1);
}

/* LevelDB's CURRENT file is the last thing made in a new store, so without it there is none. */
static bool store_exists(const char *path)
{
    char *current = NULL;
    if (asprintf(&current, "%s/CURRENT", path) < 0) {
        return true; /* let LevelDB find out */
    }
    bool exists = access(current, F_OK) == 0 || errno != ENOENT;
    free(current);
    return exists;
}

static struct leveldb_store *store_new(const char *path, bool create)
{
    struct leveldb_store *self = calloc(1, sizeof(*self));
    if (self == NULL) {
        return NULL;
    }
    self->path = strdup(path);
    if (self->path == NULL || pthread_mutex_init(&self->lock, NULL) != 0) {
        free(self->path);
        free(self);
        return NULL;
    }
    self->store.ops = &leveldb_ops;
    atomic_init(&self->failed, false);
    set_options(self, create);
    return self;
}

kvp_status kvp_store_leveldb_open(const char *path, bool create, struct kvp_store **store,
                                  char *message, size_t message_size)
{
    char *text = NULL;
    if (!create && !store_exists(path)) {
        (void)snprintf(message, message_size, "%s: there is no store", path);
        return KVP_NOT_FOUND;
    }
    struct leveldb_store *self = store_new(path, create);
    if (self == NULL) {
        (void)snprintf(message, message_size, "%s: out of memory", path);
        return KVP_NO_MEMORY;
    }
    self->db = leveldb_open(self->options, path, &text);
    if (self->db == NULL || text != NULL) {
        kvp_status status = text == NULL ? KVP_IO : status_of_text(text);
        (void)snprintf(message, message_size, "%s: %s", path, text == NULL ? "failed" : text);
        leveldb_free(text);
        store_close(&self->store);
        return status;
    }
    self->log_number = newest_log(path);
    memtable_usage_reset(&self->usage);
    kvp_status status = kvp_journal_open(path, JOURNAL_FILE_SIZE, &self->journal);
    if (status != KVP_OK) {
        (void)snprintf(message, message_size, "%s: the journal: %s", path, kvp_strerror(status));
        store_close(&self->store);
        return status;
    }
    *store = &self->store;
    return KVP_OK;
}
