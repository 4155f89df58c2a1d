/* SPDX-License-Identifier: Apache-2.0 */
#include "replication/matrix/matrix_multiply.h"
#include "replication/matrix/matrix_kernel.h"

#include <math.h>
#include <stdlib.h>

/* Where the rows of a product go. */
struct result {
    enum kvp_matrix_type type;
    uint64_t columns;
    uint8_t *c;
};

/* A sum as an element. An integer's is exact, so it is compared as what it is. */
static bool store_sum(enum kvp_matrix_type type, double sum, uint8_t *at)
{
    if (!kvp_matrix_type_is_float(type)) {
        return kvp_store_integer(type, (int64_t)sum, at);
    }
    if (type == KVP_FLOAT64) {
        memcpy(at, &sum, sizeof(sum));
        return isfinite(sum);
    }
    /* Half way between the largest float32 and 2^128 and from there on, it rounds to infinity. */
    if (!(fabs(sum) < 0x1.ffffffp127)) {
        return false;
    }
    float narrow = (float)sum;
    memcpy(at, &narrow, sizeof(narrow));
    return true;
}

static kvp_status multiply_take_sums(void *context, uint64_t row, uint64_t column, uint64_t count,
                                     const double *sums)
{
    const struct result *result = context;
    size_t size = kvp_matrix_element_size(result->type);
    uint8_t *to = result->c + (row * result->columns + column) * size;
    bool fits = true;
    for (uint64_t i = 0; i < count; i++) {
        fits &= store_sum(result->type, sums[i], to + i * size);
    }
    return fits ? KVP_OK : KVP_OVERFLOW;
}

/* All sums fit 64 bits. */
static kvp_status multiply_int64(const struct kvp_product *product, uint8_t *c)
{
    size_t size = kvp_matrix_element_size(product->type);
    int64_t *sums = calloc((size_t)product->columns, sizeof(*sums));
    bool fits = true;
    if (sums == NULL) {
        return KVP_NO_MEMORY;
    }
    for (uint64_t row = 0; fits && row < product->rows; row++) {
        memset(sums, 0, (size_t)product->columns * sizeof(*sums));
        kvp_product_int64(product, row, sums);
        for (uint64_t column = 0; column < product->columns; column++) {
            fits &= kvp_store_integer(product->type, sums[column],
                                      c + (row * product->columns + column) * size);
        }
    }
    free(sums);
    return fits ? KVP_OK : KVP_OVERFLOW;
}

static kvp_status multiply_wide(const struct kvp_product *product, uint8_t *c)
{
    size_t size = kvp_matrix_element_size(product->type);
    struct kvp_wide *sums = calloc((size_t)product->columns, sizeof(*sums));
    bool fits = true;
    if (sums == NULL) {
        return KVP_NO_MEMORY;
    }
    for (uint64_t row = 0; fits && row < product->rows; row++) {
        memset(sums, 0, (size_t)product->columns * sizeof(*sums));
        kvp_product_wide(product, row, sums);
        for (uint64_t column = 0; column < product->columns; column++) {
            int64_t value;
            fits &= kvp_wide_integer(&sums[column], &value) &&
                    kvp_store_integer(product->type, value,
                                      c + (row * product->columns + column) * size);
        }
    }
    free(sums);
    return fits ? KVP_OK : KVP_OVERFLOW;
}

static kvp_status multiply_blocks(const struct kvp_product *product, uint8_t *c)
{
    struct result result = {product->type, product->columns, c};
    uint64_t bound = kvp_matrix_type_is_float(product->type) ? 0 : kvp_product_bound(product);
    if (bound <= KVP_EXACT_IN_DOUBLE) {
        return kvp_product_double(product, multiply_take_sums, &result);
    }
    return bound <= INT64_MAX ? multiply_int64(product, c) : multiply_wide(product, c);
}

kvp_status kvp_multiply_rows(enum kvp_matrix_type type, uint64_t inner, uint64_t columns,
                             uint64_t row_begin, uint64_t row_end, const void *a, const void *b,
                             void *c)
{
    uint64_t size;
    if (row_begin >= row_end || kvp_matrix_size(type, row_end, inner, &size) != KVP_OK ||
        kvp_matrix_size(type, inner, columns, &size) != KVP_OK ||
        kvp_matrix_size(type, row_end, columns, &size) != KVP_OK) {
        return KVP_BAD_REQUEST;
    }
    size = kvp_matrix_element_size(type);
    const struct kvp_product product = {
        .type = type,
        .rows = row_end - row_begin,
        .inner = inner,
        .columns = columns,
        .a = (const uint8_t *)a + row_begin * inner * size,
        .b = b,
    };
    return multiply_blocks(&product, (uint8_t *)c + row_begin * columns * size);
}

kvp_status kvp_multiply(enum kvp_matrix_type type, uint64_t rows, uint64_t inner, uint64_t columns,
                        const void *a, const void *b, void *c)
{
    return kvp_multiply_rows(type, inner, columns, 0, rows, a, b, c);
}

/* ---- sums ---- */

static bool add_element(enum kvp_matrix_type type, uint8_t *sum, const uint8_t *addend)
{
    if (type == KVP_FLOAT32) {
        float value = kvp_load_float32(sum) + kvp_load_float32(addend);
        memcpy(sum, &value, sizeof(value));
        return isfinite(value);
    }
    if (type == KVP_FLOAT64) {
        double value = kvp_load_float64(sum) + kvp_load_float64(addend);
        memcpy(sum, &value, sizeof(value));
        return isfinite(value);
    }
    int64_t value;
    return !__builtin_add_overflow(kvp_load_integer(type, sum), kvp_load_integer(type, addend),
                                   &value) &&
           kvp_store_integer(type, value, sum);
}

kvp_status kvp_matrix_add(enum kvp_matrix_type type, uint64_t count, void *sum, const void *addend)
{
    size_t size = kvp_matrix_element_size(type);
    bool fits = true;
    for (uint64_t i = 0; i < count; i++) {
        fits &= add_element(type, (uint8_t *)sum + i * size, (const uint8_t *)addend + i * size);
    }
    return fits ? KVP_OK : KVP_OVERFLOW;
}
