/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What operators do: they stop nodes in good order and start them again, ask members to lead, give
 * a fence command that may fail, and leave little room for stores that are quarantined. All of that
 * may delay, and never loses anything.
 */
#include "sim.h"

#define OPERATORS_AWAY_US 2000000u /* mean time until a stopped node is started again */

void sim_plan_operators(struct sim_plan *plan, uint64_t seed)
{
    uint64_t stream = seed ^ 0x5eed000b;
    plan->operators = (struct sim_operator_plan){
        .gap_us = 300000 + sim_below(&stream, 3000000),
        .fence = plan->policy == KVP_PAIR_NONE && sim_below(&stream, 2) != 0,
        .fence_fails = 100 * (unsigned)sim_below(&stream, 5),
        .no_room = sim_below(&stream, 3) == 0,
        .early = sim_below(&stream, 3) == 0,
        .short_grace = plan->nodes > 2 && sim_below(&stream, 3) == 0,
    };
    plan->witness_loss = plan->policy == KVP_PAIR_NONE ? (unsigned)sim_below(&stream, 3) : 0;
    if (plan->witness_loss != 0 || plan->operators.early) {
        plan->forge = plan->forge_words =
            0; /* nobody is left to put right what members were told, and they agree no more */
    }
}

void sim_operators_start(struct sim *sim)
{
    const struct sim_operator_plan *plan = &sim->plan.operators;
    if (plan->gap_us != 0) {
        sim_at(sim, 1500000 + sim_exponential(&sim->random_operators, plan->gap_us), SIM_OPERATOR);
    }
}

/* A store that is put aside needs more room than there is, until an operator has made some. */
void sim_operators_room(const struct sim *sim, struct sim_node *node)
{
    bool none = sim->plan.operators.no_room && !sim->calm;
    const struct kvp_quarantine room = {.count = none ? 0 : UINT32_MAX,
                                        .size = none ? 0 : UINT64_MAX};
    kvp_storage_set_quarantine(node->storage, room);
}

void sim_operators_calm(struct sim *sim)
{
    for (unsigned i = 1; i <= SIM_COPY; i++) {
        if (sim->nodes[i].alive) {
            sim_operators_room(sim, &sim->nodes[i]);
        }
    }
}

bool sim_operators_fence(struct sim *sim)
{
    return sim_below(&sim->random_operators, 1000) >= sim->plan.operators.fence_fails;
}

/* Not while the faults are over: then somebody has to serve. */
static void operators_stop(struct sim *sim, struct sim_node *node)
{
    if (node->alive && !node->paused) {
        sim_trace(sim, "%u STOP", node->id);
        node->told_to_stop = true;
        kvp_executor_stop(node->executor, sim_node_clock(sim, node));
        sim_node_settle(sim, node);
    }
}

/* The process ends when the node says that it may; its storage is closed in good order. */
void sim_operators_step(struct sim *sim)
{
    for (unsigned i = 1; i <= SIM_COPY; i++) {
        struct sim_node *node = &sim->nodes[i];
        if (node->stopped && node->alive && !node->paused) {
            sim_node_end(sim, node);
            uint64_t away_us = sim->calm ? 0 : OPERATORS_AWAY_US;
            sim_at(sim, sim_exponential(&sim->random_operators, away_us), SIM_RESTART)->node = i;
        }
    }
}

/* Without force: it may be refused, and changes nothing that the register does not grant. In pair
 * mode the operator's word takes the register's place, so that it is only asked with an arbiter. */
static void operators_promote(struct sim *sim, unsigned id)
{
    struct kvp_request request = {.op = KVP_OP_PROMOTE, .group = kvp_slice_of("sim", 3)};
    struct sim_message message = {.from = SIM_CLIENT(SIM_CLIENTS_MAX), .to = id};
    kvp_buf body = {0};
    sim_trace(sim, "PROMOTE asked of %u", id);
    if (sim->plan.policy == KVP_PAIR_NONE && kvp_wire_request_encode(&request, &body) == KVP_OK) {
        sim_send(sim, &message, kvp_buf_slice(&body));
    }
    kvp_buf_free(&body);
}

void sim_operators(struct sim *sim)
{
    uint64_t *stream = &sim->random_operators;
    struct sim_node *node = &sim->nodes[1 + sim_below(stream, sim->plan.nodes)];
    if (sim->calm) {
        return;
    }
    sim->faults++;
    if (sim_below(stream, 2) != 0) {
        operators_stop(sim, node);
    } else {
        operators_promote(sim, node->id);
    }
    sim_at(sim, sim_exponential(stream, sim->plan.operators.gap_us), SIM_OPERATOR);
}
