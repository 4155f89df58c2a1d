/* SPDX-License-Identifier: Apache-2.0 */
/* A matrix with elements of another type: exactly the same numbers, or none at all. */
#include "replication/matrix/matrix_element.h"
#include "replication/matrix/matrix_text.h"

#include <math.h>

static bool convert_integer(int64_t value, enum kvp_matrix_type type, uint8_t *to)
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

static bool convert_real(double value, enum kvp_matrix_type type, uint8_t *to)
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

static bool convert_element(enum kvp_matrix_type from_type, const uint8_t *from,
                            enum kvp_matrix_type type, uint8_t *to)
{
    if (kvp_matrix_type_is_float(from_type)) {
        return convert_real(kvp_load_real(from_type, from), type, to);
    }
    int64_t value = kvp_load_integer(from_type, from);
    return kvp_matrix_type_is_float(type) ? convert_integer(value, type, to)
                                          : kvp_store_integer(type, value, to);
}

static kvp_status convert_refuse(const struct kvp_matrix *from, uint64_t index,
                                 enum kvp_matrix_type type, const struct kvp_message *message)
{
    char number[KVP_ELEMENT_TEXT_MAX];
    const uint8_t *element = from->data.data + index * kvp_matrix_element_size(from->type);
    (void)kvp_element_text(from->type, element, number);
    return kvp_refuse(
        message, KVP_BAD_REQUEST, "row %llu, column %llu: %s cannot be kept exactly as %s",
        (unsigned long long)(index / from->columns + 1),
        (unsigned long long)(index % from->columns + 1), number, kvp_matrix_type_name(type));
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
    size_t from_size = kvp_matrix_element_size(from->type), size = kvp_matrix_element_size(type);
    for (uint64_t i = 0; i < count; i++) {
        if (!convert_element(from->type, from->data.data + i * from_size, type,
                             to->data.data + i * size)) {
            kvp_matrix_free(to);
            return convert_refuse(from, i, type, &text);
        }
    }
    return KVP_OK;
}
