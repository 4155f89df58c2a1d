/* SPDX-License-Identifier: Apache-2.0 */
/* kvnode's settings: what its configuration file may look like, and what the settings come to. */
#include "replication/node/kvnode_settings.h"
#include "kvstore/base/logger.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define GOOD "id = 1\ndata = d\nlisten = tcp://h:1\n"

struct rig {
    struct kvnode_settings settings;
    kvp_node_options options;
    char message[4096];
};

static struct rig *rig_new(void)
{
    struct rig *rig = calloc(1, sizeof(*rig));
    assert_non_null(rig);
    kvp_node_options_init(&rig->options);
    return rig;
}

static bool rig_read(struct rig *rig, const void *data, size_t size)
{
    FILE *file = size > 0 ? fmemopen((void *)data, size, "r") : fopen("/dev/null", "r");
    assert_non_null(file);
    rig->message[0] = '\0';
    bool good =
        kvnode_settings_read(&rig->settings, "a.conf", file, rig->message, sizeof(rig->message));
    assert_int_equal(good, rig->message[0] == '\0');
    fclose(file);
    return good;
}

static bool rig_read_text(struct rig *rig, const char *text)
{
    return rig_read(rig, text, strlen(text));
}

static bool rig_fill(struct rig *rig)
{
    rig->message[0] = '\0';
    bool good =
        kvnode_settings_fill(&rig->settings, &rig->options, rig->message, sizeof(rig->message));
    assert_int_equal(good, rig->message[0] == '\0');
    return good;
}

static void check_refused(const void *data, size_t size, const char *wanted)
{
    struct rig *rig = rig_new();
    assert_false(rig_read(rig, data, size));
    assert_string_equal(rig->message, wanted);
    free(rig);
}

static void test_a_whole_file(void **state)
{
    struct rig *rig = rig_new();
    (void)state;
    assert_true(rig_read_text(
        rig, "# of node 2\nid = 2\ndata = /var/lib/kvpair\nlisten = tcp://0.0.0.0:7002\n"
             "advertise = tcp://10.0.0.2:7002\npeer = 1=tcp://10.0.0.1:7001\n"
             "peer = 3=tcp://10.0.0.3:7003,4=tcp://10.0.0.4:7004\ngroup = g\n"
             "witness = tcp://w:1\npair = available\nfence-command = true\nheartbeat-ms = 1\n"
             "lease-ms = 2\ngrace-ms = 3\nsync-timeout = 4\nsync-replicas = 5\nlog-size = 6\n"
             "verify-memory = 7\nlog-level = debug\n"));
    assert_true(rig_fill(rig));
    const kvp_node_options *options = &rig->options;
    assert_int_equal(options->id, 2);
    assert_string_equal(options->data_dir, "/var/lib/kvpair");
    assert_string_equal(options->listen, "tcp://0.0.0.0:7002");
    assert_string_equal(options->advertise, "tcp://10.0.0.2:7002");
    assert_string_equal(options->peers, "1=tcp://10.0.0.1:7001,3=tcp://10.0.0.3:7003,"
                                        "4=tcp://10.0.0.4:7004");
    assert_string_equal(options->group, "g");
    assert_string_equal(options->witness, "tcp://w:1");
    assert_string_equal(options->pair, "available"); /* who opens a node says no to both */
    assert_string_equal(options->fence_command, "true");
    assert_int_equal(options->heartbeat_ms, 1);
    assert_int_equal(options->lease_ms, 2);
    assert_int_equal(options->grace_ms, 3);
    assert_int_equal(options->sync_timeout_ms, 4);
    assert_int_equal(options->sync_replicas, 5);
    assert_int_equal(options->log_size_max, 6u << 20);
    assert_int_equal(options->verify_size_max, 7u << 20);
    assert_int_equal(options->log_level, KVP_LOG_DEBUG);
    free(rig);
}

static void test_what_is_not_there_is_left_to_the_node(void **state)
{
    struct rig *rig = rig_new();
    (void)state;
    assert_true(rig_read_text(rig, GOOD));
    assert_true(rig_fill(rig));
    const kvp_node_options *options = &rig->options;
    assert_null(options->advertise);
    assert_null(options->group);
    assert_null(options->witness);
    assert_null(options->pair);
    assert_null(options->fence_command);
    assert_string_equal(options->peers, "");
    assert_int_equal(options->heartbeat_ms + options->lease_ms + options->grace_ms, 0);
    assert_int_equal(options->sync_timeout_ms + options->sync_replicas, 0);
    assert_int_equal(options->log_size_max, 0);
    assert_int_equal(options->log_level, KVP_LOG_INFO);
    free(rig);
}

static void test_a_profile_is_several_times_at_once(void **state)
{
    struct rig *rig = rig_new();
    (void)state;
    assert_true(rig_read_text(rig, GOOD "profile = lan\ngrace-ms = 200\n"));
    assert_true(rig_fill(rig));
    assert_int_equal(rig->options.heartbeat_ms, 20);
    assert_int_equal(rig->options.lease_ms, 100);
    assert_int_equal(rig->options.grace_ms, 200);
    free(rig);
    rig = rig_new();
    assert_true(rig_read_text(rig, GOOD "profile = wan\n"));
    assert_false(rig_fill(rig));
    assert_string_equal(rig->message, "--profile: \"wan\" is neither default nor lan");
    free(rig);
}

/* Blanks around it apart; nothing in it has a meaning. */
static void test_values_are_taken_as_they_are(void **state)
{
    static const struct {
        const char *line, *value;
    } cases[] = {
        {"group=g", "g"},
        {"group = a b;c #d", "a b;c #d"},
        {"group =\t \"x\" \t", "\"x\""},
        {"group \t = a=b==", "a=b=="},
        {"group = a\\", "a\\"},
        {"group = =", "="},
        {"group = a\r\n", "a"},
        {"group = \xc3\xa4\xff\x01", "\xc3\xa4\xff\x01"},
        {"\n\n#group = x\n;group = y\n \t\n\r\ngroup = z\n\n", "z"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct rig *rig = rig_new();
        assert_true(rig_read_text(rig, cases[i].line));
        assert_string_equal(rig->settings.text[SET_GROUP], cases[i].value);
        free(rig);
    }
}

static void test_a_malformed_line_is_named(void **state)
{
    static const struct {
        const char *line, *wanted;
    } cases[] = {
        {"  lease-ms = 400", "a.conf:4: indented line \"  lease-ms = 400\""},
        {"\tlease-ms = 400", "a.conf:4: indented line \"\tlease-ms = 400\""},
        {" # a comment", "a.conf:4: indented line \" # a comment\""},
        {"[kvnode]", "a.conf:4: not of the form NAME = VALUE: \"[kvnode]\""},
        {"group", "a.conf:4: not of the form NAME = VALUE: \"group\""},
        {"group: g", "a.conf:4: not of the form NAME = VALUE: \"group: g\""},
        {"pear = 1", "a.conf:4: unknown setting \"pear\""},
        {"Group = g", "a.conf:4: unknown setting \"Group\""},
        {"grou = g", "a.conf:4: unknown setting \"grou\""}, /* no abbreviations here */
        {"--group = g", "a.conf:4: unknown setting \"--group\""},
        {"= g", "a.conf:4: unknown setting \"\""},
        {"\xef\xbb\xbfgroup = g", "a.conf:4: unknown setting \"\xef\xbb\xbfgroup\""},
        {"config = other", "a.conf:4: unknown setting \"config\""},
        {"help = 1", "a.conf:4: unknown setting \"help\""},
        {"version = 1", "a.conf:4: unknown setting \"version\""},
        {"group =", "a.conf:4: no value for \"group\""},
        {"group = \t \r", "a.conf:4: no value for \"group\""},
        {"id = 1", "a.conf:4: there twice: \"id\""},
        {"\nsync-timeout = 1\nsync-timeout-ms = 1", "a.conf:6: there twice: \"sync-timeout-ms\""},
        {"a line that is much longer than what is worth showing to anybody at all, really",
         "a.conf:4: not of the form NAME = VALUE: "
         "\"a line that is much longer than what is worth showing to any\""},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char text[512];
        int size = snprintf(text, sizeof(text), "%s%s", GOOD, cases[i].line);
        check_refused(text, (size_t)size, cases[i].wanted); /* with and without a line's end */
        size = snprintf(text, sizeof(text), "%s%s\ngroup = behind\n", GOOD, cases[i].line);
        check_refused(text, (size_t)size, cases[i].wanted);
    }
}

static void test_a_zero_byte_is_no_end(void **state)
{
    static const char value[] = "group = a\0b\n", name[] = "gr\0oup = a\n", alone[] = "\0";
    (void)state;
    check_refused(value, sizeof(value) - 1, "a.conf:1: a zero byte in line \"group = a\"");
    check_refused(name, sizeof(name) - 1, "a.conf:1: a zero byte in line \"gr\"");
    check_refused(alone, 1, "a.conf:1: a zero byte in line \"\"");
}

/* A line with a value of that size; returns where it ends. */
static size_t add_line(char *text, size_t at, const char *name, size_t size)
{
    at += (size_t)sprintf(text + at, "%s = ", name);
    memset(text + at, 'x', size);
    text[at + size] = '\n';
    return at + size + 1;
}

static void test_the_longest_values(void **state)
{
    static char text[4 * KVNODE_PEERS_MAX];
    struct rig *rig = rig_new();
    (void)state;
    assert_true(rig_read(rig, text, add_line(text, 0, "group", KVNODE_TEXT_MAX - 1)));
    assert_int_equal(strlen(rig->settings.text[SET_GROUP]), KVNODE_TEXT_MAX - 1);
    check_refused(text, add_line(text, 0, "group", KVNODE_TEXT_MAX),
                  "a.conf:1: value too long for \"group\"");
    check_refused(text, add_line(text, 0, "peer", KVNODE_PEERS_MAX),
                  "a.conf:1: value too long for \"peer\"");
    size_t size = 0;
    for (unsigned i = 0; i < 8; i++) {
        size = add_line(text, size, "peer", KVNODE_PEERS_MAX / 8 - 1);
    }
    assert_true(rig_read(rig, text, size)); /* with commas and a zero byte there is no more room */
    assert_int_equal(strlen(rig->settings.peers), KVNODE_PEERS_MAX - 1);
    check_refused(text, add_line(text, size, "peer", 1), "a.conf:9: value too long for \"peer\"");
    memset(text, '#', sizeof(text));
    assert_true(rig_read(rig, text, sizeof(text)));
    free(rig);
}

static void test_a_file_without_end_is_refused(void **state)
{
    static char text[65536];
    struct rig *rig = rig_new();
    (void)state;
    memset(text, '#', sizeof(text));
    assert_true(rig_read(rig, text, sizeof(text) - 1));
    assert_false(rig_read(rig, text, sizeof(text)));
    assert_non_null(strstr(rig->message, "a.conf:1: too long a line"));
    memset(text, '\n', sizeof(text));
    assert_false(rig_read(rig, text, sizeof(text)));
    assert_non_null(strstr(rig->message, "a.conf:10001: too many lines"));
    FILE *zeros = fopen("/dev/zero", "r");
    assert_non_null(zeros);
    assert_false(
        kvnode_settings_read(&rig->settings, "zero", zeros, rig->message, sizeof(rig->message)));
    assert_non_null(strstr(rig->message, "zero:1: too long a line"));
    fclose(zeros);
    free(rig);
}

static void test_the_command_line_wins(void **state)
{
    struct rig *rig = rig_new();
    char line[KVNODE_TEXT_MAX + 100];
    (void)state;
    assert_true(kvnode_settings_give(&rig->settings, SET_GROUP, "given"));
    assert_true(kvnode_settings_give(&rig->settings, SET_GROUP, "the last counts"));
    assert_true(kvnode_settings_give(&rig->settings, SET_PEER, "2=tcp://a:1"));
    assert_true(kvnode_settings_give(&rig->settings, SET_PEER, "3=tcp://a:1"));
    assert_true(rig_read_text(rig, GOOD "group = other\npeer = 4=tcp://a:1\nlog-size = 7\n"));
    assert_true(rig_fill(rig));
    assert_string_equal(rig->options.group, "the last counts");
    assert_string_equal(rig->options.peers, "2=tcp://a:1,3=tcp://a:1");
    assert_int_equal(rig->options.log_size_max, 7u << 20);
    memset(line, 'x', sizeof(line));
    line[KVNODE_TEXT_MAX] = '\0';
    assert_false(kvnode_settings_give(&rig->settings, SET_DATA, line));
    line[KVNODE_TEXT_MAX - 1] = '\0';
    assert_true(kvnode_settings_give(&rig->settings, SET_DATA, line));
    free(rig);
}

static void test_required_settings_are_asked_for(void **state)
{
    struct rig *rig = rig_new();
    (void)state;
    assert_true(rig_read_text(rig, ""));
    assert_false(rig_fill(rig));
    assert_string_equal(rig->message, "--id is required");
    assert_true(rig_read_text(rig, "id = 1"));
    assert_false(rig_fill(rig));
    assert_string_equal(rig->message, "--data is required");
    assert_true(rig_read_text(rig, "data = d"));
    assert_false(rig_fill(rig));
    assert_string_equal(rig->message, "--listen is required");
    assert_true(rig_read_text(rig, "listen = l\netcd = http://e"));
    assert_false(rig_fill(rig));
    assert_non_null(strstr(rig->message, "--etcd is not supported"));
    free(rig);
}

static void check_number(const char *line, const char *wanted)
{
    struct rig *rig = rig_new();
    char text[512];
    (void)snprintf(text, sizeof(text), "%s\ndata = d\nlisten = l\n%s\n",
                   strncmp(line, "id", 2) == 0 ? "" : "id = 1", line);
    assert_true(rig_read_text(rig, text));
    assert_int_equal(rig_fill(rig), wanted == NULL);
    if (wanted != NULL) {
        const char *end = strstr(rig->message, " is not a number from ");
        assert_non_null(end);
        assert_string_equal(end, wanted);
        assert_memory_equal(rig->message, "--", 2);
        assert_memory_equal(rig->message + 2, line, strcspn(line, " "));
    }
    free(rig);
}

static void test_numbers_have_a_range(void **state)
{
    static const struct {
        const char *name;
        unsigned long long max;
    } numbers[] = {{"id", 63},
                   {"heartbeat-ms", 3600000},
                   {"lease-ms", 3600000},
                   {"grace-ms", 3600000},
                   {"sync-timeout-ms", 3600000},
                   {"sync-replicas", KVP_NODES_MAX},
                   {"log-size", 1u << 20},
                   {"verify-memory", 1u << 20}};
    /* A minus is no way around to a number in range, either. */
    static const char *const wrong[] = {"0",
                                        "-1",
                                        "+1",
                                        "1x",
                                        "x",
                                        "0x1",
                                        "1.0",
                                        "1e1",
                                        "1 2",
                                        "\v-18446744073709551615",
                                        "-18446744073709551615",
                                        "\v1",
                                        "18446744073709551615",
                                        "18446744073709551617",
                                        "99999999999999999999999999"};
    (void)state;
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        char line[100], wanted[100];
        (void)snprintf(wanted, sizeof(wanted), " is not a number from 1 to %llu", numbers[i].max);
        (void)snprintf(line, sizeof(line), "%s = %llu", numbers[i].name, numbers[i].max);
        check_number(line, NULL);
        (void)snprintf(line, sizeof(line), "%s = 01", numbers[i].name);
        check_number(line, NULL);
        (void)snprintf(line, sizeof(line), "%s = %llu", numbers[i].name, numbers[i].max + 1);
        check_number(line, wanted);
        for (size_t j = 0; j < sizeof(wrong) / sizeof(wrong[0]); j++) {
            (void)snprintf(line, sizeof(line), "%s = %s", numbers[i].name, wrong[j]);
            check_number(line, wanted);
        }
    }
}

static void test_levels_of_the_log(void **state)
{
    static const char *const levels[] = {"error", "warn", "info", "debug"};
    (void)state;
    for (int i = 0; i < 4; i++) {
        struct rig *rig = rig_new();
        char text[200];
        (void)snprintf(text, sizeof(text), "%slog-level = %s\n", GOOD, levels[i]);
        assert_true(rig_read_text(rig, text));
        assert_true(rig_fill(rig));
        enum kvp_log_level level;
        assert_int_equal(kvp_log_level_parse(levels[i], &level), KVP_OK);
        assert_int_equal(rig->options.log_level, level);
        free(rig);
    }
    struct rig *rig = rig_new();
    assert_true(rig_read_text(rig, GOOD "log-level = loud\n"));
    assert_false(rig_fill(rig));
    assert_string_equal(rig->message, "unknown log level \"loud\"");
    free(rig);
}

static void test_a_file_cut_off_or_changed_anywhere_is_refused_or_taken(void **state)
{
    static const char text[] = "# c\nid = 1\r\ndata = d\nlisten = tcp://h:1\npeer = 2=tcp://a:1\n"
                               "pair = primary-wins\nlog-size = 6";
    (void)state;
    for (size_t size = 0; size < sizeof(text); size++) {
        struct rig *rig = rig_new();
        if (rig_read(rig, text, size)) {
            (void)rig_fill(rig);
        }
        free(rig);
    }
    for (size_t at = 0; at < sizeof(text) - 1; at++) {
        for (int byte = 0; byte < 256; byte++) {
            struct rig *rig = rig_new();
            char changed[sizeof(text)];
            memcpy(changed, text, sizeof(text));
            changed[at] = (char)byte;
            if (rig_read(rig, changed, sizeof(text) - 1)) {
                (void)rig_fill(rig);
            }
            free(rig);
        }
    }
}

static void test_a_directory_is_no_file(void **state)
{
    struct rig *rig = rig_new();
    (void)state;
    FILE *file = fopen("/", "r");
    assert_non_null(file);
    assert_false(
        kvnode_settings_read(&rig->settings, "a.conf", file, rig->message, sizeof(rig->message)));
    assert_string_equal(rig->message, "cannot read the configuration file a.conf");
    fclose(file);
    free(rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_whole_file),
        cmocka_unit_test(test_what_is_not_there_is_left_to_the_node),
        cmocka_unit_test(test_a_profile_is_several_times_at_once),
        cmocka_unit_test(test_values_are_taken_as_they_are),
        cmocka_unit_test(test_a_malformed_line_is_named),
        cmocka_unit_test(test_a_zero_byte_is_no_end),
        cmocka_unit_test(test_the_longest_values),
        cmocka_unit_test(test_a_file_without_end_is_refused),
        cmocka_unit_test(test_the_command_line_wins),
        cmocka_unit_test(test_required_settings_are_asked_for),
        cmocka_unit_test(test_numbers_have_a_range),
        cmocka_unit_test(test_levels_of_the_log),
        cmocka_unit_test(test_a_file_cut_off_or_changed_anywhere_is_refused_or_taken),
        cmocka_unit_test(test_a_directory_is_no_file),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
