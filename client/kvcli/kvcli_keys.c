/* SPDX-License-Identifier: Apache-2.0 */
/* put, create, cas, scan, and what comes of those and others. */
#include "client/kvcli/kvcli.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The bytes of an argument VALUE or "-". */
static bool keys_take_value(const char *argument, kvp_buf *bytes, kvp_slice *value)
{
    if (strcmp(argument, "-") != 0) {
        *value = kvcli_slice(argument);
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

static int put_or_create(struct kvcli *cli, char **argv, bool create)
{
    kvp_buf bytes = {0};
    kvp_slice value;
    kvp_result result;
    uint64_t ttl_ms, lease;
    if (!kvcli_take_hold(cli, create ? "create" : "put", &ttl_ms, &lease) ||
        !keys_take_value(argv[1], &bytes, &value)) {
        kvp_buf_free(&bytes);
        return EXIT_USAGE;
    }
    result.status = (create ? kvp_create_held : kvp_put_held)(cli->client, kvcli_slice(argv[0]),
                                                              value, ttl_ms, lease, &result);
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

/* The end of the keys with the prefix, whose bytes are changed. */
static kvp_slice keys_prefix_end(kvp_buf *prefix)
{
    while (prefix->size > 0 && prefix->data[prefix->size - 1] == 0xff) {
        prefix->size--;
    }
    if (prefix->size > 0) {
        prefix->data[prefix->size - 1]++;
    }
    return kvp_buf_slice(prefix);
}

kvp_status kvcli_take_range(const struct kvcli *cli, const char *prefix, kvp_buf *memory,
                            kvp_slice *start, kvp_slice *end, bool *empty)
{
    const char *from = kvcli_option(cli, "--from"), *to = kvcli_option(cli, "--to");
    kvp_slice first = kvcli_slice(from == NULL ? "" : from),
              last = kvcli_slice(to == NULL ? "" : to);
    *start = kvcli_slice(prefix == NULL ? "" : prefix);
    kvp_status status = kvp_buf_append(memory, start->data, start->size);
    *end = status == KVP_OK ? keys_prefix_end(memory) : (kvp_slice){0};
    *start = kvp_slice_compare(first, *start) > 0 ? first : *start;
    *end = last.size > 0 && (end->size == 0 || kvp_slice_compare(last, *end) < 0) ? last : *end;
    *empty = end->size > 0 && kvp_slice_compare(*start, *end) >= 0;
    return status;
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
    result.status = kvp_cas(cli->client, kvcli_slice(argv[0]), version, value, &result);
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

static int scan_print(const struct kvcli *cli, kvp_scan *scan, bool keys_only, uint64_t count_max)
{
    kvp_status status = KVP_OK;
    kvp_slice key, value;
    uint64_t version = 0;
    bool printed = true;
    /* Who no longer reads must not keep the node holding a snapshot for the rest. */
    for (uint64_t count = 0; count < count_max && printed && !ferror(stdout); count++) {
        status = kvp_scan_next(scan, &key, &value, &version);
        if (status != KVP_OK) {
            break;
        }
        printed = keys_print_pair(cli, keys_only, key, value, version);
    }
    if (status != KVP_OK && status != KVP_NOT_FOUND) {
        return kvcli_failed_because(status, kvp_scan_error(scan));
    }
    return printed ? EXIT_DONE : kvcli_failed_to_print(false);
}

int kvcli_scan(struct kvcli *cli, int argc, char **argv)
{
    const char *limit = kvcli_option(cli, "--limit");
    bool keys_only = kvcli_option(cli, "--keys") != NULL, empty = false;
    uint64_t count_max = UINT64_MAX;
    kvp_scan *scan = NULL;
    kvp_slice start, end;
    kvp_buf memory = {0};
    kvp_result result = {0};
    if (limit != NULL && !kvcli_parse_number(limit, UINT64_MAX, &count_max)) {
        return kvcli_complain("scan: --limit: '%s' is not a number", limit);
    }
    kvp_status status =
        kvcli_take_range(cli, argc > 0 ? argv[0] : NULL, &memory, &start, &end, &empty);
    if (status == KVP_OK && !empty) {
        status = (kvcli_option(cli, "--reverse") != NULL ? kvp_scan_open_backwards : kvp_scan_open)(
            cli->client, start, end, keys_only, &scan, &result);
    }
    int code = status != KVP_OK ? kvcli_failed(status, &result)
               : empty          ? EXIT_DONE
                                : scan_print(cli, scan, keys_only, count_max);
    kvp_scan_close(scan);
    kvp_result_free(&result);
    kvp_buf_free(&memory);
    return code;
}
