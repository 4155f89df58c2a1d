/* SPDX-License-Identifier: Apache-2.0 */
#include "replication/wire/asker.h"

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
