/* SPDX-License-Identifier: Apache-2.0 */
#include "replication/matrix/matrix_element.h"
#include "replication/matrix/matrix_text.h"

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
        memcpy((uint8_t *)bytes + row * width,
               matrix->data.data + block_offset(matrix, block, row), width);
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

static bool integer_to_real(int64_t value, enum kvp_matrix_type type, uint8_t *to)
{
    /* Compared as double: the nearest to INT64_MAX is 2^63, which is no int64. */
    if (type == KVP_FLOAT32) {
        float narrow = (float)value;
        memcpy(to, &narrow, sizeof(narrow));
        return narrow < 0x1p63f && (int64_t)narrow == value;
    }
    double real = (double)value;
    memcpy(to, &real, sizeof(real));
    return real < 0x1p63 && (int64_t)real == value;
}

static bool real_to_any(double value, enum kvp_matrix_type type, uint8_t *to)
{
    if (type == KVP_FLOAT64) {
        memcpy(to, &value, sizeof(value));
        return true;
    }
    if (type == KVP_FLOAT32) {
        if (!(fabs(value) <= (double)0x1.fffffep127f)) {
            return false;
        }
        float narrow = (float)value;
        memcpy(to, &narrow, sizeof(narrow));
        return (double)narrow == value;
    }
    if (!(value >= -0x1p63 && value < 0x1p63) || value != trunc(value)) {
        return false;
    }
    return kvp_store_integer(type, (int64_t)value, to);
}

static bool element_convert(enum kvp_matrix_type from_type, const uint8_t *from,
                            enum kvp_matrix_type type, uint8_t *to)
{
    if (kvp_matrix_type_is_float(from_type)) {
        return real_to_any(kvp_load_real(from_type, from), type, to);
    }
    int64_t value = kvp_load_integer(from_type, from);
    return kvp_matrix_type_is_float(type) ? integer_to_real(value, type, to)
                                          : kvp_store_integer(type, value, to);
}

static kvp_status refuse_element(const struct kvp_matrix *from, uint64_t index,
                                 enum kvp_matrix_type type, const struct kvp_message *message)
{
    char number[KVP_ELEMENT_TEXT_MAX];
    (void)kvp_element_text(from->type, from->data.data + index * types[from->type].size, number);
    return kvp_refuse(message, KVP_BAD_REQUEST,
                      "row %llu, column %llu: %s cannot be kept exactly as %s",
                      (unsigned long long)(index / from->columns + 1),
                      (unsigned long long)(index % from->columns + 1), number, types[type].name);
}

kvp_status kvp_matrix_convert(const struct kvp_matrix *from, enum kvp_matrix_type type,
                              struct kvp_matrix *to, char *message, size_t message_size)
{
    const struct kvp_message text = {message, message_size};
    if (from == NULL || to == NULL) {
        return kvp_refuse(&text, KVP_BAD_ARGUMENT, "no matrix is given");
    }
    kvp_status status = kvp_matrix_new(type, from->rows, from->columns, to);
    if (status != KVP_OK) {
        return kvp_refuse(&text, status, "%s", kvp_strerror(status));
    }
    uint64_t count = from->rows * from->columns;
    for (uint64_t i = 0; i < count; i++) {
        if (!element_convert(from->type, from->data.data + i * types[from->type].size, type,
                             to->data.data + i * types[type].size)) {
            kvp_matrix_free(to);
            return refuse_element(from, i, type, &text);
        }
    }
    return KVP_OK;
}
