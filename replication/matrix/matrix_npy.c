/* SPDX-License-Identifier: Apache-2.0 */
/*
 * NumPy's array files: "\x93NUMPY", version, the length of the header, the header, the data. The
 * header is a Python dictionary of exactly three keys; only what NumPy writes into it is
 * understood. https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
 */
#include "replication/matrix/matrix_file.h"
#include "replication/matrix/matrix_element.h"
#include "replication/matrix/matrix_text.h"

#include <math.h>
#include <stdio.h>

#define MAGIC           "\x93NUMPY"
#define MAGIC_SIZE      6u
#define HEADER_SIZE_MAX 65536u
#define DATA_ALIGNMENT  64u
#define DIMENSIONS_MAX  32u /* of any array in NumPy 1 */

struct header {
    enum kvp_matrix_type type;
    bool big_endian, by_columns;
    uint64_t shape[2];
    unsigned dimensions;
    bool has_descr, has_order, has_shape;
};

/* What is left of the header, and where to say what is wrong with it. */
struct reader {
    const char *at, *end;
    const struct kvp_message *message;
};

static kvp_status npy_damaged(const struct reader *reader)
{
    return kvp_refuse(reader->message, KVP_BAD_REQUEST, "the header of the .npy file is damaged");
}

static void skip_space(struct reader *reader)
{
    while (reader->at < reader->end && strchr(" \t\r\n", *reader->at) != NULL &&
           *reader->at != '\0') {
        reader->at++;
    }
}

static bool npy_take(struct reader *reader, const char *text)
{
    size_t size = strlen(text);
    skip_space(reader);
    if ((size_t)(reader->end - reader->at) < size || memcmp(reader->at, text, size) != 0) {
        return false;
    }
    reader->at += size;
    return true;
}

static bool take_string(struct reader *reader, kvp_slice *string)
{
    skip_space(reader);
    if (reader->at == reader->end || (*reader->at != '\'' && *reader->at != '"')) {
        return false;
    }
    const char *begin = reader->at + 1;
    const char *stop = memchr(begin, *reader->at, (size_t)(reader->end - begin));
    if (stop == NULL) {
        return false;
    }
    *string = kvp_slice_of(begin, (size_t)(stop - begin));
    reader->at = stop + 1;
    return true;
}

/* Digits; a trailing L is Python 2's. A number over 2^64 fails. */
static bool take_count(struct reader *reader, uint64_t *count)
{
    skip_space(reader);
    const char *begin = reader->at;
    uint64_t value = 0;
    for (; reader->at < reader->end && *reader->at >= '0' && *reader->at <= '9'; reader->at++) {
        if (__builtin_mul_overflow(value, 10u, &value) ||
            __builtin_add_overflow(value, (uint64_t)(*reader->at - '0'), &value)) {
            return false;
        }
    }
    if (reader->at == begin) {
        return false;
    }
    reader->at += reader->at < reader->end && *reader->at == 'L';
    *count = value;
    return true;
}

static kvp_status read_descr(struct reader *reader, struct header *header)
{
    static const struct {
        const char *name;
        enum kvp_matrix_type type;
    } names[] = {{"i4", KVP_INT32}, {"i8", KVP_INT64}, {"f4", KVP_FLOAT32}, {"f8", KVP_FLOAT64}};
    kvp_slice descr;
    if (npy_take(reader, "[")) {
        return kvp_refuse(reader->message, KVP_BAD_REQUEST,
                          "the array's elements are records, not numbers");
    }
    if (!take_string(reader, &descr)) {
        return npy_damaged(reader);
    }
    const char *text = descr.data;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (descr.size == 3 && strchr("<>=|", text[0]) != NULL && text[0] != '\0' &&
            memcmp(text + 1, names[i].name, 2) == 0) {
            header->type = names[i].type;
            header->big_endian = text[0] == '>';
            header->has_descr = true;
            return KVP_OK;
        }
    }
    return kvp_refuse(reader->message, KVP_BAD_REQUEST,
                      "the array's element type '%s' is not supported: it must be int32, int64, "
                      "float32 or float64",
                      kvp_show(descr).text);
}

/* (3, 4), also (3, 4,) and ( ). */
static kvp_status read_shape(struct reader *reader, struct header *header)
{
    if (!npy_take(reader, "(")) {
        return npy_damaged(reader);
    }
    while (!npy_take(reader, ")")) {
        uint64_t count;
        if (header->dimensions == DIMENSIONS_MAX || !take_count(reader, &count)) {
            return npy_damaged(reader);
        }
        if (header->dimensions < 2) {
            header->shape[header->dimensions] = count;
        }
        header->dimensions++;
        if (!npy_take(reader, ",")) {
            if (!npy_take(reader, ")")) {
                return npy_damaged(reader);
            }
            break;
        }
    }
    header->has_shape = true;
    return KVP_OK;
}

static kvp_status read_order(struct reader *reader, struct header *header)
{
    header->has_order = true;
    header->by_columns = npy_take(reader, "True");
    return header->by_columns || npy_take(reader, "False") ? KVP_OK : npy_damaged(reader);
}

static kvp_status read_item(struct reader *reader, struct header *header)
{
    kvp_slice key;
    if (!take_string(reader, &key) || !npy_take(reader, ":")) {
        return npy_damaged(reader);
    }
    if (kvp_word_is(key, "descr") && !header->has_descr) {
        return read_descr(reader, header);
    }
    if (kvp_word_is(key, "fortran_order") && !header->has_order) {
        return read_order(reader, header);
    }
    if (kvp_word_is(key, "shape") && !header->has_shape) {
        return read_shape(reader, header);
    }
    return npy_damaged(reader);
}

static kvp_status read_header(struct reader *reader, struct header *header)
{
    memset(header, 0, sizeof(*header));
    if (!npy_take(reader, "{")) {
        return npy_damaged(reader);
    }
    while (!npy_take(reader, "}")) {
        kvp_status status = read_item(reader, header);
        if (status != KVP_OK) {
            return status;
        }
        if (!npy_take(reader, ",")) {
            if (!npy_take(reader, "}")) {
                return npy_damaged(reader);
            }
            break;
        }
    }
    skip_space(reader);
    if (reader->at != reader->end || !header->has_descr || !header->has_order ||
        !header->has_shape) {
        return npy_damaged(reader);
    }
    return KVP_OK;
}

/* Finds header and data in the file. */
static kvp_status split(kvp_slice file, struct reader *reader, kvp_slice *data)
{
    const uint8_t *bytes = file.data;
    if (file.size < MAGIC_SIZE + 2 || memcmp(bytes, MAGIC, MAGIC_SIZE) != 0) {
        return kvp_refuse(reader->message, KVP_BAD_REQUEST, "this is not an .npy file");
    }
    unsigned version = bytes[MAGIC_SIZE];
    if (version < 1 || version > 3) {
        return kvp_refuse(reader->message, KVP_BAD_REQUEST,
                          "version %u of the .npy format is not supported", version);
    }
    size_t begin = MAGIC_SIZE + 2 + (version == 1 ? 2 : 4);
    if (file.size < begin) {
        return kvp_refuse(reader->message, KVP_BAD_REQUEST, "the .npy file ends in its header");
    }
    uint32_t size = bytes[8] | (uint32_t)bytes[9] << 8;
    if (version > 1) {
        size |= (uint32_t)bytes[10] << 16 | (uint32_t)bytes[11] << 24;
    }
    if (size > HEADER_SIZE_MAX) {
        return kvp_refuse(reader->message, KVP_BAD_REQUEST,
                          "the header of the .npy file claims %u bytes; at most %u are read", size,
                          HEADER_SIZE_MAX);
    }
    if (file.size - begin < size) {
        return kvp_refuse(reader->message, KVP_BAD_REQUEST, "the .npy file ends in its header");
    }
    reader->at = (const char *)bytes + begin;
    reader->end = reader->at + size;
    *data = kvp_slice_of(reader->end, file.size - begin - size);
    return KVP_OK;
}

static kvp_status check_shape(const struct header *header, kvp_slice data, uint64_t size_max,
                              const struct kvp_message *message)
{
    uint64_t size = 0;
    if (header->dimensions != 2) {
        return kvp_refuse(message, KVP_BAD_REQUEST,
                          "the array has %u dimension%s; a matrix has two: reshape it to "
                          "(rows, columns)",
                          header->dimensions, header->dimensions == 1 ? "" : "s");
    }
    kvp_status status =
        kvp_admit(header->type, header->shape[0], header->shape[1], size_max, message);
    if (status != KVP_OK) {
        return status;
    }
    (void)kvp_matrix_size(header->type, header->shape[0], header->shape[1], &size);
    if (size != data.size) {
        return kvp_refuse(message, KVP_BAD_REQUEST,
                          "the .npy file has %llu bytes of data, but its shape (%llu, %llu) of %s "
                          "needs %llu",
                          (unsigned long long)data.size, (unsigned long long)header->shape[0],
                          (unsigned long long)header->shape[1], kvp_matrix_type_name(header->type),
                          (unsigned long long)size);
    }
    return KVP_OK;
}

static void copy_element(const uint8_t *from, uint8_t *to, size_t size, bool swap)
{
    for (size_t i = 0; i < size; i++) {
        to[i] = from[swap ? size - 1 - i : i];
    }
}

static void copy_data(const struct header *header, kvp_slice data, struct kvp_matrix *matrix)
{
    const uint8_t *from = data.data;
    uint8_t *to = matrix->data.data;
    size_t size = kvp_matrix_element_size(matrix->type);
    uint64_t rows = matrix->rows, columns = matrix->columns;
    if (!header->by_columns && !header->big_endian) {
        memcpy(to, from, data.size);
        return;
    }
    for (uint64_t row = 0; row < rows; row++) {
        for (uint64_t column = 0; column < columns; column++) {
            uint64_t index = header->by_columns ? column * rows + row : row * columns + column;
            copy_element(from + index * size, to + (row * columns + column) * size, size,
                         header->big_endian);
        }
    }
}

static kvp_status refuse_nonfinite(struct kvp_matrix *matrix, const struct kvp_message *message)
{
    size_t size = kvp_matrix_element_size(matrix->type);
    uint64_t index = 0, columns = matrix->columns;
    while (isfinite(kvp_load_real(matrix->type, matrix->data.data + index * size))) {
        index++;
    }
    kvp_matrix_free(matrix);
    return kvp_refuse(message, KVP_BAD_REQUEST, "row %llu, column %llu is not a finite number",
                      (unsigned long long)(index / columns + 1),
                      (unsigned long long)(index % columns + 1));
}

kvp_status kvp_npy_read(kvp_slice file, uint64_t size_max, struct kvp_matrix *matrix, char *message,
                        size_t message_size)
{
    const struct kvp_message text = {message, message_size};
    struct reader reader = {.message = &text};
    struct header header;
    kvp_slice data = {0};
    memset(matrix, 0, sizeof(*matrix));
    kvp_status status = split(file, &reader, &data);
    if (status == KVP_OK) {
        status = read_header(&reader, &header);
    }
    if (status == KVP_OK) {
        status = check_shape(&header, data, size_max, &text);
    }
    if (status == KVP_OK) {
        status =
            kvp_admit_new(header.type, header.shape[0], header.shape[1], size_max, matrix, &text);
    }
    if (status != KVP_OK) {
        return status;
    }
    copy_data(&header, data, matrix);
    if (kvp_matrix_has_nonfinite(matrix->type, kvp_buf_slice(&matrix->data))) {
        return refuse_nonfinite(matrix, &text);
    }
    return KVP_OK;
}

kvp_status kvp_npy_write_header(enum kvp_matrix_type type, uint64_t rows, uint64_t columns,
                                kvp_buf *file)
{
    static const char *const descrs[KVP_MATRIX_TYPES] = {"<i4", "<i8", "<f4", "<f8"};
    char text[3 * DATA_ALIGNMENT];
    const size_t before = MAGIC_SIZE + 4;
    int used = snprintf(text, sizeof(text),
                        "{'descr': '%s', 'fortran_order': False, 'shape': (%llu, %llu), }",
                        descrs[type], (unsigned long long)rows, (unsigned long long)columns);
    size_t whole = before + (size_t)used + 1;
    whole = (whole + DATA_ALIGNMENT - 1) / DATA_ALIGNMENT * DATA_ALIGNMENT;
    size_t size = whole - before;
    memset(text + used, ' ', size - (size_t)used);
    text[size - 1] = '\n';
    const uint8_t begin[] = {0x93, 'N', 'U', 'M',           'P',
                             'Y',  1,   0,   (uint8_t)size, (uint8_t)(size >> 8)};
    kvp_status status = kvp_buf_reserve(file, whole);
    if (status == KVP_OK) {
        (void)kvp_buf_append(file, begin, sizeof(begin));
        (void)kvp_buf_append(file, text, size);
    }
    return status;
}

kvp_status kvp_npy_write(const struct kvp_matrix *matrix, kvp_buf *file)
{
    size_t before = file->size;
    kvp_status status = kvp_npy_write_header(matrix->type, matrix->rows, matrix->columns, file);
    if (status == KVP_OK) {
        status = kvp_buf_append(file, matrix->data.data, matrix->data.size);
    }
    if (status != KVP_OK) {
        file->size = before;
    }
    return status;
}
