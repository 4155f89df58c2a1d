/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The examples in docs/protocol.md are what this code speaks: each one is decoded, encoded again,
 * and made from nothing, and must be the same bytes every time. An example looks like this:
 *
 *     ```example NAME
 *     98 01     # hex bytes, with comments
 *     ```
 *
 * Requests that the page calls wrong are refused with the code that it names, for the reason that
 * it names: ```refused CODE REASON.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "replication/wire/wire.h"
#include "tests/wire/samples.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXAMPLES_MAX 128
#define REFUSED_MAX  64

struct example {
    char name[64]; /* of one that is refused: the code */
    char reason[80];
    kvp_buf bytes;
};

static const char *doc_path;
static struct example examples[EXAMPLES_MAX];
static size_t example_count;
static struct example refused[REFUSED_MAX];
static size_t refused_count;

static int digit_of(char character)
{
    const char *digits = "0123456789abcdef";
    const char *found = character == '\0' ? NULL : strchr(digits, character);
    return found == NULL ? -1 : (int)(found - digits);
}

/* Bytes of one line, up to the comment. */
static void parse_line(const char *line, kvp_buf *bytes)
{
    while (*line != '\0' && *line != '#') {
        if (isspace((unsigned char)*line)) {
            line++;
            continue;
        }
        int high = digit_of(line[0]);
        int low = high < 0 ? -1 : digit_of(line[1]);
        if (low < 0) {
            fail_msg("not two hex digits: %s", line);
        }
        uint8_t byte = (uint8_t)(high * 16 + low);
        assert_int_equal(kvp_buf_append(bytes, &byte, 1), KVP_OK);
        line += 2;
    }
}

static struct example *begin_example(const char *name)
{
    assert_true(example_count < EXAMPLES_MAX);
    struct example *example = &examples[example_count++];
    size_t size = strcspn(name, " \r\n");
    assert_true(size > 0 && size < sizeof(example->name));
    memcpy(example->name, name, size);
    return example;
}

static struct example *begin_refused(const char *heading)
{
    assert_true(refused_count < REFUSED_MAX);
    struct example *example = &refused[refused_count++];
    assert_int_equal(sscanf(heading, "%63s %79[^\n]", example->name, example->reason), 2);
    return example;
}

static int read_examples(void **state)
{
    char line[1024];
    static const char fence[] = "```example ", wrong[] = "```refused ";
    struct example *open = NULL;
    FILE *file = fopen(doc_path, "r");
    (void)state;
    if (file == NULL) {
        perror(doc_path);
        return -1;
    }
    while (fgets(line, sizeof(line), file) != NULL) {
        if (strncmp(line, fence, sizeof(fence) - 1) == 0) {
            open = begin_example(line + sizeof(fence) - 1);
        } else if (strncmp(line, wrong, sizeof(wrong) - 1) == 0) {
            open = begin_refused(line + sizeof(wrong) - 1);
        } else if (strncmp(line, "```", 3) == 0) {
            open = NULL;
        } else if (open != NULL) {
            parse_line(line, &open->bytes);
        }
    }
    (void)fclose(file);
    return 0;
}

static int free_examples(void **state)
{
    (void)state;
    for (size_t i = 0; i < example_count; i++) {
        kvp_buf_free(&examples[i].bytes);
    }
    for (size_t i = 0; i < refused_count; i++) {
        kvp_buf_free(&refused[i].bytes);
    }
    return 0;
}

static unsigned times_shown(const char *name)
{
    unsigned times = 0;
    for (size_t i = 0; i < example_count; i++) {
        times += strcmp(examples[i].name, name) == 0 ? 1 : 0;
    }
    return times;
}

static void test_every_message_has_one_example_and_every_example_is_known(void **state)
{
    (void)state;
    for (size_t i = 0; i < sample_count; i++) {
        if (times_shown(samples[i].name) != 1) {
            fail_msg("%s: %u examples in the document", samples[i].name,
                     times_shown(samples[i].name));
        }
    }
    for (size_t i = 0; i < example_count; i++) {
        if (sample_find(examples[i].name) == NULL) {
            fail_msg("%s: an example that no test knows", examples[i].name);
        }
    }
}

static void check_same(const char *name, const kvp_buf *documented, const kvp_buf *made)
{
    size_t at = 0;
    while (at < documented->size && at < made->size && documented->data[at] == made->data[at]) {
        at++;
    }
    if (documented->size != made->size || at < made->size) {
        fail_msg("%s: differs at byte %zu; %zu bytes in the document, %zu from the code", name, at,
                 documented->size, made->size);
    }
}

static void test_every_example_is_what_the_encoders_make(void **state)
{
    (void)state;
    for (size_t i = 0; i < example_count; i++) {
        const struct sample *sample = sample_find(examples[i].name);
        kvp_buf made = {0};
        assert_non_null(sample);
        sample->build(&made);
        check_same(sample->name, &examples[i].bytes, &made);
        kvp_buf_free(&made);
    }
}

static void test_every_example_is_understood_by_the_decoders(void **state)
{
    (void)state;
    for (size_t i = 0; i < example_count; i++) {
        const struct sample *sample = sample_find(examples[i].name);
        kvp_buf again = {0};
        assert_non_null(sample);
        assert_int_equal(sample_recode(sample->kind, kvp_buf_slice(&examples[i].bytes), &again),
                         KVP_OK);
        check_same(sample->name, &examples[i].bytes, &again);
        kvp_buf_free(&again);
    }
}

/* The row of the table of codes: "| 10 | `BAD_REQUEST` |". */
static int code_named(const char *document, const char *name)
{
    char cell[80];
    (void)snprintf(cell, sizeof(cell), " | `%.63s` |", name);
    const char *found = strstr(document, cell);
    while (found != NULL && found > document && found[-1] != '|') {
        found--;
    }
    return found != NULL ? (int)strtol(found, NULL, 10) : -1;
}

/* A table row that begins with the number and names it: "| 4 | NOT_PRIMARY |". */
static bool document_names_code(const char *document, int code)
{
    char row[32];
    (void)snprintf(row, sizeof(row), "\n| %d | `", code);
    const char *found = strstr(document, row);
    return found != NULL && isupper((unsigned char)found[strlen(row)]);
}

static void read_document(kvp_buf *document)
{
    char part[4096];
    size_t size;
    FILE *file = fopen(doc_path, "r");
    assert_non_null(file);
    while ((size = fread(part, 1, sizeof(part), file)) > 0) {
        assert_int_equal(kvp_buf_append(document, part, size), KVP_OK);
    }
    (void)fclose(file);
    assert_int_equal(kvp_buf_append(document, "", 1), KVP_OK);
}

static void test_every_wrong_example_is_refused_for_the_reason_that_is_named(void **state)
{
    static struct kvp_txn_scratch scratch;
    kvp_buf document = {0};
    (void)state;
    read_document(&document);
    assert_true(refused_count >= 10);
    for (size_t i = 0; i < refused_count; i++) {
        const struct example *wrong = &refused[i];
        struct kvp_request request;
        const char *reason = "";
        kvp_status status =
            kvp_wire_request_decode(kvp_buf_slice(&wrong->bytes), &scratch, &request, &reason);
        if (-status != code_named((const char *)document.data, wrong->name) ||
            strcmp(reason, wrong->reason) != 0) {
            fail_msg("not %s (%s): code %d, %s", wrong->name, wrong->reason, -status, reason);
        }
    }
    kvp_buf_free(&document);
}

static void test_every_code_is_in_the_table(void **state)
{
    kvp_buf document = {0};
    (void)state;
    read_document(&document);
    int code = 0;
    for (; strcmp(kvp_strerror(-code), "unknown status") != 0; code++) {
        if (!document_names_code((const char *)document.data, code)) {
            fail_msg("code %d (%s) is not in the document", code, kvp_strerror(-code));
        }
    }
    assert_true(code > 30);
    kvp_buf_free(&document);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_message_has_one_example_and_every_example_is_known),
        cmocka_unit_test(test_every_example_is_what_the_encoders_make),
        cmocka_unit_test(test_every_example_is_understood_by_the_decoders),
        cmocka_unit_test(test_every_wrong_example_is_refused_for_the_reason_that_is_named),
        cmocka_unit_test(test_every_code_is_in_the_table),
    };
    if (argc != 2) {
        fprintf(stderr, "usage: test_protocol_doc PROTOCOL.MD\n");
        return 2;
    }
    doc_path = argv[1];
    return cmocka_run_group_tests(tests, read_examples, free_examples);
}
