/* SPDX-License-Identifier: Apache-2.0 */
/* Raw keys and stored values to bytes and back. Decoders trust nothing that they read. */
#include "kvstore/keyspace.h"

#include <assert.h>

enum {
    SESSION_KEY_SIZE = 11,
    SESSION_HEADER_SIZE = 17,
    RECORD_LEASED = 1, /* flag of a data record */
};

bool kvp_raw_key_is_state(kvp_slice raw)
{
    if (raw.size == 0 || raw.size > KVP_RAW_KEY_SIZE_MAX) {
        return false;
    }
    uint8_t prefix = *(const uint8_t *)raw.data;
    return (prefix >= 'D' && prefix <= 'K') || (prefix >= 'N' && prefix <= 'Z');
}

void kvp_raw_key_data(struct kvp_raw_key *raw, kvp_slice key)
{
    assert(key.size <= KVP_KEY_SIZE_MAX);
    raw->data[0] = KVP_PREFIX_DATA;
    if (key.size > 0) {
        memcpy(raw->data + 1, key.data, key.size);
    }
    raw->size = key.size + 1;
}

void kvp_raw_key_session(struct kvp_raw_key *raw, uint64_t client, uint16_t slot)
{
    raw->data[0] = KVP_PREFIX_SESSION;
    kvp_put_be64(raw->data + 1, client);
    raw->data[9] = (uint8_t)(slot >> 8);
    raw->data[10] = (uint8_t)slot;
    raw->size = SESSION_KEY_SIZE;
}

void kvp_raw_key_floor(struct kvp_raw_key *raw)
{
    raw->data[0] = KVP_PREFIX_FLOOR;
    raw->size = 1;
}

void kvp_raw_key_rights(struct kvp_raw_key *raw)
{
    raw->data[0] = KVP_PREFIX_RIGHTS;
    raw->size = 1;
}

void kvp_raw_key_members(struct kvp_raw_key *raw)
{
    raw->data[0] = KVP_PREFIX_MEMBERS;
    raw->size = 1;
}

void kvp_raw_key_age(struct kvp_raw_key *raw)
{
    raw->data[0] = KVP_PREFIX_FLOOR;
    raw->data[1] = 'a';
    raw->size = 2;
}

kvp_status kvp_record_encode(const struct kvp_record *record, kvp_buf *out)
{
    uint8_t header[KVP_RECORD_LEASED_SIZE] = {0};
    size_t size = record->lease != 0 ? KVP_RECORD_LEASED_SIZE : KVP_RECORD_HEADER_SIZE;
    kvp_status status = kvp_buf_reserve(out, size + record->value.size);
    if (status != KVP_OK) {
        return status;
    }
    header[0] = record->lease != 0 ? RECORD_LEASED : 0;
    kvp_put_u64(header + 1, record->create_revision);
    kvp_put_u64(header + 9, record->modify_revision);
    kvp_put_u64(header + 17, record->lease);
    kvp_put_u32(header + 25, record->slot);
    (void)kvp_buf_append(out, header, size); /* reserved above */
    return kvp_buf_append(out, record->value.data, record->value.size);
}

kvp_status kvp_record_decode(kvp_slice raw, struct kvp_record *record)
{
    const uint8_t *bytes = raw.data;
    size_t size = KVP_RECORD_HEADER_SIZE;
    if (raw.size < size || bytes[0] > RECORD_LEASED) {
        return KVP_CORRUPT;
    }
    record->create_revision = kvp_get_u64(bytes + 1);
    record->modify_revision = kvp_get_u64(bytes + 9);
    record->lease = 0;
    record->slot = 0;
    if (bytes[0] == RECORD_LEASED) {
        size = KVP_RECORD_LEASED_SIZE;
        if (raw.size < size || kvp_get_u64(bytes + 17) == 0) {
            return KVP_CORRUPT;
        }
        record->lease = kvp_get_u64(bytes + 17);
        record->slot = kvp_get_u32(bytes + 25);
    }
    record->value = kvp_slice_of(bytes + size, raw.size - size);
    return KVP_OK;
}

kvp_status kvp_session_encode(const struct kvp_session_record *record, kvp_buf *out)
{
    uint8_t header[SESSION_HEADER_SIZE];
    kvp_status status = kvp_buf_reserve(out, sizeof(header) + record->answer.size);
    if (status != KVP_OK) {
        return status;
    }
    kvp_put_u64(header, record->number);
    kvp_put_u64(header + 8, record->seq);
    header[16] = record->code;
    (void)kvp_buf_append(out, header, sizeof(header)); /* reserved above */
    return kvp_buf_append(out, record->answer.data, record->answer.size);
}

kvp_status kvp_session_decode(kvp_slice raw, struct kvp_session_record *record)
{
    const uint8_t *bytes = raw.data;
    if (raw.size < SESSION_HEADER_SIZE) {
        return KVP_CORRUPT;
    }
    record->number = kvp_get_u64(bytes);
    record->seq = kvp_get_u64(bytes + 8);
    record->code = bytes[16];
    record->answer = kvp_slice_of(bytes + SESSION_HEADER_SIZE, raw.size - SESSION_HEADER_SIZE);
    return KVP_OK;
}

kvp_status kvp_session_key_decode(kvp_slice raw, uint64_t *client, uint16_t *slot)
{
    const uint8_t *bytes = raw.data;
    if (raw.size != SESSION_KEY_SIZE || bytes[0] != KVP_PREFIX_SESSION) {
        return KVP_CORRUPT;
    }
    *client = kvp_get_be64(bytes + 1);
    *slot = (uint16_t)((unsigned)bytes[9] << 8 | bytes[10]);
    return KVP_OK;
}
