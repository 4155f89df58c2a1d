/* SPDX-License-Identifier: Apache-2.0 */
#include "kvstore/base/options.h"

#include <stdio.h>
#include <string.h>

#define OPTIONS_SIZE_MAX                                                                           \
    4096u /* no release will have a larger one; a size that was not set may be any */

static bool options_are_zero(const uint8_t *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        if (bytes[i] != 0) {
            return false;
        }
    }
    return true;
}

kvp_status kvp_options_take(void *to, size_t size, const void *from, size_t size_first,
                            const char *init, char *message, size_t message_size)
{
    size_t given;
    char unwanted[1];
    if (message == NULL || message_size == 0) {
        message = unwanted;
        message_size = sizeof(unwanted);
    }
    if (from == NULL) {
        snprintf(message, message_size, "no options are given");
        return KVP_BAD_ARGUMENT;
    }
    memcpy(&given, from, sizeof(given));
    if (given < size_first || given > OPTIONS_SIZE_MAX) {
        snprintf(message, message_size, "the size of the options was not set: begin with %s()",
                 init);
        return KVP_BAD_ARGUMENT;
    }
    if (given > size && !options_are_zero((const uint8_t *)from + size, given - size)) {
        snprintf(message, message_size,
                 "the program sets options that this release of the library (%s) does not know: it "
                 "was built for a newer one",
                 KVP_VERSION_STRING);
        return KVP_BAD_ARGUMENT;
    }
    memset(to, 0, size);
    memcpy(to, from, given < size ? given : size);
    return KVP_OK;
}
