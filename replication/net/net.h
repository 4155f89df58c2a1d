/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The transport: a server that takes requests and answers each once, in any order, and links that
 * send requests to one address and hand back the answers. Messages are SP REQ/REP bodies, as NNG
 * and nanomsg speak them. Callbacks run on the transport's threads, must not block, and are
 * serialized per server and per link.
 */
#ifndef KVP_NET_H
#define KVP_NET_H

#include "replication/net/identity.h"

struct kvp_net_server;
struct kvp_net_request; /* one inbound request; whoever holds it answers or drops it exactly once */
struct kvp_net_link;
struct kvp_address_list;
struct kvp_tls;

#define KVP_NET_ADDRESS_SIZE 64u

struct kvp_net_server_config {
    /* tcp://HOST:PORT, port 0 picks one; tls+tcp://, ipc:// and inproc:// too */
    const char *url;
    struct kvp_tls *tls; /* borrowed; for tls+tcp:// alone */
    /* With TLS: those with the certificate of a node of this group are peers; NULL: of any. */
    const char *group;
    /* Of a frame, its ids included; larger ones are cut off by the transport. 0:
     * KVP_MESSAGE_SIZE_MAX */
    size_t message_size_max;
    /* When there are so many, the one that has been silent longest and has no request under way
     * gives way to the next; 0: 16384. Fewer where RLIMIT_NOFILE, as it is when listening begins,
     * would leave too few descriptors for the rest of the process. */
    unsigned connections_max;
    /* Where peers are (borrowed; NULL: there are none): an eighth of the connections, at most 64,
     * is kept for them. */
    struct kvp_address_list *peers;
    /* Bytes of answers that wait for those who do not read them; above it, who has most of them is
     * cut off. 0: 512 MiB. */
    size_t unsent_max;
    /* Memory of frames that have come in part only; above it, the one that grew least lately is cut
     * off. 0: 128 MiB. */
    size_t incoming_max;
    /* So long may half a frame, or an unread answer, stand without a byte of progress; after that a
     * frame has to grow by 1 KiB a second on the whole. 0: 30000 */
    uint32_t stall_ms;
    /* A request has arrived; the callee owns it. */
    void (*on_request)(void *arg, struct kvp_net_request *request);
    /* Somebody was not let in, on a thread of the server's that is not the one of on_request; both
     * texts are for people, `reason` is static. May be NULL. */
    void (*on_refused)(void *arg, const char *address, const char *reason);
    void *arg;
    char *reason; /* why listening failed, for people; may be NULL */
    size_t reason_size;
};

/* KVP_ADDRESS_IN_USE, KVP_BAD_ARGUMENT (the URL), KVP_UNAVAILABLE (the host's name or address is
 * not there at the moment; it may come yet), KVP_IO, KVP_NO_MEMORY. */
kvp_status kvp_net_listen(const struct kvp_net_server_config *config,
                          struct kvp_net_server **server);
/* The URL listened on, with the real port; lives as long as the server. */
const char *kvp_net_server_url(const struct kvp_net_server *server);
unsigned kvp_net_server_connections(const struct kvp_net_server *server);
/* Connections that were closed for a bound: to make room, for their slowness, or for want of a
 * place. */
uint64_t kvp_net_server_refused(const struct kvp_net_server *server);
/* In on_request: when what has come together with this request began to be handed out. */
uint64_t kvp_net_server_round_us(const struct kvp_net_server *server);
/* Waits for callbacks under way; requests still held may be answered or dropped afterwards without
 * effect. NULL is fine. Must not be called from a callback. */
void kvp_net_server_close(struct kvp_net_server *server);

kvp_slice
kvp_net_request_body(const struct kvp_net_request *request); /* until answered or dropped */
/* Answers and gives up the request. Never blocks; an answer to a connection that is gone vanishes.
 * `body` is copied. */
void kvp_net_answer(struct kvp_net_request *request, kvp_slice body);
void kvp_net_drop(struct kvp_net_request *request);
/* To be asked before a client's request is executed: when its connection has many answers to read,
 * the request is taken back (true), and handed to on_request again when they have been read. */
bool kvp_net_request_postpone(struct kvp_net_request *request);
/* Has it come from an address of the list? */
bool kvp_net_request_is_from(const struct kvp_net_request *request, struct kvp_address_list *list);
/* Has it come from an address of the server's `peers`, or, with TLS, from a node by its
 * certificate? Asked about peer operations only: from then on the connection counts as a peer's,
 * which does not give way to clients. */
bool kvp_net_request_from_peer(struct kvp_net_request *request);
/* Does it come by TLS? Then who asks has a certificate. */
bool kvp_net_request_is_tls(const struct kvp_net_request *request);
/* Whom that certificate names in the group; NULL: nobody. Until the request is answered or dropped.
 */
const struct kvp_identity *kvp_net_request_identity(const struct kvp_net_request *request,
                                                    kvp_slice group);
/* Whence it came, for people; "local" for a Unix socket. Returns `out`. */
const char *kvp_net_request_address(const struct kvp_net_request *request,
                                    char out[KVP_NET_ADDRESS_SIZE]);
/* Is the connection that it came by still open? */
bool kvp_net_request_alive(const struct kvp_net_request *request);
/* From here until it is let go answers may wait, so that those to one connection go out with one
 * system call. For moments only, and not nested in one thread; when one of several lets go, all
 * goes out. */
void kvp_net_server_cork(struct kvp_net_server *server);
void kvp_net_server_uncork(struct kvp_net_server *server);

struct kvp_net_link_config {
    const char *url;
    struct kvp_tls *tls; /* borrowed; for tls+tcp:// alone */
    /* With TLS: whose certificate the other side has to show; kind 0: anybody's. */
    enum kvp_identity_kind peer_kind;
    unsigned peer_node; /* of a node; 0: any */
    const char *peer_group;
    size_t message_size_max;                     /* of a frame; 0: KVP_MESSAGE_SIZE_MAX */
    unsigned reconnect_min_ms, reconnect_max_ms; /* 0: 10 and 250 */
    /* Sent bytes that the other side's kernel has not acknowledged for so long: dials anew;
     * connecting may take so long, too. After a cut TCP by itself stays silent for up to as long
     * again as the cut was. 0: 20 s, and 3 s to connect. */
    unsigned stall_ms;
    /* An answer to the request sent with `id`; body is valid during the call only. */
    void (*on_answer)(void *arg, uint32_t id, kvp_slice body);
    /* The connection came up or went down; requests under way at that moment get no answer. */
    void (*on_state)(void *arg, bool connected);
    /* An attempt to connect came to nothing, for people: "connection refused"; may be NULL.
     * `reason` lives on. */
    void (*on_failure)(void *arg, const char *reason);
    void *arg;
};

/* Opens and starts connecting in the background; it goes on trying until closed. The link is down
 * at first. KVP_BAD_ARGUMENT for the URL, or its certificate is missing; KVP_NO_MEMORY. */
kvp_status kvp_net_link_open(const struct kvp_net_link_config *config, struct kvp_net_link **link);
/* Sends a request. `id` (31 bits) comes back with the answer. Never blocks; `body` is copied.
 * KVP_UNAVAILABLE when not connected, KVP_BUSY when the send queue is full, KVP_TOO_LARGE when the
 * frame is over message_size_max, KVP_BAD_ARGUMENT (the id), KVP_NO_MEMORY. Thread-safe. */
kvp_status kvp_net_link_send(struct kvp_net_link *link, uint32_t id, kvp_slice body);
/* How far the bytes of a link have come, since it was opened. */
struct kvp_net_flow {
    uint64_t sent;     /* all that kvp_net_link_send() has taken */
    uint64_t arrived;  /* of it: acknowledged by the other side, or lost with a connection */
    uint64_t received; /* whole answers or not */
    bool incoming;     /* a part of an answer has come, and the rest has not */
};
/* Thread-safe, does not block. */
void kvp_net_link_flow(struct kvp_net_link *link, struct kvp_net_flow *flow);
/* Gives up the connection and dials anew: for who has waited too long for an answer. A network that
 * swallowed packets for a while leaves TCP silent for up to as long again. Thread-safe, does not
 * block, must not be called from a callback. */
void kvp_net_link_reset(struct kvp_net_link *link);
/* Waits for callbacks under way, and for a host name being looked up; on_state does not report the
 * closing itself. NULL is fine. Must not be called from a callback. */
void kvp_net_link_close(struct kvp_net_link *link);

#endif
