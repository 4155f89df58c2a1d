/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Members that come and go while there are faults. One change is asked for at a time, of all nodes,
 * again and again until a node that serves has it in force; when the faults are over, all nodes are
 * let in again. Checked at every step: nobody who is on no list that is in force counts in the view
 * of who serves by it, a list in force is that of the store, and versions rise by one.
 */
#include "sim.h"

#include "replication/core/core_state.h"
#include "replication/node/exec_state.h"

#include <stdlib.h>
#include <string.h>

#define MEMBERS_AGAIN_US 150000u

void sim_plan_members(struct sim_plan *plan, uint64_t seed)
{
    uint64_t stream = seed ^ 0x5eed0021;
    plan->policy = KVP_PAIR_NONE;
    plan->nodes = 3 + (unsigned)sim_below(&stream, 2);
    plan->sync_replicas = 0;
    plan->wipe = 0;
    plan->hang_gap_us = 0;
    plan->forge = plan->forge_words = 0;
    plan->members_gap_us = 200000 + sim_below(&stream, 2000000);
}

static const struct kvp_members *members_of(const struct sim_node *node)
{
    return &node->executor->members.list;
}

/* The newest list of a node that serves; NULL: nobody does. */
static const struct kvp_members *members_served(const struct sim *sim)
{
    for (unsigned i = 1; i <= sim->plan.nodes; i++) {
        const struct sim_node *node = &sim->nodes[i];
        if (node->alive && !node->paused && node->serving) {
            return members_of(node);
        }
    }
    return NULL;
}

static bool members_is_done(const struct sim *sim, const struct kvp_members *list)
{
    bool there = kvp_members_find(list, sim->member.id) != NULL;
    return list->version == 0 ? sim->member.what == KVP_MEMBER_ADD
                              : there == (sim->member.what == KVP_MEMBER_ADD);
}

static void members_send(struct sim *sim)
{
    char url[32];
    snprintf(url, sizeof(url), "sim://%u", sim->member.id);
    const struct kvp_request request = {
        .op = KVP_OP_MEMBER_CHANGE,
        .group = kvp_slice_of("sim", 3),
        .member = {.what = sim->member.what,
                   .id = sim->member.id,
                   .kind = sim->member.what == KVP_MEMBER_ADD ? KVP_MEMBER_DATA : 0},
        .key = kvp_slice_of(url, sim->member.what == KVP_MEMBER_ADD ? strlen(url) : 0)};
    kvp_buf body = {0};
    for (unsigned to = 1; to <= sim->plan.nodes; to++) {
        struct sim_message message = {.from = SIM_CLIENT(SIM_CLIENTS_MAX), .to = to};
        body.size = 0;
        if (kvp_wire_request_encode(&request, &body) == KVP_OK) {
            sim_send(sim, &message, kvp_buf_slice(&body));
        }
    }
    kvp_buf_free(&body);
}

/* What is asked for next. */
static void members_draw(struct sim *sim, const struct kvp_members *list)
{
    sim->member.id = 1 + (unsigned)sim_below(&sim->random_members, sim->plan.nodes);
    sim->member.what = KVP_MEMBER_REMOVE;
    for (unsigned id = 1; id <= sim->plan.nodes && list->version != 0; id++) {
        bool gone = kvp_members_find(list, id) == NULL;
        if (gone && (sim->calm || sim_below(&sim->random_members, 2) != 0)) {
            sim->member.id = id;
            sim->member.what = KVP_MEMBER_ADD;
        }
    }
    if (sim->member.what == KVP_MEMBER_REMOVE && (sim->calm || list->count < 3) &&
        list->version != 0) {
        sim->member.what = 0;
    }
    sim_trace(sim, "MEMBER change %u of %u", sim->member.what, sim->member.id);
}

void sim_members(struct sim *sim)
{
    const struct kvp_members *list = members_served(sim);
    bool all = list != NULL && (list->version == 0 || list->count == sim->plan.nodes);
    if (list != NULL && (sim->member.what == 0 || members_is_done(sim, list) || sim->calm)) {
        members_draw(sim, list);
    }
    if (sim->member.what != 0 && !(sim->calm && all)) {
        members_send(sim);
    }
    uint64_t gap_us = sim_exponential(&sim->random_members, sim->plan.members_gap_us);
    sim_at(sim, sim->calm || gap_us % 4 != 0 ? MEMBERS_AGAIN_US : gap_us, SIM_MEMBERS);
}

void sim_members_start(struct sim *sim)
{
    if (sim->plan.members_gap_us != 0) {
        sim_at(sim, 1500000, SIM_MEMBERS);
    }
}

static void members_check_store(struct sim *sim, const struct sim_node *node)
{
    struct kvp_members stored;
    if (node->executor->replacing || node->writer.ran ||
        kvp_core_role(kvp_executor_core(node->executor)) == KVP_ROLE_FAILED ||
        kvp_executor_read_members(node->storage, &stored) != KVP_OK || stored.version == 0) {
        return;
    }
    if (stored.version != members_of(node)->version) {
        sim_fail(sim, "node %u goes by list %llu of members, its store has %llu", node->id,
                 (unsigned long long)members_of(node)->version, (unsigned long long)stored.version);
    }
}

void sim_members_step(struct sim *sim)
{
    for (unsigned i = 1; sim->plan.members_gap_us != 0 && i <= sim->plan.nodes; i++) {
        const struct sim_node *node = &sim->nodes[i];
        if (!node->alive || node->executor == NULL) {
            continue;
        }
        const struct kvp_core *core = kvp_executor_core(node->executor);
        kvp_node_set listed = kvp_members_set(members_of(node));
        if (members_of(node)->version != 0 && node->serving &&
            (core->view.in_sync & ~listed) != 0) {
            sim_fail(sim, "node %u serves with a member that its list does not have", node->id);
        }
        if (core->config.removed && kvp_core_role(core) == KVP_ROLE_PRIMARY) {
            sim_fail(sim, "node %u leads, and was removed", node->id);
        }
        members_check_store(sim, node);
    }
}

bool sim_members_done(const struct sim *sim)
{
    const struct kvp_members *list = members_served(sim);
    return sim->plan.members_gap_us == 0 ||
           (list != NULL && (list->version == 0 || list->count == sim->plan.nodes));
}
