/* SPDX-License-Identifier: Apache-2.0 */
/* kvbench: how fast a group is. Options, signals, what a result looks like. */
#include "client/kvbench/kvbench.h"
#include "kvpair/job_spec.h"
#include "kvstore/base/process.h"

#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LANES_MAX     65536u
#define SECONDS_MAX   86400u
#define KILLS_DEFAULT 3u /* of failover */

static const struct {
    const char *name, *summary;
} modes[] = {
    {"put", "set values"},
    {"get", "read values, which are written first"},
    {"mixed", "both"},
    {"txn", "transactions of several puts"},
    {"jobs", "workers that fetch tasks and post results at once"},
    {"failover", "kill the primary under load; with --spawn only"},
    {"limits", "what the machine allows; with nodes also how puts and gets relate to it"},
    {NULL, NULL},
};

/* ---- options ---- */

static void kvbench_print_usage(FILE *out)
{
    fputs("usage: kvbench MODE [--nodes URL,URL... | --spawn] [OPTION]...\n"
          "Measures a kvpair group; prints one line of JSON.\n\n",
          out);
    for (size_t i = 0; modes[i].name != NULL; i++) {
        fprintf(out, "  %-19s %s\n", modes[i].name, modes[i].summary);
    }
    fputs("\n"
          "  --nodes URL,...     a running group; keys kvbench/... in it are overwritten\n"
          "  --group NAME        its name (default)\n"
          "  --tls-cert FILE, --tls-key FILE, --tls-ca FILE\n"
          "                      for nodes at tls+tcp://; else $KVPAIR_TLS_CERT, _KEY, _CA\n"
          "  --spawn             a group of its own: two nodes and a witness on loopback\n"
          "  --profile NAME      its times: default or lan, as of kvnode\n"
          "  --bin DIR           where kvnode and kvwitness are (beside kvbench)\n"
          "  --data DIR          keep the data there (a temporary directory)\n"
          "  --clients N         handles (1)\n"
          "  --outstanding N     operations under way in each (1)\n"
          "  --value-size BYTES  (100)\n"
          "  --keys N            how many different ones (10000)\n"
          "  --distribution D    of the keys: uniform (default) or zipf\n"
          "  --reads PERCENT     mixed: share of gets (50)\n"
          "  --txn-keys N        txn: puts in each (10)\n"
          "  --kills N           failover: how often (3); jobs: the same, with --spawn (0)\n"
          "  --count N           end after so many operations; jobs: tasks (100000)\n"
          "  --seconds S         end after that time (5; limits: 1 for each part)\n"
          "  --timeout MS        of each operation (5000)\n"
          "  --seed N            of the choice of keys (1)\n"
          "  --help, --version\n\n"
          "Exit status: 0 done; 1 writes or tasks were lost, or executed twice; 2 usage;\n"
          "3 nothing could be measured, or the output got lost; 5 refused.\n",
          out);
}

static bool parse_number(const char *text, uint64_t min, uint64_t max, uint64_t *number)
{
    char *end = NULL;
    if (text[0] < '0' || text[0] > '9') {
        return false;
    }
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    if (errno != 0 || *end != '\0' || value < min || value > max) {
        return false;
    }
    *number = value;
    return true;
}

static bool parse_seconds(const char *text, double *seconds)
{
    char *end = NULL;
    *seconds = strtod(text, &end);
    return end != text && *end == '\0' && isfinite(*seconds) && *seconds > 0 &&
           *seconds <= SECONDS_MAX;
}

enum {
    OPTION_CLIENTS = 256,
    OPTION_OUTSTANDING,
    OPTION_VALUE_SIZE,
    OPTION_KEYS,
    OPTION_READS,
    OPTION_TXN_KEYS,
    OPTION_KILLS,
    OPTION_COUNT,
    OPTION_TIMEOUT,
    OPTION_SEED,
};

static const struct option known[] = {
    {"nodes", required_argument, NULL, 'n'},
    {"group", required_argument, NULL, 'g'},
    KVP_TLS_LONG_OPTIONS,
    {"spawn", no_argument, NULL, 's'},
    {"profile", required_argument, NULL, 'p'},
    {"bin", required_argument, NULL, 'b'},
    {"data", required_argument, NULL, 'd'},
    {"distribution", required_argument, NULL, 'D'},
    {"seconds", required_argument, NULL, 'S'},
    {"clients", required_argument, NULL, OPTION_CLIENTS},
    {"outstanding", required_argument, NULL, OPTION_OUTSTANDING},
    {"value-size", required_argument, NULL, OPTION_VALUE_SIZE},
    {"keys", required_argument, NULL, OPTION_KEYS},
    {"reads", required_argument, NULL, OPTION_READS},
    {"txn-keys", required_argument, NULL, OPTION_TXN_KEYS},
    {"kills", required_argument, NULL, OPTION_KILLS},
    {"count", required_argument, NULL, OPTION_COUNT},
    {"timeout", required_argument, NULL, OPTION_TIMEOUT},
    {"seed", required_argument, NULL, OPTION_SEED},
    {"help", no_argument, NULL, 'h'},
    {"version", no_argument, NULL, 'v'},
    {NULL, 0, NULL, 0},
};

/* The options that are numbers. -1: go on; else the exit status. */
static int kvbench_take_number(struct bench *bench, int which, const char *name)
{
    uint64_t clients = bench->clients, outstanding = bench->outstanding, reads = bench->reads;
    uint64_t txn_keys = bench->txn_keys, kills = bench->kills, timeout = bench->timeout_ms;
    uint64_t value_size = bench->value_size;
    const struct {
        uint64_t *number, min, max;
    } numbers[] = {
        {&clients, 1, 4096},
        {&outstanding, 1, 4096},
        {&value_size, 0, KVP_VALUE_SIZE_MAX},
        {&bench->keys, 1, 1000000000},
        {&reads, 0, 100},
        {&txn_keys, 1, KVP_TXN_OPS_MAX},
        {&kills, 1, 1000},
        {&bench->count, 1, UINT64_MAX},
        {&timeout, 1, 86400000},
        {&bench->seed, 0, UINT64_MAX},
    };
    unsigned index = (unsigned)(which - OPTION_CLIENTS);

    if (!parse_number(optarg, numbers[index].min, numbers[index].max, numbers[index].number)) {
        return bench_complain("--%s: '%s' is not a number from %llu to %llu", name, optarg,
                              (unsigned long long)numbers[index].min,
                              (unsigned long long)numbers[index].max);
    }
    bench->clients = (unsigned)clients;
    bench->outstanding = (unsigned)outstanding;
    bench->reads = (unsigned)reads;
    bench->txn_keys = (unsigned)txn_keys;
    bench->kills = (unsigned)kills;
    bench->timeout_ms = (uint32_t)timeout;
    bench->value_size = (size_t)value_size;
    return -1;
}

static int check_output(int code)
{
    bool failed = ferror(stdout) != 0;
    errno = 0;
    if (fflush(stdout) == 0 && !failed) {
        return code;
    }
    (void)bench_complain("standard output: %s",
                         errno != 0 ? strerror(errno) : "some of it could not be written");
    return code != EXIT_DONE ? code : EXIT_NOTHING;
}

/* -1: go on; else the exit status. */
static int kvbench_take_option(struct bench *bench, int which, const char *name)
{
    switch (which) {
    case 'n':
        bench->nodes = optarg;
        return -1;
    case 'g':
        bench->group = optarg;
        return -1;
    case 's':
        bench->spawn = true;
        return -1;
    case 'p':
        bench->profile = optarg;
        return strcmp(optarg, "default") == 0 || strcmp(optarg, "lan") == 0
                   ? -1
                   : bench_complain("--profile: '%s' is neither default nor lan", optarg);
    case 'b':
        bench->bin = optarg;
        return strlen(optarg) < PATH_MAX ? -1 : bench_complain("--bin: the name is too long");
    case 'd':
        bench->data = optarg;
        return -1;
    case 'D':
        bench->zipf = strcmp(optarg, "zipf") == 0;
        return bench->zipf || strcmp(optarg, "uniform") == 0
                   ? -1
                   : bench_complain("--distribution: '%s' is neither uniform nor zipf", optarg);
    case 'S':
        return parse_seconds(optarg, &bench->seconds)
                   ? -1
                   : bench_complain("--seconds: '%s' is not a number of seconds", optarg);
    case 'h':
        kvbench_print_usage(stdout);
        return check_output(EXIT_DONE);
    case 'v':
        printf("kvbench %s\n", kvp_version());
        return check_output(EXIT_DONE);
    case '?':
        return EXIT_USAGE; /* getopt has said why */
    default:
        return kvbench_take_number(bench, which, name);
    }
}

static int check_options(const struct bench *bench)
{
    size_t i = 0;
    while (modes[i].name != NULL && strcmp(modes[i].name, bench->mode) != 0) {
        i++;
    }
    bool failover = strcmp(bench->mode, "failover") == 0;
    bool limits = strcmp(bench->mode, "limits") == 0;
    if (modes[i].name == NULL) {
        return bench_complain("unknown mode '%s'; try kvbench --help", bench->mode);
    }
    if (bench->spawn && bench->nodes != NULL) {
        return bench_complain("--spawn and --nodes exclude each other");
    }
    if ((failover || bench->kills > 0) && !bench->spawn) {
        return bench_complain("nodes are killed only with --spawn");
    }
    if (strcmp(bench->mode, "jobs") == 0 && bench->count > KVP_JOB_TASKS_MAX) {
        return bench_complain("a job has at most %u tasks", KVP_JOB_TASKS_MAX);
    }
    if (!bench->spawn && bench->nodes == NULL && !limits) {
        return bench_complain("--nodes or --spawn is required");
    }
    if ((uint64_t)bench->clients * bench->outstanding > LANES_MAX) {
        return bench_complain("more than %u operations under way", LANES_MAX);
    }
    if (bench->txn_keys * (bench->value_size + 32) > KVP_TXN_SIZE_MAX) {
        return bench_complain("transactions of more than %u bytes", KVP_TXN_SIZE_MAX);
    }
    return -1;
}

static int kvbench_parse_options(int argc, char **argv, struct bench *bench)
{
    int index = 0, which;
    while ((which = getopt_long(argc, argv, "h", known, &index)) != -1) {
        if (kvp_tls_names_take(&bench->tls, which, optarg)) {
            continue;
        }
        int code = kvbench_take_option(bench, which, known[index].name);
        if (code >= 0) {
            return code;
        }
    }
    if (optind != argc - 1) {
        return bench_complain("one mode is required; try kvbench --help");
    }
    bench->mode = argv[optind];
    if (strcmp(bench->mode, "failover") == 0 && bench->kills == 0) {
        bench->kills = KILLS_DEFAULT;
    }
    return check_options(bench);
}

/* ---- a run ---- */

static void add_parameters(cJSON *line, const struct bench *bench)
{
    cJSON *object = cJSON_AddObjectToObject(line, "parameters");

    bench_add_number(object, "clients", bench->clients, 0);
    bench_add_number(object, "outstanding", bench->outstanding, 0);
    bench_add_number(object, "value_size", (double)bench->value_size, 0);
    bench_add_number(object, "keys", (double)bench->keys, 0);
    (void)cJSON_AddStringToObject(object, "distribution", bench->zipf ? "zipf" : "uniform");
    bench_add_number(object, "count", (double)bench->count, 0);
    bench_add_number(object, "seconds", bench->seconds, 3);
    bench_add_number(object, "timeout_ms", bench->timeout_ms, 0);
    bench_add_number(object, "seed", (double)bench->seed, 0);
    (void)cJSON_AddBoolToObject(object, "spawn", bench->spawn);
    (void)cJSON_AddStringToObject(object, "profile", bench->profile);
    if (strcmp(bench->mode, "mixed") == 0) {
        bench_add_number(object, "reads", bench->reads, 0);
    } else if (strcmp(bench->mode, "txn") == 0) {
        bench_add_number(object, "txn_keys", bench->txn_keys, 0);
    }
}

static int run_load(const struct bench *bench, cJSON *line)
{
    struct bench_result *result = calloc(1, sizeof(*result));
    bool reads = strcmp(bench->mode, "get") == 0, mixed = strcmp(bench->mode, "mixed") == 0;
    bool txn = strcmp(bench->mode, "txn") == 0;
    enum bench_op op = reads ? BENCH_GET : mixed ? BENCH_MIXED : txn ? BENCH_TXN : BENCH_PUT;
    int code = EXIT_NOTHING;
    if (result == NULL) {
        (void)bench_complain("%s", kvp_strerror(KVP_NO_MEMORY));
        return code;
    }
    code = reads || mixed ? bench_load(bench) : EXIT_DONE;
    if (code == EXIT_DONE) {
        code = bench_measure(bench, op, result);
    }
    if (code == EXIT_DONE) {
        bench_add_result(line, result, true);
        bench_add_number(line, "gets", (double)result->gets, 0);
        bench_add_number(line, txn ? "txns" : "puts", (double)result->puts, 0);
        code = result->hist.total > 0 ? EXIT_DONE : EXIT_NOTHING;
    }
    if (txn && code == EXIT_DONE) {
        bench_add_number(line, "keys_per_s",
                         (double)result->hist.total * bench->txn_keys / result->seconds, 1);
    }
    free(result);
    return code;
}

static int run_mode(struct bench *bench, struct group *group, cJSON *line)
{
    bool limits = strcmp(bench->mode, "limits") == 0;
    int code = bench->spawn || limits ? group_make_dir(bench, group) : EXIT_DONE;
    if (code == EXIT_DONE && bench->spawn) {
        code = group_start(bench, group);
        bench->nodes = group->nodes;
    }
    if (code != EXIT_DONE) {
        return code;
    }
    (void)cJSON_AddStringToObject(line, "mode", bench->mode);
    if (limits) {
        code = bench_limits(bench, group->dir, line);
    } else if (strcmp(bench->mode, "failover") == 0) {
        code = bench_failover(bench, group, line);
    } else if (strcmp(bench->mode, "jobs") == 0) {
        code = bench_jobs(bench, group, line);
    } else {
        code = run_load(bench, line);
    }
    add_parameters(line, bench);
    return code;
}

static int kvbench_print_line(const cJSON *line, int code)
{
    char *text = cJSON_PrintUnformatted(line);
    if (text == NULL) {
        (void)bench_complain("%s", kvp_strerror(KVP_NO_MEMORY));
        return EXIT_NOTHING;
    }
    puts(text);
    free(text);
    return check_output(code);
}

static void on_signal(int number)
{
    bench_signal = number;
}

static void catch_signals(void)
{
    static const int numbers[] = {SIGINT, SIGTERM, SIGHUP};
    struct sigaction action = {.sa_handler = on_signal};
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        (void)sigaction(numbers[i], &action, NULL);
    }
    kvp_process_bear_failed_writes();
}

int main(int argc, char **argv)
{
    static struct group group;
    struct bench bench = {.clients = 1,
                          .outstanding = 1,
                          .reads = 50,
                          .txn_keys = 10,
                          .profile = "default",
                          .value_size = 100,
                          .keys = 10000,
                          .timeout_ms = 5000,
                          .seed = 1};

    if (!kvp_process_fill_standard()) {
        return EXIT_NOTHING;
    }
    kvp_process_raise_descriptor_limit("kvbench");
    int code = kvbench_parse_options(argc, argv, &bench);
    if (code >= 0) {
        return code;
    }
    catch_signals();
    cJSON *line = cJSON_CreateObject();
    code = run_mode(&bench, &group, line);
    group_end(&group);
    if (bench_signal != 0) { /* as if it had not been caught; there is no result */
        cJSON_Delete(line);
        (void)signal(bench_signal, SIG_DFL);
        (void)raise(bench_signal);
    } else if (code == EXIT_DONE || code == EXIT_NO) {
        code = kvbench_print_line(line, code);
    }
    cJSON_Delete(line);
    return code;
}
