/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One node of a group "default" for tests of the client library: the real transport, a small store
 * in memory, no replication and no sessions. It can hold back its answers. Whoever waits, waits for
 * a condition and fails the test when it has not come true in 30 s.
 */
#ifndef FAKE_SERVER_H
#define FAKE_SERVER_H

#include "replication/net/net.h"
#include "replication/wire/wire.h"

#include <pthread.h>

#define SERVER_PAIRS_MAX 256u
#define SERVER_HELD_MAX  1024u
#define SERVER_OPS       (KVP_OP_TASK_POST + 1u)
#define SERVER_PAGE      3u /* pairs in a page of a scan */

struct pair {
    kvp_buf key, value;
    uint64_t modify, create;
};

struct fake_server {
    struct kvp_net_server *net;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool holding; /* requests other than HELLO wait */
    bool txn_succeeds;
    bool garbling; /* what is done has a result of a wrong type; not of HELLO */
    struct kvp_net_request *held[SERVER_HELD_MAX];
    size_t held_count;
    struct pair pairs[SERVER_PAIRS_MAX]; /* in the order of their keys */
    size_t pair_count;
    uint64_t revision;
    uint64_t cursor;    /* the only one there is; 0: none */
    kvp_buf cursor_key; /* the next page begins here */
    /* Serves what is about jobs; NULL: it is refused. Called with the lock held. */
    kvp_status (*serve_job)(void *arg, const struct kvp_request *request, kvp_buf *result);
    void *job_arg;
    /* Answers instead of all of the above, but for HELLO; NULL: nobody. With the lock held. */
    kvp_status (*serve_all)(void *arg, const struct kvp_request *request, kvp_buf *result);
    void *all_arg;
    unsigned requests[SERVER_OPS];
};

/* url NULL: any port. */
void server_open(struct fake_server *server, const char *url);
/* The connections drop; held requests get no answer. */
void server_close(struct fake_server *server);
const char *server_url(const struct fake_server *server);

void server_hold(struct fake_server *server, bool hold); /* false: and executes those held */
void server_wait_held(struct fake_server *server, size_t count);
void server_wait_requests(struct fake_server *server, unsigned op, unsigned count);

/* A point in time by which what a test waits for must have happened. */
struct timespec wait_deadline(void);

#endif
