/* SPDX-License-Identifier: Apache-2.0 */
/* Changes of view, as this node learns them, counted by what they were for. */
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

void exec_count_view(struct kvp_executor *executor)
{
    const struct kvp_view *now = kvp_core_view(executor->core);
    if (now->version != executor->counted_view.version) {
        node_count_add(&executor->counts.views[view_reason(&executor->counted_view, now)], 1);
        executor->counted_view = *now;
    }
}
