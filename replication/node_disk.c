/* SPDX-License-Identifier: Apache-2.0 */
/* The disk thread: runs the storage's jobs in their order, so that the loop never waits for an fsync. */
#include "replication/node_state.h"

static struct kvp_disk_job *next_job(struct kvp_node *node)
{
    pthread_mutex_lock(&node->disk_mutex);
    while (!node->disk_first && !node->disk_quit) {
        pthread_cond_wait(&node->disk_wake, &node->disk_mutex);
    }
    struct kvp_disk_job *job = node->disk_quit ? NULL : node->disk_first;
    if (job) {
        node->disk_first = job->next;
        if (!node->disk_first) {
            node->disk_last = NULL;
        }
    }
    pthread_mutex_unlock(&node->disk_mutex);
    return job;
}

static void *run(void *arg)
{
    struct kvp_node *node = arg;
    for (struct kvp_disk_job *job; (job = next_job(node)) != NULL;) {
        kvp_disk_run(&node->disk, job);
        node_post_done(node, job);
    }
    return NULL;
}

kvp_status node_disk_start(struct kvp_node *node)
{
    node->disk.storage = node->storage;
    if (pthread_create(&node->disk_thread, NULL, run, node) != 0) {
        return KVP_NO_MEMORY;
    }
    node->disk_running = true;
    return KVP_OK;
}

void node_disk_submit(struct kvp_node *node, struct kvp_disk_job *job)
{
    job->next = NULL;
    pthread_mutex_lock(&node->disk_mutex);
    if (node->disk_last) {
        node->disk_last->next = job;
    } else {
        node->disk_first = job;
    }
    node->disk_last = job;
    pthread_mutex_unlock(&node->disk_mutex);
    pthread_cond_signal(&node->disk_wake);
}

void node_disk_stop(struct kvp_node *node)
{
    if (node->disk_running) {
        pthread_mutex_lock(&node->disk_mutex);
        node->disk_quit = true;
        pthread_cond_signal(&node->disk_wake);
        pthread_mutex_unlock(&node->disk_mutex);
        pthread_join(node->disk_thread, NULL);
        node->disk_running = false;
    }
    while (node->disk_first) {
        struct kvp_disk_job *job = node->disk_first;
        node->disk_first = job->next;
        kvp_disk_job_free(job);
    }
    kvp_disk_close(&node->disk);
}
