/* SPDX-License-Identifier: Apache-2.0 */
/* The job engine within the engine: its store is the overlay above the storage. */
#include "replication/access/access.h"
#include "replication/engine/engine_state.h"
#include "replication/wire/wire_schema.h"

#include <assert.h>
#include <string.h>

static kvp_status engine_jobs_get(void *arg, kvp_slice key, kvp_buf *value)
{
    return engine_record_get(arg, key, value);
}

static kvp_status store_put(void *arg, kvp_slice key, kvp_slice value)
{
    kvp_buf raw = {0};
    kvp_status status = kvp_buf_append(&raw, value.data, value.size);
    if (status == KVP_OK) {
        status = engine_record_put(arg, key, &raw);
    }
    kvp_buf_free(&raw);
    return status;
}

static kvp_status store_delete(void *arg, kvp_slice key)
{
    return engine_record_delete(arg, key);
}

kvp_status engine_open_jobs(struct kvp_engine *engine)
{
    const struct kvp_jobs_store store = {engine, engine_jobs_get, store_put, store_delete};
    return kvp_jobs_open(&engine->config.jobs, &store, &engine->jobs);
}

kvp_status engine_job(struct kvp_engine *engine, const struct kvp_request *request, uint64_t seq,
                      struct kvp_execution *execution)
{
    char name[KVP_ACCESS_NAME_SIZE] = ""; /* without TLS everything is everybody's */
    if (request->asker != NULL) {
        (void)kvp_access_print(request->asker, name);
    }
    return kvp_jobs_execute(engine->jobs, request, kvp_slice_of(name, strlen(name)), seq,
                            engine->now_us, &execution->status, &execution->answer);
}

void kvp_engine_set_now(struct kvp_engine *engine, uint64_t now_us)
{
    engine->now_us = now_us;
}

static size_t load_at_once(const struct kvp_engine *engine)
{
    uint32_t records = engine->config.jobs.load_at_once;
    return records ? records : KVP_JOBS_LOAD_AT_ONCE;
}

kvp_status kvp_engine_start_jobs(struct kvp_engine *engine, uint64_t salt, uint64_t seed)
{
    bool all;
    kvp_status status = kvp_jobs_start(engine->jobs, engine->storage, salt, seed, engine->now_us);
    return status == KVP_OK
               ? kvp_jobs_load(engine->jobs, load_at_once(engine), engine->now_us, &all)
               : status;
}

static kvp_status engine_jobs_step(struct kvp_engine *engine, uint64_t seq,
                                   struct kvp_execution *execution, bool *more)
{
    kvp_status status = overlay_begin(&engine->overlay, seq);
    if (status != KVP_OK) {
        return status;
    }
    status = kvp_jobs_step(engine->jobs, engine->now_us, more);
    bool wrote = engine->overlay.newest->first != NULL;
    if (status == KVP_OK && wrote) {
        execution->kind = KVP_EXECUTION_APPEND;
        status = engine_collect(engine, &execution->writeset);
    }
    if (status != KVP_OK || !wrote) {
        overlay_rollback(&engine->overlay);
    } else {
        engine->executed = seq;
    }
    return status;
}

static kvp_status engine_rest_step(struct kvp_engine *engine, uint64_t seq,
                                   struct kvp_execution *execution, bool *more)
{
    bool all = false;
    kvp_status status = kvp_jobs_load(engine->jobs, load_at_once(engine), engine->now_us, &all);
    *more = false; /* a new primary has others waiting, who come before the rest of what it reads */
    if (status == KVP_OK && all) {
        status = engine_jobs_step(engine, seq, execution, more);
    }
    if (status == KVP_OK && all && engine->sessions.view != NULL &&
        engine->now_us >= engine->rest_us) {
        status = session_table_load(&engine->sessions, load_at_once(engine));
        *more = false;
    }
    return status;
}

kvp_status kvp_engine_step(struct kvp_engine *engine, uint64_t seq, struct kvp_execution *execution,
                           bool *more)
{
    bool done = false;
    *execution = (struct kvp_execution){.kind = KVP_EXECUTION_ANSWER};
    *more = false;
    assert(engine->storage != NULL && seq == engine->executed + 1);
    kvp_status status = engine_leases_step(engine, seq, execution, &done, more);
    if (status == KVP_OK && !done) {
        status = engine_rest_step(engine, seq, execution, more);
    }
    if (status != KVP_OK) {
        kvp_buf_free(&execution->writeset);
    }
    return status;
}

bool kvp_engine_reads(const struct kvp_engine *engine)
{
    return engine->sessions.view != NULL || engine->leases.view != NULL ||
           kvp_jobs_reads(engine->jobs);
}

uint64_t kvp_engine_deadline(const struct kvp_engine *engine)
{
    uint64_t jobs_us = kvp_jobs_deadline(engine->jobs);
    bool reads = kvp_jobs_reads(engine->jobs);
    bool leases = engine->leases.index.count > 0 || engine->leases.view != NULL;
    uint64_t leases_us = leases ? engine_leases_deadline(engine) : UINT64_MAX;
    jobs_us = reads ? engine->rest_us : jobs_us;
    jobs_us = leases_us < jobs_us ? leases_us : jobs_us;
    return engine->sessions.view != NULL && engine->rest_us < jobs_us ? engine->rest_us : jobs_us;
}

struct kvp_jobs *kvp_engine_jobs(struct kvp_engine *engine)
{
    return engine->jobs;
}
