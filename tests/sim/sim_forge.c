/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A forger: somebody who reaches the nodes' ports, knows the group, and tells one of them of a view
 * that nobody granted. He cannot answer in another one's place.
 */
#include "sim.h"

#include "replication/wire/peer_wire.h"

#include <string.h>

static uint64_t ahead(struct sim *sim)
{
    static const uint64_t steps[] = {1, 1, 2, 10, 1000, UINT64_C(1) << 30, UINT64_C(1) << 54};
    return steps[sim_below(&sim->random_faults, sizeof(steps) / sizeof(steps[0]))];
}

static struct kvp_view forged(struct sim *sim, const struct kvp_view *real)
{
    struct kvp_view view = *real;
    uint64_t by = ahead(sim);
    view.primary = (uint8_t)(1 + sim_below(&sim->random_faults, sim->plan.nodes));
    view.in_sync = sim_below(&sim->random_faults, (uint64_t)1 << sim->plan.nodes) << 1;
    view.in_sync |= kvp_set_of(view.primary);
    view.version += by;
    view.epoch += by;
    if (sim->plan.policy != KVP_PAIR_NONE) {
        view.version = view.epoch = ((real->epoch >> 6) + by) << 6 | view.primary;
    }
    return view;
}

static void post(struct sim *sim, const struct kvp_peer_request *request)
{
    struct sim_message message = {.from = SIM_CLIENT(SIM_CLIENTS_MAX), .to = request->to};
    kvp_buf body = {0};
    sim->forged++;
    if (kvp_peer_request_encode(request, kvp_slice_of("sim", 3), &body) == KVP_OK) {
        sim_send(sim, &message, kvp_buf_slice(&body));
    }
    kvp_buf_free(&body);
}

static bool others_serve(const struct sim *sim, unsigned id)
{
    for (unsigned i = 1; i <= sim->plan.nodes; i++) {
        if (i != id && sim->nodes[i].serving) {
            return true;
        }
    }
    return false;
}

/* A view without the receiver, and an empty state that is to take the place of all that it has.
 * Only where another one serves: what is quarantined is kept, but nobody serves it. */
static void replace(struct sim *sim, unsigned to, const struct kvp_core_status *status)
{
    static struct kvp_peer_request request;
    memset(&request, 0, offsetof(struct kvp_peer_request, entries));
    request.from = (uint8_t)(to % sim->plan.nodes + 1);
    request.to = (uint8_t)to;
    request.group_id = status->meta.group_id;
    request.view = status->view;
    request.view.version += 1000; /* not one that the register is about to make */
    request.view.epoch += 1000;
    request.view.primary = request.from;
    request.view.in_sync = kvp_set_of(request.from);
    request.op = KVP_OP_HEARTBEAT;
    post(sim, &request);
    request.op = KVP_OP_SNAPSHOT;
    request.snapshot = 1 + sim_below(&sim->random_faults, 1000);
    request.last = true;
    request.point = (struct kvp_point){status->tail.seq + 1, request.view.epoch, 1};
    sim_trace(sim, "FORGED snapshot to %u from %u", to, request.from);
    post(sim, &request);
}

static void say(struct sim *sim, unsigned to, const struct kvp_core_status *status)
{
    static const unsigned ops[] = {KVP_OP_STATE, KVP_OP_HEARTBEAT, KVP_OP_APPEND};
    static struct kvp_peer_request request;
    memset(&request, 0, offsetof(struct kvp_peer_request, entries));
    request.op = ops[sim_below(&sim->random_faults, 3)];
    request.view = forged(sim, &status->view);
    request.from = sim_below(&sim->random_faults, 2)
                       ? request.view.primary
                       : (uint8_t)(1 + sim_below(&sim->random_faults, sim->plan.nodes));
    request.to = (uint8_t)to;
    request.group_id = status->meta.group_id;
    request.report.view = request.view;
    request.lead_epoch = request.view.epoch;
    request.end =
        KVP_VIEW_NUMBER_END; /* nothing is to be cut off: that a stranger can do for real */
    sim_trace(sim, "FORGED op %u to %u from %u: epoch %llu primary %u in_sync %#llx", request.op,
              to, request.from, (unsigned long long)request.view.epoch, request.view.primary,
              (unsigned long long)request.view.in_sync);
    post(sim, &request);
}

/* What a node says to the other one when it stops, fails, or wants a view: in the name of one that
 * does none of it. */
static void say_word(struct sim *sim, unsigned to, const struct kvp_core_status *status)
{
    static const unsigned ops[] = {KVP_OP_ASK_VIEW, KVP_OP_RESIGN, KVP_OP_LEAVE};
    static struct kvp_peer_request request;
    memset(&request, 0, offsetof(struct kvp_peer_request, entries));
    request.op = ops[sim_below(&sim->random_faults, 3)];
    request.from = (uint8_t)(to % sim->plan.nodes + 1);
    request.to = (uint8_t)to;
    request.group_id = status->meta.group_id;
    request.view = status->view;
    request.expected = status->view.version;
    request.proposed = status->view;
    request.proposed.version += 64;
    request.proposed.epoch += 64;
    request.proposed.primary = (uint8_t)(sim_below(&sim->random_faults, 2) ? to : request.from);
    request.proposed.in_sync = kvp_set_of(request.proposed.primary);
    sim_trace(sim, "FORGED op %u to %u from %u", request.op, to, request.from);
    post(sim, &request);
}

void sim_forge_words(struct sim *sim)
{
    for (unsigned id = 1; id <= sim->plan.nodes; id++) {
        const struct sim_node *node = &sim->nodes[id];
        struct kvp_core_status status;
        if (!node->alive) {
            continue;
        }
        kvp_core_status(kvp_executor_core(node->executor), sim_node_clock(sim, node), &status);
        if (status.view.version != 0) {
            say_word(sim, id, &status);
        }
    }
}

void sim_forge(struct sim *sim)
{
    bool all = sim_below(&sim->random_faults, 2) != 0;
    unsigned one = 1 + (unsigned)sim_below(&sim->random_faults, sim->plan.nodes);
    for (unsigned id = 1; id <= sim->plan.nodes; id++) {
        const struct sim_node *node = &sim->nodes[id];
        struct kvp_core_status status;
        if (!node->alive || (!all && id != one)) {
            continue;
        }
        kvp_core_status(kvp_executor_core(node->executor), sim_node_clock(sim, node), &status);
        if (status.meta.group_id != 0 && !all && others_serve(sim, id)) {
            replace(sim, id, &status);
        } else if (status.meta.group_id != 0) {
            say(sim, id, &status);
        }
    }
}
