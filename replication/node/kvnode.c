/* SPDX-License-Identifier: Apache-2.0 */
/* kvnode: a node as a process of its own. Command line and signals; the rest is kvp_node.h. */
#include "replication/net/await_address.h"
#include "replication/net/plain_address.h"
#include "replication/node/kvnode_http.h"
#include "replication/node/kvnode_reload.h"
#include "replication/node/kvnode_restore.h"
#include "replication/node/kvnode_settings.h"
#include "replication/node/node_eyes.h"
#include "kvstore/base/clock.h"
#include "kvstore/base/logger.h"
#include "kvstore/base/notify.h"
#include "kvstore/base/process.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

enum { EXIT_USAGE = 2, MESSAGE_MAX = 2 * KVNODE_TEXT_MAX };

#define OPENING_SLOW_S   3u
#define OPENING_PATIENCE 20u /* twentieths of a second, of who has been told to stop */
#define STOP_LIMIT_S     7u  /* the replication core has 5 */
#define TELL_EVERY_MS    500u
#define STATE_TEXT_SIZE  128u

#define REPAIRED_VARIABLE "KVNODE_REPAIRED_AT"
#define REPAIR_EVERY_S    60

static const char usage[] =
    "Usage: kvnode --id N --data DIR --listen URL (--peer N=URL... | --join URL,...)\n"
    "              (--witness URL | --pair POLICY) [OPTION]...\n"
    "A node of a replicated key-value store.\n\n"
    "  --id N                this node's number, 1..63, unique in the group\n"
    "  --data DIR            where its data lives; made if absent\n"
    "  --listen URL          address to listen on, e.g. tcp://127.0.0.1:7001\n"
    "  --insecure            listen on an address without TLS that other machines can reach\n"
    "  --advertise URL       address that clients are told, if another one\n"
    "  --peer N=URL          another node; repeat for each, or separate by commas\n"
    "  --join URL,...        nodes of a group that has let this one in (kvcli member add): one of\n"
    "                        them says who the others are\n"
    "  --peer-from LIST      further addresses, networks or host names that peers speak from,\n"
    "                        with commas between; any: from everywhere\n"
    "  --group NAME          name of the group (default: default)\n"
    "Who decides about the primary when the nodes lose each other (one of these):\n"
    "  --witness URL         a kvwitness process\n"
    "  --pair POLICY         two nodes by themselves: backup-wins, primary-wins or available\n"
    "Times and sizes:\n"
    "  --profile NAME        default, or lan: times for a network that never stalls\n"
    "  --heartbeat-ms N      (100; lan: 20)  --lease-ms N  (400; lan: 100)\n"
    "  --grace-ms N          (500; lan: 120)\n"
    "  --sync-timeout-ms N   a backup whose disk is slower is removed, and a primary whose own\n"
    "                        disk is gives the lead away (2000)\n"
    "  --sync-replicas N     members wanted in sync (all nodes)\n"
    "  --log-size MIB        log kept for nodes that lag (64)\n"
    "  --quarantine-stores N, --quarantine-size MIB\n"
    "                        stores kept that had to make way for the group's (8, 16384)\n"
    "  --verify-memory MIB   most that the verification of a product may take (64)\n"
    "Addresses tls+tcp:// (see docs/security.md):\n"
    "  --tls-cert FILE, --tls-key FILE, --tls-ca FILE\n"
    "                        certificate of this node, its key, the CA of the group (PEM)\n"
    "  --tls-min VERSION     1.3 (default) or 1.2\n"
    "  --admin IDENTITY      has every right over TLS, as user/ann; may be given again\n"
    "Others:\n"
    "  --http URL            pages for operators (/ for browsers, /metrics, /livez, /readyz,\n"
    "                        /api/v1/status), e.g.\n"
    "                        http://127.0.0.1:9101; on this machine's own addresses only\n"
    "  --http-others URL,... the pages of the other nodes, as browsers reach them: when this\n"
    "                        node is gone, its page goes on with theirs\n"
    "  --fence-command CMD   must exit 0 before this node takes the primary's place\n"
    "  --config FILE         the same settings as lines NAME = VALUE; options win\n"
    "  --log-level LEVEL     error, warn, info (default) or debug\n"
    "  --log-file FILE       log to the end of this file instead of standard error\n"
    "  --restore FILE        make the data of a new group's first node of a backup ('kvcli\n"
    "                        backup'; -: standard input) in an empty --data, and end\n"
    "  --help, --version\n\n"
    "SIGTERM and SIGINT hand the primary role over and stop; a second one stops at once, and so\n"
    "does a disk that does not answer within 7 seconds after the first. SIGHUP reads the\n"
    "configuration file and the certificate again and re-opens the log file; what cannot change\n"
    "without a restart is named in the log.\n"
    "Exit status: 0 stopped, 1 failed, 2 usage.\n";

static int kvnode_complain(const char *format, const char *name)
{
    fprintf(stderr, "kvnode: ");
    fprintf(stderr, format, name);
    fprintf(stderr, "\nTry 'kvnode --help'.\n");
    return EXIT_USAGE;
}

static int kvnode_read_file(struct kvnode_settings *settings)
{
    char message[MESSAGE_MAX] = "";
    const char *name = settings->text[SET_CONFIG];
    if (!settings->given[SET_CONFIG]) {
        return 0;
    }
    FILE *file = fopen(name, "r");
    if (file == NULL) {
        return kvnode_complain("cannot read the configuration file %s", name);
    }
    bool good = kvnode_settings_read(settings, name, file, message, sizeof(message));
    fclose(file);
    return good ? 0 : kvnode_complain("%s", message);
}

/* 0: go on; else *status is the exit status. `given`: without what the file says. */
static int kvnode_parse(int argc, char **argv, struct kvnode_settings *given,
                        struct kvnode_settings *settings, int *status)
{
    int which;
    while ((which = getopt_long(argc, argv, "", kvnode_options, NULL)) != -1) {
        if (which == SET_HELP) {
            fputs(usage, stdout);
            *status = kvp_process_printed("kvnode") ? EXIT_SUCCESS : EXIT_FAILURE;
            return 1;
        }
        if (which == SET_VERSION) {
            printf("kvnode %s\n", kvp_version());
            *status = kvp_process_printed("kvnode") ? EXIT_SUCCESS : EXIT_FAILURE;
            return 1;
        }
        if (which == '?') {
            fputs("Try 'kvnode --help'.\n", stderr); /* getopt has said what is wrong */
            *status = EXIT_USAGE;
            return 1;
        }
        if (!kvnode_settings_give(settings, which, optarg)) {
            *status = kvnode_complain("value too long: %s", optarg);
            return 1;
        }
    }
    for (; optind < argc; optind++) {
        if (strchr(argv[optind], '=') == NULL ||
            !kvnode_settings_give(settings, SET_PEER, argv[optind])) {
            *status = kvnode_complain("unexpected argument \"%s\"", argv[optind]);
            return 1;
        }
    }
    *given = *settings;
    *status = kvnode_read_file(settings);
    return *status != 0;
}

/* Shared by the main thread and the one that takes the signals: a disk that hangs may hold the
 * former for ever. */
struct process {
    char **arguments;
    const char *data_dir;
    struct kvnode_reload reload; /* of the one that takes the signals */
    pthread_mutex_t mutex;
    kvp_node *node; /* NULL: not open yet */
};

static struct process this_process = {.mutex = PTHREAD_MUTEX_INITIALIZER};

static void die(const char *why)
{
    fprintf(stderr, "kvnode: %s\n", why);
    _exit(EXIT_FAILURE);
}

static sigset_t awaited_signals(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    return set;
}

static kvp_node *node_of(struct process *process)
{
    pthread_mutex_lock(&process->mutex);
    kvp_node *node = process->node;
    pthread_mutex_unlock(&process->mutex);
    return node;
}

/* Waits for the signal to stop; SIGHUP, if it is taken too, tells of itself. False: the time is
 * over. */
static bool wait_for_signal(unsigned seconds, bool *hangup)
{
    sigset_t set = awaited_signals();
    struct timespec limit = {.tv_sec = seconds};
    if (hangup == NULL) {
        sigdelset(&set, SIGHUP);
    }
    int which = sigtimedwait(&set, NULL, &limit);
    if (hangup != NULL) {
        *hangup = which == SIGHUP;
    }
    return which >= 0 && which != SIGHUP;
}

/* Says so when opening takes long, and again each time that it has taken twice as long. */
static void watch_opening(struct process *process)
{
    unsigned seconds = 0, due = OPENING_SLOW_S;
    bool hangup = false;
    while (!wait_for_signal(1, &hangup)) {
        if (hangup) { /* a terminal that closes sends it, too: it does no harm */
            kvnode_reload(&process->reload, node_of(process));
            continue;
        }
        seconds++;
        if (node_of(process) == NULL) {
            kvp_notify("EXTEND_TIMEOUT_USEC=30000000\nSTATUS=opening the data for %u s", seconds);
        }
        if (seconds >= due && node_of(process) == NULL) {
            due *= 2;
            fprintf(stderr,
                    "kvnode: opening the data in %s has taken %u s: the disk does not answer\n",
                    process->data_dir, seconds);
        }
    }
}

static void *kvnode_watch_signals(void *arg)
{
    struct process *process = arg;
    watch_opening(process);
    kvp_notify("STOPPING=1\nSTATUS=stopping");
    kvp_node *node = node_of(process);
    for (unsigned i = 0; node == NULL && i < OPENING_PATIENCE; i++) {
        usleep(50000);
        node = node_of(process);
    }
    if (node == NULL) {
        die("ended while the data was being opened");
    }
    kvp_node_stop(node);
    if (!wait_for_signal(STOP_LIMIT_S, NULL)) {
        die("the node has not stopped in time: its disk does not answer");
    }
    _exit(EXIT_FAILURE);
}

static void block_signals(void)
{
    sigset_t set = awaited_signals();
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    kvp_process_bear_failed_writes();
    signal(SIGHUP, SIG_DFL); /* it is taken by the thread that waits for signals */
}

/* EXIT_SUCCESS, or the exit status. */
static int open_http(const struct kvnode_settings *settings, int log_level,
                     struct kvnode_http **http)
{
    const char *url = settings->text[SET_HTTP];
    const struct kvp_logger logger = {.level = (enum kvp_log_level)log_level};
    char reason[MESSAGE_MAX] = "";
    if (url[0] == '\0') {
        return EXIT_SUCCESS;
    }
    kvp_status status =
        kvnode_http_open(url, settings->text[SET_HTTP_OTHERS], http, reason, sizeof(reason));
    if (status == KVP_OK) {
        kvp_log(&logger, KVP_LOG_INFO, "http_started", "url=%s", kvnode_http_url(*http));
        return EXIT_SUCCESS;
    }
    fprintf(stderr, "kvnode: --http: cannot listen on %s: %s\n", url, reason);
    return status == KVP_BAD_ARGUMENT ? EXIT_USAGE : EXIT_FAILURE;
}

/* The exit status. */
static int open_node(struct process *process, const kvp_node_options *options)
{
    char message[1024];
    kvp_node *node = NULL;
    kvp_status status = kvp_node_open(options, &node, message, sizeof(message));
    if (status != KVP_OK) {
        fprintf(stderr, "kvnode: %s\n", message[0] ? message : kvp_strerror(status));
        return status == KVP_BAD_ARGUMENT ? EXIT_USAGE : EXIT_FAILURE;
    }
    pthread_mutex_lock(&process->mutex);
    process->node = node;
    pthread_mutex_unlock(&process->mutex);
    return EXIT_SUCCESS;
}

/* ---- who supervises it ---- */

static void tell_state(kvp_node *node, char told[STATE_TEXT_SIZE])
{
    char text[STATE_TEXT_SIZE];
    kvp_node_state state;
    (void)kvp_node_get_state(node, &state);
    (void)snprintf(text, sizeof(text), "%s%s, epoch %llu, primary %u", kvp_role_name(state.role),
                   state.serving ? ", serving" : "", (unsigned long long)state.epoch,
                   state.primary_id);
    if (strcmp(text, told) != 0) {
        (void)snprintf(told, STATE_TEXT_SIZE, "%s", text);
        kvp_notify("STATUS=%s", text);
    }
}

/* The watchdog is fed while the loop thread turns, by this thread: a supervisor that does not read
 * is not to hold up heartbeats. */
static kvp_status wait_and_tell(kvp_node *node)
{
    char told[STATE_TEXT_SIZE] = "";
    uint64_t feed_us = kvp_notify_feed_us();
    uint32_t every_ms = TELL_EVERY_MS;
    kvp_status status;
    if (feed_us > 0 && feed_us < every_ms * 1000) {
        every_ms = feed_us < 2000 ? 1 : (uint32_t)(feed_us / 2000);
    }
    kvp_notify("READY=1");
    do {
        tell_state(node, told);
        if (feed_us > 0 && node_eyes_loop_busy_us(node) < feed_us) {
            kvp_notify("WATCHDOG=1");
        }
        status = kvp_node_wait_end(node, every_ms);
    } while (status == KVP_TIMEOUT);
    return status;
}

/* False: it has complained. */
static bool kvnode_open_log(const char *path)
{
    if (path[0] != '\0' && !kvnode_log_to(path)) {
        fprintf(stderr, "kvnode: --log-file: cannot open %s: %s\n", path, strerror(errno));
        return false;
    }
    return true;
}

static bool repaired_lately(long long now_s)
{
    const char *before = getenv(REPAIRED_VARIABLE);
    return before != NULL && now_s - strtoll(before, NULL, 10) < REPAIR_EVERY_S;
}

/* The store was found damaged while it was in use, and others have what it has: the next opening
 * sets it aside. A disk that damages one store after the other is not worth sending everything to
 * again and again. */
static void start_anew(void)
{
    char text[32];
    long long now_s = (long long)(kvp_clock_now_us() / 1000000);
    if (repaired_lately(now_s)) {
        fprintf(stderr, "kvnode: damage twice within %d s: replace the disk\n", REPAIR_EVERY_S);
        return;
    }
    (void)snprintf(text, sizeof(text), "%lld", now_s);
    if (setenv(REPAIRED_VARIABLE, text, 1) == 0) {
        execv("/proc/self/exe", this_process.arguments);
    }
    fprintf(stderr, "kvnode: cannot start anew: %s; start it by hand\n", strerror(errno));
}

static int kvnode_run(const kvp_node_options *options, const struct kvnode_settings *settings)
{
    struct kvnode_http *http = NULL;
    pthread_t watcher;
    this_process.data_dir = options->data_dir;
    this_process.reload.running = *settings;
    signal(SIGHUP, SIG_IGN); /* a terminal that closes is no reason to stop */
    if (!kvnode_open_log(settings->text[SET_LOG_FILE])) {
        return EXIT_FAILURE;
    }
    kvp_await_address("kvnode", options->listen);
    block_signals();
    if (pthread_create(&watcher, NULL, kvnode_watch_signals, &this_process) != 0) {
        fprintf(stderr, "kvnode: cannot make a thread\n");
        return EXIT_FAILURE;
    }
    int code = open_http(settings, options->log_level, &http);
    code = code == EXIT_SUCCESS ? open_node(&this_process, options) : code;
    if (code != EXIT_SUCCESS) {
        kvnode_http_close(http);
        return code;
    }
    kvnode_http_show(http, this_process.node);
    kvp_status status = kvp_notify_wanted() ? wait_and_tell(this_process.node)
                                            : kvp_node_wait_end(this_process.node, 0);
    bool damaged = status == KVP_FAILED && node_eyes_damaged(this_process.node);
    pthread_cancel(watcher);
    pthread_join(watcher, NULL);
    kvnode_http_close(http);
    if (kvp_node_close(this_process.node) != KVP_OK) {
        die("ended, though its disk does not answer");
    }
    if (damaged) {
        start_anew();
    }
    return status == KVP_OK ? EXIT_SUCCESS : EXIT_FAILURE;
}

int main(int argc, char **argv)
{
    static struct kvnode_settings settings;
    char message[MESSAGE_MAX] = "";
    kvp_node_options options;
    int status;
    if (!kvp_process_fill_standard()) {
        return EXIT_FAILURE;
    }
    this_process.arguments = argv;
    kvp_process_raise_descriptor_limit("kvnode");
    if (kvnode_parse(argc, argv, &this_process.reload.command_line, &settings, &status)) {
        return status;
    }
    kvp_node_options_init(&options);
    if (!kvnode_settings_fill(&settings, &options, message, sizeof(message))) {
        return kvnode_complain("%s", message);
    }
    if (settings.text[SET_RESTORE][0] != '\0') {
        return kvnode_restore(&options, settings.text[SET_RESTORE]);
    }
    if (strcmp(settings.text[SET_INSECURE], "yes") != 0 &&
        kvp_address_refuse_exposed("kvnode", options.listen)) {
        return EXIT_USAGE;
    }
    return kvnode_run(&options, &settings);
}
