/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the committed entries say about how jobs begin and end: none may be done that is not, or
 * fail without a cause, or be one of two under a key.
 */
#include "sim_ledger.h"

#include <stdio.h>
#include <string.h>

#define EXPIRED_SLACK_US 1000000u

static void check_failed(struct sim *sim, const struct ledger_job *job)
{
    const char *reason = job->record.reason;
    bool attempts = ledger_attempts_failed(sim, job);
    bool overflow = strstr(reason, "does not fit") != NULL && job->job->overflow;
    /* Where an element does not fit its type, a lie may be what the others expect, and still wrong.
     */
    bool lied = job->wrong || (job->lied && job->job->overflow);
    bool found_out = strstr(reason, "verification failed") != NULL && lied;
    uint64_t expires_us = (uint64_t)job->record.spec.expires_s * 1000000;
    /* From its execution on, which may be long before its commit. */
    bool expired = strstr(reason, "expired") != NULL && expires_us > 0 &&
                   sim->now_us + EXPIRED_SLACK_US >= job->job->start_us + expires_us;
    if (!attempts && !overflow && !found_out && !expired) {
        sim_fail(sim, "job %llu (%s) failed: %s", (unsigned long long)job->id,
                 job->record.spec.name, reason);
    }
}

static void check_end(struct sim *sim, const struct ledger_job *job)
{
    uint32_t inner = ledger_sums(job) ? kvp_job_grid_of(&job->record.spec).inner_tiles : UINT32_MAX;
    for (uint32_t i = 0; i < job->task_count; i++) {
        if (job->tasks[i].record.state != TASK_DONE) {
            ledger_wrong(sim, job, i, "not done, but its job");
        }
        if (ledger_sums(job) && i % inner == 0 && !job->tasks[i].summed) {
            ledger_wrong(sim, job, i, "not summed up, but the job is done");
        }
    }
    if (job->wrong || job->job->overflow) {
        sim_fail(sim, "job %llu (%s) is done with a wrong result", (unsigned long long)job->id,
                 job->record.spec.name);
    }
}

/* Every task is done, has failed, or waits for one that is not done. */
static void check_dead(struct sim *sim, const struct ledger_job *job)
{
    bool stuck[SIM_TASKS_MAX] = {false};
    unsigned failed = 0;
    for (uint32_t i = 0; i < job->task_count; i++) {
        const struct sim_task *task = &job->job->tasks[i];
        bool done = job->tasks[i].record.state == TASK_DONE;
        bool dead = job->tasks[i].record.state == TASK_FAILED;
        for (uint32_t k = 0; k < task->after_count; k++) {
            stuck[i] = stuck[i] || stuck[task->after[k]];
        }
        if (!done && !dead && !stuck[i]) {
            ledger_wrong(sim, job, i, "not done, and nothing is in its way, but its job has ended");
        }
        stuck[i] = stuck[i] || dead;
        failed += dead;
    }
    if (failed == 0) {
        sim_fail(sim, "job %llu is done with failures, and has none", (unsigned long long)job->id);
    }
}

static bool key_is_held(const struct sim *sim, const struct ledger_job *job)
{
    const struct ledger_job *other = sim->jobs->ledger->jobs;
    for (; other != NULL; other = other->next) {
        if (other != job && other->exists && other->started && job->record.key[0] != '\0' &&
            other->record.state != JOB_REMOVING &&
            strcmp(other->record.key, job->record.key) == 0) {
            return true;
        }
    }
    return false;
}

static void check_begin(struct sim *sim, struct ledger_job *job)
{
    job->started = true;
    if (key_is_held(sim, job)) {
        sim_fail(sim, "job %llu is started, and another one has its key %s",
                 (unsigned long long)job->id, job->record.key);
    }
}

void ledger_check_state(struct sim *sim, struct ledger_job *job, uint8_t before, uint8_t now)
{
    bool ok = true;
    switch ((enum job_state)now) {
    case JOB_UPLOADING:
        ok = before == JOB_UPLOADING;
        break;
    case JOB_RUNNING:
        ok = before <= JOB_RUNNING || (before == JOB_DONE_WITH_FAILURES && job->job->retried);
        if (before == JOB_UPLOADING) {
            check_begin(sim, job);
        }
        break;
    case JOB_DONE_WITH_FAILURES:
        ok = before == JOB_RUNNING && job->record.spec.on_failure == KVP_ON_FAILURE_CONTINUE;
        check_dead(sim, job);
        break;
    case JOB_VERIFYING:
        ok = (before == JOB_RUNNING || before == JOB_VERIFYING) &&
             job->record.spec.verify != KVP_VERIFY_NONE;
        break;
    case JOB_DONE:
        ok = before == JOB_VERIFYING ||
             (before == JOB_RUNNING && job->record.spec.verify == KVP_VERIFY_NONE);
        check_end(sim, job);
        break;
    case JOB_FAILED:
        ok = before == JOB_RUNNING || before == JOB_VERIFYING;
        check_failed(sim, job);
        break;
    case JOB_CANCELLED:
        ok = before <= JOB_VERIFYING && job->job->cancel_asked;
        break;
    case JOB_REMOVING:
        ok = before >= JOB_DONE ||
             (before == JOB_UPLOADING && (sim->now_us > 3600000000 || key_is_held(sim, job)));
        break;
    }
    if (!ok) {
        sim_fail(sim, "job %llu (%s) goes from state %u to %u", (unsigned long long)job->id,
                 job->record.spec.name, before, now);
    }
}

void ledger_check_age(struct sim *sim, const struct ledger_job *job)
{
    uint32_t whole_s = job->record.spec.expires_s;
    uint32_t parts = whole_s < JOB_AGE_MAX ? whole_s : JOB_AGE_MAX;
    if (whole_s > 0 && job->record.age >= parts && job->record.state <= JOB_VERIFYING) {
        sim_fail(sim, "job %llu has expired, and goes on", (unsigned long long)job->id);
    }
}
