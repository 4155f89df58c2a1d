/* SPDX-License-Identifier: Apache-2.0 */
/* Faults at random moments, each with its end; and the witness, which may die, too. */
#include "sim.h"

#include "replication/core/core_state.h"

#include <stdlib.h>
#include <string.h>

static struct sim_node *any_node(struct sim *sim)
{
    return &sim->nodes[1 + sim_below(&sim->random_faults, sim->plan.nodes)];
}

static uint64_t duration(struct sim *sim)
{
    static const uint64_t means[] = {50000, 400000, 1000000, 4000000};
    return sim_exponential(&sim->random_faults, means[sim_below(&sim->random_faults, 4)]);
}

void sim_faults_start(struct sim *sim)
{
    if (sim->plan.fault_gap_us != 0) {
        uint64_t first_us = sim->plan.operators.early ? 0 : 1500000;
        sim_at(sim, first_us + sim_exponential(&sim->random_faults, sim->plan.fault_gap_us),
               SIM_FAULT);
    }
    if (sim->plan.hang_gap_us != 0) {
        sim_at(sim, 1500000 + sim_exponential(&sim->random_hangs, sim->plan.hang_gap_us), SIM_HANG);
    }
}

/* ---- the kinds ---- */

/* A store that was started so often without being confirmed may count as a copy of itself
 * (core_identity.c): nothing but an operator helps it then. */
static bool may_be_started(const struct sim_node *node)
{
    return kvp_executor_core(node->executor)->confirmed ||
           node->starts_unknown + 1 < KVP_EARLIER_MAX / 2;
}

static void crash(struct sim *sim)
{
    struct sim_node *node = any_node(sim);
    if (node->alive && may_be_started(node)) {
        sim_node_crash(sim, node);
        sim_at(sim, duration(sim), SIM_RESTART)->node = node->id;
    }
}

static void pause_node(struct sim *sim)
{
    struct sim_node *node = any_node(sim);
    if (node->alive && !node->paused) {
        uint64_t time_us = duration(sim);
        sim_trace(sim, "%u PAUSE %llu ms", node->id, (unsigned long long)time_us / 1000);
        node->paused = true;
        struct sim_event *event = sim_at(sim, time_us, SIM_RESUME);
        event->node = node->id;
        event->life = node->life;
    }
}

static void cut_one(struct sim *sim, unsigned from, unsigned to, uint64_t time_us)
{
    if ((from == SIM_WITNESS || to == SIM_WITNESS) && sim_copies_need_witness(sim)) {
        return;
    }
    sim_trace(sim, "CUT %u -> %u for %llu ms", from, to, (unsigned long long)time_us / 1000);
    sim->cut[from][to] = true;
    struct sim_event *event = sim_at(sim, time_us, SIM_HEAL);
    event->node = from;
    event->peer = to;
}

static unsigned any_other(struct sim *sim, unsigned self)
{
    unsigned other = (unsigned)sim_below(&sim->random_faults, sim->plan.nodes + 1);
    return other == self ? SIM_WITNESS : other;
}

static void cut_pair(struct sim *sim, bool both)
{
    unsigned a = any_node(sim)->id;
    unsigned b = any_other(sim, a);
    uint64_t time_us = duration(sim);
    bool inwards = sim_below(&sim->random_faults, 2) != 0;
    if (both || inwards) {
        cut_one(sim, b, a, time_us);
    }
    if (both || !inwards) {
        cut_one(sim, a, b, time_us);
    }
}

static void isolate(struct sim *sim)
{
    unsigned a = any_node(sim)->id;
    uint64_t time_us = duration(sim);
    bool witness_too = sim_below(&sim->random_faults, 2) != 0;
    for (unsigned b = witness_too ? 0 : 1; b <= sim->plan.nodes; b++) {
        if (b != a) {
            cut_one(sim, a, b, time_us);
            cut_one(sim, b, a, time_us);
        }
    }
}

static void drop_connection(struct sim *sim)
{
    unsigned a = any_node(sim)->id;
    unsigned b = any_other(sim, a);
    if (b == SIM_WITNESS) {
        return;
    }
    sim_trace(sim, "RESET %u - %u", a, b);
    for (unsigned up = 0; up < 2; up++) {
        struct sim_event *event = sim_at(sim, up * 20000, SIM_LINK);
        event->node = a;
        event->peer = b;
        event->life = sim->nodes[a].life;
        event->flag = up != 0;
    }
    cut_one(sim, a, b, 10000);
}

static void disk_fault(struct sim *sim)
{
    static const kvp_status kinds[] = {KVP_IO, KVP_DISK_FULL};
    struct sim_node *node = any_node(sim);
    if (!node->alive) {
        return;
    }
    struct kvp_memory_fault fault = {
        .after = sim_below(&sim->random_faults, 10),
        .status = kinds[sim_below(&sim->random_faults, 2)],
        .persist = sim_below(&sim->random_faults, 2) != 0,
        .stay = true,
    };
    sim_trace(sim, "%u DISK FAULT after %llu", node->id, (unsigned long long)fault.after);
    kvp_env_memory_set_fault(node->env, fault);
    node->disk_faulty = true;
    uint64_t time_us = duration(sim);
    struct sim_event *event = sim_at(sim, time_us, SIM_HEAL);
    event->node = node->id;
    event->peer = node->id;
}

static void slow_disk(struct sim *sim)
{
    struct sim_node *node = any_node(sim);
    node->disk_factor = 1 + sim_below(&sim->random_faults, 1000);
    sim_trace(sim, "%u SLOW DISK x%llu", node->id, (unsigned long long)node->disk_factor);
    struct sim_event *event = sim_at(sim, duration(sim), SIM_HEAL);
    event->node = node->id;
    event->peer = node->id;
    event->flag = true;
}

static void witness_crash(struct sim *sim)
{
    if (sim->witness != NULL && !sim_copies_need_witness(sim)) {
        sim_trace(sim, "WITNESS CRASH");
        kvp_env_memory_crash(sim->witness_env, (size_t)sim_below(&sim->random_faults, 3), 0, false);
        kvp_witness_close(sim->witness);
        sim->witness = NULL;
        kvp_env_memory_restart(sim->witness_env);
        sim_at(sim, duration(sim), SIM_WITNESS_RESTART);
    }
}

/* Do all name the same view, with nothing on its way? Who loses the register in the middle of a
 * change may need an operator's word. */
static bool all_agree(const struct sim *sim)
{
    struct kvp_view view = {0};
    for (unsigned i = 1; i <= sim->plan.nodes; i++) {
        const struct sim_node *node = &sim->nodes[i];
        const struct kvp_core *core = node->alive ? kvp_executor_core(node->executor) : NULL;
        if (core == NULL || core->view.version == 0 || core->proposal.stage != PROPOSAL_NONE ||
            core->meta_durable != core->meta_wanted ||
            (view.version != 0 && !kvp_view_equal(&view, &core->view))) {
            return false;
        }
        view = core->view;
    }
    return true;
}

/* The witness comes back without its registers: its operator has given it another disk. */
void sim_witness_empty(struct sim *sim)
{
    sim_trace(sim, "WITNESS LOST");
    sim->witness_lost_us = sim->now_us;
    kvp_witness_close(sim->witness);
    sim->witness = NULL;
    sim->witness_env->ops->close(sim->witness_env);
    if (kvp_env_memory_open(&sim->witness_env) != KVP_OK) {
        abort();
    }
}

static void witness_loss(struct sim *sim)
{
    if (sim->witness != NULL && !sim_copies_need_witness(sim) && all_agree(sim)) {
        sim_witness_empty(sim);
        sim_at(sim, duration(sim), SIM_WITNESS_RESTART);
    }
}

static void handover(struct sim *sim)
{
    struct kvp_request request = {.op = KVP_OP_HANDOVER, .group = kvp_slice_of("sim", 3)};
    struct sim_message message = {.from = SIM_CLIENT(SIM_CLIENTS_MAX), .to = any_node(sim)->id};
    kvp_buf body = {0};
    sim_trace(sim, "HANDOVER asked of %u", message.to);
    if (kvp_wire_request_encode(&request, &body) == KVP_OK) {
        sim_send(sim, &message, kvp_buf_slice(&body));
    }
    kvp_buf_free(&body);
}

/* Is it about to give its lead away? It has asked for a view in which it does not count, or will,
 * because its own disk does not answer. What it only wants to ask for it gives up when there is no
 * reason for it any more. */
static bool gives_away(const struct sim_node *node)
{
    const struct kvp_core *core = kvp_executor_core(node->executor);
    const struct core_proposal *proposal = &core->proposal;
    return proposal->stage != PROPOSAL_NONE && !kvp_set_has(proposal->view.in_sync, node->id) &&
           (proposal->stage >= PROPOSAL_CAS || core_disk_hangs(core, core->now_us));
}

/* A member comes back with an empty disk, as after a repair. */
static void wipe(struct sim *sim)
{
    struct sim_node *node = any_node(sim);
    unsigned whole = 0;
    for (unsigned i = 1; i <= sim->plan.nodes; i++) {
        whole += sim->nodes[i].alive && !sim->nodes[i].wiped;
    }
    const struct kvp_view *view =
        node->executor != NULL ? kvp_core_view(kvp_executor_core(node->executor)) : NULL;
    /* Only what redundancy covers: somebody else in sync lives, has not been wiped, and is not
     * about to give its lead to whoever is wiped, because its disk does not answer. */
    bool covered = false;
    for (unsigned i = 1; view != NULL && i <= sim->plan.nodes; i++) {
        const struct sim_node *other = &sim->nodes[i];
        covered = covered ||
                  (i != node->id && other->serving && !other->disk_hangs && !gives_away(other));
    }
    if (!node->alive || whole < 2 || !covered) {
        return;
    }
    sim_trace(sim, "%u WIPED", node->id);
    sim_node_crash(sim, node);
    node->env->ops->close(node->env);
    if (kvp_env_memory_open(&node->env) != KVP_OK) {
        abort();
    }
    node->starts_unknown = 0;
    sim_at(sim, duration(sim), SIM_RESTART)->node = node->id;
}

static void cut_both(struct sim *sim)
{
    if (sim_below(&sim->random_faults, 3) == 0) {
        isolate(sim);
    } else {
        cut_pair(sim, true);
    }
}

static void cut_one_way(struct sim *sim)
{
    cut_pair(sim, false);
}

void sim_fault(struct sim *sim)
{
    const struct sim_plan *plan = &sim->plan;
    const struct {
        unsigned weight;
        void (*run)(struct sim *sim);
    } kinds[] = {
        {plan->crash, crash},
        {plan->pause, pause_node},
        {plan->cut, cut_both},
        {plan->one_way, cut_one_way},
        {plan->reset, drop_connection},
        {plan->disk_fault, disk_fault},
        {plan->slow_disk, slow_disk},
        {plan->witness_crash, witness_crash},
        {plan->handover, handover},
        {plan->wipe, wipe},
        {plan->forge, sim_forge},
        {plan->forge_words, sim_forge_words},
        {plan->witness_loss, witness_loss},
    };
    unsigned total = 0;
    if (sim->calm) {
        return;
    }
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        total += kinds[i].weight;
    }
    if (sim->accident.stage == ACCIDENT_HAPPENED) {
        total = 0; /* one thing after the other */
    }
    uint64_t drawn = sim_below(&sim->random_faults, total);
    for (size_t i = 0; total > 0 && i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        if (drawn < kinds[i].weight) {
            sim->faults++;
            kinds[i].run(sim);
            break;
        }
        drawn -= kinds[i].weight;
    }
    sim_at(sim, sim_exponential(&sim->random_faults, plan->fault_gap_us), SIM_FAULT);
}

/* A disk that neither answers nor fails, for a while or until all is repaired. */
void sim_hang(struct sim *sim)
{
    struct sim_node *node = &sim->nodes[1 + sim_below(&sim->random_hangs, sim->plan.nodes)];
    uint64_t time_us = 500000 + sim_exponential(&sim->random_hangs, 4000000);
    bool for_ever = sim_below(&sim->random_hangs, 2) != 0;
    if (sim->calm) {
        return;
    }
    if (node->alive && !node->disk_hangs) {
        sim_trace(sim, "%u DISK HANGS%s", node->id, for_ever ? " for ever" : "");
        sim->faults++;
        node->disk_hangs = true;
    }
    if (!for_ever) {
        struct sim_event *event = sim_at(sim, time_us, SIM_HANG_END);
        event->node = node->id;
        event->life = node->life;
    }
    sim_at(sim, sim_exponential(&sim->random_hangs, sim->plan.hang_gap_us), SIM_HANG);
}

/* ---- ends ---- */

static void repair_disk(struct sim *sim, struct sim_node *node)
{
    struct kvp_memory_fault none = {.status = KVP_OK};
    kvp_env_memory_set_fault(node->env, none);
    node->disk_faulty = false;
    bool failed =
        node->alive && kvp_core_role(kvp_executor_core(node->executor)) == KVP_ROLE_FAILED;
    if (failed) {
        sim_node_crash(sim, node);
    }
    if (!node->alive) {
        sim_at(sim, 1000, SIM_RESTART)->node = node->id;
    }
}

void sim_heal(struct sim *sim, const struct sim_event *event)
{
    if (event->node != event->peer) {
        sim->cut[event->node][event->peer] = false;
    } else if (event->flag) {
        sim->nodes[event->node].disk_factor = 1;
    } else {
        repair_disk(sim, &sim->nodes[event->node]);
    }
}

void sim_calm_down(struct sim *sim)
{
    sim_trace(sim, "CALM");
    sim->calm = true;
    memset(sim->cut, 0, sizeof(sim->cut));
    for (unsigned i = 1; i <= sim->plan.nodes; i++) {
        struct sim_node *node = &sim->nodes[i];
        node->disk_factor = 1;
        repair_disk(sim, node);
        sim_node_disk_answers(sim, node);
        if (node->alive && node->paused) {
            struct sim_event *event = sim_at(sim, 0, SIM_RESUME);
            event->node = node->id;
            event->life = node->life;
        }
    }
    if (sim->witness == NULL) {
        sim_witness_restart(sim);
    }
}

/* ---- the witness ---- */

void sim_witness_restart(struct sim *sim)
{
    char message[256] = "";
    if (sim->witness == NULL &&
        kvp_witness_open(sim->witness_env, &sim->witness, message, sizeof(message)) != KVP_OK) {
        sim_fail(sim, "the witness cannot open its registers: %s", message);
    }
}

void sim_witness_message(struct sim *sim, struct sim_message *message)
{
    kvp_buf answer = {0};
    if (sim->witness == NULL) {
        return;
    }
    struct sim_message back = {
        .from = SIM_WITNESS,
        .to = message->from,
        .call = message->call,
        .life = message->life,
        .answer = true,
    };
    if (kvp_witness_handle(sim->witness, kvp_slice_of(message->bytes, message->size), &answer) ==
        KVP_OK) {
        sim_send(sim, &back, kvp_buf_slice(&answer));
    }
    kvp_buf_free(&answer);
}
