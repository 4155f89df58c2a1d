/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Leases, over failovers. Holders grant, keep, give keys, revoke, and forget what they hold. Held
 * against the log that was committed:
 *
 * - nothing ends early: neither a lease nor a key with a time of its own ends before its time is
 *   over, counted from when the request was sent that an answer says was done;
 * - a key ends with its lease, with no other and not alone, and no key is left of a lease that is
 *   gone; nothing else deletes these keys;
 * - all that nobody keeps has an end.
 */
#include "sim.h"

#include "kvstore/keyspace.h"
#include "kvstore/writeset.h"
#include "replication/engine/lease_record.h"

#include <stdlib.h>
#include <string.h>

#define HOLDERS    4u
#define KEYS       6u
#define LEASES_MAX 1024u
#define PUTS_MAX   4096u
#define TRY_US     400000u
#define PAUSE_US   150000u

/* A lease of many keys, by the log and by what holders were told. */
struct model_lease {
    uint64_t lease, ttl_ms;
    uint64_t held_us; /* when the last request was sent that granted or kept it; 0: none known */
    uint64_t end_us;  /* its end is in the log since then; 0: it is not */
    bool revoked;     /* somebody has asked for that */
    bool gone;
};

/* A put, as an answer told of it. */
struct model_put {
    uint64_t revision, sent_us; /* 0: none has */
    uint64_t ttl_ms;            /* of its own */
    bool stays;                 /* it was put to stay */
    uint64_t end_us;
};

struct model_key {
    uint64_t revision, lease; /* revision 0: it is not there */
};

struct lease_holder {
    struct kvp_request request;
    char key[3];
    uint64_t sent_us, timer, lease, ttl_ms, value;
    uint32_t call;
    unsigned target;
    bool busy, forgets;
};

struct sim_leases {
    uint64_t random, values;
    struct kvp_entry **log; /* committed, by seq, as far as it has been applied by somebody */
    size_t log_room;
    uint64_t taken; /* the model has all up to here */
    struct model_lease leases[LEASES_MAX];
    size_t lease_count;
    struct model_put puts[PUTS_MAX];
    size_t put_count;
    struct model_key keys[KEYS];
    struct lease_holder holders[HOLDERS];
};

void sim_plan_leases(struct sim_plan *plan, uint64_t seed)
{
    (void)seed;
    if (plan->policy == KVP_PAIR_AVAILABLE) {
        return; /* what it granted may be set aside */
    }
    plan->leases = true;
    plan->hang_gap_us = 0;
}

static uint64_t leases_below(struct sim *sim, uint64_t bound)
{
    return sim_below(&sim->leases->random, bound);
}

static void holder_timer(struct sim *sim, unsigned index, uint64_t delay_us)
{
    struct sim_event *event = sim_at(sim, delay_us, SIM_LEASE_TIMER);
    event->node = index;
    event->number = ++sim->leases->holders[index].timer;
}

void sim_leases_open(struct sim *sim)
{
    if (!sim->plan.leases) {
        return;
    }
    sim->leases = calloc(1, sizeof(*sim->leases));
    if (sim->leases == NULL) {
        abort();
    }
    sim->leases->random = sim->seed ^ 0x5eed0017;
    for (unsigned i = 0; i < HOLDERS; i++) {
        sim->leases->holders[i].target = 1 + (unsigned)leases_below(sim, sim->plan.nodes);
        holder_timer(sim, i, 1000000 + leases_below(sim, 1000000));
    }
}

void sim_leases_free(struct sim *sim)
{
    if (sim->leases == NULL) {
        return;
    }
    for (size_t seq = 0; seq < sim->leases->log_room; seq++) {
        kvp_entry_unref(sim->leases->log[seq]);
    }
    free(sim->leases->log);
    free(sim->leases);
    sim->leases = NULL;
}

/* ---- the model ---- */

static struct model_lease *model_find(struct sim_leases *leases, uint64_t lease)
{
    for (size_t i = 0; i < leases->lease_count; i++) {
        if (leases->leases[i].lease == lease) {
            return &leases->leases[i];
        }
    }
    if (leases->lease_count == LEASES_MAX) {
        return NULL;
    }
    struct model_lease *made = &leases->leases[leases->lease_count++];
    *made = (struct model_lease){.lease = lease};
    return made;
}

static struct model_put *model_put_of(struct sim_leases *leases, uint64_t revision)
{
    for (size_t i = 0; i < leases->put_count; i++) {
        if (leases->puts[i].revision == revision) {
            return &leases->puts[i];
        }
    }
    if (leases->put_count == PUTS_MAX) {
        return NULL;
    }
    struct model_put *made = &leases->puts[leases->put_count++];
    *made = (struct model_put){.revision = revision};
    return made;
}

/* Is this long enough after that, for whatever clock? */
static bool is_over(const struct sim *sim, uint64_t since_us, uint64_t ttl_ms, uint64_t end_us)
{
    return end_us >= since_us + ttl_ms * (1000 - sim->plan.drift_ppm / 1000);
}

static void model_check_lease(struct sim *sim, const struct model_lease *lease)
{
    if (lease->held_us != 0 && lease->end_us != 0 && !lease->revoked &&
        !is_over(sim, lease->held_us, lease->ttl_ms, lease->end_us)) {
        sim_fail(sim, "lease %llu of %llu ms ended %llu us after a request that had held it",
                 (unsigned long long)lease->lease, (unsigned long long)lease->ttl_ms,
                 (unsigned long long)(lease->end_us - lease->held_us));
    }
}

static void model_check_put(struct sim *sim, const struct model_put *put)
{
    if (put->stays && put->end_us != 0) {
        sim_fail(sim, "the key that was put at %llu to stay ends",
                 (unsigned long long)put->revision);
    } else if (put->sent_us != 0 && put->end_us != 0 &&
               !is_over(sim, put->sent_us, put->ttl_ms, put->end_us)) {
        sim_fail(sim, "the key that was put at %llu for %llu ms ended after %llu us",
                 (unsigned long long)put->revision, (unsigned long long)put->ttl_ms,
                 (unsigned long long)(put->end_us - put->sent_us));
    }
}

static void model_lease_ends(struct sim *sim, struct model_lease *lease)
{
    if (lease->end_us == 0) {
        lease->end_us = sim->now_us;
        model_check_lease(sim, lease);
    }
}

/* A record of a lease, or its end. */
static void model_take_lease(struct sim *sim, uint64_t number, const struct kvp_batch_op *op)
{
    struct model_lease *lease = lease_is_of_one(number) ? NULL : model_find(sim->leases, number);
    struct lease_record record;
    if (lease == NULL) {
        return; /* of one key: that tells */
    }
    if (op->is_delete) {
        lease->gone = true;
        model_lease_ends(sim, lease);
    } else if (lease_record_decode(op->value, &record) != KVP_OK) {
        sim_fail(sim, "the record of lease %llu is none", (unsigned long long)number);
    } else if (lease->gone) {
        sim_fail(sim, "lease %llu comes back", (unsigned long long)number);
    } else {
        lease->ttl_ms = record.ttl_ms;
        if (record.ends) {
            model_lease_ends(sim, lease);
        }
    }
}

static struct model_key *model_key_of(struct sim_leases *leases, kvp_slice raw)
{
    const uint8_t *bytes = raw.data;
    bool ours = raw.size == 3 && bytes[0] == KVP_PREFIX_DATA && bytes[1] == 'e';
    return ours ? &leases->keys[bytes[2] - '0'] : NULL;
}

/* Of a key that ends: with its lease, or by its own time. */
static void model_key_ends(struct sim *sim, const struct model_key *key)
{
    struct model_put *put = model_put_of(sim->leases, key->revision);
    if (put != NULL) {
        put->end_us = sim->now_us;
        model_check_put(sim, put);
    }
    if (key->revision == 0 || key->lease == 0) {
        sim_fail(sim, "a key ends that nobody has put to end");
    } else if (!lease_is_of_one(key->lease)) {
        struct model_lease *lease = model_find(sim->leases, key->lease);
        if (lease != NULL && lease->end_us == 0) {
            sim_fail(sim, "a key of lease %llu ends, and the lease does not",
                     (unsigned long long)key->lease);
        }
    }
}

static void model_take_key(struct sim *sim, struct model_key *key, uint64_t seq,
                           const struct kvp_batch_op *op)
{
    struct kvp_record record;
    if (op->is_delete) {
        model_key_ends(sim, key);
        *key = (struct model_key){0};
    } else if (kvp_record_decode(op->value, &record) == KVP_OK) {
        *key = (struct model_key){.revision = seq, .lease = record.lease};
    }
}

/* Leases first: what ends with one may stand before it. */
static void model_take(struct sim *sim, const struct kvp_entry *entry)
{
    for (unsigned pass = 0; pass < 2; pass++) {
        struct kvp_writeset_iter iter;
        struct kvp_batch_op op;
        kvp_writeset_begin(&iter, kvp_slice_of(entry->payload, entry->size));
        while (kvp_writeset_next(&iter, &op) == KVP_OK) {
            struct model_key *key = model_key_of(sim->leases, op.key);
            uint64_t number;
            if (pass == 0 && lease_key_decode(op.key, &number)) {
                model_take_lease(sim, number, &op);
            } else if (pass == 1 && key != NULL) {
                model_take_key(sim, key, entry->point.seq, &op);
            }
        }
    }
    for (unsigned i = 0; i < KEYS; i++) {
        uint64_t lease = sim->leases->keys[i].lease;
        const struct model_lease *of =
            lease == 0 || lease_is_of_one(lease) ? NULL : model_find(sim->leases, lease);
        if (of != NULL && of->gone) {
            sim_fail(sim, "lease %llu is gone, and a key of it is left", (unsigned long long)lease);
        }
    }
}

static void leases_log_grow(struct sim_leases *leases, uint64_t seq)
{
    while (leases->log_room <= seq) {
        size_t more = leases->log_room > 0 ? leases->log_room : 256;
        leases->log = realloc(leases->log, (leases->log_room + more) * sizeof(*leases->log));
        if (leases->log == NULL) {
            abort();
        }
        memset(leases->log + leases->log_room, 0, more * sizeof(*leases->log));
        leases->log_room += more;
    }
}

void sim_leases_applied(struct sim *sim, const struct kvp_disk_job *job)
{
    struct sim_leases *leases = sim->leases;
    if (leases == NULL || job->op != KVP_DISK_WRITE) {
        return;
    }
    for (size_t i = 0; i < job->write.apply_count; i++) {
        struct kvp_entry *entry = job->write.apply[i];
        leases_log_grow(leases, entry->point.seq);
        if (leases->log[entry->point.seq] == NULL) {
            leases->log[entry->point.seq] = kvp_entry_ref(entry);
        }
    }
    while (leases->taken + 1 < leases->log_room && leases->log[leases->taken + 1] != NULL &&
           !sim->failed) {
        model_take(sim, leases->log[++leases->taken]);
    }
}

/* ---- holders ---- */

static void holder_send(struct sim *sim, unsigned index)
{
    struct lease_holder *holder = &sim->leases->holders[index];
    struct sim_message message = {
        .from = SIM_HOLDER(index), .to = holder->target, .call = ++holder->call};
    struct kvp_request request = holder->request;
    kvp_buf body = {0};
    request.group = kvp_slice_of("sim", 3);
    if (request.op == KVP_OP_PUT) {
        request.key = kvp_slice_of(holder->key, 2);
        request.value = kvp_slice_of(&holder->value, sizeof(holder->value));
    }
    if (kvp_wire_request_encode(&request, &body) != KVP_OK) {
        abort();
    }
    holder->busy = true;
    holder->sent_us = sim->now_us;
    sim_send(sim, &message, kvp_buf_slice(&body));
    kvp_buf_free(&body);
    holder_timer(sim, index, TRY_US);
}

static void holder_put(struct sim *sim, struct lease_holder *holder)
{
    static const uint64_t times[] = {0, 0, 1000, 2500};
    holder->key[0] = 'e';
    holder->key[1] = (char)('0' + leases_below(sim, KEYS));
    holder->value = ++sim->leases->values;
    holder->request = (struct kvp_request){.op = KVP_OP_PUT};
    if (leases_below(sim, 2) != 0) {
        holder->request.lease = holder->lease;
    } else {
        holder->request.ttl_ms = times[leases_below(sim, 4)];
    }
}

static void holder_revoke(struct sim *sim, struct lease_holder *holder)
{
    struct model_lease *lease = model_find(sim->leases, holder->lease);
    holder->request = (struct kvp_request){.op = KVP_OP_LEASE_REVOKE, .lease = holder->lease};
    if (lease != NULL) {
        lease->revoked = true;
    }
    holder->lease = 0;
}

static void holder_ask(struct sim *sim, unsigned index)
{
    static const uint64_t times[] = {1000, 2000, 4000};
    struct lease_holder *holder = &sim->leases->holders[index];
    unsigned what = (unsigned)leases_below(sim, 20);
    if (holder->lease == 0) {
        holder->request =
            (struct kvp_request){.op = KVP_OP_LEASE_GRANT, .ttl_ms = times[leases_below(sim, 3)]};
        holder->ttl_ms = holder->request.ttl_ms;
        holder->forgets = leases_below(sim, 3) == 0;
    } else if (what == 0) {
        holder_revoke(sim, holder);
    } else if (what < 8 || holder->forgets) {
        holder_put(sim, holder);
    } else {
        holder->request = (struct kvp_request){.op = KVP_OP_LEASE_KEEP, .lease = holder->lease};
    }
    holder_send(sim, index);
}

void sim_lease_timer(struct sim *sim, const struct sim_event *event)
{
    struct lease_holder *holder = &sim->leases->holders[event->node];
    if (event->number != holder->timer || sim->calm) {
        return;
    }
    if (holder->busy) { /* nobody has answered; it may have been done, and is not known to be */
        holder->target = 1 + (unsigned)leases_below(sim, sim->plan.nodes);
    }
    holder_ask(sim, event->node);
}

static void holder_granted(struct sim *sim, struct lease_holder *holder, kvp_slice result)
{
    uint64_t number;
    if (kvp_wire_read_uint(result, &number) != KVP_OK) {
        sim_fail(sim, "a grant is answered without a number");
        return;
    }
    holder->lease = number;
    struct model_lease *lease = model_find(sim->leases, number);
    if (lease != NULL) {
        lease->held_us = holder->sent_us;
        lease->ttl_ms = holder->ttl_ms;
        model_check_lease(sim, lease);
    }
}

static void holder_kept(struct sim *sim, struct lease_holder *holder)
{
    struct model_lease *lease = model_find(sim->leases, holder->request.lease);
    if (lease != NULL && holder->sent_us > lease->held_us) {
        lease->held_us = holder->sent_us;
        model_check_lease(sim, lease);
    }
}

static void holder_has_put(struct sim *sim, struct lease_holder *holder, kvp_slice result)
{
    uint64_t revision;
    if (kvp_wire_read_uint(result, &revision) != KVP_OK) {
        sim_fail(sim, "a put is answered without a revision");
        return;
    }
    struct model_put *put = model_put_of(sim->leases, revision);
    if (put != NULL) {
        put->sent_us = holder->request.ttl_ms != 0 ? holder->sent_us : 0;
        put->ttl_ms = holder->request.ttl_ms;
        put->stays = holder->request.ttl_ms == 0 && holder->request.lease == 0;
        model_check_put(sim, put);
    }
}

void sim_lease_answer(struct sim *sim, unsigned index, const struct sim_message *message)
{
    struct kvp_answer answer;
    struct lease_holder *holder = &sim->leases->holders[index];
    if (!holder->busy || message->call != holder->call) {
        return;
    }
    if (kvp_wire_answer_decode(kvp_slice_of(message->bytes, message->size), &answer) != KVP_OK) {
        sim_fail(sim, "holder %u got a malformed answer", index);
        return;
    }
    holder->busy = false;
    switch (answer.status) {
    case KVP_OK:
        if (holder->request.op == KVP_OP_LEASE_GRANT) {
            holder_granted(sim, holder, answer.result);
        } else if (holder->request.op == KVP_OP_LEASE_KEEP) {
            holder_kept(sim, holder);
        } else if (holder->request.op == KVP_OP_PUT) {
            holder_has_put(sim, holder, answer.result);
        }
        break;
    case KVP_NOT_FOUND: /* it has ended */
        holder->lease = 0;
        break;
    default:
        holder->target = 1 + (unsigned)leases_below(sim, sim->plan.nodes);
        break;
    }
    holder_timer(sim, index, sim_exponential(&sim->leases->random, PAUSE_US));
}

bool sim_leases_done(const struct sim *sim)
{
    const struct sim_leases *leases = sim->leases;
    for (size_t i = 0; leases != NULL && i < leases->lease_count; i++) {
        if (!leases->leases[i].gone) {
            return false;
        }
    }
    for (unsigned i = 0; leases != NULL && i < KEYS; i++) {
        if (leases->keys[i].lease != 0) {
            return false;
        }
    }
    return true;
}
