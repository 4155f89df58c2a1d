/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What submitters say of jobs beyond making and cancelling them: jobs that go on without the tasks
 * that nobody can do, and have these tried again when the cause is mended; keys, with two jobs made
 * under one; pauses, limits, other priorities; a time after which a job has expired. And workers
 * that are drained for a while. Drawn from a stream of its own.
 */
#include "sim_jobs.h"

#include <stdio.h>
#include <string.h>

enum setting { FLOW_PAUSE, FLOW_RESUME, FLOW_RAISE, FLOW_PRIORITY, FLOW_DRAIN };

uint64_t sim_flow_below(struct sim *sim, uint64_t bound)
{
    return sim_below(&sim->jobs->random_flow, bound);
}

static bool flow_chance(struct sim *sim, unsigned thousandths)
{
    return sim_flow_below(sim, 1000) < thousandths;
}

static void flow_plan_tasks(struct sim *sim, struct sim_job *job)
{
    if (!flow_chance(sim, 600)) {
        return;
    }
    job->spec.on_failure = KVP_ON_FAILURE_CONTINUE;
    job->spec.attempts_max = 1 + (uint8_t)sim_flow_below(sim, 4);
    job->retries = (unsigned)sim_flow_below(sim, 3);
    for (uint32_t i = 0; i < job->task_count; i++) {
        job->tasks[i].poison = flow_chance(sim, 150);
    }
}

void sim_flow_plan(struct sim *sim, struct sim_job *job)
{
    if (job->spec.type == KVP_JOB_TASKS) {
        flow_plan_tasks(sim, job);
    }
    if (flow_chance(sim, 300)) {
        job->spec.max_running = 1 + (uint32_t)sim_flow_below(sim, 3);
    }
    if (flow_chance(sim, 150)) {
        job->spec.expires_s = 1 + (uint32_t)sim_flow_below(sim, 12);
    }
    if (flow_chance(sim, 400) && !job->abandon) {
        (void)snprintf(job->key, sizeof(job->key), "key%u", job->index);
        job->spec.key = job->key;
        job->doubled = flow_chance(sim, 700);
    }
    job->sets = flow_chance(sim, 500) ? 1 + (unsigned)sim_flow_below(sim, 4) : 0;
}

uint64_t sim_flow_about(const struct sim_submitter *submitter)
{
    return submitter->on_other      ? submitter->job->other
           : submitter->job != NULL ? submitter->job->id
                                    : 0;
}

/* ---- settings ---- */

static void flow_set(struct sim *sim, struct sim_submitter *submitter, unsigned what,
                     uint64_t value, sim_done *done)
{
    struct kvp_request request = {.op = KVP_OP_JOB_SET};
    sim_trace(sim, "job %u: setting %u is to be %llu", submitter->job->index, what,
              (unsigned long long)value);
    request.job.job = submitter->job->id;
    request.job.what = what;
    request.job.number = value;
    sim_call(sim, &submitter->call, &request, done, submitter);
}

static void flow_drain(struct sim *sim, struct sim_submitter *submitter, uint64_t value,
                       sim_done *done)
{
    struct kvp_request request = {.op = KVP_OP_WORKER_SET,
                                  .key =
                                      kvp_slice_of(submitter->drained, strlen(submitter->drained))};
    sim_trace(sim, "%s is to be drained: %u", submitter->drained, (unsigned)value);
    request.job.what = KVP_WORKER_SET_DRAINED;
    request.job.number = value;
    sim_call(sim, &submitter->call, &request, done, submitter);
}

/* It is drained until further notice; or for so long as the call that ends it may take. */
void sim_flow_mark(struct sim *sim, const struct sim_submitter *submitter, bool drained)
{
    for (unsigned i = 0; i < sim->jobs->worker_count; i++) {
        struct sim_worker *worker = &sim->jobs->workers[i];
        if (strcmp(worker->name, submitter->drained) == 0) {
            worker->drain_asked = drained;
            worker->drained_until_us = drained ? UINT64_MAX / 2 : sim->now_us;
        }
    }
}

bool sim_flow_undo(struct sim *sim, struct sim_submitter *submitter, sim_done *done)
{
    if (submitter->drained[0] == '\0') {
        return false;
    }
    sim_flow_mark(sim, submitter, false);
    flow_drain(sim, submitter, 0, done);
    return true;
}

/* A limit is only raised: so at no time there are more attempts than it allows. */
bool sim_flow_say(struct sim *sim, struct sim_submitter *submitter, sim_done *done)
{
    struct sim_job *job = submitter->job;
    bool resumes = submitter->setting == FLOW_PAUSE + 1;
    if (job->sets == 0 && !resumes) {
        return false;
    }
    const struct sim_worker *worker;
    job->sets -= resumes ? 0 : 1;
    enum setting setting = resumes ? FLOW_RESUME : (enum setting)sim_flow_below(sim, 5);
    submitter->setting = (unsigned)setting + 1;
    switch (setting) {
    case FLOW_PAUSE:
        job->pause_asked = true;
        flow_set(sim, submitter, KVP_JOB_SET_PAUSED, 1, done);
        return true;
    case FLOW_RAISE:
        job->spec.max_running += job->spec.max_running > 0;
        flow_set(sim, submitter, KVP_JOB_SET_MAX_RUNNING, job->spec.max_running, done);
        return true;
    case FLOW_PRIORITY:
        flow_set(sim, submitter, KVP_JOB_SET_PRIORITY, sim_flow_below(sim, 4), done);
        return true;
    case FLOW_DRAIN:
        worker = &sim->jobs->workers[sim_flow_below(sim, sim->jobs->worker_count)];
        (void)snprintf(submitter->drained, sizeof(submitter->drained), "%s", worker->name);
        sim_flow_mark(sim, submitter, true);
        flow_drain(sim, submitter, 1, done);
        return true;
    default:
        job->pause_asked = false;
        flow_set(sim, submitter, KVP_JOB_SET_PAUSED, 0, done);
        return true;
    }
}

/* It was not executed, and is said again. */
void sim_flow_unsaid(struct sim_submitter *submitter)
{
    if (submitter->setting == FLOW_RESUME + 1) {
        submitter->setting = FLOW_PAUSE + 1; /* whoever has paused a job lets it go on */
    } else {
        submitter->job->sets++;
    }
}

/* ---- trying again ---- */

bool sim_flow_retry(struct sim *sim, struct sim_submitter *submitter, sim_done *done)
{
    struct sim_job *job = submitter->job;
    struct kvp_request request = {.op = KVP_OP_JOB_RETRY, .count_max = UINT32_MAX};
    if (job->retries == 0) {
        return false;
    }
    sim_trace(sim, "job %u is to be tried again", job->index);
    job->retries--;
    job->retried = true;
    job->pause_asked = false; /* that ends a pause, too */
    job->cured = job->retries == 0 || flow_chance(sim, 500);
    request.job.job = job->id;
    sim_call(sim, &submitter->call, &request, done, submitter);
    return true;
}
