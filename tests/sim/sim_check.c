/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What must hold. At every step: at most one node serves (R3, not under `available`, nor with
 * clocks beyond the tolerated drift), and the contracts of sim_contract.c. At the end: what the
 * clients saw is linearizable, so nothing acknowledged is lost and nothing runs twice (R1, R5); all
 * replicas are equal.
 */
#include "sim.h"

#include "linear.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SLOW_JOB_US 500000u  /* was begun while the disk was slow */
#define HUNG_US     3500000u /* sync_timeout_us, clocks that drift, some lost messages */
#define HUNG_DELAYS 20u      /* the messages that it takes, some asked again, one after the other */
#define HUNG_LOST   300000u  /* until what the witness was asked is asked again */
#define HUNG_FORGED 1000000u /* a view that a stranger tells is taken back, and leases are anew */

struct sim_history {
    struct linear_op *ops;
    size_t count, capacity;
    size_t open[SIM_CLIENTS_MAX]; /* each client's operation under way */
};

kvp_status sim_check_start(struct sim *sim)
{
    sim->history = calloc(1, sizeof(*sim->history));
    return sim->history != NULL ? KVP_OK : KVP_NO_MEMORY;
}

void sim_check_free(struct sim *sim)
{
    if (sim->history != NULL) {
        free(sim->history->ops);
        free(sim->history);
        sim->history = NULL;
    }
}

void sim_check_invoked(struct sim *sim, unsigned client, unsigned op, unsigned key, uint64_t value)
{
    struct sim_history *history = sim->history;
    if (history->count == history->capacity) {
        history->capacity = history->capacity ? history->capacity * 2 : 256;
        history->ops = realloc(history->ops, history->capacity * sizeof(*history->ops));
        if (history->ops == NULL) {
            abort();
        }
    }
    static const enum linear_kind kinds[] = {
        [KVP_OP_GET] = LINEAR_GET,
        [KVP_OP_PUT] = LINEAR_PUT,
        [KVP_OP_CREATE] = LINEAR_CREATE,
        [KVP_OP_DELETE] = LINEAR_DELETE,
    };
    history->open[client] = history->count;
    history->ops[history->count++] = (struct linear_op){
        .client = client,
        .key = key,
        .kind = kinds[op],
        .value = value,
        .called = sim->now_us,
        .returned = UINT64_MAX,
    };
    sim_trace(sim, "client %u: op %u k%u value %llx", client, op, key, (unsigned long long)value);
}

void sim_check_returned(struct sim *sim, unsigned client, bool known, bool effect, uint64_t value)
{
    struct linear_op *op = &sim->history->ops[sim->history->open[client]];
    op->known = known;
    op->effect = effect;
    if (known) {
        op->returned = sim->now_us;
    }
    if (op->kind == LINEAR_GET) {
        op->value = value;
    }
    sim_trace(sim, "client %u: k%u %s effect %d value %llx", client, op->key,
              known ? "known" : "UNKNOWN", effect, (unsigned long long)value);
}

/* ---- at every step ---- */

static void note_serving(struct sim *sim)
{
    unsigned count = 0, who = 0;
    for (unsigned i = 1; i <= SIM_COPY; i++) {
        struct sim_node *node = &sim->nodes[i];
        bool serving =
            node->alive && node->executor != NULL && !node->paused &&
            kvp_core_serving(kvp_executor_core(node->executor), sim_node_clock(sim, node));
        if (serving && !node->serving) {
            sim->failovers++;
        }
        node->serving = serving;
        count += serving;
        who |= serving ? 1u << i : 0;
    }
    if (count > 1 && sim->plan.policy != KVP_PAIR_AVAILABLE) {
        sim_fail(sim, "%u nodes serve at once (bits %#x)", count, who);
    }
}

/* Could these two do with each other and the arbiter what a change of view needs? */
static bool is_well(const struct sim *sim, const struct sim_node *node)
{
    bool reached = true;
    for (unsigned i = sim->plan.policy == KVP_PAIR_NONE ? 0 : 1; i <= sim->plan.nodes; i++) {
        reached = reached && !sim->cut[i][node->id] && !sim->cut[node->id][i];
    }
    bool slow = node->disk_factor > 1 ||
                (node->writer.busy && node->writer.due_us > sim->now_us + SLOW_JOB_US);
    return reached && node->alive && !node->paused && !node->disk_faulty && !slow &&
           kvp_core_role(kvp_executor_core(node->executor)) != KVP_ROLE_FAILED;
}

/* All nodes but `hung` are well, and one of them may lead: it has not been removed meanwhile, and
 * is not about to stop. */
static bool has_heir(const struct sim *sim, const struct sim_node *hung)
{
    bool heir = false;
    for (unsigned i = 1; i <= sim->plan.nodes; i++) {
        const struct sim_node *other = &sim->nodes[i];
        if (other != hung && (other->disk_hangs || !is_well(sim, other))) {
            return false;
        }
        const struct kvp_view *view = kvp_core_view(kvp_executor_core(other->executor));
        bool agrees = sim->plan.policy == KVP_PAIR_NONE ||
                      kvp_view_equal(view, kvp_core_view(kvp_executor_core(hung->executor)));
        heir = heir ||
               (other != hung && agrees && !other->told_to_stop && kvp_set_has(view->in_sync, i));
    }
    return heir;
}

static bool serves_with_a_disk(const struct sim *sim)
{
    for (unsigned i = 1; i <= sim->plan.nodes; i++) {
        if (sim->nodes[i].serving && !sim->nodes[i].disk_hangs) {
            return true;
        }
    }
    return false;
}

/* Does it know the group? One that was emptied is told by all members, and a hung one cannot. In a
 * pair the other one may have to ask this one, which cannot answer if it is the backup. */
static bool arbiter_is_well(const struct sim *sim, const struct sim_node *hung)
{
    return sim->plan.policy == KVP_PAIR_NONE
               ? sim->witness != NULL && kvp_witness_groups(sim->witness) > 0
               : kvp_core_role(kvp_executor_core(hung->executor)) == KVP_ROLE_PRIMARY;
}

/* One node whose disk has hung for longer than --sync-timeout does not hold up the group, where
 * another member could serve. */
static void watch_hung(struct sim *sim, struct sim_node *node)
{
    bool stuck = node->alive && node->writer.waits && is_well(sim, node) &&
                 arbiter_is_well(sim, node) && has_heir(sim, node) && !serves_with_a_disk(sim);
    uint64_t limit_us = HUNG_US + HUNG_DELAYS * sim->plan.delay_us +
                        HUNG_LOST * (sim->words_lost - node->stuck_lost) +
                        HUNG_FORGED * (sim->forged - node->stuck_forged);
    if (!stuck) {
        node->stuck_us = 0;
    } else if (node->stuck_us == 0) {
        node->stuck_us = sim->now_us;
        node->stuck_forged = sim->forged;
        node->stuck_lost = sim->words_lost;
    } else if (sim->now_us - node->stuck_us > limit_us) {
        sim_fail(sim, "nobody serves though only the disk of node %u hangs, for %u ms", node->id,
                 (unsigned)(sim->now_us - node->stuck_us) / 1000);
    }
}

void sim_check_step(struct sim *sim)
{
    if (!sim->failed) {
        note_serving(sim);
        sim_contract_step(sim);
    }
    for (unsigned i = 1; !sim->failed && sim->plan.hang_gap_us && i <= sim->plan.nodes; i++) {
        watch_hung(sim, &sim->nodes[i]);
    }
}

/* ---- at the end ---- */

bool sim_check_converged(struct sim *sim)
{
    struct kvp_core_status first, status;
    unsigned serving = 0;
    if (sim->nodes[SIM_COPY].env != NULL) {
        return false;
    }
    for (unsigned i = 1; i <= sim->plan.nodes; i++) {
        struct sim_node *node = &sim->nodes[i];
        if (!node->alive || node->paused || node->writer.first != NULL ||
            node->sender.first != NULL) {
            return false;
        }
        kvp_core_status(kvp_executor_core(node->executor), sim_node_clock(sim, node), &status);
        serving += node->serving;
        if (i == 1) {
            first = status;
        }
        if (!kvp_point_equal(status.tail, first.tail) || status.applied != status.tail.seq ||
            status.durable != status.tail.seq || !kvp_view_equal(&status.view, &first.view)) {
            return false;
        }
    }
    unsigned wanted = sim->plan.sync_replicas ? sim->plan.sync_replicas : sim->plan.nodes;
    return serving == 1 && kvp_set_count(first.view.in_sync) == wanted;
}

static void compare_states(struct sim *sim, struct sim_node *a, struct sim_node *b)
{
    struct kvp_state_view *view_a = kvp_storage_snapshot(a->storage);
    struct kvp_state_view *view_b = kvp_storage_snapshot(b->storage);
    kvp_slice all = {0};
    kvp_state_view_seek(view_a, all, all);
    kvp_state_view_seek(view_b, all, all);
    for (;;) {
        kvp_slice key_a, key_b, value_a, value_b;
        kvp_status status_a = kvp_state_view_read(view_a, &key_a, &value_a);
        kvp_status status_b = kvp_state_view_read(view_b, &key_b, &value_b);
        if (status_a != status_b ||
            (status_a == KVP_OK &&
             (kvp_slice_compare(key_a, key_b) != 0 || kvp_slice_compare(value_a, value_b) != 0))) {
            sim_fail(sim, "the states of %u and %u differ", a->id, b->id);
            break;
        }
        if (status_a != KVP_OK) {
            break;
        }
        kvp_state_view_next(view_a);
        kvp_state_view_next(view_b);
    }
    kvp_state_view_close(view_a);
    kvp_state_view_close(view_b);
}

void sim_check_end(struct sim *sim)
{
    char why[256];
    for (unsigned i = 2; i <= sim->plan.nodes; i++) {
        compare_states(sim, &sim->nodes[1], &sim->nodes[i]);
    }
    /* Under `available` a cut lets both nodes serve: what one of them acknowledged may be set
     * aside. Nothing else may. */
    if (sim->plan.policy != KVP_PAIR_AVAILABLE && !sim_accidents_lost(sim) &&
        !linear_check(sim->history->ops, sim->history->count, SIM_KEYS, why, sizeof(why))) {
        sim_fail(sim, "not linearizable: %s", why);
    }
}
