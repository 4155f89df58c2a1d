/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The table of sessions: what the last request of every session slot was answered, so that a repeat
 * gets the same answer and is not executed again (rule R5). It is part of the replicated state: the
 * records 'S', the floor 'E' and the age 'Ea' of keyspace.h.
 *
 * In memory are only the slots that were used since this node became primary; any other is looked
 * up in the store when a request of it comes. So a new primary serves at once, however many slots
 * there are. What it has to know of all of them is how old they are, for the day when one has to
 * make room: that is read step by step while it serves.
 *
 * The table is bounded, in slots and in bytes of answers:
 * - When all slots are taken, the one that was not used for the longest time makes room, but only
 * if it was not used for `idle_us`: whoever may still be repeating a request is not driven out. If
 * there is none, a new slot is refused.
 * - Answers of more than SESSION_ANSWER_KEPT bytes have a bound of their own. Past it the oldest
 * are forgotten by the same rule: the slot stays, its repeats are told SESSION_EXPIRED.
 *
 * Whoever comes back later than that is told so by the *floor*: the highest seq of a slot that was
 * dropped. Slots are dropped in the order of their seq, so one with a seq up to the floor was
 * dropped even if the store still has its record. A session whose start (a seq that its client
 * heard of) lies below the floor and unknown may have been dropped; one that starts at or above it
 * is new.
 *
 * What is idle must not depend on who is primary: `aged` is the seq up to which slots are idle. It
 * moves by the primary's clock, and is replicated. A new primary counts from its own beginning on.
 *
 * One thread.
 */
#ifndef KVP_SESSION_H
#define KVP_SESSION_H

#include "kvstore/keyspace.h"
#include "kvstore/storage.h"
#include "replication/engine/session_age.h"

#define SESSION_ANSWER_KEPT         512u  /* larger answers are read from the store again */
#define SESSION_SLOTS_OF_CLIENT_MAX 4096u /* slots of one client: their numbers are below that */

struct session {
    struct session *next;          /* in the hash chain */
    struct session *older, *newer; /* by seq */
    uint64_t client;
    uint64_t number, seq;
    uint32_t size; /* of the answer */
    uint16_t slot;
    uint8_t code;
    bool stored; /* the answer is in the store only */
    kvp_buf answer;
};

struct session_config {
    size_t count_max; /* slots */
    size_t large_max; /* bytes of large answers */
    uint64_t idle_us;
};

struct session_table {
    struct session_config config;
    struct session **slots;
    size_t capacity, count; /* in memory: used since this node leads */
    struct session *oldest, *newest;
    uint64_t floor;
    /* the others: the store has them */
    struct session_ages cold; /* by age; some of them have been used since */
    size_t cold_count;
    struct session_ages large;       /* of all slots; some have another answer by now */
    uint64_t large_size, large_gone; /* bytes; seq up to which large answers have been forgotten */
    struct session_ages taken;       /* what session_make_room() took */
    /* while they are being read */
    struct kvp_state_view *view;
    bool loading;
    uint64_t loaded_client; /* those up to here have been read, */
    uint32_t loaded_slot;   /* and slots below this one */
    size_t fresh;           /* slots that began meanwhile */
    /* what is idle */
    uint64_t aged, aged_written;
    uint64_t mark, mark_us; /* what was used up to `mark` was used before `mark_us` */
    uint64_t last_us;       /* when the newest was used */
};

kvp_status session_table_init(struct session_table *table, const struct session_config *config);
void session_table_clear(struct session_table *table);
void session_table_free(struct session_table *table);
/* Frees slots of a table that nobody looks at any more, at most *budget, which is what is left
 * then. */
void session_table_dismantle(struct session_table *table, size_t *budget);

/* ---- the state ---- */

/* Becomes able to look up: a few reads, whatever there is. `seq`: what the state is applied to. */
kvp_status session_table_start(struct session_table *table, struct kvp_storage *storage,
                               uint64_t seq, uint64_t now_us);
/* Reads the ages of about so many slots more; table->loading is false when all have been read. */
kvp_status session_table_load(struct session_table *table, size_t records);
/* Gives up reading: no view of the store is open any more. */
void session_table_release(struct session_table *table);

/* A slot, in memory or in the store. */
struct session_found {
    bool known;
    bool cold;   /* not in memory */
    bool stored; /* not cold, but the answer is in the store only */
    uint64_t number, seq;
    uint32_t size; /* of the answer */
    uint8_t code;
    kvp_slice answer; /* unless stored; in `scratch` or the table */
};
kvp_status session_look(const struct session_table *table, struct kvp_storage *storage,
                        uint64_t client, uint16_t slot, kvp_buf *scratch,
                        struct session_found *found);
/* Reads a record: `record` points into `scratch`. KVP_NOT_FOUND. */
kvp_status session_read(struct kvp_storage *storage, uint64_t client, uint16_t slot,
                        kvp_buf *scratch, struct kvp_session_record *record);

/* ---- in memory ---- */

struct session *session_find(const struct session_table *table, uint64_t client, uint16_t slot);

/* Room for what session_note() needs; then that cannot fail. `found`: what session_look() told. */
kvp_status session_reserve(struct session_table *table, const struct session_found *found,
                           size_t answer_size, struct session **spare);
/* Notes that (client, slot) was answered; takes over the bytes of `answer`, and `spare`. `answer`
 * is empty then, perhaps with the room that the slot's last one had. */
void session_note(struct session_table *table, struct session *spare,
                  const struct session_found *found, uint64_t client, uint16_t slot,
                  const struct kvp_session_record *record, kvp_buf *answer);
/* The store has everything up to `seq`: large answers need not be kept. */
void session_applied(struct session_table *table, uint64_t client, uint16_t slot, uint64_t seq);

/* ---- bounds ---- */

/* Time passes; everything up to `seq` has been used by now. */
void session_age(struct session_table *table, uint64_t now_us, uint64_t seq);
bool session_is_full(const struct session_table *table);
/* The slot to drop where the table is full; false: none may be. */
bool session_victim(struct session_table *table, struct session_age *victim);
/* May a slot begin that is not known? Else *reason says why not. */
bool session_may_begin(struct session_table *table, uint16_t slot, const char **reason);
/* Drops the victim and raises the floor to its seq. */
void session_drop(struct session_table *table, struct session_age victim);
/*
 * Makes room for a large answer of `size` bytes of a slot: those that have to be forgotten for it
 * are in table->taken then, perhaps the slot's own. False: not without those in use, and nothing
 * has changed. The caller writes it down and calls session_forget() for each, or
 * session_take_back().
 */
bool session_make_room(struct session_table *table, const struct session_found *found,
                       uint64_t client, uint16_t slot, size_t size);
void session_forget(struct session_table *table, struct session_age age);
void session_take_back(struct session_table *table);

#endif
