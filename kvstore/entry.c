/* SPDX-License-Identifier: Apache-2.0 */
/* Log entries: shared, immutable once chained, freed with the last reference. */
#include "kvstore/entry.h"
#include "kvstore/keyspace.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

struct kvp_entry *kvp_entry_new(size_t size)
{
    if (size > UINT32_MAX) {
        return NULL;
    }
    struct kvp_entry *entry = malloc(sizeof(*entry) + size);
    if (entry == NULL) {
        return NULL;
    }
    atomic_init(&entry->references, 1);
    entry->size = (uint32_t)size;
    memset(&entry->point, 0, sizeof(entry->point));
    return entry;
}

struct kvp_entry *kvp_entry_ref(struct kvp_entry *entry)
{
    unsigned before = atomic_fetch_add_explicit(&entry->references, 1, memory_order_relaxed);
    assert(before > 0);
    (void)before;
    return entry;
}

void kvp_entry_unref(struct kvp_entry *entry)
{
    if (entry == NULL) {
        return;
    }
    unsigned before = atomic_fetch_sub_explicit(&entry->references, 1, memory_order_acq_rel);
    assert(before > 0);
    if (before == 1) {
        free(entry);
    }
}

uint64_t kvp_chain_hash(uint64_t previous, uint64_t seq, uint64_t epoch, kvp_slice payload)
{
    uint8_t link[32];
    kvp_put_u64(link, previous);
    kvp_put_u64(link + 8, seq);
    kvp_put_u64(link + 16, epoch);
    kvp_put_u64(link + 24, XXH3_64bits(payload.data, payload.size));
    return XXH3_64bits(link, sizeof(link));
}

void kvp_entry_chain(struct kvp_entry *entry, struct kvp_point previous, uint64_t epoch)
{
    entry->point.seq = previous.seq + 1;
    entry->point.epoch = epoch;
    entry->point.hash = kvp_chain_hash(previous.hash, entry->point.seq, epoch,
                                       kvp_slice_of(entry->payload, entry->size));
}
