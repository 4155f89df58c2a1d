/* SPDX-License-Identifier: Apache-2.0 */
/* Sessions within the engine: what a repeat is answered, and what an execution leaves behind. */
#include "replication/engine/engine_state.h"
#include "kvstore/base/mutant.h"

#include "kvstore/writeset.h"
#include "replication/wire/wire.h"

#include <stdlib.h>

#define SESSIONS_DEFAULT        65536u
#define SESSION_ANSWERS_DEFAULT (32u * 1024u * 1024u)
#define SESSION_IDLE_MS_DEFAULT 10000u
#define DROPS_AT_ONCE           2u   /* one more than begin: a table that is too full shrinks */
#define BOUNDS_SIZE             256u /* of what dropping them adds to a write set, and more */

static uint32_t given_or(uint32_t given, uint32_t otherwise)
{
    return given != 0 ? given : otherwise;
}

kvp_status engine_open_sessions(struct kvp_engine *engine)
{
    const struct kvp_engine_config *config = &engine->config;
    const struct session_config sessions = {
        .count_max = given_or(config->sessions_max, SESSIONS_DEFAULT),
        .large_max = given_or(config->session_answers_max, SESSION_ANSWERS_DEFAULT),
        .idle_us = (uint64_t)given_or(config->session_idle_ms, SESSION_IDLE_MS_DEFAULT) * 1000,
    };
    return session_table_init(&engine->sessions, &sessions);
}

size_t kvp_engine_sessions(const struct kvp_engine *engine)
{
    return engine->sessions.count + engine->sessions.cold_count;
}

/* ---- before the execution ---- */

static kvp_status first_answer(struct kvp_engine *engine, const struct kvp_session_id *id,
                               const struct session_found *found, struct kvp_execution *execution)
{
    struct kvp_session_record record = {.answer = found->answer};
    kvp_status status = KVP_OK;
    execution->status = -(int)found->code;
    if (found->stored) {
        status = session_read(engine->storage, id->client, id->slot, &engine->scratch, &record);
    }
    if (status != KVP_OK) {
        return status == KVP_NOT_FOUND ? KVP_CORRUPT : status;
    }
    return kvp_buf_append(&execution->answer, record.answer.data, record.answer.size);
}

/* A slot that is not known: may it begin? */
static kvp_status begin_session(struct kvp_engine *engine, const struct kvp_session_id *id,
                                struct kvp_execution *execution, bool *handled)
{
    struct session_table *table = &engine->sessions;
    const char *reason = "";
    if (id->session_start < table->floor) {
        execution->status = KVP_SESSION_EXPIRED;
        return KVP_OK;
    }
    session_age(table, engine->now_us, engine->executed);
    if (!session_may_begin(table, id->slot, &reason)) {
        execution->status = id->slot < SESSION_SLOTS_OF_CLIENT_MAX ? KVP_BUSY : KVP_TOO_LARGE;
        return kvp_wire_result_string(&execution->answer, reason);
    }
    *handled = false;
    return KVP_OK;
}

kvp_status engine_open_session(struct kvp_engine *engine, const struct kvp_session_id *id,
                               struct session_found *found, struct kvp_execution *execution,
                               bool *handled)
{
    *handled = true;
    execution->kind = KVP_EXECUTION_ANSWER;
    kvp_status status = session_look(&engine->sessions, engine->storage, id->client, id->slot,
                                     &engine->scratch, found);
    if (status != KVP_OK) {
        return status;
    }
    if (!found->known) {
        return begin_session(engine, id, execution, handled);
    }
    if (id->number == found->number && !KVP_MUTANT(REPEAT_EXECUTES)) {
        if (found->seq > engine->committed) {
            execution->kind = KVP_EXECUTION_WAIT;
            execution->wait_seq = found->seq;
        }
        return first_answer(engine, id, found, execution);
    }
    if (id->number < found->number) {
        execution->status = KVP_STALE_REQUEST;
    } else {
        *handled = false;
    }
    return KVP_OK;
}

/* ---- behind the execution ---- */

kvp_status engine_fit_answer(struct kvp_engine *engine, const struct kvp_session_id *id,
                             const struct session_found *found, struct kvp_execution *execution)
{
    size_t size = execution->answer.size;
    if (size <= SESSION_ANSWER_KEPT) {
        return KVP_OK;
    }
    session_age(&engine->sessions, engine->now_us, engine->executed);
    if (session_make_room(&engine->sessions, found, id->client, id->slot, size)) {
        return KVP_OK;
    }
    execution->status = KVP_BUSY;
    execution->answer.size = 0;
    return kvp_wire_result_string(&execution->answer,
                                  "too many large answers are being kept for repeats: "
                                  "try again, or read less in the transaction");
}

/* `record` has nothing in engine->scratch. */
static kvp_status write_session(struct kvp_engine *engine, uint64_t client, uint16_t slot,
                                const struct kvp_session_record *record, kvp_buf *set)
{
    struct kvp_raw_key key;
    kvp_buf *raw = &engine->scratch;
    raw->size = 0;
    kvp_raw_key_session(&key, client, slot);
    kvp_status status = kvp_session_encode(record, raw);
    return status == KVP_OK ? kvp_writeset_put(set, kvp_raw_key_slice(&key), kvp_buf_slice(raw))
                            : status;
}

static kvp_status write_number(const struct kvp_raw_key *key, uint64_t number, kvp_buf *set)
{
    uint8_t value[sizeof(uint64_t)];
    kvp_put_u64(value, number);
    return kvp_writeset_put(set, kvp_raw_key_slice(key), kvp_slice_of(value, sizeof(value)));
}

static kvp_status write_drop(struct session_age victim, kvp_buf *set)
{
    struct kvp_raw_key key;
    kvp_raw_key_session(&key, victim.client, victim.slot);
    kvp_status status = kvp_writeset_delete(set, kvp_raw_key_slice(&key));
    kvp_raw_key_floor(&key);
    return status == KVP_OK && !KVP_MUTANT(SESSION_FLOOR) ? write_number(&key, victim.seq, set)
                                                          : status;
}

/* A slot that begins drops the one that was not used for the longest time. */
static kvp_status drop_sessions(struct kvp_engine *engine, kvp_buf *set)
{
    struct session_age victim;
    kvp_status status = KVP_OK;
    for (unsigned n = 0; n < DROPS_AT_ONCE && status == KVP_OK; n++) {
        if (!session_victim(&engine->sessions, &victim)) {
            break;
        }
        status = write_drop(victim, set);
        if (status == KVP_OK) {
            session_drop(&engine->sessions, victim);
        }
    }
    return status;
}

/* Large answers that made room: the slots stay, with their numbers. */
static kvp_status write_forgotten(struct kvp_engine *engine, const struct kvp_session_id *id,
                                  kvp_buf *set)
{
    const struct session_ages *taken = &engine->sessions.taken;
    kvp_status status = KVP_OK;
    for (size_t i = 0; i < taken->count && status == KVP_OK; i++) {
        struct session_found found;
        const struct session_age *age = &taken->items[i];
        if (age->client == id->client && age->slot == id->slot) {
            continue; /* it has a new one */
        }
        status = session_look(&engine->sessions, engine->storage, age->client, age->slot,
                              &engine->scratch, &found);
        const struct kvp_session_record record = {
            .number = found.number, .seq = age->seq, .code = (uint8_t)-KVP_SESSION_EXPIRED};
        if (status == KVP_OK && found.known) {
            status = write_session(engine, age->client, age->slot, &record, set);
        }
    }
    return status;
}

static void forget_taken(struct session_table *table)
{
    while (table->taken.count > 0) {
        session_forget(table, session_ages_pop(&table->taken));
    }
}

static kvp_status write_age(struct session_table *table, kvp_buf *set)
{
    struct kvp_raw_key key;
    if (table->aged == table->aged_written) {
        return KVP_OK;
    }
    kvp_raw_key_age(&key);
    kvp_status status = write_number(&key, table->aged, set);
    table->aged_written = status == KVP_OK ? table->aged : table->aged_written;
    return status;
}

static kvp_status reserve_large(struct kvp_engine *engine)
{
    if (engine->large_count < engine->large_capacity) {
        return KVP_OK;
    }
    size_t capacity = engine->large_capacity ? engine->large_capacity * 2 : 16;
    struct engine_large *large = realloc(engine->large, capacity * sizeof(*large));
    if (large == NULL) {
        return KVP_NO_MEMORY;
    }
    engine->large = large;
    engine->large_capacity = capacity;
    return KVP_OK;
}

/* What the bounds ask for. There is room in the write set before anything is dropped. */
static kvp_status keep_bounds(struct kvp_engine *engine, const struct session_found *found,
                              kvp_buf *set)
{
    struct session_table *table = &engine->sessions;
    bool drop = !found->known && session_is_full(table);
    bool nothing = !drop && table->aged == table->aged_written;
    kvp_status status = nothing ? KVP_OK : kvp_buf_reserve(set, BOUNDS_SIZE);
    if (status != KVP_OK) {
        return status;
    }
    forget_taken(table);
    status = drop ? drop_sessions(engine, set) : KVP_OK;
    return status == KVP_OK ? write_age(table, set) : status;
}

/* All that can fail. */
static kvp_status session_write_all(struct kvp_engine *engine, const struct kvp_session_id *id,
                                    const struct session_found *found,
                                    const struct kvp_session_record *record, kvp_buf *set)
{
    kvp_status status = write_session(engine, id->client, id->slot, record, set);
    if (status == KVP_OK) {
        status = write_forgotten(engine, id, set);
    }
    return status == KVP_OK ? keep_bounds(engine, found, set) : status;
}

kvp_status engine_close_session(struct kvp_engine *engine, const struct kvp_session_id *id,
                                const struct session_found *found, uint64_t seq,
                                struct kvp_execution *execution)
{
    struct session_table *table = &engine->sessions;
    struct kvp_session_record record = {
        .number = id->number,
        .seq = seq,
        .code = (uint8_t)-execution->status,
        .answer = kvp_buf_slice(&execution->answer),
    };
    struct session *spare = NULL;
    kvp_buf *kept = &engine->kept;
    bool large = record.answer.size > SESSION_ANSWER_KEPT;
    session_age(table, engine->now_us, seq - 1);
    kvp_status status = session_reserve(table, found, record.answer.size, &spare);
    if (status == KVP_OK && large) {
        status = reserve_large(engine);
    }
    if (status == KVP_OK) {
        kept->size = 0;
        status = kvp_buf_append(kept, record.answer.data, record.answer.size);
    }
    if (status == KVP_OK) {
        status = session_write_all(engine, id, found, &record, &execution->writeset);
    }
    if (status != KVP_OK) {
        free(spare);
        kvp_buf_free(kept);
        return status;
    }
    table->last_us = engine->now_us;
    session_note(table, spare, found, id->client, id->slot, &record, kept);
    if (large) {
        engine->large[engine->large_count++] = (struct engine_large){id->client, seq, id->slot};
    }
    return KVP_OK;
}
