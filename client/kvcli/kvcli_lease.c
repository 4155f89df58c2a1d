/* SPDX-License-Identifier: Apache-2.0 */
/* Keys that end by themselves, and leases. */
#include "client/kvcli/kvcli.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define LIST_PAGE_MAX 256u

/* ---- arguments ---- */

bool kvcli_take_ttl(const char *command, const char *argument, uint64_t *ttl_ms)
{
    uint64_t seconds = 0, thousandths = 0;
    size_t whole = strcspn(argument, ".");
    char digits[24] = "";
    const char *rest = argument[whole] == '.' ? argument + whole + 1 : "0";
    size_t places = strlen(rest);
    bool good = whole > 0 && whole < sizeof(digits) && places > 0 && places <= 3;
    if (good) {
        memcpy(digits, argument, whole);
        good = kvcli_parse_number(digits, KVP_TTL_MAX_MS / 1000, &seconds) &&
               kvcli_parse_number(rest, 999, &thousandths);
    }
    for (; good && places < 3; places++) {
        thousandths *= 10;
    }
    *ttl_ms = seconds * 1000 + thousandths;
    if (!good || *ttl_ms < KVP_TTL_MIN_MS || *ttl_ms > KVP_TTL_MAX_MS) {
        (void)kvcli_complain("%s: '%s' is not a time of 0.1 seconds to 10 years", command,
                             argument);
        return false;
    }
    return true;
}

static bool lease_take_id(const char *command, const char *argument, uint64_t *lease)
{
    if (!kvcli_parse_number(argument, UINT64_MAX, lease) || *lease == 0) {
        (void)kvcli_complain("%s: '%s' is not the id of a lease", command, argument);
        return false;
    }
    return true;
}

bool kvcli_take_hold(const struct kvcli *cli, const char *command, uint64_t *ttl_ms,
                     uint64_t *lease)
{
    const char *ttl = kvcli_option(cli, "--ttl"), *id = kvcli_option(cli, "--lease");
    *ttl_ms = *lease = 0;
    if (ttl != NULL && id != NULL) {
        (void)kvcli_complain("%s: --ttl, or --lease: a key ends by one of them", command);
        return false;
    }
    return (ttl == NULL || kvcli_take_ttl(command, ttl, ttl_ms)) &&
           (id == NULL || lease_take_id(command, id, lease));
}

/* ---- leases ---- */

int kvcli_lease_grant(struct kvcli *cli, int argc, char **argv)
{
    uint64_t ttl_ms, lease = 0;
    kvp_result result;
    int code = EXIT_DONE;
    (void)argc;
    if (!kvcli_take_ttl("lease grant", argv[0], &ttl_ms)) {
        return EXIT_USAGE;
    }
    kvp_status status = kvp_lease_grant(cli->client, ttl_ms, &lease, &result);
    if (status != KVP_OK) {
        code = kvcli_failed(status, &result);
    } else if (cli->json) {
        cJSON *object = cJSON_CreateObject();
        kvcli_json_add(&object, "lease", kvcli_json_number(lease));
        kvcli_json_add(&object, "ttl_ms", kvcli_json_number(ttl_ms));
        code = kvcli_print_json(object) ? EXIT_DONE : kvcli_failed_to_print(true);
    } else {
        printf("%" PRIu64 "\n", lease);
    }
    kvp_result_free(&result);
    return code;
}

/* False: an interrupt ended it. */
static bool lease_pause(uint64_t wait_ms)
{
    const struct timespec step = {0, 50000000};
    for (uint64_t slept_ms = 0; slept_ms < wait_ms && kvcli_interrupt_number() == 0;
         slept_ms += 50) {
        (void)nanosleep(&step, NULL);
    }
    return kvcli_interrupt_number() == 0;
}

/* Once, or until it ends, or an interrupt ends the wait. */
static int lease_go_on(struct kvcli *cli, uint64_t lease, bool once)
{
    uint64_t ttl_ms = 0;
    do {
        kvp_result result;
        kvp_status status = kvp_lease_keep(cli->client, lease, &ttl_ms, &result);
        bool passing = !once && (status == KVP_TIMEOUT || status == KVP_UNAVAILABLE) && ttl_ms > 0;
        int code = status == KVP_OK || passing ? EXIT_DONE : kvcli_failed(status, &result);
        kvp_result_free(&result);
        if (code != EXIT_DONE) {
            return code;
        }
    } while (!once && lease_pause(ttl_ms / 3));
    return EXIT_DONE;
}

int kvcli_lease_keep(struct kvcli *cli, int argc, char **argv)
{
    uint64_t lease;
    bool once = kvcli_option(cli, "--once") != NULL;
    (void)argc;
    if (!lease_take_id("lease keep", argv[0], &lease)) {
        return EXIT_USAGE;
    }
    if (!once) {
        kvcli_ends_note();
    }
    return lease_go_on(cli, lease, once);
}

int kvcli_lease_revoke(struct kvcli *cli, int argc, char **argv)
{
    uint64_t lease;
    kvp_result result;
    (void)argc;
    if (!lease_take_id("lease revoke", argv[0], &lease)) {
        return EXIT_USAGE;
    }
    kvp_status status = kvp_lease_revoke(cli->client, lease, &result);
    int code = status == KVP_OK ? EXIT_DONE : kvcli_failed(status, &result);
    kvp_result_free(&result);
    return code;
}

/* ---- looking at them ---- */

static void lease_print_time(uint64_t ms)
{
    printf("%" PRIu64 ".%03u s", ms / 1000, (unsigned)(ms % 1000));
}

static uint64_t lease_integer(const cJSON *item, const char *name)
{
    return kvcli_json_integer(item, name, UINT64_C(1) << 53);
}

static void lease_print(const cJSON *item)
{
    const char *owner = kvcli_json_text(item, "granted_to");
    printf("%" PRIu64 ": ", lease_integer(item, "lease"));
    lease_print_time(lease_integer(item, "left_ms"));
    fputs(" left of ", stdout);
    lease_print_time(lease_integer(item, "ttl_ms"));
    printf(", keys: %" PRIu64, lease_integer(item, "keys"));
    if (owner[0] != '\0') {
        fputs(", granted to ", stdout);
        kvcli_print_escaped(kvcli_slice(owner));
    }
    putchar('\n');
}

/* The next of them; *above moves on. *more: there may be others. */
static int lease_list_page(struct kvcli *cli, cJSON *all, uint64_t *above, bool *more)
{
    kvp_result result;
    int code = EXIT_DONE;
    *more = false;
    kvp_status status = kvp_lease_list(cli->client, *above, &result);
    cJSON *page = status == KVP_OK
                      ? cJSON_ParseWithLength((const char *)result.value.data, result.value.size)
                      : NULL;
    if (status != KVP_OK) {
        code = kvcli_failed(status, &result);
    } else if (page == NULL) {
        code = kvcli_failed_to_print(false);
    }
    *more = page != NULL && cJSON_GetArraySize(page) >= (int)LIST_PAGE_MAX;
    while (page != NULL && cJSON_GetArraySize(page) > 0) {
        cJSON *item = cJSON_DetachItemFromArray(page, 0);
        uint64_t lease = lease_integer(item, "lease");
        *more = *more && lease > *above;
        *above = lease;
        if (!cli->json) {
            lease_print(item);
        }
        if (!cli->json || !cJSON_AddItemToArray(all, item)) {
            cJSON_Delete(item);
        }
    }
    cJSON_Delete(page);
    kvp_result_free(&result);
    return code;
}

int kvcli_lease_list(struct kvcli *cli, int argc, char **argv)
{
    uint64_t above = 0;
    bool more = true;
    int code = EXIT_DONE;
    cJSON *all = cJSON_CreateArray();
    (void)argc;
    (void)argv;
    while (code == EXIT_DONE && more && all != NULL && !kvcli_interrupted()) {
        code = lease_list_page(cli, all, &above, &more);
    }
    if (code != EXIT_DONE || !cli->json) {
        cJSON_Delete(all);
        return code;
    }
    return kvcli_print_json(all) ? EXIT_DONE : kvcli_failed_to_print(false);
}

int kvcli_lease_show(struct kvcli *cli, int argc, char **argv)
{
    uint64_t lease;
    kvp_result result;
    int code = EXIT_DONE;
    (void)argc;
    if (!lease_take_id("lease show", argv[0], &lease)) {
        return EXIT_USAGE;
    }
    kvp_status status = kvp_lease_show(cli->client, lease, &result);
    cJSON *item = status == KVP_OK
                      ? cJSON_ParseWithLength((const char *)result.value.data, result.value.size)
                      : NULL;
    if (status != KVP_OK) {
        code = kvcli_failed(status, &result);
    } else if (cli->json) {
        printf("%.*s\n", (int)result.value.size, (const char *)result.value.data);
    } else if (item == NULL) {
        code = kvcli_failed_to_print(false);
    } else {
        const cJSON *name;
        lease_print(item);
        cJSON_ArrayForEach(name, cJSON_GetObjectItemCaseSensitive(item, "names"))
        {
            fputs("  ", stdout);
            kvcli_print_escaped(kvcli_slice(cJSON_IsString(name) ? name->valuestring : ""));
            putchar('\n');
        }
    }
    cJSON_Delete(item);
    kvp_result_free(&result);
    return code;
}

static int ttl_print(const struct kvcli *cli, uint64_t left_ms, uint64_t lease)
{
    bool ends = left_ms != UINT64_MAX;
    if (cli->json) {
        cJSON *object = cJSON_CreateObject();
        kvcli_json_add(&object, "left_ms", ends ? kvcli_json_number(left_ms) : cJSON_CreateNull());
        kvcli_json_add(&object, "lease", kvcli_json_number(lease));
        return kvcli_print_json(object) ? EXIT_DONE : kvcli_failed_to_print(false);
    }
    if (ends) {
        printf("%" PRIu64 ".%03u\n", left_ms / 1000, (unsigned)(left_ms % 1000));
    } else {
        fputs("it does not end by itself\n", stdout);
    }
    return EXIT_DONE;
}

int kvcli_ttl(struct kvcli *cli, int argc, char **argv)
{
    uint64_t left_ms = 0, lease = 0;
    kvp_result result;
    (void)argc;
    kvp_status status = kvp_key_left(cli->client, kvcli_slice(argv[0]), &left_ms, &lease, &result);
    int code = status == KVP_OK ? ttl_print(cli, left_ms, lease) : kvcli_failed(status, &result);
    kvp_result_free(&result);
    return code;
}
