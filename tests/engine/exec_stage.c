/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/engine/exec_stage.h"

#include "replication/core/core_state.h"

#include <string.h>

/* ---- memory, replaced by the linker (--wrap) ---- */

long allocations_left = -1; /* -1: no end */

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *bytes, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *bytes, size_t size);

static bool refuse(void)
{
    if (allocations_left > 0) {
        allocations_left--;
        return false;
    }
    return allocations_left == 0;
}

void *__wrap_malloc(size_t size)
{
    return refuse() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
    return refuse() ? NULL : __real_calloc(count, size);
}

void *__wrap_realloc(void *bytes, size_t size)
{
    return refuse() ? NULL : __real_realloc(bytes, size);
}

/* ---- the host ---- */

static void on_answer(void *arg, void *token, const struct kvp_answer *answer)
{
    struct reply *reply = token;
    long left = allocations_left;
    (void)arg;
    assert_false(reply->done);
    reply->done = true;
    reply->status = answer->status;
    allocations_left = -1; /* the test has what it needs */
    assert_int_equal(kvp_buf_append(&reply->result, answer->result.data, answer->result.size),
                     KVP_OK);
    allocations_left = left;
}

static void on_disk(void *arg, struct kvp_disk_job *job)
{
    struct stage *stage = arg;
    job->next = NULL;
    *(stage->first != NULL ? &stage->last->next : &stage->first) = job;
    stage->last = job;
}

static void on_send(void *arg, uint8_t peer, enum kvp_link_kind kind, kvp_slice body)
{
    (void)arg, (void)peer, (void)kind, (void)body;
    fail_msg("there is nobody to send to");
}

static void on_answer_peer(void *arg, void *token, kvp_slice body)
{
    struct reply *reply = token;
    (void)arg, (void)body;
    assert_false(reply->done);
    reply->done = true;
}

static void on_arbiter(void *arg, const struct kvp_arbiter_request *request)
{
    (void)arg, (void)request;
    fail_msg("there is no arbiter to ask");
}

static void on_fence(void *arg)
{
    (void)arg;
    fail_msg("there is no fence");
}

static void on_log(void *arg, enum kvp_log_level level, const char *event, const char *fields)
{
    (void)arg, (void)level, (void)event, (void)fields;
}

static void on_nothing(void *arg)
{
    (void)arg;
}

/* ---- the stage ---- */

void stage_disk_step(struct stage *stage)
{
    struct kvp_disk_job *job = stage->first;
    stage->first = job->next;
    kvp_disk_run(&stage->disk, job);
    kvp_executor_disk_done(stage->executor, stage->now_us, job);
    kvp_executor_flush(stage->executor, stage->now_us);
}

void stage_disk_all(struct stage *stage)
{
    while (stage->first != NULL) {
        stage_disk_step(stage);
    }
}

void stage_disk(struct stage *stage)
{
    stage_disk_all(stage);
    stage->now_us += KVP_CORE_APPLY_WAIT_US;
    kvp_executor_flush(stage->executor, stage->now_us);
    stage_disk_all(stage);
}

void stage_pass(struct stage *stage, uint64_t time_us)
{
    uint64_t until_us = stage->now_us + time_us;
    while (kvp_executor_deadline(stage->executor) <= until_us) {
        uint64_t due_us = kvp_executor_deadline(stage->executor);
        stage->now_us = due_us > stage->now_us ? due_us : stage->now_us + 1;
        kvp_executor_tick(stage->executor, stage->now_us);
        kvp_executor_flush(stage->executor, stage->now_us);
        stage_disk(stage);
    }
    stage->now_us = until_us;
    kvp_executor_flush(stage->executor, stage->now_us);
}

void stage_start(struct stage *stage)
{
    struct kvp_loaded loaded;
    char message[256] = "";
    struct kvp_executor_config config = {.group = "stage", .url = "tcp://stage:1"};
    config.core = (struct kvp_core_config){.self = 1,
                                           .nodes = 1u << 1,
                                           .policy = KVP_PAIR_BACKUP_WINS,
                                           .heartbeat_us = 100000,
                                           .lease_us = 400000,
                                           .grace_us = 500000,
                                           .sync_timeout_us = 2000000,
                                           .log_size_max = 1 << 20,
                                           .cache_size_max = 1 << 20,
                                           .random = 42};
    const struct kvp_executor_host host = {.arg = stage,
                                           .send = on_send,
                                           .answer = on_answer,
                                           .answer_peer = on_answer_peer,
                                           .disk = on_disk,
                                           .arbiter = on_arbiter,
                                           .fence = on_fence,
                                           .log = on_log,
                                           .changed = on_nothing,
                                           .stopped = on_nothing};
    assert_int_equal(kvp_storage_open(stage->env, config.group, 1, &stage->disk.storage, &loaded,
                                      message, sizeof(message)),
                     KVP_OK);
    assert_int_equal(kvp_executor_open(&config, &host, stage->disk.storage, &loaded, stage->now_us,
                                       &stage->executor),
                     KVP_OK);
}

void stage_open(struct stage *stage)
{
    memset(stage, 0, sizeof(*stage));
    stage->now_us = 1000000;
    assert_int_equal(kvp_env_memory_open(&stage->env), KVP_OK);
    stage_start(stage);
    stage_disk(stage);
    stage_pass(stage, 5000000);
    assert_int_equal(kvp_core_role(kvp_executor_core(stage->executor)), KVP_ROLE_PRIMARY);
}

void stage_close(struct stage *stage)
{
    kvp_disk_close(&stage->disk);
    kvp_executor_close(stage->executor);
    while (stage->first != NULL) {
        struct kvp_disk_job *job = stage->first;
        stage->first = job->next;
        kvp_disk_job_free(job);
    }
    kvp_storage_close(stage->disk.storage);
    stage->env->ops->close(stage->env);
}

/* ---- asking ---- */

void reply_free(struct reply *reply)
{
    kvp_buf_free(&reply->result);
    memset(reply, 0, sizeof(*reply));
}

void hand_in(struct stage *stage, const struct kvp_request *request, struct reply *reply,
             long limit)
{
    struct kvp_request whole = *request;
    kvp_buf body = {0};
    whole.group = whole.group.size ? whole.group : TEXT("stage");
    assert_int_equal(kvp_wire_request_encode(&whole, &body), KVP_OK);
    memset(reply, 0, sizeof(*reply));
    allocations_left = limit;
    kvp_executor_message(stage->executor, stage->now_us, kvp_buf_slice(&body), whole.asker, reply);
    allocations_left = -1;
    kvp_buf_free(&body); /* the executor must not need it any more */
}

void stage_send(struct stage *stage, const struct kvp_request *request, struct reply *reply)
{
    hand_in(stage, request, reply, -1);
    kvp_executor_flush(stage->executor, stage->now_us);
}

void check_now(struct stage *stage, struct kvp_request request, int status)
{
    struct reply reply;
    stage_send(stage, &request, &reply);
    assert_true(reply.done);
    assert_int_equal(reply.status, status);
    reply_free(&reply);
}

void must_put(struct stage *stage, const char *key, const char *value)
{
    struct reply reply;
    struct kvp_request request = ask_put(key, value);
    stage_send(stage, &request, &reply);
    assert_false(reply.done);
    stage_disk(stage);
    assert_true(reply.done);
    assert_int_equal(reply.status, KVP_OK);
    reply_free(&reply);
}

struct kvp_request ask_get(const char *key, bool stale)
{
    return (struct kvp_request){.op = KVP_OP_GET, .key = text(key), .stale = stale};
}

struct kvp_request ask_scan(const char *from, const char *to, uint32_t count)
{
    return (struct kvp_request){
        .op = KVP_OP_SCAN, .key = text(from), .value = text(to), .count_max = count};
}
