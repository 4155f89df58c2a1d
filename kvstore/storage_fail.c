/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How a storage fails, and the open store that it lets go of then.
 *
 * A failed write may or may not be there after reopening, and LevelDB goes on accepting writes that
 * it loses after one has failed. So the first failure is the last: the store is closed and nothing
 * is done any more (rule R7).
 */
#include "kvstore/storage_private.h"

#include <stdio.h>
#include <stdlib.h>

struct storage_held *storage_held_new(struct kvp_store *store)
{
    struct storage_held *held = malloc(sizeof(*held));
    if (held != NULL) {
        atomic_init(&held->references, 1);
        held->store = store;
    }
    return held;
}

void storage_held_unref(struct storage_held *held)
{
    if (held != NULL && atomic_fetch_sub(&held->references, 1) == 1) {
        held->store->ops->close(held->store);
        free(held);
    }
}

kvp_status storage_fail_soon(struct kvp_storage *storage, kvp_status status, const char *what,
                             const char *reason)
{
    pthread_mutex_lock(&storage->error_lock);
    if (!atomic_load(&storage->failed)) {
        bool full = status == KVP_DISK_FULL;
        (void)snprintf(storage->error, sizeof(storage->error), "%s: %s%s%s", what,
                       full ? "no space left: " : "", reason[0] == '\0' ? "" : reason,
                       reason[0] == '\0' ? kvp_strerror(status) : "");
        atomic_store(&storage->damaged, status == KVP_CORRUPT);
        atomic_store(&storage->failed, true);
    }
    pthread_mutex_unlock(&storage->error_lock);
    return status;
}

void storage_release(struct kvp_storage *storage)
{
    pthread_rwlock_wrlock(&storage->lock);
    struct storage_held *held = storage->held;
    storage->held = NULL;
    pthread_rwlock_unlock(&storage->lock);
    storage_held_unref(held);
    if (storage->incoming != NULL) {
        storage->incoming->ops->close(storage->incoming);
        storage->incoming = NULL;
    }
}

kvp_status storage_fail(struct kvp_storage *storage, kvp_status status, const char *what,
                        const char *reason)
{
    (void)storage_fail_soon(storage, status, what, reason);
    storage_release(storage);
    return status;
}

/* Short of memory or not, nobody knows what became of a change. */
static kvp_status storage_no_memory_is_io(kvp_status status)
{
    return status == KVP_NO_MEMORY ? KVP_IO : status;
}

kvp_status storage_fail_store(struct kvp_storage *storage, kvp_status status, const char *what,
                              struct kvp_store *store)
{
    return storage_fail(storage, storage_no_memory_is_io(status), what, store->ops->error(store));
}

kvp_status storage_fail_env(struct kvp_storage *storage, kvp_status status, const char *what)
{
    return storage_fail(storage, storage_no_memory_is_io(status), what,
                        storage->env->ops->error(storage->env));
}

kvp_status storage_check(struct kvp_storage *storage)
{
    if (!atomic_load(&storage->failed)) {
        return KVP_OK;
    }
    storage_release(storage);
    return KVP_FAILED;
}

const char *kvp_storage_error(const struct kvp_storage *storage)
{
    return atomic_load(&storage->failed) ? storage->error : "";
}
