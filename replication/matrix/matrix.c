/* SPDX-License-Identifier: Apache-2.0 */
#include "replication/matrix/matrix_element.h"

#include <math.h>
#include <stdlib.h>

static const struct {
    const char *name;
    size_t size;
} types[KVP_MATRIX_TYPES] = {{"int32", 4}, {"int64", 8}, {"float32", 4}, {"float64", 8}};

bool kvp_matrix_type_valid(uint64_t type)
{
    return type < KVP_MATRIX_TYPES;
}

bool kvp_matrix_type_is_float(enum kvp_matrix_type type)
{
    return type == KVP_FLOAT32 || type == KVP_FLOAT64;
}

size_t kvp_matrix_element_size(enum kvp_matrix_type type)
{
    return kvp_matrix_type_valid(type) ? types[type].size : 0;
}

const char *kvp_matrix_type_name(enum kvp_matrix_type type)
{
    return kvp_matrix_type_valid(type) ? types[type].name : "unknown";
}

kvp_status kvp_matrix_type_of(const char *name, enum kvp_matrix_type *type)
{
    if (name == NULL || type == NULL) {
        return KVP_BAD_ARGUMENT;
    }
    for (int i = 0; i < KVP_MATRIX_TYPES; i++) {
        if (strcmp(name, types[i].name) == 0) {
            *type = (enum kvp_matrix_type)i;
            return KVP_OK;
        }
    }
    return KVP_BAD_REQUEST;
}

kvp_status kvp_matrix_size(enum kvp_matrix_type type, uint64_t rows, uint64_t columns,
                           uint64_t *size)
{
    uint64_t count, bytes;
    if (size == NULL) {
        return KVP_BAD_ARGUMENT;
    }
    if (!kvp_matrix_type_valid(type) || rows == 0 || columns == 0) {
        return KVP_BAD_REQUEST;
    }
    if (__builtin_mul_overflow(rows, columns, &count) ||
        __builtin_mul_overflow(count, types[type].size, &bytes) || bytes > PTRDIFF_MAX) {
        return KVP_TOO_LARGE;
    }
    *size = bytes;
    return KVP_OK;
}

kvp_status kvp_matrix_new(enum kvp_matrix_type type, uint64_t rows, uint64_t columns,
                          struct kvp_matrix *matrix)
{
    uint64_t size;
    if (matrix == NULL) {
        return KVP_BAD_ARGUMENT;
    }
    memset(matrix, 0, sizeof(*matrix));
    kvp_status status = kvp_matrix_size(type, rows, columns, &size);
    if (status != KVP_OK) {
        return status;
    }
    matrix->data.data = calloc(1, (size_t)size);
    if (matrix->data.data == NULL) {
        return KVP_NO_MEMORY;
    }
    matrix->data.size = matrix->data.capacity = (size_t)size;
    matrix->type = type;
    matrix->rows = rows;
    matrix->columns = columns;
    return KVP_OK;
}

void kvp_matrix_free(struct kvp_matrix *matrix)
{
    if (matrix != NULL) {
        kvp_buf_free(&matrix->data);
        memset(matrix, 0, sizeof(*matrix));
    }
}

/* ---- blocks ---- */

static bool block_is_inside(const struct kvp_matrix *matrix, const struct kvp_block *block)
{
    return block->rows > 0 && block->columns > 0 && block->rows <= matrix->rows &&
           block->columns <= matrix->columns && block->row <= matrix->rows - block->rows &&
           block->column <= matrix->columns - block->columns;
}

/* Where a row of the block begins in the matrix's bytes. */
static size_t block_offset(const struct kvp_matrix *matrix, const struct kvp_block *block,
                           uint64_t row)
{
    return (size_t)((block->row + row) * matrix->columns + block->column) *
           types[matrix->type].size;
}

kvp_status kvp_matrix_cut(const struct kvp_matrix *matrix, const struct kvp_block *block,
                          void *bytes)
{
    if (matrix == NULL || block == NULL || bytes == NULL) {
        return KVP_BAD_ARGUMENT;
    }
    if (!block_is_inside(matrix, block)) {
        return KVP_BAD_REQUEST;
    }
    size_t width = (size_t)block->columns * types[matrix->type].size;
    for (uint64_t row = 0; row < block->rows; row++) {
        memcpy((uint8_t *)bytes + row * width, matrix->data.data + block_offset(matrix, block, row),
               width);
    }
    return KVP_OK;
}

kvp_status kvp_matrix_paste(struct kvp_matrix *matrix, const struct kvp_block *block,
                            const void *bytes)
{
    if (matrix == NULL || block == NULL || bytes == NULL) {
        return KVP_BAD_ARGUMENT;
    }
    if (!block_is_inside(matrix, block)) {
        return KVP_BAD_REQUEST;
    }
    size_t width = (size_t)block->columns * types[matrix->type].size;
    for (uint64_t row = 0; row < block->rows; row++) {
        memcpy(matrix->data.data + block_offset(matrix, block, row),
               (const uint8_t *)bytes + row * width, width);
    }
    return KVP_OK;
}

/* ---- elements ---- */

bool kvp_matrix_has_nonfinite(enum kvp_matrix_type type, kvp_slice elements)
{
    if (!kvp_matrix_type_is_float(type)) {
        return false;
    }
    const uint8_t *bytes = elements.data;
    size_t size = types[type].size;
    for (size_t at = 0; at + size <= elements.size; at += size) {
        if (!isfinite(kvp_load_real(type, bytes + at))) {
            return true;
        }
    }
    return false;
}
