/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How much memory LevelDB's memtable has taken, followed from outside: LevelDB tells it only
 * together with its cache. Its arena (util/arena.cc of release 1.23) takes blocks of 4 KiB, fills
 * them with what fits, and gives anything larger than a quarter of one a block of its own; an entry
 * takes its encoded key and value there, and a node of the skip list with 4/3 pointers on average.
 */
#ifndef KVP_MEMTABLE_H
#define KVP_MEMTABLE_H

#include "kvstore/store.h"

struct memtable_usage {
    size_t bytes; /* what LevelDB compares with its write buffer size, about: see MEMTABLE_SLACK */
    size_t left;  /* in the current block */
    size_t count; /* of entries */
};

/* The heights of nodes are random, and with them what remains unused in blocks. At worst, with
 * entries of up to a quarter of a block, the standard deviation is about a seventh of this in 8
 * MiB. */
#define MEMTABLE_SLACK (96u * 1024u)

void memtable_usage_reset(struct memtable_usage *usage); /* a new memtable */
void memtable_usage_add(struct memtable_usage *usage, const struct kvp_batch_op *op);

#endif
