/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where the inner dimension is cut, a block of the product is a sum of results. There may be a
 * million of them: some are added in each step, into memory. The sum is written when it is
 * complete, and then the parts are deleted, some in each step, too. A new primary adds up anew what
 * was not written; parts that an earlier one was about to delete go with the job.
 */
#include "replication/jobs/job_state.h"
#include "kvpair/matrix.h"
#include "replication/matrix/matrix_multiply.h"
#include "kvstore/base/mutant.h"

#include <stdio.h>

static uint32_t sum_first_task(const struct job *job)
{
    return job->sum_first * job->grid.inner_tiles;
}

/* Adds the result of the next task to job->sum, or makes it that. */
static kvp_status sum_add_part(struct kvp_jobs *jobs, struct job *job)
{
    struct task_record record;
    struct kvp_raw_key key;
    uint32_t number = sum_first_task(job) + job->sum_next;
    kvp_status status = task_read(jobs, job, number, &record);
    if (status != KVP_OK) {
        return status;
    }
    job_key_result(&key, job->id, number, record.winner);
    bool first = job->sum_next == 0;
    kvp_buf *to = first ? &job->sum : &jobs->value;
    to->size = 0;
    status = job_get(jobs, &key, to);
    if (status == KVP_NOT_FOUND || (status == KVP_OK && !first && to->size != job->sum.size)) {
        return KVP_CORRUPT;
    }
    jobs->work += JOB_KEY_WORK + to->size;
    if (status == KVP_OK && !first) {
        uint8_t element = job->record.spec.element;
        status = kvp_matrix_add(element, job->sum.size / kvp_matrix_element_size(element),
                                job->sum.data, to->data);
    }
    job->sum_next += status == KVP_OK;
    return status;
}

static kvp_status sum_write(struct kvp_jobs *jobs, struct job *job)
{
    struct kvp_raw_key key;
    struct task_record record;
    uint32_t first = sum_first_task(job);
    job_key_part(&key, JOB_KEY_SUM, job->id, job->sum_first);
    kvp_status status = job_put(jobs, &key, kvp_buf_slice(&job->sum));
    if (status == KVP_OK) {
        status = task_read(jobs, job, first, &record);
    }
    if (status == KVP_OK) {
        record.summed = true;
        status = task_write(jobs, job, first, &record);
    }
    if (status == KVP_OK) {
        job->outputs[job->sum_first].summed = true;
        job->summed++;
        job->sum_next = 0;
        kvp_buf_free(&job->sum);
    }
    return status;
}

static kvp_status sum_overflows(struct kvp_jobs *jobs, struct job *job, uint64_t now_us)
{
    char text[JOB_REASON_MAX];
    (void)snprintf(text, sizeof(text), "block %u: a sum does not fit the type of the elements",
                   job->sum_first);
    return job_end(jobs, job, JOB_FAILED, text, now_us);
}

static kvp_status sum_delete_parts(struct kvp_jobs *jobs, struct job *job)
{
    kvp_status status = KVP_OK;
    for (unsigned n = 0; n < JOB_KEYS_AT_ONCE && job->sum_next < job->grid.inner_tiles; n++) {
        struct task_record record;
        struct kvp_raw_key key;
        uint32_t number = sum_first_task(job) + job->sum_next++;
        status = task_read(jobs, job, number, &record);
        if (status == KVP_OK) {
            job_key_result(&key, job->id, number, record.winner);
            status = job_del(jobs, &key);
        }
        if (status != KVP_OK) {
            return status;
        }
        jobs->work += JOB_KEY_WORK;
    }
    return status;
}

static void sum_done(struct kvp_jobs *jobs, struct job *job)
{
    job->sum_first = job->outputs[job->sum_first].next;
    job->sum_last = job->sum_first == JOB_NONE ? JOB_NONE : job->sum_last;
    job->sum_next = 0;
    jobs->at_work = NULL;
}

kvp_status job_step_sum(struct kvp_jobs *jobs, struct job *job, uint64_t now_us)
{
    kvp_status status = KVP_OK;
    jobs->at_work = job;
    if (!job->outputs[job->sum_first].summed) {
        while (status == KVP_OK && job->sum_next < job->grid.inner_tiles &&
               jobs->work < jobs->config.step_work) {
            status = sum_add_part(jobs, job);
        }
        if (status == KVP_OVERFLOW) {
            return sum_overflows(jobs, job, now_us);
        }
        if (status != KVP_OK ||
            (job->sum_next < job->grid.inner_tiles && !KVP_MUTANT(JOB_SUM_SHORT))) {
            return status;
        }
        status = sum_write(jobs, job);
    }
    if (status == KVP_OK) {
        status = sum_delete_parts(jobs, job);
    }
    if (status == KVP_OK && job->sum_next == job->grid.inner_tiles) {
        sum_done(jobs, job);
    }
    return status;
}
