/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who watches keys, over failovers, at any node, late and early; and a writer of transactions for
 * them to see. What is promised is held against the log that was committed, which every node
 * applies: each answer, from the revision asked for to the one that it says to go on from, has
 * exactly the events of the range that the log has there, in its order, each once, transactions
 * whole. And whoever goes on for ever is told all: at the end everybody has come to the log's end.
 */
#include "sim.h"

#include "kvstore/keyspace.h"
#include "kvstore/writeset.h"

#include <stdlib.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#define TRY_US      300000u /* beyond the time that it waits for */
#define REFUSED_US  40000u
#define WRITE_US    60000u
#define WRITER_KEYS 6u
#define KEY_MAX     8u

struct watch_event {
    uint64_t revision, create, value; /* its hash; 0: there is none */
    char key[KEY_MAX];
};

/* An answer: all between two revisions. */
struct watch_answer {
    uint64_t from, next;
    size_t first, count; /* of its events */
};

struct sim_watcher {
    const char *start, *end;
    bool stale, keys_only, busy;
    uint32_t count_max, size_max, wait_ms;
    uint64_t rest_us;
    uint64_t at; /* the next revision wanted; 0: from now on */
    unsigned target;
    uint32_t call;
    uint64_t timer;
    struct watch_answer *answers;
    size_t answer_count, answer_room;
    struct watch_event *events;
    size_t event_count, event_room;
};

struct sim_watches {
    uint64_t random;
    uint64_t written;       /* values of the writer's */
    struct kvp_entry **log; /* committed, by seq; NULL: nobody has applied it yet */
    size_t log_room;
    uint64_t log_end; /* the last that is known */
    struct sim_watcher watchers[SIM_WATCHERS_MAX];
};

static const struct {
    const char *start, *end;
} ranges[] = {{"", ""}, {"m", "n"}, {"k", "l"}, {"m2", "m4"}, {"m3", "m3\x01"}, {"k3", ""}};

void sim_plan_watches(struct sim_plan *plan, uint64_t seed)
{
    uint64_t stream = seed ^ 0x5eed0011;
    if (plan->policy == KVP_PAIR_AVAILABLE) {
        return; /* what it committed may be set aside */
    }
    plan->watchers = 2 + (unsigned)sim_below(&stream, SIM_WATCHERS_MAX - 1);
    plan->cache_size_max = sim_below(&stream, 3) != 0 ? 300 : 0;
    plan->hang_gap_us = 0;
}

static uint64_t watch_below(struct sim *sim, uint64_t bound)
{
    return sim_below(&sim->watches->random, bound);
}

static void *watch_grow(void *old, size_t *room, size_t needed, size_t size)
{
    while (*room < needed) {
        size_t more = *room > 0 ? *room * 2 : 64;
        old = realloc(old, more * size);
        if (old == NULL) {
            abort();
        }
        memset((char *)old + *room * size, 0, (more - *room) * size);
        *room = more;
    }
    return old;
}

static void watch_timer(struct sim *sim, unsigned index, uint64_t delay_us)
{
    struct sim_event *event = sim_at(sim, delay_us, SIM_WATCH_TIMER);
    event->node = index;
    if (index < SIM_WATCHERS_MAX) {
        event->number = ++sim->watches->watchers[index].timer;
    }
}

static void watcher_open(struct sim *sim, unsigned index)
{
    static const uint32_t counts[] = {0, 1, 2, 5}, sizes[] = {0, 40, 200},
                          waits[] = {0, 100, 1000, 3000};
    struct sim_watcher *watcher = &sim->watches->watchers[index];
    unsigned range = (unsigned)watch_below(sim, sizeof(ranges) / sizeof(ranges[0]));
    *watcher = (struct sim_watcher){
        .start = ranges[range].start,
        .end = ranges[range].end,
        .stale = watch_below(sim, 3) == 0,
        .keys_only = watch_below(sim, 5) == 0,
        .count_max = counts[watch_below(sim, 4)],
        .size_max = sizes[watch_below(sim, 3)],
        .wait_ms = waits[watch_below(sim, 4)],
        .rest_us = watch_below(sim, 3) == 0 ? 1500000 : 20000,
        .at = watch_below(sim, 2),
        .target = 1 + (unsigned)watch_below(sim, sim->plan.nodes),
    };
    watch_timer(sim, index, watch_below(sim, 3000000));
}

void sim_watches_open(struct sim *sim)
{
    if (sim->plan.watchers == 0) {
        return;
    }
    sim->watches = calloc(1, sizeof(*sim->watches));
    if (sim->watches == NULL) {
        abort();
    }
    sim->watches->random = sim->seed ^ 0x5eed0012;
    for (unsigned i = 0; i < sim->plan.watchers; i++) {
        watcher_open(sim, i);
    }
    watch_timer(sim, SIM_WATCHERS_MAX, 1000000);
}

void sim_watches_free(struct sim *sim)
{
    struct sim_watches *watches = sim->watches;
    if (watches == NULL) {
        return;
    }
    for (uint64_t seq = 0; seq < watches->log_room; seq++) {
        kvp_entry_unref(watches->log[seq]);
    }
    for (unsigned i = 0; i < SIM_WATCHERS_MAX; i++) {
        free(watches->watchers[i].answers);
        free(watches->watchers[i].events);
    }
    free(watches->log);
    free(watches);
    sim->watches = NULL;
}

void sim_watches_applied(struct sim *sim, const struct kvp_disk_job *job)
{
    struct sim_watches *watches = sim->watches;
    if (watches == NULL || job->op != KVP_DISK_WRITE) {
        return;
    }
    for (size_t i = 0; i < job->write.apply_count; i++) {
        struct kvp_entry *entry = job->write.apply[i];
        uint64_t seq = entry->point.seq;
        watches->log = watch_grow(watches->log, &watches->log_room, (size_t)seq + 1,
                                  sizeof(struct kvp_entry *));
        if (watches->log[seq] == NULL) {
            watches->log[seq] = kvp_entry_ref(entry);
        }
        watches->log_end = seq > watches->log_end ? seq : watches->log_end;
    }
}

/* ---- asking ---- */

static kvp_slice watch_text(const char *text)
{
    return kvp_slice_of(text, strlen(text));
}

static void watch_send(struct sim *sim, struct kvp_request *request, struct sim_message *message)
{
    kvp_buf body = {0};
    request->group = kvp_slice_of("sim", 3);
    if (kvp_wire_request_encode(request, &body) != KVP_OK) {
        abort();
    }
    sim_send(sim, message, kvp_buf_slice(&body));
    kvp_buf_free(&body);
}

/* Puts and deletes of several keys at once, without a session: what came of it is in the log. */
static void watch_write(struct sim *sim)
{
    char keys[5][3] = {{0}};
    uint64_t values[5];
    struct kvp_txn_op ops[5];
    unsigned count = 1 + (unsigned)watch_below(sim, 5);
    for (unsigned i = 0; i < count; i++) {
        keys[i][0] = 'm';
        keys[i][1] = (char)('0' + watch_below(sim, WRITER_KEYS));
        values[i] = ++sim->watches->written;
        ops[i] =
            (struct kvp_txn_op){.kind = watch_below(sim, 4) == 0 ? KVP_TXN_DELETE : KVP_TXN_PUT,
                                .key = kvp_slice_of(keys[i], 2)};
        if (ops[i].kind == KVP_TXN_PUT) {
            ops[i].value = kvp_slice_of(&values[i], sizeof(values[i]));
        }
    }
    struct kvp_request request = {.op = KVP_OP_TXN, .then_ops = ops, .then_count = count};
    struct sim_message message = {.from = SIM_WATCHER(SIM_WATCHERS_MAX),
                                  .to = 1 + (unsigned)watch_below(sim, sim->plan.nodes)};
    watch_send(sim, &request, &message);
}

static void watch_ask(struct sim *sim, unsigned index)
{
    struct sim_watcher *watcher = &sim->watches->watchers[index];
    struct kvp_request request = {.op = KVP_OP_WATCH,
                                  .key = watch_text(watcher->start),
                                  .value = watch_text(watcher->end),
                                  .version = watcher->at,
                                  .count_max = watcher->count_max,
                                  .size_max = watcher->size_max,
                                  .wait_ms = watcher->wait_ms,
                                  .keys_only = watcher->keys_only,
                                  .stale = watcher->stale};
    struct sim_message message = {
        .from = SIM_WATCHER(index), .to = watcher->target, .call = ++watcher->call};
    watcher->busy = true;
    watch_send(sim, &request, &message);
    watch_timer(sim, index, (uint64_t)watcher->wait_ms * 1000 + TRY_US);
}

void sim_watch_timer(struct sim *sim, const struct sim_event *event)
{
    struct sim_watches *watches = sim->watches;
    if (event->node == SIM_WATCHERS_MAX) {
        if (!sim->calm) {
            watch_write(sim);
            watch_timer(sim, SIM_WATCHERS_MAX, sim_exponential(&watches->random, WRITE_US));
        }
        return;
    }
    struct sim_watcher *watcher = &watches->watchers[event->node];
    if (event->number != watcher->timer) {
        return;
    }
    if (watcher->busy) { /* nobody has answered */
        watcher->target = 1 + (unsigned)watch_below(sim, sim->plan.nodes);
    }
    watch_ask(sim, event->node);
}

/* ---- answers ---- */

static void watch_keep(struct sim *sim, struct sim_watcher *watcher, kvp_slice key,
                       const struct kvp_get_result *pair)
{
    if (key.size >= KEY_MAX) {
        sim_fail(sim, "a watch tells of a key that is none");
        return;
    }
    watcher->events = watch_grow(watcher->events, &watcher->event_room, watcher->event_count + 1,
                                 sizeof(*watcher->events));
    struct watch_event *event = &watcher->events[watcher->event_count++];
    *event = (struct watch_event){.revision = pair->modify, .create = pair->create};
    event->value = pair->value.size > 0 ? XXH3_64bits(pair->value.data, pair->value.size) : 0;
    memcpy(event->key, key.data, key.size);
}

static void watch_take(struct sim *sim, unsigned index, kvp_slice result)
{
    struct sim_watcher *watcher = &sim->watches->watchers[index];
    struct kvp_scan_result told;
    struct kvp_get_result pair;
    kvp_slice key;
    size_t first = watcher->event_count;
    if (kvp_wire_read_scan(result, &told) != KVP_OK) {
        sim_fail(sim, "watcher %u got a malformed answer", index);
        return;
    }
    while (kvp_wire_scan_next(&told, &key, &pair) == KVP_OK) {
        watch_keep(sim, watcher, key, &pair);
    }
    sim_trace(sim, "watcher %u: from %llu to %llu, %u events", index,
              (unsigned long long)watcher->at, (unsigned long long)told.cursor, told.count);
    uint64_t from = watcher->at > 0 ? watcher->at : told.cursor;
    if (told.cursor < from || (watcher->at == 0 && told.count > 0)) {
        sim_fail(sim, "watcher %u is told to go back from %llu to %llu", index,
                 (unsigned long long)from, (unsigned long long)told.cursor);
        return;
    }
    watcher->answers = watch_grow(watcher->answers, &watcher->answer_room,
                                  watcher->answer_count + 1, sizeof(*watcher->answers));
    watcher->answers[watcher->answer_count++] =
        (struct watch_answer){from, told.cursor, first, watcher->event_count - first};
    watcher->at = told.cursor;
}

static void watch_compacted(struct sim *sim, unsigned index, kvp_slice result)
{
    struct sim_watcher *watcher = &sim->watches->watchers[index];
    uint64_t oldest;
    if (kvp_wire_read_uint(result, &oldest) != KVP_OK || oldest <= watcher->at) {
        sim_fail(sim, "watcher %u: what it asked for is gone, and what there is not behind it",
                 index);
        return;
    }
    sim_trace(sim, "watcher %u: COMPACTED, from %llu to %llu", index,
              (unsigned long long)watcher->at, (unsigned long long)oldest);
    watcher->at = oldest;
}

void sim_watch_answer(struct sim *sim, unsigned index, const struct sim_message *message)
{
    struct kvp_answer answer;
    if (index >= sim->plan.watchers || !sim->watches->watchers[index].busy ||
        message->call != sim->watches->watchers[index].call) {
        return;
    }
    struct sim_watcher *watcher = &sim->watches->watchers[index];
    if (kvp_wire_answer_decode(kvp_slice_of(message->bytes, message->size), &answer) != KVP_OK) {
        sim_fail(sim, "watcher %u got a malformed answer", index);
        return;
    }
    watcher->busy = false;
    uint64_t rest_us =
        sim->calm ? REFUSED_US : sim_exponential(&sim->watches->random, watcher->rest_us);
    switch (answer.status) {
    case KVP_OK:
        watch_take(sim, index, answer.result);
        break;
    case KVP_COMPACTED:
        watch_compacted(sim, index, answer.result);
        break;
    case KVP_NOT_PRIMARY:
    case KVP_UNAVAILABLE:
    case KVP_BUSY:
        watcher->target = 1 + (unsigned)watch_below(sim, sim->plan.nodes);
        rest_us = REFUSED_US;
        break;
    default:
        sim_fail(sim, "watcher %u: unexpected answer %s", index, kvp_strerror(answer.status));
        return;
    }
    watch_timer(sim, index, rest_us);
}

/* ---- what is promised ---- */

bool sim_watches_done(const struct sim *sim)
{
    for (unsigned i = 0; sim->watches != NULL && i < sim->plan.watchers; i++) {
        if (sim->watches->watchers[i].at <= sim->watches->log_end) {
            return false;
        }
    }
    return true;
}

static bool watch_wants(const struct sim_watcher *watcher, kvp_slice key)
{
    kvp_slice end = watch_text(watcher->end);
    return kvp_slice_compare(key, watch_text(watcher->start)) >= 0 &&
           (end.size == 0 || kvp_slice_compare(key, end) < 0);
}

/* Is the event what this write makes of it? */
static bool watch_is(const struct sim_watcher *watcher, const struct watch_event *event,
                     uint64_t seq, kvp_slice key, const struct kvp_batch_op *op)
{
    struct kvp_record record = {0};
    if (!op->is_delete && kvp_record_decode(op->value, &record) != KVP_OK) {
        return false;
    }
    bool bare = op->is_delete || watcher->keys_only || record.value.size == 0;
    uint64_t value = bare ? 0 : XXH3_64bits(record.value.data, record.value.size);
    return event->revision == seq && event->create == record.create_revision &&
           event->value == value && strlen(event->key) == key.size &&
           memcmp(event->key, key.data, key.size) == 0;
}

/* Takes the entry's events off the answer's. False: they are not there as they should be. */
static bool watch_hold_entry(const struct sim_watcher *watcher, const struct kvp_entry *entry,
                             const struct watch_answer *answer, size_t *taken)
{
    struct kvp_writeset_iter iter;
    struct kvp_batch_op op;
    kvp_writeset_begin(&iter, kvp_slice_of(entry->payload, entry->size));
    while (kvp_writeset_next(&iter, &op) == KVP_OK) {
        kvp_slice key = kvp_slice_of((const uint8_t *)op.key.data + 1, op.key.size - 1);
        if (*(const uint8_t *)op.key.data != KVP_PREFIX_DATA || !watch_wants(watcher, key)) {
            continue;
        }
        if (*taken == answer->count || !watch_is(watcher, &watcher->events[answer->first + *taken],
                                                 entry->point.seq, key, &op)) {
            return false;
        }
        (*taken)++;
    }
    return true;
}

static void watch_hold(struct sim *sim, unsigned index, const struct watch_answer *answer)
{
    const struct sim_watches *watches = sim->watches;
    const struct sim_watcher *watcher = &watches->watchers[index];
    size_t taken = 0;
    uint64_t seq = answer->from;
    if (answer->next > watches->log_end + 1 && answer->next > answer->from) {
        sim_fail(sim, "watcher %u was told to have seen all before %llu, and the log ends at %llu",
                 index, (unsigned long long)answer->next, (unsigned long long)watches->log_end);
        return;
    }
    while (seq < answer->next && watches->log[seq] != NULL &&
           watch_hold_entry(watcher, watches->log[seq], answer, &taken)) {
        seq++;
    }
    if (seq < answer->next || taken != answer->count) {
        sim_fail(sim,
                 "watcher %u: the answer from %llu to %llu is not what the log has: at %llu, with "
                 "%zu of %zu events",
                 index, (unsigned long long)answer->from, (unsigned long long)answer->next,
                 (unsigned long long)seq, taken, answer->count);
    }
}

void sim_watches_end(struct sim *sim)
{
    for (unsigned i = 0; sim->watches != NULL && i < sim->plan.watchers; i++) {
        const struct sim_watcher *watcher = &sim->watches->watchers[i];
        for (size_t n = 0; n < watcher->answer_count && !sim->failed; n++) {
            watch_hold(sim, i, &watcher->answers[n]);
        }
    }
}
