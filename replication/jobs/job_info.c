/* SPDX-License-Identifier: Apache-2.0 */
/* What jobs, tasks and workers look like from outside; results. */
#include "replication/jobs/job_state.h"
#include "kvpair/matrix.h"
#include "kvstore/base/utf8.h"

#include <assert.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "replication/wire/mp_writer.h"

#define JOBS_AT_ONCE    256u
#define TASKS_AT_ONCE   256u
#define WORKERS_AT_ONCE 1024u
#define DEAD_LOOK_MAX   65536u

static const char *const state_names[] = {
    "uploading", "running",   "verifying", "done",
    "failed",    "cancelled", "removing",  "done-with-failures"};
static const char *const task_names[] = {"waiting", "open", "done", "failed"};

static void put_number(struct kvp_mp_writer *writer, const char *key, uint64_t value)
{
    kvp_mp_write_text(writer, key);
    kvp_mp_write_uint(writer, value);
}

/* Versions before this one have stored text that is not UTF-8. */
static void put_clean(struct kvp_mp_writer *writer, const char *text)
{
    char clean[JOB_REASON_MAX + 1];
    (void)kvp_utf8_copy(clean, sizeof(clean), kvp_slice_of(text, strlen(text)));
    kvp_mp_write_text(writer, clean);
}

static void put_text(struct kvp_mp_writer *writer, const char *key, const char *value)
{
    kvp_mp_write_text(writer, key);
    put_clean(writer, value);
}

static void info_put_bool(struct kvp_mp_writer *writer, const char *key, bool value)
{
    kvp_mp_write_text(writer, key);
    kvp_mp_write_bool(writer, value);
}

/* ---- jobs ---- */

static uint32_t verified_permille(const struct job *job)
{
    if (job->record.state == JOB_DONE && job->record.spec.verify != KVP_VERIFY_NONE) {
        return 1000;
    }
    if (job->verify_total == 0 || job->record.state != JOB_VERIFYING) {
        return 0;
    }
    uint32_t from = job->verify != NULL ? job->grid.row_tiles * job->grid.inner_tiles : 0;
    return (uint32_t)((uint64_t)(job->verify_next - from) * 1000 / job->verify_total);
}

static void put_matmul(struct kvp_mp_writer *writer, const struct job *job)
{
    const struct kvp_job_spec *spec = &job->record.spec;
    put_text(writer, "element", kvp_matrix_type_name(spec->element));
    put_number(writer, "rows", spec->rows);
    put_number(writer, "inner", spec->inner);
    put_number(writer, "columns", spec->columns);
    put_number(writer, "tile_rows", spec->tile_rows);
    put_number(writer, "tile_inner", spec->tile_inner);
    put_number(writer, "tile_columns", spec->tile_columns);
    put_number(writer, "inputs", job->grid.inputs);
    put_number(writer, "uploaded", job->record.blocks);
    put_number(writer, "outputs", job->grid.outputs);
    put_number(writer, "combined", job->outputs != NULL ? job->summed : job->done);
    put_number(writer, "verified", verified_permille(job));
}

/* ---- what a job lacks ---- */

#define LOOK_TASKS 256u /* at the front of the queue */

static bool worker_is_there(const struct worker *worker, uint64_t now_us)
{
    return worker->record.active && !worker_gone(worker, now_us);
}

static unsigned count_able(const struct kvp_jobs *jobs, const struct job *job, uint32_t number,
                           uint64_t now_us)
{
    unsigned count = 0;
    for (uint32_t i = 0; i < jobs->worker_count; i++) {
        const struct worker *worker = jobs->workers[i];
        count += worker_is_there(worker, now_us) && task_fits(worker, job, number);
    }
    return count;
}

/* Of the first task of each kind that waits for a worker: can as many active ones do it as it
 * wants? */
static void job_lacks(const struct kvp_jobs *jobs, const struct job *job, uint64_t now_us,
                      char *text, size_t size)
{
    uint32_t seen = 0; /* kinds, as bits: there are 16 at most */
    bool runs = job->record.state == JOB_RUNNING;
    text[0] = '\0';
    if (runs && (job->record.paused || job_is_full(job))) {
        (void)snprintf(text, size, "%s",
                       job->record.paused ? "it is paused"
                                          : "as many attempts are under way as may be");
    }
    uint32_t number = runs ? job->queue_first : JOB_NONE;
    for (unsigned n = 0; n < LOOK_TASKS && number != JOB_NONE && text[0] == '\0'; n++) {
        const struct task *task = &job->tasks[number];
        uint32_t bit = UINT32_C(1) << task->kind;
        unsigned able = seen & bit ? UINT_MAX : count_able(jobs, job, number, now_us);
        const char *kind = job->record.spec.type == KVP_JOB_MATMUL
                               ? KVP_JOB_MATMUL_KIND
                               : job->record.kinds[task->kind].text;
        if (able == 0) {
            (void)snprintf(text, size,
                           "no active worker can do task %u: its kind is %s, its size %zu bytes",
                           number, kind, task_bytes(job, number));
        } else if (able < task->copies) {
            (void)snprintf(
                text, size,
                "task %u, of the kind %s, wants %u different workers; %u active can do it", number,
                kind, task->copies, able);
        }
        seen |= bit;
        number = task->next;
    }
}

static void put_lacks(struct kvp_mp_writer *writer, const struct kvp_jobs *jobs,
                      const struct job *job, uint64_t now_us)
{
    char text[JOB_REASON_MAX];
    job_lacks(jobs, job, now_us, text, sizeof(text));
    put_text(writer, "lacks", text);
}

/* `jobs`: NULL in lists, which do not tell what the jobs lack. */
static void put_job(struct kvp_mp_writer *writer, const struct kvp_jobs *jobs,
                    const struct job *job, uint64_t now_us)
{
    const struct kvp_job_spec *spec = &job->record.spec;
    bool matmul = spec->type == KVP_JOB_MATMUL;
    uint64_t end_us = job->record.state > JOB_VERIFYING ? job->ended_us : now_us;
    kvp_mp_write_map(writer, (matmul ? 24u + 12u : 24u) + (jobs != NULL));
    put_number(writer, "id", job->id);
    put_text(writer, "name", spec->name);
    put_text(writer, "type", matmul ? "matmul" : "tasks");
    put_text(writer, "state", state_names[job->record.state]);
    put_text(writer, "reason", job->record.reason);
    put_number(writer, "tasks", job->record.task_count);
    put_number(writer, "done", job->done);
    put_number(writer, "failed", job->failed);
    put_number(writer, "running", job->live);
    put_number(writer, "waiting", job->waiting);
    put_number(writer, "redone", job->redone);
    put_number(writer, "disagreements", job->disagreed);
    put_number(writer, "late", job->late);
    put_number(writer, "copies", spec->copies);
    put_number(writer, "quorum", spec->quorum);
    put_number(writer, "copies_max", spec->copies_max);
    put_number(writer, "priority", spec->priority);
    put_number(writer, "verify", spec->verify);
    put_text(writer, "key", job->record.key);
    put_text(writer, "on_failure",
             spec->on_failure == KVP_ON_FAILURE_CONTINUE ? "continue" : "stop");
    info_put_bool(writer, "paused", job->record.paused);
    put_number(writer, "max_running", spec->max_running);
    put_number(writer, "expires_s", spec->expires_s);
    put_number(writer, "elapsed_ms", (end_us - job->started_us) / 1000);
    if (jobs != NULL) {
        put_lacks(writer, jobs, job, now_us);
    }
    if (matmul) {
        put_matmul(writer, job);
    }
}

/* All jobs of a page, and the one behind it, have been read, or the answer is set. */
static kvp_status page_needs(struct kvp_jobs *jobs, uint64_t from, uint64_t now_us,
                             struct job_answer *answer, bool *good)
{
    kvp_status status = jobs_read_page(jobs, from, JOBS_AT_ONCE + 1, now_us);
    uint32_t first = job_place(jobs, from), left = jobs->job_count - first;
    uint32_t count = left < JOBS_AT_ONCE ? left : JOBS_AT_ONCE;
    size_t budget = (size_t)jobs->config.load_at_once * JOB_READ_STEPS;
    *good = true;
    for (uint32_t i = first; i < first + count && status == KVP_OK && *good; i++) {
        status = job_read(jobs, jobs->by_id[i], UINT32_MAX, &budget);
        *good = job_is_read(jobs->by_id[i]);
    }
    return status == KVP_OK && !*good
               ? job_refuse(answer, KVP_UNAVAILABLE, "the jobs are being read from the store")
               : status;
}

static void list_jobs(struct kvp_jobs *jobs, uint64_t from, uint64_t now_us,
                      struct kvp_mp_writer *writer)
{
    uint32_t first = job_place(jobs, from), left = jobs->job_count - first;
    uint32_t count = left < JOBS_AT_ONCE ? left : JOBS_AT_ONCE;
    kvp_mp_write_array(writer, 2);
    kvp_mp_write_uint(writer, count < left ? jobs->by_id[first + count]->id : 0);
    kvp_mp_write_array(writer, count);
    for (uint32_t i = first; i < first + count; i++) {
        put_job(writer, NULL, jobs->by_id[i], now_us);
    }
}

/* ---- tasks ---- */

/* An attempt under way at a task of the page, and the next at the same task. */
struct shown {
    const struct attempt *attempt;
    const struct worker *worker;
    uint32_t next;
};

/* The attempts under way at tasks `first` to `end`: found by one walk over what the workers have,
 * and not by one for each task. */
struct page {
    uint32_t first, end;
    uint32_t heads[TASKS_AT_ONCE];
    uint32_t count;
    struct shown *shown;
};

static uint32_t page_attempts(const struct job *job, const struct page *page)
{
    uint32_t count = 0;
    for (uint32_t i = page->first; i < page->end; i++) {
        count += job->tasks[i].live;
    }
    return count;
}

static kvp_status page_open(const struct kvp_jobs *jobs, const struct job *job, struct page *page)
{
    uint32_t expected = page_attempts(job, page);
    for (uint32_t i = 0; i < TASKS_AT_ONCE; i++) {
        page->heads[i] = JOB_NONE;
    }
    page->shown = expected > 0 ? calloc(expected, sizeof(*page->shown)) : NULL;
    if (page->shown == NULL) {
        return expected > 0 ? KVP_NO_MEMORY : KVP_OK;
    }
    for (uint32_t i = 0; i < jobs->worker_count && page->count < expected; i++) {
        const struct worker *worker = jobs->workers[i];
        for (const struct attempt *a = worker->attempts; a != NULL; a = a->next) {
            if (a->job == job && a->task >= page->first && a->task < page->end &&
                page->count < expected) {
                uint32_t *head = &page->heads[a->task - page->first];
                page->shown[page->count] = (struct shown){a, worker, *head};
                *head = page->count++;
            }
        }
    }
    return KVP_OK;
}

static void put_running(struct kvp_mp_writer *writer, const struct page *page, uint32_t number,
                        uint64_t now_us)
{
    uint32_t head = page->heads[number - page->first], count = 0;
    for (uint32_t i = head; i != JOB_NONE; i = page->shown[i].next) {
        count++;
    }
    kvp_mp_write_text(writer, "running");
    kvp_mp_write_array(writer, count);
    for (uint32_t i = head; i != JOB_NONE; i = page->shown[i].next) {
        const struct shown *shown = &page->shown[i];
        kvp_mp_write_map(writer, 3);
        put_text(writer, "worker", shown->worker->name);
        put_number(writer, "progress", shown->attempt->progress);
        put_number(writer, "ms", (now_us - shown->attempt->started_us) / 1000);
    }
}

static void put_votes(struct kvp_mp_writer *writer, const struct task_record *record)
{
    kvp_mp_write_text(writer, "results");
    kvp_mp_write_array(writer, record->vote_count);
    for (unsigned i = 0; i < record->vote_count; i++) {
        const struct job_vote *vote = &record->votes[i];
        char digest[20];
        (void)snprintf(digest, sizeof(digest), "%016" PRIx64, vote->digest);
        kvp_mp_write_map(writer, 5);
        put_text(writer, "worker", vote->worker);
        info_put_bool(writer, "agreed", vote->agreed);
        info_put_bool(writer, "overflow", vote->outcome == KVP_OUTCOME_OVERFLOW);
        put_number(writer, "size", vote->size);
        put_text(writer, "digest", digest);
    }
}

static void put_faults(struct kvp_mp_writer *writer, const struct faults_record *faults)
{
    kvp_mp_write_text(writer, "faults");
    kvp_mp_write_array(writer, faults->count);
    for (unsigned i = 0; i < faults->count; i++) {
        kvp_mp_write_map(writer, 3);
        put_text(writer, "worker", faults->by[i].worker);
        put_number(writer, "failed", faults->by[i].failed);
        put_number(writer, "lost", faults->by[i].lost);
    }
}

static kvp_status info_put_task(struct kvp_jobs *jobs, struct job *job, const struct page *page,
                                uint32_t number, uint64_t now_us, struct kvp_mp_writer *writer)
{
    struct task_record record;
    struct faults_record faults = {0};
    const struct task *task = &job->tasks[number];
    kvp_status status = task->lost > 0 ? faults_read(jobs, job, number, &faults) : KVP_OK;
    if (status == KVP_OK) {
        status = task_read(jobs, job, number, &record);
    }
    if (status != KVP_OK) {
        return status;
    }
    kvp_mp_write_map(writer, 10);
    put_number(writer, "task", number);
    put_text(writer, "state", task_names[task->state]);
    put_number(writer, "copies", task->copies);
    put_number(writer, "votes", record.vote_count);
    put_number(writer, "lost", record.lost);
    put_number(writer, "failed", faults.failed);
    put_text(writer, "reason", record.reason);
    put_faults(writer, &faults);
    put_votes(writer, &record);
    put_running(writer, page, number, now_us);
    return KVP_OK;
}

static kvp_status list_tasks(struct kvp_jobs *jobs, struct job *job, uint64_t from, uint64_t now_us,
                             struct kvp_mp_writer *writer)
{
    uint32_t count = job->record.task_count;
    uint32_t first = from < count ? (uint32_t)from : count;
    uint32_t end = count - first > TASKS_AT_ONCE ? first + TASKS_AT_ONCE : count;
    struct page page = {.first = first, .end = end};
    kvp_status status = page_open(jobs, job, &page);
    kvp_mp_write_array(writer, 2);
    kvp_mp_write_uint(writer, end < count ? end : 0);
    kvp_mp_write_array(writer, end - first);
    for (uint32_t i = first; i < end && status == KVP_OK; i++) {
        status = info_put_task(jobs, job, &page, i, now_us, writer);
    }
    free(page.shown);
    return status;
}

/* Those that have failed, from `from` on. */
static kvp_status list_dead(struct kvp_jobs *jobs, struct job *job, uint64_t from, uint64_t now_us,
                            struct kvp_mp_writer *writer)
{
    uint32_t numbers[TASKS_AT_ONCE], count = 0, looks = DEAD_LOOK_MAX, all = job->record.task_count;
    uint32_t number = from < all ? (uint32_t)from : all;
    struct page page = {.first = 0, .end = 0};
    kvp_status status = page_open(jobs, job, &page);
    while (count < TASKS_AT_ONCE) {
        number = job_next_dead(job, number, &looks);
        if (number == all || looks == 0) {
            break;
        }
        numbers[count++] = number++;
    }
    kvp_mp_write_array(writer, 2);
    kvp_mp_write_uint(writer, number < all ? number : 0);
    kvp_mp_write_array(writer, count);
    for (uint32_t i = 0; i < count && status == KVP_OK; i++) {
        page.first = numbers[i]; /* nobody works on it: the page is empty */
        status = info_put_task(jobs, job, &page, numbers[i], now_us, writer);
    }
    return status;
}

/* ---- workers ---- */

static const char *worker_state(const struct worker *worker, uint64_t now_us)
{
    if (worker->record.barred) {
        return "barred";
    }
    if (worker->record.left) {
        return "left";
    }
    if (worker->record.drained) {
        return worker->attempt_count > 0 ? "draining" : "drained";
    }
    if (worker_silent(worker, now_us)) {
        return "lost";
    }
    if (!worker->record.active) {
        return "standby";
    }
    return worker_on_probation(worker) ? "probation" : "active";
}

static void put_worker(struct kvp_mp_writer *writer, const struct worker *worker, uint64_t now_us)
{
    kvp_mp_write_map(writer, 10);
    put_text(writer, "name", worker->name);
    put_text(writer, "state", worker_state(worker, now_us));
    kvp_mp_write_text(writer, "kinds");
    kvp_mp_write_array(writer, worker->record.kind_count);
    for (unsigned i = 0; i < worker->record.kind_count; i++) {
        put_clean(writer, worker->record.kinds[i].text);
    }
    put_number(writer, "buffer", worker->record.buffer);
    put_number(writer, "tasks", worker->attempt_count);
    put_number(writer, "done", worker->done);
    put_number(writer, "lost_votes", worker->record.lost_votes);
    put_number(writer, "faults", worker->standing.faults);
    put_text(writer, "reason", worker->standing.faults > 0 ? worker->standing.reason : "");
    put_number(writer, "silent_ms", jobs_silent_us(worker->jobs, worker->heard_us, now_us) / 1000);
}

static void list_workers(const struct kvp_jobs *jobs, uint64_t from, uint64_t now_us,
                         struct kvp_mp_writer *writer)
{
    uint32_t first = from < jobs->worker_count ? (uint32_t)from : jobs->worker_count;
    uint32_t left = jobs->worker_count - first;
    uint32_t count = left > WORKERS_AT_ONCE ? WORKERS_AT_ONCE : left;
    kvp_mp_write_array(writer, 2);
    kvp_mp_write_uint(writer, count < left ? first + count : 0);
    kvp_mp_write_array(writer, count);
    for (uint32_t i = first; i < first + count; i++) {
        put_worker(writer, jobs->workers[i], now_us);
    }
}

/* ---- results ---- */

static kvp_status info_read_result(struct kvp_jobs *jobs, struct job *job, uint64_t number,
                                   struct job_answer *answer)
{
    struct kvp_raw_key key;
    uint32_t count = job->outputs != NULL ? job->grid.outputs : job->record.task_count;
    if (number >= count) {
        return job_refuse(answer, KVP_NO_SUCH_JOB, "the job has no such result");
    }
    bool open = job->record.spec.type == KVP_JOB_MATMUL && job->record.state != JOB_DONE;
    kvp_status status = open ? KVP_NOT_FOUND : job_result_key(jobs, job, (uint32_t)number, &key);
    jobs->other.size = 0;
    if (status == KVP_OK) {
        status = job_get(jobs, &key, &jobs->other);
    }
    if (status == KVP_NOT_FOUND) {
        return job_refuse(answer, KVP_JOB_STATE, "the result is not there");
    }
    return status == KVP_OK ? kvp_wire_result_bin(answer->result, kvp_buf_slice(&jobs->other))
                            : status;
}

static kvp_status read_input(struct kvp_jobs *jobs, struct job *job, uint64_t number,
                             struct job_answer *answer)
{
    struct kvp_raw_key key;
    if (job->record.spec.type != KVP_JOB_MATMUL || number >= job->grid.inputs) {
        return job_refuse(answer, KVP_NO_SUCH_JOB, "the job has no such block");
    }
    job_key_part(&key, JOB_KEY_PAYLOAD, job->id, (uint32_t)number);
    jobs->other.size = 0;
    kvp_status status = job_get(jobs, &key, &jobs->other);
    if (status == KVP_NOT_FOUND) {
        return job_refuse(answer, KVP_JOB_STATE, "the block is not there");
    }
    return status == KVP_OK ? kvp_wire_result_bin(answer->result, kvp_buf_slice(&jobs->other))
                            : status;
}

/* ---- how many there are ---- */

const char *kvp_jobs_state_name(unsigned state)
{
    return state < KVP_JOBS_STATES ? state_names[state] : "";
}

static void count_worker(struct kvp_jobs_counts *counts, const struct worker *worker,
                         uint64_t now_us)
{
    if (worker->record.barred) {
        counts->barred++;
    } else if (!worker->record.left && worker_silent(worker, now_us)) {
        counts->silent++;
    } else if (!worker->record.left) {
        counts->active += worker->record.active;
        counts->standby += !worker->record.active;
    }
}

/* Tasks that nobody works on, that wait for no others and have not failed. A task that is done
 * while copies of it are still under way is taken and done. */
static uint32_t job_queued(const struct job *job)
{
    uint32_t rest = job->record.task_count - job->done - job->failed - job->waiting;
    return job->record.state == JOB_RUNNING && rest > job->taken ? rest - job->taken : 0;
}

struct kvp_jobs_counts kvp_jobs_count(const struct kvp_jobs *jobs, uint64_t now_us)
{
    struct kvp_jobs_counts counts = {0};
    static_assert(sizeof(state_names) / sizeof(state_names[0]) == KVP_JOBS_STATES, "all of them");
    for (const struct job *job = jobs->first; job != NULL; job = job->next) {
        counts.jobs[job->record.state]++;
        counts.queued += job_queued(job);
        counts.running += job->live;
        counts.blocked += job->waiting;
        counts.done += job->done;
    }
    for (uint32_t i = 0; i < jobs->worker_count; i++) {
        count_worker(&counts, jobs->workers[i], now_us);
    }
    return counts;
}

kvp_status job_info(struct kvp_jobs *jobs, const struct kvp_request *request, uint64_t now_us,
                    struct job_answer *answer)
{
    const struct kvp_job_args *args = &request->job;
    bool about_job = request->op != KVP_OP_JOB_INFO || args->what == KVP_INFO_JOB ||
                     args->what == KVP_INFO_TASKS || args->what == KVP_INFO_DEAD;
    struct job *job = NULL;
    bool good = true;
    kvp_status status = about_job ? job_look(jobs, args->job, now_us, &job) : KVP_OK;
    if (status == KVP_OK && about_job && job == NULL) {
        return job_refuse(answer, KVP_NO_SUCH_JOB, NULL);
    }
    if (status == KVP_OK && about_job) {
        status = job_needs(jobs, job, UINT32_MAX, answer, &good);
    } else if (status == KVP_OK && args->what == KVP_INFO_JOBS) {
        status = page_needs(jobs, args->number, now_us, answer, &good);
    }
    if (status != KVP_OK || !good) {
        return status;
    }
    if (request->op == KVP_OP_JOB_RESULT) {
        return info_read_result(jobs, job, args->number, answer);
    }
    if (request->op == KVP_OP_JOB_BLOCK) {
        return read_input(jobs, job, args->number, answer);
    }
    struct kvp_mp_writer writer;
    kvp_mp_write_begin(&writer, answer->result);
    switch (args->what) {
    case KVP_INFO_JOBS:
        list_jobs(jobs, args->number, now_us, &writer);
        break;
    case KVP_INFO_JOB:
        put_job(&writer, jobs, job, now_us);
        break;
    case KVP_INFO_TASKS:
        status = list_tasks(jobs, job, args->number, now_us, &writer);
        break;
    case KVP_INFO_DEAD:
        status = list_dead(jobs, job, args->number, now_us, &writer);
        break;
    case KVP_INFO_WORKERS:
        list_workers(jobs, args->number, now_us, &writer);
        break;
    default:
        return job_refuse(answer, KVP_BAD_REQUEST, "unknown kind of information");
    }
    kvp_status end = kvp_mp_write_end(&writer);
    return status == KVP_OK ? end : status;
}
