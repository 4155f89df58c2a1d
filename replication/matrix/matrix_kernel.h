/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Products of matrices before they are rounded to a type. Inside the matrix files only.
 *
 * There is one fast kernel, in float64, for all types: float32 operands are exact in it, and so are
 * integers as long as no sum can leave +-2^53, which kvp_product_bound() tells beforehand. Larger
 * integers are multiplied in 64 bits, or exactly in kvp_wide.
 */
#ifndef KVP_MATRIX_KERNEL_H
#define KVP_MATRIX_KERNEL_H

#include "replication/matrix/matrix_element.h"

#define KVP_EXACT_IN_DOUBLE ((uint64_t)1 << 53)
#define KVP_SCALE           0x1p-64

/* Operands as in matrix_multiply.h; the kernels write to their caller's sums only. */
struct kvp_product {
    enum kvp_matrix_type type;
    uint64_t rows, inner, columns;
    const uint8_t *a, *b;
    /* For checks of floats by kvp_product_double(); zero for the product itself. */
    bool scaled;     /* multiply b by KVP_SCALE, so that no sum overflows if no product does */
    bool magnitudes; /* and take |a| and |b|, plus what may have been lost by that */
};

/* Takes the sums of one row from a column on; any other status than KVP_OK ends the product. */
typedef kvp_status (*kvp_take_sums)(void *context, uint64_t row, uint64_t column, uint64_t count,
                                    const double *sums);

/* Every element's sum in float64, in the order that matrix_multiply.h promises. KVP_NO_MEMORY. */
kvp_status kvp_product_double(const struct kvp_product *product, kvp_take_sums take, void *context);

/* Integers: no sum of products of any part of a row and a column is larger in magnitude;
 * UINT64_MAX stands for all numbers from there on. */
uint64_t kvp_product_bound(const struct kvp_product *product);

/* Integers: adds one row's products to sums[columns]; the bound must be INT64_MAX at most. */
void kvp_product_int64(const struct kvp_product *product, uint64_t row, int64_t *sums);
/* The same for any integers. */
void kvp_product_wide(const struct kvp_product *product, uint64_t row, struct kvp_wide *sums);

#endif
