/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The table of sessions: what the last request of every session slot was answered, so that a repeat
 * gets the same answer and is not executed again (rule R5). It is bounded: the slot that was not
 * used for the longest time makes room. Whoever comes back later than that is told so, by the
 * *floor*: the highest seq of a slot that was dropped. A session born (its client heard of a seq)
 * below the floor and unknown may have been dropped; one born at or above it is new.
 *
 * The table is part of the replicated state: records 'S' and the floor 'E' of keyspace.h. One thread.
 */
#ifndef KVP_SESSION_H
#define KVP_SESSION_H

#include "kvstore/keyspace.h"
#include "kvstore/storage.h"

#define SESSION_ANSWER_KEPT 512u /* larger answers are read from the store again */

struct session {
    struct session *next;            /* in the hash chain */
    struct session *older, *newer;   /* by seq */
    uint64_t client;
    uint16_t slot;
    uint64_t number, seq;
    uint8_t code;
    bool stored;    /* the answer is in the store only */
    kvp_buf answer;
};

struct session_table {
    struct session **slots;
    size_t capacity, count, count_max;
    struct session *oldest, *newest;
    uint64_t floor;
};

kvp_status session_table_init(struct session_table *table, size_t count_max);
void session_table_clear(struct session_table *table);
void session_table_free(struct session_table *table);

/* Reads the table from the state. */
kvp_status session_table_load(struct session_table *table, struct kvp_storage *storage);

struct session *session_find(const struct session_table *table, uint64_t client, uint16_t slot);

/* Notes that (client, slot) was answered; takes over the bytes of `answer`. `spare` is a session
 * from session_new() for the case that the slot is new (used up or freed here): this cannot fail. */
void session_note(struct session_table *table, struct session *spare, uint64_t client,
                  uint16_t slot, const struct kvp_session_record *record, kvp_buf *answer);
struct session *session_new(void);
/* The slot to drop before (client, slot) is noted, when the table is full; NULL: none. */
const struct session *session_victim(const struct session_table *table, uint64_t client,
                                     uint16_t slot);
/* Drops a slot and raises the floor to its seq. */
void session_drop(struct session_table *table, const struct session *victim);
/* The store has everything up to `seq`: large answers need not be kept. */
void session_applied(struct session_table *table, uint64_t client, uint16_t slot, uint64_t seq);

#endif
