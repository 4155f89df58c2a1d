/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Views and their changes. That there are never two views of one epoch, nor two servers, is checked
 * by the world after every event; here are the ways that would lead there.
 */
#include "core_support.h"

static void setup(struct world *world, unsigned count)
{
    world_open(world, count);
    world_form(world);
    world_put(world, 1, 10);
    world_run(world, 300 * MS);
}

/* Node 2 was promoted while node 1 was cut off from everything, and made updates of its own. */
static void part(struct world *world)
{
    setup(world, 2);
    world_isolate(world, 1);
    world_witness(world, 1, false);
    world_run_serving(world, 2, 3 * SECONDS);
    world_put(world, 2, 5);
    world_run(world, 100 * MS);
    assert_serves(world, 2, kvp_set_of(2));
    assert_false(world_serves(world, 1));
}

static void check_one_history(struct world *world)
{
    world_rejoin(world, 1);
    world_run(world, 20 * SECONDS);
    assert_int_equal(world_serves(world, 1) + world_serves(world, 2), 1);
    assert_serves(world, world_serves(world, 1) ? 1 : 2, set2(1, 2));
    assert_same(world, set2(1, 2));
}

/* ---- an operator's word against the register ---- */

/* Node 1 does not know yet that its next epoch is taken. */
static void test_force_behind_a_promotion(void **state)
{
    (void)state;
    struct world world;
    part(&world);
    world.may_split = true;
    world_witness(&world, 1, true);
    world_promote(&world, 1, true);
    world_run(&world, 5 * SECONDS);
    assert_true(world_count(&world, 1, DID_PROMOTE, ANY) == 1);
    check_one_history(&world);
    world_close(&world);
}

/* Both orders at a finer grain: the word comes at any moment around the promotion. */
static void test_force_around_a_promotion(void **state)
{
    (void)state;
    for (uint64_t after_us = 0; after_us < 800 * MS; after_us += 7 * MS) {
        struct world world;
        setup(&world, 2);
        world.may_split = true;
        world_isolate(&world, 1);
        world_witness(&world, 1, false);
        world_run(&world, after_us);
        world_witness(&world, 1, true);
        world_promote(&world, 1, true);
        world_run(&world, 3 * SECONDS);
        check_one_history(&world);
        world_close(&world);
    }
}

/* The change of the one is on its way, its outcome unknown, when the other's comes. */
static void force_meets(unsigned first, unsigned second, bool second_forces)
{
    struct world world;
    setup(&world, 2);
    world.may_split = true;
    world_isolate(&world, 1);
    world_witness(&world, 1, false);
    world_witness(&world, 2, false);
    world_run(&world, 700 * MS); /* who serves has no need of force */
    world.happened_count = 0;
    world.nodes[first].witness_loses = LOSES_GET | LOSES_OUTCOME;
    world_promote(&world, first, true);
    world_run(&world, 50 * MS);
    assert_int_equal(world_count(&world, first, DID_GRANT, KVP_OK), 1);
    assert_int_equal(world_count(&world, first, DID_PROMOTE, ANY), 0);

    world_witness(&world, second, true);
    if (second_forces) {
        world_promote(&world, second, true);
    }
    world_run(&world, SECONDS);
    world_witness(&world, first, true);
    world_run(&world, 3 * SECONDS);
    check_one_history(&world);
    world_close(&world);
}

static void test_force_of_unknown_outcome(void **state)
{
    (void)state;
    force_meets(1, 2, false);
    force_meets(2, 1, false);
    force_meets(1, 2, true);
    force_meets(2, 1, true);
}

/* A node that only copies may be made the primary when all members are gone for good. */
static void test_force_of_a_standby(void **state)
{
    (void)state;
    struct world world;
    world_open(&world, 3);
    world.config.sync_replicas = 2;
    world_form(&world);
    world_put(&world, 1, 10);
    world_run(&world, SECONDS);
    assert_serves(&world, 1, set2(1, 2));
    assert_same(&world, set_to(3));
    world_kill(&world, 1);
    world_kill(&world, 2);
    world_run(&world, 5 * SECONDS);
    assert_false(world_serves(&world, 3));
    world_promote(&world, 3, false);
    assert_int_equal(world_last(&world, 3, DID_PROMOTE, ANY).what, KVP_REFUSED);
    world_promote(&world, 3, true);
    world_run(&world, SECONDS);
    assert_int_equal(world_last(&world, 3, DID_PROMOTE, ANY).what, KVP_OK);
    assert_serves(&world, 3, kvp_set_of(3));

    world_start(&world, 1);
    world_start(&world, 2);
    world_run(&world, 5 * SECONDS);
    assert_int_equal(kvp_set_count(world_status(&world, 3).view.in_sync), 2);
    assert_same(&world, set_to(3));
    world_close(&world);
}

/* ---- a joiner does no harm ---- */

static void always_serves(struct world *world, unsigned id, uint64_t us)
{
    for (uint64_t at = 0; at < us; at += 10 * MS) {
        world_run(world, 10 * MS);
        assert_serves(world, id, kvp_set_of(id));
    }
}

static void alone_without_witness(struct world *world)
{
    setup(world, 2);
    world_kill(world, 2);
    world_run(world, 3 * SECONDS);
    world_witness(world, 1, false);
    world_witness(world, 2, false);
    assert_serves(world, 1, kvp_set_of(1));
}

static void test_nobody_is_added_without_the_arbiter(void **state)
{
    (void)state;
    struct world world;
    alone_without_witness(&world);
    world_start(&world, 2);
    always_serves(&world, 1, 5 * SECONDS);
    assert_same(&world, set2(1, 2)); /* it has everything, but is no member */
    world_put(&world, 1, 1);
    world_kill(&world, 2);
    always_serves(&world, 1, 30 * SECONDS);
    assert_int_equal(world_status(&world, 1).commit, 11);

    world_start(&world, 2);
    world_run(&world, 3 * SECONDS);
    world_witness(&world, 1, true);
    world_run(&world, 3 * SECONDS);
    assert_serves(&world, 1, set2(1, 2));
    world_close(&world);
}

/* It comes and goes all the time, and so does the witness's link. */
static void test_flapping_joiner(void **state)
{
    (void)state;
    struct world world;
    alone_without_witness(&world);
    for (unsigned i = 0; i < 30; i++) {
        world_start(&world, 2);
        always_serves(&world, 1, 370 * MS);
        world_put(&world, 1, 1);
        world_kill(&world, 2);
        always_serves(&world, 1, 130 * MS);
    }
    assert_int_equal(world_status(&world, 1).commit, 40);
    world_close(&world);
}

/* The joiner goes silent between the look at the arbiter and the question: it is let go. */
static void test_joiner_lost_while_preparing(void **state)
{
    (void)state;
    struct world world;
    setup(&world, 2);
    world_kill(&world, 2);
    world_run(&world, 3 * SECONDS);
    world.nodes[1].witness_loses = LOSES_GET;
    world_start(&world, 2);
    world_run(&world, SECONDS);
    world_kill(&world, 2);
    world_put(&world, 1, 1);
    world_witness(&world, 1, true);
    world_run(&world, 2 * SECONDS);
    assert_serves(&world, 1, kvp_set_of(1));
    assert_int_equal(world_status(&world, 1).commit, 11);
    world_close(&world);
}

/* ---- a change of unknown outcome: both sets bind ---- */

static void test_removal_unknown(void **state)
{
    (void)state;
    struct world world;
    setup(&world, 3);
    world_witness(&world, 2, false);
    world_witness(&world, 3, false);
    world.nodes[1].witness_loses = LOSES_GET | LOSES_OUTCOME;
    world_isolate(&world, 3);
    world_put(&world, 1, 2);
    world_run(&world, SECONDS);
    assert_int_equal(world_count(&world, 1, DID_NOTE, KVP_NOTE_PEER_LOST), 1);
    assert_int_equal(world_match(&world, 1, 2), 12);
    assert_int_equal(world_status(&world, 1).commit, 10); /* node 3 may count still */
    assert_false(world_serves(&world, 1));

    world_witness(&world, 1, true);
    world_run(&world, 500 * MS);
    assert_serves(&world, 1, set2(1, 2));
    assert_int_equal(world_status(&world, 1).commit, 12);
    world_close(&world);
}

static void test_addition_unknown(void **state)
{
    (void)state;
    struct world world;
    setup(&world, 2);
    world_kill(&world, 2);
    world_run(&world, 3 * SECONDS);
    world.nodes[1].witness_loses = LOSES_OUTCOME;
    world_witness(&world, 2, false);
    world_start(&world, 2);
    for (unsigned i = 0; world_last(&world, 1, DID_GRANT, KVP_OK).number != 4; i++) {
        assert_true(i < 2000);
        world_run(&world, MS);
    }
    world.nodes[1].witness_loses = LOSES_GET | LOSES_OUTCOME;
    world_run(&world, 300 * MS);
    assert_serves(&world, 1, kvp_set_of(1)); /* it does not know */

    /* But it acts as if: nothing is committed without node 2, which may lead at any time. */
    world_swallow(&world, 1, 2, KVP_OP_APPEND);
    world_put(&world, 1, 2);
    world_run(&world, 200 * MS);
    assert_int_equal(world_status(&world, 1).durable, 12);
    assert_int_equal(world_status(&world, 1).commit, 10);
    world_kill(&world, 1);
    world_witness(&world, 2, true);
    world_run(&world, 5 * SECONDS);
    assert_serves(&world, 2, kvp_set_of(2));
    world_close(&world);
}

/* ---- leases ---- */

/* Answers take long: a lease counts from the question. When the links break, node 1 has to have
 * stopped before node 2, which heard the last question early, begins. */
static void test_lease_counts_from_the_question(void **state)
{
    (void)state;
    struct world world;
    setup(&world, 2);
    world_witness(&world, 1, false);
    world.paths[2][1].reply_us = 250 * MS;
    for (unsigned i = 0; i < 200; i++) {
        world_run(&world, 10 * MS);
        assert_true(world_serves(&world, 1));
    }
    world.paths[1][2].cut = true; /* the answers under way arrive */
    uint64_t cut_us = world.now_us;
    while (world_serves(&world, 1)) {
        world_run(&world, MS);
    }
    assert_in_range(world.now_us - cut_us, LEASE_US - 110 * MS, LEASE_US);
    world_run_serving(&world, 2, 2 * SECONDS);
    world_close(&world);
}

/* Node 2 was told shorter times: node 1's lease from it ends before node 2 acts. The world looks
 * that there are never two that serve. */
static void test_a_lease_ends_before_the_grace_of_who_gave_it(void **state)
{
    (void)state;
    struct world world;
    world_open(&world, 2);
    world_start(&world, 1);
    world.config.heartbeat_us = 20 * MS;
    world.config.lease_us = 100 * MS;
    world.config.grace_us = 120 * MS;
    world_start(&world, 2);
    world_run_serving(&world, 1, 5 * SECONDS);
    world_run(&world, SECONDS + 50 * MS); /* between two heartbeats */
    assert_serves(&world, 1, set2(1, 2));
    world_isolate(&world, 1);
    world_witness(&world, 1, false);
    uint64_t cut_us = world.now_us;
    world_run_serving(&world, 2, SECONDS);
    assert_in_range(world.now_us - cut_us, 20 * MS, 300 * MS);
    world_close(&world);
}

/* ---- a candidate ---- */

/* Node 2 has looked, asked, and got no answer; the register is as it was. */
static void make_candidate(struct world *world)
{
    setup(world, 2);
    world_witness(world, 1, false);
    world->nodes[2].witness_loses = LOSES_CHANGE;
    world_isolate(world, 1);
    world_run(world, SECONDS);
    assert_int_equal(world_status(world, 2).role, KVP_ROLE_CANDIDATE);
    world_rejoin(world, 1);
}

static void test_candidate_gives_no_lease(void **state)
{
    (void)state;
    struct world world;
    make_candidate(&world);
    for (unsigned i = 0; i < 500; i++) {
        world_run(&world, 10 * MS);
        assert_false(world_serves(&world, 1));
    }
    assert_int_equal(world_status(&world, 2).role, KVP_ROLE_CANDIDATE);
    world_witness(&world, 2, true);
    world_run(&world, 5 * SECONDS);
    assert_serves(&world, 2, set2(1, 2));
    world_close(&world);
}

/* The primary gets its change in first: the candidate sees the newer view, and gives in. */
static void test_candidate_is_too_late(void **state)
{
    (void)state;
    struct world world;
    make_candidate(&world);
    world_witness(&world, 1, true);
    world_run(&world, 5 * SECONDS);
    assert_serves(&world, 1, set2(1, 2));
    assert_int_equal(world_status(&world, 2).role, KVP_ROLE_BACKUP);
    world_close(&world);
}

/* Heard again before it asked: nothing has happened. */
static void test_look_is_given_up(void **state)
{
    (void)state;
    struct world world;
    setup(&world, 2);
    world_witness(&world, 1, false);
    world.nodes[2].witness_loses = LOSES_GET;
    world_isolate(&world, 1);
    world_run(&world, SECONDS);
    assert_int_equal(world_status(&world, 2).role, KVP_ROLE_BACKUP);
    world_rejoin(&world, 1);
    world_witness(&world, 1, true);
    world_witness(&world, 2, true);
    world_run(&world, 5 * SECONDS);
    assert_serves(&world, 1, set2(1, 2));
    world_close(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_force_behind_a_promotion),
        cmocka_unit_test(test_force_around_a_promotion),
        cmocka_unit_test(test_force_of_unknown_outcome),
        cmocka_unit_test(test_force_of_a_standby),
        cmocka_unit_test(test_nobody_is_added_without_the_arbiter),
        cmocka_unit_test(test_flapping_joiner),
        cmocka_unit_test(test_joiner_lost_while_preparing),
        cmocka_unit_test(test_removal_unknown),
        cmocka_unit_test(test_addition_unknown),
        cmocka_unit_test(test_lease_counts_from_the_question),
        cmocka_unit_test(test_a_lease_ends_before_the_grace_of_who_gave_it),
        cmocka_unit_test(test_candidate_gives_no_lease),
        cmocka_unit_test(test_candidate_is_too_late),
        cmocka_unit_test(test_look_is_given_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
