/* SPDX-License-Identifier: Apache-2.0 */
/* The microcontroller's client on a bad line: whatever happens to it, results are right. */
#include "mcu_support.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define LONG_MS     20000u
#define BUFFER_SIZE 256u

struct rig {
    struct peer peer;
    struct kvmcu client;
    uint8_t buffer[BUFFER_SIZE];
};

static void rig_open(struct rig *rig)
{
    peer_open(&rig->peer);
    peer_client(&rig->peer, &rig->client, rig->buffer, BUFFER_SIZE);
}

static void rig_close(struct rig *rig)
{
    kvmcu_stop(&rig->client);
    peer_close(&rig->peer);
}

static void check_value(struct rig *rig, const char *key, const char *value)
{
    struct kvmcu_result result;
    assert_int_equal(kvmcu_get(&rig->client, key, (uint16_t)strlen(key), LONG_MS), KVMCU_OK);
    kvmcu_result(&rig->client, &result);
    assert_int_equal(result.size, strlen(value));
    assert_memory_equal(result.value, value, strlen(value));
}

static void check_revision(struct rig *rig, int status, int wanted, uint64_t revision)
{
    struct kvmcu_result result;
    assert_int_equal(status, wanted);
    kvmcu_result(&rig->client, &result);
    assert_int_equal(result.status, wanted);
    assert_true(result.revision == revision);
}

/* From a revision on: what has happened to the lamp, and what to ask next. */
static void check_watch(struct rig *rig, uint64_t from, uint64_t revision, const char *value,
                        uint64_t next)
{
    struct kvmcu_result result;
    assert_int_equal(kvmcu_watch(&rig->client, "lamp", 4, from, 20, LONG_MS), KVMCU_OK);
    kvmcu_result(&rig->client, &result);
    assert_true(result.revision == revision && result.next == next);
    assert_int_equal(result.size, strlen(value));
    assert_memory_equal(result.value, value, strlen(value));
}

/* Every operation, each outcome; 7 updates are executed. */
static void conversation(struct rig *rig)
{
    struct kvmcu *client = &rig->client;
    assert_int_equal(kvmcu_get(client, "lamp", 4, LONG_MS), KVMCU_NOT_FOUND);
    check_revision(rig, kvmcu_put(client, "lamp", 4, "on", 2, LONG_MS), KVMCU_OK, 41);
    check_value(rig, "lamp", "on");
    check_revision(rig, kvmcu_create(client, "lamp", 4, "x", 1, LONG_MS), KVMCU_EXISTS, 41);
    check_revision(rig, kvmcu_cas(client, "lamp", 4, 40, "x", 1, LONG_MS), KVMCU_VERSION_DIFFERS,
                   41);
    check_revision(rig, kvmcu_cas(client, "lamp", 4, 41, "off", 3, LONG_MS), KVMCU_OK, 42);
    check_value(rig, "lamp", "off");
    check_watch(rig, 0, 0, "", 43);
    check_watch(rig, 41, 42, "off", 43);
    check_watch(rig, 43, 0, "", 43);
    check_revision(rig, kvmcu_create(client, "lock", 4, "", 0, LONG_MS), KVMCU_OK, 43);
    check_value(rig, "lock", "");
    check_revision(rig, kvmcu_delete(client, "lamp", 4, 42, LONG_MS), KVMCU_OK, 44);
    assert_int_equal(kvmcu_delete(client, "lamp", 4, 0, LONG_MS), KVMCU_NOT_FOUND);
    assert_int_equal(rig->peer.executed, 7);
}

static void test_every_operation(void **state)
{
    struct rig rig;
    struct kvmcu_result result;
    (void)state;
    rig_open(&rig);
    conversation(&rig);
    assert_int_equal(rig.peer.opens, 1);
    assert_int_equal(rig.peer.hellos, 1);
    assert_int_equal(kvmcu_hello(&rig.client, LONG_MS), KVMCU_OK);
    kvmcu_result(&rig.client, &result);
    assert_true(result.group_id == 0x123456789abcdefu && result.revision == 44);
    assert_int_equal(result.node, 1);
    assert_int_equal(result.role, 4);
    assert_int_equal(result.primary, 1);
    rig_close(&rig);
}

static void test_reads_and_writes_of_any_size(void **state)
{
    (void)state;
    for (size_t read = 1; read <= 40; read++) {
        for (size_t write = 1; write <= 40; write++) {
            struct rig rig;
            rig_open(&rig);
            rig.peer.read_max = read;
            rig.peer.write_max = write;
            rig.peer.opening = (unsigned)(read % 3);
            conversation(&rig);
            assert_int_equal(rig.peer.opens, 1);
            rig_close(&rig);
        }
    }
}

static uint32_t bytes_of_conversation(void)
{
    struct rig rig;
    rig_open(&rig);
    conversation(&rig);
    uint32_t bytes = rig.peer.moved;
    rig_close(&rig);
    return bytes;
}

static void test_a_reset_at_every_byte(void **state)
{
    uint32_t bytes = bytes_of_conversation();
    (void)state;
    assert_true(bytes > 1000);
    for (uint32_t at = 0; at < bytes; at++) {
        for (size_t chunk = 1; chunk <= 64; chunk += 21) {
            struct rig rig;
            rig_open(&rig);
            rig.peer.read_max = rig.peer.write_max = chunk;
            rig.peer.cut_at = at;
            conversation(&rig);
            assert_in_range(rig.peer.opens, 2, 6);
            rig_close(&rig);
        }
    }
}

/* The twist on one answer or more in a row, at the beginning or later. */
static void twisted_conversation(enum twist twist, unsigned amount)
{
    for (unsigned round = 0; round < 4 * 12; round++) {
        struct rig rig;
        rig_open(&rig);
        rig.peer.twist = twist;
        rig.peer.twists = 1 + round % 4;
        rig.peer.spared = round / 4;
        rig.peer.amount = amount;
        conversation(&rig);
        rig_close(&rig);
    }
}

static void test_answers_that_are_lost_late_or_double(void **state)
{
    (void)state;
    twisted_conversation(TWIST_DROP, 0);
    twisted_conversation(TWIST_LATE, 0);
    twisted_conversation(TWIST_TWICE, 0);
}

static void test_answers_of_an_older_epoch(void **state)
{
    (void)state;
    twisted_conversation(TWIST_OLD_EPOCH, 0);
}

static void test_malformed_answers_are_no_answers(void **state)
{
    (void)state;
    for (unsigned amount = 1; amount < 40; amount++) {
        twisted_conversation(TWIST_SHORT, amount);
    }
    twisted_conversation(TWIST_LONG, 0);
    twisted_conversation(TWIST_BAD_LENGTH, 0);
    twisted_conversation(TWIST_BAD_ID, 0);
}

/* What a flipped byte makes of a good answer may be another good one; but it has an end. */
static void test_any_byte_of_an_answer(void **state)
{
    (void)state;
    for (unsigned amount = 0; amount < 40; amount++) {
        for (int byte = 0; byte < 256; byte++) {
            struct rig rig;
            rig_open(&rig);
            assert_int_equal(kvmcu_put(&rig.client, "k", 1, "v", 1, LONG_MS), KVMCU_OK);
            rig.peer.twist = TWIST_BYTE;
            rig.peer.twists = 1;
            rig.peer.amount = amount;
            rig.peer.code = byte;
            uint32_t begin = rig.peer.now_ms;
            (void)kvmcu_get(&rig.client, "k", 1, 3000);
            assert_in_range(rig.peer.now_ms - begin, 0, 3001);
            rig_close(&rig);
        }
    }
}

static void test_a_value_that_does_not_fit(void **state)
{
    char large[3000];
    struct kvmcu_result result;
    (void)state;
    memset(large, 'x', sizeof(large));
    for (uint16_t size = BUFFER_SIZE - 2; size < sizeof(large); size += size < 260 ? 1 : 300) {
        struct rig rig;
        static uint8_t other_buffer[4096];
        struct kvmcu other;
        rig_open(&rig);
        peer_client(&rig.peer, &other, other_buffer, sizeof(other_buffer));
        other.client = 7;
        assert_int_equal(kvmcu_put(&other, "big", 3, large, size, LONG_MS), KVMCU_OK);
        kvmcu_stop(&other);
        assert_int_equal(kvmcu_put(&rig.client, "k", 1, "v", 1, LONG_MS), KVMCU_OK);
        unsigned opens = rig.peer.opens;
        int status = kvmcu_get(&rig.client, "big", 3, LONG_MS);
        assert_int_equal(status, size <= BUFFER_SIZE ? KVMCU_OK : KVMCU_DOES_NOT_FIT);
        kvmcu_result(&rig.client, &result);
        assert_int_equal(result.size, size);
        check_value(&rig, "k", "v");
        assert_int_equal(rig.peer.opens, opens);
        rig_close(&rig);
    }
}

/* Longer than a try, but it goes on. */
static void test_a_slow_line(void **state)
{
    struct rig rig;
    char value[180];
    struct kvmcu_request request = {.op = KVMCU_GET, .key = "k", .key_size = 1};
    (void)state;
    memset(value, 'x', sizeof(value));
    rig_open(&rig);
    assert_int_equal(kvmcu_put(&rig.client, "k", 1, value, sizeof(value), LONG_MS), KVMCU_OK);
    rig.peer.read_max = 1;
    int status = kvmcu_start(&rig.client, &request, rig.peer.now_ms, LONG_MS);
    while (status == KVMCU_PENDING) {
        rig.peer.now_ms += 100;
        status = kvmcu_poll(&rig.client, rig.peer.now_ms);
    }
    assert_int_equal(status, KVMCU_OK);
    assert_int_equal(rig.peer.opens, 1);
    rig_close(&rig);
}

static void test_a_request_that_does_not_fit(void **state)
{
    struct rig rig;
    static const char key[BUFFER_SIZE];
    uint16_t fits = (uint16_t)(BUFFER_SIZE - KVMCU_BUFFER_FOR(7, 0));
    (void)state;
    rig_open(&rig);
    rig.client.epoch_seen = rig.peer.epoch = ((uint64_t)1 << 62) - 2; /* long numbers */
    rig.peer.seq = (uint64_t)1 << 61;
    rig.client.number = UINT32_MAX - 2;
    rig.client.slot = UINT16_MAX;
    assert_int_equal(kvmcu_put(&rig.client, key, fits, key, 9, LONG_MS), KVMCU_OK);
    assert_int_equal(kvmcu_cas(&rig.client, key, fits, rig.peer.seq, key, 9, LONG_MS), KVMCU_OK);
    unsigned asked = rig.peer.asked;
    assert_int_equal(kvmcu_put(&rig.client, key, fits + 1, key, 0, LONG_MS), KVMCU_DOES_NOT_FIT);
    assert_int_equal(rig.peer.asked, asked);
    /* A new session slot. */
    assert_int_equal(kvmcu_put(&rig.client, "k", 1, "v", 1, LONG_MS), KVMCU_OK);
    assert_int_equal(rig.peer.last.number, 1);
    check_value(&rig, "k", "v");
    rig_close(&rig);
}

/* What does not fit the buffer is sent from where it lies. */
static void test_values_of_any_size_are_sent(void **state)
{
    static char value[70000];
    static uint8_t large[sizeof(value)];
    (void)state;
    for (size_t i = 0; i < sizeof(value); i++) {
        value[i] = (char)(i * 7 + i / 251);
    }
    for (uint32_t size = 0; size <= sizeof(value); size += size < 300     ? 1
                                                           : size < 65500 ? 32600
                                                           : size < 65540 ? 1
                                                                          : 1000) {
        struct rig rig;
        struct kvmcu other;
        rig_open(&rig);
        rig.peer.write_max = 1 + size % 97 * (size > 1000 ? 50u : 1u);
        assert_int_equal(kvmcu_put(&rig.client, "k", 1, value, size, 3 * LONG_MS), KVMCU_OK);
        assert_int_equal(rig.peer.executed, 1);
        assert_int_equal(rig.peer.keys[0].value.size, size);
        assert_true(size == 0 || memcmp(rig.peer.keys[0].value.data, value, size) == 0);
        if (size < UINT16_MAX) {
            kvmcu_stop(&rig.client);
            peer_client(&rig.peer, &other, large, UINT16_MAX);
            assert_int_equal(kvmcu_get(&other, "k", 1, 3 * LONG_MS), KVMCU_OK);
            assert_true(size == 0 || memcmp(large, value, size) == 0);
            kvmcu_stop(&other);
        }
        rig_close(&rig);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_operation),
        cmocka_unit_test(test_reads_and_writes_of_any_size),
        cmocka_unit_test(test_a_reset_at_every_byte),
        cmocka_unit_test(test_answers_that_are_lost_late_or_double),
        cmocka_unit_test(test_answers_of_an_older_epoch),
        cmocka_unit_test(test_malformed_answers_are_no_answers),
        cmocka_unit_test(test_any_byte_of_an_answer),
        cmocka_unit_test(test_a_value_that_does_not_fit),
        cmocka_unit_test(test_a_slow_line),
        cmocka_unit_test(test_a_request_that_does_not_fit),
        cmocka_unit_test(test_values_of_any_size_are_sent),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
