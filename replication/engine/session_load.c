/* SPDX-License-Identifier: Apache-2.0 */
/* What the state knows of sessions: single slots when they are asked for, the age of all step by
 * step. */
#include "replication/engine/session.h"
#include "kvstore/base/mutant.h"

#include <string.h>

#define LOAD_BYTES_MAX (1024u * 1024u) /* of records in one step */

kvp_status session_read(struct kvp_storage *storage, uint64_t client, uint16_t slot,
                        kvp_buf *scratch, struct kvp_session_record *record)
{
    struct kvp_raw_key key;
    kvp_raw_key_session(&key, client, slot);
    scratch->size = 0;
    kvp_status status = kvp_storage_get(storage, kvp_raw_key_slice(&key), scratch);
    return status == KVP_OK ? kvp_session_decode(kvp_buf_slice(scratch), record) : status;
}

static void session_found_warm(const struct session *session, struct session_found *found)
{
    *found = (struct session_found){
        .known = true,
        .stored = session->stored,
        .number = session->number,
        .seq = session->seq,
        .size = session->size,
        .code = session->code,
        .answer = kvp_buf_slice(&session->answer),
    };
}

/* A slot that was dropped may still have a record in the store, and an old one: its drop, or the
 * request before that, may be on their way. */
static bool session_was_dropped(const struct session_table *table, uint64_t seq)
{
    return seq <= table->floor && !KVP_MUTANT(SESSION_DROPPED_LIVES);
}

kvp_status session_look(const struct session_table *table, struct kvp_storage *storage,
                        uint64_t client, uint16_t slot, kvp_buf *scratch,
                        struct session_found *found)
{
    struct kvp_session_record record;
    const struct session *session = session_find(table, client, slot);
    memset(found, 0, sizeof(*found));
    if (session != NULL) {
        session_found_warm(session, found);
        return KVP_OK;
    }
    if (KVP_MUTANT(FORGET_SESSIONS)) {
        return KVP_OK;
    }
    kvp_status status = session_read(storage, client, slot, scratch, &record);
    if (status == KVP_OK && !session_was_dropped(table, record.seq)) {
        *found = (struct session_found){
            .known = true,
            .cold = true,
            .number = record.number,
            .seq = record.seq,
            .size = (uint32_t)record.answer.size,
            .code = record.code,
            .answer = record.answer,
        };
    }
    return status == KVP_NOT_FOUND ? KVP_OK : status;
}

/* ---- the beginning ---- */

static kvp_status session_read_number(struct kvp_storage *storage, const struct kvp_raw_key *key,
                                      uint64_t *number)
{
    kvp_buf value = {0};
    kvp_status status = kvp_storage_get(storage, kvp_raw_key_slice(key), &value);
    if (status == KVP_OK && value.size == sizeof(uint64_t)) {
        *number = kvp_get_u64(value.data);
    } else if (status == KVP_OK) {
        status = KVP_CORRUPT;
    }
    kvp_buf_free(&value);
    return status == KVP_NOT_FOUND ? KVP_OK : status;
}

static kvp_status session_read_marks(struct session_table *table, struct kvp_storage *storage)
{
    struct kvp_raw_key key;
    kvp_raw_key_floor(&key);
    kvp_status status = session_read_number(storage, &key, &table->floor);
    kvp_raw_key_age(&key);
    return status == KVP_OK ? session_read_number(storage, &key, &table->aged) : status;
}

kvp_status session_table_start(struct session_table *table, struct kvp_storage *storage,
                               uint64_t seq, uint64_t now_us)
{
    static const uint8_t from[] = {KVP_PREFIX_SESSION}, to[] = {KVP_PREFIX_SESSION + 1};
    session_table_clear(table);
    table->view = kvp_storage_snapshot(storage);
    if (table->view == NULL) {
        return KVP_NO_MEMORY;
    }
    kvp_status status =
        kvp_state_view_seek(table->view, kvp_slice_of(from, 1), kvp_slice_of(to, 1));
    if (status == KVP_OK) {
        status = session_read_marks(table, storage);
    }
    table->loading = true;
    table->aged_written = table->aged;
    table->mark = seq;
    table->mark_us = table->last_us = now_us;
    return status;
}

/* ---- ages ---- */

static kvp_status session_count(struct session_table *table, struct session_age age)
{
    if (session_find(table, age.client, age.slot) != NULL || session_was_dropped(table, age.seq)) {
        return KVP_OK; /* used since: it is known better */
    }
    kvp_status status = session_ages_reserve(&table->cold);
    bool large = age.size > SESSION_ANSWER_KEPT;
    if (status == KVP_OK && large) {
        status = session_ages_reserve(&table->large);
    }
    if (status != KVP_OK) {
        return status;
    }
    session_ages_push(&table->cold, age);
    table->cold_count++;
    if (large) {
        session_ages_push(&table->large, age);
        table->large_size += age.size;
    }
    return KVP_OK;
}

static kvp_status session_load_one(struct session_table *table, size_t *bytes)
{
    struct kvp_session_record record;
    struct session_age age;
    kvp_slice key, value;
    kvp_status status = kvp_state_view_read(table->view, &key, &value);
    if (status != KVP_OK) {
        return status;
    }
    status = kvp_session_key_decode(key, &age.client, &age.slot);
    if (status == KVP_OK) {
        status = kvp_session_decode(value, &record);
    }
    if (status != KVP_OK) {
        return status;
    }
    age.seq = record.seq;
    age.size = (uint32_t)record.answer.size;
    *bytes += value.size;
    status = session_count(table, age);
    if (status == KVP_OK) {
        table->loaded_client = age.client;
        table->loaded_slot = age.slot + 1u;
        kvp_state_view_next(table->view);
    }
    return status;
}

kvp_status session_table_load(struct session_table *table, size_t records)
{
    kvp_status status = KVP_OK;
    size_t bytes = 0;
    while (table->view != NULL && status == KVP_OK && records-- > 0 && bytes < LOAD_BYTES_MAX) {
        status = session_load_one(table, &bytes);
    }
    if (status == KVP_NOT_FOUND) {
        session_table_release(table);
        table->loading = false;
        status = KVP_OK;
    }
    return status;
}
