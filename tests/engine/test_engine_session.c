/* SPDX-License-Identifier: Apache-2.0 */
/* Sessions (rule R5): a request runs at most once, and its repeats hear its first answer. */
#include "tests/engine/engine_support.h"

#include "replication/engine/engine_state.h"

enum {
    CLIENT = 7,
};

static struct kvp_request first(struct kvp_request request)
{
    return with_session(request, CLIENT, 0, 1, 0);
}

/* The same again: nothing is executed, and the answer is that one. WAIT for `seq`; 0: at once. */
static void check_repeat(struct bench *bench, const struct kvp_request *request,
                         const struct kvp_execution *expected, uint64_t seq)
{
    struct kvp_execution again = bench_run(bench, request);
    assert_int_equal(again.kind, seq ? KVP_EXECUTION_WAIT : KVP_EXECUTION_ANSWER);
    assert_int_equal(again.wait_seq, seq);
    assert_int_equal(again.status, expected->status);
    check_slice(kvp_buf_slice(&again.answer), kvp_buf_slice(&expected->answer));
    execution_free(&again);
}

/* Every repeat at every stage of the entry's life gets what the first one got. */
static void check_repeats(const struct kvp_request *request, int status, size_t answer_min)
{
    struct bench bench;
    bench_open(&bench, 0);
    check_done(&bench, ask_put("there", "v"));
    check_done(&bench, ask_put("other", "v"));
    struct kvp_execution execution = bench_run(&bench, request);
    assert_int_equal(execution.kind, KVP_EXECUTION_APPEND);
    assert_int_equal(execution.status, status);
    assert_true(execution.answer.size >= answer_min);
    check_repeat(&bench, request, &execution, 3);
    bench_commit(&bench, 2);
    check_repeat(&bench, request, &execution, 3);
    check_done(&bench, ask_put("there", "later")); /* does not change the answer */
    check_done(&bench, ask_delete("other", 0));
    check_repeat(&bench, request, &execution, 3);
    bench_commit(&bench, 3);
    check_repeat(&bench, request, &execution, 0);
    bench_apply(&bench, 3);
    check_repeat(&bench, request, &execution, 0);
    bench_settle(&bench);
    check_repeat(&bench, request, &execution, 0);
    bench_restart(&bench);
    check_repeat(&bench, request, &execution, 0);
    assert_int_equal(bench.count, 5);
    execution_free(&execution);
    bench_close(&bench);
}

static void test_repeats_of_single_operations(void **state)
{
    const struct {
        struct kvp_request request;
        int status;
    } cases[] = {
        {ask_put("there", "w"), KVP_OK},        {ask_create("new", "w"), KVP_OK},
        {ask_create("there", "w"), KVP_EXISTS}, {ask_delete("there", 0), KVP_OK},
        {ask_delete("none", 0), KVP_NOT_FOUND}, {ask_delete("there", 9), KVP_VERSION_DIFFERS},
        {ask_cas("there", 1, "w"), KVP_OK},     {ask_cas("there", 2, "w"), KVP_VERSION_DIFFERS},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct kvp_request request = first(cases[i].request);
        check_repeats(&request, cases[i].status, 0);
    }
}

/* Answers small and large: the large ones are read from the store again. */
static void test_repeats_of_transactions(void **state)
{
    static const size_t sizes[] = {0, 400, 500, 600, 100000, KVP_VALUE_SIZE_MAX};
    (void)state;
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        struct kvp_txn_op ops[] = {
            {.kind = KVP_TXN_PUT, .key = TEXT("big"), .value = bytes('b', sizes[i])},
            {.kind = KVP_TXN_GET, .key = TEXT("big")},
            {.kind = KVP_TXN_DELETE, .key = TEXT("big")},
        };
        struct kvp_request request =
            first((struct kvp_request){.op = KVP_OP_TXN, .then_ops = ops, .then_count = 3});
        check_repeats(&request, KVP_OK, sizes[i]);
    }
}

/* Large answers are in memory only until the store has them; small ones stay. */
static void test_large_answers_do_not_stay_in_memory(void **state)
{
    struct bench bench;
    (void)state;
    bench_open(&bench, 0);
    for (uint16_t slot = 0; slot < 100; slot++) {
        size_t size = slot % 2 ? 10 : SESSION_ANSWER_KEPT;
        struct kvp_txn_op ops[] = {
            {.kind = KVP_TXN_PUT, .key = TEXT("a"), .value = bytes('b', size)},
            {.kind = KVP_TXN_GET, .key = TEXT("a")},
        };
        struct kvp_request request =
            with_session((struct kvp_request){.op = KVP_OP_TXN, .then_ops = ops, .then_count = 2},
                         CLIENT, slot, 1, 0);
        struct kvp_execution execution = bench_run(&bench, &request);
        execution_free(&execution);
    }
    for (uint64_t applied = 0; applied <= 100; applied += 25) {
        bench_apply(&bench, applied);
        assert_int_equal(bench.engine->large_count, 50 - (applied + 1) / 2);
        for (uint16_t slot = 0; slot < 100; slot++) {
            const struct session *session = session_find(&bench.engine->sessions, CLIENT, slot);
            assert_int_equal(session->stored, slot % 2 == 0 && slot < applied);
            assert_int_equal(session->answer.size == 0, session->stored);
        }
    }
    bench_close(&bench);
}

/* A create that failed must not run later, when the key has gone. */
static void test_a_late_copy_of_a_failed_update_does_not_run(void **state)
{
    struct bench bench;
    struct kvp_request create = first(ask_create("a", "second"));
    (void)state;
    bench_open(&bench, 0);
    check_done(&bench, ask_put("a", "first"));
    struct kvp_execution execution = bench_run(&bench, &create);
    assert_int_equal(execution.kind, KVP_EXECUTION_APPEND);
    assert_int_equal(execution.status, KVP_EXISTS);
    check_done(&bench, ask_delete("a", 0));
    check_repeat(&bench, &create, &execution, 2);
    bench_settle(&bench);
    bench_restart(&bench);
    check_repeat(&bench, &create, &execution, 0);
    check_get(&bench, "a", NULL, 0, 0);
    execution_free(&execution);
    bench_close(&bench);
}

static void test_numbers_rise_and_may_leave_gaps(void **state)
{
    struct bench bench;
    (void)state;
    bench_open(&bench, 0);
    check_done(&bench, with_session(ask_put("a", "5"), CLIENT, 0, 5, 0));
    for (int settled = 0; settled < 2; settled++) {
        check_refused(&bench, with_session(ask_put("a", "4"), CLIENT, 0, 4, 0), KVP_STALE_REQUEST,
                      0);
        bench_settle(&bench);
    }
    check_done(&bench, with_session(ask_put("a", "9"), CLIENT, 0, 9, 0));
    check_refused(&bench, with_session(ask_put("a", "5"), CLIENT, 0, 5, 0), KVP_STALE_REQUEST, 0);
    check_done(&bench, with_session(ask_put("a", "max"), CLIENT, 0, UINT64_MAX, 0));
    bench_settle(&bench);
    bench_restart(&bench);
    check_refused(&bench, with_session(ask_put("a", "9"), CLIENT, 0, 9, 0), KVP_STALE_REQUEST, 0);
    check_get(&bench, "a", "max", 3, 1);
    bench_close(&bench);
}

static void test_slots_and_clients_know_nothing_of_each_other(void **state)
{
    struct bench bench;
    (void)state;
    bench_open(&bench, 0);
    check_done(&bench, with_session(ask_put("a", "1"), CLIENT, 0, 5, 0));
    check_done(&bench, with_session(ask_put("a", "2"), CLIENT, 1, 5, 0));
    check_done(&bench,
               with_session(ask_put("a", "3"), CLIENT, SESSION_SLOTS_OF_CLIENT_MAX - 1, 1, 0));
    check_done(&bench, with_session(ask_put("a", "4"), CLIENT + 1, 0, 5, 0));
    check_done(&bench, with_session(ask_put("a", "5"), UINT64_MAX, 0, 1, 0));
    check_done(&bench, with_session(ask_put("a", "6"), CLIENT, 1, 6, 0));
    check_refused(&bench, with_session(ask_put("a", "x"), CLIENT, 1, 5, 0), KVP_STALE_REQUEST, 0);
    bench_settle(&bench);
    check_get(&bench, "a", "6", 6, 1);
    bench_close(&bench);
}

static void test_without_a_session_every_copy_runs(void **state)
{
    struct bench bench;
    (void)state;
    bench_open(&bench, 0);
    check_done(&bench, with_session(ask_put("a", "1"), 0, 0, 1, 0));
    check_done(&bench, with_session(ask_put("a", "2"), 0, 0, 1, 0));
    bench_settle(&bench);
    check_get(&bench, "a", "2", 2, 1);
    bench_close(&bench);
}

/* ---- the bound ---- */

/* Fills a table of three: clients 1, 2, 3 at seq 1, 2, 3. */
static void fill(struct bench *bench)
{
    bench_open(bench, 3);
    for (uint64_t client = 1; client <= 3; client++) {
        check_done(bench, with_session(ask_put("a", "x"), client, 0, 1, 0));
    }
}

static void check_expired(struct bench *bench, uint64_t client, uint64_t session_start)
{
    check_refused(bench, with_session(ask_put("a", "late"), client, 0, 1, session_start),
                  KVP_SESSION_EXPIRED, 0);
    check_refused(bench, with_session(ask_put("a", "late"), client, 0, 2, session_start),
                  KVP_SESSION_EXPIRED, 0);
}

static void test_a_dropped_session_has_expired(void **state)
{
    struct bench bench;
    (void)state;
    fill(&bench);
    check_done(&bench, with_session(ask_put("a", "x"), 4, 0, 1, 3)); /* drops client 1 */
    check_expired(&bench, 1, 0);
    check_expired(&bench, 9, 0); /* never was: cannot be told from one dropped */
    check_done(&bench, with_session(ask_put("a", "x"), 9, 0, 1, 1)); /* at the floor; drops 2 */
    check_expired(&bench, 2, 1);
    bench_settle(&bench);
    bench_restart(&bench);
    check_expired(&bench, 1, 0);
    check_expired(&bench, 2, 1);
    check_refused(&bench, with_session(ask_put("a", "x"), 3, 0, 0, 0), KVP_STALE_REQUEST, 0);
    check_done(&bench, with_session(ask_put("a", "x"), 3, 0, 2, 0)); /* old, but known */
    bench_close(&bench);
}

/* A repeat is no use: it is not in the log. */
static void test_the_longest_unused_goes_first(void **state)
{
    struct bench bench;
    (void)state;
    fill(&bench);
    check_done(&bench, with_session(ask_put("a", "x"), 1, 0, 2, 0)); /* seq 4: 2 is the oldest */
    struct kvp_request repeat = with_session(ask_put("a", "x"), 2, 0, 1, 0);
    struct kvp_execution execution = bench_run(&bench, &repeat);
    assert_int_equal(execution.kind, KVP_EXECUTION_WAIT);
    execution_free(&execution);
    bench_settle(&bench);
    bench_restart(&bench); /* the order is found again in the store */
    check_done(&bench, with_session(ask_put("a", "x"), 4, 0, 1, 4));
    check_expired(&bench, 2, 0);
    check_done(&bench, with_session(ask_put("a", "x"), 5, 0, 1, 4));
    check_expired(&bench, 3, 2);
    check_done(&bench, with_session(ask_put("a", "x"), 1, 0, 3, 0));
    bench_close(&bench);
}

/* What the state holds of sessions: records, and floors. */
static void count_state(struct bench *bench, size_t *sessions, uint64_t *floor)
{
    static const uint8_t from[] = {KVP_PREFIX_SESSION}, to[] = {KVP_PREFIX_SESSION + 1};
    struct kvp_state_view *view = kvp_storage_snapshot(bench->shelf.storage);
    kvp_slice key, value;
    kvp_buf raw = {0};
    *sessions = 0;
    assert_non_null(view);
    assert_int_equal(kvp_state_view_seek(view, kvp_slice_of(from, 1), kvp_slice_of(to, 1)), KVP_OK);
    for (; kvp_state_view_read(view, &key, &value) == KVP_OK; kvp_state_view_next(view)) {
        ++*sessions;
    }
    kvp_state_view_close(view);
    assert_int_equal(kvp_storage_get(bench->shelf.storage, TEXT("E"), &raw), KVP_OK);
    assert_int_equal(raw.size, 8);
    *floor = kvp_get_u64(raw.data);
    kvp_buf_free(&raw);
}

/* ---- a new primary ---- */

/* It knows them all before it has read of any. */
static void test_a_new_primary_knows_every_session_at_once(void **state)
{
    enum {
        CLIENTS = 500,
    };
    struct bench bench;
    (void)state;
    bench_open(&bench, 0);
    for (uint64_t i = 1; i <= CLIENTS; i++) {
        check_done(&bench, with_session(ask_put("a", "x"), i, 0, 5, 0));
    }
    bench_settle(&bench);
    bench_promote(&bench);
    assert_int_equal(bench.engine->sessions.count + bench.engine->sessions.cold_count, 0);
    struct kvp_request third = with_session(ask_put("a", "x"), 3, 0, 5, 0);
    struct kvp_execution again = bench_run(&bench, &third);
    assert_int_equal(again.kind, KVP_EXECUTION_ANSWER);
    assert_int_equal(again.status, KVP_OK);
    execution_free(&again);
    check_refused(&bench, with_session(ask_put("a", "y"), 4, 0, 4, 0), KVP_STALE_REQUEST, 0);
    for (uint64_t i = 1; i <= CLIENTS; i += 7) {
        check_done(&bench, with_session(ask_put("a", "y"), i, 0, 6, 0));
    }
    bench_load(&bench); /* those that were used meanwhile count once */
    assert_int_equal(bench.engine->sessions.count, (CLIENTS + 6) / 7);
    assert_int_equal(bench.engine->sessions.count + bench.engine->sessions.cold_count, CLIENTS);
    bench_close(&bench);
}

/* A slot that is used while the ages are being read counts once, whichever came first. */
static void test_a_session_used_while_ages_are_read_counts_once(void **state)
{
    struct bench bench;
    (void)state;
    bench_open(&bench, 0);
    for (uint64_t i = 1; i <= 20; i++) {
        check_done(&bench, with_session(ask_put("a", "x"), i, 0, 1, 0));
    }
    bench_settle(&bench);
    bench_promote(&bench);
    assert_int_equal(session_table_load(&bench.engine->sessions, 10), KVP_OK);
    check_done(&bench, with_session(ask_put("a", "x"), 3, 0, 2, 0));
    check_done(&bench, with_session(ask_put("a", "x"), 10, 0, 2, 0));
    check_done(&bench, with_session(ask_put("a", "x"), 11, 0, 2, 0));
    check_done(&bench, with_session(ask_put("a", "x"), 30, 0, 1, 20));
    bench_load(&bench);
    assert_int_equal(bench.engine->sessions.count, 4);
    assert_int_equal(bench.engine->sessions.cold_count, 17);
    bench_close(&bench);
}

/* Slots begin while the ages are read; afterwards there are as few again as there may be. */
static void test_a_table_that_grew_while_ages_were_read_shrinks(void **state)
{
    struct bench bench;
    size_t sessions;
    uint64_t floor;
    (void)state;
    bench_open(&bench, 32);
    for (uint64_t i = 1; i <= 32; i++) {
        check_done(&bench, with_session(ask_put("a", "x"), i, 0, 1, 0));
    }
    bench_settle(&bench);
    bench_promote(&bench);
    for (uint64_t i = 101; i <= 105; i++) {
        check_done(&bench, with_session(ask_put("a", "x"), i, 0, 1, 32));
    }
    check_refused(&bench, with_session(ask_put("a", "x"), 106, 0, 1, 32), KVP_BUSY, 0);
    bench_load(&bench);
    for (uint64_t i = 201; i <= 206; i++) {
        check_done(&bench, with_session(ask_put("a", "x"), i, 0, 1, 32));
    }
    bench_settle(&bench);
    count_state(&bench, &sessions, &floor);
    assert_int_equal(sessions, 32);
    assert_int_equal(floor, 11);
    bench_close(&bench);
}

/* Its drop, and what it did before that, may not have reached the store yet. */
static void test_the_old_record_of_a_dropped_session_is_not_believed(void **state)
{
    struct bench bench;
    (void)state;
    bench_open(&bench, 2);
    check_done(&bench, with_session(ask_put("a", "x"), 1, 0, 1, 0));
    bench_settle(&bench);
    check_done(&bench, with_session(ask_put("a", "x"), 1, 0, 2, 0));
    check_done(&bench, with_session(ask_put("a", "x"), 2, 0, 1, 0));
    check_done(&bench, with_session(ask_put("a", "x"), 3, 0, 1, 0)); /* drops client 1 */
    check_refused(&bench, with_session(ask_put("a", "x"), 1, 0, 2, 0), KVP_SESSION_EXPIRED, 0);
    bench_settle(&bench);
    check_refused(&bench, with_session(ask_put("a", "x"), 1, 0, 2, 0), KVP_SESSION_EXPIRED, 0);
    bench_close(&bench);
}

/* ---- who is not driven out ---- */

static void check_busy(struct bench *bench, uint64_t client)
{
    check_refused(bench, with_session(ask_put("a", "x"), client, 0, 1, 100), KVP_BUSY, 0);
}

static void test_new_clients_do_not_drive_out_sessions_in_use(void **state)
{
    const struct kvp_engine_config config = {.sessions_max = 10, .session_idle_ms = 1000};
    struct bench bench;
    (void)state;
    bench_open_with(&bench, &config);
    for (uint64_t i = 1; i <= 10; i++) {
        check_done(&bench, with_session(ask_put("a", "x"), i, 0, 1, 0));
    }
    for (uint64_t i = 1000; i < 1100; i++) {
        check_busy(&bench, i);
    }
    check_done(&bench, with_session(ask_put("a", "x"), 1, 0, 2, 0)); /* known: goes on */
    bench_settle(&bench);
    bench_restart(&bench);
    check_busy(&bench, 1000); /* nor by a new primary */
    bench.now_us += 1000000;
    check_done(&bench, with_session(ask_put("a", "x"), 1, 0, 3, 0)); /* all others are idle */
    for (uint64_t i = 2000; i < 2009; i++) {
        check_done(&bench, with_session(ask_put("a", "x"), i, 0, 1, 100));
    }
    check_busy(&bench, 2009);
    check_done(&bench, with_session(ask_put("a", "x"), 1, 0, 4, 0));
    check_refused(&bench, with_session(ask_put("a", "x"), 2, 0, 1, 0), KVP_SESSION_EXPIRED, 0);
    bench_close(&bench);
}

/* What is idle is replicated: a new primary need not wait for it. */
static void test_a_new_primary_knows_who_is_idle(void **state)
{
    const struct kvp_engine_config config = {.sessions_max = 10, .session_idle_ms = 1000};
    struct bench bench;
    (void)state;
    bench_open_with(&bench, &config);
    for (uint64_t i = 1; i <= 9; i++) {
        check_done(&bench, with_session(ask_put("a", "x"), i, 0, 1, 0));
    }
    bench.now_us += 1000000;
    check_done(&bench, with_session(ask_put("a", "x"), 10, 0, 1, 0));
    bench_settle(&bench);
    bench_restart(&bench);
    for (uint64_t i = 11; i < 20; i++) {
        check_done(&bench, with_session(ask_put("a", "x"), i, 0, 1, 100));
    }
    check_busy(&bench, 20);
    check_done(&bench, with_session(ask_put("a", "x"), 10, 0, 2, 0));
    bench_close(&bench);
}

static void test_a_client_has_a_bounded_number_of_slots(void **state)
{
    struct bench bench;
    (void)state;
    bench_open(&bench, 0);
    check_done(&bench, with_session(ask_put("a", "x"), 1, SESSION_SLOTS_OF_CLIENT_MAX - 1, 1, 0));
    check_refused(&bench, with_session(ask_put("a", "x"), 1, SESSION_SLOTS_OF_CLIENT_MAX, 1, 0),
                  KVP_TOO_LARGE, 0);
    check_refused(&bench, with_session(ask_put("a", "x"), 1, UINT16_MAX, 1, 0), KVP_TOO_LARGE, 0);
    bench_close(&bench);
}

/* ---- large answers ---- */

static struct kvp_request ask_large(uint64_t client, uint64_t number)
{
    static struct kvp_txn_op ops[1];
    ops[0] = (struct kvp_txn_op){.kind = KVP_TXN_GET, .key = TEXT("large")};
    return with_session((struct kvp_request){.op = KVP_OP_TXN, .then_ops = ops, .then_count = 1},
                        client, 0, number, 0);
}

static size_t stored_answers(struct bench *bench)
{
    static const uint8_t from[] = {KVP_PREFIX_SESSION}, to[] = {KVP_PREFIX_SESSION + 1};
    struct kvp_state_view *view = kvp_storage_snapshot(bench->shelf.storage);
    kvp_slice key, value;
    size_t size = 0;
    assert_non_null(view);
    assert_int_equal(kvp_state_view_seek(view, kvp_slice_of(from, 1), kvp_slice_of(to, 1)), KVP_OK);
    for (; kvp_state_view_read(view, &key, &value) == KVP_OK; kvp_state_view_next(view)) {
        size += value.size;
    }
    kvp_state_view_close(view);
    return size;
}

static void check_large(struct bench *bench, uint64_t client, uint64_t number, int expected)
{
    struct kvp_request request = ask_large(client, number);
    struct kvp_execution execution = bench_run(bench, &request);
    assert_int_equal(execution.status, expected);
    assert_int_equal(execution.kind == KVP_EXECUTION_APPEND, expected == KVP_OK);
    execution_free(&execution);
}

/* Small requests with large answers: what is kept of them has a bound in bytes. */
static void test_stored_answers_are_bounded_in_bytes(void **state)
{
    const struct kvp_engine_config config = {.session_answers_max = 100000,
                                             .session_idle_ms = 1000};
    struct bench bench;
    (void)state;
    bench_open_with(&bench, &config);
    struct kvp_request put = ask_put("large", "");
    put.value = bytes('l', 10000);
    check_done(&bench, put);
    for (uint64_t i = 1; i <= 9; i++) {
        check_large(&bench, i, 1, KVP_OK);
    }
    for (uint64_t i = 10; i <= 100; i++) {
        check_large(&bench, i, 1, KVP_BUSY); /* the others may still be repeated */
    }
    check_done(&bench, with_session(ask_put("a", "x"), 200, 0, 1, 0)); /* small ones have room */
    check_large(&bench, 1, 2, KVP_OK);                                 /* in the place of its own */
    bench.now_us += 1000000;
    for (int round = 0; round < 2; round++) {
        for (uint64_t i = 101; i <= 109; i++) {
            check_large(&bench, i, 1 + (uint64_t)round, KVP_OK);
        }
        bench_settle(&bench);
        assert_true(stored_answers(&bench) < 100000);
        bench_restart(&bench);
        check_large(&bench, 300, 1, KVP_BUSY); /* the next primary counts the same */
    }
    check_refused(&bench, ask_large(1, 2), KVP_SESSION_EXPIRED, 0);  /* forgotten, */
    check_done(&bench, with_session(ask_put("a", "x"), 1, 0, 3, 0)); /* but not its number */
    bench_close(&bench);
}

/* A slot takes the place of its own answer. */
static void test_the_account_of_large_answers_is_right(void **state)
{
    const struct kvp_engine_config config = {
        .sessions_max = 8, .session_answers_max = 50000, .session_idle_ms = 1};
    struct bench bench;
    uint64_t random = 42;
    (void)state;
    bench_open_with(&bench, &config);
    struct kvp_request put = ask_put("large", "");
    put.value = bytes('l', 9000);
    check_done(&bench, put);
    for (uint64_t number = 1; number < 2000; number++) {
        random = random * 6364136223846793005u + 1442695040888963407u;
        uint64_t client = 1 + (random >> 33) % 12, session_start = bench.count;
        struct kvp_request request = (random >> 50) % 2
                                         ? ask_large(client, number)
                                         : with_session(ask_put("a", "x"), client, 0, number, 0);
        request.session.session_start = session_start;
        struct kvp_execution execution = bench_run(&bench, &request);
        assert_int_equal(execution.kind, KVP_EXECUTION_APPEND);
        execution_free(&execution);
        if (number % 10 == 0) {
            bench_settle(&bench);
            const struct session_table *table = &bench.engine->sessions;
            size_t stored = stored_answers(&bench);
            size_t around = (table->count + table->cold_count) * 40;
            assert_true(table->large_size <= stored && stored <= table->large_size + around);
            assert_true(table->large_size <= 50000);
        }
        if (number % 70 == 0) {
            bench_restart(&bench);
        }
    }
    bench_close(&bench);
}

static void test_the_table_is_bounded(void **state)
{
    enum {
        MAX = 50,
        CLIENTS = 2000,
    };
    struct bench bench;
    size_t sessions;
    uint64_t floor;
    (void)state;
    bench_open(&bench, MAX);
    for (uint64_t i = 1; i <= CLIENTS; i++) {
        check_done(&bench, with_session(ask_put("a", "x"), i * 77, (uint16_t)i, 1, i - 1));
        if (i % 300 == 0) {
            bench_settle(&bench);
            bench_restart(&bench);
        }
    }
    bench_settle(&bench);
    count_state(&bench, &sessions, &floor);
    assert_int_equal(sessions, MAX);
    assert_int_equal(floor, CLIENTS - MAX);
    for (uint64_t i = CLIENTS; i > CLIENTS - MAX; i--) {
        check_done(&bench, with_session(ask_put("a", "x"), i * 77, (uint16_t)i, 2, i - 1));
    }
    for (uint64_t i = CLIENTS - MAX; i > CLIENTS - 2 * MAX; i--) {
        check_refused(&bench, with_session(ask_put("a", "x"), i * 77, (uint16_t)i, 1, i - 1),
                      KVP_SESSION_EXPIRED, 0);
    }
    bench_close(&bench);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_repeats_of_single_operations),
        cmocka_unit_test(test_repeats_of_transactions),
        cmocka_unit_test(test_large_answers_do_not_stay_in_memory),
        cmocka_unit_test(test_a_late_copy_of_a_failed_update_does_not_run),
        cmocka_unit_test(test_numbers_rise_and_may_leave_gaps),
        cmocka_unit_test(test_slots_and_clients_know_nothing_of_each_other),
        cmocka_unit_test(test_without_a_session_every_copy_runs),
        cmocka_unit_test(test_a_dropped_session_has_expired),
        cmocka_unit_test(test_the_longest_unused_goes_first),
        cmocka_unit_test(test_a_new_primary_knows_every_session_at_once),
        cmocka_unit_test(test_a_session_used_while_ages_are_read_counts_once),
        cmocka_unit_test(test_a_table_that_grew_while_ages_were_read_shrinks),
        cmocka_unit_test(test_the_old_record_of_a_dropped_session_is_not_believed),
        cmocka_unit_test(test_new_clients_do_not_drive_out_sessions_in_use),
        cmocka_unit_test(test_a_new_primary_knows_who_is_idle),
        cmocka_unit_test(test_a_client_has_a_bounded_number_of_slots),
        cmocka_unit_test(test_stored_answers_are_bounded_in_bytes),
        cmocka_unit_test(test_the_account_of_large_answers_is_right),
        cmocka_unit_test(test_the_table_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
