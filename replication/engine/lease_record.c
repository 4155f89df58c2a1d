/* SPDX-License-Identifier: Apache-2.0 */
#include "replication/engine/lease_record.h"

#include <string.h>

enum {
    RECORD_HEADER_SIZE = 30,
    LEASE_KEY_SIZE = 10,
    SLOT_KEY_SIZE = 14,
    KIND_OF_MANY = 0,
    KIND_OF_ONE = 1,
    FLAG_ENDS = 1,
    SLOT_HAS_KEY = 1,
    SLOT_IS_FREE = 2,
};

static void lease_key_begin(struct kvp_raw_key *raw, uint8_t part)
{
    raw->data[0] = KVP_PREFIX_LEASE;
    raw->data[1] = part;
    raw->size = 2;
}

void lease_key_clock(struct kvp_raw_key *raw)
{
    lease_key_begin(raw, 'C');
}

void lease_key(struct kvp_raw_key *raw, uint64_t lease)
{
    lease_key_begin(raw, 'L');
    kvp_put_be64(raw->data + 2, lease);
    raw->size = LEASE_KEY_SIZE;
}

void lease_key_slot(struct kvp_raw_key *raw, uint64_t lease, uint32_t slot)
{
    lease_key_begin(raw, 'K');
    kvp_put_be64(raw->data + 2, lease);
    for (unsigned i = 0; i < 4; i++) {
        raw->data[LEASE_KEY_SIZE + i] = (uint8_t)(slot >> (24 - 8 * i));
    }
    raw->size = SLOT_KEY_SIZE;
}

void lease_key_identity(struct kvp_raw_key *raw, kvp_slice name)
{
    lease_key_begin(raw, 'I');
    if (name.size > 0) {
        memcpy(raw->data + 2, name.data, name.size);
    }
    raw->size = 2 + name.size;
}

bool lease_key_decode(kvp_slice raw, uint64_t *lease)
{
    const uint8_t *bytes = raw.data;
    if (raw.size != LEASE_KEY_SIZE || bytes[0] != KVP_PREFIX_LEASE || bytes[1] != 'L') {
        return false;
    }
    *lease = kvp_get_be64(bytes + 2);
    return true;
}

kvp_status lease_record_encode(const struct lease_record *record, kvp_buf *out)
{
    uint8_t header[RECORD_HEADER_SIZE];
    kvp_status status = kvp_buf_reserve(out, sizeof(header) + record->name.size);
    if (status != KVP_OK) {
        return status;
    }
    header[0] = record->of_one ? KIND_OF_ONE : KIND_OF_MANY;
    header[1] = record->ends ? FLAG_ENDS : 0;
    kvp_put_u64(header + 2, record->ttl_ms);
    kvp_put_u64(header + 10, record->deadline_us);
    kvp_put_u32(header + 18, record->slots);
    kvp_put_u32(header + 22, record->keys);
    kvp_put_u32(header + 26, record->free);
    (void)kvp_buf_append(out, header, sizeof(header)); /* reserved above */
    return kvp_buf_append(out, record->name.data, record->name.size);
}

kvp_status lease_record_decode(kvp_slice raw, struct lease_record *record)
{
    const uint8_t *bytes = raw.data;
    if (raw.size < RECORD_HEADER_SIZE || bytes[0] > KIND_OF_ONE || bytes[1] > FLAG_ENDS ||
        raw.size - RECORD_HEADER_SIZE > KVP_KEY_SIZE_MAX) {
        return KVP_CORRUPT;
    }
    *record = (struct lease_record){
        .of_one = bytes[0] == KIND_OF_ONE,
        .ends = bytes[1] == FLAG_ENDS,
        .ttl_ms = kvp_get_u64(bytes + 2),
        .deadline_us = kvp_get_u64(bytes + 10),
        .slots = kvp_get_u32(bytes + 18),
        .keys = kvp_get_u32(bytes + 22),
        .free = kvp_get_u32(bytes + 26),
        .name = kvp_slice_of(bytes + RECORD_HEADER_SIZE, raw.size - RECORD_HEADER_SIZE),
    };
    bool sound = record->ttl_ms > 0 && record->ttl_ms <= KVP_TTL_MAX_MS &&
                 record->keys <= record->slots && record->slots <= KVP_LEASE_KEYS_MAX &&
                 (record->free < record->slots || record->free == LEASE_NO_SLOT) &&
                 (!record->of_one || record->name.size > 0);
    return sound ? KVP_OK : KVP_CORRUPT;
}

kvp_status lease_slot_encode(const struct lease_slot *slot, kvp_buf *out)
{
    uint8_t bytes[5] = {slot->key.size > 0 ? SLOT_HAS_KEY : SLOT_IS_FREE};
    if (slot->key.size == 0) {
        kvp_put_u32(bytes + 1, slot->next);
        return kvp_buf_append(out, bytes, sizeof(bytes));
    }
    kvp_status status = kvp_buf_append(out, bytes, 1);
    return status == KVP_OK ? kvp_buf_append(out, slot->key.data, slot->key.size) : status;
}

kvp_status lease_slot_decode(kvp_slice raw, struct lease_slot *slot)
{
    const uint8_t *bytes = raw.data;
    *slot = (struct lease_slot){.next = LEASE_NO_SLOT};
    if (raw.size == 5 && bytes[0] == SLOT_IS_FREE) {
        slot->next = kvp_get_u32(bytes + 1);
        return KVP_OK;
    }
    if (raw.size < 2 || raw.size > KVP_KEY_SIZE_MAX + 1u || bytes[0] != SLOT_HAS_KEY) {
        return KVP_CORRUPT;
    }
    slot->key = kvp_slice_of(bytes + 1, raw.size - 1);
    return KVP_OK;
}
