/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a client does, without threads, sockets and clock: which node gets a request, when it is
 * repeated, what its outcome is. Events come in with the time they happened at; requests and
 * outcomes go out through the port. Rules: docs/protocol.md, sections 4 and 5.
 *
 * A call under way takes a *session slot*. Calls beyond the number of session slots wait in a
 * queue, in order.
 *
 * Not thread-safe; the port's functions are called from within the core's and must not call back.
 */
#ifndef KVP_CLIENT_CORE_H
#define KVP_CLIENT_CORE_H

#include "replication/net/net.h"
#include "replication/wire/wire.h"

#define CLIENT_NODES_MAX         16u /* given by the user */
#define CLIENT_ENDPOINTS_MAX     32u /* with those that were learned, or named for one call */
#define CLIENT_SESSION_SLOTS_MAX 4096u

enum client_route {
    CLIENT_TO_PRIMARY,
    CLIENT_TO_ANY, /* the first that answers */
    CLIENT_TO_ONE, /* the endpoint named, whatever it is */
};

enum client_call_state {
    CALL_QUEUED,      /* has no session slot yet */
    CALL_READY,       /* to be sent as soon as there is somebody to send it to */
    CALL_FLYING,      /* sent; `due_us`: when to give up waiting */
    CALL_BACKING_OFF, /* waits until `due_us` before the next attempt */
    CALL_DONE,
};

/* One call. The caller fills in the first part and keeps what it points to until the call is done;
 * the rest is the core's and starts zeroed. */
struct client_call {
    struct kvp_request request; /* without group, epoch and session */
    enum client_route route;
    unsigned endpoint;    /* CLIENT_TO_ONE */
    bool update;          /* has a session: may be repeated after an attempt without an answer */
    bool once;            /* waits for its first answer; is not repeated when that cannot come */
    uint64_t patience_us; /* how long the node may take to answer, besides the way there and back */
    uint64_t deadline_us;

    enum client_call_state state;
    struct client_call *previous, *next; /* in one of the core's lists */
    unsigned slot;
    uint64_t due_us;
    unsigned tries;
    unsigned silences;    /* of them: ended without any answer */
    unsigned sent;        /* messages; the newest is bit 0 of `open` */
    uint64_t open;        /* which of them are copies not known to have come to nothing */
    bool forgotten;       /* one too old to be in `open` is such a copy */
    bool asks_hello;      /* its newest message is a HELLO for the start of sessions */
    uint64_t end;         /* of its newest message, among the bytes sent there */
    uint64_t moved;       /* bytes there and back, when last looked at */
    bool coming;          /* it was on its way then, or an answer was */
    unsigned answered_by; /* the endpoint of the answer that settled it */
    char put_off[200];    /* why a node could not execute it, the last time; "": it did not say */
};

struct client_core_port {
    void *arg;
    /* Begins to connect to the endpoint; link events tell. */
    void (*connect)(void *arg, unsigned endpoint, const char *url);
    kvp_status (*send)(void *arg, unsigned endpoint, uint32_t id, kvp_slice body);
    void (*reset)(void *arg, unsigned endpoint);
    /* NULL: it is not known, and what has not been answered in time is taken for lost. */
    void (*flow)(void *arg, unsigned endpoint, struct kvp_net_flow *flow);
    /* The outcome. `result`: the answer's result, valid during the call; empty if there is none.
     * `reason`: for people, may be empty. The call is the caller's again. */
    void (*done)(void *arg, struct client_call *call, kvp_status status, kvp_slice result,
                 const char *reason);
};

struct client_core_config {
    const char *group;
    uint64_t client_id; /* random, not 0 */
    uint64_t seed;      /* of the randomness in pauses */
    uint64_t try_us;
    unsigned session_slots; /* 1 to CLIENT_SESSION_SLOTS_MAX */
    struct client_core_port port;
};

struct client_core;

/* KVP_BAD_ARGUMENT, KVP_NO_MEMORY. */
kvp_status client_core_new(const struct client_core_config *config, struct client_core **core);
void client_core_free(struct client_core *core); /* all calls are done; NULL is fine */

/* A node of the group, as the user gave it. KVP_TOO_LARGE: too many, or the URL is too long. */
kvp_status client_core_add(struct client_core *core, const char *url);
/* The endpoint with that URL, made if need be. */
kvp_status client_core_find(struct client_core *core, const char *url, unsigned *endpoint);
const char *client_core_url(const struct client_core *core, unsigned endpoint);

void client_core_start(struct client_core *core, struct client_call *call, uint64_t now_us);
void client_core_answer(struct client_core *core, unsigned endpoint, uint32_t id, kvp_slice body,
                        uint64_t now_us);
void client_core_link(struct client_core *core, unsigned endpoint, bool up, uint64_t now_us);
/* An attempt to connect came to nothing; `reason` (which lives on) tells people why. */
void client_core_failure(struct client_core *core, unsigned endpoint, const char *reason);
/* Does what is due; returns when to call again, at the latest (UINT64_MAX: nothing is due). */
uint64_t client_core_tick(struct client_core *core, uint64_t now_us);
/* When the next thing is due, or earlier. */
uint64_t client_core_next(const struct client_core *core);
/* Ends all calls with `status`. */
void client_core_stop(struct client_core *core, kvp_status status);

#endif
