/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who works on what: the queues of tasks that want a worker, and the attempts under way. All of it
 * is in memory only. A new primary puts every open task in its queue again, and adopts the attempts
 * that workers go on beating for.
 */
#include "replication/jobs/job_state.h"
#include "kvstore/base/utf8.h"
#include "kvstore/base/mutant.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#define SCAN_MAX          4096u  /* tasks looked at for one fetch */
#define OTHERS_MAX        16384u /* workers looked at for one fetch, in the place of who failed */
#define NONCE_BITS        30u
#define INCARNATION_BITS  10u                /* of them: which primary gave it */
#define FIRST_DEADLINE_US UINT64_C(60000000) /* while nothing is known about what tasks take */
#define RATIO_MAX         10u
#define DEADLINE_FACTOR   3u
#define DOUBLINGS_MAX     8u
#define LOST_AT_ONCE      64u /* attempts taken back in one entry */

/* ---- queues ---- */

bool task_needs(const struct task *task)
{
    return task->state == TASK_OPEN && !task->spent && task->votes + task->live < task->copies;
}

void queue_back(struct kvp_jobs *jobs, struct job *job, uint32_t number)
{
    struct task *task = &job->tasks[number];
    jobs->work_available = true;
    share_join(jobs, job);
    if (task->queued || task->backing_off) {
        return;
    }
    task->queued = true;
    task->next = JOB_NONE;
    if (job->queue_last == JOB_NONE) {
        job->queue_first = number;
    } else {
        job->tasks[job->queue_last].next = number;
    }
    job->queue_last = number;
}

void queue_front(struct kvp_jobs *jobs, struct job *job, uint32_t number)
{
    struct task *task = &job->tasks[number];
    jobs->work_available = true;
    share_join(jobs, job);
    if (task->queued || task->backing_off) {
        return;
    }
    task->queued = true;
    task->next = job->queue_first;
    job->queue_first = number;
    if (job->queue_last == JOB_NONE) {
        job->queue_last = number;
    }
}

/* Takes out the task behind `previous` (JOB_NONE: the first). */
static void unqueue(struct job *job, uint32_t previous, uint32_t number)
{
    struct task *task = &job->tasks[number];
    if (previous == JOB_NONE) {
        job->queue_first = task->next;
    } else {
        job->tasks[previous].next = task->next;
    }
    if (job->queue_last == number) {
        job->queue_last = previous;
    }
    task->next = JOB_NONE;
    task->queued = false;
}

/* ---- numbers of attempts ---- */

uint64_t attempt_token(const struct kvp_jobs *jobs, const struct job *job, uint32_t task,
                       const struct worker *worker, uint32_t nonce)
{
    uint64_t parts[] = {jobs->salt, job->id, task, worker->record.instance, nonce};
    uint64_t hash = XXH64(parts, sizeof(parts), 0);
    return (hash >> 33) << NONCE_BITS | nonce;
}

bool attempt_token_fits(const struct kvp_jobs *jobs, const struct job *job, uint32_t task,
                        const struct worker *worker, uint64_t token)
{
    uint32_t nonce = (uint32_t)(token & ((1u << NONCE_BITS) - 1));
    return attempt_token(jobs, job, task, worker, nonce) == token || KVP_MUTANT(JOB_ANY_ATTEMPT);
}

/* A number of its own for each primary, with luck. */
static uint32_t token_incarnation(uint64_t token)
{
    return (uint32_t)(token >> (NONCE_BITS - INCARNATION_BITS)) & ((1u << INCARNATION_BITS) - 1);
}

/* splitmix64 */
static uint32_t next_nonce(struct kvp_jobs *jobs)
{
    uint64_t z = jobs->random += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    uint32_t free_bits = (uint32_t)(z ^ z >> 31) & ((1u << (NONCE_BITS - INCARNATION_BITS)) - 1);
    return jobs->incarnation << (NONCE_BITS - INCARNATION_BITS) | free_bits;
}

/* ---- attempts ---- */

struct attempt *attempt_find(const struct worker *worker, const struct job *job, uint32_t task,
                             uint64_t token)
{
    struct attempt *attempt = worker->attempts;
    while (attempt != NULL &&
           (attempt->job != job || attempt->task != task || attempt->token != token)) {
        attempt = attempt->next;
    }
    return attempt;
}

static bool has_seen(const struct task *task, const struct worker *worker)
{
    for (unsigned i = 0; i < task->seen_count; i++) {
        if (task->seen[i] == worker->index) {
            return true;
        }
    }
    return false;
}

static void unsee(struct task *task, const struct worker *worker)
{
    for (unsigned i = 0; i < task->seen_count; i++) {
        if (task->seen[i] == worker->index) {
            task->seen[i] = task->seen[--task->seen_count];
            return;
        }
    }
}

/* An attempt may take: what the job says; else three times the mean of what was seen, times the
 * ratio of slowest to fastest, but never less than the silence that loses a worker. Twice as long
 * after each deadline that was missed: what others took may say nothing about a task that is larger
 * than they. */
static uint64_t allowed_us(const struct job *job, const struct task *task)
{
    const struct kvp_job_spec *spec = &job->record.spec;
    unsigned doublings = task->overdue < DOUBLINGS_MAX ? task->overdue : DOUBLINGS_MAX;
    if (spec->deadline_ms != 0) {
        return (uint64_t)spec->deadline_ms * 1000;
    }
    if (job->took_count == 0) {
        return FIRST_DEADLINE_US << doublings;
    }
    uint64_t mean = job->took_sum_us / job->took_count;
    uint64_t ratio = job->took_max_us / (job->took_min_us > 0 ? job->took_min_us : 1);
    ratio = ratio < 1 ? 1 : ratio > RATIO_MAX ? RATIO_MAX : ratio;
    uint64_t allowed = mean * ratio * DEADLINE_FACTOR, least = (uint64_t)spec->silence_ms * 1000;
    return (allowed > least ? allowed : least) << doublings;
}

struct attempt *attempt_add(struct kvp_jobs *jobs, struct worker *worker, struct job *job,
                            uint32_t task, uint64_t token, uint64_t now_us)
{
    struct attempt *attempt = calloc(1, sizeof(*attempt));
    if (attempt == NULL) {
        return NULL;
    }
    *attempt = (struct attempt){
        .next = worker->attempts,
        .job = job,
        .task = task,
        .token = token,
        .started_us = now_us,
        .heard_us = jobs_heard_us(jobs, now_us),
        .deadline_us = now_us + allowed_us(job, &job->tasks[task]),
        .slot = UINT32_MAX,
    };
    worker->attempts = attempt;
    worker->attempt_count++;
    job->live++;
    job->taken += job->tasks[task].live == 0;
    job->tasks[task].live++;
    if (!has_seen(&job->tasks[task], worker) && job->tasks[task].seen_count < KVP_JOB_COPIES_MAX) {
        job->tasks[task].seen[job->tasks[task].seen_count++] = worker->index;
    }
    uint64_t silence_us = (uint64_t)job->record.spec.silence_ms * 1000;
    uint64_t due =
        now_us + silence_us < attempt->deadline_us ? now_us + silence_us : attempt->deadline_us;
    jobs->check_us = due < jobs->check_us ? due : jobs->check_us;
    return attempt;
}

void attempt_end(struct kvp_jobs *jobs, struct worker *worker, struct attempt *attempt, bool forget)
{
    struct attempt **link = &worker->attempts;
    struct task *task = &attempt->job->tasks[attempt->task];
    while (*link != attempt) {
        link = &(*link)->next;
    }
    *link = attempt->next;
    worker->attempt_count--;
    attempt->job->live--;
    task->live--;
    attempt->job->taken -= task->live == 0;
    if (forget) {
        unsee(task, worker);
    }
    task->spent = task->spent && task->live > 0;
    jobs->work_available = jobs->work_available || attempt->job->record.spec.max_running > 0;
    if (task_needs(task) && !KVP_MUTANT(JOB_FORGET_LOST)) {
        queue_front(jobs, attempt->job, attempt->task);
    }
    free(attempt);
}

void attempts_drop(struct kvp_jobs *jobs, const struct job *job)
{
    for (uint32_t i = 0; i < jobs->worker_count; i++) {
        struct worker *worker = jobs->workers[i];
        for (struct attempt *attempt = worker->attempts, *next; attempt != NULL; attempt = next) {
            next = attempt->next;
            if (attempt->job == job) {
                attempt_end(jobs, worker, attempt, false);
            }
        }
    }
}

void attempts_drop_task(struct kvp_jobs *jobs, const struct job *job, uint32_t task)
{
    for (uint32_t i = 0; i < jobs->worker_count && job->tasks[task].live > 0; i++) {
        struct worker *worker = jobs->workers[i];
        for (struct attempt *attempt = worker->attempts, *next; attempt != NULL; attempt = next) {
            next = attempt->next;
            if (attempt->job == job && attempt->task == task) {
                attempt_end(jobs, worker, attempt, false);
            }
        }
    }
}

void worker_give_back(struct kvp_jobs *jobs, struct worker *worker)
{
    while (worker->attempts != NULL) {
        attempt_end(jobs, worker, worker->attempts, true);
    }
}

/* ---- handing out ---- */

size_t task_bytes(const struct job *job, uint32_t number)
{
    if (job->record.spec.type == KVP_JOB_MATMUL) {
        struct kvp_job_tile tile = kvp_job_tile_of(&job->record.spec, number);
        return kvp_job_tile_size(&job->record.spec, &tile);
    }
    return job->tasks[number].size;
}

/* As what the worker would get the task. */
static const char *kind_for(const struct worker *worker, const struct job *job, uint32_t number)
{
    if (job->record.spec.type == KVP_JOB_TASKS) {
        return job->record.kinds[job->tasks[number].kind].text;
    }
    return worker_has_kind(worker, KVP_JOB_BLOCKS_KIND) ? KVP_JOB_BLOCKS_KIND : KVP_JOB_MATMUL_KIND;
}

bool task_fits(const struct worker *worker, const struct job *job, uint32_t number)
{
    return worker_has_kind(worker, kind_for(worker, job, number)) &&
           task_bytes(job, number) <= worker->record.buffer;
}

bool task_suits(const struct worker *worker, const struct job *job, uint32_t number)
{
    return !has_seen(&job->tasks[number], worker) && task_fits(worker, job, number);
}

/* The first task of the job's queue that the worker may have; it stays in the queue. */
static uint32_t queue_choose(const struct kvp_jobs *jobs, struct job *job,
                             const struct worker *worker, uint64_t now_us, uint32_t *budget)
{
    uint32_t previous = JOB_NONE, number = job->queue_first;
    for (unsigned looked = 0; number != JOB_NONE && looked < SCAN_MAX;) {
        uint32_t next = job->tasks[number].next;
        if (!task_needs(&job->tasks[number]) || job->tasks[number].backing_off) {
            unqueue(job, previous, number);
            number = next;
            continue;
        }
        if (task_suits(worker, job, number) &&
            !task_kept_from(jobs, job, number, worker, now_us, budget)) {
            return number;
        }
        previous = number;
        number = next;
        looked++;
    }
    return JOB_NONE;
}

static kvp_status append_part(struct kvp_jobs *jobs, const struct kvp_raw_key *key, kvp_buf *out)
{
    kvp_status status = job_get(jobs, key, out);
    return status == KVP_NOT_FOUND ? KVP_CORRUPT : status;
}

/* `inlined`: with the blocks, else with their numbers. */
static kvp_status matmul_payload(struct kvp_jobs *jobs, struct job *job, uint32_t number,
                                 bool inlined, kvp_buf *out)
{
    struct kvp_raw_key key;
    uint8_t header[KVP_JOB_TILE_HEADER + 8];
    struct kvp_job_tile tile = kvp_job_tile_of(&job->record.spec, number);
    kvp_job_tile_header(header, job->record.spec.element, &tile);
    kvp_put_u32(header + KVP_JOB_TILE_HEADER, tile.a);
    kvp_put_u32(header + KVP_JOB_TILE_HEADER + 4, tile.b);
    kvp_status status = kvp_buf_append(out, header, inlined ? KVP_JOB_TILE_HEADER : sizeof(header));
    if (!inlined) {
        return status;
    }
    if (status == KVP_OK) {
        job_key_part(&key, JOB_KEY_PAYLOAD, job->id, tile.a);
        status = append_part(jobs, &key, out);
    }
    if (status == KVP_OK) {
        job_key_part(&key, JOB_KEY_PAYLOAD, job->id, tile.b);
        status = append_part(jobs, &key, out);
    }
    return status;
}

/* The payload, and behind it the results of the tasks before, for a task that is fed. */
static kvp_status task_payload(struct kvp_jobs *jobs, struct job *job, uint32_t number,
                               kvp_buf *out)
{
    struct kvp_raw_key key;
    job_key_part(&key, JOB_KEY_PAYLOAD, job->id, number);
    kvp_status status = append_part(jobs, &key, out);
    if (status != KVP_OK || !job->tasks[number].feed) {
        return status;
    }
    struct task_record record;
    status = task_read(jobs, job, number, &record);
    /* What `after` points to would be gone when the records of the others are read. */
    jobs->other.size = 0;
    if (status == KVP_OK) {
        status = kvp_buf_append(&jobs->other, record.after.data, record.after.size);
        record.after = kvp_buf_slice(&jobs->other);
    }
    for (uint32_t i = 0; status == KVP_OK && i < record.after_count; i++) {
        status = job_result_key(jobs, job, task_record_after(&record), &key);
        if (status == KVP_OK) {
            status = append_part(jobs, &key, out);
        }
    }
    return status == KVP_NOT_FOUND ? KVP_CORRUPT : status;
}

/* Where results are compared, nobody starts from what another has worked out: one that lies would
 * make the others agree with it. */
static bool shares_checkpoints(const struct job *job)
{
    return job->record.spec.quorum == 1 || KVP_MUTANT(JOB_CHECKPOINT);
}

static kvp_status checkpoint_of(struct kvp_jobs *jobs, struct job *job, uint32_t number,
                                kvp_buf *out)
{
    struct kvp_raw_key key;
    if (!shares_checkpoints(job)) {
        return KVP_OK;
    }
    job_key_part(&key, JOB_KEY_CHECKPOINT, job->id, number);
    kvp_status status = job_get(jobs, &key, out);
    return status == KVP_NOT_FOUND ? KVP_OK : status;
}

static uint32_t to_ms(uint64_t us)
{
    return us / 1000 > UINT32_MAX ? UINT32_MAX : (uint32_t)(us / 1000);
}

static kvp_status write_grant(struct kvp_jobs *jobs, const struct worker *worker,
                              const struct attempt *attempt, uint64_t now_us, kvp_buf *answer)
{
    struct job *job = attempt->job;
    const char *kind = kind_for(worker, job, attempt->task);
    bool inlined = strcmp(kind, KVP_JOB_BLOCKS_KIND) != 0;
    kvp_buf payload = {0}, checkpoint = {0};
    kvp_status status = job->record.spec.type == KVP_JOB_MATMUL
                            ? matmul_payload(jobs, job, attempt->task, inlined, &payload)
                            : task_payload(jobs, job, attempt->task, &payload);
    if (status == KVP_OK) {
        status = checkpoint_of(jobs, job, attempt->task, &checkpoint);
    }
    if (status == KVP_OK) {
        struct kvp_task_grant grant = {
            .job = job->id,
            .attempt = attempt->token,
            .task = attempt->task,
            .beat_ms = job->record.spec.silence_ms / 4,
            .deadline_ms = attempt->deadline_us > now_us ? to_ms(attempt->deadline_us - now_us) : 0,
            .kind = kvp_slice_of(kind, strlen(kind)),
            .checkpoint = kvp_buf_slice(&checkpoint),
            .payload = kvp_buf_slice(&payload),
            .crc = (uint32_t)crc32_z(0, payload.data, payload.size),
        };
        status = kvp_wire_result_grant(answer, &grant);
    }
    kvp_buf_free(&payload);
    kvp_buf_free(&checkpoint);
    return status;
}

/* A task that was found, or JOB_NONE, and among which jobs. */
struct found {
    struct job *job;
    uint32_t number;
    struct share share;
};

static kvp_status hand_out(struct kvp_jobs *jobs, struct worker *worker, const struct found *found,
                           const struct kvp_job_args *args, uint64_t now_us, kvp_buf *answer)
{
    struct job *job = found->job;
    uint32_t number = found->number;
    uint64_t token = attempt_token(jobs, job, number, worker, next_nonce(jobs));
    struct attempt *attempt = attempt_add(jobs, worker, job, number, token, now_us);
    if (attempt == NULL) {
        return KVP_NO_MEMORY;
    }
    attempt->slot = args->slot;
    attempt->number = args->number;
    share_charge(jobs, &found->share, attempt);
    kvp_status status = write_grant(jobs, worker, attempt, now_us, answer);
    if (status != KVP_OK) {
        attempt_end(jobs, worker, attempt, true);
    }
    return status;
}

/* A slot has one task at a time: who asks for the next in it has not got, or given up, the last.
 * False: this is a late copy of an earlier request, and nobody waits for its answer. */
static bool settle_slot(struct kvp_jobs *jobs, struct worker *worker,
                        const struct kvp_job_args *args, uint64_t now_us, struct attempt **again)
{
    *again = NULL;
    for (struct attempt *attempt = worker->attempts, *next; attempt != NULL; attempt = next) {
        next = attempt->next;
        if (attempt->slot != args->slot) {
            continue;
        }
        if (attempt->number > args->number) {
            return false;
        }
        if (attempt->number == args->number) {
            *again = attempt;
        } else {
            attempt_end(jobs, worker, attempt, true);
            worker_returned(jobs, worker, now_us);
        }
    }
    return true;
}

/* What one fetch may still look at. */
struct find {
    uint32_t others; /* workers, in the place of who failed */
    size_t unread;   /* records of the store */
};

/* The first task that the worker may have of a job: of what is in the index, or has to be read for
 * it. */
static kvp_status find_in(struct kvp_jobs *jobs, struct job *job, const struct worker *worker,
                          uint64_t now_us, struct find *find, uint32_t *number)
{
    kvp_status status = KVP_OK;
    *number = queue_choose(jobs, job, worker, now_us, &find->others);
    while (*number == JOB_NONE && !job_is_read(job) && find->unread > 0 && status == KVP_OK) {
        status = job_read(jobs, job, job->read + jobs->config.load_at_once, &find->unread);
        *number = queue_choose(jobs, job, worker, now_us, &find->others);
    }
    return status;
}

/* Else its queue need not be looked through. */
static bool worker_knows(const struct worker *worker, const struct job *job)
{
    if (job->record.spec.type == KVP_JOB_MATMUL) {
        return worker_has_kind(worker, KVP_JOB_MATMUL_KIND) ||
               worker_has_kind(worker, KVP_JOB_BLOCKS_KIND);
    }
    unsigned i = 0;
    while (i < job->record.kind_count && !worker_has_kind(worker, job->record.kinds[i].text)) {
        i++;
    }
    return i < job->record.kind_count;
}

static kvp_status find_first(struct kvp_jobs *jobs, const struct worker *worker, uint64_t now_us,
                             struct find *find, struct found *found)
{
    kvp_status status = KVP_OK;
    found->number = JOB_NONE;
    share_begin(jobs, now_us, &found->share);
    while (status == KVP_OK && found->number == JOB_NONE) {
        found->job = share_next(&found->share);
        if (found->job == NULL) {
            break;
        }
        if (worker_knows(worker, found->job)) {
            status = find_in(jobs, found->job, worker, now_us, find, &found->number);
        }
    }
    return status;
}

/* More jobs, each time twice as many: those that were there are looked through again. */
static kvp_status find_more(struct kvp_jobs *jobs, uint64_t now_us, size_t *count,
                            struct find *find)
{
    size_t budget = *count < find->unread ? *count : find->unread;
    find->unread -= budget;
    *count *= 2;
    return jobs_read(jobs, &budget, now_us);
}

static kvp_status find_task(struct kvp_jobs *jobs, struct worker *worker,
                            const struct kvp_job_args *args, uint64_t now_us, int *status,
                            kvp_buf *answer, bool *needs_commit)
{
    size_t count = jobs->config.load_at_once;
    struct find find = {OTHERS_MAX, count * JOB_READ_STEPS};
    struct found found;
    kvp_status result = find_first(jobs, worker, now_us, &find, &found);
    while (result == KVP_OK && found.number == JOB_NONE && !jobs_are_known(jobs) &&
           find.unread > 0) {
        result = find_more(jobs, now_us, &count, &find);
        if (result == KVP_OK) {
            result = find_first(jobs, worker, now_us, &find, &found);
        }
    }
    *status = found.number != JOB_NONE ? KVP_OK : KVP_NO_TASK;
    if (result != KVP_OK || found.number == JOB_NONE) {
        return result;
    }
    *needs_commit = found.job->tasks[found.number].dependent;
    return hand_out(jobs, worker, &found, args, now_us, answer);
}

kvp_status kvp_jobs_fetch(struct kvp_jobs *jobs, const struct kvp_request *request, uint64_t now_us,
                          int *status, kvp_buf *answer, bool *needs_commit)
{
    struct job_answer made = {KVP_OK, answer};
    kvp_status result = KVP_OK;
    *needs_commit = true;
    if (!jobs->ready) {
        *status = KVP_NO_TASK; /* it waits */
        return KVP_OK;
    }
    struct worker *worker = worker_speaking(jobs, request, now_us, &made, &result);
    if (worker == NULL) {
        *status = made.status;
        return result;
    }
    if (worker->record.barred) {
        *status = KVP_WORKER_BARRED;
        return standing_refuse(worker, &made);
    }
    struct attempt *again;
    if (!settle_slot(jobs, worker, &request->job, now_us, &again)) {
        *status = KVP_NO_TASK;
        return KVP_OK;
    }
    *status = KVP_OK;
    if (again != NULL) {
        again->heard_us = jobs_heard_us(jobs, now_us);
        *needs_commit = again->job->tasks[again->task].dependent;
        return write_grant(jobs, worker, again, now_us, answer);
    }
    if (!worker->record.active || (worker->record.drained && !KVP_MUTANT(JOB_DRAINED_WORKS)) ||
        worker->attempt_count >= ATTEMPTS_MAX || !worker_may_begin(worker, now_us)) {
        *status = KVP_NO_TASK;
        return KVP_OK;
    }
    return find_task(jobs, worker, &request->job, now_us, status, answer, needs_commit);
}

/* ---- beats ---- */

/* An attempt that an earlier primary gave goes on under this one, if its worker is heard of soon.
 * What this one gave and does not know any more has been taken away, and a worker that hangs does
 * not get it back by beating. */
static bool may_adopt(const struct kvp_jobs *jobs, const struct worker *worker,
                      const struct job *job, const struct task *task, uint64_t token,
                      uint64_t now_us)
{
    bool room = !job_is_full(job) || KVP_MUTANT(JOB_MORE_RUNNING);
    return token_incarnation(token) != jobs->incarnation && room &&
           now_us < job_adopts_until_us(jobs, job) && job->record.state == JOB_RUNNING &&
           task->state == TASK_OPEN && task->seen_count < KVP_JOB_COPIES_MAX &&
           !has_seen(task, worker) && worker->attempt_count < ATTEMPTS_MAX;
}

static kvp_status keep_checkpoint(struct kvp_jobs *jobs, const struct kvp_request *request)
{
    struct kvp_raw_key key;
    job_key_part(&key, JOB_KEY_CHECKPOINT, request->job.job, request->job.task);
    return job_put(jobs, &key, request->value);
}

struct worker *attempt_speaking(struct kvp_jobs *jobs, const struct kvp_request *request,
                                uint64_t now_us, struct job_answer *answer, struct job **job,
                                kvp_status *status)
{
    const struct kvp_job_args *args = &request->job;
    struct worker *worker = worker_speaking(jobs, request, now_us, answer, status);
    if (worker == NULL) {
        return NULL;
    }
    *status = job_look(jobs, args->job, now_us, job);
    if (*status != KVP_OK) {
        return NULL;
    }
    if (worker->record.barred) {
        *status = standing_refuse(worker, answer); /* it has no task, and gets none */
    } else if (*job == NULL || args->task >= (*job)->record.task_count) {
        *status = job_refuse(answer, KVP_NO_SUCH_JOB, NULL);
    } else if (!attempt_token_fits(jobs, *job, args->task, worker, args->attempt)) {
        *status = job_refuse(answer, KVP_NOT_HELD, NULL);
    } else {
        bool good;
        *status = job_needs(jobs, *job, args->task + 1, answer, &good);
        return *status == KVP_OK && good ? worker : NULL;
    }
    return NULL;
}

kvp_status job_beat(struct kvp_jobs *jobs, const struct kvp_request *request, uint64_t now_us,
                    struct job_answer *answer)
{
    const struct kvp_job_args *args = &request->job;
    kvp_status status;
    struct job *job;
    struct worker *worker = attempt_speaking(jobs, request, now_us, answer, &job, &status);
    if (worker == NULL) {
        return status;
    }
    struct task *task = &job->tasks[args->task];
    struct attempt *attempt = attempt_find(worker, job, args->task, args->attempt);
    if (attempt == NULL &&
        may_adopt(jobs, worker, job, task, args->attempt, jobs_heard_us(jobs, now_us))) {
        attempt = attempt_add(jobs, worker, job, args->task, args->attempt, now_us);
        if (attempt == NULL) {
            return KVP_NO_MEMORY;
        }
    }
    bool in_time = attempt != NULL && now_us < attempt->deadline_us; /* or not taken away yet */
    bool wanted = in_time || KVP_MUTANT(JOB_GONE_WANTED);
    wanted = wanted && job->record.state == JOB_RUNNING && task->state == TASK_OPEN;
    if (attempt != NULL) {
        worker_heard(jobs, worker, now_us);
        attempt->heard_us = jobs_heard_us(jobs, now_us);
        attempt->progress = args->progress < 1000 ? args->progress : 1000;
    }
    if (attempt != NULL && wanted && args->has_checkpoint && shares_checkpoints(job)) {
        status = keep_checkpoint(jobs, request);
    }
    return status == KVP_OK ? kvp_wire_bool(answer->result, wanted) : status;
}

/* ---- lost attempts ---- */

static bool queue_attempt_is_lost(const struct kvp_jobs *jobs, const struct attempt *attempt,
                                  uint64_t now_us, enum fault *how, const char **reason)
{
    uint64_t silence_us = (uint64_t)attempt->job->record.spec.silence_ms * 1000;
    if (now_us >= attempt->deadline_us) {
        *how = FAULT_OVERDUE;
        *reason = "the worker did not end by the deadline";
        return true;
    }
    *how = FAULT_LOST;
    *reason = "the worker fell silent";
    return jobs_silent_us(jobs, attempt->heard_us, now_us) >= silence_us;
}

static uint64_t due_us(const struct kvp_jobs *jobs, const struct attempt *attempt, uint64_t now_us)
{
    uint64_t silence_us = (uint64_t)attempt->job->record.spec.silence_ms * 1000;
    uint64_t silent_us = jobs_silence_due_us(jobs, attempt->heard_us, silence_us, now_us);
    return silent_us < attempt->deadline_us ? silent_us : attempt->deadline_us;
}

kvp_status job_check_attempts(struct kvp_jobs *jobs, uint64_t now_us, bool *did)
{
    uint64_t next_us = UINT64_MAX;
    unsigned lost = 0;
    for (uint32_t i = 0; i < jobs->worker_count && lost < LOST_AT_ONCE; i++) {
        struct worker *worker = jobs->workers[i];
        for (struct attempt *attempt = worker->attempts, *next;
             attempt != NULL && lost < LOST_AT_ONCE; attempt = next) {
            const char *reason;
            enum fault how;
            next = attempt->next;
            if (!queue_attempt_is_lost(jobs, attempt, now_us, &how, &reason)) {
                uint64_t look_us = due_us(jobs, attempt, now_us);
                next_us = look_us < next_us ? look_us : next_us;
                continue;
            }
            attempt->job->tasks[attempt->task].overdue += how == FAULT_OVERDUE;
            kvp_status status = attempt_lost(jobs, worker, attempt, how, reason, now_us);
            if (status != KVP_OK) {
                return status;
            }
            lost++;
            next = worker->attempts; /* a job may have ended, and others of its attempts with it */
        }
    }
    *did = lost > 0;
    jobs->check_us = next_us;
    return KVP_OK;
}
