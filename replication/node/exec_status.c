/* SPDX-License-Identifier: Apache-2.0 */
/* The answer to STATUS: what an operator wants to see of a node. */
#include "replication/node/exec_state.h"

#include <string.h>

struct map {
    kvp_buf *out;
    kvp_status status;
    uint32_t count; /* of members */
};

static void status_step(struct map *map, kvp_status status)
{
    if (map->status == KVP_OK) {
        map->status = status;
    }
}

static void status_put_key(struct map *map, const char *key)
{
    status_step(map, kvp_wire_string(map->out, key));
    map->count++;
}

static void put_uint(struct map *map, const char *key, uint64_t value)
{
    status_put_key(map, key);
    status_step(map, kvp_wire_uint(map->out, value));
}

static void put_string(struct map *map, const char *key, const char *value)
{
    status_put_key(map, key);
    status_step(map, kvp_wire_string(map->out, value));
}

static void status_put_bool(struct map *map, const char *key, bool value)
{
    status_put_key(map, key);
    status_step(map, kvp_wire_bool(map->out, value));
}

static void put_set(struct map *map, const char *key, kvp_node_set set)
{
    status_put_key(map, key);
    status_step(map, kvp_wire_array(map->out, kvp_set_count(set)));
    for (unsigned id = 1; id <= KVP_NODE_ID_MAX; id++) {
        if (kvp_set_has(set, id)) {
            status_step(map, kvp_wire_uint(map->out, id));
        }
    }
}

static void put_peers(struct map *map, const struct kvp_executor *executor,
                      const struct kvp_core_status *status)
{
    bool leads = status->role == KVP_ROLE_PRIMARY || status->role == KVP_ROLE_ELECT;
    status_put_key(map, "peers");
    status_step(map, kvp_wire_array(map->out, status->peer_count));
    uint32_t count = map->count; /* what follows are members of maps within */
    for (unsigned i = 0; i < status->peer_count; i++) {
        const struct kvp_core_peer_status *peer = &status->peers[i];
        const char *url = "", *reason = exec_peer_why(executor, peer);
        for (unsigned j = 0; j < executor->config.peer_count; j++) {
            bool found = executor->config.peers[j].id == peer->id;
            url = found ? executor->config.peers[j].url : url;
        }
        status_step(map, kvp_wire_map(map->out, leads ? 8 : 5));
        put_uint(map, "id", peer->id);
        put_string(map, "url", url);
        status_put_bool(map, "connected", peer->heard);
        status_put_bool(map, "in_sync", peer->in_sync);
        put_string(map, "trouble", reason == NULL ? "" : reason);
        if (leads) {
            put_uint(map, "match", peer->match);
            put_uint(map, "lag",
                     status->tail.seq > peer->match ? status->tail.seq - peer->match : 0);
            put_uint(map, "lag_bytes", peer->lag_size);
        }
    }
    map->count = count;
}

/* The list of members, or (version 0) what this node's flags say. */
static void put_members(struct map *map, const struct kvp_executor *executor)
{
    const struct kvp_members *list = &executor->members.list;
    const struct kvp_executor_config *config = &executor->config;
    bool self = !exec_members_removed(executor);
    put_uint(map, "members_version", list->version);
    put_set(map, "members_removed", list->removed);
    status_put_key(map, "members");
    uint32_t count = map->count;
    status_step(map, kvp_wire_array(map->out, config->peer_count + (self ? 1 : 0)));
    for (unsigned id = 1; id <= KVP_NODE_ID_MAX; id++) {
        const struct kvp_member *member = kvp_members_find(list, id);
        const char *url = member != NULL ? member->url : "";
        for (unsigned i = 0; i < config->peer_count && member == NULL; i++) {
            url = config->peers[i].id == id ? config->peers[i].url : url;
        }
        url = member == NULL && id == config->core.self && self ? config->url : url;
        if (url[0] != '\0') {
            status_step(map, kvp_wire_map(map->out, 3));
            put_uint(map, "id", id);
            put_string(map, "url", url);
            put_string(map, "kind", "data");
        }
    }
    map->count = count;
}

static void put_arbiter(struct map *map, const struct kvp_executor *executor)
{
    static const char *const policies[] = {
        [KVP_PAIR_NONE] = "witness",
        [KVP_PAIR_BACKUP_WINS] = "pair backup-wins",
        [KVP_PAIR_PRIMARY_WINS] = "pair primary-wins",
        [KVP_PAIR_AVAILABLE] = "pair available",
    };
    status_put_key(map, "arbiter");
    uint32_t count = map->count;
    status_step(map, kvp_wire_map(map->out, 3));
    put_string(map, "kind", policies[executor->config.core.policy]);
    put_string(map, "url", executor->config.arbiter_url);
    put_string(map, "state", exec_arbiter_state(executor));
    map->count = count;
}

static void put_view(struct map *map, const struct exec_view *change)
{
    status_step(map, kvp_wire_map(map->out, 8));
    put_uint(map, "version", change->view.version);
    put_uint(map, "epoch", change->view.epoch);
    put_uint(map, "primary", change->view.primary);
    put_set(map, "in_sync", change->view.in_sync);
    put_string(map, "reason", kvp_executor_view_reason(change->reason));
    put_string(map, "cause", change->cause);
    put_uint(map, "at_ms", change->wall_ms);
    put_uint(map, "unserved_ms", change->unserved_us / 1000);
}

/* The oldest first. */
static void put_views(struct map *map, const struct kvp_executor *executor)
{
    uint64_t end = executor->view_count;
    uint64_t first = end > EXEC_VIEWS_MAX ? end - EXEC_VIEWS_MAX : 0;
    status_put_key(map, "views");
    uint32_t count = map->count;
    status_step(map, kvp_wire_array(map->out, (uint32_t)(end - first)));
    for (uint64_t i = first; i < end; i++) {
        put_view(map, &executor->views[i % EXEC_VIEWS_MAX]);
    }
    map->count = count;
}

struct status_number {
    const char *name;
    uint64_t value;
};

static void put_numbers(struct map *map, const char *key, const struct status_number *numbers,
                        uint32_t count)
{
    status_put_key(map, key);
    uint32_t outer = map->count;
    status_step(map, kvp_wire_map(map->out, count));
    for (uint32_t i = 0; i < count; i++) {
        put_uint(map, numbers[i].name, numbers[i].value);
    }
    map->count = outer;
}

static void put_times(struct map *map, const struct kvp_core_config *config)
{
    const struct status_number times[] = {{"heartbeat_ms", config->heartbeat_us / 1000},
                                          {"lease_ms", config->lease_us / 1000},
                                          {"grace_ms", config->grace_us / 1000},
                                          {"sync_timeout_ms", config->sync_timeout_us / 1000}};
    put_numbers(map, "times", times, 4);
}

/* Nodes that may fail, one after the other, while the arbiter answers, without an end of the
 * service: as far as this node can tell. A pair survives the failure of one of its nodes only,
 * if not under `available`. */
static unsigned failures_tolerated(const struct kvp_executor *executor,
                                   const struct kvp_core_status *status)
{
    const struct exec_trouble *arbiter = &executor->arbiter_trouble;
    bool hears = exec_serving(executor);
    for (unsigned i = 0; i < status->peer_count; i++) {
        const struct kvp_core_peer_status *peer = &status->peers[i];
        hears = hears || (status->role == KVP_ROLE_BACKUP && peer->heard &&
                          peer->id == status->view.primary);
    }
    unsigned members = kvp_set_count(status->view.in_sync);
    enum kvp_pair_policy policy = executor->config.core.policy;
    bool decides =
        policy == KVP_PAIR_AVAILABLE || (policy == KVP_PAIR_NONE && arbiter->reason == NULL);
    return hears && decides && members > 0 ? members - 1 : 0;
}

static void put_sight(struct map *map, const struct kvp_executor *executor)
{
    struct kvp_executor_sight sight = {0};
    if (executor->host.look != NULL) {
        executor->host.look(executor->host.arg, &sight);
    }
    put_uint(map, "clock_ms", sight.wall_ms);
    put_uint(map, "connections", sight.connections);
    put_uint(map, "connections_refused", sight.refused);
    put_uint(map, "store_bytes", sight.store_size);
    put_uint(map, "disk_free_bytes", sight.disk_free);
    put_uint(map, "disk_bytes", sight.disk_size);
    put_uint(map, "fsync_us", sight.fsync_us);
    put_uint(map, "certificate_ends", sight.certificate_ends);
}

/* What only who leads knows. */
static void put_work(struct map *map, struct kvp_executor *executor)
{
    const struct kvp_jobs *jobs = kvp_engine_jobs(executor->engine);
    struct kvp_jobs_counts counts = kvp_jobs_count(jobs, executor->now_us);
    const struct status_number tasks[] = {{"queued", counts.queued},
                                          {"running", counts.running},
                                          {"blocked", counts.blocked},
                                          {"done", counts.done}};
    const struct status_number workers[] = {{"active", counts.active},
                                            {"standby", counts.standby},
                                            {"silent", counts.silent},
                                            {"barred", counts.barred}};
    struct status_number states[KVP_JOBS_STATES];
    for (unsigned i = 0; i < KVP_JOBS_STATES; i++) {
        states[i] = (struct status_number){kvp_jobs_state_name(i), counts.jobs[i]};
    }
    put_uint(map, "sessions", kvp_engine_sessions(executor->engine));
    put_numbers(map, "jobs", states, KVP_JOBS_STATES);
    put_numbers(map, "tasks", tasks, 4);
    put_numbers(map, "workers", workers, 4);
}

kvp_status kvp_executor_status(struct kvp_executor *executor, uint64_t now_us, kvp_buf *out)
{
    struct kvp_core_status status;
    kvp_buf members = {0};
    struct map map = {&members, KVP_OK, 0};
    char text[768];
    executor->now_us = now_us;
    kvp_core_status(executor->core, now_us, &status);
    put_uint(&map, "node", executor->config.core.self);
    put_string(&map, "role", kvp_role_name(status.role));
    put_uint(&map, "epoch", status.view.epoch);
    put_uint(&map, "version", status.view.version);
    put_uint(&map, "primary", status.view.primary);
    put_set(&map, "in_sync", status.view.in_sync);
    put_string(&map, "group", executor->config.group);
    put_uint(&map, "group_id", status.meta.group_id);
    put_uint(&map, "tail", status.tail.seq);
    put_uint(&map, "commit", status.commit);
    put_uint(&map, "applied", status.applied);
    status_put_bool(&map, "serving", exec_serving(executor));
    put_string(&map, "hint", exec_hint(executor));
    put_peers(&map, executor, &status);
    put_members(&map, executor);
    put_uint(&map, "unknown_peer", exec_unknown_peer(executor));
    put_uint(&map, "diverged", status.meta.diverged_count);
    put_uint(&map, "stores_set_aside", executor->config.stores_quarantined);
    status_put_bool(&map, "quarantine_full", status.quarantine_full);
    status_put_bool(&map, "doubt", status.meta.log_regressed);
    put_uint(&map, "commit_age_ms", status.commit_age_us / 1000);
    status_put_bool(&map, "copy", status.meta.copy); /* another store speaks for this node */
    put_uint(&map, "disk_silent_ms", status.disk_silent_us / 1000);
    put_uint(&map, "uptime_ms", (now_us - executor->started_us) / 1000);
    put_string(&map, "release", kvp_version());
    put_string(&map, "why", exec_why(executor, text, sizeof(text)));
    put_arbiter(&map, executor);
    put_uint(&map, "failures_tolerated", failures_tolerated(executor, &status));
    put_times(&map, &executor->config.core);
    exec_digest(&executor->config, text);
    put_string(&map, "config_digest", text);
    put_uint(&map, "log_bytes", status.log_size);
    put_views(&map, executor);
    put_sight(&map, executor);
    if (executor->running) {
        put_work(&map, executor);
    }
    status_step(&map, kvp_wire_map(out, map.count));
    status_step(&map, kvp_buf_append(out, members.data, members.size));
    kvp_buf_free(&members);
    return map.status;
}
