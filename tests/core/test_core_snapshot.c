/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bringing a node up that lacks much: from the log on disk as far as that reaches back, else with a
 * snapshot, which may be interrupted by anything.
 */
#include "core_support.h"

#include "replication/core/core_state.h"

enum {
    FEW = 576, /* bytes of log: those of eight entries */
};

/* Nodes 1 and 2 are in sync, with 300 entries and little memory for them; node 3 was away. */
static void setup(struct world *world, uint64_t log_size)
{
    world_open(world, 3);
    world->config.sync_replicas = 2;
    world->config.log_size_max = log_size;
    world->config.cache_size_max = 64;
    world->snapshot_chunks = 40;
    world_form(world);
    world_put(world, 1, 4);
    world_run(world, SECONDS);
    world_kill(world, 3);
    world_run(world, 12 * SECONDS); /* for so long the log is kept for it */
    for (unsigned i = 0; i < 300; i++) {
        world_put(world, 1, 1);
        world_run(world, 2 * MS);
    }
    world_run(world, SECONDS);
    assert_serves(world, 1, set2(1, 2));
}

static unsigned sent(const struct world *world, unsigned id)
{
    return world_count(world, id, DID_NOTE, KVP_NOTE_SNAPSHOT_SENDING);
}

static unsigned received(const struct world *world, unsigned id)
{
    return world_count(world, id, DID_NOTE, KVP_NOTE_SNAPSHOT_RECEIVED);
}

/* Until node 3 has some of it. */
static void half_way(struct world *world)
{
    for (unsigned i = 0; world->nodes[3].incoming_count < 15; i++) {
        assert_true(i < 5000);
        world_run(world, MS);
    }
    assert_int_equal(received(world, 3), 0);
}

#define SOME 0u

static void check_done(struct world *world, unsigned snapshots)
{
    world_run(world, 5 * SECONDS);
    assert_true(snapshots == SOME || sent(world, 1) == snapshots);
    assert_int_equal(received(world, 3), 1);
    assert_same(world, set_to(3));
    world_put(world, 1, 3);
    world_run(world, SECONDS);
    assert_same(world, set_to(3));
    world_close(world);
}

static void test_log_on_disk(void **state)
{
    (void)state;
    struct world world;
    setup(&world, 1u << 20);
    world_start(&world, 3);
    world_run(&world, 3 * SECONDS);
    assert_int_equal(sent(&world, 1), 0);
    assert_same(&world, set_to(3));
    world_close(&world);
}

static void test_snapshot(void **state)
{
    (void)state;
    struct world world;
    setup(&world, FEW);
    assert_true(world.nodes[1].disk.first > 200);
    world_start(&world, 3);
    check_done(&world, 1);
}

static void test_snapshot_for_a_blank_one(void **state)
{
    (void)state;
    struct world world;
    setup(&world, FEW);
    disk_blank(&world.nodes[3]);
    world_start(&world, 3);
    check_done(&world, 1);
}

/* While it is being sent, updates go on; they come behind it. */
static void test_updates_go_on(void **state)
{
    (void)state;
    struct world world;
    setup(&world, FEW);
    world_start(&world, 3);
    half_way(&world);
    for (unsigned i = 0; i < 80; i++) {
        world_put(&world, 1, 1);
        world_run(&world, MS);
    }
    check_done(&world, 1);
}

/* So many that the log is not kept for it any more: then it takes another one. */
static void test_too_many_updates(void **state)
{
    (void)state;
    struct world world;
    setup(&world, FEW);
    world.paths[1][3].delay_us = 10 * MS;
    world_start(&world, 3);
    half_way(&world);
    for (unsigned i = 0; i < 200; i++) {
        world_put(&world, 1, 1);
        world_run(&world, MS);
    }
    world_run(&world, 10 * SECONDS);
    assert_true(sent(&world, 1) >= 2);
    assert_same(&world, set_to(3));
    assert_true(world.nodes[1].disk.first > 300);
    world_close(&world);
}

/* Nobody can show node 3 who is primary. It was in sync once. */
static void test_a_snapshot_that_nobody_confirms_replaces_nothing_unseen(void **state)
{
    (void)state;
    for (unsigned full = 0; full < 2; full++) {
        struct world world;
        setup(&world, FEW);
        world.nodes[3].disk.meta.member_epoch = 1;
        world.nodes[3].quarantine_full = full;
        world_witness(&world, 3, false);
        world_start(&world, 3);
        world_run(&world, 40 * SECONDS);
        assert_int_equal(world_count(&world, 3, DID_REPLACE, KVP_KEEP), full ? 0 : 1);
        assert_int_equal(world_count(&world, 3, DID_REPLACE, KVP_KEEP_NOT), 0);
        assert_true(sent(&world, 1) <= 5); /* it does not send all over again and again */
        if (full) {
            assert_int_equal(world.nodes[3].disk.tail.seq, 4);
            world_witness(&world, 3, true);
            world_run(&world, 15 * SECONDS);
            assert_int_equal(world_count(&world, 3, DID_REPLACE, KVP_KEEP_NOT), 1);
        }
        check_done(&world, SOME);
    }
}

/* One that never counted is no more than a spare; an empty one is nothing. */
static void test_what_never_counted_is_a_spare(void **state)
{
    (void)state;
    for (unsigned blank = 0; blank < 2; blank++) {
        struct world world;
        setup(&world, FEW);
        world_witness(&world, 3, false);
        world.nodes[3].disk.meta.member_epoch = 0;
        if (blank) {
            disk_blank(&world.nodes[3]);
        }
        world_start(&world, 3);
        world_run(&world, 5 * SECONDS);
        assert_int_equal(world_count(&world, 3, DID_REPLACE, blank ? KVP_KEEP_NOT : KVP_KEEP_SPARE),
                         1);
        world_close(&world);
    }
}

static void test_receiver_restarts(void **state)
{
    (void)state;
    struct world world;
    setup(&world, FEW);
    world_start(&world, 3);
    half_way(&world);
    world_kill(&world, 3);
    world_start(&world, 3);
    check_done(&world, 2);
}

/* Away for so long that it is given up: the log may be trimmed again. */
static void test_receiver_goes_away(void **state)
{
    (void)state;
    struct world world;
    setup(&world, FEW);
    world_start(&world, 3);
    half_way(&world);
    world_kill(&world, 3);
    world_run(&world, 12 * SECONDS);
    assert_false(world.nodes[1].is_open[3]);
    world_start(&world, 3);
    check_done(&world, 2);
}

static void test_sender_dies(void **state)
{
    (void)state;
    struct world world;
    setup(&world, FEW);
    world_start(&world, 3);
    half_way(&world);
    world_kill(&world, 1);
    world_run(&world, 5 * SECONDS);
    assert_true(world_serves(&world, 2));
    assert_int_equal(sent(&world, 2), 1);
    assert_int_equal(received(&world, 3), 1);
    assert_same(&world, set2(2, 3));
    world_close(&world);
}

/* It gives its role away in the middle: the snapshot is closed, the new primary sends its own. */
static void test_sender_hands_over(void **state)
{
    (void)state;
    struct world world;
    setup(&world, FEW);
    world_start(&world, 3);
    half_way(&world);
    world_handover(&world, 1, 2);
    world_run(&world, 5 * SECONDS);
    assert_true(world_serves(&world, 2));
    assert_false(world.nodes[1].is_open[3]);
    assert_same(&world, set_to(3));
    world_close(&world);
}

static void test_sender_stops(void **state)
{
    (void)state;
    struct world world;
    setup(&world, FEW);
    world_kill(&world, 2);
    world_run(&world, 2 * SECONDS);
    world_start(&world, 3);
    half_way(&world);
    world_stop(&world, 1);
    world_run(&world, 6 * SECONDS);
    assert_true(world.nodes[1].stopped);
    assert_false(world.nodes[1].is_open[3]);
    world_close(&world);
}

/* Chunks get lost: they are repeated. */
static void test_lost_chunks(void **state)
{
    (void)state;
    struct world world;
    setup(&world, FEW);
    world_start(&world, 3);
    half_way(&world);
    world_swallow(&world, 1, 3, KVP_OP_SNAPSHOT);
    world_run(&world, 5 * SECONDS);
    world_heal(&world, 1, 3);
    check_done(&world, 1);
}

/* ... and twice, and late. */
static void test_chunks_in_disorder(void **state)
{
    (void)state;
    struct world world;
    setup(&world, FEW);
    world.random = 3;
    world.twice_percent = 40;
    world.jitter_us = 20 * MS;
    world_start(&world, 3);
    world_run(&world, 10 * SECONDS);
    world.twice_percent = 0;
    world.jitter_us = 0;
    check_done(&world, SOME);
}

/* A link that comes and goes: the snapshot goes on where it was. */
static void test_link_flaps(void **state)
{
    (void)state;
    struct world world;
    setup(&world, FEW);
    world_start(&world, 3);
    half_way(&world);
    for (unsigned i = 0; i < 6; i++) {
        world_link(&world, 1, 3, i % 2);
        world_run(&world, 20 * MS);
    }
    check_done(&world, 1);
}

/* The receiver's disk has no memory for it, for a while: it is tried again from the beginning. */
static void test_receiver_is_short_of_memory(void **state)
{
    (void)state;
    struct world world;
    setup(&world, FEW);
    world_start(&world, 3);
    half_way(&world);
    world.nodes[3].disk_status = KVP_NO_MEMORY;
    world_run(&world, 1500);
    world.nodes[3].disk_status = KVP_OK;
    world_run(&world, 5 * SECONDS);
    assert_true(sent(&world, 1) >= 2);
    check_done(&world, SOME);
}

static void test_sender_is_short_of_memory(void **state)
{
    (void)state;
    struct world world;
    setup(&world, FEW);
    world.nodes[1].disk_status = KVP_NO_MEMORY; /* it cannot be opened */
    world_start(&world, 3);
    world_run(&world, SECONDS);
    assert_int_equal(received(&world, 3), 0);
    assert_true(world_serves(&world, 1));
    world.nodes[1].disk_status = KVP_OK;
    half_way(&world);
    world.nodes[1].disk_status = KVP_NO_MEMORY; /* it cannot be read on */
    world_run(&world, 20 * MS);
    world.nodes[1].disk_status = KVP_OK;
    check_done(&world, SOME);
}

/* The log that reached back is gone when it is read. */
static void test_log_is_short_of_memory(void **state)
{
    (void)state;
    struct world world;
    setup(&world, 1u << 20);
    world.nodes[1].disk_status = KVP_NO_MEMORY;
    world_start(&world, 3);
    world_run(&world, SECONDS);
    assert_true(world_serves(&world, 1));
    world.nodes[1].disk_status = KVP_OK;
    world_run(&world, 3 * SECONDS);
    assert_same(&world, set_to(3));
    world_close(&world);
}

/* The entries that are wanted cannot be read just now: it is asked anew where it stands. */
static void test_entries_cannot_be_read(void **state)
{
    (void)state;
    struct world world;
    setup(&world, 1u << 20);
    const struct core_peer *peer = core_peer(world.nodes[1].core, 3);
    world_start(&world, 3);
    for (unsigned i = 0; !(peer->mode == PEER_REPLICATE && peer->reading); i++) {
        assert_true(i < 50000);
        world_run(&world, 50);
    }
    world.nodes[1].disk_status = KVP_NO_MEMORY;
    world_run(&world, 200);
    assert_int_equal(peer->mode, PEER_PROBE);
    world.nodes[1].disk_status = KVP_OK;
    world_run(&world, 3 * SECONDS);
    assert_int_equal(sent(&world, 1), 0);
    assert_same(&world, set_to(3));
    world_close(&world);
}

/* Given up while the disk still reads for it: a new one begins when the disk has done with that. */
static void test_disk_still_reads(void **state)
{
    (void)state;
    struct world world;
    setup(&world, FEW);
    const struct core_peer *peer = core_peer(world.nodes[1].core, 3);
    world_start(&world, 3);
    half_way(&world);
    world.nodes[1].disk_us = 12 * SECONDS;
    for (unsigned i = 0; !peer->snapshot.reading; i++) {
        assert_true(i < 5000);
        world_run(&world, 50);
    }
    world_isolate(&world, 3);
    world_run(&world, 10200 * MS);
    assert_true(peer->snapshot.reading);
    assert_int_equal(peer->snapshot.id, 0);
    world.nodes[1].disk_us = 200;
    world_rejoin(&world, 3);
    world_run(&world, SECONDS);
    assert_int_equal(sent(&world, 1), 1);
    world_run(&world, 3 * SECONDS);
    check_done(&world, 2);
}

static void test_disks_fail(void **state)
{
    (void)state;
    for (unsigned failing = 1; failing <= 3; failing += 2) {
        struct world world;
        setup(&world, FEW);
        world_start(&world, 3);
        half_way(&world);
        world.nodes[failing].disk_status = KVP_IO;
        world_run(&world, 2 * SECONDS);
        assert_int_equal(world_status(&world, failing).role, KVP_ROLE_FAILED);
        assert_true(world_serves(&world, failing == 1 ? 2 : 1));
        world_close(&world);
    }
}

static void test_log_read_fails(void **state)
{
    (void)state;
    struct world world;
    setup(&world, 1u << 20);
    world.nodes[1].disk_status = KVP_CORRUPT;
    world_start(&world, 3);
    world_run(&world, 3 * SECONDS);
    assert_int_equal(world_status(&world, 1).role, KVP_ROLE_FAILED);
    assert_true(world_serves(&world, 2));
    assert_same(&world, set2(2, 3));
    world_close(&world);
}

/* A state before the first entry has a hash of nothing: entries behind it would not fit. */
static void test_snapshot_of_nothing(void **state)
{
    (void)state;
    struct world world;
    setup(&world, FEW);
    world_start(&world, 3);
    world_run(&world, 5 * SECONDS);
    static struct kvp_peer_request request;
    request.op = KVP_OP_SNAPSHOT;
    request.from = 1;
    request.to = 3;
    request.group_id = kvp_core_group_id(world.nodes[3].core);
    request.view = *kvp_core_view(world.nodes[3].core);
    request.snapshot = 7;
    request.point = (struct kvp_point){0, 1, 1};
    world_request(&world, 3, &request);
    assert_int_equal(world.last_reply.code, KVP_STALE_VIEW);
    assert_same(&world, set_to(3));
    world_close(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_log_on_disk),
        cmocka_unit_test(test_snapshot),
        cmocka_unit_test(test_snapshot_for_a_blank_one),
        cmocka_unit_test(test_updates_go_on),
        cmocka_unit_test(test_too_many_updates),
        cmocka_unit_test(test_a_snapshot_that_nobody_confirms_replaces_nothing_unseen),
        cmocka_unit_test(test_what_never_counted_is_a_spare),
        cmocka_unit_test(test_receiver_restarts),
        cmocka_unit_test(test_receiver_goes_away),
        cmocka_unit_test(test_sender_dies),
        cmocka_unit_test(test_sender_hands_over),
        cmocka_unit_test(test_sender_stops),
        cmocka_unit_test(test_lost_chunks),
        cmocka_unit_test(test_chunks_in_disorder),
        cmocka_unit_test(test_link_flaps),
        cmocka_unit_test(test_receiver_is_short_of_memory),
        cmocka_unit_test(test_sender_is_short_of_memory),
        cmocka_unit_test(test_log_is_short_of_memory),
        cmocka_unit_test(test_entries_cannot_be_read),
        cmocka_unit_test(test_disk_still_reads),
        cmocka_unit_test(test_disks_fail),
        cmocka_unit_test(test_log_read_fails),
        cmocka_unit_test(test_snapshot_of_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
