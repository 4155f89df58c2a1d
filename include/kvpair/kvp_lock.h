/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Locks and elections: recipes on leases (kvp_lease.h) and revisions. A lock is a key that whoever
 * has it has created with a lease of his; it is free when the key is gone: released, or ended with
 * the lease. Whoever waits watches the key, and asks nobody again and again.
 *
 * Caveats first:
 *  - A lock alone keeps nobody from acting late: its holder may be stopped, with the next step in
 *    hand, for longer than his lease, while somebody else gets the lock. What the lock guards has
 * to look at the *fence*, the revision at which the lock was taken, which only grows: it refuses
 *    whoever comes with a smaller one than it has seen.
 *  - The holder keeps the lease (kvp_lease_keep()), and stops when he has not been told for its
 *    time, counted from before the call that kept it last, that it goes on.
 *  - Of those who wait, anybody may be the next.
 */
#ifndef KVP_LOCK_H
#define KVP_LOCK_H

#include "kvp_lease.h"

#ifdef __cplusplus
extern "C" {
#endif

/*
 * Takes the lock, a key, with a lease of the caller; waits for timeout_ms at most, and a request
 * beyond that; 0: it does not wait. `value` says who has it: it is what others read under the key.
 * An election is that: whoever has the key is elected, with what he says. *fence is the revision.
 * If the lease has the lock already, that is told again. KVP_EXISTS: another one has it.
 * KVP_NOT_FOUND: there is no such lease. KVP_TIMEOUT_UNKNOWN: call it again, or revoke the lease.
 */
KVP_API kvp_status kvp_lock_acquire(kvp_client *client, kvp_slice name, kvp_slice value,
                                    uint64_t lease, uint32_t timeout_ms, uint64_t *fence,
                                    kvp_result *result);
/* Lets go of it: of the lock that was taken with this fence. KVP_NOT_FOUND, KVP_VERSION_DIFFERS:
 * it was lost before. The lease stays. */
KVP_API kvp_status kvp_lock_release(kvp_client *client, kvp_slice name, uint64_t fence,
                                    kvp_result *result);

#ifdef __cplusplus
}
#endif

#endif
