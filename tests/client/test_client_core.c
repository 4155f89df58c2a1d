/* SPDX-License-Identifier: Apache-2.0 */
/* The client's core: whom it asks, when it asks again, and how much it asks at once. */
#include "core_support.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define LONG_MS 60000u
#define FULL    KVP_WIRE_OUTSTANDING_MAX /* as many unanswered requests as a connection may have */

/* ---- nodes that do not answer ---- */

static void test_a_silent_node_is_left_after_the_try_time(void **state)
{
    (void)state;
    struct fake fake;
    struct call call;
    fake_open(&fake, 4, 2);
    start(&fake, &call, KVP_OP_GET, LONG_MS);
    struct sent *silent = take(&fake, 0, KVP_OP_GET);
    fake_pass(&fake, TRY_MS - 1);
    check_nothing_sent(&fake);
    fake_pass(&fake, 1);
    struct sent *second = take(&fake, 1, KVP_OP_GET);
    assert_int_equal(second->at_us - silent->at_us, TRY_MS * 1000u);
    answer(&fake, second, KVP_NOT_FOUND);
    check_done(&call, KVP_NOT_FOUND);
    fake_close(&fake);
}

/* A primary that is cut off from us, and for a while from the others, too: they send us back to it
 * until one of them has taken over. */
static void test_hints_to_a_silent_primary_do_not_make_a_call_miss_the_new_one(void **state)
{
    (void)state;
    struct fake fake;
    struct call call;
    fake_open(&fake, 4, 2);
    warm_up(&fake, 0);
    start(&fake, &call, KVP_OP_PUT, LONG_MS);
    uint64_t cut_us = fake.now_us, serves_us = cut_us + 500000;
    (void)take(&fake, 0, KVP_OP_PUT);
    while (!call.done && fake.now_us < cut_us + 5000000) {
        struct sent *sent = fake_pass_until_sent(&fake, 5000);
        if (sent->endpoint == 1 && fake.now_us >= serves_us) {
            answer_done(&fake, sent, 2);
        } else if (sent->endpoint == 1) {
            answer_hint(&fake, sent, node_url(0));
        }
    }
    check_done(&call, KVP_OK);
    assert_true(fake.now_us - serves_us <= 110000); /* the longest pause */
    fake_close(&fake);
}

/* The silent node is the primary all the same, and back. */
static void test_a_silent_primary_is_asked_again(void **state)
{
    (void)state;
    struct fake fake;
    struct call call;
    fake_open(&fake, 4, 2);
    warm_up(&fake, 0);
    start(&fake, &call, KVP_OP_PUT, LONG_MS);
    uint64_t cut_us = fake.now_us;
    (void)take(&fake, 0, KVP_OP_PUT);
    while (!call.done && fake.now_us < cut_us + 5000000) {
        struct sent *sent = fake_pass_until_sent(&fake, 5000);
        if (sent->endpoint == 1) {
            answer_hint(&fake, sent, node_url(0));
        } else if (fake.now_us >= cut_us + 500000) {
            answer_done(&fake, sent, 2);
        }
    }
    check_done(&call, KVP_OK);
    assert_true(fake.now_us - cut_us <= 4 * TRY_MS * 1000u);
    fake_close(&fake);
}

/* Another node has the call by then; whoever answers first settles it. */
static void test_a_late_answer_of_a_silent_primary_counts(void **state)
{
    (void)state;
    struct fake fake;
    struct call call;
    fake_open(&fake, 4, 2);
    warm_up(&fake, 0);
    start(&fake, &call, KVP_OP_PUT, LONG_MS);
    struct sent *slow = take(&fake, 0, KVP_OP_PUT);
    answer_hint(&fake, fake_pass_until_sent(&fake, 2 * TRY_MS), node_url(0));
    answer_done(&fake, slow, 7);
    check_done(&call, KVP_OK);
    assert_int_equal(call.revision, 7);
    fake_close(&fake);
}

static void test_a_call_whose_connection_drops_goes_to_the_next_node_at_once(void **state)
{
    (void)state;
    struct fake fake;
    struct call calls[3];
    fake_open(&fake, 4, 2);
    for (unsigned i = 0; i < 3; i++) {
        start(&fake, &calls[i], KVP_OP_GET, LONG_MS);
        (void)take(&fake, 0, KVP_OP_GET);
    }
    fake_link(&fake, 0, false);
    for (unsigned i = 0; i < 3; i++) {
        answer(&fake, take(&fake, 1, KVP_OP_GET), KVP_NOT_FOUND);
        check_done(&calls[i], KVP_NOT_FOUND);
    }
    check_nothing_sent(&fake);
    fake_close(&fake);
}

static void test_a_connection_silent_for_three_tries_is_dialled_anew(void **state)
{
    (void)state;
    struct fake fake;
    struct call call;
    fake_open(&fake, 4, 1);
    start(&fake, &call, KVP_OP_GET, LONG_MS);
    fake_pass(&fake, 2 * TRY_MS);
    assert_int_equal(fake.resets[0], 0);
    fake_pass(&fake, 4 * TRY_MS);
    assert_int_equal(fake.resets[0], 1);
    fake_close(&fake);
}

static void test_a_node_that_answers_somebody_is_not_dialled_anew(void **state)
{
    (void)state;
    struct fake fake;
    struct call slow, quick;
    fake_open(&fake, 4, 1);
    start(&fake, &slow, KVP_OP_GET, LONG_MS);
    fake.taken = fake.sent_count;
    for (unsigned i = 0; i < 20; i++) {
        start(&fake, &quick, KVP_OP_SCAN, LONG_MS);
        struct sent *sent = fake_pass_until_sent(&fake, TRY_MS);
        while (sent->request.op != KVP_OP_SCAN) {
            sent = fake_pass_until_sent(&fake, TRY_MS);
        }
        answer(&fake, sent, KVP_BAD_REQUEST);
        check_done(&quick, KVP_BAD_REQUEST);
        fake_pass(&fake, TRY_MS);
    }
    assert_int_equal(fake.resets[0], 0);
    fake_close(&fake);
}

/* ---- slow connections ---- */

static void test_a_request_that_is_still_going_out_is_not_repeated(void **state)
{
    (void)state;
    struct fake fake;
    struct call call;
    fake_open(&fake, 4, 2);
    fake.flow.sent = 1000000;
    start(&fake, &call, KVP_OP_GET, LONG_MS);
    struct sent *sent = take(&fake, 0, KVP_OP_GET);
    for (unsigned i = 0; i < 20; i++) {
        fake.flow.arrived += 50000;
        fake_pass(&fake, TRY_MS);
    }
    check_nothing_sent(&fake);
    fake_pass(&fake, TRY_MS - 1); /* it has arrived, and the answer has its time, too */
    check_nothing_sent(&fake);
    assert_int_equal(fake.resets[0], 0);
    answer(&fake, sent, KVP_NOT_FOUND);
    check_done(&call, KVP_NOT_FOUND);
    fake_close(&fake);
}

static void test_a_request_that_got_stuck_goes_to_the_next_node(void **state)
{
    (void)state;
    struct fake fake;
    struct call call;
    fake_open(&fake, 4, 2);
    fake.flow.sent = 1000000;
    start(&fake, &call, KVP_OP_GET, LONG_MS);
    (void)take(&fake, 0, KVP_OP_GET);
    fake.flow.arrived = 1000;
    fake_pass(&fake, TRY_MS);
    check_nothing_sent(&fake);
    fake_pass(&fake, TRY_MS);
    (void)take(&fake, 1, KVP_OP_GET);
    fake_close(&fake);
}

/* What others send and get there says nothing about a request that has arrived. */
static void test_a_request_that_has_arrived_is_repeated_whatever_else_moves(void **state)
{
    (void)state;
    struct fake fake;
    struct call call;
    fake_open(&fake, 4, 2);
    fake.flow.sent = fake.flow.arrived = 1000;
    start(&fake, &call, KVP_OP_GET, LONG_MS);
    (void)take(&fake, 0, KVP_OP_GET);
    fake.flow = (struct kvp_net_flow){.sent = 5000, .arrived = 4000, .received = 3000};
    fake_pass(&fake, TRY_MS);
    (void)take(&fake, 1, KVP_OP_GET);
    fake_close(&fake);
}

static void test_an_answer_that_is_coming_in_is_waited_for(void **state)
{
    (void)state;
    struct fake fake;
    struct call call;
    fake_open(&fake, 4, 2);
    start(&fake, &call, KVP_OP_GET, LONG_MS);
    struct sent *sent = take(&fake, 0, KVP_OP_GET);
    fake.flow.incoming = true;
    for (unsigned i = 0; i < 20; i++) {
        fake.flow.received += 50000;
        fake_pass(&fake, TRY_MS);
    }
    check_nothing_sent(&fake);
    assert_int_equal(fake.resets[0], 0);
    fake_pass(&fake, TRY_MS); /* the rest does not come */
    (void)take(&fake, 1, KVP_OP_GET);
    answer(&fake, sent, KVP_NOT_FOUND);
    check_done(&call, KVP_NOT_FOUND);
    fake_close(&fake);
}

static void test_a_full_connection_is_kept_while_it_moves(void **state)
{
    (void)state;
    struct fake fake;
    struct call calls[FULL + 10];
    fake_open(&fake, 512, 1);
    fake.flow.incoming = true;
    for (unsigned i = 0; i < FULL + 10; i++) {
        start(&fake, &calls[i], KVP_OP_GET, LONG_MS);
    }
    for (unsigned i = 0; i < 40; i++) {
        fake.flow.received += 50000;
        fake_pass(&fake, TRY_MS);
    }
    assert_int_equal(fake.resets[0], 0);
    fake_pass(&fake, 6 * TRY_MS);
    assert_in_range(fake.resets[0], 1, 2);
    fake_close(&fake);
}

/* ---- pauses ---- */

static void test_pauses_grow_from_10_to_100_ms_and_not_further(void **state)
{
    (void)state;
    struct fake fake;
    struct call call;
    uint64_t longest_us = 0;
    fake_open(&fake, 4, 1);
    start(&fake, &call, KVP_OP_GET, LONG_MS);
    struct sent *before = take(&fake, 0, KVP_OP_GET);
    for (unsigned i = 0; i < 100; i++) {
        answer_hint(&fake, before, "");
        check_nothing_sent(&fake);
        struct sent *after = fake_pass_until_sent(&fake, 1000);
        uint64_t pause_us = after->at_us - before->at_us;
        uint64_t bound_us = 10000u << (i < 4 ? i : 4);
        bound_us = bound_us < 100000 ? bound_us : 100000;
        assert_in_range(pause_us, bound_us / 2, bound_us);
        longest_us = pause_us > longest_us ? pause_us : longest_us;
        before = after;
    }
    assert_in_range(longest_us, 90000, 100000); /* and they differ */
    fake_close(&fake);
}

static void test_a_burst_of_refusals_is_one_reason_to_pause(void **state)
{
    (void)state;
    struct fake fake;
    struct call calls[40];
    fake_open(&fake, 64, 1);
    for (unsigned i = 0; i < 40; i++) {
        start(&fake, &calls[i], KVP_OP_GET, LONG_MS);
    }
    for (unsigned i = 0; i < 40; i++) {
        answer_hint(&fake, take(&fake, 0, KVP_OP_GET), "");
    }
    assert_in_range(fake_pass_until_sent(&fake, 1000)->at_us - 1000000u, 5000, 10000);
    fake_close(&fake);
}

static void test_a_pause_begins_when_all_nodes_have_been_asked(void **state)
{
    (void)state;
    struct fake fake;
    struct call call;
    fake_open(&fake, 4, 3);
    start(&fake, &call, KVP_OP_GET, LONG_MS);
    for (unsigned node = 0; node < 3; node++) {
        answer_hint(&fake, take(&fake, node, KVP_OP_GET), "");
    }
    check_nothing_sent(&fake);
    fake_pass(&fake, 11);
    (void)take(&fake, 0, KVP_OP_GET);
    fake_close(&fake);
}

static void test_a_connection_that_comes_up_ends_the_pause(void **state)
{
    (void)state;
    struct fake fake;
    struct call call;
    fake_open_down(&fake, 4, 2);
    fake_link(&fake, 0, true);
    start(&fake, &call, KVP_OP_GET, LONG_MS);
    answer_hint(&fake, take(&fake, 0, KVP_OP_GET), node_url(1));
    check_nothing_sent(&fake);
    fake_link(&fake, 1, true);
    (void)take(&fake, 1, KVP_OP_GET);
    fake_close(&fake);
}

static void test_a_busy_node_is_asked_three_times_and_then_the_next(void **state)
{
    (void)state;
    struct fake fake;
    struct call call;
    fake_open(&fake, 4, 2);
    start(&fake, &call, KVP_OP_GET, LONG_MS);
    for (unsigned i = 0; i < 3; i++) {
        struct sent *sent = i == 0 ? take(&fake, 0, KVP_OP_GET) : fake_pass_until_sent(&fake, 200);
        assert_int_equal(sent->endpoint, 0);
        answer(&fake, sent, i == 1 ? KVP_BUSY : KVP_UNAVAILABLE);
        check_nothing_sent(&fake); /* only after a pause */
    }
    assert_int_equal(fake_pass_until_sent(&fake, 200)->endpoint, 1);
    fake_close(&fake);
}

/* Other calls get on meanwhile. */
static void test_why_a_node_was_busy_is_told_in_the_end(void **state)
{
    (void)state;
    struct fake fake;
    struct call call, other;
    kvp_buf reason = {0};
    fake_open(&fake, 4, 1);
    assert_int_equal(kvp_wire_result_string(&reason, "all places are taken"), KVP_OK);
    start(&fake, &call, KVP_OP_GET, 100);
    answer_raw(&fake, take(&fake, 0, KVP_OP_GET), KVP_BUSY, 1, "", kvp_buf_slice(&reason));
    start(&fake, &other, KVP_OP_GET, 100);
    answer(&fake, take(&fake, 0, KVP_OP_GET), KVP_NOT_FOUND);
    fake_pass(&fake, 200);
    assert_true(call.done);
    assert_int_equal(call.status, KVP_TIMEOUT);
    assert_string_equal(call.reason, "all places are taken");
    kvp_buf_free(&reason);
    fake_close(&fake);
}

/* ---- how much at once ---- */

static void test_calls_beyond_the_lanes_wait_in_their_order(void **state)
{
    (void)state;
    struct fake fake;
    struct call calls[50];
    fake_open(&fake, 3, 1);
    for (unsigned i = 0; i < 50; i++) {
        start(&fake, &calls[i], KVP_OP_GET, LONG_MS);
        assert_int_equal(fake.sent_count, i < 3 ? i + 1 : 3);
    }
    for (unsigned i = 0; i < 50; i++) {
        answer(&fake, take(&fake, 0, KVP_OP_GET), KVP_NOT_FOUND);
        check_done(&calls[i], KVP_NOT_FOUND);
        assert_int_equal(calls[i].order, i);
        assert_int_equal(fake.sent_count, i + 4 < 50 ? i + 4 : 50);
    }
    fake_close(&fake);
}

/* The port checks in every test that there are never more; here that it is used, and freed. */
static void test_the_requests_unanswered_on_a_connection_are_bounded(void **state)
{
    (void)state;
    struct fake fake;
    struct call calls[FULL + 150];
    fake_open(&fake, 512, 1);
    for (unsigned i = 0; i < FULL + 150; i++) {
        start(&fake, &calls[i], KVP_OP_GET, LONG_MS);
    }
    assert_int_equal(fake.sent_count, FULL);
    fake_pass(&fake, 2 * TRY_MS); /* those given up are on the connection still */
    assert_int_equal(fake.sent_count, FULL);
    for (unsigned i = 0; i < FULL + 150; i++) {
        answer(&fake, &fake.sent[i], KVP_NOT_FOUND);
        check_done(&calls[i], KVP_NOT_FOUND);
    }
    fake_close(&fake);
}

static void test_a_new_connection_has_no_requests_unanswered(void **state)
{
    (void)state;
    struct fake fake;
    struct call calls[FULL + 10];
    fake_open(&fake, 512, 1);
    for (unsigned i = 0; i < FULL + 10; i++) {
        start(&fake, &calls[i], KVP_OP_GET, LONG_MS);
    }
    assert_int_equal(fake.sent_count, FULL);
    fake_link(&fake, 0, false);
    fake_link(&fake, 0, true);
    assert_int_equal(fake.sent_count, 2 * FULL);
    fake_close(&fake);
}

/* Else nothing would ever be sent there again. */
static void test_a_full_connection_without_answers_is_dialled_anew(void **state)
{
    (void)state;
    struct fake fake;
    struct call calls[FULL + 10];
    fake_open(&fake, 512, 1);
    for (unsigned i = 0; i < FULL + 10; i++) {
        start(&fake, &calls[i], KVP_OP_GET, LONG_MS);
    }
    fake_pass(&fake, 3 * TRY_MS);
    assert_int_equal(fake.resets[0], 0);
    fake_pass(&fake, 2);
    assert_int_equal(fake.resets[0], 1);
    fake_pass(&fake, 3 * TRY_MS + 2);
    assert_int_equal(fake.resets[0], 2);
    fake_close(&fake);
}

static void test_a_full_send_queue_is_tried_again_after_a_pause(void **state)
{
    (void)state;
    struct fake fake;
    struct call call;
    fake_open(&fake, 4, 1);
    fake.send_status = KVP_BUSY;
    start(&fake, &call, KVP_OP_GET, LONG_MS);
    fake_pass(&fake, 100);
    check_open(&call);
    fake.send_status = KVP_OK;
    answer(&fake, fake_pass_until_sent(&fake, 10), KVP_NOT_FOUND);
    check_done(&call, KVP_NOT_FOUND);
    fake.send_status = KVP_NO_MEMORY;
    start(&fake, &call, KVP_OP_GET, LONG_MS);
    check_done(&call, KVP_NO_MEMORY);
    fake_close(&fake);
}

/* ---- the rest ---- */

static void test_nothing_is_due_when_idle(void **state)
{
    (void)state;
    struct fake fake;
    struct call call;
    fake_open_down(&fake, 4, 2);
    assert_true(client_core_next(fake.core) == UINT64_MAX);
    fake_link(&fake, 0, true);
    start(&fake, &call, KVP_OP_GET, LONG_MS);
    assert_true(client_core_next(fake.core) <= fake.now_us + TRY_MS * 1000u);
    answer_hint(&fake, take(&fake, 0, KVP_OP_GET), "");
    fake_pass(&fake, 20);
    answer(&fake, take(&fake, 0, KVP_OP_GET), KVP_NOT_FOUND);
    fake_link(&fake, 0, false);
    (void)client_core_tick(fake.core, client_core_next(fake.core));
    assert_true(client_core_next(fake.core) == UINT64_MAX);
    fake_close(&fake);
}

static void test_what_no_node_would_send_is_as_no_answer(void **state)
{
    (void)state;
    struct fake fake;
    struct call call;
    fake_open(&fake, 4, 2);
    start(&fake, &call, KVP_OP_GET, LONG_MS);
    struct sent *sent = take(&fake, 0, KVP_OP_GET);
    struct sent wrong = *sent;
    client_core_answer(fake.core, 0, sent->id, kvp_slice_of("garbage", 7), fake.now_us);
    client_core_answer(fake.core, 0, sent->id, kvp_slice_of(NULL, 0), fake.now_us);
    wrong.id = sent->id + 1; /* another session slot */
    answer(&fake, &wrong, KVP_NOT_FOUND);
    wrong.id = 0xfff; /* a session slot that there is not */
    answer(&fake, &wrong, KVP_NOT_FOUND);
    wrong.id = sent->id + 0x1000; /* not sent yet */
    answer(&fake, &wrong, KVP_NOT_FOUND);
    check_open(&call);
    answer(&fake, sent, KVP_NOT_FOUND);
    check_done(&call, KVP_NOT_FOUND);
    answer(&fake, sent, KVP_NOT_FOUND); /* a second time: nobody is there */
    fake_close(&fake);
}

static void test_limits_of_configuration(void **state)
{
    (void)state;
    struct client_core_config config = {.group = "g", .client_id = 1, .session_slots = 1};
    struct client_core *core = NULL;
    char text[KVP_URL_SIZE_MAX + 2] = "";
    config.session_slots = 0;
    assert_int_equal(client_core_new(&config, &core), KVP_BAD_ARGUMENT);
    config.session_slots = CLIENT_SESSION_SLOTS_MAX + 1;
    assert_int_equal(client_core_new(&config, &core), KVP_BAD_ARGUMENT);
    config.session_slots = CLIENT_SESSION_SLOTS_MAX;
    config.client_id = 0;
    assert_int_equal(client_core_new(&config, &core), KVP_BAD_ARGUMENT);
    config.client_id = 1;
    config.group = text;
    assert_int_equal(client_core_new(&config, &core), KVP_BAD_ARGUMENT);
    memset(text, 'x', KVP_GROUP_NAME_MAX + 1);
    assert_int_equal(client_core_new(&config, &core), KVP_BAD_ARGUMENT);
    text[KVP_GROUP_NAME_MAX] = '\0';
    assert_int_equal(client_core_new(&config, &core), KVP_OK);
    client_core_free(core);
}

static void test_limits_of_nodes(void **state)
{
    (void)state;
    struct fake fake;
    char url[KVP_URL_SIZE_MAX + 2] = "";
    memset(url, 'x', KVP_URL_SIZE_MAX + 1);
    fake_open_down(&fake, 4, CLIENT_NODES_MAX - 1);
    assert_int_equal(client_core_add(fake.core, url), KVP_TOO_LARGE);
    url[KVP_URL_SIZE_MAX] = '\0';
    assert_int_equal(client_core_add(fake.core, url), KVP_OK);
    assert_string_equal(client_core_url(fake.core, CLIENT_NODES_MAX - 1), url);
    assert_int_equal(client_core_add(fake.core, "tcp://one:1"), KVP_TOO_LARGE);
    fake_close(&fake);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_silent_node_is_left_after_the_try_time),
        cmocka_unit_test(test_hints_to_a_silent_primary_do_not_make_a_call_miss_the_new_one),
        cmocka_unit_test(test_a_silent_primary_is_asked_again),
        cmocka_unit_test(test_a_late_answer_of_a_silent_primary_counts),
        cmocka_unit_test(test_a_call_whose_connection_drops_goes_to_the_next_node_at_once),
        cmocka_unit_test(test_a_connection_silent_for_three_tries_is_dialled_anew),
        cmocka_unit_test(test_a_node_that_answers_somebody_is_not_dialled_anew),
        cmocka_unit_test(test_a_request_that_is_still_going_out_is_not_repeated),
        cmocka_unit_test(test_a_request_that_got_stuck_goes_to_the_next_node),
        cmocka_unit_test(test_a_request_that_has_arrived_is_repeated_whatever_else_moves),
        cmocka_unit_test(test_an_answer_that_is_coming_in_is_waited_for),
        cmocka_unit_test(test_a_full_connection_is_kept_while_it_moves),
        cmocka_unit_test(test_pauses_grow_from_10_to_100_ms_and_not_further),
        cmocka_unit_test(test_a_burst_of_refusals_is_one_reason_to_pause),
        cmocka_unit_test(test_a_pause_begins_when_all_nodes_have_been_asked),
        cmocka_unit_test(test_a_connection_that_comes_up_ends_the_pause),
        cmocka_unit_test(test_a_busy_node_is_asked_three_times_and_then_the_next),
        cmocka_unit_test(test_why_a_node_was_busy_is_told_in_the_end),
        cmocka_unit_test(test_calls_beyond_the_lanes_wait_in_their_order),
        cmocka_unit_test(test_the_requests_unanswered_on_a_connection_are_bounded),
        cmocka_unit_test(test_a_new_connection_has_no_requests_unanswered),
        cmocka_unit_test(test_a_full_connection_without_answers_is_dialled_anew),
        cmocka_unit_test(test_a_full_send_queue_is_tried_again_after_a_pause),
        cmocka_unit_test(test_nothing_is_due_when_idle),
        cmocka_unit_test(test_what_no_node_would_send_is_as_no_answer),
        cmocka_unit_test(test_limits_of_configuration),
        cmocka_unit_test(test_limits_of_nodes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
