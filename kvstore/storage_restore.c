/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A store made of a backup. It belongs to a group that has never been: its number is drawn, so that
 * no member of the old one takes it for its own, nor it one of them; and its revisions begin so far
 * above the backup's that none that the old group may have given since comes again. It is what the
 * first node of a new group is before that has a view: it founds it, with its data.
 *
 * Until `active` is written the directory holds a store that no node begins with: a crash leaves
 * nothing that could pass for the whole, and what it leaves is removed when it is tried again.
 */
#include "kvstore/backup.h"
#include "kvstore/base/mutant.h"
#include "kvstore/storage_private.h"

#include <stdio.h>

#define ACTIVE_FILE "active"
/* Beyond this numbers would end: of entries, which have 48 bits where they are part of a lease's
 * number (replication/engine/lease_record.h), and of views. */
#define RESTORE_SEQ_MAX   ((uint64_t)1 << 47)
#define RESTORE_EPOCH_MAX ((uint64_t)1 << 45)

struct restore_look {
    const struct kvp_storage *storage;
    const char *found;
    char name[KVP_STORE_NAME_SIZE];
};

static void restore_see(void *arg, const char *name)
{
    struct restore_look *look = arg;
    if (!storage_books_name(look->storage, name)) {
        (void)snprintf(look->name, sizeof(look->name), "%s", name);
        look->found = look->name;
    }
}

/* Nothing but what an attempt before this one has left. */
static kvp_status restore_check_empty(struct kvp_storage *storage)
{
    struct restore_look look = {.storage = storage};
    const struct kvp_env_ops *ops = storage->env->ops;
    kvp_buf text = {0};
    kvp_status status = ops->read_file(storage->env, ACTIVE_FILE, &text);
    kvp_buf_free(&text);
    if (status != KVP_NOT_FOUND) {
        return status == KVP_OK
                   ? storage_fail(storage, KVP_EXISTS, "the data directory",
                                  "has a store: a backup is restored into an empty one")
                   : storage_fail_env(storage, status, "reading the file 'active'");
    }
    status = ops->list_stores(storage->env, restore_see, &look);
    if (status != KVP_OK) {
        return storage_fail_env(storage, status, "listing the data directory");
    }
    return look.found == NULL ? KVP_OK
                              : storage_fail(storage, KVP_EXISTS, look.found,
                                             "is in the data directory: a backup is restored into "
                                             "an empty one");
}

static kvp_status restore_begin(struct kvp_storage *storage)
{
    kvp_status status = storage_books_load(storage);
    status = status == KVP_OK ? restore_check_empty(storage) : status;
    status = status == KVP_OK ? storage_books_temporary(storage, "", "") : status;
    storage->next_number = 1;
    return status == KVP_OK ? kvp_storage_incoming_begin(storage) : status;
}

kvp_status kvp_storage_restore_begin(struct kvp_env *env, const char *group, unsigned node_id,
                                     struct kvp_storage **storage, char *message,
                                     size_t message_size)
{
    if (strlen(group) > KVP_GROUP_NAME_MAX || node_id == 0 || node_id > KVP_NODE_ID_MAX) {
        (void)snprintf(message, message_size, "the group's name or the node's number is invalid");
        return KVP_BAD_ARGUMENT;
    }
    struct kvp_storage *made = storage_new(env, group, node_id);
    kvp_status status = made == NULL ? KVP_NO_MEMORY : restore_begin(made);
    if (status != KVP_OK) {
        const char *reason = made == NULL ? "" : kvp_storage_error(made);
        (void)snprintf(message, message_size, "%s",
                       reason[0] == '\0' ? kvp_strerror(status) : reason);
        kvp_storage_restore_end(made);
        return status;
    }
    *storage = made;
    return KVP_OK;
}

/* The new group's nodes are not the old one's. */
static kvp_status restore_drop_members(struct kvp_storage *storage)
{
    struct kvp_raw_key key;
    kvp_raw_key_members(&key);
    const struct kvp_batch_op op = {.key = kvp_raw_key_slice(&key), .is_delete = true};
    return storage->incoming->ops->write(storage->incoming, &op, 1, false);
}

kvp_status kvp_storage_restore_finish(struct kvp_storage *storage,
                                      const struct kvp_backup_header *header, uint64_t drawn,
                                      struct kvp_point *base)
{
    uint64_t group_id = KVP_MUTANT(RESTORE_SAME_GROUP) ? header->group_id : drawn;
    uint64_t jump = KVP_MUTANT(RESTORE_SAME_REVISION) ? 0 : KVP_RESTORE_JUMP;
    struct kvp_point backup = header->point;
    struct kvp_point point = {backup.seq + jump, backup.epoch + KVP_RESTORE_EPOCHS, group_id};
    /* Tail and view do not fit before the group is founded, and that is what this says. */
    const struct kvp_meta meta = {
        .group_id = group_id, .log_regressed = true, .earlier = {KVP_STORE_IS_NEW}};
    struct storage_pointer pointer = {0};
    kvp_status status = storage_check(storage);
    if (status != KVP_OK || storage->incoming == NULL || drawn == 0 || drawn == header->group_id) {
        return status == KVP_OK ? KVP_BAD_ARGUMENT : status;
    }
    if (header->store_format != KVP_STORE_VERSION) {
        return storage_fail(storage, KVP_BAD_VERSION, "the backup",
                            "is of a store of another format than this release writes");
    }
    if (backup.seq > RESTORE_SEQ_MAX || backup.epoch > RESTORE_EPOCH_MAX) {
        return storage_fail(storage, KVP_TOO_LARGE, "the backup", "its numbers cannot go on");
    }
    (void)snprintf(pointer.active, sizeof(pointer.active), "%s", storage->incoming_name);
    status = restore_drop_members(storage);
    if (status != KVP_OK) {
        return storage_fail_env(storage, status, "dropping the old group's members");
    }
    status = storage_start_empty(storage, &pointer, &meta, point, storage->incoming);
    if (status == KVP_OK) {
        *base = point;
        storage->incoming->ops->close(storage->incoming);
        storage->incoming = NULL;
    }
    return status;
}

void kvp_storage_restore_end(struct kvp_storage *storage)
{
    if (storage != NULL) {
        kvp_storage_incoming_abort(storage);
        storage_free(storage);
    }
}
