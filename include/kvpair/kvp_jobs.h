/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Jobs: sets of tasks that workers come and fetch. Everything about them is in the replicated
 * store: a failover loses no job, no task and no result that was accepted.
 *
 * A job is made (kvp_job_new), filled (kvp_job_put_block or kvp_job_add_tasks), started, and ends
 * by itself; its results stay until it is removed, at the end of the time that its specification
 * says. A worker joins under a name of its own, and then in a loop fetches a task, beats while it
 * works on it, and posts the result.
 *
 * All functions are thread-safe and wait for the answer, at most for the handle's timeout, and a
 * second more for each 128 KiB that a call carries. `result` (may be NULL) is as in kvp_client.h:
 * errors have a reason in result->value. Every update runs at most once; fetching, beating and
 * looking may be repeated freely.
 */
#ifndef KVP_JOBS_H
#define KVP_JOBS_H

#include "job_codes.h"
#include "kvp_client.h"

#ifdef __cplusplus
extern "C" {
#endif

struct kvp_job_spec; /* job_spec.h: kvp_job_spec_init() first */
struct kvp_matrix;   /* matrix.h */

/* ---- submitting ---- */

/* Makes an empty job; *job is its id. KVP_BAD_REQUEST, KVP_TOO_LARGE, KVP_BUSY (too many jobs).
 * With a key in `spec`: result->counted is false where a job of this key was started already; *job
 * is that one, and there is nothing to fill or to start. */
KVP_API kvp_status kvp_job_new(kvp_client *client, const struct kvp_job_spec *spec, uint64_t *job,
                               kvp_result *result);
/* Puts an input block of a matrix job (job_spec.h tells their numbers and sizes): its elements by
 * rows, little-endian. KVP_BAD_REQUEST: the wrong size, NaN or infinite elements; KVP_NO_SUCH_JOB;
 * KVP_JOB_STATE: started already. */
KVP_API kvp_status kvp_job_put_block(kvp_client *client, uint64_t job, uint32_t block,
                                     kvp_slice elements, kvp_result *result);
/* Adds tasks: `tasks` is an array as kvp_job_tasks_open() and kvp_job_tasks_put() make it, `first`
 * the number that its first one gets: that of the tasks added before. They may wait only for tasks
 * with lower numbers. */
KVP_API kvp_status kvp_job_add_tasks(kvp_client *client, uint64_t job, uint32_t first,
                                     kvp_slice tasks, kvp_result *result);
/* Lets workers have it. KVP_JOB_STATE: input blocks are missing, or it has no task. With a key:
 * result->version is the id of the job that has it. If that is another one, this one is removed. */
KVP_API kvp_status kvp_job_start(kvp_client *client, uint64_t job, kvp_result *result);
/* Takes its tasks away from the workers. KVP_JOB_STATE: it has ended. */
KVP_API kvp_status kvp_job_cancel(kvp_client *client, uint64_t job, kvp_result *result);
/* Removes a job that has ended, before its time. KVP_JOB_STATE: it has not. */
KVP_API kvp_status kvp_job_remove(kvp_client *client, uint64_t job, kvp_result *result);

/* The tasks `first` to `first` + `count` - 1 that have failed are open again, and the job runs.
 * *retried (may be NULL): how many. KVP_JOB_STATE: none of them has failed. */
KVP_API kvp_status kvp_job_retry(kvp_client *client, uint64_t job, uint32_t first, uint32_t count,
                                 uint32_t *retried, kvp_result *result);
/* `setting`: enum kvp_job_setting. KVP_BAD_REQUEST, KVP_JOB_STATE: it has ended. */
KVP_API kvp_status kvp_job_set(kvp_client *client, uint64_t job, unsigned setting, uint64_t value,
                               kvp_result *result);

/* All of that for a product of matrices: sets element, rows, inner and columns of `spec` from A and
 * B (of the same type), chooses the tiles, makes the job, uploads, starts. `buffer`: bytes that a
 * task and its result may take; 0: 2 MiB. `progress` (may be NULL) is called on this thread with
 * bytes that have arrived and bytes in all. A job that cannot be uploaded is cancelled.
 * KVP_BAD_REQUEST: A and B do not fit together; KVP_TOO_LARGE: there would be too many tasks. */
KVP_API kvp_status kvp_job_submit_matmul(kvp_client *client, struct kvp_job_spec *spec,
                                         const struct kvp_matrix *a, const struct kvp_matrix *b,
                                         size_t buffer, uint64_t *job,
                                         void (*progress)(void *arg, uint64_t sent, uint64_t all),
                                         void *arg, kvp_result *result);

/* ---- looking ---- */

/* JSON text in result->value. `what`: enum kvp_job_info; an array of objects, or one object
 * (KVP_INFO_JOB). `from`: jobs: the smallest id, tasks: the first number; *more (may be NULL) is
 * where to go on, 0 at the end. */
KVP_API kvp_status kvp_job_info(kvp_client *client, unsigned what, uint64_t job, uint64_t from,
                                uint64_t *more, kvp_result *result);
/* The result of a task, or the block of a product, in result->value. KVP_JOB_STATE: not there yet.
 */
KVP_API kvp_status kvp_job_result(kvp_client *client, uint64_t job, uint32_t number,
                                  kvp_result *result);
/* An input block of a matrix job, in result->value: for workers that are given their numbers. */
KVP_API kvp_status kvp_job_block(kvp_client *client, uint64_t job, uint32_t number,
                                 kvp_result *result);
/* The whole product of a matrix job that is done; `spec` as it was submitted (kvp_job_info has all
 * of it). *product is to be freed with kvp_matrix_free(); on failure it is empty. KVP_JOB_STATE:
 * not done; KVP_CORRUPT: it has blocks of other sizes than `spec` says; KVP_NO_MEMORY. */
KVP_API kvp_status kvp_job_product(kvp_client *client, uint64_t job,
                                   const struct kvp_job_spec *spec, struct kvp_matrix *product,
                                   kvp_result *result);

/* ---- workers ---- */

typedef struct kvp_worker {
    char name[KVP_NAME_SIZE_MAX + 1];
    uint64_t instance; /* of this life of the worker: given by join */
    uint64_t reserved[4];
} kvp_worker;

/* Joins; name is set by the caller. `kinds`: of tasks that it can do. `buffer`: bytes of a task and
 * its result that it can hold. `standby`: it gets tasks only while too few others are active. Who
 * joined under the name before is out, and its tasks are given to others. KVP_BAD_ARGUMENT;
 * KVP_BUSY: too many workers. */
KVP_API kvp_status kvp_worker_join(kvp_client *client, kvp_worker *worker, const char *const *kinds,
                                   unsigned kind_count, uint64_t buffer, bool standby,
                                   kvp_result *result);
KVP_API kvp_status kvp_worker_leave(kvp_client *client, const kvp_worker *worker,
                                    kvp_result *result);

/* Says of a worker, whoever it is: `setting` is of enum kvp_worker_setting. KVP_NOT_FOUND: there is
 * none of this name. */
KVP_API kvp_status kvp_worker_set(kvp_client *client, const char *name, unsigned setting,
                                  uint64_t value, kvp_result *result);

/* A task; slices point into `owner`, which kvp_task_free() frees. */
typedef struct kvp_task {
    uint64_t job, attempt;
    uint32_t number;
    uint32_t beat_ms;     /* beat at least so often */
    uint32_t deadline_ms; /* it will be taken away then */
    kvp_slice kind, payload, checkpoint;
    kvp_buf owner;
    uint64_t reserved[4];
} kvp_task;

/* Waits up to wait_ms for a task. `slot`: a worker with several tasks at a time numbers its places
 * from 0, and has one fetch or task in each. A fetch that came to nothing is repeated with the same
 * slot and client: if the slot was given a task that did not arrive, it gets that one. Fetching
 * while the slot has a task gives that task up. KVP_NO_TASK; KVP_WORKER_UNKNOWN: join again;
 * KVP_WORKER_REPLACED, KVP_WORKER_BARRED: end. KVP_CORRUPT: the payload arrived damaged; fetch
 * again. */
KVP_API kvp_status kvp_task_fetch(kvp_client *client, const kvp_worker *worker, uint32_t slot,
                                  uint32_t wait_ms, kvp_task *task, kvp_result *result);
KVP_API void kvp_task_free(kvp_task *task);
/* Says that it is being worked on, `progress` thousandths done. `checkpoint` (may be NULL) is given
 * to who gets the task next, should this worker be lost; not where results are compared (a quorum
 * above 1), since they would not be independent. *go_on false: nobody wants the result any more, or
 * the task was taken away, for its deadline or a silence: stop. It is set with KVP_OK only;
 * KVP_NOT_HELD, KVP_NO_SUCH_JOB and KVP_WORKER_UNKNOWN say the same. */
KVP_API kvp_status kvp_task_beat(kvp_client *client, const kvp_worker *worker, const kvp_task *task,
                                 uint32_t progress, const kvp_slice *checkpoint, bool *go_on,
                                 kvp_result *result);
/* Ends the attempt; outcome: enum kvp_task_outcome. KVP_OK: the result is safe; result->counted is
 * false if the task was done already and did not need it. Other codes say what was wrong with it;
 * KVP_NO_SUCH_JOB, KVP_JOB_STATE: the job is over. */
KVP_API kvp_status kvp_task_post(kvp_client *client, const kvp_worker *worker, const kvp_task *task,
                                 unsigned outcome, kvp_slice bytes, kvp_result *result);

#ifdef __cplusplus
}
#endif

#endif
