/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The engine executes requests at the primary: committed state plus the pending write sets before
 * it (the overlay) in, write set and answer out. Sessions make a repeated request return its first
 * answer (rule R5). Pure: no clock, socket or thread; it reads the store through kvp_storage_get().
 * One thread.
 *
 * Life of an update: kvp_engine_execute() with the seq that the entry will get puts its effect in
 * the overlay; the replication core commits it (kvp_engine_commit() moves what reads see); the disk
 * thread applies it to the store (kvp_engine_applied() drops it from the overlay). A node that
 * stops being primary calls kvp_engine_reset().
 */
#ifndef KVP_ENGINE_H
#define KVP_ENGINE_H

#include "replication/jobs/jobs.h"
#include "replication/wire/request.h"
#include "kvstore/storage.h"

struct kvp_engine;

struct kvp_record_versions {
    uint64_t create_revision;
    uint64_t modify_revision;
};

struct kvp_engine_config {
    uint32_t sessions_max;        /* session slots remembered; 0: 65536 */
    uint32_t session_answers_max; /* bytes of their large answers; 0: 32 MiB */
    uint32_t session_idle_ms;     /* a slot makes room when it was not used for so long; 0: 10 s */
    uint32_t leases_max;          /* 0: KVP_LEASES_MAX */
    struct kvp_jobs_config jobs;
};

kvp_status kvp_engine_open(const struct kvp_engine_config *config, struct kvp_engine **engine);
void kvp_engine_close(struct kvp_engine *engine);

/* Becomes able to execute: the store is applied up to `seq`, and nothing is pending. `storage` is
 * borrowed until reset. What this does, does not grow with what is stored. */
kvp_status kvp_engine_start(struct kvp_engine *engine, struct kvp_storage *storage, uint64_t seq);
/* Forgets sessions and overlay; execute and read must not be called before the next start. */
void kvp_engine_reset(struct kvp_engine *engine);
/* The same for a node that others wait for: takes as long, whatever the engine knows. What comes
 * back is to be used instead; it keeps the old one and frees that with kvp_engine_sweep(). */
struct kvp_engine *kvp_engine_succeed(struct kvp_engine *engine);
/* Frees a piece of what was known before. */
void kvp_engine_sweep(struct kvp_engine *engine);
uint64_t kvp_engine_sweep_us(const struct kvp_engine *engine); /* when; UINT64_MAX: all is free */
/* What nobody waits for, reading and freeing, does not go on before: who asks comes first. */
void kvp_engine_rest(struct kvp_engine *engine, uint64_t until_us);
/* The store is about to be replaced: no view of it stays open. To be followed by a reset. */
void kvp_engine_release(struct kvp_engine *engine);

enum kvp_execution_kind {
    KVP_EXECUTION_ANSWER, /* `answer` may be sent now */
    KVP_EXECUTION_APPEND, /* append `writeset` as seq; send `answer` when it is committed */
    KVP_EXECUTION_WAIT,   /* a repeat of a pending request: send `answer` when wait_seq commits */
};

struct kvp_execution {
    enum kvp_execution_kind kind;
    int status;        /* of the answer */
    kvp_buf answer;    /* the encoded result (one msgpack value, empty for nil); caller frees */
    kvp_buf writeset;  /* APPEND: payload; caller frees. Both may come with room of earlier ones */
    uint64_t wait_seq; /* WAIT */
};

/*
 * Executes an update: put, create, delete, cas, or a txn. `seq` is one more than the last appended.
 * An update with a session always appends, even when it changes no key (a failed create, say), so
 * that a late duplicate cannot run; without a session an update that changes nothing answers
 * KVP_EXECUTION_WAIT for the last appended seq, because its answer depends on pending writes. A
 * read-only txn without session likewise. On any failure of the engine itself (memory, storage)
 * returns the status, with nothing changed and both buffers freed.
 */
kvp_status kvp_engine_execute(struct kvp_engine *engine, const struct kvp_request *request,
                              uint64_t seq, struct kvp_execution *execution);

/* The newest committed value of a key: KVP_NOT_FOUND, or its value appended to `value`
 * and its revisions. */
kvp_status kvp_engine_get(struct kvp_engine *engine, kvp_slice key, kvp_buf *value,
                          struct kvp_record_versions *versions);

/* The committed record of rights (replication/access/rights_record.h) is appended: nothing where
 * there is none. */
kvp_status kvp_engine_rights(struct kvp_engine *engine, kvp_buf *record);
/* The name of who submitted a job is appended. KVP_NOT_FOUND: nobody who has one. */
kvp_status kvp_engine_job_owner(struct kvp_engine *engine, uint64_t job, kvp_buf *owner);

/*
 * Leases. Granting, revoking and putting keys with one are updates, for kvp_engine_execute().
 * Keeping one changes nothing that is replicated: a new primary gives each its full time again.
 * What is told of leases includes what is pending: it counts when that is committed.
 *
 * Time runs for leases only while this node serves: said with every event. A time that passes
 * unseen, while the process is stopped, counts for little.
 */
void kvp_engine_lease_time(struct kvp_engine *engine, uint64_t now_us, bool serving);
/* KVP_OK: it has its full time again, *ttl_ms. KVP_NOT_FOUND. Others: the engine has failed. */
kvp_status kvp_engine_lease_keep(struct kvp_engine *engine, uint64_t lease, uint64_t *ttl_ms);
/* The name of who granted it is appended. KVP_NOT_FOUND. */
kvp_status kvp_engine_lease_owner(struct kvp_engine *engine, uint64_t lease, kvp_buf *owner);
/* May the key's name be shown? */
struct kvp_lease_reader {
    void *arg;
    bool (*may_read)(void *arg, kvp_slice key); /* NULL: everything */
};
/* The results of LEASE_SHOW (or KVP_NOT_FOUND) and LEASE_LIST are appended. */
kvp_status kvp_engine_lease_show(struct kvp_engine *engine, uint64_t lease, kvp_slice key,
                                 const struct kvp_lease_reader *reader, kvp_buf *answer);
kvp_status kvp_engine_lease_list(struct kvp_engine *engine, uint64_t above, kvp_buf *answer);
size_t kvp_engine_leases(const struct kvp_engine *engine); /* known so far */

/*
 * Jobs (replication/jobs/jobs.h). Their operations go through kvp_engine_execute() like all others,
 * except TASK_FETCH. The time is what kvp_engine_set_now() said last. A status other than KVP_OK
 * for one of them means that this node must not go on as primary.
 */
void kvp_engine_set_now(struct kvp_engine *engine, uint64_t now_us);
/* Behind kvp_engine_start(): the index of jobs is built anew, step by step. `salt`, `seed`: see
 * kvp_jobs_start(). */
kvp_status kvp_engine_start_jobs(struct kvp_engine *engine, uint64_t salt, uint64_t seed);
/* A piece of what is due by itself: also what is still to be read. KVP_EXECUTION_APPEND: append
 * `writeset` as seq; else nothing was written. *more: call again at once, before others. */
kvp_status kvp_engine_step(struct kvp_engine *engine, uint64_t seq, struct kvp_execution *execution,
                           bool *more);
/* When to call that; UINT64_MAX: no need. */
uint64_t kvp_engine_deadline(const struct kvp_engine *engine);
/* Is there something to read that nobody waits for? */
bool kvp_engine_reads(const struct kvp_engine *engine);
struct kvp_jobs *kvp_engine_jobs(struct kvp_engine *engine);
size_t kvp_engine_sessions(const struct kvp_engine *engine); /* slots in use, known so far */

void kvp_engine_commit(struct kvp_engine *engine, uint64_t seq);
void kvp_engine_applied(struct kvp_engine *engine, uint64_t seq);

/* The seq up to which committed state is visible; the start of new sessions. */
uint64_t kvp_engine_committed(const struct kvp_engine *engine);

#endif
