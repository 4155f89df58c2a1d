/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/jobs/codec_support.h"

#include <stdlib.h>
#include <string.h>

kvp_slice text(const char *string)
{
    return kvp_slice_of(string, strlen(string));
}

uint8_t *exact(const void *data, size_t size)
{
    uint8_t *copy = malloc(size > 0 ? size : 1);
    assert_non_null(copy);
    if (size > 0) {
        memcpy(copy, data, size);
    }
    return copy;
}
