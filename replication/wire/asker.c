/* SPDX-License-Identifier: Apache-2.0 */
#include "replication/wire/asker.h"

#include <string.h>

kvp_status kvp_key_check(kvp_slice key, const char **reason)
{
    if (key.size == 0 || key.data == NULL) {
        *reason = "the key is empty";
        return KVP_BAD_ARGUMENT;
    }
    *reason = "the key is longer than 1024 bytes";
    return key.size > KVP_KEY_SIZE_MAX ? KVP_TOO_LARGE : KVP_OK;
}

kvp_status kvp_value_check(kvp_slice value, const char **reason)
{
    if (value.size > 0 && value.data == NULL) {
        *reason = "the value is missing";
        return KVP_BAD_ARGUMENT;
    }
    *reason = "the value is longer than 1 MiB";
    return value.size > KVP_VALUE_SIZE_MAX ? KVP_TOO_LARGE : KVP_OK;
}

kvp_status kvp_range_check(kvp_slice start, kvp_slice end, const char **reason)
{
    if ((start.size > 0 && start.data == NULL) || (end.size > 0 && end.data == NULL)) {
        *reason = "the range is missing";
        return KVP_BAD_ARGUMENT;
    }
    *reason = "the key is longer than 1024 bytes";
    return start.size > KVP_KEY_SIZE_MAX || end.size > KVP_KEY_SIZE_MAX ? KVP_TOO_LARGE : KVP_OK;
}

/* The prefix with its last byte that can be raised raised. */
kvp_slice kvp_prefix_end(kvp_slice prefix, uint8_t end[KVP_KEY_SIZE_MAX])
{
    size_t size = prefix.size;
    if (size > 0) {
        memcpy(end, prefix.data, size);
    }
    while (size > 0 && end[size - 1] == UINT8_MAX) {
        size--;
    }
    if (size > 0) {
        end[size - 1]++;
    }
    return kvp_slice_of(end, size);
}

void kvp_reason_set(kvp_buf *reason, kvp_slice text)
{
    kvp_buf_free(reason);
    if (text.size == 0) {
        return;
    }
    if (kvp_buf_append(reason, text.data, text.size) == KVP_OK &&
        kvp_buf_append(reason, "", 1) == KVP_OK) {
        reason->size--;
    } else {
        kvp_buf_free(reason);
    }
}

const char *kvp_reason_text(const kvp_buf *reason)
{
    return reason->data != NULL ? (const char *)reason->data : "";
}
