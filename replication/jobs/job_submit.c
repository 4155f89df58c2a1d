/* SPDX-License-Identifier: Apache-2.0 */
/* Jobs are made, filled, started, cancelled. */
#include "replication/jobs/job_state.h"
#include "kvpair/matrix.h"
#include "kvstore/base/utf8.h"
#include "replication/wire/mp_writer.h"

#include <stdlib.h>
#include <string.h>

#define FRESH_SHARE 8u

static const char started_already[] = "the job was started already";
static const char reading[] = "the jobs are being read from the store";

/* ---- new ---- */

/* Nobody waits for it: it was cancelled, or its upload stands still. */
static bool may_make_room(const struct job *job, uint64_t now_us)
{
    return job->record.state == JOB_CANCELLED ||
           (job->record.state == JOB_UPLOADING && now_us >= job->started_us + UPLOAD_IDLE_US);
}

static uint64_t rests_since_us(const struct job *job)
{
    return job->record.state == JOB_CANCELLED ? job->ended_us : job->started_us;
}

/* Who has the places: jobs that have ended are kept as long as was promised. */
struct places {
    uint32_t taken, ended, of_client;
    struct job *spare; /* the one that may make room and has stood still the longest; or NULL */
};

static struct places count_places(const struct kvp_jobs *jobs, uint64_t client, uint64_t now_us)
{
    struct places places = {0};
    for (struct job *job = jobs->first; job != NULL; job = job->next) {
        if (job->record.state == JOB_REMOVING) {
            continue;
        }
        places.taken++;
        places.ended += job->record.state > JOB_VERIFYING;
        places.of_client += job->client == client;
        if (may_make_room(job, now_us) &&
            (places.spare == NULL || rests_since_us(job) < rests_since_us(places.spare))) {
            places.spare = job;
        }
    }
    return places;
}

/* While a new primary has not read what there is, only so much is added to it: so the bounds are
 * passed by a little at most. */
static bool may_add(const struct kvp_jobs *jobs, uint64_t fresh, uint64_t max)
{
    return jobs_are_known(jobs) || fresh <= max / FRESH_SHARE;
}

/* *room: there is a place for one more job of this client; else the answer says who has them. */
static kvp_status find_place(struct kvp_jobs *jobs, uint64_t client, uint64_t now_us,
                             struct job_answer *answer, bool *room)
{
    uint32_t all = jobs->config.jobs_max, share = SHARE_OF(all);
    *room = may_add(jobs, jobs->fresh_jobs, all);
    if (!*room) {
        return job_refuse(answer, KVP_UNAVAILABLE, reading);
    }
    if (jobs->job_count + share < all || (share == all && jobs->job_count < all)) {
        return KVP_OK;
    }
    struct places places = count_places(jobs, client, now_us);
    bool greedy = places.taken + share >= all && places.of_client >= share && share < all;
    if (greedy && !(places.spare != NULL && places.spare->client == client)) {
        *room = false;
        return job_refuse_format(
            answer, KVP_BUSY,
            "%u of the %u places for jobs are taken, %u of them by this client: "
            "the others are for other clients; cancel or remove some",
            places.taken, all, places.of_client);
    }
    if (greedy || places.taken >= all) {
        *room = places.spare != NULL;
        return places.spare != NULL
                   ? job_remove(jobs, places.spare)
                   : job_refuse_format(answer, KVP_BUSY,
                                       "all %u places for jobs are taken, %u of them by jobs "
                                       "that have ended and are kept: remove some, or keep "
                                       "them for a shorter time",
                                       all, places.ended);
    }
    return KVP_OK;
}

static kvp_status answer_job(const struct job *job, bool made, kvp_buf *result)
{
    struct kvp_mp_writer writer;
    if (job->record.key[0] == '\0') {
        return kvp_wire_result_uint(result, job->id);
    }
    kvp_mp_write_begin(&writer, result);
    kvp_mp_write_array(&writer, 2);
    kvp_mp_write_uint(&writer, job->id);
    kvp_mp_write_bool(&writer, made);
    return kvp_mp_write_end(&writer);
}

/* *held: a job with this key was started, and is the answer. */
static kvp_status answer_holder(struct kvp_jobs *jobs, const char *key, uint64_t now_us,
                                struct job_answer *answer, bool *held)
{
    struct job *holder = NULL;
    kvp_status status =
        key[0] != '\0' ? key_find_holder(jobs, key, answer->asker, now_us, &holder) : KVP_OK;
    *held = holder != NULL;
    return holder != NULL ? answer_job(holder, false, answer->result) : status;
}

static kvp_status submit_new(struct kvp_jobs *jobs, const struct kvp_request *request, uint64_t seq,
                             uint64_t now_us, struct job_answer *answer)
{
    struct job_record record = {.state = JOB_UPLOADING};
    const char *reason = "";
    kvp_status status = kvp_job_spec_decode(request->value, &record.spec, &reason);
    if (status != KVP_OK) {
        return job_refuse(answer, status, reason);
    }
    if (!kvp_utf8_is_valid(kvp_slice_of(record.spec.name, strlen(record.spec.name)))) {
        return job_refuse(answer, KVP_BAD_REQUEST, "the name of the job is not UTF-8");
    }
    job_record_take_key(&record, request->value);
    char text[JOB_REASON_MAX];
    if (!job_verify_fits(jobs, &record.spec, text, sizeof(text))) {
        return job_refuse(answer, KVP_TOO_LARGE, text);
    }
    bool room, held;
    status = answer_holder(jobs, record.key, now_us, answer, &held);
    if (status != KVP_OK || held) {
        return status;
    }
    status = find_place(jobs, request->session.client, now_us, answer, &room);
    if (status != KVP_OK || !room) {
        return status;
    }
    struct job *job = job_insert(jobs, seq, &record);
    if (job == NULL) {
        return KVP_NO_MEMORY;
    }
    jobs->fresh_jobs++;
    job->client = request->session.client;
    if (record.spec.type == KVP_JOB_MATMUL) {
        job->grid = kvp_job_grid_of(&record.spec);
    }
    job->started_us = job->ended_us = jobs->check_us = now_us;
    status = job_write(jobs, job);
    if (status == KVP_OK) {
        status = owner_write(jobs, job->id, answer->asker);
    }
    return status == KVP_OK ? answer_job(job, true, answer->result) : status;
}

/* ---- input blocks ---- */

static kvp_status submit_check_block(const struct job *job, const struct kvp_request *request,
                                     struct job_answer *answer, bool *good)
{
    const struct kvp_job_spec *spec = &job->record.spec;
    bool is_b;
    *good = false;
    if (spec->type != KVP_JOB_MATMUL) {
        return job_refuse(answer, KVP_BAD_REQUEST, "only products of matrices have blocks");
    }
    if (request->job.number >= job->grid.inputs) {
        return job_refuse_format(answer, KVP_BAD_REQUEST, "the job has %u input blocks",
                                 job->grid.inputs);
    }
    struct kvp_job_block block = kvp_job_input(spec, (uint32_t)request->job.number, &is_b);
    size_t size = kvp_job_block_size(spec, block);
    if (request->value.size != size) {
        return job_refuse_format(answer, KVP_BAD_REQUEST, "block %u has %zu bytes, needed are %zu",
                                 (unsigned)request->job.number, request->value.size, size);
    }
    if (kvp_matrix_has_nonfinite(spec->element, request->value)) {
        return job_refuse_format(answer, KVP_BAD_REQUEST, "block %u has a NaN or an infinity",
                                 (unsigned)request->job.number);
    }
    *good = true;
    return KVP_OK;
}

static kvp_status submit_data(struct kvp_jobs *jobs, struct job *job,
                              const struct kvp_request *request, uint64_t now_us,
                              struct job_answer *answer)
{
    struct kvp_raw_key key;
    bool good;
    kvp_status status = submit_check_block(job, request, answer, &good);
    if (status != KVP_OK || !good) {
        return status;
    }
    job_key_part(&key, JOB_KEY_PAYLOAD, job->id, (uint32_t)request->job.number);
    jobs->value.size = 0;
    status = job_get(jobs, &key, &jobs->value);
    bool fresh = status == KVP_NOT_FOUND;
    if (status == KVP_OK || fresh) {
        status = job_put(jobs, &key, request->value);
    }
    job->started_us = now_us; /* uploads that stopped are thrown away after a while */
    if (status == KVP_OK && fresh) {
        job->record.blocks++;
        status = job_write(jobs, job);
    }
    return status;
}

/* ---- tasks ---- */

static kvp_status kind_number(struct job_record *record, kvp_slice kind, uint8_t *number)
{
    for (unsigned i = 0; i < record->kind_count; i++) {
        if (strlen(record->kinds[i].text) == kind.size &&
            memcmp(record->kinds[i].text, kind.data, kind.size) == 0) {
            *number = (uint8_t)i;
            return KVP_OK;
        }
    }
    if (record->kind_count == KVP_JOB_KINDS_MAX) {
        return KVP_TOO_LARGE;
    }
    *number = (uint8_t)record->kind_count;
    memcpy(record->kinds[*number].text, kind.data, kind.size);
    record->kinds[*number].text[kind.size] = '\0';
    record->kind_count++;
    return KVP_OK;
}

/* Looks at all tasks before any is written. `edges`: how many waits there are. */
static kvp_status check_tasks(const struct job *job, struct kvp_job_tasks tasks,
                              struct job_answer *answer, uint32_t *edges, bool *good)
{
    struct kvp_job_task task;
    struct job_record kinds = job->record;
    uint8_t kind;
    *edges = 0;
    *good = false;
    for (uint32_t number = job->record.task_count; kvp_job_tasks_next(&tasks, &task); number++) {
        if (kind_number(&kinds, task.kind, &kind) != KVP_OK) {
            return job_refuse(answer, KVP_TOO_LARGE, "a job has at most 16 kinds of tasks");
        }
        for (uint32_t i = 0; i < task.after_count; i++) {
            if (kvp_job_after_next(&task) >= number) {
                return job_refuse_format(answer, KVP_BAD_REQUEST,
                                         "task %u waits for itself or for one behind it", number);
            }
        }
        *edges += task.after_count;
    }
    *good = true;
    return KVP_OK;
}

static kvp_status submit_put_task(struct kvp_jobs *jobs, struct job *job, struct kvp_job_task *task)
{
    struct kvp_raw_key key;
    uint32_t number = job->record.task_count;
    struct task_record record = {
        .state = TASK_OPEN,
        .feed = task->feed,
        .copies = job->record.spec.copies,
        .size = (uint32_t)task->payload.size,
        .after_count = task->after_count,
        .after = task->after,
    };
    kvp_status status = kind_number(&job->record, task->kind, &record.kind);
    if (status == KVP_OK) {
        status = task_write(jobs, job, number, &record);
    }
    if (status == KVP_OK) {
        job_key_part(&key, JOB_KEY_PAYLOAD, job->id, number);
        status = job_put(jobs, &key, task->payload);
    }
    if (status == KVP_OK) {
        job->record.task_count++;
        job->read++;
        jobs->task_total++;
        jobs->fresh_tasks++;
        job_task_init(jobs, job, number, &record);
    }
    return status;
}

static uint64_t all_edges(const struct kvp_jobs *jobs)
{
    uint64_t count = 0;
    for (const struct job *job = jobs->first; job != NULL; job = job->next) {
        count += job->edge_count;
    }
    return count;
}

static kvp_status submit_take_tasks(struct kvp_jobs *jobs, struct job *job,
                                    const struct kvp_request *request, uint64_t now_us,
                                    struct job_answer *answer)
{
    struct kvp_job_tasks tasks;
    const char *reason = "";
    bool good;
    uint32_t edges;
    if (job->record.spec.type != KVP_JOB_TASKS) {
        return job_refuse(answer, KVP_BAD_REQUEST, "the tasks of a product make themselves");
    }
    if (request->job.number != job->record.task_count) {
        return job_refuse_format(answer, KVP_BAD_REQUEST, "the next task has the number %u",
                                 job->record.task_count);
    }
    kvp_status status = kvp_job_tasks_begin(request->value, &tasks, &reason);
    if (status != KVP_OK) {
        return job_refuse(answer, status, reason);
    }
    if (job->record.task_count + tasks.count > KVP_JOB_TASKS_MAX ||
        jobs->task_total + tasks.count > jobs->config.tasks_max) {
        return job_refuse(answer, KVP_TOO_LARGE, "too many tasks");
    }
    if (!may_add(jobs, jobs->fresh_tasks + tasks.count, jobs->config.tasks_max)) {
        return job_refuse(answer, KVP_UNAVAILABLE, reading);
    }
    status = check_tasks(job, tasks, answer, &edges, &good);
    if (status != KVP_OK || !good) {
        return status;
    }
    if (all_edges(jobs) + edges > (uint64_t)jobs->config.tasks_max * EDGES_PER_TASK) {
        return job_refuse(answer, KVP_TOO_LARGE, "too many tasks that others wait for");
    }
    status = job_reserve_tasks(job, tasks.count);
    if (status == KVP_OK) {
        status = job_reserve_edges(job, edges);
    }
    struct kvp_job_task task;
    while (status == KVP_OK && kvp_job_tasks_next(&tasks, &task)) {
        status = submit_put_task(jobs, job, &task);
    }
    job->started_us = now_us;
    return status == KVP_OK ? job_write(jobs, job) : status;
}

/* ---- start, end ---- */

static kvp_status submit_start(struct kvp_jobs *jobs, struct job *job, uint64_t now_us,
                               struct job_answer *answer)
{
    bool matmul = job->record.spec.type == KVP_JOB_MATMUL;
    if (matmul && job->record.blocks < job->grid.inputs) {
        return job_refuse_format(answer, KVP_JOB_STATE, "%u of %u input blocks are missing",
                                 job->grid.inputs - job->record.blocks, job->grid.inputs);
    }
    if (!matmul && job->record.task_count == 0) {
        return job_refuse(answer, KVP_JOB_STATE, "the job has no task");
    }
    if (matmul && jobs->task_total + job->grid.tasks > jobs->config.tasks_max) {
        return job_refuse(answer, KVP_BUSY, "too many tasks");
    }
    if (matmul && !may_add(jobs, jobs->fresh_tasks + job->grid.tasks, jobs->config.tasks_max)) {
        return job_refuse(answer, KVP_UNAVAILABLE, reading);
    }
    if (matmul) {
        jobs->fresh_tasks += job->grid.tasks;
        kvp_status status = job_make_tiles(jobs, job);
        if (status != KVP_OK) {
            return status;
        }
    }
    job->record.state = JOB_RUNNING;
    job->started_us = job->aged_us = jobs->check_us = now_us;
    jobs->work_available = jobs->busy = true;
    share_join(jobs, job);
    return job_write(jobs, job);
}

/* Of several with the same key one is started, and is the answer for all. */
static kvp_status submit_start_keyed(struct kvp_jobs *jobs, struct job *job, uint64_t now_us,
                                     struct job_answer *answer)
{
    struct job *holder;
    kvp_status status = key_find_rival(jobs, job, now_us, &holder);
    if (status == KVP_OK && holder != NULL) {
        status = job->record.state == JOB_UPLOADING ? job_remove(jobs, job) : KVP_OK;
        return status == KVP_OK ? answer_job(holder, false, answer->result) : status;
    }
    if (status == KVP_OK && job->record.state != JOB_UPLOADING) {
        return job_refuse(answer, KVP_JOB_STATE, started_already);
    }
    status = status == KVP_OK ? submit_start(jobs, job, now_us, answer) : status;
    if (status != KVP_OK || answer->status != KVP_OK) {
        return status;
    }
    status = key_claim(jobs, job);
    return status == KVP_OK ? answer_job(job, true, answer->result) : status;
}

kvp_status job_end(struct kvp_jobs *jobs, struct job *job, enum job_state state, const char *reason,
                   uint64_t now_us)
{
    attempts_drop(jobs, job);
    job->record.state = (uint8_t)state;
    (void)kvp_utf8_copy_end(job->record.reason, sizeof(job->record.reason),
                            kvp_slice_of(reason, strlen(reason)));
    job->ended_us = now_us;
    job->sum_first = job->sum_last = JOB_NONE;
    kvp_verify_free(job->verify);
    kvp_recheck_free(job->recheck);
    kvp_buf_free(&job->sum);
    job->verify = NULL;
    job->recheck = NULL;
    jobs->at_work = jobs->at_work == job ? NULL : jobs->at_work;
    jobs->check_us = now_us; /* when to remove it */
    return job_write(jobs, job);
}

static kvp_status submit_cancel(struct kvp_jobs *jobs, struct job *job, uint64_t now_us,
                                struct job_answer *answer)
{
    if (job->record.state > JOB_VERIFYING) {
        return job_refuse(answer, KVP_JOB_STATE, "the job has ended");
    }
    return job_end(jobs, job, JOB_CANCELLED, "cancelled", now_us);
}

kvp_status job_submit(struct kvp_jobs *jobs, const struct kvp_request *request, uint64_t seq,
                      uint64_t now_us, struct job_answer *answer)
{
    if (request->op == KVP_OP_JOB_NEW) {
        return submit_new(jobs, request, seq, now_us, answer);
    }
    struct job *job;
    kvp_status status = job_look(jobs, request->job.job, now_us, &job);
    if (status != KVP_OK) {
        return status;
    }
    if (job == NULL || job->record.state == JOB_REMOVING) {
        return job_refuse(answer, KVP_NO_SUCH_JOB, NULL);
    }
    if (request->op == KVP_OP_JOB_CANCEL) {
        return submit_cancel(jobs, job, now_us, answer);
    }
    if (request->op == KVP_OP_JOB_REMOVE) {
        return job->record.state > JOB_VERIFYING
                   ? job_remove(jobs, job)
                   : job_refuse(answer, KVP_JOB_STATE, "the job has not ended: cancel it first");
    }
    if (request->op == KVP_OP_JOB_SET) {
        return job_set(jobs, job, request, now_us, answer);
    }
    bool repeats = request->op == KVP_OP_JOB_START && job->record.key[0] != '\0';
    bool over = request->op == KVP_OP_JOB_RETRY || repeats;
    if (job->record.state != JOB_UPLOADING && !over) {
        return job_refuse(answer, KVP_JOB_STATE, started_already);
    }
    bool good;
    status = job_needs(jobs, job, UINT32_MAX, answer, &good);
    if (status != KVP_OK || !good) {
        return status;
    }
    switch (request->op) {
    case KVP_OP_JOB_DATA:
        return submit_data(jobs, job, request, now_us, answer);
    case KVP_OP_JOB_TASKS:
        return submit_take_tasks(jobs, job, request, now_us, answer);
    case KVP_OP_JOB_RETRY:
        return job_retry(jobs, job, request, now_us, answer);
    default:
        return job->record.key[0] ? submit_start_keyed(jobs, job, now_us, answer)
                                  : submit_start(jobs, job, now_us, answer);
    }
}
