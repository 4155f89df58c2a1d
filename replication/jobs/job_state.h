/* SPDX-License-Identifier: Apache-2.0 */
/* The job engine's private state, shared by its files. */
#ifndef KVP_JOB_STATE_H
#define KVP_JOB_STATE_H

#include "replication/jobs/job_records.h"
#include "replication/jobs/jobs.h"
#include "replication/matrix/matrix_verify.h"
#include "replication/wire/wire.h"

#define JOB_NONE    UINT32_MAX
#define JOB_BUCKETS 256u
#define WORKER_SILENCE_US                                                                          \
    2000000u              /* a worker without a task that was not heard of for so long is gone */
#define ATTEMPTS_MAX 256u /* that one worker may have at a time */
#define PAYLOAD_MAX  (8u * 1024u * 1024u) /* with what it is fed */
/* What one step may do before others get their turn, in bytes read and elementary products: some
 * milliseconds. */
#define STEP_WORK_MAX    (UINT64_C(4) << 20)
#define JOB_KEY_WORK     4096u /* what reading or deleting one more key counts as */
#define JOB_KEYS_AT_ONCE 256u  /* deleted in one entry */
#define VERIFY_SIZE_MAX  (UINT64_C(64) << 20)
/* One client may have more than this share of the places only while others find as many free. */
#define SHARE_OF(places) ((places) < 64u ? (places) : (places) / 4)
#define UPLOAD_IDLE_US   60000000u /* an upload that stands still so long makes room for others */
#define EDGES_PER_TASK   4u /* on average over all jobs, of the most tasks that there may be */

struct attempt {
    struct attempt *next; /* of the same worker */
    struct job *job;
    uint32_t task;
    uint64_t token;
    uint64_t started_us, deadline_us;
    uint64_t heard_us; /* job_heard.c */
    uint32_t slot;     /* where the worker has it */
    uint64_t number;   /* of the fetch */
    uint32_t progress;
    uint64_t charged_us; /* to the clock of its job, */
    uint32_t weight;     /* times this; 0: nothing, or it is settled */
};

struct worker {
    struct worker *next; /* in its bucket */
    uint64_t client;     /* that it joined through; 0: not known, or without a session */
    uint16_t index;      /* in jobs->workers */
    uint64_t digest;     /* of its name */
    char name[KVP_NAME_SIZE_MAX + 1];
    struct worker_record record;
    const struct kvp_jobs *jobs; /* whose it is */
    uint64_t heard_us; /* it joined, asked for a task, posted, or beat for one that it has; as
                          job_heard.c counts */
    uint32_t done;     /* results that counted, since this primary began */
    struct attempt *attempts;
    unsigned attempt_count;
    struct standing_record standing;
    char fault_reason[JOB_REASON_MAX + 1]; /* why it failed the last task that it failed */
    uint32_t suspicion;  /* failures that nobody has done better, or shared, so far */
    uint32_t returned;   /* tasks in a row that it took and gave back, or dropped */
    uint64_t backoff_us; /* it begins nothing before */
};

/* Who failed a task; in memory only while the task is open. A worker that was forgotten and comes
 * back under its name is the one that failed it. */
struct task_fault {
    uint64_t worker; /* digest of its name */
    uint8_t failed, lost;
};
struct task_faults {
    uint32_t workers, failed; /* as in the record */
    unsigned count;
    struct task_fault by[JOB_FAULTS_MAX];
};

struct task {
    uint32_t next;                     /* in the job's queue */
    uint32_t size;                     /* TASKS: bytes of payload, with what it is fed */
    uint32_t result;                   /* DONE: bytes of the result */
    uint32_t after_left;               /* tasks it still waits for */
    uint32_t edges;                    /* first of those that wait for it */
    uint16_t seen[KVP_JOB_COPIES_MAX]; /* workers that have it or gave a result */
    uint8_t seen_count;
    uint8_t state, kind, copies, votes, live, lost;
    bool queued, feed;
    bool dependent;             /* waits for others, or did */
    uint8_t overdue;            /* attempts lost at their deadline, or under an earlier primary */
    bool backing_off;           /* it failed, and is not handed out for a while */
    bool spent;                 /* it will be given up, unless the copies under way do it */
    struct task_faults *faults; /* NULL: nobody has failed it */
};

/* A task (job 0: a worker, or several) has rested when its time comes. */
struct backoff {
    uint64_t due_us, job;
    uint32_t task;
};

struct edge {
    uint32_t task, next;
};

/* A block of a product whose inner dimension is cut. */
struct output {
    uint32_t parts_left;
    uint32_t next; /* of those that can be summed up */
    bool summed;
};

struct job {
    struct job *next; /* by priority, then id */
    struct job *bucket;
    uint64_t id;
    uint64_t client; /* that made it; 0: not known (any more), or without a session */
    struct job_record record;
    struct kvp_job_grid grid; /* MATMUL */
    struct task *tasks;
    uint32_t task_capacity;
    uint32_t read; /* tasks that are in the index, the first ones; the others are all zero */
    struct edge *edges;
    uint32_t edge_count, edge_capacity;
    struct output *outputs; /* MATMUL with several inner tiles */
    uint32_t queue_first, queue_last;
    uint32_t sum_first, sum_last, summed;
    uint32_t sum_next;  /* part of the first of them that is added, or deleted, next */
    kvp_buf sum;        /* of the parts before */
    uint32_t too_large; /* the first of the tasks that are fed more than PAYLOAD_MAX; or JOB_NONE */
    uint64_t clock_us;  /* job_share.c */
    uint32_t turn_place; /* in jobs->turns; or JOB_NONE */
    uint32_t taken;      /* tasks with an attempt under way */
    uint32_t done, failed, live, waiting, redone, disagreed, late;
    uint64_t started_us, ended_us; /* by this primary's clock, not before it began */
    /* What attempts took, for deadlines. */
    uint64_t took_sum_us, took_min_us, took_max_us;
    uint32_t took_count;
    struct kvp_verify *verify;          /* FREIVALDS */
    struct kvp_recheck *recheck;        /* RECOMPUTE, of one block */
    bool released;                      /* its delay is over */
    bool inherited;                     /* from an earlier primary */
    uint64_t aged_us;                   /* when the last part of expires_s was over */
    bool reserved;                      /* TASKS with a kind that is no more allowed: it fails */
    uint32_t verify_next, verify_total; /* blocks looked at */
    uint64_t
        verify_part; /* of the next one: elements (RECOMPUTE: inner) that have been looked at */
    uint32_t remove_next;
};

struct kvp_jobs {
    struct kvp_jobs_config config;
    struct kvp_jobs_store store;
    bool started, ready;
    /* while loading */
    struct kvp_state_view *view; /* NULL: all has been read */
    unsigned phase;
    uint32_t unread;     /* jobs whose tasks have not all been read */
    uint64_t read_job;   /* where to go on */
    uint32_t fresh_jobs; /* made since this primary began */
    uint64_t fresh_tasks;
    uint64_t salt, random;
    uint32_t incarnation; /* in the attempts that this primary gives */
    uint64_t ready_us;    /* when the index was complete; job_heard.c */
    uint64_t deaf_us;     /* since then nobody can be heard; 0: they can */
    uint64_t unheard_us;  /* for so long nobody could before */
    struct job *first;
    struct job *last[256]; /* of each priority */
    struct job *buckets[JOB_BUCKETS];
    struct job **by_id;     /* all jobs, for lists */
    struct job **turns;     /* some of which may have a task to hand out; */
    struct job **turn_heap; /* room for as many */
    uint32_t turn_count, turn_capacity;
    uint64_t clocks_us[256]; /* of each priority: where who joins begins */
    uint32_t by_id_capacity;
    uint32_t job_count;
    uint64_t task_total; /* of all jobs */
    struct worker **workers;
    struct worker *worker_buckets[JOB_BUCKETS];
    uint32_t worker_count;
    bool work_available;      /* somebody who waits may get a task */
    bool busy;                /* finish_step may have something to do */
    struct job *at_work;      /* a sum or verification of this one is under way */
    uint64_t work;            /* that the present step has done, against config.step_work */
    uint64_t check_us;        /* look for lost attempts and workers then */
    struct backoff *backoffs; /* a heap */
    size_t backoff_count, backoff_capacity;
    uint64_t look_job; /* where to go on looking for work that no active worker can do */
    uint32_t look_task;
    kvp_buf scratch, value, other;
};

/* What an operation answers; KVP_OK in the function's own result means that there is an answer. */
struct job_answer {
    int status;
    kvp_buf *result;
    kvp_slice asker; /* as the owner of jobs; empty where all is everybody's */
};
kvp_status job_refuse(struct job_answer *answer, int status, const char *reason);
kvp_status job_refuse_format(struct job_answer *answer, int status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* jobs.c: the index */
struct job *job_find(const struct kvp_jobs *jobs, uint64_t id);
/* The place in jobs->by_id of the first job with this id or a higher one. */
uint32_t job_place(const struct kvp_jobs *jobs, uint64_t id);
struct worker *worker_find(const struct kvp_jobs *jobs, kvp_slice name);
/* What stands for a name where many are kept, and whose it is among those that are there. */
uint64_t worker_digest(const char *name, size_t size);
struct worker *worker_known(const struct kvp_jobs *jobs, uint64_t digest);
/* The worker that speaks, if it is who it says: else NULL and the answer is set. */
struct worker *worker_speaking(struct kvp_jobs *jobs, const struct kvp_request *request,
                               uint64_t now_us, struct job_answer *answer, kvp_status *status);
void worker_heard(struct kvp_jobs *jobs, struct worker *worker, uint64_t now_us);
struct job *job_insert(struct kvp_jobs *jobs, uint64_t id, const struct job_record *record);
void job_forget(struct kvp_jobs *jobs, struct job *job);
/* In and out of its place by priority. */
void job_link(struct kvp_jobs *jobs, struct job *job);
void job_unlink(struct kvp_jobs *jobs, const struct job *job);
struct worker *worker_insert(struct kvp_jobs *jobs, const char *name,
                             const struct worker_record *record);
/* Forgets the workers that may be forgotten. */
kvp_status workers_purge(struct kvp_jobs *jobs,
                         bool (*may_go)(const struct worker *worker, uint64_t now_us),
                         uint64_t now_us);
kvp_status job_reserve_tasks(struct job *job, uint32_t count);
kvp_status job_reserve_edges(struct job *job, uint32_t count);
/* Nothing is in the way of the task any more. */
void job_task_open(struct kvp_jobs *jobs, struct job *job, uint32_t number);
/* Adds to the bytes that a task is handed out with. */
void job_task_feed(struct task *task, uint32_t size);
/* Adds task number record.task_count - 1 ... with its edges; room is reserved. */
void job_task_init(struct kvp_jobs *jobs, struct job *job, uint32_t number,
                   struct task_record *record);
/* Makes what a matrix job needs: room for its tasks, outputs. */
kvp_status job_prepare_tiles(struct kvp_jobs *jobs, struct job *job);
/* And all its tasks. */
kvp_status job_make_tiles(struct kvp_jobs *jobs, struct job *job);

/* job_dismantle.c */
void job_free(struct job *job);
void worker_free(struct worker *worker);

/* job_load.c */
/* Have all jobs been read? Else some that there are may not be in the index. */
bool jobs_are_known(const struct kvp_jobs *jobs);
/* Reads more of them, at most *budget, which is what is left then. */
kvp_status jobs_read(struct kvp_jobs *jobs, size_t *budget, uint64_t now_us);
/* Those from `from` on, `count` of them, are in the index then. */
kvp_status jobs_read_page(struct kvp_jobs *jobs, uint64_t from, size_t count, uint64_t now_us);
/* A job, in the index or in the store. NULL: there is none. */
kvp_status job_look(struct kvp_jobs *jobs, uint64_t id, uint64_t now_us, struct job **job);
#define JOB_READ_STEPS 64u /* so much more than in one step of loading is read for one request */
bool job_is_read(const struct job *job);
/* Reads tasks of a job up to `upto` - 1, as far as *budget goes. */
kvp_status job_read(struct kvp_jobs *jobs, struct job *job, uint32_t upto, size_t *budget);
/* The same for a request. *good: the tasks up to `upto` - 1 are there; else the answer is set. */
kvp_status job_needs(struct kvp_jobs *jobs, struct job *job, uint32_t upto,
                     struct job_answer *answer, bool *good);

/* jobs.c: records */
kvp_status job_get(struct kvp_jobs *jobs, const struct kvp_raw_key *key, kvp_buf *value);
kvp_status job_put(struct kvp_jobs *jobs, const struct kvp_raw_key *key, kvp_slice value);
kvp_status job_del(struct kvp_jobs *jobs, const struct kvp_raw_key *key);
kvp_status job_write(struct kvp_jobs *jobs, struct job *job);
kvp_status worker_write(struct kvp_jobs *jobs, struct worker *worker);
/* The record of a task; what it points to lies in jobs->value, until that is used again. */
kvp_status task_read(struct kvp_jobs *jobs, struct job *job, uint32_t number,
                     struct task_record *record);
kvp_status task_write(struct kvp_jobs *jobs, struct job *job, uint32_t number,
                      const struct task_record *record);

/* job_queue.c */
bool task_needs(const struct task *task);
/* What a worker needs for it. */
size_t task_bytes(const struct job *job, uint32_t number);
/* Could the worker do the task, as far as kind and size go? */
bool task_fits(const struct worker *worker, const struct job *job, uint32_t number);
/* And as far as its other copies go? */
bool task_suits(const struct worker *worker, const struct job *job, uint32_t number);
void queue_back(struct kvp_jobs *jobs, struct job *job, uint32_t number);
void queue_front(struct kvp_jobs *jobs, struct job *job, uint32_t number);
struct attempt *attempt_find(const struct worker *worker, const struct job *job, uint32_t task,
                             uint64_t token);
struct attempt *attempt_add(struct kvp_jobs *jobs, struct worker *worker, struct job *job,
                            uint32_t task, uint64_t token, uint64_t now_us);
/* Ends an attempt; `forget`: the worker may have the task again. */
void attempt_end(struct kvp_jobs *jobs, struct worker *worker, struct attempt *attempt,
                 bool forget);
/* All attempts of a job end, or those at one of its tasks. */
void attempts_drop(struct kvp_jobs *jobs, const struct job *job);
void attempts_drop_task(struct kvp_jobs *jobs, const struct job *job, uint32_t task);
/* Everything that a worker holds goes back. */
void worker_give_back(struct kvp_jobs *jobs, struct worker *worker);
uint64_t attempt_token(const struct kvp_jobs *jobs, const struct job *job, uint32_t task,
                       const struct worker *worker, uint32_t nonce);
bool attempt_token_fits(const struct kvp_jobs *jobs, const struct job *job, uint32_t task,
                        const struct worker *worker, uint64_t token);
/* The worker that speaks about an attempt, and the job, if it was given that attempt: else NULL and
 * the answer is set. */
struct worker *attempt_speaking(struct kvp_jobs *jobs, const struct kvp_request *request,
                                uint64_t now_us, struct job_answer *answer, struct job **job,
                                kvp_status *status);
kvp_status job_beat(struct kvp_jobs *jobs, const struct kvp_request *request, uint64_t now_us,
                    struct job_answer *answer);
/* Lost attempts, by time. *did: something was written; call again. */
kvp_status job_check_attempts(struct kvp_jobs *jobs, uint64_t now_us, bool *did);

/* job_heard.c */
/* What worker.heard_us and attempt.heard_us are set to, and how much later it is now. */
uint64_t jobs_heard_us(const struct kvp_jobs *jobs, uint64_t now_us);
uint64_t jobs_silent_us(const struct kvp_jobs *jobs, uint64_t heard_us, uint64_t now_us);
/* When to look whether the silence has lasted for `silence_us`: after now. */
uint64_t jobs_silence_due_us(const struct kvp_jobs *jobs, uint64_t heard_us, uint64_t silence_us,
                             uint64_t now_us);

/* job_control.c */
/* It runs, is not paused, may have one more attempt, and its delay is over. */
bool job_hands_out(const struct kvp_jobs *jobs, const struct job *job, uint64_t now_us);
bool job_is_full(const struct job *job);
/* When its first task may be handed out, or when to ask again. */
uint64_t job_opens_us(const struct kvp_jobs *jobs, const struct job *job, uint64_t now_us);
/* By the clock of silence (job_heard.c). */
uint64_t job_adopts_until_us(const struct kvp_jobs *jobs, const struct job *job);
kvp_status job_set(struct kvp_jobs *jobs, struct job *job, const struct kvp_request *request,
                   uint64_t now_us, struct job_answer *answer);
kvp_status worker_set(struct kvp_jobs *jobs, const struct kvp_request *request, uint64_t now_us,
                      struct job_answer *answer);
/* When the next part of the time that it may take is over; job_age() notes that, or ends it. */
uint64_t job_ages_us(const struct job *job);
kvp_status job_age(struct kvp_jobs *jobs, struct job *job, uint64_t now_us);

/* job_owner.c */
kvp_status owner_write(struct kvp_jobs *jobs, uint64_t job, kvp_slice owner);
kvp_status owner_remove(struct kvp_jobs *jobs, const struct job *job);
/* The job that was started under a key of this owner; NULL: none that is still there. */
kvp_status key_find_holder(struct kvp_jobs *jobs, const char *name, kvp_slice owner,
                           uint64_t now_us, struct job **holder);
/* The same for the key of a job: its own owner's. */
kvp_status key_find_rival(struct kvp_jobs *jobs, const struct job *job, uint64_t now_us,
                          struct job **holder);
kvp_status key_claim(struct kvp_jobs *jobs, const struct job *job);
kvp_status key_release(struct kvp_jobs *jobs, const struct job *job);

/* job_dead.c */
/* The record of the task says that it has failed: that is the job's end, or the others go on. */
kvp_status task_give_up(struct kvp_jobs *jobs, struct job *job, uint32_t number, const char *reason,
                        uint64_t now_us);
/* The first of job->too_large fails. */
kvp_status task_fail_large(struct kvp_jobs *jobs, struct job *job, uint64_t now_us);
/* All is done that can be. */
bool job_has_done_all(const struct job *job);
kvp_status job_end_all(struct kvp_jobs *jobs, struct job *job, uint64_t now_us);
/* The first task from `from` on that has failed; else the number of tasks, or where *looks were
 * used up. */
uint32_t job_next_dead(const struct job *job, uint32_t from, uint32_t *looks);
kvp_status job_retry(struct kvp_jobs *jobs, struct job *job, const struct kvp_request *request,
                     uint64_t now_us, struct job_answer *answer);

/* job_share.c */
struct share {
    struct job **heap; /* `left` jobs, the next one first; behind them those that were looked at */
    uint32_t left, count;
};
/* It may have something to hand out. */
void share_join(struct kvp_jobs *jobs, struct job *job);
void share_leave(struct kvp_jobs *jobs, struct job *job);
/* All jobs that hand out, one after the other. */
void share_begin(struct kvp_jobs *jobs, uint64_t now_us, struct share *share);
struct job *share_next(struct share *share);
void share_charge(struct kvp_jobs *jobs, const struct share *share, struct attempt *attempt);
/* It has ended: what it took is known. */
void share_settle(struct attempt *attempt, uint64_t now_us);

/* job_fault.c */
enum fault {
    FAULT_LOST,    /* the worker fell silent, or was started anew */
    FAULT_OVERDUE, /* the deadline is over */
    FAULT_FAILED,  /* the worker says so, or posted what cannot be a result */
};
/* The attempt came to nothing and is counted: the task goes to the head of the queue (a failed one
 * after a back-off), or fails. */
kvp_status attempt_lost(struct kvp_jobs *jobs, struct worker *worker, struct attempt *attempt,
                        enum fault how, const char *reason, uint64_t now_us);
bool task_failed_by(const struct task *task, const struct worker *worker);
/* The worker has failed the task, and another could do it. *budget bounds the work of several
 * calls; when it is used up, the answer is true. */
bool task_kept_from(const struct kvp_jobs *jobs, const struct job *job, uint32_t number,
                    const struct worker *worker, uint64_t now_us, uint32_t *budget);
kvp_status task_faults_load(struct task *task, const struct faults_record *record);
kvp_status faults_read(struct kvp_jobs *jobs, const struct job *job, uint32_t number,
                       struct faults_record *record);
void task_faults_drop(struct task *task);
/* Of all its tasks. */
void job_faults_free(struct job *job);
/* The task is done: who failed it, and who did it. */
kvp_status faults_settle(struct kvp_jobs *jobs, struct task *task,
                         const struct task_record *record);
/* The worker is not suspected any more: it can do something. */
void worker_cleared(struct worker *worker);
/* A result of the worker was right. */
kvp_status standing_earn(struct kvp_jobs *jobs, struct worker *worker);
bool standing_barred(const struct worker *worker);
/* WORKER_BARRED, and why. */
kvp_status standing_refuse(const struct worker *worker, struct job_answer *answer);
/* It joins: whoever was barred for its failures gets another chance. */
kvp_status standing_pardon(struct kvp_jobs *jobs, struct worker *worker);
bool worker_on_probation(const struct worker *worker);
bool worker_may_begin(const struct worker *worker, uint64_t now_us);
/* It gave a task back, or dropped it. */
void worker_returned(struct kvp_jobs *jobs, struct worker *worker, uint64_t now_us);
/* Tasks and workers that have rested. */
void job_check_rests(struct kvp_jobs *jobs, uint64_t now_us);
uint64_t job_rests_due_us(const struct kvp_jobs *jobs);

/* job_submit.c */
kvp_status job_submit(struct kvp_jobs *jobs, const struct kvp_request *request, uint64_t seq,
                      uint64_t now_us, struct job_answer *answer);
/* The job is over; its attempts end. */
kvp_status job_end(struct kvp_jobs *jobs, struct job *job, enum job_state state, const char *reason,
                   uint64_t now_us);

/* job_worker.c */
kvp_status job_worker_op(struct kvp_jobs *jobs, const struct kvp_request *request, uint64_t seq,
                         uint64_t now_us, struct job_answer *answer);
bool worker_silent(const struct worker *worker, uint64_t now_us);
bool worker_gone(const struct worker *worker, uint64_t now_us); /* silent, barred, or has left */
bool worker_has_kind(const struct worker *worker, const char *kind);

/* job_standby.c */
/* A standby becomes active where one is needed and fit. *did: something was written; call again. */
kvp_status job_check_workers(struct kvp_jobs *jobs, uint64_t now_us, bool *did);

/* job_vote.c */
uint32_t task_disagreements(const struct job *job, const struct task_record *record);
kvp_status job_post(struct kvp_jobs *jobs, const struct kvp_request *request, uint64_t now_us,
                    struct job_answer *answer);

/* job_finish.c */
kvp_status job_finish_step(struct kvp_jobs *jobs, uint64_t now_us, bool *did, bool *more);
/* Begins to delete all that there is of a job. */
kvp_status job_remove(struct kvp_jobs *jobs, struct job *job);
/* When the next job may begin or is to be removed; those whose time has come are noted. */
uint64_t job_check_times(struct kvp_jobs *jobs, uint64_t now_us);
/* job_sum.c: some parts of a block of the product are added, or deleted. */
kvp_status job_step_sum(struct kvp_jobs *jobs, struct job *job, uint64_t now_us);
/* job_verify.c: is the memory that the verification will take allowed? False: `reason` says what
 * is. */
bool job_verify_fits(const struct kvp_jobs *jobs, const struct kvp_job_spec *spec, char *reason,
                     size_t size);
/* Some of the verification. *did: the job has ended. */
kvp_status job_step_verify(struct kvp_jobs *jobs, struct job *job, uint64_t now_us, bool *did);
/* job_recheck.c: some of recomputing a product. *did: the job has ended. */
kvp_status job_step_recompute(struct kvp_jobs *jobs, struct job *job, uint64_t now_us, bool *did);
/* A task is done: who waits for it, what can be summed up. */
void job_note_done(struct kvp_jobs *jobs, struct job *job, uint32_t number, uint32_t size);
/* The raw key of a block of the product, or of a task's result. KVP_NOT_FOUND: not there yet. */
kvp_status job_result_key(struct kvp_jobs *jobs, struct job *job, uint32_t number,
                          struct kvp_raw_key *key);

/* job_info.c */
kvp_status job_info(struct kvp_jobs *jobs, const struct kvp_request *request, uint64_t now_us,
                    struct job_answer *answer);

#endif
