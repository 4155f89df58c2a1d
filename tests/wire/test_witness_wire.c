/* SPDX-License-Identifier: Apache-2.0 */
/* Messages to the witness, and the register that it answers with. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "replication/wire/wire.h"
#include "tests/wire/samples.h"

#include <string.h>

static struct kvp_witness_request request_of(unsigned op)
{
    return (struct kvp_witness_request){
        .op = op, .group = {"g", 1}, .epoch = 1, .from = 2, .group_id = 3, .view = {8, 5, 1, 6}};
}

static kvp_status decode(const kvp_buf *bytes, struct kvp_witness_request *request)
{
    const char *reason;
    return kvp_wire_witness_decode(kvp_buf_slice(bytes), request, &reason);
}

static void test_every_field_arrives(void **state)
{
    static const unsigned ops[] = {KVP_OP_REGISTER_GET, KVP_OP_REGISTER_CAS, KVP_OP_REGISTER_SEED};
    (void)state;
    for (unsigned i = 0; i < 3; i++) {
        kvp_buf out = {0};
        struct kvp_witness_request got;
        struct kvp_witness_request sent = request_of(ops[i]);
        sent.expected = 7;
        sent.force = true;
        assert_int_equal(kvp_wire_witness_encode(&sent, &out), KVP_OK);
        assert_int_equal(decode(&out, &got), KVP_OK);
        assert_int_equal(got.op, ops[i]);
        assert_int_equal(kvp_slice_compare(got.group, sent.group), 0);
        assert_int_equal(got.epoch, 1);
        assert_int_equal(got.from, 2);
        assert_int_equal(got.group_id, 3);
        assert_int_equal(got.expected, ops[i] == KVP_OP_REGISTER_CAS ? 7 : 0);
        assert_int_equal(got.force, ops[i] == KVP_OP_REGISTER_SEED);
        assert_int_equal(kvp_view_equal(&got.view, &sent.view), ops[i] != KVP_OP_REGISTER_GET);
        kvp_buf_free(&out);
    }
}

static void test_a_blank_node_may_ask_but_not_change(void **state)
{
    kvp_buf out = {0};
    (void)state;
    struct kvp_witness_request get = request_of(KVP_OP_REGISTER_GET);
    get.group_id = 0;
    assert_int_equal(kvp_wire_witness_encode(&get, &out), KVP_OK);
    struct kvp_witness_request cas = request_of(KVP_OP_REGISTER_CAS);
    cas.group_id = 0;
    assert_int_equal(kvp_wire_witness_encode(&cas, &out), KVP_BAD_REQUEST);
    kvp_buf_free(&out);
}

static void test_views_without_a_sound_primary_are_refused(void **state)
{
    static const struct kvp_view unsound[] = {
        {0, 0, 0, 0}, {8, 5, 1, 4}, {8, 5, 0, 2}, {8, 5, 64, 2}, {8, 5, 1, 3}, {0, 5, 1, 2},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(unsound) / sizeof(unsound[0]); i++) {
        kvp_buf out = {0};
        struct kvp_witness_request request = request_of(KVP_OP_REGISTER_CAS);
        request.view = unsound[i];
        assert_int_equal(kvp_wire_witness_encode(&request, &out), KVP_BAD_REQUEST);
        request.op = KVP_OP_REGISTER_SEED;
        assert_int_equal(kvp_wire_witness_encode(&request, &out), KVP_BAD_REQUEST);
        assert_null(out.data);
    }
}

static void test_the_decoder_refuses_what_the_encoder_would(void **state)
{
    kvp_buf out = {0};
    struct kvp_witness_request got = {.from = 42};
    struct kvp_witness_request sent = request_of(KVP_OP_REGISTER_CAS);
    (void)state;
    assert_int_equal(kvp_wire_witness_encode(&sent, &out), KVP_OK);
    /* ... 94 08 05 01 06: a set without the primary, node 0 in it, no view at all. */
    static const uint8_t sets[] = {4, 7, 0};
    for (unsigned i = 0; i < 3; i++) {
        out.data[out.size - 1] = sets[i];
        assert_int_equal(decode(&out, &got), KVP_BAD_REQUEST);
    }
    memset(out.data + out.size - 4, 0, 4); /* "no view" is nothing to set */
    assert_int_equal(decode(&out, &got), KVP_BAD_REQUEST);
    assert_int_equal(got.from, 42);
    /* 99 01 61 a1 67 epoch from to ...: the sixth element is nobody's id. */
    out.size = 0;
    sent = request_of(KVP_OP_REGISTER_GET);
    assert_int_equal(kvp_wire_witness_encode(&sent, &out), KVP_OK);
    assert_int_equal(out.data[out.size - 2], 0);
    out.data[out.size - 2] = 1;
    assert_int_equal(decode(&out, &got), KVP_BAD_REQUEST);
    kvp_buf_free(&out);
}

static void test_other_ops_and_versions_are_told_apart(void **state)
{
    kvp_buf out = {0};
    struct kvp_witness_request got;
    (void)state;
    struct kvp_witness_request sent = request_of(KVP_OP_REGISTER_GET);
    assert_int_equal(kvp_wire_witness_encode(&sent, &out), KVP_OK);
    out.data[2] = KVP_OP_REGISTER_CLAIM + 1;
    assert_int_equal(decode(&out, &got), KVP_BAD_OP);
    out.data[2] = KVP_OP_REGISTER_CAS; /* with the length of a GET */
    assert_int_equal(decode(&out, &got), KVP_BAD_REQUEST);
    out.data[1] = 2;
    assert_int_equal(decode(&out, &got), KVP_BAD_VERSION);
    sent.op = KVP_OP_LEAVE;
    assert_int_equal(kvp_wire_witness_encode(&sent, &out), KVP_BAD_OP);
    kvp_buf_free(&out);
}

static void test_a_register_is_read_back(void **state)
{
    kvp_buf out = {0};
    uint64_t group_id = 0, known = 0;
    struct kvp_view view = {0};
    const struct kvp_view sent = {8, 5, 63, (kvp_node_set)1 << 63};
    (void)state;
    for (uint64_t number = 0; number < 2; number++) {
        out.size = 0;
        assert_int_equal(kvp_wire_result_register(&out, 9, &sent, number), KVP_OK);
        assert_int_equal(kvp_wire_read_register(kvp_buf_slice(&out), &group_id, &view, &known),
                         KVP_OK);
        assert_int_equal(group_id, 9);
        assert_int_equal(known, number);
        assert_true(kvp_view_equal(&view, &sent));
    }
    assert_int_equal(kvp_wire_read_register(kvp_slice_of("\xc0", 1), &group_id, &view, &known),
                     KVP_CORRUPT);
    kvp_buf_free(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_field_arrives),
        cmocka_unit_test(test_a_blank_node_may_ask_but_not_change),
        cmocka_unit_test(test_views_without_a_sound_primary_are_refused),
        cmocka_unit_test(test_the_decoder_refuses_what_the_encoder_would),
        cmocka_unit_test(test_other_ops_and_versions_are_told_apart),
        cmocka_unit_test(test_a_register_is_read_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
