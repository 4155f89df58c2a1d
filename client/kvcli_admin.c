/* SPDX-License-Identifier: Apache-2.0 */
/* status, handover, promote. */
#include "client/kvcli.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NODES_MAX       16
#define STATUS_PATIENCE 1000u /* ms: a node that is well answers at once */

struct query {
    const struct kvcli *cli;
    const char *url;
    kvp_result result;
    kvp_status status;
    pthread_t thread;
    bool started;
};

/* With a handle of its own: the time that a dead node takes is not to count for the others. */
static void *ask(void *arg)
{
    struct query *query = arg;
    kvp_client_options options;
    kvp_client *client = NULL;

    kvp_client_options_init(&options);
    options.nodes = query->url;
    options.group = query->cli->group;
    options.timeout_ms =
        query->cli->timeout_ms < STATUS_PATIENCE ? query->cli->timeout_ms : STATUS_PATIENCE;
    query->status = kvp_client_open(&options, &client, NULL, 0);
    if (query->status == KVP_OK) {
        query->status = kvp_node_status(client, query->url, &query->result);
    }
    kvp_client_close(client);
    return NULL;
}

static int ask_all(const struct kvcli *cli, char *nodes, struct query *queries)
{
    int count = 0;
    char *rest = NULL;

    for (char *url = strtok_r(nodes, ",", &rest); url != NULL && count < NODES_MAX;
         url = strtok_r(NULL, ",", &rest)) {
        queries[count++] = (struct query){.cli = cli, .url = url, .status = KVP_NO_MEMORY};
    }
    for (int i = 0; i < count; i++) {
        queries[i].started = pthread_create(&queries[i].thread, NULL, ask, &queries[i]) == 0;
    }
    for (int i = 0; i < count; i++) {
        if (queries[i].started) {
            pthread_join(queries[i].thread, NULL);
        }
    }
    return count;
}

/* Why there is no answer. */
static const char *trouble(const struct query *query)
{
    return query->status == KVP_UNAVAILABLE || query->status == KVP_TIMEOUT
               ? "no answer"
               : kvp_strerror(query->status);
}

/* As the nodes wrote it: cJSON would round their large numbers. False: memory was short. */
static bool print_all_json(const struct query *queries, int count)
{
    for (int i = 0; i < count; i++) {
        const kvp_buf *text = &queries[i].result.value;
        cJSON *url = cJSON_CreateString(queries[i].url);
        char *quoted = url == NULL ? NULL : cJSON_PrintUnformatted(url);
        if (quoted == NULL) {
            cJSON_Delete(url);
            return false;
        }
        printf("%s{\"url\":%s,", i == 0 ? "[" : ",", quoted);
        if (queries[i].status == KVP_OK && text->size > 2) {
            printf("%.*s", (int)text->size - 1, (const char *)text->data + 1);
        } else {
            printf("\"error\":\"%s\"}", trouble(&queries[i]));
        }
        cJSON_free(quoted);
        cJSON_Delete(url);
    }
    puts("]");
    return true;
}

static void print_remarks(const cJSON *object)
{
    const char *separator = "";

    if (cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(object, "serving"))) {
        printf("serving");
        separator = ", ";
    }
    if (cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(object, "doubt"))) {
        printf("%slog shorter than it was", separator);
        separator = ", ";
    }
    if (kvcli_json_count(object, "stores_set_aside") > 0) {
        printf("%s%.0f store(s) set aside with %.0f diverged update(s)", separator,
               kvcli_json_count(object, "stores_set_aside"), kvcli_json_count(object, "diverged"));
    }
    putchar('\n');
}

/* False: memory was short. */
static bool print_row(const struct query *query)
{
    char in_sync[64] = "";
    size_t used = 0;
    const cJSON *member;

    if (query->status != KVP_OK) {
        printf("%-28s (%s)\n", query->url, trouble(query));
        return true;
    }
    cJSON *object = cJSON_ParseWithLength((const char *)query->result.value.data,
                                          query->result.value.size);
    if (object == NULL) {
        return false; /* it is JSON: the library has made it */
    }
    cJSON_ArrayForEach(member, cJSON_GetObjectItemCaseSensitive(object, "in_sync")) {
        used += (size_t)snprintf(in_sync + used, sizeof(in_sync) - used, "%s%d", used ? "," : "",
                                 member->valueint);
        if (used >= sizeof(in_sync)) {
            break;
        }
    }
    printf("%-28s %4.0f  %-9s %6.0f  %7.0f  %-9s %11.0f  ", query->url, kvcli_json_count(object, "node"),
           kvcli_json_text(object, "role"), kvcli_json_count(object, "epoch"), kvcli_json_count(object, "primary"), in_sync,
           kvcli_json_count(object, "applied"));
    print_remarks(object);
    cJSON_Delete(object);
    return true;
}

int kvcli_status(struct kvcli *cli, int argc, char **argv)
{
    struct query queries[NODES_MAX];
    char *nodes = strdup(cli->nodes);
    int answered = 0;
    bool printed = true;
    kvp_status last = KVP_UNAVAILABLE;

    (void)argc;
    (void)argv;
    if (nodes == NULL) {
        return kvcli_failed(KVP_NO_MEMORY, NULL);
    }
    int count = ask_all(cli, nodes, queries);
    if (cli->json) {
        printed = print_all_json(queries, count);
    } else {
        printf("%-28s %4s  %-9s %6s  %7s  %-9s %11s  %s\n", "ADDRESS", "NODE", "ROLE", "EPOCH",
               "PRIMARY", "IN SYNC", "APPLIED", "REMARKS");
    }
    for (int i = 0; i < count; i++) {
        if (!cli->json && printed) {
            printed = print_row(&queries[i]);
        }
        answered += queries[i].status == KVP_OK ? 1 : 0;
        last = queries[i].status != KVP_OK ? queries[i].status : last;
        kvp_result_free(&queries[i].result);
    }
    free(nodes);
    if (!printed) {
        return kvcli_failed_to_print(false);
    }
    return answered > 0 ? EXIT_DONE : kvcli_failed(last, NULL);
}

static int finished(const struct kvcli *cli, kvp_status status, kvp_result *result)
{
    int code = status == KVP_OK ? EXIT_DONE : kvcli_failed(status, result);

    if (status == KVP_OK && cli->prompt) {
        puts("done");
    }
    kvp_result_free(result);
    return code;
}

int kvcli_handover(struct kvcli *cli, int argc, char **argv)
{
    uint64_t target = 0;
    kvp_result result;

    if (argc == 1 &&
        (!kvcli_parse_number(argv[0], KVP_NODE_ID_MAX, &target) || target == 0)) {
        return kvcli_complain("handover: '%s' is not the id of a node (1 to 63)", argv[0]);
    }
    kvp_status status = kvp_handover(cli->client, (unsigned)target, &result);
    return finished(cli, status, &result);
}

int kvcli_promote(struct kvcli *cli, int argc, char **argv)
{
    const char *only = strchr(cli->nodes, ',') == NULL ? cli->nodes : NULL;
    const char *named = kvcli_option(cli, "--node");
    const char *node = named != NULL ? named : only;
    bool force = kvcli_option(cli, "--force") != NULL;
    kvp_result result;

    (void)argc;
    (void)argv;
    if (node == NULL) {
        return kvcli_complain("promote: which node? Name it with --node URL");
    }
    kvp_status status = kvp_promote(cli->client, node, force, &result);
    return finished(cli, status, &result);
}
