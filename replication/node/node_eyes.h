/* SPDX-License-Identifier: Apache-2.0 */
/* What a program that runs a node may look at, from any thread of its own. */
#ifndef KVP_NODE_EYES_H
#define KVP_NODE_EYES_H

#include "kvpair/kvp_node.h"
#include "replication/node/node_counts.h"

/* Microseconds for which the loop thread has been at one piece of work, or should have been, since
 * what it had waited for was due; 0: it waits. */
uint64_t node_eyes_loop_busy_us(const kvp_node *node);
/* Appends the answer to STATUS as JSON, as kvcli shows it. The loop thread makes it, as it answers
 * clients. KVP_TIMEOUT: it has not, in that time; KVP_NO_MEMORY. */
kvp_status node_eyes_status(kvp_node *node, uint32_t timeout_ms, kvp_buf *text);
/* The same with the first page of all jobs (KVP_INFO_JOBS) or workers (KVP_INFO_WORKERS), as the
 * answer to JOB_INFO has it: only who leads knows them. */
kvp_status node_eyes_work(kvp_node *node, unsigned what, uint32_t timeout_ms, kvp_buf *text);
/* They live as long as the node. */
const struct node_counts *node_eyes_counts(const kvp_node *node);
const struct node_times *node_eyes_writes(const kvp_node *node);
const struct node_times *node_eyes_syncs(const kvp_node *node);
unsigned node_eyes_connections(const kvp_node *node);
/* Has it ended because its store is damaged, and can another start repair it? */
bool node_eyes_damaged(const kvp_node *node);
/* From here on. */
void node_eyes_set_log_level(kvp_node *node, enum kvp_log_level level);

#endif
