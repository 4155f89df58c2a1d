/* SPDX-License-Identifier: Apache-2.0 */
#include "replication/session.h"
#include "replication/mutant.h"

#include <stdlib.h>
#include <string.h>

#define CAPACITY_MIN 256u

kvp_status session_table_init(struct session_table *table, size_t count_max)
{
    memset(table, 0, sizeof(*table));
    table->capacity = CAPACITY_MIN;
    while (table->capacity < count_max) {
        table->capacity *= 2;
    }
    table->count_max = count_max;
    table->slots = calloc(table->capacity, sizeof(*table->slots));
    return table->slots ? KVP_OK : KVP_NO_MEMORY;
}

static void session_free(struct session *session)
{
    if (session) {
        kvp_buf_free(&session->answer);
        free(session);
    }
}

void session_table_clear(struct session_table *table)
{
    for (struct session *session = table->oldest, *next; session; session = next) {
        next = session->newer;
        session_free(session);
    }
    memset(table->slots, 0, table->capacity * sizeof(*table->slots));
    table->oldest = table->newest = NULL;
    table->count = 0;
    table->floor = 0;
}

void session_table_free(struct session_table *table)
{
    if (table->slots) {
        session_table_clear(table);
        free(table->slots);
        table->slots = NULL;
    }
}

struct session *session_new(void)
{
    return calloc(1, sizeof(struct session));
}

static struct session **slot_of(const struct session_table *table, uint64_t client, uint16_t slot)
{
    uint64_t hash = (client ^ (uint64_t)slot << 48 ^ slot) * 0x9e3779b97f4a7c15u;
    return &table->slots[(hash >> 32) & (table->capacity - 1)];
}

struct session *session_find(const struct session_table *table, uint64_t client, uint16_t slot)
{
    struct session *at = *slot_of(table, client, slot);
    while (at && (at->client != client || at->slot != slot)) {
        at = at->next;
    }
    return at;
}

static void unlink_age(struct session_table *table, struct session *session)
{
    *(session->older ? &session->older->newer : &table->oldest) = session->newer;
    *(session->newer ? &session->newer->older : &table->newest) = session->older;
}

static void link_newest(struct session_table *table, struct session *session)
{
    session->newer = NULL;
    session->older = table->newest;
    *(table->newest ? &table->newest->newer : &table->oldest) = session;
    table->newest = session;
}

static void insert(struct session_table *table, struct session *session)
{
    struct session **slot = slot_of(table, session->client, session->slot);
    session->next = *slot;
    *slot = session;
    link_newest(table, session);
    table->count++;
}

void session_note(struct session_table *table, struct session *spare, uint64_t client,
                  uint16_t slot, const struct kvp_session_record *record, kvp_buf *answer)
{
    struct session *session = session_find(table, client, slot);
    if (session) {
        session_free(spare);
        unlink_age(table, session);
        link_newest(table, session);
    } else {
        session = spare;
        session->client = client;
        session->slot = slot;
        insert(table, session);
    }
    kvp_buf_free(&session->answer);
    session->answer = *answer;
    memset(answer, 0, sizeof(*answer));
    session->number = record->number;
    session->seq = record->seq;
    session->code = record->code;
    session->stored = false;
}

const struct session *session_victim(const struct session_table *table, uint64_t client,
                                     uint16_t slot)
{
    bool full = table->count >= table->count_max;
    return full && !session_find(table, client, slot) ? table->oldest : NULL;
}

void session_drop(struct session_table *table, const struct session *victim)
{
    struct session *session = session_find(table, victim->client, victim->slot);
    struct session **link = slot_of(table, session->client, session->slot);
    while (*link != session) {
        link = &(*link)->next;
    }
    *link = session->next;
    unlink_age(table, session);
    table->count--;
    table->floor = session->seq > table->floor ? session->seq : table->floor;
    session_free(session);
}

void session_applied(struct session_table *table, uint64_t client, uint16_t slot, uint64_t seq)
{
    struct session *session = session_find(table, client, slot);
    if (session && session->seq == seq) {
        kvp_buf_free(&session->answer);
        session->stored = true;
    }
}

/* ---- from the state ---- */

static kvp_status load_one(struct session_table *table, kvp_slice key, kvp_slice value)
{
    struct kvp_session_record record;
    uint64_t client;
    uint16_t slot;
    kvp_status status = kvp_session_key_decode(key, &client, &slot);
    if (status == KVP_OK) {
        status = kvp_session_decode(value, &record);
    }
    if (status != KVP_OK) {
        return status;
    }
    struct session *session = session_new();
    kvp_buf answer = {0};
    bool keep = record.answer.size <= SESSION_ANSWER_KEPT;
    if (!session ||
        (keep && kvp_buf_append(&answer, record.answer.data, record.answer.size) != KVP_OK)) {
        session_free(session);
        return KVP_NO_MEMORY;
    }
    session_note(table, session, client, slot, &record, &answer);
    table->newest->stored = !keep;
    return KVP_OK;
}

static int by_seq(const void *a, const void *b)
{
    const struct session *x = *(struct session *const *)a, *y = *(struct session *const *)b;
    return x->seq < y->seq ? -1 : x->seq > y->seq;
}

/* The state has them by key; what counts is who was used last. */
static kvp_status sort_by_age(struct session_table *table)
{
    struct session **order = calloc(table->count + 1, sizeof(*order));
    if (!order) {
        return KVP_NO_MEMORY;
    }
    size_t count = 0;
    for (struct session *session = table->oldest; session; session = session->newer) {
        order[count++] = session;
    }
    qsort(order, count, sizeof(*order), by_seq);
    table->oldest = table->newest = NULL;
    for (size_t i = 0; i < count; i++) {
        link_newest(table, order[i]);
    }
    free(order);
    return KVP_OK;
}

static kvp_status load_floor(struct session_table *table, struct kvp_storage *storage)
{
    struct kvp_raw_key key;
    kvp_buf value = {0};
    kvp_raw_key_floor(&key);
    kvp_status status = kvp_storage_get(storage, kvp_raw_key_slice(&key), &value);
    if (status == KVP_OK && value.size == sizeof(uint64_t)) {
        table->floor = kvp_get_u64(value.data);
    } else if (status == KVP_OK) {
        status = KVP_CORRUPT;
    } else if (status == KVP_NOT_FOUND) {
        status = KVP_OK;
    }
    kvp_buf_free(&value);
    return status;
}

kvp_status session_table_load(struct session_table *table, struct kvp_storage *storage)
{
    static const uint8_t from[] = {KVP_PREFIX_SESSION}, to[] = {KVP_PREFIX_SESSION + 1};
    session_table_clear(table);
    if (KVP_MUTANT(FORGET_SESSIONS)) {
        return KVP_OK;
    }
    struct kvp_state_view *view = kvp_storage_snapshot(storage);
    if (!view) {
        return KVP_NO_MEMORY;
    }
    kvp_status status = kvp_state_view_seek(view, kvp_slice_of(from, 1), kvp_slice_of(to, 1));
    while (status == KVP_OK) {
        kvp_slice key, value;
        status = kvp_state_view_read(view, &key, &value);
        if (status == KVP_OK) {
            status = load_one(table, key, value);
            kvp_state_view_next(view);
        }
    }
    kvp_state_view_close(view);
    if (status == KVP_NOT_FOUND) {
        status = sort_by_age(table);
    }
    return status == KVP_OK ? load_floor(table, storage) : status;
}
