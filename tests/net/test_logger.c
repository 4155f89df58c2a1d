/* SPDX-License-Identifier: Apache-2.0 */
/* Log lines: their form, and that nothing from outside can break it. */
#include "kvstore/base/logger.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

struct sink {
    unsigned lines;
    enum kvp_log_level level;
    char line[2048];
};

static void take_line(void *arg, enum kvp_log_level level, const char *line)
{
    struct sink *sink = arg;
    sink->lines++;
    sink->level = level;
    (void)snprintf(sink->line, sizeof(sink->line), "%s", line);
}

static void check_quoted(const char *text, const char *expected)
{
    char out[256];
    assert_string_equal(kvp_log_quote(out, sizeof(out), text), expected);
}

static void test_bare_words_are_not_quoted(void **state)
{
    (void)state;
    check_quoted("word", "word");
    check_quoted("tcp://127.0.0.1:7000", "tcp://127.0.0.1:7000");
    check_quoted("gr\xc3\xb6\xc3\x9f"
                 "e",
                 "gr\xc3\xb6\xc3\x9f"
                 "e");
}

static void test_whatever_could_end_a_value_is_quoted(void **state)
{
    (void)state;
    check_quoted("", "\"\"");
    check_quoted("two words", "\"two words\"");
    check_quoted("a=b", "\"a=b\"");
    check_quoted("say \"hi\"", "\"say \\\"hi\\\"\"");
    check_quoted("back\\slash", "\"back\\\\slash\"");
    check_quoted("line\nevent=forged", "\"line\\nevent=forged\"");
    check_quoted("\r\t\x01\x1b\x7f", "\"\\r\\t\\x01\\x1b\\x7f\"");
}

/* For every size of the buffer: within it, terminated, and never an open quote or half an escape.
 */
static void test_quoting_fits_any_buffer(void **state)
{
    (void)state;
    const char *texts[] = {"plain", "with blanks and \"quotes\"", "\n\n\n\n", "", "\x01\x02"};
    for (size_t t = 0; t < sizeof(texts) / sizeof(texts[0]); t++) {
        for (size_t size = 1; size < 40; size++) {
            char out[41];
            memset(out, 'X', sizeof(out));
            assert_ptr_equal(kvp_log_quote(out, size, texts[t]), out);
            size_t length = strnlen(out, size);
            assert_true(length < size);
            assert_int_equal(out[size], 'X');
            if (out[0] == '"') {
                assert_true(length >= 2);
                assert_int_equal(out[length - 1], '"');
                size_t backslashes = 0;
                while (out[length - 2 - backslashes] == '\\') {
                    backslashes++;
                }
                assert_int_equal(backslashes % 2, 0);
            }
        }
    }
}

static void test_a_line_has_time_level_node_and_event(void **state)
{
    (void)state;
    struct sink sink = {0};
    const struct kvp_logger logger = {KVP_LOG_INFO, 3, take_line, &sink};
    unsigned part[7];
    char rest[128];
    kvp_log(&logger, KVP_LOG_WARN, "view_changed", "epoch=%d primary=%d", 7, 2);
    assert_int_equal(sink.lines, 1);
    assert_int_equal(sink.level, KVP_LOG_WARN);
    assert_int_equal(sscanf(sink.line, "time=%4u-%2u-%2uT%2u:%2u:%2u.%3uZ %127[^\n]", &part[0],
                            &part[1], &part[2], &part[3], &part[4], &part[5], &part[6], rest),
                     8);
    assert_string_equal(rest, "level=warn node=3 event=view_changed epoch=7 primary=2");
}

static void test_a_line_without_node_and_fields_ends_with_the_event(void **state)
{
    (void)state;
    struct sink sink = {0};
    const struct kvp_logger logger = {KVP_LOG_INFO, 0, take_line, &sink};
    kvp_log(&logger, KVP_LOG_ERROR, "stopped", "%s", "");
    assert_non_null(strstr(sink.line, " level=error event=stopped"));
    assert_null(strstr(sink.line, "node="));
}

static void test_levels_above_the_loggers_are_not_written(void **state)
{
    (void)state;
    struct sink sink = {0};
    const struct kvp_logger logger = {KVP_LOG_WARN, 0, take_line, &sink};
    kvp_log(&logger, KVP_LOG_INFO, "a", "x=%d", 1);
    kvp_log(&logger, KVP_LOG_DEBUG, "b", "x=%d", 1);
    assert_int_equal(sink.lines, 0);
    kvp_log(&logger, KVP_LOG_WARN, "c", "x=%d", 1);
    kvp_log(&logger, KVP_LOG_ERROR, "d", "x=%d", 1);
    assert_int_equal(sink.lines, 2);
}

static void test_a_long_line_is_cut_and_stays_one_line(void **state)
{
    (void)state;
    struct sink sink = {0};
    const struct kvp_logger logger = {KVP_LOG_INFO, 1, take_line, &sink};
    char text[5000];
    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    kvp_log(&logger, KVP_LOG_INFO, "long", "text=%s", text);
    assert_true(strlen(sink.line) > 900 && strlen(sink.line) < 1100);
    kvp_log(&logger, KVP_LOG_INFO, "unquoted", "text=a\nb\x1b[2J");
    assert_null(strchr(sink.line, '\n'));
    assert_null(strchr(sink.line, '\x1b'));
    kvp_log(&logger, KVP_LOG_INFO, text, "x=%d", 1);
    assert_true(strlen(sink.line) < 1100);
}

/* Standard error is a pipe between these two. */
struct redirected {
    int saved;
    int read_end;
};

static struct redirected redirect(void)
{
    int ends[2];
    struct redirected redirected = {.saved = dup(STDERR_FILENO)};
    assert_true(redirected.saved >= 0);
    assert_int_equal(pipe(ends), 0);
    assert_true(dup2(ends[1], STDERR_FILENO) >= 0);
    close(ends[1]);
    redirected.read_end = ends[0];
    return redirected;
}

static void restore(struct redirected *redirected)
{
    assert_true(dup2(redirected->saved, STDERR_FILENO) >= 0);
    close(redirected->saved);
}

/* What one read(2) gets of the pipe, as text. */
static const char *read_pipe(struct redirected *redirected)
{
    static char text[128 * 1024];
    ssize_t got = read(redirected->read_end, text, sizeof(text) - 1);
    assert_true(got >= 0);
    text[got] = '\0';
    return text;
}

static void test_without_a_sink_a_line_goes_to_standard_error_in_one_write(void **state)
{
    (void)state;
    const struct kvp_logger logger = {KVP_LOG_INFO, 0, NULL, NULL};
    struct redirected redirected = redirect();
    kvp_log(&logger, KVP_LOG_INFO, "written", "x=%d", 1);
    restore(&redirected);
    const char *line = read_pipe(&redirected);
    assert_non_null(strstr(line, " event=written x=1\n"));
    assert_int_equal(line[strlen(line) - 1], '\n');
    close(redirected.read_end);
}

static size_t count_lines(const char *text)
{
    size_t lines = 0;
    for (; *text != '\0'; text++) {
        lines += *text == '\n';
    }
    return lines;
}

static void test_a_reader_that_stops_costs_lines_and_no_time(void **state)
{
    (void)state;
    const struct kvp_logger logger = {KVP_LOG_INFO, 7, NULL, NULL};
    struct redirected redirected = redirect();
    const size_t sent = 5000; /* far more than the pipe takes */
    alarm(20);                /* a logger that waits is ended */
    for (size_t i = 0; i < sent; i++) {
        kvp_log(&logger, KVP_LOG_INFO, "noise", "i=%zu", i);
    }
    alarm(0);
    const char *text = read_pipe(&redirected);
    size_t arrived = count_lines(text);
    assert_in_range(arrived, 10, sent - 1);
    assert_int_equal(text[strlen(text) - 1], '\n'); /* no half lines */
    kvp_log(&logger, KVP_LOG_INFO, "back", "x=%d", 1);
    kvp_log(&logger, KVP_LOG_INFO, "on", "x=%d", 2);
    restore(&redirected);
    char told[128];
    text = read_pipe(&redirected);
    (void)snprintf(told, sizeof(told), " level=warn node=7 event=log_lines_dropped count=%zu\n",
                   sent - arrived);
    assert_memory_equal(text, "time=", 5);
    assert_non_null(strstr(text, told));
    assert_true(strstr(text, told) < strstr(text, " event=back x=1\n"));
    assert_non_null(strstr(text, " event=on x=2\n"));
    assert_int_equal(count_lines(text), 3);
    close(redirected.read_end);
}

static void test_a_reader_that_is_gone_costs_nothing_but_lines(void **state)
{
    (void)state;
    const struct kvp_logger logger = {KVP_LOG_INFO, 0, NULL, NULL};
    struct redirected redirected = redirect();
    assert_true(signal(SIGPIPE, SIG_IGN) != SIG_ERR);
    close(redirected.read_end);
    kvp_log(&logger, KVP_LOG_INFO, "to_nobody", "x=%d", 1);
    close(STDERR_FILENO);
    kvp_log(&logger, KVP_LOG_INFO, "to_nothing", "x=%d", 1);
    restore(&redirected);
    redirected = redirect();
    kvp_log(&logger, KVP_LOG_INFO, "again", "%s", "");
    restore(&redirected);
    const char *text = read_pipe(&redirected);
    assert_non_null(strstr(text, " event=log_lines_dropped count=2\n"));
    assert_non_null(strstr(text, " event=again\n"));
    close(redirected.read_end);
}

static void test_only_the_four_levels_parse(void **state)
{
    (void)state;
    enum kvp_log_level level = KVP_LOG_ERROR;
    assert_int_equal(kvp_log_level_parse("debug", &level), KVP_OK);
    assert_int_equal(level, KVP_LOG_DEBUG);
    assert_int_equal(kvp_log_level_parse("error", &level), KVP_OK);
    assert_int_equal(level, KVP_LOG_ERROR);
    assert_int_equal(kvp_log_level_parse("warn", &level), KVP_OK);
    assert_int_equal(kvp_log_level_parse("Info", &level), KVP_BAD_ARGUMENT);
    assert_int_equal(kvp_log_level_parse("", &level), KVP_BAD_ARGUMENT);
    assert_int_equal(level, KVP_LOG_WARN);
    assert_int_equal(kvp_log_level_parse("info", &level), KVP_OK);
    assert_int_equal(level, KVP_LOG_INFO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bare_words_are_not_quoted),
        cmocka_unit_test(test_whatever_could_end_a_value_is_quoted),
        cmocka_unit_test(test_quoting_fits_any_buffer),
        cmocka_unit_test(test_a_line_has_time_level_node_and_event),
        cmocka_unit_test(test_a_line_without_node_and_fields_ends_with_the_event),
        cmocka_unit_test(test_levels_above_the_loggers_are_not_written),
        cmocka_unit_test(test_a_long_line_is_cut_and_stays_one_line),
        cmocka_unit_test(test_without_a_sink_a_line_goes_to_standard_error_in_one_write),
        cmocka_unit_test(test_a_reader_that_stops_costs_lines_and_no_time),
        cmocka_unit_test(test_a_reader_that_is_gone_costs_nothing_but_lines),
        cmocka_unit_test(test_only_the_four_levels_parse),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
