/* SPDX-License-Identifier: Apache-2.0 */
/* What a program sees of the node that it runs. */
#include "tests/engine/node_support.h"

#include "kvstore/base/clock.h"
#include "replication/node/node_eyes.h"
#include "replication/wire/operations.h"

#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

static atomic_bool held;

/* Holds the loop thread from the moment that it serves. */
static void hold_loop(void *arg, const kvp_node_state *state)
{
    (void)arg;
    while (state->serving && atomic_load(&held)) {
        usleep(1000);
    }
}

static void test_a_loop_that_is_stuck_is_seen(void **state)
{
    struct place place;
    kvp_buf text = {0};
    (void)state;
    place_open(&place);
    kvp_node_options options = alone(&place);
    options.on_change = hold_loop;
    atomic_store(&held, true);
    kvp_node *node = node_open_serving(&options);
    assert_int_equal(node_eyes_status(node, 200, &text), KVP_TIMEOUT);
    assert_int_equal(text.size, 0);
    assert_true(node_eyes_loop_busy_us(node) >= 100000);
    atomic_store(&held, false);
    assert_int_equal(node_eyes_status(node, WAIT_MS, &text), KVP_OK);
    assert_true(text.size > 2 && text.data[0] == '{');
    uint64_t until_us = kvp_clock_now_us() + WAIT_MS * 1000ull;
    while (node_eyes_loop_busy_us(node) > 100000 && kvp_clock_now_us() < until_us) {
        usleep(1000);
    }
    assert_true(node_eyes_loop_busy_us(node) <= 100000);
    kvp_buf_free(&text);
    kvp_node_close(node);
    place_close(&place);
}

static uint64_t answers(const kvp_node *node, unsigned op, int status)
{
    return node_count_read(&node_eyes_counts(node)->answers[op][-status]);
}

static uint64_t times_count(const struct node_times *times)
{
    uint64_t count = 0;
    for (unsigned i = 0; i < NODE_TIMES_SLOTS; i++) {
        count += node_count_read(&times->slots[i]);
    }
    return count;
}

static void test_each_answer_is_counted_once(void **state)
{
    struct place place;
    (void)state;
    place_open(&place);
    kvp_node_options options = alone(&place);
    kvp_node *node = node_open_serving(&options);
    for (unsigned i = 0; i < 7; i++) {
        assert_int_equal(kvp_node_put(node, TEXT("a"), TEXT("1"), NULL), KVP_OK);
    }
    assert_int_equal(kvp_node_create(node, TEXT("a"), TEXT("1"), NULL), KVP_EXISTS);
    assert_int_equal(answers(node, KVP_OP_PUT, KVP_OK), 7);
    assert_int_equal(answers(node, KVP_OP_CREATE, KVP_EXISTS), 1);
    assert_true(times_count(&node_eyes_counts(node)->commit) >= 7);
    assert_true(times_count(node_eyes_writes(node)) >= 7);
    kvp_node_close(node);
    place_close(&place);
}

static void test_times_are_in_the_slot_that_ends_at_or_above_them(void **state)
{
    static const struct {
        uint64_t time_us;
        unsigned slot;
    } rows[] = {{0, 0},          {1, 0},     {2, 1},     {3, 2},        {4, 2},
                {5, 3},          {1024, 10}, {1025, 11}, {1 << 24, 24}, {(1 << 24) + 1, 25},
                {UINT64_MAX, 25}};
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct node_times times;
        memset(&times, 0, sizeof(times));
        node_times_add(&times, rows[i].time_us);
        assert_int_equal(node_count_read(&times.slots[rows[i].slot]), 1);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_loop_that_is_stuck_is_seen),
        cmocka_unit_test(test_each_answer_is_counted_once),
        cmocka_unit_test(test_times_are_in_the_slot_that_ends_at_or_above_them),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
