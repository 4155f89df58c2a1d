/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Views that nobody granted, told by forged requests. A node follows such a word, or steps down by
 * it; it never leads by it, drops no member by it and acknowledges nothing alone by it. What was
 * believed wrongly is put right by the register, or by the other node of a pair.
 */
#include "core_support.h"

#include "replication/core/core_state.h"
#include "replication/wire/wire_parts.h"

#define FAR_AWAY ((KVP_WIRE_NUMBER_END >> 1) - 2)

static const enum kvp_pair_policy policies[] = {KVP_PAIR_NONE, KVP_PAIR_BACKUP_WINS,
                                                KVP_PAIR_PRIMARY_WINS, KVP_PAIR_AVAILABLE};

#define POLICIES (sizeof(policies) / sizeof(policies[0]))

static void setup(struct world *world, unsigned count, enum kvp_pair_policy policy)
{
    world_open(world, count);
    world->config.policy = policy;
    world_form(world);
    world_put(world, 1, 20);
    world_run(world, SECONDS);
    world->hostile = true; /* views of one epoch may differ */
}

/* As if `from` had said it. */
static void forge(struct world *world, unsigned op, unsigned from, unsigned to,
                  const struct kvp_view *view)
{
    static struct kvp_peer_request request;
    request = (struct kvp_peer_request){
        .op = op,
        .from = (uint8_t)from,
        .to = (uint8_t)to,
        .group_id = kvp_core_group_id(world->nodes[to].core),
        .sent_us = world->now_us,
        .view = *view,
    };
    request.report.view = *view;
    request.report.tail = request.report.commit = request.commit = request.prev =
        world->nodes[to].disk.tail;
    request.lead_epoch = view->epoch;
    request.end = request.prev.seq;
    world_request(world, to, &request);
}

static struct kvp_view newer(struct world *world, unsigned id, uint64_t by, unsigned primary,
                             kvp_node_set in_sync)
{
    struct kvp_view view = *kvp_core_view(world->nodes[id].core);
    bool paired = world->config.policy != KVP_PAIR_NONE;
    view.epoch = paired ? (((view.epoch >> 6) + by) << 6 | primary) : view.epoch + by;
    view.version = paired ? view.epoch : view.version + by;
    view.primary = (uint8_t)primary;
    view.in_sync = in_sync;
    return view;
}

static unsigned servers(struct world *world)
{
    unsigned count = 0;
    for (unsigned id = 1; id <= world->count; id++) {
        count += world_serves(world, id);
    }
    return count;
}

/* One serves, with all in sync, and has what was acknowledged. */
static void assert_whole(struct world *world)
{
    unsigned serving = world_serves(world, 1) ? 1 : 2;
    assert_int_equal(servers(world), 1);
    assert_int_equal(kvp_core_view(world->nodes[serving].core)->in_sync, set_to(world->count));
    world_put(world, serving, 5);
    world_run(world, SECONDS);
    assert_same(world, set_to(world->count));
    assert_true(world->nodes[1].disk.tail.seq >= 25);
}

static const unsigned words[] = {KVP_OP_STATE, KVP_OP_HEARTBEAT, KVP_OP_APPEND};

/* Each node is told that it is the primary, alone. */
static void test_told_views_make_no_primary(void **state)
{
    (void)state;
    for (size_t i = 0; i < POLICIES * 3; i++) {
        struct world world;
        setup(&world, 2, policies[i / 3]);
        for (unsigned id = 1; id <= 2; id++) {
            struct kvp_view view = newer(&world, id, 1, id, kvp_set_of(id));
            forge(&world, words[i % 3], 3 - id, id, &view);
        }
        for (unsigned step = 0; step < 100; step++) {
            world_run(&world, 100 * MS);
            assert_true(servers(&world) <= 1);
        }
        assert_whole(&world);
        world_close(&world);
    }
}

/* The primary is told that it goes on without its backup: it must not acknowledge alone. */
static void test_told_views_drop_no_member(void **state)
{
    (void)state;
    for (size_t i = 0; i < POLICIES * 3; i++) {
        struct world world;
        setup(&world, 2, policies[i / 3]);
        struct kvp_view view = newer(&world, 1, 1, 1, kvp_set_of(1));
        forge(&world, words[i % 3], 2, 1, &view);
        for (unsigned step = 0; step < 100; step++) {
            assert_int_equal(kvp_core_view(world.nodes[1].core)->in_sync, set_to(2));
            world_run(&world, 20 * MS);
        }
        assert_whole(&world);
        world_close(&world);
    }
}

/* Who is told that another one leads follows it, and comes back when the register says otherwise.
 */
static void test_register_puts_right_what_was_told(void **state)
{
    (void)state;
    for (unsigned by = 1; by <= 1000; by *= 10) {
        for (unsigned who = 1; who <= 3; who++) {
            struct world world;
            setup(&world, 3, KVP_PAIR_NONE);
            struct kvp_view view = newer(&world, who, by, who % 3 + 1, set_to(3));
            forge(&world, KVP_OP_HEARTBEAT, who % 3 + 1, who, &view);
            world_run(&world, 10 * SECONDS);
            assert_int_equal(servers(&world), 1);
            for (unsigned id = 1; id <= 3; id++) {
                assert_true(kvp_core_view(world.nodes[id].core)->epoch < view.epoch + 10);
                assert_int_equal(kvp_core_view(world.nodes[id].core)->in_sync, set_to(3));
            }
            world_close(&world);
        }
    }
}

/* All are told of a primary that does not know of it. */
static void test_register_puts_right_what_all_were_told(void **state)
{
    (void)state;
    struct world world;
    setup(&world, 3, KVP_PAIR_NONE);
    for (unsigned id = 1; id <= 3; id++) {
        struct kvp_view view = newer(&world, id, 100 * id, id % 3 + 1, kvp_set_of(id % 3 + 1));
        forge(&world, KVP_OP_STATE, id % 3 + 1, id, &view);
    }
    world_run(&world, 20 * SECONDS);
    assert_int_equal(servers(&world), 1);
    for (unsigned id = 1; id <= 3; id++) {
        assert_int_equal(kvp_core_view(world.nodes[id].core)->in_sync, set_to(3));
    }
    world_close(&world);
}

/* A number near the end of its range is no view's: neither a word nor what was believed before
 * stops the group, or an operator. */
static void test_far_numbers_stop_nothing(void **state)
{
    (void)state;
    for (size_t i = 0; i < POLICIES * 3; i++) {
        struct world world;
        setup(&world, 2, policies[i / 3]);
        for (unsigned id = 1; id <= 2; id++) {
            for (unsigned primary = 1; primary <= 2; primary++) {
                struct kvp_view view = newer(&world, id, 1, primary, set_to(2));
                view.epoch = FAR_AWAY & ~UINT64_C(63);
                view.version = view.epoch;
                forge(&world, words[i % 3], 3 - id, id, &view);
            }
        }
        assert_int_equal(servers(&world), 1);
        world_run(&world, 10 * SECONDS);
        assert_whole(&world);
        unsigned serving = world_serves(&world, 1) ? 1 : 2;
        world_kill(&world, serving);
        world_promote(&world, 3 - serving, true);
        world_run(&world, SECONDS);
        assert_serves(&world, 3 - serving, kvp_set_of(3 - serving));
        world_close(&world);
    }
}

/* A pair's holder is asked for a view of an epoch far away. */
static void test_far_wishes_are_refused(void **state)
{
    (void)state;
    static struct kvp_peer_request request;
    struct world world;
    setup(&world, 2, KVP_PAIR_BACKUP_WINS);
    struct kvp_view view = *kvp_core_view(world.nodes[2].core);
    request = (struct kvp_peer_request){
        .op = KVP_OP_ASK_VIEW,
        .from = 1,
        .to = 2,
        .group_id = kvp_core_group_id(world.nodes[2].core),
        .sent_us = world.now_us,
        .view = view,
        .expected = view.version,
        .proposed = {FAR_AWAY, FAR_AWAY, 1, kvp_set_of(1)},
    };
    world_request(&world, 2, &request);
    assert_int_equal(world.last_reply.code, KVP_REFUSED);
    world_run(&world, SECONDS);
    assert_whole(&world);
    world_close(&world);
}

/* The register went back while it was not looked at: nothing of that was only told. */
static void test_shown_views_are_not_taken_back(void **state)
{
    (void)state;
    struct world world;
    setup(&world, 2, KVP_PAIR_NONE);
    world_run(&world, 5 * SECONDS);
    uint64_t version = world.nodes[2].core->meta.view.version;
    assert_int_equal(world.nodes[2].core->meta.shown_version, version);
    assert_int_equal(world.nodes[1].core->meta.shown_version, version);
    world_close(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_told_views_make_no_primary),
        cmocka_unit_test(test_told_views_drop_no_member),
        cmocka_unit_test(test_register_puts_right_what_was_told),
        cmocka_unit_test(test_register_puts_right_what_all_were_told),
        cmocka_unit_test(test_far_numbers_stop_nothing),
        cmocka_unit_test(test_far_wishes_are_refused),
        cmocka_unit_test(test_shown_views_are_not_taken_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
