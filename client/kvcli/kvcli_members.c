/* SPDX-License-Identifier: Apache-2.0 */
/* member: who the nodes of the group are, and changes of that while it serves. */
#include "client/kvcli/kvcli.h"

#include <stdlib.h>
#include <string.h>

static bool members_take_id(const char *text, unsigned *id)
{
    uint64_t number = 0;
    bool good = kvcli_parse_number(text, KVP_NODE_ID_MAX, &number) && number > 0;
    *id = (unsigned)number;
    return good;
}

/* What the primary says of itself, or else whoever answers. NULL: nobody, which has been told. */
static cJSON *members_ask(const struct kvcli *cli, int *code)
{
    struct kvcli_query query;
    kvp_result result = {0};
    kvp_status status = kvp_node_status(cli->client, NULL, &result);
    cJSON *object = status == KVP_OK
                        ? cJSON_ParseWithLength((const char *)result.value.data, result.value.size)
                        : NULL;
    *code = EXIT_DONE;
    if (object == NULL) {
        *code = kvcli_failed(status == KVP_OK ? KVP_NO_MEMORY : status, &result);
    } else if (!kvcli_json_true(object, "serving") && kvcli_json_text(object, "hint")[0] != '\0') {
        kvcli_ask_node(cli, kvcli_json_text(object, "hint"), &query);
        cJSON *primary = kvcli_query_parse(&query);
        if (primary != NULL) {
            cJSON_Delete(object);
            object = primary;
        }
        kvp_result_free(&query.result);
    }
    kvp_result_free(&result);
    return object;
}

static const cJSON *members_find_peer(const cJSON *status, double id)
{
    const cJSON *peer;
    cJSON_ArrayForEach(peer, cJSON_GetObjectItemCaseSensitive(status, "peers"))
    {
        if (kvcli_json_count(peer, "id") == id) {
            return peer;
        }
    }
    return NULL;
}

static bool members_in_sync(const cJSON *status, double id)
{
    const cJSON *member;
    cJSON_ArrayForEach(member, cJSON_GetObjectItemCaseSensitive(status, "in_sync"))
    {
        if (cJSON_IsNumber(member) && member->valuedouble == id) {
            return true;
        }
    }
    return false;
}

/* Of those who are in sync the primary is one; the others follow, or are not there. */
static const char *members_state(const cJSON *status, double id)
{
    const cJSON *peer = members_find_peer(status, id);
    bool here = kvcli_json_count(status, "node") == id;
    return kvcli_json_count(status, "primary") == id    ? "primary"
           : members_in_sync(status, id)                ? "in sync"
           : here || kvcli_json_true(peer, "connected") ? "joins"
                                                        : "silent";
}

static bool members_print_json(const cJSON *status)
{
    cJSON *out = cJSON_CreateObject(), *all = cJSON_AddArrayToObject(out, "members");
    const cJSON *member;
    (void)cJSON_AddItemToObject(
        out, "version", kvcli_json_number((uint64_t)kvcli_json_count(status, "members_version")));
    (void)cJSON_AddItemToObject(
        out, "removed",
        cJSON_Duplicate(cJSON_GetObjectItemCaseSensitive(status, "members_removed"), true));
    cJSON_ArrayForEach(member, cJSON_GetObjectItemCaseSensitive(status, "members"))
    {
        cJSON *copy = cJSON_Duplicate(member, true);
        (void)cJSON_AddStringToObject(copy, "state",
                                      members_state(status, kvcli_json_count(member, "id")));
        (void)cJSON_AddItemToArray(all, copy);
    }
    return kvcli_print_json(out);
}

static void members_print(const cJSON *status)
{
    const cJSON *member;
    printf("%4s %-5s %-8s %s\n", "NODE", "KIND", "STATE", "ADDRESS");
    cJSON_ArrayForEach(member, cJSON_GetObjectItemCaseSensitive(status, "members"))
    {
        double id = kvcli_json_count(member, "id");
        const char *trouble = kvcli_json_text(members_find_peer(status, id), "trouble");
        printf("%4.0f ", id);
        kvcli_print_cell(kvcli_json_text(member, "kind"), 5);
        printf(" %-8s ", members_state(status, id));
        kvcli_print_cell(kvcli_json_text(member, "url"), 0);
        putchar('\n');
        if (trouble[0] != '\0') {
            kvcli_print_wrapped(10, trouble);
        }
    }
    if (kvcli_json_count(status, "members_version") == 0) {
        kvcli_print_wrapped(0, "as the nodes' --peer says: the first change of members makes a "
                               "list, which rules from then on");
    }
}

int kvcli_member_list(struct kvcli *cli, int argc, char **argv)
{
    int code;
    cJSON *status = members_ask(cli, &code);
    (void)argc;
    (void)argv;
    if (status == NULL) {
        return code;
    }
    if (cli->json) {
        code = members_print_json(status) ? EXIT_DONE : kvcli_failed_to_print(false);
    } else {
        members_print(status);
    }
    cJSON_Delete(status);
    return code;
}

/* ---- changes ---- */

/* Who leads cannot go: another one leads first. -1: go on; else the exit status. */
static int members_hand_over(const struct kvcli *cli, unsigned id)
{
    int code;
    kvp_result result = {0};
    cJSON *status = members_ask(cli, &code);
    bool leads = status != NULL && kvcli_json_true(status, "serving") &&
                 kvcli_json_count(status, "node") == (double)id;
    bool listed = status != NULL &&
                  cJSON_GetArraySize(cJSON_GetObjectItemCaseSensitive(status, "members")) > 1;
    cJSON_Delete(status);
    if (status == NULL) {
        return code;
    }
    if (!leads || !listed) {
        return -1;
    }
    kvp_status handed = kvp_handover(cli->client, 0, &result);
    code = handed == KVP_OK ? -1 : kvcli_failed(handed, &result);
    kvp_result_free(&result);
    return code;
}

static int members_finished(const struct kvcli *cli, kvp_status status, kvp_result *result)
{
    int code = status == KVP_OK ? EXIT_DONE : kvcli_failed(status, result);
    if (status == KVP_OK && cli->json) {
        printf("{\"version\":%llu}\n", (unsigned long long)result->version);
    }
    kvp_result_free(result);
    return code;
}

static void members_advise(const struct kvcli *cli, unsigned id, const char *url)
{
    if (!cli->json) {
        fprintf(stderr,
                "node %u is a member now; if it does not run yet: kvnode --id %u --data DIR "
                "--listen %s --join %s ...\n",
                id, id, url, cli->nodes);
    }
}

int kvcli_member_add(struct kvcli *cli, int argc, char **argv)
{
    unsigned id;
    kvp_result result = {0};
    (void)argc;
    if (!members_take_id(argv[0], &id)) {
        return kvcli_complain("member add: '%s' is not the id of a node (1 to 63)", argv[0]);
    }
    kvp_status status = kvp_member_add(cli->client, id, argv[1], &result);
    int code = members_finished(cli, status, &result);
    if (code == EXIT_DONE) {
        members_advise(cli, id, argv[1]);
    }
    return code;
}

int kvcli_member_remove(struct kvcli *cli, int argc, char **argv)
{
    unsigned id;
    kvp_result result = {0};
    (void)argc;
    if (!members_take_id(argv[0], &id)) {
        return kvcli_complain("member remove: '%s' is not the id of a node (1 to 63)", argv[0]);
    }
    int code = members_hand_over(cli, id);
    return code >= 0 ? code
                     : members_finished(cli, kvp_member_remove(cli->client, id, &result), &result);
}

int kvcli_member_replace(struct kvcli *cli, int argc, char **argv)
{
    unsigned old_id, id;
    kvp_result result = {0};
    (void)argc;
    if (!members_take_id(argv[0], &old_id) || !members_take_id(argv[1], &id)) {
        return kvcli_complain("member replace: OLD and ID are ids of nodes (1 to 63), not '%s %s'",
                              argv[0], argv[1]);
    }
    int code = members_hand_over(cli, old_id);
    if (code >= 0) {
        return code;
    }
    kvp_status status = kvp_member_replace(cli->client, old_id, id, argv[2], &result);
    code = members_finished(cli, status, &result);
    if (code == EXIT_DONE) {
        members_advise(cli, id, argv[2]);
    }
    return code;
}

int kvcli_member_move(struct kvcli *cli, int argc, char **argv)
{
    unsigned id;
    kvp_result result = {0};
    (void)argc;
    if (!members_take_id(argv[0], &id)) {
        return kvcli_complain("member move: '%s' is not the id of a node (1 to 63)", argv[0]);
    }
    int code = members_hand_over(cli, id);
    return code >= 0
               ? code
               : members_finished(cli, kvp_member_move(cli->client, id, argv[1], &result), &result);
}
