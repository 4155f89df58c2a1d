/* SPDX-License-Identifier: Apache-2.0 */
/* Every public function with NULL for what must not be NULL. test_package.py looks whether each
 * name that the library exports stands here. */
#include "kvpair/job_spec.h"
#include "kvpair/kvp_lease.h"
#include "kvpair/kvp_lock.h"
#include "kvpair/kvp_client.h"
#include "kvpair/kvp_jobs.h"
#include "kvpair/kvp_node.h"
#include "kvpair/matrix.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static const kvp_slice key = {"key", 3};
static const kvp_slice missing = {NULL, 3};

#define REFUSED(call) assert_int_equal((call), KVP_BAD_ARGUMENT)

static kvp_client *client_open(void)
{
    kvp_client_options options;
    kvp_client *client = NULL;
    kvp_client_options_init(&options);
    options.nodes = "tcp://127.0.0.1:1";
    options.timeout_ms = 50;
    assert_int_equal(kvp_client_open(&options, &client, NULL, 0), KVP_OK);
    return client;
}

static void test_buffers_and_names_may_be_missing(void **state)
{
    kvp_buf buf = {0};
    (void)state;
    REFUSED(kvp_buf_reserve(NULL, 1));
    REFUSED(kvp_buf_append(NULL, "a", 1));
    REFUSED(kvp_buf_append(&buf, NULL, 1));
    kvp_buf_free(NULL);
    assert_int_equal(kvp_slice_compare(kvp_slice_of(NULL, 0), kvp_slice_of(NULL, 0)), 0);
    assert_string_equal(kvp_strerror(1), "unknown status");
    assert_string_equal(kvp_role_name((enum kvp_role)99), "unknown");
    assert_string_equal(kvp_pair_policy_name((enum kvp_pair_policy)99), "unknown");
    assert_string_equal(kvp_log_level_name((enum kvp_log_level)99), "unknown");
    assert_string_equal(kvp_role_name(KVP_ROLE_STOPPED), "stopped");
    assert_string_equal(kvp_pair_policy_name(KVP_PAIR_AVAILABLE), "available");
    assert_string_equal(kvp_log_level_name(KVP_LOG_DEBUG), "debug");
    assert_string_equal(kvp_version(), KVP_VERSION_STRING);
    assert_int_equal(kvp_version_number(), KVP_VERSION_NUMBER);
}

static void test_a_node_may_be_missing(void **state)
{
    kvp_node_options options;
    kvp_node_state now;
    kvp_node *node = NULL;
    kvp_scan *scan = NULL;
    kvp_buf value = {0};
    char message[200];
    (void)state;
    kvp_node_options_init(NULL);
    kvp_node_options_init_sized(NULL, sizeof(options));
    kvp_node_options_init(&options);
    REFUSED(kvp_node_open(NULL, &node, message, sizeof(message)));
    REFUSED(kvp_node_open(&options, NULL, NULL, 0));
    REFUSED(kvp_node_open(NULL, NULL, NULL, 0));
    REFUSED(kvp_node_stop(NULL));
    REFUSED(kvp_node_reload_certificates(NULL, message, sizeof(message)));
    REFUSED(kvp_node_wait_end(NULL, 1));
    REFUSED(kvp_node_wait_serving(NULL, 1));
    REFUSED(kvp_node_get_state(NULL, &now));
    assert_string_equal(kvp_node_url(NULL), "");
    REFUSED(kvp_node_get(NULL, key, &value, NULL));
    REFUSED(kvp_node_put(NULL, key, key, NULL));
    REFUSED(kvp_node_create(NULL, key, key, NULL));
    REFUSED(kvp_node_delete(NULL, key, 0, NULL));
    REFUSED(kvp_node_cas(NULL, key, 0, key, NULL));
    REFUSED(kvp_node_scan_open(NULL, key, key, false, &scan));
    REFUSED(kvp_node_scan_open_prefix(NULL, key, false, &scan));
    REFUSED(kvp_node_scan_open_backwards(NULL, key, key, false, &scan));
    assert_null(kvp_node_txn_new(NULL));
    REFUSED(kvp_node_handover(NULL, 1));
    assert_int_equal(kvp_node_close(NULL), KVP_OK);
}

static void done(void *arg, const kvp_result *result)
{
    (void)arg;
    (void)result;
}

static void test_a_client_may_be_missing(void **state)
{
    kvp_client_options options;
    kvp_client *client = NULL;
    kvp_result result;
    char message[200];
    (void)state;
    kvp_client_options_init(NULL);
    kvp_client_options_init_sized(NULL, sizeof(options));
    kvp_client_options_init(&options);
    REFUSED(kvp_client_open(NULL, &client, message, sizeof(message)));
    REFUSED(kvp_client_open(&options, &client, NULL, 0));
    options.nodes = "tcp://127.0.0.1:1";
    REFUSED(kvp_client_open(&options, NULL, NULL, 0));
    REFUSED(kvp_get(NULL, key, NULL));
    REFUSED(kvp_get(NULL, key, &result));
    kvp_result_free(&result);
    kvp_result_free(NULL);
    REFUSED(kvp_get_stale(NULL, key, NULL));
    REFUSED(kvp_put(NULL, key, key, NULL));
    REFUSED(kvp_create(NULL, key, key, NULL));
    REFUSED(kvp_delete(NULL, key, 0, NULL));
    REFUSED(kvp_cas(NULL, key, 0, key, NULL));
    REFUSED(kvp_get_async(NULL, key, false, 0, done, NULL));
    REFUSED(kvp_put_async(NULL, key, key, 0, done, NULL));
    REFUSED(kvp_create_async(NULL, key, key, 0, done, NULL));
    REFUSED(kvp_delete_async(NULL, key, 0, 0, done, NULL));
    REFUSED(kvp_cas_async(NULL, key, 0, key, 0, done, NULL));
    REFUSED(kvp_node_status(NULL, NULL, NULL));
    REFUSED(kvp_node_status(NULL, "tcp://127.0.0.1:1", NULL));
    REFUSED(kvp_handover(NULL, 0, NULL));
    REFUSED(kvp_promote(NULL, "tcp://127.0.0.1:1", false, NULL));
    REFUSED(kvp_access_grant(NULL, "user/ann", NULL, 0, NULL));
    REFUSED(kvp_access_revoke(NULL, "user/ann", NULL, 0, NULL));
    REFUSED(kvp_access_list(NULL, NULL));
    REFUSED(kvp_member_add(NULL, 1, "tcp://127.0.0.1:1", NULL));
    REFUSED(kvp_member_remove(NULL, 1, NULL));
    REFUSED(kvp_member_replace(NULL, 1, 2, "tcp://127.0.0.1:1", NULL));
    REFUSED(kvp_member_move(NULL, 1, "tcp://127.0.0.1:1", NULL));
    kvp_client_close(NULL);
    client = client_open();
    REFUSED(kvp_member_add(client, 1, NULL, NULL));
    REFUSED(kvp_member_add(client, 0, "tcp://127.0.0.1:1", NULL));
    REFUSED(kvp_member_replace(client, 1, 64, "tcp://127.0.0.1:1", NULL));
    REFUSED(kvp_put(client, missing, key, NULL));
    REFUSED(kvp_put(client, key, missing, NULL));
    REFUSED(kvp_promote(client, NULL, false, NULL));
    REFUSED(kvp_access_grant(client, NULL, NULL, 0, NULL));
    REFUSED(kvp_access_grant(client, "user/ann", NULL, 1, NULL));
    REFUSED(kvp_access_revoke(client, NULL, NULL, 0, NULL));
    kvp_client_close(client);
}

static void test_a_lease_may_be_missing(void **state)
{
    kvp_client *client = client_open();
    uint64_t number = 0;
    (void)state;
    REFUSED(kvp_put_held(NULL, key, key, 1000, 0, NULL));
    REFUSED(kvp_put_held(client, missing, key, 1000, 0, NULL));
    REFUSED(kvp_create_held(NULL, key, key, 1000, 0, NULL));
    REFUSED(kvp_cas_held(NULL, key, 1, key, 1000, 0, NULL));
    kvp_txn_put_held(NULL, KVP_THEN, key, key, 1000, 0);
    REFUSED(kvp_lease_grant(NULL, 1000, &number, NULL));
    REFUSED(kvp_lease_grant(client, 1000, NULL, NULL));
    REFUSED(kvp_lease_grant(client, 0, &number, NULL));
    REFUSED(kvp_lease_keep(NULL, 1, NULL, NULL));
    REFUSED(kvp_lease_keep(client, 0, NULL, NULL));
    REFUSED(kvp_lease_revoke(NULL, 1, NULL));
    REFUSED(kvp_lease_list(NULL, 0, NULL));
    REFUSED(kvp_lease_show(NULL, 1, NULL));
    REFUSED(kvp_key_left(NULL, key, NULL, NULL, NULL));
    REFUSED(kvp_lock_acquire(NULL, key, key, 1, 0, &number, NULL));
    REFUSED(kvp_lock_acquire(client, key, key, 1, 0, NULL, NULL));
    REFUSED(kvp_lock_acquire(client, key, key, 0, 0, &number, NULL));
    REFUSED(kvp_lock_release(NULL, key, 1, NULL));
    REFUSED(kvp_lock_release(client, key, 0, NULL));
    REFUSED(kvp_node_put_held(NULL, key, key, 1000, 0, NULL));
    REFUSED(kvp_node_create_held(NULL, key, key, 1000, 0, NULL));
    REFUSED(kvp_node_lease_grant(NULL, 1000, &number));
    REFUSED(kvp_node_lease_keep(NULL, 1));
    REFUSED(kvp_node_lease_revoke(NULL, 1));
    kvp_client_close(client);
}

static void test_a_watch_may_be_missing(void **state)
{
    kvp_client *client = client_open();
    kvp_watch *watch = NULL;
    kvp_event event;
    (void)state;
    REFUSED(kvp_watch_open(NULL, key, key, 1, false, &watch, NULL));
    REFUSED(kvp_watch_open(client, key, key, 1, false, NULL, NULL));
    REFUSED(kvp_watch_open(client, missing, key, 1, false, &watch, NULL));
    REFUSED(kvp_watch_open_key(NULL, key, 1, false, &watch, NULL));
    REFUSED(kvp_watch_open_key(client, missing, 1, false, &watch, NULL));
    REFUSED(kvp_watch_open_key(client, (kvp_slice){0}, 1, false, &watch, NULL));
    REFUSED(kvp_watch_open_prefix(NULL, key, 1, false, &watch, NULL));
    REFUSED(kvp_watch_open_prefix(client, missing, 1, false, &watch, NULL));
    REFUSED(kvp_node_watch_open(NULL, key, key, 1, false, &watch));
    REFUSED(kvp_node_watch_open_prefix(NULL, key, 1, false, &watch));
    REFUSED(kvp_watch_next(NULL, 0, &event));
    assert_true(kvp_watch_revision(NULL) == 0);
    assert_true(kvp_watch_behind(NULL) == 0);
    assert_string_equal(kvp_watch_error(NULL), "");
    kvp_watch_close(NULL);
    kvp_client_close(client);
}

static void test_a_backup_may_be_missing(void **state)
{
    kvp_client *client = client_open();
    kvp_backup *backup = NULL;
    kvp_slice bytes;
    (void)state;
    REFUSED(kvp_backup_open(NULL, NULL, 0, 0, &backup, NULL));
    REFUSED(kvp_backup_open(client, NULL, 0, 0, NULL, NULL));
    REFUSED(kvp_backup_open(client, "nowhere", 0, 0, &backup, NULL));
    REFUSED(kvp_backup_next(NULL, &bytes));
    assert_true(kvp_backup_revision(NULL) == 0);
    assert_string_equal(kvp_backup_error(NULL), "");
    assert_int_equal(kvp_backup_close(NULL, true), KVP_OK);
    assert_int_equal(kvp_backup_open(client, NULL, 0, 0, &backup, NULL), KVP_OK);
    REFUSED(kvp_backup_next(backup, NULL));
    REFUSED(kvp_backup_close(backup, true)); /* nothing of it has been read */
    kvp_client_close(client);
}

static void test_a_scan_may_be_missing(void **state)
{
    kvp_client *client = client_open();
    kvp_scan *scan = NULL;
    kvp_slice at;
    (void)state;
    REFUSED(kvp_scan_open(NULL, key, key, false, &scan, NULL));
    REFUSED(kvp_scan_open(client, key, key, false, NULL, NULL));
    REFUSED(kvp_scan_open(client, missing, key, false, &scan, NULL));
    REFUSED(kvp_scan_open_backwards(NULL, key, key, false, &scan, NULL));
    REFUSED(kvp_scan_open_backwards(client, key, key, false, NULL, NULL));
    REFUSED(kvp_scan_open_backwards(client, missing, key, false, &scan, NULL));
    REFUSED(kvp_scan_open_prefix(NULL, key, false, &scan, NULL));
    REFUSED(kvp_scan_open_prefix(client, missing, false, &scan, NULL));
    REFUSED(kvp_scan_next(NULL, &at, &at, NULL));
    assert_string_equal(kvp_scan_error(NULL), "");
    kvp_scan_close(NULL);
    kvp_client_close(client);
}

static void test_a_transaction_may_be_missing(void **state)
{
    (void)state;
    assert_null(kvp_txn_new(NULL));
    kvp_txn_if_absent(NULL, key);
    kvp_txn_if_present(NULL, key);
    kvp_txn_if_version(NULL, key, '=', 1);
    kvp_txn_if_version(NULL, key, '?', 1);
    kvp_txn_if_value(NULL, key, true, key);
    kvp_txn_get(NULL, KVP_THEN, key);
    kvp_txn_add(NULL, KVP_THEN, key, 1);
    kvp_txn_put(NULL, KVP_ELSE, key, key);
    kvp_txn_delete(NULL, KVP_THEN, key);
    REFUSED(kvp_txn_commit(NULL, NULL, NULL));
    assert_string_equal(kvp_txn_error(NULL), "");
    assert_int_equal(kvp_txn_result_count(NULL), 0);
    REFUSED(kvp_txn_result(NULL, 0, NULL, NULL));
    kvp_txn_free(NULL);
}

static void test_a_job_may_be_missing(void **state)
{
    kvp_client *client = client_open();
    struct kvp_job_spec spec;
    struct kvp_matrix matrix = {0};
    kvp_buf tasks = {0};
    uint64_t job;
    (void)state;
    kvp_job_spec_init(&spec, KVP_JOB_TASKS);
    assert_int_equal(kvp_job_tasks_open(&tasks, 0), KVP_OK);
    REFUSED(kvp_job_new(NULL, &spec, &job, NULL));
    REFUSED(kvp_job_new(client, NULL, &job, NULL));
    REFUSED(kvp_job_new(client, &spec, NULL, NULL));
    REFUSED(kvp_job_put_block(NULL, 1, 0, key, NULL));
    REFUSED(kvp_job_put_block(client, 1, 0, missing, NULL));
    REFUSED(kvp_job_add_tasks(NULL, 1, 0, kvp_buf_slice(&tasks), NULL));
    REFUSED(kvp_job_start(NULL, 1, NULL));
    REFUSED(kvp_job_cancel(NULL, 1, NULL));
    REFUSED(kvp_job_remove(NULL, 1, NULL));
    REFUSED(kvp_job_retry(NULL, 1, 0, 1, NULL, NULL));
    REFUSED(kvp_job_set(NULL, 1, KVP_JOB_SET_PAUSED, 1, NULL));
    REFUSED(kvp_job_submit_matmul(NULL, &spec, &matrix, &matrix, 0, &job, NULL, NULL, NULL));
    REFUSED(kvp_job_submit_matmul(client, NULL, &matrix, &matrix, 0, &job, NULL, NULL, NULL));
    REFUSED(kvp_job_submit_matmul(client, &spec, NULL, &matrix, 0, &job, NULL, NULL, NULL));
    REFUSED(kvp_job_submit_matmul(client, &spec, &matrix, NULL, 0, &job, NULL, NULL, NULL));
    REFUSED(kvp_job_submit_matmul(client, &spec, &matrix, &matrix, 0, NULL, NULL, NULL, NULL));
    REFUSED(kvp_job_info(NULL, KVP_INFO_JOBS, 0, 0, NULL, NULL));
    REFUSED(kvp_job_result(NULL, 1, 0, NULL));
    REFUSED(kvp_job_block(NULL, 1, 0, NULL));
    REFUSED(kvp_job_product(NULL, 1, &spec, &matrix, NULL));
    REFUSED(kvp_job_product(client, 1, NULL, &matrix, NULL));
    REFUSED(kvp_job_product(client, 1, &spec, NULL, NULL));
    kvp_buf_free(&tasks);
    kvp_client_close(client);
}

static void test_a_worker_may_be_missing(void **state)
{
    static const char *const kinds[] = {"kind", NULL};
    kvp_client *client = client_open();
    kvp_worker worker = {.name = "worker"};
    kvp_task task = {0};
    bool go_on;
    (void)state;
    REFUSED(kvp_worker_join(NULL, &worker, kinds, 1, 1, false, NULL));
    REFUSED(kvp_worker_join(client, NULL, kinds, 1, 1, false, NULL));
    REFUSED(kvp_worker_join(client, &worker, NULL, 1, 1, false, NULL));
    REFUSED(kvp_worker_join(client, &worker, kinds, 2, 1, false, NULL));
    REFUSED(kvp_worker_leave(NULL, &worker, NULL));
    REFUSED(kvp_worker_leave(client, NULL, NULL));
    REFUSED(kvp_worker_set(NULL, "w", KVP_WORKER_SET_DRAINED, 1, NULL));
    REFUSED(kvp_worker_set(client, NULL, KVP_WORKER_SET_DRAINED, 1, NULL));
    REFUSED(kvp_task_fetch(NULL, &worker, 0, 0, &task, NULL));
    REFUSED(kvp_task_fetch(client, NULL, 0, 0, &task, NULL));
    REFUSED(kvp_task_fetch(client, &worker, 0, 0, NULL, NULL));
    REFUSED(kvp_task_beat(NULL, &worker, &task, 0, NULL, &go_on, NULL));
    REFUSED(kvp_task_beat(client, NULL, &task, 0, NULL, &go_on, NULL));
    REFUSED(kvp_task_beat(client, &worker, NULL, 0, NULL, &go_on, NULL));
    REFUSED(kvp_task_beat(client, &worker, &task, 0, NULL, NULL, NULL));
    REFUSED(kvp_task_post(NULL, &worker, &task, KVP_OUTCOME_RESULT, key, NULL));
    REFUSED(kvp_task_post(client, NULL, &task, KVP_OUTCOME_RESULT, key, NULL));
    REFUSED(kvp_task_post(client, &worker, NULL, KVP_OUTCOME_RESULT, key, NULL));
    kvp_task_free(NULL);
    kvp_client_close(client);
}

static void test_a_specification_may_be_missing(void **state)
{
    struct kvp_job_spec spec;
    const char *reason = NULL;
    struct kvp_job_tile tile = {0};
    kvp_buf out = {0};
    bool is_b = false;
    (void)state;
    kvp_job_spec_init(NULL, KVP_JOB_TASKS);
    kvp_job_spec_init(&spec, KVP_JOB_MATMUL);
    REFUSED(kvp_job_spec_mode(NULL, "single"));
    REFUSED(kvp_job_spec_mode(&spec, NULL));
    REFUSED(kvp_job_spec_tile(NULL, 1000));
    assert_int_equal(kvp_job_spec_tile(&spec, 1000), KVP_BAD_REQUEST); /* nothing to cut */
    REFUSED(kvp_job_spec_check(NULL, &reason));
    assert_int_equal(kvp_job_spec_check(&spec, NULL), KVP_BAD_REQUEST);
    REFUSED(kvp_job_spec_encode(NULL, &out));
    REFUSED(kvp_job_spec_encode(&spec, NULL));
    REFUSED(kvp_job_spec_decode(key, NULL, &reason));
    assert_int_equal(kvp_job_spec_key((kvp_slice){0}).size, 0);
    for (unsigned i = 0; i < 2; i++) {
        const struct kvp_job_spec *of = i == 0 ? NULL : &spec; /* the second has no tiles */
        assert_int_equal(kvp_job_grid_of(of).tasks, 0);
        assert_int_equal(kvp_job_input(of, 0, &is_b).rows, 0);
        assert_int_equal(kvp_job_input(of, 0, NULL).rows, 0);
        assert_int_equal(kvp_job_output(of, 0).rows, 0);
        assert_int_equal(kvp_job_tile_of(of, 0).rows, 0);
        assert_int_equal(kvp_job_block_size(of, (struct kvp_job_block){0}), 0);
    }
    assert_int_equal(kvp_job_tile_size(NULL, &tile), 0);
    assert_int_equal(kvp_job_tile_size(&spec, NULL), 0);
    kvp_job_tile_header(NULL, KVP_INT32, &tile);
}

static void test_a_list_of_tasks_may_be_missing(void **state)
{
    struct kvp_job_tasks tasks = {0};
    struct kvp_job_task task = {0};
    const char *reason = NULL;
    kvp_buf out = {0};
    (void)state;
    REFUSED(kvp_job_tasks_begin(key, NULL, &reason));
    REFUSED(kvp_job_tasks_begin(key, &tasks, NULL));
    assert_false(kvp_job_tasks_next(NULL, &task));
    assert_false(kvp_job_tasks_next(&tasks, NULL));
    assert_int_equal(kvp_job_after_next(NULL), 0);
    REFUSED(kvp_job_tasks_open(NULL, 1));
    REFUSED(kvp_job_tasks_put(NULL, key, NULL, 0, false, key));
    REFUSED(kvp_job_tasks_put(&out, key, NULL, 1, false, key));
}

static void test_a_matrix_may_be_missing(void **state)
{
    struct kvp_matrix matrix = {0};
    struct kvp_block block = {0};
    enum kvp_matrix_type type;
    char message[100];
    uint8_t bytes[8] = {0};
    (void)state;
    assert_false(kvp_matrix_type_valid(4));
    assert_false(kvp_matrix_type_is_float((enum kvp_matrix_type)9));
    assert_int_equal(kvp_matrix_element_size((enum kvp_matrix_type)9), 0);
    assert_string_equal(kvp_matrix_type_name((enum kvp_matrix_type)9), "unknown");
    REFUSED(kvp_matrix_type_of(NULL, &type));
    REFUSED(kvp_matrix_type_of("int32", NULL));
    REFUSED(kvp_matrix_size(KVP_INT32, 1, 1, NULL));
    REFUSED(kvp_matrix_new(KVP_INT32, 1, 1, NULL));
    REFUSED(kvp_matrix_cut(NULL, &block, bytes));
    REFUSED(kvp_matrix_cut(&matrix, NULL, bytes));
    REFUSED(kvp_matrix_cut(&matrix, &block, NULL));
    REFUSED(kvp_matrix_paste(NULL, &block, bytes));
    REFUSED(kvp_matrix_paste(&matrix, NULL, bytes));
    REFUSED(kvp_matrix_paste(&matrix, &block, NULL));
    assert_false(kvp_matrix_has_nonfinite(KVP_FLOAT64, kvp_slice_of(NULL, 0)));
    REFUSED(kvp_matrix_convert(NULL, KVP_INT32, &matrix, message, sizeof(message)));
    REFUSED(kvp_matrix_convert(&matrix, KVP_INT32, NULL, message, sizeof(message)));
    kvp_matrix_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_buffers_and_names_may_be_missing),
        cmocka_unit_test(test_a_node_may_be_missing),
        cmocka_unit_test(test_a_client_may_be_missing),
        cmocka_unit_test(test_a_lease_may_be_missing),
        cmocka_unit_test(test_a_watch_may_be_missing),
        cmocka_unit_test(test_a_scan_may_be_missing),
        cmocka_unit_test(test_a_backup_may_be_missing),
        cmocka_unit_test(test_a_transaction_may_be_missing),
        cmocka_unit_test(test_a_job_may_be_missing),
        cmocka_unit_test(test_a_worker_may_be_missing),
        cmocka_unit_test(test_a_specification_may_be_missing),
        cmocka_unit_test(test_a_list_of_tasks_may_be_missing),
        cmocka_unit_test(test_a_matrix_may_be_missing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
