/* SPDX-License-Identifier: Apache-2.0 */
/* The results of operations on jobs and tasks. */
#include "replication/wire/wire.h"
#include "replication/wire/wire_parts.h"

#define GRANT_SIZE 9u

kvp_status kvp_wire_result_grant(kvp_buf *out, const struct kvp_task_grant *grant)
{
    struct kvp_mp_writer writer;
    kvp_mp_write_begin(&writer, out);
    kvp_mp_write_array(&writer, GRANT_SIZE);
    kvp_mp_write_uint(&writer, grant->job);
    kvp_mp_write_uint(&writer, grant->task);
    kvp_mp_write_uint(&writer, grant->attempt);
    kvp_mp_write_str(&writer, grant->kind);
    kvp_mp_write_uint(&writer, grant->beat_ms);
    kvp_mp_write_uint(&writer, grant->deadline_ms);
    kvp_mp_write_bin(&writer, grant->checkpoint);
    kvp_mp_write_bin(&writer, grant->payload);
    kvp_mp_write_uint(&writer, grant->crc);
    return kvp_mp_write_end(&writer);
}

kvp_status kvp_wire_read_grant(kvp_slice result, struct kvp_task_grant *grant)
{
    struct kvp_mp_reader reader;
    struct kvp_task_grant read;
    kvp_mp_begin(&reader, result);
    kvp_mp_array_of(&reader, GRANT_SIZE);
    read.job = kvp_mp_uint(&reader);
    read.task = (uint32_t)kvp_mp_uint_max(&reader, UINT32_MAX);
    read.attempt = kvp_mp_uint(&reader);
    read.kind = kvp_mp_str(&reader);
    read.beat_ms = (uint32_t)kvp_mp_uint_max(&reader, UINT32_MAX);
    read.deadline_ms = (uint32_t)kvp_mp_uint_max(&reader, UINT32_MAX);
    read.checkpoint = kvp_mp_bin(&reader);
    read.payload = kvp_mp_bin(&reader);
    read.crc = (uint32_t)kvp_mp_uint_max(&reader, UINT32_MAX);
    if (!kvp_mp_done(&reader)) {
        return KVP_CORRUPT;
    }
    *grant = read;
    return KVP_OK;
}

kvp_status kvp_wire_result_bin(kvp_buf *out, kvp_slice bytes)
{
    struct kvp_mp_writer writer;
    kvp_mp_write_begin(&writer, out);
    kvp_mp_write_bin(&writer, bytes);
    return kvp_mp_write_end(&writer);
}

kvp_status kvp_wire_read_bin(kvp_slice result, kvp_slice *bytes)
{
    struct kvp_mp_reader reader;
    kvp_mp_begin(&reader, result);
    kvp_slice read = kvp_mp_bin(&reader);
    if (!kvp_mp_done(&reader)) {
        return KVP_CORRUPT;
    }
    *bytes = read;
    return KVP_OK;
}

kvp_status kvp_wire_read_bool(kvp_slice result, bool *value)
{
    struct kvp_mp_reader reader;
    kvp_mp_begin(&reader, result);
    bool read = kvp_mp_bool(&reader);
    if (!kvp_mp_done(&reader)) {
        return KVP_CORRUPT;
    }
    *value = read;
    return KVP_OK;
}
