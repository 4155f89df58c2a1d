/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an operator says of jobs and workers while they are at work: paused, how many attempts at a
 * time, which priority, drained; and when a job has expired.
 */
#include "replication/jobs/job_state.h"
#include "kvstore/base/mutant.h"

#include <stdio.h>
#include <string.h>

/* ---- what may begin ---- */

/* Attempts that an earlier primary gave are adopted until then, by the clock of silence. */
uint64_t job_adopts_until_us(const struct kvp_jobs *jobs, const struct job *job)
{
    return jobs->ready_us + (uint64_t)job->record.spec.silence_ms * 2000;
}

/* Else nobody knows how many there are. */
static bool job_waits_for_attempts(const struct kvp_jobs *jobs, const struct job *job,
                                   uint64_t now_us)
{
    return job->record.spec.max_running > 0 && job->inherited && !KVP_MUTANT(JOB_MORE_RUNNING) &&
           jobs_heard_us(jobs, now_us) < job_adopts_until_us(jobs, job);
}

static uint64_t job_delayed_until_us(const struct job *job)
{
    return job->started_us + (uint64_t)job->record.spec.delay_ms * 1000;
}

uint64_t job_opens_us(const struct kvp_jobs *jobs, const struct job *job, uint64_t now_us)
{
    uint64_t opens_us = job_delayed_until_us(job), known_us = 0;
    if (job_waits_for_attempts(jobs, job, now_us)) {
        known_us = jobs_silence_due_us(jobs, job_adopts_until_us(jobs, job), 0, now_us);
    }
    return known_us > opens_us ? known_us : opens_us;
}

bool job_is_full(const struct job *job)
{
    return job->record.spec.max_running > 0 && job->live >= job->record.spec.max_running;
}

bool job_hands_out(const struct kvp_jobs *jobs, const struct job *job, uint64_t now_us)
{
    return job->record.state == JOB_RUNNING &&
           (!job->record.paused || KVP_MUTANT(JOB_PAUSED_GOES_ON)) && !job_is_full(job) &&
           now_us >= job_delayed_until_us(job) && !job_waits_for_attempts(jobs, job, now_us);
}

/* ---- settings ---- */

static kvp_status set_paused(struct kvp_jobs *jobs, struct job *job, uint64_t value,
                             struct job_answer *answer)
{
    if (value > 1) {
        return job_refuse(answer, KVP_BAD_REQUEST, "a job is paused (1) or not (0)");
    }
    job->record.paused = value == 1;
    return job_write(jobs, job);
}

static kvp_status set_max_running(struct kvp_jobs *jobs, struct job *job, uint64_t value,
                                  struct job_answer *answer)
{
    if (value > UINT32_MAX) {
        return job_refuse(answer, KVP_BAD_REQUEST, "max-running is below 2^32");
    }
    job->record.spec.max_running = (uint32_t)value;
    job->released = false; /* it may open later, or earlier, than it did */
    return job_write(jobs, job);
}

static kvp_status set_priority(struct kvp_jobs *jobs, struct job *job, uint64_t value,
                               struct job_answer *answer)
{
    if (value > UINT8_MAX) {
        return job_refuse(answer, KVP_BAD_REQUEST, "priorities are 0 to 255");
    }
    job_unlink(jobs, job);
    job->record.spec.priority = (uint8_t)value;
    job_link(jobs, job);
    job->clock_us = jobs->clocks_us[value]; /* it joins the others there */
    return job_write(jobs, job);
}

kvp_status job_set(struct kvp_jobs *jobs, struct job *job, const struct kvp_request *request,
                   uint64_t now_us, struct job_answer *answer)
{
    uint64_t value = request->job.number;
    if (job->record.state > JOB_VERIFYING) {
        return job_refuse(answer, KVP_JOB_STATE, "the job has ended");
    }
    jobs->check_us = now_us;
    jobs->work_available = true;
    switch (request->job.what) {
    case KVP_JOB_SET_PAUSED:
        return set_paused(jobs, job, value, answer);
    case KVP_JOB_SET_MAX_RUNNING:
        return set_max_running(jobs, job, value, answer);
    case KVP_JOB_SET_PRIORITY:
        return set_priority(jobs, job, value, answer);
    default:
        return job_refuse(answer, KVP_BAD_REQUEST, "unknown setting of a job");
    }
}

kvp_status worker_set(struct kvp_jobs *jobs, const struct kvp_request *request, uint64_t now_us,
                      struct job_answer *answer)
{
    struct worker *worker = worker_find(jobs, request->key);
    if (worker == NULL) {
        return job_refuse(answer, KVP_NOT_FOUND, "there is no worker of this name");
    }
    if (request->job.what != KVP_WORKER_SET_DRAINED || request->job.number > 1) {
        return job_refuse(answer, KVP_BAD_REQUEST, "a worker is drained (1) or not (0)");
    }
    worker->record.drained = request->job.number == 1;
    jobs->check_us = now_us; /* a standby may take its place */
    jobs->work_available = true;
    return worker_write(jobs, worker);
}

/* ---- a job that does not end ---- */

/* A sixteenth of the time, but a second at least. */
static uint64_t age_period_us(const struct job *job)
{
    uint32_t whole_s = job->record.spec.expires_s;
    uint32_t parts = whole_s < JOB_AGE_MAX ? whole_s : JOB_AGE_MAX;
    return (uint64_t)whole_s * 1000000u / parts;
}

uint64_t job_ages_us(const struct job *job)
{
    bool ages = job->record.spec.expires_s > 0 &&
                (job->record.state == JOB_RUNNING || job->record.state == JOB_VERIFYING);
    return ages ? job->aged_us + age_period_us(job) : UINT64_MAX;
}

kvp_status job_age(struct kvp_jobs *jobs, struct job *job, uint64_t now_us)
{
    char text[JOB_REASON_MAX];
    uint32_t whole_s = job->record.spec.expires_s;
    uint32_t parts = whole_s < JOB_AGE_MAX ? whole_s : JOB_AGE_MAX;
    job->aged_us += age_period_us(job);
    job->record.age += job->record.age < JOB_AGE_MAX;
    jobs->check_us = now_us;
    if (job->record.age < parts || KVP_MUTANT(JOB_AGELESS)) {
        return job_write(jobs, job);
    }
    (void)snprintf(text, sizeof(text), "expired: it has not ended within %u s of its start",
                   whole_s);
    return job_end(jobs, job, JOB_FAILED, text, now_us);
}
