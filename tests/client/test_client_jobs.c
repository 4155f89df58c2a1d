/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the client library does with answers about jobs, damaged ones among them, and what kvcli
 * makes of them for people. The server says what the test wants.
 */
#include "client/kvcli/kvcli.h"
#include "kvpair/kvp_jobs.h"
#include "fake_server.h"
#include "kvpair/job_spec.h"
#include "kvpair/matrix.h"
#include "replication/wire/mp_writer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <zlib.h>

#define ARGUMENTS_MAX 8

struct rig {
    struct fake_server server;
    struct kvcli cli;
    kvp_buf answers[4]; /* of JOB_INFO, by what it asks for; empty: an empty list */
    kvp_buf answer;     /* of other operations; empty: nil */
    kvp_status status;
    uint64_t fetch; /* the number of the last TASK_FETCH */
    char *output;
    size_t output_size;
};

static kvp_status serve(void *arg, const struct kvp_request *request, kvp_buf *result)
{
    struct rig *rig = arg;
    bool info = request->op == KVP_OP_JOB_INFO;
    const kvp_buf *answer = info ? &rig->answers[request->job.what] : &rig->answer;
    if (request->op == KVP_OP_TASK_FETCH) {
        rig->fetch = request->job.number;
    }
    if (rig->status != KVP_OK) {
        return rig->status;
    }
    if (info && answer->size == 0) {
        (void)kvp_wire_array(result, 2);
        (void)kvp_wire_uint(result, 0);
        return kvp_wire_array(result, 0);
    }
    return kvp_buf_append(result, answer->data, answer->size);
}

static void begin(struct rig *rig)
{
    kvp_client_options options;
    memset(rig, 0, sizeof(*rig));
    server_open(&rig->server, NULL);
    rig->server.serve_job = serve;
    rig->server.job_arg = rig;
    kvp_client_options_init(&options);
    rig->cli.commands = kvcli_commands;
    options.nodes = rig->cli.nodes = server_url(&rig->server);
    options.timeout_ms = rig->cli.timeout_ms = 30000;
    assert_int_equal(kvp_client_open(&options, &rig->cli.client, NULL, 0), KVP_OK);
}

static void end(struct rig *rig)
{
    kvp_client_close(rig->cli.client);
    server_close(&rig->server);
    for (size_t i = 0; i < sizeof(rig->answers) / sizeof(rig->answers[0]); i++) {
        kvp_buf_free(&rig->answers[i]);
    }
    kvp_buf_free(&rig->answer);
    free(rig->output);
}

static kvp_slice text(const char *string)
{
    return kvp_slice_of(string, strlen(string));
}

static void check_refused(kvp_status expected, kvp_status status, kvp_result *result)
{
    assert_int_equal(status, expected);
    assert_int_equal(result->status, expected);
    kvp_result_free(result);
}

/* ---- answers ---- */

static const kvp_worker worker = {.name = "w", .instance = 5};

static void grant(struct rig *rig, const char *payload, uint32_t flaw)
{
    struct kvp_task_grant task = {.job = 7,
                                  .attempt = 8,
                                  .task = 9,
                                  .beat_ms = 500,
                                  .deadline_ms = 6000,
                                  .kind = text("kind"),
                                  .payload = text(payload),
                                  .checkpoint = text("so far")};

    task.crc = (uint32_t)crc32(0, (const uint8_t *)payload, (unsigned)strlen(payload)) ^ flaw;
    rig->answer.size = 0;
    assert_int_equal(kvp_wire_result_grant(&rig->answer, &task), KVP_OK);
}

static void test_a_task_whose_payload_is_damaged_is_not_given(void **state)
{
    (void)state;
    static struct rig rig;
    kvp_task task = {.job = 1};
    kvp_result result;
    begin(&rig);
    grant(&rig, "payload", 1);
    check_refused(KVP_CORRUPT, kvp_task_fetch(rig.cli.client, &worker, 0, 1000, &task, &result),
                  &result);
    assert_true(task.job == 1 && task.owner.data == NULL);
    grant(&rig, "payload", 0);
    assert_int_equal(kvp_task_fetch(rig.cli.client, &worker, 0, 1000, &task, &result), KVP_OK);
    assert_true(task.job == 7 && task.attempt == 8 && task.number == 9 && task.beat_ms == 500);
    assert_int_equal(kvp_slice_compare(task.payload, text("payload")), 0);
    assert_int_equal(kvp_slice_compare(task.checkpoint, text("so far")), 0);
    assert_int_equal(result.value.size, 0);
    kvp_task_free(&task);
    grant(&rig, "", 0);
    assert_int_equal(kvp_task_fetch(rig.cli.client, &worker, 0, 1000, &task, NULL), KVP_OK);
    assert_int_equal(task.payload.size, 0);
    kvp_task_free(&task);
    end(&rig);
}

static void check_fetch(struct rig *rig, const kvp_worker *by, uint32_t slot, uint64_t number,
                        kvp_status expected)
{
    kvp_task task;
    assert_int_equal(kvp_task_fetch(rig->cli.client, by, slot, 0, &task, NULL), expected);
    assert_int_equal(rig->fetch, number);
    if (expected == KVP_OK) {
        kvp_task_free(&task);
    }
}

static void test_the_client_counts_the_fetches_of_each_slot(void **state)
{
    (void)state;
    static struct rig rig;
    kvp_worker again = worker, other = {.name = "x", .instance = 5};
    again.instance = 6;
    begin(&rig);
    grant(&rig, "payload", 0);
    check_fetch(&rig, &worker, 0, 1, KVP_OK);
    check_fetch(&rig, &worker, 0, 2, KVP_OK);
    check_fetch(&rig, &worker, 7, 1, KVP_OK);
    check_fetch(&rig, &other, 0, 1, KVP_OK);
    /* What did not arrive is asked for again under its number. */
    grant(&rig, "payload", 1);
    check_fetch(&rig, &worker, 0, 3, KVP_CORRUPT);
    rig.status = KVP_NO_TASK;
    check_fetch(&rig, &worker, 0, 3, KVP_NO_TASK);
    rig.status = KVP_OK;
    grant(&rig, "payload", 0);
    check_fetch(&rig, &worker, 0, 3, KVP_OK);
    check_fetch(&rig, &worker, 0, 4, KVP_OK);
    check_fetch(&rig, &again, 0, 1, KVP_OK);
    check_fetch(&rig, &again, 0, 2, KVP_OK);
    check_fetch(&rig, &worker, 7, 2, KVP_OK);
    end(&rig);
}

static void test_whether_a_result_counted_is_told(void **state)
{
    (void)state;
    static struct rig rig;
    const kvp_task task = {.job = 7};
    begin(&rig);
    for (unsigned i = 0; i < 2; i++) {
        kvp_result result;
        rig.answer.size = 0;
        assert_int_equal(kvp_wire_bool(&rig.answer, i == 1), KVP_OK);
        assert_int_equal(
            kvp_task_post(rig.cli.client, &worker, &task, KVP_OUTCOME_RESULT, text("x"), &result),
            KVP_OK);
        assert_int_equal(result.counted, i == 1);
        assert_int_equal(result.version, 0);
        kvp_result_free(&result);
    }
    end(&rig);
}

static void test_what_cannot_be_read_after_an_update_is_unknown(void **state)
{
    (void)state;
    static struct rig rig;
    struct kvp_job_spec spec;
    kvp_worker joining = worker;
    kvp_task task = {.job = 7};
    const char *kind = "kind";
    uint64_t job = 0;
    bool go_on = true;
    kvp_result result;
    begin(&rig);
    kvp_job_spec_init(&spec, KVP_JOB_TASKS);
    assert_int_equal(kvp_wire_result_string(&rig.answer, "?"), KVP_OK);
    check_refused(KVP_TIMEOUT_UNKNOWN, kvp_job_new(rig.cli.client, &spec, &job, &result), &result);
    check_refused(KVP_TIMEOUT_UNKNOWN,
                  kvp_worker_join(rig.cli.client, &joining, &kind, 1, 1, false, &result), &result);
    check_refused(
        KVP_TIMEOUT_UNKNOWN,
        kvp_task_post(rig.cli.client, &worker, &task, KVP_OUTCOME_RESULT, text("x"), &result),
        &result);
    assert_true(job == 0 && joining.instance == 5);
    /* These may be repeated. */
    check_refused(KVP_CORRUPT,
                  kvp_task_beat(rig.cli.client, &worker, &task, 0, NULL, &go_on, &result), &result);
    check_refused(KVP_CORRUPT, kvp_task_fetch(rig.cli.client, &worker, 0, 0, &task, &result),
                  &result);
    check_refused(KVP_CORRUPT, kvp_job_result(rig.cli.client, 7, 0, &result), &result);
    assert_true(go_on);
    end(&rig);
}

static void test_refusals_come_with_the_status_of_the_node(void **state)
{
    (void)state;
    static struct rig rig;
    static const kvp_status statuses[] = {KVP_NO_TASK, KVP_WORKER_UNKNOWN, KVP_WORKER_REPLACED,
                                          KVP_WORKER_BARRED};
    kvp_task task;
    kvp_result result;
    begin(&rig);
    for (size_t i = 0; i < sizeof(statuses) / sizeof(statuses[0]); i++) {
        rig.status = statuses[i];
        check_refused(statuses[i], kvp_task_fetch(rig.cli.client, &worker, 0, 1000, &task, &result),
                      &result);
    }
    end(&rig);
}

/* ---- uploads ---- */

struct upload {
    struct rig *rig;
    pthread_t thread;
    kvp_status status;
    kvp_result result;
};

static void *upload(void *arg)
{
    struct upload *upload = arg;
    struct kvp_job_spec spec;
    struct kvp_matrix a, b;
    uint64_t job = 0;
    kvp_job_spec_init(&spec, KVP_JOB_MATMUL);
    (void)kvp_matrix_new(KVP_INT32, 64, 64, &a);
    (void)kvp_matrix_new(KVP_INT32, 64, 64, &b);
    upload->status = kvp_job_submit_matmul(upload->rig->cli.client, &spec, &a, &b, 2000, &job, NULL,
                                           NULL, &upload->result);
    kvp_matrix_free(&a);
    kvp_matrix_free(&b);
    return NULL;
}

static void begin_upload(struct rig *rig, struct upload *started)
{
    *started = (struct upload){.rig = rig};
    assert_int_equal(kvp_wire_result_uint(&rig->answer, 7), KVP_OK);
    /* Once the job is made, nothing is answered. */
    server_hold(&rig->server, true);
    assert_int_equal(pthread_create(&started->thread, NULL, upload, started), 0);
    server_wait_held(&rig->server, 1);
    pthread_mutex_lock(&rig->server.lock);
    assert_int_equal(rig->server.requests[KVP_OP_JOB_NEW], 1);
    pthread_mutex_unlock(&rig->server.lock);
    server_hold(&rig->server, false);
    server_hold(&rig->server, true);
}

/* Different ones: each may have been sent again. */
static unsigned count_held_blocks(struct fake_server *server)
{
    static struct kvp_txn_scratch scratch;
    uint64_t seen = 0;
    unsigned count = 0;
    pthread_mutex_lock(&server->lock);
    for (size_t i = 0; i < server->held_count; i++) {
        struct kvp_request request;
        const char *reason;
        assert_int_equal(kvp_wire_request_decode(kvp_net_request_body(server->held[i]), &scratch,
                                                 &request, &reason),
                         KVP_OK);
        assert_int_equal(request.op, KVP_OP_JOB_DATA);
        seen |= (uint64_t)1 << request.job.number % 64;
    }
    pthread_mutex_unlock(&server->lock);
    for (; seen != 0; seen &= seen - 1) {
        count++;
    }
    return count;
}

static void test_blocks_go_up_to_eight_at_a_time(void **state)
{
    (void)state;
    static struct rig rig;
    struct upload started;
    begin(&rig);
    begin_upload(&rig, &started);
    for (size_t held = 8; count_held_blocks(&rig.server) < 8; held++) {
        server_wait_held(&rig.server, held);
    }
    assert_int_equal(count_held_blocks(&rig.server), 8);
    server_hold(&rig.server, false);
    pthread_join(started.thread, NULL);
    assert_int_equal(started.status, KVP_OK);
    kvp_result_free(&started.result);
    assert_true(rig.server.requests[KVP_OP_JOB_DATA] > 16);
    assert_true(rig.server.requests[KVP_OP_JOB_START] >= 1);
    assert_int_equal(rig.server.requests[KVP_OP_JOB_CANCEL], 0);
    end(&rig);
}

static void test_the_first_block_refused_ends_the_upload(void **state)
{
    (void)state;
    static struct rig rig;
    struct upload started;
    begin(&rig);
    begin_upload(&rig, &started);
    server_wait_held(&rig.server, 8);
    pthread_mutex_lock(&rig.server.lock);
    rig.status = KVP_NO_SUCH_JOB;
    pthread_mutex_unlock(&rig.server.lock);
    server_hold(&rig.server, false);
    pthread_join(started.thread, NULL);
    check_refused(KVP_NO_SUCH_JOB, started.status, &started.result);
    assert_int_equal(rig.server.requests[KVP_OP_JOB_START], 0);
    assert_true(rig.server.requests[KVP_OP_JOB_CANCEL] >= 1);
    end(&rig);
}

/* ---- kvcli ---- */

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

struct member {
    const char *name;
    uint64_t number;
    const char *string; /* NULL: the number */
};

static void write_members(kvp_buf *out, const struct member *members, uint32_t count,
                          uint32_t others)
{
    assert_int_equal(kvp_wire_map(out, count + others), KVP_OK);
    for (uint32_t i = 0; i < count; i++) {
        assert_int_equal(kvp_wire_string(out, members[i].name), KVP_OK);
        assert_int_equal(members[i].string == NULL ? kvp_wire_uint(out, members[i].number)
                                                   : kvp_wire_string(out, members[i].string),
                         KVP_OK);
    }
}

#define WRITE(out, members, others)                                                                \
    write_members(out, members, sizeof(members) / sizeof((members)[0]), others)

static void write_job(struct rig *rig, const char *job_state)
{
    const struct member job[] = {
        {"id", 42, NULL},           {"name", 0, "a\tname"},   {"type", 0, "tasks"},
        {"state", 0, job_state},    {"reason", 0, "because"}, {"tasks", 3, NULL},
        {"done", 2, NULL},          {"running", 1, NULL},     {"waiting", 0, NULL},
        {"redone", 4, NULL},        {"late", 0, NULL},        {"disagreements", 5, NULL},
        {"copies", 2, NULL},        {"quorum", 2, NULL},      {"copies_max", 4, NULL},
        {"elapsed_ms", 1500, NULL},
    };
    rig->answers[KVP_INFO_JOB].size = 0;
    WRITE(&rig->answers[KVP_INFO_JOB], job, 0);
}

static void write_vote(kvp_buf *out, const char *name, bool agreed, const char *digest)
{
    const struct member vote[] = {{"worker", 0, name}, {"size", 16, NULL}, {"digest", 0, digest}};
    WRITE(out, vote, 2);
    (void)kvp_wire_string(out, "agreed");
    (void)kvp_wire_bool(out, agreed);
    (void)kvp_wire_string(out, "overflow");
    (void)kvp_wire_bool(out, false);
}

static void write_task(kvp_buf *out, uint64_t number, const char *task_state, bool second_agreed,
                       bool running)
{
    const struct member task[] = {{"task", number, NULL}, {"state", 0, task_state},
                                  {"copies", 3, NULL},    {"votes", 2, NULL},
                                  {"lost", 0, NULL},      {"reason", 0, ""}};
    const struct member attempt[] = {
        {"worker", 0, "busy"}, {"progress", 250, NULL}, {"ms", 700, NULL}};

    WRITE(out, task, 2);
    (void)kvp_wire_string(out, "results");
    (void)kvp_wire_array(out, 2);
    write_vote(out, "good", true, "aaaa");
    write_vote(out, "bad", second_agreed, second_agreed ? "aaaa" : "bbbb");
    (void)kvp_wire_string(out, "running");
    (void)kvp_wire_array(out, running ? 1 : 0);
    if (running) {
        WRITE(out, attempt, 0);
    }
}

static void write_all(struct rig *rig)
{
    const struct member bad[] = {
        {"name", 0, "bad"}, {"state", 0, "barred"},  {"buffer", 1, NULL},     {"tasks", 0, NULL},
        {"done", 3, NULL},  {"lost_votes", 3, NULL}, {"silent_ms", 100, NULL}};
    const struct member good[] = {
        {"name", 0, "good"}, {"state", 0, "active"},  {"buffer", 1, NULL},   {"tasks", 1, NULL},
        {"done", 9, NULL},   {"lost_votes", 0, NULL}, {"silent_ms", 0, NULL}};
    kvp_buf *tasks = &rig->answers[KVP_INFO_TASKS], *workers = &rig->answers[KVP_INFO_WORKERS];

    write_job(rig, "running");
    (void)kvp_wire_array(tasks, 2);
    (void)kvp_wire_uint(tasks, 0);
    (void)kvp_wire_array(tasks, 3);
    write_task(tasks, 0, "done", true, false);
    write_task(tasks, 1, "done", false, false);
    write_task(tasks, 2, "open", true, true);
    (void)kvp_wire_array(workers, 2);
    (void)kvp_wire_uint(workers, 0);
    (void)kvp_wire_array(workers, 2);
    WRITE(workers, bad, 0);
    WRITE(workers, good, 0);
}

static void check_shows(struct rig *rig, const char *part)
{
    if (strstr(rig->output, part) == NULL) {
        fail_msg("'%s' is not in:\n%s", part, rig->output);
    }
}

static void test_what_is_remarkable_about_a_job_is_shown(void **state)
{
    (void)state;
    static struct rig rig;
    begin(&rig);
    write_all(&rig);
    assert_int_equal(run(&rig, "job show 42"), EXIT_DONE);
    check_shows(&rig, "job 42 a\\tname\n");
    check_shows(&rig, "state        running, 1.5 s");
    check_shows(&rig, "reason       because");
    check_shows(&rig, "3: 2 done, 1 running, 0 waiting");
    check_shows(&rig, "bad             disagreed  16 bytes, digest bbbb");
    check_shows(&rig, "good            agreed     16 bytes, digest aaaa");
    check_shows(&rig, "busy            running    25.0 % after 0.7 s");
    check_shows(&rig, "bad                      barred");
    assert_null(strstr(rig.output, "           0  done")); /* nothing is to be said about it */
    assert_null(strstr(rig.output, "good                     active"));
    assert_int_equal(run(&rig, "job show 42 --tasks"), EXIT_DONE);
    check_shows(&rig, "           0  done");
    assert_int_equal(run(&rig, "job workers"), EXIT_DONE);
    check_shows(&rig, "good                     active");
    end(&rig);
}

static void test_json_is_one_value_with_all_pages(void **state)
{
    (void)state;
    static struct rig rig;
    begin(&rig);
    rig.cli.json = true;
    assert_int_equal(run(&rig, "job list"), EXIT_DONE);
    assert_string_equal(rig.output, "[]\n");
    write_all(&rig);
    assert_int_equal(run(&rig, "job show 42"), EXIT_DONE);
    cJSON *all = cJSON_Parse(rig.output);
    assert_non_null(all);
    assert_int_equal(cJSON_GetArraySize(cJSON_GetObjectItem(all, "tasks")), 3);
    assert_int_equal(cJSON_GetArraySize(cJSON_GetObjectItem(all, "workers")), 2);
    assert_int_equal(cJSON_GetObjectItem(cJSON_GetObjectItem(all, "job"), "id")->valueint, 42);
    cJSON_Delete(all);
    end(&rig);
}

static void test_waiting_tells_how_a_job_has_ended(void **state)
{
    (void)state;
    static struct rig rig;
    static const struct {
        const char *name;
        int code;
    } ends[] = {{"done", EXIT_DONE},
                {"failed", EXIT_NO},
                {"cancelled", EXIT_CANCELLED},
                {"removing", EXIT_CANCELLED}};
    begin(&rig);
    for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
        write_job(&rig, ends[i].name);
        assert_int_equal(run(&rig, "job wait 42"), ends[i].code);
    }
    write_job(&rig, "verifying");
    assert_int_equal(run(&rig, "job wait 42 --timeout 1"), EXIT_NOTHING);
    rig.status = KVP_NO_SUCH_JOB;
    assert_int_equal(run(&rig, "job wait 42"), EXIT_NO);
    end(&rig);
}

static void test_wrong_options_of_jobs_send_nothing(void **state)
{
    (void)state;
    static struct rig rig;
    static const char *const lines[] = {
        "job submit matmul a",
        "job submit matmul a b c",
        "job submit matmul a b --mode",
        "job submit matmul a b --mode five",
        "job submit matmul a b --mode 9/1",
        "job submit matmul a b --max-copies 9",
        "job submit matmul a b --type int16",
        "job submit matmul a b --compare roughly",
        "job submit matmul a b --tolerance -1",
        "job submit matmul a b --tolerance x",
        "job submit matmul a b --rounds 0",
        "job submit matmul a b --rounds 65",
        "job submit matmul a b --verify no",
        "job submit matmul a b --priority 256",
        "job submit matmul a b --max-attempts 0",
        "job submit matmul a b --delay 1s",
        "job submit matmul a b --keep -1",
        "job submit matmul a b --colour red",
        "job submit tasks",
        "job submit tasks f --type int32",
        "job submit tasks f --compare exact",
        "job submit nothing x",
        "job wait 1 --timeout 0",
        "job wait 1 --timeout",
        "job wait 0",
        "job result 1 -o",
        "job result 1 --task x",
        "job show 1 --all",
        "job cancel -1",
    };
    begin(&rig);
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        if (run(&rig, lines[i]) != EXIT_USAGE) {
            fail_msg("accepted: %s", lines[i]);
        }
    }
    for (unsigned op = 0; op < SERVER_OPS; op++) {
        assert_int_equal(rig.server.requests[op], 0);
    }
    end(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_task_whose_payload_is_damaged_is_not_given),
        cmocka_unit_test(test_the_client_counts_the_fetches_of_each_slot),
        cmocka_unit_test(test_whether_a_result_counted_is_told),
        cmocka_unit_test(test_what_cannot_be_read_after_an_update_is_unknown),
        cmocka_unit_test(test_refusals_come_with_the_status_of_the_node),
        cmocka_unit_test(test_blocks_go_up_to_eight_at_a_time),
        cmocka_unit_test(test_the_first_block_refused_ends_the_upload),
        cmocka_unit_test(test_what_is_remarkable_about_a_job_is_shown),
        cmocka_unit_test(test_json_is_one_value_with_all_pages),
        cmocka_unit_test(test_waiting_tells_how_a_job_has_ended),
        cmocka_unit_test(test_wrong_options_of_jobs_send_nothing),
    };

    return cmocka_run_group_tests_name("client_jobs", tests, NULL, NULL);
}
