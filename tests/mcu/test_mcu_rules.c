/* SPDX-License-Identifier: Apache-2.0 */
/* Whom the microcontroller's client asks, what it believes, and what it says came of a call. */
#include "mcu-port/kvmcu_ipv4.h"
#include "mcu_support.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define LONG_MS     20000u
#define SHORT_MS    2000u
#define BUFFER_SIZE 256u
#define FOREVER     100000u

struct rig {
    struct peer peer;
    struct kvmcu client;
    uint8_t buffer[BUFFER_SIZE];
};

static int rig_open(void **state)
{
    struct rig *rig = calloc(1, sizeof(*rig));
    assert_non_null(rig);
    peer_open(&rig->peer);
    peer_client(&rig->peer, &rig->client, rig->buffer, BUFFER_SIZE);
    *state = rig;
    return 0;
}

static int rig_close(void **state)
{
    struct rig *rig = *state;
    kvmcu_stop(&rig->client);
    peer_close(&rig->peer);
    free(rig);
    return 0;
}

static int put(struct rig *rig, uint32_t timeout_ms)
{
    return kvmcu_put(&rig->client, "k", 1, "v", 1, timeout_ms);
}

static int get(struct rig *rig, uint32_t timeout_ms)
{
    return kvmcu_get(&rig->client, "k", 1, timeout_ms);
}

static struct kvmcu_result result_of(const struct rig *rig)
{
    struct kvmcu_result result;
    kvmcu_result(&rig->client, &result);
    return result;
}

static void twist(struct rig *rig, enum twist twist, unsigned times, int code)
{
    rig->peer.twist = twist;
    rig->peer.twists = times;
    rig->peer.code = code;
}

/* ---- whom to ask ---- */

static void test_a_hint_is_followed_at_once(void **state)
{
    struct rig *rig = *state;
    uint32_t begin = rig->peer.now_ms;
    rig->peer.primary = 2;
    assert_int_equal(get(rig, LONG_MS), KVMCU_NOT_FOUND);
    assert_int_equal(rig->peer.opens, 2);
    assert_int_equal(rig->peer.last_node, 2);
    assert_in_range(rig->peer.now_ms - begin, 0, 4);
}

static void test_without_a_hint_of_use_the_next_is_asked(void **state)
{
    static const char *const hints[] = {"", "tcp://elsewhere:1", "tcp://10.0.0.1:700",
                                        "tcp://10.0.0.3:70000"};
    struct rig *rig = *state;

    for (unsigned i = 0; i < sizeof(hints) / sizeof(hints[0]); i++) {
        rig->peer.hint = hints[i];
        rig->peer.primary = i % 2 == 0 ? 2 : 1;
        assert_int_equal(get(rig, LONG_MS), KVMCU_NOT_FOUND);
        assert_int_equal(rig->peer.last_node, rig->peer.primary);
    }
}

static void test_a_hint_to_a_dead_node(void **state)
{
    struct rig *rig = *state;
    rig->peer.primary = 1;
    rig->peer.hint = peer_urls[2];
    rig->peer.dead[2] = true;
    assert_int_equal(put(rig, LONG_MS), KVMCU_OK);
}

/* A primary that is cut off: the others name it until one of them has taken over. */
static void test_a_silent_primary_does_not_make_a_call_miss_the_new_one(void **state)
{
    struct rig *rig = *state;
    rig->peer.primary = 0;
    assert_int_equal(put(rig, LONG_MS), KVMCU_OK);
    rig->peer.mute = true;
    rig->peer.mute_until = rig->peer.now_ms + 500;
    assert_int_equal(put(rig, LONG_MS), KVMCU_OK);
    assert_int_equal(rig->peer.muted, 1);
    assert_in_range(rig->peer.now_ms - rig->peer.mute_until, 0, 250); /* a pause */
}

static void test_when_all_were_asked_there_are_pauses(void **state)
{
    struct rig *rig = *state;
    twist(rig, TWIST_CODE, FOREVER, KVP_NOT_PRIMARY);
    assert_int_equal(get(rig, 10000), KVMCU_TIMEOUT);
    assert_in_range(rig->peer.asked, 30, 150);
}

static void test_a_busy_node_is_asked_again(void **state)
{
    struct rig *rig = *state;
    twist(rig, TWIST_CODE, 2, KVP_BUSY);
    assert_int_equal(put(rig, LONG_MS), KVMCU_OK);
    assert_int_equal(rig->peer.opens, 1);
    twist(rig, TWIST_CODE, 4, KVP_UNAVAILABLE); /* then it is not worth waiting for */
    rig->peer.hint = "";
    assert_int_equal(put(rig, LONG_MS), KVMCU_OK);
    assert_true(rig->peer.opens > 1);
}

static void test_a_stale_read_takes_any_node(void **state)
{
    struct rig *rig = *state;
    struct kvmcu_request request = {.op = KVMCU_GET, .key = "k", .key_size = 1, .stale = true};
    assert_int_equal(put(rig, LONG_MS), KVMCU_OK);
    rig->peer.dead[0] = true;
    rig->peer.epoch = 3; /* it does not mind */
    assert_int_equal(kvmcu_call(&rig->client, &request, LONG_MS), KVMCU_OK);
    assert_int_equal(rig->peer.last_node, 1);
    assert_true(result_of(rig).behind == 3 && result_of(rig).created == 41);
}

static int watch(struct rig *rig, uint64_t from, uint16_t wait_ms)
{
    return kvmcu_watch(&rig->client, "k", 1, from, wait_ms, LONG_MS);
}

static void test_a_watch_goes_on_where_it_was(void **state)
{
    struct rig *rig = *state;
    assert_int_equal(watch(rig, 0, 10000), KVMCU_OK); /* from now on: nobody waits for that */
    uint64_t next = result_of(rig).next;
    uint32_t begin = rig->peer.now_ms;
    unsigned asked = rig->peer.asked;
    assert_true(result_of(rig).revision == 0 && next == 41);
    assert_int_equal(watch(rig, next, 10000), KVMCU_OK); /* nothing happens */
    assert_in_range(rig->peer.now_ms - begin, 10000, 10100);
    assert_int_equal(rig->peer.asked, asked + 1);
    assert_true(result_of(rig).revision == 0 && result_of(rig).next == next);
    assert_int_equal(put(rig, LONG_MS), KVMCU_OK);
    rig->peer.dead[0] = true; /* it goes on at another node */
    rig->peer.primary = 1;
    rig->peer.epoch++;
    assert_int_equal(watch(rig, next, 10000), KVMCU_OK);
    assert_true(result_of(rig).revision == 41 && result_of(rig).created == 41);
    assert_true(result_of(rig).next == 42 && result_of(rig).size == 1);
}

static void test_a_watch_from_too_long_ago(void **state)
{
    struct rig *rig = *state;
    rig->peer.oldest = 30;
    assert_int_equal(watch(rig, 29, 10), KVMCU_COMPACTED);
    assert_true(result_of(rig).next == 30 && result_of(rig).revision == 0);
    assert_int_equal(watch(rig, 30, 10), KVMCU_OK);
    assert_true(result_of(rig).next == 41);
}

static void test_another_group_or_version(void **state)
{
    struct rig *rig = *state;
    twist(rig, TWIST_CODE, 2, KVP_WRONG_GROUP);
    rig->peer.primary = 2;
    assert_int_equal(get(rig, LONG_MS), KVMCU_NOT_FOUND);
    twist(rig, TWIST_CODE, 3, KVP_WRONG_GROUP);
    assert_int_equal(get(rig, LONG_MS), KVMCU_WRONG_GROUP);
    twist(rig, TWIST_BYTE, 3, 2);
    rig->peer.amount = 1;
    assert_int_equal(get(rig, LONG_MS), KVMCU_BAD_VERSION);
    assert_int_equal(get(rig, LONG_MS), KVMCU_NOT_FOUND); /* they may have been put right */
}

/* ---- what to believe ---- */

static void test_an_answer_of_an_older_epoch_is_not_used(void **state)
{
    struct rig *rig = *state;
    assert_int_equal(put(rig, LONG_MS), KVMCU_OK);
    assert_true(result_of(rig).revision == 41);
    twist(rig, TWIST_OLD_EPOCH, 2, 0);
    assert_int_equal(put(rig, LONG_MS), KVMCU_OK);
    assert_true(result_of(rig).revision == 42);
    assert_int_equal(rig->peer.executed, 2);
    assert_true(rig->peer.epoch_seen == 5);
    twist(rig, TWIST_OLD_EPOCH, FOREVER, 0);
    assert_int_equal(put(rig, SHORT_MS), KVMCU_TIMEOUT_UNKNOWN);
    assert_int_equal(get(rig, SHORT_MS), KVMCU_TIMEOUT);
    twist(rig, TWIST_NONE, 0, 0);
    assert_int_equal(get(rig, LONG_MS), KVMCU_OK);
}

/* Else it would be shown to all nodes, none of which could ever reach it. */
static void test_an_epoch_of_2_62_is_none(void **state)
{
    struct rig *rig = *state;
    assert_int_equal(put(rig, LONG_MS), KVMCU_OK);
    rig->peer.epoch = (uint64_t)1 << 62;
    assert_int_equal(get(rig, SHORT_MS), KVMCU_TIMEOUT);
    assert_true(rig->peer.epoch_seen == 5);
    rig->peer.epoch--;
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(get(rig, LONG_MS), KVMCU_OK);
    }
    assert_true(rig->peer.epoch_seen == rig->peer.epoch);
}

static void test_another_group_of_the_same_name(void **state)
{
    struct rig *rig = *state;
    assert_int_equal(put(rig, LONG_MS), KVMCU_OK);
    rig->peer.group_id++;
    rig->peer.epoch = 1;
    rig->peer.seq = 7;
    assert_int_equal(get(rig, LONG_MS), KVMCU_OK);
    assert_true(rig->peer.epoch_seen == 1);
    assert_int_equal(put(rig, LONG_MS), KVMCU_OK);
    /* Its session slot is another one, with a new start. */
    assert_int_equal(rig->peer.last.slot, 1);
    assert_int_equal(rig->peer.last.session_start, 7);
}

/* A deposed primary that has not heard of it says that it is one, too. */
static void test_a_hello_of_an_older_epoch_clears_no_doubt(void **state)
{
    struct rig *rig = *state;
    assert_int_equal(put(rig, LONG_MS), KVMCU_OK);
    twist(rig, TWIST_OLD_EPOCH, 1, 0);
    rig->peer.hello_epoch = 4;
    assert_int_equal(get(rig, SHORT_MS), KVMCU_TIMEOUT);
    rig->peer.hello_epoch = 0;
    assert_int_equal(get(rig, LONG_MS), KVMCU_OK);
}

static void test_a_group_that_is_replaced_between_repeats(void **state)
{
    struct rig *rig = *state;
    struct kvmcu_request request = {.op = KVMCU_PUT, .key = "k", .key_size = 1};
    assert_int_equal(put(rig, LONG_MS), KVMCU_OK);
    twist(rig, TWIST_DROP, 1, 0);
    int status = kvmcu_start(&rig->client, &request, rig->peer.now_ms, LONG_MS);
    while (status == KVMCU_PENDING) {
        if (rig->peer.executed == 2) {
            rig->peer.group_id = 7;
            rig->peer.epoch = 1;
        }
        status = kvmcu_poll(&rig->client, ++rig->peer.now_ms);
    }
    assert_int_equal(status, KVMCU_TIMEOUT_UNKNOWN);
    assert_int_equal(rig->peer.executed, 2); /* in one of the groups only */
}

/* ---- sessions ---- */

static void test_numbers_count_and_repeats_keep_theirs(void **state)
{
    struct rig *rig = *state;
    for (unsigned number = 1; number <= 300; number += 1) {
        twist(rig, TWIST_DROP, number % 50 == 0 ? 2 : 0, 0);
        assert_int_equal(put(rig, LONG_MS), KVMCU_OK);
        assert_int_equal(rig->peer.last.number, number);
        assert_int_equal(rig->peer.last.session_start, 40);
        assert_int_equal(rig->peer.executed, number);
    }
    assert_int_equal(rig->peer.hellos, 1);
}

static void test_uncertain_is_no_answer(void **state)
{
    static const int codes[] = {KVP_UNCERTAIN, KVP_NO_MEMORY, KVP_IO, KVP_FAILED, -99};
    struct rig *rig = *state;
    for (unsigned i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
        twist(rig, TWIST_CODE_DONE, 2, codes[i]);
        assert_int_equal(put(rig, LONG_MS), KVMCU_OK);
        assert_int_equal(rig->peer.executed, i + 1);
        twist(rig, TWIST_CODE, FOREVER, codes[i]);
        assert_int_equal(put(rig, SHORT_MS), KVMCU_TIMEOUT_UNKNOWN);
        assert_int_equal(get(rig, SHORT_MS), KVMCU_TIMEOUT);
    }
}

static void test_codes_that_settle_a_call(void **state)
{
    static const int codes[] = {KVP_STALE_REQUEST, KVP_BAD_REQUEST, KVP_TOO_LARGE, KVP_BAD_OP,
                                KVP_REFUSED};
    struct rig *rig = *state;

    for (unsigned i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
        twist(rig, TWIST_CODE, 1, codes[i]);
        assert_int_equal(put(rig, LONG_MS), -codes[i]);
        assert_int_equal(rig->peer.asked, i + 2);
    }
}

static void test_an_expired_session_is_replaced(void **state)
{
    struct rig *rig = *state;
    assert_int_equal(put(rig, LONG_MS), KVMCU_OK);
    rig->peer.forget = 41;
    assert_int_equal(put(rig, LONG_MS), KVMCU_OK);
    assert_int_equal(rig->peer.last.slot, 1);
    assert_int_equal(rig->peer.last.number, 1);
    assert_int_equal(rig->peer.last.session_start, 41);
    assert_int_equal(rig->peer.executed, 2);
}

static void test_a_session_that_expires_between_repeats(void **state)
{
    struct rig *rig = *state;
    struct kvmcu_request request = {
        .op = KVMCU_PUT, .key = "k", .key_size = 1, .value = "v", .value_size = 1};

    twist(rig, TWIST_DROP, 1, 0);
    int status = kvmcu_start(&rig->client, &request, rig->peer.now_ms, LONG_MS);
    while (status == KVMCU_PENDING) {
        rig->peer.forget = rig->peer.executed > 0 ? rig->peer.seq : 0;
        status = kvmcu_poll(&rig->client, ++rig->peer.now_ms);
    }
    assert_int_equal(status, KVMCU_TIMEOUT_UNKNOWN);
    assert_int_equal(rig->peer.executed, 1);
    assert_int_equal(put(rig, LONG_MS), KVMCU_OK);
}

/* ---- deadlines and outcomes ---- */

static void test_an_outcome_is_unknown_only_if_it_is(void **state)
{
    struct rig *rig = *state;
    twist(rig, TWIST_CODE, FOREVER, KVP_NOT_PRIMARY);
    assert_int_equal(put(rig, SHORT_MS), KVMCU_TIMEOUT);
    twist(rig, TWIST_DROP, FOREVER, 0);
    assert_int_equal(put(rig, SHORT_MS), KVMCU_TIMEOUT_UNKNOWN);
    assert_int_equal(get(rig, SHORT_MS), KVMCU_TIMEOUT);
    twist(rig, TWIST_NONE, 0, 0);
    unsigned number = (unsigned)rig->peer.last.number;
    assert_int_equal(put(rig, LONG_MS), KVMCU_OK);
    assert_int_equal(rig->peer.last.number, number + 1);
}

static void test_a_copy_without_an_answer_is_not_forgotten(void **state)
{
    struct rig *rig = *state;
    struct kvmcu_request request = {.op = KVMCU_PUT, .key = "k", .key_size = 1};
    twist(rig, TWIST_DROP, 1, 0);
    int status = kvmcu_start(&rig->client, &request, rig->peer.now_ms, SHORT_MS);
    while (status == KVMCU_PENDING) {
        if (rig->peer.executed > 0 && rig->peer.twists == 0) {
            twist(rig, TWIST_CODE, FOREVER, KVP_UNAVAILABLE);
        }
        status = kvmcu_poll(&rig->client, ++rig->peer.now_ms);
    }
    assert_int_equal(status, KVMCU_TIMEOUT_UNKNOWN);
}

static void test_deadlines_are_kept(void **state)
{
    struct rig *rig = *state;
    for (uint32_t timeout_ms = 0; timeout_ms < 3000; timeout_ms += 7 + timeout_ms / 3) {
        for (unsigned kind = 0; kind < 3; kind++) {
            rig->peer.dead[0] = rig->peer.dead[1] = rig->peer.dead[2] = kind == 0;
            rig->peer.opening = kind == 1 ? FOREVER : 0;
            twist(rig, TWIST_DROP, FOREVER, 0);
            uint32_t begin = rig->peer.now_ms;
            (void)put(rig, timeout_ms);
            assert_in_range(rig->peer.now_ms - begin, timeout_ms, timeout_ms + 1);
            kvmcu_stop(&rig->client);
        }
    }
}

static void test_stop(void **state)
{
    struct rig *rig = *state;
    struct kvmcu_request request = {.op = KVMCU_PUT, .key = "k", .key_size = 1};
    assert_int_equal(kvmcu_start(&rig->client, &request, 0, 100), KVMCU_PENDING);
    assert_int_equal(kvmcu_start(&rig->client, &request, 0, 100), KVMCU_BAD_ARGUMENT);
    assert_int_equal(result_of(rig).status, KVMCU_PENDING);
    kvmcu_stop(&rig->client);
    assert_int_equal(kvmcu_poll(&rig->client, 0), KVMCU_CLOSED);
    twist(rig, TWIST_DROP, FOREVER, 0);
    assert_int_equal(kvmcu_start(&rig->client, &request, 0, 100), KVMCU_PENDING);
    for (unsigned i = 0; rig->peer.executed == 0 && i < 100; i++) {
        assert_int_equal(kvmcu_poll(&rig->client, 1), KVMCU_PENDING);
    }
    kvmcu_stop(&rig->client);
    assert_int_equal(kvmcu_poll(&rig->client, 2), KVMCU_TIMEOUT_UNKNOWN);
    twist(rig, TWIST_NONE, 0, 0);
    assert_int_equal(put(rig, LONG_MS), KVMCU_OK);
}

static void test_arguments(void **state)
{
    struct rig *rig = *state;
    static const char key[KVMCU_KEY_MAX + 1];
    struct kvmcu_config config = {.transport = &rig->peer.transport,
                                  .group = "default",
                                  .urls = peer_urls,
                                  .url_count = 1,
                                  .buffer = rig->buffer,
                                  .buffer_size = KVMCU_BUFFER_MIN,
                                  .client = 1};

    assert_int_equal(kvmcu_get(&rig->client, "", 0, 1), KVMCU_BAD_ARGUMENT);
    assert_int_equal(kvmcu_get(&rig->client, key, sizeof(key), 1), KVMCU_BAD_ARGUMENT);
    assert_int_equal(kvmcu_get(&rig->client, "k", 1, (uint32_t)1 << 31), KVMCU_BAD_ARGUMENT);
    assert_int_equal(kvmcu_get(&rig->client, key, 900, 1), KVMCU_DOES_NOT_FIT);
    assert_int_equal(kvmcu_watch(&rig->client, key, KVMCU_KEY_MAX, 0, 0, 1), KVMCU_BAD_ARGUMENT);
    assert_int_equal(kvmcu_watch(&rig->client, NULL, 1, 0, 0, 1), KVMCU_BAD_ARGUMENT);
    assert_int_equal(kvmcu_watch(&rig->client, key, 450, 0, 0, 1), KVMCU_DOES_NOT_FIT);
    struct kvmcu_request request = {.op = 7, .key = "k", .key_size = 1};
    assert_int_equal(kvmcu_start(&rig->client, &request, 0, 1), KVMCU_BAD_ARGUMENT);
    config.url_count = 0;
    assert_int_equal(kvmcu_init(&rig->client, &config), KVMCU_BAD_ARGUMENT);
    config.url_count = 1;
    config.client = 0;
    assert_int_equal(kvmcu_init(&rig->client, &config), KVMCU_BAD_ARGUMENT);
    config.client = kvmcu_client_number("a", 1);
    config.buffer_size--;
    assert_int_equal(kvmcu_init(&rig->client, &config), KVMCU_BAD_ARGUMENT);
    config.buffer_size++;
    config.group = "";
    assert_int_equal(kvmcu_init(&rig->client, &config), KVMCU_BAD_ARGUMENT);
    config.group = "default";
    assert_int_equal(kvmcu_init(&rig->client, &config), KVMCU_OK);
    assert_true(kvmcu_client_number("ab", 2) != kvmcu_client_number("ba", 2));
}

/* ---- all of it ---- */

static uint32_t next_random(uint32_t *random)
{
    *random ^= *random << 13;
    *random ^= *random >> 17;
    *random ^= *random << 5;
    return *random;
}

static void make_trouble(struct rig *rig, uint32_t *random)
{
    struct peer *peer = &rig->peer;
    static const int codes[] = {KVP_NOT_PRIMARY, KVP_UNCERTAIN, KVP_UNAVAILABLE, KVP_BUSY, KVP_IO};
    peer->read_max = 1 + next_random(random) % 40;
    peer->write_max = 1 + next_random(random) % 90;
    peer->cut_at = next_random(random) % 2 == 0 ? NEVER : peer->moved + next_random(random) % 400;
    peer->opening = next_random(random) % 4 == 0 ? next_random(random) % 500 : 0;
    peer->primary = next_random(random) % 8 == 0 ? next_random(random) % 3 : peer->primary;
    peer->epoch += next_random(random) % 8 == 0 ? 1 : 0;
    peer->dead[next_random(random) % 3] = next_random(random) % 3 == 0;
    peer->hint = next_random(random) % 4 == 0 ? peer_urls[next_random(random) % 3] : NULL;
    peer->twist = (enum twist)(next_random(random) % (TWIST_BAD_ID + 1));
    peer->twist = peer->twist == TWIST_BYTE ? TWIST_NONE : peer->twist; /* nobody could tell */
    peer->twists = next_random(random) % 5;
    peer->amount = 1 + next_random(random) % 20;
    peer->code = codes[next_random(random) % 5];
    if (peer->twist == TWIST_CODE_DONE && peer->code != KVP_IO) {
        peer->code = KVP_UNCERTAIN; /* the others say that it was not executed */
    }
    peer->forget = next_random(random) % 40 == 0 ? peer->seq : 0;
}

/* What the client says of an update is what happened at the nodes. */
static void check_outcome(const struct rig *rig, int status, unsigned executed)
{
    struct kvmcu_result result = result_of(rig);
    if (status == KVMCU_OK) {
        assert_int_equal(executed, 1);
        assert_true(result.revision == rig->peer.seq);
    } else if (status == KVMCU_TIMEOUT) {
        assert_int_equal(executed, 0);
    } else {
        assert_int_equal(status, KVMCU_TIMEOUT_UNKNOWN);
        assert_in_range(executed, 0, 1);
    }
}

static void test_whatever_happens_outcomes_are_true(void **state)
{
    unsigned good = 0, calls = 0;
    (void)state;
    for (uint32_t seed = 1; seed <= 500; seed++) {
        struct rig rig;
        uint32_t random = seed * 2654435761u;
        peer_open(&rig.peer);
        peer_client(&rig.peer, &rig.client, rig.buffer, BUFFER_SIZE);
        for (unsigned call = 0; call < 20; call++) {
            make_trouble(&rig, &random);
            unsigned before = rig.peer.executed;
            uint32_t begin = rig.peer.now_ms, timeout_ms = next_random(&random) % 4000;
            int status = put(&rig, timeout_ms);
            check_outcome(&rig, status, rig.peer.executed - before);
            assert_in_range(rig.peer.now_ms - begin, 0, timeout_ms + 1);
            good += status == KVMCU_OK ? 1 : 0;
            calls++;
        }
        kvmcu_stop(&rig.client);
        peer_close(&rig.peer);
    }
    assert_true(good > calls / 2);
}

/* For ports to stacks without names. */
static void test_urls_with_numbers(void **state)
{
    static const char *const bad[] = {
        "",
        "tcp:/",
        "tcp://",
        "tcq://1.2.3.4:5",
        "tcp://1.2.3:5",
        "tcp://1.2.3.4",
        "tcp://1.2.3.4:",
        "tcp://1.2.3.256:5",
        "tcp://1.2.3.4:65536",
        "tcp://1.2.3.4:5 ",
        "tcp://1.2.3.4.5:6",
        "tcp://.2.3.4:5",
        "tcp://1.2.3.99999999999:5",
        "tcp://1.2.3.4:4294967297",
        "tcp://a.b.c.d:5",
    };
    uint32_t host = 0;
    uint16_t port = 0;

    (void)state;
    assert_true(kvmcu_ipv4_read("tcp://10.0.2.255:65535", &host, &port));
    assert_int_equal(host, 0x0a0002ff);
    assert_int_equal(port, 65535);
    assert_true(kvmcu_ipv4_read("tcp://255.0.0.0:1", &host, &port));
    assert_int_equal(host, 0xff000000);
    assert_int_equal(port, 1);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_false(kvmcu_ipv4_read(bad[i], &host, &port));
    }
}

#define test(name) cmocka_unit_test_setup_teardown(test_##name, rig_open, rig_close)

int main(void)
{
    const struct CMUnitTest tests[] = {
        test(a_hint_is_followed_at_once),
        test(without_a_hint_of_use_the_next_is_asked),
        test(a_hint_to_a_dead_node),
        test(a_silent_primary_does_not_make_a_call_miss_the_new_one),
        test(when_all_were_asked_there_are_pauses),
        test(a_busy_node_is_asked_again),
        test(a_stale_read_takes_any_node),
        test(a_watch_goes_on_where_it_was),
        test(a_watch_from_too_long_ago),
        test(another_group_or_version),
        test(an_answer_of_an_older_epoch_is_not_used),
        test(an_epoch_of_2_62_is_none),
        test(another_group_of_the_same_name),
        test(a_hello_of_an_older_epoch_clears_no_doubt),
        test(a_group_that_is_replaced_between_repeats),
        test(numbers_count_and_repeats_keep_theirs),
        test(uncertain_is_no_answer),
        test(codes_that_settle_a_call),
        test(an_expired_session_is_replaced),
        test(a_session_that_expires_between_repeats),
        test(an_outcome_is_unknown_only_if_it_is),
        test(a_copy_without_an_answer_is_not_forgotten),
        test(deadlines_are_kept),
        test(stop),
        test(arguments),
        cmocka_unit_test(test_urls_with_numbers),
        cmocka_unit_test(test_whatever_happens_outcomes_are_true),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
