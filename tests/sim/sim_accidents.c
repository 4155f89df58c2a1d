/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two accidents at once: a directory of a node is put back from when it was alone in its view, the
 * witness is emptied, and that node is started first. It makes the register anew, and leads; what
 * was acknowledged since then is not served any more. Then the others are started.
 *
 * What must hold: none of them cuts off or destroys what was acknowledged (sim_contract.c); it is
 * quarantined. The group serves again with all nodes. A node that has seen a later view than the
 * register has come to stays outside until an operator has put its directory aside.
 */
#include "sim.h"

#include "replication/core/core_state.h"

#include <string.h>

#define POLL_US  20000u
#define ALONE_US 300000u  /* so long it makes entries alone */
#define STUCK_US 6000000u /* then the operator sees that it stays outside */

void sim_plan_accidents(struct sim_plan *plan, uint64_t seed)
{
    uint64_t stream = seed ^ 0x5eed000f;
    plan->accidents = true;
    plan->nodes = 2 + (unsigned)sim_below(&stream, 2);
    plan->sync_replicas = 0;
    plan->clients = 4;
    plan->operations = 150;
    plan->faults_us = 30000000;
    plan->fault_gap_us = sim_below(&stream, 2) ? 2000000 : 0;
    plan->disk_fault = plan->wipe = plan->witness_loss = plan->forge = plan->forge_words = 0;
    plan->hang_gap_us = plan->copy_gap_us = 0;
}

void sim_accidents_start(struct sim *sim)
{
    if (sim->plan.accidents) {
        sim_at(sim, 1500000 + sim_exponential(&sim->random_accidents, 1500000), SIM_ACCIDENT);
    }
}

static const struct kvp_core *accidents_core(const struct sim_node *node)
{
    return node->alive && node->executor != NULL ? kvp_executor_core(node->executor) : NULL;
}

static struct sim_node *accidents_serving(struct sim *sim)
{
    for (unsigned i = 1; i <= sim->plan.nodes; i++) {
        if (sim->nodes[i].serving) {
            return &sim->nodes[i];
        }
    }
    return NULL;
}

static void accidents_crash(struct sim *sim, const struct sim_node *but)
{
    for (unsigned i = 1; i <= sim->plan.nodes; i++) {
        if (&sim->nodes[i] != but) {
            sim_node_crash(sim, &sim->nodes[i]);
        }
    }
}

static void accidents_restart(struct sim *sim, const struct sim_node *but, uint64_t mean_us)
{
    for (unsigned i = 1; i <= sim->plan.nodes; i++) {
        if (&sim->nodes[i] != but && !sim->nodes[i].alive) {
            uint64_t delay_us = 1000 + sim_exponential(&sim->random_accidents, mean_us);
            sim_at(sim, delay_us, SIM_RESTART)->node = i;
        }
    }
}

static bool accidents_alone(const struct sim_node *node)
{
    const struct kvp_core *core = accidents_core(node);
    return node->serving && core->view.in_sync == kvp_set_of((uint8_t)node->id);
}

/* All but one die, so that it goes on alone. */
static void accidents_make_alone(struct sim *sim)
{
    struct sim_node *node = accidents_serving(sim);
    if (node != NULL) {
        sim->accident.who = node->id;
        sim->accident.stage = ACCIDENT_ALONE;
        sim->accident.since_us = sim->now_us;
        accidents_crash(sim, node);
    }
}

static void accidents_keep_old(struct sim *sim)
{
    struct sim_node *node = &sim->nodes[sim->accident.who];
    if (accidents_alone(node) && sim->now_us > sim->accident.since_us + ALONE_US) {
        sim_trace(sim, "%u is alone, and COPIED", node->id);
        sim->accident.old_end = accidents_core(node)->durable.seq;
        sim_node_crash(sim, node);
        if (kvp_env_memory_copy(node->env, &sim->accident.old) != KVP_OK) {
            sim_fail(sim, "the store of %u cannot be copied", node->id);
        }
        sim->accident.stage = ACCIDENT_GROWS;
        accidents_restart(sim, NULL, 300000);
    }
}

static void accidents_happen(struct sim *sim)
{
    struct sim_node *node = &sim->nodes[sim->accident.who];
    sim_trace(sim, "%u is PUT BACK, and the witness EMPTIED", node->id);
    sim->faults++;
    sim_contract_accident(sim, sim->accident.old_end);
    accidents_crash(sim, NULL);
    sim_witness_empty(sim);
    sim_witness_restart(sim);
    node->env->ops->close(node->env);
    node->env = sim->accident.old;
    sim->accident.old = NULL;
    sim->accident.stage = ACCIDENT_HAPPENED;
    sim->accident.again = (unsigned)sim_below(&sim->random_accidents, 12);
    sim_node_start(sim, node);
}

static void accidents_grow(struct sim *sim)
{
    const struct sim_node *node = accidents_serving(sim);
    bool others = node != NULL && kvp_set_count(accidents_core(node)->view.in_sync) > 1;
    bool more = node != NULL && accidents_core(node)->commit > sim->accident.old_end + 2;
    if (others && more && sim_below(&sim->random_accidents, 40) == 0) {
        accidents_happen(sim);
    }
}

static void accidents_end(struct sim *sim, const struct sim_node *node)
{
    sim->accident.stage = ACCIDENT_OVER;
    sim->accident.since_us = sim->now_us;
    accidents_restart(sim, node, 500000);
}

/* Each time that it is started it leads in a later view: the others may find any. */
static void accidents_lead(struct sim *sim)
{
    struct sim_node *node = &sim->nodes[sim->accident.who];
    bool stays = node->alive && !node->serving && sim->now_us > node->started_us + STUCK_US;
    if (!node->alive) {
        sim_node_start(sim, node);
    } else if (stays) {
        accidents_end(sim, node); /* a late message has told it that there was a later view */
    } else if (!node->serving) {
        return;
    } else if (sim->accident.again > 0) {
        sim->accident.again--;
        sim_node_crash(sim, node);
        sim_node_start(sim, node);
    } else {
        accidents_end(sim, node);
    }
}

/* A node that the register cannot take back is helped by its operator. */
static void accidents_put_aside(struct sim *sim)
{
    const struct sim_node *first = accidents_serving(sim);
    for (unsigned i = 1; first != NULL && sim->calm && i <= sim->plan.nodes; i++) {
        struct sim_node *node = &sim->nodes[i];
        const struct kvp_core *core = accidents_core(node);
        bool stays = core != NULL && node != first &&
                     core->view.epoch >= accidents_core(first)->view.epoch &&
                     !kvp_view_equal(&core->view, &accidents_core(first)->view);
        if (stays && sim->now_us > node->started_us + STUCK_US) {
            sim_trace(sim, "%u is PUT ASIDE", i);
            sim_node_crash(sim, node);
            node->env->ops->close(node->env);
            if (kvp_env_memory_open(&node->env) != KVP_OK) {
                sim_fail(sim, "no memory");
            }
            sim_contract_put_aside(sim, i);
            sim_at(sim, 1000, SIM_RESTART)->node = i;
        }
    }
}

/* While the faults are over, no accident begins. */
static void accidents_calm(struct sim *sim)
{
    if (sim->calm && sim->accident.stage < ACCIDENT_HAPPENED) {
        sim->accident.stage = ACCIDENT_OVER;
        accidents_restart(sim, NULL, 1000);
    }
}

void sim_accidents(struct sim *sim)
{
    accidents_calm(sim);
    switch (sim->accident.stage) {
    case ACCIDENT_NONE:
        accidents_make_alone(sim);
        break;
    case ACCIDENT_ALONE:
        accidents_keep_old(sim);
        break;
    case ACCIDENT_GROWS:
        accidents_grow(sim);
        break;
    case ACCIDENT_HAPPENED:
        accidents_lead(sim);
        break;
    case ACCIDENT_OVER:
        accidents_put_aside(sim);
        break;
    }
    sim_at(sim, POLL_US, SIM_ACCIDENT);
}

/* Nobody else is started before the one that is alone has become so. */
bool sim_accidents_hold(const struct sim *sim, const struct sim_node *node)
{
    enum sim_accident_stage stage = sim->accident.stage;
    return (stage == ACCIDENT_ALONE || stage == ACCIDENT_HAPPENED) && node->id != sim->accident.who;
}

bool sim_accidents_lost(const struct sim *sim)
{
    return sim->accident.stage >= ACCIDENT_HAPPENED && sim->accident.old == NULL &&
           sim->accident.who != 0;
}

void sim_accidents_free(struct sim *sim)
{
    if (sim->accident.old != NULL) {
        sim->accident.old->ops->close(sim->accident.old);
        sim->accident.old = NULL;
    }
}
