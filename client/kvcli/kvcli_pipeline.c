/* SPDX-License-Identifier: Apache-2.0 */
#include "client/kvcli/kvcli_pipeline.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#define TOGETHER_MAX 128u
/* Keys, values and answers of what is under way. */
#define BYTES_MAX (16u * 1024u * 1024u)
#define TICK_MS   100u
/* So long after an interrupt outcomes are waited for. */
#define PATIENCE_MS 1000u

struct flight {
    struct kvcli_pipeline *pipeline;
    unsigned long line;
    bool reads;
    uint64_t key_hash;
    kvp_buf key;
    size_t bytes;
    /* Under the lock: */
    bool done;
    kvp_result result;
};

struct kvcli_pipeline {
    struct kvcli *cli;
    kvcli_outcome tell;
    void *arg;
    unsigned together, first, count;
    struct flight flights[TOGETHER_MAX];
    size_t bytes, largest; /* of all flights; of the answers so far */
    unsigned ticks_left;   /* before nobody waits any more */
    bool stopped;
    pthread_mutex_t lock;
    pthread_cond_t arrived;
    const struct flight *awaited; /* under the lock */
};

/* A line as the calls want it. */
struct order {
    const char *name;
    kvp_slice key, value;
    uint64_t version;
};

struct kvcli_pipeline *kvcli_pipeline_new(struct kvcli *cli, unsigned together, kvcli_outcome tell,
                                          void *arg)
{
    pthread_condattr_t monotonic;
    struct kvcli_pipeline *pipeline = calloc(1, sizeof(*pipeline));
    if (pipeline == NULL) {
        return NULL;
    }
    pipeline->cli = cli;
    pipeline->tell = tell;
    pipeline->arg = arg;
    pipeline->together = together < TOGETHER_MAX ? together : TOGETHER_MAX;
    pipeline->largest = KVP_VALUE_SIZE_MAX; /* until one is known */
    pipeline->ticks_left = PATIENCE_MS / TICK_MS;
    (void)pthread_mutex_init(&pipeline->lock, NULL);
    (void)pthread_condattr_init(&monotonic);
    (void)pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&pipeline->arrived, &monotonic);
    (void)pthread_condattr_destroy(&monotonic);
    return pipeline;
}

void kvcli_pipeline_free(struct kvcli_pipeline *pipeline)
{
    for (unsigned i = 0; pipeline != NULL && i < TOGETHER_MAX; i++) {
        kvp_buf_free(&pipeline->flights[i].key);
    }
    if (pipeline != NULL) {
        (void)pthread_cond_destroy(&pipeline->arrived);
        (void)pthread_mutex_destroy(&pipeline->lock);
    }
    free(pipeline);
}

/* ---- outcomes ---- */

/* On a thread of the client library. */
static void flight_lands(void *arg, const kvp_result *result)
{
    struct flight *flight = arg;
    struct kvcli_pipeline *pipeline = flight->pipeline;
    kvp_result copy = *result;
    memset(&copy.value, 0, sizeof(copy.value));
    if (kvp_buf_append(&copy.value, result->value.data, result->value.size) != KVP_OK) {
        /* An update that was executed must not look as if nothing had happened. */
        copy.status = flight->reads ? KVP_NO_MEMORY : copy.status;
    }
    copy.status = copy.status == KVP_CLOSED ? KVP_TIMEOUT : copy.status; /* nothing was executed */
    (void)pthread_mutex_lock(&pipeline->lock);
    flight->result = copy;
    flight->done = true;
    if (pipeline->awaited == flight) {
        (void)pthread_cond_signal(&pipeline->arrived);
    }
    (void)pthread_mutex_unlock(&pipeline->lock);
}

static void wait_a_tick(struct kvcli_pipeline *pipeline)
{
    struct timespec until;
    (void)clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += (long)TICK_MS * 1000000L;
    until.tv_sec += until.tv_nsec / 1000000000L;
    until.tv_nsec %= 1000000000L;
    (void)pthread_cond_timedwait(&pipeline->arrived, &pipeline->lock, &until);
}

/* Whatever is under way then has its outcome, which may be that nobody knows it. */
static void pipeline_give_up(struct kvcli_pipeline *pipeline)
{
    kvp_client_close(pipeline->cli->client);
    pipeline->cli->client = NULL;
}

static void pipeline_await(struct kvcli_pipeline *pipeline, const struct flight *flight)
{
    (void)pthread_mutex_lock(&pipeline->lock);
    pipeline->awaited = flight;
    while (!flight->done && (!kvcli_interrupted() || pipeline->ticks_left > 0)) {
        wait_a_tick(pipeline);
        pipeline->ticks_left -= kvcli_interrupted() && pipeline->ticks_left > 0 ? 1 : 0;
    }
    pipeline->awaited = NULL;
    bool done = flight->done;
    (void)pthread_mutex_unlock(&pipeline->lock);
    if (!done) {
        pipeline_give_up(pipeline);
    }
}

/* The first of those under way: waits for its outcome and prints it. */
static void settle_first(struct kvcli_pipeline *pipeline)
{
    struct flight *flight = &pipeline->flights[pipeline->first];
    pipeline_await(pipeline, flight);
    kvp_result result = flight->result;
    size_t size = result.value.size;
    kvcli_complain_at(flight->line);
    int code = flight->reads ? kvcli_got(pipeline->cli, kvp_buf_slice(&flight->key), &result, false)
                             : kvcli_updated(pipeline->cli, &result);
    kvcli_complain_at(0);
    if (flight->reads && result.status == KVP_OK) {
        bool known = pipeline->largest != KVP_VALUE_SIZE_MAX;
        pipeline->largest = known && pipeline->largest > size ? pipeline->largest : size;
    }
    pipeline->bytes -= flight->bytes;
    pipeline->first = (pipeline->first + 1) % TOGETHER_MAX;
    pipeline->count--;
    pipeline->stopped = !pipeline->tell(pipeline->arg, flight->line, code) || pipeline->stopped;
}

void kvcli_pipeline_finish(struct kvcli_pipeline *pipeline)
{
    while (pipeline->count > 0) {
        settle_first(pipeline);
    }
}

/* ---- lines ---- */

/* False: it is something else, or something is wrong with it. */
static bool take_order(struct order *order, int argc, const char *const *argv)
{
    static const struct {
        const char *name;
        int arguments_min, arguments_max;
        int value, version; /* which argument; 0: none */
    } known[] = {{"get", 1, 1, 0, 0},
                 {"put", 2, 2, 2, 0},
                 {"create", 2, 2, 2, 0},
                 {"delete", 1, 2, 0, 2},
                 {"cas", 3, 3, 3, 2}};
    size_t which = 0, count = sizeof(known) / sizeof(known[0]);
    while (which < count && strcmp(argv[0], known[which].name) != 0) {
        which++;
    }
    if (which == count || argc - 1 < known[which].arguments_min ||
        argc - 1 > known[which].arguments_max) {
        return false;
    }
    for (int i = 1; i < argc; i++) {
        if (kvcli_is_option(argv[i]) || strcmp(argv[i], "-") == 0) {
            return false;
        }
    }
    int value = known[which].value, version = known[which].version;
    order->name = known[which].name;
    order->key = kvp_slice_of(argv[1], strlen(argv[1]));
    order->value = value > 0 ? kvp_slice_of(argv[value], strlen(argv[value])) : (kvp_slice){0};
    order->version = 0;
    /* "delete KEY 0" is none: without a version it is said otherwise. */
    return version == 0 || argc <= version ||
           (kvcli_parse_number(argv[version], UINT64_MAX, &order->version) &&
            (order->version > 0 || order->name[0] == 'c'));
}

static kvp_status begin_order(kvp_client *client, const struct order *order, void *flight)
{
    switch (order->name[0] == 'c' ? order->name[1] : order->name[0]) {
    case 'g':
        return kvp_get_async(client, order->key, false, 0, flight_lands, flight);
    case 'p':
        return kvp_put_async(client, order->key, order->value, 0, flight_lands, flight);
    case 'r':
        return kvp_create_async(client, order->key, order->value, 0, flight_lands, flight);
    case 'd':
        return kvp_delete_async(client, order->key, order->version, 0, flight_lands, flight);
    default:
        return kvp_cas_async(client, order->key, order->version, order->value, 0, flight_lands,
                             flight);
    }
}

/* FNV-1a: two keys that have the same are taken for one, which costs a wait. */
static uint64_t pipeline_hash(kvp_slice key)
{
    const uint8_t *bytes = key.data;
    uint64_t hash = 14695981039346656037u;
    for (size_t i = 0; i < key.size; i++) {
        hash = (hash ^ bytes[i]) * 1099511628211u;
    }
    return hash;
}

/* How many of the first must have their outcomes before this one may begin? */
static unsigned in_the_way(const struct kvcli_pipeline *pipeline, uint64_t hash, bool reads)
{
    for (unsigned count = pipeline->count; count > 0; count--) {
        const struct flight *other =
            &pipeline->flights[(pipeline->first + count - 1) % TOGETHER_MAX];
        if (other->key_hash == hash && !(reads && other->reads)) {
            return count;
        }
    }
    return 0;
}

static void make_room(struct kvcli_pipeline *pipeline, const struct flight *wanted)
{
    for (unsigned left = in_the_way(pipeline, wanted->key_hash, wanted->reads); left > 0; left--) {
        settle_first(pipeline);
    }
    while (pipeline->count > 0 &&
           (pipeline->count >= pipeline->together || pipeline->bytes + wanted->bytes > BYTES_MAX)) {
        settle_first(pipeline);
    }
}

enum kvcli_begun kvcli_pipeline_begin(struct kvcli_pipeline *pipeline, unsigned long line, int argc,
                                      const char *const *argv)
{
    struct order order;
    if (argc == 0 || !take_order(&order, argc, argv)) {
        return KVCLI_ALONE;
    }
    struct flight wanted = {.pipeline = pipeline,
                            .line = line,
                            .reads = order.name[0] == 'g',
                            .key_hash = pipeline_hash(order.key)};
    wanted.bytes = order.key.size + order.value.size + (wanted.reads ? pipeline->largest : 0);
    make_room(pipeline, &wanted);
    if (kvcli_interrupted() || pipeline->stopped) {
        return KVCLI_STOPPED;
    }
    struct flight *flight = &pipeline->flights[(pipeline->first + pipeline->count) % TOGETHER_MAX];
    kvp_buf key = flight->key; /* its memory is used again */
    key.size = 0;
    *flight = wanted;
    kvp_status status = kvp_buf_append(&key, order.key.data, order.key.size);
    flight->key = key;
    /* What is refused at once is told by the call that waits, with the reason. */
    if (status != KVP_OK || begin_order(pipeline->cli->client, &order, flight) != KVP_OK) {
        return KVCLI_ALONE;
    }
    pipeline->bytes += flight->bytes;
    pipeline->count++;
    return KVCLI_BEGUN;
}
