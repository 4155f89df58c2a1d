/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of the client's rules share. Each calls only those before it: client_state.c
 * (calls and their lists), client_target.c (whom to ask), client_send.c, client_core.c (answers,
 * failures, time).
 */
#ifndef CLIENT_STATE_H
#define CLIENT_STATE_H

#include "client/client_core.h"

#define TRY_DOUBLINGS_MAX 3u
#define SLOT_BITS         12u
#define MESSAGE_MASK      (((uint32_t)1 << (31 - SLOT_BITS)) - 1)
#define COPIES_KNOWN      64u /* the last messages of a call that are told apart: bits of `open` */

struct endpoint {
    char url[KVP_URL_SIZE_MAX + 1];
    bool given;   /* by the user */
    bool vouched; /* a node of the group, say such that are believed */
    bool opened;  /* connecting or connected */
    bool up;
    const char *failure; /* of the last attempt to connect; NULL: none, or it is up */
    kvp_status refusal;  /* it is not one of our group's nodes, it said */
    unsigned unanswered; /* requests on its connection, also of calls that are done or elsewhere */
    uint64_t heard_us;   /* its last answer or part of one, or the connection */
    uint64_t moved;      /* bytes there and back, when last looked at */
    unsigned silences;   /* tries without a word from it, since its last answer or connection */
    uint64_t shunned_us; /* after them it is not asked before, if there is somebody else to ask */
};

struct session_slot {
    struct client_call *call;               /* NULL: free */
    uint32_t messages;                      /* sent in it, for all its calls: their ids */
    uint64_t client, number, session_start; /* session; client 0: none yet */
    uint16_t slot;
};

struct list {
    struct client_call *first, *last;
};

struct client_core {
    struct client_core_config config;
    char group[KVP_GROUP_NAME_MAX + 1];
    uint64_t now_us;
    uint64_t random;
    uint64_t next_us;
    struct endpoint endpoints[CLIENT_ENDPOINTS_MAX];
    unsigned endpoint_count;
    unsigned target;
    unsigned hinted;     /* the endpoint of the last hint; CLIENT_ENDPOINTS_MAX: none */
    unsigned moves;      /* moves of the target since the last good answer */
    unsigned backoffs;   /* pauses since then */
    uint64_t pause_us;   /* nothing goes to a primary before */
    const char *trouble; /* why calls do not get on */

    uint64_t epoch_seen;
    uint64_t group_id;      /* 0: not known */
    bool members_stale;     /* the view has changed: there may be nodes that are not known here */
    bool group_doubtful;    /* epochs went back: is it still the same group? */
    uint64_t session_start; /* for new sessions; 0 in a young group */
    bool session_start_known;
    struct client_call *hello; /* the call that asks for it */
    uint64_t client;           /* for new sessions */
    uint32_t next_slot;

    struct session_slot *slots;
    unsigned *free_slots;
    unsigned free_count;
    struct list queue;  /* QUEUED */
    struct list ready;  /* READY */
    struct list others; /* FLYING, BACKING_OFF */
    kvp_buf message;
    char text[1024]; /* a reason, while it is told */
};

/* ---- client_state.c ---- */

/* 64 random bits, from the seed in the configuration. */
uint64_t client_random(struct client_core *core);

/* 10 ms, doubled each time up to 100 ms, half of it at random. */
uint64_t client_backoff_time(struct client_core *core, unsigned times);
void client_list_push(struct list *list, struct client_call *call);
void client_due(struct client_core *core, uint64_t when_us);
void client_set_state(struct client_core *core, struct client_call *call,
                      enum client_call_state state, uint64_t due_us);

/* The call is done: its slot is free, and its owner is told. */
void client_call_end(struct client_core *core, struct client_call *call, kvp_status status,
                     kvp_slice result, const char *reason);

/* A copy that was sent may still be executed, or has been. */
bool client_may_have_happened(const struct client_call *call);

/* Done without an answer: KVP_TIMEOUT_UNKNOWN if it may have happened. */
void client_call_failed(struct client_core *core, struct client_call *call, kvp_status status,
                        const char *reason);

/* ---- client_target.c ---- */

unsigned client_count_up(const struct client_core *core);

/* Connected, and not one that has just left us without an answer. */
bool client_is_usable(const struct client_core *core, unsigned index);
unsigned client_count_usable(const struct client_core *core);

/* The next endpoint behind `from` that is usable, or else connected; `from` itself if there is no
 * other. */
unsigned client_next_up(const struct client_core *core, unsigned from);

/* A node cut off from us is still the primary to the others for a while, and they send us back to
 * it. Its late answer counts whatever is asked elsewhere meanwhile, so it need not be waited for.
 */
void client_shun(struct client_core *core, struct endpoint *endpoint);
void client_heard_of(struct client_core *core, struct endpoint *endpoint);
unsigned client_find_url(const struct client_core *core, kvp_slice url);
void client_open_endpoint(struct client_core *core, unsigned index);

/* The endpoint of a URL that the node at `from` has told, made if need be and if that is to be
 * believed; the number of them: none. */
unsigned client_learn_url(struct client_core *core, unsigned from, kvp_slice url);

/* The same for one that it calls a member of the group. */
void client_learn_member(struct client_core *core, unsigned from, kvp_slice url);

/* The target is of no use at the moment: on to the one that the hint names, or the next. Many calls
 * may find that out at once: what fails in a pause does not make the next one longer. */
void client_move_target(struct client_core *core, unsigned from, kvp_slice hint);
void client_all_is_well(struct client_core *core);

/* Where the call goes next; false: nowhere at the moment. */
bool client_pick_endpoint(struct client_core *core, struct client_call *call);

/* ---- client_send.c ---- */

uint64_t client_try_time(const struct client_core *core, const struct client_call *call);
struct kvp_net_flow client_endpoint_flow(struct client_core *core, unsigned endpoint);

/* Gives session slots to calls that wait for one, and sends what is ready. */
void client_pump(struct client_core *core);

#endif
