/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Changes of view, as this node learns them: counted by what they were for, and the last of them
 * kept for STATUS. Each node keeps those that it saw, so what a node that is gone knew is with the
 * others; how long nobody served is known to the one that serves next.
 */
#include "replication/node/exec_state.h"

static const char *const view_reasons[NODE_COUNTS_VIEWS] = {
    [NODE_VIEW_FIRST] = "first",
    [NODE_VIEW_HANDOVER] = "handover",
    [NODE_VIEW_FAILOVER] = "failover",
    [NODE_VIEW_MEMBER_LOST] = "member_lost",
    [NODE_VIEW_MEMBER_JOINED] = "member_joined",
    [NODE_VIEW_OTHER] = "other",
};

const char *kvp_executor_view_reason(enum node_view_reason reason)
{
    return view_reasons[reason];
}

/* A primary that gives its role away is still a member when the other one has it. */
static enum node_view_reason view_reason(const struct kvp_view *before, const struct kvp_view *now)
{
    if (before->version == 0) {
        return NODE_VIEW_FIRST;
    }
    if (before->primary != now->primary) {
        return kvp_set_has(now->in_sync, before->primary) ? NODE_VIEW_HANDOVER : NODE_VIEW_FAILOVER;
    }
    if ((before->in_sync & ~now->in_sync) != 0) {
        return NODE_VIEW_MEMBER_LOST;
    }
    return (now->in_sync & ~before->in_sync) != 0 ? NODE_VIEW_MEMBER_JOINED : NODE_VIEW_OTHER;
}

#define CAUSE_LASTS_US 10000000u /* what was noted longer ago led to something else */

void exec_note_cause(struct kvp_executor *executor, enum kvp_note note)
{
    switch (note) {
    case KVP_NOTE_PEER_LOST:
    case KVP_NOTE_PEER_SLOW:
    case KVP_NOTE_PEER_REGRESSED:
    case KVP_NOTE_PEER_CAUGHT_UP:
    case KVP_NOTE_PRIMARY_SILENT:
    case KVP_NOTE_RESIGNED:
    case KVP_NOTE_DISK_GIVEN_UP:
        executor->view_cause = kvp_note_name(note);
        executor->view_cause_us = executor->now_us;
        break;
    default:
        break;
    }
}

/* As far as this node knows: an operator's wish, or what it had noted before. */
static const char *view_cause(const struct kvp_executor *executor)
{
    bool lately =
        executor->view_cause != NULL && executor->now_us - executor->view_cause_us < CAUSE_LASTS_US;
    return executor->promote_token != NULL    ? "promote"
           : executor->handover_token != NULL ? "handover"
           : lately                           ? executor->view_cause
                                              : "";
}

/* When this node begins to lead, the one that led has not been heard since then; 0: it is not
 * known. */
static uint64_t silent_since_us(const struct kvp_executor *executor, const struct kvp_view *before,
                                const struct kvp_view *now)
{
    struct kvp_core_status status;
    unsigned self = executor->config.core.self;
    if (before->version == 0 || before->primary == self || now->primary != self) {
        return 0;
    }
    kvp_core_status(executor->core, executor->now_us, &status);
    return status.commit_heard_us;
}

static void keep_view(struct kvp_executor *executor, const struct kvp_view *now,
                      enum node_view_reason reason)
{
    struct kvp_executor_sight sight = {0};
    if (executor->host.look != NULL) {
        executor->host.look(executor->host.arg, &sight);
    }
    executor->views[executor->view_count++ % EXEC_VIEWS_MAX] = (struct exec_view){
        .view = *now,
        .reason = reason,
        .cause = view_cause(executor),
        .wall_ms = sight.wall_ms,
        .silent_us = silent_since_us(executor, &executor->counted_view, now),
    };
    executor->view_cause = NULL;
}

void exec_count_view(struct kvp_executor *executor)
{
    const struct kvp_view *now = kvp_core_view(executor->core);
    if (now->version != executor->counted_view.version) {
        enum node_view_reason reason = view_reason(&executor->counted_view, now);
        node_count_add(&executor->counts.views[reason], 1);
        keep_view(executor, now, reason);
        executor->counted_view = *now;
    }
}

uint64_t exec_serves_after_us(struct kvp_executor *executor)
{
    uint64_t epoch = kvp_core_view(executor->core)->epoch;
    for (uint64_t i = executor->view_count; i > 0 && i + EXEC_VIEWS_MAX > executor->view_count;
         i--) {
        struct exec_view *change = &executor->views[(i - 1) % EXEC_VIEWS_MAX];
        if (change->view.epoch == epoch && change->silent_us != 0) {
            change->unserved_us = executor->now_us - change->silent_us;
            change->silent_us = 0; /* of its first service only */
            return change->unserved_us;
        }
    }
    return 0;
}
