/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One entry of the replicated log: a write set with its number, the epoch it was made in, and the
 * chained hash that binds it to all entries before it. Entries are immutable and shared by
 * reference count (atomic) between the replication core, the disk thread and messages under way.
 */
#ifndef KVP_ENTRY_H
#define KVP_ENTRY_H

#include "kvpair/kvp_base.h"

#include <stdatomic.h>

/* A place in the log: the entry `seq`, made in `epoch`, where the chain of hashes has come to
 * `hash`. {0, 0, 0} is the empty log. */
struct kvp_point {
    uint64_t seq;
    uint64_t epoch;
    uint64_t hash;
};

static inline bool kvp_point_equal(struct kvp_point a, struct kvp_point b)
{
    return a.seq == b.seq && a.epoch == b.epoch && a.hash == b.hash;
}

struct kvp_entry {
    atomic_uint references;
    uint32_t size;          /* bytes of payload */
    struct kvp_point point; /* set by kvp_entry_chain() */
    uint8_t payload[];      /* an encoded write set (writeset.h) */
};

/* Bytes that an entry takes in a log on disk, about: with small payloads most of it is what stands
 * around them. */
static inline uint64_t kvp_entry_cost(size_t payload_size)
{
    return 64u + payload_size;
}

/* A new entry with one reference and room for `size` payload bytes, not yet chained; NULL when
 * memory is short. */
struct kvp_entry *kvp_entry_new(size_t size);
struct kvp_entry *kvp_entry_ref(struct kvp_entry *entry);
void kvp_entry_unref(struct kvp_entry *entry); /* NULL is fine */

/* The hash of the chain `previous` continued by an entry (seq, epoch, payload):
 * XXH3-64 over little-endian {previous, seq, epoch, XXH3-64(payload)}. */
uint64_t kvp_chain_hash(uint64_t previous, uint64_t seq, uint64_t epoch, kvp_slice payload);

/* Places the entry after `previous`: seq + 1, the given epoch, the continued hash. */
void kvp_entry_chain(struct kvp_entry *entry, struct kvp_point previous, uint64_t epoch);

#endif
