/* SPDX-License-Identifier: Apache-2.0 */
/* Calls of the client library that do not wait, and handles that are closed under them. */
#include "client_fixture.h"

#include "kvpair/kvp_client.h"
#include "fake_server.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define THREADS 8u
#define ROUNDS  100u

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
    fixture_begin(&f);
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
    fixture_end(&f);
}

static void test_every_asynchronous_operation_runs_its_callback(void **state)
{
    (void)state;
    static struct fixture f;
    struct gathering g;
    fixture_begin(&f);
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
    fixture_end(&f);
}

static void test_callbacks_may_start_calls(void **state)
{
    (void)state;
    static struct fixture f;
    struct gathering gathering;
    fixture_begin(&f);
    gather_begin(&gathering, f.client);
    gathering.chain = 500;
    assert_int_equal(kvp_get_async(f.client, text("none"), false, 0, on_done, &gathering), KVP_OK);
    gather_wait(&gathering, 501);
    assert_int_equal(gathering.statuses[-KVP_OK], 500);
    assert_int_equal(gathering.statuses[-KVP_NOT_FOUND], 1);
    gather_end(&gathering);
    fixture_end(&f);
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
    fixture_begin(&f);
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
    fixture_end(&f);
}

/* ---- closing ---- */

static void test_closing_ends_what_is_under_way(void **state)
{
    (void)state;
    static struct fixture f;
    struct gathering gathering;
    fixture_begin(&f);
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
    fixture_begin(&f);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_asynchronous_calls_copy_what_they_are_given),
        cmocka_unit_test(test_every_asynchronous_operation_runs_its_callback),
        cmocka_unit_test(test_callbacks_may_start_calls),
        cmocka_unit_test(test_many_threads_share_a_handle),
        cmocka_unit_test(test_closing_ends_what_is_under_way),
        cmocka_unit_test(test_closing_wakes_synchronous_callers),
        cmocka_unit_test(test_closing_races_with_answers),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
