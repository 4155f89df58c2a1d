/* SPDX-License-Identifier: Apache-2.0 */
/* The job engine's frame: its index, records, and who does what. */
#include "replication/jobs/job_state.h"
#include "kvstore/base/mutant.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

/* ---- answers ---- */

kvp_status job_refuse(struct job_answer *answer, int status, const char *reason)
{
    answer->status = status;
    answer->result->size = 0;
    return reason != NULL ? kvp_wire_result_string(answer->result, reason) : KVP_OK;
}

kvp_status job_refuse_format(struct job_answer *answer, int status, const char *format, ...)
{
    char text[256];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    return job_refuse(answer, status, text);
}

kvp_status job_needs(struct kvp_jobs *jobs, struct job *job, uint32_t upto,
                     struct job_answer *answer, bool *good)
{
    size_t budget = (size_t)jobs->config.load_at_once * JOB_READ_STEPS;
    kvp_status status = job_read(jobs, job, upto, &budget);
    *good = job_is_read(job) || job->read >= upto;
    return status == KVP_OK && !*good
               ? job_refuse(answer, KVP_UNAVAILABLE, "the job is being read from the store")
               : status;
}

/* ---- the index ---- */

static kvp_status jobs_grow(void **array, uint32_t *capacity, uint32_t needed, size_t size)
{
    if (needed <= *capacity) {
        return KVP_OK;
    }
    uint32_t wanted = *capacity * 2 > needed ? *capacity * 2 : needed;
    void *grown = realloc(*array, (size_t)wanted * size);
    if (grown == NULL) {
        return KVP_NO_MEMORY;
    }
    *array = grown;
    *capacity = wanted;
    return KVP_OK;
}

static unsigned bucket_of_id(uint64_t id)
{
    return (unsigned)((id * 0x9e3779b97f4a7c15u) >> 32) % JOB_BUCKETS;
}

uint64_t worker_digest(const char *name, size_t size)
{
    return XXH3_64bits(name, size);
}

static unsigned bucket_of_digest(uint64_t digest)
{
    return (unsigned)(digest % JOB_BUCKETS);
}

struct job *job_find(const struct kvp_jobs *jobs, uint64_t id)
{
    struct job *job = jobs->buckets[bucket_of_id(id)];
    while (job != NULL && job->id != id) {
        job = job->bucket;
    }
    return job;
}

uint32_t job_place(const struct kvp_jobs *jobs, uint64_t id)
{
    uint32_t first = 0, end = jobs->job_count;
    while (first < end) {
        uint32_t middle = first + (end - first) / 2;
        if (jobs->by_id[middle]->id < id) {
            first = middle + 1;
        } else {
            end = middle;
        }
    }
    return first;
}

/* Ids grow with the log, so that a new one mostly is the last. There is room. */
static void job_enlist(struct kvp_jobs *jobs, struct job *job)
{
    uint32_t place = job_place(jobs, job->id);
    struct job **at = &jobs->by_id[place];
    memmove(at + 1, at, (jobs->job_count - place) * sizeof(struct job *));
    *at = job;
    jobs->job_count++;
}

static void job_delist(struct kvp_jobs *jobs, const struct job *job)
{
    struct job **at = &jobs->by_id[job_place(jobs, job->id)];
    assert(*at == job);
    jobs->job_count--;
    memmove(at, at + 1, (size_t)(&jobs->by_id[jobs->job_count] - at) * sizeof(struct job *));
}

struct worker *worker_find(const struct kvp_jobs *jobs, kvp_slice name)
{
    uint64_t digest = worker_digest(name.data, name.size);
    struct worker *worker = jobs->worker_buckets[bucket_of_digest(digest)];
    while (worker != NULL &&
           (strlen(worker->name) != name.size || memcmp(worker->name, name.data, name.size) != 0)) {
        worker = worker->next;
    }
    return worker;
}

struct worker *worker_known(const struct kvp_jobs *jobs, uint64_t digest)
{
    struct worker *worker = jobs->worker_buckets[bucket_of_digest(digest)];
    while (worker != NULL && worker->digest != digest) {
        worker = worker->next;
    }
    return worker;
}

void worker_heard(struct kvp_jobs *jobs, struct worker *worker, uint64_t now_us)
{
    if (worker_silent(worker, now_us)) {
        jobs->check_us = now_us; /* it was not counted on: a standby may be needed */
    }
    worker->heard_us = jobs_heard_us(jobs, now_us);
}

struct worker *worker_speaking(struct kvp_jobs *jobs, const struct kvp_request *request,
                               uint64_t now_us, struct job_answer *answer, kvp_status *status)
{
    struct worker *worker = worker_find(jobs, request->key);
    if (worker == NULL || worker->record.left || request->job.instance > worker->record.instance) {
        *status = job_refuse(answer, KVP_WORKER_UNKNOWN, NULL);
        return NULL;
    }
    if (request->job.instance < worker->record.instance && !KVP_MUTANT(JOB_FENCED_WORKER)) {
        *status = job_refuse(answer, KVP_WORKER_REPLACED, NULL);
        return NULL;
    }
    if (request->op != KVP_OP_TASK_BEAT) {
        worker_heard(jobs, worker, now_us); /* a beat is only worth what it is for */
    }
    *status = KVP_OK;
    return worker;
}

/* The last job of the same priority with a lower id; NULL: it is the first. */
static struct job *job_before(const struct kvp_jobs *jobs, const struct job *job)
{
    uint8_t priority = job->record.spec.priority;
    struct job *last = jobs->last[priority];
    if (last == NULL || last->id < job->id) {
        return last;
    }
    for (uint32_t place = job_place(jobs, job->id); place > 0; place--) {
        if (jobs->by_id[place - 1]->record.spec.priority == priority) {
            return jobs->by_id[place - 1];
        }
    }
    return NULL;
}

/* Jobs mostly come in the order of their ids, so that each is the last of its priority. */
void job_link(struct kvp_jobs *jobs, struct job *job)
{
    unsigned priority = job->record.spec.priority;
    struct job *previous = job_before(jobs, job);
    while (previous == NULL && priority++ < UINT8_MAX) {
        previous = jobs->last[priority];
    }
    struct job **link = previous != NULL ? &previous->next : &jobs->first;
    struct job **last = &jobs->last[job->record.spec.priority];
    job->next = *link;
    *link = job;
    *last = *last != NULL && (*last)->id > job->id ? *last : job;
}

void job_unlink(struct kvp_jobs *jobs, const struct job *job)
{
    struct job **link = &jobs->first, *previous = NULL;
    uint8_t priority = job->record.spec.priority;
    while (*link != job) {
        previous = *link;
        link = &previous->next;
    }
    *link = job->next;
    if (jobs->last[priority] == job) {
        bool same = previous != NULL && previous->record.spec.priority == priority;
        jobs->last[priority] = same ? previous : NULL;
    }
}

/* Room for all jobs, so that none is refused its turn. */
static kvp_status jobs_grow_turns(struct kvp_jobs *jobs)
{
    uint32_t capacity = jobs->turn_capacity, needed = jobs->job_count + 1;
    void *turns = jobs->turns, *heap = jobs->turn_heap;
    kvp_status status = jobs_grow(&heap, &capacity, needed, sizeof(struct job *));
    jobs->turn_heap = heap;
    if (status == KVP_OK) {
        status = jobs_grow(&turns, &jobs->turn_capacity, needed, sizeof(struct job *));
        jobs->turns = turns;
    }
    return status;
}

struct job *job_insert(struct kvp_jobs *jobs, uint64_t id, const struct job_record *record)
{
    void *by_id = jobs->by_id;
    kvp_status status =
        jobs_grow(&by_id, &jobs->by_id_capacity, jobs->job_count + 1, sizeof(struct job *));
    jobs->by_id = by_id;
    status = status == KVP_OK ? jobs_grow_turns(jobs) : status;
    struct job *job = status == KVP_OK ? calloc(1, sizeof(*job)) : NULL;
    if (job == NULL) {
        return NULL;
    }
    job->id = id;
    job->record = *record;
    job->queue_first = job->queue_last = job->sum_first = job->sum_last = JOB_NONE;
    job->too_large = job->turn_place = JOB_NONE;
    job_link(jobs, job);
    struct job **bucket = &jobs->buckets[bucket_of_id(id)];
    job->bucket = *bucket;
    *bucket = job;
    job_enlist(jobs, job);
    return job;
}

void job_forget(struct kvp_jobs *jobs, struct job *job)
{
    assert(jobs_are_known(jobs)); /* else it would be found in the view again */
    job_unlink(jobs, job);
    share_leave(jobs, job);
    struct job **link = &jobs->buckets[bucket_of_id(job->id)];
    while (*link != job) {
        link = &(*link)->bucket;
    }
    *link = job->bucket;
    job_delist(jobs, job);
    jobs->task_total -= job->record.task_count;
    job_free(job);
}

struct worker *worker_insert(struct kvp_jobs *jobs, const char *name,
                             const struct worker_record *record)
{
    struct worker *worker = calloc(1, sizeof(*worker));
    if (worker == NULL) {
        return NULL;
    }
    assert(jobs->worker_count < jobs->config.workers_max);
    memcpy(worker->name, name, strlen(name) + 1);
    worker->record = *record;
    worker->jobs = jobs;
    worker->digest = worker_digest(name, strlen(name));
    worker->index = (uint16_t)jobs->worker_count;
    jobs->workers[jobs->worker_count++] = worker;
    struct worker **bucket = &jobs->worker_buckets[bucket_of_digest(worker->digest)];
    worker->next = *bucket;
    *bucket = worker;
    return worker;
}

static void unlink_worker(struct kvp_jobs *jobs, struct worker *worker)
{
    struct worker **link = &jobs->worker_buckets[bucket_of_digest(worker->digest)];
    while (*link != worker) {
        link = &(*link)->next;
    }
    *link = worker->next;
}

/* Tasks know workers by their place in the table. */
static void renumber(struct kvp_jobs *jobs, const uint16_t *places)
{
    for (struct job *job = jobs->first; job != NULL; job = job->next) {
        for (uint32_t i = 0; i < job->record.task_count; i++) {
            struct task *task = &job->tasks[i];
            uint8_t kept = 0;
            for (uint8_t k = 0; k < task->seen_count; k++) {
                uint16_t place = places[task->seen[k]];
                if (place != UINT16_MAX) {
                    task->seen[kept++] = place;
                }
            }
            task->seen_count = kept;
        }
    }
}

kvp_status workers_purge(struct kvp_jobs *jobs,
                         bool (*may_go)(const struct worker *worker, uint64_t now_us),
                         uint64_t now_us)
{
    uint32_t kept = 0, count = jobs->worker_count, first = 0;
    while (first < count && !may_go(jobs->workers[first], now_us)) {
        first++;
    }
    if (first == count) {
        return KVP_OK; /* nobody: then the tasks need not be walked through */
    }
    uint16_t *places = calloc(count, sizeof(*places));
    kvp_status status = places != NULL ? KVP_OK : KVP_NO_MEMORY;
    for (uint32_t i = 0; i < count && status == KVP_OK; i++) {
        struct worker *worker = jobs->workers[i];
        if (may_go(worker, now_us)) {
            struct kvp_raw_key key;
            job_key_worker(&key, JOB_KEY_WORKER, worker->name);
            status = job_del(jobs, &key);
            if (status == KVP_OK && worker->standing.ever > 0) {
                job_key_worker(&key, JOB_KEY_STANDING, worker->name);
                status = job_del(jobs, &key);
            }
            unlink_worker(jobs, worker);
            worker_free(worker);
            places[i] = UINT16_MAX;
        } else {
            places[i] = worker->index = (uint16_t)kept;
            jobs->workers[kept++] = worker;
        }
    }
    if (status == KVP_OK) {
        jobs->worker_count = kept;
        renumber(jobs, places);
    }
    free(places);
    return status;
}

kvp_status job_reserve_tasks(struct job *job, uint32_t count)
{
    void *tasks = job->tasks;
    kvp_status status =
        jobs_grow(&tasks, &job->task_capacity, job->record.task_count + count, sizeof(*job->tasks));
    job->tasks = tasks;
    return status;
}

kvp_status job_reserve_edges(struct job *job, uint32_t count)
{
    void *edges = job->edges;
    kvp_status status =
        jobs_grow(&edges, &job->edge_capacity, job->edge_count + count, sizeof(*job->edges));
    job->edges = edges;
    return status;
}

void job_task_open(struct kvp_jobs *jobs, struct job *job, uint32_t number)
{
    job->waiting -= job->tasks[number].state == TASK_WAITING;
    job->tasks[number].state = TASK_OPEN;
    if (job->tasks[number].size > PAYLOAD_MAX) {
        job->tasks[number].next = job->too_large;
        job->too_large = number;
        jobs->busy = true;
    } else {
        queue_back(jobs, job, number);
    }
}

void job_task_feed(struct task *task, uint32_t size)
{
    if (task->feed) {
        task->size = task->size < UINT32_MAX - size ? task->size + size : UINT32_MAX;
    }
}

void job_task_init(struct kvp_jobs *jobs, struct job *job, uint32_t number,
                   struct task_record *record)
{
    struct task *task = &job->tasks[number];
    *task = (struct task){
        .next = JOB_NONE,
        .size = record->size,
        .edges = JOB_NONE,
        .state = record->state == TASK_WAITING ? TASK_OPEN : record->state,
        .kind = record->kind,
        .copies = record->copies,
        .lost = record->lost,
        .feed = record->feed,
        .dependent = record->after_count > 0,
    };
    for (uint32_t i = 0; i < record->after_count; i++) {
        uint32_t first = task_record_after(record);
        struct task *other = &job->tasks[first];
        if (other->state == TASK_DONE) {
            job_task_feed(task, other->result);
        } else {
            job->edges[job->edge_count] = (struct edge){number, other->edges};
            other->edges = job->edge_count++;
            task->after_left++;
        }
    }
    if (task->after_left > 0 && task->state == TASK_OPEN) {
        task->state = TASK_WAITING;
        job->waiting++;
    }
    if (task->state == TASK_OPEN) {
        job_task_open(jobs, job, number);
    }
}

kvp_status job_prepare_tiles(struct kvp_jobs *jobs, struct job *job)
{
    const struct kvp_job_spec *spec = &job->record.spec;
    job->grid = kvp_job_grid_of(spec);
    kvp_status status = job_reserve_tasks(job, job->grid.tasks);
    if (status == KVP_OK && job->grid.inner_tiles > 1) {
        job->outputs = calloc(job->grid.outputs, sizeof(*job->outputs));
        status = job->outputs != NULL ? KVP_OK : KVP_NO_MEMORY;
    }
    if (status != KVP_OK) {
        return status;
    }
    for (uint32_t i = 0; job->outputs != NULL && i < job->grid.outputs; i++) {
        job->outputs[i] = (struct output){job->grid.inner_tiles, JOB_NONE, false};
    }
    job->record.task_count = job->grid.tasks;
    jobs->task_total += job->grid.tasks;
    return KVP_OK;
}

kvp_status job_make_tiles(struct kvp_jobs *jobs, struct job *job)
{
    kvp_status status = job_prepare_tiles(jobs, job);
    while (status == KVP_OK && job->read < job->grid.tasks) {
        struct task_record record = {.state = TASK_OPEN, .copies = job->record.spec.copies};
        job_task_init(jobs, job, job->read++, &record);
    }
    return status;
}

/* ---- records ---- */

kvp_status job_get(struct kvp_jobs *jobs, const struct kvp_raw_key *key, kvp_buf *value)
{
    return jobs->store.get(jobs->store.arg, kvp_raw_key_slice(key), value);
}

kvp_status job_put(struct kvp_jobs *jobs, const struct kvp_raw_key *key, kvp_slice value)
{
    return jobs->store.put(jobs->store.arg, kvp_raw_key_slice(key), value);
}

kvp_status job_del(struct kvp_jobs *jobs, const struct kvp_raw_key *key)
{
    return jobs->store.del(jobs->store.arg, kvp_raw_key_slice(key));
}

kvp_status job_write(struct kvp_jobs *jobs, struct job *job)
{
    struct kvp_raw_key key;
    job_key_job(&key, job->id);
    jobs->scratch.size = 0;
    kvp_status status = job_record_encode(&job->record, &jobs->scratch);
    return status == KVP_OK ? job_put(jobs, &key, kvp_buf_slice(&jobs->scratch)) : status;
}

kvp_status worker_write(struct kvp_jobs *jobs, struct worker *worker)
{
    struct kvp_raw_key key;
    job_key_worker(&key, JOB_KEY_WORKER, worker->name);
    jobs->scratch.size = 0;
    kvp_status status = worker_record_encode(&worker->record, &jobs->scratch);
    return status == KVP_OK ? job_put(jobs, &key, kvp_buf_slice(&jobs->scratch)) : status;
}

kvp_status task_read(struct kvp_jobs *jobs, struct job *job, uint32_t number,
                     struct task_record *record)
{
    struct kvp_raw_key key;
    job_key_part(&key, JOB_KEY_TASK, job->id, number);
    jobs->value.size = 0;
    kvp_status status = job_get(jobs, &key, &jobs->value);
    if (status == KVP_NOT_FOUND && job->record.spec.type == KVP_JOB_MATMUL) {
        memset(record, 0, sizeof(*record));
        record->state = TASK_OPEN;
        record->copies = job->record.spec.copies;
        return KVP_OK;
    }
    if (status != KVP_OK) {
        return status == KVP_NOT_FOUND ? KVP_CORRUPT : status;
    }
    return task_record_decode(kvp_buf_slice(&jobs->value), record);
}

kvp_status task_write(struct kvp_jobs *jobs, struct job *job, uint32_t number,
                      const struct task_record *record)
{
    struct kvp_raw_key key;
    job_key_part(&key, JOB_KEY_TASK, job->id, number);
    jobs->scratch.size = 0;
    kvp_status status = task_record_encode(record, &jobs->scratch);
    return status == KVP_OK ? job_put(jobs, &key, kvp_buf_slice(&jobs->scratch)) : status;
}

/* ---- life ---- */

kvp_status kvp_jobs_open(const struct kvp_jobs_config *config, const struct kvp_jobs_store *store,
                         struct kvp_jobs **jobs)
{
    struct kvp_jobs *made = calloc(1, sizeof(*made));
    if (made == NULL) {
        return KVP_NO_MEMORY;
    }
    made->config = *config;
    made->config.jobs_max = config->jobs_max ? config->jobs_max : 4096;
    made->config.tasks_max = config->tasks_max ? config->tasks_max : 1u << 21;
    made->config.workers_max = config->workers_max ? config->workers_max : 1024;
    made->config.lost_votes_max = config->lost_votes_max ? config->lost_votes_max : 3;
    made->config.step_work = config->step_work ? config->step_work : STEP_WORK_MAX;
    made->config.verify_size_max =
        config->verify_size_max ? config->verify_size_max : VERIFY_SIZE_MAX;
    made->config.load_at_once = config->load_at_once ? config->load_at_once : KVP_JOBS_LOAD_AT_ONCE;
    made->store = *store;
    made->workers = calloc(made->config.workers_max, sizeof(struct worker *));
    if (made->workers == NULL) {
        free(made);
        return KVP_NO_MEMORY;
    }
    *jobs = made;
    return KVP_OK;
}

void kvp_jobs_close(struct kvp_jobs *jobs)
{
    if (jobs != NULL) {
        kvp_jobs_reset(jobs);
        free(jobs->workers);
        free(jobs->by_id);
        free(jobs->turns);
        free(jobs->turn_heap);
        free(jobs->backoffs);
        kvp_buf_free(&jobs->scratch);
        kvp_buf_free(&jobs->value);
        kvp_buf_free(&jobs->other);
        free(jobs);
    }
}

void kvp_jobs_release(struct kvp_jobs *jobs)
{
    kvp_state_view_close(jobs->view);
    jobs->view = NULL;
}

void kvp_jobs_reset(struct kvp_jobs *jobs)
{
    kvp_jobs_release(jobs);
    for (struct job *job = jobs->first, *next; job != NULL; job = next) {
        next = job->next;
        job_free(job);
    }
    for (uint32_t i = 0; i < jobs->worker_count; i++) {
        worker_free(jobs->workers[i]);
    }
    memset(jobs->buckets, 0, sizeof(jobs->buckets));
    memset(jobs->worker_buckets, 0, sizeof(jobs->worker_buckets));
    memset(jobs->last, 0, sizeof(jobs->last));
    memset(jobs->clocks_us, 0, sizeof(jobs->clocks_us));
    jobs->first = jobs->at_work = NULL;
    jobs->turn_count = 0;
    jobs->unread = 0;
    jobs->read_job = 0;
    jobs->fresh_jobs = 0;
    jobs->fresh_tasks = 0;
    jobs->deaf_us = jobs->unheard_us = 0;
    jobs->job_count = jobs->worker_count = 0;
    jobs->backoff_count = 0;
    jobs->task_total = 0;
    jobs->started = jobs->ready = jobs->work_available = jobs->busy = false;
}

bool kvp_jobs_work_available(struct kvp_jobs *jobs)
{
    bool work_available = jobs->work_available;
    jobs->work_available = false;
    return work_available;
}

/* ---- requests ---- */

kvp_status kvp_jobs_execute(struct kvp_jobs *jobs, const struct kvp_request *request,
                            kvp_slice asker, uint64_t seq, uint64_t now_us, int *status,
                            kvp_buf *answer)
{
    struct job_answer made = {KVP_OK, answer, asker};
    kvp_status result;
    if (!jobs->ready) {
        result = job_refuse(&made, KVP_UNAVAILABLE, "the jobs are being read from the store");
    } else {
        switch (request->op) {
        case KVP_OP_WORKER_JOIN:
        case KVP_OP_WORKER_LEAVE:
            result = job_worker_op(jobs, request, seq, now_us, &made);
            break;
        case KVP_OP_WORKER_SET:
            result = worker_set(jobs, request, now_us, &made);
            break;
        case KVP_OP_TASK_BEAT:
            result = job_beat(jobs, request, now_us, &made);
            break;
        case KVP_OP_TASK_POST:
            result = job_post(jobs, request, now_us, &made);
            break;
        case KVP_OP_JOB_INFO:
        case KVP_OP_JOB_RESULT:
        case KVP_OP_JOB_BLOCK:
            result = job_info(jobs, request, now_us, &made);
            break;
        default:
            result = job_submit(jobs, request, seq, now_us, &made);
            break;
        }
    }
    *status = made.status;
    return result;
}

/* ---- what is due ---- */

kvp_status kvp_jobs_step(struct kvp_jobs *jobs, uint64_t now_us, bool *more)
{
    bool did = false;
    *more = false;
    if (!jobs->ready) {
        return KVP_OK;
    }
    kvp_status status = KVP_OK;
    job_check_rests(jobs, now_us);
    if (now_us >= jobs->check_us) {
        status = job_check_attempts(jobs, now_us, &did);
        if (status == KVP_OK && !did) {
            status = job_check_workers(jobs, now_us, &did);
        }
        uint64_t next_us = job_check_times(jobs, now_us);
        jobs->check_us = did ? now_us : next_us < jobs->check_us ? next_us : jobs->check_us;
    }
    jobs->work = 0;
    if (status == KVP_OK && !did && jobs->busy) {
        status = job_finish_step(jobs, now_us, &did, more);
    }
    *more = (*more || did) && jobs->work < jobs->config.step_work / 2; /* else others first */
    return status;
}

uint64_t kvp_jobs_deadline(const struct kvp_jobs *jobs)
{
    if (!jobs->ready) {
        return jobs->started ? 0 : UINT64_MAX;
    }
    uint64_t rested_us = job_rests_due_us(jobs);
    return jobs->busy || jobs->view != NULL ? 0
           : rested_us < jobs->check_us     ? rested_us
                                            : jobs->check_us;
}
