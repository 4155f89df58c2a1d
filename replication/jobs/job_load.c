/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Building the index from the store, a bounded number of records at a time. Payloads, blocks and
 * results are never read: only the records.
 *
 * First come the workers, of which there are never many. From then on requests are answered: a job
 * is read when a request names it, and its tasks when one needs them; all others in the background.
 * Tasks are read in their order, since they wait for those before them only: what has been read of
 * a job is as good as all of it. The records of what has not been read yet are those that the view
 * shows, for nothing is written about a job or a task before it is read, and nothing is removed
 * before all has been.
 */
#include "replication/jobs/job_state.h"
#include "kvstore/base/mutant.h"

#include <stdlib.h>
#include <string.h>

#define HEAP_STEP                                                                                  \
    (112u * 1024u) /* less than what the heap gives back at once, or maps by itself                \
                    */

/* In this order: standings are workers', votes name workers, tasks lie in jobs. */
enum phase { PHASE_WORKERS, PHASE_STANDINGS, PHASE_JOBS, PHASE_TASKS };

static const enum job_key kind_of_phase[] = {JOB_KEY_WORKER, JOB_KEY_STANDING};

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
    if (jobs->view == NULL) {
        return KVP_NO_MEMORY;
    }
    jobs->salt = salt;
    jobs->random = seed;
    jobs->incarnation = (uint32_t)((seed * 0x9e3779b97f4a7c15u) >> 54);
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
    struct job *job = job_insert(jobs, id, &record);
    if (job == NULL) {
        return KVP_NO_MEMORY;
    }
    job->started_us = job->ended_us = job->aged_us = now_us;
    job->inherited = true;
    job->record.task_count = 0;
    if (record.spec.type == KVP_JOB_MATMUL) {
        job->grid = kvp_job_grid_of(&record.spec);
        status = record.task_count == 0 ? KVP_OK : job_prepare_tiles(jobs, job); /* not started */
    } else {
        status = job_reserve_tasks(job, record.task_count);
        jobs->task_total += status == KVP_OK ? record.task_count : 0;
        job->record.task_count = status == KVP_OK ? record.task_count : 0;
    }
    for (unsigned i = 0; i < record.kind_count; i++) {
        const char *kind = record.kinds[i].text;
        job->reserved = job->reserved || kvp_job_kind_is_reserved(kvp_slice_of(kind, strlen(kind)));
    }
    if (status == KVP_OK && job->record.task_count > 0) {
        memset(job->tasks, 0, job->record.task_count * sizeof(*job->tasks));
        jobs->unread++;
        share_join(jobs, job); /* its tasks are read when somebody may have one */
    }
    return status;
}

static void see_votes(struct kvp_jobs *jobs, struct task *task, const struct task_record *record)
{
    task->votes = (uint8_t)record->vote_count;
    for (unsigned i = 0; i < record->vote_count; i++) {
        const char *name = record->votes[i].worker;
        struct worker *worker = worker_find(jobs, kvp_slice_of(name, strlen(name)));
        if (worker != NULL) {
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
               ? !record.summed || job->outputs != NULL
               : record.kind < job->record.kind_count && !record.summed;
}

/* Who failed it: of a task that is over that is only evidence. */
static kvp_status load_faults(struct kvp_jobs *jobs, struct job *job, uint32_t number)
{
    struct faults_record faults;
    struct task *task = &job->tasks[number];
    if (task->lost == 0 || task->state > TASK_OPEN || KVP_MUTANT(JOB_FORGET_FAULTS)) {
        return KVP_OK;
    }
    kvp_status status = faults_read(jobs, job, number, &faults);
    bool any = faults.workers > 0 || faults.failed > 0 || faults.count > 0;
    return status == KVP_OK && any ? task_faults_load(task, &faults) : status;
}

static kvp_status load_task(struct kvp_jobs *jobs, struct job *job, uint32_t number,
                            kvp_slice value)
{
    struct task_record record;
    kvp_status status = task_record_decode(value, &record);
    if (status != KVP_OK) {
        return status;
    }
    if (!fits(job, number, record)) {
        return KVP_CORRUPT;
    }
    record.state = KVP_MUTANT(JOB_UNREAD) ? TASK_OPEN : record.state;
    status = job_reserve_edges(job, record.after_count);
    if (status != KVP_OK) {
        return status;
    }
    job_task_init(jobs, job, number, &record);
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
        job->failed += task->state == TASK_FAILED;
    }
    return load_faults(jobs, job, number);
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
    if (worker == NULL) {
        return KVP_NO_MEMORY;
    }
    worker->heard_us = jobs_heard_us(jobs, now_us); /* each has its time to show up */
    return KVP_OK;
}

static kvp_status load_standing(struct kvp_jobs *jobs, kvp_slice name, kvp_slice value)
{
    struct standing_record record;
    struct worker *worker = worker_find(jobs, name);
    kvp_status status = standing_record_decode(value, &record);
    if (status == KVP_OK && worker != NULL) {
        worker->standing = record;
    }
    return status;
}

static kvp_status load_one(struct kvp_jobs *jobs, uint64_t now_us)
{
    kvp_slice key, value, name;
    enum job_key kind;
    uint64_t job;
    uint32_t number;
    kvp_status status = kvp_state_view_read(jobs->view, &key, &value);
    if (status != KVP_OK) {
        return status;
    }
    status = job_key_split(key, &kind, &job, &number, &name);
    if (status == KVP_OK && kind == JOB_KEY_STANDING) {
        status = load_standing(jobs, name, value);
    } else if (status == KVP_OK) {
        status = load_worker(jobs, name, value, now_us);
    }
    kvp_state_view_next(jobs->view);
    return status;
}

/* ---- jobs ---- */

bool jobs_are_known(const struct kvp_jobs *jobs)
{
    return jobs->phase > PHASE_JOBS;
}

kvp_status job_look(struct kvp_jobs *jobs, uint64_t id, uint64_t now_us, struct job **job)
{
    struct kvp_raw_key key;
    *job = job_find(jobs, id);
    if (*job != NULL || jobs_are_known(jobs) || id < jobs->read_job ||
        KVP_MUTANT(JOB_NOT_LOOKED_FOR)) {
        return KVP_OK;
    }
    job_key_job(&key, id);
    jobs->value.size = 0;
    kvp_status status = job_get(jobs, &key, &jobs->value);
    if (status == KVP_OK) {
        status = load_job(jobs, id, kvp_buf_slice(&jobs->value), now_us);
        *job = job_find(jobs, id);
    }
    return status == KVP_NOT_FOUND ? KVP_OK : status;
}

/* The job that the view shows, if it is not there yet; KVP_NOT_FOUND behind the last one. */
static kvp_status load_next_job(struct kvp_jobs *jobs, uint64_t now_us, uint64_t *id)
{
    kvp_slice key, value, name;
    enum job_key kind;
    uint32_t number;
    kvp_status status = kvp_state_view_read(jobs->view, &key, &value);
    if (status == KVP_OK) {
        status = job_key_split(key, &kind, id, &number, &name);
    }
    if (status == KVP_OK && job_find(jobs, *id) == NULL) {
        status = load_job(jobs, *id, value, now_us);
    }
    if (status == KVP_OK) {
        kvp_state_view_next(jobs->view);
    }
    return status;
}

/* Jobs from `*from` on, which is where to go on then; KVP_NOT_FOUND when there are no more. */
static kvp_status load_jobs(struct kvp_jobs *jobs, uint64_t *from, size_t *budget, uint64_t now_us)
{
    static const uint8_t to[] = {KVP_PREFIX_JOB, JOB_KEY_JOB + 1};
    struct kvp_raw_key key;
    uint64_t id = 0;
    job_key_job(&key, *from);
    kvp_status status =
        kvp_state_view_seek(jobs->view, kvp_raw_key_slice(&key), kvp_slice_of(to, sizeof(to)));
    while (status == KVP_OK && *budget > 0) {
        status = load_next_job(jobs, now_us, &id);
        *from = status == KVP_OK ? id + 1 : *from;
        --*budget;
    }
    return status;
}

kvp_status jobs_read_page(struct kvp_jobs *jobs, uint64_t from, size_t count, uint64_t now_us)
{
    if (jobs_are_known(jobs)) {
        return KVP_OK;
    }
    kvp_status status = load_jobs(jobs, &from, &count, now_us);
    return status == KVP_NOT_FOUND ? KVP_OK : status;
}

/* ---- tasks ---- */

static kvp_status seek_task(struct kvp_jobs *jobs, const struct job *job)
{
    struct kvp_raw_key from, to;
    job_key_part(&from, JOB_KEY_TASK, job->id, job->read);
    job_key_part(&to, JOB_KEY_TASK, job->id + 1, 0);
    return kvp_state_view_seek(jobs->view, kvp_raw_key_slice(&from), kvp_raw_key_slice(&to));
}

/* No record for the next task. One of a product has none before something happened to it; a job
 * that is being removed loses them from the end on. */
static kvp_status load_gap(struct kvp_jobs *jobs, struct job *job, bool at_end)
{
    if (job->record.spec.type == KVP_JOB_MATMUL) {
        struct task_record record = {.state = TASK_OPEN, .copies = job->record.spec.copies};
        job_task_init(jobs, job, job->read++, &record);
        return KVP_OK;
    }
    if (!at_end) {
        return KVP_CORRUPT;
    }
    jobs->task_total -= job->record.task_count - job->read;
    job->record.task_count = job->read;
    return KVP_OK;
}

static kvp_status load_next(struct kvp_jobs *jobs, struct job *job)
{
    kvp_slice key, value, name;
    enum job_key kind;
    uint64_t id;
    uint32_t number = 0;
    kvp_status status = kvp_state_view_read(jobs->view, &key, &value);
    if (status == KVP_NOT_FOUND) {
        return load_gap(jobs, job, true);
    }
    if (status == KVP_OK) {
        status = job_key_split(key, &kind, &id, &number, &name);
    }
    if (status == KVP_OK && number != job->read) {
        return load_gap(jobs, job, false);
    }
    if (status == KVP_OK) {
        status = load_task(jobs, job, number, value);
    }
    if (status == KVP_OK) {
        job->read++;
        kvp_state_view_next(jobs->view);
    }
    return status;
}

/* A job has no more records of tasks than tasks. */
static kvp_status job_ends(const struct kvp_jobs *jobs)
{
    kvp_slice key, value;
    kvp_status status = kvp_state_view_read(jobs->view, &key, &value);
    return status == KVP_OK ? KVP_CORRUPT : status == KVP_NOT_FOUND ? KVP_OK : status;
}

/* Is everything in the index now? */
static void check_complete(struct kvp_jobs *jobs)
{
    jobs->busy = true;
    if (jobs->unread == 0 && jobs_are_known(jobs)) {
        kvp_jobs_release(jobs);
        jobs->check_us = 0; /* what waited for all of them */
    }
}

/* Memory for a step's records in one piece. In a thread like the loop's glibc's heap grows by
 * single pages otherwise, with a system call each, for which the other threads are stopped. */
static void heap_reserve(void)
{
    void *volatile reserve = malloc(HEAP_STEP);
    free(reserve);
}

kvp_status jobs_read(struct kvp_jobs *jobs, size_t *budget, uint64_t now_us)
{
    if (jobs_are_known(jobs)) {
        return KVP_OK;
    }
    heap_reserve();
    kvp_status status = load_jobs(jobs, &jobs->read_job, budget, now_us);
    jobs->work_available = true;
    if (status == KVP_NOT_FOUND) {
        jobs->phase++;
        jobs->read_job = 0;
        check_complete(jobs);
        status = KVP_OK;
    }
    return status;
}

bool kvp_jobs_reads(const struct kvp_jobs *jobs)
{
    return jobs->ready && jobs->view != NULL;
}

bool job_is_read(const struct job *job)
{
    return job->read >= job->record.task_count;
}

kvp_status job_read(struct kvp_jobs *jobs, struct job *job, uint32_t upto, size_t *budget)
{
    if (job_is_read(job) || job->read >= upto) {
        return KVP_OK;
    }
    kvp_status status = seek_task(jobs, job);
    while (status == KVP_OK && !job_is_read(job) && job->read<upto && * budget> 0) {
        status = load_next(jobs, job);
        --*budget;
    }
    if (status == KVP_OK && job_is_read(job)) {
        status = job_ends(jobs);
        jobs->unread--;
        check_complete(jobs);
    }
    return status;
}

/* Some of what nobody has asked for. */
static kvp_status load_tasks(struct kvp_jobs *jobs, size_t *budget)
{
    kvp_status status = KVP_OK;
    uint32_t place = job_place(jobs, jobs->read_job);
    while (status == KVP_OK && jobs->unread > 0 && *budget > 0 && place < jobs->job_count) {
        struct job *job = jobs->by_id[place];
        jobs->read_job = job->id;
        status = job_read(jobs, job, UINT32_MAX, budget);
        place += job_is_read(job);
    }
    return status;
}

/* ---- in steps ---- */

static kvp_status next_phase(struct kvp_jobs *jobs, uint64_t now_us)
{
    if (++jobs->phase < PHASE_JOBS) {
        return seek(jobs);
    }
    jobs->ready = jobs->work_available = true;
    jobs->ready_us = jobs_heard_us(jobs, now_us);
    return KVP_OK;
}

kvp_status kvp_jobs_load(struct kvp_jobs *jobs, size_t records, uint64_t now_us, bool *all)
{
    kvp_status status = KVP_OK;
    for (; records > 0 && jobs->started && !jobs->ready && status == KVP_OK; records--) {
        status = load_one(jobs, now_us);
        if (status == KVP_NOT_FOUND) {
            status = next_phase(jobs, now_us);
        }
    }
    if (status == KVP_OK && jobs->ready && jobs->view != NULL && records > 0) {
        status = jobs_read(jobs, &records, now_us);
    }
    if (status == KVP_OK && jobs->ready && jobs->view != NULL && records > 0) {
        status = load_tasks(jobs, &records);
    }
    *all = jobs->ready && jobs->view == NULL;
    return status;
}
