/* SPDX-License-Identifier: Apache-2.0 */
/*
 * drill: a stop on purpose. The lead is handed over while a writer of its own puts one key again
 * and again: the longest time between two of its acknowledgements is what clients would see.
 */
#include "client/kvcli/kvcli.h"
#include "kvstore/base/clock.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define DRILL_CALM_US  700000u /* before the stop, for the usual times */
#define DRILL_AFTER    50u     /* acknowledgements that show that it is over */
#define DRILL_LIMIT_US 10000000u
#define DRILL_PAUSE_US 1000u /* between puts: it measures, it is no load */

struct drill {
    const struct kvcli *cli;
    char key[64];
    kvp_client *client;
    pthread_t thread;
    atomic_bool stop;
    atomic_uint acknowledged;
    /* The writer's, until it has been joined. */
    uint64_t last_us, longest_us, sum_us;
    unsigned failed, number, written; /* the last value sent, and the last acknowledged */
    char reason[256];
};

struct drill_group {
    unsigned leads, members;
    char sentence[256];
};

static void drill_rest(uint64_t time_us)
{
    struct timespec time = {.tv_sec = (time_t)(time_us / 1000000),
                            .tv_nsec = (long)(time_us % 1000000) * 1000};

    (void)nanosleep(&time, NULL);
}

/* ---- the writer ---- */

static void drill_write(struct drill *drill)
{
    char value[32];
    kvp_result result;
    int size = snprintf(value, sizeof(value), "%u", ++drill->number);
    kvp_status status = kvp_put(drill->client, kvp_slice_of(drill->key, strlen(drill->key)),
                                kvp_slice_of(value, (size_t)size), &result);
    uint64_t now_us = kvp_clock_now_us();

    kvp_result_free(&result);
    if (status != KVP_OK) {
        drill->failed++;
        (void)snprintf(drill->reason, sizeof(drill->reason), "%s", kvp_strerror(status));
        return;
    }
    if (drill->last_us != 0) {
        uint64_t gap_us = now_us - drill->last_us;
        drill->sum_us += gap_us;
        drill->longest_us = gap_us > drill->longest_us ? gap_us : drill->longest_us;
    }
    drill->last_us = now_us;
    drill->written = drill->number;
    atomic_fetch_add(&drill->acknowledged, 1);
}

static void *drill_run_writer(void *arg)
{
    struct drill *drill = arg;
    while (!atomic_load(&drill->stop)) {
        drill_write(drill);
        drill_rest(DRILL_PAUSE_US);
    }
    return NULL;
}

static kvp_status drill_start(struct drill *drill)
{
    kvp_client_options options;
    (void)snprintf(drill->key, sizeof(drill->key), "kvpair-drill-%d-%" PRIu64, (int)getpid(),
                   kvp_clock_now_us());
    kvp_client_options_init(&options);
    options.nodes = drill->cli->nodes;
    options.group = drill->cli->group;
    options.timeout_ms = drill->cli->timeout_ms;
    kvp_tls_names_fill(&drill->cli->tls, &options);
    kvp_status status = kvp_client_open(&options, &drill->client, NULL, 0);
    if (status == KVP_OK && pthread_create(&drill->thread, NULL, drill_run_writer, drill) != 0) {
        kvp_client_close(drill->client);
        status = KVP_NO_MEMORY;
    }
    return status;
}

static void drill_wait_for(const struct drill *drill, unsigned count)
{
    uint64_t until_us = kvp_clock_now_us() + DRILL_LIMIT_US;
    while (atomic_load(&drill->acknowledged) < count && kvp_clock_now_us() < until_us) {
        drill_rest(DRILL_PAUSE_US);
    }
}

/* True: the last update acknowledged is there. */
static bool drill_finish(struct drill *drill)
{
    kvp_slice key = kvp_slice_of(drill->key, strlen(drill->key));
    char value[32];
    kvp_result result;
    uint64_t stored = 0;
    atomic_store(&drill->stop, true);
    pthread_join(drill->thread, NULL);
    if (kvp_get(drill->client, key, &result) == KVP_OK && result.value.size < sizeof(value)) {
        memcpy(value, result.value.data, result.value.size);
        value[result.value.size] = '\0';
        (void)kvcli_parse_number(value, UINT32_MAX, &stored);
    }
    kvp_result_free(&result);
    (void)kvp_delete(drill->client, key, 0, &result);
    kvp_result_free(&result);
    kvp_client_close(drill->client);
    return stored >= drill->written; /* a later one may have been executed without an answer */
}

/* ---- the group ---- */

static struct drill_group drill_look(const struct kvcli *cli)
{
    struct kvcli_query queries[KVCLI_NODES_MAX];
    struct drill_group group = {0};
    char *nodes = strdup(cli->nodes);
    int count = nodes == NULL ? 0 : kvcli_ask_nodes(cli, nodes, queries);
    for (int i = 0; i < count; i++) {
        cJSON *status = kvcli_query_parse(&queries[i]);
        if (kvcli_json_true(status, "serving")) {
            group.leads = (unsigned)kvcli_json_integer(status, "node", KVP_NODE_ID_MAX);
            group.members =
                (unsigned)cJSON_GetArraySize(cJSON_GetObjectItemCaseSensitive(status, "in_sync"));
            kvcli_verdict(status, group.sentence, sizeof(group.sentence));
        }
        cJSON_Delete(status);
        kvp_result_free(&queries[i].result);
    }
    free(nodes);
    return group;
}

static bool drill_is_agreed(const struct kvcli *cli, const struct drill_group *group)
{
    char answer[16] = "";
    if (kvcli_option(cli, "--yes") != NULL) {
        return true;
    }
    if (cli->script || !isatty(STDIN_FILENO)) {
        (void)kvcli_complain("drill: it stops the service for a moment: say --yes");
        return false;
    }
    fprintf(stderr,
            "Node %u gives the lead away now, and a writer measures how long that stops it: some\n"
            "tens of milliseconds. Go on? [y/N] ",
            group->leads);
    if (fgets(answer, sizeof(answer), kvcli_input()) == NULL ||
        (answer[0] != 'y' && answer[0] != 'Y')) {
        fputs("Nothing was done.\n", stderr);
        return false;
    }
    return true;
}

/* ---- the report ---- */

static int drill_print_json(const struct drill *drill, const struct drill_group *before,
                            const struct drill_group *after, double usual_ms, bool kept)
{
    cJSON *object = cJSON_CreateObject();

    kvcli_json_add(&object, "from", kvcli_json_number(before->leads));
    kvcli_json_add(&object, "to", kvcli_json_number(after->leads));
    kvcli_json_add(&object, "gap_ms", cJSON_CreateNumber((double)drill->longest_us / 1000));
    kvcli_json_add(&object, "usual_ms", cJSON_CreateNumber(usual_ms));
    kvcli_json_add(&object, "updates", kvcli_json_number(atomic_load(&drill->acknowledged)));
    kvcli_json_add(&object, "failed", kvcli_json_number(drill->failed));
    kvcli_json_add(&object, "lost", cJSON_CreateBool(!kept));
    return kvcli_print_json(object) ? EXIT_DONE : kvcli_failed_to_print(true);
}

static int drill_report(const struct drill *drill, const struct drill_group *before, bool kept)
{
    struct drill_group after = drill_look(drill->cli);
    unsigned count = atomic_load(&drill->acknowledged);
    double usual_ms =
        count > 2 ? (double)(drill->sum_us - drill->longest_us) / 1000 / (count - 2) : 0;
    int code = EXIT_DONE;

    if (drill->cli->json) {
        code = drill_print_json(drill, before, &after, usual_ms, kept);
    } else {
        printf("lead: node %u -> node %u\n"
               "longest wait of a writer: %.1f ms (usually %.1f ms)\n"
               "updates: %u acknowledged, %u failed%s%s; %s\n",
               before->leads, after.leads, (double)drill->longest_us / 1000, usual_ms, count,
               drill->failed, drill->failed > 0 ? ": " : "", drill->reason,
               kept ? "none lost" : "THE LAST ONE IS NOT THERE");
        kvcli_print_wrapped(0, after.sentence[0] != '\0' ? after.sentence : "nobody serves now");
    }
    return code != EXIT_DONE || (kept && drill->failed == 0 && after.leads != before->leads)
               ? code
               : EXIT_NO;
}

int kvcli_drill(struct kvcli *cli, int argc, char **argv)
{
    struct drill_group group = drill_look(cli);
    struct drill drill = {.cli = cli};
    kvp_result result;
    (void)argc;
    (void)argv;
    if (group.leads == 0) {
        return kvcli_failed_because(KVP_UNAVAILABLE, "no node serves: see kvcli doctor");
    }
    if (group.members < 2) {
        return kvcli_failed_because(KVP_REFUSED, "no other node is in sync: see kvcli status");
    }
    if (!drill_is_agreed(cli, &group)) {
        return EXIT_USAGE;
    }
    kvp_status status = drill_start(&drill);
    if (status != KVP_OK) {
        return kvcli_failed(status, NULL);
    }
    drill_rest(DRILL_CALM_US);
    drill_wait_for(&drill, 2);
    status = kvp_handover(cli->client, 0, &result);
    drill_wait_for(&drill, atomic_load(&drill.acknowledged) + DRILL_AFTER);
    bool kept = drill_finish(&drill);
    int code = status == KVP_OK ? EXIT_DONE : kvcli_failed(status, &result);
    kvp_result_free(&result);
    return code == EXIT_DONE ? drill_report(&drill, &group, kept) : code;
}
