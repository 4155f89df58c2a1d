/* SPDX-License-Identifier: Apache-2.0 */
/* The embedding API, with a node alone: operations from threads, its life, and wrong options. */
#include "tests/engine/node_support.h"

#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- operations ---- */

static void test_a_node_alone_serves(void **state)
{
    struct place place;
    kvp_node_state now;
    (void)state;
    place_open(&place);
    kvp_node_options options = alone(&place);
    kvp_node *node = node_open_serving(&options);
    kvp_node_get_state(node, &now);
    assert_int_equal(now.role, KVP_ROLE_PRIMARY);
    assert_true(now.serving);
    assert_int_equal(now.primary_id, 1);
    assert_int_equal(now.in_sync, 1u << 1);
    assert_true(now.epoch > 0);
    assert_memory_equal(kvp_node_url(node), "tcp://127.0.0.1:", 16);
    assert_string_not_equal(kvp_node_url(node), "tcp://127.0.0.1:0");
    assert_int_equal(kvp_node_wait_end(node, 1), KVP_TIMEOUT);
    kvp_node_close(node);
    kvp_node_close(NULL);
    place_close(&place);
}

static void test_every_operation(void **state)
{
    struct place place;
    uint64_t put = 0, created = 0, swapped = 0, present = 0, deleted = 0;
    (void)state;
    place_open(&place);
    kvp_node_options options = alone(&place);
    kvp_node *node = node_open_serving(&options);
    check_value(node, "a", NULL, 0);
    assert_int_equal(kvp_node_put(node, TEXT("a"), TEXT("one"), &put), KVP_OK);
    check_value(node, "a", "one", put);
    assert_int_equal(kvp_node_create(node, TEXT("a"), TEXT("x"), &present), KVP_EXISTS);
    assert_int_equal(present, put);
    assert_int_equal(kvp_node_create(node, TEXT("b"), TEXT(""), &created), KVP_OK);
    assert_true(created > put);
    check_value(node, "b", "", created);
    present = 0;
    assert_int_equal(kvp_node_cas(node, TEXT("a"), created, TEXT("x"), &present),
                     KVP_VERSION_DIFFERS);
    assert_int_equal(present, put);
    assert_int_equal(kvp_node_cas(node, TEXT("a"), put, TEXT("two"), &swapped), KVP_OK);
    assert_true(swapped > created);
    assert_int_equal(kvp_node_cas(node, TEXT("c"), 0, TEXT("new"), NULL), KVP_OK);
    assert_int_equal(kvp_node_delete(node, TEXT("a"), put, &present), KVP_VERSION_DIFFERS);
    assert_int_equal(present, swapped);
    assert_int_equal(kvp_node_delete(node, TEXT("a"), swapped, &deleted), KVP_OK);
    assert_true(deleted > swapped);
    assert_int_equal(kvp_node_delete(node, TEXT("a"), 0, NULL), KVP_NOT_FOUND);
    assert_int_equal(kvp_node_delete(node, TEXT("a"), swapped, &present), KVP_VERSION_DIFFERS);
    assert_int_equal(present, 0);
    assert_int_equal(kvp_node_delete(node, TEXT("b"), 0, NULL), KVP_OK);
    check_value(node, "a", NULL, 0);
    kvp_node_close(node);
    place_close(&place);
}

static void test_get_appends_to_what_is_there(void **state)
{
    struct place place;
    kvp_buf value = {0};
    (void)state;
    place_open(&place);
    kvp_node_options options = alone(&place);
    kvp_node *node = node_open_serving(&options);
    assert_int_equal(kvp_node_put(node, TEXT("a"), TEXT("one"), NULL), KVP_OK);
    assert_int_equal(kvp_node_get(node, TEXT("a"), &value, NULL), KVP_OK);
    assert_int_equal(kvp_node_get(node, TEXT("a"), &value, NULL), KVP_OK);
    assert_int_equal(kvp_node_get(node, TEXT("none"), &value, NULL), KVP_NOT_FOUND);
    assert_int_equal(value.size, 6);
    assert_memory_equal(value.data, "oneone", 6);
    kvp_buf_free(&value);
    kvp_node_close(node);
    place_close(&place);
}

static void check_all_refuse(kvp_node *node, kvp_slice key, kvp_slice value, kvp_status expected)
{
    kvp_buf found = {0};
    assert_int_equal(kvp_node_put(node, key, value, NULL), expected);
    assert_int_equal(kvp_node_create(node, key, value, NULL), expected);
    assert_int_equal(kvp_node_cas(node, key, 0, value, NULL), expected);
    if (value.size <= KVP_VALUE_SIZE_MAX) {
        assert_int_equal(kvp_node_delete(node, key, 0, NULL), expected);
        assert_int_equal(kvp_node_get(node, key, &found, NULL), expected);
    }
    assert_int_equal(found.size, 0);
}

static void test_sizes_over_the_limits_are_refused(void **state)
{
    struct place place;
    char *large = calloc(1, KVP_VALUE_SIZE_MAX + 1);
    (void)state;
    place_open(&place);
    kvp_node_options options = alone(&place);
    kvp_node *node = node_open_serving(&options);
    assert_non_null(large);
    check_all_refuse(node, (kvp_slice){0}, TEXT("v"), KVP_BAD_REQUEST);
    check_all_refuse(node, kvp_slice_of(large, KVP_KEY_SIZE_MAX + 1), TEXT("v"), KVP_TOO_LARGE);
    check_all_refuse(node, TEXT("k"), kvp_slice_of(large, KVP_VALUE_SIZE_MAX + 1), KVP_TOO_LARGE);
    kvp_slice key = kvp_slice_of(large, KVP_KEY_SIZE_MAX);
    kvp_buf value = {0};
    assert_int_equal(kvp_node_put(node, key, kvp_slice_of(large, KVP_VALUE_SIZE_MAX), NULL),
                     KVP_OK);
    assert_int_equal(kvp_node_get(node, key, &value, NULL), KVP_OK);
    assert_int_equal(value.size, KVP_VALUE_SIZE_MAX);
    kvp_buf_free(&value);
    free(large);
    kvp_node_close(node);
    place_close(&place);
}

/* ---- threads ---- */

enum {
    THREADS = 6,
    ROUNDS = 40,
};

struct worker {
    kvp_node *node;
    unsigned index;
    bool good; /* cmocka's asserts belong to the main thread */
};

/* Adds one to the counter that all threads share. */
static bool count_one(kvp_node *node)
{
    for (;;) {
        char digits[24] = "0";
        uint64_t version = 0;
        kvp_buf value = {0};
        kvp_status status = kvp_node_get(node, TEXT("counter"), &value, &version);
        if (status == KVP_OK && value.size < sizeof(digits)) {
            memcpy(digits, value.data, value.size);
            digits[value.size] = '\0';
        }
        kvp_buf_free(&value);
        if (status != KVP_OK && status != KVP_NOT_FOUND) {
            return false;
        }
        int size = snprintf(digits, sizeof(digits), "%lu", strtoul(digits, NULL, 10) + 1);
        status =
            kvp_node_cas(node, TEXT("counter"), version, kvp_slice_of(digits, (size_t)size), NULL);
        if (status != KVP_VERSION_DIFFERS) {
            return status == KVP_OK;
        }
    }
}

/* Writes a key of its own and reads it back: what was acknowledged is seen at once. */
static bool write_own(kvp_node *node, unsigned index, unsigned round)
{
    char key[16], text[16];
    uint64_t version = 0, found = 0;
    kvp_buf value = {0};
    kvp_slice k = kvp_slice_of(key, (size_t)snprintf(key, sizeof(key), "own-%u", index));
    size_t size = (size_t)snprintf(text, sizeof(text), "%u", round);
    bool good = kvp_node_put(node, k, kvp_slice_of(text, size), &version) == KVP_OK &&
                kvp_node_get(node, k, &value, &found) == KVP_OK && found == version &&
                value.size == size && memcmp(value.data, text, size) == 0;
    kvp_buf_free(&value);
    return good;
}

static void *work(void *arg)
{
    struct worker *worker = arg;
    worker->good = true;
    for (unsigned round = 0; round < ROUNDS && worker->good; round++) {
        worker->good = write_own(worker->node, worker->index, round) && count_one(worker->node);
    }
    return NULL;
}

static void test_many_threads_use_one_handle(void **state)
{
    struct place place;
    pthread_t threads[THREADS];
    struct worker workers[THREADS];
    kvp_buf value = {0};
    (void)state;
    place_open(&place);
    kvp_node_options options = alone(&place);
    kvp_node *node = node_open_serving(&options);
    for (unsigned i = 0; i < THREADS; i++) {
        workers[i] = (struct worker){.node = node, .index = i};
        assert_int_equal(pthread_create(&threads[i], NULL, work, &workers[i]), 0);
    }
    for (unsigned i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        assert_true(workers[i].good);
    }
    assert_int_equal(kvp_node_get(node, TEXT("counter"), &value, NULL), KVP_OK);
    assert_int_equal(value.size, 3);
    assert_memory_equal(value.data, "240", 3);
    kvp_buf_free(&value);
    kvp_node_close(node);
    place_close(&place);
}

/* ---- life ---- */

struct reader {
    kvp_node *node;
    atomic_bool end;
    atomic_ulong reads, wrong;
};

/* Reads without a pause: versions never go back. */
static void *read_on(void *arg)
{
    struct reader *reader = arg;
    uint64_t last = 0, version = 0;
    kvp_buf value = {0};
    while (!atomic_load(&reader->end)) {
        value.size = 0;
        kvp_status status = kvp_node_get(reader->node, TEXT("key"), &value, &version);
        if (status != KVP_OK || version < last) {
            atomic_fetch_add(&reader->wrong, 1);
        }
        last = version;
        atomic_fetch_add(&reader->reads, 1);
    }
    kvp_buf_free(&value);
    return NULL;
}

static void test_readers_do_not_hold_up_the_others(void **state)
{
    struct place place;
    pthread_t threads[THREADS];
    uint64_t version = 0;
    (void)state;
    place_open(&place);
    kvp_node_options options = alone(&place);
    struct reader reader = {.node = node_open_serving(&options)};
    assert_int_equal(kvp_node_put(reader.node, TEXT("key"), TEXT("0"), NULL), KVP_OK);
    for (unsigned i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, read_on, &reader), 0);
    }
    unsigned long before = 0;
    for (unsigned i = 0; i < 100; i++) {
        assert_int_equal(kvp_node_put(reader.node, TEXT("key"), TEXT("1"), &version), KVP_OK);
        while (atomic_load(&reader.reads) == before) {
            sched_yield(); /* some go on meanwhile */
        }
        before = atomic_load(&reader.reads);
    }
    atomic_store(&reader.end, true);
    for (unsigned i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
    }
    assert_int_equal(atomic_load(&reader.wrong), 0);
    kvp_node_close(reader.node);
    place_close(&place);
}

static void test_a_node_finds_its_data_again(void **state)
{
    enum {
        LIVES = 4,
    };
    struct place place;
    uint64_t versions[LIVES] = {0};
    char key[16];
    (void)state;
    place_open(&place);
    kvp_node_options options = alone(&place);
    for (unsigned life = 0; life < LIVES; life++) {
        kvp_node *node = node_open_serving(&options);
        for (unsigned before = 0; before < life; before++) {
            snprintf(key, sizeof(key), "life-%u", before);
            check_value(node, key, "here", versions[before]);
        }
        snprintf(key, sizeof(key), "life-%u", life);
        must_put(node, key, "here", &versions[life]);
        assert_true(life == 0 || versions[life] > versions[life - 1]); /* revisions go on */
        if (life % 2) { /* in good order, or as in a crash */
            kvp_node_stop(node);
            assert_int_equal(kvp_node_wait_end(node, WAIT_MS), KVP_OK);
        }
        kvp_node_close(node);
    }
    place_close(&place);
}

static void test_a_stopped_node_refuses(void **state)
{
    struct place place;
    kvp_node_state now;
    kvp_buf value = {0};
    (void)state;
    place_open(&place);
    kvp_node_options options = alone(&place);
    kvp_node *node = node_open_serving(&options);
    must_put(node, "a", "one", NULL);
    kvp_node_stop(node);
    kvp_node_stop(node);
    assert_int_equal(kvp_node_wait_end(node, 0), KVP_OK);
    kvp_node_get_state(node, &now);
    assert_int_equal(now.role, KVP_ROLE_STOPPED);
    assert_false(now.serving);
    assert_int_equal(kvp_node_put(node, TEXT("a"), TEXT("two"), NULL), KVP_NOT_PRIMARY);
    assert_int_equal(kvp_node_get(node, TEXT("a"), &value, NULL), KVP_NOT_PRIMARY);
    assert_int_equal(kvp_node_wait_serving(node, WAIT_MS), KVP_CLOSED);
    kvp_node_close(node);
    place_close(&place);
}

struct caller {
    _Atomic(kvp_node *) node;
    unsigned calls;
    kvp_status status;
};

static void call_back(void *arg, int level, const char *line)
{
    struct caller *caller = arg;
    kvp_node *node = atomic_load(&caller->node);
    kvp_buf value = {0};
    (void)level;
    if (node != NULL && strstr(line, "role=stopped") != NULL) {
        caller->calls++;
        caller->status = kvp_node_get(node, TEXT("a"), &value, NULL);
        kvp_buf_free(&value);
    }
}

/* It must not, but the node goes on. */
static void test_a_callback_that_calls_the_node_is_not_stuck(void **state)
{
    struct place place;
    struct caller caller = {NULL};
    (void)state;
    place_open(&place);
    kvp_node_options options = alone(&place);
    options.timeout_ms = 50;
    options.on_log = call_back;
    options.arg = &caller;
    kvp_node *node = node_open_serving(&options);
    atomic_store(&caller.node, node);
    kvp_node_stop(node);
    assert_int_equal(kvp_node_wait_end(node, WAIT_MS), KVP_OK);
    kvp_node_close(node);
    assert_true(caller.calls > 0);
    assert_int_equal(caller.status, KVP_TIMEOUT);
    place_close(&place);
}

/* Closing does not wait for the stop to be through, and does not race with it. */
static void test_a_node_may_be_closed_while_it_stops(void **state)
{
    struct place place;
    (void)state;
    place_open(&place);
    kvp_node_options options = alone(&place);
    for (unsigned i = 0; i < 8; i++) {
        kvp_node *node = i % 2 ? node_open_serving(&options) : node_open(&options);
        kvp_node_stop(node);
        kvp_node_close(node);
    }
    place_close(&place);
}

static void on_change(void *arg, const kvp_node_state *state)
{
    atomic_uint *served = arg;
    if (state->serving && state->role == KVP_ROLE_PRIMARY) {
        atomic_fetch_add(served, 1);
    }
}

static void no_log(void *arg, int level, const char *line)
{
    (void)arg;
    (void)level;
    (void)line;
}

static void test_changes_are_told(void **state)
{
    struct place place;
    atomic_uint served = 0;
    (void)state;
    place_open(&place);
    kvp_node_options options = alone(&place);
    options.on_log = no_log;
    options.on_change = on_change;
    options.arg = &served;
    kvp_node *node = node_open_serving(&options);
    kvp_node_close(node); /* the callback comes behind what waits: it is through now */
    assert_true(atomic_load(&served) >= 1);
    place_close(&place);
}

/* ---- what cannot be opened ---- */

/* Opening fails with that status, and the message has the text in it. */
static void check_not_opened(const kvp_node_options *options, kvp_status expected, const char *text)
{
    kvp_node *node = NULL;
    char message[512] = ""; /* as in README: none is longer */
    assert_int_equal(kvp_node_open(options, &node, message, sizeof(message)), expected);
    assert_true(strlen(message) < sizeof(message) - 1);
    if (strstr(message, text) == NULL) {
        fail_msg("expected \"%s\" in: %s", text, message);
    }
    assert_null(node);
    memset(message, '#', sizeof(message)); /* cut to fit, or not wanted at all */
    assert_int_equal(kvp_node_open(options, &node, message, 8), expected);
    assert_non_null(memchr(message, '\0', 8));
    assert_true(message[8] == '#');
    assert_int_equal(kvp_node_open(options, &node, message, 0), expected);
    assert_int_equal(kvp_node_open(options, &node, NULL, 0), expected);
}

static void test_wrong_options_are_explained(void **state)
{
    struct place place;
    char long_name[70];
    (void)state;
    place_open(&place);
    memset(long_name, 'g', sizeof(long_name));
    long_name[sizeof(long_name) - 1] = '\0';
#define CHECK(text, ...)                                                                           \
    do {                                                                                           \
        kvp_node_options options = alone(&place);                                                  \
        __VA_ARGS__;                                                                               \
        check_not_opened(&options, KVP_BAD_ARGUMENT, text);                                        \
    } while (0)
    CHECK("kvp_node_options_init()", options.size = 8);
    CHECK("1..63", options.id = 0);
    CHECK("1..63", options.id = 64);
    CHECK("data directory", options.data_dir = NULL);
    CHECK("data directory", options.data_dir = "");
    CHECK("address to listen on", options.listen = NULL);
    CHECK("nonsense", options.listen = "nonsense");
    CHECK("1 to 64", options.group = "");
    CHECK("1 to 64", options.group = long_name);
    CHECK("UTF-8", options.group = "gr\xfcn");
    CHECK("who decides", options.pair = NULL);
    CHECK("set aside.", options.pair = NULL);
    CHECK("exclude each other", options.witness = "tcp://127.0.0.1:1");
    CHECK("maybe", options.pair = "maybe");
    CHECK("ID=URL", options.peers = "tcp://127.0.0.1:1");
    CHECK("ID=URL", options.peers = "2=");
    CHECK("ID=URL", options.peers = "2=tcp://127.0.0.1:1,,3=tcp://127.0.0.1:2");
    CHECK("not in 1..63", options.peers = "64=tcp://127.0.0.1:1");
    CHECK("not in 1..63", options.peers = "-1=tcp://127.0.0.1:1");
    CHECK("twice", options.peers = "1=tcp://127.0.0.1:1");
    CHECK("twice", options.peers = "2=tcp://127.0.0.1:1,2=tcp://127.0.0.1:2");
    CHECK("gibberish", options.peers = "2=gibberish");
    CHECK("use a witness", options.peers = "2=tcp://127.0.0.1:1,3=tcp://127.0.0.1:2");
    CHECK("gibberish", options.pair = NULL, options.witness = "gibberish");
    CHECK("must rise", options.lease_ms = 100);
    CHECK("must rise", options.grace_ms = 400);
    CHECK("must rise", options.heartbeat_ms = 500);
    CHECK("only 1 nodes", options.sync_replicas = 2);
#undef CHECK
    place_close(&place);
}

static void test_ten_nodes_are_too_many(void **state)
{
    struct place place;
    char peers[512] = "";
    (void)state;
    place_open(&place);
    for (unsigned id = 2; id <= 10; id++) {
        snprintf(peers + strlen(peers), sizeof(peers) - strlen(peers), "%u=tcp://127.0.0.1:%u,", id,
                 id);
    }
    kvp_node_options options = alone(&place);
    options.pair = NULL;
    options.witness = "tcp://127.0.0.1:1";
    options.peers = peers;
    check_not_opened(&options, KVP_BAD_ARGUMENT, "at most 9");
    place_close(&place);
}

static void test_a_data_directory_is_for_one_node(void **state)
{
    struct place place;
    (void)state;
    place_open(&place);
    kvp_node_options options = alone(&place);
    kvp_node *node = node_open_serving(&options);
    check_not_opened(&options, KVP_LOCKED, place.dirs[1]);
    must_put(node, "a", "still here", NULL); /* the first one does not mind */
    kvp_node_close(node);
    node = node_open_serving(&options); /* and leaves the lock behind */
    kvp_node_close(node);
    options.group = "another";
    check_not_opened(&options, KVP_WRONG_GROUP, "another");
    options.group = NULL;
    options.id = 2;
    check_not_opened(&options, KVP_REFUSED, "1");
    place_close(&place);
}

static void test_an_address_in_use_is_told(void **state)
{
    struct place place;
    (void)state;
    place_open(&place);
    kvp_node_options options = alone(&place);
    kvp_node *node = node_open_serving(&options);
    kvp_node_options other = alone(&place);
    other.data_dir = place.dirs[2];
    other.listen = kvp_node_url(node);
    check_not_opened(&other, KVP_ADDRESS_IN_USE, kvp_node_url(node));
    other.listen = place.urls[2]; /* nothing of the failure stays: no lock, no thread */
    kvp_node_close(node_open_serving(&other));
    kvp_node_close(node);
    place_close(&place);
}

static void test_a_file_is_no_data_directory(void **state)
{
    struct place place;
    char path[128];
    (void)state;
    place_open(&place);
    snprintf(path, sizeof(path), "%s/file", place.path);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fclose(file);
    kvp_node_options options = alone(&place);
    options.data_dir = path;
    check_not_opened(&options, KVP_IO, path);
    place_close(&place);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_node_alone_serves),
        cmocka_unit_test(test_every_operation),
        cmocka_unit_test(test_get_appends_to_what_is_there),
        cmocka_unit_test(test_sizes_over_the_limits_are_refused),
        cmocka_unit_test(test_many_threads_use_one_handle),
        cmocka_unit_test(test_readers_do_not_hold_up_the_others),
        cmocka_unit_test(test_a_node_finds_its_data_again),
        cmocka_unit_test(test_a_stopped_node_refuses),
        cmocka_unit_test(test_a_callback_that_calls_the_node_is_not_stuck),
        cmocka_unit_test(test_a_node_may_be_closed_while_it_stops),
        cmocka_unit_test(test_changes_are_told),
        cmocka_unit_test(test_wrong_options_are_explained),
        cmocka_unit_test(test_ten_nodes_are_too_many),
        cmocka_unit_test(test_a_data_directory_is_for_one_node),
        cmocka_unit_test(test_an_address_in_use_is_told),
        cmocka_unit_test(test_a_file_is_no_data_directory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
