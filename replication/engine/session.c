/* SPDX-License-Identifier: Apache-2.0 */
/* The slots in memory: found by (client, slot), in the order of their use. */
#include "replication/engine/session.h"
#include "kvstore/base/mutant.h"

#include <stdlib.h>
#include <string.h>

#define CAPACITY_MIN     256u
#define SESSION_ROOM_MIN 64u /* kvp_buf's smallest */

kvp_status session_table_init(struct session_table *table, const struct session_config *config)
{
    memset(table, 0, sizeof(*table));
    table->config = *config;
    table->capacity = CAPACITY_MIN;
    while (table->capacity < config->count_max) {
        table->capacity *= 2;
    }
    table->slots = calloc(table->capacity, sizeof(*table->slots));
    return table->slots != NULL ? KVP_OK : KVP_NO_MEMORY;
}

static void session_free(struct session *session)
{
    if (session != NULL) {
        kvp_buf_free(&session->answer);
        free(session);
    }
}

static void session_free_all(struct session_table *table)
{
    for (struct session *session = table->oldest, *next; session != NULL; session = next) {
        next = session->newer;
        session_free(session);
    }
    session_ages_free(&table->cold);
    session_ages_free(&table->large);
    session_ages_free(&table->taken);
}

void session_table_release(struct session_table *table)
{
    kvp_state_view_close(table->view);
    table->view = NULL;
}

void session_table_clear(struct session_table *table)
{
    const struct session_table kept = {
        .config = table->config, .slots = table->slots, .capacity = table->capacity};
    session_table_release(table);
    if (table->count > 0) {
        memset(table->slots, 0, table->capacity * sizeof(*table->slots));
    }
    session_free_all(table);
    *table = kept;
}

void session_table_free(struct session_table *table)
{
    if (table->slots != NULL) {
        session_table_clear(table);
        free(table->slots);
        table->slots = NULL;
    }
}

void session_table_dismantle(struct session_table *table, size_t *budget)
{
    for (; table->oldest != NULL && *budget > 0; --*budget) {
        struct session *session = table->oldest;
        table->oldest = session->newer;
        table->count--;
        session_free(session);
    }
}

static struct session **session_chain(const struct session_table *table, uint64_t client,
                                      uint16_t slot)
{
    uint64_t hash = (client ^ (uint64_t)slot << 48 ^ slot) * 0x9e3779b97f4a7c15u;
    return &table->slots[(hash >> 32) & (table->capacity - 1)];
}

struct session *session_find(const struct session_table *table, uint64_t client, uint16_t slot)
{
    struct session *at = *session_chain(table, client, slot);
    while (at != NULL && (at->client != client || at->slot != slot)) {
        at = at->next;
    }
    return at;
}

static void session_unlink_age(struct session_table *table, struct session *session)
{
    *(session->older != NULL ? &session->older->newer : &table->oldest) = session->newer;
    *(session->newer != NULL ? &session->newer->older : &table->newest) = session->older;
}

static void session_link_newest(struct session_table *table, struct session *session)
{
    session->newer = NULL;
    session->older = table->newest;
    *(table->newest != NULL ? &table->newest->newer : &table->oldest) = session;
    table->newest = session;
}

static void session_insert(struct session_table *table, struct session *session)
{
    struct session **chain = session_chain(table, session->client, session->slot);
    session->next = *chain;
    *chain = session;
    session_link_newest(table, session);
    table->count++;
}

/* The age of a slot in the store has been read, if it was there when the reading began. */
static bool session_is_counted(const struct session_table *table, uint64_t client, uint16_t slot)
{
    return !table->loading || client < table->loaded_client ||
           (client == table->loaded_client && slot < table->loaded_slot);
}

/* How much of large_size an answer is. */
static uint32_t session_share(const struct session_table *table, uint64_t seq, uint32_t size)
{
    return size > SESSION_ANSWER_KEPT && seq > table->large_gone ? size : 0;
}

kvp_status session_reserve(struct session_table *table, const struct session_found *found,
                           size_t answer_size, struct session **spare)
{
    bool fresh = !found->known || found->cold;
    kvp_status status =
        answer_size > SESSION_ANSWER_KEPT ? session_ages_reserve(&table->large) : KVP_OK;
    *spare = status == KVP_OK && fresh ? calloc(1, sizeof(**spare)) : NULL;
    return status == KVP_OK && fresh && *spare == NULL ? KVP_NO_MEMORY : status;
}

static struct session *session_begin(struct session_table *table, struct session *spare,
                                     const struct session_found *found, uint64_t client,
                                     uint16_t slot)
{
    if (found->known && session_is_counted(table, client, slot)) {
        table->cold_count--;
        table->large_size -= session_share(table, found->seq, found->size);
    }
    table->fresh += !found->known;
    spare->client = client;
    spare->slot = slot;
    session_insert(table, spare);
    return spare;
}

/* The least room that there is goes to and fro: nearly all answers fit it, and no slot keeps more
 * than twice what it needs. */
static void session_swap_answer(struct session *session, kvp_buf *answer)
{
    kvp_buf last = session->answer;
    session->answer = *answer;
    if (last.capacity > SESSION_ROOM_MIN) {
        kvp_buf_free(&last);
    }
    *answer = last;
    answer->size = 0;
}

void session_note(struct session_table *table, struct session *spare,
                  const struct session_found *found, uint64_t client, uint16_t slot,
                  const struct kvp_session_record *record, kvp_buf *answer)
{
    struct session *session = spare;
    if (spare != NULL) {
        session_begin(table, spare, found, client, slot);
    } else {
        session = session_find(table, client, slot);
        table->large_size -= session_share(table, session->seq, session->size);
        session_unlink_age(table, session);
        session_link_newest(table, session);
    }
    session_swap_answer(session, answer);
    session->number = record->number;
    session->seq = record->seq;
    session->code = record->code;
    session->size = (uint32_t)session->answer.size;
    session->stored = false;
    if (session->size > SESSION_ANSWER_KEPT) {
        table->large_size += session->size;
        session_ages_push(&table->large,
                          (struct session_age){session->seq, client, session->size, slot});
    }
}

void session_applied(struct session_table *table, uint64_t client, uint16_t slot, uint64_t seq)
{
    struct session *session = session_find(table, client, slot);
    if (session != NULL && session->seq == seq) {
        kvp_buf_free(&session->answer);
        session->stored = session->size > 0;
    }
}

/* ---- bounds ---- */

void session_age(struct session_table *table, uint64_t now_us, uint64_t seq)
{
    if (now_us >= table->last_us + table->config.idle_us) {
        table->aged = seq;
    } else if (now_us >= table->mark_us + table->config.idle_us) {
        table->aged = table->mark > table->aged ? table->mark : table->aged;
    } else {
        return;
    }
    table->mark = seq;
    table->mark_us = now_us;
}

bool session_is_full(const struct session_table *table)
{
    return table->count + table->cold_count >= table->config.count_max;
}

/* Those that were not used since this node leads are older than all others. */
static bool session_oldest(struct session_table *table, struct session_age *age)
{
    while (table->cold.count > 0 &&
           session_find(table, table->cold.items[0].client, table->cold.items[0].slot) != NULL) {
        (void)session_ages_pop(&table->cold);
    }
    const struct session *oldest = table->oldest;
    if (table->cold.count > 0) {
        *age = table->cold.items[0];
    } else if (oldest != NULL) {
        *age = (struct session_age){oldest->seq, oldest->client, oldest->size, oldest->slot};
    }
    return table->cold.count > 0 || oldest != NULL;
}

bool session_victim(struct session_table *table, struct session_age *victim)
{
    return session_is_full(table) && !table->loading && session_oldest(table, victim) &&
           (victim->seq <= table->aged || KVP_MUTANT(SESSION_DROP_USED));
}

bool session_may_begin(struct session_table *table, uint16_t slot, const char **reason)
{
    struct session_age victim;
    if (slot >= SESSION_SLOTS_OF_CLIENT_MAX) {
        *reason = "a client has at most 4096 session slots: 0 to 4095";
        return false;
    }
    *reason = "all session slots were used a moment ago: try again, or use fewer of them";
    if (table->loading) {
        return table->fresh < table->config.count_max / 8 + 1;
    }
    return !session_is_full(table) || session_victim(table, &victim);
}

static void session_unlink(struct session_table *table, struct session *session)
{
    struct session **link = session_chain(table, session->client, session->slot);
    while (*link != session) {
        link = &(*link)->next;
    }
    *link = session->next;
    session_unlink_age(table, session);
    table->count--;
}

void session_drop(struct session_table *table, struct session_age victim)
{
    struct session *session = session_find(table, victim.client, victim.slot);
    table->large_size -= session_share(table, victim.seq, victim.size);
    if (session != NULL) {
        session_unlink(table, session);
        session_free(session);
    } else {
        (void)session_ages_pop(&table->cold);
        table->cold_count--;
    }
    table->floor = victim.seq > table->floor ? victim.seq : table->floor;
}

/* Is that still the slot's answer? */
static bool session_holds(const struct session_table *table, struct session_age age)
{
    const struct session *session = session_find(table, age.client, age.slot);
    return session != NULL ? session->seq == age.seq && session->size > SESSION_ANSWER_KEPT
                           : age.seq > table->floor;
}

/* Where there is more than there may be, each large answer takes twice its size away. */
static bool session_has_room(const struct session_table *table, size_t size, size_t freed)
{
    return table->large_size + size <= table->config.large_max + freed ||
           (freed > 0 && freed >= 2 * size);
}

/* What the slot's new answer takes the place of. */
static uint32_t session_replaced(const struct session_table *table,
                                 const struct session_found *found, uint64_t client, uint16_t slot)
{
    bool counted = found->known && (!found->cold || session_is_counted(table, client, slot));
    return counted ? session_share(table, found->seq, found->size) : 0;
}

bool session_make_room(struct session_table *table, const struct session_found *found,
                       uint64_t client, uint16_t slot, size_t size)
{
    size_t freed = session_replaced(table, found, client, slot);
    session_take_back(table); /* of an execution that failed */
    while (!session_has_room(table, size, freed)) {
        while (table->large.count > 0 && !session_holds(table, table->large.items[0])) {
            (void)session_ages_pop(&table->large);
        }
        const struct session_age *oldest = table->large.items;
        bool idle = table->large.count > 0 && !table->loading && oldest->seq <= table->aged;
        if (!idle || session_ages_reserve(&table->taken) != KVP_OK) {
            session_take_back(table);
            return false;
        }
        freed += oldest->client == client && oldest->slot == slot ? 0 : oldest->size;
        session_ages_push(&table->taken, session_ages_pop(&table->large));
    }
    return true;
}

void session_take_back(struct session_table *table)
{
    while (table->taken.count > 0) {
        session_ages_push(&table->large, session_ages_pop(&table->taken));
    }
}

void session_forget(struct session_table *table, struct session_age age)
{
    struct session *session = session_find(table, age.client, age.slot);
    table->large_size -= age.size;
    table->large_gone = age.seq > table->large_gone ? age.seq : table->large_gone;
    if (session != NULL) {
        kvp_buf_free(&session->answer);
        session->stored = false;
        session->size = 0;
        session->code = (uint8_t)-KVP_SESSION_EXPIRED;
    }
}
