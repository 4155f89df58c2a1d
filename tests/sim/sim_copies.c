/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Copies of stores: what a node that is not running has on its disk is copied, and then the node
 * and the copy are both started, in any order. The copy has the node's id and an address that
 * nobody was told of; it reaches the witness and the nodes.
 *
 * In a pair the two may change places, too: what was copied is put back, and what the node had
 * since then has the address that nobody knows.
 *
 * What must hold: nobody sees two stores of a node before there are. Only the one that is confirmed
 * first speaks for the node: in a pair never the one at the other address. The other one is never
 * confirmed, never serves, says that it is a copy; nobody else says so. An operator then ends a
 * copy that says so; if it is the original that does, the directory of the copy takes its place.
 *
 * Left out is what docs/guarantees.md does not promise: copies of running nodes (the original is
 * dead at that moment); copies of a node that was alone in its view of a pair, or of a store that
 * counts nowhere yet; a store of a pair that was put back before the other node's disk had the
 * number that it confirmed while it hung; and a witness that is silent while an original that it
 * does not know as such is started, or runs.
 */
#include "sim.h"

#include "replication/core/core_state.h"

#include <string.h>

#define START_US       3000000u /* mean time until a copy is started */
#define LATE_LONGER_US 1000000u /* a node's answer to what came late, and clocks that drift */

static struct sim_node *copies_copy(struct sim *sim)
{
    return sim->nodes[SIM_COPY].env != NULL ? &sim->nodes[SIM_COPY] : NULL;
}

static const struct kvp_core *copies_core(const struct sim_node *node)
{
    return node->alive && node->executor != NULL ? kvp_executor_core(node->executor) : NULL;
}

static bool copies_says_so(const struct sim_node *node)
{
    const struct kvp_core *core = copies_core(node);
    return core != NULL && core->meta.copy;
}

static bool copies_confirmed(const struct sim_node *node)
{
    const struct kvp_core *core = copies_core(node);
    return core != NULL && core->confirmed;
}

bool sim_copies_need_witness(const struct sim *sim)
{
    const struct sim_node *copy = &sim->nodes[SIM_COPY];
    return copy->env != NULL && sim->first != copy->self;
}

bool sim_copies_stranger(const struct sim *sim, const struct sim_node *node)
{
    const struct sim_node *copy = &sim->nodes[SIM_COPY];
    return copy->env != NULL && node->self == copy->self && sim->first != node->id;
}

/* ---- the fault ---- */

static uint64_t copies_delay(struct sim *sim)
{
    return 1000 + sim_exponential(&sim->random_copies, START_US);
}

static void copies_start(struct sim *sim, const struct sim_node *node, uint64_t delay_us)
{
    sim_at(sim, delay_us, SIM_RESTART)->node = node->id;
}

void sim_copies_start(struct sim *sim)
{
    if (sim->plan.copy_gap_us != 0) {
        sim_at(sim, 1500000 + sim_exponential(&sim->random_copies, sim->plan.copy_gap_us),
               SIM_COPIES);
    }
}

/* Is it one whose copy can be told from it? */
static bool copies_can_be_told(struct sim *sim, struct kvp_env *env, unsigned self)
{
    struct kvp_env *look;
    struct kvp_storage *storage;
    struct kvp_loaded loaded;
    char why[256];
    bool good = kvp_env_memory_copy(env, &look) == KVP_OK;
    if (good &&
        kvp_storage_open(look, "sim", self, &storage, &loaded, why, sizeof(why)) == KVP_OK) {
        bool alone = loaded.meta.view.in_sync == kvp_set_of((uint8_t)self);
        good = !core_identity_new(&loaded.meta) && loaded.meta.view.version != 0 &&
               !loaded.meta.copy && (!alone || sim->plan.policy == KVP_PAIR_NONE);
        kvp_storage_close(storage);
    } else {
        good = false;
    }
    if (look != NULL) {
        look->ops->close(look);
    }
    return good;
}

static void copies_witness_back(struct sim *sim)
{
    for (unsigned i = 0; i <= SIM_COPY; i++) {
        sim->cut[SIM_WITNESS][i] = sim->cut[i][SIM_WITNESS] = false;
    }
    sim_witness_restart(sim);
}

static void copies_make(struct sim *sim, struct sim_node *original)
{
    struct sim_node *copy = &sim->nodes[SIM_COPY];
    if (original->alive) {
        sim_node_crash(sim, original);
        copies_start(sim, original, copies_delay(sim));
    }
    if (original->disk_faulty || !copies_can_be_told(sim, original->env, original->self)) {
        return;
    }
    sim_trace(sim, "%u COPIED", original->id);
    memset(copy, 0, sizeof(*copy));
    copy->id = SIM_COPY;
    copy->self = original->id;
    copy->clock_offset_us = (int64_t)sim_below(&sim->random_copies, 1000000000);
    copy->tokens.next = copy->tokens.previous = &copy->tokens;
    if (kvp_env_memory_copy(original->env, &copy->env) != KVP_OK) {
        sim_fail(sim, "the store of %u cannot be copied", original->id);
        return;
    }
    sim->faults++;
    sim->copied = true;
    sim->first = 0;
    sim_contract_copied(sim, original->id, copy->id);
    copies_witness_back(sim);
    copies_start(sim, copy, copies_delay(sim));
}

/* ---- the operator ---- */

static void copies_end(struct sim *sim, struct sim_node *copy)
{
    sim_trace(sim, "copy of %u ENDED", copy->self);
    sim_node_free(copy);
    sim->first = 0;
}

/* The copy speaks for the node: its directory takes the place of the original's. */
static void copies_put_in_place(struct sim *sim, struct sim_node *copy)
{
    struct sim_node *original = &sim->nodes[copy->self];
    sim_trace(sim, "copy of %u PUT IN ITS PLACE", copy->self);
    sim_node_crash(sim, original);
    sim_node_crash(sim, copy);
    original->env->ops->close(original->env);
    original->env = copy->env;
    original->disk_faulty = false;
    copy->env = NULL;
    sim->first = 0;
    sim_contract_copied(sim, copy->id, original->id);
    copies_start(sim, original, 1000);
}

static bool copies_repair(struct sim *sim)
{
    struct sim_node *copy = copies_copy(sim);
    if (copies_says_so(copy)) {
        copies_end(sim, copy);
        return true;
    }
    if (copies_says_so(&sim->nodes[copy->self])) {
        copies_put_in_place(sim, copy);
        return true;
    }
    return false;
}

/* What the other node of the pair has confirmed from memory, and its disk never took, nobody knows
 * any more when that one is started anew. */
static bool copies_may_change_places(const struct sim *sim, const struct sim_node *copy)
{
    const struct sim_node *original = &sim->nodes[copy->self];
    return sim->plan.policy != KVP_PAIR_NONE && !original->disk_faulty &&
           sim->first == original->id && (sim->plan.copies_unsure || !sim->first_in_memory);
}

static void copies_exchange(struct sim *sim, struct sim_node *original, struct sim_node *copy)
{
    struct kvp_env *env = original->env;
    bool known = !sim->first_in_memory;
    sim_trace(sim, "copy of %u PUT BACK%s", copy->self, known ? "" : ", and nobody knows better");
    original->env = copy->env;
    copy->env = env;
    sim->first = known ? copy->id : 0;
    sim_contract_exchanged(sim, copy->id, original->id);
}

/* Each store gets the other one's address, unless the original has become alone in its view. */
static void copies_change_places(struct sim *sim, struct sim_node *copy)
{
    struct sim_node *original = &sim->nodes[copy->self];
    sim_node_crash(sim, original);
    sim_node_crash(sim, copy);
    if (copies_can_be_told(sim, original->env, original->self)) {
        copies_exchange(sim, original, copy);
    }
    copies_start(sim, original, copies_delay(sim) / 10);
    copies_start(sim, copy, copies_delay(sim));
}

/* The copy's process may die, too. */
static void copies_crash(struct sim *sim, struct sim_node *copy)
{
    if (copies_may_change_places(sim, copy) && sim_below(&sim->random_copies, 4)) {
        copies_change_places(sim, copy);
    } else if (copy->alive && sim_below(&sim->random_copies, 2)) {
        sim_node_crash(sim, copy);
        copies_start(sim, copy, copies_delay(sim));
    }
}

void sim_copies(struct sim *sim)
{
    if (sim->calm) {
        return;
    }
    unsigned one = 1 + (unsigned)sim_below(&sim->random_copies, sim->plan.nodes);
    if (copies_copy(sim) == NULL) {
        copies_make(sim, &sim->nodes[one]);
    } else if (sim_below(&sim->random_copies, 2) || !copies_repair(sim)) {
        copies_crash(sim, copies_copy(sim));
    }
    sim_at(sim, sim_exponential(&sim->random_copies, sim->plan.copy_gap_us), SIM_COPIES);
}

void sim_copies_calm(struct sim *sim)
{
    const struct sim_node *copy = copies_copy(sim);
    if (copy != NULL && !copy->alive) {
        copies_start(sim, copy, copies_delay(sim) / 10);
    }
}

/* ---- after every event ---- */

/* Of a node that was started a short time before, what its earlier life asked may come late, and
 * twice: that looks like another store. */
static bool copies_seen(const struct sim *sim, const struct sim_node *node)
{
    const struct kvp_core *core = copies_core(node);
    for (unsigned i = 0; core != NULL && i < core->peer_count; i++) {
        uint64_t seen_us = core->peers[i].copy_seen_us;
        uint64_t ago_us = sim_node_clock(sim, node) - seen_us;
        uint64_t late_us = sim->nodes[core->peers[i].id].started_us + SIM_LATE_US + LATE_LONGER_US;
        if (seen_us != 0 && sim->now_us > late_us + ago_us) {
            return true;
        }
    }
    return false;
}

static void copies_watch(struct sim *sim, const struct sim_node *node)
{
    const struct sim_node *copy = copies_copy(sim);
    bool one_of_two = copy != NULL && node->self == copy->self;
    if (node->serving && copies_says_so(node)) {
        sim_fail(sim, "%u serves, and says that it is a copy", node->id);
    }
    if (copies_says_so(node) && (!one_of_two || sim->first == node->id)) {
        sim_fail(sim, "%u says that it is a copy, and is none", node->id);
    }
    if (!sim->copied && copies_seen(sim, node)) {
        sim_fail(sim, "%u says that there are two of a node, and there are not", node->id);
    }
    if (!one_of_two || !copies_confirmed(node)) {
        return;
    }
    if (node->id == SIM_COPY && sim->plan.policy != KVP_PAIR_NONE) {
        sim_fail(sim, "a store at an address that nobody was told of speaks for node %u",
                 node->self);
    } else if (sim->first == 0) {
        sim_trace(sim, "%u SPEAKS for %u", node->id, node->self);
        sim->first = node->id;
    } else if (sim->first != node->id) {
        sim_fail(sim, "%u and a copy both speak for node %u", sim->first, node->self);
    }
    uint64_t number = copies_core(node)->meta.incarnation;
    if (number != sim->first_number) {
        sim->first_number = number;
        sim->first_in_memory = sim->in_memory;
    }
}

/* A node of a pair whose disk hangs confirms a number before the disk has it. */
static void copies_watch_memory(struct sim *sim, const struct sim_node *node)
{
    const struct sim_node *copy = copies_copy(sim);
    const struct kvp_core *core = copies_core(node);
    if (copy == NULL || core == NULL || node->self == copy->self) {
        return;
    }
    const struct kvp_core *first = copies_core(&sim->nodes[copy->self]);
    uint64_t known = core->meta.peer_incarnation;
    bool durable = core->peer_number_needed == 0 || core->meta_durable >= core->peer_number_needed;
    bool hangs = core_disk_hangs(core, sim_node_clock(sim, node));
    sim->in_memory = !durable && (sim->in_memory || hangs);
    if (durable &&
        (known == sim->first_number || (first != NULL && known == first->meta.incarnation))) {
        sim->first_in_memory = false;
    }
}

void sim_copies_step(struct sim *sim)
{
    if (sim->plan.copy_gap_us == 0) {
        return;
    }
    for (unsigned i = 1; !sim->failed && i <= SIM_COPY; i++) {
        copies_watch_memory(sim, &sim->nodes[i]);
        copies_watch(sim, &sim->nodes[i]);
    }
    if (!sim->failed && sim->calm && copies_copy(sim) != NULL) {
        (void)copies_repair(sim);
    }
}
