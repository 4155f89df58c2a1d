/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a change of primary costs, counted: what is read of the store, allocated and freed from the
 * word that this node leads until its clients have had their first answers, and when it leads no
 * more. All of it is the same for a group with little in it and for a full one. The linker counts
 * (--wrap).
 */
#include "tests/jobs/farm.h"

#include "replication/engine/engine_state.h"
#include "replication/jobs/job_state.h"

#include <stdio.h>
#include <stdlib.h>

#define REST_US 250000u
#define TASKS   24u /* of each job */
#define LONGER  3u  /* buffers that grow once more, because numbers have more digits */

struct cost {
    unsigned long reads, allocations, frees;
};

static struct cost spent;

kvp_status __real_kvp_storage_get(struct kvp_storage *storage, kvp_slice key, kvp_buf *value);
kvp_status __wrap_kvp_storage_get(struct kvp_storage *storage, kvp_slice key, kvp_buf *value);
kvp_status __real_kvp_state_view_seek(struct kvp_state_view *view, kvp_slice key, kvp_slice end);
kvp_status __wrap_kvp_state_view_seek(struct kvp_state_view *view, kvp_slice key, kvp_slice end);
kvp_status __real_kvp_state_view_read(struct kvp_state_view *view, kvp_slice *key,
                                      kvp_slice *value);
kvp_status __wrap_kvp_state_view_read(struct kvp_state_view *view, kvp_slice *key,
                                      kvp_slice *value);
kvp_status __real_kvp_storage_write(struct kvp_storage *storage,
                                    const struct kvp_storage_write *write);
kvp_status __wrap_kvp_storage_write(struct kvp_storage *storage,
                                    const struct kvp_storage_write *write);
void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__real_realloc(void *bytes, size_t size);
void *__wrap_realloc(void *bytes, size_t size);
void __real_free(void *bytes);
void __wrap_free(void *bytes);

kvp_status __wrap_kvp_storage_get(struct kvp_storage *storage, kvp_slice key, kvp_buf *value)
{
    spent.reads++;
    return __real_kvp_storage_get(storage, key, value);
}

kvp_status __wrap_kvp_state_view_seek(struct kvp_state_view *view, kvp_slice key, kvp_slice end)
{
    spent.reads++;
    return __real_kvp_state_view_seek(view, key, end);
}

kvp_status __wrap_kvp_state_view_read(struct kvp_state_view *view, kvp_slice *key, kvp_slice *value)
{
    spent.reads++;
    return __real_kvp_state_view_read(view, key, value);
}

/* What the store in memory allocates for a write is not what is looked at. */
kvp_status __wrap_kvp_storage_write(struct kvp_storage *storage,
                                    const struct kvp_storage_write *write)
{
    struct cost before = spent;
    kvp_status status = __real_kvp_storage_write(storage, write);
    spent = before;
    return status;
}

void *__wrap_malloc(size_t size)
{
    spent.allocations++;
    return __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
    spent.allocations++;
    return __real_calloc(count, size);
}

void *__wrap_realloc(void *bytes, size_t size)
{
    spent.allocations++;
    return __real_realloc(bytes, size);
}

void __wrap_free(void *bytes)
{
    spent.frees += bytes != NULL;
    __real_free(bytes);
}

/* ---- a group ---- */

struct group {
    struct farm farm;
    struct hand hand;
    unsigned sessions;
    uint64_t job; /* the last one */
};

static struct kvp_request ask_in_session(const struct group *group, unsigned session,
                                         uint64_t number)
{
    uint64_t session_start = kvp_engine_committed(group->farm.bench.engine);
    return with_session(ask_put("key", "value"), 1000 + session, 0, number, session_start);
}

static int put(struct group *group, unsigned session, uint64_t number)
{
    struct kvp_request request = ask_in_session(group, session, number);
    return farm_ask(&group->farm, &request, NULL);
}

static void group_open(struct group *group, unsigned sessions, unsigned jobs)
{
    struct kvp_job_spec spec = mode_of("single");
    *group = (struct group){.sessions = sessions};
    farm_open(&group->farm);
    group->hand = farm_join(&group->farm, "w", "count", false);
    for (unsigned i = 0; i < sessions; i++) {
        assert_int_equal(put(group, i, 1), KVP_OK);
    }
    for (unsigned i = 0; i < jobs; i++) {
        group->job = farm_job(&group->farm, &spec, TASKS);
    }
    bench_settle(&group->farm.bench);
}

/* It leads no more, as the old primary of a handover. */
static struct cost step_down(struct group *group)
{
    struct bench *bench = &group->farm.bench;
    spent = (struct cost){0};
    bench->engine = kvp_engine_succeed(bench->engine);
    kvp_engine_rest(bench->engine, group->farm.now_us + REST_US);
    return spent;
}

/* It leads. */
static struct cost step_up(struct group *group)
{
    struct bench *bench = &group->farm.bench;
    spent = (struct cost){0};
    kvp_engine_set_now(bench->engine, group->farm.now_us);
    kvp_engine_rest(bench->engine, group->farm.now_us + REST_US);
    assert_int_equal(kvp_engine_start(bench->engine, bench->shelf.storage, bench->applied), KVP_OK);
    assert_int_equal(kvp_engine_start_jobs(bench->engine, 4711, ++group->farm.starts), KVP_OK);
    return spent;
}

/* Clients come back: a session goes on, one asks for its last answer again, one begins; a job is
 * looked at, one is made, and a worker has its next task. */
static struct cost serve(struct group *group)
{
    struct kvp_task_grant grant;
    struct kvp_job_spec spec = mode_of("single");
    const struct kvp_request show = {.op = KVP_OP_JOB_INFO,
                                     .job = {.what = KVP_INFO_JOB, .job = group->job}};
    spent = (struct cost){0};
    assert_int_equal(put(group, group->sessions / 2, 2), KVP_OK);
    assert_int_equal(put(group, group->sessions / 3, 1), KVP_OK);
    assert_int_equal(put(group, group->sessions, 1), KVP_OK);
    assert_int_equal(farm_ask(&group->farm, &show, NULL), KVP_OK);
    assert_int_equal(farm_fetch(&group->farm, &group->hand, &grant), KVP_OK);
    assert_int_equal(farm_post(&group->farm, &group->hand, &grant, "r"), KVP_OK);
    (void)farm_new(&group->farm, &spec);
    return spent;
}

static void check_same(const char *what, struct cost few, struct cost many)
{
    if (few.reads != many.reads || few.allocations + LONGER < many.allocations ||
        few.frees + LONGER < many.frees) {
        fail_msg("%s: %lu reads, %lu allocations, %lu frees with little; %lu, %lu, %lu with much",
                 what, few.reads, few.allocations, few.frees, many.reads, many.allocations,
                 many.frees);
    }
}

/* ---- tests ---- */

static void test_what_a_promotion_does_does_not_grow_with_what_is_stored(void **state)
{
    static struct group few, many;
    (void)state;
    group_open(&few, 300, 100);
    group_open(&many, 30000, 2000);
    check_same("stepping down", step_down(&few), step_down(&many));
    check_same("stepping up", step_up(&few), step_up(&many));
    check_same("the first requests", serve(&few), serve(&many));
    farm_close(&few.farm);
    farm_close(&many.farm);
}

/* In its time, all of it, and never much at once. */
static void test_what_a_primary_knew_is_freed_in_pieces(void **state)
{
    static struct group group;
    unsigned pieces = 0;
    (void)state;
    group_open(&group, 30000, 500);
    (void)step_down(&group);
    struct kvp_engine *engine = group.farm.bench.engine;
    uint64_t due_us = kvp_engine_sweep_us(engine), freed = 0;
    assert_int_equal(due_us, group.farm.now_us + REST_US);
    for (; kvp_engine_sweep_us(engine) <= due_us; pieces++) {
        spent = (struct cost){0};
        kvp_engine_sweep(engine);
        assert_true(spent.frees < 600);
        freed += spent.frees;
    }
    assert_true(freed > 30000);
    assert_true(pieces > 100);
    farm_close(&group.farm);
}

/* One job with very many tasks is no piece, either. */
static void test_a_large_job_is_freed_in_pieces(void **state)
{
    static struct group group;
    unsigned pieces = 0;
    (void)state;
    group_open(&group, 1, 1);
    struct kvp_job_spec spec = mode_of("single");
    (void)farm_job(&group.farm, &spec, 30000);
    (void)step_down(&group);
    struct kvp_engine *engine = group.farm.bench.engine;
    while (kvp_engine_sweep_us(engine) != UINT64_MAX) {
        kvp_engine_sweep(engine);
        pieces++;
    }
    assert_true(pieces > 3);
    farm_close(&group.farm);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_a_promotion_does_does_not_grow_with_what_is_stored),
        cmocka_unit_test(test_what_a_primary_knew_is_freed_in_pieces),
        cmocka_unit_test(test_a_large_job_is_freed_in_pieces),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
