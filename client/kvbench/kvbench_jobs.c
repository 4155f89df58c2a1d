/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Jobs: many small tasks are queued, then workers fetch each and post a result at once, so that
 * what is measured is the queue. With --kills the primary is killed in the middle.
 */
#include "client/kvbench/kvbench.h"
#include "kvpair/kvp_jobs.h"
#include "kvpair/job_spec.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TASKS_DEFAULT 100000u
#define BATCH         1000u
#define WAIT_MS       1000u
#define TIMEOUT_MS    15000u
#define KIND          "kvbench"
#define SECONDS_MAX   600u

struct place { /* of a worker: one task at a time */
    struct farm *farm;
    struct member *member;
    pthread_t thread;
    uint32_t slot;
    bool runs;
};

struct member {
    kvp_client *client;
    kvp_worker worker;
};

struct farm {
    const struct bench *bench;
    struct group *group;
    uint64_t job, tasks;
    struct member *members;
    struct place *places;
    unsigned place_count;
    atomic_uint_fast64_t posted;
    atomic_bool ends;
    pthread_mutex_t mutex; /* of what follows */
    struct bench_result result;
    uint64_t last_ns, gap_ns; /* the last post that counted; the longest time between two */
};

/* ---- queueing ---- */

static int jobs_complain(kvp_status status, const kvp_result *result)
{
    const char *reason = result->value.size > 0 ? (const char *)result->value.data : "";
    (void)bench_complain("%s%s%.*s", kvp_strerror(status), reason[0] != '\0' ? ": " : "",
                         (int)result->value.size, reason);
    return bench_exit_status(status);
}

static kvp_status add_batch(kvp_client *client, const struct farm *farm, uint32_t first,
                            uint32_t count, const char *payload, kvp_result *result)
{
    kvp_buf tasks = {0};
    kvp_status status = kvp_job_tasks_open(&tasks, count);
    for (uint32_t i = 0; i < count && status == KVP_OK; i++) {
        status = kvp_job_tasks_put(&tasks, kvp_slice_of(KIND, sizeof(KIND) - 1), NULL, 0, false,
                                   kvp_slice_of(payload, farm->bench->value_size));
    }
    if (status == KVP_OK) {
        status = kvp_job_add_tasks(client, farm->job, first, kvp_buf_slice(&tasks), result);
    }
    kvp_buf_free(&tasks);
    return status;
}

/* As many tasks at once as a message has room for. */
static uint32_t batch_size(const struct bench *bench)
{
    size_t fit = KVP_TXN_SIZE_MAX / (bench->value_size + 64);
    return fit < BATCH ? (uint32_t)fit : BATCH;
}

static int queue_tasks(struct farm *farm, kvp_client *client)
{
    struct kvp_job_spec spec;
    kvp_result result = {0};
    uint32_t batch = batch_size(farm->bench);
    char *payload = calloc(1, farm->bench->value_size + 1);
    kvp_status status = payload == NULL ? KVP_NO_MEMORY : KVP_OK;
    kvp_job_spec_init(&spec, KVP_JOB_TASKS);
    (void)snprintf(spec.name, sizeof(spec.name), "kvbench");
    if (status == KVP_OK) {
        status = kvp_job_new(client, &spec, &farm->job, &result);
    }
    for (uint64_t i = 0; i < farm->tasks && status == KVP_OK && bench_signal == 0; i += batch) {
        uint32_t count = farm->tasks - i < batch ? (uint32_t)(farm->tasks - i) : batch;
        kvp_result_free(&result);
        status = add_batch(client, farm, (uint32_t)i, count, payload, &result);
    }
    if (status == KVP_OK) {
        kvp_result_free(&result);
        status = kvp_job_start(client, farm->job, &result);
    }
    int code = status == KVP_OK ? EXIT_DONE : jobs_complain(status, &result);
    kvp_result_free(&result);
    free(payload);
    return code;
}

/* ---- working ---- */

static void jobs_note(struct farm *farm, kvp_status status, uint64_t begun_ns)
{
    pthread_mutex_lock(&farm->mutex);
    uint64_t now_ns = bench_now_ns();
    if (status != KVP_OK) {
        farm->result.errors[-(int)status % BENCH_STATUSES]++;
    } else {
        uint64_t gap_ns = now_ns - farm->last_ns;
        hist_add(&farm->result.hist, now_ns - begun_ns);
        farm->gap_ns = gap_ns > farm->gap_ns ? gap_ns : farm->gap_ns;
        farm->last_ns = now_ns;
    }
    pthread_mutex_unlock(&farm->mutex);
}

static void *run_place(void *arg)
{
    struct place *place = arg;
    struct farm *farm = place->farm;
    struct member *member = place->member;
    while (!atomic_load(&farm->ends)) {
        kvp_task task;
        uint64_t begun_ns = bench_now_ns();
        kvp_status status =
            kvp_task_fetch(member->client, &member->worker, place->slot, WAIT_MS, &task, NULL);
        if (status == KVP_OK) {
            status = kvp_task_post(member->client, &member->worker, &task, KVP_OUTCOME_RESULT,
                                   kvp_slice_of("done", 4), NULL);
            kvp_task_free(&task);
            atomic_fetch_add(&farm->posted, status == KVP_OK);
        } else if (status == KVP_NO_TASK) {
            continue;
        }
        jobs_note(farm, status, begun_ns);
        if (status != KVP_OK) {
            bench_sleep_ms(5);
        }
    }
    return NULL;
}

static int open_members(struct farm *farm)
{
    static const char *const kinds[] = {KIND};
    unsigned outstanding = farm->bench->outstanding;

    for (unsigned i = 0; i < farm->bench->clients; i++) {
        struct member *member = &farm->members[i];
        kvp_result result = {0};
        member->client = bench_open(farm->bench, TIMEOUT_MS);
        if (member->client == NULL) {
            return EXIT_NOTHING;
        }
        (void)snprintf(member->worker.name, sizeof(member->worker.name), "kvbench-%u", i);
        kvp_status status = kvp_worker_join(member->client, &member->worker, kinds, 1,
                                            KVP_JOB_BUFFER_DEFAULT, false, &result);
        int code = status == KVP_OK ? EXIT_DONE : jobs_complain(status, &result);
        kvp_result_free(&result);
        if (code != EXIT_DONE) {
            return code;
        }
        for (unsigned slot = 0; slot < outstanding; slot++) {
            farm->places[i * outstanding + slot] =
                (struct place){.farm = farm, .member = member, .slot = slot};
        }
    }
    return EXIT_DONE;
}

static int start_places(struct farm *farm)
{
    farm->last_ns = bench_now_ns();
    for (unsigned i = 0; i < farm->place_count; i++) {
        struct place *place = &farm->places[i];
        place->runs = pthread_create(&place->thread, NULL, run_place, place) == 0;
        if (!place->runs) {
            (void)bench_complain("a thread could not be started");
            return EXIT_NOTHING;
        }
    }
    return EXIT_DONE;
}

/* Until all tasks are done; the kills are spread evenly over them. */
static int jobs_watch(struct farm *farm)
{
    uint64_t end_ns = bench_now_ns() + SECONDS_MAX * UINT64_C(1000000000);
    unsigned kills = 0;
    while (atomic_load(&farm->posted) < farm->tasks && bench_signal == 0) {
        uint64_t next = farm->tasks * (kills + 1) / (farm->bench->kills + 1);
        if (bench_now_ns() > end_ns) {
            (void)bench_complain("the tasks did not end within %u s", SECONDS_MAX);
            return EXIT_NOTHING;
        }
        if (kills < farm->bench->kills && atomic_load(&farm->posted) >= next) {
            unsigned primary = group_wait_in_sync(farm->bench, farm->group);
            if (primary == 0) {
                return EXIT_NOTHING;
            }
            group_kill(farm->group, primary);
            bench_sleep_ms(2000);
            (void)group_spawn(farm->group, primary);
            kills++;
        }
        bench_sleep_ms(5);
    }
    return bench_signal == 0 ? EXIT_DONE : EXIT_NOTHING;
}

/* ---- what comes of it ---- */

/* The job as the group sees it: all tasks done, none counted twice. */
static int check_job(struct farm *farm, cJSON *line)
{
    kvp_result result = {0};
    kvp_client *client = farm->members[0].client;
    kvp_status status = kvp_job_info(client, KVP_INFO_JOB, farm->job, 0, NULL, &result);
    if (status != KVP_OK) {
        int code = jobs_complain(status, &result);
        kvp_result_free(&result);
        return code;
    }
    cJSON *info = cJSON_ParseWithLength((const char *)result.value.data, result.value.size);
    double done = cJSON_GetNumberValue(cJSON_GetObjectItem(info, "done"));
    double redone = cJSON_GetNumberValue(cJSON_GetObjectItem(info, "redone"));
    bench_add_number(line, "done", done, 0);
    bench_add_number(line, "redone", redone, 0);
    cJSON_Delete(info);
    kvp_result_free(&result);
    return done == (double)farm->tasks ? EXIT_DONE : EXIT_NO;
}

static int jobs_run(struct farm *farm, cJSON *line)
{
    int code = open_members(farm);
    uint64_t begun_ns = bench_now_ns();
    if (code == EXIT_DONE) {
        code = queue_tasks(farm, farm->members[0].client);
        bench_add_number(line, "queued_per_s",
                         (double)farm->tasks * 1e9 / (double)(bench_now_ns() - begun_ns), 1);
    }
    begun_ns = bench_now_ns();
    code = code == EXIT_DONE ? start_places(farm) : code;
    code = code == EXIT_DONE ? jobs_watch(farm) : code;
    farm->result.seconds = (double)(bench_now_ns() - begun_ns) / 1e9;
    atomic_store(&farm->ends, true);
    for (unsigned i = 0; i < farm->place_count; i++) {
        if (farm->places[i].runs) {
            (void)pthread_join(farm->places[i].thread, NULL);
        }
    }
    if (code == EXIT_DONE) {
        code = check_job(farm, line);
        bench_add_number(line, "tasks", (double)farm->tasks, 0);
        bench_add_number(line, "kills", farm->bench->kills, 0);
        bench_add_number(line, "gap_max_ms", (double)farm->gap_ns / 1e6, 1);
        bench_add_result(line, &farm->result, true);
    }
    return code;
}

int bench_jobs(const struct bench *bench, struct group *group, cJSON *line)
{
    struct farm *farm = calloc(1, sizeof(*farm));
    int code = EXIT_NOTHING;
    if (farm != NULL) {
        farm->bench = bench;
        farm->group = group;
        farm->tasks = bench->count != 0 ? bench->count : TASKS_DEFAULT;
        farm->place_count = bench->clients * bench->outstanding;
        farm->members = calloc(bench->clients, sizeof(*farm->members));
        farm->places = calloc(farm->place_count, sizeof(*farm->places));
        pthread_mutex_init(&farm->mutex, NULL);
    }
    if (farm == NULL || farm->members == NULL || farm->places == NULL) {
        (void)bench_complain("%s", kvp_strerror(KVP_NO_MEMORY));
    } else {
        code = jobs_run(farm, line);
    }
    for (unsigned i = 0; farm != NULL && farm->members != NULL && i < bench->clients; i++) {
        kvp_client_close(farm->members[i].client);
    }
    if (farm != NULL) {
        pthread_mutex_destroy(&farm->mutex);
        free(farm->members);
        free(farm->places);
    }
    free(farm);
    return code;
}
