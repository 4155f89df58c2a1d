/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A data directory whose store cannot be read any more. The store is set aside as a whole, and the
 * node begins anew with an empty one, as if an operator had emptied the directory: from then on it
 * is a new store, which counts nowhere before it has been given everything.
 *
 * That is safe while somebody else has what this node has acknowledged. Who, its metadata say, and
 * where they cannot be read, the record of the tail. The last copy stays where it is: not even the
 * name of its directory is changed.
 *
 * After a crash in the middle the active store is missing, or `active` is: both are damage, and the
 * next repair goes on. A blank store beside a damaged one founds no group (kvp_loaded.repaired).
 */
#include "kvstore/base/mutant.h"
#include "kvstore/storage_private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ACTIVE_FILE      "active"
#define REPAIR_STORE_MAX 16u

/* The stores that have to go. */
struct repair {
    struct kvp_storage *storage;
    bool arbiter;
    bool known; /* `active` could be read */
    struct storage_pointer pointer;
    enum storage_standing standing;
    char names[REPAIR_STORE_MAX][KVP_STORE_NAME_SIZE];
    unsigned count;
};

static uint64_t repair_number_of(const char *name)
{
    bool set_aside = strncmp(name, STORAGE_DAMAGED_PREFIX, strlen(STORAGE_DAMAGED_PREFIX)) == 0;
    return set_aside ? strtoull(strchr(name, '-') + 1, NULL, 10) : storage_number_of(name);
}

/* A snapshot that was being received has nothing of its own. */
static bool repair_unfinished(const struct repair *repair, const char *name)
{
    return strncmp(name, STORAGE_INCOMING_PREFIX, strlen(STORAGE_INCOMING_PREFIX)) == 0 &&
           storage_books_name(repair->storage, name);
}

static void repair_look(void *arg, const char *name)
{
    struct repair *repair = arg;
    uint64_t number = repair_number_of(name);
    if (number >= repair->storage->next_number && number < UINT64_MAX - 1) {
        repair->storage->next_number = number + 1;
    }
    bool damaged = repair->known ? strcmp(name, repair->pointer.active) == 0
                                 : storage_number_of(name) != 0 && !repair_unfinished(repair, name);
    if (damaged && repair->count < REPAIR_STORE_MAX) {
        (void)snprintf(repair->names[repair->count++], KVP_STORE_NAME_SIZE, "%s", name);
    }
}

static kvp_status repair_read(struct repair *repair)
{
    struct kvp_storage *storage = repair->storage;
    const struct kvp_env_ops *ops = storage->env->ops;
    kvp_buf text = {0};
    bool found = false;
    kvp_status status = storage_books_load(storage);
    if (status == KVP_OK && ops->read_file(storage->env, ACTIVE_FILE, &text) == KVP_OK) {
        repair->known = storage_pointer_decode(kvp_buf_slice(&text), &repair->pointer) == KVP_OK;
    }
    kvp_buf_free(&text);
    storage->next_number = storage_number_of(repair->pointer.active) + 1;
    (void)snprintf(storage->name, sizeof(storage->name), "%s", repair->pointer.active);
    status = status == KVP_OK ? storage_tail_load(storage, &found) : status;
    repair->standing = found ? storage->slot.standing : STANDING_UNKNOWN;
    if (status == KVP_OK) {
        status = ops->list_stores(storage->env, repair_look, repair);
    }
    return status == KVP_OK ? KVP_OK : storage_fail_env(storage, status, "looking at the damage");
}

static kvp_status repair_refuse(struct kvp_storage *storage, const char *reason)
{
    return storage_fail(storage, KVP_REFUSED, "not repaired", reason);
}

static kvp_status repair_may(struct repair *repair, struct kvp_quarantined *quarantined)
{
    struct kvp_storage *storage = repair->storage;
    if (repair->standing == STANDING_ALONE && !KVP_MUTANT(REPAIR_LAST_COPY)) {
        return repair_refuse(
            storage, "this node alone has what the group acknowledged last, so nothing was "
                     "changed. Keep a copy of the directory. Put back a sound copy of it, or let "
                     "another node go on with what that one has (kvcli promote --force there), and "
                     "empty this directory");
    }
    if (repair->standing == STANDING_UNKNOWN && !repair->arbiter && !KVP_MUTANT(REPAIR_UNSURE)) {
        return repair_refuse(
            storage, "nobody can tell whether the other node has all that this one acknowledged, "
                     "so nothing was changed. If it has, empty this directory");
    }
    kvp_status status = storage_quarantine_room(storage, quarantined);
    return status == KVP_REFUSED
               ? repair_refuse(storage, "as many stores lie beside the data as may be kept "
                                        "(--quarantine-stores, --quarantine-size): remove those "
                                        "that nobody needs")
               : status;
}

/* store-3 becomes damaged-3, or damaged-3-2 where that is taken. */
static kvp_status repair_put_aside(struct repair *repair, const char *name,
                                   struct kvp_quarantined *quarantined)
{
    struct kvp_storage *storage = repair->storage;
    char *to = quarantined->name;
    bool taken = true;
    kvp_status status = KVP_OK;
    for (unsigned attempt = 1; status == KVP_OK && taken; attempt++) {
        int size = snprintf(to, sizeof(quarantined->name), STORAGE_DAMAGED_PREFIX "%llu",
                            (unsigned long long)repair_number_of(name));
        if (attempt > 1) {
            (void)snprintf(to + size, sizeof(quarantined->name) - (size_t)size, "-%u", attempt);
        }
        status = storage_is_there(storage, to, &taken);
    }
    if (status == KVP_OK) {
        status = storage->env->ops->rename_store(storage->env, name, to);
        quarantined->count++;
        status = status == KVP_OK
                     ? KVP_OK
                     : storage_fail_env(storage, status, "setting a damaged store aside");
    }
    /* Where others are known to have it all, it is a help for whoever looks for the cause. */
    return status == KVP_OK && (repair->standing == STANDING_SHARED || KVP_MUTANT(REPAIR_DROPS))
               ? storage_books_spare(storage, to)
               : status;
}

/* A crash in the middle of an earlier exchange has left that to be done. */
static kvp_status repair_finish_earlier(struct repair *repair)
{
    struct kvp_storage *storage = repair->storage;
    const struct storage_pointer *pointer = &repair->pointer;
    bool found = false;
    kvp_status status = KVP_OK;
    if (pointer->quarantine_from[0] != '\0') {
        status = storage_is_there(storage, pointer->quarantine_from, &found);
    }
    if (status == KVP_OK && found) {
        status = storage->env->ops->rename_store(storage->env, pointer->quarantine_from,
                                                 pointer->quarantine_to);
        status =
            status == KVP_OK ? KVP_OK : storage_fail_env(storage, status, "setting a store aside");
    }
    return status;
}

static kvp_status repair_begin_anew(struct kvp_storage *storage)
{
    struct storage_pointer pointer = {0};
    const struct kvp_meta blank = {0};
    const struct kvp_point zero = {0};
    storage->name[0] = '\0';
    kvp_status status = storage_books_temporary(storage, "", "");
    if (status == KVP_OK) {
        status = storage_new_name(storage, STORAGE_STORE_PREFIX, pointer.active);
    }
    status = status == KVP_OK ? storage_books_temporary(storage, pointer.active, "") : status;
    return status == KVP_OK ? storage_start_empty(storage, &pointer, &blank, zero, NULL) : status;
}

static kvp_status repair_run(struct repair *repair, struct kvp_quarantined *quarantined)
{
    kvp_status status = repair_read(repair);
    status = status == KVP_OK ? repair_may(repair, quarantined) : status;
    status = status == KVP_OK ? repair_finish_earlier(repair) : status;
    for (unsigned i = 0; status == KVP_OK && i < repair->count; i++) {
        status = repair_put_aside(repair, repair->names[i], quarantined);
    }
    return status == KVP_OK ? repair_begin_anew(repair->storage) : status;
}

kvp_status kvp_storage_repair(struct kvp_env *env, const char *group, unsigned node_id,
                              bool arbiter, struct kvp_quarantine quarantine,
                              struct kvp_quarantined *quarantined, char *message,
                              size_t message_size)
{
    struct repair repair = {.storage = storage_new(env, group, node_id), .arbiter = arbiter};
    memset(quarantined, 0, sizeof(*quarantined));
    if (repair.storage == NULL) {
        (void)snprintf(message, message_size, "out of memory");
        return KVP_NO_MEMORY;
    }
    repair.storage->quarantine = quarantine;
    kvp_status status = repair_run(&repair, quarantined);
    if (status != KVP_OK) {
        const char *reason = kvp_storage_error(repair.storage);
        (void)snprintf(message, message_size, "%s",
                       reason[0] == '\0' ? kvp_strerror(status) : reason);
    }
    storage_free(repair.storage);
    return status;
}
