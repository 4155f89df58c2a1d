/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which store speaks for a node. A data directory can be copied, with the machine or by hand, or put
 * back from yesterday: then two stores have one id, and only one of them has what the node has
 * acknowledged. So a store has an incarnation: a number that is drawn anew with every start and is
 * durable before anything is said. Whoever decides about the node keeps the number that it knows it
 * by: the register, or in pair mode the other node, durably. "I was X or Y, and am Z now" is accepted
 * from a store that the decider knows as X, Y or Z, and from then on only Z is known. A copy has the
 * numbers of the moment when it was made: it comes second, whoever is started first, and is told so.
 *
 * Why no crash makes a store a stranger to itself: when a number is confirmed the last ones before it stay
 * in mind, and the decider knows one of them or one drawn after it. (In pair mode the other node takes a number
 * at once and has it on its disk a moment later: a crash takes it back to one of those. Of more than
 * KVP_EARLIER_MAX / 2 starts that nobody confirmed, some are forgotten: such a store may have to be emptied.
 * That is the safe side.)
 *
 * Why a copy neither counts nor leads, with an arbiter: before its number is confirmed a store proposes
 * nothing, gives no lease, acknowledges nothing and says neither LEAVE nor RESIGN. While the witness
 * does not answer, a node goes on by the heartbeats that reach it: the primary sends them to the address
 * that it was told, and a copy is somewhere else. It still proposes nothing. When the witness is back, a copy
 * may be the first to be confirmed. It waits, as any backup that no primary has talked to since its start,
 * for longer than the other one needs to hear of it: that one stops giving leases, and the primary takes the
 * node out of the view, before the copy asks to lead.
 *
 * In pair mode every request carries the number, and one that the other node does not know does nothing
 * there. A node that was alone in its view decides by itself: of two copies of it both do, and nobody else is
 * there to tell them apart. The first that the other node hears is the one that it knows.
 *
 * A store that was told that it is a copy keeps that in mind: it stays out until its directory is emptied. An
 * empty store says that it is new (KVP_STORE_IS_NEW among its numbers). It gets a node's place when nothing counts on that node: with an arbiter when it
 * is not in the in-sync set, in pair mode when it has been silent.
 */
#include "replication/core/core_state.h"

#include <string.h>

#define SILENT_US  1000000u /* the arbiter does not answer: what reaches this node decides */
#define UNKNOWN_US 3000000u /* before a backup leads that no primary has talked to: longer than WATCH_PERIOD_US
                               and a lease */
#define NOTE_US    60000000u
#define EARLIER_KEPT (KVP_EARLIER_MAX / 2)

static bool paired(const struct kvp_core *core)
{
    return core->config.policy != KVP_PAIR_NONE;
}

/* ---- the store's own numbers ---- */

/* Behind the first half, which ends with the number that was confirmed last, the oldest makes room. */
static void remember_earlier(struct kvp_meta *meta)
{
    unsigned count = 0;
    while (count < KVP_EARLIER_MAX && meta->earlier[count] != 0) {
        count++;
    }
    if (count == KVP_EARLIER_MAX) {
        memmove(meta->earlier + EARLIER_KEPT, meta->earlier + EARLIER_KEPT + 1,
                (count - EARLIER_KEPT - 1) * sizeof(meta->earlier[0]));
        count--;
    }
    meta->earlier[count] = meta->incarnation;
}

bool core_identity_new(const struct kvp_meta *meta)
{
    for (unsigned i = 0; i < KVP_EARLIER_MAX; i++) {
        if (meta->earlier[i] == KVP_STORE_IS_NEW) {
            return true;
        }
    }
    return false;
}

/* Some of those before stay: what an earlier life asked for may come late, and in pair mode a crash of the
 * other node may take it back to one that it had known before. */
static void keep_last(struct kvp_meta *meta)
{
    uint64_t kept[KVP_EARLIER_MAX] = {0};
    unsigned count = 0, first;
    for (unsigned i = 0; i < KVP_EARLIER_MAX && meta->earlier[i] != 0; i++) {
        if (meta->earlier[i] != KVP_STORE_IS_NEW) {
            kept[count++] = meta->earlier[i];
        }
    }
    first = count < EARLIER_KEPT ? 0 : count - (EARLIER_KEPT - 1);
    memset(meta->earlier, 0, sizeof(meta->earlier));
    memcpy(meta->earlier, kept + first, (count - first) * sizeof(kept[0]));
}

void core_identity_draw(struct kvp_core *core)
{
    if (core->meta.copy) {
        core_note(core, KVP_NOTE_COPY, core->config.self);
        return;
    }
    if (KVP_MUTANT(COPY_SAME_NUMBER) && core->meta.incarnation != 0) {
        return;
    }
    if (core->meta.incarnation != 0) {
        remember_earlier(&core->meta);
    } else if (core->meta.group_id == 0) {
        core->meta.earlier[0] = KVP_STORE_IS_NEW;
    }
    core->meta.incarnation = core_random(core);
    core->identity_needed = core_persist(core);
    core->started_us = core->now_us;
}

bool core_identity_drawn(const struct kvp_core *core)
{
    return core->meta_durable >= core->identity_needed;
}

void core_identity_confirmed(struct kvp_core *core)
{
    if (core->confirmed) {
        return;
    }
    bool was_new = core_identity_new(&core->meta);
    core->confirmed = true;
    core->confirmed_us = core->now_us;
    keep_last(&core->meta); /* durable with the next change, */
    if (was_new) {
        core_persist(core); /* but for this: a copy would be as new as this store was */
    }
}

void core_identity_refused(struct kvp_core *core)
{
    if (core->meta.copy || KVP_MUTANT(COPY_LEADS)) {
        return;
    }
    core_note(core, KVP_NOTE_COPY, core->config.self);
    core->meta.copy = true;
    core_persist(core);
    core_retire(core);
}

/* ---- what it may do ---- */

bool core_identity_known(const struct kvp_core *core)
{
    return paired(core) || core->confirmed;
}

bool core_identity_may_follow(const struct kvp_core *core)
{
    return core_identity_known(core) ||
           (!core->claim_waits && core->now_us - core->started_us > SILENT_US);
}

bool core_identity_may_lead(const struct kvp_core *core)
{
    if (paired(core) || KVP_MUTANT(COPY_LEADS)) {
        return true;
    }
    bool own = core->view.primary == core->config.self ||
               core->view.in_sync == kvp_set_of(core->config.self);
    bool waited = core->now_us - core->confirmed_us > UNKNOWN_US;
    return core->confirmed &&
           (own || core->followed || waited || core->promote_asked);
}

/* ---- pair mode: the other node's ---- */

static bool is_earlier(const struct kvp_peer_request *request, uint64_t number)
{
    for (unsigned i = 0; i < KVP_EARLIER_MAX; i++) {
        if (number != 0 && request->earlier[i] == number) {
            return true;
        }
    }
    return false;
}

static void note_stranger(struct kvp_core *core, struct core_peer *peer)
{
    if (peer->copy_noted_us == 0 || core->now_us - peer->copy_noted_us > NOTE_US) {
        peer->copy_noted_us = core->now_us;
        core_note(core, KVP_NOTE_PEER_COPY, peer->id);
    }
}

kvp_status core_identity_admit(struct kvp_core *core, struct core_peer *peer,
                               const struct kvp_peer_request *request)
{
    uint64_t known = core->meta.peer_incarnation;
    bool silent = core->now_us - peer->last_contact_us > core->config.grace_us;
    if (!paired(core) || request->incarnation == 0 || request->incarnation == known) {
        return KVP_OK;
    }
    bool fresh = request->group_id == 0;
    if (known != 0 && !is_earlier(request, known) && !(fresh && silent)) {
        note_stranger(core, peer);
        return fresh ? KVP_BUSY : KVP_REFUSED;
    }
    core->meta.peer_incarnation = request->incarnation;
    core_persist(core);
    return KVP_OK;
}
