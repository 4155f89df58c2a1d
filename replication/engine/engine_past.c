/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a node knew as primary, when it is that no more. Its successor waits for a word from it, so
 * nothing is freed at once: the old engine is put aside as it is, and freed piece by piece between
 * messages.
 */
#include "replication/engine/engine_state.h"

#define SWEEP_AT_ONCE 128u /* pieces: some tens of microseconds */

/* No view of the store stays open: it may be replaced. */
static void engine_put_aside(struct kvp_engine *engine)
{
    session_table_release(&engine->sessions);
    kvp_jobs_release(engine->jobs);
    engine_leases_release(engine);
    engine->storage = NULL;
}

struct kvp_engine *kvp_engine_succeed(struct kvp_engine *engine)
{
    struct kvp_engine *made;
    if (kvp_engine_open(&engine->config, &made) != KVP_OK) {
        kvp_engine_reset(engine); /* slower, but it does the same */
        return engine;
    }
    engine_put_aside(engine);
    made->past = engine;
    return made;
}

void kvp_engine_sweep(struct kvp_engine *engine)
{
    struct kvp_engine *past = engine->past;
    size_t budget = SWEEP_AT_ONCE;
    if (past == NULL) {
        return;
    }
    overlay_dismantle(&past->overlay, &budget);
    session_table_dismantle(&past->sessions, &budget);
    kvp_jobs_dismantle(past->jobs, &budget);
    if (budget > 0) {
        engine->past = past->past;
        past->past = NULL;
        kvp_engine_close(past);
    }
}

uint64_t kvp_engine_sweep_us(const struct kvp_engine *engine)
{
    return engine->past != NULL ? engine->rest_us : UINT64_MAX;
}

void kvp_engine_rest(struct kvp_engine *engine, uint64_t until_us)
{
    engine->rest_us = until_us;
}
