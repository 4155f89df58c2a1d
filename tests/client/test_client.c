/* SPDX-License-Identifier: Apache-2.0 */
/* The client library as its users have it, against a server within the test. */
#include "kvpair/kvp_client.h"
#include "fake_server.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define THREADS 8u
#define ROUNDS  100u

static kvp_slice text(const char *string)
{
    return kvp_slice_of(string, strlen(string));
}

static kvp_client *open_client_of(const char *nodes, const char *group, uint32_t timeout_ms)
{
    kvp_client_options options;
    kvp_client *client = NULL;
    char message[200] = "";

    kvp_client_options_init(&options);
    options.nodes = nodes;
    options.group = group;
    options.timeout_ms = timeout_ms;
    if (kvp_client_open(&options, &client, message, sizeof(message)) != KVP_OK) {
        fail_msg("%s", message);
    }
    return client;
}

static kvp_client *open_client(const char *nodes, uint32_t timeout_ms)
{
    return open_client_of(nodes, NULL, timeout_ms);
}

struct fixture {
    struct fake_server server;
    kvp_client *client;
};

static void begin(struct fixture *fixture)
{
    server_open(&fixture->server, NULL);
    fixture->client = open_client(server_url(&fixture->server), 30000);
}

static void end(struct fixture *fixture)
{
    kvp_client_close(fixture->client);
    server_close(&fixture->server);
}

static void put_text(kvp_client *client, const char *key, const char *value)
{
    assert_int_equal(kvp_put(client, text(key), text(value), NULL), KVP_OK);
}

static void check_reason(kvp_result *result, const char *word)
{
    char reason[256];

    (void)snprintf(reason, sizeof(reason), "%.*s", (int)result->value.size,
                   (const char *)result->value.data);
    assert_non_null(strstr(reason, word));
    kvp_result_free(result);
}

/* ---- synchronous ---- */

static void test_synchronous_calls_give_what_the_node_answers(void **state)
{
    (void)state;
    static struct fixture f;
    kvp_result result;
    begin(&f);
    assert_int_equal(kvp_get(f.client, text("a"), &result), KVP_NOT_FOUND);
    kvp_result_free(&result);
    assert_int_equal(kvp_put(f.client, text("a"), text("1"), &result), KVP_OK);
    uint64_t created = result.version;
    assert_int_equal(kvp_create(f.client, text("a"), text("2"), &result), KVP_EXISTS);
    assert_true(result.status == KVP_EXISTS && result.version == created);
    assert_int_equal(kvp_cas(f.client, text("a"), created + 1, text("2"), &result),
                     KVP_VERSION_DIFFERS);
    assert_true(result.version == created);
    assert_int_equal(kvp_cas(f.client, text("a"), created, text("22"), &result), KVP_OK);
    uint64_t changed = result.version;
    assert_true(changed > created);
    assert_int_equal(kvp_get_stale(f.client, text("a"), &result), KVP_OK);
    assert_true(result.version == changed && result.create_revision == created);
    assert_true(result.behind == 5 && result.value.size == 2);
    assert_memory_equal(result.value.data, "22", 2);
    kvp_result_free(&result);
    assert_int_equal(kvp_delete(f.client, text("a"), created, NULL), KVP_VERSION_DIFFERS);
    assert_int_equal(kvp_delete(f.client, text("a"), 0, &result), KVP_OK);
    assert_true(result.version > changed);
    assert_int_equal(kvp_delete(f.client, text("a"), 0, NULL), KVP_NOT_FOUND);
    end(&f);
}

static void test_values_of_all_sizes_come_back(void **state)
{
    (void)state;
    static struct fixture f;
    static const size_t sizes[] = {0, 1, 31, 32, 255, 256, 65535, 65536, KVP_VALUE_SIZE_MAX};
    uint8_t *value = malloc(KVP_VALUE_SIZE_MAX);
    char key[KVP_KEY_SIZE_MAX];
    kvp_result result;
    begin(&f);
    assert_non_null(value);
    memset(key, 'k', sizeof(key));
    for (size_t i = 0; i < KVP_VALUE_SIZE_MAX; i++) {
        value[i] = (uint8_t)(i * 7 + i / 251);
    }
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        kvp_slice name = kvp_slice_of(key, i % 2 == 0 ? sizeof(key) : i);
        kvp_slice sent = kvp_slice_of(sizes[i] == 0 ? NULL : value, sizes[i]);
        assert_int_equal(kvp_put(f.client, name, sent, NULL), KVP_OK);
        assert_int_equal(kvp_get(f.client, name, &result), KVP_OK);
        assert_int_equal(kvp_slice_compare(kvp_buf_slice(&result.value), sent), 0);
        kvp_result_free(&result);
    }
    free(value);
    end(&f);
}

/* Nothing of it reaches the node. */
static void test_wrong_arguments_are_refused_with_a_reason(void **state)
{
    (void)state;
    static struct fixture f;
    static uint8_t big[KVP_VALUE_SIZE_MAX + 1];
    const kvp_slice none = {NULL, 0};
    kvp_slice long_key = kvp_slice_of(big, KVP_KEY_SIZE_MAX + 1);
    kvp_slice long_value = kvp_slice_of(big, sizeof(big));
    kvp_result result;
    begin(&f);
    assert_int_equal(kvp_get(f.client, none, &result), KVP_BAD_ARGUMENT);
    assert_true(result.status == KVP_BAD_ARGUMENT && result.value.size > 0);
    kvp_result_free(&result);
    assert_int_equal(kvp_put(f.client, long_key, none, &result), KVP_TOO_LARGE);
    assert_true(result.status == KVP_TOO_LARGE && result.value.size > 0);
    kvp_result_free(&result);
    assert_int_equal(kvp_put(f.client, text("k"), long_value, NULL), KVP_TOO_LARGE);
    assert_int_equal(kvp_cas(f.client, text("k"), 1, long_value, NULL), KVP_TOO_LARGE);
    assert_int_equal(kvp_put(f.client, text("k"), kvp_slice_of(NULL, 1), NULL), KVP_BAD_ARGUMENT);
    assert_int_equal(kvp_get_async(f.client, long_key, false, 0, NULL, NULL), KVP_TOO_LARGE);
    assert_int_equal(kvp_create_async(f.client, none, none, 0, NULL, NULL), KVP_BAD_ARGUMENT);
    assert_int_equal(kvp_handover(f.client, KVP_NODE_ID_MAX + 1, NULL), KVP_BAD_ARGUMENT);
    assert_int_equal(kvp_promote(f.client, NULL, false, NULL), KVP_BAD_ARGUMENT);
    assert_int_equal(kvp_promote(f.client, "somewhere", false, NULL), KVP_BAD_ARGUMENT);
    assert_int_equal(kvp_node_status(f.client, "tcp://x:99999", NULL), KVP_BAD_ARGUMENT);
    for (unsigned op = 0; op <= KVP_OP_CLOSE_SCAN; op++) {
        assert_int_equal(f.server.requests[op], 0);
    }
    end(&f);
}

static void check_not_opened(const char *nodes, const char *group)
{
    kvp_client_options options;
    kvp_client *client = NULL;
    char message[200] = "";

    kvp_client_options_init(&options);
    options.nodes = nodes;
    options.group = group;
    if (kvp_client_open(&options, &client, message, sizeof(message)) != KVP_BAD_ARGUMENT) {
        fail_msg("opened: '%s'", nodes);
    }
    assert_null(client);
    assert_true(strlen(message) > 10);
    assert_int_equal(kvp_client_open(&options, &client, NULL, 0), KVP_BAD_ARGUMENT);
}

static void test_malformed_options_are_refused_with_a_reason(void **state)
{
    (void)state;
    char long_url[400] = "tcp://";
    char many[17 * 24] = "";
    char group[KVP_GROUP_NAME_MAX + 2] = "";
    memset(long_url + 6, 'x', sizeof(long_url) - 7);
    memset(group, 'g', KVP_GROUP_NAME_MAX + 1);
    for (unsigned i = 0; i < 17; i++) {
        size_t used = strlen(many);
        (void)snprintf(many + used, sizeof(many) - used, "%stcp://127.0.0.1:%u", i > 0 ? "," : "",
                       i + 1);
    }
    static const char *const lists[] = {"",
                                        ",",
                                        "tcp://127.0.0.1:1,",
                                        ",tcp://127.0.0.1:1",
                                        "tcp://127.0.0.1:1,,tcp://127.0.0.1:2",
                                        "127.0.0.1:7001",
                                        "tcp://",
                                        "tcp://127.0.0.1",
                                        "tcp://127.0.0.1:",
                                        "tcp://127.0.0.1:x",
                                        "tcp://127.0.0.1:65536",
                                        "udp://127.0.0.1:1",
                                        "tcp://127.0.0.1:1, tcp://127.0.0.1:2"};
    check_not_opened(NULL, NULL);
    for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
        check_not_opened(lists[i], NULL);
    }
    check_not_opened(long_url, NULL);
    check_not_opened(many, NULL);
    check_not_opened("tcp://127.0.0.1:1", "");
    check_not_opened("tcp://127.0.0.1:1", group);
    many[strrchr(many, ',') - many] = '\0';
    kvp_client_close(open_client(many, 0)); /* 16 are fine */
    kvp_client_close(NULL);
}

static void test_options_without_a_size_are_refused(void **state)
{
    (void)state;
    kvp_client_options options = {.nodes = "tcp://127.0.0.1:1"};
    kvp_client *client = NULL;
    char message[200] = "";
    assert_int_equal(kvp_client_open(&options, &client, message, sizeof(message)),
                     KVP_BAD_ARGUMENT);
    assert_non_null(strstr(message, "kvp_client_options_init()"));
}

static void test_a_node_of_another_group_is_named(void **state)
{
    (void)state;
    static struct fixture f;
    kvp_client_options options;
    kvp_client *client = NULL;
    kvp_result result;
    begin(&f);
    kvp_client_options_init(&options);
    options.nodes = server_url(&f.server);
    options.group = "another";
    assert_int_equal(kvp_client_open(&options, &client, NULL, 0), KVP_OK);
    assert_int_equal(kvp_get(client, text("a"), &result), KVP_WRONG_GROUP);
    assert_int_equal(result.value.size, 7);
    assert_memory_equal(result.value.data, "default", 7);
    kvp_result_free(&result);
    kvp_client_close(client);
    end(&f);
}

/* ---- deadlines ---- */

static void test_deadlines_are_kept_and_say_what_may_have_happened(void **state)
{
    (void)state;
    static struct fake_server server;
    char nobody[64];
    kvp_result result;
    server_open(&server, NULL);
    kvp_client *client = open_client(server_url(&server), 200);
    put_text(client, "a", "1"); /* and a session */
    server_hold(&server, true);
    assert_int_equal(kvp_get(client, text("a"), &result), KVP_TIMEOUT);
    assert_true(result.status == KVP_TIMEOUT && result.value.size > 0);
    kvp_result_free(&result);
    assert_int_equal(kvp_put(client, text("a"), text("2"), NULL), KVP_TIMEOUT_UNKNOWN);
    kvp_client_close(client);
    (void)snprintf(nobody, sizeof(nobody), "%s", server_url(&server));
    server_close(&server);
    client = open_client(nobody, 100);
    assert_int_equal(kvp_put(client, text("a"), text("2"), NULL), KVP_UNAVAILABLE);
    kvp_client_close(client);
}

/* The node says done: to call that a failure would be wrong. */
static void test_an_update_whose_answer_cannot_be_read_may_have_happened(void **state)
{
    (void)state;
    static struct fixture f;
    kvp_result result;
    begin(&f);
    f.server.garbling = true;
    assert_int_equal(kvp_put(f.client, text("a"), text("1"), &result), KVP_TIMEOUT_UNKNOWN);
    assert_int_equal(result.status, KVP_TIMEOUT_UNKNOWN);
    check_reason(&result, "cannot be read");
    assert_int_equal(kvp_cas(f.client, text("a"), 101, text("2"), NULL), KVP_TIMEOUT_UNKNOWN);
    assert_int_equal(kvp_create(f.client, text("b"), text("1"), NULL), KVP_TIMEOUT_UNKNOWN);
    assert_int_equal(kvp_delete(f.client, text("b"), 0, NULL), KVP_TIMEOUT_UNKNOWN);
    kvp_txn *txn = kvp_txn_new(f.client);
    kvp_txn_put(txn, KVP_ELSE, text("c"), text("1"));
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(kvp_txn_commit(txn, NULL, NULL), KVP_TIMEOUT_UNKNOWN);
        assert_non_null(strstr(kvp_txn_error(txn), "cannot be read"));
        assert_int_equal(kvp_txn_result_count(txn), 0);
    }
    assert_int_equal(kvp_get(f.client, text("a"), &result), KVP_CORRUPT);
    kvp_result_free(&result);
    f.server.garbling = false;
    assert_int_equal(kvp_txn_commit(txn, NULL, NULL), KVP_OK);
    kvp_txn_free(txn);
    assert_int_equal(kvp_get(f.client, text("a"), &result), KVP_OK);
    assert_int_equal(kvp_slice_compare(kvp_buf_slice(&result.value), text("2")), 0);
    kvp_result_free(&result);
    assert_int_equal(kvp_get(f.client, text("b"), NULL), KVP_NOT_FOUND);
    assert_int_equal(kvp_get(f.client, text("c"), NULL), KVP_OK);
    end(&f);
}

static void test_a_node_that_comes_back_is_found_again(void **state)
{
    (void)state;
    static struct fixture f;
    char url[64];
    begin(&f);
    put_text(f.client, "a", "1");
    (void)snprintf(url, sizeof(url), "%s", server_url(&f.server));
    for (unsigned i = 0; i < 3; i++) {
        server_close(&f.server);
        server_open(&f.server, url);
        assert_int_equal(kvp_get(f.client, text("a"), NULL), KVP_NOT_FOUND);
        put_text(f.client, "a", "2");
    }
    end(&f);
}

/* The first given is nobody. */
static void test_any_address_of_the_list_will_do(void **state)
{
    (void)state;
    static struct fake_server server;
    char nodes[200];
    server_open(&server, NULL);
    (void)snprintf(nodes, sizeof(nodes), "tcp://127.0.0.1:1,%s,tcp://127.0.0.1:2",
                   server_url(&server));
    kvp_client *client = open_client(nodes, 30000);
    put_text(client, "a", "1");
    kvp_client_close(client);
    server_close(&server);
}

/* ---- asynchronous ---- */

struct gathering {
    kvp_client *client;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    unsigned count, chain; /* callbacks run; calls that callbacks shall start yet */
    unsigned statuses[64]; /* how many ended so */
    kvp_status chained;    /* what starting the last of them came to */
};

static void gather_begin(struct gathering *gathering, kvp_client *client)
{
    memset(gathering, 0, sizeof(*gathering));
    gathering->client = client;
    pthread_mutex_init(&gathering->lock, NULL);
    pthread_cond_init(&gathering->changed, NULL);
}

static void gather_wait(struct gathering *gathering, unsigned count)
{
    struct timespec until = wait_deadline();
    int late = 0;

    pthread_mutex_lock(&gathering->lock);
    while (gathering->count < count && late == 0) {
        late = pthread_cond_timedwait(&gathering->changed, &gathering->lock, &until);
    }
    pthread_mutex_unlock(&gathering->lock);
    assert_int_equal(late, 0);
}

static void gather_end(struct gathering *gathering)
{
    pthread_mutex_destroy(&gathering->lock);
    pthread_cond_destroy(&gathering->changed);
}

static void on_done(void *arg, const kvp_result *result)
{
    struct gathering *gathering = arg;

    pthread_mutex_lock(&gathering->lock);
    gathering->count++;
    gathering->statuses[-result->status]++;
    bool more = gathering->chain > 0;
    gathering->chain -= more ? 1 : 0;
    pthread_cond_broadcast(&gathering->changed);
    pthread_mutex_unlock(&gathering->lock);
    if (more) {
        kvp_status status = kvp_put_async(gathering->client, kvp_slice_of("chain", 5),
                                          kvp_slice_of("v", 1), 0, on_done, gathering);
        pthread_mutex_lock(&gathering->lock);
        gathering->chained = status;
        pthread_mutex_unlock(&gathering->lock);
    }
}

static void test_asynchronous_calls_copy_what_they_are_given(void **state)
{
    (void)state;
    static struct fixture f;
    struct gathering gathering;
    kvp_result result;
    begin(&f);
    gather_begin(&gathering, f.client);
    for (unsigned i = 0; i < 200; i++) {
        char key[8], value[8];
        (void)snprintf(key, sizeof(key), "k%u", i);
        (void)snprintf(value, sizeof(value), "v%u", i);
        assert_int_equal(kvp_put_async(f.client, text(key), text(value), 0, on_done, &gathering),
                         KVP_OK);
    }
    gather_wait(&gathering, 200);
    assert_int_equal(gathering.statuses[0], 200);
    for (unsigned i = 0; i < 200; i++) {
        char key[8], value[8];
        (void)snprintf(key, sizeof(key), "k%u", i);
        (void)snprintf(value, sizeof(value), "v%u", i);
        assert_int_equal(kvp_get(f.client, text(key), &result), KVP_OK);
        assert_int_equal(kvp_slice_compare(kvp_buf_slice(&result.value), text(value)), 0);
        kvp_result_free(&result);
    }
    gather_end(&gathering);
    end(&f);
}

static void test_every_asynchronous_operation_runs_its_callback(void **state)
{
    (void)state;
    static struct fixture f;
    struct gathering g;
    begin(&f);
    gather_begin(&g, f.client);
    put_text(f.client, "a", "1");
    assert_int_equal(kvp_create_async(f.client, text("a"), text(""), 0, on_done, &g), KVP_OK);
    assert_int_equal(kvp_cas_async(f.client, text("a"), 1, text(""), 0, on_done, &g), KVP_OK);
    assert_int_equal(kvp_get_async(f.client, text("b"), true, 0, on_done, &g), KVP_OK);
    assert_int_equal(kvp_get_async(f.client, text("a"), false, 0, on_done, &g), KVP_OK);
    gather_wait(&g, 4);
    assert_int_equal(kvp_delete_async(f.client, text("a"), 0, 0, on_done, &g), KVP_OK);
    assert_int_equal(kvp_put_async(f.client, text("c"), text("3"), 0, NULL, NULL), KVP_OK);
    gather_wait(&g, 5);
    assert_int_equal(g.statuses[-KVP_OK], 2);
    assert_int_equal(g.statuses[-KVP_EXISTS], 1);
    assert_int_equal(g.statuses[-KVP_VERSION_DIFFERS], 1);
    assert_int_equal(g.statuses[-KVP_NOT_FOUND], 1);
    server_hold(&f.server, true);
    assert_int_equal(kvp_get_async(f.client, text("a"), false, 20, on_done, &g), KVP_OK);
    gather_wait(&g, 6);
    assert_int_equal(g.statuses[-KVP_TIMEOUT], 1);
    gather_end(&g);
    end(&f);
}

static void test_callbacks_may_start_calls(void **state)
{
    (void)state;
    static struct fixture f;
    struct gathering gathering;
    begin(&f);
    gather_begin(&gathering, f.client);
    gathering.chain = 500;
    assert_int_equal(kvp_get_async(f.client, text("none"), false, 0, on_done, &gathering), KVP_OK);
    gather_wait(&gathering, 501);
    assert_int_equal(gathering.statuses[-KVP_OK], 500);
    assert_int_equal(gathering.statuses[-KVP_NOT_FOUND], 1);
    gather_end(&gathering);
    end(&f);
}

struct worker {
    pthread_t thread;
    kvp_client *client;
    unsigned number;
    unsigned wrong;
    struct gathering *gathering;
};

/* Each has a key of its own, and reads back what it wrote. */
static void *work(void *arg)
{
    struct worker *worker = arg;
    char key[16], value[16];
    kvp_result result;

    (void)snprintf(key, sizeof(key), "worker %u", worker->number);
    for (unsigned i = 0; i < ROUNDS; i++) {
        (void)snprintf(value, sizeof(value), "%u", i);
        bool good = kvp_put(worker->client, text(key), text(value), NULL) == KVP_OK;
        good = kvp_get(worker->client, text(key), &result) == KVP_OK && good;
        good = kvp_slice_compare(kvp_buf_slice(&result.value), text(value)) == 0 && good;
        kvp_result_free(&result);
        good = kvp_get_async(worker->client, text(key), i % 2 == 0, 0, on_done,
                             worker->gathering) == KVP_OK &&
               good;
        worker->wrong += good ? 0 : 1;
    }
    return NULL;
}

static void test_many_threads_share_a_handle(void **state)
{
    (void)state;
    static struct fixture f;
    struct worker workers[THREADS];
    struct gathering gathering;
    begin(&f);
    gather_begin(&gathering, f.client);
    for (unsigned i = 0; i < THREADS; i++) {
        workers[i] = (struct worker){.client = f.client, .number = i, .gathering = &gathering};
        assert_int_equal(pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
    }
    for (unsigned i = 0; i < THREADS; i++) {
        (void)pthread_join(workers[i].thread, NULL);
        assert_int_equal(workers[i].wrong, 0);
    }
    gather_wait(&gathering, THREADS * ROUNDS);
    assert_int_equal(gathering.statuses[-KVP_OK], THREADS * ROUNDS);
    gather_end(&gathering);
    end(&f);
}

/* ---- closing ---- */

static void test_closing_ends_what_is_under_way(void **state)
{
    (void)state;
    static struct fixture f;
    struct gathering gathering;
    begin(&f);
    gather_begin(&gathering, f.client);
    put_text(f.client, "a", "1");
    server_hold(&f.server, true);
    for (unsigned i = 0; i < 300; i++) { /* more than there are session slots */
        kvp_status status =
            i < 10 ? kvp_put_async(f.client, text("a"), text("2"), 0, on_done, &gathering)
                   : kvp_get_async(f.client, text("a"), false, 0, on_done, &gathering);
        assert_int_equal(status, KVP_OK);
    }
    server_wait_held(&f.server, 20);
    assert_int_equal(gathering.count, 0);
    gathering.chain = 1;
    kvp_client_close(f.client);
    assert_int_equal(gathering.count, 300);
    assert_int_equal(gathering.statuses[-KVP_TIMEOUT_UNKNOWN], 10);
    assert_int_equal(gathering.statuses[-KVP_CLOSED], 290);
    assert_int_equal(gathering.chained, KVP_CLOSED); /* a callback tried to go on */
    gather_end(&gathering);
    server_close(&f.server);
}

static void *get_once(void *arg)
{
    struct worker *worker = arg;

    worker->wrong = kvp_get(worker->client, text("a"), NULL) == KVP_CLOSED ? 0 : 1;
    return NULL;
}

static void test_closing_wakes_synchronous_callers(void **state)
{
    (void)state;
    static struct fixture f;
    struct worker workers[THREADS];
    begin(&f);
    server_hold(&f.server, true);
    for (unsigned i = 0; i < THREADS; i++) {
        workers[i] = (struct worker){.client = f.client, .number = i};
        assert_int_equal(pthread_create(&workers[i].thread, NULL, get_once, &workers[i]), 0);
    }
    server_wait_held(&f.server, THREADS);
    kvp_client_close(f.client);
    for (unsigned i = 0; i < THREADS; i++) {
        (void)pthread_join(workers[i].thread, NULL);
        assert_int_equal(workers[i].wrong, 0);
    }
    server_close(&f.server);
}

/* Answers come in while the handle is closed, from wherever the race leads. */
static void test_closing_races_with_answers(void **state)
{
    (void)state;
    static struct fake_server server;
    server_open(&server, NULL);
    for (unsigned round = 0; round < 30; round++) {
        struct gathering gathering;
        kvp_client *client = open_client(server_url(&server), 30000);
        gather_begin(&gathering, client);
        gathering.chain = 100000; /* callbacks go on starting calls until they cannot */
        for (unsigned i = 0; i < 20; i++) {
            assert_int_equal(kvp_get_async(client, text("a"), false, 0, on_done, &gathering),
                             KVP_OK);
        }
        gather_wait(&gathering, round * 10);
        kvp_client_close(client);
        unsigned ended = 0;
        for (size_t i = 0; i < 64; i++) {
            ended += gathering.statuses[i];
        }
        assert_int_equal(ended, gathering.count);
        assert_true(gathering.count >= 20);
        gather_end(&gathering);
    }
    server_close(&server);
}

/* ---- scans ---- */

static void fill(kvp_client *client, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        char key[16], value[16];
        (void)snprintf(key, sizeof(key), "s/%03u", i);
        (void)snprintf(value, sizeof(value), "%u", i);
        put_text(client, key, value);
    }
}

/* Reads to the end, and checks keys s/first, s/first+1, ... */
static unsigned read_scan(kvp_scan *scan, unsigned first, bool keys_only)
{
    unsigned count = 0;
    kvp_slice key, value;
    uint64_t version = 0;
    kvp_status status;

    while ((status = kvp_scan_next(scan, &key, &value, &version)) == KVP_OK) {
        char wanted[16], content[16];
        (void)snprintf(wanted, sizeof(wanted), "s/%03u", first + count);
        (void)snprintf(content, sizeof(content), "%u", first + count);
        assert_int_equal(kvp_slice_compare(key, text(wanted)), 0);
        assert_int_equal(kvp_slice_compare(value, text(keys_only ? "" : content)), 0);
        assert_true(version > 100);
        count++;
    }
    assert_int_equal(status, KVP_NOT_FOUND);
    assert_int_equal(kvp_scan_next(scan, &key, &value, NULL), KVP_NOT_FOUND);
    kvp_scan_close(scan);
    return count;
}

static void test_a_scan_reads_page_after_page(void **state)
{
    (void)state;
    static struct fixture f;
    kvp_scan *scan = NULL;
    begin(&f);
    put_text(f.client, "r", "before");
    put_text(f.client, "t", "behind");
    fill(f.client, 10 * SERVER_PAGE + 1);
    assert_int_equal(kvp_scan_open_prefix(f.client, text("s/"), false, &scan, NULL), KVP_OK);
    assert_int_equal(read_scan(scan, 0, false), 10 * SERVER_PAGE + 1);
    assert_int_equal(f.server.requests[KVP_OP_SCAN], 11);
    assert_int_equal(f.server.requests[KVP_OP_CLOSE_SCAN], 0); /* it was read to its end */
    assert_int_equal(kvp_scan_open(f.client, text("s/004"), text("s/013"), true, &scan, NULL),
                     KVP_OK);
    assert_int_equal(read_scan(scan, 4, true), 9);
    assert_int_equal(kvp_scan_open(f.client, text("x"), text(""), true, &scan, NULL), KVP_OK);
    assert_int_equal(read_scan(scan, 0, true), 0);
    kvp_scan_close(NULL);
    end(&f);
}

static void test_a_scan_closed_early_gives_up_its_cursor(void **state)
{
    (void)state;
    static struct fixture f;
    kvp_scan *scan = NULL;
    kvp_slice key, value;
    begin(&f);
    fill(f.client, 10);
    assert_int_equal(kvp_scan_open(f.client, text(""), text(""), false, &scan, NULL), KVP_OK);
    assert_int_equal(kvp_scan_next(scan, &key, &value, NULL), KVP_OK);
    kvp_scan_close(scan);
    server_wait_requests(&f.server, KVP_OP_CLOSE_SCAN, 1);
    end(&f);
}

static void test_a_scan_of_a_prefix_of_the_highest_bytes_has_no_end(void **state)
{
    (void)state;
    static struct fixture f;
    static const char *const keys[] = {"a\xfe", "a\xff", "a\xff\x01", "a\xff\xff", "b", "\xff"};
    static const struct {
        const char *prefix;
        unsigned count;
    } cases[] = {{"a\xff", 3}, {"a", 4}, {"\xff", 1}, {"\xff\xff", 0}, {"", 6}, {"a\xff\xff", 1}};
    kvp_scan *scan = NULL;
    kvp_slice key, value;
    begin(&f);
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        put_text(f.client, keys[i], "");
    }
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        unsigned count = 0;
        assert_int_equal(kvp_scan_open_prefix(f.client, text(cases[i].prefix), true, &scan, NULL),
                         KVP_OK);
        while (kvp_scan_next(scan, &key, &value, NULL) == KVP_OK) {
            count++;
        }
        assert_int_equal(count, cases[i].count);
        kvp_scan_close(scan);
    }
    end(&f);
}

static void test_scans_and_transactions_say_why_they_failed(void **state)
{
    (void)state;
    static struct fixture f;
    kvp_scan *scan = NULL;
    kvp_result result;
    begin(&f);
    kvp_client *other = open_client_of(server_url(&f.server), "another", 1000);
    assert_int_equal(kvp_scan_open(other, text(""), text(""), true, &scan, &result),
                     KVP_WRONG_GROUP);
    assert_int_equal(result.status, KVP_WRONG_GROUP);
    check_reason(&result, "default"); /* the node's word */
    assert_int_equal(kvp_scan_open(other, text(""), text(""), true, &scan, NULL), KVP_WRONG_GROUP);
    kvp_client_close(other);
    other = open_client("tcp://127.0.0.1:1", 100); /* nobody */
    kvp_txn *txn = kvp_txn_new(other);
    assert_string_equal(kvp_txn_error(txn), "");
    kvp_txn_get(txn, KVP_THEN, text("a"));
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(kvp_txn_commit(txn, NULL, NULL), KVP_UNAVAILABLE);
        assert_memory_equal(kvp_txn_error(txn), "no node can be reached: tcp://", 30);
    }
    kvp_txn_put(txn, KVP_THEN, text(""), text("1"));
    kvp_txn_get(txn, (kvp_branch)2, text("a"));
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(kvp_txn_commit(txn, NULL, NULL), KVP_BAD_ARGUMENT);
        assert_string_equal(kvp_txn_error(txn), "the key is empty");
    }
    kvp_txn_free(txn);
    kvp_client_close(other);
    fill(f.client, 10);
    assert_int_equal(kvp_scan_open(f.client, text(""), text(""), true, &scan, &result), KVP_OK);
    assert_true(result.status == KVP_OK && result.value.data == NULL);
    assert_string_equal(kvp_scan_error(scan), "");
    kvp_scan_close(scan);
    end(&f);
}

/* And it must never look complete afterwards. */
static void check_expires(kvp_scan *scan, const char *reason)
{
    kvp_slice key, value;

    for (unsigned i = 0; i < SERVER_PAGE; i++) {
        assert_int_equal(kvp_scan_next(scan, &key, &value, NULL), KVP_OK);
    }
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(kvp_scan_next(scan, &key, &value, NULL), KVP_CURSOR_EXPIRED);
        assert_memory_equal(kvp_scan_error(scan), reason, strlen(reason) + (*reason ? 0 : 1));
    }
    kvp_scan_close(scan);
}

static void test_a_scan_expires_with_its_node(void **state)
{
    (void)state;
    static struct fake_server server;
    kvp_scan *scan = NULL;
    char url[64];
    server_open(&server, NULL);
    (void)snprintf(url, sizeof(url), "%s", server_url(&server));
    kvp_client *client = open_client(url, 500);
    fill(client, 10);
    assert_int_equal(kvp_scan_open(client, text(""), text(""), false, &scan, NULL), KVP_OK);
    server_close(&server);
    check_expires(scan, "the node cannot be reached");
    server_open(&server, url);
    fill(client, 10);
    assert_int_equal(kvp_scan_open(client, text(""), text(""), false, &scan, NULL), KVP_OK);
    pthread_mutex_lock(&server.lock);
    server.cursor += 1000; /* it has forgotten it, as after a restart */
    pthread_mutex_unlock(&server.lock);
    check_expires(scan, "");
    kvp_client_close(client);
    server_close(&server);
}

static void test_bounds_of_a_scan_are_checked(void **state)
{
    (void)state;
    static struct fixture f;
    static char bytes[KVP_KEY_SIZE_MAX + 1];
    kvp_slice big = kvp_slice_of(bytes, sizeof(bytes));
    kvp_scan *scan = NULL;
    kvp_result result;
    begin(&f);
    assert_int_equal(kvp_scan_open(f.client, big, text(""), false, &scan, NULL), KVP_TOO_LARGE);
    assert_int_equal(kvp_scan_open(f.client, text(""), big, false, &scan, NULL), KVP_TOO_LARGE);
    assert_int_equal(kvp_scan_open_prefix(f.client, big, false, &scan, NULL), KVP_TOO_LARGE);
    assert_null(scan);
    assert_int_equal(kvp_scan_open_prefix(f.client, big, false, &scan, &result), KVP_TOO_LARGE);
    check_reason(&result, "longer than 1024");
    end(&f);
}

/* ---- transactions ---- */

static void build(kvp_txn *txn)
{
    kvp_txn_if_absent(txn, text("absent"));
    kvp_txn_if_present(txn, text("a"));
    kvp_txn_if_version(txn, text("a"), '=', 101);
    kvp_txn_if_value(txn, text("a"), true, text("1"));
    kvp_txn_get(txn, KVP_THEN, text("a"));
    kvp_txn_put(txn, KVP_THEN, text("b"), text("2"));
    kvp_txn_delete(txn, KVP_THEN, text("a"));
    kvp_txn_delete(txn, KVP_THEN, text("a"));
    kvp_txn_get(txn, KVP_THEN, text("a"));
    kvp_txn_get(txn, KVP_ELSE, text("b"));
}

static void test_results_of_a_transaction(void **state)
{
    (void)state;
    static struct fixture f;
    static const kvp_status wanted[] = {KVP_OK, KVP_OK, KVP_OK, KVP_NOT_FOUND, KVP_NOT_FOUND};
    bool succeeded = false;
    uint64_t revision = 0, version = 0;
    kvp_slice value;
    begin(&f);
    put_text(f.client, "a", "1");
    f.server.txn_succeeds = true;
    kvp_txn *txn = kvp_txn_new(f.client);
    build(txn);
    assert_int_equal(kvp_txn_result_count(txn), 0);
    assert_int_equal(kvp_txn_commit(txn, &succeeded, &revision), KVP_OK);
    assert_true(succeeded && revision == 102);
    assert_int_equal(kvp_txn_result_count(txn), 5);
    for (size_t i = 0; i < 5; i++) {
        assert_int_equal(kvp_txn_result(txn, i, NULL, NULL), wanted[i]);
    }
    assert_int_equal(kvp_txn_result(txn, 0, &value, &version), KVP_OK);
    assert_true(version == 101 && kvp_slice_compare(value, text("1")) == 0);
    assert_int_equal(kvp_txn_result(txn, 5, &value, &version), KVP_BAD_ARGUMENT);
    f.server.txn_succeeds = false; /* the same once more: the other branch */
    assert_int_equal(kvp_txn_commit(txn, &succeeded, NULL), KVP_OK);
    assert_false(succeeded);
    assert_int_equal(kvp_txn_result_count(txn), 1);
    assert_int_equal(kvp_txn_result(txn, 0, &value, NULL), KVP_OK);
    assert_int_equal(kvp_slice_compare(value, text("2")), 0);
    kvp_txn_free(txn);
    kvp_txn_free(NULL);
    end(&f);
}

static kvp_status commit_and_free(kvp_txn *txn)
{
    bool succeeded = true;
    kvp_status status = kvp_txn_commit(txn, &succeeded, NULL);

    assert_int_equal(kvp_txn_result_count(txn), 0);
    kvp_txn_free(txn);
    return status;
}

static void test_mistakes_in_a_transaction_show_at_commit(void **state)
{
    (void)state;
    static struct fixture f;
    static char big[KVP_VALUE_SIZE_MAX + 1];
    begin(&f);
    kvp_txn *txn = kvp_txn_new(f.client);
    kvp_txn_put(txn, KVP_THEN, text(""), text("1"));
    kvp_txn_put(txn, KVP_THEN, text("a"), kvp_slice_of(big, sizeof(big))); /* the first counts */
    assert_int_equal(commit_and_free(txn), KVP_BAD_ARGUMENT);
    txn = kvp_txn_new(f.client);
    kvp_txn_put(txn, KVP_THEN, text("a"), kvp_slice_of(big, sizeof(big)));
    assert_int_equal(commit_and_free(txn), KVP_TOO_LARGE);
    txn = kvp_txn_new(f.client);
    kvp_txn_if_version(txn, text("a"), '!', 1);
    assert_int_equal(commit_and_free(txn), KVP_BAD_ARGUMENT);
    txn = kvp_txn_new(f.client);
    kvp_txn_get(txn, (kvp_branch)2, text("a"));
    assert_int_equal(commit_and_free(txn), KVP_BAD_ARGUMENT);
    txn = kvp_txn_new(f.client);
    for (unsigned i = 0; i < 5; i++) { /* 5 MiB */
        kvp_txn_put(txn, KVP_ELSE, text("a"), kvp_slice_of(big, KVP_VALUE_SIZE_MAX));
    }
    assert_int_equal(commit_and_free(txn), KVP_TOO_LARGE);
    txn = kvp_txn_new(f.client);
    for (unsigned i = 0; i <= KVP_TXN_OPS_MAX; i++) {
        kvp_txn_if_present(txn, text("a"));
    }
    assert_int_equal(commit_and_free(txn), KVP_TOO_LARGE);
    assert_int_equal(f.server.requests[KVP_OP_TXN], 0);
    end(&f);
}

/* ---- administration ---- */

static void test_administration(void **state)
{
    (void)state;
    static struct fixture f;
    kvp_result result;
    begin(&f);
    const char *url = server_url(&f.server);
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(kvp_node_status(f.client, i == 0 ? NULL : url, &result), KVP_OK);
        kvp_slice wanted = text("{\"serving\":true,\"role\":\"primary \\\"x\\\"\","
                                "\"group_id\":\"18446744073709551615\"}");
        assert_int_equal(kvp_slice_compare(kvp_buf_slice(&result.value), wanted), 0);
        kvp_result_free(&result);
    }
    assert_int_equal(kvp_handover(f.client, 0, NULL), KVP_OK);
    assert_int_equal(kvp_handover(f.client, 2, &result), KVP_REFUSED);
    assert_int_equal(kvp_slice_compare(kvp_buf_slice(&result.value), text("no such node")), 0);
    kvp_result_free(&result);
    assert_int_equal(kvp_promote(f.client, url, false, NULL), KVP_REFUSED);
    assert_int_equal(kvp_promote(f.client, url, true, NULL), KVP_OK);
    end(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_synchronous_calls_give_what_the_node_answers),
        cmocka_unit_test(test_values_of_all_sizes_come_back),
        cmocka_unit_test(test_wrong_arguments_are_refused_with_a_reason),
        cmocka_unit_test(test_malformed_options_are_refused_with_a_reason),
        cmocka_unit_test(test_options_without_a_size_are_refused),
        cmocka_unit_test(test_a_node_of_another_group_is_named),
        cmocka_unit_test(test_deadlines_are_kept_and_say_what_may_have_happened),
        cmocka_unit_test(test_an_update_whose_answer_cannot_be_read_may_have_happened),
        cmocka_unit_test(test_a_node_that_comes_back_is_found_again),
        cmocka_unit_test(test_any_address_of_the_list_will_do),
        cmocka_unit_test(test_asynchronous_calls_copy_what_they_are_given),
        cmocka_unit_test(test_every_asynchronous_operation_runs_its_callback),
        cmocka_unit_test(test_callbacks_may_start_calls),
        cmocka_unit_test(test_many_threads_share_a_handle),
        cmocka_unit_test(test_closing_ends_what_is_under_way),
        cmocka_unit_test(test_closing_wakes_synchronous_callers),
        cmocka_unit_test(test_closing_races_with_answers),
        cmocka_unit_test(test_a_scan_reads_page_after_page),
        cmocka_unit_test(test_a_scan_closed_early_gives_up_its_cursor),
        cmocka_unit_test(test_a_scan_of_a_prefix_of_the_highest_bytes_has_no_end),
        cmocka_unit_test(test_a_scan_expires_with_its_node),
        cmocka_unit_test(test_scans_and_transactions_say_why_they_failed),
        cmocka_unit_test(test_bounds_of_a_scan_are_checked),
        cmocka_unit_test(test_results_of_a_transaction),
        cmocka_unit_test(test_mistakes_in_a_transaction_show_at_commit),
        cmocka_unit_test(test_administration),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
