/* SPDX-License-Identifier: Apache-2.0 */
/* What a new store is begun with: a name that was never used, its identity, an empty journal. */
#include "kvstore/storage_private.h"

#include <stdio.h>
#include <string.h>

struct name_search {
    const char *name;
    bool found;
};

static void name_compare(void *arg, const char *name)
{
    struct name_search *search = arg;
    search->found = search->found || strcmp(name, search->name) == 0;
}

kvp_status storage_is_there(struct kvp_storage *storage, const char *name, bool *found)
{
    struct name_search search = {.name = name};
    kvp_status status = storage->env->ops->list_stores(storage->env, name_compare, &search);
    *found = search.found;
    return status == KVP_OK ? KVP_OK
                            : storage_fail_env(storage, status, "listing the data directory");
}

kvp_status storage_new_name(struct kvp_storage *storage, const char *prefix, char *name)
{
    bool taken = true;
    kvp_status status = KVP_OK;
    while (status == KVP_OK && taken) { /* by somebody's copy, made since the opening */
        (void)snprintf(name, KVP_STORE_NAME_SIZE, "%s%llu", prefix,
                       (unsigned long long)storage->next_number++);
        status = storage_is_there(storage, name, &taken);
    }
    return status;
}

kvp_status storage_write_identity(const struct kvp_storage *storage, struct kvp_store *store,
                                  const struct kvp_meta *meta, struct kvp_point point)
{
    struct storage_batch batch;
    uint8_t format[4], node[1] = {(uint8_t)storage->node_id};
    kvp_status status =
        storage_batch_init(&batch, 6, STORAGE_META_SIZE + STORAGE_POINT_SIZE + STORAGE_BASE_SIZE);

    if (status != KVP_OK) {
        return status;
    }
    kvp_put_u32(format, KVP_STORE_VERSION);
    storage_batch_put(&batch, STORAGE_KEY_FORMAT, format, sizeof(format));
    storage_batch_put(&batch, STORAGE_KEY_GROUP, storage->group, strlen(storage->group));
    storage_batch_put(&batch, STORAGE_KEY_NODE, node, sizeof(node));
    storage_batch_meta(&batch, meta);
    storage_batch_point(&batch, STORAGE_KEY_APPLIED, point);
    storage_batch_base(&batch, point, 1);
    status = store->ops->write(store, batch.ops, batch.count, true);
    storage_batch_free(&batch);
    return status;
}

static kvp_status journal_refuse(void *arg, struct kvp_frame frame, kvp_slice bytes)
{
    (void)arg;
    (void)frame;
    (void)bytes;
    return KVP_CORRUPT;
}

kvp_status storage_begin_journal(struct kvp_storage *storage, struct kvp_store *store)
{
    bool more = false;
    kvp_status status = store->ops->journal_replay(store, 1, journal_refuse, NULL, &more);
    status = status == KVP_OK ? store->ops->journal_begin(store) : status;
    return status == KVP_OK ? KVP_OK
                            : storage_fail_store(storage, status, "beginning a journal", store);
}
