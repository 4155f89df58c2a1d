/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading msgpack that a stranger wrote. A cursor over borrowed bytes: nothing is allocated,
 * nothing recurses, and no declared size or count is believed before it is compared with the bytes
 * left.
 *
 * Errors stick: after the first value that is not what was asked for, every read gives zero or
 * empty and `failed` stays set. So a decoder reads all its fields in a row and asks once, at the
 * end.
 */
#ifndef KVP_MP_READER_H
#define KVP_MP_READER_H

#include "kvpair/kvp_base.h"

#define KVP_MP_DEPTH_MAX 8u /* arrays and maps within each other that kvp_mp_skip() follows */

struct kvp_mp_reader {
    const uint8_t *next;
    const uint8_t *end;
    bool failed;
};

enum kvp_mp_type {
    KVP_MP_NONE, /* the end, or bytes that begin no value */
    KVP_MP_NIL,
    KVP_MP_BOOL,
    KVP_MP_UINT, /* an integer >= 0, whatever its width and signedness on the wire */
    KVP_MP_INT,  /* an integer < 0 */
    KVP_MP_FLOAT,
    KVP_MP_STR,
    KVP_MP_BIN,
    KVP_MP_ARRAY,
    KVP_MP_MAP,
    KVP_MP_EXT,
};

void kvp_mp_begin(struct kvp_mp_reader *reader, kvp_slice bytes);

/* The type of the next value, without moving. KVP_MP_NONE after a failure. */
enum kvp_mp_type kvp_mp_peek(const struct kvp_mp_reader *reader);

uint64_t kvp_mp_uint(struct kvp_mp_reader *reader);
uint64_t kvp_mp_uint_max(struct kvp_mp_reader *reader, uint64_t max); /* fails above max */
int64_t kvp_mp_int(struct kvp_mp_reader *reader);                     /* fails above INT64_MAX */
double kvp_mp_double(struct kvp_mp_reader *reader);                   /* a float of 64 bits */
bool kvp_mp_bool(struct kvp_mp_reader *reader);
void kvp_mp_nil(struct kvp_mp_reader *reader);
kvp_slice kvp_mp_str(struct kvp_mp_reader *reader);
kvp_slice kvp_mp_bin(struct kvp_mp_reader *reader);

/* Number of elements (pairs for a map): no more than the bytes left can hold. */
uint32_t kvp_mp_array(struct kvp_mp_reader *reader);
uint32_t kvp_mp_map(struct kvp_mp_reader *reader);

/* The same, but the elements may not all be there: for who looks at the first ones only. */
uint32_t kvp_mp_array_begun(struct kvp_mp_reader *reader);

/* An array of exactly `count` elements. */
void kvp_mp_array_of(struct kvp_mp_reader *reader, uint32_t count);

/* Passes over one whole value and gives its bytes. */
kvp_slice kvp_mp_skip(struct kvp_mp_reader *reader);

void kvp_mp_fail(struct kvp_mp_reader *reader);

/* Nothing failed and nothing is left. */
bool kvp_mp_done(const struct kvp_mp_reader *reader);

#endif
