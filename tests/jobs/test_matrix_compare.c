/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/jobs/matrix_support.h"
#include "replication/matrix/matrix_compare.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>

static struct kvp_comparison compare(enum kvp_agreement kind, double tolerance, double least,
                                     const struct kvp_matrix *x, const struct kvp_matrix *y)
{
    const struct kvp_compare_rule rule = {kind, tolerance, least};
    struct kvp_comparison result = {false, 77, 77};
    struct unaligned left = unaligned_copy(kvp_buf_slice(&x->data));
    struct unaligned right = unaligned_copy(kvp_buf_slice(&y->data));
    assert_int_equal(
        kvp_matrix_compare(&rule, x->type, x->rows, x->columns, left.bytes, right.bytes, &result),
        KVP_OK);
    free(left.memory);
    free(right.memory);
    return result;
}

/* Two numbers, as the only different elements of two matrices, at (1, 2). */
static bool agree(enum kvp_matrix_type type, enum kvp_agreement kind, double tolerance,
                  double least, double x, double y)
{
    struct kvp_matrix left = zero_matrix(type, 3, 4), right = zero_matrix(type, 3, 4);
    element_set(&left, 1, 2, x);
    element_set(&right, 1, 2, y);
    struct kvp_comparison result = compare(kind, tolerance, least, &left, &right);
    struct kvp_comparison swapped = compare(kind, tolerance, least, &right, &left);
    assert_int_equal(result.agree, swapped.agree);
    assert_int_equal(result.row, result.agree ? 0 : 1);
    assert_int_equal(result.column, result.agree ? 0 : 2);
    kvp_matrix_free(&left);
    kvp_matrix_free(&right);
    return result.agree;
}

static void test_equal_results_agree_by_every_rule(void **state)
{
    (void)state;
    uint64_t seed = 1;
    for (int i = 0; i < KVP_MATRIX_TYPES; i++) {
        struct kvp_matrix x = random_matrix(&seed, all_types[i], 9, 13, 1e6);
        for (int kind = 0; kind <= KVP_AGREE_CHECKSUM; kind++) {
            assert_true(kvp_agreement_valid((uint64_t)kind));
            assert_true(compare((enum kvp_agreement)kind, 0, 0, &x, &x).agree);
        }
        kvp_matrix_free(&x);
    }
    assert_false(kvp_agreement_valid(4));
}

static void test_exact_means_the_same_number(void **state)
{
    (void)state;
    for (int i = 0; i < KVP_MATRIX_TYPES; i++) {
        assert_false(agree(all_types[i], KVP_AGREE_EXACT, 1e9, 1e9, 5, 6));
        assert_true(agree(all_types[i], KVP_AGREE_EXACT, 0, 0, 5, 5));
    }
    assert_false(agree(KVP_FLOAT64, KVP_AGREE_EXACT, 0, 0, 1, 1 + DBL_EPSILON));
    assert_true(agree(KVP_FLOAT64, KVP_AGREE_EXACT, 0, 0, 0.0, -0.0));
    assert_true(agree(KVP_FLOAT32, KVP_AGREE_EXACT, 0, 0, INFINITY, INFINITY));
    assert_false(agree(KVP_FLOAT32, KVP_AGREE_EXACT, 0, 0, NAN, NAN));
}

static void test_absolute_distance(void **state)
{
    (void)state;
    for (int i = 0; i < KVP_MATRIX_TYPES; i++) {
        assert_true(agree(all_types[i], KVP_AGREE_ABSOLUTE, 3, 0, 100, 103));
        assert_true(agree(all_types[i], KVP_AGREE_ABSOLUTE, 3.5, 0, -1, 2));
        assert_false(agree(all_types[i], KVP_AGREE_ABSOLUTE, 2.9, 0, 100, 103));
        assert_false(agree(all_types[i], KVP_AGREE_ABSOLUTE, 0, 0, 100, 101));
    }
    assert_true(agree(KVP_INT64, KVP_AGREE_ABSOLUTE, 0x1p64, 0, -0x1p63, 0x1.fffffffffffffp62));
    assert_false(agree(KVP_INT64, KVP_AGREE_ABSOLUTE, 0x1p63, 0, -0x1p63, 0x1.fffffffffffffp62));
    assert_false(agree(KVP_FLOAT64, KVP_AGREE_ABSOLUTE, 1e308, 0, NAN, 1));
    assert_false(agree(KVP_FLOAT64, KVP_AGREE_ABSOLUTE, 1e308, 0, INFINITY, INFINITY));
}

static void test_relative_distance_and_its_floor(void **state)
{
    (void)state;
    for (int i = 0; i < KVP_MATRIX_TYPES; i++) {
        assert_true(agree(all_types[i], KVP_AGREE_RELATIVE, 0.01, 0, 1000, 1010));
        assert_false(agree(all_types[i], KVP_AGREE_RELATIVE, 0.01, 0, 1000, 1011));
        assert_false(agree(all_types[i], KVP_AGREE_RELATIVE, 0.01, 0, 5, -5));
        assert_true(agree(all_types[i], KVP_AGREE_RELATIVE, 0.01, 10, 5, -5));
        assert_false(agree(all_types[i], KVP_AGREE_RELATIVE, 0.01, 0, 0, 1));
    }
    assert_true(agree(KVP_FLOAT64, KVP_AGREE_RELATIVE, 1e-9, 0, 0, DBL_MIN));
    assert_false(agree(KVP_FLOAT64, KVP_AGREE_RELATIVE, 1e-9, 0, 0, 3 * DBL_MIN));
    assert_true(agree(KVP_FLOAT32, KVP_AGREE_RELATIVE, 1e-9, 0, 0, (double)FLT_MIN));
    assert_false(agree(KVP_FLOAT64, KVP_AGREE_RELATIVE, 0.5, 0, INFINITY, 1));
    assert_false(agree(KVP_FLOAT64, KVP_AGREE_RELATIVE, 0.5, 0, NAN, NAN));
    assert_false(agree(KVP_FLOAT64, KVP_AGREE_RELATIVE, 0.5, 0, INFINITY, INFINITY));
}

static void test_checksums_find_one_element(void **state)
{
    (void)state;
    for (int i = 0; i < KVP_MATRIX_TYPES; i++) {
        assert_false(agree(all_types[i], KVP_AGREE_CHECKSUM, 1e-6, 0, 5, 6));
        assert_true(agree(all_types[i], KVP_AGREE_CHECKSUM, 1e-6, 0, 5, 5));
    }
    assert_true(agree(KVP_FLOAT32, KVP_AGREE_CHECKSUM, 1e-3, 0, 1000, 1000.5));
    assert_false(agree(KVP_FLOAT32, KVP_AGREE_CHECKSUM, 1e-3, 0, 1000, 1002));
    assert_true(agree(KVP_FLOAT32, KVP_AGREE_CHECKSUM, 1e-3, 5, 1000, 1002));
    assert_false(agree(KVP_FLOAT64, KVP_AGREE_CHECKSUM, 1e-3, 5, NAN, NAN));
}

/* Two changes that cancel out in their column: the rows tell. And in the row: the columns do. */
static void test_checksums_look_at_rows_and_columns(void **state)
{
    (void)state;
    for (int i = 0; i < KVP_MATRIX_TYPES; i++) {
        struct kvp_matrix x = zero_matrix(all_types[i], 4, 5), y = zero_matrix(all_types[i], 4, 5);
        element_set(&y, 1, 3, 7);
        element_set(&y, 2, 3, -7);
        struct kvp_comparison rows = compare(KVP_AGREE_CHECKSUM, 1e-3, 0, &x, &y);
        assert_false(rows.agree);
        assert_int_equal(rows.row, 1);
        assert_int_equal(rows.column, 0);
        element_set(&y, 2, 3, 0);
        element_set(&y, 1, 2, -7);
        struct kvp_comparison columns = compare(KVP_AGREE_CHECKSUM, 1e-3, 0, &x, &y);
        assert_false(columns.agree);
        assert_int_equal(columns.row, 0);
        assert_int_equal(columns.column, 2);
        kvp_matrix_free(&x);
        kvp_matrix_free(&y);
    }
}

static void test_checksums_of_integers_may_wrap(void **state)
{
    (void)state;
    struct kvp_matrix x = zero_matrix(KVP_INT64, 3, 3), y = zero_matrix(KVP_INT64, 3, 3);
    for (uint64_t i = 0; i < 9; i++) {
        element_set_integer(&x, i / 3, i % 3, INT64_MAX);
        element_set_integer(&y, i / 3, i % 3, INT64_MAX);
    }
    assert_true(compare(KVP_AGREE_CHECKSUM, 0, 0, &x, &y).agree);
    element_set_integer(&y, 2, 2, INT64_MIN);
    assert_false(compare(KVP_AGREE_CHECKSUM, 0, 0, &x, &y).agree);
    kvp_matrix_free(&x);
    kvp_matrix_free(&y);
}

static void test_what_cannot_be_compared_is_refused(void **state)
{
    (void)state;
    static const double wrong[] = {-1, NAN, INFINITY};
    uint8_t bytes[24] = {0};
    struct kvp_compare_rule rule = {KVP_AGREE_EXACT, 0, 0};
    struct kvp_comparison result = {true, 7, 7};
    kvp_slice x = kvp_slice_of(bytes, 24), y = kvp_slice_of(bytes, 23);
    assert_int_equal(kvp_matrix_compare(&rule, KVP_INT32, 2, 3, x, y, &result), KVP_BAD_REQUEST);
    assert_int_equal(kvp_matrix_compare(&rule, KVP_INT32, 2, 3, y, x, &result), KVP_BAD_REQUEST);
    assert_int_equal(kvp_matrix_compare(&rule, KVP_INT32, 0, 3, x, x, &result), KVP_BAD_REQUEST);
    assert_int_equal(kvp_matrix_compare(&rule, KVP_INT32, UINT64_MAX, 8, x, x, &result),
                     KVP_BAD_REQUEST);
    for (int i = 0; i < 3; i++) {
        rule = (struct kvp_compare_rule){KVP_AGREE_ABSOLUTE, wrong[i], 0};
        assert_int_equal(kvp_matrix_compare(&rule, KVP_INT32, 2, 3, x, x, &result),
                         KVP_BAD_ARGUMENT);
        rule = (struct kvp_compare_rule){KVP_AGREE_ABSOLUTE, 0, wrong[i]};
        assert_int_equal(kvp_matrix_compare(&rule, KVP_INT32, 2, 3, x, x, &result),
                         KVP_BAD_ARGUMENT);
    }
    rule = (struct kvp_compare_rule){(enum kvp_agreement)4, 0, 0};
    assert_int_equal(kvp_matrix_compare(&rule, KVP_INT32, 2, 3, x, x, &result), KVP_BAD_ARGUMENT);
    assert_int_equal(result.row, 7);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_equal_results_agree_by_every_rule),
        cmocka_unit_test(test_exact_means_the_same_number),
        cmocka_unit_test(test_absolute_distance),
        cmocka_unit_test(test_relative_distance_and_its_floor),
        cmocka_unit_test(test_checksums_find_one_element),
        cmocka_unit_test(test_checksums_look_at_rows_and_columns),
        cmocka_unit_test(test_checksums_of_integers_may_wrap),
        cmocka_unit_test(test_what_cannot_be_compared_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
