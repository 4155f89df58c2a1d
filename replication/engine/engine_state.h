/* SPDX-License-Identifier: Apache-2.0 */
/* The engine's private state, shared by engine.c and the engine_*.c files. */
#ifndef KVP_ENGINE_STATE_H
#define KVP_ENGINE_STATE_H

#include "kvstore/keyspace.h"
#include "replication/engine/engine.h"
#include "replication/engine/overlay.h"
#include "replication/engine/session.h"

/* With a session the answer is kept with it: room for one value of the largest size and what is
 * around 1024 results. */
#define ENGINE_TXN_ANSWER_MAX (KVP_VALUE_SIZE_MAX + 64u * 1024u)

/* Sessions with a large answer that the store does not have yet. */
struct engine_large {
    uint64_t client, seq;
    uint16_t slot;
};

struct kvp_engine {
    struct kvp_engine_config config;
    struct kvp_storage *storage; /* NULL: not started */
    struct overlay overlay;
    struct session_table sessions;
    struct kvp_jobs *jobs;
    uint64_t now_us;
    uint64_t committed; /* what reads may show */
    uint64_t executed;  /* seq of the newest layer, or what the store had at the start */
    struct engine_large *large;
    size_t large_count, large_capacity;
    kvp_buf scratch;         /* a record read from the store, or to be written to it */
    kvp_buf kept;            /* a session's answer on its way into the table */
    uint64_t rest_us;        /* nothing that nobody waits for is done before */
    struct kvp_engine *past; /* of an earlier time as primary: still to be freed */
};

/* ---- engine_keys.c ---- */

/* A key as seen by whoever executes: committed state and everything pending. `value` points into
 * engine memory until the next call. */
struct engine_value {
    bool present;
    uint64_t create_revision, modify_revision;
    kvp_slice value;
};

kvp_status engine_look(struct kvp_engine *engine, kvp_slice key, struct engine_value *value);
/* Writes a key in the newest layer. `present` is what engine_look() told. */
kvp_status engine_put(struct kvp_engine *engine, kvp_slice key, kvp_slice value, uint64_t seq,
                      const struct engine_value *present);
kvp_status engine_delete(struct kvp_engine *engine, kvp_slice key);
/* The newest layer as a write set. */
kvp_status engine_collect(const struct kvp_engine *engine, kvp_buf *set);
kvp_status engine_check_key(kvp_slice key, const char **reason);
kvp_status engine_check_value(kvp_slice value, const char **reason);

/* engine_session.c */
kvp_status engine_open_sessions(struct kvp_engine *engine);
/* What is known of the session that a request belongs to. Sets *handled when the request must not
 * be executed (again). */
kvp_status engine_open_session(struct kvp_engine *engine, const struct kvp_session_id *id,
                               struct session_found *found, struct kvp_execution *execution,
                               bool *handled);
/* An answer that there is no room to keep becomes BUSY. To be followed by engine_close_session(),
 * or the engine has failed. */
kvp_status engine_fit_answer(struct kvp_engine *engine, const struct kvp_session_id *id,
                             const struct session_found *found, struct kvp_execution *execution);
/* Writes the session's record and keeps its answer. The last step of an execution: nothing can fail
 * behind it. */
kvp_status engine_close_session(struct kvp_engine *engine, const struct kvp_session_id *id,
                                const struct session_found *found, uint64_t seq,
                                struct kvp_execution *execution);

/* engine_jobs.c */
kvp_status engine_open_jobs(struct kvp_engine *engine);
kvp_status engine_job(struct kvp_engine *engine, const struct kvp_request *request, uint64_t seq,
                      struct kvp_execution *execution);

/* engine_access.c */
kvp_status engine_access(struct kvp_engine *engine, const struct kvp_request *request,
                         struct kvp_execution *execution);

/* engine_members.c */
kvp_status engine_members(struct kvp_engine *engine, const struct kvp_request *request,
                          struct kvp_execution *execution);

/* engine_txn.c: KVP_OK with execution->status and answer set; anything else: the engine failed. */
kvp_status engine_txn(struct kvp_engine *engine, const struct kvp_request *request, uint64_t seq,
                      struct kvp_execution *execution);
/* Are keys, values and counts within the limits? Else a status, and the reason. */
kvp_status engine_txn_check(const struct kvp_request *request, const char **reason);

#endif
