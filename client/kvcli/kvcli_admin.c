/* SPDX-License-Identifier: Apache-2.0 */
/* status, handover, promote. */
#include "client/kvcli/kvcli.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define REASON_SIZE      512
#define DISK_SILENT_MS   1000 /* less is a disk at work */
#define CERTIFICATE_DAYS 30   /* fewer are worth a word */
#define DAY_S            86400
#define ADDRESS_WIDTH    24
#define REMARK_INDENT    6u

/* ---- the table: 80 columns, and what there is to say below a node's line ---- */

struct remarks {
    char text[REASON_SIZE * 2];
    size_t used;
};

__attribute__((format(printf, 2, 3))) static void admin_remark(struct remarks *remarks,
                                                               const char *format, ...)
{
    size_t left = sizeof(remarks->text) - remarks->used;
    va_list arguments;
    if (remarks->used > 0 && left > 2) {
        remarks->used += (size_t)snprintf(remarks->text + remarks->used, left, "; ");
        left = sizeof(remarks->text) - remarks->used;
    }
    va_start(arguments, format);
    int printed = vsnprintf(remarks->text + remarks->used, left, format, arguments);
    va_end(arguments);
    remarks->used += printed < 0 ? 0 : (size_t)printed < left ? (size_t)printed : left - 1;
}

/* Only what is not as it should be. */
static void remark_arbiter(const cJSON *object, struct remarks *remarks)
{
    const cJSON *arbiter = cJSON_GetObjectItemCaseSensitive(object, "arbiter");
    const char *state = kvcli_json_text(arbiter, "state");
    bool told = strstr(kvcli_json_text(object, "why"), "witness") != NULL;

    if (state[0] != '\0' && strcmp(state, "ok") != 0 && !told) {
        admin_remark(remarks, "witness: %s", state);
    }
}

/* What the one that serves sees of the others; they say the rest themselves. */
static void remark_peers(const cJSON *object, struct remarks *remarks)
{
    const cJSON *peer;
    double unknown = kvcli_json_count(object, "unknown_peer");

    cJSON_ArrayForEach(peer, cJSON_GetObjectItemCaseSensitive(object, "peers"))
    {
        const char *trouble = kvcli_json_text(peer, "trouble");
        if (trouble[0] != '\0') {
            admin_remark(remarks, "node %.0f (%s): %s", kvcli_json_count(peer, "id"),
                         kvcli_json_text(peer, "url"), trouble);
        }
    }
    if (unknown > 0) {
        admin_remark(remarks, "node %.0f asks to join, and is no member: kvcli member add",
                     unknown);
    }
}

/* When it is time to think of the next one. */
static void remark_certificate(const cJSON *object, struct remarks *remarks)
{
    double ends_s = kvcli_json_count(object, "certificate_ends");
    double days = (ends_s - (double)time(NULL)) / DAY_S;
    if (ends_s > 0 && days < 0) {
        admin_remark(remarks, "its certificate has expired");
    } else if (ends_s > 0 && days < CERTIFICATE_DAYS) {
        admin_remark(remarks, "its certificate ends in %d days", (int)days);
    }
}

static void admin_gather_remarks(const cJSON *object, struct remarks *remarks)
{
    const char *why = kvcli_json_text(object, "why");
    double silent_ms = kvcli_json_count(object, "disk_silent_ms");
    bool silent = silent_ms >= DISK_SILENT_MS;
    if (kvcli_json_true(object, "serving")) {
        remark_peers(object, remarks);
    }
    if (kvcli_json_true(object, "doubt")) {
        admin_remark(remarks, "log shorter than it was");
    }
    if (kvcli_json_true(object, "quarantine_full")) {
        admin_remark(remarks, "stays outside: no room to set its store aside, see kvnode(8)");
    }
    if (silent) {
        admin_remark(remarks, "own disk has not answered for %.0f ms", silent_ms);
    }
    if (kvcli_json_count(object, "stores_set_aside") > 0) {
        admin_remark(remarks, "%.0f store(s) set aside with %.0f diverged update(s)",
                     kvcli_json_count(object, "stores_set_aside"),
                     kvcli_json_count(object, "diverged"));
    }
    remark_certificate(object, remarks);
    remark_arbiter(object, remarks);
    if (why[0] != '\0' &&
        !(silent && strstr(why, "own disk") != NULL)) { /* which has just been said */
        admin_remark(remarks, "%s", why);
    }
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
    printf("%-7s ", in_sync);
}

/* Without the object there is no answer. */
static void print_row(const struct kvcli_query *query, const cJSON *object)
{
    char reason[REASON_SIZE];
    struct remarks remarks = {.text = ""};
    if (object == NULL) {
        kvcli_query_explain(query, reason, sizeof(reason));
        printf("%s\n", query->url);
        kvcli_print_wrapped(REMARK_INDENT, reason);
        return;
    }
    if (strlen(query->url) > ADDRESS_WIDTH) {
        printf("%s\n%*s", query->url, ADDRESS_WIDTH + 1, "");
    } else {
        printf("%-*s ", ADDRESS_WIDTH, query->url);
    }
    printf("%4.0f ", kvcli_json_count(object, "node"));
    kvcli_print_cell(kvcli_json_text(object, "role"), 9);
    printf(" %5.0f %7.0f ", kvcli_json_count(object, "epoch"), kvcli_json_count(object, "primary"));
    print_in_sync(object);
    printf("%9.0f%s\n", kvcli_json_count(object, "applied"),
           kvcli_json_true(object, "serving") ? " serving" : "");
    admin_gather_remarks(object, &remarks);
    if (remarks.used > 0) {
        kvcli_print_wrapped(REMARK_INDENT, remarks.text);
    }
}

/* What the nodes' answers come to. */
struct verdict {
    bool serving; /* somebody is */
    bool printed; /* memory was not short */
    unsigned answered;
    char hint[KVP_URL_SIZE_MAX + 1]; /* who leads, as a node says that does not */
    char why[REASON_SIZE];           /* nobody does */
    char sentence[256];              /* somebody does: what may still fail */
    char digest[32];                 /* of the first one's configuration */
    bool digests_differ;
    char digests[REASON_SIZE]; /* node by node */
};

static void take_digest(const cJSON *object, struct verdict *verdict)
{
    const char *digest = kvcli_json_text(object, "config_digest");
    size_t used = strlen(verdict->digests);
    if (digest[0] == '\0') {
        return; /* an older release */
    }
    if (verdict->digest[0] == '\0') {
        (void)snprintf(verdict->digest, sizeof(verdict->digest), "%s", digest);
    }
    verdict->digests_differ |= strcmp(verdict->digest, digest) != 0;
    (void)snprintf(verdict->digests + used, sizeof(verdict->digests) - used, "%snode %.0f has %s",
                   used ? ", " : "", kvcli_json_count(object, "node"), digest);
}

static void print_digests(const struct verdict *verdict)
{
    char line[REASON_SIZE + 64];
    if (verdict->digests_differ) {
        (void)snprintf(line, sizeof(line), "configurations differ (kvcli doctor): %s",
                       verdict->digests);
        kvcli_print_wrapped(0, line);
    } else if (verdict->digest[0] != '\0') {
        printf("configuration %s\n", verdict->digest);
    }
}

static void take_hint(const char *url, const char *hint, struct verdict *verdict)
{
    if (kvcli_same_scheme(url, hint)) {
        (void)snprintf(verdict->hint, sizeof(verdict->hint), "%s", hint);
    }
}

static void admin_take_answer(const struct kvcli *cli, const struct kvcli_query *query,
                              struct verdict *verdict)
{
    cJSON *object = kvcli_query_parse(query);

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
        take_digest(object, verdict);
        if (kvcli_json_true(object, "serving")) {
            verdict->serving = true;
            kvcli_verdict(object, verdict->sentence, sizeof(verdict->sentence));
        }
        take_hint(query->url, kvcli_json_text(object, "hint"), verdict);
        if (why[0] != '\0' && verdict->why[0] == '\0') {
            (void)snprintf(verdict->why, sizeof(verdict->why), "%s", why);
        }
    }
    cJSON_Delete(object);
}

/* The primary may be none of those that were asked. */
static void ask_hinted(const struct kvcli *cli, struct verdict *verdict)
{
    struct kvcli_query query;
    kvcli_ask_node(cli, verdict->hint, &query);
    cJSON *object = kvcli_query_parse(&query);
    if (kvcli_json_true(object, "serving")) {
        verdict->serving = true;
        kvcli_verdict(object, verdict->sentence, sizeof(verdict->sentence));
    }
    cJSON_Delete(object);
    kvp_result_free(&query.result);
}

/* The exit status. */
static int admin_judge(const struct kvcli *cli, struct verdict *verdict)
{
    if (!verdict->printed) {
        return kvcli_failed_to_print(false);
    }
    if (!verdict->serving && verdict->hint[0] != '\0') {
        ask_hinted(cli, verdict);
    }
    if (!cli->json) {
        print_digests(verdict);
    }
    if (verdict->serving) {
        if (!cli->json) {
            kvcli_print_wrapped(0, verdict->sentence);
        }
        return EXIT_DONE;
    }
    return kvcli_failed_because(KVP_UNAVAILABLE, verdict->answered == 0 ? "no node answers"
                                                 : verdict->why[0] != '\0'
                                                     ? verdict->why
                                                     : "no node serves at the moment");
}

int kvcli_status(struct kvcli *cli, int argc, char **argv)
{
    struct kvcli_query queries[KVCLI_NODES_MAX];
    struct verdict verdict = {.printed = true};
    char *nodes = strdup(cli->nodes);
    (void)argc;
    (void)argv;
    if (nodes == NULL) {
        return kvcli_failed(KVP_NO_MEMORY, NULL);
    }
    int count = kvcli_ask_nodes(cli, nodes, queries);
    if (cli->json) {
        verdict.printed = kvcli_print_queries(queries, count);
    } else {
        printf("%-*s %4s %-9s %5s %7s %-7s %9s\n", ADDRESS_WIDTH, "ADDRESS", "NODE", "ROLE",
               "EPOCH", "PRIMARY", "IN SYNC", "APPLIED");
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

static bool admin_serves(const struct kvcli *cli, const char *node)
{
    struct kvcli_query query;
    kvcli_ask_node(cli, node, &query);
    cJSON *status = kvcli_query_parse(&query);
    bool serves = kvcli_json_true(status, "serving");
    cJSON_Delete(status);
    kvp_result_free(&query.result);
    return serves;
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
    bool served = admin_serves(cli, node);
    kvp_status status = kvp_promote(cli->client, node, force, &result);
    if (status == KVP_OK && served && !cli->json) {
        fprintf(stderr, "kvcli: it is primary already: nothing was changed\n");
    }
    return admin_finished(cli, status, &result);
}
