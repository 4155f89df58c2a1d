/* SPDX-License-Identifier: Apache-2.0 */
/* kvnode: a node as a process of its own. Options, configuration file, signals; the rest is
 * kvp_node.h. */
#include "replication/kvp_node.h"
#include "replication/logger.h"
#include "replication/process.h"

#include <errno.h>
#include <getopt.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { EXIT_USAGE = 2, TEXT_MAX = 1024, PEERS_MAX = 4096 };

enum setting {
    SET_ID = 1,
    SET_DATA,
    SET_LISTEN,
    SET_ADVERTISE,
    SET_PEER,
    SET_GROUP,
    SET_WITNESS,
    SET_ETCD,
    SET_PAIR,
    SET_FENCE,
    SET_HEARTBEAT,
    SET_LEASE,
    SET_GRACE,
    SET_SYNC_TIMEOUT,
    SET_SYNC_REPLICAS,
    SET_LOG_SIZE,
    SET_LOG_LEVEL,
    SET_CONFIG,
    SET_HELP,
    SET_VERSION,
    SETTINGS,
};

static const struct option long_options[] = {
    {"id", required_argument, NULL, SET_ID},
    {"data", required_argument, NULL, SET_DATA},
    {"listen", required_argument, NULL, SET_LISTEN},
    {"advertise", required_argument, NULL, SET_ADVERTISE},
    {"peer", required_argument, NULL, SET_PEER},
    {"group", required_argument, NULL, SET_GROUP},
    {"witness", required_argument, NULL, SET_WITNESS},
    {"etcd", required_argument, NULL, SET_ETCD},
    {"pair", required_argument, NULL, SET_PAIR},
    {"fence-command", required_argument, NULL, SET_FENCE},
    {"heartbeat-ms", required_argument, NULL, SET_HEARTBEAT},
    {"lease-ms", required_argument, NULL, SET_LEASE},
    {"grace-ms", required_argument, NULL, SET_GRACE},
    {"sync-timeout-ms", required_argument, NULL, SET_SYNC_TIMEOUT},
    {"sync-timeout", required_argument, NULL, SET_SYNC_TIMEOUT},
    {"sync-replicas", required_argument, NULL, SET_SYNC_REPLICAS},
    {"log-size", required_argument, NULL, SET_LOG_SIZE},
    {"log-level", required_argument, NULL, SET_LOG_LEVEL},
    {"config", required_argument, NULL, SET_CONFIG},
    {"help", no_argument, NULL, SET_HELP},
    {"version", no_argument, NULL, SET_VERSION},
    {NULL, 0, NULL, 0},
};

static const char usage[] =
    "Usage: kvnode --id N --data DIR --listen URL --peer N=URL...\n"
    "              (--witness URL | --pair POLICY) [OPTION]...\n"
    "A node of a replicated key-value store.\n\n"
    "  --id N                this node's number, 1..63, unique in the group\n"
    "  --data DIR            where its data lives; made if absent\n"
    "  --listen URL          address to listen on, e.g. tcp://127.0.0.1:7001\n"
    "  --advertise URL       address that clients are told, if another one\n"
    "  --peer N=URL          another node; repeat for each, or separate by commas\n"
    "  --group NAME          name of the group (default: default)\n"
    "Who decides about the primary when the nodes lose each other (one of these):\n"
    "  --witness URL         a kvwitness process\n"
    "  --pair POLICY         two nodes by themselves: backup-wins, primary-wins or available\n"
    "Times and sizes:\n"
    "  --heartbeat-ms N      (100)  --lease-ms N  (400)  --grace-ms N  (500)\n"
    "  --sync-timeout-ms N   a backup whose disk is slower is removed (2000)\n"
    "  --sync-replicas N     members wanted in sync (all nodes)\n"
    "  --log-size MIB        log kept for nodes that lag (64)\n"
    "Others:\n"
    "  --fence-command CMD   must exit 0 before this node takes the primary's place\n"
    "  --config FILE         the same settings as lines NAME = VALUE; options win\n"
    "  --log-level LEVEL     error, warn, info (default) or debug\n"
    "  --help, --version\n\n"
    "SIGTERM and SIGINT hand the primary role over and stop; a second one stops at once.\n"
    "Exit status: 0 stopped, 1 failed, 2 usage.\n";

struct settings {
    bool given[SETTINGS]; /* on the command line: the file does not count */
    char text[SETTINGS][TEXT_MAX];
    char peers[PEERS_MAX];
    bool from_file;
    bool in_file[SETTINGS];
};

static int complain(const char *format, const char *name)
{
    fprintf(stderr, "kvnode: ");
    fprintf(stderr, format, name);
    fprintf(stderr, "\nTry 'kvnode --help'.\n");
    return EXIT_USAGE;
}

static bool add_peers(struct settings *settings, const char *value)
{
    size_t used = strlen(settings->peers);
    int more = snprintf(settings->peers + used, sizeof(settings->peers) - used, "%s%s",
                        used ? "," : "", value);
    return (size_t)more < sizeof(settings->peers) - used;
}

static bool set(struct settings *settings, int which, const char *value)
{
    if (settings->from_file && settings->given[which]) {
        return true;
    }
    settings->given[which] = settings->given[which] || !settings->from_file;
    if (which == SET_PEER) {
        return add_peers(settings, value);
    }
    return (size_t)snprintf(settings->text[which], TEXT_MAX, "%s", value) < TEXT_MAX;
}

/* ---- the configuration file ---- */

static const struct option *find_setting(const char *name)
{
    for (const struct option *option = long_options; option->name; option++) {
        if (strcmp(option->name, name) == 0 && option->has_arg && option->val != SET_CONFIG) {
            return option;
        }
    }
    return NULL;
}

static void cut_blanks(char *text, size_t size)
{
    while (size > 0 && strchr(" \t\r\n", text[size - 1])) {
        size--;
    }
    text[size] = '\0';
}

/* Takes a line apart, in place. Returns what is wrong with it, NULL: nothing. */
static const char *take_line(struct settings *settings, char *line, size_t size)
{
    if (strlen(line) != size) {
        return "a zero byte in line";
    }
    cut_blanks(line, size);
    if (line[0] == '\0' || line[0] == '#' || line[0] == ';') {
        return NULL;
    }
    if (line[0] == ' ' || line[0] == '\t') {
        return "indented line"; /* elsewhere such a line continues the one above: not here */
    }
    char *value = strchr(line, '=');
    if (!value) {
        return "not of the form NAME = VALUE:";
    }
    *value++ = '\0';
    value += strspn(value, " \t");
    cut_blanks(line, strlen(line));
    const struct option *option = find_setting(line);
    if (!option) {
        return "unknown setting";
    }
    if (*value == '\0') {
        return "no value for";
    }
    if (option->val != SET_PEER && settings->in_file[option->val]) {
        return "there twice:";
    }
    settings->in_file[option->val] = true;
    return set(settings, option->val, value) ? NULL : "value too long for";
}

static int read_lines(struct settings *settings, const char *name, FILE *file)
{
    char *line = NULL;
    size_t capacity = 0;
    unsigned long number = 0;
    const char *wrong = NULL;
    ssize_t size = 0;
    while (!wrong && (size = getline(&line, &capacity, file)) >= 0) {
        number++;
        wrong = take_line(settings, line, (size_t)size);
    }
    if (wrong) {
        fprintf(stderr, "kvnode: %s:%lu: %s \"%.60s\"\n", name, number, wrong, line);
    }
    free(line);
    return wrong ? EXIT_USAGE : 0;
}

static int read_file(struct settings *settings)
{
    if (!settings->given[SET_CONFIG]) {
        return 0;
    }
    const char *name = settings->text[SET_CONFIG];
    FILE *file = fopen(name, "r");
    if (!file) {
        return complain("cannot read the configuration file %s", name);
    }
    settings->from_file = true;
    int status = read_lines(settings, name, file);
    if (status == 0 && !feof(file)) { /* a directory, or a disk that fails */
        status = complain("cannot read the configuration file %s", name);
    }
    fclose(file);
    return status;
}

/* ---- what the settings come to ---- */

static bool number(const struct settings *settings, int which, uint64_t max, uint64_t *value)
{
    const char *text = settings->text[which];
    if (*text == '\0') {
        return true; /* the default */
    }
    char *end;
    errno = 0;
    unsigned long long read = strtoull(text, &end, 10);
    if (errno != 0 || *end != '\0' || *text == '-' || read == 0 || read > max) {
        return false;
    }
    *value = read;
    return true;
}

static const char *text_or_null(const struct settings *settings, int which)
{
    return settings->text[which][0] ? settings->text[which] : NULL;
}

static int fill_numbers(const struct settings *settings, kvp_node_options *options)
{
    struct {
        int which;
        uint64_t max;
        const char *name;
        uint64_t value;
    } numbers[] = {
        {SET_ID, KVP_NODE_ID_MAX, "--id", 0},
        {SET_HEARTBEAT, 3600000, "--heartbeat-ms", 0},
        {SET_LEASE, 3600000, "--lease-ms", 0},
        {SET_GRACE, 3600000, "--grace-ms", 0},
        {SET_SYNC_TIMEOUT, 3600000, "--sync-timeout-ms", 0},
        {SET_SYNC_REPLICAS, KVP_NODES_MAX, "--sync-replicas", 0},
        {SET_LOG_SIZE, 1u << 20, "--log-size", 0},
    };
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        if (!number(settings, numbers[i].which, numbers[i].max, &numbers[i].value)) {
            return complain("%s: not a number in range", numbers[i].name);
        }
    }
    options->id = (unsigned)numbers[0].value;
    options->heartbeat_ms = (uint32_t)numbers[1].value;
    options->lease_ms = (uint32_t)numbers[2].value;
    options->grace_ms = (uint32_t)numbers[3].value;
    options->sync_timeout_ms = (uint32_t)numbers[4].value;
    options->sync_replicas = (uint32_t)numbers[5].value;
    options->log_size_max = numbers[6].value << 20;
    return 0;
}

static int fill(const struct settings *settings, kvp_node_options *options)
{
    static const int required[] = {SET_ID, SET_DATA, SET_LISTEN};
    static const char *const names[] = {"--id", "--data", "--listen"};
    for (size_t i = 0; i < sizeof(required) / sizeof(required[0]); i++) {
        if (settings->text[required[i]][0] == '\0') {
            return complain("%s is required", names[i]);
        }
    }
    if (settings->text[SET_ETCD][0]) {
        return complain("%s is not supported by this release; use --witness or --pair", "--etcd");
    }
    options->data_dir = settings->text[SET_DATA];
    options->listen = settings->text[SET_LISTEN];
    options->advertise = text_or_null(settings, SET_ADVERTISE);
    options->group = text_or_null(settings, SET_GROUP);
    options->peers = settings->peers;
    options->witness = text_or_null(settings, SET_WITNESS);
    options->pair = text_or_null(settings, SET_PAIR);
    options->fence_command = text_or_null(settings, SET_FENCE);
    enum kvp_log_level level = KVP_LOG_INFO;
    if (settings->text[SET_LOG_LEVEL][0] &&
        kvp_log_level_parse(settings->text[SET_LOG_LEVEL], &level) != KVP_OK) {
        return complain("unknown log level \"%s\"", settings->text[SET_LOG_LEVEL]);
    }
    options->log_level = (int)level;
    return fill_numbers(settings, options);
}

/* 0: go on; else *status is the exit status. */
static int parse(int argc, char **argv, struct settings *settings, int *status)
{
    int which;
    while ((which = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
        if (which == SET_HELP) {
            fputs(usage, stdout);
            *status = 0;
            return 1;
        }
        if (which == SET_VERSION) {
            printf("kvnode %s\n", kvp_version());
            *status = 0;
            return 1;
        }
        if (which == '?') {
            *status = complain("%s", "see above");
            return 1;
        }
        if (!set(settings, which, optarg)) {
            *status = complain("value too long: %s", optarg);
            return 1;
        }
    }
    for (; optind < argc; optind++) {
        if (!strchr(argv[optind], '=') || !set(settings, SET_PEER, argv[optind])) {
            *status = complain("unexpected argument \"%s\"", argv[optind]);
            return 1;
        }
    }
    *status = read_file(settings);
    return *status != 0;
}

static void *watch_signals(void *arg)
{
    kvp_node *node = arg;
    sigset_t set;
    int signal_number;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigwait(&set, &signal_number);
    kvp_node_stop(node);
    sigwait(&set, &signal_number);
    _exit(1);
}

static void block_signals(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);
}

static int run(const kvp_node_options *options)
{
    char message[1024];
    kvp_node *node = NULL;
    pthread_t watcher;
    block_signals();
    kvp_status status = kvp_node_open(options, &node, message, sizeof(message));
    if (status != KVP_OK) {
        fprintf(stderr, "kvnode: %s\n", message[0] ? message : kvp_strerror(status));
        return status == KVP_BAD_ARGUMENT ? EXIT_USAGE : EXIT_FAILURE;
    }
    if (pthread_create(&watcher, NULL, watch_signals, node) != 0) {
        fprintf(stderr, "kvnode: cannot make a thread\n");
        kvp_node_close(node);
        return EXIT_FAILURE;
    }
    status = kvp_node_wait_end(node, 0);
    pthread_cancel(watcher);
    pthread_join(watcher, NULL);
    kvp_node_close(node);
    return status == KVP_OK ? EXIT_SUCCESS : EXIT_FAILURE;
}

int main(int argc, char **argv)
{
    static struct settings settings;
    kvp_node_options options;
    int status;
    if (!kvp_process_fill_standard()) {
        return EXIT_FAILURE;
    }
    kvp_process_raise_descriptor_limit();
    if (parse(argc, argv, &settings, &status)) {
        return status;
    }
    kvp_node_options_init(&options);
    status = fill(&settings, &options);
    return status != 0 ? status : run(&options);
}
