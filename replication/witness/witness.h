/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The witness: one durable compare-and-set register per group. The logic is pure but for the store
 * it keeps the registers in (a kvp_env: tests give it one in memory, and crash it). One thread.
 *
 * Register of a group (key 'G' + group name): format version, group id, view. A change is answered
 * after it is durable. A group that the witness does not know (it is new, or the witness lost its
 * state) is answered with KVP_NOT_SEEDED; it comes into being by
 *   - a CAS with expected version 0 (nodes send it only when all of them are blank: bootstrap), or
 *   - SEED by *every* member of the view that they name, all naming the same view and group id
 *     (kept in memory until complete), or SEED with `force`, which an operator asks for.
 * SEED of a group that is known changes nothing and is answered with the register and
 * KVP_STALE_VIEW (KVP_OK when it equals the register); `force` replaces the register when its epoch
 * is not lower. The version always moves on: a forced view is stored with a version above the
 * register's.
 *
 * A CAS from version v changes the register to version v + 1, to a higher epoch, with a primary
 * from the present in-sync set, on behalf of a member of that set; anything else is KVP_REFUSED.
 * Repeating a change that has been made is KVP_OK. An epoch may be ahead by KVP_VIEW_JUMP_MAX at
 * the most, a forced one by 2^32: no change uses up the numbers.
 *
 * CLAIM shows the register as GET does, to a store that speaks for a node (core_identity.c): KVP_OK
 * when the node was known by one of the store's numbers or by none, and then by the newest from now
 * on; KVP_REFUSED when another store speaks for it; KVP_BUSY when a new store has to wait until the
 * node is out of the in-sync set, or does not say yet whose place it takes: the answer to CLAIM
 * tells a mark of the number by which the node is known, from which the number does not follow:
 * whoever has it speaks for the node. The first store of a node that counted before its number was
 * known is told none until a view has it in sync: so it learns that the register was made anew.
 * Format 2 has the numbers, and those of such nodes twice; a register without any is written as
 * format 1.
 */
#ifndef KVP_WITNESS_H
#define KVP_WITNESS_H

#include "kvstore/store.h"
#include "replication/wire/wire.h"

#define KVP_WITNESS_GROUPS_MAX 4096u

struct kvp_witness;

/* `env` is borrowed. message as in kvp_storage_open(). */
kvp_status kvp_witness_open(struct kvp_env *env, struct kvp_witness **witness, char *message,
                            size_t message_size);
void kvp_witness_close(struct kvp_witness *witness);

/* Handles one request body and appends the encoded answer, malformed input included (it always gets
 * an answer). KVP_FAILED when the register could not be made durable: the caller must stop the
 * process; KVP_NO_MEMORY. Nothing was appended then. */
kvp_status kvp_witness_handle(struct kvp_witness *witness, kvp_slice message, kvp_buf *answer);

/* How often a register has been changed, ever. Kept with the registers and once more beside them,
 * so that a store that lost its end is noticed by kvp_witness_open() (KVP_CORRUPT). */
uint64_t kvp_witness_changes(const struct kvp_witness *witness);
size_t kvp_witness_groups(const struct kvp_witness *witness);
/* Groups, and those whose members are about to say what their register was. */
size_t kvp_witness_names(const struct kvp_witness *witness);
/* Would this message, if it is executed, bring a name that the witness does not know? */
bool kvp_witness_is_new(struct kvp_witness *witness, kvp_slice message);
const char *
kvp_witness_error(const struct kvp_witness *witness); /* why it failed; "" if it did not */

#endif
