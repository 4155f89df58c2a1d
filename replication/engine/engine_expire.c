/* SPDX-License-Identifier: Apache-2.0 */
/*
 * When leases end. Their clock moves only while this node serves, and by no more than LEASE_GAP_US
 * for a time in which nothing happened: whoever keeps a lease could not have been heard.
 *
 * A lease of many keys has its full time again when a node becomes primary, since the one before
 * may have let somebody keep it up to its end. A key with a time of its own is not kept: its record
 * says when it ends, on the clock, which is in the log, too, at most LEASE_TICK_US behind. Either
 * way nothing ends early, and nothing has more than its full time once more.
 *
 * What a new primary has to know of leases it reads while it serves, in steps, and nothing ends
 * before all is known: so they end in the order of their times.
 */
#include "replication/engine/engine_state.h"
#include "kvstore/base/mutant.h"
#include "replication/engine/lease_record.h"

#include <assert.h>

/* So often it is looked, where there are leases; so often the clock goes into the log, where keys
 * depend on it, and with a key with a time of its own if it is so late. */
#define LEASE_GAP_US          1000000u
#define LEASE_LOOK_US         250000u
#define LEASE_TICK_US         10000000u
#define LEASE_LATE_US         1000000u
#define LEASE_KEYS_AT_ONCE    256u /* end with one entry */
#define LEASE_RECORDS_AT_ONCE 512u

void kvp_engine_lease_time(struct kvp_engine *engine, uint64_t now_us, bool serving)
{
    struct engine_leases *leases = &engine->leases;
    uint64_t gap_us = now_us - leases->seen_us;
    if (serving && leases->serving) {
        leases->clock_us += gap_us < LEASE_GAP_US ? gap_us : LEASE_GAP_US;
    }
    leases->serving = serving;
    leases->seen_us = now_us;
}

/* ---- the beginning ---- */

void engine_leases_release(struct kvp_engine *engine)
{
    kvp_state_view_close(engine->leases.view);
    engine->leases.view = NULL;
}

void engine_leases_free(struct kvp_engine *engine)
{
    engine_leases_release(engine);
    lease_index_free(&engine->leases.index);
    engine->leases = (struct engine_leases){0};
}

kvp_status engine_leases_start(struct kvp_engine *engine, struct kvp_storage *storage)
{
    static const uint8_t from[] = {KVP_PREFIX_LEASE, 'L'}, to[] = {KVP_PREFIX_LEASE, 'L' + 1};
    struct engine_leases *leases = &engine->leases;
    struct kvp_raw_key key;
    kvp_buf value = {0};
    lease_key_clock(&key);
    kvp_status status = kvp_storage_get(storage, kvp_raw_key_slice(&key), &value);
    if (status == KVP_OK && value.size == sizeof(uint64_t)) {
        leases->clock_us = kvp_get_u64(value.data);
    } else if (status == KVP_OK) {
        status = KVP_CORRUPT;
    }
    kvp_buf_free(&value);
    leases->clock_us += KVP_MUTANT(LEASE_CLOCK_AHEAD) ? LEASE_TICK_US : 0;
    leases->stored_us = leases->began_us = leases->clock_us;
    leases->seen_us = engine->now_us;
    if (status != KVP_OK && status != KVP_NOT_FOUND) {
        return status;
    }
    leases->view = kvp_storage_snapshot(storage);
    if (leases->view == NULL) {
        return KVP_NO_MEMORY;
    }
    status = kvp_state_view_seek(leases->view, kvp_slice_of(from, 2), kvp_slice_of(to, 2));
    if (status != KVP_OK) {
        engine_leases_release(engine);
    }
    return status;
}

size_t kvp_engine_leases(const struct kvp_engine *engine)
{
    return engine->leases.index.count;
}

/* What the view has may have changed since: what counts is what is there now. */
static kvp_status leases_load(struct kvp_engine *engine)
{
    struct kvp_state_view *view = engine->leases.view;
    kvp_slice key, value;
    kvp_status status = KVP_OK;
    for (unsigned i = 0; i < LEASE_RECORDS_AT_ONCE && status == KVP_OK; i++) {
        uint64_t lease;
        status = kvp_state_view_read(view, &key, &value);
        if (status == KVP_OK && !lease_key_decode(key, &lease)) {
            status = KVP_CORRUPT;
        }
        if (status == KVP_OK) {
            status = engine_lease_warm(engine, lease);
        }
        kvp_state_view_next(view);
    }
    if (status == KVP_NOT_FOUND) {
        engine_leases_release(engine);
    }
    return status == KVP_NOT_FOUND ? KVP_OK : status;
}

/* ---- the clock in the log ---- */

static kvp_status leases_store_clock(struct kvp_engine *engine)
{
    struct kvp_raw_key key;
    uint8_t bytes[sizeof(uint64_t)];
    kvp_buf value = {0};
    lease_key_clock(&key);
    kvp_put_u64(bytes, engine->leases.clock_us);
    kvp_status status = kvp_buf_append(&value, bytes, sizeof(bytes));
    if (status == KVP_OK) {
        status = engine_record_put(engine, kvp_raw_key_slice(&key), &value);
    }
    kvp_buf_free(&value);
    engine->leases.stored_us = engine->leases.clock_us;
    return status;
}

static bool leases_clock_is_late(const struct engine_leases *leases, uint64_t by_us)
{
    return leases->index.of_one > 0 && leases->clock_us >= leases->stored_us + by_us;
}

/* ---- the end ---- */

static bool leases_are_due(const struct engine_leases *leases)
{
    const struct lease_timer *first = lease_index_first(&leases->index);
    return first != NULL && first->deadline_us <= leases->clock_us;
}

static kvp_status leases_expire(struct kvp_engine *engine)
{
    uint32_t budget = LEASE_KEYS_AT_ONCE;
    kvp_status status = KVP_OK;
    while (status == KVP_OK && budget > 0 && leases_are_due(&engine->leases)) {
        uint64_t lease = lease_index_first(&engine->leases.index)->lease;
        bool ended;
        status = engine_lease_end(engine, lease, &budget, &ended);
        if (status == KVP_OK && ended) {
            lease_index_remove(&engine->leases.index, lease);
        }
    }
    return status;
}

static kvp_status leases_write(struct kvp_engine *engine, uint64_t seq, bool due,
                               struct kvp_execution *execution)
{
    kvp_status status = overlay_begin(&engine->overlay, seq);
    if (status != KVP_OK) {
        return status;
    }
    engine->leases.unread = 0;
    status = due ? leases_expire(engine) : KVP_OK;
    if (status == KVP_OK && leases_clock_is_late(&engine->leases, LEASE_LATE_US)) {
        status = leases_store_clock(engine);
    }
    if (status == KVP_OK && engine->overlay.newest->first != NULL) {
        execution->kind = KVP_EXECUTION_APPEND;
        status = engine_collect(engine, &execution->writeset);
        execution->writeset.size = KVP_MUTANT(LEASE_KEY_BACK) ? 0 : execution->writeset.size;
        engine_leases_follow(engine);
        engine->executed = seq;
    } else {
        overlay_rollback(&engine->overlay);
    }
    return status;
}

kvp_status engine_leases_step(struct kvp_engine *engine, uint64_t seq,
                              struct kvp_execution *execution, bool *done, bool *more)
{
    struct engine_leases *leases = &engine->leases;
    if (leases->view != NULL) {
        *done = engine->now_us >= engine->rest_us;
        return *done ? leases_load(engine) : KVP_OK;
    }
    bool due = leases_are_due(leases);
    *done = due || leases_clock_is_late(leases, LEASE_TICK_US);
    if (!*done) {
        return KVP_OK;
    }
    kvp_status status = leases_write(engine, seq, due, execution);
    *more = false; /* others get their turn between two pieces */
    return status;
}

uint64_t engine_leases_deadline(const struct kvp_engine *engine)
{
    const struct engine_leases *leases = &engine->leases;
    const struct lease_timer *first = lease_index_first(&leases->index);
    if (leases->view != NULL) {
        return engine->rest_us;
    }
    if (first == NULL) {
        return UINT64_MAX;
    }
    if (leases_clock_is_late(leases, LEASE_TICK_US)) {
        return leases->seen_us;
    }
    uint64_t left_us =
        first->deadline_us > leases->clock_us ? first->deadline_us - leases->clock_us : 0;
    return leases->seen_us + (left_us < LEASE_LOOK_US ? left_us : LEASE_LOOK_US);
}
