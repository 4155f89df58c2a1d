/* SPDX-License-Identifier: Apache-2.0 */
/* Verification by computing the product again, a part of a product of two blocks in a step. */
#include "replication/jobs/job_state.h"
#include "kvpair/matrix.h"

#include <stdio.h>

static kvp_status read_block(struct kvp_jobs *jobs, const struct kvp_raw_key *key, kvp_buf *to)
{
    to->size = 0;
    kvp_status status = job_get(jobs, key, to);
    return status == KVP_NOT_FOUND ? KVP_CORRUPT : status;
}

/* Columns `from` to `from + count` of a block of A. */
static kvp_status cut_columns(kvp_slice block, uint32_t rows, size_t row_size, size_t from,
                              size_t count, kvp_buf *out)
{
    kvp_status status = KVP_OK;
    for (uint32_t row = 0; row < rows && status == KVP_OK; row++) {
        status = kvp_buf_append(out, (const uint8_t *)block.data + row * row_size + from, count);
    }
    return status;
}

/* Of the tile's inner dimension as much as a step may take. */
static uint32_t part_of(const struct kvp_jobs *jobs, const struct job *job,
                        const struct kvp_job_tile *tile)
{
    uint64_t count = jobs->config.step_work * 2 / ((uint64_t)tile->rows * tile->columns);
    uint64_t left = tile->inner - job->verify_part;
    count = count > 0 ? count : 1;
    return (uint32_t)(count < left ? count : left);
}

static kvp_status feed_part(struct kvp_jobs *jobs, struct job *job, const struct kvp_job_tile *tile,
                            uint32_t count)
{
    size_t size = kvp_matrix_element_size(job->record.spec.element);
    size_t row_size = tile->columns * size;
    kvp_buf columns = {0};
    kvp_status status = cut_columns(kvp_buf_slice(&jobs->other), tile->rows, tile->inner * size,
                                    job->verify_part * size, count * size, &columns);
    if (status == KVP_OK) {
        kvp_slice rows =
            kvp_slice_of(jobs->value.data + job->verify_part * row_size, count * row_size);
        status = kvp_recheck_feed(job->recheck, count, kvp_buf_slice(&columns), rows);
    }
    kvp_buf_free(&columns);
    return status;
}

static kvp_status recheck_feed(struct kvp_jobs *jobs, struct job *job,
                               const struct kvp_job_tile *tile)
{
    struct kvp_raw_key key;
    size_t size = kvp_matrix_element_size(job->record.spec.element);
    uint32_t count = part_of(jobs, job, tile);
    job_key_part(&key, JOB_KEY_PAYLOAD, job->id, tile->a);
    kvp_status status = read_block(jobs, &key, &jobs->other);
    if (status == KVP_OK) {
        job_key_part(&key, JOB_KEY_PAYLOAD, job->id, tile->b);
        status = read_block(jobs, &key, &jobs->value);
    }
    if (status == KVP_OK && (jobs->other.size != (size_t)tile->rows * tile->inner * size ||
                             jobs->value.size != (size_t)tile->inner * tile->columns * size)) {
        status = KVP_CORRUPT;
    }
    if (status == KVP_OK) {
        status = feed_part(jobs, job, tile, count);
    }
    if (status == KVP_OK) {
        jobs->work += (uint64_t)tile->rows * count * tile->columns + jobs->other.size;
        job->verify_part += count;
    }
    return status;
}

static kvp_status recheck_compare(struct kvp_jobs *jobs, struct job *job,
                                  const struct kvp_job_tile *tile, uint64_t now_us, bool *did)
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
    (void)snprintf(
        text, sizeof(text), "verification failed: element (%llu, %llu) of the product is wrong",
        (unsigned long long)(block.row + row), (unsigned long long)(block.column + column));
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
    if (job->recheck == NULL) {
        status =
            kvp_recheck_new(spec->element, tile.rows, spec->inner, tile.columns, 0, &job->recheck);
    }
    if (status == KVP_OK) {
        status = recheck_feed(jobs, job, &tile);
    }
    if (status != KVP_OK) {
        return status;
    }
    if (job->verify_part < tile.inner) {
        return KVP_OK;
    }
    job->verify_part = 0;
    job->verify_next++;
    if (job->verify_next % job->grid.inner_tiles == 0) {
        status = recheck_compare(jobs, job, &tile, now_us, did);
    }
    if (status == KVP_OK && !*did && job->verify_next == job->grid.tasks) {
        *did = true;
        status = job_end(jobs, job, JOB_DONE, "", now_us);
    }
    return status;
}
