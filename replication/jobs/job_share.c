/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which job the next task comes from. Higher priorities go first. Among jobs of the same priority
 * the time of the workers is shared evenly between submitters, and each one's part between its
 * jobs: so a short job beside a long one waits for a worker to become free, and for no more.
 *
 * That is start-time fair queueing. A job has a clock of its own, which is put forward by the time
 * that a task of it takes a worker, times the number of jobs that its submitter has there; the job
 * whose clock is the furthest behind is next. What a task will take is guessed when it is handed
 * out, and put right when it has ended. A job that had nothing to hand out joins where the others
 * are. Clocks are in memory only: after a change of primary all jobs begin side by side, and who
 * submitted what is not known any more.
 *
 * A pick looks at jobs that have something to hand out, in a heap made of them: its work does not
 * grow with the jobs that have ended and are kept.
 */
#include "replication/jobs/job_state.h"

#define FIRST_COST_US UINT64_C(100000) /* while no task of the job has ended */

/* ---- who takes part ---- */

void share_join(struct kvp_jobs *jobs, struct job *job)
{
    uint64_t clock_us = jobs->clocks_us[job->record.spec.priority];
    if (job->turn_place != JOB_NONE || job->record.state != JOB_RUNNING) {
        return;
    }
    job->clock_us = job->clock_us > clock_us ? job->clock_us : clock_us;
    job->turn_place = jobs->turn_count;
    jobs->turns[jobs->turn_count++] = job;
}

void share_leave(struct kvp_jobs *jobs, struct job *job)
{
    if (job->turn_place == JOB_NONE) {
        return;
    }
    struct job *last = jobs->turns[--jobs->turn_count];
    jobs->turns[job->turn_place] = last;
    last->turn_place = job->turn_place;
    job->turn_place = JOB_NONE;
}

/* ---- who is next ---- */

static bool share_before(const struct job *a, const struct job *b)
{
    if (a->record.spec.priority != b->record.spec.priority) {
        return a->record.spec.priority > b->record.spec.priority;
    }
    return a->clock_us == b->clock_us ? a->id < b->id : a->clock_us < b->clock_us;
}

static void share_sink(struct share *share, uint32_t at)
{
    struct job **heap = share->heap;
    for (uint32_t child; (child = 2 * at + 1) < share->left; at = child) {
        if (child + 1 < share->left && share_before(heap[child + 1], heap[child])) {
            child++;
        }
        if (!share_before(heap[child], heap[at])) {
            return;
        }
        struct job *kept = heap[at];
        heap[at] = heap[child];
        heap[child] = kept;
    }
}

void share_begin(struct kvp_jobs *jobs, uint64_t now_us, struct share *share)
{
    *share = (struct share){.heap = jobs->turn_heap};
    for (uint32_t i = 0; i < jobs->turn_count;) {
        struct job *job = jobs->turns[i];
        bool idle = job->queue_first == JOB_NONE && job_is_read(job);
        if (job->record.state != JOB_RUNNING || idle) {
            share_leave(jobs, job);
            continue;
        }
        if (job_hands_out(jobs, job, now_us)) {
            share->heap[share->count++] = job;
        }
        i++;
    }
    share->left = share->count;
    for (uint32_t i = share->left / 2; i > 0; i--) {
        share_sink(share, i - 1);
    }
}

struct job *share_next(struct share *share)
{
    if (share->left == 0) {
        return NULL;
    }
    struct job *next = share->heap[0];
    share->heap[0] = share->heap[--share->left];
    share->heap[share->left] = next; /* it still counts as one of its submitter's */
    share_sink(share, 0);
    return next;
}

/* ---- what a task takes ---- */

static uint32_t share_weight(const struct share *share, const struct job *job)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < share->count && job->client != 0; i++) {
        const struct job *other = share->heap[i];
        count += other->client == job->client &&
                 other->record.spec.priority == job->record.spec.priority;
    }
    return count > 0 ? count : 1;
}

void share_charge(struct kvp_jobs *jobs, const struct share *share, struct attempt *attempt)
{
    struct job *job = attempt->job;
    uint64_t *clock_us = &jobs->clocks_us[job->record.spec.priority];
    attempt->weight = share_weight(share, job);
    attempt->charged_us =
        job->took_count > 0 ? job->took_sum_us / job->took_count + 1 : FIRST_COST_US;
    *clock_us = job->clock_us > *clock_us ? job->clock_us : *clock_us;
    job->clock_us += attempt->charged_us * attempt->weight;
}

void share_settle(struct attempt *attempt, uint64_t now_us)
{
    struct job *job = attempt->job;
    uint64_t took_us = now_us - attempt->started_us;
    if (attempt->weight == 0) {
        return; /* an earlier primary gave it */
    }
    if (took_us >= attempt->charged_us) {
        job->clock_us += (took_us - attempt->charged_us) * attempt->weight;
    } else {
        uint64_t back_us = (attempt->charged_us - took_us) * attempt->weight;
        job->clock_us -= back_us < job->clock_us ? back_us : job->clock_us;
    }
    attempt->weight = 0;
}
