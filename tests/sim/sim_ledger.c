/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the committed entries say about jobs. Every entry is looked at once, when the first node
 * applies it: nothing in it can be taken back any more. So here is where a task may not have two
 * results, a vote not count twice, nobody vote on what he was not given, a dependent not begin too
 * early, and no job end wrongly; whatever any single primary believed.
 */
#include "sim_ledger.h"

#include "kvstore/writeset.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

static struct ledger_job *find(const struct sim *sim, uint64_t id)
{
    struct ledger_job *job = sim->jobs->ledger->jobs;
    while (job != NULL && job->id != id) {
        job = job->next;
    }
    return job;
}

struct ledger_worker *ledger_worker_of(struct sim *sim, const char *name)
{
    struct ledger_worker *worker = sim->jobs->ledger->workers;
    while (worker != NULL && strcmp(worker->name, name) != 0) {
        worker = worker->next;
    }
    if (worker != NULL) {
        return worker;
    }
    worker = calloc(1, sizeof(*worker));
    if (worker == NULL) {
        abort();
    }
    strcpy(worker->name, name);
    worker->next = sim->jobs->ledger->workers;
    return sim->jobs->ledger->workers = worker;
}

void ledger_wrong(struct sim *sim, const struct ledger_job *job, uint32_t task, const char *what)
{
    sim_fail(sim, "job %llu (%s) task %u: %s", (unsigned long long)job->id, job->record.spec.name,
             task, what);
}

/* ---- grants, promises ---- */

static unsigned identity(const struct sim *sim, const struct sim_worker *worker)
{
    return sim_worker_named(sim, worker->name)->index;
}

static void *grow(void *array, size_t count, size_t *capacity, size_t size)
{
    if (count < *capacity) {
        return array;
    }
    *capacity = *capacity ? *capacity * 2 : 64;
    array = realloc(array, *capacity * size);
    if (array == NULL) {
        abort();
    }
    return array;
}

/* Is anything handed out that must not be? Asked for after it was known, and nobody has taken that
 * back. */
static void check_grant(struct sim *sim, const struct sim_slot *slot)
{
    const struct ledger_job *job = find(sim, slot->grant.job);
    const struct ledger_worker *worker = ledger_worker_of(sim, slot->worker->name);
    uint64_t asked_us = slot->call.began_us;
    if (slot->call.request.op != KVP_OP_TASK_FETCH || job == NULL) {
        return;
    }
    if (job->paused_us > 0 && job->job->pause_asked && asked_us > job->paused_us) {
        ledger_wrong(sim, job, slot->grant.task, "it is handed out, and its job is paused");
    }
    if (worker->drained_us > 0 && slot->worker->drain_asked && asked_us > worker->drained_us) {
        sim_fail(sim, "worker %s is drained, and gets a task", worker->name);
    }
}

void sim_ledger_granted(struct sim *sim, const struct sim_slot *slot)
{
    struct sim_jobs *jobs = sim->jobs;
    const struct sim_job *job = sim_job_of(sim, slot->grant.job);
    if (job == NULL || slot->grant.task >= job->task_count) {
        sim_fail(sim, "%s was given a task of nobody's", slot->worker->name);
        return;
    }
    check_grant(sim, slot);
    jobs->grants =
        grow(jobs->grants, jobs->grant_count, &jobs->grant_capacity, sizeof(*jobs->grants));
    jobs->grants[jobs->grant_count++] = (struct sim_grant){
        .job = slot->grant.job,
        .task = slot->grant.task,
        .attempt = slot->grant.attempt,
        .instance = slot->instance,
        .payload_digest = XXH3_64bits(slot->payload.data, slot->payload.size),
        .worker = identity(sim, slot->worker),
    };
}

static void promise(struct sim *sim, struct sim_ack ack)
{
    struct sim_jobs *jobs = sim->jobs;
    jobs->acks = grow(jobs->acks, jobs->ack_count, &jobs->ack_capacity, sizeof(*jobs->acks));
    jobs->acks[jobs->ack_count++] = ack;
}

void sim_ledger_counted(struct sim *sim, uint64_t job, uint32_t task,
                        const struct sim_worker *worker)
{
    promise(sim, (struct sim_ack){.job = job, .task = task, .worker = worker});
}

void sim_ledger_expect(struct sim *sim, uint64_t job, uint32_t task, kvp_slice bytes)
{
    promise(sim, (struct sim_ack){
                     .job = job, .task = task, .digest = XXH3_64bits(bytes.data, bytes.size)});
}

void sim_ledger_lied(struct sim *sim, uint64_t job, uint32_t task, const struct sim_worker *worker)
{
    kvp_slice bytes;
    if (sim_ledger_result(sim, job, task, &bytes)) {
        promise(sim, (struct sim_ack){.job = job, .task = task, .worker = worker, .lie = true});
    }
}

bool sim_ledger_result(const struct sim *sim, uint64_t id, uint32_t task, kvp_slice *bytes)
{
    const struct ledger_job *job = find(sim, id);
    if (job == NULL || task >= job->task_count || !job->tasks[task].known ||
        job->tasks[task].record.state != TASK_DONE) {
        return false;
    }
    *bytes = kvp_buf_slice(&job->tasks[task].results[job->tasks[task].record.winner]);
    return true;
}

const char *sim_ledger_state(const struct sim *sim, uint64_t id)
{
    static const char *const names[] = {
        "uploading", "running",   "verifying", "done",
        "failed",    "cancelled", "removing",  "done with failures"};
    const struct ledger_job *job = find(sim, id);
    return job == NULL ? "unknown" : job->exists ? names[job->record.state] : "gone";
}

bool ledger_sums(const struct ledger_job *job)
{
    return job->record.spec.type == KVP_JOB_MATMUL &&
           kvp_job_grid_of(&job->record.spec).inner_tiles > 1;
}

/* ---- results ---- */

static void on_result(struct sim *sim, struct ledger_job *job, kvp_slice key,
                      const struct kvp_batch_op *op, uint32_t task)
{
    uint8_t vote = ((const uint8_t *)key.data)[key.size - 1];
    if (task >= job->task_count || vote >= KVP_JOB_COPIES_MAX) {
        ledger_wrong(sim, job, task, "a result of no task");
        return;
    }
    struct ledger_task *at = &job->tasks[task];
    if (op->is_delete) {
        at->present[vote] = false; /* what it was is remembered */
        return;
    }
    if (at->present[vote]) {
        ledger_wrong(sim, job, task, "a result is overwritten");
    }
    at->present[vote] = true;
    at->results[vote].size = 0;
    if (kvp_buf_append(&at->results[vote], op->value.data, op->value.size) != KVP_OK) {
        abort();
    }
}

static void on_sum(struct sim *sim, struct ledger_job *job, const struct kvp_batch_op *op,
                   uint32_t output)
{
    kvp_buf expected = {0};
    if (op->is_delete) {
        return; /* of any job, whether it has sums or not */
    }
    uint32_t inner = kvp_job_grid_of(&job->record.spec).inner_tiles;
    for (uint32_t k = 0; k < inner; k++) {
        if (job->tasks[output * inner + k].record.state != TASK_DONE) {
            ledger_wrong(sim, job, output * inner + k, "summed up before it is done");
        }
    }
    if (job->tasks[output * inner].summed) {
        ledger_wrong(sim, job, output * inner, "summed up twice");
    }
    job->tasks[output * inner].summed = true;
    sim_job_output(job->job, output, &expected);
    bool right = kvp_slice_compare(kvp_buf_slice(&expected), op->value) == 0;
    job->wrong = job->wrong || !right;
    if (!right && !job->lied && !job->job->overflow) {
        ledger_wrong(sim, job, output * inner, "its block of the product is wrong");
    }
    kvp_buf_free(&expected);
}

/* ---- tasks ---- */

static const struct sim_grant *grant_of(const struct sim *sim, const struct ledger_job *job,
                                        uint32_t task, const struct job_vote *vote)
{
    const struct sim_worker *worker = sim_worker_named(sim, vote->worker);
    for (size_t i = sim->jobs->grant_count; worker != NULL && i > 0; i--) {
        const struct sim_grant *grant = &sim->jobs->grants[i - 1];
        if (grant->job == job->id && grant->task == task && grant->attempt == vote->attempt &&
            grant->worker == worker->index) {
            return grant;
        }
    }
    return NULL;
}

/* What an honest worker's result of this vote is. KVP_OVERFLOW. */
static kvp_status honest_result(const struct sim *sim, const struct ledger_job *job, uint32_t task,
                                const struct job_vote *vote, kvp_buf *out)
{
    kvp_buf payload = {0};
    kvp_status status;
    if (!sim_job_payload(sim, job->job, job->id, task, &payload)) {
        status = KVP_NOT_FOUND;
    } else if (job->record.spec.type == KVP_JOB_MATMUL) {
        status = sim_multiply(kvp_buf_slice(&payload), out);
    } else {
        status = sim_compute(job->job->tasks[task].kind, kvp_buf_slice(&payload),
                             job->job->fickle ? vote->attempt : 0, out);
    }
    kvp_buf_free(&payload);
    return status;
}

static void check_bytes(struct sim *sim, struct ledger_job *job, uint32_t task,
                        const struct task_record *record, unsigned index)
{
    const struct job_vote *vote = &record->votes[index];
    const struct ledger_task *at = &job->tasks[task];
    kvp_buf honest = {0};
    kvp_status status = honest_result(sim, job, task, vote, &honest);
    if (status == KVP_NOT_FOUND) {
        ledger_wrong(sim, job, task, "a vote before the tasks are done that it waits for");
    }
    bool overflow = vote->outcome == KVP_OUTCOME_OVERFLOW;
    bool right = overflow ? status == KVP_OVERFLOW
                          : status == KVP_OK && vote->size == honest.size &&
                                vote->digest == XXH3_64bits(honest.data, honest.size);
    if (at->present[index] &&
        vote->digest != XXH3_64bits(at->results[index].data, at->results[index].size)) {
        ledger_wrong(sim, job, task, "a result is not what its vote says");
    }
    bool corrupt = sim_worker_named(sim, vote->worker)->corrupt && sim_job_may_lie(job->job);
    if (!right && !corrupt) {
        ledger_wrong(sim, job, task, "a wrong result of an honest worker");
    }
    bool accepted = record->state == TASK_DONE && vote->agreed;
    job->lied = job->lied || (!right && accepted);
    job->wrong = job->wrong || (!right && accepted && !ledger_sums(job));
    kvp_buf_free(&honest);
}

/* A vote that has just come in. */
static void check_vote(struct sim *sim, struct ledger_job *job, uint32_t task,
                       const struct task_record *record, unsigned index)
{
    const struct job_vote *vote = &record->votes[index];
    const struct sim_grant *grant = grant_of(sim, job, task, vote);
    if (grant == NULL) {
        ledger_wrong(sim, job, task, "a vote of somebody who was not given the task");
        return;
    }
    const struct ledger_worker *worker = ledger_worker_of(sim, vote->worker);
    if (!worker->exists || worker->record.instance != grant->instance || worker->record.left ||
        worker->record.barred) {
        ledger_wrong(sim, job, task, "a vote of a worker that was replaced or barred, or has left");
    }
    for (unsigned i = 0; i < index; i++) {
        if (strcmp(record->votes[i].worker, vote->worker) == 0) {
            ledger_wrong(sim, job, task, "a worker votes twice");
        }
    }
    check_bytes(sim, job, task, record, index);
}

static void check_done(struct sim *sim, struct ledger_job *job, uint32_t task,
                       const struct task_record *record)
{
    unsigned with = 0;
    if (record->winner >= record->vote_count || !record->votes[record->winner].agreed) {
        ledger_wrong(sim, job, task, "done without a winner");
        return;
    }
    const struct job_vote *winner = &record->votes[record->winner];
    for (unsigned i = 0; i < record->vote_count; i++) {
        bool same = record->votes[i].digest == winner->digest &&
                    record->votes[i].outcome == winner->outcome;
        with += same;
        if (same != record->votes[i].agreed) {
            ledger_wrong(sim, job, task, "a vote is not judged by what it says");
        }
    }
    if (with < job->record.spec.quorum) {
        ledger_wrong(sim, job, task, "done without a quorum");
    }
    if (job->tasks[task].record.state != TASK_DONE && !job->tasks[task].present[record->winner]) {
        ledger_wrong(sim, job, task, "done, and the result is not there");
    }
}

/* Votes that decided nothing, where others decided. */
static unsigned lost_votes(const struct ledger_job *job, const struct task_record *record,
                           const char *name)
{
    unsigned lost = 0;
    bool decided =
        record->state == TASK_DONE || (record->state == TASK_FAILED && record->vote_count > 0 &&
                                       record->votes[record->winner].agreed);
    for (unsigned i = 0; decided && i < record->vote_count; i++) {
        lost += !record->votes[i].agreed && strcmp(record->votes[i].worker, name) == 0;
    }
    return job->record.spec.quorum > 1 ? lost : 0;
}

static void count_lost_votes(struct sim *sim, const struct ledger_job *job,
                             const struct task_record *before, const struct task_record *now)
{
    for (unsigned i = 0; i < now->vote_count; i++) {
        struct ledger_worker *worker = ledger_worker_of(sim, now->votes[i].worker);
        worker->lost += lost_votes(job, now, worker->name) - lost_votes(job, before, worker->name);
    }
}

static bool is_again(const struct task_record *before, const struct task_record *now)
{
    return before->state == TASK_FAILED && now->state == TASK_OPEN;
}

static void check_change(struct sim *sim, struct ledger_job *job, uint32_t task,
                         const struct task_record *before, const struct task_record *now)
{
    bool was_done = before->state == TASK_DONE;
    if (is_again(before, now)) {
        if (!job->job->retried || now->vote_count > 0 || now->lost > 0) {
            ledger_wrong(sim, job, task, "it is tried again, unasked or not from its beginning");
        }
        return;
    }
    if (now->state == TASK_FAILED && before->state != TASK_FAILED &&
        job->record.spec.on_failure == KVP_ON_FAILURE_CONTINUE &&
        !ledger_task_spent(sim, job, task, now)) {
        ledger_wrong(sim, job, task, "it has failed, and not often enough");
    }
    if (now->vote_count < before->vote_count || now->vote_count > before->vote_count + 1) {
        ledger_wrong(sim, job, task, "votes are lost, or several come at once");
        return;
    }
    for (unsigned i = 0; i < before->vote_count; i++) {
        const struct job_vote *a = &before->votes[i], *b = &now->votes[i];
        if (strcmp(a->worker, b->worker) != 0 || a->attempt != b->attempt ||
            a->digest != b->digest || (was_done && a->agreed != b->agreed)) {
            ledger_wrong(sim, job, task, "a vote changes");
        }
    }
    if (was_done && (now->state != TASK_DONE || now->winner != before->winner)) {
        ledger_wrong(sim, job, task, "it was done, and is so no more");
    }
    if (now->lost < before->lost || now->copies < before->copies ||
        now->copies > job->record.spec.copies_max || (before->summed && !now->summed)) {
        ledger_wrong(sim, job, task, "a count goes back, or too far");
    }
    if (now->vote_count > before->vote_count) {
        bool open = job->record.state == JOB_RUNNING && !was_done;
        bool late = was_done && job->record.state <= JOB_DONE;
        if (!open && !late) {
            ledger_wrong(sim, job, task, "a vote when the job has ended");
        }
        check_vote(sim, job, task, now, now->vote_count - 1);
    }
}

static void on_task(struct sim *sim, struct ledger_job *job, const struct kvp_batch_op *op,
                    uint32_t task)
{
    struct task_record now;
    if (op->is_delete) {
        if (job->record.state != JOB_REMOVING) {
            ledger_wrong(sim, job, task, "its record is deleted");
        }
        return;
    }
    if (task >= job->task_count || task_record_decode(op->value, &now) != KVP_OK) {
        ledger_wrong(sim, job, task, "a record of no task");
        return;
    }
    struct ledger_task *at = &job->tasks[task];
    if (!at->known) {
        at->record = (struct task_record){.copies = job->record.spec.copies, .state = TASK_OPEN};
    }
    check_change(sim, job, task, &at->record, &now);
    if (now.state == TASK_DONE && !sim->failed) {
        check_done(sim, job, task, &now);
    }
    if (!sim->failed && !is_again(&at->record, &now)) {
        count_lost_votes(sim, job, &at->record, &now);
    }
    if (now.state == TASK_DONE && at->record.state != TASK_DONE) {
        ledger_count_outdone(sim, at, &now);
    }
    at->known = true;
    at->record = now;
    at->record.after = (kvp_slice){0};
}

/* ---- jobs ---- */

static struct ledger_job *add_job(struct sim *sim, uint64_t id, const struct job_record *record)
{
    struct ledger_job *job = calloc(1, sizeof(*job));
    unsigned index = 0;
    if (job == NULL || sscanf(record->spec.name, "job%u", &index) != 1 ||
        index >= sim->jobs->job_count) {
        abort();
    }
    job->id = id;
    job->exists = true;
    job->record = *record;
    job->job = &sim->jobs->jobs[index];
    job->task_count = job->job->task_count;
    job->tasks = calloc(job->task_count, sizeof(*job->tasks));
    if (job->tasks == NULL) {
        abort();
    }
    job->next = sim->jobs->ledger->jobs;
    sim->jobs->ledger->jobs = job;
    return job;
}

static void on_job(struct sim *sim, uint64_t id, const struct kvp_batch_op *op)
{
    struct ledger_job *job = find(sim, id);
    struct job_record record;
    if (op->is_delete) {
        if (job == NULL || !job->exists || job->record.state != JOB_REMOVING) {
            sim_fail(sim, "job %llu is deleted", (unsigned long long)id);
            return;
        }
        job->exists = false;
        sim_trace(sim, "committed: job %llu is gone", (unsigned long long)id);
        return;
    }
    if (job_record_decode(op->value, &record) != KVP_OK || (job != NULL && !job->exists)) {
        sim_fail(sim, "job %llu has a bad record, or comes back", (unsigned long long)id);
        return;
    }
    if (job == NULL) {
        job = add_job(sim, id, &record);
    }
    uint8_t before = job->record.state;
    job->record = record;
    job->paused_us = !record.paused ? 0 : job->paused_us > 0 ? job->paused_us : sim->now_us;
    ledger_check_state(sim, job, before, record.state);
    ledger_check_age(sim, job);
    if (before != record.state) {
        sim_trace(sim, "committed: job %llu in state %u", (unsigned long long)id, record.state);
    }
}

/* ---- entries ---- */

static void apply_op(struct sim *sim, const struct kvp_batch_op *op, unsigned pass)
{
    enum job_key kind;
    uint64_t id = 0;
    uint32_t number = 0;
    kvp_slice name;
    if (((const uint8_t *)op->key.data)[0] != KVP_PREFIX_JOB) {
        return;
    }
    if (job_key_split(op->key, &kind, &id, &number, &name) != KVP_OK) {
        sim_fail(sim, "an entry with a malformed key");
        return;
    }
    /* Results before records; of those tasks before workers, whose votes they tell of, and jobs. */
    static const struct {
        enum job_key kind;
        unsigned pass;
    } order[] = {{JOB_KEY_RESULT, 0}, {JOB_KEY_SUM, 0},      {JOB_KEY_FAULTS, 0}, {JOB_KEY_TASK, 1},
                 {JOB_KEY_WORKER, 2}, {JOB_KEY_STANDING, 2}, {JOB_KEY_JOB, 3}};
    unsigned own = UINT32_MAX;
    for (size_t i = 0; i < sizeof(order) / sizeof(order[0]); i++) {
        own = order[i].kind == kind ? order[i].pass : own;
    }
    if (own != pass || sim->failed) {
        return;
    }
    struct ledger_job *job = find(sim, id);
    if (kind == JOB_KEY_WORKER) {
        ledger_on_worker(sim, name, op);
    } else if (kind == JOB_KEY_STANDING) {
        ledger_on_standing(sim, name, op);
    } else if (kind == JOB_KEY_JOB) {
        on_job(sim, id, op);
    } else if (job == NULL || !job->exists) {
        sim_fail(sim, "a part of job %llu, which is not there", (unsigned long long)id);
    } else if (kind == JOB_KEY_TASK) {
        on_task(sim, job, op, number);
    } else if (kind == JOB_KEY_FAULTS) {
        ledger_on_faults(sim, job, op, number);
    } else if (kind == JOB_KEY_RESULT) {
        on_result(sim, job, op->key, op, number);
    } else {
        on_sum(sim, job, op, number);
    }
}

static bool is_new(struct sim *sim, const struct kvp_entry *entry)
{
    struct ledger *ledger = sim->jobs->ledger;
    uint64_t seq = entry->point.seq;
    uint64_t hash = XXH3_64bits(entry->payload, entry->size);
    if (seq < ledger->next) {
        if (ledger->hashes[seq] != hash) {
            sim_fail(sim, "entry %llu was another one before", (unsigned long long)seq);
        }
        return false;
    }
    if (seq > ledger->next) {
        sim_fail(sim, "entry %llu is applied before %llu", (unsigned long long)seq,
                 (unsigned long long)ledger->next);
        return false;
    }
    ledger->hashes = grow(ledger->hashes, seq, &ledger->capacity, sizeof(*ledger->hashes));
    ledger->hashes[seq] = hash;
    ledger->next++;
    return true;
}

void sim_ledger_apply(struct sim *sim, const struct kvp_entry *entry)
{
    if (!is_new(sim, entry)) {
        return;
    }
    for (unsigned pass = 0; pass < 4; pass++) {
        struct kvp_writeset_iter iter;
        struct kvp_batch_op op;
        kvp_writeset_begin(&iter, kvp_slice_of(entry->payload, entry->size));
        while (kvp_writeset_next(&iter, &op) == KVP_OK) {
            apply_op(sim, &op, pass);
        }
    }
}

/* ---- the end ---- */

bool sim_ledger_running(const struct sim *sim)
{
    const struct ledger_job *job = sim->jobs->ledger->jobs;
    while (job != NULL && job->record.state != JOB_RUNNING) {
        job = job->next;
    }
    return job != NULL;
}

bool sim_ledger_settled(const struct sim *sim)
{
    for (const struct ledger_job *job = sim->jobs->ledger->jobs; job != NULL; job = job->next) {
        bool soon_gone = job->record.spec.keep_s < 60 && job->record.state != JOB_UPLOADING;
        if (job->exists && (soon_gone || (job->started && job->record.state < JOB_DONE))) {
            return false;
        }
    }
    return true;
}

static bool kept(const struct sim *sim, const struct sim_ack *ack)
{
    const struct ledger_job *job = find(sim, ack->job);
    if (job == NULL) {
        return false;
    }
    const struct task_record *record = &job->tasks[ack->task].record;
    if (job->job->retried) {
        return true; /* what was counted may have been for nothing */
    }
    if (ack->worker == NULL) {
        return record->state == TASK_DONE && record->votes[record->winner].digest == ack->digest;
    }
    for (unsigned i = 0; i < record->vote_count; i++) {
        if (sim_worker_named(sim, record->votes[i].worker)->index == identity(sim, ack->worker)) {
            return !ack->lie || !record->votes[i].agreed;
        }
    }
    return ack->lie && record->vote_count == KVP_JOB_COPIES_MAX;
}

/* Whoever was given a task got with it what was, or then became, the results of those before it. */
static void check_grants(struct sim *sim)
{
    kvp_buf payload = {0};
    for (size_t i = 0; i < sim->jobs->grant_count && !sim->failed; i++) {
        const struct sim_grant *grant = &sim->jobs->grants[i];
        const struct ledger_job *job = find(sim, grant->job);
        if (job == NULL || !sim_job_payload(sim, job->job, grant->job, grant->task, &payload)) {
            sim_fail(sim, "task %u of job %llu was begun before those that it waits for were done",
                     grant->task, (unsigned long long)grant->job);
        } else if (XXH3_64bits(payload.data, payload.size) != grant->payload_digest) {
            ledger_wrong(sim, job, grant->task, "it was given with a wrong payload");
        }
    }
    kvp_buf_free(&payload);
}

static void check_jobs(struct sim *sim)
{
    for (unsigned i = 0; i < sim->jobs->job_count && !sim->failed; i++) {
        const struct sim_job *job = &sim->jobs->jobs[i];
        const struct ledger_job *at = find(sim, job->id);
        if (job->start_acked && (at == NULL || !at->started || at->record.state < JOB_DONE)) {
            sim_fail(sim, "job %u was started, and is %s", i, sim_ledger_state(sim, job->id));
        }
    }
}

/* Nothing is left of jobs that are gone. */
static void check_leftovers(struct sim *sim)
{
    static const uint8_t from[] = {KVP_PREFIX_JOB}, to[] = {KVP_PREFIX_JOB + 1};
    struct kvp_state_view *view = kvp_storage_snapshot(sim->nodes[1].storage);
    kvp_slice key, value, name;
    kvp_state_view_seek(view, kvp_slice_of(from, 1), kvp_slice_of(to, 1));
    while (kvp_state_view_read(view, &key, &value) == KVP_OK) {
        enum job_key kind;
        uint64_t id = 0;
        uint32_t number;
        const struct ledger_job *job = NULL;
        bool part = job_key_split(key, &kind, &id, &number, &name) == KVP_OK &&
                    kind != JOB_KEY_WORKER && kind != JOB_KEY_STANDING;
        if (part && kind == JOB_KEY_HOLDER) {
            (void)holder_record_decode(value, &id);
        }
        if (part) {
            job = find(sim, id);
        }
        if (part && (job == NULL || !job->exists)) {
            sim_fail(sim, "a key of kind %c of job %llu is left over", (char)kind,
                     (unsigned long long)id);
        }
        kvp_state_view_next(view);
    }
    kvp_state_view_close(view);
}

void sim_ledger_end(struct sim *sim)
{
    for (size_t i = 0; i < sim->jobs->ack_count && !sim->failed; i++) {
        const struct sim_ack *ack = &sim->jobs->acks[i];
        if (!kept(sim, ack)) {
            sim_fail(sim, "job %llu task %u: %s", (unsigned long long)ack->job, ack->task,
                     ack->worker == NULL ? "the result that was read is lost"
                     : ack->lie          ? "a lie is not held against the worker"
                                         : "a result that was counted is lost");
        }
    }
    check_grants(sim);
    check_jobs(sim);
    ledger_check_workers(sim);
    check_leftovers(sim);
}

void sim_ledger_open(struct sim *sim)
{
    struct ledger *ledger = sim->jobs->ledger = calloc(1, sizeof(*ledger));
    if (ledger == NULL) {
        abort();
    }
    ledger->next = 1;
}

void sim_ledger_free(struct sim *sim)
{
    struct ledger *ledger = sim->jobs->ledger;
    for (struct ledger_job *job = ledger->jobs, *next; job != NULL; job = next) {
        next = job->next;
        for (uint32_t i = 0; i < job->task_count; i++) {
            for (unsigned v = 0; v < KVP_JOB_COPIES_MAX; v++) {
                kvp_buf_free(&job->tasks[i].results[v]);
            }
        }
        free(job->tasks);
        free(job);
    }
    for (struct ledger_worker *worker = ledger->workers, *next; worker != NULL; worker = next) {
        next = worker->next;
        free(worker);
    }
    free(ledger->hashes);
    free(ledger);
}
