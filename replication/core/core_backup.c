/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The follower's side: heartbeats, entries, the commit point, and what to do when the primary says
 * that the logs have parted.
 */
#include "replication/core/core_state.h"

#include <assert.h>

/* Is it from the primary of the view in force? A newer view was adopted before this. */
static bool from_primary(struct kvp_core *core, const struct kvp_peer_request *request)
{
    if (KVP_MUTANT(IGNORE_EPOCH)) {
        return core->meta.group_id != 0;
    }
    return request->view.epoch == core->view.epoch && request->from == core->view.primary &&
           core->view.primary != core->config.self && core->meta.group_id != 0 &&
           (core->role != KVP_ROLE_CANDIDATE || KVP_MUTANT(CANDIDATE_FOLLOWS));
}

static void heard(struct kvp_core *core)
{
    core->heard_primary_us = core->now_us;
    core->lent |= kvp_set_of(core->view.primary);
    core->lent_us = core->now_us;
    core->primary_resigned = false;
    core->noted_waits = false;
    core->noted_not_eligible = false;
    if (core->proposal.stage == PROPOSAL_LOOK || core->proposal.stage == PROPOSAL_FENCE) {
        core_proposal_abort(core);
    }
}

/* Both logs agree up to the primary's commit point as far as this node's entries are known to be
 * the primary's: those of its leadership, or below a point that it has compared. */
static void learn_commit(struct kvp_core *core, uint64_t seq, uint64_t verified)
{
    core->known_commit = seq > core->known_commit ? seq : core->known_commit;
    core->commit_heard_us = core->now_us;
    uint64_t to = seq < verified ? seq : verified;
    to = to < core->durable.seq ? to : core->durable.seq;
    if (to > core->commit) {
        core->commit = to;
        if (!kvp_core_log_point(&core->log, to, &core->commit_point)) {
            assert(!"what is not applied is in memory");
        }
    }
}

static bool log_has(const struct kvp_core *core, struct kvp_point point)
{
    struct kvp_point ours;
    return kvp_core_log_point(&core->log, point.seq, &ours) && kvp_point_equal(ours, point);
}

static void promise(struct kvp_core *core)
{
    bool foreign = core->log.tail.epoch > core->view.epoch; /* of a view that nobody granted */
    if (!foreign && (core->meta.member_epoch != core->view.epoch || core->meta.doubt)) {
        core->meta.member_epoch = core->view.epoch;
        core->meta.doubt = false;
        core_persist(core);
    }
}

void core_follow_heartbeat(struct kvp_core *core, const struct kvp_peer_request *request,
                           void *token)
{
    if (!from_primary(core, request)) {
        core_answer(core, token, request->op, request->sent_us, KVP_STALE_VIEW);
        return;
    }
    heard(core);
    core->followed = core->followed || request->life == core->life;
    if (log_has(core, request->commit)) {
        learn_commit(core, request->commit.seq, request->commit.seq);
    } else {
        learn_commit(core, request->commit.seq, 0);
    }
    if (request->forced > core->meta.forced_epoch && request->forced <= core->view.epoch &&
        !core->told) {
        core->meta.forced_epoch = request->forced; /* to be known here when this node leads */
        core_persist(core);
    }
    /* A message may have been under way since before this node was started, or emptied. */
    if (request->prepare && request->life == core->life && !core->stopping && !core->replacing) {
        promise(core);
    }
    /* An empty log is in nobody's way: the word is about the one set aside just before. */
    if (request->diverged && !core->replacing && core->log.tail.seq > 0 &&
        (!kvp_set_has(core->view.in_sync, core->config.self) || !core_eligible(core))) {
        core_set_aside(core);
    }
    core_answer(core, token, request->op, request->sent_us, KVP_OK);
    core_wishes_heartbeat(core);
}

/* ---- entries ---- */

static void cut(struct kvp_core *core, uint64_t after)
{
    assert(after >= core->commit);
    core_note(core, KVP_NOTE_LOG_CUT, after);
    kvp_core_log_truncate(&core->log, after);
    if (core->written > after) {
        core->cut_after = core->cut_pending && core->cut_after < after ? core->cut_after : after;
        core->cut_pending = true;
        core->written = after;
    }
    if (core->write_last > after) {
        core->write_last = after;
    }
    if (core->durable.seq > after) {
        core->durable = core->log.tail;
    }
    core_answer_waiters(core, true);
}

void core_drop_later(struct kvp_core *core, uint64_t epoch)
{
    uint64_t after = core->log.tail.seq;
    struct kvp_point point;
    while (after > core->commit && kvp_core_log_point(&core->log, after, &point) &&
           point.epoch > epoch) {
        after--;
    }
    if (after < core->log.tail.seq) {
        cut(core, after);
    }
    if (core->log.tail.epoch > epoch && !core->replacing) { /* they are in the state already */
        core->meta.doubt = true;
        core_persist(core);
        core_set_aside(core);
    }
}

/* The primary has our log up to `seq`: if that is all of it, there is nothing that only we have.
 * While a view is on its way to the disk in which this node is alone, that will not stay so. */
static void compared(struct kvp_core *core, uint64_t seq)
{
    if (core->meta.solo_from != 0 && seq >= core->durable.seq && !core->ask_token) {
        core->meta.solo_from = 0;
        core_persist(core);
    }
}

/* Is what is behind `seq` nothing that anybody was told of? */
static bool may_cut(const struct kvp_core *core, uint64_t seq)
{
    return seq >= core->commit && !(core_parted(core) && seq < core->durable.seq);
}

/* Takes one entry: known already, new, or in the place of one that never was committed. */
static kvp_status take_entry(struct kvp_core *core, const struct kvp_peer_request *request,
                             struct kvp_entry *entry)
{
    struct kvp_point ours;
    uint64_t seq = entry->point.seq;
    if (seq <= core->log.tail.seq) {
        if (!kvp_core_log_point(&core->log, seq, &ours)) {
            return KVP_OK; /* below what is kept in memory: applied, hence committed */
        }
        if (kvp_point_equal(ours, entry->point)) {
            compared(core, seq);
            return KVP_OK;
        }
        if (!may_cut(core, seq - 1) || ours.epoch >= request->lead_epoch) {
            return KVP_DIVERGED;
        }
        cut(core, seq - 1);
    }
    return kvp_core_log_append(&core->log, entry, false);
}

static kvp_status take_entries(struct kvp_core *core, const struct kvp_peer_request *request)
{
    struct kvp_point ours;
    if (request->prev.seq > core->log.tail.seq) {
        return KVP_NOT_FOUND; /* a gap: the primary goes by our report */
    }
    if (kvp_core_log_point(&core->log, request->prev.seq, &ours)) {
        if (!kvp_point_equal(ours, request->prev) && !KVP_MUTANT(ACCEPT_MISMATCH)) {
            return KVP_NOT_FOUND;
        }
        compared(core, request->prev.seq);
    } else if (request->prev.seq > core->commit || core_parted(core)) {
        return KVP_NOT_FOUND;
    }
    for (size_t i = 0; i < request->entry_count; i++) {
        kvp_status status = take_entry(core, request, request->entries[i]);
        if (status != KVP_OK) {
            return status;
        }
    }
    /* The primary's log ended here when it sent this, and what it has made since is of its own
     * epochs: an older suffix of ours is not in it. */
    bool older = core->log.tail.epoch < request->lead_epoch || KVP_MUTANT(CUT_TOO_FAR);
    if (core->log.tail.seq > request->end && older) {
        if (!may_cut(core, request->end)) {
            return KVP_DIVERGED;
        }
        cut(core, request->end);
    }
    return KVP_OK;
}

void core_answer_waiters(struct kvp_core *core, bool all)
{
    unsigned kept = 0;
    for (unsigned i = 0; i < core->waiter_count; i++) {
        struct append_waiter waiter = core->waiters[i];
        if (all || waiter.last <= core->durable.seq) {
            core_answer(core, waiter.token, KVP_OP_APPEND, waiter.echo_us,
                        waiter.last <= core->durable.seq ? KVP_OK : KVP_BUSY);
        } else {
            core->waiters[kept++] = waiter;
        }
    }
    core->waiter_count = kept;
}

void core_follow_append(struct kvp_core *core, const struct kvp_peer_request *request, void *token)
{
    if (!from_primary(core, request) || core->replacing) {
        core_answer(core, token, request->op, request->sent_us,
                    core->replacing ? KVP_BUSY : KVP_STALE_VIEW);
        return;
    }
    heard(core);
    core_incoming_abort(core);
    uint64_t first = request->prev.seq;
    uint64_t last = first + request->entry_count;
    kvp_status status = take_entries(core, request);
    if (status == KVP_NO_MEMORY) {
        core_failed(core);
    }
    if (status != KVP_OK) {
        core_answer(core, token, request->op, request->sent_us, status);
        return;
    }
    learn_commit(core, request->commit.seq, last);
    if (last <= core->durable.seq) {
        core_answer(core, token, request->op, request->sent_us, KVP_OK);
    } else if (core->waiter_count == KVP_CORE_WAITERS) {
        core_answer(core, token, request->op, request->sent_us, KVP_BUSY);
    } else {
        core->waiters[core->waiter_count++] =
            (struct append_waiter){token, request->from, last, request->sent_us};
    }
}

/* ---- rule R6 ---- */

void core_set_aside(struct kvp_core *core)
{
    uint64_t lost = core_parted(core) ? core->log.tail.seq - core->meta.solo_from + 1 : 1;
    bool counted = core_parted(core) || core->meta.member_epoch != 0;
    if (core_keep_refused(core)) {
        return;
    }
    if (!core->quarantine_full) {
        core_note(core, KVP_NOTE_DIVERGED, lost);
    }
    core_incoming_abort(core);
    core_answer_waiters(core, true);
    core_replace_begin(core, lost);
    core->next_keep = counted ? KVP_KEEP : KVP_KEEP_SPARE;
    core_disk_asked(core, CORE_DISK_STORE);
    core->port.set_aside(core->port.arg, &core->next_meta, core->next_keep);
}

/* The store stays what it is, and so does what is known about it, until another one has taken its
 * place: that one has promised nothing. */
void core_replace_begin(struct kvp_core *core, uint64_t lost)
{
    core->replacing = true;
    core->next_meta = core->meta;
    core->next_meta.diverged_count += lost;
    core->next_meta.solo_from = 0;
    core->next_meta.member_epoch = 0;
    core->next_meta.doubt = false;
}

void core_replace_end(struct kvp_core *core, struct kvp_point point)
{
    core->replacing = core->quarantine_full = false;
    core->meta.diverged_count = core->next_meta.diverged_count;
    core->meta.solo_from = 0;
    core->meta.member_epoch = core->shown_member_epoch = 0;
    core->shown_doubt = false;
    core->meta.doubt = point.epoch > core->meta.view.epoch; /* sent in a view that nobody granted */
    core_persist(core);                                     /* with the views learned meanwhile */
    core->life++;
    core->cut_pending = false;
    kvp_core_log_reset(&core->log, point, point.seq + 1, point.seq, 0);
    core->durable = core->commit_point = point;
    core->written = core->commit = core->applied = core->applying = point.seq;
    core->write_last = 0;
    core->port.changed(core->port.arg);
}

void kvp_core_set_aside_done(struct kvp_core *core, uint64_t now_us, kvp_status status)
{
    core_enter(core, now_us);
    core_disk_answered(core, CORE_DISK_STORE);
    if (core->role == KVP_ROLE_FAILED) {
        return;
    }
    if (status == KVP_BUSY) {
        /* A snapshot was just being opened; its closing is under way. */
        core_disk_asked(core, CORE_DISK_STORE);
        core->port.set_aside(core->port.arg, &core->next_meta, core->next_keep);
        return;
    }
    if (status == KVP_REFUSED) {
        core_keep_failed(core);
        return;
    }
    if (status != KVP_OK) {
        core_failed(core);
        return;
    }
    core->known_commit = 0;
    core_replace_end(core, (struct kvp_point){0});
}
