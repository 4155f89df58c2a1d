/* SPDX-License-Identifier: Apache-2.0 */
/* kvcli: the group from a shell. Options, and which commands there are. */
#include "client/kvcli/kvcli.h"
#include "kvstore/base/process.h"

#include <getopt.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define NODES_DEFAULT "tcp://127.0.0.1:7001,tcp://127.0.0.1:7002"

static const struct kvcli_option get_options[] = {
    {"--stale", NULL, "any node answers from what it has, however old that is"},
    {"--revision", "REV", "as it was then, if the log still tells it"},
    {NULL, NULL, NULL},
};

static const struct kvcli_option delete_options[] = {
    {"--prefix", "PREFIX", "all keys that begin so; prints how many"},
    {"--from", "KEY", "those from this one on"},
    {"--to", "KEY", "those before this one"},
    {"--all", NULL, "every key"},
    {NULL, NULL, NULL},
};

static const struct kvcli_option put_options[] = {
    {"--ttl", "SECONDS", "it ends by itself after so long"},
    {"--lease", "ID", "it ends with that lease"},
    {NULL, NULL, NULL},
};

static const struct kvcli_option lock_options[] = {
    {"--ttl", "SECONDS", "so long after its holder is gone it is free (10)"},
    {"--timeout", "SECONDS", "wait so long for it, not for ever"},
    {NULL, NULL, NULL},
};

static const struct kvcli_option keep_options[] = {
    {"--once", NULL, "once, not until it is interrupted"},
    {NULL, NULL, NULL},
};

static const struct kvcli_option incr_options[] = {
    {"--by", "N", "so much (1); less than 0: --by=-3"},
    {NULL, NULL, NULL},
};

static const struct kvcli_option rename_options[] = {
    {"--replace", NULL, "also if the new key is there"},
    {NULL, NULL, NULL},
};

static const struct kvcli_option scan_options[] = {
    {"--keys", NULL, "the keys alone"},         {"--limit", "N", "at most so many"},
    {"--from", "KEY", "from this one on"},      {"--to", "KEY", "those before this one"},
    {"--reverse", NULL, "the last ones first"}, {NULL, NULL, NULL},
};

static const struct kvcli_option watch_options[] = {
    {"--from", "REV", "what has happened from that revision on, too"},
    {"--once", NULL, "the next event alone"},
    {"--stale", NULL, "from any node: also without a primary, and behind it"},
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

static const struct kvcli_option backup_options[] = {
    {"--from", "ID|URL", "from this node (one that is in sync and does not lead)"},
    {"--rate", "BYTES", "at most so many a second (67108864; 0: as fast as it goes)"},
    {NULL, NULL, NULL},
};

static const struct kvcli_option drill_options[] = {
    {"--yes", NULL, "do not ask"},
    {NULL, NULL, NULL},
};

static const struct kvcli_option top_options[] = {
    {"--once", NULL, "one look"},
    {"--every", "S", "so many seconds between looks (1)"},
    {NULL, NULL, NULL},
};

static const struct kvcli_option events_options[] = {
    {"--follow", NULL, "go on: print what happens, as it does"},
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

static const struct kvcli_option set_options[] = {
    {"--max-running", "N", "so many attempts at a time; 0: any number"},
    {"--priority", "P", "0 to 255"},
    {NULL, NULL, NULL},
};

static const struct kvcli_option retry_options[] = {
    {"--task", "N", "this one"},
    {"--failed", NULL, "all that have failed (so it is without an option)"},
    {NULL, NULL, NULL},
};

const struct kvcli_command kvcli_commands[] = {
    {"get", "KEY ...", "print the value, or those of several as of one moment", 1,
     (int)KVP_TXN_OPS_MAX, false, kvcli_get, get_options, NULL, false},
    {"put", "KEY VALUE|-", "set the value (-: standard input)", 2, 2, true, kvcli_put, put_options,
     NULL, false},
    {"create", "KEY VALUE|-", "set it only if there is none", 2, 2, true, kvcli_create, put_options,
     NULL, false},
    {"delete", "[KEY [VERSION]]", "remove it, or the keys of a range", 0, 2, true, kvcli_delete,
     delete_options, NULL, true},
    {"incr", "KEY", "add to a whole number; prints it", 1, 1, true, kvcli_incr, incr_options, NULL,
     false},
    {"rename", "KEY NEW", "give a value another key", 2, 2, true, kvcli_rename, rename_options,
     NULL, false},
    {"cas", "KEY VERSION VALUE|-", "set it only if that is its version (0: absent)", 3, 3, true,
     kvcli_cas, NULL, NULL, false},
    {"ttl", "KEY", "how long it has left", 1, 1, false, kvcli_ttl, NULL, NULL, false},
    {"scan", "[PREFIX]", "list keys and values in order", 0, 1, false, kvcli_scan, scan_options,
     NULL, false},
    {"watch", "[PREFIX] [-- COMMAND ...]", "what happens to keys, as it does", 0, INT_MAX, false,
     kvcli_watch, watch_options, NULL, false},
    {"txn", "FILE|-", "compare, then change, at once (JSON)", 1, 1, true, kvcli_txn, NULL, NULL,
     false},
    {"export", "[PREFIX]", "print keys and values as lines of JSON, for import", 0, 1, false,
     kvcli_export, NULL, NULL, false},
    {"import", "[FILE|-]", "put the keys of an export", 0, 1, true, kvcli_import, import_options,
     NULL, false},
    {"backup", "[verify] FILE|-", "everything as of one point in time, for kvnode --restore", 1, 2,
     false, kvcli_backup, backup_options, NULL, false},
    {"status", "", "what each node says about itself", 0, 0, false, kvcli_status, NULL, NULL,
     false},
    {"doctor", "", "what is wrong, why, and what to do about it", 0, 0, false, kvcli_doctor, NULL,
     NULL, false},
    {"top", "", "what the nodes do, again and again", 0, 0, false, kvcli_top, top_options, NULL,
     false},
    {"events", "", "who led when, why it changed, how long nobody served", 0, 0, false,
     kvcli_events, events_options, NULL, false},
    {"drill", "", "hand over, and measure how long a writer waits", 0, 0, false, kvcli_drill,
     drill_options, NULL, false},
    {"handover", "[ID]", "the primary gives its role to a backup", 0, 1, true, kvcli_handover, NULL,
     NULL, false},
    {"promote", "", "a node shall become primary", 0, 0, true, kvcli_promote, promote_options, NULL,
     false},
    {"member", "VERB ...", "who the nodes of the group are, and changes of that:", 1, INT_MAX,
     false, NULL, NULL, kvcli_member_verbs, false},
    {"job", "VERB ...", "sets of tasks for workers, and products of matrices:", 1, INT_MAX, false,
     NULL, NULL, kvcli_job_verbs, false},
    {"worker", "VERB ...", "those who work:", 1, INT_MAX, false, NULL, NULL, kvcli_worker_verbs,
     false},
    {"lease", "VERB ...", "what keys end with, unless it is kept:", 1, INT_MAX, false, NULL, NULL,
     kvcli_lease_verbs, false},
    {"lock", "NAME -- COMMAND ...", "run it while a lock is held", 2, INT_MAX, true, kvcli_lock,
     lock_options, NULL, false},
    {"elect", "NAME VALUE -- COMMAND ...", "run it while elected, with that to say", 3, INT_MAX,
     true, kvcli_elect, lock_options, NULL, false},
    {"access", "VERB ...", "who has which rights over TLS:", 1, INT_MAX, false, NULL, NULL,
     kvcli_access_verbs, false},
    {"cert", "VERB ...", "certificates for TLS, by a private CA:", 1, INT_MAX, false, NULL, NULL,
     kvcli_cert_verbs, false},
    {NULL, NULL, NULL, 0, 0, false, NULL, NULL, NULL, false},
};

const struct kvcli_command kvcli_worker_verbs[] = {
    {"list", "", "who works", 0, 0, false, kvcli_job_workers, NULL, NULL, false},
    {"drain", "NAME", "give it no task any more", 1, 1, true, kvcli_worker_drain, NULL, NULL,
     false},
    {"resume", "NAME", "give it tasks again", 1, 1, true, kvcli_worker_resume, NULL, NULL, false},
    {NULL, NULL, NULL, 0, 0, false, NULL, NULL, NULL, false},
};

const struct kvcli_command kvcli_lease_verbs[] = {
    {"grant", "SECONDS", "make one; prints its id", 1, 1, true, kvcli_lease_grant, NULL, NULL,
     false},
    {"keep", "ID", "give it its full time, again and again", 1, 1, false, kvcli_lease_keep,
     keep_options, NULL, false},
    {"revoke", "ID", "end it, and its keys", 1, 1, true, kvcli_lease_revoke, NULL, NULL, false},
    {"list", "", "all of them", 0, 0, false, kvcli_lease_list, NULL, NULL, false},
    {"show", "ID", "how long it has left, and its keys", 1, 1, false, kvcli_lease_show, NULL, NULL,
     false},
    {NULL, NULL, NULL, 0, 0, false, NULL, NULL, NULL, false},
};

static const struct kvcli_option init_options[] = {
    {"--dir", "DIR", "the folder of the CA (kvpair-certs)"},
    {"--days", "N", "how long it is good (3650)"},
    {NULL, NULL, NULL},
};

static const struct kvcli_option issue_options[] = {
    {"--dir", "DIR", "the folder of the CA (kvpair-certs)"},
    {"--days", "N", "how long it is good (397)"},
    {"--host", "HOST,...", "names and addresses of its machine, for programs that look at them"},
    {NULL, NULL, NULL},
};

static const struct kvcli_option renew_options[] = {
    {"--dir", "DIR", "the folder of the CA (kvpair-certs)"},
    {"--days", "N", "how long it is good (397)"},
    {NULL, NULL, NULL},
};

static const struct kvcli_option cert_list_options[] = {
    {"--dir", "DIR", "the folder of the CA (kvpair-certs)"},
    {NULL, NULL, NULL},
};

const struct kvcli_command kvcli_cert_verbs[] = {
    {"init", "", "make a CA", 0, 0, false, kvcli_cert_init, init_options, NULL, true},
    {"issue", "KIND/NAME", "for node/1, witness/w, user/ann, worker/w1", 1, 1, false,
     kvcli_cert_issue, issue_options, NULL, true},
    {"renew", "KIND/NAME", "the same again, with a new key", 1, 1, false, kvcli_cert_renew,
     renew_options, NULL, true},
    {"list", "", "all, and when they end", 0, 0, false, kvcli_cert_list, cert_list_options, NULL,
     true},
    {NULL, NULL, NULL, 0, 0, false, NULL, NULL, NULL, false},
};

const struct kvcli_command kvcli_member_verbs[] = {
    {"list", "", "all, where they are, and how they stand", 0, 0, false, kvcli_member_list, NULL,
     NULL, false},
    {"add", "ID URL", "let a node in", 2, 2, true, kvcli_member_add, NULL, NULL, false},
    {"remove", "ID", "take one out", 1, 1, true, kvcli_member_remove, NULL, NULL, false},
    {"replace", "OLD ID URL", "put another machine in the place of one", 3, 3, true,
     kvcli_member_replace, NULL, NULL, false},
    {"move", "ID URL", "it is at another address from now on", 2, 2, true, kvcli_member_move, NULL,
     NULL, false},
    {NULL, NULL, NULL, 0, 0, false, NULL, NULL, NULL, false},
};

const struct kvcli_command kvcli_access_verbs[] = {
    {"grant", "KIND/NAME RIGHT...", "give rights: read PREFIX, write PREFIX, submit, ...", 2,
     INT_MAX, true, kvcli_access_grant, NULL, NULL, false},
    {"revoke", "KIND/NAME [RIGHT...]", "take them back; all, if none is named", 1, INT_MAX, true,
     kvcli_access_revoke, NULL, NULL, false},
    {"list", "", "what everybody has been given", 0, 0, false, kvcli_access_list, NULL, NULL,
     false},
    {"show", "KIND/NAME", "what one has been given", 1, 1, false, kvcli_access_show, NULL, NULL,
     false},
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
    {"rm", "ID", "the same", 1, 1, true, kvcli_job_remove, NULL, NULL, false},
    {"pause", "ID", "hand out none of its tasks", 1, 1, true, kvcli_job_pause, NULL, NULL, false},
    {"resume", "ID", "hand them out again", 1, 1, true, kvcli_job_resume, NULL, NULL, false},
    {"set", "ID", "change one that runs", 1, 1, true, kvcli_job_set, set_options, NULL, false},
    {"dead", "ID", "its tasks that have failed, and why", 1, 1, false, kvcli_job_dead, NULL, NULL,
     false},
    {"retry", "ID", "try them again", 1, 1, true, kvcli_job_retry, retry_options, NULL, false},
    {"workers", "", "who works", 0, 0, false, kvcli_job_workers, NULL, NULL, false},
    {NULL, NULL, NULL, 0, 0, false, NULL, NULL, NULL, false},
};

static void kvcli_print_usage(FILE *out)
{
    fputs("usage: kvcli [--nodes URL,URL...] [--group NAME] [--timeout MS] [--json] COMMAND ...\n"
          "Reads and changes a kvpair group. Without a command, on a terminal: a prompt; else the "
          "commands\n"
          "are read from standard input, one a line.\n"
          "More about one: kvcli help COMMAND, or kvcli COMMAND --help.\n\n",
          out);
    kvcli_print_commands(out, kvcli_commands);
    fputs("\n"
          "  --nodes URL,...   nodes of the group, any of them; else $KVPAIR_NODES; else\n"
          "                    " NODES_DEFAULT "\n"
          "  --group NAME      the group's name (default)\n"
          "  --timeout MS      how long to try (5000)\n"
          "  --json            output for programs, errors too\n"
          "  --bail            of commands from standard input, the first that fails is the last\n"
          "  --tls-cert FILE, --tls-key FILE, --tls-ca FILE\n"
          "                    for nodes at tls+tcp://; else $KVPAIR_TLS_CERT, _KEY, _CA\n"
          "  --help, -h, --version\n\n"
          "Exit status: 0 done; 1 the answer is no (not found, exists, version differs, job "
          "failed);\n"
          "2 usage; 3 unavailable or timed out, nothing happened; 4 timed out, outcome unknown;\n"
          "5 refused; 6 job wait: it was cancelled; 7 done, but for tasks that failed.\n"
          "If output gets lost: 4 after an update, else 3; 141 where its reader has left.\n"
          "Values are written as they are, with a newline added only on a terminal.\n",
          out);
}

static int refuse_general(const struct option *known, const char *argument)
{
    const char *nearest = NULL;
    size_t size = strcspn(argument, "=");
    unsigned least = KVCLI_DISTANCE_MAX + 1;
    for (const struct option *each = known; optopt != 0 && each->name != NULL; each++) {
        if (each->val == optopt) {
            return kvcli_complain("--%s takes no value", each->name);
        }
    }
    if (optopt != 0) { /* a short one: others may stand beside it */
        return kvcli_complain("unknown option '-%c'; try kvcli --help", optopt);
    }
    for (; known->name != NULL; known++) {
        unsigned distance = size < 2 ? least : kvcli_distance(argument + 2, size - 2, known->name);
        nearest = distance < least ? known->name : nearest;
        least = distance < least ? distance : least;
    }
    return nearest != NULL
               ? kvcli_complain("unknown option '%.*s'; did you mean --%s?", (int)size, argument,
                                nearest)
               : kvcli_complain("unknown option '%.*s'; try kvcli --help", (int)size, argument);
}

/* -1: go on; else the exit status. */
static int kvcli_parse_options(int argc, char **argv, struct kvcli *cli)
{
    static const struct option known[] = {
        {"nodes", required_argument, NULL, 'n'},
        {"group", required_argument, NULL, 'g'},
        {"timeout", required_argument, NULL, 't'},
        {"json", no_argument, NULL, 'j'},
        {"bail", no_argument, NULL, 'b'},
        KVP_TLS_LONG_OPTIONS,
        {"help", no_argument, NULL, 'h'},
        {"version", no_argument, NULL, 'v'},
        {NULL, 0, NULL, 0},
    };
    uint64_t timeout_ms = 0;
    int which;

    opterr = 0; /* what is wrong is told as everything else is */
    while ((which = getopt_long(argc, argv, "+:h", known, NULL)) != -1) {
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
        case 'b':
            cli->bail = true;
            break;
        case 'h':
            kvcli_print_usage(stdout);
            return kvcli_check_output(EXIT_DONE, false);
        case 'v':
            printf("kvcli %s\n", kvp_version());
            return kvcli_check_output(EXIT_DONE, false);
        case ':':
            return kvcli_complain("%s: a value is missing; try kvcli --help", argv[optind - 1]);
        default:
            if (!kvp_tls_names_take(&cli->tls, which, optarg)) {
                return refuse_general(known, argv[optind - 1]);
            }
        }
    }
    return -1;
}

/* What needs no group. -1: it is something else. */
static int run_alone(struct kvcli *cli, int argc, char **argv)
{
    bool verifies = argc > 1 && strcmp(argv[0], "backup") == 0 && strcmp(argv[1], "verify") == 0;
    if (verifies || (argc > 0 && strcmp(argv[0], "cert") == 0)) {
        return kvcli_run(cli, argc, argv);
    }
    if (argc == 0 || strcmp(argv[0], "help") != 0) {
        return -1;
    }
    if (argc == 1) {
        kvcli_print_usage(stdout);
        return kvcli_check_output(EXIT_DONE, false);
    }
    return kvcli_check_output(kvcli_help(kvcli_commands, argc - 1, argv + 1), false);
}

int main(int argc, char **argv)
{
    struct kvcli cli = {
        .commands = kvcli_commands, .nodes = getenv("KVPAIR_NODES"), .timeout_ms = 5000};
    kvp_client_options options;
    char message[512];

    if (!kvp_process_break_standard()) {
        return EXIT_NOTHING;
    }
    kvcli_watch_output();
    if (cli.nodes == NULL || cli.nodes[0] == '\0') {
        cli.nodes = NODES_DEFAULT;
    }
    int code = kvcli_parse_options(argc, argv, &cli);
    code = code < 0 ? run_alone(&cli, argc - optind, argv + optind) : code;
    if (code >= 0) {
        return code;
    }
    bool script = optind == argc && !isatty(STDIN_FILENO);
    kvp_process_bear_failed_writes();
    kvp_client_options_init(&options);
    options.nodes = cli.nodes;
    options.group = cli.group;
    options.timeout_ms = cli.timeout_ms;
    kvp_tls_names_fill(&cli.tls, &options);
    kvp_status status = kvp_client_open(&options, &cli.client, message, sizeof(message));
    if (status != KVP_OK) {
        (void)kvcli_complain("%s", message);
        return kvcli_exit_status(status);
    }
    if (optind < argc || script) {
        kvcli_interrupts_end(); /* the prompt has its own */
    }
    if (cli.bail && !script) {
        kvp_client_close(cli.client);
        return kvcli_complain("--bail is for commands from standard input");
    }
    code = script           ? kvcli_script(&cli)
           : optind == argc ? kvcli_prompt(&cli)
                            : kvcli_run(&cli, argc - optind, argv + optind);
    kvp_client_close(cli.client);
    return code;
}
