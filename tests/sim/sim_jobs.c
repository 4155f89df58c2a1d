/* SPDX-License-Identifier: Apache-2.0 */
/* The jobs of a seed: what they are, what comes out of them, and when all of it is over. */
#include "sim_jobs.h"

#include "replication/matrix/matrix_multiply.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#define INDEX_CHECK_US 50000u

uint64_t sim_jobs_below(struct sim *sim, uint64_t bound)
{
    return sim_below(&sim->jobs->random, bound);
}

bool sim_jobs_chance(struct sim *sim, unsigned thousandths)
{
    return sim_jobs_below(sim, 1000) < thousandths;
}

void sim_plan_jobs(struct sim_plan *plan, uint64_t seed)
{
    uint64_t stream = seed ^ 0x5eed0010;
    if (plan->policy == KVP_PAIR_AVAILABLE) {
        return;
    }
    plan->clients = 1 + plan->clients % 2;
    plan->lazy_ticks = true;
    plan->faults_us = 4000000 + plan->faults_us / 2;
    plan->fault_gap_us =
        150000 + plan->fault_gap_us / 3; /* most of them while jobs are under way */
    plan->jobs = (struct sim_job_plan){
        .on = true,
        .submitters = 1 + (unsigned)sim_below(&stream, 3),
        .jobs = 3 + (unsigned)sim_below(&stream, 6),
        .workers = 4 + (unsigned)sim_below(&stream, 5),
        .short_keep = sim_below(&stream, 2) != 0,
        .deaths_show = sim_below(&stream, 2) != 0,
        .standbys = sim_below(&stream, 6) == 0,
        .fate_us = 1000000 + sim_below(&stream, 6) * 1000000,
    };
    if (sim_below(&stream, 4) == 0) {
        plan->jobs.jobs_max = plan->jobs.submitters + 1;
        plan->jobs.short_keep = true;
    }
    plan->jobs.workers_max = sim_below(&stream, 3) ? 0 : plan->jobs.workers + 1;
    if (plan->jobs.standbys) {
        plan->jobs.workers = 4 + (unsigned)sim_below(&stream, 2);
        plan->jobs.fate_us *= 4;
    }
    if (sim_below(&stream, 2)) {
        plan->jobs.load_at_once = 1 + (uint32_t)sim_below(&stream, 3);
        plan->jobs.tick_us = sim_below(&stream, 8000);
    }
    if (sim_below(&stream, 3) == 0) { /* much is executed that is never committed */
        plan->fault_gap_us = 300000;
        plan->crash = 10;
        plan->cut = 20;
        plan->wipe = 0;
        plan->disk_us = 2000 + sim_below(&stream, 10000);
    }
    plan->jobs.corrupt = plan->jobs.workers > 4 ? (unsigned)sim_below(&stream, 3) : 0;
    if (plan->jobs.corrupt > plan->jobs.workers - 4) {
        plan->jobs.corrupt = plan->jobs.workers - 4;
    }
    plan->jobs.flow = sim_below(&stream, 2) != 0;
}

/* ---- what tasks compute ---- */

static void must(kvp_status status)
{
    if (status != KVP_OK) {
        abort();
    }
}

kvp_status sim_compute(unsigned kind, kvp_slice input, uint64_t nonce, kvp_buf *out)
{
    uint64_t parts[] = {XXH3_64bits(input.data, input.size), kind, nonce};
    uint64_t stream = XXH3_64bits(parts, sizeof(parts));
    uint8_t bytes[64];
    for (size_t i = 0; i < sizeof(bytes); i += 8) {
        uint64_t drawn = sim_random(&stream);
        memcpy(bytes + i, &drawn, sizeof(drawn));
    }
    return kvp_buf_append(out, bytes, stream % (sizeof(bytes) + 1));
}

kvp_status sim_multiply(kvp_slice payload, kvp_buf *out)
{
    const uint8_t *bytes = payload.data;
    enum kvp_matrix_type type = (enum kvp_matrix_type)kvp_get_u32(bytes);
    uint32_t rows = kvp_get_u32(bytes + 4), inner = kvp_get_u32(bytes + 8);
    uint32_t columns = kvp_get_u32(bytes + 12);
    size_t element = kvp_matrix_element_size(type), size = (size_t)rows * columns * element;
    const uint8_t *a = bytes + KVP_JOB_TILE_HEADER, *b = a + (size_t)rows * inner * element;
    must(kvp_buf_reserve(out, size));
    memset(out->data, 0, size);
    kvp_status status = kvp_multiply(type, rows, inner, columns, a, b, out->data);
    out->size = size;
    return status;
}

/* ---- blocks of matrices ---- */

static void cut(const kvp_buf *matrix, const struct kvp_job_spec *spec, uint64_t rows,
                uint64_t columns, struct kvp_job_block block, kvp_buf *out)
{
    size_t size = kvp_job_block_size(spec, block);
    struct kvp_matrix whole = {spec->element, rows, columns, *matrix};
    struct kvp_block place = {block.row, block.column, block.rows, block.columns};
    out->size = 0;
    must(kvp_buf_reserve(out, size));
    must(kvp_matrix_cut(&whole, &place, out->data));
    out->size = size;
}

void sim_job_input(const struct sim_job *job, uint32_t number, kvp_buf *out)
{
    bool is_b;
    struct kvp_job_block block = kvp_job_input(&job->spec, number, &is_b);
    if (is_b) {
        cut(&job->b, &job->spec, job->spec.inner, job->spec.columns, block, out);
    } else {
        cut(&job->a, &job->spec, job->spec.rows, job->spec.inner, block, out);
    }
}

void sim_job_output(const struct sim_job *job, uint32_t number, kvp_buf *out)
{
    cut(&job->c, &job->spec, job->spec.rows, job->spec.columns, kvp_job_output(&job->spec, number),
        out);
}

static void tile_payload(const struct sim_job *job, uint32_t task, kvp_buf *out)
{
    struct kvp_job_tile tile = kvp_job_tile_of(&job->spec, task);
    uint8_t header[KVP_JOB_TILE_HEADER];
    kvp_buf block = {0};
    kvp_job_tile_header(header, job->spec.element, &tile);
    must(kvp_buf_append(out, header, sizeof(header)));
    sim_job_input(job, tile.a, &block);
    must(kvp_buf_append(out, block.data, block.size));
    sim_job_input(job, tile.b, &block);
    must(kvp_buf_append(out, block.data, block.size));
    kvp_buf_free(&block);
}

bool sim_job_payload(const struct sim *sim, const struct sim_job *job, uint64_t id, uint32_t task,
                     kvp_buf *out)
{
    out->size = 0;
    if (job->spec.type == KVP_JOB_MATMUL) {
        tile_payload(job, task, out);
        return true;
    }
    const struct sim_task *made = &job->tasks[task];
    must(kvp_buf_append(out, made->payload.data, made->payload.size));
    for (uint32_t i = 0; i < made->after_count; i++) {
        kvp_slice result;
        if (!sim_ledger_result(sim, id, made->after[i], &result)) {
            return false;
        }
        if (made->feed) {
            must(kvp_buf_append(out, result.data, result.size));
        }
    }
    return true;
}

/* Where votes, or a verification, find out a wrong result. */
bool sim_job_may_lie(const struct sim_job *job)
{
    return job->spec.quorum > 1 ||
           (job->spec.type == KVP_JOB_MATMUL && job->spec.verify != KVP_VERIFY_NONE);
}

struct sim_job *sim_job_of(const struct sim *sim, uint64_t id)
{
    for (unsigned i = 0; i < sim->jobs->job_count; i++) {
        const struct sim_job *job = &sim->jobs->jobs[i];
        if (job->id == id || (job->other == id && id != 0)) {
            return &sim->jobs->jobs[i];
        }
    }
    return NULL;
}

/* ---- making jobs ---- */

static void choose_mode(struct sim *sim, struct kvp_job_spec *spec)
{
    static const char *const modes[] = {"single", "dual-first", "single", "dual-compare", "tmr",
                                        "tmr",    "quad",       "5/3",    "3/1"};
    unsigned count = sim->plan.jobs.standbys ? 3 : sizeof(modes) / sizeof(modes[0]);
    must(kvp_job_spec_mode(spec, modes[sim_jobs_below(sim, count)]));
}

static void choose_times(struct sim *sim, struct kvp_job_spec *spec)
{
    static const uint32_t silences[] = {300, 600, 1000, 2000}, deadlines[] = {0, 1500, 4000, 10000};
    spec->silence_ms = silences[sim_jobs_below(sim, 4)];
    spec->deadline_ms = deadlines[sim_jobs_below(sim, 4)];
    spec->delay_ms = sim_jobs_chance(sim, 200) ? (uint32_t)sim_jobs_below(sim, 1500) : 0;
    spec->keep_s = sim->plan.jobs.short_keep ? 1 + (uint32_t)sim_jobs_below(sim, 4) : 3600;
    spec->priority = (uint8_t)sim_jobs_below(sim, 4);
    spec->attempts_max = sim_jobs_chance(sim, 100) ? 4 : UINT8_MAX;
}

static void make_task(struct sim *sim, struct sim_job *job, uint32_t number, unsigned dependent)
{
    struct sim_task *task = &job->tasks[number];
    uint64_t size = 1 + sim_jobs_below(sim, 60);
    task->kind = (uint8_t)sim_jobs_below(sim, SIM_KINDS - 1);
    for (uint64_t i = 0; i < size; i++) {
        uint8_t byte = (uint8_t)sim_jobs_below(sim, 256);
        must(kvp_buf_append(&task->payload, &byte, 1));
    }
    for (unsigned i = 0; number > 0 && i < 4 && sim_jobs_chance(sim, dependent); i++) {
        task->after[task->after_count++] = (uint32_t)sim_jobs_below(sim, number);
    }
    task->feed = task->after_count > 0 && sim_jobs_chance(sim, 700);
}

static void make_tasks(struct sim *sim, struct sim_job *job)
{
    unsigned dependent = sim_jobs_chance(sim, 600) ? 500 : 0;
    kvp_job_spec_init(&job->spec, KVP_JOB_TASKS);
    choose_mode(sim, &job->spec);
    job->task_count =
        1 + (uint32_t)sim_jobs_below(sim, sim_jobs_below(sim, 3) ? 12 : SIM_TASKS_MAX);
    job->tasks = calloc(job->task_count, sizeof(*job->tasks));
    if (job->tasks == NULL) {
        abort();
    }
    for (uint32_t i = 0; i < job->task_count; i++) {
        make_task(sim, job, i, dependent);
    }
    job->fickle = job->spec.quorum == 1 && sim_jobs_chance(sim, 500);
}

static void fill(struct sim *sim, struct sim_job *job, uint64_t count, bool large, kvp_buf *out)
{
    for (uint64_t i = 0; i < count; i++) {
        int64_t value = (int64_t)sim_jobs_below(sim, 201) - 100;
        int32_t narrow = (int32_t)value * (large && sim_jobs_chance(sim, 100) ? 10000000 : 1);
        value *= large && sim_jobs_chance(sim, 100) ? 30000000000000000 : 1;
        bool wide = job->spec.element == KVP_INT64;
        must(kvp_buf_append(out, wide ? (const void *)&value : &narrow, wide ? 8 : 4));
    }
}

/* Does a tile not fit its type, or the sum of some? */
static bool overflows(const struct sim_job *job)
{
    struct kvp_job_grid grid = kvp_job_grid_of(&job->spec);
    kvp_buf payload = {0}, part = {0}, sum = {0};
    bool bad = false;
    for (uint32_t task = 0; task < grid.tasks && !bad; task++) {
        payload.size = 0;
        tile_payload(job, task, &payload);
        kvp_buf *to = task % grid.inner_tiles == 0 ? &sum : &part;
        bad = sim_multiply(kvp_buf_slice(&payload), to) == KVP_OVERFLOW;
        if (!bad && to == &part) {
            bad = kvp_matrix_add(job->spec.element, sum.size / grid.element_size, sum.data,
                                 part.data) == KVP_OVERFLOW;
        }
    }
    kvp_buf_free(&payload);
    kvp_buf_free(&part);
    kvp_buf_free(&sum);
    return bad;
}

static void make_matmul(struct sim *sim, struct sim_job *job)
{
    struct kvp_job_spec *spec = &job->spec;
    bool large = sim_jobs_chance(sim, 150);
    kvp_job_spec_init(spec, KVP_JOB_MATMUL);
    choose_mode(sim, spec);
    spec->element = sim_jobs_chance(sim, 500) ? KVP_INT32 : KVP_INT64;
    spec->rows = 1 + sim_jobs_below(sim, 7);
    spec->inner = 1 + sim_jobs_below(sim, 7);
    spec->columns = 1 + sim_jobs_below(sim, 7);
    spec->tile_rows = 1 + (uint32_t)sim_jobs_below(sim, spec->rows);
    spec->tile_inner = 1 + (uint32_t)sim_jobs_below(sim, spec->inner);
    spec->tile_columns = 1 + (uint32_t)sim_jobs_below(sim, spec->columns);
    spec->rounds = 2;
    spec->verify = (uint8_t)sim_jobs_below(sim, 3);
    while (kvp_job_grid_of(spec).tasks > SIM_TASKS_MAX) {
        spec->tile_rows = (uint32_t)spec->rows;
        spec->tile_columns = (uint32_t)spec->columns;
    }
    job->task_count = kvp_job_grid_of(spec).tasks;
    fill(sim, job, spec->rows * spec->inner, large, &job->a);
    fill(sim, job, spec->inner * spec->columns, large, &job->b);
    job->overflow = large && overflows(job);
    size_t size = (size_t)(spec->rows * spec->columns) * kvp_matrix_element_size(spec->element);
    must(kvp_buf_reserve(&job->c, size));
    job->c.size = size;
    (void)kvp_multiply(spec->element, spec->rows, spec->inner, spec->columns, job->a.data,
                       job->b.data, job->c.data);
}

static void make_job(struct sim *sim, unsigned index)
{
    struct sim_job *job = &sim->jobs->jobs[index];
    job->index = index;
    if (sim_jobs_chance(sim, 400)) {
        make_matmul(sim, job);
    } else {
        make_tasks(sim, job);
    }
    choose_times(sim, &job->spec);
    (void)snprintf(job->spec.name, sizeof(job->spec.name), "job%u", index);
    job->abandon = sim->plan.jobs.jobs_max == 0 && sim_jobs_chance(sim, 40);
    job->cancel_us = sim_jobs_chance(sim, 120) ? 1 + sim_jobs_below(sim, 3000000) : 0;
    if (sim->plan.jobs.flow) {
        sim_flow_plan(sim, job);
    }
}

/* ---- timers ---- */

void sim_job_timer(struct sim *sim, enum sim_job_timer kind, unsigned index, uint64_t *stamp,
                   uint64_t delay_us)
{
    struct sim_event *event = sim_at(sim, delay_us, SIM_JOB_TIMER);
    event->node = (unsigned)kind;
    event->peer = index;
    event->number = ++*stamp;
}

void sim_jobs_timer(struct sim *sim, const struct sim_event *event)
{
    switch ((enum sim_job_timer)event->node) {
    case SIM_TIMER_CALL:
        sim_call_timer(sim, event->peer, event->number);
        break;
    case SIM_TIMER_WORKER:
        sim_worker_timer(sim, event->peer, event->number);
        break;
    case SIM_TIMER_SLOT:
        sim_slot_timer(sim, event->peer, event->number);
        break;
    case SIM_TIMER_BEAT:
        sim_beat_timer(sim, event->peer, event->number);
        break;
    case SIM_TIMER_SUBMITTER:
        sim_submitter_timer(sim, event->peer, event->number);
        break;
    }
}

/* ---- a run ---- */

void sim_jobs_open(struct sim *sim)
{
    if (!sim->plan.jobs.on) {
        return;
    }
    struct sim_jobs *jobs = sim->jobs = calloc(1, sizeof(*jobs));
    if (jobs == NULL) {
        abort();
    }
    jobs->random = sim->seed ^ 0x5eed0011;
    jobs->random_flow = sim->seed ^ 0x5eed0012;
    jobs->job_count = sim->plan.jobs.submitters * sim->plan.jobs.jobs;
    jobs->jobs = calloc(jobs->job_count, sizeof(*jobs->jobs));
    if (jobs->jobs == NULL) {
        abort();
    }
    for (unsigned i = 0; i < jobs->job_count; i++) {
        make_job(sim, i);
    }
    sim_ledger_open(sim);
    sim_submitters_make(sim);
    sim_workers_make(sim);
}

static void free_job(struct sim_job *job)
{
    for (uint32_t i = 0; job->tasks != NULL && i < job->task_count; i++) {
        kvp_buf_free(&job->tasks[i].payload);
    }
    free(job->tasks);
    kvp_buf_free(&job->a);
    kvp_buf_free(&job->b);
    kvp_buf_free(&job->c);
}

void sim_jobs_free(struct sim *sim)
{
    struct sim_jobs *jobs = sim->jobs;
    if (jobs == NULL) {
        return;
    }
    sim_workers_free(sim);
    sim_submitters_free(sim);
    sim_ledger_free(sim);
    for (unsigned i = 0; i < jobs->job_count; i++) {
        free_job(&jobs->jobs[i]);
    }
    free(jobs->jobs);
    free(jobs->callers);
    free(jobs->grants);
    free(jobs->acks);
    free(jobs);
    sim->jobs = NULL;
}

void sim_jobs_calm(struct sim *sim)
{
    if (sim->jobs != NULL) {
        sim->jobs->calm_us = sim->now_us;
        sim_workers_calm(sim);
    }
}

void sim_jobs_applied(struct sim *sim, const struct kvp_disk_job *job)
{
    if (sim->jobs == NULL || job->op != KVP_DISK_WRITE) {
        return; /* what is applied has been committed, whatever becomes of it on this disk */
    }
    for (size_t i = 0; i < job->write.apply_count && !sim->failed; i++) {
        sim_ledger_apply(sim, job->write.apply[i]);
    }
}

void sim_jobs_step(struct sim *sim)
{
    if (sim->jobs == NULL || sim->failed ||
        sim->now_us < sim->jobs->index_checked_us + INDEX_CHECK_US) {
        return;
    }
    sim->jobs->index_checked_us = sim->now_us;
    if (sim->failovers != sim->jobs->failovers) {
        sim->jobs->failovers = sim->failovers;
        sim->failovers_with_jobs += sim_ledger_running(sim);
    }
    for (unsigned i = 1; i <= sim->plan.nodes; i++) {
        if (sim->nodes[i].serving) {
            sim_index_check(sim, &sim->nodes[i]);
        }
    }
}

bool sim_jobs_done(const struct sim *sim)
{
    if (sim->jobs == NULL) {
        return true;
    }
    for (unsigned i = 0; i < sim->jobs->submitter_count; i++) {
        if (!sim->jobs->submitters[i].done) {
            return false;
        }
    }
    for (unsigned i = 0; i < sim->jobs->caller_count; i++) {
        const struct sim_caller *caller = sim->jobs->callers[i];
        if (caller->busy && caller->update && caller->began_us < sim->jobs->calm_us) {
            return false;
        }
    }
    for (unsigned i = 1; i <= sim->plan.nodes; i++) {
        if (sim->nodes[i].serving && !sim_index_ready(&sim->nodes[i])) {
            return false;
        }
    }
    return sim_ledger_settled(sim);
}

void sim_jobs_end(struct sim *sim)
{
    if (sim->jobs == NULL) {
        return;
    }
    sim_ledger_end(sim);
    for (unsigned i = 1; i <= sim->plan.nodes && !sim->failed; i++) {
        if (sim->nodes[i].serving) {
            sim_index_compare(sim, &sim->nodes[i]);
        }
    }
}
