/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Making and starting a core, with bad arguments, without memory, from a disk that fails; and the
 * log's account of its disk part.
 */
#include "core_support.h"

#include "replication/core/core_log.h"

#include <stdlib.h>
#include <string.h>

/* The core asks for memory with calloc() only: itself, and the log's ring in powers of two. */
static size_t fails_at; /* bytes in all; 0: nothing fails */

void *__real_calloc(size_t count, size_t size);
void *__wrap_calloc(size_t count, size_t size);

void *__wrap_calloc(size_t count, size_t size)
{
    return fails_at && count * size == fails_at ? NULL : __real_calloc(count, size);
}

#define RING(entries) ((entries) * sizeof(void *))

static void test_bad_configuration(void **state)
{
    (void)state;
    struct world world;
    struct kvp_core *core;
    struct kvp_core_port port = {0};
    world_open(&world, 3);
    for (unsigned i = 0; i < 6; i++) {
        struct kvp_core_config config = world.config;
        config.self = (uint8_t)(i == 0 ? 0 : i == 1 ? 64 : i == 2 ? 5 : 1);
        config.heartbeat_us = i == 3 ? 0 : HEARTBEAT_US;
        config.lease_us = i == 4 ? HEARTBEAT_US : LEASE_US;
        config.grace_us = i == 5 ? LEASE_US : GRACE_US;
        assert_int_equal(kvp_core_new(&config, &port, &core), KVP_BAD_ARGUMENT);
    }
    struct kvp_core_config config = world.config;
    config.self = 1;
    config.policy = KVP_PAIR_AVAILABLE; /* of three */
    assert_int_equal(kvp_core_new(&config, &port, &core), KVP_BAD_ARGUMENT);
    config.policy = KVP_PAIR_NONE;
    config.nodes = ~(kvp_node_set)1;
    assert_int_equal(kvp_core_new(&config, &port, &core), KVP_BAD_ARGUMENT);

    config = world.config;
    config.self = 1;
    fails_at = RING(1024);
    assert_int_equal(kvp_core_new(&config, &port, &core), KVP_NO_MEMORY);
    fails_at = 0;
    kvp_core_free(NULL);
    world_close(&world);
}

static void test_names(void **state)
{
    (void)state;
    for (int i = 0; i <= KVP_ROLE_STOPPED; i++) {
        assert_true(strcmp(kvp_role_name((enum kvp_role)i), "unknown") != 0);
    }
    for (int i = 0; i <= KVP_NOTE_PEER_LEAVES; i++) {
        assert_non_null(kvp_note_name((enum kvp_note)i));
        assert_true(strcmp(kvp_note_name((enum kvp_note)i), "unknown") != 0);
    }
    assert_string_equal(kvp_role_name((enum kvp_role)(KVP_ROLE_STOPPED + 1)), "unknown");
    assert_string_equal(kvp_note_name((enum kvp_note)(KVP_NOTE_PEER_LEAVES + 1)), "unknown");
}

static void setup(struct world *world)
{
    world_open(world, 2);
    world_form(world);
}

/* The ring does not grow: at the primary with an update, at the backup when it comes. */
static void test_log_cannot_grow(void **state)
{
    (void)state;
    for (unsigned which = 1; which <= 2; which++) {
        struct world world;
        setup(&world);
        world.nodes[which].disk_us = SECONDS; /* nothing is let go of */
        world_put(&world, 1, 1024);
        if (which == 2) {
            world_put(&world, 1, 1); /* the primary's has grown */
        }
        fails_at = RING(2048);
        if (which == 1) {
            world_put(&world, 1, 1);
        }
        world_run(&world, 900 * MS);
        fails_at = 0;
        assert_int_equal(world_status(&world, which).role, KVP_ROLE_FAILED);
        world_run(&world, 3 * SECONDS);
        assert_serves(&world, 3 - which, kvp_set_of(3 - which));
        world_close(&world);
    }
}

/* ---- a start with entries that are not applied yet ---- */

/* Node 2 has 6000 entries in its log, which are more than one read brings, and has applied none. */
static void setup_unapplied(struct world *world)
{
    setup(world);
    world_put(world, 1, 6000);
    world_run(world, 300 * MS);
    world_kill(world, 2);
    memset(&world->nodes[2].disk.applied, 0, sizeof(struct kvp_point));
    assert_int_equal(world->nodes[2].disk.tail.seq, 6000);
}

static void test_start_reads_the_log(void **state)
{
    (void)state;
    struct world world;
    setup_unapplied(&world);
    world.nodes[2].disk_us = 20 * MS;
    world_start(&world, 2);
    world_run(&world, 10 * MS); /* it reads still: it can only say so */
    world_promote(&world, 2, true);
    assert_int_equal(world_last(&world, 2, DID_PROMOTE, ANY).what, KVP_BUSY);
    world_run(&world, 5 * SECONDS);
    assert_serves(&world, 1, set2(1, 2));
    assert_same(&world, set2(1, 2));
    assert_int_equal(kvp_core_applied(world.nodes[2].core), 6000);
    world_close(&world);
}

static void test_start_cannot_read(void **state)
{
    (void)state;
    for (unsigned how = 0; how < 2; how++) {
        struct world world;
        setup_unapplied(&world);
        world.nodes[2].disk_status = how ? KVP_IO : KVP_OK;
        world_start(&world, 2);
        fails_at = how ? 0 : RING(2048);
        world_run(&world, SECONDS);
        fails_at = 0;
        assert_int_equal(world_status(&world, 2).role, KVP_ROLE_FAILED);
        world_run(&world, 2 * SECONDS);
        assert_serves(&world, 1, kvp_set_of(1));
        world_close(&world);
    }
}

/* The disk says no to a store being quarantined. */
static void test_set_aside_fails(void **state)
{
    (void)state;
    struct world world;
    setup(&world);
    world.may_split = true;
    world_put(&world, 1, 5);
    world_run(&world, SECONDS);
    world_kill(&world, 2);
    world_run(&world, 2 * SECONDS);
    world_put(&world, 1, 5);
    world_run(&world, 100 * MS);
    world_kill(&world, 1);
    world_start(&world, 2);
    world_run(&world, 100 * MS); /* it learns how far the register is */
    world_promote(&world, 2, true);
    world_run(&world, 2 * SECONDS);
    world_start(&world, 1);
    for (unsigned i = 0; world_count(&world, 1, DID_QUARANTINE, ANY) == 0; i++) {
        assert_true(i < 50000);
        world_run(&world, 100);
    }
    world.nodes[1].disk_status = KVP_IO;
    world_run(&world, SECONDS);
    assert_int_equal(world_status(&world, 1).role, KVP_ROLE_FAILED);
    assert_serves(&world, 2, kvp_set_of(2));
    world_close(&world);
}

/* ---- the log's account ---- */

static void fill(struct kvp_core_log *log, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        struct kvp_entry *entry = kvp_entry_new(10);
        memset(entry->payload, 0, 10);
        kvp_entry_chain(entry, log->tail, 1);
        assert_int_equal(kvp_core_log_append(log, entry, false), KVP_OK);
        kvp_entry_unref(entry);
    }
}

static void test_account(void **state)
{
    (void)state;
    struct kvp_core_log log;
    struct kvp_point point;
    assert_int_equal(kvp_core_log_init(&log, 320), KVP_OK);
    fill(&log, 3000);
    assert_int_equal(log.disk_size, 3000 * kvp_entry_cost(10));
    assert_int_equal(kvp_core_log_trim(&log, 1000000, 3000), 0);
    uint64_t cut = kvp_core_log_trim(&log, 320, 3000);
    assert_in_range(cut, 2, 2998);
    assert_int_equal(log.disk_first, cut + 1);
    assert_int_equal(log.disk_size, (3000 - cut) * kvp_entry_cost(10));

    kvp_core_log_truncate(&log, cut + 1); /* as far as the disk has it */
    assert_int_equal(log.disk_size, kvp_entry_cost(10));
    kvp_core_log_truncate(&log, 1); /* and further back */
    assert_int_equal(log.disk_first, 2);
    assert_int_equal(log.disk_size, 0);
    fill(&log, 5);
    assert_int_equal(log.disk_size, 5 * kvp_entry_cost(10));

    kvp_core_log_evict(&log, 3, 10);
    assert_null(kvp_core_log_get(&log, 3));
    assert_true(kvp_core_log_point(&log, 3, &point));
    assert_false(kvp_core_log_point(&log, 2, &point));
    assert_non_null(kvp_core_log_get(&log, 4));
    kvp_core_log_free(&log);
}

static void test_the_size_of_what_a_peer_lacks(void **state)
{
    (void)state;
    struct kvp_core_log log;
    uint64_t cost = kvp_entry_cost(10);
    assert_int_equal(kvp_core_log_init(&log, 320), KVP_OK);
    assert_int_equal(kvp_core_log_size_after(&log, 0), 0);
    fill(&log, 3000);
    assert_int_equal(kvp_core_log_size_after(&log, 0), 3000 * cost);
    assert_int_equal(kvp_core_log_size_after(&log, 3000), 0);
    assert_int_equal(kvp_core_log_size_after(&log, 2990), 10 * cost);
    assert_int_equal(kvp_core_log_size_after(&log, UINT64_MAX), 0);
    uint64_t cut = kvp_core_log_trim(&log, 320, 3000);
    assert_int_equal(kvp_core_log_size_after(&log, 0), log.disk_size);
    assert_int_equal(kvp_core_log_size_after(&log, cut + 1), log.disk_size - cost);
    kvp_core_log_free(&log);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bad_configuration),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_log_cannot_grow),
        cmocka_unit_test(test_start_reads_the_log),
        cmocka_unit_test(test_start_cannot_read),
        cmocka_unit_test(test_set_aside_fails),
        cmocka_unit_test(test_account),
        cmocka_unit_test(test_the_size_of_what_a_peer_lacks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
