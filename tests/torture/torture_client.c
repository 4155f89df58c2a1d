/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Clients that work on a few shared keys while somebody tortures the nodes, and the judge of what
 * they saw: is the history linearizable? Ends on SIGTERM or after --seconds. The last line of
 * output is JSON.
 *
 *   torture_client --nodes URL,URL [--threads N] [--seconds N] [--seed N]
 *
 * The keys change every two seconds: a checker's work grows with the history of one key.
 */
#include "kvpair/kvp_client.h"
#include "tests/sim/linear.h"

#include <getopt.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define THREADS_MAX 32u
#define WINDOW_US   2000000u
#define WINDOW_KEYS 4u
#define REST_US     2000u
#define TIMEOUT_MS  3000u
#define GAP_US      100000u /* updates stopped for at least so long: worth counting */
#define GAPS_MAX    4096u

struct worker {
    pthread_t thread;
    unsigned id;
    const char *nodes;
    uint64_t random, until_us;
    struct linear_op *ops;
    size_t count, capacity;
    unsigned acknowledged, unknown, refused, odd;
    kvp_status odd_status;
};

static volatile sig_atomic_t stop_asked;
static uint64_t begin_us;

/* Acknowledged updates of all workers, for the gaps between them. */
static pthread_mutex_t gap_lock = PTHREAD_MUTEX_INITIALIZER;
static uint64_t last_update_us;
static uint64_t gaps_us[GAPS_MAX];
static size_t gap_count;

static void on_signal(int number)
{
    (void)number;
    stop_asked = 1;
}

static uint64_t now_us(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000 + (uint64_t)time.tv_nsec / 1000;
}

static uint64_t next_random(struct worker *worker)
{
    worker->random ^= worker->random << 13;
    worker->random ^= worker->random >> 7;
    worker->random ^= worker->random << 17;
    return worker->random;
}

static void note_update(uint64_t now)
{
    pthread_mutex_lock(&gap_lock);
    if (last_update_us != 0 && now > last_update_us + GAP_US && gap_count < GAPS_MAX) {
        gaps_us[gap_count++] = now - last_update_us;
    }
    last_update_us = now > last_update_us ? now : last_update_us;
    pthread_mutex_unlock(&gap_lock);
}

static struct linear_op *new_op(struct worker *worker)
{
    if (worker->count == worker->capacity) {
        worker->capacity = worker->capacity == 0 ? 4096 : 2 * worker->capacity;
        worker->ops = realloc(worker->ops, worker->capacity * sizeof(worker->ops[0]));
        if (worker->ops == NULL) {
            abort();
        }
    }
    struct linear_op *op = &worker->ops[worker->count++];
    memset(op, 0, sizeof(*op));
    return op;
}

static kvp_status call(kvp_client *client, const struct linear_op *op, kvp_result *result)
{
    char key[32], value[32];
    (void)snprintf(key, sizeof(key), "torture/%u", op->key);
    (void)snprintf(value, sizeof(value), "%" PRIu64, op->value);
    kvp_slice k = {key, strlen(key)}, v = {value, strlen(value)};
    switch (op->kind) {
    case LINEAR_GET:
        return kvp_get(client, k, result);
    case LINEAR_PUT:
        return kvp_put(client, k, v, result);
    case LINEAR_CREATE:
        return kvp_create(client, k, v, result);
    default:
        return kvp_delete(client, k, 0, result);
    }
}

static uint64_t value_of(const kvp_result *result)
{
    char text[32] = "";
    if (result->value.size < sizeof(text)) {
        memcpy(text, result->value.data, result->value.size);
    }
    return strtoull(text, NULL, 10);
}

/* Enters the outcome. False: the operation is known not to have happened and does not count. */
static bool enter(struct worker *worker, struct linear_op *op, kvp_status status,
                  const kvp_result *result)
{
    op->returned = now_us() - begin_us;
    op->known = true;
    switch (status) {
    case KVP_OK:
        op->effect = true;
        op->value = op->kind == LINEAR_GET ? value_of(result) : op->value;
        break;
    case KVP_NOT_FOUND:
    case KVP_EXISTS:
        op->value = op->kind == LINEAR_GET ? 0 : op->value;
        break;
    case KVP_TIMEOUT_UNKNOWN:
        op->known = false;
        op->returned = UINT64_MAX;
        worker->unknown++;
        return true;
    case KVP_TIMEOUT:
    case KVP_UNAVAILABLE:
        worker->refused++;
        return false;
    default:
        worker->odd++;
        worker->odd_status = status;
        return false;
    }
    if (op->kind != LINEAR_GET) {
        worker->acknowledged++;
        note_update(op->returned);
    }
    return true;
}

static void choose(struct worker *worker, struct linear_op *op, uint64_t number)
{
    static const enum linear_kind kinds[] = {LINEAR_GET, LINEAR_GET,    LINEAR_PUT,
                                             LINEAR_PUT, LINEAR_CREATE, LINEAR_DELETE};
    uint64_t now = now_us() - begin_us;

    op->client = worker->id;
    op->key = (unsigned)(now / WINDOW_US * WINDOW_KEYS + next_random(worker) % WINDOW_KEYS);
    op->kind = kinds[next_random(worker) % (sizeof(kinds) / sizeof(kinds[0]))];
    bool writes = op->kind == LINEAR_PUT || op->kind == LINEAR_CREATE;
    op->value = writes ? (uint64_t)worker->id << 40 | number : 0;
    op->called = now;
}

static void *work(void *arg)
{
    struct worker *worker = arg;
    kvp_client_options options;
    kvp_client *client = NULL;
    kvp_client_options_init(&options);
    options.nodes = worker->nodes;
    options.timeout_ms = TIMEOUT_MS;
    if (kvp_client_open(&options, &client, NULL, 0) != KVP_OK) {
        worker->odd++;
        return NULL;
    }
    for (uint64_t number = 1; !stop_asked && now_us() < worker->until_us; number++) {
        kvp_result result = {0};
        struct linear_op *op = new_op(worker);
        choose(worker, op, number);
        kvp_status status = call(client, op, &result);
        if (!enter(worker, op, status, &result)) {
            worker->count--;
        }
        kvp_result_free(&result);
        struct timespec rest = {0, (long)(next_random(worker) % REST_US) * 1000};
        nanosleep(&rest, NULL);
    }
    kvp_client_close(client);
    return NULL;
}

static int by_size(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static void print_gaps(void)
{
    qsort(gaps_us, gap_count, sizeof(gaps_us[0]), by_size);
    printf("\"gaps\":%zu,\"gaps_ms\":[", gap_count);
    for (size_t i = 0; i < gap_count; i++) {
        printf("%s%" PRIu64, i == 0 ? "" : ",", gaps_us[i] / 1000);
    }
    printf("]");
}

/* One history of all workers, judged. */
static bool judge(const struct worker *workers, unsigned count)
{
    struct linear_op *ops;
    size_t total = 0, used = 0;
    unsigned keys = 0, acknowledged = 0, unknown = 0, refused = 0, odd = 0;
    kvp_status odd_status = KVP_OK;
    char why[256] = "";
    for (unsigned i = 0; i < count; i++) {
        total += workers[i].count;
        acknowledged += workers[i].acknowledged;
        unknown += workers[i].unknown;
        refused += workers[i].refused;
        odd += workers[i].odd;
        odd_status = workers[i].odd != 0 ? workers[i].odd_status : odd_status;
    }
    ops = calloc(total + 1, sizeof(*ops));
    if (ops == NULL) {
        abort();
    }
    for (unsigned i = 0; i < count; i++) {
        for (size_t j = 0; j < workers[i].count; j++) {
            ops[used++] = workers[i].ops[j];
            keys = workers[i].ops[j].key >= keys ? workers[i].ops[j].key + 1 : keys;
        }
    }
    bool linearizable = linear_check(ops, total, keys, why, sizeof(why));
    free(ops);
    printf("{\"operations\":%zu,\"acknowledged_updates\":%u,\"unknown\":%u,\"refused\":%u,"
           "\"odd\":%u,\"odd_status\":\"%s\",\"linearizable\":%s,\"why\":\"%s\",",
           total, acknowledged, unknown, refused, odd, kvp_strerror(odd_status),
           linearizable ? "true" : "false", why);
    print_gaps();
    printf("}\n");
    return linearizable && odd == 0;
}

int main(int argc, char **argv)
{
    static const struct option known[] = {{"nodes", required_argument, NULL, 'n'},
                                          {"threads", required_argument, NULL, 't'},
                                          {"seconds", required_argument, NULL, 's'},
                                          {"seed", required_argument, NULL, 'r'},
                                          {NULL, 0, NULL, 0}};
    static struct worker workers[THREADS_MAX];
    const char *nodes = NULL;
    unsigned threads = 6;
    double seconds = 60;
    uint64_t seed = 1;
    int which;

    while ((which = getopt_long(argc, argv, "", known, NULL)) != -1) {
        switch (which) {
        case 'n':
            nodes = optarg;
            break;
        case 't':
            threads = (unsigned)strtoul(optarg, NULL, 10);
            break;
        case 's':
            seconds = strtod(optarg, NULL);
            break;
        case 'r':
            seed = strtoull(optarg, NULL, 10);
            break;
        default:
            return 2;
        }
    }
    if (nodes == NULL || threads == 0 || threads > THREADS_MAX) {
        return 2;
    }
    signal(SIGTERM, on_signal);
    signal(SIGINT, on_signal);
    begin_us = now_us();
    for (unsigned i = 0; i < threads; i++) {
        workers[i].id = i + 1;
        workers[i].nodes = nodes;
        workers[i].random = seed * 0x9e3779b97f4a7c15u + i * 2 + 1;
        workers[i].until_us = begin_us + (uint64_t)(seconds * 1e6);
        if (pthread_create(&workers[i].thread, NULL, work, &workers[i]) != 0) {
            return 2;
        }
    }
    for (unsigned i = 0; i < threads; i++) {
        pthread_join(workers[i].thread, NULL);
    }
    bool good = judge(workers, threads);
    for (unsigned i = 0; i < threads; i++) {
        free(workers[i].ops);
    }
    return good ? 0 : 1;
}
