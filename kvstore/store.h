/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The two interfaces between kvpair and a disk. A `kvp_store` is one ordered map of bytes to bytes
 * with atomic batches and snapshots, and a journal beside it (LevelDB and journal.h, or memory in
 * tests). A `kvp_env` is the data directory
 * that holds such stores by name, a few small files beside them, and the lock that keeps a second
 * process out. Faults are injected here by tests: LevelDB's C binding cannot host an environment.
 *
 * Threads: get, snapshots and iterators may be used by any thread while one other thread writes.
 * write, and every function of kvp_env, belongs to one thread at a time. An iterator or snapshot is
 * used by one thread at a time and must be released before the store is closed.
 *
 * Errors: any status but KVP_OK and KVP_NOT_FOUND from a store means that it must be closed at once
 * (LevelDB 1.23 goes on acknowledging writes that are lost after a full disk); an implementation
 * refuses everything with KVP_FAILED after its first failed write.
 */
#ifndef KVP_STORE_H
#define KVP_STORE_H

#include "kvpair/kvp_base.h"

struct kvp_store;
struct kvp_snapshot;
struct kvp_iter;

/* One atomic batch, built by the caller: a list of puts (value.data set or size 0) and deletes. */
struct kvp_batch_op {
    kvp_slice key;
    kvp_slice value;
    bool is_delete;
};

/* Where a frame of the journal is. */
struct kvp_frame {
    uint64_t number;
    uint64_t place; /* only the journal knows what it means */
};

typedef kvp_status (*kvp_journal_each)(void *arg, struct kvp_frame frame, kvp_slice bytes);

struct kvp_store_ops {
    /* Applies all of the ops or none. With `sync` it is durable on return (fsync). Slices are
     * borrowed for the call. A failed batch may or may not be there after reopening. */
    kvp_status (*write)(struct kvp_store *store, const struct kvp_batch_op *ops, size_t count,
                        bool sync);
    /* KVP_NOT_FOUND, or the value appended to `value` (caller's, not cleared first). */
    kvp_status (*get)(struct kvp_store *store, kvp_slice key, kvp_buf *value);
    /* A view of this instant; NULL when memory is short. */
    struct kvp_snapshot *(*snapshot)(struct kvp_store *store);
    void (*snapshot_release)(struct kvp_store *store, struct kvp_snapshot *snapshot);
    /* Iterates over `snapshot` (NULL: over the instant of the call), not positioned yet.
     * `fill_cache` false for long scans. NULL when memory is short. */
    struct kvp_iter *(*iter)(struct kvp_store *store, struct kvp_snapshot *snapshot,
                             bool fill_cache);
    void (*iter_seek)(struct kvp_iter *iter, kvp_slice key);      /* first key >= `key` */
    void (*iter_seek_back)(struct kvp_iter *iter, kvp_slice key); /* last key <= `key` */
    void (*iter_next)(struct kvp_iter *iter);
    void (*iter_back)(struct kvp_iter *iter); /* to the key before */
    bool (*iter_valid)(struct kvp_iter *iter);
    kvp_slice (*iter_key)(struct kvp_iter *iter);   /* until the next move */
    kvp_slice (*iter_value)(struct kvp_iter *iter); /* until the next move */
    /* Why iter_valid is false: KVP_OK at the end of the data, else the read error. */
    kvp_status (*iter_status)(struct kvp_iter *iter);
    void (*iter_close)(struct kvp_iter *iter);

    /* The journal, which belongs to the writing thread. Batches and frames are durable on their
     * own: of each kind the last ones may be lost. */

    /* Calls `each` for the frames from `first` on, in their order; its status, if not KVP_OK, ends
     * that. Behind the last one lie others that were written later if *more: after a power cut or
     * of damage. KVP_CORRUPT: there are frames missing before others that were durable. */
    kvp_status (*journal_replay)(struct kvp_store *store, uint64_t first, kvp_journal_each each,
                                 void *arg, bool *more);
    /* To be called once, after a replay, before the first append: what is behind the end found
     * goes. The number of the next frame is the last one's + 1, or `first` if there was none. */
    kvp_status (*journal_begin)(struct kvp_store *store);
    /* Appends the parts one behind the other as one frame. With `sync` it and all before it are
     * durable on return. */
    kvp_status (*journal_append)(struct kvp_store *store, const kvp_slice *parts, size_t count,
                                 bool sync, struct kvp_frame *frame);
    kvp_status (*journal_sync)(struct kvp_store *store); /* cheap if there is nothing to do */
    /* A frame that is there, appended to `bytes`; KVP_CORRUPT if it is damaged. */
    kvp_status (*journal_read)(struct kvp_store *store, struct kvp_frame frame, kvp_buf *bytes);
    /* The oldest number that would be left by journal_drop() with the same argument: frames go in
     * larger pieces, and never one that is not before `keep`. */
    uint64_t (*journal_oldest)(struct kvp_store *store, uint64_t keep);
    kvp_status (*journal_drop)(struct kvp_store *store, uint64_t keep);

    /* Human-readable reason of the last failure; "" if none. Valid until the next call. */
    const char *(*error)(struct kvp_store *store);
    void (*close)(struct kvp_store *store); /* NULL is fine */
};

/* fsyncs of the journal since it was opened, and how long they took altogether. */
struct kvp_syncs {
    uint64_t count, time_us;
};

struct kvp_store {
    const struct kvp_store_ops *ops;
    struct kvp_syncs syncs; /* of the writing thread */
};

struct kvp_env;

struct kvp_env_ops {
    /* Opens the store called `name` ([a-z0-9.-], at most 63 characters), made if `create`.
     * KVP_NOT_FOUND (absent and not `create`), KVP_CORRUPT, KVP_DISK_FULL, KVP_IO, KVP_NO_MEMORY.
     */
    kvp_status (*open_store)(struct kvp_env *env, const char *name, bool create,
                             struct kvp_store **store);
    /* Removes a closed store, or what a crash left of one. Absent is KVP_OK. What others have put
     * into its directory stays, and so does the directory then. */
    kvp_status (*destroy_store)(struct kvp_env *env, const char *name);
    /* Renames a closed store; durable on return. */
    kvp_status (*rename_store)(struct kvp_env *env, const char *from, const char *to);
    /* Calls `each` for every store of the directory, in no order. */
    kvp_status (*list_stores)(struct kvp_env *env, void (*each)(void *arg, const char *name),
                              void *arg);
    /* Adds the bytes that the store `name` takes, about, to *size; one that is gone takes none. */
    kvp_status (*store_size)(struct kvp_env *env, const char *name, uint64_t *size);
    /* Small files (at most 4 KiB). KVP_NOT_FOUND if absent; content appended to `content`. */
    kvp_status (*read_file)(struct kvp_env *env, const char *name, kvp_buf *content);
    /* Replaces the file atomically; durable on return. */
    kvp_status (*replace_file)(struct kvp_env *env, const char *name, kvp_slice content);
    /* Writes `content` over the file's bytes from `offset`, made if absent. Not durable, survives a
     * crash of the process only, unless `sync`. The file is kept open for the next call. */
    kvp_status (*write_at)(struct kvp_env *env, const char *name, uint64_t offset,
                           kvp_slice content, bool sync);
    const char *(*error)(struct kvp_env *env); /* reason of the last failure; "" if none */
    void (*close)(struct kvp_env *env);        /* gives up the lock; NULL is fine */
};

struct kvp_env {
    const struct kvp_env_ops *ops;
};

/*
 * The data directory `path` on a POSIX file system with LevelDB stores in it, created if absent
 * (mode 0700) and locked against other processes (flock on `path`/LOCK; KVP_LOCKED, and `message`
 * names the directory and, where known, the other process's id). `message` (may be NULL) receives a
 * reason of at most `message_size` bytes on failure. The caller closes *env.
 */
kvp_status kvp_env_posix_open(const char *path, struct kvp_env **env, char *message,
                              size_t message_size);

/* A directory in memory, for tests and as the oracle of the LevelDB one. The caller closes *env. */
kvp_status kvp_env_memory_open(struct kvp_env **env);

#endif
