/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Leases in the store. Behind the prefix 'U':
 *
 *   'C'                      the clock of leases u64, in microseconds: moves while a primary serves
 *   'L' lease be64           a lease: kind u8, flags u8, ttl ms u64, deadline u64 (of one key: on
 *                            that clock; else 0), slots u32, keys u32, free u32, name: of one key
 *                            the key, else the identity that has granted it ("": without TLS)
 *   'K' lease be64 slot be32 what a lease of many keys has in that slot: u8 1 and the key, or u8 2
 *                            and the next free slot u32
 *   'I' identity             how many leases it has u32
 *
 * A lease of one key comes with a put that has a time to live, and goes with its key. Its number is
 * above LEASE_OF_ONE_MIN; that of any other is the seq of the entry that granted it. Numbers
 * little-endian but for those in keys.
 */
#ifndef KVP_LEASE_RECORD_H
#define KVP_LEASE_RECORD_H

#include "kvstore/keyspace.h"

#define LEASE_OF_ONE_SHIFT 48u
#define LEASE_OF_ONE_MIN   (UINT64_C(1) << LEASE_OF_ONE_SHIFT)
#define LEASE_NO_SLOT      UINT32_MAX

struct lease_record {
    bool of_one;
    bool ends; /* its keys go, in steps: nobody keeps it or gives it keys any more */
    uint64_t ttl_ms, deadline_us;
    uint32_t slots; /* that have a record */
    uint32_t keys;
    uint32_t free; /* the first slot without a key; LEASE_NO_SLOT: none */
    kvp_slice name;
};

static inline bool lease_is_of_one(uint64_t lease)
{
    return lease >= LEASE_OF_ONE_MIN;
}

void lease_key_clock(struct kvp_raw_key *raw);
void lease_key(struct kvp_raw_key *raw, uint64_t lease);
void lease_key_slot(struct kvp_raw_key *raw, uint64_t lease, uint32_t slot);
void lease_key_identity(struct kvp_raw_key *raw, kvp_slice name); /* shorter than a key may be */
/* The number of the lease that it is the raw key of; false: it is another key. */
bool lease_key_decode(kvp_slice raw, uint64_t *lease);

kvp_status lease_record_encode(const struct lease_record *record, kvp_buf *out);
kvp_status lease_record_decode(kvp_slice raw, struct lease_record *record); /* KVP_CORRUPT */

/* A slot with a key, or (key empty) a free one. */
struct lease_slot {
    kvp_slice key;
    uint32_t next;
};
kvp_status lease_slot_encode(const struct lease_slot *slot, kvp_buf *out);
kvp_status lease_slot_decode(kvp_slice raw, struct lease_slot *slot); /* KVP_CORRUPT */

#endif
