/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The list of members at a node (replication/wire/members.h): which one is in force, and what has
 * to be so before it may change.
 *
 * In force is the list of the state that is applied: a node applies what it knows to be committed,
 * and the store has it again after a restart and after a snapshot. Where the state has none, the
 * node's flags say who the others are. The core hears of another list before it hears that the
 * entry with it is applied: so a new primary, which serves when it has applied all of its log,
 * never takes a node into the view that the log has taken off the list.
 *
 * What a list decides is who may be taken into the view, and where everybody is. Who counts in a
 * view is the register's, as ever. So who is to go, or to be somewhere else, leaves the view first,
 * while the list still has him; only then does the list change, and until that is in force, or this
 * node leads no more, he is not taken in again. A change that has to wait for something is answered
 * BUSY: whoever wants it asks again, and what had been begun ends by itself when nobody does.
 */
#include "kvstore/base/mutant.h"
#include "kvstore/writeset.h"
#include "replication/node/exec_state.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define BARRED_US 3000000u /* after the last request for a change that needs it */

/* ---- the list in force ---- */

void kvp_executor_take_members(struct kvp_executor_config *config, const struct kvp_members *list)
{
    kvp_node_set set = kvp_members_set(list);
    config->peer_count = 0;
    for (unsigned i = 0; i < list->count; i++) {
        const struct kvp_member *member = &list->all[i];
        if (member->id != config->core.self && config->peer_count < KVP_NODES_MAX) {
            struct kvp_executor_peer *peer = &config->peers[config->peer_count++];
            peer->id = member->id;
            (void)snprintf(peer->url, sizeof(peer->url), "%s", member->url);
        }
    }
    config->core.removed = !kvp_set_has(set, config->core.self);
    config->core.nodes = set | kvp_set_of(config->core.self);
    config->core.former = list->removed;
}

kvp_status kvp_executor_read_members(struct kvp_storage *storage, struct kvp_members *list)
{
    struct kvp_raw_key key;
    kvp_buf record = {0};
    kvp_raw_key_members(&key);
    kvp_status status = kvp_storage_get(storage, kvp_raw_key_slice(&key), &record);
    *list = (struct kvp_members){0};
    if (status == KVP_OK) {
        status = kvp_members_decode(kvp_buf_slice(&record), list);
    }
    kvp_buf_free(&record);
    return status == KVP_NOT_FOUND ? KVP_OK : status;
}

/* What this node's flags, or the group that let it in, have told it. */
static void members_of_config(const struct kvp_executor_config *config, struct kvp_members *list)
{
    *list = (struct kvp_members){0};
    (void)kvp_members_add(list, config->core.self, config->url);
    for (unsigned i = 0; i < config->peer_count; i++) {
        (void)kvp_members_add(list, config->peers[i].id, config->peers[i].url);
    }
}

/* What is known of a peer stays with it. */
static void members_keep_troubles(struct kvp_executor *executor,
                                  const struct kvp_executor_config *before)
{
    struct exec_trouble old[KVP_NODES_MAX];
    memcpy(old, executor->peer_troubles, sizeof(old));
    memset(executor->peer_troubles, 0, sizeof(executor->peer_troubles));
    for (unsigned i = 0; i < executor->config.peer_count; i++) {
        for (unsigned j = 0; j < before->peer_count; j++) {
            const struct kvp_executor_peer *peer = &before->peers[j];
            if (peer->id == executor->config.peers[i].id &&
                strcmp(peer->url, executor->config.peers[i].url) == 0) {
                executor->peer_troubles[i] = old[j];
            }
        }
    }
}

static void members_say(struct kvp_executor *executor)
{
    const struct kvp_members *list = &executor->members.list;
    const struct kvp_member *self = kvp_members_find(list, executor->config.core.self);
    char set[KVP_SET_TEXT_SIZE], url[2 * KVP_URL_SIZE_MAX];
    exec_say(executor, KVP_LOG_INFO, "members", "version=%" PRIu64 " members=%s", list->version,
             kvp_set_print(set, kvp_members_set(list)));
    if (list->version != 0 && self == NULL) {
        exec_say(executor, KVP_LOG_ERROR, "removed", "reason=\"%s\"", exec_removed_text);
    } else if (self != NULL && strcmp(self->url, executor->config.url) != 0) {
        exec_say(executor, KVP_LOG_WARN, "listed_elsewhere",
                 "url=%s reason=\"the list of members has this node at another address than its "
                 "own: the others look for it there\"",
                 kvp_log_quote(url, sizeof(url), self->url));
    }
}

static void members_put_in_force(struct kvp_executor *executor, const struct kvp_members *list)
{
    struct kvp_executor_config before = executor->config;
    struct kvp_members flags;
    executor->members.list = *list;
    executor->members.unreadable = false;
    if (list->version == 0) {
        struct kvp_executor_config told = executor->config;
        told.peer_count = executor->members.told_count;
        memcpy(told.peers, executor->members.told, sizeof(told.peers));
        members_of_config(&told, &flags);
        list = &flags;
    }
    kvp_executor_take_members(&executor->config, list);
    members_keep_troubles(executor, &before);
    if (executor->core != NULL) {
        kvp_core_set_members(executor->core, executor->now_us, kvp_members_set(list));
    }
    if (executor->host.members != NULL) {
        executor->host.members(executor->host.arg, executor->config.peers,
                               executor->config.peer_count);
    }
    members_say(executor);
}

static void members_unreadable(struct kvp_executor *executor, kvp_status status)
{
    executor->members.unreadable = true;
    exec_say(executor, KVP_LOG_ERROR, "members_unreadable",
             "reason=\"%s: the list of members is of a newer release, or damaged; this node goes "
             "by the one of before\"",
             kvp_strerror(status));
}

void exec_members_open(struct kvp_executor *executor)
{
    struct kvp_members list;
    executor->members.told_count = executor->config.peer_count;
    memcpy(executor->members.told, executor->config.peers, sizeof(executor->members.told));
    kvp_status status = kvp_executor_read_members(executor->storage, &list);
    if (status == KVP_CORRUPT || status == KVP_BAD_VERSION) {
        members_unreadable(executor, status);
    } else if (status == KVP_OK && list.version != 0 && !KVP_MUTANT(MEMBER_LOST_RESTART)) {
        members_put_in_force(executor, &list);
    }
}

void exec_members_replaced(struct kvp_executor *executor)
{
    struct kvp_members list;
    kvp_status status = kvp_executor_read_members(executor->storage, &list);
    if (status == KVP_CORRUPT || status == KVP_BAD_VERSION) {
        members_unreadable(executor, status);
    } else if (status == KVP_OK && !KVP_MUTANT(MEMBER_LOST_SNAPSHOT) &&
               (list.version != 0 || executor->members.list.version != 0)) {
        members_put_in_force(executor, &list);
    }
}

/* The list that the entry writes, if it does. */
static kvp_status members_of_entry(const struct kvp_entry *entry, struct kvp_members *list)
{
    struct kvp_writeset_iter iter;
    struct kvp_batch_op op;
    struct kvp_raw_key key;
    kvp_raw_key_members(&key);
    kvp_writeset_begin(&iter, kvp_slice_of(entry->payload, entry->size));
    while (kvp_writeset_next(&iter, &op) == KVP_OK) {
        if (kvp_slice_compare(op.key, kvp_raw_key_slice(&key)) == 0) {
            return kvp_members_decode(op.value, list);
        }
    }
    return KVP_NOT_FOUND;
}

void exec_members_written(struct kvp_executor *executor, const struct kvp_disk_job *job)
{
    struct kvp_members list;
    for (size_t i = 0; i < job->entry_count; i++) {
        bool applied = i >= job->write.append_count || KVP_MUTANT(MEMBER_UNCOMMITTED);
        kvp_status status = applied ? members_of_entry(job->entries[i], &list) : KVP_NOT_FOUND;
        if (status == KVP_OK) {
            members_put_in_force(executor, &list);
        } else if (status != KVP_NOT_FOUND) {
            members_unreadable(executor, status);
        }
    }
}

/* ---- a change ---- */

/* Has every member of the view been told that this node's last change is committed? */
static bool members_in_force(const struct kvp_executor *executor)
{
    struct kvp_core_status status;
    bool all = executor->members.changed_seq <= kvp_core_applied(executor->core);
    kvp_core_status(executor->core, executor->now_us, &status);
    for (unsigned i = 0; i < status.peer_count; i++) {
        const struct kvp_core_peer_status *peer = &status.peers[i];
        all = all && (!peer->in_sync || peer->commit >= executor->members.changed_seq);
    }
    return all;
}

/* Two nodes that decide by themselves know each other's stores by a number each: it is the number
 * of "the other one". */
static const char *members_refused_in_pair(const struct kvp_executor *executor,
                                           const struct kvp_member_change *change, unsigned count)
{
    bool fits = change->what == KVP_MEMBER_MOVE || (change->what == KVP_MEMBER_ADD && count == 1) ||
                (change->what == KVP_MEMBER_REPLACE && change->new_id == change->id);
    if (executor->config.core.policy == KVP_PAIR_NONE || fits) {
        return NULL;
    }
    return change->what == KVP_MEMBER_ADD
               ? "a pair has two nodes and no third party that could decide among more: start all "
                 "nodes with --witness for that"
           : change->what == KVP_MEMBER_REPLACE
               ? "in a pair the new machine takes the old one's id: 'kvcli member replace ID ID "
                 "URL'"
               : "a pair keeps its two members, and the one that is there goes on by the pair's "
                 "policy; 'kvcli member replace ID ID URL' puts an empty machine in the other's "
                 "place";
}

static void members_bar(struct kvp_executor *executor, uint8_t id)
{
    struct exec_members *members = &executor->members;
    members->barred_until_us = executor->now_us + BARRED_US;
    if (members->barred != id) {
        members->barred = id;
        kvp_core_bar(executor->core, executor->now_us, id);
    }
}

/* Has to leave the view before the list may change. KVP_OK: has, or need not. */
static kvp_status members_leave(struct kvp_executor *executor,
                                const struct kvp_member_change *change, const char **reason)
{
    uint8_t id = (uint8_t)change->id;
    if (change->what == KVP_MEMBER_ADD) {
        return KVP_OK;
    }
    if (id == executor->config.core.self) {
        *reason = "this node leads: hand over first ('kvcli handover'), then ask again";
        return KVP_REFUSED;
    }
    if (KVP_MUTANT(MEMBER_STILL_COUNTS)) {
        return KVP_OK;
    }
    if (executor->members.barred != 0 && executor->members.barred != id &&
        executor->now_us < executor->members.barred_until_us) {
        *reason = "another change of members is under way";
        return KVP_BUSY;
    }
    members_bar(executor, id);
    if (kvp_core_counts(executor->core, id)) {
        *reason = "the node leaves the in-sync set first, which whoever decides has to grant";
        return KVP_BUSY;
    }
    return KVP_OK;
}

/* May the engine have it? It judges what it gets: what it would refuse is its to refuse. */
static kvp_status members_ready(struct kvp_executor *executor, const struct kvp_request *request,
                                const struct kvp_members *list, const char **reason)
{
    const struct kvp_member_change change = {.what = request->member.what,
                                             .id = request->member.id,
                                             .new_id = request->member.new_id,
                                             .kind = request->member.kind,
                                             .url = request->key};
    struct kvp_members changed = *list;
    char url[KVP_URL_SIZE_MAX + 1];
    if (kvp_members_change(&changed, &change, reason) != KVP_OK) {
        return KVP_OK;
    }
    *reason = members_refused_in_pair(executor, &change, list->count);
    if (*reason == NULL && change.what != KVP_MEMBER_REMOVE && executor->host.address != NULL) {
        memcpy(url, change.url.data, change.url.size);
        url[change.url.size] = '\0';
        *reason = executor->host.address(executor->host.arg, url);
    }
    if (*reason != NULL) {
        return KVP_REFUSED;
    }
    if (executor->members.unreadable) {
        *reason = "this node cannot read the list of members: see its log";
        return KVP_REFUSED;
    }
    if (!members_in_force(executor)) {
        *reason = "the change of members before has not reached every member of the in-sync set "
                  "yet";
        return KVP_BUSY;
    }
    return members_leave(executor, &change, reason);
}

bool exec_members_ready(struct kvp_executor *executor, struct kvp_request *request,
                        kvp_buf *founding, void *token)
{
    struct kvp_members list = executor->members.list;
    const char *reason = NULL;
    if (list.version == 0) {
        members_of_config(&executor->config, &list);
        list.version = 1; /* what everybody's flags said */
    }
    kvp_status status = members_ready(executor, request, &list, &reason);
    if (status == KVP_OK) {
        status = kvp_members_encode(&list, founding);
    }
    if (status != KVP_OK) {
        exec_refuse(executor, token, status, reason);
        return false;
    }
    request->value = kvp_buf_slice(founding);
    return true;
}

void exec_members_appended(struct kvp_executor *executor, uint64_t seq)
{
    executor->members.changed_seq = seq;
    executor->members.barred_until_us = 0; /* until that is in force, and no longer */
}

/* ---- what ends by itself ---- */

static bool members_bar_ends(const struct kvp_executor *executor)
{
    const struct exec_members *members = &executor->members;
    return members->barred != 0 && executor->now_us >= members->barred_until_us &&
           members->changed_seq <= kvp_core_applied(executor->core);
}

void exec_members_step(struct kvp_executor *executor)
{
    if (members_bar_ends(executor)) {
        executor->members.barred = 0;
        kvp_core_bar(executor->core, executor->now_us, 0);
    }
}

uint64_t exec_members_deadline(const struct kvp_executor *executor)
{
    const struct exec_members *members = &executor->members;
    bool waits = members->barred_until_us != 0;
    return waits ? members->barred_until_us : UINT64_MAX;
}

void exec_members_end(struct kvp_executor *executor)
{
    executor->members.barred = 0; /* as the core, which leads no more */
    executor->members.changed_seq = 0;
}

const char *exec_members_no_promotion(const struct kvp_executor *executor)
{
    bool said = exec_members_removed(executor);
    for (unsigned i = 0; i < executor->config.peer_count && exec_members_listed(executor); i++) {
        said = said || executor->peer_troubles[i].reason == exec_peer_removed;
    }
    return said ? exec_removed_text : NULL;
}
