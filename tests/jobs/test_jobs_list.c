/* SPDX-License-Identifier: Apache-2.0 */
/* The job engine: lists, page by page; what a page costs; who has how many places. */
#include "tests/jobs/farm.h"

#include "jobs/job_records.h"
#include "replication/mp_reader.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

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

static void test_pages_of_jobs_are_complete_and_in_order(void **state)
{
    (void)state;
    uint64_t ids[1024], last = 0, from = 0;
    uint32_t count, seen = 0;
    make_jobs(700);
    farm_failover(&farm);
    do {
        from = list_page(from, ids, &count);
        for (uint32_t i = 0; i < count; i++) {
            assert_true(ids[i] > last);
            last = ids[i];
        }
        seen += count;
        if (seen == 256) { /* the one that the next page begins with goes */
            assert_int_equal(farm_cancel(&farm, from), KVP_OK);
            farm_wait(&farm, 1000);
        }
    } while (from != 0);
    assert_int_equal(seen, 700);
    assert_int_equal(list_page(last, ids, &count), 0);
    assert_int_equal(count, 1);
    assert_int_equal(list_page(last + 1, ids, &count), 0);
    assert_int_equal(count, 0);
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
    make_jobs(3700);
    uint64_t many = page_us();
    print_message("a page of 300 jobs: %llu us, of 4000: %llu us\n", (unsigned long long)few,
                  (unsigned long long)many);
    assert_true(many < 4 * few + 1000);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_pages_of_jobs_are_complete_and_in_order),
        TEST(test_a_page_of_jobs_costs_the_same_however_many_there_are),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
