/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory runs out at every single allocation in turn: encoders and decoders say so, leave their
 * outputs as they were, and leak nothing. malloc and realloc are replaced by the linker (--wrap).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "replication/jobs/job_records.h"
#include "replication/wire/peer_wire.h"
#include "replication/wire/wire.h"
#include "tests/wire/samples.h"

#include <stdlib.h>
#include <string.h>

static long allocations_left = -1; /* -1: no end */
static unsigned long refused;

static bool refuse(void)
{
    if (allocations_left < 0) {
        return false;
    }
    if (allocations_left == 0) {
        refused++;
        return true;
    }
    allocations_left--;
    return false;
}

void *__real_malloc(size_t size);
void *__real_realloc(void *bytes, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_realloc(void *bytes, size_t size);

void *__wrap_malloc(size_t size)
{
    return refuse() ? NULL : __real_malloc(size);
}

void *__wrap_realloc(void *bytes, size_t size)
{
    return refuse() ? NULL : __real_realloc(bytes, size);
}

static struct kvp_peer_request request;

static void test_an_append_without_memory_is_given_back_whole(void **state)
{
    kvp_buf bytes = {0};
    kvp_slice group = {0};
    kvp_status status;
    (void)state;
    sample_find("append-request")->build(&bytes);
    for (long limit = 0;; limit++) {
        allocations_left = limit;
        status = kvp_peer_request_decode(kvp_buf_slice(&bytes), &request, &group);
        allocations_left = -1;
        if (status == KVP_OK) {
            assert_int_equal(limit, 2); /* one for each entry, and nothing else */
            break;
        }
        assert_int_equal(status, KVP_NO_MEMORY);
        assert_int_equal(request.entry_count, 0);
        assert_null(group.data);
    }
    kvp_peer_request_release(&request);
    kvp_buf_free(&bytes);
}

static void test_decoders_of_clients_and_witness_never_allocate(void **state)
{
    static struct kvp_txn_scratch scratch;
    struct kvp_request decoded;
    struct kvp_answer answer;
    struct kvp_witness_request witness;
    struct kvp_peer_reply reply;
    const char *reason;
    (void)state;
    refused = 0;
    for (size_t i = 0; i < sample_count; i++) {
        kvp_buf bytes = {0};
        samples[i].build(&bytes);
        kvp_slice message = kvp_buf_slice(&bytes);
        allocations_left = 0;
        (void)kvp_wire_request_decode(message, &scratch, &decoded, &reason);
        (void)kvp_wire_answer_decode(message, &answer);
        (void)kvp_wire_witness_decode(message, &witness, &reason);
        (void)kvp_peer_reply_decode(message, &reply);
        allocations_left = -1;
        kvp_buf_free(&bytes);
    }
    assert_int_equal(refused, 0);
}

/* What the node takes apart when it executes a request, and what workers get. */
static void test_decoders_of_jobs_never_allocate(void **state)
{
    static struct kvp_txn_scratch scratch;
    static struct job_record job;
    static struct task_record task;
    static struct worker_record worker;
    struct kvp_request decoded;
    struct kvp_job_spec spec;
    struct kvp_job_tasks tasks;
    struct kvp_task_grant grant;
    const char *reason;
    unsigned read = 0;
    kvp_buf bytes = {0};
    (void)state;
    refused = 0;
    sample_find("job-new-request")->build(&bytes);
    assert_int_equal(kvp_wire_request_decode(kvp_buf_slice(&bytes), &scratch, &decoded, &reason),
                     KVP_OK);
    allocations_left = 0;
    read += kvp_job_spec_decode(decoded.value, &spec, &reason) == KVP_OK;
    allocations_left = -1;
    bytes.size = 0;
    sample_find("job-tasks-request")->build(&bytes);
    assert_int_equal(kvp_wire_request_decode(kvp_buf_slice(&bytes), &scratch, &decoded, &reason),
                     KVP_OK);
    allocations_left = 0;
    read += kvp_job_tasks_begin(decoded.value, &tasks, &reason) == KVP_OK;
    (void)kvp_wire_read_grant(decoded.value, &grant);
    (void)job_record_decode(decoded.value, &job);
    (void)task_record_decode(decoded.value, &task);
    (void)worker_record_decode(decoded.value, &worker);
    allocations_left = -1;
    assert_int_equal(read, 2);
    assert_int_equal(refused, 0);
    kvp_buf_free(&bytes);
}

static kvp_status encode_put(kvp_buf *out)
{
    static const uint8_t value[1000];
    const struct kvp_request put = {
        .op = KVP_OP_PUT, .group = {"g", 1}, .key = {"k", 1}, .value = {value, sizeof(value)}};
    return kvp_wire_request_encode(&put, out);
}

static kvp_status encode_answer(kvp_buf *out)
{
    static const uint8_t result[1000] = {0xdc, 997 >> 8, 997 & 0xff};
    const struct kvp_answer answer = {.result = {result, sizeof(result)}};
    return kvp_wire_answer_encode(&answer, out);
}

static kvp_status encode_get(kvp_buf *out)
{
    static const uint8_t value[1000];
    return kvp_wire_result_get(out, 1, 2, kvp_slice_of(value, sizeof(value)), 0);
}

static kvp_status encode_witness(kvp_buf *out)
{
    const struct kvp_witness_request cas = {
        .op = KVP_OP_REGISTER_CAS,
        .group = {"0123456789012345678901234567890123456789", 40},
        .group_id = UINT64_MAX,
        .view = {KVP_VIEW_NUMBER_END - 1, KVP_VIEW_NUMBER_END - 1, 1, 2}};
    return kvp_wire_witness_encode(&cas, out);
}

static kvp_status encode_reply(kvp_buf *out)
{
    const struct kvp_peer_reply reply = {
        .op = KVP_OP_LEAVE,
        .from = 1,
        .group_id = UINT64_MAX,
        .echo_us = UINT64_MAX,
        .report = {.received = UINT64_MAX, .tail = {UINT64_MAX, UINT64_MAX, UINT64_MAX}}};
    return kvp_peer_reply_encode(&reply, out);
}

static kvp_status encode_heartbeat(kvp_buf *out)
{
    memset(&request, 0, sizeof(request));
    request.op = KVP_OP_HEARTBEAT;
    request.from = 1;
    request.to = 2;
    request.sent_us = request.group_id = UINT64_MAX;
    request.commit = (struct kvp_point){UINT64_MAX, UINT64_MAX, UINT64_MAX};
    return kvp_peer_request_encode(&request, kvp_slice_of("0123456789012345678901234", 25), out);
}

static kvp_status encode_scan_pair(kvp_buf *out)
{
    static const uint8_t value[1000];
    struct kvp_scan_writer writer = {.out = out};
    return kvp_wire_scan_pair(&writer, kvp_slice_of("k", 1), 1, 2,
                              kvp_slice_of(value, sizeof(value)));
}

static kvp_status encode_post(kvp_buf *out)
{
    static const uint8_t value[1000];
    const struct kvp_request post = {.op = KVP_OP_TASK_POST,
                                     .group = {"g", 1},
                                     .key = {"w", 1},
                                     .value = {value, sizeof(value)}};
    return kvp_wire_request_encode(&post, out);
}

static kvp_status encode_grant(kvp_buf *out)
{
    static const uint8_t payload[1000];
    const struct kvp_task_grant grant = {.payload = {payload, sizeof(payload)}};
    return kvp_wire_result_grant(out, &grant);
}

static kvp_status encode_bytes(kvp_buf *out)
{
    static const uint8_t bytes[1000];
    return kvp_wire_result_bin(out, kvp_slice_of(bytes, sizeof(bytes)));
}

/* Names that make them longer than what a buffer begins with. */
static kvp_status encode_spec(kvp_buf *out)
{
    struct kvp_job_spec spec;
    kvp_job_spec_init(&spec, KVP_JOB_TASKS);
    memset(spec.name, 'n', KVP_NAME_SIZE_MAX);
    return kvp_job_spec_encode(&spec, out);
}

static kvp_status encode_task(kvp_buf *out)
{
    static const uint8_t payload[1000];
    return kvp_job_tasks_put(out, kvp_slice_of("k", 1), NULL, 0, false,
                             kvp_slice_of(payload, sizeof(payload)));
}

static kvp_status encode_job_record(kvp_buf *out)
{
    static struct job_record record;
    kvp_job_spec_init(&record.spec, KVP_JOB_TASKS);
    memset(record.reason, 'r', JOB_REASON_MAX);
    return job_record_encode(&record, out);
}

static kvp_status encode_task_record(kvp_buf *out)
{
    static struct task_record record;
    memset(record.reason, 'r', JOB_REASON_MAX);
    return task_record_encode(&record, out);
}

static kvp_status encode_worker_record(kvp_buf *out)
{
    static struct worker_record record;
    record.kind_count = 2;
    memset(record.kinds[0].text, 'k', KVP_NAME_SIZE_MAX);
    memset(record.kinds[1].text, 'k', KVP_NAME_SIZE_MAX);
    return worker_record_encode(&record, out);
}

static void test_encoders_without_memory_leave_the_buffer_as_it_was(void **state)
{
    static kvp_status (*const encoders[])(kvp_buf * out) = {
        encode_put,        encode_answer,      encode_get,           encode_witness,
        encode_reply,      encode_heartbeat,   encode_scan_pair,     encode_post,
        encode_grant,      encode_bytes,       encode_spec,          encode_task,
        encode_job_record, encode_task_record, encode_worker_record,
    };
    (void)state;
    for (size_t i = 0; i < sizeof(encoders) / sizeof(encoders[0]); i++) {
        kvp_buf out = {0};
        assert_int_equal(kvp_buf_append(&out, "before", 6), KVP_OK);
        allocations_left = 0;
        kvp_status status = encoders[i](&out);
        allocations_left = -1;
        assert_int_equal(status, KVP_NO_MEMORY);
        assert_int_equal(out.size, 6);
        assert_memory_equal(out.data, "before", 6);
        for (long limit = 1;; limit++) { /* some allocate more than once */
            allocations_left = limit;
            status = encoders[i](&out);
            allocations_left = -1;
            if (status == KVP_OK) {
                break;
            }
            assert_int_equal(status, KVP_NO_MEMORY);
            assert_int_equal(out.size, 6);
        }
        assert_true(out.size > 6);
        kvp_buf_free(&out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_an_append_without_memory_is_given_back_whole),
        cmocka_unit_test(test_decoders_of_clients_and_witness_never_allocate),
        cmocka_unit_test(test_decoders_of_jobs_never_allocate),
        cmocka_unit_test(test_encoders_without_memory_leave_the_buffer_as_it_was),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
