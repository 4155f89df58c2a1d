/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files storage*.c share. In the data directory lie:
 *
 *   active            which store is in use, and whether one waits to be renamed (storage_codec.c)
 *   books             which of the others this node may remove (storage_books.c)
 *   tail              the second record of the log's tail, two slots (storage_tail.c)
 *   store-N           a store: the state and the records about it in a map, the log in its journal;
 *                     N grows and is never used again
 *   incoming-N        a store that a snapshot was or is being received into; once complete it is
 *                     the active one under that name
 *   diverged-E-S      a quarantined store: it may hold what nobody else has
 *   replaced-E-S      a store kept by precaution: it never counted
 *   damaged-N         a store that could not be read, once store-N or incoming-N (storage_repair.c)
 *
 * `active` is replaced atomically: every change of store is prepared under a new name and happens
 * with that replacement. What a crash leaves is removed at the next opening if the books name it.
 */
#ifndef KVP_STORAGE_PRIVATE_H
#define KVP_STORAGE_PRIVATE_H

#include "kvstore/keyspace.h"
#include "kvstore/storage.h"
#include "kvstore/store_name.h"

#include <pthread.h>

#define STORAGE_META_SIZE        (84u + 8u * KVP_EARLIER_MAX + 8u)
#define STORAGE_META_SIZE_1      67u /* of version 1, which is read, too */
#define STORAGE_POINT_SIZE       24u
#define STORAGE_BASE_SIZE        (STORAGE_POINT_SIZE + 8u)
#define STORAGE_SLOT_SIZE        64u
#define STORAGE_RECORD_SIZE_MAX  (21u + STORAGE_META_SIZE) /* before the entries */
#define STORAGE_ENTRY_SIZE       20u /* before the payload: its size, epoch, hash */
#define STORAGE_PAIR_HEADER_SIZE 8u  /* of a snapshot's pairs */

#define STORAGE_STORE_PREFIX    "store-"
#define STORAGE_INCOMING_PREFIX "incoming-"
#define STORAGE_DIVERGED_PREFIX "diverged-"
#define STORAGE_REPLACED_PREFIX "replaced-"
#define STORAGE_DAMAGED_PREFIX  "damaged-"

#define STORAGE_TEMPORARIES 2u
#define STORAGE_SPARES_MAX  KVP_QUARANTINE_COUNT_MAX

/* The names under KVP_PREFIX_META. */
#define STORAGE_KEY_META    "Mmeta"
#define STORAGE_KEY_APPLIED "Mapplied"
#define STORAGE_KEY_BASE    "Mbase"
#define STORAGE_KEY_FORMAT  "Mformat"
#define STORAGE_KEY_GROUP   "Mgroup"
#define STORAGE_KEY_NODE    "Mnode"

/* An open store, shared by the storage and the views on it; the last one closes it. */
struct storage_held {
    atomic_uint references;
    struct kvp_store *store;
};

/* The content of `active`. A store that is no longer active may still have to get its new name. */
struct storage_pointer {
    char active[KVP_STORE_NAME_SIZE];
    char quarantine_from[KVP_STORE_NAME_SIZE]; /* "": nothing to rename */
    char quarantine_to[KVP_STORE_NAME_SIZE];
};

/* The content of `books`. */
struct storage_books {
    char temporary[STORAGE_TEMPORARIES][KVP_STORE_NAME_SIZE]; /* "": none */
    unsigned spare_count;
    char spares[STORAGE_SPARES_MAX][KVP_STORE_NAME_SIZE]; /* oldest first */
};

/* Who has what the node has acknowledged, by its own metadata. It is kept where it can be read when
 * the store cannot. */
enum storage_standing {
    STANDING_UNKNOWN, /* a record of the version before */
    STANDING_SHARED,  /* others are in the in-sync set, and this one is or is not */
    STANDING_ALONE,   /* it is the only member */
    STANDING_BLANK,   /* it never was in a group */
    STANDING_OUTSIDE, /* it is none, and may have what nobody else has */
};

/* One slot of the second record. */
struct storage_slot {
    uint64_t generation;
    uint64_t store; /* hash of the store's name */
    struct kvp_point tail;
    enum storage_standing standing;
    bool damaged; /* damage was found in the store: it is not to be opened again */
};

/* Ops of one batch and the bytes that they point to. All room is made before the first op. */
struct storage_batch {
    struct kvp_batch_op *ops;
    size_t count, capacity;
    uint8_t *bytes;
    size_t size, byte_capacity;
};

/* A change of the log as it lies in a frame of the journal; see storage_log.c. */
struct storage_record {
    bool cut;
    uint64_t cut_after;
    bool has_meta;
    struct kvp_meta meta;
    uint64_t next, last; /* seq of the entries in `rest`; next > last: none */
    kvp_slice rest;
};

/* Entries of the log that lie in one frame, up to `last`. */
struct storage_stretch {
    uint64_t last;
    struct kvp_frame frame;
};

/* Where the log is: items[first..count), ascending. */
struct storage_index {
    struct storage_stretch *items;
    size_t first, count, capacity;
};

struct kvp_storage {
    struct kvp_env *env;
    pthread_rwlock_t lock;     /* of held, replacing */
    struct storage_held *held; /* NULL after a failure */
    bool replacing;            /* no new views, for a moment */
    atomic_bool failed;        /* set by any thread; the disk thread then lets go of the store */
    atomic_bool damaged;       /* the reason was damage */
    pthread_mutex_t error_lock;
    char error[512]; /* written once */

    /* The rest belongs to the disk thread. */
    char name[KVP_STORE_NAME_SIZE]; /* of the active store */
    uint64_t next_number;           /* of stores */
    struct storage_books books;
    struct kvp_quarantine quarantine;
    char group[KVP_GROUP_NAME_MAX + 1];
    unsigned node_id;
    struct kvp_meta meta;
    struct kvp_point base; /* before the oldest entry kept */
    uint64_t first_frame; /* of the journal that counts: that of the oldest entry, or a later one */
    uint64_t next_frame;
    struct kvp_point applied; /* base.seq <= applied.seq <= tail.seq */
    struct kvp_point tail;
    struct storage_index index;
    kvp_buf scratch;          /* for a frame that is read */
    struct storage_slot slot; /* the newest record of the active store */
    unsigned slot_index;      /* where it is; the next goes to the other place */
    uint64_t generation;      /* the greatest used */
    bool slot_synced;

    struct kvp_store *incoming; /* NULL: none */
    char incoming_name[KVP_STORE_NAME_SIZE];
    kvp_buf incoming_key; /* the last one received; empty before the first */
};

/* ---- storage.c ---- */

struct kvp_storage *storage_new(struct kvp_env *env, const char *group, unsigned node_id);
void storage_free(struct kvp_storage *storage);

/* ---- storage_fail.c ---- */

/* The reason of a failure is kept, the storage refuses everything from now on, and its store is let
 * go. Disk thread only. Returns `status`. */
kvp_status storage_fail(struct kvp_storage *storage, kvp_status status, const char *what,
                        const char *reason);
/* The same for any thread: the store is let go later. */
kvp_status storage_fail_soon(struct kvp_storage *storage, kvp_status status, const char *what,
                             const char *reason);
/* storage_fail() with the reason that the store or the directory gives. */
kvp_status storage_fail_store(struct kvp_storage *storage, kvp_status status, const char *what,
                              struct kvp_store *store);
kvp_status storage_fail_env(struct kvp_storage *storage, kvp_status status, const char *what);
/* To be called first in every function of the disk thread: KVP_OK or KVP_FAILED. */
kvp_status storage_check(struct kvp_storage *storage);
struct storage_held *storage_held_new(struct kvp_store *store); /* NULL: no memory */
void storage_held_unref(struct storage_held *held);             /* NULL is fine */
/* Lets go of the active store and of the one being received. Views on it live on. */
void storage_release(struct kvp_storage *storage);

/* ---- storage_new.c ---- */

/* Is there a store, or anybody's directory, of that name? */
kvp_status storage_is_there(struct kvp_storage *storage, const char *name, bool *found);
/* A name with a number that was never used. */
kvp_status storage_new_name(struct kvp_storage *storage, const char *prefix, char *name);
/* Replays a journal in which nothing is expected, and begins it. */
kvp_status storage_begin_journal(struct kvp_storage *storage, struct kvp_store *store);
/* Adds format, group, node and what else a store holds besides its state; `sync`ed. */
kvp_status storage_write_identity(const struct kvp_storage *storage, struct kvp_store *store,
                                  const struct kvp_meta *meta, struct kvp_point point);

/* ---- storage_open.c ---- */

/* The number behind "store-" or "incoming-" as this node writes it; 0 for another name. */
uint64_t storage_number_of(const char *name);
/* Fills in what kvp_storage_open() has to find out. On failure `storage` may hold a store. */
kvp_status storage_load(struct kvp_storage *storage, struct kvp_loaded *loaded);

/* Replaces the file `active`; fails the storage if that fails. */
kvp_status storage_write_pointer(struct kvp_storage *storage,
                                 const struct storage_pointer *pointer);

/*
 * Makes a store with an empty log at `point` the one that pointer->active names: identity, record
 * of the tail, then the pointer. `store` is that store, open, with its state in it; NULL: it is
 * made here, and closed again.
 */
kvp_status storage_start_empty(struct kvp_storage *storage, const struct storage_pointer *pointer,
                               const struct kvp_meta *meta, struct kvp_point point,
                               struct kvp_store *store);

/* ---- storage_books.c ---- */

kvp_status storage_books_load(struct kvp_storage *storage);
/* These two, and no others, are temporary from now on ("": none). What was so before is removed,
 * but for the active store. */
kvp_status storage_books_temporary(struct kvp_storage *storage, const char *first,
                                   const char *second);
/* The store `name` is the newest spare, and none is temporary. */
kvp_status storage_books_spare(struct kvp_storage *storage, const char *name);
/* Removes the oldest spare; there must be one. */
kvp_status storage_books_drop_spare(struct kvp_storage *storage);
/* Is it one of the temporary ones? */
bool storage_books_name(const struct kvp_storage *storage, const char *name);

/* ---- storage_quarantine.c ---- */

/* Is it a name that quarantined stores, or kept, have? */
bool storage_is_quarantined(const char *name);
/* What lies in quarantine now. */
kvp_status storage_quarantine_measure(struct kvp_storage *storage, unsigned *count, uint64_t *size);
/* Room for one more, made by dropping spares; KVP_REFUSED: there is none. */
kvp_status storage_quarantine_room(struct kvp_storage *storage,
                                   struct kvp_quarantined *quarantined);

/* ---- storage_codec.c ---- */

void storage_point_encode(struct kvp_point point, uint8_t bytes[STORAGE_POINT_SIZE]);
struct kvp_point storage_point_decode(const uint8_t bytes[STORAGE_POINT_SIZE]);
void storage_meta_encode(const struct kvp_meta *meta, uint8_t bytes[STORAGE_META_SIZE]);
kvp_status storage_meta_decode(kvp_slice raw, struct kvp_meta *meta); /* KVP_CORRUPT */
/* Of the record that begins there: the one of its version. */
size_t storage_meta_size(kvp_slice bytes);
kvp_status storage_pointer_encode(const struct storage_pointer *pointer, kvp_buf *text);
kvp_status storage_pointer_decode(kvp_slice text, struct storage_pointer *pointer);
void storage_slot_encode(const struct storage_slot *slot, uint8_t bytes[STORAGE_SLOT_SIZE]);
kvp_status storage_slot_decode(const uint8_t bytes[STORAGE_SLOT_SIZE], struct storage_slot *slot);
kvp_status storage_batch_init(struct storage_batch *batch, size_t count, size_t size);
void storage_batch_free(struct storage_batch *batch);
/* Room for `size` bytes that live as long as the batch. */
uint8_t *storage_batch_bytes(struct storage_batch *batch, size_t size);
void storage_batch_add(struct storage_batch *batch, struct kvp_batch_op op);
void storage_batch_put(struct storage_batch *batch, const char *key, const void *value,
                       size_t size);
void storage_batch_point(struct storage_batch *batch, const char *key, struct kvp_point point);
void storage_batch_base(struct storage_batch *batch, struct kvp_point base, uint64_t first_frame);
void storage_batch_meta(struct storage_batch *batch, const struct kvp_meta *meta);

/* ---- storage_log.c ---- */

/* The record before its first entry, or KVP_CORRUPT. It points into `raw`. */
kvp_status storage_record_begin(struct storage_record *record, kvp_slice raw);
/* KVP_NOT_FOUND behind the last entry, KVP_CORRUPT. */
kvp_status storage_record_next(struct storage_record *record, struct kvp_point *point,
                               kvp_slice *payload);

/* Room for one stretch more. KVP_NO_MEMORY. */
kvp_status storage_index_reserve(struct storage_index *index);
void storage_index_add(struct storage_index *index, uint64_t last, struct kvp_frame frame);
/* Nothing behind `after` stays. The oldest stretch begins behind `base`. */
void storage_index_cut(struct storage_index *index, uint64_t after, uint64_t base);
void storage_index_clear(struct storage_index *index);
/* Position of the stretch that has the entry `seq`, or the first behind it; index->count: none. */
size_t storage_index_find(const struct storage_index *index, uint64_t seq);

/* The point of an entry of the log that the journal has; KVP_CORRUPT when it has it not. */
kvp_status storage_log_look(struct kvp_storage *storage, uint64_t seq, struct kvp_point *point);
/* Cost of the entries first..tail. */
kvp_status storage_log_size(struct kvp_storage *storage, uint64_t first, uint64_t *size);
/* Writes what the step says of truncation, entries and metadata as one frame. KVP_NO_MEMORY:
 * nothing has changed. Other failures stop the storage. */
kvp_status storage_log_write(struct kvp_storage *storage, const struct kvp_storage_write *write);
/* Lets go of as much of the journal as lies before the entry `to` + 1. */
kvp_status storage_log_trim(struct kvp_storage *storage, uint64_t to);

/* ---- storage_tail.c ---- */

/* Reads the record. *found is false when there is none of the active store. */
kvp_status storage_tail_load(struct kvp_storage *storage, bool *found);
/* Writes a record of the store `name`; it becomes the current one. */
kvp_status storage_tail_write(struct kvp_storage *storage, const char *name, struct kvp_point tail,
                              enum storage_standing standing, bool sync);
enum storage_standing storage_standing_of(const struct kvp_storage *storage,
                                          const struct kvp_meta *meta);
/* Before the metadata says that this node is the only member: a flip in one of the records must not
 * make it forget that. */
kvp_status storage_tail_alone(struct kvp_storage *storage);
/* Could it be set aside? */
bool storage_tail_repairable(const struct kvp_storage *storage);
/* Damage was found in the active store: it is not opened again, if others have what it has. */
void storage_tail_condemn(struct kvp_storage *storage);

#endif
