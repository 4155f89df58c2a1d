/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The end of every event. What comes in from outside changes fields, and marks in `core->due` what
 * that may have made possible; core_settle() then does what is due, round by round, until nothing
 * is. A step of it may make the next one due, and never calls it: so no function is entered again
 * in the middle of a change, and whoever reads one step need not know the others (raft_step() of
 * cowsql/raft is made so, too).
 *
 * The rounds end: a step that marks something has taken the proposal one stage further, has ended
 * it, or has ended what an operator asked for; and from GRANTED on a proposal waits for the disk,
 * which is an event of its own.
 */
#include "replication/core/core_state.h"

#include <assert.h>

#define ROUNDS_MAX 32u

static bool settle_over(const struct kvp_core *core)
{
    return core->role == KVP_ROLE_FAILED || core->role == KVP_ROLE_STOPPED;
}

/* Failed, stopped, or told to be a copy: nothing that was begun goes on, and who waits is answered.
 */
static void settle_ended(struct kvp_core *core)
{
    assert(settle_over(core) || core->meta.copy);
    core_proposal_abort(core);
    core_answer_waiters(core, true);
    if (settle_over(core)) {
        core_identity_written(core);
    } else {
        core_view_retire(core);
    }
    core_answer_leavers(core);
    if (core->resigns && core_identity_known(core)) {
        core_resign(core);
    }
    core->resigns = false;
    core_admin_changed(core);
}

static void settle_view(struct kvp_core *core)
{
    core_answer_leavers(core);
    core_pair_installed(core);
    core_admin_changed(core);
    core->due |= CORE_DUE_LEAD; /* who has to acknowledge is another set */
}

static void settle_lead_tick(struct kvp_core *core, bool heartbeat)
{
    if (heartbeat) {
        core_heartbeat(core);
    }
    core_lead_tick(core);
    core_disk_lead_tick(core);
}

static void settle_tick(struct kvp_core *core)
{
    core_disk_note(core);
    core_members_tick(core);
    bool heartbeat = core->now_us >= core->heartbeat_due_us;
    if (heartbeat) {
        core->heartbeat_due_us = core->now_us + core->config.heartbeat_us;
    }
    if (core->loading || !core_identity_drawn(core)) {
        return; /* goes on when they are read, or it is written */
    }
    if (core->meta.copy) {
        core_identity_tell_copy(core);
        core->due |= CORE_DUE_ADMIN; /* a copy stays out of everything, but it can be stopped */
        return;
    }
    core_watch_tick(core);
    if (core_leading(core)) {
        settle_lead_tick(core, heartbeat);
    } else if (core->role == KVP_ROLE_BACKUP || core->role == KVP_ROLE_CANDIDATE ||
               (KVP_MUTANT(PROMOTE_OUTSIDE) && core->meta.view.version != 0)) {
        core_backup_tick(core);
    }
    if (!settle_over(core)) {
        core_outside_tick(core);
        core_incoming_tick(core);
    }
    core->due |= CORE_DUE_PROPOSAL | CORE_DUE_ADMIN;
}

/* What the acknowledgements allow: more is committed, a primary elect serves, a joiner is added. */
static void settle_lead(struct kvp_core *core)
{
    assert(core_leading(core) && core->lead_epoch != 0);
    core_advance(core);
    if (core->proposal.stage != PROPOSAL_NONE) {
        core_proposal_step(core);
    }
    if (core->role == KVP_ROLE_PRIMARY) {
        core_add_ready_joiner(core);
    }
    if (core_leading(core)) {
        core_admin_tick(core);
    }
}

/* The order of the steps: an end before all else; a view before what is done in it. */
static void settle_round(struct kvp_core *core, unsigned due)
{
    if (due & CORE_DUE_ENDED) {
        settle_ended(core);
    }
    if (settle_over(core)) {
        return;
    }
    if (due & CORE_DUE_VIEW) {
        settle_view(core);
    }
    if ((due & CORE_DUE_ELECTED) && core->role == KVP_ROLE_ELECT) {
        core_lead(core);
    }
    if (due & CORE_DUE_TICK) {
        settle_tick(core);
    }
    if (due & CORE_DUE_LOOK) {
        core_watch_tick(core);
    }
    if ((due & CORE_DUE_LEAD) && core_leading(core)) {
        settle_lead(core);
    } else if (due & (CORE_DUE_PROPOSAL | CORE_DUE_LEAD)) {
        core_proposal_step(core);
    }
    if (due & CORE_DUE_ADMIN) {
        core_admin_tick(core);
    }
}

static void settle_serving(struct kvp_core *core)
{
    bool serving = core_serving(core, core->now_us);
    if (serving != core->serving_told) {
        core->serving_told = serving;
        core->port.changed(core->port.arg);
    }
}

void core_settle_due(struct kvp_core *core)
{
    bool ticked = (core->due & CORE_DUE_TICK) != 0;
    for (unsigned round = 0; core->due != 0; round++) {
        unsigned due = core->due;
        assert(round < ROUNDS_MAX);
        core->due = 0;
        settle_round(core, due);
    }
    if (ticked && !settle_over(core)) {
        settle_serving(core);
    }
}
