/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory runs out at every single allocation in turn: the engine says so and has changed nothing,
 * and the request then does what it would have done. The linker replaces allocation (--wrap).
 */
#include "tests/engine/engine_support.h"

#include "replication/engine/engine_state.h"

#include <stdlib.h>
#include <string.h>

static long allocations_left = -1; /* -1: no end */
static bool once;                  /* one is refused, not all that follow */

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *bytes, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *bytes, size_t size);

static bool refuse(void)
{
    if (allocations_left > 0) {
        allocations_left--;
        return false;
    }
    bool refused = allocations_left == 0;
    allocations_left = refused && once ? -1 : allocations_left;
    return refused;
}

void *__wrap_malloc(size_t size)
{
    return refuse() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
    return refuse() ? NULL : __real_calloc(count, size);
}

void *__wrap_realloc(void *bytes, size_t size)
{
    return refuse() ? NULL : __real_realloc(bytes, size);
}

/* ---- what must not change ---- */

struct picture {
    uint64_t executed, committed, floor;
    const struct overlay_layer *newest;
    size_t keys, sessions, large;
    const struct session *oldest, *youngest;
    uint64_t youngest_number;
};

static struct picture look(const struct kvp_engine *engine)
{
    struct picture picture;
    memset(&picture, 0, sizeof(picture)); /* compared as bytes */
    picture.executed = engine->executed;
    picture.committed = engine->committed;
    picture.floor = engine->sessions.floor;
    picture.newest = engine->overlay.newest;
    picture.keys = engine->overlay.count;
    picture.sessions = engine->sessions.count;
    picture.large = engine->large_count;
    picture.oldest = engine->sessions.oldest;
    picture.youngest = engine->sessions.newest;
    picture.youngest_number = engine->sessions.newest->number;
    return picture;
}

static bool equal_slices(kvp_slice a, kvp_slice b)
{
    return kvp_slice_compare(a, b) == 0;
}

/* Executes with too little memory until it is enough; returns how often it was not. */
static long starve(struct kvp_engine *engine, const struct kvp_request *request, uint64_t seq,
                   struct kvp_execution *execution)
{
    struct picture before = look(engine);
    for (long limit = 0;; limit++) {
        memset(execution, 0, sizeof(*execution));
        allocations_left = limit;
        kvp_status status = kvp_engine_execute(engine, request, seq, execution);
        allocations_left = -1;
        if (status == KVP_OK) {
            return limit;
        }
        struct picture after = look(engine);
        assert_int_equal(status, KVP_NO_MEMORY);
        assert_memory_equal(&after, &before, sizeof(after));
        assert_null(execution->answer.data);
        assert_null(execution->writeset.data);
    }
}

/* A full table of two sessions, something in the store, something pending. */
static void prepare(struct bench *bench)
{
    bench_open(bench, 2);
    check_done(bench, with_session(ask_put("stored", "s"), 1, 0, 1, 0));
    check_done(bench, ask_put("both", "s"));
    bench_settle(bench);
    check_done(bench, with_session(ask_put("pending", "p"), 2, 0, 1, 0));
    check_done(bench, ask_put("both", "p"));
}

static long check_starved_so(const struct kvp_request *request)
{
    struct bench starved, fed;
    struct kvp_execution execution;
    prepare(&starved);
    prepare(&fed);
    /* A capacity kept from earlier calls would hide an allocation. */
    kvp_buf_free(&starved.engine->scratch);
    kvp_buf_free(&starved.engine->kept);
    overlay_free_spares(&starved.engine->overlay);
    long failures = starve(starved.engine, request, bench_next(&starved), &execution);
    struct kvp_execution expected = bench_run(&fed, request);
    assert_int_equal(execution.kind, expected.kind);
    assert_int_equal(execution.status, expected.status);
    assert_int_equal(execution.wait_seq, expected.wait_seq);
    assert_true(equal_slices(kvp_buf_slice(&execution.answer), kvp_buf_slice(&expected.answer)));
    assert_true(
        equal_slices(kvp_buf_slice(&execution.writeset), kvp_buf_slice(&expected.writeset)));
    execution_free(&execution);
    execution_free(&expected);
    bench_close(&starved);
    bench_close(&fed);
    return failures;
}

/* Memory that ends, and memory that is short for a moment only. */
static long check_starved(const struct kvp_request *request)
{
    once = true;
    long failures = check_starved_so(request);
    once = false;
    assert_int_equal(check_starved_so(request), failures);
    return failures;
}

/* ---- requests ---- */

static void test_single_operations(void **state)
{
    const struct kvp_request requests[] = {
        ask_put("new", "v"),     ask_put("stored", "v"),    ask_put("pending", "v"),
        ask_create("new", "v"),  ask_create("stored", "v"), ask_create("pending", "v"),
        ask_delete("both", 0),   ask_delete("none", 1),     ask_cas("both", 4, "v"),
        ask_cas("both", 2, "v"), ask_delete("stored", 0),
    };
    (void)state;
    for (size_t i = 0; i < sizeof(requests) / sizeof(requests[0]); i++) {
        struct kvp_request known = with_session(requests[i], 2, 0, 2, 0);
        struct kvp_request drops = with_session(requests[i], 3, 0, 1, 4);
        assert_true(check_starved(&requests[i]) > 1);
        assert_true(check_starved(&known) > 3);
        assert_true(check_starved(&drops) > 3);
    }
}

static void test_answers_of_sessions(void **state)
{
    struct kvp_request repeat = with_session(ask_put("pending", "p"), 2, 0, 1, 0);
    struct kvp_request wrong = ask_put("", "v");
    (void)state;
    assert_true(check_starved(&repeat) > 0);
    assert_true(check_starved(&wrong) > 0);
}

static void test_transactions(void **state)
{
    struct kvp_txn_op ops[] = {
        {.kind = KVP_TXN_GET, .key = TEXT("both")},
        {.kind = KVP_TXN_PUT, .key = TEXT("both"), .value = TEXT("t")},
        {.kind = KVP_TXN_PUT, .key = TEXT("new"), .value = bytes('n', 2000)},
        {.kind = KVP_TXN_DELETE, .key = TEXT("stored")},
        {.kind = KVP_TXN_GET, .key = TEXT("new")},
    };
    struct kvp_compare compare = {.kind = KVP_COMPARE_PRESENT, .key = TEXT("stored")};
    struct kvp_request request = {.op = KVP_OP_TXN,
                                  .compares = &compare,
                                  .compare_count = 1,
                                  .then_ops = ops,
                                  .then_count = sizeof(ops) / sizeof(ops[0])};
    struct kvp_request drops = with_session(request, 3, 0, 1, 4);
    (void)state;
    assert_true(check_starved(&request) > 5);
    assert_true(check_starved(&drops) > 5);
}

/* The refusal takes back what was written, for which no memory may be needed. */
static void test_a_transaction_with_too_large_an_answer(void **state)
{
    struct kvp_txn_op ops[] = {
        {.kind = KVP_TXN_PUT, .key = TEXT("both"), .value = bytes('t', KVP_VALUE_SIZE_MAX)},
        {.kind = KVP_TXN_GET, .key = TEXT("both")},
        {.kind = KVP_TXN_GET, .key = TEXT("both")},
    };
    struct kvp_request request = {.op = KVP_OP_TXN, .then_ops = ops, .then_count = 3};
    struct kvp_request drops = with_session(request, 3, 0, 1, 4);
    (void)state;
    assert_true(check_starved(&drops) > 5);
}

/* ---- opening and starting ---- */

static void test_opening(void **state)
{
    struct kvp_engine_config config = {.sessions_max = 2};
    struct kvp_engine *engine = NULL;
    kvp_status status = KVP_NO_MEMORY;
    long limit = 0;
    (void)state;
    for (; status != KVP_OK; limit++) {
        allocations_left = limit;
        status = kvp_engine_open(&config, &engine);
        allocations_left = -1;
        assert_true(status == KVP_OK || (status == KVP_NO_MEMORY && engine == NULL));
    }
    assert_true(limit > 3);
    kvp_engine_close(engine);
}

static void check_starting(struct bench *bench)
{
    kvp_status status = KVP_NO_MEMORY;
    kvp_engine_reset(bench->engine);
    for (long limit = 0; status != KVP_OK; limit++) {
        allocations_left = limit;
        status = kvp_engine_start(bench->engine, bench->shelf.storage, bench->count);
        allocations_left = -1;
        assert_true(status == KVP_OK || status == KVP_NO_MEMORY);
        assert_int_equal(bench->engine->sessions.loading, status == KVP_OK);
    }
    status = KVP_NO_MEMORY;
    for (long limit = 0; bench->engine->sessions.loading; limit++) {
        allocations_left = limit;
        status = session_table_load(&bench->engine->sessions, 10);
        allocations_left = -1;
        assert_true(status == KVP_OK || status == KVP_NO_MEMORY);
    }
    assert_int_equal(bench->engine->sessions.cold_count, 2); /* none was left out */
}

static void test_starting_and_reading(void **state)
{
    struct bench bench;
    struct kvp_record_versions versions;
    kvp_buf value = {0};
    kvp_status status = KVP_NO_MEMORY;
    (void)state;
    prepare(&bench);
    bench_settle(&bench);
    once = true;
    check_starting(&bench);
    once = false;
    check_starting(&bench);
    for (long limit = 0; status != KVP_OK; limit++) {
        allocations_left = limit;
        status = kvp_engine_get(bench.engine, TEXT("both"), &value, &versions);
        allocations_left = -1;
        assert_true(status == KVP_OK || status == KVP_NO_MEMORY);
        assert_int_equal(value.size, status == KVP_OK ? 1 : 0);
    }
    kvp_buf_free(&value);
    bench_close(&bench);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_single_operations),
        cmocka_unit_test(test_answers_of_sessions),
        cmocka_unit_test(test_transactions),
        cmocka_unit_test(test_a_transaction_with_too_large_an_answer),
        cmocka_unit_test(test_opening),
        cmocka_unit_test(test_starting_and_reading),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
