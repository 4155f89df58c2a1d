/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Stores that are not what their node's was last: a directory put back from before, or a copy. Here
 * an old store is told from the one of today by its numbers alone, so these are put back in the
 * disk's metadata.
 */
#include "core_support.h"

#include "replication/core/core_state.h"

#include <string.h>

static void open_pair(struct world *world, enum kvp_pair_policy policy)
{
    world_open(world, 2);
    world->config.policy = policy;
    world_form(world);
    world_put(world, 1, 10);
    world_run(world, SECONDS);
    assert_serves(world, 1, set2(1, 2));
}

/* Starts the node anew, so that its numbers of before are those of an old store; returns them. */
static struct kvp_meta numbers_of_before(struct world *world, unsigned id)
{
    struct kvp_meta before = world->nodes[id].disk.meta;
    world_kill(world, id);
    world_start(world, id);
    world_run(world, 3 * SECONDS);
    assert_true(world->nodes[id].core->confirmed);
    return before;
}

static void put_back(struct world *world, unsigned id, const struct kvp_meta *before)
{
    struct kvp_meta *meta = &world->nodes[id].disk.meta;
    meta->incarnation = before->incarnation;
    memcpy(meta->earlier, before->earlier, sizeof(meta->earlier));
}

static bool is_copy(struct world *world, unsigned id)
{
    return world_status(world, id).meta.copy;
}

static void test_an_old_store_is_told_that_it_is_one(void **state)
{
    (void)state;
    for (int policy = KVP_PAIR_NONE; policy <= KVP_PAIR_AVAILABLE; policy++) {
        struct world world;
        open_pair(&world, (enum kvp_pair_policy)policy);
        struct kvp_meta before = numbers_of_before(&world, 2);
        world_kill(&world, 2);
        put_back(&world, 2, &before);
        world_start(&world, 2);
        world_run(&world, 3 * SECONDS);
        assert_true(is_copy(&world, 2));
        assert_false(is_copy(&world, 1));
        assert_int_equal(world_status(&world, 2).role, KVP_ROLE_OUTSIDE);
        world_close(&world);
    }
}

/* Neither of the two was told anything yet: what the old one says must not count. */
static void test_an_old_store_grants_and_follows_nothing(void **state)
{
    (void)state;
    struct world world;
    open_pair(&world, KVP_PAIR_BACKUP_WINS);
    struct kvp_meta before = numbers_of_before(&world, 2);
    world_kill(&world, 1);
    world_kill(&world, 2);
    put_back(&world, 2, &before);
    world_swallow(&world, 2, 1, KVP_OP_STATE);
    world_start(&world, 1);
    world_start(&world, 2);
    world_run(&world, 10 * SECONDS);
    assert_false(world_serves(&world, 1) || world_serves(&world, 2));
    assert_false(is_copy(&world, 1));
    assert_false(world.nodes[2].core->confirmed);
    world_close(&world);
}

/* A node whose disk has failed still knows which store speaks for the other one. */
static void test_a_failed_node_answers_an_old_store_nothing(void **state)
{
    (void)state;
    for (int policy = KVP_PAIR_BACKUP_WINS; policy <= KVP_PAIR_AVAILABLE; policy++) {
        struct world world;
        open_pair(&world, (enum kvp_pair_policy)policy);
        world_kill(&world, 1);
        world_start(&world, 1);
        world_run_serving(&world, 1, 5 * SECONDS);
        uint64_t end = world.nodes[1].disk.tail.seq;
        struct kvp_meta before = numbers_of_before(&world, 1);
        world_run_serving(&world, 1, 5 * SECONDS);
        world.nodes[2].disk_status = KVP_IO;
        world_put(&world, 1, 1);
        world_run(&world, SECONDS);
        assert_int_equal(world_status(&world, 2).role, KVP_ROLE_FAILED);
        world_kill(&world, 1);
        put_back(&world, 1, &before);
        disk_lose_after(&world.nodes[1], end);
        world.nodes[1].disk.meta = before; /* both were in sync */
        world_start(&world, 1);
        world_run(&world, 5 * SECONDS);
        assert_false(world_serves(&world, 1));
        assert_true(is_copy(&world, 1));
        world_close(&world);
    }
}

/* Else a crash of the other one could make it forget a number by which somebody leads. */
static void test_a_number_is_confirmed_when_the_other_disk_has_it(void **state)
{
    (void)state;
    struct world world;
    open_pair(&world, KVP_PAIR_PRIMARY_WINS);
    world_kill(&world, 2);
    world_run(&world, 2 * SECONDS);
    world.nodes[1].disk_us = 800 * MS;
    world_start(&world, 2);
    world_run(&world, 500 * MS);
    assert_false(world.nodes[2].core->confirmed);
    assert_true(world.nodes[1].disk.meta.peer_incarnation != world.nodes[2].disk.meta.incarnation);
    world_run(&world, 2 * SECONDS);
    assert_true(world.nodes[2].core->confirmed);
    assert_int_equal(world.nodes[1].disk.meta.peer_incarnation,
                     world.nodes[2].disk.meta.incarnation);
    world_close(&world);
}

static kvp_status asked_as(struct world *world, uint64_t number)
{
    static struct kvp_peer_request request;
    request = (struct kvp_peer_request){
        .op = KVP_OP_HEARTBEAT,
        .from = 1,
        .to = 2,
        .group_id = kvp_core_group_id(world->nodes[2].core),
        .sent_us = world->now_us,
        .view = world_status(world, 2).view,
        .numbers = {.incarnation = number},
    };
    world_request(world, 2, &request);
    return (kvp_status)world->last_reply.code;
}

/* Who is about to need the other one answers without the disk; but a disk that has failed has no
 * number, and will not get it. */
static void test_a_number_that_a_hung_disk_never_took_does_not_count(void **state)
{
    (void)state;
    struct world world;
    open_pair(&world, KVP_PAIR_PRIMARY_WINS);
    world.nodes[2].disk_us = 10 * SECONDS;
    world_put(&world, 1, 1);
    world_run(&world, 3 * SECONDS);
    world_kill(&world, 1);
    world_start(&world, 1);
    world_run(&world, 3 * SECONDS);
    uint64_t number = world.nodes[1].disk.meta.incarnation;
    assert_int_equal(world_status(&world, 2).meta.peer_incarnation, number);
    assert_true(world.nodes[1].core->confirmed);
    world.nodes[2].disk_status = KVP_IO;
    world_run(&world, 10 * SECONDS);
    assert_int_equal(world_status(&world, 2).role, KVP_ROLE_FAILED);
    assert_true(world.nodes[2].disk.meta.peer_incarnation != number);
    assert_int_equal(asked_as(&world, number), KVP_BUSY);
    world_close(&world);
}

/* The other one was started so often since that it does not say any more what this one knows it by:
 * its word counts if it is known itself, and this one is not. */
static void test_a_store_from_long_ago_is_told_so_too(void **state)
{
    (void)state;
    struct world world;
    open_pair(&world, KVP_PAIR_PRIMARY_WINS);
    struct kvp_meta before = numbers_of_before(&world, 2);
    uint64_t known_then = world.nodes[2].disk.meta.peer_incarnation;
    for (unsigned i = 0; i < 2 * KVP_EARLIER_MAX; i++) {
        world_kill(&world, 1);
        world_start(&world, 1);
        world_run_serving(&world, 1, 5 * SECONDS);
    }
    world_kill(&world, 2);
    put_back(&world, 2, &before);
    world.nodes[2].disk.meta.peer_incarnation = known_then;
    world_start(&world, 2);
    world_run(&world, 3 * SECONDS);
    assert_true(is_copy(&world, 2));
    assert_false(is_copy(&world, 1));
    assert_serves(&world, 1, kvp_set_of(1));
    world_close(&world);
}

/* What a store asked when it was new comes when it is not, and its node has been silent. */
static void test_a_late_message_of_a_store_that_was_new_changes_nothing(void **state)
{
    (void)state;
    static struct kvp_peer_request request;
    struct world world;
    open_pair(&world, KVP_PAIR_PRIMARY_WINS);
    uint64_t first = world.nodes[2].disk.meta.incarnation;
    (void)numbers_of_before(&world, 2);
    uint64_t known = world.nodes[1].disk.meta.peer_incarnation;
    assert_true(known != first);
    world_kill(&world, 2);
    world_run(&world, 5 * SECONDS);
    for (unsigned i = 0; i < 2; i++) {
        request = (struct kvp_peer_request){
            .op = KVP_OP_STATE,
            .from = 2,
            .to = 1,
            .sent_us = world.now_us,
            .numbers = {first, i == 0 ? 0 : first, {KVP_STORE_IS_NEW}},
        };
        world_request(&world, 1, &request);
        world_run(&world, SECONDS);
        assert_int_equal(world.nodes[1].disk.meta.peer_incarnation, known);
    }
    disk_blank(&world.nodes[2]);
    world_start(&world, 2); /* an emptied one is told, and names it */
    world_run(&world, 10 * SECONDS);
    assert_int_equal(world.nodes[1].disk.meta.peer_incarnation,
                     world.nodes[2].disk.meta.incarnation);
    assert_serves(&world, 1, set2(1, 2));
    world_close(&world);
}

/* Whoever says in a silent node's name that its store is new, or a later life of the one that is
 * known, is asked at that node's address: nothing is taken from what he says. */
static void test_a_request_in_its_name_takes_no_nodes_place(void **state)
{
    (void)state;
    static struct kvp_peer_request request;
    for (int policy = KVP_PAIR_BACKUP_WINS; policy <= KVP_PAIR_AVAILABLE; policy++) {
        for (unsigned fresh = 0; fresh < 2; fresh++) {
            struct world world;
            open_pair(&world, (enum kvp_pair_policy)policy);
            uint64_t known = world.nodes[1].disk.meta.peer_incarnation;
            world_kill(&world, 2);
            world_run(&world, 2 * SECONDS);
            request = (struct kvp_peer_request){
                .op = KVP_OP_STATE,
                .from = 2,
                .to = 1,
                .group_id = fresh ? 0 : kvp_core_group_id(world.nodes[1].core),
                .sent_us = world.now_us,
                .numbers = {known ^ (UINT64_C(1) << 40), known, {known}},
            };
            request.numbers.earlier[0] = fresh ? KVP_STORE_IS_NEW : known;
            world_request(&world, 1, &request);
            world_run(&world, SECONDS);
            assert_int_equal(world.nodes[1].disk.meta.peer_incarnation, known);
            world_start(&world, 2);
            world_run(&world, 5 * SECONDS);
            assert_false(is_copy(&world, 2));
            assert_true(world.nodes[2].core->confirmed);
            assert_int_equal(kvp_core_view(world.nodes[2].core)->in_sync, set2(1, 2));
            world_close(&world);
        }
    }
}

static bool twice(struct world *world, unsigned id, unsigned peer)
{
    const struct kvp_core_status status = world_status(world, id);
    for (unsigned i = 0; i < status.peer_count; i++) {
        if (status.peers[i].id == peer) {
            return status.peers[i].twice;
        }
    }
    return false;
}

/* A store with the peer's id, at an address that nobody was told of. */
static void another_asks(struct world *world, uint64_t incarnation)
{
    static struct kvp_peer_request request;
    request = (struct kvp_peer_request){
        .op = KVP_OP_STATE,
        .from = 2,
        .to = 1,
        .group_id = kvp_core_group_id(world->nodes[1].core),
        .sent_us = world->now_us,
        .report = {.incarnation = incarnation},
    };
    world_request(world, 1, &request);
}

static void test_a_node_that_sees_two_stores_of_a_peer_says_so(void **state)
{
    (void)state;
    struct world world;
    open_pair(&world, KVP_PAIR_NONE);
    uint64_t before = world.nodes[2].core->incarnation;
    world_kill(&world, 2);
    world_start(&world, 2);
    world_run(&world, 3 * SECONDS);
    another_asks(&world, before); /* it comes late */
    world_run(&world, 3 * SECONDS);
    another_asks(&world, before ^ (UINT64_C(1) << 40));
    assert_false(twice(&world, 1, 2));
    for (unsigned i = 0; i < 3; i++) {
        world_run(&world, SECONDS);
        another_asks(&world, before ^ (UINT64_C(1) << 50));
    }
    world_run(&world, SECONDS);
    assert_true(twice(&world, 1, 2));
    assert_int_equal(world_count(&world, 1, DID_NOTE, KVP_NOTE_PEER_COPY), 1);
    assert_serves(&world, 1, set2(1, 2));
    world_run(&world, 61 * SECONDS);
    assert_false(twice(&world, 1, 2));
    world_close(&world);
}

static void test_a_node_that_is_started_anew_is_one(void **state)
{
    (void)state;
    for (int policy = KVP_PAIR_NONE; policy <= KVP_PAIR_AVAILABLE; policy++) {
        struct world world;
        open_pair(&world, (enum kvp_pair_policy)policy);
        for (unsigned i = 0; i < 20; i++) {
            world_kill(&world, 1 + i % 2);
            world_run(&world, i * 50 * MS);
            world_start(&world, 1 + i % 2);
            world_run(&world, 700 * MS);
        }
        assert_int_equal(world_count(&world, 1, DID_NOTE, KVP_NOTE_PEER_COPY), 0);
        assert_int_equal(world_count(&world, 2, DID_NOTE, KVP_NOTE_PEER_COPY), 0);
        world_close(&world);
    }
}

/* The loop would run all the time, and do nothing. */
static void test_a_node_that_waits_for_its_first_write_sleeps(void **state)
{
    (void)state;
    struct world world;
    open_pair(&world, KVP_PAIR_PRIMARY_WINS);
    world_kill(&world, 2);
    world.nodes[2].disk_us = 5 * SECONDS;
    world_start(&world, 2);
    world_run(&world, SECONDS);
    kvp_core_tick(world.nodes[2].core, world.now_us);
    assert_true(kvp_core_deadline(world.nodes[2].core) > world.now_us);
    world_close(&world);
}

/* As where it takes changes of registers only from some addresses. */
static bool refuses_all(struct node *node, const struct kvp_arbiter_request *request,
                        struct kvp_arbiter_answer *answer)
{
    (void)node;
    (void)request;
    answer->status = KVP_REFUSED;
    return true;
}

/* The register lets it take the node's place only while nothing counts on that node: what it
 * promised before, it might never be let to keep. */
static void test_a_new_store_promises_nothing_before_it_is_known(void **state)
{
    (void)state;
    struct world world;
    open_pair(&world, KVP_PAIR_NONE);
    world_kill(&world, 2);
    disk_blank(&world.nodes[2]);
    world_witness(&world, 1, false);
    world_witness(&world, 2, false);
    world_start(&world, 2);
    world_run(&world, 4 * SECONDS);
    assert_int_equal(world_status(&world, 2).tail.seq, 10); /* by the primary's word */
    assert_int_equal(world_status(&world, 2).meta.member_epoch, 0);
    world_witness(&world, 1, true);
    world_witness(&world, 2, true);
    world_run(&world, 5 * SECONDS);
    assert_serves(&world, 1, set2(1, 2));
    assert_int_not_equal(world_status(&world, 2).meta.member_epoch, 0);
    world_close(&world);
}

/* It is none of the two, and nothing is said about its store. */
static void test_a_node_with_an_unknown_id_is_no_copy(void **state)
{
    (void)state;
    for (int policy = KVP_PAIR_BACKUP_WINS; policy <= KVP_PAIR_AVAILABLE; policy++) {
        struct world world;
        open_pair(&world, (enum kvp_pair_policy)policy);
        world_kill(&world, 2);
        disk_blank(&world.nodes[2]);
        world_cut(&world, 1, 2);
        world_start(&world, 2);
        world_run(&world, SECONDS);
        static struct kvp_peer_request request;
        request = (struct kvp_peer_request){
            .op = KVP_OP_STATE, .from = 3, .to = 1, .sent_us = world.now_us};
        request.numbers.incarnation = 4711;
        request.numbers.earlier[0] = KVP_STORE_IS_NEW;
        world_request(&world, 1, &request);
        assert_int_equal(world.last_reply.from, 1);
        assert_int_not_equal(world.last_reply.code, KVP_OK);
        kvp_core_reply(world.nodes[2].core, world.now_us, &world.last_reply);
        assert_false(is_copy(&world, 2));
        world_heal(&world, 1, 2);
        world_run(&world, 5 * SECONDS);
        assert_serves(&world, 1, set2(1, 2));
        world_close(&world);
    }
}

static void test_a_witness_that_takes_nothing_makes_no_copy(void **state)
{
    (void)state;
    struct world world;
    open_pair(&world, KVP_PAIR_NONE);
    world.arbiter = refuses_all;
    world_run(&world, 5 * SECONDS);
    assert_false(is_copy(&world, 1) || is_copy(&world, 2));
    world_close(&world);
}

/* Else whoever asks a node could claim its place at the register. A pair's nodes tell each other.
 */
static void test_with_an_arbiter_nobody_is_told_the_number_of_a_store(void **state)
{
    (void)state;
    struct world world;
    open_pair(&world, KVP_PAIR_NONE);
    uint64_t number = world.nodes[2].disk.meta.incarnation;
    for (unsigned i = 0; i < 2; i++) {
        (void)asked_as(&world, 0);
        const struct kvp_peer_reply *reply = &world.last_reply;
        assert_int_equal(reply->from, 2);
        assert_int_equal(reply->numbers.incarnation, 0);
        assert_true((reply->report.incarnation ^ number) >> 16 != 0);
        number = numbers_of_before(&world, 2).incarnation;
        assert_true((world.nodes[2].core->incarnation ^ number) >> 16 != 0);
        number = world.nodes[2].disk.meta.incarnation;
    }
    world_close(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_an_old_store_is_told_that_it_is_one),
        cmocka_unit_test(test_an_old_store_grants_and_follows_nothing),
        cmocka_unit_test(test_a_failed_node_answers_an_old_store_nothing),
        cmocka_unit_test(test_a_number_is_confirmed_when_the_other_disk_has_it),
        cmocka_unit_test(test_a_number_that_a_hung_disk_never_took_does_not_count),
        cmocka_unit_test(test_a_store_from_long_ago_is_told_so_too),
        cmocka_unit_test(test_a_late_message_of_a_store_that_was_new_changes_nothing),
        cmocka_unit_test(test_a_request_in_its_name_takes_no_nodes_place),
        cmocka_unit_test(test_with_an_arbiter_nobody_is_told_the_number_of_a_store),
        cmocka_unit_test(test_a_node_that_sees_two_stores_of_a_peer_says_so),
        cmocka_unit_test(test_a_node_that_is_started_anew_is_one),
        cmocka_unit_test(test_a_node_that_waits_for_its_first_write_sleeps),
        cmocka_unit_test(test_a_new_store_promises_nothing_before_it_is_known),
        cmocka_unit_test(test_a_node_with_an_unknown_id_is_no_copy),
        cmocka_unit_test(test_a_witness_that_takes_nothing_makes_no_copy),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
