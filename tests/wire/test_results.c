/* SPDX-License-Identifier: Apache-2.0 */
/* The results in answers: what is written is read, and lists that lie are refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "replication/wire/mp_writer.h"
#include "replication/wire/wire.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static kvp_slice text(const char *string)
{
    return kvp_slice_of(string, strlen(string));
}

static void test_a_get_result_is_read_back(void **state)
{
    kvp_buf out = {0};
    struct kvp_get_result get;
    (void)state;
    assert_int_equal(kvp_wire_result_get(&out, 9, 8, text("v"), 7), KVP_OK);
    assert_int_equal(kvp_wire_read_get(kvp_buf_slice(&out), &get), KVP_OK);
    assert_int_equal(get.modify, 9);
    assert_int_equal(get.create, 8);
    assert_int_equal(get.behind, 7);
    assert_int_equal(kvp_slice_compare(get.value, text("v")), 0);
    kvp_buf_free(&out);
}

static void test_a_value_over_the_limit_is_no_result(void **state)
{
    kvp_buf out = {0};
    struct kvp_get_result get;
    uint8_t *bytes = calloc(1, KVP_VALUE_SIZE_MAX + 1);
    (void)state;
    assert_non_null(bytes);
    for (unsigned extra = 0; extra < 2; extra++) {
        out.size = 0;
        kvp_slice value = kvp_slice_of(bytes, KVP_VALUE_SIZE_MAX + extra);
        assert_int_equal(kvp_wire_result_get(&out, 1, 1, value, 0), KVP_OK);
        assert_int_equal(kvp_wire_read_get(kvp_buf_slice(&out), &get),
                         extra == 0 ? KVP_OK : KVP_CORRUPT);
    }
    kvp_buf_free(&out);
    free(bytes);
}

static struct kvp_hello hello_of(unsigned node_count)
{
    struct kvp_hello hello = {.node_id = 1, .role = KVP_ROLE_BACKUP, .primary_id = 2};
    hello.node_count = node_count;
    for (unsigned i = 0; i < node_count; i++) {
        hello.nodes[i].id = i + 1;
        hello.nodes[i].url = text("tcp://a:1");
    }
    return hello;
}

static void test_hello_names_every_node(void **state)
{
    (void)state;
    for (unsigned count = 0; count <= KVP_NODES_MAX; count++) {
        kvp_buf out = {0};
        struct kvp_hello sent = hello_of(count);
        struct kvp_hello got;
        assert_int_equal(kvp_wire_result_hello(&out, &sent), KVP_OK);
        assert_int_equal(kvp_wire_read_hello(kvp_buf_slice(&out), &got), KVP_OK);
        assert_int_equal(got.node_count, count);
        for (unsigned i = 0; i < count; i++) {
            assert_int_equal(got.nodes[i].id, i + 1);
            assert_int_equal(kvp_slice_compare(got.nodes[i].url, text("tcp://a:1")), 0);
        }
        kvp_buf_free(&out);
    }
}

static kvp_status read_hello_of(unsigned id, size_t url_size, unsigned count)
{
    static char url[KVP_URL_SIZE_MAX + 1];
    kvp_buf out = {0};
    struct kvp_mp_writer writer;
    struct kvp_hello hello;
    kvp_mp_write_begin(&writer, &out);
    kvp_mp_write_array(&writer, 11);
    for (unsigned i = 0; i < 4; i++) {
        kvp_mp_write_uint(&writer, 1);
    }
    kvp_mp_write_array(&writer, count);
    for (unsigned i = 0; i < count; i++) {
        kvp_mp_write_array(&writer, 2);
        kvp_mp_write_uint(&writer, id);
        kvp_mp_write_str(&writer, kvp_slice_of(url, url_size));
    }
    for (unsigned i = 0; i < 6; i++) {
        kvp_mp_write_uint(&writer, 1);
    }
    assert_int_equal(kvp_mp_write_end(&writer), KVP_OK);
    kvp_status status = kvp_wire_read_hello(kvp_buf_slice(&out), &hello);
    kvp_buf_free(&out);
    return status;
}

static void test_hello_with_too_many_nodes_or_odd_ones_is_refused(void **state)
{
    (void)state;
    assert_int_equal(read_hello_of(63, KVP_URL_SIZE_MAX, KVP_NODES_MAX), KVP_OK);
    assert_int_equal(read_hello_of(63, 1, KVP_NODES_MAX + 1), KVP_CORRUPT);
    assert_int_equal(read_hello_of(64, 1, 1), KVP_CORRUPT);
    assert_int_equal(read_hello_of(0, 1, 1), KVP_CORRUPT);
    assert_int_equal(read_hello_of(1, KVP_URL_SIZE_MAX + 1, 1), KVP_CORRUPT);
}

static void test_a_scan_gives_its_pairs_in_order(void **state)
{
    kvp_buf out = {0};
    struct kvp_scan_writer writer;
    (void)state;
    assert_int_equal(kvp_buf_append(&out, "head", 4), KVP_OK); /* it may stand behind other bytes */
    assert_int_equal(kvp_wire_scan_begin(&writer, &out), KVP_OK);
    for (unsigned i = 0; i < 1000; i++) {
        char key[8];
        (void)snprintf(key, sizeof(key), "%u", i);
        assert_int_equal(kvp_wire_scan_pair(&writer, text(key), i + 1, i, text(key)), KVP_OK);
    }
    assert_int_equal(kvp_wire_scan_end(&writer, 5, 6, 7), KVP_OK);
    struct kvp_scan_result scan;
    assert_int_equal(kvp_wire_read_scan(kvp_slice_of(out.data + 4, out.size - 4), &scan), KVP_OK);
    assert_int_equal(scan.cursor, 5);
    assert_int_equal(scan.revision, 6);
    assert_int_equal(scan.behind, 7);
    assert_int_equal(scan.count, 1000);
    for (unsigned i = 0; i < 1000; i++) {
        char expected[8];
        kvp_slice key;
        struct kvp_get_result pair;
        (void)snprintf(expected, sizeof(expected), "%u", i);
        assert_int_equal(kvp_wire_scan_next(&scan, &key, &pair), KVP_OK);
        assert_int_equal(kvp_slice_compare(key, text(expected)), 0);
        assert_int_equal(kvp_slice_compare(pair.value, text(expected)), 0);
        assert_int_equal(pair.modify, i + 1);
        assert_int_equal(pair.create, i);
        assert_int_equal(pair.behind, 7);
    }
    kvp_slice key;
    struct kvp_get_result pair;
    assert_int_equal(kvp_wire_scan_next(&scan, &key, &pair), KVP_NOT_FOUND);
    kvp_buf_free(&out);
}

static void test_an_empty_scan_has_no_pairs(void **state)
{
    kvp_buf out = {0};
    struct kvp_scan_writer writer;
    struct kvp_scan_result scan;
    kvp_slice key;
    struct kvp_get_result pair;
    (void)state;
    assert_int_equal(kvp_wire_scan_begin(&writer, &out), KVP_OK);
    assert_int_equal(kvp_wire_scan_end(&writer, 0, 3, 0), KVP_OK);
    assert_int_equal(kvp_wire_read_scan(kvp_buf_slice(&out), &scan), KVP_OK);
    assert_int_equal(scan.count, 0);
    assert_int_equal(kvp_wire_scan_next(&scan, &key, &pair), KVP_NOT_FOUND);
    kvp_buf_free(&out);
}

static void test_a_scan_with_a_wrong_count_is_refused(void **state)
{
    (void)state;
    for (unsigned count = 0; count < 4; count++) {
        kvp_buf out = {0};
        struct kvp_scan_writer writer;
        struct kvp_scan_result scan;
        assert_int_equal(kvp_wire_scan_begin(&writer, &out), KVP_OK);
        assert_int_equal(kvp_wire_scan_pair(&writer, text("a"), 1, 1, text("")), KVP_OK);
        assert_int_equal(kvp_wire_scan_pair(&writer, text("b"), 1, 1, text("")), KVP_OK);
        writer.count = count;
        assert_int_equal(kvp_wire_scan_end(&writer, 0, 3, 0), KVP_OK);
        assert_int_equal(kvp_wire_read_scan(kvp_buf_slice(&out), &scan),
                         count == 2 ? KVP_OK : KVP_CORRUPT);
        kvp_buf_free(&out);
    }
}

static void test_a_scanned_key_is_1_to_1024_bytes(void **state)
{
    static const uint8_t zeros[KVP_KEY_SIZE_MAX + 1];
    static const size_t sizes[] = {0, 1, KVP_KEY_SIZE_MAX, KVP_KEY_SIZE_MAX + 1};
    (void)state;
    for (unsigned i = 0; i < 4; i++) {
        kvp_buf out = {0};
        struct kvp_scan_writer writer;
        struct kvp_scan_result scan;
        kvp_slice key = kvp_slice_of(zeros, sizes[i]);
        assert_int_equal(kvp_wire_scan_begin(&writer, &out), KVP_OK);
        assert_int_equal(kvp_wire_scan_pair(&writer, key, 1, 1, text("")), KVP_OK);
        assert_int_equal(kvp_wire_scan_end(&writer, 0, 3, 0), KVP_OK);
        assert_int_equal(kvp_wire_read_scan(kvp_buf_slice(&out), &scan),
                         i == 1 || i == 2 ? KVP_OK : KVP_CORRUPT);
        kvp_buf_free(&out);
    }
}

static void test_results_of_a_transaction_are_told_apart(void **state)
{
    kvp_buf out = {0};
    struct kvp_get_result get = {.modify = 3, .create = 2, .value = {"v", 1}};
    struct kvp_get_result got;
    struct kvp_txn_result txn;
    enum kvp_txn_result_kind kind;
    bool flag = true;
    (void)state;
    assert_int_equal(kvp_wire_txn_begin(&out, true, 44, 4), KVP_OK);
    assert_int_equal(kvp_wire_txn_get(&out, &get), KVP_OK);
    assert_int_equal(kvp_wire_txn_get(&out, NULL), KVP_OK);
    assert_int_equal(kvp_wire_txn_put(&out), KVP_OK);
    assert_int_equal(kvp_wire_txn_delete(&out, false), KVP_OK);
    assert_int_equal(kvp_wire_read_txn(kvp_buf_slice(&out), &txn), KVP_OK);
    assert_true(txn.succeeded);
    assert_int_equal(txn.revision, 44);
    assert_int_equal(txn.count, 4);
    assert_int_equal(kvp_wire_txn_next(&txn, &kind, &got, &flag), KVP_OK);
    assert_int_equal(kind, KVP_TXN_RESULT_GET);
    assert_int_equal(got.modify, 3);
    assert_int_equal(kvp_slice_compare(got.value, text("v")), 0);
    assert_int_equal(kvp_wire_txn_next(&txn, &kind, &got, &flag), KVP_OK);
    assert_int_equal(kind, KVP_TXN_RESULT_NIL);
    assert_int_equal(kvp_wire_txn_next(&txn, &kind, &got, &flag), KVP_OK);
    assert_int_equal(kind, KVP_TXN_RESULT_NIL);
    assert_true(flag);
    assert_int_equal(kvp_wire_txn_next(&txn, &kind, &got, &flag), KVP_OK);
    assert_int_equal(kind, KVP_TXN_RESULT_BOOL);
    assert_false(flag);
    assert_int_equal(kvp_wire_txn_next(&txn, &kind, &got, &flag), KVP_NOT_FOUND);
    kvp_buf_free(&out);
}

static void test_a_transaction_with_a_wrong_count_is_refused(void **state)
{
    static const uint32_t counts[] = {0, 1, 2, 3, KVP_TXN_OPS_MAX, KVP_TXN_OPS_MAX + 1};
    (void)state;
    for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
        kvp_buf out = {0};
        struct kvp_txn_result txn;
        uint32_t written = counts[i] < 3 ? 2 : counts[i];
        assert_int_equal(kvp_wire_txn_begin(&out, false, 1, counts[i]), KVP_OK);
        for (uint32_t j = 0; j < written; j++) {
            assert_int_equal(kvp_wire_txn_put(&out), KVP_OK);
        }
        bool right = written == counts[i] && counts[i] <= KVP_TXN_OPS_MAX;
        assert_int_equal(kvp_wire_read_txn(kvp_buf_slice(&out), &txn),
                         right ? KVP_OK : KVP_CORRUPT);
        kvp_buf_free(&out);
    }
}

static void test_single_values_are_read_back(void **state)
{
    kvp_buf out = {0};
    uint64_t number = 0;
    kvp_slice string = {0};
    (void)state;
    assert_int_equal(kvp_wire_result_uint(&out, UINT64_MAX), KVP_OK);
    assert_int_equal(kvp_wire_read_uint(kvp_buf_slice(&out), &number), KVP_OK);
    assert_true(number == UINT64_MAX);
    assert_int_equal(kvp_wire_read_string(kvp_buf_slice(&out), &string), KVP_CORRUPT);
    assert_null(string.data);
    out.size = 0;
    assert_int_equal(kvp_wire_result_string(&out, "why"), KVP_OK);
    assert_int_equal(kvp_wire_read_string(kvp_buf_slice(&out), &string), KVP_OK);
    assert_int_equal(kvp_slice_compare(string, text("why")), 0);
    assert_int_equal(kvp_wire_read_uint(kvp_buf_slice(&out), &number), KVP_CORRUPT);
    assert_true(number == UINT64_MAX);
    kvp_buf_free(&out);
}

static void test_pieces_of_a_status_make_one_value(void **state)
{
    kvp_buf out = {0};
    struct kvp_answer answer = {0};
    struct kvp_answer got;
    kvp_buf message = {0};
    (void)state;
    assert_int_equal(kvp_wire_map(&out, 3), KVP_OK);
    assert_int_equal(kvp_wire_string(&out, "a"), KVP_OK);
    assert_int_equal(kvp_wire_uint(&out, 300), KVP_OK);
    assert_int_equal(kvp_wire_string(&out, "b"), KVP_OK);
    assert_int_equal(kvp_wire_array(&out, 2), KVP_OK);
    assert_int_equal(kvp_wire_bool(&out, true), KVP_OK);
    assert_int_equal(kvp_wire_nil(&out), KVP_OK);
    assert_int_equal(kvp_wire_string(&out, "c"), KVP_OK);
    assert_int_equal(kvp_wire_bool(&out, false), KVP_OK);
    static const char expected[] = "\x83\xa1"
                                   "a\xcd\x01\x2c\xa1"
                                   "b\x92\xc3\xc0\xa1"
                                   "c\xc2";
    assert_int_equal(out.size, sizeof(expected) - 1);
    assert_memory_equal(out.data, expected, out.size);
    answer.result = kvp_buf_slice(&out);
    assert_int_equal(kvp_wire_answer_encode(&answer, &message), KVP_OK);
    assert_int_equal(kvp_wire_answer_decode(kvp_buf_slice(&message), &got), KVP_OK);
    assert_int_equal(kvp_slice_compare(got.result, answer.result), 0);
    kvp_buf_free(&out);
    kvp_buf_free(&message);
}

static void test_a_task_handed_out_is_read_back(void **state)
{
    kvp_buf out = {0};
    struct kvp_task_grant got = {0};
    const struct kvp_task_grant sent = {.job = UINT64_MAX,
                                        .attempt = UINT64_MAX >> 2,
                                        .task = UINT32_MAX - 1,
                                        .beat_ms = UINT32_MAX - 2,
                                        .deadline_ms = UINT32_MAX - 3,
                                        .kind = text("count"),
                                        .checkpoint = text("half"),
                                        .payload = text("words"),
                                        .crc = UINT32_MAX - 4};
    (void)state;
    assert_int_equal(kvp_wire_result_grant(&out, &sent), KVP_OK);
    assert_int_equal(kvp_wire_read_grant(kvp_buf_slice(&out), &got), KVP_OK);
    assert_true(got.job == sent.job && got.attempt == sent.attempt);
    assert_int_equal(got.task, sent.task);
    assert_int_equal(got.beat_ms, sent.beat_ms);
    assert_int_equal(got.deadline_ms, sent.deadline_ms);
    assert_int_equal(got.crc, sent.crc);
    assert_int_equal(kvp_slice_compare(got.kind, sent.kind), 0);
    assert_int_equal(kvp_slice_compare(got.checkpoint, sent.checkpoint), 0);
    assert_int_equal(kvp_slice_compare(got.payload, sent.payload), 0);
    kvp_buf_free(&out);
}

/* Numbers of 32 bits: task, beat, deadline, CRC. The elements before and behind each are fixed. */
static void test_numbers_of_a_task_handed_out_have_32_bits(void **state)
{
    (void)state;
    for (unsigned wide = 0; wide < 5; wide++) {
        kvp_buf out = {0};
        struct kvp_mp_writer writer;
        struct kvp_task_grant got = {.job = 4711};
        const uint64_t large = (uint64_t)UINT32_MAX + 1;
        kvp_mp_write_begin(&writer, &out);
        kvp_mp_write_array(&writer, 9);
        kvp_mp_write_uint(&writer, 1);
        kvp_mp_write_uint(&writer, wide == 0 ? large : 2);
        kvp_mp_write_uint(&writer, 3);
        kvp_mp_write_text(&writer, "k");
        kvp_mp_write_uint(&writer, wide == 1 ? large : 4);
        kvp_mp_write_uint(&writer, wide == 2 ? large : 5);
        kvp_mp_write_bin(&writer, text(""));
        kvp_mp_write_bin(&writer, text("p"));
        kvp_mp_write_uint(&writer, wide == 3 ? large : 6);
        assert_int_equal(kvp_mp_write_end(&writer), KVP_OK);
        assert_int_equal(kvp_wire_read_grant(kvp_buf_slice(&out), &got),
                         wide == 4 ? KVP_OK : KVP_CORRUPT);
        assert_int_equal(got.job, wide == 4 ? 1 : 4711);
        kvp_buf_free(&out);
    }
}

static void test_bytes_and_bools_are_not_each_other(void **state)
{
    kvp_slice bytes = text("as it was");
    bool value = true;
    (void)state;
    assert_int_equal(kvp_wire_read_bin(text("\xc4\x02hi"), &bytes), KVP_OK);
    assert_int_equal(kvp_slice_compare(bytes, text("hi")), 0);
    assert_int_equal(kvp_wire_read_bin(text("\xa2hi"), &bytes), KVP_CORRUPT);
    assert_int_equal(kvp_wire_read_bin(text("\xc3"), &bytes), KVP_CORRUPT);
    assert_int_equal(kvp_slice_compare(bytes, text("hi")), 0);
    assert_int_equal(kvp_wire_read_bool(text("\xc2"), &value), KVP_OK);
    assert_false(value);
    assert_int_equal(kvp_wire_read_bool(text("\x01"), &value), KVP_CORRUPT);
    assert_int_equal(kvp_wire_read_bool(text("\xc3\xc3"), &value), KVP_CORRUPT);
    assert_false(value);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_get_result_is_read_back),
        cmocka_unit_test(test_a_value_over_the_limit_is_no_result),
        cmocka_unit_test(test_hello_names_every_node),
        cmocka_unit_test(test_hello_with_too_many_nodes_or_odd_ones_is_refused),
        cmocka_unit_test(test_a_scan_gives_its_pairs_in_order),
        cmocka_unit_test(test_an_empty_scan_has_no_pairs),
        cmocka_unit_test(test_a_scan_with_a_wrong_count_is_refused),
        cmocka_unit_test(test_a_scanned_key_is_1_to_1024_bytes),
        cmocka_unit_test(test_results_of_a_transaction_are_told_apart),
        cmocka_unit_test(test_a_transaction_with_a_wrong_count_is_refused),
        cmocka_unit_test(test_single_values_are_read_back),
        cmocka_unit_test(test_pieces_of_a_status_make_one_value),
        cmocka_unit_test(test_a_task_handed_out_is_read_back),
        cmocka_unit_test(test_numbers_of_a_task_handed_out_have_32_bits),
        cmocka_unit_test(test_bytes_and_bools_are_not_each_other),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
