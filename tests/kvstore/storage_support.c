/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/kvstore/storage_support.h"

#include "tests/support/memory_map.h"
#include "kvstore/storage_private.h"
#include "kvstore/writeset.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the log as it should be ---- */

struct kvp_entry *entry_after(struct kvp_point previous, uint64_t epoch, kvp_slice payload)
{
    struct kvp_entry *entry = kvp_entry_new(payload.size);
    assert_non_null(entry);
    if (payload.size > 0) {
        memcpy(entry->payload, payload.data, payload.size);
    }
    kvp_entry_chain(entry, previous, epoch);
    return entry;
}

void history_add(struct history *history, uint64_t epoch, kvp_slice payload)
{
    assert_true(history->count < HISTORY_MAX);
    struct kvp_point previous = history_point(history, history->count);
    history->entries[history->count++] = entry_after(previous, epoch, payload);
}

void history_put(struct history *history, uint64_t epoch, const char *key, const char *value)
{
    struct kvp_raw_key raw;
    kvp_buf set = {0};
    kvp_raw_key_data(&raw, slice_of_text(key));
    kvp_status status = value == NULL
                            ? kvp_writeset_delete(&set, kvp_raw_key_slice(&raw))
                            : kvp_writeset_put(&set, kvp_raw_key_slice(&raw), slice_of_text(value));
    assert_int_equal(status, KVP_OK);
    history_add(history, epoch, kvp_buf_slice(&set));
    kvp_buf_free(&set);
}

void history_grow(struct history *history, uint64_t epoch, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        char key[16], value[32];
        (void)snprintf(key, sizeof(key), "k%zu", history->count % 7);
        (void)snprintf(value, sizeof(value), "%llu.%zu", (unsigned long long)epoch,
                       history->count + 1);
        history_put(history, epoch, key, history->count % 5 == 4 ? NULL : value);
    }
}

void history_cut(struct history *history, uint64_t tail)
{
    while (history->count > tail) {
        kvp_entry_unref(history->entries[--history->count]);
    }
}

void history_free(struct history *history)
{
    history_cut(history, 0);
}

struct kvp_point history_point(const struct history *history, uint64_t seq)
{
    struct kvp_point zero = {0};
    assert_true(seq <= history->count);
    return seq == 0 ? zero : history->entries[seq - 1]->point;
}

/* ---- states ---- */

static void add(kvp_buf *buf, kvp_slice bytes)
{
    assert_int_equal(kvp_buf_append(buf, bytes.data, bytes.size), KVP_OK);
}

static void add_pair(kvp_buf *dump, kvp_slice key, kvp_slice value)
{
    add(dump, key);
    add(dump, TEXT("="));
    add(dump, value);
    add(dump, TEXT(" "));
}

static char *text_of(kvp_buf *buf)
{
    add(buf, kvp_slice_of("", 1));
    return (char *)buf->data;
}

static struct memory_map *apply_entry(struct memory_map *map, const struct kvp_entry *entry)
{
    struct kvp_writeset_iter iter;
    struct kvp_batch_op op;
    kvp_writeset_begin(&iter, kvp_slice_of(entry->payload, entry->size));
    while (kvp_writeset_next(&iter, &op) == KVP_OK) {
        struct memory_map *changed = NULL;
        kvp_status status = op.is_delete ? memory_map_delete(map, op.key, &changed)
                                         : memory_map_put(map, op.key, op.value, &changed);
        assert_int_equal(status, KVP_OK);
        memory_map_unref(map);
        map = changed;
    }
    return map;
}

char *history_state(const struct history *history, uint64_t seq)
{
    struct memory_map *map = NULL;
    kvp_buf dump = {0};
    for (uint64_t i = 0; i < seq; i++) {
        map = apply_entry(map, history->entries[i]);
    }
    const struct memory_map *node = memory_map_find(map, TEXT(""), false);
    for (; node != NULL; node = memory_map_find(map, memory_map_key(node), true)) {
        add_pair(&dump, memory_map_key(node), memory_map_value(node));
    }
    memory_map_unref(map);
    return text_of(&dump);
}

char *state_dump(struct kvp_state_view *view)
{
    kvp_buf dump = {0};
    kvp_slice key, value;
    kvp_status status = KVP_OK;
    while ((status = kvp_state_view_read(view, &key, &value)) == KVP_OK) {
        add_pair(&dump, key, value);
        kvp_state_view_next(view);
    }
    assert_int_equal(status, KVP_NOT_FOUND);
    return text_of(&dump);
}

/* ---- a storage ---- */

void depot_make(struct depot *depot, bool on_disk)
{
    memset(depot, 0, sizeof(*depot));
    place_open(&depot->place, on_disk);
    depot_open(depot);
}

kvp_status depot_try(struct depot *depot)
{
    assert_null(depot->storage);
    const struct kvp_quarantine much = {.count = UINT_MAX, .size = UINT64_MAX};
    depot->message[0] = '\0';
    kvp_status status = kvp_storage_open(depot->place.env, GROUP, NODE, &depot->storage,
                                         &depot->loaded, depot->message, sizeof(depot->message));
    if (status == KVP_OK) {
        kvp_storage_set_quarantine(depot->storage, much);
    }
    return status;
}

void depot_open(struct depot *depot)
{
    if (depot_try(depot) != KVP_OK) {
        fail_msg("%s", depot->message);
    }
}

void depot_close(struct depot *depot)
{
    kvp_storage_close(depot->storage);
    depot->storage = NULL;
}

void depot_reopen(struct depot *depot)
{
    depot_close(depot);
    place_reopen(&depot->place);
    depot_open(depot);
}

void depot_remove(struct depot *depot)
{
    depot_close(depot);
    place_close(&depot->place);
}

struct kvp_storage_write write_of(const struct history *history, uint64_t first, uint64_t last)
{
    struct kvp_storage_write write = {0};
    assert_true(first > 0 && first <= last && last <= history->count);
    write.append = &history->entries[first - 1];
    write.append_count = (size_t)(last - first + 1);
    return write;
}

void depot_write(struct depot *depot, const struct kvp_storage_write *write)
{
    kvp_status status = kvp_storage_write(depot->storage, write);
    if (status != KVP_OK) {
        fail_msg("%s", kvp_storage_error(depot->storage));
    }
}

void depot_append(struct depot *depot, const struct history *history, uint64_t first, uint64_t last)
{
    struct kvp_storage_write write = write_of(history, first, last);
    write.sync = true;
    depot_write(depot, &write);
}

void depot_apply(struct depot *depot, const struct history *history, uint64_t first, uint64_t last)
{
    struct kvp_storage_write append = write_of(history, first, last);
    struct kvp_storage_write write = {.apply = append.append, .apply_count = append.append_count};
    depot_write(depot, &write);
}

/* ---- checks ---- */

void check_point(struct kvp_point found, struct kvp_point expected)
{
    assert_int_equal(found.seq, expected.seq);
    assert_int_equal(found.epoch, expected.epoch);
    assert_true(found.hash == expected.hash);
}

static void check_entry(const struct kvp_entry *found, const struct kvp_entry *expected)
{
    check_point(found->point, expected->point);
    check_slice(kvp_slice_of(found->payload, found->size),
                kvp_slice_of(expected->payload, expected->size));
}

static void check_entries(struct depot *depot, const struct history *history, uint64_t first,
                          uint64_t last, size_t count_max)
{
    struct kvp_entry *entries[HISTORY_MAX];
    for (uint64_t seq = first; seq <= last;) {
        size_t count = 0;
        assert_int_equal(
            kvp_storage_read_log(depot->storage, seq, SIZE_MAX, entries, count_max, &count),
            KVP_OK);
        assert_true(count > 0 && seq + count - 1 <= last);
        for (size_t i = 0; i < count; i++) {
            check_entry(entries[i], history->entries[seq - 1]);
            kvp_entry_unref(entries[i]);
            seq++;
        }
    }
}

/* What was trimmed may be there for a while. */
static void check_before(struct depot *depot, const struct history *history, uint64_t seq)
{
    struct kvp_entry *entry = NULL;
    size_t count = 0;
    kvp_status status = kvp_storage_read_log(depot->storage, seq, SIZE_MAX, &entry, 1, &count);
    if (status == KVP_OK) {
        assert_true(seq > 0);
        check_entry(entry, history->entries[seq - 1]);
        kvp_entry_unref(entry);
    } else {
        assert_int_equal(status, KVP_NOT_FOUND);
        assert_int_equal(count, 0);
    }
}

void check_log(struct depot *depot, const struct history *history, uint64_t first, uint64_t last)
{
    struct kvp_entry *entry = NULL;
    size_t count = 0;
    check_entries(depot, history, first, last, HISTORY_MAX);
    check_entries(depot, history, first, last, 1);
    check_before(depot, history, first - 1);
    assert_int_equal(kvp_storage_read_log(depot->storage, 0, SIZE_MAX, &entry, 1, &count),
                     KVP_NOT_FOUND);
    assert_int_equal(kvp_storage_read_log(depot->storage, last + 1, SIZE_MAX, &entry, 1, &count),
                     KVP_NOT_FOUND);
    assert_int_equal(count, 0);
}

void check_state(struct depot *depot, const struct history *history, uint64_t applied)
{
    struct kvp_state_view *view = kvp_storage_snapshot(depot->storage);
    assert_non_null(view);
    char *expected = history_state(history, applied);
    char *found = state_dump(view);

    check_point(kvp_state_view_point(view), history_point(history, applied));
    assert_string_equal(found, expected);
    free(found);
    free(expected);
    kvp_state_view_close(view);
}

void check_all(struct depot *depot, const struct history *history, uint64_t first, uint64_t last,
               uint64_t applied)
{
    uint64_t size = 0;
    assert_in_range(depot->loaded.log_first, 1, first);
    for (uint64_t seq = depot->loaded.log_first; seq <= last; seq++) {
        size += kvp_entry_cost(history->entries[seq - 1]->size);
    }
    check_point(depot->loaded.tail, history_point(history, last));
    check_point(depot->loaded.applied, history_point(history, applied));
    assert_int_equal(depot->loaded.log_size, size);
    check_log(depot, history, first, last);
    check_state(depot, history, applied);
}

void check_meta(const struct kvp_meta *found, const struct kvp_meta *expected)
{
    assert_int_equal(found->group_id, expected->group_id);
    assert_true(kvp_view_equal(&found->view, &expected->view));
    assert_int_equal(found->member_epoch, expected->member_epoch);
    assert_int_equal(found->unreplicated_from, expected->unreplicated_from);
    assert_int_equal(found->log_regressed, expected->log_regressed);
    assert_int_equal(found->diverged_count, expected->diverged_count);
    assert_int_equal(found->forced_epoch, expected->forced_epoch);
    assert_int_equal(found->shown_version, expected->shown_version);
    assert_int_equal(found->incarnation, expected->incarnation);
    assert_memory_equal(found->earlier, expected->earlier, sizeof(found->earlier));
    assert_int_equal(found->copy, expected->copy);
    assert_int_equal(found->peer_incarnation, expected->peer_incarnation);
}

void check_stopped(struct depot *depot)
{
    struct kvp_storage_write write = {0};
    struct kvp_meta meta = {0};
    struct kvp_point point = {0};
    struct kvp_entry *entry = NULL;
    size_t count = 0;
    kvp_buf value = {0};
    struct kvp_quarantined quarantined;
    assert_true(kvp_storage_error(depot->storage)[0] != '\0');
    assert_int_equal(kvp_storage_write(depot->storage, &write), KVP_FAILED);
    assert_int_equal(kvp_storage_read_log(depot->storage, 1, 1, &entry, 1, &count), KVP_FAILED);
    assert_int_equal(kvp_storage_get(depot->storage, TEXT("Dk1"), &value), KVP_FAILED);
    assert_null(kvp_storage_snapshot(depot->storage));
    assert_int_equal(kvp_storage_incoming_begin(depot->storage), KVP_FAILED);
    assert_int_equal(kvp_storage_incoming_write(depot->storage, TEXT("")), KVP_FAILED);
    assert_int_equal(
        kvp_storage_incoming_finish(depot->storage, point, &meta, KVP_KEEP_NOT, &quarantined),
        KVP_FAILED);
    kvp_storage_incoming_abort(depot->storage);
    assert_int_equal(kvp_storage_quarantine(depot->storage, &meta, KVP_KEEP, &quarantined),
                     KVP_FAILED);
    assert_int_equal(kvp_storage_sync_tail(depot->storage), KVP_FAILED);
}

/* ---- tampering ---- */

static struct kvp_store *open_raw(struct depot *depot, const char *name)
{
    struct kvp_env *env = depot->place.env;
    struct kvp_store *store = NULL;
    assert_null(depot->storage);
    assert_int_equal(env->ops->open_store(env, name, false, &store), KVP_OK);
    return store;
}

static void tamper(struct depot *depot, const char *name, const struct kvp_batch_op *op)
{
    struct kvp_store *store = open_raw(depot, name);
    assert_int_equal(store->ops->write(store, op, 1, true), KVP_OK);
    store->ops->close(store);
}

void store_get_raw(struct depot *depot, const char *name, kvp_slice key, kvp_buf *value)
{
    struct kvp_store *store = open_raw(depot, name);
    assert_int_equal(store->ops->get(store, key, value), KVP_OK);
    store->ops->close(store);
}

void store_set_raw(struct depot *depot, const char *name, kvp_slice key, kvp_slice value)
{
    struct kvp_batch_op op = {.key = key, .value = value};
    tamper(depot, name, &op);
}

void store_delete_raw(struct depot *depot, const char *name, kvp_slice key)
{
    struct kvp_batch_op op = {.key = key, .is_delete = true};
    tamper(depot, name, &op);
}

/* ---- the journal ---- */

static void add_bytes(kvp_buf *buf, const void *data, size_t size)
{
    assert_int_equal(kvp_buf_append(buf, data, size), KVP_OK);
}

static kvp_status take_frame(void *arg, struct kvp_frame frame, kvp_slice bytes)
{
    struct frames *frames = arg;
    struct storage_record record;
    kvp_slice payload;
    (void)frame;
    assert_true(frames->count < FRAMES_MAX);
    add_bytes(&frames->items[frames->count++], bytes.data, bytes.size);
    assert_int_equal(storage_record_begin(&record, bytes), KVP_OK);
    while (storage_record_next(&record, &frames->tail, &payload) == KVP_OK) {
    }
    return KVP_OK;
}

void frames_take(struct kvp_store *store, struct frames *frames)
{
    kvp_buf base = {0};
    bool more = false;
    memset(frames, 0, sizeof(*frames));
    assert_int_equal(store->ops->get(store, TEXT(STORAGE_KEY_BASE), &base), KVP_OK);
    assert_int_equal(base.size, STORAGE_BASE_SIZE);
    uint64_t first = kvp_get_u64(base.data + STORAGE_POINT_SIZE);
    kvp_buf_free(&base);
    assert_int_equal(store->ops->journal_replay(store, first, take_frame, frames, &more), KVP_OK);
}

void frames_free(struct frames *frames)
{
    for (size_t i = 0; i < frames->count; i++) {
        kvp_buf_free(&frames->items[i]);
    }
    memset(frames, 0, sizeof(*frames));
}

void store_copy_pairs(struct kvp_store *from, struct kvp_store *to)
{
    struct kvp_iter *iter = from->ops->iter(from, NULL, false);
    for (from->ops->iter_seek(iter, TEXT("")); from->ops->iter_valid(iter);
         from->ops->iter_next(iter)) {
        struct kvp_batch_op op = {from->ops->iter_key(iter), from->ops->iter_value(iter), false};
        assert_int_equal(to->ops->write(to, &op, 1, false), KVP_OK);
    }
    from->ops->iter_close(iter);
}

static void put_base(struct kvp_store *store, struct kvp_point base)
{
    uint8_t bytes[STORAGE_BASE_SIZE];
    struct kvp_batch_op op = {.key = TEXT(STORAGE_KEY_BASE),
                              .value = kvp_slice_of(bytes, sizeof(bytes))};

    storage_point_encode(base, bytes);
    kvp_put_u64(bytes + STORAGE_POINT_SIZE, 1);
    assert_int_equal(store->ops->write(store, &op, 1, true), KVP_OK);
}

void frames_put(struct depot *depot, const char *name, const struct frames *frames,
                struct kvp_point base)
{
    struct kvp_env *env = depot->place.env;
    struct kvp_store *from = open_raw(depot, name);
    struct kvp_store *to = store_open(&depot->place, "rewritten");
    struct kvp_frame frame;
    struct frames none;
    store_copy_pairs(from, to);
    put_base(to, base);
    frames_take(to, &none);
    assert_int_equal(to->ops->journal_begin(to), KVP_OK);
    for (size_t i = 0; i < frames->count; i++) {
        kvp_slice part = kvp_buf_slice(&frames->items[i]);
        assert_int_equal(to->ops->journal_append(to, &part, 1, true, &frame), KVP_OK);
    }
    from->ops->close(from);
    to->ops->close(to);
    assert_int_equal(env->ops->destroy_store(env, name), KVP_OK);
    assert_int_equal(env->ops->rename_store(env, "rewritten", name), KVP_OK);
}

void frame_of(const struct history *history, uint64_t first, size_t count, kvp_buf *frame)
{
    uint8_t head[STORAGE_ENTRY_SIZE] = {0};
    frame->size = 0;
    kvp_put_u32(head + 1, (uint32_t)count);
    kvp_put_u64(head + 5, first);
    add_bytes(frame, head, 13);
    for (uint64_t seq = first; seq < first + count; seq++) {
        const struct kvp_entry *entry = history->entries[seq - 1];
        kvp_put_u32(head, entry->size);
        kvp_put_u64(head + 4, entry->point.epoch);
        kvp_put_u64(head + 12, entry->point.hash);
        add_bytes(frame, head, sizeof(head));
        add_bytes(frame, entry->payload, entry->size);
    }
}

uint64_t store_log_tail(struct kvp_store *store)
{
    struct frames frames;
    frames_take(store, &frames);
    uint64_t tail = frames.tail.seq;
    frames_free(&frames);
    return tail;
}
