/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of the job engine share: a farm is an engine over a storage in memory with a clock
 * of its own, and short forms for what submitters and workers do. */
#ifndef FARM_H
#define FARM_H

#include "tests/engine/engine_support.h"

#include "kvpair/job_spec.h"
#include "kvpair/matrix.h"

struct farm {
    struct bench bench;
    uint64_t now_us;
    uint64_t fetches; /* numbers of fetches */
    uint64_t starts;  /* primaries that there were */
    void (*before_step)(void *arg);
    void (*after_step)(void *arg, size_t wrote);
    void *step_arg;
    uint64_t sessions;  /* numbers of requests with a session */
    unsigned steps_max; /* done by itself after each request; 0: all that are due */
};

struct hand { /* a worker */
    const char *name;
    uint64_t instance;
    uint32_t slot;
};

void farm_open(struct farm *farm);
void farm_close(struct farm *farm);
/* Everything is applied, and another primary takes over: it has only what is in the store. */
void farm_failover(struct farm *farm);
/* The same, with this record in the store, as another version or damage may have left it. What the
 * new primary's engine says to it. */
int farm_load_with(struct farm *farm, const struct kvp_raw_key *key, const kvp_buf *record);
/* `before` and `after` (NULL: nobody) are called around each step that is done by itself; `wrote`:
 * bytes. */
void farm_watch(struct farm *farm, void (*before)(void *arg),
                void (*after)(void *arg, size_t wrote), void *arg);
/* Does what is due now. */
void farm_work(struct farm *farm);
/* Lets time pass, doing what is due on the way. */
void farm_wait(struct farm *farm, uint32_t ms);

/* Executes a request; the answer's code. `answer` (may be NULL) gets the result; to be freed. */
int farm_ask(struct farm *farm, const struct kvp_request *request, kvp_buf *answer);

/* Jobs: their ids. */
uint64_t farm_new(struct farm *farm, const struct kvp_job_spec *spec);
/* Adds a task that waits for `after` (may be NULL), a list that ends with -1. The answer's code. */
int farm_add(struct farm *farm, uint64_t job, uint32_t number, const char *kind,
             const char *payload, const int *after, bool feed);
int farm_start(struct farm *farm, uint64_t job);
int farm_cancel(struct farm *farm, uint64_t job);
/* A started job of `count` tasks of the kind "count", with payloads "0", "1", ... */
uint64_t farm_job(struct farm *farm, const struct kvp_job_spec *spec, unsigned count);
/* A started product of two matrices. */
uint64_t farm_product(struct farm *farm, const struct kvp_job_spec *spec,
                      const struct kvp_matrix *a, const struct kvp_matrix *b);
int farm_block(struct farm *farm, uint64_t job, uint32_t block, kvp_slice bytes);
int farm_result(struct farm *farm, uint64_t job, uint32_t number, kvp_buf *bytes);
/* A field of JOB_INFO: numbers as they are, texts in a buffer that lives until the next call. */
uint64_t farm_number(struct farm *farm, uint64_t job, const char *key);
const char *farm_text(struct farm *farm, uint64_t job, const char *key);
uint64_t farm_worker_number(struct farm *farm, const char *worker, const char *key);
const char *farm_worker_text(struct farm *farm, const char *worker, const char *key);

/* Workers. */
struct hand farm_join(struct farm *farm, const char *name, const char *kind, bool standby);
struct hand farm_join_sized(struct farm *farm, const char *name, const char *kind, bool standby,
                            uint64_t buffer);
int farm_leave(struct farm *farm, const struct hand *hand);
/* A task for the worker: the answer's code. The grant's slices live until the next fetch. */
int farm_fetch(struct farm *farm, const struct hand *hand, struct kvp_task_grant *grant);
int farm_fetch_again(struct farm *farm, const struct hand *hand, struct kvp_task_grant *grant);
/* *go_on (may be NULL) is what the answer says. */
int farm_beat(struct farm *farm, const struct hand *hand, const struct kvp_task_grant *grant,
              bool *go_on);
int farm_checkpoint(struct farm *farm, const struct hand *hand, const struct kvp_task_grant *grant,
                    const char *checkpoint);
int farm_post(struct farm *farm, const struct hand *hand, const struct kvp_task_grant *grant,
              const char *result);
int farm_post_bytes(struct farm *farm, const struct hand *hand, const struct kvp_task_grant *grant,
                    unsigned outcome, kvp_slice bytes, bool *counted);
/* Computes the tile of a matrix task and posts it. */
int farm_multiply(struct farm *farm, const struct hand *hand, const struct kvp_task_grant *grant);

struct kvp_job_spec mode_of(const char *mode);

#endif
