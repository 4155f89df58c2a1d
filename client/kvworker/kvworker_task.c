/* SPDX-License-Identifier: Apache-2.0 */
/* One task: by the built-in kind or a handler, and what breaks it on purpose. */
#include "client/kvworker/kvworker.h"
#include "kvpair/matrix.h"
#include "kvstore/keyspace.h"
#include "kvstore/base/clock.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define VARIABLE_SIZE 128

/* ---- handlers ---- */

static const char *find_handler(const struct kvworker_options *options, kvp_slice kind)
{
    for (unsigned i = 0; i < options->handler_count; i++) {
        const char *name = options->handlers[i].kind;
        if (kvp_slice_compare(kvp_slice_of(name, strlen(name)), kind) == 0) {
            return options->handlers[i].command;
        }
    }
    return NULL;
}

static bool run_handler(struct kvworker_slot *slot, const char *command,
                        struct kvworker_result *result)
{
    const kvp_task *task = &slot->task;
    char text[4][VARIABLE_SIZE];
    char reason[KVWORKER_REASON_MAX + 1];
    uint32_t timeout_ms = slot->worker->options.handler_timeout_ms;
    uint32_t left_ms = kvworker_left_ms(slot);
    bool deadline = timeout_ms == 0 || left_ms < timeout_ms;
    const char *const variables[] = {text[0], text[1], text[2], text[3], slot->worker->mark, NULL};
    struct kvworker_order order = {
        .command = command,
        .input = task->payload,
        .variables = variables,
        .output_max = KVP_VALUE_SIZE_MAX,
        .timeout_ms = !deadline     ? timeout_ms
                      : left_ms > 0 ? left_ms
                                    : 1,
        .deadline = deadline,
        .cancel = slot->wake,
        .group = &slot->handler,
    };

    (void)snprintf(text[0], VARIABLE_SIZE, "KVPAIR_JOB=%" PRIu64, task->job);
    (void)snprintf(text[1], VARIABLE_SIZE, "KVPAIR_TASK=%" PRIu32, task->number);
    (void)snprintf(text[2], VARIABLE_SIZE, "KVPAIR_ATTEMPT=%" PRIu64, task->attempt);
    (void)snprintf(text[3], VARIABLE_SIZE, "KVPAIR_KIND=%.*s", (int)task->kind.size,
                   (const char *)task->kind.data);
    switch (kvworker_handler_run(&order, &result->bytes, reason)) {
    case KVWORKER_HANDLER_DONE:
        result->outcome = KVP_OUTCOME_RESULT;
        return true;
    case KVWORKER_HANDLER_FAILED:
        result->outcome = KVP_OUTCOME_FAILED;
        result->bytes.size = 0;
        (void)kvp_buf_append(&result->bytes, reason, strlen(reason));
        return true;
    default:
        return false;
    }
}

/* ---- products whose blocks are fetched one by one ---- */

/* Without a block there is no result, and it is not the task's fault: it is given back. */
static bool run_blocks(struct kvworker_slot *slot, struct kvworker_result *result)
{
    struct kvworker *worker = slot->worker;
    kvp_slice payload = slot->task.payload;
    struct kvworker_block *blocks[2] = {NULL, NULL};
    bool whole = true, there = payload.size == KVP_JOB_TILE_HEADER + 8;
    for (unsigned i = 0; i < 2 && there; i++) {
        const uint8_t *number = (const uint8_t *)payload.data + KVP_JOB_TILE_HEADER + 4 * i;
        blocks[i] = kvworker_block_take(worker, slot->task.job, kvp_get_u32(number));
        there = blocks[i] != NULL && blocks[i]->status == KVP_OK;
    }
    result->outcome = KVP_OUTCOME_GIVEN_BACK;
    if (there) {
        whole = kvworker_matmul_blocks(payload, kvp_buf_slice(&blocks[0]->elements),
                                       kvp_buf_slice(&blocks[1]->elements), worker->options.blas,
                                       slot, result);
    }
    for (unsigned i = 0; i < 2; i++) {
        if (blocks[i] != NULL) {
            kvworker_block_give_back(worker, blocks[i]);
        }
    }
    return whole;
}

/* ---- broken on purpose ---- */

/* Longer than it takes, and for ever. False: interrupted. */
static bool delay(struct kvworker_slot *slot, uint64_t count)
{
    const struct kvworker_options *options = &slot->worker->options;
    uint32_t left_ms = options->slow_ms;
    if (!kvworker_pause(slot, 0)) {
        return false; /* it came with the signal to end */
    }
    while (left_ms > 0) {
        uint32_t step_ms = left_ms < 50 ? left_ms : 50;
        if (count == options->crash_after && left_ms <= options->slow_ms / 2) {
            break;
        }
        if (!kvworker_pause(slot, step_ms)) {
            return false;
        }
        left_ms -= step_ms;
        atomic_store(&slot->progress,
                     (uint32_t)((options->slow_ms - left_ms) * (uint64_t)900 / options->slow_ms));
    }
    if (count == options->crash_after) {
        (void)kill(getpid(), SIGKILL);
    }
    while (count == options->hang_after) {
        if (!kvworker_pause(slot, 1000)) {
            return false;
        }
    }
    return true;
}

static bool by_chance(double rate)
{
    return rate > 0 && (double)(kvp_random_u64() >> 11) < rate * 9007199254740992.0; /* 2^53 */
}

/* An element becomes another one, clearly so for floats. */
static void flip_element(enum kvp_matrix_type type, kvp_buf *bytes)
{
    size_t size = kvp_matrix_element_size(type);
    uint8_t *element = bytes->data + kvp_random_u64() % (bytes->size / size) * size;
    if (type == KVP_FLOAT32) {
        float value;
        memcpy(&value, element, sizeof(value));
        value = -value / 2 + 1;
        memcpy(element, &value, sizeof(value));
    } else if (type == KVP_FLOAT64) {
        double value;
        memcpy(&value, element, sizeof(value));
        value = -value / 2 + 1;
        memcpy(element, &value, sizeof(value));
    } else {
        element[kvp_random_u64() % size] ^= (uint8_t)(1u << kvp_random_u64() % 8);
    }
}

static void corrupt(bool matmul, kvp_slice payload, kvp_buf *bytes)
{
    if (matmul) {
        flip_element((enum kvp_matrix_type)kvp_get_u32(payload.data), bytes);
    } else if (bytes->size == 0) {
        (void)kvp_buf_append(bytes, "?", 1);
    } else {
        bytes->data[kvp_random_u64() % bytes->size] ^= (uint8_t)(1u << kvp_random_u64() % 8);
    }
}

/* ---- all of it ---- */

static bool is_kind(const struct kvworker_slot *slot, const char *kind)
{
    return kvp_slice_compare(slot->task.kind, kvp_slice_of(kind, strlen(kind))) == 0;
}

bool kvworker_task_run(struct kvworker_slot *slot, struct kvworker_result *result)
{
    struct kvworker *worker = slot->worker;
    const struct kvworker_options *options = &worker->options;
    const char *command = find_handler(options, slot->task.kind);
    bool builtin = command == NULL && options->matmul;
    bool blocks = builtin && is_kind(slot, KVP_JOB_BLOCKS_KIND);
    bool matmul = blocks || (builtin && is_kind(slot, KVP_JOB_MATMUL_KIND));
    bool whole = delay(slot, atomic_fetch_add(&worker->tasks, 1) + 1);
    if (whole && command != NULL) {
        whole = run_handler(slot, command, result);
    } else if (whole && blocks) {
        whole = run_blocks(slot, result);
    } else if (whole && matmul) {
        whole = kvworker_matmul(slot->task.payload, options->blas, slot, result);
    } else if (whole) {
        result->outcome = KVP_OUTCOME_GIVEN_BACK; /* a mistake of who handed it out */
    }
    if (whole && result->outcome == KVP_OUTCOME_RESULT && by_chance(options->corrupt_rate)) {
        corrupt(matmul, slot->task.payload, &result->bytes);
    }
    return whole;
}
