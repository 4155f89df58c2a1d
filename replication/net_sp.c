/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The transport over plain sockets, speaking the SP protocol of NNG and nanomsg on the wire. One
 * thread per server and one per link: it alone receives, connects, closes and calls back, which is
 * what serializes the callbacks. Any thread may send: under the object's lock, straight into the
 * socket; only what the socket does not take waits for the thread.
 *
 * Why not NNG's own sockets: in NNG 1.5.2 (Debian 12), closing a TCP connection in the moment
 * between the arrival of a part of a message and its callback leaves an operation that never ends,
 * and the one thread that disposes of connections waits for it for ever: no connection of the
 * process is closed, reported gone or dialled again from then on (fixed upstream by
 * nanomsg/nng#1636). Closing links with answers under way met it within ten attempts.
 *
 * A client that does not read its answers, or asks without end, is not read from while he has
 * HELD_MAX requests or HELD_SIZE_MAX bytes with us. What he had asked for by then may make far more
 * than that: he is cut off when more than HELD_SIZE_MAX wait for him, or when he has most of what
 * is too much for all together. Who is cut off asks again, as after any loss.
 */
#include "replication/net.h"
#include "replication/clock.h"
#include "replication/sp_listen.h"
#include "replication/sp_stream.h"

#include <assert.h>
#include <errno.h>
#include <linux/sockios.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define CONNECTIONS_MAX_DEFAULT  16384u
#define DESCRIPTORS_KEPT         256u /* for all else in the process: files, links */
#define RECONNECT_MIN_MS_DEFAULT 10u
#define RECONNECT_MAX_MS_DEFAULT 250u
#define CONNECT_TIMEOUT_US       3000000u /* the kernel alone would try for two minutes */
#define GREETING_TIMEOUT_US      5000000u
#define HOUSEKEEPING_MS          500 /* while there are ungreeted connections */
#define ACCEPT_PAUSE_MS          100 /* when the process is out of descriptors or memory */
#define READ_SIZE                65536u
#define EVENTS_MAX               64
#define HELD_MAX                 256u /* of a connection: requests not answered, answers not sent */
#define HELD_SIZE_MAX            (64u * 1024u * 1024u)
#define UNSENT_MAX_DEFAULT       (512u * 1024u * 1024u)
#define DELAYED_MAX              64u /* answers to a connection that wait while the server holds */
#define DELAYED_SIZE_MAX         65536u
#define LINK_QUEUE_MAX           256u
#define LINK_QUEUE_SIZE_MAX      (64u * 1024u * 1024u)

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

struct kvp_net_link {
    struct sp_address address;
    size_t message_size_max;
    unsigned reconnect_min_ms, reconnect_max_ms;
    void (*on_answer)(void *arg, uint32_t id, kvp_slice body);
    void (*on_state)(void *arg, bool connected);
    void *arg;
    pthread_t thread;
    int wake_fd;
    unsigned attempt; /* belongs to the thread, as does what follows */
    unsigned pause_ms;
    uint8_t buffer[READ_SIZE];
    atomic_uint_fast64_t received; /* bytes */
    atomic_bool incoming;          /* a part of a message has come */
    pthread_mutex_t
        lock; /* guards what follows; the receiving half of the stream is the thread's */
    struct sp_stream stream;
    uint64_t sent; /* bytes, also such as still wait */
    bool connected;
    bool pending; /* something waits until the socket takes more */
    bool delays;  /* answers are being handed out: what is sent meanwhile waits for the end of it */
    bool reset;
    bool closed;
};

/* ---- both ---- */

/* Signals are the application's: none of them is to be handled on a thread of ours. */
static int start_thread(pthread_t *thread, void *(*run)(void *arg), void *arg)
{
    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    int error = pthread_sigmask(SIG_SETMASK, &all, &before);
    if (error == 0) {
        error = pthread_create(thread, NULL, run, arg);
        (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    }
    return error;
}

static void wake(int wake_fd)
{
    const uint64_t one = 1;
    ssize_t written = write(wake_fd, &one, sizeof(one));
    (void)written; /* fails only when the counter is full, and then it is awake */
}

static void take_wake(int wake_fd)
{
    uint64_t count;
    ssize_t got = read(wake_fd, &count, sizeof(count));
    (void)got; /* nothing to take is fine */
}

static void close_fd(int fd)
{
    if (fd >= 0) {
        (void)close(fd);
    }
}

/* Lets the thread find the connection broken; only it closes. */
static void break_off(const struct sp_stream *stream)
{
    (void)shutdown(stream->fd, SHUT_RDWR);
}

static size_t or_default(size_t value, size_t otherwise)
{
    return value != 0 ? value : otherwise;
}

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
            break_off(&connection->stream);
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
        break_off(&connection->stream);
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
    break_off(&connection->stream);
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
        take_wake(server->wake_fd);
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
    if (status == KVP_OK && start_thread(&server->thread, server_run, server) != 0) {
        status = KVP_NO_MEMORY;
    }
    return status;
}

/* After its thread has ended, or was never started. */
static void server_end(struct kvp_net_server *server)
{
    sp_listen_close(&server->listener);
    close_fd(server->epoll_fd);
    close_fd(server->wake_fd);
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
    opened->message_size_max = or_default(config->message_size_max, KVP_MESSAGE_SIZE_MAX);
    opened->connections_max =
        cap_connections(or_default(config->connections_max, CONNECTIONS_MAX_DEFAULT));
    opened->unsent_max = or_default(config->unsent_max, UNSENT_MAX_DEFAULT);
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
    wake(server->wake_fd);
    (void)pthread_join(server->thread, NULL);
    server_end(server);
}

/* ---- link: its thread ---- */

/* True: leave what is being waited for. A wish to reset is left for link_connect() to take. */
static bool link_is_interrupted(struct kvp_net_link *link)
{
    pthread_mutex_lock(&link->lock);
    bool interrupted = link->closed || link->reset;
    pthread_mutex_unlock(&link->lock);
    return interrupted;
}

static bool link_is_closed(struct kvp_net_link *link)
{
    pthread_mutex_lock(&link->lock);
    bool closed = link->closed;
    pthread_mutex_unlock(&link->lock);
    return closed;
}

/* Waits for events of `fd` (-1: none), a wake, or the time. Returns the events. */
static short link_poll(struct kvp_net_link *link, int fd, short events, uint64_t until_us)
{
    struct pollfd fds[] = {{.fd = link->wake_fd, .events = POLLIN}, {.fd = fd, .events = events}};
    int timeout_ms = -1;
    if (until_us != 0) {
        uint64_t now_us = kvp_clock_now_us();
        timeout_ms = until_us > now_us ? (int)((until_us - now_us + 999) / 1000) : 0;
    }
    if (poll(fds, 2, timeout_ms) <= 0) {
        return 0;
    }
    if (fds[0].revents != 0) {
        take_wake(link->wake_fd);
    }
    return fds[1].revents;
}

/* Between attempts: longer each time until somebody answers, and not the same for all clients. */
static void link_pause(struct kvp_net_link *link)
{
    uint64_t pause_us = (uint64_t)link->pause_ms * 1000;
    uint64_t until_us = kvp_clock_now_us() + pause_us / 2 + kvp_random_u64() % (pause_us / 2 + 1);
    while (!link_is_interrupted(link) && kvp_clock_now_us() < until_us) {
        (void)link_poll(link, -1, 0, until_us);
    }
    link->pause_ms =
        2 * link->pause_ms < link->reconnect_max_ms ? 2 * link->pause_ms : link->reconnect_max_ms;
}

/* A socket that is connected; -1 when that failed. */
static int link_connect(struct kvp_net_link *link)
{
    int fd;
    pthread_mutex_lock(&link->lock);
    link->reset = false;
    pthread_mutex_unlock(&link->lock);
    if (sp_address_connect(&link->address, link->attempt++, &fd) != KVP_OK) {
        return -1;
    }
    uint64_t until_us = kvp_clock_now_us() + CONNECT_TIMEOUT_US;
    short events = 0;
    while (events == 0 && !link_is_interrupted(link) && kvp_clock_now_us() < until_us) {
        events = link_poll(link, fd, POLLOUT, until_us);
    }
    int error = 0;
    socklen_t size = sizeof(error);
    if (events == 0 || getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) != 0 || error != 0) {
        (void)close(fd);
        return -1;
    }
    sp_address_tune(&link->address, fd);
    return fd;
}

static void link_take(struct kvp_net_link *link, const struct sp_message *message)
{
    kvp_slice header = sp_message_header(message);
    if (header.size == SP_WORD_SIZE) {
        const uint8_t *word = header.data;
        uint32_t id = (uint32_t)(word[0] & 0x7f) << 24 | (uint32_t)word[1] << 16 |
                      (uint32_t)word[2] << 8 | word[3];
        link->pause_ms = link->reconnect_min_ms;
        link->on_answer(link->arg, id, sp_message_body(message));
    }
}

/* Answers that have come together often lead to requests: those go out together, too, when link_serve()
 * flushes next, with one system call. */
static void link_delay(struct kvp_net_link *link, bool delays)
{
    pthread_mutex_lock(&link->lock);
    link->delays = delays;
    pthread_mutex_unlock(&link->lock);
}

/* Takes what is in the buffer. False when it is not the protocol. */
static bool link_feed(struct kvp_net_link *link, size_t size)
{
    size_t used = 0;
    while (used < size) {
        size_t taken = 0;
        struct sp_message *message;
        if (sp_stream_feed(&link->stream, link->buffer + used, size - used, &taken, &message) !=
            KVP_OK) {
            return false;
        }
        used += taken;
        if (message != NULL) {
            link_take(link, message);
            free(message);
        }
    }
    return true;
}

/* False when the connection is broken. */
static bool link_receive(struct kvp_net_link *link)
{
    ssize_t got = recv(link->stream.fd, link->buffer, READ_SIZE, 0);
    if (got <= 0) {
        return got < 0 && (errno == EAGAIN || errno == EINTR);
    }
    link_delay(link, true);
    bool sound = link_feed(link, (size_t)got);
    link_delay(link, false);
    if (!sound) {
        return false;
    }
    atomic_fetch_add(&link->received, (uint64_t)got);
    atomic_store(&link->incoming, link->stream.incoming != NULL);
    return true;
}

/* Sends what waits. *pending: there is more. False when the connection is broken. */
static bool link_flush(struct kvp_net_link *link, bool *pending)
{
    pthread_mutex_lock(&link->lock);
    kvp_status status = sp_stream_flush(&link->stream, &link->pending);
    *pending = link->pending;
    pthread_mutex_unlock(&link->lock);
    return status == KVP_OK;
}

static void link_announce(struct kvp_net_link *link, bool connected)
{
    pthread_mutex_lock(&link->lock);
    bool changed = link->connected != connected;
    bool closed = link->closed;
    link->connected = connected;
    if (!connected) {
        sp_stream_end(&link->stream);
        atomic_store(&link->incoming, false);
    }
    pthread_mutex_unlock(&link->lock);
    if (changed && !closed && link->on_state != NULL) {
        link->on_state(link->arg, connected);
    }
}

/* One connection from the greeting to its end. */
static void link_serve(struct kvp_net_link *link)
{
    uint64_t until_us = kvp_clock_now_us() + CONNECT_TIMEOUT_US; /* 0: greeted */
    while (!link_is_interrupted(link)) {
        bool pending;
        if (!link_flush(link, &pending)) {
            return;
        }
        short events =
            link_poll(link, link->stream.fd, (short)(POLLIN | (pending ? POLLOUT : 0)), until_us);
        if ((events & (POLLIN | POLLHUP | POLLERR)) != 0 && !link_receive(link)) {
            return;
        }
        if (until_us != 0 && link->stream.greeted) {
            until_us = 0;
            link_announce(link, true);
        } else if (until_us != 0 && kvp_clock_now_us() >= until_us) {
            return;
        }
    }
}

static void *link_run(void *arg)
{
    struct kvp_net_link *link = arg;
    while (!link_is_closed(link)) {
        int fd = link_connect(link);
        if (fd >= 0) {
            pthread_mutex_lock(&link->lock);
            sp_stream_begin(&link->stream, fd, link->address.kind != SP_ADDRESS_TCP,
                            SP_PROTOCOL_REQ, link->message_size_max);
            pthread_mutex_unlock(&link->lock);
            link_serve(link);
            link_announce(link, false);
        }
        link_pause(link);
    }
    return NULL;
}

/* ---- link: opening, sending, closing ---- */

static kvp_status link_start(struct kvp_net_link *link)
{
    link->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (link->wake_fd < 0) {
        return KVP_IO;
    }
    return start_thread(&link->thread, link_run, link) == 0 ? KVP_OK : KVP_NO_MEMORY;
}

static void link_end(struct kvp_net_link *link)
{
    close_fd(link->wake_fd);
    pthread_mutex_destroy(&link->lock);
    free(link);
}

kvp_status kvp_net_link_open(const struct kvp_net_link_config *config, struct kvp_net_link **link)
{
    assert(config->on_answer != NULL);
    struct sp_address address;
    kvp_status status = sp_address_parse(config->url, &address);
    if (status == KVP_OK && address.name[0] == '\0') {
        status = KVP_BAD_ARGUMENT; /* all addresses: fine for a server only */
    }
    if (status != KVP_OK) {
        return status;
    }
    struct kvp_net_link *opened = calloc(1, sizeof(*opened));
    if (opened == NULL) {
        return KVP_NO_MEMORY;
    }
    pthread_mutex_init(&opened->lock, NULL);
    opened->address = address;
    opened->stream.fd = -1;
    opened->wake_fd = -1;
    opened->message_size_max = or_default(config->message_size_max, KVP_MESSAGE_SIZE_MAX);
    opened->reconnect_min_ms =
        (unsigned)or_default(config->reconnect_min_ms, RECONNECT_MIN_MS_DEFAULT);
    opened->reconnect_max_ms =
        (unsigned)or_default(config->reconnect_max_ms, RECONNECT_MAX_MS_DEFAULT);
    opened->pause_ms = opened->reconnect_min_ms;
    opened->on_answer = config->on_answer;
    opened->on_state = config->on_state;
    opened->arg = config->arg;
    status = link_start(opened);
    if (status != KVP_OK) {
        link_end(opened);
        return status;
    }
    *link = opened;
    return KVP_OK;
}

/* With the lock held. Takes the message over when it succeeds. */
static kvp_status link_push(struct kvp_net_link *link, struct sp_message *message)
{
    struct sp_stream *stream = &link->stream;
    if (!link->connected) {
        return KVP_UNAVAILABLE;
    }
    if (stream->queue_count >= LINK_QUEUE_MAX || stream->queue_size >= LINK_QUEUE_SIZE_MAX) {
        return KVP_BUSY;
    }
    sp_stream_push(stream, message);
    link->sent += message->size;
    bool delayed = link->delays && stream->queue_count < DELAYED_MAX &&
                   stream->queue_size < DELAYED_SIZE_MAX;
    if (!link->pending && !delayed) {
        if (sp_stream_flush(stream, &link->pending) != KVP_OK) {
            break_off(stream);
        } else if (link->pending) {
            wake(link->wake_fd);
        }
    }
    return KVP_OK;
}

kvp_status kvp_net_link_send(struct kvp_net_link *link, uint32_t id, kvp_slice body)
{
    if ((id & SP_LAST_WORD) != 0) {
        return KVP_BAD_ARGUMENT;
    }
    if (body.size > link->message_size_max) {
        return KVP_TOO_LARGE;
    }
    const uint8_t word[SP_WORD_SIZE] = {(uint8_t)(id >> 24 | 0x80), (uint8_t)(id >> 16),
                                        (uint8_t)(id >> 8), (uint8_t)id};
    struct sp_message *message = sp_message_new(link->address.kind != SP_ADDRESS_TCP,
                                                kvp_slice_of(word, sizeof(word)), body);
    if (message == NULL) {
        return KVP_NO_MEMORY;
    }
    pthread_mutex_lock(&link->lock);
    kvp_status status = link_push(link, message);
    pthread_mutex_unlock(&link->lock);
    if (status != KVP_OK) {
        free(message);
    }
    return status;
}

/* Bytes that have gone out and are not known to have arrived. */
static uint64_t link_unacknowledged(const struct kvp_net_link *link)
{
    int unacknowledged;
    if (link->stream.fd < 0 || ioctl(link->stream.fd, SIOCOUTQ, &unacknowledged) != 0) {
        return 0;
    }
    return (uint64_t)unacknowledged;
}

void kvp_net_link_flow(struct kvp_net_link *link, struct kvp_net_flow *flow)
{
    pthread_mutex_lock(&link->lock);
    uint64_t under_way = link->stream.queue_size - link->stream.first_sent;
    under_way += link_unacknowledged(link); /* the greeting may be in it, too */
    flow->sent = link->sent;
    flow->arrived = under_way < link->sent ? link->sent - under_way : 0;
    pthread_mutex_unlock(&link->lock);
    flow->received = atomic_load(&link->received);
    flow->incoming = atomic_load(&link->incoming);
}

void kvp_net_link_reset(struct kvp_net_link *link)
{
    pthread_mutex_lock(&link->lock);
    link->reset = true;
    pthread_mutex_unlock(&link->lock);
    wake(link->wake_fd);
}

void kvp_net_link_close(struct kvp_net_link *link)
{
    if (link == NULL) {
        return;
    }
    assert(!pthread_equal(pthread_self(), link->thread));
    pthread_mutex_lock(&link->lock);
    link->closed = true;
    pthread_mutex_unlock(&link->lock);
    wake(link->wake_fd);
    (void)pthread_join(link->thread, NULL);
    link_end(link);
}
