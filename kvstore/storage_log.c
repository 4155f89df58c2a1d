/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The log in the journal of its store. What one step of the log says of truncation, entries and
 * metadata is one frame, so all of it happens or none:
 *
 *   u8 flags (1: cut, 2: metadata), u32 number of entries, u64 seq of the first entry,
 *   [u64 seq after which the log is cut], [metadata], {u32 size, u64 epoch, u64 hash, payload}*
 *
 * The frames in their order are the log's history, and what counts is what follows from it: a cut
 * makes entries of earlier frames void, the last metadata are the ones in force. Where the entries
 * in force are is kept in memory.
 *
 * Before the oldest frames are let go, the store's map takes over what they are still needed for:
 * the applied state, made durable, the metadata, and the place where the log begins now.
 */
#include "kvstore/storage_private.h"

#include <stdlib.h>
#include <string.h>

enum {
    FLAG_CUT = 1,
    FLAG_META = 2,
    HEAD_SIZE = 13,
    SCRATCH_KEPT_MAX = 1 << 20,
};

/* ---- a record ---- */

static bool log_take(kvp_slice *rest, size_t size, const uint8_t **bytes)
{
    if (rest->size < size) {
        return false;
    }
    *bytes = rest->data;
    *rest = kvp_slice_of(*bytes + size, rest->size - size);
    return true;
}

kvp_status storage_record_begin(struct storage_record *record, kvp_slice raw)
{
    const uint8_t *bytes = NULL;
    uint8_t flags = 0;
    uint32_t count = 0;
    memset(record, 0, sizeof(*record));
    record->rest = raw;
    if (!log_take(&record->rest, HEAD_SIZE, &bytes)) {
        return KVP_CORRUPT;
    }
    flags = bytes[0];
    count = kvp_get_u32(bytes + 1);
    record->next = kvp_get_u64(bytes + 5);
    record->last = record->next + count - 1;
    record->cut = (flags & FLAG_CUT) != 0;
    record->has_meta = (flags & FLAG_META) != 0;
    if ((flags & ~(FLAG_CUT | FLAG_META)) != 0 || record->next == 0 ||
        record->last < record->next - 1) {
        return KVP_CORRUPT;
    }
    if (record->cut) {
        if (!log_take(&record->rest, 8, &bytes)) {
            return KVP_CORRUPT;
        }
        record->cut_after = kvp_get_u64(bytes);
    }
    if (record->has_meta) {
        size_t size = storage_meta_size(record->rest);
        return log_take(&record->rest, size, &bytes)
                   ? storage_meta_decode(kvp_slice_of(bytes, size), &record->meta)
                   : KVP_CORRUPT;
    }
    return KVP_OK;
}

kvp_status storage_record_next(struct storage_record *record, struct kvp_point *point,
                               kvp_slice *payload)
{
    const uint8_t *bytes = NULL;
    if (record->next > record->last) {
        return record->rest.size == 0 ? KVP_NOT_FOUND : KVP_CORRUPT;
    }
    if (!log_take(&record->rest, STORAGE_ENTRY_SIZE, &bytes)) {
        return KVP_CORRUPT;
    }
    size_t size = kvp_get_u32(bytes);
    point->seq = record->next;
    point->epoch = kvp_get_u64(bytes + 4);
    point->hash = kvp_get_u64(bytes + 12);
    if (!log_take(&record->rest, size, &bytes)) {
        return KVP_CORRUPT;
    }
    *payload = kvp_slice_of(bytes, size);
    record->next++;
    return KVP_OK;
}

/* ---- where the entries are ---- */

kvp_status storage_index_reserve(struct storage_index *index)
{
    if (index->count < index->capacity) {
        return KVP_OK;
    }
    if (index->first > index->count / 2) {
        index->count -= index->first;
        memmove(index->items, index->items + index->first, index->count * sizeof(index->items[0]));
        index->first = 0;
        return KVP_OK;
    }
    size_t capacity = 2 * index->capacity + 64;
    struct storage_stretch *items = realloc(index->items, capacity * sizeof(items[0]));
    if (items == NULL) {
        return KVP_NO_MEMORY;
    }
    index->items = items;
    index->capacity = capacity;
    return KVP_OK;
}

void storage_index_add(struct storage_index *index, uint64_t last, struct kvp_frame frame)
{
    struct storage_stretch item = {last, frame};
    index->items[index->count++] = item;
}

void storage_index_clear(struct storage_index *index)
{
    free(index->items);
    memset(index, 0, sizeof(*index));
}

size_t storage_index_find(const struct storage_index *index, uint64_t seq)
{
    size_t low = index->first, high = index->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (index->items[middle].last < seq) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

void storage_index_cut(struct storage_index *index, uint64_t after, uint64_t base)
{
    for (; index->count > index->first; index->count--) {
        struct storage_stretch *item = &index->items[index->count - 1];
        uint64_t before = index->count - 1 > index->first ? item[-1].last : base;
        if (before < after) {
            item->last = item->last > after ? after : item->last;
            return;
        }
    }
}

/* ---- reading ---- */

/* The record that `item` is about; it points into storage->scratch. */
static kvp_status log_read_record(struct kvp_storage *storage, const struct storage_stretch *item,
                                  struct storage_record *record)
{
    struct kvp_store *store = storage->held->store;
    storage->scratch.size = 0;
    kvp_status status = store->ops->journal_read(store, item->frame, &storage->scratch);
    return status == KVP_OK ? storage_record_begin(record, kvp_buf_slice(&storage->scratch))
                            : status;
}

kvp_status storage_log_look(struct kvp_storage *storage, uint64_t seq, struct kvp_point *point)
{
    size_t at = storage_index_find(&storage->index, seq);
    struct storage_record record;
    kvp_slice payload;
    if (at == storage->index.count) {
        return KVP_CORRUPT;
    }
    kvp_status status = log_read_record(storage, &storage->index.items[at], &record);
    point->seq = 0;
    while (status == KVP_OK && point->seq != seq) {
        status = storage_record_next(&record, point, &payload);
    }
    return status == KVP_NOT_FOUND ? KVP_CORRUPT : status;
}

kvp_status storage_log_size(struct kvp_storage *storage, uint64_t first, uint64_t *size)
{
    const struct storage_index *index = &storage->index;
    kvp_status status = KVP_OK;
    *size = 0;
    for (size_t i = storage_index_find(index, first); status == KVP_OK && i < index->count; i++) {
        struct storage_record record;
        struct kvp_point point = {0};
        kvp_slice payload;
        status = log_read_record(storage, &index->items[i], &record);
        while (status == KVP_OK && point.seq < index->items[i].last) {
            status = storage_record_next(&record, &point, &payload);
            *size += status == KVP_OK && point.seq >= first ? kvp_entry_cost(payload.size) : 0;
        }
    }
    return status == KVP_NOT_FOUND ? KVP_CORRUPT : status;
}

/* What is being read, and how much may be. */
struct reading {
    struct kvp_entry **entries;
    size_t count, count_max, size, size_max;
    uint64_t next;
    bool full;
};

static kvp_status log_take_entry(struct reading *reading, struct kvp_point point, kvp_slice payload)
{
    reading->full = reading->count == reading->count_max ||
                    (reading->count > 0 && reading->size + payload.size > reading->size_max);
    if (reading->full) {
        return KVP_OK;
    }
    struct kvp_entry *entry = kvp_entry_new(payload.size);
    if (entry == NULL) {
        return KVP_NO_MEMORY;
    }
    entry->point = point;
    memcpy(entry->payload, payload.data, payload.size);
    reading->entries[reading->count++] = entry;
    reading->size += payload.size;
    reading->next++;
    return KVP_OK;
}

static kvp_status read_stretch(struct kvp_storage *storage, const struct storage_stretch *item,
                               struct reading *reading)
{
    struct storage_record record;
    struct kvp_point point = {0};
    kvp_slice payload;
    kvp_status status = log_read_record(storage, item, &record);
    while (status == KVP_OK && point.seq < item->last && !reading->full) {
        status = storage_record_next(&record, &point, &payload);
        if (status == KVP_OK && point.seq >= reading->next) {
            status = log_take_entry(reading, point, payload);
        }
    }
    return status == KVP_NOT_FOUND ? KVP_CORRUPT : status;
}

kvp_status kvp_storage_read_log(struct kvp_storage *storage, uint64_t from, size_t size_max,
                                struct kvp_entry **entries, size_t count_max, size_t *count)
{
    kvp_status status = storage_check(storage);
    struct reading reading = {
        .entries = entries, .count_max = count_max, .size_max = size_max, .next = from};

    *count = 0;
    if (status != KVP_OK) {
        return status;
    }
    if (from <= storage->base.seq || from > storage->tail.seq) {
        return KVP_NOT_FOUND;
    }
    const struct storage_index *index = &storage->index;
    for (size_t i = storage_index_find(index, from);
         status == KVP_OK && i < index->count && !reading.full; i++) {
        status = read_stretch(storage, &index->items[i], &reading);
    }
    for (; status != KVP_OK && reading.count > 0; reading.count--) {
        kvp_entry_unref(entries[reading.count - 1]);
    }
    *count = reading.count;
    if (storage->scratch.capacity > SCRATCH_KEPT_MAX) {
        kvp_buf_free(&storage->scratch);
    }
    if (status == KVP_OK || status == KVP_NO_MEMORY) {
        return status;
    }
    return storage_fail_store(storage, status, "reading the log", storage->held->store);
}

/* ---- writing ---- */

/* A frame in parts: what stands before the entries, then a head and a payload of each. */
struct frame_parts {
    uint8_t head[STORAGE_RECORD_SIZE_MAX];
    uint8_t *entry_heads;
    kvp_slice *parts;
    size_t count;
};

static size_t put_head(const struct kvp_storage_write *write, uint64_t first, uint8_t *head)
{
    size_t size = HEAD_SIZE;
    head[0] = (uint8_t)((write->truncate ? FLAG_CUT : 0) | (write->meta != NULL ? FLAG_META : 0));
    kvp_put_u32(head + 1, (uint32_t)write->append_count);
    kvp_put_u64(head + 5, first);
    if (write->truncate) {
        kvp_put_u64(head + size, write->truncate_after);
        size += 8;
    }
    if (write->meta != NULL) {
        storage_meta_encode(write->meta, head + size);
        size += STORAGE_META_SIZE;
    }
    return size;
}

static kvp_status parts_init(struct frame_parts *parts, const struct kvp_storage_write *write,
                             uint64_t first)
{
    parts->entry_heads = malloc(write->append_count * STORAGE_ENTRY_SIZE + 1);
    parts->parts = malloc((1 + 2 * write->append_count) * sizeof(kvp_slice));
    if (parts->entry_heads == NULL || parts->parts == NULL) {
        return KVP_NO_MEMORY;
    }
    parts->count = 0;
    parts->parts[parts->count++] = kvp_slice_of(parts->head, put_head(write, first, parts->head));
    for (size_t i = 0; i < write->append_count; i++) {
        const struct kvp_entry *entry = write->append[i];
        uint8_t *head = parts->entry_heads + i * STORAGE_ENTRY_SIZE;
        kvp_put_u32(head, entry->size);
        kvp_put_u64(head + 4, entry->point.epoch);
        kvp_put_u64(head + 12, entry->point.hash);
        parts->parts[parts->count++] = kvp_slice_of(head, STORAGE_ENTRY_SIZE);
        parts->parts[parts->count++] = kvp_slice_of(entry->payload, entry->size);
    }
    return KVP_OK;
}

static void parts_free(struct frame_parts *parts)
{
    free(parts->entry_heads);
    free(parts->parts);
}

static void note_frame(struct kvp_storage *storage, const struct kvp_storage_write *write,
                       struct kvp_frame frame)
{
    storage->next_frame = frame.number + 1;
    if (write->truncate) {
        storage_index_cut(&storage->index, write->truncate_after, storage->base.seq);
    }
    if (write->append_count > 0) {
        storage_index_add(&storage->index, write->append[write->append_count - 1]->point.seq,
                          frame);
    }
}

kvp_status storage_log_write(struct kvp_storage *storage, const struct kvp_storage_write *write)
{
    struct kvp_store *store = storage->held->store;
    struct frame_parts parts = {0};
    struct kvp_frame frame;
    uint64_t first = (write->truncate ? write->truncate_after : storage->tail.seq) + 1;
    kvp_status status = storage_index_reserve(&storage->index);
    status = status == KVP_OK ? parts_init(&parts, write, first) : status;
    if (status == KVP_OK) {
        status = store->ops->journal_append(store, parts.parts, parts.count, write->sync, &frame);
        status = status == KVP_OK ? KVP_OK
                                  : storage_fail_store(storage, status, "writing the log", store);
    }
    if (status == KVP_OK) {
        note_frame(storage, write, frame);
    }
    parts_free(&parts);
    return status;
}

/* ---- letting go ---- */

/* The frames from `first` on and the point before them are what the store's records begin with now.
 */
static kvp_status move_base(struct kvp_storage *storage, struct kvp_point base, uint64_t first)
{
    struct kvp_store *store = storage->held->store;
    struct storage_batch batch;
    if (storage_batch_init(&batch, 2, STORAGE_BASE_SIZE + STORAGE_META_SIZE) != KVP_OK) {
        return KVP_NO_MEMORY;
    }
    storage_batch_base(&batch, base, first);
    storage_batch_meta(&batch, &storage->meta);
    /* The map must not be ahead of the journal, and metadata may be in a frame that is not synced.
     */
    kvp_status status = store->ops->journal_sync(store);
    status = status == KVP_OK ? store->ops->write(store, batch.ops, batch.count, true) : status;
    status = status == KVP_OK ? store->ops->journal_drop(store, first) : status;
    storage_batch_free(&batch);
    return status == KVP_OK ? KVP_OK
                            : storage_fail_store(storage, status, "trimming the log", store);
}

/* The first frame that still counts if those of the journal before `oldest` are let go, and the
 * last entry before it. */
static size_t find_base(const struct kvp_storage *storage, uint64_t oldest, uint64_t *frame)
{
    const struct storage_index *index = &storage->index;
    size_t at = index->first;
    while (at < index->count && index->items[at].frame.number < oldest) {
        at++;
    }
    *frame = at < index->count ? index->items[at].frame.number : storage->next_frame;
    return at;
}

kvp_status storage_log_trim(struct kvp_storage *storage, uint64_t to)
{
    struct kvp_store *store = storage->held->store;
    struct storage_index *index = &storage->index;
    size_t at = storage_index_find(index, to + 1);
    uint64_t keep = at < index->count ? index->items[at].frame.number : storage->next_frame;
    uint64_t oldest = store->ops->journal_oldest(store, keep);
    struct kvp_point base = storage->base;
    kvp_status status = KVP_OK;
    uint64_t first = 0;
    if (oldest <= storage->first_frame) {
        return KVP_OK;
    }
    at = find_base(storage, oldest, &first);
    if (at > index->first) {
        status = storage_log_look(storage, index->items[at - 1].last, &base);
    }
    if (status != KVP_OK && status != KVP_NO_MEMORY) {
        return storage_fail_store(storage, status, "reading the log", store);
    }
    status = status == KVP_OK ? move_base(storage, base, first) : status;
    if (status != KVP_OK) {
        return status == KVP_NO_MEMORY ? KVP_OK : status; /* there will be another time */
    }
    index->first = at;
    storage->base = base;
    storage->first_frame = first;
    return KVP_OK;
}
