/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bringing one peer up: find out where its log and ours part, send what it lacks, from memory, from
 * the log on disk, or as a snapshot when the log does not reach back far enough.
 */
#include "replication/core/core_state.h"

#include <assert.h>
#include <string.h>

#define SNAPSHOT_RESEND_US  2000000u
#define SNAPSHOT_GIVE_UP_US 10000000u
#define SNAPSHOT_REFUSED_US 10000000u

void core_probe_restart(struct kvp_core *core, struct core_peer *peer)
{
    assert(peer->id != core->config.self);
    peer->mode = PEER_PROBE;
    peer->probe_us = core->now_us;
    peer->flight_count = 0;
}

/* ---- where do the logs part? ---- */

enum comparison { MATCHES, DIFFERS, TOO_OLD, ON_DISK };

static enum comparison sync_compare(const struct kvp_core *core, struct kvp_point theirs)
{
    struct kvp_point ours;
    if (theirs.seq > core->log.tail.seq) {
        return DIFFERS;
    }
    if (theirs.seq == 0) {
        return core->log.disk_first == 1 ? MATCHES : TOO_OLD;
    }
    if (kvp_core_log_point(&core->log, theirs.seq, &ours)) {
        return kvp_point_equal(ours, theirs) || KVP_MUTANT(ACCEPT_MISMATCH) ? MATCHES : DIFFERS;
    }
    return theirs.seq >= core->log.disk_first ? ON_DISK : TOO_OLD;
}

static void sync_start_from(struct kvp_core *core, struct core_peer *peer, struct kvp_point point)
{
    assert(core_leading(core));
    assert(point.seq <= core->log.tail.seq);
    bool cut = peer->report.tail.seq > point.seq;
    peer->mode = PEER_REPLICATE;
    peer->diverged = false;
    peer->sent = point;
    peer->flight_count = 0;
    peer->position_us = cut ? UINT64_MAX : 0;
    /* Also downwards: what it had when it was last asked it may have lost since. */
    if (point.seq != peer->match) {
        peer->match = point.seq;
        peer->match_us = core->now_us;
    }
    core_pump(core, peer);
}

static void sync_start_snapshot(struct kvp_core *core, struct core_peer *peer)
{
    assert(core_leading(core));
    assert(peer->snapshot.id == 0 && !peer->snapshot.opening && !peer->snapshot.reading);
    core_note(core, KVP_NOTE_SNAPSHOT_SENDING, peer->id);
    peer->mode = PEER_SNAPSHOT;
    peer->diverged = false;
    peer->snapshot.id = 0;
    peer->snapshot.point = core->commit_point;
    peer->snapshot.opening = true;
    peer->snapshot.have_chunk = false;
    peer->snapshot.progress_us = core->now_us;
    core_disk_asked(core, CORE_DISK_SENDER);
    core->port.snapshot_open(core->port.arg, peer->id);
}

/* Our log does not reach back to where the peer's ends. Before an operator forced a view upon the
 * group it may have acknowledged what is not in it: then its store must not be replaced unseen
 * (R6).
 */
static bool sync_may_hold_more(const struct kvp_core *core, const struct core_peer *peer)
{
    struct kvp_point tail = peer->report.tail;
    return tail.seq > 0 && tail.epoch < core->meta.forced_epoch;
}

static void sync_look_up(struct kvp_core *core, struct core_peer *peer)
{
    assert(peer->check.seq >= core->log.disk_first);
    assert(peer->check.seq <= core->log.tail.seq);
    KVP_MARK(COMPARED_ON_DISK);
    peer->mode = PEER_CHECK;
    if (!peer->reading) {
        peer->reading = true;
        core_disk_asked(core, CORE_DISK_STORE);
        core->port.read_log(core->port.arg, peer->id, peer->check.seq, 1, 1);
    }
}

/*
 * What to do about a peer whose log was compared at peer->check: first at its tail and, if that is
 * not ours, at its commit point. Entries up to that point are in every primary's log, so a
 * difference there means that two histories have parted (R6), unless our log does not reach back so
 * far.
 */
static void sync_resolve(struct kvp_core *core, struct core_peer *peer, enum comparison result)
{
    assert(core_leading(core));
    if (result != MATCHES && result != ON_DISK && !peer->checking_commit) {
        peer->checking_commit = true; /* its tail is not ours; what it has committed ought to be */
        peer->check = peer->report.commit;
        result = sync_compare(core, peer->check);
    }
    if (result == ON_DISK) {
        sync_look_up(core, peer);
    } else if (result == MATCHES) {
        sync_start_from(core, peer, peer->check);
    } else if (result == DIFFERS || sync_may_hold_more(core, peer)) {
        KVP_MARK(DIVERGED_TOLD);
        peer->mode = PEER_PROBE;
        peer->diverged = true;
        peer->probe_us =
            core->now_us + 1; /* by the next heartbeat it knows, and quarantines its store */
    } else if (!peer->snapshot.opening && !peer->snapshot.reading) {
        sync_start_snapshot(core, peer);
    } else {
        KVP_MARK(SNAPSHOT_WAITS);
        core_probe_restart(core, peer); /* once the disk has done with the last one */
    }
}

void core_probe(struct kvp_core *core, struct core_peer *peer)
{
    peer->checking_commit = false;
    peer->check = peer->report.tail;
    sync_resolve(core, peer, sync_compare(core, peer->check));
}

/* ---- entries ---- */

static void sync_append_begin(struct kvp_core *core, struct core_peer *peer,
                              struct kvp_peer_request *request)
{
    assert(core_leading(core));
    assert(peer->mode == PEER_REPLICATE && peer->flight_count < KVP_CORE_FLIGHTS);
    core_send_head(core, request, KVP_OP_APPEND, peer->id);
    request->prev = peer->sent;
    request->commit = core->commit_point;
    request->lead_epoch = core->lead_epoch;
    request->end = core->log.tail.seq;
}

static void sync_append_send(struct kvp_core *core, struct core_peer *peer,
                             struct kvp_peer_request *request)
{
    if (request->entry_count > 0) {
        peer->sent = request->entries[request->entry_count - 1]->point;
    }
    unsigned slot = (peer->flight_first + peer->flight_count++) % KVP_CORE_FLIGHTS;
    assert(peer->flight_count <= KVP_CORE_FLIGHTS);
    assert(peer->sent.seq <= core->log.tail.seq);
    peer->flights[slot].last = peer->sent.seq;
    peer->flights[slot].sent_us = core->now_us;
    peer->commit_told = core->commit;
    core->port.send(core->port.arg, request);
}

void core_sync_log_read(struct kvp_core *core, struct core_peer *peer,
                        struct kvp_entry *const *entries, size_t count)
{
    assert(peer != NULL && peer->reading);
    peer->reading = false;
    if (!core_leading(core)) {
        return;
    }
    if (peer->mode == PEER_CHECK) {
        if (count == 0 || entries[0]->point.seq != peer->check.seq) {
            core_probe_restart(core, peer);
            return;
        }
        sync_resolve(core, peer,
                     kvp_point_equal(entries[0]->point, peer->check) ? MATCHES : DIFFERS);
        return;
    }
    if (peer->mode != PEER_REPLICATE) {
        return;
    }
    if (count == 0) {
        KVP_MARK(READ_TRIMMED);
        core_probe_restart(core, peer); /* trimmed meanwhile */
        return;
    }
    if (entries[0]->point.seq == peer->sent.seq + 1 && peer->link_up &&
        peer->flight_count < KVP_CORE_FLIGHTS) {
        struct kvp_peer_request request;
        sync_append_begin(core, peer, &request);
        memcpy(request.entries, entries, count * sizeof(request.entries[0]));
        request.entry_count = count;
        sync_append_send(core, peer, &request);
    }
    core_pump(core, peer);
}

static bool sync_gather_entries(struct kvp_core *core, uint64_t from,
                                struct kvp_peer_request *request)
{
    assert(request->entry_count == 0);
    assert(from > 0);
    uint64_t size = 0;
    for (uint64_t seq = from;
         seq <= core->log.tail.seq && request->entry_count < KVP_APPEND_COUNT_MAX; seq++) {
        struct kvp_entry *entry = kvp_core_log_get(&core->log, seq);
        if (entry == NULL) {
            return false;
        }
        if (request->entry_count > 0 && size + entry->size > KVP_APPEND_SIZE_MAX) {
            break;
        }
        size += entry->size;
        request->entries[request->entry_count++] = entry;
    }
    return true;
}

void core_pump(struct kvp_core *core, struct core_peer *peer)
{
    struct kvp_peer_request request;
    while (peer->mode == PEER_REPLICATE && peer->link_up && !peer->reading &&
           peer->flight_count < KVP_CORE_FLIGHTS) {
        bool cut = peer->position_us == UINT64_MAX && peer->flight_count == 0;
        if (peer->sent.seq >= core->log.tail.seq && !cut) {
            return;
        }
        sync_append_begin(core, peer, &request);
        if (!sync_gather_entries(core, peer->sent.seq + 1, &request)) {
            KVP_MARK(READ_FROM_DISK);
            peer->reading = true;
            core_disk_asked(core, CORE_DISK_STORE);
            core->port.read_log(core->port.arg, peer->id, peer->sent.seq + 1, KVP_APPEND_SIZE_MAX,
                                KVP_APPEND_COUNT_MAX);
            return;
        }
        sync_append_send(core, peer, &request);
    }
}

/* ---- snapshots: one chunk under way at a time, kept until the next one is wanted ---- */

void core_snapshot_end(struct kvp_core *core, struct core_peer *peer)
{
    if (peer->snapshot.id != 0) {
        core->port.snapshot_close(core->port.arg, peer->id);
        peer->snapshot.id = 0;
    }
    kvp_buf_free(&peer->snapshot.chunk);
    peer->snapshot.have_chunk = false;
}

static void sync_snapshot_restart(struct kvp_core *core, struct core_peer *peer)
{
    core_snapshot_end(core, peer);
    core_probe_restart(core, peer);
}

static void sync_read_chunk(struct kvp_core *core, struct core_peer *peer)
{
    assert(peer->mode == PEER_SNAPSHOT);
    assert(peer->snapshot.id != 0 && !peer->snapshot.reading);
    peer->snapshot.have_chunk = false;
    peer->snapshot.reading = true;
    core_disk_asked(core, CORE_DISK_SENDER);
    core->port.snapshot_read(core->port.arg, peer->id);
}

static void sync_send_chunk(struct kvp_core *core, struct core_peer *peer)
{
    assert(peer->snapshot.id != 0 && peer->snapshot.have_chunk);
    struct kvp_peer_request request;
    core_send_head(core, &request, KVP_OP_SNAPSHOT, peer->id);
    request.snapshot = peer->snapshot.id;
    request.index = peer->snapshot.index;
    request.last = peer->snapshot.last;
    request.point = peer->snapshot.point;
    request.chunk = kvp_buf_slice(&peer->snapshot.chunk);
    peer->snapshot.sent_us = core->now_us;
    core->port.send(core->port.arg, &request);
}

void core_snapshot_opened(struct kvp_core *core, uint8_t id, kvp_status status,
                          struct kvp_point point)
{
    struct core_peer *peer = core_peer(core, id);
    assert(peer != NULL && peer->snapshot.opening);
    core_disk_answered(core, CORE_DISK_SENDER);
    peer->snapshot.opening = false;
    if (status != KVP_OK) {
        if (peer->mode == PEER_SNAPSHOT) {
            core_probe_restart(core, peer);
        }
        return;
    }
    peer->snapshot.id = core_random(core);
    peer->snapshot.point = KVP_MUTANT(SNAPSHOT_AHEAD) ? core->commit_point : point;
    peer->snapshot.index = 0;
    if (!core_leading(core) || peer->mode != PEER_SNAPSHOT) {
        KVP_MARK(SNAPSHOT_UNWANTED);
        core_snapshot_end(core, peer);
        return;
    }
    sync_read_chunk(core, peer);
}

void core_snapshot_read(struct kvp_core *core, uint8_t id, kvp_status status, kvp_slice chunk,
                        bool last)
{
    struct core_peer *peer = core_peer(core, id);
    assert(peer != NULL && peer->snapshot.reading);
    core_disk_answered(core, CORE_DISK_SENDER);
    peer->snapshot.reading = false;
    if (core->role == KVP_ROLE_FAILED || peer->mode != PEER_SNAPSHOT || peer->snapshot.id == 0) {
        return;
    }
    peer->snapshot.chunk.size = 0;
    if (status == KVP_OK) {
        status = kvp_buf_append(&peer->snapshot.chunk, chunk.data, chunk.size);
    }
    if (status == KVP_NO_MEMORY) {
        sync_snapshot_restart(core, peer);
        return;
    }
    if (status != KVP_OK) {
        core_failed(core);
        return;
    }
    peer->snapshot.have_chunk = true;
    peer->snapshot.last = last;
    sync_send_chunk(core, peer);
}

void core_snapshot_reply(struct kvp_core *core, struct core_peer *peer,
                         const struct kvp_peer_reply *reply)
{
    const struct kvp_peer_report *report = &reply->report;
    if (peer->snapshot.id == 0 || !peer->snapshot.have_chunk) {
        return;
    }
    if (reply->op == KVP_OP_SNAPSHOT && reply->code == KVP_REFUSED) {
        sync_snapshot_restart(core, peer);
        peer->probe_us = core->now_us + SNAPSHOT_REFUSED_US; /* it has no room for what it has */
        return;
    }
    if (kvp_point_equal(report->tail, peer->snapshot.point) && peer->snapshot.last) {
        sync_snapshot_restart(core, peer); /* it has it all */
        return;
    }
    if (report->snapshot == peer->snapshot.id && report->wanted == peer->snapshot.index + 1 &&
        !peer->snapshot.last) {
        peer->snapshot.index++;
        peer->snapshot.progress_us = core->now_us;
        sync_read_chunk(core, peer);
        return;
    }
    bool begun = peer->snapshot.index > 0;
    if (begun && report->snapshot != peer->snapshot.id &&
        reply->echo_us > peer->snapshot.progress_us) {
        KVP_MARK(SNAPSHOT_RESTARTED);
        sync_snapshot_restart(core, peer); /* it was started anew and has nothing */
    }
}

void core_snapshot_tick(struct kvp_core *core, struct core_peer *peer)
{
    if (peer->mode != PEER_SNAPSHOT || peer->snapshot.id == 0) {
        return;
    }
    uint64_t heard =
        peer->heard_us > peer->snapshot.progress_us ? peer->heard_us : peer->snapshot.progress_us;
    if (core->now_us - heard > SNAPSHOT_GIVE_UP_US) {
        KVP_MARK(SNAPSHOT_GIVEN_UP);
        sync_snapshot_restart(core, peer); /* let the log be trimmed and the disk space go */
    } else if (peer->snapshot.have_chunk && peer->link_up &&
               core->now_us - peer->snapshot.sent_us > SNAPSHOT_RESEND_US) {
        KVP_MARK(SNAPSHOT_RESENT);
        sync_send_chunk(core, peer);
    }
}
