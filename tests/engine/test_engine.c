/* SPDX-License-Identifier: Apache-2.0 */
/* Single operations without a session: what they do, what they answer, and who sees it when. */
#include "tests/engine/engine_support.h"

#include "kvstore/writeset.h"

#include <string.h>

static void test_put_sets_present_and_absent_keys(void **state)
{
    struct bench bench;
    (void)state;
    bench_open(&bench, 0);
    check_done(&bench, ask_put("a", "one")); /* seq 1 */
    check_done(&bench, ask_put("b", ""));
    check_done(&bench, ask_put("a", "two"));
    check_done(&bench, ask_put("a", "two")); /* the same value is an update, too */
    bench_commit(&bench, 4);
    check_get(&bench, "a", "two", 4, 1);
    check_get(&bench, "b", "", 2, 2);
    check_get(&bench, "c", NULL, 0, 0);
    bench_close(&bench);
}

static void test_create_wants_an_absent_key(void **state)
{
    struct bench bench;
    (void)state;
    bench_open(&bench, 0);
    check_done(&bench, ask_create("a", "one"));
    check_refused(&bench, ask_create("a", "two"), KVP_EXISTS, 1); /* pending counts */
    check_done(&bench, ask_put("a", "three"));
    bench_settle(&bench);
    check_refused(&bench, ask_create("a", "four"), KVP_EXISTS, 2);
    check_done(&bench, ask_delete("a", 0));
    check_done(&bench, ask_create("a", "five"));
    check_refused(&bench, ask_create("a", "six"), KVP_EXISTS, 4);
    bench_settle(&bench);
    check_get(&bench, "a", "five", 4, 4); /* born anew: not the old create revision */
    bench_close(&bench);
}

static void test_delete_takes_any_version_or_the_one_named(void **state)
{
    struct bench bench;
    (void)state;
    bench_open(&bench, 0);
    check_refused(&bench, ask_delete("a", 0), KVP_NOT_FOUND, 0);
    check_refused(&bench, ask_delete("a", 7), KVP_VERSION_DIFFERS, 0);
    check_done(&bench, ask_put("a", "one"));
    check_done(&bench, ask_put("a", "two"));
    check_refused(&bench, ask_delete("a", 1), KVP_VERSION_DIFFERS, 2);
    check_refused(&bench, ask_delete("a", 3), KVP_VERSION_DIFFERS, 2);
    check_done(&bench, ask_delete("a", 2));
    check_refused(&bench, ask_delete("a", 2), KVP_VERSION_DIFFERS, 0);
    check_refused(&bench, ask_delete("a", 0), KVP_NOT_FOUND, 0);
    bench_settle(&bench);
    check_get(&bench, "a", NULL, 0, 0);
    check_refused(&bench, ask_delete("a", 3), KVP_VERSION_DIFFERS, 0);
    check_done(&bench, ask_put("a", "three"));
    check_done(&bench, ask_delete("a", 0));
    bench_close(&bench);
}

static void test_cas_wants_the_version_named(void **state)
{
    struct bench bench;
    (void)state;
    bench_open(&bench, 0);
    check_refused(&bench, ask_cas("a", 1, "x"), KVP_VERSION_DIFFERS, 0);
    check_done(&bench, ask_cas("a", 0, "one"));
    check_refused(&bench, ask_cas("a", 0, "x"), KVP_VERSION_DIFFERS, 1);
    check_refused(&bench, ask_cas("a", UINT64_MAX, "x"), KVP_VERSION_DIFFERS, 1);
    check_done(&bench, ask_cas("a", 1, "two"));
    bench_settle(&bench);
    check_refused(&bench, ask_cas("a", 1, "x"), KVP_VERSION_DIFFERS, 2);
    check_done(&bench, ask_cas("a", 2, "three"));
    bench_settle(&bench);
    check_get(&bench, "a", "three", 3, 1);
    check_done(&bench, ask_delete("a", 3));
    check_refused(&bench, ask_cas("a", 3, "x"), KVP_VERSION_DIFFERS, 0);
    check_done(&bench, ask_cas("a", 0, "four"));
    bench_settle(&bench);
    check_get(&bench, "a", "four", 5, 5);
    bench_close(&bench);
}

/* Execution sees everything before it, reading only what is committed; applying shows neither more
 * nor less. */
static void test_reads_see_what_is_committed(void **state)
{
    struct bench bench;
    (void)state;
    bench_open(&bench, 0);
    check_done(&bench, ask_put("a", "one"));
    check_get(&bench, "a", NULL, 0, 0);
    bench_commit(&bench, 1);
    check_get(&bench, "a", "one", 1, 1);
    check_done(&bench, ask_put("a", "two"));
    check_done(&bench, ask_delete("a", 0));
    check_done(&bench, ask_put("a", "four"));
    check_get(&bench, "a", "one", 1, 1);
    bench_apply(&bench, 1);
    check_get(&bench, "a", "one", 1, 1);
    bench_commit(&bench, 2);
    check_get(&bench, "a", "two", 2, 1);
    bench_commit(&bench, 3);
    check_get(&bench, "a", NULL, 0, 0);
    bench_apply(&bench, 3);
    check_get(&bench, "a", NULL, 0, 0);
    bench_commit(&bench, 1); /* the point does not go back */
    check_get(&bench, "a", NULL, 0, 0);
    bench_settle(&bench);
    check_get(&bench, "a", "four", 4, 4);
    bench_restart(&bench);
    check_get(&bench, "a", "four", 4, 4);
    bench_close(&bench);
}

/* The disk thread is ahead of what the engine has been told: what a read has shown stays. */
static void test_reads_stand_while_the_store_is_ahead(void **state)
{
    struct bench bench;
    (void)state;
    bench_open(&bench, 0);
    check_done(&bench, ask_put("a", "one"));
    check_done(&bench, ask_put("b", "two"));
    check_done(&bench, ask_delete("a", 0));
    bench_commit(&bench, 3);
    for (size_t i = 0; i < 3; i++) {
        shelf_add(&bench.shelf, kvp_buf_slice(&bench.sets[i]));
        check_get(&bench, "a", NULL, 0, 0);
        check_get(&bench, "b", "two", 2, 2);
    }
    for (uint64_t seq = 1; seq <= 3; seq++) {
        kvp_engine_applied(bench.engine, seq);
        check_get(&bench, "a", NULL, 0, 0);
        check_get(&bench, "b", "two", 2, 2);
    }
    bench_close(&bench);
}

static void test_a_reset_forgets_what_is_pending(void **state)
{
    struct bench bench;
    (void)state;
    bench_open(&bench, 0);
    check_done(&bench, with_session(ask_put("a", "one"), 7, 0, 1, 0));
    bench_settle(&bench);
    check_done(&bench, with_session(ask_put("a", "lost"), 7, 0, 2, 0));
    check_done(&bench, ask_put("b", "lost"));
    kvp_buf_free(&bench.sets[--bench.count]);
    kvp_buf_free(&bench.sets[--bench.count]);
    bench_restart(&bench);
    check_get(&bench, "a", "one", 1, 1);
    check_get(&bench, "b", NULL, 0, 0);
    check_done(&bench, with_session(ask_put("a", "two"), 7, 0, 2, 0)); /* executes: it was lost */
    bench_settle(&bench);
    check_get(&bench, "a", "two", 2, 1);
    bench_close(&bench);
}

/* ---- write sets ---- */

static void check_only_op(const kvp_buf *set, kvp_slice key, bool is_delete)
{
    struct kvp_writeset_iter iter;
    struct kvp_batch_op op;
    kvp_writeset_begin(&iter, kvp_buf_slice(set));
    assert_int_equal(kvp_writeset_next(&iter, &op), KVP_OK);
    check_slice(op.key, key);
    assert_int_equal(op.is_delete, is_delete);
    assert_int_equal(kvp_writeset_next(&iter, &op), KVP_NOT_FOUND);
}

static void test_write_sets_hold_the_effect_and_nothing_else(void **state)
{
    struct bench bench;
    (void)state;
    bench_open(&bench, 0);
    check_done(&bench, ask_put("a", "one"));
    check_only_op(&bench.sets[0], TEXT("Da"), false);
    check_done(&bench, ask_delete("a", 0));
    check_only_op(&bench.sets[1], TEXT("Da"), true);
    bench_close(&bench);
}

/* ---- limits ---- */

static struct kvp_request sized(unsigned op, size_t key_size, kvp_slice value)
{
    static char key[KVP_KEY_SIZE_MAX + 1];
    memset(key, 'k', sizeof(key));
    return (struct kvp_request){.op = op, .key = kvp_slice_of(key, key_size), .value = value};
}

static void test_keys_are_1_to_1024_bytes(void **state)
{
    static const unsigned ops[] = {KVP_OP_PUT, KVP_OP_CREATE, KVP_OP_CAS};
    struct bench bench;
    kvp_buf value = {0};
    struct kvp_record_versions versions;
    (void)state;
    bench_open(&bench, 0);
    for (size_t i = 0; i < sizeof(ops) / sizeof(ops[0]); i++) {
        check_refused(&bench, sized(ops[i], 0, TEXT("v")), KVP_BAD_REQUEST, 0);
        check_refused(&bench, sized(ops[i], 1025, TEXT("v")), KVP_TOO_LARGE, 0);
        check_done(&bench, sized(ops[i], 1, TEXT("v")));
        check_done(&bench, sized(ops[i], 1024, TEXT("v")));
        bench_settle(&bench);
        struct kvp_request longest = sized(ops[i], 1024, TEXT("v"));
        assert_int_equal(kvp_engine_get(bench.engine, longest.key, &value, &versions), KVP_OK);
        assert_int_equal(versions.modify_revision, bench.count);
        check_done(&bench, sized(KVP_OP_DELETE, 1, (kvp_slice){0}));
        check_done(&bench, sized(KVP_OP_DELETE, 1024, (kvp_slice){0}));
    }
    check_refused(&bench, sized(KVP_OP_DELETE, 0, (kvp_slice){0}), KVP_BAD_REQUEST, 0);
    check_refused(&bench, sized(KVP_OP_DELETE, 1025, (kvp_slice){0}), KVP_TOO_LARGE, 0);
    check_slice(kvp_buf_slice(&value), TEXT("vvv"));
    kvp_buf_free(&value);
    bench_close(&bench);
}

static void test_values_are_up_to_1_mib(void **state)
{
    static const unsigned ops[] = {KVP_OP_PUT, KVP_OP_CREATE, KVP_OP_CAS};
    struct bench bench;
    struct kvp_record_versions versions;
    (void)state;
    bench_open(&bench, 0);
    for (size_t i = 0; i < sizeof(ops) / sizeof(ops[0]); i++) {
        kvp_buf value = {0};
        check_refused(&bench, sized(ops[i], 5, bytes('v', KVP_VALUE_SIZE_MAX + 1)), KVP_TOO_LARGE,
                      0);
        check_done(&bench, sized(ops[i], 5, bytes('v', KVP_VALUE_SIZE_MAX)));
        bench_settle(&bench);
        assert_int_equal(kvp_engine_get(bench.engine, TEXT("kkkkk"), &value, &versions), KVP_OK);
        check_slice(kvp_buf_slice(&value), bytes('v', KVP_VALUE_SIZE_MAX));
        kvp_buf_free(&value);
        check_done(&bench, sized(KVP_OP_DELETE, 5, (kvp_slice){0}));
    }
    bench_close(&bench);
}

/* A refusal for size is no execution: with a session, too, nothing is put on record. */
static void test_a_refused_size_uses_up_no_number(void **state)
{
    struct bench bench;
    (void)state;
    bench_open(&bench, 0);
    check_refused(&bench, with_session(sized(KVP_OP_PUT, 1025, TEXT("v")), 7, 0, 1, 0),
                  KVP_TOO_LARGE, 0);
    check_refused(&bench, with_session(sized(KVP_OP_PUT, 0, TEXT("v")), 7, 0, 1, 0),
                  KVP_BAD_REQUEST, 0);
    check_done(&bench, with_session(ask_put("a", "v"), 7, 0, 1, 0));
    bench_close(&bench);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_put_sets_present_and_absent_keys),
        cmocka_unit_test(test_create_wants_an_absent_key),
        cmocka_unit_test(test_delete_takes_any_version_or_the_one_named),
        cmocka_unit_test(test_cas_wants_the_version_named),
        cmocka_unit_test(test_reads_see_what_is_committed),
        cmocka_unit_test(test_reads_stand_while_the_store_is_ahead),
        cmocka_unit_test(test_a_reset_forgets_what_is_pending),
        cmocka_unit_test(test_write_sets_hold_the_effect_and_nothing_else),
        cmocka_unit_test(test_keys_are_1_to_1024_bytes),
        cmocka_unit_test(test_values_are_up_to_1_mib),
        cmocka_unit_test(test_a_refused_size_uses_up_no_number),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
