/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The disk threads: they run the storage's jobs, so that the loop never waits for the disk. One has
 * all that changes the store or looks at the log, in the order of the jobs. The other has the
 * snapshots that are being sent: a chunk takes as long to read as several writes, and nothing in
 * the store waits for it.
 */
#include "replication/node/node_state.h"

#include <sys/statvfs.h>

#define SILENT_US        500000u
#define MEASURE_EVERY_US 5000000u
#define MEASURE_SHARE    1000u /* of its time is what measuring may take */

/* Idle for `until_us` it gives no job, and *idle is set; 0: it waits for ever. */
static struct kvp_disk_job *next_job(struct node_disk *disk, uint64_t until_us, bool *idle)
{
    pthread_mutex_lock(&disk->mutex);
    *idle = false;
    while (disk->first == NULL && !disk->quit && !*idle) {
        if (until_us == 0) {
            pthread_cond_wait(&disk->wake, &disk->mutex);
        } else {
            *idle = !node_wait_until(&disk->wake, &disk->mutex, until_us);
        }
    }
    *idle = *idle && disk->first == NULL && !disk->quit;
    struct kvp_disk_job *job = disk->quit ? NULL : disk->first;
    if (job != NULL) {
        disk->first = job->next;
        if (disk->first == NULL) {
            disk->last = NULL;
        }
    }
    pthread_mutex_unlock(&disk->mutex);
    return job;
}

/* How much there is, and how much room: looked at rarely, for it costs a look at each file. The
 * writer's, whose the storage is. Returns when to look again. */
static uint64_t disk_measure(struct kvp_node *node)
{
    uint64_t since_us = kvp_clock_now_us(), size = 0;
    struct statvfs room;
    atomic_store(&node->writer.busy_us, since_us);
    if (kvp_storage_size(node->storage, &size) == KVP_OK) {
        node_count_set(&node->store_size, size);
    }
    if (statvfs(node->data_dir, &room) == 0) {
        node_count_set(&node->disk_free, (uint64_t)room.f_bavail * room.f_frsize);
        node_count_set(&node->disk_size, (uint64_t)room.f_blocks * room.f_frsize);
    }
    atomic_store(&node->writer.busy_us, 0);
    uint64_t now_us = kvp_clock_now_us();
    return now_us + MEASURE_EVERY_US + (now_us - since_us) * MEASURE_SHARE;
}

static void disk_run_job(struct node_disk *disk, struct kvp_disk_job *job)
{
    struct kvp_node *node = disk->node;
    uint64_t since_us = kvp_clock_now_us();
    bool writes = job->op == KVP_DISK_WRITE;
    struct kvp_syncs before = writes ? kvp_storage_syncs(node->storage) : (struct kvp_syncs){0};
    atomic_store(&disk->busy_us, since_us);
    kvp_disk_run(&node->disk, job);
    atomic_store(&disk->busy_us, 0);
    if (writes) {
        struct kvp_syncs after = kvp_storage_syncs(node->storage);
        node_times_add(&node->writes, kvp_clock_now_us() - since_us);
        if (after.count > before.count) {
            uint64_t took_us = after.time_us - before.time_us;
            uint64_t usual_us = node_count_read(&node->fsync_us);
            node_times_add(&node->syncs, took_us);
            node_count_set(&node->fsync_us, usual_us == 0 ? took_us : (7 * usual_us + took_us) / 8);
        }
    }
}

static void *node_disk_run(void *arg)
{
    struct node_disk *disk = arg;
    bool writer = disk == &disk->node->writer, idle;
    uint64_t measure_us = writer ? disk_measure(disk->node) : 0;
    struct kvp_disk_job *job;
    while ((job = next_job(disk, measure_us, &idle)) != NULL || idle) {
        if (job != NULL) {
            disk_run_job(disk, job);
            node_post_done(disk->node, job);
        }
        if (writer && kvp_clock_now_us() >= measure_us) {
            measure_us = disk_measure(disk->node);
        }
    }
    return NULL;
}

static kvp_status disk_start(struct kvp_node *node, struct node_disk *disk)
{
    disk->node = node;
    if (pthread_create(&disk->thread, NULL, node_disk_run, disk) != 0) {
        return KVP_NO_MEMORY;
    }
    disk->running = true;
    return KVP_OK;
}

kvp_status node_disk_start(struct kvp_node *node)
{
    node->disk.storage = node->storage;
    kvp_status status = disk_start(node, &node->writer);
    return status == KVP_OK ? disk_start(node, &node->sender) : status;
}

void node_disk_submit(struct kvp_node *node, struct kvp_disk_job *job)
{
    struct node_disk *disk = kvp_disk_sends(job->op) ? &node->sender : &node->writer;
    job->next = NULL;
    pthread_mutex_lock(&disk->mutex);
    if (disk->last != NULL) {
        disk->last->next = job;
    } else {
        disk->first = job;
    }
    disk->last = job;
    pthread_mutex_unlock(&disk->mutex);
    pthread_cond_signal(&disk->wake);
}

static bool silent(const struct node_disk *disk)
{
    uint64_t busy_us = atomic_load(&disk->busy_us);
    return busy_us != 0 && kvp_clock_now_us() - busy_us > SILENT_US;
}

bool node_disk_silent(const struct kvp_node *node)
{
    return silent(&node->writer) || silent(&node->sender);
}

static void disk_stop(struct node_disk *disk)
{
    if (disk->running) {
        pthread_mutex_lock(&disk->mutex);
        disk->quit = true;
        pthread_cond_signal(&disk->wake);
        pthread_mutex_unlock(&disk->mutex);
        pthread_join(disk->thread, NULL);
        disk->running = false;
    }
    while (disk->first != NULL) {
        struct kvp_disk_job *job = disk->first;
        disk->first = job->next;
        kvp_disk_job_free(job);
    }
}

void node_disk_stop(struct kvp_node *node)
{
    disk_stop(&node->writer);
    disk_stop(&node->sender);
    kvp_disk_close(&node->disk);
}

void node_disk_init(struct node_disk *disk)
{
    pthread_mutex_init(&disk->mutex, NULL);
    node_init_cond(&disk->wake);
}

void node_disk_destroy(struct node_disk *disk)
{
    pthread_mutex_destroy(&disk->mutex);
    pthread_cond_destroy(&disk->wake);
}
