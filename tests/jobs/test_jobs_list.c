/* SPDX-License-Identifier: Apache-2.0 */
/* The job engine: lists, page by page; what a page costs; who has how many places. */
#include "tests/jobs/jobs_support.h"

#include "replication/jobs/job_records.h"
#include "replication/wire/mp_reader.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

/* ---- pages ---- */

/* Asks for a page of jobs and takes their ids; where the next page begins. */
static uint64_t list_page(uint64_t from, uint64_t *ids, uint32_t *count)
{
    kvp_buf answer = {0};
    struct kvp_mp_reader reader;
    struct kvp_request request = {.op = KVP_OP_JOB_INFO,
                                  .job = {.what = KVP_INFO_JOBS, .number = from}};
    assert_int_equal(farm_ask(&farm, &request, &answer), KVP_OK);
    kvp_mp_begin(&reader, kvp_buf_slice(&answer));
    kvp_mp_array_of(&reader, 2);
    uint64_t more = kvp_mp_uint(&reader);
    *count = kvp_mp_array(&reader);
    for (uint32_t i = 0; i < *count; i++) {
        uint32_t pairs = kvp_mp_map(&reader);
        for (uint32_t k = 0; k < pairs; k++) {
            kvp_slice key = kvp_mp_str(&reader);
            kvp_slice value = kvp_mp_skip(&reader);
            struct kvp_mp_reader inner;
            kvp_mp_begin(&inner, value);
            if (kvp_slice_compare(key, TEXT("id")) == 0) {
                ids[i] = kvp_mp_uint(&inner);
            }
        }
    }
    assert_true(kvp_mp_done(&reader));
    kvp_buf_free(&answer);
    return more;
}

static void make_jobs(unsigned count)
{
    struct kvp_job_spec spec = mode_of("single");
    for (unsigned i = 0; i < count; i++) {
        spec.priority = (uint8_t)(i * 37);
        (void)farm_new(&farm, &spec);
    }
}

/* A new primary that has read nothing but what it is asked for. */
static void promote_resting(void)
{
    bench_restart(&farm.bench);
    kvp_engine_rest(farm.bench.engine, UINT64_MAX);
    assert_int_equal(kvp_engine_start_jobs(farm.bench.engine, 4711, ++farm.starts), KVP_OK);
}

static void check_pages(int cancelled)
{
    uint64_t ids[1024], last = 0, from = 0;
    uint32_t count, seen = 0;
    do {
        from = list_page(from, ids, &count);
        for (uint32_t i = 0; i < count; i++) {
            assert_true(ids[i] > last);
            last = ids[i];
        }
        seen += count;
        if (seen == 256) { /* the one that the next page begins with goes */
            assert_int_equal(farm_cancel(&farm, from), cancelled);
            farm_wait(&farm, 1000);
        }
    } while (from != 0);
    assert_int_equal(seen, 700);
    assert_int_equal(list_page(last, ids, &count), 0);
    assert_int_equal(count, 1);
    assert_int_equal(list_page(last + 1, ids, &count), 0);
    assert_int_equal(count, 0);
}

static void test_pages_of_jobs_are_complete_and_in_order(void **state)
{
    (void)state;
    make_jobs(700);
    farm_failover(&farm);
    check_pages(KVP_OK);
    promote_resting();
    check_pages(KVP_JOB_STATE);
}

static uint64_t thread_us(void)
{
    struct timespec time;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return (uint64_t)time.tv_sec * 1000000 + (uint64_t)time.tv_nsec / 1000;
}

/* The best of several tries. */
static uint64_t page_us(void)
{
    uint64_t ids[1024], best = UINT64_MAX;
    uint32_t count;
    for (unsigned i = 0; i < 20; i++) {
        uint64_t before = thread_us();
        (void)list_page(0, ids, &count);
        uint64_t took = thread_us() - before;
        best = took < best ? took : best;
        assert_int_equal(count, 256);
    }
    return best;
}

static void test_a_page_of_jobs_costs_the_same_however_many_there_are(void **state)
{
    (void)state;
    make_jobs(300);
    uint64_t few = page_us();
    make_jobs(2700);
    uint64_t many = page_us();
    print_message("a page of 300 jobs: %llu us, of 3000: %llu us\n", (unsigned long long)few,
                  (unsigned long long)many);
    assert_true(many < 4 * few + 1000);
}

/* ---- places ---- */

/* A job that a client makes; the answer's code. */
static int make_by(uint64_t client, unsigned slot, kvp_buf *answer, uint64_t *job)
{
    kvp_buf bytes = {0}, kept = {0};
    struct kvp_job_spec spec = mode_of("single");
    assert_int_equal(kvp_job_spec_encode(&spec, &bytes), KVP_OK);
    struct kvp_request request = {.op = KVP_OP_JOB_NEW, .value = kvp_buf_slice(&bytes)};
    request = with_session(request, client, (uint16_t)slot, ++farm.sessions, 1);
    int status = farm_ask(&farm, &request, &kept);
    if (status == KVP_OK && job != NULL) {
        assert_int_equal(kvp_wire_read_uint(kvp_buf_slice(&kept), job), KVP_OK);
    }
    if (answer != NULL) {
        *answer = kept;
    } else {
        kvp_buf_free(&kept);
    }
    kvp_buf_free(&bytes);
    return status;
}

static void check_reason(kvp_buf *answer, const char *words)
{
    kvp_slice text;
    char reason[300];
    assert_int_equal(kvp_wire_read_string(kvp_buf_slice(answer), &text), KVP_OK);
    (void)snprintf(reason, sizeof(reason), "%.*s", (int)text.size, (const char *)text.data);
    if (strstr(reason, words) == NULL) {
        fail_msg("'%s' has no '%s'", reason, words);
    }
    kvp_buf_free(answer);
}

static int remove_job(uint64_t job)
{
    struct kvp_request request = {.op = KVP_OP_JOB_REMOVE, .job = {.job = job}};
    return farm_ask(&farm, &request, NULL);
}

static void test_one_client_does_not_take_all_places_for_jobs(void **state)
{
    (void)state;
    kvp_buf answer;
    unsigned count = 0;
    while (make_by(7, 0, NULL, NULL) == KVP_OK) {
        count++;
    }
    assert_int_equal(count, 3072);
    assert_int_equal(make_by(7, 0, &answer, NULL), KVP_BUSY);
    check_reason(&answer, "3072 of them by this client");
    for (unsigned i = 0; i < 1024; i++) {
        assert_int_equal(make_by(8 + i % 2, 0, NULL, NULL), KVP_OK);
    }
    assert_int_equal(make_by(10, 0, &answer, NULL), KVP_BUSY);
    check_reason(&answer, "all 4096 places");
    farm_wait(&farm, 61000); /* uploads that rest make room for others */
    assert_int_equal(make_by(10, 0, NULL, NULL), KVP_OK);
}

static void test_a_job_that_has_ended_is_kept_as_long_as_was_promised(void **state)
{
    (void)state;
    struct kvp_task_grant grant;
    struct kvp_job_spec spec = mode_of("single");
    spec.keep_s = 3600;
    uint64_t job = farm_job(&farm, &spec, 1);
    struct hand ann = farm_join(&farm, "ann", "count", false);
    assert_int_equal(farm_fetch(&farm, &ann, &grant), KVP_OK);
    assert_int_equal(farm_post(&farm, &ann, &grant, "x"), KVP_OK);
    assert_string_equal(farm_text(&farm, job, "state"), "done");
    for (unsigned i = 1; i < 4096; i++) {
        assert_int_equal(make_by(1 + i % 8, 0, NULL, NULL), KVP_OK);
    }
    kvp_buf answer;
    assert_int_equal(make_by(20, 0, &answer, NULL), KVP_BUSY);
    check_reason(&answer, "1 of them by jobs that have ended");
    assert_string_equal(farm_text(&farm, job, "state"), "done");
    uint64_t other = 0;
    assert_int_equal(remove_job(job), KVP_OK); /* who does not need it says so */
    assert_int_equal(make_by(20, 0, NULL, &other), KVP_OK);
    assert_int_equal(remove_job(job), KVP_NO_SUCH_JOB);
    assert_int_equal(remove_job(other), KVP_JOB_STATE);
}

static int join_by(uint64_t client, unsigned number)
{
    char name[32];
    (void)snprintf(name, sizeof(name), "w%u", number);
    struct kvp_request request = {.op = KVP_OP_WORKER_JOIN,
                                  .key = text(name),
                                  .value = TEXT("\x91\xa5"
                                                "count")};
    request = with_session(request, client, 0, ++farm.sessions, 1);
    return farm_ask(&farm, &request, NULL);
}

static void test_one_client_does_not_take_all_places_for_workers(void **state)
{
    (void)state;
    unsigned count = 0;
    while (join_by(7, count) == KVP_OK) {
        count++;
    }
    assert_int_equal(count, 768);
    for (unsigned i = 0; i < 256; i++) {
        assert_int_equal(join_by(8, 1000 + i), KVP_OK);
    }
    assert_int_equal(join_by(9, 2000), KVP_BUSY);
    assert_int_equal(join_by(7, 5), KVP_OK); /* it has a place */
    farm_wait(&farm, 3000);
    assert_int_equal(join_by(9, 2000), KVP_OK); /* nothing was heard of them */
}

static void check_lacks(uint64_t job, const char *word)
{
    const char *found = farm_text(&farm, job, "lacks");
    assert_true(word[0] == '\0' ? found[0] == '\0' : strstr(found, word) != NULL);
}

static void test_a_job_says_which_workers_it_lacks(void **state)
{
    (void)state;
    struct kvp_job_spec spec = mode_of("single"), three = mode_of("tmr");
    struct kvp_task_grant grant;
    uint64_t job = farm_job(&farm, &spec, 2);
    check_lacks(job, "no active worker can do task 0: its kind is count");
    (void)farm_join(&farm, "other", "sum", false);
    (void)farm_join_sized(&farm, "small", "count", false, 0);
    (void)farm_join(&farm, "rest", "count", true);
    struct hand ann = farm_join(&farm, "ann", "count", false);
    check_lacks(job, "");
    uint64_t voted = farm_job(&farm, &three, 1);
    check_lacks(voted, "wants 3 different workers");
    assert_int_equal(farm_fetch(&farm, &ann, &grant), KVP_OK);
    check_lacks(voted, "wants 3 different workers");
    assert_int_equal(farm_leave(&farm, &ann), KVP_OK);
    farm_wait(&farm, 100);
    (void)farm_cancel(&farm, voted);
    check_lacks(voted, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FARM_TEST(test_a_job_says_which_workers_it_lacks),
        FARM_TEST(test_pages_of_jobs_are_complete_and_in_order),
        FARM_TEST(test_a_page_of_jobs_costs_the_same_however_many_there_are),
        FARM_TEST(test_one_client_does_not_take_all_places_for_jobs),
        FARM_TEST(test_a_job_that_has_ended_is_kept_as_long_as_was_promised),
        FARM_TEST(test_one_client_does_not_take_all_places_for_workers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
