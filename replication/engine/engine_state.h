/* SPDX-License-Identifier: Apache-2.0 */
/* The engine's private state, shared by engine.c and the engine_*.c files. */
#ifndef KVP_ENGINE_STATE_H
#define KVP_ENGINE_STATE_H

#include "kvstore/keyspace.h"
#include "replication/engine/engine.h"
#include "replication/engine/lease_index.h"
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

/* Leases as this primary knows them. Times are those of their clock, in microseconds. */
struct engine_leases {
    struct lease_index index;
    struct kvp_state_view *view; /* what is still to be read of the time before; NULL: nothing */
    uint64_t clock_us;           /* moves only while this node serves */
    uint64_t seen_us;            /* of the engine's time, when that was so */
    uint64_t stored_us;          /* the clock as the log has it */
    uint64_t began_us;           /* the clock when this node became primary */
    bool serving;                /* at seen_us */
    bool changed;                /* the newest layer has something of leases */
    uint32_t made;               /* leases that are new in the newest layer */
    uint32_t unread;             /* records written in it of which the index does not know yet */
    const char *refusal;         /* why a key cannot have its lease: static */
};

struct kvp_engine {
    struct kvp_engine_config config;
    struct kvp_storage *storage; /* NULL: not started */
    struct overlay overlay;
    struct session_table sessions;
    struct kvp_jobs *jobs;
    struct engine_leases leases;
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
    uint64_t lease; /* 0: none */
    uint32_t slot;
};

/* How a key ends by itself: with which lease, and which of its keys it is. */
struct engine_hold {
    uint64_t lease; /* 0: not */
    uint32_t slot;
};

kvp_status engine_look(struct kvp_engine *engine, kvp_slice key, struct engine_value *value);
/* Writes a key in the newest layer. `present` is what engine_look() told. */
kvp_status engine_put(struct kvp_engine *engine, kvp_slice key, kvp_slice value, uint64_t seq,
                      const struct engine_value *present, struct engine_hold hold);
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

/* engine_record.c: any record of the state, as whoever executes sees it. */
kvp_status engine_record_get(struct kvp_engine *engine, kvp_slice raw_key, kvp_buf *value);
kvp_status engine_record_put(struct kvp_engine *engine, kvp_slice raw_key, kvp_buf *value);
kvp_status engine_record_delete(struct kvp_engine *engine, kvp_slice raw_key);

/* engine_lease.c */
/* What a put asks for, beside key and value. */
struct engine_wish {
    uint64_t ttl_ms, lease;
};
/* As engine_put(), with what becomes of the key's lease. KVP_NOT_FOUND, KVP_TOO_LARGE: it cannot
 * have that lease, leases.refusal says why, and nothing has changed. */
kvp_status engine_put_wish(struct kvp_engine *engine, kvp_slice key, kvp_slice value,
                           struct engine_wish wish, uint64_t seq,
                           const struct engine_value *present);
/* The key is about to go, or to have no lease any more. */
kvp_status engine_lease_leave(struct kvp_engine *engine, const struct engine_value *present);
kvp_status engine_lease(struct kvp_engine *engine, const struct kvp_request *request, uint64_t seq,
                        struct kvp_execution *execution);
/* Takes one's keys away, at most *budget, which is what is left then. *ended: the lease is gone. */
kvp_status engine_lease_end(struct kvp_engine *engine, uint64_t lease, uint32_t *budget,
                            bool *ended);
/* The newest layer has been executed: the index follows it. Cannot fail. */
void engine_leases_follow(struct kvp_engine *engine);
/* The clock as of now. */
uint64_t engine_lease_now(const struct kvp_engine *engine);

/* engine_lease_keep.c: knows one that is not read yet, if there is such a lease. */
kvp_status engine_lease_warm(struct kvp_engine *engine, uint64_t lease);

/* engine_expire.c */
kvp_status engine_leases_start(struct kvp_engine *engine, struct kvp_storage *storage);
void engine_leases_release(struct kvp_engine *engine); /* no view of the store stays open */
void engine_leases_free(struct kvp_engine *engine);
/* A piece of what is due. *done: there was something; KVP_EXECUTION_APPEND as of
 * kvp_engine_step(). */
kvp_status engine_leases_step(struct kvp_engine *engine, uint64_t seq,
                              struct kvp_execution *execution, bool *done, bool *more);
uint64_t engine_leases_deadline(const struct kvp_engine *engine);

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
