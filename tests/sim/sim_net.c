/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The network: messages with delays, loss, duplication, cuts. Between the same two ends they keep
 * their order, as on a TCP connection, unless the plan duplicates them: a duplicate comes any time
 * later.
 */
#include "sim.h"

#include <stdlib.h>
#include <string.h>

void sim_message_free(struct sim_message *message)
{
    free(message->bytes);
    message->bytes = NULL;
}

static bool is_machine(unsigned address)
{
    return address <= SIM_COPY;
}

bool sim_reachable(const struct sim *sim, unsigned from, unsigned to)
{
    return !is_machine(from) || !is_machine(to) || !sim->cut[from][to];
}

static uint64_t delay(struct sim *sim, const struct sim_message *message)
{
    uint64_t delay_us = 20 + sim_exponential(&sim->random, sim->plan.delay_us);
    if (is_machine(message->from) && is_machine(message->to)) {
        unsigned lane = message->answer ? KVP_LINK_KINDS : message->kind;
        uint64_t *free_at = &sim->link_free[message->from][message->to][lane];
        uint64_t at = sim->now_us + delay_us;
        at = at > *free_at ? at : *free_at + 1;
        *free_at = at;
        delay_us = at - sim->now_us;
    }
    return delay_us;
}

static void post(struct sim *sim, const struct sim_message *message, kvp_slice bytes,
                 uint64_t delay_us)
{
    struct sim_event *event = sim_at(sim, delay_us, SIM_MESSAGE);
    event->message = *message;
    event->message.sent_us = sim->now_us;
    event->message.bytes = malloc(bytes.size + 1);
    if (event->message.bytes == NULL) {
        abort();
    }
    if (bytes.size > 0) {
        memcpy(event->message.bytes, bytes.data, bytes.size);
    }
    event->message.size = bytes.size;
}

void sim_send(struct sim *sim, struct sim_message *message, kvp_slice bytes)
{
    bool lossy = !sim->calm;
    if (!sim_reachable(sim, message->from, message->to)) {
        return;
    }
    if (lossy && sim_below(&sim->random, 1000) < sim->plan.loss) {
        sim->words_lost += message->from == SIM_WITNESS || message->to == SIM_WITNESS;
        return;
    }
    post(sim, message, bytes, delay(sim, message));
    if (lossy && sim_below(&sim->random, 1000) < sim->plan.duplication) {
        post(sim, message, bytes, sim_below(&sim->random, SIM_LATE_US));
    }
}

void sim_deliver(struct sim *sim, struct sim_message *message)
{
    if (!sim_reachable(sim, message->from, message->to)) {
        return; /* cut while under way */
    }
    if (message->to == SIM_WITNESS && message->sent_us < sim->witness_lost_us) {
        return; /* on a connection to the one that is no more */
    }
    if (message->to == SIM_WITNESS) {
        sim_witness_message(sim, message);
    } else if (message->to >= SIM_HOLDER(0)) {
        sim_lease_answer(sim, message->to - SIM_HOLDER(0), message);
    } else if (message->to >= SIM_ASKER(0)) {
        sim_rights_answer(sim, message->to - SIM_ASKER(0), message);
    } else if (message->to >= SIM_WATCHER(0)) {
        sim_watch_answer(sim, message->to - SIM_WATCHER(0), message);
    } else if (message->to >= SIM_CALLER(0)) {
        sim_call_answer(sim, message->to - SIM_CALLER(0), message);
    } else if (message->to >= SIM_CLIENT(0)) {
        sim_client_answer(sim, message->to - SIM_CLIENT(0), message);
    } else {
        sim_node_message(sim, &sim->nodes[message->to], message);
    }
}
