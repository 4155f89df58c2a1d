/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The handle: the core under a lock, a link for each endpoint, and one thread for what is due. A
 * request goes out on the thread of its caller and its outcome comes in on the transport's thread,
 * so a call that is answered in time never waits for the thread here.
 */
#include "client/client_fetches.h"
#include "client/client_priv.h"
#include "kvstore/base/clock.h"
#include "kvstore/base/options.h"
#include "replication/net/net.h"
#include "replication/net/tls.h"
#include "replication/wire/asker.h"

#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define TIMEOUT_MS_DEFAULT    5000u
#define TRY_MS_DEFAULT        300u
#define SESSION_SLOTS_DEFAULT 256u

struct link {
    struct kvp_client *client;
    unsigned endpoint;
    struct kvp_net_link *link; /* NULL: not opened, or it could not be */
};

struct kvp_client {
    pthread_mutex_t lock;
    pthread_cond_t wake;
    pthread_t thread;
    struct client_core *core;
    struct kvp_tls *tls; /* NULL: no certificate was given */
    char group[KVP_GROUP_NAME_MAX + 1];
    struct client_fetches fetches;
    struct link links[CLIENT_ENDPOINTS_MAX];
    kvp_status link_status; /* of the last link opened */
    uint32_t timeout_ms;
    uint64_t sleeps_until_us; /* the thread does; 0: it is awake */
    bool closing;
    struct call *first_done, *last_done; /* to be told, outside of the lock */
};

/* ---- results ---- */

void kvp_result_free(kvp_result *result)
{
    if (result != NULL) {
        kvp_buf_free(&result->value);
        memset(result, 0, sizeof(*result));
    }
}

const char *client_reason(const kvp_result *result)
{
    return kvp_reason_text(&result->value);
}

kvp_status client_refuse(kvp_result *result, kvp_status status, const char *reason)
{
    if (result != NULL) {
        memset(result, 0, sizeof(*result));
        result->status = status;
        kvp_reason_set(&result->value, kvp_slice_of(reason, strlen(reason)));
    }
    return status;
}

kvp_status client_require(bool given, kvp_result *result)
{
    return given ? KVP_OK
                 : client_refuse(result, KVP_BAD_ARGUMENT, "a handle or an argument is NULL");
}

kvp_status client_unread(kvp_result *result, kvp_status status)
{
    kvp_result_free(result);
    return client_refuse(result, KVP_TIMEOUT_UNKNOWN,
                         status == KVP_NO_MEMORY
                             ? "the node says done, but there is no memory for the rest of it"
                             : "the node says done, but the rest of its answer cannot be read");
}

kvp_status client_check_key(kvp_slice key, kvp_result *result)
{
    const char *reason;
    kvp_status status = kvp_key_check(key, &reason);
    return status == KVP_OK ? KVP_OK : client_refuse(result, status, reason);
}

kvp_status client_check_value(kvp_slice value, kvp_result *result)
{
    const char *reason;
    kvp_status status = kvp_value_check(value, &reason);
    return status == KVP_OK ? KVP_OK : client_refuse(result, status, reason);
}

static void take_reason(kvp_result *result, kvp_slice answer, const char *reason)
{
    kvp_slice text = kvp_slice_of(reason, strlen(reason));
    if (answer.size > 0) {
        (void)kvp_wire_read_string(answer, &text); /* else it says nothing */
    }
    kvp_reason_set(&result->value, text);
}

static kvp_status take_get(kvp_result *result, kvp_slice answer)
{
    struct kvp_get_result get;
    kvp_status status = kvp_wire_read_get(answer, &get);
    if (status == KVP_OK) {
        result->version = get.modify;
        result->create_revision = get.create;
        result->behind = get.behind;
        status = kvp_buf_append(&result->value, get.value.data, get.value.size);
    }
    return status;
}

/* Reads what came with a good answer. */
static kvp_status take_good(kvp_result *result, unsigned op, kvp_slice answer)
{
    switch (op) {
    case KVP_OP_GET:
        return take_get(result, answer);
    case KVP_OP_PUT:
    case KVP_OP_CREATE:
    case KVP_OP_CAS:
    case KVP_OP_DELETE:
    case KVP_OP_MEMBER_CHANGE:
        return kvp_wire_read_uint(answer, &result->version);
    case KVP_OP_SCAN:
    case KVP_OP_WATCH:
    case KVP_OP_TXN:
    case KVP_OP_STATUS:
    case KVP_OP_ACCESS_LIST:
    case KVP_OP_BACKUP:
    case KVP_OP_LEASE_GRANT:
    case KVP_OP_LEASE_KEEP:
    case KVP_OP_LEASE_LIST:
    case KVP_OP_LEASE_SHOW:
        return kvp_buf_append(&result->value, answer.data, answer.size);
    default: /* HANDOVER, PROMOTE, CLOSE_SCAN have nothing to say */
        return kvp_operation_of(op)->is_job
                   ? kvp_buf_append(&result->value, answer.data, answer.size)
                   : KVP_OK;
    }
}

static void client_take_result(struct call *call, kvp_status status, kvp_slice answer,
                               const char *reason)
{
    kvp_result *result = &call->result;
    switch (status) {
    case KVP_OK:
        status = take_good(result, call->core.request.op, answer);
        if (status != KVP_OK && call->core.update) {
            status = client_unread(result, status);
        }
        break;
    case KVP_EXISTS:
    case KVP_VERSION_DIFFERS:
        (void)kvp_wire_read_uint(answer, &result->version);
        break;
    case KVP_COMPACTED: /* undecoded, as what a watch is answered otherwise */
        (void)kvp_buf_append(&result->value, answer.data, answer.size);
        break;
    default:
        take_reason(result, answer, reason);
        break;
    }
    result->status = status;
}

/* ---- the core's port ---- */

static void port_done(void *arg, struct client_call *core_call, kvp_status status, kvp_slice result,
                      const char *reason)
{
    kvp_client *client = arg;
    struct call *call = (struct call *)core_call;
    client_take_result(call, status, result, reason);
    call->next_done = NULL;
    if (client->last_done != NULL) {
        client->last_done->next_done = call;
    } else {
        client->first_done = call;
    }
    client->last_done = call;
}

static kvp_status client_port_send(void *arg, unsigned endpoint, uint32_t id, kvp_slice body)
{
    kvp_client *client = arg;
    return kvp_net_link_send(client->links[endpoint].link, id, body);
}

static void port_reset(void *arg, unsigned endpoint)
{
    kvp_client *client = arg;
    kvp_net_link_reset(client->links[endpoint].link);
}

static void port_flow(void *arg, unsigned endpoint, struct kvp_net_flow *flow)
{
    kvp_client *client = arg;
    kvp_net_link_flow(client->links[endpoint].link, flow);
}

/* ---- events ---- */

/* Gives up the lock, and tells those whose calls are done. */
static void client_leave(kvp_client *client)
{
    struct call *call = client->first_done;
    client->first_done = client->last_done = NULL;
    if (client_core_next(client->core) < client->sleeps_until_us) {
        pthread_cond_signal(&client->wake);
    }
    pthread_mutex_unlock(&client->lock);
    while (call != NULL) {
        struct call *next = call->next_done; /* a call may be gone once its owner knows */
        bool allocated = call->allocated;
        if (call->done != NULL) {
            call->done(call->arg, &call->result);
        }
        if (allocated) {
            kvp_result_free(&call->result);
            free(call);
        }
        call = next;
    }
}

static void client_on_answer(void *arg, uint32_t id, kvp_slice body)
{
    struct link *link = arg;
    pthread_mutex_lock(&link->client->lock);
    client_core_answer(link->client->core, link->endpoint, id, body, kvp_clock_now_us());
    client_leave(link->client);
}

static void client_on_state(void *arg, bool connected)
{
    struct link *link = arg;
    pthread_mutex_lock(&link->client->lock);
    client_core_link(link->client->core, link->endpoint, connected, kvp_clock_now_us());
    client_leave(link->client);
}

static void client_on_failure(void *arg, const char *reason)
{
    struct link *link = arg;
    pthread_mutex_lock(&link->client->lock);
    client_core_failure(link->client->core, link->endpoint, reason);
    client_leave(link->client);
}

static void port_connect(void *arg, unsigned endpoint, const char *url)
{
    kvp_client *client = arg;
    struct link *link = &client->links[endpoint];
    struct kvp_net_link_config config = {
        .url = url,
        .tls = client->tls,
        .peer_kind = KVP_IDENTITY_NODE,
        .peer_group = client->group,
        .on_answer = client_on_answer,
        .on_state = client_on_state,
        .on_failure = client_on_failure,
        .arg = link,
    };

    link->client = client;
    link->endpoint = endpoint;
    client->link_status = kvp_net_link_open(&config, &link->link);
}

static void sleep_until(kvp_client *client, uint64_t now_us, uint64_t until_us)
{
    client->sleeps_until_us = until_us;
    if (until_us == UINT64_MAX) {
        pthread_cond_wait(&client->wake, &client->lock);
    } else {
        uint64_t left_us = until_us - now_us;
        struct timespec until;
        clock_gettime(CLOCK_MONOTONIC, &until);
        uint64_t nanoseconds = (uint64_t)until.tv_nsec + left_us % 1000000 * 1000;
        until.tv_sec += (time_t)(left_us / 1000000 + nanoseconds / 1000000000);
        until.tv_nsec = (long)(nanoseconds % 1000000000);
        pthread_cond_timedwait(&client->wake, &client->lock, &until);
    }
    client->sleeps_until_us = 0;
}

static void *client_run(void *arg)
{
    kvp_client *client = arg;
    pthread_mutex_lock(&client->lock);
    while (!client->closing) {
        uint64_t now_us = kvp_clock_now_us();
        uint64_t next_us = client_core_next(client->core);
        if (now_us < next_us) {
            sleep_until(client, now_us, next_us);
            continue;
        }
        (void)client_core_tick(client->core, now_us);
        client_leave(client);
        pthread_mutex_lock(&client->lock);
    }
    pthread_mutex_unlock(&client->lock);
    return NULL;
}

/* ---- calls ---- */

kvp_status client_start(kvp_client *client, struct call *call, uint32_t timeout_ms)
{
    uint64_t now_us = kvp_clock_now_us();
    if (client == NULL) {
        return KVP_BAD_ARGUMENT;
    }
    call->core.deadline_us =
        now_us + (uint64_t)(timeout_ms == 0 ? client->timeout_ms : timeout_ms) * 1000;
    pthread_mutex_lock(&client->lock);
    if (client->closing) {
        pthread_mutex_unlock(&client->lock);
        return KVP_CLOSED;
    }
    client_core_start(client->core, &call->core, now_us);
    client_leave(client);
    return KVP_OK;
}

static void wake_caller(void *arg, const kvp_result *result)
{
    (void)result;
    (void)sem_post(arg);
}

kvp_status client_perform(kvp_client *client, struct call *call, uint32_t timeout_ms)
{
    sem_t done;
    (void)sem_init(&done, 0, 0);
    call->done = wake_caller;
    call->arg = &done;
    kvp_status status = client_start(client, call, timeout_ms);
    if (status == KVP_OK) {
        while (sem_wait(&done) != 0) {
            /* a signal */
        }
        status = call->result.status;
    } else {
        (void)client_refuse(&call->result, status,
                            status == KVP_BAD_ARGUMENT ? "the client is NULL" : "");
    }
    (void)sem_destroy(&done);
    return status;
}

kvp_status client_fetch_begin(kvp_client *client, const kvp_worker *worker, uint32_t slot,
                              uint64_t *number)
{
    pthread_mutex_lock(&client->lock);
    kvp_status status = client_fetches_number(&client->fetches, worker, slot, number);
    pthread_mutex_unlock(&client->lock);
    return status;
}

void client_fetch_end(kvp_client *client, const kvp_worker *worker, uint32_t slot, uint64_t number)
{
    pthread_mutex_lock(&client->lock);
    client_fetches_arrived(&client->fetches, worker, slot, number);
    pthread_mutex_unlock(&client->lock);
}

uint32_t client_timeout_ms(const kvp_client *client, uint64_t bytes)
{
    uint64_t timeout_ms = (client == NULL ? 0 : client->timeout_ms) + bytes / 128;
    return timeout_ms < UINT32_MAX ? (uint32_t)timeout_ms : UINT32_MAX;
}

kvp_status client_endpoint(kvp_client *client, const char *url, unsigned *endpoint,
                           const char **reason)
{
    *reason = "";
    if (client == NULL) {
        return KVP_BAD_ARGUMENT;
    }
    pthread_mutex_lock(&client->lock);
    kvp_status status = client_core_find(client->core, url, endpoint);
    bool opened = status == KVP_OK && client->links[*endpoint].link != NULL;
    pthread_mutex_unlock(&client->lock);
    if (status == KVP_OK && !opened) {
        *reason = "not an address: a node's is like tcp://127.0.0.1:7001";
        return KVP_BAD_ARGUMENT;
    }
    return status;
}

/* ---- life ---- */

#define OPTIONS_SIZE_FIRST offsetof(kvp_client_options, tls_cert) /* in release 0.1.0 */

void kvp_client_options_init_sized(kvp_client_options *options, size_t size)
{
    if (options != NULL && size >= OPTIONS_SIZE_FIRST) {
        memset(options, 0, size);
        options->size = size;
    }
}

/* What programs call that were built for 0.1.0: theirs is a macro since, which tells their size. */
#undef kvp_client_options_init
KVP_API void kvp_client_options_init(kvp_client_options *options);
void kvp_client_options_init(kvp_client_options *options)
{
    kvp_client_options_init_sized(options, OPTIONS_SIZE_FIRST);
}

/* Adds the addresses of a list "URL,URL". */
static kvp_status add_nodes(kvp_client *client, const char *nodes, char *message, size_t size)
{
    char url[KVP_URL_SIZE_MAX + 1];
    const char *next = nodes;
    do {
        size_t length = strcspn(next, ",");
        if (length == 0 || length > KVP_URL_SIZE_MAX) {
            (void)snprintf(message, size, "malformed list of nodes: '%.200s'", nodes);
            return KVP_BAD_ARGUMENT;
        }
        memcpy(url, next, length);
        url[length] = '\0';
        kvp_status status = client_core_add(client->core, url);
        if (status != KVP_OK) {
            (void)snprintf(message, size, "more than %u nodes", CLIENT_NODES_MAX);
            return KVP_BAD_ARGUMENT;
        }
        if (client->link_status != KVP_OK) {
            (void)snprintf(message, size,
                           client->link_status != KVP_BAD_ARGUMENT ? "%.200s: cannot be dialled"
                           : kvp_tls_is_url(url)
                               ? "%.200s wants a certificate: give yours, its key "
                                 "and the CA (--tls-cert, --tls-key, --tls-ca)"
                               : "'%.200s' is not the address of a node; one is "
                                 "like tcp://127.0.0.1:7001, with a port of 1 to "
                                 "65535",
                           url);
            return client->link_status;
        }
        next += length;
    } while (*next++ != '\0');
    return KVP_OK;
}

static kvp_status make_core(kvp_client *client, const kvp_client_options *options)
{
    struct client_core_config config = {
        .group = options->group == NULL ? "default" : options->group,
        .client_id = kvp_random_u64(),
        .seed = kvp_random_u64(),
        .try_us = (uint64_t)(options->try_ms == 0 ? TRY_MS_DEFAULT : options->try_ms) * 1000,
        .session_slots =
            options->outstanding_max == 0 ? SESSION_SLOTS_DEFAULT : options->outstanding_max,
        .port = {.arg = client,
                 .connect = port_connect,
                 .send = client_port_send,
                 .reset = port_reset,
                 .flow = port_flow,
                 .done = port_done},
    };

    if (config.session_slots > CLIENT_SESSION_SLOTS_MAX) {
        config.session_slots = CLIENT_SESSION_SLOTS_MAX;
    }
    (void)snprintf(client->group, sizeof(client->group), "%s", config.group);
    client->timeout_ms = options->timeout_ms == 0 ? TIMEOUT_MS_DEFAULT : options->timeout_ms;
    return client_core_new(&config, &client->core);
}

static kvp_status make_locks(kvp_client *client)
{
    pthread_condattr_t attributes;
    if (pthread_mutex_init(&client->lock, NULL) != 0) {
        return KVP_NO_MEMORY;
    }
    (void)pthread_condattr_init(&attributes);
    (void)pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    int failed = pthread_cond_init(&client->wake, &attributes);
    (void)pthread_condattr_destroy(&attributes);
    if (failed != 0) {
        pthread_mutex_destroy(&client->lock);
        return KVP_NO_MEMORY;
    }
    return KVP_OK;
}

/* The thread has ended or never was. */
static void dismantle(kvp_client *client)
{
    for (unsigned i = 0; i < CLIENT_ENDPOINTS_MAX; i++) {
        kvp_net_link_close(client->links[i].link);
    }
    if (client->tls != NULL) {
        kvp_tls.close(client->tls);
    }
    client_core_free(client->core);
    client_fetches_free(&client->fetches);
    pthread_cond_destroy(&client->wake);
    pthread_mutex_destroy(&client->lock);
    free(client);
}

static kvp_status client_open_handle(kvp_client *client, const kvp_client_options *options,
                                     char *message, size_t size)
{
    const struct kvp_tls_files files = {
        .cert = options->tls_cert, .key = options->tls_key, .ca = options->tls_ca};
    kvp_status status = KVP_OK;

    if (kvp_tls_is_named(&files)) {
        status = kvp_tls.open(&files, &client->tls, message, size);
    }
    if (status != KVP_OK) {
        return status;
    }
    status = make_core(client, options);
    if (status != KVP_OK) {
        (void)snprintf(message, size, "%s",
                       status == KVP_BAD_ARGUMENT ? "the group's name is empty or too long"
                                                  : kvp_strerror(status));
        return status;
    }
    /* Under the lock: a link may come up before its pointer has been stored. */
    pthread_mutex_lock(&client->lock);
    status = add_nodes(client, options->nodes, message, size);
    pthread_mutex_unlock(&client->lock);
    if (status == KVP_OK && pthread_create(&client->thread, NULL, client_run, client) != 0) {
        (void)snprintf(message, size, "no thread can be started");
        status = KVP_NO_MEMORY;
    }
    return status;
}

kvp_status kvp_client_open(const kvp_client_options *options, kvp_client **client, char *message,
                           size_t message_size)
{
    char unwanted[1];
    kvp_client_options known;
    if (message == NULL || message_size == 0) {
        message = unwanted;
        message_size = sizeof(unwanted);
    }
    kvp_status status = kvp_options_take(&known, sizeof(known), options, OPTIONS_SIZE_FIRST,
                                         "kvp_client_options_init", message, message_size);
    if (status != KVP_OK) {
        return status;
    }
    if (client == NULL || known.nodes == NULL) {
        (void)snprintf(message, message_size, "%s",
                       client == NULL ? "no place for the handle is given" : "no nodes are given");
        return KVP_BAD_ARGUMENT;
    }
    kvp_client *opened = calloc(1, sizeof(*opened));
    if (opened == NULL || make_locks(opened) != KVP_OK) {
        free(opened);
        (void)snprintf(message, message_size, "out of memory");
        return KVP_NO_MEMORY;
    }
    status = client_open_handle(opened, &known, message, message_size);
    if (status != KVP_OK) {
        dismantle(opened);
        return status;
    }
    *client = opened;
    return KVP_OK;
}

void kvp_client_close(kvp_client *client)
{
    if (client == NULL) {
        return;
    }
    pthread_mutex_lock(&client->lock);
    client->closing = true;
    client_core_stop(client->core, KVP_CLOSED);
    pthread_cond_signal(&client->wake);
    client_leave(client);
    pthread_join(client->thread, NULL);
    dismantle(client);
}
