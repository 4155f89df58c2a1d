/* SPDX-License-Identifier: Apache-2.0 */
/* What an operator wants of a node: to hand its role over, to take it, to stop. */
#include "core_support.h"

#include "replication/core/core_state.h"

static void setup(struct world *world, unsigned count)
{
    world_open(world, count);
    world_form(world);
    world_put(world, 1, 10);
    world_run(world, 300 * MS);
}

static int handover_said(struct world *world, unsigned id)
{
    return world_last(world, id, DID_HANDOVER, ANY).what;
}

static int promote_said(struct world *world, unsigned id)
{
    return world_last(world, id, DID_PROMOTE, ANY).what;
}

/* ---- handover ---- */

static void test_handover(void **state)
{
    (void)state;
    struct world world;
    setup(&world, 3);
    world_handover(&world, 1, 3);
    assert_false(kvp_core_accepting(world.nodes[1].core, world.now_us));
    world_run(&world, 200 * MS);
    assert_int_equal(handover_said(&world, 1), KVP_OK);
    assert_serves(&world, 3, set_to(3));
    assert_int_equal(world_status(&world, 1).role, KVP_ROLE_BACKUP);
    world_put(&world, 3, 3);
    world_run(&world, SECONDS);
    assert_same(&world, set_to(3));
    world_close(&world);
}

/* To whoever has most: here node 3, because node 2 is slow. */
static void test_handover_to_the_furthest(void **state)
{
    (void)state;
    struct world world;
    setup(&world, 3);
    world.nodes[2].disk_us = 200 * MS;
    world_put(&world, 1, 5);
    world_run(&world, 20 * MS);
    world_handover(&world, 1, 0);
    world_run(&world, 2 * SECONDS);
    assert_int_equal(handover_said(&world, 1), KVP_OK);
    assert_serves(&world, 3, set_to(3));
    world_close(&world);
}

static void test_handover_refused(void **state)
{
    (void)state;
    struct world world;
    world_open(&world, 3);
    world.config.sync_replicas = 2;
    world_form(&world);
    world_handover(&world, 2, 0);
    assert_int_equal(handover_said(&world, 2), KVP_NOT_PRIMARY);
    world_handover(&world, 1, 1);
    assert_int_equal(handover_said(&world, 1), KVP_OK);
    world_handover(&world, 1, 3); /* is not in sync */
    assert_int_equal(handover_said(&world, 1), KVP_REFUSED);
    world_handover(&world, 1, 9); /* is nobody */
    assert_int_equal(handover_said(&world, 1), KVP_REFUSED);
    world_handover(&world, 1, 2);
    world_handover(&world, 1, 2);
    assert_int_equal(handover_said(&world, 1), KVP_BUSY);
    world_close(&world);
}

/* Asked in the first moment of a group: the lease, the promise and the membership are still to
 * come. */
static void test_handover_waits_for_what_will_come(void **state)
{
    (void)state;
    for (uint64_t early_us = 0; early_us < 300 * MS; early_us += MS) {
        struct world world;
        world_open(&world, 2);
        world_start(&world, 1);
        world_start(&world, 2);
        while (!world_serves(&world, 1)) {
            world_run(&world, MS / 10);
        }
        world_run(&world, early_us);
        world_handover(&world, 1, early_us % (2 * MS) ? 2 : 0);
        world_run(&world, 2 * SECONDS);
        assert_int_equal(handover_said(&world, 1), KVP_OK);
        assert_serves(&world, 2, set2(1, 2));
        world_close(&world);
    }
}

/* Back and forth, each time as soon as the one before is answered: whoever is named serves then. */
static void test_handover_is_answered_when_the_target_serves(void **state)
{
    (void)state;
    struct world world;
    setup(&world, 2);
    for (unsigned i = 0; i < 40; i++) {
        unsigned from = 1 + i % 2, to = 3 - from;
        unsigned before = world_count(&world, from, DID_HANDOVER, ANY);
        world_handover(&world, from, to);
        for (unsigned steps = 0; world_count(&world, from, DID_HANDOVER, ANY) == before; steps++) {
            assert_true(steps < 20000);
            world_run(&world, MS / 10);
        }
        assert_int_equal(handover_said(&world, from), KVP_OK);
        assert_true(world_serves(&world, to));
        world_put(&world, to, 1);
    }
    world_close(&world);
}

/* The target leads, and is not heard from: nobody can say whether it serves. */
static void test_handover_to_one_that_falls_silent(void **state)
{
    (void)state;
    struct world world;
    setup(&world, 2);
    world.nodes[2].disk_us = 50 * MS;
    world_handover(&world, 1, 2);
    while (world_status(&world, 2).role != KVP_ROLE_ELECT) {
        world_run(&world, MS / 10);
    }
    world_kill(&world, 2);
    world_witness(&world, 1, false);
    world_run(&world, 4 * SECONDS);
    assert_int_equal(handover_said(&world, 1), KVP_UNCERTAIN);
    world_close(&world);
}

/* Nobody is there who could come: it says so at once. */
static void test_handover_without_anybody(void **state)
{
    (void)state;
    struct world world;
    setup(&world, 2);
    world_kill(&world, 2);
    world_run(&world, 2 * SECONDS);
    assert_serves(&world, 1, kvp_set_of(1));
    world_handover(&world, 1, 0);
    assert_int_equal(handover_said(&world, 1), KVP_REFUSED);
    assert_true(kvp_core_accepting(world.nodes[1].core, world.now_us));
    world_close(&world);
}

/* Nothing can be decided: it goes on as before. */
static void test_handover_without_arbiter(void **state)
{
    (void)state;
    struct world world;
    setup(&world, 2);
    world_witness(&world, 1, false);
    world_handover(&world, 1, 2);
    world_run(&world, SECONDS);
    assert_true(world_serves(&world, 1));
    assert_false(kvp_core_accepting(world.nodes[1].core, world.now_us));
    world_run(&world, 1500 * MS);
    assert_int_equal(handover_said(&world, 1), KVP_TIMEOUT);
    world_put(&world, 1, 1);
    world_run(&world, 100 * MS);
    assert_int_equal(world_status(&world, 1).commit, 11);
    world_close(&world);
}

static void test_successor_dies(void **state)
{
    (void)state;
    struct world world;
    setup(&world, 2);
    world_witness(&world, 1, false);
    world_handover(&world, 1, 2);
    world_kill(&world, 2);
    world_run(&world, 900 * MS);
    assert_int_equal(handover_said(&world, 1), KVP_REFUSED);
    world_witness(&world, 1, true);
    world_run(&world, 3 * SECONDS);
    assert_serves(&world, 1, kvp_set_of(1));
    world_put(&world, 1, 1);
    world_close(&world);
}

/* Who may have given the role away serves no more; nor does the other, before it knows. */
static void test_handover_unknown(void **state)
{
    (void)state;
    struct world world;
    setup(&world, 2);
    world.nodes[1].witness_loses = LOSES_OUTCOME;
    world_witness(&world, 2, false);
    world_handover(&world, 1, 2);
    world_run(&world, 20 * MS);
    world.nodes[1].witness_loses |= LOSES_GET;
    assert_int_equal(world_last(&world, 1, DID_GRANT, KVP_OK).peer, 2);
    for (unsigned i = 0; i < 300; i++) {
        world_run(&world, 10 * MS);
        assert_false(world_serves(&world, 1));
        assert_false(world_serves(&world, 2));
    }
    assert_int_equal(world_count(&world, 1, DID_HANDOVER, ANY), 0); /* no deadline for that */
    world_witness(&world, 2, true);
    world_run(&world, 3 * SECONDS);
    assert_serves(&world, 2, set2(1, 2));
    assert_int_equal(handover_said(&world, 1), KVP_OK);
    world_close(&world);
}

/* The register has moved on: somebody else was asked to lead. */
static void test_handover_overtaken(void **state)
{
    (void)state;
    struct world world;
    setup(&world, 3);
    world_isolate(&world, 1);
    world_witness(&world, 1, false);
    world_run(&world, 150 * MS);
    world_handover(&world, 1, 2);
    world_run(&world, 3 * SECONDS);
    assert_int_equal(world_count(&world, 1, DID_HANDOVER, KVP_OK), 0);
    assert_int_equal(world_count(&world, 1, DID_HANDOVER, ANY), 1);
    world_witness(&world, 1, true);
    world_rejoin(&world, 1);
    world_run(&world, 3 * SECONDS);
    assert_int_equal(world_status(&world, 1).role, KVP_ROLE_BACKUP);
    world_close(&world);
}

/* A node is about to be added: it has to wait. */
static void test_handover_before_an_addition(void **state)
{
    (void)state;
    struct world world;
    setup(&world, 3);
    const struct core_proposal *proposal = &world.nodes[1].core->proposal;
    world_kill(&world, 3);
    world_run(&world, 2 * SECONDS);
    world_start(&world, 3);
    for (unsigned i = 0; proposal->reason != REASON_ADD || proposal->stage != PROPOSAL_LOOK; i++) {
        assert_true(i < 50000);
        world_run(&world, 100);
    }
    world_swallow(&world, 1, 3, KVP_OP_APPEND);
    world_put(&world, 1, 1);
    while (proposal->stage == PROPOSAL_LOOK) {
        world_run(&world, 100);
    }
    assert_int_equal(proposal->stage, PROPOSAL_PREPARE);
    world_handover(&world, 1, 2);
    world_run(&world, SECONDS);
    assert_int_equal(handover_said(&world, 1), KVP_OK);
    world_heal(&world, 1, 3);
    world_run(&world, 3 * SECONDS);
    assert_serves(&world, 2, set_to(3));
    assert_same(&world, set_to(3));
    world_close(&world);
}

/* The primary's disk fails in the middle of it. */
static void test_handover_fails(void **state)
{
    (void)state;
    struct world world;
    setup(&world, 2);
    world_witness(&world, 1, false);
    world_handover(&world, 1, 2);
    kvp_core_fail(world.nodes[1].core, world.now_us);
    assert_int_equal(handover_said(&world, 1), KVP_FAILED);
    assert_int_equal(world_status(&world, 1).role, KVP_ROLE_FAILED);
    world_handover(&world, 1, 2);
    assert_int_equal(handover_said(&world, 1), KVP_NOT_PRIMARY);
    world_run(&world, SECONDS);
    assert_serves(&world, 2, kvp_set_of(2));
    world_close(&world);
}

/* ---- promotion ---- */

static void test_promote_while_heard(void **state)
{
    (void)state;
    struct world world;
    setup(&world, 2);
    world_promote(&world, 1, false);
    assert_int_equal(promote_said(&world, 1), KVP_OK);
    world_promote(&world, 1, true); /* serves: needs no force */
    assert_int_equal(promote_said(&world, 1), KVP_OK);
    world_promote(&world, 2, false);
    assert_int_equal(promote_said(&world, 2), KVP_REFUSED);
    world_run(&world, SECONDS);
    assert_serves(&world, 1, set2(1, 2));
    world_close(&world);
}

/* Started anew, and cannot dial anybody: but it is heard from, which is what counts. */
static void test_promote_while_heard_one_way(void **state)
{
    (void)state;
    struct world world;
    setup(&world, 2);
    world_kill(&world, 2);
    world.paths[2][1].swallow = ~0u;
    world_start(&world, 2);
    world_run(&world, 5030 * MS);
    world_promote(&world, 2, false);
    assert_int_equal(promote_said(&world, 2), KVP_REFUSED);
    world_run(&world, SECONDS);
    assert_true(world_serves(&world, 1));
    world_close(&world);
}

static void test_promote_after_silence(void **state)
{
    (void)state;
    struct world world;
    setup(&world, 2);
    world_kill(&world, 1);
    world_witness(&world, 2, false);
    world_run(&world, 2 * SECONDS);
    world_promote(&world, 2, false);
    world_promote(&world, 2, false);
    assert_int_equal(promote_said(&world, 2), KVP_BUSY);
    world_run(&world, 11 * SECONDS);
    assert_int_equal(promote_said(&world, 2), KVP_TIMEOUT);
    world_promote(&world, 2, false);
    world_witness(&world, 2, true);
    world_run(&world, SECONDS);
    assert_int_equal(promote_said(&world, 2), KVP_OK);
    assert_serves(&world, 2, kvp_set_of(2));
    world_close(&world);
}

/* The primary was there all the time: the register tells, and the request has become pointless. */
static void test_promote_is_too_late(void **state)
{
    (void)state;
    struct world world;
    setup(&world, 2);
    world_witness(&world, 2, false);
    world_isolate(&world, 2);
    world_run(&world, 2 * SECONDS);
    assert_serves(&world, 1, kvp_set_of(1));
    world_promote(&world, 2, false);
    world_witness(&world, 2, true);
    world_run(&world, SECONDS);
    assert_int_equal(promote_said(&world, 2), KVP_REFUSED);
    assert_int_equal(world_status(&world, 2).role, KVP_ROLE_OUTSIDE);
    world_close(&world);
}

static bool foreign_arbiter(struct node *node, const struct kvp_arbiter_request *request,
                            struct kvp_arbiter_answer *answer)
{
    (void)node, (void)request;
    answer->status = KVP_WRONG_GROUP;
    return true;
}

/* By force a node outside the set may ask; if that comes to nothing it is outside, no backup. */
static void test_a_forced_candidate_goes_back_to_where_it_was(void **state)
{
    (void)state;
    struct world world;
    setup(&world, 2);
    world_isolate(&world, 2);
    world_run(&world, 4 * SECONDS);
    assert_int_equal(world_status(&world, 2).role, KVP_ROLE_OUTSIDE);
    world.arbiter = foreign_arbiter;
    world_promote(&world, 2, true);
    world_run(&world, SECONDS);
    assert_int_equal(world_status(&world, 2).role, KVP_ROLE_OUTSIDE);
    world_close(&world);
}

static void test_promote_of_nothing(void **state)
{
    (void)state;
    struct world world;
    world_open(&world, 2);
    world_start(&world, 1);
    world_promote(&world, 1, true); /* blank */
    assert_int_equal(promote_said(&world, 1), KVP_REFUSED);
    kvp_core_fail(world.nodes[1].core, world.now_us);
    world_promote(&world, 1, true);
    assert_int_equal(promote_said(&world, 1), KVP_FAILED);
    world_close(&world);
}

static void test_promote_of_a_broken_disk(void **state)
{
    (void)state;
    struct world world;
    setup(&world, 2);
    world_kill(&world, 1);
    world_witness(&world, 2, false);
    world_run(&world, 2 * SECONDS);
    world_promote(&world, 2, true);
    kvp_core_fail(world.nodes[2].core, world.now_us);
    assert_int_equal(promote_said(&world, 2), KVP_FAILED);
    world_close(&world);
}

/* ---- stop ---- */

static uint64_t time_to_stop(struct world *world, unsigned id)
{
    uint64_t begin_us = world->now_us;
    world_stop(world, id);
    world_stop(world, id); /* said twice is said once */
    while (!world->nodes[id].stopped) {
        assert_true(world->now_us - begin_us < 20 * SECONDS);
        world_run(world, MS);
    }
    assert_int_equal(world_status(world, id).role, KVP_ROLE_STOPPED);
    return world->now_us - begin_us;
}

/* Its process may go on for a while: it is not taken in again. */
static void test_stopping_backup_leaves(void **state)
{
    (void)state;
    struct world world;
    setup(&world, 2);
    assert_true(time_to_stop(&world, 2) < 300 * MS);
    assert_serves(&world, 1, kvp_set_of(1));
    world_put(&world, 1, 1);
    world_run(&world, 5 * SECONDS);
    assert_serves(&world, 1, kvp_set_of(1));
    assert_int_equal(world_status(&world, 1).commit, 11);
    assert_int_equal(kvp_core_deadline(world.nodes[2].core), UINT64_MAX);

    world_kill(&world, 2);
    world_start(&world, 2);
    world_run(&world, 3 * SECONDS);
    assert_serves(&world, 1, set2(1, 2));
    world_close(&world);
}

/* It is out of the view, but the answer that tells it got lost: until it hears, it answers
 * heartbeats like any node that wants to be added, and must not be. */
static void test_left_but_not_told(void **state)
{
    (void)state;
    struct world world;
    setup(&world, 2);
    world_stop(&world, 2);
    world_run(&world, MS); /* LEAVE is there, its answer is not on the way yet */
    world.paths[1][2].cut = true;
    world_run(&world, 10 * MS);
    assert_serves(&world, 1, kvp_set_of(1));
    world_heal(&world, 1, 2);
    world_swallow(&world, 2, 1, KVP_OP_LEAVE);
    for (unsigned i = 0; i < 480; i++) {
        world_run(&world, 10 * MS);
        assert_serves(&world, 1, kvp_set_of(1));
    }
    assert_int_equal(world_status(&world, 2).role, KVP_ROLE_OUTSIDE);
    world_run(&world, 400 * MS);
    assert_true(world.nodes[2].stopped);
    world_close(&world);
}

/* The removal is not granted: it waits, does not promise again, and ends in time all the same. */
static void test_stopping_backup_is_not_granted(void **state)
{
    (void)state;
    struct world world;
    setup(&world, 2);
    world_witness(&world, 1, false);
    world_witness(&world, 2, false);
    assert_in_range(time_to_stop(&world, 2), 4900 * MS, 5200 * MS);
    world_witness(&world, 1, true);
    world_run(&world, 2 * SECONDS);
    assert_serves(&world, 1, kvp_set_of(1));
    world_close(&world);
}

static void test_stopping_backup_cannot_reach(void **state)
{
    (void)state;
    struct world world;
    setup(&world, 2);
    world_swallow(&world, 2, 1, KVP_OP_LEAVE);
    assert_in_range(time_to_stop(&world, 2), 4900 * MS, 5200 * MS);
    world_run(&world, 2 * SECONDS);
    assert_serves(&world, 1, kvp_set_of(1));
    world_close(&world);
}

static void test_stopping_primary_hands_over(void **state)
{
    (void)state;
    struct world world;
    setup(&world, 2);
    world_put(&world, 1, 5);
    assert_true(time_to_stop(&world, 1) < 500 * MS);
    world_run(&world, 500 * MS);
    assert_serves(&world, 2, kvp_set_of(2));
    assert_int_equal(world.nodes[2].disk.tail.seq, 15);
    assert_true(time_to_stop(&world, 2) < 200 * MS); /* nobody is left */
    world_close(&world);
}

static void test_stopping_one_that_copies(void **state)
{
    (void)state;
    struct world world;
    world_open(&world, 3);
    world.config.sync_replicas = 2;
    world_form(&world);
    assert_true(time_to_stop(&world, 3) < 50 * MS);
    assert_serves(&world, 1, set2(1, 2));
    world_close(&world);
}

static void test_stopping_a_failed_one(void **state)
{
    (void)state;
    struct world world;
    setup(&world, 2);
    kvp_core_fail(world.nodes[2].core, world.now_us);
    world_stop(&world, 2);
    assert_true(world.nodes[2].stopped);
    world_stop(&world, 1);
    kvp_core_fail(world.nodes[1].core, world.now_us);
    assert_true(world.nodes[1].stopped);
    world_close(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_handover),
        cmocka_unit_test(test_handover_to_the_furthest),
        cmocka_unit_test(test_handover_refused),
        cmocka_unit_test(test_handover_waits_for_what_will_come),
        cmocka_unit_test(test_handover_is_answered_when_the_target_serves),
        cmocka_unit_test(test_handover_to_one_that_falls_silent),
        cmocka_unit_test(test_handover_without_anybody),
        cmocka_unit_test(test_handover_without_arbiter),
        cmocka_unit_test(test_successor_dies),
        cmocka_unit_test(test_handover_unknown),
        cmocka_unit_test(test_handover_overtaken),
        cmocka_unit_test(test_handover_before_an_addition),
        cmocka_unit_test(test_handover_fails),
        cmocka_unit_test(test_promote_while_heard),
        cmocka_unit_test(test_promote_while_heard_one_way),
        cmocka_unit_test(test_promote_after_silence),
        cmocka_unit_test(test_promote_is_too_late),
        cmocka_unit_test(test_a_forced_candidate_goes_back_to_where_it_was),
        cmocka_unit_test(test_promote_of_nothing),
        cmocka_unit_test(test_promote_of_a_broken_disk),
        cmocka_unit_test(test_stopping_backup_leaves),
        cmocka_unit_test(test_left_but_not_told),
        cmocka_unit_test(test_stopping_backup_is_not_granted),
        cmocka_unit_test(test_stopping_backup_cannot_reach),
        cmocka_unit_test(test_stopping_primary_hands_over),
        cmocka_unit_test(test_stopping_one_that_copies),
        cmocka_unit_test(test_stopping_a_failed_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
