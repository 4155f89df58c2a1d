/* SPDX-License-Identifier: Apache-2.0 */
/* What kvworker does with one task: local programs as handlers, products, and its command line. */
#include "client/kvworker/kvworker.h"
#include "kvpair/matrix.h"
#include "kvstore/keyspace.h"
#include "kvstore/base/clock.h"

#include <getopt.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

/* There is no worker here that could be told to stop. */
bool kvworker_pause(struct kvworker_slot *slot, uint32_t ms)
{
    (void)slot;
    (void)ms;
    return true;
}

/* ---- handlers ---- */

struct outcome {
    enum kvworker_ending ending;
    kvp_buf output;
    char reason[KVWORKER_REASON_MAX + 1];
    uint64_t took_ms;
};

static const char *const no_variables[] = {NULL};

static struct kvworker_order order_of(const char *command, const char *input)
{
    return (struct kvworker_order){
        .command = command,
        .input = kvp_slice_of(input, strlen(input)),
        .variables = no_variables,
        .output_max = 1000,
        .cancel = -1,
    };
}

static struct outcome run(const struct kvworker_order *order)
{
    struct outcome outcome = {0};
    uint64_t begin_us = kvp_clock_now_us();
    outcome.ending = kvworker_handler_run(order, &outcome.output, outcome.reason);
    outcome.took_ms = (kvp_clock_now_us() - begin_us) / 1000;
    assert_true(strlen(outcome.reason) <= KVWORKER_REASON_MAX);
    return outcome;
}

static void check_done(const char *command, const char *input, const char *expected)
{
    struct kvworker_order order = order_of(command, input);
    struct outcome outcome = run(&order);
    assert_string_equal(outcome.reason, "");
    assert_int_equal(outcome.ending, KVWORKER_HANDLER_DONE);
    assert_int_equal(outcome.output.size, strlen(expected));
    assert_memory_equal(outcome.output.data == NULL ? (uint8_t *)"" : outcome.output.data, expected,
                        strlen(expected));
    kvp_buf_free(&outcome.output);
}

static void check_failed(const struct kvworker_order *order, const char *reason)
{
    struct outcome outcome = run(order);
    assert_int_equal(outcome.ending, KVWORKER_HANDLER_FAILED);
    assert_string_equal(outcome.reason, reason);
    kvp_buf_free(&outcome.output);
}

static void check_fails(const char *command, const char *reason)
{
    struct kvworker_order order = order_of(command, "");
    check_failed(&order, reason);
}

static void test_what_a_handler_writes_is_the_result(void **state)
{
    (void)state;
    check_done("cat", "some text\n", "some text\n");
    check_done("tr a-z A-Z", "abc", "ABC");
    check_done("true", "ignored", "");
    check_done("printf x; exec >&-; sleep 0.05", "", "x"); /* it may close its output early */
    check_done("echo good; echo not said >&2", "", "good\n");
}

static void test_a_handler_is_told_about_its_task(void **state)
{
    (void)state;
    static const char *const variables[] = {"KVPAIR_JOB=7", "KVPAIR_TASK=8", NULL};
    struct kvworker_order order =
        order_of("printf %s.%s.%s \"$KVPAIR_JOB\" $KVPAIR_TASK $HOME", "");
    assert_int_equal(setenv("KVPAIR_JOB", "another one", 1), 0);
    assert_int_equal(setenv("HOME", "/somewhere", 1), 0);
    order.variables = variables;
    struct outcome outcome = run(&order);
    assert_int_equal(outcome.output.size, strlen("7.8./somewhere"));
    assert_memory_equal(outcome.output.data, "7.8./somewhere", outcome.output.size);
    kvp_buf_free(&outcome.output);
    unsetenv("KVPAIR_JOB");
}

static void test_payloads_larger_than_a_pipe_go_through(void **state)
{
    (void)state;
    size_t size = 900000;
    uint8_t *bytes = malloc(size);
    struct kvworker_order order = order_of("cat", "");
    assert_non_null(bytes);
    for (size_t i = 0; i < size; i++) {
        bytes[i] = (uint8_t)(i * 31 + i / 255);
    }
    order.input = kvp_slice_of(bytes, size);
    order.output_max = size;
    struct outcome outcome = run(&order);
    assert_int_equal(outcome.ending, KVWORKER_HANDLER_DONE);
    assert_int_equal(outcome.output.size, size);
    assert_memory_equal(outcome.output.data, bytes, size);
    kvp_buf_free(&outcome.output);
    order.command = "exit 0"; /* and it need not be read */
    outcome = run(&order);
    assert_int_equal(outcome.ending, KVWORKER_HANDLER_DONE);
    order.command = "exec <&-; sleep 0.1; echo done";
    outcome = run(&order);
    assert_int_equal(outcome.ending, KVWORKER_HANDLER_DONE);
    assert_int_equal(outcome.output.size, 5);
    kvp_buf_free(&outcome.output);
    free(bytes);
}

static void test_a_failure_says_how_and_why(void **state)
{
    (void)state;
    check_fails("exit 3", "exit status 3");
    check_fails("echo half; echo 'no such thing' >&2; exit 1", "exit status 1: no such thing");
    check_fails("printf 'a\\tb\\n\\033c\\n\\n' >&2; exit 2", "exit status 2: a b  c");
    check_fails("kill -SEGV $$", "killed by signal 11 (Segmentation fault)");
    check_fails("echo last words >&2; kill -9 $$", "killed by signal 9 (Killed): last words");
}

/* A worker in a process of its own, that runs a handler and marks it as kvworker does. */
static pid_t start_worker(const char *command)
{
    pid_t worker = fork();
    assert_true(worker >= 0);
    if (worker == 0) {
        char mark[KVWORKER_MARK_SIZE];
        const char *const variables[] = {mark, NULL};
        struct kvworker_order order = order_of(command, "");
        kvworker_mark(mark, sizeof(mark));
        order.variables = variables;
        (void)run(&order);
        _exit(0);
    }
    return worker;
}

/* The numbers that a handler has written into the file. */
static void read_pids(const char *path, pid_t *pids, unsigned count)
{
    for (unsigned tries = 0; tries < 500; tries++) {
        FILE *file = fopen(path, "r");
        unsigned got = 0;
        long number = 0;
        while (file != NULL && got < count && fscanf(file, "%ld", &number) == 1) {
            pids[got++] = (pid_t)number;
        }
        if (file != NULL) {
            (void)fclose(file);
        }
        if (got == count) {
            return;
        }
        usleep(10000);
    }
    fail_msg("the handler has not begun");
}

/* Who is dead but not waited for has gone, too. */
static bool is_gone(pid_t pid)
{
    char path[64], text[256] = "";
    (void)snprintf(path, sizeof(path), "/proc/%ld/stat", (long)pid);
    FILE *file = fopen(path, "r");
    if (file == NULL) {
        return true;
    }
    bool read = fgets(text, sizeof(text), file) != NULL;
    (void)fclose(file);
    const char *state = strrchr(text, ')');
    return !read || state == NULL || state[2] == 'Z' || state[2] == 'X';
}

static bool goes(pid_t pid)
{
    for (unsigned tries = 0; tries < 300 && !is_gone(pid); tries++) {
        usleep(10000);
    }
    return is_gone(pid);
}

static void test_a_worker_that_is_killed_leaves_no_handlers(void **state)
{
    (void)state;
    char path[] = "/tmp/kvworker-test-XXXXXX", command[256];
    pid_t pids[3]; /* the shell, what it started, and what was meant to stay */
    int fd = mkstemp(path);

    assert_true(fd >= 0);
    (void)close(fd);
    (void)snprintf(command, sizeof(command),
                   "sleep 1000 & a=$!; setsid sleep 1000 & b=$!; echo $$ $a $b >%s; wait", path);
    pid_t worker = start_worker(command);
    read_pids(path, pids, 3);
    usleep(100000);                              /* setsid has had its time */
    assert_int_equal(kvworker_end_orphans(), 0); /* its worker lives */
    assert_false(is_gone(pids[0]) || is_gone(pids[1]));
    assert_int_equal(kill(worker, SIGKILL), 0);
    assert_int_equal(waitpid(worker, NULL, 0), worker);
    assert_true(goes(pids[0]));
    assert_false(is_gone(pids[1]));
    assert_true(kvworker_end_orphans() >= 1);
    assert_true(goes(pids[1]));
    assert_false(is_gone(pids[2]));
    assert_int_equal(kill(pids[2], SIGKILL), 0);
    (void)unlink(path);
}

static void test_of_much_that_is_said_the_end_is_kept(void **state)
{
    (void)state;
    struct kvworker_order order =
        order_of("i=0; while [ $i -lt 3000 ]; do echo line $i; i=$((i + 1)); done >&2; exit 1", "");
    struct outcome outcome = run(&order);
    assert_int_equal(strlen(outcome.reason), KVWORKER_REASON_MAX);
    assert_non_null(strstr(outcome.reason, "exit status 1: "));
    assert_string_equal(outcome.reason + KVWORKER_REASON_MAX - 9, "line 2999");
    order.command = "printf '\\303\\244%.0s' $(seq 300) >&2; exit 1"; /* characters stay whole */
    outcome = run(&order);
    assert_int_equal((unsigned char)outcome.reason[strlen("exit status 1: ...")], 0xc3);
    check_fails("printf '\\377\\303' >&2; exit 1", "exit status 1: ??");
}

static void test_a_result_that_is_too_long_is_refused(void **state)
{
    (void)state;
    struct kvworker_order order = order_of("yes", "");
    check_failed(&order, "result longer than 1000 bytes");
    order.command = "head -c 1001 /dev/zero";
    check_failed(&order, "result longer than 1000 bytes");
    order.command = "head -c 1000 /dev/zero";
    struct outcome outcome = run(&order);
    assert_int_equal(outcome.ending, KVWORKER_HANDLER_DONE);
    assert_int_equal(outcome.output.size, 1000);
    kvp_buf_free(&outcome.output);
}

static void test_a_handler_that_takes_too_long_is_killed(void **state)
{
    (void)state;
    struct kvworker_order order = order_of("echo begun >&2; sleep 60", "");
    order.timeout_ms = 200;
    struct outcome outcome = run(&order);
    assert_int_equal(outcome.ending, KVWORKER_HANDLER_FAILED);
    assert_string_equal(outcome.reason, "timed out after 0.2 s: begun");
    order.deadline = true;
    outcome = run(&order);
    assert_int_equal(outcome.ending, KVWORKER_HANDLER_FAILED);
    assert_string_equal(outcome.reason, "not done by the deadline, after 0.2 s: begun");
    assert_true(outcome.took_ms >= 200 && outcome.took_ms < 2000);
}

/* SIGTERM is not enough for it, nor for what it has started. */
static void test_a_stubborn_handler_is_killed_with_its_children(void **state)
{
    (void)state;
    char command[200], path[] = "/tmp/kvworker-test-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    (void)snprintf(command, sizeof(command),
                   "trap '' TERM; (trap '' TERM; sleep 60) & echo $! >%s; wait; sleep 60", path);
    struct kvworker_order order = order_of(command, "");
    order.timeout_ms = 300;
    struct outcome outcome = run(&order);
    assert_int_equal(outcome.ending, KVWORKER_HANDLER_FAILED);
    assert_true(outcome.took_ms >= 2300 && outcome.took_ms < 20000);
    char digits[32] = "";
    assert_true(read(fd, digits, sizeof(digits) - 1) > 0);
    pid_t child = (pid_t)atoi(digits);
    assert_true(child > 1);
    for (int i = 0; i < 1000 && kill(child, 0) == 0; i++) { /* until somebody has buried it */
        char name[64], status = '?';
        (void)snprintf(name, sizeof(name), "/proc/%d/stat", (int)child);
        FILE *file = fopen(name, "r");
        if (file != NULL) {
            (void)!fscanf(file, "%*d (%*[^)]) %c", &status);
            fclose(file);
        }
        if (status == 'Z') {
            break;
        }
        assert_true(i < 999);
        usleep(10000);
    }
    close(fd);
    unlink(path);
}

static void test_what_a_handler_leaves_running_is_not_waited_for(void **state)
{
    (void)state;
    struct kvworker_order order = order_of("sleep 60 & echo result", "");
    struct outcome outcome = run(&order);
    assert_int_equal(outcome.ending, KVWORKER_HANDLER_DONE);
    assert_int_equal(outcome.output.size, strlen("result\n"));
    assert_true(outcome.took_ms < 10000);
    kvp_buf_free(&outcome.output);
}

static void test_a_handler_is_cancelled(void **state)
{
    (void)state;
    uint64_t one = 1;
    _Atomic pid_t group = 0;
    struct kvworker_order order = order_of("sleep 60", "");
    order.cancel = eventfd(0, EFD_CLOEXEC);
    order.group = &group;
    assert_int_equal(write(order.cancel, &one, sizeof(one)), sizeof(one));
    struct outcome outcome = run(&order);
    assert_int_equal(outcome.ending, KVWORKER_HANDLER_CANCELLED);
    assert_true(outcome.took_ms < 10000);
    assert_int_equal(group, 0);
    close(order.cancel);
}

/* Signals that a worker blocks or ignores are as usual for what it runs. */
static void test_signals_reach_a_handler(void **state)
{
    (void)state;
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    assert_int_equal(sigprocmask(SIG_BLOCK, &set, NULL), 0);
    check_fails("kill -TERM $$; sleep 5; exit 9", "killed by signal 15 (Terminated)");
    check_fails("kill -PIPE $$; exit 9", "killed by signal 13 (Broken pipe)");
    assert_int_equal(sigprocmask(SIG_UNBLOCK, &set, NULL), 0);
}

/* ---- products ---- */

static kvp_buf payload_of(uint32_t type, uint32_t rows, uint32_t inner, uint32_t columns,
                          size_t size)
{
    kvp_buf payload = {0};
    assert_int_equal(kvp_buf_reserve(&payload, KVP_JOB_TILE_HEADER + size), KVP_OK);
    payload.size = KVP_JOB_TILE_HEADER + size;
    memset(payload.data, 0, payload.size);
    kvp_put_u32(payload.data, type);
    kvp_put_u32(payload.data + 4, rows);
    kvp_put_u32(payload.data + 8, inner);
    kvp_put_u32(payload.data + 12, columns);
    return payload;
}

static void check_refused(kvp_buf payload, const char *reason)
{
    struct kvworker_result result = {0};
    assert_true(kvworker_matmul(kvp_buf_slice(&payload), KVWORKER_BLAS_AUTO, NULL, &result));
    assert_int_equal(result.outcome, KVP_OUTCOME_FAILED);
    assert_int_equal(result.bytes.size, strlen(reason));
    assert_memory_equal(result.bytes.data, reason, strlen(reason));
    kvp_buf_free(&result.bytes);
    kvp_buf_free(&payload);
}

static void test_payloads_that_lie_are_refused(void **state)
{
    (void)state;
    static const char size[] = "the payload does not have the size that its head says";
    kvp_buf none = {0};
    check_refused(none, "the payload is shorter than its head");
    check_refused(payload_of(4, 1, 1, 1, 8), "unknown type of elements");
    check_refused(payload_of(KVP_INT32, 0, 1, 1, 8), "a matrix without elements");
    check_refused(payload_of(KVP_INT32, 1, 1, 1, 7), size);
    check_refused(payload_of(KVP_INT32, 1, 1, 1, 9), size);
    check_refused(payload_of(KVP_INT64, 1, 1, 1, 8), size);
    check_refused(payload_of(KVP_INT32, UINT32_MAX, UINT32_MAX, UINT32_MAX, 8), size);
    check_refused(payload_of(KVP_INT32, UINT32_MAX, 1, 1, 8), size);
    check_refused(payload_of(KVP_INT32, 1, UINT32_MAX, UINT32_MAX, 8), size);
    check_refused(payload_of(KVP_INT32, 1u << 31, 1u << 31, 1u << 31, 0), size);
    check_refused(payload_of(KVP_FLOAT64, 2000, 1, 2000, 4000 * 8),
                  "the result would be longer than 1 MiB");
}

static void put_element(enum kvp_matrix_type type, uint8_t *to, int value)
{
    int32_t i32 = value;
    int64_t i64 = value;
    float f32 = (float)value;
    double f64 = value;
    const void *const forms[] = {&i32, &i64, &f32, &f64};

    memcpy(to, forms[type], kvp_matrix_element_size(type));
}

static void check_product(enum kvp_matrix_type type, enum kvworker_blas blas)
{
    enum { ROWS = 33, INNER = 17, COLS = 9 };
    size_t size = kvp_matrix_element_size(type);
    kvp_buf payload = payload_of(type, ROWS, INNER, COLS, (ROWS + COLS) * INNER * size);
    uint8_t *a = payload.data + KVP_JOB_TILE_HEADER, *b = a + (size_t)ROWS * INNER * size;
    struct kvworker_result result = {0};
    uint8_t expected[8];

    for (int i = 0; i < ROWS * INNER; i++) {
        put_element(type, a + (size_t)i * size, i % 13 - 6);
    }
    for (int i = 0; i < INNER * COLS; i++) {
        put_element(type, b + (size_t)i * size, i % 7 - 3);
    }
    assert_true(kvworker_matmul(kvp_buf_slice(&payload), blas, NULL, &result));
    assert_int_equal(result.outcome, KVP_OUTCOME_RESULT);
    assert_int_equal(result.bytes.size, ROWS * COLS * size);
    for (int i = 0; i < ROWS * COLS; i++) {
        int sum = 0;
        for (int k = 0; k < INNER; k++) {
            sum += ((i / COLS * INNER + k) % 13 - 6) * ((k * COLS + i % COLS) % 7 - 3);
        }
        put_element(type, expected, sum);
        assert_memory_equal(result.bytes.data + (size_t)i * size, expected, size);
    }
    kvp_buf_free(&result.bytes);
    kvp_buf_free(&payload);
}

static void test_products_of_all_types(void **state)
{
    (void)state;
    for (int type = 0; type < KVP_MATRIX_TYPES; type++) {
        for (int blas = KVWORKER_BLAS_AUTO; blas <= KVWORKER_BLAS_NEVER; blas++) {
            check_product((enum kvp_matrix_type)type, (enum kvworker_blas)blas);
        }
    }
}

static void check_overflow(enum kvp_matrix_type type, const void *element, enum kvworker_blas blas)
{
    size_t size = kvp_matrix_element_size(type);
    kvp_buf payload = payload_of(type, 1, 1, 1, 2 * size);
    struct kvworker_result result = {0};
    memcpy(payload.data + KVP_JOB_TILE_HEADER, element, size);
    memcpy(payload.data + KVP_JOB_TILE_HEADER + size, element, size);
    assert_true(kvworker_matmul(kvp_buf_slice(&payload), blas, NULL, &result));
    assert_int_equal(result.outcome, KVP_OUTCOME_OVERFLOW);
    assert_int_equal(result.bytes.size, 0);
    kvp_buf_free(&result.bytes);
    kvp_buf_free(&payload);
}

static void test_overflow_is_an_outcome(void **state)
{
    (void)state;
    int32_t i32 = 100000;
    int64_t i64 = 10000000000;
    float f32 = 1e30f;
    double f64 = 1e200;
    check_overflow(KVP_INT32, &i32, KVWORKER_BLAS_AUTO);
    check_overflow(KVP_INT64, &i64, KVWORKER_BLAS_AUTO);
    for (int blas = KVWORKER_BLAS_AUTO; blas <= KVWORKER_BLAS_NEVER; blas++) {
        check_overflow(KVP_FLOAT32, &f32, (enum kvworker_blas)blas);
        check_overflow(KVP_FLOAT64, &f64, (enum kvworker_blas)blas);
    }
}

/* ---- the command line ---- */

static char text[1000]; /* of the arguments parsed last, which are cut in pieces */

static int parse(const char *arguments, struct kvworker_options *options)
{
    char *argv[40] = {"kvworker"};
    int argc = 1;
    char *rest = NULL;
    assert_true(snprintf(text, sizeof(text), "%s", arguments) < (int)sizeof(text));
    for (char *word = strtok_r(text, " ", &rest); word != NULL; word = strtok_r(NULL, " ", &rest)) {
        argv[argc++] = word;
    }
    optind = 0;
    return kvworker_parse(argc, argv, options);
}

static void test_options_are_understood(void **state)
{
    (void)state;
    struct kvworker_options options;
    unsetenv("KVPAIR_NODES");
    assert_int_equal(
        parse("--nodes tcp://a:1 --id me --group g --standby --buffer 4096 --parallel 3 "
              "--handler x=cat --handler y=a=b --handler-timeout 1.5 --no-matmul "
              "--blas never --once --idle-exit 2 --log-level debug --crash-after 4 "
              "--hang-after 5 --corrupt-rate 0.25 --slow-ms 6",
              &options),
        -1);
    assert_string_equal(options.nodes, "tcp://a:1");
    assert_string_equal(options.name, "me");
    assert_string_equal(options.group, "g");
    assert_true(options.standby && !options.matmul && options.once);
    assert_true(options.buffer == 4096 && options.parallel == 3);
    assert_true(options.blas == KVWORKER_BLAS_NEVER && options.log_level == KVP_LOG_DEBUG);
    assert_int_equal(options.handler_count, 2);
    assert_string_equal(options.handlers[1].kind, "y");
    assert_string_equal(options.handlers[1].command, "a=b");
    assert_true(options.handler_timeout_ms == 1500 && options.idle_exit_ms == 2000);
    assert_true(options.crash_after == 4 && options.hang_after == 5 && options.slow_ms == 6);
    assert_true(options.corrupt_rate == 0.25);
}

static void test_defaults_are_sensible(void **state)
{
    (void)state;
    struct kvworker_options options;
    setenv("KVPAIR_NODES", "tcp://b:2", 1);
    assert_int_equal(parse("", &options), -1);
    assert_string_equal(options.nodes, "tcp://b:2");
    assert_true(options.matmul && options.parallel == 1 && !options.standby);
    assert_true(strlen(options.name) > 2 && options.buffer == KVP_MESSAGE_SIZE_MAX);
    assert_true(options.crash_after == 0 && options.hang_after == 0 && options.corrupt_rate == 0);
    unsetenv("KVPAIR_NODES");
}

static void test_wrong_options_are_refused(void **state)
{
    (void)state;
    static const char *const wrong[] = {
        "",
        "--nodes tcp://a:1 more",
        "--nodes tcp://a:1 --parallel 0",
        "--nodes tcp://a:1 --parallel 65",
        "--nodes tcp://a:1 --parallel -1",
        "--nodes tcp://a:1 --parallel 1x",
        "--nodes tcp://a:1 --handler cat",
        "--nodes tcp://a:1 --handler =cat",
        "--nodes tcp://a:1 --handler x=",
        "--nodes tcp://a:1 --handler x=a --handler x=b",
        "--nodes tcp://a:1 --no-matmul",
        "--nodes tcp://a:1 --corrupt-rate 1.5",
        "--nodes tcp://a:1 --corrupt-rate nan",
        "--nodes tcp://a:1 --blas sometimes",
        "--nodes tcp://a:1 --crash-after 0",
        "--nodes tcp://a:1 --idle-exit 0",
        "--nodes tcp://a:1 --log-level loud",
        "--nodes tcp://a:1 --buffer 10",
        "--nodes tcp://a:1 --unknown",
        ("--nodes tcp://a:1 --id "
         "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"),
    };
    struct kvworker_options options;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        assert_int_equal(parse(wrong[i], &options), KVWORKER_USAGE);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_a_handler_writes_is_the_result),
        cmocka_unit_test(test_a_handler_is_told_about_its_task),
        cmocka_unit_test(test_payloads_larger_than_a_pipe_go_through),
        cmocka_unit_test(test_a_failure_says_how_and_why),
        cmocka_unit_test(test_a_worker_that_is_killed_leaves_no_handlers),
        cmocka_unit_test(test_of_much_that_is_said_the_end_is_kept),
        cmocka_unit_test(test_a_result_that_is_too_long_is_refused),
        cmocka_unit_test(test_a_handler_that_takes_too_long_is_killed),
        cmocka_unit_test(test_a_stubborn_handler_is_killed_with_its_children),
        cmocka_unit_test(test_what_a_handler_leaves_running_is_not_waited_for),
        cmocka_unit_test(test_a_handler_is_cancelled),
        cmocka_unit_test(test_signals_reach_a_handler),
        cmocka_unit_test(test_payloads_that_lie_are_refused),
        cmocka_unit_test(test_products_of_all_types),
        cmocka_unit_test(test_overflow_is_an_outcome),
        cmocka_unit_test(test_options_are_understood),
        cmocka_unit_test(test_defaults_are_sensible),
        cmocka_unit_test(test_wrong_options_are_refused),
    };

    (void)signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests_name("kvworker", tests, NULL, NULL);
}
