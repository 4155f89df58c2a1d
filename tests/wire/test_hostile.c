/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a broken or hostile sender can do to every message: cut it, change a byte, put a value of
 * another type in the place of one, send noise. The decoders may refuse or accept, but what they
 * accept must be something that the encoders know; the sanitizers watch the rest.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "replication/wire/mp_reader.h"
#include "replication/wire/wire.h"
#include "tests/wire/samples.h"

#include <stdlib.h>
#include <string.h>

/* A copy in memory of exactly its size, so that the address sanitizer sees one byte too far. */
static uint8_t *exact(const void *data, size_t size)
{
    uint8_t *copy = malloc(size > 0 ? size : 1);
    assert_non_null(copy);
    if (size > 0) {
        memcpy(copy, data, size);
    }
    return copy;
}

static void try_everything(kvp_slice message)
{
    struct kvp_answer answer;
    unsigned version;
    unsigned op;
    (void)kvp_wire_peek(message, &version, &op);
    for (int kind = SAMPLE_REQUEST; kind < SAMPLE_FRAME; kind++) {
        sample_check_stable((enum sample_kind)kind, message);
    }
    if (kvp_wire_answer_decode(message, &answer) == KVP_OK) {
        for (int kind = RESULT_UINT; kind < RESULT_KINDS; kind++) {
            sample_check_result_stable((enum sample_result)kind, answer.result);
        }
    }
}

static void try_bytes(const uint8_t *data, size_t size)
{
    uint8_t *copy = exact(data, size);
    try_everything(kvp_slice_of(copy, size));
    free(copy);
}

static bool is_message(const struct sample *sample)
{
    return sample->kind != SAMPLE_FRAME;
}

static void test_every_sample_comes_back_as_the_same_bytes(void **state)
{
    (void)state;
    for (size_t i = 0; i < sample_count; i++) {
        kvp_buf bytes = {0};
        kvp_buf again = {0};
        samples[i].build(&bytes);
        assert_int_equal(sample_recode(samples[i].kind, kvp_buf_slice(&bytes), &again), KVP_OK);
        assert_int_equal(again.size, bytes.size);
        assert_memory_equal(again.data, bytes.data, bytes.size);
        kvp_buf_free(&bytes);
        kvp_buf_free(&again);
    }
}

static void test_every_result_comes_back_as_the_same_bytes(void **state)
{
    (void)state;
    for (size_t i = 0; i < sample_count; i++) {
        if (samples[i].kind != SAMPLE_ANSWER || samples[i].result == RESULT_NONE) {
            continue;
        }
        kvp_buf bytes = {0};
        kvp_buf again = {0};
        struct kvp_answer answer;
        samples[i].build(&bytes);
        assert_int_equal(kvp_wire_answer_decode(kvp_buf_slice(&bytes), &answer), KVP_OK);
        assert_int_equal(sample_recode_result(samples[i].result, answer.result, &again), KVP_OK);
        assert_int_equal(again.size, answer.result.size);
        assert_memory_equal(again.data, answer.result.data, again.size);
        kvp_buf_free(&bytes);
        kvp_buf_free(&again);
    }
}

static void test_every_truncation_of_every_message_is_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < sample_count; i++) {
        kvp_buf bytes = {0};
        samples[i].build(&bytes);
        for (size_t size = 0; is_message(&samples[i]) && size < bytes.size; size++) {
            kvp_buf again = {0};
            uint8_t *cut = exact(bytes.data, size);
            assert_int_not_equal(sample_recode(samples[i].kind, kvp_slice_of(cut, size), &again),
                                 KVP_OK);
            try_everything(kvp_slice_of(cut, size));
            free(cut);
            kvp_buf_free(&again);
        }
        kvp_buf_free(&bytes);
    }
}

static void test_every_truncation_of_every_result_is_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < sample_count; i++) {
        kvp_buf bytes = {0};
        struct kvp_answer answer;
        if (samples[i].kind != SAMPLE_ANSWER || samples[i].result == RESULT_NONE ||
            samples[i].result == RESULT_STATUS) {
            continue;
        }
        samples[i].build(&bytes);
        assert_int_equal(kvp_wire_answer_decode(kvp_buf_slice(&bytes), &answer), KVP_OK);
        for (size_t size = 0; size < answer.result.size; size++) {
            kvp_buf again = {0};
            uint8_t *cut = exact(answer.result.data, size);
            assert_int_not_equal(
                sample_recode_result(samples[i].result, kvp_slice_of(cut, size), &again), KVP_OK);
            free(cut);
            kvp_buf_free(&again);
        }
        kvp_buf_free(&bytes);
    }
}

static void test_bytes_behind_a_message_are_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < sample_count; i++) {
        kvp_buf bytes = {0};
        kvp_buf again = {0};
        samples[i].build(&bytes);
        assert_int_equal(kvp_buf_append(&bytes, "\xc0", 1), KVP_OK);
        if (is_message(&samples[i])) {
            assert_int_not_equal(sample_recode(samples[i].kind, kvp_buf_slice(&bytes), &again),
                                 KVP_OK);
        }
        kvp_buf_free(&bytes);
        kvp_buf_free(&again);
    }
}

static void test_another_number_of_elements_is_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < sample_count; i++) {
        kvp_buf bytes = {0};
        samples[i].build(&bytes);
        for (unsigned count = 0; is_message(&samples[i]) && count < 16; count++) {
            kvp_buf again = {0};
            kvp_buf changed = {0};
            assert_int_equal(kvp_buf_append(&changed, bytes.data, bytes.size), KVP_OK);
            changed.data[0] = (uint8_t)(0x90 | count);
            bool same = changed.data[0] == bytes.data[0];
            assert_true((sample_recode(samples[i].kind, kvp_buf_slice(&changed), &again) ==
                         KVP_OK) == same);
            kvp_buf_free(&changed);
            kvp_buf_free(&again);
        }
        kvp_buf_free(&bytes);
    }
}

static void test_no_changed_byte_does_harm(void **state)
{
    (void)state;
    for (size_t i = 0; i < sample_count; i++) {
        kvp_buf bytes = {0};
        samples[i].build(&bytes);
        for (size_t at = 0; is_message(&samples[i]) && at < bytes.size; at++) {
            uint8_t before = bytes.data[at];
            for (unsigned value = 0; value < 256; value++) {
                bytes.data[at] = (uint8_t)value;
                uint8_t *copy = exact(bytes.data, bytes.size);
                sample_check_stable(samples[i].kind, kvp_slice_of(copy, bytes.size));
                free(copy);
            }
            bytes.data[at] = before;
        }
        kvp_buf_free(&bytes);
    }
}

/* A value of each type that is not accepted where the type of `value` stands. */
static kvp_slice other_value(uint8_t value, unsigned choice)
{
    static const kvp_slice values[] = {
        {"\xc0", 1},      {"\xc3", 1},      {"\xff", 1}, {"\xca\0\0\0\0", 5},
        {"\xa1z", 2},     {"\xc4\x01z", 3}, {"\x90", 1}, {"\x80", 1},
        {"\xd4\x05z", 3}, {"\xc1", 1},      {"\x2a", 1},
    };
    struct kvp_mp_reader reader;
    struct kvp_mp_reader original;
    if (choice >= sizeof(values) / sizeof(values[0])) {
        return kvp_slice_of(NULL, 0);
    }
    uint8_t padded[64] = {value}; /* room for what its head may declare */
    kvp_mp_begin(&original, kvp_slice_of(padded, sizeof(padded)));
    kvp_mp_begin(&reader, values[choice]);
    bool same = kvp_mp_peek(&reader) == kvp_mp_peek(&original);
    return same ? kvp_slice_of("", 0) : values[choice];
}

/* Puts others in the place of a value; they must be refused. `result` tells that the bytes are the
 * result of the sample, not the sample. */
static void replace_value(const struct sample *sample, bool result, kvp_slice bytes,
                          kvp_slice value)
{
    size_t at = (size_t)((const uint8_t *)value.data - (const uint8_t *)bytes.data);
    const uint8_t *behind = (const uint8_t *)value.data + value.size;
    for (unsigned choice = 0;; choice++) {
        kvp_slice other = other_value(*(const uint8_t *)value.data, choice);
        kvp_buf changed = {0};
        kvp_buf again = {0};
        if (other.data == NULL) {
            return;
        }
        if (other.size == 0) {
            continue;
        }
        assert_int_equal(kvp_buf_append(&changed, bytes.data, at), KVP_OK);
        assert_int_equal(kvp_buf_append(&changed, other.data, other.size), KVP_OK);
        assert_int_equal(kvp_buf_append(&changed, behind, bytes.size - at - value.size), KVP_OK);
        kvp_slice message = kvp_buf_slice(&changed);
        kvp_status status = result ? sample_recode_result(sample->result, message, &again)
                                   : sample_recode(sample->kind, message, &again);
        assert_int_not_equal(status, KVP_OK);
        kvp_buf_free(&changed);
        kvp_buf_free(&again);
    }
}

/* Walks over all values, those within others, too, but for the last `spared` bytes. */
static void replace_values(const struct sample *sample, bool result, kvp_slice bytes, size_t spared)
{
    struct kvp_mp_reader reader;
    kvp_mp_begin(&reader, bytes);
    while ((size_t)(reader.end - reader.next) > spared) {
        struct kvp_mp_reader behind = reader;
        kvp_slice value = kvp_mp_skip(&behind);
        assert_false(behind.failed);
        replace_value(sample, result, bytes, value);
        if (kvp_mp_peek(&reader) == KVP_MP_ARRAY) {
            (void)kvp_mp_array(&reader);
        } else {
            reader = behind;
        }
    }
}

/* Bytes at the end of a message that may be of another type: a result in an answer may be anything,
 * the checkpoint of a beat nil or bin. */
static size_t free_end(const struct sample *sample, kvp_slice message)
{
    static struct kvp_txn_scratch scratch;
    struct kvp_answer answer;
    struct kvp_request request;
    const char *reason;
    if (sample->kind == SAMPLE_ANSWER) {
        assert_int_equal(kvp_wire_answer_decode(message, &answer), KVP_OK);
        return answer.result.size;
    }
    if (sample->kind == SAMPLE_REQUEST) {
        assert_int_equal(kvp_wire_request_decode(message, &scratch, &request, &reason), KVP_OK);
        bool beat = request.op == KVP_OP_TASK_BEAT;
        return !beat ? 0 : request.job.has_checkpoint ? request.value.size + 2 : 1;
    }
    return 0;
}

static void test_a_wrong_type_in_any_place_is_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < sample_count; i++) {
        kvp_buf bytes = {0};
        samples[i].build(&bytes);
        kvp_slice message = kvp_buf_slice(&bytes);
        if (is_message(&samples[i])) {
            replace_values(&samples[i], false, message, free_end(&samples[i], message));
        }
        kvp_buf_free(&bytes);
    }
}

static void test_a_wrong_type_in_any_place_of_a_result_is_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < sample_count; i++) {
        kvp_buf bytes = {0};
        struct kvp_answer answer;
        enum sample_result kind = samples[i].result;
        /* Results of a transaction differ by their types, and a status is free. */
        if (kind == RESULT_NONE || kind == RESULT_TXN || kind == RESULT_STATUS) {
            continue;
        }
        samples[i].build(&bytes);
        assert_int_equal(kvp_wire_answer_decode(kvp_buf_slice(&bytes), &answer), KVP_OK);
        replace_values(&samples[i], true, answer.result, 0);
        kvp_buf_free(&bytes);
    }
}

static void test_random_changes_do_no_harm(void **state)
{
    uint64_t seed = 7;
    (void)state;
    for (unsigned round = 0; round < 20000; round++) {
        const struct sample *sample = &samples[sample_random(&seed) % sample_count];
        kvp_buf bytes = {0};
        sample->build(&bytes);
        unsigned changes = 1 + (unsigned)(sample_random(&seed) % 4);
        for (unsigned i = 0; i < changes; i++) {
            bytes.data[sample_random(&seed) % bytes.size] = (uint8_t)sample_random(&seed);
        }
        try_bytes(bytes.data, bytes.size - sample_random(&seed) % 2);
        kvp_buf_free(&bytes);
    }
}

static void test_noise_does_no_harm(void **state)
{
    uint64_t seed = 11;
    (void)state;
    for (unsigned round = 0; round < 20000; round++) {
        uint8_t noise[64];
        size_t size = (size_t)(sample_random(&seed) % sizeof(noise));
        for (size_t i = 0; i < size; i++) {
            noise[i] = (uint8_t)sample_random(&seed);
        }
        if (size > 2 && round % 2 == 0) { /* half of it begins like a message */
            noise[0] = (uint8_t)(0x90 | (noise[0] & 0x0f));
            noise[1] = KVP_WIRE_VERSION;
        }
        try_bytes(noise, size);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_sample_comes_back_as_the_same_bytes),
        cmocka_unit_test(test_every_result_comes_back_as_the_same_bytes),
        cmocka_unit_test(test_every_truncation_of_every_message_is_refused),
        cmocka_unit_test(test_every_truncation_of_every_result_is_refused),
        cmocka_unit_test(test_bytes_behind_a_message_are_refused),
        cmocka_unit_test(test_another_number_of_elements_is_refused),
        cmocka_unit_test(test_no_changed_byte_does_harm),
        cmocka_unit_test(test_a_wrong_type_in_any_place_is_refused),
        cmocka_unit_test(test_a_wrong_type_in_any_place_of_a_result_is_refused),
        cmocka_unit_test(test_random_changes_do_no_harm),
        cmocka_unit_test(test_noise_does_no_harm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
