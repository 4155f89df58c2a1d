/* SPDX-License-Identifier: Apache-2.0 */
/* UTF-8: what is valid, and what becomes of what is not. */
#include "tests/kvstore/kv_support.h"

#include "kvstore/base/utf8.h"

#include <string.h>

#define TEXT_OF(literal) kvp_slice_of(literal, sizeof(literal) - 1)

static void test_characters_of_all_lengths_are_valid(void **state)
{
    (void)state;
    assert_true(kvp_utf8_is_valid(kvp_slice_of(NULL, 0)));
    assert_true(kvp_utf8_is_valid(TEXT_OF("a\0\x7f\xc2\x80\xdf\xbf")));
    assert_true(kvp_utf8_is_valid(TEXT_OF("\xe0\xa0\x80\xed\x9f\xbf\xee\x80\x80\xef\xbf\xbf")));
    assert_true(kvp_utf8_is_valid(TEXT_OF("\xf0\x90\x80\x80\xf4\x8f\xbf\xbf")));
}

static void test_what_is_no_character_is_not_valid(void **state)
{
    (void)state;
    static const char *const wrong[] = {
        "\x80",
        "\xbf",
        "\xc0\xaf",
        "\xc1\xbf",
        "\xc3",
        "\xc3(",
        "\xe0\x9f\xbf",
        "\xe2\x82",
        "\xe2(\xa1",
        "\xed\xa0\x80",
        "\xed\xbf\xbf",
        "\xf0\x8f\xbf\xbf",
        "\xf0\x9f\x92",
        "\xf4\x90\x80\x80",
        "\xf5\x80\x80\x80",
        "\xfe",
        "\xff",
        "a\xf8\x88\x80\x80\x80",
    };
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        assert_false(kvp_utf8_is_valid(kvp_slice_of(wrong[i], strlen(wrong[i]))));
    }
}

static void check_copy(kvp_slice text, size_t size, const char *head, const char *end)
{
    char room[32];
    assert_int_equal(kvp_utf8_copy(room, size, text), strlen(head));
    assert_string_equal(room, head);
    assert_int_equal(kvp_utf8_copy_end(room, size, text), strlen(end));
    assert_string_equal(room, end);
}

static void test_a_copy_is_cut_between_characters(void **state)
{
    (void)state;
    check_copy(TEXT_OF("abcdefgh"), 9, "abcdefgh", "abcdefgh");
    check_copy(TEXT_OF("abcdefgh"), 8, "abcdefg", "...efgh");
    check_copy(TEXT_OF("\xc3\xb6\xc3\xb6\xc3\xb6\xc3\xb6"), 8, "\xc3\xb6\xc3\xb6\xc3\xb6",
               "...\xc3\xb6\xc3\xb6");
    check_copy(TEXT_OF("\xc3\xb6\xc3\xb6\xc3\xb6\xc3\xb6"), 7, "\xc3\xb6\xc3\xb6\xc3\xb6",
               "...\xc3\xb6");
    check_copy(TEXT_OF("\xf0\x9f\x92\xa1\xf0\x9f\x92\xa1"), 8, "\xf0\x9f\x92\xa1",
               "...\xf0\x9f\x92\xa1");
    check_copy(TEXT_OF("abc"), 1, "", "");
    check_copy(kvp_slice_of(NULL, 0), 8, "", "");
}

static void test_a_copy_is_valid_and_without_control_characters(void **state)
{
    (void)state;
    check_copy(TEXT_OF("a\n\0\x7f\xc2\x9b\xc2\xa0"), 32, "a    \xc2\xa0", "a    \xc2\xa0");
    check_copy(TEXT_OF("\xff\xc3x\xe2\x82"), 32, "??x??", "??x??");
    for (size_t size = 1; size < 32; size++) {
        char room[32];
        static const char text[] = "\xe2\x82\xac\xc3\xff\xf0\x9f\x92\xa1\x80\x80\x80\x80\x80\x80z";
        size_t length = kvp_utf8_copy(room, size, TEXT_OF(text));
        assert_true(length < size && kvp_utf8_is_valid(kvp_slice_of(room, length)));
        length = kvp_utf8_copy_end(room, size, TEXT_OF(text));
        assert_true(length < size && kvp_utf8_is_valid(kvp_slice_of(room, length)));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_characters_of_all_lengths_are_valid),
        cmocka_unit_test(test_what_is_no_character_is_not_valid),
        cmocka_unit_test(test_a_copy_is_cut_between_characters),
        cmocka_unit_test(test_a_copy_is_valid_and_without_control_characters),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
