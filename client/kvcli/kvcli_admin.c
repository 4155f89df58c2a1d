/* SPDX-License-Identifier: Apache-2.0 */
/* status, handover, promote. */
#include "client/kvcli/kvcli.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NODES_MAX       16
#define REASON_SIZE     512
#define DISK_SILENT_MS  1000  /* less is a disk at work */
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
static void *admin_ask(void *arg)
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
        queries[i].started = pthread_create(&queries[i].thread, NULL, admin_ask, &queries[i]) == 0;
    }
    for (int i = 0; i < count; i++) {
        if (queries[i].started) {
            pthread_join(queries[i].thread, NULL);
        }
    }
    return count;
}

/* Why there is no answer. */
static void admin_explain(const struct query *query, char *text, size_t size)
{
    bool silent = query->status == KVP_UNAVAILABLE || query->status == KVP_TIMEOUT;
    kvp_slice reason = kvp_buf_slice(&query->result.value);

    (void)snprintf(text, size, "%s%s%.*s", silent ? "no answer" : kvp_strerror(query->status),
                   reason.size > 0 ? ": " : "", (int)reason.size,
                   reason.size > 0 ? (const char *)reason.data : "");
}

static char *quote(const char *text)
{
    cJSON *item = kvcli_json_readable(text);
    char *quoted = item == NULL ? NULL : cJSON_PrintUnformatted(item);

    cJSON_Delete(item);
    return quoted;
}

/* As the node wrote it: cJSON would round its large numbers. False: memory was short. */
static bool print_one_json(const struct query *query)
{
    const kvp_buf *text = &query->result.value;
    char reason[REASON_SIZE] = "";
    bool answered = query->status == KVP_OK && text->size > 2;

    if (!answered) {
        admin_explain(query, reason, sizeof(reason));
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

static bool print_all_json(const struct query *queries, int count)
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

/* Only what is not as it should be. */
static void print_arbiter(const cJSON *object, const char **separator)
{
    const cJSON *arbiter = cJSON_GetObjectItemCaseSensitive(object, "arbiter");
    const char *state = kvcli_json_text(arbiter, "state");
    bool told = strstr(kvcli_json_text(object, "why"), "witness") != NULL;

    if (state[0] != '\0' && strcmp(state, "ok") != 0 && !told) {
        printf("%switness: ", *separator);
        kvcli_print_cell(state, 0);
        *separator = ", ";
    }
}

static void print_remarks(const cJSON *object)
{
    const char *separator = "", *why = kvcli_json_text(object, "why");
    bool silent = kvcli_json_count(object, "disk_silent_ms") >= DISK_SILENT_MS;

    if (cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(object, "serving"))) {
        printf("serving");
        separator = ", ";
    }
    if (cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(object, "doubt"))) {
        printf("%slog shorter than it was", separator);
        separator = ", ";
    }
    if (cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(object, "quarantine_full"))) {
        printf("%sstays outside: no room to set its store aside, see kvnode(8)", separator);
        separator = ", ";
    }
    if (silent) {
        printf("%sown disk has not answered for %.0f ms", separator,
               kvcli_json_count(object, "disk_silent_ms"));
        separator = ", ";
    }
    if (kvcli_json_count(object, "stores_set_aside") > 0) {
        printf("%s%.0f store(s) set aside with %.0f diverged update(s)", separator,
               kvcli_json_count(object, "stores_set_aside"), kvcli_json_count(object, "diverged"));
        separator = ", ";
    }
    print_arbiter(object, &separator);
    if (why[0] != '\0' &&
        !(silent && strstr(why, "own disk") != NULL)) { /* which has just been said */
        fputs(separator, stdout);
        kvcli_print_cell(why, 0);
    }
    putchar('\n');
}

static void print_in_sync(const cJSON *object)
{
    char in_sync[64] = "";
    size_t used = 0;
    const cJSON *member;

    cJSON_ArrayForEach(member, cJSON_GetObjectItemCaseSensitive(object, "in_sync"))
    {
        if (used < sizeof(in_sync)) {
            used += (size_t)snprintf(in_sync + used, sizeof(in_sync) - used, "%s%d",
                                     used ? "," : "", member->valueint);
        }
    }
    printf("%-9s ", in_sync);
}

/* Without the object there is no answer. */
static void print_row(const struct query *query, const cJSON *object)
{
    char reason[REASON_SIZE];

    printf("%-28s ", query->url);
    if (object == NULL) {
        admin_explain(query, reason, sizeof(reason));
        putchar('(');
        kvcli_print_cell(reason, 0);
        puts(")");
        return;
    }
    printf("%4.0f  ", kvcli_json_count(object, "node"));
    kvcli_print_cell(kvcli_json_text(object, "role"), 9);
    printf(" %6.0f  %7.0f  ", kvcli_json_count(object, "epoch"),
           kvcli_json_count(object, "primary"));
    print_in_sync(object);
    printf("%11.0f  ", kvcli_json_count(object, "applied"));
    print_remarks(object);
}

/* What the nodes' answers come to. */
struct verdict {
    bool serving; /* somebody is */
    bool printed; /* memory was not short */
    unsigned answered;
    char hint[KVP_URL_SIZE_MAX + 1]; /* who leads, as a node says that does not */
    char why[REASON_SIZE];           /* nobody does */
};

/* As the library: to an address of the scheme that the user has given, nowhere else. */
static void take_hint(const char *url, const char *hint, struct verdict *verdict)
{
    size_t size = strcspn(url, ":") + 3;

    if (strncmp(url, hint, size) == 0) {
        (void)snprintf(verdict->hint, sizeof(verdict->hint), "%s", hint);
    }
}

static void admin_take_answer(const struct kvcli *cli, const struct query *query,
                              struct verdict *verdict)
{
    cJSON *object = query->status != KVP_OK
                        ? NULL
                        : cJSON_ParseWithLength((const char *)query->result.value.data,
                                                query->result.value.size);

    if (query->status == KVP_OK && object == NULL) {
        verdict->printed = false; /* it is JSON: the library has made it */
        return;
    }
    if (!cli->json) {
        print_row(query, object);
    }
    if (object != NULL) {
        const char *why = kvcli_json_text(object, "why");
        verdict->answered++;
        verdict->serving =
            verdict->serving || cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(object, "serving"));
        take_hint(query->url, kvcli_json_text(object, "hint"), verdict);
        if (why[0] != '\0' && verdict->why[0] == '\0') {
            (void)snprintf(verdict->why, sizeof(verdict->why), "%s", why);
        }
    }
    cJSON_Delete(object);
}

/* The primary may be none of those that were asked. */
static bool hinted_serves(const struct kvcli *cli, const char *url)
{
    struct query query = {.cli = cli, .url = url};

    (void)admin_ask(&query);
    cJSON *object =
        query.status != KVP_OK
            ? NULL
            : cJSON_ParseWithLength((const char *)query.result.value.data, query.result.value.size);
    bool serves = cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(object, "serving"));
    cJSON_Delete(object);
    kvp_result_free(&query.result);
    return serves;
}

/* The exit status. */
static int admin_judge(const struct kvcli *cli, const struct verdict *verdict)
{
    if (!verdict->printed) {
        return kvcli_failed_to_print(false);
    }
    if (verdict->serving || (verdict->hint[0] != '\0' && hinted_serves(cli, verdict->hint))) {
        return EXIT_DONE;
    }
    return kvcli_failed_because(KVP_UNAVAILABLE, verdict->answered == 0 ? "no node answers"
                                                 : verdict->why[0] != '\0'
                                                     ? verdict->why
                                                     : "no node serves at the moment");
}

int kvcli_status(struct kvcli *cli, int argc, char **argv)
{
    struct query queries[NODES_MAX];
    struct verdict verdict = {.printed = true};
    char *nodes = strdup(cli->nodes);

    (void)argc;
    (void)argv;
    if (nodes == NULL) {
        return kvcli_failed(KVP_NO_MEMORY, NULL);
    }
    int count = ask_all(cli, nodes, queries);
    if (cli->json) {
        verdict.printed = print_all_json(queries, count);
    } else {
        printf("%-28s %4s  %-9s %6s  %7s  %-9s %11s  %s\n", "ADDRESS", "NODE", "ROLE", "EPOCH",
               "PRIMARY", "IN SYNC", "APPLIED", "REMARKS");
    }
    for (int i = 0; i < count; i++) {
        if (verdict.printed) {
            admin_take_answer(cli, &queries[i], &verdict);
        }
        kvp_result_free(&queries[i].result);
    }
    free(nodes);
    return admin_judge(cli, &verdict);
}

static int admin_finished(const struct kvcli *cli, kvp_status status, kvp_result *result)
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

    if (argc == 1 && (!kvcli_parse_number(argv[0], KVP_NODE_ID_MAX, &target) || target == 0)) {
        return kvcli_complain("handover: '%s' is not the id of a node (1 to 63)", argv[0]);
    }
    kvp_status status = kvp_handover(cli->client, (unsigned)target, &result);
    return admin_finished(cli, status, &result);
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
    return admin_finished(cli, status, &result);
}
