/* SPDX-License-Identifier: Apache-2.0 */
/* Jobs that go on without what has failed, keys, pauses, limits, drained workers, fair shares. */
#include "tests/jobs/jobs_support.h"
#include "replication/jobs/job_state.h"
#include "replication/wire/mp_reader.h"

#include <stdio.h>
#include <string.h>

static struct kvp_job_spec going_on(unsigned attempts_max)
{
    struct kvp_job_spec spec = mode_of("single");
    spec.on_failure = KVP_ON_FAILURE_CONTINUE;
    spec.attempts_max = (uint8_t)attempts_max;
    spec.retry_ms = 0;
    return spec;
}

static void post_failure(const struct hand *hand, const struct kvp_task_grant *grant,
                         const char *reason)
{
    assert_int_equal(farm_post_bytes(&farm, hand, grant, KVP_OUTCOME_FAILED, text(reason), NULL),
                     KVP_OK);
}

static int say(unsigned op, uint64_t job, unsigned what, uint64_t value)
{
    struct kvp_request request = {.op = op, .job = {.job = job, .what = what, .number = value}};
    return farm_ask(&farm, &request, NULL);
}

static int set(uint64_t job, unsigned what, uint64_t value)
{
    return say(KVP_OP_JOB_SET, job, what, value);
}

static int drain(const char *name, uint64_t value)
{
    struct kvp_request request = {.op = KVP_OP_WORKER_SET, .key = text(name)};
    request.job.number = value;
    return farm_ask(&farm, &request, NULL);
}

/* How many were opened again. */
static uint32_t retry(uint64_t job, uint64_t first, uint32_t count, int expected)
{
    struct kvp_request request = {
        .op = KVP_OP_JOB_RETRY, .count_max = count, .job = {.job = job, .number = first}};
    struct kvp_mp_reader reader;
    kvp_buf answer = {0};
    assert_int_equal(farm_ask(&farm, &request, &answer), expected);
    kvp_mp_begin(&reader, kvp_buf_slice(&answer));
    kvp_mp_array_of(&reader, 2);
    uint32_t opened = expected == KVP_OK ? (uint32_t)kvp_mp_uint(&reader) : 0;
    kvp_buf_free(&answer);
    return opened;
}

static bool answer_has(unsigned what, uint64_t job, const char *word)
{
    struct kvp_request request = {.op = KVP_OP_JOB_INFO, .job = {.job = job, .what = what}};
    kvp_buf answer = {0};
    assert_int_equal(farm_ask(&farm, &request, &answer), KVP_OK);
    bool has = memmem(answer.data, answer.size, word, strlen(word)) != NULL;
    kvp_buf_free(&answer);
    return has;
}

/* The worker takes `count` tasks; those whose payload is `poison` fail. */
static void work(const struct hand *hand, unsigned count, const char *poison)
{
    struct kvp_task_grant grant;
    for (unsigned i = 0; i < count; i++) {
        if (farm_fetch(&farm, hand, &grant) != KVP_OK) {
            return;
        }
        bool bad = kvp_slice_compare(grant.payload, text(poison)) == 0;
        if (bad) {
            post_failure(hand, &grant, "exit status 3: no such word");
        } else {
            assert_int_equal(farm_post(&farm, hand, &grant, "x"), KVP_OK);
        }
    }
}

/* ---- failed tasks ---- */

static void test_a_job_goes_on_without_the_tasks_that_have_failed(void **state)
{
    (void)state;
    struct kvp_job_spec spec = going_on(2);
    uint64_t job = farm_job(&farm, &spec, 10);
    struct hand ann = farm_join(&farm, "ann", "count", false);
    struct hand bob = farm_join(&farm, "bob", "count", false);
    for (unsigned i = 0; i < 20; i++) {
        work(&ann, 1, "4");
        work(&bob, 1, "4");
    }
    check_state(job, "done-with-failures");
    assert_int_equal(farm_number(&farm, job, "done"), 9);
    assert_int_equal(farm_number(&farm, job, "failed"), 1);
    farm_failover(&farm);
    assert_int_equal(farm_number(&farm, job, "failed"), 1);
    assert_true(answer_has(KVP_INFO_DEAD, job, "no such word"));
}

static void test_what_waits_for_a_failed_task_does_not_hold_up_the_end(void **state)
{
    (void)state;
    struct kvp_job_spec spec = going_on(1);
    uint64_t job = farm_new(&farm, &spec);
    static const int first[] = {0, -1}, second[] = {2, -1};
    assert_int_equal(farm_add(&farm, job, 0, "count", "bad", NULL, false), KVP_OK);
    assert_int_equal(farm_add(&farm, job, 1, "count", "good", NULL, false), KVP_OK);
    assert_int_equal(farm_add(&farm, job, 2, "count", "good", first, false), KVP_OK);
    assert_int_equal(farm_add(&farm, job, 3, "count", "good", second, false), KVP_OK);
    assert_int_equal(farm_start(&farm, job), KVP_OK);
    struct hand ann = farm_join(&farm, "ann", "count", false);
    work(&ann, 4, "bad");
    check_state(job, "done-with-failures");
    assert_int_equal(farm_number(&farm, job, "waiting"), 2);
    assert_int_equal(retry(job, 0, UINT32_MAX, KVP_OK), 1);
    work(&ann, 4, "");
    check_state(job, "done");
}

static void test_failed_tasks_are_tried_again_with_nothing_held_against_them(void **state)
{
    (void)state;
    struct kvp_job_spec spec = going_on(1);
    uint64_t job = farm_job(&farm, &spec, 3);
    struct hand ann = farm_join(&farm, "ann", "count", false);
    work(&ann, 3, "1");
    check_state(job, "done-with-failures");
    assert_int_equal(retry(job, 0, 1, KVP_JOB_STATE), 0); /* that one is done */
    assert_int_equal(retry(job, 1, 1, KVP_OK), 1);
    check_state(job, "running");
    farm_failover(&farm);
    assert_int_equal(farm_number(&farm, job, "failed"), 0);
    assert_int_equal(farm_number(&farm, job, "redone"), 0);
    work(&ann, 1, "");
    check_state(job, "done");
    assert_int_equal(retry(job, 0, UINT32_MAX, KVP_JOB_STATE), 0);
}

static void test_a_job_that_stopped_at_a_failed_task_can_be_tried_again(void **state)
{
    (void)state;
    struct kvp_job_spec spec = going_on(1);
    spec.on_failure = KVP_ON_FAILURE_STOP;
    uint64_t job = farm_job(&farm, &spec, 3);
    struct hand ann = farm_join(&farm, "ann", "count", false);
    work(&ann, 3, "1");
    check_state(job, "failed");
    assert_int_equal(retry(job, 0, UINT32_MAX, KVP_OK), 1);
    work(&ann, 3, "");
    check_state(job, "done");
}

static void test_a_product_does_not_go_on_without_a_task(void **state)
{
    (void)state;
    struct kvp_job_spec spec;
    const char *reason = "";
    kvp_job_spec_init(&spec, KVP_JOB_MATMUL);
    spec.on_failure = KVP_ON_FAILURE_CONTINUE;
    assert_int_equal(kvp_job_spec_check(&spec, &reason), KVP_BAD_REQUEST);
}

/* ---- keys ---- */

static bool made_new(const struct kvp_job_spec *spec, uint64_t *job)
{
    struct kvp_request request = {.op = KVP_OP_JOB_NEW};
    struct kvp_mp_reader reader;
    kvp_buf bytes = {0}, answer = {0};
    assert_int_equal(kvp_job_spec_encode(spec, &bytes), KVP_OK);
    request.value = kvp_buf_slice(&bytes);
    assert_int_equal(farm_ask(&farm, &request, &answer), KVP_OK);
    kvp_mp_begin(&reader, kvp_buf_slice(&answer));
    kvp_mp_array_of(&reader, 2);
    *job = kvp_mp_uint(&reader);
    bool made = kvp_mp_bool(&reader);
    assert_true(kvp_mp_done(&reader));
    kvp_buf_free(&bytes);
    kvp_buf_free(&answer);
    return made;
}

static uint64_t started_as(uint64_t job)
{
    struct kvp_request request = {.op = KVP_OP_JOB_START, .job = {.job = job}};
    struct kvp_mp_reader reader;
    kvp_buf answer = {0};
    assert_int_equal(farm_ask(&farm, &request, &answer), KVP_OK);
    kvp_mp_begin(&reader, kvp_buf_slice(&answer));
    kvp_mp_array_of(&reader, 2);
    uint64_t id = kvp_mp_uint(&reader);
    kvp_buf_free(&answer);
    return id;
}

static void test_the_same_key_is_the_same_job_also_after_a_failover(void **state)
{
    (void)state;
    struct kvp_job_spec spec = going_on(1);
    uint64_t first, second, third;
    spec.key = "report-17";
    assert_true(made_new(&spec, &first));
    assert_true(made_new(&spec, &second)); /* neither is started so far */
    assert_int_equal(farm_add(&farm, first, 0, "count", "a", NULL, false), KVP_OK);
    assert_int_equal(farm_add(&farm, second, 0, "count", "a", NULL, false), KVP_OK);
    assert_int_equal(started_as(second), second);
    farm_failover(&farm);
    assert_int_equal(started_as(first), second);
    assert_int_equal(started_as(second), second);
    assert_int_equal(farm_add(&farm, first, 1, "count", "a", NULL, false), KVP_NO_SUCH_JOB);
    assert_false(made_new(&spec, &third));
    assert_int_equal(third, second);
    assert_string_equal(farm_text(&farm, second, "key"), "report-17");
}

static void test_a_key_is_free_again_when_its_job_is_removed(void **state)
{
    (void)state;
    struct kvp_job_spec spec = going_on(1);
    uint64_t first, second;
    spec.key = "k";
    assert_true(made_new(&spec, &first));
    assert_int_equal(farm_add(&farm, first, 0, "count", "a", NULL, false), KVP_OK);
    assert_int_equal(started_as(first), first);
    assert_int_equal(farm_cancel(&farm, first), KVP_OK);
    assert_false(made_new(&spec, &second));
    assert_int_equal(say(KVP_OP_JOB_REMOVE, first, 0, 0), KVP_OK);
    assert_true(made_new(&spec, &second));
    assert_true(second != first);
}

/* ---- settings ---- */

static void test_a_paused_job_hands_out_nothing_also_after_a_failover(void **state)
{
    (void)state;
    struct kvp_job_spec spec = mode_of("single");
    struct kvp_task_grant grant;
    uint64_t job = farm_job(&farm, &spec, 2);
    struct hand ann = farm_join(&farm, "ann", "count", false);
    assert_int_equal(set(job, KVP_JOB_SET_PAUSED, 1), KVP_OK);
    assert_int_equal(farm_fetch(&farm, &ann, &grant), KVP_NO_TASK);
    farm_failover(&farm);
    assert_int_equal(farm_fetch(&farm, &ann, &grant), KVP_NO_TASK);
    assert_string_equal(farm_text(&farm, job, "lacks"), "it is paused");
    assert_int_equal(set(job, KVP_JOB_SET_PAUSED, 0), KVP_OK);
    assert_int_equal(farm_fetch(&farm, &ann, &grant), KVP_OK);
    assert_int_equal(set(job, KVP_JOB_SET_PAUSED, 2), KVP_BAD_REQUEST);
    assert_int_equal(set(job, 99, 0), KVP_BAD_REQUEST);
}

static void test_no_more_attempts_are_under_way_than_allowed_after_a_failover(void **state)
{
    (void)state;
    struct kvp_job_spec spec = mode_of("single");
    struct kvp_task_grant grant, other;
    bool go_on = false;
    spec.max_running = 1;
    uint64_t job = farm_job(&farm, &spec, 3);
    struct hand ann = farm_join(&farm, "ann", "count", false);
    struct hand bob = farm_join(&farm, "bob", "count", false);
    assert_int_equal(farm_fetch(&farm, &ann, &grant), KVP_OK);
    assert_int_equal(farm_fetch(&farm, &bob, &other), KVP_NO_TASK);
    farm_failover(&farm);
    assert_int_equal(farm_fetch(&farm, &bob, &other), KVP_NO_TASK); /* it does not know of ann's */
    assert_int_equal(farm_beat(&farm, &ann, &grant, &go_on), KVP_OK);
    assert_true(go_on);
    farm_wait(&farm, 500);
    assert_int_equal(farm_fetch(&farm, &bob, &other), KVP_NO_TASK);
    assert_int_equal(set(job, KVP_JOB_SET_MAX_RUNNING, 2), KVP_OK);
    farm_wait(&farm, 4000);
    assert_int_equal(farm_fetch(&farm, &bob, &other), KVP_OK);
}

/* Whoever works cannot say so meanwhile. */
static void test_attempts_are_waited_for_as_long_as_nobody_can_be_heard(void **state)
{
    (void)state;
    struct kvp_job_spec spec = mode_of("single");
    struct kvp_task_grant grant, other;
    bool go_on = false;
    spec.max_running = 1;
    (void)farm_job(&farm, &spec, 3);
    struct hand ann = farm_join(&farm, "ann", "count", false);
    struct hand bob = farm_join(&farm, "bob", "count", false);
    assert_int_equal(farm_fetch(&farm, &ann, &grant), KVP_OK);
    farm_failover(&farm);
    struct kvp_jobs *jobs = kvp_engine_jobs(farm.bench.engine);
    kvp_jobs_hear(jobs, farm.now_us, 0);
    farm_wait(&farm, 20000);
    kvp_jobs_hear(jobs, 0, 20000000);
    farm_wait(&farm, 400);
    assert_int_equal(farm_fetch(&farm, &bob, &other), KVP_NO_TASK);
    assert_int_equal(farm_beat(&farm, &ann, &grant, &go_on), KVP_OK);
    assert_true(go_on);
    farm_wait(&farm, 1000);
    assert_int_equal(farm_post(&farm, &ann, &grant, "x"), KVP_OK);
    farm_wait(&farm, 3000);
    assert_int_equal(farm_fetch(&farm, &bob, &other), KVP_OK);
}

static void test_a_priority_can_be_raised_while_the_job_runs(void **state)
{
    (void)state;
    struct kvp_job_spec spec = mode_of("single");
    struct kvp_task_grant grant;
    (void)farm_job(&farm, &spec, 9);
    uint64_t second = farm_job(&farm, &spec, 9);
    struct hand ann = farm_join(&farm, "ann", "count", false);
    assert_int_equal(set(second, KVP_JOB_SET_PRIORITY, 101), KVP_OK);
    for (unsigned i = 0; i < 9; i++) {
        assert_int_equal(farm_fetch(&farm, &ann, &grant), KVP_OK);
        assert_int_equal(grant.job, second);
        assert_int_equal(farm_post(&farm, &ann, &grant, "x"), KVP_OK);
    }
    assert_int_equal(set(second, KVP_JOB_SET_PRIORITY, 1), KVP_JOB_STATE);
}

static void test_a_drained_worker_gets_nothing_until_it_is_resumed(void **state)
{
    (void)state;
    struct kvp_job_spec spec = mode_of("single");
    struct kvp_task_grant grant;
    (void)farm_job(&farm, &spec, 2);
    struct hand ann = farm_join(&farm, "ann", "count", false);
    assert_int_equal(farm_fetch(&farm, &ann, &grant), KVP_OK);
    assert_int_equal(drain("ann", 1), KVP_OK);
    assert_string_equal(farm_worker_text(&farm, "ann", "state"), "draining");
    assert_int_equal(farm_post(&farm, &ann, &grant, "x"), KVP_OK);
    assert_int_equal(farm_fetch(&farm, &ann, &grant), KVP_NO_TASK);
    ann = farm_join(&farm, "ann", "count", false);
    farm_failover(&farm);
    assert_int_equal(farm_fetch(&farm, &ann, &grant), KVP_NO_TASK);
    assert_string_equal(farm_worker_text(&farm, "ann", "state"), "drained");
    assert_int_equal(drain("ann", 0), KVP_OK);
    assert_int_equal(farm_fetch(&farm, &ann, &grant), KVP_OK);
    assert_int_equal(drain("nobody", 1), KVP_NOT_FOUND);
}

static void test_a_standby_takes_the_place_of_a_drained_worker(void **state)
{
    (void)state;
    struct kvp_job_spec spec = mode_of("single");
    struct kvp_task_grant grant;
    (void)farm_job(&farm, &spec, 2);
    (void)farm_join(&farm, "ann", "count", false);
    struct hand dan = farm_join(&farm, "dan", "count", true);
    assert_int_equal(farm_fetch(&farm, &dan, &grant), KVP_NO_TASK);
    assert_int_equal(drain("ann", 1), KVP_OK);
    assert_int_equal(farm_fetch(&farm, &dan, &grant), KVP_OK);
}

/* ---- time ---- */

static void test_a_job_expires_also_where_primaries_change(void **state)
{
    (void)state;
    struct kvp_job_spec spec = mode_of("single");
    spec.expires_s = 32;
    uint64_t job = farm_job(&farm, &spec, 2);
    for (unsigned i = 0; i < 3; i++) {
        farm_wait(&farm, 9000);
        check_state(job, "running");
        farm_failover(&farm);
    }
    farm_wait(&farm, 10000); /* of the times under each primary at most a sixteenth is lost */
    check_state(job, "failed");
    assert_non_null(strstr(farm_text(&farm, job, "reason"), "expired"));
}

/* One worker, a job of tasks of 10 s, and then one of tasks of 0.1 s. */
static void test_a_short_job_waits_for_one_task_of_a_long_one(void **state)
{
    (void)state;
    struct kvp_job_spec spec = mode_of("single");
    struct kvp_task_grant grant;
    spec.silence_ms = 60000;
    uint64_t long_job = farm_job(&farm, &spec, 50);
    struct hand ann = farm_join(&farm, "ann", "count", false);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(farm_fetch(&farm, &ann, &grant), KVP_OK);
        farm_wait(&farm, 10000);
        assert_int_equal(farm_post(&farm, &ann, &grant, "x"), KVP_OK);
    }
    assert_int_equal(farm_fetch(&farm, &ann, &grant), KVP_OK);
    uint64_t short_job = farm_job(&farm, &spec, 20), handed[2] = {0, 0};
    farm_wait(&farm, 10000);
    assert_int_equal(farm_post(&farm, &ann, &grant, "x"), KVP_OK);
    for (unsigned i = 0; i < 20; i++) {
        assert_int_equal(farm_fetch(&farm, &ann, &grant), KVP_OK);
        handed[grant.job == short_job]++;
        farm_wait(&farm, grant.job == short_job ? 100 : 10000);
        assert_int_equal(farm_post(&farm, &ann, &grant, "x"), KVP_OK);
        assert_true(i > 0 || grant.job == short_job);
    }
    assert_true(handed[0] <= 1); /* all of the short one takes less time than one of the long one */
    assert_int_equal(farm_number(&farm, long_job, "done"), 4 + handed[0]);
}

static void test_submitters_share_and_not_their_jobs(void **state)
{
    (void)state;
    struct kvp_job_spec spec = mode_of("single");
    struct kvp_task_grant grant;
    uint64_t jobs[4];
    unsigned handed = 0;
    for (unsigned i = 0; i < 4; i++) {
        jobs[i] = farm_job(&farm, &spec, 40);
        job_find(kvp_engine_jobs(farm.bench.engine), jobs[i])->client = i < 3 ? 7 : 8;
    }
    struct hand ann = farm_join(&farm, "ann", "count", false);
    for (unsigned i = 0; i < 60; i++) {
        assert_int_equal(farm_fetch(&farm, &ann, &grant), KVP_OK);
        handed += grant.job == jobs[3];
        farm_wait(&farm, 100);
        assert_int_equal(farm_post(&farm, &ann, &grant, "x"), KVP_OK);
    }
    assert_in_range(handed, 27, 33); /* half of the time is the second submitter's */
}

/* ---- records ---- */

static struct job_record again(const struct job_record *record, uint8_t size)
{
    struct job_record read;
    kvp_buf bytes = {0};
    memset(&read, 0xa5, sizeof(read));
    assert_int_equal(job_record_encode(record, &bytes), KVP_OK);
    assert_int_equal(bytes.data[0], 0x90 | size);
    assert_int_equal(job_record_decode(kvp_buf_slice(&bytes), &read), KVP_OK);
    kvp_buf_free(&bytes);
    return read;
}

/* What only some jobs have stands at the end, and only where a job has it: the release before reads
 * the records of all others. */
static void test_records_of_plain_jobs_are_those_of_the_release_before(void **state)
{
    (void)state;
    struct job_record record = {.state = JOB_RUNNING};
    kvp_buf spec = {0};
    kvp_job_spec_init(&record.spec, KVP_JOB_TASKS);
    (void)again(&record, 7);
    assert_int_equal(kvp_job_spec_encode(&record.spec, &spec), KVP_OK);
    assert_int_equal(spec.data[2], 22);
    kvp_buf_free(&spec);
    record.paused = true;
    assert_true(again(&record, 8).paused);
    record.age = 5;
    memcpy(record.key, "nightly", sizeof("nightly"));
    record.spec.on_failure = KVP_ON_FAILURE_CONTINUE;
    record.spec.max_running = UINT32_MAX;
    record.spec.expires_s = UINT32_MAX - 1;
    struct job_record read = again(&record, 9);
    assert_int_equal(read.age, 5);
    assert_string_equal(read.key, "nightly");
    assert_int_equal(read.spec.on_failure, KVP_ON_FAILURE_CONTINUE);
    assert_int_equal(read.spec.max_running, UINT32_MAX);
    assert_int_equal(read.spec.expires_s, UINT32_MAX - 1);
    assert_null(read.spec.key);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FARM_TEST(test_a_job_goes_on_without_the_tasks_that_have_failed),
        FARM_TEST(test_what_waits_for_a_failed_task_does_not_hold_up_the_end),
        FARM_TEST(test_failed_tasks_are_tried_again_with_nothing_held_against_them),
        FARM_TEST(test_a_job_that_stopped_at_a_failed_task_can_be_tried_again),
        FARM_TEST(test_a_product_does_not_go_on_without_a_task),
        FARM_TEST(test_the_same_key_is_the_same_job_also_after_a_failover),
        FARM_TEST(test_a_key_is_free_again_when_its_job_is_removed),
        FARM_TEST(test_a_paused_job_hands_out_nothing_also_after_a_failover),
        FARM_TEST(test_no_more_attempts_are_under_way_than_allowed_after_a_failover),
        FARM_TEST(test_attempts_are_waited_for_as_long_as_nobody_can_be_heard),
        FARM_TEST(test_a_priority_can_be_raised_while_the_job_runs),
        FARM_TEST(test_a_drained_worker_gets_nothing_until_it_is_resumed),
        FARM_TEST(test_a_standby_takes_the_place_of_a_drained_worker),
        FARM_TEST(test_a_job_expires_also_where_primaries_change),
        FARM_TEST(test_a_short_job_waits_for_one_task_of_a_long_one),
        cmocka_unit_test(test_records_of_plain_jobs_are_those_of_the_release_before),
        FARM_TEST(test_submitters_share_and_not_their_jobs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
