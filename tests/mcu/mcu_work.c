/* SPDX-License-Identifier: Apache-2.0 */
/* The part of a node that knows one job and one worker. */
#include "mcu_support.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <zlib.h>

#include <cmocka.h>

const char *const work_kinds[3] = {"other", "bytes", "sum"};

static uint32_t size_of(const struct work *work, unsigned number)
{
    uint32_t size = work->payload_size + number;
    return work->bytes_max > 0 && size > work->bytes_max ? work->bytes_max : size;
}

static uint8_t byte_of(unsigned number, uint32_t at)
{
    return (uint8_t)(number * 31u + at * 7u + at / 256u);
}

bool work_is_done(const struct work *work)
{
    for (unsigned i = 0; i < work->tasks; i++) {
        if (work->task[i].counted != 1) {
            return false;
        }
    }
    return true;
}

static int join(struct peer *peer, const struct kvp_request *request, kvp_buf *result)
{
    struct work *work = &peer->work;
    work->joins++;
    work->instance = ++peer->seq;
    work->buffer = request->job.buffer;
    work->kinds.size = 0;
    assert_int_equal(kvp_buf_append(&work->kinds, request->value.data, request->value.size),
                     KVP_OK);
    for (unsigned i = 0; i < work->tasks; i++) {
        work->task[i].attempt = 0;
    }
    assert_int_equal(kvp_wire_result_uint(result, work->instance), KVP_OK);
    return KVP_OK;
}

static void grant(struct work *work, unsigned number, kvp_buf *result)
{
    kvp_buf payload = {0};
    const char *kind = work_kinds[work->kind];
    for (uint32_t at = 0; at < size_of(work, number); at++) {
        uint8_t byte = byte_of(number, at);
        assert_int_equal(kvp_buf_append(&payload, &byte, 1), KVP_OK);
    }
    struct kvp_task_grant made = {
        .job = WORK_JOB,
        .attempt = work->task[number].attempt,
        .task = number,
        .beat_ms = 500,
        .deadline_ms = 60000,
        .kind = kvp_slice_of(kind, strlen(kind)),
        .checkpoint = kvp_buf_slice(&work->checkpoint),
        .payload = kvp_buf_slice(&payload),
        .crc = (uint32_t)crc32_z(0, payload.data, payload.size) ^ (work->lie ? 1u : 0u),
    };
    assert_int_equal(kvp_wire_result_grant(result, &made), KVP_OK);
    kvp_buf_free(&payload);
}

/* A repeat gets the same task again; the next number gives it up. */
static int fetch(struct work *work, const struct kvp_request *request, kvp_buf *result)
{
    struct work_task *last = &work->task[work->fetched];
    work->fetches++;
    if (last->attempt != 0 && work->fetch == request->job.number) {
        grant(work, work->fetched, result);
        return KVP_OK;
    }
    assert_true(request->job.number > work->fetch || last->attempt == 0);
    last->attempt = 0;
    for (unsigned i = 0; i < work->tasks; i++) {
        if (work->task[i].counted == 0) {
            work->fetch = request->job.number;
            work->fetched = i;
            work->task[i].given++;
            work->task[i].attempt = ((uint64_t)1 << 62) + ++work->attempts;
            grant(work, i, result);
            return KVP_OK;
        }
    }
    return KVP_NO_TASK;
}

static int beat(struct work *work, const struct kvp_request *request, kvp_buf *result)
{
    work->beats++;
    work->progress = request->job.progress;
    if (request->job.has_checkpoint) {
        work->checkpoint.size = 0;
        assert_int_equal(
            kvp_buf_append(&work->checkpoint, request->value.data, request->value.size), KVP_OK);
    }
    assert_int_equal(kvp_wire_bool(result, !work->unwanted), KVP_OK);
    return KVP_OK;
}

static int post(struct work *work, const struct kvp_request *request, kvp_buf *result)
{
    struct work_task *task = &work->task[request->job.task];
    uint32_t size = size_of(work, request->job.task);
    bool counts = task->counted == 0 && request->job.outcome == KVP_OUTCOME_RESULT;
    work->posts++;
    task->posted++;
    if (request->job.crc != (uint32_t)crc32_z(0, request->value.data, request->value.size)) {
        return KVP_CORRUPT;
    }
    if (request->job.outcome == KVP_OUTCOME_RESULT) {
        assert_int_equal(request->value.size, 2 * size);
        for (uint32_t at = 0; at < 2 * size; at++) {
            assert_int_equal(((const uint8_t *)request->value.data)[at],
                             byte_of(request->job.task, at % size) ^ WORK_XOR);
        }
    }
    task->attempt = 0;
    task->counted += counts ? 1 : 0;
    assert_int_equal(kvp_wire_bool(result, counts), KVP_OK);
    return KVP_OK;
}

int work_execute(struct peer *peer, const struct kvp_request *request, kvp_buf *result)
{
    struct work *work = &peer->work;
    assert_int_equal(kvp_slice_compare(request->key, kvp_slice_of("board", 5)), 0);
    if (request->op == KVP_OP_WORKER_JOIN) {
        return join(peer, request, result);
    }
    if (work->instance == 0 || request->job.instance > work->instance) {
        return KVP_WORKER_UNKNOWN;
    }
    if (request->job.instance < work->instance) {
        return KVP_WORKER_REPLACED;
    }
    switch (request->op) {
    case KVP_OP_TASK_FETCH:
        return fetch(work, request, result);
    case KVP_OP_WORKER_LEAVE:
        work->leaves++;
        work->instance = 0;
        return KVP_OK;
    default:
        assert_true(request->job.job == WORK_JOB && request->job.task < work->tasks);
        if (work->task[request->job.task].attempt != request->job.attempt) {
            return KVP_NOT_HELD;
        }
        return request->op == KVP_OP_TASK_BEAT ? beat(work, request, result)
                                               : post(work, request, result);
    }
}
