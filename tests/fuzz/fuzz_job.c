/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes as what the job engine reads: the first byte selects the specification of a job, a list
 * of tasks, the record of a job, of a task, of a worker, a key, or a task handed out. What is read
 * and written again must be read the same; what a specification promises about blocks must hold.
 */
#include "tests/fuzz/fuzz.h"
#include "replication/jobs/job_records.h"
#include "kvpair/job_spec.h"
#include "tests/wire/samples.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void must(bool condition, const char *what)
{
    if (!condition) {
        fprintf(stderr, "%s\n", what);
        abort();
    }
}

/* ---- specifications ---- */

static void check_grid(const struct kvp_job_spec *spec)
{
    struct kvp_job_grid grid = kvp_job_grid_of(spec);
    const uint32_t tasks[] = {0, grid.tasks / 2, grid.tasks - 1};
    must(grid.tasks > 0 && grid.tasks <= KVP_JOB_TASKS_MAX, "tasks");
    for (size_t i = 0; i < sizeof(tasks) / sizeof(tasks[0]); i++) {
        struct kvp_job_tile tile = kvp_job_tile_of(spec, tasks[i]);
        bool b_is_b = false, a_is_b = true;
        must(tile.a < grid.inputs && tile.b < grid.inputs && tile.output < grid.outputs, "tile");
        struct kvp_job_block a = kvp_job_input(spec, tile.a, &a_is_b);
        struct kvp_job_block b = kvp_job_input(spec, tile.b, &b_is_b);
        struct kvp_job_block c = kvp_job_output(spec, tile.output);
        must(!a_is_b && b_is_b, "a block of the other matrix");
        must(a.rows == tile.rows && a.columns == tile.inner && b.rows == tile.inner &&
                 b.columns == tile.columns && c.rows == tile.rows && c.columns == tile.columns,
             "blocks that do not fit their tile");
        must(a.row + a.rows <= spec->rows && b.column + b.columns <= spec->columns &&
                 a.column + a.columns <= spec->inner && a.column == b.row && a.row == c.row &&
                 b.column == c.column,
             "blocks out of place");
        size_t size =
            kvp_job_block_size(spec, a) + kvp_job_block_size(spec, b) + kvp_job_block_size(spec, c);
        must(kvp_job_tile_size(spec, &tile) == KVP_JOB_TILE_HEADER + size &&
                 size <= 3 * (size_t)KVP_JOB_BLOCK_MAX,
             "sizes");
    }
}

static void check_tiling(struct kvp_job_spec spec)
{
    static const size_t buffers[] = {0, 28, 1024, 65536, KVP_JOB_BUFFER_DEFAULT, SIZE_MAX};
    const char *reason;
    for (size_t i = 0; i < sizeof(buffers) / sizeof(buffers[0]); i++) {
        kvp_status status = kvp_job_spec_tile(&spec, buffers[i]);
        must(status == KVP_OK || status == KVP_TOO_LARGE, "tiling");
        if (status == KVP_OK) {
            struct kvp_job_tile first = kvp_job_tile_of(&spec, 0);
            must(kvp_job_spec_check(&spec, &reason) == KVP_OK, "tiles that are refused");
            must(kvp_job_tile_size(&spec, &first) <= buffers[i], "tiles over the buffer");
            check_grid(&spec);
        }
    }
}

static kvp_status recode_spec(kvp_slice bytes, kvp_buf *out)
{
    struct kvp_job_spec spec;
    const char *reason = NULL;
    kvp_status status = kvp_job_spec_decode(bytes, &spec, &reason);
    must((status == KVP_OK) == (reason == NULL), "reason does not fit");
    if (status == KVP_OK) {
        must(kvp_job_spec_encode(&spec, out) == KVP_OK, "specification");
        if (spec.type == KVP_JOB_MATMUL) {
            check_grid(&spec);
            check_tiling(spec);
        }
    }
    return status;
}

/* ---- records ---- */

static kvp_status recode_job(kvp_slice bytes, kvp_buf *out)
{
    static struct job_record record;
    kvp_status status = job_record_decode(bytes, &record);
    must(status == KVP_OK || status == KVP_CORRUPT, "job: status");
    if (status == KVP_OK) {
        must(job_record_encode(&record, out) == KVP_OK, "job");
    }
    return status;
}

static kvp_status recode_task(kvp_slice bytes, kvp_buf *out)
{
    static struct task_record record;
    kvp_status status = task_record_decode(bytes, &record);
    must(status == KVP_OK || status == KVP_CORRUPT, "task: status");
    if (status == KVP_OK) {
        must(task_record_encode(&record, out) == KVP_OK, "task");
        for (uint32_t i = 0; i < record.after_count; i++) {
            must(task_record_after(&record) <= KVP_JOB_TASKS_MAX, "number of a task");
        }
        must(record.after.size == 0, "numbers are left");
    }
    return status;
}

static kvp_status recode_worker(kvp_slice bytes, kvp_buf *out)
{
    static struct worker_record record;
    kvp_status status = worker_record_decode(bytes, &record);
    must(status == KVP_OK || status == KVP_CORRUPT, "worker: status");
    if (status == KVP_OK) {
        must(worker_record_encode(&record, out) == KVP_OK, "worker");
    }
    return status;
}

static kvp_status recode_faults(kvp_slice bytes, kvp_buf *out)
{
    static struct faults_record record;
    kvp_status status = faults_record_decode(bytes, &record);
    must(status == KVP_OK || status == KVP_CORRUPT, "faults: status");
    if (status == KVP_OK) {
        must(record.count <= JOB_FAULTS_MAX && record.count <= record.workers, "faults: count");
        must(faults_record_encode(&record, out) == KVP_OK, "faults");
    }
    return status;
}

static kvp_status recode_standing(kvp_slice bytes, kvp_buf *out)
{
    struct standing_record record;
    kvp_status status = standing_record_decode(bytes, &record);
    must(status == KVP_OK || status == KVP_CORRUPT, "standing: status");
    if (status == KVP_OK) {
        must(standing_record_encode(&record, out) == KVP_OK, "standing");
    }
    return status;
}

static void recode_holder(kvp_slice held, struct kvp_raw_key *key)
{
    char text[KVP_NAME_SIZE_MAX + 1] = {0};
    const char *bytes = held.data, *end = memchr(bytes, 0, held.size);
    size_t size = end == NULL ? held.size : (size_t)(end - bytes);
    memcpy(text, bytes, size);
    job_key_holder(key, text,
                   end == NULL ? (kvp_slice){0} : kvp_slice_of(end + 1, held.size - size - 1));
}

/* There is one key for one thing. */
static kvp_status recode_key(kvp_slice bytes, kvp_buf *out)
{
    enum job_key kind;
    uint64_t job = 0;
    uint32_t number = 0;
    kvp_slice name;
    struct kvp_raw_key key;
    char text[KVP_NAME_SIZE_MAX + 1] = {0};
    if (job_key_split(bytes, &kind, &job, &number, &name) != KVP_OK) {
        return KVP_CORRUPT;
    }
    switch (kind) { /* without a default: a new kind does not compile */
    case JOB_KEY_WORKER:
    case JOB_KEY_STANDING:
        memcpy(text, name.data, name.size);
        job_key_worker(&key, kind, text);
        break;
    case JOB_KEY_HOLDER:
        recode_holder(name, &key);
        break;
    case JOB_KEY_JOB:
        job_key_job(&key, job);
        break;
    case JOB_KEY_OWNER:
        job_key_owner(&key, job);
        break;
    case JOB_KEY_RESULT:
        job_key_result(&key, job, number, ((const uint8_t *)bytes.data)[bytes.size - 1]);
        break;
    case JOB_KEY_TASK:
    case JOB_KEY_PAYLOAD:
    case JOB_KEY_SUM:
    case JOB_KEY_CHECKPOINT:
    case JOB_KEY_FAULTS:
        job_key_part(&key, kind, job, number);
        break;
    }
    must(kvp_slice_compare(kvp_raw_key_slice(&key), bytes) == 0, "another key");
    must(kvp_buf_append(out, key.data, key.size) == KVP_OK, "no memory");
    return KVP_OK;
}

static kvp_status recode_grant(kvp_slice bytes, kvp_buf *out)
{
    return sample_recode_result(RESULT_GRANT, bytes, out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static kvp_status (*const recode[])(kvp_slice bytes, kvp_buf * out) = {
        recode_spec, sample_recode_tasks, recode_job,    recode_task,     recode_worker,
        recode_key,  recode_grant,        recode_faults, recode_standing,
    };
    kvp_buf once = {0};
    kvp_buf twice = {0};
    if (size == 0) {
        return 0;
    }
    unsigned kind = data[0] % (sizeof(recode) / sizeof(recode[0]));
    if (recode[kind](kvp_slice_of(data + 1, size - 1), &once) == KVP_OK) {
        must(recode[kind](kvp_buf_slice(&once), &twice) == KVP_OK, "written, cannot be read");
        must(kvp_slice_compare(kvp_buf_slice(&once), kvp_buf_slice(&twice)) == 0,
             "a second pass gives other bytes");
    }
    kvp_buf_free(&once);
    kvp_buf_free(&twice);
    return 0;
}
