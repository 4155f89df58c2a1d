/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The arithmetic of a matrix product's tiles.
 *
 * Operands and results are contiguous elements, rows one after the other, without alignment: a is
 * rows x inner, b is inner x columns, c is rows x columns. Their sizes are the caller's duty:
 * overlap or less memory than that is undefined. Dimensions are at least 1.
 *
 * Integers: the result is exact, and KVP_OVERFLOW says that an element of the true product does not
 * fit the type; what happens on the way to it does not matter.
 *
 * Floats: every element is the sum of its products in rising order of the inner index, starting
 * from +0.0, each product and each sum rounded to float64; a float32 result is rounded once more,
 * at the end. So results have the same bits wherever this code runs, and however the rows were
 * sliced. They depend on how the inner dimension was cut. A NaN or an infinity in the result is
 * KVP_OVERFLOW.
 *
 * After KVP_OVERFLOW the contents of the result are undefined.
 */
#ifndef KVP_MATRIX_MULTIPLY_H
#define KVP_MATRIX_MULTIPLY_H

#include "kvpair/matrix.h"

/* c = a * b. KVP_OVERFLOW, KVP_NO_MEMORY (about 1 MiB is used, whatever the shape, and 32 bytes a
 * column for large integers); KVP_BAD_REQUEST: an unknown type or an impossible shape. */
kvp_status kvp_multiply(enum kvp_matrix_type type, uint64_t rows, uint64_t inner, uint64_t columns,
                        const void *a, const void *b, void *c);

/* The rows [row_begin, row_end) of the same product, to slice a long computation: a and c are the
 * whole operands, only those rows of c are written. Slices of 64 rows cost no extra
 * time. */
kvp_status kvp_multiply_rows(enum kvp_matrix_type type, uint64_t inner, uint64_t columns,
                             uint64_t row_begin, uint64_t row_end, const void *a, const void *b,
                             void *c);

/* sum += addend, element by element, to combine products over parts of the inner dimension; floats
 * are added in their own type. KVP_OVERFLOW as above: a sum of parts that fit may not fit. */
kvp_status kvp_matrix_add(enum kvp_matrix_type type, uint64_t count, void *sum, const void *addend);

#endif
