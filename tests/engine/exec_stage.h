/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A stage: an executor alone in its group, hosted by the test. Time passes and the disk writes when
 * the test says so, and memory runs out where it says so: malloc() and its like are replaced by the
 * linker (--wrap).
 */
#ifndef KVP_TEST_EXEC_STAGE_H
#define KVP_TEST_EXEC_STAGE_H

#include "tests/engine/engine_support.h"

#include "replication/node/executor.h"

struct reply {
    bool done;
    int status;
    kvp_buf result;
};

struct stage {
    struct kvp_env *env;
    struct kvp_disk disk;
    struct kvp_disk_job *first, *last;
    struct kvp_executor *executor;
    uint64_t now_us;
};

extern long allocations_left; /* -1: no end */

void stage_disk_step(struct stage *stage);
void stage_disk_all(struct stage *stage);

/* Runs the disk's jobs, and those that follow from them: what is committed waits a little before it
 * is applied. */
void stage_disk(struct stage *stage);
void stage_pass(struct stage *stage, uint64_t time_us);
void stage_start(struct stage *stage);
void stage_open(struct stage *stage);
void stage_close(struct stage *stage);
void reply_free(struct reply *reply);

/* Without the flush that ends a batch of events. */
void hand_in(struct stage *stage, const struct kvp_request *request, struct reply *reply,
             long limit);
void stage_send(struct stage *stage, const struct kvp_request *request, struct reply *reply);

/* A request that is answered at once, with that status. */
void check_now(struct stage *stage, struct kvp_request request, int status);

/* Updates that are answered when the disk has them. */
void must_put(struct stage *stage, const char *key, const char *value);
struct kvp_request ask_get(const char *key, bool stale);
struct kvp_request ask_scan(const char *from, const char *to, uint32_t count);

#endif
