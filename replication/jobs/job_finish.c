/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From the last task to the end of a job: what is due next, and, when its time is over, removal.
 * Each step is bounded, whatever numbers the submitter chose: config.step_work, or some hundred
 * keys. What has been summed up is in the store; a verification begins anew with a new primary.
 *
 * Sums and verifications hold memory while they are under way, so only one job has one at a time.
 */
#include "replication/jobs/job_state.h"
#include "kvstore/base/mutant.h"

#include <stdio.h>
#include <stdlib.h>

#define UPLOAD_KEEP_US 3600000000u /* a job that nobody goes on uploading */

/* ---- a task is done ---- */

static void free_waiting(struct kvp_jobs *jobs, struct job *job, uint32_t number)
{
    struct task *done = &job->tasks[number];
    for (uint32_t i = done->edges; i != JOB_NONE; i = job->edges[i].next) {
        struct task *task = &job->tasks[job->edges[i].task];
        job_task_feed(task, done->result);
        if (KVP_MUTANT(JOB_FREE_EARLY)) {
            task->after_left = 1;
        }
        if (--task->after_left == 0 && task->state == TASK_WAITING) {
            job_task_open(jobs, job, job->edges[i].task);
        }
    }
    done->edges = JOB_NONE;
}

void job_note_done(struct kvp_jobs *jobs, struct job *job, uint32_t number, uint32_t size)
{
    struct task *task = &job->tasks[number];
    task->state = TASK_DONE;
    task->result = size;
    job->done++;
    jobs->busy = true;
    free_waiting(jobs, job, number);
    if (job->outputs == NULL) {
        return;
    }
    uint32_t place = number / job->grid.inner_tiles;
    struct output *output = &job->outputs[place];
    if (--output->parts_left > 0 || output->summed) {
        return;
    }
    output->next = JOB_NONE;
    if (job->sum_last == JOB_NONE) {
        job->sum_first = place;
    } else {
        job->outputs[job->sum_last].next = place;
    }
    job->sum_last = place;
}

kvp_status job_result_key(struct kvp_jobs *jobs, struct job *job, uint32_t number,
                          struct kvp_raw_key *key)
{
    struct task_record record;
    if (job->outputs != NULL) {
        job_key_part(key, JOB_KEY_SUM, job->id, number);
        return number < job->grid.outputs && job->outputs[number].summed ? KVP_OK : KVP_NOT_FOUND;
    }
    if (number >= job->record.task_count || job->tasks[number].state != TASK_DONE) {
        return KVP_NOT_FOUND;
    }
    kvp_status status = task_read(jobs, job, number, &record);
    if (status == KVP_OK) {
        job_key_result(key, job->id, number, record.winner);
    }
    return status;
}

/* ---- removal ---- */

static kvp_status remove_some(struct kvp_jobs *jobs, struct job *job)
{
    struct kvp_raw_key key;
    kvp_status status = KVP_OK;
    uint32_t tasks = job->record.task_count, end = tasks;
    if (job->record.spec.type == KVP_JOB_MATMUL) {
        end = tasks > job->grid.inputs ? tasks : job->grid.inputs;
    }
    for (unsigned n = 0; n < JOB_KEYS_AT_ONCE && job->remove_next < end && status == KVP_OK; n++) {
        uint32_t number = job->remove_next++;
        static const enum job_key kinds[] = {JOB_KEY_PAYLOAD, JOB_KEY_SUM, JOB_KEY_CHECKPOINT};
        size_t count = sizeof(kinds) / sizeof(kinds[0]) - (KVP_MUTANT(JOB_LEFTOVERS) ? 1 : 0);
        for (size_t i = 0; i < count && status == KVP_OK; i++) {
            job_key_part(&key, kinds[i], job->id, number);
            status = job_del(jobs, &key);
        }
        if (number < tasks && job->tasks[number].lost > 0 && status == KVP_OK) {
            job_key_part(&key, JOB_KEY_FAULTS, job->id, number);
            status = job_del(jobs, &key);
        }
        unsigned votes = number < tasks ? job->tasks[number].votes : 0;
        for (unsigned i = 0; i < votes && status == KVP_OK; i++) {
            job_key_result(&key, job->id, number, (uint8_t)i);
            status = job_del(jobs, &key);
        }
    }
    return status;
}

/* Records of tasks go last and from the end on: whoever builds the index anew in between finds
 * tasks 0 to n without a gap. */
static kvp_status remove_records(struct kvp_jobs *jobs, struct job *job, bool *gone)
{
    struct kvp_raw_key key;
    kvp_status status = KVP_OK;
    for (unsigned n = 0; n < JOB_KEYS_AT_ONCE && job->record.task_count > 0 && status == KVP_OK;
         n++) {
        uint32_t number = --job->record.task_count;
        task_faults_drop(&job->tasks[number]);
        job_key_part(&key, JOB_KEY_TASK, job->id, number);
        jobs->task_total--;
        status = job_del(jobs, &key);
    }
    *gone = status == KVP_OK && job->record.task_count == 0;
    if (*gone) {
        status = owner_remove(jobs, job);
    }
    if (*gone && status == KVP_OK) {
        job_key_job(&key, job->id);
        status = job_del(jobs, &key);
    }
    return status;
}

static kvp_status step_remove(struct kvp_jobs *jobs, struct job *job)
{
    uint32_t before = job->remove_next;
    bool gone = false;
    kvp_status status = remove_some(jobs, job);
    if (status == KVP_OK && job->remove_next == before) {
        status = remove_records(jobs, job, &gone);
    }
    if (status == KVP_OK && gone) {
        job_forget(jobs, job);
    }
    return status;
}

static uint64_t expires_us(const struct job *job)
{
    switch (job->record.state) {
    case JOB_UPLOADING:
        return job->started_us + UPLOAD_KEEP_US;
    case JOB_DONE:
    case JOB_FAILED:
    case JOB_CANCELLED:
    case JOB_DONE_WITH_FAILURES:
        return job->ended_us + (uint64_t)job->record.spec.keep_s * 1000000u;
    default:
        return UINT64_MAX;
    }
}

static bool expired(const struct job *job, uint64_t now_us)
{
    return now_us >= expires_us(job);
}

static void note_due(struct kvp_jobs *jobs, uint64_t due_us, uint64_t now_us, uint64_t *next_us)
{
    jobs->busy = jobs->busy || now_us >= due_us;
    *next_us = due_us > now_us && due_us < *next_us ? due_us : *next_us;
}

uint64_t job_check_times(struct kvp_jobs *jobs, uint64_t now_us)
{
    uint64_t next_us = UINT64_MAX;
    for (struct job *job = jobs->first; job != NULL; job = job->next) {
        uint64_t due_us = expires_us(job);
        if (job->record.state == JOB_RUNNING && !job->released) {
            due_us = job_opens_us(jobs, job, now_us);
            job->released = now_us >= due_us;
            jobs->work_available = jobs->work_available || job->released;
        }
        note_due(jobs, due_us, now_us, &next_us);
        note_due(jobs, job_ages_us(job), now_us, &next_us);
    }
    return next_us;
}

kvp_status job_remove(struct kvp_jobs *jobs, struct job *job)
{
    kvp_status status = key_release(jobs, job);
    jobs->busy = true;
    job->record.state = JOB_REMOVING;
    job->remove_next = 0;
    return status == KVP_OK ? job_write(jobs, job) : status;
}

/* ---- steps ---- */

static bool finish_is_complete(const struct job *job)
{
    return job->record.state == JOB_RUNNING && job_has_done_all(job) &&
           (job->outputs == NULL ||
            (job->summed == job->grid.outputs && job->sum_first == JOB_NONE));
}

static kvp_status step_complete(struct kvp_jobs *jobs, struct job *job, uint64_t now_us)
{
    attempts_drop(jobs, job);
    if (job->record.spec.verify == KVP_VERIFY_NONE || KVP_MUTANT(JOB_NO_VERIFY)) {
        return job_end_all(jobs, job, now_us);
    }
    job->record.state = JOB_VERIFYING;
    return job_write(jobs, job);
}

/* Who has such a kind takes the task for one of a product, and gives it back at once. */
static kvp_status fail_reserved(struct kvp_jobs *jobs, struct job *job, uint64_t now_us)
{
    return job_end(jobs, job, JOB_FAILED,
                   "a kind of its tasks is reserved for products of matrices", now_us);
}

enum step {
    STEP_NONE,
    STEP_VERIFY,
    STEP_REMOVE,
    STEP_TOO_LARGE,
    STEP_AGE,
    STEP_RESERVED,
    STEP_COMPLETE,
    STEP_EXPIRED,
    STEP_SUM,
};

static enum step next_step(const struct job *job, uint64_t now_us)
{
    if (now_us >= job_ages_us(job)) {
        return STEP_AGE;
    }
    switch (job->record.state) {
    case JOB_VERIFYING:
        return STEP_VERIFY;
    case JOB_REMOVING:
        return STEP_REMOVE;
    case JOB_RUNNING:
        if (job->too_large != JOB_NONE || job->reserved) {
            return job->reserved ? STEP_RESERVED : STEP_TOO_LARGE;
        }
        return finish_is_complete(job)      ? STEP_COMPLETE
               : job->sum_first != JOB_NONE ? STEP_SUM
                                            : STEP_NONE;
    default:
        return expired(job, now_us) ? STEP_EXPIRED : STEP_NONE;
    }
}

/* A job that would begin what another is in the middle of waits for it. */
static bool step_waits(const struct kvp_jobs *jobs, const struct job *job, enum step step)
{
    return (step == STEP_SUM || step == STEP_VERIFY) && jobs->at_work != NULL &&
           jobs->at_work != job;
}

static kvp_status run_step(struct kvp_jobs *jobs, struct job *job, enum step step, uint64_t now_us,
                           bool *did)
{
    *did = step != STEP_VERIFY;
    switch (step) {
    case STEP_VERIFY:
        return job_step_verify(jobs, job, now_us, did);
    case STEP_REMOVE:
        return step_remove(jobs, job);
    case STEP_TOO_LARGE:
        return task_fail_large(jobs, job, now_us);
    case STEP_AGE:
        return job_age(jobs, job, now_us);
    case STEP_RESERVED:
        return fail_reserved(jobs, job, now_us);
    case STEP_COMPLETE:
        return step_complete(jobs, job, now_us);
    case STEP_EXPIRED:
        return job_remove(jobs, job);
    default:
        return job_step_sum(jobs, job, now_us);
    }
}

/* *did: something was written. A step of a verification writes nothing. */
kvp_status job_finish_step(struct kvp_jobs *jobs, uint64_t now_us, bool *did, bool *more)
{
    for (struct job *job = jobs->first; job != NULL; job = job->next) {
        enum step step = next_step(job, now_us);
        if (step != STEP_NONE && !step_waits(jobs, job, step)) {
            *more = true;
            return run_step(jobs, job, step, now_us, did);
        }
    }
    jobs->busy = false;
    return KVP_OK;
}
