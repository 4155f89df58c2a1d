/* SPDX-License-Identifier: Apache-2.0 */
/* get, put, create, delete, cas, scan. */
#include "client/kvcli.h"

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
static bool take_value(const char *argument, kvp_buf *bytes, kvp_slice *value)
{
    if (strcmp(argument, "-") != 0) {
        *value = slice_of(argument);
        return true;
    }
    bool done = kvcli_read_file("-", KVP_VALUE_SIZE_MAX, bytes);
    *value = kvp_buf_slice(bytes);
    return done;
}

/* After an update: its version for who wants it. */
static int updated(const struct kvcli *cli, kvp_status status, kvp_result *result)
{
    int code = EXIT_DONE;

    if (status != KVP_OK) {
        code = kvcli_failed(status, result);
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

int kvcli_get(struct kvcli *cli, int argc, char **argv)
{
    bool first = argc == 2 && strcmp(argv[0], "--stale") == 0;
    bool stale = first || (argc == 2 && strcmp(argv[1], "--stale") == 0);
    kvp_result result;

    if (argc == 2 && !stale) {
        return kvcli_complain("usage: get [--stale] KEY");
    }
    kvp_slice key = slice_of(argv[first ? 1 : 0]);
    kvp_status status =
        stale ? kvp_get_stale(cli->client, key, &result) : kvp_get(cli->client, key, &result);
    int code = EXIT_DONE;
    if (status != KVP_OK) {
        code = kvcli_failed(status, &result);
    } else if (cli->json) {
        code = print_value_json(key, &result, stale);
    } else {
        fwrite(result.value.data == NULL ? (const uint8_t *)"" : result.value.data, 1,
               result.value.size, stdout);
        if (isatty(STDOUT_FILENO)) {
            putchar('\n');
        }
    }
    kvp_result_free(&result);
    return code;
}

static int put_or_create(struct kvcli *cli, char **argv, bool create)
{
    kvp_buf bytes = {0};
    kvp_slice value;
    kvp_result result;

    if (!take_value(argv[1], &bytes, &value)) {
        kvp_buf_free(&bytes);
        return EXIT_USAGE;
    }
    kvp_status status = create ? kvp_create(cli->client, slice_of(argv[0]), value, &result)
                               : kvp_put(cli->client, slice_of(argv[0]), value, &result);
    kvp_buf_free(&bytes);
    return updated(cli, status, &result);
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
    kvp_status status = kvp_delete(cli->client, slice_of(argv[0]), version, &result);
    return updated(cli, status, &result);
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
    if (!take_value(argv[2], &bytes, &value)) {
        kvp_buf_free(&bytes);
        return EXIT_USAGE;
    }
    kvp_status status = kvp_cas(cli->client, slice_of(argv[0]), version, value, &result);
    kvp_buf_free(&bytes);
    return updated(cli, status, &result);
}

/* ---- scan ---- */

struct scan_options {
    bool keys_only;
    uint64_t limit;
    const char *prefix;
};

static int parse_scan(int argc, char **argv, struct scan_options *options)
{
    int next = 0;

    *options = (struct scan_options){.limit = UINT64_MAX, .prefix = ""};
    for (; next < argc && strncmp(argv[next], "--", 2) == 0; next++) {
        if (strcmp(argv[next], "--keys") == 0) {
            options->keys_only = true;
        } else if (strcmp(argv[next], "--limit") == 0 && next + 1 < argc &&
                   kvcli_parse_number(argv[next + 1], UINT64_MAX, &options->limit)) {
            next++;
        } else if (strcmp(argv[next], "--") == 0) {
            next++;
            break;
        } else {
            return kvcli_complain("scan: unknown or malformed option '%s'", argv[next]);
        }
    }
    if (argc - next > 1) {
        return kvcli_complain("scan: one prefix at most");
    }
    if (next < argc) {
        options->prefix = argv[next];
    }
    return EXIT_DONE;
}

/* False: memory was short. */
static bool print_pair(const struct kvcli *cli, bool keys_only, kvp_slice key, kvp_slice value,
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
    struct scan_options options;
    kvp_scan *scan = NULL;
    kvp_slice key, value;
    uint64_t version = 0;
    kvp_result result;

    if (parse_scan(argc, argv, &options) != EXIT_DONE) {
        return EXIT_USAGE;
    }
    kvp_status status = kvp_scan_open_prefix(cli->client, slice_of(options.prefix),
                                             options.keys_only, &scan, &result);
    if (status != KVP_OK) {
        int code = kvcli_failed(status, &result);
        kvp_result_free(&result);
        return code;
    }
    bool printed = true;
    /* Who no longer reads must not keep the node holding a snapshot for the rest. */
    for (uint64_t count = 0; count < options.limit && printed && !ferror(stdout); count++) {
        status = kvp_scan_next(scan, &key, &value, &version);
        if (status != KVP_OK) {
            break;
        }
        printed = print_pair(cli, options.keys_only, key, value, version);
    }
    bool all = status == KVP_OK || status == KVP_NOT_FOUND;
    int code = !all       ? kvcli_failed_because(status, kvp_scan_error(scan))
               : !printed ? kvcli_failed_to_print(false)
                          : EXIT_DONE;
    kvp_scan_close(scan);
    return code;
}
