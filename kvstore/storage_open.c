/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Opening a data directory: which store is in use, what a crash left undone or lying about, whether
 * the log is whole and as long as it was.
 */
#include "kvstore/storage_private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ACTIVE_FILE       "active"
#define DAMAGED           "the store is damaged"
#define NUMBER_DIGITS_MAX 18u
#define KEY_SLICE(key)    kvp_slice_of(key, sizeof(key) - 1)

/* The stores in the directory. */
struct listing {
    struct kvp_storage *storage;
    char (*names)[KVP_STORE_NAME_SIZE];
    size_t count;
    bool no_memory;
};

static void list_one(void *arg, const char *name)
{
    struct listing *listing = arg;
    char(*names)[KVP_STORE_NAME_SIZE] =
        realloc(listing->names, (listing->count + 1) * sizeof(listing->names[0]));

    if (names == NULL) {
        listing->no_memory = true;
        return;
    }
    listing->names = names;
    (void)snprintf(names[listing->count++], KVP_STORE_NAME_SIZE, "%s", name);
}

static kvp_status list_stores(struct kvp_storage *storage, struct listing *listing)
{
    memset(listing, 0, sizeof(*listing));
    kvp_status status = storage->env->ops->list_stores(storage->env, list_one, listing);
    if (status != KVP_OK) {
        return storage_fail_env(storage, status, "listing the data directory");
    }
    return listing->no_memory ? KVP_NO_MEMORY : KVP_OK;
}

static bool listed(const struct listing *listing, const char *name)
{
    for (size_t i = 0; i < listing->count; i++) {
        if (strcmp(listing->names[i], name) == 0) {
            return true;
        }
    }
    return false;
}

static bool open_starts_with(const char *name, const char *prefix)
{
    return strncmp(name, prefix, strlen(prefix)) == 0;
}

uint64_t storage_number_of(const char *name)
{
    if (!open_starts_with(name, STORAGE_STORE_PREFIX) &&
        !open_starts_with(name, STORAGE_INCOMING_PREFIX)) {
        return 0;
    }
    const char *digits = strchr(name, '-') + 1;
    size_t size = strspn(digits, "0123456789");
    bool ours = size > 0 && size <= NUMBER_DIGITS_MAX && digits[0] != '0' && digits[size] == '\0';
    return ours ? strtoull(digits, NULL, 10) : 0;
}

static void learn_numbers(struct kvp_storage *storage, const struct listing *listing)
{
    storage->next_number = storage_number_of(storage->name) + 1;
    for (size_t i = 0; i < listing->count; i++) {
        uint64_t number = storage_number_of(listing->names[i]);
        if (number >= storage->next_number) {
            storage->next_number = number + 1;
        }
    }
}

kvp_status storage_write_pointer(struct kvp_storage *storage, const struct storage_pointer *pointer)
{
    kvp_buf text = {0};
    kvp_status status = storage_pointer_encode(pointer, &text);
    if (status != KVP_OK) { /* half of an exchange is no state to go on in */
        return storage_fail(storage, KVP_IO, "switching the active store", kvp_strerror(status));
    }
    status = storage->env->ops->replace_file(storage->env, ACTIVE_FILE, kvp_buf_slice(&text));
    kvp_buf_free(&text);
    return status == KVP_OK ? KVP_OK
                            : storage_fail_env(storage, status, "switching the active store");
}

/* ---- the first opening ---- */

/* Of whatever version. */
static bool open_is_blank(kvp_slice value)
{
    const struct kvp_meta blank = {0};
    struct kvp_meta found = {0};
    uint8_t ours[STORAGE_META_SIZE], theirs[STORAGE_META_SIZE];
    if (storage_meta_decode(value, &found) != KVP_OK) {
        return false;
    }
    storage_meta_encode(&blank, ours);
    storage_meta_encode(&found, theirs);
    return memcmp(ours, theirs, sizeof(ours)) == 0;
}

/* Is it a pair of a store as storage_start_empty() makes the first one? */
static bool is_of_first(kvp_slice key, kvp_slice value)
{
    static const uint8_t zero[STORAGE_POINT_SIZE];
    static const uint8_t base[STORAGE_BASE_SIZE] = {[STORAGE_POINT_SIZE] = 1};
    kvp_slice expected;
    if (key.size == 0 || *(const uint8_t *)key.data != KVP_PREFIX_META) {
        return false;
    }
    if (kvp_slice_compare(key, KEY_SLICE(STORAGE_KEY_META)) == 0) {
        return open_is_blank(value);
    }
    if (kvp_slice_compare(key, KEY_SLICE(STORAGE_KEY_APPLIED)) == 0) {
        expected = kvp_slice_of(zero, sizeof(zero));
    } else if (kvp_slice_compare(key, KEY_SLICE(STORAGE_KEY_BASE)) == 0) {
        expected = kvp_slice_of(base, sizeof(base));
    } else {
        return true;
    }
    return kvp_slice_compare(value, expected) == 0;
}

static kvp_status find_frame(void *arg, struct kvp_frame frame, kvp_slice bytes)
{
    (void)frame;
    (void)bytes;
    *(bool *)arg = true;
    return KVP_OK;
}

static kvp_status find_data(struct kvp_store *store, bool *found)
{
    struct kvp_iter *iter = store->ops->iter(store, NULL, false);
    *found = false;
    if (iter == NULL) {
        return KVP_NO_MEMORY;
    }
    for (store->ops->iter_seek(iter, kvp_slice_of("", 0)); !*found && store->ops->iter_valid(iter);
         store->ops->iter_next(iter)) {
        *found = !is_of_first(store->ops->iter_key(iter), store->ops->iter_value(iter));
    }
    kvp_status status = *found ? KVP_OK : store->ops->iter_status(iter);
    store->ops->iter_close(iter);
    bool more = false;
    if (status == KVP_OK && !*found) {
        status = store->ops->journal_replay(store, 1, find_frame, found, &more);
        *found = *found || more;
    }
    return status;
}

/* A store without `active` beside it: left by a first opening that did not get to its end, or one
 * whose `active` somebody has removed; only the former may be thrown away. */
static kvp_status check_leftover(struct kvp_storage *storage, const char *name)
{
    struct kvp_store *store = NULL;
    kvp_status status = storage->env->ops->open_store(storage->env, name, false, &store);
    bool found = false;
    if (status == KVP_NOT_FOUND) {
        return KVP_OK;
    }
    if (status != KVP_OK) {
        return storage_fail_env(storage, status, "opening a store that 'active' should name");
    }
    status = find_data(store, &found);
    if (status != KVP_OK) {
        (void)storage_fail(storage, status, name, store->ops->error(store));
    } else if (found) {
        status = storage_fail(storage, KVP_CORRUPT, name,
                              "a store with data, but the file 'active' is missing");
    }
    store->ops->close(store);
    return status;
}

static kvp_status make_first(struct kvp_storage *storage, const struct listing *listing)
{
    struct storage_pointer pointer = {0};
    struct kvp_meta blank = {0};
    struct kvp_point zero = {0};
    for (size_t i = 0; i < listing->count; i++) {
        if (storage_number_of(listing->names[i]) != 0) {
            kvp_status status = check_leftover(storage, listing->names[i]);
            if (status != KVP_OK) {
                return status;
            }
        }
    }
    learn_numbers(storage, listing);
    kvp_status status = storage_books_temporary(storage, "", "");
    status =
        status == KVP_OK ? storage_new_name(storage, STORAGE_STORE_PREFIX, pointer.active) : status;
    status = status == KVP_OK ? storage_books_temporary(storage, pointer.active, "") : status;
    if (status != KVP_OK) {
        return status;
    }
    return storage_start_empty(storage, &pointer, &blank, zero, NULL);
}

kvp_status storage_start_empty(struct kvp_storage *storage, const struct storage_pointer *pointer,
                               const struct kvp_meta *meta, struct kvp_point point,
                               struct kvp_store *store)
{
    kvp_status status = KVP_OK;
    bool ours = store == NULL;
    if (ours) {
        status = storage->env->ops->open_store(storage->env, pointer->active, true, &store);
        if (status != KVP_OK) {
            return storage_fail_env(storage, status, "making a store");
        }
    }
    status = storage_write_identity(storage, store, meta, point);
    if (status != KVP_OK) {
        status = storage_fail_store(storage, status, "writing a new store", store);
    }
    if (ours) {
        store->ops->close(store);
    }
    if (status == KVP_OK) {
        status = storage_tail_write(storage, pointer->active, point,
                                    storage_standing_of(storage, meta), true);
        if (status != KVP_OK) {
            status = storage_fail_env(storage, status, "writing the record of the tail");
        }
    }
    return status == KVP_OK ? storage_write_pointer(storage, pointer) : status;
}

/* ---- what a crash left ---- */

static kvp_status finish_quarantine(struct kvp_storage *storage, struct storage_pointer *pointer,
                                    const struct listing *listing)
{
    if (pointer->quarantine_from[0] == '\0') {
        return KVP_OK;
    }
    if (listed(listing, pointer->quarantine_from)) {
        kvp_status status = storage->env->ops->rename_store(storage->env, pointer->quarantine_from,
                                                            pointer->quarantine_to);
        if (status != KVP_OK) {
            return storage_fail_env(storage, status, "setting a store aside");
        }
    }
    pointer->quarantine_from[0] = pointer->quarantine_to[0] = '\0';
    return storage_write_pointer(storage, pointer);
}

/* Only for a directory that was found to be ours and of our format. */
static kvp_status tidy_up(struct kvp_storage *storage, struct storage_pointer *pointer,
                          const struct listing *listing)
{
    kvp_status status = finish_quarantine(storage, pointer, listing);
    return status == KVP_OK ? storage_books_temporary(storage, "", "") : status;
}

/* ---- which store is in use ---- */

static unsigned count_quarantined(const struct listing *listing,
                                  const struct storage_pointer *pointer)
{
    unsigned count = listed(listing, pointer->quarantine_from) ? 1 : 0; /* about to be */

    for (size_t i = 0; i < listing->count; i++) {
        count += storage_is_quarantined(listing->names[i]) ? 1 : 0;
    }
    return count;
}

static bool any_damaged(const struct listing *listing)
{
    for (size_t i = 0; i < listing->count; i++) {
        if (open_starts_with(listing->names[i], STORAGE_DAMAGED_PREFIX)) {
            return true;
        }
    }
    return false;
}

/* Directories that look like stores of this node, and are somebody's copies, or left by a release
 * that kept no books. They stay. */
static void count_strangers(const struct kvp_storage *storage, const struct listing *listing,
                            const struct storage_pointer *pointer, struct kvp_loaded *loaded)
{
    for (size_t i = 0; i < listing->count; i++) {
        const char *name = listing->names[i];
        bool alike = open_starts_with(name, STORAGE_STORE_PREFIX) ||
                     open_starts_with(name, STORAGE_INCOMING_PREFIX);
        if (alike && strcmp(name, storage->name) != 0 &&
            strcmp(name, pointer->quarantine_from) != 0 && !storage_books_name(storage, name)) {
            loaded->stranger_count++;
            (void)snprintf(loaded->stranger, sizeof(loaded->stranger), "%s", name);
        }
    }
}

/* Reads the file `active`, which is made with a first store if there is none. */
static kvp_status find_active(struct kvp_storage *storage, const struct listing *listing,
                              struct storage_pointer *pointer)
{
    kvp_buf text = {0};
    kvp_status status = storage->env->ops->read_file(storage->env, ACTIVE_FILE, &text);
    if (status == KVP_NOT_FOUND) {
        status = make_first(storage, listing);
        if (status != KVP_OK) {
            return status;
        }
        status = storage->env->ops->read_file(storage->env, ACTIVE_FILE, &text);
    }
    if (status != KVP_OK) {
        status = storage_fail_env(storage, status, "reading the file 'active'");
    } else if (storage_pointer_decode(kvp_buf_slice(&text), pointer) != KVP_OK) {
        status = storage_fail(storage, KVP_CORRUPT, "the file 'active'", "is damaged");
    }
    kvp_buf_free(&text);
    return status;
}

static kvp_status open_active(struct kvp_storage *storage)
{
    struct kvp_store *store = NULL;
    kvp_status status = storage->env->ops->open_store(storage->env, storage->name, false, &store);
    if (status == KVP_NOT_FOUND) {
        return storage_fail(storage, KVP_CORRUPT, storage->name, "the active store is missing");
    }
    if (status != KVP_OK) {
        return storage_fail_env(storage, status, "opening the store");
    }
    storage->held = storage_held_new(store);
    if (storage->held == NULL) {
        store->ops->close(store);
        return KVP_NO_MEMORY;
    }
    return KVP_OK;
}

/* ---- what the store says ---- */

static kvp_status open_damaged(struct kvp_storage *storage, const char *what)
{
    return storage_fail(storage, KVP_CORRUPT, DAMAGED, what);
}

/* Reads a metadata record. One that is not there is damage: they are all made with the store. */
static kvp_status open_read_record(struct kvp_storage *storage, const char *key, kvp_buf *value)
{
    struct kvp_store *store = storage->held->store;
    value->size = 0;
    kvp_status status = store->ops->get(store, kvp_slice_of(key, strlen(key)), value);
    if (status == KVP_NOT_FOUND) {
        char what[64];
        (void)snprintf(what, sizeof(what), "record '%s' is missing", key + 1);
        return open_damaged(storage, what);
    }
    return status == KVP_OK ? KVP_OK
                            : storage_fail_store(storage, status, "reading the store", store);
}

static kvp_status open_read_point(struct kvp_storage *storage, const char *key, kvp_buf *value,
                                  struct kvp_point *point)
{
    kvp_status status = open_read_record(storage, key, value);
    if (status == KVP_OK && value->size != STORAGE_POINT_SIZE) {
        return open_damaged(storage, "a point of the log has a wrong size");
    }
    if (status == KVP_OK) {
        *point = storage_point_decode(value->data);
    }
    return status;
}

static kvp_status read_base(struct kvp_storage *storage, kvp_buf *value)
{
    kvp_status status = open_read_record(storage, STORAGE_KEY_BASE, value);
    if (status == KVP_OK && value->size != STORAGE_BASE_SIZE) {
        return open_damaged(storage, "record 'base' has a wrong size");
    }
    if (status == KVP_OK) {
        storage->base = storage_point_decode(value->data);
        storage->first_frame = kvp_get_u64(value->data + STORAGE_POINT_SIZE);
        storage->next_frame = storage->first_frame;
    }
    return status;
}

static kvp_status check_format(struct kvp_storage *storage, kvp_buf *value)
{
    kvp_status status = open_read_record(storage, STORAGE_KEY_FORMAT, value);
    char reason[96];
    if (status != KVP_OK) {
        return status;
    }
    if (value->size != 4) {
        return open_damaged(storage, "record 'format' has a wrong size");
    }
    uint32_t format = kvp_get_u32(value->data);
    if (format != KVP_STORE_VERSION) {
        (void)snprintf(reason, sizeof(reason),
                       "has format %u; this release reads and writes format %u", (unsigned)format,
                       (unsigned)KVP_STORE_VERSION);
        return storage_fail(storage, KVP_BAD_VERSION, "the store", reason);
    }
    return KVP_OK;
}

static kvp_status check_owner(struct kvp_storage *storage, kvp_buf *value)
{
    kvp_status status = open_read_record(storage, STORAGE_KEY_GROUP, value);
    char reason[2 * KVP_GROUP_NAME_MAX + 64];
    if (status != KVP_OK) {
        return status;
    }
    if (value->size != strlen(storage->group) ||
        memcmp(value->data, storage->group, value->size) != 0) {
        (void)snprintf(reason, sizeof(reason), "belongs to group '%.*s', not '%s'",
                       (int)(value->size > KVP_GROUP_NAME_MAX ? KVP_GROUP_NAME_MAX : value->size),
                       (const char *)value->data, storage->group);
        return storage_fail(storage, KVP_WRONG_GROUP, "the store", reason);
    }
    status = open_read_record(storage, STORAGE_KEY_NODE, value);
    if (status != KVP_OK) {
        return status;
    }
    if (value->size != 1 || value->data[0] != storage->node_id) {
        (void)snprintf(reason, sizeof(reason), "belongs to node %u, not %u",
                       value->size == 1 ? value->data[0] : 0u, storage->node_id);
        return storage_fail(storage, KVP_REFUSED, "the store", reason);
    }
    return KVP_OK;
}

static kvp_status read_records(struct kvp_storage *storage)
{
    kvp_buf value = {0};
    kvp_status status = check_format(storage, &value);
    status = status == KVP_OK ? check_owner(storage, &value) : status;
    status = status == KVP_OK ? open_read_record(storage, STORAGE_KEY_META, &value) : status;
    if (status == KVP_OK && storage_meta_decode(kvp_buf_slice(&value), &storage->meta) != KVP_OK) {
        status = open_damaged(storage, "record 'meta' is malformed");
    }
    if (status == KVP_OK) {
        status = read_base(storage, &value);
    }
    if (status == KVP_OK) {
        status = open_read_point(storage, STORAGE_KEY_APPLIED, &value, &storage->applied);
    }
    kvp_buf_free(&value);
    return status;
}

/* ---- the log ---- */

/* What the walk along the log keeps an eye on. */
struct walk {
    struct kvp_storage *storage;
    struct kvp_point at;
    uint64_t size;    /* cost of the entries so far */
    bool met_applied; /* the point that the state is at is one of the log's */
    bool met_slot;    /* so is the one of the second record */
    bool more;        /* frames lie behind the end of the journal */
    bool damaged;     /* the reason is told already */
};

static void walk_meet(struct walk *walk)
{
    const struct kvp_storage *storage = walk->storage;
    walk->met_applied = walk->met_applied || kvp_point_equal(walk->at, storage->applied);
    walk->met_slot = walk->met_slot || kvp_point_equal(walk->at, storage->slot.tail);
}

/* A replay is under way: the store must not be let go before that has ended. */
static kvp_status walk_damaged(struct walk *walk, const char *what, uint64_t seq)
{
    char text[96];
    (void)snprintf(text, sizeof(text), what, (unsigned long long)seq);
    walk->damaged = true;
    return storage_fail_soon(walk->storage, KVP_CORRUPT, DAMAGED, text);
}

/* Goes back to the entry that the log was cut after. */
static kvp_status walk_cut(struct walk *walk, uint64_t after)
{
    struct kvp_storage *storage = walk->storage;
    uint64_t size = 0;
    kvp_status status = KVP_OK;
    if (after < storage->base.seq || after > walk->at.seq) {
        return walk_damaged(walk, "the log was cut behind entry %llu, which it has not", after);
    }
    if (after < walk->at.seq) {
        status = storage_log_size(storage, after + 1, &size);
    }
    if (after == storage->base.seq) {
        walk->at = storage->base;
    } else if (status == KVP_OK && after < walk->at.seq) {
        status = storage_log_look(storage, after, &walk->at);
    }
    walk->size -= size;
    storage_index_cut(&storage->index, after, storage->base.seq);
    walk->met_applied = walk->met_applied && storage->applied.seq <= after;
    walk->met_slot = walk->met_slot && storage->slot.tail.seq <= after;
    return status;
}

static kvp_status walk_entries(struct walk *walk, struct storage_record *record)
{
    struct kvp_point point = {0};
    kvp_slice payload;
    kvp_status status = KVP_OK;
    while ((status = storage_record_next(record, &point, &payload)) == KVP_OK) {
        if (point.seq != walk->at.seq + 1 ||
            point.hash != kvp_chain_hash(walk->at.hash, point.seq, point.epoch, payload)) {
            return walk_damaged(walk, "entry %llu of the log does not follow the one before",
                                point.seq);
        }
        walk->at = point;
        walk->size += kvp_entry_cost(payload.size);
        walk_meet(walk);
    }
    return status == KVP_NOT_FOUND
               ? KVP_OK
               : walk_damaged(walk, "entry %llu of the log is malformed", walk->at.seq + 1);
}

static kvp_status walk_frame(void *arg, struct kvp_frame frame, kvp_slice bytes)
{
    struct walk *walk = arg;
    struct kvp_storage *storage = walk->storage;
    struct storage_record record;
    if (storage_record_begin(&record, bytes) != KVP_OK) {
        return walk_damaged(walk, "what follows entry %llu in the log is malformed", walk->at.seq);
    }
    kvp_status status = storage_index_reserve(&storage->index);
    if (status == KVP_OK && record.cut) {
        status = walk_cut(walk, record.cut_after);
    }
    uint64_t before = walk->at.seq;
    status = status == KVP_OK ? walk_entries(walk, &record) : status;
    if (status == KVP_OK && walk->at.seq > before) {
        storage_index_add(&storage->index, walk->at.seq, frame);
    }
    if (record.has_meta) {
        storage->meta = record.meta;
    }
    storage->next_frame = frame.number + 1;
    return status;
}

static kvp_status walk_log(struct kvp_storage *storage, struct walk *walk)
{
    struct kvp_store *store = storage->held->store;
    walk->storage = storage;
    walk->at = storage->base;
    walk_meet(walk);
    kvp_status status =
        store->ops->journal_replay(store, storage->first_frame, walk_frame, walk, &walk->more);
    if (status == KVP_OK || status == KVP_NO_MEMORY || walk->damaged) {
        return status;
    }
    return storage_fail_store(storage, status, "reading the log", store);
}

/* A log that is shorter than the second record says, or another one, was cut: what it has
 * acknowledged may be gone. Without any record nobody can tell. */
static bool log_has_regressed(const struct kvp_storage *storage, const struct walk *walk,
                              bool found)
{
    if (!found) {
        return walk->at.seq > 0;
    }
    return storage->slot.tail.seq > storage->base.seq && !walk->met_slot;
}

/* Before the store is opened: damage that was found in it earlier may not be met again at once. */
static kvp_status read_tail(struct kvp_storage *storage, bool *found)
{
    kvp_status status = storage_tail_load(storage, found);
    if (status != KVP_OK) {
        return storage_fail_env(storage, status, "reading the record of the tail");
    }
    return *found && storage->slot.damaged
               ? storage_fail(storage, KVP_CORRUPT, storage->name,
                              "damage was found in this store before it was closed")
               : KVP_OK;
}

static kvp_status read_log(struct kvp_storage *storage, bool found, struct kvp_loaded *loaded)
{
    struct walk walk = {0};
    kvp_status status = walk_log(storage, &walk);
    if (status != KVP_OK) {
        return status;
    }
    if (!walk.met_applied) {
        return open_damaged(storage, "the state is not that of any place in the log");
    }
    bool regressed = log_has_regressed(storage, &walk, found);
    if (regressed && walk.more) {
        return open_damaged(storage, "entries are unreadable, and behind them are others");
    }
    storage->tail = walk.at;
    loaded->log_size = walk.size;
    status = storage->held->store->ops->journal_begin(storage->held->store);
    if (status != KVP_OK) {
        return storage_fail_store(storage, status, "beginning the log", storage->held->store);
    }
    if (regressed && !storage->meta.log_regressed) {
        struct kvp_meta meta = storage->meta;
        struct kvp_storage_write write = {.sync = true, .meta = &meta};
        meta.log_regressed = true;
        /* The write raises the record to the tail there is: from now on the doubt is on record. */
        status = kvp_storage_write(storage, &write);
    }
    return status;
}

kvp_status storage_load(struct kvp_storage *storage, struct kvp_loaded *loaded)
{
    struct storage_pointer pointer = {0};
    struct listing listing = {0};
    bool found = false;
    kvp_status status = list_stores(storage, &listing);
    status = status == KVP_OK ? storage_books_load(storage) : status;
    status = status == KVP_OK ? find_active(storage, &listing, &pointer) : status;
    if (status == KVP_OK) {
        memcpy(storage->name, pointer.active, sizeof(storage->name));
        learn_numbers(storage, &listing);
        count_strangers(storage, &listing, &pointer, loaded);
        loaded->stores_quarantined = count_quarantined(&listing, &pointer);
        status = read_tail(storage, &found);
        status = status == KVP_OK ? open_active(storage) : status;
    }
    status = status == KVP_OK ? read_records(storage) : status;
    status = status == KVP_OK ? tidy_up(storage, &pointer, &listing) : status;
    status = status == KVP_OK ? read_log(storage, found, loaded) : status;
    loaded->meta = storage->meta;
    loaded->repaired = storage->meta.group_id == 0 && any_damaged(&listing);
    loaded->tail = storage->tail;
    loaded->applied = storage->applied;
    loaded->log_first = storage->base.seq + 1;
    free(listing.names);
    return status;
}
