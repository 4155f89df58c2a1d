/* SPDX-License-Identifier: Apache-2.0 */
/* A call becomes a message: its session, its id, and to whom it goes. */
#include "client/client_state.h"

#include <string.h>

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
    bool stale = call->route == CLIENT_TO_PRIMARY && core->members_stale;
    if (!doubtful && !needs_session_start && !stale) {
        return true;
    }
    if (!doubtful && core->session_start_known && needs_session_start) {
        new_session(core, session_slot);
        return true;
    }
    if (!doubtful && !needs_session_start && core->hello != NULL) {
        return true; /* another call asks already who the members are */
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

uint64_t client_try_time(const struct client_core *core, const struct client_call *call)
{
    /* Answers that send the call elsewhere say nothing about the time that an answer takes. */
    unsigned times = call->silences < TRY_DOUBLINGS_MAX ? call->silences : TRY_DOUBLINGS_MAX;
    uint64_t left_us = call->deadline_us - core->now_us; /* try_send() has looked */
    bool others = client_count_usable(core) > (client_is_usable(core, call->endpoint) ? 1 : 0);

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

struct kvp_net_flow client_endpoint_flow(struct client_core *core, unsigned endpoint)
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
    struct kvp_net_flow flow = client_endpoint_flow(core, call->endpoint);
    call->end = flow.sent;
    call->moved = flow.arrived + flow.received;
    call->coming = false;
    call->forgotten = call->forgotten || (call->open >> (COPIES_KNOWN - 1)) != 0;
    call->open = call->open << 1 | (call->asks_hello ? 0 : 1);
    call->sent++;
    core->slots[call->slot].messages++;
    core->endpoints[call->endpoint].unanswered++;
    client_set_state(core, call, CALL_FLYING, core->now_us + client_try_time(core, call));
}

/* Sends the call if there is somebody to send it to. */
static void try_send(struct client_core *core, struct client_call *call)
{
    if (core->now_us >= call->deadline_us || !client_pick_endpoint(core, call) ||
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
        client_set_state(core, call, CALL_BACKING_OFF,
                         core->now_us + client_backoff_time(core, call->tries));
        break;
    default:
        client_call_failed(core, call, status, "");
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
        client_set_state(core, call, CALL_READY, call->deadline_us);
    }
}

void client_pump(struct client_core *core)
{
    client_admit_calls(core);
    for (struct client_call *call = core->ready.first, *next; call != NULL; call = next) {
        next = call->next;
        try_send(core, call);
    }
}
