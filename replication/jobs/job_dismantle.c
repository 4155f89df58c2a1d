/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Giving back the memory of jobs and workers: of one job that is gone, and, piece by piece, of an
 * index that nobody looks at any more. A node that steps down may have a large one, and others wait
 * for what it has to say.
 */
#include "replication/jobs/job_state.h"

#include <stdlib.h>

#define TASKS_FOR_ONE 64u /* given back as one piece: without faults they are only bytes */

void job_free(struct job *job)
{
    kvp_verify_free(job->verify);
    kvp_recheck_free(job->recheck);
    job_faults_free(job);
    kvp_buf_free(&job->sum);
    free(job->tasks);
    free(job->edges);
    free(job->outputs);
    free(job);
}

void worker_free(struct worker *worker)
{
    for (struct attempt *attempt = worker->attempts, *next; attempt != NULL; attempt = next) {
        next = attempt->next;
        free(attempt);
    }
    free(worker);
}

/* The tasks behind the first `count` are given up, and their bytes given back. */
static void job_shorten(struct job *job, uint32_t count)
{
    for (uint32_t i = count; i < job->record.task_count; i++) {
        task_faults_drop(&job->tasks[i]);
    }
    job->record.task_count = count;
    struct task *tasks = count > 0 ? realloc(job->tasks, count * sizeof(*tasks)) : NULL;
    job->tasks = tasks != NULL ? tasks : job->tasks;
}

/* False: there is more of it. */
static bool job_dismantle(struct job *job, size_t *budget)
{
    size_t pieces = job->record.task_count / TASKS_FOR_ONE;
    if (pieces >= *budget) {
        job_shorten(job, job->record.task_count - (uint32_t)*budget * TASKS_FOR_ONE);
        *budget = 0;
        return false;
    }
    *budget -= pieces + 1;
    job_free(job);
    return true;
}

static bool worker_dismantle(struct worker *worker, size_t *budget)
{
    for (; worker->attempts != NULL && *budget > 0; --*budget) {
        struct attempt *attempt = worker->attempts;
        worker->attempts = attempt->next;
        free(attempt);
    }
    if (*budget == 0) {
        return false;
    }
    --*budget;
    free(worker);
    return true;
}

void kvp_jobs_dismantle(struct kvp_jobs *jobs, size_t *budget)
{
    while (jobs->first != NULL && *budget > 0) {
        struct job *next = jobs->first->next;
        jobs->first = job_dismantle(jobs->first, budget) ? next : jobs->first;
    }
    while (jobs->worker_count > 0 && *budget > 0) {
        bool gone = worker_dismantle(jobs->workers[jobs->worker_count - 1], budget);
        jobs->worker_count -= gone;
    }
}
