/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/net/witness_support.h"

kvp_node_set set_of(unsigned a, unsigned b, unsigned c)
{
    kvp_node_set set = 0;
    set |= a != 0 ? kvp_set_of(a) : 0;
    set |= b != 0 ? kvp_set_of(b) : 0;
    set |= c != 0 ? kvp_set_of(c) : 0;
    return set;
}

struct kvp_view view_of(uint64_t version, uint64_t epoch, uint8_t primary, kvp_node_set in_sync)
{
    return (struct kvp_view){version, epoch, primary, in_sync};
}

struct said say(struct kvp_witness *witness, kvp_slice message)
{
    struct said said = {0};
    kvp_buf encoded = {0};
    struct kvp_answer answer;
    said.handled = kvp_witness_handle(witness, message, &encoded);
    if (said.handled != KVP_OK) {
        assert_int_equal(encoded.size, 0);
        kvp_buf_free(&encoded);
        return said;
    }
    assert_int_equal(kvp_wire_answer_decode(kvp_buf_slice(&encoded), &answer), KVP_OK);
    said.code = answer.status;
    said.epoch = answer.epoch;
    said.has_register =
        kvp_wire_read_register(answer.result, &said.group_id, &said.view, &said.known) == KVP_OK;
    kvp_buf_free(&encoded);
    return said;
}

struct said ask(struct kvp_witness *witness, const struct kvp_witness_request *request)
{
    struct kvp_witness_request filled = *request;
    kvp_buf message = {0};
    if (filled.group.size == 0) {
        filled.group = kvp_slice_of("group", 5);
    }
    assert_int_equal(kvp_wire_witness_encode(&filled, &message), KVP_OK);
    struct said said = say(witness, kvp_buf_slice(&message));
    kvp_buf_free(&message);
    return said;
}

struct said get(struct kvp_witness *witness, uint64_t group_id)
{
    return ask(witness, &(struct kvp_witness_request){
                            .op = KVP_OP_REGISTER_GET, .from = 1, .group_id = group_id});
}

struct said cas(struct kvp_witness *witness, unsigned from, uint64_t expected, struct kvp_view view)
{
    return ask(witness, &(struct kvp_witness_request){.op = KVP_OP_REGISTER_CAS,
                                                      .from = from,
                                                      .group_id = GROUP_ID,
                                                      .expected = expected,
                                                      .view = view});
}

struct said seed(struct kvp_witness *witness, unsigned from, struct kvp_view view, bool force)
{
    return ask(witness, &(struct kvp_witness_request){.op = KVP_OP_REGISTER_SEED,
                                                      .from = from,
                                                      .group_id = GROUP_ID,
                                                      .view = view,
                                                      .force = force});
}

void check_register(struct kvp_witness *witness, struct kvp_view view)
{
    struct said said = get(witness, GROUP_ID);
    assert_int_equal(said.handled, KVP_OK);
    assert_int_equal(said.code, KVP_OK);
    assert_true(said.has_register);
    assert_int_equal(said.group_id, GROUP_ID);
    assert_int_equal(said.epoch, view.epoch);
    assert_true(kvp_view_equal(&said.view, &view));
}

void check_no(struct kvp_witness *witness, struct said said, int code, struct kvp_view view)
{
    assert_int_equal(said.handled, KVP_OK);
    assert_int_equal(said.code, code);
    assert_true(said.has_register);
    assert_true(kvp_view_equal(&said.view, &view));
    check_register(witness, view);
}

void check_unknown(struct kvp_witness *witness, struct said said, int code)
{
    assert_int_equal(said.handled, KVP_OK);
    assert_int_equal(said.code, code);
    assert_false(said.has_register);
    assert_int_equal(get(witness, GROUP_ID).code, KVP_NOT_SEEDED);
}

int open_fixture(void **state)
{
    static struct fixture fixture;
    assert_int_equal(kvp_env_memory_open(&fixture.env), KVP_OK);
    assert_int_equal(kvp_witness_open(fixture.env, &fixture.witness, NULL, 0), KVP_OK);
    *state = &fixture;
    return 0;
}

int close_fixture(void **state)
{
    struct fixture *fixture = *state;
    kvp_witness_close(fixture->witness);
    fixture->env->ops->close(fixture->env);
    return 0;
}

struct kvp_witness *of(void **state)
{
    return ((struct fixture *)*state)->witness;
}

struct kvp_view first_view(void)
{
    return view_of(1, 1, 1, set_of(1, 2, 0));
}

void create_group(struct kvp_witness *witness)
{
    assert_int_equal(cas(witness, 1, 0, first_view()).code, KVP_OK);
    check_register(witness, first_view());
}

void reopen(struct fixture *fixture)
{
    kvp_witness_close(fixture->witness);
    fixture->witness = NULL;
    assert_int_equal(kvp_witness_open(fixture->env, &fixture->witness, NULL, 0), KVP_OK);
}
