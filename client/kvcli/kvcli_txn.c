/* SPDX-License-Identifier: Apache-2.0 */
/*
 * txn: a transaction in JSON.
 *
 *   {"if": [["KEY", "absent"], ["KEY", "present"], ["KEY", "version", "=" | "<" | ">", NUMBER],
 *           ["KEY", "value", "=" | "!=", "VALUE"]],
 *    "then": [["put", "KEY", "VALUE"], ["get", "KEY"], ["delete", "KEY"],
 *             ["add", "KEY", NUMBER]],
 *    "else": [...]}
 *
 * Instead of a string {"base64": "..."} stands for any bytes.
 */
#include "client/kvcli/kvcli.h"

#include <stdio.h>
#include <string.h>

#define JSON_SIZE_MAX   (16u * 1024u * 1024u)
#define EXACT_IN_DOUBLE 9007199254740992.0 /* 2^53: cJSON's numbers are exact up to there */

static bool is_word(const cJSON *array, int index, const char *word)
{
    const cJSON *item = cJSON_GetArrayItem(array, index);

    return cJSON_IsString(item) && strcmp(item->valuestring, word) == 0;
}

static bool take_version(const cJSON *item, uint64_t *version)
{
    double number = cJSON_IsNumber(item) ? item->valuedouble : -1;
    if (number < 0 || number > EXACT_IN_DOUBLE || number != (double)(uint64_t)number) {
        return false;
    }
    *version = (uint64_t)number;
    return true;
}

static bool add_version_compare(kvp_txn *txn, kvp_slice key, const cJSON *array)
{
    const cJSON *relation = cJSON_GetArrayItem(array, 2);
    uint64_t version = 0;

    if (!cJSON_IsString(relation) || strlen(relation->valuestring) != 1 ||
        strchr("=<>", relation->valuestring[0]) == NULL ||
        !take_version(cJSON_GetArrayItem(array, 3), &version)) {
        return false;
    }
    kvp_txn_if_version(txn, key, relation->valuestring[0], version);
    return true;
}

static bool add_value_compare(kvp_txn *txn, kvp_slice key, const cJSON *array)
{
    kvp_buf value = {0};
    bool equal = is_word(array, 2, "=");
    bool good = (equal || is_word(array, 2, "!=")) &&
                kvcli_bytes_of_json(cJSON_GetArrayItem(array, 3), &value);

    if (good) {
        kvp_txn_if_value(txn, key, equal, kvp_buf_slice(&value));
    }
    kvp_buf_free(&value);
    return good;
}

static bool add_compare(kvp_txn *txn, const cJSON *array)
{
    kvp_buf bytes = {0};
    int size = cJSON_GetArraySize(array);
    bool good = kvcli_bytes_of_json(cJSON_GetArrayItem(array, 0), &bytes);
    kvp_slice key = kvp_buf_slice(&bytes);
    if (good && size == 2 && is_word(array, 1, "absent")) {
        kvp_txn_if_absent(txn, key);
    } else if (good && size == 2 && is_word(array, 1, "present")) {
        kvp_txn_if_present(txn, key);
    } else if (good && size == 4 && is_word(array, 1, "version")) {
        good = add_version_compare(txn, key, array);
    } else {
        good =
            good && size == 4 && is_word(array, 1, "value") && add_value_compare(txn, key, array);
    }
    kvp_buf_free(&bytes);
    return good;
}

static bool txn_take_number(const cJSON *item, int64_t *number)
{
    double given = cJSON_IsNumber(item) ? item->valuedouble : EXACT_IN_DOUBLE * 2;
    if (given < -EXACT_IN_DOUBLE || given > EXACT_IN_DOUBLE || given != (double)(int64_t)given) {
        return false;
    }
    *number = (int64_t)given;
    return true;
}

static bool add_op(kvp_txn *txn, kvp_branch branch, const cJSON *array)
{
    int64_t number = 0;
    kvp_buf key = {0}, value = {0};
    int size = cJSON_GetArraySize(array);
    bool good = kvcli_bytes_of_json(cJSON_GetArrayItem(array, 1), &key);
    if (good && size == 3 && is_word(array, 0, "put")) {
        good = kvcli_bytes_of_json(cJSON_GetArrayItem(array, 2), &value);
        if (good) {
            kvp_txn_put(txn, branch, kvp_buf_slice(&key), kvp_buf_slice(&value));
        }
    } else if (good && size == 3 && is_word(array, 0, "add")) {
        good = txn_take_number(cJSON_GetArrayItem(array, 2), &number);
        if (good) {
            kvp_txn_add(txn, branch, kvp_buf_slice(&key), number);
        }
    } else if (good && size == 2 && is_word(array, 0, "get")) {
        kvp_txn_get(txn, branch, kvp_buf_slice(&key));
    } else if (good && size == 2 && is_word(array, 0, "delete")) {
        kvp_txn_delete(txn, branch, kvp_buf_slice(&key));
    } else {
        good = false;
    }
    kvp_buf_free(&key);
    kvp_buf_free(&value);
    return good;
}

static bool complain_part(const char *name, int index, const cJSON *item)
{
    char *text = cJSON_PrintUnformatted(item);
    (void)kvcli_complain("txn: '%s', item %d is not understood: %.200s", name, index,
                         text == NULL ? "" : text);
    cJSON_free(text);
    return false;
}

static bool build(kvp_txn *txn, const cJSON *root)
{
    const cJSON *part, *item;

    if (!cJSON_IsObject(root)) {
        (void)kvcli_complain("txn: an object {\"if\": [], \"then\": [], \"else\": []} is wanted");
        return false;
    }
    cJSON_ArrayForEach(part, root)
    {
        bool compares = strcmp(part->string, "if") == 0;
        bool then = strcmp(part->string, "then") == 0;
        int index = 0;
        if ((!compares && !then && strcmp(part->string, "else") != 0) || !cJSON_IsArray(part)) {
            (void)kvcli_complain("txn: '%s' is not one of the lists if, then, else", part->string);
            return false;
        }
        if (cJSON_GetObjectItemCaseSensitive(root, part->string) != part) {
            (void)kvcli_complain("txn: '%s' is there twice", part->string);
            return false;
        }
        cJSON_ArrayForEach(item, part)
        {
            index++;
            if (!cJSON_IsArray(item) ||
                !(compares ? add_compare(txn, item)
                           : add_op(txn, then ? KVP_THEN : KVP_ELSE, item))) {
                return complain_part(part->string, index, item);
            }
        }
    }
    return true;
}

/* One result: null for put, whether it was there for delete, an object for add, one or null for
 * get. */
static cJSON *json_result(const kvp_txn *txn, size_t index, const cJSON *op)
{
    kvp_slice value = {0};
    uint64_t version = 0;
    kvp_status status = kvp_txn_result(txn, index, &value, &version);
    if (is_word(op, 0, "delete")) {
        return cJSON_CreateBool(status == KVP_OK);
    }
    if (is_word(op, 0, "put") || status != KVP_OK) {
        return cJSON_CreateNull();
    }
    cJSON *object = cJSON_CreateObject();
    kvcli_json_add(&object, "value", kvcli_json_bytes(value));
    kvcli_json_add(&object, "version", kvcli_json_number(version));
    return object;
}

static int print_json_outcome(const kvp_txn *txn, const cJSON *ops, bool succeeded,
                              uint64_t revision)
{
    cJSON *object = cJSON_CreateObject();
    cJSON *results = cJSON_CreateArray();

    for (size_t i = 0; i < kvp_txn_result_count(txn); i++) {
        kvcli_json_add(&results, NULL, json_result(txn, i, cJSON_GetArrayItem(ops, (int)i)));
    }
    kvcli_json_add(&object, "results", results);
    kvcli_json_add(&object, "succeeded", cJSON_CreateBool(succeeded));
    kvcli_json_add(&object, "revision", kvcli_json_number(revision));
    return kvcli_print_json(object) ? EXIT_DONE : kvcli_failed_to_print(true);
}

static void print_outcome(const kvp_txn *txn, const cJSON *ops, bool succeeded)
{
    puts(succeeded ? "then" : "else");
    for (size_t i = 0; i < kvp_txn_result_count(txn); i++) {
        const cJSON *op = cJSON_GetArrayItem(ops, (int)i);
        kvp_slice value = {0};
        kvp_status status = kvp_txn_result(txn, i, &value, NULL);
        printf("%s\t", cJSON_GetArrayItem(op, 0)->valuestring);
        if (status != KVP_OK) {
            fputs("(not found)", stdout);
        } else if (is_word(op, 0, "get") || is_word(op, 0, "add")) {
            kvcli_print_escaped(value);
        } else {
            fputs("(done)", stdout);
        }
        putchar('\n');
    }
}

static int txn_execute(struct kvcli *cli, kvp_txn *txn, const cJSON *root)
{
    bool succeeded = false;
    uint64_t revision = 0;
    kvp_status status = kvp_txn_commit(txn, &succeeded, &revision);
    if (status != KVP_OK) {
        return kvcli_failed_because(status, kvp_txn_error(txn));
    }
    const cJSON *ops = cJSON_GetObjectItemCaseSensitive(root, succeeded ? "then" : "else");
    if (cli->json) {
        return print_json_outcome(txn, ops, succeeded, revision);
    }
    print_outcome(txn, ops, succeeded);
    return EXIT_DONE;
}

int kvcli_txn(struct kvcli *cli, int argc, char **argv)
{
    kvp_buf text = {0};
    const char *reason = "";
    size_t at = 0;
    int code = EXIT_USAGE;
    (void)argc;
    if (!kvcli_read_file(argv[0], JSON_SIZE_MAX, &text)) {
        kvp_buf_free(&text);
        return EXIT_USAGE;
    }
    cJSON *root = kvcli_parse_json(kvp_buf_slice(&text), &reason, &at);
    kvp_txn *txn = kvp_txn_new(cli->client);
    if (root == NULL) {
        (void)kvcli_complain("txn: near byte %zu: %s", at, reason);
    } else if (txn == NULL) {
        code = kvcli_failed(KVP_NO_MEMORY, NULL);
    } else if (build(txn, root)) {
        code = txn_execute(cli, txn, root);
    }
    kvp_txn_free(txn);
    cJSON_Delete(root);
    kvp_buf_free(&text);
    return code;
}
