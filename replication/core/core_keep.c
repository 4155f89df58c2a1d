/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What becomes of a store that another one takes the place of (rule R6).
 *
 * It is destroyed only if all that it may have acknowledged is known to be elsewhere: the register
 * has shown, in this incarnation, that whoever sends the other one is the primary, so that all that
 * is committed is there; and this node has made nothing alone. In pair mode the register is the
 * other node's word, given as an answer to a question of ours, at the address that is configured. A
 * message alone shows nothing: whoever can send one may want the store gone.
 *
 * With an arbiter a store that counts stays in its place while the register cannot be asked, for
 * half a minute: somebody may have made the view up while the lead is on its way to this very node,
 * and then nobody else could take it. A node that cannot reach the register for longer takes the
 * other store, which the real primary may well have sent.
 *
 * A register that has lost all it knew, or went back, is made anew by the members of the view that
 * they know. If all of them are old directories, the others may have what was acknowledged since. A
 * node that sees such a register, and is not in the view that it shows, has the primary compare
 * its log as if it had made the end of it alone (core_parted).
 *
 * Else it is kept: as a quarantined store if it ever counted, so that it may have what nobody else
 * has; as a spare if it never did. There is a bound for what is kept (storage.h). When it is
 * reached the store stays in its place, this node stays outside, and asks again now and then: an
 * operator may have made room, or the register may have shown the primary.
 */
#include "replication/core/core_state.h"

#include <assert.h>

#define CONFIRM_US 1000000u  /* a register that is there has answered by then */
#define AGAIN_US   10000000u /* after a refusal */
#define UNSEEN_US  30000000u /* for so long a store that counts waits for the register */

bool core_confirmed(const struct kvp_core *core)
{
    return kvp_view_equal(&core->shown, &core->view) || KVP_MUTANT(REPLACE_UNSEEN);
}

enum kvp_keep core_keep(const struct kvp_core *core, uint64_t replaced_by)
{
    bool older =
        core->log.tail.epoch < core->meta.forced_epoch; /* what an operator's force passed over */
    bool more =
        (core_parted(core) && !KVP_MUTANT(KEEP_NOTHING)) || core->commit > replaced_by || older;
    if (core->log.tail.seq == 0 || KVP_MUTANT(REPLACE_UNSEEN)) {
        return KVP_KEEP_NOT;
    }
    if (core_confirmed(core) && !more) {
        return KVP_KEEP_NOT;
    }
    return more || core->meta.member_epoch != 0 ? KVP_KEEP : KVP_KEEP_SPARE;
}

uint64_t core_confirm(struct kvp_core *core)
{
    assert(core->view.primary != core->config.self);
    if (core->config.policy == KVP_PAIR_NONE) {
        core_look_soon(core);
    } else {
        core_send_state(core, core_peer(core, core->view.primary));
    }
    return core->now_us + CONFIRM_US;
}

bool core_keep_waits(const struct kvp_core *core)
{
    uint64_t since_us = core->told_us > core->started_us ? core->told_us : core->started_us;
    return !core_paired(core) && !core_confirmed(core) && core->meta.member_epoch != 0 &&
           core->now_us < since_us + UNSEEN_US;
}

/* No entry is cut off or replaced unseen from here on, until whoever leads has shown that it has
 * them all. Which of them were acknowledged nobody knows any more: at the least the last one. */
void core_keep_unsure(struct kvp_core *core, const struct kvp_view *shown)
{
    uint64_t tail = core->log.tail.seq;
    if (tail == 0 || core_leading(core) || core_parted(core) || core->replacing ||
        kvp_set_has(shown->in_sync, core->config.self) || KVP_MUTANT(LOST_UNSEEN)) {
        return;
    }
    core->meta.unreplicated_from = core->commit < tail ? core->commit + 1 : tail;
    core_persist(core);
}

bool core_keep_refused(const struct kvp_core *core)
{
    return core->quarantine_full && core->now_us < core->quarantine_us;
}

void core_keep_failed(struct kvp_core *core)
{
    assert(core->replacing);
    core->replacing = false;
    KVP_MARK(KEEP_NO_ROOM);
    core->quarantine_full = true;
    core->quarantine_us = core->now_us + AGAIN_US;
    core->port.changed(core->port.arg);
}

/* The store stays what it is, and so does what is known about it, until another one has taken its
 * place: that one has promised nothing. */
void core_replace_begin(struct kvp_core *core, uint64_t lost)
{
    assert(!core->replacing && !core_leading(core));
    core->replacing = true;
    core->next_meta = core->meta;
    core->next_meta.diverged_count += lost;
    core->next_meta.unreplicated_from = 0;
    core->next_meta.member_epoch = 0;
    core->next_meta.log_regressed = false;
}

void core_replace_end(struct kvp_core *core, struct kvp_point point)
{
    assert(core->replacing && !core_leading(core));
    core->replacing = core->quarantine_full = false;
    core->meta.diverged_count = core->next_meta.diverged_count;
    core->meta.unreplicated_from = 0;
    core->meta.member_epoch = core->shown_member_epoch = 0;
    core->shown_log_regressed = false;
    /* An epoch above the view's: sent in a view that nobody granted. */
    core->meta.log_regressed = point.epoch > core->meta.view.epoch;
    core_persist(core); /* with the views learned meanwhile */
    core->incarnation++;
    core->cut_pending = false;
    kvp_core_log_reset(&core->log, point, point.seq + 1, point.seq, 0);
    core->durable = core->commit_point = point;
    core->written = core->commit = core->applied = core->applying = point.seq;
    core->write_last = 0;
    core->port.changed(core->port.arg);
}
