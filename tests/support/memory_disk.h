/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The "disk" beneath the data directory in memory. Maps never change (memory_map.h), so what a
 * store held after each batch is one pointer: `roots[0]` is what is durable, the others are the
 * states after each unsynced batch, the last of them is what readers see. A power cut chooses one
 * of them. Of the journal it keeps the frames that are durable and some of the others.
 */
#ifndef KVP_TEST_MEMORY_DISK_H
#define KVP_TEST_MEMORY_DISK_H

#include "tests/support/memory_map.h"
#include "tests/support/store_memory.h"
#include "kvstore/store_name.h"

#include <pthread.h>
#include <stdatomic.h>

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

/* What env_memory.c opens stores with. */
extern const struct kvp_store_ops memory_store_ops;

/* Counts a change and says whether it succeeds and whether it happens, which may be different. */
kvp_status disk_count_change(struct memory_env *env, bool *happens);
struct memory_map *disk_current_map(const struct disk_store *disk);
struct disk_store *disk_find_store(const struct memory_env *env, const char *name);
struct disk_file *disk_find_file(const struct memory_env *env, const char *name);
/* Takes `count` frames out, from the one at `from` on. */
void disk_journal_forget(struct disk_journal *journal, size_t from, size_t count);
struct disk_store *disk_new(struct memory_env *env, const char *name);
void disk_unlink_store(struct memory_env *env, struct disk_store *disk);
bool disk_reserve_root(struct disk_store *disk);
/* Makes the state number `keep` the durable one and forgets the others. */
void disk_settle(struct disk_store *disk, size_t keep);
kvp_status disk_journal_add(struct disk_journal *journal, const kvp_slice *parts, size_t count);
struct disk_file *disk_make_file(struct memory_env *env, const char *name);
void disk_sync_file(struct disk_file *file);

#endif
