/* SPDX-License-Identifier: Apache-2.0 */
/* Lists of those who watch, and the index of those who wait. */
#include "replication/node/exec_watch_index.h"

#include "kvstore/base/mutant.h"

#include <assert.h>
#include <string.h>

#define HASH_PRIME 0x100000001b3u /* FNV-1a, 64 bits */

/* ---- lists ---- */

void watch_list_push(struct watch_list *list, struct exec_watcher *watcher)
{
    watcher->list = list;
    watcher->next = NULL;
    watcher->previous = list->last;
    *(list->last != NULL ? &list->last->next : &list->first) = watcher;
    list->last = watcher;
}

void watch_list_take(struct exec_watcher *watcher)
{
    struct watch_list *list = watcher->list;
    assert(list != NULL);
    *(watcher->previous != NULL ? &watcher->previous->next : &list->first) = watcher->next;
    *(watcher->next != NULL ? &watcher->next->previous : &list->last) = watcher->previous;
    watcher->list = NULL;
}

void watch_tick_push(struct watch_list *tick, struct exec_watcher *watcher)
{
    watcher->tick = tick;
    watcher->tick_next = NULL;
    watcher->tick_previous = tick->last;
    *(tick->last != NULL ? &tick->last->tick_next : &tick->first) = watcher;
    tick->last = watcher;
}

void watch_tick_take(struct exec_watcher *watcher)
{
    struct watch_list *tick = watcher->tick;
    if (tick == NULL) {
        return;
    }
    *(watcher->tick_previous != NULL ? &watcher->tick_previous->tick_next : &tick->first) =
        watcher->tick_next;
    *(watcher->tick_next != NULL ? &watcher->tick_next->tick_previous : &tick->last) =
        watcher->tick_previous;
    watcher->tick = NULL;
}

/* ---- stems ---- */

bool watch_covers(const struct kvp_request *request, kvp_slice key)
{
    bool ends = request->value.size > 0 && !KVP_MUTANT(WATCH_NO_END);
    return kvp_slice_compare(key, request->key) >= 0 &&
           (!ends || kvp_slice_compare(key, request->value) < 0);
}

static size_t stem_common(kvp_slice a, kvp_slice b)
{
    const uint8_t *left = a.data, *right = b.data;
    size_t size = 0;
    while (size < a.size && size < b.size && left[size] == right[size]) {
        size++;
    }
    return size;
}

/* Is `end` the first key behind all that begin with the first `size` bytes of `start`? */
static bool stem_ends_at(kvp_slice start, size_t size, kvp_slice end)
{
    const uint8_t *from = start.data, *to = end.data;
    while (size > 0 && from[size - 1] == UINT8_MAX) {
        size--;
    }
    return size > 0 && end.size == size && memcmp(from, to, size - 1) == 0 &&
           to[size - 1] == from[size - 1] + 1;
}

/* All keys between two begin as both do; those of a prefix with the prefix. */
static size_t stem_size(const struct kvp_request *request)
{
    kvp_slice start = request->key, end = request->value;
    if (end.size == 0) {
        return 0;
    }
    return stem_ends_at(start, start.size, end) ? start.size : stem_common(start, end);
}

static uint64_t stem_hash(uint64_t hash, uint8_t byte)
{
    return (hash ^ byte) * HASH_PRIME;
}

uint32_t *watch_index_share(struct watch_index *index, const struct kvp_identity *identity)
{
    if (identity == NULL) {
        return NULL;
    }
    uint64_t hash = stem_hash(index->seed, (uint8_t)identity->kind);
    for (const char *at = identity->name; *at != '\0'; at++) {
        hash = stem_hash(hash, (uint8_t)*at);
    }
    return &index->shares[(hash ^ hash >> 32) & (WATCH_SHARES - 1)];
}

void watch_index_stem(const struct watch_index *index, struct exec_watcher *watcher)
{
    const uint8_t *key = watcher->request.key.data;
    watcher->stem_size = (uint32_t)stem_size(&watcher->request);
    watcher->hash = index->seed;
    for (uint32_t i = 0; i < watcher->stem_size; i++) {
        watcher->hash = stem_hash(watcher->hash, key[i]);
    }
}

static struct watch_list *index_slot(struct watch_index *index, uint64_t hash)
{
    return &index->slots[(hash ^ hash >> 32) & (WATCH_SLOTS - 1)];
}

void watch_index_add(struct watch_index *index, struct exec_watcher *watcher)
{
    index->stem_counts[watcher->stem_size]++;
    if (watcher->stem_size > index->stem_longest) {
        index->stem_longest = watcher->stem_size;
    }
    watch_list_push(index_slot(index, watcher->hash), watcher);
}

void watch_index_remove(struct watch_index *index, struct exec_watcher *watcher)
{
    watch_list_take(watcher);
    index->stem_counts[watcher->stem_size]--;
    while (index->stem_longest > 0 && index->stem_counts[index->stem_longest] == 0) {
        index->stem_longest--;
    }
}

static size_t wake_slot(struct watch_index *index, uint64_t hash, kvp_slice key, uint64_t revision,
                        struct watch_list *woken)
{
    size_t count = 0;
    struct exec_watcher *next = index_slot(index, hash)->first;
    while (next != NULL && !(KVP_MUTANT(WATCH_WAKES_ONE) && count > 0)) {
        struct exec_watcher *watcher = next;
        next = watcher->next;
        if (watcher->hash == hash && watcher->at <= revision &&
            watch_covers(&watcher->request, key)) {
            watch_index_remove(index, watcher);
            watcher->at = revision; /* nothing before it concerns him */
            watch_list_push(woken, watcher);
            count++;
        }
    }
    return count;
}

size_t watch_index_wake(struct watch_index *index, kvp_slice key, uint64_t revision,
                        struct watch_list *woken)
{
    const uint8_t *bytes = key.data;
    uint64_t hash = index->seed;
    size_t count = 0;
    for (uint32_t size = 0; size <= key.size && size <= index->stem_longest; size++) {
        if (index->stem_counts[size] > 0) {
            count += wake_slot(index, hash, key, revision, woken);
        }
        hash = size < key.size ? stem_hash(hash, bytes[size]) : hash;
    }
    return count;
}
