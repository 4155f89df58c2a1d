/* SPDX-License-Identifier: Apache-2.0 */
/* The client library as its users have it, against a server within the test. */
#include "client_fixture.h"

#include "kvpair/kvp_client.h"
#include "fake_server.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* ---- synchronous ---- */

static void test_synchronous_calls_give_what_the_node_answers(void **state)
{
    (void)state;
    static struct fixture f;
    kvp_result result;
    fixture_begin(&f);
    assert_int_equal(kvp_get(f.client, text("a"), &result), KVP_NOT_FOUND);
    kvp_result_free(&result);
    assert_int_equal(kvp_put(f.client, text("a"), text("1"), &result), KVP_OK);
    uint64_t created = result.version;
    assert_int_equal(kvp_create(f.client, text("a"), text("2"), &result), KVP_EXISTS);
    assert_true(result.status == KVP_EXISTS && result.version == created);
    assert_int_equal(kvp_cas(f.client, text("a"), created + 1, text("2"), &result),
                     KVP_VERSION_DIFFERS);
    assert_true(result.version == created);
    assert_int_equal(kvp_cas(f.client, text("a"), created, text("22"), &result), KVP_OK);
    uint64_t changed = result.version;
    assert_true(changed > created);
    assert_int_equal(kvp_get_stale(f.client, text("a"), &result), KVP_OK);
    assert_true(result.version == changed && result.create_revision == created);
    assert_true(result.behind == 5 && result.value.size == 2);
    assert_memory_equal(result.value.data, "22", 2);
    kvp_result_free(&result);
    assert_int_equal(kvp_delete(f.client, text("a"), created, NULL), KVP_VERSION_DIFFERS);
    assert_int_equal(kvp_delete(f.client, text("a"), 0, &result), KVP_OK);
    assert_true(result.version > changed);
    assert_int_equal(kvp_delete(f.client, text("a"), 0, NULL), KVP_NOT_FOUND);
    fixture_end(&f);
}

static void test_values_of_all_sizes_come_back(void **state)
{
    (void)state;
    static struct fixture f;
    static const size_t sizes[] = {0, 1, 31, 32, 255, 256, 65535, 65536, KVP_VALUE_SIZE_MAX};
    uint8_t *value = malloc(KVP_VALUE_SIZE_MAX);
    char key[KVP_KEY_SIZE_MAX];
    kvp_result result;
    fixture_begin(&f);
    assert_non_null(value);
    memset(key, 'k', sizeof(key));
    for (size_t i = 0; i < KVP_VALUE_SIZE_MAX; i++) {
        value[i] = (uint8_t)(i * 7 + i / 251);
    }
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        kvp_slice name = kvp_slice_of(key, i % 2 == 0 ? sizeof(key) : i);
        kvp_slice sent = kvp_slice_of(sizes[i] == 0 ? NULL : value, sizes[i]);
        assert_int_equal(kvp_put(f.client, name, sent, NULL), KVP_OK);
        assert_int_equal(kvp_get(f.client, name, &result), KVP_OK);
        assert_int_equal(kvp_slice_compare(kvp_buf_slice(&result.value), sent), 0);
        kvp_result_free(&result);
    }
    free(value);
    fixture_end(&f);
}

/* Nothing of it reaches the node. */
static void test_wrong_arguments_are_refused_with_a_reason(void **state)
{
    (void)state;
    static struct fixture f;
    static uint8_t big[KVP_VALUE_SIZE_MAX + 1];
    const kvp_slice none = {NULL, 0};
    kvp_slice long_key = kvp_slice_of(big, KVP_KEY_SIZE_MAX + 1);
    kvp_slice long_value = kvp_slice_of(big, sizeof(big));
    kvp_result result;
    fixture_begin(&f);
    assert_int_equal(kvp_get(f.client, none, &result), KVP_BAD_ARGUMENT);
    assert_true(result.status == KVP_BAD_ARGUMENT && result.value.size > 0);
    kvp_result_free(&result);
    assert_int_equal(kvp_put(f.client, long_key, none, &result), KVP_TOO_LARGE);
    assert_true(result.status == KVP_TOO_LARGE && result.value.size > 0);
    kvp_result_free(&result);
    assert_int_equal(kvp_put(f.client, text("k"), long_value, NULL), KVP_TOO_LARGE);
    assert_int_equal(kvp_cas(f.client, text("k"), 1, long_value, NULL), KVP_TOO_LARGE);
    assert_int_equal(kvp_put(f.client, text("k"), kvp_slice_of(NULL, 1), NULL), KVP_BAD_ARGUMENT);
    assert_int_equal(kvp_get_async(f.client, long_key, false, 0, NULL, NULL), KVP_TOO_LARGE);
    assert_int_equal(kvp_create_async(f.client, none, none, 0, NULL, NULL), KVP_BAD_ARGUMENT);
    assert_int_equal(kvp_handover(f.client, KVP_NODE_ID_MAX + 1, NULL), KVP_BAD_ARGUMENT);
    assert_int_equal(kvp_promote(f.client, NULL, false, NULL), KVP_BAD_ARGUMENT);
    assert_int_equal(kvp_promote(f.client, "somewhere", false, NULL), KVP_BAD_ARGUMENT);
    assert_int_equal(kvp_node_status(f.client, "tcp://x:99999", NULL), KVP_BAD_ARGUMENT);
    for (unsigned op = 0; op <= KVP_OP_CLOSE_SCAN; op++) {
        assert_int_equal(f.server.requests[op], 0);
    }
    fixture_end(&f);
}

static void check_not_opened(const char *nodes, const char *group)
{
    kvp_client_options options;
    kvp_client *client = NULL;
    char message[200] = "";
    kvp_client_options_init(&options);
    options.nodes = nodes;
    options.group = group;
    if (kvp_client_open(&options, &client, message, sizeof(message)) != KVP_BAD_ARGUMENT) {
        fail_msg("opened: '%s'", nodes);
    }
    assert_null(client);
    assert_true(strlen(message) > 10);
    assert_int_equal(kvp_client_open(&options, &client, NULL, 0), KVP_BAD_ARGUMENT);
}

static void test_malformed_options_are_refused_with_a_reason(void **state)
{
    (void)state;
    char long_url[400] = "tcp://";
    char many[17 * 24] = "";
    char group[KVP_GROUP_NAME_MAX + 2] = "";
    memset(long_url + 6, 'x', sizeof(long_url) - 7);
    memset(group, 'g', KVP_GROUP_NAME_MAX + 1);
    for (unsigned i = 0; i < 17; i++) {
        size_t used = strlen(many);
        (void)snprintf(many + used, sizeof(many) - used, "%stcp://127.0.0.1:%u", i > 0 ? "," : "",
                       i + 1);
    }
    static const char *const lists[] = {"",
                                        ",",
                                        "tcp://127.0.0.1:1,",
                                        ",tcp://127.0.0.1:1",
                                        "tcp://127.0.0.1:1,,tcp://127.0.0.1:2",
                                        "127.0.0.1:7001",
                                        "tcp://",
                                        "tcp://127.0.0.1",
                                        "tcp://127.0.0.1:",
                                        "tcp://127.0.0.1:x",
                                        "tcp://127.0.0.1:65536",
                                        "udp://127.0.0.1:1",
                                        "tcp://127.0.0.1:1, tcp://127.0.0.1:2"};
    check_not_opened(NULL, NULL);
    for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
        check_not_opened(lists[i], NULL);
    }
    check_not_opened(long_url, NULL);
    check_not_opened(many, NULL);
    check_not_opened("tcp://127.0.0.1:1", "");
    check_not_opened("tcp://127.0.0.1:1", group);
    many[strrchr(many, ',') - many] = '\0';
    kvp_client_close(open_client(many, 0)); /* 16 are fine */
    kvp_client_close(NULL);
}

static void test_options_without_a_size_are_refused(void **state)
{
    (void)state;
    kvp_client_options options = {.nodes = "tcp://127.0.0.1:1"};
    kvp_client *client = NULL;
    char message[200] = "";
    assert_int_equal(kvp_client_open(&options, &client, message, sizeof(message)),
                     KVP_BAD_ARGUMENT);
    assert_non_null(strstr(message, "kvp_client_options_init()"));
}

static void test_a_node_of_another_group_is_named(void **state)
{
    (void)state;
    static struct fixture f;
    kvp_client_options options;
    kvp_client *client = NULL;
    kvp_result result;
    fixture_begin(&f);
    kvp_client_options_init(&options);
    options.nodes = server_url(&f.server);
    options.group = "another";
    assert_int_equal(kvp_client_open(&options, &client, NULL, 0), KVP_OK);
    assert_int_equal(kvp_get(client, text("a"), &result), KVP_WRONG_GROUP);
    assert_int_equal(result.value.size, 7);
    assert_memory_equal(result.value.data, "default", 7);
    kvp_result_free(&result);
    kvp_client_close(client);
    fixture_end(&f);
}

/* ---- deadlines ---- */

static void test_deadlines_are_kept_and_say_what_may_have_happened(void **state)
{
    (void)state;
    static struct fake_server server;
    char nobody[64];
    kvp_result result;
    server_open(&server, NULL);
    kvp_client *client = open_client(server_url(&server), 200);
    put_text(client, "a", "1"); /* and a session */
    server_hold(&server, true);
    assert_int_equal(kvp_get(client, text("a"), &result), KVP_TIMEOUT);
    assert_true(result.status == KVP_TIMEOUT && result.value.size > 0);
    kvp_result_free(&result);
    assert_int_equal(kvp_put(client, text("a"), text("2"), NULL), KVP_TIMEOUT_UNKNOWN);
    kvp_client_close(client);
    (void)snprintf(nobody, sizeof(nobody), "%s", server_url(&server));
    server_close(&server);
    client = open_client(nobody, 100);
    assert_int_equal(kvp_put(client, text("a"), text("2"), NULL), KVP_UNAVAILABLE);
    kvp_client_close(client);
}

/* The node says done: to call that a failure would be wrong. */
static void test_an_update_whose_answer_cannot_be_read_may_have_happened(void **state)
{
    (void)state;
    static struct fixture f;
    kvp_result result;
    fixture_begin(&f);
    f.server.garbling = true;
    assert_int_equal(kvp_put(f.client, text("a"), text("1"), &result), KVP_TIMEOUT_UNKNOWN);
    assert_int_equal(result.status, KVP_TIMEOUT_UNKNOWN);
    check_reason(&result, "cannot be read");
    assert_int_equal(kvp_cas(f.client, text("a"), 101, text("2"), NULL), KVP_TIMEOUT_UNKNOWN);
    assert_int_equal(kvp_create(f.client, text("b"), text("1"), NULL), KVP_TIMEOUT_UNKNOWN);
    assert_int_equal(kvp_delete(f.client, text("b"), 0, NULL), KVP_TIMEOUT_UNKNOWN);
    kvp_txn *txn = kvp_txn_new(f.client);
    kvp_txn_put(txn, KVP_ELSE, text("c"), text("1"));
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(kvp_txn_commit(txn, NULL, NULL), KVP_TIMEOUT_UNKNOWN);
        assert_non_null(strstr(kvp_txn_error(txn), "cannot be read"));
        assert_int_equal(kvp_txn_result_count(txn), 0);
    }
    assert_int_equal(kvp_get(f.client, text("a"), &result), KVP_CORRUPT);
    kvp_result_free(&result);
    f.server.garbling = false;
    assert_int_equal(kvp_txn_commit(txn, NULL, NULL), KVP_OK);
    kvp_txn_free(txn);
    assert_int_equal(kvp_get(f.client, text("a"), &result), KVP_OK);
    assert_int_equal(kvp_slice_compare(kvp_buf_slice(&result.value), text("2")), 0);
    kvp_result_free(&result);
    assert_int_equal(kvp_get(f.client, text("b"), NULL), KVP_NOT_FOUND);
    assert_int_equal(kvp_get(f.client, text("c"), NULL), KVP_OK);
    fixture_end(&f);
}

static void test_a_node_that_comes_back_is_found_again(void **state)
{
    (void)state;
    static struct fixture f;
    char url[64];
    fixture_begin(&f);
    put_text(f.client, "a", "1");
    (void)snprintf(url, sizeof(url), "%s", server_url(&f.server));
    for (unsigned i = 0; i < 3; i++) {
        server_close(&f.server);
        server_open(&f.server, url);
        assert_int_equal(kvp_get(f.client, text("a"), NULL), KVP_NOT_FOUND);
        put_text(f.client, "a", "2");
    }
    fixture_end(&f);
}

/* The first given is nobody. */
static void test_any_address_of_the_list_will_do(void **state)
{
    (void)state;
    static struct fake_server server;
    char nodes[200];
    server_open(&server, NULL);
    (void)snprintf(nodes, sizeof(nodes), "tcp://127.0.0.1:1,%s,tcp://127.0.0.1:2",
                   server_url(&server));
    kvp_client *client = open_client(nodes, 30000);
    put_text(client, "a", "1");
    kvp_client_close(client);
    server_close(&server);
}

/* ---- administration ---- */

static void test_administration(void **state)
{
    (void)state;
    static struct fixture f;
    kvp_result result;
    fixture_begin(&f);
    const char *url = server_url(&f.server);
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(kvp_node_status(f.client, i == 0 ? NULL : url, &result), KVP_OK);
        kvp_slice wanted = text("{\"serving\":true,\"role\":\"primary \\\"x\\\"\","
                                "\"group_id\":\"18446744073709551615\"}");
        assert_int_equal(kvp_slice_compare(kvp_buf_slice(&result.value), wanted), 0);
        kvp_result_free(&result);
    }
    assert_int_equal(kvp_handover(f.client, 0, NULL), KVP_OK);
    assert_int_equal(kvp_handover(f.client, 2, &result), KVP_REFUSED);
    assert_int_equal(kvp_slice_compare(kvp_buf_slice(&result.value), text("no such node")), 0);
    kvp_result_free(&result);
    assert_int_equal(kvp_promote(f.client, url, false, NULL), KVP_REFUSED);
    assert_int_equal(kvp_promote(f.client, url, true, NULL), KVP_OK);
    fixture_end(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_synchronous_calls_give_what_the_node_answers),
        cmocka_unit_test(test_values_of_all_sizes_come_back),
        cmocka_unit_test(test_wrong_arguments_are_refused_with_a_reason),
        cmocka_unit_test(test_malformed_options_are_refused_with_a_reason),
        cmocka_unit_test(test_options_without_a_size_are_refused),
        cmocka_unit_test(test_a_node_of_another_group_is_named),
        cmocka_unit_test(test_deadlines_are_kept_and_say_what_may_have_happened),
        cmocka_unit_test(test_an_update_whose_answer_cannot_be_read_may_have_happened),
        cmocka_unit_test(test_a_node_that_comes_back_is_found_again),
        cmocka_unit_test(test_any_address_of_the_list_will_do),
        cmocka_unit_test(test_administration),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
