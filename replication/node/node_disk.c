/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The disk threads: they run the storage's jobs, so that the loop never waits for the disk. One has
 * all that changes the store or looks at the log, in the order of the jobs. The other has the
 * snapshots that are being sent: a chunk takes as long to read as several writes, and nothing in
 * the store waits for it.
 */
#include "replication/node/node_state.h"

#define SILENT_US 500000u

static struct kvp_disk_job *next_job(struct node_disk *disk)
{
    pthread_mutex_lock(&disk->mutex);
    while (!disk->first && !disk->quit) {
        pthread_cond_wait(&disk->wake, &disk->mutex);
    }
    struct kvp_disk_job *job = disk->quit ? NULL : disk->first;
    if (job) {
        disk->first = job->next;
        if (!disk->first) {
            disk->last = NULL;
        }
    }
    pthread_mutex_unlock(&disk->mutex);
    return job;
}

static void *node_disk_run(void *arg)
{
    struct node_disk *disk = arg;
    for (struct kvp_disk_job *job; (job = next_job(disk)) != NULL;) {
        uint64_t since_us = kvp_clock_now_us();
        atomic_store(&disk->busy_us, since_us);
        kvp_disk_run(&disk->node->disk, job);
        atomic_store(&disk->busy_us, 0);
        if (job->op == KVP_DISK_WRITE) {
            node_times_add(&disk->node->writes, kvp_clock_now_us() - since_us);
        }
        node_post_done(disk->node, job);
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
    if (disk->last) {
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
    while (disk->first) {
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
