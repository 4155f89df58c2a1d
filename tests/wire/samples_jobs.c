/* SPDX-License-Identifier: Apache-2.0 */
/* What a client says of the two jobs of the story when they are made. */
#include "tests/wire/samples_parts.h"
#include "kvpair/job_codes.h"
#include "replication/wire/wire.h"

static struct kvp_request said_of(unsigned op, uint64_t job)
{
    return (struct kvp_request){
        .op = op,
        .group = text("default"),
        .epoch_seen = EPOCH,
        .session = {CLIENT, 0, 7, 40},
        .job = {.job = job},
    };
}

static void put_said(const struct kvp_request *request, kvp_buf *out)
{
    must(kvp_wire_request_encode(request, out));
}

void sample_job_start(kvp_buf *out)
{
    struct kvp_request request = said_of(KVP_OP_JOB_START, PRODUCT);
    put_said(&request, out);
}

void sample_job_cancel(kvp_buf *out)
{
    struct kvp_request request = said_of(KVP_OP_JOB_CANCEL, COUNTS);
    put_said(&request, out);
}

void sample_job_remove(kvp_buf *out)
{
    struct kvp_request request = said_of(KVP_OP_JOB_REMOVE, COUNTS);
    put_said(&request, out);
}

void sample_job_retry(kvp_buf *out)
{
    struct kvp_request request = said_of(KVP_OP_JOB_RETRY, COUNTS);
    request.count_max = UINT32_MAX;
    put_said(&request, out);
}

void sample_job_set(kvp_buf *out)
{
    struct kvp_request request = said_of(KVP_OP_JOB_SET, COUNTS);
    request.job.what = KVP_JOB_SET_MAX_RUNNING;
    request.job.number = 4;
    put_said(&request, out);
}

void sample_worker_set(kvp_buf *out)
{
    struct kvp_request request = said_of(KVP_OP_WORKER_SET, 0);
    request.key = text("mcu-7");
    request.job.what = KVP_WORKER_SET_DRAINED;
    request.job.number = 1;
    put_said(&request, out);
}
