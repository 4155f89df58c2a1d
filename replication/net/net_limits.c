/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What strangers may take of a server: connections, memory of half-received frames, time. Whoever
 * has been silent longest gives way, so that those who do nothing never shut out those who do
 * something. Connections of peers (they have sent a peer operation from a peer's address) do not
 * give way to clients, and some places are kept for the addresses of peers.
 */
#include "kvstore/base/clock.h"
#include "replication/net/net_connection.h"

#define GREETING_TIMEOUT_US 5000000u
#define FRAME_RATE_MIN      1024u /* bytes a second, when the time without progress is over */
#define LOOK_AGAIN_MS       500

static void limits_close(struct connection *connection)
{
    atomic_fetch_add(&connection->server->refused, 1);
    net_connection_close(connection);
}

/* ---- connections ---- */

static bool limits_is_idle(const struct connection *connection, bool unread)
{
    return !connection->peer && connection->held == 0 &&
           (unread || connection->stream.first == NULL);
}

/* The one that has been silent longest; `unread`: also such as have answers to read. */
static struct connection *limits_find_idle(struct kvp_net_server *server, bool unread)
{
    pthread_mutex_lock(&server->lock);
    struct connection *found = server->oldest;
    while (found != NULL && !limits_is_idle(found, unread)) {
        found = found->next;
    }
    pthread_mutex_unlock(&server->lock);
    return found;
}

bool net_limits_make_room(struct kvp_net_server *server, bool from_peer)
{
    unsigned max = server->connections_max - (from_peer ? 0 : server->reserved);
    if (atomic_load(&server->connections) < max) {
        return true;
    }
    struct connection *idle = limits_find_idle(server, false);
    if (idle == NULL) {
        idle = limits_find_idle(server, true);
    }
    if (idle != NULL) {
        limits_close(idle);
    }
    return atomic_load(&server->connections) < max;
}

/* ---- half frames ---- */

/* Half frames of all clients together: the one that grew least lately goes first. */
static void limits_trim(struct kvp_net_server *server)
{
    struct connection *next;
    for (struct connection *each = server->oldest;
         each != NULL && server->incoming > server->incoming_max; each = next) {
        next = each->next;
        if (each->incoming > 0) {
            limits_close(each);
        }
    }
}

/* ---- deadlines ---- */

static bool limits_frame_is_late(struct connection *connection, uint64_t now_us)
{
    uint64_t stall_us = connection->server->stall_us;
    uint64_t age_us = now_us - connection->frame_us;
    if (now_us - connection->received_us > stall_us) {
        return true;
    }
    const struct sp_message *incoming = connection->stream.incoming;
    uint64_t got = incoming != NULL ? incoming->size : 0;
    return age_us > stall_us && got < (age_us - stall_us) / 1000 * FRAME_RATE_MIN / 1000;
}

static bool limits_is_late(struct connection *connection, uint64_t now_us)
{
    struct kvp_net_server *server = connection->server;
    if (!connection->greeted) {
        return now_us - connection->accepted_us > GREETING_TIMEOUT_US;
    }
    pthread_mutex_lock(&server->lock);
    bool unread = connection->stream.first != NULL && now_us > connection->sent_us &&
                  now_us - connection->sent_us > server->stall_us;
    bool paused = connection->paused;
    pthread_mutex_unlock(&server->lock);
    if (connection->frame_us != 0 && paused) {
        connection->frame_us = connection->received_us = now_us; /* it is we who do not read */
    }
    return unread || (connection->frame_us != 0 && limits_frame_is_late(connection, now_us));
}

static bool limits_has_deadlines(struct kvp_net_server *server)
{
    pthread_mutex_lock(&server->lock);
    bool watched = server->watched = server->unsent > 0;
    pthread_mutex_unlock(&server->lock);
    return watched || server->ungreeted > 0 || server->unfinished > 0;
}

int net_limits_check(struct kvp_net_server *server)
{
    struct connection *next;
    limits_trim(server);
    if (!limits_has_deadlines(server)) {
        return -1;
    }
    uint64_t now_us = kvp_clock_now_us();
    uint64_t every_us = LOOK_AGAIN_MS * 1000u;
    every_us = server->stall_us / 4 < every_us ? server->stall_us / 4 : every_us;
    if (now_us - server->checked_us >= every_us) {
        server->checked_us = now_us;
        for (struct connection *each = server->oldest; each != NULL; each = next) {
            next = each->next;
            if (limits_is_late(each, now_us)) {
                limits_close(each);
            }
        }
    }
    return (int)(every_us / 1000);
}
