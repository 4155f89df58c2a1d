/* SPDX-License-Identifier: Apache-2.0 */
/* The forms of keyspace.h and writeset.h: byte for byte, there and back, and with hostile input. */
#include "tests/kvstore/kv_support.h"

#include "kvstore/keyspace.h"
#include "kvstore/writeset.h"

#include <stdlib.h>
#include <string.h>

/* ---- raw keys ---- */

static void test_raw_keys_are_made_as_defined(void **state)
{
    (void)state;
    struct kvp_raw_key raw;

    kvp_raw_key_data(&raw, TEXT("key\0x"));
    check_slice(kvp_raw_key_slice(&raw), TEXT("Dkey\0x"));
    kvp_raw_key_data(&raw, kvp_slice_of(NULL, 0));
    check_slice(kvp_raw_key_slice(&raw), TEXT("D"));
    kvp_raw_key_floor(&raw);
    check_slice(kvp_raw_key_slice(&raw), TEXT("E"));
    kvp_raw_key_session(&raw, 0x0102030405060708, 0x090a);
    check_slice(kvp_raw_key_slice(&raw), TEXT("S\1\2\3\4\5\6\7\x8\x9\xa"));
}

static void test_the_longest_key_fits(void **state)
{
    (void)state;
    struct kvp_raw_key raw;
    uint8_t key[KVP_KEY_SIZE_MAX];

    memset(key, 'k', sizeof(key));
    kvp_raw_key_data(&raw, kvp_slice_of(key, sizeof(key)));
    assert_int_equal(raw.size, KVP_KEY_SIZE_MAX + 1);
    assert_memory_equal(raw.data + 1, key, sizeof(key));
    assert_true(kvp_raw_key_is_state(kvp_raw_key_slice(&raw)));
}

static void test_only_some_prefixes_are_state(void **state)
{
    (void)state;
    for (unsigned prefix = 0; prefix < 256; prefix++) {
        uint8_t key[2] = {(uint8_t)prefix, 'x'};
        bool expected = prefix != 0 && strchr("DEFGHIJKNOPQRSTUVWXYZ", (int)prefix) != NULL;
        assert_int_equal(kvp_raw_key_is_state(kvp_slice_of(key, 1)), expected);
        assert_int_equal(kvp_raw_key_is_state(kvp_slice_of(key, 2)), expected);
    }
    uint8_t longest[KVP_RAW_KEY_SIZE_MAX + 1];
    memset(longest, 'D', sizeof(longest));
    assert_true(kvp_raw_key_is_state(kvp_slice_of(longest, KVP_RAW_KEY_SIZE_MAX)));
    assert_false(kvp_raw_key_is_state(kvp_slice_of(longest, KVP_RAW_KEY_SIZE_MAX + 1)));
    assert_false(kvp_raw_key_is_state(kvp_slice_of(NULL, 0)));
}

/* ---- records ---- */

static void test_a_data_record_goes_there_and_back(void **state)
{
    (void)state;
    struct kvp_record record = {0x0102030405060708, 0x1112131415161718, TEXT("val\0ue")}, found;
    kvp_buf raw = {0};

    assert_int_equal(kvp_record_encode(&record, &raw), KVP_OK);
    check_slice(kvp_buf_slice(&raw), TEXT("\0\x8\7\6\5\4\3\2\1\x18\x17\x16\x15\x14\x13\x12\x11"
                                          "val\0ue"));
    assert_int_equal(kvp_record_decode(kvp_buf_slice(&raw), &found), KVP_OK);
    assert_true(found.create_revision == record.create_revision);
    assert_true(found.modify_revision == record.modify_revision);
    check_slice(found.value, record.value);
    assert_ptr_equal(found.value.data, raw.data + KVP_RECORD_HEADER_SIZE);
    assert_int_equal(kvp_record_decode(kvp_slice_of(raw.data, KVP_RECORD_HEADER_SIZE), &found),
                     KVP_OK);
    assert_int_equal(found.value.size, 0);
    kvp_buf_free(&raw);
}

static void test_a_malformed_data_record_is_damage(void **state)
{
    (void)state;
    struct kvp_record found;
    uint8_t raw[KVP_RECORD_HEADER_SIZE] = {0};

    for (size_t size = 0; size < sizeof(raw); size++) {
        assert_int_equal(kvp_record_decode(kvp_slice_of(size == 0 ? NULL : raw, size), &found),
                         KVP_CORRUPT);
    }
    for (unsigned flags = 1; flags < 256; flags++) { /* none is known yet */
        raw[0] = (uint8_t)flags;
        assert_int_equal(kvp_record_decode(kvp_slice_of(raw, sizeof(raw)), &found), KVP_CORRUPT);
    }
}

static void test_a_session_record_goes_there_and_back(void **state)
{
    (void)state;
    struct kvp_session_record record = {0x0102030405060708, 0x1112131415161718, 29, TEXT("\xc0")};
    struct kvp_session_record found;
    kvp_buf raw = {0};

    assert_int_equal(kvp_session_encode(&record, &raw), KVP_OK);
    check_slice(kvp_buf_slice(&raw),
                TEXT("\x8\7\6\5\4\3\2\1\x18\x17\x16\x15\x14\x13\x12\x11\x1d\xc0"));
    assert_int_equal(kvp_session_decode(kvp_buf_slice(&raw), &found), KVP_OK);
    assert_true(found.number == record.number);
    assert_true(found.seq == record.seq);
    assert_int_equal(found.code, 29);
    check_slice(found.answer, record.answer);
    for (size_t size = 0; size < 17; size++) {
        assert_int_equal(kvp_session_decode(kvp_slice_of(raw.data, size), &found), KVP_CORRUPT);
    }
    kvp_buf_free(&raw);
}

static void test_a_session_key_goes_there_and_back(void **state)
{
    (void)state;
    struct kvp_raw_key raw;
    uint64_t client = 0;
    uint16_t slot = 0;

    kvp_raw_key_session(&raw, UINT64_MAX - 5, 0xfffe);
    assert_int_equal(kvp_session_key_decode(kvp_raw_key_slice(&raw), &client, &slot), KVP_OK);
    assert_true(client == UINT64_MAX - 5);
    assert_int_equal(slot, 0xfffe);
    for (size_t size = 0; size < raw.size; size++) {
        assert_int_equal(kvp_session_key_decode(kvp_slice_of(raw.data, size), &client, &slot),
                         KVP_CORRUPT);
    }
    assert_int_equal(kvp_session_key_decode(kvp_slice_of(raw.data, raw.size + 1), &client, &slot),
                     KVP_CORRUPT);
    raw.data[0] = 'D';
    assert_int_equal(kvp_session_key_decode(kvp_raw_key_slice(&raw), &client, &slot), KVP_CORRUPT);
}

/* ---- write sets ---- */

static void make_set(kvp_buf *set)
{
    assert_int_equal(kvp_writeset_put(set, TEXT("Dkey"), TEXT("value")), KVP_OK);
    assert_int_equal(kvp_writeset_delete(set, TEXT("Dgone")), KVP_OK);
    assert_int_equal(kvp_writeset_put(set, TEXT("E"), kvp_slice_of(NULL, 0)), KVP_OK);
}

static void test_a_write_set_is_made_as_defined(void **state)
{
    (void)state;
    kvp_buf set = {0};

    make_set(&set);
    check_slice(kvp_buf_slice(&set), TEXT("\1\4\0\0\0Dkey\5\0\0\0value"
                                          "\2\5\0\0\0Dgone"
                                          "\1\1\0\0\0E\0\0\0\0"));
    kvp_buf_free(&set);
}

static void test_a_write_set_is_read_in_its_order(void **state)
{
    (void)state;
    kvp_buf set = {0};
    struct kvp_writeset_iter iter;
    struct kvp_batch_op op;

    make_set(&set);
    kvp_writeset_begin(&iter, kvp_buf_slice(&set));
    assert_int_equal(kvp_writeset_next(&iter, &op), KVP_OK);
    check_slice(op.key, TEXT("Dkey"));
    check_slice(op.value, TEXT("value"));
    assert_false(op.is_delete);
    assert_int_equal(kvp_writeset_next(&iter, &op), KVP_OK);
    check_slice(op.key, TEXT("Dgone"));
    assert_true(op.is_delete);
    assert_int_equal(kvp_writeset_next(&iter, &op), KVP_OK);
    check_slice(op.key, TEXT("E"));
    assert_int_equal(op.value.size, 0);
    assert_false(op.is_delete);
    assert_int_equal(kvp_writeset_next(&iter, &op), KVP_NOT_FOUND);
    assert_int_equal(kvp_writeset_next(&iter, &op), KVP_NOT_FOUND);
    kvp_buf_free(&set);
}

static void test_an_empty_write_set_is_one(void **state)
{
    (void)state;
    struct kvp_writeset_iter iter;
    struct kvp_batch_op op;

    assert_int_equal(kvp_writeset_check(kvp_slice_of(NULL, 0)), KVP_OK);
    assert_int_equal(kvp_writeset_check(TEXT("")), KVP_OK);
    kvp_writeset_begin(&iter, kvp_slice_of(NULL, 0));
    assert_int_equal(kvp_writeset_next(&iter, &op), KVP_NOT_FOUND);
}

static void test_what_is_no_state_gets_into_no_write_set(void **state)
{
    (void)state;
    kvp_buf set = {0};
    uint8_t longest[KVP_RAW_KEY_SIZE_MAX + 1];

    memset(longest, 'D', sizeof(longest));
    const kvp_slice keys[] = {TEXT(""), TEXT("L\0\0\0\0\0\0\0\1"), TEXT("Mmeta"), TEXT("[")};
    make_set(&set);
    const size_t size = set.size;
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        assert_int_equal(kvp_writeset_put(&set, keys[i], TEXT("x")), KVP_BAD_ARGUMENT);
        assert_int_equal(kvp_writeset_delete(&set, keys[i]), KVP_BAD_ARGUMENT);
    }
    assert_int_equal(kvp_writeset_put(&set, kvp_slice_of(longest, sizeof(longest)), TEXT("x")),
                     KVP_BAD_ARGUMENT);
    assert_int_equal(set.size, size);
    kvp_buf_free(&set);
}

static void test_malformed_write_sets_are_refused(void **state)
{
    (void)state;
    const kvp_slice sets[] = {
        TEXT("\0\1\0\0\0D"), /* no such kind */
        TEXT("\3\1\0\0\0D"),
        TEXT("\1"), /* cut off */
        TEXT("\1\1\0\0"),
        TEXT("\1\1\0\0\0"),
        TEXT("\1\1\0\0\0D"),
        TEXT("\1\1\0\0\0D\0\0\0"),
        TEXT("\1\1\0\0\0D\1\0\0\0"),
        TEXT("\2\2\0\0\0D"),
        TEXT("\1\xff\xff\xff\xff"
             "D\0\0\0\0"), /* sizes past the end, and past all limits */
        TEXT("\1\1\0\0\0D\xff\xff\xff\xff"),
        TEXT("\1\1\0\0\0D\xfc\xff\xff\xff"
             "1234"),
        TEXT("\1\0\0\0\0\0\0\0\0"), /* keys that are no state */
        TEXT("\2\1\0\0\0L"),
        TEXT("\1\5\0\0\0Mmeta\0\0\0\0"),
        TEXT("\2\1\0\0\0D\0"), /* something behind a good one */
        TEXT("\2\1\0\0\0D\2\1\0\0\0C"),
    };

    for (size_t i = 0; i < sizeof(sets) / sizeof(sets[0]); i++) {
        assert_int_equal(kvp_writeset_check(sets[i]), KVP_CORRUPT);
    }
}

/* ---- hostile write sets ---- */

/* Walks the set in a block of exactly its size, so that ASan sees a step too far. What was read
 * must lie in the set, and be the same bytes when it is written again. */
static void try_set(kvp_slice set)
{
    uint8_t *bytes = malloc(set.size + 1);
    assert_non_null(bytes);
    uint8_t *copy = set.size == 0 ? bytes : realloc(bytes, set.size);
    struct kvp_writeset_iter iter;
    struct kvp_batch_op op;
    kvp_buf again = {0};
    kvp_status status = KVP_OK;

    assert_non_null(copy);
    memcpy(copy, set.data, set.size);
    kvp_writeset_begin(&iter, kvp_slice_of(copy, set.size));
    while ((status = kvp_writeset_next(&iter, &op)) == KVP_OK) {
        assert_int_equal(op.is_delete ? kvp_writeset_delete(&again, op.key)
                                      : kvp_writeset_put(&again, op.key, op.value),
                         KVP_OK);
    }
    assert_true(status == KVP_NOT_FOUND || status == KVP_CORRUPT);
    assert_int_equal(kvp_writeset_check(kvp_slice_of(copy, set.size)),
                     status == KVP_NOT_FOUND ? KVP_OK : KVP_CORRUPT);
    assert_true(again.size <= set.size);
    assert_int_equal(again.size == set.size, status == KVP_NOT_FOUND);
    check_slice(kvp_buf_slice(&again), kvp_slice_of(copy, again.size));
    kvp_buf_free(&again);
    free(copy);
}

static void test_any_change_of_a_byte_is_survived(void **state)
{
    (void)state;
    kvp_buf set = {0};

    make_set(&set);
    for (size_t at = 0; at < set.size; at++) {
        const uint8_t before = set.data[at];
        for (unsigned byte = 0; byte < 256; byte++) {
            set.data[at] = (uint8_t)byte;
            try_set(kvp_buf_slice(&set));
        }
        set.data[at] = before;
        try_set(kvp_slice_of(set.data, at)); /* cut off */
    }
    kvp_buf_free(&set);
}

/* Bytes that look a little like a write set: few values, so that some get far. */
static void test_any_bytes_are_survived(void **state)
{
    (void)state;
    static const uint8_t alphabet[] = {0, 0, 0, 0, 1, 1, 2, 2, 3, 'D', 'D', 'E', 'L', 'S', 255, 4};
    uint64_t seed = 12345;
    uint8_t bytes[40];

    for (int round = 0; round < 50000; round++) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        size_t size = seed >> 40 & 31;
        for (size_t i = 0; i < size; i++) {
            seed = seed * 6364136223846793005u + 1442695040888963407u;
            bytes[i] = alphabet[seed >> 60];
        }
        try_set(kvp_slice_of(bytes, size));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_raw_keys_are_made_as_defined),
        cmocka_unit_test(test_the_longest_key_fits),
        cmocka_unit_test(test_only_some_prefixes_are_state),
        cmocka_unit_test(test_a_data_record_goes_there_and_back),
        cmocka_unit_test(test_a_malformed_data_record_is_damage),
        cmocka_unit_test(test_a_session_record_goes_there_and_back),
        cmocka_unit_test(test_a_session_key_goes_there_and_back),
        cmocka_unit_test(test_a_write_set_is_made_as_defined),
        cmocka_unit_test(test_a_write_set_is_read_in_its_order),
        cmocka_unit_test(test_an_empty_write_set_is_one),
        cmocka_unit_test(test_what_is_no_state_gets_into_no_write_set),
        cmocka_unit_test(test_malformed_write_sets_are_refused),
        cmocka_unit_test(test_any_change_of_a_byte_is_survived),
        cmocka_unit_test(test_any_bytes_are_survived),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
