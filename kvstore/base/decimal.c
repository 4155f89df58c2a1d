/* SPDX-License-Identifier: Apache-2.0 */
#include "kvstore/base/decimal.h"

#include <inttypes.h>
#include <stdio.h>

#define DIGITS_MAX 19u /* of 2^63 */

kvp_status kvp_decimal_read(kvp_slice text, int64_t *number)
{
    const uint8_t *bytes = text.data;
    size_t at = text.size > 0 && bytes[0] == '-' ? 1 : 0;
    bool negative = at == 1;
    uint64_t limit = (uint64_t)INT64_MAX + (negative ? 1 : 0), value = 0;
    if (text.size == at) {
        return KVP_BAD_REQUEST;
    }
    for (; at < text.size; at++) {
        if (bytes[at] < '0' || bytes[at] > '9' || text.size > DIGITS_MAX + 1) {
            return KVP_BAD_REQUEST;
        }
        uint64_t digit = bytes[at] - '0';
        if (value > (limit - digit) / 10) {
            return KVP_OVERFLOW;
        }
        value = value * 10 + digit;
    }
    *number = negative ? (int64_t)(0 - value) : (int64_t)value;
    return KVP_OK;
}

kvp_status kvp_decimal_add(kvp_slice left, kvp_slice right, char text[KVP_DECIMAL_SIZE],
                           kvp_slice *sum)
{
    int64_t a = 0, b = 0, both = 0;
    *sum = kvp_slice_of(NULL, 0);
    kvp_status status = kvp_decimal_read(left, &a);
    if (status == KVP_OK) {
        status = kvp_decimal_read(right, &b);
    }
    if (status == KVP_OK && __builtin_add_overflow(a, b, &both)) {
        status = KVP_OVERFLOW;
    }
    if (status == KVP_OK) {
        int size = snprintf(text, KVP_DECIMAL_SIZE, "%" PRId64, both);
        *sum = kvp_slice_of(text, (size_t)size);
    }
    return status;
}
