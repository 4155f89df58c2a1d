/* SPDX-License-Identifier: Apache-2.0 */
/* Giving rights, taking them back, and looking at them. */
#include "client/client_priv.h"
#include "replication/wire/wire.h"

#include <string.h>

#define RIGHTS_MAX 64u

static kvp_status client_access_encode(const char *const *rights, size_t count, kvp_buf *array)
{
    kvp_status status = kvp_wire_array(array, (uint32_t)count);
    for (size_t i = 0; i < count && status == KVP_OK; i++) {
        if (rights[i] == NULL) {
            return KVP_BAD_ARGUMENT;
        }
        status = kvp_wire_string(array, rights[i]);
    }
    return status;
}

static kvp_status client_access_change(kvp_client *client, const char *identity, bool grant,
                                       const char *const *rights, size_t count, kvp_result *result)
{
    struct call call = {.core = {.request = {.op = KVP_OP_ACCESS_CHANGE, .force = grant},
                                 .route = CLIENT_TO_PRIMARY,
                                 .update = true}};
    kvp_buf array = {0};
    kvp_status status = client_require(
        client != NULL && identity != NULL && (rights != NULL || count == 0), result);

    if (status != KVP_OK) {
        return status;
    }
    if (count > RIGHTS_MAX) {
        return client_refuse(result, KVP_TOO_LARGE, "at most 64 rights at once");
    }
    status = client_access_encode(rights, count, &array);
    if (status != KVP_OK) {
        kvp_buf_free(&array);
        return client_refuse(result, status, "");
    }
    call.core.request.key = kvp_slice_of(identity, strlen(identity));
    call.core.request.value = kvp_buf_slice(&array);
    status = client_perform(client, &call, 0);
    kvp_buf_free(&array);
    return client_job_end(&call, status, result);
}

kvp_status kvp_access_grant(kvp_client *client, const char *identity, const char *const *rights,
                            size_t count, kvp_result *result)
{
    return client_access_change(client, identity, true, rights, count, result);
}

kvp_status kvp_access_revoke(kvp_client *client, const char *identity, const char *const *rights,
                             size_t count, kvp_result *result)
{
    return client_access_change(client, identity, false, rights, count, result);
}

kvp_status kvp_access_list(kvp_client *client, kvp_result *result)
{
    struct call call = {
        .core = {.request = {.op = KVP_OP_ACCESS_LIST}, .route = CLIENT_TO_PRIMARY}};
    kvp_buf text = {0};
    kvp_status status = client_require(client != NULL, result);

    if (status != KVP_OK) {
        return status;
    }
    status = client_perform(client, &call, 0);
    if (status == KVP_OK) {
        status = kvp_wire_json(kvp_buf_slice(&call.result.value), true, &text);
    }
    if (status != KVP_OK) {
        kvp_buf_free(&text);
        return client_job_end(&call, status, result);
    }
    kvp_buf_free(&call.result.value);
    call.result.value = text;
    client_gather(&call, result);
    return KVP_OK;
}
