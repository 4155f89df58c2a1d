/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The journal of a store on a POSIX file system: frames of bytes, numbered 1, 2, 3..., appended at
 * the end and dropped from the front. They lie in files called journal-N in the store's directory,
 * which are filled with zeros when they are made and used again later: so an fdatasync has nothing
 * to write but the frames themselves, while a file that grows costs it the file system's records as
 * well.
 *
 * What is durable: a synced append makes all frames up to its own durable. A power cut takes frames
 * from the end only, since a file is synced before the next one is begun, and what comes behind the
 * first frame that is not whole does not count.
 *
 * A file begins with a header, {u64 key, u64 XXH3 of the key}; frames follow. The key is random and
 * drawn anew each time that the file is begun, new or used again, and the header is written
 * together with the first frame. A frame is {u64 XXH3 of what follows, seeded with the file's key,
 * u64 number, u32 size, u32 magic, bytes, zeros up to a multiple of 8}. Numbers are little-endian.
 *
 * What is not a frame of now is not taken for one. Without the key nobody can make one: neither
 * what an earlier use of the file left nor bytes that a client has chosen pass for a frame,
 * wherever a power cut makes the frames end. Besides, what earlier uses left has smaller numbers.
 * And what an earlier life of the process left behind the end, with the key that stays in use, is
 * overwritten with zeros by kvp_journal_begin().
 *
 * A file whose header is not valid has no frames: those that it had are lost. If a later file has
 * some, it is told here that they are missing. If not, nothing can be told, not by *more either:
 * only the second record that kvstore keeps of the log's tail knows of them (storage_tail.c).
 *
 * Threads: one at a time. Errors: after any failure but KVP_NO_MEMORY of a reading function the
 * journal refuses everything with KVP_FAILED (a failed fsync cannot be repeated).
 */
#ifndef KVP_JOURNAL_H
#define KVP_JOURNAL_H

#include "kvstore/store.h"

struct kvp_journal;

/*
 * The journal of the directory `path`, which exists; nothing is changed in it before
 * kvp_journal_begin(). `file_size` is that of files made from now on, in bytes, at least 4096; a
 * frame that does not fit in behind the header gets a larger file. The caller closes *journal.
 * KVP_NO_MEMORY, KVP_NOT_FOUND, KVP_IO.
 */
kvp_status kvp_journal_open(const char *path, size_t file_size, struct kvp_journal **journal);
void kvp_journal_close(struct kvp_journal *journal); /* NULL is fine; syncs nothing */

/*
 * Reads the frames from the number `first` on up to the end and calls `each` for every one, in
 * their order; a status but KVP_OK from it ends the reading and is returned. *more tells that
 * behind the end lie whole frames that were written after it, in a file with a valid header: after
 * a power cut in the middle of unsynced writes, or of damage. KVP_CORRUPT when frames are missing
 * before a later file. Changes nothing.
 */
kvp_status kvp_journal_replay(struct kvp_journal *journal, uint64_t first, kvp_journal_each each,
                              void *arg, bool *more);
/* Makes the end that kvp_journal_replay() found the end for good: what lies behind it is removed
 * durably, the file that ends there is written and synced once more (a sync of an earlier life may
 * have failed), and files with nothing but frames before `first` may be used again. Appends can
 * begin. */
kvp_status kvp_journal_begin(struct kvp_journal *journal);

/* See struct kvp_store_ops for these. */
kvp_status kvp_journal_append(struct kvp_journal *journal, const kvp_slice *parts, size_t count,
                              bool sync, struct kvp_frame *frame);
kvp_status kvp_journal_sync(struct kvp_journal *journal);
kvp_status kvp_journal_read(struct kvp_journal *journal, struct kvp_frame frame, kvp_buf *bytes);
uint64_t kvp_journal_oldest(const struct kvp_journal *journal, uint64_t keep);
kvp_status kvp_journal_drop(struct kvp_journal *journal, uint64_t keep);

struct kvp_syncs kvp_journal_syncs(const struct kvp_journal *journal);

/* Reason of the last failure in plain words; "" if none. */
const char *kvp_journal_error(const struct kvp_journal *journal);

#endif
