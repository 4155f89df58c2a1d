/* SPDX-License-Identifier: Apache-2.0 */
/* Texts of statuses, buffers, slices, numbers in bytes, and log entries. */
#include "tests/kvstore/kv_support.h"

#include "kvstore/entry.h"
#include "kvstore/keyspace.h"

#include <string.h>

/* ---- statuses ---- */

static void test_every_status_has_a_text_of_its_own(void **state)
{
    (void)state;
    for (int status = KVP_OK; status >= KVP_COMPACTED; status--) {
        assert_string_not_equal(kvp_strerror(status), "");
        assert_string_not_equal(kvp_strerror(status), "unknown status");
        for (int other = KVP_OK; other > status; other--) {
            assert_string_not_equal(kvp_strerror(status), kvp_strerror(other));
        }
    }
}

/* They stand in a table, in the order of the numbers. */
static void test_the_texts_are_those_of_their_statuses(void **state)
{
    (void)state;
    static const struct {
        kvp_status status;
        const char *word;
    } cases[] = {
        {KVP_OK, "success"},
        {KVP_NOT_FOUND, "not found"},
        {KVP_NOT_PRIMARY, "primary"},
        {KVP_BUSY, "busy"},
        {KVP_TOO_LARGE, "size"},
        {KVP_CURSOR_EXPIRED, "cursor"},
        {KVP_NO_MEMORY, "memory"},
        {KVP_DISK_FULL, "space"},
        {KVP_BAD_ARGUMENT, "argument"},
        {KVP_FAILED, "storage fail"},
        {KVP_DIVERGED, "never agreed"},
        {KVP_NO_SUCH_JOB, "no such job"},
        {KVP_JOB_STATE, "state"},
        {KVP_NO_TASK, "no task"},
        {KVP_WORKER_UNKNOWN, "not registered"},
        {KVP_WORKER_REPLACED, "another worker"},
        {KVP_WORKER_BARRED, "barred"},
        {KVP_NOT_HELD, "does not hold"},
        {KVP_OVERFLOW, "does not fit"},
        {KVP_COMPACTED, "does not go back"},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_non_null(strstr(kvp_strerror(cases[i].status), cases[i].word));
    }
}

static void test_numbers_that_are_no_status_have_a_text(void **state)
{
    (void)state;
    static const int numbers[] = {1, KVP_COMPACTED - 1, INT32_MIN, INT32_MAX, -1000};

    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        assert_string_equal(kvp_strerror(numbers[i]), "unknown status");
    }
}

/* On the wire and in session records they are numbers, for ever. */
static void test_statuses_keep_their_numbers(void **state)
{
    (void)state;
    assert_int_equal(KVP_UNCERTAIN, -5);
    assert_int_equal(KVP_BAD_REQUEST, -10);
    assert_int_equal(KVP_CURSOR_EXPIRED, -15);
    assert_int_equal(KVP_NO_MEMORY, -20);
    assert_int_equal(KVP_BAD_ARGUMENT, -25);
    assert_int_equal(KVP_DIVERGED, -30);
    assert_int_equal(KVP_OVERFLOW, -38);
    assert_int_equal(KVP_COMPACTED, -39);
}

static void test_the_version_is_the_headers(void **state)
{
    (void)state;
    assert_string_equal(kvp_version(), KVP_VERSION_STRING);
}

/* ---- buffers ---- */

static void test_a_buffer_grows_and_keeps_what_it_has(void **state)
{
    (void)state;
    kvp_buf buf = {0};

    for (unsigned i = 0; i < 10000; i++) {
        uint8_t bytes[3] = {(uint8_t)i, (uint8_t)(i >> 8), 7};
        assert_int_equal(kvp_buf_append(&buf, bytes, sizeof(bytes)), KVP_OK);
    }
    assert_int_equal(buf.size, 30000);
    assert_true(buf.capacity >= buf.size);
    for (unsigned i = 0; i < 10000; i++) {
        assert_int_equal(buf.data[3 * i] | buf.data[3 * i + 1] << 8, i);
    }
    check_slice(kvp_buf_slice(&buf), kvp_slice_of(buf.data, 30000));
    kvp_buf_free(&buf);
    assert_null(buf.data);
    assert_int_equal(buf.size, 0);
    assert_int_equal(buf.capacity, 0);
    kvp_buf_free(&buf);
    kvp_buf_free(NULL);
}

static void test_room_that_was_reserved_does_not_move(void **state)
{
    (void)state;
    kvp_buf buf = {0};

    assert_int_equal(kvp_buf_append(&buf, "ab", 2), KVP_OK);
    assert_int_equal(kvp_buf_reserve(&buf, 1000), KVP_OK);
    const uint8_t *data = buf.data;
    assert_int_equal(buf.size, 2);
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(kvp_buf_append(&buf, "c", 1), KVP_OK);
    }
    assert_ptr_equal(buf.data, data);
    kvp_buf_free(&buf);
}

static void test_appending_nothing_needs_nothing(void **state)
{
    (void)state;
    kvp_buf buf = {0};

    assert_int_equal(kvp_buf_append(&buf, NULL, 0), KVP_OK);
    assert_int_equal(kvp_buf_reserve(&buf, 0), KVP_OK);
    assert_null(buf.data);
}

static void test_more_than_there_can_be_leaves_a_buffer_alone(void **state)
{
    (void)state;
    kvp_buf buf = {0};
    const size_t sizes[] = {SIZE_MAX, SIZE_MAX - 1, SIZE_MAX / 2, SIZE_MAX / 2 - 1};

    assert_int_equal(kvp_buf_append(&buf, "ab", 2), KVP_OK);
    const kvp_buf before = buf;
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        assert_int_equal(kvp_buf_reserve(&buf, sizes[i]), KVP_NO_MEMORY);
        assert_memory_equal(&buf, &before, sizeof(buf));
    }
    check_slice(kvp_buf_slice(&buf), TEXT("ab"));
    kvp_buf_free(&buf);
}

/* ---- slices ---- */

static void test_slices_compare_as_bytes(void **state)
{
    (void)state;
    const kvp_slice rising[] = {{NULL, 0},    TEXT("\0"),   TEXT("\0\0"), TEXT("a"),
                                TEXT("a\0"),  TEXT("a\0b"), TEXT("ab"),   TEXT("b"),
                                TEXT("\x7f"), TEXT("\x80"), TEXT("\xff"), TEXT("\xff\xff")};
    const int count = sizeof(rising) / sizeof(rising[0]);

    for (int i = 0; i < count; i++) {
        for (int j = 0; j < count; j++) {
            int order = kvp_slice_compare(rising[i], rising[j]);
            assert_int_equal((order > 0) - (order < 0), (i > j) - (i < j));
        }
    }
    assert_int_equal(kvp_slice_compare(kvp_slice_of(NULL, 0), TEXT("")), 0);
}

/* ---- numbers ---- */

static void test_numbers_lie_in_memory_as_defined(void **state)
{
    (void)state;
    uint8_t bytes[9] = {0};
    uint8_t *odd = bytes + 1; /* unaligned, too */

    kvp_put_u16(odd, 0x0102);
    assert_memory_equal(odd, "\x02\x01", 2);
    assert_int_equal(kvp_get_u16(odd), 0x0102);
    kvp_put_u32(odd, 0x01020304);
    assert_memory_equal(odd, "\x04\x03\x02\x01", 4);
    assert_int_equal(kvp_get_u32(odd), 0x01020304);
    kvp_put_u64(odd, 0x0102030405060708);
    assert_memory_equal(odd, "\x08\x07\x06\x05\x04\x03\x02\x01", 8);
    assert_true(kvp_get_u64(odd) == 0x0102030405060708);
    kvp_put_be64(odd, 0x0102030405060708);
    assert_memory_equal(odd, "\x01\x02\x03\x04\x05\x06\x07\x08", 8);
    assert_true(kvp_get_be64(odd) == 0x0102030405060708);
    memset(odd, 0xff, 8);
    assert_int_equal(kvp_get_u16(odd), UINT16_MAX);
    assert_true(kvp_get_u32(odd) == UINT32_MAX);
    assert_true(kvp_get_u64(odd) == UINT64_MAX);
    assert_true(kvp_get_be64(odd) == UINT64_MAX);
}

/* ---- entries ---- */

/* The hash is on disk and on the wire: these values may never change. */
static void test_the_chain_of_hashes_is_fixed(void **state)
{
    (void)state;
    const uint64_t first = kvp_chain_hash(0, 1, 1, TEXT("payload"));

    assert_true(kvp_chain_hash(0, 1, 1, TEXT("")) == 0x362e184455ef192b);
    assert_true(first == 0xb30fedc89de1d84);
    assert_true(kvp_chain_hash(first, 2, 7, TEXT("more")) == 0x53b07a21f639f131);
}

static void test_the_hash_depends_on_everything(void **state)
{
    (void)state;
    const uint64_t hash = kvp_chain_hash(1, 2, 3, TEXT("ab"));

    assert_true(kvp_chain_hash(0, 2, 3, TEXT("ab")) != hash);
    assert_true(kvp_chain_hash(1, 3, 3, TEXT("ab")) != hash);
    assert_true(kvp_chain_hash(1, 2, 2, TEXT("ab")) != hash);
    assert_true(kvp_chain_hash(1, 2, 3, TEXT("ac")) != hash);
    assert_true(kvp_chain_hash(1, 2, 3, TEXT("a")) != hash);
    assert_true(kvp_chain_hash(1, 3, 2, TEXT("ab")) != hash); /* seq and epoch are not the same */
}

static void test_an_entry_follows_its_predecessor(void **state)
{
    (void)state;
    struct kvp_point previous = {.seq = 41, .epoch = 5, .hash = 99};
    struct kvp_entry *entry = kvp_entry_new(2);

    assert_non_null(entry);
    assert_int_equal(entry->size, 2);
    assert_int_equal(entry->point.seq, 0);
    memcpy(entry->payload, "ab", 2);
    kvp_entry_chain(entry, previous, 6);
    assert_int_equal(entry->point.seq, 42);
    assert_int_equal(entry->point.epoch, 6);
    assert_true(entry->point.hash == kvp_chain_hash(99, 42, 6, TEXT("ab")));
    assert_false(kvp_point_equal(entry->point, previous));
    assert_true(kvp_point_equal(entry->point, entry->point));
    kvp_entry_unref(entry);
}

static void test_an_entry_lives_until_its_last_reference(void **state)
{
    (void)state;
    struct kvp_entry *entry = kvp_entry_new(0);

    assert_ptr_equal(kvp_entry_ref(entry), entry);
    kvp_entry_unref(entry);
    assert_int_equal(atomic_load(&entry->references), 1); /* ASan tells if it is gone */
    kvp_entry_unref(entry);
    kvp_entry_unref(NULL);
    assert_null(kvp_entry_new((size_t)UINT32_MAX + 1));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_status_has_a_text_of_its_own),
        cmocka_unit_test(test_the_texts_are_those_of_their_statuses),
        cmocka_unit_test(test_numbers_that_are_no_status_have_a_text),
        cmocka_unit_test(test_statuses_keep_their_numbers),
        cmocka_unit_test(test_the_version_is_the_headers),
        cmocka_unit_test(test_a_buffer_grows_and_keeps_what_it_has),
        cmocka_unit_test(test_room_that_was_reserved_does_not_move),
        cmocka_unit_test(test_appending_nothing_needs_nothing),
        cmocka_unit_test(test_more_than_there_can_be_leaves_a_buffer_alone),
        cmocka_unit_test(test_slices_compare_as_bytes),
        cmocka_unit_test(test_numbers_lie_in_memory_as_defined),
        cmocka_unit_test(test_the_chain_of_hashes_is_fixed),
        cmocka_unit_test(test_the_hash_depends_on_everything),
        cmocka_unit_test(test_an_entry_follows_its_predecessor),
        cmocka_unit_test(test_an_entry_lives_until_its_last_reference),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
