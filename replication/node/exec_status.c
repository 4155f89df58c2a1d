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
        const char *url = "", *reason = NULL;
        for (unsigned j = 0; j < executor->config.peer_count; j++) {
            bool found = executor->config.peers[j].id == peer->id;
            url = found ? executor->config.peers[j].url : url;
            reason = found ? executor->peer_troubles[j].reason : reason;
        }
        status_step(map, kvp_wire_map(map->out, leads ? 7 : 5));
        put_uint(map, "id", peer->id);
        put_string(map, "url", url);
        status_put_bool(map, "connected", peer->heard);
        status_put_bool(map, "in_sync", peer->in_sync);
        reason = peer->twice ? "two stores say that they are this node's" : reason;
        put_string(map, "trouble", reason == NULL ? "" : reason);
        if (leads) {
            put_uint(map, "match", peer->match);
            put_uint(map, "lag",
                     status->tail.seq > peer->match ? status->tail.seq - peer->match : 0);
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

kvp_status kvp_executor_status(struct kvp_executor *executor, uint64_t now_us, kvp_buf *out)
{
    struct kvp_core_status status;
    kvp_buf members = {0};
    struct map map = {&members, KVP_OK, 0};
    char text[512];
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
    status_step(&map, kvp_wire_map(out, map.count));
    status_step(&map, kvp_buf_append(out, members.data, members.size));
    kvp_buf_free(&members);
    return map.status;
}
