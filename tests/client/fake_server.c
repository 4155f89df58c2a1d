/* SPDX-License-Identifier: Apache-2.0 */
#include "fake_server.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#define DEADLINE_S 30

/* ---- the store ---- */

/* The first pair that is not before the key. */
static size_t find(const struct fake_server *server, kvp_slice key, bool *there)
{
    size_t i = 0;
    while (i < server->pair_count &&
           kvp_slice_compare(kvp_buf_slice(&server->pairs[i].key), key) < 0) {
        i++;
    }
    *there =
        i < server->pair_count && kvp_slice_compare(kvp_buf_slice(&server->pairs[i].key), key) == 0;
    return i;
}

static void set(struct fake_server *server, kvp_slice key, kvp_slice value)
{
    bool there = false;
    size_t at = find(server, key, &there);
    struct pair *pair = &server->pairs[at];
    server->revision++;
    if (!there) {
        if (server->pair_count == SERVER_PAIRS_MAX) {
            abort(); /* the test's own mistake; this is not the test's thread */
        }
        memmove(pair + 1, pair, (server->pair_count++ - at) * sizeof(*pair));
        memset(pair, 0, sizeof(*pair));
        (void)kvp_buf_append(&pair->key, key.data, key.size);
        pair->create = server->revision;
    }
    kvp_buf_free(&pair->value);
    (void)kvp_buf_append(&pair->value, value.data, value.size);
    pair->modify = server->revision;
}

static bool delete (struct fake_server *server, kvp_slice key)
{
    bool there = false;
    size_t at = find(server, key, &there);
    server->revision++;
    if (there) {
        kvp_buf_free(&server->pairs[at].key);
        kvp_buf_free(&server->pairs[at].value);
        server->pair_count--;
        memmove(&server->pairs[at], &server->pairs[at + 1],
                (server->pair_count - at) * sizeof(server->pairs[0]));
    }
    return there;
}

/* ---- operations ---- */

static kvp_status serve_hello(const struct fake_server *server, kvp_buf *result)
{
    struct kvp_hello hello = {
        .node_id = 1, .role = KVP_ROLE_PRIMARY, .primary_id = 1, .group_id = 7, .session_start = 1};
    const char *url = server_url(server);

    hello.node_count = 1;
    hello.nodes[0].id = 1;
    hello.nodes[0].url = kvp_slice_of(url, strlen(url));
    return kvp_wire_result_hello(result, &hello);
}

/* PUT, CREATE, CAS, DELETE. */
static kvp_status serve_update(struct fake_server *server, const struct kvp_request *request,
                               kvp_buf *result)
{
    bool there = false;
    size_t at = find(server, request->key, &there);
    uint64_t version = there ? server->pairs[at].modify : 0;
    bool compares =
        request->op == KVP_OP_CAS || (request->op == KVP_OP_DELETE && request->version != 0);

    if (request->op == KVP_OP_CREATE && there) {
        (void)kvp_wire_result_uint(result, version);
        return KVP_EXISTS;
    }
    if (compares && request->version != version) {
        (void)kvp_wire_result_uint(result, version);
        return KVP_VERSION_DIFFERS;
    }
    if (request->op == KVP_OP_DELETE && !there) {
        return KVP_NOT_FOUND;
    }
    if (request->op == KVP_OP_DELETE) {
        (void)delete (server, request->key);
    } else {
        set(server, request->key, request->value);
    }
    return kvp_wire_result_uint(result, server->revision);
}

static kvp_status serve_get(const struct fake_server *server, const struct kvp_request *request,
                            kvp_buf *result)
{
    bool there = false;
    const struct pair *pair = &server->pairs[find(server, request->key, &there)];
    return there ? kvp_wire_result_get(result, pair->modify, pair->create,
                                       kvp_buf_slice(&pair->value), request->stale ? 5 : 0)
                 : KVP_NOT_FOUND;
}

static kvp_status serve_scan(struct fake_server *server, const struct kvp_request *request,
                             kvp_buf *result)
{
    struct kvp_scan_writer writer;
    bool there = false;
    kvp_slice from = request->cursor == 0 ? request->key : kvp_buf_slice(&server->cursor_key);
    size_t i = find(server, from, &there);
    if (request->cursor != 0 && request->cursor != server->cursor) {
        return KVP_CURSOR_EXPIRED;
    }
    (void)kvp_wire_scan_begin(&writer, result);
    server->cursor = 0;
    for (unsigned n = 0; i < server->pair_count; i++, n++) {
        const struct pair *pair = &server->pairs[i];
        kvp_slice key = kvp_buf_slice(&pair->key);
        if (request->value.size > 0 && kvp_slice_compare(key, request->value) >= 0) {
            break;
        }
        if (n == SERVER_PAGE) {
            server->cursor = ++server->revision;
            server->cursor_key.size = 0;
            (void)kvp_buf_append(&server->cursor_key, key.data, key.size);
            break;
        }
        kvp_slice value = request->keys_only ? kvp_slice_of(NULL, 0) : kvp_buf_slice(&pair->value);
        (void)kvp_wire_scan_pair(&writer, key, pair->modify, pair->create, value);
    }
    return kvp_wire_scan_end(&writer, server->cursor, server->revision, 0);
}

/* The compares are not looked at: the test says what they come to. */
static kvp_status serve_txn(struct fake_server *server, const struct kvp_request *request,
                            kvp_buf *result)
{
    bool then = server->txn_succeeds;
    const struct kvp_txn_op *ops = then ? request->then_ops : request->else_ops;
    uint32_t count = then ? request->then_count : request->else_count;
    (void)kvp_wire_txn_begin(result, then, server->revision + 1, count);
    for (uint32_t i = 0; i < count; i++) {
        bool there = false;
        const struct pair *pair = &server->pairs[find(server, ops[i].key, &there)];
        struct kvp_get_result get = {
            .modify = pair->modify, .create = pair->create, .value = kvp_buf_slice(&pair->value)};
        if (ops[i].kind == KVP_TXN_GET) {
            (void)kvp_wire_txn_get(result, there ? &get : NULL);
        } else if (ops[i].kind == KVP_TXN_PUT) {
            set(server, ops[i].key, ops[i].value);
            (void)kvp_wire_txn_put(result);
        } else {
            (void)kvp_wire_txn_delete(result, delete (server, ops[i].key));
        }
    }
    return KVP_OK;
}

static kvp_status serve_status(kvp_buf *result)
{
    (void)kvp_wire_map(result, 3);
    (void)kvp_wire_string(result, "serving");
    (void)kvp_wire_bool(result, true);
    (void)kvp_wire_string(result, "role");
    (void)kvp_wire_string(result, "primary \"x\"");
    (void)kvp_wire_string(result, "group_id");
    return kvp_wire_uint(result, UINT64_MAX);
}

static kvp_status serve(struct fake_server *server, const struct kvp_request *request,
                        kvp_buf *result)
{
    if (kvp_slice_compare(request->group, kvp_slice_of("default", 7)) != 0) {
        (void)kvp_wire_result_string(result, "default");
        return KVP_WRONG_GROUP;
    }
    if (server->serve_all != NULL && request->op != KVP_OP_HELLO) {
        return server->serve_all(server->all_arg, request, result);
    }
    switch (request->op) {
    case KVP_OP_HELLO:
        return serve_hello(server, result);
    case KVP_OP_GET:
        return serve_get(server, request, result);
    case KVP_OP_SCAN:
        return serve_scan(server, request, result);
    case KVP_OP_TXN:
        return serve_txn(server, request, result);
    case KVP_OP_STATUS:
        return serve_status(result);
    case KVP_OP_HANDOVER:
        (void)kvp_wire_result_string(result, "no such node");
        return request->target == 2 ? KVP_REFUSED : KVP_OK;
    case KVP_OP_PROMOTE:
        return request->force ? KVP_OK : KVP_REFUSED;
    case KVP_OP_CLOSE_SCAN:
        server->cursor = 0;
        return KVP_OK;
    default:
        if (kvp_operation_of(request->op)->is_job) {
            return server->serve_job == NULL ? KVP_REFUSED
                                             : server->serve_job(server->job_arg, request, result);
        }
        return serve_update(server, request, result);
    }
}

/* ---- requests ---- */

/* With the lock held. */
static void execute(struct fake_server *server, struct kvp_net_request *received)
{
    static struct kvp_txn_scratch scratch; /* under the lock of the only server there is */
    struct kvp_request request;
    const char *reason = "";
    kvp_buf result = {0};
    kvp_buf body = {0};
    const char *url = server_url(server);

    kvp_status status =
        kvp_wire_request_decode(kvp_net_request_body(received), &scratch, &request, &reason);
    if (status == KVP_OK) {
        status = serve(server, &request, &result);
    }
    if (status == KVP_OK && server->garbling && request.op != KVP_OP_HELLO) {
        result.size = 0;
        (void)kvp_wire_result_string(&result, "?");
    }
    struct kvp_answer answer = {.status = status,
                                .epoch = 1,
                                .hint = kvp_slice_of(url, strlen(url)),
                                .result = kvp_buf_slice(&result)};
    if (kvp_wire_answer_encode(&answer, &body) == KVP_OK) {
        kvp_net_answer(received, kvp_buf_slice(&body));
    } else {
        kvp_net_drop(received);
    }
    kvp_buf_free(&body);
    kvp_buf_free(&result);
}

static void on_request(void *arg, struct kvp_net_request *request)
{
    struct fake_server *server = arg;
    unsigned version = 0, op = 0;
    pthread_mutex_lock(&server->lock);
    (void)kvp_wire_peek(kvp_net_request_body(request), &version, &op);
    if (op < SERVER_OPS) {
        server->requests[op]++;
    }
    if (server->holding && op != KVP_OP_HELLO && server->held_count < SERVER_HELD_MAX) {
        server->held[server->held_count++] = request;
    } else {
        execute(server, request);
    }
    pthread_cond_broadcast(&server->changed);
    pthread_mutex_unlock(&server->lock);
}

/* ---- life ---- */

void server_open(struct fake_server *server, const char *url)
{
    const struct kvp_net_server_config config = {
        .url = url == NULL ? "tcp://127.0.0.1:0" : url, .on_request = on_request, .arg = server};

    memset(server, 0, sizeof(*server));
    server->revision = 100;
    pthread_mutex_init(&server->lock, NULL);
    pthread_cond_init(&server->changed, NULL);
    pthread_mutex_lock(&server->lock); /* no request before there is a URL to answer with */
    kvp_status status = kvp_net_listen(&config, &server->net);
    pthread_mutex_unlock(&server->lock);
    assert_int_equal(status, KVP_OK);
}

void server_close(struct fake_server *server)
{
    kvp_net_server_close(server->net);
    for (size_t i = 0; i < server->held_count; i++) {
        kvp_net_drop(server->held[i]);
    }
    for (size_t i = 0; i < server->pair_count; i++) {
        kvp_buf_free(&server->pairs[i].key);
        kvp_buf_free(&server->pairs[i].value);
    }
    kvp_buf_free(&server->cursor_key);
    pthread_mutex_destroy(&server->lock);
    pthread_cond_destroy(&server->changed);
}

const char *server_url(const struct fake_server *server)
{
    return kvp_net_server_url(server->net);
}

/* ---- waiting ---- */

struct timespec wait_deadline(void)
{
    struct timespec at;
    clock_gettime(CLOCK_REALTIME, &at);
    at.tv_sec += DEADLINE_S;
    return at;
}

/* With the lock held; fails the test when the time is up. */
static void wait_changed(struct fake_server *server, const struct timespec *until)
{
    if (pthread_cond_timedwait(&server->changed, &server->lock, until) != 0) {
        pthread_mutex_unlock(&server->lock);
        fail_msg("the requests did not come in %d s", DEADLINE_S);
    }
}

void server_hold(struct fake_server *server, bool hold)
{
    pthread_mutex_lock(&server->lock);
    server->holding = hold;
    for (size_t i = 0; !hold && i < server->held_count; i++) {
        execute(server, server->held[i]);
    }
    server->held_count = hold ? server->held_count : 0;
    pthread_mutex_unlock(&server->lock);
}

void server_wait_held(struct fake_server *server, size_t count)
{
    struct timespec until = wait_deadline();
    pthread_mutex_lock(&server->lock);
    while (server->held_count < count) {
        wait_changed(server, &until);
    }
    pthread_mutex_unlock(&server->lock);
}

void server_wait_requests(struct fake_server *server, unsigned op, unsigned count)
{
    struct timespec until = wait_deadline();
    pthread_mutex_lock(&server->lock);
    while (server->requests[op] < count) {
        wait_changed(server, &until);
    }
    pthread_mutex_unlock(&server->lock);
}
