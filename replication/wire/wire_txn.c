/* SPDX-License-Identifier: Apache-2.0 */
/* The args of a transaction: what it may say, and its bytes. */
#include "replication/wire/wire.h"
#include "replication/wire/wire_parts.h"

enum operand { OPERAND_UNKNOWN, OPERAND_NIL, OPERAND_UINT, OPERAND_BIN };

static enum operand compare_operand(uint64_t kind)
{
    switch (kind) {
    case KVP_COMPARE_ABSENT:
    case KVP_COMPARE_PRESENT:
        return OPERAND_NIL;
    case KVP_COMPARE_VERSION_EQUAL:
    case KVP_COMPARE_VERSION_LESS:
    case KVP_COMPARE_VERSION_GREATER:
        return OPERAND_UINT;
    case KVP_COMPARE_VALUE_EQUAL:
    case KVP_COMPARE_VALUE_DIFFERS:
        return OPERAND_BIN;
    default:
        return OPERAND_UNKNOWN;
    }
}

static enum operand txn_op_operand(uint64_t kind)
{
    switch (kind) {
    case KVP_TXN_GET:
    case KVP_TXN_DELETE:
        return OPERAND_NIL;
    case KVP_TXN_PUT:
    case KVP_TXN_ADD:
        return OPERAND_BIN;
    default:
        return OPERAND_UNKNOWN;
    }
}

static kvp_status check_compares(const struct kvp_request *request, uint64_t *total,
                                 const char **reason)
{
    for (uint32_t i = 0; i < request->compare_count; i++) {
        const struct kvp_compare *compare = &request->compares[i];
        enum operand operand = compare_operand(compare->kind);
        if (operand == OPERAND_UNKNOWN) {
            return kvp_wire_refuse(KVP_BAD_REQUEST, "unknown kind of compare", reason);
        }
        kvp_slice value = operand == OPERAND_BIN ? compare->value : kvp_slice_of(NULL, 0);
        kvp_status status = kvp_wire_check_pair(compare->key, value, total, reason);
        if (status != KVP_OK) {
            return status;
        }
    }
    return KVP_OK;
}

static kvp_status check_txn_ops(const struct kvp_txn_op *ops, uint32_t count, uint64_t *total,
                                const char **reason)
{
    for (uint32_t i = 0; i < count; i++) {
        enum operand operand = txn_op_operand(ops[i].kind);
        if (operand == OPERAND_UNKNOWN) {
            return kvp_wire_refuse(KVP_BAD_REQUEST, "unknown kind of operation in a transaction",
                                   reason);
        }
        kvp_slice value = operand == OPERAND_BIN ? ops[i].value : kvp_slice_of(NULL, 0);
        kvp_status status = kvp_wire_check_pair(ops[i].key, value, total, reason);
        if (status == KVP_OK && ops[i].kind == KVP_TXN_PUT) {
            status = kvp_wire_check_hold(ops[i].ttl_ms, ops[i].lease, reason);
        }
        if (status != KVP_OK) {
            return status;
        }
    }
    return KVP_OK;
}

static kvp_status check_txn_count(uint32_t count, const char **reason)
{
    if (count > KVP_TXN_OPS_MAX) {
        return kvp_wire_refuse(KVP_TOO_LARGE,
                               "a list of the transaction has more than 1024 elements", reason);
    }
    return KVP_OK;
}

kvp_status kvp_wire_check_txn(const struct kvp_request *request, const char **reason)
{
    const uint32_t counts[] = {request->compare_count, request->then_count, request->else_count};
    kvp_status status = KVP_OK;
    for (unsigned i = 0; status == KVP_OK && i < 3; i++) {
        status = check_txn_count(counts[i], reason);
    }
    uint64_t total = 0;
    if (status == KVP_OK) {
        status = check_compares(request, &total, reason);
    }
    if (status == KVP_OK) {
        status = check_txn_ops(request->then_ops, request->then_count, &total, reason);
    }
    if (status == KVP_OK) {
        status = check_txn_ops(request->else_ops, request->else_count, &total, reason);
    }
    if (status == KVP_OK && total > KVP_TXN_SIZE_MAX) {
        return kvp_wire_refuse(KVP_TOO_LARGE,
                               "keys and values of the transaction have more than 4 MiB", reason);
    }
    return status;
}

static kvp_status read_compares(struct kvp_mp_reader *reader, struct kvp_compare *compares,
                                uint32_t *count, const char **reason)
{
    uint32_t declared = kvp_mp_array(reader);
    kvp_status status = check_txn_count(declared, reason);
    for (uint32_t i = 0; status == KVP_OK && i < declared && !reader->failed; i++) {
        struct kvp_compare *compare = &compares[i];
        memset(compare, 0, sizeof(*compare));
        kvp_mp_array_of(reader, 3);
        uint64_t kind = kvp_mp_uint(reader);
        compare->kind = (uint8_t)kind;
        compare->key = kvp_mp_bin(reader);
        switch (compare_operand(kind)) {
        case OPERAND_NIL:
            kvp_mp_nil(reader);
            break;
        case OPERAND_UINT:
            compare->version = kvp_mp_uint(reader);
            break;
        case OPERAND_BIN:
            compare->value = kvp_mp_bin(reader);
            break;
        case OPERAND_UNKNOWN:
            status = kvp_wire_refuse(KVP_BAD_REQUEST, "unknown kind of compare", reason);
            break;
        }
    }
    *count = declared;
    return status;
}

/* A put of five elements: how the key ends by itself. */
static void txn_take_hold(struct kvp_mp_reader *reader, uint32_t elements, struct kvp_txn_op *op)
{
    if (elements == 5 && op->kind == KVP_TXN_PUT) {
        op->ttl_ms = kvp_mp_uint(reader);
        op->lease = kvp_mp_uint(reader);
        if (op->ttl_ms != 0 || op->lease != 0) {
            return;
        }
    } else if (elements == 3) {
        return;
    }
    kvp_mp_fail(reader);
}

static kvp_status read_txn_ops(struct kvp_mp_reader *reader, struct kvp_txn_op *ops,
                               uint32_t *count, const char **reason)
{
    uint32_t declared = kvp_mp_array(reader);
    kvp_status status = check_txn_count(declared, reason);
    for (uint32_t i = 0; status == KVP_OK && i < declared && !reader->failed; i++) {
        struct kvp_txn_op *op = &ops[i];
        memset(op, 0, sizeof(*op));
        uint32_t elements = kvp_mp_array(reader);
        uint64_t kind = kvp_mp_uint(reader);
        op->kind = (uint8_t)kind;
        op->key = kvp_mp_bin(reader);
        enum operand operand = txn_op_operand(kind);
        if (operand == OPERAND_UNKNOWN) {
            status = kvp_wire_refuse(KVP_BAD_REQUEST, "unknown kind of operation in a transaction",
                                     reason);
        } else if (operand == OPERAND_BIN) {
            op->value = kvp_mp_bin(reader);
        } else {
            kvp_mp_nil(reader);
        }
        txn_take_hold(reader, elements, op);
    }
    *count = declared;
    return status;
}

kvp_status kvp_wire_take_txn(struct kvp_mp_reader *reader, struct kvp_txn_scratch *scratch,
                             struct kvp_request *request, const char **reason)
{
    struct kvp_txn_op *then_ops = scratch->ops;
    struct kvp_txn_op *else_ops = scratch->ops + KVP_TXN_OPS_MAX;
    request->compares = scratch->compares;
    request->then_ops = then_ops;
    request->else_ops = else_ops;
    kvp_status status = read_compares(reader, scratch->compares, &request->compare_count, reason);
    if (status == KVP_OK) {
        status = read_txn_ops(reader, then_ops, &request->then_count, reason);
    }
    if (status == KVP_OK) {
        status = read_txn_ops(reader, else_ops, &request->else_count, reason);
    }
    return status;
}

void kvp_wire_write_txn(struct kvp_mp_writer *writer, const struct kvp_request *request)
{
    kvp_mp_write_array(writer, request->compare_count);
    for (uint32_t i = 0; i < request->compare_count; i++) {
        const struct kvp_compare *compare = &request->compares[i];
        enum operand operand = compare_operand(compare->kind);
        kvp_mp_write_array(writer, 3);
        kvp_mp_write_uint(writer, compare->kind);
        kvp_mp_write_bin(writer, compare->key);
        if (operand == OPERAND_UINT) {
            kvp_mp_write_uint(writer, compare->version);
        } else if (operand == OPERAND_BIN) {
            kvp_mp_write_bin(writer, compare->value);
        } else {
            kvp_mp_write_nil(writer);
        }
    }
    for (unsigned branch = 0; branch < 2; branch++) {
        const struct kvp_txn_op *ops = branch == 0 ? request->then_ops : request->else_ops;
        uint32_t count = branch == 0 ? request->then_count : request->else_count;
        kvp_mp_write_array(writer, count);
        for (uint32_t i = 0; i < count; i++) {
            bool held = ops[i].kind == KVP_TXN_PUT && (ops[i].ttl_ms != 0 || ops[i].lease != 0);
            kvp_mp_write_array(writer, held ? 5 : 3);
            kvp_mp_write_uint(writer, ops[i].kind);
            kvp_mp_write_bin(writer, ops[i].key);
            if (txn_op_operand(ops[i].kind) == OPERAND_BIN) {
                kvp_mp_write_bin(writer, ops[i].value);
            } else {
                kvp_mp_write_nil(writer);
            }
            if (held) {
                kvp_mp_write_uint(writer, ops[i].ttl_ms);
                kvp_mp_write_uint(writer, ops[i].lease);
            }
        }
    }
}
