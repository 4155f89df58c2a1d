/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who may do what, over failovers. A keeper writes keys that only he may read, between and behind
 * those of two spies, whose rights come and go; a third one has none. They ask for everything that
 * a client can ask for, also for what is beyond their rights. Held against the log, which says what
 * rights there were when:
 *
 * - what somebody had no right to while it was answered is refused, and what he had a right to is
 *   not; what has happened since a right is gone is told no more;
 * - no pair that he is told of is beyond his rights.
 *
 * And each seed is run twice: in the other world the keeper's keys have changed places, and his
 * values are others. All that the spies see, bit by bit and to the microsecond, is the same: what
 * they may not read changes nothing that they can see.
 */
#include "sim.h"

#include "kvstore/keyspace.h"
#include "kvstore/writeset.h"
#include "replication/access/rights_record.h"
#include "replication/net/identity.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#define SPIES      3u /* the last one has no rights */
#define KEEPER     3u
#define ROOT       4u
#define ASKERS     5u
#define KEYS       6u
#define TRY_US     400000u
#define SPY_US     30000u
#define KEEPER_US  60000u
#define ROOT_US    900000u
#define STATES_MAX 256u

/* Rights of user/spy, as an entry of the log made them. */
struct rights_state {
    uint64_t seq, epoch, appended_us, applied_us; /* 0: not applied yet */
    bool read, write;
};

/* What a request that is under way needs. */
struct rights_question {
    uint64_t sent_us;
    unsigned op;
    bool read, write, beyond, stale;
};

struct rights_asker {
    struct rights_question question;
    unsigned target, cursor_at; /* the node that has the cursor */
    uint32_t call;
    uint64_t timer, cursor, next; /* of a scan and a watch that may go on */
    bool busy;
};

struct sim_rights {
    uint64_t random, random_secret;
    uint64_t secrets, foreign_cursor;
    XXH64_state_t *seen;
    struct rights_state states[STATES_MAX];
    size_t state_count;
    struct rights_asker askers[ASKERS];
};

static const struct kvp_identity identities[ASKERS] = {
    {.kind = KVP_IDENTITY_USER, .group = "sim", .name = "spy"},
    {.kind = KVP_IDENTITY_USER, .group = "sim", .name = "spy"},
    {.kind = KVP_IDENTITY_USER, .group = "sim", .name = "nobody"},
    {.kind = KVP_IDENTITY_USER, .group = "sim", .name = "root"},
    {.kind = KVP_IDENTITY_USER, .group = "sim", .name = "root"},
};

const struct kvp_identity *sim_rights_identity(unsigned from)
{
    return from >= SIM_ASKER(0) && from < SIM_ASKER(ASKERS) ? &identities[from - SIM_ASKER(0)]
                                                            : NULL;
}

void sim_plan_rights(struct sim_plan *plan, uint64_t seed)
{
    uint64_t stream = seed ^ 0x5eed0013;
    if (plan->policy == KVP_PAIR_AVAILABLE) {
        return; /* rights may be set aside */
    }
    plan->rights = true;
    plan->cache_size_max = sim_below(&stream, 2) != 0 ? 300 : 0;
    plan->hang_gap_us = 0;
    plan->chunk_size = 0; /* where a snapshot is cut depends on the order of its keys */
    plan->forge = plan->forge_words = 0; /* what strangers say is made of what they hear */
}

static uint64_t rights_below(struct sim *sim, uint64_t bound)
{
    return sim_below(&sim->rights->random, bound);
}

static void rights_timer(struct sim *sim, unsigned index, uint64_t delay_us)
{
    struct sim_event *event = sim_at(sim, delay_us, SIM_RIGHTS_TIMER);
    event->node = index;
    event->number = ++sim->rights->askers[index].timer;
}

void sim_rights_open(struct sim *sim)
{
    if (!sim->plan.rights) {
        return;
    }
    sim->rights = calloc(1, sizeof(*sim->rights));
    XXH64_state_t *seen = XXH64_createState();
    if (sim->rights == NULL || seen == NULL) {
        abort();
    }
    XXH64_reset(seen, 0);
    sim->rights->seen = seen;
    sim->rights->random = sim->seed ^ 0x5eed0014;
    sim->rights->random_secret = sim->seed ^ 0x5eed0015;
    sim->rights->state_count = 1; /* nobody has a right */
    for (unsigned i = 0; i < ASKERS; i++) {
        sim->rights->askers[i].target = 1 + (unsigned)rights_below(sim, sim->plan.nodes);
        rights_timer(sim, i, 1000000 + rights_below(sim, 1000000));
    }
}

void sim_rights_free(struct sim *sim)
{
    if (sim->rights != NULL) {
        sim->seen = XXH64_digest(sim->rights->seen);
        XXH64_freeState(sim->rights->seen);
        free(sim->rights);
        sim->rights = NULL;
    }
}

/* ---- what rights there are ---- */

static bool rights_of(kvp_slice record, enum kvp_right_kind kind)
{
    struct kvp_rights_table table = {0};
    const struct kvp_right right = {.kind = kind, .of = kvp_slice_of("s", 1)};
    bool has = kvp_rights_table_load(&table, record) == KVP_OK &&
               kvp_rights_has(kvp_rights_table_find(&table, kvp_slice_of("user/spy", 8)), &right);
    kvp_rights_table_free(&table);
    return has;
}

/* The record of rights that the entry writes. False: it writes none. */
static bool rights_written(const struct kvp_entry *entry, kvp_slice *record)
{
    struct kvp_raw_key key;
    struct kvp_writeset_iter iter;
    struct kvp_batch_op op;
    kvp_raw_key_rights(&key);
    kvp_writeset_begin(&iter, kvp_slice_of(entry->payload, entry->size));
    while (kvp_writeset_next(&iter, &op) == KVP_OK) {
        if (kvp_slice_compare(op.key, kvp_raw_key_slice(&key)) == 0) {
            *record = op.is_delete ? (kvp_slice){0} : op.value;
            return true;
        }
    }
    return false;
}

static struct rights_state *rights_find(struct sim_rights *rights, const struct kvp_entry *entry)
{
    for (size_t i = 1; i < rights->state_count; i++) {
        if (rights->states[i].seq == entry->point.seq &&
            rights->states[i].epoch == entry->point.epoch) {
            return &rights->states[i];
        }
    }
    return NULL;
}

static void rights_wrote(struct sim *sim, const struct kvp_entry *entry, bool applied)
{
    struct sim_rights *rights = sim->rights;
    struct rights_state *state = rights_find(rights, entry);
    kvp_slice record;
    if (state == NULL && rights->state_count < STATES_MAX && rights_written(entry, &record)) {
        state = &rights->states[rights->state_count++];
        *state = (struct rights_state){.seq = entry->point.seq,
                                       .epoch = entry->point.epoch,
                                       .appended_us = sim->now_us,
                                       .read = rights_of(record, KVP_RIGHT_READ),
                                       .write = rights_of(record, KVP_RIGHT_WRITE)};
    }
    if (state != NULL && applied && state->applied_us == 0) {
        state->applied_us = sim->now_us;
    }
}

void sim_rights_wrote(struct sim *sim, const struct kvp_disk_job *job)
{
    if (sim->rights == NULL || job->op != KVP_DISK_WRITE) {
        return;
    }
    for (size_t i = 0; i < job->write.append_count; i++) {
        rights_wrote(sim, job->write.append[i], false);
    }
    for (size_t i = 0; i < job->write.apply_count; i++) {
        rights_wrote(sim, job->write.apply[i], true);
    }
}

/* When it was in force no more for sure: another one has been applied since. */
static bool rights_over_before(const struct sim_rights *rights, const struct rights_state *state,
                               uint64_t time_us)
{
    for (size_t i = 1; i < rights->state_count; i++) {
        const struct rights_state *other = &rights->states[i];
        if (other != state && other->seq >= state->seq && other->applied_us != 0 &&
            other->applied_us < time_us) {
            return true;
        }
    }
    return false;
}

static bool rights_fit(const struct rights_state *state, const struct rights_question *question)
{
    return !question->beyond && (!question->read || state->read) &&
           (!question->write || state->write);
}

/* Were there rights, at some time since it was asked, that (do not) fit? */
static bool rights_may_be(const struct sim *sim, const struct rights_question *question, bool fit)
{
    const struct sim_rights *rights = sim->rights;
    for (size_t i = 0; i < rights->state_count; i++) {
        const struct rights_state *state = &rights->states[i];
        if (rights_fit(state, question) == fit &&
            !rights_over_before(rights, state, question->sent_us)) {
            return true;
        }
    }
    return false;
}

/* ---- asking ---- */

static void rights_send(struct sim *sim, unsigned index, struct kvp_request *request)
{
    struct rights_asker *asker = &sim->rights->askers[index];
    kvp_buf body = {0};
    struct sim_message message = {
        .from = SIM_ASKER(index), .to = asker->target, .call = ++asker->call};
    request->group = kvp_slice_of("sim", 3);
    if (kvp_wire_request_encode(request, &body) != KVP_OK) {
        abort();
    }
    asker->busy = true;
    asker->question.op = request->op;
    asker->question.stale = request->stale;
    asker->question.sent_us = sim->now_us;
    sim_send(sim, &message, kvp_buf_slice(&body));
    kvp_buf_free(&body);
    rights_timer(sim, index, TRY_US + (uint64_t)request->wait_ms * 1000);
}

/* The n-th of the keeper's keys, of those that stand before (r) or behind (t) the spies' own. In
 * the other world each is another one. */
static void keeper_key(const struct sim *sim, unsigned n, char key[3])
{
    static const unsigned other[KEYS] = {4, 2, 5, 0, 3, 1};
    unsigned place = sim->other_world ? other[n] : n;
    key[0] = place < KEYS / 2 ? 'r' : 't';
    key[1] = (char)('0' + place);
    key[2] = '\0';
}

static void keeper_ask(struct sim *sim)
{
    struct sim_rights *rights = sim->rights;
    char keys[3][3];
    uint64_t values[3];
    struct kvp_txn_op ops[3];
    unsigned count = 1 + (unsigned)sim_below(&rights->random_secret, 3);
    for (unsigned i = 0; i < count; i++) {
        keeper_key(sim, (unsigned)sim_below(&rights->random_secret, KEYS), keys[i]);
        values[i] = ++rights->secrets ^ (sim->other_world ? UINT64_C(0x5a5a5a5a5a5a5a5a) : 0);
        ops[i] = (struct kvp_txn_op){
            .kind = sim_below(&rights->random_secret, 3) == 0 ? KVP_TXN_DELETE : KVP_TXN_PUT,
            .key = kvp_slice_of(keys[i], 2)};
        if (ops[i].kind == KVP_TXN_PUT) {
            ops[i].value = kvp_slice_of(&values[i], sizeof(values[i]));
        }
    }
    struct kvp_request request = {.op = KVP_OP_TXN, .then_ops = ops, .then_count = count};
    if (sim_below(&rights->random_secret, 3) == 0) { /* a cursor that is not the spies' */
        request = (struct kvp_request){.op = KVP_OP_SCAN, .count_max = 1};
    }
    rights_send(sim, KEEPER, &request);
}

static void root_ask(struct sim *sim)
{
    static const char *const lists[] = {"\x91\xa6read s", "\x91\xa7write s",
                                        "\x92\xa6read s\xa7write s"};
    const char *list = lists[rights_below(sim, 3)];
    struct kvp_request request = {.op = KVP_OP_ACCESS_CHANGE,
                                  .key = kvp_slice_of("user/spy", 8),
                                  .value = kvp_slice_of(list, strlen(list)),
                                  .force = rights_below(sim, 5) < 3};
    rights_send(sim, ROOT, &request);
}

/* ---- what spies ask ---- */

/* A key, and most are their own; `question` is what it needs. */
static void spy_key(struct sim *sim, struct rights_question *question, char key[3])
{
    bool own = rights_below(sim, 4) != 0;
    key[0] = own ? 's' : rights_below(sim, 2) != 0 ? 'r' : 't';
    key[1] = (char)('0' + rights_below(sim, KEYS));
    key[2] = '\0';
    question->beyond |= !own;
}

static void spy_range(struct sim *sim, struct rights_question *question,
                      struct kvp_request *request)
{
    static const struct {
        const char *start, *end;
        bool beyond;
    } ranges[] = {{"s", "t", false},   {"s1", "s4", false}, {"s", "s\xff", false},
                  {"", "", true},      {"s", "", true},     {"r", "t", true},
                  {"s3", "t1", true},  {"r1", "r3", true},  {"t4", "t5", true},
                  {"s", "t\x01", true}};
    unsigned which = (unsigned)rights_below(sim, sizeof(ranges) / sizeof(ranges[0]) + 5);
    which = which < sizeof(ranges) / sizeof(ranges[0]) ? which : 0;
    request->key = kvp_slice_of(ranges[which].start, strlen(ranges[which].start));
    request->value = kvp_slice_of(ranges[which].end, strlen(ranges[which].end));
    question->read = true;
    question->beyond = ranges[which].beyond;
}

static void spy_scan(struct sim *sim, struct rights_asker *asker, struct kvp_request *request)
{
    request->op = KVP_OP_SCAN;
    request->count_max = 1 + (uint32_t)rights_below(sim, 3);
    request->keys_only = rights_below(sim, 3) == 0;
    request->stale = rights_below(sim, 3) == 0;
    spy_range(sim, &asker->question, request);
    unsigned which = (unsigned)rights_below(sim, 4);
    request->cursor = which < 2 ? asker->cursor : which == 2 ? sim->rights->foreign_cursor : 0;
    if (which < 2 && asker->cursor != 0) {
        asker->target = asker->cursor_at;
    }
    asker->question.beyond &= request->cursor == 0; /* then the range is that of the cursor */
    if (rights_below(sim, 8) == 0) {
        *request =
            (struct kvp_request){.op = KVP_OP_CLOSE_SCAN, .cursor = sim->rights->foreign_cursor};
        asker->question = (struct rights_question){0};
    }
}

static void spy_watch(struct sim *sim, struct rights_asker *asker, struct kvp_request *request)
{
    request->op = KVP_OP_WATCH;
    request->count_max = (uint32_t)rights_below(sim, 3);
    request->wait_ms = rights_below(sim, 2) != 0 ? 1000 : 0;
    request->version = rights_below(sim, 4) != 0 ? asker->next : rights_below(sim, 2);
    request->stale = rights_below(sim, 4) == 0;
    spy_range(sim, &asker->question, request);
}

struct spy_txn {
    char keys[6][3];
    struct kvp_compare compares[2];
    struct kvp_txn_op ops[4];
};

static void spy_txn_op(struct sim *sim, struct rights_question *question, struct kvp_txn_op *op,
                       char key[3])
{
    static const unsigned kinds[] = {KVP_TXN_GET, KVP_TXN_PUT, KVP_TXN_DELETE};
    spy_key(sim, question, key);
    *op = (struct kvp_txn_op){.kind = kinds[rights_below(sim, 3)], .key = kvp_slice_of(key, 2)};
    op->value = op->kind == KVP_TXN_PUT ? kvp_slice_of("v", 1) : (kvp_slice){0};
    question->read |= op->kind != KVP_TXN_PUT;
    question->write |= op->kind != KVP_TXN_GET;
}

static void spy_txn(struct sim *sim, struct rights_asker *asker, struct spy_txn *txn,
                    struct kvp_request *request)
{
    *request = (struct kvp_request){.op = KVP_OP_TXN,
                                    .compares = txn->compares,
                                    .compare_count = (uint32_t)rights_below(sim, 3),
                                    .then_ops = txn->ops,
                                    .then_count = (uint32_t)rights_below(sim, 3),
                                    .else_ops = txn->ops + 2,
                                    .else_count = (uint32_t)rights_below(sim, 3)};
    for (uint32_t i = 0; i < request->compare_count; i++) {
        spy_key(sim, &asker->question, txn->keys[i]);
        txn->compares[i] =
            (struct kvp_compare){.kind = KVP_COMPARE_ABSENT, .key = kvp_slice_of(txn->keys[i], 2)};
        asker->question.read = true;
    }
    for (uint32_t i = 0; i < request->then_count; i++) {
        spy_txn_op(sim, &asker->question, &txn->ops[i], txn->keys[2 + i]);
    }
    for (uint32_t i = 0; i < request->else_count; i++) {
        spy_txn_op(sim, &asker->question, &txn->ops[2 + i], txn->keys[4 + i]);
    }
}

/* One key. */
static void spy_single(struct sim *sim, struct rights_asker *asker, char key[3],
                       struct kvp_request *request)
{
    static const unsigned ops[] = {KVP_OP_GET, KVP_OP_GET,    KVP_OP_PUT,
                                   KVP_OP_CAS, KVP_OP_CREATE, KVP_OP_DELETE};
    request->op = ops[rights_below(sim, 6)];
    spy_key(sim, &asker->question, key);
    request->key = kvp_slice_of(key, 2);
    bool has_value = request->op != KVP_OP_GET && request->op != KVP_OP_DELETE;
    request->value = has_value ? kvp_slice_of("v", 1) : (kvp_slice){0};
    request->version = request->op == KVP_OP_CAS || request->op == KVP_OP_DELETE ? 1 : 0;
    request->stale = request->op == KVP_OP_GET && rights_below(sim, 3) == 0;
    asker->question.read = request->op != KVP_OP_PUT;
    asker->question.write = request->op != KVP_OP_GET;
}

static void spy_ask(struct sim *sim, unsigned index)
{
    struct rights_asker *asker = &sim->rights->askers[index];
    struct kvp_request request = {0};
    struct spy_txn txn;
    char key[3];
    asker->question = (struct rights_question){0};
    switch (rights_below(sim, 5)) {
    case 0:
        spy_scan(sim, asker, &request);
        break;
    case 1:
        spy_watch(sim, asker, &request);
        break;
    case 2:
        spy_txn(sim, asker, &txn, &request);
        break;
    default:
        spy_single(sim, asker, key, &request);
        break;
    }
    bool nobody = index == SPIES - 1;
    asker->question.beyond |= nobody && (asker->question.read || asker->question.write);
    rights_send(sim, index, &request);
}

void sim_rights_timer(struct sim *sim, const struct sim_event *event)
{
    struct rights_asker *asker = &sim->rights->askers[event->node];
    if (event->number != asker->timer || sim->calm) {
        return;
    }
    if (asker->busy) {
        asker->target = 1 + (unsigned)rights_below(sim, sim->plan.nodes);
    }
    if (event->node < SPIES) {
        spy_ask(sim, event->node);
    } else if (event->node == KEEPER) {
        keeper_ask(sim);
    } else {
        root_ask(sim);
    }
}

/* ---- answers ---- */

/* What a node says that does not know, or does not look: another one's cursor is as none. */
static bool rights_not_now(int status)
{
    return status == KVP_CURSOR_EXPIRED || status == KVP_NOT_PRIMARY || status == KVP_UNAVAILABLE ||
           status == KVP_BUSY || status == KVP_UNCERTAIN || status == KVP_TIMEOUT;
}

/* Events behind the last change of rights, of which it is known that it is in force. */
static void rights_hold_event(struct sim *sim, unsigned index, uint64_t revision)
{
    const struct sim_rights *rights = sim->rights;
    const struct rights_state *then = NULL;
    for (size_t i = 1; i < rights->state_count; i++) {
        const struct rights_state *state = &rights->states[i];
        if (state->seq < revision && state->applied_us != 0 &&
            (then == NULL || state->seq > then->seq)) {
            then = state;
        }
    }
    bool given_since = false;
    for (size_t i = 1; then != NULL && i < rights->state_count; i++) {
        given_since |= rights->states[i].seq >= then->seq && rights->states[i].read;
    }
    if (then != NULL && !given_since) {
        sim_fail(sim, "asker %u is told at %llu of what happened after its right was gone, at %llu",
                 index, (unsigned long long)revision, (unsigned long long)then->seq);
    }
}

/* Pairs of a scan or events of a watch. */
static void rights_take_pairs(struct sim *sim, unsigned index, unsigned node, kvp_slice result)
{
    struct rights_asker *asker = &sim->rights->askers[index];
    struct kvp_scan_result told;
    struct kvp_get_result pair;
    kvp_slice key;
    if (kvp_wire_read_scan(result, &told) != KVP_OK) {
        sim_fail(sim, "asker %u got a malformed answer", index);
        return;
    }
    bool watch = asker->question.op == KVP_OP_WATCH;
    while (index < SPIES && kvp_wire_scan_next(&told, &key, &pair) == KVP_OK) {
        if (key.size == 0 || *(const char *)key.data != 's') {
            sim_fail(sim, "asker %u is told of a key that is not its own", index);
        } else if (watch && !asker->question.stale) {
            rights_hold_event(sim, index, pair.modify);
        }
    }
    if (index == KEEPER) {
        sim->rights->foreign_cursor = told.cursor;
    } else if (watch) {
        asker->next = told.cursor;
    } else {
        asker->cursor = told.cursor;
        asker->cursor_at = node;
    }
}

/* Is it what the rights say that there were? */
static void rights_hold(struct sim *sim, unsigned index, int status)
{
    const struct rights_question *question = &sim->rights->askers[index].question;
    bool refused = status == KVP_REFUSED;
    if (refused && !question->stale && !rights_may_be(sim, question, false)) {
        sim_fail(sim, "asker %u is refused operation %u, which it has had a right to all the time",
                 index, question->op);
    }
    if (!refused && !rights_not_now(status) && (question->beyond || !question->stale) &&
        !rights_may_be(sim, question, true)) {
        sim_fail(sim, "asker %u is answered %s to operation %u, without a right to it", index,
                 kvp_strerror(status), question->op);
    }
}

void sim_rights_answer(struct sim *sim, unsigned index, const struct sim_message *message)
{
    struct rights_asker *asker = &sim->rights->askers[index];
    struct kvp_answer answer;
    if (!asker->busy || message->call != asker->call) {
        return;
    }
    if (kvp_wire_answer_decode(kvp_slice_of(message->bytes, message->size), &answer) != KVP_OK) {
        sim_fail(sim, "asker %u got a malformed answer", index);
        return;
    }
    asker->busy = false;
    if (rights_not_now(answer.status)) {
        asker->target = 1 + (unsigned)rights_below(sim, sim->plan.nodes);
    }
    if (index < SPIES) {
        uint64_t head[3] = {sim->now_us, index, (uint64_t)answer.status};
        (void)XXH64_update(sim->rights->seen, head, sizeof(head));
        (void)XXH64_update(sim->rights->seen, answer.result.data, answer.result.size);
        rights_hold(sim, index, answer.status);
    }
    unsigned op = asker->question.op;
    if (answer.status == KVP_OK && (op == KVP_OP_SCAN || op == KVP_OP_WATCH)) {
        rights_take_pairs(sim, index, message->from, answer.result);
    }
    static const uint64_t pauses[] = {SPY_US, SPY_US, SPY_US, KEEPER_US, ROOT_US};
    rights_timer(sim, index, sim_exponential(&sim->rights->random, pauses[index]));
}
