/* SPDX-License-Identifier: Apache-2.0 */
/* A disk that neither answers nor fails: a node watches its own. */
#include "core_support.h"

#include "replication/core/core_state.h"

#define FOR_EVER_US (3600ull * SECONDS)

static void setup(struct world *world, unsigned count)
{
    world_open(world, count);
    world_form(world);
    world_put(world, 1, 10);
    world_run(world, 300 * MS);
}

/* What it is asked from now on takes so long. */
static void hang(struct world *world, unsigned id, uint64_t us)
{
    world->nodes[id].disk_us = us;
}

static unsigned noted(const struct world *world, unsigned id, enum kvp_note note)
{
    return world_count(world, id, DID_NOTE, (int)note);
}

static void test_a_primary_whose_disk_hangs_gives_the_lead_away(void **state)
{
    (void)state;
    struct world world;
    setup(&world, 3);
    hang(&world, 1, FOR_EVER_US);
    world_put(&world, 1, 3);
    world_run(&world, SYNC_TIMEOUT_US - 100 * MS);
    assert_int_equal(world_status(&world, 1).role, KVP_ROLE_PRIMARY);
    assert_int_equal(noted(&world, 1, KVP_NOTE_DISK_SILENT), 0);
    world_run(&world, SECONDS);
    unsigned leader = world_serves(&world, 2) ? 2 : 3;
    assert_serves(&world, leader, set2(2, 3));
    assert_int_equal(world_status(&world, 1).role, KVP_ROLE_OUTSIDE);
    assert_int_equal(noted(&world, 1, KVP_NOTE_DISK_SILENT), 1);
    assert_true(world_last(&world, 1, DID_NOTE, KVP_NOTE_DISK_SILENT).number >= 2000);
    assert_true(world_status(&world, 1).disk_silent_us > SYNC_TIMEOUT_US);
    assert_int_equal(world_status(&world, leader).commit, 13); /* what was under way is kept */
    world_close(&world);
}

static void test_a_disk_that_answers_again_is_that_of_a_joiner(void **state)
{
    (void)state;
    struct world world;
    setup(&world, 3);
    hang(&world, 1, 8 * SECONDS);
    world_put(&world, 1, 3);
    world_run(&world, 4 * SECONDS);
    unsigned leader = world_serves(&world, 2) ? 2 : 3;
    assert_serves(&world, leader, set2(2, 3));
    world_put(&world, leader, 5);
    hang(&world, 1, 200);
    world_run(&world, 6 * SECONDS);
    assert_int_equal(noted(&world, 1, KVP_NOTE_DISK_ANSWERS), 1);
    assert_serves(&world, leader, set_to(3));
    assert_same(&world, set_to(3));
    world_close(&world);
}

/* It was to be given away while the arbiter was away: when that is back, the reason has gone. */
static void test_a_primary_whose_disk_answers_again_keeps_the_lead(void **state)
{
    (void)state;
    struct world world;
    setup(&world, 3);
    world_witness(&world, 1, false);
    hang(&world, 1, 4 * SECONDS);
    world_put(&world, 1, 3);
    world_run(&world, 3 * SECONDS);
    assert_true(noted(&world, 1, KVP_NOTE_DISK_GIVEN_UP) != 0);
    hang(&world, 1, 200);
    world_run(&world, 3 * SECONDS);
    assert_int_equal(noted(&world, 1, KVP_NOTE_DISK_ANSWERS), 1);
    world_witness(&world, 1, true);
    world_run(&world, 2 * SECONDS);
    assert_serves(&world, 1, set_to(3));
    world_close(&world);
}

static void
test_with_nobody_to_hand_over_to_a_hung_primary_says_so_and_takes_no_updates(void **state)
{
    (void)state;
    struct world world;
    setup(&world, 2);
    world_kill(&world, 2);
    world_run(&world, 2 * SECONDS);
    assert_serves(&world, 1, set_to(1));
    hang(&world, 1, 6 * SECONDS);
    world_put(&world, 1, 1);
    world_run(&world, 5 * SECONDS);
    hang(&world, 1, 200);
    assert_int_equal(noted(&world, 1, KVP_NOTE_DISK_NO_HEIR), 1);
    assert_int_equal(noted(&world, 1, KVP_NOTE_DISK_SILENT), 2); /* after 2 s and after 4 s */
    assert_true(world_serves(&world, 1));
    assert_false(kvp_core_accepting(world.nodes[1].core, world.now_us));
    world_run(&world, 2 * SECONDS);
    assert_true(kvp_core_accepting(world.nodes[1].core, world.now_us));
    assert_int_equal(world_status(&world, 1).commit, 11);
    world_close(&world);
}

/* It would be the only one that may lead, with a grant that it can never put on its disk. */
static void test_a_hung_primary_does_not_make_itself_the_only_member(void **state)
{
    (void)state;
    struct world world;
    setup(&world, 2);
    hang(&world, 1, FOR_EVER_US);
    world_put(&world, 1, 1);
    world_run(&world, LEASE_US);
    world_isolate(&world, 2);
    world_witness(&world, 2, false);
    world_run(&world, SECONDS);
    assert_int_equal(world_status(&world, 1).view.in_sync, set_to(2));
    world_rejoin(&world, 2);
    world_witness(&world, 2, true);
    world_run(&world, 3 * SECONDS);
    assert_serves(&world, 2, kvp_set_of(2));
    world_close(&world);
}

static void test_a_backup_whose_disk_hangs_does_not_take_the_lead(void **state)
{
    (void)state;
    struct world world;
    setup(&world, 3);
    hang(&world, 2, FOR_EVER_US);
    world_put(&world, 1, 1);
    world_run(&world, LEASE_US + 50 * MS);
    world_kill(&world, 1);
    world_cut(&world, 2, 3); /* node 2 would be first */
    world_run(&world, GRACE_US + 20 * MS);
    world_heal(&world, 2, 3);
    assert_int_not_equal(world_status(&world, 2).role, KVP_ROLE_CANDIDATE);
    world_run(&world, SECONDS);
    assert_int_equal(world_status(&world, 3).view.primary, 3);
    world_close(&world);
}

/* Not to one whose disk hangs as well. */
static void test_the_lead_goes_to_a_member_whose_disk_works(void **state)
{
    (void)state;
    struct world world;
    setup(&world, 3);
    hang(&world, 1, FOR_EVER_US);
    hang(&world, 2, FOR_EVER_US);
    world_put(&world, 1, 3);
    world_run(&world, 6 * SECONDS);
    assert_serves(&world, 3, kvp_set_of(3));
    world_close(&world);
}

static void test_in_a_pair_a_hung_primary_has_failed(void **state)
{
    (void)state;
    static const enum kvp_pair_policy policies[] = {KVP_PAIR_BACKUP_WINS, KVP_PAIR_PRIMARY_WINS};
    for (unsigned i = 0; i < 2; i++) {
        struct world world;
        world_open(&world, 2);
        world.config.policy = policies[i];
        world_form(&world);
        hang(&world, 1, FOR_EVER_US);
        world_put(&world, 1, 3);
        world_run(&world, 3 * SECONDS);
        assert_int_equal(world_status(&world, 1).role, KVP_ROLE_FAILED);
        assert_serves(&world, 2, kvp_set_of(2));
        assert_int_equal(world_status(&world, 2).commit, 3);
        world_close(&world);
    }
}

/* A primary whose disk never took the view that it leads fails, grants the lead, and is started
 * anew: who tells it that view is about to lead alone in the next one, when its own disk answers.
 */
static void
test_a_restarted_node_does_not_lead_in_a_view_told_by_who_may_have_a_newer_one(void **state)
{
    (void)state;
    struct world world;
    world_open(&world, 2);
    world.config.policy = KVP_PAIR_PRIMARY_WINS;
    world_form(&world);
    world_put(&world, 1, 10);
    world_run(&world, SECONDS);
    hang(&world, 2, FOR_EVER_US);
    world_handover(&world, 1, 2);
    world_run(&world, SECONDS);
    assert_int_equal(world_status(&world, 1).view.primary, 2);
    assert_int_equal(world_status(&world, 2).role, KVP_ROLE_ELECT);
    hang(&world, 1, 9 * SECONDS);
    world_run(&world, 2 * SECONDS);
    assert_int_equal(world_status(&world, 2).role, KVP_ROLE_FAILED);
    assert_true(world_jobs(&world.nodes[1]) > 0); /* the grant is under way to its disk */
    hang(&world, 1, MS);
    world_kill(&world, 2);
    hang(&world, 2, MS);
    world_start(&world, 2);
    world_run(&world, 4 * SECONDS);
    assert_int_equal(world_status(&world, 2).view.primary, 2);
    assert_int_equal(world_status(&world, 2).role, KVP_ROLE_BACKUP);
    world_isolate(&world, 1);
    world_run(&world, 2 * SECONDS);
    assert_false(world_serves(&world, 2));
    world_run(&world, 4 * SECONDS);
    assert_serves(&world, 1, kvp_set_of(1));
    world_rejoin(&world, 1);
    world_run(&world, 5 * SECONDS);
    assert_serves(&world, 1, set_to(2));
    assert_same(&world, set_to(2));
    world_close(&world);
}

static void test_a_node_whose_disk_hangs_stops_when_it_is_told_to(void **state)
{
    (void)state;
    for (unsigned count = 1; count <= 3; count++) {
        struct world world;
        setup(&world, count);
        hang(&world, 1, FOR_EVER_US);
        world_put(&world, 1, 1);
        world_run(&world, SECONDS);
        world_stop(&world, 1);
        world_run(&world, 6 * SECONDS);
        assert_true(world.nodes[1].stopped);
        if (count > 1) {
            assert_true(world_serves(&world, 2) || world_serves(&world, 3));
        }
        world_close(&world);
    }
}

static void test_a_handover_asked_of_a_hung_primary_ends(void **state)
{
    (void)state;
    struct world world;
    setup(&world, 2);
    hang(&world, 1, FOR_EVER_US);
    world_put(&world, 1, 1);
    world_run(&world, SECONDS);
    world_handover(&world, 1, 2);
    world_run(&world, 2 * SECONDS);
    assert_int_equal(world_last(&world, 1, DID_HANDOVER, ANY).what, KVP_OK);
    assert_serves(&world, 2, kvp_set_of(2));
    world_close(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_primary_whose_disk_hangs_gives_the_lead_away),
        cmocka_unit_test(test_a_disk_that_answers_again_is_that_of_a_joiner),
        cmocka_unit_test(test_a_primary_whose_disk_answers_again_keeps_the_lead),
        cmocka_unit_test(
            test_with_nobody_to_hand_over_to_a_hung_primary_says_so_and_takes_no_updates),
        cmocka_unit_test(test_a_hung_primary_does_not_make_itself_the_only_member),
        cmocka_unit_test(test_a_backup_whose_disk_hangs_does_not_take_the_lead),
        cmocka_unit_test(test_the_lead_goes_to_a_member_whose_disk_works),
        cmocka_unit_test(test_in_a_pair_a_hung_primary_has_failed),
        cmocka_unit_test(
            test_a_restarted_node_does_not_lead_in_a_view_told_by_who_may_have_a_newer_one),
        cmocka_unit_test(test_a_node_whose_disk_hangs_stops_when_it_is_told_to),
        cmocka_unit_test(test_a_handover_asked_of_a_hung_primary_ends),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
