/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Thousands of random requests against the oracle. Two engines get the same requests, but see their
 * commits, writes and restarts at other times: both must answer as the oracle does, with the same
 * write sets; and a store that only gets the write sets must come to the same state.
 */
#include "tests/engine/oracle.h"

#include <stdlib.h>
#include <string.h>

enum {
    REQUESTS = 4000,
    SESSION_SLOTS = 12, /* twice as many as the table remembers */
    LAG_MAX = 60,
    VALUE_MAX = 2000,
    FILLS = 26,
};

struct session_slot {
    struct kvp_session_id id; /* of its last request */
    struct step last;
};

struct world {
    uint64_t random;
    struct bench benches[2];
    struct shelf follower;
    struct oracle oracle;
    struct session_slot session_slots[SESSION_SLOTS];
    unsigned executed, repeated, expired, stale, failed; /* so that none of them is left out */
};

/* xorshift64* (Vigna 2014) */
static uint64_t draw(struct world *world, uint64_t below)
{
    world->random ^= world->random >> 12;
    world->random ^= world->random << 25;
    world->random ^= world->random >> 27;
    return (world->random * 0x2545f4914f6cdd1du >> 16) % below;
}

/* ---- requests ---- */

static kvp_slice some_number(struct world *world)
{
    static const char *const numbers[] = {
        "1", "-1", "41", "4611686018427387904", "-9223372036854775808", "1x"};
    return text(numbers[draw(world, sizeof(numbers) / sizeof(numbers[0]))]);
}

static kvp_slice some_value(struct world *world)
{
    static char patterns[FILLS][VALUE_MAX];
    char *pattern = patterns[draw(world, FILLS)];
    if (draw(world, 3) == 0) {
        return some_number(world);
    }
    memset(pattern, 'a' + (int)((pattern - patterns[0]) / VALUE_MAX), VALUE_MAX);
    return kvp_slice_of(pattern, draw(world, draw(world, 8) == 0 ? VALUE_MAX : 12));
}

/* Mostly the key's version as it is, else one near it or none. */
static uint64_t some_version(struct world *world, kvp_slice key)
{
    uint64_t version = 0;
    for (unsigned i = 0; i < ORACLE_KEYS; i++) {
        if (kvp_slice_compare(oracle_key(i), key) == 0) {
            version = oracle_at(&world->oracle, i, UINT64_MAX).modify;
        }
    }
    switch (draw(world, 6)) {
    case 0:
        return 0;
    case 1:
        return version + 1;
    case 2:
        return version > 0 ? version - 1 : 0;
    default:
        return version;
    }
}

static uint32_t some_ops(struct world *world, struct kvp_txn_op *ops)
{
    uint32_t count = (uint32_t)draw(world, ORACLE_OPS + 1);
    for (uint32_t i = 0; i < count; i++) {
        ops[i].kind = (uint8_t)draw(world, KVP_TXN_ADD + 1);
        ops[i].key = oracle_key((unsigned)draw(world, ORACLE_KEYS));
        ops[i].value = ops[i].kind == KVP_TXN_ADD   ? some_number(world)
                       : ops[i].kind == KVP_TXN_PUT ? some_value(world)
                                                    : (kvp_slice){0};
    }
    return count;
}

static void make_txn(struct world *world, struct step *step)
{
    struct kvp_request *request = &step->request;
    request->compare_count = (uint32_t)draw(world, 3);
    for (uint32_t i = 0; i < request->compare_count; i++) {
        struct kvp_compare *compare = &step->compares[i];
        compare->kind = (uint8_t)draw(world, KVP_COMPARE_VALUE_DIFFERS + 1);
        compare->key = oracle_key((unsigned)draw(world, ORACLE_KEYS));
        compare->version = some_version(world, compare->key);
        compare->value = some_value(world);
    }
    request->then_count = some_ops(world, step->then_ops);
    request->else_count = some_ops(world, step->else_ops);
}

static void make_request(struct world *world, struct step *step)
{
    static const unsigned ops[] = {KVP_OP_PUT, KVP_OP_CREATE, KVP_OP_DELETE,
                                   KVP_OP_CAS, KVP_OP_TXN,    KVP_OP_TXN};
    memset(step, 0, sizeof(*step));
    step->request.op = ops[draw(world, sizeof(ops) / sizeof(ops[0]))];
    if (step->request.op == KVP_OP_TXN) {
        make_txn(world, step);
        return;
    }
    step->request.key = oracle_key((unsigned)draw(world, ORACLE_KEYS));
    step->request.version = some_version(world, step->request.key);
    if (step->request.op != KVP_OP_DELETE) {
        step->request.value = some_value(world);
    }
}

/* Mostly the next one of a session slot; sometimes a repeat, an older number, or a session slot
 * used anew. */
static void choose(struct world *world, struct step *step)
{
    struct session_slot *session_slot =
        &world->session_slots[draw(world, 1 + draw(world, SESSION_SLOTS))]; /* some more often */
    make_request(world, step);
    if (draw(world, 3) == 0) {
        return; /* no session */
    }
    if (session_slot->id.client == 0 || draw(world, 20) == 0) {
        session_slot->id = (struct kvp_session_id){.client = 1 + draw(world, SESSION_SLOTS / 2),
                                                   .slot = (uint16_t)draw(world, 2),
                                                   .number = 1 + draw(world, 100),
                                                   .session_start = world->benches[0].committed};
    } else if (draw(world, 4) == 0 && session_slot->last.request.op != 0) {
        *step = session_slot->last;
        return;
    } else {
        session_slot->id.number += draw(world, 8) == 0 ? draw(world, 10) : 1;
    }
    step->request.session = session_slot->id;
    session_slot->last = *step;
}

/* ---- running ---- */

static void check_kind(const struct bench *bench, const struct kvp_execution *execution,
                       const struct expected *expected)
{
    assert_int_equal(execution->kind == KVP_EXECUTION_APPEND, expected->appends);
    if (expected->refused) {
        assert_int_equal(execution->kind, KVP_EXECUTION_ANSWER);
    }
    if (bench->committed == bench->count) {
        assert_int_not_equal(execution->kind, KVP_EXECUTION_WAIT);
    }
}

static void count(struct world *world, const struct expected *expected, bool again)
{
    world->executed += expected->appends;
    world->repeated += again && !expected->refused;
    world->expired += expected->refused && expected->status == KVP_SESSION_EXPIRED;
    world->stale += expected->refused && expected->status == KVP_STALE_REQUEST;
    world->failed += !expected->refused && expected->status != KVP_OK;
}

static void run(struct world *world, struct step *step)
{
    struct kvp_request *request = &step->request;
    request->compares = step->compares;
    request->then_ops = step->then_ops;
    request->else_ops = step->else_ops;
    uint64_t before = world->oracle.seq;
    struct expected expected = oracle_run(&world->oracle, step);
    for (unsigned i = 0; i < 2; i++) {
        struct kvp_execution execution = bench_run(&world->benches[i], request);
        check_kind(&world->benches[i], &execution, &expected);
        assert_int_equal(execution.status, expected.status);
        check_slice(kvp_buf_slice(&execution.answer), kvp_buf_slice(&expected.answer));
        assert_int_equal(world->benches[i].count, world->oracle.seq);
        execution_free(&execution);
    }
    if (expected.appends) {
        const kvp_buf *set = &world->benches[0].sets[before];
        check_slice(kvp_buf_slice(&world->benches[1].sets[before]), kvp_buf_slice(set));
        shelf_add(&world->follower, kvp_buf_slice(set));
    }
    count(world, &expected, request->session.client != 0 && !expected.appends);
    kvp_buf_free(&expected.answer);
}

static void check_read(struct world *world, struct bench *bench)
{
    unsigned index = (unsigned)draw(world, ORACLE_KEYS);
    struct oracle_version version = oracle_at(&world->oracle, index, bench->committed);
    struct kvp_record_versions versions = {0};
    kvp_buf value = {0};
    kvp_status status = kvp_engine_get(bench->engine, oracle_key(index), &value, &versions);
    assert_int_equal(status, version.present ? KVP_OK : KVP_NOT_FOUND);
    check_slice(kvp_buf_slice(&value), version.value);
    assert_int_equal(versions.modify_revision, version.modify);
    assert_int_equal(versions.create_revision, version.create);
    kvp_buf_free(&value);
}

/* Something happens behind execution: commits, the disk, a change of primary. */
static void advance(struct world *world, struct bench *bench)
{
    uint64_t lag = bench->count - bench->committed;
    uint64_t unstored = bench->committed - bench->applied;
    switch (draw(world, 40)) {
    case 0:
        bench_settle(bench);
        bench_restart(bench);
        break;
    case 1:
    case 2:
        bench_store(bench, bench->applied + draw(world, unstored + 1));
        break;
    case 3:
    case 4:
        bench_apply(bench, bench->applied + draw(world, unstored + 1));
        break;
    case 5:
    case 6:
        bench_commit(bench, bench->committed + draw(world, lag + 1));
        break;
    default:
        if (lag > LAG_MAX) {
            bench_commit(bench, bench->count - LAG_MAX / 2);
        }
        if (unstored > LAG_MAX) {
            bench_apply(bench, bench->committed - LAG_MAX / 2);
        }
        break;
    }
}

static void check_equal_dumps(struct shelf *shelf, const kvp_buf *expected)
{
    kvp_buf found = shelf_dump(shelf);
    check_slice(kvp_buf_slice(&found), kvp_buf_slice(expected));
    kvp_buf_free(&found);
}

static void check_end(struct world *world)
{
    kvp_buf dump = shelf_dump(&world->follower);
    for (unsigned i = 0; i < 2; i++) {
        struct bench *bench = &world->benches[i];
        bench_settle(bench);
        check_equal_dumps(&bench->shelf, &dump);
        for (unsigned j = 0; j < 4 * ORACLE_KEYS; j++) {
            check_read(world, bench);
        }
    }
    kvp_buf_free(&dump);
    assert_true(world->executed > REQUESTS / 3);
    assert_true(world->repeated > REQUESTS / 50);
    assert_true(world->failed > REQUESTS / 20);
    assert_true(world->expired > 0 && world->stale > 0);
}

static void run_seed(uint64_t seed)
{
    struct world *world = calloc(1, sizeof(*world));
    struct step step;
    assert_non_null(world);
    world->random = seed * 0x9e3779b97f4a7c15u;
    shelf_open(&world->follower);
    bench_open(&world->benches[0], ORACLE_SESSIONS);
    bench_open(&world->benches[1], ORACLE_SESSIONS);
    for (unsigned i = 0; i < REQUESTS; i++) {
        choose(world, &step);
        run(world, &step);
        for (unsigned j = 0; j < 2; j++) {
            advance(world, &world->benches[j]);
            check_read(world, &world->benches[j]);
        }
    }
    check_end(world);
    bench_close(&world->benches[0]);
    bench_close(&world->benches[1]);
    shelf_close(&world->follower);
    oracle_free(&world->oracle);
    free(world);
}

static void test_random_requests_do_what_the_oracle_says(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 8; seed++) {
        print_message("seed %u\n", (unsigned)seed);
        run_seed(seed);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random_requests_do_what_the_oracle_says),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
