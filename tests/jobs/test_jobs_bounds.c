/* SPDX-License-Identifier: Apache-2.0 */
/* The job engine: what comes late, is too large, or lies damaged in the store. */
#include "tests/jobs/jobs_support.h"

#include "replication/jobs/job_records.h"
#include "replication/wire/mp_writer.h"

#include <stdio.h>
#include <string.h>

/* ---- late ---- */

static void test_a_worker_with_a_patient_task_is_not_gone(void **state)
{
    (void)state;
    struct kvp_job_spec spec = mode_of("single");
    struct kvp_task_grant grant, other;
    bool go_on;
    spec.silence_ms = 20000;
    farm_job(&farm, &spec, 2);
    struct hand ann = farm_join(&farm, "ann", "count", false);
    struct hand spare = farm_join(&farm, "spare", "count", true);
    assert_int_equal(farm_fetch(&farm, &ann, &grant), KVP_OK);
    struct kvp_task_grant kept = grant;
    assert_int_equal(grant.beat_ms, 5000);
    for (unsigned i = 0; i < 6; i++) {
        for (unsigned k = 0; k < 5; k++) {
            farm_wait(&farm, 1000);
            assert_int_equal(farm_fetch(&farm, &spare, &other), KVP_NO_TASK);
        }
        assert_string_equal(farm_worker_text(&farm, "ann", "state"), "active");
        assert_int_equal(farm_beat(&farm, &ann, &kept, &go_on), KVP_OK);
        assert_true(go_on);
    }
    assert_string_equal(farm_worker_text(&farm, "spare", "state"), "standby");
    /* Without a task it is gone as soon as any other. */
    assert_int_equal(farm_post(&farm, &ann, &kept, "x"), KVP_OK);
    for (unsigned i = 0; i < 3; i++) {
        farm_wait(&farm, 1000);
        int status = farm_fetch(&farm, &spare, &other);
        assert_int_equal(status, i < 1 ? KVP_NO_TASK : KVP_OK);
    }
    assert_string_equal(farm_worker_text(&farm, "ann", "state"), "lost");
}

static void test_a_late_copy_of_a_fetch_gets_nothing(void **state)
{
    (void)state;
    struct kvp_job_spec spec = mode_of("single");
    struct kvp_task_grant grant;
    uint64_t job = farm_job(&farm, &spec, 3);
    struct hand ann = farm_join(&farm, "ann", "count", false);
    assert_int_equal(farm_fetch(&farm, &ann, &grant), KVP_OK);
    assert_int_equal(farm_post(&farm, &ann, &grant, "x"), KVP_OK);
    assert_int_equal(farm_fetch(&farm, &ann, &grant), KVP_OK);
    farm.fetches--;
    assert_int_equal(farm_fetch_again(&farm, &ann, &grant), KVP_NO_TASK);
    assert_int_equal(farm_number(&farm, job, "running"), 1);
    farm.fetches++;
    assert_int_equal(farm_fetch_again(&farm, &ann, &grant), KVP_OK);
    assert_int_equal(grant.task, 1);
}

static void test_a_repeated_fetch_is_a_sign_of_life_until_the_deadline(void **state)
{
    (void)state;
    struct kvp_job_spec spec = mode_of("single");
    struct kvp_task_grant grant;
    spec.deadline_ms = 5000;
    farm_job(&farm, &spec, 1);
    struct hand ann = farm_join(&farm, "ann", "count", false);
    assert_int_equal(farm_fetch(&farm, &ann, &grant), KVP_OK);
    uint64_t attempt = grant.attempt;
    for (unsigned i = 0; i < 3; i++) {
        farm_wait(&farm, 1500);
        assert_int_equal(farm_fetch_again(&farm, &ann, &grant), KVP_OK);
        assert_true(grant.attempt == attempt);
        assert_int_equal(grant.deadline_ms, 5000 - 1500 * (i + 1));
    }
    farm.now_us += 1000000; /* nobody has looked yet whether it is over */
    assert_int_equal(farm_fetch_again(&farm, &ann, &grant), KVP_OK);
    assert_int_equal(grant.deadline_ms, 0);
}

/* Eve lies three times, while she holds another task. */
static void test_a_barred_worker_does_not_keep_a_task_by_beating(void **state)
{
    (void)state;
    struct kvp_job_spec spec = mode_of("tmr");
    struct kvp_task_grant grant, held;
    uint64_t job = farm_job(&farm, &spec, 4);
    struct hand ann = farm_join(&farm, "ann", "count", false);
    struct hand bob = farm_join(&farm, "bob", "count", false);
    struct hand eve = farm_join(&farm, "eve", "count", false);
    for (unsigned i = 0; i < 3; i++) {
        struct kvp_task_grant lie;
        eve.slot = i;
        assert_int_equal(farm_fetch(&farm, &eve, &lie), KVP_OK);
        if (i == 2) {
            eve.slot = i + 1;
            assert_int_equal(farm_fetch(&farm, &eve, &held), KVP_OK);
            assert_int_equal(held.task, 3);
        }
        assert_int_equal(farm_fetch(&farm, &ann, &grant), KVP_OK);
        assert_int_equal(farm_post(&farm, &ann, &grant, "x"), KVP_OK);
        assert_int_equal(farm_fetch(&farm, &bob, &grant), KVP_OK);
        assert_int_equal(farm_post(&farm, &bob, &grant, "x"), KVP_OK);
        assert_int_equal(farm_post(&farm, &eve, &lie, "lie"), KVP_OK);
    }
    assert_string_equal(farm_worker_text(&farm, "eve", "state"), "barred");
    assert_int_equal(farm_number(&farm, job, "running"), 0);
    assert_int_equal(farm_beat(&farm, &eve, &held, NULL), KVP_WORKER_BARRED);
    assert_int_equal(farm_number(&farm, job, "running"), 0);
    assert_int_equal(farm_post(&farm, &eve, &held, "x"), KVP_WORKER_BARRED);
}

/* ---- too large ---- */

/* Task 8 has `payload`, and is fed the results of eight others, the largest that there are. */
static uint64_t feed(struct hand *hand, const char *payload)
{
    static uint8_t result[KVP_VALUE_SIZE_MAX];
    static const int all[] = {0, 1, 2, 3, 4, 5, 6, 7, -1};
    struct kvp_job_spec spec = mode_of("single");
    struct kvp_task_grant grant;
    uint64_t job = farm_new(&farm, &spec);
    for (unsigned i = 0; i < 8; i++) {
        assert_int_equal(farm_add(&farm, job, i, "count", "", NULL, false), KVP_OK);
    }
    assert_int_equal(farm_add(&farm, job, 8, "count", payload, all, true), KVP_OK);
    assert_int_equal(farm_start(&farm, job), KVP_OK);
    for (unsigned i = 0; i < 8; i++) {
        assert_int_equal(farm_fetch(&farm, hand, &grant), KVP_OK);
        assert_int_equal(farm_post_bytes(&farm, hand, &grant, KVP_OUTCOME_RESULT,
                                         kvp_slice_of(result, sizeof(result)), NULL),
                         KVP_OK);
    }
    return job;
}

static void test_a_task_is_fed_up_to_8_mib(void **state)
{
    (void)state;
    struct kvp_task_grant grant;
    struct hand ann = farm_join_sized(&farm, "ann", "count", false, UINT64_MAX);
    uint64_t job = feed(&ann, "");
    assert_int_equal(farm_fetch(&farm, &ann, &grant), KVP_OK);
    assert_int_equal(grant.task, 8);
    assert_int_equal(grant.payload.size, 8 * KVP_VALUE_SIZE_MAX);
    assert_string_equal(farm_text(&farm, job, "state"), "running");
}

static void test_a_task_that_is_fed_more_fails_the_job(void **state)
{
    (void)state;
    struct kvp_task_grant grant;
    struct hand ann = farm_join_sized(&farm, "ann", "count", false, UINT64_MAX);
    uint64_t job = feed(&ann, "x");
    assert_string_equal(farm_text(&farm, job, "state"), "failed");
    assert_string_equal(farm_text(&farm, job, "reason"),
                        "task 8: with what it is fed it has more than 8 MiB");
    assert_int_equal(farm_fetch(&farm, &ann, &grant), KVP_NO_TASK);
}

static void test_the_next_primary_feeds_as_well(void **state)
{
    (void)state;
    struct kvp_task_grant grant;
    struct hand ann = farm_join_sized(&farm, "ann", "count", false, UINT64_MAX);
    uint64_t job = feed(&ann, "");
    farm_failover(&farm);
    assert_string_equal(farm_text(&farm, job, "state"), "running");
    assert_int_equal(farm_fetch(&farm, &ann, &grant), KVP_OK);
    assert_int_equal(grant.payload.size, 8 * KVP_VALUE_SIZE_MAX);
}

static int add_tasks(uint64_t job, uint32_t first, uint32_t count, uint32_t after_count,
                     size_t payload_size)
{
    static uint8_t payload[KVP_VALUE_SIZE_MAX];
    static uint32_t after[KVP_JOB_DEPS_MAX];
    kvp_buf list = {0};
    struct kvp_request request = {.op = KVP_OP_JOB_TASKS, .job = {.job = job, .number = first}};
    assert_int_equal(kvp_job_tasks_open(&list, count), KVP_OK);
    for (uint32_t i = 0; i < count; i++) {
        assert_int_equal(kvp_job_tasks_put(&list, TEXT("count"), after, after_count, false,
                                           kvp_slice_of(payload, payload_size)),
                         KVP_OK);
    }
    request.value = kvp_buf_slice(&list);
    int status = farm_ask(&farm, &request, NULL);
    kvp_buf_free(&list);
    return status;
}

static void test_a_list_of_tasks_is_larger_than_a_value(void **state)
{
    (void)state;
    struct kvp_job_spec spec = mode_of("single");
    uint64_t job = farm_new(&farm, &spec);
    assert_int_equal(add_tasks(job, 0, 3, 0, KVP_VALUE_SIZE_MAX), KVP_OK);
    assert_int_equal(add_tasks(job, 3, 4, 0, KVP_VALUE_SIZE_MAX), KVP_TOO_LARGE);
    assert_int_equal(farm_number(&farm, job, "tasks"), 3);
}

static void test_what_tasks_wait_for_is_bounded(void **state)
{
    (void)state;
    struct kvp_job_spec spec = mode_of("single");
    uint64_t job = farm_new(&farm, &spec);
    uint32_t count = 1;
    int status = KVP_OK;
    assert_int_equal(add_tasks(job, 0, 1, 0, 0), KVP_OK);
    for (; status == KVP_OK && count < 10000; count += status == KVP_OK ? 500 : 0) {
        status = add_tasks(job, count, 500, KVP_JOB_DEPS_MAX, 0);
    }
    assert_int_equal(status, KVP_TOO_LARGE);
    assert_int_equal(count, 1 + 500 * ((4u << 21) / (500 * KVP_JOB_DEPS_MAX)));
    assert_int_equal(farm_number(&farm, job, "tasks"), count);
}

/* A million tasks that nobody has uploaded anything for take no memory, also with a new primary. */
static void test_a_product_that_never_started_has_no_tasks(void **state)
{
    (void)state;
    struct kvp_job_spec spec;
    kvp_job_spec_init(&spec, KVP_JOB_MATMUL);
    spec.rows = spec.columns = 1024;
    spec.inner = spec.tile_rows = spec.tile_inner = spec.tile_columns = 1;
    uint64_t job = farm_new(&farm, &spec);
    assert_int_equal(farm_cancel(&farm, job), KVP_OK);
    assert_int_equal(farm_number(&farm, job, "tasks"), 0);
    farm_failover(&farm);
    assert_int_equal(farm_number(&farm, job, "tasks"), 0);
    assert_string_equal(farm_text(&farm, job, "state"), "cancelled");
}

/* ---- damaged ---- */

static int load_with_task(uint64_t job, uint32_t number, const struct task_record *task)
{
    struct kvp_raw_key key;
    kvp_buf record = {0};
    job_key_part(&key, JOB_KEY_TASK, job, number);
    assert_int_equal(task_record_encode(task, &record), KVP_OK);
    int status = farm_load_with(&farm, &key, &record);
    kvp_buf_free(&record);
    return status;
}

static void test_a_record_that_does_not_fit_its_job_is_found(void **state)
{
    (void)state;
    struct kvp_job_spec spec = mode_of("single");
    uint64_t job = farm_job(&farm, &spec, 3);
    const struct task_record good = {.state = TASK_OPEN, .copies = 1};
    assert_int_equal(load_with_task(job, 2, &good), KVP_OK);
    struct task_record task = good;
    task.kind = 1;
    assert_int_equal(load_with_task(job, 2, &task), KVP_CORRUPT);
    task = good;
    task.summed = true;
    assert_int_equal(load_with_task(job, 2, &task), KVP_CORRUPT);
    task = good;
    task.after_count = 1;
    task.after = TEXT("\x02");
    assert_int_equal(load_with_task(job, 2, &task), KVP_CORRUPT);
    task.after = TEXT("\x01");
    assert_int_equal(load_with_task(job, 2, &task), KVP_OK);
    assert_int_equal(load_with_task(job, 3, &good), KVP_CORRUPT); /* one more than the job has */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FARM_TEST(test_a_worker_with_a_patient_task_is_not_gone),
        FARM_TEST(test_a_late_copy_of_a_fetch_gets_nothing),
        FARM_TEST(test_a_repeated_fetch_is_a_sign_of_life_until_the_deadline),
        FARM_TEST(test_a_barred_worker_does_not_keep_a_task_by_beating),
        FARM_TEST(test_a_task_is_fed_up_to_8_mib),
        FARM_TEST(test_a_task_that_is_fed_more_fails_the_job),
        FARM_TEST(test_the_next_primary_feeds_as_well),
        FARM_TEST(test_a_list_of_tasks_is_larger_than_a_value),
        FARM_TEST(test_what_tasks_wait_for_is_bounded),
        FARM_TEST(test_a_product_that_never_started_has_no_tasks),
        FARM_TEST(test_a_record_that_does_not_fit_its_job_is_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
