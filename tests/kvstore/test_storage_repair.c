/* SPDX-License-Identifier: Apache-2.0 */
/* What becomes of a damaged store: set aside where others have what it has, and otherwise left. */
#include "tests/kvstore/storage_support.h"
#include "tests/support/planted.h"

#include "kvstore/storage_private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum kvp_mutant kvp_mutant;

#define ALONE  kvp_set_of(NODE)
#define SHARED (kvp_set_of(NODE) | kvp_set_of(3))

static bool on_disk; /* which kind of directory the running group is about */
static struct history history;

static void know(struct depot *depot, kvp_node_set in_sync)
{
    struct kvp_meta meta = {
        .group_id = 7,
        .view = {.version = 3, .epoch = 3, .primary = NODE, .in_sync = in_sync},
    };
    struct kvp_storage_write write = {.sync = true, .meta = &meta};
    depot_write(depot, &write);
}

static int setup(void **state)
{
    static struct depot depot;
    depot_make(&depot, on_disk);
    history_grow(&history, 1, 10);
    know(&depot, SHARED);
    depot_append(&depot, &history, 1, 10);
    *state = &depot;
    return 0;
}

static int teardown(void **state)
{
    depot_remove(*state);
    history_free(&history);
    return 0;
}

static void spoil(struct depot *depot, const char *name)
{
    depot_close(depot);
    store_set_raw(depot, name, TEXT("Mmeta"), TEXT("?"));
    assert_int_equal(depot_try(depot), KVP_CORRUPT);
}

static kvp_status repair(struct depot *depot, bool arbiter, unsigned count,
                         struct kvp_quarantined *done)
{
    const struct kvp_quarantine bound = {count, KVP_QUARANTINE_SIZE};
    depot->message[0] = '\0';
    return kvp_storage_repair(depot->place.env, GROUP, NODE, arbiter, bound, done, depot->message,
                              sizeof(depot->message));
}

static void check_repaired(struct depot *depot, bool arbiter, const char *name)
{
    struct kvp_quarantined done;
    if (repair(depot, arbiter, KVP_QUARANTINE_COUNT, &done) != KVP_OK) {
        fail_msg("%s", depot->message);
    }
    assert_string_equal(done.name, name);
    depot_open(depot);
    assert_true(depot->loaded.repaired);
    assert_int_equal(depot->loaded.meta.group_id, 0);
    assert_int_equal(depot->loaded.tail.seq, 0);
}

static void check_left(struct depot *depot, bool arbiter, const char *reason)
{
    struct kvp_quarantined done;
    char *before = place_stores(&depot->place);
    assert_int_equal(repair(depot, arbiter, KVP_QUARANTINE_COUNT, &done), KVP_REFUSED);
    if (strstr(depot->message, reason) == NULL) {
        fail_msg("'%s' does not say '%s'", depot->message, reason);
    }
    place_check_stores(&depot->place, before);
    free(before);
    assert_int_equal(depot_try(depot), KVP_CORRUPT);
}

static void test_a_damaged_store_is_set_aside_and_a_blank_one_begins(void **state)
{
    struct depot *depot = *state;
    spoil(depot, "store-1");
    check_repaired(depot, false, "damaged-1");
    place_check_stores(&depot->place, "damaged-1 store-2 ");
    assert_int_equal(depot->loaded.stores_quarantined, 1);
}

static void test_the_last_copy_of_what_was_acknowledged_stays_in_its_place(void **state)
{
    struct depot *depot = *state;
    know(depot, ALONE);
    spoil(depot, "store-1");
    check_left(depot, true, "this node alone has");
    check_left(depot, false, "this node alone has");
}

/* Whichever of the two records of the tail is damaged as well. */
static void test_that_it_is_the_last_copy_is_not_forgotten_by_one_more_damage(void **state)
{
    struct depot *depot = *state;
    know(depot, ALONE);
    spoil(depot, "store-1");
    for (unsigned slot = 0; slot < 2; slot++) {
        struct kvp_env *env = depot->place.env;
        kvp_buf tail = {0};
        assert_int_equal(env->ops->read_file(env, "tail", &tail), KVP_OK);
        assert_int_equal(
            env->ops->write_at(env, "tail", slot * STORAGE_SLOT_SIZE + 20, TEXT("?!"), true),
            KVP_OK);
        check_left(depot, true, "this node alone has");
        assert_int_equal(env->ops->write_at(env, "tail", 0, kvp_buf_slice(&tail), true), KVP_OK);
        kvp_buf_free(&tail);
    }
}

/* A pair's nodes decide by themselves: where nobody can tell, nothing is thrown away. */
static void test_who_cannot_tell_asks_an_arbiter_or_stays(void **state)
{
    struct depot *depot = *state;
    spoil(depot, "store-1");
    assert_int_equal(depot->place.env->ops->replace_file(depot->place.env, "tail", TEXT("")),
                     KVP_OK);
    check_left(depot, false, "nobody can tell");
    check_repaired(depot, true, "damaged-1");
}

static void test_a_pointer_that_is_damaged_sets_all_stores_aside(void **state)
{
    struct depot *depot = *state;
    depot_close(depot);
    assert_int_equal(
        depot->place.env->ops->replace_file(depot->place.env, "active", TEXT("active store-9\n")),
        KVP_OK);
    assert_int_equal(depot_try(depot), KVP_CORRUPT);
    check_repaired(depot, false, "damaged-1");
    place_check_stores(&depot->place, "damaged-1 store-2 ");
}

static void test_a_repair_that_a_crash_cut_off_is_finished(void **state)
{
    struct depot *depot = *state;
    struct kvp_env *env = depot->place.env;
    spoil(depot, "store-1");
    assert_int_equal(env->ops->rename_store(env, "store-1", "damaged-1"), KVP_OK);
    assert_int_equal(depot_try(depot), KVP_CORRUPT);
    check_repaired(depot, false, "");
    place_check_stores(&depot->place, "damaged-1 store-2 ");
}

/* Damage that was met while the store was in use need not be met by the next opening. */
static void test_damage_found_in_use_is_remembered(void **state)
{
    struct depot *depot = *state;
    (void)storage_fail_soon(depot->storage, KVP_CORRUPT, "reading a key", "a block is damaged");
    assert_true(kvp_storage_repairable(depot->storage));
    depot_close(depot);
    assert_int_equal(depot_try(depot), KVP_CORRUPT);
    check_repaired(depot, false, "damaged-1");
    depot_reopen(depot);
    assert_int_equal(depot->loaded.tail.seq, 0);
}

/* What can still be read of it may be wanted. */
static void test_damage_in_the_last_copy_is_not_held_against_it(void **state)
{
    struct depot *depot = *state;
    know(depot, ALONE);
    (void)storage_fail_soon(depot->storage, KVP_CORRUPT, "reading a key", "a block is damaged");
    assert_false(kvp_storage_repairable(depot->storage));
    depot_reopen(depot);
    assert_int_equal(depot->loaded.tail.seq, 10);
}

/* A disk that fails is not damage: there may be nothing wrong with what is on it. */
static void test_a_disk_that_fails_has_no_damaged_store(void **state)
{
    struct depot *depot = *state;
    (void)storage_fail_soon(depot->storage, KVP_IO, "reading a key", "input/output error");
    assert_false(kvp_storage_repairable(depot->storage));
    depot_reopen(depot);
}

static void test_what_is_set_aside_is_bounded_and_goes_oldest_first(void **state)
{
    struct depot *depot = *state;
    struct kvp_quarantined done;
    char name[32];
    for (unsigned i = 1; i <= 4; i++) {
        (void)snprintf(name, sizeof(name), "store-%u", i);
        spoil(depot, name);
        assert_int_equal(repair(depot, true, 2, &done), KVP_OK);
        assert_int_equal(done.dropped, i > 2 ? 1 : 0);
        depot_open(depot);
        know(depot, SHARED);
    }
    place_check_stores(&depot->place, "damaged-3 damaged-4 store-5 ");
}

/* One that may be the only copy never makes room. */
static void test_what_may_be_the_only_copy_is_not_dropped_for_room(void **state)
{
    struct depot *depot = *state;
    struct kvp_quarantined done;
    spoil(depot, "store-1");
    assert_int_equal(depot->place.env->ops->replace_file(depot->place.env, "tail", TEXT("")),
                     KVP_OK);
    check_repaired(depot, true, "damaged-1");
    know(depot, SHARED);
    spoil(depot, "store-2");
    assert_int_equal(repair(depot, true, 1, &done), KVP_REFUSED);
    assert_non_null(strstr(depot->message, "--quarantine-stores"));
    place_check_stores(&depot->place, "damaged-1 store-2 ");
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

static const struct CMUnitTest cases[] = {
    CASE(test_a_damaged_store_is_set_aside_and_a_blank_one_begins),
    CASE(test_the_last_copy_of_what_was_acknowledged_stays_in_its_place),
    CASE(test_that_it_is_the_last_copy_is_not_forgotten_by_one_more_damage),
    CASE(test_who_cannot_tell_asks_an_arbiter_or_stays),
    CASE(test_a_pointer_that_is_damaged_sets_all_stores_aside),
    CASE(test_a_repair_that_a_crash_cut_off_is_finished),
    CASE(test_damage_found_in_use_is_remembered),
    CASE(test_damage_in_the_last_copy_is_not_held_against_it),
    CASE(test_a_disk_that_fails_has_no_damaged_store),
    CASE(test_what_is_set_aside_is_bounded_and_goes_oldest_first),
    CASE(test_what_may_be_the_only_copy_is_not_dropped_for_room),
};

static int run_cases(const char *name)
{
    return _cmocka_run_group_tests(name, cases, sizeof(cases) / sizeof(cases[0]), NULL, NULL);
}

static int run_planted(void)
{
    return run_cases("planted");
}

static void test_each_planted_bug_is_found(void **state)
{
    (void)state;
    assert_false(planted_bug_is_found(KVP_MUTANT_NONE, run_planted));
    for (int i = KVP_MUTANT_REPAIR_LAST_COPY; i <= KVP_MUTANT_DAMAGE_FORGOTTEN; i++) {
        if (!planted_bug_is_found((enum kvp_mutant)i, run_planted)) {
            fail_msg("the planted bug %d is not found", i - KVP_MUTANT_REPAIR_LAST_COPY);
        }
    }
}

int main(void)
{
    const struct CMUnitTest planted[] = {cmocka_unit_test(test_each_planted_bug_is_found)};
    int failed = cmocka_run_group_tests_name("planted bugs", planted, NULL, NULL);
    failed += run_cases("in memory");
    on_disk = true;
    return failed + run_cases("on disk");
}
