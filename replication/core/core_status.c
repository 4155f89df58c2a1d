/* SPDX-License-Identifier: Apache-2.0 */
/* What the core looks like from outside: names, questions that change nothing, and its status. */
#include "replication/core/core_state.h"

#include <string.h>

const char *kvp_note_name(enum kvp_note note)
{
    static const char *const names[] = {
        [KVP_NOTE_GROUP_CREATED] = "group_created",
        [KVP_NOTE_WRONG_GROUP] = "wrong_group",
        [KVP_NOTE_BLANK_BUT_KNOWN] = "blank_but_group_known",
        [KVP_NOTE_ARBITER_UNKNOWN] = "arbiter_not_seeded",
        [KVP_NOTE_ARBITER_SILENT] = "arbiter_silent",
        [KVP_NOTE_ARBITER_FOREIGN] = "arbiter_other_group",
        [KVP_NOTE_ARBITER_OLDER] = "arbiter_went_back",
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
        [KVP_NOTE_PEER_UNKNOWN] = "peer_unknown",
        [KVP_NOTE_VIEW_TAKEN_BACK] = "view_taken_back",
        [KVP_NOTE_PEER_LEAVES] = "peer_leaves",
    };
    return (size_t)note < sizeof(names) / sizeof(names[0]) ? names[note] : "unknown";
}

enum kvp_role kvp_core_role(const struct kvp_core *core)
{
    return core->role;
}

bool kvp_core_serving(const struct kvp_core *core, uint64_t now_us)
{
    return core_serving(core, now_us);
}

bool kvp_core_accepting(const struct kvp_core *core, uint64_t now_us)
{
    return !kvp_core_holds_back(core, now_us) && kvp_core_serving(core, now_us);
}

bool kvp_core_holds_back(const struct kvp_core *core, uint64_t now_us)
{
    return core->draining || core_disk_hangs(core, now_us);
}

bool kvp_core_disk_hangs(const struct kvp_core *core, uint64_t now_us)
{
    return core_disk_hangs(core, now_us);
}

uint64_t kvp_core_next_seq(const struct kvp_core *core)
{
    return core->log.tail.seq + 1;
}

struct kvp_entry *kvp_core_entry(const struct kvp_core *core, uint64_t seq)
{
    return kvp_core_log_get(&core->log, seq);
}

uint64_t kvp_core_oldest(const struct kvp_core *core)
{
    const struct kvp_core_log *log = &core->log;
    return log->first < log->disk_first ? log->first : log->disk_first;
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
    status->commit_heard_us = core->commit_heard_us;
    status->commit_age_us = kvp_core_serving(core, now_us) ? 0 : now_us - core->commit_heard_us;
    status->disk_silent_us = core_disk_silence(core, now_us);
    status->log_size = core->log.disk_size;
    status->followed = core->followed;
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
            .commit = peer->report.commit.seq,
            .lag_size = core_leading(core) ? kvp_core_log_size_after(&core->log, peer->match) : 0,
            .heard_us = peer->last_contact_us,
            .blank = peer->blank_seen,
            .twice = peer->copy_seen_us != 0 && now_us - peer->copy_seen_us < KVP_COPY_SHOWN_US,
        };
    }
}
