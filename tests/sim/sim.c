/* SPDX-License-Identifier: Apache-2.0 */
/* The simulator's heart: seeds, plans, virtual time, and the run of one seed. */
#include "sim.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STEPS_MAX     20000000u
#define CALM_LIMIT_US 60000000u /* after the faults: so long until everything works again */
#define CALM_DELAYS   2000u     /* and so many times what a message takes beyond the usual */
#define USUAL_US      24100u    /* as sim_plan_make() draws it at most */
/* With jobs: a minute for a task that hangs while nothing is known about what tasks take, doubled
 * up to eight times. */
#define JOBS_LIMIT_US (UINT64_C(60000000) << 9)

/* splitmix64 (Steele, Lea, Flood 2014). */
uint64_t sim_random(uint64_t *stream)
{
    uint64_t z = *stream += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

uint64_t sim_below(uint64_t *stream, uint64_t bound)
{
    return bound ? sim_random(stream) % bound : 0;
}

/* About exponential: a geometric number of tenths of the mean, without floating point. */
uint64_t sim_exponential(uint64_t *stream, uint64_t mean)
{
    uint64_t tenth = mean / 10 + 1;
    uint64_t value = sim_below(stream, tenth);
    for (unsigned i = 0; i < 100 && sim_below(stream, 10) != 0; i++) {
        value += tenth;
    }
    return value;
}

void sim_fail(struct sim *sim, const char *format, ...)
{
    va_list args;
    if (sim->failed) {
        return;
    }
    sim->failed = true;
    va_start(args, format);
    vsnprintf(sim->failure, sizeof(sim->failure), format, args);
    va_end(args);
    sim_trace(sim, "FAILED %s", sim->failure);
}

void sim_trace(struct sim *sim, const char *format, ...)
{
    if (!sim->trace) {
        return;
    }
    va_list args;
    printf("[%10.3f] ", (double)sim->now_us / 1000);
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    putchar('\n');
}

/* ---- virtual time ---- */

/* What decides about the order is in the heap itself: looking into the events would be slow. */
static bool before(struct sim_place a, struct sim_place b)
{
    return a.at != b.at ? a.at < b.at : a.order < b.order;
}

static void heap_push(struct sim *sim, struct sim_event *event)
{
    if (sim->heap_count == sim->heap_capacity) {
        sim->heap_capacity = sim->heap_capacity ? sim->heap_capacity * 2 : 1024;
        sim->heap = realloc(sim->heap, sim->heap_capacity * sizeof(*sim->heap));
        if (sim->heap == NULL) {
            abort();
        }
    }
    const struct sim_place place = {event->at, event->order, event};
    size_t at = sim->heap_count++;
    while (at > 0 && before(place, sim->heap[(at - 1) / 2])) {
        sim->heap[at] = sim->heap[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    sim->heap[at] = place;
}

static struct sim_event *heap_pop(struct sim *sim)
{
    struct sim_event *top = sim->heap[0].event;
    const struct sim_place moved = sim->heap[--sim->heap_count];
    size_t at = 0;
    for (;;) {
        size_t child = 2 * at + 1;
        if (child >= sim->heap_count) {
            break;
        }
        if (child + 1 < sim->heap_count && before(sim->heap[child + 1], sim->heap[child])) {
            child++;
        }
        if (!before(sim->heap[child], moved)) {
            break;
        }
        sim->heap[at] = sim->heap[child];
        at = child;
    }
    sim->heap[at] = moved;
    return top;
}

struct sim_event *sim_at(struct sim *sim, uint64_t delay_us, enum sim_event_kind kind)
{
    struct sim_event *event = calloc(1, sizeof(*event));
    if (event == NULL) {
        abort();
    }
    event->at = sim->now_us + delay_us;
    event->order = ++sim->order;
    event->kind = kind;
    heap_push(sim, event);
    return event;
}

/* ---- plans ---- */

static unsigned chance(uint64_t *stream, unsigned of_ten, unsigned weight_max)
{
    return sim_below(stream, 10) < of_ten ? 1 + (unsigned)sim_below(stream, weight_max) : 0;
}

/* mode: 0 a witness, 1..3 the pair policies, -1 the seed's choice. */
void sim_plan_make(struct sim_plan *plan, uint64_t seed, int mode)
{
    uint64_t stream = seed ^ 0x5eed0001, chunks = seed ^ 0x5eed000d;
    memset(plan, 0, sizeof(*plan));
    uint64_t drawn = sim_below(&stream, 8);
    unsigned policy = mode >= 0 ? (unsigned)mode : drawn < 5 ? 0 : (unsigned)drawn - 4;
    plan->policy = (enum kvp_pair_policy)policy;
    unsigned sizes[] = {2, 2, 2, 3, 3, 4, 5, 1};
    plan->nodes = sizes[sim_below(&stream, 8)];
    if (policy != 0) {
        plan->nodes = 2;
    }
    plan->clients = 1 + (unsigned)sim_below(&stream, SIM_CLIENTS_MAX);
    plan->operations = 20 + (unsigned)sim_below(&stream, 60);
    plan->faults_us = 5000000 + sim_below(&stream, 25000000);
    plan->delay_us = 100 + sim_below(&stream, 4) * sim_below(&stream, 8000);
    plan->loss = chance(&stream, 4, 100);
    plan->duplication = chance(&stream, 4, 100);
    plan->fault_gap_us = 300000 + sim_below(&stream, 4000000);
    plan->crash = chance(&stream, 7, 10);
    plan->pause = chance(&stream, 5, 10);
    plan->cut = chance(&stream, 6, 10);
    plan->one_way = chance(&stream, 4, 6);
    plan->reset = chance(&stream, 5, 6);
    plan->disk_fault = chance(&stream, 3, 4);
    plan->slow_disk = chance(&stream, 3, 4);
    plan->witness_crash = policy == 0 ? chance(&stream, 4, 4) : 0;
    plan->handover = chance(&stream, 3, 4);
    plan->wipe = policy == 0 ? chance(&stream, 2, 2) : 0;
    plan->drift_ppm = (unsigned)sim_below(&stream, 2) * (unsigned)sim_below(&stream, 50000);
    plan->disk_us = 50 + sim_below(&stream, 3) * sim_below(&stream, 5000);
    plan->log_size_max = sim_below(&stream, 2) ? 2000 : 1u << 20;
    plan->chunk_size = (size_t)sim_below(&chunks, 3) * 40;
    plan->sync_replicas = plan->nodes > 2 ? (unsigned)sim_below(&stream, plan->nodes + 1) : 0;
}

/* A stream of its own: the seed's other faults stay as they are. */
void sim_plan_hangs(struct sim_plan *plan, uint64_t seed)
{
    uint64_t stream = seed ^ 0x5eed0006;
    plan->hang_gap_us = sim_below(&stream, 3) == 0 ? 2000000 + sim_below(&stream, 10000000) : 0;
}

void sim_plan_sessions(struct sim_plan *plan, uint64_t seed)
{
    static const uint32_t idle_ms[] = {1, 200, 500, 1000};
    uint64_t stream = seed ^ 0x5eed0007;
    plan->sessions = (struct sim_session_plan){
        .renew = 100 + 300 * (unsigned)sim_below(&stream, 3),
        .sessions_max = plan->clients + 1 + (uint32_t)sim_below(&stream, 2 * plan->clients),
        .idle_ms = idle_ms[sim_below(&stream, 4)],
        .load_at_once = 1 + (uint32_t)sim_below(&stream, 5),
    };
    plan->operations = 10 + plan->operations / 2; /* the more of them wait for a slot */
    if (sim_below(&stream, 2)) {                  /* copies come late, and twice */
        plan->duplication = 200;
        plan->delay_us = 3000 + sim_below(&stream, 60000);
    }
}

void sim_plan_strangers(struct sim_plan *plan, uint64_t seed)
{
    uint64_t stream = seed ^ 0x5eed0008;
    plan->forge = chance(&stream, 3, 6);
    plan->forge_words = chance(&stream, 3, 6);
}

/* Who could serve in the place of a node whose disk hangs is not clear here; an emptied store
 * beside a copy that speaks for its node waits for an operator. */
void sim_plan_copies(struct sim_plan *plan, uint64_t seed)
{
    uint64_t stream = seed ^ 0x5eed0009;
    plan->copy_gap_us = 1000000 + sim_below(&stream, 6000000);
    plan->hang_gap_us = 0;
    plan->wipe = 0;
}

/* Much goes wrong at once: slow disks that hang, snapshots in many chunks for nodes that are
 * emptied and stay away for long, connections that are reset all the time. */
void sim_plan_rough(struct sim_plan *plan, uint64_t seed)
{
    uint64_t stream = seed ^ 0x5eed000e;
    plan->fault_gap_us = 50000 + sim_below(&stream, 400000);
    plan->reset = 5 * (unsigned)sim_below(&stream, 5);
    plan->cut = 5;
    plan->crash =
        plan->policy == KVP_PAIR_NONE ? 5 : 1; /* so many starts are confirmed in between */
    plan->wipe = plan->policy == KVP_PAIR_NONE ? 3 : 0;
    plan->handover = 3 * (unsigned)sim_below(&stream, 3);
    plan->disk_us = 1000 + sim_below(&stream, 3) * 20000;
    plan->log_size_max = 2000;
    plan->chunk_size = 40;
    plan->slow_disk = 0;
    plan->operators.early = true;
    plan->operators.no_room = sim_below(&stream, 3) == 0;
    plan->forge = plan->forge_words =
        0; /* a group that nobody has founded yet is a liar's to confuse */
    plan->hang_gap_us = sim_below(&stream, 2) ? 3000000 : 0;
}

/* ---- a run ---- */

static void dispatch(struct sim *sim, struct sim_event *event)
{
    switch (event->kind) {
    case SIM_MESSAGE:
        sim->deliveries++;
        sim_deliver(sim, &event->message);
        break;
    case SIM_TICK:
    case SIM_DISK:
    case SIM_LINK:
    case SIM_FENCE:
    case SIM_RESTART:
    case SIM_RESUME:
        sim_node_event(sim, event);
        break;
    case SIM_CLIENT_TIMER:
        sim_client_timer(sim, event->node, event->number);
        break;
    case SIM_FAULT:
        sim_fault(sim);
        break;
    case SIM_HANG:
        sim_hang(sim);
        break;
    case SIM_HANG_END:
        if (event->life == sim->nodes[event->node].life) {
            sim_node_disk_answers(sim, &sim->nodes[event->node]);
        }
        break;
    case SIM_COPIES:
        sim_copies(sim);
        break;
    case SIM_OPERATOR:
        sim_operators(sim);
        break;
    case SIM_MEMBERS:
        sim_members(sim);
        break;
    case SIM_ACCIDENT:
        sim_accidents(sim);
        break;
    case SIM_HEAL:
        sim_heal(sim, event);
        break;
    case SIM_WITNESS_RESTART:
        sim_witness_restart(sim);
        break;
    case SIM_JOB_TIMER:
        sim_jobs_timer(sim, event);
        break;
    case SIM_WATCH_TIMER:
        sim_watch_timer(sim, event);
        break;
    case SIM_RIGHTS_TIMER:
        sim_rights_timer(sim, event);
        break;
    case SIM_LEASE_TIMER:
        sim_lease_timer(sim, event);
        break;
    }
}

static void free_all(struct sim *sim)
{
    for (unsigned i = 1; i <= SIM_COPY; i++) {
        sim_node_free(&sim->nodes[i]);
    }
    while (sim->heap_count > 0) {
        struct sim_event *event = heap_pop(sim);
        sim_message_free(&event->message);
        free(event);
    }
    free(sim->heap);
    sim->heap = NULL;
    sim->heap_capacity = 0;
    kvp_witness_close(sim->witness);
    if (sim->witness_env != NULL) {
        sim->witness_env->ops->close(sim->witness_env);
    }
    sim_accidents_free(sim);
    sim_clients_free(sim);
    sim_jobs_free(sim);
    sim_watches_free(sim);
    sim_rights_free(sim);
    sim_leases_free(sim);
    sim_check_free(sim);
    sim_contract_free(sim);
}

static void prepare(struct sim *sim)
{
    bool ok = sim_check_start(sim) == KVP_OK && sim_contract_start(sim) == KVP_OK &&
              sim_clients_start(sim) == KVP_OK &&
              kvp_env_memory_open(&sim->witness_env) == KVP_OK &&
              kvp_witness_open(sim->witness_env, &sim->witness, NULL, 0) == KVP_OK;
    for (unsigned i = 1; ok && i <= sim->plan.nodes; i++) {
        struct sim_node *node = &sim->nodes[i];
        node->id = node->self = i;
        node->clock_offset_us = (int64_t)sim_below(&sim->random, 1000000000);
        node->clock_ppm = sim->plan.drift_ppm
                              ? (int64_t)sim_below(&sim->random, sim->plan.drift_ppm) -
                                    (int64_t)sim->plan.drift_ppm / 2
                              : 0;
        node->tokens.next = node->tokens.previous = &node->tokens;
        ok = kvp_env_memory_open(&node->env) == KVP_OK;
        if (ok) {
            sim_node_start(sim, node);
        }
    }
    if (!ok) {
        sim_fail(sim, "the simulation could not be set up");
    }
    sim_jobs_open(sim);
    sim_watches_open(sim);
    sim_members_start(sim);
    sim_rights_open(sim);
    sim_leases_open(sim);
}

static bool run_world(struct sim *sim, uint64_t seed, const struct sim_plan *plan, bool trace,
                      bool other_world)
{
    memset(sim, 0, sizeof(*sim));
    sim->seed = seed;
    sim->other_world = other_world;
    sim->plan = *plan;
    sim->trace = trace;
    sim->random = seed ^ 0x5eed0002;
    sim->random_faults = seed ^ 0x5eed0003;
    sim->random_hangs = seed ^ 0x5eed0007;
    sim->random_copies = seed ^ 0x5eed000a;
    sim->random_operators = seed ^ 0x5eed000c;
    sim->random_accidents = seed ^ 0x5eed0010;
    sim->random_members = seed ^ 0x5eed0022;
    prepare(sim);
    sim_faults_start(sim);
    sim_copies_start(sim);
    sim_operators_start(sim);
    sim_accidents_start(sim);
    uint64_t calm_since = 0, limit_us = plan->jobs.on ? JOBS_LIMIT_US : CALM_LIMIT_US;
    limit_us += plan->delay_us > USUAL_US ? CALM_DELAYS * (plan->delay_us - USUAL_US) : 0;
    bool converged = false;
    for (uint64_t steps = 0; !sim->failed && sim->heap_count > 0 && steps < STEPS_MAX; steps++) {
        struct sim_event *event = heap_pop(sim);
        sim->now_us = event->at;
        dispatch(sim, event);
        sim_message_free(&event->message);
        free(event);
        sim_check_step(sim);
        sim_copies_step(sim);
        sim_operators_step(sim);
        sim_members_step(sim);
        sim_jobs_step(sim);
        if (!sim->calm && sim->now_us >= plan->faults_us) {
            sim_calm_down(sim);
            sim_copies_calm(sim);
            sim_operators_calm(sim);
            sim_jobs_calm(sim);
            calm_since = sim->now_us;
        }
        if (sim->calm && sim_members_done(sim) && sim_clients_done(sim) && sim_jobs_done(sim) &&
            sim_check_converged(sim) && sim_watches_done(sim) && sim_leases_done(sim)) {
            converged = true;
            break;
        }
        if (sim->calm && sim->now_us > calm_since + limit_us) {
            break;
        }
    }
    if (!sim->failed && !converged) {
        sim_fail(sim,
                 "no convergence within %u s after the last fault (clients done: %d, jobs: %d, "
                 "leases: %d, watchers: %d)",
                 (unsigned)(limit_us / 1000000), sim_clients_done(sim), sim_jobs_done(sim),
                 sim_leases_done(sim), sim_watches_done(sim));
    }
    if (!sim->failed) {
        sim_check_end(sim);
    }
    if (!sim->failed) {
        sim_jobs_end(sim);
    }
    if (!sim->failed) {
        sim_watches_end(sim);
    }
    bool ok = !sim->failed;
    free_all(sim);
    return ok;
}

bool sim_run(struct sim *sim, uint64_t seed, const struct sim_plan *plan, bool trace)
{
    if (!run_world(sim, seed, plan, trace, false) || !plan->rights) {
        return !sim->failed;
    }
    uint64_t seen = sim->seen, now_us = sim->now_us;
    if (run_world(sim, seed, plan, trace, true) && (sim->seen != seen || sim->now_us != now_us)) {
        sim_fail(sim, "what spies see depends on what they may not read");
    }
    return !sim->failed;
}
