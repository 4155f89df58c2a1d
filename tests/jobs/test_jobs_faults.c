/* SPDX-License-Identifier: Apache-2.0 */
/* Workers that are broken, hang, or do not suit: what they fail others do, and they are set aside.
 */
#include "tests/jobs/jobs_support.h"

#include <stdio.h>
#include <string.h>

static void check_worker(const char *name, const char *expected)
{
    assert_string_equal(farm_worker_text(&farm, name, "state"), expected);
}

static void post_failure(const struct hand *hand, const struct kvp_task_grant *grant,
                         const char *reason)
{
    assert_int_equal(farm_post_bytes(&farm, hand, grant, KVP_OUTCOME_FAILED, text(reason), NULL),
                     KVP_OK);
}

/* Fetches a task, if there is one, and fails it. */
static bool fail_one(const struct hand *hand)
{
    struct kvp_task_grant grant;
    if (farm_fetch(&farm, hand, &grant) != KVP_OK) {
        return false;
    }
    post_failure(hand, &grant, "exit status 1");
    return true;
}

static bool do_one(const struct hand *hand)
{
    struct kvp_task_grant grant;
    if (farm_fetch(&farm, hand, &grant) != KVP_OK) {
        return false;
    }
    assert_int_equal(farm_post(&farm, hand, &grant, "x"), KVP_OK);
    return true;
}

/* Waits for a task as a worker does. */
static void fetch_soon(const struct hand *hand, struct kvp_task_grant *grant)
{
    unsigned waited = 0;
    while (farm_fetch(&farm, hand, grant) != KVP_OK) {
        assert_true(waited++ < 2000);
        farm_wait(&farm, 50);
    }
}

/* ---- failing ---- */

static void test_a_failed_task_goes_to_a_worker_that_has_not_failed_it(void **state)
{
    (void)state;
    struct kvp_job_spec spec = mode_of("single");
    struct kvp_task_grant grant;
    uint64_t job = farm_job(&farm, &spec, 1);
    struct hand bad = farm_join(&farm, "bad", "count", false);
    struct hand good = farm_join(&farm, "good", "count", false);
    assert_true(fail_one(&bad));
    for (unsigned i = 0; i < 15; i++) {
        farm_wait(&farm, 100);
        assert_int_equal(farm_fetch(&farm, &bad, &grant), KVP_NO_TASK);
    }
    assert_true(do_one(&good));
    check_state(job, "done");
}

/* Places are short, and the worker that failed the task has been silent: it is forgotten. */
static void test_who_was_forgotten_and_comes_back_has_failed_it_still(void **state)
{
    (void)state;
    struct kvp_job_spec spec = mode_of("single");
    struct kvp_task_grant grant;
    uint64_t job = farm_job(&farm, &spec, 1);
    struct hand bad = farm_join(&farm, "bad", "count", false);
    assert_true(fail_one(&bad));
    farm_wait(&farm, 2000);
    for (unsigned i = 0; i < 1022; i++) {
        char name[16];
        (void)snprintf(name, sizeof(name), "worker-%u", i);
        (void)farm_join(&farm, name, "other", false);
    }
    struct hand good = farm_join(&farm, "good", "count", false);
    assert_int_equal(farm_fetch(&farm, &bad, &grant), KVP_WORKER_UNKNOWN);
    bad = farm_join(&farm, "bad", "count", false);
    assert_int_equal(farm_fetch(&farm, &bad, &grant), KVP_NO_TASK);
    assert_true(do_one(&good));
    check_state(job, "done");
}

static void test_one_broken_worker_does_not_fail_a_job(void **state)
{
    (void)state;
    struct kvp_job_spec spec = mode_of("single");
    uint64_t job = farm_job(&farm, &spec, 20);
    struct hand bad = farm_join(&farm, "bad", "count", false);
    struct hand good = farm_join(&farm, "good", "count", false);
    unsigned failed = 0;
    for (unsigned i = 0; i < 200 && farm_number(&farm, job, "done") < 20; i++) {
        for (unsigned n = 0; n < 10; n++) {
            failed += fail_one(&bad);
        }
        (void)do_one(&good);
        farm_wait(&farm, 200);
    }
    check_state(job, "done");
    assert_true(failed < 20); /* it was not asked any more */
}

static void test_a_lone_worker_with_a_bad_input_ends_with_a_true_reason(void **state)
{
    (void)state;
    struct kvp_job_spec spec = mode_of("single");
    struct kvp_task_grant grant;
    uint64_t job = farm_job(&farm, &spec, 1);
    struct hand ann = farm_join(&farm, "ann", "count", false);
    for (unsigned i = 0; i < 5; i++) {
        check_state(job, "running");
        fetch_soon(&ann, &grant);
        post_failure(&ann, &grant, "no ink");
    }
    check_state(job, "failed");
    assert_string_equal(farm_text(&farm, job, "reason"),
                        "task 0 failed 5 times at the only worker that there is for it, "
                        "the last time: no ink");
}

static void test_a_task_fails_its_job_when_different_workers_failed_it(void **state)
{
    (void)state;
    struct kvp_job_spec spec = mode_of("single");
    struct kvp_task_grant grant;
    struct hand hands[4];
    static const char *const names[] = {"a", "b", "c", "d"};
    spec.attempts_max = 3;
    uint64_t job = farm_job(&farm, &spec, 1);
    for (unsigned i = 0; i < 4; i++) {
        hands[i] = farm_join(&farm, names[i], "count", false);
    }
    for (unsigned i = 0; i < 3; i++) {
        check_state(job, "running");
        fetch_soon(&hands[i], &grant);
        post_failure(&hands[i], &grant, "no ink");
        for (unsigned k = 0; k < 4; k++) { /* all of them are there */
            (void)farm_fetch(&farm, &hands[k], &grant);
        }
    }
    check_state(job, "failed");
    assert_string_equal(farm_text(&farm, job, "reason"),
                        "task 0 failed at 3 different workers, the last time: no ink");
}

static void test_many_attempts_at_a_broken_worker_do_not_fail_what_another_could_do(void **state)
{
    (void)state;
    struct kvp_job_spec spec = mode_of("single");
    struct kvp_task_grant grant;
    spec.attempts_max = 2;
    uint64_t job = farm_job(&farm, &spec, 1);
    struct hand bad = farm_join(&farm, "bad", "count", false);
    fetch_soon(&bad, &grant);
    post_failure(&bad, &grant, "no ink");
    struct hand good = farm_join(&farm, "good", "count", false);
    fetch_soon(&good, &grant); /* it has it, and then drops it */
    assert_int_equal(farm_leave(&farm, &good), KVP_OK);
    fetch_soon(&bad, &grant);
    good = farm_join(&farm, "good", "count", false);
    post_failure(&bad, &grant, "no ink");
    check_state(job, "running");
    farm_wait(&farm, 1000);
    assert_int_equal(farm_fetch(&farm, &bad, &grant), KVP_NO_TASK);
    assert_true(do_one(&good));
    check_state(job, "done");
}

/* When the task is there again after its next failure, in steps of 10 ms. */
static unsigned rest_ms(const struct hand *hand, struct kvp_task_grant *grant)
{
    unsigned waited_ms = 0;
    post_failure(hand, grant, "no ink");
    while (farm_fetch(&farm, hand, grant) != KVP_OK) {
        farm_wait(&farm, 10);
        waited_ms += 10;
        assert_true(waited_ms < 200000);
    }
    return waited_ms;
}

static void test_a_failed_task_rests_longer_each_time(void **state)
{
    (void)state;
    struct kvp_job_spec spec = mode_of("single");
    struct kvp_task_grant grant;
    const uint32_t bases[] = {KVP_JOB_RETRY_DEFAULT_MS, 10000, 100000};
    for (unsigned i = 0; i < 3; i++) {
        spec.retry_ms = bases[i];
        uint64_t job = farm_job(&farm, &spec, 1);
        struct hand ann = farm_join(&farm, i == 0 ? "a" : i == 1 ? "b" : "c", "count", false);
        assert_int_equal(farm_fetch(&farm, &ann, &grant), KVP_OK);
        for (unsigned failed = 0; failed < 4; failed++) {
            unsigned want_ms = bases[i] << failed, cap_ms = bases[i] > 60000 ? bases[i] : 60000;
            unsigned took_ms = rest_ms(&ann, &grant);
            want_ms = want_ms < cap_ms ? want_ms : cap_ms;
            assert_in_range(took_ms, want_ms * 3 / 4, want_ms * 5 / 4 + 10);
        }
        assert_int_equal(farm_cancel(&farm, job), KVP_OK);
    }
}

static void test_a_job_may_want_no_rest(void **state)
{
    (void)state;
    struct kvp_job_spec spec = mode_of("single");
    spec.retry_ms = 0;
    farm_job(&farm, &spec, 1);
    struct hand ann = farm_join(&farm, "ann", "count", false);
    assert_true(fail_one(&ann));
    assert_true(fail_one(&ann));
}

/* One of two copies is in good hands: what the other worker does cannot fail the task meanwhile. */
static void test_a_copy_under_way_keeps_a_task_from_failing(void **state)
{
    (void)state;
    struct kvp_job_spec spec = mode_of("dual-first");
    struct kvp_task_grant kept, grant;
    spec.attempts_max = 1;
    uint64_t job = farm_job(&farm, &spec, 1);
    struct hand good = farm_join(&farm, "good", "count", false);
    struct hand bad = farm_join(&farm, "bad", "count", false);
    assert_int_equal(farm_fetch(&farm, &good, &kept), KVP_OK);
    fetch_soon(&bad, &grant);
    post_failure(&bad, &grant, "no ink");
    for (unsigned n = 0; n < 5; n++) {
        check_state(job, "running");
        farm_wait(&farm, 1000);
        assert_int_equal(farm_fetch(&farm, &bad, &grant), KVP_NO_TASK);
        assert_int_equal(farm_beat(&farm, &good, &kept, NULL), KVP_OK);
    }
    assert_int_equal(farm_post(&farm, &good, &kept, "x"), KVP_OK);
    check_state(job, "done");
    assert_int_equal(farm_worker_number(&farm, "bad", "faults"), 1);
}

/* One of them always has it while the other fails it. */
static void test_copies_that_fail_by_turns_come_to_an_end(void **state)
{
    (void)state;
    struct kvp_job_spec spec = mode_of("dual-first");
    struct kvp_task_grant first, second;
    spec.retry_ms = 0;
    spec.attempts_max = 3;
    uint64_t job = farm_job(&farm, &spec, 1);
    struct hand ann = farm_join(&farm, "ann", "count", false);
    struct hand bob = farm_join(&farm, "bob", "count", false);
    assert_int_equal(farm_fetch(&farm, &ann, &first), KVP_OK);
    unsigned turns = 0;
    for (; turns < 20 && strcmp(farm_text(&farm, job, "state"), "running") == 0; turns++) {
        if (farm_fetch(&farm, &bob, &second) == KVP_OK) {
            struct kvp_task_grant kept = first; /* the other one has it now */
            struct hand hand = ann;
            first = second;
            ann = bob;
            bob = hand;
            post_failure(&bob, &kept, "no ink");
        } else {
            post_failure(&ann, &first, "no ink");
        }
    }
    assert_in_range(turns, 3, 5);
    check_state(job, "failed");
    assert_string_equal(farm_text(&farm, job, "reason"),
                        "task 0 failed 4 times at all 2 workers that there are for it, "
                        "the last time: no ink");
}

/* What the others that were given up for gave back is tried again. */
static void test_a_copy_that_is_given_back_is_no_end(void **state)
{
    (void)state;
    struct kvp_job_spec spec = mode_of("dual-first");
    struct kvp_task_grant kept, grant;
    spec.attempts_max = 1;
    uint64_t job = farm_job(&farm, &spec, 1);
    struct hand good = farm_join(&farm, "good", "count", false);
    struct hand bad = farm_join(&farm, "bad", "count", false);
    assert_int_equal(farm_fetch(&farm, &good, &kept), KVP_OK);
    fetch_soon(&bad, &grant);
    post_failure(&bad, &grant, "no ink");
    assert_int_equal(
        farm_post_bytes(&farm, &good, &kept, KVP_OUTCOME_GIVEN_BACK, (kvp_slice){0}, NULL), KVP_OK);
    farm_wait(&farm, 1000);
    assert_true(do_one(&good));
    check_state(job, "done");
}

static void test_who_failed_is_known_to_the_next_primary(void **state)
{
    (void)state;
    struct kvp_job_spec spec = mode_of("single");
    struct kvp_task_grant grant;
    uint64_t job = farm_job(&farm, &spec, 1);
    struct hand bad = farm_join(&farm, "bad", "count", false);
    struct hand good = farm_join(&farm, "good", "count", false);
    assert_true(fail_one(&bad));
    farm_failover(&farm);
    assert_int_equal(farm_fetch(&farm, &bad, &grant), KVP_NO_TASK);
    assert_true(do_one(&good));
    check_state(job, "done");
    assert_int_equal(farm_worker_number(&farm, "bad", "faults"), 1);
    farm_failover(&farm);
    assert_int_equal(farm_worker_number(&farm, "bad", "faults"), 1);
    assert_string_equal(farm_worker_text(&farm, "bad", "reason"), "exit status 1");
}

/* ---- standing ---- */

static void test_a_worker_that_fails_what_others_do_is_barred(void **state)
{
    (void)state;
    struct kvp_job_spec spec = mode_of("single");
    struct kvp_task_grant grant;
    bool probation = false;
    uint64_t job = farm_job(&farm, &spec, 40);
    struct hand bad = farm_join(&farm, "bad", "count", false);
    struct hand good = farm_join(&farm, "good", "count", false);
    for (unsigned i = 0; i < 2000 && farm_number(&farm, job, "done") < 40; i++) {
        if (!fail_one(&bad)) {
            (void)do_one(&good);
        }
        probation = probation || strcmp(farm_worker_text(&farm, "bad", "state"), "probation") == 0;
        farm_wait(&farm, 400);
    }
    check_state(job, "done");
    assert_true(probation);
    check_worker("bad", "barred");
    check_worker("good", "active");
    assert_non_null(strstr(farm_worker_text(&farm, "bad", "reason"), "exit status 1"));
    assert_int_equal(farm_worker_number(&farm, "good", "faults"), 0);
    assert_int_equal(farm_fetch(&farm, &bad, &grant), KVP_WORKER_BARRED);
    farm_failover(&farm);
    check_worker("bad", "barred");
    assert_int_equal(farm_fetch(&farm, &bad, &grant), KVP_WORKER_BARRED);
    /* Mended and started again, it has to show that it can. */
    bad = farm_join(&farm, "bad", "count", false);
    check_worker("bad", "probation");
    job = farm_job(&farm, &spec, 20);
    for (unsigned i = 0; i < 10; i++) {
        fetch_soon(&bad, &grant);
        assert_int_equal(farm_post(&farm, &bad, &grant, "x"), KVP_OK);
    }
    check_worker("bad", "active");
    assert_int_equal(farm_worker_number(&farm, "bad", "faults"), 0);
}

static void test_a_task_that_every_worker_fails_costs_no_standing(void **state)
{
    (void)state;
    struct kvp_job_spec spec = mode_of("single");
    static const char *const names[] = {"a", "b", "c"};
    struct hand hands[3];
    for (unsigned k = 0; k < 3; k++) {
        hands[k] = farm_join(&farm, names[k], "count", false);
    }
    for (unsigned n = 0; n < 12; n++) {
        uint64_t job = farm_job(&farm, &spec, 1);
        for (unsigned i = 0; i < 1000 && strcmp(farm_text(&farm, job, "state"), "running") == 0;
             i++) {
            for (unsigned k = 0; k < 3; k++) {
                (void)fail_one(&hands[k]);
            }
            farm_wait(&farm, 100);
        }
        check_state(job, "failed");
    }
    for (unsigned k = 0; k < 3; k++) {
        assert_int_equal(farm_worker_number(&farm, names[k], "faults"), 0);
        check_worker(names[k], "active");
    }
}

static void test_who_did_it_in_the_end_is_not_blamed(void **state)
{
    (void)state;
    struct kvp_job_spec spec = mode_of("single");
    struct kvp_task_grant grant;
    uint64_t job = farm_job(&farm, &spec, 1);
    struct hand ann = farm_join(&farm, "ann", "count", false);
    assert_true(fail_one(&ann));
    fetch_soon(&ann, &grant);
    assert_int_equal(farm_post(&farm, &ann, &grant, "x"), KVP_OK);
    check_state(job, "done");
    assert_int_equal(farm_worker_number(&farm, "ann", "faults"), 0);
}

static void test_a_slow_or_lost_worker_keeps_its_standing(void **state)
{
    (void)state;
    struct kvp_job_spec spec = mode_of("single");
    struct kvp_task_grant grant;
    spec.deadline_ms = 1000;
    struct hand slow = farm_join(&farm, "slow", "count", false);
    struct hand good = farm_join(&farm, "good", "count", false);
    for (unsigned n = 0; n < 6; n++) {
        uint64_t job = farm_job(&farm, &spec, 1);
        fetch_soon(&slow, &grant);
        farm_wait(&farm, n % 2 ? 1100 : 2500);
        assert_true(do_one(&good));
        check_state(job, "done");
    }
    assert_int_equal(farm_worker_number(&farm, "slow", "faults"), 0);
}

/* ---- hanging ---- */

static void test_a_beat_for_an_attempt_that_is_gone_is_not_wanted(void **state)
{
    (void)state;
    struct kvp_job_spec spec = mode_of("single");
    struct kvp_task_grant grant;
    bool go_on = true;
    spec.deadline_ms = 1000;
    uint64_t job = farm_job(&farm, &spec, 1);
    struct hand ann = farm_join(&farm, "ann", "count", false);
    assert_int_equal(farm_fetch(&farm, &ann, &grant), KVP_OK);
    assert_int_equal(farm_beat(&farm, &ann, &grant, &go_on), KVP_OK);
    assert_true(go_on);
    farm_wait(&farm, 1000);
    check_state(job, "running");
    assert_int_equal(farm_beat(&farm, &ann, &grant, &go_on), KVP_OK);
    assert_false(go_on);
    assert_int_equal(farm_checkpoint(&farm, &ann, &grant, "late"), KVP_OK);
    farm_wait(&farm, 3000);
    check_worker("ann", "lost");
    fetch_soon(&ann, &grant);
    check_worker("ann", "active");
    assert_int_equal(grant.checkpoint.size, 0);
}

static void test_a_task_that_hangs_at_one_worker_goes_to_another(void **state)
{
    (void)state;
    struct kvp_job_spec spec = mode_of("single");
    struct kvp_task_grant grant;
    spec.deadline_ms = 1000;
    uint64_t job = farm_job(&farm, &spec, 1);
    struct hand hung = farm_join(&farm, "hung", "count", false);
    struct hand good = farm_join(&farm, "good", "count", false);
    assert_int_equal(farm_fetch(&farm, &hung, &grant), KVP_OK);
    farm_wait(&farm, 1000);
    assert_int_equal(farm_fetch(&farm, &hung, &grant), KVP_NO_TASK);
    assert_true(do_one(&good));
    check_state(job, "done");
}

static void test_who_gives_a_task_back_lets_others_have_it(void **state)
{
    (void)state;
    struct kvp_job_spec spec = mode_of("single");
    struct kvp_task_grant grant;
    uint64_t job = farm_job(&farm, &spec, 1);
    struct hand ann = farm_join(&farm, "ann", "count", false);
    unsigned given = 0;
    for (unsigned i = 0; i < 50; i++) {
        if (farm_fetch(&farm, &ann, &grant) == KVP_OK) { /* the next fetch drops it */
            given++;
        }
    }
    assert_true(given <= 2);
    struct hand bob = farm_join(&farm, "bob", "count", false);
    farm_fetch(&farm, &ann, &grant);
    assert_true(do_one(&bob));
    check_state(job, "done");
}

/* ---- silence that means nothing ---- */

static void test_silence_does_not_count_while_nobody_can_be_heard(void **state)
{
    (void)state;
    struct kvp_job_spec spec = mode_of("single");
    struct kvp_jobs *jobs = kvp_engine_jobs(farm.bench.engine);
    struct kvp_task_grant grant;
    bool go_on = false;
    uint64_t job = farm_job(&farm, &spec, 1);
    struct hand ann = farm_join(&farm, "ann", "count", false);
    (void)farm_join(&farm, "bob", "count", false);
    assert_int_equal(farm_fetch(&farm, &ann, &grant), KVP_OK);
    farm_wait(&farm, 1500);
    kvp_jobs_hear(jobs, farm.now_us, 0);
    farm_wait(&farm, 20000); /* it looks at them meanwhile, */
    check_worker("bob", "active");
    kvp_jobs_hear(jobs, 0, 20000000);
    farm_wait(&farm, 400); /* and afterwards, */
    check_worker("bob", "active");
    assert_int_equal(farm_number(&farm, job, "redone"), 0);
    assert_int_equal(farm_beat(&farm, &ann, &grant, &go_on), KVP_OK);
    assert_true(go_on);
    farm_wait(&farm, 200); /* and now it counts */
    check_worker("bob", "lost");
    farm_wait(&farm, 1700);
    assert_int_equal(farm_number(&farm, job, "redone"), 0);
    farm_wait(&farm, 200);
    assert_int_equal(farm_number(&farm, job, "redone"), 1);
}

/* Else the task would go back to the one that failed it. */
static void test_who_waits_while_nobody_can_be_heard_is_counted_on(void **state)
{
    (void)state;
    struct kvp_job_spec spec = mode_of("single");
    struct kvp_task_grant grant;
    (void)farm_job(&farm, &spec, 1);
    struct hand bad = farm_join(&farm, "bad", "count", false);
    struct hand good = farm_join(&farm, "good", "count", false);
    assert_true(fail_one(&bad));
    kvp_jobs_hear(kvp_engine_jobs(farm.bench.engine), farm.now_us, 0);
    farm_wait(&farm, 10000);
    assert_int_equal(farm_fetch(&farm, &bad, &grant), KVP_NO_TASK);
    assert_true(do_one(&good));
}

static void test_deadlines_are_not_extended_while_nobody_can_be_heard(void **state)
{
    (void)state;
    struct kvp_job_spec spec = mode_of("single");
    struct kvp_jobs *jobs = kvp_engine_jobs(farm.bench.engine);
    struct kvp_task_grant grant;
    bool go_on = true;
    spec.deadline_ms = 5000;
    (void)farm_job(&farm, &spec, 1);
    struct hand ann = farm_join(&farm, "ann", "count", false);
    assert_int_equal(farm_fetch(&farm, &ann, &grant), KVP_OK);
    kvp_jobs_hear(jobs, farm.now_us, 0);
    farm.now_us += 5000000; /* nobody has looked yet */
    kvp_jobs_hear(jobs, 0, 5000000);
    assert_int_equal(farm_beat(&farm, &ann, &grant, &go_on), KVP_OK);
    assert_false(go_on);
}

/* ---- standbys ---- */

static void test_a_fit_standby_is_activated_and_no_unfit_one(void **state)
{
    (void)state;
    struct kvp_job_spec spec = mode_of("single");
    struct kvp_task_grant grant;
    (void)farm_join(&farm, "other", "sum", true);
    (void)farm_join_sized(&farm, "small", "count", true, 1);
    struct hand fit = farm_join(&farm, "fit", "count", true);
    struct hand ann = farm_join(&farm, "ann", "count", false);
    uint64_t job = farm_job(&farm, &spec, 11); /* the last payload has two bytes */
    assert_int_equal(farm_fetch(&farm, &ann, &grant), KVP_OK);
    struct hand other = farm_join(&farm, "other", "sum", true);
    struct hand small = farm_join_sized(&farm, "small", "count", true, 1);
    for (unsigned i = 0; i < 30; i++) {
        farm_wait(&farm, 100);
        (void)farm_fetch(&farm, &other, &grant);
        (void)farm_fetch(&farm, &small, &grant);
        if (farm_fetch(&farm, &fit, &grant) == KVP_OK) {
            break;
        }
    }
    check_worker("ann", "lost");
    check_worker("fit", "active");
    check_worker("small", "standby");
    check_worker("other", "standby");
    check_state(job, "running");
}

static void test_work_that_no_active_worker_can_do_activates_a_standby(void **state)
{
    (void)state;
    struct kvp_job_spec spec = mode_of("single");
    struct kvp_task_grant grant;
    struct hand ann = farm_join_sized(&farm, "ann", "count", false, 1);
    struct hand fit = farm_join(&farm, "fit", "count", true);
    uint64_t job = farm_job(&farm, &spec, 10);
    for (unsigned i = 0; i < 5; i++) {
        farm_wait(&farm, 500);
        assert_int_equal(farm_fetch(&farm, &fit, &grant), KVP_NO_TASK);
        assert_true(do_one(&ann));
    }
    check_worker("fit", "standby"); /* ann can do all of it */
    uint64_t large = farm_job(&farm, &spec, 11);
    for (unsigned i = 0; i < 20; i++) {
        farm_wait(&farm, 100);
        (void)do_one(&ann);
        (void)do_one(&fit);
    }
    check_worker("fit", "active");
    check_state(job, "done");
    check_state(large, "done");
}

/* Behind many that nobody can do, and without a byte of payload. */
static void test_work_for_a_standby_is_found_wherever_it_is(void **state)
{
    (void)state;
    struct kvp_job_spec spec = mode_of("single");
    struct hand ann = farm_join(&farm, "ann", "count", false);
    (void)farm_join(&farm, "other", "other", true);
    uint64_t jobs[2];
    for (unsigned j = 0; j < 2; j++) {
        jobs[j] = farm_new(&farm, &spec);
        for (unsigned i = 0; i < 50; i++) {
            assert_int_equal(farm_add(&farm, jobs[j], i, "nobody's", "x", NULL, false), KVP_OK);
        }
        assert_int_equal(farm_add(&farm, jobs[j], 50, "sum", "", NULL, false), KVP_OK);
        assert_int_equal(farm_start(&farm, jobs[j]), KVP_OK);
    }
    struct hand sum = farm_join(&farm, "sum", "sum", true);
    struct hand other = farm_join(&farm, "other", "other", true);
    for (unsigned i = 0; i < 10; i++) {
        farm_wait(&farm, 100);
        (void)do_one(&ann);
        (void)do_one(&other);
        (void)do_one(&sum);
    }
    check_worker("sum", "active");
    check_worker("other", "standby");
    assert_int_equal(farm_number(&farm, jobs[0], "done"), 1);
    assert_int_equal(farm_number(&farm, jobs[1], "done"), 1);
}

static void test_what_all_active_workers_failed_activates_a_standby(void **state)
{
    (void)state;
    struct kvp_job_spec spec = mode_of("single");
    uint64_t job = farm_job(&farm, &spec, 1);
    struct hand bad = farm_join(&farm, "bad", "count", false);
    struct hand fit = farm_join(&farm, "fit", "count", true);
    assert_true(fail_one(&bad));
    for (unsigned i = 0; i < 20 && !do_one(&fit); i++) {
        assert_false(fail_one(&bad));
        farm_wait(&farm, 100);
    }
    check_state(job, "done");
    check_worker("fit", "active");
}

/* It has failed the task, and stands by again. */
static void test_what_all_standbys_failed_activates_one_of_them(void **state)
{
    (void)state;
    struct kvp_job_spec spec = mode_of("single");
    uint64_t job = farm_job(&farm, &spec, 1);
    struct hand ann = farm_join(&farm, "ann", "count", true);
    farm_work(&farm);
    assert_true(fail_one(&ann));
    ann = farm_join(&farm, "ann", "count", true);
    check_worker("ann", "standby");
    for (unsigned i = 0; i < 100 && !do_one(&ann); i++) {
        farm_wait(&farm, 100);
    }
    check_state(job, "done");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FARM_TEST(test_a_failed_task_goes_to_a_worker_that_has_not_failed_it),
        FARM_TEST(test_who_was_forgotten_and_comes_back_has_failed_it_still),
        FARM_TEST(test_one_broken_worker_does_not_fail_a_job),
        FARM_TEST(test_a_lone_worker_with_a_bad_input_ends_with_a_true_reason),
        FARM_TEST(test_a_task_fails_its_job_when_different_workers_failed_it),
        FARM_TEST(test_many_attempts_at_a_broken_worker_do_not_fail_what_another_could_do),
        FARM_TEST(test_a_failed_task_rests_longer_each_time),
        FARM_TEST(test_a_job_may_want_no_rest),
        FARM_TEST(test_a_copy_under_way_keeps_a_task_from_failing),
        FARM_TEST(test_copies_that_fail_by_turns_come_to_an_end),
        FARM_TEST(test_a_copy_that_is_given_back_is_no_end),
        FARM_TEST(test_who_failed_is_known_to_the_next_primary),
        FARM_TEST(test_a_worker_that_fails_what_others_do_is_barred),
        FARM_TEST(test_a_task_that_every_worker_fails_costs_no_standing),
        FARM_TEST(test_who_did_it_in_the_end_is_not_blamed),
        FARM_TEST(test_a_slow_or_lost_worker_keeps_its_standing),
        FARM_TEST(test_a_beat_for_an_attempt_that_is_gone_is_not_wanted),
        FARM_TEST(test_a_task_that_hangs_at_one_worker_goes_to_another),
        FARM_TEST(test_who_gives_a_task_back_lets_others_have_it),
        FARM_TEST(test_silence_does_not_count_while_nobody_can_be_heard),
        FARM_TEST(test_who_waits_while_nobody_can_be_heard_is_counted_on),
        FARM_TEST(test_deadlines_are_not_extended_while_nobody_can_be_heard),
        FARM_TEST(test_a_fit_standby_is_activated_and_no_unfit_one),
        FARM_TEST(test_work_that_no_active_worker_can_do_activates_a_standby),
        FARM_TEST(test_work_for_a_standby_is_found_wherever_it_is),
        FARM_TEST(test_what_all_active_workers_failed_activates_a_standby),
        FARM_TEST(test_what_all_standbys_failed_activates_one_of_them),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
