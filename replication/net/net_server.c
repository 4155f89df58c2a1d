/* SPDX-License-Identifier: Apache-2.0 */
/* The server's side of the transport: the thread that accepts, receives, calls back and closes. */
#include "replication/net/address_list.h"
#include "kvstore/base/clock.h"
#include "replication/net/net_connection.h"
#include "replication/net/net_handshake.h"
#include "replication/net/net_parts.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <unistd.h>

#define CONNECTIONS_MAX_DEFAULT 16384u
#define DESCRIPTORS_KEPT        256u /* for all else in the process: files, links */
#define RESERVED_MAX            64u  /* connections for peers */
#define ACCEPT_PAUSE_MS         100  /* when the process is out of descriptors or memory */
#define ACCEPTS_MAX             64u  /* in a round */
#define STALL_MS_DEFAULT        30000u
#define EVENTS_MAX              64
#define TLS_HANDSHAKE           0x16 /* how a client that speaks TLS begins */
#define UNSENT_MAX_DEFAULT      (512u * 1024u * 1024u)
#define INCOMING_MAX_DEFAULT    (128u * 1024u * 1024u)

/* ---- its thread ---- */

/* Takes the socket over, and `tls` (NULL: it is plain). */
static void connection_add(struct kvp_net_server *server, int fd, struct net_tls *tls,
                           const struct sockaddr_storage *address)
{
    struct connection *connection = calloc(1, sizeof(*connection));
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT, .data.ptr = connection};
    if (connection == NULL || epoll_ctl(server->epoll_fd, EPOLL_CTL_ADD, fd, &event) != 0) {
        if (tls != NULL) {
            net_tls.free(tls);
        }
        free(connection);
        (void)close(fd);
        return;
    }
    sp_address_tune(&server->address, fd);
    sp_stream_begin(&connection->stream, fd, tls, server->address.kind != SP_ADDRESS_TCP,
                    SP_PROTOCOL_REP, server->message_size_max);
    connection->tls = tls;
    connection->server = server;
    connection->address = *address;
    connection->accepted_us = kvp_clock_now_us();
    connection->events = event.events;
    pthread_mutex_lock(&server->lock);
    net_connection_list(connection);
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

static bool is_listener(const struct kvp_net_server *server, const void *fd)
{
    bool found = false;
    for (unsigned i = 0; i < server->listener.count; i++) {
        found = found || fd == &server->listener.fds[i];
    }
    return found;
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

/* False when there is nobody to accept, or nobody can be accepted. */
static bool accept_one(struct kvp_net_server *server, int listening)
{
    struct sockaddr_storage address = {.ss_family = AF_UNSPEC};
    socklen_t size = sizeof(address);
    int fd = accept4(listening, (struct sockaddr *)&address, &size, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0) {
        if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS) {
            pause_accepting(server);
        }
        return errno == ECONNABORTED || errno == EINTR;
    }
    bool from_peer = server->peers != NULL &&
                     kvp_address_list_has(server->peers, (const struct sockaddr *)&address);
    if (net_limits_make_room(server, from_peer)) {
        connection_add(server, fd, NULL, &address);
    } else {
        atomic_fetch_add(&server->refused, 1);
        (void)close(fd);
    }
    return true;
}

/* After the events of a round: to let somebody in may close another one. */
static void server_accept(struct kvp_net_server *server)
{
    server->accepting = false;
    for (unsigned i = 0; i < server->listener.count; i++) {
        unsigned count = 0;
        while (count < ACCEPTS_MAX && accept_one(server, server->listener.fds[i])) {
            count++;
        }
    }
}

/* Those who are through the handshake. */
static void server_welcome(struct kvp_net_server *server)
{
    struct net_arrival *next;
    for (struct net_arrival *each = net_handshakes_take(server->handshakes); each != NULL;
         each = next) {
        next = each->next;
        if (net_limits_make_room(server, net_connection_is_peer(server, each->tls))) {
            connection_add(server, each->fd, each->tls, &each->address);
            free(each);
        } else {
            net_arrival_refuse(each);
        }
    }
}

/* False when it is not the protocol. */
static bool connection_feed(void *arg, const uint8_t *bytes, size_t size)
{
    struct connection *connection = arg;
    struct sp_stream *stream = &connection->stream;
    size_t used = 0;
    bool corked = false;
    while (used < size) {
        size_t taken = 0;
        struct sp_message *message;
        if (sp_stream_feed(stream, bytes + used, size - used, &taken, &message) != KVP_OK) {
            if (stream->tls == NULL && !stream->greeted && stream->head[0] == TLS_HANDSHAKE) {
                net_connection_tell_refused(connection->server, &connection->address,
                                            "it speaks TLS, and this is a plain address");
            }
            break;
        }
        used += taken;
        if (message == NULL) {
            continue;
        }
        if (!corked &&
            used < size) { /* more are coming: what is answered at once leaves together */
            kvp_net_server_cork(connection->server);
            corked = true;
        }
        net_connection_deliver(connection, message);
    }
    if (corked) {
        kvp_net_server_uncork(connection->server);
    }
    return used == size;
}

/* False when the connection is to be closed. */
static bool connection_receive(struct connection *connection)
{
    struct kvp_net_server *server = connection->server;
    ssize_t got = sp_stream_receive(&connection->stream, server->buffer, NET_READ_SIZE,
                                    connection_feed, connection);
    if (got <= 0) {
        return got == 0;
    }
    if (connection->stream.greeted && !connection->greeted) {
        connection->greeted = true;
        server->ungreeted--;
    }
    net_incoming_received(connection, (size_t)got, kvp_clock_now_us());
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
        net_connection_close(connection);
    } else if ((events & EPOLLOUT) != 0) {
        pthread_mutex_lock(&connection->server->lock);
        net_connection_flush(connection);
        pthread_mutex_unlock(&connection->server->lock);
    }
}

static void server_event(struct kvp_net_server *server, const struct epoll_event *event)
{
    if (is_listener(server, event->data.ptr)) {
        server->accepting = true;
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

static int sooner(int a_ms, int b_ms)
{
    return a_ms < 0 || (b_ms >= 0 && b_ms < a_ms) ? b_ms : a_ms;
}

static void *server_run(void *arg)
{
    struct kvp_net_server *server = arg;
    struct epoll_event events[EVENTS_MAX];
    while (!server_is_closed(server)) {
        int timeout_ms = sooner(end_pause_if_due(server), net_limits_check(server));
        int count = epoll_wait(server->epoll_fd, events, EVENTS_MAX, timeout_ms);
        server->round_us = kvp_clock_now_us();
        for (int i = 0; i < count; i++) {
            server_event(server, &events[i]);
        }
        if (server->accepting) {
            server_accept(server);
        }
        if (server->tls != NULL) {
            server_welcome(server);
        }
        net_connection_resume_all(server);
    }
    while (server->oldest != NULL) {
        net_connection_close(server->oldest);
    }
    return NULL;
}

/* ---- opening and closing ---- */

static kvp_status server_watch(struct kvp_net_server *server, int *fd)
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
    status = server_watch(server, &server->wake_fd);
    if (server->tls != NULL) {
        status = status == KVP_OK ? net_handshakes_open(server, &server->handshakes) : status;
    }
    for (unsigned i = 0; i < server->listener.count && status == KVP_OK && server->tls == NULL;
         i++) {
        status = server_watch(server, &server->listener.fds[i]);
    }
    if (status == KVP_OK && net_start_thread(&server->thread, server_run, server) != 0) {
        status = KVP_NO_MEMORY;
    }
    return status;
}

/* After its thread has ended, or was never started. */
static void server_end(struct kvp_net_server *server)
{
    net_handshakes_close(server->handshakes);
    sp_listen_close(&server->listener);
    net_close_fd(server->epoll_fd);
    net_close_fd(server->wake_fd);
    net_server_release(server);
}

/* Connections must not take the descriptors that files and links need: a store that cannot open a
 * file has failed. Where few are allowed, a quarter of them is kept. */
static unsigned cap_connections(size_t wanted, unsigned kept)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY) {
        rlim_t quarter = limit.rlim_cur / 4;
        rlim_t left = limit.rlim_cur - (quarter < kept ? quarter : kept);
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

static kvp_status server_check_url(const struct kvp_net_server_config *config,
                                   struct sp_address *address)
{
    kvp_status status = sp_address_parse(config->url, address);
    if (status != KVP_OK) {
        tell_reason(config, "not of the form tcp://HOST:PORT or tls+tcp://HOST:PORT, with a PORT "
                            "of 0 to 65535, or ipc://PATH");
    } else if (address->tls && config->tls == NULL) {
        tell_reason(config, "a tls+tcp:// address needs a certificate: --tls-cert, --tls-key and "
                            "--tls-ca");
        status = KVP_BAD_ARGUMENT;
    }
    return status;
}

static void server_set_peers(struct kvp_net_server *server,
                             const struct kvp_net_server_config *config)
{
    server->tls = server->address.tls ? config->tls : NULL;
    server->peers = config->peers;
    server->any_group = config->group == NULL;
    (void)snprintf(server->group, sizeof(server->group), "%s",
                   config->group != NULL ? config->group : "");
    server->connections_max =
        cap_connections(net_or_default(config->connections_max, CONNECTIONS_MAX_DEFAULT),
                        DESCRIPTORS_KEPT + (server->tls != NULL ? NET_HANDSHAKES_MAX : 0));
    if (server->peers != NULL || server->tls != NULL) {
        unsigned share = server->connections_max / 8;
        server->reserved = share < RESERVED_MAX ? share : RESERVED_MAX;
    }
}

kvp_status kvp_net_listen(const struct kvp_net_server_config *config,
                          struct kvp_net_server **server)
{
    assert(config->on_request != NULL);
    struct sp_address address;
    kvp_status status = server_check_url(config, &address);
    if (status != KVP_OK) {
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
    server_set_peers(opened, config);
    opened->stall_us = net_or_default(config->stall_ms, STALL_MS_DEFAULT) * 1000u;
    opened->incoming_max = net_or_default(config->incoming_max, INCOMING_MAX_DEFAULT);
    opened->unsent_max = net_or_default(config->unsent_max, UNSENT_MAX_DEFAULT);
    opened->on_request = config->on_request;
    opened->on_refused = config->on_refused;
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

uint64_t kvp_net_server_round_us(const struct kvp_net_server *server)
{
    return server->round_us;
}

uint64_t kvp_net_server_refused(const struct kvp_net_server *server)
{
    return atomic_load(&server->refused);
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
