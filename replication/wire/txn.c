/* SPDX-License-Identifier: Apache-2.0 */
/* Transactions: built up here, executed at once at the primary, results read here. */
#include "kvpair/kvp_lease.h"
#include "kvstore/base/decimal.h"
#include "replication/wire/asker.h"
#include "replication/wire/wire.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct txn_block {
    struct txn_block *next;
    uint8_t bytes[];
};

struct txn_result {
    kvp_status status;
    kvp_slice value;
    uint64_t version;
};

struct kvp_txn {
    struct kvp_asker asker;
    struct kvp_txn_scratch parts; /* ops: first the then-branch, from the middle the else-branch */
    uint32_t compare_count, then_count, else_count;
    struct txn_block *blocks; /* copies of keys and values */
    size_t size;
    kvp_status status; /* the first error of the building, which stays; else KVP_OK */
    kvp_buf error;     /* its reason, or the last commit's */
    kvp_buf answer;
    struct txn_result *results;
    size_t result_count;
};

kvp_txn *kvp_txn_start(const struct kvp_asker *asker)
{
    kvp_txn *txn = calloc(1, sizeof(*txn));
    if (txn != NULL) {
        txn->asker = *asker;
    }
    return txn;
}

static void txn_forget_results(kvp_txn *txn)
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
        struct txn_block *block = txn->blocks;
        txn->blocks = block->next;
        free(block);
    }
    txn_forget_results(txn);
    kvp_buf_free(&txn->error);
    free(txn);
}

/* ---- building ---- */

/* Keeps the first error. */
static void txn_fail(kvp_txn *txn, kvp_status status, const char *reason)
{
    if (txn->status == KVP_OK) {
        kvp_reason_set(&txn->error, kvp_slice_of(reason, strlen(reason)));
        txn->status = status;
    }
}

static void txn_check(kvp_txn *txn, kvp_slice key, kvp_slice value, uint32_t count)
{
    const char *reason;
    kvp_status status = kvp_key_check(key, &reason);
    status = status == KVP_OK ? kvp_value_check(value, &reason) : status;
    if (status != KVP_OK) {
        txn_fail(txn, status, reason);
    } else if (count == KVP_TXN_OPS_MAX) {
        txn_fail(txn, KVP_TOO_LARGE, "more than 1024 elements in a list");
    }
}

static kvp_slice txn_copy(kvp_txn *txn, kvp_slice bytes)
{
    struct txn_block *block = NULL;
    if (txn->status == KVP_OK) {
        txn->size += bytes.size;
        if (txn->size > KVP_TXN_SIZE_MAX) {
            txn_fail(txn, KVP_TOO_LARGE, "keys and values are more than 4 MiB together");
        } else if ((block = malloc(sizeof(*block) + bytes.size)) == NULL) {
            txn_fail(txn, KVP_NO_MEMORY, "");
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

static void txn_add_compare(kvp_txn *txn, unsigned kind, kvp_slice key, uint64_t version,
                            kvp_slice value)
{
    if (txn == NULL) {
        return;
    }
    txn_check(txn, key, value, txn->compare_count);
    struct kvp_compare compare = {
        .kind = (uint8_t)kind,
        .key = txn_copy(txn, key),
        .version = version,
        .value = txn_copy(txn, value),
    };
    if (txn->status == KVP_OK) {
        txn->parts.compares[txn->compare_count++] = compare;
    }
}

static void txn_add_held(kvp_txn *txn, kvp_branch branch, const struct kvp_txn_op *wanted)
{
    if (txn == NULL) {
        return;
    }
    const char *reason;
    kvp_slice key = wanted->key, value = wanted->value;
    uint32_t *count = branch == KVP_THEN ? &txn->then_count : &txn->else_count;
    struct kvp_txn_op *ops = txn->parts.ops + (branch == KVP_THEN ? 0 : KVP_TXN_OPS_MAX);

    if (branch != KVP_THEN && branch != KVP_ELSE) {
        txn_fail(txn, KVP_BAD_ARGUMENT, "an unknown branch");
    }
    txn_check(txn, key, value, *count);
    if (kvp_wire_check_hold(wanted->ttl_ms, wanted->lease, &reason) != KVP_OK) {
        txn_fail(txn, KVP_BAD_ARGUMENT, reason);
    }
    struct kvp_txn_op op = *wanted;
    op.key = txn_copy(txn, key);
    op.value = txn_copy(txn, value);
    if (txn->status == KVP_OK) {
        ops[(*count)++] = op;
    }
}

static void txn_add_op(kvp_txn *txn, kvp_branch branch, unsigned kind, kvp_slice key,
                       kvp_slice value)
{
    const struct kvp_txn_op op = {.kind = (uint8_t)kind, .key = key, .value = value};
    txn_add_held(txn, branch, &op);
}

static const kvp_slice txn_none = {NULL, 0};

void kvp_txn_if_absent(kvp_txn *txn, kvp_slice key)
{
    txn_add_compare(txn, KVP_COMPARE_ABSENT, key, 0, txn_none);
}

void kvp_txn_if_present(kvp_txn *txn, kvp_slice key)
{
    txn_add_compare(txn, KVP_COMPARE_PRESENT, key, 0, txn_none);
}

void kvp_txn_if_version(kvp_txn *txn, kvp_slice key, char relation, uint64_t version)
{
    switch (relation) {
    case '=':
        txn_add_compare(txn, KVP_COMPARE_VERSION_EQUAL, key, version, txn_none);
        break;
    case '<':
        txn_add_compare(txn, KVP_COMPARE_VERSION_LESS, key, version, txn_none);
        break;
    case '>':
        txn_add_compare(txn, KVP_COMPARE_VERSION_GREATER, key, version, txn_none);
        break;
    default:
        if (txn != NULL) {
            txn_fail(txn, KVP_BAD_ARGUMENT, "an unknown relation of versions");
        }
        break;
    }
}

void kvp_txn_if_value(kvp_txn *txn, kvp_slice key, bool equal, kvp_slice value)
{
    txn_add_compare(txn, equal ? KVP_COMPARE_VALUE_EQUAL : KVP_COMPARE_VALUE_DIFFERS, key, 0,
                    value);
}

void kvp_txn_get(kvp_txn *txn, kvp_branch branch, kvp_slice key)
{
    txn_add_op(txn, branch, KVP_TXN_GET, key, txn_none);
}

void kvp_txn_put(kvp_txn *txn, kvp_branch branch, kvp_slice key, kvp_slice value)
{
    txn_add_op(txn, branch, KVP_TXN_PUT, key, value);
}

void kvp_txn_put_held(kvp_txn *txn, kvp_branch branch, kvp_slice key, kvp_slice value,
                      uint64_t ttl_ms, uint64_t lease)
{
    const struct kvp_txn_op op = {
        .kind = KVP_TXN_PUT, .key = key, .value = value, .ttl_ms = ttl_ms, .lease = lease};
    txn_add_held(txn, branch, &op);
}

void kvp_txn_delete(kvp_txn *txn, kvp_branch branch, kvp_slice key)
{
    txn_add_op(txn, branch, KVP_TXN_DELETE, key, txn_none);
}

void kvp_txn_add(kvp_txn *txn, kvp_branch branch, kvp_slice key, int64_t number)
{
    char text[KVP_DECIMAL_SIZE];
    int size = snprintf(text, sizeof(text), "%" PRId64, number);
    txn_add_op(txn, branch, KVP_TXN_ADD, key, kvp_slice_of(text, (size_t)size));
}

/* ---- executing ---- */

/* The result of one operation of the branch taken. */
static kvp_status txn_read_result(struct kvp_txn_result *answer, struct txn_result *result)
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

static kvp_status txn_read_answer(kvp_txn *txn, bool *succeeded, uint64_t *revision)
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
        status = txn_read_result(&answer, &txn->results[i]);
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

/* The node has said that it is done, but the rest cannot be read: to call that a failure would be
 * wrong. */
static kvp_status txn_unread(kvp_txn *txn, kvp_status status)
{
    static const char no_memory[] = "the node says done, but there is no memory for the rest of it";
    static const char unread[] = "the node says done, but the rest of its answer cannot be read";
    kvp_reason_set(&txn->error, status == KVP_NO_MEMORY
                                    ? kvp_slice_of(no_memory, sizeof(no_memory) - 1)
                                    : kvp_slice_of(unread, sizeof(unread) - 1));
    return KVP_TIMEOUT_UNKNOWN;
}

kvp_status kvp_txn_commit(kvp_txn *txn, bool *succeeded, uint64_t *revision)
{
    bool branch = false;
    uint64_t at = 0;
    unsigned place = 0;
    if (txn == NULL) {
        return KVP_BAD_ARGUMENT;
    }
    txn_forget_results(txn);
    if (txn->status != KVP_OK) {
        return txn->status;
    }
    struct kvp_request request = {.op = KVP_OP_TXN,
                                  .compares = txn->parts.compares,
                                  .compare_count = txn->compare_count,
                                  .then_ops = txn->parts.ops,
                                  .then_count = txn->then_count,
                                  .else_ops = txn->parts.ops + KVP_TXN_OPS_MAX,
                                  .else_count = txn->else_count};
    kvp_buf_free(&txn->error);
    kvp_status status = txn->asker.ask(txn->asker.handle, &request, &place, &txn->answer);
    if (status == KVP_OK) {
        status = txn_read_answer(txn, &branch, &at);
        status = status == KVP_OK ? KVP_OK : txn_unread(txn, status);
    } else {
        txn->error = txn->answer;
        txn->answer = (kvp_buf){0};
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
    return txn == NULL ? "" : kvp_reason_text(&txn->error);
}

size_t kvp_txn_result_count(const kvp_txn *txn)
{
    return txn == NULL ? 0 : txn->result_count;
}

kvp_status kvp_txn_result(const kvp_txn *txn, size_t index, kvp_slice *value, uint64_t *version)
{
    if (txn == NULL || index >= txn->result_count) {
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
