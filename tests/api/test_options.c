/* SPDX-License-Identifier: Apache-2.0 */
/* Option structs of programs that were built for an older or a newer release. */
#include "kvpair/job_spec.h"
#include "kvpair/kvp_client.h"
#include "kvpair/kvp_node.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define NODE_SIZE_FIRST offsetof(kvp_node_options, peer_from) /* in release 0.1.0 */

/* As a later release may have it. */
struct newer_options {
    kvp_node_options known;
    uint64_t later[3];
};

static void fill(kvp_node_options *options, size_t size)
{
    kvp_node_options_init_sized(options, size);
    options->id = 1;
    options->data_dir = "/nonexistent/kvpair"; /* good options get so far */
    options->listen = "tcp://127.0.0.1:0";
    options->policy = KVP_PAIR_BACKUP_WINS;
    options->log_level = KVP_LOG_ERROR;
}

static void check_open(const kvp_node_options *options, kvp_status expected, const char *text)
{
    kvp_node *node = NULL;
    char message[512] = "";
    assert_int_equal(kvp_node_open(options, &node, message, sizeof(message)), expected);
    if (strstr(message, text) == NULL) {
        fail_msg("\"%s\" does not say \"%s\"", message, text);
    }
}

static void test_options_of_an_older_release_are_completed_with_defaults(void **state)
{
    struct newer_options own;
    (void)state;
    memset(&own, 0x5a, sizeof(own)); /* behind its end: not the program's options at all */
    kvp_node_options_init_sized(&own.known, NODE_SIZE_FIRST);
    own.known.id = 1;
    own.known.data_dir = "/nonexistent/kvpair";
    own.known.listen = "tcp://127.0.0.1:0";
    own.known.pair = "backup-wins";
    check_open(&own.known, KVP_IO, "/nonexistent/kvpair");
    assert_int_equal(own.known.size, NODE_SIZE_FIRST);
    assert_int_equal(own.known.quarantine_stores, 0x5a5a5a5a);
}

static void test_options_of_a_newer_release_are_taken_if_it_sets_nothing_new(void **state)
{
    struct newer_options own;
    (void)state;
    fill(&own.known, sizeof(own));
    assert_int_equal(own.later[2], 0);
    check_open(&own.known, KVP_IO, "/nonexistent/kvpair");
    own.later[2] = 1;
    check_open(&own.known, KVP_BAD_ARGUMENT, "does not know");
    check_open(&own.known, KVP_BAD_ARGUMENT, KVP_VERSION_STRING);
}

static void test_options_without_a_size_are_refused(void **state)
{
    kvp_node_options options;
    kvp_client_options client_options;
    kvp_client *client = NULL;
    char message[200];
    (void)state;
    fill(&options, sizeof(options));
    static const size_t sizes[] = {0, 8, NODE_SIZE_FIRST - 1, SIZE_MAX, 0x5a5a5a5a5a5a};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        options.size = sizes[i];
        check_open(&options, KVP_BAD_ARGUMENT, "kvp_node_options_init()");
        memset(&client_options, 0, sizeof(client_options));
        client_options.size = sizes[i] < sizeof(client_options) ? sizes[i] : SIZE_MAX;
        client_options.nodes = "tcp://127.0.0.1:1";
        assert_int_equal(kvp_client_open(&client_options, &client, message, sizeof(message)),
                         KVP_BAD_ARGUMENT);
        assert_non_null(strstr(message, "kvp_client_options_init()"));
    }
}

static void test_a_client_of_a_newer_release_is_taken_if_it_sets_nothing_new(void **state)
{
    struct {
        kvp_client_options known;
        uint32_t later;
    } own;
    kvp_client *client = NULL;
    char message[200];
    (void)state;
    kvp_client_options_init_sized(&own.known, sizeof(own));
    own.known.nodes = "tcp://127.0.0.1:1";
    assert_int_equal(kvp_client_open(&own.known, &client, message, sizeof(message)), KVP_OK);
    kvp_client_close(client);
    own.later = 7;
    assert_int_equal(kvp_client_open(&own.known, &client, message, sizeof(message)),
                     KVP_BAD_ARGUMENT);
    assert_non_null(strstr(message, "does not know"));
}

static void test_a_policy_is_given_once_by_name_or_by_number(void **state)
{
    kvp_node_options options;
    (void)state;
    for (unsigned i = KVP_PAIR_BACKUP_WINS; i <= KVP_PAIR_AVAILABLE; i++) {
        fill(&options, sizeof(options));
        options.policy = (enum kvp_pair_policy)i;
        check_open(&options, KVP_IO, "/nonexistent");
        options.pair = kvp_pair_policy_name(options.policy);
        check_open(&options, KVP_BAD_ARGUMENT, "twice");
        options.policy = KVP_PAIR_NONE;
        check_open(&options, KVP_IO, "/nonexistent");
    }
    fill(&options, sizeof(options));
    options.policy = (enum kvp_pair_policy)4;
    check_open(&options, KVP_BAD_ARGUMENT, "unknown pair policy 4");
    options.policy = KVP_PAIR_NONE;
    options.pair = "none";
    check_open(&options, KVP_BAD_ARGUMENT, "unknown pair policy \"none\"");
    options.pair = "backup-wins";
    options.log_level = (enum kvp_log_level)4;
    check_open(&options, KVP_BAD_ARGUMENT, "log level 4");
}

static void
test_a_specification_of_a_newer_release_is_refused_if_it_sets_something_new(void **state)
{
    struct kvp_job_spec spec;
    const char *reason = "";
    (void)state;
    memset(&spec, 0x5a, sizeof(spec));
    kvp_job_spec_init(&spec, KVP_JOB_TASKS);
    assert_int_equal(kvp_job_spec_check(&spec, &reason), KVP_OK);
    spec.reserved[2] = 1;
    assert_int_equal(kvp_job_spec_check(&spec, &reason), KVP_BAD_REQUEST);
    assert_non_null(strstr(reason, "does not know"));
    spec.reserved[2] = 0;
    spec.reserved_bytes[6] = 1;
    assert_int_equal(kvp_job_spec_check(&spec, &reason), KVP_BAD_REQUEST);
    assert_non_null(strstr(reason, "does not know"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_options_of_an_older_release_are_completed_with_defaults),
        cmocka_unit_test(test_options_of_a_newer_release_are_taken_if_it_sets_nothing_new),
        cmocka_unit_test(test_options_without_a_size_are_refused),
        cmocka_unit_test(test_a_client_of_a_newer_release_is_taken_if_it_sets_nothing_new),
        cmocka_unit_test(test_a_policy_is_given_once_by_name_or_by_number),
        cmocka_unit_test(
            test_a_specification_of_a_newer_release_is_refused_if_it_sets_something_new),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
