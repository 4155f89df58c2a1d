/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TLS between a connection's socket and its SP stream. First the handshake, by one thread; then
 * one thread at a time may take bytes in, and one at a time send, at once: each has its own half,
 * and a lock in here keeps them apart.
 */
#ifndef KVP_NET_TLS_H
#define KVP_NET_TLS_H

#include "replication/net/tls.h"

#include <sys/types.h>
#include <sys/uio.h>

struct net_tls;

/* Who has to be on the other side; kind 0: anybody with a certificate of the CA. */
struct net_tls_expected {
    enum kvp_identity_kind kind;
    unsigned node; /* 0: any */
    char group[KVP_GROUP_NAME_MAX + 1];
};

/* What a client keeps for the next connection, which is cheaper then; starts zeroed. */
struct net_tls_session {
    void *kept;
    unsigned loaded; /* which of the files that were loaded it belongs to */
};

enum net_tls_step { NET_TLS_DONE, NET_TLS_READS, NET_TLS_WRITES, NET_TLS_FAILED };

typedef bool (*net_tls_feeder)(void *arg, const uint8_t *plain, size_t size);

/* By OpenSSL; a build without it has none of these, and nothing to call them with. */
struct net_tls_functions {
    /* The socket stays the caller's. NULL: memory is short. */
    struct net_tls *(*accept)(struct kvp_tls *context, int fd);
    struct net_tls *(*connect)(struct kvp_tls *context, int fd,
                               const struct net_tls_expected *expected,
                               struct net_tls_session *session);
    void (*free)(struct net_tls *tls);
    void (*forget)(struct net_tls_session *session);
    /* Goes on with the handshake: until it is done, or the socket has to be waited for. */
    enum net_tls_step (*handshake)(struct net_tls *tls);
    /* Why it failed, or the connection broke, for people: static, NULL: nothing is known. */
    const char *(*reason)(const struct net_tls *tls);
    /* Of what the other side is; after the handshake. */
    const struct kvp_identity *(*identities)(const struct net_tls *tls, unsigned *count);
    /* Sends as sendmsg() does: returns how much was taken; -1 with errno EAGAIN: the socket takes
     * nothing now, what comes next begins with the same bytes; any other errno: it is broken. */
    ssize_t (*send)(struct net_tls *tls, const struct iovec *parts, size_t count);
    /* Takes all that came from the socket, and hands on what it means. False when `feed` said so,
     * or the connection is broken. */
    bool (*take)(struct net_tls *tls, const uint8_t *bytes, size_t size, net_tls_feeder feed,
                 void *arg);
    /* A part of what the other side sends has come, and the rest of it has not. */
    bool (*is_partial)(struct net_tls *tls);
    /* Tells the other side that this is the end. */
    void (*bye)(struct net_tls *tls);
};

extern const struct net_tls_functions net_tls;

#endif
