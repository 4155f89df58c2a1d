/* SPDX-License-Identifier: Apache-2.0 */
/* Client requests and the frame of answers: limits, and which status each mistake is told with. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "kvpair/job_spec.h"
#include "replication/wire/mp_writer.h"
#include "replication/wire/wire.h"
#include "tests/wire/samples.h"

#include <stdlib.h>

static struct kvp_txn_scratch scratch;
static uint8_t zeros[KVP_VALUE_SIZE_MAX + 1];

static kvp_slice text(const char *string)
{
    return kvp_slice_of(string, strlen(string));
}

static kvp_status decode(kvp_slice message, struct kvp_request *request)
{
    const char *reason = NULL;
    kvp_status status = kvp_wire_request_decode(message, &scratch, request, &reason);
    assert_non_null(reason);
    assert_true((status == KVP_OK) == (reason[0] == '\0'));
    return status;
}

static kvp_status decode_bytes(const kvp_buf *bytes)
{
    struct kvp_request request;
    return decode(kvp_buf_slice(bytes), &request);
}

static struct kvp_request put_of(size_t key_size, size_t value_size)
{
    return (struct kvp_request){.op = KVP_OP_PUT,
                                .group = text("g"),
                                .key = kvp_slice_of(zeros, key_size),
                                .value = kvp_slice_of(zeros, value_size)};
}

/* The head of a request, to be followed by any args. */
static void begin(struct kvp_mp_writer *writer, kvp_buf *out, unsigned op, unsigned args)
{
    kvp_mp_write_begin(writer, out);
    kvp_mp_write_array(writer, KVP_WIRE_REQUEST_HEAD + args);
    kvp_mp_write_uint(writer, KVP_WIRE_VERSION);
    kvp_mp_write_uint(writer, op);
    kvp_mp_write_text(writer, "g");
    for (unsigned i = 0; i < 5; i++) {
        kvp_mp_write_uint(writer, 0);
    }
}

static void test_fields_arrive_where_they_belong(void **state)
{
    (void)state;
    struct kvp_request sent = put_of(3, 5);
    sent.op = KVP_OP_CAS;
    sent.epoch_seen = 1;
    sent.session = (struct kvp_session_id){2, 3, 4, 5};
    sent.version = 6;
    struct kvp_request got;
    kvp_buf out = {0};
    assert_int_equal(kvp_wire_request_encode(&sent, &out), KVP_OK);
    assert_int_equal(decode(kvp_buf_slice(&out), &got), KVP_OK);
    assert_int_equal(got.op, KVP_OP_CAS);
    assert_int_equal(kvp_slice_compare(got.group, text("g")), 0);
    assert_int_equal(got.epoch_seen, 1);
    assert_int_equal(got.session.client, 2);
    assert_int_equal(got.session.slot, 3);
    assert_int_equal(got.session.number, 4);
    assert_int_equal(got.session.session_start, 5);
    assert_int_equal(got.version, 6);
    assert_int_equal(got.key.size, 3);
    assert_int_equal(got.value.size, 5);
    kvp_buf_free(&out);
}

static void test_keys_and_values_up_to_the_limit_pass_and_longer_ones_do_not(void **state)
{
    static const struct {
        size_t key, value;
        kvp_status expected;
    } cases[] = {
        {KVP_KEY_SIZE_MAX, KVP_VALUE_SIZE_MAX, KVP_OK},
        {KVP_KEY_SIZE_MAX + 1, 0, KVP_TOO_LARGE},
        {1, KVP_VALUE_SIZE_MAX + 1, KVP_TOO_LARGE},
        {0, 0, KVP_BAD_REQUEST},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        kvp_buf out = {0};
        struct kvp_mp_writer writer;
        struct kvp_request request = put_of(cases[i].key, cases[i].value);
        assert_int_equal(kvp_wire_request_encode(&request, &out), cases[i].expected);
        out.size = 0;
        begin(&writer, &out, KVP_OP_PUT, 2);
        kvp_mp_write_bin(&writer, request.key);
        kvp_mp_write_bin(&writer, request.value);
        assert_int_equal(kvp_mp_write_end(&writer), KVP_OK);
        assert_int_equal(decode_bytes(&out), cases[i].expected);
        kvp_buf_free(&out);
    }
}

static void test_group_names_are_1_to_64_bytes(void **state)
{
    (void)state;
    static const struct {
        size_t size;
        kvp_status expected;
    } cases[] = {{0, KVP_BAD_REQUEST}, {64, KVP_OK}, {65, KVP_TOO_LARGE}};
    for (size_t i = 0; i < 3; i++) {
        kvp_buf out = {0};
        struct kvp_request request = put_of(1, 1);
        request.group = kvp_slice_of(zeros, cases[i].size);
        assert_int_equal(kvp_wire_request_encode(&request, &out), cases[i].expected);
        kvp_buf_free(&out);
    }
}

static void test_a_session_needs_a_number(void **state)
{
    (void)state;
    kvp_buf out = {0};
    struct kvp_request request = put_of(1, 1);
    request.session.client = 9;
    assert_int_equal(kvp_wire_request_encode(&request, &out), KVP_BAD_REQUEST);
    request.session.number = 1;
    assert_int_equal(kvp_wire_request_encode(&request, &out), KVP_OK);
    kvp_buf_free(&out);
}

static void test_unknown_versions_ops_and_lengths_are_told_apart(void **state)
{
    static const struct {
        kvp_slice bytes;
        kvp_status expected;
    } cases[] = {
        {{"", 0}, KVP_BAD_REQUEST},
        {{"\x01", 1}, KVP_BAD_REQUEST},          /* no array */
        {{"\x80", 1}, KVP_BAD_REQUEST},          /* a map */
        {{"\x90", 1}, KVP_BAD_REQUEST},          /* an empty array */
        {{"\x92\xa1x\x01", 4}, KVP_BAD_REQUEST}, /* a version that is no number */
        {{"\x92\x02\x01", 3}, KVP_BAD_VERSION},  /* whatever else is in it */
        {{"\x91\x02", 2}, KVP_BAD_VERSION},
        {{"\x92\x00\xc0", 3}, KVP_BAD_VERSION},
        {{"\x92\xcf\xff\xff\xff\xff\xff\xff\xff\xff\x01", 11}, KVP_BAD_VERSION},
        {{"\x92\x01\xc0", 3}, KVP_BAD_REQUEST}, /* an op that is no number */
        {{"\x92\x01\x00", 3}, KVP_BAD_OP},
        {{"\x92\x01\x3f", 3}, KVP_BAD_OP},
        {{"\x92\x01\x40", 3}, KVP_BAD_OP},                                  /* a peer's */
        {{"\x92\x01\xcf\x00\x00\x00\x01\x00\x00\x00\x01", 11}, KVP_BAD_OP}, /* not cut to 1 */
        {{"\x92\x01\x01", 3}, KVP_BAD_REQUEST}, /* HELLO without its fields */
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct kvp_request request;
        assert_int_equal(decode(cases[i].bytes, &request), cases[i].expected);
    }
}

static void test_peek_tells_version_and_op_of_what_it_does_not_know(void **state)
{
    unsigned version = 0;
    unsigned op = 0;
    (void)state;
    assert_int_equal(kvp_wire_peek(kvp_slice_of("\x92\x07\x63", 3), &version, &op), KVP_OK);
    assert_int_equal(version, 7);
    assert_int_equal(op, 0x63);
    assert_int_equal(kvp_wire_peek(kvp_slice_of("\x91\x07", 2), &version, &op), KVP_OK);
    assert_int_equal(kvp_wire_peek(kvp_slice_of("\x91\x01", 2), &version, &op), KVP_BAD_REQUEST);
    assert_int_equal(kvp_wire_peek(kvp_slice_of("\xa1x", 2), &version, &op), KVP_BAD_REQUEST);
    assert_int_equal(kvp_wire_peek(kvp_slice_of(NULL, 0), &version, &op), KVP_BAD_REQUEST);
}

static void test_an_element_too_many_or_too_few_is_refused(void **state)
{
    (void)state;
    for (unsigned args = 0; args < 4; args++) {
        kvp_buf out = {0};
        struct kvp_mp_writer writer;
        begin(&writer, &out, KVP_OP_PUT, args);
        for (unsigned i = 0; i < args; i++) {
            kvp_mp_write_bin(&writer, text("x"));
        }
        assert_int_equal(decode_bytes(&out), args == 2 ? KVP_OK : KVP_BAD_REQUEST);
        kvp_buf_free(&out);
    }
}

static void test_numbers_in_other_widths_are_understood(void **state)
{
    static const char message[] = "\xdd\x00\x00\x00\x0a"                 /* 10 elements */
                                  "\xd0\x01"                             /* version 1 as int8 */
                                  "\xcd\x00\x03"                         /* PUT as uint16 */
                                  "\xda\x00\x01g"                        /* str16 */
                                  "\xd3\x00\x00\x00\x00\x00\x00\x00\x05" /* int64 */
                                  "\xce\x00\x00\x00\x09\xcc\x02\xd1\x00\x01\xd2\x00\x00\x00\x28"
                                  "\xc6\x00\x00\x00\x01k" /* bin32 */
                                  "\xc5\x00\x01v";        /* bin16 */
    struct kvp_request request;
    (void)state;
    assert_int_equal(decode(kvp_slice_of(message, sizeof(message) - 1), &request), KVP_OK);
    assert_int_equal(request.op, KVP_OP_PUT);
    assert_int_equal(request.epoch_seen, 5);
    assert_int_equal(request.session.client, 9);
    assert_int_equal(request.session.slot, 2);
    assert_int_equal(request.session.number, 1);
    assert_int_equal(request.session.session_start, 40);
    assert_int_equal(kvp_slice_compare(request.key, text("k")), 0);
    assert_int_equal(kvp_slice_compare(request.value, text("v")), 0);
}

static void test_a_slot_has_16_bits(void **state)
{
    static const char message[] = "\x98\x01\x01\xa1g\x00\x00\xce\x00\x01\x00\x00\x00\x00";
    struct kvp_request request;
    (void)state;
    assert_int_equal(decode(kvp_slice_of(message, sizeof(message) - 1), &request), KVP_BAD_REQUEST);
}

static void test_a_handover_target_is_a_node_id(void **state)
{
    (void)state;
    static const uint64_t targets[] = {0, 63, 64, UINT64_MAX, 0x100000001u};
    for (size_t i = 0; i < 5; i++) {
        kvp_buf out = {0};
        struct kvp_mp_writer writer;
        begin(&writer, &out, KVP_OP_HANDOVER, 1);
        kvp_mp_write_uint(&writer, targets[i]);
        assert_int_equal(decode_bytes(&out), targets[i] <= 63 ? KVP_OK : KVP_BAD_REQUEST);
        kvp_buf_free(&out);
    }
}

/* A transaction whose three lists declare `counts` and hold as many small elements. */
static void put_txn(kvp_buf *out, const uint32_t counts[3])
{
    struct kvp_mp_writer writer;
    begin(&writer, out, KVP_OP_TXN, 3);
    for (unsigned list = 0; list < 3; list++) {
        kvp_mp_write_array(&writer, counts[list]);
        for (uint32_t i = 0; i < counts[list]; i++) {
            kvp_mp_write_array(&writer, 3);
            kvp_mp_write_uint(&writer, 0); /* absent, or get */
            kvp_mp_write_bin(&writer, text("k"));
            kvp_mp_write_nil(&writer);
        }
    }
    assert_int_equal(kvp_mp_write_end(&writer), KVP_OK);
}

static void test_lists_of_a_transaction_are_counted(void **state)
{
    static const uint32_t most[3] = {KVP_TXN_OPS_MAX, KVP_TXN_OPS_MAX, KVP_TXN_OPS_MAX};
    (void)state;
    kvp_buf out = {0};
    put_txn(&out, most);
    assert_int_equal(decode_bytes(&out), KVP_OK);
    sample_check_stable(SAMPLE_REQUEST, kvp_buf_slice(&out));
    kvp_buf_free(&out);
    for (unsigned list = 0; list < 3; list++) {
        uint32_t counts[3] = {1, 1, 1};
        counts[list] = KVP_TXN_OPS_MAX + 1;
        put_txn(&out, counts);
        assert_int_equal(decode_bytes(&out), KVP_TOO_LARGE);
        kvp_buf_free(&out);
    }
}

static void test_a_transaction_holds_at_most_4_mib(void **state)
{
    struct kvp_txn_op ops[5];
    struct kvp_request request = {.op = KVP_OP_TXN, .group = text("g"), .then_ops = ops};
    (void)state;
    for (unsigned i = 0; i < 5; i++) {
        ops[i] = (struct kvp_txn_op){KVP_TXN_PUT, text("k"), kvp_slice_of(zeros, 1024 * 1024 - 1)};
    }
    kvp_buf out = {0};
    request.then_count = 4; /* 4 MiB to the byte */
    assert_int_equal(kvp_wire_request_encode(&request, &out), KVP_OK);
    assert_int_equal(decode_bytes(&out), KVP_OK);
    ops[4] = (struct kvp_txn_op){KVP_TXN_DELETE, text("k"), {0}};
    request.then_count = 5;
    assert_int_equal(kvp_wire_request_encode(&request, &out), KVP_TOO_LARGE);
    kvp_buf_free(&out);
}

static void test_unknown_kinds_in_a_transaction_are_refused(void **state)
{
    (void)state;
    for (unsigned list = 0; list < 2; list++) {
        for (uint64_t kind = 0; kind < 300; kind++) {
            kvp_buf out = {0};
            struct kvp_mp_writer writer;
            begin(&writer, &out, KVP_OP_TXN, 3);
            for (unsigned i = 0; i < 3; i++) {
                kvp_mp_write_array(&writer, i == list ? 1 : 0);
                if (i == list) {
                    kvp_mp_write_array(&writer, 3);
                    kvp_mp_write_uint(&writer, kind);
                    kvp_mp_write_bin(&writer, text("k"));
                    kvp_mp_write_nil(&writer);
                }
            }
            bool takes_nil = list == 0 ? kind <= KVP_COMPARE_PRESENT
                                       : kind == KVP_TXN_GET || kind == KVP_TXN_DELETE;
            assert_int_equal(decode_bytes(&out), takes_nil ? KVP_OK : KVP_BAD_REQUEST);
            kvp_buf_free(&out);
        }
    }
}

/* Only then is it one element more: a node that does not know it would go forwards. */
static void test_a_scan_says_that_it_goes_backwards(void **state)
{
    struct kvp_request request = {.op = KVP_OP_SCAN, .group = text("g")}, decoded;
    kvp_buf forwards = {0}, backwards = {0};
    const char *reason;
    (void)state;
    assert_int_equal(kvp_wire_request_encode(&request, &forwards), KVP_OK);
    request.backwards = true;
    assert_int_equal(kvp_wire_request_encode(&request, &backwards), KVP_OK);
    assert_int_equal(backwards.size, forwards.size + 3); /* 16 elements have a longer head */
    assert_int_equal(kvp_wire_request_decode(kvp_buf_slice(&forwards), &scratch, &decoded, &reason),
                     KVP_OK);
    assert_false(decoded.backwards);
    assert_int_equal(
        kvp_wire_request_decode(kvp_buf_slice(&backwards), &scratch, &decoded, &reason), KVP_OK);
    assert_true(decoded.backwards);
    kvp_buf_free(&forwards);
    kvp_buf_free(&backwards);
}

static void test_scan_bounds_may_be_empty_but_not_longer_than_keys(void **state)
{
    (void)state;
    struct kvp_request request = {.op = KVP_OP_SCAN, .group = text("g")};
    kvp_buf out = {0};
    assert_int_equal(kvp_wire_request_encode(&request, &out), KVP_OK);
    assert_int_equal(decode_bytes(&out), KVP_OK);
    request.value = kvp_slice_of(zeros, KVP_KEY_SIZE_MAX + 1);
    assert_int_equal(kvp_wire_request_encode(&request, &out), KVP_TOO_LARGE);
    kvp_buf_free(&out);
}

/* ---- jobs and workers ---- */

static struct kvp_request job_request(unsigned op)
{
    return (struct kvp_request){
        .op = op, .group = text("g"), .key = text("w"), .value = text("\x90")};
}

static void check_job_round_trip(unsigned op)
{
    struct kvp_request sent = job_request(op);
    struct kvp_request got;
    kvp_buf out = {0};
    sent.job = (struct kvp_job_args){.job = 1,
                                     .attempt = 2,
                                     .instance = 3,
                                     .number = 4,
                                     .buffer = 5,
                                     .task = 6,
                                     .what = 7,
                                     .slot = 8,
                                     .wait_ms = 9,
                                     .progress = 10,
                                     .outcome = 11,
                                     .crc = 12,
                                     .standby = true,
                                     .has_checkpoint = true};
    assert_int_equal(kvp_wire_request_encode(&sent, &out), KVP_OK);
    assert_int_equal(decode(kvp_buf_slice(&out), &got), KVP_OK);
    bool set = op == KVP_OP_JOB_SET || op == KVP_OP_WORKER_SET;
    bool member = op > KVP_OP_WORKER_JOIN && op < KVP_OP_JOB_REMOVE;
    bool worker = member || op == KVP_OP_WORKER_JOIN || op == KVP_OP_WORKER_SET;
    bool attempt = op == KVP_OP_TASK_BEAT || op == KVP_OP_TASK_POST;
    bool number = op == KVP_OP_JOB_DATA || op == KVP_OP_JOB_TASKS || op == KVP_OP_JOB_INFO ||
                  op == KVP_OP_JOB_RESULT || op == KVP_OP_JOB_BLOCK || op == KVP_OP_TASK_FETCH ||
                  op == KVP_OP_JOB_RETRY || set;
    assert_int_equal(got.job.job, (!worker && op != KVP_OP_JOB_NEW) || attempt ? 1 : 0);
    assert_int_equal(got.job.attempt, attempt ? 2 : 0);
    assert_int_equal(got.job.instance, member ? 3 : 0);
    assert_int_equal(got.job.number, number ? 4 : 0);
    assert_int_equal(got.job.buffer, op == KVP_OP_WORKER_JOIN ? 5 : 0);
    assert_int_equal(got.job.task, attempt ? 6 : 0);
    assert_int_equal(got.job.what, op == KVP_OP_JOB_INFO || set ? 7 : 0);
    assert_int_equal(got.job.slot, op == KVP_OP_TASK_FETCH ? 8 : 0);
    assert_int_equal(got.job.wait_ms, op == KVP_OP_TASK_FETCH ? 9 : 0);
    assert_int_equal(got.job.progress, op == KVP_OP_TASK_BEAT ? 10 : 0);
    assert_int_equal(got.job.outcome, op == KVP_OP_TASK_POST ? 11 : 0);
    assert_int_equal(got.job.crc, op == KVP_OP_TASK_POST ? 12 : 0);
    assert_int_equal(got.job.standby, op == KVP_OP_WORKER_JOIN);
    assert_int_equal(got.job.has_checkpoint, op == KVP_OP_TASK_BEAT);
    assert_int_equal(got.key.size, worker ? 1 : 0);
    kvp_buf_free(&out);
}

static void test_every_operation_on_jobs_has_its_own_fields(void **state)
{
    unsigned known = 0;
    (void)state;
    for (unsigned op = 16; op < 48; op++) {
        struct kvp_request request = job_request(op);
        kvp_buf out = {0};
        if (kvp_wire_request_encode(&request, &out) != KVP_BAD_OP) {
            check_job_round_trip(op);
            known++;
        }
        kvp_buf_free(&out);
    }
    assert_int_equal(known, 17);
}

static void test_names_blocks_and_lists_have_their_limits(void **state)
{
    static uint8_t list[KVP_JOB_TASKS_SIZE_MAX + 1] = {0xdd, 0x00, 0x3f, 0xff, 0xfb};
    static const struct {
        unsigned op;
        size_t name, value;
        kvp_status expected;
    } cases[] = {
        {KVP_OP_WORKER_LEAVE, 0, 0, KVP_BAD_REQUEST},
        {KVP_OP_WORKER_LEAVE, 64, 0, KVP_OK},
        {KVP_OP_WORKER_LEAVE, 65, 0, KVP_TOO_LARGE},
        {KVP_OP_TASK_FETCH, 65, 0, KVP_TOO_LARGE},
        {KVP_OP_TASK_POST, 1, KVP_VALUE_SIZE_MAX, KVP_OK},
        {KVP_OP_TASK_POST, 1, KVP_VALUE_SIZE_MAX + 1, KVP_TOO_LARGE},
        {KVP_OP_TASK_BEAT, 1, KVP_VALUE_SIZE_MAX + 1, KVP_TOO_LARGE},
        {KVP_OP_JOB_DATA, 0, KVP_VALUE_SIZE_MAX, KVP_OK},
        {KVP_OP_JOB_DATA, 0, KVP_VALUE_SIZE_MAX + 1, KVP_TOO_LARGE},
        {KVP_OP_JOB_TASKS, 0, KVP_JOB_TASKS_SIZE_MAX, KVP_OK},
        {KVP_OP_JOB_TASKS, 0, KVP_JOB_TASKS_SIZE_MAX + 1, KVP_TOO_LARGE},
        {KVP_OP_JOB_NEW, 0, KVP_VALUE_SIZE_MAX + 1, KVP_TOO_LARGE},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct kvp_request request = job_request(cases[i].op);
        kvp_buf out = {0};
        request.job.has_checkpoint = true;
        request.key = kvp_slice_of(zeros, cases[i].name);
        request.value = kvp_slice_of(list, cases[i].value); /* an array of zeros, or just bytes */
        assert_int_equal(kvp_wire_request_encode(&request, &out), cases[i].expected);
        if (cases[i].expected == KVP_OK) {
            assert_int_equal(decode_bytes(&out), KVP_OK);
        }
        kvp_buf_free(&out);
    }
}

static void test_what_is_no_array_is_no_list(void **state)
{
    static const unsigned ops[] = {KVP_OP_JOB_NEW, KVP_OP_JOB_TASKS, KVP_OP_WORKER_JOIN};
    (void)state;
    for (unsigned i = 0; i < 3; i++) {
        kvp_buf out = {0};
        struct kvp_request request = job_request(ops[i]);
        request.value = text("\x2a");
        assert_int_equal(kvp_wire_request_encode(&request, &out), KVP_OK); /* not its business */
        assert_int_equal(decode_bytes(&out), KVP_BAD_REQUEST);
        kvp_buf_free(&out);
    }
}

static void test_a_refused_message_leaves_the_outputs_alone(void **state)
{
    struct kvp_request request = {.op = 4711};
    struct kvp_answer answer = {.epoch = 4711};
    (void)state;
    assert_int_not_equal(decode(kvp_slice_of("\x98\x01\x01\xa1g", 5), &request), KVP_OK);
    assert_int_equal(request.op, 4711);
    assert_int_not_equal(kvp_wire_answer_decode(kvp_slice_of("\x95\x01\x00", 3), &answer), KVP_OK);
    assert_int_equal(answer.epoch, 4711);
}

static void test_a_refused_request_appends_nothing(void **state)
{
    (void)state;
    kvp_buf out = {0};
    assert_int_equal(kvp_buf_append(&out, "x", 1), KVP_OK);
    struct kvp_request request = put_of(0, 0);
    assert_int_not_equal(kvp_wire_request_encode(&request, &out), KVP_OK);
    request = put_of(1, 1);
    request.op = KVP_OP_STATE;
    assert_int_equal(kvp_wire_request_encode(&request, &out), KVP_BAD_OP);
    assert_int_equal(out.size, 1);
    kvp_buf_free(&out);
}

static void test_every_status_travels_in_an_answer(void **state)
{
    (void)state;
    for (int status = 0; status >= -255; status--) {
        kvp_buf out = {0};
        struct kvp_answer sent = {.status = status, .epoch = 3, .hint = text("tcp://a:1")};
        struct kvp_answer got;
        assert_int_equal(kvp_wire_answer_encode(&sent, &out), KVP_OK);
        assert_int_equal(kvp_wire_answer_decode(kvp_buf_slice(&out), &got), KVP_OK);
        assert_int_equal(got.status, status);
        assert_int_equal(got.epoch, 3);
        assert_int_equal(kvp_slice_compare(got.hint, sent.hint), 0);
        assert_int_equal(got.result.size, 1);
        assert_memory_equal(got.result.data, "\xc0", 1);
        kvp_buf_free(&out);
    }
    struct kvp_answer positive = {.status = 1};
    struct kvp_answer low = {.status = -256};
    kvp_buf out = {0};
    assert_int_equal(kvp_wire_answer_encode(&positive, &out), KVP_BAD_ARGUMENT);
    assert_int_equal(kvp_wire_answer_encode(&low, &out), KVP_BAD_ARGUMENT);
}

/* A client shows the highest epoch that it has seen to all nodes: none that they can never reach.
 */
static void test_an_epoch_of_an_answer_is_below_2_62(void **state)
{
    static const uint64_t end = (uint64_t)1 << 62;
    static const uint64_t epochs[] = {0, end - 1, end, end + 1, UINT64_MAX};
    (void)state;
    for (size_t i = 0; i < sizeof(epochs) / sizeof(epochs[0]); i++) {
        kvp_buf out = {0};
        struct kvp_mp_writer writer;
        struct kvp_answer answer = {.epoch = 4711};
        kvp_mp_write_begin(&writer, &out);
        kvp_mp_write_raw(&writer, kvp_slice_of("\x95\x01\x00", 3));
        kvp_mp_write_uint(&writer, epochs[i]);
        kvp_mp_write_str(&writer, text(""));
        kvp_mp_write_nil(&writer);
        assert_int_equal(kvp_mp_write_end(&writer), KVP_OK);
        assert_int_equal(kvp_wire_answer_decode(kvp_buf_slice(&out), &answer),
                         epochs[i] < end ? KVP_OK : KVP_CORRUPT);
        assert_true(answer.epoch == (epochs[i] < end ? epochs[i] : 4711));
        kvp_buf_free(&out);
    }
}

static void test_a_message_is_at_most_16_mib_long(void **state)
{
    size_t size = KVP_MESSAGE_SIZE_MAX + 1;
    uint8_t *bytes = calloc(1, size);
    (void)state;
    assert_non_null(bytes);
    bytes[0] = 0xc6; /* bin 32 over all the rest but 16 bytes */
    bytes[2] = 0xff;
    bytes[3] = 0xff;
    bytes[4] = 0xf0;
    struct kvp_answer answer = {.result = kvp_slice_of(bytes, 0xfffff0 + 5)};
    kvp_buf out = {0};
    assert_int_equal(kvp_wire_answer_encode(&answer, &out), KVP_OK);
    answer.hint = text("tcp://10.0.0.1:7000");
    out.size = 0;
    assert_int_equal(kvp_wire_answer_encode(&answer, &out), KVP_TOO_LARGE);
    assert_int_equal(out.size, 0);
    struct kvp_request request;
    bytes[0] = 0x98;
    assert_int_equal(decode(kvp_slice_of(bytes, size), &request), KVP_TOO_LARGE);
    kvp_buf_free(&out);
    free(bytes);
}

static void test_a_hint_has_at_most_256_bytes(void **state)
{
    (void)state;
    for (size_t size = KVP_URL_SIZE_MAX; size <= KVP_URL_SIZE_MAX + 1; size++) {
        kvp_buf out = {0};
        struct kvp_mp_writer writer;
        struct kvp_answer answer = {.hint = kvp_slice_of(zeros, size)};
        bool fits = size == KVP_URL_SIZE_MAX;
        assert_int_equal(kvp_wire_answer_encode(&answer, &out), fits ? KVP_OK : KVP_BAD_ARGUMENT);
        out.size = 0;
        kvp_mp_write_begin(&writer, &out);
        kvp_mp_write_raw(&writer, kvp_slice_of("\x95\x01\x00\x00", 4));
        kvp_mp_write_str(&writer, answer.hint);
        kvp_mp_write_nil(&writer);
        assert_int_equal(kvp_wire_answer_decode(kvp_buf_slice(&out), &answer),
                         fits ? KVP_OK : KVP_CORRUPT);
        kvp_buf_free(&out);
    }
}

static void test_an_answer_of_another_version_is_told(void **state)
{
    struct kvp_answer answer;
    (void)state;
    assert_int_equal(kvp_wire_answer_decode(kvp_slice_of("\x91\x02", 2), &answer), KVP_BAD_VERSION);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fields_arrive_where_they_belong),
        cmocka_unit_test(test_keys_and_values_up_to_the_limit_pass_and_longer_ones_do_not),
        cmocka_unit_test(test_group_names_are_1_to_64_bytes),
        cmocka_unit_test(test_a_session_needs_a_number),
        cmocka_unit_test(test_unknown_versions_ops_and_lengths_are_told_apart),
        cmocka_unit_test(test_peek_tells_version_and_op_of_what_it_does_not_know),
        cmocka_unit_test(test_an_element_too_many_or_too_few_is_refused),
        cmocka_unit_test(test_numbers_in_other_widths_are_understood),
        cmocka_unit_test(test_a_slot_has_16_bits),
        cmocka_unit_test(test_a_handover_target_is_a_node_id),
        cmocka_unit_test(test_lists_of_a_transaction_are_counted),
        cmocka_unit_test(test_a_transaction_holds_at_most_4_mib),
        cmocka_unit_test(test_unknown_kinds_in_a_transaction_are_refused),
        cmocka_unit_test(test_a_scan_says_that_it_goes_backwards),
        cmocka_unit_test(test_scan_bounds_may_be_empty_but_not_longer_than_keys),
        cmocka_unit_test(test_every_operation_on_jobs_has_its_own_fields),
        cmocka_unit_test(test_names_blocks_and_lists_have_their_limits),
        cmocka_unit_test(test_what_is_no_array_is_no_list),
        cmocka_unit_test(test_a_refused_message_leaves_the_outputs_alone),
        cmocka_unit_test(test_a_refused_request_appends_nothing),
        cmocka_unit_test(test_every_status_travels_in_an_answer),
        cmocka_unit_test(test_an_epoch_of_an_answer_is_below_2_62),
        cmocka_unit_test(test_a_message_is_at_most_16_mib_long),
        cmocka_unit_test(test_a_hint_has_at_most_256_bytes),
        cmocka_unit_test(test_an_answer_of_another_version_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
