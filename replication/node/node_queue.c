/* SPDX-License-Identifier: Apache-2.0 */
/* The queue through which everything else reaches the loop, and waiting with a deadline. */
#include "replication/node/node_state.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

void node_init_cond(pthread_cond_t *cond)
{
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(cond, &attributes);
    pthread_condattr_destroy(&attributes);
}

bool node_wait_until(pthread_cond_t *cond, pthread_mutex_t *mutex, uint64_t deadline_us)
{
    uint64_t now_us = kvp_clock_now_us();
    if (now_us >= deadline_us) {
        return false;
    }
    uint64_t left_us = deadline_us - now_us;
    left_us = left_us < 3600000000u ? left_us : 3600000000u;
    struct timespec when;
    clock_gettime(CLOCK_MONOTONIC, &when);
    when.tv_sec += (time_t)(left_us / 1000000);
    when.tv_nsec += (long)(left_us % 1000000) * 1000;
    if (when.tv_nsec >= 1000000000) {
        when.tv_sec++;
        when.tv_nsec -= 1000000000;
    }
    pthread_cond_timedwait(cond, mutex, &when);
    return kvp_clock_now_us() < deadline_us; /* not so when it was cut to an hour */
}

static size_t queue_event_size(const struct node_event *event)
{
    return event->request != NULL ? kvp_net_request_body(event->request).size : 0;
}

/* An application's calls and a client's requests wait in one line, so neither is served first. */
static bool queue_is_client(const struct node_event *event)
{
    return event->kind == NODE_CALL || (event->kind == NODE_REQUEST && !event->from_peer);
}

static bool queue_is_empty(const struct kvp_node *node)
{
    return node->urgent.first == NULL && node->clients.first == NULL && node->done_first == NULL &&
           !node->nudged;
}

void node_post(struct kvp_node *node, struct node_event *event)
{
    struct node_queue *queue = queue_is_client(event) ? &node->clients : &node->urgent;
    event->next = NULL;
    pthread_mutex_lock(&node->mutex);
    bool idle = queue_is_empty(node);
    *(queue->last != NULL ? &queue->last->next : &queue->first) = event;
    queue->last = event;
    if (event->kind == NODE_REQUEST) {
        queue->count++;
        queue->size += queue_event_size(event);
    }
    /* Threads of the node's own are joined before it goes, so they may signal late. For the
     * application's the node may be gone as soon as the mutex is free. */
    bool early = event->kind == NODE_CALL || event->kind == NODE_STOP;
    if (idle && early) {
        pthread_cond_signal(&node->wake);
    }
    pthread_mutex_unlock(&node->mutex);
    if (idle && !early) {
        pthread_cond_signal(&node->wake); /* the loop does not wake up to wait for the mutex */
    }
}

void node_post_done(struct kvp_node *node, struct kvp_disk_job *job)
{
    job->next = NULL;
    pthread_mutex_lock(&node->mutex);
    if (node->done_last != NULL) {
        node->done_last->next = job;
    } else {
        node->done_first = job;
    }
    node->done_last = job;
    pthread_mutex_unlock(&node->mutex);
    pthread_cond_signal(&node->wake);
}

void node_nudge(struct kvp_node *node)
{
    pthread_mutex_lock(&node->mutex);
    node->nudged = true;
    pthread_mutex_unlock(&node->mutex);
    pthread_cond_signal(&node->wake);
}

void node_event_free(struct kvp_node *node, struct node_event *event)
{
    if (event != &node->fence_event) {
        kvp_buf_free(&event->body);
        free(event);
    }
}

struct node_batch node_take(struct kvp_node *node, uint64_t deadline_us)
{
    pthread_mutex_lock(&node->mutex);
    while (queue_is_empty(node) && !node->quit &&
           node_wait_until(&node->wake, &node->mutex, deadline_us)) {
    }
    struct node_batch batch = {node->urgent.first, node->done_first, node->quit};
    memset(&node->urgent, 0, sizeof(node->urgent));
    node->done_first = node->done_last = NULL;
    node->nudged = false;
    pthread_mutex_unlock(&node->mutex);
    return batch;
}

struct node_event *node_take_client(struct kvp_node *node)
{
    pthread_mutex_lock(&node->mutex);
    struct node_queue *queue = &node->clients;
    struct node_event *event = queue->first;
    if (event != NULL) {
        queue->first = event->next;
        queue->last = queue->first != NULL ? queue->last : NULL;
    }
    if (event != NULL && event->kind == NODE_REQUEST) {
        queue->count--;
        queue->size -= queue_event_size(event);
    }
    pthread_mutex_unlock(&node->mutex);
    return event;
}

bool node_overloaded(struct kvp_node *node, bool peer)
{
    pthread_mutex_lock(&node->mutex);
    bool full =
        peer ? node->urgent.count >= NODE_PEERS_MAX || node->urgent.size >= NODE_PEERS_SIZE_MAX
             : node->clients.count >= NODE_CLIENTS_MAX ||
                   node->clients.size >= NODE_CLIENTS_SIZE_MAX;
    pthread_mutex_unlock(&node->mutex);
    return full;
}
