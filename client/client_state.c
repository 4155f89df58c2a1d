/* SPDX-License-Identifier: Apache-2.0 */
/* The calls under way: their states, the lists that they are in, and how they end. */
#include "client/client_state.h"

#define BACKOFF_MIN_US 10000u
#define BACKOFF_MAX_US 100000u

uint64_t client_random(struct client_core *core)
{
    core->random ^= core->random << 13; /* xorshift64 (Marsaglia 2003) */
    core->random ^= core->random >> 7;
    core->random ^= core->random << 17;
    return core->random;
}

uint64_t client_backoff_time(struct client_core *core, unsigned times)
{
    uint64_t time_us = (uint64_t)BACKOFF_MIN_US << (times < 8 ? times : 8);
    time_us = time_us < BACKOFF_MAX_US ? time_us : BACKOFF_MAX_US;
    return time_us / 2 + client_random(core) % (time_us / 2);
}

void client_list_push(struct list *list, struct client_call *call)
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

void client_due(struct client_core *core, uint64_t when_us)
{
    core->next_us = when_us < core->next_us ? when_us : core->next_us;
}

void client_set_state(struct client_core *core, struct client_call *call,
                      enum client_call_state state, uint64_t due_us)
{
    list_remove(list_of(core, call->state), call);
    call->state = state;
    call->due_us = due_us;
    if (state != CALL_DONE) {
        client_list_push(list_of(core, state), call);
        client_due(core, due_us);
    }
}

void client_call_end(struct client_core *core, struct client_call *call, kvp_status status,
                     kvp_slice result, const char *reason)
{
    if (call->state != CALL_QUEUED) {
        core->slots[call->slot].call = NULL;
        core->free_slots[core->free_count++] = call->slot;
    }
    if (core->hello == call) {
        core->hello = NULL;
    }
    client_set_state(core, call, CALL_DONE, 0);
    core->config.port.done(core->config.port.arg, call, status, result, reason);
}

bool client_may_have_happened(const struct client_call *call)
{
    return (call->update || call->once) && (call->forgotten || call->open != 0);
}

void client_call_failed(struct client_core *core, struct client_call *call, kvp_status status,
                        const char *reason)
{
    client_call_end(core, call, client_may_have_happened(call) ? KVP_TIMEOUT_UNKNOWN : status,
                    (kvp_slice){0}, reason);
}
