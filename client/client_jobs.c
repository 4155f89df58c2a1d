/* SPDX-License-Identifier: Apache-2.0 */
/* Submitting jobs and looking at them; blocks of matrices go there and back several at a time. */
#include "client/client_priv.h"
#include "kvpair/kvp_jobs.h"
#include "kvpair/job_spec.h"
#include "kvpair/matrix.h"
#include "replication/wire/mp_reader.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define UNDER_WAY_MAX 8u

struct call client_job_call(unsigned op)
{
    struct call call = {
        .core = {.request = {.op = op},
                 .route = CLIENT_TO_PRIMARY,
                 .update = kvp_operation_of(op)->session != KVP_SESSION_NO},
    };

    return call;
}

kvp_status client_job_end(struct call *call, kvp_status status, kvp_result *result)
{
    bool done = call->result.status == KVP_OK;
    if (done) {
        kvp_buf_free(&call->result.value);
    }
    if (done && status != KVP_OK && call->core.update) {
        status = client_unread(&call->result, status);
    }
    call->result.status = status;
    client_gather(call, result);
    return status;
}

static kvp_status jobs_run_upload(kvp_client *client, struct call *call, uint64_t bytes,
                                  kvp_result *result)
{
    kvp_status status = client_perform(client, call, client_timeout_ms(client, bytes));
    return client_job_end(call, status, result);
}

/* ---- making jobs ---- */

/* Its id; with a key, too, whether this call has made or started it. */
static kvp_status read_job(kvp_slice answer, uint64_t *job, bool *own)
{
    struct kvp_mp_reader reader;
    kvp_mp_begin(&reader, answer);
    *own = true;
    if (kvp_mp_peek(&reader) == KVP_MP_ARRAY) {
        kvp_mp_array_of(&reader, 2);
        *job = kvp_mp_uint(&reader);
        *own = kvp_mp_bool(&reader);
    } else {
        *job = kvp_mp_uint(&reader);
    }
    return kvp_mp_done(&reader) ? KVP_OK : KVP_CORRUPT;
}

kvp_status kvp_job_new(kvp_client *client, const struct kvp_job_spec *spec, uint64_t *job,
                       kvp_result *result)
{
    struct call call = client_job_call(KVP_OP_JOB_NEW);
    kvp_buf bytes = {0};
    const char *reason = "";
    kvp_status status = client_require(client != NULL && spec != NULL && job != NULL, result);
    if (status != KVP_OK) {
        return status;
    }
    status = kvp_job_spec_check(spec, &reason);
    if (status != KVP_OK) {
        return client_refuse(result, status, reason);
    }
    status = kvp_job_spec_encode(spec, &bytes);
    if (status != KVP_OK) {
        return client_refuse(result, status, "");
    }
    call.core.request.value = kvp_buf_slice(&bytes);
    status = client_perform(client, &call, 0);
    kvp_buf_free(&bytes);
    if (status == KVP_OK) {
        status = read_job(kvp_buf_slice(&call.result.value), job, &call.result.counted);
    }
    return client_job_end(&call, status, result);
}

static struct call block_call(uint64_t job, uint32_t block, kvp_slice elements)
{
    struct call call = client_job_call(KVP_OP_JOB_DATA);
    call.core.request.job.job = job;
    call.core.request.job.number = block;
    call.core.request.value = elements;
    return call;
}

kvp_status kvp_job_put_block(kvp_client *client, uint64_t job, uint32_t block, kvp_slice elements,
                             kvp_result *result)
{
    struct call call = block_call(job, block, elements);
    kvp_status status = client_check_value(elements, result);
    return status == KVP_OK ? jobs_run_upload(client, &call, elements.size, result) : status;
}

kvp_status kvp_job_add_tasks(kvp_client *client, uint64_t job, uint32_t first, kvp_slice tasks,
                             kvp_result *result)
{
    struct call call = client_job_call(KVP_OP_JOB_TASKS);
    struct kvp_job_tasks read;
    const char *reason = "";
    kvp_status status = kvp_job_tasks_begin(tasks, &read, &reason);
    if (status != KVP_OK) {
        return client_refuse(result, status, reason);
    }
    call.core.request.job.job = job;
    call.core.request.job.number = first;
    call.core.request.value = tasks;
    return jobs_run_upload(client, &call, tasks.size, result);
}

static kvp_status ask_about(kvp_client *client, unsigned op, uint64_t job, kvp_result *result)
{
    struct call call = client_job_call(op);
    call.core.request.job.job = job;
    return jobs_run_upload(client, &call, 0, result);
}

kvp_status kvp_job_start(kvp_client *client, uint64_t job, kvp_result *result)
{
    struct call call = client_job_call(KVP_OP_JOB_START);
    call.core.request.job.job = job;
    kvp_status status = client_perform(client, &call, 0);
    kvp_slice answer = kvp_buf_slice(&call.result.value);
    if (status == KVP_OK && answer.size > 1) { /* nil: it has no key */
        status = read_job(answer, &call.result.version, &call.result.counted);
    }
    return client_job_end(&call, status, result);
}

kvp_status kvp_job_cancel(kvp_client *client, uint64_t job, kvp_result *result)
{
    return ask_about(client, KVP_OP_JOB_CANCEL, job, result);
}

kvp_status kvp_job_remove(kvp_client *client, uint64_t job, kvp_result *result)
{
    return ask_about(client, KVP_OP_JOB_REMOVE, job, result);
}

/* ---- what is said of them later ---- */

static kvp_status read_retried(kvp_slice answer, uint32_t *count, uint64_t *next)
{
    struct kvp_mp_reader reader;
    kvp_mp_begin(&reader, answer);
    kvp_mp_array_of(&reader, 2);
    *count += (uint32_t)kvp_mp_uint_max(&reader, UINT32_MAX);
    *next = kvp_mp_uint(&reader);
    return kvp_mp_done(&reader) ? KVP_OK : KVP_CORRUPT;
}

/* Some of them; *next is where to go on, 0: that was all. */
static kvp_status retry_some(kvp_client *client, uint64_t job, uint64_t first, uint32_t count,
                             uint32_t *retried, uint64_t *next, kvp_result *result)
{
    struct call call = client_job_call(KVP_OP_JOB_RETRY);
    call.core.request.job.job = job;
    call.core.request.job.number = first;
    call.core.request.count_max = count;
    kvp_status status = client_perform(client, &call, 0);
    if (status == KVP_OK) {
        status = read_retried(kvp_buf_slice(&call.result.value), retried, next);
    }
    return client_job_end(&call, status, result);
}

kvp_status kvp_job_retry(kvp_client *client, uint64_t job, uint32_t first, uint32_t count,
                         uint32_t *retried, kvp_result *result)
{
    uint64_t from = first, next = 0, end = (uint64_t)first + count;
    uint32_t all = 0;
    kvp_status status;
    do {
        if (next != 0 && result != NULL) {
            kvp_result_free(result);
        }
        from = next != 0 ? next : from;
        status = retry_some(client, job, from, (uint32_t)(end - from), &all, &next, result);
    } while (status == KVP_OK && next > from && next < end);
    if (status == KVP_JOB_STATE && all > 0) {
        status = KVP_OK; /* behind the last one there was no other */
    }
    if (retried != NULL) {
        *retried = all;
    }
    return status;
}

kvp_status kvp_job_set(kvp_client *client, uint64_t job, unsigned setting, uint64_t value,
                       kvp_result *result)
{
    struct call call = client_job_call(KVP_OP_JOB_SET);
    call.core.request.job.job = job;
    call.core.request.job.what = setting;
    call.core.request.job.number = value;
    return jobs_run_upload(client, &call, 0, result);
}

/* ---- blocks, several under way ---- */

/* The blocks of one job on their way there or back. The first failure is kept and ends it. */
struct transfer {
    kvp_client *client;
    const struct kvp_job_spec *spec;
    uint64_t job;
    pthread_mutex_t lock;
    pthread_cond_t settled;
    unsigned under_way;
    uint64_t under_way_size;
    uint64_t moved; /* bytes of blocks that are there */
    kvp_result failure;
    struct kvp_matrix *product; /* download */
};

/* A block under way; elements to be sent stand behind it. */
struct parcel {
    struct call call; /* first: who frees it knows it as that */
    struct transfer *transfer;
    struct kvp_job_block block;
    size_t size;
};

static void transfer_begin(struct transfer *transfer, kvp_client *client, uint64_t job,
                           const struct kvp_job_spec *spec)
{
    memset(transfer, 0, sizeof(*transfer));
    transfer->client = client;
    transfer->job = job;
    transfer->spec = spec;
    (void)pthread_mutex_init(&transfer->lock, NULL);
    (void)pthread_cond_init(&transfer->settled, NULL);
}

static kvp_status transfer_end(struct transfer *transfer, kvp_result *result)
{
    kvp_status status = transfer->failure.status;
    (void)pthread_mutex_destroy(&transfer->lock);
    (void)pthread_cond_destroy(&transfer->settled);
    if (result != NULL) {
        *result = transfer->failure;
    } else {
        kvp_result_free(&transfer->failure);
    }
    return status;
}

static void jobs_fail(struct transfer *transfer, kvp_status status, const char *reason)
{
    if (transfer->failure.status == KVP_OK) {
        (void)client_refuse(&transfer->failure, status, reason);
    }
}

static void jobs_settle(struct parcel *parcel, kvp_status status, const char *reason)
{
    struct transfer *transfer = parcel->transfer;
    pthread_mutex_lock(&transfer->lock);
    transfer->under_way--;
    transfer->under_way_size -= parcel->size;
    if (status == KVP_OK) {
        transfer->moved += parcel->size;
    } else {
        jobs_fail(transfer, status, reason);
    }
    pthread_cond_signal(&transfer->settled);
    pthread_mutex_unlock(&transfer->lock);
}

/* Waits until fewer than `count` are under way. False: one has failed; with count 1 also then none
 * is under way. */
static bool wait_below(struct transfer *transfer, unsigned count, uint64_t *moved)
{
    pthread_mutex_lock(&transfer->lock);
    while (transfer->under_way >= count && (count == 1 || transfer->failure.status == KVP_OK)) {
        pthread_cond_wait(&transfer->settled, &transfer->lock);
    }
    bool good = transfer->failure.status == KVP_OK;
    *moved = transfer->moved;
    pthread_mutex_unlock(&transfer->lock);
    return good;
}

/* A parcel with room for `size` bytes behind it. NULL: no memory, and the transfer has failed. */
static struct parcel *pack(struct transfer *transfer, struct call call, kvp_callback done,
                           struct kvp_job_block block, size_t size)
{
    struct parcel *parcel = malloc(sizeof(*parcel) + size);
    if (parcel == NULL) {
        pthread_mutex_lock(&transfer->lock);
        jobs_fail(transfer, KVP_NO_MEMORY, "");
        pthread_mutex_unlock(&transfer->lock);
        return NULL;
    }
    parcel->call = call;
    parcel->call.done = done;
    parcel->call.arg = parcel;
    parcel->call.allocated = true;
    parcel->transfer = transfer;
    parcel->block = block;
    parcel->size = kvp_job_block_size(transfer->spec, block);
    return parcel;
}

static void jobs_post(struct parcel *parcel)
{
    struct transfer *transfer = parcel->transfer;
    pthread_mutex_lock(&transfer->lock);
    transfer->under_way++;
    transfer->under_way_size += parcel->size;
    uint32_t timeout_ms = client_timeout_ms(transfer->client, transfer->under_way_size);
    pthread_mutex_unlock(&transfer->lock);
    kvp_status status = client_start(transfer->client, &parcel->call, timeout_ms);
    if (status != KVP_OK) {
        jobs_settle(parcel, status, "");
        free(parcel);
    }
}

static void on_sent(void *arg, const kvp_result *result)
{
    jobs_settle(arg, result->status, client_reason(result));
}

static void send_block(struct transfer *transfer, const struct kvp_matrix *a,
                       const struct kvp_matrix *b, uint32_t number)
{
    bool is_b = false;
    struct kvp_job_block block = kvp_job_input(transfer->spec, number, &is_b);
    size_t size = kvp_job_block_size(transfer->spec, block);
    struct kvp_block part = {block.row, block.column, block.rows, block.columns};
    struct call call = block_call(transfer->job, number, kvp_slice_of(NULL, 0));
    struct parcel *parcel = pack(transfer, call, on_sent, block, size);
    if (parcel != NULL) {
        (void)kvp_matrix_cut(is_b ? b : a, &part, parcel + 1); /* it lies inside */
        parcel->call.core.request.value = kvp_slice_of(parcel + 1, size);
        jobs_post(parcel);
    }
}

struct listener {
    void (*progress)(void *arg, uint64_t sent, uint64_t all);
    void *arg;
};

static kvp_status upload(kvp_client *client, uint64_t job, const struct kvp_job_spec *spec,
                         const struct kvp_matrix *a, const struct kvp_matrix *b,
                         struct listener listener, kvp_result *result)
{
    uint32_t count = kvp_job_grid_of(spec).inputs;
    uint64_t all = (uint64_t)a->data.size + b->data.size;
    uint64_t moved = 0;
    struct transfer transfer;
    transfer_begin(&transfer, client, job, spec);
    for (uint32_t i = 0; i < count && wait_below(&transfer, UNDER_WAY_MAX, &moved); i++) {
        if (listener.progress != NULL) {
            listener.progress(listener.arg, moved, all);
        }
        send_block(&transfer, a, b, i);
    }
    if (wait_below(&transfer, 1, &moved) && listener.progress != NULL) {
        listener.progress(listener.arg, moved, all);
    }
    return transfer_end(&transfer, result);
}

/* ---- products ---- */

/* Do they fit together? Then they are what the specification is about. */
static kvp_status take_shapes(struct kvp_job_spec *spec, const struct kvp_matrix *a,
                              const struct kvp_matrix *b, kvp_result *result)
{
    char text[200];
    if (a->type != b->type) {
        (void)snprintf(text, sizeof(text), "A is of %s, B of %s: convert one of them",
                       kvp_matrix_type_name(a->type), kvp_matrix_type_name(b->type));
        return client_refuse(result, KVP_BAD_REQUEST, text);
    }
    if (a->columns != b->rows) {
        (void)snprintf(text, sizeof(text),
                       "A is %" PRIu64 " x %" PRIu64 " and B %" PRIu64 " x %" PRIu64
                       ": A must have as many columns as B has rows",
                       a->rows, a->columns, b->rows, b->columns);
        return client_refuse(result, KVP_BAD_REQUEST, text);
    }
    if (kvp_matrix_has_nonfinite(a->type, kvp_buf_slice(&a->data)) ||
        kvp_matrix_has_nonfinite(b->type, kvp_buf_slice(&b->data))) {
        return client_refuse(result, KVP_BAD_REQUEST, "a matrix has a NaN or an infinity");
    }
    spec->type = KVP_JOB_MATMUL;
    spec->element = (uint8_t)a->type;
    spec->rows = a->rows;
    spec->inner = a->columns;
    spec->columns = b->columns;
    return KVP_OK;
}

static kvp_status take_tiles(struct kvp_job_spec *spec, size_t buffer, kvp_result *result)
{
    const char *reason = "";
    char text[200];
    kvp_status status = kvp_job_spec_tile(spec, buffer);
    if (status == KVP_TOO_LARGE) {
        (void)snprintf(text, sizeof(text),
                       "tasks of at most %zu bytes would be more than %u, or cannot be at all",
                       buffer, KVP_JOB_TASKS_MAX);
        return client_refuse(result, status, text);
    }
    if (status != KVP_OK) {
        (void)kvp_job_spec_check(spec, &reason);
        return client_refuse(result, status, reason);
    }
    return KVP_OK;
}

/* *job becomes the one that has the key. */
static kvp_status start_product(kvp_client *client, uint64_t *job, kvp_result *result)
{
    kvp_result started = {0};
    kvp_status status = kvp_job_start(client, *job, &started);
    *job = status == KVP_OK && started.version != 0 ? started.version : *job;
    if (result != NULL) {
        *result = started;
    } else {
        kvp_result_free(&started);
    }
    return status;
}

kvp_status kvp_job_submit_matmul(kvp_client *client, struct kvp_job_spec *spec,
                                 const struct kvp_matrix *a, const struct kvp_matrix *b,
                                 size_t buffer, uint64_t *job,
                                 void (*progress)(void *arg, uint64_t sent, uint64_t all),
                                 void *arg, kvp_result *result)
{
    kvp_status status = client_require(
        client != NULL && spec != NULL && a != NULL && b != NULL && job != NULL, result);

    status = status == KVP_OK ? take_shapes(spec, a, b, result) : status;
    if (status == KVP_OK) {
        status = take_tiles(spec, buffer == 0 ? KVP_JOB_BUFFER_DEFAULT : buffer, result);
    }
    if (status != KVP_OK) {
        return status;
    }
    kvp_result made = {0};
    status = kvp_job_new(client, spec, job, &made);
    bool there = status == KVP_OK && !made.counted; /* under its key */
    if (result != NULL) {
        *result = made;
    } else {
        kvp_result_free(&made);
    }
    if (status != KVP_OK || there) {
        return status;
    }
    struct listener listener = {progress, arg};
    status = upload(client, *job, spec, a, b, listener, result);
    if (status == KVP_OK) {
        status = start_product(client, job, result);
    }
    if (status != KVP_OK && status != KVP_TIMEOUT_UNKNOWN) {
        (void)kvp_job_cancel(client, *job, NULL);
    }
    return status;
}

static void on_received(void *arg, const kvp_result *result)
{
    struct parcel *parcel = arg;
    struct kvp_block place = {parcel->block.row, parcel->block.column, parcel->block.rows,
                              parcel->block.columns};
    kvp_slice bytes = {NULL, 0};
    kvp_status status = result->status;
    const char *reason = client_reason(result);

    if (status == KVP_OK) {
        status = kvp_wire_read_bin(kvp_buf_slice(&result->value), &bytes);
        reason = "";
    }
    if (status == KVP_OK && bytes.size != parcel->size) {
        status = KVP_CORRUPT;
        reason = "a block of another size: is it the specification of this job?";
    }
    if (status == KVP_OK) { /* blocks do not overlap: no lock is needed */
        (void)kvp_matrix_paste(parcel->transfer->product, &place, bytes.data);
    }
    jobs_settle(parcel, status, reason);
}

static struct call result_call(uint64_t job, uint32_t number)
{
    struct call call = client_job_call(KVP_OP_JOB_RESULT);
    call.core.request.job.job = job;
    call.core.request.job.number = number;
    return call;
}

kvp_status kvp_job_product(kvp_client *client, uint64_t job, const struct kvp_job_spec *spec,
                           struct kvp_matrix *product, kvp_result *result)
{
    struct transfer transfer;
    uint64_t moved = 0;
    const char *reason = "";
    kvp_status status = client_require(client != NULL && spec != NULL && product != NULL, result);
    if (status != KVP_OK) {
        return status;
    }
    memset(product, 0, sizeof(*product));
    status = kvp_job_spec_check(spec, &reason);
    if (status != KVP_OK || spec->type != KVP_JOB_MATMUL) {
        return client_refuse(result, KVP_BAD_ARGUMENT,
                             status != KVP_OK ? reason : "it is not about matrices");
    }
    status = kvp_matrix_new(spec->element, spec->rows, spec->columns, product);
    if (status != KVP_OK) {
        return client_refuse(result, status, "");
    }
    uint32_t count = kvp_job_grid_of(spec).outputs;
    transfer_begin(&transfer, client, job, spec);
    transfer.product = product;
    for (uint32_t i = 0; i < count && wait_below(&transfer, UNDER_WAY_MAX, &moved); i++) {
        struct parcel *parcel =
            pack(&transfer, result_call(job, i), on_received, kvp_job_output(spec, i), 0);
        if (parcel != NULL) {
            jobs_post(parcel);
        }
    }
    (void)wait_below(&transfer, 1, &moved);
    status = transfer_end(&transfer, result);
    if (status != KVP_OK) {
        kvp_matrix_free(product);
    }
    return status;
}

/* ---- looking ---- */

/* Leaves `part`, a piece of the call's answer, as its result. */
static void leave_part(struct call *call, kvp_slice part)
{
    if (part.size > 0) {
        memmove(call->result.value.data, part.data, part.size);
    }
    call->result.value.size = part.size;
}

static kvp_status jobs_read_bytes(kvp_client *client, struct call call, kvp_result *result)
{
    kvp_slice bytes = {NULL, 0};
    kvp_status status =
        client_perform(client, &call, client_timeout_ms(client, KVP_VALUE_SIZE_MAX));

    if (status == KVP_OK) {
        status = kvp_wire_read_bin(kvp_buf_slice(&call.result.value), &bytes);
    }
    if (status != KVP_OK) {
        return client_job_end(&call, status, result);
    }
    leave_part(&call, bytes);
    client_gather(&call, result);
    return KVP_OK;
}

kvp_status kvp_job_result(kvp_client *client, uint64_t job, uint32_t number, kvp_result *result)
{
    return jobs_read_bytes(client, result_call(job, number), result);
}

kvp_status kvp_job_block(kvp_client *client, uint64_t job, uint32_t number, kvp_result *result)
{
    struct call call = result_call(job, number);
    call.core.request.op = KVP_OP_JOB_BLOCK;
    return jobs_read_bytes(client, call, result);
}

/* [more, [map...]], or a map alone. */
static kvp_status read_info(kvp_slice answer, unsigned what, uint64_t *more, kvp_buf *text)
{
    struct kvp_mp_reader reader;
    *more = 0;
    if (what == KVP_INFO_JOB) {
        return kvp_wire_json(answer, false, text);
    }
    kvp_mp_begin(&reader, answer);
    kvp_mp_array_of(&reader, 2);
    *more = kvp_mp_uint(&reader);
    kvp_slice list = kvp_mp_skip(&reader);
    return kvp_mp_done(&reader) ? kvp_wire_json(list, true, text) : KVP_CORRUPT;
}

kvp_status kvp_job_info(kvp_client *client, unsigned what, uint64_t job, uint64_t from,
                        uint64_t *more, kvp_result *result)
{
    struct call call = client_job_call(KVP_OP_JOB_INFO);
    kvp_buf text = {0};
    uint64_t next = 0;
    call.core.request.job.what = what;
    call.core.request.job.job = job;
    call.core.request.job.number = from;
    kvp_status status = client_perform(client, &call, 0);
    if (status == KVP_OK) {
        status = read_info(kvp_buf_slice(&call.result.value), what, &next, &text);
    }
    if (status != KVP_OK) {
        kvp_buf_free(&text);
        return client_job_end(&call, status, result);
    }
    if (more != NULL) {
        *more = next;
    }
    kvp_buf_free(&call.result.value);
    call.result.value = text;
    client_gather(&call, result);
    return KVP_OK;
}
