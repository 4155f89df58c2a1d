/* SPDX-License-Identifier: Apache-2.0 */
/* The job engine of a new primary: requests are answered from what they need, before all has been
 * read. */
#include "tests/jobs/jobs_support.h"

#include "replication/jobs/job_state.h"

#include <stdio.h>

#define TASKS 6000u

static const struct kvp_jobs *index_of(void)
{
    return kvp_engine_jobs(farm.bench.engine);
}

/* A new primary, which has read its workers, some of its jobs, and little more. */
static void promote(void)
{
    bench_settle(&farm.bench);
    bench_restart(&farm.bench);
    kvp_engine_set_now(farm.bench.engine, farm.now_us);
    assert_int_equal(kvp_engine_start_jobs(farm.bench.engine, 4711, ++farm.starts), KVP_OK);
    farm.steps_max = 1;
}

static void check_reading(void)
{
    assert_true(index_of()->ready);
    assert_non_null(index_of()->view);
}

static void test_a_new_primary_hands_out_before_it_has_read_all(void **state)
{
    (void)state;
    struct kvp_job_spec spec = mode_of("single");
    struct kvp_task_grant grant;
    struct hand hand = farm_join(&farm, "w", "count", false);
    uint64_t job = farm_job(&farm, &spec, TASKS);
    for (unsigned i = 0; i < 400; i++) {
        assert_int_equal(farm_fetch(&farm, &hand, &grant), KVP_OK);
        assert_int_equal(farm_post(&farm, &hand, &grant, "r"), KVP_OK);
    }
    promote();
    check_reading();
    assert_int_equal(farm_fetch(&farm, &hand, &grant), KVP_OK);
    assert_int_equal(grant.task, 400);
    check_reading();
    assert_int_equal(farm_post(&farm, &hand, &grant, "r"), KVP_OK);
    check_reading();
    farm.steps_max = 0;
    farm_work(&farm);
    assert_null(index_of()->view);
    assert_int_equal(farm_number(&farm, job, "done"), 401);
    assert_int_equal(farm_number(&farm, job, "tasks"), TASKS);
}

/* The worker has had it from the primary before; it is far behind what has been read. */
static void test_a_result_for_a_task_that_was_not_read_counts(void **state)
{
    (void)state;
    struct kvp_job_spec spec = mode_of("single");
    struct kvp_task_grant grant, last;
    struct hand hand = farm_join(&farm, "w", "count", false);
    uint64_t job = farm_job(&farm, &spec, 2000);
    for (unsigned i = 0; i < 1500; i++) {
        assert_int_equal(farm_fetch(&farm, &hand, &grant), KVP_OK);
        assert_int_equal(farm_post(&farm, &hand, &grant, "r"), KVP_OK);
    }
    assert_int_equal(farm_fetch(&farm, &hand, &last), KVP_OK);
    assert_int_equal(last.task, 1500);
    promote();
    check_reading();
    assert_int_equal(farm_post(&farm, &hand, &last, "r"), KVP_OK);
    check_reading();
    farm.steps_max = 0;
    farm_work(&farm);
    assert_int_equal(farm_number(&farm, job, "done"), 1501);
}

/* What takes too long for one request is refused, and a repeat goes on. */
static void test_a_large_job_is_read_in_bounded_pieces(void **state)
{
    (void)state;
    struct kvp_job_spec spec = mode_of("single");
    uint64_t job = farm_job(&farm, &spec, TASKS);
    const struct kvp_request show = {.op = KVP_OP_JOB_INFO,
                                     .job = {.what = KVP_INFO_JOB, .job = job}};
    promote();
    check_reading();
    assert_int_equal(farm_ask(&farm, &show, NULL), KVP_UNAVAILABLE);
    assert_int_equal(farm_ask(&farm, &show, NULL), KVP_OK);
    assert_int_equal(farm_number(&farm, job, "tasks"), TASKS);
}

/* One of many small ones is read at once, wherever it is. */
static void test_a_small_job_is_read_when_it_is_asked_for(void **state)
{
    enum {
        JOBS = 120,
    };
    (void)state;
    struct kvp_job_spec spec = mode_of("single");
    uint64_t jobs[JOBS];
    for (unsigned i = 0; i < JOBS; i++) {
        jobs[i] = farm_job(&farm, &spec, 50);
    }
    promote();
    check_reading();
    assert_int_equal(farm_number(&farm, jobs[JOBS - 1], "tasks"), 50);
    check_reading();
    assert_int_equal(farm_cancel(&farm, jobs[JOBS - 2]), KVP_OK);
    check_reading();
    farm.steps_max = 0;
    farm_work(&farm);
    assert_null(index_of()->view);
    assert_string_equal(farm_text(&farm, jobs[JOBS - 2], "state"), "cancelled");
    for (unsigned i = 0; i < JOBS; i++) {
        assert_int_equal(farm_number(&farm, jobs[i], "tasks"), 50);
    }
}

/* ---- jobs that have not been read ---- */

enum {
    MANY = 600, /* jobs: many steps */
};

/* Jobs of one task each, by turns of a low and a high priority. */
static void make_many(uint64_t *jobs)
{
    for (unsigned i = 0; i < MANY; i++) {
        struct kvp_job_spec spec = mode_of("single");
        spec.priority = i % 2 == 0 ? 10 : 200;
        jobs[i] = farm_job(&farm, &spec, 1);
    }
}

/* Nothing is read but what requests ask for. */
static void promote_resting(void)
{
    promote();
    kvp_engine_rest(farm.bench.engine, UINT64_MAX);
    assert_false(jobs_are_known(index_of()));
}

static void read_all(void)
{
    kvp_engine_rest(farm.bench.engine, 0);
    farm.steps_max = 0;
    farm_work(&farm);
    assert_null(index_of()->view);
}

static void test_jobs_keep_their_order_whichever_is_asked_for_first(void **state)
{
    uint64_t jobs[MANY];
    struct kvp_task_grant grant;
    (void)state;
    struct hand hand = farm_join(&farm, "w", "count", false);
    make_many(jobs);
    promote_resting();
    for (unsigned i = MANY; i-- > MANY - 40;) {
        assert_string_equal(farm_text(&farm, jobs[(i * 7919u) % MANY], "state"), "running");
    }
    read_all();
    for (unsigned i = 0; i < MANY; i++) {
        unsigned expected = i < MANY / 2 ? 2 * i + 1 : 2 * (i - MANY / 2);
        assert_int_equal(farm_fetch(&farm, &hand, &grant), KVP_OK);
        assert_int_equal(grant.job, jobs[expected]);
        assert_int_equal(farm_post(&farm, &hand, &grant, "r"), KVP_OK);
    }
}

static void test_a_job_that_was_removed_before_all_were_read_does_not_come_back(void **state)
{
    uint64_t jobs[MANY];
    (void)state;
    make_many(jobs);
    promote_resting();
    struct kvp_request removal = {.op = KVP_OP_JOB_REMOVE, .job = {.job = jobs[500]}};
    const struct kvp_request show = {.op = KVP_OP_JOB_INFO,
                                     .job = {.what = KVP_INFO_JOB, .job = jobs[500]}};
    assert_int_equal(farm_cancel(&farm, jobs[500]), KVP_OK);
    assert_int_equal(farm_ask(&farm, &removal, NULL), KVP_OK);
    assert_int_equal(farm_ask(&farm, &removal, NULL), KVP_NO_SUCH_JOB);
    read_all();
    farm_wait(&farm, 1000);
    assert_int_equal(farm_ask(&farm, &show, NULL), KVP_NO_SUCH_JOB);
    assert_int_equal(index_of()->job_count, MANY - 1);
    farm_failover(&farm);
    assert_int_equal(index_of()->job_count, MANY - 1);
    removal.job.job = jobs[MANY - 1] + 1;
    assert_int_equal(farm_ask(&farm, &removal, NULL), KVP_NO_SUCH_JOB);
}

/* Where the bounds are is not known yet: they are not passed by more than an eighth. */
static void test_few_jobs_are_made_before_all_have_been_read(void **state)
{
    uint64_t jobs[MANY];
    struct kvp_job_spec spec = mode_of("single");
    kvp_buf bytes = {0};
    unsigned made = 0;
    (void)state;
    make_many(jobs);
    promote_resting();
    assert_int_equal(kvp_job_spec_encode(&spec, &bytes), KVP_OK);
    const struct kvp_request request = {.op = KVP_OP_JOB_NEW, .value = kvp_buf_slice(&bytes)};
    while (made < 4096 && farm_ask(&farm, &request, NULL) == KVP_OK) {
        made++;
    }
    assert_int_equal(made, 4096 / 8 + 1);
    assert_int_equal(farm_ask(&farm, &request, NULL), KVP_UNAVAILABLE);
    read_all();
    assert_int_equal(farm_ask(&farm, &request, NULL), KVP_OK);
    assert_int_equal(index_of()->job_count, MANY + made + 1);
    kvp_buf_free(&bytes);
}

/* All places before were of jobs that have ended: the worker gets the only task there is. */
static void test_a_worker_finds_the_only_task_behind_many_jobs(void **state)
{
    uint64_t jobs[MANY];
    struct kvp_job_spec spec = mode_of("single");
    struct kvp_task_grant grant;
    (void)state;
    struct hand hand = farm_join(&farm, "w", "count", false);
    make_many(jobs);
    for (unsigned i = 0; i < MANY; i++) {
        assert_int_equal(farm_cancel(&farm, jobs[i]), KVP_OK);
    }
    uint64_t job = farm_job(&farm, &spec, 1);
    promote_resting();
    assert_int_equal(farm_fetch(&farm, &hand, &grant), KVP_OK);
    assert_int_equal(grant.job, job);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FARM_TEST(test_a_new_primary_hands_out_before_it_has_read_all),
        FARM_TEST(test_a_result_for_a_task_that_was_not_read_counts),
        FARM_TEST(test_a_large_job_is_read_in_bounded_pieces),
        FARM_TEST(test_a_small_job_is_read_when_it_is_asked_for),
        FARM_TEST(test_jobs_keep_their_order_whichever_is_asked_for_first),
        FARM_TEST(test_a_job_that_was_removed_before_all_were_read_does_not_come_back),
        FARM_TEST(test_few_jobs_are_made_before_all_have_been_read),
        FARM_TEST(test_a_worker_finds_the_only_task_behind_many_jobs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
