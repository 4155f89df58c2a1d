/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The job engine's index in memory: is it sound at any moment, and is it what a new primary would
 * build from the store?
 */
#include "sim_ledger.h"

#include "replication/jobs/job_state.h"
#include "replication/node/exec_state.h"

#include <string.h>

#define DRAINED_US 1000000u /* so long ago a worker was drained */
#define SOON_US    60000u   /* an attempt is looked at that began so short ago */
#define HEARD_US   100000u  /* so much of a commit counts, whenever it was */

static struct kvp_jobs *engine_of(const struct sim_node *node)
{
    return kvp_engine_jobs(node->executor->engine);
}

bool sim_index_ready(const struct sim_node *node)
{
    return engine_of(node)->ready && engine_of(node)->view == NULL;
}

static void wrong(struct sim *sim, const struct job *job, uint32_t task, const char *what)
{
    sim_fail(sim, "index: job %llu (%s) task %u: %s", (unsigned long long)job->id,
             job->record.spec.name, task, what);
}

/* ---- at any moment ---- */

static unsigned attempts_at(const struct kvp_jobs *jobs, const struct job *job, uint32_t task,
                            const struct worker *worker)
{
    unsigned count = 0;
    for (uint32_t i = 0; i < jobs->worker_count; i++) {
        if (worker != NULL && jobs->workers[i] != worker) {
            continue;
        }
        for (const struct attempt *a = jobs->workers[i]->attempts; a != NULL; a = a->next) {
            count += a->job == job && a->task == task;
        }
    }
    return count;
}

static bool in_queue(const struct job *job, uint32_t task)
{
    uint32_t at = job->queue_first;
    for (uint32_t n = 0; at != JOB_NONE && at != task && n < job->record.task_count; n++) {
        at = job->tasks[at].next;
    }
    return at == task;
}

static void check_task(struct sim *sim, const struct kvp_jobs *jobs, const struct job *job,
                       uint32_t number)
{
    const struct task *task = &job->tasks[number];
    if (task->live != attempts_at(jobs, job, number, NULL)) {
        wrong(sim, job, number, "the number of its attempts is wrong");
    }
    if (task->queued != in_queue(job, number)) {
        wrong(sim, job, number, "it is in the queue, or not, and does not know");
    }
    if (job->record.state == JOB_RUNNING && task_needs(task) && !task->queued &&
        !task->backing_off) {
        wrong(sim, job, number, "it wants a worker, and is in no queue");
    }
    if ((task->state == TASK_WAITING) != (task->after_left > 0)) {
        wrong(sim, job, number, "it waits for nothing, or does not wait");
    }
    for (uint32_t i = 0; i < jobs->worker_count; i++) {
        if (attempts_at(jobs, job, number, jobs->workers[i]) > 1) {
            wrong(sim, job, number, "a worker has two copies of it");
        }
    }
}

static void check_job(struct sim *sim, const struct kvp_jobs *jobs, const struct job *job)
{
    uint32_t done = 0, failed = 0, live = 0, waiting = 0;
    for (uint32_t i = 0; i < job->record.task_count && !sim->failed; i++) {
        check_task(sim, jobs, job, i);
        done += job->tasks[i].state == TASK_DONE;
        failed += job->tasks[i].state == TASK_FAILED;
        live += job->tasks[i].live;
        waiting += job->tasks[i].state == TASK_WAITING;
    }
    if (done != job->done && job->record.state != JOB_REMOVING) {
        wrong(sim, job, 0, "the number of done tasks is wrong");
    }
    if (failed != job->failed && job->record.state != JOB_REMOVING) {
        wrong(sim, job, 0, "the number of failed tasks is wrong");
    }
    if (job->live > job->record.spec.max_running && job->record.spec.max_running > 0) {
        wrong(sim, job, 0, "more attempts are under way than it allows");
    }
    if (waiting != job->waiting && job->record.state != JOB_REMOVING) {
        wrong(sim, job, 0, "the number of waiting tasks is wrong");
    }
    if (live != job->live || (live > 0 && job->record.state != JOB_RUNNING)) {
        wrong(sim, job, 0, "the number of attempts is wrong");
    }
}

/* Was there surely somebody else when the attempt began? Who was heard of before it, and not too
 * long before, and has not gone since. By the clock of job_heard.c it began between since_us and
 * attempt->heard_us. */
static bool another_was_there(const struct sim *sim, const struct kvp_jobs *jobs,
                              const struct attempt *attempt)
{
    const struct task *task = &attempt->job->tasks[attempt->task];
    uint64_t began_us = attempt->started_us - jobs->unheard_us;
    uint64_t since_us = began_us < attempt->heard_us ? began_us : attempt->heard_us;
    for (uint32_t i = 0; i < jobs->worker_count; i++) {
        const struct worker *other = jobs->workers[i];
        bool there =
            other->heard_us + HEARD_US < since_us &&
            attempt->heard_us < other->heard_us + WORKER_SILENCE_US && !other->record.left &&
            !other->record.barred && other->returned == 0 &&
            sim->now_us > sim_worker_named(sim, other->name)->drained_until_us + DRAINED_US;
        if (there && !task_failed_by(task, other) &&
            task_suits(other, attempt->job, attempt->task)) {
            return true;
        }
    }
    return false;
}

/* A task that was failed goes to others first. Looked at soon after its beginning; those that an
 * earlier primary gave have no slot. */
static void check_attempt(struct sim *sim, const struct kvp_jobs *jobs, uint64_t node_us,
                          const struct worker *worker, const struct attempt *attempt)
{
    const struct task *task = &attempt->job->tasks[attempt->task];
    if (attempt->slot != UINT32_MAX && node_us <= attempt->started_us + SOON_US &&
        task_failed_by(task, worker) && another_was_there(sim, jobs, attempt)) {
        wrong(sim, attempt->job, attempt->task, "it returned to a worker that failed it");
    }
}

static void check_worker(struct sim *sim, const struct kvp_jobs *jobs, uint64_t node_us,
                         const struct worker *worker)
{
    unsigned count = 0;
    for (const struct attempt *a = worker->attempts; a != NULL; a = a->next) {
        count++;
        check_attempt(sim, jobs, node_us, worker, a);
        for (const struct attempt *b = a->next; b != NULL; b = b->next) {
            if (a->slot == b->slot && a->slot != UINT32_MAX) {
                sim_fail(sim, "index: worker %s has two tasks in slot %u", worker->name, a->slot);
            }
        }
    }
    if (count != worker->attempt_count) {
        sim_fail(sim, "index: worker %s has %u tasks, not %u", worker->name, count,
                 worker->attempt_count);
    }
    if (count > 0 && (worker->record.left || worker->record.barred)) {
        sim_fail(sim, "index: worker %s is out, and has a task", worker->name);
    }
}

/* What holds memory beyond the index: of one job at a time, and no more than is allowed. */
static void check_work(struct sim *sim, const struct kvp_jobs *jobs)
{
    const struct job *at_work = NULL;
    for (const struct job *job = jobs->first; job != NULL && !sim->failed; job = job->next) {
        if (job->verify == NULL && job->recheck == NULL && job->sum.data == NULL) {
            continue;
        }
        if (at_work != NULL || job != jobs->at_work) {
            wrong(sim, job, 0, "it is summed up or verified beside another one");
        }
        at_work = job;
        uint64_t size = 0;
        const struct kvp_job_spec *spec = &job->record.spec;
        struct kvp_verify_config config = {spec->element, spec->rows, spec->inner, spec->columns,
                                           spec->rounds};
        if (job->verify != NULL &&
            (kvp_verify_memory(&config, &size) != KVP_OK || size > jobs->config.verify_size_max)) {
            wrong(sim, job, 0, "its verification takes too much memory");
        }
    }
}

void sim_index_check(struct sim *sim, struct sim_node *node)
{
    const struct kvp_jobs *jobs = engine_of(node);
    if (!sim_index_ready(node)) {
        return;
    }
    for (const struct job *job = jobs->first; job != NULL && !sim->failed; job = job->next) {
        check_job(sim, jobs, job);
    }
    check_work(sim, jobs);
    for (uint32_t i = 0; i < jobs->worker_count && !sim->failed; i++) {
        check_worker(sim, jobs, sim_node_clock(sim, node), jobs->workers[i]);
    }
}

/* ---- against a fresh one ---- */

static kvp_status read_store(void *arg, kvp_slice key, kvp_buf *value)
{
    return kvp_storage_get(arg, key, value);
}

static void compare_task(struct sim *sim, const struct job *job, const struct job *fresh,
                         uint32_t number)
{
    const struct task *a = &job->tasks[number], *b = &fresh->tasks[number];
    if (a->state != b->state || a->votes != b->votes || a->copies != b->copies ||
        a->lost != b->lost || a->size != b->size || a->result != b->result || a->kind != b->kind ||
        a->feed != b->feed || a->after_left != b->after_left) {
        wrong(sim, job, number, "it is another one in the store");
    }
    uint32_t workers = a->faults != NULL ? a->faults->workers : 0;
    if (job->record.state == JOB_RUNNING &&
        workers != (b->faults != NULL ? b->faults->workers : 0)) {
        wrong(sim, job, number, "other workers have failed it in the store");
    }
}

static void compare_job(struct sim *sim, const struct job *job, const struct job *fresh)
{
    if (job->record.state != fresh->record.state ||
        job->record.task_count != fresh->record.task_count ||
        job->record.blocks != fresh->record.blocks || job->done != fresh->done ||
        job->redone != fresh->redone || job->failed != fresh->failed ||
        job->record.paused != fresh->record.paused ||
        job->record.spec.max_running != fresh->record.spec.max_running ||
        job->record.spec.priority != fresh->record.spec.priority || job->summed != fresh->summed) {
        wrong(sim, job, 0, "the job is another one in the store");
    }
    for (uint32_t i = 0; i < job->record.task_count && !sim->failed; i++) {
        compare_task(sim, job, fresh, i);
    }
    for (uint32_t i = 0; job->outputs != NULL && i < job->grid.outputs && !sim->failed; i++) {
        if (job->outputs[i].parts_left != fresh->outputs[i].parts_left ||
            job->outputs[i].summed != fresh->outputs[i].summed) {
            wrong(sim, job, i, "a block of the product is another one in the store");
        }
    }
}

static void compare_all(struct sim *sim, const struct kvp_jobs *jobs, const struct kvp_jobs *fresh)
{
    if (jobs->job_count != fresh->job_count || jobs->task_total != fresh->task_total ||
        jobs->worker_count != fresh->worker_count) {
        sim_fail(sim, "index: %u jobs, %llu tasks, %u workers; in the store %u, %llu, %u",
                 jobs->job_count, (unsigned long long)jobs->task_total, jobs->worker_count,
                 fresh->job_count, (unsigned long long)fresh->task_total, fresh->worker_count);
    }
    for (const struct job *job = jobs->first; job != NULL && !sim->failed; job = job->next) {
        const struct job *other = job_find(fresh, job->id);
        if (other == NULL) {
            wrong(sim, job, 0, "the store does not have the job");
        } else {
            compare_job(sim, job, other);
        }
    }
    for (uint32_t i = 0; i < jobs->worker_count && !sim->failed; i++) {
        const struct worker *worker = jobs->workers[i];
        const struct worker *other =
            worker_find(fresh, kvp_slice_of(worker->name, strlen(worker->name)));
        if (other == NULL || other->record.instance != worker->record.instance ||
            other->record.active != worker->record.active ||
            other->record.left != worker->record.left ||
            other->record.drained != worker->record.drained ||
            other->record.barred != worker->record.barred ||
            other->record.lost_votes != worker->record.lost_votes ||
            other->standing.faults != worker->standing.faults ||
            other->standing.ever != worker->standing.ever) {
            sim_fail(sim, "index: worker %s is another one in the store", worker->name);
        }
    }
}

void sim_index_compare(struct sim *sim, struct sim_node *node)
{
    const struct kvp_jobs_config config = {0};
    const struct kvp_jobs_store store = {.arg = node->storage, .get = read_store};
    struct kvp_jobs *fresh = NULL;
    bool ready = false;
    kvp_status status = kvp_jobs_open(&config, &store, &fresh);
    if (status == KVP_OK) {
        status = kvp_jobs_start(fresh, node->storage, 0, 0, 0);
    }
    if (status == KVP_OK) {
        status = kvp_jobs_load(fresh, SIZE_MAX, 0, &ready);
    }
    if (status != KVP_OK || !ready) {
        sim_fail(sim, "index: the jobs of node %u cannot be read: %s", node->id,
                 kvp_strerror(status));
    } else {
        compare_all(sim, engine_of(node), fresh);
    }
    kvp_jobs_close(fresh);
}
