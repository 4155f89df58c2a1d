/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Why this node does not serve, and why a promotion came to nothing: each with what can be
 * done about it, as far as this node knows.
 */
#include "replication/node/exec_state.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CALLED_WITHIN_US 2000000u /* a primary calls whom it knows, as soon as it can */

const char exec_blank_text[] =
    "the witness knows a group of this name, and no node here has its data: restore a data "
    "directory; or, "
    "if the data is gone for good, take another --group, or a witness with an empty data directory";

const char exec_copy_text[] =
    "this store is a copy of the node's, or an old one put back: the group knows a later one. It "
    "stays out. While another node has the data: empty this data directory, and the node is sent "
    "everything. If none has: docs/operations.md, 'Data is copied away'";

const char exec_foreign_text[] =
    "the witness keeps another group under this name: give this node the right --witness or "
    "--data, or all nodes of its group another --group";

const char exec_unknown_text[] =
    "the witness does not know this group (any more): the members of the in-sync set tell it "
    "again when all of them are there; if the others are lost for good, 'kvcli promote --force'";

const char exec_witness_foreign[] = "it keeps another group under this name";
const char exec_witness_unknown[] = "it does not know this group (any more)";
const char exec_peer_unknowing[] =
    "it does not know this node: 'kvcli member add' lets it in; where there is no list of members "
    "yet, its --peer has to name it";
const char exec_peer_removed[] = "it says that this node is no member of the group any more";
const char exec_removed_text[] =
    "this node was removed from the group by 'kvcli member remove' or 'replace', as its list of "
    "members says: it counts nowhere. Stop it; or let it in again, with 'kvcli member add'";

static bool why_is_unknowing(const char *reason)
{
    return reason != NULL && (reason == exec_peer_unknowing || reason == exec_peer_removed);
}

void exec_role_changed(struct kvp_executor *executor)
{
    enum kvp_role role = kvp_core_role(executor->core);
    if (role == KVP_ROLE_PRIMARY || role == KVP_ROLE_BACKUP || role == KVP_ROLE_ELECT) {
        executor->why = NULL;
        executor->why_witness = false;
    }
}

bool exec_is_copy(const struct kvp_executor *executor)
{
    struct kvp_core_status status;
    kvp_core_status(executor->core, executor->now_us, &status);
    return status.meta.copy;
}

/* ---- the others ---- */

static const char *why_of_arbiter(const struct kvp_executor *executor, char *text, size_t size)
{
    const char *reason = executor->arbiter_trouble.reason;
    if (reason == NULL || reason == exec_witness_foreign || reason == exec_witness_unknown) {
        return reason == NULL                   ? NULL
               : reason == exec_witness_foreign ? exec_foreign_text
                                                : exec_unknown_text;
    }
    snprintf(text, size, "waits for the witness (%s): %s", executor->config.arbiter_url, reason);
    return text;
}

static const char *why_of_peers(const struct kvp_executor *executor, char *text, size_t size)
{
    for (unsigned i = 0; i < executor->config.peer_count; i++) {
        const struct exec_trouble *trouble = &executor->peer_troubles[i];
        if (trouble->reason != NULL) {
            snprintf(text, size, "waits for node %u (%s): %s", executor->config.peers[i].id,
                     executor->config.peers[i].url, trouble->reason);
            return text;
        }
    }
    return NULL;
}

static const struct exec_trouble *why_find_trouble(const struct kvp_executor *executor, unsigned id)
{
    for (unsigned i = 0; i < executor->config.peer_count; i++) {
        if (executor->config.peers[i].id == id) {
            return &executor->peer_troubles[i];
        }
    }
    return NULL;
}

const char *exec_peer_why(const struct kvp_executor *executor,
                          const struct kvp_core_peer_status *peer)
{
    const struct exec_trouble *trouble = why_find_trouble(executor, peer->id);
    if (peer->twice) {
        return "two stores say that they are this node's";
    }
    bool asks = trouble != NULL && trouble->reason != NULL && peer->heard &&
                !why_is_unknowing(trouble->reason);
    return asks ? "it asks, but does not answer at this address: is it that of its --listen?"
           : trouble == NULL ? NULL
                             : trouble->reason;
}

/* ---- a node that does not lead ---- */

static const struct kvp_core_peer_status *why_find_peer(const struct kvp_core_status *status,
                                                        unsigned id)
{
    for (unsigned i = 0; i < status->peer_count; i++) {
        if (status->peers[i].id == id) {
            return &status->peers[i];
        }
    }
    return NULL;
}

/* As its last answer said. */
static bool why_it_leads(const struct kvp_executor *executor,
                         const struct kvp_core_peer_status *peer)
{
    const struct exec_trouble *trouble = peer == NULL ? NULL : why_find_trouble(executor, peer->id);
    return trouble != NULL && peer->heard && trouble->leads;
}

static const char *why_of_members(const struct kvp_core_status *status, char *text, size_t size)
{
    char members[KVP_SET_TEXT_SIZE];
    const char *found = "";
    for (unsigned i = 0; i < status->peer_count; i++) {
        const struct kvp_core_peer_status *peer = &status->peers[i];
        if (peer->in_sync && peer->heard) {
            found = peer->blank ? ", and one is there with an empty data directory"
                                : ", and one is there and does not lead: see its status";
        }
    }
    snprintf(text, size,
             "was not in sync when the group served last: waits for a node that was (%s)%s. If "
             "that one's data is lost for good, 'kvcli promote --force' here gives up what only "
             "it had",
             kvp_set_print(members, status->view.in_sync), found);
    return text;
}

static const char *why_outside(const struct kvp_executor *executor,
                               const struct kvp_core_status *status, char *text, size_t size)
{
    const struct kvp_core_peer_status *primary = why_find_peer(status, status->view.primary);
    const char *peers = why_of_peers(executor, text, size);
    if (status->view.version == 0 && status->meta.group_id != 0) {
        return peers != NULL ? peers : "is about to found a group with its data";
    }
    if (status->view.version == 0) {
        return peers != NULL ? peers
                             : "has no data of a group: waits for a node that serves, which sends "
                               "it everything";
    }
    if (!why_it_leads(executor, primary)) {
        return why_of_members(status, text, size);
    }
    if (why_find_trouble(executor, primary->id)->reason == exec_peer_removed) {
        snprintf(text, size, "node %u leads, and says: %s", primary->id, exec_removed_text);
        return text;
    }
    if (why_find_trouble(executor, primary->id)->reason == exec_peer_unknowing) {
        snprintf(text, size,
                 "node %u leads, but does not know this node: 'kvcli member add %u %s' lets it in; "
                 "where there is no list of members yet, its --peer has to name node %u so",
                 primary->id, executor->config.core.self, executor->config.url,
                 executor->config.core.self);
        return text;
    }
    if (status->followed || executor->now_us - executor->started_us <= CALLED_WITHIN_US) {
        return peers != NULL ? peers : "is not in sync yet";
    }
    snprintf(text, size,
             "node %u leads and answers, but does not call this node: its --peer has to name node "
             "%u as %s",
             primary->id, executor->config.core.self, executor->config.url);
    return text;
}

static const char *why_backup(const struct kvp_executor *executor,
                              const struct kvp_core_status *status, char *text, size_t size)
{
    const struct kvp_core_peer_status *primary = why_find_peer(status, status->view.primary);
    if (status->commit_age_us <= executor->config.core.grace_us) {
        /* Before that it knows of the view only what it has on its disk. */
        return status->followed ? "" /* it follows one */
                                : "has just started: its role and view are those of before, until "
                                  "it has heard of newer ones";
    }
    const char *arbiter = why_of_arbiter(executor, text, size);
    const char *noted = executor->why != NULL ? executor->why : arbiter;
    const char *peers = noted != NULL ? noted : why_of_peers(executor, text, size);
    return peers != NULL     ? peers
           : primary == NULL ? "was the primary: is about to ask to lead again"
                             : "the primary is silent: is about to ask to lead";
}

const char *exec_why(const struct kvp_executor *executor, char *text, size_t size)
{
    struct kvp_core_status status;
    kvp_core_status(executor->core, executor->now_us, &status);
    const char *peers;
    if (status.meta.copy) {
        return exec_copy_text;
    }
    if (exec_members_removed(executor)) {
        return exec_removed_text;
    }
    switch (status.role) {
    case KVP_ROLE_PRIMARY:
        peers = why_of_peers(executor, text, size);
        return exec_serving(executor) ? ""
               : peers != NULL        ? peers
                                      : "waits for the lease of its backup";
    case KVP_ROLE_ELECT:
        peers = why_of_peers(executor, text, size);
        return peers != NULL ? peers : "is taking over";
    case KVP_ROLE_BACKUP:
        return why_backup(executor, &status, text, size);
    case KVP_ROLE_FAILED:
        return "its disk or memory failed: see its log";
    case KVP_ROLE_STOPPED:
        return "it is stopping";
    default:
        break;
    }
    if (executor->why != NULL) {
        return executor->why;
    }
    if (executor->arbiter_trouble.reason != NULL) {
        return why_of_arbiter(executor, text, size);
    }
    return status.role == KVP_ROLE_CANDIDATE ? "asks to lead"
                                             : why_outside(executor, &status, text, size);
}

/* ---- why a promotion came to nothing ---- */

static const char *promote_refused(const struct kvp_executor *executor, char *text, size_t size)
{
    struct kvp_core_status status;
    kvp_core_status(executor->core, executor->now_us, &status);
    const struct kvp_core_peer_status *primary = why_find_peer(&status, status.view.primary);
    if (status.meta.copy) {
        return exec_copy_text;
    }
    if (status.role == KVP_ROLE_PRIMARY || status.role == KVP_ROLE_ELECT) {
        return "this node leads already, but may not serve: a member of its view does not answer, "
               "and it may not go on without (in a pair under backup-wins that is the backup's "
               "right). Start that member, promote it, or use --force here if it is lost for good";
    }
    if (status.view.version == 0) {
        return executor->why != NULL
                   ? executor->why
                   : "this node has no data of a group yet: nothing can be promoted. Start the "
                     "other nodes: one that serves sends it everything, and nodes that are all "
                     "empty make a new group";
    }
    if (why_it_leads(executor, primary)) {
        snprintf(text, size,
                 "node %u leads and is alive: use 'kvcli handover', or --force, which gives up "
                 "what only the others have",
                 primary->id);
        return text;
    }
    if (status.meta.log_regressed) {
        return "this node's log is shorter than it was: it may not lead. Start a member that has "
               "everything; if none is left, --force gives up what this node lacks";
    }
    return NULL;
}

const char *exec_promote_why(const struct kvp_executor *executor, kvp_status status, char *text,
                             size_t size)
{
    if (status == KVP_UNCERTAIN) {
        return "whoever decides has not answered yet: this node goes on asking, and leads when it "
               "is granted. 'kvcli status' shows it";
    }
    if (status != KVP_REFUSED && status != KVP_TIMEOUT) {
        return NULL;
    }
    const char *why = promote_refused(executor, text, size);
    why = why != NULL ? why : exec_why(executor, text, size);
    return why[0] != '\0' ? why : "this node may not lead at the moment: see 'kvcli status'";
}
