/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Elements of a matrix, one at a time, from bytes without alignment; and 128-bit integers, which
 * the sums of 64-bit products need. Inside the matrix files only.
 */
#ifndef KVP_MATRIX_ELEMENT_H
#define KVP_MATRIX_ELEMENT_H

#include "kvpair/matrix.h"

#include <string.h>

#if !defined(__BYTE_ORDER__) || __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the elements of a matrix are the bytes in memory: this needs a little-endian machine"
#endif
_Static_assert(sizeof(float) == 4 && sizeof(double) == 8, "IEEE 754 single and double");

__extension__ typedef __int128 kvp_i128;
__extension__ typedef unsigned __int128 kvp_u128;

static inline int32_t kvp_load_int32(const uint8_t *at)
{
    int32_t value;
    memcpy(&value, at, sizeof(value));
    return value;
}

static inline int64_t kvp_load_int64(const uint8_t *at)
{
    int64_t value;
    memcpy(&value, at, sizeof(value));
    return value;
}

static inline float kvp_load_float32(const uint8_t *at)
{
    float value;
    memcpy(&value, at, sizeof(value));
    return value;
}

static inline double kvp_load_float64(const uint8_t *at)
{
    double value;
    memcpy(&value, at, sizeof(value));
    return value;
}

/* An element of an integer type. */
static inline int64_t kvp_load_integer(enum kvp_matrix_type type, const uint8_t *at)
{
    return type == KVP_INT32 ? kvp_load_int32(at) : kvp_load_int64(at);
}

/* An element of a floating type. */
static inline double kvp_load_real(enum kvp_matrix_type type, const uint8_t *at)
{
    return type == KVP_FLOAT32 ? (double)kvp_load_float32(at) : kvp_load_float64(at);
}

/* Stores an integer in an integer type; false if it does not fit. */
static inline bool kvp_store_integer(enum kvp_matrix_type type, int64_t value, uint8_t *at)
{
    if (type == KVP_INT64) {
        memcpy(at, &value, sizeof(value));
        return true;
    }
    int32_t narrow = (int32_t)value;
    memcpy(at, &narrow, sizeof(narrow));
    return narrow == value;
}

/*
 * The exact sum of up to 2^62 products of two 64-bit numbers, of which at most one is unsigned: the
 * products' upper and lower halves, added apart. Its value is high * 2^64 + low.
 */
struct kvp_wide {
    kvp_u128 low;
    kvp_i128 high;
};

static inline void kvp_wide_add(struct kvp_wide *sum, kvp_i128 product)
{
    sum->low += (uint64_t)product;
    sum->high += (int64_t)(product >> 64);
}

/* The sum as a 64-bit integer; false if it does not fit. */
static inline bool kvp_wide_integer(const struct kvp_wide *sum, int64_t *value)
{
    kvp_i128 high = sum->high + (kvp_i128)(sum->low >> 64);
    *value = (int64_t)(uint64_t)sum->low;
    return high == (*value < 0 ? -1 : 0);
}

#endif
