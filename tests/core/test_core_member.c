/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who counts as a member: one that has lost entries is not believed before it has them again, one
 * that gets no entries or says nothing is left behind in time, one that is only slow is not.
 */
#include "core_support.h"

static void setup(struct world *world, unsigned count)
{
    world_open(world, count);
    world_form(world);
    world_put(world, 1, 20);
    world_run(world, 300 * MS);
    assert_same(world, set_to(count));
}

/* ---- members that have lost entries ---- */

/* Node 2 is back with `kept` entries before the lease is over, so it is a member still, and the
 * witness cannot grant its removal. What it lacks comes slowly. */
static void restart_with_less(struct world *world, uint64_t kept, bool blank)
{
    setup(world, 2);
    world_witness(world, 1, false);
    world->nodes[2].witness_loses = LOSES_CHANGE;
    world_kill(world, 2);
    world_run(world, 150 * MS);
    if (blank) {
        disk_blank(&world->nodes[2]);
    } else {
        disk_lose_after(&world->nodes[2], kept);
    }
    world->paths[1][2].delay_us = 300 * MS;
    world->happened_count = 0;
    world_start(world, 2);
    world_run(world, 155 * MS); /* a heartbeat has gone to and fro, no entries have */
}

static void check_no_promise_below(const struct world *world, uint64_t seq)
{
    for (size_t i = 0; i < world->happened_count; i++) {
        const struct happened *one = &world->happened[i];
        assert_false(one->did == DID_ASK_PROMISE && one->number < seq);
    }
}

static void test_doubtful_is_not_promised_to(void **state)
{
    (void)state;
    struct world world;
    restart_with_less(&world, 5, false);
    assert_int_equal(world.nodes[2].disk.tail.seq, 5);
    assert_true(world_status(&world, 2).meta.log_regressed);
    assert_int_equal(world_count(&world, 1, DID_ASK_PROMISE, ANY), 0);
    assert_int_equal(world_match(&world, 1, 2), 5);

    world_run(&world, 2 * SECONDS);
    assert_true(world_count(&world, 1, DID_ASK_PROMISE, ANY) > 0);
    check_no_promise_below(&world, 20);
    assert_serves(&world, 1, set2(1, 2));
    world_close(&world);
}

/* No link went down: only its own report tells that it was away. */
static void test_unnoticed_restart(void **state)
{
    (void)state;
    struct world world;
    setup(&world, 2);
    world.unnoticed = true;
    world_kill(&world, 2);
    disk_lose_after(&world.nodes[2], 5);
    world.happened_count = 0;
    world_start(&world, 2);
    world_run(&world, 5 * SECONDS);
    assert_int_equal(world_count(&world, 1, DID_NOTE, KVP_NOTE_PEER_REGRESSED), 1);
    assert_int_equal(world_count(&world, 1, DID_GRANT, KVP_OK), 2); /* removed, added */
    check_no_promise_below(&world, 20);
    assert_serves(&world, 1, set2(1, 2));
    assert_same(&world, set2(1, 2));
    world_close(&world);
}

/* And when the primary dies in that moment, nobody leads: better than to lead with less. */
static void test_doubtful_never_leads(void **state)
{
    (void)state;
    struct world world;
    restart_with_less(&world, 5, false);
    world_kill(&world, 1);
    world_witness(&world, 2, true);
    world_run(&world, 5 * SECONDS);
    assert_false(world_serves(&world, 2));
    assert_int_equal(world_count(&world, 2, DID_GRANT, ANY), 0);
    assert_true(world_count(&world, 2, DID_NOTE, KVP_NOTE_NOT_ELIGIBLE) > 0);

    world_witness(&world, 1, true);
    world.paths[1][2].delay_us = 0;
    world_start(&world, 1);
    world_run(&world, 5 * SECONDS);
    assert_serves(&world, 1, set2(1, 2));
    assert_same(&world, set2(1, 2));
    assert_int_equal(world.nodes[2].disk.tail.seq, 20);
    world_close(&world);
}

static void test_blank_is_not_promised_to(void **state)
{
    (void)state;
    struct world world;
    restart_with_less(&world, 0, true);
    world_run(&world, 2 * SECONDS);
    check_no_promise_below(&world, 20);
    world_close(&world);
}

static void test_blank_never_leads(void **state)
{
    (void)state;
    struct world world;
    restart_with_less(&world, 0, true);
    world_kill(&world, 1);
    world_witness(&world, 2, true);
    world_run(&world, 5 * SECONDS);
    assert_int_equal(world_count(&world, 2, DID_GRANT, ANY), 0);
    assert_int_equal(world_count(&world, 2, DID_SERVE, ANY), 0);
    world_close(&world);
}

/* ---- members that are left behind ---- */

/* Runs until the view is node 1 alone; how long that took. */
static uint64_t time_to_removal(struct world *world)
{
    uint64_t begin_us = world->now_us;
    while (kvp_core_view(world->nodes[1].core)->in_sync != kvp_set_of(1)) {
        assert_true(world->now_us - begin_us < 30 * SECONDS);
        world_run(world, 10 * MS);
    }
    world_run(world, 10 * MS);
    return world->now_us - begin_us;
}

static void check_goes_on_alone(struct world *world, uint64_t tail)
{
    assert_serves(world, 1, kvp_set_of(1));
    assert_int_equal(world_status(world, 1).commit, tail);
    world_put(world, 1, 5);
    world_run(world, 10 * MS);
    assert_int_equal(world_status(world, 1).commit, tail + 5);
}

/* A firewall or a full buffer that lets small messages through. */
static void test_swallowed_appends(void **state)
{
    (void)state;
    struct world world;
    setup(&world, 2);
    world_swallow(&world, 1, 2, KVP_OP_APPEND);
    world_put(&world, 1, 3);
    uint64_t took_us = time_to_removal(&world);
    assert_in_range(took_us, SYNC_TIMEOUT_US, SYNC_TIMEOUT_US + 3 * HEARTBEAT_US);
    assert_int_equal(world_count(&world, 1, DID_NOTE, KVP_NOTE_PEER_SLOW), 1);
    check_goes_on_alone(&world, 23);

    world_heal(&world, 1, 2);
    world_run(&world, 5 * SECONDS);
    assert_serves(&world, 1, set2(1, 2));
    assert_same(&world, set2(1, 2));
    world_close(&world);
}

static void test_data_link_down(void **state)
{
    (void)state;
    struct world world;
    setup(&world, 2);
    world_swallow(&world, 1, 2, KVP_OP_APPEND);
    world_link(&world, 1, 2, false);
    world_put(&world, 1, 3);
    uint64_t took_us = time_to_removal(&world);
    assert_in_range(took_us, SYNC_TIMEOUT_US, SYNC_TIMEOUT_US + 3 * HEARTBEAT_US);
    check_goes_on_alone(&world, 23);
    world_close(&world);
}

/* A link that comes and goes all the time is no progress. */
static void test_flapping_data_link(void **state)
{
    (void)state;
    struct world world;
    setup(&world, 2);
    world_swallow(&world, 1, 2, KVP_OP_APPEND);
    world_put(&world, 1, 3);
    for (unsigned i = 0; i < 60; i++) {
        world_link(&world, 1, 2, i % 2);
        world_run(&world, 50 * MS);
    }
    check_goes_on_alone(&world, 23);
    world_close(&world);
}

static void test_stuck_disk(void **state)
{
    (void)state;
    struct world world;
    setup(&world, 2);
    world.nodes[2].disk_us = 3600ull * SECONDS;
    world_put(&world, 1, 3);
    uint64_t took_us = time_to_removal(&world);
    assert_in_range(took_us, SYNC_TIMEOUT_US, SYNC_TIMEOUT_US + 3 * HEARTBEAT_US);
    check_goes_on_alone(&world, 23);
    world_close(&world);
}

static void test_silent_member(void **state)
{
    (void)state;
    struct world world;
    setup(&world, 2);
    world_witness(&world, 2, false);
    world_cut(&world, 1, 2);
    uint64_t took_us = time_to_removal(&world);
    assert_in_range(took_us, LEASE_US - HEARTBEAT_US, LEASE_US + 3 * HEARTBEAT_US);
    assert_int_equal(world_count(&world, 1, DID_NOTE, KVP_NOTE_PEER_LOST), 1);
    check_goes_on_alone(&world, 20);
    world_close(&world);
}

/* Never up to date, but it gets on: it stays. */
static void test_slow_but_progressing(void **state)
{
    (void)state;
    struct world world;
    setup(&world, 2);
    world.nodes[2].disk_us = 900 * MS;
    for (unsigned i = 0; i < 300; i++) {
        world_put(&world, 1, 3);
        world_run(&world, 50 * MS);
        assert_serves(&world, 1, set2(1, 2));
        assert_true(world_match(&world, 1, 2) < kvp_core_next_seq(world.nodes[1].core) - 1);
    }
    world_run(&world, 5 * SECONDS);
    assert_int_equal(world_count(&world, 1, DID_NOTE, KVP_NOTE_PEER_SLOW), 0);
    assert_same(&world, set2(1, 2));
    world_close(&world);
}

/* One of three: the others go on together. */
static void test_one_of_three_is_lost(void **state)
{
    (void)state;
    struct world world;
    setup(&world, 3);
    world_kill(&world, 3);
    world_put(&world, 1, 4);
    world_run(&world, SECONDS);
    assert_serves(&world, 1, set2(1, 2));
    assert_int_equal(world_status(&world, 1).commit, 24);
    assert_same(&world, set2(1, 2));
    world_start(&world, 3);
    world_run(&world, 3 * SECONDS);
    assert_serves(&world, 1, set_to(3));
    assert_same(&world, set_to(3));
    world_close(&world);
}

/* What a stale read may lack is not known to the node that gives it; for how long it has not been
 * is. */
static void test_a_node_tells_how_long_it_has_not_heard_of_commits(void **state)
{
    (void)state;
    struct world world;
    world_open(&world, 2);
    world_form(&world);
    world_put(&world, 1, 3);
    world_run(&world, SECONDS);
    assert_true(world_status(&world, 1).commit_age_us == 0);
    assert_in_range(world_status(&world, 2).commit_age_us, 0, HEARTBEAT_US + 10 * MS);
    world_isolate(&world, 2);
    world_witness(&world, 2, false);
    world_run(&world, 2 * SECONDS);
    world_put(&world, 1, 3);
    world_run(&world, SECONDS);
    struct kvp_core_status status = world_status(&world, 2);
    assert_true(status.known_commit == status.applied); /* "behind" would be 0 */
    assert_in_range(status.commit_age_us, 3 * SECONDS - HEARTBEAT_US, 3 * SECONDS + HEARTBEAT_US);
    world_close(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_doubtful_is_not_promised_to),
        cmocka_unit_test(test_doubtful_never_leads),
        cmocka_unit_test(test_blank_is_not_promised_to),
        cmocka_unit_test(test_blank_never_leads),
        cmocka_unit_test(test_unnoticed_restart),
        cmocka_unit_test(test_swallowed_appends),
        cmocka_unit_test(test_data_link_down),
        cmocka_unit_test(test_flapping_data_link),
        cmocka_unit_test(test_stuck_disk),
        cmocka_unit_test(test_silent_member),
        cmocka_unit_test(test_slow_but_progressing),
        cmocka_unit_test(test_one_of_three_is_lost),
        cmocka_unit_test(test_a_node_tells_how_long_it_has_not_heard_of_commits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
