/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A node whose store was made of a backup: it founds a group of its own, and neither does the old
 * group take it for a member, nor it one of the old group's.
 */
#include "core_disk.h"
#include "tests/support/planted.h"

#include "kvstore/storage.h"

#include <stdlib.h>
#include <string.h>

enum kvp_mutant kvp_mutant;

#define NEW_GROUP 0x1234567890abcdefu

/* What kvp_storage_restore_finish() leaves, of a backup of what the node has. */
static void restore(struct node *node)
{
    struct kvp_point point = node->disk.applied;
    disk_blank(node);
    point.seq += KVP_RESTORE_JUMP;
    point.epoch += KVP_RESTORE_EPOCHS;
    point.hash = NEW_GROUP;
    node->disk.meta.group_id = NEW_GROUP;
    node->disk.meta.log_regressed = true;
    node->disk.meta.earlier[0] = KVP_STORE_IS_NEW;
    node->disk.tail = node->disk.applied = point;
    node->disk.first = point.seq + 1;
}

/* A group that has had some updates, and is down now. */
static void setup(struct world *world, unsigned count, enum kvp_pair_policy policy)
{
    world_open(world, count);
    world->config.policy = policy;
    world_form(world);
    world_put(world, 1, 20);
    world_run(world, SECONDS);
    for (unsigned id = 1; id <= count; id++) {
        world_kill(world, id);
    }
    world->hostile = true; /* two groups have histories of their own */
}

static uint64_t group_of(struct world *world, unsigned id)
{
    return kvp_core_group_id(world->nodes[id].core);
}

static void test_a_restored_node_founds_a_group_and_others_get_everything(void **state)
{
    (void)state;
    struct world world;
    setup(&world, 3, KVP_PAIR_NONE);
    uint64_t last = world.nodes[1].disk.tail.seq;
    restore(&world.nodes[1]);
    disk_blank(&world.nodes[2]);
    disk_blank(&world.nodes[3]);
    world_witness_forgets(&world);
    for (unsigned id = 1; id <= 3; id++) {
        world_start(&world, id);
    }
    world_run(&world, 10 * SECONDS);
    assert_serves(&world, 1, set_to(3));
    assert_true(group_of(&world, 1) == NEW_GROUP);
    assert_true(kvp_core_view(world.nodes[1].core)->epoch > KVP_RESTORE_EPOCHS);
    world_put(&world, 1, 5);
    world_run(&world, SECONDS);
    assert_same(&world, set_to(3));
    assert_true(world.nodes[2].disk.tail.seq == last + KVP_RESTORE_JUMP + 5);
    assert_false(world.nodes[1].disk.meta.log_regressed);
    world_close(&world);
}

static void test_it_founds_no_group_where_the_witness_knows_the_old_one(void **state)
{
    (void)state;
    struct world world;
    setup(&world, 2, KVP_PAIR_NONE);
    restore(&world.nodes[1]);
    disk_blank(&world.nodes[2]);
    world_start(&world, 1);
    world_start(&world, 2);
    world_run(&world, 10 * SECONDS);
    assert_false(world_serves(&world, 1) || world_serves(&world, 2));
    assert_true(world.nodes[1].disk.meta.group_id == NEW_GROUP);
    assert_true(world.nodes[1].disk.tail.seq > KVP_RESTORE_JUMP);
    world_witness_forgets(&world); /* it is given another one */
    world_run(&world, 10 * SECONDS);
    assert_serves(&world, 1, set_to(2));
    world_close(&world);
}

static void test_an_old_member_does_not_join_the_restored_group(void **state)
{
    (void)state;
    struct world world;
    setup(&world, 3, KVP_PAIR_NONE);
    uint64_t old = world.nodes[3].disk.meta.group_id;
    restore(&world.nodes[1]);
    disk_blank(&world.nodes[2]);
    world_witness_forgets(&world);
    world_start(&world, 1);
    world_start(&world, 2);
    world_run(&world, 10 * SECONDS);
    assert_serves(&world, 1, set2(1, 2));
    world_start(&world, 3);
    world_run(&world, 10 * SECONDS);
    assert_serves(&world, 1, set2(1, 2));
    assert_false(world_serves(&world, 3));
    assert_true(group_of(&world, 3) == old);
    assert_int_equal(world_count(&world, 3, DID_REPLACE, ANY), 0);
    assert_int_equal(world_count(&world, 3, DID_QUARANTINE, ANY), 0);
    world_close(&world);
}

static void test_the_old_group_does_not_take_a_restored_node_in(void **state)
{
    (void)state;
    struct world world;
    setup(&world, 3, KVP_PAIR_NONE);
    restore(&world.nodes[3]);
    world_start(&world, 1);
    world_start(&world, 2);
    world_run(&world, 10 * SECONDS);
    world_start(&world, 3);
    world_run(&world, 10 * SECONDS);
    unsigned leads = world_serves(&world, 1) ? 1 : 2;
    assert_true(world_serves(&world, leads));
    assert_false(kvp_set_has(kvp_core_view(world.nodes[leads].core)->in_sync, 3));
    assert_false(world_serves(&world, 3));
    assert_true(world.nodes[3].disk.meta.group_id == NEW_GROUP);
    assert_int_equal(world_count(&world, 3, DID_REPLACE, ANY), 0);
    world_close(&world);
}

/* No witness is there to know of the old group: but one of its nodes is. */
static void test_in_a_pair_it_waits_until_the_old_group_is_gone(void **state)
{
    static const enum kvp_pair_policy policies[] = {KVP_PAIR_BACKUP_WINS, KVP_PAIR_PRIMARY_WINS,
                                                    KVP_PAIR_AVAILABLE};
    (void)state;
    for (size_t i = 0; i < sizeof(policies) / sizeof(policies[0]); i++) {
        struct world world;
        setup(&world, 2, policies[i]);
        world.may_split = true;
        restore(&world.nodes[1]);
        world_start(&world, 2);
        world_start(&world, 1);
        world_run(&world, 10 * SECONDS);
        assert_false(world_serves(&world, 1));
        world_kill(&world, 2);
        world_run(&world, 5 * SECONDS);
        assert_serves(&world, 1, kvp_set_of(1));
        disk_blank(&world.nodes[2]);
        world_start(&world, 2);
        world_run(&world, 10 * SECONDS);
        assert_serves(&world, 1, set_to(2));
        world_close(&world);
    }
}

static const struct CMUnitTest cases[] = {
    cmocka_unit_test(test_a_restored_node_founds_a_group_and_others_get_everything),
    cmocka_unit_test(test_it_founds_no_group_where_the_witness_knows_the_old_one),
    cmocka_unit_test(test_an_old_member_does_not_join_the_restored_group),
    cmocka_unit_test(test_the_old_group_does_not_take_a_restored_node_in),
    cmocka_unit_test(test_in_a_pair_it_waits_until_the_old_group_is_gone),
};

static int run_planted(void)
{
    return cmocka_run_group_tests_name("planted", cases, NULL, NULL);
}

static void test_each_planted_bug_is_found(void **state)
{
    (void)state;
    assert_true(planted_bug_is_found(KVP_MUTANT_RESTORE_FORGETS, run_planted));
    assert_true(planted_bug_is_found(KVP_MUTANT_RESTORE_UNAWARE, run_planted));
}

int main(void)
{
    const struct CMUnitTest planted[] = {cmocka_unit_test(test_each_planted_bug_is_found)};
    int failed = cmocka_run_group_tests_name("restored", cases, NULL, NULL);
    return failed + cmocka_run_group_tests_name("planted bugs", planted, NULL, NULL);
}
