/* SPDX-License-Identifier: Apache-2.0 */
/* Products against their definition, in arithmetic that is wider than the type's. */
#include "tests/jobs/matrix_support.h"
#include "replication/matrix/matrix_multiply.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

__extension__ typedef __int128 i128;

static i128 exact_element(const struct kvp_matrix *a, const struct kvp_matrix *b, uint64_t row,
                          uint64_t column)
{
    i128 sum = 0;
    for (uint64_t k = 0; k < a->columns; k++) {
        sum += (i128)element_get_integer(a, row, k) * element_get_integer(b, k, column);
    }
    return sum;
}

/* The promised order, promised roundings. */
static double real_element(const struct kvp_matrix *a, const struct kvp_matrix *b, uint64_t row,
                           uint64_t column)
{
    volatile double sum = 0;
    for (uint64_t k = 0; k < a->columns; k++) {
        volatile double product = element_get(a, row, k) * element_get(b, k, column);
        sum = sum + product;
    }
    return a->type == KVP_FLOAT32 ? (double)(float)sum : sum;
}

static void check_integers(const struct kvp_matrix *a, const struct kvp_matrix *b)
{
    struct kvp_matrix c = zero_matrix(a->type, a->rows, b->columns);
    i128 low = a->type == KVP_INT32 ? INT32_MIN : INT64_MIN;
    i128 high = a->type == KVP_INT32 ? INT32_MAX : INT64_MAX;
    bool fits = true;
    kvp_status status = kvp_multiply(a->type, a->rows, a->columns, b->columns, a->data.data,
                                     b->data.data, c.data.data);
    for (uint64_t row = 0; row < c.rows; row++) {
        for (uint64_t column = 0; column < c.columns; column++) {
            i128 sum = exact_element(a, b, row, column);
            fits = fits && sum >= low && sum <= high;
            assert_true(status != KVP_OK || sum == element_get_integer(&c, row, column));
        }
    }
    assert_int_equal(status, fits ? KVP_OK : KVP_OVERFLOW);
    kvp_matrix_free(&c);
}

static void check_reals(const struct kvp_matrix *a, const struct kvp_matrix *b)
{
    struct kvp_matrix c = product_of(a, b);
    for (uint64_t row = 0; row < c.rows; row++) {
        for (uint64_t column = 0; column < c.columns; column++) {
            assert_true(real_element(a, b, row, column) == element_get(&c, row, column));
        }
    }
    kvp_matrix_free(&c);
}

static void check_random(uint64_t *seed, enum kvp_matrix_type type, uint64_t rows, uint64_t inner,
                         uint64_t columns, double size)
{
    struct kvp_matrix a = random_matrix(seed, type, rows, inner, size);
    struct kvp_matrix b = random_matrix(seed, type, inner, columns, size);
    (kvp_matrix_type_is_float(type) ? check_reals : check_integers)(&a, &b);
    kvp_matrix_free(&a);
    kvp_matrix_free(&b);
}

static void test_products_of_all_shapes_are_those_of_the_definition(void **state)
{
    (void)state;
    uint64_t seed = 1;
    for (int i = 0; i < 400; i++) {
        check_random(&seed, all_types[i % 4], random_count(&seed, 70), random_count(&seed, 70),
                     random_count(&seed, 70), 1000);
    }
}

/* Around the edges of the blocks that are computed at once. */
static void test_products_larger_than_a_block(void **state)
{
    (void)state;
    static const uint64_t shapes[][3] = {{64, 256, 256}, {65, 257, 257}, {63, 255, 255},
                                         {3, 600, 5},    {130, 3, 9},    {1, 1, 700},
                                         {1, 1000, 1},   {200, 1, 1}};
    uint64_t seed = 2;
    for (size_t i = 0; i < 4 * sizeof(shapes) / sizeof(shapes[0]); i++) {
        const uint64_t *shape = shapes[i / 4];
        check_random(&seed, all_types[i % 4], shape[0], shape[1], shape[2], 500);
    }
}

/* Sizes at which integers move from one way of multiplying to another. */
static void test_integers_of_every_size_are_exact_or_refused(void **state)
{
    (void)state;
    uint64_t seed = 3;
    for (double size = 1; size < 0x1p31; size *= 1.9) {
        check_random(&seed, KVP_INT32, 5, 9, 7, size);
    }
    for (double size = 1; size < 0x1p61; size *= 1.9) {
        check_random(&seed, KVP_INT64, 5, 9, 7, size);
    }
}

static void put_row(struct kvp_matrix *matrix, const int64_t *values)
{
    for (uint64_t i = 0; i < matrix->rows * matrix->columns; i++) {
        element_set_integer(matrix, i / matrix->columns, i % matrix->columns, values[i]);
    }
}

/* A row times a column. */
static void check_dot(enum kvp_matrix_type type, uint64_t inner, const int64_t *a, const int64_t *b,
                      kvp_status expected, int64_t value)
{
    struct kvp_matrix left = zero_matrix(type, 1, inner), right = zero_matrix(type, inner, 1);
    struct kvp_matrix c = zero_matrix(type, 1, 1);
    put_row(&left, a);
    put_row(&right, b);
    assert_int_equal(kvp_multiply(type, 1, inner, 1, left.data.data, right.data.data, c.data.data),
                     expected);
    if (expected == KVP_OK) {
        assert_true(element_get_integer(&c, 0, 0) == value);
    }
    kvp_matrix_free(&left);
    kvp_matrix_free(&right);
    kvp_matrix_free(&c);
}

static void test_only_the_result_must_fit(void **state)
{
    (void)state;
    enum { least = INT32_MIN };
    const int64_t most = INT64_MAX, deep = INT64_MIN;
    check_dot(KVP_INT32, 1, (int64_t[]){1 << 16}, (int64_t[]){1 << 15}, KVP_OVERFLOW, 0);
    check_dot(KVP_INT32, 1, (int64_t[]){1 << 16}, (int64_t[]){-(1 << 15)}, KVP_OK, least);
    check_dot(KVP_INT32, 2, (int64_t[]){1 << 16, 1}, (int64_t[]){1 << 15, -1}, KVP_OK, INT32_MAX);
    check_dot(KVP_INT32, 4, (int64_t[]){least, least, least, least},
              (int64_t[]){least, least, INT32_MAX, INT32_MAX}, KVP_OVERFLOW, 0);
    check_dot(KVP_INT32, 3, (int64_t[]){least, least, least}, (int64_t[]){least, INT32_MAX, 1},
              KVP_OK, 0);
    check_dot(KVP_INT64, 1, (int64_t[]){deep}, (int64_t[]){-1}, KVP_OVERFLOW, 0);
    check_dot(KVP_INT64, 1, (int64_t[]){deep}, (int64_t[]){1}, KVP_OK, deep);
    check_dot(KVP_INT64, 2, (int64_t[]){most, 1}, (int64_t[]){1, 1}, KVP_OVERFLOW, 0);
    check_dot(KVP_INT64, 3, (int64_t[]){most, 1, -1}, (int64_t[]){1, 1, 1}, KVP_OK, most);
    check_dot(KVP_INT64, 4, (int64_t[]){deep, deep, deep, deep},
              (int64_t[]){deep, deep, most, most}, KVP_OVERFLOW, 0);
    check_dot(KVP_INT64, 6, (int64_t[]){deep, deep, deep, deep, deep, 5},
              (int64_t[]){deep, deep, most, most, 2, 1}, KVP_OK, 5);
}

static void test_slices_of_rows_make_the_same_bytes(void **state)
{
    (void)state;
    uint64_t seed = 4;
    for (int i = 0; i < KVP_MATRIX_TYPES; i++) {
        struct kvp_matrix a = random_matrix(&seed, all_types[i], 150, 90, 99);
        struct kvp_matrix b = random_matrix(&seed, all_types[i], 90, 40, 99);
        struct kvp_matrix whole = product_of(&a, &b), c = zero_matrix(all_types[i], 150, 40);
        for (uint64_t row = 0, end; row < 150; row = end) {
            end = row + random_count(&seed, 70);
            end = end > 150 ? 150 : end;
            assert_int_equal(kvp_multiply_rows(all_types[i], 90, 40, row, end, a.data.data,
                                               b.data.data, c.data.data),
                             KVP_OK);
        }
        assert_memory_equal(whole.data.data, c.data.data, c.data.size);
        kvp_matrix_free(&a);
        kvp_matrix_free(&b);
        kvp_matrix_free(&c);
        kvp_matrix_free(&whole);
    }
}

static void test_operands_need_no_alignment(void **state)
{
    (void)state;
    uint64_t seed = 5;
    for (int i = 0; i < 2 * KVP_MATRIX_TYPES; i++) {
        double size = i < KVP_MATRIX_TYPES ? 9 : 0x1p29; /* int64: the wide way too */
        enum kvp_matrix_type type = all_types[i % KVP_MATRIX_TYPES];
        struct kvp_matrix a = random_matrix(&seed, type, 9, 1, size);
        struct kvp_matrix b = random_matrix(&seed, type, 1, 12, type == KVP_INT32 ? 2 : size);
        struct kvp_matrix c = product_of(&a, &b);
        struct unaligned left = unaligned_copy(kvp_buf_slice(&a.data));
        struct unaligned right = unaligned_copy(kvp_buf_slice(&b.data));
        struct unaligned result = unaligned_copy(kvp_buf_slice(&c.data));
        memset(result.memory + 1, 0xff, result.bytes.size);
        assert_int_equal(
            kvp_multiply(type, 9, 1, 12, left.bytes.data, right.bytes.data, result.memory + 1),
            KVP_OK);
        assert_memory_equal(result.bytes.data, c.data.data, c.data.size);
        free(left.memory);
        free(right.memory);
        free(result.memory);
        kvp_matrix_free(&a);
        kvp_matrix_free(&b);
        kvp_matrix_free(&c);
    }
}

static kvp_status multiply_one(enum kvp_matrix_type type, double a, double b, double *result)
{
    struct kvp_matrix left = zero_matrix(type, 1, 1), right = zero_matrix(type, 1, 1);
    struct kvp_matrix c = zero_matrix(type, 1, 1);
    element_set(&left, 0, 0, a);
    element_set(&right, 0, 0, b);
    kvp_status status = kvp_multiply(type, 1, 1, 1, left.data.data, right.data.data, c.data.data);
    *result = element_get(&c, 0, 0);
    kvp_matrix_free(&left);
    kvp_matrix_free(&right);
    kvp_matrix_free(&c);
    return status;
}

static void test_a_float_result_must_be_finite(void **state)
{
    (void)state;
    double result;
    assert_int_equal(multiply_one(KVP_FLOAT64, 1e200, 1e200, &result), KVP_OVERFLOW);
    assert_int_equal(multiply_one(KVP_FLOAT64, INFINITY, 1, &result), KVP_OVERFLOW);
    assert_int_equal(multiply_one(KVP_FLOAT64, INFINITY, 0, &result), KVP_OVERFLOW);
    assert_int_equal(multiply_one(KVP_FLOAT64, NAN, 0, &result), KVP_OVERFLOW);
    assert_int_equal(multiply_one(KVP_FLOAT64, DBL_MAX, 1, &result), KVP_OK);
    assert_true(result == DBL_MAX);
    assert_int_equal(multiply_one(KVP_FLOAT32, 1e20, 1e20, &result), KVP_OVERFLOW);
    assert_int_equal(multiply_one(KVP_FLOAT32, 0x1p127, 2, &result), KVP_OVERFLOW);
    assert_int_equal(multiply_one(KVP_FLOAT32, -0x1p127, 2, &result), KVP_OVERFLOW);
    assert_int_equal(multiply_one(KVP_FLOAT32, NAN, 1, &result), KVP_OVERFLOW);
    assert_int_equal(multiply_one(KVP_FLOAT32, (double)FLT_MAX, 1, &result), KVP_OK);
    assert_true(result == (double)FLT_MAX);
}

static void test_an_impossible_shape_is_refused(void **state)
{
    (void)state;
    uint8_t bytes[8] = {0};
    assert_int_equal(kvp_multiply(KVP_INT32, 0, 1, 1, bytes, bytes, bytes), KVP_BAD_REQUEST);
    assert_int_equal(kvp_multiply(KVP_INT32, 1, 0, 1, bytes, bytes, bytes), KVP_BAD_REQUEST);
    assert_int_equal(kvp_multiply(KVP_INT32, 1, 1, 0, bytes, bytes, bytes), KVP_BAD_REQUEST);
    assert_int_equal(kvp_multiply(KVP_INT32, 1, UINT64_MAX, 2, bytes, bytes, bytes),
                     KVP_BAD_REQUEST);
    assert_int_equal(kvp_multiply((enum kvp_matrix_type)9, 1, 1, 1, bytes, bytes, bytes),
                     KVP_BAD_REQUEST);
    assert_int_equal(kvp_multiply_rows(KVP_INT32, 1, 1, 2, 1, bytes, bytes, bytes),
                     KVP_BAD_REQUEST);
}

static kvp_status add_integers(enum kvp_matrix_type type, int64_t *x, int64_t y)
{
    struct kvp_matrix sum = zero_matrix(type, 1, 2), addend = zero_matrix(type, 1, 2);
    element_set_integer(&sum, 0, 1, *x);
    element_set_integer(&addend, 0, 1, y);
    kvp_status status = kvp_matrix_add(type, 2, sum.data.data, addend.data.data);
    *x = element_get_integer(&sum, 0, 1);
    kvp_matrix_free(&sum);
    kvp_matrix_free(&addend);
    return status;
}

static void test_parts_are_added_unless_the_sum_does_not_fit(void **state)
{
    (void)state;
    int64_t x = INT32_MAX - 1;
    assert_int_equal(add_integers(KVP_INT32, &x, 1), KVP_OK);
    assert_true(x == INT32_MAX);
    assert_int_equal(add_integers(KVP_INT32, &x, 1), KVP_OVERFLOW);
    x = INT64_MIN + 1;
    assert_int_equal(add_integers(KVP_INT64, &x, -1), KVP_OK);
    assert_true(x == INT64_MIN);
    assert_int_equal(add_integers(KVP_INT64, &x, -1), KVP_OVERFLOW);
    for (int i = 2; i < KVP_MATRIX_TYPES; i++) {
        struct kvp_matrix sum = zero_matrix(all_types[i], 1, 2);
        element_set(&sum, 0, 0, i == 2 ? (double)FLT_MAX : DBL_MAX);
        element_set(&sum, 0, 1, 0.25);
        uint8_t *odd = malloc(sum.data.size + 1);
        memcpy(odd + 1, sum.data.data, sum.data.size);
        size_t size = kvp_matrix_element_size(all_types[i]);
        assert_int_equal(kvp_matrix_add(all_types[i], 1, sum.data.data + size, odd + 1 + size),
                         KVP_OK);
        assert_true(element_get(&sum, 0, 1) == 0.5);
        assert_int_equal(kvp_matrix_add(all_types[i], 2, sum.data.data, odd + 1), KVP_OVERFLOW);
        free(odd);
        kvp_matrix_free(&sum);
    }
}

static void test_parts_of_the_inner_dimension_add_up(void **state)
{
    (void)state;
    uint64_t seed = 6;
    struct kvp_matrix a = random_matrix(&seed, KVP_INT64, 6, 20, 1e6);
    struct kvp_matrix b = random_matrix(&seed, KVP_INT64, 20, 5, 1e6);
    struct kvp_matrix whole = product_of(&a, &b), sum = zero_matrix(KVP_INT64, 6, 5);
    for (uint64_t k = 0; k < 20; k += 5) {
        struct kvp_matrix left = zero_matrix(KVP_INT64, 6, 5), right = zero_matrix(KVP_INT64, 5, 5);
        assert_int_equal(kvp_matrix_cut(&a, &(struct kvp_block){0, k, 6, 5}, left.data.data),
                         KVP_OK);
        assert_int_equal(kvp_matrix_cut(&b, &(struct kvp_block){k, 0, 5, 5}, right.data.data),
                         KVP_OK);
        struct kvp_matrix part = product_of(&left, &right);
        assert_int_equal(kvp_matrix_add(KVP_INT64, 30, sum.data.data, part.data.data), KVP_OK);
        kvp_matrix_free(&left);
        kvp_matrix_free(&right);
        kvp_matrix_free(&part);
    }
    assert_memory_equal(sum.data.data, whole.data.data, sum.data.size);
    kvp_matrix_free(&a);
    kvp_matrix_free(&b);
    kvp_matrix_free(&sum);
    kvp_matrix_free(&whole);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_products_of_all_shapes_are_those_of_the_definition),
        cmocka_unit_test(test_products_larger_than_a_block),
        cmocka_unit_test(test_integers_of_every_size_are_exact_or_refused),
        cmocka_unit_test(test_only_the_result_must_fit),
        cmocka_unit_test(test_slices_of_rows_make_the_same_bytes),
        cmocka_unit_test(test_operands_need_no_alignment),
        cmocka_unit_test(test_a_float_result_must_be_finite),
        cmocka_unit_test(test_an_impossible_shape_is_refused),
        cmocka_unit_test(test_parts_are_added_unless_the_sum_does_not_fit),
        cmocka_unit_test(test_parts_of_the_inner_dimension_add_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
