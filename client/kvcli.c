/* SPDX-License-Identifier: Apache-2.0 */
/* kvcli: the group from a shell. Options, commands, what errors look like. */
#include "client/kvcli.h"
#include "replication/process.h"

#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define COMPLAINT_SIZE 4096
#define NODES_DEFAULT "tcp://127.0.0.1:7001,tcp://127.0.0.1:7002"

const struct kvcli_command kvcli_commands[] = {
    {"get", "[--stale] KEY", "print the value", 1, 2, false, kvcli_get},
    {"put", "KEY VALUE|-", "set the value (-: standard input)", 2, 2, true, kvcli_put},
    {"create", "KEY VALUE|-", "set it only if there is none", 2, 2, true, kvcli_create},
    {"delete", "KEY [VERSION]", "remove it", 1, 2, true, kvcli_delete},
    {"cas", "KEY VERSION VALUE|-", "set it only if that is its version (0: absent)", 3, 3, true,
     kvcli_cas},
    {"scan", "[--keys] [--limit N] [PREFIX]", "list keys and values in order", 0, 5, false,
     kvcli_scan},
    {"txn", "FILE|-", "compare, then change, at once (JSON)", 1, 1, true, kvcli_txn},
    {"status", "", "what each node says about itself", 0, 0, false, kvcli_status},
    {"handover", "[ID]", "the primary gives its role to a backup", 0, 1, true, kvcli_handover},
    {"promote", "[--node URL] [--force]", "a node shall become primary", 0, 3, true,
     kvcli_promote},
    {"job", "VERB ...", "sets of tasks for workers, and products of matrices:", 1, INT_MAX, false,
     NULL, kvcli_job_verbs},
    {NULL, NULL, NULL, 0, 0, false, NULL},
};

const struct kvcli_command kvcli_job_verbs[] = {
    {"submit", "matmul A B | tasks FILE|- [OPTION]...", "make and start one; prints its id", 2,
     INT_MAX, true, kvcli_job_submit},
    {"list", "", "all jobs", 0, 0, false, kvcli_job_list},
    {"show", "ID [--tasks]", "what is known about one", 1, 2, false, kvcli_job_show},
    {"wait", "ID [--timeout S]", "until it has ended", 1, 3, false, kvcli_job_wait},
    {"result", "ID [-o FILE] [--task N]", "what came of it", 1, 5, false, kvcli_job_result},
    {"cancel", "ID", "end it", 1, 1, true, kvcli_job_cancel},
    {"workers", "", "who works", 0, 0, false, kvcli_job_workers},
    {NULL, NULL, NULL, 0, 0, false, NULL},
};

/* What nodes and files say may be part of it, and terminals take some characters for commands. */
int kvcli_complain(const char *format, ...)
{
    char text[COMPLAINT_SIZE];
    va_list arguments;

    fflush(stdout);
    va_start(arguments, format);
    int printed = vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
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

int kvcli_failed(kvp_status status, const kvp_result *detail)
{
    const char *text = kvp_strerror(status);

    if (status == KVP_VERSION_DIFFERS && detail != NULL && detail->version == 0) {
        (void)kvcli_complain("%s: the key is absent", text);
    } else if (status == KVP_VERSION_DIFFERS && detail != NULL) {
        (void)kvcli_complain("%s: it is %llu", text, (unsigned long long)detail->version);
    } else if (detail != NULL && detail->value.size > 0) {
        (void)kvcli_complain("%s: %.*s", text, (int)detail->value.size,
                             (const char *)detail->value.data);
    } else {
        (void)kvcli_complain("%s", text);
    }
    return exit_status(status);
}

int kvcli_failed_to_print(bool update)
{
    (void)kvcli_complain("%s%s", kvp_strerror(KVP_NO_MEMORY),
                         update ? "; the command was executed" : "");
    return update ? EXIT_UNKNOWN : EXIT_NOTHING;
}

int kvcli_failed_because(kvp_status status, const char *reason)
{
    (void)kvcli_complain("%s%s%s", kvp_strerror(status), reason[0] == '\0' ? "" : ": ", reason);
    return exit_status(status);
}

static const struct kvcli_command *find_command(const struct kvcli_command *table,
                                                const char *name)
{
    for (const struct kvcli_command *command = table; command->name != NULL; command++) {
        if (strcmp(command->name, name) == 0) {
            return command;
        }
    }
    return NULL;
}

/* Output that got lost must not look like success, nor an update as if it had not happened. */
static int check_output(int code, bool update)
{
    bool failed = ferror(stdout) != 0;

    errno = 0;
    if (fflush(stdout) == 0 && !failed) {
        return code;
    }
    (void)kvcli_complain("standard output: %s%s",
                         errno != 0 ? strerror(errno) : "some of it could not be written",
                         update && code == EXIT_DONE ? "; the command was executed" : "");
    clearerr(stdout); /* the prompt goes on */
    return code != EXIT_DONE ? code : update ? EXIT_UNKNOWN : EXIT_NOTHING;
}

int kvcli_run(struct kvcli *cli, int argc, char **argv)
{
    const struct kvcli_command *command = find_command(kvcli_commands, argv[0]);
    const char *group = "", *blank = "";

    if (command != NULL && command->verbs != NULL && argc > 1) {
        group = command->name;
        blank = " ";
        command = find_command(command->verbs, *++argv);
        argc--;
    }
    if (command == NULL) {
        return kvcli_complain("unknown command '%s%s%s'; try %s", group, blank, argv[0],
                              cli->prompt ? "help" : "kvcli --help");
    }
    if (argc - 1 < command->arguments_min || argc - 1 > command->arguments_max) {
        return kvcli_complain("usage: %s%s%s %s", group, blank, command->name, command->arguments);
    }
    return check_output(command->run(cli, argc - 1, argv + 1), command->update);
}

void kvcli_print_commands(FILE *out)
{
    for (const struct kvcli_command *command = kvcli_commands; command->name != NULL; command++) {
        fprintf(out, "  %-9s %-30s %s\n", command->name, command->arguments, command->summary);
        for (const struct kvcli_command *verb = command->verbs; verb != NULL && verb->name != NULL;
             verb++) {
            int width = fprintf(out, "    %s %s %s", command->name, verb->name, verb->arguments);
            fprintf(out, "%*s %s\n", width < 42 ? 42 - width : 0, "", verb->summary);
        }
    }
}

static void print_usage(FILE *out)
{
    fputs("usage: kvcli [--nodes URL,URL...] [--group NAME] [--timeout MS] [--json] COMMAND ...\n"
          "Reads and changes a kvpair group. Without a command, on a terminal: a prompt.\n\n",
          out);
    kvcli_print_commands(out);
    fputs("\n"
          "  --nodes URL,...   nodes of the group, any of them; else $KVPAIR_NODES; else\n"
          "                    " NODES_DEFAULT "\n"
          "  --group NAME      the group's name (default)\n"
          "  --timeout MS      how long to try (5000)\n"
          "  --json            output for programs\n"
          "  --help, --version\n\n"
          "Exit status: 0 done; 1 the answer is no (not found, exists, version differs, job failed);\n"
          "2 usage; 3 unavailable or timed out, nothing happened; 4 timed out, outcome unknown;\n"
          "5 refused; 6 job wait: it was cancelled.\n"
          "If output gets lost: 4 after an update, else 3.\n"
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
            break;
        case 'h':
            print_usage(stdout);
            return check_output(EXIT_DONE, false);
        case 'v':
            printf("kvcli %s\n", kvp_version());
            return check_output(EXIT_DONE, false);
        default:
            return EXIT_USAGE; /* getopt has said why */
        }
    }
    return -1;
}

int main(int argc, char **argv)
{
    struct kvcli cli = {.nodes = getenv("KVPAIR_NODES"), .timeout_ms = 5000};
    kvp_client_options options;
    char message[512];

    if (!kvp_process_fill_standard()) {
        return EXIT_NOTHING;
    }
    if (cli.nodes == NULL || cli.nodes[0] == '\0') {
        cli.nodes = NODES_DEFAULT;
    }
    int code = parse_options(argc, argv, &cli);
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
    code = optind == argc ? kvcli_prompt(&cli) : kvcli_run(&cli, argc - optind, argv + optind);
    kvp_client_close(cli.client);
    return code;
}
