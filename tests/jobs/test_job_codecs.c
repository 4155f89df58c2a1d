/* SPDX-License-Identifier: Apache-2.0 */
/* Lists of tasks on the wire; keys and records of jobs in the store. */
#include "tests/jobs/codec_support.h"

#include "replication/jobs/job_records.h"
#include "kvpair/job_spec.h"
#include "replication/wire/mp_writer.h"

#include <stdlib.h>
#include <string.h>

/* ---- lists of tasks ---- */

static kvp_status begin_tasks(kvp_slice bytes, struct kvp_job_tasks *tasks)
{
    const char *reason = NULL;
    kvp_status status = kvp_job_tasks_begin(bytes, tasks, &reason);
    assert_true((status == KVP_OK) == (reason == NULL));
    return status;
}

static kvp_status try_tasks(const kvp_buf *bytes)
{
    struct kvp_job_tasks tasks;
    return begin_tasks(kvp_buf_slice(bytes), &tasks);
}

static void put_two_tasks(kvp_buf *out)
{
    static const uint32_t after[] = {0, 127, 128, 65536, KVP_JOB_TASKS_MAX};
    assert_int_equal(kvp_job_tasks_open(out, 2), KVP_OK);
    assert_int_equal(kvp_job_tasks_put(out, text("count"), NULL, 0, false, text("words")), KVP_OK);
    assert_int_equal(kvp_job_tasks_put(out, text("sum"), after, 5, true, text("")), KVP_OK);
}

static void test_tasks_come_back_as_they_were_put(void **state)
{
    struct kvp_job_tasks tasks;
    struct kvp_job_task task;
    kvp_buf bytes = {0};
    (void)state;
    put_two_tasks(&bytes);
    assert_int_equal(begin_tasks(kvp_buf_slice(&bytes), &tasks), KVP_OK);
    assert_int_equal(tasks.count, 2);
    assert_true(kvp_job_tasks_next(&tasks, &task));
    assert_int_equal(kvp_slice_compare(task.kind, text("count")), 0);
    assert_int_equal(kvp_slice_compare(task.payload, text("words")), 0);
    assert_int_equal(task.after_count, 0);
    assert_false(task.feed);
    assert_true(kvp_job_tasks_next(&tasks, &task));
    assert_int_equal(kvp_slice_compare(task.kind, text("sum")), 0);
    assert_int_equal(task.payload.size, 0);
    assert_true(task.feed);
    assert_int_equal(task.after_count, 5);
    assert_int_equal(kvp_job_after_next(&task), 0);
    assert_int_equal(kvp_job_after_next(&task), 127);
    assert_int_equal(kvp_job_after_next(&task), 128);
    assert_int_equal(kvp_job_after_next(&task), 65536);
    assert_int_equal(kvp_job_after_next(&task), KVP_JOB_TASKS_MAX);
    assert_false(kvp_job_tasks_next(&tasks, &task));
    assert_int_equal(begin_tasks(text("\x90"), &tasks), KVP_OK);
    assert_false(kvp_job_tasks_next(&tasks, &task));
    kvp_buf_free(&bytes);
}

static void test_a_list_of_tasks_cut_off_or_too_long_is_refused(void **state)
{
    struct kvp_job_tasks tasks;
    kvp_buf bytes = {0};
    (void)state;
    put_two_tasks(&bytes);
    for (size_t size = 0; size < bytes.size; size++) {
        uint8_t *cut = exact(bytes.data, size);
        assert_int_equal(begin_tasks(kvp_slice_of(cut, size), &tasks), KVP_BAD_REQUEST);
        free(cut);
    }
    for (uint8_t count = 0; count < 16; count++) {
        bytes.data[0] = 0x90 | count;
        assert_int_equal(try_tasks(&bytes), count == 2 ? KVP_OK : KVP_BAD_REQUEST);
    }
    bytes.data[0] = 0x92;
    assert_int_equal(kvp_buf_append(&bytes, "\xc0", 1), KVP_OK);
    assert_int_equal(try_tasks(&bytes), KVP_BAD_REQUEST);
    kvp_buf_free(&bytes);
}

static kvp_status try_one(const char *kind, size_t kind_size, uint32_t after_count,
                          uint32_t after_last, size_t payload_size)
{
    static uint8_t payload[KVP_VALUE_SIZE_MAX + 1];
    static uint32_t after[KVP_JOB_DEPS_MAX + 1];
    kvp_buf bytes = {0};
    after[after_count > 0 ? after_count - 1 : 0] = after_last;
    assert_int_equal(kvp_job_tasks_open(&bytes, 1), KVP_OK);
    assert_int_equal(kvp_job_tasks_put(&bytes, kvp_slice_of(kind, kind_size), after, after_count,
                                       false, kvp_slice_of(payload, payload_size)),
                     KVP_OK);
    kvp_status status = try_tasks(&bytes);
    kvp_buf_free(&bytes);
    return status;
}

static void test_a_task_has_its_limits(void **state)
{
    (void)state;
    assert_int_equal(try_one("k", 1, 0, 0, 0), KVP_OK);
    assert_int_equal(try_one("", 0, 0, 0, 0), KVP_BAD_REQUEST);
    assert_int_equal(try_one(LONG_AGO, 64, 0, 0, 0), KVP_OK);
    assert_int_equal(try_one(LONG_AGO "x", 65, 0, 0, 0), KVP_BAD_REQUEST);
    assert_int_equal(try_one("a\0b", 3, 0, 0, 0), KVP_BAD_REQUEST);
    assert_int_equal(try_one("k", 1, KVP_JOB_DEPS_MAX, 0, 0), KVP_OK);
    assert_int_equal(try_one("k", 1, KVP_JOB_DEPS_MAX + 1, 0, 0), KVP_TOO_LARGE);
    assert_int_equal(try_one("k", 1, 1, KVP_JOB_TASKS_MAX, 0), KVP_OK);
    assert_int_equal(try_one("k", 1, 1, KVP_JOB_TASKS_MAX + 1, 0), KVP_BAD_REQUEST);
    assert_int_equal(try_one("k", 1, 0, 0, KVP_VALUE_SIZE_MAX), KVP_OK);
    assert_int_equal(try_one("k", 1, 0, 0, KVP_VALUE_SIZE_MAX + 1), KVP_TOO_LARGE);
}

static void test_a_list_has_at_most_1024_tasks(void **state)
{
    (void)state;
    for (uint32_t count = KVP_JOB_BATCH_MAX; count <= KVP_JOB_BATCH_MAX + 1; count++) {
        kvp_buf bytes = {0};
        assert_int_equal(kvp_job_tasks_open(&bytes, count), KVP_OK);
        for (uint32_t i = 0; i < count; i++) {
            assert_int_equal(kvp_job_tasks_put(&bytes, text("k"), NULL, 0, false, text("")),
                             KVP_OK);
        }
        assert_int_equal(try_tasks(&bytes), count == KVP_JOB_BATCH_MAX ? KVP_OK : KVP_TOO_LARGE);
        kvp_buf_free(&bytes);
    }
}

/* ---- records ---- */

static void full_job(struct job_record *record)
{
    memset(record, 0, sizeof(*record));
    kvp_job_spec_init(&record->spec, KVP_JOB_TASKS);
    memcpy(record->spec.name, "words", sizeof("words"));
    record->state = JOB_FAILED;
    record->task_count = 300;
    record->blocks = 70000;
    memset(record->reason, 'r', JOB_REASON_MAX);
    record->kind_count = KVP_JOB_KINDS_MAX;
    for (unsigned i = 0; i < KVP_JOB_KINDS_MAX; i++) {
        memcpy(record->kinds[i].text, LONG_AGO, sizeof(LONG_AGO));
        record->kinds[i].text[0] = (char)('a' + i);
    }
}

static void full_task(struct task_record *record)
{
    memset(record, 0, sizeof(*record));
    record->state = TASK_DONE;
    record->kind = KVP_JOB_KINDS_MAX - 1;
    record->feed = record->summed = true;
    record->copies = KVP_JOB_COPIES_MAX;
    record->lost = 255;
    record->winner = KVP_JOB_COPIES_MAX - 1;
    record->size = UINT32_MAX;
    memset(record->reason, 'r', JOB_REASON_MAX);
    record->after_count = 3;
    record->after = kvp_slice_of("\x05\xcc\xc8\xce\x00\x10\x00\x00", 8);
    record->vote_count = KVP_JOB_COPIES_MAX;
    for (unsigned i = 0; i < KVP_JOB_COPIES_MAX; i++) {
        struct job_vote *vote = &record->votes[i];
        memcpy(vote->worker, LONG_AGO, sizeof(LONG_AGO));
        vote->worker[0] = (char)('a' + i);
        vote->attempt = UINT64_MAX - i;
        vote->outcome = (uint8_t)(i % 3);
        vote->agreed = i % 2 == 1;
        vote->size = UINT32_MAX - i;
        vote->digest = UINT64_MAX - 10 * i;
    }
}

static void full_worker(struct worker_record *record)
{
    memset(record, 0, sizeof(*record));
    record->instance = UINT64_MAX;
    record->buffer = UINT64_MAX - 1;
    record->standby = record->barred = record->drained = true;
    record->lost_votes = UINT32_MAX;
    record->kind_count = 2;
    memcpy(record->kinds[0].text, "matmul", sizeof("matmul"));
    memcpy(record->kinds[1].text, LONG_AGO, sizeof(LONG_AGO));
}

/* All kinds of record under one form; what a record decodes to is encoded again. */
static kvp_status again_job(kvp_slice bytes, kvp_buf *out)
{
    static struct job_record record;
    memset(&record, 0xa5, sizeof(record)); /* the decoder must not rely on what was there */
    kvp_status status = job_record_decode(bytes, &record);
    return status == KVP_OK && out != NULL ? job_record_encode(&record, out) : status;
}

static kvp_status again_task(kvp_slice bytes, kvp_buf *out)
{
    static struct task_record record;
    memset(&record, 0xa5, sizeof(record));
    kvp_status status = task_record_decode(bytes, &record);
    return status == KVP_OK && out != NULL ? task_record_encode(&record, out) : status;
}

static kvp_status again_worker(kvp_slice bytes, kvp_buf *out)
{
    static struct worker_record record;
    memset(&record, 0xa5, sizeof(record));
    kvp_status status = worker_record_decode(bytes, &record);
    return status == KVP_OK && out != NULL ? worker_record_encode(&record, out) : status;
}

static kvp_status again_faults(kvp_slice bytes, kvp_buf *out)
{
    static struct faults_record record;
    memset(&record, 0xa5, sizeof(record));
    kvp_status status = faults_record_decode(bytes, &record);
    return status == KVP_OK && out != NULL ? faults_record_encode(&record, out) : status;
}

static kvp_status again_standing(kvp_slice bytes, kvp_buf *out)
{
    static struct standing_record record;
    memset(&record, 0xa5, sizeof(record));
    kvp_status status = standing_record_decode(bytes, &record);
    return status == KVP_OK && out != NULL ? standing_record_encode(&record, out) : status;
}

static void put_job(kvp_buf *out, bool full)
{
    static struct job_record record;
    full_job(&record);
    if (!full) {
        memset(&record, 0, sizeof(record));
        kvp_job_spec_init(&record.spec, KVP_JOB_TASKS);
    }
    assert_int_equal(job_record_encode(&record, out), KVP_OK);
}

static void put_task(kvp_buf *out, bool full)
{
    static struct task_record record;
    full_task(&record);
    if (!full) {
        memset(&record, 0, sizeof(record));
    }
    assert_int_equal(task_record_encode(&record, out), KVP_OK);
}

static void put_worker(kvp_buf *out, bool full)
{
    static struct worker_record record;
    full_worker(&record);
    if (!full) {
        memset(&record, 0, sizeof(record));
    }
    assert_int_equal(worker_record_encode(&record, out), KVP_OK);
}

static void put_faults(kvp_buf *out, bool full)
{
    static struct faults_record record;
    memset(&record, 0, sizeof(record));
    for (unsigned i = 0; full && i < JOB_FAULTS_MAX; i++) {
        struct job_fault *fault = &record.by[record.count++];
        memcpy(fault->worker, LONG_AGO, sizeof(LONG_AGO));
        fault->worker[0] = (char)('a' + i);
        fault->failed = (uint8_t)(255 - i);
        fault->lost = (uint8_t)i;
    }
    record.workers = full ? UINT32_MAX : 0;
    record.failed = full ? UINT32_MAX - 1 : 0;
    assert_int_equal(faults_record_encode(&record, out), KVP_OK);
}

static void put_standing(kvp_buf *out, bool full)
{
    struct standing_record record = {0};
    record.faults = full ? UINT32_MAX - 1 : 0;
    record.ever = full ? UINT32_MAX : 0;
    memset(record.reason, full ? 'r' : 0, JOB_REASON_MAX);
    assert_int_equal(standing_record_encode(&record, out), KVP_OK);
}

static const struct {
    void (*put)(kvp_buf *out, bool full);
    kvp_status (*again)(kvp_slice bytes, kvp_buf *out);
} records[] = {{put_job, again_job},
               {put_task, again_task},
               {put_worker, again_worker},
               {put_faults, again_faults},
               {put_standing, again_standing}};

#define RECORDS (sizeof(records) / sizeof(records[0]))

static void test_records_come_back_whole(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 2 * RECORDS; i++) {
        kvp_buf bytes = {0}, again = {0};
        records[i / 2].put(&bytes, i % 2 == 0);
        assert_int_equal(records[i / 2].again(kvp_buf_slice(&bytes), &again), KVP_OK);
        assert_int_equal(kvp_slice_compare(kvp_buf_slice(&bytes), kvp_buf_slice(&again)), 0);
        kvp_buf_free(&bytes);
        kvp_buf_free(&again);
    }
}

static void test_fields_of_records_arrive_where_they_belong(void **state)
{
    static struct job_record job;
    static struct task_record task, full;
    static struct worker_record worker;
    kvp_buf bytes = {0};
    (void)state;
    put_job(&bytes, true);
    assert_int_equal(job_record_decode(kvp_buf_slice(&bytes), &job), KVP_OK);
    assert_string_equal(job.spec.name, "words");
    assert_int_equal(job.state, JOB_FAILED);
    assert_int_equal(job.task_count, 300);
    assert_int_equal(job.blocks, 70000);
    assert_int_equal(strlen(job.reason), JOB_REASON_MAX);
    assert_int_equal(job.kind_count, KVP_JOB_KINDS_MAX);
    assert_int_equal(job.kinds[15].text[0], 'p');
    bytes.size = 0;
    put_task(&bytes, true);
    full_task(&full);
    assert_int_equal(task_record_decode(kvp_buf_slice(&bytes), &task), KVP_OK);
    assert_memory_equal(task.votes, full.votes, sizeof(task.votes));
    assert_true(task.feed && task.summed);
    assert_int_equal(task.winner, 7);
    assert_int_equal(task.lost, 255);
    assert_int_equal(task.copies, 8);
    assert_int_equal(task_record_after(&task), 5);
    assert_int_equal(task_record_after(&task), 200);
    assert_int_equal(task_record_after(&task), 1048576);
    assert_int_equal(task.after.size, 0);
    bytes.size = 0;
    put_worker(&bytes, true);
    assert_int_equal(worker_record_decode(kvp_buf_slice(&bytes), &worker), KVP_OK);
    assert_true(worker.instance == UINT64_MAX && worker.buffer == UINT64_MAX - 1);
    assert_true(worker.standby && !worker.active && !worker.left && worker.barred);
    assert_true(worker.lost_votes == UINT32_MAX);
    assert_string_equal(worker.kinds[1].text, LONG_AGO);
    kvp_buf_free(&bytes);
}

static void test_who_failed_a_task_and_how_often_comes_back(void **state)
{
    static struct faults_record faults;
    struct standing_record standing;
    kvp_buf bytes = {0};
    (void)state;
    put_faults(&bytes, true);
    assert_int_equal(faults_record_decode(kvp_buf_slice(&bytes), &faults), KVP_OK);
    assert_true(faults.workers == UINT32_MAX && faults.failed == UINT32_MAX - 1);
    assert_int_equal(faults.count, JOB_FAULTS_MAX);
    assert_int_equal(faults.by[15].worker[0], 'p');
    assert_int_equal(faults.by[15].failed, 240);
    assert_int_equal(faults.by[15].lost, 15);
    faults.workers = JOB_FAULTS_MAX - 1; /* fewer than it names */
    bytes.size = 0;
    assert_int_equal(faults_record_encode(&faults, &bytes), KVP_OK);
    assert_int_equal(again_faults(kvp_buf_slice(&bytes), NULL), KVP_CORRUPT);
    bytes.size = 0;
    put_standing(&bytes, true);
    assert_int_equal(standing_record_decode(kvp_buf_slice(&bytes), &standing), KVP_OK);
    assert_true(standing.faults == UINT32_MAX - 1 && standing.ever == UINT32_MAX);
    assert_int_equal(strlen(standing.reason), JOB_REASON_MAX);
    kvp_buf_free(&bytes);
}

static void test_records_cut_off_changed_in_form_or_of_another_version_are_corrupt(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 2 * RECORDS; i++) {
        kvp_buf bytes = {0};
        kvp_status (*again)(kvp_slice, kvp_buf *) = records[i / 2].again;
        records[i / 2].put(&bytes, i % 2 == 0);
        for (size_t size = 0; size < bytes.size; size++) {
            uint8_t *cut = exact(bytes.data, size);
            assert_int_equal(again(kvp_slice_of(cut, size), NULL), KVP_CORRUPT);
            free(cut);
        }
        uint8_t head = bytes.data[0];
        for (uint8_t count = 0; count < 16; count++) {
            bytes.data[0] = 0x90 | count;
            assert_int_equal(again(kvp_buf_slice(&bytes), NULL),
                             bytes.data[0] == head ? KVP_OK : KVP_CORRUPT);
        }
        bytes.data[0] = head;
        for (uint8_t version = 0; version < 128; version++) {
            bytes.data[1] = version;
            assert_int_equal(again(kvp_buf_slice(&bytes), NULL),
                             version == 1 ? KVP_OK : KVP_CORRUPT);
        }
        bytes.data[1] = 1;
        assert_int_equal(kvp_buf_append(&bytes, "\xc0", 1), KVP_OK);
        assert_int_equal(again(kvp_buf_slice(&bytes), NULL), KVP_CORRUPT);
        kvp_buf_free(&bytes);
    }
}

static void test_a_job_record_out_of_range_is_corrupt(void **state)
{
    static struct job_record good, record;
    (void)state;
    full_job(&good);
    for (unsigned change = 0; change < 4; change++) {
        kvp_buf bytes = {0};
        record = good;
        switch (change) {
        case 0:
            record.state = JOB_DONE_WITH_FAILURES + 1;
            break;
        case 1:
            record.task_count = KVP_JOB_TASKS_MAX + 1;
            break;
        case 2:
            record.spec.quorum = 0;
            break;
        default:
            break; /* nothing, for comparison */
        }
        assert_int_equal(job_record_encode(&record, &bytes), KVP_OK);
        assert_int_equal(again_job(kvp_buf_slice(&bytes), NULL), change < 3 ? KVP_CORRUPT : KVP_OK);
        kvp_buf_free(&bytes);
    }
}

static void test_a_task_record_out_of_range_is_corrupt(void **state)
{
    static struct task_record good, record;
    (void)state;
    full_task(&good);
    good.vote_count = 2;
    good.winner = 1;
    for (unsigned change = 0; change < 8; change++) {
        kvp_buf bytes = {0};
        record = good;
        switch (change) {
        case 0:
            record.state = TASK_FAILED + 1;
            break;
        case 1:
            record.kind = KVP_JOB_KINDS_MAX;
            break;
        case 2:
            record.copies = KVP_JOB_COPIES_MAX + 1;
            break;
        case 3:
            record.winner = 2; /* there are the votes 0 and 1 */
            break;
        case 4:
            record.winner = KVP_JOB_COPIES_MAX;
            record.state = TASK_OPEN;
            break;
        case 5:
            record.after_count = 4;
            break;
        case 6:
            record.after = kvp_slice_of("\x05\xcc\xc8\xce\x00\x10\x00\x01", 8);
            break;
        default:
            break;
        }
        assert_int_equal(task_record_encode(&record, &bytes), KVP_OK);
        assert_int_equal(again_task(kvp_buf_slice(&bytes), NULL),
                         change < 7 ? KVP_CORRUPT : KVP_OK);
        kvp_buf_free(&bytes);
    }
}

/* Replaces the empty array at the end of a record by one of `count` values. */
static void put_at_end(kvp_buf *bytes, uint16_t count, kvp_slice value)
{
    uint8_t head[3] = {0xdc, (uint8_t)(count >> 8), (uint8_t)count};
    assert_int_equal(bytes->data[bytes->size - 1], 0x90);
    bytes->size--;
    assert_int_equal(kvp_buf_append(bytes, head, sizeof(head)), KVP_OK);
    for (unsigned i = 0; i < count; i++) {
        assert_int_equal(kvp_buf_append(bytes, value.data, value.size), KVP_OK);
    }
}

static void test_more_kinds_or_votes_than_there_may_be_are_corrupt(void **state)
{
    static const kvp_slice kind = {"\xa1k", 2};
    static const kvp_slice vote = {"\x96\xa1w\x01\x00\xc3\x04\x05", 8};
    const struct {
        unsigned record;
        kvp_slice value;
        uint16_t most;
    } cases[] = {
        {0, kind, KVP_JOB_KINDS_MAX}, {1, vote, KVP_JOB_COPIES_MAX}, {2, kind, KVP_JOB_KINDS_MAX}};
    (void)state;
    for (unsigned i = 0; i < 6; i++) {
        kvp_buf bytes = {0};
        uint16_t count = (uint16_t)(cases[i / 2].most + i % 2);
        records[cases[i / 2].record].put(&bytes, false);
        put_at_end(&bytes, count, cases[i / 2].value);
        assert_int_equal(records[cases[i / 2].record].again(kvp_buf_slice(&bytes), NULL),
                         i % 2 == 0 ? KVP_OK : KVP_CORRUPT);
        kvp_buf_free(&bytes);
    }
}

/* Texts in records are as long as their room at most, and end where C says. */
static void test_texts_of_records_fit_their_room(void **state)
{
    static const kvp_slice texts[] = {
        {"\xd9\x41" LONG_AGO "x", 67}, /* 65 bytes */
        {"\xa3"
         "a\0b",
         4},
        {"\xc4\x01k", 3}, /* no text */
    };
    (void)state;
    for (unsigned i = 0; i < 3; i++) {
        kvp_buf bytes = {0};
        put_worker(&bytes, false);
        put_at_end(&bytes, 1, texts[i]);
        assert_int_equal(again_worker(kvp_buf_slice(&bytes), NULL), KVP_CORRUPT);
        kvp_buf_free(&bytes);
    }
}

/* ---- keys ---- */

static kvp_status split(kvp_slice raw, enum job_key *kind, uint64_t *job, uint32_t *number,
                        kvp_slice *name)
{
    uint8_t *copy = exact(raw.data, raw.size);
    kvp_status status = job_key_split(kvp_slice_of(copy, raw.size), kind, job, number, name);
    if (status == KVP_OK) {
        *name = kvp_slice_of((const uint8_t *)raw.data + 2, name->size);
    }
    free(copy);
    return status;
}

static void test_keys_are_split_into_what_they_were_made_of(void **state)
{
    static const enum job_key kinds[] = {JOB_KEY_JOB,    JOB_KEY_TASK, JOB_KEY_PAYLOAD,
                                         JOB_KEY_RESULT, JOB_KEY_SUM,  JOB_KEY_CHECKPOINT};
    const uint64_t id = 0x0102030405060708u;
    const uint32_t place = 0x090a0b0cu;
    (void)state;
    for (unsigned i = 0; i < 6; i++) {
        struct kvp_raw_key raw;
        enum job_key kind;
        uint64_t job = 0;
        uint32_t number = place;
        kvp_slice name;
        if (kinds[i] == JOB_KEY_JOB) {
            job_key_job(&raw, id);
        } else if (kinds[i] == JOB_KEY_RESULT) {
            job_key_result(&raw, id, place, 7);
        } else {
            job_key_part(&raw, kinds[i], id, place);
        }
        assert_int_equal(split(kvp_raw_key_slice(&raw), &kind, &job, &number, &name), KVP_OK);
        assert_int_equal(kind, kinds[i]);
        assert_true(job == id);
        assert_int_equal(number, place);
        for (size_t size = 0; size < raw.size + 2; size++) { /* no other length */
            struct kvp_raw_key other = raw;
            memset(other.data + raw.size, 'x', 2);
            other.size = size;
            assert_int_equal(split(kvp_raw_key_slice(&other), &kind, &job, &number, &name),
                             size == raw.size ? KVP_OK : KVP_CORRUPT);
        }
    }
}

static void test_keys_of_workers_hold_their_names(void **state)
{
    struct kvp_raw_key raw;
    enum job_key kind;
    uint64_t job;
    uint32_t number;
    kvp_slice name;
    (void)state;
    job_key_worker(&raw, JOB_KEY_WORKER, LONG_AGO);
    assert_int_equal(split(kvp_raw_key_slice(&raw), &kind, &job, &number, &name), KVP_OK);
    assert_int_equal(kind, JOB_KEY_WORKER);
    assert_int_equal(kvp_slice_compare(name, text(LONG_AGO)), 0);
    raw.data[raw.size++] = 'x';
    assert_int_equal(split(kvp_raw_key_slice(&raw), &kind, &job, &number, &name), KVP_CORRUPT);
    job_key_worker(&raw, JOB_KEY_STANDING, LONG_AGO);
    assert_int_equal(split(kvp_raw_key_slice(&raw), &kind, &job, &number, &name), KVP_OK);
    assert_int_equal(kind, JOB_KEY_STANDING);
    job_key_worker(&raw, JOB_KEY_WORKER, "");
    assert_int_equal(split(kvp_raw_key_slice(&raw), &kind, &job, &number, &name), KVP_CORRUPT);
    job_key_worker(&raw, JOB_KEY_WORKER, "a-b");
    raw.data[3] = 0;
    assert_int_equal(split(kvp_raw_key_slice(&raw), &kind, &job, &number, &name), KVP_CORRUPT);
}

static void check_holder(const char *name, const char *owner, bool good)
{
    struct kvp_raw_key raw;
    enum job_key kind;
    uint64_t job;
    uint32_t number;
    kvp_slice held;
    job_key_holder(&raw, name, text(owner));
    assert_int_equal(split(kvp_raw_key_slice(&raw), &kind, &job, &number, &held),
                     good ? KVP_OK : KVP_CORRUPT);
    if (good) {
        assert_int_equal(kind, JOB_KEY_HOLDER);
        assert_int_equal(held.size, strlen(name) + (owner[0] != '\0') + strlen(owner));
    }
}

static void test_keys_of_holders_are_those_of_an_owner(void **state)
{
    struct kvp_raw_key raw;
    enum job_key kind;
    uint64_t job;
    uint32_t number;
    kvp_slice held;
    (void)state;
    check_holder("a", "", true);
    check_holder(LONG_AGO, "", true);
    check_holder(LONG_AGO, "user/ann", true);
    check_holder(LONG_AGO "x", "", false);
    check_holder(LONG_AGO "x", "user/ann", false);
    check_holder("", "", false);
    check_holder("", "user/ann", false);
    check_holder("a", LONG_AGO "0123456789abcdef", true);
    check_holder("a", LONG_AGO "0123456789abcdefg", false);
    job_key_holder(&raw, "a", text("user/ann"));
    raw.data[6] = 0; /* a second one */
    assert_int_equal(split(kvp_raw_key_slice(&raw), &kind, &job, &number, &held), KVP_CORRUPT);
    raw.size = 4; /* none behind it */
    assert_int_equal(split(kvp_raw_key_slice(&raw), &kind, &job, &number, &held), KVP_CORRUPT);
}

static void test_keys_of_no_kind_are_corrupt(void **state)
{
    (void)state;
    for (unsigned byte = 0; byte < 256; byte++) {
        struct kvp_raw_key raw;
        enum job_key kind;
        uint64_t job;
        uint32_t number;
        kvp_slice name;
        job_key_part(&raw, JOB_KEY_TASK, 'x' * 0x0101010101010101u, 'x' * 0x01010101u);
        raw.data[1] = (uint8_t)byte;
        bool good = byte != 0 && strchr("tpckfwsn", (int)byte) != NULL;
        assert_int_equal(split(kvp_raw_key_slice(&raw), &kind, &job, &number, &name),
                         good ? KVP_OK : KVP_CORRUPT);
        job_key_part(&raw, JOB_KEY_TASK, 1, 1);
        raw.data[0] = (uint8_t)byte;
        assert_int_equal(split(kvp_raw_key_slice(&raw), &kind, &job, &number, &name),
                         byte == KVP_PREFIX_JOB ? KVP_OK : KVP_CORRUPT);
    }
}

/* The index is built in the order of the keys: tasks of a job by number. */
static void test_keys_are_in_the_order_of_their_numbers(void **state)
{
    static const uint64_t numbers[] = {0, 1, 255, 256, 65535, 65536, UINT32_MAX};
    struct kvp_raw_key low, high;
    (void)state;
    for (size_t i = 0; i + 1 < sizeof(numbers) / sizeof(numbers[0]); i++) {
        job_key_part(&low, JOB_KEY_TASK, 5, (uint32_t)numbers[i]);
        job_key_part(&high, JOB_KEY_TASK, 5, (uint32_t)numbers[i + 1]);
        assert_true(kvp_slice_compare(kvp_raw_key_slice(&low), kvp_raw_key_slice(&high)) < 0);
        job_key_part(&low, JOB_KEY_TASK, numbers[i], UINT32_MAX);
        job_key_part(&high, JOB_KEY_TASK, numbers[i + 1], 0);
        assert_true(kvp_slice_compare(kvp_raw_key_slice(&low), kvp_raw_key_slice(&high)) < 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tasks_come_back_as_they_were_put),
        cmocka_unit_test(test_a_list_of_tasks_cut_off_or_too_long_is_refused),
        cmocka_unit_test(test_a_task_has_its_limits),
        cmocka_unit_test(test_a_list_has_at_most_1024_tasks),
        cmocka_unit_test(test_records_come_back_whole),
        cmocka_unit_test(test_fields_of_records_arrive_where_they_belong),
        cmocka_unit_test(test_who_failed_a_task_and_how_often_comes_back),
        cmocka_unit_test(test_records_cut_off_changed_in_form_or_of_another_version_are_corrupt),
        cmocka_unit_test(test_a_job_record_out_of_range_is_corrupt),
        cmocka_unit_test(test_a_task_record_out_of_range_is_corrupt),
        cmocka_unit_test(test_more_kinds_or_votes_than_there_may_be_are_corrupt),
        cmocka_unit_test(test_texts_of_records_fit_their_room),
        cmocka_unit_test(test_keys_are_split_into_what_they_were_made_of),
        cmocka_unit_test(test_keys_of_workers_hold_their_names),
        cmocka_unit_test(test_keys_of_holders_are_those_of_an_owner),
        cmocka_unit_test(test_keys_of_no_kind_are_corrupt),
        cmocka_unit_test(test_keys_are_in_the_order_of_their_numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
