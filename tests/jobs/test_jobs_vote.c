/* SPDX-License-Identifier: Apache-2.0 */
/* The job engine: redundant execution, products of matrices, verification. */
#include "tests/jobs/jobs_support.h"

#include "replication/matrix/matrix_multiply.h"
#include "tests/support/rounds.h"

#include <stdlib.h>
#include <string.h>

static struct hand hands[6];

static int setup(void **state)
{
    static const char *const names[] = {"ann", "bob", "cleo", "dave", "eve", "fred"};
    (void)setup_farm(state);
    for (unsigned i = 0; i < 6; i++) {
        hands[i] = farm_join(&farm, names[i], "count", false);
    }
    return 0;
}

/* The worker fetches a task, which must be there, and posts a result. */
static bool does(unsigned hand, const char *result)
{
    struct kvp_task_grant grant;
    bool counted = false;
    assert_int_equal(farm_fetch(&farm, &hands[hand], &grant), KVP_OK);
    assert_int_equal(
        farm_post_bytes(&farm, &hands[hand], &grant, KVP_OUTCOME_RESULT, text(result), &counted),
        KVP_OK);
    return counted;
}

static int fetches(unsigned hand)
{
    struct kvp_task_grant grant;
    return farm_fetch(&farm, &hands[hand], &grant);
}

/* ---- modes ---- */

static void test_dual_first_takes_the_first(void **state)
{
    (void)state;
    struct kvp_task_grant first, second;
    bool counted;
    struct kvp_job_spec spec = mode_of("dual-first");
    uint64_t job = farm_job(&farm, &spec, 1);
    assert_int_equal(farm_fetch(&farm, &hands[0], &first), KVP_OK);
    struct kvp_task_grant kept = first;
    assert_int_equal(fetches(0), KVP_OK); /* the slot was given up: the copy goes out again */
    assert_int_equal(farm_fetch(&farm, &hands[1], &second), KVP_OK);
    struct kvp_task_grant other = second;
    assert_int_equal(fetches(2), KVP_NO_TASK);
    assert_int_equal(farm_post(&farm, &hands[1], &other, "one"), KVP_OK);
    check_state(job, "done");
    check_result(job, 0, "one");
    assert_int_equal(
        farm_post_bytes(&farm, &hands[0], &kept, KVP_OUTCOME_RESULT, TEXT("two"), &counted),
        KVP_OK);
    assert_false(counted);
    assert_int_equal(farm_worker_number(&farm, "ann", "lost_votes"), 0); /* who is right? */
}

static void test_copies_go_to_different_workers(void **state)
{
    (void)state;
    struct kvp_job_spec spec = mode_of("tmr");
    uint64_t job = farm_job(&farm, &spec, 1);
    struct kvp_task_grant grant;
    assert_int_equal(farm_fetch(&farm, &hands[0], &grant), KVP_OK);
    struct hand elsewhere = hands[0];
    elsewhere.slot = 1;
    struct kvp_task_grant kept = grant;
    assert_int_equal(farm_fetch(&farm, &elsewhere, &grant), KVP_NO_TASK);
    assert_int_equal(farm_post(&farm, &hands[0], &kept, "x"), KVP_OK);
    assert_int_equal(farm_fetch(&farm, &elsewhere, &grant), KVP_NO_TASK);
    assert_int_equal(farm_post(&farm, &hands[0], &kept, "x"), KVP_OK); /* a repeat */
    check_state(job, "running");
    assert_true(does(1, "x"));
    check_state(job, "done");
    assert_int_equal(farm_number(&farm, job, "done"), 1);
}

static void test_dual_compare_asks_a_third_when_two_disagree(void **state)
{
    (void)state;
    struct kvp_job_spec spec = mode_of("dual-compare");
    uint64_t job = farm_job(&farm, &spec, 1);
    assert_true(does(0, "right"));
    assert_int_equal(farm_number(&farm, job, "disagreements"), 0);
    assert_true(does(1, "wrong"));
    check_state(job, "running");
    assert_int_equal(farm_number(&farm, job, "disagreements"), 1);
    farm_failover(&farm);
    assert_int_equal(farm_number(&farm, job, "disagreements"), 1);
    assert_int_equal(fetches(0), KVP_NO_TASK);
    assert_int_equal(fetches(1), KVP_NO_TASK);
    assert_true(does(2, "right"));
    check_state(job, "done");
    check_result(job, 0, "right");
    assert_int_equal(farm_worker_number(&farm, "bob", "lost_votes"), 1);
    assert_int_equal(farm_worker_number(&farm, "ann", "lost_votes"), 0);
    assert_int_equal(farm_worker_number(&farm, "cleo", "lost_votes"), 0);
    assert_int_equal(farm_number(&farm, job, "disagreements"), 1);
    farm_failover(&farm);
    assert_int_equal(farm_number(&farm, job, "disagreements"), 1);
}

static void test_no_quorum_fails_the_job_with_the_evidence(void **state)
{
    (void)state;
    struct kvp_job_spec spec = mode_of("dual-compare");
    uint64_t job = farm_job(&farm, &spec, 1);
    static const char *const results[] = {"a", "b", "c", "d"};
    for (unsigned i = 0; i < 4; i++) {
        check_state(job, "running");
        assert_true(does(i, results[i]));
    }
    check_state(job, "failed");
    assert_string_equal(farm_text(&farm, job, "reason"),
                        "task 0: 4 results, and no 2 of them agree");
    assert_int_equal(fetches(4), KVP_NO_TASK);
    kvp_buf answer = {0};
    struct kvp_request request = {.op = KVP_OP_JOB_INFO,
                                  .job = {.what = KVP_INFO_TASKS, .job = job}};
    assert_int_equal(farm_ask(&farm, &request, &answer), KVP_OK);
    for (unsigned i = 0; i < 4; i++) {
        assert_non_null(memmem(answer.data, answer.size, hands[i].name, strlen(hands[i].name)));
    }
    kvp_buf_free(&answer);
}

static void test_a_liar_is_found_even_when_it_is_the_last(void **state)
{
    (void)state;
    struct kvp_job_spec spec = mode_of("tmr");
    uint64_t job = farm_job(&farm, &spec, 4);
    for (unsigned i = 0; i < 3; i++) {
        struct kvp_task_grant grant;
        assert_int_equal(farm_fetch(&farm, &hands[2], &grant), KVP_OK);
        struct kvp_task_grant kept = grant;
        assert_true(does(0, "x"));
        assert_true(does(1, "x"));
        assert_string_equal(farm_worker_text(&farm, "cleo", "state"), "active");
        assert_int_equal(farm_post(&farm, &hands[2], &kept, "lie"), KVP_OK);
        assert_int_equal(farm_worker_number(&farm, "cleo", "lost_votes"), i + 1);
    }
    assert_string_equal(farm_worker_text(&farm, "cleo", "state"), "barred");
    assert_int_equal(fetches(2), KVP_WORKER_BARRED);
    struct hand again = farm_join(&farm, "cleo", "count", false);
    struct kvp_task_grant grant;
    assert_int_equal(farm_fetch(&farm, &again, &grant), KVP_WORKER_BARRED);
    farm_failover(&farm);
    assert_int_equal(farm_fetch(&farm, &again, &grant), KVP_WORKER_BARRED);
    assert_int_equal(farm_number(&farm, job, "done"), 3);
    assert_int_equal(farm_number(&farm, job, "disagreements"), 3);
    kvp_buf bytes = {0};
    for (uint32_t i = 0; i < 3; i++) {
        bytes.size = 0;
        assert_int_equal(farm_result(&farm, job, i, &bytes), KVP_OK);
        check_slice(kvp_buf_slice(&bytes), TEXT("x"));
    }
    kvp_buf_free(&bytes);
}

static void test_quad_wants_three(void **state)
{
    (void)state;
    struct kvp_job_spec spec = mode_of("quad");
    uint64_t job = farm_job(&farm, &spec, 1);
    assert_true(does(0, "x"));
    assert_true(does(1, "y"));
    assert_true(does(2, "x"));
    check_state(job, "running");
    assert_int_equal(farm_number(&farm, job, "disagreements"), 0);
    assert_true(does(3, "x"));
    check_state(job, "done");
    assert_int_equal(farm_worker_number(&farm, "bob", "lost_votes"), 1);
    assert_int_equal(farm_number(&farm, job, "disagreements"), 1);
    farm_failover(&farm);
    assert_int_equal(farm_number(&farm, job, "disagreements"), 1);
}

static void test_modes_and_their_limits(void **state)
{
    (void)state;
    struct kvp_job_spec spec;
    const char *reason;
    static const char *const bad[] = {"", "five", "0/0", "2/3", "9/1", "3/", "3/2x"};
    kvp_job_spec_init(&spec, KVP_JOB_TASKS);
    for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_int_equal(kvp_job_spec_mode(&spec, bad[i]), KVP_BAD_ARGUMENT);
    }
    assert_int_equal(kvp_job_spec_mode(&spec, "5/3"), KVP_OK);
    assert_int_equal(spec.copies, 5);
    assert_int_equal(spec.quorum, 3);
    assert_int_equal(spec.copies_max, 7);
    assert_int_equal(kvp_job_spec_check(&spec, &reason), KVP_OK);
    spec.copies_max = 4;
    assert_int_equal(kvp_job_spec_check(&spec, &reason), KVP_BAD_REQUEST);
}

/* ---- products ---- */

static struct kvp_matrix random_matrix(enum kvp_matrix_type type, uint64_t rows, uint64_t columns)
{
    struct kvp_matrix matrix = {.type = type, .rows = rows, .columns = columns};
    size_t count = (size_t)(rows * columns), size = kvp_matrix_element_size(type);
    assert_int_equal(kvp_buf_reserve(&matrix.data, count * size), KVP_OK);
    matrix.data.size = count * size;
    for (size_t i = 0; i < count; i++) {
        int value = rand() % 2001 - 1000;
        int32_t narrow = value;
        int64_t wide = value;
        float single = (float)value / 7;
        double real = (double)value / 7;
        const void *const forms[] = {&narrow, &wide, &single, &real};
        memcpy(matrix.data.data + i * size, forms[type], size);
    }
    return matrix;
}

static struct kvp_job_spec product_of(enum kvp_matrix_type type, uint64_t rows, uint64_t inner,
                                      uint64_t columns, size_t buffer, enum kvp_job_verify verify)
{
    struct kvp_job_spec spec;
    kvp_job_spec_init(&spec, KVP_JOB_MATMUL);
    spec.element = (uint8_t)type;
    spec.rows = rows;
    spec.inner = inner;
    spec.columns = columns;
    spec.verify = (uint8_t)verify;
    assert_int_equal(kvp_job_spec_tile(&spec, buffer), KVP_OK);
    return spec;
}

static void work_off(const struct hand *worker)
{
    struct kvp_task_grant grant;
    while (farm_fetch(&farm, worker, &grant) == KVP_OK) {
        assert_int_equal(farm_multiply(&farm, worker, &grant), KVP_OK);
    }
}

static struct kvp_matrix assemble(uint64_t job, const struct kvp_job_spec *spec)
{
    struct kvp_matrix product = {
        .type = spec->element, .rows = spec->rows, .columns = spec->columns};
    size_t size = (size_t)(spec->rows * spec->columns) * kvp_matrix_element_size(spec->element);
    assert_int_equal(kvp_buf_reserve(&product.data, size), KVP_OK);
    product.data.size = size;
    for (uint32_t i = 0; i < kvp_job_grid_of(spec).outputs; i++) {
        kvp_buf bytes = {0};
        struct kvp_job_block block = kvp_job_output(spec, i);
        struct kvp_block place = {block.row, block.column, block.rows, block.columns};
        assert_int_equal(farm_result(&farm, job, i, &bytes), KVP_OK);
        assert_int_equal(kvp_matrix_paste(&product, &place, bytes.data), KVP_OK);
        kvp_buf_free(&bytes);
    }
    return product;
}

/* All types, all ways of cutting and checking. Integers and whole dot products are exact. */
static void test_products_are_right(void **state)
{
    (void)state;
    static const size_t buffers[] = {1u << 20, 4000, 700, 120};
    for (unsigned round = 0; round < TEST_ROUNDS(128); round++) {
        enum kvp_matrix_type type = round % 4;
        uint64_t m = 1 + (uint64_t)rand() % 20, n = 1 + (uint64_t)rand() % 30;
        uint64_t p = 1 + (uint64_t)rand() % 20;
        struct kvp_matrix a = random_matrix(type, m, n), b = random_matrix(type, n, p);
        struct kvp_job_spec spec = product_of(type, m, n, p, buffers[round / 4 % 4], round % 3);
        uint64_t job = farm_product(&farm, &spec, &a, &b);
        struct hand worker = farm_join(&farm, "multiplier", KVP_JOB_MATMUL_KIND, false);
        work_off(&worker);
        if (round % 5 == 0) {
            farm_failover(&farm);
        }
        if (strcmp(farm_text(&farm, job, "state"), "done") != 0) {
            fail_msg("round %u: %s", round, farm_text(&farm, job, "reason"));
        }
        struct kvp_matrix product = assemble(job, &spec);
        struct kvp_matrix reference = random_matrix(type, m, p);
        assert_int_equal(kvp_multiply(type, m, n, p, a.data.data, b.data.data, reference.data.data),
                         KVP_OK);
        if (type < KVP_FLOAT32 || spec.tile_inner == n) {
            assert_memory_equal(product.data.data, reference.data.data, product.data.size);
        }
        kvp_matrix_free(&a);
        kvp_matrix_free(&b);
        kvp_matrix_free(&product);
        kvp_matrix_free(&reference);
    }
}

/* A worker that keeps blocks gets their numbers, others get the blocks. */
static void test_blocks_are_fetched_by_those_who_can(void **state)
{
    (void)state;
    struct kvp_matrix a = random_matrix(KVP_INT32, 4, 3), b = random_matrix(KVP_INT32, 3, 2);
    struct kvp_job_spec spec = product_of(KVP_INT32, 4, 3, 2, 60, KVP_VERIFY_NONE);
    struct kvp_task_grant grant;
    uint64_t job = farm_product(&farm, &spec, &a, &b);
    struct hand worker = farm_join(&farm, "keeper", KVP_JOB_BLOCKS_KIND, false);
    assert_int_equal(farm_fetch(&farm, &worker, &grant), KVP_OK);
    check_slice(grant.kind, TEXT(KVP_JOB_BLOCKS_KIND));
    assert_int_equal(grant.payload.size, KVP_JOB_TILE_HEADER + 8);
    for (unsigned i = 0; i < 2; i++) {
        const uint8_t *number = (const uint8_t *)grant.payload.data + KVP_JOB_TILE_HEADER + 4 * i;
        bool is_b;
        struct kvp_job_block block = kvp_job_input(&spec, kvp_get_u32(number), &is_b);
        struct kvp_block place = {block.row, block.column, block.rows, block.columns};
        uint8_t expected[60];
        kvp_buf answer = {0};
        kvp_slice found;
        struct kvp_request request = {.op = KVP_OP_JOB_BLOCK,
                                      .job = {.job = job, .number = kvp_get_u32(number)}};
        assert_int_equal(is_b, i == 1);
        assert_int_equal(kvp_matrix_cut(is_b ? &b : &a, &place, expected), KVP_OK);
        assert_int_equal(farm_ask(&farm, &request, &answer), KVP_OK);
        assert_int_equal(kvp_wire_read_bin(kvp_buf_slice(&answer), &found), KVP_OK);
        check_slice(found, kvp_slice_of(expected, kvp_job_block_size(&spec, block)));
        kvp_buf_free(&answer);
    }
    struct kvp_request request = {.op = KVP_OP_JOB_BLOCK,
                                  .job = {.job = job, .number = kvp_job_grid_of(&spec).inputs}};
    assert_int_equal(farm_ask(&farm, &request, NULL), KVP_NO_SUCH_JOB);
    kvp_matrix_free(&a);
    kvp_matrix_free(&b);
}

static void test_tiles_fit_the_buffer(void **state)
{
    (void)state;
    for (unsigned round = 0; round < 2000; round++) {
        struct kvp_job_spec spec;
        kvp_job_spec_init(&spec, KVP_JOB_MATMUL);
        spec.element = (uint8_t)(rand() % 4);
        spec.rows = 1 + (uint64_t)rand() % 300;
        spec.inner = 1 + (uint64_t)rand() % 300;
        spec.columns = 1 + (uint64_t)rand() % 300;
        size_t buffer = 40 + (size_t)(rand() % 60000);
        kvp_status status = kvp_job_spec_tile(&spec, buffer);
        if (status != KVP_OK) {
            assert_int_equal(status, KVP_TOO_LARGE);
            assert_true(buffer < 6000); /* more than 2^20 tasks */
            continue;
        }
        struct kvp_job_tile tile = kvp_job_tile_of(&spec, 0);
        assert_true(kvp_job_tile_size(&spec, &tile) <= buffer);
        /* The inner dimension is cut only where a dot product does not fit. */
        size_t dot =
            KVP_JOB_TILE_HEADER + (2 * spec.inner + 1) * kvp_matrix_element_size(spec.element);
        assert_true(spec.tile_inner == spec.inner || dot > buffer);
    }
}

static void test_a_result_of_the_wrong_size_is_refused(void **state)
{
    (void)state;
    struct kvp_matrix a = random_matrix(KVP_INT32, 2, 2), b = random_matrix(KVP_INT32, 2, 2);
    struct kvp_job_spec spec = product_of(KVP_INT32, 2, 2, 2, 1000, KVP_VERIFY_NONE);
    struct kvp_task_grant grant;
    uint64_t job = farm_product(&farm, &spec, &a, &b);
    struct hand worker = farm_join(&farm, "multiplier", KVP_JOB_MATMUL_KIND, false);
    assert_int_equal(farm_fetch(&farm, &worker, &grant), KVP_OK);
    assert_int_equal(farm_post(&farm, &worker, &grant, "seven b"), KVP_BAD_REQUEST);
    assert_int_equal(farm_number(&farm, job, "redone"), 1);
    farm_wait(&farm, 500);
    work_off(&worker);
    check_state(job, "done");
    kvp_matrix_free(&a);
    kvp_matrix_free(&b);
}

static void test_blocks_are_checked(void **state)
{
    (void)state;
    struct kvp_job_spec spec = product_of(KVP_FLOAT64, 2, 2, 2, 1000, KVP_VERIFY_NONE);
    static const double good[] = {1, 2, 3, 4}, bad[] = {1, 2, 0.0 / 0.0, 4};
    uint64_t job = farm_new(&farm, &spec);
    assert_int_equal(farm_block(&farm, job, 0, kvp_slice_of(good, 31)), KVP_BAD_REQUEST);
    assert_int_equal(farm_block(&farm, job, 0, kvp_slice_of(bad, 32)), KVP_BAD_REQUEST);
    assert_int_equal(farm_block(&farm, job, 2, kvp_slice_of(good, 32)), KVP_BAD_REQUEST);
    assert_int_equal(farm_block(&farm, job, 0, kvp_slice_of(good, 32)), KVP_OK);
    assert_int_equal(farm_block(&farm, job, 0, kvp_slice_of(good, 32)), KVP_OK); /* again */
    assert_int_equal(farm_start(&farm, job), KVP_JOB_STATE);
    assert_int_equal(farm_add(&farm, job, 0, "count", "x", NULL, false), KVP_BAD_REQUEST);
    farm_failover(&farm);
    assert_int_equal(farm_block(&farm, job, 1, kvp_slice_of(good, 32)), KVP_OK);
    assert_int_equal(farm_start(&farm, job), KVP_OK);
}

static void test_overflow_is_reported(void **state)
{
    (void)state;
    struct kvp_matrix a = random_matrix(KVP_INT32, 1, 4), b = random_matrix(KVP_INT32, 4, 1);
    static const int32_t large[] = {40000, 40000, 0, 0}, split[] = {40000, 0, 40000, 0};
    static const int32_t factor[] = {40000, 40000, 40000, 40000};
    struct hand worker = farm_join(&farm, "multiplier", KVP_JOB_MATMUL_KIND, false);
    memcpy(a.data.data, large, sizeof(large));
    memcpy(b.data.data, factor, sizeof(factor));
    /* Within a task, and where two tasks' results are summed up. */
    struct kvp_job_spec spec = product_of(KVP_INT32, 1, 4, 1, 1000, KVP_VERIFY_FREIVALDS);
    uint64_t job = farm_product(&farm, &spec, &a, &b);
    work_off(&worker);
    check_state(job, "failed");
    assert_string_equal(farm_text(&farm, job, "reason"),
                        "task 0: a result does not fit the type of the elements");
    memcpy(a.data.data, split, sizeof(split));
    spec.tile_inner = 2;
    job = farm_product(&farm, &spec, &a, &b);
    work_off(&worker);
    check_state(job, "failed");
    assert_string_equal(farm_text(&farm, job, "reason"),
                        "block 0: a sum does not fit the type of the elements");
    kvp_matrix_free(&a);
    kvp_matrix_free(&b);
}

static void verification_finds(enum kvp_job_verify verify, const char *reason)
{
    struct kvp_matrix a = random_matrix(KVP_INT64, 6, 5), b = random_matrix(KVP_INT64, 5, 4);
    struct kvp_job_spec spec = product_of(KVP_INT64, 6, 5, 4, 1000, verify);
    struct kvp_task_grant grant;
    int64_t c[24];
    uint64_t job = farm_product(&farm, &spec, &a, &b);
    struct hand worker = farm_join(&farm, "multiplier", KVP_JOB_MATMUL_KIND, false);
    assert_int_equal(kvp_multiply(KVP_INT64, 6, 5, 4, a.data.data, b.data.data, c), KVP_OK);
    c[4 * 2 + 3] ^= 1;
    assert_int_equal(farm_fetch(&farm, &worker, &grant), KVP_OK);
    assert_int_equal(farm_post_bytes(&farm, &worker, &grant, KVP_OUTCOME_RESULT,
                                     kvp_slice_of(c, sizeof(c)), NULL),
                     KVP_OK);
    check_state(job, "failed");
    assert_string_equal(farm_text(&farm, job, "reason"), reason);
    kvp_buf bytes = {0};
    assert_int_equal(farm_result(&farm, job, 0, &bytes), KVP_JOB_STATE);
    kvp_matrix_free(&a);
    kvp_matrix_free(&b);
}

static void test_a_wrong_product_is_not_called_done(void **state)
{
    (void)state;
    verification_finds(KVP_VERIFY_FREIVALDS, "verification failed: row 2 of the product is wrong");
    verification_finds(KVP_VERIFY_RECOMPUTE,
                       "verification failed: element (2, 3) of the product is wrong");
}

static void test_floats_agree_within_the_tolerance(void **state)
{
    (void)state;
    struct kvp_matrix a = random_matrix(KVP_FLOAT64, 1, 1), b = random_matrix(KVP_FLOAT64, 1, 2);
    struct kvp_job_spec spec = product_of(KVP_FLOAT64, 1, 1, 2, 1000, KVP_VERIFY_NONE);
    static const double results[][2] = {{1, 100}, {1 + 1e-10, 100}, {1.1, 100}, {1, 100 + 1e-9}};
    struct kvp_task_grant grant;
    assert_int_equal(kvp_job_spec_mode(&spec, "4/3"), KVP_OK);
    spec.compare = KVP_AGREE_RELATIVE;
    spec.tolerance = 1e-9;
    uint64_t job = farm_product(&farm, &spec, &a, &b);
    static const char *const names[] = {"m0", "m1", "m2", "m3"};
    for (unsigned i = 0; i < 4; i++) {
        struct hand worker = farm_join(&farm, names[i], KVP_JOB_MATMUL_KIND, false);
        check_state(job, "running");
        assert_int_equal(farm_fetch(&farm, &worker, &grant), KVP_OK);
        assert_int_equal(farm_post_bytes(&farm, &worker, &grant, KVP_OUTCOME_RESULT,
                                         kvp_slice_of(results[i], sizeof(results[i])), NULL),
                         KVP_OK);
    }
    check_state(job, "done");
    assert_int_equal(farm_worker_number(&farm, "m2", "lost_votes"), 1);
    assert_int_equal(farm_worker_number(&farm, "m1", "lost_votes"), 0);
    kvp_matrix_free(&a);
    kvp_matrix_free(&b);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown_farm)
    const struct CMUnitTest tests[] = {
        TEST(test_dual_first_takes_the_first),
        TEST(test_copies_go_to_different_workers),
        TEST(test_dual_compare_asks_a_third_when_two_disagree),
        TEST(test_no_quorum_fails_the_job_with_the_evidence),
        TEST(test_a_liar_is_found_even_when_it_is_the_last),
        TEST(test_quad_wants_three),
        TEST(test_modes_and_their_limits),
        TEST(test_products_are_right),
        TEST(test_blocks_are_fetched_by_those_who_can),
        TEST(test_tiles_fit_the_buffer),
        TEST(test_a_result_of_the_wrong_size_is_refused),
        TEST(test_blocks_are_checked),
        TEST(test_overflow_is_reported),
        TEST(test_a_wrong_product_is_not_called_done),
        TEST(test_floats_agree_within_the_tolerance),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
