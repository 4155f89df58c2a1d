/* SPDX-License-Identifier: Apache-2.0 */
/* The view: who is primary and who must acknowledge, as the arbiter's register keeps it. */
#ifndef KVP_VIEW_H
#define KVP_VIEW_H

#include "kvpair/kvp_base.h"

#include <stdio.h>

/* A set of node ids 1..63: bit i stands for node i. */
typedef uint64_t kvp_node_set;

/* So many changes of view may a node be behind that goes by another one's word. */
#define KVP_VIEW_JUMP_MAX ((uint64_t)1 << 20)

/* Epochs and versions are smaller: nobody has counted so far, and nothing that is added overflows.
 */
#define KVP_VIEW_NUMBER_END ((uint64_t)1 << 61)

struct kvp_view {
    uint64_t version;     /* of the register; moves with every change; 0: no view yet */
    uint64_t epoch;       /* grows with every change of view */
    uint8_t primary;      /* node id; 0: none */
    kvp_node_set in_sync; /* the primary is always a member */
};

static inline kvp_node_set kvp_set_of(unsigned id)
{
    return (kvp_node_set)1 << id;
}

static inline bool kvp_set_has(kvp_node_set set, unsigned id)
{
    return (set >> id & 1) != 0;
}

static inline unsigned kvp_set_count(kvp_node_set set)
{
    return (unsigned)__builtin_popcountll(set);
}

#define KVP_SET_TEXT_SIZE (3u * 64u)

/* "1,2" */
static inline const char *kvp_set_print(char text[KVP_SET_TEXT_SIZE], kvp_node_set set)
{
    size_t used = 0;

    text[0] = '\0';
    for (unsigned id = 1; id < 64; id++) {
        if (kvp_set_has(set, id)) {
            used += (size_t)snprintf(text + used, KVP_SET_TEXT_SIZE - used, "%s%u",
                                     used > 0 ? "," : "", id);
        }
    }
    return text;
}

static inline bool kvp_view_equal(const struct kvp_view *a, const struct kvp_view *b)
{
    return a->version == b->version && a->epoch == b->epoch && a->primary == b->primary &&
           a->in_sync == b->in_sync;
}

#endif
