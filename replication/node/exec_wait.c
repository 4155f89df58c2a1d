/* SPDX-License-Identifier: Apache-2.0 */
/* New entries of the log, and updates that wait for their commit. */
#include "replication/node/exec_state.h"

#include <stdlib.h>
#include <string.h>

kvp_status exec_append(struct kvp_executor *executor, const kvp_buf *writeset)
{
    struct kvp_entry *entry = kvp_entry_new(writeset->size);
    if (entry == NULL) {
        return KVP_NO_MEMORY;
    }
    if (writeset->size > 0) {
        memcpy(entry->payload, writeset->data, writeset->size);
    }
    kvp_core_submit(executor->core, executor->now_us, entry);
    kvp_entry_unref(entry);
    return KVP_OK;
}

struct exec_waiter *exec_wait_new(struct kvp_executor *executor)
{
    struct exec_waiter *waiter = executor->spare_waiters;
    if (waiter == NULL) {
        return calloc(1, sizeof(*waiter));
    }
    kvp_buf room = waiter->answer;
    executor->spare_waiters = waiter->next;
    executor->spare_count--;
    *waiter = (struct exec_waiter){.answer = room};
    return waiter;
}

void exec_wait_put(struct kvp_executor *executor, struct exec_waiter *waiter)
{
    if (waiter == NULL) {
        return;
    }
    if (executor->spare_count == EXEC_SPARES || waiter->answer.capacity > EXEC_SPARE_SIZE_MAX) {
        kvp_buf_free(&waiter->answer);
    }
    if (executor->spare_count == EXEC_SPARES) {
        free(waiter);
        return;
    }
    waiter->answer.size = 0;
    waiter->next = executor->spare_waiters;
    executor->spare_waiters = waiter;
    executor->spare_count++;
}

void exec_wait_free_spares(struct kvp_executor *executor)
{
    while (executor->spare_waiters != NULL) {
        struct exec_waiter *waiter = exec_wait_new(executor);
        kvp_buf_free(&waiter->answer);
        free(waiter);
    }
}

void exec_wait_add(struct kvp_executor *executor, struct exec_waiter *waiter)
{
    /* First in, first out: an answer never completes before an earlier one, even if it waits for a
     * smaller seq. */
    if (executor->last != NULL && executor->last->seq > waiter->seq) {
        waiter->seq = executor->last->seq;
    }
    if (executor->last != NULL) {
        executor->last->next = waiter;
    } else {
        executor->first = waiter;
    }
    executor->last = waiter;
    waiter->since_us = executor->now_us;
    waiter->asked_us = executor->asked_us;
    executor->waiting_count++;
    executor->waiting_size += waiter->size;
}

bool exec_wait(struct kvp_executor *executor, void *token, uint64_t seq, int status,
               kvp_slice answer)
{
    struct exec_waiter *waiter = exec_wait_new(executor);
    if (waiter == NULL) {
        return false;
    }
    if (kvp_buf_append(&waiter->answer, answer.data, answer.size) != KVP_OK) {
        exec_wait_put(executor, waiter);
        return false;
    }
    waiter->token = token;
    waiter->op = executor->answering;
    waiter->seq = seq;
    waiter->size = answer.size;
    waiter->status = status;
    exec_wait_add(executor, waiter);
    return true;
}

static struct exec_waiter *wait_take_first(struct kvp_executor *executor)
{
    struct exec_waiter *waiter = executor->first;
    executor->first = waiter->next;
    if (executor->first == NULL) {
        executor->last = NULL;
    }
    executor->waiting_count--;
    executor->waiting_size -= waiter->size;
    return waiter;
}

void exec_answer_committed(struct kvp_executor *executor, void *token, int status)
{
    uint64_t last = kvp_core_next_seq(executor->core) - 1;
    kvp_slice answer = kvp_buf_slice(&executor->scratch);
    if (last <= executor->committed) {
        exec_answer(executor, token, status, answer);
    } else if (!exec_wait(executor, token, last, status, answer)) {
        exec_refuse(executor, token, KVP_UNAVAILABLE, kvp_strerror(KVP_NO_MEMORY));
    }
}

void exec_release(struct kvp_executor *executor)
{
    while (executor->first != NULL && executor->first->seq <= executor->committed) {
        struct exec_waiter *waiter = wait_take_first(executor);
        executor->answering = waiter->op;
        node_times_add(&executor->counts.commit, executor->now_us - waiter->since_us);
        if (waiter->asked_us != 0) {
            node_times_add(&executor->counts.requests[waiter->op % NODE_COUNTS_OPS],
                           executor->now_us - waiter->asked_us);
        }
        if (waiter->op == KVP_OP_ACCESS_CHANGE) {
            exec_access_changed(executor); /* whoever asks from here on is judged by it */
        }
        exec_answer(executor, waiter->token, waiter->status, kvp_buf_slice(&waiter->answer));
        exec_wait_put(executor, waiter);
    }
}

void exec_give_up(struct kvp_executor *executor, int status)
{
    while (executor->first != NULL) {
        struct exec_waiter *waiter = wait_take_first(executor);
        executor->answering = waiter->op;
        exec_refuse(executor, waiter->token, status, NULL);
        exec_wait_put(executor, waiter);
    }
}
