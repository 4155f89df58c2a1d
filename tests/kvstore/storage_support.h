/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the tests of kvp_storage share: a depot, which is a storage in a place, and a history, which
 * is the log as the test knows it, and from which everything that the storage should hold follows.
 */
#ifndef STORAGE_SUPPORT_H
#define STORAGE_SUPPORT_H

#include "tests/kvstore/kv_support.h"

#include "kvstore/keyspace.h"
#include "kvstore/storage.h"
#include "tests/support/store_memory.h"

#define GROUP "plant"
#define NODE  2u

/* ---- the log as it should be ---- */

enum {
    HISTORY_MAX = 512,
};

struct history {
    struct kvp_entry *entries[HISTORY_MAX]; /* entries[i] has the seq i + 1 */
    size_t count;
};

/* An entry chained behind `previous`. The caller owns it. */
struct kvp_entry *entry_after(struct kvp_point previous, uint64_t epoch, kvp_slice payload);
/* Continues the history by an entry that puts or (value NULL) deletes one user key. */
void history_put(struct history *history, uint64_t epoch, const char *key, const char *value);
void history_add(struct history *history, uint64_t epoch, kvp_slice payload);
/* `count` entries more, which put and delete among a few keys. */
void history_grow(struct history *history, uint64_t epoch, size_t count);
void history_cut(struct history *history, uint64_t tail);
void history_free(struct history *history);
struct kvp_point history_point(const struct history *history, uint64_t seq);
/* The state after the entries 1..seq, as state_dump() has it. The caller frees it. */
char *history_state(const struct history *history, uint64_t seq);

/* ---- a storage ---- */

struct depot {
    struct place place;
    struct kvp_storage *storage; /* NULL: closed */
    struct kvp_loaded loaded;
    char message[256];
};

void depot_make(struct depot *depot, bool on_disk);
/* Opens the storage, which may fail. */
kvp_status depot_try(struct depot *depot);
void depot_open(struct depot *depot);
void depot_close(struct depot *depot);
void depot_reopen(struct depot *depot);
void depot_remove(struct depot *depot);

/* Appends the entries first..last, applies those up to `applied` that follow the one applied last.
 * 0: nothing of the kind. */
struct kvp_storage_write write_of(const struct history *history, uint64_t first, uint64_t last);
void depot_write(struct depot *depot, const struct kvp_storage_write *write);
void depot_append(struct depot *depot, const struct history *history, uint64_t first,
                  uint64_t last);
void depot_apply(struct depot *depot, const struct history *history, uint64_t first, uint64_t last);

/* ---- checks ---- */

void check_point(struct kvp_point found, struct kvp_point expected);
/* The log holds first..last, read in one go and one by one, and nothing behind; what is before was
 * trimmed, and gone or still right. */
void check_log(struct depot *depot, const struct history *history, uint64_t first, uint64_t last);
/* All pairs from the cursor to its end, as "key=value " with raw keys. The caller frees it. */
char *state_dump(struct kvp_state_view *view);
/* The state is that after the entry `applied`, and the view says so. */
void check_state(struct depot *depot, const struct history *history, uint64_t applied);
/* Log, state and, after an opening, what was loaded. */
void check_all(struct depot *depot, const struct history *history, uint64_t first, uint64_t last,
               uint64_t applied);
void check_meta(const struct kvp_meta *found, const struct kvp_meta *expected);
/* The storage has stopped: everything is refused. */
void check_stopped(struct depot *depot);

/* The store called `name` beside the closed storage, to be looked into or tampered with. */
void store_get_raw(struct depot *depot, const char *name, kvp_slice key, kvp_buf *value);
void store_set_raw(struct depot *depot, const char *name, kvp_slice key, kvp_slice value);
void store_delete_raw(struct depot *depot, const char *name, kvp_slice key);

void store_copy_pairs(struct kvp_store *from, struct kvp_store *to);

/* ---- the journal of such a store ---- */

enum {
    FRAMES_MAX = 64,
};

/* The frames that count, from the one on that the record of the base names. */
struct frames {
    kvp_buf items[FRAMES_MAX];
    size_t count;
    struct kvp_point tail; /* of the entries in them; zero: there are none */
};

void frames_take(struct kvp_store *store, struct frames *frames);
void frames_free(struct frames *frames);
/* Makes the store called `name` one with these frames, and `base` before them. */
void frames_put(struct depot *depot, const char *name, const struct frames *frames,
                struct kvp_point base);
/* A frame with `count` entries of the history, from `first` on. */
void frame_of(const struct history *history, uint64_t first, size_t count, kvp_buf *frame);
/* Number of the last entry in the journal. */
uint64_t store_log_tail(struct kvp_store *store);

#endif
