/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pair mode: two nodes that decide by themselves. The register lies with one of them, its *holder*,
 * which alone may change it; the other has to ask. Who holds it is the operator's choice:
 *
 *   backup-wins   of two members the backup: it may promote itself, a primary that has lost it may
 *                 not go on. A single member holds its own register.
 *   primary-wins  the primary; a backup promotes itself only on an operator's word, or when the
 *                 primary has said that it has failed.
 *   available     each one for itself: two registers, which may part.
 *
 * A holder whose storage has failed still gives its right away when asked, though not durably: it
 * takes no part any more, and after a restart the boot rule makes it learn the newer view first.
 *
 * Boot rule: a node that has just started may have a stale copy. It decides by itself only when its
 * last durable view was itself alone, or after the other one has answered a message that it sent
 * since its start (and so would have shown a newer view), or on an operator's word. An answer does
 * not count while a newer view may be on its way to the other one's disk, or got lost there: what
 * it was granted by an earlier incarnation of this node, which had failed, is known to nobody else.
 */
#include "replication/core/core_state.h"

#include <assert.h>

static kvp_node_set pair_self_set(const struct kvp_core *core)
{
    return kvp_set_of(core->config.self);
}

static bool pair_alone(const struct kvp_core *core)
{
    return core->meta.view.in_sync == pair_self_set(core) || core->meta.view.version == 0;
}

static bool pair_holds(const struct kvp_core *core)
{
    bool primary = core->meta.view.primary == core->config.self;
    if (pair_alone(core)) {
        return true;
    }
    if (!kvp_set_has(core->meta.view.in_sync, core->config.self)) {
        return false;
    }
    switch (core->config.policy) {
    case KVP_PAIR_BACKUP_WINS:
        return !primary;
    case KVP_PAIR_PRIMARY_WINS:
        return primary;
    default:
        return true;
    }
}

bool core_pair_may_promote(struct kvp_core *core)
{
    if (pair_alone(core) || core->promote_asked) {
        return true;
    }
    if (!core->contact && !KVP_MUTANT(BOOT_ALONE)) {
        return false;
    }
    /* A restarted primary asks whoever holds the register, and so does a backup whose primary has
     * said that it failed; else a backup needs to hold it. */
    return core->meta.view.primary == core->config.self || pair_holds(core) ||
           core->primary_resigned;
}

/* The boot rule holds for a view that is told, too: behind it there may be a newer one, granted by
 * an earlier incarnation of this node, which is not told before it is durable. Once the other one
 * has settled, this node goes the way of every candidate. */
bool core_pair_may_lead_told(const struct kvp_core *core)
{
    return !core_paired(core) || core->contact;
}

/* What the other one answered before was not settled; now it may be, and the next regular question
 * would leave a backup for a while that cannot take over. */
void core_pair_installed(struct kvp_core *core)
{
    if (core->config.policy != KVP_PAIR_NONE && !core->contact && core->peer_count > 0 &&
        core->role == KVP_ROLE_BACKUP) {
        core_send_state(core, &core->peers[0]);
    }
}

/* May this node decide on its present proposal without asking? */
bool core_pair_decides(const struct kvp_core *core)
{
    assert(core_paired(core));
    enum proposal_reason reason = core->proposal.reason;
    return pair_holds(core) || reason == REASON_FORCE || reason == REASON_CREATE ||
           (reason == REASON_PROMOTE && core->promote_asked);
}

void core_pair_ask(struct kvp_core *core)
{
    assert(core->proposal.stage == PROPOSAL_CAS);
    if (core->peer_count == 0) {
        return;
    }
    struct kvp_peer_request request;
    core_send_head(core, &request, KVP_OP_ASK_VIEW, core->peers[0].id);
    request.expected = core->meta.view.version;
    request.proposed = core->proposal.view;
    core->port.send(core->port.arg, &request);
}

/* Has that node made it? Two views of one epoch would both stay. */
static bool pair_made_by(const struct kvp_view *view, uint8_t node)
{
    return (view->epoch & KVP_NODE_ID_MAX) == node;
}

static kvp_status pair_judge(const struct kvp_core *core, const struct kvp_peer_request *request)
{
    const struct kvp_view *proposed = &request->proposed;
    /* While a grant is on its way to the disk it is neither given nor refused: whoever repeats the
     * question would take a refusal for the end of what is about to bind it. */
    if (core->ask_token != NULL) {
        return KVP_BUSY;
    }
    bool asked = core->config.policy == KVP_PAIR_BACKUP_WINS ||
                 core->config.policy == KVP_PAIR_PRIMARY_WINS; /* nobody asks elsewhere */
    bool sound = (asked && pair_made_by(proposed, request->from)) ||
                 (core->config.policy != KVP_PAIR_NONE && KVP_MUTANT(GRANT_ANY));
    if (!sound || !pair_holds(core) || pair_alone(core) ||
        !kvp_set_has(core->meta.view.in_sync, request->from) ||
        (proposed->in_sync & ~core->meta.view.in_sync) != 0) {
        return KVP_REFUSED;
    }
    if (!core_view_in_reach(core, proposed) && proposed->epoch > core->meta.view.epoch) {
        return KVP_REFUSED;
    }
    if (proposed->primary == core->config.self && !core->contact && !KVP_MUTANT(BOOT_ASKED)) {
        return KVP_REFUSED; /* the boot rule: an earlier incarnation may have given away more */
    }
    if (proposed->primary == core->config.self && core->stopping) {
        return KVP_REFUSED;
    }
    if (request->expected != core->meta.view.version || proposed->epoch <= core->meta.view.epoch) {
        return KVP_STALE_VIEW;
    }
    if (core->proposal.stage != PROPOSAL_NONE || core->replacing) {
        return KVP_BUSY;
    }
    return KVP_OK;
}

static void pair_asked_failed(struct kvp_core *core, const struct kvp_peer_request *request,
                              void *token)
{
    assert(core->role == KVP_ROLE_FAILED);
    kvp_status status = pair_judge(core, request);
    if (status == KVP_OK && kvp_set_has(request->proposed.in_sync, core->config.self)) {
        status = KVP_FAILED;
    }
    if (status == KVP_OK) {
        core->meta.view = core->view = request->proposed;
    }
    core_answer(core, token, KVP_OP_ASK_VIEW, request->sent_us, status);
}

/* Neither does it tell a copy anything, nor can it take a new number. */
void core_pair_asked_stopped(struct kvp_core *core, struct core_peer *peer,
                             const struct kvp_peer_request *request, void *token)
{
    kvp_status status = core->meta.copy ? KVP_OK : core_identity_admit(core, peer, request);
    bool grants = core->role == KVP_ROLE_FAILED && request->op == KVP_OP_ASK_VIEW &&
                  core_identity_may_follow(core) && !core->meta.copy;
    if (status == KVP_OK && grants) {
        pair_asked_failed(core, request, token);
    } else {
        core_answer(core, token, request->op, request->sent_us,
                    status == KVP_OK ? KVP_FAILED : status);
    }
}

void core_pair_asked(struct kvp_core *core, const struct kvp_peer_request *request, void *token)
{
    kvp_status status = pair_judge(core, request);
    if (status != KVP_OK) {
        core_answer(core, token, KVP_OP_ASK_VIEW, request->sent_us, status);
        return;
    }
    assert(core->ask_token == NULL && core->proposal.stage == PROPOSAL_NONE);
    core->meta.view = request->proposed;
    if (!KVP_MUTANT(GRANT_UNNOTED)) {
        core_note_unreplicated(core, &request->proposed); /* it may be given to this node, alone */
    }
    core->ask_view = request->proposed;
    core->ask_token = token;
    core->ask_echo_us = request->sent_us;
    core->ask_meta_needed = core_persist(core);
}

void core_pair_written(struct kvp_core *core)
{
    if (core->ask_token == NULL || core->meta_durable < core->ask_meta_needed) {
        return;
    }
    void *token = core->ask_token;
    core->ask_token = NULL;
    bool stands = kvp_view_equal(&core->meta.view, &core->ask_view);
    if (stands) {
        struct kvp_view view = core->ask_view;
        core_install(core, &view);
    }
    core_answer(core, token, KVP_OP_ASK_VIEW, core->ask_echo_us, stands ? KVP_OK : KVP_STALE_VIEW);
}
