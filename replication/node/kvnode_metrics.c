/* SPDX-License-Identifier: Apache-2.0 */
#include "replication/node/kvnode_metrics.h"

#include "replication/http/http_page.h"
#include "replication/node/node_eyes.h"
#include "replication/wire/operations.h"

#include <ctype.h>
#include <inttypes.h>
#include <string.h>

static double metrics_number(const cJSON *object, const char *name)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, name);
    return cJSON_IsBool(item) ? cJSON_IsTrue(item) : cJSON_IsNumber(item) ? item->valuedouble : 0;
}

static const char *metrics_text(const cJSON *object, const char *name)
{
    const char *text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(object, name));
    return text ? text : "";
}

/* ---- of the status ---- */

static const struct {
    const char *name, *of_status, *help;
    double unit;
} metrics_of_status[] = {
    {"kvpair_serving", "serving", "1 while this node serves clients.", 1},
    {"kvpair_epoch", "epoch", "Epoch of the view.", 1},
    {"kvpair_view_version", "version", "Version of the view; it moves with every change.", 1},
    {"kvpair_view_primary", "primary", "Number of the node that leads; 0: none is known.", 1},
    {"kvpair_log_tail_seq", "tail", "Last entry of this node's log.", 1},
    {"kvpair_log_commit_seq", "commit", "Last entry known to be committed.", 1},
    {"kvpair_log_applied_seq", "applied", "Last entry applied to the state.", 1},
    {"kvpair_commit_age_seconds", "commit_age_ms",
     "For so long the commit point may have moved unseen.", 1e-3},
    {"kvpair_disk_silent_seconds", "disk_silent_ms", "For so long the disk has owed an answer.",
     1e-3},
    {"kvpair_diverged_updates", "diverged", "Updates of this node that the group never agreed on.",
     1},
    {"kvpair_stores_set_aside", "stores_set_aside",
     "Stores kept that had to make way, at the start.", 1},
    {"kvpair_quarantine_full", "quarantine_full", "1 while there is no room for one more of them.",
     1},
    {"kvpair_store_doubt", "doubt", "1 while this store may lack what it had acknowledged.", 1},
    {"kvpair_store_copy", "copy", "1 while another store speaks for this node.", 1},
};

static void metrics_print_role(kvp_buf *out, const cJSON *status)
{
    kvp_http_metric(out, "kvpair_role", "gauge", "The node's role, as a label of the number 1.");
    kvp_http_print(out, "kvpair_role{role=\"%s\"} 1\n", metrics_text(status, "role"));
    kvp_http_gauge(out, "kvpair_in_sync_nodes", "Nodes that acknowledge every update.",
                   cJSON_GetArraySize(cJSON_GetObjectItemCaseSensitive(status, "in_sync")));
    const cJSON *arbiter = cJSON_GetObjectItemCaseSensitive(status, "arbiter");
    const char *state = metrics_text(arbiter, "state");
    kvp_http_gauge(out, "kvpair_arbiter_reachable",
                   "0 while the arbiter is known not to answer well.",
                   strcmp(state, "ok") == 0 || strcmp(state, "not heard of yet") == 0);
}

static void metrics_print_peers(kvp_buf *out, const cJSON *status)
{
    static const struct {
        const char *name, *of_peer, *help;
    } rows[] = {
        {"kvpair_peer_connected", "connected", "1 while the peer is heard."},
        {"kvpair_peer_in_sync", "in_sync", "1 while the peer is in the in-sync set."},
        {"kvpair_peer_lag_entries", "lag", "Entries of the primary's log that the peer lacks."},
    };
    const cJSON *peers = cJSON_GetObjectItemCaseSensitive(status, "peers");
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        const cJSON *peer;
        bool headed = false;
        cJSON_ArrayForEach(peer, peers)
        {
            if (!cJSON_HasObjectItem(peer, rows[i].of_peer)) {
                continue; /* only who leads knows it */
            }
            if (!headed) {
                kvp_http_metric(out, rows[i].name, "gauge", rows[i].help);
            }
            headed = true;
            kvp_http_print(out, "%s{peer=\"%.0f\"} %.17g\n", rows[i].name,
                           metrics_number(peer, "id"), metrics_number(peer, rows[i].of_peer));
        }
    }
}

static void metrics_print_status(kvp_buf *out, const cJSON *status)
{
    for (size_t i = 0; i < sizeof(metrics_of_status) / sizeof(metrics_of_status[0]); i++) {
        kvp_http_gauge(out, metrics_of_status[i].name, metrics_of_status[i].help,
                       metrics_number(status, metrics_of_status[i].of_status) *
                           metrics_of_status[i].unit);
    }
    metrics_print_role(out, status);
    metrics_print_peers(out, status);
}

/* ---- of what was counted ---- */

static const char *metrics_operation(unsigned op, char out[32])
{
    const char *name = kvp_operation_of(op)->name;
    size_t size = 0;
    for (; name && name[size] != '\0' && size < 31; size++) {
        out[size] = (char)tolower((unsigned char)name[size]);
    }
    out[size] = '\0';
    return name ? out : "unreadable";
}

static void metrics_print_requests(kvp_buf *out, const struct node_counts *counts)
{
    kvp_http_metric(
        out, "kvpair_requests_total", "counter",
        "Requests answered, by operation and code (0: done; docs/protocol.md has them).");
    for (unsigned op = 0; op < NODE_COUNTS_OPS; op++) {
        char name[32];
        for (unsigned code = 0; code < NODE_COUNTS_CODES; code++) {
            uint64_t count = node_count_read(&counts->answers[op][code]);
            if (count > 0) {
                kvp_http_print(out, "kvpair_requests_total{op=\"%s\",code=\"%u\"} %" PRIu64 "\n",
                               metrics_operation(op, name), code, count);
            }
        }
    }
}

static void metrics_print_times(kvp_buf *out, const char *name, const char *help,
                                const struct node_times *times)
{
    uint64_t count = 0;
    uint64_t sum_us = node_count_read(&times->sum_us);
    kvp_http_metric(out, name, "histogram", help);
    for (unsigned i = 0; i < NODE_TIMES_SLOTS - 1; i++) {
        count += node_count_read(&times->slots[i]);
        kvp_http_print(out, "%s_bucket{le=\"%g\"} %" PRIu64 "\n", name,
                       (double)(UINT64_C(1) << i) / 1e6, count);
    }
    count += node_count_read(&times->slots[NODE_TIMES_SLOTS - 1]);
    kvp_http_print(out, "%s_bucket{le=\"+Inf\"} %" PRIu64 "\n%s_sum %.6f\n%s_count %" PRIu64 "\n",
                   name, count, name, (double)sum_us / 1e6, name, count);
}

void kvnode_metrics_print(kvp_buf *out, const kvp_node *node, const cJSON *status)
{
    const struct node_counts *counts = node_eyes_counts(node);
    metrics_print_status(out, status);
    kvp_http_gauge(out, "kvpair_connections", "Connections of clients and peers.",
                   node_eyes_connections(node));
    metrics_print_requests(out, counts);
    metrics_print_times(out, "kvpair_commit_duration_seconds",
                        "Time from the execution of an update to its answer.", &counts->commit);
    metrics_print_times(out, "kvpair_log_write_duration_seconds",
                        "Time of a write of the log, its fsync included.", node_eyes_writes(node));
    kvp_http_process_metrics(out);
}
