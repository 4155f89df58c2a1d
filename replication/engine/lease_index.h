/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The leases that a primary knows, by number and by the time at which they end: a hash table and a
 * heap over one array. Nothing here is replicated. One thread.
 */
#ifndef KVP_LEASE_INDEX_H
#define KVP_LEASE_INDEX_H

#include "kvpair/kvp_base.h"

struct lease_timer {
    uint64_t lease, deadline_us, ttl_ms;
    uint32_t place; /* in the heap */
    uint32_t next;  /* of the same hash, or of the unused ones; LEASE_INDEX_NONE: none */
    bool of_one;
};

struct lease_index {
    struct lease_timer *timers;
    uint32_t *heap;  /* the timers in use: count of them, the one that ends first first */
    uint32_t *slots; /* of the hash table: as many as there is room for timers */
    uint32_t capacity, count;
    uint32_t of_one; /* of these */
    uint32_t unused; /* the first that is not in use */
};

#define LEASE_INDEX_NONE UINT32_MAX

void lease_index_free(struct lease_index *index);
/* Room for so many more: setting them cannot fail. KVP_NO_MEMORY. */
kvp_status lease_index_reserve(struct lease_index *index, uint32_t more);
/* A new one needs room that was reserved. */
void lease_index_set(struct lease_index *index, uint64_t lease, uint64_t deadline_us,
                     uint64_t ttl_ms, bool of_one);
void lease_index_remove(struct lease_index *index, uint64_t lease);
/* NULL: it is not known. Valid until the next change. */
const struct lease_timer *lease_index_find(const struct lease_index *index, uint64_t lease);
/* The one that ends first; of those at one time, the one with the smallest number. NULL: none. */
const struct lease_timer *lease_index_first(const struct lease_index *index);

#endif
