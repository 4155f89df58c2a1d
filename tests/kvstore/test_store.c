/* SPDX-License-Identifier: Apache-2.0 */
/* The contract of store.h, the same for the directory on disk and the one in memory. */
#include "tests/kvstore/kv_support.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool on_disk; /* which kind the running group is about */

static int setup(void **state)
{
    static struct place place;
    place_open(&place, on_disk);
    *state = &place;
    return 0;
}

static int teardown(void **state)
{
    place_close(*state);
    return 0;
}

/* ---- opening ---- */

static void test_a_store_is_made_only_when_asked_for(void **state)
{
    struct place *place = *state;
    struct kvp_env *env = place->env;
    struct kvp_store *store = NULL;
    assert_int_equal(env->ops->open_store(env, "one", false, &store), KVP_NOT_FOUND);
    assert_true(env->ops->error(env)[0] != '\0');
    place_check_stores(place, "");
    assert_int_equal(env->ops->open_store(env, "one", true, &store), KVP_OK);
    store->ops->close(store);
    assert_int_equal(env->ops->open_store(env, "one", false, &store), KVP_OK);
    store->ops->close(store);
    assert_int_equal(env->ops->open_store(env, "one", true, &store), KVP_OK);
    store->ops->close(store);
    place_check_stores(place, "one ");
}

static void test_a_store_is_open_once(void **state)
{
    struct place *place = *state;
    struct kvp_env *env = place->env;
    struct kvp_store *store = store_open(place, "one");
    struct kvp_store *second = NULL;
    assert_int_equal(env->ops->open_store(env, "one", false, &second), KVP_LOCKED);
    assert_true(env->ops->error(env)[0] != '\0');
    store_put(store, "a", "1"); /* the first is none the worse for it */
    store_check(store, "a", "1");
    store->ops->close(store);
}

static void test_what_was_written_is_there_after_reopening(void **state)
{
    struct place *place = *state;
    struct kvp_store *store = store_open(place, "one");
    struct kvp_batch_op synced = {.key = TEXT("s"), .value = TEXT("2")};
    store_put(store, "a", "1");
    assert_int_equal(store->ops->write(store, &synced, 1, true), KVP_OK);
    store_put(store, "z", "3");
    store_delete(store, "a");
    store->ops->close(store);
    place_reopen(place);
    store = store_open(place, "one");
    store_check_all(store, "s=2 z=3 ");
    store->ops->close(store);
}

static void test_stores_do_not_see_each_other(void **state)
{
    struct place *place = *state;
    struct kvp_store *one = store_open(place, "one");
    struct kvp_store *two = store_open(place, "two");
    store_put(one, "a", "1");
    store_check(two, "a", NULL);
    store_put(two, "a", "2");
    store_check(one, "a", "1");
    one->ops->close(one);
    two->ops->close(two);
}

/* ---- batches and values ---- */

static void test_a_batch_is_done_in_its_order(void **state)
{
    struct kvp_store *store = store_open(*state, "one");
    const struct kvp_batch_op ops[] = {
        {.key = TEXT("a"), .value = TEXT("1")}, {.key = TEXT("a"), .is_delete = true},
        {.key = TEXT("b"), .is_delete = true},  {.key = TEXT("b"), .value = TEXT("1")},
        {.key = TEXT("c"), .value = TEXT("1")}, {.key = TEXT("c"), .value = TEXT("2")},
    };

    store_put(store, "b", "0");
    assert_int_equal(store->ops->write(store, ops, 6, false), KVP_OK);
    store_check_all(store, "b=1 c=2 ");
    store->ops->close(store);
}

static void test_an_empty_batch_changes_nothing(void **state)
{
    struct kvp_store *store = store_open(*state, "one");
    store_put(store, "a", "1");
    assert_int_equal(store->ops->write(store, NULL, 0, false), KVP_OK);
    assert_int_equal(store->ops->write(store, NULL, 0, true), KVP_OK);
    store_check_all(store, "a=1 ");
    store->ops->close(store);
}

static void test_an_empty_value_is_a_value(void **state)
{
    struct kvp_store *store = store_open(*state, "one");
    struct kvp_batch_op op = {.key = TEXT("a"), .value = {NULL, 0}};
    assert_int_equal(store->ops->write(store, &op, 1, false), KVP_OK);
    store_check(store, "a", "");
    store->ops->close(store);
}

static void test_a_value_is_appended_to_what_the_caller_has(void **state)
{
    struct kvp_store *store = store_open(*state, "one");
    kvp_buf value = {0};
    store_put(store, "a", "1");
    assert_int_equal(kvp_buf_append(&value, "x", 1), KVP_OK);
    assert_int_equal(store->ops->get(store, TEXT("a"), &value), KVP_OK);
    assert_int_equal(store->ops->get(store, TEXT("b"), &value), KVP_NOT_FOUND);
    check_slice(kvp_buf_slice(&value), TEXT("x1"));
    kvp_buf_free(&value);
    store->ops->close(store);
}

static void test_a_large_value_comes_back_whole(void **state)
{
    struct kvp_store *store = store_open(*state, "one");
    const size_t size = 5 << 20; /* the largest transaction and more */
    uint8_t *bytes = malloc(size);
    kvp_buf value = {0};

    assert_non_null(bytes);
    for (size_t i = 0; i < size; i++) {
        bytes[i] = (uint8_t)(i * 2654435761u >> 24);
    }
    struct kvp_batch_op op = {.key = TEXT("a"), .value = kvp_slice_of(bytes, size)};
    assert_int_equal(store->ops->write(store, &op, 1, true), KVP_OK);
    assert_int_equal(store->ops->get(store, TEXT("a"), &value), KVP_OK);
    check_slice(kvp_buf_slice(&value), op.value);
    kvp_buf_free(&value);
    free(bytes);
    store->ops->close(store);
}

/* ---- iterators and snapshots ---- */

static void check_at(struct kvp_store *store, struct kvp_iter *iter, const char *key)
{
    assert_int_equal(store->ops->iter_valid(iter), key != NULL);
    if (key != NULL) {
        check_slice(store->ops->iter_key(iter), slice_of_text(key));
    }
    assert_int_equal(store->ops->iter_status(iter), KVP_OK);
}

static void test_an_iterator_finds_the_first_key_not_below(void **state)
{
    struct kvp_store *store = store_open(*state, "one");
    store_put(store, "b", "1");
    store_put(store, "d", "2");
    store_put(store, "bb", "3");
    struct kvp_iter *iter = store->ops->iter(store, NULL, false);
    assert_non_null(iter);
    assert_false(store->ops->iter_valid(iter)); /* not positioned yet */
    store->ops->iter_seek(iter, kvp_slice_of(NULL, 0));
    check_at(store, iter, "b");
    store->ops->iter_seek(iter, TEXT("b"));
    check_at(store, iter, "b");
    store->ops->iter_seek(iter, TEXT("ba"));
    check_at(store, iter, "bb");
    store->ops->iter_next(iter);
    check_at(store, iter, "d");
    store->ops->iter_next(iter);
    check_at(store, iter, NULL);
    store->ops->iter_next(iter); /* the end stays the end */
    check_at(store, iter, NULL);
    store->ops->iter_seek(iter, TEXT("da"));
    check_at(store, iter, NULL);
    store->ops->iter_seek(iter, TEXT("a")); /* and there is a way back */
    check_at(store, iter, "b");
    store->ops->iter_close(iter);
    store->ops->close(store);
}

static void test_keys_sort_as_unsigned_bytes(void **state)
{
    static const kvp_slice sorted[] = {
        {"\0", 1},   {"\0\0", 2},   {"\0\1", 2},     {"\1", 1},   {"a", 1},
        {"a\0", 2},  {"a\xff", 2},  {"b", 1},        {"\x7f", 1}, {"\x80", 1},
        {"\xff", 1}, {"\xff\0", 2}, {"\xff\xff", 2},
    };
    const size_t count = sizeof(sorted) / sizeof(sorted[0]);
    struct kvp_store *store = store_open(*state, "one");

    for (size_t i = 0; i < count; i++) { /* in another order: 5 and 13 have no common divisor */
        struct kvp_batch_op op = {.key = sorted[i * 5 % count], .value = TEXT("x")};
        assert_int_equal(store->ops->write(store, &op, 1, false), KVP_OK);
    }
    struct kvp_iter *iter = store->ops->iter(store, NULL, true);
    store->ops->iter_seek(iter, TEXT(""));
    for (size_t i = 0; i < count; i++) {
        assert_true(store->ops->iter_valid(iter));
        check_slice(store->ops->iter_key(iter), sorted[i]);
        store->ops->iter_next(iter);
    }
    check_at(store, iter, NULL);
    store->ops->iter_close(iter);
    store->ops->close(store);
}

static void test_an_iterator_sees_the_instant_of_its_making(void **state)
{
    struct kvp_store *store = store_open(*state, "one");
    store_put(store, "a", "1");
    store_put(store, "c", "1");
    struct kvp_iter *iter = store->ops->iter(store, NULL, true);
    store_put(store, "b", "2");
    store_put(store, "a", "2");
    store_delete(store, "c");
    store->ops->iter_seek(iter, TEXT("a"));
    check_at(store, iter, "a");
    check_slice(store->ops->iter_value(iter), TEXT("1"));
    store->ops->iter_next(iter);
    check_at(store, iter, "c");
    store->ops->iter_next(iter);
    check_at(store, iter, NULL);
    store->ops->iter_close(iter);
    store->ops->close(store);
}

static void check_snapshot(struct kvp_store *store, struct kvp_snapshot *snapshot,
                           const char *expected)
{
    char *dump = store_dump(store, snapshot);
    assert_string_equal(dump, expected);
    free(dump);
}

static void test_snapshots_keep_their_instants(void **state)
{
    struct kvp_store *store = store_open(*state, "one");
    struct kvp_snapshot *empty = store->ops->snapshot(store);
    store_put(store, "a", "1");
    store_put(store, "b", "1");
    struct kvp_snapshot *first = store->ops->snapshot(store);
    store_put(store, "a", "2");
    store_delete(store, "b");
    struct kvp_snapshot *second = store->ops->snapshot(store);
    store_put(store, "c", "3");
    check_snapshot(store, second, "a=2 ");
    check_snapshot(store, empty, "");
    check_snapshot(store, first, "a=1 b=1 ");
    check_snapshot(store, first, "a=1 b=1 ");
    store->ops->snapshot_release(store, first);
    check_snapshot(store, second, "a=2 ");
    store->ops->snapshot_release(store, empty);
    store->ops->snapshot_release(store, second);
    store_check_all(store, "a=2 c=3 ");
    store->ops->close(store);
}

static void test_releasing_nothing_is_fine(void **state)
{
    struct kvp_store *store = store_open(*state, "one");
    store->ops->iter_close(NULL);
    store->ops->snapshot_release(store, NULL);
    store->ops->close(NULL);
    assert_string_equal(store->ops->error(store), "");
    store->ops->close(store);
}

/* ---- readers beside the writer ---- */

enum {
    PARTS = 20,
    ROUNDS = 300,
};

struct reading {
    struct kvp_store *store;
    atomic_bool stop;
    unsigned looks;
    unsigned halves; /* batches seen in part; threads must not fail the test themselves */
};

/* One look at the store: all keys hold the number of the same batch, or there are none yet. */
static bool look(struct kvp_store *store)
{
    struct kvp_iter *iter = store->ops->iter(store, NULL, true);
    kvp_slice first = {0};
    unsigned count = 0;
    bool whole = true;
    for (store->ops->iter_seek(iter, TEXT("")); store->ops->iter_valid(iter);
         store->ops->iter_next(iter), count++) {
        kvp_slice value = store->ops->iter_value(iter);
        static _Thread_local uint8_t bytes[4];
        if (count == 0) {
            memcpy(bytes, value.data, sizeof(bytes));
            first = kvp_slice_of(bytes, sizeof(bytes));
        }
        whole = whole && kvp_slice_compare(first, value) == 0;
    }
    whole = whole && (count == 0 || count == PARTS) && store->ops->iter_status(iter) == KVP_OK;
    store->ops->iter_close(iter);
    return whole;
}

static void *read_on(void *arg)
{
    struct reading *reading = arg;
    kvp_buf value = {0};
    while (!atomic_load(&reading->stop) || reading->looks == 0) {
        value.size = 0;
        kvp_status status = reading->store->ops->get(reading->store, TEXT("a"), &value);
        bool right = status == KVP_OK ? value.size == 4 : status == KVP_NOT_FOUND;
        reading->halves += right && look(reading->store) ? 0 : 1;
        reading->looks++;
    }
    kvp_buf_free(&value);
    return NULL;
}

static void write_round(struct kvp_store *store, uint32_t round)
{
    struct kvp_batch_op ops[PARTS];
    char keys[PARTS];
    for (unsigned i = 0; i < PARTS; i++) {
        keys[i] = (char)('a' + i);
        ops[i] = (struct kvp_batch_op){.key = kvp_slice_of(&keys[i], 1),
                                       .value = kvp_slice_of(&round, sizeof(round))};
    }
    assert_int_equal(store->ops->write(store, ops, PARTS, false), KVP_OK);
}

static void test_another_thread_never_sees_half_of_a_batch(void **state)
{
    struct reading reading = {.store = store_open(*state, "one")};
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, read_on, &reading), 0);
    for (uint32_t round = 0; round < ROUNDS; round++) {
        write_round(reading.store, round);
    }
    atomic_store(&reading.stop, true);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(reading.halves, 0);
    assert_true(reading.looks > 0);
    reading.store->ops->close(reading.store);
}

/* ---- the directory ---- */

static void test_a_renamed_store_takes_its_content_along(void **state)
{
    struct place *place = *state;
    struct kvp_env *env = place->env;
    struct kvp_store *store = store_open(place, "one");
    store_put(store, "a", "1");
    store->ops->close(store);
    assert_int_equal(env->ops->rename_store(env, "one", "two"), KVP_OK);
    place_check_stores(place, "two ");
    assert_int_equal(env->ops->open_store(env, "one", false, &store), KVP_NOT_FOUND);
    place_reopen(place);
    store = store_open(place, "two");
    store_check_all(store, "a=1 ");
    store->ops->close(store);
}

static void test_a_name_that_is_taken_is_not_given_again(void **state)
{
    struct place *place = *state;
    struct kvp_env *env = place->env;
    struct kvp_store *store = store_open(place, "one");
    store_put(store, "a", "1");
    store->ops->close(store);
    store = store_open(place, "two");
    store->ops->close(store); /* empty: rename() of a directory would replace an empty one */
    assert_int_equal(env->ops->rename_store(env, "one", "two"), KVP_EXISTS);
    assert_int_equal(env->ops->rename_store(env, "one", "one"), KVP_EXISTS);
    assert_int_equal(env->ops->rename_store(env, "none", "three"), KVP_NOT_FOUND);
    assert_true(env->ops->error(env)[0] != '\0');
    place_check_stores(place, "one two ");
    store = store_open(place, "one");
    store_check_all(store, "a=1 ");
    store->ops->close(store);
}

static void test_a_destroyed_store_is_gone(void **state)
{
    struct place *place = *state;
    struct kvp_env *env = place->env;
    struct kvp_store *store = store_open(place, "one");
    store_put(store, "a", "1");
    store->ops->close(store);
    store = store_open(place, "two");
    store->ops->close(store);
    assert_int_equal(env->ops->destroy_store(env, "one"), KVP_OK);
    assert_int_equal(env->ops->destroy_store(env, "one"), KVP_OK); /* absent is fine */
    assert_int_equal(env->ops->open_store(env, "one", false, &store), KVP_NOT_FOUND);
    place_check_stores(place, "two ");
    store = store_open(place, "one");
    store_check_all(store, "");
    store->ops->close(store);
}

static void test_files_are_not_listed_as_stores(void **state)
{
    struct place *place = *state;
    struct kvp_env *env = place->env;
    assert_int_equal(env->ops->replace_file(env, "file", TEXT("x")), KVP_OK);
    place_check_stores(place, "");
}

/* ---- names ---- */

#define NAME_63 "a23456789-123456789-123456789-123456789-123456789-123456789-123"

static void check_refused(struct kvp_env *env, kvp_status status)
{
    assert_int_equal(status, KVP_BAD_ARGUMENT);
    assert_true(env->ops->error(env)[0] != '\0');
}

static void check_bad_name(struct kvp_env *env, const char *name)
{
    struct kvp_store *store = NULL;
    kvp_buf content = {0};
    check_refused(env, env->ops->open_store(env, name, true, &store));
    check_refused(env, env->ops->open_store(env, name, false, &store));
    check_refused(env, env->ops->destroy_store(env, name));
    check_refused(env, env->ops->rename_store(env, name, "fine"));
    check_refused(env, env->ops->rename_store(env, "there", name));
    check_refused(env, env->ops->read_file(env, name, &content));
    check_refused(env, env->ops->replace_file(env, name, TEXT("x")));
    check_refused(env, env->ops->write_at(env, name, 0, TEXT("x"), true));
    assert_null(store);
    assert_int_equal(content.size, 0);
}

static void test_names_that_could_lead_astray_are_refused(void **state)
{
    static const char *const names[] = {"",    ".",        "..",   ".a",       "-a",  "../a",
                                        "a/b", "/a",       "LOCK", "A",        "a b", "a\n",
                                        "a~",  "\xc3\xa4", "a_b",  NAME_63 "4"};
    struct place *place = *state;
    struct kvp_store *store = store_open(place, "there");

    store->ops->close(store);
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        check_bad_name(place->env, names[i]);
    }
    place_check_stores(place, "there ");
}

static void test_the_longest_name_is_taken(void **state)
{
    struct place *place = *state;
    struct kvp_env *env = place->env;
    struct kvp_store *store = store_open(place, NAME_63);
    kvp_buf content = {0};
    store->ops->close(store);
    place_check_stores(place, NAME_63 " ");
    assert_int_equal(env->ops->destroy_store(env, NAME_63), KVP_OK);
    assert_int_equal(env->ops->replace_file(env, NAME_63, TEXT("x")), KVP_OK);
    assert_int_equal(env->ops->write_at(env, NAME_63, 1, TEXT("y"), true), KVP_OK);
    assert_int_equal(env->ops->read_file(env, NAME_63, &content), KVP_OK);
    check_slice(kvp_buf_slice(&content), TEXT("xy"));
    kvp_buf_free(&content);
}

/* ---- small files ---- */

static void check_file(struct place *place, const char *name, kvp_slice expected)
{
    kvp_buf content = {0};
    assert_int_equal(place->env->ops->read_file(place->env, name, &content), KVP_OK);
    check_slice(kvp_buf_slice(&content), expected);
    kvp_buf_free(&content);
}

static void test_a_file_is_replaced_as_a_whole(void **state)
{
    struct place *place = *state;
    struct kvp_env *env = place->env;
    kvp_buf content = {0};
    assert_int_equal(env->ops->read_file(env, "file", &content), KVP_NOT_FOUND);
    assert_int_equal(content.size, 0);
    assert_int_equal(env->ops->replace_file(env, "file", TEXT("long content")), KVP_OK);
    check_file(place, "file", TEXT("long content"));
    assert_int_equal(env->ops->replace_file(env, "file", TEXT("short")), KVP_OK);
    check_file(place, "file", TEXT("short"));
    assert_int_equal(env->ops->replace_file(env, "file", kvp_slice_of(NULL, 0)), KVP_OK);
    check_file(place, "file", TEXT(""));
    place_reopen(place);
    check_file(place, "file", TEXT(""));
}

static void test_content_is_appended_to_what_the_caller_has(void **state)
{
    struct place *place = *state;
    struct kvp_env *env = place->env;
    kvp_buf content = {0};
    assert_int_equal(env->ops->replace_file(env, "file", TEXT("x")), KVP_OK);
    assert_int_equal(env->ops->read_file(env, "file", &content), KVP_OK);
    assert_int_equal(env->ops->read_file(env, "file", &content), KVP_OK);
    check_slice(kvp_buf_slice(&content), TEXT("xx"));
    kvp_buf_free(&content);
}

static void test_a_file_is_written_in_place(void **state)
{
    struct place *place = *state;
    struct kvp_env *env = place->env;
    assert_int_equal(env->ops->write_at(env, "file", 2, TEXT("cd"), false), KVP_OK);
    check_file(place, "file", TEXT("\0\0cd"));
    assert_int_equal(env->ops->write_at(env, "file", 0, TEXT("ab"), true), KVP_OK);
    check_file(place, "file", TEXT("abcd"));
    assert_int_equal(env->ops->write_at(env, "file", 3, TEXT("DE"), false), KVP_OK);
    check_file(place, "file", TEXT("abcDE"));
    assert_int_equal(env->ops->write_at(env, "file", 9, TEXT(""), false), KVP_OK);
    check_file(place, "file", TEXT("abcDE"));
    place_reopen(place);
    check_file(place, "file", TEXT("abcDE"));
    env = place->env;
    assert_int_equal(env->ops->write_at(env, "file", 0, TEXT("A"), false), KVP_OK);
    check_file(place, "file", TEXT("AbcDE"));
}

/* The file is kept open between the calls: that must never lead to the wrong one. */
static void test_writing_in_place_follows_names_and_replacements(void **state)
{
    struct place *place = *state;
    struct kvp_env *env = place->env;
    assert_int_equal(env->ops->write_at(env, "file", 0, TEXT("ab"), false), KVP_OK);
    assert_int_equal(env->ops->write_at(env, "other", 0, TEXT("xy"), false), KVP_OK);
    assert_int_equal(env->ops->write_at(env, "file", 1, TEXT("B"), true), KVP_OK);
    check_file(place, "other", TEXT("xy"));
    check_file(place, "file", TEXT("aB"));
    assert_int_equal(env->ops->replace_file(env, "file", TEXT("12")), KVP_OK);
    assert_int_equal(env->ops->write_at(env, "file", 2, TEXT("3"), false), KVP_OK);
    check_file(place, "file", TEXT("123"));
}

static void test_a_file_has_at_most_4_kib(void **state)
{
    struct place *place = *state;
    struct kvp_env *env = place->env;
    uint8_t bytes[4097];
    kvp_slice fits = {bytes, 4096}, over = {bytes, 4097};
    memset(bytes, 'x', sizeof(bytes));
    assert_int_equal(env->ops->replace_file(env, "file", fits), KVP_OK);
    check_file(place, "file", fits);
    check_refused(env, env->ops->replace_file(env, "file", over));
    check_refused(env, env->ops->write_at(env, "file", 0, over, false));
    check_refused(env, env->ops->write_at(env, "file", 1, fits, false));
    check_refused(env, env->ops->write_at(env, "file", 4096, TEXT("x"), false));
    check_refused(env, env->ops->write_at(env, "file", UINT64_MAX, TEXT("x"), false));
    assert_int_equal(env->ops->write_at(env, "file", 4095, TEXT("y"), false), KVP_OK);
    bytes[4095] = 'y';
    check_file(place, "file", fits);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_a_store_is_made_only_when_asked_for),
        CASE(test_a_store_is_open_once),
        CASE(test_what_was_written_is_there_after_reopening),
        CASE(test_stores_do_not_see_each_other),
        CASE(test_a_batch_is_done_in_its_order),
        CASE(test_an_empty_batch_changes_nothing),
        CASE(test_an_empty_value_is_a_value),
        CASE(test_a_value_is_appended_to_what_the_caller_has),
        CASE(test_a_large_value_comes_back_whole),
        CASE(test_an_iterator_finds_the_first_key_not_below),
        CASE(test_keys_sort_as_unsigned_bytes),
        CASE(test_an_iterator_sees_the_instant_of_its_making),
        CASE(test_snapshots_keep_their_instants),
        CASE(test_releasing_nothing_is_fine),
        CASE(test_another_thread_never_sees_half_of_a_batch),
        CASE(test_a_renamed_store_takes_its_content_along),
        CASE(test_a_name_that_is_taken_is_not_given_again),
        CASE(test_a_destroyed_store_is_gone),
        CASE(test_files_are_not_listed_as_stores),
        CASE(test_names_that_could_lead_astray_are_refused),
        CASE(test_the_longest_name_is_taken),
        CASE(test_a_file_is_replaced_as_a_whole),
        CASE(test_content_is_appended_to_what_the_caller_has),
        CASE(test_a_file_is_written_in_place),
        CASE(test_writing_in_place_follows_names_and_replacements),
        CASE(test_a_file_has_at_most_4_kib),
    };

    on_disk = false;
    int failed = cmocka_run_group_tests_name("store in memory", tests, NULL, NULL);
    on_disk = true;
    return failed + cmocka_run_group_tests_name("store on disk", tests, NULL, NULL);
}
