/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a node counts of its work, for /metrics. Each number has one writer at a time and any number
 * of readers, which may see it a moment late: counting takes no lock, and no atomic addition.
 */
#ifndef KVP_NODE_COUNTS_H
#define KVP_NODE_COUNTS_H

#include <stdatomic.h>
#include <stdint.h>

#define NODE_COUNTS_OPS   64u /* of clients; 0: what could not be read */
#define NODE_COUNTS_CODES 40u
#define NODE_COUNTS_PEERS 64u /* by id */
#define NODE_TIMES_SLOTS                                                                           \
    26u /* up to 1, 2, 4 ... microseconds; the last one is for all above 16 s */

/* What a change of view was for, as far as the two views tell. */
enum node_view_reason {
    NODE_VIEW_FIRST, /* that this node learns of */
    NODE_VIEW_HANDOVER,
    NODE_VIEW_FAILOVER, /* the one that led is no member any more */
    NODE_VIEW_MEMBER_LOST,
    NODE_VIEW_MEMBER_JOINED,
    NODE_VIEW_OTHER,
    NODE_COUNTS_VIEWS,
};

typedef _Atomic uint64_t node_count;

struct node_times {
    node_count slots[NODE_TIMES_SLOTS];
    node_count sum_us;
};

struct node_counts {
    node_count answers[NODE_COUNTS_OPS][NODE_COUNTS_CODES]; /* by operation and status */
    struct node_times commit; /* from the execution of an update to its answer */
    /* From arrival to answer: what was answered at once, and updates. */
    struct node_times requests[NODE_COUNTS_OPS];
    struct node_times trips[NODE_COUNTS_PEERS]; /* from a heartbeat to its answer */
    node_count views[NODE_COUNTS_VIEWS];        /* changes, by reason */
    node_count backup_s; /* when the last backup that this node gave was kept; 0: none was */
};

static inline void node_count_add(node_count *count, uint64_t more)
{
    uint64_t before = atomic_load_explicit(count, memory_order_relaxed);
    atomic_store_explicit(count, before + more, memory_order_relaxed);
}

static inline void node_count_set(node_count *count, uint64_t value)
{
    atomic_store_explicit(count, value, memory_order_relaxed);
}

static inline uint64_t node_count_read(const node_count *count)
{
    return atomic_load_explicit(count, memory_order_relaxed);
}

static inline uint64_t node_times_count(const struct node_times *times)
{
    uint64_t count = 0;
    for (unsigned i = 0; i < NODE_TIMES_SLOTS; i++) {
        count += node_count_read(&times->slots[i]);
    }
    return count;
}

static inline void node_counts_answer(struct node_counts *counts, unsigned op, int status)
{
    unsigned code = (unsigned)-status;
    node_count_add(&counts->answers[op < NODE_COUNTS_OPS ? op : 0]
                                   [code < NODE_COUNTS_CODES ? code : NODE_COUNTS_CODES - 1],
                   1);
}

static inline void node_times_add(struct node_times *times, uint64_t time_us)
{
    unsigned slot = time_us <= 1 ? 0 : 64u - (unsigned)__builtin_clzll(time_us - 1);
    node_count_add(&times->slots[slot < NODE_TIMES_SLOTS ? slot : NODE_TIMES_SLOTS - 1], 1);
    node_count_add(&times->sum_us, time_us);
}

#endif
