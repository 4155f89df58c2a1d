/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Client requests. Every operation has a codec: how its args are read, written and checked. Both
 * directions go through the same checks: whatever can be encoded can be decoded.
 */
#include "kvpair/job_spec.h"
#include "replication/wire/wire.h"
#include "replication/wire/wire_parts.h"

/* ---- limits ---- */

/* What may be said in any args. */
static kvp_status args_check_any(const struct kvp_request *request, const char **reason)
{
    (void)request;
    (void)reason;
    return KVP_OK;
}

static kvp_status args_check_key_only(const struct kvp_request *request, const char **reason)
{
    return kvp_wire_check_key(request->key, reason);
}

static kvp_status args_check_value_only(const struct kvp_request *request, const char **reason)
{
    return kvp_wire_check_value(request->value, reason);
}

static kvp_status args_check_key_value(const struct kvp_request *request, const char **reason)
{
    uint64_t total = 0;
    return kvp_wire_check_pair(request->key, request->value, &total, reason);
}

/* A key and its value that end by themselves, or do not. */
static kvp_status args_check_put(const struct kvp_request *request, const char **reason)
{
    kvp_status status = kvp_wire_check_hold(request->ttl_ms, request->lease, reason);
    return status == KVP_OK ? args_check_key_value(request, reason) : status;
}

static kvp_status args_check_ttl(const struct kvp_request *request, const char **reason)
{
    return request->ttl_ms == 0
               ? kvp_wire_refuse(KVP_BAD_REQUEST, "a lease has a time to live", reason)
               : kvp_wire_check_hold(request->ttl_ms, 0, reason);
}

static kvp_status args_check_lease(const struct kvp_request *request, const char **reason)
{
    return request->lease == 0 ? kvp_wire_refuse(KVP_BAD_REQUEST, "no lease has number 0", reason)
                               : KVP_OK;
}

static kvp_status args_check_lease_show(const struct kvp_request *request, const char **reason)
{
    if ((request->lease == 0) == (request->key.size == 0)) {
        return kvp_wire_refuse(KVP_BAD_REQUEST, "either a lease or a key is to be named", reason);
    }
    return request->key.size > 0 ? kvp_wire_check_key(request->key, reason) : KVP_OK;
}

/* An array of str; what they say is looked at where it is executed. */
static kvp_status args_check_access(const struct kvp_request *request, const char **reason)
{
    struct kvp_mp_reader reader;
    kvp_mp_begin(&reader, request->value);
    uint32_t count = request->value.size > 0 ? kvp_mp_array(&reader) : 0;
    for (uint32_t i = 0; i < count && !reader.failed; i++) {
        (void)kvp_mp_str(&reader);
    }
    if (!kvp_mp_done(&reader)) {
        return kvp_wire_refuse(KVP_BAD_REQUEST, "rights are an array of str", reason);
    }
    return args_check_key_value(request, reason);
}

static kvp_status args_check_member(const struct kvp_request *request, const char **reason)
{
    return request->key.size <= KVP_URL_SIZE_MAX
               ? KVP_OK
               : kvp_wire_refuse(KVP_TOO_LARGE, "an address is at most 256 bytes long", reason);
}

static kvp_status args_check_scan(const struct kvp_request *request, const char **reason)
{
    if (request->key.size > KVP_KEY_SIZE_MAX || request->value.size > KVP_KEY_SIZE_MAX) {
        return kvp_wire_refuse(KVP_TOO_LARGE, "start or end is longer than 1024 bytes", reason);
    }
    return KVP_OK;
}

static kvp_status args_check_worker(const struct kvp_request *request, const char **reason)
{
    if (request->key.size == 0) {
        return kvp_wire_refuse(KVP_BAD_REQUEST, "the worker's name must not be empty", reason);
    }
    if (request->key.size > KVP_NAME_SIZE_MAX) {
        return kvp_wire_refuse(KVP_TOO_LARGE, "the worker's name is longer than 64 bytes", reason);
    }
    return kvp_wire_check_value(request->value, reason);
}

static kvp_status args_check_tasks(const struct kvp_request *request, const char **reason)
{
    if (request->value.size > KVP_JOB_TASKS_SIZE_MAX) {
        return kvp_wire_refuse(KVP_TOO_LARGE, "the list of tasks is longer than 4 MiB", reason);
    }
    return KVP_OK;
}

static kvp_status args_check_target(const struct kvp_request *request, const char **reason)
{
    if (request->target > KVP_NODE_ID_MAX) {
        return kvp_wire_refuse(KVP_BAD_REQUEST, "node ids are 1 to 63", reason);
    }
    return KVP_OK;
}

/* ---- args, there and back ---- */

/* An array, as it is: who executes the request looks into it. */
static kvp_slice args_take_array(struct kvp_mp_reader *reader)
{
    if (kvp_mp_peek(reader) != KVP_MP_ARRAY) {
        kvp_mp_fail(reader);
    }
    return kvp_mp_skip(reader);
}

static void args_write_array(struct kvp_mp_writer *writer, kvp_slice array)
{
    if (array.size == 0) {
        kvp_mp_write_array(writer, 0);
    } else {
        kvp_mp_write_raw(writer, array);
    }
}

static uint32_t args_take_u32(struct kvp_mp_reader *reader)
{
    return (uint32_t)kvp_mp_uint_max(reader, UINT32_MAX);
}

static void args_take_none(struct kvp_mp_reader *reader, struct kvp_request *request)
{
    (void)reader;
    (void)request;
}

static void args_write_none(struct kvp_mp_writer *writer, const struct kvp_request *request)
{
    (void)writer;
    (void)request;
}

static void args_take_get(struct kvp_mp_reader *reader, struct kvp_request *request)
{
    request->key = kvp_mp_bin(reader);
    request->stale = kvp_mp_bool(reader);
}

static void args_write_get(struct kvp_mp_writer *writer, const struct kvp_request *request)
{
    kvp_mp_write_bin(writer, request->key);
    kvp_mp_write_bool(writer, request->stale);
}

static void args_take_put(struct kvp_mp_reader *reader, struct kvp_request *request)
{
    request->key = kvp_mp_bin(reader);
    request->value = kvp_mp_bin(reader);
}

static void args_write_put(struct kvp_mp_writer *writer, const struct kvp_request *request)
{
    kvp_mp_write_bin(writer, request->key);
    kvp_mp_write_bin(writer, request->value);
}

static void args_take_delete(struct kvp_mp_reader *reader, struct kvp_request *request)
{
    request->key = kvp_mp_bin(reader);
    request->version = kvp_mp_uint(reader);
}

static void args_write_delete(struct kvp_mp_writer *writer, const struct kvp_request *request)
{
    kvp_mp_write_bin(writer, request->key);
    kvp_mp_write_uint(writer, request->version);
}

static void args_take_cas(struct kvp_mp_reader *reader, struct kvp_request *request)
{
    request->key = kvp_mp_bin(reader);
    request->version = kvp_mp_uint(reader);
    request->value = kvp_mp_bin(reader);
}

static void args_write_cas(struct kvp_mp_writer *writer, const struct kvp_request *request)
{
    kvp_mp_write_bin(writer, request->key);
    kvp_mp_write_uint(writer, request->version);
    kvp_mp_write_bin(writer, request->value);
}

static void args_take_scan(struct kvp_mp_reader *reader, struct kvp_request *request)
{
    request->key = kvp_mp_bin(reader);
    request->value = kvp_mp_bin(reader);
    request->count_max = args_take_u32(reader);
    request->size_max = args_take_u32(reader);
    request->cursor = kvp_mp_uint(reader);
    request->keys_only = kvp_mp_bool(reader);
    request->stale = kvp_mp_bool(reader);
}

static void args_write_scan(struct kvp_mp_writer *writer, const struct kvp_request *request)
{
    kvp_mp_write_bin(writer, request->key);
    kvp_mp_write_bin(writer, request->value);
    kvp_mp_write_uint(writer, request->count_max);
    kvp_mp_write_uint(writer, request->size_max);
    kvp_mp_write_uint(writer, request->cursor);
    kvp_mp_write_bool(writer, request->keys_only);
    kvp_mp_write_bool(writer, request->stale);
}

static void args_take_watch(struct kvp_mp_reader *reader, struct kvp_request *request)
{
    request->key = kvp_mp_bin(reader);
    request->value = kvp_mp_bin(reader);
    request->version = kvp_mp_uint(reader);
    request->count_max = args_take_u32(reader);
    request->size_max = args_take_u32(reader);
    request->wait_ms = args_take_u32(reader);
    request->keys_only = kvp_mp_bool(reader);
    request->stale = kvp_mp_bool(reader);
}

static void args_write_watch(struct kvp_mp_writer *writer, const struct kvp_request *request)
{
    kvp_mp_write_bin(writer, request->key);
    kvp_mp_write_bin(writer, request->value);
    kvp_mp_write_uint(writer, request->version);
    kvp_mp_write_uint(writer, request->count_max);
    kvp_mp_write_uint(writer, request->size_max);
    kvp_mp_write_uint(writer, request->wait_ms);
    kvp_mp_write_bool(writer, request->keys_only);
    kvp_mp_write_bool(writer, request->stale);
}

static void args_take_target(struct kvp_mp_reader *reader, struct kvp_request *request)
{
    request->target = kvp_wire_clamp(kvp_mp_uint(reader));
}

static void args_write_target(struct kvp_mp_writer *writer, const struct kvp_request *request)
{
    kvp_mp_write_uint(writer, request->target);
}

static void args_take_force(struct kvp_mp_reader *reader, struct kvp_request *request)
{
    request->force = kvp_mp_bool(reader);
}

static void args_write_force(struct kvp_mp_writer *writer, const struct kvp_request *request)
{
    kvp_mp_write_bool(writer, request->force);
}

static void args_take_cursor(struct kvp_mp_reader *reader, struct kvp_request *request)
{
    request->cursor = kvp_mp_uint(reader);
}

static void args_write_cursor(struct kvp_mp_writer *writer, const struct kvp_request *request)
{
    kvp_mp_write_uint(writer, request->cursor);
}

static void args_take_backup(struct kvp_mp_reader *reader, struct kvp_request *request)
{
    request->cursor = kvp_mp_uint(reader);
    request->size_max = args_take_u32(reader);
    request->version = kvp_mp_uint(reader);
    request->target = (unsigned)kvp_mp_uint_max(reader, KVP_BACKUP_GIVEN_UP);
}

static void args_write_backup(struct kvp_mp_writer *writer, const struct kvp_request *request)
{
    kvp_mp_write_uint(writer, request->cursor);
    kvp_mp_write_uint(writer, request->size_max);
    kvp_mp_write_uint(writer, request->version);
    kvp_mp_write_uint(writer, request->target);
}

static void args_take_access(struct kvp_mp_reader *reader, struct kvp_request *request)
{
    request->key = kvp_mp_str(reader);
    request->force = kvp_mp_bool(reader);
    request->value = args_take_array(reader);
}

static void args_write_access(struct kvp_mp_writer *writer, const struct kvp_request *request)
{
    kvp_mp_write_str(writer, request->key);
    kvp_mp_write_bool(writer, request->force);
    args_write_array(writer, request->value);
}

static void args_take_member(struct kvp_mp_reader *reader, struct kvp_request *request)
{
    request->member.what = args_take_u32(reader);
    request->member.id = args_take_u32(reader);
    request->member.new_id = args_take_u32(reader);
    request->member.kind = args_take_u32(reader);
    request->key = kvp_mp_str(reader);
}

static void args_write_member(struct kvp_mp_writer *writer, const struct kvp_request *request)
{
    kvp_mp_write_uint(writer, request->member.what);
    kvp_mp_write_uint(writer, request->member.id);
    kvp_mp_write_uint(writer, request->member.new_id);
    kvp_mp_write_uint(writer, request->member.kind);
    kvp_mp_write_str(writer, request->key);
}

static void args_take_specification(struct kvp_mp_reader *reader, struct kvp_request *request)
{
    request->value = args_take_array(reader);
}

static void args_write_specification(struct kvp_mp_writer *writer,
                                     const struct kvp_request *request)
{
    args_write_array(writer, request->value);
}

static void args_take_job(struct kvp_mp_reader *reader, struct kvp_request *request)
{
    request->job.job = kvp_mp_uint(reader);
}

static void args_write_job(struct kvp_mp_writer *writer, const struct kvp_request *request)
{
    kvp_mp_write_uint(writer, request->job.job);
}

static void args_take_job_number(struct kvp_mp_reader *reader, struct kvp_request *request)
{
    request->job.job = kvp_mp_uint(reader);
    request->job.number = kvp_mp_uint(reader);
}

static void args_write_job_number(struct kvp_mp_writer *writer, const struct kvp_request *request)
{
    kvp_mp_write_uint(writer, request->job.job);
    kvp_mp_write_uint(writer, request->job.number);
}

static void args_take_job_data(struct kvp_mp_reader *reader, struct kvp_request *request)
{
    request->job.job = kvp_mp_uint(reader);
    request->job.number = kvp_mp_uint(reader);
    request->value = kvp_mp_bin(reader);
}

static void args_write_job_data(struct kvp_mp_writer *writer, const struct kvp_request *request)
{
    kvp_mp_write_uint(writer, request->job.job);
    kvp_mp_write_uint(writer, request->job.number);
    kvp_mp_write_bin(writer, request->value);
}

static void args_take_job_tasks(struct kvp_mp_reader *reader, struct kvp_request *request)
{
    request->job.job = kvp_mp_uint(reader);
    request->job.number = kvp_mp_uint(reader);
    request->value = args_take_array(reader);
}

static void args_write_job_tasks(struct kvp_mp_writer *writer, const struct kvp_request *request)
{
    kvp_mp_write_uint(writer, request->job.job);
    kvp_mp_write_uint(writer, request->job.number);
    args_write_array(writer, request->value);
}

static void args_take_job_info(struct kvp_mp_reader *reader, struct kvp_request *request)
{
    request->job.what = args_take_u32(reader);
    request->job.job = kvp_mp_uint(reader);
    request->job.number = kvp_mp_uint(reader);
}

static void args_write_job_info(struct kvp_mp_writer *writer, const struct kvp_request *request)
{
    kvp_mp_write_uint(writer, request->job.what);
    kvp_mp_write_uint(writer, request->job.job);
    kvp_mp_write_uint(writer, request->job.number);
}

static void args_take_join(struct kvp_mp_reader *reader, struct kvp_request *request)
{
    request->key = kvp_mp_str(reader);
    request->value = args_take_array(reader);
    request->job.buffer = kvp_mp_uint(reader);
    request->job.standby = kvp_mp_bool(reader);
}

static void args_write_join(struct kvp_mp_writer *writer, const struct kvp_request *request)
{
    kvp_mp_write_str(writer, request->key);
    args_write_array(writer, request->value);
    kvp_mp_write_uint(writer, request->job.buffer);
    kvp_mp_write_bool(writer, request->job.standby);
}

static void args_take_worker(struct kvp_mp_reader *reader, struct kvp_request *request)
{
    request->key = kvp_mp_str(reader);
    request->job.instance = kvp_mp_uint(reader);
}

static void args_write_worker(struct kvp_mp_writer *writer, const struct kvp_request *request)
{
    kvp_mp_write_str(writer, request->key);
    kvp_mp_write_uint(writer, request->job.instance);
}

static void args_take_fetch(struct kvp_mp_reader *reader, struct kvp_request *request)
{
    args_take_worker(reader, request);
    request->job.slot = (uint32_t)kvp_mp_uint_max(reader, UINT32_MAX - 1);
    request->job.number = kvp_mp_uint(reader);
    request->job.wait_ms = args_take_u32(reader);
}

static void args_write_fetch(struct kvp_mp_writer *writer, const struct kvp_request *request)
{
    args_write_worker(writer, request);
    kvp_mp_write_uint(writer, request->job.slot);
    kvp_mp_write_uint(writer, request->job.number);
    kvp_mp_write_uint(writer, request->job.wait_ms);
}

static void args_take_attempt(struct kvp_mp_reader *reader, struct kvp_request *request)
{
    args_take_worker(reader, request);
    request->job.job = kvp_mp_uint(reader);
    request->job.task = args_take_u32(reader);
    request->job.attempt = kvp_mp_uint(reader);
}

static void args_write_attempt(struct kvp_mp_writer *writer, const struct kvp_request *request)
{
    args_write_worker(writer, request);
    kvp_mp_write_uint(writer, request->job.job);
    kvp_mp_write_uint(writer, request->job.task);
    kvp_mp_write_uint(writer, request->job.attempt);
}

static void args_take_beat(struct kvp_mp_reader *reader, struct kvp_request *request)
{
    args_take_attempt(reader, request);
    request->job.progress = args_take_u32(reader);
    request->job.has_checkpoint = kvp_mp_peek(reader) != KVP_MP_NIL;
    if (request->job.has_checkpoint) {
        request->value = kvp_mp_bin(reader);
    } else {
        kvp_mp_nil(reader);
    }
}

static void args_write_beat(struct kvp_mp_writer *writer, const struct kvp_request *request)
{
    args_write_attempt(writer, request);
    kvp_mp_write_uint(writer, request->job.progress);
    if (request->job.has_checkpoint) {
        kvp_mp_write_bin(writer, request->value);
    } else {
        kvp_mp_write_nil(writer);
    }
}

static void args_take_post(struct kvp_mp_reader *reader, struct kvp_request *request)
{
    args_take_attempt(reader, request);
    request->job.outcome = args_take_u32(reader);
    request->job.crc = args_take_u32(reader);
    request->value = kvp_mp_bin(reader);
}

static void args_write_post(struct kvp_mp_writer *writer, const struct kvp_request *request)
{
    args_write_attempt(writer, request);
    kvp_mp_write_uint(writer, request->job.outcome);
    kvp_mp_write_uint(writer, request->job.crc);
    kvp_mp_write_bin(writer, request->value);
}

static void args_take_job_retry(struct kvp_mp_reader *reader, struct kvp_request *request)
{
    request->job.job = kvp_mp_uint(reader);
    request->job.number = kvp_mp_uint(reader);
    request->count_max = args_take_u32(reader);
}

static void args_write_job_retry(struct kvp_mp_writer *writer, const struct kvp_request *request)
{
    kvp_mp_write_uint(writer, request->job.job);
    kvp_mp_write_uint(writer, request->job.number);
    kvp_mp_write_uint(writer, request->count_max);
}

static void args_take_job_set(struct kvp_mp_reader *reader, struct kvp_request *request)
{
    request->job.job = kvp_mp_uint(reader);
    request->job.what = args_take_u32(reader);
    request->job.number = kvp_mp_uint(reader);
}

static void args_write_job_set(struct kvp_mp_writer *writer, const struct kvp_request *request)
{
    kvp_mp_write_uint(writer, request->job.job);
    kvp_mp_write_uint(writer, request->job.what);
    kvp_mp_write_uint(writer, request->job.number);
}

static void args_take_worker_set(struct kvp_mp_reader *reader, struct kvp_request *request)
{
    request->key = kvp_mp_str(reader);
    request->job.what = args_take_u32(reader);
    request->job.number = kvp_mp_uint(reader);
}

static void args_write_worker_set(struct kvp_mp_writer *writer, const struct kvp_request *request)
{
    kvp_mp_write_str(writer, request->key);
    kvp_mp_write_uint(writer, request->job.what);
    kvp_mp_write_uint(writer, request->job.number);
}

static void args_take_ttl(struct kvp_mp_reader *reader, struct kvp_request *request)
{
    request->ttl_ms = kvp_mp_uint(reader);
}

static void args_write_ttl(struct kvp_mp_writer *writer, const struct kvp_request *request)
{
    kvp_mp_write_uint(writer, request->ttl_ms);
}

static void args_take_lease(struct kvp_mp_reader *reader, struct kvp_request *request)
{
    request->lease = kvp_mp_uint(reader);
}

static void args_write_lease(struct kvp_mp_writer *writer, const struct kvp_request *request)
{
    kvp_mp_write_uint(writer, request->lease);
}

static void args_take_lease_show(struct kvp_mp_reader *reader, struct kvp_request *request)
{
    request->lease = kvp_mp_uint(reader);
    request->key = kvp_mp_bin(reader);
}

static void args_write_lease_show(struct kvp_mp_writer *writer, const struct kvp_request *request)
{
    kvp_mp_write_uint(writer, request->lease);
    kvp_mp_write_bin(writer, request->key);
}

struct request_codec {
    void (*take)(struct kvp_mp_reader *reader, struct kvp_request *request);
    void (*write)(struct kvp_mp_writer *writer, const struct kvp_request *request);
    kvp_status (*check)(const struct kvp_request *request, const char **reason);
};

static const struct request_codec codecs[KVP_OP_CLIENT_END] = {
    [KVP_OP_HELLO] = {args_take_none, args_write_none, args_check_any},
    [KVP_OP_GET] = {args_take_get, args_write_get, args_check_key_only},
    [KVP_OP_PUT] = {args_take_put, args_write_put, args_check_put},
    [KVP_OP_CREATE] = {args_take_put, args_write_put, args_check_put},
    [KVP_OP_DELETE] = {args_take_delete, args_write_delete, args_check_key_only},
    [KVP_OP_CAS] = {args_take_cas, args_write_cas, args_check_put},
    [KVP_OP_SCAN] = {args_take_scan, args_write_scan, args_check_scan}, /* backwards: one more */
    [KVP_OP_WATCH] = {args_take_watch, args_write_watch, args_check_scan},
    [KVP_OP_TXN] = {NULL, kvp_wire_write_txn, kvp_wire_check_txn}, /* taken into a scratch */
    [KVP_OP_STATUS] = {args_take_none, args_write_none, args_check_any},
    [KVP_OP_HANDOVER] = {args_take_target, args_write_target, args_check_target},
    [KVP_OP_PROMOTE] = {args_take_force, args_write_force, args_check_any},
    [KVP_OP_CLOSE_SCAN] = {args_take_cursor, args_write_cursor, args_check_any},
    [KVP_OP_ACCESS_CHANGE] = {args_take_access, args_write_access, args_check_access},
    [KVP_OP_ACCESS_LIST] = {args_take_none, args_write_none, args_check_any},
    [KVP_OP_BACKUP] = {args_take_backup, args_write_backup, args_check_any},
    [KVP_OP_JOB_NEW] = {args_take_specification, args_write_specification, args_check_value_only},
    [KVP_OP_JOB_DATA] = {args_take_job_data, args_write_job_data, args_check_value_only},
    [KVP_OP_JOB_TASKS] = {args_take_job_tasks, args_write_job_tasks, args_check_tasks},
    [KVP_OP_JOB_START] = {args_take_job, args_write_job, args_check_any},
    [KVP_OP_JOB_CANCEL] = {args_take_job, args_write_job, args_check_any},
    [KVP_OP_JOB_INFO] = {args_take_job_info, args_write_job_info, args_check_any},
    [KVP_OP_JOB_RESULT] = {args_take_job_number, args_write_job_number, args_check_any},
    [KVP_OP_JOB_BLOCK] = {args_take_job_number, args_write_job_number, args_check_any},
    [KVP_OP_WORKER_JOIN] = {args_take_join, args_write_join, args_check_worker},
    [KVP_OP_WORKER_LEAVE] = {args_take_worker, args_write_worker, args_check_worker},
    [KVP_OP_TASK_FETCH] = {args_take_fetch, args_write_fetch, args_check_worker},
    [KVP_OP_TASK_BEAT] = {args_take_beat, args_write_beat, args_check_worker},
    [KVP_OP_TASK_POST] = {args_take_post, args_write_post, args_check_worker},
    [KVP_OP_JOB_REMOVE] = {args_take_job, args_write_job, args_check_any},
    [KVP_OP_JOB_RETRY] = {args_take_job_retry, args_write_job_retry, args_check_any},
    [KVP_OP_JOB_SET] = {args_take_job_set, args_write_job_set, args_check_any},
    [KVP_OP_WORKER_SET] = {args_take_worker_set, args_write_worker_set, args_check_worker},
    [KVP_OP_MEMBER_CHANGE] = {args_take_member, args_write_member, args_check_member},
    [KVP_OP_LEASE_GRANT] = {args_take_ttl, args_write_ttl, args_check_ttl},
    [KVP_OP_LEASE_KEEP] = {args_take_lease, args_write_lease, args_check_lease},
    [KVP_OP_LEASE_REVOKE] = {args_take_lease, args_write_lease, args_check_lease},
    [KVP_OP_LEASE_LIST] = {args_take_lease, args_write_lease, args_check_any},
    [KVP_OP_LEASE_SHOW] = {args_take_lease_show, args_write_lease_show, args_check_lease_show},
};

/* ---- whole requests ---- */

/* Args that came later: a node of before refuses a request that has them. SCAN: backwards. PUT,
 * CREATE, CAS: how the key ends by itself. */
static void request_take_more(struct kvp_mp_reader *reader, uint32_t count,
                              struct kvp_request *request)
{
    if (request->op == KVP_OP_SCAN) {
        request->backwards = kvp_mp_bool(reader);
        return;
    }
    if (count == 2) {
        request->ttl_ms = kvp_mp_uint(reader);
        request->lease = kvp_mp_uint(reader);
    }
    if (request->ttl_ms == 0 && request->lease == 0) {
        kvp_mp_fail(reader); /* then they are not there */
    }
}

static uint32_t request_count_more(const struct kvp_request *request)
{
    switch (request->op) {
    case KVP_OP_SCAN:
        return request->backwards ? 1 : 0;
    case KVP_OP_PUT:
    case KVP_OP_CREATE:
    case KVP_OP_CAS:
        return request->ttl_ms != 0 || request->lease != 0 ? 2 : 0;
    default:
        return 0;
    }
}

static void request_write_more(struct kvp_mp_writer *writer, const struct kvp_request *request)
{
    if (request_count_more(request) == 0) {
        return;
    }
    if (request->op == KVP_OP_SCAN) {
        kvp_mp_write_bool(writer, true);
        return;
    }
    kvp_mp_write_uint(writer, request->ttl_ms);
    kvp_mp_write_uint(writer, request->lease);
}

static kvp_status request_check(const struct kvp_request *request,
                                const struct kvp_operation *operation, const char **reason)
{
    kvp_status status = kvp_wire_check_group(request->group, reason);
    if (status != KVP_OK) {
        return status;
    }
    const struct kvp_session_id *session = &request->session;
    if (operation->is_update && session->client != 0 && session->number == 0) {
        return kvp_wire_refuse(KVP_BAD_REQUEST, "request numbers of a session begin at 1", reason);
    }
    return codecs[request->op].check(request, reason);
}

kvp_status kvp_wire_request_decode(kvp_slice message, struct kvp_txn_scratch *scratch,
                                   struct kvp_request *request, const char **reason)
{
    struct kvp_mp_reader reader;
    struct kvp_request decoded = {0};
    uint32_t count = 0;
    *reason = "";
    kvp_status status = kvp_wire_open(message, &reader, &decoded.op, &count, reason);
    if (status != KVP_OK) {
        return status;
    }
    const struct kvp_operation *operation = kvp_operation_by(decoded.op, KVP_BY_CLIENT);
    if (operation == NULL) {
        return kvp_wire_refuse(KVP_BAD_OP,
                               KVP_OP_IS_WITNESS(decoded.op) ? "this is a node, no witness"
                                                             : "unknown operation",
                               reason);
    }
    if (!kvp_operation_takes(operation, count - KVP_WIRE_REQUEST_HEAD)) {
        return kvp_wire_refuse(KVP_BAD_REQUEST, "wrong number of elements for the operation",
                               reason);
    }
    uint32_t more = count - KVP_WIRE_REQUEST_HEAD - operation->args_min;
    decoded.group = kvp_mp_str(&reader);
    decoded.epoch_seen = kvp_mp_uint(&reader);
    decoded.session.client = kvp_mp_uint(&reader);
    decoded.session.slot = (uint16_t)kvp_mp_uint_max(&reader, UINT16_MAX);
    decoded.session.number = kvp_mp_uint(&reader);
    decoded.session.session_start = kvp_mp_uint(&reader);
    if (decoded.op == KVP_OP_TXN) {
        status = kvp_wire_take_txn(&reader, scratch, &decoded, reason);
    } else {
        codecs[decoded.op].take(&reader, &decoded);
        if (more > 0) {
            request_take_more(&reader, more, &decoded);
        }
    }
    if (reader.failed || status == KVP_OK) {
        status = kvp_wire_finish(&reader, reason);
    }
    if (status == KVP_OK) {
        status = request_check(&decoded, operation, reason);
    }
    if (status == KVP_OK) {
        *request = decoded;
    }
    return status;
}

kvp_status kvp_wire_request_encode(const struct kvp_request *request, kvp_buf *out)
{
    const struct kvp_operation *operation = kvp_operation_by(request->op, KVP_BY_CLIENT);
    if (operation == NULL) {
        return KVP_BAD_OP;
    }
    const char *reason;
    kvp_status status = request_check(request, operation, &reason);
    if (status != KVP_OK) {
        return status;
    }
    struct kvp_mp_writer writer;
    kvp_mp_write_begin(&writer, out);
    kvp_mp_write_array(&writer, KVP_WIRE_REQUEST_HEAD + (uint32_t)operation->args_min +
                                    request_count_more(request));
    kvp_mp_write_uint(&writer, KVP_WIRE_VERSION);
    kvp_mp_write_uint(&writer, request->op);
    kvp_mp_write_str(&writer, request->group);
    kvp_mp_write_uint(&writer, request->epoch_seen);
    kvp_mp_write_uint(&writer, request->session.client);
    kvp_mp_write_uint(&writer, request->session.slot);
    kvp_mp_write_uint(&writer, request->session.number);
    kvp_mp_write_uint(&writer, request->session.session_start);
    codecs[request->op].write(&writer, request);
    request_write_more(&writer, request);
    return kvp_mp_write_end_message(&writer);
}
