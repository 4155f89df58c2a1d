/* SPDX-License-Identifier: Apache-2.0 */
/* Which node the core of the client asks: hints, epochs, groups, calls for one node. */
#include "core_support.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define LONG_MS 60000u

/* ---- hints ---- */

static void test_a_hint_to_a_connected_node_is_followed_at_once(void **state)
{
    (void)state;
    struct fake fake;
    struct call first, second;
    fake_open(&fake, 4, 3);
    start(&fake, &first, KVP_OP_GET, LONG_MS);
    answer_hint(&fake, take(&fake, 0, KVP_OP_GET), node_url(2));
    struct sent *redirected = take(&fake, 2, KVP_OP_GET);
    assert_true(redirected->at_us == fake.now_us);
    answer(&fake, redirected, KVP_NOT_FOUND);
    check_done(&first, KVP_NOT_FOUND);
    start(&fake, &second, KVP_OP_GET, LONG_MS);
    (void)take(&fake, 2, KVP_OP_GET); /* it is remembered */
    check_nothing_sent(&fake);
    fake_close(&fake);
}

static void test_a_hint_to_a_node_that_is_down_is_followed_when_it_is_up(void **state)
{
    (void)state;
    struct fake fake;
    struct call call, later;
    fake_open_down(&fake, 4, 3);
    fake_link(&fake, 0, true);
    fake_link(&fake, 1, true);
    start(&fake, &call, KVP_OP_GET, LONG_MS);
    answer_hint(&fake, take(&fake, 0, KVP_OP_GET), node_url(2));
    answer_hint(&fake, take(&fake, 1, KVP_OP_GET), node_url(2)); /* the next one, meanwhile */
    check_nothing_sent(&fake);                                   /* all have been asked */
    fake_link(&fake, 2, true);
    answer(&fake, take(&fake, 2, KVP_OP_GET), KVP_NOT_FOUND);
    start(&fake, &later, KVP_OP_GET, LONG_MS);
    (void)take(&fake, 2, KVP_OP_GET);
    fake_close(&fake);
}

static void test_a_hint_to_a_node_never_heard_of_makes_it_known(void **state)
{
    (void)state;
    struct fake fake;
    struct call call;
    fake_open(&fake, 4, 1);
    start(&fake, &call, KVP_OP_GET, LONG_MS);
    answer_hint(&fake, take(&fake, 0, KVP_OP_GET), node_url(5));
    assert_string_equal(fake.last_url, node_url(5));
    assert_int_equal(fake.connects[1], 1);
    assert_string_equal(client_core_url(fake.core, 1), node_url(5));
    fake_link(&fake, 1, true);
    answer(&fake, take(&fake, 1, KVP_OP_GET), KVP_NOT_FOUND);
    check_done(&call, KVP_NOT_FOUND);
    fake_close(&fake);
}

/* A connection to a socket of this machine, say, is not for somebody far away to bring about. */
static void test_a_hint_to_another_scheme_is_not_followed(void **state)
{
    (void)state;
    static const char *const urls[] = {
        "ipc:///run/somebody.sock", "inproc://x", "tls+tcp://a:1", "tcp://", "tcp", "://", "x"};
    struct fake fake;
    struct call call;
    unsigned endpoint = 0;
    fake_open(&fake, 4, 1);
    start(&fake, &call, KVP_OP_GET, LONG_MS);
    for (size_t i = 0; i < sizeof(urls) / sizeof(urls[0]); i++) {
        answer_hint(&fake, fake_pass_until_sent(&fake, LONG_MS), urls[i]);
        assert_int_equal(fake.connects[1], 0);
    }
    assert_int_equal(client_core_find(fake.core, "ipc:///mine", &endpoint), KVP_OK);
    assert_int_equal(endpoint, 1); /* none of the others has been taken down */
    fake_close(&fake);
}

static void test_what_a_node_says_that_only_another_has_named_is_not_followed(void **state)
{
    (void)state;
    struct fake fake;
    struct call call;
    fake_open(&fake, 4, 1);
    start(&fake, &call, KVP_OP_GET, LONG_MS);
    answer_hint(&fake, take(&fake, 0, KVP_OP_GET), node_url(5));
    fake_link(&fake, 1, true);
    answer_hint(&fake, take(&fake, 1, KVP_OP_GET), node_url(6));
    assert_int_equal(fake.connects[2], 0);
    struct sent *again = fake_pass_until_sent(&fake, LONG_MS);
    assert_true(again->endpoint < 2);
    answer_hint(&fake, again,
                node_url(1 - again->endpoint)); /* those that are known, it may name */
    fake_close(&fake);
}

/* What nodes tell cannot fill memory, nor do URLs that no node can have. */
static void test_hints_without_end_are_not_all_remembered(void **state)
{
    (void)state;
    struct fake fake;
    struct call call;
    char url[32];
    unsigned endpoint = 0;
    fake_open(&fake, 4, 1);
    start(&fake, &call, KVP_OP_GET, LONG_MS);
    for (unsigned i = 0; i < 100; i++) {
        (void)snprintf(url, sizeof(url), "tcp://%c", (char)('!' + i % 90));
        url[7] = (char)('!' + i / 90);
        url[8] = '\0';
        answer_hint(&fake, fake_pass_until_sent(&fake, LONG_MS), url);
    }
    assert_int_equal(fake.connects[CLIENT_ENDPOINTS_MAX - 1], 1);
    assert_int_equal(client_core_find(fake.core, "tcp://one-more:1", &endpoint), KVP_TOO_LARGE);
    assert_int_equal(client_core_find(fake.core, node_url(0), &endpoint), KVP_OK);
    fake_close(&fake);
}

static void test_nodes_of_a_hello_are_asked_when_the_given_ones_are_gone(void **state)
{
    (void)state;
    struct fake fake;
    struct call call;
    fake_open(&fake, 4, 1);
    warm_up(&fake, 0); /* HELLO names node 1 and 2 */
    assert_int_equal(fake.connects[1], 0);
    fake_link(&fake, 0, false);
    start(&fake, &call, KVP_OP_PUT, LONG_MS);
    assert_int_equal(fake.connects[1], 1);
    assert_int_equal(fake.connects[2], 1);
    fake_link(&fake, 2, true);
    assert_string_equal(client_core_url(fake.core, 2), node_url(2));
    answer_done(&fake, take(&fake, 2, KVP_OP_PUT), 9);
    check_done(&call, KVP_OK);
    fake_close(&fake);
}

/* ---- epochs and groups ---- */

static void test_epochs_seen_are_told_to_nodes(void **state)
{
    (void)state;
    struct fake fake;
    struct call call;
    fake_open(&fake, 4, 1);
    start(&fake, &call, KVP_OP_GET, LONG_MS);
    struct sent *first = take(&fake, 0, KVP_OP_GET);
    assert_int_equal(first->request.epoch_seen, 0);
    answer_raw(&fake, first, KVP_NOT_FOUND, 8, "", kvp_slice_of(NULL, 0));
    start(&fake, &call, KVP_OP_GET, LONG_MS);
    assert_int_equal(take(&fake, 0, KVP_OP_GET)->request.epoch_seen, 8);
    fake_close(&fake);
}

/* Node 0 answers from an older view than one seen: whatever it says, somebody else is asked. */
static void check_not_believed(kvp_status status)
{
    struct fake fake;
    struct call before, call;
    fake_open(&fake, 4, 2);
    start(&fake, &before, KVP_OP_GET, LONG_MS);
    answer(&fake, take(&fake, 0, KVP_OP_GET), KVP_NOT_FOUND);
    start(&fake, &call, KVP_OP_GET, LONG_MS);
    struct sent *sent = take(&fake, 0, KVP_OP_GET);
    answer_raw(&fake, sent, status, EPOCH - 1, node_url(0), kvp_slice_of(NULL, 0));
    check_open(&call);
    answer_hello(&fake, take(&fake, 1, KVP_OP_HELLO)); /* has the group been replaced? */
    answer(&fake, take(&fake, 1, KVP_OP_GET), KVP_NOT_FOUND);
    check_done(&call, KVP_NOT_FOUND);
    fake_close(&fake);
}

static void test_an_answer_of_an_old_epoch_is_not_believed(void **state)
{
    (void)state;
    check_not_believed(KVP_OK);
    check_not_believed(KVP_NOT_FOUND);
    check_not_believed(KVP_NOT_PRIMARY);
    check_not_believed(KVP_UNAVAILABLE);
}

static void test_a_deposed_primary_is_not_believed_in_hello_either(void **state)
{
    (void)state;
    struct fake fake;
    struct call call;
    fake_open(&fake, 4, 2);
    warm_up(&fake, 0);
    start(&fake, &call, KVP_OP_GET, LONG_MS);
    struct sent *sent = take(&fake, 0, KVP_OP_GET);
    answer_raw(&fake, sent, KVP_OK, EPOCH - 1, "", kvp_slice_of(NULL, 0));
    sent = take(&fake, 1, KVP_OP_HELLO);
    answer_hello_as(&fake, sent, KVP_ROLE_PRIMARY, GROUP_ID, EPOCH - 1);
    check_nothing_sent(&fake); /* both have been asked */
    assert_int_equal(fake_pass_until_sent(&fake, 20)->request.op, KVP_OP_HELLO);
    check_open(&call);
    fake_close(&fake);
}

static void test_epochs_start_anew_in_another_group_of_the_same_name(void **state)
{
    (void)state;
    struct fake fake;
    struct call call;
    fake_open(&fake, 4, 1);
    warm_up(&fake, 0);
    start(&fake, &call, KVP_OP_PUT, LONG_MS);
    struct sent *sent = take(&fake, 0, KVP_OP_PUT);
    answer_raw(&fake, sent, KVP_UNAVAILABLE, 1, "", kvp_slice_of(NULL, 0));
    sent = fake_pass_until_sent(&fake, 20);
    answer_hello_as(&fake, sent, KVP_ROLE_PRIMARY, GROUP_ID + 1, 1);
    sent = take(&fake, 0, KVP_OP_PUT);
    assert_int_equal(sent->request.epoch_seen, 1);
    answer_raw(&fake, sent, KVP_EXISTS, 1, "", kvp_slice_of(NULL, 0));
    check_done(&call, KVP_EXISTS);
    fake_close(&fake);
}

/* ---- nodes of other groups ---- */

static void test_one_node_of_another_group_is_passed_over(void **state)
{
    (void)state;
    struct fake fake;
    struct call call;
    fake_open(&fake, 4, 2);
    start(&fake, &call, KVP_OP_GET, LONG_MS);
    answer(&fake, take(&fake, 0, KVP_OP_GET), KVP_WRONG_GROUP);
    answer(&fake, take(&fake, 1, KVP_OP_GET), KVP_NOT_FOUND);
    check_done(&call, KVP_NOT_FOUND);
    fake_close(&fake);
}

static void test_wrong_group_is_the_outcome_when_all_say_so(void **state)
{
    (void)state;
    struct fake fake;
    struct call call;
    fake_open(&fake, 4, 3);
    start(&fake, &call, KVP_OP_GET, LONG_MS);
    answer(&fake, take(&fake, 0, KVP_OP_GET), KVP_WRONG_GROUP);
    answer(&fake, take(&fake, 1, KVP_OP_GET), KVP_BAD_VERSION);
    check_open(&call);
    answer(&fake, take(&fake, 2, KVP_OP_GET), KVP_WRONG_GROUP);
    check_done(&call, KVP_WRONG_GROUP);
    fake_close(&fake);
}

/* One is down: it may be the one of our group. */
static void test_wrong_group_is_not_the_outcome_while_a_node_has_not_been_asked(void **state)
{
    (void)state;
    struct fake fake;
    struct call call;
    fake_open_down(&fake, 4, 2);
    fake_link(&fake, 0, true);
    start(&fake, &call, KVP_OP_GET, 1000);
    answer(&fake, take(&fake, 0, KVP_OP_GET), KVP_WRONG_GROUP);
    check_open(&call);
    fake_link(&fake, 1, true);
    answer(&fake, take(&fake, 0, KVP_OP_GET), KVP_WRONG_GROUP);
    answer(&fake, take(&fake, 1, KVP_OP_GET), KVP_NOT_FOUND);
    check_done(&call, KVP_NOT_FOUND);
    fake_close(&fake);
}

/* ---- other routes ---- */

static void start_stale(struct fake *fake, struct call *call)
{
    memset(call, 0, sizeof(*call));
    call->core.request.op = KVP_OP_GET;
    call->core.request.key = kvp_slice_of("key", 3);
    call->core.request.stale = true;
    call->core.route = CLIENT_TO_ANY;
    start_as(fake, call, LONG_MS);
}

/* Stale reads that moved from node to node left the count of requests at the second one wrong, and
 * nothing was sent to it any more. */
static void test_any_node_will_do_for_a_stale_read(void **state)
{
    (void)state;
    struct fake fake;
    struct call call;
    fake_open(&fake, 4, 2);
    for (unsigned i = 0; i < 100; i++) {
        start_stale(&fake, &call);
        answer(&fake, take(&fake, 0, KVP_OP_GET), i % 2 == 0 ? KVP_WRONG_GROUP : KVP_NOT_PRIMARY);
        answer(&fake, take(&fake, 1, KVP_OP_GET), KVP_NOT_FOUND);
        check_done(&call, KVP_NOT_FOUND);
    }
    fake_close(&fake);
}

static void test_a_stale_read_takes_old_epochs(void **state)
{
    (void)state;
    struct fake fake;
    struct call call;
    fake_open(&fake, 4, 1);
    warm_up(&fake, 0);
    start_stale(&fake, &call);
    struct sent *sent = take(&fake, 0, KVP_OP_GET);
    answer_raw(&fake, sent, KVP_NOT_FOUND, EPOCH - 1, "", kvp_slice_of(NULL, 0));
    check_done(&call, KVP_NOT_FOUND);
    fake_close(&fake);
}

static void start_at(struct fake *fake, struct call *call, unsigned endpoint, unsigned timeout_ms)
{
    memset(call, 0, sizeof(*call));
    call->core.request.op = KVP_OP_STATUS;
    call->core.route = CLIENT_TO_ONE;
    call->core.endpoint = endpoint;
    start_as(fake, call, timeout_ms);
}

static void test_a_call_for_one_node_goes_nowhere_else(void **state)
{
    (void)state;
    struct fake fake;
    struct call down, call;
    fake_open(&fake, 4, 3);
    fake_link(&fake, 1, false);
    start_at(&fake, &down, 1, 1000);
    fake_pass(&fake, 999);
    check_open(&down);
    fake_pass(&fake, 1);
    check_done(&down, KVP_UNAVAILABLE);
    check_nothing_sent(&fake);
    start_at(&fake, &call, 2, 1000);
    answer(&fake, take(&fake, 2, KVP_OP_STATUS), KVP_BUSY);
    answer(&fake, fake_pass_until_sent(&fake, 20), KVP_NOT_PRIMARY); /* for the caller to judge */
    check_done(&call, KVP_NOT_PRIMARY);
    assert_int_equal(call.core.answered_by, 2);
    start_at(&fake, &call, 2, 1000);
    answer(&fake, take(&fake, 2, KVP_OP_STATUS), KVP_WRONG_GROUP);
    check_done(&call, KVP_WRONG_GROUP);
    fake_close(&fake);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_hint_to_a_connected_node_is_followed_at_once),
        cmocka_unit_test(test_a_hint_to_a_node_that_is_down_is_followed_when_it_is_up),
        cmocka_unit_test(test_a_hint_to_a_node_never_heard_of_makes_it_known),
        cmocka_unit_test(test_a_hint_to_another_scheme_is_not_followed),
        cmocka_unit_test(test_what_a_node_says_that_only_another_has_named_is_not_followed),
        cmocka_unit_test(test_hints_without_end_are_not_all_remembered),
        cmocka_unit_test(test_nodes_of_a_hello_are_asked_when_the_given_ones_are_gone),
        cmocka_unit_test(test_epochs_seen_are_told_to_nodes),
        cmocka_unit_test(test_an_answer_of_an_old_epoch_is_not_believed),
        cmocka_unit_test(test_a_deposed_primary_is_not_believed_in_hello_either),
        cmocka_unit_test(test_epochs_start_anew_in_another_group_of_the_same_name),
        cmocka_unit_test(test_one_node_of_another_group_is_passed_over),
        cmocka_unit_test(test_wrong_group_is_the_outcome_when_all_say_so),
        cmocka_unit_test(test_wrong_group_is_not_the_outcome_while_a_node_has_not_been_asked),
        cmocka_unit_test(test_any_node_will_do_for_a_stale_read),
        cmocka_unit_test(test_a_stale_read_takes_old_epochs),
        cmocka_unit_test(test_a_call_for_one_node_goes_nowhere_else),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
