/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the net_*.c files of the server's side share: a server and its connections. The server's
 * thread alone accepts, receives, closes and calls back; answers go out from any thread, under the
 * server's lock.
 */
#ifndef KVP_NET_CONNECTION_H
#define KVP_NET_CONNECTION_H

#include "replication/net/net.h"
#include "replication/net/sp_listen.h"
#include "replication/net/sp_stream.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>

#define NET_READ_SIZE 65536u

struct net_handshakes;

struct connection {
    struct kvp_net_server *server;
    struct net_tls *tls;                /* NULL: plain; lives as long as this structure */
    struct connection *previous, *next; /* in the server's list, while open */
    struct sockaddr_storage address;    /* of the other side */
    uint64_t accepted_us;
    /* Belong to the thread. */
    bool greeted;
    uint64_t frame_us;       /* when the frame that is being received began; 0: there is none */
    uint64_t received_us;    /* when bytes came */
    size_t incoming;         /* memory of that frame, as the server's sum has it */
    struct sp_stream stream; /* the receiving half */
    /* Guarded by the server's lock, as is the stream's sending half. */
    size_t held; /* requests that the callee has */
    size_t held_size;
    size_t unsent;    /* bytes of answers in the queue, as the server's sum has them */
    uint64_t sent_us; /* when the socket last took bytes of the queue, or the queue came to be */
    struct kvp_net_request *postponed_first, *postponed_last; /* are counted in `held` */
    bool resumes; /* in the server's list of those whose postponed requests are due */
    struct connection *next_resuming;
    bool peer;    /* has shown itself a peer */
    bool delayed; /* has output that waits until the server lets go */
    struct connection *next_delayed;
    bool cut_off;    /* gets nothing more; to be closed by the thread */
    bool paused;     /* not read from */
    uint32_t events; /* as epoll knows them */
};

struct kvp_net_request {
    struct kvp_net_request *next; /* among those postponed */
    struct connection *connection;
    struct sp_message *message;
};

struct kvp_net_server {
    atomic_uint references; /* the owner's, and one per request held */
    struct sp_address address;
    struct sp_listener listener;
    struct kvp_address_list *peers; /* NULL: there are none */
    struct kvp_tls *tls;            /* NULL: plain */
    struct net_handshakes *handshakes;
    bool any_group; /* with TLS: nodes of any group are peers; else of this one */
    char group[KVP_GROUP_NAME_MAX + 1];
    size_t message_size_max;
    unsigned connections_max;
    unsigned reserved; /* of them: for peers */
    size_t unsent_max, incoming_max;
    uint64_t stall_us;
    atomic_uint connections;
    atomic_uint_fast64_t refused;
    void (*on_request)(void *arg, struct kvp_net_request *request);
    void (*on_refused)(void *arg, const char *address, const char *reason);
    void *arg;
    pthread_t thread;
    int epoll_fd, wake_fd;
    size_t ungreeted;         /* belongs to the thread, as does what follows */
    size_t unfinished;        /* connections with half a frame */
    size_t incoming;          /* memory of half frames, those of peers not counted */
    bool accepting;           /* there may be somebody to accept */
    uint64_t round_us;        /* when what came at once began to be handed out */
    uint64_t checked_us;      /* when deadlines were last looked at */
    uint64_t accept_again_us; /* 0: the listener is being watched */
    uint8_t buffer[NET_READ_SIZE];
    pthread_mutex_t lock; /* guards what follows */
    struct connection *oldest,
        *newest;         /* who has been silent longest is first; changed by the thread */
    size_t unsent;       /* of all connections */
    unsigned peer_count; /* connections that have shown themselves peers */
    bool watched;        /* the thread will look whether answers are read */
    unsigned corks;      /* of threads: answers wait to share a system call */
    struct connection *delayed, *resuming;
    bool closed;
};

/* net_connection.c, with the lock held */
void net_connection_flush(struct connection *connection);
void net_connection_arm(struct connection *connection);
void net_connection_cut_off(struct connection *connection);
void net_connection_list(struct connection *connection); /* as the one heard of last */
void net_connection_unlist(struct connection *connection);
/* Takes it out of every list, and drops what waits in it. */
void net_connection_empty(struct connection *connection);
void net_connection_free_if_unused(struct connection *connection);
/* net_connection.c, without it */
/* Is this the certificate of a node that the server takes for a peer? */
bool net_connection_is_peer(const struct kvp_net_server *server, const struct net_tls *tls);
void net_connection_deliver(struct connection *connection, struct sp_message *message);
/* Any thread: somebody was not let in; `reason` is static. */
void net_connection_tell_refused(struct kvp_net_server *server,
                                 const struct sockaddr_storage *address, const char *reason);
void net_connection_resume_all(struct kvp_net_server *server); /* the thread */
void net_server_release(struct kvp_net_server *server);

/* net_incoming.c: the thread */
/* Takes account of what has been received. */
void net_incoming_received(struct connection *connection, size_t size, uint64_t now_us);
void net_connection_close(struct connection *connection);

/* net_limits.c: the thread, and not while it looks at events, which may be about who is closed here
 */
/* May one more be let in, from where peers are or not? Closes one that is idle, if need be. */
bool net_limits_make_room(struct kvp_net_server *server, bool from_peer);
/* Closes whose time is over, and who holds too much. Returns in how many ms to look again; -1:
 * there is nothing to look at. */
int net_limits_check(struct kvp_net_server *server);

#endif
