/* SPDX-License-Identifier: Apache-2.0 */
/* The job engine: memory is known before it is taken, and what is long is done in pieces. */
#include "tests/jobs/jobs_support.h"

#include "replication/jobs/job_records.h"
#include "replication/jobs/job_state.h"
#include "replication/wire/mp_reader.h"
#include "tests/jobs/work_count.h"

#include <stdio.h>
#include <string.h>

static struct kvp_job_spec product_of(uint64_t rows, uint64_t inner, uint64_t columns,
                                      enum kvp_job_verify verify, unsigned rounds)
{
    struct kvp_job_spec spec;
    kvp_job_spec_init(&spec, KVP_JOB_MATMUL);
    spec.element = KVP_INT64;
    spec.rows = rows;
    spec.inner = inner;
    spec.columns = columns;
    spec.verify = (uint8_t)verify;
    spec.rounds = (uint8_t)rounds;
    spec.keep_s = 3600;
    return spec;
}

static void fill(struct kvp_matrix *matrix, uint64_t rows, uint64_t columns)
{
    assert_int_equal(kvp_matrix_new(KVP_INT64, rows, columns, matrix), KVP_OK);
    for (uint64_t i = 0; i < rows * columns; i++) {
        int64_t value = (int64_t)(i % 7) - 3;
        memcpy(matrix->data.data + i * sizeof(value), &value, sizeof(value));
    }
}

/* A started product; its tasks are for the worker to do. */
static uint64_t begin(const struct kvp_job_spec *spec)
{
    struct kvp_matrix a, b;
    fill(&a, spec->rows, spec->inner);
    fill(&b, spec->inner, spec->columns);
    uint64_t job = farm_product(&farm, spec, &a, &b);
    kvp_matrix_free(&a);
    kvp_matrix_free(&b);
    return job;
}

static void multiply(const struct hand *hand, uint32_t count)
{
    struct kvp_task_grant grant;
    for (uint32_t i = 0; i < count; i++) {
        assert_int_equal(farm_fetch(&farm, hand, &grant), KVP_OK);
        assert_int_equal(farm_multiply(&farm, hand, &grant), KVP_OK);
    }
}

/* ---- memory ---- */

static void test_a_verification_that_takes_too_much_memory_is_refused(void **state)
{
    (void)state;
    struct kvp_job_spec spec = product_of(3000000, 1, 1, KVP_VERIFY_FREIVALDS, 64);
    kvp_buf bytes = {0}, answer = {0};
    struct kvp_mp_reader reader;
    char reason[JOB_REASON_MAX + 1];
    assert_int_equal(kvp_job_spec_tile(&spec, 4u << 20), KVP_OK);
    assert_int_equal(kvp_job_spec_encode(&spec, &bytes), KVP_OK);
    struct kvp_request request = {.op = KVP_OP_JOB_NEW, .value = kvp_buf_slice(&bytes)};
    assert_int_equal(farm_ask(&farm, &request, &answer), KVP_TOO_LARGE);
    kvp_mp_begin(&reader, kvp_buf_slice(&answer));
    kvp_slice text = kvp_mp_str(&reader);
    (void)snprintf(reason, sizeof(reason), "%.*s", (int)text.size, (const char *)text.data);
    assert_non_null(strstr(reason, "MiB of memory"));
    assert_non_null(strstr(reason, "allow 64"));
    kvp_buf_free(&answer);
    kvp_buf_free(&bytes);
    spec.verify = KVP_VERIFY_RECOMPUTE;
    assert_true(farm_new(&farm, &spec) > 0);
}

/* A version before this one has taken it, or a node with more memory. */
static void test_a_job_whose_verification_is_too_large_fails_and_not_the_node(void **state)
{
    (void)state;
    struct kvp_raw_key key;
    kvp_buf bytes = {0};
    struct kvp_job_spec spec = product_of(200000, 1, 1, KVP_VERIFY_FREIVALDS, 1);
    assert_int_equal(kvp_job_spec_tile(&spec, 4u << 20), KVP_OK);
    uint32_t tasks = kvp_job_grid_of(&spec).tasks;
    uint64_t job = begin(&spec);
    struct hand ann = farm_join(&farm, "ann", KVP_JOB_MATMUL_KIND, false);
    multiply(&ann, tasks - 1);
    struct job_record record = {.spec = spec,
                                .state = JOB_RUNNING,
                                .task_count = tasks,
                                .blocks = kvp_job_grid_of(&spec).inputs};
    record.spec.rounds = 64;
    job_key_job(&key, job);
    assert_int_equal(job_record_encode(&record, &bytes), KVP_OK);
    assert_int_equal(farm_load_with(&farm, &key, &bytes), KVP_OK);
    kvp_buf_free(&bytes);
    farm_work(&farm);
    multiply(&ann, 1);
    assert_string_equal(farm_text(&farm, job, "state"), "failed");
    assert_non_null(strstr(farm_text(&farm, job, "reason"), "MiB of memory"));
    farm_failover(&farm);
    assert_string_equal(farm_text(&farm, job, "state"), "failed");
}

/* ---- one at a time, in pieces ---- */

struct pace {
    struct work_count before; /* the step */
    struct work_count most;   /* of each, in a step */
    size_t largest;           /* bytes of what a step wrote */
    unsigned at_work;         /* most jobs that held memory at a time */
};

static unsigned count_at_work(const struct kvp_jobs *jobs)
{
    unsigned count = 0;
    for (const struct job *job = jobs->first; job != NULL; job = job->next) {
        count += job->verify != NULL || job->recheck != NULL || job->sum.size > 0;
    }
    return count;
}

static void keep_most(uint64_t *most, uint64_t count)
{
    *most = count > *most ? count : *most;
}

static void before_step(void *arg)
{
    struct pace *pace = arg;
    pace->before = work_count;
}

static void after_step(void *arg, size_t wrote)
{
    struct pace *pace = arg;
    unsigned at_work = count_at_work(kvp_engine_jobs(farm.bench.engine));
    keep_most(&pace->most.reads, work_count.reads - pace->before.reads);
    keep_most(&pace->most.bytes, work_count.bytes - pace->before.bytes);
    keep_most(&pace->most.products, work_count.products - pace->before.products);
    pace->largest = wrote > pace->largest ? wrote : pace->largest;
    pace->at_work = at_work > pace->at_work ? at_work : pace->at_work;
}

/* Multiplies all of it, and lets what follows be done. */
static struct pace follow(const struct kvp_job_spec *spec, uint64_t job)
{
    struct pace pace = {0};
    struct hand ann = farm_join(&farm, "ann", KVP_JOB_MATMUL_KIND, false);
    farm_watch(&farm, before_step, after_step, &pace);
    multiply(&ann, kvp_job_grid_of(spec).tasks);
    farm_watch(&farm, NULL, NULL, NULL);
    assert_string_equal(farm_text(&farm, job, "reason"), "");
    assert_string_equal(farm_text(&farm, job, "state"), "done");
    print_message("most in a step: %llu reads, %llu bytes, %llu products; written: %zu bytes\n",
                  (unsigned long long)pace.most.reads, (unsigned long long)pace.most.bytes,
                  (unsigned long long)pace.most.products, pace.largest);
    return pace;
}

/* A step ends behind the value, or the part of it, with which it has had enough. Each of these is
 * some milliseconds of work. */
#define STEP_BYTES_MAX    (STEP_WORK_MAX + KVP_VALUE_SIZE_MAX)
#define STEP_READS_MAX    (2 * STEP_WORK_MAX / JOB_KEY_WORK + 2 * JOB_KEYS_AT_ONCE)
#define STEP_PRODUCTS_MAX STEP_WORK_MAX

/* `cheap`: so many products, of a whole block at once, count as one. */
static void check_steps(const struct kvp_job_spec *spec, unsigned cheap)
{
    struct pace pace = follow(spec, begin(spec));
    assert_true(pace.most.bytes <= STEP_BYTES_MAX);
    assert_true(pace.most.reads <= STEP_READS_MAX);
    assert_true(pace.most.products <= cheap * STEP_PRODUCTS_MAX);
}

static void test_no_step_of_a_verification_does_more_than_its_share(void **state)
{
    (void)state;
    struct kvp_job_spec spec = product_of(1024, 128, 128, KVP_VERIFY_FREIVALDS, 64);
    spec.tile_rows = 1024;
    spec.tile_inner = spec.tile_columns = 128;
    check_steps(&spec, 1);
    spec = product_of(1, 131072, 1, KVP_VERIFY_FREIVALDS, 16);
    spec.tile_rows = spec.tile_columns = 1;
    spec.tile_inner = 131072;
    check_steps(&spec, 1);
}

static void test_no_step_of_recomputing_does_more_than_its_share(void **state)
{
    (void)state;
    struct kvp_job_spec spec = product_of(360, 360, 360, KVP_VERIFY_RECOMPUTE, 1);
    spec.tile_rows = spec.tile_inner = spec.tile_columns = 360;
    check_steps(&spec, 2);
}

static void test_no_step_of_a_sum_does_more_than_its_share(void **state)
{
    (void)state;
    struct kvp_job_spec spec = product_of(256, 100, 256, KVP_VERIFY_NONE, 1);
    spec.tile_rows = spec.tile_columns = 256;
    spec.tile_inner = 1;
    check_steps(&spec, 1);
    spec = product_of(1, 3000, 1, KVP_VERIFY_NONE, 1); /* where keys are all that there is */
    spec.tile_rows = spec.tile_inner = spec.tile_columns = 1;
    check_steps(&spec, 1);
}

static void test_no_entry_has_more_than_some_hundred_keys(void **state)
{
    (void)state;
    struct kvp_job_spec spec = product_of(1, 3000, 1, KVP_VERIFY_FREIVALDS, 1);
    spec.tile_rows = spec.tile_inner = spec.tile_columns = 1;
    uint64_t job = begin(&spec);
    assert_true(follow(&spec, job).largest < 20000);
    farm_failover(&farm);
    assert_string_equal(farm_text(&farm, job, "state"), "done");
}

/* The urgent one is complete when the other's verification has begun. */
static void test_one_job_at_a_time_holds_memory_for_its_verification(void **state)
{
    (void)state;
    struct pace pace = {0};
    struct kvp_task_grant grant, last;
    struct kvp_job_spec spec = product_of(64, 64, 64, KVP_VERIFY_FREIVALDS, 10);
    spec.tile_rows = spec.tile_inner = spec.tile_columns = 16;
    uint32_t tasks = kvp_job_grid_of(&spec).tasks;
    uint64_t job = begin(&spec);
    spec.priority++;
    uint64_t urgent = begin(&spec);
    struct hand ann = farm_join(&farm, "ann", KVP_JOB_MATMUL_KIND, false);
    struct hand bob = farm_join(&farm, "bob", KVP_JOB_MATMUL_KIND, false);
    multiply(&ann, tasks - 1);
    assert_int_equal(farm_fetch(&farm, &bob, &last), KVP_OK);
    assert_true(last.job == urgent);
    kvp_buf payload = {0};
    assert_int_equal(kvp_buf_append(&payload, last.payload.data, last.payload.size), KVP_OK);
    last.payload = kvp_buf_slice(&payload);
    multiply(&ann, tasks - 1);
    farm.steps_max = 2;
    farm_watch(&farm, before_step, after_step, &pace);
    assert_int_equal(farm_fetch(&farm, &ann, &grant), KVP_OK);
    assert_true(grant.job == job);
    assert_int_equal(farm_multiply(&farm, &ann, &grant), KVP_OK);
    farm_work(&farm);
    assert_int_equal(pace.at_work, 1);
    assert_int_equal(farm_multiply(&farm, &bob, &last), KVP_OK);
    assert_string_equal(farm_text(&farm, job, "state"), "verifying");
    for (unsigned i = 0; i < 400; i++) {
        farm_work(&farm);
    }
    farm_watch(&farm, NULL, NULL, NULL);
    assert_string_equal(farm_text(&farm, job, "state"), "done");
    assert_string_equal(farm_text(&farm, urgent, "state"), "done");
    assert_int_equal(pace.at_work, 1);
    kvp_buf_free(&payload);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FARM_TEST(test_a_verification_that_takes_too_much_memory_is_refused),
        FARM_TEST(test_a_job_whose_verification_is_too_large_fails_and_not_the_node),
        FARM_TEST(test_no_step_of_a_verification_does_more_than_its_share),
        FARM_TEST(test_no_step_of_recomputing_does_more_than_its_share),
        FARM_TEST(test_no_step_of_a_sum_does_more_than_its_share),
        FARM_TEST(test_no_entry_has_more_than_some_hundred_keys),
        FARM_TEST(test_one_job_at_a_time_holds_memory_for_its_verification),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
