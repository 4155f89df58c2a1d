/* SPDX-License-Identifier: Apache-2.0 */
/* Who is neither a node of the group nor counts any more is forgotten. */
#include "replication/core/core_state.h"

#include <string.h>

/* The disk answers by the peer's id. */
static bool members_is_busy(const struct core_peer *peer)
{
    return peer->reading || peer->snapshot.opening || peer->snapshot.reading ||
           peer->leave_token != NULL;
}

void core_members_tick(struct kvp_core *core)
{
    for (unsigned i = core->peer_count; i > 0; i--) {
        struct core_peer *peer = &core->peers[i - 1];
        if (core_members_has(core, peer->id) || members_is_busy(peer)) {
            continue;
        }
        core_snapshot_end(core, peer);
        core->known &= ~kvp_set_of(peer->id);
        memmove(peer, peer + 1, (core->peer_count - i) * sizeof(*peer));
        core->peer_count--;
    }
}
