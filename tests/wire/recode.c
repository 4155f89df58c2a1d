/* SPDX-License-Identifier: Apache-2.0 */
/* Bytes -> struct -> bytes, for every kind of message, and the property that it comes to rest. */
#include "tests/wire/samples.h"
#include "kvpair/job_spec.h"
#include "replication/wire/mp_reader.h"
#include "replication/wire/mp_writer.h"
#include "replication/wire/peer_wire.h"
#include "replication/wire/wire.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void must(bool condition, const char *what)
{
    if (!condition) {
        fprintf(stderr, "%s\n", what);
        abort();
    }
}

/* ---- what a request carries for the job engine to decode ---- */

static kvp_status recode_spec(kvp_slice array, kvp_buf *out)
{
    struct kvp_job_spec spec;
    const char *reason = NULL;
    kvp_status status = kvp_job_spec_decode(array, &spec, &reason);
    must((status == KVP_OK) == (reason == NULL), "reason does not fit");
    if (status == KVP_OK) {
        must(kvp_job_spec_encode(&spec, out) == KVP_OK, "specification");
    }
    return status;
}

kvp_status sample_recode_tasks(kvp_slice array, kvp_buf *out)
{
    struct kvp_job_tasks tasks;
    struct kvp_job_task task;
    const char *reason = NULL;
    kvp_status status = kvp_job_tasks_begin(array, &tasks, &reason);
    must((status == KVP_OK) == (reason == NULL), "reason does not fit");
    if (status != KVP_OK) {
        return status;
    }
    must(kvp_job_tasks_open(out, tasks.count) == KVP_OK, "tasks");
    uint32_t count = 0;
    while (kvp_job_tasks_next(&tasks, &task)) {
        static uint32_t after[KVP_JOB_DEPS_MAX];
        must(task.after_count <= KVP_JOB_DEPS_MAX, "too many numbers");
        for (uint32_t i = 0; i < task.after_count; i++) {
            after[i] = kvp_job_after_next(&task);
        }
        must(task.after.size == 0, "numbers are left");
        must(kvp_job_tasks_put(out, task.kind, after, task.after_count, task.feed, task.payload) ==
                 KVP_OK,
             "task");
        count++;
    }
    must(count == tasks.count && tasks.rest.size == 0, "tasks end early");
    return KVP_OK;
}

static kvp_status recode_kinds(kvp_slice array, kvp_buf *out)
{
    struct kvp_mp_reader reader;
    struct kvp_mp_writer writer;
    kvp_mp_begin(&reader, array);
    kvp_mp_write_begin(&writer, out);
    uint32_t count = kvp_mp_array(&reader);
    kvp_mp_write_array(&writer, count);
    for (uint32_t i = 0; i < count && !reader.failed; i++) {
        kvp_mp_write_str(&writer, kvp_mp_str(&reader));
    }
    must(kvp_mp_write_end(&writer) == KVP_OK, "kinds");
    return kvp_mp_done(&reader) ? KVP_OK : KVP_BAD_REQUEST;
}

/* As the node would, which looks at them only when it executes the request. */
static kvp_status recode_value(struct kvp_request *request, kvp_buf *value)
{
    kvp_status status = KVP_OK;
    switch (request->op) {
    case KVP_OP_JOB_NEW:
        status = recode_spec(request->value, value);
        break;
    case KVP_OP_JOB_TASKS:
        status = sample_recode_tasks(request->value, value);
        break;
    case KVP_OP_WORKER_JOIN:
        status = recode_kinds(request->value, value);
        break;
    default:
        return KVP_OK;
    }
    request->value = kvp_buf_slice(value);
    return status;
}

/* Memory of a size that is always the same is taken once. The address sanitizer keeps what is
 * freed, so that each further piece would lie where nothing was: pages that the system has to make.
 */
static void once(void **memory, size_t size)
{
    if (*memory == NULL) {
        *memory = malloc(size);
        must(*memory != NULL, "no memory");
    }
}

static kvp_status recode_request(kvp_slice message, kvp_buf *out)
{
    struct kvp_request request;
    const char *reason = NULL;
    kvp_buf value = {0};
    static struct kvp_txn_scratch *scratch; /* see `once` */
    once((void **)&scratch, sizeof(*scratch));
    kvp_status status = kvp_wire_request_decode(message, scratch, &request, &reason);
    must(reason != NULL && (status == KVP_OK) == (reason[0] == '\0'), "reason does not fit");
    if (status == KVP_OK) {
        status = recode_value(&request, &value);
    }
    if (status == KVP_OK) {
        must(kvp_wire_request_encode(&request, out) == KVP_OK, "request decodes, does not encode");
    }
    kvp_buf_free(&value);
    return status;
}

static kvp_status recode_answer(kvp_slice message, kvp_buf *out)
{
    struct kvp_answer answer;
    kvp_status status = kvp_wire_answer_decode(message, &answer);
    if (status == KVP_OK) {
        must(kvp_wire_answer_encode(&answer, out) == KVP_OK, "answer decodes, does not encode");
    }
    return status;
}

static kvp_status recode_peer_request(kvp_slice message, kvp_buf *out)
{
    kvp_slice group;
    static struct kvp_peer_request *request;
    once((void **)&request, sizeof(*request));
    memset(request, 0xa5, sizeof(*request)); /* the decoder must not rely on what was there */
    kvp_status status = kvp_peer_request_decode(message, request, &group);
    if (status == KVP_OK) {
        must(kvp_peer_request_encode(request, group, out) == KVP_OK,
             "peer request decodes, does not encode");
    }
    kvp_peer_request_release(request);
    return status;
}

static kvp_status recode_peer_reply(kvp_slice message, kvp_buf *out)
{
    struct kvp_peer_reply reply;
    kvp_status status = kvp_peer_reply_decode(message, &reply);
    if (status == KVP_OK) {
        must(kvp_peer_reply_encode(&reply, out) == KVP_OK, "reply decodes, does not encode");
    }
    return status;
}

static kvp_status recode_witness_request(kvp_slice message, kvp_buf *out)
{
    struct kvp_witness_request request;
    const char *reason = NULL;
    kvp_status status = kvp_wire_witness_decode(message, &request, &reason);
    must(reason != NULL && (status == KVP_OK) == (reason[0] == '\0'), "reason does not fit");
    if (status == KVP_OK) {
        must(kvp_wire_witness_encode(&request, out) == KVP_OK,
             "witness request decodes, does not encode");
    }
    return status;
}

kvp_status sample_recode(enum sample_kind kind, kvp_slice message, kvp_buf *out)
{
    switch (kind) {
    case SAMPLE_REQUEST:
        return recode_request(message, out);
    case SAMPLE_ANSWER:
        return recode_answer(message, out);
    case SAMPLE_PEER_REQUEST:
        return recode_peer_request(message, out);
    case SAMPLE_PEER_REPLY:
        return recode_peer_reply(message, out);
    case SAMPLE_WITNESS_REQUEST:
        return recode_witness_request(message, out);
    case SAMPLE_FRAME:
        break;
    }
    must(kvp_buf_append(out, message.data, message.size) == KVP_OK, "no memory");
    return KVP_OK;
}

static kvp_status recode_backup(kvp_slice result, kvp_buf *out)
{
    struct kvp_backup_page page;
    kvp_status status = kvp_wire_read_backup(result, &page);
    if (status == KVP_OK) {
        must(kvp_wire_result_backup(out, &page) == KVP_OK, "backup");
    }
    return status;
}

static kvp_status recode_scan(kvp_slice result, kvp_buf *out)
{
    struct kvp_scan_result scan;
    struct kvp_scan_writer writer;
    kvp_slice key;
    struct kvp_get_result pair;
    kvp_status status = kvp_wire_read_scan(result, &scan);
    if (status != KVP_OK) {
        return status;
    }
    must(kvp_wire_scan_begin(&writer, out) == KVP_OK, "scan begin");
    uint32_t count = 0;
    while ((status = kvp_wire_scan_next(&scan, &key, &pair)) == KVP_OK) {
        count++;
        must(kvp_wire_scan_pair(&writer, key, pair.modify, pair.create, pair.value) == KVP_OK,
             "scan pair");
    }
    must(status == KVP_NOT_FOUND && count == scan.count, "scan ends early");
    must(kvp_wire_scan_end(&writer, scan.cursor, scan.revision, scan.behind) == KVP_OK, "scan end");
    return KVP_OK;
}

static kvp_status recode_txn(kvp_slice result, kvp_buf *out)
{
    struct kvp_txn_result txn;
    enum kvp_txn_result_kind kind;
    struct kvp_get_result get;
    bool flag;
    kvp_status status = kvp_wire_read_txn(result, &txn);
    if (status != KVP_OK) {
        return status;
    }
    must(kvp_wire_txn_begin(out, txn.succeeded, txn.revision, txn.count) == KVP_OK, "txn begin");
    uint32_t count = 0;
    while ((status = kvp_wire_txn_next(&txn, &kind, &get, &flag)) == KVP_OK) {
        count++;
        if (kind == KVP_TXN_RESULT_GET) {
            status = kvp_wire_txn_get(out, &get);
        } else if (kind == KVP_TXN_RESULT_BOOL) {
            status = kvp_wire_txn_delete(out, flag);
        } else {
            status = kvp_wire_txn_put(out);
        }
        must(status == KVP_OK, "txn result");
    }
    must(status == KVP_NOT_FOUND && count == txn.count, "txn ends early");
    return KVP_OK;
}

static kvp_status recode_hello(kvp_slice result, kvp_buf *out)
{
    struct kvp_hello hello;
    kvp_status status = kvp_wire_read_hello(result, &hello);
    if (status == KVP_OK) {
        must(kvp_wire_result_hello(out, &hello) == KVP_OK, "hello");
    }
    return status;
}

static kvp_status recode_get(kvp_slice result, kvp_buf *out)
{
    struct kvp_get_result get;
    kvp_status status = kvp_wire_read_get(result, &get);
    if (status == KVP_OK) {
        must(kvp_wire_result_get(out, get.modify, get.create, get.value, get.behind) == KVP_OK,
             "get");
    }
    return status;
}

static kvp_status recode_string(kvp_slice result, kvp_buf *out)
{
    kvp_slice text;
    kvp_status status = kvp_wire_read_string(result, &text);
    if (status == KVP_OK && memchr(text.size > 0 ? text.data : "x", 0, text.size) == NULL) {
        char *copy = strndup(text.size > 0 ? text.data : "", text.size);
        must(copy != NULL && kvp_wire_result_string(out, copy) == KVP_OK, "string");
        free(copy);
    } else if (status == KVP_OK) {
        status = KVP_BAD_ARGUMENT; /* our own strings have no zero bytes */
    }
    return status;
}

static kvp_status recode_register(kvp_slice result, kvp_buf *out)
{
    uint64_t group_id, known;
    struct kvp_view view;
    kvp_status status = kvp_wire_read_register(result, &group_id, &view, &known);
    if (status == KVP_OK) {
        must(kvp_wire_result_register(out, group_id, &view, known) == KVP_OK, "register");
    }
    return status;
}

static kvp_status recode_bin(kvp_slice result, kvp_buf *out)
{
    kvp_slice bytes;
    kvp_status status = kvp_wire_read_bin(result, &bytes);
    if (status == KVP_OK) {
        must(kvp_wire_result_bin(out, bytes) == KVP_OK, "bin");
    }
    return status;
}

static kvp_status recode_bool(kvp_slice result, kvp_buf *out)
{
    bool value;
    kvp_status status = kvp_wire_read_bool(result, &value);
    if (status == KVP_OK) {
        must(kvp_wire_bool(out, value) == KVP_OK, "bool");
    }
    return status;
}

static kvp_status recode_grant(kvp_slice result, kvp_buf *out)
{
    struct kvp_task_grant grant;
    kvp_status status = kvp_wire_read_grant(result, &grant);
    if (status == KVP_OK) {
        must(kvp_wire_result_grant(out, &grant) == KVP_OK, "grant");
    }
    return status;
}

kvp_status sample_recode_result(enum sample_result kind, kvp_slice result, kvp_buf *out)
{
    uint64_t number;
    switch (kind) {
    case RESULT_UINT:
        if (kvp_wire_read_uint(result, &number) != KVP_OK) {
            return KVP_CORRUPT;
        }
        return kvp_wire_result_uint(out, number);
    case RESULT_STRING:
        return recode_string(result, out);
    case RESULT_GET:
        return recode_get(result, out);
    case RESULT_HELLO:
        return recode_hello(result, out);
    case RESULT_BACKUP:
        return recode_backup(result, out);
    case RESULT_SCAN:
        return recode_scan(result, out);
    case RESULT_TXN:
        return recode_txn(result, out);
    case RESULT_REGISTER:
        return recode_register(result, out);
    case RESULT_BIN:
        return recode_bin(result, out);
    case RESULT_BOOL:
        return recode_bool(result, out);
    case RESULT_GRANT:
        return recode_grant(result, out);
    case RESULT_NONE:
    case RESULT_STATUS:
    case RESULT_KINDS:
        break;
    }
    must(kvp_buf_append(out, result.data, result.size) == KVP_OK, "no memory");
    return KVP_OK;
}

static void check_equal(const kvp_buf *once, const kvp_buf *twice)
{
    must(once->size == twice->size && memcmp(once->data, twice->data, once->size) == 0,
         "a second pass gives other bytes");
}

void sample_check_stable(enum sample_kind kind, kvp_slice message)
{
    kvp_buf once = {0};
    kvp_buf twice = {0};
    if (sample_recode(kind, message, &once) == KVP_OK) {
        must(sample_recode(kind, kvp_buf_slice(&once), &twice) == KVP_OK,
             "encoded, does not decode");
        check_equal(&once, &twice);
    }
    kvp_buf_free(&once);
    kvp_buf_free(&twice);
}

void sample_check_result_stable(enum sample_result kind, kvp_slice result)
{
    kvp_buf once = {0};
    kvp_buf twice = {0};
    if (sample_recode_result(kind, result, &once) == KVP_OK && once.size > 0) {
        must(sample_recode_result(kind, kvp_buf_slice(&once), &twice) == KVP_OK,
             "result encoded, does not decode");
        check_equal(&once, &twice);
    }
    kvp_buf_free(&once);
    kvp_buf_free(&twice);
}

uint64_t sample_random(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}
