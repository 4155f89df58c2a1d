/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The arbiter: how a group comes into being with it, what becomes of a group whose register is
 * lost, went back or is somebody else's, and the fence in front of a promotion.
 */
#include "core_support.h"

static void setup(struct world *world, unsigned count)
{
    world_open(world, count);
    world_form(world);
    world_put(world, 1, 10);
    world_run(world, 300 * MS);
}

static unsigned noted(const struct world *world, unsigned id, enum kvp_note note)
{
    return world_count(world, id, DID_NOTE, (int)note);
}

/* ---- founding ---- */

/* One of the nodes is not there: it may be the one that has the data. */
static void test_founding_needs_all(void **state)
{
    (void)state;
    struct world world;
    world_open(&world, 3);
    world_start(&world, 1);
    world_start(&world, 2);
    world_run(&world, 10 * SECONDS);
    assert_int_equal(kvp_core_group_id(world.nodes[1].core), 0);
    world_start(&world, 3);
    world_run(&world, 3 * SECONDS);
    assert_serves(&world, 1, set_to(3));
    assert_int_equal(world_count(&world, 1, DID_GRANT, KVP_OK), 3);
    world_close(&world);
}

/* Two blank nodes and one that is not: it has the word. */
static void test_blank_ones_join(void **state)
{
    (void)state;
    struct world world;
    setup(&world, 3);
    for (unsigned id = 1; id <= 3; id++) {
        world_kill(&world, id);
    }
    disk_blank(&world.nodes[1]);
    disk_blank(&world.nodes[2]);
    world_start(&world, 1);
    world_start(&world, 2);
    world_run(&world, 3 * SECONDS);
    world_start(&world, 3);
    world_run(&world, 5 * SECONDS);
    assert_serves(&world, 3, set_to(3));
    assert_same(&world, set_to(3));
    assert_int_equal(world.nodes[1].disk.tail.seq, 10);
    world_close(&world);
}

/* A store that is known says durably that it is not new, though nothing else changes: a copy of it
 * would be taken for an emptied store otherwise, and would not hear that it is a copy. */
static void test_a_store_that_is_known_is_not_new_any_more(void **state)
{
    (void)state;
    struct world world;
    world_open(&world, 1);
    world_form(&world);
    world_run(&world, 5 * SECONDS);
    const struct kvp_meta *meta = &world.nodes[1].disk.meta;
    assert_true(meta->incarnation != 0);
    for (unsigned i = 0; i < KVP_EARLIER_MAX; i++) {
        assert_true(meta->earlier[i] != KVP_STORE_IS_NEW);
    }
    world_close(&world);
}

/* All disks are new, but the arbiter knows the group: somebody has made a mistake. */
static void test_all_blank_but_known(void **state)
{
    (void)state;
    struct world world;
    setup(&world, 2);
    for (unsigned id = 1; id <= 2; id++) {
        world_kill(&world, id);
        disk_blank(&world.nodes[id]);
    }
    world_start(&world, 1);
    world_start(&world, 2);
    world_run(&world, 10 * SECONDS);
    assert_int_equal(noted(&world, 1, KVP_NOTE_BLANK_BUT_KNOWN), 1);
    assert_false(world_serves(&world, 1) || world_serves(&world, 2));
    assert_int_equal(kvp_core_view(world.nodes[1].core)->version, 0);
    world_close(&world);
}

/* Granted, and the founder died before it knew: it never served, so it may go on from there. */
static void test_founder_dies(void **state)
{
    (void)state;
    struct world world;
    world_open(&world, 2);
    world.nodes[1].witness_loses = LOSES_OUTCOME;
    world_start(&world, 1);
    world_start(&world, 2);
    world_run(&world, 2 * SECONDS);
    assert_int_equal(world_last(&world, 1, DID_GRANT, ANY).what, KVP_OK);
    world_kill(&world, 1);
    world_witness(&world, 1, true);
    world_start(&world, 1);
    world_run(&world, 3 * SECONDS);
    assert_serves(&world, 1, set2(1, 2));
    world_close(&world);
}

/* The answer to its own look comes first. */
static bool loses_first_look(struct node *node, const struct kvp_arbiter_request *request,
                             struct kvp_arbiter_answer *answer)
{
    static unsigned looks;
    answer->status = KVP_OK;
    answer->group_id = request->group_id;
    answer->view = (struct kvp_view){1, 1, 1, kvp_set_of(1)};
    return node->id == 1 && looks++ > 0;
}

static void test_founder_looks(void **state)
{
    (void)state;
    struct world world;
    world_open(&world, 2);
    world_witness(&world, 1, false);
    world_start(&world, 1);
    world_start(&world, 2);
    world_run(&world, 2 * SECONDS);
    world_kill(&world, 1);
    assert_true(world.nodes[1].disk.meta.group_id != 0);
    world_witness(&world, 1, true);
    world.arbiter = loses_first_look;
    world_start(&world, 1);
    world_run_serving(&world, 1, SECONDS);
    world_close(&world);
}

/* Again and again, in all stages of founding. */
static void test_founder_dies_again(void **state)
{
    (void)state;
    struct world world;
    world_open(&world, 2);
    world.nodes[1].witness_loses = LOSES_OUTCOME;
    world_start(&world, 1);
    world_start(&world, 2);
    for (unsigned i = 0; i < 10; i++) {
        world_run(&world, 230 * MS);
        world_kill(&world, 1);
        world_start(&world, 1);
    }
    world_witness(&world, 1, true);
    world_run(&world, 5 * SECONDS);
    assert_serves(&world, 1, set2(1, 2));
    world_close(&world);
}

/* ---- a register that is lost ---- */

static void test_all_members_seed_it(void **state)
{
    (void)state;
    struct world world;
    setup(&world, 2);
    uint64_t epoch = kvp_core_view(world.nodes[1].core)->epoch;
    world_witness_forgets(&world);
    world_run(&world, 5 * SECONDS);
    assert_int_equal(noted(&world, 1, KVP_NOTE_ARBITER_UNKNOWN), 1);
    assert_serves(&world, 1, set2(1, 2));
    assert_int_equal(kvp_core_view(world.nodes[1].core)->epoch, epoch);

    world_kill(&world, 1); /* it decides again */
    world_run(&world, 3 * SECONDS);
    assert_serves(&world, 2, kvp_set_of(2));
    world_close(&world);
}

/* A member is missing: it may know more. Only an operator can tell that it does not. */
static void test_member_missing_for_seed(void **state)
{
    (void)state;
    struct world world;
    setup(&world, 2);
    world_kill(&world, 1);
    world_witness_forgets(&world);
    world_run(&world, 10 * SECONDS);
    assert_int_equal(noted(&world, 2, KVP_NOTE_ARBITER_UNKNOWN), 1);
    assert_false(world_serves(&world, 2));
    world_promote(&world, 2, true);
    world_run(&world, SECONDS);
    assert_serves(&world, 2, kvp_set_of(2));
    world_close(&world);
}

/* The register forgets between the look and the question. */
static void test_forgets_before_the_question(void **state)
{
    (void)state;
    struct world world;
    setup(&world, 2);
    world.nodes[2].witness_loses = LOSES_CHANGE;
    world_kill(&world, 1);
    world_run(&world, SECONDS);
    assert_int_equal(world_status(&world, 2).role, KVP_ROLE_CANDIDATE);
    world_witness_forgets(&world);
    world_witness(&world, 2, true);
    world_run(&world, 3 * SECONDS);
    assert_int_equal(world_status(&world, 2).role, KVP_ROLE_BACKUP);
    world_start(&world, 1);
    world_run(&world, 5 * SECONDS);
    assert_int_equal(world_serves(&world, 1) + world_serves(&world, 2), 1);
    world_close(&world);
}

static void test_silent_arbiter(void **state)
{
    (void)state;
    struct world world;
    setup(&world, 2);
    world_witness(&world, 1, false);
    world_run(&world, 10 * SECONDS);
    assert_int_equal(noted(&world, 1, KVP_NOTE_ARBITER_SILENT), 1);
    assert_serves(&world, 1, set2(1, 2));
    world_witness(&world, 1, true);
    world_run(&world, 5 * SECONDS);
    world_witness(&world, 1, false);
    world_run(&world, 10 * SECONDS);
    assert_int_equal(noted(&world, 1, KVP_NOTE_ARBITER_SILENT), 2);
    world_close(&world);
}

/* ---- a register that says what cannot be ---- */

static struct kvp_arbiter_answer said; /* to everybody, whatever was asked */

static bool says(struct node *node, const struct kvp_arbiter_request *request,
                 struct kvp_arbiter_answer *answer)
{
    (void)node;
    *answer = said;
    answer->id = request->id;
    return true;
}

/* What `said` keeps node 2 from: it is a member, and the primary is dead. */
static void nobody_leads(struct world *world)
{
    world->arbiter = says;
    world_kill(world, 1);
    world_run(world, 10 * SECONDS);
    assert_false(world_serves(world, 2));
    assert_int_equal(world_status(world, 2).role, KVP_ROLE_BACKUP);
}

/* Somebody has put an old backup of the witness in place. */
static void test_register_went_back(void **state)
{
    (void)state;
    struct world world;
    setup(&world, 2);
    said = (struct kvp_arbiter_answer){
        .status = KVP_OK,
        .group_id = kvp_core_group_id(world.nodes[2].core),
        .view = {1, 1, 1, kvp_set_of(1)},
    };
    nobody_leads(&world);
    assert_int_equal(noted(&world, 2, KVP_NOTE_ARBITER_OLDER), 1);
    world_close(&world);
}

/* A node outside never asks to lead, and sees it, too. */
static void test_register_went_back_under_a_node_outside(void **state)
{
    (void)state;
    struct world world;
    setup(&world, 2);
    world_stop(&world, 2);
    world_run(&world, SECONDS);
    world_kill(&world, 2);
    world_kill(&world, 1);
    world_start(&world, 2);
    said = (struct kvp_arbiter_answer){
        .status = KVP_OK,
        .group_id = kvp_core_group_id(world.nodes[2].core),
        .view = world_status(&world, 2).view,
    };
    world.arbiter = says;
    world_run(&world, 5 * SECONDS);
    assert_int_equal(world_status(&world, 2).role, KVP_ROLE_OUTSIDE);
    assert_int_equal(noted(&world, 2, KVP_NOTE_ARBITER_OLDER), 0);
    said.view = (struct kvp_view){1, 1, 1, kvp_set_of(1)};
    world_run(&world, 10 * SECONDS);
    assert_int_equal(noted(&world, 2, KVP_NOTE_ARBITER_OLDER), 1);
    world_close(&world);
}

static void test_register_of_another_group(void **state)
{
    (void)state;
    struct world world;
    setup(&world, 2);
    said = (struct kvp_arbiter_answer){
        .status = KVP_OK, .group_id = 4711, .view = {90, 90, 2, set2(1, 2)}};
    nobody_leads(&world);
    assert_int_equal(noted(&world, 2, KVP_NOTE_ARBITER_FOREIGN), 1);
    world_close(&world);
}

static int promote_said(struct world *world, bool force, uint64_t within_us)
{
    unsigned before = world_count(world, 2, DID_PROMOTE, ANY);
    world_promote(world, 2, force);
    world_run(world, within_us);
    assert_int_equal(world_count(world, 2, DID_PROMOTE, ANY), before + 1);
    return world_last(world, 2, DID_PROMOTE, ANY).what;
}

/* An operator is told at once what cannot be, and nothing of it is pursued any more. */
static void test_promote_is_refused_where_the_register_is_of_another_group(void **state)
{
    (void)state;
    const kvp_status said_so[] = {KVP_OK, KVP_WRONG_GROUP, KVP_WRONG_GROUP};
    for (unsigned i = 0; i < 3; i++) {
        struct world world;
        setup(&world, 2);
        said = (struct kvp_arbiter_answer){
            .status = said_so[i], .group_id = 4711, .view = {90, 90, 2, set2(1, 2)}};
        nobody_leads(&world);
        assert_int_equal(promote_said(&world, i == 2, 100 * MS), KVP_REFUSED);
        assert_int_equal(promote_said(&world, i == 2, 100 * MS), KVP_REFUSED);
        assert_int_equal(world_status(&world, 2).role, KVP_ROLE_BACKUP);
        world_close(&world);
    }
}

static void test_promote_is_refused_where_the_register_is_not_seeded_or_went_back(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 2; i++) {
        struct world world;
        setup(&world, 2);
        said = (struct kvp_arbiter_answer){
            .status = i == 0 ? KVP_NOT_SEEDED : KVP_OK,
            .group_id = kvp_core_group_id(world.nodes[2].core),
            .view = {1, 1, 1, kvp_set_of(1)},
        };
        nobody_leads(&world);
        assert_int_equal(promote_said(&world, false, 400 * MS), KVP_REFUSED);
        world.arbiter = NULL;
        assert_int_equal(promote_said(&world, false, SECONDS), KVP_OK);
        world_close(&world);
    }
}

/* As long as whoever asked waits. What may be granted later has no other answer than that. */
static void test_promote_is_answered_in_time_where_the_register_is_silent(void **state)
{
    (void)state;
    struct world world;
    setup(&world, 2);
    world_kill(&world, 1);
    world_witness(&world, 2, false);
    world_run(&world, 2 * SECONDS);
    assert_int_equal(promote_said(&world, false, 3500 * MS), KVP_TIMEOUT);
    assert_int_equal(promote_said(&world, true, 3500 * MS), KVP_UNCERTAIN);
    world_witness(&world, 2, true);
    world_run(&world, SECONDS);
    assert_serves(&world, 2, kvp_set_of(2));
    world_close(&world);
}

static void test_arbiter_refuses_the_group(void **state)
{
    (void)state;
    struct world world;
    setup(&world, 2);
    said = (struct kvp_arbiter_answer){.status = KVP_WRONG_GROUP};
    nobody_leads(&world);
    assert_int_equal(noted(&world, 2, KVP_NOTE_ARBITER_FOREIGN), 1);

    said.status = KVP_BUSY; /* means nothing: asked again */
    world_run(&world, 5 * SECONDS);
    world.arbiter = NULL;
    world_run(&world, 3 * SECONDS);
    assert_serves(&world, 2, kvp_set_of(2));
    world_close(&world);
}

/* The same to the question itself, behind a look that went well. */
static bool refuses_changes(struct node *node, const struct kvp_arbiter_request *request,
                            struct kvp_arbiter_answer *answer)
{
    *answer = said;
    answer->id = request->id;
    answer->group_id = request->group_id;
    answer->view = *kvp_core_view(node->core);
    if (request->op == KVP_ARBITER_GET || request->op == KVP_ARBITER_CLAIM) {
        answer->status = KVP_OK;
    }
    return true;
}

static void test_change_is_refused(void **state)
{
    (void)state;
    static const kvp_status codes[] = {KVP_STALE_VIEW, KVP_REFUSED, KVP_NOT_SEEDED, KVP_WRONG_GROUP,
                                       KVP_TIMEOUT};
    for (unsigned i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
        struct world world;
        setup(&world, 2);
        said.status = codes[i];
        world.arbiter = refuses_changes;
        world_kill(&world, 1);
        world_run(&world, 5 * SECONDS);
        assert_true(world_count(&world, 2, DID_GRANT, codes[i]) >= 2);
        assert_false(world_serves(&world, 2));
        world.arbiter = NULL;
        world_run(&world, 3 * SECONDS);
        assert_serves(&world, 2, kvp_set_of(2));
        world_close(&world);
    }
}

/* ---- the fence ---- */

static void setup_fence(struct world *world)
{
    world_open(world, 2);
    world->config.fence = true;
    world_form(world);
    world_put(world, 1, 10);
    world_run(world, 300 * MS);
    assert_int_equal(world_count(world, 1, DID_FENCE, ANY), 0);
}

static void test_fence(void **state)
{
    (void)state;
    struct world world;
    setup_fence(&world);
    world_kill(&world, 1);
    world_run(&world, 3 * SECONDS);
    assert_int_equal(world_count(&world, 2, DID_FENCE, ANY), 1);
    assert_true(world_last(&world, 2, DID_FENCE, ANY).at_us <
                world_last(&world, 2, DID_GRANT, KVP_OK).at_us);
    assert_serves(&world, 2, kvp_set_of(2));
    world_close(&world);
}

static void test_fence_fails(void **state)
{
    (void)state;
    struct world world;
    setup_fence(&world);
    world.nodes[2].fence_works = false;
    world_isolate(&world, 1);
    world_witness(&world, 1, false);
    world_run(&world, 5 * SECONDS);
    assert_true(noted(&world, 2, KVP_NOTE_FENCE_FAILED) >= 3);
    assert_int_equal(world_count(&world, 2, DID_GRANT, ANY), 0);
    assert_false(world_serves(&world, 2));
    world.nodes[2].fence_works = true;
    world_run(&world, 2 * SECONDS);
    assert_serves(&world, 2, kvp_set_of(2));
    world_close(&world);
}

/* The primary is heard again while the fence runs: nothing is asked. */
static void test_fence_is_too_late(void **state)
{
    (void)state;
    struct world world;
    setup_fence(&world);
    world_witness(&world, 1, false);
    world_isolate(&world, 1);
    for (unsigned i = 0; world_count(&world, 2, DID_FENCE, ANY) == 0; i++) {
        assert_true(i < 20000);
        world_run(&world, MS / 10);
    }
    world.paths[1][2].cut = false;
    static struct kvp_peer_request request;
    request.op = KVP_OP_HEARTBEAT;
    request.from = 1;
    request.to = 2;
    request.group_id = kvp_core_group_id(world.nodes[2].core);
    request.view = *kvp_core_view(world.nodes[2].core);
    world_request(&world, 2, &request);
    world_run(&world, 50 * MS);
    assert_int_equal(world_count(&world, 2, DID_GRANT, ANY), 0);
    assert_int_equal(world_status(&world, 2).role, KVP_ROLE_BACKUP);
    world_close(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_founding_needs_all),
        cmocka_unit_test(test_blank_ones_join),
        cmocka_unit_test(test_a_store_that_is_known_is_not_new_any_more),
        cmocka_unit_test(test_all_blank_but_known),
        cmocka_unit_test(test_founder_dies),
        cmocka_unit_test(test_founder_looks),
        cmocka_unit_test(test_founder_dies_again),
        cmocka_unit_test(test_all_members_seed_it),
        cmocka_unit_test(test_member_missing_for_seed),
        cmocka_unit_test(test_forgets_before_the_question),
        cmocka_unit_test(test_silent_arbiter),
        cmocka_unit_test(test_register_went_back),
        cmocka_unit_test(test_register_went_back_under_a_node_outside),
        cmocka_unit_test(test_register_of_another_group),
        cmocka_unit_test(test_promote_is_refused_where_the_register_is_of_another_group),
        cmocka_unit_test(test_promote_is_refused_where_the_register_is_not_seeded_or_went_back),
        cmocka_unit_test(test_promote_is_answered_in_time_where_the_register_is_silent),
        cmocka_unit_test(test_arbiter_refuses_the_group),
        cmocka_unit_test(test_change_is_refused),
        cmocka_unit_test(test_fence),
        cmocka_unit_test(test_fence_fails),
        cmocka_unit_test(test_fence_is_too_late),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
