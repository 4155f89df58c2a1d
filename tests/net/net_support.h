/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the transport tests share: a host (server) that echoes or holds what it gets, a caller
 * (link) that collects what comes back, and raw TCP peers that speak, or break, the SP protocol by
 * hand. Whoever waits, waits for a condition, and fails the test when it has not come true in 10 s.
 */
#ifndef NET_SUPPORT_H
#define NET_SUPPORT_H

#include "replication/net/net.h"

#include <pthread.h>
#include <stdatomic.h>

#define HELD_MAX    1024
#define ANSWERS_MAX 4096
#define STATES_MAX  64

#define SP_PROTOCOL_REQ 0x30u
#define SP_PROTOCOL_REP 0x31u
#define SP_PROTOCOL_PUB 0x20u

/* What hosts and callers have who were given nothing else; NULL: no TLS. */
extern struct kvp_tls *net_support_tls;

struct host {
    struct kvp_net_server *server;
    bool echo;           /* answer at once with the body */
    atomic_uint inside;  /* callbacks under way */
    atomic_uint overlap; /* callbacks that found another one under way */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct kvp_net_request *held[HELD_MAX];
    size_t held_count;
    char refused[256]; /* why somebody was not let in, the last one */
};

struct caller {
    struct kvp_net_link *link;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool states[STATES_MAX]; /* as told by on_state */
    size_t state_count;
    uint32_t ids[ANSWERS_MAX]; /* of answers, as they came */
    size_t answer_count;
    kvp_buf last;        /* body of the newest answer */
    const char *failure; /* why it came to nothing, the last time */
};

void host_open(struct host *host, const struct kvp_net_server_config *config);
void host_wait_held(struct host *host, size_t count);
/* Waits until somebody was refused, with these words in the reason. */
void host_wait_refused(struct host *host, const char *words);
void host_wait_connections(struct host *host, unsigned count);
/* Answers the held request at `index` with its own body; it stays in the list, not to be touched.
 */
void host_answer(struct host *host, size_t index);
void host_close(struct host *host);

void caller_open(struct caller *caller, const char *url);
void caller_open_with(struct caller *caller, const struct kvp_net_link_config *config);
/* Waits until an attempt failed, with these words in the reason. */
void caller_wait_failure(struct caller *caller, const char *words);
/* Waits until the state was told `count` times. */
void caller_wait_states(struct caller *caller, size_t count);
bool caller_is_connected(struct caller *caller);
void caller_wait_connected(struct caller *caller, bool connected);
void caller_wait_answers(struct caller *caller, size_t count);
void caller_send(struct caller *caller, uint32_t id, const char *body);
/* One request and its answer, over a connection that is up or comes up. */
void caller_check_echo(struct caller *caller, const char *body);
void caller_close(struct caller *caller);

unsigned url_port(const char *url);
/* Polls `check` until it is true. */
void wait_for(bool (*check)(void *arg), void *arg);

int raw_socket(void);
void raw_dial(int fd, unsigned port);
int raw_connect(unsigned port); /* both */
int raw_listen(unsigned *port);
int raw_accept(int listener);
void raw_send(int fd, const void *data, size_t size);
/* Reads exactly `size` bytes; false at the end of the stream or a reset. */
bool raw_receive(int fd, void *data, size_t size);
void raw_greet(int fd, unsigned protocol);         /* sends an SP greeting */
void raw_take_greeting(int fd, unsigned protocol); /* receives and checks one */
/* Sends one SP message: length, words of the header, body. */
void raw_send_message(int fd, const uint32_t *words, size_t word_count, const char *body);
/* Waits until the other side has closed, and closes. */
void raw_wait_closed(int fd);

#endif
