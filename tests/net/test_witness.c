/* SPDX-License-Identifier: Apache-2.0 */
/* The rules of the register, and that no fault of the disk bends them. */
#include "tests/net/witness_support.h"

#include "tests/support/store_memory.h"
#include "replication/witness/witness.h"
#include "replication/witness/witness_sources.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

/* ---- creating and getting ---- */

static void test_an_unknown_group_is_not_seeded(void **state)
{
    check_unknown(of(state), get(of(state), 0), KVP_NOT_SEEDED);
    check_unknown(of(state), get(of(state), GROUP_ID), KVP_NOT_SEEDED);
    check_unknown(of(state), cas(of(state), 1, 1, view_of(2, 2, 1, set_of(1, 0, 0))),
                  KVP_NOT_SEEDED);
}

static void test_a_cas_from_version_zero_creates_the_group(void **state)
{
    create_group(of(state));
    assert_int_equal(kvp_witness_groups(of(state)), 1);
    assert_int_equal(kvp_witness_changes(of(state)), 1);
}

static void test_a_group_is_created_only_as_the_rules_say(void **state)
{
    struct kvp_witness *witness = of(state);
    check_unknown(witness, cas(witness, 3, 0, first_view()), KVP_REFUSED);
    check_unknown(witness, cas(witness, 1, 0, view_of(2, 1, 1, set_of(1, 2, 0))), KVP_REFUSED);
    assert_int_equal(kvp_witness_changes(witness), 0);
}

static void test_a_blank_node_learns_the_group_id_and_others_must_know_it(void **state)
{
    create_group(of(state));
    struct said said = get(of(state), 0);
    assert_int_equal(said.code, KVP_OK);
    assert_int_equal(said.group_id, GROUP_ID);
    said = get(of(state), GROUP_ID + 1);
    assert_int_equal(said.code, KVP_WRONG_GROUP);
    said = ask(of(state), &(struct kvp_witness_request){.op = KVP_OP_REGISTER_CAS,
                                                        .from = 1,
                                                        .group_id = GROUP_ID + 1,
                                                        .expected = 1,
                                                        .view = view_of(2, 2, 1, set_of(1, 0, 0))});
    check_no(of(state), said, KVP_WRONG_GROUP, first_view());
    said = ask(of(state), &(struct kvp_witness_request){.op = KVP_OP_REGISTER_SEED,
                                                        .from = 1,
                                                        .group_id = GROUP_ID + 1,
                                                        .force = true,
                                                        .view = view_of(9, 9, 1, set_of(1, 0, 0))});
    check_no(of(state), said, KVP_WRONG_GROUP, first_view());
}

static void test_groups_do_not_see_each_other(void **state)
{
    struct kvp_witness *witness = of(state);
    create_group(witness);
    const struct kvp_witness_request other = {.op = KVP_OP_REGISTER_CAS,
                                              .group = kvp_slice_of("group2", 6),
                                              .from = 7,
                                              .group_id = 5,
                                              .view = view_of(1, 1, 7, set_of(7, 0, 0))};
    assert_int_equal(ask(witness, &other).code, KVP_OK);
    check_register(witness, first_view());
    assert_int_equal(kvp_witness_groups(witness), 2);
    reopen(*state);
    check_register(of(state), first_view());
    struct said said =
        ask(of(state), &(struct kvp_witness_request){
                           .op = KVP_OP_REGISTER_GET, .group = other.group, .group_id = 5});
    assert_true(kvp_view_equal(&said.view, &other.view));
}

static void test_no_more_groups_than_the_limit(void **state)
{
    struct kvp_witness *witness = of(state);
    char name[32];
    struct kvp_witness_request request = {.op = KVP_OP_REGISTER_CAS,
                                          .from = 1,
                                          .group_id = 1,
                                          .view = view_of(1, 1, 1, set_of(1, 0, 0))};
    for (unsigned i = 0; i < KVP_WITNESS_GROUPS_MAX; i++) {
        request.group = kvp_slice_of(name, (size_t)snprintf(name, sizeof(name), "g%u", i));
        assert_int_equal(ask(witness, &request).code, KVP_OK);
    }
    check_unknown(witness, cas(witness, 1, 0, first_view()), KVP_REFUSED);
    check_unknown(witness, seed(witness, 1, first_view(), true), KVP_REFUSED);
    check_unknown(witness, seed(witness, 1, first_view(), false), KVP_BUSY);
    reopen(*state);
    assert_int_equal(kvp_witness_groups(of(state)), KVP_WITNESS_GROUPS_MAX);
}

/* ---- compare and set ---- */

static void test_a_member_of_the_in_sync_set_may_change_the_view(void **state)
{
    struct kvp_witness *witness = of(state);
    create_group(witness);
    assert_int_equal(cas(witness, 2, 1, view_of(2, 2, 2, set_of(2, 0, 0))).code, KVP_OK);
    assert_int_equal(cas(witness, 2, 2, view_of(3, 3, 2, set_of(1, 2, 3))).code, KVP_OK);
    assert_int_equal(cas(witness, 1, 3, view_of(4, 9, 3, set_of(2, 3, 0))).code, KVP_OK);
    check_register(witness, view_of(4, 9, 3, set_of(2, 3, 0)));
    assert_int_equal(kvp_witness_changes(witness), 4);
}

static void test_a_cas_from_another_version_is_stale(void **state)
{
    struct kvp_witness *witness = of(state);
    struct kvp_view now = view_of(2, 2, 1, set_of(1, 0, 0));
    create_group(witness);
    assert_int_equal(cas(witness, 1, 1, now).code, KVP_OK);
    check_no(witness, cas(witness, 1, 0, view_of(1, 5, 1, set_of(1, 0, 0))), KVP_STALE_VIEW, now);
    check_no(witness, cas(witness, 2, 1, view_of(2, 2, 2, set_of(2, 0, 0))), KVP_STALE_VIEW, now);
    check_no(witness, cas(witness, 1, 3, view_of(4, 4, 1, set_of(1, 0, 0))), KVP_STALE_VIEW, now);
}

static void test_a_view_against_the_rules_is_refused(void **state)
{
    struct kvp_witness *witness = of(state);
    struct kvp_view now = first_view();
    create_group(witness);
    /* the version moves by one */
    check_no(witness, cas(witness, 1, 1, view_of(1, 2, 1, set_of(1, 0, 0))), KVP_REFUSED, now);
    check_no(witness, cas(witness, 1, 1, view_of(3, 2, 1, set_of(1, 0, 0))), KVP_REFUSED, now);
    /* the epoch grows */
    check_no(witness, cas(witness, 1, 1, view_of(2, 1, 1, set_of(1, 0, 0))), KVP_REFUSED, now);
    /* the new primary is of the present in-sync set */
    check_no(witness, cas(witness, 1, 1, view_of(2, 2, 3, set_of(1, 2, 3))), KVP_REFUSED, now);
    /* and so is who asks */
    check_no(witness, cas(witness, 3, 1, view_of(2, 2, 1, set_of(1, 2, 3))), KVP_REFUSED, now);
    check_no(witness, cas(witness, 0, 1, view_of(2, 2, 1, set_of(1, 2, 3))), KVP_REFUSED, now);
    assert_int_equal(kvp_witness_changes(witness), 1);
}

static void test_a_repeat_of_a_change_that_was_made_is_ok(void **state)
{
    struct kvp_witness *witness = of(state);
    struct kvp_view second = view_of(2, 2, 2, set_of(2, 0, 0));
    create_group(witness);
    assert_int_equal(cas(witness, 1, 0, first_view()).code, KVP_OK);
    assert_int_equal(cas(witness, 2, 1, second).code, KVP_OK);
    assert_int_equal(cas(witness, 2, 1, second).code, KVP_OK);
    assert_int_equal(kvp_witness_changes(witness), 2);
    check_no(witness, cas(witness, 1, 0, first_view()), KVP_STALE_VIEW, second);
}

static void test_only_the_first_of_two_rivals_wins(void **state)
{
    struct kvp_witness *witness = of(state);
    struct kvp_view of_one = view_of(2, 2, 1, set_of(1, 0, 0));
    create_group(witness);
    assert_int_equal(cas(witness, 1, 1, of_one).code, KVP_OK);
    check_no(witness, cas(witness, 2, 1, view_of(2, 2, 2, set_of(2, 0, 0))), KVP_STALE_VIEW,
             of_one);
    check_no(witness, cas(witness, 2, 2, view_of(3, 3, 2, set_of(2, 0, 0))), KVP_REFUSED, of_one);
}

/* ---- seeding ---- */

static void test_all_members_together_seed_a_group(void **state)
{
    struct kvp_witness *witness = of(state);
    struct kvp_view view = view_of(7, 5, 2, set_of(1, 2, 3));
    check_unknown(witness, seed(witness, 1, view, false), KVP_NOT_SEEDED);
    check_unknown(witness, seed(witness, 1, view, false), KVP_NOT_SEEDED);
    check_unknown(witness, seed(witness, 3, view, false), KVP_NOT_SEEDED);
    assert_int_equal(seed(witness, 2, view, false).code, KVP_OK);
    check_register(witness, view);
    assert_int_equal(seed(witness, 3, view, false).code, KVP_OK);
    assert_int_equal(kvp_witness_changes(witness), 1);
    check_no(witness, seed(witness, 1, view_of(8, 6, 1, set_of(1, 0, 0)), false), KVP_STALE_VIEW,
             view);
}

static void test_members_that_disagree_seed_nothing(void **state)
{
    struct kvp_witness *witness = of(state);
    struct kvp_view old = view_of(6, 4, 1, set_of(1, 2, 0));
    struct kvp_view new = view_of(7, 5, 2, set_of(1, 2, 0));
    check_unknown(witness, seed(witness, 1, old, false), KVP_NOT_SEEDED);
    check_unknown(witness, seed(witness, 2, new, false), KVP_NOT_SEEDED);
    check_unknown(witness, seed(witness, 1, old, false), KVP_NOT_SEEDED);
    check_unknown(witness, seed(witness, 3, new, false), KVP_REFUSED);
    check_unknown(witness, seed(witness, 2, new, false), KVP_NOT_SEEDED);
    assert_int_equal(seed(witness, 1, new, false).code, KVP_OK);
    check_register(witness, new);
}

static void test_members_of_groups_with_other_ids_do_not_count_together(void **state)
{
    struct kvp_witness *witness = of(state);
    struct kvp_witness_request other = {
        .op = KVP_OP_REGISTER_SEED, .from = 2, .group_id = GROUP_ID + 1, .view = first_view()};
    check_unknown(witness, seed(witness, 1, first_view(), false), KVP_NOT_SEEDED);
    check_unknown(witness, ask(witness, &other), KVP_NOT_SEEDED);
    check_unknown(witness, seed(witness, 1, first_view(), false), KVP_NOT_SEEDED);
}

static void test_what_members_said_is_forgotten_when_the_group_becomes_known(void **state)
{
    struct kvp_witness *witness = of(state);
    check_unknown(witness, seed(witness, 2, view_of(3, 3, 2, set_of(1, 2, 0)), false),
                  KVP_NOT_SEEDED);
    create_group(witness);
    check_no(witness, seed(witness, 1, view_of(3, 3, 2, set_of(1, 2, 0)), false), KVP_STALE_VIEW,
             first_view());
}

static void test_force_seeds_alone_and_never_goes_back(void **state)
{
    struct kvp_witness *witness = of(state);
    struct kvp_view view = view_of(7, 5, 2, set_of(1, 2, 0));
    assert_int_equal(seed(witness, 0, view, true).code, KVP_OK);
    check_register(witness, view);
    assert_int_equal(seed(witness, 0, view, true).code, KVP_OK);
    assert_int_equal(kvp_witness_changes(witness), 1);
    check_no(witness, seed(witness, 0, view_of(9, 4, 1, set_of(1, 0, 0)), true), KVP_STALE_VIEW,
             view);
    assert_int_equal(seed(witness, 0, view_of(9, 6, 1, set_of(1, 0, 0)), true).code, KVP_OK);
    check_register(witness, view_of(9, 6, 1, set_of(1, 0, 0)));
}

/* Of a small number, as the register tells it. */
#define MARK(number) (UINT64_C(0x10000) | (number))

static struct said claim_place(struct kvp_witness *witness, unsigned from, uint64_t incarnation,
                               uint64_t earlier, uint64_t replaces)
{
    return ask(witness, &(struct kvp_witness_request){.op = KVP_OP_REGISTER_CLAIM,
                                                      .from = from,
                                                      .group_id = GROUP_ID,
                                                      .numbers = {.incarnation = incarnation,
                                                                  .replaces = replaces,
                                                                  .earlier = {earlier}}});
}

static struct said claim(struct kvp_witness *witness, unsigned from, uint64_t incarnation,
                         uint64_t earlier)
{
    return claim_place(witness, from, incarnation, earlier, 0);
}

static void test_a_copy_does_not_speak_for_its_node(void **state)
{
    struct kvp_witness *witness = of(state);
    assert_int_equal(claim(witness, 2, 20, 0).code, KVP_NOT_SEEDED);
    create_group(witness);
    struct kvp_view view = get(witness, GROUP_ID).view;
    assert_int_equal(claim(witness, 2, 20, KVP_STORE_IS_NEW).code, KVP_OK);
    assert_int_equal(claim(witness, 2, 21, 20).code, KVP_OK);
    check_no(witness, claim(witness, 2, 22, 20), KVP_REFUSED, view);
    assert_int_equal(claim(witness, 2, 21, 20).code, KVP_OK); /* a repeat */
    reopen(*state);
    witness = of(state);
    check_no(witness, claim(witness, 2, 22, 20), KVP_REFUSED, view);
    assert_int_equal(claim(witness, 3, 30, 0).code, KVP_OK);
    /* A new store waits until nothing counts on its node. */
    struct said said = claim(witness, 1, 10, 0);
    assert_int_equal(said.code, KVP_OK);
    assert_int_equal(claim_place(witness, 1, 11, KVP_STORE_IS_NEW, MARK(10)).code, KVP_BUSY);
    assert_int_equal(claim_place(witness, 3, 31, KVP_STORE_IS_NEW, MARK(30)).code,
                     kvp_set_has(view.in_sync, 3) ? KVP_BUSY : KVP_OK);
}

/* A new store names the number whose place it takes, and gets it when nothing counts on the node.
 */
static void test_a_new_store_takes_the_place_that_it_names(void **state)
{
    struct kvp_witness *witness = of(state);
    create_group(witness);
    struct kvp_view next = get(witness, GROUP_ID).view;
    assert_int_equal(claim(witness, 2, 30, KVP_STORE_IS_NEW).code, KVP_OK);
    struct said said = claim_place(witness, 2, 40, KVP_STORE_IS_NEW, 0);
    assert_int_equal(said.code, KVP_BUSY);
    assert_int_equal(said.known, MARK(30));
    assert_int_equal(claim_place(witness, 2, 40, KVP_STORE_IS_NEW, MARK(30)).code, KVP_BUSY);
    next.version++;
    next.epoch++;
    next.in_sync &= ~kvp_set_of(2);
    assert_int_equal(cas(witness, 1, next.version - 1, next).code, KVP_OK);
    assert_int_equal(claim_place(witness, 2, 40, KVP_STORE_IS_NEW, MARK(29)).code, KVP_BUSY);
    reopen(*state);
    witness = of(state);
    assert_int_equal(claim_place(witness, 2, 40, KVP_STORE_IS_NEW, MARK(30)).code, KVP_OK);
    check_no(witness, claim(witness, 2, 31, 30), KVP_REFUSED, next);
}

/* The first store of a node whose stores counted before hears of no number: from that it learns
 * that the register was made anew. */
static void test_a_restarted_witness_knows_who_must_hear_that_it_was_emptied(void **state)
{
    create_group(of(state));
    assert_int_equal(claim(of(state), 1, 10, 0).known, 0);
    assert_int_equal(claim(of(state), 2, 20, KVP_STORE_IS_NEW).code, KVP_OK);
    reopen(*state); /* the answer was lost */
    struct said said = claim(of(state), 1, 11, 10);
    assert_int_equal(said.code, KVP_OK);
    assert_int_equal(said.known, 0);
    reopen(*state);
    assert_int_equal(claim(of(state), 1, 11, 10).known, 0);
    assert_int_equal(claim(of(state), 2, 21, 20).known, MARK(21));
    struct kvp_view view = get(of(state), GROUP_ID).view;
    view.version++;
    view.epoch++;
    assert_int_equal(cas(of(state), 1, view.version - 1, view).code, KVP_OK);
    reopen(*state); /* and now it is compared: */
    assert_int_equal(claim(of(state), 1, 12, 11).known, MARK(12));
}

/* Whoever asks in a node's name hears nothing by which the node's place could be claimed. */
static void test_an_answer_to_a_claim_tells_nobody_the_number(void **state)
{
    struct kvp_witness *witness = of(state);
    const uint64_t number = UINT64_C(0x123456789abcdef1);
    create_group(witness);
    struct kvp_view view = get(witness, GROUP_ID).view;
    assert_int_equal(claim(witness, 2, number, KVP_STORE_IS_NEW).code, KVP_OK);
    for (unsigned i = 0; i < 3; i++) {
        const uint64_t earlier[] = {0, 1, KVP_STORE_IS_NEW};
        struct said said = claim(witness, 2, 77, earlier[i]);
        assert_int_equal(said.code, i == 2 ? KVP_BUSY : KVP_REFUSED);
        assert_true(said.known < UINT64_C(1) << 17); /* 48 bits stay unknown */
        check_no(witness, claim(witness, 2, 77, said.known), KVP_REFUSED, view);
        check_no(witness, claim(witness, 2, said.known, 77), KVP_REFUSED, view);
    }
    assert_int_equal(claim(witness, 2, number + 1, number).code, KVP_OK);
}

/* Else the store of today would be a stranger, and its node without one: however long ago that life
 * was, and also when the witness was started anew since. */
static void test_a_late_claim_of_an_earlier_life_changes_nothing(void **state)
{
    struct kvp_witness *witness = of(state);
    create_group(witness);
    struct kvp_view next = get(witness, GROUP_ID).view;
    next.version++;
    next.epoch++;
    next.in_sync &= ~kvp_set_of(3);
    assert_int_equal(cas(witness, 1, next.version - 1, next).code, KVP_OK);
    assert_int_equal(claim(witness, 3, 29, 0).code, KVP_OK);
    assert_int_equal(claim_place(witness, 3, 30, KVP_STORE_IS_NEW, MARK(29)).code, KVP_OK);
    for (uint64_t number = 31; number < 60; number++) {
        assert_int_equal(claim(witness, 3, number, number - 1).code, KVP_OK);
    }
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(claim(witness, 3, 30, KVP_STORE_IS_NEW).code, KVP_BUSY);
        assert_int_equal(claim_place(witness, 3, 30, KVP_STORE_IS_NEW, MARK(29)).code, KVP_BUSY);
        assert_int_equal(claim(witness, 3, 31, 30).code, KVP_REFUSED);
        assert_int_equal(claim(witness, 3, 59, 58).code, KVP_OK);
        reopen(*state);
        witness = of(state);
    }
}

/* One request with the last number would leave none for those that follow. */
static void test_no_change_uses_up_the_numbers(void **state)
{
    struct kvp_witness *witness = of(state);
    const uint64_t last = KVP_VIEW_NUMBER_END - 1;
    struct kvp_view view = {1, 1, 1, kvp_set_of(1) | kvp_set_of(2)}, far = view;
    assert_int_equal(cas(witness, 1, 0, view).code, KVP_OK);
    far.version = 2;
    far.epoch = last;
    check_no(witness, cas(witness, 2, 1, far), KVP_REFUSED, view);
    far.epoch = 2 + KVP_VIEW_JUMP_MAX;
    check_no(witness, cas(witness, 2, 1, far), KVP_REFUSED, view);
    far.version = far.epoch = last;
    check_no(witness, seed(witness, 2, far, true), KVP_REFUSED, view);
    far.version = 2;
    far.epoch = 1 + KVP_VIEW_JUMP_MAX;
    assert_int_equal(cas(witness, 2, 1, far).code, KVP_OK);
    far.version = 3;
    far.epoch += KVP_VIEW_JUMP_MAX + 1;
    assert_int_equal(seed(witness, 1, far, true).code, KVP_OK);
}

static void test_a_forced_view_gets_a_version_that_nobody_has_seen(void **state)
{
    struct kvp_witness *witness = of(state);
    create_group(witness);
    struct said said = seed(witness, 0, view_of(1, 4, 2, set_of(2, 0, 0)), true);
    assert_int_equal(said.code, KVP_OK);
    check_register(witness, view_of(2, 4, 2, set_of(2, 0, 0)));
    check_no(witness, cas(witness, 2, 1, view_of(2, 5, 1, set_of(1, 0, 0))), KVP_STALE_VIEW,
             said.view);
}

/* ---- malformed requests ---- */

static void check_error(struct kvp_witness *witness, const void *data, size_t size, int code)
{
    struct said said = say(witness, kvp_slice_of(data, size));
    assert_int_equal(said.handled, KVP_OK);
    assert_int_equal(said.code, code);
    assert_false(said.has_register);
}

static void test_malformed_requests_are_answered(void **state)
{
    struct kvp_witness *witness = of(state);
    kvp_buf message = {0};
    struct kvp_witness_request request = {.op = KVP_OP_REGISTER_CAS,
                                          .group = kvp_slice_of("group", 5),
                                          .from = 1,
                                          .group_id = GROUP_ID,
                                          .view = first_view()};
    check_error(witness, "", 0, KVP_BAD_REQUEST);
    check_error(witness, "\xc0", 1, KVP_BAD_REQUEST);
    check_error(witness, "\x92\x01\x01", 3, KVP_BAD_OP);      /* HELLO */
    check_error(witness, "\x92\x01\x09", 3, KVP_BAD_OP);      /* STATUS */
    check_error(witness, "\x92\x63\x60", 3, KVP_BAD_VERSION); /* version 99 */
    check_error(witness, "\x92\x01\x60", 3, KVP_BAD_REQUEST); /* GET without the rest */
    assert_int_equal(kvp_wire_witness_encode(&request, &message), KVP_OK);
    for (size_t size = 0; size < message.size; size++) {
        struct said said = say(witness, kvp_slice_of(message.data, size));
        assert_int_equal(said.handled, KVP_OK);
        assert_true(said.code != KVP_OK);
    }
    assert_int_equal(kvp_witness_changes(witness), 0);
    for (size_t i = 0; i < message.size; i++) {
        for (unsigned flip = 1; flip < 256; flip++) {
            message.data[i] ^= (uint8_t)flip;
            assert_int_equal(say(witness, kvp_buf_slice(&message)).handled, KVP_OK);
            message.data[i] ^= (uint8_t)flip;
        }
    }
    kvp_buf_free(&message);
}

/* ---- disk ---- */

static void test_the_register_survives_a_restart(void **state)
{
    struct fixture *fixture = *state;
    create_group(fixture->witness);
    assert_int_equal(cas(fixture->witness, 2, 1, view_of(2, 2, 2, set_of(2, 0, 0))).code, KVP_OK);
    reopen(fixture);
    check_register(fixture->witness, view_of(2, 2, 2, set_of(2, 0, 0)));
    assert_int_equal(kvp_witness_changes(fixture->witness), 2);
    assert_int_equal(cas(fixture->witness, 2, 2, view_of(3, 3, 2, set_of(1, 2, 0))).code, KVP_OK);
}

/* What is answered is still there after the power was cut, with whatever the disk forgets. */
static void test_an_answered_change_survives_a_power_cut(void **state)
{
    struct fixture *fixture = *state;
    create_group(fixture->witness);
    assert_int_equal(cas(fixture->witness, 2, 1, view_of(2, 2, 2, set_of(2, 0, 0))).code, KVP_OK);
    kvp_env_memory_crash(fixture->env, 0, 0, false);
    kvp_witness_close(fixture->witness);
    fixture->witness = NULL;
    kvp_env_memory_restart(fixture->env);
    assert_int_equal(kvp_witness_open(fixture->env, &fixture->witness, NULL, 0), KVP_OK);
    check_register(fixture->witness, view_of(2, 2, 2, set_of(2, 0, 0)));
}

/* The failing change of the disk is the `after`th from the opening on. Returns how many registers
 * were changed before the fault. */
static unsigned run_until_fault(struct kvp_witness *witness, struct kvp_view *last,
                                struct kvp_view *tried)
{
    unsigned made = 0;
    for (uint64_t version = 1; version <= 4; version++) {
        *tried = view_of(version, version, 1, set_of(1, version % 2 != 0 ? 2 : 0, 0));
        struct said said = cas(witness, 1, version - 1, *tried);
        if (said.handled != KVP_OK) {
            assert_int_equal(said.handled, KVP_FAILED);
            assert_true(kvp_witness_error(witness)[0] != '\0');
            assert_int_equal(get(witness, GROUP_ID).handled, KVP_FAILED);
            break;
        }
        assert_int_equal(said.code, KVP_OK);
        *last = *tried;
        made++;
    }
    return made;
}

static void check_crash(uint64_t after, bool persist, size_t keep_batches, bool keep_files,
                        bool *reached)
{
    struct kvp_env *env;
    struct kvp_witness *witness = NULL;
    struct kvp_view last = {0};
    struct kvp_view tried = {0};
    assert_int_equal(kvp_env_memory_open(&env), KVP_OK);
    kvp_env_memory_set_fault(
        env, (struct kvp_memory_fault){
                 .after = after, .status = KVP_IO, .persist = persist, .stay = true});
    unsigned made = 0;
    kvp_status status = kvp_witness_open(env, &witness, NULL, 0);
    if (status == KVP_OK) {
        made = run_until_fault(witness, &last, &tried);
    }
    *reached = status != KVP_OK || made < 4;
    kvp_env_memory_crash(env, keep_batches, 0, keep_files);
    kvp_witness_close(witness);
    kvp_env_memory_restart(env);
    assert_int_equal(kvp_witness_open(env, &witness, NULL, 0), KVP_OK);
    struct said said = get(witness, GROUP_ID);
    if (said.code == KVP_NOT_SEEDED) {
        assert_int_equal(made, 0);
    } else {
        assert_int_equal(said.code, KVP_OK);
        assert_true(kvp_view_equal(&said.view, &last) || kvp_view_equal(&said.view, &tried));
        assert_int_equal(
            cas(witness, 1, said.view.version,
                view_of(said.view.version + 1, said.view.epoch + 1, 1, set_of(1, 0, 0)))
                .code,
            KVP_OK);
    }
    kvp_witness_close(witness);
    env->ops->close(env);
}

static void test_a_crash_at_any_change_leaves_the_old_or_the_new_register(void **state)
{
    (void)state;
    bool reached = true;
    for (uint64_t after = 0; reached; after++) {
        assert_true(after < 100);
        for (unsigned variant = 0; variant < 8; variant++) {
            check_crash(after, (variant & 1) != 0, (variant & 2) != 0 ? 10 : 0, (variant & 4) != 0,
                        &reached);
        }
    }
}

static void write_raw(struct kvp_env *env, const char *key, size_t key_size, const void *value,
                      size_t size)
{
    struct kvp_store *store;
    const struct kvp_batch_op op = {kvp_slice_of(key, key_size), kvp_slice_of(value, size), false};
    assert_int_equal(env->ops->open_store(env, "register", true, &store), KVP_OK);
    assert_int_equal(store->ops->write(store, &op, 1, true), KVP_OK);
    store->ops->close(store);
}

static void check_not_opened(const char *key, size_t key_size, const void *value, size_t size,
                             kvp_status expected)
{
    struct kvp_env *env;
    struct kvp_witness *witness = NULL;
    char message[256] = "";
    assert_int_equal(kvp_env_memory_open(&env), KVP_OK);
    write_raw(env, key, key_size, value, size);
    assert_int_equal(kvp_witness_open(env, &witness, message, sizeof(message)), expected);
    assert_null(witness);
    assert_true(message[0] != '\0');
    env->ops->close(env);
}

static void test_a_damaged_register_is_not_opened(void **state)
{
    (void)state;
    uint8_t sound[34] = {1, 1, [9] = 1, [17] = 1, [25] = 1, [26] = 2};
    uint8_t damaged[34];
    memcpy(damaged, sound, sizeof(damaged));
    check_not_opened("Gx", 2, sound, 33, KVP_CORRUPT);
    check_not_opened("Gx", 2, "", 0, KVP_CORRUPT);
    check_not_opened("G", 1, sound, 34, KVP_CORRUPT);
    check_not_opened("Hx", 2, sound, 34, KVP_CORRUPT);
    check_not_opened("C", 1, "0123456789abcdef", 16, KVP_CORRUPT);
    damaged[0] = 3;
    check_not_opened("Gx", 2, damaged, 34, KVP_BAD_VERSION);
    for (size_t at = 1; at <= 26; at += at == 17 ? 8 : at == 25 ? 1 : 8) {
        memcpy(damaged, sound, sizeof(damaged));
        damaged[at] = 0; /* group id, version, epoch, primary, in-sync set */
        check_not_opened("Gx", 2, damaged, 34, KVP_CORRUPT);
    }
}

static void test_a_store_that_lost_its_newest_change_is_not_opened(void **state)
{
    struct fixture *fixture = *state;
    char message[256] = "";
    uint8_t zero[16] = {0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 255, 255, 255, 255, 255, 255};
    create_group(fixture->witness);
    kvp_witness_close(fixture->witness);
    fixture->witness = NULL;
    write_raw(fixture->env, "C", 1, zero, sizeof(zero));
    assert_int_equal(kvp_witness_open(fixture->env, &fixture->witness, message, sizeof(message)),
                     KVP_CORRUPT);
    assert_non_null(strstr(message, "register.count"));
    assert_int_equal(fixture->env->ops->destroy_store(fixture->env, "register"), KVP_OK);
    assert_int_equal(kvp_witness_open(fixture->env, &fixture->witness, message, sizeof(message)),
                     KVP_CORRUPT);
    assert_null(fixture->witness);
}

/* ---- places ---- */

static struct kvp_witness_request request_for(unsigned op, const char *group)
{
    return (struct kvp_witness_request){.op = op,
                                        .group = kvp_slice_of(group, strlen(group)),
                                        .from = 1,
                                        .group_id = GROUP_ID,
                                        .view = view_of(1, 1, 1, set_of(1, 2, 0))};
}

static bool is_new(struct kvp_witness *witness, unsigned op, const char *group)
{
    kvp_buf message = {0};
    struct kvp_witness_request request = request_for(op, group);
    assert_int_equal(kvp_wire_witness_encode(&request, &message), KVP_OK);
    bool new = kvp_witness_is_new(witness, kvp_buf_slice(&message));
    kvp_buf_free(&message);
    return new;
}

static void test_a_name_is_new_until_a_register_or_a_seed_has_it(void **state)
{
    struct kvp_witness *witness = of(state);
    struct kvp_witness_request request = request_for(KVP_OP_REGISTER_SEED, "g");
    assert_true(is_new(witness, KVP_OP_REGISTER_CAS, "g"));
    assert_true(is_new(witness, KVP_OP_REGISTER_SEED, "g"));
    assert_false(is_new(witness, KVP_OP_REGISTER_GET, "g"));
    assert_false(kvp_witness_is_new(witness, kvp_slice_of("x", 1)));
    assert_int_equal(kvp_witness_names(witness), 0);
    (void)ask(witness, &request);
    assert_int_equal(kvp_witness_names(witness), 1);
    assert_int_equal(kvp_witness_groups(witness), 0);
    assert_false(is_new(witness, KVP_OP_REGISTER_SEED, "g"));
    assert_true(is_new(witness, KVP_OP_REGISTER_SEED, "h"));
}

static void test_one_address_does_not_bring_all_groups(void **state)
{
    static struct witness_sources sources;
    char address[32];
    (void)state;
    for (unsigned i = 0; i < 10; i++) {
        assert_true(witness_sources_permit(&sources, "10.0.0.1", 10));
        witness_sources_note(&sources, "10.0.0.1", 1);
    }
    assert_false(witness_sources_permit(&sources, "10.0.0.1", 10));
    assert_true(witness_sources_permit(&sources, "10.0.0.11", 10));
    for (unsigned i = 1; i < WITNESS_SOURCES_MAX; i++) {
        (void)snprintf(address, sizeof(address), "10.0.1.%u", i);
        witness_sources_note(&sources, address, 1);
        assert_true(witness_sources_permit(&sources, address, 10));
    }
    /* Those beyond the table count as one. */
    for (unsigned i = 0; i < 10; i++) {
        (void)snprintf(address, sizeof(address), "10.0.2.%u", i);
        assert_true(witness_sources_permit(&sources, address, 10));
        witness_sources_note(&sources, address, 1);
    }
    assert_false(witness_sources_permit(&sources, "10.0.3.1", 10));
    assert_true(witness_sources_permit(&sources, "10.0.1.7", 10));
}

#define ON_EMPTY(test) cmocka_unit_test_setup_teardown(test, open_fixture, close_fixture)

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_EMPTY(test_an_unknown_group_is_not_seeded),
        ON_EMPTY(test_a_cas_from_version_zero_creates_the_group),
        ON_EMPTY(test_a_group_is_created_only_as_the_rules_say),
        ON_EMPTY(test_a_blank_node_learns_the_group_id_and_others_must_know_it),
        ON_EMPTY(test_groups_do_not_see_each_other),
        ON_EMPTY(test_no_more_groups_than_the_limit),
        ON_EMPTY(test_a_member_of_the_in_sync_set_may_change_the_view),
        ON_EMPTY(test_a_cas_from_another_version_is_stale),
        ON_EMPTY(test_a_view_against_the_rules_is_refused),
        ON_EMPTY(test_a_repeat_of_a_change_that_was_made_is_ok),
        ON_EMPTY(test_only_the_first_of_two_rivals_wins),
        ON_EMPTY(test_all_members_together_seed_a_group),
        ON_EMPTY(test_a_name_is_new_until_a_register_or_a_seed_has_it),
        ON_EMPTY(test_one_address_does_not_bring_all_groups),
        ON_EMPTY(test_members_that_disagree_seed_nothing),
        ON_EMPTY(test_members_of_groups_with_other_ids_do_not_count_together),
        ON_EMPTY(test_what_members_said_is_forgotten_when_the_group_becomes_known),
        ON_EMPTY(test_force_seeds_alone_and_never_goes_back),
        ON_EMPTY(test_no_change_uses_up_the_numbers),
        ON_EMPTY(test_a_copy_does_not_speak_for_its_node),
        ON_EMPTY(test_a_new_store_takes_the_place_that_it_names),
        ON_EMPTY(test_a_restarted_witness_knows_who_must_hear_that_it_was_emptied),
        ON_EMPTY(test_an_answer_to_a_claim_tells_nobody_the_number),
        ON_EMPTY(test_a_late_claim_of_an_earlier_life_changes_nothing),
        ON_EMPTY(test_a_forced_view_gets_a_version_that_nobody_has_seen),
        ON_EMPTY(test_malformed_requests_are_answered),
        ON_EMPTY(test_the_register_survives_a_restart),
        ON_EMPTY(test_an_answered_change_survives_a_power_cut),
        cmocka_unit_test(test_a_crash_at_any_change_leaves_the_old_or_the_new_register),
        cmocka_unit_test(test_a_damaged_register_is_not_opened),
        ON_EMPTY(test_a_store_that_lost_its_newest_change_is_not_opened),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
