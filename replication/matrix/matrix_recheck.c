/* SPDX-License-Identifier: Apache-2.0 */
#include "replication/matrix/matrix_verify.h"
#include "replication/matrix/matrix_kernel.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>

struct kvp_recheck {
    enum kvp_matrix_type type;
    uint64_t rows, inner, columns;
    uint64_t left; /* of inner */
    double factor;
    struct kvp_wide *exact;    /* integers */
    double *sums, *magnitudes; /* floats: AB and |A||B|, times KVP_SCALE */
};

kvp_status kvp_recheck_new(enum kvp_matrix_type type, uint64_t rows, uint64_t inner,
                           uint64_t columns, double factor, struct kvp_recheck **recheck)
{
    uint64_t size;
    *recheck = NULL;
    kvp_status status = kvp_matrix_size(type, rows, columns, &size);
    if (status != KVP_OK || inner == 0 || !isfinite(factor) || factor < 0) {
        return status != KVP_OK ? status : KVP_BAD_REQUEST;
    }
    struct kvp_recheck *made = calloc(1, sizeof(*made));
    if (made == NULL) {
        return KVP_NO_MEMORY;
    }
    size_t count = (size_t)(rows * columns);
    *made = (struct kvp_recheck){.type = type, .rows = rows, .inner = inner, .columns = columns};
    made->left = inner;
    made->factor = factor > 0 ? factor : 1;
    if (kvp_matrix_type_is_float(type)) {
        made->sums = calloc(count, sizeof(*made->sums));
        made->magnitudes = calloc(count, sizeof(*made->magnitudes));
    } else {
        made->exact = calloc(count, sizeof(*made->exact));
    }
    if (made->exact == NULL && (made->sums == NULL || made->magnitudes == NULL)) {
        kvp_recheck_free(made);
        return KVP_NO_MEMORY;
    }
    *recheck = made;
    return KVP_OK;
}

void kvp_recheck_free(struct kvp_recheck *recheck)
{
    if (recheck != NULL) {
        free(recheck->exact);
        free(recheck->sums);
        free(recheck->magnitudes);
        free(recheck);
    }
}

/* ---- feeding ---- */

/* Where the sums of a product are added. */
struct totals {
    uint64_t columns;
    double *reals;
    struct kvp_wide *exact;
};

static kvp_status recheck_take_sums(void *context, uint64_t row, uint64_t column, uint64_t count,
                                    const double *sums)
{
    const struct totals *totals = context;
    uint64_t at = row * totals->columns + column;
    for (uint64_t i = 0; i < count; i++) {
        if (totals->exact != NULL) {
            kvp_wide_add(&totals->exact[at + i], (int64_t)sums[i]);
        } else {
            totals->reals[at + i] += sums[i];
        }
    }
    return KVP_OK;
}

static kvp_status feed_integers(struct kvp_recheck *recheck, const struct kvp_product *product)
{
    struct totals totals = {.columns = recheck->columns, .exact = recheck->exact};
    if (kvp_product_bound(product) <= KVP_EXACT_IN_DOUBLE) {
        return kvp_product_double(product, recheck_take_sums, &totals);
    }
    for (uint64_t row = 0; row < recheck->rows; row++) {
        kvp_product_wide(product, row, recheck->exact + row * recheck->columns);
    }
    return KVP_OK;
}

static kvp_status feed_reals(struct kvp_recheck *recheck, struct kvp_product *product)
{
    struct totals totals = {.columns = recheck->columns, .reals = recheck->sums};
    product->scaled = true;
    kvp_status status = kvp_product_double(product, recheck_take_sums, &totals);
    if (status != KVP_OK) {
        return status;
    }
    totals.reals = recheck->magnitudes;
    product->magnitudes = true;
    return kvp_product_double(product, recheck_take_sums, &totals);
}

/* Are these the bytes of rows x columns elements? */
static bool has_shape(const struct kvp_recheck *recheck, kvp_slice elements, uint64_t rows,
                      uint64_t columns)
{
    uint64_t size;
    return kvp_matrix_size(recheck->type, rows, columns, &size) == KVP_OK && elements.size == size;
}

kvp_status kvp_recheck_feed(struct kvp_recheck *recheck, uint64_t count, kvp_slice a, kvp_slice b)
{
    if (!has_shape(recheck, a, recheck->rows, count) ||
        !has_shape(recheck, b, count, recheck->columns)) {
        return KVP_BAD_REQUEST;
    }
    if (count > recheck->left) {
        return KVP_BAD_ARGUMENT;
    }
    struct kvp_product product = {
        .type = recheck->type,
        .rows = recheck->rows,
        .inner = count,
        .columns = recheck->columns,
        .a = a.data,
        .b = b.data,
    };
    recheck->left -= count;
    return recheck->exact != NULL ? feed_integers(recheck, &product)
                                  : feed_reals(recheck, &product);
}

/* ---- the verdict ---- */

static bool element_passes(const struct kvp_recheck *recheck, uint64_t index, const uint8_t *c)
{
    int64_t exact;
    if (recheck->exact != NULL) {
        return kvp_wide_integer(&recheck->exact[index], &exact) &&
               exact == kvp_load_integer(recheck->type, c);
    }
    bool is_single = recheck->type == KVP_FLOAT32;
    double n = (double)recheck->inner, u = is_single ? 0x1p-24 : 0x1p-53;
    double relative = 1.01 * ((n + 2) * u + (2 * n + 16) * 0x1p-53);
    double bound = recheck->factor * relative * recheck->magnitudes[index] +
                   n * KVP_SCALE * (is_single ? (double)FLT_MIN : DBL_MIN) + 4 * (n + 1) * DBL_MIN;
    double difference = kvp_load_real(recheck->type, c) * KVP_SCALE - recheck->sums[index];
    return isfinite(bound) && fabs(difference) <= bound;
}

kvp_status kvp_recheck_finish(const struct kvp_recheck *recheck, kvp_slice c, uint64_t *row,
                              uint64_t *column)
{
    if (!has_shape(recheck, c, recheck->rows, recheck->columns)) {
        return KVP_BAD_REQUEST;
    }
    if (recheck->left > 0) {
        return KVP_BAD_ARGUMENT;
    }
    size_t size = kvp_matrix_element_size(recheck->type);
    for (uint64_t i = 0; i < recheck->rows * recheck->columns; i++) {
        if (!element_passes(recheck, i, (const uint8_t *)c.data + i * size)) {
            if (row != NULL) {
                *row = i / recheck->columns;
            }
            if (column != NULL) {
                *column = i % recheck->columns;
            }
            return KVP_CORRUPT;
        }
    }
    return KVP_OK;
}
