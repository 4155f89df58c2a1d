/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Jobs at the executor: workers that wait for a task, and what the job engine does by itself. Its
 * own writes are entries like any other, only that no client waits for them.
 */
#include "replication/node/exec_state.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define STEPS_AT_ONCE 8u      /* pieces of work between other events */
#define LOOK_AGAIN_US 500000u /* a waiting worker is taken for alive, if its connection is */
#define WAIT_MAX_MS   30000u
#define COMMIT_MAX_US                                                                              \
    100000u /* if one takes longer, whoever waits for it is not silent meanwhile */

/* ---- workers that wait ---- */

static void fetch_free(struct kvp_executor *executor, struct exec_fetch **link)
{
    struct exec_fetch *fetch = *link;
    *link = fetch->next;
    executor->fetch_count--;
    free(fetch);
}

static void fetch_refuse(struct kvp_executor *executor, struct exec_fetch **link, int status)
{
    void *token = (*link)->token;
    executor->answering = KVP_OP_TASK_FETCH;
    fetch_free(executor, link);
    exec_refuse(executor, token, status, NULL);
}

static bool alive(const struct kvp_executor *executor, void *token)
{
    return executor->host.alive == NULL || executor->host.alive(executor->host.arg, token);
}

/* `needs_commit`: the answer depends on what may not be committed yet, so that another primary may
 * answer otherwise. */
static void answer_fetch(struct kvp_executor *executor, void *token, int code, bool needs_commit)
{
    if (needs_commit) {
        exec_answer_committed(executor, token, code);
    } else {
        exec_answer(executor, token, code, kvp_buf_slice(&executor->scratch));
    }
}

/* Gives an answer, if there is one. */
static bool try_fetch(struct kvp_executor *executor, const struct kvp_request *request, void *token)
{
    int code = KVP_OK;
    bool needs_commit = false;
    executor->answering = KVP_OP_TASK_FETCH;
    executor->scratch.size = 0;
    kvp_status status = kvp_jobs_fetch(kvp_engine_jobs(executor->engine), request, executor->now_us,
                                       &code, &executor->scratch, &needs_commit);
    if (status != KVP_OK) {
        exec_storage_failed(executor, status);
        exec_refuse(executor, token, KVP_UNAVAILABLE, kvp_strerror(status));
        return true;
    }
    if (code == KVP_NO_TASK) {
        return false;
    }
    answer_fetch(executor, token, code, needs_commit);
    return true;
}

/* A worker has one fetch in each of its slots: an earlier one was given up. */
static void drop_same_slot(struct kvp_executor *executor, const struct kvp_request *request)
{
    struct exec_fetch **link = &executor->fetches;
    while (*link != NULL) {
        const struct kvp_request *other = &(*link)->request;
        if (other->job.slot == request->job.slot && other->job.instance == request->job.instance &&
            kvp_slice_compare(other->key, request->key) == 0) {
            fetch_refuse(executor, link, KVP_NO_TASK);
            return;
        }
        link = &(*link)->next;
    }
}

void exec_fetch(struct kvp_executor *executor, const struct kvp_request *request, void *token)
{
    drop_same_slot(executor, request);
    if (try_fetch(executor, request, token)) {
        return;
    }
    uint32_t wait_ms = request->job.wait_ms < WAIT_MAX_MS ? request->job.wait_ms : WAIT_MAX_MS;
    struct exec_fetch *fetch = NULL;
    if (wait_ms > 0 && executor->fetch_count < EXEC_FETCHES_MAX) {
        fetch = malloc(sizeof(*fetch));
    }
    if (fetch == NULL) {
        exec_refuse(executor, token, KVP_NO_TASK, NULL);
        return;
    }
    fetch->request = *request;
    fetch->token = token;
    fetch->until_us = executor->now_us + (uint64_t)wait_ms * 1000;
    memcpy(fetch->name, request->key.data, request->key.size);
    fetch->request.key.data = fetch->name;
    fetch->next = NULL;
    struct exec_fetch **link = &executor->fetches;
    while (*link != NULL) {
        link = &(*link)->next; /* first come, first served */
    }
    *link = fetch;
    executor->fetch_count++;
}

static void serve_waiting(struct kvp_executor *executor)
{
    struct exec_fetch **link = &executor->fetches;
    while (*link != NULL) {
        struct exec_fetch *fetch = *link;
        if (!alive(executor, fetch->token)) {
            fetch_refuse(executor, link, KVP_NO_TASK); /* into the void */
        } else if (fetch->request.asker != NULL &&
                   !exec_access_permits(executor, &fetch->request, fetch->token)) {
            fetch_free(executor, link); /* his right has gone meanwhile */
        } else if (try_fetch(executor, &fetch->request, fetch->token)) {
            fetch_free(executor, link);
        } else if (executor->now_us >= fetch->until_us) {
            fetch_refuse(executor, link, KVP_NO_TASK);
        } else {
            link = &fetch->next;
        }
    }
    executor->look_again_us = executor->now_us + LOOK_AGAIN_US;
}

void exec_fetch_end(struct kvp_executor *executor)
{
    while (executor->fetches != NULL) {
        fetch_refuse(executor, &executor->fetches, KVP_NOT_PRIMARY);
    }
}

static uint64_t waiting_deadline(const struct kvp_executor *executor)
{
    uint64_t due_us = executor->fetches != NULL ? executor->look_again_us : UINT64_MAX;
    for (const struct exec_fetch *fetch = executor->fetches; fetch != NULL; fetch = fetch->next) {
        due_us = fetch->until_us < due_us ? fetch->until_us : due_us;
    }
    return due_us;
}

/* ---- what is due ---- */

static bool able_serving(const struct kvp_executor *executor, bool serving)
{
    return serving && !executor->broken && !kvp_core_holds_back(executor->core, executor->now_us) &&
           executor->waiting_size < EXEC_WAITING_SIZE_MAX;
}

static bool able(const struct kvp_executor *executor)
{
    return able_serving(executor, exec_serving(executor));
}

/* ---- who is heard ---- */

void exec_jobs_begin(struct kvp_executor *executor)
{
    executor->hearing =
        (struct exec_hearing){.until_us = executor->now_us, .committed = executor->committed};
}

/* How much of the time since it was looked at last counts as silence of whoever said nothing in it.
 * Not while nothing is committed that somebody waits for: it may be he. */
static uint64_t hearing_counts_us(const struct kvp_executor *executor, bool able_still)
{
    const struct exec_hearing *last = &executor->hearing;
    uint64_t gap_us = executor->now_us - last->until_us;
    if (!last->able || !able_still) {
        return 0;
    }
    if (!last->waits) {
        return gap_us;
    }
    bool moved = executor->committed != last->committed;
    return !moved ? 0 : gap_us < COMMIT_MAX_US ? gap_us : COMMIT_MAX_US;
}

void exec_jobs_hear(struct kvp_executor *executor, bool serving)
{
    struct exec_hearing *hearing = &executor->hearing;
    bool able_now = able_serving(executor, serving), waits = executor->first != NULL;
    bool moved = executor->committed != hearing->committed;
    if (able_now && hearing->able && !waits && !hearing->waits && !moved) {
        return; /* all of it counts, as it did: nothing is to be told */
    }
    if (!hearing->able || !able_now || !hearing->waits || !waits || moved) {
        uint64_t gap_us = executor->now_us - hearing->until_us;
        hearing->unheard_us += gap_us - hearing_counts_us(executor, able_now);
        hearing->until_us = executor->now_us;
    } /* else it is not known yet when that will be */
    hearing->able = able_now;
    hearing->waits = waits;
    hearing->committed = executor->committed;
    kvp_jobs_hear(kvp_engine_jobs(executor->engine), able_now && !waits ? 0 : hearing->until_us,
                  hearing->unheard_us);
}

/* ---- what is due by itself ---- */

/* One piece. False: there is nothing more to do now. */
static bool exec_jobs_work(struct kvp_executor *executor)
{
    struct kvp_execution execution;
    bool more = false;
    uint64_t seq = kvp_core_next_seq(executor->core);
    kvp_status status = kvp_engine_step(executor->engine, seq, &execution, &more);
    if (kvp_engine_reads(executor->engine)) {
        exec_rest(executor, EXEC_PAUSE_US);
    }
    if (status != KVP_OK) {
        executor->broken = true;
        exec_storage_failed(executor, status);
        return false;
    }
    if (execution.kind == KVP_EXECUTION_APPEND &&
        exec_append(executor, &execution.writeset) != KVP_OK) {
        executor->broken = true;
    }
    kvp_buf_free(&execution.writeset);
    return more && !executor->broken;
}

void exec_jobs_step(struct kvp_executor *executor)
{
    bool due = kvp_engine_deadline(executor->engine) <= executor->now_us;
    if ((!due && executor->fetches == NULL) || !able(executor)) {
        return;
    }
    kvp_engine_set_now(executor->engine, executor->now_us);
    for (unsigned n = 0; n < STEPS_AT_ONCE; n++) {
        if (kvp_engine_deadline(executor->engine) > executor->now_us || !exec_jobs_work(executor)) {
            break;
        }
    }
    bool work_available = kvp_jobs_work_available(kvp_engine_jobs(executor->engine));
    if (executor->fetches != NULL &&
        (work_available || executor->now_us >= waiting_deadline(executor)) &&
        exec_serving(executor)) {
        serve_waiting(executor);
    }
}

uint64_t exec_jobs_deadline(const struct kvp_executor *executor)
{
    if (!able(executor)) {
        return UINT64_MAX; /* leases come with messages, and then it is looked at again */
    }
    uint64_t engine_us = kvp_engine_deadline(executor->engine);
    uint64_t waiting_us = waiting_deadline(executor);
    return engine_us < waiting_us ? engine_us : waiting_us;
}
