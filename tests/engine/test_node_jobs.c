/* SPDX-License-Identifier: Apache-2.0 */
/* Jobs as users of the library see them: kvp_jobs.h against a node in this process. */
#include "tests/engine/node_support.h"

#include "kvpair/kvp_jobs.h"
#include "kvpair/job_spec.h"
#include "kvpair/matrix.h"
#include "replication/matrix/matrix_multiply.h"
#include "kvstore/keyspace.h"
#include "kvstore/base/clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FETCH_MS 10000u

struct fixture {
    struct place place;
    kvp_node *node;
    kvp_client *client;
};

static void begin(struct fixture *f)
{
    kvp_client_options options;
    place_open(&f->place);
    kvp_node_options node = alone(&f->place);
    f->node = node_open_serving(&node);
    kvp_client_options_init(&options);
    options.nodes = kvp_node_url(f->node);
    options.timeout_ms = WAIT_MS;
    assert_int_equal(kvp_client_open(&options, &f->client, NULL, 0), KVP_OK);
}

static void end(struct fixture *f)
{
    kvp_client_close(f->client);
    kvp_node_close(f->node);
    place_close(&f->place);
}

/* ---- small things ---- */

static kvp_slice text(const char *string)
{
    return kvp_slice_of(string, strlen(string));
}

static void check_slice(kvp_slice found, const char *expected)
{
    assert_int_equal(found.size, strlen(expected));
    assert_memory_equal(found.size == 0 ? "" : found.data, expected, found.size);
}

static void check_refused(kvp_status expected, kvp_status status, kvp_result *result)
{
    assert_int_equal(status, expected);
    assert_int_equal(result->status, expected);
    kvp_result_free(result);
}

/* Is it in the JSON text about that? */
static bool is_told(struct fixture *f, unsigned what, uint64_t job, const char *part)
{
    kvp_result result;
    assert_int_equal(kvp_job_info(f->client, what, job, 0, NULL, &result), KVP_OK);
    char *copy = strndup((const char *)result.value.data, result.value.size);
    assert_non_null(copy);
    bool found = strstr(copy, part) != NULL;
    free(copy);
    kvp_result_free(&result);
    return found;
}

static void check_told(struct fixture *f, unsigned what, uint64_t job, const char *part)
{
    if (!is_told(f, what, job, part)) {
        fail_msg("nobody says: %s", part);
    }
}

static void wait_told(struct fixture *f, unsigned what, uint64_t job, const char *part)
{
    uint64_t until_us = kvp_clock_now_us() + WAIT_MS * 1000ull;
    while (!is_told(f, what, job, part)) {
        if (kvp_clock_now_us() > until_us) {
            fail_msg("nobody says: %s", part);
        }
    }
}

static kvp_worker join(struct fixture *f, const char *name, const char *kind)
{
    kvp_worker worker = {0};
    (void)snprintf(worker.name, sizeof(worker.name), "%s", name);
    assert_int_equal(kvp_worker_join(f->client, &worker, &kind, 1, 1u << 24, false, NULL), KVP_OK);
    assert_true(worker.instance > 0);
    return worker;
}

static uint64_t new_job(struct fixture *f, const struct kvp_job_spec *spec)
{
    uint64_t job = 0;
    assert_int_equal(kvp_job_new(f->client, spec, &job, NULL), KVP_OK);
    assert_true(job > 0);
    return job;
}

static struct kvp_job_spec tasks_spec(void)
{
    struct kvp_job_spec spec;
    kvp_job_spec_init(&spec, KVP_JOB_TASKS);
    return spec;
}

/* Two tasks: "echo" with "one", and one that is fed with its result. */
static uint64_t echo_job(struct fixture *f)
{
    const uint32_t first = 0;
    struct kvp_job_spec spec = tasks_spec();
    uint64_t job = new_job(f, &spec);
    kvp_buf tasks = {0};
    assert_int_equal(kvp_job_tasks_open(&tasks, 2), KVP_OK);
    assert_int_equal(kvp_job_tasks_put(&tasks, text("echo"), NULL, 0, false, text("one")), KVP_OK);
    assert_int_equal(kvp_job_tasks_put(&tasks, text("echo"), &first, 1, true, text("two ")),
                     KVP_OK);
    assert_int_equal(kvp_job_add_tasks(f->client, job, 0, kvp_buf_slice(&tasks), NULL), KVP_OK);
    kvp_buf_free(&tasks);
    assert_int_equal(kvp_job_start(f->client, job, NULL), KVP_OK);
    return job;
}

/* ---- tasks ---- */

static void test_tasks_go_to_a_worker_and_results_come_back(void **state)
{
    (void)state;
    struct fixture f;
    kvp_task task;
    kvp_result result;
    bool go_on = false;
    begin(&f);
    kvp_worker worker = join(&f, "w", "echo");
    uint64_t job = echo_job(&f);
    assert_int_equal(kvp_task_fetch(f.client, &worker, 0, FETCH_MS, &task, NULL), KVP_OK);
    assert_true(task.job == job && task.number == 0 && task.beat_ms > 0);
    check_slice(task.kind, "echo");
    check_slice(task.payload, "one");
    check_slice(task.checkpoint, "");
    assert_int_equal(kvp_task_beat(f.client, &worker, &task, 500, NULL, &go_on, NULL), KVP_OK);
    assert_true(go_on);
    check_told(&f, KVP_INFO_TASKS, job, "\"progress\":500");
    assert_int_equal(kvp_job_result(f.client, job, 0, &result), KVP_JOB_STATE);
    kvp_result_free(&result);
    assert_int_equal(
        kvp_task_post(f.client, &worker, &task, KVP_OUTCOME_RESULT, text("ONE"), &result), KVP_OK);
    assert_true(result.counted && result.value.size == 0);
    kvp_task_free(&task);
    assert_int_equal(kvp_task_fetch(f.client, &worker, 0, FETCH_MS, &task, NULL), KVP_OK);
    check_slice(task.payload, "two ONE");
    assert_int_equal(
        kvp_task_post(f.client, &worker, &task, KVP_OUTCOME_RESULT, task.payload, NULL), KVP_OK);
    kvp_task_free(&task);
    kvp_task_free(&task);
    kvp_task_free(NULL);
    check_told(&f, KVP_INFO_JOB, job, "\"state\":\"done\"");
    assert_int_equal(kvp_job_result(f.client, job, 1, &result), KVP_OK);
    check_slice(kvp_buf_slice(&result.value), "two ONE");
    kvp_result_free(&result);
    assert_int_equal(kvp_task_fetch(f.client, &worker, 0, 10, &task, NULL), KVP_NO_TASK);
    assert_int_equal(kvp_worker_leave(f.client, &worker, NULL), KVP_OK);
    check_told(&f, KVP_INFO_WORKERS, 0, "\"state\":\"left\"");
    end(&f);
}

static void test_a_checkpoint_goes_on_to_the_next_worker(void **state)
{
    (void)state;
    struct fixture f;
    kvp_task task;
    const kvp_slice checkpoint = text("half of it");
    bool go_on = false;
    begin(&f);
    kvp_worker first = join(&f, "first", "echo");
    (void)echo_job(&f);
    assert_int_equal(kvp_task_fetch(f.client, &first, 0, FETCH_MS, &task, NULL), KVP_OK);
    assert_int_equal(kvp_task_beat(f.client, &first, &task, 500, &checkpoint, &go_on, NULL),
                     KVP_OK);
    assert_true(go_on);
    assert_int_equal(kvp_task_post(f.client, &first, &task, KVP_OUTCOME_GIVEN_BACK, text(""), NULL),
                     KVP_OK);
    kvp_task_free(&task);
    kvp_worker second = join(&f, "second", "echo");
    assert_int_equal(kvp_task_fetch(f.client, &second, 0, FETCH_MS, &task, NULL), KVP_OK);
    check_slice(task.checkpoint, "half of it");
    kvp_task_free(&task);
    end(&f);
}

static void test_who_is_no_worker_or_not_any_more_is_told(void **state)
{
    (void)state;
    struct fixture f;
    kvp_task task;
    kvp_result result;
    bool go_on = true;
    begin(&f);
    kvp_worker stranger = {.name = "stranger", .instance = 7};
    check_refused(KVP_WORKER_UNKNOWN, kvp_task_fetch(f.client, &stranger, 0, 0, &task, &result),
                  &result);
    kvp_worker worker = join(&f, "w", "echo");
    uint64_t job = echo_job(&f);
    assert_int_equal(kvp_task_fetch(f.client, &worker, 0, FETCH_MS, &task, NULL), KVP_OK);
    kvp_worker twin = join(&f, "w", "echo");
    assert_true(twin.instance > worker.instance);
    check_refused(KVP_WORKER_REPLACED,
                  kvp_task_beat(f.client, &worker, &task, 0, NULL, &go_on, &result), &result);
    check_refused(KVP_WORKER_REPLACED,
                  kvp_task_post(f.client, &worker, &task, KVP_OUTCOME_RESULT, text("x"), &result),
                  &result);
    check_refused(KVP_WORKER_REPLACED, kvp_worker_leave(f.client, &worker, &result), &result);
    kvp_task never = task; /* a task that it does not hold, as far as anybody can know */
    never.attempt ^= 1;
    check_refused(KVP_NOT_HELD,
                  kvp_task_post(f.client, &twin, &never, KVP_OUTCOME_RESULT, text("x"), &result),
                  &result);
    kvp_task_free(&task);
    assert_int_equal(kvp_task_fetch(f.client, &twin, 0, FETCH_MS, &task, NULL), KVP_OK);
    assert_int_equal(kvp_job_cancel(f.client, job, NULL), KVP_OK);
    kvp_status status = kvp_task_beat(f.client, &twin, &task, 0, NULL, &go_on, NULL);
    assert_true(status != KVP_OK || !go_on);
    kvp_task_free(&task);
    end(&f);
}

static void test_wrong_arguments_of_workers_are_refused_here(void **state)
{
    (void)state;
    struct fixture f;
    static uint8_t big[KVP_VALUE_SIZE_MAX + 1];
    const char *kinds[KVP_JOB_KINDS_MAX + 1];
    char long_kind[KVP_NAME_SIZE_MAX + 2];
    const char *long_kinds[] = {long_kind};
    kvp_worker worker = {.name = "w"}, nameless = {0}, endless;
    kvp_task task = {.job = 1};
    const kvp_slice too_long = {big, sizeof(big)};
    bool go_on;
    kvp_result result;
    begin(&f);
    for (unsigned i = 0; i <= KVP_JOB_KINDS_MAX; i++) {
        kinds[i] = "kind";
    }
    memset(long_kind, 'k', sizeof(long_kind) - 1);
    long_kind[sizeof(long_kind) - 1] = '\0';
    memset(&endless, 'n', sizeof(endless));
    check_refused(KVP_BAD_ARGUMENT,
                  kvp_worker_join(f.client, &nameless, kinds, 1, 1, false, &result), &result);
    check_refused(KVP_BAD_ARGUMENT,
                  kvp_worker_join(f.client, &endless, kinds, 1, 1, false, &result), &result);
    check_refused(KVP_BAD_ARGUMENT, kvp_worker_join(f.client, &worker, kinds, 0, 1, false, &result),
                  &result);
    check_refused(
        KVP_BAD_ARGUMENT,
        kvp_worker_join(f.client, &worker, kinds, KVP_JOB_KINDS_MAX + 1, 1, false, &result),
        &result);
    check_refused(KVP_BAD_ARGUMENT,
                  kvp_worker_join(f.client, &worker, long_kinds, 1, 1, false, &result), &result);
    check_refused(KVP_TOO_LARGE,
                  kvp_task_beat(f.client, &worker, &task, 0, &too_long, &go_on, &result), &result);
    check_refused(KVP_TOO_LARGE,
                  kvp_task_post(f.client, &worker, &task, KVP_OUTCOME_RESULT, too_long, &result),
                  &result);
    end(&f);
}

/* ---- products ---- */

static struct kvp_matrix numbers(uint64_t rows, uint64_t columns, int32_t seed)
{
    struct kvp_matrix matrix;
    assert_int_equal(kvp_matrix_new(KVP_INT32, rows, columns, &matrix), KVP_OK);
    for (uint64_t i = 0; i < rows * columns; i++) {
        int32_t number = (int32_t)((uint32_t)i * 7919u % 201u) - 100 + seed;
        memcpy(matrix.data.data + i * sizeof(number), &number, sizeof(number));
    }
    return matrix;
}

/* Does the tasks of the built-in kind until the job is verified. */
static void multiply_all(struct fixture *f, const kvp_worker *worker, uint32_t count)
{
    for (uint32_t i = 1; i <= count; i++) {
        kvp_task task;
        uint32_t head[4];
        assert_int_equal(kvp_task_fetch(f->client, worker, 0, FETCH_MS, &task, NULL), KVP_OK);
        check_slice(task.kind, KVP_JOB_MATMUL_KIND);
        for (unsigned j = 0; j < 4; j++) {
            head[j] = kvp_get_u32((const uint8_t *)task.payload.data + (size_t)4 * j);
        }
        const uint8_t *a = (const uint8_t *)task.payload.data + KVP_JOB_TILE_HEADER;
        size_t size = (size_t)head[1] * head[3] * 4;
        uint8_t *c = malloc(size);
        assert_non_null(c);
        assert_int_equal(kvp_multiply((enum kvp_matrix_type)head[0], head[1], head[2], head[3], a,
                                      a + (size_t)head[1] * head[2] * 4, c),
                         KVP_OK);
        assert_int_equal(kvp_task_post(f->client, worker, &task, KVP_OUTCOME_RESULT,
                                       kvp_slice_of(c, size), NULL),
                         KVP_OK);
        free(c);
        kvp_task_free(&task);
    }
}

struct uploaded {
    uint64_t sent, all;
    unsigned calls;
};

static void note_upload(void *arg, uint64_t sent, uint64_t all)
{
    struct uploaded *uploaded = arg;
    assert_true(sent >= uploaded->sent && sent <= all);
    uploaded->sent = sent;
    uploaded->all = all;
    uploaded->calls++;
}

static void test_a_product_is_uploaded_multiplied_and_fetched(void **state)
{
    (void)state;
    struct fixture f;
    struct kvp_job_spec spec;
    struct kvp_matrix a = numbers(37, 53, 1), b = numbers(53, 29, -2), c, expected;
    struct uploaded uploaded = {0};
    uint64_t job = 0;
    kvp_result result;
    begin(&f);
    kvp_worker worker = join(&f, "w", KVP_JOB_MATMUL_KIND);
    kvp_job_spec_init(&spec, KVP_JOB_MATMUL);
    assert_int_equal(
        kvp_job_submit_matmul(f.client, &spec, &a, &b, 4000, &job, note_upload, &uploaded, NULL),
        KVP_OK);
    assert_true(uploaded.sent == uploaded.all && uploaded.all == a.data.size + b.data.size);
    struct kvp_job_grid grid = kvp_job_grid_of(&spec);
    assert_true(grid.tasks > 10 && grid.inputs > 8); /* more than may be under way */
    check_refused(KVP_JOB_STATE, kvp_job_product(f.client, job, &spec, &c, &result), &result);
    assert_null(c.data.data);
    multiply_all(&f, &worker, grid.tasks);
    wait_told(&f, KVP_INFO_JOB, job, "\"state\":\"done\"");
    assert_int_equal(kvp_job_product(f.client, job, &spec, &c, &result), KVP_OK);
    assert_int_equal(kvp_matrix_new(KVP_INT32, 37, 29, &expected), KVP_OK);
    assert_int_equal(
        kvp_multiply(KVP_INT32, 37, 53, 29, a.data.data, b.data.data, expected.data.data), KVP_OK);
    assert_int_equal(c.data.size, expected.data.size);
    assert_memory_equal(c.data.data, expected.data.data, c.data.size);
    kvp_matrix_free(&c);
    struct kvp_job_spec other = spec; /* not what was submitted */
    other.tile_rows = 1;
    check_refused(KVP_CORRUPT, kvp_job_product(f.client, job, &other, &c, &result), &result);
    kvp_matrix_free(&a);
    kvp_matrix_free(&b);
    kvp_matrix_free(&expected);
    end(&f);
}

static void test_matrices_that_do_not_fit_make_no_job(void **state)
{
    (void)state;
    struct fixture f;
    struct kvp_job_spec spec;
    struct kvp_matrix a = numbers(3, 4, 0), b = numbers(5, 3, 0), c = numbers(4, 3, 0);
    uint64_t job = 0;
    kvp_result result;
    begin(&f);
    kvp_job_spec_init(&spec, KVP_JOB_MATMUL);
    check_refused(KVP_BAD_REQUEST,
                  kvp_job_submit_matmul(f.client, &spec, &a, &b, 0, &job, NULL, NULL, &result),
                  &result);
    check_refused(KVP_TOO_LARGE,
                  kvp_job_submit_matmul(f.client, &spec, &a, &c, 20, &job, NULL, NULL, &result),
                  &result);
    c.type = KVP_FLOAT32; /* of the same size */
    check_refused(KVP_BAD_REQUEST,
                  kvp_job_submit_matmul(f.client, &spec, &a, &c, 0, &job, NULL, NULL, &result),
                  &result);
    assert_int_equal(job, 0);
    check_told(&f, KVP_INFO_JOBS, 0, "[]");
    kvp_matrix_free(&a);
    kvp_matrix_free(&b);
    kvp_matrix_free(&c);
    end(&f);
}

/* The client looks at a matrix before; what it changes into while it is uploaded the node sees. */
static void put_nan(void *arg, uint64_t sent, uint64_t all)
{
    const float nan = __builtin_nanf("");
    (void)sent;
    (void)all;
    memcpy(((struct kvp_matrix *)arg)->data.data, &nan, sizeof(nan));
}

static void test_a_matrix_with_nan_makes_no_job(void **state)
{
    (void)state;
    struct fixture f;
    struct kvp_job_spec spec;
    struct kvp_matrix a, b;
    uint64_t job = 0;
    kvp_result result;
    begin(&f);
    kvp_job_spec_init(&spec, KVP_JOB_MATMUL);
    assert_int_equal(kvp_matrix_new(KVP_FLOAT32, 10, 10, &a), KVP_OK);
    assert_int_equal(kvp_matrix_new(KVP_FLOAT32, 10, 10, &b), KVP_OK);
    put_nan(&b, 0, 0);
    kvp_status status =
        kvp_job_submit_matmul(f.client, &spec, &a, &b, 4000, &job, NULL, NULL, &result);
    assert_non_null(strstr((const char *)result.value.data, "NaN"));
    check_refused(KVP_BAD_REQUEST, status, &result);
    assert_int_equal(job, 0);
    check_told(&f, KVP_INFO_JOBS, 0, "[]");
    kvp_matrix_free(&a);
    kvp_matrix_free(&b);
    end(&f);
}

/* The node finds it: the upload fails in the middle, and with it the job. */
static void test_an_upload_that_fails_cancels_the_job(void **state)
{
    (void)state;
    struct fixture f;
    struct kvp_job_spec spec;
    struct kvp_matrix a, b;
    uint64_t job = 0;
    kvp_result result;
    begin(&f);
    kvp_job_spec_init(&spec, KVP_JOB_MATMUL);
    assert_int_equal(kvp_matrix_new(KVP_FLOAT32, 100, 100, &a), KVP_OK);
    assert_int_equal(kvp_matrix_new(KVP_FLOAT32, 100, 100, &b), KVP_OK);
    kvp_status status =
        kvp_job_submit_matmul(f.client, &spec, &a, &b, 4000, &job, put_nan, &b, &result);
    assert_non_null(strstr((const char *)result.value.data, "NaN"));
    check_refused(KVP_BAD_REQUEST, status, &result);
    assert_true(job > 0);
    assert_false(is_told(&f, KVP_INFO_JOBS, 0, "\"state\":\"uploading\""));
    kvp_matrix_free(&a);
    kvp_matrix_free(&b);
    end(&f);
}

/* ---- looking ---- */

static void test_jobs_are_listed_in_pages(void **state)
{
    (void)state;
    struct fixture f;
    struct kvp_job_spec spec = tasks_spec();
    uint64_t from = 0, last = 0;
    unsigned pages = 0;
    kvp_result result;
    begin(&f);
    for (unsigned i = 0; i < 300; i++) {
        last = new_job(&f, &spec);
    }
    do {
        assert_int_equal(kvp_job_info(f.client, KVP_INFO_JOBS, 0, from, &from, &result), KVP_OK);
        assert_true(result.value.size > 2 && result.value.data[0] == '[');
        kvp_result_free(&result);
        pages++;
    } while (from != 0);
    assert_int_equal(pages, 2);
    assert_int_equal(kvp_job_info(f.client, KVP_INFO_JOB, last, 0, NULL, &result), KVP_OK);
    assert_int_equal(result.value.data[0], '{');
    kvp_result_free(&result);
    check_refused(KVP_NO_SUCH_JOB,
                  kvp_job_info(f.client, KVP_INFO_JOB, last + 1000, 0, NULL, &result), &result);
    check_refused(KVP_BAD_REQUEST, kvp_job_info(f.client, 17, 0, 0, NULL, &result), &result);
    end(&f);
}

static void test_wrong_jobs_are_refused(void **state)
{
    (void)state;
    struct fixture f;
    struct kvp_job_spec spec = tasks_spec(), wrong = tasks_spec();
    kvp_buf tasks = {0};
    uint64_t job = 0;
    kvp_result result;
    begin(&f);
    wrong.copies = 0;
    check_refused(KVP_BAD_REQUEST, kvp_job_new(f.client, &wrong, &job, &result), &result);
    job = new_job(&f, &spec);
    check_refused(KVP_JOB_STATE, kvp_job_start(f.client, job, &result), &result); /* no tasks */
    check_refused(KVP_BAD_REQUEST, kvp_job_add_tasks(f.client, job, 0, text("no msgpack"), &result),
                  &result);
    assert_int_equal(kvp_job_tasks_open(&tasks, 1), KVP_OK);
    assert_int_equal(kvp_job_tasks_put(&tasks, text("k"), NULL, 0, false, text("")), KVP_OK);
    check_refused(KVP_BAD_REQUEST,
                  kvp_job_add_tasks(f.client, job, 5, kvp_buf_slice(&tasks), &result), &result);
    check_refused(KVP_BAD_REQUEST, kvp_job_put_block(f.client, job, 0, text("1234"), &result),
                  &result);
    check_refused(KVP_NO_SUCH_JOB, kvp_job_cancel(f.client, job + 77, &result), &result);
    assert_int_equal(kvp_job_cancel(f.client, job, NULL), KVP_OK);
    check_refused(KVP_JOB_STATE,
                  kvp_job_add_tasks(f.client, job, 0, kvp_buf_slice(&tasks), &result), &result);
    kvp_buf_free(&tasks);
    end(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tasks_go_to_a_worker_and_results_come_back),
        cmocka_unit_test(test_a_checkpoint_goes_on_to_the_next_worker),
        cmocka_unit_test(test_who_is_no_worker_or_not_any_more_is_told),
        cmocka_unit_test(test_wrong_arguments_of_workers_are_refused_here),
        cmocka_unit_test(test_a_product_is_uploaded_multiplied_and_fetched),
        cmocka_unit_test(test_matrices_that_do_not_fit_make_no_job),
        cmocka_unit_test(test_a_matrix_with_nan_makes_no_job),
        cmocka_unit_test(test_an_upload_that_fails_cancels_the_job),
        cmocka_unit_test(test_jobs_are_listed_in_pages),
        cmocka_unit_test(test_wrong_jobs_are_refused),
    };
    return cmocka_run_group_tests_name("node_jobs", tests, NULL, NULL);
}
