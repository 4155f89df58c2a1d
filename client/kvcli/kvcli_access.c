/* SPDX-License-Identifier: Apache-2.0 */
/* access: who has which rights over TLS. */
#include "client/kvcli/kvcli.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RIGHTS_MAX     64
#define RIGHT_SIZE_MAX (16 + 3 * KVP_KEY_SIZE_MAX) /* a name, and each byte as %XX */

struct rights {
    char *texts[RIGHTS_MAX];
    size_t count;
};

static void rights_free(struct rights *rights)
{
    for (size_t i = 0; i < rights->count; i++) {
        free(rights->texts[i]);
    }
}

/* False: there is no memory, or it is too long. */
static bool rights_add(struct rights *rights, const char *name, const char *of)
{
    char text[RIGHT_SIZE_MAX + 1];
    size_t used = (size_t)snprintf(text, sizeof(text), "%s%s", name, of != NULL ? " " : "");
    for (const char *c = of; c != NULL && *c != '\0'; c++) {
        bool plain = *c > ' ' && *c < 0x7f && *c != '%';
        if (used + 3 > RIGHT_SIZE_MAX) {
            return false;
        }
        used += (size_t)snprintf(text + used, sizeof(text) - used, plain ? "%c" : "%%%02x",
                                 (unsigned char)*c);
    }
    char *copy = rights->count < RIGHTS_MAX ? strdup(text) : NULL;
    if (copy != NULL) {
        rights->texts[rights->count++] = copy;
    }
    return copy != NULL;
}

/* "read" PREFIX, "work" KIND, "submit", ...; also in one argument, as `list` prints it. -1: go on;
 * else the exit status. */
static int rights_take(const char *verb, int argc, char **argv, struct rights *rights)
{
    static const char *const plain[] = {"submit", "observe", "operate", "admin"};
    static const char *const of[] = {"read", "write", "work"};
    for (int i = 0; i < argc; i++) {
        bool added = false, known = strchr(argv[i], ' ') != NULL;
        if (known) {
            added = strlen(argv[i]) <= RIGHT_SIZE_MAX && rights_add(rights, argv[i], NULL);
        }
        for (unsigned k = 0; k < 4 && !known; k++) {
            known = strcmp(argv[i], plain[k]) == 0;
            added = known && rights_add(rights, argv[i], NULL);
        }
        for (unsigned k = 0; k < 3 && !known; k++) {
            known = strcmp(argv[i], of[k]) == 0;
            if (known && i + 1 == argc) {
                return kvcli_complain("access %s: behind '%s' stands %s", verb, of[k],
                                      k < 2 ? "a prefix of keys ('': all)"
                                            : "a kind of tasks ('matmul*': those that begin so)");
            }
            added = known && rights_add(rights, argv[i], argv[i + 1]);
            i += known ? 1 : 0;
        }
        if (!known) {
            return kvcli_complain("access %s: '%s' is none of read PREFIX, write PREFIX, submit, "
                                  "work KIND, observe, operate and admin",
                                  verb, argv[i]);
        }
        if (!added) {
            return kvcli_complain("access %s: a right is too long, or there are more than %d", verb,
                                  RIGHTS_MAX);
        }
    }
    return -1;
}

static int rights_change(struct kvcli *cli, int argc, char **argv, bool grant)
{
    struct rights rights = {.count = 0};
    kvp_result result = {0};
    int code = rights_take(grant ? "grant" : "revoke", argc - 1, argv + 1, &rights);
    if (code < 0) {
        const char *const *texts = (const char *const *)rights.texts;
        kvp_status status =
            grant ? kvp_access_grant(cli->client, argv[0], texts, rights.count, &result)
                  : kvp_access_revoke(cli->client, argv[0], texts, rights.count, &result);
        code = status == KVP_OK ? EXIT_DONE : kvcli_failed(status, &result);
    }
    rights_free(&rights);
    kvp_result_free(&result);
    return code;
}

int kvcli_access_grant(struct kvcli *cli, int argc, char **argv)
{
    return rights_change(cli, argc, argv, true);
}

int kvcli_access_revoke(struct kvcli *cli, int argc, char **argv)
{
    return rights_change(cli, argc, argv, false);
}

/* ---- looking ---- */

static void rights_print(const cJSON *entry)
{
    const cJSON *right;
    cJSON_ArrayForEach(right, cJSON_GetObjectItemCaseSensitive(entry, "rights"))
    {
        const char *name = kvcli_json_text(entry, "identity");
        const char *text = cJSON_IsString(right) ? right->valuestring : "";
        kvcli_print_cell(name, 24);
        putchar(' ');
        kvcli_print_escaped(kvp_slice_of(text, strlen(text)));
        putchar('\n');
    }
}

/* `name` NULL: everybody's. */
static int access_show(struct kvcli *cli, const char *name)
{
    kvp_result result;
    int code = EXIT_DONE;
    kvp_status status = kvp_access_list(cli->client, &result);
    cJSON *all = status == KVP_OK
                     ? cJSON_ParseWithLength((const char *)result.value.data, result.value.size)
                     : NULL;
    const cJSON *entry;
    bool found = name == NULL;
    if (status != KVP_OK || all == NULL) {
        code = kvcli_failed(status == KVP_OK ? KVP_NO_MEMORY : status, &result);
    } else if (cli->json && name == NULL) {
        printf("%.*s\n", (int)result.value.size, (const char *)result.value.data);
    }
    cJSON_ArrayForEach(entry, all)
    {
        bool wanted = name == NULL || strcmp(kvcli_json_text(entry, "identity"), name) == 0;
        found = found || wanted;
        if (wanted && !cli->json) {
            rights_print(entry);
        } else if (wanted && name != NULL) {
            code = kvcli_print_json(cJSON_Duplicate(entry, true)) ? code
                                                                  : kvcli_failed_to_print(false);
        }
    }
    if (code == EXIT_DONE && !found) {
        code = kvcli_failed_because(KVP_NOT_FOUND, "nothing was granted to it");
    }
    cJSON_Delete(all);
    kvp_result_free(&result);
    return code;
}

int kvcli_access_list(struct kvcli *cli, int argc, char **argv)
{
    (void)argc;
    (void)argv;
    return access_show(cli, NULL);
}

int kvcli_access_show(struct kvcli *cli, int argc, char **argv)
{
    (void)argc;
    return access_show(cli, argv[0]);
}
