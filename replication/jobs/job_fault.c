/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Attempts that came to nothing. A task remembers who failed it and who was lost with it, and goes,
 * after a back-off, to a worker that did neither, as long as there is one. So a broken worker costs
 * the jobs time but no task; and a task that is broken itself comes to an end, since every worker
 * has it at most until all have failed it.
 *
 * A worker is blamed for a failure only when another worker has done the task: then it was not the
 * task. With some blame it is on probation (one task at a time, and a back-off after each failure),
 * with more it is barred. Each result of its own that counts takes away some. A worker that is
 * lost, or misses a deadline, is not blamed: it may be slow, and right.
 *
 * Until somebody has done what a worker failed, it is suspected, so that it does not run through
 * the whole queue meanwhile. Suspicion lies in memory only.
 */
#include "replication/jobs/job_state.h"
#include "kvstore/base/utf8.h"
#include "kvstore/base/mutant.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#define PROBATION_FAULTS    3u
#define BARRED_FAULTS       8u
#define PARDONED_FAULTS     (BARRED_FAULTS - 2) /* of one that joins again */
#define WORKER_BACKOFF_US   UINT64_C(250000)
#define WORKER_DOUBLINGS    5u
#define RETURN_BACKOFF_US   UINT64_C(100000)
#define RETURN_DOUBLINGS    6u
#define TASK_BACKOFF_MAX_US UINT64_C(60000000) /* unless the job wants more from the start */
#define TASK_DOUBLINGS      8u

/* ---- back-offs: a heap, the first to end on top ---- */

static bool backoff_earlier(const struct backoff *a, const struct backoff *b)
{
    return a->due_us < b->due_us;
}

static void backoff_swap(struct backoff *a, struct backoff *b)
{
    struct backoff kept = *a;
    *a = *b;
    *b = kept;
}

/* False: no memory. */
static bool backoff_push(struct kvp_jobs *jobs, struct backoff backoff)
{
    if (jobs->backoff_count == jobs->backoff_capacity) {
        size_t capacity = jobs->backoff_capacity ? jobs->backoff_capacity * 2 : 64;
        struct backoff *grown = realloc(jobs->backoffs, capacity * sizeof(*grown));
        if (grown == NULL) {
            return false;
        }
        jobs->backoffs = grown;
        jobs->backoff_capacity = capacity;
    }
    size_t at = jobs->backoff_count++;
    jobs->backoffs[at] = backoff;
    while (at > 0 && backoff_earlier(&jobs->backoffs[at], &jobs->backoffs[(at - 1) / 2])) {
        backoff_swap(&jobs->backoffs[at], &jobs->backoffs[(at - 1) / 2]);
        at = (at - 1) / 2;
    }
    return true;
}

static struct backoff backoff_pop(struct kvp_jobs *jobs)
{
    struct backoff top = jobs->backoffs[0];
    jobs->backoffs[0] = jobs->backoffs[--jobs->backoff_count];
    for (size_t at = 0, child; (child = 2 * at + 1) < jobs->backoff_count; at = child) {
        if (child + 1 < jobs->backoff_count &&
            backoff_earlier(&jobs->backoffs[child + 1], &jobs->backoffs[child])) {
            child++;
        }
        if (!backoff_earlier(&jobs->backoffs[child], &jobs->backoffs[at])) {
            break;
        }
        backoff_swap(&jobs->backoffs[child], &jobs->backoffs[at]);
    }
    return top;
}

static void backoff_end(struct kvp_jobs *jobs, const struct backoff *backoff, uint64_t now_us)
{
    struct job *job = job_find(jobs, backoff->job);
    jobs->work_available = true;
    if (job == NULL || backoff->task >= job->record.task_count || KVP_MUTANT(JOB_REST_FOREVER)) {
        return; /* it is gone; or a worker has rested */
    }
    struct task *task = &job->tasks[backoff->task];
    task->backing_off = false;
    if (task_needs(task)) {
        queue_front(jobs, job, backoff->task);
        jobs->check_us = now_us; /* a standby may be needed for it */
    }
}

void job_check_rests(struct kvp_jobs *jobs, uint64_t now_us)
{
    while (jobs->backoff_count > 0 && jobs->backoffs[0].due_us <= now_us) {
        struct backoff backoff = backoff_pop(jobs);
        backoff_end(jobs, &backoff, now_us);
    }
}

uint64_t job_rests_due_us(const struct kvp_jobs *jobs)
{
    return jobs->backoff_count > 0 ? jobs->backoffs[0].due_us : UINT64_MAX;
}

/* Twice as long with each failure, a quarter more or less, so that what failed together is not
 * tried again together. */
static uint64_t task_rest_us(const struct job *job, uint32_t number, uint32_t failed)
{
    uint64_t parts[] = {job->id, number, failed};
    uint64_t base_us = (uint64_t)job->record.spec.retry_ms * 1000;
    unsigned doublings = failed - 1 < TASK_DOUBLINGS ? failed - 1 : TASK_DOUBLINGS;
    uint64_t most_us = base_us > TASK_BACKOFF_MAX_US ? base_us : TASK_BACKOFF_MAX_US;
    uint64_t backoff_us = base_us << doublings < most_us ? base_us << doublings : most_us;
    return backoff_us - backoff_us / 4 + XXH64(parts, sizeof(parts), 0) % (backoff_us / 2 + 1);
}

static void task_rest(struct kvp_jobs *jobs, struct job *job, uint32_t number, uint64_t now_us)
{
    struct task *task = &job->tasks[number];
    if (task->backing_off || job->record.spec.retry_ms == 0) {
        return;
    }
    uint64_t due_us = now_us + task_rest_us(job, number, task->faults->failed);
    task->backing_off = backoff_push(jobs, (struct backoff){due_us, job->id, number});
}

static void worker_back_off(struct kvp_jobs *jobs, struct worker *worker, uint64_t first_us,
                            unsigned doublings, uint64_t now_us)
{
    worker->backoff_us = now_us + (first_us << doublings);
    (void)backoff_push(
        jobs, (struct backoff){.due_us = worker->backoff_us}); /* else its next fetch finds out */
}

/* ---- what a worker is trusted with ---- */

static void reason_copy(char to[JOB_REASON_MAX + 1], const char *reason)
{
    (void)kvp_utf8_copy_end(to, JOB_REASON_MAX + 1, kvp_slice_of(reason, strlen(reason)));
}

static uint32_t worker_faults_weighed(const struct worker *worker)
{
    uint32_t faults = worker->standing.faults;
    return faults > worker->suspicion ? faults : worker->suspicion;
}

bool worker_on_probation(const struct worker *worker)
{
    return worker_faults_weighed(worker) >= PROBATION_FAULTS;
}

bool worker_may_begin(const struct worker *worker, uint64_t now_us)
{
    return now_us >= worker->backoff_us &&
           (worker->attempt_count == 0 || !worker_on_probation(worker));
}

void worker_returned(struct kvp_jobs *jobs, struct worker *worker, uint64_t now_us)
{
    unsigned doublings = worker->returned < RETURN_DOUBLINGS ? worker->returned : RETURN_DOUBLINGS;
    if (worker->returned++ > 0) {
        worker_back_off(jobs, worker, RETURN_BACKOFF_US, doublings - 1, now_us);
    }
}

static void worker_suspect(struct kvp_jobs *jobs, struct worker *worker, bool alone,
                           uint64_t now_us)
{
    worker->returned = 0;
    worker->suspicion += alone;
    if (worker_on_probation(worker)) {
        uint32_t doublings = worker_faults_weighed(worker) - PROBATION_FAULTS;
        worker_back_off(jobs, worker, WORKER_BACKOFF_US,
                        doublings < WORKER_DOUBLINGS ? doublings : WORKER_DOUBLINGS, now_us);
    }
}

static void worker_relieve(struct worker *worker, uint32_t count)
{
    worker->suspicion -= count < worker->suspicion ? count : worker->suspicion;
}

static kvp_status standing_write(struct kvp_jobs *jobs, struct worker *worker)
{
    struct kvp_raw_key key;
    job_key_worker(&key, JOB_KEY_STANDING, worker->name);
    jobs->scratch.size = 0;
    kvp_status status = standing_record_encode(&worker->standing, &jobs->scratch);
    return status == KVP_OK ? job_put(jobs, &key, kvp_buf_slice(&jobs->scratch)) : status;
}

static kvp_status standing_lose(struct kvp_jobs *jobs, struct worker *worker, const char *reason)
{
    const char *own = worker->fault_reason[0] ? worker->fault_reason : reason;
    worker->standing.faults++;
    worker->standing.ever++;
    reason_copy(worker->standing.reason, own);
    kvp_status status = standing_write(jobs, worker);
    if (status != KVP_OK || worker->standing.faults < BARRED_FAULTS || worker->record.barred) {
        return status;
    }
    worker->record.barred = true;
    worker_give_back(jobs, worker);
    jobs->check_us = 0; /* a standby may take its place */
    return worker_write(jobs, worker);
}

void worker_cleared(struct worker *worker)
{
    worker->suspicion = worker->returned = 0;
}

kvp_status standing_earn(struct kvp_jobs *jobs, struct worker *worker)
{
    worker_cleared(worker);
    if (worker->standing.faults == 0) {
        return KVP_OK;
    }
    worker->standing.faults--;
    return standing_write(jobs, worker);
}

bool standing_barred(const struct worker *worker)
{
    return worker->standing.faults >= BARRED_FAULTS;
}

kvp_status standing_refuse(const struct worker *worker, struct job_answer *answer)
{
    char text[JOB_REASON_MAX + 1] =
        "barred: other workers have done tasks that this one failed, the "
        "last time: ";
    size_t used = strlen(text);
    if (!standing_barred(worker)) {
        return job_refuse(answer, KVP_WORKER_BARRED, NULL); /* it has lost votes */
    }
    (void)kvp_utf8_copy_end(text + used, sizeof(text) - used,
                            kvp_slice_of(worker->standing.reason, strlen(worker->standing.reason)));
    return job_refuse(answer, KVP_WORKER_BARRED, text);
}

kvp_status standing_pardon(struct kvp_jobs *jobs, struct worker *worker)
{
    worker_cleared(worker);
    worker->backoff_us = 0;
    if (!standing_barred(worker)) {
        return KVP_OK;
    }
    worker->standing.faults = PARDONED_FAULTS;
    return standing_write(jobs, worker);
}

/* ---- what a task remembers ---- */

static unsigned faults_index(const struct task_faults *faults, uint64_t digest)
{
    unsigned i = 0;
    while (i < faults->count && faults->by[i].worker != digest) {
        i++;
    }
    return i;
}

bool task_failed_by(const struct task *task, const struct worker *worker)
{
    return task->faults != NULL && faults_index(task->faults, worker->digest) < task->faults->count;
}

/* The worker's place in memory; it was put there if need be. */
static unsigned faults_place(struct task_faults *faults, uint64_t digest)
{
    unsigned i = faults_index(faults, digest);
    if (i < faults->count) {
        return i;
    }
    if (i == JOB_FAULTS_MAX) {
        i--;
        memmove(&faults->by[0], &faults->by[1], i * sizeof(faults->by[0]));
    }
    faults->by[i] = (struct task_fault){.worker = digest};
    faults->count = i + 1;
    return i;
}

kvp_status task_faults_load(struct task *task, const struct faults_record *record)
{
    struct task_faults *faults = calloc(1, sizeof(*faults));
    if (faults == NULL) {
        return KVP_NO_MEMORY;
    }
    faults->workers = record->workers;
    faults->failed = record->failed;
    for (unsigned i = 0; i < record->count; i++) {
        const struct job_fault *fault = &record->by[i];
        unsigned at = faults_place(faults, worker_digest(fault->worker, strlen(fault->worker)));
        faults->by[at].failed = fault->failed;
        faults->by[at].lost = fault->lost;
    }
    free(task->faults);
    task->faults = faults;
    return KVP_OK;
}

void task_faults_drop(struct task *task)
{
    free(task->faults);
    task->faults = NULL;
}

void job_faults_free(struct job *job)
{
    for (uint32_t i = 0; job->tasks != NULL && i < job->record.task_count; i++) {
        task_faults_drop(&job->tasks[i]);
    }
}

kvp_status faults_read(struct kvp_jobs *jobs, const struct job *job, uint32_t number,
                       struct faults_record *record)
{
    struct kvp_raw_key key;
    job_key_part(&key, JOB_KEY_FAULTS, job->id, number);
    jobs->other.size = 0;
    kvp_status status = job_get(jobs, &key, &jobs->other);
    if (status == KVP_NOT_FOUND) {
        memset(record, 0, sizeof(*record));
        return KVP_OK;
    }
    return status == KVP_OK ? faults_record_decode(kvp_buf_slice(&jobs->other), record) : status;
}

static struct job_fault *faults_of(struct faults_record *record, const char *worker)
{
    unsigned i = 0;
    while (i < record->count && strcmp(record->by[i].worker, worker) != 0) {
        i++;
    }
    if (i < record->count) {
        return &record->by[i];
    }
    if (i == JOB_FAULTS_MAX) {
        i--;
        memmove(&record->by[0], &record->by[1], i * sizeof(record->by[0]));
    }
    record->workers++;
    record->count = i + 1;
    memset(&record->by[i], 0, sizeof(record->by[i]));
    memcpy(record->by[i].worker, worker, strlen(worker));
    return &record->by[i];
}

/* In the store, and then in memory. */
static kvp_status faults_note(struct kvp_jobs *jobs, const struct worker *worker, struct job *job,
                              uint32_t number, enum fault how)
{
    struct faults_record record;
    struct kvp_raw_key key;
    kvp_status status = faults_read(jobs, job, number, &record);
    if (status != KVP_OK) {
        return status;
    }
    struct job_fault *fault = faults_of(&record, worker->name);
    uint8_t *count = how == FAULT_FAILED ? &fault->failed : &fault->lost;
    *count += *count < UINT8_MAX;
    record.failed += how == FAULT_FAILED;
    job_key_part(&key, JOB_KEY_FAULTS, job->id, number);
    jobs->scratch.size = 0;
    status = faults_record_encode(&record, &jobs->scratch);
    if (status == KVP_OK) {
        status = job_put(jobs, &key, kvp_buf_slice(&jobs->scratch));
    }
    return status == KVP_OK ? task_faults_load(&job->tasks[number], &record) : status;
}

/* The first one that failed is not alone with it any more: perhaps it is the task. */
static void faults_suspect(struct kvp_jobs *jobs, struct worker *worker, const struct task *task,
                           enum fault how, uint64_t now_us)
{
    const struct task_faults *faults = task->faults;
    bool alone = faults->count == 1;
    if (faults->count == 2 && faults->by[1].worker == worker->digest &&
        faults->by[1].failed + faults->by[1].lost == 1) {
        struct worker *first = worker_known(jobs, faults->by[0].worker);
        if (first != NULL) {
            worker_relieve(first, faults->by[0].failed + faults->by[0].lost);
        }
    }
    if (how != FAULT_LOST) {
        worker_suspect(jobs, worker, alone, now_us);
    }
}

/* ---- who may try ---- */

static bool another_could(const struct kvp_jobs *jobs, const struct job *job, uint32_t number,
                          uint64_t now_us)
{
    for (uint32_t i = 0; i < jobs->worker_count; i++) {
        const struct worker *worker = jobs->workers[i];
        if (!task_failed_by(&job->tasks[number], worker) && !worker_gone(worker, now_us) &&
            task_suits(worker, job, number)) {
            return true;
        }
    }
    return false;
}

bool task_kept_from(const struct kvp_jobs *jobs, const struct job *job, uint32_t number,
                    const struct worker *worker, uint64_t now_us, uint32_t *budget)
{
    if (!task_failed_by(&job->tasks[number], worker) || KVP_MUTANT(JOB_BACK_TO_FAILER)) {
        return false;
    }
    if (*budget < jobs->worker_count) {
        return true;
    }
    *budget -= jobs->worker_count;
    return another_could(jobs, job, number, now_us);
}

/* ---- an attempt has come to nothing ---- */

/* What happened, and as much of the end of the last reason as fits. */
static void faults_explain(const struct task *task, uint32_t number, uint32_t attempts_max,
                           const struct task_record *record, char text[JOB_REASON_MAX + 1])
{
    const size_t size = JOB_REASON_MAX + 1;
    uint32_t workers = task->faults->workers;
    int used;
    if (record->lost == 1) {
        used = snprintf(text, size, "task %u failed: ", number);
    } else if (workers >= attempts_max) {
        used = snprintf(text, size,
                        "task %u failed at %u different workers, the last time: ", number, workers);
    } else if (workers == 1) {
        used = snprintf(text, size,
                        "task %u failed %u times at the only worker that there is for it, "
                        "the last time: ",
                        number, record->lost);
    } else {
        used = snprintf(text, size,
                        "task %u failed %u times at all %u workers that there are for it, "
                        "the last time: ",
                        number, record->lost, workers);
    }
    (void)kvp_utf8_copy_end(text + used, size - (size_t)used,
                            kvp_slice_of(record->reason, strlen(record->reason)));
}

/* Enough of them have tried, or have tried often enough and there is nobody else. */
static bool task_is_spent(const struct kvp_jobs *jobs, const struct job *job, uint32_t number,
                          const struct task_record *record, uint64_t now_us)
{
    uint32_t max = job->record.spec.attempts_max;
    uint32_t workers = job->tasks[number].faults->workers + (KVP_MUTANT(JOB_NOBODY_ELSE) ? 1 : 0);
    return workers >= max || (record->lost >= max && !another_could(jobs, job, number, now_us));
}

/* Where the copies under way, without the one that has just come to nothing, can still make a
 * quorum, they are waited for; nobody gets another one meanwhile, else two that fail by turns would
 * go on for ever. */
static bool task_is_given_up(const struct kvp_jobs *jobs, const struct job *job, uint32_t number,
                             const struct task_record *record, uint64_t now_us)
{
    struct task *task = &job->tasks[number];
    task->spent = task->state == TASK_OPEN && task_is_spent(jobs, job, number, record, now_us);
    return task->spent && task->votes + task->live - 1u < job->record.spec.quorum;
}

static kvp_status attempt_count(struct kvp_jobs *jobs, struct job *job, uint32_t number,
                                const char *reason, uint64_t now_us, struct task_record *record)
{
    struct task *task = &job->tasks[number];
    kvp_status status = task_read(jobs, job, number, record);
    if (status != KVP_OK) {
        return status;
    }
    record->lost += record->lost < UINT8_MAX;
    reason_copy(record->reason, reason);
    if (task_is_given_up(jobs, job, number, record, now_us)) {
        record->state = TASK_FAILED;
    }
    status = task_write(jobs, job, number, record);
    if (status == KVP_OK) {
        task->lost = record->lost;
        task->state = record->state == TASK_FAILED ? TASK_FAILED : task->state;
        job->redone++;
    }
    return status;
}

kvp_status attempt_lost(struct kvp_jobs *jobs, struct worker *worker, struct attempt *attempt,
                        enum fault how, const char *reason, uint64_t now_us)
{
    struct task_record record;
    struct job *job = attempt->job;
    uint32_t number = attempt->task;
    struct task *task = &job->tasks[number];
    bool open = task->state == TASK_OPEN;
    kvp_status status = faults_note(jobs, worker, job, number, how);
    if (status == KVP_OK) {
        status = attempt_count(jobs, job, number, reason, now_us, &record);
    }
    if (status != KVP_OK) {
        return status;
    }
    if (how != FAULT_LOST) {
        reason_copy(worker->fault_reason, reason);
    }
    faults_suspect(jobs, worker, task, how, now_us);
    share_settle(attempt, now_us);
    if (how == FAULT_FAILED) {
        task_rest(jobs, job, number, now_us);
    }
    attempt_end(jobs, worker, attempt, true);
    if (KVP_MUTANT(JOB_BLAMED_AT_ONCE) && how == FAULT_FAILED) {
        status = standing_lose(jobs, worker, reason);
    }
    if (open && task->state == TASK_FAILED) {
        char text[JOB_REASON_MAX + 1];
        faults_explain(task, number, job->record.spec.attempts_max, &record, text);
        return task_give_up(jobs, job, number, text, now_us);
    }
    return status;
}

/* ---- a task is done ---- */

static bool vote_agreed(const struct task_record *record, const struct worker *worker)
{
    for (unsigned i = 0; i < record->vote_count; i++) {
        if (record->votes[i].agreed && strcmp(record->votes[i].worker, worker->name) == 0) {
            return true;
        }
    }
    return false;
}

/* Others have done what it failed. */
static kvp_status faults_blame(struct kvp_jobs *jobs, struct task *task,
                               const struct task_record *record)
{
    kvp_status status = KVP_OK;
    for (unsigned i = 0; i < task->faults->count && status == KVP_OK; i++) {
        struct worker *worker = worker_known(jobs, task->faults->by[i].worker);
        if (worker != NULL && task->faults->by[i].failed > 0 && !vote_agreed(record, worker)) {
            worker_relieve(worker, task->faults->by[i].failed);
            status = standing_lose(jobs, worker, record->reason);
        }
    }
    task_faults_drop(task);
    return status;
}

kvp_status faults_settle(struct kvp_jobs *jobs, struct task *task, const struct task_record *record)
{
    kvp_status status = task->faults != NULL ? faults_blame(jobs, task, record) : KVP_OK;
    for (unsigned i = 0; i < record->vote_count && status == KVP_OK; i++) {
        const char *name = record->votes[i].worker;
        struct worker *worker = worker_find(jobs, kvp_slice_of(name, strlen(name)));
        if (worker != NULL && record->votes[i].agreed) {
            status = standing_earn(jobs, worker);
        }
    }
    return status;
}
