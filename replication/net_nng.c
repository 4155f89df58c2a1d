/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The transport over NNG 1.5, with sockets in raw mode: a raw REP socket holds any number of
 * unanswered requests and answers them in any order; a raw REQ socket never sends a request again
 * by itself. What NNG does underneath, and what is done about it here:
 *
 * - A raw REP socket moves answers from its upper queue into one queue per connection and throws
 * them away when the 64 places of that are taken. Clients keep fewer requests than that unanswered
 *   (KVP_WIRE_OUTSTANDING_MAX), so only one who breaks the rule loses answers, and only his own.
 * - An answer goes out through one aio at a time; the others wait in a list. The upper queue is
 * drained without regard to slow connections, so the list is short.
 * - The upper queue of a raw REQ socket belongs to the socket, not to the connection: a request
 * that waits there while the connection breaks would go out on the next one. Therefore no more than
 * one request is given to NNG at a time, and it is taken back before a new connection starts.
 * - A connection that breaks at once may be reported as gone before it is reported as there.
 * - Nothing may be given to a socket that is being closed (NNG would keep a pointer to it), so the
 *   aios are stopped first.
 * - The dialer waits as long as the kernel retries to connect: minutes after a network that
 * swallows packets. A dialer that has not connected for CONNECT_TIMEOUT_MS is replaced.
 */
#include "replication/net.h"

#include <nng/nng.h>
#include <nng/protocol/reqrep0/rep.h>
#include <nng/protocol/reqrep0/req.h>

#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define CONNECTIONS_MAX_DEFAULT  16384u
#define RECONNECT_MIN_MS_DEFAULT 10u
#define RECONNECT_MAX_MS_DEFAULT 250u
#define CONNECT_TIMEOUT_MS       3000 /* two rounds of the watch */
#define REQUEST_ID_SIZE          4u
#define REQUEST_ID_FLAG          0x80000000u /* marks the last word of an SP header */
#define SERVER_QUEUE             64          /* places in NNG's upper queues */
#define LINK_QUEUE_MAX           256u /* requests that wait for the connection to take them */
#define LINK_QUEUE_SIZE_MAX      (4 * (size_t)KVP_MESSAGE_SIZE_MAX)

struct kvp_net_request {
    struct kvp_net_server *server;
    nng_msg *message; /* the request; once answered, the answer */
    struct kvp_net_request *next;
};

struct kvp_net_server {
    atomic_uint references; /* the owner's, and one per request held */
    nng_socket socket;
    char *url;
    size_t message_size_max;
    unsigned connections_max;
    atomic_uint connections;
    void (*on_request)(void *arg, struct kvp_net_request *request);
    void *arg;
    nng_aio *receive_aio;
    nng_aio *send_aio;
    pthread_mutex_t lock; /* guards what follows, and the starting of sends */
    bool closed;
    bool sending;
    struct kvp_net_request *first, *last; /* answered, waiting for send_aio */
};

struct kvp_net_link {
    nng_socket socket;
    char *url;
    size_t message_size_max;
    unsigned reconnect_min_ms, reconnect_max_ms;
    void (*on_answer)(void *arg, uint32_t id, kvp_slice body);
    void (*on_state)(void *arg, bool connected);
    void *arg;
    nng_aio *receive_aio;
    nng_aio *send_aio;
    nng_aio *watch_aio;
    bool was_down; /* at the last round of the watch; belongs to its callback */

    pthread_mutex_t dial_lock; /* guards `dialer` and `dial_closed` */
    nng_dialer dialer;
    bool dialing; /* `dialer` is one */
    bool dial_closed;

    pthread_mutex_t callback_lock; /* held during callbacks; taken before `lock` */
    int connection;                /* id of the newest connection that is not gone; 0: none */

    pthread_mutex_t lock; /* guards what follows, and the starting of sends */
    bool connected;       /* written under both locks */
    bool sending;
    nng_msg *queue[LINK_QUEUE_MAX]; /* a ring */
    size_t queue_first, queue_count, queue_size;
};

static kvp_status status_of(int error)
{
    switch (error) {
    case 0:
        return KVP_OK;
    case NNG_ENOMEM:
        return KVP_NO_MEMORY;
    case NNG_EADDRINUSE:
        return KVP_ADDRESS_IN_USE;
    case NNG_EADDRINVAL:
    case NNG_EINVAL:
    case NNG_ENOTSUP:
        return KVP_BAD_ARGUMENT;
    default:
        return KVP_IO;
    }
}

static bool url_is_supported(const char *url)
{
    static const char *const schemes[] = {"tcp://", "ipc://", "inproc://"};
    if (url == NULL || strlen(url) > KVP_URL_SIZE_MAX) {
        return false;
    }
    for (size_t i = 0; i < sizeof(schemes) / sizeof(schemes[0]); i++) {
        if (strncmp(url, schemes[i], strlen(schemes[i])) == 0) {
            return true;
        }
    }
    return false;
}

/* Options that endpoints made later inherit. Those that a transport does not have, it ignores. */
static int set_options(nng_socket socket, size_t message_size_max)
{
    int error = nng_socket_set_size(socket, NNG_OPT_RECVMAXSZ, message_size_max + REQUEST_ID_SIZE);
    if (error == 0) {
        error = nng_socket_set_bool(socket, NNG_OPT_TCP_NODELAY, true);
    }
    if (error == 0) {
        error = nng_socket_set_bool(socket, NNG_OPT_TCP_KEEPALIVE, true);
    }
    return error;
}

static kvp_slice body_of(nng_msg *message)
{
    return kvp_slice_of(nng_msg_body(message), nng_msg_len(message));
}

/* Frees an aio that is stopped, with the message that it could not get rid of. */
static void free_aio(nng_aio *aio)
{
    if (aio != NULL) {
        nng_msg *message = nng_aio_get_msg(aio);
        if (message != NULL) {
            nng_msg_free(message);
        }
        nng_aio_free(aio);
    }
}

/* ---- server ---- */

static void server_release(struct kvp_net_server *server)
{
    if (atomic_fetch_sub(&server->references, 1) == 1) {
        pthread_mutex_destroy(&server->lock);
        nng_strfree(server->url);
        free(server);
    }
}

static void request_free(struct kvp_net_request *request)
{
    struct kvp_net_server *server = request->server;
    if (request->message != NULL) {
        nng_msg_free(request->message);
    }
    free(request);
    server_release(server);
}

/* Takes the message over. NULL when memory is short. */
static struct kvp_net_request *request_new(struct kvp_net_server *server, nng_msg *message)
{
    struct kvp_net_request *request = malloc(sizeof(*request));
    if (request == NULL) {
        return NULL;
    }
    atomic_fetch_add(&server->references, 1);
    request->server = server;
    request->message = message;
    request->next = NULL;
    return request;
}

static void server_take(struct kvp_net_server *server, nng_msg *message)
{
    /* Transports within the machine do not know the limit. */
    if (nng_msg_len(message) > server->message_size_max) {
        nng_pipe_close(nng_msg_get_pipe(message));
        nng_msg_free(message);
        return;
    }
    struct kvp_net_request *request = request_new(server, message);
    if (request == NULL) {
        nng_msg_free(message);
        return;
    }
    server->on_request(server->arg, request);
}

/* One receive is under way at any time, and the next begins when the callback has returned: that is
 * what serializes the callbacks. */
static void server_received(void *arg)
{
    struct kvp_net_server *server = arg;
    int error = nng_aio_result(server->receive_aio);
    if (error == NNG_ECLOSED || error == NNG_ECANCELED) {
        return;
    }
    if (error == 0) {
        nng_msg *message = nng_aio_get_msg(server->receive_aio);
        nng_aio_set_msg(server->receive_aio, NULL);
        server_take(server, message);
    }
    nng_recv_aio(server->socket, server->receive_aio);
}

/* With the lock held, and no send under way. */
static void server_send_next(struct kvp_net_server *server)
{
    struct kvp_net_request *request = server->first;
    server->sending = request != NULL && !server->closed;
    if (!server->sending) {
        return;
    }
    server->first = request->next;
    if (server->first == NULL) {
        server->last = NULL;
    }
    nng_aio_set_msg(server->send_aio, request->message);
    request->message = NULL;
    nng_send_aio(server->socket, server->send_aio);
    request_free(request); /* not the last reference: the owner has one until it is closed */
}

static void server_sent(void *arg)
{
    struct kvp_net_server *server = arg;
    nng_msg *message = nng_aio_get_msg(server->send_aio);
    nng_aio_set_msg(server->send_aio, NULL);
    if (nng_aio_result(server->send_aio) != 0 && message != NULL) {
        nng_msg_free(message);
    }
    pthread_mutex_lock(&server->lock);
    server_send_next(server);
    pthread_mutex_unlock(&server->lock);
}

/* A connection that was reported before it began is reported when it is gone, once: also the one
 * that is turned away here. */
static void server_connection(nng_pipe pipe, nng_pipe_ev event, void *arg)
{
    struct kvp_net_server *server = arg;
    if (event == NNG_PIPE_EV_REM_POST) {
        atomic_fetch_sub(&server->connections, 1);
    } else if (atomic_fetch_add(&server->connections, 1) >= server->connections_max) {
        nng_pipe_close(pipe);
    }
}

static int server_start(struct kvp_net_server *server, const char *url)
{
    nng_listener listener;
    int error = nng_pipe_notify(server->socket, NNG_PIPE_EV_ADD_PRE, server_connection, server);
    if (error == 0) {
        error = nng_pipe_notify(server->socket, NNG_PIPE_EV_REM_POST, server_connection, server);
    }
    if (error == 0) {
        error = nng_aio_alloc(&server->receive_aio, server_received, server);
    }
    if (error == 0) {
        error = nng_aio_alloc(&server->send_aio, server_sent, server);
    }
    if (error == 0) {
        error = set_options(server->socket, server->message_size_max);
    }
    if (error == 0) {
        error = nng_socket_set_int(server->socket, NNG_OPT_SENDBUF, SERVER_QUEUE);
    }
    if (error == 0) {
        error = nng_listener_create(&listener, server->socket, url);
    }
    if (error == 0) {
        error = nng_listener_start(listener, 0);
    }
    if (error == 0) {
        error = nng_listener_get_string(listener, NNG_OPT_URL, &server->url);
    }
    return error;
}

kvp_status kvp_net_listen(const struct kvp_net_server_config *config,
                          struct kvp_net_server **server)
{
    assert(config->on_request != NULL);
    if (!url_is_supported(config->url)) {
        return KVP_BAD_ARGUMENT;
    }
    struct kvp_net_server *opened = calloc(1, sizeof(*opened));
    if (opened == NULL) {
        return KVP_NO_MEMORY;
    }
    atomic_init(&opened->references, 1);
    atomic_init(&opened->connections, 0);
    opened->message_size_max =
        config->message_size_max != 0 ? config->message_size_max : KVP_MESSAGE_SIZE_MAX;
    opened->connections_max =
        config->connections_max != 0 ? config->connections_max : CONNECTIONS_MAX_DEFAULT;
    opened->on_request = config->on_request;
    opened->arg = config->arg;
    pthread_mutex_init(&opened->lock, NULL);

    int error = nng_rep0_open_raw(&opened->socket);
    if (error != 0) {
        server_release(opened);
        return status_of(error);
    }
    error = server_start(opened, config->url);
    if (error != 0) {
        kvp_net_server_close(opened);
        return status_of(error);
    }
    *server = opened;
    nng_recv_aio(opened->socket, opened->receive_aio);
    return KVP_OK;
}

const char *kvp_net_server_url(const struct kvp_net_server *server)
{
    return server->url;
}

unsigned kvp_net_server_connections(const struct kvp_net_server *server)
{
    unsigned count = atomic_load(&server->connections);
    return count < server->connections_max ? count : server->connections_max;
}

void kvp_net_server_close(struct kvp_net_server *server)
{
    if (server == NULL) {
        return;
    }
    pthread_mutex_lock(&server->lock);
    assert(!server->closed);
    server->closed = true;
    pthread_mutex_unlock(&server->lock);

    nng_aio_stop(server->receive_aio);
    nng_aio_stop(server->send_aio);
    nng_close(server->socket); /* returns when every connection has been reported gone */
    free_aio(server->receive_aio);
    free_aio(server->send_aio);
    while (server->first != NULL) {
        struct kvp_net_request *request = server->first;
        server->first = request->next;
        request_free(request);
    }
    server_release(server);
}

kvp_slice kvp_net_request_body(const struct kvp_net_request *request)
{
    return body_of(request->message);
}

void kvp_net_drop(struct kvp_net_request *request)
{
    request_free(request);
}

/* Puts the answer in the place of the request, with its header: connection and request id. */
static bool request_turn(struct kvp_net_request *request, kvp_slice body)
{
    nng_msg *answer;
    if (nng_msg_alloc(&answer, 0) != 0) {
        return false;
    }
    if (nng_msg_append(answer, body.data, body.size) != 0 ||
        nng_msg_header_append(answer, nng_msg_header(request->message),
                              nng_msg_header_len(request->message)) != 0) {
        nng_msg_free(answer);
        return false;
    }
    nng_msg_free(request->message);
    request->message = answer;
    return true;
}

void kvp_net_answer(struct kvp_net_request *request, kvp_slice body)
{
    struct kvp_net_server *server = request->server;
    if (!request_turn(request, body)) {
        request_free(request); /* no memory: to the client a lost answer, as any other */
        return;
    }
    pthread_mutex_lock(&server->lock);
    bool closed = server->closed;
    if (!closed) {
        if (server->last != NULL) {
            server->last->next = request;
        } else {
            server->first = request;
        }
        server->last = request;
        if (!server->sending) {
            server_send_next(server);
        }
    }
    pthread_mutex_unlock(&server->lock);
    if (closed) {
        request_free(request);
    }
}

/* ---- link ---- */

/* With the lock held, and no send under way. */
static void link_send_next(struct kvp_net_link *link)
{
    link->sending = link->connected && link->queue_count > 0;
    if (!link->sending) {
        return;
    }
    nng_msg *message = link->queue[link->queue_first];
    link->queue_first = (link->queue_first + 1) % LINK_QUEUE_MAX;
    link->queue_count--;
    link->queue_size -= nng_msg_len(message);
    nng_aio_set_msg(link->send_aio, message);
    nng_send_aio(link->socket, link->send_aio);
}

static void link_sent(void *arg)
{
    struct kvp_net_link *link = arg;
    nng_msg *message = nng_aio_get_msg(link->send_aio);
    nng_aio_set_msg(link->send_aio, NULL);
    if (nng_aio_result(link->send_aio) != 0 && message != NULL) {
        nng_msg_free(message);
    }
    pthread_mutex_lock(&link->lock);
    link_send_next(link);
    pthread_mutex_unlock(&link->lock);
}

/* With the callback lock held. */
static void link_set_connected(struct kvp_net_link *link, bool connected)
{
    pthread_mutex_lock(&link->lock);
    bool changed = link->connected != connected;
    link->connected = connected;
    while (!connected && link->queue_count > 0) {
        nng_msg_free(link->queue[link->queue_first]);
        link->queue_first = (link->queue_first + 1) % LINK_QUEUE_MAX;
        link->queue_count--;
    }
    if (link->queue_count == 0) {
        link->queue_size = 0;
    }
    pthread_mutex_unlock(&link->lock);
    if (!connected) {
        nng_aio_cancel(link->send_aio); /* out of NNG's queue before this returns */
    }
    if (changed && link->on_state != NULL) {
        link->on_state(link->arg, connected);
    }
}

static void link_connection(nng_pipe pipe, nng_pipe_ev event, void *arg)
{
    struct kvp_net_link *link = arg;
    int id = nng_pipe_id(pipe);
    pthread_mutex_lock(&link->callback_lock);
    if (event == NNG_PIPE_EV_ADD_PRE) {
        link_set_connected(link, false);
        link->connection = id;
    } else if (link->connection == id) {
        if (event == NNG_PIPE_EV_REM_POST) {
            link->connection = 0;
        }
        link_set_connected(link, event == NNG_PIPE_EV_ADD_POST);
    }
    pthread_mutex_unlock(&link->callback_lock);
}

static void link_take(struct kvp_net_link *link, nng_msg *message)
{
    uint32_t id;
    bool sound = nng_msg_header_len(message) == REQUEST_ID_SIZE &&
                 nng_msg_header_trim_u32(message, &id) == 0 &&
                 nng_msg_len(message) <= link->message_size_max;
    pthread_mutex_lock(&link->callback_lock);
    if (sound && link->connected && nng_pipe_id(nng_msg_get_pipe(message)) == link->connection) {
        link->on_answer(link->arg, id & ~REQUEST_ID_FLAG, body_of(message));
    }
    pthread_mutex_unlock(&link->callback_lock);
}

static void link_received(void *arg)
{
    struct kvp_net_link *link = arg;
    int error = nng_aio_result(link->receive_aio);
    if (error == NNG_ECLOSED || error == NNG_ECANCELED) {
        return;
    }
    if (error == 0) {
        nng_msg *message = nng_aio_get_msg(link->receive_aio);
        nng_aio_set_msg(link->receive_aio, NULL);
        link_take(link, message);
        nng_msg_free(message);
    }
    nng_recv_aio(link->socket, link->receive_aio);
}

/* With the dial lock held. Replaces the dialer, if there is one, and the connection that it made.
 */
static int link_dial(struct kvp_net_link *link)
{
    if (link->dialing) {
        nng_dialer_close(link->dialer);
        link->dialing = false;
    }
    int error = nng_dialer_create(&link->dialer, link->socket, link->url);
    if (error != 0) {
        return error;
    }
    link->dialing = true;
    error =
        nng_dialer_set_ms(link->dialer, NNG_OPT_RECONNMINT, (nng_duration)link->reconnect_min_ms);
    if (error == 0) {
        error = nng_dialer_set_ms(link->dialer, NNG_OPT_RECONNMAXT,
                                  (nng_duration)link->reconnect_max_ms);
    }
    if (error == 0) {
        error = nng_dialer_start(link->dialer, NNG_FLAG_NONBLOCK);
    }
    return error;
}

/* A failure here (memory) leaves the link down until the watch comes round again. */
static void link_redial(struct kvp_net_link *link)
{
    pthread_mutex_lock(&link->dial_lock);
    if (!link->dial_closed) {
        (void)link_dial(link);
    }
    pthread_mutex_unlock(&link->dial_lock);
}

static void link_watch(void *arg)
{
    struct kvp_net_link *link = arg;
    if (nng_aio_result(link->watch_aio) != 0) {
        return;
    }
    pthread_mutex_lock(&link->lock);
    bool connected = link->connected;
    pthread_mutex_unlock(&link->lock);
    bool replace = !connected && link->was_down;
    link->was_down = !connected && !replace; /* a new dialer gets its full time */
    if (replace) {
        link_redial(link);
    }
    nng_sleep_aio(CONNECT_TIMEOUT_MS / 2, link->watch_aio);
}

static int link_start(struct kvp_net_link *link)
{
    static const nng_pipe_ev events[] = {NNG_PIPE_EV_ADD_PRE, NNG_PIPE_EV_ADD_POST,
                                         NNG_PIPE_EV_REM_POST};
    int error = 0;
    for (size_t i = 0; error == 0 && i < sizeof(events) / sizeof(events[0]); i++) {
        error = nng_pipe_notify(link->socket, events[i], link_connection, link);
    }
    if (error == 0) {
        error = nng_aio_alloc(&link->receive_aio, link_received, link);
    }
    if (error == 0) {
        error = nng_aio_alloc(&link->send_aio, link_sent, link);
    }
    if (error == 0) {
        error = nng_aio_alloc(&link->watch_aio, link_watch, link);
    }
    if (error == 0) {
        error = set_options(link->socket, link->message_size_max);
    }
    if (error == 0) {
        pthread_mutex_lock(&link->dial_lock);
        error = link_dial(link);
        pthread_mutex_unlock(&link->dial_lock);
    }
    return error;
}

static void link_free(struct kvp_net_link *link)
{
    assert(link->queue_count == 0); /* emptied when the connection went */
    pthread_mutex_destroy(&link->dial_lock);
    pthread_mutex_destroy(&link->callback_lock);
    pthread_mutex_destroy(&link->lock);
    free(link->url);
    free(link);
}

/* Everything that needs neither NNG nor can fail in more than one way. */
static struct kvp_net_link *link_new(const struct kvp_net_link_config *config)
{
    struct kvp_net_link *link = calloc(1, sizeof(*link));
    if (link == NULL) {
        return NULL;
    }
    pthread_mutex_init(&link->dial_lock, NULL);
    pthread_mutex_init(&link->callback_lock, NULL);
    pthread_mutex_init(&link->lock, NULL);
    link->message_size_max =
        config->message_size_max != 0 ? config->message_size_max : KVP_MESSAGE_SIZE_MAX;
    link->reconnect_min_ms =
        config->reconnect_min_ms != 0 ? config->reconnect_min_ms : RECONNECT_MIN_MS_DEFAULT;
    link->reconnect_max_ms =
        config->reconnect_max_ms != 0 ? config->reconnect_max_ms : RECONNECT_MAX_MS_DEFAULT;
    link->on_answer = config->on_answer;
    link->on_state = config->on_state;
    link->arg = config->arg;
    link->url = strdup(config->url);
    if (link->url == NULL) {
        link_free(link);
        return NULL;
    }
    return link;
}

kvp_status kvp_net_link_open(const struct kvp_net_link_config *config, struct kvp_net_link **link)
{
    assert(config->on_answer != NULL);
    if (!url_is_supported(config->url)) {
        return KVP_BAD_ARGUMENT;
    }
    struct kvp_net_link *opened = link_new(config);
    if (opened == NULL) {
        return KVP_NO_MEMORY;
    }
    int error = nng_req0_open_raw(&opened->socket);
    if (error != 0) {
        link_free(opened);
        return status_of(error);
    }
    error = link_start(opened);
    if (error != 0) {
        kvp_net_link_close(opened);
        return status_of(error);
    }
    *link = opened;
    nng_recv_aio(opened->socket, opened->receive_aio);
    nng_sleep_aio(CONNECT_TIMEOUT_MS / 2, opened->watch_aio);
    return KVP_OK;
}

static kvp_status link_enqueue(struct kvp_net_link *link, nng_msg *message)
{
    kvp_status status = KVP_OK;
    size_t size = nng_msg_len(message);
    pthread_mutex_lock(&link->lock);
    if (!link->connected) {
        status = KVP_UNAVAILABLE;
    } else if (link->queue_count == LINK_QUEUE_MAX ||
               (link->queue_count > 0 && size > LINK_QUEUE_SIZE_MAX - link->queue_size)) {
        status = KVP_BUSY;
    } else {
        link->queue[(link->queue_first + link->queue_count) % LINK_QUEUE_MAX] = message;
        link->queue_count++;
        link->queue_size += size;
        if (!link->sending) {
            link_send_next(link);
        }
    }
    pthread_mutex_unlock(&link->lock);
    return status;
}

kvp_status kvp_net_link_send(struct kvp_net_link *link, uint32_t id, kvp_slice body)
{
    if ((id & REQUEST_ID_FLAG) != 0) {
        return KVP_BAD_ARGUMENT;
    }
    if (body.size > link->message_size_max) {
        return KVP_TOO_LARGE;
    }
    nng_msg *message;
    if (nng_msg_alloc(&message, 0) != 0) {
        return KVP_NO_MEMORY;
    }
    kvp_status status = KVP_NO_MEMORY;
    if (nng_msg_append(message, body.data, body.size) == 0 &&
        nng_msg_header_append_u32(message, REQUEST_ID_FLAG | id) == 0) {
        status = link_enqueue(link, message);
    }
    if (status != KVP_OK) {
        nng_msg_free(message);
    }
    return status;
}

void kvp_net_link_reset(struct kvp_net_link *link)
{
    link_redial(link);
}

void kvp_net_link_close(struct kvp_net_link *link)
{
    if (link == NULL) {
        return;
    }
    pthread_mutex_lock(&link->dial_lock);
    link->dial_closed = true;
    pthread_mutex_unlock(&link->dial_lock);
    pthread_mutex_lock(&link->callback_lock);
    link->on_state = NULL; /* closing is no news to who closes */
    pthread_mutex_unlock(&link->callback_lock);
    nng_aio_stop(link->watch_aio);
    nng_aio_stop(link->receive_aio);
    nng_aio_stop(link->send_aio);
    nng_close(link->socket); /* returns when the connection has been reported gone */
    free_aio(link->watch_aio);
    free_aio(link->receive_aio);
    free_aio(link->send_aio);
    link_free(link);
}
