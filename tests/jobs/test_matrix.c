/* SPDX-License-Identifier: Apache-2.0 */
/* Types, sizes, blocks and conversions of matrices. */
#include "tests/jobs/matrix_support.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static void test_types_have_names_and_sizes(void **state)
{
    (void)state;
    static const char *const names[] = {"int32", "int64", "float32", "float64"};
    static const size_t sizes[] = {4, 8, 4, 8};
    enum kvp_matrix_type type = KVP_INT32;
    for (int i = 0; i < KVP_MATRIX_TYPES; i++) {
        assert_true(kvp_matrix_type_valid((uint64_t)i));
        assert_string_equal(kvp_matrix_type_name(all_types[i]), names[i]);
        assert_int_equal(kvp_matrix_element_size(all_types[i]), sizes[i]);
        assert_int_equal(kvp_matrix_type_of(names[i], &type), KVP_OK);
        assert_int_equal(type, i);
        assert_int_equal(kvp_matrix_type_is_float(type), i >= 2);
    }
    assert_int_equal(kvp_matrix_type_of("int16", &type), KVP_BAD_REQUEST);
    assert_int_equal(kvp_matrix_type_of("", &type), KVP_BAD_REQUEST);
    assert_int_equal(type, KVP_FLOAT64);
    assert_false(kvp_matrix_type_valid(4));
    assert_false(kvp_matrix_type_valid(UINT64_MAX));
}

static void test_a_size_that_overflows_is_too_large(void **state)
{
    (void)state;
    uint64_t size = 7;
    static const uint64_t huge[][2] = {{UINT64_MAX, UINT64_MAX},
                                       {UINT64_MAX, 1},
                                       {1, UINT64_MAX},
                                       {(uint64_t)1 << 32, (uint64_t)1 << 32},
                                       {(uint64_t)1 << 31, (uint64_t)1 << 30},
                                       {(uint64_t)1 << 61, 1}};
    for (size_t i = 0; i < sizeof(huge) / sizeof(huge[0]); i++) {
        struct kvp_matrix matrix;
        assert_int_equal(kvp_matrix_size(KVP_INT32, huge[i][0], huge[i][1], &size), KVP_TOO_LARGE);
        assert_int_equal(kvp_matrix_new(KVP_INT32, huge[i][0], huge[i][1], &matrix), KVP_TOO_LARGE);
        assert_null(matrix.data.data);
    }
    assert_int_equal(kvp_matrix_size(KVP_INT32, 0, 5, &size), KVP_BAD_REQUEST);
    assert_int_equal(kvp_matrix_size(KVP_INT32, 5, 0, &size), KVP_BAD_REQUEST);
    assert_int_equal(kvp_matrix_size((enum kvp_matrix_type)4, 5, 5, &size), KVP_BAD_REQUEST);
    assert_int_equal(size, 7);
    assert_int_equal(kvp_matrix_size(KVP_INT64, 3, 5, &size), KVP_OK);
    assert_int_equal(size, 120);
}

static void test_blocks_cut_and_pasted_make_the_same_matrix(void **state)
{
    (void)state;
    uint64_t seed = 5;
    for (int i = 0; i < KVP_MATRIX_TYPES; i++) {
        struct kvp_matrix from = random_matrix(&seed, all_types[i], 7, 11, 1000);
        struct kvp_matrix to = zero_matrix(all_types[i], 7, 11);
        uint8_t *bytes = malloc(7 * 11 * 8 + 1);
        for (uint64_t row = 0; row < 7; row += 3) {
            for (uint64_t column = 0; column < 11; column += 4) {
                struct kvp_block block = {row, column, row + 3 > 7 ? 7 - row : 3,
                                          column + 4 > 11 ? 11 - column : 4};
                assert_int_equal(kvp_matrix_cut(&from, &block, bytes + 1), KVP_OK);
                assert_int_equal(kvp_matrix_paste(&to, &block, bytes + 1), KVP_OK);
            }
        }
        assert_memory_equal(from.data.data, to.data.data, from.data.size);
        free(bytes);
        kvp_matrix_free(&from);
        kvp_matrix_free(&to);
    }
}

static void test_a_block_must_be_inside(void **state)
{
    (void)state;
    static const struct kvp_block wrong[] = {
        {0, 0, 0, 1}, {0, 0, 1, 0}, {0, 0, 4, 1},          {0, 0, 1, 6},
        {3, 0, 1, 1}, {0, 5, 1, 1}, {UINT64_MAX, 0, 2, 1}, {0, UINT64_MAX, 1, 2},
        {2, 0, 2, 1}, {0, 4, 1, 2}, {1, 0, UINT64_MAX, 1}, {0, 1, 1, UINT64_MAX}};
    struct kvp_matrix matrix = zero_matrix(KVP_INT32, 3, 5);
    uint8_t bytes[64] = {0};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        assert_int_equal(kvp_matrix_cut(&matrix, &wrong[i], bytes), KVP_BAD_REQUEST);
        assert_int_equal(kvp_matrix_paste(&matrix, &wrong[i], bytes), KVP_BAD_REQUEST);
    }
    kvp_matrix_free(&matrix);
    kvp_matrix_free(NULL);
}

static void test_a_float_that_is_not_finite_is_seen(void **state)
{
    (void)state;
    static const double wrong[] = {NAN, INFINITY, -INFINITY};
    for (int i = 2; i < KVP_MATRIX_TYPES; i++) {
        struct kvp_matrix matrix = zero_matrix(all_types[i], 3, 3);
        assert_false(kvp_matrix_has_nonfinite(matrix.type, kvp_buf_slice(&matrix.data)));
        for (int j = 0; j < 3; j++) {
            element_set(&matrix, 2, 2, wrong[j]);
            assert_true(kvp_matrix_has_nonfinite(matrix.type, kvp_buf_slice(&matrix.data)));
        }
        assert_false(kvp_matrix_has_nonfinite(KVP_INT32, kvp_buf_slice(&matrix.data)));
        kvp_matrix_free(&matrix);
    }
    assert_false(kvp_matrix_has_nonfinite(KVP_FLOAT64, kvp_slice_of(NULL, 0)));
}

static void test_conversions_keep_every_number(void **state)
{
    (void)state;
    uint64_t seed = 9;
    for (int from = 0; from < KVP_MATRIX_TYPES; from++) {
        for (int to = 0; to < KVP_MATRIX_TYPES; to++) {
            struct kvp_matrix before = random_matrix(&seed, all_types[from], 4, 5, 0), after;
            for (uint64_t i = 0; i < 20; i++) {
                element_set(&before, i / 5, i % 5, (double)(int64_t)(i * i * i) - 1000);
            }
            assert_int_equal(kvp_matrix_convert(&before, all_types[to], &after, NULL, 0), KVP_OK);
            for (uint64_t i = 0; i < 20; i++) {
                assert_true(element_get(&before, i / 5, i % 5) ==
                            element_get(&after, i / 5, i % 5));
            }
            kvp_matrix_free(&before);
            kvp_matrix_free(&after);
        }
    }
}

static void refuse_integer(int64_t value, enum kvp_matrix_type to, const char *said)
{
    char message[128];
    struct kvp_matrix from = zero_matrix(KVP_INT64, 2, 3), after;
    element_set_integer(&from, 1, 0, value);
    assert_int_equal(kvp_matrix_convert(&from, to, &after, message, sizeof(message)),
                     KVP_BAD_REQUEST);
    assert_string_equal(message, said);
    assert_null(after.data.data);
    kvp_matrix_free(&from);
}

static void refuse_real(double value, enum kvp_matrix_type to)
{
    char message[128];
    struct kvp_matrix from = zero_matrix(KVP_FLOAT64, 2, 3), after;
    element_set(&from, 1, 2, value);
    assert_int_equal(kvp_matrix_convert(&from, to, &after, message, sizeof(message)),
                     KVP_BAD_REQUEST);
    assert_non_null(strstr(message, "row 2, column 3: "));
    kvp_matrix_free(&from);
}

static void test_a_number_that_cannot_be_kept_is_refused(void **state)
{
    (void)state;
    refuse_integer((int64_t)1 << 31, KVP_INT32,
                   "row 2, column 1: 2147483648 cannot be kept exactly as int32");
    refuse_integer(-((int64_t)1 << 31) - 1, KVP_INT32,
                   "row 2, column 1: -2147483649 cannot be kept exactly as int32");
    refuse_integer(16777217, KVP_FLOAT32,
                   "row 2, column 1: 16777217 cannot be kept exactly as float32");
    refuse_integer(((int64_t)1 << 53) + 1, KVP_FLOAT64,
                   "row 2, column 1: 9007199254740993 cannot be kept exactly as float64");
    refuse_integer(INT64_MAX, KVP_FLOAT64,
                   "row 2, column 1: 9223372036854775807 cannot be kept exactly as float64");
    refuse_integer(INT64_MAX, KVP_FLOAT32,
                   "row 2, column 1: 9223372036854775807 cannot be kept exactly as float32");
    refuse_real(0.5, KVP_INT32);
    refuse_real(0x1p63, KVP_INT64);
    refuse_real(-0x1p63 * 1.5, KVP_INT64);
    refuse_real(0x1p31, KVP_INT32);
    refuse_real(0.1, KVP_FLOAT32);
    refuse_real(1e39, KVP_FLOAT32);
    refuse_real(0x1p-150, KVP_FLOAT32);
    refuse_real(NAN, KVP_INT32);
    refuse_real(INFINITY, KVP_INT64);
}

static void test_the_ends_of_the_types_are_kept(void **state)
{
    (void)state;
    struct kvp_matrix from = zero_matrix(KVP_FLOAT64, 1, 2), to;
    element_set(&from, 0, 0, -0x1p63);
    element_set(&from, 0, 1, 0x1.fffffffffffffp62);
    assert_int_equal(kvp_matrix_convert(&from, KVP_INT64, &to, NULL, 0), KVP_OK);
    assert_true(element_get_integer(&to, 0, 0) == INT64_MIN);
    kvp_matrix_free(&from);
    assert_int_equal(kvp_matrix_convert(&to, KVP_FLOAT64, &from, NULL, 0), KVP_OK);
    assert_true(element_get(&from, 0, 0) == -0x1p63);
    kvp_matrix_free(&from);
    kvp_matrix_free(&to);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_types_have_names_and_sizes),
        cmocka_unit_test(test_a_size_that_overflows_is_too_large),
        cmocka_unit_test(test_blocks_cut_and_pasted_make_the_same_matrix),
        cmocka_unit_test(test_a_block_must_be_inside),
        cmocka_unit_test(test_a_float_that_is_not_finite_is_seen),
        cmocka_unit_test(test_conversions_keep_every_number),
        cmocka_unit_test(test_a_number_that_cannot_be_kept_is_refused),
        cmocka_unit_test(test_the_ends_of_the_types_are_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
