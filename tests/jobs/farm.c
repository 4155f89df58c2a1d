/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/jobs/farm.h"

#include "replication/matrix/matrix_multiply.h"
#include "kvstore/writeset.h"
#include "replication/wire/mp_reader.h"
#include "replication/wire/mp_writer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#define STEP_US 50000u

static kvp_buf granted; /* the answer of the last fetch */

/* ---- the farm ---- */

static void start(struct farm *farm)
{
    kvp_engine_set_now(farm->bench.engine, farm->now_us);
    farm->starts++; /* each primary has its own randomness */
    assert_int_equal(kvp_engine_start_jobs(farm->bench.engine, 4711, farm->starts), KVP_OK);
}

void farm_open(struct farm *farm)
{
    bench_open(&farm->bench, 0);
    farm->bench.step_us = 0;
    farm->now_us = 1000000;
    farm->fetches = farm->starts = 0;
    farm_watch(farm, NULL, NULL, NULL);
    farm->steps_max = 0;
    farm->sessions = 0;
    start(farm);
}

void farm_close(struct farm *farm)
{
    kvp_buf_free(&granted);
    bench_close(&farm->bench);
}

void farm_failover(struct farm *farm)
{
    bench_settle(&farm->bench);
    bench_restart(&farm->bench);
    start(farm);
    farm_work(farm);
}

int farm_load_with(struct farm *farm, const struct kvp_raw_key *key, const kvp_buf *record)
{
    struct bench *bench = &farm->bench;
    struct kvp_request put = ask_put("key", "value");
    struct kvp_execution execution = bench_run(bench, &put);
    execution_free(&execution);
    kvp_buf *set = &bench->sets[bench->count - 1];
    set->size = 0;
    assert_int_equal(kvp_writeset_put(set, kvp_raw_key_slice(key), kvp_buf_slice(record)), KVP_OK);
    bench_settle(bench);
    bench_restart(bench);
    kvp_engine_set_now(bench->engine, farm->now_us);
    return kvp_engine_start_jobs(bench->engine, 4711, ++farm->starts);
}

static void keep(struct farm *farm, struct kvp_execution *execution)
{
    struct bench *bench = &farm->bench;
    if (bench->count == bench->capacity) {
        bench->capacity = bench->capacity ? bench->capacity * 2 : 64;
        bench->sets = realloc(bench->sets, bench->capacity * sizeof(*bench->sets));
        assert_non_null(bench->sets);
    }
    bench->sets[bench->count++] = execution->writeset;
    execution->writeset = (kvp_buf){0};
}

void farm_watch(struct farm *farm, void (*before)(void *arg),
                void (*after)(void *arg, size_t wrote), void *arg)
{
    farm->before_step = before;
    farm->after_step = after;
    farm->step_arg = arg;
}

void farm_work(struct farm *farm)
{
    struct kvp_engine *engine = farm->bench.engine;
    kvp_engine_set_now(engine, farm->now_us);
    for (unsigned n = 0; kvp_engine_deadline(engine) <= farm->now_us &&
                         (farm->steps_max == 0 || n < farm->steps_max);
         n++) {
        struct kvp_execution execution;
        bool more;
        assert_true(n < 100000);
        if (farm->before_step != NULL) {
            farm->before_step(farm->step_arg);
        }
        assert_int_equal(kvp_engine_step(engine, bench_next(&farm->bench), &execution, &more),
                         KVP_OK);
        if (farm->after_step != NULL) {
            farm->after_step(farm->step_arg, execution.writeset.size);
        }
        if (execution.kind == KVP_EXECUTION_APPEND) {
            keep(farm, &execution);
        }
        execution_free(&execution);
    }
    bench_settle(&farm->bench);
}

void farm_wait(struct farm *farm, uint32_t ms)
{
    uint64_t end_us = farm->now_us + (uint64_t)ms * 1000;
    while (farm->now_us < end_us) {
        farm->now_us += end_us - farm->now_us < STEP_US ? end_us - farm->now_us : STEP_US;
        farm_work(farm);
    }
}

int farm_ask(struct farm *farm, const struct kvp_request *request, kvp_buf *answer)
{
    kvp_engine_set_now(farm->bench.engine, farm->now_us);
    struct kvp_execution execution = bench_run(&farm->bench, request);
    if (answer != NULL) {
        *answer = execution.answer;
        execution.answer = (kvp_buf){0};
    }
    int status = execution.status;
    execution_free(&execution);
    farm_work(farm);
    return status;
}

/* ---- jobs ---- */

static struct kvp_request ask_job(unsigned op, uint64_t job)
{
    return (struct kvp_request){.op = op, .job = {.job = job}};
}

static uint64_t ask_number(struct farm *farm, const struct kvp_request *request)
{
    kvp_buf answer = {0};
    uint64_t number = 0;
    assert_int_equal(farm_ask(farm, request, &answer), KVP_OK);
    assert_int_equal(kvp_wire_read_uint(kvp_buf_slice(&answer), &number), KVP_OK);
    kvp_buf_free(&answer);
    return number;
}

struct kvp_job_spec mode_of(const char *mode)
{
    struct kvp_job_spec spec;
    kvp_job_spec_init(&spec, KVP_JOB_TASKS);
    assert_int_equal(kvp_job_spec_mode(&spec, mode), KVP_OK);
    return spec;
}

uint64_t farm_new(struct farm *farm, const struct kvp_job_spec *spec)
{
    kvp_buf bytes = {0};
    struct kvp_request request = ask_job(KVP_OP_JOB_NEW, 0);
    assert_int_equal(kvp_job_spec_encode(spec, &bytes), KVP_OK);
    request.value = kvp_buf_slice(&bytes);
    uint64_t job = ask_number(farm, &request);
    kvp_buf_free(&bytes);
    return job;
}

int farm_add(struct farm *farm, uint64_t job, uint32_t number, const char *kind,
             const char *payload, const int *after, bool feed)
{
    kvp_buf bytes = {0};
    uint32_t numbers[16], count = 0;
    struct kvp_request request = ask_job(KVP_OP_JOB_TASKS, job);
    while (after != NULL && after[count] >= 0) {
        numbers[count] = (uint32_t)after[count];
        count++;
    }
    assert_int_equal(kvp_job_tasks_open(&bytes, 1), KVP_OK);
    assert_int_equal(kvp_job_tasks_put(&bytes, text(kind), numbers, count, feed, text(payload)),
                     KVP_OK);
    request.job.number = number;
    request.value = kvp_buf_slice(&bytes);
    int status = farm_ask(farm, &request, NULL);
    kvp_buf_free(&bytes);
    return status;
}

int farm_start(struct farm *farm, uint64_t job)
{
    struct kvp_request request = ask_job(KVP_OP_JOB_START, job);
    return farm_ask(farm, &request, NULL);
}

int farm_cancel(struct farm *farm, uint64_t job)
{
    struct kvp_request request = ask_job(KVP_OP_JOB_CANCEL, job);
    return farm_ask(farm, &request, NULL);
}

uint64_t farm_job(struct farm *farm, const struct kvp_job_spec *spec, unsigned count)
{
    uint64_t job = farm_new(farm, spec);
    for (unsigned i = 0; i < count; i++) {
        char payload[16];
        (void)snprintf(payload, sizeof(payload), "%u", i);
        assert_int_equal(farm_add(farm, job, i, "count", payload, NULL, false), KVP_OK);
    }
    assert_int_equal(farm_start(farm, job), KVP_OK);
    return job;
}

int farm_block(struct farm *farm, uint64_t job, uint32_t block, kvp_slice bytes)
{
    struct kvp_request request = ask_job(KVP_OP_JOB_DATA, job);
    request.job.number = block;
    request.value = bytes;
    return farm_ask(farm, &request, NULL);
}

uint64_t farm_product(struct farm *farm, const struct kvp_job_spec *spec,
                      const struct kvp_matrix *a, const struct kvp_matrix *b)
{
    uint64_t job = farm_new(farm, spec);
    uint32_t inputs = kvp_job_grid_of(spec).inputs;
    for (uint32_t i = 0; i < inputs; i++) {
        bool is_b;
        struct kvp_job_block block = kvp_job_input(spec, i, &is_b);
        struct kvp_block place = {block.row, block.column, block.rows, block.columns};
        size_t size = kvp_job_block_size(spec, block);
        uint8_t *bytes = malloc(size);
        assert_non_null(bytes);
        assert_int_equal(kvp_matrix_cut(is_b ? b : a, &place, bytes), KVP_OK);
        assert_int_equal(farm_block(farm, job, i, kvp_slice_of(bytes, size)), KVP_OK);
        free(bytes);
    }
    assert_int_equal(farm_start(farm, job), KVP_OK);
    return job;
}

int farm_result(struct farm *farm, uint64_t job, uint32_t number, kvp_buf *bytes)
{
    kvp_buf answer = {0};
    kvp_slice found;
    struct kvp_request request = ask_job(KVP_OP_JOB_RESULT, job);
    request.job.number = number;
    int status = farm_ask(farm, &request, &answer);
    if (status == KVP_OK) {
        assert_int_equal(kvp_wire_read_bin(kvp_buf_slice(&answer), &found), KVP_OK);
        assert_int_equal(kvp_buf_append(bytes, found.data, found.size), KVP_OK);
    }
    kvp_buf_free(&answer);
    return status;
}

/* ---- information ---- */

/* Finds a key in the map that the reader stands before; the value's bytes. */
static kvp_slice field(struct kvp_mp_reader *reader, const char *key)
{
    kvp_slice found = {0};
    uint32_t pairs = kvp_mp_map(reader);
    for (uint32_t i = 0; i < pairs; i++) {
        kvp_slice name = kvp_mp_str(reader);
        kvp_slice value = kvp_mp_skip(reader);
        if (kvp_slice_compare(name, text(key)) == 0) {
            found = value;
        }
    }
    assert_false(reader->failed);
    return found;
}

static void info_of_job(struct farm *farm, uint64_t job, const char *key, uint64_t *number,
                        char *words, size_t size)
{
    kvp_buf answer = {0};
    struct kvp_mp_reader reader;
    struct kvp_request request = ask_job(KVP_OP_JOB_INFO, job);
    request.job.what = KVP_INFO_JOB;
    assert_int_equal(farm_ask(farm, &request, &answer), KVP_OK);
    kvp_mp_begin(&reader, kvp_buf_slice(&answer));
    kvp_slice value = field(&reader, key);
    assert_true(value.size > 0);
    kvp_mp_begin(&reader, value);
    if (number != NULL) {
        *number = kvp_mp_uint(&reader);
    } else {
        kvp_slice found = kvp_mp_str(&reader);
        (void)snprintf(words, size, "%.*s", (int)found.size, (const char *)found.data);
    }
    assert_true(kvp_mp_done(&reader));
    kvp_buf_free(&answer);
}

uint64_t farm_number(struct farm *farm, uint64_t job, const char *key)
{
    uint64_t number;
    info_of_job(farm, job, key, &number, NULL, 0);
    return number;
}

const char *farm_text(struct farm *farm, uint64_t job, const char *key)
{
    static char words[256];
    info_of_job(farm, job, key, NULL, words, sizeof(words));
    return words;
}

/* The field of the worker, in an answer that the caller frees. */
static kvp_slice worker_field(struct farm *farm, const char *worker, const char *key,
                              kvp_buf *answer)
{
    struct kvp_mp_reader reader, again;
    struct kvp_request request = ask_job(KVP_OP_JOB_INFO, 0);
    request.job.what = KVP_INFO_WORKERS;
    assert_int_equal(farm_ask(farm, &request, answer), KVP_OK);
    kvp_mp_begin(&reader, kvp_buf_slice(answer));
    kvp_mp_array_of(&reader, 2);
    (void)kvp_mp_uint(&reader);
    for (uint32_t left = kvp_mp_array(&reader); left > 0; left--) {
        kvp_slice map = kvp_mp_skip(&reader);
        kvp_mp_begin(&again, map);
        kvp_slice name = field(&again, "name");
        kvp_mp_begin(&again, name);
        if (kvp_slice_compare(kvp_mp_str(&again), text(worker)) == 0) {
            kvp_mp_begin(&again, map);
            return field(&again, key);
        }
    }
    fail_msg("no worker %s", worker);
    return (kvp_slice){0};
}

uint64_t farm_worker_number(struct farm *farm, const char *worker, const char *key)
{
    kvp_buf answer = {0};
    struct kvp_mp_reader reader;
    kvp_mp_begin(&reader, worker_field(farm, worker, key, &answer));
    uint64_t number = kvp_mp_uint(&reader);
    assert_true(kvp_mp_done(&reader));
    kvp_buf_free(&answer);
    return number;
}

const char *farm_worker_text(struct farm *farm, const char *worker, const char *key)
{
    static char words[256];
    kvp_buf answer = {0};
    struct kvp_mp_reader reader;
    kvp_mp_begin(&reader, worker_field(farm, worker, key, &answer));
    kvp_slice found = kvp_mp_str(&reader);
    (void)snprintf(words, sizeof(words), "%.*s", (int)found.size, (const char *)found.data);
    kvp_buf_free(&answer);
    return words;
}

/* ---- workers ---- */

static struct kvp_request ask_as(unsigned op, const struct hand *hand)
{
    return (struct kvp_request){
        .op = op, .key = text(hand->name), .job = {.instance = hand->instance, .slot = hand->slot}};
}

static struct kvp_request ask_about(unsigned op, const struct hand *hand,
                                    const struct kvp_task_grant *grant)
{
    struct kvp_request request = ask_as(op, hand);
    request.job.job = grant->job;
    request.job.task = grant->task;
    request.job.attempt = grant->attempt;
    return request;
}

struct hand farm_join_sized(struct farm *farm, const char *name, const char *kind, bool standby,
                            uint64_t buffer)
{
    kvp_buf kinds = {0};
    struct kvp_mp_writer writer;
    struct hand hand = {.name = name};
    struct kvp_request request = ask_as(KVP_OP_WORKER_JOIN, &hand);
    kvp_mp_write_begin(&writer, &kinds);
    kvp_mp_write_array(&writer, 1);
    kvp_mp_write_text(&writer, kind);
    assert_int_equal(kvp_mp_write_end(&writer), KVP_OK);
    request.value = kvp_buf_slice(&kinds);
    request.job.buffer = buffer;
    request.job.standby = standby;
    uint64_t client = 1; /* each worker has its own */
    for (size_t i = 0; name[i] != '\0'; i++) {
        client = client * 31 + (uint8_t)name[i];
    }
    request = with_session(request, client, 0, ++farm->sessions, 1);
    hand.instance = ask_number(farm, &request);
    kvp_buf_free(&kinds);
    return hand;
}

struct hand farm_join(struct farm *farm, const char *name, const char *kind, bool standby)
{
    return farm_join_sized(farm, name, kind, standby, 8u << 20);
}

int farm_leave(struct farm *farm, const struct hand *hand)
{
    struct kvp_request request = ask_as(KVP_OP_WORKER_LEAVE, hand);
    return farm_ask(farm, &request, NULL);
}

int farm_fetch_again(struct farm *farm, const struct hand *hand, struct kvp_task_grant *grant)
{
    int status = KVP_OK;
    bool rests;
    struct kvp_request request = ask_as(KVP_OP_TASK_FETCH, hand);
    request.job.number = farm->fetches;
    granted.size = 0;
    assert_int_equal(kvp_jobs_fetch(kvp_engine_jobs(farm->bench.engine), &request, farm->now_us,
                                    &status, &granted, &rests),
                     KVP_OK);
    if (status == KVP_OK) {
        assert_int_equal(kvp_wire_read_grant(kvp_buf_slice(&granted), grant), KVP_OK);
        assert_int_equal(grant->crc,
                         (uint32_t)crc32_z(0, grant->payload.data, grant->payload.size));
    }
    return status;
}

int farm_fetch(struct farm *farm, const struct hand *hand, struct kvp_task_grant *grant)
{
    farm->fetches++;
    return farm_fetch_again(farm, hand, grant);
}

static int ask_bool(struct farm *farm, const struct kvp_request *request, bool *value)
{
    bool read = false;
    kvp_buf answer = {0};
    int status = farm_ask(farm, request, &answer);
    if (status == KVP_OK) {
        assert_int_equal(kvp_wire_read_bool(kvp_buf_slice(&answer), &read), KVP_OK);
    }
    if (value != NULL) {
        *value = read;
    }
    kvp_buf_free(&answer);
    return status;
}

int farm_beat(struct farm *farm, const struct hand *hand, const struct kvp_task_grant *grant,
              bool *go_on)
{
    struct kvp_request request = ask_about(KVP_OP_TASK_BEAT, hand, grant);
    request.job.progress = 500;
    return ask_bool(farm, &request, go_on);
}

int farm_checkpoint(struct farm *farm, const struct hand *hand, const struct kvp_task_grant *grant,
                    const char *checkpoint)
{
    struct kvp_request request = ask_about(KVP_OP_TASK_BEAT, hand, grant);
    request.job.has_checkpoint = true;
    request.value = text(checkpoint);
    return ask_bool(farm, &request, NULL);
}

int farm_post_bytes(struct farm *farm, const struct hand *hand, const struct kvp_task_grant *grant,
                    unsigned outcome, kvp_slice bytes, bool *counted)
{
    struct kvp_request request = ask_about(KVP_OP_TASK_POST, hand, grant);
    request.job.outcome = outcome;
    request.job.crc = (uint32_t)crc32_z(0, bytes.data, bytes.size);
    request.value = bytes;
    return ask_bool(farm, &request, counted);
}

int farm_post(struct farm *farm, const struct hand *hand, const struct kvp_task_grant *grant,
              const char *result)
{
    return farm_post_bytes(farm, hand, grant, KVP_OUTCOME_RESULT, text(result), NULL);
}

int farm_multiply(struct farm *farm, const struct hand *hand, const struct kvp_task_grant *grant)
{
    const uint8_t *payload = grant->payload.data;
    uint32_t type = kvp_get_u32(payload), rows = kvp_get_u32(payload + 4);
    uint32_t inner = kvp_get_u32(payload + 8), columns = kvp_get_u32(payload + 12);
    size_t element = kvp_matrix_element_size(type), size = (size_t)rows * columns * element;
    const uint8_t *a = payload + KVP_JOB_TILE_HEADER, *b = a + (size_t)rows * inner * element;
    uint8_t *c = malloc(size);
    assert_non_null(c);
    kvp_status status = kvp_multiply(type, rows, inner, columns, a, b, c);
    unsigned outcome = status == KVP_OVERFLOW ? KVP_OUTCOME_OVERFLOW : KVP_OUTCOME_RESULT;
    assert_true(status == KVP_OK || status == KVP_OVERFLOW);
    int code = farm_post_bytes(farm, hand, grant, outcome, kvp_slice_of(c, size), NULL);
    free(c);
    return code;
}
