/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The job engine: which tasks there are, who works on them, what their results are worth. A pure
 * state machine at the primary: requests and the time come in, writes to the replicated store and
 * answers go out. What must survive a failover is in the store (job_records.h); the rest is an
 * index over it that a new primary builds again, and who has which task at the moment, which
 * workers tell it by their beats.
 *
 * Handing out a task writes nothing: a task whose worker or primary is lost is handed out again. A
 * result is accepted by writing it. Every attempt has a number that a later primary can check
 * without having given it.
 *
 * One thread. A status other than KVP_OK from execute, step or load means that the engine itself
 * failed (memory, storage): index and store may have parted, and the node must not go on as
 * primary.
 *
 * Sources: redundant execution after BOINC's validator (quorum, canonical result); queue states
 * after beanstalkd.
 */
#ifndef KVP_JOBS_H_ENGINE
#define KVP_JOBS_H_ENGINE

#include "kvpair/job_spec.h"
#include "kvstore/storage.h"
#include "replication/wire/request.h"

struct kvp_jobs;

/* Requests wait for a step: some tens of microseconds. */
#define KVP_JOBS_LOAD_AT_ONCE 64u

struct kvp_jobs_config {
    uint32_t jobs_max;        /* 0: 4096 */
    uint32_t tasks_max;       /* of all jobs together; 0: 2^21 */
    uint32_t workers_max;     /* 0: 1024 */
    uint32_t lost_votes_max;  /* a worker is barred when it has lost so many; 0: 3 */
    uint32_t load_at_once;    /* records that a new primary reads in one step; 0: as below */
    uint64_t step_work;       /* bytes and products that one step may take; 0: 4 Mi */
    uint64_t verify_size_max; /* bytes of memory for the verification of a product; 0: 64 MiB */
};

/* The state as it is with all that was executed. `get` appends to `value`; KVP_NOT_FOUND. `put` and
 * `del` go into the entry that is being made. */
struct kvp_jobs_store {
    void *arg;
    kvp_status (*get)(void *arg, kvp_slice raw_key, kvp_buf *value);
    kvp_status (*put)(void *arg, kvp_slice raw_key, kvp_slice value);
    kvp_status (*del)(void *arg, kvp_slice raw_key);
};

kvp_status kvp_jobs_open(const struct kvp_jobs_config *config, const struct kvp_jobs_store *store,
                         struct kvp_jobs **jobs);
void kvp_jobs_close(struct kvp_jobs *jobs); /* NULL is fine */

/* Begins to build the index from the state in `storage`, which must have everything applied. `salt`
 * is the same on all nodes of the group (its id), `seed` is not (randomness). */
kvp_status kvp_jobs_start(struct kvp_jobs *jobs, struct kvp_storage *storage, uint64_t salt,
                          uint64_t seed, uint64_t now_us);
void kvp_jobs_reset(struct kvp_jobs *jobs);
/* Nobody uses it any more, and it is to be closed: gives up its view of the store, which takes no
 * time, */
void kvp_jobs_release(struct kvp_jobs *jobs);
/* and its memory, in at most *budget pieces; *budget is what is left then. */
void kvp_jobs_dismantle(struct kvp_jobs *jobs, size_t *budget);
/* Goes on with that, for about `records` records; *all when it is done. Requests are answered with
 * KVP_UNAVAILABLE until the workers have been read. From then on those about a job read what they
 * need of it; if that is too much for one request, it is answered so, too, and a repeat goes on. */
kvp_status kvp_jobs_load(struct kvp_jobs *jobs, size_t records, uint64_t now_us, bool *all);

/* Is there more to read that no request waits for? */
bool kvp_jobs_reads(const struct kvp_jobs *jobs);

/* Executes any operation on jobs (operations.h) but TASK_FETCH. `seq` is that of the entry being
 * made. `asker`: to whom new jobs belong, empty: to everybody. *status and `answer` (one msgpack
 * value, or empty) are for the client. */
kvp_status kvp_jobs_execute(struct kvp_jobs *jobs, const struct kvp_request *request,
                            kvp_slice asker, uint64_t seq, uint64_t now_us, int *status,
                            kvp_buf *answer);

/* TASK_FETCH: KVP_NO_TASK in *status when the worker has to wait. Writes nothing. *needs_commit:
 * the answer depends on what was executed so far (a task on those that it waited for), and must not
 * be given before that is committed. */
kvp_status kvp_jobs_fetch(struct kvp_jobs *jobs, const struct kvp_request *request, uint64_t now_us,
                          int *status, kvp_buf *answer, bool *needs_commit);
/* The kinds with which a worker has joined; returns how many, 0: it is not known. They live until
 * the next call that changes something. */
unsigned kvp_jobs_worker_kinds(const struct kvp_jobs *jobs, kvp_slice name,
                               kvp_slice kinds[KVP_JOB_KINDS_MAX]);
/* Has anything happened since the last call that may let a waiting worker have a task? */
bool kvp_jobs_work_available(struct kvp_jobs *jobs);

/* Tells when workers could make themselves heard: not since `deaf_us` (0: they can), and before
 * that not for `unheard_us`, all in all since kvp_jobs_start(). In that time nobody is silent. */
void kvp_jobs_hear(struct kvp_jobs *jobs, uint64_t deaf_us, uint64_t unheard_us);

/* Does one piece of what is due: takes tasks from lost workers, sums up blocks, verifies, removes.
 * Bounded work; may or may not write. *more: there is something to do at once. */
kvp_status kvp_jobs_step(struct kvp_jobs *jobs, uint64_t now_us, bool *more);
/* When step has something to do; UINT64_MAX: nothing. */
uint64_t kvp_jobs_deadline(const struct kvp_jobs *jobs);

/* For STATUS: of the jobs whose tasks have been read. */
#define KVP_JOBS_STATES 8u
struct kvp_jobs_counts {
    uint32_t jobs[KVP_JOBS_STATES];
    /* Tasks that wait for a worker; attempts under way; tasks that wait for others; results. */
    uint64_t queued, running, blocked, done;
    uint32_t active, standby, silent, barred; /* workers */
};
struct kvp_jobs_counts kvp_jobs_count(const struct kvp_jobs *jobs, uint64_t now_us);
const char *kvp_jobs_state_name(unsigned state);

#endif
