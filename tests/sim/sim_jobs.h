/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Jobs in the simulator: submitters and workers as clients of the simulated nodes, and what they
 * and the committed entries must look like. A run without jobs has none of it, and draws nothing
 * from its streams.
 *
 *   sim_call.c    a call: repeated until there is an answer, with a session where it is an update
 *   sim_jobs.c    the jobs of a seed, what their results are, who takes part, when all is done
 *   sim_submit.c  submitters: make jobs, fill, start, cancel, watch and read them
 *   sim_worker.c  workers, good and bad ones
 *   sim_flow.c    what else they say of jobs and workers: keys, pauses, limits, trying again
 *   sim_ledger.c  checks every committed entry: the truth about what was accepted
 *   sim_standing.c  and about who failed what
 *   sim_outcome.c   and how jobs begin and end
 *   sim_index.c   checks the engine's index against itself and against a fresh one
 */
#ifndef KVP_SIM_JOBS_H
#define KVP_SIM_JOBS_H

#include "sim.h"

#include "replication/jobs/job_records.h"

#define SIM_SLOTS_MAX  3u
#define SIM_KINDS      4u /* the last is "matmul" */
#define SIM_TASKS_MAX  48u
#define SIM_GRANTS_MAX 8192u

/* ---- calls ---- */

typedef void sim_done(struct sim *sim, void *arg, int status, kvp_slice result);

/* One call at a time. Statuses that only mean "not here, not now" are not told to `done`. */
struct sim_caller {
    unsigned index; /* its address is SIM_CALLER(index) */
    uint64_t life;  /* changes when its process dies */
    unsigned target;
    uint64_t timer; /* the one that counts */
    uint32_t call;  /* number of the call under way */
    bool busy, update, needs_birth;
    uint64_t began_us;
    uint64_t patience_us; /* that the node may take */
    struct kvp_request request;
    kvp_buf key, value; /* of the request */
    struct kvp_session_id session;
    sim_done *done;
    void *arg;
};

void sim_call_open(struct sim *sim, struct sim_caller *caller);
void sim_call_free(struct sim_caller *caller);
/* The process that makes the calls dies, or gives this one up; the next has a new session. */
void sim_call_drop(struct sim *sim, struct sim_caller *caller);
/* Copies key and value. */
void sim_call(struct sim *sim, struct sim_caller *caller, const struct kvp_request *request,
              sim_done *done, void *arg);
void sim_call_timer(struct sim *sim, unsigned index, uint64_t number);

/* ---- what there is to do ---- */

struct sim_task {
    uint8_t kind;
    bool feed;
    bool poison; /* whoever has it fails, until its job is cured */
    uint32_t after_count;
    uint32_t after[4];
    kvp_buf payload;
};

/* A job as a submitter wants it. */
struct sim_job {
    unsigned index; /* its name is "job" and this */
    struct kvp_job_spec spec;
    uint64_t id; /* 0: not known */
    uint32_t task_count;
    struct sim_task *tasks; /* TASKS */
    kvp_buf a, b, c;        /* MATMUL */
    bool overflow;          /* the product, or a part of it, does not fit its type */
    bool fickle;            /* results depend on the attempt */
    bool abandon;           /* never started */
    uint64_t cancel_us;     /* when to cancel it; 0: not */
    uint64_t start_us;      /* when its start was asked for; 0: not so far */
    bool cancel_asked, start_acked, ended;
    char key[16];
    bool doubled;           /* it is made twice under its key, */
    uint64_t other;         /* and this is the second one; 0: not so far */
    unsigned sets, retries; /* of what is to be said of it while it runs; of its failed tasks */
    bool cured, retried;
    bool pause_asked; /* and no resuming since */
};

/* What a worker gives for a task of a kind of its own. `nonce` 0: the same always. */
kvp_status sim_compute(unsigned kind, kvp_slice input, uint64_t nonce, kvp_buf *out);
/* The product of a tile; KVP_OVERFLOW. */
kvp_status sim_multiply(kvp_slice payload, kvp_buf *out);
/* An input block of a matrix job. */
void sim_job_input(const struct sim_job *job, uint32_t number, kvp_buf *out);
void sim_job_output(const struct sim_job *job, uint32_t number, kvp_buf *out);
/* The payload of a task as a worker gets it, if the tasks before are done as the ledger says. */
bool sim_job_payload(const struct sim *sim, const struct sim_job *job, uint64_t id, uint32_t task,
                     kvp_buf *out);
bool sim_job_may_lie(const struct sim_job *job);
struct sim_job *sim_job_of(const struct sim *sim, uint64_t id);

/* ---- who takes part ---- */

struct sim_slot {
    struct sim_worker *worker;
    unsigned number;
    struct sim_caller call, beat;
    uint64_t fetches; /* number of the fetch */
    uint64_t timer, beat_timer;
    bool working, hung, posted;
    uint64_t ended_us, ended_job; /* when it was at work the last time, and on what */
    uint32_t ended_task;
    uint64_t instance;           /* that the task was given to */
    uint64_t due_us;             /* its attempt is over then, */
    unsigned failovers;          /* unless there was another primary since */
    bool late;                   /* the beat under way was sent long after that */
    struct kvp_task_grant grant; /* slices are not used */
    kvp_buf payload, result;
    uint32_t blocks[2]; /* of a tile: to be read */
    unsigned blocks_read;
    unsigned outcome;
};

struct sim_worker {
    unsigned index;
    char name[KVP_NAME_SIZE_MAX + 1];
    /* What it is like. */
    bool standby, corrupt, prankster;
    bool mortal;         /* is dead in the end */
    bool twin;           /* has the name of the first worker */
    bool nomad;          /* has another name in each life */
    bool blocks;         /* reads the blocks of matrices itself */
    unsigned hang, fail; /* in 1/1000, per task */
    bool broken;         /* fails everything */
    bool stranger;       /* a standby of a kind that nobody needs */
    bool steady;         /* good, and there in the end */
    bool drain_asked;    /* and no undoing of it since */
    uint64_t drained_until_us;
    unsigned slow; /* a factor */
    unsigned slots_used;
    unsigned kinds; /* bits */
    uint64_t buffer;
    /* How it is. */
    bool up, joined;
    bool over;           /* will not come back */
    uint64_t stopped_us; /* stands still until then */
    unsigned lives;
    uint64_t instance, timer;
    uint64_t joined_us;
    struct sim_caller control;
    struct sim_slot slots[SIM_SLOTS_MAX];
};

struct sim_submitter {
    unsigned index, next, last; /* its jobs */
    uint64_t timer;
    struct sim_caller call;
    struct sim_job *job;
    unsigned step;
    uint32_t filled, upto; /* tasks or blocks that are there, and will be */
    uint32_t read;         /* results read */
    bool other_filled, on_other;
    unsigned setting; /* what is said next */
    char drained[KVP_NAME_SIZE_MAX + 1];
    bool done;
};

/* A task that a worker was given. */
struct sim_grant {
    uint64_t job, attempt, instance, payload_digest;
    uint32_t task;
    unsigned worker; /* twins count as one */
};

/* A result that a worker was told to be counted, or that a submitter has read; or a lie that came
 * too late to be counted. */
struct sim_ack {
    uint64_t job, digest; /* read */
    uint32_t task;
    const struct sim_worker *worker; /* NULL: read */
    bool lie;
};

struct sim_jobs {
    uint64_t random, random_flow;
    uint32_t calls;
    unsigned caller_count;
    struct sim_caller **callers;
    unsigned job_count, worker_count, submitter_count;
    struct sim_job *jobs;
    struct sim_worker *workers;
    struct sim_submitter *submitters;
    struct sim_grant *grants;
    size_t grant_count, grant_capacity;
    struct sim_ack *acks;
    size_t ack_count, ack_capacity;
    struct ledger *ledger;
    uint64_t index_checked_us;
    unsigned failovers; /* looked at */
    uint64_t calm_us;   /* when the faults ended */
};

enum sim_job_timer {
    SIM_TIMER_CALL,
    SIM_TIMER_WORKER,
    SIM_TIMER_SLOT,
    SIM_TIMER_BEAT,
    SIM_TIMER_SUBMITTER
};

/* Calls back, unless *stamp has moved on until then. */
void sim_job_timer(struct sim *sim, enum sim_job_timer kind, unsigned index, uint64_t *stamp,
                   uint64_t delay_us);
uint64_t sim_jobs_below(struct sim *sim, uint64_t bound);
bool sim_jobs_chance(struct sim *sim, unsigned thousandths);

/* sim_worker.c */
void sim_workers_make(struct sim *sim);
void sim_workers_free(struct sim *sim);
void sim_workers_calm(struct sim *sim);
void sim_worker_timer(struct sim *sim, unsigned index, uint64_t number);
void sim_slot_timer(struct sim *sim, unsigned index, uint64_t number);
void sim_beat_timer(struct sim *sim, unsigned index, uint64_t number);
struct sim_worker *sim_worker_named(const struct sim *sim, const char *name);

/* sim_submit.c */
void sim_submitters_make(struct sim *sim);
void sim_submitters_free(struct sim *sim);
void sim_submitter_timer(struct sim *sim, unsigned index, uint64_t number);

/* sim_flow.c */
void sim_flow_plan(struct sim *sim, struct sim_job *job);
uint64_t sim_flow_below(struct sim *sim, uint64_t bound);
/* The job that a submitter speaks of now: the one, or the other under the same key. */
uint64_t sim_flow_about(const struct sim_submitter *submitter);
/* Is there something to be said of the running job? Says it, and calls back. */
bool sim_flow_say(struct sim *sim, struct sim_submitter *submitter, sim_done *done);
void sim_flow_unsaid(struct sim_submitter *submitter); /* the session had expired */
/* The worker that was drained is to work again. */
bool sim_flow_undo(struct sim *sim, struct sim_submitter *submitter, sim_done *done);
void sim_flow_mark(struct sim *sim, const struct sim_submitter *submitter, bool drained);
/* Some of its tasks have failed: are they to be tried again? */
bool sim_flow_retry(struct sim *sim, struct sim_submitter *submitter, sim_done *done);

/* sim_ledger.c */
void sim_ledger_open(struct sim *sim);
void sim_ledger_free(struct sim *sim);
/* A node applies an entry; the first one to do so counts. */
void sim_ledger_apply(struct sim *sim, const struct kvp_entry *entry);
bool sim_ledger_running(const struct sim *sim); /* is a job? */
bool sim_ledger_settled(
    const struct sim *sim); /* all jobs that were started have ended, and gone */
void sim_ledger_end(struct sim *sim);
/* The accepted result of a task; false: it is not done. */
bool sim_ledger_result(const struct sim *sim, uint64_t job, uint32_t task, kvp_slice *bytes);
/* A submitter has read this result: it must be, or become, the accepted one. */
void sim_ledger_expect(struct sim *sim, uint64_t job, uint32_t task, kvp_slice bytes);
/* A worker was told that its result is counted. */
void sim_ledger_counted(struct sim *sim, uint64_t job, uint32_t task,
                        const struct sim_worker *worker);
/* A worker has told a lie, and was told that the task is done. */
void sim_ledger_lied(struct sim *sim, uint64_t job, uint32_t task, const struct sim_worker *worker);
/* A worker was given a task. */
void sim_ledger_granted(struct sim *sim, const struct sim_slot *slot);
/* A name of the state of the job, "gone" when it was removed. */
const char *sim_ledger_state(const struct sim *sim, uint64_t job);

/* sim_index.c */
bool sim_index_ready(const struct sim_node *node);
void sim_index_check(struct sim *sim, struct sim_node *node);
void sim_index_compare(struct sim *sim, struct sim_node *node);

#endif
