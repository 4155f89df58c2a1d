/* SPDX-License-Identifier: Apache-2.0 */
/* The core's frame: making one, starting it, group commit, dispatch of messages. */
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
    if (made == NULL) {
        return KVP_NO_MEMORY;
    }
    if (kvp_core_log_init(&made->log, config->log_size_max) != KVP_OK) {
        free(made);
        return KVP_NO_MEMORY;
    }
    made->config = *config;
    made->port = *port;
    made->random = config->random ? config->random : 1;
    made->incarnation = made->random;
    made->listed = config->nodes & ~kvp_set_of(config->self);
    core_members_meet(made);
    *core = made;
    return KVP_OK;
}

static void event_answer_held(struct kvp_core *core, void **token, unsigned op)
{
    if (*token != NULL) {
        core_answer(core, *token, op, 0, KVP_CLOSED);
        *token = NULL;
    }
}

void kvp_core_free(struct kvp_core *core)
{
    if (core == NULL) {
        return;
    }
    core_answer_waiters(core, true);
    event_answer_held(core, &core->ask_token, KVP_OP_ASK_VIEW);
    event_answer_held(core, &core->state_token, KVP_OP_STATE);
    event_answer_held(core, &core->incoming.token, KVP_OP_SNAPSHOT);
    for (unsigned i = 0; i < core->peer_count; i++) {
        event_answer_held(core, &core->peers[i].leave_token, KVP_OP_LEAVE);
        kvp_buf_free(&core->peers[i].snapshot.chunk);
    }
    kvp_core_log_free(&core->log);
    free(core);
}

void kvp_core_start(struct kvp_core *core, uint64_t now_us, const struct kvp_loaded *loaded)
{
    core_enter(core, now_us);
    core->meta = loaded->meta;
    core->view = loaded->meta.view;
    core->repaired = loaded->repaired;
    core->told =
        core->config.policy == KVP_PAIR_NONE && core->meta.view.version != core->meta.shown_version;
    core->shown_member_epoch = core->meta.member_epoch;
    core->shown_log_regressed = core->meta.log_regressed;
    core->heard_primary_us = core->commit_heard_us = now_us;
    /* By an earlier incarnation. */
    core->leases_granted = (core->config.nodes | core->config.former | core->view.in_sync) &
                           ~kvp_set_of(core->config.self);
    core->lease_granted_us = now_us;
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
    } else {
        core_members_meet(core); /* who is to let it in, also where its list is too old for that */
    }
    core_identity_draw(core);
    core->port.changed(core->port.arg);
    core->due |= CORE_DUE_TICK;
    core_settle(core);
}

static void event_loaded_entries(struct kvp_core *core, kvp_status status,
                                 struct kvp_entry *const *entries, size_t count)
{
    assert(core->loading);
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

void kvp_core_fail(struct kvp_core *core, uint64_t now_us)
{
    core_enter(core, now_us);
    core_failed(core);
    core_settle(core);
}

/* Anything after a failure is noise. */
static bool event_stopped(const struct kvp_core *core)
{
    return core->role == KVP_ROLE_FAILED || core->role == KVP_ROLE_STOPPED;
}

void kvp_core_tick(struct kvp_core *core, uint64_t now_us)
{
    core_enter(core, now_us);
    if (!event_stopped(core)) {
        core->due |= CORE_DUE_TICK;
        core_settle(core);
    }
}

static bool event_may_write(const struct kvp_core *core)
{
    return !core->writing && !core->replacing && !core->loading;
}

uint64_t kvp_core_deadline(const struct kvp_core *core)
{
    if (event_stopped(core)) {
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
    if (core->apply_due_us != 0 && core->apply_due_us < due && event_may_write(core)) {
        due = core->apply_due_us;
    }
    return due;
}

static bool event_from_stranger(struct kvp_core *core, uint64_t group_id, unsigned from)
{
    if (group_id != 0 && core->meta.group_id != 0 && group_id != core->meta.group_id) {
        core->stranger_us = core->now_us;
        core_note(core, KVP_NOTE_WRONG_GROUP, from);
        return true;
    }
    return false;
}

static void event_dispatch(struct kvp_core *core, struct core_peer *peer,
                           const struct kvp_peer_request *request, void *token)
{
    switch (request->op) {
    case KVP_OP_HEARTBEAT:
        core_follow_heartbeat(core, request, token);
        core_admin_heartbeat(core);
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
            if (peer->leave_token != NULL) {
                core_answer(core, peer->leave_token, KVP_OP_LEAVE, 0, KVP_BUSY);
            }
            peer->leave_token = token;
            core->propose_after_us =
                core->now_us; /* what was refused before is another thing now */
            core->due |= CORE_DUE_TICK;
        } else {
            core_answer(core, token, request->op, request->sent_us,
                        kvp_set_has(core->view.in_sync, peer->id) ? KVP_NOT_PRIMARY : KVP_OK);
        }
        break;
    case KVP_OP_RESIGN: /* anybody can say so: it is asked, and its answer counts */
        if (KVP_MUTANT(RESIGN_BELIEVED)) {
            core->primary_resigned = core->primary_resigned || peer->id == core->view.primary;
            core->leases_granted &= ~kvp_set_of(peer->id);
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
static bool event_epochs_in_order(const struct kvp_peer_request *request)
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
static bool event_hear(struct kvp_core *core, const struct core_peer *peer, uint64_t group_id,
                       const struct kvp_view *view, bool answered)
{
    bool blank = core->meta.group_id == 0;
    if (group_id == 0 || view->epoch <= core->view.epoch ||
        (blank && !kvp_set_has(view->in_sync, peer->id))) {
        return false;
    }
    bool asks = blank && !answered && core->config.policy != KVP_PAIR_NONE; /* as a blank one */
    core->meta.group_id = asks ? 0 : group_id;
    bool newer = core_told(core, peer, view, answered);
    core->meta.group_id = blank && !newer ? 0 : group_id;
    return newer;
}

/* Does this store speak for its node, and the sender's for its own? Else nothing is said that
 * counts. */
static kvp_status event_admit(struct kvp_core *core, struct core_peer *peer,
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

static void event_take_request(struct kvp_core *core, const struct kvp_peer_request *request,
                               void *token)
{
    struct core_peer *peer =
        core_members_has(core, request->from) ? core_peer(core, request->from) : NULL;
    if (peer == NULL && request->to == core->config.self) {
        core_note(core, KVP_NOTE_PEER_UNKNOWN, request->from);
    }
    if (peer == NULL || request->to != core->config.self) {
        /* Not REFUSED, which is said to a copy. */
        core_answer(core, token, request->op, request->sent_us, KVP_NOT_FOUND);
        return;
    }
    if (event_stopped(core)) {
        core_pair_asked_stopped(core, peer, request, token);
        return;
    }
    if (core->loading) {
        core_answer(core, token, request->op, request->sent_us, KVP_BUSY);
        return;
    }
    if (event_from_stranger(core, request->group_id, request->from)) {
        core_answer(core, token, request->op, request->sent_us, KVP_WRONG_GROUP);
        return;
    }
    kvp_status status = event_admit(core, peer, request);
    if (status != KVP_OK) {
        core_answer(core, token, request->op, request->sent_us, status);
        return;
    }
    peer->last_contact_us = core->now_us;
    peer->blank_seen =
        request->group_id == 0 && (request->op != KVP_OP_STATE || request->report.blank);
    if (request->op == KVP_OP_STATE) {
        peer->resigned = false;
    }
    (void)event_hear(core, peer, request->group_id, &request->view, false);
    if (request->view.epoch == core->view.epoch && !event_epochs_in_order(request)) {
        core_answer(core, token, request->op, request->sent_us, KVP_BAD_REQUEST);
        return;
    }
    event_dispatch(core, peer, request, token);
}

void kvp_core_request(struct kvp_core *core, uint64_t now_us,
                      const struct kvp_peer_request *request, void *token)
{
    core_enter(core, now_us);
    event_take_request(core, request, token);
    core_settle(core);
}

/* A node that has failed leads no more in this incarnation, so that a lease which was given to it
 * before it was asked is nothing to wait for. An answer that comes late may be an earlier
 * incarnation's: the next one has been heard since, or leads in an epoch of its own. */
static void event_hear_resigned(struct kvp_core *core, struct core_peer *peer,
                                const struct kvp_peer_reply *reply)
{
    if (reply->report.role != KVP_ROLE_FAILED || reply->echo_us < core->lease_granted_us) {
        return;
    }
    bool news = !peer->resigned;
    peer->resigned = true;
    peer->resigned_us = core->now_us;
    core->leases_granted &= ~kvp_set_of(peer->id);
    if (peer->id == core->view.primary && reply->report.view.epoch == core->view.epoch) {
        core->primary_resigned = true;
    }
    if (news) {
        core_note(core, KVP_NOTE_RESIGNED, peer->id);
        core->due |= CORE_DUE_TICK;
    }
}

static void event_take_reply(struct kvp_core *core, const struct kvp_peer_reply *reply)
{
    struct core_peer *peer =
        core_members_has(core, reply->from) ? core_peer(core, reply->from) : NULL;
    if (peer == NULL || event_stopped(core) || core->loading || reply->echo_us > core->now_us ||
        event_from_stranger(core, reply->group_id, reply->from)) {
        return;
    }
    if (core->meta.copy || !core_identity_heard(core, peer, reply)) {
        return;
    }
    core_identity_answers(core, peer, reply);
    peer->last_contact_us = core->now_us;
    peer->blank_seen = reply->report.blank;
    if (reply->group_id != 0 && core->meta.group_id != 0) {
        core->contact = core->contact || !reply->report.unsettled;
    }
    if (event_hear(core, peer, reply->group_id, &reply->report.view, true) &&
        reply->op != KVP_OP_LEAVE) {
        return;
    }
    event_hear_resigned(core, peer, reply);
    if (core->config.policy != KVP_PAIR_NONE && reply->from == core->view.primary &&
        kvp_view_equal(&reply->report.view, &core->view)) {
        core->shown = core->view; /* it says so itself, and was asked */
        core_incoming_tick(core);
    }
    if (reply->op == KVP_OP_LEAVE && reply->code == KVP_OK) {
        core_admin_left(core); /* the news came with the view that leaves us out */
    } else if (reply->op == KVP_OP_ASK_VIEW) {
        core_proposal_answered(core, reply);
    } else if (core_leading(core)) {
        core_lead_reply(core, peer, reply);
    } else {
        core_admin_heard(core, reply);
    }
}

void kvp_core_reply(struct kvp_core *core, uint64_t now_us, const struct kvp_peer_reply *reply)
{
    core_enter(core, now_us);
    event_take_reply(core, reply);
    core_settle(core);
}

void kvp_core_link(struct kvp_core *core, uint64_t now_us, uint8_t id, bool up)
{
    core_enter(core, now_us);
    struct core_peer *peer = core_peer(core, id);
    if (peer != NULL) {
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
        core_settle(core);
    }
}

/* The log may be cut up to here without hurting those who will want it soon. The entry that a peer
 * has last is kept, too: it is what its position is compared with. */
static uint64_t event_trim_limit(const struct kvp_core *core)
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
    assert(limit <= core->applied);
    return limit;
}

static size_t event_gather(struct kvp_core *core, uint64_t from, uint64_t to, size_t at,
                           uint64_t *last)
{
    size_t count = 0;
    uint64_t size = 0;
    *last = from - 1;
    for (uint64_t seq = from; seq <= to && count < KVP_CORE_BATCH; seq++) {
        struct kvp_entry *entry = kvp_core_log_get(&core->log, seq);
        assert(entry != NULL);
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
static bool event_apply_can_wait(struct kvp_core *core, uint64_t apply_to)
{
    assert(apply_to >= core->applied);
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

static void event_start_write(struct kvp_core *core)
{
    assert(!core->writing && !core->replacing && !core->loading);
    struct kvp_storage_write write = {0};
    uint64_t apply_to = core->commit < core->durable.seq ? core->commit : core->durable.seq;
    apply_to = KVP_MUTANT(APPLY_EARLY) ? core->durable.seq : apply_to;
    unsigned skipped =
        KVP_MUTANT(APPLY_SKIPS) && !core_leading(core) && apply_to > core->applied + 1;
    if (event_apply_can_wait(core, apply_to)) {
        return;
    }
    write.truncate = core->cut_pending;
    write.truncate_after = core->cut_after;
    write.append = core->batch;
    write.append_count =
        event_gather(core, core->written + 1, core->log.tail.seq, 0, &core->write_last);
    write.apply = core->batch + KVP_CORE_BATCH;
    write.apply_count =
        event_gather(core, core->applied + 1 + skipped, apply_to, KVP_CORE_BATCH, &core->applying);
    if (write.append_count > 0) {
        write.trim_to =
            kvp_core_log_trim(&core->log, core->config.log_size_max, event_trim_limit(core));
    }
    bool meta = core->meta_durable != core->meta_wanted;
    write.meta = meta ? &core->meta : NULL;
    write.sync = write.append_count > 0 || write.truncate || meta;
    if (!write.sync && write.apply_count == 0) {
        return;
    }
    write.sync = write.sync && !KVP_MUTANT(UNSYNCED);
    assert(core->write_last <= core->log.tail.seq && core->applying <= core->log.tail.seq);
    assert(write.append_count <= KVP_CORE_BATCH && write.apply_count <= KVP_CORE_BATCH);
    core->meta_writing = core->meta_wanted;
    core->written = core->write_last;
    core->cut_pending = false;
    core->writing = true;
    if (KVP_MUTANT(DURABLE_EARLY)) {
        (void)kvp_core_log_point(&core->log, core->write_last, &core->durable);
    }
    core_disk_asked(core, CORE_DISK_STORE);
    core->port.write(core->port.arg, &write);
}

void kvp_core_flush(struct kvp_core *core, uint64_t now_us)
{
    assert(core->due == 0);
    core->now_us = now_us;
    if (event_stopped(core) || core->loading) {
        return;
    }
    if (core_leading(core)) {
        core_pump_all(core);
    }
    if (event_may_write(core)) {
        event_start_write(core);
    }
    if (core->touched) {
        core->touched = false;
        core_check(core);
    }
}

static void event_written(struct kvp_core *core, kvp_status status)
{
    assert(core->writing && core->meta_writing <= core->meta_wanted);
    core_disk_answered(core, CORE_DISK_STORE);
    core->writing = false;
    if (event_stopped(core)) {
        return;
    }
    if (status != KVP_OK) {
        core_failed(core);
        return;
    }
    bool drawn = core_identity_drawn(core);
    core->meta_durable = core->meta_writing;
    assert(core->applied <= core->applying);
    core->applied = core->applying;
    if (core->write_last > core->durable.seq &&
        !kvp_core_log_point(&core->log, core->write_last, &core->durable)) {
        assert(!"an entry just written is in memory");
    }
    kvp_core_log_evict(&core->log, core->applied, core->config.cache_size_max);
    core_answer_waiters(core, false);
    if (!drawn) {
        core->due |= CORE_DUE_TICK; /* it may speak now */
    }
    if (core->peer_number_needed != 0) {
        core_identity_written(core);
    }
    core_pair_written(core);
    core->due |= CORE_DUE_LEAD;
}

void kvp_core_write_done(struct kvp_core *core, uint64_t now_us, kvp_status status)
{
    core_enter(core, now_us);
    event_written(core, status);
    core_settle(core);
}

static void event_log_read(struct kvp_core *core, uint8_t id, kvp_status status,
                           struct kvp_entry *const *entries, size_t count)
{
    core_disk_answered(core, CORE_DISK_STORE);
    if (event_stopped(core)) {
        return;
    }
    if (id == core->config.self) {
        event_loaded_entries(core, status, entries, count);
        return;
    }
    if (status != KVP_OK && status != KVP_NOT_FOUND && status != KVP_NO_MEMORY) {
        core_failed(core);
        return;
    }
    core_sync_log_read(core, core_peer(core, id), status == KVP_OK ? entries : NULL,
                       status == KVP_OK ? count : 0);
}

void kvp_core_read_log_done(struct kvp_core *core, uint64_t now_us, uint8_t id, kvp_status status,
                            struct kvp_entry *const *entries, size_t count)
{
    core_enter(core, now_us);
    event_log_read(core, id, status, entries, count);
    core_settle(core);
}

void kvp_core_snapshot_opened(struct kvp_core *core, uint64_t now_us, uint8_t id, kvp_status status,
                              struct kvp_point point)
{
    core_enter(core, now_us);
    core_snapshot_opened(core, id, status, point);
    core_settle(core);
}

void kvp_core_snapshot_read_done(struct kvp_core *core, uint64_t now_us, uint8_t id,
                                 kvp_status status, kvp_slice chunk, bool last)
{
    core_enter(core, now_us);
    core_snapshot_read(core, id, status, chunk, last);
    core_settle(core);
}

void kvp_core_incoming_done(struct kvp_core *core, uint64_t now_us, kvp_status status)
{
    core_enter(core, now_us);
    core_incoming_job_done(core, status);
    core_settle(core);
}

void kvp_core_quarantine_done(struct kvp_core *core, uint64_t now_us, kvp_status status)
{
    core_enter(core, now_us);
    core_quarantine_done(core, status);
    core_settle(core);
}

void kvp_core_fence_done(struct kvp_core *core, uint64_t now_us, bool success)
{
    core_enter(core, now_us);
    core_fence_done(core, success);
    core_settle(core);
}

void kvp_core_arbiter_answer(struct kvp_core *core, uint64_t now_us,
                             const struct kvp_arbiter_answer *answer)
{
    core_enter(core, now_us);
    core_arbiter_answered(core, answer);
    core_settle(core);
}

void kvp_core_handover(struct kvp_core *core, uint64_t now_us, uint8_t target)
{
    core_enter(core, now_us);
    core_admin_handover(core, target);
    core_settle(core);
}

void kvp_core_promote(struct kvp_core *core, uint64_t now_us, bool force)
{
    core_enter(core, now_us);
    core_admin_promote(core, force);
    core_settle(core);
}

void kvp_core_stop(struct kvp_core *core, uint64_t now_us)
{
    core_enter(core, now_us);
    core_admin_stop(core);
    core_settle(core);
}

/* A peer that is new to a primary is asked where its log ends, as all were when it began to lead.
 */
static void event_begin_members(struct kvp_core *core, kvp_node_set fresh)
{
    for (unsigned i = 0; i < core->peer_count; i++) {
        struct core_peer *peer = &core->peers[i];
        if (kvp_set_has(fresh, peer->id)) {
            peer->match_us = core->now_us;
            core_probe_restart(core, peer);
        }
    }
}

/* Before it is asked for. */
static void event_drop_addition(struct kvp_core *core, bool unwanted)
{
    bool adding = core->proposal.reason == REASON_ADD && core->proposal.stage < PROPOSAL_CAS &&
                  core->proposal.stage != PROPOSAL_NONE;
    if (adding && unwanted) {
        core_proposal_abort(core);
    }
}

void kvp_core_set_members(struct kvp_core *core, uint64_t now_us, kvp_node_set nodes)
{
    core_enter(core, now_us);
    kvp_node_set known = core->known;
    if (core_leading(core) && (core->listed & ~nodes) != 0) {
        core_heartbeat(core); /* who goes is told how far all is committed: also what says so */
    }
    core->config.nodes = nodes | kvp_set_of(core->config.self);
    core->config.removed = !kvp_set_has(nodes, core->config.self);
    core->listed = nodes & ~kvp_set_of(core->config.self);
    event_drop_addition(core, !kvp_set_has(nodes, core->proposal.subject));
    core_members_tick(core);
    core_members_meet(core);
    event_begin_members(core, core->known & ~known);
    core->due |= CORE_DUE_TICK;
    core_settle(core);
}

void kvp_core_bar(struct kvp_core *core, uint64_t now_us, uint8_t id)
{
    core_enter(core, now_us);
    if (core_leading(core)) {
        core->barred = id;
        event_drop_addition(core, core->proposal.subject == id);
        core->due |= CORE_DUE_TICK;
    }
    core_settle(core);
}
