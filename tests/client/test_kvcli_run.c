/* SPDX-License-Identifier: Apache-2.0 */
/* kvcli's exit statuses where the outcome of a command cannot be read or cannot be shown. */
#include "client/kvcli/kvcli.h"
#include "fake_server.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define ARGUMENTS_MAX 4

struct rig {
    struct fake_server server;
    struct kvcli cli;
    char *output;
    size_t output_size;
};

static void begin(struct rig *rig)
{
    kvp_client_options options;
    memset(rig, 0, sizeof(*rig));
    server_open(&rig->server, NULL);
    kvp_client_options_init(&options);
    options.nodes = rig->cli.nodes = server_url(&rig->server);
    options.timeout_ms = rig->cli.timeout_ms = 30000;
    rig->cli.commands = kvcli_commands;
    rig->cli.json = true;
    assert_int_equal(kvp_client_open(&options, &rig->cli.client, NULL, 0), KVP_OK);
}

static void end(struct rig *rig)
{
    kvp_client_close(rig->cli.client);
    server_close(&rig->server);
    free(rig->output);
}

/* Runs a command line of words and keeps what it prints; what it complains of goes nowhere. */
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
    stdout = open_memstream(&rig->output, &rig->output_size);
    stderr = fopen("/dev/null", "w");
    int code = kvcli_run(&rig->cli, argc, argv);
    fclose(stdout);
    fclose(stderr);
    stdout = out;
    stderr = errors;
    return code;
}

/* The file of a transaction that puts a key. */
static void write_txn(char *path, const char *value)
{
    char text[200];
    int size = snprintf(text, sizeof(text),
                        "{\"if\": [[\"a\", \"present\"]], \"then\": [[\"get\", \"a\"], "
                        "[\"delete\", \"none\"], [\"put\", \"t\", \"%s\"]]}",
                        value);
    int fd = mkstemp(path);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, (size_t)size), size);
    close(fd);
}

static void test_an_update_whose_answer_cannot_be_read_is_unknown(void **state)
{
    static struct rig rig;
    char path[] = "/tmp/kvpair-test-XXXXXX", txn[64];
    (void)state;
    begin(&rig);
    write_txn(path, "1");
    (void)snprintf(txn, sizeof(txn), "txn %s", path);
    const char *const lines[] = {"put a 1", "cas a 101 2", "create b 1", "delete b", txn};
    rig.server.garbling = rig.server.txn_succeeds = true;
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        uint64_t before = rig.server.revision;
        rig.cli.json = i % 2 == 0;
        assert_int_equal(run(&rig, lines[i]), EXIT_UNKNOWN);
        assert_true(rig.server.revision > before);
        assert_int_equal(rig.output_size, 0);
    }
    assert_int_equal(run(&rig, "get a"), EXIT_NOTHING); /* which changes nothing anyway */
    rig.server.garbling = false;
    assert_int_equal(run(&rig, "put a 1"), EXIT_DONE);
    (void)unlink(path);
    end(&rig);
}

static void test_every_command_knows_help_and_refuses_unknown_options(void **state)
{
    static struct rig rig;
    char line[80];
    (void)state;
    begin(&rig);
    for (const struct kvcli_command *command = kvcli_commands; command->name != NULL; command++) {
        for (const struct kvcli_command *verb = command->verbs == NULL ? command : command->verbs;
             verb->name != NULL; verb += command->verbs == NULL ? 0 : 1) {
            const char *group = command->verbs == NULL ? "" : command->name;
            const char *blank = command->verbs == NULL ? "" : " ";
            (void)snprintf(line, sizeof(line), "%s%s%s --help", group, blank, verb->name);
            assert_int_equal(run(&rig, line), EXIT_DONE);
            assert_non_null(strstr(rig.output, verb->name));
            assert_non_null(strstr(rig.output, verb->summary));
            (void)snprintf(line, sizeof(line), "%s%s%s --bogus", group, blank, verb->name);
            assert_int_equal(run(&rig, line), EXIT_USAGE);
            assert_int_equal(rig.output_size, 0);
            if (command->verbs == NULL) {
                break;
            }
        }
    }
    for (unsigned op = 0; op < SERVER_OPS; op++) {
        assert_int_equal(rig.server.requests[op], 0);
    }
    end(&rig);
}

static void test_what_stands_after_two_dashes_is_no_option(void **state)
{
    static struct rig rig;
    (void)state;
    begin(&rig);
    rig.cli.json = false;
    assert_int_equal(run(&rig, "put -- --help -x"), EXIT_DONE);
    assert_int_equal(run(&rig, "get -- --help"), EXIT_DONE);
    assert_string_equal(rig.output, "-x");
    assert_int_equal(run(&rig, "get --stale -- --help"), EXIT_DONE);
    assert_int_equal(run(&rig, "put k -5"), EXIT_DONE); /* a number is none, either */
    assert_int_equal(run(&rig, "get k"), EXIT_DONE);
    assert_string_equal(rig.output, "-5");
    assert_int_equal(run(&rig, "scan --keys --limit=1 -- --"), EXIT_DONE);
    assert_string_equal(rig.output, "--help\n");
    assert_int_equal(run(&rig, "scan --limit"), EXIT_USAGE);
    assert_int_equal(run(&rig, "scan --limit x"), EXIT_USAGE);
    assert_int_equal(run(&rig, "scan --keys=1"), EXIT_USAGE);
    end(&rig);
}

static void test_what_may_have_been_meant_is_named(void **state)
{
    static const char *const pairs[][2] = {
        {"GET", "get"},  {"gte", "get"}, {"del", "delete"},   {"rm", "delete"},
        {"set", "put"},  {"ls", "scan"}, {"staus", "status"}, {"hand-over", "handover"},
        {"xyzzy", NULL}, {"", NULL},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
        const char *nearest = kvcli_synonym(pairs[i][0]);
        nearest = nearest != NULL ? nearest : kvcli_nearest(kvcli_commands, pairs[i][0]);
        if (pairs[i][1] == NULL) {
            assert_null(nearest);
        } else {
            assert_non_null(nearest);
            assert_string_equal(nearest, pairs[i][1]);
        }
    }
    assert_string_equal(kvcli_nearest(kvcli_job_verbs, "shw"), "show");
}

/* A list of tasks with this one line; the exit status. */
static int submit_line(struct rig *rig, const char *line)
{
    char path[] = "/tmp/kvpair-test-XXXXXX", command[64];
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, line, strlen(line)), (ssize_t)strlen(line));
    (void)close(fd);
    (void)snprintf(command, sizeof(command), "job submit tasks %s", path);
    int code = run(rig, command);
    (void)unlink(path);
    return code;
}

static kvp_status make_jobs(void *arg, const struct kvp_request *request, kvp_buf *result)
{
    (void)arg;
    return request->op == KVP_OP_JOB_NEW ? kvp_wire_result_uint(result, 7) : KVP_OK;
}

static void test_a_line_that_is_no_task_is_refused(void **state)
{
    static struct rig rig;
    static const char *const lines[] = {
        "[{\"kind\":\"e\"}]",
        "[]",
        "1",
        "\"kind\"",
        "null",
        "true",
        "{}",
        "{\"kind\":1}",
        "{\"kind\":[\"e\"]}",
        "{\"kind\":\"e\",\"kind\":\"f\"}",
        "{\"kind\":\"e\",\"payload\":\"a\",\"payload\":\"b\"}",
        "{\"kind\":\"e\",\"\":1}",
        "{\"kind\":\"e\",\"payload\":1}",
        "{\"kind\":\"e\",\"payload\":[\"base64\"]}",
        "{\"kind\":\"e\",\"payload\":{}}",
        "{\"kind\":\"e\",\"payload\":{\"base64\":1}}",
        "{\"kind\":\"e\",\"payload\":{\"base64\":\"YQ==\",\"x\":1}}",
        "{\"kind\":\"e\",\"payload\":{\"base64\":\"YQ==\",\"base64\":\"Yg==\"}}",
        "{\"kind\":\"e\",\"file\":1}",
        "{\"kind\":\"e\",\"feed\":1}",
        "{\"kind\":\"e\",\"after\":0}",
        "{\"kind\":\"e\",\"after\":[0]}",
        "{\"kind\":\"e\",\"after\":[[0]]}",
        "{\"kind\":\"e\",\"after\":[-1]}",
        "{\"kind\":\"e\",\"after\":[\"1-\"]}",
        "{\"kind\":\"e\",\"after\":[\"4294967296-4294967296\"]}",
    };

    (void)state;
    begin(&rig);
    rig.server.serve_job = make_jobs;
    assert_int_equal(submit_line(&rig, "{\"kind\":\"e\",\"payload\":{\"base64\":\"YQ==\"}}"),
                     EXIT_DONE);
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        if (submit_line(&rig, lines[i]) != EXIT_USAGE) {
            fail_msg("taken: %s", lines[i]);
        }
    }
    end(&rig);
}

/* ---- short of memory ---- */

static atomic_long allowed; /* so many of cJSON's allocations are granted */

static void *allocate(size_t size)
{
    return atomic_fetch_sub(&allowed, 1) > 0 ? malloc(size) : NULL;
}

/* The n-th allocation for JSON fails, and all after it, for each n. The last run has enough, and
 * leaves what it prints. `failure`: the exit status wanted of a command that the node has executed;
 * one that has not come that far is as if it could not be understood. */
static void check_short_of_memory(struct rig *rig, const char *line, int failure, unsigned op)
{
    cJSON_Hooks hooks = {.malloc_fn = allocate, .free_fn = free};
    unsigned failures = 0;
    int code;

    do {
        unsigned executed = rig->server.requests[op];
        cJSON_InitHooks(&hooks);
        atomic_store(&allowed, failures);
        code = run(rig, line);
        bool enough = atomic_load(&allowed) >= 0;
        cJSON_InitHooks(NULL);
        bool sent = rig->server.requests[op] > executed;
        assert_int_equal(code, enough ? EXIT_DONE : sent ? failure : EXIT_USAGE);
        /* The table of status has a line for each trouble. */
        assert_true(enough || op == KVP_OP_STATUS || rig->output_size == 0);
        failures++;
    } while (code != EXIT_DONE);
    assert_true(failures > 3);
    assert_true(rig->output_size > 0 && rig->output[rig->output_size - 1] == '\n');
}

static void test_json_that_there_is_no_memory_for_is_a_failure(void **state)
{
    static struct rig rig;
    char path[] = "/tmp/kvpair-test-XXXXXX", txn[64];
    (void)state;
    begin(&rig);
    write_txn(path, "\xc3\xa4");
    (void)snprintf(txn, sizeof(txn), "txn %s", path);
    rig.server.txn_succeeds = true;
    assert_int_equal(run(&rig, "put a \xff"), EXIT_DONE); /* in JSON: base64 */
    check_short_of_memory(&rig, "get a", EXIT_NOTHING, KVP_OP_GET);
    assert_string_equal(rig.output, "{\"key\":\"a\",\"value\":{\"base64\":\"/w==\"},"
                                    "\"version\":101,\"create_revision\":101}\n");
    check_short_of_memory(&rig, "get --stale a", EXIT_NOTHING, KVP_OP_GET);
    assert_non_null(strstr(rig.output, ",\"behind\":5}"));
    check_short_of_memory(&rig, "scan", EXIT_NOTHING, KVP_OP_SCAN);
    assert_string_equal(rig.output,
                        "{\"key\":\"a\",\"version\":101,\"value\":{\"base64\":\"/w==\"}}\n");
    check_short_of_memory(&rig, "scan --keys", EXIT_NOTHING, KVP_OP_SCAN);
    assert_string_equal(rig.output, "{\"key\":\"a\",\"version\":101}\n");
    check_short_of_memory(&rig, txn, EXIT_UNKNOWN, KVP_OP_TXN);
    assert_non_null(strstr(rig.output, "{\"results\":[{\"value\":{\"base64\":\"/w==\"},"
                                       "\"version\":101},false,null],\"succeeded\":true,"));
    check_short_of_memory(&rig, "put b 1", EXIT_UNKNOWN, KVP_OP_PUT);
    assert_non_null(strstr(rig.output, "{\"version\":"));
    check_short_of_memory(&rig, "status", EXIT_NOTHING, KVP_OP_STATUS);
    assert_non_null(strstr(rig.output, "[{\"url\":\"tcp://127.0.0.1:"));
    rig.cli.json = false;
    check_short_of_memory(&rig, "status", EXIT_NOTHING, KVP_OP_STATUS);
    assert_non_null(strstr(rig.output, "ADDRESS"));
    (void)unlink(path);
    end(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_command_knows_help_and_refuses_unknown_options),
        cmocka_unit_test(test_what_stands_after_two_dashes_is_no_option),
        cmocka_unit_test(test_what_may_have_been_meant_is_named),
        cmocka_unit_test(test_a_line_that_is_no_task_is_refused),
        cmocka_unit_test(test_an_update_whose_answer_cannot_be_read_is_unknown),
        cmocka_unit_test(test_json_that_there_is_no_memory_for_is_a_failure),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
