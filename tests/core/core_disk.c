/* SPDX-License-Identifier: Apache-2.0 */
#include "core_disk.h"

#include <stdlib.h>
#include <string.h>

enum job_kind {
    JOB_WRITE,
    JOB_READ_LOG,
    JOB_OPEN,
    JOB_READ,
    JOB_CLOSE,
    JOB_BEGIN,
    JOB_INCOMING,
    JOB_FINISH,
    JOB_ABORT,
    JOB_QUARANTINE,
};

struct disk_job {
    struct disk_job *next;
    enum job_kind kind;
    unsigned peer;
    uint64_t from; /* READ_LOG */
    size_t size_max, count_max;
    bool truncate, has_meta; /* WRITE */
    uint64_t truncate_after, trim_to;
    struct kvp_entry **entries;
    size_t count, apply_count;
    struct kvp_point apply_last, point;
    struct kvp_meta meta;
    enum kvp_keep keep;
    uint64_t chunk[2];
    bool chunk_sound;
};

static void job_free(struct disk_job *job)
{
    for (size_t i = 0; i < job->count; i++) {
        kvp_entry_unref(job->entries[i]);
    }
    free(job->entries);
    free(job);
}

static void disk_next(struct node *node)
{
    if (!node->disk_busy && node->jobs != NULL) {
        node->disk_busy = true;
        world_disk_event(node);
    }
}

static struct disk_job *job_new(struct node *node, enum job_kind kind, unsigned peer)
{
    struct disk_job *job = world_must(calloc(1, sizeof(*job)));
    job->kind = kind;
    job->peer = peer;
    if (node->jobs != NULL) {
        node->jobs_last->next = job;
    } else {
        node->jobs = job;
    }
    node->jobs_last = job;
    disk_next(node);
    return job;
}

static void port_write(void *arg, const struct kvp_storage_write *write)
{
    struct disk_job *job = job_new(arg, JOB_WRITE, 0);
    assert_true(write->sync || (!write->truncate && !write->append_count && write->meta == NULL));
    job->truncate = write->truncate;
    job->truncate_after = write->truncate_after;
    job->trim_to = write->trim_to;
    job->count = write->append_count;
    job->entries = world_must(calloc(job->count + 1, sizeof(struct kvp_entry *)));
    for (size_t i = 0; i < job->count; i++) {
        job->entries[i] = kvp_entry_ref(write->append[i]);
    }
    job->apply_count = write->apply_count;
    if (write->apply_count > 0) {
        job->apply_last = write->apply[write->apply_count - 1]->point;
    }
    job->has_meta = write->meta != NULL;
    if (write->meta != NULL) {
        job->meta = *write->meta;
    }
}

static void port_read_log(void *arg, uint8_t peer, uint64_t from, size_t size_max, size_t count_max)
{
    struct disk_job *job = job_new(arg, JOB_READ_LOG, peer);
    job->from = from;
    job->size_max = size_max;
    job->count_max = count_max;
}

static void port_snapshot_open(void *arg, uint8_t peer)
{
    job_new(arg, JOB_OPEN, peer);
}

static void port_snapshot_read(void *arg, uint8_t peer)
{
    job_new(arg, JOB_READ, peer);
}

static void port_snapshot_close(void *arg, uint8_t peer)
{
    job_new(arg, JOB_CLOSE, peer);
}

static void port_incoming_begin(void *arg)
{
    job_new(arg, JOB_BEGIN, 0);
}

/* A chunk is {its number, hash of the point of the snapshot}. */
static void port_incoming_write(void *arg, kvp_slice chunk)
{
    struct disk_job *job = job_new(arg, JOB_INCOMING, 0);
    job->chunk_sound = chunk.size == sizeof(job->chunk);
    if (job->chunk_sound) {
        memcpy(job->chunk, chunk.data, sizeof(job->chunk));
    }
}

static void port_incoming_finish(void *arg, struct kvp_point point, const struct kvp_meta *meta,
                                 enum kvp_keep keep)
{
    struct disk_job *job = job_new(arg, JOB_FINISH, 0);
    job->point = point;
    job->meta = *meta;
    job->keep = keep;
}

static void port_incoming_abort(void *arg)
{
    job_new(arg, JOB_ABORT, 0);
}

static void port_quarantine(void *arg, const struct kvp_meta *meta, enum kvp_keep keep)
{
    struct disk_job *job = job_new(arg, JOB_QUARANTINE, 0);
    job->meta = *meta;
    job->keep = keep;
}

static uint64_t log_count(const struct disk *disk)
{
    return disk->tail.seq + 1 - disk->first;
}

void disk_clear(struct disk *disk, struct kvp_point point)
{
    for (uint64_t i = log_count(disk); i > 0; i--) {
        kvp_entry_unref(disk->log[i - 1]);
    }
    disk->tail = disk->applied = point;
    disk->first = point.seq + 1;
}

/* Entries that were applied, hence committed, are never cut. */
static void log_cut(struct disk *disk, uint64_t after)
{
    while (disk->tail.seq > after) {
        assert_true(disk->tail.seq > disk->applied.seq);
        uint64_t count = log_count(disk);
        kvp_entry_unref(disk->log[count - 1]);
        disk->tail = count > 1 ? disk->log[count - 2]->point : disk->applied;
    }
    assert_true(disk->tail.seq == after);
}

static void log_add(struct disk *disk, struct kvp_entry *entry)
{
    uint64_t count = log_count(disk);
    kvp_slice payload = kvp_slice_of(entry->payload, entry->size);
    assert_true(entry->point.seq == disk->tail.seq + 1);
    assert_true(entry->point.hash ==
                kvp_chain_hash(disk->tail.hash, entry->point.seq, entry->point.epoch, payload));
    if (count == disk->capacity) {
        disk->capacity = disk->capacity * 2 + 64;
        disk->log = world_must(realloc(disk->log, disk->capacity * sizeof(struct kvp_entry *)));
    }
    disk->log[count] = kvp_entry_ref(entry);
    disk->tail = entry->point;
}

static void log_trim(struct disk *disk, uint64_t to)
{
    assert_true(to <= disk->applied.seq);
    while (disk->first <= to) {
        kvp_entry_unref(disk->log[0]);
        disk->first++;
        memmove(disk->log, disk->log + 1, log_count(disk) * sizeof(struct kvp_entry *));
    }
}

bool disk_point(const struct disk *disk, uint64_t seq, struct kvp_point *point)
{
    if (seq >= disk->first && seq <= disk->tail.seq) {
        *point = disk->log[seq - disk->first]->point;
        return true;
    }
    return false;
}

static void run_write(struct node *node, const struct disk_job *job)
{
    struct disk *disk = &node->disk;
    struct kvp_point point;
    if (job->truncate) {
        log_cut(disk, job->truncate_after);
        world_log(node, 0, DID_CUT, 0, job->truncate_after);
    }
    for (size_t i = 0; i < job->count; i++) {
        log_add(disk, job->entries[i]);
    }
    if (job->apply_count > 0) {
        assert_true(job->apply_last.seq == disk->applied.seq + job->apply_count);
        assert_true(disk_point(disk, job->apply_last.seq, &point));
        assert_true(kvp_point_equal(point, job->apply_last));
        disk->applied = point;
    }
    if (job->trim_to) {
        log_trim(disk, job->trim_to);
    }
    if (job->has_meta) {
        disk->meta = job->meta;
    }
}

static void run_read_log(struct node *node, const struct disk_job *job)
{
    static struct kvp_entry *entries[4096];
    const struct disk *disk = &node->disk;
    size_t count = 0, size = 0;
    kvp_status status = node->disk_status;
    for (uint64_t seq = job->from; seq >= disk->first && seq <= disk->tail.seq; seq++) {
        struct kvp_entry *entry = disk->log[seq - disk->first];
        if (count == job->count_max || (count > 0 && size + entry->size > job->size_max)) {
            break;
        }
        entries[count++] = entry;
        size += entry->size;
    }
    if (status == KVP_OK && count == 0) {
        status = KVP_NOT_FOUND;
    }
    kvp_core_read_log_done(node->core, node->world->now_us, (uint8_t)job->peer, status, entries,
                           status == KVP_OK ? count : 0);
}

static void run_sending(struct node *node, const struct disk_job *job)
{
    struct world *world = node->world;
    unsigned peer = job->peer;
    if (job->kind == JOB_OPEN) {
        node->is_open[peer] = node->disk_status == KVP_OK;
        node->open[peer] = node->disk.applied;
        node->chunk[peer] = 0;
        kvp_core_snapshot_opened(node->core, world->now_us, (uint8_t)peer, node->disk_status,
                                 node->disk.applied);
        return;
    }
    assert_true(node->is_open[peer]);
    if (job->kind == JOB_CLOSE) {
        node->is_open[peer] = false;
        return;
    }
    uint64_t chunk[2] = {node->chunk[peer], node->open[peer].hash};
    node->chunk[peer]++;
    kvp_core_snapshot_read_done(node->core, world->now_us, (uint8_t)peer, node->disk_status,
                                kvp_slice_of(chunk, sizeof(chunk)),
                                node->chunk[peer] == world->snapshot_chunks);
}

static bool any_open(const struct node *node)
{
    for (unsigned i = 0; i <= CORES; i++) {
        if (node->is_open[i]) {
            return true;
        }
    }
    return false;
}

static kvp_status replaceable(const struct node *node, enum kvp_keep keep)
{
    if (any_open(node)) {
        return KVP_BUSY;
    }
    return node->quarantine_full && keep != KVP_KEEP_NOT ? KVP_REFUSED : KVP_OK;
}

static kvp_status take_chunk(struct node *node, const struct disk_job *job)
{
    if (!job->chunk_sound || node->chunk_status != KVP_OK) {
        return job->chunk_sound ? node->chunk_status : KVP_BAD_REQUEST;
    }
    if (!node->world->hostile) {
        assert_true(job->chunk[0] == node->incoming_count);
        assert_true(node->incoming_count == 0 || node->incoming_hash == job->chunk[1]);
    }
    node->incoming_hash = job->chunk[1];
    node->incoming_count++;
    return KVP_OK;
}

static void run_receiving(struct node *node, const struct disk_job *job)
{
    kvp_status status = node->disk_status;
    if (job->kind == JOB_BEGIN || job->kind == JOB_ABORT) {
        node->incoming_count = 0;
    }
    if (job->kind == JOB_ABORT) {
        return;
    }
    if (status == KVP_OK && job->kind == JOB_INCOMING) {
        status = take_chunk(node, job);
    }
    if (status == KVP_OK && job->kind == JOB_FINISH) {
        status = replaceable(node, job->keep);
    }
    if (status == KVP_OK && job->kind == JOB_FINISH) {
        if (!node->world->hostile) {
            assert_true(node->incoming_count == node->world->snapshot_chunks);
            assert_true(node->incoming_hash == job->point.hash);
        }
        world_log(node, 0, DID_REPLACE, (int)job->keep, node->disk.tail.seq);
        disk_clear(&node->disk, job->point);
        node->disk.meta = job->meta;
    }
    kvp_core_incoming_done(node->core, node->world->now_us, status);
}

static void run_quarantine(struct node *node, const struct disk_job *job)
{
    kvp_status status = node->disk_status;
    if (status == KVP_OK) {
        status = replaceable(node, job->keep);
    }
    if (status == KVP_OK) {
        world_log(node, 0, DID_QUARANTINE, (int)job->keep, node->disk.tail.seq);
        disk_clear(&node->disk, (struct kvp_point){0});
        node->disk.meta = job->meta;
        node->commit = 0;
    }
    kvp_core_quarantine_done(node->core, node->world->now_us, status);
}

void disk_run(struct node *node)
{
    struct disk_job *job = node->jobs;
    node->jobs = job->next;
    node->disk_busy = false;
    switch (job->kind) {
    case JOB_WRITE:
        if (node->disk_status == KVP_OK) {
            run_write(node, job);
        }
        kvp_core_write_done(node->core, node->world->now_us, node->disk_status);
        break;
    case JOB_READ_LOG:
        run_read_log(node, job);
        break;
    case JOB_OPEN:
    case JOB_READ:
    case JOB_CLOSE:
        run_sending(node, job);
        break;
    case JOB_QUARANTINE:
        run_quarantine(node, job);
        break;
    default:
        run_receiving(node, job);
        break;
    }
    job_free(job);
    disk_next(node);
}

unsigned world_jobs(const struct node *node)
{
    unsigned count = 0;
    for (const struct disk_job *job = node->jobs; job != NULL; job = job->next) {
        count++;
    }
    return count;
}

void disk_lose_after(struct node *node, uint64_t seq)
{
    struct disk *disk = &node->disk;
    struct kvp_point point = {0};
    assert_false(node->alive);
    assert_true(seq == 0 || disk_point(disk, seq, &point));
    if (disk->applied.seq > seq) {
        disk->applied = point;
    }
    log_cut(disk, seq);
    disk->meta.log_regressed = true;
}

void disk_blank(struct node *node)
{
    assert_false(node->alive);
    disk_clear(&node->disk, (struct kvp_point){0});
    memset(&node->disk.meta, 0, sizeof(node->disk.meta));
}

struct kvp_loaded disk_load(const struct disk *disk)
{
    struct kvp_loaded loaded = {
        .meta = disk->meta,
        .tail = disk->tail,
        .applied = disk->applied,
        .log_first = disk->first,
    };
    for (uint64_t i = 0; i < log_count(disk); i++) {
        loaded.log_size += kvp_entry_cost(disk->log[i]->size);
    }
    return loaded;
}

void disk_drop_jobs(struct node *node)
{
    while (node->jobs != NULL) {
        struct disk_job *job = node->jobs;
        node->jobs = job->next;
        job_free(job);
    }
    memset(node->is_open, 0, sizeof(node->is_open));
    node->disk_busy = false;
    node->incoming_count = 0;
}

void disk_port(struct kvp_core_port *port)
{
    port->write = port_write;
    port->read_log = port_read_log;
    port->snapshot_open = port_snapshot_open;
    port->snapshot_read = port_snapshot_read;
    port->snapshot_close = port_snapshot_close;
    port->incoming_begin = port_incoming_begin;
    port->incoming_write = port_incoming_write;
    port->incoming_finish = port_incoming_finish;
    port->incoming_abort = port_incoming_abort;
    port->quarantine = port_quarantine;
}
