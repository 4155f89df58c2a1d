/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kvpair client: talks to a group of nodes through any of their addresses, follows the primary
 * through failovers, and runs every update at most once.
 *
 * Caveats first:
 *  - KVP_TIMEOUT_UNKNOWN means what it says: the update may have happened, or may still happen.
 *    KVP_TIMEOUT and KVP_UNAVAILABLE mean that it did not and will not. (An update that was executed,
 *    with an answer that cannot be read, is KVP_TIMEOUT_UNKNOWN, too.)
 *  - Reads are linearizable unless `stale` is asked for.
 *  - A handle may be used by any number of threads at once. Do not use it in a child after fork().
 *  - Callbacks of asynchronous calls run on a thread of the library: do not block there, and do not
 *    make synchronous calls or close the handle from there; starting asynchronous calls is fine.
 */
#ifndef KVP_CLIENT_H
#define KVP_CLIENT_H

#include "kvp_base.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct kvp_client kvp_client;

typedef struct kvp_client_options {
    size_t size;             /* sizeof(struct kvp_client_options): set by kvp_client_options_init */
    const char *nodes;       /* "tcp://127.0.0.1:7001,tcp://127.0.0.1:7002": at most 16 */
    const char *group;       /* group name; NULL: "default" */
    uint32_t timeout_ms;     /* deadline of each call; 0: 5000 */
    uint32_t try_ms;         /* an unanswered attempt is repeated, elsewhere too, after this; 0: 300 */
    uint32_t outstanding_max; /* requests under way at once; more wait their turn; 0: 256 */
} kvp_client_options;

KVP_API void kvp_client_options_init(kvp_client_options *options);

/* Makes a handle; does not wait for a connection. `message` (may be NULL) receives the reason of a
 * failure: KVP_BAD_ARGUMENT (no nodes, malformed ones, a bad group), KVP_NO_MEMORY. */
KVP_API kvp_status kvp_client_open(const kvp_client_options *options, kvp_client **client,
                                   char *message, size_t message_size);
/* Ends calls under way (their callbacks run before this returns): with KVP_CLOSED, or, where an update
 * may have happened, KVP_TIMEOUT_UNKNOWN. Scans and transactions must not be used any more but closed
 * and freed before. NULL is fine. */
KVP_API void kvp_client_close(kvp_client *client);

/* What a call gives back. Free with kvp_result_free(). */
typedef struct kvp_result {
    kvp_status status;
    uint64_t version;         /* get: modify revision; updates: the new one; KVP_EXISTS and
                                 KVP_VERSION_DIFFERS: the present one (0: absent) */
    uint64_t create_revision; /* get */
    uint64_t behind;          /* stale reads: entries that the node knew to be committed and that the
                               * answer does not show. What it has not heard of is not in it: 0 does
                               * not mean "new" (commit_age_ms of kvp_node_status() tells how long) */
    kvp_buf value;            /* get: the value. status: JSON text. errors: reason text, may be empty */
} kvp_result;

KVP_API void kvp_result_free(kvp_result *result);

/* Synchronous calls: return result->status. `result` may be NULL where only the status matters; else it
 * is overwritten (not freed first). Slices are borrowed for the call. Errors: any of kvp_base.h;
 * KVP_BAD_ARGUMENT and KVP_TOO_LARGE are found before anything is sent. */
KVP_API kvp_status kvp_get(kvp_client *client, kvp_slice key, kvp_result *result);
KVP_API kvp_status kvp_get_stale(kvp_client *client, kvp_slice key, kvp_result *result);
KVP_API kvp_status kvp_put(kvp_client *client, kvp_slice key, kvp_slice value, kvp_result *result);
KVP_API kvp_status kvp_create(kvp_client *client, kvp_slice key, kvp_slice value,
                              kvp_result *result);
/* version 0: whatever the version is. */
KVP_API kvp_status kvp_delete(kvp_client *client, kvp_slice key, uint64_t version,
                              kvp_result *result);
/* version 0: only if absent. */
KVP_API kvp_status kvp_cas(kvp_client *client, kvp_slice key, uint64_t version, kvp_slice value,
                           kvp_result *result);

/* Asynchronous calls: copy their slices and return at once. `done` runs exactly once if KVP_OK is
 * returned, and the result is valid during it only; else it never runs. timeout_ms 0: the handle's. */
typedef void (*kvp_callback)(void *arg, const kvp_result *result);
KVP_API kvp_status kvp_get_async(kvp_client *client, kvp_slice key, bool stale,
                                 uint32_t timeout_ms, kvp_callback done, void *arg);
KVP_API kvp_status kvp_put_async(kvp_client *client, kvp_slice key, kvp_slice value,
                                 uint32_t timeout_ms, kvp_callback done, void *arg);
KVP_API kvp_status kvp_create_async(kvp_client *client, kvp_slice key, kvp_slice value,
                                    uint32_t timeout_ms, kvp_callback done, void *arg);
KVP_API kvp_status kvp_delete_async(kvp_client *client, kvp_slice key, uint64_t version,
                                    uint32_t timeout_ms, kvp_callback done, void *arg);
KVP_API kvp_status kvp_cas_async(kvp_client *client, kvp_slice key, uint64_t version,
                                 kvp_slice value, uint32_t timeout_ms, kvp_callback done, void *arg);

/* Scan of [start, end) (end empty: no end) from one point in time. Open, next until KVP_NOT_FOUND,
 * close. If the primary changes in the middle, next returns KVP_CURSOR_EXPIRED: start again. After a
 * failure next returns it again. A scan is used by one thread at a time. `result` (may be NULL) is as
 * for synchronous calls: when opening fails, it has the reason. */
typedef struct kvp_scan kvp_scan;
KVP_API kvp_status kvp_scan_open(kvp_client *client, kvp_slice start, kvp_slice end, bool keys_only,
                                 kvp_scan **scan, kvp_result *result);
KVP_API kvp_status kvp_scan_open_prefix(kvp_client *client, kvp_slice prefix, bool keys_only,
                                        kvp_scan **scan, kvp_result *result);
/* *key and *value are valid until the next call on the scan. version may be NULL. */
KVP_API kvp_status kvp_scan_next(kvp_scan *scan, kvp_slice *key, kvp_slice *value,
                                 uint64_t *version);
/* Why next failed, for people; may be empty. Lives as long as the scan. */
KVP_API const char *kvp_scan_error(const kvp_scan *scan);
KVP_API void kvp_scan_close(kvp_scan *scan);

/* Transaction: compares, then operations if all hold, else other operations; atomic. Build, commit,
 * read the results by index, free. Keys and values are copied. A build error is kept and returned by
 * commit. One thread at a time. */
typedef struct kvp_txn kvp_txn;
typedef enum kvp_branch { KVP_THEN, KVP_ELSE } kvp_branch;
KVP_API kvp_txn *kvp_txn_new(kvp_client *client); /* NULL when memory is short */
KVP_API void kvp_txn_if_absent(kvp_txn *txn, kvp_slice key);
KVP_API void kvp_txn_if_present(kvp_txn *txn, kvp_slice key);
KVP_API void kvp_txn_if_version(kvp_txn *txn, kvp_slice key, char relation /* '=' '<' '>' */,
                                uint64_t version);
KVP_API void kvp_txn_if_value(kvp_txn *txn, kvp_slice key, bool equal, kvp_slice value);
KVP_API void kvp_txn_get(kvp_txn *txn, kvp_branch branch, kvp_slice key);
KVP_API void kvp_txn_put(kvp_txn *txn, kvp_branch branch, kvp_slice key, kvp_slice value);
KVP_API void kvp_txn_delete(kvp_txn *txn, kvp_branch branch, kvp_slice key);
/* KVP_OK: executed; *succeeded tells which branch. */
KVP_API kvp_status kvp_txn_commit(kvp_txn *txn, bool *succeeded, uint64_t *revision);
/* Why commit failed, for people; may be empty. Lives until the next commit or kvp_txn_free(). */
KVP_API const char *kvp_txn_error(const kvp_txn *txn);
KVP_API size_t kvp_txn_result_count(const kvp_txn *txn);
/* Result of the index-th operation of the branch taken: get: KVP_OK and value, or KVP_NOT_FOUND; put:
 * KVP_OK; delete: KVP_OK or KVP_NOT_FOUND. Slices live as long as the txn. value, version may be NULL. */
KVP_API kvp_status kvp_txn_result(const kvp_txn *txn, size_t index, kvp_slice *value,
                                  uint64_t *version);
KVP_API void kvp_txn_free(kvp_txn *txn);

/* Administration. `node` is a URL, NULL: whoever is primary (status: the first that answers). */
KVP_API kvp_status kvp_node_status(kvp_client *client, const char *node, kvp_result *result);
KVP_API kvp_status kvp_handover(kvp_client *client, unsigned target_id, kvp_result *result);
KVP_API kvp_status kvp_promote(kvp_client *client, const char *node, bool force,
                               kvp_result *result);

#ifdef __cplusplus
}
#endif

#endif
