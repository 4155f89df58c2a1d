/* SPDX-License-Identifier: Apache-2.0 */
#include "replication/jobs/job_records.h"
#include "replication/wire/mp_reader.h"
#include "replication/wire/mp_writer.h"

#include <string.h>

#define RECORD_VERSION 1u
#define JOB_SIZE       7u
#define JOB_SIZE_MAX   9u /* with what few jobs have: paused, age */
#define TASK_SIZE      12u
#define VOTE_SIZE      6u
#define WORKER_SIZE    9u /* and one more: drained */
#define HOLDER_SIZE    2u
#define FAULTS_SIZE    4u
#define FAULT_SIZE     3u
#define STANDING_SIZE  4u

/* ---- keys ---- */

static void put_be32(uint8_t *to, uint32_t value)
{
    for (unsigned i = 0; i < 4; i++) {
        to[i] = (uint8_t)(value >> (24 - 8 * i));
    }
}

static uint32_t get_be32(const uint8_t *from)
{
    return (uint32_t)from[0] << 24 | (uint32_t)from[1] << 16 | (uint32_t)from[2] << 8 | from[3];
}

static void begin_key(struct kvp_raw_key *raw, enum job_key kind, uint64_t job)
{
    raw->data[0] = KVP_PREFIX_JOB;
    raw->data[1] = (uint8_t)kind;
    kvp_put_be64(raw->data + 2, job);
    raw->size = 10;
}

void job_key_job(struct kvp_raw_key *raw, uint64_t job)
{
    begin_key(raw, JOB_KEY_JOB, job);
}

void job_key_owner(struct kvp_raw_key *raw, uint64_t job)
{
    begin_key(raw, JOB_KEY_OWNER, job);
}

void job_key_part(struct kvp_raw_key *raw, enum job_key kind, uint64_t job, uint32_t number)
{
    begin_key(raw, kind, job);
    put_be32(raw->data + 10, number);
    raw->size = 14;
}

void job_key_result(struct kvp_raw_key *raw, uint64_t job, uint32_t task, uint8_t vote)
{
    job_key_part(raw, JOB_KEY_RESULT, job, task);
    raw->data[raw->size++] = vote;
}

void job_key_worker(struct kvp_raw_key *raw, enum job_key kind, const char *name)
{
    size_t size = strlen(name);
    raw->data[0] = KVP_PREFIX_JOB;
    raw->data[1] = (uint8_t)kind;
    memcpy(raw->data + 2, name, size);
    raw->size = size + 2;
}

void job_key_holder(struct kvp_raw_key *raw, const char *name, kvp_slice owner)
{
    job_key_worker(raw, JOB_KEY_HOLDER, name);
    if (owner.size > 0) {
        raw->data[raw->size++] = 0;
        memcpy(raw->data + raw->size, owner.data, owner.size);
        raw->size += owner.size;
    }
}

static bool is_name(kvp_slice name)
{
    return name.size <= KVP_NAME_SIZE_MAX && memchr(name.data, 0, name.size) == NULL;
}

/* A name, or one with an owner behind it. */
static bool is_held_name(kvp_slice text)
{
    const uint8_t *bytes = text.data, *end = memchr(bytes, 0, text.size);
    size_t size = end == NULL ? text.size : (size_t)(end - bytes);
    size_t owner_size = end == NULL ? 1 : text.size - size - 1;
    return size > 0 && size <= KVP_NAME_SIZE_MAX && owner_size > 0 && owner_size <= JOB_OWNER_MAX &&
           (end == NULL || memchr(end + 1, 0, owner_size) == NULL);
}

kvp_status job_key_split(kvp_slice raw, enum job_key *kind, uint64_t *job, uint32_t *number,
                         kvp_slice *name)
{
    static const char with_number[] = {JOB_KEY_TASK, JOB_KEY_PAYLOAD,    JOB_KEY_RESULT,
                                       JOB_KEY_SUM,  JOB_KEY_CHECKPOINT, JOB_KEY_FAULTS};
    const uint8_t *bytes = raw.data;
    if (raw.size < 3 || bytes[0] != KVP_PREFIX_JOB) {
        return KVP_CORRUPT;
    }
    *kind = (enum job_key)bytes[1];
    *name = kvp_slice_of(bytes + 2, raw.size - 2);
    switch (*kind) {
    case JOB_KEY_WORKER:
    case JOB_KEY_STANDING:
        return is_name(*name) ? KVP_OK : KVP_CORRUPT;
    case JOB_KEY_HOLDER:
        return is_held_name(*name) ? KVP_OK : KVP_CORRUPT;
    case JOB_KEY_JOB:
    case JOB_KEY_OWNER:
        *job = raw.size == 10 ? kvp_get_be64(bytes + 2) : 0;
        return raw.size == 10 ? KVP_OK : KVP_CORRUPT;
    default:
        if (raw.size != (*kind == JOB_KEY_RESULT ? 15u : 14u) ||
            memchr(with_number, bytes[1], sizeof(with_number)) == NULL) {
            return KVP_CORRUPT;
        }
        *job = kvp_get_be64(bytes + 2);
        *number = get_be32(bytes + 10);
        return KVP_OK;
    }
}

/* ---- parts of records ---- */

static void take_text(struct kvp_mp_reader *reader, char *to, size_t max)
{
    kvp_slice text = kvp_mp_str(reader);
    if (text.size > max || (text.size > 0 && memchr(text.data, 0, text.size) != NULL)) {
        kvp_mp_fail(reader);
        return;
    }
    if (text.size > 0) {
        memcpy(to, text.data, text.size);
    }
    to[text.size] = '\0';
}

static uint8_t record_take_byte(struct kvp_mp_reader *reader, uint8_t max)
{
    return (uint8_t)kvp_mp_uint_max(reader, max);
}

static uint32_t record_take_u32(struct kvp_mp_reader *reader)
{
    return (uint32_t)kvp_mp_uint_max(reader, UINT32_MAX);
}

static void put_kinds(struct kvp_mp_writer *writer, const struct job_kind *kinds, unsigned count)
{
    kvp_mp_write_array(writer, count);
    for (unsigned i = 0; i < count; i++) {
        kvp_mp_write_text(writer, kinds[i].text);
    }
}

static unsigned take_kinds(struct kvp_mp_reader *reader, struct job_kind *kinds)
{
    uint32_t count = kvp_mp_array(reader);
    if (count > KVP_JOB_KINDS_MAX) {
        kvp_mp_fail(reader);
        return 0;
    }
    for (uint32_t i = 0; i < count; i++) {
        take_text(reader, kinds[i].text, KVP_NAME_SIZE_MAX);
    }
    return count;
}

static void record_begin(struct kvp_mp_writer *writer, kvp_buf *out, uint32_t size)
{
    kvp_mp_write_begin(writer, out);
    kvp_mp_write_array(writer, size);
    kvp_mp_write_uint(writer, RECORD_VERSION);
}

/* A record of `size` elements, or of up to `size_max`. Returns how many there are. */
static uint32_t open_longer(struct kvp_mp_reader *reader, kvp_slice bytes, uint32_t size,
                            uint32_t size_max)
{
    kvp_mp_begin(reader, bytes);
    uint32_t count = kvp_mp_array(reader);
    if (count < size || count > size_max || kvp_mp_uint(reader) != RECORD_VERSION) {
        kvp_mp_fail(reader);
    }
    return count;
}

static void open_record(struct kvp_mp_reader *reader, kvp_slice bytes, uint32_t size)
{
    (void)open_longer(reader, bytes, size, size);
}

/* ---- jobs ---- */

kvp_status job_record_encode(const struct job_record *record, kvp_buf *out)
{
    struct kvp_mp_writer writer;
    kvp_buf spec = {0};
    struct kvp_job_spec keyed = record->spec;
    keyed.key = record->key;
    kvp_status status = kvp_job_spec_encode(&keyed, &spec);
    if (status == KVP_OK) {
        uint32_t more = record->age > 0 ? 2 : record->paused ? 1 : 0;
        record_begin(&writer, out, JOB_SIZE + more);
        kvp_mp_write_raw(&writer, kvp_buf_slice(&spec));
        kvp_mp_write_uint(&writer, record->state);
        kvp_mp_write_uint(&writer, record->task_count);
        kvp_mp_write_uint(&writer, record->blocks);
        kvp_mp_write_text(&writer, record->reason);
        put_kinds(&writer, record->kinds, record->kind_count);
        if (more > 0) {
            kvp_mp_write_bool(&writer, record->paused);
        }
        if (more > 1) {
            kvp_mp_write_uint(&writer, record->age);
        }
        status = kvp_mp_write_end(&writer);
    }
    kvp_buf_free(&spec);
    return status;
}

void job_record_take_key(struct job_record *record, kvp_slice spec)
{
    kvp_slice key = kvp_job_spec_key(spec);
    if (key.size > 0) {
        memcpy(record->key, key.data, key.size);
    }
    record->key[key.size] = '\0';
}

kvp_status job_record_decode(kvp_slice bytes, struct job_record *record)
{
    struct kvp_mp_reader reader;
    const char *reason;
    uint32_t size = open_longer(&reader, bytes, JOB_SIZE, JOB_SIZE_MAX);
    kvp_slice spec = kvp_mp_skip(&reader);
    record->state = record_take_byte(&reader, JOB_DONE_WITH_FAILURES);
    record->task_count = (uint32_t)kvp_mp_uint_max(&reader, KVP_JOB_TASKS_MAX);
    record->blocks = record_take_u32(&reader);
    take_text(&reader, record->reason, JOB_REASON_MAX);
    record->kind_count = take_kinds(&reader, record->kinds);
    record->paused = size > JOB_SIZE && kvp_mp_bool(&reader);
    record->age = size > JOB_SIZE + 1 ? record_take_byte(&reader, JOB_AGE_MAX) : 0;
    if (!kvp_mp_done(&reader) || kvp_job_spec_decode(spec, &record->spec, &reason) != KVP_OK) {
        return KVP_CORRUPT;
    }
    job_record_take_key(record, spec);
    return KVP_OK;
}

/* ---- tasks ---- */

static void put_vote(struct kvp_mp_writer *writer, const struct job_vote *vote)
{
    kvp_mp_write_array(writer, VOTE_SIZE);
    kvp_mp_write_text(writer, vote->worker);
    kvp_mp_write_uint(writer, vote->attempt);
    kvp_mp_write_uint(writer, vote->outcome);
    kvp_mp_write_bool(writer, vote->agreed);
    kvp_mp_write_uint(writer, vote->size);
    kvp_mp_write_uint(writer, vote->digest);
}

static void take_vote(struct kvp_mp_reader *reader, struct job_vote *vote)
{
    kvp_mp_array_of(reader, VOTE_SIZE);
    take_text(reader, vote->worker, KVP_NAME_SIZE_MAX);
    vote->attempt = kvp_mp_uint(reader);
    vote->outcome = record_take_byte(reader, UINT8_MAX);
    vote->agreed = kvp_mp_bool(reader);
    vote->size = record_take_u32(reader);
    vote->digest = kvp_mp_uint(reader);
}

kvp_status task_record_encode(const struct task_record *record, kvp_buf *out)
{
    struct kvp_mp_writer writer;
    record_begin(&writer, out, TASK_SIZE);
    kvp_mp_write_uint(&writer, record->state);
    kvp_mp_write_uint(&writer, record->kind);
    kvp_mp_write_bool(&writer, record->feed);
    kvp_mp_write_bool(&writer, record->summed);
    kvp_mp_write_uint(&writer, record->copies);
    kvp_mp_write_uint(&writer, record->lost);
    kvp_mp_write_uint(&writer, record->winner);
    kvp_mp_write_uint(&writer, record->size);
    kvp_mp_write_text(&writer, record->reason);
    kvp_mp_write_array(&writer, record->after_count);
    kvp_mp_write_raw(&writer, record->after);
    kvp_mp_write_array(&writer, record->vote_count);
    for (unsigned i = 0; i < record->vote_count; i++) {
        put_vote(&writer, &record->votes[i]);
    }
    return kvp_mp_write_end(&writer);
}

kvp_status task_record_decode(kvp_slice bytes, struct task_record *record)
{
    struct kvp_mp_reader reader;
    open_record(&reader, bytes, TASK_SIZE);
    record->state = record_take_byte(&reader, TASK_FAILED);
    record->kind = record_take_byte(&reader, KVP_JOB_KINDS_MAX - 1);
    record->feed = kvp_mp_bool(&reader);
    record->summed = kvp_mp_bool(&reader);
    record->copies = record_take_byte(&reader, KVP_JOB_COPIES_MAX);
    record->lost = record_take_byte(&reader, UINT8_MAX);
    record->winner = record_take_byte(&reader, KVP_JOB_COPIES_MAX - 1);
    record->size = record_take_u32(&reader);
    take_text(&reader, record->reason, JOB_REASON_MAX);
    record->after_count = kvp_mp_array(&reader);
    const uint8_t *start = reader.next;
    for (uint32_t i = 0; i < record->after_count && !reader.failed; i++) {
        (void)kvp_mp_uint_max(&reader, KVP_JOB_TASKS_MAX);
    }
    record->after = kvp_slice_of(start, (size_t)(reader.next - start));
    record->vote_count = kvp_mp_array(&reader);
    if (record->vote_count > KVP_JOB_COPIES_MAX) {
        return KVP_CORRUPT;
    }
    for (unsigned i = 0; i < record->vote_count; i++) {
        take_vote(&reader, &record->votes[i]);
    }
    bool has_result = record->state != TASK_DONE || record->winner < record->vote_count;
    return kvp_mp_done(&reader) && has_result ? KVP_OK : KVP_CORRUPT;
}

uint32_t task_record_after(struct task_record *record)
{
    struct kvp_mp_reader reader;
    kvp_mp_begin(&reader, record->after);
    uint32_t number = (uint32_t)kvp_mp_uint(&reader);
    record->after = kvp_slice_of(reader.next, (size_t)(reader.end - reader.next));
    return number;
}

/* ---- workers ---- */

kvp_status worker_record_encode(const struct worker_record *record, kvp_buf *out)
{
    struct kvp_mp_writer writer;
    record_begin(&writer, out, WORKER_SIZE + record->drained);
    kvp_mp_write_uint(&writer, record->instance);
    kvp_mp_write_uint(&writer, record->buffer);
    kvp_mp_write_bool(&writer, record->standby);
    kvp_mp_write_bool(&writer, record->active);
    kvp_mp_write_bool(&writer, record->left);
    kvp_mp_write_bool(&writer, record->barred);
    kvp_mp_write_uint(&writer, record->lost_votes);
    put_kinds(&writer, record->kinds, record->kind_count);
    if (record->drained) {
        kvp_mp_write_bool(&writer, true);
    }
    return kvp_mp_write_end(&writer);
}

kvp_status worker_record_decode(kvp_slice bytes, struct worker_record *record)
{
    struct kvp_mp_reader reader;
    uint32_t size = open_longer(&reader, bytes, WORKER_SIZE, WORKER_SIZE + 1);
    record->instance = kvp_mp_uint(&reader);
    record->buffer = kvp_mp_uint(&reader);
    record->standby = kvp_mp_bool(&reader);
    record->active = kvp_mp_bool(&reader);
    record->left = kvp_mp_bool(&reader);
    record->barred = kvp_mp_bool(&reader);
    record->lost_votes = record_take_u32(&reader);
    record->kind_count = take_kinds(&reader, record->kinds);
    record->drained = size > WORKER_SIZE && kvp_mp_bool(&reader);
    return kvp_mp_done(&reader) ? KVP_OK : KVP_CORRUPT;
}

/* ---- faults ---- */

static void put_fault(struct kvp_mp_writer *writer, const struct job_fault *fault)
{
    kvp_mp_write_array(writer, FAULT_SIZE);
    kvp_mp_write_text(writer, fault->worker);
    kvp_mp_write_uint(writer, fault->failed);
    kvp_mp_write_uint(writer, fault->lost);
}

static void take_fault(struct kvp_mp_reader *reader, struct job_fault *fault)
{
    kvp_mp_array_of(reader, FAULT_SIZE);
    take_text(reader, fault->worker, KVP_NAME_SIZE_MAX);
    fault->failed = record_take_byte(reader, UINT8_MAX);
    fault->lost = record_take_byte(reader, UINT8_MAX);
}

kvp_status faults_record_encode(const struct faults_record *record, kvp_buf *out)
{
    struct kvp_mp_writer writer;
    record_begin(&writer, out, FAULTS_SIZE);
    kvp_mp_write_uint(&writer, record->workers);
    kvp_mp_write_uint(&writer, record->failed);
    kvp_mp_write_array(&writer, record->count);
    for (unsigned i = 0; i < record->count; i++) {
        put_fault(&writer, &record->by[i]);
    }
    return kvp_mp_write_end(&writer);
}

kvp_status faults_record_decode(kvp_slice bytes, struct faults_record *record)
{
    struct kvp_mp_reader reader;
    open_record(&reader, bytes, FAULTS_SIZE);
    record->workers = record_take_u32(&reader);
    record->failed = record_take_u32(&reader);
    record->count = kvp_mp_array(&reader);
    if (record->count > JOB_FAULTS_MAX || record->count > record->workers) {
        return KVP_CORRUPT;
    }
    for (unsigned i = 0; i < record->count; i++) {
        take_fault(&reader, &record->by[i]);
    }
    return kvp_mp_done(&reader) ? KVP_OK : KVP_CORRUPT;
}

/* ---- holders of keys ---- */

kvp_status holder_record_encode(uint64_t job, kvp_buf *out)
{
    struct kvp_mp_writer writer;
    record_begin(&writer, out, HOLDER_SIZE);
    kvp_mp_write_uint(&writer, job);
    return kvp_mp_write_end(&writer);
}

kvp_status holder_record_decode(kvp_slice bytes, uint64_t *job)
{
    struct kvp_mp_reader reader;
    open_record(&reader, bytes, HOLDER_SIZE);
    *job = kvp_mp_uint(&reader);
    return kvp_mp_done(&reader) ? KVP_OK : KVP_CORRUPT;
}

/* ---- standings ---- */

kvp_status standing_record_encode(const struct standing_record *record, kvp_buf *out)
{
    struct kvp_mp_writer writer;
    record_begin(&writer, out, STANDING_SIZE);
    kvp_mp_write_uint(&writer, record->faults);
    kvp_mp_write_uint(&writer, record->ever);
    kvp_mp_write_text(&writer, record->reason);
    return kvp_mp_write_end(&writer);
}

kvp_status standing_record_decode(kvp_slice bytes, struct standing_record *record)
{
    struct kvp_mp_reader reader;
    open_record(&reader, bytes, STANDING_SIZE);
    record->faults = record_take_u32(&reader);
    record->ever = record_take_u32(&reader);
    take_text(&reader, record->reason, JOB_REASON_MAX);
    return kvp_mp_done(&reader) ? KVP_OK : KVP_CORRUPT;
}
