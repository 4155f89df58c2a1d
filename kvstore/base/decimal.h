/* SPDX-License-Identifier: Apache-2.0 */
/* Whole numbers of 64 bits with a sign, written in decimal: counters, as values of keys. */
#ifndef KVP_DECIMAL_H
#define KVP_DECIMAL_H

#include "kvpair/kvp_base.h"

/* "-9223372036854775808" and the end of a string. */
#define KVP_DECIMAL_SIZE 21u

/* An optional minus and 1 to 19 digits, nothing else. KVP_BAD_REQUEST: it is no such number;
 * KVP_OVERFLOW: one that does not fit. */
kvp_status kvp_decimal_read(kvp_slice text, int64_t *number);

/* The sum of the numbers `left` and `right`, written to `text`. *sum is its bytes, or none after an
 * error: of kvp_decimal_read(), or KVP_OVERFLOW for a sum that does not fit. */
kvp_status kvp_decimal_add(kvp_slice left, kvp_slice right, char text[KVP_DECIMAL_SIZE],
                           kvp_slice *sum);

#endif
