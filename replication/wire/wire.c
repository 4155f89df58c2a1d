/* SPDX-License-Identifier: Apache-2.0 */
/* The beginning of every message, the limits of what it carries, and answers. */
#include "replication/wire/wire.h"
#include "replication/wire/wire_parts.h"

#include <limits.h>

#define CODE_MAX 255 /* a session record keeps the code of an answer in one byte */

kvp_status kvp_wire_refuse(kvp_status status, const char *text, const char **reason)
{
    *reason = text;
    return status;
}

unsigned kvp_wire_clamp(uint64_t value)
{
    return value > UINT_MAX ? UINT_MAX : (unsigned)value;
}

kvp_status kvp_wire_peek(kvp_slice message, unsigned *version, unsigned *op)
{
    struct kvp_mp_reader reader;
    kvp_mp_begin(&reader, message);
    (void)kvp_mp_array_begun(&reader);
    uint64_t version_read = kvp_mp_uint(&reader);
    if (reader.failed) {
        return KVP_BAD_REQUEST;
    }
    uint64_t op_read = kvp_mp_uint(&reader);
    if (reader.failed && version_read == KVP_WIRE_VERSION) {
        return KVP_BAD_REQUEST;
    }
    *version = kvp_wire_clamp(version_read);
    *op = kvp_wire_clamp(op_read);
    return KVP_OK;
}

kvp_status kvp_wire_peek_sender(kvp_slice message, unsigned *node)
{
    struct kvp_mp_reader reader;
    kvp_mp_begin(&reader, message);
    (void)kvp_mp_array_begun(&reader);
    (void)kvp_mp_uint(&reader); /* version, operation, group, epoch */
    (void)kvp_mp_uint(&reader);
    (void)kvp_mp_str(&reader);
    (void)kvp_mp_uint(&reader);
    uint64_t read = kvp_mp_uint(&reader);
    if (reader.failed) {
        return KVP_BAD_REQUEST;
    }
    *node = kvp_wire_clamp(read);
    return KVP_OK;
}

kvp_status kvp_wire_open(kvp_slice message, struct kvp_mp_reader *reader, unsigned *op,
                         uint32_t *count, const char **reason)
{
    if (message.size > KVP_MESSAGE_SIZE_MAX) {
        return kvp_wire_refuse(KVP_TOO_LARGE, "the message is longer than 16 MiB", reason);
    }
    kvp_mp_begin(reader, message);
    *count = kvp_mp_array_begun(reader); /* of another version nothing more is known */
    if (reader->failed) {
        return kvp_wire_refuse(KVP_BAD_REQUEST, "the message is not a msgpack array", reason);
    }
    uint64_t version = kvp_mp_uint(reader);
    if (reader->failed) {
        return kvp_wire_refuse(KVP_BAD_REQUEST, "the version is not an unsigned integer", reason);
    }
    if (version != KVP_WIRE_VERSION) {
        return kvp_wire_refuse(KVP_BAD_VERSION, "unknown version of the protocol", reason);
    }
    *op = kvp_wire_clamp(kvp_mp_uint(reader));
    if (reader->failed) {
        return kvp_wire_refuse(KVP_BAD_REQUEST, "the operation is not an unsigned integer", reason);
    }
    return KVP_OK;
}

kvp_status kvp_wire_finish(const struct kvp_mp_reader *reader, const char **reason)
{
    if (reader->failed) {
        return kvp_wire_refuse(KVP_BAD_REQUEST,
                               "an element is missing, of the wrong type or out of range", reason);
    }
    if (!kvp_mp_done(reader)) {
        return kvp_wire_refuse(KVP_BAD_REQUEST, "bytes follow the end of the message", reason);
    }
    return KVP_OK;
}

/* ---- limits ---- */

kvp_status kvp_wire_check_group(kvp_slice group, const char **reason)
{
    if (group.size == 0) {
        return kvp_wire_refuse(KVP_BAD_REQUEST, "group name must not be empty", reason);
    }
    if (group.size > KVP_GROUP_NAME_MAX) {
        return kvp_wire_refuse(KVP_TOO_LARGE, "group name is longer than 64 bytes", reason);
    }
    return KVP_OK;
}

kvp_status kvp_wire_check_key(kvp_slice key, const char **reason)
{
    if (key.size == 0) {
        return kvp_wire_refuse(KVP_BAD_REQUEST, "key must not be empty", reason);
    }
    if (key.size > KVP_KEY_SIZE_MAX) {
        return kvp_wire_refuse(KVP_TOO_LARGE, "key is longer than 1024 bytes", reason);
    }
    return KVP_OK;
}

kvp_status kvp_wire_check_value(kvp_slice value, const char **reason)
{
    if (value.size > KVP_VALUE_SIZE_MAX) {
        return kvp_wire_refuse(KVP_TOO_LARGE, "value is longer than 1 MiB", reason);
    }
    return KVP_OK;
}

kvp_status kvp_wire_check_pair(kvp_slice key, kvp_slice value, uint64_t *total, const char **reason)
{
    kvp_status status = kvp_wire_check_key(key, reason);
    if (status == KVP_OK) {
        status = kvp_wire_check_value(value, reason);
    }
    *total += (uint64_t)key.size + value.size;
    return status;
}

kvp_status kvp_wire_check_hold(uint64_t ttl_ms, uint64_t lease, const char **reason)
{
    if (ttl_ms != 0 && lease != 0) {
        return kvp_wire_refuse(KVP_BAD_REQUEST,
                               "a key has a time to live of its own, or that of a lease", reason);
    }
    if (ttl_ms != 0 && (ttl_ms < KVP_TTL_MIN_MS || ttl_ms > KVP_TTL_MAX_MS)) {
        return kvp_wire_refuse(KVP_BAD_REQUEST, "a time to live is 100 ms to 10 years", reason);
    }
    return KVP_OK;
}

/* ---- answers ---- */

kvp_status kvp_wire_answer_encode(const struct kvp_answer *answer, kvp_buf *out)
{
    if (answer->status > 0 || answer->status < -CODE_MAX || answer->hint.size > KVP_URL_SIZE_MAX) {
        return KVP_BAD_ARGUMENT;
    }
    struct kvp_mp_writer writer;
    kvp_mp_write_begin(&writer, out);
    kvp_mp_write_array(&writer, KVP_WIRE_ANSWER_SIZE);
    kvp_mp_write_uint(&writer, KVP_WIRE_VERSION);
    kvp_mp_write_uint(&writer, (uint64_t)-answer->status);
    kvp_mp_write_uint(&writer, answer->epoch);
    kvp_mp_write_str(&writer, answer->hint);
    if (answer->result.size == 0) {
        kvp_mp_write_nil(&writer);
    } else {
        kvp_mp_write_raw(&writer, answer->result);
    }
    return kvp_mp_write_end_message(&writer);
}

kvp_status kvp_wire_answer_decode(kvp_slice message, struct kvp_answer *answer)
{
    struct kvp_mp_reader reader;
    struct kvp_answer decoded;
    kvp_mp_begin(&reader, message);
    uint32_t count = kvp_mp_array(&reader);
    uint64_t version = kvp_mp_uint(&reader);
    if (!reader.failed && version != KVP_WIRE_VERSION) {
        return KVP_BAD_VERSION;
    }
    decoded.status = -(int)kvp_mp_uint_max(&reader, CODE_MAX);
    decoded.epoch = kvp_mp_uint_max(&reader, KVP_WIRE_NUMBER_END - 1);
    decoded.hint = kvp_mp_str(&reader);
    decoded.result = kvp_mp_skip(&reader);
    if (count != KVP_WIRE_ANSWER_SIZE || !kvp_mp_done(&reader) ||
        decoded.hint.size > KVP_URL_SIZE_MAX) {
        return KVP_CORRUPT;
    }
    *answer = decoded;
    return KVP_OK;
}
