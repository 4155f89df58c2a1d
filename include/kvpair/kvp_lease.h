/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Keys that end by themselves: after a time to live of their own, or with a lease that somebody has
 * to keep.
 *
 * Caveats first:
 *  - Nothing ends early: a lease lives for at least its time after the moment at which a call that
 *    granted or kept it began. It may live longer: time counts only while the group serves, and
 *    after a change of the primary every lease has its full time once more.
 *  - Whoever holds something by a lease counts for himself, on a clock that does not stop when the
 *    machine sleeps (CLOCK_BOOTTIME), from before the call that kept it. And he may be stopped
 *    between that and what he does next: what he changes must look at a fencing token, too. The
 *    version of a key that he has created is one: it only grows.
 *  - A put without a time and a lease takes the key off the one that it had. A sum (kvp_txn_add)
 *    does not. A key that has ended is gone as if somebody had deleted it, for watchers, too.
 *  - Nodes of a release before this one refuse all of it.
 *
 * Calls are as those of kvp_client.h: synchronous, `result` may be NULL. Times are in milliseconds,
 * KVP_TTL_MIN_MS to KVP_TTL_MAX_MS. Errors beside those of kvp_base.h: KVP_NOT_FOUND, there is no
 * such lease, or not any more; KVP_TOO_LARGE, the group, the lease or the identity has as many as
 * it may (kvp_base.h); KVP_REFUSED, over TLS: it is another one's.
 */
#ifndef KVP_LEASE_H
#define KVP_LEASE_H

#include "kvp_client.h"
#include "kvp_node.h"

#ifdef __cplusplus
extern "C" {
#endif

/* kvp_put(), kvp_create(), kvp_cas() of a key that ends: ttl_ms after now, or (ttl_ms 0) with the
 * lease; both 0: it does not, as without. Not both. */
KVP_API kvp_status kvp_put_held(kvp_client *client, kvp_slice key, kvp_slice value, uint64_t ttl_ms,
                                uint64_t lease, kvp_result *result);
KVP_API kvp_status kvp_create_held(kvp_client *client, kvp_slice key, kvp_slice value,
                                   uint64_t ttl_ms, uint64_t lease, kvp_result *result);
KVP_API kvp_status kvp_cas_held(kvp_client *client, kvp_slice key, uint64_t version,
                                kvp_slice value, uint64_t ttl_ms, uint64_t lease,
                                kvp_result *result);
/* The same within a transaction: kvp_txn.h. */
KVP_API void kvp_txn_put_held(kvp_txn *txn, kvp_branch branch, kvp_slice key, kvp_slice value,
                              uint64_t ttl_ms, uint64_t lease);

/* A new lease; *lease is its number. Over TLS it is the caller's. */
KVP_API kvp_status kvp_lease_grant(kvp_client *client, uint64_t ttl_ms, uint64_t *lease,
                                   kvp_result *result);
/* It has its full time again; *ttl_ms (may be NULL) is that. A third of it is a good time until the
 * next call. */
KVP_API kvp_status kvp_lease_keep(kvp_client *client, uint64_t lease, uint64_t *ttl_ms,
                                  kvp_result *result);
/* It ends now, and its keys with it: at most 1024 at once, the others within moments. */
KVP_API kvp_status kvp_lease_revoke(kvp_client *client, uint64_t lease, kvp_result *result);
/* The value is JSON text: [{"lease": 12, "ttl_ms": 5000, "left_ms": 4211, "keys": 2, "granted_to":
 * "user/ann"}, ...], the next 256 at most with a number above that one; 0: from the first on.
 * Those that came with a key are not in it. */
KVP_API kvp_status kvp_lease_list(kvp_client *client, uint64_t above, kvp_result *result);
/* The value is JSON text: one such object, with "names": of its keys those that the caller may
 * read, at most 1024; a name that is no text has signs in the place of what cannot be shown. */
KVP_API kvp_status kvp_lease_show(kvp_client *client, uint64_t lease, kvp_result *result);
/* When the key ends: *left_ms, and with which lease, 0: its own. Either may be NULL. *left_ms is
 * UINT64_MAX where it does not end by itself. KVP_NOT_FOUND: there is no such key. */
KVP_API kvp_status kvp_key_left(kvp_client *client, kvp_slice key, uint64_t *left_ms,
                                uint64_t *lease, kvp_result *result);

/* At the primary, without a socket: kvp_node.h. */
KVP_API kvp_status kvp_node_put_held(kvp_node *node, kvp_slice key, kvp_slice value,
                                     uint64_t ttl_ms, uint64_t lease, uint64_t *version);
KVP_API kvp_status kvp_node_create_held(kvp_node *node, kvp_slice key, kvp_slice value,
                                        uint64_t ttl_ms, uint64_t lease, uint64_t *version);
KVP_API kvp_status kvp_node_lease_grant(kvp_node *node, uint64_t ttl_ms, uint64_t *lease);
KVP_API kvp_status kvp_node_lease_keep(kvp_node *node, uint64_t lease);
KVP_API kvp_status kvp_node_lease_revoke(kvp_node *node, uint64_t lease);

#ifdef __cplusplus
}
#endif

#endif
