/* SPDX-License-Identifier: Apache-2.0 */
/* Scans and transactions as users of the client library have them. */
#include "client_fixture.h"

#include "kvpair/kvp_client.h"
#include "fake_server.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

/* ---- scans ---- */

static void fill(kvp_client *client, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        char key[16], value[16];
        (void)snprintf(key, sizeof(key), "s/%03u", i);
        (void)snprintf(value, sizeof(value), "%u", i);
        put_text(client, key, value);
    }
}

/* Reads to the end, and checks keys s/first, s/first+1, ... */
static unsigned read_scan(kvp_scan *scan, unsigned first, bool keys_only)
{
    unsigned count = 0;
    kvp_slice key, value;
    uint64_t version = 0;
    kvp_status status;
    while ((status = kvp_scan_next(scan, &key, &value, &version)) == KVP_OK) {
        char wanted[16], content[16];
        (void)snprintf(wanted, sizeof(wanted), "s/%03u", first + count);
        (void)snprintf(content, sizeof(content), "%u", first + count);
        assert_int_equal(kvp_slice_compare(key, text(wanted)), 0);
        assert_int_equal(kvp_slice_compare(value, text(keys_only ? "" : content)), 0);
        assert_true(version > 100);
        count++;
    }
    assert_int_equal(status, KVP_NOT_FOUND);
    assert_int_equal(kvp_scan_next(scan, &key, &value, NULL), KVP_NOT_FOUND);
    kvp_scan_close(scan);
    return count;
}

static void test_a_scan_reads_page_after_page(void **state)
{
    (void)state;
    static struct fixture f;
    kvp_scan *scan = NULL;
    fixture_begin(&f);
    put_text(f.client, "r", "before");
    put_text(f.client, "t", "behind");
    fill(f.client, 10 * SERVER_PAGE + 1);
    assert_int_equal(kvp_scan_open_prefix(f.client, text("s/"), false, &scan, NULL), KVP_OK);
    assert_int_equal(read_scan(scan, 0, false), 10 * SERVER_PAGE + 1);
    assert_int_equal(f.server.requests[KVP_OP_SCAN], 11);
    assert_int_equal(f.server.requests[KVP_OP_CLOSE_SCAN], 0); /* it was read to its end */
    assert_int_equal(kvp_scan_open(f.client, text("s/004"), text("s/013"), true, &scan, NULL),
                     KVP_OK);
    assert_int_equal(read_scan(scan, 4, true), 9);
    assert_int_equal(kvp_scan_open(f.client, text("x"), text(""), true, &scan, NULL), KVP_OK);
    assert_int_equal(read_scan(scan, 0, true), 0);
    kvp_scan_close(NULL);
    fixture_end(&f);
}

static void test_a_scan_closed_early_gives_up_its_cursor(void **state)
{
    (void)state;
    static struct fixture f;
    kvp_scan *scan = NULL;
    kvp_slice key, value;
    fixture_begin(&f);
    fill(f.client, 10);
    assert_int_equal(kvp_scan_open(f.client, text(""), text(""), false, &scan, NULL), KVP_OK);
    assert_int_equal(kvp_scan_next(scan, &key, &value, NULL), KVP_OK);
    kvp_scan_close(scan);
    server_wait_requests(&f.server, KVP_OP_CLOSE_SCAN, 1);
    fixture_end(&f);
}

static void test_a_scan_of_a_prefix_of_the_highest_bytes_has_no_end(void **state)
{
    (void)state;
    static struct fixture f;
    static const char *const keys[] = {"a\xfe", "a\xff", "a\xff\x01", "a\xff\xff", "b", "\xff"};
    static const struct {
        const char *prefix;
        unsigned count;
    } cases[] = {{"a\xff", 3}, {"a", 4}, {"\xff", 1}, {"\xff\xff", 0}, {"", 6}, {"a\xff\xff", 1}};
    kvp_scan *scan = NULL;
    kvp_slice key, value;
    fixture_begin(&f);
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        put_text(f.client, keys[i], "");
    }
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        unsigned count = 0;
        assert_int_equal(kvp_scan_open_prefix(f.client, text(cases[i].prefix), true, &scan, NULL),
                         KVP_OK);
        while (kvp_scan_next(scan, &key, &value, NULL) == KVP_OK) {
            count++;
        }
        assert_int_equal(count, cases[i].count);
        kvp_scan_close(scan);
    }
    fixture_end(&f);
}

static void test_scans_and_transactions_say_why_they_failed(void **state)
{
    (void)state;
    static struct fixture f;
    kvp_scan *scan = NULL;
    kvp_result result;
    fixture_begin(&f);
    kvp_client *other = open_client_of(server_url(&f.server), "another", 1000);
    assert_int_equal(kvp_scan_open(other, text(""), text(""), true, &scan, &result),
                     KVP_WRONG_GROUP);
    assert_int_equal(result.status, KVP_WRONG_GROUP);
    check_reason(&result, "default"); /* the node's word */
    assert_int_equal(kvp_scan_open(other, text(""), text(""), true, &scan, NULL), KVP_WRONG_GROUP);
    kvp_client_close(other);
    other = open_client("tcp://127.0.0.1:1", 100); /* nobody */
    kvp_txn *txn = kvp_txn_new(other);
    assert_string_equal(kvp_txn_error(txn), "");
    kvp_txn_get(txn, KVP_THEN, text("a"));
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(kvp_txn_commit(txn, NULL, NULL), KVP_UNAVAILABLE);
        assert_memory_equal(kvp_txn_error(txn), "no node can be reached: tcp://", 30);
    }
    kvp_txn_put(txn, KVP_THEN, text(""), text("1"));
    kvp_txn_get(txn, (kvp_branch)2, text("a"));
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(kvp_txn_commit(txn, NULL, NULL), KVP_BAD_ARGUMENT);
        assert_string_equal(kvp_txn_error(txn), "the key is empty");
    }
    kvp_txn_free(txn);
    kvp_client_close(other);
    fill(f.client, 10);
    assert_int_equal(kvp_scan_open(f.client, text(""), text(""), true, &scan, &result), KVP_OK);
    assert_true(result.status == KVP_OK && result.value.data == NULL);
    assert_string_equal(kvp_scan_error(scan), "");
    kvp_scan_close(scan);
    fixture_end(&f);
}

/* And it must never look complete afterwards. */
static void check_expires(kvp_scan *scan, const char *reason)
{
    kvp_slice key, value;
    for (unsigned i = 0; i < SERVER_PAGE; i++) {
        assert_int_equal(kvp_scan_next(scan, &key, &value, NULL), KVP_OK);
    }
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(kvp_scan_next(scan, &key, &value, NULL), KVP_CURSOR_EXPIRED);
        assert_memory_equal(kvp_scan_error(scan), reason, strlen(reason) + (*reason ? 0 : 1));
    }
    kvp_scan_close(scan);
}

static void test_a_scan_expires_with_its_node(void **state)
{
    (void)state;
    static struct fake_server server;
    kvp_scan *scan = NULL;
    char url[64];
    server_open(&server, NULL);
    (void)snprintf(url, sizeof(url), "%s", server_url(&server));
    kvp_client *client = open_client(url, 500);
    fill(client, 10);
    assert_int_equal(kvp_scan_open(client, text(""), text(""), false, &scan, NULL), KVP_OK);
    server_close(&server);
    check_expires(scan, "the node cannot be reached");
    server_open(&server, url);
    fill(client, 10);
    assert_int_equal(kvp_scan_open(client, text(""), text(""), false, &scan, NULL), KVP_OK);
    pthread_mutex_lock(&server.lock);
    server.cursor += 1000; /* it has forgotten it, as after a restart */
    pthread_mutex_unlock(&server.lock);
    check_expires(scan, "");
    kvp_client_close(client);
    server_close(&server);
}

static void test_bounds_of_a_scan_are_checked(void **state)
{
    (void)state;
    static struct fixture f;
    static char bytes[KVP_KEY_SIZE_MAX + 1];
    kvp_slice big = kvp_slice_of(bytes, sizeof(bytes));
    kvp_scan *scan = NULL;
    kvp_result result;
    fixture_begin(&f);
    assert_int_equal(kvp_scan_open(f.client, big, text(""), false, &scan, NULL), KVP_TOO_LARGE);
    assert_int_equal(kvp_scan_open(f.client, text(""), big, false, &scan, NULL), KVP_TOO_LARGE);
    assert_int_equal(kvp_scan_open_prefix(f.client, big, false, &scan, NULL), KVP_TOO_LARGE);
    assert_null(scan);
    assert_int_equal(kvp_scan_open_prefix(f.client, big, false, &scan, &result), KVP_TOO_LARGE);
    check_reason(&result, "longer than 1024");
    fixture_end(&f);
}

/* ---- transactions ---- */

static void build(kvp_txn *txn)
{
    kvp_txn_if_absent(txn, text("absent"));
    kvp_txn_if_present(txn, text("a"));
    kvp_txn_if_version(txn, text("a"), '=', 101);
    kvp_txn_if_value(txn, text("a"), true, text("1"));
    kvp_txn_get(txn, KVP_THEN, text("a"));
    kvp_txn_put(txn, KVP_THEN, text("b"), text("2"));
    kvp_txn_delete(txn, KVP_THEN, text("a"));
    kvp_txn_delete(txn, KVP_THEN, text("a"));
    kvp_txn_get(txn, KVP_THEN, text("a"));
    kvp_txn_get(txn, KVP_ELSE, text("b"));
}

static void test_results_of_a_transaction(void **state)
{
    (void)state;
    static struct fixture f;
    static const kvp_status wanted[] = {KVP_OK, KVP_OK, KVP_OK, KVP_NOT_FOUND, KVP_NOT_FOUND};
    bool succeeded = false;
    uint64_t revision = 0, version = 0;
    kvp_slice value;
    fixture_begin(&f);
    put_text(f.client, "a", "1");
    f.server.txn_succeeds = true;
    kvp_txn *txn = kvp_txn_new(f.client);
    build(txn);
    assert_int_equal(kvp_txn_result_count(txn), 0);
    assert_int_equal(kvp_txn_commit(txn, &succeeded, &revision), KVP_OK);
    assert_true(succeeded && revision == 102);
    assert_int_equal(kvp_txn_result_count(txn), 5);
    for (size_t i = 0; i < 5; i++) {
        assert_int_equal(kvp_txn_result(txn, i, NULL, NULL), wanted[i]);
    }
    assert_int_equal(kvp_txn_result(txn, 0, &value, &version), KVP_OK);
    assert_true(version == 101 && kvp_slice_compare(value, text("1")) == 0);
    assert_int_equal(kvp_txn_result(txn, 5, &value, &version), KVP_BAD_ARGUMENT);
    f.server.txn_succeeds = false; /* the same once more: the other branch */
    assert_int_equal(kvp_txn_commit(txn, &succeeded, NULL), KVP_OK);
    assert_false(succeeded);
    assert_int_equal(kvp_txn_result_count(txn), 1);
    assert_int_equal(kvp_txn_result(txn, 0, &value, NULL), KVP_OK);
    assert_int_equal(kvp_slice_compare(value, text("2")), 0);
    kvp_txn_free(txn);
    kvp_txn_free(NULL);
    fixture_end(&f);
}

static kvp_status commit_and_free(kvp_txn *txn)
{
    bool succeeded = true;
    kvp_status status = kvp_txn_commit(txn, &succeeded, NULL);
    assert_int_equal(kvp_txn_result_count(txn), 0);
    kvp_txn_free(txn);
    return status;
}

static void test_mistakes_in_a_transaction_show_at_commit(void **state)
{
    (void)state;
    static struct fixture f;
    static char big[KVP_VALUE_SIZE_MAX + 1];
    fixture_begin(&f);
    kvp_txn *txn = kvp_txn_new(f.client);
    kvp_txn_put(txn, KVP_THEN, text(""), text("1"));
    kvp_txn_put(txn, KVP_THEN, text("a"), kvp_slice_of(big, sizeof(big))); /* the first counts */
    assert_int_equal(commit_and_free(txn), KVP_BAD_ARGUMENT);
    txn = kvp_txn_new(f.client);
    kvp_txn_put(txn, KVP_THEN, text("a"), kvp_slice_of(big, sizeof(big)));
    assert_int_equal(commit_and_free(txn), KVP_TOO_LARGE);
    txn = kvp_txn_new(f.client);
    kvp_txn_if_version(txn, text("a"), '!', 1);
    assert_int_equal(commit_and_free(txn), KVP_BAD_ARGUMENT);
    txn = kvp_txn_new(f.client);
    kvp_txn_get(txn, (kvp_branch)2, text("a"));
    assert_int_equal(commit_and_free(txn), KVP_BAD_ARGUMENT);
    txn = kvp_txn_new(f.client);
    for (unsigned i = 0; i < 5; i++) { /* 5 MiB */
        kvp_txn_put(txn, KVP_ELSE, text("a"), kvp_slice_of(big, KVP_VALUE_SIZE_MAX));
    }
    assert_int_equal(commit_and_free(txn), KVP_TOO_LARGE);
    txn = kvp_txn_new(f.client);
    for (unsigned i = 0; i <= KVP_TXN_OPS_MAX; i++) {
        kvp_txn_if_present(txn, text("a"));
    }
    assert_int_equal(commit_and_free(txn), KVP_TOO_LARGE);
    assert_int_equal(f.server.requests[KVP_OP_TXN], 0);
    fixture_end(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_scan_reads_page_after_page),
        cmocka_unit_test(test_a_scan_closed_early_gives_up_its_cursor),
        cmocka_unit_test(test_a_scan_of_a_prefix_of_the_highest_bytes_has_no_end),
        cmocka_unit_test(test_a_scan_expires_with_its_node),
        cmocka_unit_test(test_scans_and_transactions_say_why_they_failed),
        cmocka_unit_test(test_bounds_of_a_scan_are_checked),
        cmocka_unit_test(test_results_of_a_transaction),
        cmocka_unit_test(test_mistakes_in_a_transaction_show_at_commit),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
