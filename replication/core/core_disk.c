/* SPDX-License-Identifier: Apache-2.0 */
/*
 * This node's own disk: how long it has owed an answer. A disk that fails says so; one that hangs
 * says nothing. What the disk answers later is an answer like others.
 */
#include "replication/core/core_state.h"

#include <assert.h>

void core_disk_asked(struct kvp_core *core, enum core_disk_queue queue)
{
    assert(queue < CORE_DISK_QUEUES);
    if (core->disk[queue].jobs++ == 0) {
        core->disk[queue].since_us = core->now_us;
    }
}

/* Jobs of a queue run one after the other: the next one is under way since now. */
void core_disk_answered(struct kvp_core *core, enum core_disk_queue queue)
{
    assert(queue < CORE_DISK_QUEUES);
    core->disk[queue].since_us = core->now_us;
    if (core->disk[queue].jobs > 0) {
        core->disk[queue].jobs--;
    }
}

static uint64_t disk_silence(const struct kvp_core *core, enum core_disk_queue queue,
                             uint64_t now_us)
{
    assert(queue < CORE_DISK_QUEUES);
    bool owes = core->disk[queue].jobs > 0 && now_us > core->disk[queue].since_us;
    return owes ? now_us - core->disk[queue].since_us : 0;
}

uint64_t core_disk_silence(const struct kvp_core *core, uint64_t now_us)
{
    uint64_t store = disk_silence(core, CORE_DISK_STORE, now_us);
    uint64_t sender = disk_silence(core, CORE_DISK_SENDER, now_us);
    return store > sender ? store : sender;
}

bool core_disk_hangs(const struct kvp_core *core, uint64_t now_us)
{
    return disk_silence(core, CORE_DISK_STORE, now_us) > core->config.sync_timeout_us;
}

/* Long enough under way that nothing should be begun that needs the disk and cannot be taken back.
 */
bool core_disk_is_suspect(const struct kvp_core *core)
{
    return disk_silence(core, CORE_DISK_STORE, core->now_us) > core->config.lease_us;
}

/* Said when it is known, and again each time that it has lasted twice as long. */
void core_disk_note(struct kvp_core *core)
{
    uint64_t silent_us = core_disk_silence(core, core->now_us);
    if (core->disk_noted_us != 0 && silent_us < core->disk_noted_us) {
        KVP_MARK(DISK_ANSWERS);
        core->disk_noted_us = 0;
        core_note(core, KVP_NOTE_DISK_ANSWERS, 0);
    }
    uint64_t due_us = core->disk_noted_us ? 2 * core->disk_noted_us : core->config.sync_timeout_us;
    if (silent_us > due_us) {
        KVP_MARK(DISK_SILENT);
        core->disk_noted_us = silent_us;
        core_note(core, KVP_NOTE_DISK_SILENT, silent_us / 1000);
    }
}
