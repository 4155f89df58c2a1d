/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From the last task to the end of a job: sums over the inner dimension, verification of the whole
 * product, and, when its time is over, removal. Each step is bounded: one block, or some hundred
 * keys. What has been summed up is in the store; a verification begins anew with a new primary.
 */
#include "jobs/job_state.h"
#include "jobs/matrix.h"
#include "jobs/matrix_multiply.h"
#include "replication/mutant.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REMOVE_AT_ONCE    256u
#define UPLOAD_KEEP_US    3600000000u /* a job that nobody goes on uploading */

/* ---- a task is done ---- */

static void free_waiting(struct kvp_jobs *jobs, struct job *job, uint32_t number)
{
    struct task *done = &job->tasks[number];
    for (uint32_t i = done->edges; i != JOB_NONE; i = job->edges[i].next) {
        struct task *task = &job->tasks[job->edges[i].task];
        job_task_feed(task, done->result);
        if (KVP_MUTANT(JOB_FREE_EARLY)) {
            task->after_left = 1;
        }
        if (--task->after_left == 0 && task->state == TASK_WAITING) {
            job_task_open(jobs, job, job->edges[i].task);
        }
    }
    done->edges = JOB_NONE;
}

void job_note_done(struct kvp_jobs *jobs, struct job *job, uint32_t number, uint32_t size)
{
    struct task *task = &job->tasks[number];
    task->state = TASK_DONE;
    task->result = size;
    job->done++;
    jobs->busy = true;
    free_waiting(jobs, job, number);
    if (!job->outputs) {
        return;
    }
    uint32_t place = number / job->grid.inner_tiles;
    struct output *output = &job->outputs[place];
    if (--output->parts_left > 0 || output->summed) {
        return;
    }
    output->next = JOB_NONE;
    if (job->sum_last == JOB_NONE) {
        job->sum_first = place;
    } else {
        job->outputs[job->sum_last].next = place;
    }
    job->sum_last = place;
}

kvp_status job_result_key(struct kvp_jobs *jobs, struct job *job, uint32_t number,
                          struct kvp_raw_key *key)
{
    struct task_record record;
    if (job->outputs) {
        job_key_part(key, JOB_KEY_SUM, job->id, number);
        return number < job->grid.outputs && job->outputs[number].summed ? KVP_OK : KVP_NOT_FOUND;
    }
    if (number >= job->record.task_count || job->tasks[number].state != TASK_DONE) {
        return KVP_NOT_FOUND;
    }
    kvp_status status = task_read(jobs, job, number, &record);
    if (status == KVP_OK) {
        job_key_result(key, job->id, number, record.winner);
    }
    return status;
}

/* ---- sums ---- */

/* Adds the result of a task to jobs->other (or makes it that), and deletes it. */
static kvp_status add_part(struct kvp_jobs *jobs, struct job *job, uint32_t number, bool first)
{
    struct task_record record;
    struct kvp_raw_key key;
    kvp_buf *sum = &jobs->other;
    kvp_status status = task_read(jobs, job, number, &record);
    if (status != KVP_OK) {
        return status;
    }
    job_key_result(&key, job->id, number, record.winner);
    kvp_buf *to = first ? sum : &jobs->value;
    to->size = 0;
    status = job_get(jobs, &key, to);
    if (status == KVP_NOT_FOUND || (status == KVP_OK && !first && to->size != sum->size)) {
        status = KVP_CORRUPT;
    }
    if (status == KVP_OK && !first) {
        uint8_t element = job->record.spec.element;
        status = kvp_matrix_add(element, sum->size / kvp_matrix_element_size(element), sum->data,
                                to->data);
    }
    return status;
}

static kvp_status delete_parts(struct kvp_jobs *jobs, struct job *job, uint32_t first)
{
    struct task_record record;
    struct kvp_raw_key key;
    kvp_status status = KVP_OK;
    for (uint32_t k = 0; k < job->grid.inner_tiles && status == KVP_OK; k++) {
        status = task_read(jobs, job, first + k, &record);
        if (status == KVP_OK) {
            job_key_result(&key, job->id, first + k, record.winner);
            status = job_del(jobs, &key);
        }
        if (status == KVP_OK && k == 0) {
            record.summed = true;
            status = task_write(jobs, job, first, &record);
        }
    }
    return status;
}

static kvp_status sum_up(struct kvp_jobs *jobs, struct job *job, uint64_t now_us)
{
    uint32_t place = job->sum_first, first = place * job->grid.inner_tiles;
    struct kvp_raw_key key;
    kvp_status status = KVP_OK;
    for (uint32_t k = 0; k < job->grid.inner_tiles && status == KVP_OK; k++) {
        status = add_part(jobs, job, first + k, k == 0);
    }
    if (status == KVP_OVERFLOW) {
        char text[JOB_REASON_MAX];
        (void)snprintf(text, sizeof(text), "block %u: a sum does not fit the type of the elements",
                       place);
        return job_end(jobs, job, JOB_FAILED, text, now_us);
    }
    if (status == KVP_OK) {
        job_key_part(&key, JOB_KEY_SUM, job->id, place);
        status = job_put(jobs, &key, kvp_buf_slice(&jobs->other));
    }
    if (status == KVP_OK) {
        status = delete_parts(jobs, job, first);
    }
    if (status == KVP_OK) {
        job->outputs[place].summed = true;
        job->summed++;
        job->sum_first = job->outputs[place].next;
        job->sum_last = job->sum_first == JOB_NONE ? JOB_NONE : job->sum_last;
    }
    return status;
}

/* ---- verification ---- */

static struct kvp_block block_of(struct kvp_job_block block)
{
    return (struct kvp_block){block.row, block.column, block.rows, block.columns};
}

static kvp_status read_input(struct kvp_jobs *jobs, struct job *job, uint32_t number, kvp_buf *to)
{
    struct kvp_raw_key key;
    job_key_part(&key, JOB_KEY_PAYLOAD, job->id, number);
    to->size = 0;
    kvp_status status = job_get(jobs, &key, to);
    return status == KVP_NOT_FOUND ? KVP_CORRUPT : status;
}

static kvp_status read_output(struct kvp_jobs *jobs, struct job *job, uint32_t number, kvp_buf *to)
{
    struct kvp_raw_key key;
    kvp_status status = job_result_key(jobs, job, number, &key);
    to->size = 0;
    if (status == KVP_OK) {
        status = job_get(jobs, &key, to);
    }
    return status == KVP_NOT_FOUND ? KVP_CORRUPT : status;
}

static kvp_status begin_freivalds(struct kvp_jobs *jobs, struct job *job)
{
    const struct kvp_job_spec *spec = &job->record.spec;
    struct kvp_verify_config config = {
        .type = spec->element,
        .rows = spec->rows,
        .inner = spec->inner,
        .cols = spec->columns,
        .rounds = spec->rounds,
        .seed = jobs->random ^ job->id,
    };
    uint32_t of_a = job->grid.row_tiles * job->grid.inner_tiles;
    job->verify_total = job->grid.inputs + job->grid.outputs;
    job->verify_next = of_a; /* B, then C, then A */
    return kvp_verify_new(&config, &job->verify);
}

/* The order is B, C, A: `verify_next` counts B's numbers from that of its first block on. */
static kvp_status feed_freivalds(struct kvp_jobs *jobs, struct job *job)
{
    const struct kvp_job_spec *spec = &job->record.spec;
    uint32_t of_a = job->grid.row_tiles * job->grid.inner_tiles, at = job->verify_next;
    bool is_b;
    kvp_status status;
    if (at < job->grid.inputs) {
        struct kvp_block block = block_of(kvp_job_input(spec, at, &is_b));
        status = read_input(jobs, job, at, &jobs->other);
        return status == KVP_OK
                   ? kvp_verify_feed_b(job->verify, &block, kvp_buf_slice(&jobs->other))
                   : status;
    }
    at -= job->grid.inputs;
    if (at < job->grid.outputs) {
        struct kvp_block block = block_of(kvp_job_output(spec, at));
        status = read_output(jobs, job, at, &jobs->other);
        return status == KVP_OK
                   ? kvp_verify_feed_c(job->verify, &block, kvp_buf_slice(&jobs->other))
                   : status;
    }
    at -= job->grid.outputs;
    if (at >= of_a) {
        return KVP_NOT_FOUND;
    }
    struct kvp_block block = block_of(kvp_job_input(spec, at, &is_b));
    status = read_input(jobs, job, at, &jobs->other);
    return status == KVP_OK ? kvp_verify_feed_a(job->verify, &block, kvp_buf_slice(&jobs->other))
                            : status;
}

static kvp_status fail_verification(struct kvp_jobs *jobs, struct job *job, uint64_t row,
                                    uint64_t now_us)
{
    char text[JOB_REASON_MAX];
    (void)snprintf(text, sizeof(text), "verification failed: row %llu of the product is wrong",
                   (unsigned long long)row);
    return job_end(jobs, job, JOB_FAILED, text, now_us);
}

static kvp_status step_freivalds(struct kvp_jobs *jobs, struct job *job, uint64_t now_us,
                                 bool *did)
{
    kvp_status status = job->verify ? KVP_OK : begin_freivalds(jobs, job);
    if (status == KVP_OK) {
        status = feed_freivalds(jobs, job);
    }
    if (status == KVP_OK) {
        job->verify_next++;
    }
    if (status != KVP_NOT_FOUND) {
        return status;
    }
    uint64_t row = 0;
    *did = true;
    status = kvp_verify_finish(job->verify, &row);
    if (status == KVP_CORRUPT) {
        return fail_verification(jobs, job, row, now_us);
    }
    return status == KVP_OK ? job_end(jobs, job, JOB_DONE, "", now_us) : status;
}

static kvp_status step_verify(struct kvp_jobs *jobs, struct job *job, uint64_t now_us, bool *did)
{
    return job->record.spec.verify == KVP_VERIFY_RECOMPUTE
               ? job_step_recompute(jobs, job, now_us, did)
               : step_freivalds(jobs, job, now_us, did);
}

/* ---- removal ---- */

static kvp_status remove_some(struct kvp_jobs *jobs, struct job *job)
{
    struct kvp_raw_key key;
    kvp_status status = KVP_OK;
    uint32_t tasks = job->record.task_count, end = tasks;
    if (job->record.spec.type == KVP_JOB_MATMUL) {
        end = tasks > job->grid.inputs ? tasks : job->grid.inputs;
    }
    for (unsigned n = 0; n < REMOVE_AT_ONCE && job->remove_next < end && status == KVP_OK; n++) {
        uint32_t number = job->remove_next++;
        static const enum job_key kinds[] = {JOB_KEY_PAYLOAD, JOB_KEY_SUM, JOB_KEY_CHECKPOINT};
        size_t count = sizeof(kinds) / sizeof(kinds[0]) - (KVP_MUTANT(JOB_LEFTOVERS) ? 1 : 0);
        for (size_t i = 0; i < count && status == KVP_OK; i++) {
            job_key_part(&key, kinds[i], job->id, number);
            status = job_del(jobs, &key);
        }
        if (number < tasks && job->tasks[number].lost > 0 && status == KVP_OK) {
            job_key_part(&key, JOB_KEY_FAULTS, job->id, number);
            status = job_del(jobs, &key);
        }
        unsigned votes = number < tasks ? job->tasks[number].votes : 0;
        for (unsigned i = 0; i < votes && status == KVP_OK; i++) {
            job_key_result(&key, job->id, number, (uint8_t)i);
            status = job_del(jobs, &key);
        }
    }
    return status;
}

/* Records of tasks go last and from the end on: whoever builds the index anew in between finds
 * tasks 0 to n without a gap. */
static kvp_status remove_records(struct kvp_jobs *jobs, struct job *job, bool *gone)
{
    struct kvp_raw_key key;
    kvp_status status = KVP_OK;
    for (unsigned n = 0; n < REMOVE_AT_ONCE && job->record.task_count > 0 && status == KVP_OK;
         n++) {
        uint32_t number = --job->record.task_count;
        task_faults_drop(&job->tasks[number]);
        job_key_part(&key, JOB_KEY_TASK, job->id, number);
        jobs->task_total--;
        status = job_del(jobs, &key);
    }
    *gone = status == KVP_OK && job->record.task_count == 0;
    if (*gone) {
        job_key_job(&key, job->id);
        status = job_del(jobs, &key);
    }
    return status;
}

static kvp_status step_remove(struct kvp_jobs *jobs, struct job *job)
{
    uint32_t before = job->remove_next;
    bool gone = false;
    kvp_status status = remove_some(jobs, job);
    if (status == KVP_OK && job->remove_next == before) {
        status = remove_records(jobs, job, &gone);
    }
    if (status == KVP_OK && gone) {
        job_forget(jobs, job);
    }
    return status;
}

static uint64_t expires_us(const struct job *job)
{
    switch (job->record.state) {
    case JOB_UPLOADING:
        return job->started_us + UPLOAD_KEEP_US;
    case JOB_DONE:
    case JOB_FAILED:
    case JOB_CANCELLED:
        return job->ended_us + (uint64_t)job->record.spec.keep_s * 1000000u;
    default:
        return UINT64_MAX;
    }
}

static bool expired(const struct job *job, uint64_t now_us)
{
    return now_us >= expires_us(job);
}

uint64_t job_check_times(struct kvp_jobs *jobs, uint64_t now_us)
{
    uint64_t next_us = UINT64_MAX;
    for (struct job *job = jobs->first; job; job = job->next) {
        uint64_t due_us = expires_us(job);
        if (job->record.state == JOB_RUNNING && !job->released) {
            due_us = job->started_us + (uint64_t)job->record.spec.delay_ms * 1000;
            job->released = now_us >= due_us;
            jobs->stirred = jobs->stirred || job->released;
        }
        jobs->busy = jobs->busy || now_us >= due_us;
        next_us = due_us > now_us && due_us < next_us ? due_us : next_us;
    }
    return next_us;
}

kvp_status job_remove(struct kvp_jobs *jobs, struct job *job)
{
    jobs->busy = true;
    job->record.state = JOB_REMOVING;
    job->remove_next = 0;
    return job_write(jobs, job);
}

/* ---- steps ---- */

static bool complete(const struct job *job)
{
    return job->record.state == JOB_RUNNING && job->done == job->record.task_count &&
           (!job->outputs || job->summed == job->grid.outputs);
}

static kvp_status step_complete(struct kvp_jobs *jobs, struct job *job, uint64_t now_us)
{
    attempts_drop(jobs, job);
    if (job->record.spec.verify == KVP_VERIFY_NONE || KVP_MUTANT(JOB_NO_VERIFY)) {
        return job_end(jobs, job, JOB_DONE, "", now_us);
    }
    job->record.state = JOB_VERIFYING;
    return job_write(jobs, job);
}

static kvp_status fail_too_large(struct kvp_jobs *jobs, struct job *job, uint64_t now_us)
{
    char text[JOB_REASON_MAX];
    (void)snprintf(text, sizeof(text), "task %u: with what it is fed it has more than 8 MiB",
                   job->too_large);
    return job_end(jobs, job, JOB_FAILED, text, now_us);
}

/* Who has such a kind takes the task for one of a product, and gives it back at once. */
static kvp_status fail_reserved(struct kvp_jobs *jobs, struct job *job, uint64_t now_us)
{
    return job_end(jobs, job, JOB_FAILED,
                   "a kind of its tasks is reserved for products of matrices", now_us);
}

static bool has_step(const struct job *job, uint64_t now_us)
{
    bool running = job->record.state == JOB_RUNNING;
    return (running &&
            (job->sum_first != JOB_NONE || job->too_large != JOB_NONE || job->reserved)) ||
           complete(job) ||
           job->record.state == JOB_VERIFYING || job->record.state == JOB_REMOVING ||
           expired(job, now_us);
}

/* *did: something was written. A step of a verification writes nothing. */
kvp_status job_finish_step(struct kvp_jobs *jobs, uint64_t now_us, bool *did, bool *more)
{
    for (struct job *job = jobs->first; job; job = job->next) {
        if (!has_step(job, now_us)) {
            continue;
        }
        *more = true;
        *did = job->record.state != JOB_VERIFYING;
        if (job->record.state == JOB_VERIFYING) {
            return step_verify(jobs, job, now_us, did);
        }
        if (job->record.state == JOB_REMOVING) {
            return step_remove(jobs, job);
        }
        if (job->record.state == JOB_RUNNING && job->too_large != JOB_NONE) {
            return fail_too_large(jobs, job, now_us);
        }
        if (job->record.state == JOB_RUNNING && job->reserved) {
            return fail_reserved(jobs, job, now_us);
        }
        if (complete(job)) {
            return step_complete(jobs, job, now_us);
        }
        return expired(job, now_us) ? job_remove(jobs, job) : sum_up(jobs, job, now_us);
    }
    jobs->busy = false;
    return KVP_OK;
}
