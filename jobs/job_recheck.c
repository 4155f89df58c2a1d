/* SPDX-License-Identifier: Apache-2.0 */
/* Verification by computing the product again, one product of two blocks a step. */
#include "jobs/job_state.h"
#include "jobs/matrix.h"

#include <stdio.h>

static kvp_status read_block(struct kvp_jobs *jobs, const struct kvp_raw_key *key, kvp_buf *to)
{
    to->size = 0;
    kvp_status status = job_get(jobs, key, to);
    return status == KVP_NOT_FOUND ? KVP_CORRUPT : status;
}

static kvp_status feed(struct kvp_jobs *jobs, struct job *job, const struct kvp_job_tile *tile)
{
    struct kvp_raw_key key;
    job_key_part(&key, JOB_KEY_PAYLOAD, job->id, tile->a);
    kvp_status status = read_block(jobs, &key, &jobs->other);
    if (status == KVP_OK) {
        job_key_part(&key, JOB_KEY_PAYLOAD, job->id, tile->b);
        status = read_block(jobs, &key, &jobs->value);
    }
    return status == KVP_OK ? kvp_recheck_feed(job->recheck, tile->inner,
                                               kvp_buf_slice(&jobs->other),
                                               kvp_buf_slice(&jobs->value))
                            : status;
}

static kvp_status compare(struct kvp_jobs *jobs, struct job *job, const struct kvp_job_tile *tile,
                          uint64_t now_us, bool *did)
{
    struct kvp_raw_key key;
    uint64_t row = 0, column = 0;
    kvp_status status = job_result_key(jobs, job, tile->output, &key);
    if (status == KVP_OK) {
        status = read_block(jobs, &key, &jobs->other);
    }
    if (status != KVP_OK) {
        return status == KVP_NOT_FOUND ? KVP_CORRUPT : status;
    }
    status = kvp_recheck_finish(job->recheck, kvp_buf_slice(&jobs->other), &row, &column);
    kvp_recheck_free(job->recheck);
    job->recheck = NULL;
    if (status != KVP_CORRUPT) {
        return status;
    }
    char text[JOB_REASON_MAX];
    struct kvp_job_block block = kvp_job_output(&job->record.spec, tile->output);
    (void)snprintf(text, sizeof(text),
                   "verification failed: element (%llu, %llu) of the product is wrong",
                   (unsigned long long)(block.row + row),
                   (unsigned long long)(block.column + column));
    *did = true;
    return job_end(jobs, job, JOB_FAILED, text, now_us);
}

/* Tasks are numbered so that those of one block of the product follow each other. */
kvp_status job_step_recompute(struct kvp_jobs *jobs, struct job *job, uint64_t now_us, bool *did)
{
    const struct kvp_job_spec *spec = &job->record.spec;
    struct kvp_job_tile tile = kvp_job_tile_of(spec, job->verify_next);
    kvp_status status = KVP_OK;
    job->verify_total = job->grid.tasks;
    if (!job->recheck) {
        status = kvp_recheck_new(spec->element, tile.rows, spec->inner, tile.columns, 0,
                                 &job->recheck);
    }
    if (status == KVP_OK) {
        status = feed(jobs, job, &tile);
    }
    if (status != KVP_OK) {
        return status;
    }
    job->verify_next++;
    if (job->verify_next % job->grid.inner_tiles == 0) {
        status = compare(jobs, job, &tile, now_us, did);
    }
    if (status == KVP_OK && !*did && job->verify_next == job->grid.tasks) {
        *did = true;
        status = job_end(jobs, job, JOB_DONE, "", now_us);
    }
    return status;
}
