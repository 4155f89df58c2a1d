/* SPDX-License-Identifier: Apache-2.0 */
/* Transactions: built up here, executed at once at the primary, results read here. */
#include "client/client_priv.h"

#include <stdlib.h>
#include <string.h>

struct block {
    struct block *next;
    uint8_t bytes[];
};

struct txn_result {
    kvp_status status;
    kvp_slice value;
    uint64_t version;
};

struct kvp_txn {
    kvp_client *client;
    struct kvp_txn_scratch parts; /* ops: first the then-branch, from the middle the else-branch */
    uint32_t compare_count, then_count, else_count;
    struct block *blocks; /* copies of keys and values */
    size_t size;
    kvp_result error; /* the first of the building, which stays, or the last commit's */
    bool malformed;   /* it is one of the building */
    kvp_buf answer;
    struct txn_result *results;
    size_t result_count;
};

kvp_txn *kvp_txn_new(kvp_client *client)
{
    kvp_txn *txn = calloc(1, sizeof(*txn));

    if (txn != NULL) {
        txn->client = client;
    }
    return txn;
}

static void forget_results(kvp_txn *txn)
{
    free(txn->results);
    txn->results = NULL;
    txn->result_count = 0;
    kvp_buf_free(&txn->answer);
}

void kvp_txn_free(kvp_txn *txn)
{
    if (txn == NULL) {
        return;
    }
    while (txn->blocks != NULL) {
        struct block *block = txn->blocks;
        txn->blocks = block->next;
        free(block);
    }
    forget_results(txn);
    kvp_result_free(&txn->error);
    free(txn);
}

/* ---- building ---- */

/* Keeps the first error. */
static void fail(kvp_txn *txn, kvp_status status, const char *reason)
{
    if (!txn->malformed) {
        kvp_result_free(&txn->error);
        (void)client_refuse(&txn->error, status, reason);
        txn->malformed = true;
    }
}

static void check(kvp_txn *txn, kvp_slice key, kvp_slice value, uint32_t count)
{
    kvp_result error = {0};

    if (client_check_key(key, &error) != KVP_OK || client_check_value(value, &error) != KVP_OK) {
        fail(txn, error.status, client_reason(&error));
        kvp_result_free(&error);
    } else if (count == KVP_TXN_OPS_MAX) {
        fail(txn, KVP_TOO_LARGE, "more than 1024 elements in a list");
    }
}

static kvp_slice copy(kvp_txn *txn, kvp_slice bytes)
{
    struct block *block = NULL;

    if (!txn->malformed) {
        txn->size += bytes.size;
        if (txn->size > KVP_TXN_SIZE_MAX) {
            fail(txn, KVP_TOO_LARGE, "keys and values are more than 4 MiB together");
        } else if ((block = malloc(sizeof(*block) + bytes.size)) == NULL) {
            fail(txn, KVP_NO_MEMORY, "");
        }
    }
    if (block == NULL) {
        return kvp_slice_of(NULL, 0);
    }
    if (bytes.size > 0) {
        memcpy(block->bytes, bytes.data, bytes.size);
    }
    block->next = txn->blocks;
    txn->blocks = block;
    return kvp_slice_of(block->bytes, bytes.size);
}

static void add_compare(kvp_txn *txn, unsigned kind, kvp_slice key, uint64_t version,
                        kvp_slice value)
{
    check(txn, key, value, txn->compare_count);
    struct kvp_compare compare = {
        .kind = (uint8_t)kind,
        .key = copy(txn, key),
        .version = version,
        .value = copy(txn, value),
    };
    if (!txn->malformed) {
        txn->parts.compares[txn->compare_count++] = compare;
    }
}

static void add_op(kvp_txn *txn, kvp_branch branch, unsigned kind, kvp_slice key, kvp_slice value)
{
    uint32_t *count = branch == KVP_THEN ? &txn->then_count : &txn->else_count;
    struct kvp_txn_op *ops = txn->parts.ops + (branch == KVP_THEN ? 0 : KVP_TXN_OPS_MAX);

    if (branch != KVP_THEN && branch != KVP_ELSE) {
        fail(txn, KVP_BAD_ARGUMENT, "an unknown branch");
    }
    check(txn, key, value, *count);
    struct kvp_txn_op op = {
        .kind = (uint8_t)kind,
        .key = copy(txn, key),
        .value = copy(txn, value),
    };
    if (!txn->malformed) {
        ops[(*count)++] = op;
    }
}

static const kvp_slice none = {NULL, 0};

void kvp_txn_if_absent(kvp_txn *txn, kvp_slice key)
{
    add_compare(txn, KVP_COMPARE_ABSENT, key, 0, none);
}

void kvp_txn_if_present(kvp_txn *txn, kvp_slice key)
{
    add_compare(txn, KVP_COMPARE_PRESENT, key, 0, none);
}

void kvp_txn_if_version(kvp_txn *txn, kvp_slice key, char relation, uint64_t version)
{
    switch (relation) {
    case '=':
        add_compare(txn, KVP_COMPARE_VERSION_EQUAL, key, version, none);
        break;
    case '<':
        add_compare(txn, KVP_COMPARE_VERSION_LESS, key, version, none);
        break;
    case '>':
        add_compare(txn, KVP_COMPARE_VERSION_GREATER, key, version, none);
        break;
    default:
        fail(txn, KVP_BAD_ARGUMENT, "an unknown relation of versions");
        break;
    }
}

void kvp_txn_if_value(kvp_txn *txn, kvp_slice key, bool equal, kvp_slice value)
{
    add_compare(txn, equal ? KVP_COMPARE_VALUE_EQUAL : KVP_COMPARE_VALUE_DIFFERS, key, 0, value);
}

void kvp_txn_get(kvp_txn *txn, kvp_branch branch, kvp_slice key)
{
    add_op(txn, branch, KVP_TXN_GET, key, none);
}

void kvp_txn_put(kvp_txn *txn, kvp_branch branch, kvp_slice key, kvp_slice value)
{
    add_op(txn, branch, KVP_TXN_PUT, key, value);
}

void kvp_txn_delete(kvp_txn *txn, kvp_branch branch, kvp_slice key)
{
    add_op(txn, branch, KVP_TXN_DELETE, key, none);
}

/* ---- executing ---- */

/* The result of one operation of the branch taken. */
static kvp_status read_result(struct kvp_txn_result *answer, struct txn_result *result)
{
    enum kvp_txn_result_kind kind;
    struct kvp_get_result get = {0};
    bool flag = false;
    kvp_status status = kvp_wire_txn_next(answer, &kind, &get, &flag);

    if (status != KVP_OK) {
        return KVP_CORRUPT;
    }
    result->status = KVP_OK;
    if (kind == KVP_TXN_RESULT_GET) {
        result->value = get.value;
        result->version = get.modify;
    } else if (kind == KVP_TXN_RESULT_BOOL && !flag) {
        result->status = KVP_NOT_FOUND;
    }
    return KVP_OK;
}

static kvp_status read_answer(kvp_txn *txn, bool *succeeded, uint64_t *revision)
{
    struct kvp_txn_result answer;
    kvp_status status = kvp_wire_read_txn(kvp_buf_slice(&txn->answer), &answer);

    if (status != KVP_OK) {
        return status;
    }
    uint32_t expected = answer.succeeded ? txn->then_count : txn->else_count;
    const struct kvp_txn_op *ops = txn->parts.ops + (answer.succeeded ? 0 : KVP_TXN_OPS_MAX);
    txn->results = calloc((size_t)expected + 1, sizeof(txn->results[0]));
    if (txn->results == NULL) {
        return KVP_NO_MEMORY;
    }
    if (answer.count != expected) {
        return KVP_CORRUPT;
    }
    for (uint32_t i = 0; i < expected; i++) {
        status = read_result(&answer, &txn->results[i]);
        if (status != KVP_OK) {
            return status;
        }
        if (ops[i].kind == KVP_TXN_GET && txn->results[i].version == 0) {
            txn->results[i].status = KVP_NOT_FOUND;
        }
    }
    txn->result_count = expected;
    *succeeded = answer.succeeded;
    *revision = answer.revision;
    return KVP_OK;
}

kvp_status kvp_txn_commit(kvp_txn *txn, bool *succeeded, uint64_t *revision)
{
    struct call call = {
        .core = {.request = {.op = KVP_OP_TXN,
                             .compares = txn->parts.compares,
                             .compare_count = txn->compare_count,
                             .then_ops = txn->parts.ops,
                             .then_count = txn->then_count,
                             .else_ops = txn->parts.ops + KVP_TXN_OPS_MAX,
                             .else_count = txn->else_count},
                 .update = true},
    };
    bool branch = false;
    uint64_t at = 0;

    forget_results(txn);
    if (txn->malformed) {
        return txn->error.status;
    }
    kvp_result_free(&txn->error);
    kvp_status status = client_perform(txn->client, &call, 0);
    if (status == KVP_OK) {
        txn->answer = call.result.value;
        status = read_answer(txn, &branch, &at);
        if (status != KVP_OK) {
            status = client_unread(&txn->error, status);
        }
    } else {
        txn->error = call.result;
    }
    if (status == KVP_OK && succeeded != NULL) {
        *succeeded = branch;
    }
    if (status == KVP_OK && revision != NULL) {
        *revision = at;
    }
    return status;
}

const char *kvp_txn_error(const kvp_txn *txn)
{
    return client_reason(&txn->error);
}

size_t kvp_txn_result_count(const kvp_txn *txn)
{
    return txn->result_count;
}

kvp_status kvp_txn_result(const kvp_txn *txn, size_t index, kvp_slice *value, uint64_t *version)
{
    if (index >= txn->result_count) {
        return KVP_BAD_ARGUMENT;
    }
    const struct txn_result *result = &txn->results[index];
    if (value != NULL) {
        *value = result->value;
    }
    if (version != NULL) {
        *version = result->version;
    }
    return result->status;
}
