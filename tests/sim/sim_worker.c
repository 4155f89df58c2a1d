/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Workers, as kvworker does it: join; in each slot fetch, work, beat, post. Most are good, but they
 * die without a word and come back, leave, stand still, are slow, hang, or fail. Some fail
 * everything, and some stand by for work that nobody has. Some lie, where votes or a verification
 * find that out; some post what they were never given.
 */
#include "sim_jobs.h"

#include "replication/wire/mp_writer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#define STEADY      4u /* the first workers live in the end, and are honest */
#define WAIT_MS_MAX 1500u
#define REST_US     100000u
#define LATE_US     3000000u /* by then a primary has looked at its deadlines */

static const char *const kind_names[SIM_KINDS] = {"k0", "k1", "k2", KVP_JOB_MATMUL_KIND};

static void join(struct sim *sim, struct sim_worker *worker);
static void fetch(struct sim *sim, struct sim_slot *slot);

static unsigned slot_index(const struct sim_slot *slot)
{
    return slot->worker->index * SIM_SLOTS_MAX + slot->number;
}

static struct sim_slot *slot_of(const struct sim *sim, unsigned index)
{
    return &sim->jobs->workers[index / SIM_SLOTS_MAX].slots[index % SIM_SLOTS_MAX];
}

static void slot_in(struct sim *sim, struct sim_slot *slot, uint64_t delay_us)
{
    sim_job_timer(sim, SIM_TIMER_SLOT, slot_index(slot), &slot->timer, delay_us);
}

static void fate_in(struct sim *sim, struct sim_worker *worker, uint64_t mean_us)
{
    sim_job_timer(sim, SIM_TIMER_WORKER, worker->index, &worker->timer,
                  sim_exponential(&sim->jobs->random, mean_us));
}

/* Is the process stopped? Then what was to be done is done later. */
static bool still(struct sim *sim, struct sim_slot *slot, enum sim_job_timer kind)
{
    uint64_t until_us = slot->worker->stopped_us;
    if (sim->now_us >= until_us) {
        return false;
    }
    sim_job_timer(sim, kind, slot_index(slot),
                  kind == SIM_TIMER_BEAT ? &slot->beat_timer : &slot->timer,
                  until_us - sim->now_us);
    return true;
}

struct sim_worker *sim_worker_named(const struct sim *sim, const char *name)
{
    unsigned nomad;
    for (unsigned i = 0; i < sim->jobs->worker_count; i++) {
        if (strcmp(sim->jobs->workers[i].name, name) == 0) {
            return &sim->jobs->workers[i];
        }
    }
    return sscanf(name, "nomad%u-", &nomad) == 1 ? &sim->jobs->workers[nomad] : NULL;
}

/* ---- life ---- */

static void free_slot(struct sim *sim, struct sim_slot *slot)
{
    if (slot->working) {
        slot->ended_us = sim->now_us;
        slot->ended_job = slot->grant.job;
        slot->ended_task = slot->grant.task;
    }
    slot->working = slot->hung = false;
    slot->timer++;
    slot->beat_timer++;
    sim_call_drop(sim, &slot->beat);
}

/* The process ends: nothing that it waits for reaches it any more. */
static void die(struct sim *sim, struct sim_worker *worker)
{
    sim_trace(sim, "%s dies", worker->name);
    worker->up = worker->joined = false;
    sim_call_drop(sim, &worker->control);
    for (unsigned i = 0; i < worker->slots_used; i++) {
        free_slot(sim, &worker->slots[i]);
        sim_call_drop(sim, &worker->slots[i].call);
    }
}

static void start(struct sim *sim, struct sim_worker *worker)
{
    worker->up = true;
    worker->lives++;
    if (worker->nomad) {
        (void)snprintf(worker->name, sizeof(worker->name), "nomad%u-%u", worker->index,
                       worker->lives);
    }
    join(sim, worker);
}

static void end_for_good(struct sim *sim, struct sim_worker *worker)
{
    die(sim, worker);
    worker->over = true;
    worker->timer++;
}

static void on_left(struct sim *sim, void *arg, int status, kvp_slice result)
{
    struct sim_worker *worker = arg;
    (void)status;
    (void)result;
    die(sim, worker);
    fate_in(sim, worker, 1000000);
}

static void leave(struct sim *sim, struct sim_worker *worker)
{
    struct kvp_request request = {.op = KVP_OP_WORKER_LEAVE,
                                  .key = kvp_slice_of(worker->name, strlen(worker->name))};
    request.job.instance = worker->instance;
    for (unsigned i = 0; i < worker->slots_used; i++) {
        free_slot(sim, &worker->slots[i]);
        sim_call_drop(sim, &worker->slots[i].call);
    }
    worker->joined = false;
    sim_call(sim, &worker->control, &request, on_left, worker);
}

void sim_worker_timer(struct sim *sim, unsigned index, uint64_t number)
{
    struct sim_worker *worker = &sim->jobs->workers[index];
    if (number != worker->timer || worker->over) {
        return;
    }
    if (!worker->up) {
        start(sim, worker);
        fate_in(sim, worker, sim->plan.jobs.fate_us);
    } else if (sim->calm) {
        return;
    } else if (worker->joined && sim_jobs_chance(sim, 150)) {
        leave(sim, worker);
    } else if (sim_jobs_chance(sim, 200)) {
        worker->stopped_us = sim->now_us + sim_exponential(&sim->jobs->random, 1500000);
        sim_trace(sim, "%s stands still", worker->name);
        fate_in(sim, worker, sim->plan.jobs.fate_us);
    } else {
        die(sim, worker);
        static const uint64_t means[] = {20000, 300000, 1500000, 5000000};
        fate_in(sim, worker, means[sim_jobs_below(sim, 4)]);
    }
}

/* ---- joining ---- */

static void on_joined(struct sim *sim, void *arg, int status, kvp_slice result)
{
    struct sim_worker *worker = arg;
    if (status == KVP_SESSION_EXPIRED || status == KVP_STALE_REQUEST) {
        join(sim, worker);
        return;
    }
    if (status != KVP_OK || kvp_wire_read_uint(result, &worker->instance) != KVP_OK) {
        sim_fail(sim, "%s cannot join: %s", worker->name, kvp_strerror(status));
        return;
    }
    worker->joined_us = sim->now_us;
    sim_trace(sim, "%s joined as %llu", worker->name, (unsigned long long)worker->instance);
    worker->joined = true;
    for (unsigned i = 0; i < worker->slots_used; i++) {
        if (!worker->slots[i].working && !worker->slots[i].call.busy) {
            fetch(sim, &worker->slots[i]);
        }
    }
}

static void join(struct sim *sim, struct sim_worker *worker)
{
    struct kvp_request request = {.op = KVP_OP_WORKER_JOIN,
                                  .key = kvp_slice_of(worker->name, strlen(worker->name))};
    struct kvp_mp_writer writer;
    kvp_buf kinds = {0};
    unsigned count = worker->blocks + worker->stranger;
    for (unsigned i = 0; i < SIM_KINDS; i++) {
        count += worker->kinds >> i & 1;
    }
    kvp_mp_write_begin(&writer, &kinds);
    kvp_mp_write_array(&writer, count);
    for (unsigned i = 0; i < SIM_KINDS; i++) {
        if (worker->kinds >> i & 1) {
            kvp_mp_write_text(&writer, kind_names[i]);
        }
    }
    if (worker->blocks) {
        kvp_mp_write_text(&writer, KVP_JOB_BLOCKS_KIND);
    }
    if (worker->stranger) {
        kvp_mp_write_text(&writer, "strange");
    }
    if (kvp_mp_write_end(&writer) != KVP_OK) {
        abort();
    }
    request.value = kvp_buf_slice(&kinds);
    request.job.buffer = worker->buffer;
    request.job.standby = worker->standby;
    worker->joined = false;
    sim_call(sim, &worker->control, &request, on_joined, worker);
    kvp_buf_free(&kinds);
}

/* What any answer may say about the worker. True: there is nothing more to do about it. */
static bool judged(struct sim *sim, struct sim_slot *slot, uint64_t instance, int status)
{
    struct sim_worker *worker = slot->worker;
    switch (status) {
    case KVP_WORKER_UNKNOWN:
        if (worker->instance == instance && worker->joined) {
            join(sim, worker);
        }
        free_slot(sim, slot);
        slot_in(sim, slot, REST_US);
        return true;
    case KVP_WORKER_REPLACED:
        if (worker->instance == instance && worker->joined) {
            /* There is a twin, or a late message of an earlier life has joined. */
            die(sim, worker);
            worker->over = worker->twin;
            fate_in(sim, worker, 1000000);
        } else {
            free_slot(sim, slot);
            slot_in(sim, slot, REST_US);
        }
        return true;
    case KVP_WORKER_BARRED:
        if (worker->corrupt) {
            end_for_good(sim, worker);
        } else if (worker->fail > 0) { /* somebody starts it again */
            die(sim, worker);
            fate_in(sim, worker, 1000000);
        } else {
            sim_fail(sim, "%s is barred, and never lied or failed", worker->name);
        }
        return true;
    default:
        return false;
    }
}

/* ---- posts ---- */

static struct kvp_request about_task(const struct sim_slot *slot, unsigned op)
{
    const char *name = slot->worker->name;
    struct kvp_request request = {.op = op, .key = kvp_slice_of(name, strlen(name))};
    request.job.instance = slot->instance;
    request.job.job = slot->grant.job;
    request.job.task = slot->grant.task;
    request.job.attempt = slot->grant.attempt;
    return request;
}

static void send_post(struct sim *sim, struct sim_slot *slot, sim_done *done)
{
    struct kvp_request request = about_task(slot, KVP_OP_TASK_POST);
    request.job.outcome = slot->outcome;
    request.value = kvp_buf_slice(&slot->result);
    request.job.crc = (uint32_t)crc32_z(0, slot->result.data, slot->result.size);
    sim_call(sim, &slot->call, &request, done, slot);
}

static void next_task(struct sim *sim, struct sim_slot *slot)
{
    free_slot(sim, slot);
    slot_in(sim, slot, sim_jobs_below(sim, 3000));
}

static void on_posted(struct sim *sim, void *arg, int status, kvp_slice result)
{
    struct sim_slot *slot = arg;
    bool counted = false,
         has_result = slot->outcome == KVP_OUTCOME_RESULT || slot->outcome == KVP_OUTCOME_OVERFLOW;
    if (judged(sim, slot, slot->instance, status)) {
        return;
    }
    if (status == KVP_SESSION_EXPIRED) {
        send_post(sim, slot, on_posted); /* it may be there already: then it is recognised */
        return;
    }
    if (status == KVP_OK && kvp_wire_read_bool(result, &counted) != KVP_OK) {
        sim_fail(sim, "%s got a malformed answer to a result", slot->worker->name);
    } else if (status != KVP_OK && status != KVP_NO_SUCH_JOB && status != KVP_JOB_STATE) {
        sim_fail(sim, "%s: a result is answered with %s", slot->worker->name, kvp_strerror(status));
    }
    if (counted && has_result) {
        sim_ledger_counted(sim, slot->grant.job, slot->grant.task, slot->worker);
    } else if (status == KVP_OK && has_result && slot->worker->corrupt &&
               sim_job_of(sim, slot->grant.job)->spec.quorum > 1) {
        sim_ledger_lied(sim, slot->grant.job, slot->grant.task, slot->worker);
    }
    sim_trace(sim, "%s posted %llu/%u: %s, counted %d", slot->worker->name,
              (unsigned long long)slot->grant.job, slot->grant.task, kvp_strerror(status), counted);
    if (!slot->posted && sim_jobs_chance(sim, 100)) {
        slot->posted = true; /* once more, as if the answer had been lost with the session */
        send_post(sim, slot, on_posted);
    } else {
        next_task(sim, slot);
    }
}

/* It tells a result for a task that somebody else was given, or nobody. */
static void on_pranked(struct sim *sim, void *arg, int status, kvp_slice result)
{
    struct sim_slot *slot = arg;
    (void)result;
    if (judged(sim, slot, slot->instance, status)) {
        return;
    }
    if (status != KVP_NOT_HELD && status != KVP_NO_SUCH_JOB && status != KVP_SESSION_EXPIRED) {
        sim_fail(sim, "%s posts for a task that it was not given: %s", slot->worker->name,
                 kvp_strerror(status));
    }
    next_task(sim, slot);
}

static bool prank(struct sim *sim, struct sim_slot *slot)
{
    struct sim_jobs *jobs = sim->jobs;
    if (jobs->grant_count == 0) {
        return false;
    }
    const struct sim_grant *grant = &jobs->grants[sim_jobs_below(sim, jobs->grant_count)];
    if (grant->worker == sim_worker_named(sim, slot->worker->name)->index) {
        return false;
    }
    slot->grant =
        (struct kvp_task_grant){.job = grant->job, .task = grant->task, .attempt = grant->attempt};
    slot->instance = slot->worker->instance;
    slot->outcome = KVP_OUTCOME_RESULT;
    slot->result.size = 0;
    send_post(sim, slot, on_pranked);
    return true;
}

/* ---- work ---- */

static void give_up(struct sim *sim, struct sim_slot *slot)
{
    if (sim_jobs_chance(sim, 300)) {
        return; /* it ends what it has begun, wanted or not */
    }
    sim_trace(sim, "%s gives up %llu/%u", slot->worker->name, (unsigned long long)slot->grant.job,
              slot->grant.task);
    if (!slot->call.busy) {
        next_task(sim, slot);
    }
}

static void on_beat(struct sim *sim, void *arg, int status, kvp_slice result)
{
    struct sim_slot *slot = arg;
    bool go_on = false;
    if (status == KVP_OK && kvp_wire_read_bool(result, &go_on) != KVP_OK) {
        sim_fail(sim, "%s got a malformed answer to a beat", slot->worker->name);
    }
    if (go_on && slot->late && slot->failovers == sim->failovers) {
        sim_fail(sim, "%s is to go on with %llu/%u, long after its deadline", slot->worker->name,
                 (unsigned long long)slot->grant.job, slot->grant.task);
    }
    if (!slot->working || slot->call.busy || judged(sim, slot, slot->instance, status) || go_on) {
        return;
    }
    if (status != KVP_OK && status != KVP_NO_SUCH_JOB) {
        sim_fail(sim, "%s: a beat is answered with %s", slot->worker->name, kvp_strerror(status));
    }
    slot->hung = false;
    give_up(sim, slot);
    if (slot->working && slot->worker->up && !slot->call.busy) {
        slot_in(sim, slot, 1000);
    }
}

void sim_beat_timer(struct sim *sim, unsigned index, uint64_t number)
{
    struct sim_slot *slot = slot_of(sim, index);
    if (number != slot->beat_timer || !slot->working || still(sim, slot, SIM_TIMER_BEAT)) {
        return;
    }
    struct kvp_request request = about_task(slot, KVP_OP_TASK_BEAT);
    request.job.progress = (uint32_t)sim_jobs_below(sim, 1000);
    slot->late = sim->now_us > slot->due_us + LATE_US;
    const struct sim_job *job = sim_job_of(sim, slot->grant.job);
    bool single_lie = slot->worker->corrupt && job->spec.quorum == 1;
    if (!job->fickle && !single_lie && sim_jobs_chance(sim, 300)) {
        /* What was worked out so far; where votes find it out, a liar's is wrong, too. */
        request.job.has_checkpoint = true;
        request.value = kvp_slice_of(slot->result.data, slot->result.size);
    }
    sim_call(sim, &slot->beat, &request, on_beat, slot);
    sim_job_timer(sim, SIM_TIMER_BEAT, index, &slot->beat_timer,
                  (uint64_t)slot->grant.beat_ms * 1000);
}

static void compute(struct sim *sim, struct sim_slot *slot, kvp_slice checkpoint)
{
    struct sim_job *job = sim_job_of(sim, slot->grant.job);
    bool may_lie = slot->worker->corrupt && sim_job_may_lie(job);
    slot->outcome = KVP_OUTCOME_RESULT;
    slot->result.size = 0;
    if (checkpoint.size > 0) {
        if (kvp_buf_append(&slot->result, checkpoint.data, checkpoint.size) != KVP_OK) {
            abort(); /* all of the work was done already */
        }
    } else if (job->spec.type == KVP_JOB_MATMUL) {
        if (sim_multiply(kvp_buf_slice(&slot->payload), &slot->result) == KVP_OVERFLOW &&
            !may_lie) {
            slot->outcome = KVP_OUTCOME_OVERFLOW;
            slot->result.size = 0;
        }
    } else if (sim_compute(job->tasks[slot->grant.task].kind, kvp_buf_slice(&slot->payload),
                           job->fickle ? slot->grant.attempt : 0, &slot->result) != KVP_OK) {
        abort();
    }
    if (may_lie) {
        uint8_t name = (uint8_t)(slot->worker->index + 1), zero = 0;
        if (slot->result.size == 0 && kvp_buf_append(&slot->result, &zero, 1) != KVP_OK) {
            abort();
        }
        slot->result.data[0] ^= name; /* no two lie alike */
    }
}

static bool sim_job_is_poisoned(const struct sim *sim, const struct sim_slot *slot)
{
    const struct sim_job *job = sim_job_of(sim, slot->grant.job);
    return job->spec.type == KVP_JOB_TASKS && !job->cured && !slot->hung &&
           job->tasks[slot->grant.task].poison;
}

static void begin(struct sim *sim, struct sim_slot *slot, kvp_slice checkpoint)
{
    struct sim_worker *worker = slot->worker;
    uint64_t time_us = 10000 + sim_exponential(&sim->jobs->random, 150000) * worker->slow;
    time_us = worker->broken ? sim_jobs_below(sim, 10000) : time_us;
    slot->due_us = sim->now_us + (uint64_t)slot->grant.deadline_ms * 1000;
    slot->failovers = sim->failovers;
    compute(sim, slot, checkpoint);
    slot->working = true;
    slot->posted = false;
    slot->hung = !sim->calm && sim_jobs_chance(sim, worker->hang);
    if (sim_job_is_poisoned(sim, slot)) {
        slot->outcome = KVP_OUTCOME_FAILED;
    } else if (!slot->hung && (!sim->calm || worker->broken) &&
               sim_jobs_chance(sim, worker->fail)) {
        slot->outcome = KVP_OUTCOME_FAILED;
    } else if (!slot->hung && !sim->calm && sim_jobs_chance(sim, 20)) {
        slot->outcome = KVP_OUTCOME_GIVEN_BACK;
    }
    if (slot->hung) {
        sim_trace(sim, "%s hangs", worker->name);
    } else {
        slot_in(sim, slot, time_us);
    }
    sim_job_timer(sim, SIM_TIMER_BEAT, slot_index(slot), &slot->beat_timer,
                  (uint64_t)slot->grant.beat_ms * 1000);
}

/* ---- blocks ---- */

static void read_block(struct sim *sim, struct sim_slot *slot);

static void on_block(struct sim *sim, void *arg, int status, kvp_slice result)
{
    struct sim_slot *slot = arg;
    kvp_slice bytes = {0};
    if (status == KVP_NO_SUCH_JOB) {
        next_task(sim, slot); /* it took too long */
        return;
    }
    if (status != KVP_OK || kvp_wire_read_bin(result, &bytes) != KVP_OK ||
        kvp_buf_append(&slot->payload, bytes.data, bytes.size) != KVP_OK) {
        sim_fail(sim, "%s cannot read a block: %s", slot->worker->name, kvp_strerror(status));
        return;
    }
    if (++slot->blocks_read < 2) {
        read_block(sim, slot);
        return;
    }
    sim_ledger_granted(sim, slot);
    if (!sim->failed) {
        begin(sim, slot, (kvp_slice){0});
    }
}

static void read_block(struct sim *sim, struct sim_slot *slot)
{
    struct kvp_request request = {.op = KVP_OP_JOB_BLOCK};
    request.job.job = slot->grant.job;
    request.job.number = slot->blocks[slot->blocks_read];
    sim_call(sim, &slot->call, &request, on_block, slot);
}

/* The payload names the blocks; they are read, and stand in the place of their names. */
static void begin_blocks(struct sim *sim, struct sim_slot *slot)
{
    const uint8_t *names = slot->payload.data + KVP_JOB_TILE_HEADER;
    if (slot->payload.size != KVP_JOB_TILE_HEADER + 8) {
        sim_fail(sim, "%s got names of blocks that are none", slot->worker->name);
        return;
    }
    slot->blocks[0] = kvp_get_u32(names);
    slot->blocks[1] = kvp_get_u32(names + 4);
    slot->payload.size = KVP_JOB_TILE_HEADER;
    slot->blocks_read = 0;
    read_block(sim, slot);
}

/* ---- fetching ---- */

static void on_fetched(struct sim *sim, void *arg, int status, kvp_slice result)
{
    struct sim_slot *slot = arg;
    if (judged(sim, slot, slot->call.request.job.instance, status)) {
        return;
    }
    slot->fetches += status == KVP_OK || status == KVP_NO_TASK;
    if (status == KVP_NO_TASK) {
        slot_in(sim, slot, 1000 + sim_jobs_below(sim, 20000));
        return;
    }
    if (status != KVP_OK || kvp_wire_read_grant(result, &slot->grant) != KVP_OK) {
        sim_fail(sim, "%s cannot fetch: %s", slot->worker->name, kvp_strerror(status));
        return;
    }
    slot->instance = slot->call.request.job.instance;
    slot->payload.size = 0;
    if (kvp_buf_append(&slot->payload, slot->grant.payload.data, slot->grant.payload.size) !=
        KVP_OK) {
        abort();
    }
    if (crc32_z(0, slot->payload.data, slot->payload.size) != slot->grant.crc) {
        sim_fail(sim, "%s got a damaged payload", slot->worker->name);
    }
    sim_trace(sim, "%s has %llu/%u", slot->worker->name, (unsigned long long)slot->grant.job,
              slot->grant.task);
    if (slot->grant.kind.size == strlen(KVP_JOB_BLOCKS_KIND)) {
        begin_blocks(sim, slot);
        return;
    }
    sim_ledger_granted(sim, slot);
    if (!sim->failed) {
        begin(sim, slot, slot->grant.checkpoint);
    }
}

static void fetch(struct sim *sim, struct sim_slot *slot)
{
    struct sim_worker *worker = slot->worker;
    struct kvp_request request = {.op = KVP_OP_TASK_FETCH,
                                  .key = kvp_slice_of(worker->name, strlen(worker->name))};
    if (slot->instance != worker->instance) {
        slot->instance = worker->instance;
        slot->fetches = 1;
    }
    request.job.instance = worker->instance;
    request.job.slot = slot->number;
    request.job.number = slot->fetches;
    request.job.wait_ms = (uint32_t)sim_jobs_below(sim, WAIT_MS_MAX);
    sim_call(sim, &slot->call, &request, on_fetched, slot);
}

void sim_slot_timer(struct sim *sim, unsigned index, uint64_t number)
{
    struct sim_slot *slot = slot_of(sim, index);
    if (number != slot->timer || !slot->worker->up || slot->call.busy ||
        still(sim, slot, SIM_TIMER_SLOT)) {
        return;
    }
    if (slot->working) {
        send_post(sim, slot, on_posted);
    } else if (!slot->worker->joined) {
        slot_in(sim, slot, REST_US);
    } else if (!(slot->worker->prankster && sim_jobs_chance(sim, 100) && prank(sim, slot))) {
        fetch(sim, slot);
    }
}

/* ---- who there is ---- */

/* What it can do otherwise, nobody finds out. */
static void make_broken(struct sim *sim, struct sim_worker *worker, bool steady)
{
    bool may = !steady && !worker->corrupt && !worker->twin;
    worker->broken = sim_jobs_chance(sim, 300) && may;
    worker->stranger = sim_jobs_chance(sim, 150) && may && !worker->broken;
    if (worker->broken) {
        worker->fail = 1000;
        worker->hang = 0;
        worker->buffer = 1u << 20;
        worker->mortal = false;
    }
    if (worker->stranger) {
        worker->standby = true;
        worker->kinds = worker->blocks = 0;
    }
}

static void make_character(struct sim *sim, struct sim_worker *worker)
{
    bool steady = worker->steady = worker->index < STEADY;
    unsigned corrupt_from = sim->plan.jobs.workers - sim->plan.jobs.corrupt;
    worker->corrupt = worker->index >= corrupt_from;
    worker->mortal = !steady && !worker->corrupt && sim_jobs_chance(sim, 400);
    worker->standby = steady ? sim->plan.jobs.standbys : sim_jobs_chance(sim, 200);
    if (sim->plan.jobs.standbys && !steady) {
        worker->standby = false;
        worker->mortal = true;
    }
    worker->kinds = steady || sim_jobs_chance(sim, 500)
                        ? (1u << SIM_KINDS) - 1
                        : 1 + (unsigned)sim_jobs_below(sim, (1u << SIM_KINDS) - 1);
    worker->buffer = steady ? 1u << 20 : 20 + sim_jobs_below(sim, 2000);
    worker->hang = sim_jobs_chance(sim, 250) ? 60 : 0;
    worker->hang = sim->plan.jobs.standbys ? 150 : worker->hang;
    worker->fail = sim_jobs_chance(sim, 250) ? 100 : 0;
    worker->steady = steady && worker->fail == 0;
    worker->slow = sim_jobs_chance(sim, 200) ? 2 + (unsigned)sim_jobs_below(sim, 20) : 1;
    worker->prankster = sim_jobs_chance(sim, 250);
    worker->blocks = sim_jobs_chance(sim, 300) && worker->kinds >> (SIM_KINDS - 1) != 0;
    worker->slots_used = 1 + (unsigned)sim_jobs_below(sim, SIM_SLOTS_MAX);
    (void)snprintf(worker->name, sizeof(worker->name), "w%u", worker->index);
    worker->nomad = sim->plan.jobs.workers_max > 0 && !worker->corrupt && worker->index > 1;
    if (!worker->nomad && !steady && !worker->corrupt && sim_jobs_chance(sim, 100)) {
        strcpy(worker->name, "w0");
        worker->twin = worker->mortal = true;
        worker->fail = 0;
    }
    make_broken(sim, worker, steady);
}

void sim_workers_make(struct sim *sim)
{
    struct sim_jobs *jobs = sim->jobs;
    jobs->worker_count = sim->plan.jobs.workers;
    jobs->workers = calloc(jobs->worker_count, sizeof(*jobs->workers));
    if (jobs->workers == NULL) {
        abort();
    }
    for (unsigned i = 0; i < jobs->worker_count; i++) {
        struct sim_worker *worker = &jobs->workers[i];
        worker->index = i;
        make_character(sim, worker);
        sim_call_open(sim, &worker->control);
        for (unsigned s = 0; s < worker->slots_used; s++) {
            worker->slots[s].worker = worker;
            worker->slots[s].number = s;
            sim_call_open(sim, &worker->slots[s].call);
            sim_call_open(sim, &worker->slots[s].beat);
        }
        fate_in(sim, worker, 1000000);
    }
}

void sim_workers_free(struct sim *sim)
{
    for (unsigned i = 0; i < sim->jobs->worker_count; i++) {
        struct sim_worker *worker = &sim->jobs->workers[i];
        sim_call_free(&worker->control);
        for (unsigned s = 0; s < worker->slots_used; s++) {
            sim_call_free(&worker->slots[s].call);
            sim_call_free(&worker->slots[s].beat);
            kvp_buf_free(&worker->slots[s].payload);
            kvp_buf_free(&worker->slots[s].result);
        }
    }
    free(sim->jobs->workers);
}

static bool hangs(const struct sim_worker *worker)
{
    bool hung = false;
    for (unsigned s = 0; s < worker->slots_used; s++) {
        hung = hung || worker->slots[s].hung;
    }
    return hung;
}

/* No more misfortunes: the mortal are dead, the others there, those that hang started anew, and
 * liars go on lying. */
void sim_workers_calm(struct sim *sim)
{
    for (unsigned i = 0; i < sim->jobs->worker_count; i++) {
        struct sim_worker *worker = &sim->jobs->workers[i];
        if (worker->over) {
            continue;
        }
        if (worker->mortal && worker->up) {
            die(sim, worker);
        }
        if (worker->mortal) {
            worker->over = true;
        } else {
            if (worker->up && hangs(worker)) {
                die(sim, worker);
            }
            if (!worker->up) {
                start(sim, worker);
            }
        }
        worker->slow = worker->slow > 3 ? 3 : worker->slow;
    }
}
