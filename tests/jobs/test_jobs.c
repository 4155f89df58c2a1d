/* SPDX-License-Identifier: Apache-2.0 */
/* The job engine: submitting, handing out, losing, ending. */
#include "tests/jobs/jobs_support.h"

#include <stdio.h>
#include <string.h>

/* ---- submitting ---- */

static void test_a_job_runs_from_submission_to_result(void **state)
{
    (void)state;
    struct kvp_job_spec spec = mode_of("single");
    struct kvp_task_grant grant;
    uint64_t job = farm_job(&farm, &spec, 1);
    check_state(job, "running");
    struct hand worker = farm_join(&farm, "ann", "count", false);
    assert_int_equal(farm_fetch(&farm, &worker, &grant), KVP_OK);
    assert_int_equal(grant.job, job);
    assert_int_equal(grant.task, 0);
    check_slice(grant.payload, TEXT("0"));
    check_slice(grant.kind, TEXT("count"));
    assert_int_equal(farm_number(&farm, job, "running"), 1);
    assert_int_equal(farm_post(&farm, &worker, &grant, "zero"), KVP_OK);
    check_state(job, "done");
    check_result(job, 0, "zero");
    assert_int_equal(farm_fetch(&farm, &worker, &grant), KVP_NO_TASK);
}

static void check_counts(uint64_t queued, uint64_t running, uint64_t done)
{
    const struct kvp_jobs *jobs = kvp_engine_jobs(farm.bench.engine);
    struct kvp_jobs_counts counts = kvp_jobs_count(jobs, farm.now_us);
    assert_int_equal(counts.queued, queued);
    assert_int_equal(counts.running, running);
    assert_int_equal(counts.done, done);
}

static void test_tasks_are_counted_by_what_they_wait_for(void **state)
{
    (void)state;
    struct kvp_job_spec spec = mode_of("single");
    struct kvp_task_grant grant, other;
    uint64_t job = farm_job(&farm, &spec, 3);
    check_counts(3, 0, 0);
    struct hand worker = farm_join(&farm, "ann", "count", false);
    assert_int_equal(farm_fetch(&farm, &worker, &grant), KVP_OK);
    check_counts(2, 1, 0);
    assert_int_equal(farm_post(&farm, &worker, &grant, "x"), KVP_OK);
    check_counts(2, 0, 1);
    assert_int_equal(farm_fetch(&farm, &worker, &other), KVP_OK);
    farm_failover(&farm); /* the new primary learns of it when it hears of it */
    check_counts(2, 0, 1);
    assert_int_equal(farm_cancel(&farm, job), KVP_OK);
    check_counts(0, 0, 1);
}

static void test_a_job_that_is_not_started_is_not_handed_out(void **state)
{
    (void)state;
    struct kvp_job_spec spec = mode_of("single");
    struct kvp_task_grant grant;
    uint64_t job = farm_new(&farm, &spec);
    struct hand worker = farm_join(&farm, "ann", "count", false);
    assert_int_equal(farm_start(&farm, job), KVP_JOB_STATE);
    assert_int_equal(farm_add(&farm, job, 0, "count", "x", NULL, false), KVP_OK);
    assert_int_equal(farm_fetch(&farm, &worker, &grant), KVP_NO_TASK);
    assert_int_equal(farm_start(&farm, job), KVP_OK);
    assert_int_equal(farm_start(&farm, job), KVP_JOB_STATE);
    assert_int_equal(farm_add(&farm, job, 1, "count", "x", NULL, false), KVP_JOB_STATE);
    assert_int_equal(farm_fetch(&farm, &worker, &grant), KVP_OK);
}

static void test_malformed_submissions_change_nothing(void **state)
{
    (void)state;
    const int itself[] = {0, -1}, later[] = {5, -1};
    struct kvp_job_spec spec = mode_of("single");
    uint64_t job = farm_new(&farm, &spec);
    assert_int_equal(farm_add(&farm, job, 1, "count", "x", NULL, false), KVP_BAD_REQUEST);
    assert_int_equal(farm_add(&farm, job, 0, "count", "x", itself, false), KVP_BAD_REQUEST);
    assert_int_equal(farm_add(&farm, job, 0, "count", "x", later, false), KVP_BAD_REQUEST);
    assert_int_equal(farm_add(&farm, job, 0, "", "x", NULL, false), KVP_BAD_REQUEST);
    assert_int_equal(farm_add(&farm, job + 1, 0, "count", "x", NULL, false), KVP_NO_SUCH_JOB);
    assert_int_equal(farm_block(&farm, job, 0, TEXT("x")), KVP_BAD_REQUEST);
    assert_int_equal(farm_number(&farm, job, "tasks"), 0);
    struct kvp_request request = {.op = KVP_OP_JOB_NEW, .value = TEXT("\x91\x01")};
    assert_int_equal(farm_ask(&farm, &request, NULL), KVP_BAD_REQUEST);
    request = (struct kvp_request){
        .op = KVP_OP_JOB_TASKS, .job = {.job = job}, .value = TEXT("\x91\x01")};
    assert_int_equal(farm_ask(&farm, &request, NULL), KVP_BAD_REQUEST);
}

/* ---- handing out ---- */

static void test_tasks_go_out_in_order_and_jobs_by_priority(void **state)
{
    (void)state;
    struct kvp_job_spec spec = mode_of("single");
    struct kvp_task_grant grant;
    uint64_t low = farm_job(&farm, &spec, 1);
    uint64_t later = farm_job(&farm, &spec, 1);
    spec.priority++;
    uint64_t high = farm_job(&farm, &spec, 2);
    const struct {
        uint64_t job;
        uint32_t task;
    } expected[] = {{high, 0}, {high, 1}, {low, 0}, {later, 0}};
    struct hand worker = farm_join(&farm, "ann", "count", false);
    for (unsigned i = 0; i < 4; i++) {
        worker.slot = i;
        assert_int_equal(farm_fetch(&farm, &worker, &grant), KVP_OK);
        assert_int_equal(grant.job, expected[i].job);
        assert_int_equal(grant.task, expected[i].task);
    }
}

static void test_a_worker_gets_only_what_it_can_do(void **state)
{
    (void)state;
    struct kvp_job_spec spec = mode_of("single");
    struct kvp_task_grant grant;
    uint64_t job = farm_new(&farm, &spec);
    assert_int_equal(farm_add(&farm, job, 0, "paint", "red", NULL, false), KVP_OK);
    assert_int_equal(farm_add(&farm, job, 1, "count", "to ten", NULL, false), KVP_OK);
    assert_int_equal(farm_start(&farm, job), KVP_OK);
    struct hand small = farm_join_sized(&farm, "small", "paint", false, 2);
    struct hand counter = farm_join(&farm, "counter", "count", false);
    assert_int_equal(farm_fetch(&farm, &small, &grant), KVP_NO_TASK);
    assert_int_equal(farm_fetch(&farm, &counter, &grant), KVP_OK);
    assert_int_equal(grant.task, 1);
    struct hand painter = farm_join_sized(&farm, "painter", "paint", false, 3);
    assert_int_equal(farm_fetch(&farm, &painter, &grant), KVP_OK);
    assert_int_equal(grant.task, 0);
}

static void test_a_repeated_fetch_gets_the_same_task(void **state)
{
    (void)state;
    struct kvp_job_spec spec = mode_of("single");
    struct kvp_task_grant first, again;
    farm_job(&farm, &spec, 3);
    struct hand worker = farm_join(&farm, "ann", "count", false);
    assert_int_equal(farm_fetch(&farm, &worker, &first), KVP_OK);
    uint64_t attempt = first.attempt;
    assert_int_equal(farm_fetch_again(&farm, &worker, &again), KVP_OK);
    assert_int_equal(again.attempt, attempt);
    /* The answer was lost, and the worker asks anew: its slot has nothing. */
    assert_int_equal(farm_fetch(&farm, &worker, &again), KVP_OK);
    assert_int_equal(again.task, 0);
    assert_true(again.attempt != attempt);
}

static void test_a_delayed_job_waits(void **state)
{
    (void)state;
    struct kvp_job_spec spec = mode_of("single");
    struct kvp_task_grant grant;
    spec.delay_ms = 3000;
    farm_job(&farm, &spec, 1);
    struct hand worker = farm_join(&farm, "ann", "count", false);
    farm_wait(&farm, 2900);
    assert_int_equal(farm_fetch(&farm, &worker, &grant), KVP_NO_TASK);
    (void)kvp_jobs_work_available(kvp_engine_jobs(farm.bench.engine));
    farm_wait(&farm, 200);
    assert_true(kvp_jobs_work_available(kvp_engine_jobs(farm.bench.engine)));
    assert_int_equal(farm_fetch(&farm, &worker, &grant), KVP_OK);
}

/* ---- dependencies ---- */

static void test_a_task_waits_for_others_and_is_fed(void **state)
{
    (void)state;
    const int both[] = {0, 1, -1};
    struct kvp_job_spec spec = mode_of("single");
    struct kvp_task_grant grant;
    uint64_t job = farm_new(&farm, &spec);
    assert_int_equal(farm_add(&farm, job, 0, "map", "a", NULL, false), KVP_OK);
    assert_int_equal(farm_add(&farm, job, 1, "map", "b", NULL, false), KVP_OK);
    assert_int_equal(farm_add(&farm, job, 2, "map", "sum:", both, true), KVP_OK);
    assert_int_equal(farm_start(&farm, job), KVP_OK);
    assert_int_equal(farm_number(&farm, job, "waiting"), 1);
    struct hand worker = farm_join(&farm, "ann", "map", false);
    struct hand other = farm_join(&farm, "bob", "map", false);
    struct kvp_task_grant second;
    assert_int_equal(farm_fetch(&farm, &worker, &grant), KVP_OK);
    uint32_t first_task = grant.task;
    struct kvp_task_grant kept = grant;
    assert_int_equal(farm_fetch(&farm, &other, &second), KVP_OK);
    assert_int_equal(first_task + second.task, 1);
    assert_int_equal(farm_post(&farm, &other, &second, "[b]"), KVP_OK);
    assert_int_equal(farm_fetch(&farm, &other, &second), KVP_NO_TASK);
    farm_failover(&farm);
    assert_int_equal(farm_fetch(&farm, &other, &second), KVP_OK);
    assert_int_equal(second.task, 0); /* handed out again: the new primary does not know of ann */
    assert_int_equal(farm_post(&farm, &worker, &kept, "[a]"), KVP_OK);
    assert_int_equal(farm_fetch(&farm, &worker, &grant), KVP_OK);
    assert_int_equal(grant.task, 2);
    check_slice(grant.payload, TEXT("sum:[a][b]"));
}

/* ---- losing ---- */

static void test_a_silent_worker_loses_its_task_to_the_head_of_the_queue(void **state)
{
    (void)state;
    struct kvp_job_spec spec = mode_of("single");
    struct kvp_task_grant lost, grant;
    uint64_t job = farm_job(&farm, &spec, 3);
    struct hand ann = farm_join(&farm, "ann", "count", false);
    struct hand bob = farm_join(&farm, "bob", "count", false);
    assert_int_equal(farm_fetch(&farm, &ann, &lost), KVP_OK);
    struct kvp_task_grant kept = lost;
    for (unsigned i = 0; i < 5; i++) {
        farm_wait(&farm, 1000);
        assert_int_equal(farm_beat(&farm, &ann, &kept, NULL), KVP_OK);
    }
    assert_int_equal(farm_number(&farm, job, "redone"), 0);
    farm_wait(&farm, 1950);
    assert_int_equal(farm_number(&farm, job, "running"), 1);
    farm_wait(&farm, 50);
    assert_int_equal(farm_number(&farm, job, "running"), 0);
    assert_int_equal(farm_number(&farm, job, "redone"), 1);
    assert_int_equal(farm_fetch(&farm, &bob, &grant), KVP_OK);
    assert_int_equal(grant.task, 0);
    assert_string_equal(farm_worker_text(&farm, "ann", "state"), "lost");
    /* It was only slow: the first result counts, the second does not. */
    struct kvp_task_grant second = grant;
    bool counted;
    assert_int_equal(farm_post_bytes(&farm, &ann, &kept, KVP_OUTCOME_RESULT, TEXT("ann"), &counted),
                     KVP_OK);
    assert_true(counted);
    bool go_on;
    assert_int_equal(farm_beat(&farm, &bob, &second, &go_on), KVP_OK);
    assert_false(go_on);
    assert_int_equal(
        farm_post_bytes(&farm, &bob, &second, KVP_OUTCOME_RESULT, TEXT("bob"), &counted), KVP_OK);
    assert_false(counted);
    check_result(job, 0, "ann");
    assert_int_equal(farm_number(&farm, job, "late"), 1);
    assert_int_equal(farm_number(&farm, job, "done"), 1);
}

static void test_a_task_that_never_ends_is_taken_away(void **state)
{
    (void)state;
    struct kvp_job_spec spec = mode_of("single");
    struct kvp_task_grant grant;
    spec.deadline_ms = 5000;
    uint64_t job = farm_job(&farm, &spec, 1);
    struct hand ann = farm_join(&farm, "ann", "count", false);
    assert_int_equal(farm_fetch(&farm, &ann, &grant), KVP_OK);
    assert_int_equal(grant.deadline_ms, 5000);
    struct kvp_task_grant kept = grant;
    for (unsigned i = 0; i < 4; i++) {
        farm_wait(&farm, 1000);
        assert_int_equal(farm_beat(&farm, &ann, &kept, NULL), KVP_OK);
    }
    farm_wait(&farm, 1000);
    assert_int_equal(farm_number(&farm, job, "redone"), 1);
}

static void test_deadlines_adapt_to_what_tasks_take(void **state)
{
    (void)state;
    struct kvp_job_spec spec = mode_of("single");
    struct kvp_task_grant grant;
    farm_job(&farm, &spec, 10);
    struct hand ann = farm_join(&farm, "ann", "count", false);
    assert_int_equal(farm_fetch(&farm, &ann, &grant), KVP_OK);
    assert_int_equal(grant.deadline_ms, 60000);
    for (unsigned i = 0; i < 3; i++) {
        farm_wait(&farm, 1000);
        assert_int_equal(farm_post(&farm, &ann, &grant, "x"), KVP_OK);
        assert_int_equal(farm_fetch(&farm, &ann, &grant), KVP_OK);
    }
    assert_int_equal(grant.deadline_ms, 3000);
    struct kvp_task_grant kept = grant;
    farm_wait(&farm, 1500);
    assert_int_equal(farm_beat(&farm, &ann, &kept, NULL), KVP_OK);
    farm_wait(&farm, 500);
    assert_int_equal(farm_post(&farm, &ann, &kept, "x"), KVP_OK);
    assert_int_equal(farm_fetch(&farm, &ann, &grant), KVP_OK);
    assert_int_equal(grant.deadline_ms, 7500); /* 3 * 1.25 s mean * 2 slowest/fastest */
}

static void test_a_task_larger_than_the_others_gets_more_time_with_each_attempt(void **state)
{
    (void)state;
    struct kvp_job_spec spec = mode_of("single");
    struct kvp_task_grant grant;
    uint64_t job = farm_job(&farm, &spec, 2);
    struct hand ann = farm_join(&farm, "ann", "count", false);
    assert_int_equal(farm_fetch(&farm, &ann, &grant), KVP_OK);
    farm_wait(&farm, 100);
    assert_int_equal(farm_post(&farm, &ann, &grant, "x"), KVP_OK);
    for (unsigned deadline_ms = 2000; deadline_ms <= 16000; deadline_ms *= 2) {
        farm_wait(&farm, 1000); /* it is suspected by and by, and has to rest */
        assert_int_equal(farm_fetch(&farm, &ann, &grant), KVP_OK);
        assert_int_equal(grant.deadline_ms, deadline_ms);
        for (unsigned waited_ms = 0; waited_ms < deadline_ms; waited_ms += 500) {
            assert_int_equal(farm_beat(&farm, &ann, &grant, NULL), KVP_OK);
            farm_wait(&farm, 500);
        }
    }
    assert_int_equal(farm_number(&farm, job, "redone"), 4);
    check_state(job, "running");
}

static void test_a_task_that_fails_too_often_fails_the_job(void **state)
{
    (void)state;
    struct kvp_job_spec spec = mode_of("single");
    struct kvp_task_grant grant;
    spec.attempts_max = 2;
    uint64_t job = farm_job(&farm, &spec, 2);
    struct hand ann = farm_join(&farm, "ann", "count", false);
    assert_int_equal(farm_fetch(&farm, &ann, &grant), KVP_OK);
    assert_int_equal(
        farm_post_bytes(&farm, &ann, &grant, KVP_OUTCOME_FAILED, TEXT("no paper"), NULL), KVP_OK);
    check_state(job, "running");
    farm_failover(&farm);
    assert_int_equal(farm_fetch(&farm, &ann, &grant), KVP_OK);
    assert_int_equal(grant.task, 0);
    assert_int_equal(
        farm_post_bytes(&farm, &ann, &grant, KVP_OUTCOME_FAILED, TEXT("no\nink"), NULL), KVP_OK);
    check_state(job, "failed");
    assert_string_equal(farm_text(&farm, job, "reason"),
                        "task 0 failed 2 times at the only worker that there is for it, "
                        "the last time: no ink");
    assert_int_equal(farm_fetch(&farm, &ann, &grant), KVP_NO_TASK);
    farm_failover(&farm);
    check_state(job, "failed");
}

static void test_what_is_given_back_is_nobodys_fault(void **state)
{
    (void)state;
    struct kvp_job_spec spec = mode_of("single");
    struct kvp_task_grant grant;
    spec.attempts_max = 1;
    uint64_t job = farm_job(&farm, &spec, 1);
    struct hand ann = farm_join(&farm, "ann", "count", false);
    for (unsigned i = 0; i < 5; i++) {
        farm_wait(&farm, 1900);
        assert_int_equal(farm_fetch(&farm, &ann, &grant), KVP_OK);
        assert_int_equal(
            farm_post_bytes(&farm, &ann, &grant, KVP_OUTCOME_GIVEN_BACK, (kvp_slice){0}, NULL),
            KVP_OK);
    }
    farm_wait(&farm, 1900);
    assert_int_equal(farm_fetch(&farm, &ann, &grant), KVP_OK);
    assert_int_equal(farm_leave(&farm, &ann), KVP_OK);
    assert_int_equal(farm_number(&farm, job, "redone"), 0);
    struct hand bob = farm_join(&farm, "bob", "count", false);
    assert_int_equal(farm_fetch(&farm, &bob, &grant), KVP_OK);
    assert_int_equal(farm_fetch(&farm, &ann, &grant), KVP_WORKER_UNKNOWN);
}

static void test_a_checkpoint_goes_to_the_next_attempt(void **state)
{
    (void)state;
    struct kvp_job_spec spec = mode_of("single");
    struct kvp_task_grant grant;
    farm_job(&farm, &spec, 1);
    struct hand ann = farm_join(&farm, "ann", "count", false);
    assert_int_equal(farm_fetch(&farm, &ann, &grant), KVP_OK);
    assert_int_equal(grant.checkpoint.size, 0);
    assert_int_equal(farm_checkpoint(&farm, &ann, &grant, "half"), KVP_OK);
    farm_wait(&farm, 2100);
    farm_failover(&farm);
    struct hand bob = farm_join(&farm, "bob", "count", false);
    assert_int_equal(farm_fetch(&farm, &bob, &grant), KVP_OK);
    check_slice(grant.checkpoint, TEXT("half"));
}

/* ---- workers ---- */

static void test_the_newer_of_two_workers_of_one_name_stays(void **state)
{
    (void)state;
    struct kvp_job_spec spec = mode_of("single");
    struct kvp_task_grant old_grant, grant;
    uint64_t job = farm_job(&farm, &spec, 1);
    struct hand old = farm_join(&farm, "ann", "count", false);
    assert_int_equal(farm_fetch(&farm, &old, &old_grant), KVP_OK);
    struct kvp_task_grant kept = old_grant;
    struct hand new = farm_join(&farm, "ann", "count", false);
    assert_int_equal(farm_fetch(&farm, &new, &grant), KVP_OK); /* at once: no waiting */
    struct kvp_task_grant held = grant;
    assert_int_equal(farm_beat(&farm, &old, &kept, NULL), KVP_WORKER_REPLACED);
    assert_int_equal(farm_post(&farm, &old, &kept, "old"), KVP_WORKER_REPLACED);
    assert_int_equal(farm_fetch(&farm, &old, &grant), KVP_WORKER_REPLACED);
    assert_int_equal(farm_post(&farm, &new, &kept, "forged"), KVP_NOT_HELD);
    assert_int_equal(farm_post(&farm, &new, &held, "new"), KVP_OK);
    check_result(job, 0, "new");
    assert_int_equal(farm_number(&farm, job, "redone"), 1);
}

/* Started anew at once each time, as by a service manager: nobody waits for a silence. */
static void test_a_task_that_kills_its_workers_fails_the_job(void **state)
{
    (void)state;
    struct kvp_job_spec spec = mode_of("single");
    uint64_t job = farm_job(&farm, &spec, 1);
    for (unsigned i = 0; i < 5; i++) {
        struct kvp_task_grant grant;
        struct hand ann = farm_join(&farm, "ann", "count", false);
        check_state(job, "running");
        assert_int_equal(farm_number(&farm, job, "redone"), i);
        assert_int_equal(farm_fetch(&farm, &ann, &grant), KVP_OK);
    }
    (void)farm_join(&farm, "ann", "count", false);
    check_state(job, "failed");
    assert_string_equal(farm_text(&farm, job, "reason"),
                        "task 0 failed 5 times at the only worker that there is for it, "
                        "the last time: the worker was started anew");
}

static void test_a_worker_cannot_post_what_it_does_not_hold(void **state)
{
    (void)state;
    struct kvp_job_spec spec = mode_of("single");
    struct kvp_task_grant grant, forged;
    uint64_t job = farm_job(&farm, &spec, 2);
    struct hand ann = farm_join(&farm, "ann", "count", false);
    struct hand bob = farm_join(&farm, "bob", "count", false);
    assert_int_equal(farm_fetch(&farm, &ann, &grant), KVP_OK);
    struct kvp_task_grant held = grant;
    assert_int_equal(farm_post(&farm, &bob, &held, "x"), KVP_NOT_HELD);
    forged = held;
    forged.task = 1;
    assert_int_equal(farm_post(&farm, &ann, &forged, "x"), KVP_NOT_HELD);
    forged.task = 2;
    assert_int_equal(farm_post(&farm, &ann, &forged, "x"), KVP_NO_SUCH_JOB);
    forged.job++;
    assert_int_equal(farm_post(&farm, &ann, &forged, "x"), KVP_NO_SUCH_JOB);
    assert_int_equal(farm_beat(&farm, &bob, &held, NULL), KVP_NOT_HELD);
    assert_int_equal(farm_number(&farm, job, "done"), 0);
    struct kvp_request request = {
        .op = KVP_OP_TASK_POST,
        .key = TEXT("ann"),
        .value = TEXT("x"),
        .job = {.instance = ann.instance, .job = held.job, .attempt = held.attempt, .crc = 1}};
    assert_int_equal(farm_ask(&farm, &request, NULL), KVP_CORRUPT);
    assert_int_equal(farm_post(&farm, &ann, &held, "x"), KVP_OK);
}

static void test_a_standby_takes_the_place_of_a_lost_worker(void **state)
{
    (void)state;
    struct kvp_job_spec spec = mode_of("single");
    struct kvp_task_grant grant;
    farm_job(&farm, &spec, 3);
    struct hand ann = farm_join(&farm, "ann", "count", false);
    struct hand spare = farm_join(&farm, "spare", "count", true);
    assert_int_equal(farm_fetch(&farm, &ann, &grant), KVP_OK);
    assert_int_equal(farm_fetch(&farm, &spare, &grant), KVP_NO_TASK);
    for (unsigned i = 0; i < 3; i++) {
        assert_string_equal(farm_worker_text(&farm, "spare", "state"), "standby");
        farm_wait(&farm, 700);
        assert_int_equal(farm_fetch(&farm, &spare, &grant), i < 2 ? KVP_NO_TASK : KVP_OK);
    }
    assert_int_equal(grant.task, 0);
    assert_string_equal(farm_worker_text(&farm, "spare", "state"), "active");
    farm_failover(&farm);
    assert_string_equal(farm_worker_text(&farm, "spare", "state"), "active");
}

static void test_a_standby_alone_works(void **state)
{
    (void)state;
    struct kvp_job_spec spec = mode_of("single");
    struct kvp_task_grant grant;
    struct hand spare = farm_join(&farm, "spare", "count", true);
    farm_work(&farm);
    assert_string_equal(farm_worker_text(&farm, "spare", "state"), "standby");
    farm_job(&farm, &spec, 1);
    farm_work(&farm);
    assert_int_equal(farm_fetch(&farm, &spare, &grant), KVP_OK);
}

static void test_workers_that_are_gone_make_room(void **state)
{
    (void)state;
    char names[1024][16];
    struct kvp_job_spec spec = mode_of("tmr");
    struct kvp_task_grant grant;
    for (unsigned i = 0; i < 1023; i++) {
        (void)snprintf(names[i], sizeof(names[i]), "worker-%u", i);
        (void)farm_join(&farm, names[i], "count", false);
    }
    struct hand ann = farm_join(&farm, "ann", "count", false);
    struct kvp_request request = {.op = KVP_OP_WORKER_JOIN,
                                  .key = TEXT("bob"),
                                  .value = TEXT("\x91\xa5"
                                                "count")};
    assert_int_equal(farm_ask(&farm, &request, NULL), KVP_BUSY);
    uint64_t job = farm_job(&farm, &spec, 1);
    assert_int_equal(farm_fetch(&farm, &ann, &grant), KVP_OK);
    assert_int_equal(farm_post(&farm, &ann, &grant, "x"), KVP_OK);
    farm_wait(&farm, 2000);
    assert_int_equal(farm_fetch(&farm, &ann, &grant), KVP_NO_TASK);
    struct hand bob = farm_join(&farm, "bob", "count", false);
    assert_int_equal(farm_fetch(&farm, &ann, &grant), KVP_NO_TASK); /* it has voted */
    assert_int_equal(farm_fetch(&farm, &bob, &grant), KVP_OK);
    assert_int_equal(farm_post(&farm, &bob, &grant, "x"), KVP_OK);
    check_state(job, "done");
    farm_failover(&farm);
    assert_string_equal(farm_worker_text(&farm, "bob", "state"), "active");
}

/* ---- ending ---- */

static void test_cancelling_takes_tasks_away(void **state)
{
    (void)state;
    struct kvp_job_spec spec = mode_of("single");
    struct kvp_task_grant grant;
    bool go_on = true;
    uint64_t job = farm_job(&farm, &spec, 2);
    struct hand ann = farm_join(&farm, "ann", "count", false);
    assert_int_equal(farm_fetch(&farm, &ann, &grant), KVP_OK);
    struct kvp_task_grant kept = grant;
    assert_int_equal(farm_cancel(&farm, job), KVP_OK);
    check_state(job, "cancelled");
    assert_int_equal(farm_beat(&farm, &ann, &kept, &go_on), KVP_OK);
    assert_false(go_on);
    assert_int_equal(farm_post(&farm, &ann, &kept, "x"), KVP_JOB_STATE);
    assert_int_equal(farm_fetch(&farm, &ann, &grant), KVP_NO_TASK);
    assert_int_equal(farm_cancel(&farm, job), KVP_JOB_STATE);
}

static size_t job_keys(void)
{
    size_t count = 0;
    kvp_slice key, value;
    static const uint8_t from[] = {'J', 0}, to[] = {'J', 'w'};
    struct kvp_state_view *view = kvp_storage_snapshot(farm.bench.shelf.storage);
    assert_non_null(view);
    assert_int_equal(kvp_state_view_seek(view, kvp_slice_of(from, 2), kvp_slice_of(to, 2)), KVP_OK);
    for (; kvp_state_view_read(view, &key, &value) == KVP_OK; kvp_state_view_next(view)) {
        count++;
    }
    kvp_state_view_close(view);
    return count;
}

static void test_a_finished_job_leaves_nothing_behind(void **state)
{
    (void)state;
    struct kvp_job_spec spec = mode_of("dual-compare");
    struct kvp_task_grant grant;
    spec.keep_s = 10;
    uint64_t job = farm_job(&farm, &spec, 700);
    struct hand ann = farm_join(&farm, "ann", "count", false);
    struct hand bob = farm_join(&farm, "bob", "count", false);
    for (unsigned i = 0; i < 700; i++) {
        assert_int_equal(farm_fetch(&farm, &ann, &grant), KVP_OK);
        assert_int_equal(farm_checkpoint(&farm, &ann, &grant, "c"), KVP_OK);
        assert_int_equal(farm_post(&farm, &ann, &grant, "x"), KVP_OK);
        assert_int_equal(farm_fetch(&farm, &bob, &grant), KVP_OK);
        assert_int_equal(farm_post(&farm, &bob, &grant, "x"), KVP_OK);
    }
    check_state(job, "done");
    assert_true(job_keys() > 2000);
    farm_wait(&farm, 9900);
    check_state(job, "done");
    farm_failover(&farm);
    farm_wait(&farm, 10100);
    struct kvp_request request = {.op = KVP_OP_JOB_INFO, .job = {.what = KVP_INFO_JOB, .job = job}};
    assert_int_equal(farm_ask(&farm, &request, NULL), KVP_NO_SUCH_JOB);
    assert_int_equal(job_keys(), 0);
}

static void test_jobs_that_were_cancelled_make_room(void **state)
{
    (void)state;
    kvp_buf bytes = {0};
    struct kvp_job_spec spec = mode_of("single");
    assert_int_equal(kvp_job_spec_encode(&spec, &bytes), KVP_OK);
    struct kvp_request another = {.op = KVP_OP_JOB_NEW, .value = kvp_buf_slice(&bytes)};
    uint64_t first = farm_job(&farm, &spec, 1), second = farm_job(&farm, &spec, 1);
    for (unsigned i = 2; i < 4096; i++) {
        struct kvp_request request = with_session(another, 1 + i % 8, (uint16_t)(i / 8), 1, 1);
        assert_int_equal(farm_ask(&farm, &request, NULL), KVP_OK);
    }
    another = with_session(another, 99, 0, 1, 1);
    assert_int_equal(farm_ask(&farm, &another, NULL), KVP_BUSY);
    assert_int_equal(farm_cancel(&farm, second), KVP_OK);
    farm_wait(&farm, 10);
    assert_int_equal(farm_cancel(&farm, first), KVP_OK);
    assert_int_equal(farm_ask(&farm, &another, NULL), KVP_OK);
    struct kvp_request request = {.op = KVP_OP_JOB_INFO,
                                  .job = {.what = KVP_INFO_JOB, .job = second}};
    assert_int_equal(farm_ask(&farm, &request, NULL), KVP_NO_SUCH_JOB);
    check_state(first, "cancelled");
    kvp_buf_free(&bytes);
}

/* A new primary has the same jobs as the one before. */
static void test_the_index_is_built_anew(void **state)
{
    (void)state;
    struct kvp_job_spec spec = mode_of("tmr");
    struct kvp_task_grant grant;
    uint64_t job = farm_job(&farm, &spec, 5);
    const char *const names[] = {"ann", "bob", "eve"};
    struct hand hands[3];
    for (unsigned i = 0; i < 3; i++) {
        hands[i] = farm_join(&farm, names[i], "count", false);
    }
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(farm_fetch(&farm, &hands[i], &grant), KVP_OK);
        assert_int_equal(farm_post(&farm, &hands[i], &grant, "x"), KVP_OK);
    }
    assert_int_equal(farm_fetch(&farm, &hands[0], &grant), KVP_OK);
    assert_int_equal(farm_post(&farm, &hands[0], &grant, "y"), KVP_OK);
    farm_failover(&farm);
    assert_int_equal(farm_number(&farm, job, "done"), 1);
    assert_int_equal(farm_number(&farm, job, "tasks"), 5);
    assert_int_equal(farm_fetch(&farm, &hands[0], &grant), KVP_OK);
    assert_int_equal(grant.task, 2); /* it has given results for 0 and 1 */
    assert_int_equal(farm_fetch(&farm, &hands[1], &grant), KVP_OK);
    assert_int_equal(grant.task, 1);
    assert_int_equal(farm_post(&farm, &hands[1], &grant, "y"), KVP_OK);
    assert_int_equal(farm_number(&farm, job, "done"), 2);
}

static void test_an_attempt_survives_a_failover_by_its_beats(void **state)
{
    (void)state;
    struct kvp_job_spec spec = mode_of("single");
    struct kvp_task_grant grant, other;
    bool go_on;
    uint64_t job = farm_job(&farm, &spec, 1);
    struct hand ann = farm_join(&farm, "ann", "count", false);
    struct hand bob = farm_join(&farm, "bob", "count", false);
    assert_int_equal(farm_fetch(&farm, &ann, &grant), KVP_OK);
    struct kvp_task_grant kept = grant;
    farm_failover(&farm);
    assert_int_equal(farm_beat(&farm, &ann, &kept, &go_on), KVP_OK);
    assert_true(go_on);
    assert_int_equal(farm_number(&farm, job, "running"), 1);
    assert_int_equal(farm_fetch(&farm, &bob, &other), KVP_NO_TASK);
    farm_wait(&farm, 2000);
    assert_int_equal(farm_fetch(&farm, &bob, &other), KVP_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FARM_TEST(test_a_job_runs_from_submission_to_result),
        FARM_TEST(test_tasks_are_counted_by_what_they_wait_for),
        FARM_TEST(test_a_job_that_is_not_started_is_not_handed_out),
        FARM_TEST(test_malformed_submissions_change_nothing),
        FARM_TEST(test_tasks_go_out_in_order_and_jobs_by_priority),
        FARM_TEST(test_a_worker_gets_only_what_it_can_do),
        FARM_TEST(test_a_repeated_fetch_gets_the_same_task),
        FARM_TEST(test_a_delayed_job_waits),
        FARM_TEST(test_a_task_waits_for_others_and_is_fed),
        FARM_TEST(test_a_silent_worker_loses_its_task_to_the_head_of_the_queue),
        FARM_TEST(test_a_task_that_never_ends_is_taken_away),
        FARM_TEST(test_deadlines_adapt_to_what_tasks_take),
        FARM_TEST(test_a_task_larger_than_the_others_gets_more_time_with_each_attempt),
        FARM_TEST(test_a_task_that_fails_too_often_fails_the_job),
        FARM_TEST(test_what_is_given_back_is_nobodys_fault),
        FARM_TEST(test_a_checkpoint_goes_to_the_next_attempt),
        FARM_TEST(test_the_newer_of_two_workers_of_one_name_stays),
        FARM_TEST(test_a_task_that_kills_its_workers_fails_the_job),
        FARM_TEST(test_a_worker_cannot_post_what_it_does_not_hold),
        FARM_TEST(test_a_standby_takes_the_place_of_a_lost_worker),
        FARM_TEST(test_a_standby_alone_works),
        FARM_TEST(test_workers_that_are_gone_make_room),
        FARM_TEST(test_cancelling_takes_tasks_away),
        FARM_TEST(test_a_finished_job_leaves_nothing_behind),
        FARM_TEST(test_jobs_that_were_cancelled_make_room),
        FARM_TEST(test_the_index_is_built_anew),
        FARM_TEST(test_an_attempt_survives_a_failover_by_its_beats),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
