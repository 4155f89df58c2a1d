/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Those who watch keys, and how to find whom a key concerns without asking all: each waits under
 * the stem of its range, which every key in the range begins with. A key is looked up by those of
 * its beginnings that are as long as somebody's stem.
 */
#ifndef KVP_EXEC_WATCH_INDEX_H
#define KVP_EXEC_WATCH_INDEX_H

#include "kvstore/entry.h"
#include "replication/net/identity.h"
#include "replication/wire/request.h"

#define WATCH_SLOTS   8192u /* a power of two */
#define WATCH_TICKS   512u  /* a power of two */
#define WATCH_TICK_US 100000u
#define WATCH_SHARES  1024u /* a power of two */

struct exec_watcher;

struct watch_list {
    struct exec_watcher *first, *last;
};

struct exec_watcher {
    struct watch_list *list; /* in which it is: */
    struct exec_watcher *next, *previous;
    struct watch_list *tick; /* likewise, by the time that it waits until; NULL: that is over */
    struct exec_watcher *tick_next, *tick_previous;
    void *token;
    uint64_t at; /* the first revision that it has not been told of */
    uint64_t until_us;
    uint64_t hash;   /* of the stem */
    size_t size;     /* bytes that it takes */
    uint32_t *share; /* what its identity has; NULL: it came without one */
    uint32_t stem_size;
    struct kvp_request request; /* its key and value are in `keys` */
    uint8_t keys[];
};

struct watch_index {
    uint64_t seed;
    uint32_t stem_counts[KVP_KEY_SIZE_MAX + 1]; /* who waits, by the size of the stem */
    uint32_t stem_longest; /* none is longer, at the moment; may be too large */
    struct watch_list slots[WATCH_SLOTS];
    struct watch_list ticks[WATCH_TICKS];
    uint32_t shares[WATCH_SHARES]; /* who watches, by identity */
};

/* A node's. Who watches is in one of the lists: `ready` is read for, `lagging` waits for the disk,
 * in the index waits who has been told all up to `seen`. */
struct exec_watches {
    struct watch_index *index; /* NULL: nobody has ever watched */
    struct watch_list ready, lagging;
    size_t count, size;
    size_t parked;      /* in the index */
    uint64_t seen;      /* entries up to it have been held against the index */
    uint64_t tick;      /* the last that was looked at */
    uint64_t again_us;  /* who is gone is looked for, where room is needed */
    bool reads;         /* the disk reads for `lagging`, */
    bool reads_nothing; /* but from a store that is not this node's any more */
    uint64_t page_from; /* what it read last: entries from here on, */
    size_t page_count;
    struct kvp_disk_job *page; /* which are here; NULL: none */
};

void watch_list_push(struct watch_list *list, struct exec_watcher *watcher);
void watch_list_take(struct exec_watcher *watcher); /* out of the list that it is in */
void watch_tick_push(struct watch_list *tick, struct exec_watcher *watcher);
void watch_tick_take(struct exec_watcher *watcher);

bool watch_covers(const struct kvp_request *request, kvp_slice key);

/* How many are the identity's (two may have one count, seldom); NULL for NULL. */
uint32_t *watch_index_share(struct watch_index *index, const struct kvp_identity *identity);
/* Finds the watcher's stem. */
void watch_index_stem(const struct watch_index *index, struct exec_watcher *watcher);
void watch_index_add(struct watch_index *index, struct exec_watcher *watcher);
void watch_index_remove(struct watch_index *index, struct exec_watcher *watcher);

/* Moves whom the key concerns, in an entry of that revision, to `woken`; returns how many. */
size_t watch_index_wake(struct watch_index *index, kvp_slice key, uint64_t revision,
                        struct watch_list *woken);

#endif
