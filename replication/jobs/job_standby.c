/* SPDX-License-Identifier: Apache-2.0 */
/*
 * When a standby becomes active, and which one. It takes the place of an active worker that is lost
 * or barred, if it can do what that one did; and it begins when work waits that no active worker
 * can do, be it by its kind, its size, or because all of them have failed it or have another copy.
 */
#include "replication/jobs/job_state.h"
#include "kvstore/base/mutant.h"

#define MATCH_MAX     64u    /* places, and workers in them, that are compared at a time */
#define LOOK_TASKS    65536u /* looked at in one check */
#define LOOK_WORKERS  16384u
#define LOOK_AGAIN_US 500000u

/* ---- who could take whose place ---- */

enum fitness { UNFIT, PARTLY_FIT, FIT };

/* `other` in the place of `worker`. */
static enum fitness standby_fitness(const struct worker *other, const struct worker *worker)
{
    unsigned shared = 0;
    for (unsigned i = 0; i < worker->record.kind_count; i++) {
        shared += worker_has_kind(other, worker->record.kinds[i].text);
    }
    if (shared == 0) {
        return UNFIT;
    }
    return shared == worker->record.kind_count && other->record.buffer >= worker->record.buffer
               ? FIT
               : PARTLY_FIT;
}

/* Who is gone and has left a place, and who of the standbys is active in some place. */
struct places {
    unsigned empty_count, filler_count;
    const struct worker *empty[MATCH_MAX], *fillers[MATCH_MAX];
};

static void places_fill(struct places *places, const struct worker *filler)
{
    for (enum fitness wanted = FIT; wanted > UNFIT; wanted--) {
        for (unsigned i = 0; i < places->empty_count; i++) {
            if (standby_fitness(filler, places->empty[i]) == wanted) {
                places->empty[i] = places->empty[--places->empty_count];
                return;
            }
        }
    }
}

/* What is left in `empty` are places that nobody has taken. */
static void places_find(const struct kvp_jobs *jobs, uint64_t now_us, struct places *places)
{
    places->empty_count = places->filler_count = 0;
    for (uint32_t i = 0; i < jobs->worker_count; i++) {
        const struct worker *worker = jobs->workers[i];
        bool away = worker_gone(worker, now_us);
        if (away && !worker->record.standby && !worker->record.left &&
            places->empty_count < MATCH_MAX) {
            places->empty[places->empty_count++] = worker;
        }
        if (!away && worker->record.standby && worker->record.active &&
            places->filler_count < MATCH_MAX) {
            places->fillers[places->filler_count++] = worker;
        }
    }
    for (unsigned i = 0; i < places->filler_count; i++) {
        places_fill(places, places->fillers[i]);
    }
}

static bool standby_waits(const struct worker *worker, uint64_t now_us)
{
    return !worker->record.active && !worker_gone(worker, now_us);
}

/* The fittest for one of the empty places; the longest known of them. */
static struct worker *standby_for_places(const struct kvp_jobs *jobs, uint64_t now_us)
{
    struct places places;
    struct worker *best = NULL;
    enum fitness best_fitness = KVP_MUTANT(JOB_UNFIT_STANDBY) ? UNFIT - 1 : UNFIT;
    places_find(jobs, now_us, &places);
    for (uint32_t i = 0; i < jobs->worker_count && places.empty_count > 0; i++) {
        struct worker *worker = jobs->workers[i];
        for (unsigned k = 0; standby_waits(worker, now_us) && k < places.empty_count; k++) {
            enum fitness fitness = standby_fitness(worker, places.empty[k]);
            if ((int)fitness > (int)best_fitness) {
                best = worker;
                best_fitness = fitness;
            }
        }
    }
    return best;
}

/* ---- work that waits for somebody else ---- */

/* Looking through the tasks of a job: an active worker can do those of a kind below `can` bytes,
 * and nobody at all those from `cannot` bytes on, unless they have other copies or were failed. */
struct look {
    const struct kvp_jobs *jobs;
    const struct job *job;
    uint64_t now_us;
    uint32_t tasks_left, workers_left;
    struct {
        size_t can, cannot;
    } kinds[KVP_JOB_KINDS_MAX];
};

/* The standby that the task needs. NULL: an active worker can do it, or no standby either. Who has
 * failed it gets it again where nobody else is left. */
static struct worker *standby_for_task(struct look *look, uint32_t number)
{
    const struct kvp_jobs *jobs = look->jobs;
    const struct task *task = &look->job->tasks[number];
    bool plain = task->seen_count == 0 && task->faults == NULL;
    size_t size = task_bytes(look->job, number);
    struct worker *reserve = NULL, *again = NULL;
    bool active_again = false;
    if (plain && (size < look->kinds[task->kind].can || size >= look->kinds[task->kind].cannot)) {
        return NULL;
    }
    for (uint32_t i = 0; i < jobs->worker_count; i++) {
        struct worker *worker = jobs->workers[i];
        look->workers_left -= look->workers_left > 0;
        if (worker_gone(worker, look->now_us) || !task_suits(worker, look->job, number)) {
            continue;
        }
        bool failed = task_failed_by(task, worker);
        if (worker->record.active && !failed) {
            look->kinds[task->kind].can = plain ? size + 1 : look->kinds[task->kind].can;
            return NULL;
        }
        active_again = active_again || worker->record.active;
        reserve = reserve != NULL || failed ? reserve : worker;
        again = again != NULL || !failed ? again : worker;
    }
    if (plain && reserve == NULL) {
        look->kinds[task->kind].cannot = size;
    }
    return reserve != NULL || active_again ? reserve : again;
}

static struct worker *look_through(struct look *look, uint32_t *number)
{
    const struct job *job = look->job;
    for (unsigned i = 0; i < KVP_JOB_KINDS_MAX; i++) {
        look->kinds[i].can = 0;
        look->kinds[i].cannot = SIZE_MAX;
    }
    for (; *number < job->record.task_count && look->tasks_left > 0 && look->workers_left > 0;
         ++*number, look->tasks_left--) {
        const struct task *task = &job->tasks[*number];
        struct worker *reserve =
            task_needs(task) && !task->backing_off ? standby_for_task(look, *number) : NULL;
        if (reserve != NULL) {
            return reserve;
        }
    }
    return NULL;
}

/* Goes on where the last check has stopped, and at most once round. */
static struct worker *standby_for_work(struct kvp_jobs *jobs, uint64_t now_us)
{
    struct look look = {
        .jobs = jobs, .now_us = now_us, .tasks_left = LOOK_TASKS, .workers_left = LOOK_WORKERS};
    struct job *job = job_find(jobs, jobs->look_job);
    uint32_t number = job != NULL ? jobs->look_task : 0;
    struct worker *reserve = NULL;
    job = job != NULL ? job : jobs->first;
    for (uint32_t n = 0; job != NULL && n <= jobs->job_count && reserve == NULL; n++) {
        look.job = job;
        if (job_hands_out(jobs, job, now_us)) {
            reserve = look_through(&look, &number);
        }
        if (look.tasks_left == 0 || look.workers_left == 0) {
            break;
        }
        job = job->next != NULL ? job->next : jobs->first;
        number = 0;
    }
    jobs->look_job = job != NULL ? job->id : 0;
    jobs->look_task = number;
    return reserve;
}

/* ---- both ---- */

/* Does one wait? And when the next worker may turn out to be gone. */
static bool standby_any(const struct kvp_jobs *jobs, uint64_t now_us, uint64_t *next_us)
{
    bool any = false;
    *next_us = UINT64_MAX;
    for (uint32_t i = 0; i < jobs->worker_count; i++) {
        const struct worker *worker = jobs->workers[i];
        bool away = worker_gone(worker, now_us);
        uint64_t due_us =
            worker->attempt_count > 0
                ? now_us + WORKER_SILENCE_US
                : jobs_silence_due_us(jobs, worker->heard_us, WORKER_SILENCE_US, now_us);
        *next_us = !away && due_us < *next_us ? due_us : *next_us;
        any = any || (!away && !worker->record.active);
    }
    return any;
}

static bool wants_workers(const struct kvp_jobs *jobs)
{
    for (const struct job *job = jobs->first; job != NULL; job = job->next) {
        if (job->record.state == JOB_RUNNING && job->done < job->record.task_count) {
            return true;
        }
    }
    return false;
}

kvp_status job_check_workers(struct kvp_jobs *jobs, uint64_t now_us, bool *did)
{
    uint64_t next_us;
    struct worker *reserve = NULL;
    if (standby_any(jobs, now_us, &next_us)) {
        bool work = wants_workers(jobs);
        reserve = standby_for_places(jobs, now_us);
        reserve = reserve == NULL && work ? standby_for_work(jobs, now_us) : reserve;
        next_us = work && now_us + LOOK_AGAIN_US < next_us ? now_us + LOOK_AGAIN_US : next_us;
    }
    jobs->check_us = next_us < jobs->check_us ? next_us : jobs->check_us;
    if (reserve == NULL) {
        return KVP_OK;
    }
    *did = true;
    reserve->record.active = true;
    jobs->work_available = true;
    return worker_write(jobs, reserve);
}
