/* SPDX-License-Identifier: Apache-2.0 */
/* What a connection takes while it receives: half frames, the time since bytes came; and its end.
 */
#include "replication/net/net_connection.h"

#include <sys/epoll.h>

static void incoming_account(struct connection *connection, size_t incoming)
{
    connection->server->incoming += incoming - connection->incoming;
    connection->incoming = incoming;
}

void net_incoming_received(struct connection *connection, size_t size, uint64_t now_us)
{
    const struct sp_stream *stream = &connection->stream;
    struct kvp_net_server *server = connection->server;
    bool half = sp_stream_is_partial(stream);
    size_t got = stream->incoming != NULL ? stream->incoming->size : 0;
    bool same = connection->frame_us != 0 && half && got >= size;
    server->unfinished += (size_t)half - (size_t)(connection->frame_us != 0);
    if (!same) {
        connection->frame_us = half ? now_us : 0;
    }
    connection->received_us = now_us;
    pthread_mutex_lock(&server->lock);
    bool peer = connection->peer;
    if (server->newest != connection) {
        net_connection_unlist(connection);
        net_connection_list(connection);
    }
    pthread_mutex_unlock(&server->lock);
    incoming_account(connection,
                     stream->incoming != NULL && !peer ? stream->incoming->capacity : 0);
}

static void incoming_forget(struct connection *connection)
{
    connection->server->unfinished -= connection->frame_us != 0;
    connection->frame_us = 0;
    incoming_account(connection, 0);
}

void net_connection_close(struct connection *connection)
{
    struct kvp_net_server *server = connection->server;
    if (!connection->greeted) {
        server->ungreeted--;
    }
    incoming_forget(connection);
    /* Epoll forgets what is closed only when nobody has a copy, and a forked child may. */
    (void)epoll_ctl(server->epoll_fd, EPOLL_CTL_DEL, connection->stream.fd, NULL);
    pthread_mutex_lock(&server->lock);
    net_connection_empty(connection);
    net_connection_free_if_unused(connection);
    pthread_mutex_unlock(&server->lock);
    atomic_fetch_sub(&server->connections, 1);
}
