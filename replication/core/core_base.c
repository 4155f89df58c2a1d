/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What all of the core's files use: its peers, notes for the log, what it says of itself, answers,
 * and what follows at once from the fields. Nothing here changes a view or moves the log.
 */
#include "replication/core/core_state.h"

#include <assert.h>
#include <string.h>

struct core_peer *core_peer(struct kvp_core *core, unsigned id)
{
    assert(core->peer_count <= CORE_PEERS_MAX);
    for (unsigned i = 0; i < core->peer_count; i++) {
        if (core->peers[i].id == id) {
            return &core->peers[i];
        }
    }
    return NULL;
}

void core_note(struct kvp_core *core, enum kvp_note note, uint64_t number)
{
    core->port.note(core->port.arg, note, number);
}

void core_note_once(struct kvp_core *core, bool *noted, enum kvp_note note, uint64_t number)
{
    if (!*noted) {
        *noted = true;
        core_note(core, note, number);
    }
}

/* splitmix64 (Steele, Lea, Flood 2014): ids need to differ, not to be secret. */
uint64_t core_random(struct kvp_core *core)
{
    uint64_t z = core->random += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    z ^= z >> 31;
    return z ? z : 1;
}

void core_set_role(struct kvp_core *core, enum kvp_role role)
{
    assert(role <= KVP_ROLE_STOPPED);
    assert(core->role < KVP_ROLE_FAILED || core->role == role);
    if (core->role != role) {
        core->role = role;
        core->port.changed(core->port.arg);
    }
}

uint64_t core_persist(struct kvp_core *core)
{
    assert(core->meta_durable <= core->meta_wanted);
    return ++core->meta_wanted;
}

kvp_node_set core_required(const struct kvp_core *core)
{
    kvp_node_set set = core->view.in_sync;
    if (KVP_MUTANT(REMOVE_AT_ONCE) && core->proposal.stage >= PROPOSAL_CAS &&
        core->proposal.reason == REASON_REMOVE) {
        set = core->proposal.view.in_sync;
    }
    switch (core->proposal.stage) {
    case PROPOSAL_PREPARE:
    case PROPOSAL_CAS:
    case PROPOSAL_GRANTED:
        set |= KVP_MUTANT(JOINT_DROPPED) ? 0 : core->proposal.view.in_sync;
        break;
    default:
        break;
    }
    return set & ~kvp_set_of(core->config.self);
}

/* Pair mode: what is decided may not be in force yet. */
static bool base_unsettled(const struct kvp_core *core)
{
    return core_paired(core) && !KVP_MUTANT(SETTLED) &&
           (core->proposal.stage >= PROPOSAL_CAS || core->meta_durable != core->meta_wanted);
}

void core_report(const struct kvp_core *core, struct kvp_peer_report *report)
{
    report->role = (uint8_t)core->role;
    /* Nobody founds a group beside a store that may have another one's data. */
    report->blank = core->meta.group_id == 0 && !core->repaired;
    report->log_regressed = core->meta.log_regressed;
    report->unsettled = base_unsettled(core);
    report->known = core_paired(core) && (core->confirmed || core_leading(core));
    /* What an arbiter has decided is told, also before it is durable here. In pair mode this node's
     * disk is the register: it may come back from a crash without what is not on it yet. */
    bool decided = core->proposal.stage == PROPOSAL_GRANTED && core->config.policy == KVP_PAIR_NONE;
    report->view = decided ? core->meta.view : core->view;
    report->tail = KVP_MUTANT(BACKUP_ACKS_MEMORY) ? core->log.tail : core->durable;
    report->commit = core_parted(core) ? core->durable : core->commit_point;
    report->received = core->log.tail.seq;
    bool promised = core->meta_durable == core->meta_wanted && !core->replacing &&
                    !core->stopping; /* nothing is to be handed over to it */
    report->member_epoch = promised ? core->meta.member_epoch : 0;
    report->snapshot = core->incoming.id;
    report->wanted = core->incoming.next;
    report->incarnation = core->incarnation;
    report->grace_us = core->config.grace_us;
}

void core_numbers(const struct kvp_core *core, struct kvp_numbers *numbers)
{
    numbers->incarnation = core->meta.incarnation;
    numbers->replaces = core->replaces;
    memcpy(numbers->earlier, core->meta.earlier, sizeof(numbers->earlier));
}

void core_answer(struct kvp_core *core, void *token, unsigned op, uint64_t echo_us, int code)
{
    assert(token != NULL);
    struct kvp_peer_reply reply; /* all is set but numbers that are not told: they are large */
    bool told = core_paired(core) && core_identity_drawn(core) &&
                (op == KVP_OP_STATE || op == KVP_OP_HEARTBEAT);
    reply.code = code;
    reply.op = op;
    reply.from = core->config.self;
    reply.group_id = core->meta.group_id;
    reply.echo_us = echo_us;
    reply.knows = told ? core->meta.peer_incarnation : 0;
    reply.numbers.incarnation = 0;
    if (told) {
        core_numbers(core, &reply.numbers);
    }
    core_report(core, &reply.report);
    core->port.reply(core->port.arg, token, &reply);
}

/* Only the head and the entry count are set: the entries' array is large. */
void core_send_head(const struct kvp_core *core, struct kvp_peer_request *request, unsigned op,
                    uint8_t to)
{
    assert(to != 0 && to != core->config.self);
    request->op = op;
    request->from = core->config.self;
    request->to = to;
    request->group_id = core->meta.group_id;
    request->sent_us = core->now_us;
    request->view = core->view;
    bool data = op == KVP_OP_APPEND || op == KVP_OP_SNAPSHOT; /* HEARTBEAT says the rest */
    request->numbers.incarnation = core_paired(core) ? core->meta.incarnation : 0;
    if (request->numbers.incarnation != 0 && !data) {
        core_numbers(core, &request->numbers);
    }
    request->entry_count = 0;
}

void core_send_state(struct kvp_core *core, const struct core_peer *peer)
{
    assert(peer != NULL);
    struct kvp_peer_request request;
    core_send_head(core, &request, KVP_OP_STATE, peer->id);
    core_report(core, &request.report);
    core->port.send(core->port.arg, &request);
}

bool core_eligible(const struct kvp_core *core)
{
    return (core->meta.member_epoch != 0 && !core->meta.log_regressed && !core->replacing) ||
           KVP_MUTANT(PROMOTE_OUTSIDE);
}

bool core_serving(const struct kvp_core *core, uint64_t now_us)
{
    if (core->role != KVP_ROLE_PRIMARY || (core->proposal.stage >= PROPOSAL_CAS &&
                                           core->proposal.view.primary != core->config.self)) {
        return false;
    }
    kvp_node_set required = KVP_MUTANT(SKIP_LEASE) ? 0 : core_required(core);
    if ((required & ~core->known) != 0) {
        return false; /* it cannot be heard */
    }
    for (unsigned i = 0; i < core->peer_count; i++) {
        const struct core_peer *peer = &core->peers[i];
        if (peer->lease_us <= now_us && kvp_set_has(required, peer->id)) {
            return false;
        }
    }
    return true;
}

bool core_can_take_over(const struct kvp_core *core, const struct core_peer *peer)
{
    return kvp_set_has(core->view.in_sync, peer->id) && core_members_may_count(core, peer->id) &&
           peer->lease_us > core->now_us && !peer->resigned && !peer->report.log_regressed &&
           peer->report.member_epoch != 0;
}

void core_look_soon(struct kvp_core *core)
{
    assert(!core_paired(core));
    uint64_t due = core->looked_us + core->config.heartbeat_us;
    core->watch_us = due < core->watch_us ? due : core->watch_us;
    core->due |= CORE_DUE_LOOK;
}

/* What was begun is given up when the event is over. */
void core_failed(struct kvp_core *core)
{
    if (core->role == KVP_ROLE_FAILED || core->role == KVP_ROLE_STOPPED) {
        return;
    }
    /* If the view is not durable yet, we may learn and lead it again after a restart. A delayed
     * RESIGN would then be taken for the new incarnation's, so none is sent. */
    bool unsure = core->role == KVP_ROLE_ELECT && core->meta_durable != core->meta_wanted;
    core->resigns = !unsure;
    core->lead_epoch = 0;
    core_set_role(core, KVP_ROLE_FAILED);
    core->due |= CORE_DUE_ENDED;
}

void core_resign(struct kvp_core *core)
{
    assert(core->role == KVP_ROLE_FAILED);
    for (unsigned i = 0; i < core->peer_count; i++) {
        struct kvp_peer_request request;
        core_send_head(core, &request, KVP_OP_RESIGN, core->peers[i].id);
        core->port.send(core->port.arg, &request);
    }
}
