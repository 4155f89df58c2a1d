/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The layout of a store, format version 3 (KVP_STORE_VERSION).
 *
 * Every raw key starts with one byte that says what it is. The part called *state* is what a log
 * prefix determines: equal on all nodes at the same applied point, sent in snapshots. The rest
 * belongs to the node alone.
 *
 *   prefix  key behind it               value                                          part
 *   'D'     user key                    data record: flags u8, create u64, modify u64;
 *                                       with flag 1 lease u64, slot u32; value bytes   state
 *   'E'     (nothing)                   session floor u64: sessions last used at or
 *                                       before this seq have been dropped              state
 *   'J'     see replication/jobs/job_records.h      jobs, tasks, workers state 'S'     client u64,
 * slot u16        session record: number u64, seq u64, code u8, answer bytes (one msgpack value)
 * state 'R'     (nothing)                   everybody's rights, see
 *                                       replication/access/rights_record.h             state
 *   'N'     (nothing)                   the list of members, see
 *                                       replication/wire/members.h                     state
 *   'U'     see replication/engine/lease_record.h   leases, their keys, their clock    state
 *   'M'     name                        metadata, see storage_new.c                    node
 *
 * The log is not here but in the store's journal (storage_log.c). Numbers in keys are big-endian
 * (they sort), numbers in values little-endian. The state's prefixes lie in 'D'..'K' and 'N'..'Z';
 * anything else in a write set or snapshot is refused. A change of this table raises
 * KVP_STORE_VERSION; a store of a higher version is refused on opening, one of a lower version is
 * upgraded there, in one batch, or refused.
 */
#ifndef KVP_KEYSPACE_H
#define KVP_KEYSPACE_H

#include "kvpair/kvp_base.h"

#include <endian.h>
#include <string.h>

#define KVP_RAW_KEY_SIZE_MAX (KVP_KEY_SIZE_MAX + 1u)

enum {
    KVP_PREFIX_DATA = 'D',
    KVP_PREFIX_FLOOR = 'E',
    KVP_PREFIX_JOB = 'J',
    KVP_PREFIX_MEMBERS = 'N',
    KVP_PREFIX_RIGHTS = 'R',
    KVP_PREFIX_SESSION = 'S',
    KVP_PREFIX_LEASE = 'U',
    KVP_PREFIX_META = 'M',
};

/* Is it the raw key of a part of the replicated state? */
bool kvp_raw_key_is_state(kvp_slice raw);

/* A raw key in place: enough for any. */
struct kvp_raw_key {
    size_t size;
    uint8_t data[KVP_RAW_KEY_SIZE_MAX];
};

void kvp_raw_key_data(struct kvp_raw_key *raw, kvp_slice key); /* key at most KVP_KEY_SIZE_MAX */
void kvp_raw_key_session(struct kvp_raw_key *raw, uint64_t client, uint16_t slot);
void kvp_raw_key_floor(struct kvp_raw_key *raw);
void kvp_raw_key_age(struct kvp_raw_key *raw);
void kvp_raw_key_rights(struct kvp_raw_key *raw);
void kvp_raw_key_members(struct kvp_raw_key *raw);
static inline kvp_slice kvp_raw_key_slice(const struct kvp_raw_key *raw)
{
    return kvp_slice_of(raw->data, raw->size);
}

/* A stored value with its revisions: the seq that created the key and the one that last changed it.
 * The modify revision is the key's version (compare-and-set, fencing). */
struct kvp_record {
    uint64_t create_revision;
    uint64_t modify_revision;
    kvp_slice value;
    uint64_t lease; /* that the key ends with; 0: none */
    uint32_t slot;  /* the key's place among those of its lease */
};

#define KVP_RECORD_HEADER_SIZE 17u
#define KVP_RECORD_LEASED_SIZE 29u /* the header of one with a lease */
/* Appends the stored form. */
kvp_status kvp_record_encode(const struct kvp_record *record, kvp_buf *out);
/* Reads a stored form; value points into `raw`. KVP_CORRUPT. */
kvp_status kvp_record_decode(kvp_slice raw, struct kvp_record *record);

/* The last request that a session slot executed, and its answer. */
struct kvp_session_record {
    uint64_t number;
    uint64_t seq;     /* of the log entry that holds the effect */
    uint8_t code;     /* absolute value of the status answered */
    kvp_slice answer; /* the encoded result: one msgpack value */
};

kvp_status kvp_session_encode(const struct kvp_session_record *record, kvp_buf *out);
kvp_status kvp_session_decode(kvp_slice raw, struct kvp_session_record *record); /* KVP_CORRUPT */
/* Splits the raw key of a session record. KVP_CORRUPT. */
kvp_status kvp_session_key_decode(kvp_slice raw, uint64_t *client, uint16_t *slot);

/* Little-endian numbers in memory, unaligned. Inline: one instruction each, or two. */
static inline void kvp_put_u16(uint8_t *to, uint16_t value)
{
    value = htole16(value);
    memcpy(to, &value, sizeof(value));
}

static inline void kvp_put_u32(uint8_t *to, uint32_t value)
{
    value = htole32(value);
    memcpy(to, &value, sizeof(value));
}

static inline void kvp_put_u64(uint8_t *to, uint64_t value)
{
    value = htole64(value);
    memcpy(to, &value, sizeof(value));
}

static inline uint16_t kvp_get_u16(const uint8_t *from)
{
    uint16_t value;
    memcpy(&value, from, sizeof(value));
    return le16toh(value);
}

static inline uint32_t kvp_get_u32(const uint8_t *from)
{
    uint32_t value;
    memcpy(&value, from, sizeof(value));
    return le32toh(value);
}

static inline uint64_t kvp_get_u64(const uint8_t *from)
{
    uint64_t value;
    memcpy(&value, from, sizeof(value));
    return le64toh(value);
}

/* Big-endian, for keys. */
static inline void kvp_put_be64(uint8_t *to, uint64_t value)
{
    value = htobe64(value);
    memcpy(to, &value, sizeof(value));
}

static inline uint64_t kvp_get_be64(const uint8_t *from)
{
    uint64_t value;
    memcpy(&value, from, sizeof(value));
    return be64toh(value);
}

#endif
