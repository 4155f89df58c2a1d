/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two accidents at once: the witness is emptied, and the first that is started is an old directory
 * of a node, from when it was alone in its view. It makes the register anew, as it knew it, and
 * leads. What the others have and it lacks was acknowledged: it is not served any more, but it is
 * set aside, whichever way the register goes on from there (R6).
 */
#include "core_support.h"

#include "replication/core/core_state.h"

struct accident {
    struct world world;
    struct kvp_meta old; /* of node 2, when it was alone, */
    uint64_t old_end;    /* and the end of its log */
};

/* Node 2 was alone for a while; since then all three have acknowledged what it made. */
static void setup(struct accident *accident)
{
    struct world *world = &accident->world;
    world_open(world, 3);
    world_form(world);
    world_put(world, 1, 10);
    world_run(world, SECONDS);
    world_kill(world, 1);
    world_kill(world, 3);
    world_promote(world, 2, true);
    world_run_serving(world, 2, 5 * SECONDS);
    world_run(world, 3 * SECONDS);
    assert_serves(world, 2, kvp_set_of(2));
    accident->old = world->nodes[2].disk.meta;
    accident->old_end = world->nodes[2].disk.tail.seq;
    world_start(world, 1);
    world_run(world, 3 * SECONDS);
    world_start(world, 3);
    world_run(world, 3 * SECONDS);
    assert_serves(world, 2, set_to(3));
    world_put(world, 2, 10);
    world_run(world, SECONDS);
}

/* Node 1 died before it had applied any of it. */
static void happen(struct accident *accident)
{
    struct world *world = &accident->world;
    for (unsigned id = 1; id <= 3; id++) {
        if (world->nodes[id].alive) {
            world_kill(world, id);
        }
    }
    struct disk *disk = &world->nodes[1].disk;
    assert_int_equal(disk->tail.seq, accident->old_end + 10);
    assert_true(disk_point(disk, accident->old_end, &disk->applied));
    world_witness_forgets(world);
    world->hostile = world->may_split = true; /* the world goes on as if some of it had not been */
    disk_lose_after(&world->nodes[2], accident->old_end);
    world->nodes[2].disk.meta = accident->old;
    world_start(world, 2);
    world_run_serving(world, 2, 10 * SECONDS);
}

static void assert_set_aside(struct accident *accident)
{
    struct world *world = &accident->world;
    assert_int_equal(world_count(world, 1, DID_QUARANTINE, KVP_KEEP) +
                         world_count(world, 1, DID_REPLACE, KVP_KEEP),
                     1);
    assert_int_equal(world_count(world, 1, DID_CUT, ANY), 0);
    assert_serves(world, 2, set2(1, 2));
    assert_same(world, set2(1, 2));
}

/* The register has come as far as the view that node 1 was told of, and had not seen there yet. */
static void test_what_a_lost_register_takes_back_is_set_aside(void **state)
{
    (void)state;
    struct accident accident;
    setup(&accident);
    happen(&accident);
    struct world *world = &accident.world;
    struct kvp_meta *meta = &world->nodes[1].disk.meta;
    meta->shown_version = world_status(world, 2).view.version;
    assert_true(meta->view.version > meta->shown_version);
    world_start(world, 1);
    world_run(world, 10 * SECONDS);
    assert_true(world_count(world, 1, DID_NOTE, KVP_NOTE_VIEW_TAKEN_BACK) > 0);
    world_put(world, 2, 30);
    world_run(world, 5 * SECONDS);
    assert_set_aside(&accident);
    world_close(world);
}

static void lead_anew(struct world *world, unsigned times)
{
    for (unsigned i = 0; i < times; i++) {
        world_kill(world, 2);
        world_start(world, 2);
        world_run_serving(world, 2, 10 * SECONDS);
    }
}

/* It shows less than it has shown before: that is not followed; but later it shows more. */
static void test_what_an_older_register_leaves_out_is_set_aside(void **state)
{
    (void)state;
    struct accident accident;
    setup(&accident);
    struct world *world = &accident.world;
    world_run(world, 5 * SECONDS);
    happen(&accident);
    struct kvp_meta *meta = &world->nodes[1].disk.meta;
    meta->shown_version = meta->view.version;
    assert_true(world_status(world, 2).view.version < meta->shown_version);
    world_start(world, 1);
    world_run(world, 10 * SECONDS);
    assert_int_equal(world_count(world, 1, DID_NOTE, KVP_NOTE_ARBITER_OLDER), 1);
    lead_anew(world, 8);
    world_put(world, 2, 30);
    world_run(world, 10 * SECONDS);
    assert_set_aside(&accident);
    world_close(world);
}

/* It shows more when node 1 is started, as after any change of view that a node has missed. */
static void test_what_a_new_register_leaves_out_is_set_aside(void **state)
{
    (void)state;
    for (unsigned puts = 0; puts <= 30; puts += 30) {
        struct accident accident;
        setup(&accident);
        happen(&accident);
        struct world *world = &accident.world;
        lead_anew(world, 8);
        if (puts > 0) {
            world_put(world, 2, puts);
        }
        world_start(world, 1);
        world_run(world, 10 * SECONDS);
        assert_set_aside(&accident);
        world_close(world);
    }
}

/* The register has come to the epoch that node 1 knows, with the same primary, and node 1 cannot
 * see that it is another view. */
static void test_nothing_is_cut_off_before_the_register_has_shown_the_view(void **state)
{
    (void)state;
    struct accident accident;
    setup(&accident);
    struct world *world = &accident.world;
    world_kill(world, 3);
    world_run(world, 3 * SECONDS);
    assert_serves(world, 2, set2(1, 2));
    happen(&accident);
    uint64_t epoch = world->nodes[1].disk.meta.view.epoch;
    while (kvp_core_view(world->nodes[2].core)->epoch < epoch) {
        lead_anew(world, 1);
    }
    assert_int_equal(kvp_core_view(world->nodes[2].core)->epoch, epoch);
    world_witness(world, 1, false);
    world_start(world, 1);
    world_run(world, 10 * SECONDS);
    assert_int_equal(world_count(world, 1, DID_CUT, ANY), 0);
    assert_int_equal(world->nodes[1].disk.tail.seq, accident.old_end + 10);
    world_witness(world, 1, true);
    world_run(world, 10 * SECONDS);
    lead_anew(world, 1);
    world_run(world, 10 * SECONDS);
    assert_set_aside(&accident);
    world_close(world);
}

/* ---- a founder's question that comes late ---- */

/* The request that made the group, once more. */
static void create_again(struct world *world)
{
    struct kvp_arbiter_request request = {
        .op = KVP_ARBITER_CAS,
        .id = 1,
        .group_id = kvp_core_group_id(world->nodes[1].core),
        .view = {1, 1, 1, kvp_set_of(1)},
    };
    struct kvp_arbiter_answer answer;
    kvp_buf message = {0}, back = {0};
    assert_int_equal(kvp_arbiter_witness_encode(&request, "g", 1, &message), KVP_OK);
    assert_int_equal(kvp_witness_handle(world->witness, kvp_buf_slice(&message), &back), KVP_OK);
    assert_int_equal(kvp_arbiter_witness_decode(kvp_buf_slice(&back), 1, &answer), KVP_OK);
    assert_int_equal(answer.status, KVP_OK);
    kvp_buf_free(&message);
    kvp_buf_free(&back);
}

/* A young group, whose second view is the one in force. */
static void create_late(struct world *world)
{
    world_open(world, 2);
    world_form(world);
    world_put(world, 1, 10);
    world_run(world, 5 * SECONDS);
    assert_serves(world, 1, set2(1, 2));
    assert_int_equal(kvp_core_view(world->nodes[2].core)->version, 2);
    assert_int_equal(world->nodes[2].disk.meta.shown_version, 2);
    world_witness_forgets(world);
    create_again(world);
}

static void assert_nothing_lost(struct world *world, unsigned id)
{
    for (unsigned one = 1; one <= 2; one++) {
        assert_int_equal(world_count(world, one, DID_QUARANTINE, ANY), 0);
        assert_int_equal(world_count(world, one, DID_CUT, ANY), 0);
    }
    assert_true(world->nodes[id].disk.tail.seq >= 10);
}

/* The register is that of the first moment: nobody follows it, and it lets nobody lead. */
static void test_a_late_create_at_an_emptied_witness_takes_nothing_back(void **state)
{
    (void)state;
    for (unsigned started = 1; started <= 2; started++) {
        struct world world;
        create_late(&world);
        world_run(&world, 5 * SECONDS);
        assert_serves(&world, 1, set2(1, 2));
        world_kill(&world, started);
        world_start(&world, started);
        world_run(&world, 10 * SECONDS);
        assert_nothing_lost(&world, started);
        assert_int_equal(kvp_core_view(world.nodes[started].core)->version, 2);
        world_close(&world);
    }
}

static void test_a_late_create_gives_nobody_the_lead_but_by_force(void **state)
{
    (void)state;
    struct world world;
    create_late(&world);
    world_kill(&world, 1);
    world_run(&world, 10 * SECONDS);
    assert_false(world_serves(&world, 2));
    assert_true(world_count(&world, 2, DID_NOTE, KVP_NOTE_ARBITER_OLDER) > 0);
    world_promote(&world, 2, true);
    world_run(&world, SECONDS);
    assert_serves(&world, 2, kvp_set_of(2));
    world_start(&world, 1);
    world_run(&world, 5 * SECONDS);
    assert_serves(&world, 2, set2(1, 2));
    assert_nothing_lost(&world, 2);
    assert_same(&world, set2(1, 2));
    world_close(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_a_lost_register_takes_back_is_set_aside),
        cmocka_unit_test(test_what_an_older_register_leaves_out_is_set_aside),
        cmocka_unit_test(test_what_a_new_register_leaves_out_is_set_aside),
        cmocka_unit_test(test_nothing_is_cut_off_before_the_register_has_shown_the_view),
        cmocka_unit_test(test_a_late_create_at_an_emptied_witness_takes_nothing_back),
        cmocka_unit_test(test_a_late_create_gives_nobody_the_lead_but_by_force),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
