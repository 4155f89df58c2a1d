/* SPDX-License-Identifier: Apache-2.0 */
/* Transactions: compares on the state as it is now, then one of two lists of operations. */
#include "replication/engine/engine_state.h"

#include "kvstore/base/decimal.h"
#include "replication/wire/wire.h"

static size_t bytes_of_ops(const struct kvp_txn_op *ops, uint32_t count)
{
    size_t size = 0;
    for (uint32_t i = 0; i < count; i++) {
        size += ops[i].key.size + ops[i].value.size;
    }
    return size;
}

static kvp_status check_ops(const struct kvp_txn_op *ops, uint32_t count, const char **reason)
{
    kvp_status status = KVP_OK;
    for (uint32_t i = 0; i < count && status == KVP_OK; i++) {
        status = engine_check_key(ops[i].key, reason);
        if (status == KVP_OK) {
            status = engine_check_value(ops[i].value, reason);
        }
        if (status == KVP_OK && ops[i].kind > KVP_TXN_ADD) {
            *reason = "unknown kind of operation in a transaction";
            status = KVP_BAD_REQUEST;
        }
        if (status == KVP_OK) {
            status = kvp_wire_check_hold(ops[i].ttl_ms, ops[i].lease, reason);
        }
    }
    return status;
}

kvp_status engine_txn_check(const struct kvp_request *request, const char **reason)
{
    size_t size = bytes_of_ops(request->then_ops, request->then_count) +
                  bytes_of_ops(request->else_ops, request->else_count);
    *reason = "more than 1024 compares or operations in a transaction";
    if (request->compare_count > KVP_TXN_OPS_MAX || request->then_count > KVP_TXN_OPS_MAX ||
        request->else_count > KVP_TXN_OPS_MAX) {
        return KVP_TOO_LARGE;
    }
    for (uint32_t i = 0; i < request->compare_count; i++) {
        const struct kvp_compare *compare = &request->compares[i];
        kvp_status status = engine_check_key(compare->key, reason);
        if (status == KVP_OK) {
            status = engine_check_value(compare->value, reason);
        }
        if (status != KVP_OK) {
            return status;
        }
        if (compare->kind > KVP_COMPARE_VALUE_DIFFERS) {
            *reason = "unknown kind of compare in a transaction";
            return KVP_BAD_REQUEST;
        }
        size += compare->key.size + compare->value.size;
    }
    if (size > KVP_TXN_SIZE_MAX) {
        *reason = "a transaction of more than 4 MiB";
        return KVP_TOO_LARGE;
    }
    kvp_status status = check_ops(request->then_ops, request->then_count, reason);
    return status == KVP_OK ? check_ops(request->else_ops, request->else_count, reason) : status;
}

static bool compare_holds(const struct kvp_compare *compare, const struct engine_value *value)
{
    bool equal = value->present && kvp_slice_compare(value->value, compare->value) == 0;
    switch (compare->kind) {
    case KVP_COMPARE_ABSENT:
        return !value->present;
    case KVP_COMPARE_PRESENT:
        return value->present;
    case KVP_COMPARE_VERSION_EQUAL:
        return value->modify_revision == compare->version;
    case KVP_COMPARE_VERSION_LESS:
        return value->modify_revision < compare->version;
    case KVP_COMPARE_VERSION_GREATER:
        return value->modify_revision > compare->version;
    case KVP_COMPARE_VALUE_EQUAL:
        return equal;
    default:
        return !equal;
    }
}

/* What is left of KVP_TXN_READ_MAX. */
struct txn_budget {
    size_t left;
};

/* KVP_TOO_LARGE: what is there is more than may still be read. */
static kvp_status txn_look(struct kvp_engine *engine, kvp_slice key, struct engine_value *value,
                           struct txn_budget *budget)
{
    kvp_status status = engine_look(engine, key, value);
    size_t size = key.size + (status == KVP_OK ? value->value.size : 0);
    if (status == KVP_OK && size > budget->left) {
        return KVP_TOO_LARGE;
    }
    budget->left -= status == KVP_OK ? size : 0;
    return status;
}

static kvp_status all_hold(struct kvp_engine *engine, const struct kvp_request *request,
                           struct txn_budget *budget, bool *result)
{
    *result = true;
    for (uint32_t i = 0; i < request->compare_count && *result; i++) {
        struct engine_value value;
        kvp_status status = txn_look(engine, request->compares[i].key, &value, budget);
        if (status != KVP_OK) {
            return status;
        }
        *result = compare_holds(&request->compares[i], &value);
    }
    return KVP_OK;
}

/* The new number is what the entry has, so that who applies it need not compute. A time to live
 * goes on. */
static kvp_status run_add(struct kvp_engine *engine, const struct kvp_txn_op *op, uint64_t seq,
                          const struct engine_value *present, kvp_buf *answer)
{
    char text[KVP_DECIMAL_SIZE];
    kvp_slice sum;
    kvp_status status = kvp_decimal_add(present->present ? present->value : kvp_slice_of("0", 1),
                                        op->value, text, &sum);
    if (status == KVP_OK) {
        status = engine_put(engine, op->key, sum, seq, present,
                            (struct engine_hold){present->lease, present->slot});
    }
    struct kvp_get_result get = {
        .modify = seq, .create = present->present ? present->create_revision : seq, .value = sum};
    return status == KVP_OK ? kvp_wire_txn_get(answer, &get) : status;
}

static kvp_status run_op(struct kvp_engine *engine, const struct kvp_txn_op *op, uint64_t seq,
                         struct txn_budget *budget, kvp_buf *answer)
{
    struct engine_value present;
    kvp_status status = txn_look(engine, op->key, &present, budget);
    if (status != KVP_OK) {
        return status;
    }
    if (op->kind == KVP_TXN_GET) {
        struct kvp_get_result get = {.modify = present.modify_revision,
                                     .create = present.create_revision,
                                     .value = present.value};
        return kvp_wire_txn_get(answer, present.present ? &get : NULL);
    }
    if (op->kind == KVP_TXN_PUT) {
        status = engine_put_wish(engine, op->key, op->value,
                                 (struct engine_wish){op->ttl_ms, op->lease}, seq, &present);
        return status == KVP_OK ? kvp_wire_txn_put(answer) : status;
    }
    if (op->kind == KVP_TXN_ADD) {
        return run_add(engine, op, seq, &present, answer);
    }
    if (present.lease != 0) {
        status = engine_lease_leave(engine, &present);
    }
    if (present.present && status == KVP_OK) {
        status = engine_delete(engine, op->key);
    }
    return status == KVP_OK ? kvp_wire_txn_delete(answer, present.present) : status;
}

static kvp_status txn_refuse(struct kvp_engine *engine, struct kvp_execution *execution, int status,
                             const char *reason)
{
    overlay_empty(&engine->overlay);
    execution->status = status;
    execution->answer.size = 0;
    return kvp_wire_result_string(&execution->answer, reason);
}

/* Will the operations change a key? Up to the first that does, the state is as it is now. */
static kvp_status any_writes(struct kvp_engine *engine, const struct kvp_txn_op *ops,
                             uint32_t count, struct txn_budget *budget, bool *result)
{
    *result = false;
    for (uint32_t i = 0; i < count && !*result; i++) {
        struct engine_value present = {.present = true};
        if (ops[i].kind == KVP_TXN_DELETE) {
            kvp_status status = txn_look(engine, ops[i].key, &present, budget);
            if (status != KVP_OK) {
                return status;
            }
        }
        *result = ops[i].kind != KVP_TXN_GET && present.present;
    }
    return KVP_OK;
}

static kvp_status txn_run(struct kvp_engine *engine, const struct kvp_request *request,
                          uint64_t seq, struct kvp_execution *execution)
{
    bool succeeded;
    struct txn_budget budget = {KVP_TXN_READ_MAX};
    size_t limit = request->session.client != 0 ? ENGINE_TXN_ANSWER_MAX : KVP_TXN_SIZE_MAX;
    kvp_status status = all_hold(engine, request, &budget, &succeeded);
    if (status != KVP_OK) {
        return status;
    }
    const struct kvp_txn_op *ops = succeeded ? request->then_ops : request->else_ops;
    uint32_t count = succeeded ? request->then_count : request->else_count;
    bool appends = request->session.client != 0;
    if (!appends) {
        status = any_writes(engine, ops, count, &budget, &appends);
    }
    if (status == KVP_OK) {
        /* Without an entry of its own it has the revision of what it saw. */
        uint64_t revision = appends ? seq : engine->executed;
        status = kvp_wire_txn_begin(&execution->answer, succeeded, revision, count);
    }
    for (uint32_t i = 0; i < count && status == KVP_OK; i++) {
        status = run_op(engine, &ops[i], seq, &budget, &execution->answer);
        if (status == KVP_OK && execution->answer.size > limit) {
            /* That of a session is kept with it, and one without is still one message. */
            return txn_refuse(engine, execution, KVP_TOO_LARGE, "the answer would be too large");
        }
    }
    return status;
}

kvp_status engine_txn(struct kvp_engine *engine, const struct kvp_request *request, uint64_t seq,
                      struct kvp_execution *execution)
{
    kvp_status status = txn_run(engine, request, seq, execution);
    if (engine->leases.refusal != NULL && (status == KVP_NOT_FOUND || status == KVP_TOO_LARGE)) {
        return txn_refuse(engine, execution, status, engine->leases.refusal);
    }
    switch (status) {
    case KVP_TOO_LARGE:
        return txn_refuse(engine, execution, status,
                          "what is stored under its keys is more than 32 MiB, each look counted");
    case KVP_BAD_REQUEST:
        return txn_refuse(engine, execution, status,
                          "what is stored under the key, or is to be added, is no whole number in "
                          "decimal; nothing was changed");
    case KVP_OVERFLOW:
        return txn_refuse(engine, execution, status,
                          "the sum does not fit 64 bits; nothing was changed");
    default:
        return status;
    }
}
