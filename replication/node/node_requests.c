/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What came to the port is executed: by the loop; but a client's read in the thread in which it
 * arrives. To wake the loop for one, and to be switched to it, takes several times as long as the
 * read itself.
 *
 * Nothing else changes: the executor decides as for the loop, under the lock that whoever uses it
 * has, and only while nobody's request waits for the loop, so that requests are executed in the
 * order in which they came. A loop that waits for the lock goes first, and heartbeats, which the
 * same thread takes in, are held up for READS_ROUND_US and one read at most.
 */
#include "replication/node/node_state.h"

#define READS_ROUND_US 2000u

/* The executor answers it before or after it returns: the body lives until then. */
void node_run_message(struct kvp_node *node, struct kvp_net_request *request, uint64_t now_us)
{
    kvp_executor_message(node->executor, now_us, kvp_net_request_body(request),
                         node_tls_asker(node, request), request);
}

void node_run_request(struct kvp_node *node, struct kvp_net_request *request, uint64_t now_us)
{
    if (!kvp_net_request_postpone(request)) {
        node_run_message(node, request, now_us);
    }
}

static bool reads_nothing_waits(struct kvp_node *node)
{
    pthread_mutex_lock(&node->mutex);
    bool nothing = node->clients.first == NULL;
    pthread_mutex_unlock(&node->mutex);
    return nothing;
}

/* With the lock. A read that finds the disk broken changes what the node is: the loop tells. */
static bool reads_execute(struct kvp_node *node, struct kvp_net_request *request, uint64_t now_us)
{
    bool stale = node->state_stale;
    kvp_executor_asked(node->executor, now_us);
    node_run_request(node, request, now_us);
    kvp_executor_handled(node->executor, kvp_clock_now_us());
    return node->state_stale && !stale;
}

bool node_read_here(struct kvp_node *node, struct kvp_net_request *request)
{
    if (!atomic_load(&node->loop_runs) || atomic_load(&node->loop_waits) ||
        atomic_load(&node->closing)) {
        return false;
    }
    uint64_t now_us = kvp_clock_now_us();
    bool changed = false;
    if (now_us - kvp_net_server_round_us(node->server) > READS_ROUND_US ||
        pthread_mutex_trylock(&node->work) != 0) {
        return false;
    }
    bool first = reads_nothing_waits(node);
    if (first) {
        changed = reads_execute(node, request, now_us);
    }
    pthread_mutex_unlock(&node->work);
    if (changed) {
        node_nudge(node);
    }
    return first;
}
