/* SPDX-License-Identifier: Apache-2.0 */
/* Transactions: which list runs, what it sees, what it answers, and that it is all or nothing. */
#include "tests/engine/engine_support.h"

#include "kvstore/writeset.h"

#include <stdlib.h>
#include <string.h>

/* ---- building ---- */

struct plan {
    struct kvp_compare compares[KVP_TXN_OPS_MAX + 1];
    struct kvp_txn_op ops[2][KVP_TXN_OPS_MAX + 1]; /* then, else */
    uint32_t compare_count, counts[2];
};

enum list {
    THEN,
    ELSE,
};

static struct plan plan; /* too large for the stack */

static void when(unsigned kind, const char *key, uint64_t version, const char *value)
{
    plan.compares[plan.compare_count++] = (struct kvp_compare){
        .kind = (uint8_t)kind, .key = text(key), .version = version, .value = text(value)};
}

static void op(enum list list, unsigned kind, const char *key, const char *value)
{
    plan.ops[list][plan.counts[list]++] =
        (struct kvp_txn_op){.kind = (uint8_t)kind, .key = text(key), .value = text(value)};
}

static struct kvp_request ask_txn(void)
{
    return (struct kvp_request){
        .op = KVP_OP_TXN,
        .compares = plan.compares,
        .then_ops = plan.ops[THEN],
        .else_ops = plan.ops[ELSE],
        .compare_count = plan.compare_count,
        .then_count = plan.counts[THEN],
        .else_count = plan.counts[ELSE],
    };
}

static void forget(void)
{
    plan.compare_count = plan.counts[THEN] = plan.counts[ELSE] = 0;
}

/* ---- running ---- */

/* Runs the plan, which must succeed or not as told, and hands out its results to be read. */
static struct kvp_execution run(struct bench *bench, bool succeeds, uint64_t revision,
                                struct kvp_txn_result *result)
{
    struct kvp_request request = ask_txn();
    struct kvp_execution execution = bench_run(bench, &request);
    assert_int_equal(execution.status, KVP_OK);
    assert_int_equal(kvp_wire_read_txn(kvp_buf_slice(&execution.answer), result), KVP_OK);
    assert_int_equal(result->succeeded, succeeds);
    assert_int_equal(result->revision, revision);
    assert_int_equal(result->count, plan.counts[succeeds ? THEN : ELSE]);
    forget();
    return execution;
}

static void check_nil(struct kvp_txn_result *result)
{
    enum kvp_txn_result_kind kind;
    struct kvp_get_result get;
    bool flag;
    assert_int_equal(kvp_wire_txn_next(result, &kind, &get, &flag), KVP_OK);
    assert_int_equal(kind, KVP_TXN_RESULT_NIL);
}

static void check_bool(struct kvp_txn_result *result, bool expected)
{
    enum kvp_txn_result_kind kind;
    struct kvp_get_result get;
    bool flag;
    assert_int_equal(kvp_wire_txn_next(result, &kind, &get, &flag), KVP_OK);
    assert_int_equal(kind, KVP_TXN_RESULT_BOOL);
    assert_int_equal(flag, expected);
}

static void check_got(struct kvp_txn_result *result, const char *value, uint64_t modify,
                      uint64_t create)
{
    enum kvp_txn_result_kind kind;
    struct kvp_get_result get;
    bool flag;
    assert_int_equal(kvp_wire_txn_next(result, &kind, &get, &flag), KVP_OK);
    assert_int_equal(kind, KVP_TXN_RESULT_GET);
    check_slice(get.value, text(value));
    assert_int_equal(get.modify, modify);
    assert_int_equal(get.create, create);
}

static void check_end(struct kvp_txn_result *result, struct kvp_execution *execution)
{
    enum kvp_txn_result_kind kind;
    struct kvp_get_result get;
    bool flag;
    assert_int_equal(kvp_wire_txn_next(result, &kind, &get, &flag), KVP_NOT_FOUND);
    execution_free(execution);
}

/* ---- compares ---- */

/* With "a" = "x" of version 2 (created at 1) and "none" absent: does the compare hold? */
static void check_compare(bool holds, unsigned kind, const char *key, uint64_t version,
                          const char *value)
{
    for (int applied = 0; applied < 2; applied++) { /* in the overlay, in the store */
        struct bench bench;
        struct kvp_txn_result result;
        bench_open(&bench, 0);
        check_done(&bench, ask_put("a", "old"));
        check_done(&bench, ask_put("a", "x"));
        if (applied) {
            bench_settle(&bench);
        }
        when(kind, key, version, value);
        struct kvp_execution execution = run(&bench, holds, 2, &result);
        assert_int_equal(execution.kind, applied ? KVP_EXECUTION_ANSWER : KVP_EXECUTION_WAIT);
        check_end(&result, &execution);
        bench_close(&bench);
    }
}

static void test_compares_of_a_present_key(void **state)
{
    (void)state;
    check_compare(false, KVP_COMPARE_ABSENT, "a", 0, NULL);
    check_compare(true, KVP_COMPARE_PRESENT, "a", 0, NULL);
    check_compare(true, KVP_COMPARE_VERSION_EQUAL, "a", 2, NULL);
    check_compare(false, KVP_COMPARE_VERSION_EQUAL, "a", 1, NULL);
    check_compare(false, KVP_COMPARE_VERSION_EQUAL, "a", 3, NULL);
    check_compare(false, KVP_COMPARE_VERSION_LESS, "a", 2, NULL);
    check_compare(true, KVP_COMPARE_VERSION_LESS, "a", 3, NULL);
    check_compare(true, KVP_COMPARE_VERSION_LESS, "a", UINT64_MAX, NULL);
    check_compare(false, KVP_COMPARE_VERSION_GREATER, "a", 2, NULL);
    check_compare(true, KVP_COMPARE_VERSION_GREATER, "a", 1, NULL);
    check_compare(true, KVP_COMPARE_VALUE_EQUAL, "a", 0, "x");
    check_compare(false, KVP_COMPARE_VALUE_EQUAL, "a", 0, "xx");
    check_compare(false, KVP_COMPARE_VALUE_EQUAL, "a", 0, "");
    check_compare(false, KVP_COMPARE_VALUE_EQUAL, "a", 0, "old");
    check_compare(false, KVP_COMPARE_VALUE_DIFFERS, "a", 0, "x");
    check_compare(true, KVP_COMPARE_VALUE_DIFFERS, "a", 0, "y");
}

static void test_compares_of_an_absent_key(void **state)
{
    (void)state;
    check_compare(true, KVP_COMPARE_ABSENT, "none", 0, NULL);
    check_compare(false, KVP_COMPARE_PRESENT, "none", 0, NULL);
    check_compare(true, KVP_COMPARE_VERSION_EQUAL, "none", 0, NULL);
    check_compare(false, KVP_COMPARE_VERSION_EQUAL, "none", 1, NULL);
    check_compare(true, KVP_COMPARE_VERSION_LESS, "none", 1, NULL);
    check_compare(false, KVP_COMPARE_VERSION_LESS, "none", 0, NULL);
    check_compare(false, KVP_COMPARE_VERSION_GREATER, "none", 0, NULL);
    check_compare(false, KVP_COMPARE_VALUE_EQUAL, "none", 0, ""); /* absent is not empty */
    check_compare(true, KVP_COMPARE_VALUE_DIFFERS, "none", 0, "");
}

static void test_all_compares_must_hold(void **state)
{
    struct bench bench;
    struct kvp_txn_result result;
    struct kvp_execution execution;
    (void)state;
    bench_open(&bench, 0);
    for (unsigned failing = 0; failing <= 3; failing++) { /* 3: none */
        for (unsigned i = 0; i < 3; i++) {
            when(i == failing ? KVP_COMPARE_PRESENT : KVP_COMPARE_ABSENT, "none", 0, NULL);
        }
        execution = run(&bench, failing == 3, 0, &result);
        check_end(&result, &execution);
    }
    execution = run(&bench, true, 0, &result); /* no compare at all */
    check_end(&result, &execution);
    bench_close(&bench);
}

/* ---- operations ---- */

static void test_operations_see_those_before_them(void **state)
{
    struct bench bench;
    struct kvp_txn_result result;
    (void)state;
    bench_open(&bench, 0);
    check_done(&bench, ask_put("a", "one"));
    op(THEN, KVP_TXN_GET, "a", NULL);
    op(THEN, KVP_TXN_PUT, "a", "two");
    op(THEN, KVP_TXN_GET, "a", NULL);
    op(THEN, KVP_TXN_DELETE, "a", NULL);
    op(THEN, KVP_TXN_GET, "a", NULL);
    op(THEN, KVP_TXN_DELETE, "a", NULL);
    op(THEN, KVP_TXN_PUT, "a", "three");
    op(THEN, KVP_TXN_PUT, "b", "b");
    op(THEN, KVP_TXN_GET, "a", NULL);
    struct kvp_execution execution = run(&bench, true, 2, &result);
    assert_int_equal(execution.kind, KVP_EXECUTION_APPEND);
    check_got(&result, "one", 1, 1);
    check_nil(&result);
    check_got(&result, "two", 2, 1);
    check_bool(&result, true);
    check_nil(&result);
    check_bool(&result, false);
    check_nil(&result);
    check_nil(&result);
    check_got(&result, "three", 2, 2); /* created anew in between */
    check_end(&result, &execution);
    check_get(&bench, "a", NULL, 0, 0); /* not committed */
    bench_settle(&bench);
    check_get(&bench, "a", "three", 2, 2);
    check_get(&bench, "b", "b", 2, 2);
    bench_close(&bench);
}

static void test_a_key_put_and_deleted_is_absent(void **state)
{
    struct bench bench;
    struct kvp_txn_result result;
    (void)state;
    bench_open(&bench, 0);
    op(THEN, KVP_TXN_PUT, "a", "x");
    op(THEN, KVP_TXN_DELETE, "a", NULL);
    struct kvp_execution execution = run(&bench, true, 1, &result);
    assert_int_equal(execution.kind, KVP_EXECUTION_APPEND);
    check_nil(&result);
    check_bool(&result, true);
    check_end(&result, &execution);
    check_done(&bench, ask_create("a", "y"));
    bench_settle(&bench);
    check_get(&bench, "a", "y", 2, 2);
    bench_close(&bench);
}

static void test_the_list_not_chosen_does_nothing(void **state)
{
    struct bench bench;
    struct kvp_txn_result result;
    struct kvp_execution execution;
    (void)state;
    bench_open(&bench, 0);
    for (int holds = 0; holds < 2; holds++) {
        when(holds ? KVP_COMPARE_ABSENT : KVP_COMPARE_PRESENT, "none", 0, NULL);
        op(THEN, KVP_TXN_PUT, "then", "t");
        op(ELSE, KVP_TXN_PUT, "else", "e");
        op(ELSE, KVP_TXN_GET, "then", NULL);
        execution = run(&bench, holds, holds + 1u, &result);
        check_nil(&result);
        if (!holds) {
            check_nil(&result);
        }
        check_end(&result, &execution);
        bench_settle(&bench);
        check_get(&bench, "else", "e", 1, 1);
        check_get(&bench, "then", holds ? "t" : NULL, 2, 2);
    }
    bench_close(&bench);
}

/* Compares look at the state before the transaction, once. */
static void test_compares_come_before_operations(void **state)
{
    struct bench bench;
    struct kvp_txn_result result;
    (void)state;
    bench_open(&bench, 0);
    when(KVP_COMPARE_ABSENT, "a", 0, NULL);
    op(THEN, KVP_TXN_PUT, "a", "x");
    struct kvp_execution execution = run(&bench, true, 1, &result);
    check_nil(&result);
    check_end(&result, &execution);
    when(KVP_COMPARE_ABSENT, "a", 0, NULL);
    op(THEN, KVP_TXN_PUT, "a", "y");
    op(ELSE, KVP_TXN_GET, "a", NULL);
    execution = run(&bench, false, 1, &result); /* pending counts */
    check_got(&result, "x", 1, 1);
    check_end(&result, &execution);
    bench_close(&bench);
}

/* ---- transactions that change nothing ---- */

static void test_one_that_changes_nothing_makes_no_entry(void **state)
{
    struct bench bench;
    struct kvp_txn_result result;
    struct kvp_execution execution;
    (void)state;
    bench_open(&bench, 0);
    check_done(&bench, ask_put("a", "x"));
    for (int settled = 0; settled < 2; settled++) {
        op(THEN, KVP_TXN_GET, "a", NULL);
        op(THEN, KVP_TXN_DELETE, "none", NULL);
        /* The revision of the state that it saw: the next one belongs to an update to come. */
        execution = run(&bench, true, 1, &result);
        assert_int_equal(execution.kind, settled ? KVP_EXECUTION_ANSWER : KVP_EXECUTION_WAIT);
        check_got(&result, "x", 1, 1);
        check_bool(&result, false);
        check_end(&result, &execution);
        bench_settle(&bench);
    }
    check_done(&bench, ask_put("a", "y")); /* revision 2 */
    bench_close(&bench);
}

static void test_with_a_session_it_makes_one(void **state)
{
    struct bench bench;
    struct kvp_txn_result result;
    (void)state;
    bench_open(&bench, 0);
    check_done(&bench, ask_put("a", "x"));
    op(THEN, KVP_TXN_GET, "a", NULL);
    struct kvp_request request = with_session(ask_txn(), 7, 0, 1, 0);
    struct kvp_execution execution = bench_run(&bench, &request);
    assert_int_equal(execution.kind, KVP_EXECUTION_APPEND);
    assert_int_equal(kvp_wire_read_txn(kvp_buf_slice(&execution.answer), &result), KVP_OK);
    assert_int_equal(result.revision, 2);
    execution_free(&execution);
    forget();
    bench_close(&bench);
}

/* ---- limits ---- */

static void check_plan_refused(struct bench *bench, int status)
{
    check_refused(bench, ask_txn(), status, 0);
    check_refused(bench, with_session(ask_txn(), 7, 0, 1, 0), status, 0);
    forget();
}

static void test_lists_have_up_to_1024_elements(void **state)
{
    struct bench bench;
    struct kvp_txn_result result;
    (void)state;
    bench_open(&bench, 0);
    for (unsigned i = 0; i < 1024; i++) {
        when(KVP_COMPARE_ABSENT, "none", 0, NULL);
        op(THEN, KVP_TXN_PUT, "a", "x");
        op(ELSE, KVP_TXN_GET, "a", NULL);
    }
    struct kvp_execution execution = run(&bench, true, 1, &result);
    for (unsigned i = 0; i < 1024; i++) {
        check_nil(&result);
    }
    check_end(&result, &execution);
    for (unsigned list = 0; list < 3; list++) {
        for (unsigned i = 0; i < 1025; i++) {
            if (list == 2) {
                when(KVP_COMPARE_ABSENT, "none", 0, NULL);
            } else {
                op((enum list)list, KVP_TXN_GET, "a", NULL);
            }
        }
        check_plan_refused(&bench, KVP_TOO_LARGE);
    }
    bench_close(&bench);
}

/* Adds to the plan what holds `size` bytes of value. */
static void weigh(unsigned list, size_t size)
{
    if (list == 2) {
        when(KVP_COMPARE_VALUE_DIFFERS, "k", 0, NULL);
        plan.compares[plan.compare_count - 1].value = bytes('v', size);
    } else {
        op((enum list)list, KVP_TXN_PUT, "k", NULL);
        plan.ops[list][plan.counts[list] - 1].value = bytes('v', size);
    }
}

static void test_a_transaction_is_up_to_4_mib(void **state)
{
    struct bench bench;
    struct kvp_txn_result result;
    (void)state;
    bench_open(&bench, 0);
    for (unsigned rest = 0; rest < 3; rest++) { /* which list makes it too large */
        for (size_t over = 0; over < 2; over++) {
            for (unsigned list = 0; list < 3; list++) { /* with the keys: 1 MiB each */
                weigh(list, KVP_VALUE_SIZE_MAX - 1);
            }
            weigh(rest, KVP_VALUE_SIZE_MAX - 1 + over);
            if (over) {
                check_plan_refused(&bench, KVP_TOO_LARGE);
                continue;
            }
            bool holds = plan.compare_count > 0 && bench.count == 0;
            struct kvp_execution execution = run(&bench, holds, bench.count + 1, &result);
            execution_free(&execution);
        }
    }
    bench_close(&bench);
}

static void test_elements_keep_the_limits_of_keys_and_values(void **state)
{
    static char key[KVP_KEY_SIZE_MAX + 1];
    static const size_t sizes[] = {0, sizeof(key)};
    struct bench bench;
    (void)state;
    bench_open(&bench, 0);
    memset(key, 'k', sizeof(key));
    for (unsigned list = 0; list < 3; list++) {
        for (unsigned i = 0; i < 2; i++) {
            weigh(list, 1);
            kvp_slice wrong = kvp_slice_of(key, sizes[i]);
            *(list == 2 ? &plan.compares[0].key : &plan.ops[list][0].key) = wrong;
            check_plan_refused(&bench, i == 0 ? KVP_BAD_REQUEST : KVP_TOO_LARGE);
        }
        weigh(list, KVP_VALUE_SIZE_MAX + 1);
        check_plan_refused(&bench, KVP_TOO_LARGE);
        weigh(list, 1);
        *(list == 2 ? &plan.compares[0].kind : &plan.ops[list][0].kind) =
            list == 2 ? 7 : KVP_TXN_ADD + 1;
        check_plan_refused(&bench, KVP_BAD_REQUEST);
    }
    bench_close(&bench);
}

/* ---- numbers ---- */

static void test_add_counts_from_what_is_there_or_from_0(void **state)
{
    struct bench bench;
    struct kvp_txn_result result;
    (void)state;
    bench_open(&bench, 0);
    check_done(&bench, ask_put("n", "41"));
    op(THEN, KVP_TXN_ADD, "n", "1");
    op(THEN, KVP_TXN_ADD, "n", "-50");
    op(THEN, KVP_TXN_ADD, "new", "7");
    op(THEN, KVP_TXN_GET, "n", NULL);
    struct kvp_execution execution = run(&bench, true, 2, &result);
    assert_int_equal(execution.kind, KVP_EXECUTION_APPEND);
    check_got(&result, "42", 2, 1);
    check_got(&result, "-8", 2, 1);
    check_got(&result, "7", 2, 2);
    check_got(&result, "-8", 2, 1);
    check_end(&result, &execution);
    bench_settle(&bench);
    check_get(&bench, "n", "-8", 2, 1);
    check_get(&bench, "new", "7", 2, 2);
    bench_close(&bench);
}

static void test_a_sum_that_cannot_be_undoes_everything(void **state)
{
    static const struct {
        const char *there, *added;
        int status;
    } cases[] = {
        {"text", "1", KVP_BAD_REQUEST},
        {"", "1", KVP_BAD_REQUEST},
        {" 1", "1", KVP_BAD_REQUEST},
        {"1", "", KVP_BAD_REQUEST},
        {"1", "1.5", KVP_BAD_REQUEST},
        {"1", "-", KVP_BAD_REQUEST},
        {"00000000000000000000001", "1", KVP_BAD_REQUEST},
        {"9223372036854775807", "1", KVP_OVERFLOW},
        {"-9223372036854775808", "-1", KVP_OVERFLOW},
        {"1", "9223372036854775808", KVP_OVERFLOW},
        {"0", "-9223372036854775809", KVP_OVERFLOW},
    };
    struct bench bench;
    (void)state;
    bench_open(&bench, 0);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        check_done(&bench, ask_put("n", cases[i].there));
        bench_settle(&bench);
        op(THEN, KVP_TXN_PUT, "a", "written");
        op(THEN, KVP_TXN_ADD, "n", cases[i].added);
        check_refused(&bench, ask_txn(), cases[i].status, 0);
        check_get(&bench, "a", NULL, 0, 0);
        forget();
    }
    bench_close(&bench);
}

/* ---- answers over their limit ---- */

/* Four keys "0".."3" of the largest value. */
static void put_large(struct bench *bench)
{
    static const char *const keys[] = {"0", "1", "2", "3", "4"};
    for (unsigned i = 0; i < 5; i++) {
        struct kvp_request request = ask_put(keys[i], NULL);
        request.value = bytes('v', KVP_VALUE_SIZE_MAX);
        check_done(bench, request);
    }
    bench_settle(bench);
}

/* An answer that is too large refuses the whole: nothing of what it wrote stays. */
static void test_too_large_an_answer_undoes_everything(void **state)
{
    struct bench bench;
    (void)state;
    bench_open(&bench, 0);
    put_large(&bench);
    op(THEN, KVP_TXN_PUT, "a", "written");
    op(THEN, KVP_TXN_DELETE, "0", NULL);
    for (unsigned i = 0; i < 5; i++) {
        op(THEN, KVP_TXN_GET, "1", NULL);
    }
    check_refused(&bench, ask_txn(), KVP_TOO_LARGE, 0);
    check_done(&bench, ask_create("a", "x"));
    check_refused(&bench, ask_create("0", "x"), KVP_EXISTS, 1);
    forget();
    bench_close(&bench);
}

/* With a session it is executed all the same, with that outcome: a repeat hears it again. */
static void test_too_large_an_answer_is_kept_with_its_session(void **state)
{
    struct bench bench;
    (void)state;
    bench_open(&bench, 0);
    put_large(&bench);
    op(THEN, KVP_TXN_PUT, "a", "written");
    op(THEN, KVP_TXN_GET, "0", NULL);
    op(THEN, KVP_TXN_GET, "1", NULL);
    struct kvp_request request = with_session(ask_txn(), 7, 0, 1, 0);
    struct kvp_execution first = bench_run(&bench, &request);
    assert_int_equal(first.kind, KVP_EXECUTION_APPEND);
    assert_int_equal(first.status, KVP_TOO_LARGE);
    bench_settle(&bench);
    check_get(&bench, "a", NULL, 0, 0);
    struct kvp_execution again = bench_run(&bench, &request);
    assert_int_equal(again.kind, KVP_EXECUTION_ANSWER);
    assert_int_equal(again.status, KVP_TOO_LARGE);
    check_slice(kvp_buf_slice(&again.answer), kvp_buf_slice(&first.answer));
    execution_free(&first);
    execution_free(&again);
    forget();
    bench_close(&bench);
}

/* Whatever may be put may be got, in a transaction with a session, too. */
/* 8 KB of request must not read a gigabyte. */
static void test_what_a_transaction_reads_is_bounded(void **state)
{
    struct bench bench;
    struct kvp_request put = ask_put("large", NULL);
    (void)state;
    bench_open(&bench, 0);
    put.value = bytes('v', KVP_VALUE_SIZE_MAX);
    check_done(&bench, put);
    bench_settle(&bench);
    for (unsigned lists = 0; lists < 3; lists++) {
        for (unsigned i = 0; i < 40; i++) {
            if (lists == 0) {
                when(KVP_COMPARE_PRESENT, "large", 0, NULL);
            } else {
                op(THEN, lists == 1 ? KVP_TXN_DELETE : KVP_TXN_PUT, i % 2 ? "large" : "small", "x");
            }
        }
        when(KVP_COMPARE_PRESENT, "large", 0, NULL);
        struct kvp_request request = ask_txn();
        struct kvp_execution execution = bench_run(&bench, &request);
        /* Only the first delete or put finds the large value. */
        assert_int_equal(execution.status, lists == 0 ? KVP_TOO_LARGE : KVP_OK);
        execution_free(&execution);
        forget();
        put.value = bytes('v', KVP_VALUE_SIZE_MAX);
        struct kvp_execution again = bench_run(&bench, &put);
        execution_free(&again);
        bench_settle(&bench);
    }
    for (unsigned i = 0; i < 31; i++) {
        when(KVP_COMPARE_PRESENT, "large", 0, NULL);
    }
    struct kvp_request request = ask_txn();
    struct kvp_execution execution = bench_run(&bench, &request);
    assert_int_equal(execution.status, KVP_OK);
    execution_free(&execution);
    forget();
    bench_close(&bench);
}

static void test_the_largest_value_fits_an_answer(void **state)
{
    struct bench bench;
    struct kvp_txn_result result;
    (void)state;
    bench_open(&bench, 0);
    put_large(&bench);
    op(THEN, KVP_TXN_GET, "0", NULL);
    while (plan.counts[THEN] < KVP_TXN_OPS_MAX) {
        op(THEN, KVP_TXN_PUT, "a", "x");
    }
    struct kvp_request request = with_session(ask_txn(), 7, 0, 1, 0);
    struct kvp_execution execution = bench_run(&bench, &request);
    assert_int_equal(execution.status, KVP_OK);
    assert_int_equal(kvp_wire_read_txn(kvp_buf_slice(&execution.answer), &result), KVP_OK);
    execution_free(&execution);
    forget();
    bench_close(&bench);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_compares_of_a_present_key),
        cmocka_unit_test(test_compares_of_an_absent_key),
        cmocka_unit_test(test_all_compares_must_hold),
        cmocka_unit_test(test_operations_see_those_before_them),
        cmocka_unit_test(test_a_key_put_and_deleted_is_absent),
        cmocka_unit_test(test_the_list_not_chosen_does_nothing),
        cmocka_unit_test(test_compares_come_before_operations),
        cmocka_unit_test(test_one_that_changes_nothing_makes_no_entry),
        cmocka_unit_test(test_with_a_session_it_makes_one),
        cmocka_unit_test(test_lists_have_up_to_1024_elements),
        cmocka_unit_test(test_a_transaction_is_up_to_4_mib),
        cmocka_unit_test(test_elements_keep_the_limits_of_keys_and_values),
        cmocka_unit_test(test_add_counts_from_what_is_there_or_from_0),
        cmocka_unit_test(test_a_sum_that_cannot_be_undoes_everything),
        cmocka_unit_test(test_too_large_an_answer_undoes_everything),
        cmocka_unit_test(test_too_large_an_answer_is_kept_with_its_session),
        cmocka_unit_test(test_what_a_transaction_reads_is_bounded),
        cmocka_unit_test(test_the_largest_value_fits_an_answer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
