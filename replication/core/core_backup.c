/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The follower's side: heartbeats, entries, the commit point, and what to do when the primary says
 * that the logs have parted.
 */
#include "replication/core/core_state.h"

#include <assert.h>

/* Is it from the primary of the view in force? A newer view was adopted before this. */
static bool backup_from_primary(struct kvp_core *core, const struct kvp_peer_request *request)
{
    if (KVP_MUTANT(IGNORE_EPOCH)) {
        return core->meta.group_id != 0;
    }
    return request->view.epoch == core->view.epoch && request->from == core->view.primary &&
           core->view.primary != core->config.self && core->meta.group_id != 0 &&
           (core->role != KVP_ROLE_CANDIDATE || KVP_MUTANT(CANDIDATE_FOLLOWS));
}

static void backup_heard(struct kvp_core *core)
{
    assert(!core_leading(core));
    core->heard_primary_us = core->now_us;
    core->leases_granted |= kvp_set_of(core->view.primary);
    core->lease_granted_us = core->now_us;
    core->primary_resigned = false;
    core->noted_waits = false;
    core->noted_not_eligible = false;
    if (core->proposal.stage == PROPOSAL_LOOK || core->proposal.stage == PROPOSAL_FENCE) {
        KVP_MARK(PROPOSAL_OVERTAKEN);
        core_proposal_abort(core);
    }
}

/* Both logs agree up to the primary's commit point as far as this node's entries are known to be
 * the primary's: those of its leadership, or below a point that it has compared. */
static void backup_learn_commit(struct kvp_core *core, uint64_t seq, uint64_t verified)
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
    assert(core->commit <= core->durable.seq);
}

static bool backup_log_has(const struct kvp_core *core, struct kvp_point point)
{
    struct kvp_point ours;
    return kvp_core_log_point(&core->log, point.seq, &ours) && kvp_point_equal(ours, point);
}

static void backup_promise(struct kvp_core *core)
{
    assert(core->view.epoch <= core->meta.view.epoch);
    bool foreign = core->log.tail.epoch > core->view.epoch; /* of a view that nobody granted */
    /* The arbiter lets a new store take a node's place only while nothing counts on that node. If
     * this one promised before it is known, it could be given the lead, and would never be let to
     * take it. */
    bool unknown = core_identity_new(&core->meta) && !core_identity_known(core) &&
                   !KVP_MUTANT(PROMISE_UNKNOWN);
    if (!foreign && !unknown &&
        (core->meta.member_epoch != core->view.epoch || core->meta.log_regressed)) {
        core->meta.member_epoch = core->view.epoch;
        core->meta.log_regressed = false;
        core_persist(core);
    }
}

/* The primary says so with every heartbeat: until then the register may have shown it. */
static void backup_diverged(struct kvp_core *core)
{
    if (core_keep_waits(core)) {
        KVP_MARK(DIVERGED_WAITS);
        core_look_soon(core);
    } else {
        core_quarantine(core);
    }
}

void core_follow_heartbeat(struct kvp_core *core, const struct kvp_peer_request *request,
                           void *token)
{
    if (!backup_from_primary(core, request)) {
        core_answer(core, token, request->op, request->sent_us, KVP_STALE_VIEW);
        return;
    }
    backup_heard(core);
    core->followed = core->followed || request->incarnation == core->incarnation;
    if (backup_log_has(core, request->commit)) {
        backup_learn_commit(core, request->commit.seq, request->commit.seq);
    } else {
        backup_learn_commit(core, request->commit.seq, 0);
    }
    if (request->forced > core->meta.forced_epoch && request->forced <= core->view.epoch &&
        !core->told) {
        core->meta.forced_epoch = request->forced; /* to be known here when this node leads */
        core_persist(core);
    }
    /* A message may have been under way since before this node was started, or emptied. */
    if (request->prepare && request->incarnation == core->incarnation && !core->stopping &&
        !core->replacing) {
        backup_promise(core);
    }
    /* An empty log is in nobody's way: the word is about the one quarantined just before. */
    if (request->diverged && !core->replacing && core->log.tail.seq > 0 &&
        (!kvp_set_has(core->view.in_sync, core->config.self) || !core_eligible(core))) {
        backup_diverged(core);
    }
    core_answer(core, token, request->op, request->sent_us, KVP_OK);
}

/* ---- entries ---- */

/*
 * Cuts the log after `after`. The disk may hold the suffix, or be writing it, or have not heard of
 * it:
 *
 *   written > after      it has, or will have: the next write begins with the cut (cut_pending)
 *   write_last > after   that write is under way: when it is done, no more than `after` counts
 *   durable.seq > after  what was durable is no more, also before the disk has cut it: if it were
 *                        reported, the primary would count entries that are about to go
 *
 * Messages that wait for the suffix are answered BUSY: their sender compares anew.
 */
static void backup_cut(struct kvp_core *core, uint64_t after)
{
    assert(after >= core->commit);
    KVP_MARK(SUFFIX_CUT);
    core_note(core, KVP_NOTE_LOG_CUT, after);
    kvp_core_log_truncate(&core->log, after);
    if (core->written > after) {
        core->cut_after = core->cut_pending && core->cut_after < after ? core->cut_after : after;
        core->cut_pending = !KVP_MUTANT(CUT_UNWRITTEN);
        core->written = after;
    }
    if (core->writing && core->write_last > after) {
        KVP_MARK(CUT_WHILE_WRITING);
    }
    if (core->write_last > after) {
        core->write_last = after;
    }
    if (core->durable.seq > after) {
        core->durable = core->log.tail;
    }
    assert(core->log.tail.seq == after && core->durable.seq <= after);
    core_answer_waiters(core, true);
}

void core_drop_later(struct kvp_core *core, uint64_t epoch)
{
    assert(!core_leading(core));
    uint64_t after = core->log.tail.seq;
    struct kvp_point point;
    while (after > core->commit && kvp_core_log_point(&core->log, after, &point) &&
           point.epoch > epoch) {
        after--;
    }
    bool unsure = !kvp_set_has(core->view.in_sync, core->config.self) &&
                  !KVP_MUTANT(LOST_UNSEEN); /* see core_keep.c */
    if (after < core->log.tail.seq && !unsure) {
        backup_cut(core, after);
    }
    if (core->log.tail.epoch > epoch && !core->replacing) { /* or they are in the state already */
        KVP_MARK(LATER_IN_STATE);
        core->meta.log_regressed = true;
        core_persist(core);
        core_quarantine(core);
    }
}

/* The primary has our log up to `seq`: if that is all of it, there is nothing that only we have.
 * While a view is on its way to the disk in which this node is alone, that will not stay so. */
static void backup_compared(struct kvp_core *core, uint64_t seq)
{
    if (core->meta.unreplicated_from != 0 && seq >= core->durable.seq && core->ask_token == NULL) {
        core->meta.unreplicated_from = 0;
        core_persist(core);
    }
}

/* Is what is behind `seq` nothing that anybody was told of? */
static bool backup_may_cut(const struct kvp_core *core, uint64_t seq)
{
    return seq >= core->commit && !(core_parted(core) && seq < core->durable.seq);
}

/* With an arbiter what is on the disk of a node that counts is not cut off before the register has
 * shown the view, or could not be asked for long: an epoch may have been made twice (core_keep.c).
 * The primary asks again. */
static kvp_status backup_judge_cut(struct kvp_core *core, uint64_t seq)
{
    if (!backup_may_cut(core, seq)) {
        return KVP_DIVERGED;
    }
    if (seq < core->durable.seq && core_keep_waits(core) && !KVP_MUTANT(LOST_UNSEEN)) {
        KVP_MARK(CUT_WAITS);
        core_look_soon(core);
        return KVP_BUSY;
    }
    return KVP_OK;
}

/* Takes one entry: known already, new, or in the place of one that never was committed. */
static kvp_status backup_take_entry(struct kvp_core *core, const struct kvp_peer_request *request,
                                    struct kvp_entry *entry)
{
    struct kvp_point ours;
    uint64_t seq = entry->point.seq;
    if (seq <= core->log.tail.seq) {
        if (!kvp_core_log_point(&core->log, seq, &ours)) {
            return KVP_OK; /* below what is kept in memory: applied, hence committed */
        }
        if (kvp_point_equal(ours, entry->point)) {
            backup_compared(core, seq);
            return KVP_OK;
        }
        kvp_status status = backup_judge_cut(core, seq - 1);
        if (status != KVP_OK || ours.epoch >= request->lead_epoch) {
            return status != KVP_OK ? status : KVP_DIVERGED;
        }
        backup_cut(core, seq - 1);
    }
    return kvp_core_log_append(&core->log, entry, false);
}

static kvp_status backup_take_entries(struct kvp_core *core, const struct kvp_peer_request *request)
{
    struct kvp_point ours;
    if (request->prev.seq > core->log.tail.seq) {
        KVP_MARK(APPEND_GAP);
        return KVP_NOT_FOUND; /* a gap: the primary goes by our report */
    }
    if (kvp_core_log_point(&core->log, request->prev.seq, &ours)) {
        if (!kvp_point_equal(ours, request->prev) && !KVP_MUTANT(ACCEPT_MISMATCH)) {
            return KVP_NOT_FOUND;
        }
        backup_compared(core, request->prev.seq);
    } else if (request->prev.seq > core->commit || core_parted(core)) {
        return KVP_NOT_FOUND;
    }
    for (size_t i = 0; i < request->entry_count; i++) {
        kvp_status status = backup_take_entry(core, request, request->entries[i]);
        if (status != KVP_OK) {
            return status;
        }
    }
    /* The primary's log ended here when it sent this, and what it has made since is of its own
     * epochs: an older suffix of ours is not in it. */
    bool older = core->log.tail.epoch < request->lead_epoch || KVP_MUTANT(CUT_TOO_FAR);
    if (core->log.tail.seq > request->end && older) {
        kvp_status status = backup_judge_cut(core, request->end);
        if (status != KVP_OK) {
            return status;
        }
        backup_cut(core, request->end);
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
    assert(kept <= core->waiter_count);
    core->waiter_count = kept;
}

void core_follow_append(struct kvp_core *core, const struct kvp_peer_request *request, void *token)
{
    assert(core->waiter_count <= KVP_CORE_WAITERS);
    if (!backup_from_primary(core, request) || core->replacing) {
        core_answer(core, token, request->op, request->sent_us,
                    core->replacing ? KVP_BUSY : KVP_STALE_VIEW);
        return;
    }
    backup_heard(core);
    core_incoming_abort(core);
    uint64_t first = request->prev.seq;
    uint64_t last = first + request->entry_count;
    kvp_status status = backup_take_entries(core, request);
    if (status == KVP_NO_MEMORY) {
        core_failed(core);
    }
    if (status != KVP_OK) {
        core_answer(core, token, request->op, request->sent_us, status);
        return;
    }
    backup_learn_commit(core, request->commit.seq, last);
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

void core_quarantine(struct kvp_core *core)
{
    assert(!core->replacing && !core_leading(core));
    uint64_t lost = core_parted(core) ? core->log.tail.seq - core->meta.unreplicated_from + 1 : 1;
    bool counted = core_parted(core) || core->meta.member_epoch != 0;
    if (core_keep_refused(core)) {
        return;
    }
    if (!core->quarantine_full) {
        core_note(core, KVP_NOTE_DIVERGED, lost);
    }
    core_incoming_abort(core);
    core_answer_waiters(core, true);
    KVP_MARK(QUARANTINE);
    core_replace_begin(core, lost);
    core->next_keep = counted ? KVP_KEEP : KVP_KEEP_SPARE;
    core_disk_asked(core, CORE_DISK_STORE);
    core->port.quarantine(core->port.arg, &core->next_meta, core->next_keep);
}

void core_quarantine_done(struct kvp_core *core, kvp_status status)
{
    core_disk_answered(core, CORE_DISK_STORE);
    if (core->role == KVP_ROLE_FAILED) {
        return;
    }
    if (status == KVP_BUSY) {
        /* A snapshot was just being opened; its closing is under way. */
        core_disk_asked(core, CORE_DISK_STORE);
        core->port.quarantine(core->port.arg, &core->next_meta, core->next_keep);
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
