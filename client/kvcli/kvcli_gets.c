/* SPDX-License-Identifier: Apache-2.0 */
/*
 * get of a key as it is; of several, which are read in one transaction: as they were at one point
 * in time. And get of a key as it was: the newest of its changes up to a revision, as the log tells
 * them.
 */
#include "client/kvcli/kvcli.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define PAST_LOOK_MS 1000u

/* ---- several ---- */

static bool gets_print(const struct kvcli *cli, kvp_slice key, kvp_slice value, uint64_t version)
{
    if (!cli->json) {
        kvcli_print_escaped(key);
        putchar('\t');
        kvcli_print_escaped(value);
        putchar('\n');
        return true;
    }
    cJSON *object = cJSON_CreateObject();
    kvcli_json_add(&object, "key", kvcli_json_bytes(key));
    kvcli_json_add(&object, "value", kvcli_json_bytes(value));
    kvcli_json_add(&object, "version", kvcli_json_number(version));
    return kvcli_print_json(object);
}

static int gets_print_all(const struct kvcli *cli, const kvp_txn *txn, char **argv)
{
    bool all = true;
    for (size_t i = 0; i < kvp_txn_result_count(txn); i++) {
        kvp_slice value = {0}, key = kvcli_slice(argv[i]);
        uint64_t version = 0;
        kvp_status status = kvp_txn_result(txn, i, &value, &version);
        if (status != KVP_OK) {
            (void)kvcli_complain("get: %s: no such key", argv[i]);
            all = false;
        } else if (!gets_print(cli, key, value, version)) {
            return kvcli_failed_to_print(false);
        }
    }
    return all ? EXIT_DONE : EXIT_NO;
}

static int gets_several(struct kvcli *cli, int argc, char **argv)
{
    kvp_txn *txn = kvp_txn_new(cli->client);
    for (int i = 0; i < argc && txn != NULL; i++) {
        kvp_txn_get(txn, KVP_THEN, kvcli_slice(argv[i]));
    }
    kvp_status status = txn == NULL ? KVP_NO_MEMORY : kvp_txn_commit(txn, NULL, NULL);
    int code = status == KVP_OK ? gets_print_all(cli, txn, argv)
                                : kvcli_failed_because(status, kvp_txn_error(txn));
    kvp_txn_free(txn);
    return code;
}

/* ---- the past ---- */

struct past {
    struct kvcli *cli;
    kvp_slice key;
    uint64_t revision; /* wanted */
    uint64_t oldest;   /* the log goes back so far */
    kvp_result found;  /* version 0: nothing was, up to here */
    bool changed;      /* the log tells of a change, if only that it was deleted */
};

/* What the key was after the event. */
static kvp_status past_note(struct past *past, const kvp_event *event)
{
    kvp_result *found = &past->found;
    past->changed = true;
    found->version = event->create_revision == 0 ? 0 : event->revision;
    found->create_revision = event->create_revision;
    found->value.size = 0;
    return kvp_buf_append(&found->value, event->value.data, event->value.size);
}

/* Reads the key's changes from the beginning of the log up to the revision. */
static kvp_status past_read(struct past *past, kvp_watch *watch)
{
    kvp_status status = KVP_OK;
    kvp_event event;
    while (status == KVP_OK && kvp_watch_revision(watch) <= past->revision &&
           !kvcli_interrupted()) {
        status = kvp_watch_next(watch, PAST_LOOK_MS, &event);
        if (status == KVP_COMPACTED) {
            past->oldest = kvp_watch_revision(watch);
            status = KVP_OK;
        } else if (status == KVP_TIMEOUT) { /* nothing, so far */
            status = KVP_OK;
        } else if (status == KVP_OK && event.revision > past->revision) {
            break;
        } else if (status == KVP_OK) {
            status = past_note(past, &event);
        }
    }
    return status == KVP_OK && kvcli_interrupted() ? KVP_TIMEOUT : status;
}

static int past_tell(struct past *past)
{
    kvp_result *found = &past->found;
    if (!past->changed && past->oldest > 1) {
        (void)kvcli_complain("get: the log goes back to revision %" PRIu64
                             " only, and does not tell what the key was at %" PRIu64,
                             past->oldest, past->revision);
        return EXIT_NO;
    }
    found->status = found->version == 0 ? KVP_NOT_FOUND : KVP_OK;
    return kvcli_got(past->cli, past->key, found, false);
}

static int past_search(struct past *past)
{
    kvp_watch *watch = NULL;
    kvp_result result;
    kvp_status status = kvp_watch_open_key(past->cli->client, past->key, 1, false, &watch, &result);
    if (status != KVP_OK) {
        int code = kvcli_failed(status, &result);
        kvp_result_free(&result);
        return code;
    }
    status = past_read(past, watch);
    int code =
        status == KVP_OK ? past_tell(past) : kvcli_failed_because(status, kvp_watch_error(watch));
    kvp_watch_close(watch);
    kvp_result_free(&result);
    kvp_result_free(&past->found);
    return code;
}

/* Of the newest update. */
static kvp_status group_revision(struct kvcli *cli, uint64_t *revision)
{
    kvp_txn *txn = kvp_txn_new(cli->client);
    kvp_status status = txn == NULL ? KVP_NO_MEMORY : kvp_txn_commit(txn, NULL, revision);
    kvp_txn_free(txn);
    return status;
}

static int gets_past(struct kvcli *cli, const char *argument, kvp_slice key)
{
    struct past past = {.cli = cli, .key = key};
    uint64_t newest = 0;
    kvp_result now;
    if (!kvcli_parse_number(argument, UINT64_MAX, &past.revision) || past.revision == 0) {
        return kvcli_complain("get: --revision: '%s' is not a revision", argument);
    }
    kvp_status status = group_revision(cli, &newest);
    if (status != KVP_OK) {
        return kvcli_failed(status, NULL);
    }
    if (past.revision > newest) {
        (void)kvcli_complain("get: the newest revision is %" PRIu64, newest);
        return EXIT_NO;
    }
    now.status = kvp_get(cli->client, key, &now);
    bool is_gone = now.status == KVP_NOT_FOUND;
    if (is_gone || (now.status == KVP_OK && now.version > past.revision)) {
        kvp_result_free(&now);
        return past_search(&past);
    }
    return kvcli_got(cli, key, &now, false);
}

int kvcli_get(struct kvcli *cli, int argc, char **argv)
{
    bool stale = kvcli_option(cli, "--stale") != NULL;
    const char *revision = kvcli_option(cli, "--revision");
    kvp_slice key = kvcli_slice(argv[0]);
    kvp_result result;
    if (argc > 1 && (stale || revision != NULL)) {
        return kvcli_complain("get: %s is for one key", stale ? "--stale" : "--revision");
    }
    if (revision != NULL && stale) {
        return kvcli_complain("get: --stale and --revision do not go together");
    }
    if (argc > 1) {
        return gets_several(cli, argc, argv);
    }
    if (revision != NULL) {
        return gets_past(cli, revision, key);
    }
    result.status =
        stale ? kvp_get_stale(cli->client, key, &result) : kvp_get(cli->client, key, &result);
    return kvcli_got(cli, key, &result, stale);
}
