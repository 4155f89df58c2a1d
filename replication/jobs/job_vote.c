/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a posted result is worth. Every result is a vote; a task is done when `quorum` votes agree,
 * and the first of those that agree is its result. Who voted otherwise has lost a vote. When the
 * copies that are out cannot reach a quorum any more, one more worker is asked.
 *
 * A result that comes for a task that is done changes nothing, but it is still a vote that can be
 * lost: else the slowest of three workers could never be found out.
 */
#include "replication/jobs/job_state.h"
#include "replication/matrix/matrix_compare.h"
#include "kvpair/matrix.h"
#include "kvstore/base/utf8.h"
#include "kvstore/base/mutant.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <zlib.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

struct post {
    struct worker *worker;
    struct job *job;
    struct task *task;
    uint32_t number;
    struct attempt *attempt; /* NULL: not known (any more) */
    struct job_vote vote;
    kvp_slice bytes;
};

/* ---- agreement ---- */

static bool exact(const struct job *job)
{
    return job->record.spec.compare == KVP_AGREE_EXACT;
}

/* The largest magnitude among floats. */
static double largest(uint8_t element, kvp_slice bytes)
{
    double largest = 0;
    size_t size = kvp_matrix_element_size(element);
    for (size_t at = 0; at + size <= bytes.size; at += size) {
        float narrow;
        double wide;
        if (element == KVP_FLOAT32) {
            memcpy(&narrow, (const uint8_t *)bytes.data + at, sizeof(narrow));
            wide = narrow;
        } else {
            memcpy(&wide, (const uint8_t *)bytes.data + at, sizeof(wide));
        }
        largest = fabs(wide) > largest ? fabs(wide) : largest;
    }
    return largest;
}

/* RELATIVE: where products cancel each other out, an element is small, but its error is as large as
 * that of its neighbours. So the tolerance holds for the block's largest element, too. */
static struct kvp_compare_rule rule_for(const struct kvp_job_spec *spec, kvp_slice bytes)
{
    struct kvp_compare_rule rule = {.kind = spec->compare, .tolerance = spec->tolerance};
    if (rule.kind == KVP_AGREE_RELATIVE &&
        (spec->element == KVP_FLOAT32 || spec->element == KVP_FLOAT64)) {
        rule.floor = spec->tolerance * largest(spec->element, bytes);
    }
    return rule;
}

static kvp_status compare_bytes(struct kvp_jobs *jobs, const struct post *post, uint8_t vote,
                                bool *agree)
{
    const struct kvp_job_spec *spec = &post->job->record.spec;
    struct kvp_job_tile tile = kvp_job_tile_of(spec, post->number);
    struct kvp_compare_rule rule = rule_for(spec, post->bytes);
    struct kvp_comparison comparison;
    struct kvp_raw_key key;
    job_key_result(&key, post->job->id, post->number, vote);
    jobs->other.size = 0;
    kvp_status status = job_get(jobs, &key, &jobs->other);
    if (status != KVP_OK) {
        *agree = true; /* summed up already: nothing to hold against it */
        return status == KVP_NOT_FOUND ? KVP_OK : status;
    }
    status = kvp_matrix_compare(&rule, spec->element, tile.rows, tile.columns, post->bytes,
                                kvp_buf_slice(&jobs->other), &comparison);
    *agree = status == KVP_OK && comparison.agree;
    return status;
}

/* Does the posted result agree with vote number `vote` of the record? */
static kvp_status agrees(struct kvp_jobs *jobs, const struct post *post,
                         const struct task_record *record, uint8_t vote, bool *agree)
{
    const struct job_vote *other = &record->votes[vote];
    *agree = other->outcome == post->vote.outcome && other->size == post->vote.size &&
             other->digest == post->vote.digest;
    if (*agree || exact(post->job) || other->outcome != post->vote.outcome ||
        other->outcome != KVP_OUTCOME_RESULT) {
        return KVP_OK;
    }
    return compare_bytes(jobs, post, vote, agree);
}

/* ---- votes that were lost ---- */

static kvp_status lose_vote(struct kvp_jobs *jobs, const char *name)
{
    struct worker *worker = worker_find(jobs, kvp_slice_of(name, strlen(name)));
    if (worker == NULL) {
        return KVP_OK; /* forgotten */
    }
    worker->record.lost_votes++;
    if (worker->record.lost_votes >= jobs->config.lost_votes_max && !worker->record.barred) {
        worker->record.barred = true;
        worker_give_back(jobs, worker);
        jobs->check_us = 0; /* a standby may take its place */
    }
    return worker_write(jobs, worker);
}

static kvp_status settle_votes(struct kvp_jobs *jobs, const struct post *post,
                               struct task_record *record)
{
    kvp_status status = KVP_OK;
    for (unsigned i = 0; i < record->vote_count && status == KVP_OK; i++) {
        struct job_vote *vote = &record->votes[i];
        if (!vote->agreed) {
            status = post->job->record.spec.quorum > 1 ? lose_vote(jobs, vote->worker) : KVP_OK;
        } else if (i != record->winner && vote->outcome == KVP_OUTCOME_RESULT) {
            struct kvp_raw_key key;
            job_key_result(&key, post->job->id, post->number, (uint8_t)i);
            status = job_del(jobs, &key);
        }
    }
    return status;
}

/* ---- counting ---- */

/* How often results of this task have disagreed: one more worker was asked, or a result was
 * outvoted, which mostly is the same event seen before and after. */
uint32_t task_disagreements(const struct job *job, const struct task_record *record)
{
    uint32_t asked =
        record->copies > job->record.spec.copies ? record->copies - job->record.spec.copies : 0;
    uint32_t outvoted = 0;
    for (unsigned i = 0; i < record->vote_count && record->state == TASK_DONE; i++) {
        outvoted += record->votes[i].agreed ? 0 : 1;
    }
    return outvoted > asked ? outvoted : asked;
}

static void note_time(struct job *job, struct attempt *attempt, uint64_t now_us)
{
    if (attempt == NULL) {
        return;
    }
    uint64_t took = now_us - attempt->started_us;
    share_settle(attempt, now_us);
    job->took_min_us = job->took_count == 0 || took < job->took_min_us ? took : job->took_min_us;
    job->took_max_us = took > job->took_max_us ? took : job->took_max_us;
    job->took_sum_us += took;
    job->took_count++;
}

static kvp_status put_result(struct kvp_jobs *jobs, const struct post *post, uint8_t vote)
{
    struct kvp_raw_key key;
    if (post->vote.outcome != KVP_OUTCOME_RESULT) {
        return KVP_OK;
    }
    job_key_result(&key, post->job->id, post->number, vote);
    return job_put(jobs, &key, post->bytes);
}

static void vote_explain(struct task_record *record, const char *reason)
{
    (void)snprintf(record->reason, sizeof(record->reason), "%s", reason);
}

static kvp_status vote_finish(struct kvp_jobs *jobs, struct post *post, struct task_record *record,
                              uint64_t now_us)
{
    bool overflow = record->votes[record->winner].outcome == KVP_OUTCOME_OVERFLOW;
    char text[JOB_REASON_MAX + 24];
    uint32_t disagreed = task_disagreements(post->job, record);
    kvp_status status = settle_votes(jobs, post, record);
    record->state = overflow ? TASK_FAILED : TASK_DONE;
    if (overflow) {
        vote_explain(record, "a result does not fit the type of the elements");
    }
    post->job->disagreed += task_disagreements(post->job, record) - disagreed;
    if (status == KVP_OK) {
        status = task_write(jobs, post->job, post->number, record);
    }
    if (status != KVP_OK) {
        return status;
    }
    if (!overflow) {
        status = faults_settle(jobs, post->task, record);
        if (status != KVP_OK) {
            return status;
        }
        job_note_done(jobs, post->job, post->number, record->votes[record->winner].size);
        return KVP_OK;
    }
    (void)snprintf(text, sizeof(text), "task %u: %s", post->number, record->reason);
    return task_give_up(jobs, post->job, post->number, text, now_us);
}

/* `group`: votes in the largest party that agrees. */
static kvp_status vote_go_on(struct kvp_jobs *jobs, struct post *post, struct task_record *record,
                             unsigned group, uint64_t now_us)
{
    const struct kvp_job_spec *spec = &post->job->record.spec;
    unsigned to_come =
        record->copies > record->vote_count ? record->copies - record->vote_count : 0;
    if (group + to_come >= spec->quorum) {
        return task_write(jobs, post->job, post->number, record);
    }
    post->job->disagreed++;
    if (record->copies < spec->copies_max) {
        post->task->copies = ++record->copies;
        queue_front(jobs, post->job, post->number);
        return task_write(jobs, post->job, post->number, record);
    }
    char text[JOB_REASON_MAX], own[100];
    (void)snprintf(own, sizeof(own), "%u results, and no %u of them agree", record->vote_count,
                   spec->quorum);
    (void)snprintf(text, sizeof(text), "task %u: %s", post->number, own);
    vote_explain(record, own);
    record->state = TASK_FAILED;
    kvp_status status = task_write(jobs, post->job, post->number, record);
    return status == KVP_OK ? task_give_up(jobs, post->job, post->number, text, now_us) : status;
}

/* How many votes agree with the new one, and which; and the size of the largest party. Parties are
 * told by whom a vote agrees with, which tolerances make no equivalence: the new vote is what
 * counts. */
static kvp_status count(struct kvp_jobs *jobs, const struct post *post, struct task_record *record,
                        unsigned *with)
{
    *with = 1;
    for (uint8_t i = 0; i + 1u < record->vote_count; i++) {
        bool agree;
        kvp_status status = agrees(jobs, post, record, i, &agree);
        if (status != KVP_OK) {
            return status;
        }
        record->votes[i].agreed = agree;
        *with += agree;
    }
    return KVP_OK;
}

static unsigned largest_party(const struct task_record *record, unsigned with)
{
    unsigned largest = with;
    for (unsigned i = 0; i < record->vote_count; i++) {
        unsigned size = 0;
        for (unsigned j = 0; j < record->vote_count; j++) {
            size += record->votes[i].outcome == record->votes[j].outcome &&
                    record->votes[i].digest == record->votes[j].digest;
        }
        largest = size > largest ? size : largest;
    }
    return largest;
}

static kvp_status vote(struct kvp_jobs *jobs, struct post *post, struct task_record *record,
                       uint64_t now_us)
{
    unsigned with;
    uint8_t index = (uint8_t)record->vote_count++;
    struct job *job = post->job;
    record->votes[index] = post->vote;
    kvp_status status = put_result(jobs, post, index);
    if (status == KVP_OK) {
        status = count(jobs, post, record, &with);
    }
    if (status != KVP_OK) {
        return status;
    }
    note_time(job, post->attempt, now_us);
    post->worker->done++;
    post->task->votes = (uint8_t)record->vote_count;
    if (post->attempt != NULL) {
        attempt_end(jobs, post->worker, post->attempt, false);
        post->attempt = NULL;
    } else if (post->task->seen_count < KVP_JOB_COPIES_MAX) {
        post->task->seen[post->task->seen_count++] = post->worker->index;
    }
    if (with < job->record.spec.quorum && !KVP_MUTANT(JOB_NO_QUORUM)) {
        unsigned largest = largest_party(record, with);
        for (unsigned i = 0; i < record->vote_count; i++) {
            record->votes[i].agreed = false; /* nothing is decided */
        }
        return vote_go_on(jobs, post, record, largest, now_us);
    }
    record->votes[index].agreed = true;
    record->winner = 0;
    while (!record->votes[record->winner].agreed) {
        record->winner++;
    }
    return vote_finish(jobs, post, record, now_us);
}

/* For a task that is done: has it lost? */
static kvp_status judge_late(struct kvp_jobs *jobs, struct post *post, struct task_record *record)
{
    bool agree = true;
    kvp_status status = KVP_OK;
    post->job->late++;
    if (post->attempt != NULL) {
        attempt_end(jobs, post->worker, post->attempt, false);
    }
    if (post->job->record.spec.quorum > 1 && record->vote_count > 0) {
        status = agrees(jobs, post, record, record->winner, &agree);
    }
    if (status == KVP_OK && agree) {
        worker_cleared(post->worker); /* it is slow, and no worse */
    }
    if (status != KVP_OK || agree || record->vote_count == KVP_JOB_COPIES_MAX ||
        KVP_MUTANT(JOB_LOST_VOTES)) {
        return status;
    }
    uint32_t disagreed = task_disagreements(post->job, record);
    record->votes[record->vote_count++] = post->vote;
    post->job->disagreed += task_disagreements(post->job, record) - disagreed;
    status = put_result(jobs, post, (uint8_t)(record->vote_count - 1));
    if (status == KVP_OK) {
        status = task_write(jobs, post->job, post->number, record);
    }
    post->task->votes = (uint8_t)record->vote_count;
    return status == KVP_OK ? lose_vote(jobs, post->worker->name) : status;
}

/* ---- posts ---- */

static bool voted(const struct task_record *record, const struct worker *worker)
{
    for (unsigned i = 0; i < record->vote_count; i++) {
        if (strcmp(record->votes[i].worker, worker->name) == 0 && !KVP_MUTANT(JOB_VOTE_TWICE)) {
            return true;
        }
    }
    return false;
}

static kvp_status vote_take_result(struct kvp_jobs *jobs, struct post *post, uint64_t now_us,
                                   struct job_answer *answer)
{
    struct task_record record;
    kvp_status status = task_read(jobs, post->job, post->number, &record);
    if (status != KVP_OK) {
        return status;
    }
    bool repeated = voted(&record, post->worker);
    bool late = post->task->state == TASK_DONE && !KVP_MUTANT(JOB_OVERWRITE);
    bool open = (post->task->state == TASK_OPEN && post->job->record.state == JOB_RUNNING) ||
                (post->task->state == TASK_DONE && KVP_MUTANT(JOB_OVERWRITE)) ||
                KVP_MUTANT(JOB_AFTER_CANCEL);
    /* What record.after points to is gone as soon as another record is read. */
    kvp_buf after = {0};
    if (repeated || (!late && !open) || record.vote_count == KVP_JOB_COPIES_MAX) {
        if (post->attempt != NULL) {
            attempt_end(jobs, post->worker, post->attempt, false);
        }
        return kvp_wire_bool(answer->result, repeated && !late);
    }
    status = kvp_buf_append(&after, record.after.data, record.after.size);
    record.after = kvp_buf_slice(&after);
    if (status == KVP_OK) {
        status = late ? judge_late(jobs, post, &record) : vote(jobs, post, &record, now_us);
    }
    kvp_buf_free(&after);
    return status == KVP_OK ? kvp_wire_bool(answer->result, !late) : status;
}

/* A result that cannot be one: the attempt has failed. */
static kvp_status take_wrong(struct kvp_jobs *jobs, struct post *post, const char *reason,
                             uint64_t now_us, struct job_answer *answer)
{
    kvp_status status = KVP_OK;
    if (post->attempt != NULL) {
        status = attempt_lost(jobs, post->worker, post->attempt, FAULT_FAILED, reason, now_us);
    }
    return status == KVP_OK ? job_refuse(answer, KVP_BAD_REQUEST, reason) : status;
}

static kvp_status take_failure(struct kvp_jobs *jobs, struct post *post, uint64_t now_us,
                               struct job_answer *answer)
{
    char reason[JOB_REASON_MAX + 1];
    bool counted = post->attempt != NULL;
    kvp_status status = KVP_OK;
    (void)kvp_utf8_copy_end(reason, sizeof(reason), post->bytes);
    if (counted) {
        status = attempt_lost(jobs, post->worker, post->attempt, FAULT_FAILED,
                              reason[0] ? reason : "the worker gave no reason", now_us);
    }
    return status == KVP_OK ? kvp_wire_bool(answer->result, counted) : status;
}

static kvp_status give_back(struct kvp_jobs *jobs, struct post *post, uint64_t now_us,
                            struct job_answer *answer)
{
    bool held = post->attempt != NULL;
    if (held) {
        attempt_end(jobs, post->worker, post->attempt, true);
        worker_returned(jobs, post->worker, now_us);
    }
    return kvp_wire_bool(answer->result, held);
}

static kvp_status check_and_take(struct kvp_jobs *jobs, struct post *post, uint32_t crc,
                                 uint64_t now_us, struct job_answer *answer)
{
    const struct kvp_job_spec *spec = &post->job->record.spec;
    struct job_vote *vote = &post->vote;
    if (vote->outcome == KVP_OUTCOME_OVERFLOW) {
        post->bytes = (kvp_slice){0};
    } else if (crc != (uint32_t)crc32_z(0, post->bytes.data, post->bytes.size)) {
        return job_refuse(answer, KVP_CORRUPT, "the result arrived damaged");
    }
    if (vote->outcome == KVP_OUTCOME_RESULT && spec->type == KVP_JOB_MATMUL) {
        struct kvp_job_tile tile = kvp_job_tile_of(spec, post->number);
        size_t size = (size_t)tile.rows * tile.columns * kvp_matrix_element_size(spec->element);
        if (post->bytes.size != size) {
            char reason[JOB_REASON_MAX];
            (void)snprintf(reason, sizeof(reason), "the result has %zu bytes, needed are %zu",
                           post->bytes.size, size);
            return take_wrong(jobs, post, reason, now_us, answer);
        }
        if (kvp_matrix_has_nonfinite(spec->element, post->bytes)) {
            vote->outcome = KVP_OUTCOME_OVERFLOW;
            post->bytes = (kvp_slice){0};
        }
    }
    vote->size = (uint32_t)post->bytes.size;
    vote->digest = XXH3_64bits(post->bytes.data, post->bytes.size);
    return vote_take_result(jobs, post, now_us, answer);
}

kvp_status job_post(struct kvp_jobs *jobs, const struct kvp_request *request, uint64_t now_us,
                    struct job_answer *answer)
{
    const struct kvp_job_args *args = &request->job;
    kvp_status status;
    struct job *job;
    struct worker *worker = attempt_speaking(jobs, request, now_us, answer, &job, &status);
    if (worker == NULL) {
        return status;
    }
    if (job->record.state > JOB_DONE && !KVP_MUTANT(JOB_AFTER_CANCEL)) {
        return job_refuse(answer, KVP_JOB_STATE, "the job has ended");
    }
    struct post post = {
        .worker = worker,
        .job = job,
        .task = &job->tasks[args->task],
        .number = args->task,
        .attempt = attempt_find(worker, job, args->task, args->attempt),
        .vote = {.attempt = args->attempt, .outcome = (uint8_t)args->outcome},
        .bytes = request->value,
    };
    memcpy(post.vote.worker, worker->name, sizeof(post.vote.worker));
    switch (args->outcome) {
    case KVP_OUTCOME_RESULT:
    case KVP_OUTCOME_OVERFLOW:
        return check_and_take(jobs, &post, args->crc, now_us, answer);
    case KVP_OUTCOME_FAILED:
        return take_failure(jobs, &post, now_us, answer);
    case KVP_OUTCOME_GIVEN_BACK:
        return give_back(jobs, &post, now_us, answer);
    default:
        return job_refuse(answer, KVP_BAD_REQUEST, "unknown outcome");
    }
}
