/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/jobs/matrix_support.h"
#include "replication/matrix/matrix_multiply.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

uint64_t random_next(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state * 0x2545f4914f6cdd1du;
}

uint64_t random_count(uint64_t *state, uint64_t most)
{
    return 1 + (random_next(state) >> 11) % most;
}

struct kvp_matrix zero_matrix(enum kvp_matrix_type type, uint64_t rows, uint64_t columns)
{
    struct kvp_matrix matrix;
    assert_int_equal(kvp_matrix_new(type, rows, columns, &matrix), KVP_OK);
    return matrix;
}

struct kvp_matrix random_matrix(uint64_t *state, enum kvp_matrix_type type, uint64_t rows,
                                uint64_t columns, double size)
{
    struct kvp_matrix matrix = zero_matrix(type, rows, columns);
    for (uint64_t row = 0; row < rows; row++) {
        for (uint64_t column = 0; column < columns; column++) {
            double unit = (double)(random_next(state) >> 11) * 0x1p-52 - 1;
            element_set(&matrix, row, column, unit * size);
        }
    }
    return matrix;
}

static uint8_t *element_at(const struct kvp_matrix *matrix, uint64_t row, uint64_t column)
{
    return matrix->data.data +
           (row * matrix->columns + column) * kvp_matrix_element_size(matrix->type);
}

int64_t element_get_integer(const struct kvp_matrix *matrix, uint64_t row, uint64_t column)
{
    int32_t narrow;
    int64_t wide;
    if (matrix->type == KVP_INT32) {
        memcpy(&narrow, element_at(matrix, row, column), sizeof(narrow));
        return narrow;
    }
    memcpy(&wide, element_at(matrix, row, column), sizeof(wide));
    return wide;
}

double element_get(const struct kvp_matrix *matrix, uint64_t row, uint64_t column)
{
    float narrow;
    double wide;
    if (!kvp_matrix_type_is_float(matrix->type)) {
        return (double)element_get_integer(matrix, row, column);
    }
    if (matrix->type == KVP_FLOAT32) {
        memcpy(&narrow, element_at(matrix, row, column), sizeof(narrow));
        return (double)narrow;
    }
    memcpy(&wide, element_at(matrix, row, column), sizeof(wide));
    return wide;
}

void element_set_integer(struct kvp_matrix *matrix, uint64_t row, uint64_t column, int64_t value)
{
    int32_t narrow = (int32_t)value;
    if (matrix->type == KVP_INT32) {
        memcpy(element_at(matrix, row, column), &narrow, sizeof(narrow));
    } else {
        memcpy(element_at(matrix, row, column), &value, sizeof(value));
    }
}

void element_set(struct kvp_matrix *matrix, uint64_t row, uint64_t column, double value)
{
    float narrow;
    switch (matrix->type) {
    case KVP_INT32:
    case KVP_INT64:
        element_set_integer(matrix, row, column, (int64_t)value);
        break;
    case KVP_FLOAT32:
        narrow = (float)value;
        memcpy(element_at(matrix, row, column), &narrow, sizeof(narrow));
        break;
    case KVP_FLOAT64:
        memcpy(element_at(matrix, row, column), &value, sizeof(value));
        break;
    }
}

struct kvp_matrix product_of(const struct kvp_matrix *a, const struct kvp_matrix *b)
{
    struct kvp_matrix c = zero_matrix(a->type, a->rows, b->columns);
    assert_int_equal(kvp_multiply(a->type, a->rows, a->columns, b->columns, a->data.data,
                                  b->data.data, c.data.data),
                     KVP_OK);
    return c;
}

struct unaligned unaligned_copy(kvp_slice bytes)
{
    struct unaligned copy = {malloc(bytes.size + 1), {NULL, 0}};
    assert_non_null(copy.memory);
    memcpy(copy.memory + 1, bytes.data, bytes.size);
    copy.bytes = kvp_slice_of(copy.memory + 1, bytes.size);
    return copy;
}
