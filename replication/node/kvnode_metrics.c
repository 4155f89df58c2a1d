/* SPDX-License-Identifier: Apache-2.0 */
#include "replication/node/kvnode_metrics.h"

#include "replication/http/http_page.h"
#include "replication/node/executor.h"
#include "replication/node/node_eyes.h"
#include "replication/wire/operations.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static double metrics_number(const cJSON *object, const char *name)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, name);
    return cJSON_IsBool(item) ? cJSON_IsTrue(item) : cJSON_IsNumber(item) ? item->valuedouble : 0;
}

static const char *metrics_text(const cJSON *object, const char *name)
{
    const char *text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(object, name));
    return text != NULL ? text : "";
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
    {"kvpair_failures_tolerated", "failures_tolerated",
     "Nodes that may fail, one after the other, without an end of the service.", 1},
    {"kvpair_log_bytes", "log_bytes", "Size of the log on the disk.", 1},
    {"kvpair_store_bytes", "store_bytes", "Size of the store on the disk, its log included.", 1},
    {"kvpair_disk_free_bytes", "disk_free_bytes", "Room that is left where the data is.", 1},
    {"kvpair_disk_bytes", "disk_bytes", "Size of the file system where the data is.", 1},
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
        {"kvpair_peer_lag_bytes", "lag_bytes", "Bytes of the primary's log that it lacks, about."},
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

/* Of the jobs: told by who leads. */
static void metrics_print_work(kvp_buf *out, const cJSON *status)
{
    static const struct {
        const char *name, *of_status, *help;
    } rows[] = {
        {"kvpair_jobs", "jobs", "Jobs, by state."},
        {"kvpair_tasks", "tasks",
         "Tasks that wait for a worker or for others, or are done, and attempts that run."},
        {"kvpair_workers", "workers", "Workers, by state."},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        const cJSON *states = cJSON_GetObjectItemCaseSensitive(status, rows[i].of_status);
        const cJSON *state;
        if (states != NULL) {
            kvp_http_metric(out, rows[i].name, "gauge", rows[i].help);
        }
        cJSON_ArrayForEach(state, states)
        {
            kvp_http_print(out, "%s{state=\"%s\"} %.17g\n", rows[i].name, state->string,
                           state->valuedouble);
        }
    }
    if (metrics_number(status, "certificate_ends") > 0) {
        kvp_http_gauge(out, "kvpair_certificate_not_after_timestamp_seconds",
                       "When the certificate ends, since 1970.",
                       metrics_number(status, "certificate_ends"));
    }
    if (cJSON_HasObjectItem(status, "sessions")) {
        kvp_http_gauge(out, "kvpair_sessions", "Session slots in use.",
                       metrics_number(status, "sessions"));
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
    metrics_print_work(out, status);
}

/* ---- of what was counted ---- */

static const char *metrics_operation(unsigned op, char out[32])
{
    const char *name = kvp_operation_of(op)->name;
    size_t size = 0;
    for (; name != NULL && name[size] != '\0' && size < 31; size++) {
        out[size] = (char)tolower((unsigned char)name[size]);
    }
    out[size] = '\0';
    return name != NULL ? out : "unreadable";
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

static void metrics_print_views(kvp_buf *out, const struct node_counts *counts)
{
    kvp_http_metric(out, "kvpair_view_changes_total", "counter",
                    "Changes of view that this node has learned of, by reason.");
    for (unsigned i = 0; i < NODE_COUNTS_VIEWS; i++) {
        kvp_http_print(out, "kvpair_view_changes_total{reason=\"%s\"} %" PRIu64 "\n",
                       kvp_executor_view_reason((enum node_view_reason)i),
                       node_count_read(&counts->views[i]));
    }
}

/* `label`: "" or as in {NAME="VALUE"}, with a comma behind. */
static void metrics_print_slots(kvp_buf *out, const char *name, const char *label,
                                const struct node_times *times)
{
    uint64_t count = 0;
    uint64_t sum_us = node_count_read(&times->sum_us);
    int size = (int)strlen(label) - (label[0] != '\0');
    for (unsigned i = 0; i < NODE_TIMES_SLOTS - 1; i++) {
        count += node_count_read(&times->slots[i]);
        kvp_http_print(out, "%s_bucket{%sle=\"%g\"} %" PRIu64 "\n", name, label,
                       (double)(UINT64_C(1) << i) / 1e6, count);
    }
    count += node_count_read(&times->slots[NODE_TIMES_SLOTS - 1]);
    kvp_http_print(out, "%s_bucket{%sle=\"+Inf\"} %" PRIu64 "\n", name, label, count);
    const char *open = size > 0 ? "{" : "", *close = size > 0 ? "}" : "";
    kvp_http_print(out, "%s_sum%s%.*s%s %.6f\n", name, open, size, label, close,
                   (double)sum_us / 1e6);
    kvp_http_print(out, "%s_count%s%.*s%s %" PRIu64 "\n", name, open, size, label, close, count);
}

static void metrics_print_times(kvp_buf *out, const char *name, const char *help,
                                const struct node_times *times)
{
    kvp_http_metric(out, name, "histogram", help);
    metrics_print_slots(out, name, "", times);
}

/* Those that have a number: an operation that was asked for, a peer that was heard. */
static void metrics_print_all_times(kvp_buf *out, const char *name, const char *help,
                                    const struct node_times *times, unsigned count,
                                    bool of_operations)
{
    kvp_http_metric(out, name, "histogram", help);
    for (unsigned i = 0; i < count; i++) {
        char label[64], operation[32];
        if (node_times_count(&times[i]) == 0) {
            continue;
        }
        if (of_operations) {
            (void)snprintf(label, sizeof(label), "op=\"%s\",", metrics_operation(i, operation));
        } else {
            (void)snprintf(label, sizeof(label), "peer=\"%u\",", i);
        }
        metrics_print_slots(out, name, label, &times[i]);
    }
}

void kvnode_metrics_print(kvp_buf *out, const kvp_node *node, const cJSON *status)
{
    const struct node_counts *counts = node_eyes_counts(node);
    metrics_print_status(out, status);
    kvp_http_gauge(out, "kvpair_connections", "Connections of clients and peers.",
                   node_eyes_connections(node));
    kvp_http_counter(out, "kvpair_connections_refused_total",
                     "Connections that had to make way, were too slow or found no place.",
                     metrics_number(status, "connections_refused"));
    uint64_t backup_s = node_count_read(&counts->backup_s);
    if (backup_s > 0) {
        kvp_http_gauge(out, "kvpair_backup_last_success_timestamp_seconds",
                       "When a backup that this node gave was kept, since 1970.", (double)backup_s);
    }
    metrics_print_views(out, counts);
    metrics_print_requests(out, counts);
    metrics_print_times(out, "kvpair_commit_duration_seconds",
                        "Time from the execution of an update to its answer.", &counts->commit);
    metrics_print_all_times(out, "kvpair_request_duration_seconds",
                            "Time from a request's arrival to its answer.", counts->requests,
                            NODE_COUNTS_OPS, true);
    metrics_print_all_times(out, "kvpair_peer_round_trip_seconds",
                            "Time from a heartbeat to its answer.", counts->trips,
                            NODE_COUNTS_PEERS, false);
    metrics_print_times(out, "kvpair_log_fsync_duration_seconds", "Time of an fsync of the log.",
                        node_eyes_syncs(node));
    metrics_print_times(out, "kvpair_log_write_duration_seconds",
                        "Time of a write of the log, its fsync included.", node_eyes_writes(node));
    kvp_http_process_metrics(out);
}
