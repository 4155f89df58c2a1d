/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Watching keys at an executor alone in its group: what is told, when, and to whom it is not; those
 * who come too late; the bounds. What holds over failovers is the simulator's.
 */
#include "tests/engine/exec_stage.h"

#include "tests/engine/engine_support.h"

#include "replication/core/core_state.h"
#include "replication/node/exec_state.h"

#include <stdio.h>
#include <stdlib.h>

static struct kvp_request ask_watch(const char *start, const char *end, uint64_t from,
                                    uint32_t wait_ms)
{
    return (struct kvp_request){.op = KVP_OP_WATCH,
                                .key = text(start),
                                .value = text(end),
                                .version = from,
                                .wait_ms = wait_ms};
}

/* "3 a 1|4 a -|": revision, key and value of each event, and from where it goes on. */
static uint64_t check_told(struct reply *reply, const char *wanted)
{
    struct kvp_scan_result told = {0};
    struct kvp_get_result pair;
    kvp_slice key;
    char text[1024] = "";
    size_t used = 0;
    assert_true(reply->done);
    assert_int_equal(reply->status, KVP_OK);
    assert_int_equal(kvp_wire_read_scan(kvp_buf_slice(&reply->result), &told), KVP_OK);
    uint64_t next = told.cursor;
    while (kvp_wire_scan_next(&told, &key, &pair) == KVP_OK) {
        kvp_slice value = pair.create == 0 ? TEXT("-") : pair.value;
        used += (size_t)snprintf(text + used, sizeof(text) - used, "%.*s %.*s|", (int)key.size,
                                 (const char *)key.data, (int)value.size, (const char *)value.data);
        assert_true(pair.modify < next && pair.create <= pair.modify);
    }
    assert_string_equal(text, wanted);
    reply_free(reply);
    return next;
}

static uint64_t next_revision(const struct stage *stage)
{
    return kvp_core_next_seq(kvp_executor_core(stage->executor));
}

static void must_delete(struct stage *stage, const char *key)
{
    struct reply reply;
    const struct kvp_request request = {.op = KVP_OP_DELETE, .key = text(key)};
    stage_send(stage, &request, &reply);
    stage_disk(stage);
    assert_int_equal(reply.status, KVP_OK);
    reply_free(&reply);
}

/* ---- what is told ---- */

static void test_a_watch_waits_for_its_range_and_is_told_when_it_is_committed(void **state)
{
    struct stage stage;
    struct reply watch, put;
    (void)state;
    stage_open(&stage);
    uint64_t from = next_revision(&stage);
    struct kvp_request request = ask_watch("b", "c", from, 10000), update = ask_put("b/1", "x");
    stage_send(&stage, &request, &watch);
    must_put(&stage, "a", "1");
    must_put(&stage, "c", "1");
    assert_false(watch.done);
    stage_send(&stage, &update, &put);
    assert_false(watch.done); /* the disk does not have it yet */
    stage_disk_step(&stage);
    assert_true(put.done);
    assert_true(check_told(&watch, "b/1 x|") == from + 3);
    reply_free(&put);
    stage_close(&stage);
}

static void test_a_watch_tells_what_was_from_a_revision_on(void **state)
{
    struct stage stage;
    struct reply watch;
    (void)state;
    stage_open(&stage);
    uint64_t from = next_revision(&stage);
    must_put(&stage, "a", "1");
    must_put(&stage, "b", "2");
    must_put(&stage, "a", "3");
    must_delete(&stage, "a");
    struct kvp_request request = ask_watch("", "", from, 10000);
    stage_send(&stage, &request, &watch);
    assert_true(check_told(&watch, "a 1|b 2|a 3|a -|") == from + 4);
    request = ask_watch("a", "b", from + 1, 10000);
    request.keys_only = true;
    stage_send(&stage, &request, &watch);
    (void)check_told(&watch, "a |a -|");
    request = ask_watch("", "", from, 10000);
    request.count_max = 2;
    stage_send(&stage, &request, &watch);
    request.version = check_told(&watch, "a 1|b 2|");
    stage_send(&stage, &request, &watch);
    (void)check_told(&watch, "a 3|a -|");
    stage_close(&stage);
}

static void test_a_watch_from_now_on_is_told_where_now_is(void **state)
{
    struct stage stage;
    struct reply watch;
    (void)state;
    stage_open(&stage);
    must_put(&stage, "a", "1");
    struct kvp_request request = ask_watch("a", "b", 0, 10000);
    stage_send(&stage, &request, &watch);
    assert_true(check_told(&watch, "") == next_revision(&stage));
    stage_close(&stage);
}

static void test_a_transaction_is_told_whole(void **state)
{
    struct stage stage;
    struct reply txn, watch;
    const struct kvp_txn_op ops[] = {{KVP_TXN_PUT, text("a"), text("1")},
                                     {KVP_TXN_PUT, text("b"), text("2")},
                                     {KVP_TXN_PUT, text("a"), text("3")},
                                     {KVP_TXN_PUT, text("c"), text("4")}};
    const struct kvp_request request = {.op = KVP_OP_TXN, .then_ops = ops, .then_count = 4};
    (void)state;
    stage_open(&stage);
    uint64_t from = next_revision(&stage);
    struct kvp_request wanted = ask_watch("a", "c", from, 10000);
    wanted.count_max = wanted.size_max = 1;
    stage_send(&stage, &wanted, &watch);
    stage_send(&stage, &request, &txn);
    stage_disk(&stage);
    assert_int_equal(txn.status, KVP_OK);
    assert_true(check_told(&watch, "a 3|b 2|") == from + 1);
    reply_free(&txn);
    stage_close(&stage);
}

static void test_an_idle_watch_ends_with_a_bookmark(void **state)
{
    struct stage stage;
    struct reply watch;
    (void)state;
    stage_open(&stage);
    uint64_t from = next_revision(&stage);
    struct kvp_request request = ask_watch("b", "c", from, 3000);
    stage_send(&stage, &request, &watch);
    must_put(&stage, "a", "1");
    must_put(&stage, "a", "2");
    stage_pass(&stage, 2500000);
    assert_false(watch.done);
    stage_pass(&stage, 700000);
    assert_true(check_told(&watch, "") == from + 2);
    request.wait_ms = 0;
    stage_send(&stage, &request, &watch);
    assert_true(check_told(&watch, "") == from + 2);
    stage_close(&stage);
}

/* By other nodes' word it is not committed here yet: nothing is told before. */
static void test_a_watch_of_what_is_to_come_waits_for_it(void **state)
{
    struct stage stage;
    struct reply watch;
    (void)state;
    stage_open(&stage);
    uint64_t from = next_revision(&stage) + 2;
    struct kvp_request request = ask_watch("", "", from, 10000);
    stage_send(&stage, &request, &watch);
    must_put(&stage, "a", "1");
    must_put(&stage, "a", "2");
    assert_false(watch.done);
    must_put(&stage, "a", "3");
    assert_true(check_told(&watch, "a 3|") == from + 1);
    stage_close(&stage);
}

/* ---- the log ---- */

/* Lets go of all that is in memory, or on the disk. */
static struct kvp_core_log *log_of(const struct stage *stage)
{
    return (struct kvp_core_log *)&kvp_executor_core(stage->executor)->log;
}

static void test_a_watch_that_lags_is_read_for_from_the_disk(void **state)
{
    struct stage stage;
    struct reply watch[2];
    (void)state;
    stage_open(&stage);
    uint64_t from = next_revision(&stage);
    for (unsigned i = 0; i < 1000; i++) {
        must_put(&stage, i % 500 == 0 ? "a" : "b", i < 500 ? "old" : "new");
    }
    kvp_core_log_evict(log_of(&stage), from + 999, 0);
    struct kvp_request request = ask_watch("a", "a!", from + 1, 10000);
    stage_send(&stage, &request, &watch[0]);
    request.version = from;
    stage_send(&stage, &request, &watch[1]);
    assert_false(watch[0].done || watch[1].done);
    unsigned jobs = 0;
    for (; stage.first != NULL; jobs++) {
        stage_disk_step(&stage);
    }
    assert_in_range(jobs, 3, 5); /* in pieces, for both at once where they are at one place */
    assert_true(check_told(&watch[1], "a old|") <= from + 256);
    assert_true(check_told(&watch[0], "a new|") > from + 500);
    stage_close(&stage);
}

static void test_a_watch_that_comes_too_late_is_told_what_there_is(void **state)
{
    struct stage stage;
    struct reply watch;
    uint64_t oldest;
    (void)state;
    stage_open(&stage);
    uint64_t from = next_revision(&stage);
    must_put(&stage, "a", "1");
    must_put(&stage, "a", "2");
    must_put(&stage, "a", "3");
    kvp_core_log_evict(log_of(&stage), from + 1, 0);
    log_of(&stage)->disk_first = from + 2;
    struct kvp_request request = ask_watch("a", "b", from, 10000);
    stage_send(&stage, &request, &watch);
    assert_true(watch.done);
    assert_int_equal(watch.status, KVP_COMPACTED);
    assert_int_equal(kvp_wire_read_uint(kvp_buf_slice(&watch.result), &oldest), KVP_OK);
    assert_true(oldest == from + 2);
    reply_free(&watch);
    request.version = oldest;
    stage_send(&stage, &request, &watch);
    (void)check_told(&watch, "a 3|");
    stage_close(&stage);
}

/* ---- bounds ---- */

static void test_an_entry_wakes_only_whom_it_concerns_and_all_of_them(void **state)
{
    enum { COUNT = 3000 };
    struct stage stage;
    char start[32], end[32];
    (void)state;
    stage_open(&stage);
    struct reply *watches = calloc(COUNT, sizeof(*watches));
    assert_non_null(watches);
    uint64_t from = next_revision(&stage);
    for (unsigned i = 0; i < COUNT; i++) {
        (void)snprintf(start, sizeof(start), "k%u/", i % 1500);
        (void)snprintf(end, sizeof(end), "k%u0", i % 1500);
        struct kvp_request request = ask_watch(start, end, from, 10000);
        stage_send(&stage, &request, &watches[i]);
    }
    must_put(&stage, "k77/x", "1");
    stage_pass(&stage, 100000);
    for (unsigned i = 0; i < COUNT; i++) {
        assert_int_equal(watches[i].done, i % 1500 == 77);
    }
    stage_close(&stage); /* answers the others */
    for (unsigned i = 0; i < COUNT; i++) {
        assert_true(watches[i].done);
        reply_free(&watches[i]);
    }
    free(watches);
}

static void test_only_so_many_may_watch(void **state)
{
    enum { COUNT = 16384 };
    struct stage stage;
    struct reply *watches = calloc(COUNT, sizeof(*watches));
    (void)state;
    assert_non_null(watches);
    stage_open(&stage);
    struct kvp_request request = ask_watch("a", "b", next_revision(&stage), 10000);
    for (unsigned i = 0; i < COUNT; i++) {
        stage_send(&stage, &request, &watches[i]);
        assert_false(watches[i].done);
    }
    check_now(&stage, request, KVP_BUSY);
    must_put(&stage, "a", "1");
    assert_false(watches[COUNT - 1].done); /* not all in one turn of the loop */
    for (unsigned turns = 0; turns < COUNT / 256 && !watches[COUNT - 1].done; turns++) {
        assert_true(kvp_executor_deadline(stage.executor) <= stage.now_us);
        kvp_executor_flush(stage.executor, stage.now_us);
    }
    for (unsigned i = 0; i < COUNT; i++) {
        (void)check_told(&watches[i], "a 1|");
    }
    free(watches);
    assert_int_equal(stage.executor->watches.count, 0);
    assert_int_equal(stage.executor->watches.size, 0);
    stage_close(&stage);
}

static void test_without_memory_a_watch_is_refused(void **state)
{
    struct stage stage;
    struct reply reply;
    (void)state;
    stage_open(&stage);
    struct kvp_request request = ask_watch("a", "b", next_revision(&stage), 10000);
    for (long limit = 0; limit < 2; limit++) {
        hand_in(&stage, &request, &reply, limit);
        assert_true(reply.done);
        assert_int_equal(reply.status, KVP_BUSY);
        reply_free(&reply);
    }
    stage_close(&stage);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_watch_waits_for_its_range_and_is_told_when_it_is_committed),
        cmocka_unit_test(test_a_watch_tells_what_was_from_a_revision_on),
        cmocka_unit_test(test_a_watch_from_now_on_is_told_where_now_is),
        cmocka_unit_test(test_a_transaction_is_told_whole),
        cmocka_unit_test(test_an_idle_watch_ends_with_a_bookmark),
        cmocka_unit_test(test_a_watch_of_what_is_to_come_waits_for_it),
        cmocka_unit_test(test_a_watch_that_lags_is_read_for_from_the_disk),
        cmocka_unit_test(test_a_watch_that_comes_too_late_is_told_what_there_is),
        cmocka_unit_test(test_an_entry_wakes_only_whom_it_concerns_and_all_of_them),
        cmocka_unit_test(test_only_so_many_may_watch),
        cmocka_unit_test(test_without_memory_a_watch_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
