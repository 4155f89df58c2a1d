/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How much is kept beside the data. Stores that may have what nobody else has are never removed:
 * when they are as many or as large as the operator allows, the active store stays where it is, and
 * the caller is told. Spares, which never counted, make room, the oldest first.
 */
#include "kvstore/storage_private.h"

#include <string.h>

void kvp_storage_set_quarantine(struct kvp_storage *storage, struct kvp_quarantine quarantine)
{
    storage->quarantine = quarantine;
}

bool storage_is_quarantined(const char *name)
{
    return strncmp(name, STORAGE_DIVERGED_PREFIX, sizeof(STORAGE_DIVERGED_PREFIX) - 1) == 0 ||
           strncmp(name, STORAGE_REPLACED_PREFIX, sizeof(STORAGE_REPLACED_PREFIX) - 1) == 0 ||
           strncmp(name, STORAGE_DAMAGED_PREFIX, sizeof(STORAGE_DAMAGED_PREFIX) - 1) == 0;
}

struct measure {
    struct kvp_env *env;
    unsigned count;
    uint64_t size;
    kvp_status status;
};

static void measure_one(void *arg, const char *name)
{
    struct measure *measure = arg;
    if (!storage_is_quarantined(name) || measure->status != KVP_OK) {
        return;
    }
    measure->count++;
    measure->status = measure->env->ops->store_size(measure->env, name, &measure->size);
}

kvp_status storage_quarantine_measure(struct kvp_storage *storage, unsigned *count, uint64_t *size)
{
    struct measure measure = {.env = storage->env};
    kvp_status status = storage->env->ops->list_stores(storage->env, measure_one, &measure);
    status = status == KVP_OK ? measure.status : status;
    if (status != KVP_OK) {
        return storage_fail_env(storage, status, "looking at the stores set aside");
    }
    *count = measure.count;
    *size = measure.size;
    return KVP_OK;
}

kvp_status storage_quarantine_room(struct kvp_storage *storage, struct kvp_quarantined *quarantined)
{
    uint64_t size = 0;
    for (;;) {
        kvp_status status = storage_quarantine_measure(storage, &quarantined->count, &size);
        if (status != KVP_OK) {
            return status;
        }
        if (quarantined->count < storage->quarantine.count && size < storage->quarantine.size) {
            return KVP_OK;
        }
        if (storage->books.spare_count == 0) {
            return KVP_REFUSED;
        }
        status = storage_books_drop_spare(storage);
        if (status != KVP_OK) {
            return status;
        }
        quarantined->dropped++;
    }
}
