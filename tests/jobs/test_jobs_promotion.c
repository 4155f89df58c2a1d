/* SPDX-License-Identifier: Apache-2.0 */
/* The job engine of a new primary: requests are answered from what they need, before all has been read. */
#include "tests/jobs/farm.h"

#include "replication/jobs/job_state.h"

#include <stdio.h>

#define TASKS 6000u

static struct farm farm;

static int setup(void **state)
{
    (void)state;
    farm_open(&farm);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    farm_close(&farm);
    return 0;
}

static const struct kvp_jobs *index_of(void)
{
    return kvp_engine_jobs(farm.bench.engine);
}

/* A new primary, which has read its workers and jobs, and little more. */
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

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_a_new_primary_hands_out_before_it_has_read_all),
        TEST(test_a_result_for_a_task_that_was_not_read_counts),
        TEST(test_a_large_job_is_read_in_bounded_pieces),
        TEST(test_a_small_job_is_read_when_it_is_asked_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
