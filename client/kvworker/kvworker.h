/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of kvworker share. */
#ifndef KVWORKER_H
#define KVWORKER_H

#include "kvstore/base/tls_names.h"
#include "kvpair/kvp_jobs.h"
#include "kvpair/job_spec.h"
#include "kvstore/base/logger.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/types.h>

#define KVWORKER_SLOTS_MAX  64u
#define KVWORKER_MARK_SIZE  96u
#define KVWORKER_REASON_MAX 200u /* bytes: what a node keeps of why a task failed */

/* Exit statuses: a contract with who starts it. */
enum {
    KVWORKER_DONE = 0,
    KVWORKER_FAILED = 1,
    KVWORKER_USAGE = 2,
    KVWORKER_REPLACED = 3, /* another worker of this name has joined */
    KVWORKER_BARRED = 4,   /* its results lost too many votes, or it failed what others did */
};

enum kvworker_blas { /* who multiplies floats? */
                     KVWORKER_BLAS_AUTO,
                     KVWORKER_BLAS_ALWAYS, /* if there is one */
                     KVWORKER_BLAS_NEVER,
};

struct kvworker_handler {
    const char *kind, *command;
};

struct kvworker_options {
    const char *nodes, *group;
    struct kvp_tls_names tls;
    char name[KVP_NAME_SIZE_MAX + 1];
    bool standby, matmul, once;
    enum kvworker_blas blas;
    uint64_t buffer;
    unsigned parallel;
    uint32_t handler_timeout_ms; /* 0: none */
    uint32_t idle_exit_ms;       /* 0: never */
    enum kvp_log_level log_level;
    unsigned handler_count;
    struct kvworker_handler handlers[KVP_JOB_KINDS_MAX];
    /* Broken on purpose. */
    uint64_t crash_after, hang_after; /* the task with this number, from 1; 0: none */
    double corrupt_rate;
    uint32_t slow_ms;
};

struct kvworker;

/* A place for one task at a time, with a thread of its own. */
struct kvworker_slot {
    struct kvworker *worker;
    uint32_t number;
    pthread_t thread;
    int wake; /* an eventfd: readable when the task is to be dropped */
    kvp_task task;
    kvp_worker held_by;        /* of `task`: the worker may have joined again since */
    _Atomic uint32_t progress; /* thousandths */
    _Atomic pid_t handler;     /* its process group; 0: none */
    /* Under the worker's lock. */
    bool busy;
    bool unwanted; /* nobody waits for the result any more */
    uint64_t beat_due_us;
    uint64_t deadline_us; /* the slot's own: set when the task begins */
};

/* Blocks of matrices that tasks need, the last ones used. */
struct kvworker_blocks {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct kvworker_block *first; /* the last one used */
    size_t size;                  /* bytes of all */
};

struct kvworker {
    struct kvworker_options options;
    struct kvworker_blocks blocks;
    struct kvp_logger logger;
    kvp_client *client;
    struct kvworker_slot slots[KVWORKER_SLOTS_MAX];
    unsigned slot_count; /* started */
    pthread_mutex_t lock;
    pthread_cond_t changed;        /* what beats have to know */
    pthread_mutex_t joining;       /* held by who joins again */
    kvp_worker self;               /* under lock */
    bool unreachable;              /* under lock: said so */
    char mark[KVWORKER_MARK_SIZE]; /* of its handlers */
    bool ended;                    /* under lock: no slot runs any more */
    uint64_t idle_since_us;        /* under lock */
    _Atomic uint64_t tasks;        /* fetched so far */
    _Atomic bool stopping;         /* nothing new is begun */
    _Atomic int status;            /* to exit with */
    uint64_t feed_us;              /* so often the supervisor's watchdog is fed; 0: never */
    _Atomic uint64_t feed_due_us;
};

/* ---- kvworker_run.c: fetching, beating, posting ---- */

/* Works until it is told to end; returns the exit status. */
int kvworker_run(struct kvworker *worker);
/* No new tasks; those under way are given back. Any thread. The first call decides the status. */
void kvworker_stop(struct kvworker *worker, int status);

/* ---- kvworker_pause.c ---- */

/* Waits, if need be; false: the slot's task is to be dropped, or its deadline is over. */
bool kvworker_pause(struct kvworker_slot *slot, uint32_t ms);
/* Until the deadline of the slot's task; 0: it is over. */
uint32_t kvworker_left_ms(const struct kvworker_slot *slot);

/* ---- kvworker_task.c: one task ---- */

struct kvworker_result {
    unsigned outcome; /* enum kvp_task_outcome */
    kvp_buf bytes;    /* the result, or why there is none */
};

/* Works on the slot's task. False: it was interrupted and there is no result. */
bool kvworker_task_run(struct kvworker_slot *slot, struct kvworker_result *result);

/* ---- kvworker_matmul.c: the built-in kind ---- */

/* C = A*B of a payload [header, A, B]. False: `slot` (may be NULL) was interrupted. */
bool kvworker_matmul_blocks(kvp_slice header, kvp_slice a, kvp_slice b, enum kvworker_blas blas,
                            struct kvworker_slot *slot, struct kvworker_result *result);
bool kvworker_matmul(kvp_slice payload, enum kvworker_blas blas, struct kvworker_slot *slot,
                     struct kvworker_result *result);

/* ---- kvworker_blocks.c: blocks of matrices that are kept ---- */

struct kvworker_block {
    struct kvworker_block *next;
    uint64_t job;
    uint32_t number;
    unsigned users; /* it stays as long as there are some */
    bool loading;
    kvp_status status;
    kvp_buf elements;
};

void kvworker_blocks_init(struct kvworker_blocks *blocks);
void kvworker_blocks_free(struct kvworker_blocks *blocks);
/* A block, from memory or from a node; to be given back, whatever its status is. NULL: no memory.
 */
struct kvworker_block *kvworker_block_take(struct kvworker *worker, uint64_t job, uint32_t number);
void kvworker_block_give_back(struct kvworker *worker, struct kvworker_block *block);

/* ---- kvworker_handler.c: local programs ---- */

struct kvworker_order {
    const char *command;          /* for /bin/sh -c, in a process group of its own */
    kvp_slice input;              /* its standard input; it need not read it */
    const char *const *variables; /* "NAME=value", NULL at the end: added to our environment */
    size_t output_max;            /* bytes of its standard output */
    uint32_t timeout_ms;          /* 0: none */
    bool deadline;                /* the timeout is the task's deadline */
    int cancel;                   /* a descriptor: readable when it is to be killed; -1: none */
    _Atomic pid_t *group;         /* may be NULL: its process group while it lives */
};

enum kvworker_ending {
    KVWORKER_HANDLER_DONE,   /* exit status 0: `output` is the result */
    KVWORKER_HANDLER_FAILED, /* `reason` says why */
    KVWORKER_HANDLER_CANCELLED,
};

/* Runs it and waits. `output` is appended to; `reason` holds KVWORKER_REASON_MAX + 1 bytes. SIGPIPE
 * has to be ignored. */
enum kvworker_ending kvworker_handler_run(const struct kvworker_order *order, kvp_buf *output,
                                          char *reason);

/* ---- kvworker_orphans.c: what workers that were killed have left ---- */

/* "NAME=value" for the environment of handlers: whose they are. */
void kvworker_mark(char *mark, size_t size);
/* Ends the handlers of workers that are gone; how many processes that were. */
unsigned kvworker_end_orphans(void);

/* ---- kvworker_options.c ---- */

/* -1: go on; else the exit status: everything has been said. Strings point into argv. */
int kvworker_parse(int argc, char **argv, struct kvworker_options *options);

#endif
