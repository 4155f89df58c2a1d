/* SPDX-License-Identifier: Apache-2.0 */
/* Several nodes asked at once what they say about themselves. */
#include "client/kvcli/kvcli.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define REASON_SIZE     512
#define STATUS_PATIENCE 1000u /* ms: a node that is well answers at once */

uint64_t kvcli_wall_ms(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* With a handle of its own: the time that a dead node takes is not to count for the others. */
static void *nodes_ask_one(void *arg)
{
    struct kvcli_query *query = arg;
    kvp_client_options options;
    kvp_client *client = NULL;
    kvp_client_options_init(&options);
    options.nodes = query->url;
    options.group = query->cli->group;
    options.timeout_ms =
        query->cli->timeout_ms < STATUS_PATIENCE ? query->cli->timeout_ms : STATUS_PATIENCE;
    kvp_tls_names_fill(&query->cli->tls, &options);
    query->status = kvp_client_open(&options, &client, NULL, 0);
    if (query->status == KVP_OK) {
        query->status = kvp_node_status(client, query->url, &query->result);
    }
    query->answered_ms = kvcli_wall_ms();
    kvp_client_close(client);
    return NULL;
}

void kvcli_ask_node(const struct kvcli *cli, const char *url, struct kvcli_query *query)
{
    *query = (struct kvcli_query){.cli = cli, .url = url};
    (void)nodes_ask_one(query);
}

int kvcli_ask_nodes(const struct kvcli *cli, char *nodes, struct kvcli_query *queries)
{
    int count = 0;
    char *rest = NULL;
    for (char *url = strtok_r(nodes, ",", &rest); url != NULL && count < KVCLI_NODES_MAX;
         url = strtok_r(NULL, ",", &rest)) {
        queries[count++] = (struct kvcli_query){.cli = cli, .url = url, .status = KVP_NO_MEMORY};
    }
    for (int i = 0; i < count; i++) {
        queries[i].started =
            pthread_create(&queries[i].thread, NULL, nodes_ask_one, &queries[i]) == 0;
    }
    for (int i = 0; i < count; i++) {
        if (queries[i].started) {
            pthread_join(queries[i].thread, NULL);
        }
    }
    return count;
}

cJSON *kvcli_query_parse(const struct kvcli_query *query)
{
    const kvp_buf *text = &query->result.value;
    return query->status != KVP_OK ? NULL
                                   : cJSON_ParseWithLength((const char *)text->data, text->size);
}

void kvcli_query_explain(const struct kvcli_query *query, char *text, size_t size)
{
    bool silent = query->status == KVP_UNAVAILABLE || query->status == KVP_TIMEOUT;
    kvp_slice reason = kvp_buf_slice(&query->result.value);
    if (query->status == KVP_OK) {
        (void)snprintf(text, size, "its answer cannot be read");
        return;
    }
    (void)snprintf(text, size, "%s%s%.*s", silent ? "no answer" : kvp_strerror(query->status),
                   reason.size > 0 ? ": " : "", (int)reason.size,
                   reason.size > 0 ? (const char *)reason.data : "");
}

/* ---- for programs ---- */

static char *quote(const char *text)
{
    cJSON *item = kvcli_json_readable(text);
    char *quoted = item == NULL ? NULL : cJSON_PrintUnformatted(item);

    cJSON_Delete(item);
    return quoted;
}

/* As the node wrote it: cJSON would round its large numbers. False: memory was short. */
static bool print_one_json(const struct kvcli_query *query)
{
    const kvp_buf *text = &query->result.value;
    char reason[REASON_SIZE] = "";
    bool answered = query->status == KVP_OK && text->size > 2;
    if (!answered) {
        kvcli_query_explain(query, reason, sizeof(reason));
    }
    char *url = quote(query->url), *error = quote(reason);
    bool printed = url != NULL && error != NULL;
    if (printed && answered) {
        printf("{\"url\":%s,%.*s", url, (int)text->size - 1, (const char *)text->data + 1);
    } else if (printed) {
        printf("{\"url\":%s,\"error\":%s}", url, error);
    }
    cJSON_free(url);
    cJSON_free(error);
    return printed;
}

bool kvcli_print_queries(const struct kvcli_query *queries, int count)
{
    bool printed = true;
    putchar('[');
    for (int i = 0; i < count && printed; i++) {
        fputs(i == 0 ? "" : ",", stdout);
        printed = print_one_json(&queries[i]);
    }
    puts("]");
    return printed;
}

/* ---- what is in it ---- */

/* As the library: to an address of the scheme that the user has given, nowhere else. */
bool kvcli_same_scheme(const char *given, const char *told)
{
    return strncmp(given, told, strcspn(given, ":") + 3) == 0;
}

bool kvcli_json_true(const cJSON *object, const char *name)
{
    return cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(object, name));
}
