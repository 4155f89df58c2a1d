/* SPDX-License-Identifier: Apache-2.0 */
/* What a worker does: join, fetch, beat, post, leave. */
#include "client/client_priv.h"
#include "kvpair/kvp_jobs.h"
#include "kvpair/job_spec.h"
#include "replication/wire/mp_writer.h"

#include <string.h>
#include <zlib.h>

/* A call of the worker, about a task or not. */
static struct call worker_call(unsigned op, const kvp_worker *worker, const kvp_task *task)
{
    struct call call = client_job_call(op);
    struct kvp_job_args *args = &call.core.request.job;
    call.core.request.key = kvp_slice_of(worker->name, strnlen(worker->name, sizeof(worker->name)));
    args->instance = worker->instance;
    if (task != NULL) {
        args->job = task->job;
        args->task = task->number;
        args->attempt = task->attempt;
    }
    return call;
}

static uint32_t worker_checksum(kvp_slice bytes)
{
    return (uint32_t)crc32_z(crc32_z(0, NULL, 0), bytes.data, bytes.size);
}

/* ---- membership ---- */

static kvp_status encode_kinds(const char *const *kinds, unsigned count, kvp_buf *out)
{
    struct kvp_mp_writer writer;
    kvp_mp_write_begin(&writer, out);
    kvp_mp_write_array(&writer, count);
    for (unsigned i = 0; i < count; i++) {
        kvp_mp_write_text(&writer, kinds[i]);
    }
    return kvp_mp_write_end(&writer);
}

static const char *wrong_with(const kvp_worker *worker, const char *const *kinds, unsigned count)
{
    if (worker->name[0] == '\0' || memchr(worker->name, 0, sizeof(worker->name)) == NULL) {
        return "the name of a worker is 1 to 64 bytes of text";
    }
    if (count == 0 || count > KVP_JOB_KINDS_MAX) {
        return "a worker can do 1 to 16 kinds of task";
    }
    for (unsigned i = 0; i < count; i++) {
        if (kinds[i] == NULL || kinds[i][0] == '\0' || strlen(kinds[i]) > KVP_NAME_SIZE_MAX) {
            return "the kind of a task is 1 to 64 bytes of text";
        }
    }
    return NULL;
}

kvp_status kvp_worker_join(kvp_client *client, kvp_worker *worker, const char *const *kinds,
                           unsigned kind_count, uint64_t buffer, bool standby, kvp_result *result)
{
    kvp_buf bytes = {0};
    kvp_status status = client_require(client != NULL && worker != NULL && kinds != NULL, result);
    if (status != KVP_OK) {
        return status;
    }
    struct call call = worker_call(KVP_OP_WORKER_JOIN, worker, NULL);
    const char *wrong = wrong_with(worker, kinds, kind_count);
    if (wrong != NULL) {
        return client_refuse(result, KVP_BAD_ARGUMENT, wrong);
    }
    status = encode_kinds(kinds, kind_count, &bytes);
    if (status != KVP_OK) {
        return client_refuse(result, status, "");
    }
    call.core.request.value = kvp_buf_slice(&bytes);
    call.core.request.job.buffer = buffer;
    call.core.request.job.standby = standby;
    status = client_perform(client, &call, 0);
    kvp_buf_free(&bytes);
    if (status == KVP_OK) {
        status = kvp_wire_read_uint(kvp_buf_slice(&call.result.value), &worker->instance);
    }
    return client_job_end(&call, status, result);
}

kvp_status kvp_worker_set(kvp_client *client, const char *name, unsigned setting, uint64_t value,
                          kvp_result *result)
{
    struct call call = client_job_call(KVP_OP_WORKER_SET);
    kvp_status status = client_require(client != NULL && name != NULL, result);
    if (status != KVP_OK) {
        return status;
    }
    call.core.request.key = kvp_slice_of(name, strlen(name));
    call.core.request.job.what = setting;
    call.core.request.job.number = value;
    status = client_perform(client, &call, 0);
    return client_job_end(&call, status, result);
}

kvp_status kvp_worker_leave(kvp_client *client, const kvp_worker *worker, kvp_result *result)
{
    kvp_status status = client_require(client != NULL && worker != NULL, result);
    if (status != KVP_OK) {
        return status;
    }
    struct call call = worker_call(KVP_OP_WORKER_LEAVE, worker, NULL);
    return client_job_end(&call, client_perform(client, &call, 0), result);
}

/* ---- tasks ---- */

/* The task in an answer, which it takes over. */
static kvp_status worker_take_task(kvp_buf *answer, kvp_task *task)
{
    struct kvp_task_grant grant;
    kvp_status status = kvp_wire_read_grant(kvp_buf_slice(answer), &grant);
    if (status == KVP_OK && worker_checksum(grant.payload) != grant.crc) {
        status = KVP_CORRUPT;
    }
    if (status != KVP_OK) {
        return status;
    }
    *task = (kvp_task){
        .job = grant.job,
        .attempt = grant.attempt,
        .number = grant.task,
        .beat_ms = grant.beat_ms,
        .deadline_ms = grant.deadline_ms,
        .kind = grant.kind,
        .payload = grant.payload,
        .checkpoint = grant.checkpoint,
        .owner = *answer,
    };
    *answer = (kvp_buf){0};
    return KVP_OK;
}

kvp_status kvp_task_fetch(kvp_client *client, const kvp_worker *worker, uint32_t slot,
                          uint32_t wait_ms, kvp_task *task, kvp_result *result)
{
    uint64_t number = 0;
    kvp_status status = client_require(client != NULL && worker != NULL && task != NULL, result);
    if (status != KVP_OK) {
        return status;
    }
    status = client_fetch_begin(client, worker, slot, &number);
    if (status != KVP_OK) {
        return client_refuse(result, status, "");
    }
    struct call call = worker_call(KVP_OP_TASK_FETCH, worker, NULL);
    call.core.request.job.slot = slot;
    call.core.request.job.number = number;
    call.core.request.job.wait_ms = wait_ms;
    call.core.patience_us = (uint64_t)wait_ms * 1000;
    status = client_perform(client, &call, client_timeout_ms(client, 0) + wait_ms);
    if (status == KVP_OK) {
        status = worker_take_task(&call.result.value, task);
    }
    if (status == KVP_OK) {
        client_fetch_end(client, worker, slot, number);
    }
    return client_job_end(&call, status, result);
}

void kvp_task_free(kvp_task *task)
{
    if (task != NULL) {
        kvp_buf_free(&task->owner);
        memset(task, 0, sizeof(*task));
    }
}

kvp_status kvp_task_beat(kvp_client *client, const kvp_worker *worker, const kvp_task *task,
                         uint32_t progress, const kvp_slice *checkpoint, bool *go_on,
                         kvp_result *result)
{
    kvp_status status =
        client_require(client != NULL && worker != NULL && task != NULL && go_on != NULL, result);

    if (status != KVP_OK) {
        return status;
    }
    struct call call = worker_call(KVP_OP_TASK_BEAT, worker, task);
    call.core.update = false; /* it may have a session; but the next beat is as good as a repeat */
    call.core.request.job.progress = progress;
    if (checkpoint != NULL) {
        status = client_check_value(*checkpoint, result);
        if (status != KVP_OK) {
            return status;
        }
        call.core.request.job.has_checkpoint = true;
        call.core.request.value = *checkpoint;
    }
    status = client_perform(client, &call, 0);
    if (status == KVP_OK) {
        status = kvp_wire_read_bool(kvp_buf_slice(&call.result.value), go_on);
    }
    return client_job_end(&call, status, result);
}

kvp_status kvp_task_post(kvp_client *client, const kvp_worker *worker, const kvp_task *task,
                         unsigned outcome, kvp_slice bytes, kvp_result *result)
{
    kvp_status status = client_require(client != NULL && worker != NULL && task != NULL, result);
    status = status == KVP_OK ? client_check_value(bytes, result) : status;
    if (status != KVP_OK) {
        return status;
    }
    struct call call = worker_call(KVP_OP_TASK_POST, worker, task);
    call.core.request.job.outcome = outcome;
    call.core.request.job.crc = worker_checksum(bytes);
    call.core.request.value = bytes;
    status = client_perform(client, &call, client_timeout_ms(client, bytes.size));
    if (status == KVP_OK) {
        status = kvp_wire_read_bool(kvp_buf_slice(&call.result.value), &call.result.counted);
    }
    return client_job_end(&call, status, result);
}
