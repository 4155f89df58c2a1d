/* SPDX-License-Identifier: Apache-2.0 */
/* The operations on one key, and those of an administrator. */
#include "client/client_priv.h"

#include <stdlib.h>
#include <string.h>

void client_gather(struct call *call, kvp_result *result)
{
    if (result != NULL) {
        *result = call->result;
    } else {
        kvp_result_free(&call->result);
    }
}

static kvp_status calls_perform(kvp_client *client, struct call *call, kvp_result *result)
{
    kvp_status status = client_perform(client, call, 0);
    client_gather(call, result);
    return status;
}

static struct call call_of(unsigned op, kvp_slice key, kvp_slice value, uint64_t version)
{
    struct call call = {
        .core = {.request = {.op = op, .key = key, .value = value, .version = version},
                 .route = CLIENT_TO_PRIMARY,
                 .update = kvp_operation_of(op)->session != KVP_SESSION_NO},
    };

    return call;
}

static struct call get_of(kvp_slice key, bool stale)
{
    struct call call = call_of(KVP_OP_GET, key, kvp_slice_of(NULL, 0), 0);
    call.core.request.stale = stale;
    call.core.route = stale ? CLIENT_TO_ANY : CLIENT_TO_PRIMARY;
    return call;
}

/* ---- synchronous ---- */

static kvp_status perform_checked(kvp_client *client, struct call call, kvp_result *result)
{
    kvp_status status = client_check_key(call.core.request.key, result);
    status = status == KVP_OK ? client_check_value(call.core.request.value, result) : status;
    return status == KVP_OK ? calls_perform(client, &call, result) : status;
}

kvp_status kvp_get(kvp_client *client, kvp_slice key, kvp_result *result)
{
    return perform_checked(client, get_of(key, false), result);
}

kvp_status kvp_get_stale(kvp_client *client, kvp_slice key, kvp_result *result)
{
    return perform_checked(client, get_of(key, true), result);
}

kvp_status kvp_put(kvp_client *client, kvp_slice key, kvp_slice value, kvp_result *result)
{
    return perform_checked(client, call_of(KVP_OP_PUT, key, value, 0), result);
}

kvp_status kvp_create(kvp_client *client, kvp_slice key, kvp_slice value, kvp_result *result)
{
    return perform_checked(client, call_of(KVP_OP_CREATE, key, value, 0), result);
}

kvp_status kvp_delete(kvp_client *client, kvp_slice key, uint64_t version, kvp_result *result)
{
    return perform_checked(client, call_of(KVP_OP_DELETE, key, kvp_slice_of(NULL, 0), version),
                           result);
}

kvp_status kvp_cas(kvp_client *client, kvp_slice key, uint64_t version, kvp_slice value,
                   kvp_result *result)
{
    return perform_checked(client, call_of(KVP_OP_CAS, key, value, version), result);
}

/* ---- asynchronous ---- */

/* Copies the call, with key and value behind it, and starts the copy. */
static kvp_status start_copy(kvp_client *client, struct call call, uint32_t timeout_ms,
                             kvp_callback done, void *arg)
{
    kvp_slice key = call.core.request.key;
    kvp_slice value = call.core.request.value;
    kvp_status status = client_check_key(key, NULL);
    status = status == KVP_OK ? client_check_value(value, NULL) : status;
    if (status != KVP_OK) {
        return status;
    }
    struct call *copy = malloc(sizeof(*copy) + key.size + value.size);
    if (copy == NULL) {
        return KVP_NO_MEMORY;
    }
    uint8_t *bytes = (uint8_t *)(copy + 1);
    *copy = call;
    copy->done = done;
    copy->arg = arg;
    copy->allocated = true;
    memcpy(bytes, key.data, key.size);
    copy->core.request.key = kvp_slice_of(bytes, key.size);
    if (value.size > 0) {
        memcpy(bytes + key.size, value.data, value.size);
        copy->core.request.value = kvp_slice_of(bytes + key.size, value.size);
    }
    status = client_start(client, copy, timeout_ms);
    if (status != KVP_OK) {
        free(copy);
    }
    return status;
}

kvp_status kvp_get_async(kvp_client *client, kvp_slice key, bool stale, uint32_t timeout_ms,
                         kvp_callback done, void *arg)
{
    return start_copy(client, get_of(key, stale), timeout_ms, done, arg);
}

kvp_status kvp_put_async(kvp_client *client, kvp_slice key, kvp_slice value, uint32_t timeout_ms,
                         kvp_callback done, void *arg)
{
    return start_copy(client, call_of(KVP_OP_PUT, key, value, 0), timeout_ms, done, arg);
}

kvp_status kvp_create_async(kvp_client *client, kvp_slice key, kvp_slice value, uint32_t timeout_ms,
                            kvp_callback done, void *arg)
{
    return start_copy(client, call_of(KVP_OP_CREATE, key, value, 0), timeout_ms, done, arg);
}

kvp_status kvp_delete_async(kvp_client *client, kvp_slice key, uint64_t version,
                            uint32_t timeout_ms, kvp_callback done, void *arg)
{
    return start_copy(client, call_of(KVP_OP_DELETE, key, kvp_slice_of(NULL, 0), version),
                      timeout_ms, done, arg);
}

kvp_status kvp_cas_async(kvp_client *client, kvp_slice key, uint64_t version, kvp_slice value,
                         uint32_t timeout_ms, kvp_callback done, void *arg)
{
    return start_copy(client, call_of(KVP_OP_CAS, key, value, version), timeout_ms, done, arg);
}

/* ---- administration ---- */

/* Sends the call to the node named, if one is. */
static kvp_status route_to(kvp_client *client, struct call *call, const char *node,
                           kvp_result *result)
{
    const char *reason = "";
    if (node == NULL) {
        return KVP_OK;
    }
    kvp_status status = client_endpoint(client, node, &call->core.endpoint, &reason);
    if (status != KVP_OK) {
        return client_refuse(result, status, reason);
    }
    call->core.route = CLIENT_TO_ONE;
    return KVP_OK;
}

kvp_status kvp_node_status(kvp_client *client, const char *node, kvp_result *result)
{
    struct call call = {.core = {.request = {.op = KVP_OP_STATUS}, .route = CLIENT_TO_ANY}};
    kvp_buf text = {0};
    kvp_status status = route_to(client, &call, node, result);
    if (status != KVP_OK) {
        return status;
    }
    status = client_perform(client, &call, 0);
    if (status == KVP_OK) {
        status = kvp_wire_json(kvp_buf_slice(&call.result.value), false, &text);
        kvp_buf_free(&call.result.value);
        call.result.status = status;
        call.result.value = text;
    }
    client_gather(&call, result);
    return status;
}

kvp_status kvp_handover(kvp_client *client, unsigned target_id, kvp_result *result)
{
    struct call call = {.core = {.request = {.op = KVP_OP_HANDOVER, .target = target_id},
                                 .route = CLIENT_TO_PRIMARY,
                                 .once = true}};

    if (target_id > KVP_NODE_ID_MAX) {
        return client_refuse(result, KVP_BAD_ARGUMENT, "a node's id is 1 to 63");
    }
    return calls_perform(client, &call, result);
}

kvp_status kvp_promote(kvp_client *client, const char *node, bool force, kvp_result *result)
{
    struct call call = {.core = {.request = {.op = KVP_OP_PROMOTE, .force = force}, .once = true}};
    if (node == NULL) {
        return client_refuse(result, KVP_BAD_ARGUMENT, "the node to be promoted must be named");
    }
    kvp_status status = route_to(client, &call, node, result);
    return status == KVP_OK ? calls_perform(client, &call, result) : status;
}
