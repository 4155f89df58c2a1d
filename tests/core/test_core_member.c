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

/* ---- members that are not among the configured peers ---- */

/* Node 1 comes back with options that do not name node 3 any more, which is in sync still. What it
 * acknowledged without it would be lost when node 3 leads. */
static void test_member_that_no_peer_names_counts(void **state)
{
    (void)state;
    struct world world;
    setup(&world, 3);
    world_kill(&world, 1);
    world.config.nodes = set2(1, 2);
    world_start(&world, 1);
    world_run(&world, 250 * MS);
    assert_serves(&world, 1, set_to(3));
    world_put(&world, 1, 5);
    world_run(&world, 300 * MS);
    assert_int_equal(world_status(&world, 1).commit, 20); /* no connection carries them to node 3 */
    world_run(&world, 3 * SECONDS);
    assert_serves(&world, 1, set2(1, 2));
    assert_int_equal(world_status(&world, 1).commit, 25);
    world_close(&world);
}

/* The same, and node 3 is gone: the register takes it out of the view, and node 1 goes on. */
static void test_member_that_no_peer_names_is_taken_out(void **state)
{
    (void)state;
    struct world world;
    setup(&world, 3);
    world_kill(&world, 1);
    world_kill(&world, 3);
    world.config.nodes = set2(1, 2);
    world_start(&world, 1);
    world_run(&world, 10 * SECONDS);
    unsigned leads = world_serves(&world, 1) ? 1 : 2;
    assert_serves(&world, leads, set2(1, 2));
    world_put(&world, leads, 5);
    world_run(&world, 1 * SECONDS);
    assert_same(&world, set2(1, 2));
    world_close(&world);
}

/* ---- members that come and go while the group serves ---- */

static void set_members(struct world *world, unsigned id, kvp_node_set nodes)
{
    kvp_core_set_members(world->nodes[id].core, world->now_us, nodes);
    kvp_core_flush(world->nodes[id].core, world->now_us);
}

static void bar(struct world *world, unsigned id, unsigned barred)
{
    kvp_core_bar(world->nodes[id].core, world->now_us, (uint8_t)barred);
    kvp_core_flush(world->nodes[id].core, world->now_us);
}

/* A third node is let in, catches up, and counts; the one that leaves does not come back. */
static void test_members_come_and_go(void **state)
{
    (void)state;
    struct world world;
    world_open(&world, 3);
    world.config.nodes = set2(1, 2);
    world_start(&world, 1);
    world_start(&world, 2);
    world_run_serving(&world, 1, 5 * SECONDS);
    world_put(&world, 1, 20);
    world.config.nodes = set_to(3);
    world_start(&world, 3);
    world_run(&world, 2 * SECONDS);
    assert_serves(&world, 1, set2(1, 2)); /* nobody knows it */
    assert_true(world_count(&world, 1, DID_NOTE, KVP_NOTE_PEER_UNKNOWN) > 0);

    set_members(&world, 1, set_to(3));
    set_members(&world, 2, set_to(3));
    world_link(&world, 1, 3, true);
    world_link(&world, 2, 3, true);
    world_run(&world, 2 * SECONDS);
    assert_serves(&world, 1, set_to(3));
    assert_same(&world, set_to(3));

    bar(&world, 1, 2);
    world_run(&world, 2 * SECONDS);
    assert_serves(&world, 1, set2(1, 3));
    set_members(&world, 1, set2(1, 3));
    set_members(&world, 3, set2(1, 3));
    bar(&world, 1, 0);
    world_put(&world, 1, 5);
    world_run(&world, 5 * SECONDS);
    assert_serves(&world, 1, set2(1, 3));
    assert_int_equal(world_status(&world, 1).peer_count, 1);

    world_kill(&world, 1);
    world_run(&world, 5 * SECONDS);
    assert_serves(&world, 3, kvp_set_of(3));
    assert_false(world_serves(&world, 2));
    world_close(&world);
}

/* Who is taken off the list and still counts, counts until the register says otherwise. */
static void test_unlisted_member_counts_until_it_is_out(void **state)
{
    (void)state;
    struct world world;
    setup(&world, 3);
    world_witness(&world, 1, false);
    set_members(&world, 1, set2(1, 2));
    world_swallow(&world, 1, 3, KVP_OP_APPEND);
    world_put(&world, 1, 5);
    world_run(&world, 300 * MS);
    assert_int_equal(world_status(&world, 1).commit, 20);
    assert_true(kvp_core_counts(world.nodes[1].core, 3));
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
        cmocka_unit_test(test_member_that_no_peer_names_counts),
        cmocka_unit_test(test_member_that_no_peer_names_is_taken_out),
        cmocka_unit_test(test_members_come_and_go),
        cmocka_unit_test(test_unlisted_member_counts_until_it_is_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
