/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a request costs in instructions and allocations, in a pair of executors in one thread: no
 * sockets, no disks, no clock, so that the same build always counts the same. Run under
 *
 *     valgrind --tool=callgrind --toggle-collect=measured --toggle-collect=store
 *
 * (count_requests.py does) for the instructions; allocations are counted here.
 *
 *     count_requests put|put-64|get|txn COUNT
 *
 * prints "<requests> requests, <allocations> allocations". All but what is measured happens before
 * measured() is entered: the group is formed, the keys are there, every buffer has its size.
 */
#include "tests/support/store_memory.h"
#include "replication/node/disk.h"
#include "replication/node/executor.h"
#include "replication/wire/wire.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define GROUP      "count"
#define KEYS       256u
#define TXN_KEYS   100u
#define VALUE_SIZE 100u
#define WARM_UP    512u

/* ---- allocations, counted by what the linker puts in their place (--wrap) ---- */

static bool counting;
static unsigned long allocations;

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *bytes, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *bytes, size_t size);

void *__wrap_malloc(size_t size)
{
    allocations += counting ? 1 : 0;
    return __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
    allocations += counting ? 1 : 0;
    return __real_calloc(count, size);
}

void *__wrap_realloc(void *bytes, size_t size)
{
    allocations += counting ? 1 : 0;
    return __real_realloc(bytes, size);
}

/* ---- two nodes and what is under way between them ---- */

enum kind { REQUEST, ANSWER, JOB };

struct event {
    enum kind kind;
    unsigned to;
    struct event *next, *origin; /* ANSWER: to this request, which it frees */
    unsigned from;
    struct kvp_disk_job *job;
    size_t size;
    uint8_t body[];
};

struct side {
    unsigned id;
    struct kvp_env *env;
    struct kvp_disk disk;
    struct kvp_executor *executor;
};

static struct side sides[3];
static struct event *first, **last = &first;
static uint64_t now_us = 1000000;
static unsigned answered;

static void must(kvp_status status)
{
    if (status != KVP_OK) {
        fprintf(stderr, "count_requests: %s\n", kvp_strerror(status));
        exit(1);
    }
}

static struct event *push(enum kind kind, unsigned to, unsigned from, kvp_slice body)
{
    bool was = counting;
    counting = false; /* the wire's, not the node's */
    struct event *event = calloc(1, sizeof(*event) + body.size);
    counting = was;
    must(event != NULL ? KVP_OK : KVP_NO_MEMORY);
    *event = (struct event){.kind = kind, .to = to, .from = from, .size = body.size};
    if (body.size > 0) {
        memcpy(event->body, body.data, body.size);
    }
    *last = event;
    last = &event->next;
    return event;
}

static void on_send(void *arg, uint8_t peer, enum kvp_link_kind kind, kvp_slice body)
{
    const struct side *side = arg;
    (void)kind;
    (void)push(REQUEST, peer, side->id, body);
}

static void on_answer_peer(void *arg, void *token, kvp_slice body)
{
    const struct side *side = arg;
    struct event *origin = token;
    push(ANSWER, origin->from, side->id, body)->origin = origin;
}

static void on_disk(void *arg, struct kvp_disk_job *job)
{
    const struct side *side = arg;
    push(JOB, side->id, side->id, (kvp_slice){0})->job = job;
}

static void on_answer(void *arg, void *token, const struct kvp_answer *answer)
{
    (void)arg, (void)token;
    must((kvp_status)answer->status);
    answered++;
}

static void on_arbiter(void *arg, const struct kvp_arbiter_request *request)
{
    (void)arg, (void)request;
}

static void on_log(void *arg, enum kvp_log_level level, const char *event, const char *fields)
{
    (void)arg, (void)level, (void)event, (void)fields;
}

static void on_nothing(void *arg)
{
    (void)arg;
}

void store(struct side *side, struct kvp_disk_job *job);

/* Not inlined, and not counted: the store in memory is the tests', the nodes' is LevelDB. */
__attribute__((noinline)) void store(struct side *side, struct kvp_disk_job *job)
{
    counting = false;
    kvp_disk_run(&side->disk, job);
    counting = true;
}

static void happen(struct event *event)
{
    struct side *side = &sides[event->to];
    kvp_slice body = kvp_slice_of(event->body, event->size);
    switch (event->kind) {
    case REQUEST:
        kvp_executor_message(side->executor, now_us, body, NULL, event);
        break; /* freed with its answer */
    case ANSWER:
        kvp_executor_peer_answer(side->executor, now_us, (uint8_t)event->from, body);
        free(event->origin);
        free(event);
        break;
    case JOB:
        if (counting) {
            store(side, event->job);
        } else {
            kvp_disk_run(&side->disk, event->job);
        }
        kvp_executor_disk_done(side->executor, now_us, event->job);
        free(event);
        break;
    }
    kvp_executor_flush(side->executor, now_us);
}

static void settle(void)
{
    while (first != NULL) {
        struct event *event = first;
        first = event->next;
        last = first != NULL ? last : &first;
        happen(event);
    }
}

static void pass(uint64_t time_us)
{
    for (uint64_t until_us = now_us + time_us; now_us < until_us; now_us += 1000) {
        for (unsigned id = 1; id <= 2; id++) {
            if (kvp_executor_deadline(sides[id].executor) <= now_us) {
                kvp_executor_tick(sides[id].executor, now_us);
                kvp_executor_flush(sides[id].executor, now_us);
            }
        }
        settle();
    }
}

static void start(unsigned id)
{
    struct side *side = &sides[id];
    struct kvp_loaded loaded;
    char message[256] = "";
    struct kvp_executor_config config = {.group = GROUP, .url = "tcp://side:1", .peer_count = 1};
    config.core = (struct kvp_core_config){.self = (uint8_t)id,
                                           .nodes = 3u << 1,
                                           .policy = KVP_PAIR_BACKUP_WINS,
                                           .heartbeat_us = 100000,
                                           .lease_us = 400000,
                                           .grace_us = 500000,
                                           .sync_timeout_us = 2000000,
                                           .sync_replicas = 2,
                                           .log_size_max = 4u << 20,
                                           .cache_size_max = 4u << 20,
                                           .random = id};
    config.peers[0] = (struct kvp_executor_peer){.id = (uint8_t)(3 - id), .url = "tcp://side:2"};
    const struct kvp_executor_host host = {.arg = side,
                                           .send = on_send,
                                           .answer = on_answer,
                                           .answer_peer = on_answer_peer,
                                           .disk = on_disk,
                                           .arbiter = on_arbiter,
                                           .fence = on_nothing,
                                           .log = on_log,
                                           .changed = on_nothing,
                                           .stopped = on_nothing};
    side->id = id;
    must(kvp_env_memory_open(&side->env));
    must(kvp_storage_open(side->env, GROUP, id, &side->disk.storage, &loaded, message,
                          sizeof(message)));
    must(kvp_executor_open(&config, &host, side->disk.storage, &loaded, now_us, &side->executor));
}

static void form(void)
{
    start(1);
    start(2);
    for (unsigned id = 1; id <= 2; id++) {
        for (int kind = 0; kind < KVP_LINK_KINDS; kind++) {
            kvp_executor_link(sides[id].executor, now_us, (uint8_t)(3 - id),
                              (enum kvp_link_kind)kind, true);
        }
    }
    for (unsigned i = 0; kvp_core_view(kvp_executor_core(sides[1].executor))->in_sync != 3u << 1;
         i++) {
        if (i > 100) {
            fprintf(stderr, "count_requests: the pair is not formed\n");
            exit(1);
        }
        pass(100000);
    }
    pass(500000); /* both have heard of it, and of what the other has */
}

static void stop(void)
{
    for (unsigned id = 1; id <= 2; id++) {
        kvp_disk_close(&sides[id].disk);
        kvp_executor_close(sides[id].executor);
        kvp_storage_close(sides[id].disk.storage);
        sides[id].env->ops->close(sides[id].env);
    }
}

/* ---- requests ---- */

struct workload {
    const char *name;
    unsigned at_once;
    void (*make)(kvp_buf *body, unsigned number);
};

static char value[VALUE_SIZE];

/* Keys come in an order that is not theirs. */
static kvp_slice key_of(unsigned number, char *room)
{
    return kvp_slice_of(room, (size_t)sprintf(room, "key-%08u", number * 97 % KEYS));
}

static void make_put(kvp_buf *body, unsigned number)
{
    char room[32];
    struct kvp_request request = {.op = KVP_OP_PUT,
                                  .group = kvp_slice_of(GROUP, strlen(GROUP)),
                                  .key = key_of(number, room),
                                  .value = kvp_slice_of(value, sizeof(value))};
    request.session.client = 1 + number % 64;
    request.session.number = number / 64 + 1;
    must(kvp_wire_request_encode(&request, body));
}

static void make_get(kvp_buf *body, unsigned number)
{
    char room[32];
    struct kvp_request request = {
        .op = KVP_OP_GET, .group = kvp_slice_of(GROUP, strlen(GROUP)), .key = key_of(number, room)};
    must(kvp_wire_request_encode(&request, body));
}

static void make_txn(kvp_buf *body, unsigned number)
{
    static char rooms[TXN_KEYS][32];
    struct kvp_txn_op ops[TXN_KEYS];
    struct kvp_request request = {.op = KVP_OP_TXN,
                                  .group = kvp_slice_of(GROUP, strlen(GROUP)),
                                  .then_ops = ops,
                                  .then_count = TXN_KEYS};
    for (unsigned i = 0; i < TXN_KEYS; i++) {
        ops[i] = (struct kvp_txn_op){.kind = KVP_TXN_PUT,
                                     .key = key_of(number + i, rooms[i]),
                                     .value = kvp_slice_of(value, sizeof(value))};
    }
    request.session.client = 1 + number % 64;
    request.session.number = number / 64 + 1;
    must(kvp_wire_request_encode(&request, body));
}

static const struct workload workloads[] = {
    {"put", 1, make_put},
    {"put-64", 64, make_put},
    {"get", 1, make_get},
    {"txn", 1, make_txn},
};

void measured(const struct workload *workload, kvp_buf *bodies, unsigned count);

/* Not inlined: callgrind counts what happens in here. */
__attribute__((noinline)) void measured(const struct workload *workload, kvp_buf *bodies,
                                        unsigned count)
{
    for (unsigned i = 0; i < count; i += workload->at_once) {
        for (unsigned j = i; j < i + workload->at_once && j < count; j++) {
            kvp_executor_asked(sides[1].executor, now_us);
            kvp_executor_message(sides[1].executor, now_us, kvp_buf_slice(&bodies[j]), NULL, NULL);
            kvp_executor_handled(sides[1].executor, now_us);
        }
        kvp_executor_flush(sides[1].executor, now_us);
        settle();
    }
}

static kvp_buf *make(const struct workload *workload, unsigned from, unsigned count)
{
    kvp_buf *bodies = calloc(count, sizeof(*bodies));
    must(bodies != NULL ? KVP_OK : KVP_NO_MEMORY);
    for (unsigned i = 0; i < count; i++) {
        workload->make(&bodies[i], from + i);
    }
    return bodies;
}

static void warm_up(void)
{
    kvp_buf *bodies = make(&workloads[0], 0, WARM_UP);
    for (unsigned i = 0; i < WARM_UP; i++) {
        kvp_executor_message(sides[1].executor, now_us, kvp_buf_slice(&bodies[i]), NULL, NULL);
        kvp_executor_flush(sides[1].executor, now_us);
        settle();
        kvp_buf_free(&bodies[i]);
    }
    free(bodies);
}

int main(int argc, char **argv)
{
    const struct workload *workload = NULL;
    unsigned count = argc == 3 ? (unsigned)strtoul(argv[2], NULL, 10) : 0;
    for (size_t i = 0; argc == 3 && i < sizeof(workloads) / sizeof(workloads[0]); i++) {
        workload = strcmp(argv[1], workloads[i].name) == 0 ? &workloads[i] : workload;
    }
    if (workload == NULL || count == 0) {
        fprintf(stderr, "usage: count_requests put|put-64|get|txn COUNT\n");
        return 2;
    }
    form();
    warm_up();
    kvp_buf *bodies = make(workload, WARM_UP, count);
    answered = 0;
    counting = true;
    measured(workload, bodies, count);
    counting = false;
    printf("%u requests, %lu allocations\n", answered, allocations);
    for (unsigned i = 0; i < count; i++) {
        kvp_buf_free(&bodies[i]);
    }
    free(bodies);
    stop();
    return answered == count ? 0 : 1;
}
