/* SPDX-License-Identifier: Apache-2.0 */
/* kvcli: bytes for people and programs, and back. */
#include "client/kvcli/kvcli.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* kvcli.c has the real one. */
int kvcli_complain(const char *format, ...)
{
    (void)format;
    fail_msg("a complaint");
    return EXIT_USAGE;
}

static kvp_slice text(const char *string)
{
    return kvp_slice_of(string, strlen(string));
}

/* ---- JSON ---- */

/* The item as text, and back again to the same bytes. */
static void check_json(kvp_slice bytes, const char *wanted)
{
    cJSON *item = kvcli_json_bytes(bytes);
    kvp_buf back = {0};

    assert_non_null(item);
    char *printed = cJSON_PrintUnformatted(item);
    if (wanted != NULL) {
        assert_string_equal(printed, wanted);
    }
    cJSON *parsed = cJSON_Parse(printed);
    assert_non_null(parsed);
    assert_true(kvcli_bytes_of_json(parsed, &back));
    assert_int_equal(kvp_slice_compare(kvp_buf_slice(&back), bytes), 0);
    kvp_buf_free(&back);
    cJSON_free(printed);
    cJSON_Delete(parsed);
    cJSON_Delete(item);
}

/* The vectors of RFC 4648; a byte in front that is no text. */
static void test_base64(void **state)
{
    (void)state;
    check_json(text(""), "\"\"");
    check_json(kvp_slice_of(NULL, 0), "\"\"");
    check_json(kvp_slice_of("\0", 1), "{\"base64\":\"AA==\"}");
    check_json(text("\xff"), "{\"base64\":\"/w==\"}");
    check_json(text("\xff\xfe"), "{\"base64\":\"//4=\"}");
    check_json(text("\xff\xfe\xfd"), "{\"base64\":\"//79\"}");
    check_json(text("\xff"
                    "foobar"),
               "{\"base64\":\"/2Zvb2Jhcg==\"}");
    check_json(kvp_slice_of("a\0b", 3), "{\"base64\":\"YQBi\"}");
}

static void test_bytes_of_every_length_come_back(void **state)
{
    (void)state;
    uint8_t bytes[300];
    uint32_t random = 1;
    for (size_t size = 0; size <= sizeof(bytes); size++) {
        for (unsigned round = 0; round < 4; round++) {
            for (size_t i = 0; i < size; i++) {
                random = random * 1664525 + 1013904223;
                bytes[i] = (uint8_t)(round == 0 ? 0xff : random >> 24);
            }
            check_json(kvp_slice_of(bytes, size), NULL);
        }
    }
}

static void test_what_is_no_base64_is_refused(void **state)
{
    (void)state;
    static const char *const wrong[] = {
        "A",    "AA",   "AAA",      "AAAAA",    "=",    "==",    "===",  "====",    "A===",
        "AA=A", "=AAA", "AAA=AAAA", "AA==AA==", "AA A", "AA\n=", "AA-_", "AAA\xc3", "A\xc3\xa4="};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        /* Of exactly its size: a sanitizer sees who reads beside it. */
        char *copy = strdup(wrong[i]);
        cJSON *object = cJSON_CreateObject();
        kvp_buf bytes = {0};
        cJSON_AddItemToObject(object, "base64", cJSON_CreateStringReference(copy));
        if (kvcli_bytes_of_json(object, &bytes)) {
            fail_msg("'%s' was taken", wrong[i]);
        }
        kvp_buf_free(&bytes);
        cJSON_Delete(object);
        free(copy);
    }
}

static void test_other_json_is_no_bytes(void **state)
{
    (void)state;
    static const char *const wrong[] = {"1",  "null",    "true",           "[]",
                                        "{}", "[\"a\"]", "{\"base64\":1}", "{\"BASE64\":\"AAAA\"}"};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        cJSON *item = cJSON_Parse(wrong[i]);
        kvp_buf bytes = {0};
        assert_non_null(item);
        assert_false(kvcli_bytes_of_json(item, &bytes));
        kvp_buf_free(&bytes);
        cJSON_Delete(item);
    }
}

static void check_refused(kvp_slice bytes, const char *word)
{
    const char *reason = NULL;
    size_t at = 0;
    char *copy = malloc(bytes.size == 0 ? 1 : bytes.size); /* a sanitizer sees reads beside it */

    memcpy(copy, bytes.data, bytes.size);
    if (kvcli_parse_json(kvp_slice_of(copy, bytes.size), &reason, &at) != NULL) {
        fail_msg("'%.*s' was taken", (int)bytes.size, copy);
    }
    assert_non_null(strstr(reason, word));
    assert_true(at <= bytes.size);
    free(copy);
}

static void check_taken(const char *string)
{
    const char *reason = NULL;
    size_t at = 0;
    cJSON *root = kvcli_parse_json(text(string), &reason, &at);

    if (root == NULL) {
        fail_msg("'%s' was refused: %s", string, reason);
    }
    cJSON_Delete(root);
}

static void test_json_is_all_of_the_text(void **state)
{
    (void)state;
    check_taken("{}");
    check_taken(" [1] \t\r\n ");
    check_taken("1\n");
    check_refused(text(""), "malformed");
    check_refused(text(" \n"), "malformed");
    check_refused(text("{\"a\""), "malformed");
    check_refused(text("{} x"), "follows");
    check_refused(text("{}{}"), "follows");
    check_refused(text("[1]\n]"), "follows");
    check_refused(text("{},"), "follows");
    check_refused(text("{}\f"), "follows");
}

/* They would be cut there without a word. */
static void test_strings_with_zero_bytes_are_refused(void **state)
{
    (void)state;
    check_refused(text("[\"a\\u0000b\"]"), "base64");
    check_refused(text("[\"\\u0000\"]"), "base64");
    check_refused(text("[\"\\\\\\u0000\"]"), "base64"); /* behind a backslash */
    check_refused(text("[\"\\\"\\u0000\"]"), "base64");
    check_refused(text("{\"a\\u0000\":1}"), "base64");
    check_refused(kvp_slice_of("[\"a\0b\"]", 7), "base64");
    check_refused(kvp_slice_of("{}\0", 3), "base64");
    check_refused(kvp_slice_of("[\"\\\0\"]", 6), "base64");
    check_refused(text("[\"\\u0000"), "base64");
    check_refused(text("[\"\\u000"), "malformed");
    check_refused(text("[\"\\"), "malformed");
    check_taken("[\"\\\\u0000\"]"); /* the backslash is escaped: text */
    check_taken("[\"\\\\\\\\u0000\"]");
    check_taken("[\"u0000 \\u0001 \\n0000\"]");
    check_taken("[\"\\u1000 0000\"]");
}

/* ---- UTF-8 ---- */

static const char *const good_text[] = {"a",
                                        "\x7f",
                                        "\xc2\x80",
                                        "\xc3\xa4",
                                        "\xdf\xbf",
                                        "\xe0\xa0\x80",
                                        "\xe2\x82\xac",
                                        "\xed\x9f\xbf",
                                        "\xee\x80\x80",
                                        "\xef\xbf\xbf",
                                        "\xf0\x90\x80\x80",
                                        "\xf0\x9f\x98\x80",
                                        "\xf4\x8f\xbf\xbf",
                                        "\xc3\xa4"
                                        "a"
                                        "\xe2\x82\xac"};
static const char *const bad_text[] = {"\x80",
                                       "\xbf",
                                       "\xc0\x80",
                                       "\xc1\xbf", /* alone; too long a form */
                                       "\xe0\x80\x80",
                                       "\xe0\x9f\xbf", /* too long */
                                       "\xf0\x80\x80\x80",
                                       "\xf0\x8f\xbf\xbf",
                                       "\xed\xa0\x80",
                                       "\xed\xbf\xbf", /* surrogates */
                                       "\xf4\x90\x80\x80",
                                       "\xf5\x80\x80\x80",
                                       "\xf8\x88\x80\x80\x80",
                                       "\xff", /* beyond the end */
                                       "\xc3",
                                       "\xe2\x82",
                                       "\xf0\x9f\x98",
                                       "a\xc3", /* cut off */
                                       "\xc3"
                                       "a",
                                       "\xe2\x82"
                                       "a",
                                       "\xe2"
                                       "a\xac",
                                       "\xf0\x9f"
                                       "a\x80",
                                       "\xc3\xc3\xa4"};

static void test_only_utf8_is_text(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(good_text) / sizeof(good_text[0]); i++) {
        cJSON *item = kvcli_json_bytes(text(good_text[i]));
        assert_true(cJSON_IsString(item));
        cJSON_Delete(item);
        check_json(text(good_text[i]), NULL);
    }
    for (size_t i = 0; i < sizeof(bad_text) / sizeof(bad_text[0]); i++) {
        cJSON *item = kvcli_json_bytes(text(bad_text[i]));
        if (!cJSON_IsObject(item)) {
            fail_msg("number %zu was taken for text", i);
        }
        cJSON_Delete(item);
        check_json(text(bad_text[i]), NULL);
    }
}

/* ---- escaping ---- */

/* What is printed; the caller frees it. */
static char *escaped(kvp_slice bytes)
{
    char *printed = NULL;
    size_t size = 0;
    FILE *terminal = stdout;

    stdout = open_memstream(&printed, &size);
    kvcli_print_escaped(bytes);
    fclose(stdout);
    stdout = terminal;
    assert_int_equal(strlen(printed), size);
    return printed;
}

static void check_escaped(kvp_slice bytes, const char *wanted)
{
    char *printed = escaped(bytes);
    assert_string_equal(printed, wanted);
    free(printed);
}

static void test_what_cannot_be_shown_is_escaped(void **state)
{
    (void)state;
    check_escaped(text("plain text"), "plain text");
    check_escaped(text("\t\n\r\\"), "\\t\\n\\r\\\\");
    check_escaped(text("tnr"), "tnr");
    check_escaped(kvp_slice_of("a\0b", 3), "a\\x00b");
    check_escaped(text("\x1b[2J\x7f"), "\\x1b[2J\\x7f");
    check_escaped(text("\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80"),
                  "\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80");
    check_escaped(text("\xff\xc3"), "\\xff\\xc3");
    check_escaped(text("\xed\xa0\x80"), "\\xed\\xa0\\x80");
    /* U+0080 to U+009F: terminals take U+009B for the beginning of a command. */
    check_escaped(text("\xc2\x9b"
                       "2J\xc2\x80\xc2\x9f\xc2\xa0"),
                  "\\xc2\\x9b2J\\xc2\\x80\\xc2\\x9f\xc2\xa0");
}

static unsigned hex(const char *digits)
{
    char two[3] = {digits[0], digits[1], '\0'};
    return (unsigned)strtoul(two, NULL, 16);
}

/* Different bytes never look the same: they can be got back from what is printed. */
static void check_unescapes(kvp_slice bytes)
{
    char *printed = escaped(bytes);
    const uint8_t *next = bytes.data;
    assert_null(strpbrk(printed, "\n\t\r\x1b"));
    for (const char *c = printed; *c != '\0'; c++, next++) {
        unsigned byte = (uint8_t)*c;
        if (*c == '\\') {
            c++;
            byte = *c == 'x'   ? hex(c + 1)
                   : *c == 't' ? '\t'
                   : *c == 'n' ? '\n'
                   : *c == 'r' ? '\r'
                               : '\\';
            c += *c == 'x' ? 2 : 0;
        }
        assert_int_equal(byte, *next);
    }
    assert_true(next == (const uint8_t *)bytes.data + bytes.size);
    free(printed);
}

static void test_escaped_bytes_can_be_told_apart(void **state)
{
    (void)state;
    uint8_t bytes[64];
    uint32_t random = 7;
    for (unsigned round = 0; round < 2000; round++) {
        for (size_t i = 0; i < sizeof(bytes); i++) {
            random = random * 1664525 + 1013904223;
            bytes[i] = (uint8_t)(random >> 24);
        }
        check_unescapes(kvp_slice_of(bytes, round % sizeof(bytes)));
    }
}

/* ---- numbers ---- */

static void test_numbers(void **state)
{
    (void)state;
    static const char *const wrong[] = {"",
                                        " 1",
                                        "1 ",
                                        "+1",
                                        "-1",
                                        "0x10",
                                        "1.0",
                                        "1e3",
                                        "a",
                                        "18446744073709551616",
                                        "99999999999999999999999"};
    uint64_t number = 0;
    assert_true(kvcli_parse_number("18446744073709551615", UINT64_MAX, &number));
    assert_true(number == UINT64_MAX);
    assert_true(kvcli_parse_number("010", 10, &number) && number == 10);
    assert_false(kvcli_parse_number("11", 10, &number));
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        assert_false(kvcli_parse_number(wrong[i], UINT64_MAX, &number));
    }
    cJSON *item = kvcli_json_number(UINT64_MAX);
    char *printed = cJSON_PrintUnformatted(item);
    assert_string_equal(printed, "18446744073709551615");
    cJSON_free(printed);
    cJSON_Delete(item);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_base64),
        cmocka_unit_test(test_bytes_of_every_length_come_back),
        cmocka_unit_test(test_what_is_no_base64_is_refused),
        cmocka_unit_test(test_other_json_is_no_bytes),
        cmocka_unit_test(test_json_is_all_of_the_text),
        cmocka_unit_test(test_strings_with_zero_bytes_are_refused),
        cmocka_unit_test(test_only_utf8_is_text),
        cmocka_unit_test(test_what_cannot_be_shown_is_escaped),
        cmocka_unit_test(test_escaped_bytes_can_be_told_apart),
        cmocka_unit_test(test_numbers),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
