/* SPDX-License-Identifier: Apache-2.0 */
/* The storage's life: how it is opened and closed. */
#include "kvstore/storage_private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void storage_free(struct kvp_storage *storage)
{
    storage_release(storage);
    kvp_buf_free(&storage->incoming_key);
    kvp_buf_free(&storage->scratch);
    storage_index_clear(&storage->index);
    pthread_rwlock_destroy(&storage->lock);
    pthread_mutex_destroy(&storage->error_lock);
    free(storage);
}

struct kvp_storage *storage_new(struct kvp_env *env, const char *group, unsigned node_id)
{
    struct kvp_storage *storage = calloc(1, sizeof(*storage));
    if (storage == NULL) {
        return NULL;
    }
    if (pthread_rwlock_init(&storage->lock, NULL) != 0) {
        free(storage);
        return NULL;
    }
    if (pthread_mutex_init(&storage->error_lock, NULL) != 0) {
        pthread_rwlock_destroy(&storage->lock);
        free(storage);
        return NULL;
    }
    storage->env = env;
    storage->node_id = node_id;
    (void)snprintf(storage->group, sizeof(storage->group), "%s", group);
    storage->quarantine =
        (struct kvp_quarantine){.count = KVP_QUARANTINE_COUNT, .size = KVP_QUARANTINE_SIZE};
    atomic_init(&storage->failed, false);
    atomic_init(&storage->damaged, false);
    return storage;
}

kvp_status kvp_storage_open(struct kvp_env *env, const char *group, unsigned node_id,
                            struct kvp_storage **storage, struct kvp_loaded *loaded, char *message,
                            size_t message_size)
{
    if (strlen(group) > KVP_GROUP_NAME_MAX || node_id == 0 || node_id > KVP_NODE_ID_MAX) {
        (void)snprintf(message, message_size, "the group's name or the node's number is invalid");
        return KVP_BAD_ARGUMENT;
    }
    struct kvp_storage *opened = storage_new(env, group, node_id);
    if (opened == NULL) {
        (void)snprintf(message, message_size, "out of memory");
        return KVP_NO_MEMORY;
    }
    memset(loaded, 0, sizeof(*loaded));
    kvp_status status = storage_load(opened, loaded);
    if (status != KVP_OK) {
        const char *reason = kvp_storage_error(opened);
        (void)snprintf(message, message_size, "%s",
                       reason[0] == '\0' ? kvp_strerror(status) : reason);
        storage_free(opened);
        return status;
    }
    *storage = opened;
    return KVP_OK;
}

bool kvp_storage_repairable(const struct kvp_storage *storage)
{
    return atomic_load(&storage->damaged) && storage_tail_repairable(storage);
}

struct kvp_syncs kvp_storage_syncs(const struct kvp_storage *storage)
{
    return storage->held != NULL ? storage->held->store->syncs : (struct kvp_syncs){0};
}

kvp_status kvp_storage_size(struct kvp_storage *storage, uint64_t *size)
{
    return storage->env->ops->store_size(storage->env, storage->name, size);
}

void kvp_storage_close(struct kvp_storage *storage)
{
    if (storage != NULL) {
        (void)kvp_storage_sync_tail(storage); /* what failed before needs no second complaint */
        if (atomic_load(&storage->damaged)) {
            storage_tail_condemn(storage);
        }
        storage_free(storage);
    }
}
