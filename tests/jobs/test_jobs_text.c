/* SPDX-License-Identifier: Apache-2.0 */
/* The job engine: names, kinds and reasons, which people read and strict decoders decode. */
#include "tests/jobs/jobs_support.h"

#include "replication/jobs/job_records.h"
#include "replication/wire/mp_reader.h"
#include "replication/wire/mp_writer.h"

#include <stdio.h>
#include <string.h>

#define UMLAUT "\xc3\xb6"

/* The request is refused, and the reason has this word. */
static void check_bad(const struct kvp_request *request, const char *word)
{
    kvp_buf answer = {0};
    struct kvp_mp_reader reader;
    char reason[200];
    assert_int_equal(farm_ask(&farm, request, &answer), KVP_BAD_REQUEST);
    kvp_mp_begin(&reader, kvp_buf_slice(&answer));
    kvp_slice found = kvp_mp_str(&reader);
    assert_true(kvp_mp_done(&reader));
    (void)snprintf(reason, sizeof(reason), "%.*s", (int)found.size, (const char *)found.data);
    assert_non_null(strstr(reason, word));
    kvp_buf_free(&answer);
}

static void check_bad_kind(uint64_t job, const char *kind, const char *word)
{
    kvp_buf bytes = {0};
    struct kvp_request request = {.op = KVP_OP_JOB_TASKS, .job = {.job = job}};
    assert_int_equal(kvp_job_tasks_open(&bytes, 1), KVP_OK);
    assert_int_equal(kvp_job_tasks_put(&bytes, text(kind), NULL, 0, false, text("")), KVP_OK);
    request.value = kvp_buf_slice(&bytes);
    check_bad(&request, word);
    kvp_buf_free(&bytes);
}

static void check_bad_worker(const char *name, const char *kind, const char *word)
{
    kvp_buf kinds = {0};
    struct kvp_mp_writer writer;
    struct kvp_request request = {.op = KVP_OP_WORKER_JOIN, .key = text(name)};
    kvp_mp_write_begin(&writer, &kinds);
    kvp_mp_write_array(&writer, 1);
    kvp_mp_write_text(&writer, kind);
    assert_int_equal(kvp_mp_write_end(&writer), KVP_OK);
    request.value = kvp_buf_slice(&kinds);
    check_bad(&request, word);
    kvp_buf_free(&kinds);
}

static void test_names_that_are_not_utf8_are_refused(void **state)
{
    (void)state;
    struct kvp_job_spec spec = mode_of("single");
    kvp_buf bytes = {0};
    uint64_t job = farm_new(&farm, &spec);
    check_bad_kind(job, "k\xf6", "UTF-8");
    check_bad_worker("w\xf6", "count", "UTF-8");
    check_bad_worker("w", "k\xc3", "UTF-8");
    memcpy(spec.name, "n\xf6", 3);
    assert_int_equal(kvp_job_spec_encode(&spec, &bytes), KVP_OK);
    struct kvp_request request = {.op = KVP_OP_JOB_NEW, .value = kvp_buf_slice(&bytes)};
    check_bad(&request, "UTF-8");
    kvp_buf_free(&bytes);
    (void)farm_join(&farm, "w" UMLAUT, "k" UMLAUT, false);
    assert_int_equal(farm_add(&farm, job, 0, "k" UMLAUT, "", NULL, false), KVP_OK);
    memcpy(spec.name, UMLAUT, 3);
    assert_string_equal(farm_text(&farm, farm_new(&farm, &spec), "name"), UMLAUT);
}

static void test_kinds_of_products_are_refused_for_tasks(void **state)
{
    (void)state;
    struct kvp_job_spec spec = mode_of("single");
    uint64_t job = farm_new(&farm, &spec);
    check_bad_kind(job, "matmul", "reserved");
    check_bad_kind(job, "matmul-blocks", "reserved");
    assert_int_equal(farm_number(&farm, job, "tasks"), 0);
    assert_int_equal(farm_add(&farm, job, 0, "matmul-", "", NULL, false), KVP_OK);
}

/* Lets an only task fail for this reason; why the job failed. */
static const char *fail_with(const char *reason)
{
    struct kvp_job_spec spec = mode_of("single");
    struct kvp_task_grant grant;
    spec.attempts_max = 1;
    uint64_t job = farm_job(&farm, &spec, 1);
    struct hand ann = farm_join(&farm, "ann", "count", false);
    assert_int_equal(farm_fetch(&farm, &ann, &grant), KVP_OK);
    assert_int_equal(farm_post_bytes(&farm, &ann, &grant, KVP_OUTCOME_FAILED, text(reason), NULL),
                     KVP_OK);
    farm_wait(&farm, 1000);
    assert_string_equal(farm_text(&farm, job, "state"), "failed");
    return farm_text(&farm, job, "reason");
}

static void test_a_reason_is_cut_between_characters(void **state)
{
    (void)state;
    char reason[2 * 150 + 1] = "";
    for (unsigned i = 0; i < 150; i++) {
        memcpy(reason + 2 * i, UMLAUT, 3);
    }
    for (unsigned i = 0; i < 2; i++) {
        const char *kept = fail_with(reason + i);
        size_t size = strlen(kept);
        assert_in_range(size, 190, JOB_REASON_MAX);
        assert_memory_equal(kept + size - 100 * 1, reason + 200, 100);
        const char *first = strstr(kept, UMLAUT);
        assert_non_null(first);
        for (const char *at = first; *at; at += 2) {
            assert_memory_equal(at, UMLAUT, 2);
        }
    }
}

static void test_the_end_of_a_long_reason_is_kept(void **state)
{
    (void)state;
    char reason[600];
    memset(reason, 'x', sizeof(reason));
    memcpy(reason, "exit status 1: ", 15);
    (void)snprintf(reason + 500, 100, "\nValueError: too hot");
    const char *kept = fail_with(reason);
    assert_memory_equal(kept, "task 0 failed", 13);
    assert_non_null(strstr(kept, " ValueError: too hot"));
    assert_string_equal(strstr(kept, " ValueError"), " ValueError: too hot");
    assert_string_equal(fail_with("short\xff\x1b"), "task 0 failed: short? ");
}

/* What a version before this one has stored. */
static void load_job(uint64_t job, const struct job_record *record)
{
    struct kvp_raw_key key;
    kvp_buf bytes = {0};
    job_key_job(&key, job);
    assert_int_equal(job_record_encode(record, &bytes), KVP_OK);
    assert_int_equal(farm_load_with(&farm, &key, &bytes), KVP_OK);
    kvp_buf_free(&bytes);
    farm_work(&farm);
}

static void test_stored_names_that_are_not_utf8_are_shown_without(void **state)
{
    (void)state;
    struct kvp_job_spec spec = mode_of("single");
    uint64_t job = farm_job(&farm, &spec, 1);
    struct job_record record = {.spec = spec,
                                .state = JOB_FAILED,
                                .task_count = 1,
                                .reason = "\xc3",
                                .kind_count = 1,
                                .kinds = {{"count"}}};
    memcpy(record.spec.name, "n\xf6\x1b[2J", 7);
    load_job(job, &record);
    assert_string_equal(farm_text(&farm, job, "name"), "n? [2J");
    assert_string_equal(farm_text(&farm, job, "reason"), "?");
}

/* Its workers would be given what they take for blocks of matrices, give it back, and so on. */
static void test_a_stored_job_with_a_kind_of_products_fails(void **state)
{
    (void)state;
    struct kvp_job_spec spec = mode_of("single");
    uint64_t job = farm_job(&farm, &spec, 1);
    struct job_record record = {.spec = spec,
                                .state = JOB_RUNNING,
                                .task_count = 1,
                                .kind_count = 1,
                                .kinds = {{"matmul-blocks"}}};
    load_job(job, &record);
    assert_string_equal(farm_text(&farm, job, "state"), "failed");
    assert_non_null(strstr(farm_text(&farm, job, "reason"), "reserved"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FARM_TEST(test_names_that_are_not_utf8_are_refused),
        FARM_TEST(test_kinds_of_products_are_refused_for_tasks),
        FARM_TEST(test_a_reason_is_cut_between_characters),
        FARM_TEST(test_the_end_of_a_long_reason_is_kept),
        FARM_TEST(test_stored_names_that_are_not_utf8_are_shown_without),
        FARM_TEST(test_a_stored_job_with_a_kind_of_products_fails),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
