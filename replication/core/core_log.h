/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The core's picture of the log: its newest entries in memory (everything not applied yet, and some
 * more for peers that lag a little), and an account of how many bytes the part on disk has, so that
 * it can be trimmed by size without reading it.
 */
#ifndef KVP_CORE_LOG_H
#define KVP_CORE_LOG_H

#include "kvstore/entry.h"

#define KVP_LOG_SEGMENTS 64u

/* A stretch of the log on disk: entries up to `last`, `size` bytes (kvp_entry_cost()). */
struct kvp_log_segment {
    uint64_t last;
    uint64_t size;
};

struct kvp_core_log {
    struct kvp_entry **slots; /* entry seq is at slots[seq & (capacity - 1)] */
    size_t capacity;          /* a power of two */
    uint64_t first;           /* oldest entry in memory; tail.seq + 1 when none is */
    struct kvp_point base;    /* the point before `first` */
    struct kvp_point tail;
    uint64_t cached_size; /* payload bytes in memory */

    uint64_t disk_first; /* oldest entry kept on disk; tail.seq + 1 when none is */
    uint64_t disk_size;
    uint64_t segment_size;                 /* a segment is closed when it has as much */
    unsigned segment_first, segment_count; /* ring */
    struct kvp_log_segment segments[KVP_LOG_SEGMENTS];
};

kvp_status kvp_core_log_init(struct kvp_core_log *log, uint64_t size_max);
void kvp_core_log_free(struct kvp_core_log *log);

/* Forgets everything: the log continues after `point`; on disk it has the entries from `disk_first`
 * to `disk_last` with `disk_size` bytes. */
void kvp_core_log_reset(struct kvp_core_log *log, struct kvp_point point, uint64_t disk_first,
                        uint64_t disk_last, uint64_t disk_size);
/* Adds a chained entry that follows the tail; takes a reference. `on_disk`: it is counted in the
 * disk part already. */
kvp_status kvp_core_log_append(struct kvp_core_log *log, struct kvp_entry *entry, bool on_disk);
/* Drops all entries after `seq`, which is base.seq or later. */
void kvp_core_log_truncate(struct kvp_core_log *log, uint64_t seq);
/* Lets go of the oldest entries in memory, up to `limit`, while there are more than size_max bytes.
 */
void kvp_core_log_evict(struct kvp_core_log *log, uint64_t limit, uint64_t size_max);

/* Bytes of the entries after `seq`, about: those that are not on disk any more do not count. */
uint64_t kvp_core_log_size_after(const struct kvp_core_log *log, uint64_t seq);

struct kvp_entry *kvp_core_log_get(const struct kvp_core_log *log,
                                   uint64_t seq); /* NULL: not here */
/* The point at `seq`; false when it is not in memory. */
bool kvp_core_log_point(const struct kvp_core_log *log, uint64_t seq, struct kvp_point *point);

/* The seq up to which the disk part may be cut so that about `size_max` bytes remain, not beyond
 * `limit`; 0: nothing to cut. The account is changed: the caller must cut. */
uint64_t kvp_core_log_trim(struct kvp_core_log *log, uint64_t size_max, uint64_t limit);

#endif
