/* SPDX-License-Identifier: Apache-2.0 */
/* Keys that end by themselves, and leases. */
#include "client/client_priv.h"
#include "kvpair/kvp_lease.h"
#include "replication/wire/mp_reader.h"
#include "replication/wire/wire.h"

#include <string.h>

static struct call lease_call(unsigned op, uint64_t lease)
{
    return (struct call){.core = {.request = {.op = op, .lease = lease},
                                  .route = CLIENT_TO_PRIMARY,
                                  .update = kvp_operation_of(op)->session != KVP_SESSION_NO}};
}

/* ---- keys ---- */

static kvp_status lease_put(kvp_client *client, struct call call, kvp_slice key, kvp_slice value,
                            kvp_result *result)
{
    const char *reason;
    struct kvp_request *request = &call.core.request;
    kvp_status status = client_require(client != NULL, result);
    status = status == KVP_OK ? client_check_key(key, result) : status;
    status = status == KVP_OK ? client_check_value(value, result) : status;
    if (status != KVP_OK) {
        return status;
    }
    if (kvp_wire_check_hold(request->ttl_ms, request->lease, &reason) != KVP_OK) {
        return client_refuse(result, KVP_BAD_ARGUMENT, reason);
    }
    request->key = key;
    request->value = value;
    status = client_perform(client, &call, 0);
    client_gather(&call, result);
    return status;
}

kvp_status kvp_put_held(kvp_client *client, kvp_slice key, kvp_slice value, uint64_t ttl_ms,
                        uint64_t lease, kvp_result *result)
{
    struct call call = lease_call(KVP_OP_PUT, lease);
    call.core.request.ttl_ms = ttl_ms;
    return lease_put(client, call, key, value, result);
}

kvp_status kvp_create_held(kvp_client *client, kvp_slice key, kvp_slice value, uint64_t ttl_ms,
                           uint64_t lease, kvp_result *result)
{
    struct call call = lease_call(KVP_OP_CREATE, lease);
    call.core.request.ttl_ms = ttl_ms;
    return lease_put(client, call, key, value, result);
}

kvp_status kvp_cas_held(kvp_client *client, kvp_slice key, uint64_t version, kvp_slice value,
                        uint64_t ttl_ms, uint64_t lease, kvp_result *result)
{
    struct call call = lease_call(KVP_OP_CAS, lease);
    call.core.request.ttl_ms = ttl_ms;
    call.core.request.version = version;
    return lease_put(client, call, key, value, result);
}

/* ---- leases ---- */

/* Performs a call whose answer is a number. */
static kvp_status lease_number(kvp_client *client, struct call *call, uint64_t *number,
                               kvp_result *result)
{
    uint64_t read = 0;
    kvp_status status = client_perform(client, call, 0);
    if (status == KVP_OK) {
        status = kvp_wire_read_uint(kvp_buf_slice(&call->result.value), &read);
    }
    if (status == KVP_OK && number != NULL) {
        *number = read;
    }
    return client_job_end(call, status, result);
}

kvp_status kvp_lease_grant(kvp_client *client, uint64_t ttl_ms, uint64_t *lease, kvp_result *result)
{
    struct call call = lease_call(KVP_OP_LEASE_GRANT, 0);
    const char *reason = "a lease has a time to live";
    kvp_status status = client_require(client != NULL && lease != NULL, result);
    if (status != KVP_OK) {
        return status;
    }
    if (ttl_ms == 0 || kvp_wire_check_hold(ttl_ms, 0, &reason) != KVP_OK) {
        return client_refuse(result, KVP_BAD_ARGUMENT, reason);
    }
    call.core.request.ttl_ms = ttl_ms;
    return lease_number(client, &call, lease, result);
}

static kvp_status lease_named(kvp_client *client, uint64_t lease, kvp_result *result)
{
    kvp_status status = client_require(client != NULL, result);
    return status == KVP_OK && lease == 0
               ? client_refuse(result, KVP_BAD_ARGUMENT, "no lease has number 0")
               : status;
}

kvp_status kvp_lease_keep(kvp_client *client, uint64_t lease, uint64_t *ttl_ms, kvp_result *result)
{
    struct call call = lease_call(KVP_OP_LEASE_KEEP, lease);
    kvp_status status = lease_named(client, lease, result);
    return status == KVP_OK ? lease_number(client, &call, ttl_ms, result) : status;
}

kvp_status kvp_lease_revoke(kvp_client *client, uint64_t lease, kvp_result *result)
{
    struct call call = lease_call(KVP_OP_LEASE_REVOKE, lease);
    kvp_status status = lease_named(client, lease, result);
    return status == KVP_OK ? client_job_end(&call, client_perform(client, &call, 0), result)
                            : status;
}

/* ---- looking at them ---- */

static kvp_status lease_json(kvp_client *client, struct call *call, bool list, kvp_result *result)
{
    kvp_buf text = {0};
    kvp_status status = client_perform(client, call, 0);
    if (status == KVP_OK) {
        status = kvp_wire_json(kvp_buf_slice(&call->result.value), list, &text);
    }
    if (status != KVP_OK) {
        kvp_buf_free(&text);
        return client_job_end(call, status, result);
    }
    kvp_buf_free(&call->result.value);
    call->result.value = text;
    client_gather(call, result);
    return KVP_OK;
}

kvp_status kvp_lease_list(kvp_client *client, uint64_t above, kvp_result *result)
{
    struct call call = lease_call(KVP_OP_LEASE_LIST, above);
    kvp_status status = client_require(client != NULL, result);
    return status == KVP_OK ? lease_json(client, &call, true, result) : status;
}

kvp_status kvp_lease_show(kvp_client *client, uint64_t lease, kvp_result *result)
{
    struct call call = lease_call(KVP_OP_LEASE_SHOW, lease);
    kvp_status status = lease_named(client, lease, result);
    return status == KVP_OK ? lease_json(client, &call, false, result) : status;
}

/* Members that are not known are left out: a later release may send more. */
static kvp_status lease_read_left(kvp_slice answer, uint64_t *left_ms, uint64_t *lease)
{
    struct kvp_mp_reader reader;
    uint64_t ttl_ms = 0;
    kvp_mp_begin(&reader, answer);
    uint32_t count = kvp_mp_map(&reader);
    for (uint32_t i = 0; i < count && !reader.failed; i++) {
        kvp_slice name = kvp_mp_str(&reader);
        uint64_t *number = kvp_slice_compare(name, kvp_slice_of("lease", 5)) == 0     ? lease
                           : kvp_slice_compare(name, kvp_slice_of("left_ms", 7)) == 0 ? left_ms
                           : kvp_slice_compare(name, kvp_slice_of("ttl_ms", 6)) == 0  ? &ttl_ms
                                                                                      : NULL;
        if (number != NULL) {
            *number = kvp_mp_uint(&reader);
        } else {
            (void)kvp_mp_skip(&reader);
        }
    }
    *left_ms = ttl_ms == 0 ? UINT64_MAX : *left_ms;
    return kvp_mp_done(&reader) ? KVP_OK : KVP_CORRUPT;
}

kvp_status kvp_key_left(kvp_client *client, kvp_slice key, uint64_t *left_ms, uint64_t *lease,
                        kvp_result *result)
{
    struct call call = lease_call(KVP_OP_LEASE_SHOW, 0);
    uint64_t left = 0, number = 0;
    kvp_status status = client_require(client != NULL, result);
    status = status == KVP_OK ? client_check_key(key, result) : status;
    if (status != KVP_OK) {
        return status;
    }
    call.core.request.key = key;
    status = client_perform(client, &call, 0);
    if (status == KVP_OK) {
        status = lease_read_left(kvp_buf_slice(&call.result.value), &left, &number);
    }
    if (status == KVP_OK && left_ms != NULL) {
        *left_ms = left;
    }
    if (status == KVP_OK && lease != NULL) {
        *lease = number;
    }
    return client_job_end(&call, status, result);
}
