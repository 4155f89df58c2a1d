/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A node's storage: the log and the node's own metadata in a store's journal, the applied state in
 * its map, and what is around it: the second record of the log's tail, the store that a snapshot is
 * being received into, the quarantined stores. It knows bytes, numbers and order, not the
 * replication protocol.
 *
 * Threads: everything but kvp_storage_get(), kvp_storage_snapshot() and the reading of iterators
 * belongs to one thread (the disk thread). When a call returns KVP_DISK_FULL, KVP_IO or KVP_CORRUPT
 * the store has been closed and every later call returns KVP_FAILED (rule R7).
 */
#ifndef KVP_STORAGE_H
#define KVP_STORAGE_H

#include "kvstore/entry.h"
#include "kvstore/store.h"
#include "kvstore/view.h"

#define KVP_EARLIER_MAX  16u
#define KVP_STORE_IS_NEW UINT64_MAX /* in place of the first: nobody has known it yet */

/* Which store it is, as a store says itself. Nothing is read of it where `incarnation` is 0. */
struct kvp_numbers {
    uint64_t incarnation;
    uint64_t
        replaces; /* of a store that is new: the number that it takes the place of; 0: not known */
    uint64_t earlier[KVP_EARLIER_MAX]; /* as which it may be known still; 0 behind the last */
};

/* What a node knows about itself, kept in its store. Zeroed: a node that never was in a group. */
struct kvp_meta {
    uint64_t group_id;          /* random, made with the group; 0: blank node */
    struct kvp_view view;       /* the newest that this node knows */
    uint64_t member_epoch;      /* epoch of the last promise to count as in-sync; 0: not eligible */
    uint64_t unreplicated_from; /* first seq made while in_sync was only this node; 0: none */
    bool log_regressed;         /* the log is shorter than it was: rejoin, never lead */
    uint64_t diverged_count;    /* updates in quarantined stores that the group never saw */
    uint64_t forced_epoch;  /* of the last view that an operator forced upon the group; 0: none */
    uint64_t shown_version; /* of the newest view that an arbiter has shown or granted; 0: none */
    /* Which store this is (core_identity.c): another number after every start. */
    uint64_t incarnation;              /* 0: never drawn, or a store of the version before */
    uint64_t earlier[KVP_EARLIER_MAX]; /* those before, as which others may still know it, oldest
                                          first; 0 behind the last */
    bool copy;                         /* another store speaks for this node: this one stays out */
    uint64_t peer_incarnation;         /* pair mode: as which the other node is known; 0: not yet */
};

/* What opening a data directory found. */
struct kvp_loaded {
    struct kvp_meta meta;
    struct kvp_point tail;       /* last entry of the log, == applied when the log is empty */
    struct kvp_point applied;    /* the state is that of this point */
    uint64_t log_first;          /* seq of the oldest entry kept; tail.seq + 1 when none is */
    uint64_t log_size;           /* of the entries kept, kvp_entry_cost() of each */
    unsigned stores_quarantined; /* and kept by precaution */
    bool repaired; /* blank, and beside it lies a damaged store: this node founds no group */
    unsigned
        stranger_count; /* directories that look like stores of ours, but the books do not name */
    char stranger[64];  /* one of them; "": there is none */
};

/* What becomes of a store when another one takes its place. */
enum kvp_keep {
    KVP_KEEP_NOT,   /* nothing in it that the other one's source has not: destroyed */
    KVP_KEEP_SPARE, /* kept by precaution (`replaced-*`); goes when room is needed for others */
    KVP_KEEP,       /* may have what nobody else has (`diverged-*`); never removed by a node */
};

/* How much is kept beside the data. A further store is kept while both are below: so they may be
 * exceeded by that one. */
struct kvp_quarantine {
    unsigned count; /* 1..KVP_QUARANTINE_COUNT_MAX */
    uint64_t size;  /* bytes */
};
#define KVP_QUARANTINE_COUNT_MAX 32u
#define KVP_QUARANTINE_COUNT     8u
#define KVP_QUARANTINE_SIZE      (16ull << 30)

/* What was done with a store that had to make way. */
struct kvp_quarantined {
    char name[64];    /* its new one; "": it is gone */
    unsigned count;   /* stores kept now */
    unsigned dropped; /* spares that were removed to make room */
};

struct kvp_storage;

/*
 * Opens the active store of the directory (made if there is none), checks its format version, walks
 * the log and verifies the chain of hashes, and compares its tail with the second record: shorter
 * means `meta.log_regressed`. Leftovers of unfinished snapshots are removed if the directory's
 * books name them: nothing else ever is. `group` is the group's name: kept on first use,
 * KVP_WRONG_GROUP if the store has another; `node_id` likewise (KVP_REFUSED). A damaged store, log
 * or hole in the log: KVP_CORRUPT. `message` gets the reason in plain words. `env` is borrowed and
 * must outlive the storage.
 */
kvp_status kvp_storage_open(struct kvp_env *env, const char *group, unsigned node_id,
                            struct kvp_storage **storage, struct kvp_loaded *loaded, char *message,
                            size_t message_size);
void kvp_storage_close(struct kvp_storage *storage); /* NULL is fine */

/*
 * After kvp_storage_open() has said KVP_CORRUPT: sets the damaged store aside as `damaged-N` and
 * puts an empty one of a blank node in its place, to be opened next. What is kept is bounded like
 * all that is kept: others of the kind make room, but never one that may be the only copy.
 * KVP_REFUSED, and nothing has changed: by its last metadata this node is the only one that counts;
 * or they cannot be told, and nobody else would know (`arbiter` is false); or there is no room.
 */
kvp_status kvp_storage_repair(struct kvp_env *env, const char *group, unsigned node_id,
                              bool arbiter, struct kvp_quarantine quarantine,
                              struct kvp_quarantined *quarantined, char *message,
                              size_t message_size);
/* Has the storage stopped because of damage, and would the next opening be refused for it, so that
 * it can be repaired? When nobody writes any more. */
bool kvp_storage_repairable(const struct kvp_storage *storage);
/* Before the first exchange of stores. */
void kvp_storage_set_quarantine(struct kvp_storage *storage, struct kvp_quarantine quarantine);

/*
 * One step of the log: truncation, appending and metadata happen together or not at all, then what
 * is to be applied is. Arrays and entries are borrowed for the call. What is applied is not durable
 * by itself: after a power cut the state may be an earlier one, and the log has what is missing.
 */
struct kvp_storage_write {
    bool sync;     /* log and metadata are durable on return */
    bool truncate; /* first cut all entries after `truncate_after` */
    uint64_t truncate_after;
    struct kvp_entry *const *append; /* entries to append, consecutive */
    size_t append_count;
    struct kvp_entry *const *apply; /* entries to apply to the state, consecutive, in the log */
    size_t apply_count;
    uint64_t trim_to;            /* entries up to and with this seq may be dropped; 0: none */
    const struct kvp_meta *meta; /* NULL: unchanged */
};

/* KVP_NO_MEMORY: nothing has changed. KVP_BAD_ARGUMENT: not a step that the log allows (a gap, a
 * cut into what is applied): nothing has changed, but the storage stops, since caller and store
 * disagree about what there is. */
kvp_status kvp_storage_write(struct kvp_storage *storage, const struct kvp_storage_write *write);

/* Reads log entries from `from` on, up to `size_max` payload bytes but at least one and at most
 * `count_max`. Each entry in `entries` has one reference that the caller owns. KVP_NOT_FOUND when
 * `from` is not in the log. */
kvp_status kvp_storage_read_log(struct kvp_storage *storage, uint64_t from, size_t size_max,
                                struct kvp_entry **entries, size_t count_max, size_t *count);

/* The stored value under a raw key (keyspace.h) in the applied state, appended to `value`. Any
 * thread. KVP_NOT_FOUND. */
kvp_status kvp_storage_get(struct kvp_storage *storage, kvp_slice key, kvp_buf *value);

/*
 * A consistent view of the applied state, for scans and for sending to a joining node. Any thread
 * may make, read and close one; each is used by one thread at a time. All are closed before
 * kvp_storage_close() or a replacement of the store; NULL when memory is short or the store failed.
 */
struct kvp_state_view;
struct kvp_state_view *kvp_storage_snapshot(struct kvp_storage *storage);
struct kvp_point kvp_state_view_point(const struct kvp_state_view *view);
/* Positions at the first raw key >= `key`, up to `end` (exclusive; empty: the end of the state). */
kvp_status kvp_state_view_seek(struct kvp_state_view *view, kvp_slice key, kvp_slice end);
/* Positions at the last raw key <= `key`, for going back to `start` (included). Metadata lie
 * between the parts of the state: both belong to the same part, which `start` begins with. */
kvp_status kvp_state_view_seek_back(struct kvp_state_view *view, kvp_slice key, kvp_slice start);
/* The pair under the cursor, valid until the next call; KVP_NOT_FOUND at the end. */
kvp_status kvp_state_view_read(struct kvp_state_view *view, kvp_slice *key, kvp_slice *value);
void kvp_state_view_next(struct kvp_state_view *view);  /* in the direction of the last seek */
void kvp_state_view_close(struct kvp_state_view *view); /* NULL is fine */

/*
 * Sending a snapshot: appends to `chunk` raw pairs from the cursor on, up to about `size_max` bytes
 * (one pair more than needed at most), as {u32 key size, u32 value size, key, value}*, numbers
 * little-endian. *last is set when the state's end is reached. The cursor starts at its first pair.
 */
kvp_status kvp_state_view_chunk(struct kvp_state_view *view, size_t size_max, kvp_buf *chunk,
                                bool *last);

/*
 * Receiving a snapshot: into a store of its own beside the active one. begin throws away what an
 * earlier attempt left. finish makes it durable with `meta`, an empty log and `point` as applied
 * point, switches the active store over atomically, and destroys the old one, or keeps it: after a
 * crash at any moment the directory holds the old store or the complete new one. KVP_BAD_REQUEST
 * for a malformed chunk (keys must be raw state keys, in rising order over all chunks);
 * KVP_BAD_ARGUMENT without a begin; from finish KVP_BUSY while a view is open (it may be repeated
 * when that is closed), and KVP_REFUSED when there is no room for what is to be kept: nothing has
 * changed.
 */
kvp_status kvp_storage_incoming_begin(struct kvp_storage *storage);
kvp_status kvp_storage_incoming_write(struct kvp_storage *storage, kvp_slice chunk);
kvp_status kvp_storage_incoming_finish(struct kvp_storage *storage, struct kvp_point point,
                                       const struct kvp_meta *meta, enum kvp_keep keep,
                                       struct kvp_quarantined *quarantined);
void kvp_storage_incoming_abort(struct kvp_storage *storage);

/*
 * Restoring a backup into a data directory without a store (KVP_EXISTS: there is one): begin,
 * kvp_storage_incoming_write() for what the backup holds, finish, and end, in any case. The storage
 * is good for nothing else. `drawn`, which is random and not the old group's number, becomes that
 * of the new one. *base is the point behind which it goes on: its revisions are greater than the
 * backup's by KVP_RESTORE_JUMP. Only finish makes the store one that a node begins with.
 */
#define KVP_RESTORE_JUMP   ((uint64_t)1 << 40)
#define KVP_RESTORE_EPOCHS ((uint64_t)1 << 16) /* the same of epochs */
kvp_status kvp_storage_restore_begin(struct kvp_env *env, const char *group, unsigned node_id,
                                     struct kvp_storage **storage, char *message,
                                     size_t message_size);
struct kvp_backup_header;
kvp_status kvp_storage_restore_finish(struct kvp_storage *storage,
                                      const struct kvp_backup_header *header, uint64_t drawn,
                                      struct kvp_point *base);
void kvp_storage_restore_end(struct kvp_storage *storage); /* NULL is fine */

/*
 * Rule R6: renames the active store as a whole to `diverged-<epoch>-<tail seq>` (`replaced-...` if
 * it is but a spare; with a number behind when taken) and goes on with a new, empty one that holds
 * `meta`. All that the old one has is made durable before. KVP_BUSY while a view is open,
 * KVP_REFUSED when there is no room for it; a snapshot under way is given up.
 */
kvp_status kvp_storage_quarantine(struct kvp_storage *storage, const struct kvp_meta *meta,
                                  enum kvp_keep keep, struct kvp_quarantined *quarantined);

/* Writes the second record of the tail with fsync (done by itself at close). */
kvp_status kvp_storage_sync_tail(struct kvp_storage *storage);

/* Of the active store; zeros when there is none. */
struct kvp_syncs kvp_storage_syncs(const struct kvp_storage *storage);
/* Adds the bytes that the active store takes, about, its log included; looks at each of its files.
 */
kvp_status kvp_storage_size(struct kvp_storage *storage, uint64_t *size);

/* Reason of the last failure in plain words; "" if none. */
const char *kvp_storage_error(const struct kvp_storage *storage);

#endif
