/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The client's core on a fake port and with virtual time. A test starts calls, takes what was sent
 * message by message, answers it or not, and lets time pass. The port itself checks what has to
 * hold always: no connection has too many requests unanswered, or the same id twice; every call
 * ends once.
 */
#ifndef CORE_SUPPORT_H
#define CORE_SUPPORT_H

#include "client/client_core.h"

#define TRY_MS        300u
#define EPOCH         5u
#define GROUP_ID      77u
#define SESSION_START 40u
#define CALLS_MAX     512u

struct sent {
    unsigned endpoint;
    unsigned connection; /* which one to that endpoint */
    uint32_t id;
    bool answered;
    uint64_t at_us;
    kvp_buf body;
    struct kvp_request request;
};

struct call {
    struct client_call core; /* first */
    bool started, done;
    unsigned order; /* of its ending among all */
    kvp_status status;
    uint64_t revision; /* the result, if it is a number */
    uint64_t at_us;
    char reason[200];
};

struct fake {
    struct client_core *core;
    uint64_t now_us;
    struct sent *sent;
    size_t sent_count, sent_capacity;
    size_t taken; /* messages that the test has looked at */
    unsigned connection[CLIENT_ENDPOINTS_MAX];
    unsigned connects[CLIENT_ENDPOINTS_MAX], resets[CLIENT_ENDPOINTS_MAX];
    char last_url[KVP_URL_SIZE_MAX + 1]; /* connected to last */
    kvp_status send_status;              /* what sending comes to */
    struct kvp_net_flow flow;            /* of all connections */
    unsigned done_count;
};

/* Nodes 0.. of the group, all of them connected. */
void fake_open(struct fake *fake, unsigned session_slots, unsigned nodes);
/* The same, with none of them connected yet. */
void fake_open_down(struct fake *fake, unsigned session_slots, unsigned nodes);
void fake_close(struct fake *fake);
void fake_make_room(struct fake *fake, size_t messages); /* if they are very many */
const char *node_url(unsigned node);

void fake_link(struct fake *fake, unsigned endpoint, bool up);
/* Lets time pass; what is due happens when it is due. */
void fake_pass(struct fake *fake, unsigned ms);
/* Lets time pass until something is sent that has not been taken, at most so long. */
struct sent *fake_pass_until_sent(struct fake *fake, unsigned ms);

void start(struct fake *fake, struct call *call, unsigned op, unsigned timeout_ms);
/* With what the test has put into call->core. */
void start_as(struct fake *fake, struct call *call, unsigned timeout_ms);

/* The next message; fails if there is none, or it is not for that endpoint. */
struct sent *take(struct fake *fake, unsigned endpoint, unsigned op);
void check_nothing_sent(struct fake *fake); /* that was not taken */

/* Answers; they may come in any order, any time later. */
void answer_raw(struct fake *fake, struct sent *sent, int status, uint64_t epoch, const char *hint,
                kvp_slice result);
void answer(struct fake *fake, struct sent *sent, kvp_status status);
void answer_hint(struct fake *fake, struct sent *sent, const char *hint); /* NOT_PRIMARY */
void answer_done(struct fake *fake, struct sent *sent, uint64_t revision);
void answer_hello(struct fake *fake, struct sent *sent);
void answer_hello_as(struct fake *fake, struct sent *sent, unsigned role, uint64_t group_id,
                     uint64_t epoch);
/* An update of its own gets a session for session slot 0, so that later ones need no HELLO. */
void warm_up(struct fake *fake, unsigned node);

void check_open(const struct call *call);
void check_done(const struct call *call, kvp_status status);

#endif
