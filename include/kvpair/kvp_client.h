/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kvpair client: talks to a group of nodes through any of their addresses, follows the primary
 * through failovers, and runs every update at most once.
 *
 * Caveats first:
 *  - KVP_TIMEOUT_UNKNOWN means what it says: the update may have happened, or may still happen.
 *    KVP_TIMEOUT and KVP_UNAVAILABLE mean that it did not and will not. (An update that was
 *    executed, with an answer that cannot be read, is KVP_TIMEOUT_UNKNOWN, too.)
 *  - Reads are linearizable unless `stale` is asked for.
 *  - A handle may be used by any number of threads at once. Do not use it in a child after fork().
 *  - Callbacks of asynchronous calls run on a thread of the library: do not block there, and do not
 *    make synchronous calls or close the handle from there; starting asynchronous calls is fine.
 */
#ifndef KVP_CLIENT_H
#define KVP_CLIENT_H

#include "kvp_base.h"
#include "kvp_scan.h"
#include "kvp_txn.h"
#include "kvp_watch.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct kvp_client kvp_client;

typedef struct kvp_client_options {
    size_t size;         /* sizeof(struct kvp_client_options): set by kvp_client_options_init */
    const char *nodes;   /* "tcp://127.0.0.1:7001,tcp://127.0.0.1:7002": at most 16 */
    const char *group;   /* group name; NULL: "default" */
    uint32_t timeout_ms; /* deadline of each call; 0: 5000 */
    uint32_t try_ms;     /* an unanswered attempt is repeated, elsewhere too, after this; 0: 300 */
    uint32_t outstanding_max; /* requests under way at once; more wait their turn; 0: 256 */
    /* ---- since 0.2.0 ---- */
    /* For nodes at tls+tcp://, all three: PEM files of the own certificate, its key (which nobody
     * else may be able to read), and the CA whose nodes are believed. NULL: no such nodes. */
    const char *tls_cert, *tls_key, *tls_ca;
} kvp_client_options;

/* Sets the size and the defaults: before anything else. NULL is fine. */
KVP_API void kvp_client_options_init_sized(kvp_client_options *options, size_t size);
#define kvp_client_options_init(options)                                                           \
    kvp_client_options_init_sized((options), sizeof(kvp_client_options))

/* Makes a handle; does not wait for a connection. `message` (may be NULL) receives the reason of a
 * failure: KVP_BAD_ARGUMENT (no nodes, malformed ones, a bad group, a certificate that cannot be
 * used), KVP_NO_MEMORY. */
KVP_API kvp_status kvp_client_open(const kvp_client_options *options, kvp_client **client,
                                   char *message, size_t message_size);
/* Ends calls under way (their callbacks run before this returns): with KVP_CLOSED, or, where an
 * update may have happened, KVP_TIMEOUT_UNKNOWN. Scans and transactions must not be used any more
 * but closed and freed before. NULL is fine. */
KVP_API void kvp_client_close(kvp_client *client);

/* What a call gives back. Free with kvp_result_free(). */
typedef struct kvp_result {
    kvp_status status;
    bool counted;             /* kvp_task_post(): the result was needed */
    uint64_t version;         /* get: modify revision; updates: the new one; KVP_EXISTS and
                                 KVP_VERSION_DIFFERS: the present one (0: absent) */
    uint64_t create_revision; /* get */
    uint64_t behind; /* stale reads: entries that the node knew to be committed and that the
                      * answer does not show. What it has not heard of is not in it: 0 does
                      * not mean "new" (commit_age_ms of kvp_node_status() tells how long) */
    kvp_buf value;   /* get: the value. status: JSON text. errors: reason text, may be empty */
    uint64_t reserved[4];
} kvp_result;

KVP_API void kvp_result_free(kvp_result *result);

/* Synchronous calls: return result->status. `result` may be NULL where only the status matters;
 * else it is overwritten (not freed first). Slices are borrowed for the call. Errors: any of
 * kvp_base.h; KVP_BAD_ARGUMENT and KVP_TOO_LARGE are found before anything is sent. */
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
 * returned, and the result is valid during it only; else it never runs. timeout_ms 0: the handle's.
 */
typedef void (*kvp_callback)(void *arg, const kvp_result *result);
KVP_API kvp_status kvp_get_async(kvp_client *client, kvp_slice key, bool stale, uint32_t timeout_ms,
                                 kvp_callback done, void *arg);
KVP_API kvp_status kvp_put_async(kvp_client *client, kvp_slice key, kvp_slice value,
                                 uint32_t timeout_ms, kvp_callback done, void *arg);
KVP_API kvp_status kvp_create_async(kvp_client *client, kvp_slice key, kvp_slice value,
                                    uint32_t timeout_ms, kvp_callback done, void *arg);
KVP_API kvp_status kvp_delete_async(kvp_client *client, kvp_slice key, uint64_t version,
                                    uint32_t timeout_ms, kvp_callback done, void *arg);
KVP_API kvp_status kvp_cas_async(kvp_client *client, kvp_slice key, uint64_t version,
                                 kvp_slice value, uint32_t timeout_ms, kvp_callback done,
                                 void *arg);

/* Scan of [start, end) (end empty: no end), or of the keys with a prefix: kvp_scan.h. `result` (may
 * be NULL) is as for synchronous calls: when opening fails, it has the reason. */
KVP_API kvp_status kvp_scan_open(kvp_client *client, kvp_slice start, kvp_slice end, bool keys_only,
                                 kvp_scan **scan, kvp_result *result);
/* The same pairs from the last one to the first. A node of a release before this one refuses it. */
KVP_API kvp_status kvp_scan_open_backwards(kvp_client *client, kvp_slice start, kvp_slice end,
                                           bool keys_only, kvp_scan **scan, kvp_result *result);
KVP_API kvp_status kvp_scan_open_prefix(kvp_client *client, kvp_slice prefix, bool keys_only,
                                        kvp_scan **scan, kvp_result *result);

/* Watch of [start, end) (end empty: no end), of the keys with a prefix, or of one key, from a
 * revision on; 0: from now on, which the primary is asked for here (`stale`: from where some node
 * is now). kvp_watch.h; `result` as for a scan. While it waits it has one of the client's
 * outstanding_max requests. */
KVP_API kvp_status kvp_watch_open(kvp_client *client, kvp_slice start, kvp_slice end, uint64_t from,
                                  bool stale, kvp_watch **watch, kvp_result *result);
KVP_API kvp_status kvp_watch_open_prefix(kvp_client *client, kvp_slice prefix, uint64_t from,
                                         bool stale, kvp_watch **watch, kvp_result *result);
KVP_API kvp_status kvp_watch_open_key(kvp_client *client, kvp_slice key, uint64_t from, bool stale,
                                      kvp_watch **watch, kvp_result *result);

/* An empty transaction: kvp_txn.h. NULL when memory is short. */
KVP_API kvp_txn *kvp_txn_new(kvp_client *client);

/* Administration. `node` is a URL, NULL: whoever is primary (status: the first that answers). */
KVP_API kvp_status kvp_node_status(kvp_client *client, const char *node, kvp_result *result);
KVP_API kvp_status kvp_handover(kvp_client *client, unsigned target_id, kvp_result *result);
KVP_API kvp_status kvp_promote(kvp_client *client, const char *node, bool force,
                               kvp_result *result);

/*
 * A backup of the group as of one point in time: the bytes of a file, which `kvcli backup verify`
 * judges and `kvnode --restore` makes a new group of. `node` (NULL: whoever is primary; a backup
 * has more time for it) gives it, and keeps what it sees until it was told the end or has not been
 * asked for some minutes. `at_least`: a revision that has to be in it, 0: whatever the node has.
 * `page_size`: bytes asked for at a time, about, 16 KiB to 1 MiB; 0: 256 KiB. One thread at a time
 * uses a backup, and none after its client has been closed. Whoever asks over TLS needs "operate".
 */
typedef struct kvp_backup kvp_backup;
KVP_API kvp_status kvp_backup_open(kvp_client *client, const char *node, uint64_t at_least,
                                   uint32_t page_size, kvp_backup **backup, kvp_result *result);
/* The next bytes, valid until the next call on the backup; KVP_NOT_FOUND behind the last ones.
 * After KVP_UNAVAILABLE, KVP_TIMEOUT and KVP_BUSY it may be called again, and goes on where it was;
 * KVP_CURSOR_EXPIRED: the node has it no more, begin anew. */
KVP_API kvp_status kvp_backup_next(kvp_backup *backup, kvp_slice *bytes);
/* The point in time: what was committed up to this revision is in it. 0: not known yet. */
KVP_API uint64_t kvp_backup_revision(const kvp_backup *backup);
/* Why next failed, for people; may be empty. Lives as long as the backup. */
KVP_API const char *kvp_backup_error(const kvp_backup *backup);
/* Frees it, and tells the node: it is `kept` (all of it is on a disk), which the node's metric of
 * the last backup then says, or not. Its status is whether that could be told; KVP_BAD_ARGUMENT:
 * not all of it has been read. NULL is fine. */
KVP_API kvp_status kvp_backup_close(kvp_backup *backup, bool kept);

/* Members of the group, changed while it serves; `url` is where the others and clients reach the
 * node. One change at a time: one that has to wait for the one before, or for a node to leave the
 * in-sync set, is waited for up to the handle's timeout, and then KVP_UNAVAILABLE. Who leads
 * cannot be removed, replaced or moved: KVP_REFUSED, hand over first. The version of the list comes
 * in result->version. KVP_EXISTS (the id or the address is another member's), KVP_NOT_FOUND (no
 * member has the id), KVP_REFUSED (with the reason), KVP_TOO_LARGE (more than 9). kvp_node_status()
 * shows who they are. */
KVP_API kvp_status kvp_member_add(kvp_client *client, unsigned id, const char *url,
                                  kvp_result *result);
KVP_API kvp_status kvp_member_remove(kvp_client *client, unsigned id, kvp_result *result);
/* Another machine, with an empty data directory, takes the place of one. It may have the same id.
 */
KVP_API kvp_status kvp_member_replace(kvp_client *client, unsigned old_id, unsigned id,
                                      const char *url, kvp_result *result);
/* The node, with its data, is at another address from now on. */
KVP_API kvp_status kvp_member_move(kvp_client *client, unsigned id, const char *url,
                                   kvp_result *result);

/* Rights over TLS, of an identity ("user/ann"), each as text: "read PREFIX", "write PREFIX",
 * "submit", "work KIND", "observe", "operate", "admin"; %XX in PREFIX and KIND is the byte with
 * that number. Whoever asks needs "admin". What is granted twice, or revoked and was never granted,
 * changes nothing. */
KVP_API kvp_status kvp_access_grant(kvp_client *client, const char *identity,
                                    const char *const *rights, size_t count, kvp_result *result);
/* count 0: all of his rights. */
KVP_API kvp_status kvp_access_revoke(kvp_client *client, const char *identity,
                                     const char *const *rights, size_t count, kvp_result *result);
/* The value is JSON text: [{"identity": "user/ann", "rights": ["read app/", ...]}, ...]. */
KVP_API kvp_status kvp_access_list(kvp_client *client, kvp_result *result);

#ifdef __cplusplus
}
#endif

#endif
