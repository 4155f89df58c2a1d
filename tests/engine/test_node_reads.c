/* SPDX-License-Identifier: Apache-2.0 */
/* Clients' reads are answered by the thread that receives them, and not before their turn. */
#include "tests/engine/node_support.h"

#include "kvpair/kvp_client.h"
#include "kvstore/base/clock.h"
#include "replication/node/node_eyes.h"
#include "replication/wire/operations.h"

#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

static atomic_bool held;
static atomic_int put_status = 1; /* 1: there is no answer yet */

/* Holds the loop thread from the moment that it serves. */
static void hold_loop(void *arg, const kvp_node_state *state)
{
    (void)arg;
    while (state->serving && atomic_load(&held)) {
        usleep(1000);
    }
}

static kvp_client *open_client(kvp_node *node, uint32_t timeout_ms)
{
    kvp_client *client = NULL;
    kvp_client_options options;
    kvp_client_options_init(&options);
    options.nodes = kvp_node_url(node);
    options.timeout_ms = timeout_ms;
    assert_int_equal(kvp_client_open(&options, &client, NULL, 0), KVP_OK);
    return client;
}

static kvp_status read_status(kvp_client *client, const char *key)
{
    kvp_result result;
    kvp_status status = kvp_get(client, kvp_slice_of(key, strlen(key)), &result);
    kvp_result_free(&result);
    return status;
}

static void on_put(void *arg, const kvp_result *result)
{
    (void)arg;
    atomic_store(&put_status, result->status);
}

static kvp_node *open_with_a_key(struct place *place)
{
    place_open(place);
    kvp_node_options options = alone(place);
    kvp_node *node = node_open_serving(&options);
    assert_int_equal(kvp_node_put(node, TEXT("a"), TEXT("1"), NULL), KVP_OK);
    kvp_node_close(node);
    options.on_change = hold_loop;
    atomic_store(&held, true);
    return node_open_serving(&options);
}

static void test_a_read_is_answered_while_the_loop_is_elsewhere(void **state)
{
    struct place place;
    (void)state;
    kvp_node *node = open_with_a_key(&place);
    kvp_client *client = open_client(node, WAIT_MS);
    assert_int_equal(read_status(client, "a"), KVP_OK);
    assert_int_equal(read_status(client, "b"), KVP_NOT_FOUND);
    assert_int_equal(node_count_read(&node_eyes_counts(node)->answers[KVP_OP_GET][0]), 1);
    atomic_store(&held, false);
    kvp_client_close(client);
    kvp_node_close(node);
    place_close(&place);
}

static void test_a_read_waits_for_what_came_before_it(void **state)
{
    struct place place;
    (void)state;
    kvp_node *node = open_with_a_key(&place);
    kvp_client *client = open_client(node, WAIT_MS), *other = open_client(node, 300);
    assert_int_equal(read_status(other, "a"), KVP_OK);
    assert_int_equal(kvp_put_async(client, TEXT("b"), TEXT("2"), WAIT_MS, on_put, NULL), KVP_OK);
    /* Once the put has come to the node, reads of everybody stand behind it. */
    uint64_t until_us = kvp_clock_now_us() + WAIT_MS * 1000ull;
    while (read_status(other, "a") != KVP_TIMEOUT && kvp_clock_now_us() < until_us) {
        usleep(1000);
    }
    assert_int_equal(read_status(other, "a"), KVP_TIMEOUT);
    assert_int_equal(atomic_load(&put_status), 1);
    atomic_store(&held, false);
    while (atomic_load(&put_status) == 1 && kvp_clock_now_us() < until_us) {
        usleep(1000);
    }
    assert_int_equal(atomic_load(&put_status), KVP_OK);
    assert_int_equal(read_status(client, "b"), KVP_OK);
    kvp_client_close(other);
    kvp_client_close(client);
    kvp_node_close(node);
    place_close(&place);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_read_is_answered_while_the_loop_is_elsewhere),
        cmocka_unit_test(test_a_read_waits_for_what_came_before_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
