/* SPDX-License-Identifier: Apache-2.0 */
/* The client's core: sessions, and what is said of a call when it ends. */
#include "core_support.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define LONG_MS 60000u

static const kvp_slice nothing = {NULL, 0};

/* ---- sessions ---- */

static void test_many_first_updates_share_one_hello(void **state)
{
    (void)state;
    struct fake fake;
    struct call calls[20];
    fake_open(&fake, 32, 2);
    for (unsigned i = 0; i < 20; i++) {
        start(&fake, &calls[i], KVP_OP_PUT, LONG_MS);
    }
    struct sent *hello = take(&fake, 0, KVP_OP_HELLO);
    assert_true(hello->request.session.client == 0);
    check_nothing_sent(&fake);
    answer_hello(&fake, hello);
    for (unsigned i = 0; i < 20; i++) {
        const struct kvp_session_id *id = &take(&fake, 0, KVP_OP_PUT)->request.session;
        assert_true(id->client == 12345);
        assert_true(id->number == 1);
        assert_true(id->session_start == SESSION_START);
        for (size_t j = 1; j < i + 1u;
             j++) { /* each has a session slot of its own; the 0th was HELLO */
            assert_int_not_equal(id->slot, fake.sent[j].request.session.slot);
        }
    }
    fake_close(&fake);
}

static void test_a_birth_comes_from_a_primary_only(void **state)
{
    (void)state;
    struct fake fake;
    struct call call;
    fake_open(&fake, 4, 2);
    start(&fake, &call, KVP_OP_PUT, LONG_MS);
    struct sent *hello = take(&fake, 0, KVP_OP_HELLO);
    answer_hello_as(&fake, hello, KVP_ROLE_BACKUP, GROUP_ID, EPOCH);
    hello = take(&fake, 1, KVP_OP_HELLO);
    answer_hello_as(&fake, hello, KVP_ROLE_ELECT, GROUP_ID, EPOCH);
    hello = fake_pass_until_sent(&fake, 20);
    answer_hello(&fake, hello);
    assert_true(take(&fake, hello->endpoint, KVP_OP_PUT)->request.session.session_start ==
                SESSION_START);
    fake_close(&fake);
}

/* Who asks for the session start may fail: another one of those who wait takes over. */
static void test_a_hello_is_asked_again_when_its_caller_gives_up(void **state)
{
    (void)state;
    struct fake fake;
    struct call first, second;
    fake_open(&fake, 4, 1);
    start(&fake, &first, KVP_OP_PUT, 100);
    start(&fake, &second, KVP_OP_PUT, LONG_MS);
    (void)take(&fake, 0, KVP_OP_HELLO);
    check_nothing_sent(&fake);
    fake_pass(&fake, 100);
    check_done(&first, KVP_TIMEOUT); /* only a HELLO was sent: nothing can have happened */
    answer_hello(&fake, take(&fake, 0, KVP_OP_HELLO));
    answer_done(&fake, take(&fake, 0, KVP_OP_PUT), 3);
    check_done(&second, KVP_OK);
    fake_close(&fake);
}

static void test_numbers_of_a_lane_rise(void **state)
{
    (void)state;
    struct fake fake;
    struct call call;
    uint64_t number = 1;
    fake_open(&fake, 1, 1);
    warm_up(&fake, 0);
    for (unsigned i = 0; i < 20; i++) {
        start(&fake, &call, i % 3 == 2 ? KVP_OP_GET : KVP_OP_PUT, LONG_MS);
        struct sent *sent = take(&fake, 0, call.core.request.op);
        if (i % 3 == 2) {
            assert_true(sent->request.session.client == 0);
            answer(&fake, sent, KVP_NOT_FOUND);
            continue;
        }
        assert_true(sent->request.session.number > number);
        assert_true(sent->request.session.client == 12345 && sent->request.session.slot == 0);
        assert_true(sent->request.session.session_start == SESSION_START);
        number = sent->request.session.number;
        answer_done(&fake, sent, i);
        check_done(&call, KVP_OK);
        assert_true(call.revision == i);
    }
    fake_close(&fake);
}

/* Whatever happened to the copy before: no answer, a refusal, a drop, doubt. */
static void test_a_repeat_has_the_session_of_the_first_copy(void **state)
{
    (void)state;
    struct fake fake;
    struct call call;
    fake_open(&fake, 4, 2);
    warm_up(&fake, 0);
    start(&fake, &call, KVP_OP_PUT, LONG_MS);
    const struct sent *first = take(&fake, 0, KVP_OP_PUT);
    struct sent *sent = NULL;
    for (unsigned i = 0; i < 12; i++) {
        sent = fake_pass_until_sent(&fake, 3000);
        assert_int_equal(sent->request.op, KVP_OP_PUT);
        assert_memory_equal(&sent->request.session, &first->request.session,
                            sizeof(sent->request.session));
        if (i % 3 == 0) {
            answer(&fake, sent, i % 2 == 0 ? KVP_NOT_PRIMARY : KVP_UNCERTAIN);
        } else if (i % 3 == 1) {
            fake_link(&fake, sent->endpoint, false);
            fake_link(&fake, sent->endpoint, true);
        }
    }
    answer_done(&fake, fake_pass_until_sent(&fake, 3000), 9);
    check_done(&call, KVP_OK);
    fake_close(&fake);
}

static void test_a_lane_has_one_update_at_a_time(void **state)
{
    (void)state;
    struct fake fake;
    struct call calls[9];
    fake_open(&fake, 2, 1);
    warm_up(&fake, 0);
    for (unsigned i = 0; i < 9; i++) {
        start(&fake, &calls[i], KVP_OP_PUT, LONG_MS);
    }
    struct sent *one = take(&fake, 0, KVP_OP_PUT);
    struct sent *other = take(&fake, 0, KVP_OP_PUT);
    for (unsigned i = 2; i < 9; i++) {
        assert_int_not_equal(one->request.session.slot, other->request.session.slot);
        check_nothing_sent(&fake);
        answer_done(&fake, one, i);
        struct sent *next = take(&fake, 0, KVP_OP_PUT);
        assert_int_equal(next->request.session.slot, one->request.session.slot);
        assert_true(next->request.session.number == one->request.session.number + 1);
        one = other;
        other = next;
    }
    fake_close(&fake);
}

static void test_a_session_that_has_expired_is_replaced(void **state)
{
    (void)state;
    struct fake fake;
    struct call call;
    fake_open(&fake, 4, 2);
    warm_up(&fake, 0);
    start(&fake, &call, KVP_OP_PUT, LONG_MS);
    answer_hint(&fake, take(&fake, 0, KVP_OP_PUT), ""); /* a copy, but known not to have run */
    struct sent *old = take(&fake, 1, KVP_OP_PUT);
    answer(&fake, old, KVP_SESSION_EXPIRED);
    check_open(&call);
    answer_hello(&fake, take(&fake, 1, KVP_OP_HELLO));
    struct sent *sent = take(&fake, 1, KVP_OP_PUT);
    assert_int_not_equal(sent->request.session.slot, old->request.session.slot);
    assert_true(sent->request.session.number == 1);
    answer_done(&fake, sent, 5);
    check_done(&call, KVP_OK);
    fake_close(&fake);
}

static void test_a_session_that_expires_during_repeats_leaves_the_outcome_unknown(void **state)
{
    (void)state;
    struct fake fake;
    struct call call;
    fake_open(&fake, 4, 2);
    warm_up(&fake, 0);
    start(&fake, &call, KVP_OP_PUT, LONG_MS);
    (void)take(&fake, 0, KVP_OP_PUT);
    fake_pass(&fake, TRY_MS);
    answer(&fake, take(&fake, 1, KVP_OP_PUT), KVP_SESSION_EXPIRED);
    check_done(&call, KVP_TIMEOUT_UNKNOWN);
    check_nothing_sent(&fake);
    fake_close(&fake);
}

/* Both copies were refused for it: nothing has happened. */
static void test_a_session_may_expire_for_every_copy(void **state)
{
    (void)state;
    struct fake fake;
    struct call call;
    fake_open(&fake, 4, 2);
    warm_up(&fake, 0);
    start(&fake, &call, KVP_OP_PUT, LONG_MS);
    struct sent *late = take(&fake, 0, KVP_OP_PUT);
    fake_pass(&fake, TRY_MS);
    struct sent *sent = take(&fake, 1, KVP_OP_PUT);
    answer(&fake, late, KVP_SESSION_EXPIRED);
    answer(&fake, sent, KVP_SESSION_EXPIRED);
    check_open(&call);
    answer_hello(&fake, take(&fake, 1, KVP_OP_HELLO));
    answer_done(&fake, take(&fake, 1, KVP_OP_PUT), 5);
    check_done(&call, KVP_OK);
    fake_close(&fake);
}

static void test_a_client_that_has_used_all_slots_takes_another_number(void **state)
{
    (void)state;
    struct fake fake;
    struct call call;
    struct sent *sent = NULL;
    fake_open(&fake, 1, 1);
    fake_make_room(&fake, 3 * (UINT16_MAX + 1));
    warm_up(&fake, 0);
    start(&fake, &call, KVP_OP_PUT, LONG_MS);
    for (unsigned slot = 0; slot <= UINT16_MAX; slot++) {
        sent = take(&fake, 0, KVP_OP_PUT);
        assert_true(sent->request.session.client == 12345);
        assert_int_equal(sent->request.session.slot, slot);
        answer(&fake, sent, KVP_SESSION_EXPIRED);
        answer_hello(&fake, take(&fake, 0, KVP_OP_HELLO));
    }
    sent = take(&fake, 0, KVP_OP_PUT);
    assert_true(sent->request.session.client != 12345 && sent->request.session.client != 0);
    assert_int_equal(sent->request.session.slot, 0);
    fake_close(&fake);
}

/* ---- deadlines: nothing can have happened ---- */

static void test_unavailable_is_said_when_no_node_can_be_reached(void **state)
{
    (void)state;
    struct fake fake;
    struct call get, put;
    fake_open_down(&fake, 4, 2);
    start(&fake, &get, KVP_OP_GET, 1000);
    start(&fake, &put, KVP_OP_PUT, 1000);
    fake_pass(&fake, 999);
    check_open(&get);
    fake_pass(&fake, 1);
    check_done(&get, KVP_UNAVAILABLE);
    check_done(&put, KVP_UNAVAILABLE);
    assert_int_equal(put.at_us - 1000000, 1000000);
    fake_close(&fake);
}

/* All of them say that they did not do it. */
static void check_timeout(kvp_status status)
{
    struct fake fake;
    struct call call;
    fake_open(&fake, 4, 2);
    warm_up(&fake, 0);
    start(&fake, &call, KVP_OP_PUT, 1000);
    while (!call.done) {
        if (fake.taken < fake.sent_count) {
            answer(&fake, &fake.sent[fake.taken++], status);
        } else {
            fake_pass(&fake, 5);
        }
    }
    check_done(&call, KVP_TIMEOUT);
    assert_int_equal(call.at_us - 1000000, 1000000);
    assert_true(fake.sent_count > 5);
    fake_close(&fake);
}

static void test_timeout_is_said_when_every_copy_was_refused(void **state)
{
    (void)state;
    check_timeout(KVP_NOT_PRIMARY);
    check_timeout(KVP_UNAVAILABLE);
    check_timeout(KVP_BUSY);
    check_timeout(KVP_TIMEOUT);
}

static void test_timeout_is_said_of_what_waited_in_the_queue(void **state)
{
    (void)state;
    struct fake fake;
    struct call before, queued;
    fake_open(&fake, 1, 1);
    warm_up(&fake, 0);
    start(&fake, &before, KVP_OP_PUT, LONG_MS);
    start(&fake, &queued, KVP_OP_PUT, 1000);
    fake_pass(&fake, 1000);
    check_done(&queued, KVP_TIMEOUT);
    check_open(&before);
    fake_close(&fake);
}

static void test_a_read_is_never_unknown(void **state)
{
    (void)state;
    struct fake fake;
    struct call call;
    fake_open(&fake, 4, 2);
    start(&fake, &call, KVP_OP_GET, 1000);
    answer(&fake, take(&fake, 0, KVP_OP_GET), KVP_UNCERTAIN);
    fake_pass(&fake, 1000);
    check_done(&call, KVP_TIMEOUT);
    fake_close(&fake);
}

static void test_late_refusals_of_all_copies_count(void **state)
{
    (void)state;
    struct fake fake;
    struct call call;
    fake_open(&fake, 4, 2);
    warm_up(&fake, 0);
    start(&fake, &call, KVP_OP_PUT, 1000);
    struct sent *late[2];
    late[0] = take(&fake, 0, KVP_OP_PUT);
    fake_pass(&fake, TRY_MS);
    late[1] = take(&fake, 1, KVP_OP_PUT);
    fake_link(&fake, 0, false);
    fake_link(&fake, 1, false);
    /* The answers were on their way when the connections dropped. */
    answer(&fake, late[0], KVP_NOT_PRIMARY);
    answer(&fake, late[1], KVP_UNAVAILABLE);
    fake_pass(&fake, 1000);
    check_done(&call, KVP_UNAVAILABLE);
    fake_close(&fake);
}

/* Nobody would wait for its answer. */
static void test_nothing_is_sent_after_the_deadline(void **state)
{
    (void)state;
    struct fake fake;
    struct call call;
    fake_open_down(&fake, 4, 1);
    start(&fake, &call, KVP_OP_GET, 1000);
    fake.now_us += 1000000; /* the thread that ticks is late */
    fake_link(&fake, 0, true);
    check_nothing_sent(&fake);
    fake_pass(&fake, 0);
    check_done(&call, KVP_TIMEOUT);
    fake_close(&fake);
}

/* ---- deadlines: something may have happened ---- */

/* Copies of an update get these answers, in this order; 1: none. */
static void check_outcome(const int *answers, size_t count, kvp_status outcome)
{
    struct fake fake;
    struct call call;
    fake_open(&fake, 4, 2);
    warm_up(&fake, 0);
    start(&fake, &call, KVP_OP_PUT, LONG_MS);
    for (size_t i = 0; i < count; i++) {
        struct sent *sent = fake_pass_until_sent(&fake, 3000);
        fake.send_status = i + 1 < count ? KVP_OK : KVP_BUSY; /* there are no more copies */
        if (answers[i] <= 0) {
            answer_raw(&fake, sent, answers[i], EPOCH, "", nothing);
        }
    }
    fake_link(&fake, 0, false);
    fake_link(&fake, 1, false);
    fake_pass(&fake, LONG_MS);
    check_done(&call, outcome);
    fake_close(&fake);
}

#define CHECK_OUTCOME(outcome, ...)                                                                \
    do {                                                                                           \
        const int answers[] = {__VA_ARGS__};                                                       \
        check_outcome(answers, sizeof(answers) / sizeof(answers[0]), (outcome));                   \
    } while (0)

static void test_unknown_is_said_exactly_when_a_copy_may_have_run(void **state)
{
    (void)state;
    enum { NONE = 1 };
    CHECK_OUTCOME(KVP_TIMEOUT_UNKNOWN, NONE);
    CHECK_OUTCOME(KVP_TIMEOUT_UNKNOWN, NONE, KVP_NOT_PRIMARY);
    CHECK_OUTCOME(KVP_TIMEOUT_UNKNOWN, KVP_NOT_PRIMARY, NONE);
    CHECK_OUTCOME(KVP_TIMEOUT_UNKNOWN, NONE, KVP_BUSY, KVP_BUSY, KVP_BUSY, KVP_UNAVAILABLE);
    CHECK_OUTCOME(KVP_TIMEOUT_UNKNOWN, KVP_UNCERTAIN);
    CHECK_OUTCOME(KVP_TIMEOUT_UNKNOWN, KVP_UNCERTAIN, KVP_NOT_PRIMARY);
    CHECK_OUTCOME(KVP_TIMEOUT_UNKNOWN, KVP_IO, KVP_NOT_PRIMARY); /* of a disk */
    CHECK_OUTCOME(KVP_TIMEOUT_UNKNOWN, -200, KVP_BUSY);          /* of the future */
    CHECK_OUTCOME(KVP_TIMEOUT_UNKNOWN, KVP_NO_MEMORY, KVP_NOT_PRIMARY);
    CHECK_OUTCOME(KVP_TIMEOUT_UNKNOWN, KVP_WRONG_GROUP, NONE, KVP_WRONG_GROUP);
    CHECK_OUTCOME(KVP_UNAVAILABLE, KVP_NOT_PRIMARY);
    CHECK_OUTCOME(KVP_UNAVAILABLE, KVP_BUSY, KVP_NOT_PRIMARY, KVP_UNAVAILABLE, KVP_TIMEOUT);
    CHECK_OUTCOME(KVP_UNAVAILABLE, KVP_WRONG_GROUP, KVP_NOT_PRIMARY);
    CHECK_OUTCOME(KVP_WRONG_GROUP, KVP_WRONG_GROUP, KVP_WRONG_GROUP);
    CHECK_OUTCOME(KVP_EXISTS, NONE, KVP_UNCERTAIN, KVP_EXISTS);
}

/* Of very many copies, only the newest are told apart: the others must not be forgotten. */
static void test_a_copy_without_an_answer_is_remembered_behind_many_others(void **state)
{
    (void)state;
    struct fake fake;
    struct call call;
    fake_open(&fake, 4, 1);
    warm_up(&fake, 0);
    start(&fake, &call, KVP_OP_PUT, LONG_MS);
    (void)take(&fake, 0, KVP_OP_PUT);
    for (unsigned i = 0; i < 100; i++) {
        struct sent *sent = fake_pass_until_sent(&fake, 3000);
        fake.send_status = i < 99 ? KVP_OK : KVP_BUSY; /* there are no more copies */
        answer(&fake, sent, KVP_BUSY);
    }
    fake_pass(&fake, LONG_MS);
    check_done(&call, KVP_TIMEOUT_UNKNOWN);
    fake_close(&fake);
}

/* ---- late answers ---- */

static void test_the_late_answer_of_an_earlier_copy_ends_the_call(void **state)
{
    (void)state;
    struct fake fake;
    struct call call;
    fake_open(&fake, 4, 2);
    warm_up(&fake, 0);
    start(&fake, &call, KVP_OP_PUT, LONG_MS);
    struct sent *late = take(&fake, 0, KVP_OP_PUT);
    fake_pass(&fake, TRY_MS);
    struct sent *repeat = take(&fake, 1, KVP_OP_PUT);
    answer_done(&fake, late, 8);
    check_done(&call, KVP_OK);
    assert_true(call.revision == 8);
    assert_int_equal(call.core.answered_by, 0);
    answer_done(&fake, repeat, 8); /* nobody waits for it */
    fake_close(&fake);
}

static void test_a_late_answer_is_not_taken_for_the_next_call_of_the_lane(void **state)
{
    (void)state;
    struct fake fake;
    struct call call, next;
    fake_open(&fake, 1, 1);
    warm_up(&fake, 0);
    start(&fake, &call, KVP_OP_PUT, 100);
    struct sent *late = take(&fake, 0, KVP_OP_PUT);
    fake_pass(&fake, 100);
    check_done(&call, KVP_TIMEOUT_UNKNOWN);
    start(&fake, &next, KVP_OP_PUT, LONG_MS);
    answer_done(&fake, late, 8);
    check_open(&next);
    answer_done(&fake, take(&fake, 0, KVP_OP_PUT), 9);
    check_done(&next, KVP_OK);
    assert_true(next.revision == 9);
    fake_close(&fake);
}

static void test_the_late_answer_of_a_hello_is_not_taken_for_the_updates(void **state)
{
    (void)state;
    struct fake fake;
    struct call call;
    fake_open(&fake, 4, 2);
    start(&fake, &call, KVP_OP_PUT, 2000);
    struct sent *late = take(&fake, 0, KVP_OP_HELLO);
    fake_pass(&fake, TRY_MS);
    answer_hello(&fake, take(&fake, 1, KVP_OP_HELLO));
    (void)take(&fake, 1, KVP_OP_PUT);
    answer_hello(&fake, late); /* which is OK, as far as that goes */
    check_open(&call);
    fake_pass(&fake, 2000);
    check_done(&call, KVP_TIMEOUT_UNKNOWN);
    fake_close(&fake);
}

/* The HELLO was refused, the update was not: it may have run. */
static void test_the_late_refusal_of_a_hello_is_not_taken_for_the_updates(void **state)
{
    (void)state;
    struct fake fake;
    struct call call;
    fake_open(&fake, 4, 2);
    start(&fake, &call, KVP_OP_PUT, 2000);
    struct sent *late = take(&fake, 0, KVP_OP_HELLO);
    fake_pass(&fake, TRY_MS);
    answer_hello(&fake, take(&fake, 1, KVP_OP_HELLO));
    (void)take(&fake, 1, KVP_OP_PUT);
    fake_link(&fake, 1, false);
    answer_raw(&fake, late, KVP_NOT_PRIMARY, EPOCH, "", nothing);
    fake_pass(&fake, 2000);
    check_done(&call, KVP_TIMEOUT_UNKNOWN);
    fake_close(&fake);
}

/* In the other direction: the group is asked for by HELLO while a copy is under way. */
static void test_the_late_answer_of_an_update_counts_during_a_hello(void **state)
{
    (void)state;
    struct fake fake;
    struct call call, read;
    fake_open(&fake, 4, 1);
    warm_up(&fake, 0);
    start(&fake, &call, KVP_OP_PUT, LONG_MS);
    struct sent *late = take(&fake, 0, KVP_OP_PUT);
    start(&fake, &read, KVP_OP_GET, LONG_MS);
    answer_raw(&fake, take(&fake, 0, KVP_OP_GET), KVP_NOT_FOUND, EPOCH - 1, "", nothing);
    answer(&fake, fake_pass_until_sent(&fake, 20), KVP_BUSY); /* the read's HELLO */
    fake_pass(&fake, TRY_MS + 200);
    answer_done(&fake, late, 4);
    check_done(&call, KVP_OK);
    assert_true(call.revision == 4);
    fake_close(&fake);
}

/* A network that repeats messages, or a node that does. */
static void test_a_refusal_that_comes_twice_counts_once(void **state)
{
    (void)state;
    struct fake fake;
    struct call call;
    fake_open(&fake, 4, 2);
    warm_up(&fake, 0);
    start(&fake, &call, KVP_OP_PUT, 1000);
    (void)take(&fake, 0, KVP_OP_PUT);
    fake_pass(&fake, TRY_MS);
    struct sent *refused = take(&fake, 1, KVP_OP_PUT);
    answer_hint(&fake, refused, "");
    answer_hint(&fake, refused, "");
    answer_hint(&fake, refused, "");
    fake_link(&fake, 0, false);
    fake_link(&fake, 1, false);
    fake_pass(&fake, 1000);
    check_done(&call, KVP_TIMEOUT_UNKNOWN);
    fake_close(&fake);
}

static void test_a_late_answer_of_an_old_epoch_is_not_believed(void **state)
{
    (void)state;
    struct fake fake;
    struct call call;
    fake_open(&fake, 4, 2);
    warm_up(&fake, 0);
    start(&fake, &call, KVP_OP_GET, LONG_MS);
    struct sent *late = take(&fake, 0, KVP_OP_GET);
    fake_pass(&fake, TRY_MS);
    struct sent *sent = take(&fake, 1, KVP_OP_GET);
    answer_raw(&fake, late, KVP_NOT_FOUND, EPOCH - 1, "", nothing);
    check_open(&call);
    answer(&fake, sent, KVP_EXISTS);
    check_done(&call, KVP_EXISTS);
    fake_close(&fake);
}

/* ---- calls that are sent once ---- */

static void test_a_handover_waits_for_its_one_answer(void **state)
{
    (void)state;
    struct fake fake;
    struct call call;
    fake_open(&fake, 4, 2);
    start(&fake, &call, KVP_OP_HANDOVER, 5000);
    (void)take(&fake, 0, KVP_OP_HANDOVER);
    fake_pass(&fake, 4999);
    check_nothing_sent(&fake);
    check_open(&call);
    fake_pass(&fake, 1);
    check_done(&call, KVP_TIMEOUT_UNKNOWN);
    check_nothing_sent(&fake);
    fake_close(&fake);
}

static void test_a_handover_is_not_repeated_when_its_connection_drops(void **state)
{
    (void)state;
    struct fake fake;
    struct call call;
    fake_open(&fake, 4, 2);
    start(&fake, &call, KVP_OP_HANDOVER, 5000);
    (void)take(&fake, 0, KVP_OP_HANDOVER);
    fake_link(&fake, 0, false);
    check_done(&call, KVP_TIMEOUT_UNKNOWN);
    check_nothing_sent(&fake);
    start(&fake, &call, KVP_OP_HANDOVER, 5000);
    answer(&fake, take(&fake, 1, KVP_OP_HANDOVER), KVP_UNCERTAIN);
    check_done(&call, KVP_TIMEOUT_UNKNOWN);
    check_nothing_sent(&fake);
    fake_close(&fake);
}

static void test_a_handover_refused_by_one_node_goes_to_another(void **state)
{
    (void)state;
    struct fake fake;
    struct call call;
    fake_open(&fake, 4, 2);
    start(&fake, &call, KVP_OP_HANDOVER, 5000);
    answer_hint(&fake, take(&fake, 0, KVP_OP_HANDOVER), node_url(1));
    answer(&fake, take(&fake, 1, KVP_OP_HANDOVER), KVP_REFUSED);
    check_done(&call, KVP_REFUSED);
    fake_close(&fake);
}

static void start_promotion(struct fake *fake, struct call *call)
{
    memset(call, 0, sizeof(*call));
    call->core.request.op = KVP_OP_PROMOTE;
    call->core.route = CLIENT_TO_ONE;
    call->core.endpoint = 1;
    call->core.once = true;
    start_as(fake, call, 5000);
}

/* A node that stops, loses its role or its disk in the middle does not know what comes of it. */
static void test_a_promotion_that_a_node_gave_up_may_have_happened(void **state)
{
    (void)state;
    static const int open[] = {KVP_UNCERTAIN, KVP_CLOSED,     KVP_FAILED, KVP_IO,
                               KVP_DISK_FULL, KVP_STALE_VIEW, -99};
    static const kvp_status known[] = {KVP_OK, KVP_REFUSED, KVP_NOT_PRIMARY, KVP_BAD_REQUEST,
                                       KVP_BAD_OP};
    struct fake fake;
    struct call call;
    fake_open(&fake, 4, 2);
    for (size_t i = 0; i < sizeof(open) / sizeof(open[0]); i++) {
        start_promotion(&fake, &call);
        answer_raw(&fake, take(&fake, 1, KVP_OP_PROMOTE), open[i], EPOCH, "", nothing);
        check_done(&call, KVP_TIMEOUT_UNKNOWN);
    }
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        start_promotion(&fake, &call);
        answer_raw(&fake, take(&fake, 1, KVP_OP_PROMOTE), known[i], EPOCH, "", nothing);
        check_done(&call, known[i]);
    }
    start_promotion(&fake, &call); /* nothing was executed: once more */
    answer_raw(&fake, take(&fake, 1, KVP_OP_PROMOTE), KVP_BUSY, EPOCH, "", nothing);
    check_open(&call);
    (void)fake_pass_until_sent(&fake, 1000);
    fake_pass(&fake, 5000);
    check_done(&call, KVP_TIMEOUT_UNKNOWN);
    check_nothing_sent(&fake);
    fake_close(&fake);
}

/* What goes ahead of it may be repeated, and must not take its time. */
/* It has missed the newest view, but knows that it has done nothing. */
static void test_what_an_outdated_node_refused_has_not_happened(void **state)
{
    (void)state;
    const kvp_status refusals[] = {KVP_NOT_PRIMARY, KVP_UNAVAILABLE, KVP_BUSY, KVP_REFUSED};
    for (unsigned i = 0; i < sizeof(refusals) / sizeof(refusals[0]); i++) {
        struct fake fake;
        struct call call;
        fake_open(&fake, 4, 2);
        start(&fake, &call, KVP_OP_HANDOVER, 1000);
        answer_raw(&fake, take(&fake, 0, KVP_OP_HANDOVER), KVP_NOT_PRIMARY, EPOCH + 1, "", nothing);
        answer_raw(&fake, take(&fake, 1, KVP_OP_HANDOVER), refusals[i], EPOCH, "", nothing);
        assert_false(call.done);
        fake_pass(&fake, 1001);
        check_done(&call, KVP_TIMEOUT);
        fake_close(&fake);
    }
}

/* It has tried for as long as it could: another try would be another wish. */
static void test_a_node_that_gives_up_a_promotion_in_time_is_not_asked_again(void **state)
{
    (void)state;
    struct fake fake;
    struct call call = {.core = {.request = {.op = KVP_OP_PROMOTE}, .once = true}};
    fake_open(&fake, 4, 2);
    call.core.route = CLIENT_TO_ONE;
    start_as(&fake, &call, LONG_MS);
    answer(&fake, take(&fake, 0, KVP_OP_PROMOTE), KVP_TIMEOUT);
    check_done(&call, KVP_TIMEOUT);
    check_nothing_sent(&fake);
    fake_close(&fake);
}

static void test_the_hello_ahead_of_a_handover_has_a_try_time(void **state)
{
    (void)state;
    struct fake fake;
    struct call read, call;
    fake_open(&fake, 4, 2);
    warm_up(&fake, 0);
    start(&fake, &read, KVP_OP_GET, 50);
    answer_raw(&fake, take(&fake, 0, KVP_OP_GET), KVP_NOT_FOUND, EPOCH - 1, "", nothing);
    (void)take(&fake, 1, KVP_OP_HELLO);
    fake_pass(&fake, 50);
    check_done(&read, KVP_TIMEOUT);
    start(&fake, &call, KVP_OP_HANDOVER, 5000);
    (void)take(&fake, 1, KVP_OP_HELLO);
    fake_pass(&fake, TRY_MS + 10);
    struct sent *hello = take(&fake, 0, KVP_OP_HELLO);
    answer_hello(&fake, hello);
    (void)take(&fake, 0, KVP_OP_HANDOVER);
    fake_close(&fake);
}

/* ---- the end ---- */

static void test_stopping_ends_every_call(void **state)
{
    (void)state;
    struct fake fake;
    struct call rests, flies, reads, queued;
    fake_open(&fake, 4, 1);
    warm_up(&fake, 0);
    start(&fake, &rests, KVP_OP_PUT, LONG_MS);
    answer(&fake, take(&fake, 0, KVP_OP_PUT), KVP_BUSY);
    start(&fake, &flies, KVP_OP_PUT, LONG_MS);
    start(&fake, &reads, KVP_OP_GET, LONG_MS);
    struct sent *sent = take(&fake, 0, KVP_OP_PUT);
    for (unsigned i = 0; i < 2; i++) {
        static struct call more[2];
        start(&fake, &more[i], KVP_OP_GET, LONG_MS);
    }
    check_open(&rests);
    start(&fake, &queued, KVP_OP_PUT, LONG_MS);
    client_core_stop(fake.core, KVP_CLOSED);
    check_done(&rests, KVP_CLOSED);
    check_done(&flies, KVP_TIMEOUT_UNKNOWN); /* it may have happened */
    check_done(&reads, KVP_CLOSED);
    check_done(&queued, KVP_CLOSED);
    answer_done(&fake, sent, 1);
    (void)client_core_tick(fake.core, fake.now_us);
    assert_true(client_core_next(fake.core) == UINT64_MAX);
    fake_close(&fake);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_many_first_updates_share_one_hello),
        cmocka_unit_test(test_a_birth_comes_from_a_primary_only),
        cmocka_unit_test(test_a_hello_is_asked_again_when_its_caller_gives_up),
        cmocka_unit_test(test_numbers_of_a_lane_rise),
        cmocka_unit_test(test_a_repeat_has_the_session_of_the_first_copy),
        cmocka_unit_test(test_a_lane_has_one_update_at_a_time),
        cmocka_unit_test(test_a_session_that_has_expired_is_replaced),
        cmocka_unit_test(test_a_session_that_expires_during_repeats_leaves_the_outcome_unknown),
        cmocka_unit_test(test_a_session_may_expire_for_every_copy),
        cmocka_unit_test(test_a_client_that_has_used_all_slots_takes_another_number),
        cmocka_unit_test(test_unavailable_is_said_when_no_node_can_be_reached),
        cmocka_unit_test(test_timeout_is_said_when_every_copy_was_refused),
        cmocka_unit_test(test_timeout_is_said_of_what_waited_in_the_queue),
        cmocka_unit_test(test_a_read_is_never_unknown),
        cmocka_unit_test(test_late_refusals_of_all_copies_count),
        cmocka_unit_test(test_nothing_is_sent_after_the_deadline),
        cmocka_unit_test(test_unknown_is_said_exactly_when_a_copy_may_have_run),
        cmocka_unit_test(test_a_copy_without_an_answer_is_remembered_behind_many_others),
        cmocka_unit_test(test_the_late_answer_of_an_earlier_copy_ends_the_call),
        cmocka_unit_test(test_a_late_answer_is_not_taken_for_the_next_call_of_the_lane),
        cmocka_unit_test(test_the_late_answer_of_a_hello_is_not_taken_for_the_updates),
        cmocka_unit_test(test_the_late_refusal_of_a_hello_is_not_taken_for_the_updates),
        cmocka_unit_test(test_the_late_answer_of_an_update_counts_during_a_hello),
        cmocka_unit_test(test_a_refusal_that_comes_twice_counts_once),
        cmocka_unit_test(test_a_late_answer_of_an_old_epoch_is_not_believed),
        cmocka_unit_test(test_a_handover_waits_for_its_one_answer),
        cmocka_unit_test(test_a_handover_is_not_repeated_when_its_connection_drops),
        cmocka_unit_test(test_a_handover_refused_by_one_node_goes_to_another),
        cmocka_unit_test(test_a_promotion_that_a_node_gave_up_may_have_happened),
        cmocka_unit_test(test_what_an_outdated_node_refused_has_not_happened),
        cmocka_unit_test(test_a_node_that_gives_up_a_promotion_in_time_is_not_asked_again),
        cmocka_unit_test(test_the_hello_ahead_of_a_handover_has_a_try_time),
        cmocka_unit_test(test_stopping_ends_every_call),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
