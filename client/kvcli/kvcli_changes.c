/* SPDX-License-Identifier: Apache-2.0 */
/* Changes of another kind than putting a value: incr, rename, delete of a key and of many. */
#include "client/kvcli/kvcli.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* A transaction's keys: few enough that others get their turn between two. */
#define BATCH_KEYS_MAX 512u
/* Somebody else changes the key again and again. */
#define RENAME_TRIES 16u

/* ---- incr ---- */

static bool changes_read_number(const char *text, int64_t *number)
{
    bool negative = text[0] == '-';
    uint64_t size = 0;
    if (!kvcli_parse_number(text + negative, (uint64_t)INT64_MAX + negative, &size)) {
        return false;
    }
    *number = negative ? (int64_t)(0 - size) : (int64_t)size;
    return true;
}

static int changes_print_number(const struct kvcli *cli, kvp_slice value, uint64_t version)
{
    if (!cli->json) {
        printf("%.*s\n", (int)value.size, (const char *)value.data);
        return EXIT_DONE;
    }
    cJSON *object = cJSON_CreateObject();
    kvcli_json_add(&object, "value", kvcli_json_bytes(value));
    kvcli_json_add(&object, "version", kvcli_json_number(version));
    return kvcli_print_json(object) ? EXIT_DONE : kvcli_failed_to_print(true);
}

int kvcli_incr(struct kvcli *cli, int argc, char **argv)
{
    const char *by = kvcli_option(cli, "--by");
    int64_t number = 1;
    kvp_slice value = {0};
    uint64_t version = 0;
    (void)argc;
    if (by != NULL && !changes_read_number(by, &number)) {
        return kvcli_complain("incr: --by: '%s' is not a whole number of 64 bits", by);
    }
    kvp_txn *txn = kvp_txn_new(cli->client);
    kvp_txn_add(txn, KVP_THEN, kvcli_slice(argv[0]), number);
    kvp_status status = txn == NULL ? KVP_NO_MEMORY : kvp_txn_commit(txn, NULL, NULL);
    status = status == KVP_OK ? kvp_txn_result(txn, 0, &value, &version) : status;
    int code = EXIT_NO;
    if (status == KVP_OK) {
        code = changes_print_number(cli, value, version);
    } else if (status == KVP_OVERFLOW || status == KVP_BAD_REQUEST) { /* of what is there */
        (void)kvcli_complain("incr: %s", kvp_txn_error(txn));
    } else {
        code = kvcli_failed_because(status, kvp_txn_error(txn));
    }
    kvp_txn_free(txn);
    return code;
}

/* ---- rename ---- */

/* *moved false: somebody has changed one of the keys meanwhile. */
static kvp_status rename_as_seen(struct kvcli *cli, kvp_slice from, kvp_slice to, bool replace,
                                 const kvp_result *seen, bool *moved, kvp_result *done)
{
    kvp_txn *txn = kvp_txn_new(cli->client);
    kvp_txn_if_version(txn, from, '=', seen->version);
    if (!replace) {
        kvp_txn_if_absent(txn, to);
    }
    kvp_txn_put(txn, KVP_THEN, to, kvp_buf_slice(&seen->value));
    kvp_txn_delete(txn, KVP_THEN, from);
    kvp_txn_get(txn, KVP_ELSE, to);
    kvp_status status = txn == NULL ? KVP_NO_MEMORY : kvp_txn_commit(txn, moved, &done->version);
    if (status != KVP_OK) {
        kvp_slice reason = kvcli_slice(kvp_txn_error(txn));
        (void)kvp_buf_append(&done->value, reason.data, reason.size);
    } else if (!*moved && !replace && kvp_txn_result(txn, 0, NULL, &done->version) == KVP_OK) {
        status = KVP_EXISTS;
    }
    kvp_txn_free(txn);
    return status;
}

int kvcli_rename(struct kvcli *cli, int argc, char **argv)
{
    kvp_slice from = kvcli_slice(argv[0]), to = kvcli_slice(argv[1]);
    bool replace = kvcli_option(cli, "--replace") != NULL, moved = false;
    kvp_result done = {0};
    (void)argc;
    if (kvp_slice_compare(from, to) == 0) {
        return kvcli_complain("rename: both are the same key");
    }
    kvp_status status = KVP_OK;
    for (unsigned i = 0; i < RENAME_TRIES && status == KVP_OK && !moved; i++) {
        kvp_result seen;
        status = kvp_get(cli->client, from, &seen);
        if (status == KVP_OK) {
            status = rename_as_seen(cli, from, to, replace, &seen, &moved, &done);
            kvp_result_free(&seen);
        } else {
            done = seen;
        }
    }
    if (status == KVP_OK && !moved) {
        status = KVP_BUSY;
    }
    done.status = status;
    return kvcli_updated(cli, &done);
}

/* ---- delete ---- */

struct sweep {
    struct kvcli *cli;
    kvp_txn *txn;
    uint64_t pending, deleted;
};

/* In batches, each of them at once. A key that is put again meanwhile may go with them. */
static kvp_status sweep_send(struct sweep *sweep, kvp_buf *reason)
{
    kvp_status status = kvp_txn_commit(sweep->txn, NULL, NULL);
    if (status != KVP_OK) {
        kvp_slice text = kvcli_slice(kvp_txn_error(sweep->txn));
        (void)kvp_buf_append(reason, text.data, text.size);
    }
    for (size_t i = 0; i < kvp_txn_result_count(sweep->txn) && status == KVP_OK; i++) {
        sweep->deleted += kvp_txn_result(sweep->txn, i, NULL, NULL) == KVP_OK;
    }
    kvp_txn_free(sweep->txn);
    sweep->txn = NULL;
    sweep->pending = 0;
    return status;
}

static kvp_status sweep_key(struct sweep *sweep, kvp_slice key, kvp_buf *reason)
{
    sweep->txn = sweep->txn == NULL ? kvp_txn_new(sweep->cli->client) : sweep->txn;
    if (sweep->txn == NULL) {
        return KVP_NO_MEMORY;
    }
    kvp_txn_delete(sweep->txn, KVP_THEN, key);
    return ++sweep->pending == BATCH_KEYS_MAX ? sweep_send(sweep, reason) : KVP_OK;
}

static kvp_status sweep_all(struct sweep *sweep, kvp_scan *scan, kvp_buf *reason)
{
    kvp_status status = KVP_OK;
    while (status == KVP_OK && !kvcli_interrupted()) {
        kvp_slice key, value;
        status = kvp_scan_next(scan, &key, &value, NULL);
        if (status == KVP_OK) {
            status = sweep_key(sweep, key, reason);
        } else if (status != KVP_NOT_FOUND) {
            kvp_slice text = kvcli_slice(kvp_scan_error(scan));
            (void)kvp_buf_append(reason, text.data, text.size);
        }
    }
    if ((status == KVP_NOT_FOUND || status == KVP_OK) && sweep->pending > 0) {
        kvp_status sent = sweep_send(sweep, reason);
        status = sent != KVP_OK ? sent : status;
    }
    kvp_txn_free(sweep->txn);
    return status == KVP_NOT_FOUND ? KVP_OK : status;
}

static int sweep_tell(const struct sweep *sweep, kvp_status status, kvp_buf *reason)
{
    if (status != KVP_OK) {
        (void)kvp_buf_append(reason, "", 1);
        int code = kvcli_failed_because(status, (const char *)reason->data);
        (void)kvcli_complain("delete: %" PRIu64 " keys are gone; again, it takes the rest",
                             sweep->deleted);
        return code;
    }
    if (sweep->cli->json) {
        cJSON *object = cJSON_CreateObject();
        kvcli_json_add(&object, "deleted", kvcli_json_number(sweep->deleted));
        return kvcli_print_json(object) ? EXIT_DONE : kvcli_failed_to_print(true);
    }
    printf("%" PRIu64 "\n", sweep->deleted);
    return EXIT_DONE;
}

static int sweep_range(struct kvcli *cli, kvp_slice start, kvp_slice end, bool empty)
{
    struct sweep sweep = {.cli = cli};
    kvp_scan *scan = NULL;
    kvp_buf reason = {0};
    kvp_result result = {0};
    kvp_status status =
        empty ? KVP_OK : kvp_scan_open(cli->client, start, end, true, &scan, &result);
    int code = EXIT_DONE;
    if (status == KVP_OK) {
        status = empty ? KVP_OK : sweep_all(&sweep, scan, &reason);
        code = sweep_tell(&sweep, status, &reason);
    } else {
        code = kvcli_failed(status, &result);
    }
    kvp_scan_close(scan);
    kvp_result_free(&result);
    kvp_buf_free(&reason);
    return code;
}

static int changes_delete_range(struct kvcli *cli)
{
    const char *prefix = kvcli_option(cli, "--prefix");
    bool bounded = (prefix != NULL && prefix[0] != '\0') || kvcli_option(cli, "--from") != NULL ||
                   kvcli_option(cli, "--to") != NULL;
    kvp_buf memory = {0};
    kvp_slice start, end;
    bool empty = false;
    if (!bounded && kvcli_option(cli, "--all") == NULL) {
        return kvcli_complain(
            "delete: an empty prefix is that of every key: --all, if it is meant");
    }
    kvp_status status = kvcli_take_range(cli, prefix, &memory, &start, &end, &empty);
    int code = status != KVP_OK ? kvcli_failed(status, NULL) : sweep_range(cli, start, end, empty);
    kvp_buf_free(&memory);
    return code;
}

int kvcli_delete(struct kvcli *cli, int argc, char **argv)
{
    uint64_t version = 0;
    kvp_result result;
    bool range = kvcli_option(cli, "--prefix") != NULL || kvcli_option(cli, "--from") != NULL ||
                 kvcli_option(cli, "--to") != NULL || kvcli_option(cli, "--all") != NULL;
    if (range == (argc > 0)) {
        return kvcli_complain("delete: a KEY is wanted, or one of --prefix, --from, --to, --all");
    }
    if (range) {
        return changes_delete_range(cli);
    }
    if (argc == 2 && (!kvcli_parse_number(argv[1], UINT64_MAX, &version) || version == 0)) {
        return kvcli_complain("delete: '%s' is not a version", argv[1]);
    }
    result.status = kvp_delete(cli->client, kvcli_slice(argv[0]), version, &result);
    return kvcli_updated(cli, &result);
}
