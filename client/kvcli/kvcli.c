/* SPDX-License-Identifier: Apache-2.0 */
/* kvcli: the group from a shell. Options, commands, what errors look like. */
#include "client/kvcli/kvcli.h"
#include "kvstore/base/process.h"

#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define COMPLAINT_SIZE 4096
#define NODES_DEFAULT "tcp://127.0.0.1:7001,tcp://127.0.0.1:7002"

static const struct kvcli_option get_options[] = {
    {"--stale", NULL, "any node answers from what it has, however old that is"},
    {NULL, NULL, NULL},
};

static const struct kvcli_option scan_options[] = {
    {"--keys", NULL, "the keys alone"},
    {"--limit", "N", "at most so many"},
    {NULL, NULL, NULL},
};

static const struct kvcli_option import_options[] = {
    {"--keep", NULL, "keys that are there already stay as they are"},
    {NULL, NULL, NULL},
};

static const struct kvcli_option promote_options[] = {
    {"--node", "URL", "which node; needed where --nodes has several"},
    {"--force", NULL, "also if its data may be incomplete: acknowledged updates may be lost"},
    {NULL, NULL, NULL},
};

static const struct kvcli_option show_options[] = {
    {"--tasks", NULL, "all tasks, not only those that are remarkable"},
    {NULL, NULL, NULL},
};

static const struct kvcli_option wait_options[] = {
    {"--timeout", "S", "give up waiting after so many seconds"},
    {NULL, NULL, NULL},
};

static const struct kvcli_option result_options[] = {
    {"-o", "FILE", "write it there: .npy or .csv for a product of matrices"},
    {"--task", "N", "of one task, or one block of the product, byte for byte"},
    {NULL, NULL, NULL},
};

const struct kvcli_command kvcli_commands[] = {
    {"get", "KEY", "print the value", 1, 1, false, kvcli_get, get_options, NULL, false},
    {"put", "KEY VALUE|-", "set the value (-: standard input)", 2, 2, true, kvcli_put, NULL, NULL,
     false},
    {"create", "KEY VALUE|-", "set it only if there is none", 2, 2, true, kvcli_create, NULL, NULL,
     false},
    {"delete", "KEY [VERSION]", "remove it", 1, 2, true, kvcli_delete, NULL, NULL, false},
    {"cas", "KEY VERSION VALUE|-", "set it only if that is its version (0: absent)", 3, 3, true,
     kvcli_cas, NULL, NULL, false},
    {"scan", "[PREFIX]", "list keys and values in order", 0, 1, false, kvcli_scan, scan_options,
     NULL, false},
    {"txn", "FILE|-", "compare, then change, at once (JSON)", 1, 1, true, kvcli_txn, NULL, NULL,
     false},
    {"export", "[PREFIX]", "print keys and values as lines of JSON, for import", 0, 1, false,
     kvcli_export, NULL, NULL, false},
    {"import", "[FILE|-]", "put the keys of an export", 0, 1, true, kvcli_import, import_options,
     NULL, false},
    {"status", "", "what each node says about itself", 0, 0, false, kvcli_status, NULL, NULL, false},
    {"handover", "[ID]", "the primary gives its role to a backup", 0, 1, true, kvcli_handover, NULL,
     NULL, false},
    {"promote", "", "a node shall become primary", 0, 0, true, kvcli_promote, promote_options, NULL,
     false},
    {"job", "VERB ...", "sets of tasks for workers, and products of matrices:", 1, INT_MAX, false,
     NULL, NULL, kvcli_job_verbs, false},
    {NULL, NULL, NULL, 0, 0, false, NULL, NULL, NULL, false},
};

const struct kvcli_command kvcli_job_verbs[] = {
    {"submit", "matmul A B | tasks FILE|-", "make and start one; prints its id", 2, 3, true,
     kvcli_job_submit, kvcli_submit_options, NULL, true},
    {"list", "", "all jobs", 0, 0, false, kvcli_job_list, NULL, NULL, false},
    {"show", "ID", "what is known about one", 1, 1, false, kvcli_job_show, show_options, NULL,
     false},
    {"wait", "ID", "until it has ended", 1, 1, false, kvcli_job_wait, wait_options, NULL, false},
    {"result", "ID", "what came of it", 1, 1, false, kvcli_job_result, result_options, NULL, false},
    {"cancel", "ID", "end it", 1, 1, true, kvcli_job_cancel, NULL, NULL, false},
    {"remove", "ID", "forget one that has ended", 1, 1, true, kvcli_job_remove, NULL, NULL, false},
    {"workers", "", "who works", 0, 0, false, kvcli_job_workers, NULL, NULL, false},
    {NULL, NULL, NULL, 0, 0, false, NULL, NULL, NULL, false},
};

/* ---- complaints ---- */

static bool complaints_in_json;

void kvcli_complain_in_json(void)
{
    complaints_in_json = true;
}

/* {"error": ..., "reason": ..., "status": ...} on a line of standard error; status < 0: there is none. */
static void complain_json(const char *error, const char *reason, int status)
{
    cJSON *object = cJSON_CreateObject();

    kvcli_json_add(&object, "error", kvcli_json_readable(error));
    if (reason[0] != '\0') {
        kvcli_json_add(&object, "reason", kvcli_json_readable(reason));
    }
    if (status >= 0) {
        kvcli_json_add(&object, "status", cJSON_CreateNumber(status));
    }
    char *text = object == NULL ? NULL : cJSON_PrintUnformatted(object);
    fprintf(stderr, "%s\n", text == NULL ? "{\"error\":\"out of memory\"}" : text);
    cJSON_free(text);
    cJSON_Delete(object);
}

/* What nodes and files say may be part of it, and terminals take some characters for commands. */
int kvcli_complain(const char *format, ...)
{
    char text[COMPLAINT_SIZE];
    va_list arguments;

    fflush(stdout);
    va_start(arguments, format);
    int printed = vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    if (complaints_in_json) {
        complain_json(text, "", -1);
        return EXIT_USAGE;
    }
    fputs("kvcli: ", stderr);
    kvcli_complain_escaped(kvp_slice_of(text, strlen(text)));
    fputs(printed >= (int)sizeof(text) ? "...\n" : "\n", stderr);
    return EXIT_USAGE;
}

static int exit_status(kvp_status status)
{
    switch (status) {
    case KVP_OK:
        return EXIT_DONE;
    case KVP_NOT_FOUND:
    case KVP_EXISTS:
    case KVP_VERSION_DIFFERS:
    case KVP_NO_SUCH_JOB:
    case KVP_JOB_STATE:
        return EXIT_NO;
    case KVP_BAD_ARGUMENT:
    case KVP_BAD_REQUEST:
    case KVP_TOO_LARGE:
        return EXIT_USAGE;
    case KVP_TIMEOUT_UNKNOWN:
        return EXIT_UNKNOWN;
    case KVP_REFUSED:
    case KVP_WRONG_GROUP:
        return EXIT_REFUSED;
    default:
        return EXIT_NOTHING;
    }
}

static int complain_status(kvp_status status, const char *reason)
{
    if (complaints_in_json) {
        fflush(stdout);
        complain_json(kvp_strerror(status), reason, (int)status);
    } else {
        (void)kvcli_complain("%s%s%s", kvp_strerror(status), reason[0] == '\0' ? "" : ": ",
                             reason);
    }
    return exit_status(status);
}

int kvcli_failed(kvp_status status, const kvp_result *detail)
{
    char reason[COMPLAINT_SIZE] = "";

    if (status == KVP_VERSION_DIFFERS && detail != NULL && detail->version == 0) {
        (void)snprintf(reason, sizeof(reason), "the key is absent");
    } else if (status == KVP_VERSION_DIFFERS && detail != NULL) {
        (void)snprintf(reason, sizeof(reason), "it is %llu", (unsigned long long)detail->version);
    } else if (detail != NULL && detail->value.size > 0) {
        (void)snprintf(reason, sizeof(reason), "%.*s", (int)detail->value.size,
                       (const char *)detail->value.data);
    }
    return complain_status(status, reason);
}

int kvcli_failed_to_print(bool update)
{
    (void)kvcli_complain("%s%s", kvp_strerror(KVP_NO_MEMORY),
                         update ? "; the command was executed" : "");
    return update ? EXIT_UNKNOWN : EXIT_NOTHING;
}

int kvcli_failed_because(kvp_status status, const char *reason)
{
    return complain_status(status, reason);
}

/* ---- running ---- */

const struct kvcli_command *kvcli_find(const struct kvcli_command *table, const char *name)
{
    for (const struct kvcli_command *command = table; command->name != NULL; command++) {
        if (strcmp(command->name, name) == 0) {
            return command;
        }
    }
    return NULL;
}

/* A pipe or connection whose other end is closed. */
static bool reader_is_gone(void)
{
    struct pollfd output = {.fd = STDOUT_FILENO};

    return poll(&output, 1, 0) > 0 && (output.revents & (POLLERR | POLLHUP)) != 0;
}

/* Output that got lost must not look like success, nor an update as if it had not happened. Who stops
 * reading ("| head") has seen enough: that is no news to him. */
static int check_output(int code, bool update)
{
    bool failed = ferror(stdout) != 0;

    errno = 0;
    if (fflush(stdout) == 0 && !failed) {
        return code;
    }
    int error = errno;
    if (reader_is_gone() && !update) {
        code = code != EXIT_DONE ? code : EXIT_PIPE;
    } else {
        (void)kvcli_complain("standard output: %s%s",
                             error != 0 ? strerror(error) : "some of it could not be written",
                             update && code == EXIT_DONE ? "; the command was executed" : "");
        code = code != EXIT_DONE ? code : update ? EXIT_UNKNOWN : EXIT_NOTHING;
    }
    clearerr(stdout); /* the prompt goes on */
    return code;
}

/* ---- interrupts ---- */

static volatile sig_atomic_t update_under_way;

void kvcli_settled(void)
{
    update_under_way = 0;
}

/* Quiet, as a shell expects it; but nobody shall think that an update has not happened. */
static void on_interrupt(int number)
{
    static const char text[] = "kvcli: interrupted; whether the command was executed is not known\n";

    if (update_under_way) {
        (void)!write(STDERR_FILENO, text, sizeof(text) - 1);
    }
    _exit(128 + number);
}

static void catch_interrupts(void)
{
    static const int numbers[] = {SIGINT, SIGTERM, SIGHUP};
    struct sigaction action = {.sa_handler = on_interrupt}, before;

    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        if (sigaction(numbers[i], NULL, &before) == 0 && before.sa_handler != SIG_IGN) {
            (void)sigaction(numbers[i], &action, NULL);
        }
    }
}

/* ---- commands ---- */

static int refuse_command(const struct kvcli *cli, const char *group,
                          const struct kvcli_command *table, const char *name)
{
    const char *nearest = kvcli_nearest(table, name);
    const char *blank = group[0] == '\0' ? "" : " ";

    if (nearest != NULL) {
        return kvcli_complain("unknown command '%s%s%s'; did you mean %s%s%s?", group, blank, name,
                              group, blank, nearest);
    }
    return kvcli_complain("unknown command '%s%s%s'; try %s", group, blank, name,
                          cli->prompt ? "help" : "kvcli help");
}

static int run_command(struct kvcli *cli, const char *title, const struct kvcli_command *command,
                       int argc, char **argv)
{
    struct kvcli_given given;
    int code = kvcli_read_options(title, command, &argc, argv, &given);

    if (code >= 0) {
        return check_output(code, false);
    }
    if (argc < command->arguments_min || argc > command->arguments_max) {
        return kvcli_complain("usage: %s%s %s", title,
                              command->options == NULL ? "" : " [OPTION]...", command->arguments);
    }
    cli->given = &given;
    update_under_way = command->update && !cli->prompt;
    code = command->run(cli, argc, argv);
    update_under_way = 0;
    cli->given = NULL;
    return check_output(code, command->update);
}

/* The arguments are moved about. */
static int run_words(struct kvcli *cli, int argc, char **argv)
{
    const struct kvcli_command *command = kvcli_find(kvcli_commands, argv[0]);
    char title[64];

    if (command == NULL) {
        return refuse_command(cli, "", kvcli_commands, argv[0]);
    }
    if (command->verbs == NULL) {
        return run_command(cli, command->name, command, argc - 1, argv + 1);
    }
    if (argc == 1) {
        kvcli_print_command(stderr, command->name, command);
        return EXIT_USAGE;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
        return check_output(kvcli_help(1, argv), false);
    }
    const struct kvcli_command *verb = kvcli_find(command->verbs, argv[1]);
    if (verb == NULL) {
        return refuse_command(cli, command->name, command->verbs, argv[1]);
    }
    (void)snprintf(title, sizeof(title), "%s %s", command->name, verb->name);
    return run_command(cli, title, verb, argc - 2, argv + 2);
}

int kvcli_run(struct kvcli *cli, int argc, char **argv)
{
    char **words = calloc((size_t)argc + 1, sizeof(*words));

    if (words == NULL) {
        return kvcli_failed(KVP_NO_MEMORY, NULL);
    }
    memcpy(words, argv, (size_t)argc * sizeof(*words));
    int code = run_words(cli, argc, words);
    free(words);
    return code;
}

static void print_usage(FILE *out)
{
    fputs("usage: kvcli [--nodes URL,URL...] [--group NAME] [--timeout MS] [--json] COMMAND ...\n"
          "Reads and changes a kvpair group. Without a command, on a terminal: a prompt.\n"
          "More about one: kvcli help COMMAND, or kvcli COMMAND --help.\n\n",
          out);
    kvcli_print_commands(out);
    fputs("\n"
          "  --nodes URL,...   nodes of the group, any of them; else $KVPAIR_NODES; else\n"
          "                    " NODES_DEFAULT "\n"
          "  --group NAME      the group's name (default)\n"
          "  --timeout MS      how long to try (5000)\n"
          "  --json            output for programs, errors too\n"
          "  --help, -h, --version\n\n"
          "Exit status: 0 done; 1 the answer is no (not found, exists, version differs, job failed);\n"
          "2 usage; 3 unavailable or timed out, nothing happened; 4 timed out, outcome unknown;\n"
          "5 refused; 6 job wait: it was cancelled.\n"
          "If output gets lost: 4 after an update, else 3; 141 where its reader has left.\n"
          "Values are written as they are, with a newline added only on a terminal.\n",
          out);
}

/* -1: go on; else the exit status. */
static int parse_options(int argc, char **argv, struct kvcli *cli)
{
    static const struct option known[] = {
        {"nodes", required_argument, NULL, 'n'}, {"group", required_argument, NULL, 'g'},
        {"timeout", required_argument, NULL, 't'}, {"json", no_argument, NULL, 'j'},
        {"help", no_argument, NULL, 'h'}, {"version", no_argument, NULL, 'v'},
        {NULL, 0, NULL, 0},
    };
    uint64_t timeout_ms = 0;
    int which;

    while ((which = getopt_long(argc, argv, "+h", known, NULL)) != -1) {
        switch (which) {
        case 'n':
            cli->nodes = optarg;
            break;
        case 'g':
            cli->group = optarg;
            break;
        case 't':
            if (!kvcli_parse_number(optarg, 86400000, &timeout_ms) || timeout_ms == 0) {
                return kvcli_complain("--timeout: '%s' is not a number of milliseconds", optarg);
            }
            cli->timeout_ms = (uint32_t)timeout_ms;
            break;
        case 'j':
            cli->json = true;
            kvcli_complain_in_json();
            break;
        case 'h':
            print_usage(stdout);
            return check_output(EXIT_DONE, false);
        case 'v':
            printf("kvcli %s\n", kvp_version());
            return check_output(EXIT_DONE, false);
        default: /* getopt has said why */
            fputs("Try 'kvcli --help'.\n", stderr);
            return EXIT_USAGE;
        }
    }
    return -1;
}

/* What needs no group. -1: it is something else. */
static int run_alone(int argc, char **argv)
{
    if (argc == 0 || strcmp(argv[0], "help") != 0) {
        return -1;
    }
    if (argc == 1) {
        print_usage(stdout);
        return check_output(EXIT_DONE, false);
    }
    return check_output(kvcli_help(argc - 1, argv + 1), false);
}

int main(int argc, char **argv)
{
    struct kvcli cli = {.nodes = getenv("KVPAIR_NODES"), .timeout_ms = 5000};
    kvp_client_options options;
    char message[512];

    if (!kvp_process_break_standard()) {
        return EXIT_NOTHING;
    }
    if (cli.nodes == NULL || cli.nodes[0] == '\0') {
        cli.nodes = NODES_DEFAULT;
    }
    int code = parse_options(argc, argv, &cli);
    code = code < 0 ? run_alone(argc - optind, argv + optind) : code;
    if (code >= 0) {
        return code;
    }
    if (optind == argc && !isatty(STDIN_FILENO)) {
        print_usage(stderr);
        return EXIT_USAGE;
    }
    (void)signal(SIGPIPE, SIG_IGN); /* a reader that goes away is an error like others */
    kvp_client_options_init(&options);
    options.nodes = cli.nodes;
    options.group = cli.group;
    options.timeout_ms = cli.timeout_ms;
    kvp_status status = kvp_client_open(&options, &cli.client, message, sizeof(message));
    if (status != KVP_OK) {
        (void)kvcli_complain("%s", message);
        return exit_status(status);
    }
    if (optind < argc) {
        catch_interrupts(); /* the prompt has its own */
    }
    code = optind == argc ? kvcli_prompt(&cli) : kvcli_run(&cli, argc - optind, argv + optind);
    kvp_client_close(cli.client);
    return code;
}
