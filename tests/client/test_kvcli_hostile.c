/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kvcli and a server that says anything: no number overflows a buffer or stands for an index, no
 * text reaches the terminal with characters that it would obey, and what is printed for programs is
 * JSON.
 */
#include "client/kvcli/kvcli.h"
#include "fake_server.h"
#include "kvstore/base/utf8.h"
#include "replication/wire/mp_writer.h"

#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define ARGUMENTS_MAX 8
#define ESCAPE                                                                                     \
    "\x1b]0;owned\x07\x1b[2J\r\n\xc2\x9b"                                                          \
    "1m\xff\x80\0x"

/* The members that kvcli looks at; "?": something else. */
static const char *const members[] = {
    "id",
    "state",
    "type",
    "name",
    "tasks",
    "done",
    "running",
    "redone",
    "disagreements",
    "reason",
    "element",
    "rows",
    "inner",
    "columns",
    "tile_rows",
    "tile_inner",
    "tile_columns",
    "uploaded",
    "inputs",
    "combined",
    "outputs",
    "verify",
    "verified",
    "copies",
    "quorum",
    "copies_max",
    "waiting",
    "late",
    "elapsed_ms",
    "lost_votes",
    "silent_ms",
    "kinds",
    "results",
    "worker",
    "agreed",
    "overflow",
    "size",
    "digest",
    "progress",
    "ms",
    "task",
    "votes",
    "lost",
    "node",
    "role",
    "epoch",
    "primary",
    "in_sync",
    "applied",
    "serving",
    "doubt",
    "stores_set_aside",
    "diverged",
    "group_id",
    "url",
    "error",
    "peers",
    "arbiter",
    "?",
    "views",
};
#define MEMBER_COUNT (sizeof(members) / sizeof(members[0]))

struct rig {
    struct fake_server server;
    struct kvcli cli;
    char *output, *errors;
    size_t output_size, errors_size;
    unsigned value; /* which one all members have */
    unsigned looks; /* at the job: it ends after some */
    kvp_status status;
};

/* ---- what the server says ---- */

static void write_value(struct kvp_mp_writer *writer, unsigned value, unsigned depth)
{
    static const double doubles[] = {1e300, -1e300, DBL_MAX, -5, 0.3, 1e19, 1e-300};
    if (value < sizeof(doubles) / sizeof(doubles[0])) {
        kvp_mp_write_double(writer, doubles[value]);
        return;
    }
    switch (value - sizeof(doubles) / sizeof(doubles[0])) {
    case 0:
        kvp_mp_write_double(writer, (double)NAN);
        break;
    case 1:
        kvp_mp_write_double(writer, (double)INFINITY);
        break;
    case 2:
        kvp_mp_write_uint(writer, UINT64_MAX);
        break;
    case 3:
        kvp_mp_write_str(writer, kvp_slice_of(ESCAPE, sizeof(ESCAPE) - 1));
        break;
    case 4: {
        static char text[5000];
        memset(text, 'w', sizeof(text));
        kvp_mp_write_str(writer, kvp_slice_of(text, sizeof(text)));
        break;
    }
    case 5:
        kvp_mp_write_bool(writer, true);
        break;
    case 6:
        kvp_mp_write_nil(writer);
        break;
    case 7: /* lists of lists */
        kvp_mp_write_array(writer, depth < 2 ? 40 : 0);
        for (unsigned i = 0; i < 40 && depth < 2; i++) {
            write_value(writer, i % 2 == 0 ? value : value - 4, depth + 1);
        }
        break;
    case 8: /* of objects */
        kvp_mp_write_array(writer, 1);
        kvp_mp_write_map(writer, 9);
        kvp_mp_write_text(writer, "version");
        kvp_mp_write_uint(writer, 7);
        kvp_mp_write_text(writer, "at_ms");
        kvp_mp_write_uint(writer, UINT64_C(1) << 53);
        kvp_mp_write_text(writer, "unserved_ms");
        kvp_mp_write_uint(writer, UINT64_MAX);
        kvp_mp_write_text(writer, "reason");
        kvp_mp_write_str(writer, kvp_slice_of(ESCAPE, sizeof(ESCAPE) - 1));
        kvp_mp_write_text(writer, "cause");
        kvp_mp_write_str(writer, kvp_slice_of(ESCAPE, sizeof(ESCAPE) - 1));
        kvp_mp_write_text(writer, "in_sync");
        kvp_mp_write_array(writer, 20);
        for (unsigned i = 0; i < 20; i++) {
            kvp_mp_write_uint(writer, i % 2 == 0 ? 63 : UINT64_MAX);
        }
        kvp_mp_write_text(writer, "worker");
        kvp_mp_write_str(writer, kvp_slice_of(ESCAPE, sizeof(ESCAPE) - 1));
        kvp_mp_write_text(writer, "agreed");
        kvp_mp_write_bool(writer, true);
        kvp_mp_write_text(writer, "size");
        kvp_mp_write_double(writer, 1e300);
        break;
    default: /* a name like an escape sequence */
        kvp_mp_write_map(writer, 1);
        kvp_mp_write_str(writer, kvp_slice_of(ESCAPE, sizeof(ESCAPE) - 1));
        kvp_mp_write_uint(writer, 1);
        break;
    }
}
#define VALUE_COUNT 17u

static bool ends_job(const struct rig *rig, const char *member)
{
    return strcmp(member, "state") == 0 && rig->looks % 3 == 2;
}

static void write_map(struct rig *rig, struct kvp_mp_writer *writer)
{
    kvp_mp_write_map(writer, MEMBER_COUNT);
    for (size_t i = 0; i < MEMBER_COUNT; i++) {
        kvp_mp_write_text(writer, members[i]);
        bool state = strcmp(members[i], "state") == 0;
        if (state && !ends_job(rig, members[i])) {
            kvp_mp_write_text(writer, rig->looks % 3 == 0 ? "running" : "verifying");
        } else if (strcmp(members[i], "type") == 0 && rig->looks % 2 == 0) {
            kvp_mp_write_text(writer, "matmul");
        } else {
            write_value(writer, rig->value, 0);
        }
    }
    rig->looks++;
}

static kvp_status say_anything(void *arg, const struct kvp_request *request, kvp_buf *result)
{
    struct rig *rig = arg;
    struct kvp_mp_writer writer;
    if (rig->status != KVP_OK) {
        (void)kvp_wire_result_string(result, "a\x1b[31mb\nkvcli: done");
        return rig->status;
    }
    kvp_mp_write_begin(&writer, result);
    if (request->op == KVP_OP_JOB_INFO && request->job.what != KVP_INFO_JOB) {
        kvp_mp_write_array(&writer, 2);
        kvp_mp_write_uint(&writer, rig->value == 0 ? 1 : 0); /* the next page is this one */
        kvp_mp_write_array(&writer, 2);
        write_map(rig, &writer);
        write_map(rig, &writer);
    } else if (request->op == KVP_OP_STATUS || request->op == KVP_OP_JOB_INFO) {
        write_map(rig, &writer);
    } else {
        write_value(&writer, rig->value, 0);
    }
    return kvp_mp_write_end(&writer);
}

/* ---- running commands ---- */

static int run(struct rig *rig, const char *line)
{
    char words[256];
    char *argv[ARGUMENTS_MAX + 2] = {0};
    int argc = 0;
    FILE *out = stdout, *errors = stderr;

    (void)snprintf(words, sizeof(words), "%s", line);
    for (char *rest = NULL, *word = strtok_r(words, " ", &rest); word != NULL;
         word = strtok_r(NULL, " ", &rest)) {
        argv[argc++] = word;
    }
    free(rig->output);
    free(rig->errors);
    stdout = open_memstream(&rig->output, &rig->output_size);
    stderr = open_memstream(&rig->errors, &rig->errors_size);
    int code = kvcli_run(&rig->cli, argc, argv);
    fclose(stdout);
    fclose(stderr);
    stdout = out;
    stderr = errors;
    return code;
}

static void check_printable(const char *line, const char *text, size_t size)
{
    for (size_t i = 0, length; i < size; i += length) {
        length = kvp_utf8_character(kvp_slice_of(text + i, size - i));
        bool plain = text[i] == '\n' || text[i] == '\t' || kvcli_is_printable(text + i, length);
        if (length == 0 || !plain) {
            fail_msg("%s: byte %zu of the output is 0x%02x", line, i, (unsigned char)text[i]);
        }
    }
}

static void check_json(const char *line, const char *text, size_t size)
{
    const char *reason = "", *next = text;
    size_t at = 0;
    check_printable(line, text, size);
    while (next < text + size) {
        const char *end = memchr(next, '\n', size - (size_t)(next - text));
        end = end == NULL ? text + size : end;
        cJSON *item = kvcli_parse_json(kvp_slice_of(next, (size_t)(end - next)), &reason, &at);
        if (item == NULL) {
            fail_msg("%s: %s near byte %zu of: %.*s", line, reason, at, (int)(end - next), next);
        }
        cJSON_Delete(item);
        next = end + 1;
    }
}

static const char *const lines[] = {
    "status",        "doctor",
    "top --once",    "job list",
    "job show 1",    "job show 1 --tasks",
    "job workers",   "job wait 1",
    "job result 1",  "job result 1 --task 3",
    "job cancel 1",  "get a",
    "get --stale a", "put a b",
    "scan",          "delete a",
    "handover 2",    "events",
};

static void open_rig(struct rig *rig)
{
    kvp_client_options options;
    memset(rig, 0, sizeof(*rig));
    server_open(&rig->server, NULL);
    rig->server.serve_all = say_anything;
    rig->server.all_arg = rig;
    kvp_client_options_init(&options);
    rig->cli.commands = kvcli_commands;
    options.nodes = rig->cli.nodes = server_url(&rig->server);
    options.timeout_ms = rig->cli.timeout_ms = 20000;
    assert_int_equal(kvp_client_open(&options, &rig->cli.client, NULL, 0), KVP_OK);
}

static void close_rig(struct rig *rig)
{
    kvp_client_close(rig->cli.client);
    server_close(&rig->server);
    free(rig->output);
    free(rig->errors);
}

static void test_whatever_a_server_says_is_printed_safely(void **state)
{
    static struct rig rig;
    (void)state;
    open_rig(&rig);
    for (rig.value = 0; rig.value < VALUE_COUNT; rig.value++) {
        for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
            rig.cli.json = false;
            (void)run(&rig, lines[i]);
            /* Values are printed as they are. */
            bool value = strncmp(lines[i], "get", 3) == 0 || strstr(lines[i], "--task ") != NULL;
            check_printable(lines[i], rig.output, value ? 0 : rig.output_size);
            check_printable(lines[i], rig.errors, rig.errors_size);
            rig.cli.json = true;
            if (run(&rig, lines[i]) == EXIT_DONE) {
                check_json(lines[i], rig.output, rig.output_size);
            }
        }
    }
    close_rig(&rig);
}

static void test_a_servers_reason_is_one_line_without_commands_for_the_terminal(void **state)
{
    static struct rig rig;
    (void)state;
    open_rig(&rig);
    rig.status = KVP_REFUSED;
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        (void)run(&rig, lines[i]);
        check_printable(lines[i], rig.errors, rig.errors_size);
        const char *end = memchr(rig.errors, '\n', rig.errors_size);
        assert_true(end == NULL || end == rig.errors + rig.errors_size - 1);
    }
    close_rig(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_whatever_a_server_says_is_printed_safely),
        cmocka_unit_test(test_a_servers_reason_is_one_line_without_commands_for_the_terminal),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
