/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The log on all nodes: what is acknowledged when, and what becomes of entries that nobody else
 * has. The disks check the chain of hashes, that nothing is applied twice or out of order, and that
 * nothing is cut that was applied.
 */
#include "core_support.h"

#include <stdlib.h>

static void setup(struct world *world, unsigned count)
{
    world_open(world, count);
    world_form(world);
    world_put(world, 1, 10);
    world_run(world, 300 * MS);
    assert_same(world, set_to(count));
}

/* ---- order ---- */

/* Committed is what all members' disks have, the primary's own included. */
static void test_commit_waits_for_every_disk(void **state)
{
    (void)state;
    for (unsigned slow = 1; slow <= 3; slow++) {
        struct world world;
        setup(&world, 3);
        world.nodes[slow].disk_us = 300 * MS;
        world_put(&world, 1, 1);
        world_run(&world, 250 * MS);
        assert_int_equal(world_status(&world, 1).commit, 10);
        for (unsigned i = 1; i <= 3; i++) {
            assert_int_equal(world_status(&world, i).tail.seq, 11);
            assert_int_equal(world_status(&world, i).durable, i == slow ? 10 : 11);
        }
        world_run(&world, 100 * MS);
        assert_int_equal(world_status(&world, 1).commit, 11);
        world_run(&world, SECONDS);
        assert_same(&world, set_to(3));
        world_close(&world);
    }
}

/* Lost, late, twice, in another order: the logs are the same in the end. */
static void chaos(uint64_t seed)
{
    struct world world;
    setup(&world, 3);
    world.random = seed;
    world.lose_percent = (unsigned)world_random(&world, 10);
    world.twice_percent = (unsigned)world_random(&world, 30);
    world.jitter_us = world_random(&world, 80 * MS) + 1;
    for (unsigned i = 0; i < 400; i++) {
        for (unsigned id = 1; id <= 3; id++) {
            if (kvp_core_accepting(world.nodes[id].core, world.now_us)) {
                world_put(&world, id, (unsigned)world_random(&world, 5));
            }
        }
        world_run(&world, world_random(&world, 30 * MS));
    }
    world.lose_percent = world.twice_percent = 0;
    world.jitter_us = 0;
    world_run(&world, 10 * SECONDS);
    assert_same(&world, set_to(3));
    assert_true(world.nodes[1].disk.tail.seq > 100);
    assert_int_equal(world_status(&world, 1).view.in_sync, set_to(3));
    world_close(&world);
}

static void test_chaos(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 30; seed++) {
        chaos(seed);
    }
}

static void test_sizes(void **state)
{
    (void)state;
    static const unsigned sizes[] = {1, 2, 3, 5, 9};
    for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        struct world world;
        setup(&world, sizes[i]);
        assert_serves(&world, 1, set_to(sizes[i]));
        world_put(&world, 1, 3000); /* more than an APPEND may have */
        world_run(&world, SECONDS);
        assert_int_equal(world_status(&world, 1).commit, 3010);
        assert_same(&world, set_to(sizes[i]));
        world_close(&world);
    }
}

/* All at once are down, in the middle of writing, and come back. */
static void test_all_restart(void **state)
{
    (void)state;
    struct world world;
    setup(&world, 3);
    world.config.sync_replicas = 3;
    for (unsigned round = 0; round < 20; round++) {
        for (unsigned id = 1; id <= 3; id++) {
            if (kvp_core_accepting(world.nodes[id].core, world.now_us)) {
                world_put(&world, id, 50);
            }
        }
        world_run(&world, 500 + round * 37);
        for (unsigned id = 1; id <= 3; id++) {
            world_kill(&world, id);
        }
        for (unsigned id = 1; id <= 3; id++) {
            world_start(&world, id);
        }
        world_run(&world, 5 * SECONDS);
        assert_same(&world, set_to(3));
    }
    assert_true(world.nodes[1].disk.tail.seq > 500);
    world_close(&world);
}

/* ---- entries that nobody else has ---- */

/* Node 1 has five entries that were never acknowledged; node 2 leads. */
static void part(struct world *world)
{
    setup(world, 3);
    world_isolate(world, 1);
    world_put(world, 1, 5);
    world_run(world, 50 * MS);
    assert_int_equal(world->nodes[1].disk.tail.seq, 15);
    assert_int_equal(world_status(world, 1).commit, 10);
    world_kill(world, 1);
    world_rejoin(world, 1);
    world_run(world, 3 * SECONDS);
    assert_int_equal(world_serves(world, 2) + world_serves(world, 3), 1);
}

static void check_cut(struct world *world)
{
    world_start(world, 1);
    world_run(world, 5 * SECONDS);
    assert_same(world, set_to(3));
    assert_int_equal(world_count(world, 1, DID_CUT, ANY), 1);
    assert_int_equal(world_last(world, 1, DID_CUT, ANY).number, 10);
    assert_int_equal(world_count(world, 1, DID_NOTE, KVP_NOTE_LOG_CUT), 1);
    assert_int_equal(world_count(world, 1, DID_QUARANTINE, ANY), 0);
}

static void test_suffix_is_replaced(void **state)
{
    (void)state;
    struct world world;
    part(&world);
    world_put(&world, world_serves(&world, 2) ? 2 : 3, 8);
    world_run(&world, 100 * MS);
    check_cut(&world);
    assert_int_equal(world.nodes[1].disk.tail.seq, 18);
    world_close(&world);
}

/* The new primary has made nothing: that its log ends is all that it can say. */
static void test_suffix_is_cut(void **state)
{
    (void)state;
    struct world world;
    part(&world);
    check_cut(&world);
    assert_int_equal(world.nodes[1].disk.tail.seq, 10);
    world_close(&world);
}

/* The message that cuts, or its answer, gets lost for a while. */
static void test_cut_is_lost(void **state)
{
    (void)state;
    struct world world;
    part(&world);
    unsigned primary = world_serves(&world, 2) ? 2 : 3;
    world_swallow(&world, primary, 1, KVP_OP_APPEND);
    world_start(&world, 1);
    world_run(&world, 2 * SECONDS);
    assert_int_equal(world.nodes[1].disk.tail.seq, 15);
    world_rejoin(&world, 1);
    world_run(&world, 5 * SECONDS);
    assert_same(&world, set_to(3));
    world_close(&world);
}

/* What node 1 acknowledged alone is not cut: the store is quarantined, once, and counted. */
static void test_acknowledged_alone(void **state)
{
    (void)state;
    struct world world;
    setup(&world, 2);
    world.may_split = true;
    world_kill(&world, 2);
    world_run(&world, 2 * SECONDS);
    world_put(&world, 1, 7);
    world_run(&world, 100 * MS);
    assert_int_equal(world_status(&world, 1).commit, 17);
    world_kill(&world, 1);

    world_start(&world, 2);
    world_run(&world, 100 * MS);
    world_promote(&world, 2, true);
    world_run_serving(&world, 2, SECONDS);
    world_put(&world, 2, 2);
    world_start(&world, 1);
    world_run(&world, 5 * SECONDS);
    assert_int_equal(world_count(&world, 1, DID_QUARANTINE, ANY), 1);
    assert_int_equal(world_last(&world, 1, DID_NOTE, KVP_NOTE_DIVERGED).number, 7);
    assert_int_equal(world_count(&world, 1, DID_CUT, ANY), 0);
    assert_int_equal(world_status(&world, 1).meta.diverged_count, 7);
    assert_serves(&world, 2, set2(1, 2));
    assert_same(&world, set2(1, 2));

    world_kill(&world, 1);
    world_start(&world, 1);
    world_run(&world, 5 * SECONDS);
    assert_int_equal(world_count(&world, 1, DID_QUARANTINE, ANY), 1);
    world_close(&world);
}

/* The same when it died before it had applied them: they look like any unfinished suffix then. */
static void test_acknowledged_but_not_applied(void **state)
{
    (void)state;
    struct world world;
    setup(&world, 2);
    world.may_split = true;
    world_kill(&world, 2);
    world_run(&world, 2 * SECONDS);
    world_put(&world, 1, 7);
    for (unsigned i = 0; world_status(&world, 1).commit < 17; i++) {
        assert_true(i < 1000);
        world_run(&world, 10);
    }
    world_kill(&world, 1);
    assert_int_equal(world.nodes[1].disk.applied.seq, 10);
    world_start(&world, 2);
    world_run(&world, 100 * MS);
    world_promote(&world, 2, true);
    world_run_serving(&world, 2, SECONDS);
    world_start(&world, 1);
    world_run(&world, 5 * SECONDS);
    assert_int_equal(world_count(&world, 1, DID_QUARANTINE, ANY), 1);
    assert_int_equal(world_status(&world, 1).meta.diverged_count, 7);
    assert_same(&world, set2(1, 2));
    world_close(&world);
}

/* Acknowledged by two, but an operator made the third primary, who never saw it. Its log does not
 * reach back to where they part, or it does. */
static void forced_past(uint64_t log_size, unsigned made)
{
    struct world world;
    world_open(&world, 3);
    world.config.sync_replicas = 2;
    world.config.log_size_max = world.config.cache_size_max = log_size;
    world_form(&world);
    world_put(&world, 1, 10);
    world_run(&world, SECONDS);
    world.may_split = true;
    world_isolate(&world, 3);
    world_put(&world, 1, 5);
    world_run(&world, 300 * MS);
    world_kill(&world, 1);
    world_kill(&world, 2);
    world_promote(&world, 3, true);
    world_run_serving(&world, 3, SECONDS);
    for (unsigned i = 0; i < made; i++) {
        world_put(&world, 3, 1);
        world_run(&world, 2 * MS);
    }
    world_rejoin(&world, 3);
    world_start(&world, 1);
    world_run(&world, 3 * SECONDS);
    assert_int_equal(world_count(&world, 1, DID_QUARANTINE, ANY), 1);
    assert_serves(&world, 3, set2(1, 3));
    world_start(&world, 2);
    world_run(&world, 3 * SECONDS);
    assert_int_equal(world_count(&world, 2, DID_QUARANTINE, ANY), 1);
    assert_same(&world, set_to(3));
    world_close(&world);
}

static void test_forced_past_acknowledged(void **state)
{
    (void)state;
    forced_past(1u << 20, 0);
    forced_past(1u << 20, 3);
    forced_past(1u << 20, 20);
}

/* The disk is busy with a snapshot for somebody when the store is to be quarantined. */
static void test_set_aside_while_sending(void **state)
{
    (void)state;
    struct world world;
    world_open(&world, 3);
    world.may_split = true;
    world.config.sync_replicas = 2;
    world.config.log_size_max = world.config.cache_size_max = 64;
    world_form(&world);
    world_kill(&world, 3);
    world_isolate(&world, 2);
    world_run(&world, 12 * SECONDS); /* so long the log is kept for node 3 */
    for (unsigned i = 0; i < 100; i++) {
        world_put(&world, 1, 1);
        world_run(&world, 2 * MS);
    }
    world.nodes[1].disk_us = 50 * MS;
    world_start(&world, 3);
    world_run(&world, 120 * MS);
    assert_int_equal(world_count(&world, 1, DID_NOTE, KVP_NOTE_SNAPSHOT_SENDING), 1);
    world_witness(&world, 1, false);
    world_promote(&world, 2, true);
    world_witness(&world, 1, true); /* or what counts would wait for it */
    world_rejoin(&world, 2);
    world_run(&world, 10 * SECONDS);
    assert_int_equal(world_count(&world, 1, DID_NOTE, KVP_NOTE_DIVERGED), 1);
    assert_true(world_serves(&world, 2));
    assert_same(&world, set2(1, 2));
    world_close(&world);
}

/* ---- what a follower accepts ---- */

static struct kvp_peer_request append_to(struct world *world, unsigned from, unsigned to)
{
    static struct kvp_peer_request request;
    request.op = KVP_OP_APPEND;
    request.from = (uint8_t)from;
    request.to = (uint8_t)to;
    request.group_id = kvp_core_group_id(world->nodes[to].core);
    request.view = *kvp_core_view(world->nodes[to].core);
    request.sent_us = world->now_us;
    request.lead_epoch = request.view.epoch;
    request.prev = world->nodes[to].disk.tail;
    request.end = request.prev.seq;
    request.commit = world->nodes[to].disk.applied;
    return request;
}

static int answer_to(struct world *world, const struct kvp_peer_request *request)
{
    world_request(world, 2, request);
    assert_int_equal(world->last_reply.op, KVP_OP_APPEND);
    return -abs(world->last_reply.code);
}

/* All entries are two views old. */
static void setup_long_ago(struct world *world)
{
    setup(world, 2);
    world_kill(world, 2);
    world_run(world, SECONDS);
    world_start(world, 2);
    world_run(world, 3 * SECONDS);
    assert_serves(world, 1, set2(1, 2));
}

static void test_follower_refuses(void **state)
{
    (void)state;
    struct world world;
    setup_long_ago(&world);
    struct kvp_peer_request request = append_to(&world, 1, 2);
    assert_int_equal(answer_to(&world, &request), KVP_OK);

    request.view.epoch--;
    request.lead_epoch--;
    assert_int_equal(answer_to(&world, &request), KVP_STALE_VIEW);
    request = append_to(&world, 1, 2);
    request.prev.seq++; /* a gap */
    assert_int_equal(answer_to(&world, &request), KVP_NOT_FOUND);
    request = append_to(&world, 1, 2);
    request.prev.hash++; /* another history */
    assert_int_equal(answer_to(&world, &request), KVP_NOT_FOUND);
    request = append_to(&world, 1, 2);
    request.end = 9; /* nothing committed is cut, whoever wants it */
    request.lead_epoch = request.view.epoch;
    assert_int_equal(answer_to(&world, &request), KVP_DIVERGED);
    request = append_to(&world, 1, 2);
    request.from = 7;
    assert_int_equal(answer_to(&world, &request), KVP_NOT_FOUND);
    request = append_to(&world, 1, 2);
    request.to = 1;
    assert_int_equal(answer_to(&world, &request), KVP_NOT_FOUND);
    request = append_to(&world, 1, 2);
    request.group_id++;
    assert_int_equal(answer_to(&world, &request), KVP_WRONG_GROUP);
    assert_int_equal(world.nodes[2].disk.tail.seq, 10);
    world_close(&world);
}

/* Sent before entries that are here already, and come late: that it ends earlier says nothing. */
static void test_late_message(void **state)
{
    (void)state;
    struct world world;
    setup(&world, 3);
    struct kvp_peer_request late = append_to(&world, 1, 2);
    world.nodes[3].disk_us = SECONDS; /* nothing more is committed */
    world_put(&world, 1, 5);
    world_run(&world, 100 * MS);
    assert_int_equal(world.nodes[2].disk.tail.seq, 15);
    assert_int_equal(world_status(&world, 2).commit, 10);
    assert_int_equal(answer_to(&world, &late), KVP_OK);
    world_run(&world, 100 * MS);
    assert_int_equal(world.nodes[2].disk.tail.seq, 15);
    assert_int_equal(world_count(&world, 2, DID_CUT, ANY), 0);
    world_close(&world);
}

/* An entry in the place of a committed one, and of one of the same leadership. */
static void test_follower_keeps(void **state)
{
    (void)state;
    struct world world;
    setup_long_ago(&world);
    struct kvp_peer_request request = append_to(&world, 1, 2);
    struct kvp_entry *other = kvp_entry_new(0);
    struct kvp_point before;
    assert_true(disk_point(&world.nodes[2].disk, 9, &before));
    kvp_entry_chain(other, before, before.epoch);
    request.prev = before;
    request.entries[0] = other;
    request.entry_count = 1;
    request.lead_epoch = request.view.epoch;
    request.end = 10;
    assert_int_equal(answer_to(&world, &request), KVP_DIVERGED);
    kvp_entry_unref(other);
    world_run(&world, SECONDS);
    assert_same(&world, set2(1, 2));
    world_close(&world);
}

/* A copy that has an entry which looks like the primary's, but is not in its log (memory or a disk
 * that lies): it is not cut, for that would be wrong of a late message, but quarantined. */
static void test_entry_of_nobody(void **state)
{
    (void)state;
    struct world world;
    world_open(&world, 3);
    world.config.sync_replicas = 2;
    world_form(&world);
    world_put(&world, 1, 10);
    world_run(&world, SECONDS);
    assert_same(&world, set_to(3));
    struct kvp_peer_request request = append_to(&world, 1, 3);
    struct kvp_entry *other = kvp_entry_new(0);
    kvp_entry_chain(other, request.prev, request.lead_epoch);
    request.entries[0] = other;
    request.entry_count = 1;
    request.end = 11;
    world_request(&world, 3, &request);
    kvp_entry_unref(other);
    world_put(&world, 1, 2);
    world_run(&world, 5 * SECONDS);
    assert_int_equal(world_count(&world, 3, DID_QUARANTINE, ANY), 1);
    assert_int_equal(world_count(&world, 3, DID_CUT, ANY), 0);
    assert_same(&world, set_to(3));
    world_close(&world);
}

/* More wait for the disk than there is room for: the rest is told so, and comes again. */
static void test_many_wait(void **state)
{
    (void)state;
    struct world world;
    setup(&world, 2);
    world.nodes[2].disk_us = 500 * MS;
    for (unsigned i = 0; i < 100; i++) {
        struct kvp_peer_request request = append_to(&world, 1, 2);
        struct kvp_entry *entry = kvp_entry_new(0);
        kvp_entry_chain(entry, request.prev, request.lead_epoch);
        request.entries[0] = entry;
        request.entry_count = 1;
        request.end = 11;
        world_request(&world, 2, &request);
        kvp_entry_unref(entry);
    }
    assert_int_equal(world.nodes[2].tokens, 64);
    assert_int_equal(-abs(world.last_reply.code), KVP_BUSY);
    world.hostile = true; /* entry 11 was made by nobody */
    world_run(&world, SECONDS);
    assert_int_equal(world.nodes[2].tokens, 0);
    world_close(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_commit_waits_for_every_disk),
        cmocka_unit_test(test_chaos),
        cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_all_restart),
        cmocka_unit_test(test_suffix_is_replaced),
        cmocka_unit_test(test_suffix_is_cut),
        cmocka_unit_test(test_cut_is_lost),
        cmocka_unit_test(test_acknowledged_alone),
        cmocka_unit_test(test_acknowledged_but_not_applied),
        cmocka_unit_test(test_forced_past_acknowledged),
        cmocka_unit_test(test_set_aside_while_sending),
        cmocka_unit_test(test_follower_refuses),
        cmocka_unit_test(test_late_message),
        cmocka_unit_test(test_follower_keeps),
        cmocka_unit_test(test_entry_of_nobody),
        cmocka_unit_test(test_many_wait),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
