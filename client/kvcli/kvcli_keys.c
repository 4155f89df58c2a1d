/* SPDX-License-Identifier: Apache-2.0 */
/* get, put, create, delete, cas, scan. */
#include "client/kvcli/kvcli.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static kvp_slice slice_of(const char *text)
{
    return kvp_slice_of(text, strlen(text));
}

/* The bytes of an argument VALUE or "-". */
static bool keys_take_value(const char *argument, kvp_buf *bytes, kvp_slice *value)
{
    if (strcmp(argument, "-") != 0) {
        *value = slice_of(argument);
        return true;
    }
    bool done = kvcli_read_file("-", KVP_VALUE_SIZE_MAX, bytes);
    *value = kvp_buf_slice(bytes);
    return done;
}

int kvcli_updated(const struct kvcli *cli, kvp_result *result)
{
    int code = EXIT_DONE;
    if (result->status != KVP_OK) {
        code = kvcli_failed(result->status, result);
    } else if (cli->json) {
        cJSON *object = cJSON_CreateObject();
        kvcli_json_add(&object, "version", kvcli_json_number(result->version));
        code = kvcli_print_json(object) ? EXIT_DONE : kvcli_failed_to_print(true);
    } else if (cli->prompt) {
        printf("done, version %" PRIu64 "\n", result->version);
    }
    kvp_result_free(result);
    return code;
}

static int print_value_json(kvp_slice key, const kvp_result *result, bool stale)
{
    cJSON *object = cJSON_CreateObject();

    kvcli_json_add(&object, "key", kvcli_json_bytes(key));
    kvcli_json_add(&object, "value", kvcli_json_bytes(kvp_buf_slice(&result->value)));
    kvcli_json_add(&object, "version", kvcli_json_number(result->version));
    kvcli_json_add(&object, "create_revision", kvcli_json_number(result->create_revision));
    if (stale) {
        kvcli_json_add(&object, "behind", kvcli_json_number(result->behind));
    }
    return kvcli_print_json(object) ? EXIT_DONE : kvcli_failed_to_print(false);
}

int kvcli_got(const struct kvcli *cli, kvp_slice key, kvp_result *result, bool stale)
{
    int code = EXIT_DONE;
    if (result->status != KVP_OK) {
        code = kvcli_failed(result->status, result);
    } else if (cli->json) {
        code = print_value_json(key, result, stale);
    } else {
        fwrite(result->value.data == NULL ? (const uint8_t *)"" : result->value.data, 1,
               result->value.size, stdout);
        if (isatty(STDOUT_FILENO)) {
            putchar('\n');
        }
    }
    kvp_result_free(result);
    return code;
}

int kvcli_get(struct kvcli *cli, int argc, char **argv)
{
    bool stale = kvcli_option(cli, "--stale") != NULL;
    kvp_slice key = slice_of(argv[0]);
    kvp_result result;
    (void)argc;
    result.status =
        stale ? kvp_get_stale(cli->client, key, &result) : kvp_get(cli->client, key, &result);
    return kvcli_got(cli, key, &result, stale);
}

static int put_or_create(struct kvcli *cli, char **argv, bool create)
{
    kvp_buf bytes = {0};
    kvp_slice value;
    kvp_result result;
    if (!keys_take_value(argv[1], &bytes, &value)) {
        kvp_buf_free(&bytes);
        return EXIT_USAGE;
    }
    result.status = create ? kvp_create(cli->client, slice_of(argv[0]), value, &result)
                           : kvp_put(cli->client, slice_of(argv[0]), value, &result);
    kvp_buf_free(&bytes);
    return kvcli_updated(cli, &result);
}

int kvcli_put(struct kvcli *cli, int argc, char **argv)
{
    (void)argc;
    return put_or_create(cli, argv, false);
}

int kvcli_create(struct kvcli *cli, int argc, char **argv)
{
    (void)argc;
    return put_or_create(cli, argv, true);
}

int kvcli_delete(struct kvcli *cli, int argc, char **argv)
{
    uint64_t version = 0;
    kvp_result result;
    if (argc == 2 && (!kvcli_parse_number(argv[1], UINT64_MAX, &version) || version == 0)) {
        return kvcli_complain("delete: '%s' is not a version", argv[1]);
    }
    result.status = kvp_delete(cli->client, slice_of(argv[0]), version, &result);
    return kvcli_updated(cli, &result);
}

int kvcli_cas(struct kvcli *cli, int argc, char **argv)
{
    kvp_buf bytes = {0};
    kvp_slice value;
    uint64_t version = 0;
    kvp_result result;
    (void)argc;
    if (!kvcli_parse_number(argv[1], UINT64_MAX, &version)) {
        return kvcli_complain("cas: '%s' is not a version", argv[1]);
    }
    if (!keys_take_value(argv[2], &bytes, &value)) {
        kvp_buf_free(&bytes);
        return EXIT_USAGE;
    }
    result.status = kvp_cas(cli->client, slice_of(argv[0]), version, value, &result);
    kvp_buf_free(&bytes);
    return kvcli_updated(cli, &result);
}

/* ---- scan ---- */

/* False: memory was short. */
static bool keys_print_pair(const struct kvcli *cli, bool keys_only, kvp_slice key, kvp_slice value,
                            uint64_t version)
{
    if (cli->json) {
        cJSON *object = cJSON_CreateObject();
        kvcli_json_add(&object, "key", kvcli_json_bytes(key));
        kvcli_json_add(&object, "version", kvcli_json_number(version));
        if (!keys_only) {
            kvcli_json_add(&object, "value", kvcli_json_bytes(value));
        }
        return kvcli_print_json(object);
    }
    kvcli_print_escaped(key);
    if (!keys_only) {
        putchar('\t');
        kvcli_print_escaped(value);
    }
    putchar('\n');
    return true;
}

int kvcli_scan(struct kvcli *cli, int argc, char **argv)
{
    const char *limit = kvcli_option(cli, "--limit");
    bool keys_only = kvcli_option(cli, "--keys") != NULL;
    uint64_t count_max = UINT64_MAX;
    kvp_scan *scan = NULL;
    kvp_slice key, value;
    uint64_t version = 0;
    kvp_result result;
    if (limit != NULL && !kvcli_parse_number(limit, UINT64_MAX, &count_max)) {
        return kvcli_complain("scan: --limit: '%s' is not a number", limit);
    }
    kvp_status status = kvp_scan_open_prefix(cli->client, slice_of(argc > 0 ? argv[0] : ""),
                                             keys_only, &scan, &result);
    if (status != KVP_OK) {
        int code = kvcli_failed(status, &result);
        kvp_result_free(&result);
        return code;
    }
    bool printed = true;
    /* Who no longer reads must not keep the node holding a snapshot for the rest. */
    for (uint64_t count = 0; count < count_max && printed && !ferror(stdout); count++) {
        status = kvp_scan_next(scan, &key, &value, &version);
        if (status != KVP_OK) {
            break;
        }
        printed = keys_print_pair(cli, keys_only, key, value, version);
    }
    bool all = status == KVP_OK || status == KVP_NOT_FOUND;
    int code = !all       ? kvcli_failed_because(status, kvp_scan_error(scan))
               : !printed ? kvcli_failed_to_print(false)
                          : EXIT_DONE;
    kvp_scan_close(scan);
    return code;
}
