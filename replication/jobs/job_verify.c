/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Verification of a whole product. Its memory follows from numbers that the submitter chose, so it
 * is computed beforehand, when the job is made and again when it begins: more than the bound, or
 * than the system has, fails the job and never the node. A step feeds a part of a block.
 */
#include "replication/jobs/job_state.h"
#include "kvpair/matrix.h"
#include "kvstore/base/mutant.h"

#include <stdio.h>

/* ---- memory ---- */

static struct kvp_verify_config verify_config(const struct kvp_job_spec *spec, uint64_t seed)
{
    return (struct kvp_verify_config){
        .type = spec->element,
        .rows = spec->rows,
        .inner = spec->inner,
        .columns = spec->columns,
        .rounds = spec->rounds,
        .seed = seed,
    };
}

bool job_verify_fits(const struct kvp_jobs *jobs, const struct kvp_job_spec *spec, char *reason,
                     size_t size)
{
    struct kvp_verify_config config = verify_config(spec, 0);
    uint64_t needed = 0, most = jobs->config.verify_size_max;
    if (spec->type != KVP_JOB_MATMUL || spec->verify != KVP_VERIFY_FREIVALDS) {
        return true;
    }
    kvp_status status = kvp_verify_memory(&config, &needed);
    if (status == KVP_OK && (needed <= most || KVP_MUTANT(JOB_VERIFY_ANY))) {
        return true;
    }
    if (status != KVP_OK) {
        (void)snprintf(reason, size, "the product cannot be verified: %s", kvp_strerror(status));
    } else {
        (void)snprintf(reason, size,
                       "its verification would take %llu MiB of memory, and the nodes allow %llu: "
                       "choose fewer rounds, or another verification",
                       (unsigned long long)((needed >> 20) + 1), (unsigned long long)(most >> 20));
    }
    return false;
}

static kvp_status verify_fail(struct kvp_jobs *jobs, struct job *job, const char *reason,
                              uint64_t now_us, bool *did)
{
    *did = true;
    return job_end(jobs, job, JOB_FAILED, reason, now_us);
}

/* ---- Freivalds' check ---- */

/* *ended: it does not begin, and the job has failed. */
static kvp_status verify_begin(struct kvp_jobs *jobs, struct job *job, uint64_t now_us, bool *ended)
{
    char reason[JOB_REASON_MAX];
    struct kvp_verify_config config = verify_config(&job->record.spec, jobs->random ^ job->id);
    if (!job_verify_fits(jobs, &job->record.spec, reason, sizeof(reason))) {
        return verify_fail(jobs, job, reason, now_us, ended);
    }
    job->verify_total = job->grid.inputs + job->grid.outputs;
    job->verify_next = job->grid.row_tiles * job->grid.inner_tiles; /* B, then C, then A */
    job->verify_part = 0;
    return kvp_verify_new(&config, &job->verify);
}

typedef kvp_status (*feed_function)(struct kvp_verify *verify, const struct kvp_block *block,
                                    kvp_slice elements);

/* A block of one of the three matrices. */
struct verify_block {
    struct kvp_raw_key key;
    struct kvp_job_block place;
    feed_function feed;
};

/* The order is B, C, A: `verify_next` counts B's numbers from that of its first block on. False:
 * all have been fed. */
static bool verify_block_at(struct kvp_jobs *jobs, struct job *job, struct verify_block *block,
                            kvp_status *status)
{
    const struct kvp_job_spec *spec = &job->record.spec;
    uint32_t of_a = job->grid.row_tiles * job->grid.inner_tiles, at = job->verify_next;
    bool is_b;
    *status = KVP_OK;
    if (at >= job->grid.inputs && at - job->grid.inputs < job->grid.outputs) {
        at -= job->grid.inputs;
        block->place = kvp_job_output(spec, at);
        block->feed = kvp_verify_feed_c;
        *status = job_result_key(jobs, job, at, &block->key);
        return true;
    }
    if (at >= job->grid.inputs) {
        at -= job->grid.inputs + job->grid.outputs;
        block->feed = kvp_verify_feed_a;
        if (at >= of_a) {
            return false;
        }
    } else {
        block->feed = kvp_verify_feed_b;
    }
    block->place = kvp_job_input(spec, at, &is_b);
    job_key_part(&block->key, JOB_KEY_PAYLOAD, job->id, at);
    return true;
}

/* What beginning a row takes, in elements: its sums lie apart from those of the row before. */
#define ROW_WORK 16u

/* Of a block the part that begins with element `from`: whole rows, or a part of one row. */
static struct kvp_block verify_part(struct kvp_job_block place, uint64_t from, uint64_t count_max)
{
    uint64_t row = from / place.columns, column = from % place.columns;
    struct kvp_block part = {place.row + row, place.column + column, 1, place.columns - column};
    count_max = count_max > 0 ? count_max : 1;
    if (part.columns > count_max) {
        part.columns = count_max;
    } else if (column == 0) {
        uint64_t rows = count_max / (place.columns + ROW_WORK), left = place.rows - row;
        part.rows = rows < 1 ? 1 : rows < left ? rows : left;
    }
    return part;
}

static kvp_status verify_feed(struct kvp_jobs *jobs, struct job *job,
                              const struct verify_block *block)
{
    size_t size = kvp_matrix_element_size(job->record.spec.element);
    uint64_t all = (uint64_t)block->place.rows * block->place.columns;
    struct kvp_block part = verify_part(block->place, job->verify_part,
                                        jobs->config.step_work / job->record.spec.rounds);
    uint64_t count = part.rows * part.columns;
    jobs->other.size = 0;
    kvp_status status = job_get(jobs, &block->key, &jobs->other);
    if (status == KVP_NOT_FOUND || (status == KVP_OK && jobs->other.size != all * size)) {
        return KVP_CORRUPT;
    }
    if (status == KVP_OK) {
        status =
            block->feed(job->verify, &part,
                        kvp_slice_of(jobs->other.data + job->verify_part * size, count * size));
    }
    if (status == KVP_OK) {
        jobs->work += jobs->other.size + (count + part.rows * ROW_WORK) * job->record.spec.rounds;
        job->verify_part += count;
    }
    if (job->verify_part == all) {
        job->verify_part = 0;
        job->verify_next++;
    }
    return status;
}

static kvp_status verify_end(struct kvp_jobs *jobs, struct job *job, uint64_t now_us, bool *did)
{
    char text[JOB_REASON_MAX];
    uint64_t row = 0;
    kvp_status status = kvp_verify_finish(job->verify, &row);
    if (status == KVP_CORRUPT) {
        (void)snprintf(text, sizeof(text), "verification failed: row %llu of the product is wrong",
                       (unsigned long long)row);
        return verify_fail(jobs, job, text, now_us, did);
    }
    *did = true;
    return status == KVP_OK ? job_end(jobs, job, JOB_DONE, "", now_us) : status;
}

static kvp_status verify_step_freivalds(struct kvp_jobs *jobs, struct job *job, uint64_t now_us,
                                        bool *did)
{
    struct verify_block block;
    kvp_status status = job->verify != NULL ? KVP_OK : verify_begin(jobs, job, now_us, did);
    if (status != KVP_OK || *did) {
        return status;
    }
    if (!verify_block_at(jobs, job, &block, &status)) {
        return verify_end(jobs, job, now_us, did);
    }
    status = status == KVP_OK ? verify_feed(jobs, job, &block) : status;
    return status == KVP_NOT_FOUND ? KVP_CORRUPT : status;
}

kvp_status job_step_verify(struct kvp_jobs *jobs, struct job *job, uint64_t now_us, bool *did)
{
    *did = false;
    jobs->at_work = job;
    kvp_status status = job->record.spec.verify == KVP_VERIFY_RECOMPUTE
                            ? job_step_recompute(jobs, job, now_us, did)
                            : verify_step_freivalds(jobs, job, now_us, did);
    if (status == KVP_NO_MEMORY && !*did) {
        return verify_fail(jobs, job, "the primary has not enough memory to verify the product",
                           now_us, did);
    }
    return status;
}
