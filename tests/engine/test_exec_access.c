/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The door of an executor that is alone in its group: who has come over TLS gets as far as his
 * rights go, at once when they change; cursors, sessions and jobs are their identity's own.
 */
#include "tests/engine/exec_stage.h"

#include "replication/engine/engine_state.h"
#include "replication/node/exec_state.h"
#include "replication/wire/mp_reader.h"

#include <stdio.h>

static const struct kvp_identity ann = {KVP_IDENTITY_USER, 0, "stage", "ann"};
static const struct kvp_identity bob = {KVP_IDENTITY_USER, 0, "stage", "bob"};
static const struct kvp_identity worker = {KVP_IDENTITY_WORKER, 0, "stage", "w1"};

static struct kvp_request by(const struct kvp_identity *asker, struct kvp_request request)
{
    request.asker = asker;
    return request;
}

/* An update that is answered when it is committed. */
static void check_update(struct stage *stage, struct kvp_request request, int status)
{
    struct reply reply;
    stage_send(stage, &request, &reply);
    stage_disk(stage);
    assert_true(reply.done);
    assert_int_equal(reply.status, status);
    reply_free(&reply);
}

static void change(struct stage *stage, const char *name, bool grant, const char *right, int status)
{
    char array[128];
    int size = snprintf(array, sizeof(array), "\x91\xd9%c%s", (int)strlen(right), right);
    check_update(stage,
                 (struct kvp_request){.op = KVP_OP_ACCESS_CHANGE,
                                      .key = kvp_slice_of(name, strlen(name)),
                                      .value = kvp_slice_of(array, (size_t)size),
                                      .force = grant},
                 status);
}

/* One that is decoded in the place where it is executed: so what it lacks is not asked before. */
static int ask_bare(struct stage *stage, const struct kvp_identity *asker, unsigned op)
{
    struct reply reply = {0};
    const struct kvp_compare compare = {.kind = KVP_COMPARE_ABSENT, .key = TEXT("k")};
    const struct kvp_request request = {.op = op,
                                        .compares = &compare,
                                        .compare_count = 1,
                                        .group = TEXT("stage"),
                                        .key = TEXT("k"),
                                        .value = TEXT("\x90"),
                                        .cursor = op == KVP_OP_CLOSE_SCAN ? 99 : 0,
                                        .asker = asker};
    kvp_executor_request(stage->executor, stage->now_us, &request, &reply);
    kvp_executor_flush(stage->executor, stage->now_us);
    assert_true(reply.done);
    int status = reply.status;
    reply_free(&reply);
    return status;
}

/* ---- refusals ---- */

static void test_no_operation_is_without_a_check(void **state)
{
    struct stage stage;
    (void)state;
    stage_open(&stage);
    for (unsigned op = 0; op < KVP_OP_CLIENT_END; op++) {
        const struct kvp_operation *operation = kvp_operation_by(op, KVP_BY_CLIENT);
        if (operation != NULL) {
            int status = ask_bare(&stage, &ann, op);
            bool refused = status == KVP_REFUSED;
            if (refused != (operation->needs != KVP_NEEDS_IDENTITY)) {
                fail_msg("%s by somebody without rights: %d", operation->name, status);
            }
        }
    }
    stage_close(&stage);
}

/* Whether a key is there, and which version it has, makes no difference. */
static void test_a_refusal_tells_nothing_of_the_key(void **state)
{
    struct stage stage;
    struct reply there, absent;
    (void)state;
    stage_open(&stage);
    must_put(&stage, "there", "1");
    for (unsigned op = KVP_OP_GET; op <= KVP_OP_CAS; op++) {
        struct kvp_request request = {
            .op = op, .key = TEXT("there"), .value = TEXT("2"), .asker = &ann};
        stage_send(&stage, &request, &there);
        request.key = TEXT("absent");
        stage_send(&stage, &request, &absent);
        assert_true(there.done && absent.done);
        assert_int_equal(there.status, KVP_REFUSED);
        assert_int_equal(absent.status, KVP_REFUSED);
        check_slice(kvp_buf_slice(&there.result), kvp_buf_slice(&absent.result));
        reply_free(&there);
        reply_free(&absent);
    }
    stage_close(&stage);
}

/* ---- changes ---- */

static void test_rights_count_from_their_commit_on(void **state)
{
    struct stage stage;
    (void)state;
    stage_open(&stage);
    must_put(&stage, "app/a", "1");
    check_now(&stage, by(&ann, ask_get("app/a", false)), KVP_REFUSED);
    change(&stage, "user/ann", true, "read app/", KVP_OK);
    check_now(&stage, by(&ann, ask_get("app/a", false)), KVP_OK);
    check_now(&stage, by(&ann, ask_get("app/a", true)), KVP_OK);
    check_now(&stage, by(&ann, ask_get("b", false)), KVP_REFUSED);
    check_now(&stage, by(&ann, ask_get("b", true)), KVP_REFUSED);
    check_now(&stage, by(&ann, ask_put("app/a", "2")), KVP_REFUSED);
    check_now(&stage, by(&bob, ask_get("app/a", false)), KVP_REFUSED);
    check_now(&stage, by(&ann, ask_scan("app/", "app0", 1)), KVP_OK);
    check_now(&stage, by(&ann, ask_scan("app/", "app1", 1)), KVP_REFUSED);
    check_now(&stage, by(&ann, ask_scan("", "", 1)), KVP_REFUSED);
    change(&stage, "user/ann", true, "write app/", KVP_OK);
    check_update(&stage, by(&ann, ask_put("app/a", "2")), KVP_OK);
    change(&stage, "user/ann", false, "read app/", KVP_OK);
    check_now(&stage, by(&ann, ask_get("app/a", false)), KVP_REFUSED);
    check_now(&stage, by(&ann, ask_get("app/a", true)), KVP_REFUSED);
    check_now(&stage, ask_get("app/a", false), KVP_OK); /* without TLS */
    change(&stage, "ann", true, "submit", KVP_BAD_REQUEST);
    change(&stage, "user/ann", true, "everything", KVP_BAD_REQUEST);
    stage_close(&stage);
}

static void stage_restart(struct stage *stage)
{
    stage_disk(stage);
    kvp_disk_close(&stage->disk);
    kvp_executor_close(stage->executor);
    kvp_storage_close(stage->disk.storage);
    memset(&stage->disk, 0, sizeof(stage->disk));
    stage_start(stage);
    stage_disk(stage);
    stage_pass(stage, 5000000);
}

static void test_rights_are_there_after_a_start(void **state)
{
    struct stage stage;
    (void)state;
    stage_open(&stage);
    change(&stage, "user/ann", true, "admin", KVP_OK);
    stage_restart(&stage);
    check_now(&stage, by(&ann, ask_get("a", false)), KVP_NOT_FOUND);
    check_now(&stage, by(&bob, ask_get("a", false)), KVP_REFUSED);
    stage_close(&stage);
}

static void test_a_list_has_everybody(void **state)
{
    struct stage stage;
    struct reply reply;
    const struct kvp_request list = {.op = KVP_OP_ACCESS_LIST};
    (void)state;
    stage_open(&stage);
    check_now(&stage, list, KVP_OK);
    change(&stage, "user/bob", true, "work matmul*", KVP_OK);
    change(&stage, "user/ann", true, "read a%20b", KVP_OK);
    stage_send(&stage, &list, &reply);
    stage_disk(&stage);
    assert_int_equal(reply.status, KVP_OK);
    kvp_buf text = {0};
    assert_int_equal(kvp_wire_json(kvp_buf_slice(&reply.result), true, &text), KVP_OK);
    check_slice(kvp_buf_slice(&text),
                TEXT("[{\"identity\":\"user/ann\",\"rights\":[\"read a%20b\"]},"
                     "{\"identity\":\"user/bob\",\"rights\":[\"work matmul*\"]}]"));
    kvp_buf_free(&text);
    reply_free(&reply);
    stage_close(&stage);
}

/* ---- what is somebody's own ---- */

static void test_a_cursor_is_its_identitys_own(void **state)
{
    struct stage stage;
    struct reply reply;
    struct kvp_scan_result scan;
    struct kvp_request request = by(&ann, ask_scan("app/", "app0", 1));
    (void)state;
    stage_open(&stage);
    must_put(&stage, "app/a", "1");
    must_put(&stage, "app/b", "2");
    must_put(&stage, "app/c", "2");
    change(&stage, "user/ann", true, "read app/", KVP_OK);
    change(&stage, "user/bob", true, "read ", KVP_OK);
    stage_send(&stage, &request, &reply);
    assert_int_equal(kvp_wire_read_scan(kvp_buf_slice(&reply.result), &scan), KVP_OK);
    assert_true(scan.cursor != 0);
    reply_free(&reply);
    request.cursor = scan.cursor;
    check_now(&stage, by(&bob, request), KVP_CURSOR_EXPIRED);
    check_now(&stage, by(NULL, request), KVP_CURSOR_EXPIRED);
    check_now(&stage,
              (struct kvp_request){.op = KVP_OP_CLOSE_SCAN, .cursor = scan.cursor, .asker = &bob},
              KVP_OK);
    check_now(&stage, request, KVP_OK);
    request.key = request.value = TEXT("");
    change(&stage, "user/ann", false, "read app/", KVP_OK);
    check_now(&stage, request, KVP_REFUSED);
    stage_close(&stage);
}

/* Whatever range the request for the next page names. */
static void test_a_scan_goes_on_only_as_far_as_rights_still_go(void **state)
{
    struct stage stage;
    struct reply reply;
    struct kvp_scan_result scan;
    struct kvp_request request = by(&ann, ask_scan("", "", 1));
    (void)state;
    stage_open(&stage);
    must_put(&stage, "a", "1");
    must_put(&stage, "app/b", "2");
    change(&stage, "user/ann", true, "read app/", KVP_OK);
    change(&stage, "user/ann", true, "read ", KVP_OK);
    stage_send(&stage, &request, &reply);
    assert_int_equal(kvp_wire_read_scan(kvp_buf_slice(&reply.result), &scan), KVP_OK);
    reply_free(&reply);
    change(&stage, "user/ann", false, "read ", KVP_OK);
    request = by(&ann, ask_scan("app/", "app0", 1));
    check_now(&stage, request, KVP_OK);
    request.cursor = scan.cursor;
    check_now(&stage, request, KVP_REFUSED);
    stage_close(&stage);
}

static struct kvp_request ask_watch(const struct stage *stage, const char *start, const char *end)
{
    return (struct kvp_request){.op = KVP_OP_WATCH,
                                .key = text(start),
                                .value = text(end),
                                .version = kvp_core_next_seq(kvp_executor_core(stage->executor)),
                                .wait_ms = 10000};
}

static void test_a_right_that_is_revoked_ends_a_watch(void **state)
{
    struct stage stage;
    struct reply watch;
    (void)state;
    stage_open(&stage);
    check_now(&stage, by(&ann, ask_watch(&stage, "app/", "app0")), KVP_REFUSED);
    change(&stage, "user/ann", true, "read app/", KVP_OK);
    check_now(&stage, by(&ann, ask_watch(&stage, "app/", "app1")), KVP_REFUSED);
    check_now(&stage, by(&ann, ask_watch(&stage, "", "")), KVP_REFUSED);
    struct kvp_request request = by(&ann, ask_watch(&stage, "app/", "app0"));
    stage_send(&stage, &request, &watch);
    must_put(&stage, "b", "1");
    change(&stage, "user/ann", false, "read app/", KVP_OK);
    assert_false(watch.done);
    must_put(&stage, "app/a", "1");
    assert_true(watch.done);
    assert_int_equal(watch.status, KVP_REFUSED);
    reply_free(&watch);
    stage_close(&stage);
}

#define SHARE 4096u

/* One identity's watches leave room for those of others. */
static void test_one_identity_has_a_share_of_the_watches(void **state)
{
    static struct reply watches[SHARE];
    struct stage stage;
    struct reply other;
    (void)state;
    stage_open(&stage);
    change(&stage, "user/ann", true, "read app/", KVP_OK);
    change(&stage, "user/bob", true, "read app/", KVP_OK);
    struct kvp_request request = by(&ann, ask_watch(&stage, "app/", "app0"));
    for (unsigned i = 0; i < SHARE; i++) {
        stage_send(&stage, &request, &watches[i]);
        assert_false(watches[i].done);
    }
    check_now(&stage, request, KVP_BUSY);
    request.asker = &bob;
    stage_send(&stage, &request, &other);
    assert_false(other.done);
    must_put(&stage, "app/a", "1");
    for (unsigned step = 0; step < SHARE && !other.done; step++) {
        stage_pass(&stage, 1000); /* they are served in steps, in order */
    }
    for (unsigned i = 0; i < SHARE; i++) {
        assert_true(watches[i].done);
        reply_free(&watches[i]);
    }
    assert_true(other.done);
    reply_free(&other);
    request = by(&ann, ask_watch(&stage, "app/", "app0"));
    stage_send(&stage, &request, &other);
    assert_false(other.done);
    must_put(&stage, "app/a", "2");
    reply_free(&other);
    stage_close(&stage);
}

/* Who learns the number of another one's session gets none of its answers. */
static void test_a_session_is_its_identitys_own(void **state)
{
    struct stage stage;
    struct kvp_request create = with_session(ask_create("app/a", "1"), 7, 0, 1, 0);
    (void)state;
    stage_open(&stage);
    change(&stage, "user/ann", true, "read ", KVP_OK);
    change(&stage, "user/ann", true, "write ", KVP_OK);
    change(&stage, "user/bob", true, "admin", KVP_OK);
    check_update(&stage, by(&ann, create), KVP_OK);
    check_update(&stage, by(&ann, create), KVP_OK); /* the first answer once more */
    check_update(&stage, by(&bob, create), KVP_EXISTS);
    stage_close(&stage);
}

static uint64_t submit(struct stage *stage, const struct kvp_identity *asker)
{
    struct kvp_job_spec spec = {0};
    kvp_buf bytes = {0};
    struct reply reply;
    uint64_t job = 0;
    kvp_job_spec_init(&spec, KVP_JOB_TASKS);
    assert_int_equal(kvp_job_spec_encode(&spec, &bytes), KVP_OK);
    struct kvp_request request = {
        .op = KVP_OP_JOB_NEW, .value = kvp_buf_slice(&bytes), .asker = asker};
    stage_send(stage, &request, &reply);
    stage_disk(stage);
    assert_int_equal(reply.status, KVP_OK);
    assert_int_equal(kvp_wire_read_uint(kvp_buf_slice(&reply.result), &job), KVP_OK);
    reply_free(&reply);
    kvp_buf_free(&bytes);
    return job;
}

static void test_a_job_is_that_of_who_submitted_it(void **state)
{
    struct stage stage;
    (void)state;
    stage_open(&stage);
    change(&stage, "user/ann", true, "submit", KVP_OK);
    change(&stage, "user/bob", true, "submit", KVP_OK);
    uint64_t job = submit(&stage, &ann), plain = submit(&stage, NULL);
    struct kvp_request cancel = {.op = KVP_OP_JOB_CANCEL, .job.job = job};
    struct kvp_request look = {.op = KVP_OP_JOB_INFO, .job.job = job, .job.what = KVP_INFO_JOB};
    check_now(&stage, by(&bob, cancel), KVP_REFUSED);
    check_now(&stage, by(&bob, look), KVP_REFUSED);
    check_now(&stage, by(&ann, look), KVP_OK);
    look.job.what = KVP_INFO_JOBS;
    check_now(&stage, by(&ann, look), KVP_REFUSED);
    cancel.job.job = plain;
    check_now(&stage, by(&ann, cancel), KVP_REFUSED);
    cancel.job.job = job + 100; /* none */
    check_now(&stage, by(&ann, cancel), KVP_REFUSED);
    cancel.job.job = job;
    check_update(&stage, by(&ann, cancel), KVP_OK);
    stage_close(&stage);
}

/* Of a job with this key, with one task, that is started; *own: it was not there before. */
static uint64_t submit_keyed(struct stage *stage, const struct kvp_identity *asker, const char *key,
                             bool *own)
{
    struct kvp_job_spec spec = {0};
    kvp_buf bytes = {0};
    struct reply reply;
    struct kvp_mp_reader reader;
    kvp_job_spec_init(&spec, KVP_JOB_TASKS);
    spec.key = key;
    assert_int_equal(kvp_job_spec_encode(&spec, &bytes), KVP_OK);
    struct kvp_request request = {
        .op = KVP_OP_JOB_NEW, .value = kvp_buf_slice(&bytes), .asker = asker};
    stage_send(stage, &request, &reply);
    stage_disk(stage);
    assert_int_equal(reply.status, KVP_OK);
    kvp_mp_begin(&reader, kvp_buf_slice(&reply.result));
    kvp_mp_array_of(&reader, 2);
    uint64_t job = kvp_mp_uint(&reader);
    *own = kvp_mp_bool(&reader);
    assert_true(kvp_mp_done(&reader));
    reply_free(&reply);
    bytes.size = 0;
    if (*own) {
        assert_int_equal(kvp_job_tasks_open(&bytes, 1), KVP_OK);
        assert_int_equal(kvp_job_tasks_put(&bytes, TEXT("sort"), NULL, 0, false, TEXT("x")),
                         KVP_OK);
        request = (struct kvp_request){
            .op = KVP_OP_JOB_TASKS, .value = kvp_buf_slice(&bytes), .job.job = job};
        check_update(stage, by(asker, request), KVP_OK);
        request = (struct kvp_request){.op = KVP_OP_JOB_START, .job.job = job};
        check_update(stage, by(asker, request), KVP_OK);
    }
    kvp_buf_free(&bytes);
    return job;
}

static unsigned count_owned(struct stage *stage)
{
    unsigned count = 0;
    for (uint64_t job = 0; job < 100; job++) {
        kvp_buf owner = {0};
        count += kvp_engine_job_owner(stage->executor->engine, job, &owner) == KVP_OK;
        kvp_buf_free(&owner);
    }
    return count;
}

/* Who has the same word in mind neither gets another one's job nor learns that there is one. */
static void test_a_key_is_that_of_who_submitted_with_it(void **state)
{
    struct stage stage;
    bool own;
    (void)state;
    stage_open(&stage);
    change(&stage, "user/ann", true, "submit", KVP_OK);
    change(&stage, "user/bob", true, "submit", KVP_OK);
    uint64_t anns = submit_keyed(&stage, &ann, "nightly", &own);
    assert_true(own);
    uint64_t bobs = submit_keyed(&stage, &bob, "nightly", &own);
    assert_true(own && bobs != anns);
    uint64_t nobodys = submit_keyed(&stage, NULL, "nightly", &own);
    assert_true(own && nobodys != anns && nobodys != bobs);
    assert_true(submit_keyed(&stage, &ann, "nightly", &own) == anns && !own);
    assert_true(submit_keyed(&stage, &bob, "nightly", &own) == bobs && !own);
    assert_true(submit_keyed(&stage, NULL, "nightly", &own) == nobodys && !own);
    assert_int_equal(count_owned(&stage), 2); /* nothing is left of those that were there */
    check_update(&stage, by(&ann, (struct kvp_request){.op = KVP_OP_JOB_CANCEL, .job.job = anns}),
                 KVP_OK);
    check_update(&stage, by(&ann, (struct kvp_request){.op = KVP_OP_JOB_REMOVE, .job.job = anns}),
                 KVP_OK);
    assert_true(submit_keyed(&stage, &bob, "nightly", &own) == bobs && !own);
    assert_true(submit_keyed(&stage, &ann, "nightly", &own) != anns && own);
    stage_close(&stage);
}

static void test_what_is_said_of_a_job_later_its_owner_says(void **state)
{
    struct stage stage;
    bool own;
    (void)state;
    stage_open(&stage);
    change(&stage, "user/ann", true, "submit", KVP_OK);
    change(&stage, "user/bob", true, "submit", KVP_OK);
    uint64_t job = submit_keyed(&stage, &ann, "nightly", &own);
    struct kvp_request dead = {
        .op = KVP_OP_JOB_INFO, .count_max = 10, .job = {.job = job, .what = KVP_INFO_DEAD}};
    check_now(&stage, by(&ann, dead), KVP_OK);
    check_now(&stage, by(&bob, dead), KVP_REFUSED);
    struct kvp_request set = {.op = KVP_OP_JOB_SET,
                              .job = {.job = job, .what = KVP_JOB_SET_PAUSED, .number = 1}};
    check_now(&stage, by(&bob, set), KVP_REFUSED);
    check_update(&stage, by(&ann, set), KVP_OK);
    struct kvp_request again = {.op = KVP_OP_JOB_RETRY, .count_max = 10, .job.job = job};
    check_now(&stage, by(&bob, again), KVP_REFUSED);
    check_update(&stage, by(&ann, again), KVP_JOB_STATE);
    struct kvp_request drain = {.op = KVP_OP_WORKER_SET, .key = TEXT("w1"), .job.number = 1};
    check_now(&stage, by(&ann, drain), KVP_REFUSED);
    change(&stage, "user/bob", true, "operate", KVP_OK);
    check_update(&stage, by(&bob, drain), KVP_NOT_FOUND);
    stage_close(&stage);
}

static void test_a_worker_that_waits_is_sent_away_with_its_right(void **state)
{
    struct stage stage;
    struct reply joined, waiting;
    struct kvp_request join = {.op = KVP_OP_WORKER_JOIN,
                               .key = TEXT("w2"),
                               .value = TEXT("\x91\xa4sort"),
                               .job.buffer = 1000,
                               .asker = &worker};
    (void)state;
    stage_open(&stage);
    change(&stage, "worker/w1", true, "work sort", KVP_OK);
    check_now(&stage, join, KVP_REFUSED); /* another name */
    join.key = TEXT("w1");
    join.value = TEXT("\x91\xa4"
                      "sore");
    check_now(&stage, join, KVP_REFUSED); /* another kind */
    join.value = TEXT("\x91\xa4sort");
    stage_send(&stage, &join, &joined);
    stage_disk(&stage);
    assert_int_equal(joined.status, KVP_OK);
    struct kvp_request fetch = {.op = KVP_OP_TASK_FETCH,
                                .key = TEXT("w1"),
                                .job.number = 1,
                                .job.wait_ms = 20000,
                                .asker = &worker};
    assert_int_equal(kvp_wire_read_uint(kvp_buf_slice(&joined.result), &fetch.job.instance),
                     KVP_OK);
    reply_free(&joined);
    stage_send(&stage, &fetch, &waiting);
    assert_false(waiting.done);
    change(&stage, "worker/w1", false, "work sort", KVP_OK);
    stage_pass(&stage, 1000000);
    kvp_executor_flush(stage.executor, stage.now_us);
    assert_true(waiting.done);
    assert_int_equal(waiting.status, KVP_REFUSED);
    reply_free(&waiting);
    stage_close(&stage);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_operation_is_without_a_check),
        cmocka_unit_test(test_a_refusal_tells_nothing_of_the_key),
        cmocka_unit_test(test_rights_count_from_their_commit_on),
        cmocka_unit_test(test_rights_are_there_after_a_start),
        cmocka_unit_test(test_a_list_has_everybody),
        cmocka_unit_test(test_a_cursor_is_its_identitys_own),
        cmocka_unit_test(test_a_scan_goes_on_only_as_far_as_rights_still_go),
        cmocka_unit_test(test_a_right_that_is_revoked_ends_a_watch),
        cmocka_unit_test(test_one_identity_has_a_share_of_the_watches),
        cmocka_unit_test(test_a_session_is_its_identitys_own),
        cmocka_unit_test(test_a_job_is_that_of_who_submitted_it),
        cmocka_unit_test(test_a_key_is_that_of_who_submitted_with_it),
        cmocka_unit_test(test_what_is_said_of_a_job_later_its_owner_says),
        cmocka_unit_test(test_a_worker_that_waits_is_sent_away_with_its_right),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
