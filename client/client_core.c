/* SPDX-License-Identifier: Apache-2.0 */
/* The client's rules: what becomes of answers, of silence, and of time that passes. */
#include "client/client_core.h"
#include "client/client_state.h"
#include "kvstore/base/utf8.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SILENCE_TRIES 3u /* so many tries without a word from a node: its connection is dead */
#define RETRY_LIMIT   3u /* so many times a node may be unavailable before another is asked */

static const kvp_slice nothing = {NULL, 0};

/* ---- attempts that came to nothing ---- */

/* To be sent again; unless nobody may know how often it would then run. */
static void again(struct client_core *core, struct client_call *call, uint64_t backoff_us)
{
    call->tries++;
    if (call->once && client_may_have_happened(call)) {
        client_call_end(core, call, KVP_TIMEOUT_UNKNOWN, nothing, "no answer");
    } else if (backoff_us > 0) {
        client_set_state(core, call, CALL_BACKING_OFF, core->now_us + backoff_us);
    } else {
        client_set_state(core, call, CALL_READY, call->deadline_us);
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
            client_move_target(core, endpoint, hint);
        }
        break;
    case CLIENT_TO_ANY:
        call->endpoint = client_next_up(core, endpoint);
        backoff_us =
            call->tries + 1 < client_count_up(core) ? 0 : client_backoff_time(core, call->tries);
        break;
    case CLIENT_TO_ONE:
        backoff_us = client_backoff_time(core, call->tries);
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
    struct kvp_net_flow flow = client_endpoint_flow(core, call->endpoint);
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
        client_set_state(core, call, CALL_FLYING, core->now_us + client_try_time(core, call));
        return;
    }
    core->trouble = "no answer from a node";
    call->silences++;
    client_shun(core, &core->endpoints[call->endpoint]);
    reset_if_silent(core, call->endpoint);
    attempt_failed(core, call, nothing);
}

void client_core_link(struct client_core *core, unsigned endpoint, bool up, uint64_t now_us)
{
    struct endpoint *changed = &core->endpoints[endpoint];
    core->now_us = now_us;
    changed->up = up;
    changed->failure = up ? NULL : changed->failure;
    client_heard_of(core, changed);
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
    client_pump(core);
}

void client_core_failure(struct client_core *core, unsigned endpoint, const char *reason)
{
    core->endpoints[endpoint].failure = reason;
}

/* ---- answers ---- */

static void learn_nodes(struct client_core *core, unsigned from, const struct kvp_hello *hello)
{
    for (unsigned i = 0; i < hello->node_count; i++) {
        client_learn_member(core, from, hello->nodes[i].url);
    }
}

static void session_expired(struct client_core *core, struct client_call *call)
{
    if (call->forgotten || (call->open & ~(uint64_t)1) != 0) {
        client_call_end(core, call, KVP_TIMEOUT_UNKNOWN, nothing,
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
        client_call_end(core, call,
                        client_may_have_happened(call) ? KVP_TIMEOUT_UNKNOWN : answer->status,
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
    case KVP_COMPACTED:
        return FINAL;
    case KVP_SESSION_EXPIRED:
        return EXPIRED;
    case KVP_NOT_PRIMARY:
        return call->route == CLIENT_TO_ONE ? FINAL : ELSEWHERE;
    case KVP_TIMEOUT: /* a node that was to do something itself has tried for long enough */
        return call->route == CLIENT_TO_ONE && call->once ? FINAL : LATER;
    case KVP_UNAVAILABLE:
    case KVP_BUSY:
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
    core->group_doubtful = core->members_stale = false;
    core->group_id = hello.group_id;
    core->session_start = hello.session_start;
    core->session_start_known = true;
    core->hello = NULL;
    client_all_is_well(core);
    client_set_state(core, call, CALL_READY, call->deadline_us);
}

static void later(struct client_core *core, struct client_call *call)
{
    uint64_t backoff_us = client_backoff_time(core, call->tries);
    if (call->route == CLIENT_TO_PRIMARY && call->endpoint == core->target &&
        call->tries % RETRY_LIMIT == RETRY_LIMIT - 1) {
        client_move_target(core, call->endpoint, nothing);
    } else if (call->route == CLIENT_TO_ANY) {
        call->endpoint = client_next_up(core, call->endpoint);
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
            client_all_is_well(core);
        }
        client_call_end(core, call, (kvp_status)answer->status, answer->result, "");
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
            client_call_end(core, call, KVP_TIMEOUT_UNKNOWN, answer->result, core->trouble);
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
        client_call_end(core, call, (kvp_status)answer->status, answer->result, "");
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
        core->members_stale =
            core->members_stale || (core->epoch_seen != 0 && answer->epoch > core->epoch_seen);
        core->epoch_seen = primary ? answer->epoch : core->epoch_seen;
        return false;
    }
    return primary && !hello;
}

/* The copy, if its answer says that it was not executed: that is so whatever its node has missed.
 */
static uint64_t client_refused_copy(const struct client_call *call, int status, uint64_t copy)
{
    enum verdict verdict = verdict_of(call, status);
    return verdict == ELSEWHERE || verdict == LATER || status == KVP_REFUSED ? copy : 0;
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
        call->open &= ~client_refused_copy(call, answer->status, copy);
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
    client_heard_of(core, from);
    from->unanswered -= from->unanswered > 0 ? 1 : 0;
    const struct session_slot *session_slot = &core->slots[index];
    uint32_t age = (session_slot->messages - (id >> SLOT_BITS)) & MESSAGE_MASK;
    if (session_slot->call != NULL && age < session_slot->call->sent && age < COPIES_KNOWN) {
        take_message(core, endpoint, session_slot->call, age, &answer);
    }
    client_pump(core);
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
    bool unreachable = one ? !core->endpoints[call->endpoint].up : client_count_up(core) == 0;
    if (unreachable) {
        reason = one ? call_why(core, "the node cannot be reached", call->endpoint, 1, false)
                     : call_why(core, "no node can be reached", 0, core->endpoint_count, true);
    } else if (call->put_off[0] != '\0') {
        reason = call->put_off;
    } else if (reason == NULL && call->state == CALL_FLYING) {
        reason = "no answer from a node";
    }
    client_call_failed(core, call, unreachable ? KVP_UNAVAILABLE : KVP_TIMEOUT,
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
            client_set_state(core, call, CALL_READY, call->deadline_us);
        }
    }
}

static void find_next(struct client_core *core, const struct list *list)
{
    for (const struct client_call *call = list->first; call != NULL; call = call->next) {
        client_due(core, call->deadline_us);
        if (call->state == CALL_FLYING || call->state == CALL_BACKING_OFF) {
            client_due(core, call->due_us);
        }
    }
}

/* Something is on its way there or back, and has moved since somebody looked last. */
static bool is_moving(struct client_core *core, unsigned endpoint)
{
    uint64_t before = core->endpoints[endpoint].moved;
    struct kvp_net_flow flow = client_endpoint_flow(core, endpoint);
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
            client_due(core, silence_end(core, endpoint) + 1);
        }
    }
}

uint64_t client_core_tick(struct client_core *core, uint64_t now_us)
{
    core->now_us = now_us;
    tick_list(core, &core->queue);
    tick_list(core, &core->ready);
    tick_list(core, &core->others);
    client_pump(core);
    core->next_us = UINT64_MAX;
    find_next(core, &core->queue);
    find_next(core, &core->ready);
    find_next(core, &core->others);
    watch_silent(core);
    if (core->ready.first != NULL && core->pause_us > now_us) {
        client_due(core, core->pause_us);
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
    client_list_push(&core->queue, call);
    client_due(core, call->deadline_us);
    client_pump(core);
}

void client_core_stop(struct client_core *core, kvp_status status)
{
    struct list *lists[] = {&core->queue, &core->ready, &core->others};
    for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
        while (lists[i]->first != NULL) {
            client_call_failed(core, lists[i]->first, status, "");
        }
    }
}

/* ---- life ---- */

kvp_status client_core_find(struct client_core *core, const char *url, unsigned *endpoint)
{
    kvp_slice text = kvp_slice_of(url, strlen(url));
    unsigned index = client_find_url(core, text);
    if (index == core->endpoint_count) {
        if (index == CLIENT_ENDPOINTS_MAX || text.size > KVP_URL_SIZE_MAX) {
            return KVP_TOO_LARGE;
        }
        memcpy(core->endpoints[core->endpoint_count++].url, url, text.size);
    }
    client_open_endpoint(core, index);
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
