/* SPDX-License-Identifier: Apache-2.0 */
/* The core's frame: making one, starting it, group commit, dispatch of messages, answers. */
#include "replication/core/core_state.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

kvp_status kvp_core_new(const struct kvp_core_config *config, const struct kvp_core_port *port,
                        struct kvp_core **core)
{
    if (config->self < 1 || config->self > KVP_NODE_ID_MAX ||
        !kvp_set_has(config->nodes, config->self) || kvp_set_count(config->nodes) > KVP_NODES_MAX ||
        config->heartbeat_us == 0 || config->lease_us <= config->heartbeat_us ||
        config->grace_us <= config->lease_us ||
        (config->policy != KVP_PAIR_NONE && kvp_set_count(config->nodes) > 2)) {
        return KVP_BAD_ARGUMENT;
    }
    struct kvp_core *made = calloc(1, sizeof(*made));
    if (!made) {
        return KVP_NO_MEMORY;
    }
    if (kvp_core_log_init(&made->log, config->log_size_max) != KVP_OK) {
        free(made);
        return KVP_NO_MEMORY;
    }
    made->config = *config;
    made->port = *port;
    made->random = config->random ? config->random : 1;
    made->life = made->random;
    if (made->config.sync_replicas == 0) {
        made->config.sync_replicas = kvp_set_count(config->nodes);
    }
    for (unsigned id = 1; id <= KVP_NODE_ID_MAX; id++) {
        if (kvp_set_has(config->nodes, id) && id != config->self) {
            made->peers[made->peer_count++].id = (uint8_t)id;
        }
    }
    *core = made;
    return KVP_OK;
}

static void answer_held(struct kvp_core *core, void **token, unsigned op)
{
    if (*token) {
        core_answer(core, *token, op, 0, KVP_CLOSED);
        *token = NULL;
    }
}

void kvp_core_free(struct kvp_core *core)
{
    if (!core) {
        return;
    }
    core_answer_waiters(core, true);
    answer_held(core, &core->ask_token, KVP_OP_ASK_VIEW);
    answer_held(core, &core->state_token, KVP_OP_STATE);
    answer_held(core, &core->incoming.token, KVP_OP_SNAPSHOT);
    for (unsigned i = 0; i < core->peer_count; i++) {
        answer_held(core, &core->peers[i].leave_token, KVP_OP_LEAVE);
        kvp_buf_free(&core->peers[i].snapshot.chunk);
    }
    kvp_core_log_free(&core->log);
    free(core);
}

const char *kvp_note_name(enum kvp_note note)
{
    static const char *const names[] = {
        [KVP_NOTE_GROUP_CREATED] = "group_created",
        [KVP_NOTE_WRONG_GROUP] = "wrong_group",
        [KVP_NOTE_BLANK_BUT_KNOWN] = "blank_but_group_known",
        [KVP_NOTE_ARBITER_UNKNOWN] = "arbiter_not_seeded",
        [KVP_NOTE_ARBITER_SILENT] = "arbiter_silent",
        [KVP_NOTE_ARBITER_FOREIGN] = "arbiter_other_group",
        [KVP_NOTE_PEER_LOST] = "peer_lost",
        [KVP_NOTE_PEER_SLOW] = "peer_slow",
        [KVP_NOTE_PEER_REGRESSED] = "peer_regressed",
        [KVP_NOTE_PEER_CAUGHT_UP] = "peer_caught_up",
        [KVP_NOTE_SNAPSHOT_SENDING] = "snapshot_sending",
        [KVP_NOTE_SNAPSHOT_RECEIVING] = "snapshot_receiving",
        [KVP_NOTE_SNAPSHOT_RECEIVED] = "snapshot_received",
        [KVP_NOTE_LOG_CUT] = "log_cut",
        [KVP_NOTE_DIVERGED] = "diverged",
        [KVP_NOTE_PRIMARY_SILENT] = "primary_silent",
        [KVP_NOTE_NOT_ELIGIBLE] = "not_eligible",
        [KVP_NOTE_FENCE_FAILED] = "fence_failed",
        [KVP_NOTE_WAITS_FOR_PEER] = "waits_for_peer",
        [KVP_NOTE_RESIGNED] = "peer_resigned",
        [KVP_NOTE_TIMES_DIFFER] = "times_differ",
        [KVP_NOTE_DISK_SILENT] = "disk_silent",
        [KVP_NOTE_DISK_ANSWERS] = "disk_answers",
        [KVP_NOTE_DISK_GIVEN_UP] = "disk_given_up",
        [KVP_NOTE_DISK_NO_HEIR] = "disk_no_heir",
        [KVP_NOTE_COPY] = "copy_of_a_store",
        [KVP_NOTE_PEER_COPY] = "peer_twice",
        [KVP_NOTE_VIEW_TAKEN_BACK] = "view_taken_back",
    };
    return (size_t)note < sizeof(names) / sizeof(names[0]) ? names[note] : "unknown";
}

struct core_peer *core_peer(struct kvp_core *core, unsigned id)
{
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
    if (core->role != role) {
        core->role = role;
        core->port.changed(core->port.arg);
    }
}

uint64_t core_persist(struct kvp_core *core)
{
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
        set |= core->proposal.view.in_sync;
        break;
    default:
        break;
    }
    return set & ~kvp_set_of(core->config.self);
}

void core_report(const struct kvp_core *core, struct kvp_peer_report *report)
{
    report->role = (uint8_t)core->role;
    report->blank = core->meta.group_id == 0;
    report->doubt = core->meta.doubt;
    report->unsettled = core_pair_unsettled(core);
    report->known = core->config.policy != KVP_PAIR_NONE && (core->confirmed || core_leading(core));
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
    report->life = core->life;
    report->grace_us = core->config.grace_us;
}

void core_answer(struct kvp_core *core, void *token, unsigned op, uint64_t echo_us, int code)
{
    struct kvp_peer_reply reply; /* all is set but numbers that are not told: they are large */
    bool told = core->config.policy != KVP_PAIR_NONE && core_identity_drawn(core) &&
                (op == KVP_OP_STATE || op == KVP_OP_HEARTBEAT);
    reply.code = code;
    reply.op = op;
    reply.from = core->config.self;
    reply.group_id = core->meta.group_id;
    reply.echo_us = echo_us;
    reply.knows = told ? core->meta.peer_incarnation : 0;
    reply.numbers.incarnation = 0;
    if (told) {
        core_identity_numbers(core, &reply.numbers);
    }
    core_report(core, &reply.report);
    core->port.reply(core->port.arg, token, &reply);
}

/* Only the head and the entry count are set: the entries' array is large. */
void core_send_head(const struct kvp_core *core, struct kvp_peer_request *request, unsigned op,
                    uint8_t to)
{
    request->op = op;
    request->from = core->config.self;
    request->to = to;
    request->group_id = core->meta.group_id;
    request->sent_us = core->now_us;
    request->view = core->view;
    bool data = op == KVP_OP_APPEND || op == KVP_OP_SNAPSHOT; /* HEARTBEAT says the rest */
    request->numbers.incarnation =
        core->config.policy == KVP_PAIR_NONE ? 0 : core->meta.incarnation;
    if (request->numbers.incarnation != 0 && !data) {
        core_identity_numbers(core, &request->numbers);
    }
    request->entry_count = 0;
}

void kvp_core_start(struct kvp_core *core, uint64_t now_us, const struct kvp_loaded *loaded)
{
    core_enter(core, now_us);
    core->meta = loaded->meta;
    core->view = loaded->meta.view;
    core->told =
        core->config.policy == KVP_PAIR_NONE && core->meta.view.version != core->meta.shown_version;
    core->shown_member_epoch = core->meta.member_epoch;
    core->shown_doubt = core->meta.doubt;
    core->heard_primary_us = core->commit_heard_us = now_us;
    core->lent = core->config.nodes & ~kvp_set_of(core->config.self); /* by an earlier life */
    core->lent_us = now_us;
    /* What is not applied yet is read back into memory, behind the applied point. */
    kvp_core_log_reset(&core->log, loaded->applied, loaded->log_first, loaded->tail.seq,
                       loaded->log_size);
    core->applied = core->applying = core->commit = loaded->applied.seq;
    core->commit_point = loaded->applied;
    core->durable = loaded->tail;
    core->written = loaded->tail.seq;
    core->role = KVP_ROLE_OUTSIDE;
    if (loaded->tail.seq > loaded->applied.seq) {
        core->loading = true;
        core_disk_asked(core, CORE_DISK_STORE);
        core->port.read_log(core->port.arg, core->config.self, loaded->applied.seq + 1,
                            KVP_CORE_BATCH_SIZE, KVP_CORE_BATCH);
    }
    if (kvp_set_has(core->view.in_sync, core->config.self) && !core->meta.copy) {
        core->role = KVP_ROLE_BACKUP;
    }
    core_identity_draw(core);
    core->port.changed(core->port.arg);
    kvp_core_tick(core, now_us);
}

static void loaded_entries(struct kvp_core *core, kvp_status status,
                           struct kvp_entry *const *entries, size_t count)
{
    for (size_t i = 0; status == KVP_OK && i < count; i++) {
        status = kvp_core_log_append(&core->log, entries[i], true);
    }
    if (status != KVP_OK || count == 0) {
        core_failed(core);
        return;
    }
    if (core->log.tail.seq < core->durable.seq) {
        core_disk_asked(core, CORE_DISK_STORE);
        core->port.read_log(core->port.arg, core->config.self, core->log.tail.seq + 1,
                            KVP_CORE_BATCH_SIZE, KVP_CORE_BATCH);
        return;
    }
    core->loading = false;
}

void core_failed(struct kvp_core *core)
{
    if (core->role == KVP_ROLE_FAILED) {
        return;
    }
    /* After a restart a view that never was durable here may be learned again, and led: then these
     * words, come late, would be taken for the next life's. */
    bool unsure = core->role == KVP_ROLE_ELECT && core->meta_durable != core->meta_wanted;
    core_proposal_abort(core);
    core_answer_waiters(core, true);
    core->lead_epoch = 0;
    core_set_role(core, KVP_ROLE_FAILED);
    core_identity_written(core);
    unsure = unsure || !core_identity_known(core);
    for (unsigned i = 0; !unsure && i < core->peer_count; i++) {
        struct kvp_peer_request request;
        core_send_head(core, &request, KVP_OP_RESIGN, core->peers[i].id);
        core->port.send(core->port.arg, &request);
    }
    core_wishes_changed(core);
}

void kvp_core_fail(struct kvp_core *core, uint64_t now_us)
{
    core_enter(core, now_us);
    core_failed(core);
}

/* Anything after a failure is noise. */
static bool stopped(const struct kvp_core *core)
{
    return core->role == KVP_ROLE_FAILED || core->role == KVP_ROLE_STOPPED;
}

void kvp_core_tick(struct kvp_core *core, uint64_t now_us)
{
    core_enter(core, now_us);
    if (stopped(core)) {
        return;
    }
    core_disk_note(core);
    bool due = now_us >= core->heartbeat_due_us;
    if (due) {
        core->heartbeat_due_us = now_us + core->config.heartbeat_us;
    }
    if (core->loading || !core_identity_drawn(core)) {
        return; /* kvp_core_write_done() goes on */
    }
    if (core->meta.copy) {
        core_identity_tell_copy(core);
        core_wishes_tick(core);
        return;
    }
    core_proposal_step(core);
    core_watch_tick(core);
    if (core_leading(core)) {
        if (due) {
            core_heartbeat(core);
        }
        core_lead_tick(core);
        if (core_leading(core)) {
            core_disk_lead_tick(core);
        }
    } else if (core->role == KVP_ROLE_BACKUP || core->role == KVP_ROLE_CANDIDATE ||
               (KVP_MUTANT(PROMOTE_OUTSIDE) && core->meta.view.version != 0)) {
        core_backup_tick(core);
    }
    core_outside_tick(core);
    core_incoming_tick(core);
    core_wishes_tick(core);
    bool serving = kvp_core_serving(core, now_us);
    if (serving != core->serving_told) {
        core->serving_told = serving;
        core->port.changed(core->port.arg);
    }
}

static bool may_write(const struct kvp_core *core)
{
    return !core->writing && !core->replacing && !core->loading;
}

uint64_t kvp_core_deadline(const struct kvp_core *core)
{
    if (stopped(core)) {
        return UINT64_MAX;
    }
    uint64_t due = core->heartbeat_due_us;
    if (core->role == KVP_ROLE_BACKUP) {
        uint64_t grace = core->heard_primary_us + core->config.grace_us + 1;
        /* The regular tick goes on behind it: asking is repeated at that pace. */
        if (grace > core->now_us && grace < due) {
            due = grace;
        }
    }
    if (core->proposal.stage != PROPOSAL_NONE && core->proposal.retry_us < due) {
        due = core->proposal.retry_us;
    }
    if (core->apply_due_us != 0 && core->apply_due_us < due && may_write(core)) {
        due = core->apply_due_us;
    }
    return due;
}

static bool from_stranger(struct kvp_core *core, uint64_t group_id, unsigned from)
{
    if (group_id != 0 && core->meta.group_id != 0 && group_id != core->meta.group_id) {
        core_note(core, KVP_NOTE_WRONG_GROUP, from);
        return true;
    }
    return false;
}

static void dispatch(struct kvp_core *core, struct core_peer *peer,
                     const struct kvp_peer_request *request, void *token)
{
    switch (request->op) {
    case KVP_OP_HEARTBEAT:
        core_follow_heartbeat(core, request, token);
        break;
    case KVP_OP_APPEND:
        core_follow_append(core, request, token);
        break;
    case KVP_OP_SNAPSHOT:
        core_follow_snapshot(core, request, token);
        break;
    case KVP_OP_ASK_VIEW:
        core_pair_asked(core, request, token);
        break;
    case KVP_OP_LEAVE:
        if (core_leading(core) && kvp_set_has(core->view.in_sync, peer->id)) {
            peer->resigned = true;
            peer->resigned_us = core->now_us;
            if (peer->leave_token) {
                core_answer(core, peer->leave_token, KVP_OP_LEAVE, 0, KVP_BUSY);
            }
            peer->leave_token = token;
            core->propose_after_us =
                core->now_us; /* what was refused before is another thing now */
            core_lead_tick(core);
        } else {
            core_answer(core, token, request->op, request->sent_us,
                        kvp_set_has(core->view.in_sync, peer->id) ? KVP_NOT_PRIMARY : KVP_OK);
        }
        break;
    case KVP_OP_RESIGN: /* anybody can say so: it is asked, and its answer counts */
        if (KVP_MUTANT(RESIGN_BELIEVED)) {
            core->primary_resigned = core->primary_resigned || peer->id == core->view.primary;
            core->lent &= ~kvp_set_of(peer->id);
        }
        core_send_state(core, peer);
        core_answer(core, token, request->op, request->sent_us, KVP_OK);
        break;
    default: /* STATE */
        core_identity_state(core, request, token);
        break;
    }
}

/* Entries are made in views: none is of a later epoch than its sender's view, and their epochs do
 * not fall. Whoever sends something else is no node of ours. */
static bool epochs_in_order(const struct kvp_peer_request *request)
{
    uint64_t epoch = request->view.epoch;
    if (request->op == KVP_OP_SNAPSHOT) {
        return request->point.epoch <= epoch;
    }
    if (request->op != KVP_OP_HEARTBEAT && request->op != KVP_OP_APPEND) {
        return true;
    }
    for (size_t i = request->entry_count; i > 0; i--) {
        if (request->entries[i - 1]->point.epoch > epoch) {
            return false;
        }
        epoch = request->entries[i - 1]->point.epoch;
    }
    return request->commit.epoch <= request->view.epoch &&
           (request->op != KVP_OP_APPEND || request->prev.epoch <= epoch);
}

/* A newer view that a peer tells; a blank node enters the group by it. True: it is in force now. */
static bool hear(struct kvp_core *core, const struct core_peer *peer, uint64_t group_id,
                 const struct kvp_view *view, bool answered)
{
    bool blank = core->meta.group_id == 0;
    if (group_id == 0 || view->epoch <= core->view.epoch ||
        (blank && !kvp_set_has(view->in_sync, peer->id))) {
        return false;
    }
    core->meta.group_id = group_id;
    bool newer = core_told(core, peer, view, answered);
    if (!newer && blank) {
        core->meta.group_id = 0;
    }
    return newer;
}

/* Does this store speak for its node, and the sender's for its own? Else nothing is said that
 * counts. */
static kvp_status admit(struct kvp_core *core, struct core_peer *peer,
                        const struct kvp_peer_request *request)
{
    bool binds = request->op == KVP_OP_HEARTBEAT || request->op == KVP_OP_APPEND ||
                 request->op == KVP_OP_SNAPSHOT || request->op == KVP_OP_ASK_VIEW;
    bool bound = core->meta.group_id != 0 && !core_leading(core);
    if (core->meta.copy) {
        return KVP_FAILED; /* not REFUSED: the sender is none */
    }
    if (!core_identity_drawn(core) || (binds && bound && !core_identity_may_follow(core))) {
        return KVP_BUSY;
    }
    kvp_status status = core_identity_admit(core, peer, request);
    return status == KVP_OK && !core_identity_at_home(core, peer, request) ? KVP_BUSY : status;
}

void kvp_core_request(struct kvp_core *core, uint64_t now_us,
                      const struct kvp_peer_request *request, void *token)
{
    core_enter(core, now_us);
    struct core_peer *peer = core_peer(core, request->from);
    if (!peer || request->to != core->config.self) {
        core_answer(core, token, request->op, request->sent_us, KVP_REFUSED);
        return;
    }
    if (stopped(core)) {
        core_pair_asked_stopped(core, peer, request, token);
        return;
    }
    if (core->loading) {
        core_answer(core, token, request->op, request->sent_us, KVP_BUSY);
        return;
    }
    if (from_stranger(core, request->group_id, request->from)) {
        core_answer(core, token, request->op, request->sent_us, KVP_WRONG_GROUP);
        return;
    }
    kvp_status status = admit(core, peer, request);
    if (status != KVP_OK) {
        core_answer(core, token, request->op, request->sent_us, status);
        return;
    }
    peer->last_contact_us = now_us;
    peer->blank_seen = request->group_id == 0;
    if (request->op == KVP_OP_STATE) {
        peer->resigned = false;
    }
    (void)hear(core, peer, request->group_id, &request->view, false);
    if (request->view.epoch == core->view.epoch && !epochs_in_order(request)) {
        core_answer(core, token, request->op, request->sent_us, KVP_BAD_REQUEST);
        return;
    }
    dispatch(core, peer, request, token);
}

/* A node that has failed leads no more in this life, so that a lease which was given to it before
 * it was asked is nothing to wait for. An answer that comes late may be an earlier life's: the next
 * one has been heard since, or leads in an epoch of its own. */
static void hear_resigned(struct kvp_core *core, struct core_peer *peer,
                          const struct kvp_peer_reply *reply)
{
    if (reply->report.role != KVP_ROLE_FAILED || reply->echo_us < core->lent_us) {
        return;
    }
    bool news = !peer->resigned;
    peer->resigned = true;
    peer->resigned_us = core->now_us;
    core->lent &= ~kvp_set_of(peer->id);
    if (peer->id == core->view.primary && reply->report.view.epoch == core->view.epoch) {
        core->primary_resigned = true;
    }
    if (news) {
        core_note(core, KVP_NOTE_RESIGNED, peer->id);
        kvp_core_tick(core, core->now_us);
    }
}

void kvp_core_reply(struct kvp_core *core, uint64_t now_us, const struct kvp_peer_reply *reply)
{
    core_enter(core, now_us);
    struct core_peer *peer = core_peer(core, reply->from);
    if (!peer || stopped(core) || core->loading || reply->echo_us > now_us ||
        from_stranger(core, reply->group_id, reply->from)) {
        return;
    }
    if (core->meta.copy || !core_identity_heard(core, peer, reply)) {
        return;
    }
    core_identity_answers(core, peer, reply);
    peer->last_contact_us = now_us;
    peer->blank_seen = reply->report.blank;
    if (reply->group_id != 0 && core->meta.group_id != 0) {
        core->contact = core->contact || !reply->report.unsettled;
    }
    if (hear(core, peer, reply->group_id, &reply->report.view, true) && reply->op != KVP_OP_LEAVE) {
        return;
    }
    hear_resigned(core, peer, reply);
    if (core->config.policy != KVP_PAIR_NONE && reply->from == core->view.primary &&
        kvp_view_equal(&reply->report.view, &core->view)) {
        core->shown = core->view; /* it says so itself, and was asked */
        core_incoming_tick(core);
    }
    if (reply->op == KVP_OP_LEAVE && reply->code == KVP_OK) {
        core_wishes_left(core); /* the news came with the view that leaves us out */
    } else if (reply->op == KVP_OP_ASK_VIEW) {
        core_pair_answered(core, reply);
    } else if (core_leading(core)) {
        core_lead_reply(core, peer, reply);
    } else {
        core_wishes_heard(core, reply);
    }
}

void kvp_core_link(struct kvp_core *core, uint64_t now_us, uint8_t id, bool up)
{
    core_enter(core, now_us);
    struct core_peer *peer = core_peer(core, id);
    if (peer) {
        peer->link_up = up;
        if (core_leading(core) && peer->mode != PEER_SNAPSHOT) {
            core_probe_restart(core, peer);
        }
        peer->snapshot.sent_us = 0;
    }
}

void kvp_core_submit(struct kvp_core *core, uint64_t now_us, struct kvp_entry *entry)
{
    core_enter(core, now_us);
    assert(core->role == KVP_ROLE_PRIMARY && !core->draining);
    kvp_entry_chain(entry, core->log.tail, core->view.epoch);
    if (kvp_core_log_append(&core->log, entry, false) != KVP_OK) {
        core_failed(core);
    }
}

/* The log may be cut up to here without hurting those who will want it soon. The entry that a peer
 * has last is kept, too: it is what its position is compared with. */
static uint64_t trim_limit(const struct kvp_core *core)
{
    uint64_t limit = core->applied;
    bool long_already = core->log.disk_size > 16 * core->config.log_size_max;
    for (unsigned i = 0; core_leading(core) && i < core->peer_count; i++) {
        const struct core_peer *peer = &core->peers[i];
        uint64_t needed = UINT64_MAX;
        if (kvp_set_has(core_required(core), peer->id)) {
            needed = peer->match ? peer->match - 1 : 0;
        } else if (peer->mode == PEER_SNAPSHOT && !long_already) {
            needed = peer->snapshot.point.seq ? peer->snapshot.point.seq - 1 : 0;
        } else if (!long_already && peer->heard_us != 0) {
            /* One that is being asked, too, but not for long: a snapshot just received would be of
             * no use else, and one that died shall not hold the log. */
            bool follows = peer->mode == PEER_REPLICATE;
            uint64_t last = follows ? peer->match : peer->report.tail.seq;
            bool fresh =
                core->now_us - peer->heard_us < (follows ? 10000000 : core->config.lease_us);
            needed = fresh ? (last ? last - 1 : 0) : UINT64_MAX;
        }
        limit = needed < limit ? needed : limit;
    }
    return limit;
}

static size_t gather(struct kvp_core *core, uint64_t from, uint64_t to, size_t at, uint64_t *last)
{
    size_t count = 0;
    uint64_t size = 0;
    *last = from - 1;
    for (uint64_t seq = from; seq <= to && count < KVP_CORE_BATCH; seq++) {
        struct kvp_entry *entry = kvp_core_log_get(&core->log, seq);
        assert(entry);
        if (count > 0 && size + entry->size > KVP_CORE_BATCH_SIZE) {
            break;
        }
        size += entry->size;
        core->batch[at + count++] = entry;
        *last = seq;
    }
    return count;
}

/* A write that only applies costs a serving primary two hops between threads for each update of a
 * single client; the next update's write will take it along. What is committed is answered and read
 * from memory; who waits for the state calls kvp_core_apply(). */
static bool apply_can_wait(struct kvp_core *core, uint64_t apply_to)
{
    bool news = core->written < core->log.tail.seq || core->cut_pending ||
                core->meta_durable != core->meta_wanted;
    if (news || apply_to == core->applied || core->role != KVP_ROLE_PRIMARY || core->draining ||
        apply_to - core->applied > KVP_CORE_APPLY_WAIT) {
        core->apply_due_us = 0;
        return false;
    }
    if (core->apply_due_us == 0) {
        core->apply_due_us = core->now_us + KVP_CORE_APPLY_WAIT_US;
    }
    if (core->now_us < core->apply_due_us) {
        return true;
    }
    core->apply_due_us = 0;
    return false;
}

void kvp_core_apply(struct kvp_core *core)
{
    core->apply_due_us = 1;
}

static void start_write(struct kvp_core *core)
{
    struct kvp_storage_write write = {0};
    uint64_t apply_to = core->commit < core->durable.seq ? core->commit : core->durable.seq;
    apply_to = KVP_MUTANT(APPLY_EARLY) ? core->durable.seq : apply_to;
    if (apply_can_wait(core, apply_to)) {
        return;
    }
    write.truncate = core->cut_pending;
    write.truncate_after = core->cut_after;
    write.append = core->batch;
    write.append_count = gather(core, core->written + 1, core->log.tail.seq, 0, &core->write_last);
    write.apply = core->batch + KVP_CORE_BATCH;
    write.apply_count = gather(core, core->applied + 1, apply_to, KVP_CORE_BATCH, &core->applying);
    if (write.append_count > 0) {
        write.trim_to = kvp_core_log_trim(&core->log, core->config.log_size_max, trim_limit(core));
    }
    bool meta = core->meta_durable != core->meta_wanted;
    write.meta = meta ? &core->meta : NULL;
    write.sync = write.append_count > 0 || write.truncate || meta;
    if (!write.sync && write.apply_count == 0) {
        return;
    }
    write.sync = write.sync && !KVP_MUTANT(UNSYNCED);
    core->meta_writing = core->meta_wanted;
    core->written = core->write_last;
    core->cut_pending = false;
    core->writing = true;
    core_disk_asked(core, CORE_DISK_STORE);
    core->port.write(core->port.arg, &write);
}

void kvp_core_flush(struct kvp_core *core, uint64_t now_us)
{
    core->now_us = now_us;
    if (stopped(core) || core->loading) {
        return;
    }
    if (core_leading(core)) {
        core_pump_all(core);
    }
    if (may_write(core)) {
        start_write(core);
    }
    if (core->touched) {
        core->touched = false;
        core_check(core);
    }
}

void kvp_core_write_done(struct kvp_core *core, uint64_t now_us, kvp_status status)
{
    core_enter(core, now_us);
    core_disk_answered(core, CORE_DISK_STORE);
    core->writing = false;
    if (stopped(core)) {
        return;
    }
    if (status != KVP_OK) {
        core_failed(core);
        return;
    }
    bool drawn = core_identity_drawn(core);
    core->meta_durable = core->meta_writing;
    core->applied = core->applying;
    if (core->write_last > core->durable.seq &&
        !kvp_core_log_point(&core->log, core->write_last, &core->durable)) {
        assert(!"an entry just written is in memory");
    }
    kvp_core_log_evict(&core->log, core->applied, core->config.cache_size_max);
    core_answer_waiters(core, false);
    if (!drawn) {
        kvp_core_tick(core, now_us); /* it may speak now */
    }
    if (core->peer_number_needed != 0) {
        core_identity_written(core);
    }
    core_pair_written(core);
    core_proposal_step(core);
    if (core_leading(core)) {
        core_advance(core);
    }
}

void kvp_core_read_log_done(struct kvp_core *core, uint64_t now_us, uint8_t id, kvp_status status,
                            struct kvp_entry *const *entries, size_t count)
{
    core_enter(core, now_us);
    core_disk_answered(core, CORE_DISK_STORE);
    if (stopped(core)) {
        return;
    }
    if (id == core->config.self) {
        loaded_entries(core, status, entries, count);
        return;
    }
    if (status != KVP_OK && status != KVP_NOT_FOUND && status != KVP_NO_MEMORY) {
        core_failed(core);
        return;
    }
    core_sync_log_read(core, core_peer(core, id), status == KVP_OK ? entries : NULL,
                       status == KVP_OK ? count : 0);
}

enum kvp_role kvp_core_role(const struct kvp_core *core)
{
    return core->role;
}

bool kvp_core_serving(const struct kvp_core *core, uint64_t now_us)
{
    if (core->role != KVP_ROLE_PRIMARY || (core->proposal.stage >= PROPOSAL_CAS &&
                                           core->proposal.view.primary != core->config.self)) {
        return false;
    }
    kvp_node_set required = KVP_MUTANT(SKIP_LEASE) ? 0 : core_required(core);
    for (unsigned i = 0; i < core->peer_count; i++) {
        if (kvp_set_has(required, core->peers[i].id) && core->peers[i].lease_us <= now_us) {
            return false;
        }
    }
    return true;
}

bool kvp_core_accepting(const struct kvp_core *core, uint64_t now_us)
{
    return !core->draining && !core_disk_hangs(core, now_us) && kvp_core_serving(core, now_us);
}

bool kvp_core_disk_hangs(const struct kvp_core *core, uint64_t now_us)
{
    return core_disk_hangs(core, now_us);
}

uint64_t kvp_core_next_seq(const struct kvp_core *core)
{
    return core->log.tail.seq + 1;
}

uint64_t kvp_core_applied(const struct kvp_core *core)
{
    return core->applied;
}

uint64_t kvp_core_known_commit(const struct kvp_core *core)
{
    return core->known_commit > core->commit ? core->known_commit : core->commit;
}

const struct kvp_view *kvp_core_view(const struct kvp_core *core)
{
    return &core->view;
}

uint64_t kvp_core_group_id(const struct kvp_core *core)
{
    return core->meta.group_id;
}

void kvp_core_status(const struct kvp_core *core, uint64_t now_us, struct kvp_core_status *status)
{
    memset(status, 0, sizeof(*status));
    status->role = core->role;
    status->meta = core->meta;
    status->view = core->view;
    status->tail = core->log.tail;
    status->durable = core->durable.seq;
    status->commit = core->commit;
    status->applied = core->applied;
    status->known_commit = kvp_core_known_commit(core);
    status->commit_age_us = kvp_core_serving(core, now_us) ? 0 : now_us - core->commit_heard_us;
    status->disk_silent_us = core_disk_silence(core, now_us);
    status->quarantine_full = core->quarantine_full;
    status->peer_count = core->peer_count;
    for (unsigned i = 0; i < core->peer_count; i++) {
        const struct core_peer *peer = &core->peers[i];
        status->peers[i] = (struct kvp_core_peer_status){
            .id = peer->id,
            .heard = peer->last_contact_us != 0 &&
                     now_us - peer->last_contact_us < core->config.lease_us,
            .in_sync = kvp_set_has(core->view.in_sync, peer->id),
            .match = core_leading(core) ? peer->match : 0,
            .heard_us = peer->last_contact_us,
            .twice = peer->copy_seen_us != 0 && now_us - peer->copy_seen_us < KVP_COPY_SHOWN_US,
        };
    }
}
