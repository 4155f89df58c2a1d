/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Work for the disk: what the replication core asks of the storage, as jobs that can be carried to
 * other threads (node_disk.c) or be delayed (a simulator), run there, and carried back. There are
 * two queues: one has all that changes the store or looks at its log, the other the snapshots that
 * are being sent (kvp_disk_sends()). Within each, jobs are run one after the other in the order in
 * which they were made; nothing is promised about the order of a job of one and a job of the other.
 */
#ifndef KVP_DISK_H
#define KVP_DISK_H

#include "kvstore/base/mutant.h"
#include "kvstore/storage.h"

enum kvp_disk_op {
    KVP_DISK_WRITE,
    KVP_DISK_READ_LOG,
    KVP_DISK_READ_WATCHED, /* the same, for those who watch keys */
    KVP_DISK_SNAPSHOT_OPEN,
    KVP_DISK_SNAPSHOT_READ,
    KVP_DISK_SNAPSHOT_CLOSE,
    KVP_DISK_INCOMING_BEGIN,
    KVP_DISK_INCOMING_WRITE,
    KVP_DISK_INCOMING_FINISH,
    KVP_DISK_INCOMING_ABORT,
    KVP_DISK_QUARANTINE,
};

/* A chunk of a snapshot takes as long to read as several writes, and nothing in the store waits for
 * it. */
static inline bool kvp_disk_sends(enum kvp_disk_op op)
{
    if (KVP_MUTANT(QUEUE_CROSSED) && op == KVP_DISK_INCOMING_FINISH) {
        return true;
    }
    return op == KVP_DISK_SNAPSHOT_OPEN || op == KVP_DISK_SNAPSHOT_READ ||
           op == KVP_DISK_SNAPSHOT_CLOSE;
}

struct kvp_disk_job {
    struct kvp_disk_job *next; /* for the queue of whoever holds it */
    enum kvp_disk_op op;
    uint8_t peer;
    kvp_status status;              /* result */
    struct kvp_storage_write write; /* WRITE: its arrays are in `entries`, its meta is `meta` */
    struct kvp_meta meta;
    uint64_t from; /* READ_LOG, READ_WATCHED */
    size_t size_max, count_max;
    struct kvp_point point; /* INCOMING_FINISH; SNAPSHOT_OPEN: result */
    kvp_buf chunk;          /* INCOMING_WRITE; SNAPSHOT_READ: result */
    bool last;              /* SNAPSHOT_READ: result */
    bool members;           /* WRITE: result: a list of members is among what it applied */
    enum kvp_keep keep;     /* INCOMING_FINISH, QUARANTINE: of the store that goes */
    struct kvp_quarantined quarantined; /* INCOMING_FINISH, QUARANTINE: result */
    size_t entry_count;
    struct kvp_entry *entries[]; /* owned, with a reference each; of reading: result */
};

/* A job with room for `entry_max` entries; NULL when memory is short. */
struct kvp_disk_job *kvp_disk_job_new(enum kvp_disk_op op, uint8_t peer, size_t entry_max);
void kvp_disk_job_free(struct kvp_disk_job *job); /* NULL is fine */

/* Where jobs run: a storage (borrowed) and the snapshots that are being sent. One thread at a time
 * for each of the two queues. */
struct kvp_disk {
    struct kvp_storage *storage;
    struct kvp_state_view *views[KVP_NODE_ID_MAX + 1]; /* by peer */
    size_t chunk_size;                                 /* of a snapshot, about; 0: KVP_CHUNK_SIZE */
};

void kvp_disk_run(struct kvp_disk *disk, struct kvp_disk_job *job);
/* Closes the snapshots. */
void kvp_disk_close(struct kvp_disk *disk);

#endif
