/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the committed entries say about workers: who failed which task, and what that costs them.
 * Nobody may lose standing for what nobody has done better, and no task may be given up that a good
 * worker was there for.
 */
#include "sim_ledger.h"

#include <stdio.h>
#include <string.h>

#define LOST_VOTES_MAX 3u /* as the engine has them by default */
#define FAULTS_MAX     8u
#define UNANSWERED_US  2000000u
#define DECIDED_US     500000u  /* from what the engine decides to what is committed */
#define CALM_US        8000000u /* and then everybody has been heard of */

/* ---- faults ---- */

static void faults_wrong(struct sim *sim, const struct ledger_job *job, uint32_t task,
                         const char *what)
{
    sim_fail(sim, "job %llu (%s) task %u: its faults: %s", (unsigned long long)job->id,
             job->record.spec.name, task, what);
}

void ledger_on_faults(struct sim *sim, struct ledger_job *job, const struct kvp_batch_op *op,
                      uint32_t task)
{
    struct faults_record now;
    if (op->is_delete) {
        bool again = job->job->retried && task < job->task_count &&
                     job->tasks[task].record.state == TASK_FAILED;
        if (job->record.state != JOB_REMOVING && !again) {
            faults_wrong(sim, job, task, "they are deleted");
        } else if (again) {
            job->tasks[task].faults = (struct faults_record){0};
        }
        return;
    }
    if (task >= job->task_count || faults_record_decode(op->value, &now) != KVP_OK) {
        faults_wrong(sim, job, task, "a bad record");
        return;
    }
    const struct faults_record *before = &job->tasks[task].faults;
    if (now.workers < before->workers || now.failed < before->failed ||
        job->record.state != JOB_RUNNING) {
        faults_wrong(sim, job, task, "they go back, or come when the job has ended");
    }
    for (unsigned i = 0; i < now.count; i++) {
        if (sim_worker_named(sim, now.by[i].worker) == NULL) {
            faults_wrong(sim, job, task, "of nobody");
        }
    }
    job->tasks[task].faults = now;
}

static bool has_agreed(const struct task_record *record, const char *worker)
{
    for (unsigned i = 0; i < record->vote_count; i++) {
        if (record->votes[i].agreed && strcmp(record->votes[i].worker, worker) == 0) {
            return true;
        }
    }
    return false;
}

void ledger_count_outdone(struct sim *sim, const struct ledger_task *task,
                          const struct task_record *record)
{
    for (unsigned i = 0; i < task->faults.count; i++) {
        const struct job_fault *fault = &task->faults.by[i];
        if (fault->failed > 0 && !has_agreed(record, fault->worker)) {
            ledger_worker_of(sim, fault->worker)->outdone++;
        }
    }
}

/* ---- tasks that are given up ---- */

static bool is_named(const struct faults_record *faults, const struct task_record *record,
                     const char *worker)
{
    for (unsigned i = 0; i < faults->count; i++) {
        if (strcmp(faults->by[i].worker, worker) == 0) {
            return true;
        }
    }
    for (unsigned i = 0; i < record->vote_count; i++) {
        if (strcmp(record->votes[i].worker, worker) == 0) {
            return true;
        }
    }
    return false;
}

/* It has it, or had it a moment ago: what is committed now was decided a little earlier. */
static bool has_it(const struct sim *sim, const struct sim_worker *worker,
                   const struct ledger_job *job, uint32_t number)
{
    for (unsigned i = 0; i < worker->slots_used; i++) {
        const struct sim_slot *slot = &worker->slots[i];
        bool now = slot->working && slot->grant.job == job->id && slot->grant.task == number;
        bool lately = sim->now_us < slot->ended_us + DECIDED_US && slot->ended_job == job->id &&
                      slot->ended_task == number;
        if (now || lately) {
            return true;
        }
    }
    return false;
}

/* Nobody hears of it: it stands still, or has until now; or in every slot it hangs, or has a result
 * that nobody takes, because all session slots have been used of late. */
static bool is_silent(const struct sim *sim, const struct sim_worker *worker)
{
    bool silent = true;
    if (sim->now_us < worker->stopped_us + UNANSWERED_US) {
        return true;
    }
    for (unsigned i = 0; i < worker->slots_used; i++) {
        const struct sim_caller *call = &worker->slots[i].call;
        bool unanswered =
            call->busy && sim->now_us > call->began_us + call->patience_us + UNANSWERED_US;
        silent = silent && (worker->slots[i].hung || unanswered);
    }
    return silent;
}

/* Somebody good was there for long, was heard of, and neither has it nor has had it. */
static bool was_there(const struct sim *sim, const struct ledger_job *job, uint32_t number)
{
    const struct ledger_task *task = &job->tasks[number];
    for (unsigned i = 0; i < sim->jobs->worker_count; i++) {
        const struct sim_worker *worker = &sim->jobs->workers[i];
        bool there = worker->steady && worker->up && worker->joined &&
                     sim->now_us > worker->joined_us + CALM_US &&
                     sim->now_us > worker->drained_until_us + CALM_US;
        /* Where tasks have few attempts, all may have come to nothing at the others. */
        bool busy = sim->plan.jobs.flow && has_it(sim, worker, job, number);
        if (there && !busy && !is_silent(sim, worker) &&
            !is_named(&task->faults, &task->record, worker->name)) {
            return true;
        }
    }
    return false;
}

/* As many as may have been asked, and too few agree. */
static bool is_disputed(const struct ledger_job *job, const struct task_record *now)
{
    if (now->vote_count < job->record.spec.copies_max) {
        return false;
    }
    for (unsigned i = 0; i < now->vote_count; i++) {
        unsigned with = 0;
        for (unsigned j = 0; j < now->vote_count; j++) {
            with += now->votes[i].outcome == now->votes[j].outcome &&
                    now->votes[i].digest == now->votes[j].digest;
        }
        if (with >= job->record.spec.quorum) {
            return false;
        }
    }
    return true;
}

bool ledger_task_spent(const struct sim *sim, const struct ledger_job *job, uint32_t number,
                       const struct task_record *now)
{
    uint32_t max = job->record.spec.attempts_max;
    const struct ledger_task *task = &job->tasks[number];
    bool calm = sim->calm && sim->now_us > sim->jobs->calm_us + CALM_US;
    return task->faults.workers >= max || is_disputed(job, now) ||
           (now->lost >= max && !(calm && was_there(sim, job, number)));
}

bool ledger_attempts_failed(const struct sim *sim, const struct ledger_job *job)
{
    const char *reason = job->record.reason;
    uint32_t number = UINT32_MAX, max = job->record.spec.attempts_max;
    if (sscanf(reason, "task %u failed", &number) != 1 || number >= job->task_count) {
        return false;
    }
    const struct ledger_task *task = &job->tasks[number];
    if (task->record.state != TASK_FAILED) {
        return false;
    }
    if (strstr(reason, "different workers") != NULL) {
        return task->faults.workers >= max;
    }
    bool calm = sim->calm && sim->now_us > sim->jobs->calm_us + CALM_US;
    return strstr(reason, "for it, the last time") != NULL && task->record.lost >= max &&
           !(calm && was_there(sim, job, number));
}

/* ---- workers ---- */

/* A standby becomes active where somebody works, or there is work, of its kinds. */
static bool shares_kind(const struct worker_record *a, const char *kind)
{
    for (unsigned i = 0; i < a->kind_count; i++) {
        if (strcmp(a->kinds[i].text, kind) == 0) {
            return true;
        }
    }
    return false;
}

static bool is_of_use(const struct sim *sim, const struct worker_record *record)
{
    const struct ledger_worker *other = sim->jobs->ledger->workers;
    for (; other != NULL; other = other->next) {
        for (unsigned i = 0;
             other->exists && !other->record.standby && i < other->record.kind_count; i++) {
            if (shares_kind(record, other->record.kinds[i].text)) {
                return true;
            }
        }
    }
    const struct ledger_job *job = sim->jobs->ledger->jobs;
    for (; job != NULL; job = job->next) {
        bool matmul =
            job->record.spec.type == KVP_JOB_MATMUL &&
            (shares_kind(record, KVP_JOB_MATMUL_KIND) || shares_kind(record, KVP_JOB_BLOCKS_KIND));
        if (job->record.state == JOB_RUNNING && matmul) {
            return true;
        }
        for (unsigned i = 0; job->record.state == JOB_RUNNING && i < job->record.kind_count; i++) {
            if (shares_kind(record, job->record.kinds[i].text)) {
                return true;
            }
        }
    }
    return false;
}

void ledger_on_worker(struct sim *sim, kvp_slice name, const struct kvp_batch_op *op)
{
    char text[KVP_NAME_SIZE_MAX + 1] = "";
    memcpy(text, name.data, name.size);
    const struct sim_worker *worker = sim_worker_named(sim, text);
    struct ledger_worker *at = ledger_worker_of(sim, text);
    struct worker_record record;
    if (op->is_delete) {
        if (sim->plan.jobs.workers_max == 0 || at->record.lost_votes > 0) {
            sim_fail(sim, "worker %s is forgotten", text);
        }
        at->exists = false;
        at->forgotten = true;
        return;
    }
    if (worker == NULL || worker_record_decode(op->value, &record) != KVP_OK) {
        sim_fail(sim, "worker %s: no such worker, or a bad record", text);
        return;
    }
    if (record.instance < at->record.instance || record.lost_votes < at->record.lost_votes) {
        sim_fail(sim, "worker %s: its instance or its lost votes go back", text);
    }
    if (!worker->corrupt && (record.lost_votes > 0 || (record.barred && worker->fail == 0))) {
        sim_fail(sim, "worker %s has lost a vote or its standing, and never lied or failed", text);
    }
    bool same = at->exists && record.instance == at->record.instance;
    if (same && record.active && !at->record.active && !is_of_use(sim, &record)) {
        sim_fail(sim, "standby %s is activated, and of no use", text);
    }
    at->drained_us = !record.drained ? 0 : at->drained_us > 0 ? at->drained_us : sim->now_us;
    at->exists = true;
    at->record = record;
}

void ledger_on_standing(struct sim *sim, kvp_slice name, const struct kvp_batch_op *op)
{
    char text[KVP_NAME_SIZE_MAX + 1] = "";
    memcpy(text, name.data, name.size);
    struct ledger_worker *at = ledger_worker_of(sim, text);
    const struct sim_worker *worker = sim_worker_named(sim, text);
    if (op->is_delete) {
        memset(&at->standing, 0, sizeof(at->standing));
        return;
    }
    if (worker == NULL || standing_record_decode(op->value, &at->standing) != KVP_OK) {
        sim_fail(sim, "worker %s: standing of nobody, or a bad record", text);
    } else if (at->standing.ever > at->outdone || at->standing.faults > at->standing.ever) {
        sim_fail(sim, "worker %s is blamed for %u tasks; others have done %u that it failed", text,
                 at->standing.ever, at->outdone);
    }
}

static void check_worker(struct sim *sim, const struct ledger_worker *at)
{
    bool barred = at->record.lost_votes >= LOST_VOTES_MAX || at->standing.faults >= FAULTS_MAX;
    if (at->record.lost_votes != at->lost && !(at->forgotten && at->record.lost_votes < at->lost)) {
        sim_fail(sim, "worker %s lost %u votes, its record says %u", at->name, at->lost,
                 at->record.lost_votes);
    } else if (at->standing.ever != at->outdone && !at->forgotten) {
        sim_fail(sim, "worker %s failed %u tasks that others did, its record says %u", at->name,
                 at->outdone, at->standing.ever);
    } else if (at->exists && at->record.barred != barred) {
        sim_fail(sim, "worker %s lost %u votes and has %u faults, barred: %d", at->name,
                 at->record.lost_votes, at->standing.faults, at->record.barred);
    }
}

void ledger_check_workers(struct sim *sim)
{
    const struct ledger_worker *at = sim->jobs->ledger->workers;
    for (; at != NULL && !sim->failed; at = at->next) {
        check_worker(sim, at);
    }
}
