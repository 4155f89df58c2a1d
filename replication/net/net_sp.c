/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The transport over plain sockets, speaking the SP protocol of NNG and nanomsg on the wire: the
 * links. The servers are in net_server.c.
 *
 * There is one thread per server and one per link: it alone receives, connects, closes and calls
 * back, which is what serializes the callbacks. Any thread may send: under the object's lock,
 * straight into the socket; only what the socket does not take waits for the thread.
 *
 * Why not NNG's own sockets: in NNG 1.5.2 (Debian 12), closing a TCP connection in the moment
 * between the arrival of a part of a message and its callback leaves an operation that never ends,
 * and the one thread that disposes of connections waits for it for ever: no connection of the
 * process is closed, reported gone or dialled again from then on (fixed upstream by
 * nanomsg/nng#1636). Closing links with answers under way met it within ten attempts.
 */
#include "kvstore/base/clock.h"
#include "replication/net/net_parts.h"
#include "replication/net/net_tls.h"
#include "replication/net/sp_address.h"
#include "replication/net/sp_stream.h"

#include <assert.h>
#include <errno.h>
#include <linux/sockios.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define RECONNECT_MIN_MS_DEFAULT 10u
#define RECONNECT_MAX_MS_DEFAULT 250u
#define MUTE_US                  500000u  /* who has not greeted by then is spoken of */
#define CONNECT_TIMEOUT_US       3000000u /* the kernel alone would try for two minutes */
#define HANDSHAKE_US             5000000u
#define TLS_ALERT                0x15 /* how a server that speaks TLS ends it */
#define READ_SIZE                65536u
#define DELAYED_MAX              64u /* answers to a connection that wait while the server holds */
#define DELAYED_SIZE_MAX         65536u
#define LINK_QUEUE_MAX           256u
#define LINK_QUEUE_SIZE_MAX      (64u * 1024u * 1024u)

struct kvp_net_link {
    struct sp_address address;
    struct kvp_tls *tls;
    struct net_tls_expected expected;
    size_t message_size_max;
    unsigned reconnect_min_ms, reconnect_max_ms;
    uint64_t stall_us; /* 0: that is TCP's matter */
    void (*on_answer)(void *arg, uint32_t id, kvp_slice body);
    void (*on_state)(void *arg, bool connected);
    void (*on_failure)(void *arg, const char *reason);
    void *arg;
    pthread_t thread;
    int wake_fd;
    unsigned attempt; /* belongs to the thread, as does what follows */
    unsigned pause_ms;
    uint64_t arrived, stalled_us; /* bytes, and since when no more have */
    const char *failure;          /* why this attempt came to nothing, as far as is known */
    struct net_tls *secured;      /* of the connection that there is; NULL: plain */
    struct net_tls_session session;
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
        net_take_wake(link->wake_fd);
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

/* TLS on the socket. False when it failed. */
static bool link_secure(struct kvp_net_link *link, int fd)
{
    uint64_t until_us = kvp_clock_now_us() + HANDSHAKE_US;
    link->secured = net_tls.connect(link->tls, fd, &link->expected, &link->session);
    if (link->secured == NULL) {
        link->failure = "memory is short";
        return false;
    }
    enum net_tls_step step = net_tls.handshake(link->secured);
    while ((step == NET_TLS_READS || step == NET_TLS_WRITES) && !link_is_interrupted(link) &&
           kvp_clock_now_us() < until_us) {
        (void)link_poll(link, fd, step == NET_TLS_READS ? POLLIN : POLLOUT, until_us);
        step = net_tls.handshake(link->secured);
    }
    link->failure = step == NET_TLS_FAILED ? net_tls.reason(link->secured)
                                           : "no answer to the TLS handshake: does it speak TLS?";
    return step == NET_TLS_DONE;
}

static void link_unsecure(struct kvp_net_link *link)
{
    if (link->secured != NULL) {
        net_tls.free(link->secured);
        link->secured = NULL;
    }
}

/* A socket that is connected; -1 when that failed. */
static int link_connect(struct kvp_net_link *link)
{
    int fd;
    pthread_mutex_lock(&link->lock);
    link->reset = false;
    pthread_mutex_unlock(&link->lock);
    link->failure = "it cannot be reached";
    if (sp_address_connect(&link->address, link->attempt++, &fd, &link->failure) != KVP_OK) {
        return -1;
    }
    uint64_t until_us =
        kvp_clock_now_us() + (link->stall_us != 0 ? link->stall_us : CONNECT_TIMEOUT_US);
    short events = 0;
    while (events == 0 && !link_is_interrupted(link) && kvp_clock_now_us() < until_us) {
        events = link_poll(link, fd, POLLOUT, until_us);
    }
    int error = 0;
    socklen_t size = sizeof(error);
    if (events == 0 || getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) != 0 || error != 0) {
        link->failure = sp_address_reason(events == 0 ? ETIMEDOUT : error);
        (void)close(fd);
        return -1;
    }
    sp_address_tune(&link->address, fd);
    if (link->address.tls && !link_secure(link, fd)) {
        link_unsecure(link);
        (void)close(fd);
        return -1;
    }
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

/* Answers that have come together often lead to requests: those go out together, too, when
 * link_serve() flushes next, with one system call. */
static void link_delay(struct kvp_net_link *link, bool delays)
{
    pthread_mutex_lock(&link->lock);
    link->delays = delays;
    pthread_mutex_unlock(&link->lock);
}

/* Takes what has come. False when it is not the protocol. */
static bool link_feed(void *arg, const uint8_t *bytes, size_t size)
{
    struct kvp_net_link *link = arg;
    size_t used = 0;
    while (used < size) {
        size_t taken = 0;
        struct sp_message *message;
        if (sp_stream_feed(&link->stream, bytes + used, size - used, &taken, &message) != KVP_OK) {
            link->failure = "what listens there is not kvpair (it speaks another protocol)";
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

/* Why the connection broke, as far as TLS has to do with it. */
static const char *link_tls_reason(const struct kvp_net_link *link)
{
    const struct sp_stream *stream = &link->stream;
    if (link->secured != NULL) {
        return net_tls.reason(link->secured);
    }
    bool alert = !stream->greeted && stream->head_got > 0 && stream->head[0] == TLS_ALERT;
    return alert ? "what listens there speaks TLS: its address is a tls+tcp:// one" : NULL;
}

/* False when the connection is broken. */
static bool link_receive(struct kvp_net_link *link)
{
    const char *failure = link->failure;
    link->failure = "it closes the connection at once";
    link_delay(link, true);
    ssize_t got = sp_stream_receive(&link->stream, link->buffer, READ_SIZE, link_feed, link);
    link_delay(link, false);
    if (got < 0) {
        const char *reason = link_tls_reason(link);
        link->failure = reason != NULL ? reason : link->failure;
        return false;
    }
    link->failure = failure;
    atomic_fetch_add(&link->received, (uint64_t)got);
    atomic_store(&link->incoming, sp_stream_is_partial(&link->stream));
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

static void link_tell_failure(struct kvp_net_link *link)
{
    if (link->on_failure != NULL && !link_is_closed(link)) {
        link->on_failure(link->arg, link->failure);
    }
}

static bool link_is_stalled(struct kvp_net_link *link)
{
    struct kvp_net_flow flow;
    uint64_t now_us = kvp_clock_now_us();
    if (link->stall_us == 0) {
        return false;
    }
    kvp_net_link_flow(link, &flow);
    if (flow.arrived != link->arrived || flow.arrived >= flow.sent) {
        link->arrived = flow.arrived;
        link->stalled_us = now_us;
    }
    return now_us - link->stalled_us > link->stall_us;
}

/* When the link has to be looked at, though nothing may happen on it before `until_us`. */
static uint64_t link_look_us(const struct kvp_net_link *link, uint64_t until_us)
{
    uint64_t look_us = kvp_clock_now_us() + link->stall_us / 4;
    return link->stall_us != 0 && (until_us == 0 || look_us < until_us) ? look_us : until_us;
}

/* One connection from the greeting to its end. Returns whether it was greeted. */
static bool link_serve(struct kvp_net_link *link)
{
    static const char mute[] = "what listens there says nothing: is it kvpair?";
    uint64_t begin_us = kvp_clock_now_us();
    uint64_t until_us = begin_us + CONNECT_TIMEOUT_US; /* 0: greeted */
    link->stalled_us = begin_us;
    while (!link_is_interrupted(link) && !link_is_stalled(link)) {
        bool pending;
        if (!link_flush(link, &pending)) {
            return until_us == 0;
        }
        bool told = until_us == 0 || link->failure == mute;
        uint64_t wake_us = told ? until_us : begin_us + MUTE_US;
        short events = link_poll(link, link->stream.fd, (short)(POLLIN | (pending ? POLLOUT : 0)),
                                 link_look_us(link, wake_us));
        if ((events & (POLLIN | POLLHUP | POLLERR)) != 0 && !link_receive(link)) {
            return until_us == 0;
        }
        if (until_us != 0 && link->stream.greeted) {
            until_us = 0;
            link->failure = NULL;
            link_announce(link, true);
        } else if (until_us != 0 && kvp_clock_now_us() >= until_us) {
            link->failure = mute;
            return false;
        } else if (!told && kvp_clock_now_us() >= wake_us) {
            link->failure = mute; /* others wait for the reason, and it may yet speak */
            link_tell_failure(link);
        }
    }
    return until_us == 0;
}

static void *link_run(void *arg)
{
    struct kvp_net_link *link = arg;
    while (!link_is_closed(link)) {
        int fd = link_connect(link);
        if (fd >= 0) {
            pthread_mutex_lock(&link->lock);
            sp_stream_begin(&link->stream, fd, link->secured, link->address.kind != SP_ADDRESS_TCP,
                            SP_PROTOCOL_REQ, link->message_size_max);
            pthread_mutex_unlock(&link->lock);
            link->failure = "the connection breaks at once";
            bool greeted = link_serve(link);
            link->failure = greeted ? NULL : link->failure;
            link_announce(link, false);
            link_unsecure(link);
        }
        if (link->failure != NULL) {
            link_tell_failure(link);
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
    return net_start_thread(&link->thread, link_run, link) == 0 ? KVP_OK : KVP_NO_MEMORY;
}

static void link_end(struct kvp_net_link *link)
{
    if (link->session.kept != NULL) {
        net_tls.forget(&link->session);
    }
    net_close_fd(link->wake_fd);
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
    if (status == KVP_OK && address.tls && config->tls == NULL) {
        status = KVP_BAD_ARGUMENT;
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
    opened->tls = config->tls;
    opened->expected.kind = config->peer_kind;
    opened->expected.node = config->peer_node;
    (void)snprintf(opened->expected.group, sizeof(opened->expected.group), "%s",
                   config->peer_group != NULL ? config->peer_group : "");
    opened->stream.fd = -1;
    opened->wake_fd = -1;
    opened->message_size_max = net_or_default(config->message_size_max, KVP_MESSAGE_SIZE_MAX);
    opened->stall_us = (uint64_t)config->stall_ms * 1000;
    opened->reconnect_min_ms =
        (unsigned)net_or_default(config->reconnect_min_ms, RECONNECT_MIN_MS_DEFAULT);
    opened->reconnect_max_ms =
        (unsigned)net_or_default(config->reconnect_max_ms, RECONNECT_MAX_MS_DEFAULT);
    opened->pause_ms = opened->reconnect_min_ms;
    opened->on_answer = config->on_answer;
    opened->on_state = config->on_state;
    opened->on_failure = config->on_failure;
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
    bool delayed =
        link->delays && stream->queue_count < DELAYED_MAX && stream->queue_size < DELAYED_SIZE_MAX;
    if (!link->pending && !delayed) {
        if (sp_stream_flush(stream, &link->pending) != KVP_OK) {
            net_break_off(stream);
        } else if (link->pending) {
            net_wake(link->wake_fd);
        }
    }
    return KVP_OK;
}

kvp_status kvp_net_link_send(struct kvp_net_link *link, uint32_t id, kvp_slice body)
{
    if ((id & SP_LAST_WORD) != 0) {
        return KVP_BAD_ARGUMENT;
    }
    if (body.size + SP_WORD_SIZE > link->message_size_max) {
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
    net_wake(link->wake_fd);
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
    net_wake(link->wake_fd);
    (void)pthread_join(link->thread, NULL);
    link_end(link);
}
