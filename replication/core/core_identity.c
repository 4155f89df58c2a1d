/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which store speaks for a node. A data directory can be copied, with the machine or by hand, or
 * put back from yesterday: then two stores have one id, and only one of them has what the node has
 * acknowledged. So a store has an incarnation: a number that is drawn anew with every start and is
 * durable before anything is said. Whoever decides about the node keeps the number that it knows it
 * by: the register, or in pair mode the other node, durably. "I was X or Y, and am Z now" is
 * accepted from a store that the decider knows as X, Y or Z, and from then on only Z is known. A
 * copy has the numbers of the moment when it was made: it comes second, whoever is started first,
 * and is told so.
 *
 * Why no crash makes a store a stranger to itself: a store is confirmed when whoever decides has
 * its number on its disk, and until then the store keeps the numbers before. (Of more than
 * KVP_EARLIER_MAX / 2 starts that nobody confirmed, some are forgotten: such a store may have to be
 * emptied. That is the safe side.)
 *
 * Why a copy neither counts nor leads, with an arbiter: before its number is confirmed a store
 * proposes nothing, gives no lease, acknowledges nothing and says neither LEAVE nor RESIGN. While
 * the witness does not answer, a node goes on by the heartbeats that reach it: the primary sends
 * them to the address that it was told, and a copy is somewhere else. It still proposes nothing.
 * When the witness is back, a copy may be the first to be confirmed. It waits, as any backup that
 * no primary has talked to since its start, for longer than the other one needs to hear of it: that
 * one stops giving leases, and the primary takes the node out of the view, before the copy asks to
 * lead.
 *
 * With an arbiter only the register is told the number: whoever knew it could claim the node's
 * place, and the node would be told that it is the copy. What the others see of a node, its
 * incarnation, does not follow from it.
 *
 * In pair mode every request carries the number, and so do the answers: by the reply's own element,
 * or by its incarnation, which begins with it. What comes from a store that is not known changes
 * nothing. A new number is taken from an answer only, which comes from the address that the node
 * was told: a request in the other one's name makes this node ask there, whoever sent it. Before a
 * store is confirmed it follows nobody, grants nothing and does not believe answers, unless it was
 * alone in its view: then it decides by itself. Of two copies of such a node both do, and nobody
 * else is there to tell them apart. The one at its address is the one that the other node will
 * know. A node that has failed takes no new number, but still knows the one that it has.
 *
 * An old store may have missed so much that the other one does not say any more what it was known
 * by. To each of them the other is a stranger, and its word does not count, unless one is confirmed
 * and the other is not.
 *
 * With an arbiter the other nodes do not judge, but tell where they see two (at the end of this
 * file). A copy tells them from time to time that it is there.
 *
 * A store that was told that it is a copy keeps that in mind: it stays out until its directory is
 * emptied. An empty store says that it is new (KVP_STORE_IS_NEW among its numbers). It gets a
 * node's place when nothing counts on that node: with an arbiter when it is not in the in-sync set,
 * in pair mode when it has been silent. It names the number that it replaces, as it was told when
 * it asked: a message that it sent when it was new, and that comes late, names another one.
 */
#include "replication/core/core_state.h"

#include <assert.h>
#include <string.h>

#define SILENT_US 1000000u /* the arbiter does not answer: what reaches this node decides */
#define UNKNOWN_US                                                                                 \
    3000000u /* before a backup leads that no primary has talked to: longer than WATCH_PERIOD_US   \
                and a lease */
#define EARLIER_KEPT          (KVP_EARLIER_MAX / 2)
#define INCARNATION_COUNT_MAX 0xffffu

/* ---- the store's own numbers ---- */

/* Behind the first half, which ends with the number that was confirmed last, the oldest makes room.
 */
static void identity_remember_earlier(struct kvp_meta *meta)
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

/* Some of those before stay: what an earlier incarnation asked for may come late, and in pair mode
 * a crash of the other node may take it back to one that it had known before. */
static void identity_keep_last(struct kvp_meta *meta)
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
    assert(core->meta_wanted == 0);
    if (core->meta.copy) {
        core_note(core, KVP_NOTE_COPY, core->config.self);
        return;
    }
    if (KVP_MUTANT(COPY_SAME_NUMBER) && core->meta.incarnation != 0) {
        return;
    }
    if (core->meta.incarnation != 0) {
        identity_remember_earlier(&core->meta);
    } else if (core->meta.group_id == 0) {
        core->meta.earlier[0] = KVP_STORE_IS_NEW;
    }
    core->meta.incarnation = core->config.secret ? core->config.secret : core_random(core);
    uint64_t shown = core_paired(core) ? core->meta.incarnation : core_random(core);
    core->incarnation = shown & ~(uint64_t)INCARNATION_COUNT_MAX;
    core->identity_needed = core_persist(core);
    core->started_us = core->now_us;
}

/* A new store that is not known yet is told whose place it would take. */
bool core_identity_replaces(struct kvp_core *core, uint64_t known)
{
    bool news = known != 0 && known != core->replaces && core_identity_new(&core->meta);
    if (news) {
        core->replaces = known;
    }
    return news;
}

void core_identity_confirmed(struct kvp_core *core)
{
    if (core->confirmed) {
        return;
    }
    bool was_new = core_identity_new(&core->meta);
    core->confirmed = true;
    core->confirmed_us = core->now_us;
    identity_keep_last(&core->meta); /* durable with the next change, */
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
    core->copy_due_us = core->now_us + core->config.grace_us;
    core_persist(core);
    core->due |= CORE_DUE_ENDED;
}

/* ---- what it may do ---- */

bool core_identity_known(const struct kvp_core *core)
{
    return core->confirmed || (core_paired(core) && core_identity_drawn(core));
}

bool core_identity_may_follow(const struct kvp_core *core)
{
    bool silent = !core_paired(core) && !core->claim_waits;
    return core->confirmed || KVP_MUTANT(BOOT_ASKED) ||
           (silent && core->now_us - core->started_us > SILENT_US);
}

bool core_identity_may_lead(const struct kvp_core *core)
{
    bool alone = core->view.in_sync == kvp_set_of(core->config.self);
    if (KVP_MUTANT(COPY_LEADS) || KVP_MUTANT(BOOT_ALONE) ||
        (core_paired(core) && (alone || core->promote_asked))) {
        return true;
    }
    bool own = core->view.primary == core->config.self || alone || core_paired(core);
    bool waited = core->now_us - core->confirmed_us > UNKNOWN_US;
    return core->confirmed && (own || core->followed || waited || core->promote_asked);
}

/* ---- pair mode: the other node's ---- */

static bool identity_is_earlier(const uint64_t earlier[KVP_EARLIER_MAX], uint64_t number)
{
    for (unsigned i = 0; i < KVP_EARLIER_MAX; i++) {
        if (number != 0 && earlier[i] == number) {
            return true;
        }
    }
    return false;
}

static void identity_note_twice(struct kvp_core *core, struct core_peer *peer)
{
    peer->copy_seen_us = core->now_us;
    if (peer->copy_noted_us == 0 || core->now_us - peer->copy_noted_us > KVP_COPY_SHOWN_US) {
        peer->copy_noted_us = core->now_us;
        core_note(core, KVP_NOTE_PEER_COPY, peer->id);
    }
}

/* What an earlier incarnation of the store said may come late. Before it was heard itself, nobody
 * can tell. */
static void identity_note_stranger(struct kvp_core *core, struct core_peer *peer, uint64_t number)
{
    bool heard = core->peer_said == core->meta.peer_incarnation;
    if (heard && !identity_is_earlier(core->peer_earlier, number)) {
        identity_note_twice(core, peer);
    }
}

static bool identity_writes(const struct kvp_core *core)
{
    return core->role != KVP_ROLE_FAILED && core->role != KVP_ROLE_STOPPED;
}

/* A node whose disk does not answer is about to give its lead away, and may need this one for it.
 */
static bool identity_peer_number_durable(const struct kvp_core *core)
{
    return core->meta_durable >= core->peer_number_needed || core_disk_hangs(core, core->now_us) ||
           KVP_MUTANT(NUMBER_NOT_DURABLE);
}

static void identity_remember_peer(struct kvp_core *core, const struct kvp_numbers *numbers)
{
    if (core->peer_said != numbers->incarnation) {
        core->peer_said = numbers->incarnation;
        memcpy(core->peer_earlier, numbers->earlier, sizeof(core->peer_earlier));
    }
}

/* A crash could make this node forget which store it knows, and take the other one for a copy. */
static bool identity_forgettable(const struct kvp_core *core)
{
    return core->meta_durable < core->peer_number_needed && !KVP_MUTANT(COPY_FROM_MEMORY);
}

/* Does the store speak for the other node, or may it from now on? */
static kvp_status identity_judge(struct kvp_core *core, struct core_peer *peer, bool fresh,
                                 const struct kvp_numbers *numbers)
{
    uint64_t known = core->meta.peer_incarnation;
    bool silent = core->now_us - peer->last_contact_us > core->config.grace_us;
    bool named = numbers->replaces == known;
    if (numbers->incarnation == known) {
        identity_remember_peer(core, numbers);
        return KVP_OK;
    }
    if (known != 0 && !identity_is_earlier(numbers->earlier, known) &&
        !(fresh && silent && named)) {
        identity_note_stranger(core, peer, numbers->incarnation);
        return fresh || identity_forgettable(core) ? KVP_BUSY : KVP_REFUSED;
    }
    return identity_writes(core) ? KVP_OK : KVP_BUSY;
}

static void identity_take(struct kvp_core *core, const struct kvp_numbers *numbers)
{
    if (numbers->incarnation == core->meta.peer_incarnation) {
        return;
    }
    core->meta.peer_incarnation = numbers->incarnation;
    core->peer_number_needed = core_persist(core);
    identity_remember_peer(core, numbers);
}

static void identity_ask_soon(struct kvp_core *core, const struct core_peer *peer)
{
    if (core->now_us >= core->number_asked_us + core->config.heartbeat_us / 2) {
        core->number_asked_us = core->now_us;
        core_send_state(core, peer);
    }
}

/* Anybody can send a number: whether the other node has it is asked at its address. */
static kvp_status identity_asked(struct kvp_core *core, struct core_peer *peer,
                                 const struct kvp_peer_request *request)
{
    kvp_status status = identity_judge(core, peer, request->group_id == 0, &request->numbers);
    if (status != KVP_OK) {
        return status;
    }
    if (KVP_MUTANT(NUMBER_BY_REQUEST)) {
        identity_take(core, &request->numbers);
        return KVP_OK;
    }
    identity_ask_soon(core, peer);
    return KVP_BUSY;
}

kvp_status core_identity_admit(struct kvp_core *core, struct core_peer *peer,
                               const struct kvp_peer_request *request)
{
    if (!core_paired(core) || request->numbers.incarnation == 0) {
        return KVP_OK;
    }
    bool told = request->op != KVP_OP_APPEND && request->op != KVP_OP_SNAPSHOT;
    bool same = request->numbers.incarnation == core->meta.peer_incarnation;
    kvp_status status = KVP_OK;
    if (!same) {
        status = told ? identity_asked(core, peer, request) : KVP_BUSY;
    }
    bool answered = identity_peer_number_durable(core) ||
                    (identity_writes(core) && request->op == KVP_OP_STATE);
    return status == KVP_OK && !answered ? KVP_BUSY : status;
}

static void identity_answer_held(struct kvp_core *core, kvp_status status)
{
    if (core->state_token != NULL) {
        core_answer(core, core->state_token, KVP_OP_STATE, core->state_echo_us, status);
        core->state_token = NULL;
    }
}

void core_identity_state(struct kvp_core *core, const struct kvp_peer_request *request, void *token)
{
    assert(token != NULL);
    identity_answer_held(core, KVP_BUSY);
    core->state_token = token;
    core->state_echo_us = request->sent_us;
    core_identity_written(core);
    if (core_paired(core) && !core->confirmed && !core_leading(core)) {
        identity_ask_soon(
            core, &core->peers[0]); /* what it could not tell before it can, when it has this */
    }
}

/* Its answers were those of a stranger so far: what it is asked again, it need not wait to be
 * asked. Where the disk hangs they count, but the number is still to be waited for. */
static void identity_ask_again(struct kvp_core *core)
{
    if (core->meta_durable < core->peer_number_needed) {
        return;
    }
    if (core->peer_number_needed != 0 && !core->contact && !core_leading(core)) {
        core_send_state(core, &core->peers[0]);
    }
    core->peer_number_needed = 0;
}

void core_identity_written(struct kvp_core *core)
{
    if (!identity_writes(core)) {
        identity_answer_held(core, KVP_BUSY);
    } else if (identity_peer_number_durable(core)) {
        identity_answer_held(core, KVP_OK);
        identity_ask_again(core);
    }
}

/* The last bits of an incarnation count what has become of the store since its start. */
static bool identity_is_of(uint64_t incarnation, uint64_t number)
{
    return (incarnation ^ number) <= INCARNATION_COUNT_MAX;
}

static bool identity_comes_from_known(struct kvp_core *core, struct core_peer *peer,
                                      const struct kvp_peer_reply *reply)
{
    uint64_t known = core->meta.peer_incarnation;
    if (reply->numbers.incarnation == 0) {
        return known == 0 || identity_is_of(reply->report.incarnation, known);
    }
    if (identity_judge(core, peer, reply->group_id == 0, &reply->numbers) != KVP_OK) {
        return false;
    }
    identity_take(core, &reply->numbers);
    return identity_peer_number_durable(core);
}

bool core_identity_heard(struct kvp_core *core, struct core_peer *peer,
                         const struct kvp_peer_reply *reply)
{
    bool decides = reply->op == KVP_OP_STATE || reply->op == KVP_OP_HEARTBEAT;
    if (!core_paired(core)) {
        return true;
    }
    bool known = identity_comes_from_known(core, peer, reply);
    bool speaks = core->confirmed || core_leading(core);
    if (decides && reply->code == KVP_REFUSED && (known || (reply->report.known && !speaks))) {
        core_identity_refused(core);
        return false;
    }
    if (!known) {
        return false;
    }
    (void)core_identity_replaces(core, reply->knows);
    if (decides && (reply->code == KVP_OK || reply->code == KVP_STALE_VIEW)) {
        core_identity_confirmed(core);
    }
    return core->confirmed;
}

/* ---- with an arbiter: are there two? ---- */

/* One that asks, goes on asking and does not answer, while another one does, is no incarnation of
 * that one: it was asked after the other had spoken. Whatever came late does not come again. */
bool core_identity_at_home(struct kvp_core *core, struct core_peer *peer,
                           const struct kvp_peer_request *request)
{
    uint64_t incarnation = request->report.incarnation;
    if (core_paired(core) || request->op != KVP_OP_STATE || peer->answers == 0 ||
        identity_is_of(incarnation, peer->answers)) {
        return true;
    }
    bool fresh = core->now_us - peer->heard_incarnation_us <= core->config.lease_us;
    if (peer->stranger == 0 || !identity_is_of(incarnation, peer->stranger)) {
        peer->stranger = incarnation;
        peer->stranger_us = core->now_us;
        peer->contested_us = 0;
    } else if (core->now_us - peer->stranger_us > core->config.grace_us) {
        peer->contested_us = core->now_us;
    }
    core_send_state(core, peer);
    return !fresh;
}

void core_identity_answers(struct kvp_core *core, struct core_peer *peer,
                           const struct kvp_peer_reply *reply)
{
    if (core_paired(core)) {
        return;
    }
    uint64_t incarnation = reply->report.incarnation;
    if (peer->stranger != 0 && identity_is_of(incarnation, peer->stranger)) {
        peer->stranger = 0;
        peer->contested_us = 0;
    } else if (peer->contested_us != 0 && reply->echo_us >= peer->contested_us) {
        peer->contested_us = 0;
        identity_note_twice(core, peer);
    }
    peer->answers = incarnation;
    peer->heard_incarnation_us = core->now_us;
}

/* In a pair it might be taken for the node by one that has forgotten everything. */
void core_identity_tell_copy(struct kvp_core *core)
{
    assert(core->meta.copy);
    if (core_paired(core) || core->now_us < core->copy_due_us) {
        return;
    }
    core->copy_due_us = core->now_us + KVP_COPY_TOLD_US;
    for (unsigned i = 0; i < core->peer_count; i++) {
        core_send_state(core, &core->peers[i]);
    }
}
