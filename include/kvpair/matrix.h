/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Dense matrices of four types of number, kept as bytes: row after row, without gaps,
 * little-endian. That is the form in a matrix's chunks, in messages and in memory alike, so blocks
 * are copied and never translated. The bytes of a matrix need no alignment.
 *
 * Everything in jobs/matrix*.h is pure: no global, no input or output, no clock; functions touch
 * their arguments only and may run in any thread. A dimension is at least 1.
 */
#ifndef KVP_MATRIX_H
#define KVP_MATRIX_H

#include "kvp_base.h"

#ifdef __cplusplus
extern "C" {
#endif

/* On the wire and in stores they are numbers, for ever. */
enum kvp_matrix_type {
    KVP_INT32 = 0,
    KVP_INT64 = 1,
    KVP_FLOAT32 = 2, /* IEEE 754 binary32 */
    KVP_FLOAT64 = 3, /* IEEE 754 binary64 */
};

#define KVP_MATRIX_TYPES 4

/* A zeroed struct is empty and may be freed. */
struct kvp_matrix {
    enum kvp_matrix_type type;
    uint64_t rows, columns;
    kvp_buf data; /* rows * columns elements */
};

/* A rectangle of a matrix: its upper left element, counted from 0, and its size. */
struct kvp_block {
    uint64_t row, column;
    uint64_t rows, columns;
};

/* Is this number, from a message or a store, one of the four types? */
KVP_API bool kvp_matrix_type_valid(uint64_t type);
KVP_API bool kvp_matrix_type_is_float(enum kvp_matrix_type type);

/* Bytes of one element: 4 or 8. */
KVP_API size_t kvp_matrix_element_size(enum kvp_matrix_type type);

/* "int32", "int64", "float32", "float64": static strings. */
KVP_API const char *kvp_matrix_type_name(enum kvp_matrix_type type);

/* The type of a name; KVP_BAD_REQUEST leaves *type as it was. */
KVP_API kvp_status kvp_matrix_type_of(const char *name, enum kvp_matrix_type *type);

/* Bytes of a matrix. KVP_BAD_REQUEST: an unknown type, or no rows or columns; KVP_TOO_LARGE: more
 * than fit an address space (checked before it is multiplied). On failure *size stays. */
KVP_API kvp_status kvp_matrix_size(enum kvp_matrix_type type, uint64_t rows, uint64_t columns,
                                   uint64_t *size);

/* A matrix of zeros, to be freed by the caller. Fails as kvp_matrix_size() and with KVP_NO_MEMORY;
 * *matrix is then empty. */
KVP_API kvp_status kvp_matrix_new(enum kvp_matrix_type type, uint64_t rows, uint64_t columns,
                                  struct kvp_matrix *matrix);
KVP_API void kvp_matrix_free(struct kvp_matrix *matrix); /* also zeroes the struct; NULL is fine */

/* Copies a block out to contiguous bytes, or in from them: block->rows * block->columns elements
 * that do not overlap the matrix. KVP_BAD_REQUEST: the block is empty or not inside; nothing is
 * copied. */
KVP_API kvp_status kvp_matrix_cut(const struct kvp_matrix *matrix, const struct kvp_block *block,
                                  void *bytes);
KVP_API kvp_status kvp_matrix_paste(struct kvp_matrix *matrix, const struct kvp_block *block,
                                    const void *bytes);

/* Is there a NaN or an infinity among these elements? Integers have none. The size is a multiple of
 * the element's; a rest is not looked at. */
KVP_API bool kvp_matrix_has_nonfinite(enum kvp_matrix_type type, kvp_slice elements);

/*
 * The same numbers in another type, in a new matrix that the caller frees. Every number must be
 * kept exactly (-0.0 may become 0): else KVP_BAD_REQUEST, and `message` (always terminated; may be
 * NULL when message_size is 0) names the first that is not. KVP_NO_MEMORY. On failure *to is empty.
 */
KVP_API kvp_status kvp_matrix_convert(const struct kvp_matrix *from, enum kvp_matrix_type type,
                                      struct kvp_matrix *to, char *message, size_t message_size);

#ifdef __cplusplus
}
#endif

#endif
