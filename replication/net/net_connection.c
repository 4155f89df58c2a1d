/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A server's connections, as any thread sees them: answers go out, and what the other side does not
 * read holds up what it has asked for.
 *
 * A client that does not read its answers, or asks without end, is not read from while it has
 * HELD_MAX requests or HELD_SIZE_MAX bytes with us. What it had asked for by then may make far more
 * than that; so the callee asks, before it executes a request, whether to postpone it, and gets it
 * again when the answers before it have been read. A client is cut off only when answers that could
 * not be postponed make more than half of what all together may have, or when it has most of what
 * is too much for all. Who is cut off asks again, as after any loss.
 */
#include "replication/net/address_list.h"
#include "kvstore/base/clock.h"
#include "replication/net/net_connection.h"
#include "replication/net/net_parts.h"
#include "replication/net/net_tls.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#define HELD_MAX         256u /* of a connection: requests not answered, answers not sent */
#define HELD_SIZE_MAX    (64u * 1024u * 1024u)
#define DELAYED_MAX      64u /* answers to a connection that wait while the server holds */
#define DELAYED_SIZE_MAX 65536u
#define UNREAD_MAX       (8u * 1024u * 1024u) /* answers of a connection: the next are postponed */
#define UNREAD_FEW       65536u               /* the same, when all together have much */

/* ---- with the lock held ---- */

static bool has_output(const struct sp_stream *stream)
{
    return stream->first != NULL || stream->greeting_sent < SP_GREETING_SIZE;
}

/* Tells epoll what the connection waits for now. */
void net_connection_arm(struct connection *connection)
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

/* How much of what a client has not read may wait before its next request is executed. */
static size_t connection_unread_max(const struct connection *connection)
{
    const struct kvp_net_server *server = connection->server;
    return server->unsent > server->unsent_max / 2 ? UNREAD_FEW : UNREAD_MAX;
}

/* Lets the thread hand in again what was postponed, when little enough waits to be read. */
static void connection_resume(struct connection *connection)
{
    struct kvp_net_server *server = connection->server;
    if (connection->postponed_first != NULL && !connection->resumes &&
        connection->stream.queue_size <= connection_unread_max(connection) / 2) {
        connection->resumes = true;
        connection->next_resuming = server->resuming;
        server->resuming = connection;
        net_wake(server->wake_fd);
    }
}

void net_connection_flush(struct connection *connection)
{
    struct sp_stream *stream = &connection->stream;
    size_t left = stream->queue_size - stream->first_sent;
    bool pending = false;
    if (sp_stream_flush(stream, &pending) != KVP_OK) {
        net_break_off(stream);
    }
    if (stream->queue_size - stream->first_sent < left) {
        connection->sent_us = kvp_clock_now_us();
    }
    count_unsent(connection);
    if (pending && !connection->server->watched) {
        connection->server->watched = true;
        net_wake(connection->server->wake_fd);
    }
    connection_resume(connection);
    net_connection_arm(connection);
}

/* What has to be sent goes out when the server lets go. False: it goes out now. */
static bool connection_delay(struct connection *connection)
{
    struct kvp_net_server *server = connection->server;
    if (server->corks == 0 || connection->stream.queue_count >= DELAYED_MAX ||
        connection->stream.queue_size >= DELAYED_SIZE_MAX) {
        return false;
    }
    if (!connection->delayed) {
        connection->delayed = true;
        connection->next_delayed = server->delayed;
        server->delayed = connection;
    }
    count_unsent(connection);
    net_connection_arm(connection);
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

void net_connection_cut_off(struct connection *connection)
{
    connection->cut_off = true;
    net_break_off(&connection->stream);
    sp_stream_drop_queue(&connection->stream);
    count_unsent(connection);
    net_connection_arm(connection);
}

static struct connection *find_slowest(const struct kvp_net_server *server)
{
    struct connection *slowest = server->oldest;
    for (struct connection *each = server->oldest; each != NULL; each = each->next) {
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
    if (connection->stream.first == NULL) {
        connection->sent_us = kvp_clock_now_us();
    }
    sp_stream_push(&connection->stream, message);
    if (waiting) {
        count_unsent(connection);
        net_connection_arm(connection);
    } else if (!connection_delay(connection)) {
        connection_undelay(connection);
        net_connection_flush(connection);
    }
    if (connection->unsent > server->unsent_max / 2) {
        net_connection_cut_off(connection);
    }
    while (server->unsent > server->unsent_max) {
        net_connection_cut_off(find_slowest(server));
    }
}

void net_connection_list(struct connection *connection)
{
    struct kvp_net_server *server = connection->server;
    connection->previous = server->newest;
    connection->next = NULL;
    *(server->newest != NULL ? &server->newest->next : &server->oldest) = connection;
    server->newest = connection;
}

void net_connection_unlist(struct connection *connection)
{
    struct kvp_net_server *server = connection->server;
    *(connection->previous != NULL ? &connection->previous->next : &server->oldest) =
        connection->next;
    *(connection->next != NULL ? &connection->next->previous : &server->newest) =
        connection->previous;
}

static struct kvp_net_request *connection_take_postponed(struct connection *connection)
{
    struct kvp_net_request *first = connection->postponed_first;
    connection->postponed_first = connection->postponed_last = NULL;
    return first;
}

static void connection_unresume(struct connection *connection)
{
    struct connection **link = &connection->server->resuming;
    while (connection->resumes && *link != connection) {
        link = &(*link)->next_resuming;
    }
    if (connection->resumes) {
        *link = connection->next_resuming;
        connection->resumes = false;
    }
}

void net_server_release(struct kvp_net_server *server)
{
    if (atomic_fetch_sub(&server->references, 1) == 1) {
        pthread_mutex_destroy(&server->lock);
        free(server);
    }
}

static void request_free(struct kvp_net_request *request, struct kvp_net_server *server)
{
    free(request->message);
    free(request);
    net_server_release(server);
}

void net_connection_empty(struct connection *connection)
{
    struct kvp_net_server *server = connection->server;
    net_connection_unlist(connection);
    connection_undelay(connection);
    connection_unresume(connection);
    for (struct kvp_net_request *each = connection_take_postponed(connection), *next; each != NULL;
         each = next) {
        next = each->next;
        connection->held--;
        request_free(each, server);
    }
    sp_stream_end(&connection->stream);
    count_unsent(connection);
    server->peer_count -= connection->peer;
    connection->peer = false;
}

void net_connection_free_if_unused(struct connection *connection)
{
    if (connection->stream.fd < 0 && connection->held == 0) {
        if (connection->tls != NULL) {
            net_tls.free(connection->tls);
        }
        free(connection);
    }
}

/* ---- requests ---- */

void net_connection_deliver(struct connection *connection, struct sp_message *message)
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
    net_connection_arm(connection);
    pthread_mutex_unlock(&server->lock);
    server->on_request(server->arg, request);
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
        net_connection_free_if_unused(connection);
    } else if (answer != NULL) {
        connection_send(connection, answer);
    } else {
        net_connection_arm(connection);
    }
    pthread_mutex_unlock(&server->lock);
    request_free(request, server);
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

void kvp_net_server_cork(struct kvp_net_server *server)
{
    pthread_mutex_lock(&server->lock);
    server->corks++;
    pthread_mutex_unlock(&server->lock);
}

void kvp_net_server_uncork(struct kvp_net_server *server)
{
    pthread_mutex_lock(&server->lock);
    assert(server->corks > 0);
    server->corks--;
    while (server->delayed != NULL) {
        struct connection *connection = server->delayed;
        connection_undelay(connection);
        net_connection_flush(connection);
    }
    pthread_mutex_unlock(&server->lock);
}

/* ---- requests that are postponed ---- */

bool kvp_net_request_postpone(struct kvp_net_request *request)
{
    struct connection *connection = request->connection;
    struct kvp_net_server *server = connection->server;
    pthread_mutex_lock(&server->lock);
    bool postponed = connection->stream.fd >= 0 && !connection->cut_off &&
                     (connection->postponed_first != NULL ||
                      connection->stream.queue_size > connection_unread_max(connection));
    if (postponed) {
        request->next = NULL;
        *(connection->postponed_first != NULL ? &connection->postponed_last->next
                                              : &connection->postponed_first) = request;
        connection->postponed_last = request;
        connection_resume(connection);
    }
    pthread_mutex_unlock(&server->lock);
    return postponed;
}

void net_connection_resume_all(struct kvp_net_server *server)
{
    struct kvp_net_request *first = NULL;
    struct kvp_net_request **last = &first;
    pthread_mutex_lock(&server->lock);
    while (server->resuming != NULL) {
        struct connection *connection = server->resuming;
        connection_unresume(connection);
        for (*last = connection_take_postponed(connection); *last != NULL; last = &(*last)->next) {
        }
    }
    pthread_mutex_unlock(&server->lock);
    for (struct kvp_net_request *each = first, *next; each != NULL; each = next) {
        next = each->next;
        server->on_request(server->arg, each);
    }
}

/* ---- who asks ---- */

bool kvp_net_request_is_from(const struct kvp_net_request *request, struct kvp_address_list *list)
{
    return kvp_address_list_has(list, (const struct sockaddr *)&request->connection->address);
}

bool kvp_net_request_is_tls(const struct kvp_net_request *request)
{
    return request->connection->tls != NULL;
}

const struct kvp_identity *kvp_net_request_identity(const struct kvp_net_request *request,
                                                    kvp_slice group)
{
    const struct net_tls *tls = request->connection->tls;
    const struct kvp_identity *found = NULL;
    unsigned count = 0;
    const struct kvp_identity *all = tls != NULL ? net_tls.identities(tls, &count) : NULL;
    for (unsigned i = 0; i < count && found == NULL; i++) {
        bool same =
            strlen(all[i].group) == group.size && memcmp(all[i].group, group.data, group.size) == 0;
        found = same ? &all[i] : NULL;
    }
    return found;
}

bool net_connection_is_peer(const struct kvp_net_server *server, const struct net_tls *tls)
{
    unsigned count = 0;
    const struct kvp_identity *all = net_tls.identities(tls, &count);
    bool peer = false;
    for (unsigned i = 0; i < count; i++) {
        peer = peer || (all[i].kind == KVP_IDENTITY_NODE &&
                        (server->any_group || strcmp(all[i].group, server->group) == 0));
    }
    return peer;
}

static bool request_is_from_peer(const struct kvp_net_request *request)
{
    const struct connection *connection = request->connection;
    const struct kvp_net_server *server = connection->server;
    if (connection->tls != NULL) {
        return net_connection_is_peer(server, connection->tls);
    }
    return server->peers != NULL && kvp_net_request_is_from(request, server->peers);
}

bool kvp_net_request_from_peer(struct kvp_net_request *request)
{
    struct connection *connection = request->connection;
    struct kvp_net_server *server = connection->server;
    pthread_mutex_lock(&server->lock);
    bool known = connection->peer;
    pthread_mutex_unlock(&server->lock);
    if (known) {
        return true;
    }
    if (!request_is_from_peer(request)) {
        return false;
    }
    pthread_mutex_lock(&server->lock);
    if (connection->stream.fd >= 0 && server->peer_count < server->reserved) {
        connection->peer = true;
        server->peer_count++;
    }
    pthread_mutex_unlock(&server->lock);
    return true;
}

const char *kvp_net_request_address(const struct kvp_net_request *request,
                                    char out[KVP_NET_ADDRESS_SIZE])
{
    return kvp_address_print(out, (const struct sockaddr *)&request->connection->address);
}

void net_connection_tell_refused(struct kvp_net_server *server,
                                 const struct sockaddr_storage *address, const char *reason)
{
    char text[KVP_ADDRESS_TEXT_SIZE];
    if (server->on_refused != NULL) {
        server->on_refused(server->arg, kvp_address_print(text, (const struct sockaddr *)address),
                           reason);
    }
}
