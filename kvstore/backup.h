/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The file of a backup, version 1: the replicated state of a group as of one point in time. Pure: a
 * writer makes bytes, a reader takes them, in whatever pieces they come.
 *
 *   file     header chunk* trailer
 *   header   "KVPBACK1", u32 format (1), u32 size of what follows, u32 format of the store, u8 node
 *            that gave it, u64 group id, point {u64 seq, u64 epoch, u64 hash}, u64 wall clock in
 * ms, u16 size of the group's name, name; u64 checksum chunk    "CHNK", u32 size, u32 pairs, pairs
 * {u32 key size, u32 value size, key, value}*; u64 checksum trailer  "TAIL", u64 chunks, u64 pairs,
 * u64 keys, u64 jobs, u64 bytes of keys and values, u64 digest; u64 checksum
 *
 * Numbers are little-endian, keys raw ones (keyspace.h) in rising order. A checksum is the XXH64 of
 * its part with the checksum of the part before as seed: so a part that is missing, twice, in
 * another place or of another backup is as wrong as a flipped bit, and the last checksum is one of
 * the whole file. The digest does not depend on the order of pairs, nor on when and where the state
 * was looked at: two groups with the same data have the same.
 *
 * A format that only adds something moves nothing: what a reader has to know has another number,
 * and is refused by it.
 */
#ifndef KVP_BACKUP_H
#define KVP_BACKUP_H

#include "kvstore/entry.h"
#include "kvstore/view.h"

#define KVP_BACKUP_FORMAT 1u
#define KVP_BACKUP_CHUNK_SIZE_MAX                                                                  \
    (12u * 1024u * 1024u) /* pairs of one chunk; a message is larger */
#define KVP_BACKUP_MESSAGE_SIZE 192u

struct kvp_backup_header {
    uint32_t store_format;
    uint8_t node; /* that gave it */
    uint64_t group_id;
    struct kvp_point point; /* the state is that of it; its seq is the revision */
    uint64_t wall_ms;       /* since 1970; 0: not known */
    char group[KVP_GROUP_NAME_MAX + 1];
};

struct kvp_backup_totals {
    uint64_t chunks, pairs;
    uint64_t keys, jobs; /* of the pairs: users' keys, jobs */
    uint64_t size;       /* of keys and values */
    uint64_t digest;
};

/* ---- writing ---- */

/* Zeroed: before the header. Copied, it can write what follows again. */
struct kvp_backup_writer {
    uint64_t chain; /* checksum of the part before */
    struct kvp_backup_totals totals;
};

/* Each appends one part. KVP_NO_MEMORY leaves the buffer as it was, and the writer, too. */
kvp_status kvp_backup_write_header(struct kvp_backup_writer *writer,
                                   const struct kvp_backup_header *header, kvp_buf *out);
/* `pairs`: as kvp_state_view_chunk() makes them, at least one, behind those written before.
 * KVP_TOO_LARGE, KVP_CORRUPT: they are no such pairs. */
kvp_status kvp_backup_write_chunk(struct kvp_backup_writer *writer, kvp_slice pairs, kvp_buf *out);
kvp_status kvp_backup_write_trailer(struct kvp_backup_writer *writer, kvp_buf *out);

/* ---- reading ---- */

struct kvp_backup_reader;

/* What a chunk holds, to who wants it: pairs as kvp_storage_incoming_write() takes them. What is
 * not KVP_OK ends the reading. */
typedef kvp_status (*kvp_backup_take)(void *arg, kvp_slice pairs);

/* `take` may be NULL. NULL: no memory. */
struct kvp_backup_reader *kvp_backup_reader_new(kvp_backup_take take, void *arg);
void kvp_backup_reader_free(struct kvp_backup_reader *reader); /* NULL is fine */
/* Takes the next bytes of a file. KVP_CORRUPT: it is damaged, KVP_BAD_VERSION: of a format that
 * this release does not read; kvp_backup_reader_error() tells more. After a failure each call
 * returns it again. */
kvp_status kvp_backup_reader_feed(struct kvp_backup_reader *reader, kvp_slice bytes);
/* The file is at its end. KVP_CORRUPT: the backup is not. */
kvp_status kvp_backup_reader_end(struct kvp_backup_reader *reader);
/* In plain words, with the offset of the part that is wrong; "" if nothing is. */
const char *kvp_backup_reader_error(const struct kvp_backup_reader *reader);
uint64_t kvp_backup_reader_offset(const struct kvp_backup_reader *reader); /* of the same */
/* NULL: it has not been read yet. */
const struct kvp_backup_header *kvp_backup_reader_header(const struct kvp_backup_reader *reader);
/* Of what has been read so far. */
const struct kvp_backup_totals *kvp_backup_reader_totals(const struct kvp_backup_reader *reader);
/* Has all of it been read, up to the trailer? */
bool kvp_backup_reader_done(const struct kvp_backup_reader *reader);

#endif
