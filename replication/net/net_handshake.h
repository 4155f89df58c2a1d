/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The door of a server with TLS: a thread that accepts, and takes everybody through the handshake.
 * Only who is through it becomes a connection of the server, whose own thread, which heartbeats
 * need, has nothing to do with it.
 */
#ifndef KVP_NET_HANDSHAKE_H
#define KVP_NET_HANDSHAKE_H

#include "replication/net/net_connection.h"
#include "replication/net/net_tls.h"

#define NET_HANDSHAKES_MAX 512u /* under way at once: each has a descriptor, and some 40 KiB */

/* Whoever has come through. */
struct net_arrival {
    struct net_arrival *next;
    int fd;
    struct net_tls *tls;
    struct sockaddr_storage address;
};

/* The server listens already. KVP_IO, KVP_NO_MEMORY. */
kvp_status net_handshakes_open(struct kvp_net_server *server, struct net_handshakes **opened);
/* Waits for what is under way. NULL is fine. */
void net_handshakes_close(struct net_handshakes *handshakes);
/* The oldest first; NULL: nobody has come. Those given belong to the caller. */
struct net_arrival *net_handshakes_take(struct net_handshakes *handshakes);
void net_arrival_refuse(struct net_arrival *arrival);

#endif
