/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes as what the microcontroller's client reads. The first byte says which operation,
 * whether the rest is the whole stream or the body of each answer, and how it is cut; the second
 * byte how large the client's buffer is, or the room for payloads. Bodies are also read by the
 * library's decoder: what the client takes for a value or a task must be one there, and the other
 * way round.
 */
#include "tests/fuzz/fuzz.h"
#include "mcu-port/kvmcu.h"
#include "replication/wire/wire.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#define CHECKPOINT_MAX 8u
#define TIMEOUT_MS     3000u
#define PLACE_MAX      ((uint64_t)1 << 62) /* of versions: the client looks */

struct line {
    kvp_slice bytes;
    bool framed; /* they are the body of every answer */
    size_t chunk;
    uint32_t now_ms;
    uint8_t head[12]; /* the greeting, or the head of a frame */
    size_t head_size, head_at, at;
};

static void must(bool condition, const char *what)
{
    if (!condition) {
        fprintf(stderr, "%s\n", what);
        abort();
    }
}

static int line_open(void *arg, unsigned index)
{
    struct line *line = arg;
    (void)index;
    memcpy(line->head, "\0SP\0\0\x31\0\0", 8);
    line->head_size = line->framed ? 8 : 0;
    line->head_at = 0;
    line->at = line->framed ? line->bytes.size : 0;
    return 1;
}

/* Each request goes out in one piece. */
static int line_send(void *arg, const void *data, size_t size)
{
    struct line *line = arg;
    const uint8_t *request = data;
    size_t length = line->bytes.size + 4;
    must(size >= 8, "a request in pieces");
    if (size > 8 && line->framed) {
        memset(line->head, 0, sizeof(line->head));
        for (unsigned i = 0; i < 4; i++) {
            line->head[7 - i] = (uint8_t)(length >> 8 * i);
        }
        memcpy(line->head + 8, request + 8, 4);
        line->head_size = sizeof(line->head);
        line->head_at = line->at = 0;
    }
    return (int)size;
}

static size_t take(kvp_slice from, size_t *at, void *data, size_t size)
{
    size_t left = from.size - *at;
    size = size < left ? size : left;
    if (size > 0) {
        memcpy(data, (const uint8_t *)from.data + *at, size);
        *at += size;
    }
    return size;
}

static int line_recv(void *arg, void *data, size_t size)
{
    struct line *line = arg;
    size = size < line->chunk ? size : line->chunk;
    if (line->head_at < line->head_size) {
        return (int)take(kvp_slice_of(line->head, line->head_size), &line->head_at, data, size);
    }
    return (int)take(line->bytes, &line->at, data, size);
}

static void line_close(void *arg)
{
    (void)arg;
}

static uint32_t line_now(void *arg)
{
    return ((struct line *)arg)->now_ms;
}

static void line_idle(void *arg)
{
    ((struct line *)arg)->now_ms += 5;
}

/* A GET and the only body that any node gives it. */
static void compare(kvp_slice body, const struct kvmcu_result *result, size_t buffer_size)
{
    struct kvp_answer answer;
    struct kvp_get_result get;
    bool sound = kvp_wire_answer_decode(body, &answer) == KVP_OK && answer.status == KVP_OK &&
                 kvp_wire_read_get(answer.result, &get) == KVP_OK;

    if (result->status == KVMCU_OK) {
        must(sound, "a value out of nothing");
        must(
            get.value.size == result->size && get.modify == result->revision &&
                get.create == result->created && get.behind == result->behind &&
                (get.value.size == 0 || memcmp(get.value.data, result->value, get.value.size) == 0),
            "another value");
    } else if (sound && get.modify < PLACE_MAX && get.create < PLACE_MAX) {
        must(result->status == KVMCU_DOES_NOT_FIT && get.value.size > buffer_size &&
                 result->size == get.value.size,
             "a value was not taken");
    }
}

static bool same(kvp_slice a, const void *bytes, size_t size)
{
    return a.size == size && (size == 0 || memcmp(a.data, bytes, size) == 0);
}

/* A WATCH and the only body that any node gives it: the last event in it. */
static void compare_watch(kvp_slice body, const struct kvmcu_result *result)
{
    struct kvp_answer answer;
    struct kvp_scan_result scan;
    struct kvp_get_result event = {0};
    kvp_slice key;
    bool sound = kvp_wire_answer_decode(body, &answer) == KVP_OK && answer.status == KVP_OK &&
                 kvp_wire_read_scan(answer.result, &scan) == KVP_OK;
    if (result->status != KVMCU_OK) {
        return;
    }
    must(sound, "events out of nothing");
    while (kvp_wire_scan_next(&scan, &key, &event) == KVP_OK) {
    }
    must(scan.cursor == result->next && event.modify == result->revision &&
             event.create == result->created && same(event.value, result->value, result->size),
         "another event");
}

/* A FETCH and the only body that any node gives it. */
static void compare_task(kvp_slice body, const struct kvmcu_worker *worker,
                         const struct kvmcu_task *task, int status)
{
    struct kvp_answer answer;
    struct kvp_task_grant grant;
    bool sound = kvp_wire_answer_decode(body, &answer) == KVP_OK && answer.status == KVP_OK &&
                 kvp_wire_read_grant(answer.result, &grant) == KVP_OK && grant.job < PLACE_MAX;
    bool whole = sound && grant.crc == (uint32_t)crc32_z(crc32_z(0, NULL, 0), grant.payload.data,
                                                         grant.payload.size);

    if (status == KVMCU_OK) {
        bool known = task->kind < worker->kind_count;
        bool kept = sound && grant.checkpoint.size <= CHECKPOINT_MAX;
        must(whole, "a task out of nothing");
        must(task->job == grant.job && task->attempt == grant.attempt &&
                 task->number == grant.task && task->beat_ms == grant.beat_ms &&
                 task->deadline_ms == grant.deadline_ms,
             "another task");
        must(same(grant.payload, worker->workspace, task->payload_size) &&
                 same(kept ? grant.checkpoint : kvp_slice_of(NULL, 0), worker->checkpoint,
                      task->checkpoint_size),
             "another payload");
        must(known == same(grant.kind, "matmul", 6), "another kind");
    } else if (whole) {
        must(status == KVMCU_DOES_NOT_FIT && grant.payload.size > worker->workspace_size,
             "a task was not taken");
    }
}

static void run(struct line *line, unsigned op, size_t workspace)
{
    static const char *const urls[] = {"tcp://10.0.0.1:7000", "tcp://10.0.0.2:7000"};
    static const char *const kinds[] = {"matmul"};
    uint8_t checkpoint[CHECKPOINT_MAX];
    struct kvmcu_transport transport = {line_open, line_send, line_recv, line_close,
                                        line_now,  line_idle, line};
    struct kvmcu client;
    struct kvmcu_task task = {.number = 1};
    struct kvmcu_request request = {.op = (uint8_t)op,
                                    .key = "k",
                                    .key_size = 1,
                                    .value = "v",
                                    .value_size = 1,
                                    .version = 1,
                                    .task = &task};
    struct kvmcu_result result;
    size_t buffer_size = KVMCU_BUFFER_MIN + (op < KVMCU_JOIN ? workspace : 0);
    uint8_t *buffer = malloc(buffer_size); /* of exactly that size, for the sanitizers */
    uint8_t *payload = malloc(workspace > 0 ? workspace : 1);
    must(buffer != NULL && payload != NULL, "no memory");
    struct kvmcu_worker worker = {.name = "w",
                                  .kinds = kinds,
                                  .kind_count = 1,
                                  .workspace = payload,
                                  .workspace_size = (uint32_t)workspace,
                                  .checkpoint = checkpoint,
                                  .checkpoint_max = CHECKPOINT_MAX};
    struct kvmcu_config config = {.transport = &transport,
                                  .group = "default",
                                  .urls = urls,
                                  .url_count = 2,
                                  .buffer = buffer,
                                  .client = 0x1122334455667788u,
                                  .buffer_size = (uint16_t)buffer_size,
                                  .worker = &worker};

    must(kvmcu_init(&client, &config) == KVMCU_OK, "init");
    client.instance = line->framed ? 7 : 0; /* else it would join first, and get a task for that */
    int status = kvmcu_call(&client, &request, TIMEOUT_MS);
    must(status >= 0 && status <= KVMCU_DOES_NOT_FIT, "status");
    must(line->now_ms <= TIMEOUT_MS + 5, "it came to no end");
    kvmcu_result(&client, &result);
    must(result.status == status, "another status");
    must(result.size <= buffer_size || status == KVMCU_DOES_NOT_FIT, "size");
    if (line->framed && op == KVMCU_GET) {
        compare(line->bytes, &result, buffer_size);
    } else if (line->framed && op == KVMCU_WATCH) {
        compare_watch(line->bytes, &result);
    } else if (line->framed && op == KVMCU_FETCH) {
        compare_task(line->bytes, &worker, &task, status);
    }
    (void)kvmcu_get(&client, "k", 1, 100); /* and goes on */
    kvmcu_stop(&client);
    free(buffer);
    free(payload);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    /* All updates of keys have answers of one form. */
    static const uint8_t ops[] = {KVMCU_HELLO,  KVMCU_GET, KVMCU_PUT,   KVMCU_WATCH,
                                  KVMCU_DELETE, KVMCU_CAS, KVMCU_FETCH, KVMCU_BEAT};

    if (size < 2) {
        return 0;
    }
    struct line line = {.bytes = {data + 2, size - 2},
                        .framed = (data[0] & 8) != 0,
                        .chunk = (size_t)1 + (data[0] >> 4) * 3u};

    run(&line, ops[data[0] & 7], data[1]);
    return 0;
}
