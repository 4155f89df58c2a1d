/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of matrices share: random matrices, and a product by definition. */
#ifndef KVP_TEST_MATRIX_SUPPORT_H
#define KVP_TEST_MATRIX_SUPPORT_H

#include "kvpair/matrix.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#define TEXT(literal) kvp_slice_of(literal, sizeof(literal) - 1)

static const enum kvp_matrix_type all_types[KVP_MATRIX_TYPES] = {KVP_INT32, KVP_INT64, KVP_FLOAT32,
                                                                 KVP_FLOAT64};

uint64_t random_next(uint64_t *state);
/* 1 to most */
uint64_t random_count(uint64_t *state, uint64_t most);

/* A matrix of numbers from -size to size; whole ones in integer types. */
struct kvp_matrix random_matrix(uint64_t *state, enum kvp_matrix_type type, uint64_t rows,
                                uint64_t columns, double size);
struct kvp_matrix zero_matrix(enum kvp_matrix_type type, uint64_t rows, uint64_t columns);

double element_get(const struct kvp_matrix *matrix, uint64_t row, uint64_t column);
int64_t element_get_integer(const struct kvp_matrix *matrix, uint64_t row, uint64_t column);
/* The type's nearest; integers exactly. */
void element_set(struct kvp_matrix *matrix, uint64_t row, uint64_t column, double value);
void element_set_integer(struct kvp_matrix *matrix, uint64_t row, uint64_t column, int64_t value);

/* The product by kvp_multiply(), which must succeed. */
struct kvp_matrix product_of(const struct kvp_matrix *a, const struct kvp_matrix *b);

/* Copies to an odd address, for what must not rely on alignment; free `memory`. */
struct unaligned {
    uint8_t *memory;
    kvp_slice bytes;
};
struct unaligned unaligned_copy(kvp_slice bytes);

#endif
