/* SPDX-License-Identifier: Apache-2.0 */
/* top: what the nodes do, again and again: a table that is drawn over on a terminal, else lines. */
#include "client/kvcli/kvcli.h"
#include "kvstore/base/clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define TOP_EVERY_MAX 3600u
#define MIB           (1024.0 * 1024.0)

/* What a node had applied when it was asked last. */
struct top_past {
    double applied;
    uint64_t at_us;
};

struct top {
    const struct kvcli *cli;
    bool terminal;
    struct top_past past[KVCLI_NODES_MAX];
    char sentence[256];
};

/* As the primary tells, of this node; -1: it does not. */
static double top_lag(cJSON *const *answers, int count, double id)
{
    for (int i = 0; i < count; i++) {
        const cJSON *peer;
        cJSON_ArrayForEach(peer, cJSON_GetObjectItemCaseSensitive(answers[i], "peers"))
        {
            if (kvcli_json_count(peer, "id") == id && cJSON_HasObjectItem(peer, "lag")) {
                return kvcli_json_count(peer, "lag");
            }
        }
    }
    return -1;
}

static void top_print_rate(struct top_past *past, double applied)
{
    uint64_t now_us = kvp_clock_now_us();
    double passed_s = (double)(now_us - past->at_us) / 1e6;
    if (past->at_us != 0 && passed_s > 0 && applied >= past->applied) {
        printf(" %7.0f", (applied - past->applied) / passed_s);
    } else {
        printf(" %7s", "-");
    }
    *past = (struct top_past){.applied = applied, .at_us = now_us};
}

static void top_print_node(struct top *top, int i, cJSON *const *answers, int count,
                           const char *url)
{
    const cJSON *answer = answers[i];
    char lag[32] = "-";
    double behind = top_lag(answers, count, kvcli_json_count(answer, "node"));

    if (answer == NULL) {
        printf("   - no answer: %s\n", url);
        return;
    }
    if (behind >= 0) {
        (void)snprintf(lag, sizeof(lag), "%.0f", behind);
    }
    printf("%4.0f ", kvcli_json_count(answer, "node"));
    kvcli_print_cell(kvcli_json_text(answer, "role"), 9);
    printf(" %-7s %10.0f", kvcli_json_true(answer, "serving") ? "serving" : "",
           kvcli_json_count(answer, "applied"));
    top_print_rate(&top->past[i], kvcli_json_count(answer, "applied"));
    printf(" %7s %8.1f %5.0f %8.0f\n", lag, kvcli_json_count(answer, "fsync_us") / 1000,
           kvcli_json_count(answer, "connections"),
           kvcli_json_count(answer, "disk_free_bytes") / MIB);
}

static void top_print_work(const cJSON *status)
{
    const cJSON *jobs = cJSON_GetObjectItemCaseSensitive(status, "jobs");
    const cJSON *tasks = cJSON_GetObjectItemCaseSensitive(status, "tasks");
    const cJSON *workers = cJSON_GetObjectItemCaseSensitive(status, "workers");

    if (jobs != NULL) {
        printf("jobs: %.0f running, %.0f failed; tasks: %.0f queued, %.0f running; workers: %.0f, "
               "%.0f silent\n",
               kvcli_json_count(jobs, "running"), kvcli_json_count(jobs, "failed"),
               kvcli_json_count(tasks, "queued"), kvcli_json_count(tasks, "running"),
               kvcli_json_count(workers, "active"), kvcli_json_count(workers, "silent"));
    }
}

static void top_draw(struct top *top, const struct kvcli_query *queries, cJSON *const *answers,
                     int count)
{
    const cJSON *leads = NULL;

    if (top->terminal) {
        fputs("\033[H\033[J", stdout);
    }
    printf("%4s %-9s %-7s %10s %7s %7s %8s %5s %8s\n", "NODE", "ROLE", "", "APPLIED", "/S", "LAG",
           "FSYNC ms", "CONN", "FREE MiB");
    for (int i = 0; i < count; i++) {
        top_print_node(top, i, answers, count, queries[i].url);
        leads = kvcli_json_true(answers[i], "serving") ? answers[i] : leads;
    }
    (void)snprintf(top->sentence, sizeof(top->sentence), "nobody serves: see kvcli doctor");
    if (leads != NULL) {
        kvcli_verdict(leads, top->sentence, sizeof(top->sentence));
        top_print_work(leads);
    }
    kvcli_print_wrapped(0, top->sentence);
    (void)fflush(stdout);
}

/* As `kvcli --json status` does, a line for each look. False: memory was short. */
static bool top_look(struct top *top)
{
    struct kvcli_query queries[KVCLI_NODES_MAX];
    cJSON *answers[KVCLI_NODES_MAX] = {NULL};
    char *nodes = strdup(top->cli->nodes);
    int count = nodes == NULL ? 0 : kvcli_ask_nodes(top->cli, nodes, queries);
    bool printed = nodes != NULL;

    if (top->cli->json && printed) {
        printed = kvcli_print_queries(queries, count);
        (void)fflush(stdout);
    } else if (printed) {
        for (int i = 0; i < count; i++) {
            answers[i] = kvcli_query_parse(&queries[i]);
        }
        top_draw(top, queries, answers, count);
    }
    for (int i = 0; i < count; i++) {
        cJSON_Delete(answers[i]);
        kvp_result_free(&queries[i].result);
    }
    free(nodes);
    return printed;
}

int kvcli_top(struct kvcli *cli, int argc, char **argv)
{
    const char *given = kvcli_option(cli, "--every");
    bool once = kvcli_option(cli, "--once") != NULL, printed = true;
    struct top top = {.cli = cli, .terminal = !once && !cli->json && isatty(STDOUT_FILENO)};
    uint64_t every_s = 1;
    (void)argc;
    (void)argv;
    if (given != NULL && (!kvcli_parse_number(given, TOP_EVERY_MAX, &every_s) || every_s == 0)) {
        return kvcli_complain("top: --every: '%s' is not a number of seconds", given);
    }
    do {
        struct timespec pause = {.tv_sec = (time_t)every_s};
        printed = top_look(&top);
        if (once || !printed || ferror(stdout)) {
            break;
        }
        (void)nanosleep(&pause, NULL);
    } while (!(cli->prompt && kvcli_interrupted()));
    return printed ? EXIT_DONE : kvcli_failed_to_print(false);
}
