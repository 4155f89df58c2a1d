/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Transactions: compares, then operations if all of them hold, else other operations; atomic. A
 * client (kvp_client.h) or a node (kvp_node.h) makes them. Build, commit, read the results by
 * index, free; before the client or node is closed. Keys and values are copied. A build error is
 * kept and returned by commit. One thread at a time.
 */
#ifndef KVP_TXN_H
#define KVP_TXN_H

#include "kvp_base.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct kvp_txn kvp_txn;
typedef enum kvp_branch { KVP_THEN, KVP_ELSE } kvp_branch;

KVP_API void kvp_txn_if_absent(kvp_txn *txn, kvp_slice key);
KVP_API void kvp_txn_if_present(kvp_txn *txn, kvp_slice key);
KVP_API void kvp_txn_if_version(kvp_txn *txn, kvp_slice key, char relation /* '=' '<' '>' */,
                                uint64_t version);
KVP_API void kvp_txn_if_value(kvp_txn *txn, kvp_slice key, bool equal, kvp_slice value);
KVP_API void kvp_txn_get(kvp_txn *txn, kvp_branch branch, kvp_slice key);
KVP_API void kvp_txn_put(kvp_txn *txn, kvp_branch branch, kvp_slice key, kvp_slice value);
KVP_API void kvp_txn_delete(kvp_txn *txn, kvp_branch branch, kvp_slice key);
/* Adds `number` to the value, which is a whole number in decimal ("-3"; an absent key counts as 0)
 * of 64 bits with a sign. If it is none, commit says KVP_BAD_REQUEST; if the sum does not fit,
 * KVP_OVERFLOW; and nothing of the transaction has happened then. */
KVP_API void kvp_txn_add(kvp_txn *txn, kvp_branch branch, kvp_slice key, int64_t number);
/* KVP_OK: executed; *succeeded tells which branch. succeeded, revision may be NULL. */
KVP_API kvp_status kvp_txn_commit(kvp_txn *txn, bool *succeeded, uint64_t *revision);
/* Why commit failed, for people; may be empty. Lives until the next commit or kvp_txn_free(). */
KVP_API const char *kvp_txn_error(const kvp_txn *txn);
KVP_API size_t kvp_txn_result_count(const kvp_txn *txn);
/* Result of the index-th operation of the branch taken: get: KVP_OK and value, or KVP_NOT_FOUND;
 * put: KVP_OK; delete: KVP_OK or KVP_NOT_FOUND; add: KVP_OK and the new value. Slices live as long
 * as the txn. value, version may be NULL. */
KVP_API kvp_status kvp_txn_result(const kvp_txn *txn, size_t index, kvp_slice *value,
                                  uint64_t *version);
KVP_API void kvp_txn_free(kvp_txn *txn);

#ifdef __cplusplus
}
#endif

#endif
