/* SPDX-License-Identifier: Apache-2.0 */
/* Rights as text, as lists and in the record; what a right covers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "replication/access/rights_record.h"

#include <stdio.h>
#include <string.h>

static kvp_slice slice(const char *text)
{
    return kvp_slice_of(text, strlen(text));
}

/* ---- text ---- */

static void check_text(const char *text, const char *printed)
{
    uint8_t room[KVP_KEY_SIZE_MAX];
    struct kvp_right right;
    const char *reason = NULL;
    kvp_buf out = {0};
    kvp_status status = kvp_right_parse(slice(text), room, &right, &reason);
    if (printed == NULL) {
        assert_int_equal(status, KVP_BAD_ARGUMENT);
        assert_non_null(reason);
        return;
    }
    assert_int_equal(status, KVP_OK);
    assert_int_equal(kvp_right_print(&right, &out), KVP_OK);
    assert_int_equal(out.size, strlen(printed));
    assert_memory_equal(out.data, printed, out.size);
    kvp_buf_free(&out);
}

static void test_a_right_is_read_and_printed(void **state)
{
    (void)state;
    check_text("read app/", "read app/");
    check_text("write ", "write ");
    check_text("read a b", "read a%20b");
    check_text("read %00%ff\n%25", "read %00%ff%0a%25");
    check_text("work matmul*", "work matmul*");
    check_text("submit", "submit");
    check_text("admin", "admin");
}

static void test_what_is_no_right_is_refused(void **state)
{
    static const char *const bad[] = {"",         "read",   "reads x",  "submit x",
                                      "work",     "work ",  "read %",   "read %0",
                                      "read %0g", "admin ", "observe x"};
    char text[KVP_KEY_SIZE_MAX + 8] = "read ";
    (void)state;
    for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        check_text(bad[i], NULL);
    }
    memset(text + 5, 'x', KVP_KEY_SIZE_MAX + 1);
    check_text(text, NULL);
    text[5 + KVP_KEY_SIZE_MAX] = '\0';
    check_text(text, text);
    (void)snprintf(text, sizeof(text), "work %065d", 0);
    check_text(text, NULL);
}

/* ---- ranges ---- */

static void check_range(const char *of, const char *start, const char *end, bool covered)
{
    assert_int_equal(kvp_right_covers_range(slice(of), slice(start), slice(end)), covered);
}

static void test_a_range_is_covered_as_a_whole_or_not_at_all(void **state)
{
    (void)state;
    check_range("", "", "", true);
    check_range("", "a", "b", true);
    check_range("a", "a", "b", true);
    check_range("a", "a", "ab", true);
    check_range("a", "ax", "b", true);
    check_range("a", "a", "c", false);
    check_range("a", "a", "b\x01", false);
    check_range("a", "a", "", false);
    check_range("a", "", "b", false);
    check_range("a", "b", "b", false);
    check_range("ab", "a", "ac", false);
    check_range("a\xff", "a\xff", "b", true);
    check_range("a\xff", "a\xff", "a\xff\xff", true);
    check_range("a\xff", "a\xff", "b\x01", false);
    check_range("\xff", "\xff", "", true);
    check_range("\xff", "\xff\x01", "\xff\x02", true);
    check_range("\xff\xff", "\xff\xff", "", true);
    assert_true(kvp_right_covers_key(slice("a"), slice("abc")));
    assert_true(kvp_right_covers_key(slice("a"), slice("a")));
    assert_false(kvp_right_covers_key(slice("ab"), slice("a")));
}

/* ---- the record ---- */

static void change(kvp_buf *record, const char *name, bool grant, const char *text)
{
    uint8_t room[KVP_KEY_SIZE_MAX];
    struct kvp_right right;
    const char *reason;
    kvp_buf list = {0}, out = {0};
    if (text != NULL) {
        assert_int_equal(kvp_right_parse(slice(text), room, &right, &reason), KVP_OK);
        assert_int_equal(kvp_rights_append(&list, &right), KVP_OK);
    }
    struct kvp_rights_change wanted = {slice(name), grant, kvp_buf_slice(&list)};
    assert_int_equal(kvp_rights_record_change(kvp_buf_slice(record), &wanted, &out, &reason),
                     KVP_OK);
    kvp_buf_free(&list);
    kvp_buf_free(record);
    *record = out;
}

/* "read a,submit" */
static void check_rights(const kvp_buf *record, const char *name, const char *expected)
{
    struct kvp_rights_table table = {0};
    struct kvp_right right;
    kvp_buf out = {0};
    assert_int_equal(kvp_rights_table_load(&table, kvp_buf_slice(record)), KVP_OK);
    kvp_slice list = kvp_rights_table_find(&table, slice(name));
    while (kvp_rights_next(&list, &right)) {
        assert_int_equal(kvp_buf_append(&out, ",", out.size > 0 ? 1 : 0), KVP_OK);
        assert_int_equal(kvp_right_print(&right, &out), KVP_OK);
    }
    assert_int_equal(kvp_buf_append(&out, "", 1), KVP_OK);
    assert_string_equal((const char *)out.data, expected);
    kvp_buf_free(&out);
    kvp_rights_table_free(&table);
}

static void test_rights_are_given_and_taken(void **state)
{
    kvp_buf record = {0};
    (void)state;
    check_rights(&record, "user/ann", "");
    change(&record, "user/ann", true, "read a");
    change(&record, "user/zoe", true, "submit");
    change(&record, "user/bob", true, "admin");
    change(&record, "user/ann", true, "write a");
    change(&record, "user/ann", true, "read a"); /* once more */
    check_rights(&record, "user/ann", "write a,read a");
    check_rights(&record, "user/bob", "admin");
    check_rights(&record, "user/zoe", "submit");
    check_rights(&record, "user/an", "");
    change(&record, "user/ann", false, "read a");
    change(&record, "user/ann", false,
           "read"
           " b"); /* which he has not */
    check_rights(&record, "user/ann", "write a");
    change(&record, "user/zoe", false, NULL);
    change(&record, "user/nobody", false, NULL);
    check_rights(&record, "user/zoe", "");
    change(&record, "user/ann", false, "write a");
    change(&record, "user/bob", false, "admin");
    assert_int_equal(record.size, 1); /* its version */
    kvp_buf_free(&record);
}

static void test_a_record_that_is_not_understood_gives_no_right(void **state)
{
    kvp_buf record = {0};
    struct kvp_rights_table table = {0};
    (void)state;
    change(&record, "user/ann", true, "read a");
    change(&record, "user/bob", true, "admin");
    for (size_t size = 2; size < record.size; size++) {
        kvp_status status = kvp_rights_table_load(&table, kvp_slice_of(record.data, size));
        kvp_slice list = kvp_rights_table_find(&table, slice("user/bob"));
        assert_int_equal(list.size, 0);
        assert_true(status == KVP_CORRUPT || size == 16);
    }
    assert_int_equal(kvp_rights_table_load(&table, kvp_buf_slice(&record)), KVP_OK);
    assert_true(kvp_rights_table_find(&table, slice("user/bob")).size > 0);
    record.data[0] = 2;
    assert_int_equal(kvp_rights_table_load(&table, kvp_buf_slice(&record)), KVP_BAD_VERSION);
    assert_int_equal(kvp_rights_table_find(&table, slice("user/bob")).size, 0);
    record.data[0] = 1;
    record.data[record.size - 3] = 99; /* a right that is not known */
    assert_int_equal(kvp_rights_table_load(&table, kvp_buf_slice(&record)), KVP_CORRUPT);
    kvp_rights_table_free(&table);
    kvp_buf_free(&record);
}

static void test_rights_have_bounds(void **state)
{
    kvp_buf record = {0}, list = {0}, out = {0};
    const char *reason = NULL;
    (void)state;
    for (unsigned i = 0; i < KVP_RIGHTS_OF_ONE_MAX + 1; i++) {
        char prefix[8];
        (void)snprintf(prefix, sizeof(prefix), "%u", i);
        const struct kvp_right right = {KVP_RIGHT_READ, slice(prefix)};
        assert_int_equal(kvp_rights_append(&list, &right), KVP_OK);
    }
    const struct kvp_rights_change many = {slice("user/ann"), true, kvp_buf_slice(&list)};
    assert_int_equal(kvp_rights_record_change(kvp_buf_slice(&record), &many, &out, &reason),
                     KVP_TOO_LARGE);
    assert_non_null(reason);
    assert_int_equal(out.size, 0);
    kvp_buf_free(&list);
    kvp_buf_free(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_right_is_read_and_printed),
        cmocka_unit_test(test_what_is_no_right_is_refused),
        cmocka_unit_test(test_a_range_is_covered_as_a_whole_or_not_at_all),
        cmocka_unit_test(test_rights_are_given_and_taken),
        cmocka_unit_test(test_a_record_that_is_not_understood_gives_no_right),
        cmocka_unit_test(test_rights_have_bounds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
