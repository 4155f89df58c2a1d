/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What tests can do to the data directory in memory (kvp_env_memory_open()): make its n-th change
 * fail, and cut the power. Both work across all stores and files of the directory, from the thread
 * that writes.
 *
 * A power cut ends the life of every open store: all calls fail until kvp_env_memory_restart(), so
 * that the code under test cannot repair anything after the cut. Open stores must be closed before
 * the restart.
 */
#ifndef KVP_STORE_MEMORY_H
#define KVP_STORE_MEMORY_H

#include "kvstore/store.h"

/* Makes one change (batch, frame, file write, replacement, renaming, removal, making of a store)
 * fail. */
struct kvp_memory_fault {
    uint64_t after;    /* so many changes still succeed, then one fails */
    kvp_status status; /* with this; KVP_OK: no fault */
    bool persist;      /* the failing change happens all the same (a batch as an unsynced one) */
    bool stay;         /* every later change fails too, as after a stop of the machine */
};

void kvp_env_memory_set_fault(struct kvp_env *env, struct kvp_memory_fault fault);

/* Changes made since the directory was opened, the failed ones included. */
uint64_t kvp_env_memory_changes(const struct kvp_env *env);

/*
 * Cuts the power: each store keeps its synced batches and, in their order, the first `keep_batches`
 * of those after its last sync; its journal likewise the first `keep_frames`; the files keep their
 * unsynced writes if `keep_files`.
 */
void kvp_env_memory_crash(struct kvp_env *env, size_t keep_batches, size_t keep_frames,
                          bool keep_files);

/* Power is back, and the fault is lifted. All stores have been closed. */
void kvp_env_memory_restart(struct kvp_env *env);

/* Another directory with what is in this one, whose stores have been closed and whose power is on.
 */
kvp_status kvp_env_memory_copy(const struct kvp_env *env, struct kvp_env **copy);

/* Batches of the store `name` that a crash would put at risk; 0 if there is no such store. */
size_t kvp_env_memory_unsynced(const struct kvp_env *env, const char *name);

#endif
