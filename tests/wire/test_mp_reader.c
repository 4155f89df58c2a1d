/* SPDX-License-Identifier: Apache-2.0 */
/* The reader against every format of msgpack, and against what the packer of msgpack-c writes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "replication/wire/mp_reader.h"
#include "replication/wire/mp_writer.h"
#include "tests/wire/samples.h"

#include <math.h>
#include <stdlib.h>

/* A reader over a string literal, its final zero left out. */
#define READER(literal) reader_of(kvp_slice_of(literal, sizeof(literal) - 1))

static struct kvp_mp_reader reader_of(kvp_slice bytes)
{
    struct kvp_mp_reader reader;
    kvp_mp_begin(&reader, bytes);
    return reader;
}

static void check_uint(struct kvp_mp_reader reader, uint64_t expected)
{
    assert_int_equal(kvp_mp_peek(&reader), KVP_MP_UINT);
    assert_true(kvp_mp_uint(&reader) == expected);
    assert_true(kvp_mp_done(&reader));
}

static void check_int(struct kvp_mp_reader reader, int64_t expected)
{
    assert_true(kvp_mp_int(&reader) == expected);
    assert_true(kvp_mp_done(&reader));
}

static void test_every_width_of_an_unsigned_number_is_read(void **state)
{
    (void)state;
    check_uint(READER("\x07"), 7);
    check_uint(READER("\x7f"), 127);
    check_uint(READER("\xcc\x07"), 7);
    check_uint(READER("\xcd\x00\x07"), 7);
    check_uint(READER("\xce\x00\x00\x00\x07"), 7);
    check_uint(READER("\xcf\x00\x00\x00\x00\x00\x00\x00\x07"), 7);
    check_uint(READER("\xcf\xff\xff\xff\xff\xff\xff\xff\xff"), UINT64_MAX);
    check_uint(READER("\xcd\x12\x34"), 0x1234);
}

static void test_signed_formats_of_a_number_not_below_zero_are_unsigned(void **state)
{
    (void)state;
    check_uint(READER("\xd0\x07"), 7);
    check_uint(READER("\xd1\x00\x07"), 7);
    check_uint(READER("\xd2\x00\x00\x00\x07"), 7);
    check_uint(READER("\xd3\x7f\xff\xff\xff\xff\xff\xff\xff"), INT64_MAX);
}

static void test_negative_numbers_are_read_in_every_width(void **state)
{
    (void)state;
    check_int(READER("\xff"), -1);
    check_int(READER("\xe0"), -32);
    check_int(READER("\xd0\x80"), -128);
    check_int(READER("\xd1\x80\x00"), -32768);
    check_int(READER("\xd2\x80\x00\x00\x00"), INT32_MIN);
    check_int(READER("\xd3\x80\x00\x00\x00\x00\x00\x00\x00"), INT64_MIN);
    check_int(READER("\xd3\xff\xff\xff\xff\xff\xff\xff\xfe"), -2);
    check_int(READER("\xcf\x7f\xff\xff\xff\xff\xff\xff\xff"), INT64_MAX);
}

static void test_a_number_out_of_range_fails(void **state)
{
    (void)state;
    struct kvp_mp_reader negative = READER("\xff");
    (void)kvp_mp_uint(&negative);
    assert_true(negative.failed);
    struct kvp_mp_reader huge = READER("\xcf\x80\x00\x00\x00\x00\x00\x00\x00");
    (void)kvp_mp_int(&huge);
    assert_true(huge.failed);
    struct kvp_mp_reader above = READER("\x08");
    assert_int_equal(kvp_mp_uint_max(&above, 7), 0);
    assert_true(above.failed);
    struct kvp_mp_reader at = READER("\x07");
    assert_int_equal(kvp_mp_uint_max(&at, 7), 7);
    assert_false(at.failed);
}

static void check_bytes(struct kvp_mp_reader reader, enum kvp_mp_type type, const char *expected)
{
    assert_int_equal(kvp_mp_peek(&reader), type);
    kvp_slice bytes = type == KVP_MP_STR ? kvp_mp_str(&reader) : kvp_mp_bin(&reader);
    assert_true(kvp_mp_done(&reader));
    assert_int_equal(bytes.size, strlen(expected));
    assert_memory_equal(bytes.data, expected, bytes.size);
}

static void test_every_width_of_strings_and_bytes_is_read(void **state)
{
    (void)state;
    check_bytes(READER("\xa2hi"), KVP_MP_STR, "hi");
    check_bytes(READER("\xd9\x02hi"), KVP_MP_STR, "hi");
    check_bytes(READER("\xda\x00\x02hi"), KVP_MP_STR, "hi");
    check_bytes(READER("\xdb\x00\x00\x00\x02hi"), KVP_MP_STR, "hi");
    check_bytes(READER("\xc4\x02hi"), KVP_MP_BIN, "hi");
    check_bytes(READER("\xc5\x00\x02hi"), KVP_MP_BIN, "hi");
    check_bytes(READER("\xc6\x00\x00\x00\x02hi"), KVP_MP_BIN, "hi");
    check_bytes(READER("\xa0"), KVP_MP_STR, "");
    check_bytes(READER("\xc4\x00"), KVP_MP_BIN, "");
}

static void test_str_and_bin_are_not_the_same(void **state)
{
    (void)state;
    struct kvp_mp_reader text = READER("\xa2hi");
    assert_int_equal(kvp_mp_bin(&text).size, 0);
    assert_true(text.failed);
    struct kvp_mp_reader bytes = READER("\xc4\x02hi");
    assert_int_equal(kvp_mp_str(&bytes).size, 0);
    assert_true(bytes.failed);
}

static void test_a_declared_size_beyond_the_message_is_no_value(void **state)
{
    static const char *const heads[] = {"\xa5"
                                        "abcd",
                                        "\xd9\xff"
                                        "abc",
                                        "\xda\xff\xff"
                                        "abc",
                                        "\xdb\xff\xff\xff\xff"
                                        "a",
                                        "\xc4\x02"
                                        "a",
                                        "\xc5\xff\xff"
                                        "a",
                                        "\xc6\xff\xff\xff\xff"
                                        "a",
                                        "\x92\x01",
                                        "\xdc\xff\xff\x01",
                                        "\xdd\xff\xff\xff\xff\x01",
                                        "\x81\x01",
                                        "\xde\xff\xff\x01\x01",
                                        "\xdf\xff\xff\xff\xff\x01\x01",
                                        "\xc7\xff\x01"
                                        "a",
                                        "\xc9\xff\xff\xff\xff\x01",
                                        "\xd8\x01"
                                        "abc",
                                        "\xcb"
                                        "abc",
                                        "\xcd\x01",
                                        "\xcf\x01\x01"};
    (void)state;
    for (size_t i = 0; i < sizeof(heads) / sizeof(heads[0]); i++) {
        struct kvp_mp_reader reader = reader_of(kvp_slice_of(heads[i], strlen(heads[i])));
        assert_int_equal(kvp_mp_peek(&reader), KVP_MP_NONE);
        assert_int_equal(kvp_mp_skip(&reader).size, 0);
        assert_true(reader.failed);
    }
}

static void test_counts_are_bounded_by_the_bytes_left(void **state)
{
    (void)state;
    struct kvp_mp_reader fits = READER("\xdd\x00\x00\x00\x02\x01\x02");
    assert_int_equal(kvp_mp_array(&fits), 2);
    struct kvp_mp_reader declared = READER("\xdd\x00\x00\x00\x03\x01\x02");
    assert_int_equal(kvp_mp_array(&declared), 0);
    assert_true(declared.failed);
    struct kvp_mp_reader map = READER("\x82\x01\x02\x03");
    assert_int_equal(kvp_mp_map(&map), 0);
    assert_true(map.failed);
    struct kvp_mp_reader exactly = READER("\x92\x01\x02");
    kvp_mp_array_of(&exactly, 3);
    assert_true(exactly.failed);
}

static void test_errors_stick(void **state)
{
    (void)state;
    struct kvp_mp_reader reader = READER("\xc3\x01\x02");
    assert_int_equal(kvp_mp_uint(&reader), 0);
    assert_int_equal(kvp_mp_uint(&reader), 0);
    assert_false(kvp_mp_bool(&reader));
    assert_int_equal(kvp_mp_peek(&reader), KVP_MP_NONE);
    assert_false(kvp_mp_done(&reader));
}

/* Written as 64 bits, and nothing else is one: not 32 bits, no integer. */
static void test_doubles_are_read_in_one_format(void **state)
{
    static const double values[] = {0.0, -0.0, 1.0, -1.5, 1e-6, 1e300, -4.9e-324, INFINITY};
    static const char *const others[] = {"\xca\x3f\x80", "\x01",  "\xff",        "\xc0",
                                         "\xc3",         "\xa1x", "\xcb\x3f\xf0"};
    static const size_t sizes[] = {5, 1, 1, 1, 1, 2, 8};
    (void)state;
    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        kvp_buf out = {0};
        struct kvp_mp_writer writer;
        kvp_mp_write_begin(&writer, &out);
        kvp_mp_write_double(&writer, values[i]);
        assert_int_equal(kvp_mp_write_end(&writer), KVP_OK);
        struct kvp_mp_reader reader = reader_of(kvp_buf_slice(&out));
        double found = kvp_mp_double(&reader);
        assert_memory_equal(&found, &values[i], sizeof(found)); /* -0.0, too */
        assert_true(kvp_mp_done(&reader));
        for (size_t size = 0; size < out.size; size++) {
            struct kvp_mp_reader cut = reader_of(kvp_slice_of(out.data, size));
            assert_true(kvp_mp_double(&cut) == 0);
            assert_true(cut.failed);
        }
        kvp_buf_free(&out);
    }
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
        uint8_t bytes[8] = {0}; /* zeros behind what is given */
        memcpy(bytes, others[i], strlen(others[i]));
        struct kvp_mp_reader reader = reader_of(kvp_slice_of(bytes, sizes[i]));
        assert_true(kvp_mp_double(&reader) == 0);
        assert_true(reader.failed);
    }
    struct kvp_mp_reader one = READER("\xcb\x3f\xf0\x00\x00\x00\x00\x00\x00");
    assert_true(kvp_mp_double(&one) == 1.0);
    assert_true(kvp_mp_done(&one));
    struct kvp_mp_reader nan = READER("\xcb\x7f\xf8\x00\x00\x00\x00\x00\x00");
    assert_true(isnan(kvp_mp_double(&nan)));
}

static void test_nil_and_bools_are_read_and_told_apart(void **state)
{
    (void)state;
    struct kvp_mp_reader reader = READER("\xc0\xc2\xc3");
    kvp_mp_nil(&reader);
    assert_false(kvp_mp_bool(&reader));
    assert_true(kvp_mp_bool(&reader));
    assert_true(kvp_mp_done(&reader));
    struct kvp_mp_reader one = READER("\x01");
    assert_false(kvp_mp_bool(&one));
    assert_true(one.failed);
}

static void test_an_empty_message_holds_nothing(void **state)
{
    (void)state;
    struct kvp_mp_reader reader = reader_of(kvp_slice_of(NULL, 0));
    assert_true(kvp_mp_done(&reader));
    assert_int_equal(kvp_mp_peek(&reader), KVP_MP_NONE);
    (void)kvp_mp_skip(&reader);
    assert_true(reader.failed);
}

static void test_skip_passes_over_any_value(void **state)
{
    static const kvp_slice values[] = {
        {"\xc0", 1},
        {"\x05", 1},
        {"\xfb", 1},
        {"\xca\0\0\0\0", 5},
        {"\xcb\0\0\0\0\0\0\0\0", 9},
        {"\xd4\x01z", 3},
        {"\xd5\x01zz", 4},
        {"\xd6\x01zzzz", 6},
        {"\xc7\x02\x01zz", 5},
        {"\xc8\x00\x01\x01z", 5},
        {"\x82\x01\x02\x03\x91\xc0", 6},
        {"\x93\x90\x80\xa1x", 5},
        {"\xdc\x00\x01\xde\x00\x01\x01\x02", 8},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        uint8_t bytes[32];
        memcpy(bytes, values[i].data, values[i].size);
        bytes[values[i].size] = 0x2a;
        struct kvp_mp_reader reader = reader_of(kvp_slice_of(bytes, values[i].size + 1));
        assert_int_equal(kvp_mp_skip(&reader).size, values[i].size);
        assert_int_equal(kvp_mp_uint(&reader), 42);
        assert_true(kvp_mp_done(&reader));
    }
}

static bool skips_depth(unsigned depth, uint8_t innermost)
{
    uint8_t bytes[64];
    memset(bytes, 0x91, depth);
    bytes[depth] = innermost;
    struct kvp_mp_reader reader = reader_of(kvp_slice_of(bytes, depth + 1));
    kvp_slice skipped = kvp_mp_skip(&reader);
    return !reader.failed && skipped.size == depth + 1;
}

static void test_nesting_is_followed_to_a_bounded_depth(void **state)
{
    (void)state;
    assert_true(skips_depth(KVP_MP_DEPTH_MAX, 0x01));
    assert_false(skips_depth(KVP_MP_DEPTH_MAX + 1, 0x01));
    assert_false(skips_depth(60, 0x01));
}

static void test_a_megabyte_of_open_arrays_is_refused_quickly(void **state)
{
    (void)state;
    size_t size = 1024 * 1024;
    uint8_t *bytes = malloc(size);
    assert_non_null(bytes);
    memset(bytes, 0x9f, size);
    struct kvp_mp_reader reader = reader_of(kvp_slice_of(bytes, size));
    (void)kvp_mp_skip(&reader);
    assert_true(reader.failed);
    assert_true(reader.next - bytes <= 16);
    free(bytes);
}

static void test_the_byte_that_means_nothing_is_refused(void **state)
{
    (void)state;
    struct kvp_mp_reader reader = READER("\xc1");
    assert_int_equal(kvp_mp_peek(&reader), KVP_MP_NONE);
    (void)kvp_mp_skip(&reader);
    assert_true(reader.failed);
}

static void test_what_the_packer_writes_is_read_back(void **state)
{
    uint64_t seed = 3;
    (void)state;
    for (unsigned i = 0; i < 2000; i++) {
        kvp_buf out = {0};
        struct kvp_mp_writer writer;
        uint64_t number = sample_random(&seed) >> (sample_random(&seed) % 64);
        int64_t negative = -(int64_t)(number >> 1) - 1;
        kvp_slice bytes = kvp_slice_of("0123456789", (size_t)(number % 11));
        kvp_mp_write_begin(&writer, &out);
        kvp_mp_write_uint(&writer, number);
        (void)kvp_mp_pack_int64(&writer, negative);
        kvp_mp_write_bin(&writer, bytes);
        kvp_mp_write_str(&writer, bytes);
        kvp_mp_write_bool(&writer, i % 2 == 0);
        assert_int_equal(kvp_mp_write_end(&writer), KVP_OK);
        struct kvp_mp_reader reader = reader_of(kvp_buf_slice(&out));
        assert_true(kvp_mp_uint(&reader) == number);
        assert_true(kvp_mp_int(&reader) == negative);
        assert_int_equal(kvp_slice_compare(kvp_mp_bin(&reader), bytes), 0);
        assert_int_equal(kvp_slice_compare(kvp_mp_str(&reader), bytes), 0);
        assert_true(kvp_mp_bool(&reader) == (i % 2 == 0));
        assert_true(kvp_mp_done(&reader));
        kvp_buf_free(&out);
    }
}

static void test_long_strings_and_lists_are_read_back(void **state)
{
    static const size_t sizes[] = {15, 16, 31, 32, 255, 256, 65535, 65536, 70000};
    static uint8_t filled[70000];
    (void)state;
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        kvp_buf out = {0};
        struct kvp_mp_writer writer;
        kvp_slice bytes = kvp_slice_of(filled, sizes[i]);
        kvp_mp_write_begin(&writer, &out);
        kvp_mp_write_bin(&writer, bytes);
        kvp_mp_write_str(&writer, bytes);
        kvp_mp_write_array(&writer, (uint32_t)sizes[i]);
        kvp_mp_write_raw(&writer, bytes); /* zeros: as many numbers */
        assert_int_equal(kvp_mp_write_end(&writer), KVP_OK);
        struct kvp_mp_reader reader = reader_of(kvp_buf_slice(&out));
        assert_int_equal(kvp_mp_bin(&reader).size, sizes[i]);
        assert_int_equal(kvp_mp_str(&reader).size, sizes[i]);
        struct kvp_mp_reader list = reader;
        assert_int_equal(kvp_mp_array(&list), sizes[i]);
        (void)kvp_mp_skip(&reader);
        assert_true(kvp_mp_done(&reader));
        kvp_buf_free(&out);
    }
}

/* One typed read, after which the reader says whether it failed and where it is. */
static void read_as(struct kvp_mp_reader *reader, enum kvp_mp_type type)
{
    if (type == KVP_MP_UINT) {
        (void)kvp_mp_uint(reader);
    } else if (type == KVP_MP_STR) {
        (void)kvp_mp_str(reader);
    } else if (type == KVP_MP_BIN) {
        (void)kvp_mp_bin(reader);
    } else {
        (void)kvp_mp_array(reader);
    }
}

/* peek and skip look at every value in the same way; the typed reads have shorter ones. */
static void check_short_way(kvp_slice bytes, enum kvp_mp_type type)
{
    struct kvp_mp_reader reader = reader_of(bytes), whole = reader, failed = reader;
    bool is_there = kvp_mp_peek(&whole) == type;
    read_as(&reader, type);
    assert_int_equal(!reader.failed, is_there);
    if (is_there && type != KVP_MP_ARRAY) {
        (void)kvp_mp_skip(&whole);
        assert_ptr_equal(reader.next, whole.next);
    }
    kvp_mp_fail(&failed);
    read_as(&failed, type);
    assert_true(failed.failed && failed.next == bytes.data);
}

static void check_short_ways(unsigned first, int others, size_t size)
{
    static const enum kvp_mp_type types[] = {KVP_MP_UINT, KVP_MP_STR, KVP_MP_BIN, KVP_MP_ARRAY};
    uint8_t *bytes = malloc(size); /* of this size: a sanitizer sees a byte too many */
    assert_non_null(bytes);
    memset(bytes, others, size);
    bytes[0] = (uint8_t)first;
    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
        check_short_way(kvp_slice_of(bytes, size), types[i]);
    }
    free(bytes);
}

static void test_the_short_ways_take_what_the_long_way_takes(void **state)
{
    (void)state;
    for (unsigned first = 0; first < 256; first++) {
        for (size_t size = 1; size <= 40; size++) {
            check_short_ways(first, 3, size);
            check_short_ways(first, 0xfe, size);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_width_of_an_unsigned_number_is_read),
        cmocka_unit_test(test_signed_formats_of_a_number_not_below_zero_are_unsigned),
        cmocka_unit_test(test_negative_numbers_are_read_in_every_width),
        cmocka_unit_test(test_a_number_out_of_range_fails),
        cmocka_unit_test(test_every_width_of_strings_and_bytes_is_read),
        cmocka_unit_test(test_str_and_bin_are_not_the_same),
        cmocka_unit_test(test_a_declared_size_beyond_the_message_is_no_value),
        cmocka_unit_test(test_counts_are_bounded_by_the_bytes_left),
        cmocka_unit_test(test_errors_stick),
        cmocka_unit_test(test_doubles_are_read_in_one_format),
        cmocka_unit_test(test_nil_and_bools_are_read_and_told_apart),
        cmocka_unit_test(test_an_empty_message_holds_nothing),
        cmocka_unit_test(test_skip_passes_over_any_value),
        cmocka_unit_test(test_nesting_is_followed_to_a_bounded_depth),
        cmocka_unit_test(test_a_megabyte_of_open_arrays_is_refused_quickly),
        cmocka_unit_test(test_the_byte_that_means_nothing_is_refused),
        cmocka_unit_test(test_what_the_packer_writes_is_read_back),
        cmocka_unit_test(test_long_strings_and_lists_are_read_back),
        cmocka_unit_test(test_the_short_ways_take_what_the_long_way_takes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
