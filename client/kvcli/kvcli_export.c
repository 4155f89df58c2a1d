/* SPDX-License-Identifier: Apache-2.0 */
/*
 * export and import: the keys of a group as lines of JSON, for other systems and for another group.
 *
 *   {"kvpair_export": 1, "prefix": "a/"}
 *   {"key": "a/1", "value": "text"}
 *   {"key": "a/2", "value": {"base64": "AAE="}}
 *   {"end": true, "keys": 2}
 *
 * The last line tells a file that was cut off from a whole one. Files of others, without the first
 * and the last line, are imported as well, and other members of a pair are looked past: `kvcli
 * --json scan` prints "version", and a version is the group's to give.
 *
 * What is imported goes in transactions of many keys. They are not one: an import that was
 * interrupted has put what comes first in the file, and does no harm when it is repeated.
 */
#include "client/kvcli/kvcli.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FORMAT_VERSION 1
/* A transaction's keys and values: few enough that others get their turn between two. */
#define KEYS_MAX       ((uint64_t)1 << 53) /* that a number in JSON tells exactly */
#define BATCH_KEYS_MAX 512u
#define BATCH_SIZE     (512u * 1024u)

/* ---- export ---- */

static bool print_header(kvp_slice prefix)
{
    cJSON *object = cJSON_CreateObject();

    kvcli_json_add(&object, "kvpair_export", kvcli_json_number(FORMAT_VERSION));
    kvcli_json_add(&object, "prefix", kvcli_json_bytes(prefix));
    return kvcli_print_json(object);
}

static bool export_print_pair(kvp_slice key, kvp_slice value)
{
    cJSON *object = cJSON_CreateObject();

    kvcli_json_add(&object, "key", kvcli_json_bytes(key));
    kvcli_json_add(&object, "value", kvcli_json_bytes(value));
    return kvcli_print_json(object);
}

static bool print_trailer(uint64_t keys)
{
    cJSON *object = cJSON_CreateObject();

    kvcli_json_add(&object, "end", cJSON_CreateTrue());
    kvcli_json_add(&object, "keys", kvcli_json_number(keys));
    return kvcli_print_json(object);
}

static int export_all(kvp_scan *scan, kvp_slice prefix)
{
    kvp_slice key, value;
    kvp_status status = KVP_OK;
    uint64_t keys = 0;
    bool printed = print_header(prefix);
    /* Who no longer reads must not keep the node holding a snapshot for the rest. */
    while (printed && !ferror(stdout)) {
        status = kvp_scan_next(scan, &key, &value, NULL);
        if (status != KVP_OK) {
            break;
        }
        printed = export_print_pair(key, value);
        keys++;
    }
    if (status == KVP_NOT_FOUND) {
        printed = print_trailer(keys);
    } else if (status != KVP_OK) {
        return kvcli_failed_because(status, kvp_scan_error(scan));
    }
    return printed ? EXIT_DONE : kvcli_failed_to_print(false);
}

int kvcli_export(struct kvcli *cli, int argc, char **argv)
{
    kvp_slice prefix = kvp_slice_of(argc > 0 ? argv[0] : "", argc > 0 ? strlen(argv[0]) : 0);
    kvp_scan *scan = NULL;
    kvp_result result;
    kvp_status status = kvp_scan_open_prefix(cli->client, prefix, false, &scan, &result);
    int code = status == KVP_OK ? export_all(scan, prefix) : kvcli_failed(status, &result);
    kvp_result_free(&result);
    kvp_scan_close(scan);
    return code;
}

/* ---- import ---- */

struct import {
    struct kvcli *cli;
    FILE *file;
    const char *name;
    double size; /* of the file; 0: not known */
    bool keep;   /* keys that are there stay as they are */
    bool headed, ended;
    uint64_t line, sent_line; /* read, and of those put */
    uint64_t keys, put, kept;
    struct pair {
        kvp_buf key, value;
    } pairs[BATCH_KEYS_MAX];
    size_t pair_count, pair_bytes;
};

static int import_complain(const struct import *import, const char *reason)
{
    return kvcli_complain("import: %s, line %" PRIu64
                          ": %s; of it and what follows nothing was put",
                          import->name, import->line, reason);
}

/* False: there is none, or it cannot be had (*code says so). */
static bool read_line(struct import *import, kvp_buf *line, int *code)
{
    kvp_status status = kvcli_read_line(import->file, line);
    if (status == KVP_NOT_FOUND && ferror(import->file)) {
        *code = kvcli_complain("import: %s: %s", import->name, strerror(errno));
    }
    if (status == KVP_NOT_FOUND) {
        return false;
    }
    import->line++;
    if (status == KVP_TOO_LARGE) {
        *code = import_complain(import, "longer than a key and a value can be");
    } else if (status != KVP_OK) {
        *code = kvcli_failed(status, NULL);
    }
    return status == KVP_OK;
}

/* One key alone, where it may be there already. */
static int create_one(struct import *import, const struct pair *pair)
{
    kvp_result result;
    kvp_status status = kvp_create(import->cli->client, kvp_buf_slice(&pair->key),
                                   kvp_buf_slice(&pair->value), &result);
    int code = EXIT_DONE;

    if (status == KVP_EXISTS) {
        import->kept++;
    } else if (status == KVP_OK) {
        import->put++;
    } else {
        code = kvcli_failed(status, &result);
    }
    kvp_result_free(&result);
    return code;
}

static int create_each(struct import *import)
{
    int code = EXIT_DONE;
    for (size_t i = 0; i < import->pair_count && code == EXIT_DONE; i++) {
        code = create_one(import, &import->pairs[i]);
    }
    return code;
}

static int commit(struct import *import, kvp_txn *txn)
{
    bool succeeded = false;
    for (size_t i = 0; i < import->pair_count; i++) {
        if (import->keep) {
            kvp_txn_if_absent(txn, kvp_buf_slice(&import->pairs[i].key));
        }
        kvp_txn_put(txn, KVP_THEN, kvp_buf_slice(&import->pairs[i].key),
                    kvp_buf_slice(&import->pairs[i].value));
    }
    kvp_status status = kvp_txn_commit(txn, &succeeded, NULL);
    if (status != KVP_OK) {
        return kvcli_failed_because(status, kvp_txn_error(txn));
    }
    if (!succeeded) { /* some of them are there */
        return create_each(import);
    }
    import->put += import->pair_count;
    return EXIT_DONE;
}

static void forget_pairs(struct import *import)
{
    for (size_t i = 0; i < BATCH_KEYS_MAX; i++) {
        kvp_buf_free(&import->pairs[i].key);
        kvp_buf_free(&import->pairs[i].value);
    }
    import->pair_count = import->pair_bytes = 0;
}

static void export_draw_progress(const struct import *import)
{
    char text[40];
    if (import->size > 0) {
        (void)snprintf(text, sizeof(text), "%" PRIu64 " keys", import->keys);
        kvcli_draw_bar("import", (double)ftello(import->file), import->size, text);
    }
}

/* What has been gathered. */
static int send_pairs(struct import *import)
{
    int code = EXIT_DONE;
    if (import->pair_count > 0) {
        kvp_txn *txn = kvp_txn_new(import->cli->client);
        code = txn == NULL ? kvcli_failed(KVP_NO_MEMORY, NULL) : commit(import, txn);
        kvp_txn_free(txn);
        forget_pairs(import);
        export_draw_progress(import);
    }
    if (code == EXIT_DONE) {
        import->sent_line = import->line;
    }
    return code;
}

static int import_take_pair(struct import *import, const cJSON *object)
{
    struct pair *pair = &import->pairs[import->pair_count];
    if (!kvcli_bytes_of_json(cJSON_GetObjectItemCaseSensitive(object, "key"), &pair->key) ||
        !kvcli_bytes_of_json(cJSON_GetObjectItemCaseSensitive(object, "value"), &pair->value)) {
        return import_complain(import,
                               "{\"key\": BYTES, \"value\": BYTES} is wanted, where BYTES is a "
                               "string or {\"base64\": \"...\"}");
    }
    if (pair->key.size == 0 || pair->key.size > KVP_KEY_SIZE_MAX ||
        pair->value.size > KVP_VALUE_SIZE_MAX) {
        return import_complain(import, "a key has 1 to 1024 bytes, a value at most 1 MiB");
    }
    import->keys++;
    import->pair_count++;
    import->pair_bytes += pair->key.size + pair->value.size;
    return import->pair_count == BATCH_KEYS_MAX || import->pair_bytes >= BATCH_SIZE
               ? send_pairs(import)
               : EXIT_DONE;
}

static int take_header(struct import *import, const cJSON *version)
{
    if (import->line != 1) {
        return import_complain(import, "the first line of an export, in the middle");
    }
    if (!cJSON_IsNumber(version) || version->valuedouble != FORMAT_VERSION) {
        return import_complain(import, "an export of another version: a later kvcli reads it");
    }
    import->headed = true;
    return EXIT_DONE;
}

static int take_trailer(struct import *import, const cJSON *object)
{
    if (kvcli_json_integer(object, "keys", KEYS_MAX) != import->keys) {
        return import_complain(import,
                               "the number of keys in the file is another one: some are missing");
    }
    import->ended = true;
    return EXIT_DONE;
}

static int take_object(struct import *import, const cJSON *object)
{
    const cJSON *version = cJSON_GetObjectItemCaseSensitive(object, "kvpair_export");

    if (import->ended) {
        return import_complain(import, "something follows the end of the export");
    }
    if (version != NULL) {
        return take_header(import, version);
    }
    if (cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(object, "end"))) {
        return take_trailer(import, object);
    }
    return import_take_pair(import, object);
}

static int import_take_line(struct import *import, kvp_slice line)
{
    const char *reason = "";
    size_t at = 0;
    if (line.size == 0 || strspn(line.data, " \t\r") >= line.size) {
        return EXIT_DONE;
    }
    cJSON *object = kvcli_parse_json(line, &reason, &at);
    int code = object == NULL ? import_complain(import, reason) : take_object(import, object);
    cJSON_Delete(object);
    return code;
}

static int take_all(struct import *import)
{
    kvp_buf line = {0};
    int code = EXIT_DONE;
    while (code == EXIT_DONE && read_line(import, &line, &code)) {
        /* A zero byte behind it: what looks for the end of white space may look there. */
        code = kvp_buf_append(&line, "", 1) != KVP_OK
                   ? kvcli_failed(KVP_NO_MEMORY, NULL)
                   : import_take_line(import, kvp_slice_of(line.data, line.size - 1));
    }
    kvp_buf_free(&line);
    if (code == EXIT_DONE && import->headed && !import->ended) {
        code = kvcli_complain("import: %s: the export was cut off: its last line is missing",
                              import->name);
    }
    return code;
}

static int say_outcome(const struct import *import, int code)
{
    kvcli_clear_bar();
    if (import->cli->json) {
        cJSON *object = cJSON_CreateObject();
        kvcli_json_add(&object, "put", kvcli_json_number(import->put));
        kvcli_json_add(&object, "kept", kvcli_json_number(import->kept));
        kvcli_json_add(&object, "lines", kvcli_json_number(import->sent_line));
        return !kvcli_print_json(object) ? kvcli_failed_to_print(true) : code;
    }
    fprintf(stderr, "%" PRIu64 " keys put", import->put);
    if (import->keep) {
        fprintf(stderr, ", %" PRIu64 " were there and are kept", import->kept);
    }
    if (code != EXIT_DONE) {
        fprintf(stderr, ": those of the first %" PRIu64 " lines; it can be repeated",
                import->sent_line);
    }
    fputc('\n', stderr);
    return code;
}

static int import_file(struct import *import)
{
    int fd = import->file == kvcli_input() ? STDIN_FILENO : fileno(import->file);
    struct stat about;
    if (fstat(fd, &about) == 0 && S_ISREG(about.st_mode)) {
        import->size = (double)about.st_size;
    }
    int code = take_all(import);
    if (code == EXIT_USAGE) {
        import->line--; /* the one that is wrong */
    }
    if (code == EXIT_DONE || code == EXIT_USAGE) { /* else the group has said why it is no use */
        int sent = send_pairs(import);
        code = code == EXIT_DONE ? sent : code;
    }
    forget_pairs(import);
    return say_outcome(import, code);
}

int kvcli_import(struct kvcli *cli, int argc, char **argv)
{
    bool standard = argc == 0 || strcmp(argv[0], "-") == 0;
    struct import *import = calloc(1, sizeof(*import));
    if (import == NULL) {
        return kvcli_failed(KVP_NO_MEMORY, NULL);
    }
    import->cli = cli;
    import->keep = kvcli_option(cli, "--keep") != NULL;
    import->name = standard ? "standard input" : argv[0];
    import->file = standard ? kvcli_input() : fopen(argv[0], "rb");
    int code = import->file == NULL ? kvcli_complain("%s: %s", argv[0], strerror(errno))
                                    : import_file(import);
    if (import->file != NULL && !standard) {
        fclose(import->file);
    }
    if (standard) {
        clearerr(import->file); /* at the prompt there is more to come */
    }
    free(import);
    return code;
}
