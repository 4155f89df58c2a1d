/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Client requests and answers. One function (check_request) knows the limits of a request, and both
 * directions go through it: whatever can be encoded can be decoded.
 */
#include "replication/wire/wire.h"
#include "kvpair/job_spec.h"
#include "replication/wire/wire_parts.h"

#include <assert.h>
#include <limits.h>

#define CODE_MAX 255 /* a session record keeps the code of an answer in one byte */

kvp_status kvp_wire_refuse(kvp_status status, const char *text, const char **reason)
{
    *reason = text;
    return status;
}

static unsigned clamp(uint64_t value)
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
    *version = clamp(version_read);
    *op = clamp(op_read);
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
    *op = clamp(kvp_mp_uint(reader));
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

/* Number of args of a client operation; negative: no such operation. */
static int arg_count(unsigned op)
{
    switch (op) {
    case KVP_OP_HELLO:
    case KVP_OP_STATUS:
        return 0;
    case KVP_OP_HANDOVER:
    case KVP_OP_PROMOTE:
    case KVP_OP_CLOSE_SCAN:
    case KVP_OP_JOB_NEW:
    case KVP_OP_JOB_START:
    case KVP_OP_JOB_CANCEL:
    case KVP_OP_JOB_REMOVE:
        return 1;
    case KVP_OP_JOB_RESULT:
    case KVP_OP_JOB_BLOCK:
    case KVP_OP_WORKER_LEAVE:
    case KVP_OP_GET:
    case KVP_OP_PUT:
    case KVP_OP_CREATE:
    case KVP_OP_DELETE:
        return 2;
    case KVP_OP_CAS:
    case KVP_OP_TXN:
    case KVP_OP_JOB_DATA:
    case KVP_OP_JOB_TASKS:
    case KVP_OP_JOB_INFO:
        return 3;
    case KVP_OP_WORKER_JOIN:
        return 4;
    case KVP_OP_TASK_FETCH:
        return 5;
    case KVP_OP_SCAN:
    case KVP_OP_TASK_BEAT:
        return 7;
    case KVP_OP_TASK_POST:
        return 8;
    default:
        return -1;
    }
}

bool kvp_wire_is_update(unsigned op)
{
    switch (op) {
    case KVP_OP_PUT:
    case KVP_OP_CREATE:
    case KVP_OP_DELETE:
    case KVP_OP_CAS:
    case KVP_OP_TXN:
    case KVP_OP_JOB_NEW:
    case KVP_OP_JOB_DATA:
    case KVP_OP_JOB_TASKS:
    case KVP_OP_JOB_START:
    case KVP_OP_JOB_CANCEL:
    case KVP_OP_JOB_REMOVE:
    case KVP_OP_WORKER_JOIN:
    case KVP_OP_WORKER_LEAVE:
    case KVP_OP_TASK_BEAT:
    case KVP_OP_TASK_POST:
        return true;
    default:
        return false;
    }
}

enum operand { OPERAND_UNKNOWN, OPERAND_NIL, OPERAND_UINT, OPERAND_BIN };

static enum operand compare_operand(uint64_t kind)
{
    switch (kind) {
    case KVP_COMPARE_ABSENT:
    case KVP_COMPARE_PRESENT:
        return OPERAND_NIL;
    case KVP_COMPARE_VERSION_EQUAL:
    case KVP_COMPARE_VERSION_LESS:
    case KVP_COMPARE_VERSION_GREATER:
        return OPERAND_UINT;
    case KVP_COMPARE_VALUE_EQUAL:
    case KVP_COMPARE_VALUE_DIFFERS:
        return OPERAND_BIN;
    default:
        return OPERAND_UNKNOWN;
    }
}

static enum operand txn_op_operand(uint64_t kind)
{
    switch (kind) {
    case KVP_TXN_GET:
    case KVP_TXN_DELETE:
        return OPERAND_NIL;
    case KVP_TXN_PUT:
        return OPERAND_BIN;
    default:
        return OPERAND_UNKNOWN;
    }
}

/* ---- limits ---- */

static kvp_status check_key(kvp_slice key, const char **reason)
{
    if (key.size == 0) {
        return kvp_wire_refuse(KVP_BAD_REQUEST, "key must not be empty", reason);
    }
    if (key.size > KVP_KEY_SIZE_MAX) {
        return kvp_wire_refuse(KVP_TOO_LARGE, "key is longer than 1024 bytes", reason);
    }
    return KVP_OK;
}

static kvp_status check_value(kvp_slice value, const char **reason)
{
    if (value.size > KVP_VALUE_SIZE_MAX) {
        return kvp_wire_refuse(KVP_TOO_LARGE, "value is longer than 1 MiB", reason);
    }
    return KVP_OK;
}

static kvp_status check_pair(kvp_slice key, kvp_slice value, uint64_t *total, const char **reason)
{
    kvp_status status = check_key(key, reason);
    if (status == KVP_OK) {
        status = check_value(value, reason);
    }
    *total += (uint64_t)key.size + value.size;
    return status;
}

static kvp_status check_compares(const struct kvp_request *request, uint64_t *total,
                                 const char **reason)
{
    for (uint32_t i = 0; i < request->compare_count; i++) {
        const struct kvp_compare *compare = &request->compares[i];
        enum operand operand = compare_operand(compare->kind);
        if (operand == OPERAND_UNKNOWN) {
            return kvp_wire_refuse(KVP_BAD_REQUEST, "unknown kind of compare", reason);
        }
        kvp_slice value = operand == OPERAND_BIN ? compare->value : kvp_slice_of(NULL, 0);
        kvp_status status = check_pair(compare->key, value, total, reason);
        if (status != KVP_OK) {
            return status;
        }
    }
    return KVP_OK;
}

static kvp_status check_txn_ops(const struct kvp_txn_op *ops, uint32_t count, uint64_t *total,
                                const char **reason)
{
    for (uint32_t i = 0; i < count; i++) {
        enum operand operand = txn_op_operand(ops[i].kind);
        if (operand == OPERAND_UNKNOWN) {
            return kvp_wire_refuse(KVP_BAD_REQUEST, "unknown kind of operation in a transaction",
                                   reason);
        }
        kvp_slice value = operand == OPERAND_BIN ? ops[i].value : kvp_slice_of(NULL, 0);
        kvp_status status = check_pair(ops[i].key, value, total, reason);
        if (status != KVP_OK) {
            return status;
        }
    }
    return KVP_OK;
}

static kvp_status check_txn_count(uint32_t count, const char **reason)
{
    if (count > KVP_TXN_OPS_MAX) {
        return kvp_wire_refuse(KVP_TOO_LARGE,
                               "a list of the transaction has more than 1024 elements", reason);
    }
    return KVP_OK;
}

static kvp_status check_txn(const struct kvp_request *request, const char **reason)
{
    const uint32_t counts[] = {request->compare_count, request->then_count, request->else_count};
    kvp_status status = KVP_OK;
    for (unsigned i = 0; status == KVP_OK && i < 3; i++) {
        status = check_txn_count(counts[i], reason);
    }
    uint64_t total = 0;
    if (status == KVP_OK) {
        status = check_compares(request, &total, reason);
    }
    if (status == KVP_OK) {
        status = check_txn_ops(request->then_ops, request->then_count, &total, reason);
    }
    if (status == KVP_OK) {
        status = check_txn_ops(request->else_ops, request->else_count, &total, reason);
    }
    if (status == KVP_OK && total > KVP_TXN_SIZE_MAX) {
        return kvp_wire_refuse(KVP_TOO_LARGE,
                               "keys and values of the transaction have more than 4 MiB", reason);
    }
    return status;
}

static kvp_status check_scan(const struct kvp_request *request, const char **reason)
{
    if (request->key.size > KVP_KEY_SIZE_MAX || request->value.size > KVP_KEY_SIZE_MAX) {
        return kvp_wire_refuse(KVP_TOO_LARGE, "start or end is longer than 1024 bytes", reason);
    }
    return KVP_OK;
}

static kvp_status check_worker(const struct kvp_request *request, const char **reason)
{
    if (request->key.size == 0) {
        return kvp_wire_refuse(KVP_BAD_REQUEST, "the worker's name must not be empty", reason);
    }
    if (request->key.size > KVP_NAME_SIZE_MAX) {
        return kvp_wire_refuse(KVP_TOO_LARGE, "the worker's name is longer than 64 bytes", reason);
    }
    return check_value(request->value, reason);
}

static kvp_status check_args(const struct kvp_request *request, const char **reason)
{
    uint64_t total = 0;
    switch (request->op) {
    case KVP_OP_WORKER_JOIN:
    case KVP_OP_WORKER_LEAVE:
    case KVP_OP_TASK_FETCH:
    case KVP_OP_TASK_BEAT:
    case KVP_OP_TASK_POST:
        return check_worker(request, reason);
    case KVP_OP_JOB_NEW:
    case KVP_OP_JOB_DATA:
        return check_value(request->value, reason);
    case KVP_OP_JOB_TASKS:
        if (request->value.size > KVP_JOB_TASKS_SIZE_MAX) {
            return kvp_wire_refuse(KVP_TOO_LARGE, "the list of tasks is longer than 4 MiB", reason);
        }
        return KVP_OK;
    case KVP_OP_GET:
    case KVP_OP_DELETE:
        return check_key(request->key, reason);
    case KVP_OP_PUT:
    case KVP_OP_CREATE:
    case KVP_OP_CAS:
        return check_pair(request->key, request->value, &total, reason);
    case KVP_OP_SCAN:
        return check_scan(request, reason);
    case KVP_OP_TXN:
        return check_txn(request, reason);
    case KVP_OP_HANDOVER:
        if (request->target > KVP_NODE_ID_MAX) {
            return kvp_wire_refuse(KVP_BAD_REQUEST, "node ids are 1 to 63", reason);
        }
        return KVP_OK;
    default:
        return KVP_OK;
    }
}

static kvp_status check_request(const struct kvp_request *request, const char **reason)
{
    kvp_status status = kvp_wire_check_group(request->group, reason);
    if (status != KVP_OK) {
        return status;
    }
    const struct kvp_session_id *session = &request->session;
    if (kvp_wire_is_update(request->op) && session->client != 0 && session->number == 0) {
        return kvp_wire_refuse(KVP_BAD_REQUEST, "request numbers of a session begin at 1", reason);
    }
    return check_args(request, reason);
}

/* ---- decoding ---- */

static kvp_status read_compares(struct kvp_mp_reader *reader, struct kvp_compare *compares,
                                uint32_t *count, const char **reason)
{
    uint32_t declared = kvp_mp_array(reader);
    kvp_status status = check_txn_count(declared, reason);
    for (uint32_t i = 0; status == KVP_OK && i < declared && !reader->failed; i++) {
        struct kvp_compare *compare = &compares[i];
        memset(compare, 0, sizeof(*compare));
        kvp_mp_array_of(reader, 3);
        uint64_t kind = kvp_mp_uint(reader);
        compare->kind = (uint8_t)kind;
        compare->key = kvp_mp_bin(reader);
        switch (compare_operand(kind)) {
        case OPERAND_NIL:
            kvp_mp_nil(reader);
            break;
        case OPERAND_UINT:
            compare->version = kvp_mp_uint(reader);
            break;
        case OPERAND_BIN:
            compare->value = kvp_mp_bin(reader);
            break;
        case OPERAND_UNKNOWN:
            status = kvp_wire_refuse(KVP_BAD_REQUEST, "unknown kind of compare", reason);
            break;
        }
    }
    *count = declared;
    return status;
}

static kvp_status read_txn_ops(struct kvp_mp_reader *reader, struct kvp_txn_op *ops,
                               uint32_t *count, const char **reason)
{
    uint32_t declared = kvp_mp_array(reader);
    kvp_status status = check_txn_count(declared, reason);
    for (uint32_t i = 0; status == KVP_OK && i < declared && !reader->failed; i++) {
        struct kvp_txn_op *op = &ops[i];
        memset(op, 0, sizeof(*op));
        kvp_mp_array_of(reader, 3);
        uint64_t kind = kvp_mp_uint(reader);
        op->kind = (uint8_t)kind;
        op->key = kvp_mp_bin(reader);
        enum operand operand = txn_op_operand(kind);
        if (operand == OPERAND_UNKNOWN) {
            status = kvp_wire_refuse(KVP_BAD_REQUEST, "unknown kind of operation in a transaction",
                                     reason);
        } else if (operand == OPERAND_BIN) {
            op->value = kvp_mp_bin(reader);
        } else {
            kvp_mp_nil(reader);
        }
    }
    *count = declared;
    return status;
}

static kvp_status read_txn(struct kvp_mp_reader *reader, struct kvp_txn_scratch *scratch,
                           struct kvp_request *request, const char **reason)
{
    struct kvp_txn_op *then_ops = scratch->ops;
    struct kvp_txn_op *else_ops = scratch->ops + KVP_TXN_OPS_MAX;
    request->compares = scratch->compares;
    request->then_ops = then_ops;
    request->else_ops = else_ops;
    kvp_status status = read_compares(reader, scratch->compares, &request->compare_count, reason);
    if (status == KVP_OK) {
        status = read_txn_ops(reader, then_ops, &request->then_count, reason);
    }
    if (status == KVP_OK) {
        status = read_txn_ops(reader, else_ops, &request->else_count, reason);
    }
    return status;
}

/* An array, as it is: who executes the request looks into it. */
static kvp_slice read_array(struct kvp_mp_reader *reader)
{
    if (kvp_mp_peek(reader) != KVP_MP_ARRAY) {
        kvp_mp_fail(reader);
    }
    return kvp_mp_skip(reader);
}

static void read_scan(struct kvp_mp_reader *reader, struct kvp_request *request)
{
    request->key = kvp_mp_bin(reader);
    request->value = kvp_mp_bin(reader);
    request->count_max = (uint32_t)kvp_mp_uint_max(reader, UINT32_MAX);
    request->size_max = (uint32_t)kvp_mp_uint_max(reader, UINT32_MAX);
    request->cursor = kvp_mp_uint(reader);
    request->keys_only = kvp_mp_bool(reader);
    request->stale = kvp_mp_bool(reader);
}

static void read_job_args(struct kvp_mp_reader *reader, struct kvp_request *request)
{
    struct kvp_job_args *job = &request->job;
    switch (request->op) {
    case KVP_OP_JOB_NEW:
        request->value = read_array(reader);
        break;
    case KVP_OP_JOB_DATA:
        job->job = kvp_mp_uint(reader);
        job->number = kvp_mp_uint(reader);
        request->value = kvp_mp_bin(reader);
        break;
    case KVP_OP_JOB_TASKS:
        job->job = kvp_mp_uint(reader);
        job->number = kvp_mp_uint(reader);
        request->value = read_array(reader);
        break;
    case KVP_OP_JOB_INFO:
        job->what = (uint32_t)kvp_mp_uint_max(reader, UINT32_MAX);
        job->job = kvp_mp_uint(reader);
        job->number = kvp_mp_uint(reader);
        break;
    case KVP_OP_JOB_RESULT:
    case KVP_OP_JOB_BLOCK:
        job->job = kvp_mp_uint(reader);
        job->number = kvp_mp_uint(reader);
        break;
    default: /* JOB_START, JOB_CANCEL, JOB_REMOVE */
        job->job = kvp_mp_uint(reader);
        break;
    }
}

static void read_attempt(struct kvp_mp_reader *reader, struct kvp_job_args *job)
{
    job->job = kvp_mp_uint(reader);
    job->task = (uint32_t)kvp_mp_uint_max(reader, UINT32_MAX);
    job->attempt = kvp_mp_uint(reader);
}

static void read_worker_args(struct kvp_mp_reader *reader, struct kvp_request *request)
{
    struct kvp_job_args *job = &request->job;
    request->key = kvp_mp_str(reader);
    if (request->op == KVP_OP_WORKER_JOIN) {
        request->value = read_array(reader);
        job->buffer = kvp_mp_uint(reader);
        job->standby = kvp_mp_bool(reader);
        return;
    }
    job->instance = kvp_mp_uint(reader);
    switch (request->op) {
    case KVP_OP_TASK_FETCH:
        job->slot = (uint32_t)kvp_mp_uint_max(reader, UINT32_MAX - 1);
        job->number = kvp_mp_uint(reader);
        job->wait_ms = (uint32_t)kvp_mp_uint_max(reader, UINT32_MAX);
        break;
    case KVP_OP_TASK_BEAT:
        read_attempt(reader, job);
        job->progress = (uint32_t)kvp_mp_uint_max(reader, UINT32_MAX);
        job->has_checkpoint = kvp_mp_peek(reader) != KVP_MP_NIL;
        if (job->has_checkpoint) {
            request->value = kvp_mp_bin(reader);
        } else {
            kvp_mp_nil(reader);
        }
        break;
    case KVP_OP_TASK_POST:
        read_attempt(reader, job);
        job->outcome = (uint32_t)kvp_mp_uint_max(reader, UINT32_MAX);
        job->crc = (uint32_t)kvp_mp_uint_max(reader, UINT32_MAX);
        request->value = kvp_mp_bin(reader);
        break;
    default: /* WORKER_LEAVE */
        break;
    }
}

/* The args of every operation but a transaction. */
static void read_args(struct kvp_mp_reader *reader, struct kvp_request *request)
{
    switch (request->op) {
    case KVP_OP_GET:
        request->key = kvp_mp_bin(reader);
        request->stale = kvp_mp_bool(reader);
        break;
    case KVP_OP_PUT:
    case KVP_OP_CREATE:
        request->key = kvp_mp_bin(reader);
        request->value = kvp_mp_bin(reader);
        break;
    case KVP_OP_DELETE:
        request->key = kvp_mp_bin(reader);
        request->version = kvp_mp_uint(reader);
        break;
    case KVP_OP_CAS:
        request->key = kvp_mp_bin(reader);
        request->version = kvp_mp_uint(reader);
        request->value = kvp_mp_bin(reader);
        break;
    case KVP_OP_SCAN:
        read_scan(reader, request);
        break;
    case KVP_OP_HANDOVER:
        request->target = clamp(kvp_mp_uint(reader));
        break;
    case KVP_OP_PROMOTE:
        request->force = kvp_mp_bool(reader);
        break;
    case KVP_OP_CLOSE_SCAN:
        request->cursor = kvp_mp_uint(reader);
        break;
    case KVP_OP_WORKER_JOIN:
    case KVP_OP_WORKER_LEAVE:
    case KVP_OP_TASK_FETCH:
    case KVP_OP_TASK_BEAT:
    case KVP_OP_TASK_POST:
        read_worker_args(reader, request);
        break;
    case KVP_OP_HELLO:
    case KVP_OP_STATUS:
        break;
    default:
        read_job_args(reader, request);
        break;
    }
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
    int args = arg_count(decoded.op);
    if (args < 0) {
        return kvp_wire_refuse(KVP_BAD_OP,
                               KVP_OP_IS_WITNESS(decoded.op) ? "this is a node, no witness"
                                                             : "unknown operation",
                               reason);
    }
    if (count != KVP_WIRE_REQUEST_HEAD + (unsigned)args) {
        return kvp_wire_refuse(KVP_BAD_REQUEST, "wrong number of elements for the operation",
                               reason);
    }
    decoded.group = kvp_mp_str(&reader);
    decoded.epoch_seen = kvp_mp_uint(&reader);
    decoded.session.client = kvp_mp_uint(&reader);
    decoded.session.slot = (uint16_t)kvp_mp_uint_max(&reader, UINT16_MAX);
    decoded.session.number = kvp_mp_uint(&reader);
    decoded.session.birth = kvp_mp_uint(&reader);
    if (decoded.op == KVP_OP_TXN) {
        status = read_txn(&reader, scratch, &decoded, reason);
    } else {
        read_args(&reader, &decoded);
    }
    if (reader.failed || status == KVP_OK) {
        status = kvp_wire_finish(&reader, reason);
    }
    if (status == KVP_OK) {
        status = check_request(&decoded, reason);
    }
    if (status == KVP_OK) {
        *request = decoded;
    }
    return status;
}

/* ---- encoding ---- */

static void write_txn(struct kvp_mp_writer *writer, const struct kvp_request *request)
{
    kvp_mp_write_array(writer, request->compare_count);
    for (uint32_t i = 0; i < request->compare_count; i++) {
        const struct kvp_compare *compare = &request->compares[i];
        enum operand operand = compare_operand(compare->kind);
        kvp_mp_write_array(writer, 3);
        kvp_mp_write_uint(writer, compare->kind);
        kvp_mp_write_bin(writer, compare->key);
        if (operand == OPERAND_UINT) {
            kvp_mp_write_uint(writer, compare->version);
        } else if (operand == OPERAND_BIN) {
            kvp_mp_write_bin(writer, compare->value);
        } else {
            kvp_mp_write_nil(writer);
        }
    }
    for (unsigned branch = 0; branch < 2; branch++) {
        const struct kvp_txn_op *ops = branch == 0 ? request->then_ops : request->else_ops;
        uint32_t count = branch == 0 ? request->then_count : request->else_count;
        kvp_mp_write_array(writer, count);
        for (uint32_t i = 0; i < count; i++) {
            kvp_mp_write_array(writer, 3);
            kvp_mp_write_uint(writer, ops[i].kind);
            kvp_mp_write_bin(writer, ops[i].key);
            if (txn_op_operand(ops[i].kind) == OPERAND_BIN) {
                kvp_mp_write_bin(writer, ops[i].value);
            } else {
                kvp_mp_write_nil(writer);
            }
        }
    }
}

static void write_scan(struct kvp_mp_writer *writer, const struct kvp_request *request)
{
    kvp_mp_write_bin(writer, request->key);
    kvp_mp_write_bin(writer, request->value);
    kvp_mp_write_uint(writer, request->count_max);
    kvp_mp_write_uint(writer, request->size_max);
    kvp_mp_write_uint(writer, request->cursor);
    kvp_mp_write_bool(writer, request->keys_only);
    kvp_mp_write_bool(writer, request->stale);
}

static void write_array(struct kvp_mp_writer *writer, kvp_slice array)
{
    if (array.size == 0) {
        kvp_mp_write_array(writer, 0);
    } else {
        kvp_mp_write_raw(writer, array);
    }
}

static void write_job_args(struct kvp_mp_writer *writer, const struct kvp_request *request)
{
    const struct kvp_job_args *job = &request->job;
    if (request->op == KVP_OP_JOB_NEW) {
        write_array(writer, request->value);
        return;
    }
    if (request->op == KVP_OP_JOB_INFO) {
        kvp_mp_write_uint(writer, job->what);
    }
    kvp_mp_write_uint(writer, job->job);
    if (request->op != KVP_OP_JOB_START && request->op != KVP_OP_JOB_CANCEL &&
        request->op != KVP_OP_JOB_REMOVE) {
        kvp_mp_write_uint(writer, job->number);
    }
    if (request->op == KVP_OP_JOB_DATA) {
        kvp_mp_write_bin(writer, request->value);
    } else if (request->op == KVP_OP_JOB_TASKS) {
        write_array(writer, request->value);
    }
}

static void write_attempt(struct kvp_mp_writer *writer, const struct kvp_job_args *job)
{
    kvp_mp_write_uint(writer, job->job);
    kvp_mp_write_uint(writer, job->task);
    kvp_mp_write_uint(writer, job->attempt);
}

static void write_worker_args(struct kvp_mp_writer *writer, const struct kvp_request *request)
{
    const struct kvp_job_args *job = &request->job;
    kvp_mp_write_str(writer, request->key);
    if (request->op == KVP_OP_WORKER_JOIN) {
        write_array(writer, request->value);
        kvp_mp_write_uint(writer, job->buffer);
        kvp_mp_write_bool(writer, job->standby);
        return;
    }
    kvp_mp_write_uint(writer, job->instance);
    switch (request->op) {
    case KVP_OP_TASK_FETCH:
        kvp_mp_write_uint(writer, job->slot);
        kvp_mp_write_uint(writer, job->number);
        kvp_mp_write_uint(writer, job->wait_ms);
        break;
    case KVP_OP_TASK_BEAT:
        write_attempt(writer, job);
        kvp_mp_write_uint(writer, job->progress);
        if (job->has_checkpoint) {
            kvp_mp_write_bin(writer, request->value);
        } else {
            kvp_mp_write_nil(writer);
        }
        break;
    case KVP_OP_TASK_POST:
        write_attempt(writer, job);
        kvp_mp_write_uint(writer, job->outcome);
        kvp_mp_write_uint(writer, job->crc);
        kvp_mp_write_bin(writer, request->value);
        break;
    default: /* WORKER_LEAVE */
        break;
    }
}

static void write_args(struct kvp_mp_writer *writer, const struct kvp_request *request)
{
    switch (request->op) {
    case KVP_OP_GET:
        kvp_mp_write_bin(writer, request->key);
        kvp_mp_write_bool(writer, request->stale);
        break;
    case KVP_OP_PUT:
    case KVP_OP_CREATE:
        kvp_mp_write_bin(writer, request->key);
        kvp_mp_write_bin(writer, request->value);
        break;
    case KVP_OP_DELETE:
        kvp_mp_write_bin(writer, request->key);
        kvp_mp_write_uint(writer, request->version);
        break;
    case KVP_OP_CAS:
        kvp_mp_write_bin(writer, request->key);
        kvp_mp_write_uint(writer, request->version);
        kvp_mp_write_bin(writer, request->value);
        break;
    case KVP_OP_SCAN:
        write_scan(writer, request);
        break;
    case KVP_OP_TXN:
        write_txn(writer, request);
        break;
    case KVP_OP_HANDOVER:
        kvp_mp_write_uint(writer, request->target);
        break;
    case KVP_OP_PROMOTE:
        kvp_mp_write_bool(writer, request->force);
        break;
    case KVP_OP_CLOSE_SCAN:
        kvp_mp_write_uint(writer, request->cursor);
        break;
    case KVP_OP_WORKER_JOIN:
    case KVP_OP_WORKER_LEAVE:
    case KVP_OP_TASK_FETCH:
    case KVP_OP_TASK_BEAT:
    case KVP_OP_TASK_POST:
        write_worker_args(writer, request);
        break;
    case KVP_OP_HELLO:
    case KVP_OP_STATUS:
        break;
    default:
        write_job_args(writer, request);
        break;
    }
}

kvp_status kvp_wire_request_encode(const struct kvp_request *request, kvp_buf *out)
{
    int args = arg_count(request->op);
    if (args < 0) {
        return KVP_BAD_OP;
    }
    const char *reason;
    kvp_status status = check_request(request, &reason);
    if (status != KVP_OK) {
        return status;
    }
    struct kvp_mp_writer writer;
    kvp_mp_write_begin(&writer, out);
    kvp_mp_write_array(&writer, KVP_WIRE_REQUEST_HEAD + (uint32_t)args);
    kvp_mp_write_uint(&writer, KVP_WIRE_VERSION);
    kvp_mp_write_uint(&writer, request->op);
    kvp_mp_write_str(&writer, request->group);
    kvp_mp_write_uint(&writer, request->epoch_seen);
    kvp_mp_write_uint(&writer, request->session.client);
    kvp_mp_write_uint(&writer, request->session.slot);
    kvp_mp_write_uint(&writer, request->session.number);
    kvp_mp_write_uint(&writer, request->session.birth);
    write_args(&writer, request);
    return kvp_mp_write_end_message(&writer);
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
