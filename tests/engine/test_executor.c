/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An executor alone in its group, hosted by the test: time passes and the disk writes when the test
 * says so. What is answered, when, and exactly once; scans; the bounds of what may wait.
 */
#include "tests/engine/exec_stage.h"

#include "tests/engine/engine_support.h"

#include "replication/core/core_state.h"
#include "replication/engine/engine_state.h"
#include "replication/node/exec_state.h"

#include <stdio.h>
#include <stdlib.h>

/* ---- answers ---- */

static void test_updates_are_answered_when_they_are_durable(void **state)
{
    struct stage stage;
    struct reply first, second, again, refused;
    struct kvp_request put = with_session(ask_put("a", "one"), 7, 0, 1, 0);
    struct kvp_request create = ask_create("a", "two");
    (void)state;
    stage_open(&stage);
    stage_send(&stage, &put, &first);
    stage_send(&stage, &put, &again);      /* a repeat waits for the same entry */
    stage_send(&stage, &create, &refused); /* rests on it, and waits, too */
    check_now(&stage, ask_get("a", false), KVP_NOT_FOUND);
    put.session.number = 2;
    stage_send(&stage, &put, &second);
    assert_false(first.done || again.done || refused.done || second.done);
    stage_disk(&stage);
    assert_true(first.done && again.done && refused.done && second.done);
    assert_int_equal(first.status, KVP_OK);
    check_slice(kvp_buf_slice(&again.result), kvp_buf_slice(&first.result));
    assert_int_equal(refused.status, KVP_EXISTS);
    check_slice(kvp_buf_slice(&refused.result), kvp_buf_slice(&first.result));
    check_now(&stage, ask_get("a", false), KVP_OK);
    assert_int_equal(stage.executor->engine->overlay.count, 0); /* the store has it all */
    reply_free(&first);
    reply_free(&second);
    reply_free(&again);
    reply_free(&refused);
    stage_close(&stage);
}

/* Nobody waits for it, so it does not cost a write of its own, but for a while only. */
static void test_what_is_committed_is_applied_with_the_next_update(void **state)
{
    struct stage stage;
    struct reply replies[3];
    (void)state;
    stage_open(&stage);
    for (unsigned i = 0; i < 3; i++) {
        struct kvp_request put = ask_put("a", "x");
        stage_send(&stage, &put, &replies[i]);
        assert_int_equal(stage.first->write.append_count, 1);
        assert_int_equal(stage.first->write.apply_count, i > 0);
        stage_disk_all(&stage);
        assert_true(replies[i].done);
        reply_free(&replies[i]);
    }
    uint64_t due_us = kvp_executor_deadline(stage.executor);
    assert_in_range(due_us, stage.now_us + 1, stage.now_us + KVP_CORE_APPLY_WAIT_US);
    kvp_executor_flush(stage.executor, due_us - 1);
    assert_null(stage.first);
    kvp_executor_flush(stage.executor, due_us);
    assert_int_equal(stage.first->write.append_count, 0);
    assert_int_equal(stage.first->write.apply_count, 1);
    stage_disk_all(&stage);
    assert_true(kvp_executor_deadline(stage.executor) > due_us);
    stage_close(&stage);
}

static void check_read(struct stage *stage, bool stale, const char *value, uint64_t behind)
{
    struct reply reply;
    struct kvp_get_result get;
    struct kvp_request request = ask_get("a", stale);
    stage_send(stage, &request, &reply);
    assert_true(reply.done);
    assert_int_equal(reply.status, KVP_OK);
    assert_int_equal(kvp_wire_read_get(kvp_buf_slice(&reply.result), &get), KVP_OK);
    check_slice(get.value, text(value));
    assert_true(get.behind == behind);
    reply_free(&reply);
}

/* Here the entries are committed, and the store does not have them yet. */
static void test_a_stale_read_says_how_many_updates_it_lacks(void **state)
{
    struct stage stage;
    struct reply replies[3];
    static const char *const values[] = {"1", "2", "3"};
    (void)state;
    stage_open(&stage);
    must_put(&stage, "a", "0");
    check_read(&stage, true, "0", 0);
    for (unsigned i = 0; i < 3; i++) {
        struct kvp_request put = ask_put("a", values[i]);
        hand_in(&stage, &put, &replies[i], -1);
    }
    kvp_executor_flush(stage.executor, stage.now_us);
    check_read(&stage, true, "0", 0); /* nobody has been told of them */
    check_read(&stage, false, "0", 0);
    stage_disk_step(&stage);
    assert_true(replies[0].done && replies[1].done && replies[2].done);
    check_read(&stage, false, "3", 0);
    check_read(&stage, true, "0", 3);
    stage_disk(&stage);
    check_read(&stage, false, "3", 0);
    check_read(&stage, true, "3", 0);
    for (unsigned i = 0; i < 3; i++) {
        reply_free(&replies[i]);
    }
    stage_close(&stage);
}

static void test_who_may_not_ask_is_told(void **state)
{
    struct stage stage;
    struct kvp_request request = ask_get("a", false);
    (void)state;
    stage_open(&stage);
    request.group = TEXT("another");
    check_now(&stage, request, KVP_WRONG_GROUP);
    request = ask_get("a", false);
    request.epoch_seen = 1000; /* there is a newer view somewhere */
    check_now(&stage, request, KVP_UNAVAILABLE);
    request.stale = true; /* then it does not matter */
    check_now(&stage, request, KVP_NOT_FOUND);
    request = ask_put("a", "x");
    request.epoch_seen = 1000;
    check_now(&stage, request, KVP_UNAVAILABLE);
    check_now(&stage, (struct kvp_request){.op = KVP_OP_HANDOVER, .target = 2}, KVP_REFUSED);
    check_now(&stage, (struct kvp_request){.op = KVP_OP_HELLO}, KVP_OK);
    check_now(&stage, (struct kvp_request){.op = KVP_OP_STATUS}, KVP_OK);
    check_now(&stage, (struct kvp_request){.op = KVP_OP_CLOSE_SCAN, .cursor = 99}, KVP_OK);
    stage_close(&stage);
}

static void check_bytes(struct stage *stage, kvp_slice body, int status)
{
    struct reply reply = {0};
    kvp_executor_message(stage->executor, stage->now_us, body, NULL, &reply);
    kvp_executor_flush(stage->executor, stage->now_us);
    assert_true(reply.done);
    assert_int_equal(reply.status, status);
    reply_free(&reply);
}

static void test_whatever_is_sent_is_answered(void **state)
{
    struct stage stage;
    (void)state;
    stage_open(&stage);
    check_bytes(&stage, TEXT(""), KVP_BAD_REQUEST);
    check_bytes(&stage, TEXT("\xc0"), KVP_BAD_REQUEST);
    check_bytes(&stage, TEXT("\x98\x01\x01"), KVP_BAD_REQUEST);
    check_bytes(&stage, TEXT("\x92\x02\x01"), KVP_BAD_VERSION);
    check_bytes(&stage, TEXT("\x92\x01\x7f"), KVP_BAD_OP);
    check_bytes(&stage, TEXT("\x92\x01\x41"), KVP_BAD_REQUEST); /* a peer's heartbeat, cut off */
    stage_close(&stage);
}

static void test_a_birth_is_the_committed_point(void **state)
{
    struct stage stage;
    struct reply reply, pending;
    struct kvp_hello hello;
    struct kvp_request put = ask_put("a", "x");
    (void)state;
    stage_open(&stage);
    must_put(&stage, "a", "x");
    stage_send(&stage, &put, &pending);
    stage_send(&stage, &(struct kvp_request){.op = KVP_OP_HELLO}, &reply);
    assert_int_equal(kvp_wire_read_hello(kvp_buf_slice(&reply.result), &hello), KVP_OK);
    assert_int_equal(hello.role, KVP_ROLE_PRIMARY);
    assert_int_equal(hello.session_start, kvp_core_next_seq(kvp_executor_core(stage.executor)) - 2);
    assert_int_equal(hello.node_count, 1);
    check_slice(hello.nodes[0].url, TEXT("tcp://stage:1"));
    reply_free(&reply);
    stage_disk(&stage);
    reply_free(&pending);
    stage_close(&stage);
}

/* ---- bounds ---- */

static void test_only_so_many_updates_may_wait(void **state)
{
    struct stage stage;
    struct reply *replies = calloc(EXEC_WAITING_MAX, sizeof(*replies));
    struct kvp_request put = ask_put("a", "x");
    (void)state;
    assert_non_null(replies);
    stage_open(&stage);
    for (unsigned i = 0; i < EXEC_WAITING_MAX; i++) {
        stage_send(&stage, &put, &replies[i]);
        assert_false(replies[i].done);
    }
    check_now(&stage, put, KVP_BUSY);
    check_now(&stage, ask_get("a", false), KVP_NOT_FOUND); /* reads go on */
    stage_disk(&stage);
    for (unsigned i = 0; i < EXEC_WAITING_MAX; i++) {
        assert_true(replies[i].done);
        assert_int_equal(replies[i].status, KVP_OK);
        reply_free(&replies[i]);
    }
    must_put(&stage, "a", "y");
    free(replies);
    stage_close(&stage);
}

static void test_only_so_many_bytes_may_wait(void **state)
{
    enum {
        COUNT = EXEC_WAITING_SIZE_MAX / KVP_VALUE_SIZE_MAX,
    };
    struct stage stage;
    struct reply replies[COUNT];
    struct kvp_request put = ask_put("a", NULL);
    (void)state;
    put.value = bytes('v', KVP_VALUE_SIZE_MAX);
    stage_open(&stage);
    for (unsigned i = 0; i < COUNT; i++) {
        stage_send(&stage, &put, &replies[i]);
        assert_false(replies[i].done);
    }
    check_now(&stage, ask_put("b", "x"), KVP_BUSY);
    stage_disk(&stage);
    for (unsigned i = 0; i < COUNT; i++) {
        assert_int_equal(replies[i].status, KVP_OK);
        reply_free(&replies[i]);
    }
    must_put(&stage, "b", "x");
    stage_close(&stage);
}

/* ---- the disk fails ---- */

static void test_a_failed_disk_leaves_updates_uncertain(void **state)
{
    struct stage stage;
    struct reply waiting;
    struct kvp_request put = ask_put("a", "two"), scan = ask_scan("a", "", 0);
    struct kvp_memory_fault fault = {.status = KVP_IO, .stay = true};
    (void)state;
    stage_open(&stage);
    must_put(&stage, "a", "one");
    stage_send(&stage, &put, &waiting);
    kvp_env_memory_set_fault(stage.env, fault);
    stage_disk(&stage);
    assert_true(waiting.done);
    assert_int_equal(waiting.status, KVP_UNCERTAIN);
    reply_free(&waiting);
    assert_int_equal(kvp_core_role(kvp_executor_core(stage.executor)), KVP_ROLE_FAILED);
    check_now(&stage, put, KVP_NOT_PRIMARY);
    check_now(&stage, ask_get("a", false), KVP_NOT_PRIMARY);
    check_now(&stage, ask_get("a", true), KVP_UNAVAILABLE);
    check_now(&stage, scan, KVP_NOT_PRIMARY);
    scan.stale = true;
    check_now(&stage, scan, KVP_UNAVAILABLE);
    check_now(&stage, (struct kvp_request){.op = KVP_OP_STATUS}, KVP_OK);
    stage_close(&stage);
}

/* Memory runs out in the middle of an update, and another one is in the same batch of events: both
 * are answered, and what was acknowledged is there. Where engine and log have parted, the node
 * ends. */
static void test_memory_runs_out_in_an_update(void **state)
{
    unsigned refused = 0, failed = 0, done = 0;
    (void)state;
    for (long limit = 0; done == 0; limit++) {
        struct stage stage;
        struct reply first, second;
        struct kvp_request put = with_session(ask_put("a", "one"), 7, 0, 1, 0);
        struct kvp_request next = ask_create("b", "two");
        stage_open(&stage);
        hand_in(&stage, &put, &first, limit);
        hand_in(&stage, &next, &second, -1);
        kvp_executor_flush(stage.executor, stage.now_us);
        stage_disk(&stage);
        assert_true(first.done && second.done);
        if (kvp_core_role(kvp_executor_core(stage.executor)) == KVP_ROLE_PRIMARY) {
            assert_true(first.status == KVP_OK || first.status == KVP_UNAVAILABLE);
            assert_int_equal(second.status, KVP_OK);
            check_now(&stage, ask_get("a", false), first.status == KVP_OK ? KVP_OK : KVP_NOT_FOUND);
            check_now(&stage, ask_get("b", false), KVP_OK);
            done += first.status == KVP_OK;
            refused += first.status != KVP_OK;
        } else {
            assert_int_equal(first.status, KVP_UNCERTAIN);
            assert_true(second.status == KVP_UNAVAILABLE || second.status == KVP_NOT_PRIMARY);
            failed++;
        }
        reply_free(&first);
        reply_free(&second);
        stage_close(&stage);
    }
    assert_true(refused > 3 && failed > 0);
}

static void test_closing_answers_what_waits(void **state)
{
    struct stage stage;
    struct reply update, scan;
    struct kvp_request put = ask_put("a", "x"), all = ask_scan("", "", 0);
    (void)state;
    stage_open(&stage);
    stage_send(&stage, &put, &update);
    stage_send(&stage, &all, &scan); /* not parked: nothing that it must show is committed */
    assert_true(scan.done);
    reply_free(&scan);
    stage_close(&stage);
    assert_true(update.done);
    assert_int_equal(update.status, KVP_UNCERTAIN);
    reply_free(&update);
}

/* ---- scans ---- */

/* Puts k00 to k<count>, each with its name as the value. */
static void fill(struct stage *stage, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        char key[8];
        snprintf(key, sizeof(key), "k%02u", i);
        must_put(stage, key, key);
    }
}

/* Asks for a page, which must hold the keys from..to-1 of fill(); returns the next cursor. */
static uint64_t check_page(struct stage *stage, struct kvp_request request, unsigned from,
                           unsigned to)
{
    struct reply reply;
    struct kvp_scan_result scan;
    struct kvp_get_result pair;
    kvp_slice key;
    stage_send(stage, &request, &reply);
    assert_true(reply.done);
    assert_int_equal(reply.status, KVP_OK);
    assert_int_equal(kvp_wire_read_scan(kvp_buf_slice(&reply.result), &scan), KVP_OK);
    assert_int_equal(scan.count, to - from);
    for (unsigned i = from; i < to; i++) {
        char expected[8];
        snprintf(expected, sizeof(expected), "k%02u", i);
        assert_int_equal(kvp_wire_scan_next(&scan, &key, &pair), KVP_OK);
        check_slice(key, text(expected));
        check_slice(pair.value, request.keys_only ? (kvp_slice){0} : text(expected));
        assert_true(pair.modify == pair.create && pair.modify > 0);
    }
    assert_int_equal(kvp_wire_scan_next(&scan, &key, &pair), KVP_NOT_FOUND);
    reply_free(&reply);
    return scan.cursor;
}

static void test_scans_show_ranges(void **state)
{
    struct stage stage;
    (void)state;
    stage_open(&stage);
    assert_int_equal(check_page(&stage, ask_scan("", "", 0), 0, 0), 0);
    fill(&stage, 20);
    assert_int_equal(check_page(&stage, ask_scan("", "", 0), 0, 20), 0);
    assert_int_equal(check_page(&stage, ask_scan("k05", "k10", 0), 5, 10), 0);
    assert_int_equal(check_page(&stage, ask_scan("k05", "k05", 0), 0, 0), 0);
    assert_int_equal(check_page(&stage, ask_scan("k10", "k05", 0), 0, 0), 0);
    assert_int_equal(check_page(&stage, ask_scan("k185", "", 0), 19, 20), 0);
    assert_int_equal(check_page(&stage, ask_scan("k", "l", 0), 0, 20), 0);
    assert_int_equal(check_page(&stage, ask_scan("", "k02", 0), 0, 2), 0);
    assert_int_equal(check_page(&stage, ask_scan("l", "", 0), 0, 0), 0);
    struct kvp_request keys = ask_scan("k05", "k10", 5);
    keys.keys_only = keys.stale = true;
    assert_int_equal(check_page(&stage, keys, 5, 10), 0);
    stage_close(&stage);
}

/* Page by page from one point in time, each page as often as it is asked for. */
static void test_a_scan_goes_on_from_its_point_in_time(void **state)
{
    struct stage stage;
    struct kvp_request request = ask_scan("", "", 3);
    uint64_t cursors[4];
    (void)state;
    stage_open(&stage);
    fill(&stage, 8);
    cursors[0] = 0;
    for (unsigned page = 0; page < 3; page++) {
        request.cursor = cursors[page];
        unsigned to = 3 * page + 3 < 8 ? 3 * page + 3 : 8;
        cursors[page + 1] = check_page(&stage, request, 3 * page, to);
        if (page > 0) { /* the answer was lost */
            assert_int_equal(check_page(&stage, request, 3 * page, to), cursors[page + 1]);
        }
        must_put(&stage, "k04", "changed");
        must_put(&stage, "k075", "new");
    }
    assert_int_equal(cursors[3], 0);
    request.cursor = cursors[2]; /* the last page may still be asked for, the one before not */
    assert_int_equal(check_page(&stage, request, 6, 8), 0);
    request.cursor = cursors[1];
    check_now(&stage, request, KVP_CURSOR_EXPIRED);
    request.cursor = cursors[2] + 7;
    check_now(&stage, request, KVP_CURSOR_EXPIRED);
    stage_close(&stage);
}

static void test_pages_are_bounded_in_bytes(void **state)
{
    struct stage stage;
    struct kvp_request put = ask_put("a", NULL), scan = ask_scan("", "", 0);
    struct reply reply;
    struct kvp_scan_result result;
    (void)state;
    stage_open(&stage);
    for (unsigned i = 0; i < 6; i++) {
        char key[2] = {(char)('a' + i), '\0'};
        put.key = text(key);
        put.value = bytes('v', KVP_VALUE_SIZE_MAX);
        stage_send(&stage, &put, &reply);
        stage_disk(&stage);
        reply_free(&reply);
    }
    scan.size_max = UINT32_MAX; /* what the client wants, the node cuts */
    scan.count_max = UINT32_MAX;
    stage_send(&stage, &scan, &reply);
    assert_int_equal(reply.status, KVP_OK);
    assert_int_equal(kvp_wire_read_scan(kvp_buf_slice(&reply.result), &result), KVP_OK);
    assert_int_equal(result.count, 1);
    assert_int_not_equal(result.cursor, 0);
    reply_free(&reply);
    stage_close(&stage);
}

/* Keys only: the values must be read all the same, so a page ends when enough has been. */
static void test_a_page_of_keys_reads_no_more_than_some_values(void **state)
{
    struct stage stage;
    struct reply reply;
    struct kvp_scan_result result;
    struct kvp_request scan = ask_scan("", "", 0);
    unsigned seen = 0, pages = 0;
    (void)state;
    stage_open(&stage);
    for (unsigned i = 0; i < 12; i++) {
        char key[8];
        (void)snprintf(key, sizeof(key), "k%02u", i);
        struct kvp_request put = ask_put(key, NULL);
        put.value = bytes('v', KVP_VALUE_SIZE_MAX);
        stage_send(&stage, &put, &reply);
        stage_disk_all(&stage);
        reply_free(&reply);
    }
    stage_disk_all(&stage);
    scan.keys_only = true;
    do {
        stage_send(&stage, &scan, &reply);
        stage_disk_all(&stage);
        assert_true(reply.done);
        assert_int_equal(reply.status, KVP_OK);
        assert_int_equal(kvp_wire_read_scan(kvp_buf_slice(&reply.result), &result), KVP_OK);
        assert_in_range(result.count, 1, 5);
        seen += result.count;
        pages++;
        scan.cursor = result.cursor;
        reply_free(&reply);
    } while (scan.cursor != 0);
    assert_int_equal(seen, 12);
    assert_in_range(pages, 3, 12);
    stage_close(&stage);
}

/* A scan shows everything that was acknowledged before it. */
static void test_a_scan_waits_for_what_is_committed(void **state)
{
    struct stage stage;
    struct reply put, scan;
    struct kvp_request request = ask_put("k00", "k00");
    struct kvp_request all = ask_scan("", "", 0);
    struct kvp_scan_result result;
    (void)state;
    stage_open(&stage);
    stage_send(&stage, &request, &put);
    while (!put.done) { /* committed, but perhaps not applied */
        struct kvp_disk_job *job = stage.first;
        assert_non_null(job);
        stage.first = job->next;
        kvp_disk_run(&stage.disk, job);
        kvp_executor_disk_done(stage.executor, stage.now_us, job);
        kvp_executor_flush(stage.executor, stage.now_us);
    }
    assert_null(stage.first); /* without the scan it would wait for the next update */
    stage_send(&stage, &all, &scan);
    assert_false(scan.done);
    stage_disk_all(&stage);
    assert_true(scan.done);
    assert_int_equal(kvp_wire_read_scan(kvp_buf_slice(&scan.result), &result), KVP_OK);
    assert_int_equal(result.count, 1);
    reply_free(&put);
    reply_free(&scan);
    stage_close(&stage);
}

/* What it waits for is behind a write that may take long; meanwhile there is nothing to be done. */
static void test_a_scan_that_waits_for_the_disk_lets_the_node_sleep(void **state)
{
    struct stage stage;
    struct reply put, second, scan;
    struct kvp_request request = ask_put("k00", "k00");
    struct kvp_request all = ask_scan("", "", 0);
    (void)state;
    stage_open(&stage);
    stage_send(&stage, &request, &put);
    stage_disk_all(&stage);
    assert_true(put.done);
    stage_send(&stage, &request, &second); /* its write is under way, and applies the first */
    assert_non_null(stage.first);
    stage_send(&stage, &all, &scan);
    assert_false(scan.done);
    assert_true(kvp_executor_deadline(stage.executor) > stage.now_us);
    stage_disk_all(&stage);
    assert_true(second.done && scan.done);
    reply_free(&put);
    reply_free(&second);
    reply_free(&scan);
    stage_close(&stage);
}

static void test_cursors_are_few_and_grow_old(void **state)
{
    struct stage stage;
    struct kvp_request request = ask_scan("", "", 1), close = {.op = KVP_OP_CLOSE_SCAN};
    uint64_t cursors[EXEC_CURSORS_MAX];
    (void)state;
    stage_open(&stage);
    fill(&stage, 3);
    for (unsigned i = 0; i < EXEC_CURSORS_MAX; i++) {
        cursors[i] = check_page(&stage, request, 0, 1);
        assert_int_not_equal(cursors[i], 0);
    }
    check_now(&stage, request, KVP_BUSY);
    request.cursor = cursors[0]; /* those under way go on */
    cursors[0] = check_page(&stage, request, 1, 2);
    request.cursor = 0;
    close.cursor = cursors[5];
    check_now(&stage, close, KVP_OK);
    cursors[5] = check_page(&stage, request, 0, 1); /* its place is free */
    check_now(&stage, request, KVP_BUSY);
    stage_pass(&stage, EXEC_CURSOR_IDLE_US / 2);
    request.cursor = cursors[1];
    cursors[1] = check_page(&stage, request, 1, 2); /* in use: stays */
    stage_pass(&stage, EXEC_CURSOR_IDLE_US / 2 + 1000000);
    request.cursor = cursors[2];
    check_now(&stage, request, KVP_CURSOR_EXPIRED);
    request.cursor = cursors[1];
    assert_int_equal(check_page(&stage, request, 2, 3), 0);
    stage_close(&stage);
}

/* ---- it leads no more ---- */

static void put_in_sessions(struct stage *stage, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        struct reply reply;
        struct kvp_request put = with_session(ask_put("a", "one"), 7 + i, 0, 1, 0);
        stage_send(stage, &put, &reply);
        stage_disk(stage);
        assert_int_equal(reply.status, KVP_OK);
        reply_free(&reply);
    }
}

/* Others wait for its word meanwhile: nothing is freed before it has given that. */
static void test_a_node_that_leads_no_more_frees_what_it_knew_later(void **state)
{
    struct stage stage;
    (void)state;
    stage_open(&stage);
    put_in_sessions(&stage, 1000);
    struct kvp_engine *known = stage.executor->engine;
    kvp_core_fail(stage.executor->core, stage.now_us);
    kvp_executor_flush(stage.executor, stage.now_us);
    assert_false(stage.executor->running);
    assert_ptr_equal(stage.executor->engine->past, known);
    stage_pass(&stage, 100000);
    assert_ptr_equal(stage.executor->engine->past, known);
    assert_int_equal(known->sessions.count, 1000);
    stage_pass(&stage, 1000000);
    assert_null(stage.executor->engine->past);
    assert_true(kvp_executor_deadline(stage.executor) > stage.now_us);
    stage_close(&stage);
}

/* ---- silence of workers ---- */

static unsigned silent_workers(struct stage *stage)
{
    return kvp_jobs_count(kvp_engine_jobs(stage->executor->engine), stage->now_us).silent;
}

static void test_silence_does_not_count_while_nothing_is_committed(void **state)
{
    struct stage stage;
    struct reply reply;
    const struct kvp_request join = {
        .op = KVP_OP_WORKER_JOIN, .key = TEXT("ann"), .value = TEXT("\x91\xa1k")};
    const struct kvp_request put = ask_put("a", "x");
    (void)state;
    stage_open(&stage);
    stage_send(&stage, &join, &reply);
    stage_disk(&stage);
    assert_int_equal(reply.status, KVP_OK);
    reply_free(&reply);
    stage_pass(&stage, 1000000);
    stage_send(&stage, &put, &reply);
    for (unsigned i = 0; i < 15; i++) { /* the disk does nothing */
        stage.now_us += 100000;
        kvp_executor_tick(stage.executor, stage.now_us);
        kvp_executor_flush(stage.executor, stage.now_us);
    }
    assert_int_equal(silent_workers(&stage), 0);
    stage_disk(&stage);
    assert_true(reply.done);
    reply_free(&reply);
    stage_pass(&stage, 800000);
    assert_int_equal(silent_workers(&stage), 0);
    stage_pass(&stage, 300000);
    assert_int_equal(silent_workers(&stage), 1);
    stage_close(&stage);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_node_that_leads_no_more_frees_what_it_knew_later),
        cmocka_unit_test(test_updates_are_answered_when_they_are_durable),
        cmocka_unit_test(test_what_is_committed_is_applied_with_the_next_update),
        cmocka_unit_test(test_a_stale_read_says_how_many_updates_it_lacks),
        cmocka_unit_test(test_who_may_not_ask_is_told),
        cmocka_unit_test(test_whatever_is_sent_is_answered),
        cmocka_unit_test(test_a_birth_is_the_committed_point),
        cmocka_unit_test(test_only_so_many_updates_may_wait),
        cmocka_unit_test(test_only_so_many_bytes_may_wait),
        cmocka_unit_test(test_a_failed_disk_leaves_updates_uncertain),
        cmocka_unit_test(test_memory_runs_out_in_an_update),
        cmocka_unit_test(test_closing_answers_what_waits),
        cmocka_unit_test(test_scans_show_ranges),
        cmocka_unit_test(test_a_scan_goes_on_from_its_point_in_time),
        cmocka_unit_test(test_pages_are_bounded_in_bytes),
        cmocka_unit_test(test_a_page_of_keys_reads_no_more_than_some_values),
        cmocka_unit_test(test_a_scan_waits_for_what_is_committed),
        cmocka_unit_test(test_a_scan_that_waits_for_the_disk_lets_the_node_sleep),
        cmocka_unit_test(test_cursors_are_few_and_grow_old),
        cmocka_unit_test(test_silence_does_not_count_while_nothing_is_committed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
