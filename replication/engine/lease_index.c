/* SPDX-License-Identifier: Apache-2.0 */
#include "replication/engine/lease_index.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define LEASE_INDEX_CAPACITY_MIN 64u

void lease_index_free(struct lease_index *index)
{
    free(index->timers);
    free(index->heap);
    free(index->slots);
    memset(index, 0, sizeof(*index));
}

static uint32_t *lease_index_slot(const struct lease_index *index, uint64_t lease)
{
    uint64_t mixed = lease * UINT64_C(0x9e3779b97f4a7c15);
    return &index->slots[(mixed >> 32) & (index->capacity - 1)];
}

/* Links what is in use into the empty table, and the rest to the unused. */
static void index_link_all(struct lease_index *index)
{
    memset(index->slots, 0xff, index->capacity * sizeof(*index->slots));
    for (uint32_t i = 0; i < index->count; i++) {
        struct lease_timer *timer = &index->timers[index->heap[i]];
        uint32_t *slot = lease_index_slot(index, timer->lease);
        timer->next = *slot;
        *slot = index->heap[i];
    }
}

static kvp_status index_grow(struct lease_index *index)
{
    uint32_t from = index->capacity;
    uint32_t capacity = from == 0 ? LEASE_INDEX_CAPACITY_MIN : from * 2;
    uint32_t *slots = malloc(capacity * sizeof(*slots));
    uint32_t *heap = slots != NULL ? realloc(index->heap, capacity * sizeof(*heap)) : NULL;
    index->heap = heap != NULL ? heap : index->heap;
    struct lease_timer *timers =
        heap != NULL ? realloc(index->timers, capacity * sizeof(*timers)) : NULL;
    if (timers == NULL) {
        free(slots);
        return KVP_NO_MEMORY;
    }
    free(index->slots);
    index->slots = slots;
    index->timers = timers;
    index->capacity = capacity;
    index->unused = from == 0 ? LEASE_INDEX_NONE : index->unused;
    for (uint32_t i = from; i < capacity; i++) {
        timers[i].next = index->unused;
        index->unused = i;
    }
    index_link_all(index);
    return KVP_OK;
}

kvp_status lease_index_reserve(struct lease_index *index, uint32_t more)
{
    kvp_status status = KVP_OK;
    while (status == KVP_OK && index->capacity - index->count < more) {
        status = index_grow(index);
    }
    return status;
}

/* ---- the heap ---- */

static bool timer_is_before(const struct lease_timer *a, const struct lease_timer *b)
{
    return a->deadline_us != b->deadline_us ? a->deadline_us < b->deadline_us : a->lease < b->lease;
}

static void heap_place(struct lease_index *index, uint32_t place, uint32_t timer)
{
    index->heap[place] = timer;
    index->timers[timer].place = place;
}

static void heap_rise(struct lease_index *index, uint32_t place)
{
    uint32_t timer = index->heap[place];
    while (place > 0) {
        uint32_t above = (place - 1) / 2;
        if (!timer_is_before(&index->timers[timer], &index->timers[index->heap[above]])) {
            break;
        }
        heap_place(index, place, index->heap[above]);
        place = above;
    }
    heap_place(index, place, timer);
}

static void heap_sink(struct lease_index *index, uint32_t place)
{
    uint32_t timer = index->heap[place];
    for (;;) {
        uint32_t below = 2 * place + 1;
        if (below >= index->count) {
            break;
        }
        if (below + 1 < index->count && timer_is_before(&index->timers[index->heap[below + 1]],
                                                        &index->timers[index->heap[below]])) {
            below++;
        }
        if (!timer_is_before(&index->timers[index->heap[below]], &index->timers[timer])) {
            break;
        }
        heap_place(index, place, index->heap[below]);
        place = below;
    }
    heap_place(index, place, timer);
}

/* ---- leases ---- */

static uint32_t index_find(const struct lease_index *index, uint64_t lease)
{
    uint32_t at = index->capacity == 0 ? LEASE_INDEX_NONE : *lease_index_slot(index, lease);
    while (at != LEASE_INDEX_NONE && index->timers[at].lease != lease) {
        at = index->timers[at].next;
    }
    return at;
}

const struct lease_timer *lease_index_find(const struct lease_index *index, uint64_t lease)
{
    uint32_t at = index_find(index, lease);
    return at == LEASE_INDEX_NONE ? NULL : &index->timers[at];
}

const struct lease_timer *lease_index_first(const struct lease_index *index)
{
    return index->count == 0 ? NULL : &index->timers[index->heap[0]];
}

static uint32_t index_add(struct lease_index *index, uint64_t lease)
{
    uint32_t at = index->unused;
    assert(index->capacity > 0 && at != LEASE_INDEX_NONE);
    uint32_t *slot = lease_index_slot(index, lease);
    index->unused = index->timers[at].next;
    index->timers[at] = (struct lease_timer){.lease = lease, .next = *slot};
    *slot = at;
    heap_place(index, index->count++, at);
    return at;
}

void lease_index_set(struct lease_index *index, uint64_t lease, uint64_t deadline_us,
                     uint64_t ttl_ms, bool of_one)
{
    uint32_t at = index_find(index, lease);
    at = at == LEASE_INDEX_NONE ? index_add(index, lease) : at;
    struct lease_timer *timer = &index->timers[at];
    index->of_one += of_one && !timer->of_one;
    timer->deadline_us = deadline_us;
    timer->ttl_ms = ttl_ms;
    timer->of_one = of_one;
    heap_rise(index, timer->place);
    heap_sink(index, timer->place);
}

void lease_index_remove(struct lease_index *index, uint64_t lease)
{
    uint32_t at = index_find(index, lease);
    if (at == LEASE_INDEX_NONE) {
        return;
    }
    struct lease_timer *timer = &index->timers[at];
    uint32_t place = timer->place, last = index->heap[--index->count];
    if (last != at) {
        heap_place(index, place, last);
        heap_rise(index, place);
        heap_sink(index, index->timers[last].place);
    }
    uint32_t *link = lease_index_slot(index, lease);
    while (*link != at) {
        link = &index->timers[*link].next;
    }
    *link = timer->next;
    index->of_one -= timer->of_one;
    timer->next = index->unused;
    index->unused = at;
}
