/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tasks that have failed for good. A job that stops at the first one ends with it; one that goes on
 * has done all that can be done when no task is open any more: what is still waiting then waits, at
 * one remove or several, for a task that has failed, since tasks wait only for those before them.
 *
 * Which they are, and why, is in the records of the tasks: there is no other list to part from
 * them. Whoever has mended the cause has them tried again, with nothing held against them.
 */
#include "replication/jobs/job_state.h"
#include "replication/wire/mp_writer.h"
#include "kvstore/base/mutant.h"

#include <stdio.h>
#include <string.h>

#define RETRY_AT_ONCE   64u /* tasks, of which each may have a dozen keys */
#define RETRY_LOOK_MAX  65536u
#define TOO_LARGE_WORDS "with what it is fed it has more than 8 MiB"

/* ---- they fail ---- */

static bool job_goes_on(const struct job *job)
{
    return job->record.spec.on_failure == KVP_ON_FAILURE_CONTINUE;
}

kvp_status task_give_up(struct kvp_jobs *jobs, struct job *job, uint32_t number, const char *reason,
                        uint64_t now_us)
{
    job->tasks[number].state = TASK_FAILED;
    job->failed++;
    if (!job_goes_on(job)) {
        return job_end(jobs, job, JOB_FAILED, reason, now_us);
    }
    attempts_drop_task(jobs, job, number);
    task_faults_drop(&job->tasks[number]); /* only evidence from here on: it is in the store */
    jobs->busy = true;
    if (KVP_MUTANT(JOB_DEAD_DONE)) {
        job->failed--;
        job->done++;
    }
    return KVP_OK;
}

kvp_status task_fail_large(struct kvp_jobs *jobs, struct job *job, uint64_t now_us)
{
    struct task_record record;
    char text[JOB_REASON_MAX];
    uint32_t number = job->too_large;
    job->too_large = job->tasks[number].next;
    job->tasks[number].next = JOB_NONE;
    (void)snprintf(text, sizeof(text), "task %u: " TOO_LARGE_WORDS, number);
    kvp_status status = task_read(jobs, job, number, &record);
    if (status == KVP_OK) {
        record.state = TASK_FAILED;
        (void)snprintf(record.reason, sizeof(record.reason), TOO_LARGE_WORDS);
        status = task_write(jobs, job, number, &record);
    }
    return status == KVP_OK ? task_give_up(jobs, job, number, text, now_us) : status;
}

bool job_has_done_all(const struct job *job)
{
    bool rest = job_goes_on(job) && job->failed > 0;
    return job->done + (rest ? job->failed + job->waiting : 0) == job->record.task_count;
}

kvp_status job_end_all(struct kvp_jobs *jobs, struct job *job, uint64_t now_us)
{
    char text[JOB_REASON_MAX] = "";
    if (job->failed > 0) {
        (void)snprintf(text, sizeof(text),
                       "%u of %u tasks have failed, and %u that wait for them are not done",
                       job->failed, job->record.task_count, job->waiting);
    }
    return job_end(jobs, job, job->failed > 0 ? JOB_DONE_WITH_FAILURES : JOB_DONE, text, now_us);
}

/* ---- they are looked at ---- */

uint32_t job_next_dead(const struct job *job, uint32_t from, uint32_t *looks)
{
    uint32_t number = from;
    while (*looks > 0 && number < job->record.task_count &&
           job->tasks[number].state != TASK_FAILED) {
        number++;
        --*looks;
    }
    return number;
}

/* ---- they are tried again ---- */

/* Nothing is left of what was posted, or came to nothing: a worker may vote again, and may have it
 * again, that failed it. */
static kvp_status delete_history(struct kvp_jobs *jobs, const struct job *job, uint32_t number,
                                 unsigned votes)
{
    static const enum job_key kinds[] = {JOB_KEY_CHECKPOINT, JOB_KEY_FAULTS};
    struct kvp_raw_key key;
    kvp_status status = KVP_OK;
    for (size_t i = 0; i < 2 && status == KVP_OK; i++) {
        job_key_part(&key, kinds[i], job->id, number);
        status = job_del(jobs, &key);
    }
    for (unsigned i = 0; i < votes && status == KVP_OK; i++) {
        job_key_result(&key, job->id, number, (uint8_t)i);
        status = job_del(jobs, &key);
    }
    return status;
}

static void task_renew(struct job *job, uint32_t number)
{
    struct task *task = &job->tasks[number];
    task_faults_drop(task);
    task->copies = job->record.spec.copies;
    task->votes = task->lost = task->overdue = task->seen_count = 0;
    task->spent = task->backing_off = false;
    job->failed--;
}

static kvp_status retry_task(struct kvp_jobs *jobs, struct job *job, uint32_t number)
{
    struct task_record record;
    kvp_status status = task_read(jobs, job, number, &record);
    if (status == KVP_OK) {
        status = delete_history(jobs, job, number, record.vote_count);
    }
    if (status != KVP_OK) {
        return status;
    }
    uint32_t disagreed = task_disagreements(job, &record);
    job->disagreed -= disagreed < job->disagreed ? disagreed : job->disagreed;
    job->redone -= record.lost;
    record.state = TASK_OPEN;
    record.copies = job->record.spec.copies;
    record.lost = record.winner = 0;
    record.vote_count = 0;
    record.reason[0] = '\0';
    status = KVP_MUTANT(JOB_RETRY_UNWRITTEN) ? KVP_OK : task_write(jobs, job, number, &record);
    if (status == KVP_OK) {
        task_renew(job, number);
        job_task_open(jobs, job, number);
    }
    return status;
}

/* The job runs again. */
static kvp_status job_reopen(struct kvp_jobs *jobs, struct job *job, uint64_t now_us)
{
    if (job->record.state == JOB_RUNNING) {
        return KVP_OK;
    }
    job->record.state = JOB_RUNNING;
    job->record.reason[0] = '\0';
    job->record.age = 0;
    job->record.paused = false; /* who has it tried again wants it to go on */
    job->aged_us = jobs->check_us = now_us;
    return job_write(jobs, job);
}

static kvp_status answer_retried(struct job_answer *answer, uint32_t count, uint32_t next)
{
    struct kvp_mp_writer writer;
    kvp_mp_write_begin(&writer, answer->result);
    kvp_mp_write_array(&writer, 2);
    kvp_mp_write_uint(&writer, count);
    kvp_mp_write_uint(&writer, next);
    return kvp_mp_write_end(&writer);
}

static bool may_retry(const struct job *job)
{
    uint8_t state = job->record.state;
    return job->record.spec.type == KVP_JOB_TASKS && job->failed > 0 &&
           (state == JOB_RUNNING || state == JOB_FAILED || state == JOB_DONE_WITH_FAILURES);
}

kvp_status job_retry(struct kvp_jobs *jobs, struct job *job, const struct kvp_request *request,
                     uint64_t now_us, struct job_answer *answer)
{
    uint64_t first = request->job.number, end = first + request->count_max;
    uint32_t looks = RETRY_LOOK_MAX, count = 0;
    if (!may_retry(job)) {
        return job_refuse(answer, KVP_JOB_STATE,
                          job->record.spec.type != KVP_JOB_TASKS
                              ? "a product cannot be tried again: submit it anew"
                              : "none of its tasks has failed, or the job was cancelled");
    }
    end = end < job->record.task_count ? end : job->record.task_count;
    uint32_t number = first < end ? (uint32_t)first : (uint32_t)end;
    kvp_status status = KVP_OK;
    while (status == KVP_OK && count < RETRY_AT_ONCE) {
        number = job_next_dead(job, number, &looks);
        if (number >= end || looks == 0) {
            break;
        }
        status = count == 0 ? job_reopen(jobs, job, now_us) : KVP_OK;
        status = status == KVP_OK ? retry_task(jobs, job, number) : status;
        count++;
        number++;
    }
    if (status == KVP_OK && count == 0 && number >= end) {
        return job_refuse(answer, KVP_JOB_STATE, "no such task has failed");
    }
    return status == KVP_OK ? answer_retried(answer, count, number < end ? number : 0) : status;
}
