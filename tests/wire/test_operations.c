/* SPDX-License-Identifier: Apache-2.0 */
/* The table of operations (operations.h), held against its rows in docs/protocol.md:
 *     | number | NAME | args | result | answered by | session |   (clients')
 *     | number | NAME | args | ...                                (peers', the witness's)
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "replication/wire/wire.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COLUMNS_MAX 8

static const char *doc_path;

/* Cuts "| a | b |" into its cells, in place; returns how many. */
static unsigned split(char *line, char *cells[COLUMNS_MAX])
{
    unsigned count = 0;
    char *next = line + 2;
    for (char *end; count < COLUMNS_MAX && (end = strstr(next, " |")) != NULL; next = end + 3) {
        *end = '\0';
        cells[count++] = next;
        if (end[2] != ' ') {
            break;
        }
    }
    return count;
}

/* Elements of "key bin, value bin (with words, and commas)"; "none": 0. */
static unsigned count_args(const char *text)
{
    unsigned count = 1, depth = 0;
    for (const char *c = text; *c != '\0'; c++) {
        depth += *c == '(' || *c == '[' ? 1 : 0;
        depth -= *c == ')' || *c == ']' ? 1 : 0;
        count += *c == ',' && depth == 0 ? 1 : 0;
    }
    return strcmp(text, "none") == 0 ? 0 : count;
}

static const char *const sessions[] = {
    [KVP_SESSION_NO] = "no", [KVP_SESSION_MAY] = "may", [KVP_SESSION_YES] = "yes"};

static enum kvp_operation_served served_of(const char *text)
{
    return strcmp(text, "primary") == 0               ? KVP_SERVED_PRIMARY
           : strcmp(text, "primary; stale: any") == 0 ? KVP_SERVED_READ
                                                      : KVP_SERVED_NODE;
}

static void check_row(unsigned number, char *cells[COLUMNS_MAX], unsigned count)
{
    const struct kvp_operation *operation = kvp_operation_of(number);
    if (number >= KVP_OPERATIONS_END || operation->name == NULL) {
        fail_msg("%u %s is in the document only", number, cells[1]);
    }
    assert_string_equal(operation->name, cells[1]);
    if (count_args(cells[2]) != operation->args_min) {
        fail_msg("%s: \"%s\" are not %u elements", cells[1], cells[2], operation->args_min);
    }
    if (number >= KVP_OP_CLIENT_END) {
        return;
    }
    assert_int_equal(count, 6);
    if (served_of(cells[4]) != operation->served ||
        strcmp(cells[5], sessions[operation->session]) != 0) {
        fail_msg("%s: answered by \"%s\", session \"%s\" are others in the table", cells[1],
                 cells[4], cells[5]);
    }
}

static void test_every_row_of_the_document_is_in_the_table_and_the_other_way_round(void **state)
{
    bool told[KVP_OPERATIONS_END] = {false};
    char line[4096], *cells[COLUMNS_MAX];
    FILE *file = fopen(doc_path, "r");
    (void)state;
    assert_non_null(file);
    while (fgets(line, sizeof(line), file) != NULL) {
        unsigned number;
        char name[64], rest;
        if (sscanf(line, "| %u | %63[A-Z_] |%c", &number, name, &rest) != 3 ||
            strstr(line, " | ") == NULL || strlen(name) < 3 || number == 0) {
            continue;
        }
        unsigned count = split(line, cells);
        if (count < 4 && number < KVP_OP_CLIENT_END) {
            continue; /* a code, not an operation */
        }
        check_row(number, cells, count);
        told[number] = true;
    }
    fclose(file);
    for (unsigned op = 0; op < KVP_OPERATIONS_END; op++) {
        if (kvp_operations[op].name != NULL && !told[op]) {
            fail_msg("%s is not in the document", kvp_operations[op].name);
        }
    }
}

static void test_numbers_are_in_the_range_of_who_says_the_operation(void **state)
{
    (void)state;
    for (unsigned op = 0; op < KVP_OPERATIONS_END; op++) {
        const struct kvp_operation *operation = &kvp_operations[op];
        if (operation->name == NULL) {
            assert_null(kvp_operation_by(op, KVP_BY_CLIENT));
            continue;
        }
        assert_ptr_equal(kvp_operation_by(op, operation->by), operation);
        assert_int_equal(operation->by == KVP_BY_CLIENT, op < KVP_OP_CLIENT_END);
        assert_int_equal(operation->by == KVP_BY_PEER, KVP_OP_IS_PEER(op));
        assert_int_equal(operation->by == KVP_BY_WITNESS_USER, KVP_OP_IS_WITNESS(op));
        assert_int_equal(operation->is_job, op >= 16 && op < 48);
        assert_true(operation->args_min <= operation->args_max);
    }
    assert_null(kvp_operation_by(KVP_OPERATIONS_END, KVP_BY_WITNESS_USER));
    assert_null(kvp_operation_by(UINT32_MAX, KVP_BY_CLIENT));
    assert_null(kvp_operation_of(UINT32_MAX)->name);
}

static void test_only_what_changes_the_state_has_a_session(void **state)
{
    (void)state;
    for (unsigned op = 0; op < KVP_OPERATIONS_END; op++) {
        const struct kvp_operation *operation = &kvp_operations[op];
        assert_int_equal(operation->is_update, operation->session != KVP_SESSION_NO);
        assert_true(!operation->is_update || operation->served == KVP_SERVED_PRIMARY);
    }
}

/* With nothing but zeros in it each can be written or is refused for what it lacks. */
static void test_every_operation_of_clients_has_a_codec(void **state)
{
    (void)state;
    for (unsigned op = 0; op < KVP_OP_CLIENT_END; op++) {
        struct kvp_request request = {.op = op, .group = kvp_slice_of("g", 1)};
        kvp_buf out = {0};
        kvp_status status = kvp_wire_request_encode(&request, &out);
        bool known = kvp_operation_by(op, KVP_BY_CLIENT) != NULL;
        assert_int_equal(status == KVP_BAD_OP, !known);
        kvp_buf_free(&out);
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_row_of_the_document_is_in_the_table_and_the_other_way_round),
        cmocka_unit_test(test_numbers_are_in_the_range_of_who_says_the_operation),
        cmocka_unit_test(test_only_what_changes_the_state_has_a_session),
        cmocka_unit_test(test_every_operation_of_clients_has_a_codec),
    };
    if (argc != 2) {
        fprintf(stderr, "usage: test_operations PROTOCOL.MD\n");
        return 2;
    }
    doc_path = argv[1];
    return cmocka_run_group_tests(tests, NULL, NULL);
}
