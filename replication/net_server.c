/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The server's side of the transport: one thread that accepts, receives and closes, and answers that
 * go out from any thread.
 *
 * A client that does not read its answers, or asks without end, is not read from while he has
 * HELD_MAX requests or HELD_SIZE_MAX bytes with us. What he had asked for by then may make far more
 * than that: he is cut off when more than HELD_SIZE_MAX wait for him, or when he has most of what
 * is too much for all together. Who is cut off asks again, as after any loss.
 */
#include "replication/clock.h"
#include "replication/net_parts.h"
#include "replication/sp_listen.h"
#include "replication/sp_stream.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define CONNECTIONS_MAX_DEFAULT 16384u
#define DESCRIPTORS_KEPT        256u /* for all else in the process: files, links */
#define GREETING_TIMEOUT_US     5000000u
#define HOUSEKEEPING_MS         500 /* while there are ungreeted connections */
#define ACCEPT_PAUSE_MS         100 /* when the process is out of descriptors or memory */
#define READ_SIZE               65536u
#define EVENTS_MAX              64
#define HELD_MAX                256u /* of a connection: requests not answered, answers not sent */
#define HELD_SIZE_MAX           (64u * 1024u * 1024u)
#define UNSENT_MAX_DEFAULT      (512u * 1024u * 1024u)
#define DELAYED_MAX             64u /* answers to a connection that wait while the server holds */
#define DELAYED_SIZE_MAX        65536u

struct connection {
    struct kvp_net_server *server;
    struct connection *previous, *next; /* in the server's list, while open */
    uint64_t accepted_us;
    bool greeted; /* as the thread has seen it */
    struct sp_stream stream;
    /* Guarded by the server's lock, as is the stream's sending half. */
    size_t held; /* requests that the callee has */
    size_t held_size;
    size_t unsent;   /* bytes of answers in the queue, as the server's sum has them */
    bool delayed;    /* has output that waits until the server lets go */
    struct connection *next_delayed;
    bool cut_off;    /* gets nothing more; to be closed by the thread */
    bool paused;     /* not read from */
    uint32_t events; /* as epoll knows them */
};

struct kvp_net_request {
    struct connection *connection;
    struct sp_message *message;
};

struct kvp_net_server {
    atomic_uint references; /* the owner's, and one per request held */
    struct sp_address address;
    struct sp_listener listener;
    size_t message_size_max;
    unsigned connections_max;
    size_t unsent_max;
    atomic_uint connections;
    void (*on_request)(void *arg, struct kvp_net_request *request);
    void *arg;
    pthread_t thread;
    int epoll_fd, wake_fd;
    struct connection *open;  /* changed by the thread, with the lock held */
    size_t ungreeted;         /* belongs to the thread, as does what follows */
    uint64_t cut_us;          /* when the ungreeted ones were last looked through */
    uint64_t accept_again_us; /* 0: the listener is being watched */
    uint8_t buffer[READ_SIZE];
    pthread_mutex_t lock; /* guards what follows */
    size_t unsent;        /* of all connections */
    bool holds;
    struct connection *delayed;
    bool closed;
};

/* ---- server: connections, from any thread, with the lock held ---- */

static bool has_output(const struct sp_stream *stream)
{
    return stream->first != NULL || stream->greeting_sent < SP_GREETING_SIZE;
}

/* Tells epoll what the connection waits for now. */
static void connection_arm(struct connection *connection)
{
    size_t count = connection->held + connection->stream.queue_count;
    size_t size = connection->held_size + connection->stream.queue_size;
    if (connection->paused) {
        connection->paused = count > HELD_MAX / 2 || size > HELD_SIZE_MAX / 2;
    } else {
        connection->paused = count >= HELD_MAX || size >= HELD_SIZE_MAX;
    }
    bool output = has_output(&connection->stream) && !connection->delayed;
    uint32_t events =
        (connection->paused ? 0u : (uint32_t)EPOLLIN) | (output ? (uint32_t)EPOLLOUT : 0u);
    if (events != connection->events) {
        struct epoll_event event = {.events = events, .data.ptr = connection};
        connection->events = events;
        if (epoll_ctl(connection->server->epoll_fd, EPOLL_CTL_MOD, connection->stream.fd, &event) !=
            0) {
            net_break_off(&connection->stream);
        }
    }
}

static void count_unsent(struct connection *connection)
{
    struct kvp_net_server *server = connection->server;
    server->unsent += connection->stream.queue_size - connection->unsent;
    connection->unsent = connection->stream.queue_size;
}

static void connection_flush(struct connection *connection)
{
    bool pending;
    if (sp_stream_flush(&connection->stream, &pending) != KVP_OK) {
        net_break_off(&connection->stream);
    }
    count_unsent(connection);
    connection_arm(connection);
}

/* What has to be sent goes out when the server lets go. False: it goes out now. */
static bool connection_delay(struct connection *connection)
{
    struct kvp_net_server *server = connection->server;
    if (!server->holds || connection->stream.queue_count >= DELAYED_MAX ||
        connection->stream.queue_size >= DELAYED_SIZE_MAX) {
        return false;
    }
    if (!connection->delayed) {
        connection->delayed = true;
        connection->next_delayed = server->delayed;
        server->delayed = connection;
    }
    count_unsent(connection);
    connection_arm(connection);
    return true;
}

static void connection_undelay(struct connection *connection)
{
    struct connection **link = &connection->server->delayed;
    while (connection->delayed && *link != connection) {
        link = &(*link)->next_delayed;
    }
    if (connection->delayed) {
        *link = connection->next_delayed;
        connection->delayed = false;
    }
}

static void connection_cut_off(struct connection *connection)
{
    connection->cut_off = true;
    net_break_off(&connection->stream);
    sp_stream_drop_queue(&connection->stream);
    count_unsent(connection);
    connection_arm(connection);
}

static struct connection *find_slowest(const struct kvp_net_server *server)
{
    struct connection *slowest = server->open;
    for (struct connection *each = server->open; each != NULL; each = each->next) {
        slowest = each->unsent > slowest->unsent ? each : slowest;
    }
    return slowest;
}

/* Takes the message over. */
static void connection_send(struct connection *connection, struct sp_message *message)
{
    struct kvp_net_server *server = connection->server;
    if (connection->cut_off) {
        free(message);
        return;
    }
    bool waiting = has_output(&connection->stream) && !connection->delayed;
    sp_stream_push(&connection->stream, message);
    if (waiting) {
        count_unsent(connection);
        connection_arm(connection);
    } else if (!connection_delay(connection)) {
        connection_undelay(connection);
        connection_flush(connection);
    }
    if (connection->unsent > HELD_SIZE_MAX) {
        connection_cut_off(connection);
    }
    while (server->unsent > server->unsent_max) {
        connection_cut_off(find_slowest(server));
    }
}

static void connection_free_if_unused(struct connection *connection)
{
    if (connection->stream.fd < 0 && connection->held == 0) {
        free(connection);
    }
}

/* ---- server: requests ---- */

static void server_release(struct kvp_net_server *server)
{
    if (atomic_fetch_sub(&server->references, 1) == 1) {
        pthread_mutex_destroy(&server->lock);
        free(server);
    }
}

/* Gives up the request, with an answer or without (NULL). */
static void request_finish(struct kvp_net_request *request, struct sp_message *answer)
{
    struct connection *connection = request->connection;
    struct kvp_net_server *server = connection->server;
    pthread_mutex_lock(&server->lock);
    assert(connection->held > 0);
    connection->held--;
    connection->held_size -= request->message->size;
    if (connection->stream.fd < 0) {
        free(answer);
        connection_free_if_unused(connection);
    } else if (answer != NULL) {
        connection_send(connection, answer);
    } else {
        connection_arm(connection);
    }
    pthread_mutex_unlock(&server->lock);
    free(request->message);
    free(request);
    server_release(server);
}

kvp_slice kvp_net_request_body(const struct kvp_net_request *request)
{
    return sp_message_body(request->message);
}

void kvp_net_answer(struct kvp_net_request *request, kvp_slice body)
{
    /* Without memory the answer is lost, and the client asks again, as after any loss. */
    bool local = request->connection->server->address.kind != SP_ADDRESS_TCP;
    request_finish(request, sp_message_new(local, sp_message_header(request->message), body));
}

void kvp_net_drop(struct kvp_net_request *request)
{
    request_finish(request, NULL);
}

bool kvp_net_request_alive(const struct kvp_net_request *request)
{
    struct kvp_net_server *server = request->connection->server;
    pthread_mutex_lock(&server->lock);
    bool alive = request->connection->stream.fd >= 0;
    pthread_mutex_unlock(&server->lock);
    return alive;
}

void kvp_net_server_hold(struct kvp_net_server *server)
{
    pthread_mutex_lock(&server->lock);
    server->holds = true;
    pthread_mutex_unlock(&server->lock);
}

void kvp_net_server_let_go(struct kvp_net_server *server)
{
    pthread_mutex_lock(&server->lock);
    server->holds = false;
    while (server->delayed != NULL) {
        struct connection *connection = server->delayed;
        connection_undelay(connection);
        connection_flush(connection);
    }
    pthread_mutex_unlock(&server->lock);
}

/* ---- server: its thread ---- */

/* With the lock held. */
static void unlist(struct connection *connection)
{
    if (connection->previous != NULL) {
        connection->previous->next = connection->next;
    } else {
        connection->server->open = connection->next;
    }
    if (connection->next != NULL) {
        connection->next->previous = connection->previous;
    }
}

static void connection_close(struct connection *connection)
{
    struct kvp_net_server *server = connection->server;
    if (!connection->greeted) {
        server->ungreeted--;
    }
    /* Epoll forgets what is closed only when nobody has a copy, and a forked child may. */
    (void)epoll_ctl(server->epoll_fd, EPOLL_CTL_DEL, connection->stream.fd, NULL);
    pthread_mutex_lock(&server->lock);
    unlist(connection);
    connection_undelay(connection);
    sp_stream_end(&connection->stream);
    count_unsent(connection);
    connection_free_if_unused(connection);
    pthread_mutex_unlock(&server->lock);
    atomic_fetch_sub(&server->connections, 1);
}

static void connection_add(struct kvp_net_server *server, int fd)
{
    struct connection *connection = calloc(1, sizeof(*connection));
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT, .data.ptr = connection};
    if (connection == NULL || epoll_ctl(server->epoll_fd, EPOLL_CTL_ADD, fd, &event) != 0) {
        free(connection);
        (void)close(fd);
        return;
    }
    sp_address_tune(&server->address, fd);
    sp_stream_begin(&connection->stream, fd, server->address.kind != SP_ADDRESS_TCP,
                    SP_PROTOCOL_REP, server->message_size_max);
    connection->server = server;
    connection->accepted_us = kvp_clock_now_us();
    connection->events = event.events;
    pthread_mutex_lock(&server->lock);
    connection->next = server->open;
    if (server->open != NULL) {
        server->open->previous = connection;
    }
    server->open = connection;
    pthread_mutex_unlock(&server->lock);
    server->ungreeted++;
    atomic_fetch_add(&server->connections, 1);
}

static bool watch_listener(struct kvp_net_server *server, bool on)
{
    bool done = true;
    for (unsigned i = 0; i < server->listener.count; i++) {
        int *fd = &server->listener.fds[i];
        struct epoll_event event = {.events = on ? EPOLLIN : 0, .data.ptr = fd};
        done = epoll_ctl(server->epoll_fd, EPOLL_CTL_MOD, *fd, &event) == 0 && done;
    }
    return done;
}

/* The listening socket that an event is about; NULL: it is about something else. */
static const int *listener_of(const struct kvp_net_server *server, const struct epoll_event *event)
{
    const int *listening = NULL;
    for (unsigned i = 0; i < server->listener.count; i++) {
        if (event->data.ptr == &server->listener.fds[i]) {
            listening = &server->listener.fds[i];
        }
    }
    return listening;
}

/* Epoll would go on telling of a connection that cannot be accepted. */
static void pause_accepting(struct kvp_net_server *server)
{
    if (watch_listener(server, false)) {
        server->accept_again_us = kvp_clock_now_us() + ACCEPT_PAUSE_MS * 1000u;
    }
}

/* Returns how long the pause still lasts; -1: there is none. */
static int end_pause_if_due(struct kvp_net_server *server)
{
    if (server->accept_again_us == 0) {
        return -1;
    }
    uint64_t now_us = kvp_clock_now_us();
    if (now_us < server->accept_again_us) {
        return (int)((server->accept_again_us - now_us + 999) / 1000);
    }
    if (!watch_listener(server, true)) {
        return ACCEPT_PAUSE_MS;
    }
    server->accept_again_us = 0;
    return -1;
}

/* One connection per event: the others are still there at the next round. */
static void server_accept(struct kvp_net_server *server, int listening)
{
    int fd = accept4(listening, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd >= 0) {
        if (atomic_load(&server->connections) < server->connections_max) {
            connection_add(server, fd);
        } else {
            (void)close(fd);
        }
    } else if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS) {
        pause_accepting(server);
    }
}

/* Hands a message to the callee. */
static void connection_deliver(struct connection *connection, struct sp_message *message)
{
    struct kvp_net_server *server = connection->server;
    struct kvp_net_request *request = malloc(sizeof(*request));
    if (request == NULL) {
        free(message);
        return;
    }
    request->connection = connection;
    request->message = message;
    atomic_fetch_add(&server->references, 1);
    pthread_mutex_lock(&server->lock);
    connection->held++;
    connection->held_size += message->size;
    connection_arm(connection);
    pthread_mutex_unlock(&server->lock);
    server->on_request(server->arg, request);
}

/* False when the connection is to be closed. */
static bool connection_receive(struct connection *connection)
{
    struct kvp_net_server *server = connection->server;
    ssize_t got = recv(connection->stream.fd, server->buffer, READ_SIZE, 0);
    if (got <= 0) {
        return got < 0 && (errno == EAGAIN || errno == EINTR);
    }
    size_t used = 0;
    while (used < (size_t)got) {
        size_t taken = 0;
        struct sp_message *message;
        if (sp_stream_feed(&connection->stream, server->buffer + used, (size_t)got - used, &taken,
                           &message) != KVP_OK) {
            return false;
        }
        used += taken;
        if (message != NULL) {
            connection_deliver(connection, message);
        }
    }
    if (connection->stream.greeted && !connection->greeted) {
        connection->greeted = true;
        server->ungreeted--;
    }
    return true;
}

static bool is_cut_off(struct connection *connection)
{
    pthread_mutex_lock(&connection->server->lock);
    bool cut_off = connection->cut_off;
    pthread_mutex_unlock(&connection->server->lock);
    return cut_off;
}

static void connection_event(struct connection *connection, uint32_t events)
{
    bool alive = !is_cut_off(connection);
    if (!alive) {
        /* what he still asks for is of no interest */
    } else if ((events & EPOLLIN) != 0) {
        alive = connection_receive(connection);
    } else if ((events & (EPOLLHUP | EPOLLERR)) != 0) {
        alive = false;
    }
    if (!alive) {
        connection_close(connection);
    } else if ((events & EPOLLOUT) != 0) {
        pthread_mutex_lock(&connection->server->lock);
        connection_flush(connection);
        pthread_mutex_unlock(&connection->server->lock);
    }
}

/* Closes who has connected and not greeted. */
static void cut_ungreeted(struct kvp_net_server *server)
{
    uint64_t now_us = kvp_clock_now_us();
    struct connection *next;
    if (now_us - server->cut_us < HOUSEKEEPING_MS * 1000u) {
        return;
    }
    server->cut_us = now_us;
    for (struct connection *connection = server->open; connection != NULL; connection = next) {
        next = connection->next;
        if (!connection->greeted && now_us - connection->accepted_us > GREETING_TIMEOUT_US) {
            connection_close(connection);
        }
    }
}

static void server_event(struct kvp_net_server *server, const struct epoll_event *event)
{
    const int *listening = listener_of(server, event);
    if (listening != NULL) {
        server_accept(server, *listening);
    } else if (event->data.ptr == &server->wake_fd) {
        net_take_wake(server->wake_fd);
    } else {
        connection_event(event->data.ptr, event->events);
    }
}

static bool server_is_closed(struct kvp_net_server *server)
{
    pthread_mutex_lock(&server->lock);
    bool closed = server->closed;
    pthread_mutex_unlock(&server->lock);
    return closed;
}

static void *server_run(void *arg)
{
    struct kvp_net_server *server = arg;
    struct epoll_event events[EVENTS_MAX];
    while (!server_is_closed(server)) {
        int timeout_ms = end_pause_if_due(server);
        if (timeout_ms < 0 && server->ungreeted > 0) {
            timeout_ms = HOUSEKEEPING_MS;
        }
        int count = epoll_wait(server->epoll_fd, events, EVENTS_MAX, timeout_ms);
        for (int i = 0; i < count; i++) {
            server_event(server, &events[i]);
        }
        if (server->ungreeted > 0) {
            cut_ungreeted(server);
        }
    }
    while (server->open != NULL) {
        connection_close(server->open);
    }
    return NULL;
}

/* ---- server: opening and closing ---- */

static kvp_status watch(struct kvp_net_server *server, int *fd)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = fd};
    return epoll_ctl(server->epoll_fd, EPOLL_CTL_ADD, *fd, &event) == 0 ? KVP_OK : KVP_IO;
}

static kvp_status server_start(struct kvp_net_server *server)
{
    kvp_status status = sp_listen_open(&server->address, &server->listener);
    if (status != KVP_OK) {
        return status;
    }
    server->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    server->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (server->epoll_fd < 0 || server->wake_fd < 0) {
        return KVP_IO;
    }
    status = watch(server, &server->wake_fd);
    for (unsigned i = 0; i < server->listener.count && status == KVP_OK; i++) {
        status = watch(server, &server->listener.fds[i]);
    }
    if (status == KVP_OK && net_start_thread(&server->thread, server_run, server) != 0) {
        status = KVP_NO_MEMORY;
    }
    return status;
}

/* After its thread has ended, or was never started. */
static void server_end(struct kvp_net_server *server)
{
    sp_listen_close(&server->listener);
    net_close_fd(server->epoll_fd);
    net_close_fd(server->wake_fd);
    server_release(server);
}

/* Connections must not take the descriptors that files and links need: a store that cannot open a
 * file has failed. Where few are allowed, a quarter of them is kept. */
static unsigned cap_connections(size_t wanted)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY) {
        rlim_t quarter = limit.rlim_cur / 4;
        rlim_t left = limit.rlim_cur - (quarter < DESCRIPTORS_KEPT ? quarter : DESCRIPTORS_KEPT);
        wanted = wanted < left ? wanted : (size_t)left;
    }
    return (unsigned)wanted;
}

static void tell_reason(const struct kvp_net_server_config *config, const char *reason)
{
    if (config->reason != NULL) {
        (void)snprintf(config->reason, config->reason_size, "%s", reason);
    }
}

kvp_status kvp_net_listen(const struct kvp_net_server_config *config,
                          struct kvp_net_server **server)
{
    assert(config->on_request != NULL);
    struct sp_address address;
    kvp_status status = sp_address_parse(config->url, &address);
    if (status != KVP_OK) {
        tell_reason(config, "not of the form tcp://HOST:PORT or ipc://PATH");
        return status;
    }
    struct kvp_net_server *opened = calloc(1, sizeof(*opened));
    if (opened == NULL) {
        return KVP_NO_MEMORY;
    }
    atomic_init(&opened->references, 1);
    atomic_init(&opened->connections, 0);
    pthread_mutex_init(&opened->lock, NULL);
    opened->address = address;
    opened->epoll_fd = opened->wake_fd = -1;
    opened->message_size_max = net_or_default(config->message_size_max, KVP_MESSAGE_SIZE_MAX);
    opened->connections_max =
        cap_connections(net_or_default(config->connections_max, CONNECTIONS_MAX_DEFAULT));
    opened->unsent_max = net_or_default(config->unsent_max, UNSENT_MAX_DEFAULT);
    opened->on_request = config->on_request;
    opened->arg = config->arg;
    status = server_start(opened);
    if (status != KVP_OK) {
        tell_reason(config, opened->listener.reason[0] != '\0' ? opened->listener.reason
                                                               : kvp_strerror(status));
        server_end(opened);
        return status;
    }
    *server = opened;
    return KVP_OK;
}

const char *kvp_net_server_url(const struct kvp_net_server *server)
{
    return server->listener.url;
}

unsigned kvp_net_server_connections(const struct kvp_net_server *server)
{
    return atomic_load(&server->connections);
}

void kvp_net_server_close(struct kvp_net_server *server)
{
    if (server == NULL) {
        return;
    }
    assert(!pthread_equal(pthread_self(), server->thread));
    pthread_mutex_lock(&server->lock);
    server->closed = true;
    pthread_mutex_unlock(&server->lock);
    net_wake(server->wake_fd);
    (void)pthread_join(server->thread, NULL);
    server_end(server);
}
