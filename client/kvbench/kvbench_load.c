/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The load: lanes, each with one operation under way at any time. With one lane to a handle, and
 * for transactions, a lane is a thread that makes synchronous calls; else the callback of an
 * asynchronous call begins the next one, so that nothing is measured but the library.
 */
#include "client/kvbench/kvbench.h"

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define LOAD_OUTSTANDING 64u
#define LOAD_SECONDS     600.0
#define SECONDS_MAX      600.0 /* where only a count is given */
#define VALUE_CHOICE     4096u /* values begin anywhere in this much noise, so that they differ */
#define ZIPF_EXPONENT    0.99
#define PAUSE_MS         5u /* after a failure, so that nobody is asked in a tight loop */
#define KEY_SIZE         24u

struct handle {
    kvp_client *client;
    pthread_mutex_t mutex; /* of the result: several lanes fill it */
    struct bench_result result;
};

struct lane {
    struct run *run;
    struct handle *handle;
    pthread_t thread;
    uint64_t random;
    uint64_t begun_ns;
    bool reads; /* the operation under way */
    struct lane *next_idle;
};

struct zipf {
    double zeta_n, alpha, eta, half;
};

struct run {
    const struct bench *bench;
    enum bench_op op;
    struct zipf zipf;
    uint64_t count; /* 0: any number */
    atomic_uint_fast64_t end_ns;
    atomic_uint_fast64_t begun;
    char *noise;
    struct handle *handles;
    struct lane *lanes;
    pthread_mutex_t mutex; /* of what follows */
    pthread_cond_t wake;
    unsigned active; /* asynchronous lanes that have not ended */
    struct lane *idle;
};

/* ---- which key ---- */

static uint64_t load_random(uint64_t *state)
{
    uint64_t x = *state += UINT64_C(0x9e3779b97f4a7c15);
    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    return x ^ x >> 31;
}

static void zipf_init(struct zipf *zipf, uint64_t keys)
{
    double zeta_2 = 1 + pow(0.5, ZIPF_EXPONENT);
    zipf->zeta_n = 0;
    for (uint64_t i = 1; i <= keys; i++) {
        zipf->zeta_n += pow(1.0 / (double)i, ZIPF_EXPONENT);
    }
    zipf->half = zeta_2;
    zipf->alpha = 1 / (1 - ZIPF_EXPONENT);
    zipf->eta = (1 - pow(2.0 / (double)keys, 1 - ZIPF_EXPONENT)) / (1 - zeta_2 / zipf->zeta_n);
}

/* As Gray et al., "Quickly generating billion-record synthetic databases". */
static uint64_t zipf_rank(const struct zipf *zipf, uint64_t keys, double u)
{
    double scaled = u * zipf->zeta_n;
    if (scaled < 1 || keys < 3) {
        return scaled < 1 ? 0 : keys - 1;
    }
    if (scaled < zipf->half) {
        return 1;
    }
    uint64_t rank = (uint64_t)((double)keys * pow(zipf->eta * u - zipf->eta + 1, zipf->alpha));
    return rank < keys ? rank : keys - 1;
}

static uint64_t choose_key(struct lane *lane)
{
    const struct bench *bench = lane->run->bench;
    uint64_t random = load_random(&lane->random);
    if (!bench->zipf) {
        return random % bench->keys;
    }
    double u = (double)(random >> 11) / (double)(UINT64_C(1) << 53);
    uint64_t rank = zipf_rank(&lane->run->zipf, bench->keys, u);
    return load_random(&rank) % bench->keys; /* so that the popular ones are not neighbours */
}

static kvp_slice load_write_key(char text[KEY_SIZE], uint64_t key)
{
    int size = snprintf(text, KEY_SIZE, "kvbench/%012llu", (unsigned long long)key);
    return kvp_slice_of(text, (size_t)size);
}

static kvp_slice choose_value(struct lane *lane)
{
    size_t at = load_random(&lane->random) % VALUE_CHOICE;
    return kvp_slice_of(lane->run->noise + at, lane->run->bench->value_size);
}

/* ---- one operation ---- */

/* Whether another operation is to be begun, and which key it is about. */
static bool load_begin(struct lane *lane, uint64_t *key)
{
    struct run *run = lane->run;
    uint64_t number = atomic_fetch_add(&run->begun, 1);
    if ((run->count != 0 && number >= run->count) || bench_signal != 0) {
        return false;
    }
    *key = run->op == BENCH_LOAD ? number : choose_key(lane);
    lane->reads = run->op == BENCH_GET;
    if (run->op == BENCH_MIXED) {
        lane->reads = load_random(&lane->random) % 100 < run->bench->reads;
    }
    lane->begun_ns = bench_now_ns();
    return lane->begun_ns < run->end_ns;
}

static void load_note(struct lane *lane, kvp_status status)
{
    struct bench_result *result = &lane->handle->result;
    uint64_t took_ns = bench_now_ns() - lane->begun_ns;
    pthread_mutex_lock(&lane->handle->mutex);
    if (status == KVP_OK) {
        hist_add(&result->hist, took_ns);
        *(lane->reads ? &result->gets : &result->puts) += 1;
    } else {
        result->errors[-(int)status % BENCH_STATUSES]++;
    }
    pthread_mutex_unlock(&lane->handle->mutex);
}

static kvp_status run_txn(struct lane *lane, uint64_t key)
{
    char text[KEY_SIZE];
    kvp_txn *txn = kvp_txn_new(lane->handle->client);
    bool succeeded;
    if (txn == NULL) {
        return KVP_NO_MEMORY;
    }
    for (unsigned i = 0; i < lane->run->bench->txn_keys; i++) {
        kvp_txn_put(txn, KVP_THEN, load_write_key(text, key), choose_value(lane));
        key = (key + 1) % lane->run->bench->keys;
    }
    kvp_status status = kvp_txn_commit(txn, &succeeded, NULL);
    kvp_txn_free(txn);
    return status;
}

static void *run_lane(void *arg)
{
    struct lane *lane = arg;
    kvp_client *client = lane->handle->client;
    char text[KEY_SIZE];
    uint64_t key;
    while (load_begin(lane, &key)) {
        kvp_result result = {.status = KVP_OK};
        if (lane->run->op == BENCH_TXN) {
            result.status = run_txn(lane, key);
        } else if (lane->reads) {
            (void)kvp_get(client, load_write_key(text, key), &result);
        } else {
            (void)kvp_put(client, load_write_key(text, key), choose_value(lane), &result);
        }
        kvp_status status = result.status;
        load_note(lane, status);
        kvp_result_free(&result);
        if (status != KVP_OK) {
            bench_sleep_ms(PAUSE_MS);
        }
    }
    return NULL;
}

/* ---- lanes without a thread ---- */

static void on_done(void *arg, const kvp_result *result);

static kvp_status load_start(struct lane *lane, uint64_t key)
{
    kvp_client *client = lane->handle->client;
    char text[KEY_SIZE];
    if (lane->reads) {
        return kvp_get_async(client, load_write_key(text, key), false, 0, on_done, lane);
    }
    return kvp_put_async(client, load_write_key(text, key), choose_value(lane), 0, on_done, lane);
}

static void put_idle(struct lane *lane)
{
    struct run *run = lane->run;
    pthread_mutex_lock(&run->mutex);
    lane->next_idle = run->idle;
    run->idle = lane;
    pthread_mutex_unlock(&run->mutex);
}

static void load_go_on(struct lane *lane)
{
    struct run *run = lane->run;
    uint64_t key;
    if (load_begin(lane, &key)) {
        kvp_status status = load_start(lane, key);
        if (status != KVP_OK) {
            load_note(lane, status);
            put_idle(lane);
        }
        return;
    }
    pthread_mutex_lock(&run->mutex);
    if (--run->active == 0) {
        pthread_cond_signal(&run->wake);
    }
    pthread_mutex_unlock(&run->mutex);
}

static void on_done(void *arg, const kvp_result *result)
{
    struct lane *lane = arg;
    load_note(lane, result->status);
    if (result->status == KVP_OK) {
        load_go_on(lane);
    } else {
        put_idle(lane);
    }
}

static void wake_idle(struct run *run)
{
    struct lane *lane = run->idle;
    run->idle = NULL;
    pthread_mutex_unlock(&run->mutex);
    while (lane != NULL) {
        struct lane *next = lane->next_idle;
        load_go_on(lane);
        lane = next;
    }
    pthread_mutex_lock(&run->mutex);
}

/* Every call ends at its deadline, so this does, too. */
static void run_callbacks(struct run *run, unsigned lanes)
{
    run->active = lanes;
    for (unsigned i = 0; i < lanes; i++) {
        load_go_on(&run->lanes[i]);
    }
    pthread_mutex_lock(&run->mutex);
    while (run->active > 0) {
        struct timespec until;
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_nsec += (long)PAUSE_MS * 1000000;
        until.tv_sec += until.tv_nsec / 1000000000;
        until.tv_nsec %= 1000000000;
        (void)pthread_cond_timedwait(&run->wake, &run->mutex, &until);
        wake_idle(run);
    }
    pthread_mutex_unlock(&run->mutex);
}

static bool run_threads(struct run *run, unsigned lanes)
{
    unsigned started = 0;
    while (started < lanes &&
           pthread_create(&run->lanes[started].thread, NULL, run_lane, &run->lanes[started]) == 0) {
        started++;
    }
    if (started < lanes) {
        run->end_ns = 0;
    }
    for (unsigned i = 0; i < started; i++) {
        pthread_join(run->lanes[i].thread, NULL);
    }
    return started == lanes;
}

/* ---- a measurement ---- */

kvp_client *bench_open(const struct bench *bench, uint32_t timeout_ms)
{
    kvp_client_options options;
    kvp_client *client = NULL;
    char message[512];
    kvp_client_options_init(&options);
    options.nodes = bench->nodes;
    options.group = bench->group;
    options.timeout_ms = timeout_ms;
    kvp_tls_names_fill(&bench->tls, &options);
    options.outstanding_max = bench->outstanding > 256 ? bench->outstanding : 0;
    if (kvp_client_open(&options, &client, message, sizeof(message)) != KVP_OK) {
        (void)bench_complain("%s", message);
        return NULL;
    }
    return client;
}

static bool open_handles(struct run *run)
{
    const struct bench *bench = run->bench;
    for (unsigned i = 0; i < bench->clients; i++) {
        pthread_mutex_init(&run->handles[i].mutex, NULL);
        run->handles[i].client = bench_open(bench, bench->timeout_ms);
        if (run->handles[i].client == NULL) {
            return false;
        }
        /* The way to the primary is found before anything is measured. */
        kvp_result result;
        kvp_status status = kvp_get(run->handles[i].client, kvp_slice_of("kvbench/", 8), &result);
        kvp_result_free(&result);
        if (status != KVP_OK && status != KVP_NOT_FOUND) {
            (void)bench_complain("%s: %s", bench->nodes, kvp_strerror(status));
            return false;
        }
    }
    return true;
}

static bool load_prepare(struct run *run)
{
    const struct bench *bench = run->bench;
    size_t lanes = (size_t)bench->clients * bench->outstanding;
    size_t noise = bench->value_size + VALUE_CHOICE;
    uint64_t random = bench->seed;
    run->handles = calloc(bench->clients, sizeof(*run->handles));
    run->lanes = calloc(lanes, sizeof(*run->lanes));
    run->noise = malloc(noise);
    if (run->handles == NULL || run->lanes == NULL || run->noise == NULL) {
        (void)bench_complain("%s", kvp_strerror(KVP_NO_MEMORY));
        return false;
    }
    for (size_t i = 0; i < noise; i++) {
        run->noise[i] = (char)load_random(&random);
    }
    for (size_t i = 0; i < lanes; i++) {
        run->lanes[i].run = run;
        run->lanes[i].handle = &run->handles[i % bench->clients];
        run->lanes[i].random = load_random(&random);
    }
    if (bench->zipf) {
        zipf_init(&run->zipf, bench->keys);
    }
    return open_handles(run);
}

static void load_gather(struct run *run, struct bench_result *result)
{
    for (unsigned i = 0; i < run->bench->clients; i++) {
        const struct bench_result *part = &run->handles[i].result;
        hist_merge(&result->hist, &part->hist);
        result->gets += part->gets;
        result->puts += part->puts;
        for (unsigned k = 0; k < BENCH_STATUSES; k++) {
            result->errors[k] += part->errors[k];
        }
    }
}

static void load_clean_up(struct run *run)
{
    for (unsigned i = 0; run->handles != NULL && i < run->bench->clients; i++) {
        kvp_client_close(run->handles[i].client);
    }
    free(run->handles);
    free(run->lanes);
    free(run->noise);
}

static double seconds_of(const struct bench *bench)
{
    return bench->seconds > 0 ? bench->seconds : bench->count > 0 ? SECONDS_MAX : 5;
}

int bench_measure(const struct bench *bench, enum bench_op op, struct bench_result *result)
{
    struct run run = {.bench = bench, .op = op, .count = bench->count};
    unsigned lanes = bench->clients * bench->outstanding;
    int code = EXIT_NOTHING;
    memset(result, 0, sizeof(*result));
    pthread_mutex_init(&run.mutex, NULL);
    pthread_cond_init(&run.wake, NULL);
    if (load_prepare(&run)) {
        uint64_t begin_ns = bench_now_ns();
        run.end_ns = begin_ns + (uint64_t)(seconds_of(bench) * 1e9);
        code = EXIT_DONE;
        if (op != BENCH_TXN && bench->outstanding > 1) {
            run_callbacks(&run, lanes);
        } else if (!run_threads(&run, lanes)) {
            code = EXIT_NOTHING;
            (void)bench_complain("not enough threads can be started");
        }
        result->seconds = (double)(bench_now_ns() - begin_ns) / 1e9;
        load_gather(&run, result);
    }
    load_clean_up(&run);
    pthread_cond_destroy(&run.wake);
    pthread_mutex_destroy(&run.mutex);
    return code;
}

static kvp_status worst(const struct bench_result *result)
{
    for (int i = 1; i < BENCH_STATUSES; i++) {
        if (result->errors[i] > 0) {
            return (kvp_status)-i;
        }
    }
    return KVP_OK;
}

int bench_load(const struct bench *bench)
{
    struct bench load = *bench;
    struct bench_result *result = malloc(sizeof(*result));
    if (result == NULL) {
        (void)bench_complain("%s", kvp_strerror(KVP_NO_MEMORY));
        return EXIT_NOTHING;
    }
    load.clients = 1;
    load.outstanding = LOAD_OUTSTANDING;
    load.count = bench->keys;
    load.seconds = LOAD_SECONDS;
    int code = bench_measure(&load, BENCH_LOAD, result);
    if (code == EXIT_DONE && result->puts < bench->keys && bench_signal == 0) {
        kvp_status status = worst(result);
        (void)bench_complain("the keys cannot be written: %s", kvp_strerror(status));
        code = status == KVP_OK ? EXIT_NOTHING : bench_exit_status(status);
    }
    free(result);
    return code;
}

void bench_add_result(cJSON *object, const struct bench_result *result, bool errors)
{
    const struct hist *hist = &result->hist;
    double seconds = result->seconds > 0 ? result->seconds : 1;
    bench_add_number(object, "ops", (double)hist->total, 0);
    bench_add_number(object, "seconds", result->seconds, 6);
    bench_add_number(object, "ops_per_s", (double)hist->total / seconds, 1);
    bench_add_number(object, "p50_us", hist_quantile_us(hist, 0.5), 1);
    bench_add_number(object, "p99_us", hist_quantile_us(hist, 0.99), 1);
    bench_add_number(object, "p999_us", hist_quantile_us(hist, 0.999), 1);
    bench_add_number(object, "max_us", (double)hist->max_ns / 1000, 1);
    if (!errors) {
        return;
    }
    cJSON *list = cJSON_AddObjectToObject(object, "errors");
    for (int i = 1; i < BENCH_STATUSES; i++) {
        if (result->errors[i] > 0) {
            bench_add_number(list, kvp_strerror(-i), (double)result->errors[i], 0);
        }
    }
}
