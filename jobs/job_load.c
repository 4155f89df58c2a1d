/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Building the index from the store, a bounded number of records at a time. Payloads, blocks and
 * results are never read: only the records.
 */
#include "jobs/job_state.h"
#include "replication/mutant.h"

#include <string.h>

/* In this order: standings are workers', votes name workers, tasks lie in jobs, faults are tasks'. */
enum phase { PHASE_WORKERS, PHASE_STANDINGS, PHASE_JOBS, PHASE_TASKS, PHASE_FAULTS };

static const enum job_key kind_of_phase[] = {JOB_KEY_WORKER, JOB_KEY_STANDING, JOB_KEY_JOB,
                                             JOB_KEY_TASK, JOB_KEY_FAULTS};

static kvp_status seek(struct kvp_jobs *jobs)
{
    uint8_t from[] = {KVP_PREFIX_JOB, (uint8_t)kind_of_phase[jobs->phase]};
    uint8_t to[] = {KVP_PREFIX_JOB, (uint8_t)(kind_of_phase[jobs->phase] + 1)};
    return kvp_state_view_seek(jobs->view, kvp_slice_of(from, sizeof(from)),
                               kvp_slice_of(to, sizeof(to)));
}

kvp_status kvp_jobs_start(struct kvp_jobs *jobs, struct kvp_storage *storage, uint64_t salt,
                          uint64_t seed, uint64_t now_us)
{
    kvp_jobs_reset(jobs);
    jobs->view = kvp_storage_snapshot(storage);
    if (!jobs->view) {
        return KVP_NO_MEMORY;
    }
    jobs->salt = salt;
    jobs->random = seed;
    jobs->reign = (uint32_t)((seed * 0x9e3779b97f4a7c15u) >> 54);
    jobs->phase = PHASE_WORKERS;
    jobs->started = true;
    jobs->check_us = now_us;
    return seek(jobs);
}

static kvp_status load_job(struct kvp_jobs *jobs, uint64_t id, kvp_slice value, uint64_t now_us)
{
    struct job_record record;
    kvp_status status = job_record_decode(value, &record);
    if (status != KVP_OK) {
        return status;
    }
    uint32_t tasks = record.task_count;
    record.task_count = 0;
    struct job *job = job_insert(jobs, id, &record);
    if (!job) {
        return KVP_NO_MEMORY;
    }
    job->started_us = job->ended_us = now_us;
    if (record.spec.type == KVP_JOB_MATMUL) {
        job->grid = kvp_job_grid_of(&record.spec);
        return tasks == 0 ? KVP_OK : job_make_tiles(jobs, job); /* 0: it was not started */
    }
    for (unsigned i = 0; i < record.kind_count; i++) {
        const char *kind = record.kinds[i].text;
        job->reserved = job->reserved || kvp_job_kind_is_reserved(kvp_slice_of(kind, strlen(kind)));
    }
    return job_reserve_tasks(job, tasks);
}

static void see_votes(struct kvp_jobs *jobs, struct task *task, const struct task_record *record)
{
    task->votes = (uint8_t)record->vote_count;
    for (unsigned i = 0; i < record->vote_count; i++) {
        const char *name = record->votes[i].worker;
        struct worker *worker = worker_find(jobs, kvp_slice_of(name, strlen(name)));
        if (worker) {
            task->seen[task->seen_count++] = worker->index;
        }
    }
}

/* What the engine relies on in a record, and the codec cannot know. */
static bool fits(const struct job *job, uint32_t number, struct task_record record)
{
    for (uint32_t i = 0; i < record.after_count; i++) {
        if (task_record_after(&record) >= number) {
            return false;
        }
    }
    return job->record.spec.type == KVP_JOB_MATMUL
               ? number < job->record.task_count && (!record.summed || job->outputs)
               : number == job->record.task_count && number < job->task_capacity &&
                     record.kind < job->record.kind_count && !record.summed;
}

static kvp_status load_task(struct kvp_jobs *jobs, uint64_t id, uint32_t number, kvp_slice value)
{
    struct task_record record;
    struct job *job = job_find(jobs, id);
    kvp_status status = task_record_decode(value, &record);
    if (status != KVP_OK || !job) {
        return status; /* a record of a job whose record is gone would be a leftover: it is not used */
    }
    if (!fits(job, number, record)) {
        return KVP_CORRUPT;
    }
    if (job->record.spec.type == KVP_JOB_TASKS) {
        status = job_reserve_edges(job, record.after_count);
        if (status != KVP_OK) {
            return status;
        }
        job->record.task_count++;
        jobs->task_total++;
        job_task_init(jobs, job, number, &record);
    }
    struct task *task = &job->tasks[number];
    task->lost = task->overdue = record.lost;
    task->copies = record.copies;
    job->redone += record.lost;
    job->disagreed += task_disagreements(job, &record);
    if (!KVP_MUTANT(JOB_FORGET_VOTES)) {
        see_votes(jobs, task, &record);
    }
    if (record.state == TASK_DONE) {
        task->state = TASK_OPEN;
        job_note_done(jobs, job, number,
                      record.vote_count > 0 ? record.votes[record.winner].size : 0);
        if (record.summed && !KVP_MUTANT(JOB_FORGET_SUMS)) {
            job->outputs[number / job->grid.inner_tiles].summed = true;
            job->summed++;
        }
    } else {
        task->state = record.state == TASK_FAILED ? TASK_FAILED : task->state;
    }
    return KVP_OK;
}

static kvp_status load_worker(struct kvp_jobs *jobs, kvp_slice name, kvp_slice value,
                              uint64_t now_us)
{
    struct worker_record record;
    char text[KVP_NAME_SIZE_MAX + 1];
    kvp_status status = worker_record_decode(value, &record);
    if (status != KVP_OK || jobs->worker_count == jobs->config.workers_max) {
        return status;
    }
    memcpy(text, name.data, name.size);
    text[name.size] = '\0';
    struct worker *worker = worker_insert(jobs, text, &record);
    if (!worker) {
        return KVP_NO_MEMORY;
    }
    worker->heard_us = now_us; /* each has its time to show up */
    return KVP_OK;
}

/* Of a task that is over they are only evidence. */
static kvp_status load_faults(struct kvp_jobs *jobs, uint64_t id, uint32_t number, kvp_slice value)
{
    struct faults_record record;
    struct job *job = job_find(jobs, id);
    kvp_status status = faults_record_decode(value, &record);
    if (status != KVP_OK || !job || number >= job->record.task_count ||
        job->tasks[number].state > TASK_OPEN || KVP_MUTANT(JOB_FORGET_FAULTS)) {
        return status;
    }
    return task_faults_load(jobs, &job->tasks[number], &record);
}

static kvp_status load_standing(struct kvp_jobs *jobs, kvp_slice name, kvp_slice value)
{
    struct standing_record record;
    struct worker *worker = worker_find(jobs, name);
    kvp_status status = standing_record_decode(value, &record);
    if (status == KVP_OK && worker) {
        worker->standing = record;
    }
    return status;
}

static kvp_status load_one(struct kvp_jobs *jobs, uint64_t now_us)
{
    kvp_slice key, value, name;
    enum job_key kind;
    uint64_t job = 0;
    uint32_t number = 0;
    kvp_status status = kvp_state_view_read(jobs->view, &key, &value);
    if (status != KVP_OK) {
        return status;
    }
    status = job_key_split(key, &kind, &job, &number, &name);
    if (status == KVP_OK && kind == JOB_KEY_JOB) {
        status = load_job(jobs, job, value, now_us);
    } else if (status == KVP_OK && kind == JOB_KEY_TASK) {
        status = load_task(jobs, job, number, value);
    } else if (status == KVP_OK && kind == JOB_KEY_FAULTS) {
        status = load_faults(jobs, job, number, value);
    } else if (status == KVP_OK && kind == JOB_KEY_STANDING) {
        status = load_standing(jobs, name, value);
    } else if (status == KVP_OK) {
        status = load_worker(jobs, name, value, now_us);
    }
    kvp_state_view_next(jobs->view);
    return status;
}

kvp_status kvp_jobs_load(struct kvp_jobs *jobs, size_t records, uint64_t now_us, bool *ready)
{
    kvp_status status = KVP_OK;
    for (; records > 0 && jobs->started && !jobs->ready && status == KVP_OK; records--) {
        status = load_one(jobs, now_us);
        if (status != KVP_NOT_FOUND) {
            continue;
        }
        if (jobs->phase < PHASE_FAULTS) {
            jobs->phase++;
            status = seek(jobs);
            continue;
        }
        kvp_state_view_close(jobs->view);
        jobs->view = NULL;
        jobs->ready = jobs->stirred = jobs->busy = true;
        jobs->ready_us = now_us;
        status = KVP_OK;
    }
    *ready = jobs->ready;
    return status;
}
