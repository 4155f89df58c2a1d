/* SPDX-License-Identifier: Apache-2.0 */
/* The faults and power cuts of store_memory.h: what other tests prove rests on them. */
#include "tests/kvstore/kv_support.h"

#include "tests/support/store_memory.h"

#include <string.h>

static int setup(void **state)
{
    static struct place place;
    place_open(&place, false);
    *state = &place;
    return 0;
}

static int teardown(void **state)
{
    place_close(*state);
    return 0;
}

static kvp_status put(struct kvp_store *store, const char *key, bool sync)
{
    struct kvp_batch_op op = {.key = slice_of_text(key), .value = TEXT("x")};
    return store->ops->write(store, &op, 1, sync);
}

static void set_fault(struct place *place, uint64_t after, kvp_status status, bool persist,
                      bool stay)
{
    struct kvp_memory_fault fault = {after, status, persist, stay};
    kvp_env_memory_set_fault(place->env, fault);
}

static void check_after_restart(struct place *place, const char *expected)
{
    kvp_env_memory_restart(place->env);
    struct kvp_store *store = store_open(place, "one");
    store_check_all(store, expected);
    store->ops->close(store);
}

/* ---- faults ---- */

static void test_the_change_that_was_named_fails_and_no_other(void **state)
{
    struct place *place = *state;
    struct kvp_store *one = store_open(place, "one"), *two = store_open(place, "two");
    uint64_t before = kvp_env_memory_changes(place->env);
    set_fault(place, 2, KVP_DISK_FULL, false, false);
    assert_int_equal(put(one, "a", false), KVP_OK);
    assert_int_equal(put(two, "a", false), KVP_OK);
    assert_int_equal(put(one, "b", false), KVP_DISK_FULL);
    assert_string_not_equal(one->ops->error(one), "");
    assert_int_equal(put(two, "b", false), KVP_OK);
    assert_int_equal(kvp_env_memory_changes(place->env), before + 4);
    one->ops->close(one);
    two->ops->close(two);
    one = store_open(place, "one");
    store_check_all(one, "a=x ");
    one->ops->close(one);
}

static void test_a_store_refuses_everything_after_a_failure(void **state)
{
    struct place *place = *state;
    struct kvp_store *store = store_open(place, "one");
    kvp_buf value = {0};
    assert_int_equal(put(store, "a", true), KVP_OK);
    struct kvp_iter *iter = store->ops->iter(store, NULL, true);
    store->ops->iter_seek(iter, TEXT(""));
    assert_true(store->ops->iter_valid(iter));
    set_fault(place, 0, KVP_IO, false, false);
    assert_int_equal(put(store, "b", true), KVP_IO);
    uint64_t changes = kvp_env_memory_changes(place->env);
    assert_int_equal(put(store, "c", true), KVP_FAILED);
    assert_int_equal(store->ops->get(store, TEXT("a"), &value), KVP_FAILED);
    assert_false(store->ops->iter_valid(iter));
    assert_int_equal(store->ops->iter_status(iter), KVP_FAILED);
    assert_int_equal(kvp_env_memory_changes(place->env), changes);
    store->ops->iter_close(iter);
    store->ops->close(store);
}

static void test_a_failed_batch_may_be_there_nevertheless(void **state)
{
    struct place *place = *state;
    struct kvp_store *store = store_open(place, "one");
    set_fault(place, 0, KVP_IO, true, false);
    assert_int_equal(put(store, "a", true), KVP_IO);
    store->ops->close(store);
    assert_int_equal(kvp_env_memory_unsynced(place->env, "one"), 1); /* but not durable */
    store = store_open(place, "one");
    store_check_all(store, "a=x ");
    store->ops->close(store);
    kvp_env_memory_crash(place->env, 0, 0, false);
    check_after_restart(place, "");
}

static void test_a_lasting_fault_lasts(void **state)
{
    struct place *place = *state;
    struct kvp_env *env = place->env;
    struct kvp_store *store = store_open(place, "one"), *other = NULL;
    set_fault(place, 1, KVP_IO, true, true);
    assert_int_equal(put(store, "a", false), KVP_OK);
    assert_int_equal(put(store, "b", false), KVP_IO); /* this one happens */
    store->ops->close(store);
    assert_int_equal(env->ops->open_store(env, "new", true, &other), KVP_IO);
    assert_int_equal(env->ops->destroy_store(env, "one"), KVP_IO);
    assert_int_equal(env->ops->rename_store(env, "one", "two"), KVP_IO);
    assert_int_equal(env->ops->replace_file(env, "file", TEXT("x")), KVP_IO);
    assert_int_equal(env->ops->write_at(env, "file", 0, TEXT("x"), true), KVP_IO);
    place_check_stores(place, "one "); /* and none of these */
    set_fault(place, 0, KVP_OK, false, false);
    store = store_open(place, "one");
    store_check_all(store, "a=x b=x ");
    store->ops->close(store);
}

static void test_every_kind_of_change_can_fail(void **state)
{
    struct place *place = *state;
    struct kvp_env *env = place->env;
    struct kvp_store *store = store_open(place, "one");
    kvp_buf content = {0};
    store->ops->close(store);
    set_fault(place, 0, KVP_IO, false, false);
    assert_int_equal(env->ops->open_store(env, "new", true, &store), KVP_IO);
    set_fault(place, 0, KVP_IO, false, false);
    assert_int_equal(env->ops->rename_store(env, "one", "two"), KVP_IO);
    set_fault(place, 0, KVP_IO, false, false);
    assert_int_equal(env->ops->destroy_store(env, "one"), KVP_IO);
    set_fault(place, 0, KVP_IO, false, false);
    assert_int_equal(env->ops->replace_file(env, "file", TEXT("x")), KVP_IO);
    set_fault(place, 0, KVP_IO, false, false);
    assert_int_equal(env->ops->write_at(env, "file", 0, TEXT("x"), true), KVP_IO);
    place_check_stores(place, "one ");
    assert_int_equal(env->ops->read_file(env, "file", &content), KVP_NOT_FOUND);
}

static void test_every_kind_of_change_can_happen_and_fail(void **state)
{
    struct place *place = *state;
    struct kvp_env *env = place->env;
    struct kvp_store *store = NULL;
    kvp_buf content = {0};
    set_fault(place, 0, KVP_IO, true, false);
    assert_int_equal(env->ops->open_store(env, "one", true, &store), KVP_IO);
    place_check_stores(place, "one ");
    set_fault(place, 0, KVP_IO, true, false);
    assert_int_equal(env->ops->rename_store(env, "one", "two"), KVP_IO);
    place_check_stores(place, "two ");
    set_fault(place, 0, KVP_IO, true, false);
    assert_int_equal(env->ops->destroy_store(env, "two"), KVP_IO);
    place_check_stores(place, "");
    set_fault(place, 0, KVP_IO, true, false);
    assert_int_equal(env->ops->replace_file(env, "file", TEXT("ab")), KVP_IO);
    set_fault(place, 0, KVP_IO, true, false);
    assert_int_equal(env->ops->write_at(env, "file", 1, TEXT("c"), true), KVP_IO);
    assert_int_equal(env->ops->read_file(env, "file", &content), KVP_OK);
    check_slice(kvp_buf_slice(&content), TEXT("ac"));
    kvp_buf_free(&content);
}

/* ---- power cuts ---- */

static void test_a_cut_keeps_what_was_synced_and_so_much_more(void **state)
{
    struct place *place = *state;
    static const char *const expected[] = {"a=x b=x ", "a=x b=x c=x ", "a=x b=x c=x d=x ",
                                           "a=x b=x c=x d=x "};

    for (size_t keep = 0; keep < 4; keep++) {
        struct kvp_store *store = store_open(place, "one");
        assert_int_equal(put(store, "a", false), KVP_OK);
        assert_int_equal(put(store, "b", true), KVP_OK); /* with all before it */
        assert_int_equal(kvp_env_memory_unsynced(place->env, "one"), 0);
        assert_int_equal(put(store, "c", false), KVP_OK);
        assert_int_equal(put(store, "d", false), KVP_OK);
        assert_int_equal(kvp_env_memory_unsynced(place->env, "one"), 2);
        kvp_env_memory_crash(place->env, keep, 0, false);
        store->ops->close(store);
        check_after_restart(place, expected[keep]);
        assert_int_equal(kvp_env_memory_unsynced(place->env, "one"), 0);
        assert_int_equal(place->env->ops->destroy_store(place->env, "one"), KVP_OK);
    }
    assert_int_equal(kvp_env_memory_unsynced(place->env, "one"), 0);
}

static void test_closing_syncs_nothing(void **state)
{
    struct place *place = *state;
    struct kvp_store *store = store_open(place, "one");
    assert_int_equal(put(store, "a", false), KVP_OK);
    store->ops->close(store);
    store = store_open(place, "one");
    store->ops->close(store);
    kvp_env_memory_crash(place->env, 0, 0, false);
    check_after_restart(place, "");
}

static void check_file(struct place *place, const char *name, const char *expected)
{
    kvp_buf content = {0};
    kvp_status status = place->env->ops->read_file(place->env, name, &content);
    assert_int_equal(status, expected == NULL ? KVP_NOT_FOUND : KVP_OK);
    check_slice(kvp_buf_slice(&content), slice_of_text(expected == NULL ? "" : expected));
    kvp_buf_free(&content);
}

static void write_files(struct place *place)
{
    struct kvp_env *env = place->env;
    assert_int_equal(env->ops->replace_file(env, "replaced", TEXT("r")), KVP_OK);
    assert_int_equal(env->ops->write_at(env, "synced", 0, TEXT("s"), true), KVP_OK);
    assert_int_equal(env->ops->write_at(env, "unsynced", 0, TEXT("u"), false), KVP_OK);
    assert_int_equal(env->ops->write_at(env, "changed", 0, TEXT("c1"), true), KVP_OK);
    assert_int_equal(env->ops->write_at(env, "changed", 1, TEXT("23"), false), KVP_OK);
}

static void test_a_cut_keeps_the_files_that_were_synced(void **state)
{
    struct place *place = *state;
    write_files(place);
    kvp_env_memory_crash(place->env, 0, 0, false);
    kvp_env_memory_restart(place->env);
    check_file(place, "replaced", "r");
    check_file(place, "synced", "s");
    check_file(place, "unsynced", NULL);
    check_file(place, "changed", "c1");
}

static void test_a_cut_may_keep_all_files(void **state)
{
    struct place *place = *state;
    write_files(place);
    kvp_env_memory_crash(place->env, 0, 0, true);
    kvp_env_memory_restart(place->env);
    check_file(place, "unsynced", "u");
    check_file(place, "changed", "c23");
    kvp_env_memory_crash(place->env, 0, 0, false); /* what was kept is durable */
    kvp_env_memory_restart(place->env);
    check_file(place, "unsynced", "u");
    check_file(place, "changed", "c23");
}

static void test_without_power_nothing_works(void **state)
{
    struct place *place = *state;
    struct kvp_env *env = place->env;
    struct kvp_store *store = store_open(place, "one"), *other = NULL;
    kvp_buf content = {0};
    assert_int_equal(put(store, "a", true), KVP_OK);
    kvp_env_memory_crash(env, 0, 0, false);
    assert_int_equal(store->ops->get(store, TEXT("a"), &content), KVP_IO);
    assert_int_equal(put(store, "b", true), KVP_IO);
    store->ops->close(store);
    assert_int_equal(env->ops->open_store(env, "one", false, &other), KVP_IO);
    assert_int_equal(env->ops->destroy_store(env, "one"), KVP_IO);
    assert_int_equal(env->ops->rename_store(env, "one", "two"), KVP_IO);
    assert_int_equal(env->ops->read_file(env, "file", &content), KVP_IO);
    assert_int_equal(env->ops->replace_file(env, "file", TEXT("x")), KVP_IO);
    assert_int_equal(env->ops->write_at(env, "file", 0, TEXT("x"), true), KVP_IO);
    assert_string_not_equal(env->ops->error(env), "");
    check_after_restart(place, "a=x ");
    assert_string_equal(env->ops->error(env), "");
}

/* A fault is lifted by the restart, so that the next life is a good one. */
static void test_a_restart_lifts_the_fault(void **state)
{
    struct place *place = *state;
    struct kvp_store *store = store_open(place, "one");
    set_fault(place, 0, KVP_IO, false, true);
    assert_int_equal(put(store, "a", true), KVP_IO);
    kvp_env_memory_crash(place->env, 0, 0, false);
    store->ops->close(store);
    kvp_env_memory_restart(place->env);
    store = store_open(place, "one");
    assert_int_equal(put(store, "b", true), KVP_OK);
    store_check_all(store, "b=x ");
    store->ops->close(store);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_the_change_that_was_named_fails_and_no_other),
        CASE(test_a_store_refuses_everything_after_a_failure),
        CASE(test_a_failed_batch_may_be_there_nevertheless),
        CASE(test_a_lasting_fault_lasts),
        CASE(test_every_kind_of_change_can_fail),
        CASE(test_every_kind_of_change_can_happen_and_fail),
        CASE(test_a_cut_keeps_what_was_synced_and_so_much_more),
        CASE(test_closing_syncs_nothing),
        CASE(test_a_cut_keeps_the_files_that_were_synced),
        CASE(test_a_cut_may_keep_all_files),
        CASE(test_without_power_nothing_works),
        CASE(test_a_restart_lifts_the_fault),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
