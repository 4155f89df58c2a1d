/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two nodes without an arbiter: who may go on when they are cut from each other, when one is
 * killed, when one or both start anew, and how each leaves in good order; for each policy.
 */
#include "core_support.h"

#include "replication/core/core_state.h"

static void open_pair(struct world *world, enum kvp_pair_policy policy)
{
    world_open(world, 2);
    world->config.policy = policy;
    world->may_split = policy == KVP_PAIR_AVAILABLE;
    world_form(world);
    world_put(world, 1, 10);
    world_run(world, SECONDS);
    assert_serves(world, 1, set2(1, 2));
    assert_same(world, set2(1, 2));
}

/* They find together again, and have one history. */
static void check_together(struct world *world)
{
    world_run(world, 10 * SECONDS);
    unsigned primary = world_serves(world, 1) ? 1 : 2;
    assert_serves(world, primary, set2(1, 2));
    assert_false(world_serves(world, 3 - primary));
    world_put(world, primary, 2);
    world_run(world, SECONDS);
    assert_same(world, set2(1, 2));
}

/* ---- cut from each other ---- */

static void cut(enum kvp_pair_policy policy, bool first, bool second)
{
    struct world world;
    open_pair(&world, policy);
    world_isolate(&world, 1);
    world_run(&world, 5 * SECONDS);
    assert_int_equal(world_serves(&world, 1), first);
    assert_int_equal(world_serves(&world, 2), second);
    if (first) {
        world_put(&world, 1, 3);
    }
    if (second) {
        world_put(&world, 2, 5);
    }
    world_run(&world, SECONDS);
    world_rejoin(&world, 1);
    check_together(&world);
    /* Only where both went on there is anything to quarantine. */
    unsigned quarantined =
        world_count(&world, 1, DID_QUARANTINE, ANY) + world_count(&world, 2, DID_QUARANTINE, ANY);
    assert_int_equal(quarantined, first && second ? 1 : 0);
    world_close(&world);
}

static void test_cut(void **state)
{
    (void)state;
    cut(KVP_PAIR_BACKUP_WINS, false, true);
    cut(KVP_PAIR_PRIMARY_WINS, true, false);
    cut(KVP_PAIR_AVAILABLE, true, true);
}

static unsigned set_asides(const struct world *world)
{
    return world_count(world, 1, DID_QUARANTINE, ANY) + world_count(world, 2, DID_QUARANTINE, ANY);
}

/* Both went on, but only one of them was written to. */
static void one_sided(unsigned writer)
{
    struct world world;
    open_pair(&world, KVP_PAIR_AVAILABLE);
    world_isolate(&world, 1);
    world_run(&world, 5 * SECONDS);
    assert_true(world_serves(&world, 1) && world_serves(&world, 2));
    world_put(&world, writer, 15);
    world_run(&world, SECONDS);
    world_rejoin(&world, 1);
    check_together(&world);
    uint64_t winner = kvp_core_view(world.nodes[1].core)->primary;
    assert_int_equal(set_asides(&world), writer == winner ? 0 : 1);
    assert_int_equal(world_status(&world, 3 - writer).meta.diverged_count, 0);
    assert_int_equal(world_status(&world, writer).meta.diverged_count, writer == winner ? 0 : 15);
    world_close(&world);
}

static void test_a_store_with_nothing_of_its_own_is_not_set_aside(void **state)
{
    (void)state;
    one_sided(1);
    one_sided(2);
}

/* What the primary had sent in the moment of the cut is in both logs: nobody made it alone. */
static void test_what_both_have_is_nobodys_own(void **state)
{
    (void)state;
    for (unsigned busy = 0; busy < 2; busy++) {
        struct world world;
        open_pair(&world, KVP_PAIR_AVAILABLE);
        world.paths[2][1].reply_us = 50 * MS;
        world_put(&world, 1, 4);
        world_run(&world, 10 * MS);
        assert_int_equal(world.nodes[2].disk.tail.seq, 14);
        assert_int_equal(world_status(&world, 1).commit, 10);
        world_isolate(&world, 1);
        world_run(&world, 5 * SECONDS);
        assert_true(world_serves(&world, 1) && world_serves(&world, 2));
        assert_int_equal(world_status(&world, 1).commit, 14);
        if (busy) {
            world_put(&world, 2, 3);
            world_run(&world, SECONDS);
        }
        world_rejoin(&world, 1);
        check_together(&world);
        assert_int_equal(set_asides(&world), 0);
        world_close(&world);
    }
}

/* The other one had sent entries that got lost in the cut, and does not wait for them for ever:
 * what it knew of this log holds no more since this node has led. */
static void test_a_node_that_led_is_compared_anew(void **state)
{
    (void)state;
    for (unsigned more = 0; more < 30; more += 5) {
        struct world world;
        open_pair(&world, KVP_PAIR_AVAILABLE);
        world_handover(&world, 1, 2);
        world_run(&world, SECONDS);
        assert_serves(&world, 2, set2(1, 2));
        world.nodes[2].core->config.cache_size_max = 64;
        world_isolate(&world, 1);
        for (unsigned i = 0; i < 9; i++) {
            world_put(&world, 2, 1);
            world_run(&world, MS);
        }
        world_run(&world, 3 * SECONDS);
        assert_true(world_serves(&world, 1) && world_serves(&world, 2));
        world_put(&world, 1, 5 + more);
        world_run(&world, SECONDS);
        for (unsigned i = 0; i < 30; i++) {
            world_put(&world, 2, 3);
            world_run(&world, MS);
        }
        world_rejoin(&world, 1);
        check_together(&world);
        world_close(&world);
    }
}

/* There is no room to set it aside: it stays where it is, whole, and out of the group, until there
 * is. */
static void test_a_full_quarantine_keeps_the_store_in_its_place(void **state)
{
    (void)state;
    struct world world;
    open_pair(&world, KVP_PAIR_AVAILABLE);
    world_isolate(&world, 1);
    world_run(&world, 5 * SECONDS);
    world_put(&world, 1, 3);
    world_put(&world, 2, 5);
    world_run(&world, SECONDS);
    world.nodes[1].quarantine_full = world.nodes[2].quarantine_full = true;
    world_rejoin(&world, 1);
    world_run(&world, 30 * SECONDS);
    assert_serves(&world, 2, kvp_set_of(2)); /* its epoch is higher */
    assert_int_equal(set_asides(&world), 0);
    assert_int_equal(world.nodes[1].disk.tail.seq, 13);
    struct kvp_core_status status = world_status(&world, 1);
    assert_int_equal(status.role, KVP_ROLE_OUTSIDE);
    assert_true(status.quarantine_full);
    assert_int_equal(status.meta.diverged_count, 0);
    assert_int_equal(world_count(&world, 1, DID_NOTE, KVP_NOTE_DIVERGED), 1);
    world_kill(&world, 1); /* what it knows of its own part is not lost */
    world_start(&world, 1);
    world_run(&world, 5 * SECONDS);
    assert_int_equal(world.nodes[1].disk.tail.seq, 13);
    world.nodes[1].quarantine_full = false;
    world_run(&world, 11 * SECONDS);
    check_together(&world);
    assert_int_equal(world_count(&world, 1, DID_QUARANTINE, KVP_KEEP), 1);
    assert_int_equal(world_status(&world, 1).meta.diverged_count, 3);
    assert_false(world_status(&world, 1).quarantine_full);
    world_close(&world);
}

/* A primary that forgot, by a crash, what it knew of its own commits still has them: they are
 * compared, not cut off. */
static void test_what_was_made_alone_is_never_cut_off(void **state)
{
    (void)state;
    struct world world;
    open_pair(&world, KVP_PAIR_AVAILABLE);
    world_isolate(&world, 1);
    world_run(&world, 5 * SECONDS);
    world_put(&world, 1, 7);
    world_put(&world, 2, 1);
    for (unsigned i = 0; i < 2; i++) { /* each start alone is a view, and the higher one wins */
        world_run(&world, SECONDS);
        world_kill(&world, 2);
        world_start(&world, 2);
    }
    world_run(&world, SECONDS);
    world_kill(&world, 1);
    assert_true(disk_point(&world.nodes[1].disk, 10, &world.nodes[1].disk.applied));
    world_start(&world, 1);
    world_rejoin(&world, 1);
    check_together(&world);
    assert_int_equal(world_count(&world, 1, DID_QUARANTINE, ANY), 1);
    assert_int_equal(world_status(&world, 1).meta.diverged_count, 7);
    world_close(&world);
}

static void cut_when_just_formed(uint64_t later_us)
{
    struct world world;
    world_open(&world, 2);
    world.config.policy = KVP_PAIR_BACKUP_WINS;
    world.nodes[1].disk_us = 40 * MS;
    world_start(&world, 1);
    world_run(&world, later_us);
    world_start(&world, 2);
    for (unsigned i = 0; world_status(&world, 2).role != KVP_ROLE_BACKUP; i++) {
        assert_true(i < 100000);
        world_run(&world, MS / 10);
    }
    world_run(&world, 5 * MS);
    world_isolate(&world, 1);
    world_run(&world, 2 * SECONDS);
    assert_serves(&world, 2, kvp_set_of(2));
    world_rejoin(&world, 1);
    check_together(&world);
    world_close(&world);
}

/* A backup can take over as soon as it is one, also when all that it heard before was not settled.
 */
static void test_cut_when_just_formed(void **state)
{
    (void)state;
    for (uint64_t later_us = 0; later_us <= 200 * MS; later_us += 10 * MS) {
        cut_when_just_formed(later_us);
    }
}

/* Updates on their way in that moment: what the other has not, was not acknowledged. */
static void cut_while_busy(enum kvp_pair_policy policy)
{
    struct world world;
    open_pair(&world, policy);
    for (unsigned i = 0; i < 3; i++) {
        world_put(&world, 1, 5);
        world_run(&world, 700 + 300 * i);
        world_isolate(&world, 1);
        if (kvp_core_accepting(world.nodes[1].core, world.now_us)) {
            world_put(&world, 1, 5);
        }
        world_run(&world, 5 * SECONDS);
        world_rejoin(&world, 1);
        world_run(&world, 10 * SECONDS);
        if (!world_serves(&world, 1)) {
            world_handover(&world, 2, 1);
            world_run(&world, SECONDS);
        }
        assert_serves(&world, 1, set2(1, 2));
        assert_same(&world, set2(1, 2));
    }
    world_close(&world);
}

static void test_cut_while_busy(void **state)
{
    (void)state;
    cut_while_busy(KVP_PAIR_BACKUP_WINS);
    cut_while_busy(KVP_PAIR_PRIMARY_WINS);
    cut_while_busy(KVP_PAIR_AVAILABLE);
}

/* ---- one is killed ---- */

static void backup_killed(enum kvp_pair_policy policy, bool goes_on)
{
    struct world world;
    open_pair(&world, policy);
    world_kill(&world, 2);
    world_run(&world, 5 * SECONDS);
    assert_int_equal(world_serves(&world, 1), goes_on);
    world_start(&world, 2);
    check_together(&world);
    world_close(&world);
}

static void test_backup_killed(void **state)
{
    (void)state;
    backup_killed(KVP_PAIR_BACKUP_WINS, false);
    backup_killed(KVP_PAIR_PRIMARY_WINS, true);
    backup_killed(KVP_PAIR_AVAILABLE, true);
}

static void primary_killed(enum kvp_pair_policy policy, bool goes_on)
{
    struct world world;
    open_pair(&world, policy);
    world_kill(&world, 1);
    world_run(&world, 5 * SECONDS);
    assert_int_equal(world_serves(&world, 2), goes_on);
    if (!goes_on) { /* an operator knows that the other one is dead */
        assert_int_equal(world_count(&world, 2, DID_NOTE, KVP_NOTE_WAITS_FOR_PEER), 1);
        world_promote(&world, 2, false);
        world_run(&world, SECONDS);
        assert_int_equal(world_last(&world, 2, DID_PROMOTE, ANY).what, KVP_OK);
        assert_serves(&world, 2, kvp_set_of(2));
    }
    world_start(&world, 1);
    check_together(&world);
    assert_true(world_serves(&world, 2));
    world_close(&world);
}

static void test_primary_killed(void **state)
{
    (void)state;
    primary_killed(KVP_PAIR_BACKUP_WINS, true);
    primary_killed(KVP_PAIR_PRIMARY_WINS, false);
    primary_killed(KVP_PAIR_AVAILABLE, true);
}

/* Its disk fails, and it says so: then nobody has to wait for an operator. */
static void primary_fails(enum kvp_pair_policy policy)
{
    struct world world;
    open_pair(&world, policy);
    world_put(&world, 1, 3);
    world.nodes[1].disk_status = KVP_IO;
    world_run(&world, 2 * SECONDS);
    assert_int_equal(world_status(&world, 1).role, KVP_ROLE_FAILED);
    assert_true(world_count(&world, 2, DID_NOTE, KVP_NOTE_RESIGNED) > 0);
    assert_serves(&world, 2, kvp_set_of(2));
    world_kill(&world, 1);
    world.nodes[1].disk_status = KVP_OK;
    world_start(&world, 1);
    check_together(&world);
    assert_true(world_serves(&world, 2));
    world_close(&world);
}

static void test_primary_fails(void **state)
{
    (void)state;
    primary_fails(KVP_PAIR_BACKUP_WINS);
    primary_fails(KVP_PAIR_PRIMARY_WINS);
    primary_fails(KVP_PAIR_AVAILABLE);
}

/* It gives its right away, also where it holds the register. */
static void backup_fails(enum kvp_pair_policy policy)
{
    struct world world;
    open_pair(&world, policy);
    world_put(&world, 1, 3);
    world.nodes[2].disk_status = KVP_DISK_FULL;
    world_run(&world, 3 * SECONDS);
    assert_int_equal(world_status(&world, 2).role, KVP_ROLE_FAILED);
    assert_serves(&world, 1, kvp_set_of(1));
    world_kill(&world, 2);
    world.nodes[2].disk_status = KVP_OK;
    world_start(&world, 2);
    check_together(&world);
    assert_true(world_serves(&world, 1));
    world_close(&world);
}

static void test_backup_fails(void **state)
{
    (void)state;
    backup_fails(KVP_PAIR_BACKUP_WINS);
    backup_fails(KVP_PAIR_PRIMARY_WINS);
    backup_fails(KVP_PAIR_AVAILABLE);
}

/* It leads already, and may not go on: an operator who wants it to lead is told that nothing has
 * changed. */
static void test_promote_of_a_leader_that_may_not_serve_is_refused(void **state)
{
    (void)state;
    struct world world;
    open_pair(&world, KVP_PAIR_BACKUP_WINS);
    world_kill(&world, 2);
    world_run(&world, 2 * SECONDS);
    assert_int_equal(world_status(&world, 1).role, KVP_ROLE_PRIMARY);
    world_promote(&world, 1, false);
    world_run(&world, 2 * SECONDS);
    assert_int_equal(world_last(&world, 1, DID_PROMOTE, ANY).what, KVP_REFUSED);
    assert_false(world_serves(&world, 1));
    world_promote(&world, 1, true);
    world_run(&world, SECONDS);
    assert_int_equal(world_last(&world, 1, DID_PROMOTE, ANY).what, KVP_OK);
    assert_serves(&world, 1, kvp_set_of(1));
    world_promote(&world, 1, false);
    assert_int_equal(world_last(&world, 1, DID_PROMOTE, ANY).what, KVP_OK);
    world_close(&world);
}

/* ---- the boot rule ---- */

/* Started alone, after both were in the view: the other may have gone on since. */
static void boots_alone(enum kvp_pair_policy policy, unsigned id)
{
    struct world world;
    open_pair(&world, policy);
    world_kill(&world, 1);
    world_kill(&world, 2);
    world_start(&world, id);
    world_run(&world, 30 * SECONDS);
    assert_false(world_serves(&world, id));
    assert_int_equal(world_count(&world, id, DID_NOTE, KVP_NOTE_WAITS_FOR_PEER), 1);

    world_promote(&world, id, true);
    world_run(&world, SECONDS);
    assert_int_equal(world_last(&world, id, DID_PROMOTE, ANY).what, KVP_OK);
    assert_serves(&world, id, kvp_set_of(id));
    world_put(&world, id, 2);
    world_run(&world, SECONDS);
    world_start(&world, 3 - id);
    check_together(&world);
    assert_true(world_serves(&world, id));
    world_close(&world);
}

static void both_boot(enum kvp_pair_policy policy)
{
    struct world world;
    open_pair(&world, policy);
    world_put(&world, 1, 3);
    world_run(&world, 700);
    world_kill(&world, 1);
    world_kill(&world, 2);
    world_start(&world, 1);
    world_run(&world, 2 * SECONDS);
    world_start(&world, 2);
    check_together(&world);
    world_close(&world);
}

static void test_boot(void **state)
{
    (void)state;
    for (int policy = KVP_PAIR_BACKUP_WINS; policy <= KVP_PAIR_AVAILABLE; policy++) {
        boots_alone((enum kvp_pair_policy)policy, 1);
        boots_alone((enum kvp_pair_policy)policy, 2);
        both_boot((enum kvp_pair_policy)policy);
    }
}

/* Whoever was alone in its last view knows that nobody else has gone on. */
static void test_boots_single(void **state)
{
    (void)state;
    for (int policy = KVP_PAIR_BACKUP_WINS; policy <= KVP_PAIR_AVAILABLE; policy++) {
        struct world world;
        open_pair(&world, (enum kvp_pair_policy)policy);
        world_kill(&world, 1);
        world_run(&world, 2 * SECONDS);
        world_promote(&world, 2, true);
        world_run(&world, SECONDS);
        assert_serves(&world, 2, kvp_set_of(2));
        world_kill(&world, 2);
        world_start(&world, 2);
        world_run(&world, 2 * SECONDS);
        assert_serves(&world, 2, kvp_set_of(2));
        world_kill(&world, 2);

        /* The stale one does not: it learns first. */
        world_start(&world, 1);
        world_run(&world, 2 * SECONDS);
        assert_false(world_serves(&world, 1));
        world_start(&world, 2);
        check_together(&world);
        assert_true(world_serves(&world, 2));
        world_close(&world);
    }
}

/* Blank nodes make a group only together. */
static void test_founding(void **state)
{
    (void)state;
    struct world world;
    world_open(&world, 2);
    world.config.policy = KVP_PAIR_AVAILABLE;
    world_start(&world, 2);
    world_run(&world, 10 * SECONDS);
    assert_int_equal(kvp_core_group_id(world.nodes[2].core), 0);
    world_start(&world, 1);
    check_together(&world);
    assert_true(world_serves(&world, 1));
    world_close(&world);
}

/* ---- leaving in good order ---- */

static void stop_primary(enum kvp_pair_policy policy)
{
    struct world world;
    open_pair(&world, policy);
    world_put(&world, 1, 4);
    world_stop(&world, 1);
    world_run(&world, SECONDS);
    assert_true(world.nodes[1].stopped);
    assert_serves(&world, 2, kvp_set_of(2));
    assert_int_equal(world.nodes[2].disk.tail.seq, 14);
    world_kill(&world, 1);
    world_start(&world, 1);
    check_together(&world);
    assert_true(world_serves(&world, 2));
    world_close(&world);
}

static void stop_backup(enum kvp_pair_policy policy)
{
    struct world world;
    open_pair(&world, policy);
    world_stop(&world, 2);
    world_run(&world, SECONDS);
    assert_true(world.nodes[2].stopped);
    assert_serves(&world, 1, kvp_set_of(1));
    world_kill(&world, 2);

    /* Node 1 may go on alone, also after a start. */
    world_kill(&world, 1);
    world_start(&world, 1);
    world_run(&world, SECONDS);
    assert_serves(&world, 1, kvp_set_of(1));
    world_start(&world, 2);
    check_together(&world);
    world_close(&world);
}

static void test_stop(void **state)
{
    (void)state;
    for (int policy = KVP_PAIR_BACKUP_WINS; policy <= KVP_PAIR_AVAILABLE; policy++) {
        stop_primary((enum kvp_pair_policy)policy);
        stop_backup((enum kvp_pair_policy)policy);
    }
}

/* Neither takes what the other one hands over: each would hand it back, until their time is over.
 */
static void stop_both(enum kvp_pair_policy policy, unsigned first, uint64_t later_us,
                      uint64_t disk_us)
{
    struct world world;
    open_pair(&world, policy);
    world.nodes[1].disk_us = world.nodes[2].disk_us = disk_us;
    world_put(&world, 1, 4);
    world_stop(&world, first);
    world_run(&world, later_us);
    world_stop(&world, 3 - first);
    world_run(&world, SECONDS);
    assert_true(world.nodes[1].stopped && world.nodes[2].stopped);
    assert_int_equal(world_count(&world, 1, DID_SERVE, ANY), 1);
    assert_in_range(world_count(&world, 2, DID_SERVE, ANY), 0, 1);
    world_kill(&world, 1);
    world_kill(&world, 2);
    world_start(&world, 1);
    world_start(&world, 2);
    check_together(&world);
    world_close(&world);
}

static void test_two_that_stop_at_once_hand_nothing_to_and_fro(void **state)
{
    static const uint64_t later_us[] = {0, 1 * MS, 10 * MS, 30 * MS, 80 * MS};
    static const uint64_t disk_us[] = {1 * MS, 10 * MS, 40 * MS};
    (void)state;
    for (int policy = KVP_PAIR_NONE; policy <= KVP_PAIR_AVAILABLE; policy++) {
        for (unsigned i = 0; i < 2 * 5 * 3; i++) {
            stop_both((enum kvp_pair_policy)policy, 1 + i % 2, later_us[i / 2 % 5],
                      disk_us[i / 10]);
        }
    }
}

static void test_handover(void **state)
{
    (void)state;
    for (int policy = KVP_PAIR_BACKUP_WINS; policy <= KVP_PAIR_AVAILABLE; policy++) {
        struct world world;
        open_pair(&world, (enum kvp_pair_policy)policy);
        world_handover(&world, 1, 0);
        world_run(&world, SECONDS);
        assert_int_equal(world_last(&world, 1, DID_HANDOVER, ANY).what, KVP_OK);
        assert_serves(&world, 2, set2(1, 2));
        world_put(&world, 2, 1);
        check_together(&world);
        world_close(&world);
    }
}

/* Asked while the holder's disk is slow, and its answer gets lost: what was granted stays so. */
static void test_grant_is_lost(void **state)
{
    (void)state;
    struct world world;
    open_pair(&world, KVP_PAIR_PRIMARY_WINS);
    world.nodes[1].disk_us = 20 * MS;
    world_kill(&world, 2);
    world_start(&world, 2);
    world_run(&world, 3 * SECONDS);
    world_handover(&world, 1, 2);
    world_run(&world, 5 * MS);
    world.paths[1][2].cut = true;
    world_run(&world, 3 * SECONDS);
    world_heal(&world, 1, 2);
    check_together(&world);
    world_close(&world);
}

static void run_until_failed(struct world *world, unsigned id)
{
    for (unsigned i = 0; world_status(world, id).role != KVP_ROLE_FAILED; i++) {
        assert_true(i < 20000);
        world_run(world, MS / 10);
    }
}

/* The holder's disk fails, it grants what it is asked for, and is started anew: it does not know of
 * the grant, which is still on its way to the other one's disk. */
static void test_grant_of_a_failed_holder_is_slow(void **state)
{
    (void)state;
    struct world world;
    open_pair(&world, KVP_PAIR_BACKUP_WINS);
    world_put(&world, 1, 1);
    world.nodes[2].disk_status = KVP_IO;
    run_until_failed(&world, 2);
    world.nodes[1].disk_us = 5 * SECONDS;
    world_run(&world, 500 * MS);
    assert_true(world_jobs(&world.nodes[1]) > 0);
    world_kill(&world, 2);
    world.nodes[2].disk_status = KVP_OK;
    world_start(&world, 2);
    world_run(&world, SECONDS);
    world_isolate(&world, 1);
    world_run(&world, 2 * SECONDS);
    assert_false(world_serves(&world, 2));
    world_run(&world, 3 * SECONDS);
    assert_serves(&world, 1, kvp_set_of(1));
    world.nodes[1].disk_us = MS;
    world_rejoin(&world, 1);
    check_together(&world);
    world_close(&world);
}

/* The same, and the other one's disk fails just then, though it has what was granted. */
static void test_grant_of_a_failed_holder_is_hidden(void **state)
{
    (void)state;
    struct world world;
    open_pair(&world, KVP_PAIR_PRIMARY_WINS);
    world_put(&world, 1, 1);
    world.nodes[1].disk_status = KVP_IO;
    run_until_failed(&world, 1);
    world.nodes[2].disk_us = 200 * MS;
    world_run(&world, 100 * MS);
    world.nodes[2].disk_status = KVP_DISK_FULL;
    run_until_failed(&world, 2);
    world_kill(&world, 1);
    world.nodes[1].disk_status = KVP_OK;
    world_start(&world, 1);
    world_run(&world, 5 * SECONDS);
    assert_false(world_serves(&world, 1));
    world_kill(&world, 2);
    world.nodes[2].disk_status = KVP_OK;
    world.nodes[2].disk_us = MS;
    world_start(&world, 2);
    check_together(&world);
    world_close(&world);
}

/* The holder is about to take over: it does not give the same right away meanwhile. */
static void test_asked_while_fencing(void **state)
{
    (void)state;
    static struct kvp_peer_request request;
    struct world world;
    world_open(&world, 2);
    world.config.policy = KVP_PAIR_BACKUP_WINS;
    world.config.fence = true;
    world_form(&world);
    world_isolate(&world, 1);
    for (unsigned i = 0; world_count(&world, 2, DID_FENCE, ANY) == 0; i++) {
        assert_true(i < 20000);
        world_run(&world, MS / 10);
    }
    request.op = KVP_OP_ASK_VIEW;
    request.from = 1;
    request.to = 2;
    request.group_id = kvp_core_group_id(world.nodes[2].core);
    request.view = *kvp_core_view(world.nodes[2].core);
    request.expected = request.view.version;
    request.proposed = request.view;
    request.proposed.version = request.proposed.epoch += 64;
    request.proposed.in_sync = kvp_set_of(1);
    world_request(&world, 2, &request);
    assert_int_equal(world.last_reply.code, KVP_BUSY);
    world_run(&world, SECONDS);
    assert_serves(&world, 2, kvp_set_of(2));
    world_rejoin(&world, 1);
    check_together(&world);
    world_close(&world);
}

/* The holder's disk is slow: whoever repeats the question hears that it is not decided yet, not
 * that it is refused, which would end a proposal that is being granted. */
static void test_a_question_repeated_while_its_grant_is_written_is_not_refused(void **state)
{
    (void)state;
    static struct kvp_peer_request request;
    struct world world;
    open_pair(&world, KVP_PAIR_BACKUP_WINS);
    world.nodes[2].disk_us = 300 * MS;
    request.op = KVP_OP_ASK_VIEW;
    request.from = 1;
    request.to = 2;
    request.group_id = kvp_core_group_id(world.nodes[2].core);
    request.view = *kvp_core_view(world.nodes[2].core);
    request.expected = request.view.version;
    request.proposed = request.view;
    request.proposed.version = request.proposed.epoch += 64;
    request.proposed.in_sync = kvp_set_of(1);
    world_request(&world, 2, &request);
    world_run(&world, MS);
    world_request(&world, 2, &request);
    assert_int_equal(world.last_reply.op, KVP_OP_ASK_VIEW);
    assert_int_equal(world.last_reply.code, KVP_BUSY);
    world_run(&world, SECONDS);
    world_request(&world, 2, &request);
    assert_int_not_equal(world.last_reply.code, KVP_BUSY);
    assert_true(kvp_view_equal(&world.last_reply.report.view, &request.proposed));
    check_together(&world);
    world_close(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cut),
        cmocka_unit_test(test_cut_when_just_formed),
        cmocka_unit_test(test_a_store_with_nothing_of_its_own_is_not_set_aside),
        cmocka_unit_test(test_what_both_have_is_nobodys_own),
        cmocka_unit_test(test_a_node_that_led_is_compared_anew),
        cmocka_unit_test(test_a_full_quarantine_keeps_the_store_in_its_place),
        cmocka_unit_test(test_what_was_made_alone_is_never_cut_off),
        cmocka_unit_test(test_cut_while_busy),
        cmocka_unit_test(test_backup_killed),
        cmocka_unit_test(test_primary_killed),
        cmocka_unit_test(test_primary_fails),
        cmocka_unit_test(test_backup_fails),
        cmocka_unit_test(test_promote_of_a_leader_that_may_not_serve_is_refused),
        cmocka_unit_test(test_boot),
        cmocka_unit_test(test_boots_single),
        cmocka_unit_test(test_founding),
        cmocka_unit_test(test_stop),
        cmocka_unit_test(test_two_that_stop_at_once_hand_nothing_to_and_fro),
        cmocka_unit_test(test_handover),
        cmocka_unit_test(test_grant_is_lost),
        cmocka_unit_test(test_grant_of_a_failed_holder_is_slow),
        cmocka_unit_test(test_grant_of_a_failed_holder_is_hidden),
        cmocka_unit_test(test_asked_while_fencing),
        cmocka_unit_test(test_a_question_repeated_while_its_grant_is_written_is_not_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
