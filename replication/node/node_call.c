/* SPDX-License-Identifier: Apache-2.0 */
/* Operations of the application that embeds the node: carried to the loop and waited for, but for
 * reads, which mostly need no loop. */
#include "replication/node/node_state.h"

#include "kvpair/kvp_lease.h"

#include <assert.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

bool node_token_is_call(const void *token)
{
    return ((uintptr_t)token & 1u) != 0;
}

struct node_call *node_token_call(void *token)
{
    return (struct node_call *)((uintptr_t)token & ~(uintptr_t)1u);
}

static void *token_of(struct node_call *call)
{
    assert(((uintptr_t)call & 1u) == 0);
    return (void *)((uintptr_t)call | 1u);
}

static kvp_slice call_keep(uint8_t **at, kvp_slice bytes)
{
    kvp_slice kept = kvp_slice_of(*at, bytes.size);
    if (bytes.size > 0) {
        memcpy(*at, bytes.data, bytes.size);
        *at += bytes.size;
    }
    return kept;
}

static struct kvp_txn_op *call_keep_ops(uint8_t **at, const struct kvp_txn_op *ops, uint32_t count)
{
    struct kvp_txn_op *kept = (struct kvp_txn_op *)(void *)*at;
    *at += count * sizeof(*kept);
    for (uint32_t i = 0; i < count; i++) {
        kept[i] = ops[i];
    }
    return kept;
}

static void call_keep_bytes(uint8_t **at, struct kvp_txn_op *ops, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        ops[i].key = call_keep(at, ops[i].key);
        ops[i].value = call_keep(at, ops[i].value);
    }
}

/* What a transaction points to: its arrays first, which need alignment, then bytes. */
static void call_keep_txn(struct kvp_request *request, uint8_t **at)
{
    struct kvp_compare *compares = (struct kvp_compare *)(void *)*at;
    *at += request->compare_count * sizeof(*compares);
    struct kvp_txn_op *then_ops = call_keep_ops(at, request->then_ops, request->then_count);
    struct kvp_txn_op *else_ops = call_keep_ops(at, request->else_ops, request->else_count);
    for (uint32_t i = 0; i < request->compare_count; i++) {
        compares[i] = request->compares[i];
        compares[i].key = call_keep(at, compares[i].key);
        compares[i].value = call_keep(at, compares[i].value);
    }
    call_keep_bytes(at, then_ops, request->then_count);
    call_keep_bytes(at, else_ops, request->else_count);
    request->compares = compares;
    request->then_ops = then_ops;
    request->else_ops = else_ops;
}

static size_t call_ops_size(const struct kvp_txn_op *ops, uint32_t count)
{
    size_t size = count * sizeof(*ops);
    for (uint32_t i = 0; i < count; i++) {
        size += ops[i].key.size + ops[i].value.size;
    }
    return size;
}

static size_t call_size(const struct kvp_request *request)
{
    size_t size = request->key.size + request->value.size +
                  request->compare_count * sizeof(struct kvp_compare) +
                  call_ops_size(request->then_ops, request->then_count) +
                  call_ops_size(request->else_ops, request->else_count);
    for (uint32_t i = 0; i < request->compare_count; i++) {
        size += request->compares[i].key.size + request->compares[i].value.size;
    }
    return size;
}

static_assert(offsetof(struct node_call, bytes) % _Alignof(struct kvp_compare) == 0 &&
                  sizeof(struct kvp_compare) % _Alignof(struct kvp_txn_op) == 0,
              "the arrays of a transaction are aligned in a call's bytes");

/* The caller may be gone when it is executed: a copy of all that the request points to. */
static struct node_call *call_new(struct kvp_node *node, const struct kvp_request *request)
{
    struct node_call *call = calloc(1, sizeof(*call) + call_size(request));
    if (call == NULL) {
        return NULL;
    }
    uint8_t *at = call->bytes;
    pthread_mutex_init(&call->mutex, NULL);
    node_init_cond(&call->done_cond);
    atomic_init(&call->references, 2);
    call->request = *request;
    call->request.group = kvp_slice_of(node->config.group, strlen(node->config.group));
    call_keep_txn(&call->request, &at);
    call->request.key = call_keep(&at, request->key);
    call->request.value = call_keep(&at, request->value);
    return call;
}

void node_call_unref(struct node_call *call)
{
    if (atomic_fetch_sub(&call->references, 1) == 1) {
        pthread_mutex_destroy(&call->mutex);
        pthread_cond_destroy(&call->done_cond);
        kvp_buf_free(&call->result);
        free(call);
    }
}

void node_call_run(struct kvp_node *node, struct node_call *call, uint64_t now_us)
{
    kvp_executor_request(node->executor, now_us, &call->request, token_of(call));
}

void node_call_answer(struct node_call *call, const struct kvp_answer *answer)
{
    pthread_mutex_lock(&call->mutex);
    call->status = (kvp_status)answer->status;
    if (kvp_buf_append(&call->result, answer->result.data, answer->result.size) != KVP_OK) {
        call->status = KVP_NO_MEMORY;
    }
    call->done = true;
    pthread_cond_signal(&call->done_cond);
    pthread_mutex_unlock(&call->mutex);
    node_call_unref(call);
}

static bool is_missing(kvp_slice bytes)
{
    return bytes.data == NULL && bytes.size > 0;
}

/* Hands a copy of the request to the loop. NULL: no memory. One reference is the caller's. */
static struct node_call *call_post(struct kvp_node *node, const struct kvp_request *request)
{
    struct node_call *call = call_new(node, request);
    struct node_event *event = calloc(1, sizeof(*event));
    if (call == NULL || event == NULL) {
        free(event);
        if (call != NULL) {
            node_call_unref(call);
            node_call_unref(call);
        }
        return NULL;
    }
    event->kind = NODE_CALL;
    event->came_us = kvp_clock_now_us();
    event->call = call;
    node_post(node, event);
    return call;
}

kvp_status node_call_perform_until(struct kvp_node *node, const struct kvp_request *request,
                                   uint64_t deadline_us, struct node_call **result)
{
    bool reads = kvp_operation_of(request->op)->served == KVP_SERVED_READ;
    struct node_call *call = call_post(node, request);
    if (call == NULL) {
        return KVP_NO_MEMORY;
    }
    pthread_mutex_lock(&call->mutex);
    while (!call->done && node_wait_until(&call->done_cond, &call->mutex, deadline_us)) {
    }
    kvp_status status = call->done ? call->status : reads ? KVP_TIMEOUT : KVP_TIMEOUT_UNKNOWN;
    pthread_mutex_unlock(&call->mutex);
    *result = call;
    return status;
}

kvp_status node_call_perform(struct kvp_node *node, const struct kvp_request *request,
                             struct node_call **result)
{
    uint64_t deadline_us = kvp_clock_now_us() + node->timeout_ms * 1000ull;
    return node_call_perform_until(node, request, deadline_us, result);
}

void node_call_forget(struct kvp_node *node, const struct kvp_request *request)
{
    struct node_call *call = call_post(node, request);
    if (call != NULL) {
        node_call_unref(call);
    }
}

/* About one key. */
static kvp_status call_perform(struct kvp_node *node, const struct kvp_request *request,
                               struct node_call **result)
{
    if (node == NULL || is_missing(request->key) || is_missing(request->value)) {
        return KVP_BAD_ARGUMENT;
    }
    if (request->key.size == 0) {
        return KVP_BAD_REQUEST;
    }
    if (request->key.size > KVP_KEY_SIZE_MAX || request->value.size > KVP_VALUE_SIZE_MAX) {
        return KVP_TOO_LARGE;
    }
    return node_call_perform(node, request, result);
}

static kvp_status call_update(struct kvp_node *node, struct kvp_request *request, uint64_t *version)
{
    struct node_call *call = NULL;
    kvp_status status = call_perform(node, request, &call);
    if (call == NULL) {
        return status;
    }
    uint64_t number;
    bool shown = status == KVP_OK || status == KVP_EXISTS || status == KVP_VERSION_DIFFERS;
    if (version != NULL && shown &&
        kvp_wire_read_uint(kvp_buf_slice(&call->result), &number) == KVP_OK) {
        *version = number;
    }
    node_call_unref(call);
    return status;
}

/*
 * Reads in the caller's thread, while the loop does not use the executor: a hop to the loop and
 * back would take many times as long. A loop that waits goes first, however fast the caller asks.
 * False: the loop has to be asked. (A callback that calls the node, which it must not, does not get
 * the mutex that its thread has, and meets its deadline.)
 */
static bool get_here(struct kvp_node *node, kvp_slice key, kvp_buf *value, uint64_t *version,
                     kvp_status *status)
{
    bool done = false;
    atomic_fetch_add(&node->readers, 1);
    if (key.size > 0 && key.size <= KVP_KEY_SIZE_MAX && !atomic_load(&node->loop_waits) &&
        !atomic_load(&node->closing) && pthread_mutex_lock(&node->work) == 0) {
        *status = kvp_executor_get(node->executor, kvp_clock_now_us(), key, value, version);
        pthread_mutex_unlock(&node->work);
        done = *status == KVP_OK || *status == KVP_NOT_FOUND;
    }
    atomic_fetch_sub(&node->readers, 1);
    return done;
}

void node_call_stop_readers(struct kvp_node *node)
{
    atomic_store(&node->closing, true);
    while (atomic_load(&node->readers) > 0) {
        sched_yield(); /* they are in the middle of one read */
    }
}

kvp_status kvp_node_get(kvp_node *node, kvp_slice key, kvp_buf *value, uint64_t *version)
{
    kvp_status status;
    if (node == NULL || value == NULL || is_missing(key)) {
        return KVP_BAD_ARGUMENT;
    }
    if (get_here(node, key, value, version, &status)) {
        return status;
    }
    struct kvp_request request = {.op = KVP_OP_GET, .key = key};
    struct node_call *call = NULL;
    struct kvp_get_result get;
    status = call_perform(node, &request, &call);
    if (status == KVP_OK) {
        status = kvp_wire_read_get(kvp_buf_slice(&call->result), &get);
    }
    if (status == KVP_OK) {
        status = kvp_buf_append(value, get.value.data, get.value.size);
    }
    if (status == KVP_OK && version != NULL) {
        *version = get.modify;
    }
    if (call != NULL) {
        node_call_unref(call);
    }
    return status;
}

kvp_status kvp_node_put(kvp_node *node, kvp_slice key, kvp_slice value, uint64_t *version)
{
    struct kvp_request request = {.op = KVP_OP_PUT, .key = key, .value = value};
    return call_update(node, &request, version);
}

kvp_status kvp_node_create(kvp_node *node, kvp_slice key, kvp_slice value, uint64_t *version)
{
    struct kvp_request request = {.op = KVP_OP_CREATE, .key = key, .value = value};
    return call_update(node, &request, version);
}

kvp_status kvp_node_put_held(kvp_node *node, kvp_slice key, kvp_slice value, uint64_t ttl_ms,
                             uint64_t lease, uint64_t *version)
{
    struct kvp_request request = {
        .op = KVP_OP_PUT, .key = key, .value = value, .ttl_ms = ttl_ms, .lease = lease};
    return call_update(node, &request, version);
}

kvp_status kvp_node_create_held(kvp_node *node, kvp_slice key, kvp_slice value, uint64_t ttl_ms,
                                uint64_t lease, uint64_t *version)
{
    struct kvp_request request = {
        .op = KVP_OP_CREATE, .key = key, .value = value, .ttl_ms = ttl_ms, .lease = lease};
    return call_update(node, &request, version);
}

kvp_status kvp_node_delete(kvp_node *node, kvp_slice key, uint64_t expected, uint64_t *version)
{
    struct kvp_request request = {.op = KVP_OP_DELETE, .key = key, .version = expected};
    return call_update(node, &request, version);
}

kvp_status kvp_node_cas(kvp_node *node, kvp_slice key, uint64_t expected, kvp_slice value,
                        uint64_t *version)
{
    struct kvp_request request = {
        .op = KVP_OP_CAS, .key = key, .version = expected, .value = value};
    return call_update(node, &request, version);
}

/* ---- leases ---- */

static kvp_status call_lease(struct kvp_node *node, const struct kvp_request *request,
                             uint64_t *number)
{
    struct node_call *call = NULL;
    if (node == NULL) {
        return KVP_BAD_ARGUMENT;
    }
    kvp_status status = node_call_perform(node, request, &call);
    if (status == KVP_OK && number != NULL) {
        status = kvp_wire_read_uint(kvp_buf_slice(&call->result), number);
    }
    if (call != NULL) {
        node_call_unref(call);
    }
    return status;
}

kvp_status kvp_node_lease_grant(kvp_node *node, uint64_t ttl_ms, uint64_t *lease)
{
    const struct kvp_request request = {.op = KVP_OP_LEASE_GRANT, .ttl_ms = ttl_ms};
    return lease == NULL || ttl_ms == 0 ? KVP_BAD_ARGUMENT : call_lease(node, &request, lease);
}

kvp_status kvp_node_lease_keep(kvp_node *node, uint64_t lease)
{
    const struct kvp_request request = {.op = KVP_OP_LEASE_KEEP, .lease = lease};
    return call_lease(node, &request, NULL);
}

kvp_status kvp_node_lease_revoke(kvp_node *node, uint64_t lease)
{
    const struct kvp_request request = {.op = KVP_OP_LEASE_REVOKE, .lease = lease};
    return call_lease(node, &request, NULL);
}
