/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Leases against a model: keys with a time of their own, keys of leases, puts and deletes that take
 * them off, leases that are kept, revoked, or left alone, changes of the primary. Nothing ends
 * early, nothing that is due stays, keys end in the order of their times and each with its own
 * lease, and what has ended does not come back.
 */
#include "tests/engine/engine_support.h"

#include "kvstore/base/mutant.h"
#include "replication/engine/engine_state.h"
#include "replication/engine/lease_record.h"
#include "replication/wire/mp_reader.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum kvp_mutant kvp_mutant;

#define KEYS    40u
#define LEASES  12u
#define MS      1000u
#define SECOND  1000000u
#define SLOT_US 50000u /* the loop looks so often */

/* ---- what is asked ---- */

static struct kvp_request with_ttl(struct kvp_request request, uint64_t ttl_ms)
{
    request.ttl_ms = ttl_ms;
    return request;
}

static struct kvp_request with_lease(struct kvp_request request, uint64_t lease)
{
    request.lease = lease;
    return request;
}

static uint64_t grant(struct bench *bench, uint64_t ttl_ms)
{
    uint64_t lease = bench_next(bench);
    check_done(bench, (struct kvp_request){.op = KVP_OP_LEASE_GRANT, .ttl_ms = ttl_ms});
    return lease;
}

static kvp_status revoke(struct bench *bench, uint64_t lease)
{
    const struct kvp_request request = {.op = KVP_OP_LEASE_REVOKE, .lease = lease};
    struct kvp_execution execution = bench_run(bench, &request);
    kvp_status status = (kvp_status)execution.status;
    execution_free(&execution);
    return status;
}

/* Refused, with a reason, and nothing is written. */
static void check_says_no(struct bench *bench, struct kvp_request request, kvp_status status)
{
    kvp_slice reason;
    size_t count = bench->count;
    struct kvp_execution execution = bench_run(bench, &request);
    assert_int_equal(execution.status, status);
    assert_int_equal(kvp_wire_read_string(kvp_buf_slice(&execution.answer), &reason), KVP_OK);
    assert_int_equal(bench->count, count);
    execution_free(&execution);
}

/* ---- time ---- */

/* One look of the loop, which serves. Returns the number of entries that it made. */
static unsigned look(struct bench *bench)
{
    unsigned made = 0;
    kvp_engine_set_now(bench->engine, bench->now_us);
    kvp_engine_lease_time(bench->engine, bench->now_us, true);
    while (kvp_engine_deadline(bench->engine) <= bench->now_us) {
        struct kvp_execution execution;
        bool more;
        assert_int_equal(kvp_engine_step(bench->engine, bench_next(bench), &execution, &more),
                         KVP_OK);
        if (execution.kind == KVP_EXECUTION_APPEND) {
            made++;
            bench->count++;
            bench->sets = realloc(bench->sets, (bench->count + 64) * sizeof(*bench->sets));
            assert_non_null(bench->sets);
            bench->capacity = bench->count + 64;
            bench->sets[bench->count - 1] = execution.writeset;
        } else {
            kvp_buf_free(&execution.writeset);
        }
    }
    return made;
}

static void pass(struct bench *bench, uint64_t us)
{
    for (uint64_t step_us = 0; us > 0; us -= step_us) {
        step_us = us < SLOT_US ? us : SLOT_US;
        bench->now_us += step_us;
        (void)look(bench);
    }
}

static void open_clock(struct bench *bench, const struct kvp_engine_config *config)
{
    bench_open_with(bench, config);
    bench->step_us = 0;
    bench->now_us = SECOND;
    (void)look(bench);
}

static void change_primary(struct bench *bench)
{
    bench_settle(bench);
    bench_restart(bench);
    kvp_engine_lease_time(bench->engine, bench->now_us, false);
    bench->now_us += 3 * SECOND; /* nobody served */
    (void)look(bench);
}

static bool is_there(struct bench *bench, const char *key)
{
    kvp_buf value = {0};
    struct kvp_record_versions versions;
    bench_commit(bench, bench->count);
    kvp_status status = kvp_engine_get(bench->engine, text(key), &value, &versions);
    kvp_buf_free(&value);
    assert_true(status == KVP_OK || status == KVP_NOT_FOUND);
    return status == KVP_OK;
}

/* ---- single claims ---- */

static void test_a_key_ends_after_its_time_and_not_before(void **state)
{
    struct bench bench;
    (void)state;
    open_clock(&bench, &(struct kvp_engine_config){0});
    check_done(&bench, with_ttl(ask_put("k", "v"), 2000));
    pass(&bench, 1999 * MS);
    assert_true(is_there(&bench, "k"));
    pass(&bench, 51 * MS);
    assert_false(is_there(&bench, "k"));
    assert_int_equal(kvp_engine_leases(bench.engine), 0);
    bench_close(&bench);
}

static void test_a_put_without_a_lease_takes_the_key_off_its_lease(void **state)
{
    struct bench bench;
    (void)state;
    open_clock(&bench, &(struct kvp_engine_config){0});
    uint64_t lease = grant(&bench, 1000);
    check_done(&bench, with_ttl(ask_put("a", "1"), 1000));
    check_done(&bench, with_lease(ask_create("b", "1"), lease));
    check_done(&bench, with_lease(ask_create("c", "1"), lease));
    check_done(&bench, ask_put("a", "2"));
    check_done(&bench, ask_put("b", "2"));
    pass(&bench, 2 * SECOND);
    assert_true(is_there(&bench, "a") && is_there(&bench, "b"));
    assert_false(is_there(&bench, "c"));
    bench_close(&bench);
}

static void test_a_lease_that_is_kept_goes_on_and_its_keys_with_it(void **state)
{
    struct bench bench;
    uint64_t ttl_ms = 0;
    (void)state;
    open_clock(&bench, &(struct kvp_engine_config){0});
    uint64_t lease = grant(&bench, 1000);
    check_done(&bench, with_lease(ask_put("k", "v"), lease));
    for (unsigned i = 0; i < 10; i++) {
        pass(&bench, 900 * MS);
        assert_int_equal(kvp_engine_lease_keep(bench.engine, lease, &ttl_ms), KVP_OK);
        assert_int_equal(ttl_ms, 1000);
    }
    assert_true(is_there(&bench, "k"));
    pass(&bench, 1100 * MS);
    assert_false(is_there(&bench, "k"));
    assert_int_equal(kvp_engine_lease_keep(bench.engine, lease, &ttl_ms), KVP_NOT_FOUND);
    check_says_no(&bench, with_lease(ask_put("k", "v"), lease), KVP_NOT_FOUND);
    bench_close(&bench);
}

static void test_a_new_primary_gives_a_lease_its_full_time_and_a_key_what_is_left(void **state)
{
    struct bench bench;
    (void)state;
    open_clock(&bench, &(struct kvp_engine_config){0});
    uint64_t lease = grant(&bench, 20000);
    check_done(&bench, with_lease(ask_put("leased", "v"), lease));
    check_done(&bench, with_ttl(ask_put("timed", "v"), 60000));
    pass(&bench, 15 * SECOND);
    change_primary(&bench);
    pass(&bench, 19 * SECOND);
    assert_true(is_there(&bench, "leased"));
    pass(&bench, 1100 * MS);
    assert_false(is_there(&bench, "leased"));
    pass(&bench, 24 * SECOND); /* 59 s of the other's time */
    assert_true(is_there(&bench, "timed"));
    pass(&bench, 11 * SECOND); /* the clock in the log is at most 10 s behind */
    assert_false(is_there(&bench, "timed"));
    bench_close(&bench);
}

/* A key leaves its lease before the new primary has read that. */
static void test_a_new_primary_writes_of_leases_that_it_has_not_read_yet(void **state)
{
    struct bench bench;
    (void)state;
    open_clock(&bench, &(struct kvp_engine_config){0});
    uint64_t lease = grant(&bench, 5000);
    check_done(&bench, with_lease(ask_put("left", "v"), lease));
    check_done(&bench, with_lease(ask_put("stays", "v"), lease));
    bench_settle(&bench);
    bench_restart(&bench);
    check_done(&bench, ask_put("left", "v"));
    pass(&bench, 6 * SECOND);
    assert_true(is_there(&bench, "left"));
    assert_false(is_there(&bench, "stays"));
    bench_close(&bench);
}

static void test_time_stands_still_while_nobody_serves(void **state)
{
    struct bench bench;
    (void)state;
    open_clock(&bench, &(struct kvp_engine_config){0});
    uint64_t lease = grant(&bench, 5000);
    check_done(&bench, with_lease(ask_put("k", "v"), lease));
    kvp_engine_lease_time(bench.engine, bench.now_us, false);
    bench.now_us += 60 * (uint64_t)SECOND;
    (void)look(&bench);
    assert_true(is_there(&bench, "k")); /* it did not serve */
    bench.now_us += 60 * (uint64_t)SECOND;
    (void)look(&bench);
    assert_true(is_there(&bench, "k")); /* the process was stopped */
    pass(&bench, 5 * SECOND);
    assert_false(is_there(&bench, "k"));
    bench_close(&bench);
}

static void test_a_lease_of_many_keys_ends_in_steps(void **state)
{
    struct bench bench;
    char key[16];
    (void)state;
    open_clock(&bench, &(struct kvp_engine_config){0});
    uint64_t lease = grant(&bench, 1000);
    for (unsigned i = 0; i < 1000; i++) {
        (void)snprintf(key, sizeof(key), "k%u", i);
        check_done(&bench, with_lease(ask_put(key, "v"), lease));
    }
    bench.now_us += 900 * MS;
    (void)look(&bench);
    bench.now_us += 200 * MS;
    assert_int_equal(look(&bench), 4); /* 256 at a time, and one for the lease */
    for (unsigned i = 0; i < 1000; i++) {
        (void)snprintf(key, sizeof(key), "k%u", i);
        assert_false(is_there(&bench, key));
    }
    bench_settle(&bench);
    kvp_buf dump = shelf_dump(&bench.shelf);
    assert_int_equal(dump.size, 0); /* nothing is left */
    kvp_buf_free(&dump);
    bench_close(&bench);
}

/* Those above a number; returns how many, *last is the number of the last. */
static uint32_t list(struct bench *bench, uint64_t above, uint64_t *last)
{
    kvp_buf answer = {0};
    struct kvp_mp_reader reader;
    assert_int_equal(kvp_engine_lease_list(bench->engine, above, &answer), KVP_OK);
    kvp_mp_begin(&reader, kvp_buf_slice(&answer));
    uint32_t count = kvp_mp_array(&reader);
    for (uint32_t i = 0; i < count; i++) {
        assert_int_equal(kvp_mp_map(&reader), 5);
        (void)kvp_mp_str(&reader);
        uint64_t lease = kvp_mp_uint(&reader);
        assert_true(lease > above && (i == 0 || lease > *last));
        *last = lease;
        for (unsigned part = 0; part < 8; part++) {
            (void)kvp_mp_skip(&reader);
        }
    }
    assert_true(kvp_mp_done(&reader));
    kvp_buf_free(&answer);
    return count;
}

/* Applied or not, read by a new primary or not yet; those that have ended leave no gap. */
static void test_leases_are_listed_in_pages(void **state)
{
    struct bench bench;
    uint64_t leases[300], last = 0;
    (void)state;
    open_clock(&bench, &(struct kvp_engine_config){0});
    for (unsigned i = 0; i < 300; i++) {
        leases[i] = grant(&bench, 100000);
        check_done(&bench, with_ttl(ask_put("timed", "v"), 60000));
        if (i == 100) {
            bench_settle(&bench);
        }
    }
    for (unsigned round = 0; round < 2; round++) {
        assert_int_equal(list(&bench, 0, &last), 256);
        assert_true(last == leases[255]);
        assert_int_equal(list(&bench, last, &last), 44);
        assert_true(last == leases[299] && list(&bench, last, &last) == 0);
        bench_settle(&bench);
        bench_restart(&bench);
    }
    for (unsigned i = 0; i < 260; i++) {
        assert_int_equal(revoke(&bench, leases[i]), KVP_OK);
    }
    assert_int_equal(list(&bench, 0, &last), 40);
    assert_true(last == leases[299]);
    bench_close(&bench);
}

static void test_bounds(void **state)
{
    struct bench bench;
    const struct kvp_engine_config config = {.leases_max = 2};
    (void)state;
    open_clock(&bench, &config);
    uint64_t lease = grant(&bench, 1000);
    check_done(&bench, with_ttl(ask_put("a", "v"), 1000));
    check_says_no(&bench, with_ttl(ask_put("b", "v"), 1000), KVP_TOO_LARGE);
    check_says_no(&bench, (struct kvp_request){.op = KVP_OP_LEASE_GRANT, .ttl_ms = 1000},
                  KVP_TOO_LARGE);
    check_done(&bench, with_ttl(ask_put("a", "w"), 1000)); /* it is the same again */
    check_says_no(&bench, with_ttl(ask_put("a", "w"), 99), KVP_BAD_REQUEST);
    check_says_no(&bench, with_lease(with_ttl(ask_put("a", "w"), 100), lease), KVP_BAD_REQUEST);
    assert_int_equal(revoke(&bench, lease), KVP_OK);
    assert_int_equal(revoke(&bench, lease), KVP_NOT_FOUND);
    check_done(&bench, with_ttl(ask_put("b", "v"), 1000));
    bench_close(&bench);
}

/* ---- the model ---- */

struct model_lease {
    uint64_t id;                        /* 0: there is none */
    uint64_t ttl_us, early_us, late_us; /* not before; and not after */
};

struct model_key {
    bool there;
    uint64_t lease;             /* of model_lease; 0: none */
    uint64_t early_us, late_us; /* of its own; late 0: none */
};

struct model {
    struct bench bench;
    uint64_t random;
    struct model_lease leases[LEASES];
    struct model_key keys[KEYS];
    const char *wrong; /* NULL: nothing is */
};

static uint32_t model_below(struct model *model, uint32_t bound)
{
    model->random ^= model->random << 13;
    model->random ^= model->random >> 7;
    model->random ^= model->random << 17;
    return (uint32_t)(model->random >> 33) % bound;
}

#define LATE_US (2u * SLOT_US + MS)

static void model_key_name(char name[8], unsigned key)
{
    (void)snprintf(name, 8, "k%u", key);
}

static struct model_lease *model_find(struct model *model, uint64_t id)
{
    struct model_lease *found = NULL;
    for (unsigned i = 0; i < LEASES && id != 0; i++) {
        found = model->leases[i].id == id ? &model->leases[i] : found;
    }
    return found;
}

static void model_forget_lease(struct model *model, uint64_t id)
{
    struct model_lease *lease = model_find(model, id);
    for (unsigned i = 0; i < KEYS; i++) {
        bool with_it = model->keys[i].there && model->keys[i].lease == id;
        model->keys[i] = with_it ? (struct model_key){0} : model->keys[i];
    }
    if (lease != NULL) {
        lease->id = 0;
    }
}

static void model_says(struct model *model, bool holds, const char *what)
{
    model->wrong = model->wrong == NULL && !holds ? what : model->wrong;
}

/* What is there is what has to be, and what is not was due. */
static void model_compare(struct model *model)
{
    uint64_t now_us = model->bench.now_us;
    for (unsigned i = 0; i < KEYS; i++) {
        char name[8];
        struct model_key *key = &model->keys[i];
        const struct model_lease *lease = model_find(model, key->lease);
        uint64_t early_us = lease != NULL ? lease->early_us : key->early_us;
        uint64_t late_us = lease != NULL ? lease->late_us : key->late_us;
        model_key_name(name, i);
        bool there = is_there(&model->bench, name);
        if (!key->there) {
            model_says(model, !there, "a key has come back");
        } else if (late_us == 0) {
            model_says(model, there, "a key without a lease has ended");
        } else if (there) {
            model_says(model, now_us <= late_us, "a key is there that should have ended");
        } else {
            model_says(model, now_us >= early_us, "a key has ended early");
        }
        if (key->there && !there && key->lease == 0) {
            *key = (struct model_key){0};
        }
    }
    for (unsigned i = 0; i < LEASES; i++) {
        uint64_t id = model->leases[i].id;
        kvp_buf owner = {0};
        if (id != 0 && now_us >= model->leases[i].early_us &&
            kvp_engine_lease_owner(model->bench.engine, id, &owner) == KVP_NOT_FOUND) {
            model_forget_lease(model, id);
        }
        kvp_buf_free(&owner);
    }
}

/* How a key that is put ends; the request says it. */
static struct kvp_request model_choose(struct model *model, struct kvp_request request,
                                       struct model_key *key)
{
    uint64_t now_us = model->bench.now_us;
    const struct model_lease *lease = &model->leases[model_below(model, LEASES)];
    *key = (struct model_key){.there = true};
    switch (model_below(model, 3)) {
    case 0:
        request.ttl_ms = 100 + model_below(model, 20000);
        key->early_us = now_us + request.ttl_ms * MS;
        key->late_us = key->early_us + LATE_US;
        break;
    case 1: /* not one that is about to end: whether it has is not known here */
        if (lease->id != 0 && now_us + SLOT_US < lease->early_us) {
            request.lease = key->lease = lease->id;
        }
        break;
    default:
        break;
    }
    return request;
}

static void model_put(struct model *model)
{
    unsigned number = model_below(model, KEYS);
    char name[8];
    struct model_key key;
    model_key_name(name, number);
    struct kvp_request request = model_choose(model, ask_put(name, "v"), &key);
    struct kvp_execution execution = bench_run(&model->bench, &request);
    model_says(model, execution.status == KVP_OK, "a put was refused");
    execution_free(&execution);
    model->keys[number] = key;
}

static void model_delete(struct model *model)
{
    unsigned number = model_below(model, KEYS);
    char name[8];
    model_key_name(name, number);
    struct kvp_request request = ask_delete(name, 0);
    struct kvp_execution execution = bench_run(&model->bench, &request);
    execution_free(&execution);
    model->keys[number] = (struct model_key){0};
}

static void model_change_lease(struct model *model)
{
    uint64_t now_us = model->bench.now_us, ttl_ms = 0;
    struct model_lease *lease = &model->leases[model_below(model, LEASES)];
    if (lease->id == 0) {
        ttl_ms = 200 + model_below(model, 8000);
        *lease = (struct model_lease){grant(&model->bench, ttl_ms), ttl_ms * MS,
                                      now_us + ttl_ms * MS, now_us + ttl_ms * MS + LATE_US};
    } else if (model_below(model, 4) == 0) {
        (void)revoke(&model->bench, lease->id);
        model_forget_lease(model, lease->id);
    } else if (kvp_engine_lease_keep(model->bench.engine, lease->id, &ttl_ms) == KVP_OK) {
        lease->early_us = now_us + lease->ttl_us;
        lease->late_us = lease->early_us + LATE_US;
    } else {
        model_says(model, now_us >= lease->early_us, "a lease has ended early");
        model_forget_lease(model, lease->id);
    }
}

/* Three seconds without anybody who serves; the clock in the log may be ten behind. */
static void model_change_primary(struct model *model)
{
    uint64_t before_us = model->bench.now_us;
    change_primary(&model->bench);
    uint64_t now_us = model->bench.now_us, gap_us = now_us - before_us;
    for (unsigned i = 0; i < LEASES; i++) {
        struct model_lease *lease = &model->leases[i];
        lease->early_us = now_us + lease->ttl_us;
        lease->late_us = lease->early_us + LATE_US;
    }
    for (unsigned i = 0; i < KEYS; i++) {
        struct model_key *key = &model->keys[i];
        key->early_us += gap_us;
        key->late_us += key->late_us == 0 ? 0 : gap_us + 11 * SECOND;
    }
}

static void model_step(struct model *model)
{
    switch (model_below(model, 8)) {
    case 0:
    case 1:
    case 2:
        model_put(model);
        break;
    case 3:
        model_delete(model);
        break;
    case 4:
    case 5:
        model_change_lease(model);
        break;
    case 6:
        pass(&model->bench, model_below(model, 400) * MS);
        break;
    default:
        if (model_below(model, 20) == 0) {
            model_change_primary(model);
        } else {
            bench_apply(&model->bench,
                        model->bench.count -
                            model_below(model, 2) * (model->bench.count > model->bench.applied));
        }
        break;
    }
}

/* NULL: nothing was wrong. */
static const char *model_run(uint64_t seed, unsigned steps)
{
    struct model *model = calloc(1, sizeof(*model));
    assert_non_null(model);
    model->random = seed * UINT64_C(0x9e3779b97f4a7c15);
    open_clock(&model->bench, &(struct kvp_engine_config){0});
    for (unsigned i = 0; i < steps && model->wrong == NULL; i++) {
        model_step(model);
        pass(&model->bench, 0);
        (void)look(&model->bench);
        model_compare(model);
    }
    pass(&model->bench, 60 * (uint64_t)SECOND);
    if (model->wrong == NULL) {
        model_compare(model);
    }
    bench_settle(&model->bench);
    const char *wrong = model->wrong;
    bench_close(&model->bench);
    free(model);
    return wrong;
}

static void test_leases_are_as_the_model_says(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 60; seed++) {
        const char *wrong = model_run(seed, 600);
        if (wrong != NULL) {
            fail_msg("seed %u: %s", (unsigned)seed, wrong);
        }
    }
}

static void test_the_model_finds_planted_bugs(void **state)
{
    static const enum kvp_mutant planted[] = {
        KVP_MUTANT_LEASE_SHORTENED, KVP_MUTANT_LEASE_CLOCK_AHEAD, KVP_MUTANT_LEASE_NOT_KEPT,
        KVP_MUTANT_LEASE_STAYS,     KVP_MUTANT_LEASE_CROSSED,     KVP_MUTANT_LEASE_KEY_STAYS,
        KVP_MUTANT_LEASE_KEY_BACK,
    };
    (void)state;
    for (unsigned i = 0; i < sizeof(planted) / sizeof(planted[0]); i++) {
        const char *wrong = NULL;
        kvp_mutant = planted[i];
        for (uint64_t seed = 1; seed <= 20 && wrong == NULL; seed++) {
            wrong = model_run(seed, 600);
        }
        kvp_mutant = KVP_MUTANT_NONE;
        if (wrong == NULL) {
            fail_msg("planted bug %u was not found", i);
        }
        print_message("planted bug %u: %s\n", i, wrong);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_key_ends_after_its_time_and_not_before),
        cmocka_unit_test(test_a_put_without_a_lease_takes_the_key_off_its_lease),
        cmocka_unit_test(test_a_lease_that_is_kept_goes_on_and_its_keys_with_it),
        cmocka_unit_test(test_a_new_primary_gives_a_lease_its_full_time_and_a_key_what_is_left),
        cmocka_unit_test(test_a_new_primary_writes_of_leases_that_it_has_not_read_yet),
        cmocka_unit_test(test_time_stands_still_while_nobody_serves),
        cmocka_unit_test(test_a_lease_of_many_keys_ends_in_steps),
        cmocka_unit_test(test_leases_are_listed_in_pages),
        cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_leases_are_as_the_model_says),
        cmocka_unit_test(test_the_model_finds_planted_bugs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
