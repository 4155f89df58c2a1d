/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Workers: who there is, and how they come and go. Records of workers are replicated, so that a
 * new primary knows instances, activations and lost votes; when a worker was last heard is not.
 */
#include "replication/jobs/job_state.h"
#include "kvstore/base/utf8.h"
#include "replication/wire/mp_reader.h"

#include <string.h>

bool worker_has_kind(const struct worker *worker, const char *kind)
{
    for (unsigned i = 0; i < worker->record.kind_count; i++) {
        if (strcmp(worker->record.kinds[i].text, kind) == 0) {
            return true;
        }
    }
    return false;
}

unsigned kvp_jobs_worker_kinds(const struct kvp_jobs *jobs, kvp_slice name,
                               kvp_slice kinds[KVP_JOB_KINDS_MAX])
{
    const struct worker *worker = worker_find(jobs, name);
    unsigned count = worker != NULL ? worker->record.kind_count : 0;
    for (unsigned i = 0; i < count; i++) {
        const char *kind = worker->record.kinds[i].text;
        kinds[i] = kvp_slice_of(kind, strlen(kind));
    }
    return count;
}

/* A worker with a task beats as often as the task's job wants, and is lost with the task. */
bool worker_silent(const struct worker *worker, uint64_t now_us)
{
    return worker->attempt_count == 0 &&
           jobs_silent_us(worker->jobs, worker->heard_us, now_us) >= WORKER_SILENCE_US;
}

bool worker_gone(const struct worker *worker, uint64_t now_us)
{
    return worker->record.left || worker->record.barred || worker->record.drained ||
           worker_silent(worker, now_us);
}

/* ---- joining ---- */

static bool read_kinds(kvp_slice array, struct worker_record *record)
{
    struct kvp_mp_reader reader;
    kvp_mp_begin(&reader, array);
    uint32_t count = kvp_mp_array(&reader);
    if (count == 0 || count > KVP_JOB_KINDS_MAX) {
        return false;
    }
    for (uint32_t i = 0; i < count; i++) {
        kvp_slice kind = kvp_mp_str(&reader);
        if (kind.size == 0 || kind.size > KVP_NAME_SIZE_MAX ||
            memchr(kind.data, 0, kind.size) != NULL || !kvp_utf8_is_valid(kind)) {
            return false;
        }
        memcpy(record->kinds[i].text, kind.data, kind.size);
        record->kinds[i].text[kind.size] = '\0';
    }
    record->kind_count = count;
    return kvp_mp_done(&reader);
}

/* One that left or is silent may be forgotten, but not what it did wrong. */
static bool registry_may_go(const struct worker *worker, uint64_t now_us)
{
    return worker->record.lost_votes == 0 && !worker->record.drained &&
           worker_gone(worker, now_us) && worker->attempt_count == 0;
}

static bool places_are_short(const struct kvp_jobs *jobs)
{
    uint32_t all = jobs->config.workers_max, share = SHARE_OF(all);
    return jobs->worker_count >= all || (share < all && jobs->worker_count + share >= all);
}

/* May one more worker of this client have a place? Else the answer says why not. */
static kvp_status check_places(const struct kvp_jobs *jobs, uint64_t client,
                               struct job_answer *answer, bool *room)
{
    uint32_t all = jobs->config.workers_max, share = SHARE_OF(all), its = 0;
    *room = jobs->worker_count < all;
    if (!*room) {
        return job_refuse_format(answer, KVP_BUSY, "all %u places for workers are taken", all);
    }
    for (uint32_t i = 0; i < jobs->worker_count; i++) {
        its += jobs->workers[i]->client == client;
    }
    *room = !places_are_short(jobs) || its < share;
    return *room
               ? KVP_OK
               : job_refuse_format(answer, KVP_BUSY,
                                   "%u of the %u places for workers are taken, %u of them by this "
                                   "client: the others are for other clients",
                                   jobs->worker_count, all, its);
}

static kvp_status add_worker(struct kvp_jobs *jobs, const struct kvp_request *request,
                             const struct worker_record *record, uint64_t now_us,
                             struct job_answer *answer, struct worker **worker)
{
    char text[KVP_NAME_SIZE_MAX + 1];
    kvp_slice name = request->key;
    kvp_status status = KVP_OK;
    bool room;
    if (places_are_short(jobs)) {
        status = workers_purge(jobs, registry_may_go, now_us);
    }
    if (status == KVP_OK) {
        status = check_places(jobs, request->session.client, answer, &room);
    }
    if (status != KVP_OK || !room) {
        return status;
    }
    memcpy(text, name.data, name.size);
    text[name.size] = '\0';
    *worker = worker_insert(jobs, text, record);
    if (*worker == NULL) {
        return KVP_NO_MEMORY;
    }
    (*worker)->client = request->session.client;
    return KVP_OK;
}

/* What the worker of this name had in hand is lost with its process: that is counted, else a task
 * that kills its workers would go round for ever where they are started anew at once. */
static kvp_status lose_attempts(struct kvp_jobs *jobs, struct worker *worker, uint64_t now_us)
{
    kvp_status status = KVP_OK;
    while (worker->attempts != NULL && status == KVP_OK) {
        status = attempt_lost(jobs, worker, worker->attempts, FAULT_LOST,
                              "the worker was started anew", now_us);
    }
    return status;
}

static kvp_status registry_join(struct kvp_jobs *jobs, const struct kvp_request *request,
                                uint64_t seq, uint64_t now_us, struct job_answer *answer)
{
    struct worker_record record = {
        .instance = seq,
        .buffer = request->job.buffer,
        .standby = request->job.standby,
        .active = !request->job.standby,
    };
    if (!read_kinds(request->value, &record)) {
        return job_refuse(answer, KVP_BAD_REQUEST,
                          "a worker names 1 to 16 kinds of tasks, each 1 to 64 bytes of UTF-8");
    }
    if (memchr(request->key.data, 0, request->key.size) != NULL ||
        !kvp_utf8_is_valid(request->key)) {
        return job_refuse(answer, KVP_BAD_REQUEST, "a worker's name is UTF-8 without a zero byte");
    }
    kvp_status status = KVP_OK;
    struct worker *worker = worker_find(jobs, request->key);
    if (worker != NULL) {
        status = lose_attempts(jobs, worker, now_us);
        if (status != KVP_OK) {
            return status;
        }
        record.lost_votes = worker->record.lost_votes;
        record.barred = record.lost_votes >= jobs->config.lost_votes_max;
        record.drained = worker->record.drained;
        worker->record = record;
        status = standing_pardon(jobs, worker);
        if (status != KVP_OK) {
            return status;
        }
    } else {
        status = add_worker(jobs, request, &record, now_us, answer, &worker);
        if (status != KVP_OK || worker == NULL) {
            return status;
        }
    }
    worker->heard_us = jobs_heard_us(jobs, now_us);
    jobs->check_us = now_us;
    jobs->work_available = true;
    status = worker_write(jobs, worker);
    return status == KVP_OK ? kvp_wire_result_uint(answer->result, record.instance) : status;
}

static kvp_status registry_leave(struct kvp_jobs *jobs, const struct kvp_request *request,
                                 uint64_t now_us, struct job_answer *answer)
{
    kvp_status status;
    struct worker *worker = worker_speaking(jobs, request, now_us, answer, &status);
    if (worker == NULL) {
        return status;
    }
    worker_give_back(jobs, worker);
    worker->record.left = true;
    jobs->check_us = now_us;
    return worker_write(jobs, worker);
}

kvp_status job_worker_op(struct kvp_jobs *jobs, const struct kvp_request *request, uint64_t seq,
                         uint64_t now_us, struct job_answer *answer)
{
    return request->op == KVP_OP_WORKER_JOIN ? registry_join(jobs, request, seq, now_us, answer)
                                             : registry_leave(jobs, request, now_us, answer);
}
