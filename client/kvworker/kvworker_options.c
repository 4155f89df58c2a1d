/* SPDX-License-Identifier: Apache-2.0 */
/* The command line of kvworker. */
#include "client/kvworker/kvworker.h"
#include "kvstore/base/process.h"

#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    SET_NODES = 1,
    SET_GROUP,
    SET_ID,
    SET_STANDBY,
    SET_BUFFER,
    SET_PARALLEL,
    SET_HANDLER,
    SET_HANDLER_TIMEOUT,
    SET_NO_MATMUL,
    SET_BLAS,
    SET_ONCE,
    SET_IDLE_EXIT,
    SET_LOG_LEVEL,
    SET_CRASH,
    SET_HANG,
    SET_CORRUPT,
    SET_SLOW,
    SET_HELP,
    SET_VERSION,
};

static const struct option long_options[] = {
    {"nodes", required_argument, NULL, SET_NODES},
    {"group", required_argument, NULL, SET_GROUP},
    KVP_TLS_LONG_OPTIONS,
    {"id", required_argument, NULL, SET_ID},
    {"standby", no_argument, NULL, SET_STANDBY},
    {"buffer", required_argument, NULL, SET_BUFFER},
    {"parallel", required_argument, NULL, SET_PARALLEL},
    {"handler", required_argument, NULL, SET_HANDLER},
    {"handler-timeout", required_argument, NULL, SET_HANDLER_TIMEOUT},
    {"no-matmul", no_argument, NULL, SET_NO_MATMUL},
    {"blas", required_argument, NULL, SET_BLAS},
    {"once", no_argument, NULL, SET_ONCE},
    {"idle-exit", required_argument, NULL, SET_IDLE_EXIT},
    {"log-level", required_argument, NULL, SET_LOG_LEVEL},
    {"crash-after", required_argument, NULL, SET_CRASH},
    {"hang-after", required_argument, NULL, SET_HANG},
    {"corrupt-rate", required_argument, NULL, SET_CORRUPT},
    {"slow-ms", required_argument, NULL, SET_SLOW},
    {"help", no_argument, NULL, SET_HELP},
    {"version", no_argument, NULL, SET_VERSION},
    {NULL, 0, NULL, 0},
};

static const char usage[] =
    "Usage: kvworker --nodes URL,URL... [OPTION]...\n"
    "Fetches tasks of jobs from a kvpair group, works on them, posts the results.\n\n"
    "  --nodes URL,...         nodes of the group, any of them; else $KVPAIR_NODES\n"
    "  --group NAME            name of the group (default)\n"
    "  --tls-cert FILE, --tls-key FILE, --tls-ca FILE\n"
    "                          for nodes at tls+tcp://; else $KVPAIR_TLS_CERT, _KEY, _CA\n"
    "  --id NAME               its name, unique among the workers (HOST-PID)\n"
    "  --standby               works only when an active worker is lost\n"
    "  --buffer BYTES          takes no task that is larger with its result (16777216)\n"
    "  --parallel N            tasks at a time, 1 to 64 (1)\n"
    "What it can do:\n"
    "  --handler KIND=COMMAND  tasks of this kind are done by a shell command: payload on its\n"
    "                          standard input, result on its standard output; repeatable\n"
    "  --handler-timeout S     kills a handler after so many seconds (0: never)\n"
    "  --no-matmul             no products of matrices, which are built in\n"
    "  --blas WHEN             floats are multiplied by BLAS: auto (if it is OpenBLAS), always, "
    "never\n"
    "When it ends:\n"
    "  --once                  after one task (with --parallel: one in each place)\n"
    "  --idle-exit S           when there has been no task for so long\n"
    "Others:\n"
    "  --log-level LEVEL       error, warn, info (default) or debug\n"
    "  --help, --version\n"
    "Tests of others need workers that are broken. This breaks it on purpose:\n"
    "  --crash-after N         kills itself in the middle of its Nth task\n"
    "  --hang-after N          never ends its Nth task, but beats\n"
    "  --corrupt-rate P        falsifies results with this probability (0 to 1)\n"
    "  --slow-ms N             every task takes so much longer\n\n"
    "SIGTERM and SIGINT give unfinished tasks back and end it; a second one ends it at once.\n"
    "Exit status: 0 ended as told, 1 failed, 2 usage, 3 another worker has joined under its name,\n"
    "4 barred: too many of its results were outvoted, or it failed too much that others did.\n";

static int options_complain(const char *format, ...) __attribute__((format(printf, 1, 2)));

static int options_complain(const char *format, ...)
{
    va_list arguments;
    fputs("kvworker: ", stderr);
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputs("\nTry 'kvworker --help'.\n", stderr);
    return KVWORKER_USAGE;
}

/* A whole number of min to max. */
static bool options_take_number(const char *text, uint64_t min, uint64_t max, uint64_t *number)
{
    char *end;
    errno = 0;
    unsigned long long read = strtoull(text, &end, 10);
    if (errno != 0 || end == text || *end != '\0' || *text < '0' || *text > '9' || read < min ||
        read > max) {
        return false;
    }
    *number = read;
    return true;
}

/* A decimal number of min to max. */
static bool take_decimal(const char *text, double max, double *number)
{
    char *end;
    double read = strtod(text, &end);
    if (end == text || *end != '\0' || !isfinite(read) || read < 0 || read > max) {
        return false;
    }
    *number = read;
    return true;
}

static bool take_seconds(const char *text, uint32_t *ms)
{
    double seconds = 0;
    if (!take_decimal(text, 86400 * 30, &seconds)) {
        return false;
    }
    *ms = (uint32_t)(seconds * 1000);
    return true;
}

static bool options_take_name(const char *text, char *name)
{
    size_t size = strlen(text);
    if (size == 0 || size > KVP_NAME_SIZE_MAX) {
        return false;
    }
    memcpy(name, text, size + 1);
    return true;
}

/* KIND=COMMAND; cuts the argument in two. */
static int take_handler(char *text, struct kvworker_options *options)
{
    char *command = strchr(text, '=');
    if (command == NULL || command == text || command[1] == '\0' ||
        command - text > (int)KVP_NAME_SIZE_MAX) {
        return options_complain("--handler: '%s' is not of the form KIND=COMMAND", text);
    }
    *command++ = '\0';
    for (unsigned i = 0; i < options->handler_count; i++) {
        if (strcmp(options->handlers[i].kind, text) == 0) {
            return options_complain("--handler: there are two for %s", text);
        }
    }
    if (options->handler_count == KVP_JOB_KINDS_MAX) {
        return options_complain("--handler: more than %u", KVP_JOB_KINDS_MAX);
    }
    options->handlers[options->handler_count++] = (struct kvworker_handler){text, command};
    return -1;
}

static bool take_blas(const char *text, enum kvworker_blas *blas)
{
    static const char *const names[] = {
        [KVWORKER_BLAS_AUTO] = "auto",
        [KVWORKER_BLAS_ALWAYS] = "always",
        [KVWORKER_BLAS_NEVER] = "never",
    };

    for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (strcmp(text, names[i]) == 0) {
            *blas = (enum kvworker_blas)i;
            return true;
        }
    }
    return false;
}

static bool options_take_value(int which, char *text, struct kvworker_options *options)
{
    uint64_t number = 0;
    bool good = true;
    switch (which) {
    case SET_NODES:
        options->nodes = text;
        return true;
    case SET_GROUP:
        options->group = text;
        return true;
    case SET_ID:
        return options_take_name(text, options->name);
    case SET_BLAS:
        return take_blas(text, &options->blas);
    case SET_BUFFER:
        return options_take_number(text, 64, UINT32_MAX, &options->buffer);
    case SET_PARALLEL:
        good = options_take_number(text, 1, KVWORKER_SLOTS_MAX, &number);
        options->parallel = (unsigned)number;
        return good;
    case SET_HANDLER_TIMEOUT:
        return take_seconds(text, &options->handler_timeout_ms);
    case SET_IDLE_EXIT:
        return take_seconds(text, &options->idle_exit_ms) && options->idle_exit_ms > 0;
    case SET_LOG_LEVEL:
        return kvp_log_level_parse(text, &options->log_level) == KVP_OK;
    case SET_CRASH:
        return options_take_number(text, 1, UINT64_MAX, &options->crash_after);
    case SET_HANG:
        return options_take_number(text, 1, UINT64_MAX, &options->hang_after);
    case SET_CORRUPT:
        return take_decimal(text, 1, &options->corrupt_rate);
    default: /* SET_SLOW */
        good = options_take_number(text, 0, 86400000, &number);
        options->slow_ms = (uint32_t)number;
        return good;
    }
}

static const char *options_name_of(int which)
{
    const struct option *option = long_options;
    while (option->val != which) {
        option++;
    }
    return option->name;
}

static int options_take(int which, struct kvworker_options *options)
{
    switch (which) {
    case SET_HELP:
        fputs(usage, stdout);
        return kvp_process_printed("kvworker") ? KVWORKER_DONE : KVWORKER_FAILED;
    case SET_VERSION:
        printf("kvworker %s\n", kvp_version());
        return kvp_process_printed("kvworker") ? KVWORKER_DONE : KVWORKER_FAILED;
    case SET_STANDBY:
        options->standby = true;
        return -1;
    case SET_NO_MATMUL:
        options->matmul = false;
        return -1;
    case SET_ONCE:
        options->once = true;
        return -1;
    case SET_HANDLER:
        return take_handler(optarg, options);
    case '?':
        fputs("Try 'kvworker --help'.\n", stderr); /* getopt has said what is wrong */
        return KVWORKER_USAGE;
    default:
        return options_take_value(which, optarg, options)
                   ? -1
                   : options_complain("--%s: '%s' is not understood, or not in range",
                                      options_name_of(which), optarg);
    }
}

static void fill_name(struct kvworker_options *options)
{
    char host[KVP_NAME_SIZE_MAX + 1] = "";
    (void)gethostname(host, sizeof(host) - 1);
    if (options->name[0] == '\0') {
        (void)snprintf(options->name, sizeof(options->name), "%.50s-%ld",
                       host[0] == '\0' ? "worker" : host, (long)getpid());
    }
}

int kvworker_parse(int argc, char **argv, struct kvworker_options *options)
{
    int which, code = -1;
    *options = (struct kvworker_options){
        .nodes = getenv("KVPAIR_NODES"),
        .matmul = true,
        .buffer = KVP_MESSAGE_SIZE_MAX,
        .parallel = 1,
        .log_level = KVP_LOG_INFO,
    };
    while (code < 0 && (which = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
        if (!kvp_tls_names_take(&options->tls, which, optarg)) {
            code = options_take(which, options);
        }
    }
    if (code >= 0) {
        return code;
    }
    if (optind < argc) {
        return options_complain("unexpected argument '%s'", argv[optind]);
    }
    if (options->nodes == NULL || options->nodes[0] == '\0') {
        return options_complain("--nodes is required: which group is it to work for?");
    }
    if (options->handler_count + (options->matmul ? 1 : 0) > KVP_JOB_KINDS_MAX) {
        return options_complain("more than %u kinds of task", KVP_JOB_KINDS_MAX);
    }
    if (options->handler_count == 0 && !options->matmul) {
        return options_complain("--no-matmul without --handler: there is nothing that it can do");
    }
    fill_name(options);
    return -1;
}
