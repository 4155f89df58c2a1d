/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The storage's life, and the one step of the log: what happens to the log and the metadata at one
 * moment is one frame of the store's journal, and what then happens to the state is one batch of
 * its map. The map is not synced: what it loses in a power cut is in the journal and is applied
 * again. But it may never be ahead of what the journal has durably.
 *
 * A failed write may or may not be there after reopening, and LevelDB goes on accepting writes that
 * it loses after one has failed. So the first failure is the last: the store is closed and nothing
 * is done any more (rule R7).
 */
#include "kvstore/storage_private.h"
#include "kvstore/writeset.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- failing ---- */

kvp_status storage_fail_soon(struct kvp_storage *storage, kvp_status status, const char *what,
                             const char *reason)
{
    pthread_mutex_lock(&storage->error_lock);
    if (!atomic_load(&storage->failed)) {
        bool full = status == KVP_DISK_FULL;
        (void)snprintf(storage->error, sizeof(storage->error), "%s: %s%s%s", what,
                       full ? "no space left: " : "", reason[0] == '\0' ? "" : reason,
                       reason[0] == '\0' ? kvp_strerror(status) : "");
        atomic_store(&storage->failed, true);
    }
    pthread_mutex_unlock(&storage->error_lock);
    return status;
}

static void let_go(struct kvp_storage *storage)
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
    let_go(storage);
    return status;
}

/* Short of memory or not, nobody knows what became of a change. */
static kvp_status no_memory_is_io(kvp_status status)
{
    return status == KVP_NO_MEMORY ? KVP_IO : status;
}

kvp_status storage_fail_store(struct kvp_storage *storage, kvp_status status, const char *what,
                              struct kvp_store *store)
{
    return storage_fail(storage, no_memory_is_io(status), what, store->ops->error(store));
}

kvp_status storage_fail_env(struct kvp_storage *storage, kvp_status status, const char *what)
{
    return storage_fail(storage, no_memory_is_io(status), what,
                        storage->env->ops->error(storage->env));
}

kvp_status storage_check(struct kvp_storage *storage)
{
    if (!atomic_load(&storage->failed)) {
        return KVP_OK;
    }
    let_go(storage);
    return KVP_FAILED;
}

const char *kvp_storage_error(const struct kvp_storage *storage)
{
    return atomic_load(&storage->failed) ? storage->error : "";
}

/* ---- the open store ---- */

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

struct search {
    const char *name;
    bool found;
};

static void find_name(void *arg, const char *name)
{
    struct search *search = arg;

    search->found = search->found || strcmp(name, search->name) == 0;
}

kvp_status storage_is_there(struct kvp_storage *storage, const char *name, bool *found)
{
    struct search search = {.name = name};
    kvp_status status = storage->env->ops->list_stores(storage->env, find_name, &search);

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

static kvp_status refuse_frame(void *arg, struct kvp_frame frame, kvp_slice bytes)
{
    (void)arg;
    (void)frame;
    (void)bytes;
    return KVP_CORRUPT;
}

kvp_status storage_begin_journal(struct kvp_storage *storage, struct kvp_store *store)
{
    bool more = false;
    kvp_status status = store->ops->journal_replay(store, 1, refuse_frame, NULL, &more);

    status = status == KVP_OK ? store->ops->journal_begin(store) : status;
    return status == KVP_OK ? KVP_OK
                            : storage_fail_store(storage, status, "beginning a journal", store);
}

/* ---- one step of the log ---- */

/* Where the log and the state will be after a write. */
struct step {
    struct kvp_point applied, tail;
    struct kvp_point cut; /* the tail between the truncation and the entries appended */
};

static kvp_status refuse(struct kvp_storage *storage, const char *reason)
{
    return storage_fail(storage, KVP_BAD_ARGUMENT, "writing the log", reason);
}

/* Finds the point that the log is cut behind. */
static kvp_status plan_cut(struct kvp_storage *storage, uint64_t after, struct step *step)
{
    kvp_status status = KVP_OK;

    if (after < step->applied.seq || after > step->tail.seq) {
        return refuse(storage, "cut outside of what is not applied yet");
    }
    if (after == storage->base.seq) {
        step->tail = storage->base;
    } else if (after != storage->tail.seq) {
        status = storage_log_look(storage, after, &step->tail);
    }
    if (status == KVP_OK || status == KVP_NO_MEMORY) {
        return status;
    }
    return storage_fail_store(storage, status, "reading an entry of the log", storage->held->store);
}

/* Finds out where the write leads, and that it is one that the log allows. */
static kvp_status plan(struct kvp_storage *storage, const struct kvp_storage_write *write,
                       struct step *step)
{
    kvp_status status = KVP_OK;

    step->applied = storage->applied;
    step->tail = storage->tail;
    if (write->truncate) {
        status = plan_cut(storage, write->truncate_after, step);
    }
    step->cut = step->tail;
    for (size_t i = 0; status == KVP_OK && i < write->append_count; i++) {
        if (write->append[i]->point.seq != step->tail.seq + 1) {
            return refuse(storage, "an entry that does not follow the tail");
        }
        step->tail = write->append[i]->point;
    }
    for (size_t i = 0; status == KVP_OK && i < write->apply_count; i++) {
        if (write->apply[i]->point.seq != step->applied.seq + 1 ||
            write->apply[i]->point.seq > step->tail.seq) {
            return refuse(storage, "an entry to apply that does not follow the applied ones");
        }
        step->applied = write->apply[i]->point;
    }
    return status;
}

static kvp_status count_ops(const struct kvp_storage_write *write, size_t *count)
{
    struct kvp_writeset_iter iter;
    struct kvp_batch_op op;

    for (size_t i = 0; i < write->apply_count; i++) {
        const struct kvp_entry *entry = write->apply[i];
        kvp_status status = KVP_OK;
        kvp_writeset_begin(&iter, kvp_slice_of(entry->payload, entry->size));
        while ((status = kvp_writeset_next(&iter, &op)) == KVP_OK) {
            ++*count;
        }
        if (status != KVP_NOT_FOUND) {
            return status;
        }
    }
    return KVP_OK;
}

static void batch_apply(struct storage_batch *batch, const struct kvp_entry *entry)
{
    struct kvp_writeset_iter iter;
    struct kvp_batch_op op;

    kvp_writeset_begin(&iter, kvp_slice_of(entry->payload, entry->size));
    while (kvp_writeset_next(&iter, &op) == KVP_OK) {
        storage_batch_add(batch, op);
    }
}

/* What the entries to apply do to the state. */
static kvp_status build_state(struct kvp_storage *storage, const struct kvp_storage_write *write,
                              struct kvp_point applied, struct storage_batch *batch)
{
    size_t count = 1;
    kvp_status status = count_ops(write, &count);

    if (status == KVP_CORRUPT) {
        return storage_fail(storage, status, "applying an entry", "its write set is malformed");
    }
    status = status == KVP_OK ? storage_batch_init(batch, count, STORAGE_POINT_SIZE) : status;
    if (status != KVP_OK) {
        return status;
    }
    for (size_t i = 0; i < write->apply_count; i++) {
        batch_apply(batch, write->apply[i]);
    }
    storage_batch_point(batch, STORAGE_KEY_APPLIED, applied);
    return KVP_OK;
}

/* After a synced write the whole log is durable, and the second record may say so. */
static kvp_status raise_tail(struct kvp_storage *storage, bool sync)
{
    if (kvp_point_equal(storage->slot.tail, storage->tail) && (storage->slot_synced || !sync)) {
        return KVP_OK;
    }
    kvp_status status = storage_tail_write(storage, storage->name, storage->tail, sync);
    return status == KVP_OK ? KVP_OK
                            : storage_fail_env(storage, status, "writing the record of the tail");
}

static kvp_status lower_tail(struct kvp_storage *storage, struct kvp_point tail)
{
    if (storage->slot.tail.seq <= tail.seq) {
        return KVP_OK;
    }
    kvp_status status = storage_tail_write(storage, storage->name, tail, true);
    return status == KVP_OK ? KVP_OK
                            : storage_fail_env(storage, status, "writing the record of the tail");
}

static kvp_status sync_journal(struct kvp_storage *storage)
{
    struct kvp_store *store = storage->held->store;
    kvp_status status = store->ops->journal_sync(store);

    return status == KVP_OK ? KVP_OK
                            : storage_fail_store(storage, status, "syncing the log", store);
}

static kvp_status write_log(struct kvp_storage *storage, const struct kvp_storage_write *write,
                            const struct step *step)
{
    kvp_status status = KVP_OK;

    if (!write->truncate && write->append_count == 0 && write->meta == NULL) {
        return write->sync ? sync_journal(storage) : KVP_OK;
    }
    if (write->truncate) {
        status = lower_tail(storage, step->cut);
    }
    status = status == KVP_OK ? storage_log_write(storage, write) : status;
    if (status == KVP_OK) {
        storage->tail = step->tail;
        storage->meta = write->meta != NULL ? *write->meta : storage->meta;
    }
    return status;
}

static kvp_status write_state(struct kvp_storage *storage, const struct storage_batch *batch,
                              struct kvp_point applied)
{
    struct kvp_store *store = storage->held->store;
    kvp_status status = sync_journal(storage); /* what is applied has to be in it */

    if (status != KVP_OK) {
        return status;
    }
    status = store->ops->write(store, batch->ops, batch->count, false);
    if (status != KVP_OK) {
        return storage_fail_store(storage, status, "writing the store", store);
    }
    storage->applied = applied;
    return KVP_OK;
}

static kvp_status write_step(struct kvp_storage *storage, const struct kvp_storage_write *write,
                             const struct step *step, const struct storage_batch *batch)
{
    kvp_status status = write_log(storage, write, step);

    if (status == KVP_OK && write->sync) {
        status = raise_tail(storage, false);
    }
    if (status == KVP_OK && write->apply_count > 0) {
        status = write_state(storage, batch, step->applied);
    }
    uint64_t trim = write->trim_to < storage->applied.seq ? write->trim_to : storage->applied.seq;
    if (status == KVP_OK && trim > storage->base.seq) {
        status = storage_log_trim(storage, trim);
    }
    return status;
}

kvp_status kvp_storage_write(struct kvp_storage *storage, const struct kvp_storage_write *write)
{
    struct step step = {0};
    struct storage_batch batch = {0};
    kvp_status status = storage_check(storage);

    status = status == KVP_OK ? plan(storage, write, &step) : status;
    if (status == KVP_OK && write->apply_count > 0) {
        status = build_state(storage, write, step.applied, &batch);
    }
    status = status == KVP_OK ? write_step(storage, write, &step, &batch) : status;
    storage_batch_free(&batch);
    return status;
}

kvp_status kvp_storage_sync_tail(struct kvp_storage *storage)
{
    kvp_status status = storage_check(storage);

    status = status == KVP_OK ? sync_journal(storage) : status;
    return status == KVP_OK ? raise_tail(storage, true) : status;
}

/* ---- opening and closing ---- */

static void storage_free(struct kvp_storage *storage)
{
    let_go(storage);
    kvp_buf_free(&storage->incoming_key);
    kvp_buf_free(&storage->scratch);
    storage_index_clear(&storage->index);
    pthread_rwlock_destroy(&storage->lock);
    pthread_mutex_destroy(&storage->error_lock);
    free(storage);
}

static struct kvp_storage *storage_new(struct kvp_env *env, const char *group, unsigned node_id)
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

void kvp_storage_close(struct kvp_storage *storage)
{
    if (storage != NULL) {
        (void)kvp_storage_sync_tail(storage); /* what failed before needs no second complaint */
        storage_free(storage);
    }
}
