/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the ledger share: jobs and workers as the committed entries tell of them. */
#ifndef KVP_SIM_LEDGER_H
#define KVP_SIM_LEDGER_H

#include "sim_jobs.h"

struct ledger_task {
    bool known; /* has a record */
    struct task_record record;
    struct faults_record faults;
    kvp_buf results[KVP_JOB_COPIES_MAX];
    bool present[KVP_JOB_COPIES_MAX];
    bool summed; /* of a block's first task: its sum is there */
};

struct ledger_job {
    struct ledger_job *next;
    uint64_t id;
    bool exists, started;
    uint64_t paused_us; /* 0: it is not */
    struct job_record record;
    struct sim_job *job;
    struct ledger_task *tasks;
    uint32_t task_count; /* of `tasks` */
    bool lied;           /* a wrong result was accepted, where one vote is enough */
    bool wrong;          /* and the product is wrong by it: lies may cancel each other out */
};

/* A worker's name. */
struct ledger_worker {
    struct ledger_worker *next;
    char name[KVP_NAME_SIZE_MAX + 1];
    bool exists;
    uint64_t drained_us; /* 0: it is not */
    bool forgotten;      /* was, once: votes from before that are nobody's */
    struct worker_record record;
    struct standing_record standing;
    uint32_t lost;    /* votes, as the tasks' records tell */
    uint32_t outdone; /* tasks that it failed and others did */
};

struct ledger {
    uint64_t next;    /* seq */
    uint64_t *hashes; /* of the entries seen */
    size_t capacity;
    struct ledger_job *jobs;
    struct ledger_worker *workers;
};

void ledger_wrong(struct sim *sim, const struct ledger_job *job, uint32_t task, const char *what);
/* Is it a product whose parts are added up? */
bool ledger_sums(const struct ledger_job *job);
/* The worker of the name; it was added if need be. */
struct ledger_worker *ledger_worker_of(struct sim *sim, const char *name);

/* sim_standing.c: records of workers, of who failed what, and of what that means for them */
void ledger_on_worker(struct sim *sim, kvp_slice name, const struct kvp_batch_op *op);
void ledger_on_standing(struct sim *sim, kvp_slice name, const struct kvp_batch_op *op);
void ledger_on_faults(struct sim *sim, struct ledger_job *job, const struct kvp_batch_op *op,
                      uint32_t task);
/* A task is done: who failed it, and did not do it? */
void ledger_count_outdone(struct sim *sim, const struct ledger_task *task,
                          const struct task_record *record);
/* It has failed, its new record says: have enough attempts at it, or is there no quorum? */
bool ledger_task_spent(const struct sim *sim, const struct ledger_job *job, uint32_t number,
                       const struct task_record *now);
/* A job has failed, it says, by the attempts at one of its tasks. True: so it is. */
bool ledger_attempts_failed(const struct sim *sim, const struct ledger_job *job);
void ledger_check_workers(struct sim *sim);

/* sim_outcome.c */
void ledger_check_state(struct sim *sim, struct ledger_job *job, uint8_t before, uint8_t now);
void ledger_check_age(struct sim *sim, const struct ledger_job *job);

#endif
