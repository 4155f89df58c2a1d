/* SPDX-License-Identifier: Apache-2.0 */
/* Runs the disk's jobs. */
#include "replication/node/disk.h"

#include "kvstore/keyspace.h"
#include "kvstore/writeset.h"
#include "replication/wire/peer.h"

#include <stdlib.h>

struct kvp_disk_job *kvp_disk_job_new(enum kvp_disk_op op, uint8_t peer, size_t entry_max)
{
    struct kvp_disk_job *job = calloc(1, sizeof(*job) + entry_max * sizeof(job->entries[0]));
    if (job == NULL) {
        return NULL;
    }
    job->op = op;
    job->peer = peer;
    return job;
}

void kvp_disk_job_free(struct kvp_disk_job *job)
{
    if (job == NULL) {
        return;
    }
    for (size_t i = 0; i < job->entry_count; i++) {
        kvp_entry_unref(job->entries[i]);
    }
    kvp_buf_free(&job->chunk);
    free(job);
}

static void close_view(struct kvp_disk *disk, uint8_t peer)
{
    kvp_state_view_close(disk->views[peer]);
    disk->views[peer] = NULL;
}

static void open_view(struct kvp_disk *disk, struct kvp_disk_job *job)
{
    close_view(disk, job->peer);
    struct kvp_state_view *view = kvp_storage_snapshot(disk->storage);
    disk->views[job->peer] = view;
    job->status = view != NULL ? KVP_OK : KVP_NO_MEMORY;
    if (view != NULL) {
        job->point = kvp_state_view_point(view);
    }
}

static void read_view(struct kvp_disk *disk, struct kvp_disk_job *job)
{
    struct kvp_state_view *view = disk->views[job->peer];
    size_t size = disk->chunk_size != 0 ? disk->chunk_size : KVP_CHUNK_SIZE;
    job->status =
        view != NULL ? kvp_state_view_chunk(view, size, &job->chunk, &job->last) : KVP_NO_MEMORY;
}

/* Looked at here, where nobody waits for it. */
static bool disk_writes_members(const struct kvp_disk_job *job)
{
    struct kvp_writeset_iter iter;
    struct kvp_batch_op op;
    struct kvp_raw_key key;
    size_t first = KVP_MUTANT(MEMBER_UNCOMMITTED) ? 0 : job->write.append_count;
    kvp_raw_key_members(&key);
    for (size_t i = first; i < job->entry_count; i++) {
        kvp_writeset_begin(&iter, kvp_slice_of(job->entries[i]->payload, job->entries[i]->size));
        while (kvp_writeset_next(&iter, &op) == KVP_OK) {
            if (kvp_slice_compare(op.key, kvp_raw_key_slice(&key)) == 0) {
                return true;
            }
        }
    }
    return false;
}

void kvp_disk_run(struct kvp_disk *disk, struct kvp_disk_job *job)
{
    struct kvp_storage *storage = disk->storage;
    switch (job->op) {
    case KVP_DISK_WRITE:
        job->status = kvp_storage_write(storage, &job->write);
        job->members = job->status == KVP_OK && disk_writes_members(job);
        break;
    case KVP_DISK_READ_LOG:
    case KVP_DISK_READ_WATCHED:
        job->status = kvp_storage_read_log(storage, job->from, job->size_max, job->entries,
                                           job->count_max, &job->entry_count);
        break;
    case KVP_DISK_SNAPSHOT_OPEN:
        open_view(disk, job);
        break;
    case KVP_DISK_SNAPSHOT_READ:
        read_view(disk, job);
        break;
    case KVP_DISK_SNAPSHOT_CLOSE:
        close_view(disk, job->peer);
        break;
    case KVP_DISK_INCOMING_BEGIN:
        job->status = kvp_storage_incoming_begin(storage);
        break;
    case KVP_DISK_INCOMING_WRITE:
        job->status = kvp_storage_incoming_write(storage, kvp_buf_slice(&job->chunk));
        break;
    case KVP_DISK_INCOMING_FINISH:
        job->status = kvp_storage_incoming_finish(storage, job->point, &job->meta, job->keep,
                                                  &job->quarantined);
        break;
    case KVP_DISK_INCOMING_ABORT:
        kvp_storage_incoming_abort(storage);
        break;
    case KVP_DISK_QUARANTINE:
        job->status = kvp_storage_quarantine(storage, &job->meta, job->keep, &job->quarantined);
        break;
    }
}

void kvp_disk_close(struct kvp_disk *disk)
{
    for (unsigned i = 0; i <= KVP_NODE_ID_MAX; i++) {
        close_view(disk, (uint8_t)i);
    }
}
