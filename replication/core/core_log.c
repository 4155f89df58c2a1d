/* SPDX-License-Identifier: Apache-2.0 */
/* The log in memory: a ring of entry references and a ring of segments that counts the disk part.
 */
#include "replication/core/core_log.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define CAPACITY_MIN 1024u

kvp_status kvp_core_log_init(struct kvp_core_log *log, uint64_t size_max)
{
    struct kvp_entry **slots = calloc(CAPACITY_MIN, sizeof(*slots));
    if (slots == NULL) {
        return KVP_NO_MEMORY;
    }
    memset(log, 0, sizeof(*log));
    log->slots = slots;
    log->capacity = CAPACITY_MIN;
    log->segment_size = size_max / (KVP_LOG_SEGMENTS / 2) + 1;
    kvp_core_log_reset(log, (struct kvp_point){0}, 1, 0, 0);
    return KVP_OK;
}

void kvp_core_log_free(struct kvp_core_log *log)
{
    if (log->slots != NULL) {
        kvp_core_log_reset(log, log->tail, log->tail.seq + 1, log->tail.seq, 0);
        free(log->slots);
        log->slots = NULL;
    }
}

void kvp_core_log_reset(struct kvp_core_log *log, struct kvp_point point, uint64_t disk_first,
                        uint64_t disk_last, uint64_t disk_size)
{
    for (uint64_t seq = log->first; log->capacity && seq <= log->tail.seq; seq++) {
        kvp_entry_unref(log->slots[seq & (log->capacity - 1)]);
    }
    log->first = point.seq + 1;
    log->base = point;
    log->tail = point;
    assert(log->tail.seq + 1 == log->first);
    log->cached_size = 0;
    log->disk_first = disk_first;
    log->disk_size = disk_size;
    log->segment_first = 0;
    log->segment_count = 0;
    if (disk_size > 0) {
        log->segments[0] = (struct kvp_log_segment){disk_last, disk_size};
        log->segment_count = 1;
    }
}

static kvp_status grow(struct kvp_core_log *log)
{
    assert((log->capacity & (log->capacity - 1)) == 0);
    assert(log->tail.seq + 1 - log->first == log->capacity);
    struct kvp_entry **slots = calloc(log->capacity * 2, sizeof(*slots));
    if (slots == NULL) {
        return KVP_NO_MEMORY;
    }
    for (uint64_t seq = log->first; seq <= log->tail.seq; seq++) {
        slots[seq & (log->capacity * 2 - 1)] = log->slots[seq & (log->capacity - 1)];
    }
    free(log->slots);
    log->slots = slots;
    log->capacity *= 2;
    return KVP_OK;
}

static struct kvp_log_segment *segment_at(struct kvp_core_log *log, unsigned index)
{
    assert(index < KVP_LOG_SEGMENTS);
    return &log->segments[(log->segment_first + index) % KVP_LOG_SEGMENTS];
}

static void count_on_disk(struct kvp_core_log *log, const struct kvp_entry *entry)
{
    assert(log->segment_count <= KVP_LOG_SEGMENTS);
    struct kvp_log_segment *last =
        log->segment_count ? segment_at(log, log->segment_count - 1) : NULL;
    if (last == NULL ||
        (last->size >= log->segment_size && log->segment_count < KVP_LOG_SEGMENTS)) {
        last = segment_at(log, log->segment_count++);
        last->size = 0;
    }
    last->last = entry->point.seq;
    last->size += kvp_entry_cost(entry->size);
    log->disk_size += kvp_entry_cost(entry->size);
}

kvp_status kvp_core_log_append(struct kvp_core_log *log, struct kvp_entry *entry, bool on_disk)
{
    assert(entry->point.seq == log->tail.seq + 1);
    if (log->tail.seq + 1 - log->first == log->capacity) {
        kvp_status status = grow(log);
        if (status != KVP_OK) {
            return status;
        }
    }
    log->slots[entry->point.seq & (log->capacity - 1)] = kvp_entry_ref(entry);
    log->tail = entry->point;
    log->cached_size += entry->size;
    if (!on_disk) {
        count_on_disk(log, entry);
    }
    return KVP_OK;
}

static void discount_on_disk(struct kvp_core_log *log, const struct kvp_entry *entry)
{
    while (log->segment_count > 0) {
        struct kvp_log_segment *last = segment_at(log, log->segment_count - 1);
        unsigned before_count = log->segment_count - 1;
        uint64_t before = before_count ? segment_at(log, before_count - 1)->last : 0;
        if (entry->point.seq > before) {
            uint64_t cost = kvp_entry_cost(entry->size);
            uint64_t size = cost < last->size ? cost : last->size;
            last->size -= size;
            last->last = entry->point.seq - 1;
            log->disk_size -= size;
            return;
        }
        assert(log->disk_size >= last->size);
        log->disk_size -= last->size;
        log->segment_count--;
    }
}

/* Of a segment that begins before, as much as if its entries were of one size. */
static uint64_t segment_size_after(const struct kvp_log_segment *segment, uint64_t first,
                                   uint64_t seq)
{
    if (seq < first) {
        return segment->size;
    }
    if (seq >= segment->last) {
        return 0;
    }
    uint64_t entries = segment->last - first + 1;
    return segment->size / entries * (segment->last - seq);
}

uint64_t kvp_core_log_size_after(const struct kvp_core_log *log, uint64_t seq)
{
    uint64_t size = 0, first = log->disk_first;
    for (unsigned i = 0; i < log->segment_count; i++) {
        const struct kvp_log_segment *segment =
            &log->segments[(log->segment_first + i) % KVP_LOG_SEGMENTS];
        size += segment_size_after(segment, first, seq);
        first = segment->last + 1;
    }
    return size;
}

void kvp_core_log_truncate(struct kvp_core_log *log, uint64_t seq)
{
    assert(seq >= log->base.seq);
    while (log->tail.seq > seq) {
        struct kvp_entry *entry = log->slots[log->tail.seq & (log->capacity - 1)];
        discount_on_disk(log, entry);
        assert(log->cached_size >= entry->size);
        log->cached_size -= entry->size;
        uint64_t previous = log->tail.seq - 1;
        kvp_entry_unref(entry);
        if (previous < log->first) {
            log->tail = log->base;
        } else {
            log->tail = log->slots[previous & (log->capacity - 1)]->point;
        }
    }
    if (log->disk_first > log->tail.seq + 1) {
        log->disk_first = log->tail.seq + 1;
    }
}

void kvp_core_log_evict(struct kvp_core_log *log, uint64_t limit, uint64_t size_max)
{
    while (log->first <= log->tail.seq && log->first <= limit &&
           (log->cached_size > size_max || log->tail.seq - log->first >= 65536)) {
        struct kvp_entry *entry = log->slots[log->first & (log->capacity - 1)];
        assert(log->cached_size >= entry->size);
        log->base = entry->point;
        log->cached_size -= entry->size;
        log->first++;
        kvp_entry_unref(entry);
    }
}

struct kvp_entry *kvp_core_log_get(const struct kvp_core_log *log, uint64_t seq)
{
    assert(log->capacity != 0);
    if (seq < log->first || seq > log->tail.seq) {
        return NULL;
    }
    return log->slots[seq & (log->capacity - 1)];
}

bool kvp_core_log_point(const struct kvp_core_log *log, uint64_t seq, struct kvp_point *point)
{
    const struct kvp_entry *entry = kvp_core_log_get(log, seq);
    if (entry != NULL) {
        *point = entry->point;
        return true;
    }
    if (seq == log->base.seq) {
        *point = log->base;
        return true;
    }
    return false;
}

uint64_t kvp_core_log_trim(struct kvp_core_log *log, uint64_t size_max, uint64_t limit)
{
    uint64_t cut = 0;
    while (log->segment_count > 1) {
        struct kvp_log_segment *oldest = segment_at(log, 0);
        if (log->disk_size - oldest->size < size_max || oldest->last > limit) {
            break;
        }
        assert(log->disk_size >= oldest->size);
        cut = oldest->last;
        log->disk_size -= oldest->size;
        log->segment_first = (log->segment_first + 1) % KVP_LOG_SEGMENTS;
        log->segment_count--;
    }
    if (cut >= log->disk_first) {
        log->disk_first = cut + 1;
        return cut;
    }
    return 0;
}
