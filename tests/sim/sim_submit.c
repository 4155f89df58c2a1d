/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Submitters: each makes its jobs one after the other, fills and starts them, sometimes cancels
 * one, looks until it has ended, and reads its results. No step is given up; one whose session has
 * been dropped is looked into, and repeated if need be.
 */
#include "sim_jobs.h"

#include "replication/wire/mp_reader.h"

#include <stdlib.h>
#include <string.h>

#define THINK_US 700000u
#define LOOK_US  400000u

enum step { MAKE, FILL, START, START_OTHER, WATCH, SAY, UNDO, RETRY, CANCEL, READ, NEXT };

/* What JOB_INFO says about a job. */
struct info {
    char state[24];
    uint64_t tasks, done, uploaded;
};

static void step_in(struct sim *sim, struct sim_submitter *submitter, enum step step,
                    uint64_t delay_us)
{
    submitter->step = step;
    sim_job_timer(sim, SIM_TIMER_SUBMITTER, submitter->index, &submitter->timer, delay_us);
}

static bool is(kvp_slice text, const char *word)
{
    return text.size == strlen(word) && memcmp(text.data, word, text.size) == 0;
}

static bool read_info(kvp_slice result, struct info *info)
{
    struct kvp_mp_reader reader;
    memset(info, 0, sizeof(*info));
    kvp_mp_begin(&reader, result);
    uint32_t count = kvp_mp_map(&reader);
    for (uint32_t i = 0; i < count; i++) {
        kvp_slice key = kvp_mp_str(&reader);
        if (is(key, "state")) {
            kvp_slice text = kvp_mp_str(&reader);
            memcpy(info->state, text.data, text.size < 23 ? text.size : 23);
        } else if (is(key, "tasks")) {
            info->tasks = kvp_mp_uint(&reader);
        } else if (is(key, "done")) {
            info->done = kvp_mp_uint(&reader);
        } else if (is(key, "uploaded")) {
            info->uploaded = kvp_mp_uint(&reader);
        } else {
            (void)kvp_mp_skip(&reader);
        }
    }
    return kvp_mp_done(&reader);
}

static void unexpected(struct sim *sim, const struct sim_submitter *submitter, int status)
{
    sim_fail(sim, "submitter %u: %s at step %u of job %u (%llu)", submitter->index,
             kvp_strerror(status), submitter->step, submitter->job->index,
             (unsigned long long)submitter->job->id);
}

static void ask(struct sim *sim, struct sim_submitter *submitter, unsigned op, kvp_slice value,
                uint64_t number, sim_done *done)
{
    struct kvp_request request = {.op = op, .value = value};
    request.job.job = sim_flow_about(submitter);
    request.job.number = number;
    request.job.what = KVP_INFO_JOB;
    sim_call(sim, &submitter->call, &request, done, submitter);
}

/* ---- making ---- */

/* With a key, the job and whether it was made. */
static bool read_made(kvp_slice result, const struct sim_job *job, uint64_t *id)
{
    struct kvp_mp_reader reader;
    if (job->spec.key == NULL) {
        return kvp_wire_read_uint(result, id) == KVP_OK;
    }
    kvp_mp_begin(&reader, result);
    kvp_mp_array_of(&reader, 2);
    *id = kvp_mp_uint(&reader);
    (void)kvp_mp_bool(&reader);
    return kvp_mp_done(&reader);
}

static void on_made(struct sim *sim, void *arg, int status, kvp_slice result)
{
    struct sim_submitter *submitter = arg;
    uint64_t id = 0;
    bool large = status == KVP_TOO_LARGE && submitter->job->spec.verify == KVP_VERIFY_FREIVALDS;
    if (status == KVP_SESSION_EXPIRED) {
        step_in(sim, submitter, MAKE, 0); /* there may be a job that nobody fills */
    } else if (large && sim->plan.jobs.load_at_once > 0) {
        submitter->job->spec.verify = KVP_VERIFY_RECOMPUTE; /* it takes less memory */
        step_in(sim, submitter, MAKE, 0);
    } else if (status != KVP_OK || !read_made(result, submitter->job, &id)) {
        unexpected(sim, submitter, status);
    } else if (submitter->job->doubled && submitter->job->id == 0) {
        submitter->job->id = id;
        submitter->other_filled = submitter->on_other = false;
        step_in(sim, submitter, MAKE, sim_flow_below(sim, 20000));
    } else {
        submitter->job->other = submitter->job->doubled ? id : 0;
        submitter->job->id = submitter->job->doubled ? submitter->job->id : id;
        sim_trace(sim, "job %u is %llu", submitter->job->index,
                  (unsigned long long)submitter->job->id);
        submitter->filled = 0;
        step_in(sim, submitter, FILL, sim_jobs_below(sim, 20000));
    }
}

static void make(struct sim *sim, struct sim_submitter *submitter)
{
    kvp_buf spec = {0};
    if (kvp_job_spec_encode(&submitter->job->spec, &spec) != KVP_OK) {
        abort();
    }
    ask(sim, submitter, KVP_OP_JOB_NEW, kvp_buf_slice(&spec), 0, on_made);
    kvp_buf_free(&spec);
}

/* ---- filling ---- */

static void after_fill(struct sim *sim, struct sim_submitter *submitter, uint32_t filled,
                       uint32_t all)
{
    submitter->filled = filled;
    if (filled < all) {
        step_in(sim, submitter, FILL, sim_jobs_below(sim, 20000));
    } else if (submitter->job->other != 0 && !submitter->other_filled) {
        submitter->other_filled = submitter->on_other = true;
        submitter->filled = 0;
        step_in(sim, submitter, FILL, sim_jobs_below(sim, 20000));
    } else {
        submitter->on_other = false;
        step_in(sim, submitter, submitter->job->abandon ? NEXT : START, 0);
    }
}

static uint32_t parts(const struct sim_job *job)
{
    return job->spec.type == KVP_JOB_MATMUL ? kvp_job_grid_of(&job->spec).inputs : job->task_count;
}

/* How far has it come? */
static void on_filled_info(struct sim *sim, void *arg, int status, kvp_slice result)
{
    struct sim_submitter *submitter = arg;
    struct info info;
    if (status != KVP_OK || !read_info(result, &info)) {
        unexpected(sim, submitter, status);
        return;
    }
    bool tasks = submitter->job->spec.type == KVP_JOB_TASKS;
    after_fill(sim, submitter, tasks ? (uint32_t)info.tasks : 0, parts(submitter->job));
}

static void on_filled(struct sim *sim, void *arg, int status, kvp_slice result)
{
    struct sim_submitter *submitter = arg;
    (void)result;
    if (status == KVP_SESSION_EXPIRED) {
        ask(sim, submitter, KVP_OP_JOB_INFO, (kvp_slice){0}, 0, on_filled_info);
    } else if (status != KVP_OK) {
        unexpected(sim, submitter, status);
    } else {
        after_fill(sim, submitter, submitter->upto, parts(submitter->job));
    }
}

static void send_tasks(struct sim *sim, struct sim_submitter *submitter)
{
    static const char *const kinds[] = {"k0", "k1", "k2"};
    struct sim_job *job = submitter->job;
    uint32_t first = submitter->filled, left = job->task_count - first;
    uint32_t count = 1 + (uint32_t)sim_jobs_below(sim, left);
    kvp_buf tasks = {0};
    kvp_status status = kvp_job_tasks_open(&tasks, count);
    for (uint32_t i = first; i < first + count && status == KVP_OK; i++) {
        const struct sim_task *task = &job->tasks[i];
        status = kvp_job_tasks_put(&tasks, kvp_slice_of(kinds[task->kind], 2), task->after,
                                   task->after_count, task->feed, kvp_buf_slice(&task->payload));
    }
    if (status != KVP_OK) {
        abort();
    }
    submitter->upto = first + count;
    ask(sim, submitter, KVP_OP_JOB_TASKS, kvp_buf_slice(&tasks), first, on_filled);
    kvp_buf_free(&tasks);
}

static void send_block(struct sim *sim, struct sim_submitter *submitter)
{
    kvp_buf block = {0};
    sim_job_input(submitter->job, submitter->filled, &block);
    submitter->upto = submitter->filled + 1;
    ask(sim, submitter, KVP_OP_JOB_DATA, kvp_buf_slice(&block), submitter->filled, on_filled);
    kvp_buf_free(&block);
}

/* ---- starting, cancelling ---- */

/* The one is started, or was; so the other one is not. */
static void on_other_started(struct sim *sim, void *arg, int status, kvp_slice result)
{
    struct sim_submitter *submitter = arg;
    uint64_t id = 0;
    submitter->on_other = false;
    if (status == KVP_SESSION_EXPIRED) {
        step_in(sim, submitter, START_OTHER, 0);
        return;
    }
    bool gone = sim->plan.jobs.short_keep; /* and the key free again */
    bool told = status == KVP_OK && read_made(result, submitter->job, &id);
    if (told && id != submitter->job->id && !gone) {
        sim_fail(sim, "job %u is %llu, and %llu under the same key", submitter->job->index,
                 (unsigned long long)submitter->job->id, (unsigned long long)id);
    } else if (!told && status != KVP_NO_SUCH_JOB) {
        unexpected(sim, submitter, status);
    } else {
        submitter->job->id = told ? id : submitter->job->id;
        step_in(sim, submitter, WATCH, 0);
    }
}

static void on_started(struct sim *sim, void *arg, int status, kvp_slice result)
{
    struct sim_submitter *submitter = arg;
    (void)result;
    if (status == KVP_SESSION_EXPIRED) {
        step_in(sim, submitter, START, 0);
    } else if (status != KVP_OK && status != KVP_JOB_STATE &&
               !(status == KVP_NO_SUCH_JOB && sim->plan.jobs.short_keep)) {
        unexpected(sim, submitter, status);
    } else {
        submitter->job->start_acked = true;
        step_in(sim, submitter, WATCH, sim_exponential(&sim->jobs->random, LOOK_US));
        if (submitter->job->other != 0) {
            step_in(sim, submitter, START_OTHER, sim_flow_below(sim, 2000000));
        } else if (submitter->job->cancel_us) {
            step_in(sim, submitter, CANCEL, submitter->job->cancel_us);
        }
    }
}

static void on_cancelled(struct sim *sim, void *arg, int status, kvp_slice result)
{
    struct sim_submitter *submitter = arg;
    (void)result;
    if (status == KVP_SESSION_EXPIRED) {
        step_in(sim, submitter, CANCEL, 0);
    } else if (status != KVP_OK && status != KVP_JOB_STATE &&
               !(status == KVP_NO_SUCH_JOB && sim->plan.jobs.short_keep)) {
        unexpected(sim, submitter, status);
    } else {
        step_in(sim, submitter, WATCH, 0);
    }
}

/* ---- what else is said ---- */

static void on_undone(struct sim *sim, void *arg, int status, kvp_slice result)
{
    struct sim_submitter *submitter = arg;
    (void)result;
    if (status == KVP_SESSION_EXPIRED) {
        step_in(sim, submitter, UNDO, 0);
    } else if (status != KVP_OK && status != KVP_NOT_FOUND) {
        unexpected(sim, submitter, status);
    } else {
        sim_flow_mark(sim, submitter, false);
        submitter->drained[0] = '\0';
        step_in(sim, submitter, WATCH, 0);
    }
}

static void on_said(struct sim *sim, void *arg, int status, kvp_slice result)
{
    struct sim_submitter *submitter = arg;
    (void)result;
    bool gone = status == KVP_JOB_STATE || status == KVP_NO_SUCH_JOB || status == KVP_NOT_FOUND;
    if (status != KVP_OK && status != KVP_SESSION_EXPIRED && !gone) {
        unexpected(sim, submitter, status);
        return;
    }
    if (status == KVP_SESSION_EXPIRED) {
        sim_flow_unsaid(submitter);
    }
    step_in(sim, submitter, submitter->drained[0] ? UNDO : WATCH, sim_flow_below(sim, 1500000));
}

static void on_retried(struct sim *sim, void *arg, int status, kvp_slice result)
{
    struct sim_submitter *submitter = arg;
    (void)result;
    bool gone = status == KVP_JOB_STATE || (status == KVP_NO_SUCH_JOB && sim->plan.jobs.short_keep);
    if (status != KVP_OK && status != KVP_SESSION_EXPIRED && !gone) {
        unexpected(sim, submitter, status);
        return;
    }
    submitter->job->retries += status == KVP_SESSION_EXPIRED;
    step_in(sim, submitter, WATCH, sim_flow_below(sim, 400000));
}

/* ---- watching ---- */

static void on_info(struct sim *sim, void *arg, int status, kvp_slice result)
{
    struct sim_submitter *submitter = arg;
    struct sim_job *job = submitter->job;
    struct info info;
    if (status == KVP_NO_SUCH_JOB && sim->plan.jobs.short_keep) {
        job->ended = true; /* the ledger knows how */
        step_in(sim, submitter, NEXT, 0);
        return;
    }
    if (status != KVP_OK || !read_info(result, &info)) {
        unexpected(sim, submitter, status);
        return;
    }
    if (info.done > info.tasks || info.tasks != job->task_count ||
        strcmp(info.state, "uploading") == 0) {
        sim_fail(sim, "job %u: %s, %llu of %llu tasks done, it has %u", job->index, info.state,
                 (unsigned long long)info.done, (unsigned long long)info.tasks, job->task_count);
    }
    sim_trace(sim, "job %u: %s, %llu of %llu", job->index, info.state,
              (unsigned long long)info.done, (unsigned long long)info.tasks);
    bool removing = strcmp(info.state, "removing") == 0;
    bool over =
        removing || strcmp(info.state, "failed") == 0 || strcmp(info.state, "cancelled") == 0;
    bool dead = strcmp(info.state, "done-with-failures") == 0;
    job->ended = over || dead || strcmp(info.state, "done") == 0;
    submitter->read = 0;
    if (!job->ended && (job->sets > 0 || submitter->setting == 1)) {
        step_in(sim, submitter, SAY, sim_flow_below(sim, 300000));
    } else if (!job->ended) {
        step_in(sim, submitter, WATCH, sim_exponential(&sim->jobs->random, LOOK_US));
    } else if (dead) {
        step_in(sim, submitter, job->retries > 0 ? RETRY : NEXT, 0);
    } else {
        step_in(sim, submitter, over ? NEXT : READ, 0);
    }
}

/* ---- reading ---- */

static void compare(struct sim *sim, struct sim_submitter *submitter, kvp_slice bytes)
{
    struct sim_job *job = submitter->job;
    kvp_buf expected = {0};
    if (job->spec.type == KVP_JOB_TASKS) {
        sim_ledger_expect(sim, job->id, submitter->read, bytes);
        return;
    }
    sim_job_output(job, submitter->read, &expected);
    if (kvp_slice_compare(bytes, kvp_buf_slice(&expected)) != 0) {
        sim_fail(sim, "job %u: block %u of the product is wrong", job->index, submitter->read);
    }
    kvp_buf_free(&expected);
}

static void on_read(struct sim *sim, void *arg, int status, kvp_slice result)
{
    struct sim_submitter *submitter = arg;
    struct sim_job *job = submitter->job;
    kvp_slice bytes;
    if (status == KVP_NO_SUCH_JOB || (status == KVP_JOB_STATE && sim->plan.jobs.short_keep)) {
        if (!sim->plan.jobs.short_keep) {
            unexpected(sim, submitter, status);
        }
        step_in(sim, submitter, NEXT, 0);
        return;
    }
    if (status != KVP_OK || kvp_wire_read_bin(result, &bytes) != KVP_OK) {
        unexpected(sim, submitter, status);
        return;
    }
    compare(sim, submitter, bytes);
    uint32_t count =
        job->spec.type == KVP_JOB_MATMUL ? kvp_job_grid_of(&job->spec).outputs : job->task_count;
    step_in(sim, submitter, ++submitter->read < count ? READ : NEXT, 0);
}

/* ---- steps ---- */

void sim_submitter_timer(struct sim *sim, unsigned index, uint64_t number)
{
    struct sim_submitter *submitter = &sim->jobs->submitters[index];
    kvp_slice none = {0};
    if (number != submitter->timer) {
        return;
    }
    switch ((enum step)submitter->step) {
    case MAKE:
        make(sim, submitter);
        break;
    case FILL:
        if (submitter->job->spec.type == KVP_JOB_MATMUL) {
            send_block(sim, submitter);
        } else {
            send_tasks(sim, submitter);
        }
        break;
    case START:
        submitter->job->start_us =
            submitter->job->start_us > 0 ? submitter->job->start_us : sim->now_us;
        ask(sim, submitter, KVP_OP_JOB_START, none, 0, on_started);
        break;
    case START_OTHER:
        submitter->on_other = true;
        ask(sim, submitter, KVP_OP_JOB_START, none, 0, on_other_started);
        break;
    case SAY:
        (void)sim_flow_say(sim, submitter, on_said);
        break;
    case UNDO:
        (void)sim_flow_undo(sim, submitter, on_undone);
        break;
    case RETRY:
        (void)sim_flow_retry(sim, submitter, on_retried);
        break;
    case WATCH:
        ask(sim, submitter, KVP_OP_JOB_INFO, none, 0, on_info);
        break;
    case CANCEL:
        submitter->job->cancel_asked = true;
        ask(sim, submitter, KVP_OP_JOB_CANCEL, none, 0, on_cancelled);
        break;
    case READ:
        ask(sim, submitter, KVP_OP_JOB_RESULT, none, submitter->read, on_read);
        break;
    case NEXT:
        submitter->done = submitter->next == submitter->last;
        if (!submitter->done) {
            submitter->job = &sim->jobs->jobs[submitter->next++];
            submitter->setting = 0;
            step_in(sim, submitter, MAKE, sim_exponential(&sim->jobs->random, THINK_US));
        }
        break;
    }
}

void sim_submitters_make(struct sim *sim)
{
    struct sim_jobs *jobs = sim->jobs;
    jobs->submitter_count = sim->plan.jobs.submitters;
    jobs->submitters = calloc(jobs->submitter_count, sizeof(*jobs->submitters));
    if (jobs->submitters == NULL) {
        abort();
    }
    for (unsigned i = 0; i < jobs->submitter_count; i++) {
        struct sim_submitter *submitter = &jobs->submitters[i];
        submitter->index = i;
        submitter->next = i * sim->plan.jobs.jobs;
        submitter->last = submitter->next + sim->plan.jobs.jobs;
        submitter->job = &jobs->jobs[submitter->next++];
        sim_call_open(sim, &submitter->call);
        step_in(sim, submitter, MAKE, sim_jobs_below(sim, 2000000));
    }
}

void sim_submitters_free(struct sim *sim)
{
    for (unsigned i = 0; i < sim->jobs->submitter_count; i++) {
        sim_call_free(&sim->jobs->submitters[i].call);
    }
    free(sim->jobs->submitters);
}
