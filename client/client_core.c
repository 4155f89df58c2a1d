/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The client's rules. All calls for the primary share one *target*: the endpoint believed to be
 * primary. What fails there moves the target on, for all of them; when all endpoints have been
 * tried in vain there is a pause.
 */
#include "client/client_core.h"
#include "kvstore/base/utf8.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BACKOFF_MIN_US    10000u
#define BACKOFF_MAX_US    100000u
#define TRY_DOUBLINGS_MAX 3u
#define SILENCE_TRIES     3u /* so many tries without a word from a node: its connection is dead */
#define RETRY_LIMIT       3u /* so many times a node may be unavailable before another is asked */
#define SLOT_BITS         12u
#define MESSAGE_MASK      (((uint32_t)1 << (31 - SLOT_BITS)) - 1)
#define COPIES_KNOWN      64u /* the last messages of a call that are told apart: bits of `open` */

struct endpoint {
    char url[KVP_URL_SIZE_MAX + 1];
    bool given;  /* by the user */
    bool opened; /* connecting or connected */
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

/* ---- small things ---- */

static uint64_t client_random(struct client_core *core)
{
    core->random ^= core->random << 13; /* xorshift64 (Marsaglia 2003) */
    core->random ^= core->random >> 7;
    core->random ^= core->random << 17;
    return core->random;
}

/* 10 ms, doubled each time up to 100 ms, half of it at random. */
static uint64_t backoff_time(struct client_core *core, unsigned times)
{
    uint64_t time_us = (uint64_t)BACKOFF_MIN_US << (times < 8 ? times : 8);

    time_us = time_us < BACKOFF_MAX_US ? time_us : BACKOFF_MAX_US;
    return time_us / 2 + client_random(core) % (time_us / 2);
}

static void list_push(struct list *list, struct client_call *call)
{
    call->next = NULL;
    call->previous = list->last;
    if (list->last != NULL) {
        list->last->next = call;
    } else {
        list->first = call;
    }
    list->last = call;
}

static void list_remove(struct list *list, struct client_call *call)
{
    if (call->previous != NULL) {
        call->previous->next = call->next;
    } else {
        list->first = call->next;
    }
    if (call->next != NULL) {
        call->next->previous = call->previous;
    } else {
        list->last = call->previous;
    }
    call->previous = call->next = NULL;
}

static struct list *list_of(struct client_core *core, enum client_call_state state)
{
    return state == CALL_QUEUED ? &core->queue : state == CALL_READY ? &core->ready : &core->others;
}

static void due(struct client_core *core, uint64_t when_us)
{
    core->next_us = when_us < core->next_us ? when_us : core->next_us;
}

static void set_state(struct client_core *core, struct client_call *call,
                      enum client_call_state state, uint64_t due_us)
{
    list_remove(list_of(core, call->state), call);
    call->state = state;
    call->due_us = due_us;
    if (state != CALL_DONE) {
        list_push(list_of(core, state), call);
        due(core, due_us);
    }
}

static void call_end(struct client_core *core, struct client_call *call, kvp_status status,
                     kvp_slice result, const char *reason)
{
    if (call->state != CALL_QUEUED) {
        core->slots[call->slot].call = NULL;
        core->free_slots[core->free_count++] = call->slot;
    }
    if (core->hello == call) {
        core->hello = NULL;
    }
    set_state(core, call, CALL_DONE, 0);
    core->config.port.done(core->config.port.arg, call, status, result, reason);
}

static bool may_have_happened(const struct client_call *call)
{
    return (call->update || call->once) && (call->forgotten || call->open != 0);
}

static const kvp_slice nothing = {NULL, 0};

static void finish_failed(struct client_core *core, struct client_call *call, kvp_status status,
                          const char *reason)
{
    call_end(core, call, may_have_happened(call) ? KVP_TIMEOUT_UNKNOWN : status, nothing, reason);
}

/* ---- whom to ask ---- */

static unsigned count_up(const struct client_core *core)
{
    unsigned count = 0;

    for (unsigned i = 0; i < core->endpoint_count; i++) {
        count += core->endpoints[i].up ? 1 : 0;
    }
    return count;
}

/* Connected, and not one that has just left us without an answer. */
static bool is_usable(const struct client_core *core, unsigned index)
{
    const struct endpoint *endpoint = &core->endpoints[index];

    return endpoint->up && core->now_us >= endpoint->shunned_us;
}

static unsigned count_usable(const struct client_core *core)
{
    unsigned count = 0;

    for (unsigned i = 0; i < core->endpoint_count; i++) {
        count += is_usable(core, i) ? 1 : 0;
    }
    return count;
}

/* The next endpoint behind `from` that is usable, or else connected; `from` itself if there is no
 * other. */
static unsigned next_up(const struct client_core *core, unsigned from)
{
    unsigned usable = count_usable(core);

    for (unsigned step = 1; step < core->endpoint_count; step++) {
        unsigned candidate = (from + step) % core->endpoint_count;
        if (usable > 0 ? is_usable(core, candidate) : core->endpoints[candidate].up) {
            return candidate;
        }
    }
    return from;
}

/* A node cut off from us is still the primary to the others for a while, and they send us back to
 * it. Its late answer counts whatever is asked elsewhere meanwhile, so it need not be waited for.
 */
static void shun(struct client_core *core, struct endpoint *endpoint)
{
    unsigned times =
        endpoint->silences < TRY_DOUBLINGS_MAX ? endpoint->silences : TRY_DOUBLINGS_MAX;

    if (core->now_us >= endpoint->shunned_us) { /* else another call has just found it out */
        endpoint->shunned_us = core->now_us + (core->config.try_us << (times + 1));
        endpoint->silences++;
    }
}

static void heard_of(struct client_core *core, struct endpoint *endpoint)
{
    endpoint->heard_us = core->now_us;
    endpoint->silences = 0;
    endpoint->shunned_us = 0;
}

static bool has_url(const struct endpoint *endpoint, kvp_slice url)
{
    return strlen(endpoint->url) == url.size && memcmp(endpoint->url, url.data, url.size) == 0;
}

static unsigned find_url(const struct client_core *core, kvp_slice url)
{
    unsigned i = 0;

    while (i < core->endpoint_count && !has_url(&core->endpoints[i], url)) {
        i++;
    }
    return i;
}

static void open_endpoint(struct client_core *core, unsigned index)
{
    struct endpoint *endpoint = &core->endpoints[index];

    if (!endpoint->opened) {
        endpoint->opened = true;
        core->config.port.connect(core->config.port.arg, index, endpoint->url);
    }
}

/* Those that were only heard of are for when the others are of no use. */
static void open_all(struct client_core *core)
{
    for (unsigned i = 0; i < core->endpoint_count; i++) {
        open_endpoint(core, i);
    }
}

static bool has_prefix(kvp_slice text, const char *prefix, size_t size)
{
    return text.size > size && memcmp(text.data, prefix, size) == 0;
}

/*
 * Nodes name others, and what a node says are bytes from the network: only those that the user has
 * named are believed, and about addresses of their own scheme ("tcp://": nobody far away leads us
 * to a socket of this machine). A node of this machine may name any.
 */
static bool may_name(const struct endpoint *from, kvp_slice url)
{
    const char *colon = strstr(from->url, "://");
    size_t size = colon == NULL ? 0 : (size_t)(colon - from->url) + 3;
    bool local = strncmp(from->url, "ipc://", 6) == 0 || strncmp(from->url, "inproc://", 9) == 0;

    return from->given && (local || (size > 0 && has_prefix(url, from->url, size)));
}

/* The endpoint of a URL that the node at `from` has told, made if need be and if that is to be
 * believed; the number of them: none. */
static unsigned learn_url(struct client_core *core, unsigned from, kvp_slice url)
{
    unsigned index = find_url(core, url);
    bool usable =
        url.size > 0 && url.size <= KVP_URL_SIZE_MAX && memchr(url.data, '\0', url.size) == NULL;

    if (index == core->endpoint_count && usable && index < CLIENT_ENDPOINTS_MAX &&
        may_name(&core->endpoints[from], url)) {
        memcpy(core->endpoints[core->endpoint_count++].url, url.data, url.size);
    }
    return usable ? index : core->endpoint_count;
}

/* The target is of no use at the moment: on to the one that the hint names, or the next. Many calls
 * may find that out at once: what fails in a pause does not make the next one longer. */
static void move_target(struct client_core *core, unsigned from, kvp_slice hint)
{
    unsigned named = learn_url(core, from, hint);
    unsigned usable = count_usable(core);
    bool paused = core->now_us < core->pause_us;
    /* Else it is none of those to be asked. */
    bool counts = usable > 0 ? is_usable(core, core->target) : core->endpoints[core->target].up;

    core->moves += !paused && counts ? 1 : 0;
    open_all(core);
    if (named < core->endpoint_count && named != core->target) {
        core->hinted = named;
    }
    if (named < core->endpoint_count && named != core->target && is_usable(core, named)) {
        core->target = named;
    } else {
        core->target = next_up(core, core->target);
    }
    if (!paused && core->moves >= (usable > 0 ? usable : count_up(core))) {
        core->pause_us = core->now_us + backoff_time(core, core->backoffs++);
        core->moves = 0;
        due(core, core->pause_us);
    }
}

static void all_is_well(struct client_core *core)
{
    core->moves = core->backoffs = 0;
    core->pause_us = 0;
    core->trouble = NULL;
}

/* Where the call goes next; false: nowhere at the moment. */
static bool pick_endpoint(struct client_core *core, struct client_call *call)
{
    if (call->route == CLIENT_TO_ONE) {
        return core->endpoints[call->endpoint].up;
    }
    unsigned from = call->route == CLIENT_TO_ANY && call->tries > 0 ? call->endpoint : core->target;
    if (!core->endpoints[from].up) {
        from = next_up(core, from);
        if (!core->endpoints[from].up) {
            open_all(core);
            return false;
        }
        if (call->route == CLIENT_TO_PRIMARY) {
            core->target = from;
        }
    }
    call->endpoint = from;
    return call->route == CLIENT_TO_ANY || core->now_us >= core->pause_us;
}

/* ---- sending ---- */

static void new_session(struct client_core *core, struct session_slot *session_slot)
{
    if (core->next_slot > UINT16_MAX) {
        core->client = client_random(core) | 1;
        core->next_slot = 0;
    }
    session_slot->client = core->client;
    session_slot->slot = (uint16_t)core->next_slot++;
    session_slot->number = 1;
    session_slot->session_start = core->session_start;
}

/* A new session needs its start first, and a group that was replaced shows by its id. One call at a
 * time asks for them. False: this one has to wait. */
static bool prepare_session(struct client_core *core, struct client_call *call)
{
    struct session_slot *session_slot = &core->slots[call->slot];

    call->asks_hello = false;
    bool needs_session_start = call->update && session_slot->client == 0;
    bool doubtful = call->route == CLIENT_TO_PRIMARY && core->group_doubtful;
    if (!doubtful && !needs_session_start) {
        return true;
    }
    if (!doubtful && core->session_start_known) {
        new_session(core, session_slot);
        return true;
    }
    if (core->hello != NULL && core->hello != call) {
        return false;
    }
    core->hello = call;
    call->asks_hello = true;
    return true;
}

static kvp_status call_encode(struct client_core *core, const struct client_call *call)
{
    const struct session_slot *session_slot = &core->slots[call->slot];
    struct kvp_request request = call->request;

    if (call->asks_hello) {
        memset(&request, 0, sizeof(request));
        request.op = KVP_OP_HELLO;
    } else if (call->update) {
        request.session = (struct kvp_session_id){
            .client = session_slot->client,
            .slot = session_slot->slot,
            .number = session_slot->number,
            .session_start = session_slot->session_start,
        };
    }
    request.group = kvp_slice_of(core->group, strlen(core->group));
    request.epoch_seen = core->epoch_seen;
    core->message.size = 0;
    return kvp_wire_request_encode(&request, &core->message);
}

static uint64_t try_time(const struct client_core *core, const struct client_call *call)
{
    /* Answers that send the call elsewhere say nothing about the time that an answer takes. */
    unsigned times = call->silences < TRY_DOUBLINGS_MAX ? call->silences : TRY_DOUBLINGS_MAX;
    uint64_t left_us = call->deadline_us - core->now_us; /* try_send() has looked */
    bool others = count_usable(core) > (is_usable(core, call->endpoint) ? 1 : 0);

    times = call->route == CLIENT_TO_PRIMARY && others ? 0 : times;

    return call->once && !call->asks_hello
               ? left_us
               : (core->config.try_us << times) + (call->asks_hello ? 0 : call->patience_us);
}

/* The id of the next message in the call's session slot. Every one has its own: a late answer must
 * be known for what it answers, and no connection may have the same id under way twice. */
static uint32_t next_id(const struct client_core *core, const struct client_call *call)
{
    return ((core->slots[call->slot].messages + 1) & MESSAGE_MASK) << SLOT_BITS | call->slot;
}

static struct kvp_net_flow endpoint_flow(struct client_core *core, unsigned endpoint)
{
    struct kvp_net_flow flow = {0};

    if (core->config.port.flow != NULL) {
        core->config.port.flow(core->config.port.arg, endpoint, &flow);
    }
    core->endpoints[endpoint].moved = flow.arrived + flow.received;
    return flow;
}

static void note_sent(struct client_core *core, struct client_call *call)
{
    struct kvp_net_flow flow = endpoint_flow(core, call->endpoint);

    call->end = flow.sent;
    call->moved = flow.arrived + flow.received;
    call->coming = false;
    call->forgotten = call->forgotten || (call->open >> (COPIES_KNOWN - 1)) != 0;
    call->open = call->open << 1 | (call->asks_hello ? 0 : 1);
    call->sent++;
    core->slots[call->slot].messages++;
    core->endpoints[call->endpoint].unanswered++;
    set_state(core, call, CALL_FLYING, core->now_us + try_time(core, call));
}

/* Sends the call if there is somebody to send it to. */
static void try_send(struct client_core *core, struct client_call *call)
{
    if (core->now_us >= call->deadline_us || !pick_endpoint(core, call) ||
        core->endpoints[call->endpoint].unanswered >= KVP_WIRE_OUTSTANDING_MAX ||
        !prepare_session(core, call)) {
        return;
    }
    kvp_status status = call_encode(core, call);
    if (status == KVP_OK) {
        status = core->config.port.send(core->config.port.arg, call->endpoint, next_id(core, call),
                                        kvp_buf_slice(&core->message));
    }
    switch (status) {
    case KVP_OK:
        note_sent(core, call);
        break;
    case KVP_UNAVAILABLE:
    case KVP_BUSY:
        set_state(core, call, CALL_BACKING_OFF, core->now_us + backoff_time(core, call->tries));
        break;
    default:
        finish_failed(core, call, status, "");
        break;
    }
}

static void client_admit_calls(struct client_core *core)
{
    while (core->queue.first != NULL && core->free_count > 0) {
        struct client_call *call = core->queue.first;
        call->slot = core->free_slots[--core->free_count];
        struct session_slot *session_slot = &core->slots[call->slot];
        session_slot->call = call;
        session_slot->number++;
        set_state(core, call, CALL_READY, call->deadline_us);
    }
}

static void pump(struct client_core *core)
{
    client_admit_calls(core);
    for (struct client_call *call = core->ready.first, *next; call != NULL; call = next) {
        next = call->next;
        try_send(core, call);
    }
}

/* ---- attempts that came to nothing ---- */

/* To be sent again; unless nobody may know how often it would then run. */
static void again(struct client_core *core, struct client_call *call, uint64_t backoff_us)
{
    call->tries++;
    if (call->once && may_have_happened(call)) {
        call_end(core, call, KVP_TIMEOUT_UNKNOWN, nothing, "no answer");
    } else if (backoff_us > 0) {
        set_state(core, call, CALL_BACKING_OFF, core->now_us + backoff_us);
    } else {
        set_state(core, call, CALL_READY, call->deadline_us);
    }
}

/* The call's attempt at its endpoint failed. */
static void attempt_failed(struct client_core *core, struct client_call *call, kvp_slice hint)
{
    unsigned endpoint = call->endpoint;
    uint64_t backoff_us = 0;

    switch (call->route) {
    case CLIENT_TO_PRIMARY:
        if (endpoint == core->target) {
            move_target(core, endpoint, hint);
        }
        break;
    case CLIENT_TO_ANY:
        call->endpoint = next_up(core, endpoint);
        backoff_us = call->tries + 1 < count_up(core) ? 0 : backoff_time(core, call->tries);
        break;
    case CLIENT_TO_ONE:
        backoff_us = backoff_time(core, call->tries);
        break;
    }
    again(core, call, backoff_us);
}

static uint64_t silence_end(const struct client_core *core, const struct endpoint *endpoint)
{
    return endpoint->heard_us + SILENCE_TRIES * core->config.try_us;
}

static void reset_if_silent(struct client_core *core, unsigned index)
{
    struct endpoint *endpoint = &core->endpoints[index];

    if (core->now_us > silence_end(core, endpoint)) {
        endpoint->heard_us = core->now_us;
        core->config.port.reset(core->config.port.arg, index);
    }
}

/* A large request or answer may take many times the time of a try. As long as it comes on, it is
 * waited for: a repeat would only queue up behind it. */
static bool comes_on(struct client_core *core, struct client_call *call)
{
    struct kvp_net_flow flow = endpoint_flow(core, call->endpoint);
    uint64_t moved = flow.arrived + flow.received;
    bool came = call->coming; /* then it may be there by now, and its answer may not */

    call->coming = flow.arrived < call->end || flow.incoming;
    came = (came || call->coming) && moved != call->moved;
    call->moved = moved;
    return came;
}

static void no_answer(struct client_core *core, struct client_call *call)
{
    if (comes_on(core, call)) {
        core->endpoints[call->endpoint].heard_us = core->now_us;
        set_state(core, call, CALL_FLYING, core->now_us + try_time(core, call));
        return;
    }
    core->trouble = "no answer from a node";
    call->silences++;
    shun(core, &core->endpoints[call->endpoint]);
    reset_if_silent(core, call->endpoint);
    attempt_failed(core, call, nothing);
}

void client_core_link(struct client_core *core, unsigned endpoint, bool up, uint64_t now_us)
{
    struct endpoint *changed = &core->endpoints[endpoint];

    core->now_us = now_us;
    changed->up = up;
    changed->failure = up ? NULL : changed->failure;
    heard_of(core, changed);
    changed->unanswered = 0; /* there is a new connection, or will be */
    if (up && endpoint == core->hinted && core->moves + core->backoffs > 0) {
        core->target = endpoint;
    }
    core->pause_us = up ? 0 : core->pause_us;
    if (!up) {
        for (struct client_call *call = core->others.first, *next; call != NULL; call = next) {
            next = call->next;
            if (call->state == CALL_FLYING && call->endpoint == endpoint) {
                attempt_failed(core, call, nothing);
            }
        }
    }
    pump(core);
}

void client_core_failure(struct client_core *core, unsigned endpoint, const char *reason)
{
    core->endpoints[endpoint].failure = reason;
}

/* ---- answers ---- */

static void learn_nodes(struct client_core *core, unsigned from, const struct kvp_hello *hello)
{
    for (unsigned i = 0; i < hello->node_count; i++) {
        (void)learn_url(core, from, hello->nodes[i].url);
    }
}

static void session_expired(struct client_core *core, struct client_call *call)
{
    if (call->forgotten || (call->open & ~(uint64_t)1) != 0) {
        call_end(core, call, KVP_TIMEOUT_UNKNOWN, nothing,
                 "the session has expired while the request was being repeated");
        return;
    }
    call->open = 0;
    core->slots[call->slot].client = 0; /* a new session, with a new start */
    core->session_start_known = false;
    again(core, call, 0);
}

/* Not one of our group, it says: that is final when nobody given to us says anything else. */
static void refused_by_node(struct client_core *core, struct client_call *call,
                            const struct kvp_answer *answer)
{
    bool all = true;

    core->endpoints[call->endpoint].refusal = answer->status;
    for (unsigned i = 0; i < core->endpoint_count; i++) {
        all = all && (!core->endpoints[i].given || core->endpoints[i].refusal != KVP_OK);
    }
    if (all || call->route == CLIENT_TO_ONE) {
        call_end(core, call, may_have_happened(call) ? KVP_TIMEOUT_UNKNOWN : answer->status,
                 answer->result, "");
    } else {
        attempt_failed(core, call, nothing);
    }
}

enum verdict {
    FINAL,
    EXPIRED,
    ELSEWHERE, /* nothing was executed; another node may do it */
    LATER,     /* nothing was executed; this node may do it */
    FOREIGN,
    UNKNOWN,
};

static enum verdict verdict_of(const struct client_call *call, int status)
{
    switch (status) {
    case KVP_OK:
    case KVP_NOT_FOUND:
    case KVP_EXISTS:
    case KVP_VERSION_DIFFERS:
    case KVP_STALE_REQUEST:
    case KVP_BAD_REQUEST:
    case KVP_TOO_LARGE:
    case KVP_REFUSED:
    case KVP_CURSOR_EXPIRED:
    case KVP_NO_SUCH_JOB:
    case KVP_JOB_STATE:
    case KVP_NO_TASK:
    case KVP_WORKER_UNKNOWN:
    case KVP_WORKER_REPLACED:
    case KVP_WORKER_BARRED:
    case KVP_NOT_HELD:
    case KVP_OVERFLOW:
        return FINAL;
    case KVP_SESSION_EXPIRED:
        return EXPIRED;
    case KVP_NOT_PRIMARY:
        return call->route == CLIENT_TO_ONE ? FINAL : ELSEWHERE;
    case KVP_UNAVAILABLE:
    case KVP_BUSY:
    case KVP_TIMEOUT:
        return LATER;
    case KVP_WRONG_GROUP:
    case KVP_BAD_VERSION:
    case KVP_BAD_OP: /* a witness, or a node of another release */
        return FOREIGN;
    default: /* a node asked for its own word has given it, unless it was to do something */
        return call->route == CLIENT_TO_ONE && !call->once ? FINAL : UNKNOWN;
    }
}

/* Other calls may get on meanwhile: so it is noted with this one, and told if it never does. */
static void note_put_off(struct client_call *call, const struct kvp_answer *answer)
{
    kvp_slice text = {0};

    if (kvp_wire_read_string(answer->result, &text) != KVP_OK) {
        text = kvp_slice_of(NULL, 0);
    }
    (void)kvp_utf8_copy(call->put_off, sizeof(call->put_off), text);
}

/* The answer to a HELLO that asked for the start of sessions. */
static void take_hello(struct client_core *core, struct client_call *call,
                       const struct kvp_answer *answer)
{
    struct kvp_hello hello;

    if (verdict_of(call, answer->status) == FOREIGN) {
        core->trouble = kvp_strerror(answer->status);
        refused_by_node(core, call, answer);
        return;
    }
    if (answer->status != KVP_OK || kvp_wire_read_hello(answer->result, &hello) != KVP_OK) {
        core->trouble = "a node does not say who it is";
        attempt_failed(core, call, answer->hint);
        return;
    }
    learn_nodes(core, call->endpoint, &hello);
    if (hello.role != KVP_ROLE_PRIMARY) {
        core->trouble = "no node is primary";
        attempt_failed(core, call, answer->hint);
        return;
    }
    if (core->group_id != 0 && core->group_id != hello.group_id) {
        core->epoch_seen = answer->epoch; /* another group of the same name */
    }
    if (answer->epoch < core->epoch_seen) {
        attempt_failed(core, call, nothing); /* it has been deposed and does not know it yet */
        return;
    }
    core->group_doubtful = false;
    core->group_id = hello.group_id;
    core->session_start = hello.session_start;
    core->session_start_known = true;
    core->hello = NULL;
    all_is_well(core);
    set_state(core, call, CALL_READY, call->deadline_us);
}

static void later(struct client_core *core, struct client_call *call)
{
    uint64_t backoff_us = backoff_time(core, call->tries);

    if (call->route == CLIENT_TO_PRIMARY && call->endpoint == core->target &&
        call->tries % RETRY_LIMIT == RETRY_LIMIT - 1) {
        move_target(core, call->endpoint, nothing);
    } else if (call->route == CLIENT_TO_ANY) {
        call->endpoint = next_up(core, call->endpoint);
    }
    again(core, call, backoff_us);
}

/* The answer to the call's newest message, which is a copy of its request. */
static void call_take_answer(struct client_core *core, struct client_call *call,
                             const struct kvp_answer *answer)
{
    switch (verdict_of(call, answer->status)) {
    case FINAL:
        if (call->route == CLIENT_TO_PRIMARY) {
            all_is_well(core);
        }
        call_end(core, call, (kvp_status)answer->status, answer->result, "");
        break;
    case EXPIRED:
        session_expired(core, call);
        break;
    case ELSEWHERE:
        core->trouble = "no node is primary";
        call->open &= ~(uint64_t)1;
        attempt_failed(core, call, answer->hint);
        break;
    case LATER:
        core->trouble = "the primary does not serve at the moment";
        note_put_off(call, answer);
        call->open &= ~(uint64_t)1;
        later(core, call);
        break;
    case FOREIGN:
        core->trouble = answer->status == KVP_BAD_OP
                            ? "one of the addresses is a witness's, or a node's of another release"
                            : kvp_strerror(answer->status);
        call->open &= ~(uint64_t)1;
        refused_by_node(core, call, answer);
        break;
    case UNKNOWN: /* its bit in `open` stays */
        core->trouble = kvp_strerror(answer->status);
        if (call->once) {
            call_end(core, call, KVP_TIMEOUT_UNKNOWN, answer->result, core->trouble);
        } else {
            attempt_failed(core, call, answer->hint);
        }
        break;
    }
}

/* The late answer to a copy that was given up: only what settles the call is of interest. */
static void take_late_answer(struct client_core *core, struct client_call *call, uint64_t copy,
                             const struct kvp_answer *answer)
{
    switch (verdict_of(call, answer->status)) {
    case FINAL:
        call_end(core, call, (kvp_status)answer->status, answer->result, "");
        break;
    case ELSEWHERE:
    case LATER:
    case FOREIGN:
    case EXPIRED:
        call->open &= ~copy;
        break;
    case UNKNOWN:
        break;
    }
}

/* From a node that has not heard of the newest view? Then it must not be believed. What a HELLO
 * finds out has its own rules. */
static bool is_outdated(struct client_core *core, const struct client_call *call, bool hello,
                        const struct kvp_answer *answer)
{
    bool primary = call->route == CLIENT_TO_PRIMARY;

    if (verdict_of(call, answer->status) == FOREIGN || answer->epoch == 0) {
        return false;
    }
    if (answer->epoch >= core->epoch_seen) {
        core->epoch_seen = primary ? answer->epoch : core->epoch_seen;
        return false;
    }
    return primary && !hello;
}

/* `age`: how many messages the call has sent since the one that is answered. */
static void take_message(struct client_core *core, unsigned endpoint, struct client_call *call,
                         unsigned age, const struct kvp_answer *answer)
{
    uint64_t copy = call->open & (uint64_t)1 << age; /* 0: of a HELLO, or settled already */
    bool here = age == 0 && call->state == CALL_FLYING && call->endpoint == endpoint;

    if (copy == 0 && !(here && call->asks_hello)) {
        return;
    }
    if (verdict_of(call, answer->status) != FOREIGN) {
        core->endpoints[endpoint].refusal = KVP_OK;
    }
    call->answered_by = endpoint;
    if (is_outdated(core, call, copy == 0, answer)) {
        core->trouble = "a node has not heard of the newest view yet";
        core->group_doubtful = true;
        if (here) {
            attempt_failed(core, call, nothing);
        }
    } else if (!here) {
        take_late_answer(core, call, copy, answer);
    } else if (copy == 0) {
        take_hello(core, call, answer);
    } else {
        call_take_answer(core, call, answer);
    }
}

void client_core_answer(struct client_core *core, unsigned endpoint, uint32_t id, kvp_slice body,
                        uint64_t now_us)
{
    struct endpoint *from = &core->endpoints[endpoint];
    struct kvp_answer answer;
    uint32_t index = id & (((uint32_t)1 << SLOT_BITS) - 1);

    core->now_us = now_us;
    if (kvp_wire_answer_decode(body, &answer) != KVP_OK || index >= core->config.session_slots) {
        return; /* the same as none */
    }
    heard_of(core, from);
    from->unanswered -= from->unanswered > 0 ? 1 : 0;
    const struct session_slot *session_slot = &core->slots[index];
    uint32_t age = (session_slot->messages - (id >> SLOT_BITS)) & MESSAGE_MASK;
    if (session_slot->call != NULL && age < session_slot->call->sent && age < COPIES_KNOWN) {
        take_message(core, endpoint, session_slot->call, age, &answer);
    }
    pump(core);
}

/* ---- time ---- */

/* "no node can be reached: tcp://a:1: connection refused; ...", with the addresses if `named`. */
static const char *call_why(struct client_core *core, const char *what, unsigned first,
                            unsigned count, bool named)
{
    size_t used = (size_t)snprintf(core->text, sizeof(core->text), "%s", what);
    const char *separator = ": ";

    for (unsigned i = first; i < first + count && used < sizeof(core->text); i++) {
        const struct endpoint *endpoint = &core->endpoints[i];
        if (endpoint->failure != NULL) {
            used += (size_t)snprintf(core->text + used, sizeof(core->text) - used, "%s%s%s%s",
                                     separator, named ? endpoint->url : "", named ? ": " : "",
                                     endpoint->failure);
            separator = "; ";
        }
    }
    return core->text;
}

static void past_deadline(struct client_core *core, struct client_call *call)
{
    const char *reason = core->trouble;
    bool one = call->route == CLIENT_TO_ONE;
    bool unreachable = one ? !core->endpoints[call->endpoint].up : count_up(core) == 0;

    if (unreachable) {
        reason = one ? call_why(core, "the node cannot be reached", call->endpoint, 1, false)
                     : call_why(core, "no node can be reached", 0, core->endpoint_count, true);
    } else if (call->put_off[0] != '\0') {
        reason = call->put_off;
    } else if (reason == NULL && call->state == CALL_FLYING) {
        reason = "no answer from a node";
    }
    finish_failed(core, call, unreachable ? KVP_UNAVAILABLE : KVP_TIMEOUT,
                  reason == NULL ? "" : reason);
}

static void tick_list(struct client_core *core, struct list *list)
{
    for (struct client_call *call = list->first, *next; call != NULL; call = next) {
        next = call->next;
        if (core->now_us >= call->deadline_us) {
            past_deadline(core, call);
        } else if (call->state == CALL_FLYING && core->now_us >= call->due_us) {
            no_answer(core, call);
        } else if (call->state == CALL_BACKING_OFF && core->now_us >= call->due_us) {
            set_state(core, call, CALL_READY, call->deadline_us);
        }
    }
}

static void find_next(struct client_core *core, const struct list *list)
{
    for (const struct client_call *call = list->first; call != NULL; call = call->next) {
        due(core, call->deadline_us);
        if (call->state == CALL_FLYING || call->state == CALL_BACKING_OFF) {
            due(core, call->due_us);
        }
    }
}

/* Something is on its way there or back, and has moved since somebody looked last. */
static bool is_moving(struct client_core *core, unsigned endpoint)
{
    uint64_t before = core->endpoints[endpoint].moved;
    struct kvp_net_flow flow = endpoint_flow(core, endpoint);

    return (flow.arrived < flow.sent || flow.incoming) && core->endpoints[endpoint].moved != before;
}

/* Calls may wait for somebody who owes as many answers as may be, and will not give them. */
static void watch_silent(struct client_core *core)
{
    for (unsigned i = 0; i < core->endpoint_count && core->ready.first != NULL; i++) {
        struct endpoint *endpoint = &core->endpoints[i];
        if (endpoint->up && endpoint->unanswered >= KVP_WIRE_OUTSTANDING_MAX) {
            if (core->now_us > silence_end(core, endpoint) && is_moving(core, i)) {
                endpoint->heard_us = core->now_us;
            }
            reset_if_silent(core, i);
            due(core, silence_end(core, endpoint) + 1);
        }
    }
}

uint64_t client_core_tick(struct client_core *core, uint64_t now_us)
{
    core->now_us = now_us;
    tick_list(core, &core->queue);
    tick_list(core, &core->ready);
    tick_list(core, &core->others);
    pump(core);
    core->next_us = UINT64_MAX;
    find_next(core, &core->queue);
    find_next(core, &core->ready);
    find_next(core, &core->others);
    watch_silent(core);
    if (core->ready.first != NULL && core->pause_us > now_us) {
        due(core, core->pause_us);
    }
    return core->next_us;
}

uint64_t client_core_next(const struct client_core *core)
{
    return core->next_us;
}

void client_core_start(struct client_core *core, struct client_call *call, uint64_t now_us)
{
    core->now_us = now_us;
    call->state = CALL_QUEUED;
    list_push(&core->queue, call);
    due(core, call->deadline_us);
    pump(core);
}

void client_core_stop(struct client_core *core, kvp_status status)
{
    struct list *lists[] = {&core->queue, &core->ready, &core->others};

    for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
        while (lists[i]->first != NULL) {
            finish_failed(core, lists[i]->first, status, "");
        }
    }
}

/* ---- life ---- */

kvp_status client_core_find(struct client_core *core, const char *url, unsigned *endpoint)
{
    kvp_slice text = kvp_slice_of(url, strlen(url));
    unsigned index = find_url(core, text);

    if (index == core->endpoint_count) {
        if (index == CLIENT_ENDPOINTS_MAX || text.size > KVP_URL_SIZE_MAX) {
            return KVP_TOO_LARGE;
        }
        memcpy(core->endpoints[core->endpoint_count++].url, url, text.size);
    }
    open_endpoint(core, index);
    *endpoint = index;
    return KVP_OK;
}

kvp_status client_core_add(struct client_core *core, const char *url)
{
    unsigned endpoint = 0;

    if (core->endpoint_count >= CLIENT_NODES_MAX) {
        return KVP_TOO_LARGE;
    }
    kvp_status status = client_core_find(core, url, &endpoint);
    if (status == KVP_OK) {
        core->endpoints[endpoint].given = true;
    }
    return status;
}

const char *client_core_url(const struct client_core *core, unsigned endpoint)
{
    return core->endpoints[endpoint].url;
}

void client_core_free(struct client_core *core)
{
    if (core != NULL) {
        assert(core->queue.first == NULL && core->ready.first == NULL &&
               core->others.first == NULL);
        kvp_buf_free(&core->message);
        free(core->slots);
        free(core->free_slots);
        free(core);
    }
}

kvp_status client_core_new(const struct client_core_config *config, struct client_core **core)
{
    if (config->session_slots == 0 || config->session_slots > CLIENT_SESSION_SLOTS_MAX ||
        config->client_id == 0 || strlen(config->group) == 0 ||
        strlen(config->group) > KVP_GROUP_NAME_MAX) {
        return KVP_BAD_ARGUMENT;
    }
    struct client_core *made = calloc(1, sizeof(*made));
    if (made == NULL) {
        return KVP_NO_MEMORY;
    }
    made->config = *config;
    memcpy(made->group, config->group, strlen(config->group) + 1);
    made->random = config->seed | 1;
    made->client = config->client_id;
    made->next_us = UINT64_MAX;
    made->hinted = CLIENT_ENDPOINTS_MAX;
    made->slots = calloc(config->session_slots, sizeof(made->slots[0]));
    made->free_slots = calloc(config->session_slots, sizeof(made->free_slots[0]));
    if (made->slots == NULL || made->free_slots == NULL) {
        client_core_free(made);
        return KVP_NO_MEMORY;
    }
    for (unsigned i = 0; i < config->session_slots; i++) {
        made->free_slots[made->free_count++] = config->session_slots - 1 - i;
    }
    *core = made;
    return KVP_OK;
}
