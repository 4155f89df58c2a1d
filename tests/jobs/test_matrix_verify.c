/* SPDX-License-Identifier: Apache-2.0 */
/* Correct products pass, in every way of summing; wrong ones are found as often as promised. */
#include "tests/jobs/matrix_support.h"
#include "replication/matrix/matrix_verify.h"
#include "tests/support/rounds.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef kvp_status (*feed)(struct kvp_verify *verify, const struct kvp_block *block,
                           kvp_slice elements);

static struct unaligned cut(const struct kvp_matrix *matrix, const struct kvp_block *block)
{
    size_t size = block->rows * block->columns * kvp_matrix_element_size(matrix->type);
    struct unaligned copy = {malloc(size + 1), {NULL, size}};
    assert_non_null(copy.memory);
    assert_int_equal(kvp_matrix_cut(matrix, block, copy.memory + 1), KVP_OK);
    copy.bytes.data = copy.memory + 1;
    return copy;
}

static uint64_t side(uint64_t at, uint64_t size, uint64_t most)
{
    return most - at < size ? most - at : size;
}

static void feed_all(struct kvp_verify *verify, feed function, const struct kvp_matrix *matrix,
                     uint64_t rows, uint64_t columns)
{
    for (uint64_t row = 0; row < matrix->rows; row += rows) {
        for (uint64_t column = 0; column < matrix->columns; column += columns) {
            struct kvp_block block = {row, column, side(row, rows, matrix->rows),
                                      side(column, columns, matrix->columns)};
            struct unaligned bytes = cut(matrix, &block);
            assert_int_equal(function(verify, &block, bytes.bytes), KVP_OK);
            free(bytes.memory);
        }
    }
}

/* A, B, and C, and how they are checked. */
struct trial {
    struct kvp_matrix a, b, c;
    unsigned rounds;
    uint64_t seed;
    double factor;
};

static kvp_status freivalds(const struct trial *trial, uint64_t rows, uint64_t columns,
                            uint64_t *wrong)
{
    const struct kvp_verify_config config = {trial->a.type,    trial->a.rows, trial->a.columns,
                                             trial->b.columns, trial->rounds, trial->seed,
                                             trial->factor};
    struct kvp_verify *verify;
    assert_int_equal(kvp_verify_new(&config, &verify), KVP_OK);
    feed_all(verify, kvp_verify_feed_b, &trial->b, rows, columns);
    feed_all(verify, kvp_verify_feed_c, &trial->c, columns, rows);
    feed_all(verify, kvp_verify_feed_a, &trial->a, rows, columns);
    kvp_status status = kvp_verify_finish(verify, wrong);
    kvp_verify_free(verify);
    return status;
}

static kvp_status recheck(const struct trial *trial, uint64_t depth, uint64_t *row,
                          uint64_t *column)
{
    uint64_t inner = trial->a.columns;
    struct kvp_recheck *check;
    assert_int_equal(kvp_recheck_new(trial->a.type, trial->a.rows, inner, trial->b.columns,
                                     trial->factor, &check),
                     KVP_OK);
    for (uint64_t k = 0; k < inner; k += depth) {
        struct kvp_block left = {0, k, trial->a.rows, side(k, depth, inner)};
        struct kvp_block right = {k, 0, side(k, depth, inner), trial->b.columns};
        struct unaligned a = cut(&trial->a, &left), b = cut(&trial->b, &right);
        assert_int_equal(kvp_recheck_feed(check, left.columns, a.bytes, b.bytes), KVP_OK);
        free(a.memory);
        free(b.memory);
    }
    struct unaligned c = unaligned_copy(kvp_buf_slice(&trial->c.data));
    kvp_status status = kvp_recheck_finish(check, c.bytes, row, column);
    free(c.memory);
    kvp_recheck_free(check);
    return status;
}

static struct trial random_trial(uint64_t *seed, enum kvp_matrix_type type, double size)
{
    uint64_t rows = random_count(seed, 60), inner = random_count(seed, 70);
    uint64_t columns = random_count(seed, 65);
    struct trial trial = {.rounds = (unsigned)random_count(seed, 5), .seed = random_next(seed)};
    trial.a = random_matrix(seed, type, rows, inner, size);
    trial.b = random_matrix(seed, type, inner, columns, size);
    trial.c = product_of(&trial.a, &trial.b);
    return trial;
}

static void trial_free(struct trial *trial)
{
    kvp_matrix_free(&trial->a);
    kvp_matrix_free(&trial->b);
    kvp_matrix_free(&trial->c);
}

static void test_correct_products_always_pass(void **state)
{
    (void)state;
    uint64_t seed = 1;
    for (int i = 0; i < TEST_ROUNDS(1200); i++) {
        enum kvp_matrix_type type = all_types[i % 4];
        double size = type == KVP_INT32 ? 5000 : type == KVP_INT64 ? 0x1p28 : 1;
        struct trial trial = random_trial(&seed, type, size);
        assert_int_equal(freivalds(&trial, random_count(&seed, 20), random_count(&seed, 20), NULL),
                         KVP_OK);
        assert_int_equal(recheck(&trial, random_count(&seed, 30), NULL, NULL), KVP_OK);
        trial_free(&trial);
    }
}

static void test_the_smallest_product_passes(void **state)
{
    (void)state;
    for (int i = 0; i < KVP_MATRIX_TYPES; i++) {
        struct trial trial = {.rounds = 1, .seed = 0};
        trial.a = zero_matrix(all_types[i], 1, 1);
        trial.b = zero_matrix(all_types[i], 1, 1);
        element_set(&trial.a, 0, 0, 3);
        element_set(&trial.b, 0, 0, -5);
        trial.c = product_of(&trial.a, &trial.b);
        assert_int_equal(freivalds(&trial, 1, 1, NULL), KVP_OK);
        assert_int_equal(recheck(&trial, 1, NULL, NULL), KVP_OK);
        element_set(&trial.c, 0, 0, -16);
        assert_int_equal(freivalds(&trial, 1, 1, NULL), KVP_CORRUPT);
        assert_int_equal(recheck(&trial, 1, NULL, NULL), KVP_CORRUPT);
        trial_free(&trial);
    }
}

/* ---- sums of floats in other orders ---- */

enum order { RISING, FALLING, PAIRWISE, FUSED, SORTED, ORDERS };

static int by_size(const void *x, const void *y)
{
    double left = fabs(*(const double *)x), right = fabs(*(const double *)y);
    return (left < right) - (left > right);
}

/* Every step is rounded to the type: in float32, a product or a sum of two in float64 and then
 * rounded again is the same as rounded once. */
static double rounded(enum kvp_matrix_type type, double value)
{
    return type == KVP_FLOAT32 ? (double)(float)value : value;
}

static double sum_pairwise(enum kvp_matrix_type type, const double *terms, size_t count)
{
    if (count == 1) {
        return terms[0];
    }
    return rounded(type, sum_pairwise(type, terms, count / 2) +
                             sum_pairwise(type, terms + count / 2, count - count / 2));
}

static double sum_in_order(const struct trial *trial, enum order order, uint64_t row,
                           uint64_t column)
{
    enum kvp_matrix_type type = trial->a.type;
    double terms[128], sum = 0;
    uint64_t inner = trial->a.columns;
    for (uint64_t k = 0; k < inner; k++) {
        double a = element_get(&trial->a, row, order == FALLING ? inner - 1 - k : k);
        double b = element_get(&trial->b, order == FALLING ? inner - 1 - k : k, column);
        terms[k] = rounded(type, a * b);
        sum = order == FUSED ? (type == KVP_FLOAT32 ? (double)fmaf((float)a, (float)b, (float)sum)
                                                    : fma(a, b, sum))
                             : sum;
    }
    if (order == FUSED) {
        return sum;
    }
    if (order == PAIRWISE) {
        return sum_pairwise(type, terms, inner);
    }
    if (order == SORTED) {
        qsort(terms, inner, sizeof(*terms), by_size);
    }
    for (uint64_t k = 0; k < inner; k++) {
        sum = rounded(type, sum + terms[k]);
    }
    return sum;
}

static void compute_in_order(struct trial *trial, enum order order)
{
    for (uint64_t row = 0; row < trial->c.rows; row++) {
        for (uint64_t column = 0; column < trial->c.columns; column++) {
            element_set(&trial->c, row, column, sum_in_order(trial, order, row, column));
        }
    }
}

/* From powers of two that nearly cancel out to numbers that all round the same way. */
static void make_nasty(struct trial *trial, uint64_t *seed, int kind)
{
    for (int matrix = 0; matrix < 2; matrix++) {
        struct kvp_matrix *at = matrix == 0 ? &trial->a : &trial->b;
        for (uint64_t i = 0; i < at->rows * at->columns; i++) {
            double sign = random_next(seed) & 1 ? -1 : 1;
            double spread = ldexp(1, (int)random_count(seed, 40) - 20);
            double value = kind == 0   ? sign * spread * (1 + (double)(i % 7) / 7)
                           : kind == 1 ? 1.1
                                       : 1 + 0x1p-20 + (double)(i % 3) * 0x1p-23;
            element_set(at, i / at->columns, i % at->columns, value);
        }
    }
}

static void test_a_correct_product_passes_however_it_was_summed(void **state)
{
    (void)state;
    uint64_t seed = 2;
    for (int i = 0; i < TEST_ROUNDS(300); i++) {
        struct trial trial = random_trial(&seed, all_types[2 + i % 2], 1);
        if (i % 5 < 3) {
            make_nasty(&trial, &seed, i % 5);
        }
        compute_in_order(&trial, (enum order)(i % ORDERS));
        assert_int_equal(freivalds(&trial, 13, 17, NULL), KVP_OK);
        assert_int_equal(recheck(&trial, 19, NULL, NULL), KVP_OK);
        trial_free(&trial);
    }
}

/* Rounding to tiny numbers is not relative any more; and sums near the largest number. */
static void test_correct_products_pass_at_the_ends_of_the_range(void **state)
{
    (void)state;
    uint64_t seed = 3;
    static const double sizes[2][7][2] = {
        {{1e-20, 1e-20},
         {1e-38, 1},
         {1e19, 1e17},
         {3e38, 1e-2},
         {1e-23, 1e-22},
         {1e38, 1e-38},
         {1e-5, 1e-40}},
        {{1e-160, 1e-160},
         {1e-308, 1},
         {1e153, 1e153},
         {1e308, 1e-2},
         {1e-5, 1e-297},
         {1e300, 1e-300},
         {1e-5, 1e-300}},
    };
    for (int i = 0; i < 168; i++) {
        const double *size = sizes[i % 2][i / 2 % 7];
        enum kvp_matrix_type type = all_types[2 + i % 2];
        struct trial trial = {.rounds = 4, .seed = random_next(&seed)};
        trial.a = random_matrix(&seed, type, 8, 30, size[i % 3 == 0]);
        trial.b = random_matrix(&seed, type, 30, 40, size[i % 3 != 0]);
        trial.c = product_of(&trial.a, &trial.b);
        compute_in_order(&trial, (enum order)(i % ORDERS));
        assert_false(kvp_matrix_has_nonfinite(type, kvp_buf_slice(&trial.c.data)));
        assert_int_equal(freivalds(&trial, 5, 7, NULL), KVP_OK);
        assert_int_equal(recheck(&trial, 9, NULL, NULL), KVP_OK);
        trial_free(&trial);
    }
}

/* ---- wrong products ---- */

/* Integers: one round finds any change. 2^61 - 1 and its multiples are nothing modulo the prime. */
static void test_every_changed_integer_is_found_in_its_row(void **state)
{
    (void)state;
    uint64_t seed = 4;
    for (int i = 0; i < TEST_ROUNDS(600); i++) {
        struct trial trial = random_trial(&seed, all_types[i % 2], i % 2 ? 0x1p20 : 3000);
        uint64_t row = random_count(&seed, trial.c.rows) - 1, found, found_col;
        uint64_t column = random_count(&seed, trial.c.columns) - 1;
        int64_t value = element_get_integer(&trial.c, row, column);
        int64_t bit = (int64_t)1 << random_next(&seed) % (i % 2 ? 62 : 31);
        int64_t prime = ((int64_t)1 << 61) - 1;
        int64_t change = i % 6 == 1 ? prime : i % 6 == 3 ? 2 * prime : 0;
        element_set_integer(&trial.c, row, column, change ? value + change : value ^ bit);
        trial.rounds = 1;
        assert_int_equal(freivalds(&trial, 11, 7, &found), KVP_CORRUPT);
        assert_int_equal(found, row);
        assert_int_equal(recheck(&trial, 23, &found, &found_col), KVP_CORRUPT);
        assert_int_equal(found, row);
        assert_int_equal(found_col, column);
        trial_free(&trial);
    }
}

/* Twice the bound of the header, for one element of a row. */
static double twice_the_bound(const struct trial *trial, uint64_t row)
{
    double n = (double)trial->a.columns, q = (double)trial->b.columns, sum = 0;
    double u = trial->a.type == KVP_FLOAT32 ? 0x1p-24 : 0x1p-53;
    for (uint64_t k = 0; k < trial->a.columns; k++) {
        for (uint64_t column = 0; column < trial->b.columns; column++) {
            sum += fabs(element_get(&trial->a, row, k) * element_get(&trial->b, k, column));
        }
    }
    return 2 * 1.01 * ((n + 2) * u + (n + 4 * q + 16) * 0x1p-53) * sum;
}

static void test_floats_beyond_the_bound_are_found_as_often_as_promised(void **state)
{
    (void)state;
    uint64_t seed = 5;
    for (unsigned rounds = 1; rounds <= 4; rounds++) {
        unsigned missed = 0, trials = TEST_ROUNDS(400);
        for (unsigned i = 0; i < trials; i++) {
            struct trial trial = random_trial(&seed, all_types[2 + i % 2], 1);
            uint64_t row = random_count(&seed, trial.c.rows) - 1;
            uint64_t column = random_count(&seed, trial.c.columns) - 1, found;
            double change = 1.02 * twice_the_bound(&trial, row);
            element_set(&trial.c, row, column, element_get(&trial.c, row, column) + change);
            trial.rounds = rounds;
            kvp_status status = freivalds(&trial, 9, 8, &found);
            missed += status == KVP_OK;
            assert_true(status == KVP_OK || found == row);
            trial_free(&trial);
        }
        assert_true(missed <= trials >> rounds);
    }
}

/* Errors that cancel out in the sum of the row: half of the signs show them. */
static void test_opposite_errors_are_found_as_often_as_promised(void **state)
{
    (void)state;
    uint64_t seed = 6;
    unsigned missed = 0, trials = 600;
    for (unsigned i = 0; i < trials; i++) {
        struct trial trial = {.rounds = 1, .seed = random_next(&seed)};
        enum kvp_matrix_type type = all_types[i % 4];
        trial.a = random_matrix(&seed, type, 5, 8, 100);
        trial.b = random_matrix(&seed, type, 8, 6, 100);
        trial.c = product_of(&trial.a, &trial.b);
        element_set(&trial.c, 2, 1, element_get(&trial.c, 2, 1) + 1000);
        element_set(&trial.c, 2, 4, element_get(&trial.c, 2, 4) - 1000);
        bool passed = freivalds(&trial, 3, 4, NULL) == KVP_OK;
        assert_false(passed && !kvp_matrix_type_is_float(type));
        missed += passed;
        trial_free(&trial);
    }
    assert_in_range(missed, trials / 8, trials * 3 / 8); /* a half of the half that are floats */
}

static void test_a_recheck_finds_every_float_beyond_its_bound(void **state)
{
    (void)state;
    uint64_t seed = 7;
    for (int i = 0; i < 300; i++) {
        struct trial trial = random_trial(&seed, all_types[2 + i % 2], 1);
        uint64_t row = random_count(&seed, trial.c.rows) - 1, found_row;
        uint64_t column = random_count(&seed, trial.c.columns) - 1, found_col;
        double n = (double)trial.a.columns, sum = 0, u = i % 2 ? 0x1p-53 : 0x1p-24;
        for (uint64_t k = 0; k < trial.a.columns; k++) {
            sum += fabs(element_get(&trial.a, row, k) * element_get(&trial.b, k, column));
        }
        double bound = 1.01 * ((n + 2) * u + (2 * n + 16) * 0x1p-53) * sum;
        element_set(&trial.c, row, column, element_get(&trial.c, row, column) + 2.1 * bound);
        assert_int_equal(recheck(&trial, 21, &found_row, &found_col), KVP_CORRUPT);
        assert_int_equal(found_row, row);
        assert_int_equal(found_col, column);
        trial_free(&trial);
    }
}

static void test_a_result_that_is_not_finite_is_wrong(void **state)
{
    (void)state;
    static const double wrong[] = {NAN, INFINITY, -INFINITY};
    uint64_t seed = 8, row, column;
    for (int i = 0; i < 6; i++) {
        struct trial trial = random_trial(&seed, all_types[2 + i % 2], 1);
        element_set(&trial.c, trial.c.rows - 1, 0, wrong[i / 2]);
        assert_int_equal(freivalds(&trial, 9, 8, &row), KVP_CORRUPT);
        assert_int_equal(row, trial.c.rows - 1);
        assert_int_equal(recheck(&trial, 9, &row, &column), KVP_CORRUPT);
        assert_int_equal(row, trial.c.rows - 1);
        assert_int_equal(column, 0);
        trial_free(&trial);
    }
}

/* A true product outside the type has no correct result, whatever it wraps to. */
static void test_a_product_that_wrapped_is_wrong(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        struct trial trial = {.rounds = 1, .seed = 9};
        trial.a = zero_matrix(all_types[i], 1, 1);
        trial.b = zero_matrix(all_types[i], 1, 1);
        trial.c = zero_matrix(all_types[i], 1, 1);
        element_set_integer(&trial.a, 0, 0, (int64_t)1 << (i ? 32 : 16));
        element_set_integer(&trial.b, 0, 0, (int64_t)1 << (i ? 32 : 16));
        assert_int_equal(freivalds(&trial, 1, 1, NULL), KVP_CORRUPT);
        assert_int_equal(recheck(&trial, 1, NULL, NULL), KVP_CORRUPT);
        trial_free(&trial);
    }
}

static void test_extreme_integers_are_verified(void **state)
{
    (void)state;
    struct trial trial = {.rounds = 3, .seed = 10};
    static const int64_t a[] = {INT64_MIN, INT64_MIN, INT64_MIN, INT64_MIN, 7, -1};
    static const int64_t b[] = {INT64_MIN, INT64_MAX, 1, 0, INT64_MAX / 7, 0};
    trial.a = zero_matrix(KVP_INT64, 1, 6);
    trial.b = zero_matrix(KVP_INT64, 6, 1);
    for (uint64_t k = 0; k < 6; k++) {
        element_set_integer(&trial.a, 0, k, a[k]);
        element_set_integer(&trial.b, k, 0, b[k]);
    }
    trial.c = product_of(&trial.a, &trial.b);
    assert_int_equal(freivalds(&trial, 1, 1, NULL), KVP_OK);
    assert_int_equal(recheck(&trial, 4, NULL, NULL), KVP_OK);
    trial_free(&trial);
}

static void test_the_seed_decides(void **state)
{
    (void)state;
    uint64_t seed = 11;
    struct trial trial = {.rounds = 1};
    unsigned passed = 0;
    trial.a = random_matrix(&seed, KVP_FLOAT64, 2, 3, 1);
    trial.b = random_matrix(&seed, KVP_FLOAT64, 3, 4, 1);
    trial.c = product_of(&trial.a, &trial.b);
    element_set(&trial.c, 1, 0, element_get(&trial.c, 1, 0) + 5);
    element_set(&trial.c, 1, 1, element_get(&trial.c, 1, 1) + 5);
    for (trial.seed = 0; trial.seed < 64; trial.seed++) {
        kvp_status status = freivalds(&trial, 2, 2, NULL);
        assert_int_equal(freivalds(&trial, 1, 3, NULL), status);
        passed += status == KVP_OK;
    }
    assert_in_range(passed, 16, 48);
    trial_free(&trial);
}

static void test_the_factor_scales_the_bound(void **state)
{
    (void)state;
    uint64_t seed = 12;
    struct trial trial = random_trial(&seed, KVP_FLOAT32, 1);
    double change = 0.2 * twice_the_bound(&trial, 0);
    element_set(&trial.c, 0, 0, element_get(&trial.c, 0, 0) + change);
    trial.rounds = 8;
    assert_int_equal(freivalds(&trial, 9, 9, NULL), KVP_OK);
    trial.factor = 0.1;
    assert_int_equal(freivalds(&trial, 9, 9, NULL), KVP_CORRUPT);
    trial_free(&trial);
}

/* ---- misuse ---- */

static void test_blocks_come_once_and_in_turn(void **state)
{
    (void)state;
    const struct kvp_verify_config config = {KVP_INT32, 2, 3, 4, 1, 0, 0};
    uint8_t bytes[64] = {0};
    struct kvp_verify *verify;
    assert_int_equal(kvp_verify_new(&config, &verify), KVP_OK);
    kvp_slice all_b = kvp_slice_of(bytes, 48), half_b = kvp_slice_of(bytes, 24);
    const struct kvp_block b = {0, 0, 3, 4}, left = {0, 0, 3, 2}, right = {0, 2, 3, 2};
    const struct kvp_block a = {0, 0, 2, 3}, c = {0, 0, 2, 4}, outside = {0, 3, 3, 2};
    kvp_slice all_a = kvp_slice_of(bytes, 24), all_c = kvp_slice_of(bytes, 32);
    assert_int_equal(kvp_verify_finish(verify, NULL), KVP_BAD_ARGUMENT);
    assert_int_equal(kvp_verify_feed_b(verify, &right, half_b), KVP_BAD_ARGUMENT);
    assert_int_equal(kvp_verify_feed_b(verify, &left, all_b), KVP_BAD_REQUEST);
    assert_int_equal(kvp_verify_feed_b(verify, &outside, half_b), KVP_BAD_REQUEST);
    assert_int_equal(kvp_verify_feed_b(verify, &left, half_b), KVP_OK);
    assert_int_equal(kvp_verify_feed_b(verify, &left, half_b), KVP_BAD_ARGUMENT);
    assert_int_equal(kvp_verify_feed_b(verify, &b, all_b), KVP_BAD_ARGUMENT);
    assert_int_equal(kvp_verify_feed_a(verify, &a, all_a), KVP_BAD_ARGUMENT);
    assert_int_equal(kvp_verify_feed_b(verify, &right, half_b), KVP_OK);
    assert_int_equal(kvp_verify_feed_a(verify, &a, all_a), KVP_OK);
    assert_int_equal(kvp_verify_finish(verify, NULL), KVP_BAD_ARGUMENT);
    assert_int_equal(kvp_verify_feed_c(verify, &c, all_c), KVP_OK);
    assert_int_equal(kvp_verify_feed_c(verify, &c, all_c), KVP_BAD_ARGUMENT);
    assert_int_equal(kvp_verify_finish(verify, NULL), KVP_OK);
    kvp_verify_free(verify);
    kvp_verify_free(NULL);
}

static void test_impossible_configurations_are_refused(void **state)
{
    (void)state;
    static const struct {
        struct kvp_verify_config config;
        kvp_status status;
    } cases[] = {
        {{KVP_INT32, 0, 1, 1, 1, 0, 0}, KVP_BAD_REQUEST},
        {{KVP_INT32, 1, 0, 1, 1, 0, 0}, KVP_BAD_REQUEST},
        {{KVP_INT32, 1, 1, 0, 1, 0, 0}, KVP_BAD_REQUEST},
        {{KVP_INT32, 1, 1, 1, 0, 0, 0}, KVP_BAD_REQUEST},
        {{KVP_INT32, 1, 1, 1, 65, 0, 0}, KVP_BAD_REQUEST},
        {{KVP_FLOAT32, 1, 1, 1, 1, 0, -1}, KVP_BAD_REQUEST},
        {{KVP_FLOAT32, 1, 1, 1, 1, 0, (double)NAN}, KVP_BAD_REQUEST},
        {{(enum kvp_matrix_type)4, 1, 1, 1, 1, 0, 0}, KVP_BAD_REQUEST},
        {{KVP_INT32, UINT64_MAX, 1, 1, 1, 0, 0}, KVP_TOO_LARGE},
        {{KVP_INT32, 1, UINT64_MAX / 8, UINT64_MAX / 8, 1, 0, 0}, KVP_TOO_LARGE},
        {{KVP_INT32, 1, (uint64_t)1 << 60, 1, 64, 0, 0}, KVP_TOO_LARGE},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct kvp_verify *verify;
        uint64_t size = 7;
        assert_int_equal(kvp_verify_new(&cases[i].config, &verify), cases[i].status);
        assert_null(verify);
        assert_int_equal(kvp_verify_memory(&cases[i].config, &size), cases[i].status);
        assert_int_equal(size, 7);
    }
}

static void test_the_memory_is_that_of_vectors(void **state)
{
    (void)state;
    for (int i = 0; i < KVP_MATRIX_TYPES; i++) {
        const struct kvp_verify_config config = {all_types[i], 10000, 20000, 30000, 5, 0, 0};
        uint64_t size;
        assert_int_equal(kvp_verify_memory(&config, &size), KVP_OK);
        assert_true(size <= (16 * 5 + 24) * (uint64_t)60000);
    }
}

static void test_a_recheck_is_fed_what_it_expects(void **state)
{
    (void)state;
    uint8_t bytes[64] = {0};
    struct kvp_recheck *check;
    assert_int_equal(kvp_recheck_new(KVP_INT32, 0, 1, 1, 0, &check), KVP_BAD_REQUEST);
    assert_int_equal(kvp_recheck_new(KVP_INT32, 1, 0, 1, 0, &check), KVP_BAD_REQUEST);
    assert_int_equal(kvp_recheck_new(KVP_FLOAT32, 1, 1, 1, -1, &check), KVP_BAD_REQUEST);
    assert_int_equal(kvp_recheck_new(KVP_INT32, UINT64_MAX, 1, 2, 0, &check), KVP_TOO_LARGE);
    assert_null(check);
    assert_int_equal(kvp_recheck_new(KVP_INT32, 2, 3, 2, 0, &check), KVP_OK);
    kvp_slice two = kvp_slice_of(bytes, 16), c = two, one = kvp_slice_of(bytes, 8);
    assert_int_equal(kvp_recheck_feed(check, 2, two, one), KVP_BAD_REQUEST);
    assert_int_equal(kvp_recheck_feed(check, 2, one, two), KVP_BAD_REQUEST);
    assert_int_equal(kvp_recheck_feed(check, 0, one, two), KVP_BAD_REQUEST);
    assert_int_equal(kvp_recheck_feed(check, 2, two, two), KVP_OK);
    assert_int_equal(kvp_recheck_feed(check, 2, two, two), KVP_BAD_ARGUMENT);
    assert_int_equal(kvp_recheck_finish(check, c, NULL, NULL), KVP_BAD_ARGUMENT);
    assert_int_equal(kvp_recheck_feed(check, 1, one, one), KVP_OK);
    assert_int_equal(kvp_recheck_finish(check, one, NULL, NULL), KVP_BAD_REQUEST);
    assert_int_equal(kvp_recheck_finish(check, c, NULL, NULL), KVP_OK);
    kvp_recheck_free(check);
    kvp_recheck_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_correct_products_always_pass),
        cmocka_unit_test(test_the_smallest_product_passes),
        cmocka_unit_test(test_a_correct_product_passes_however_it_was_summed),
        cmocka_unit_test(test_correct_products_pass_at_the_ends_of_the_range),
        cmocka_unit_test(test_every_changed_integer_is_found_in_its_row),
        cmocka_unit_test(test_floats_beyond_the_bound_are_found_as_often_as_promised),
        cmocka_unit_test(test_opposite_errors_are_found_as_often_as_promised),
        cmocka_unit_test(test_a_recheck_finds_every_float_beyond_its_bound),
        cmocka_unit_test(test_a_result_that_is_not_finite_is_wrong),
        cmocka_unit_test(test_a_product_that_wrapped_is_wrong),
        cmocka_unit_test(test_extreme_integers_are_verified),
        cmocka_unit_test(test_the_seed_decides),
        cmocka_unit_test(test_the_factor_scales_the_bound),
        cmocka_unit_test(test_blocks_come_once_and_in_turn),
        cmocka_unit_test(test_impossible_configurations_are_refused),
        cmocka_unit_test(test_the_memory_is_that_of_vectors),
        cmocka_unit_test(test_a_recheck_is_fed_what_it_expects),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
