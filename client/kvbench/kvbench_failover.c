/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Failovers under load: writers create one key after the other, the primary is killed and started
 * again, and at the end everything that was acknowledged must be there.
 */
#include "client/kvbench/kvbench.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CALM_MS         300u /* of load before each kill, and after it */
#define RECOVER_SECONDS 30u
#define VERIFY_SECONDS  120u
#define TIMEOUT_MS      10000u
#define KEY_SIZE        64u

struct writer {
    struct failover *failover;
    kvp_client *client;
    pthread_t thread;
    unsigned number;
    uint64_t *acknowledged; /* the numbers of the keys */
    size_t count, capacity;
};

struct failover {
    const struct bench *bench;
    struct group *group;
    uint64_t run; /* in the keys, so that they are new ones */
    char *value;
    struct writer *writers;
    unsigned writer_count;
    atomic_bool ends;
    pthread_mutex_t mutex; /* of what follows */
    struct bench_result result;
    uint64_t last_ns;   /* when a write was acknowledged */
    uint64_t newest_ns; /* when the youngest of those had begun */
    uint64_t gap_ns;    /* the longest between two of them since it was set to 0 */
    double *gaps_ms;
    unsigned gap_count;
};

static kvp_slice failover_write_key(const struct writer *writer, uint64_t number,
                                    char text[KEY_SIZE])
{
    int size = snprintf(text, KEY_SIZE, "kvbench/failover/%016llx/%u/%llu",
                        (unsigned long long)writer->failover->run, writer->number,
                        (unsigned long long)number);

    return kvp_slice_of(text, (size_t)size);
}

/* ---- writers ---- */

static bool remember(struct writer *writer, uint64_t number)
{
    if (writer->count == writer->capacity) {
        size_t capacity = writer->capacity == 0 ? 1024 : writer->capacity * 2;
        uint64_t *larger = realloc(writer->acknowledged, capacity * sizeof(*larger));
        if (larger == NULL) {
            return false;
        }
        writer->acknowledged = larger;
        writer->capacity = capacity;
    }
    writer->acknowledged[writer->count++] = number;
    return true;
}

static void failover_note(struct failover *failover, kvp_status status, uint64_t begun_ns)
{
    pthread_mutex_lock(&failover->mutex);
    uint64_t now_ns = bench_now_ns();
    if (status != KVP_OK) {
        failover->result.errors[-(int)status % BENCH_STATUSES]++;
    } else {
        uint64_t gap_ns = failover->last_ns == 0 ? 0 : now_ns - failover->last_ns;
        hist_add(&failover->result.hist, now_ns - begun_ns);
        failover->gap_ns = gap_ns > failover->gap_ns ? gap_ns : failover->gap_ns;
        failover->newest_ns = begun_ns > failover->newest_ns ? begun_ns : failover->newest_ns;
        failover->last_ns = now_ns;
    }
    pthread_mutex_unlock(&failover->mutex);
}

static void *run_writer(void *arg)
{
    struct writer *writer = arg;
    struct failover *failover = writer->failover;
    kvp_slice value = kvp_slice_of(failover->value, failover->bench->value_size);
    char text[KEY_SIZE];
    for (uint64_t number = 0; !atomic_load(&failover->ends); number++) {
        uint64_t begun_ns = bench_now_ns();
        kvp_status status =
            kvp_create(writer->client, failover_write_key(writer, number, text), value, NULL);
        if (status == KVP_OK && !remember(writer, number)) {
            status = KVP_NO_MEMORY;
        }
        failover_note(failover, status, begun_ns);
        if (status != KVP_OK) {
            bench_sleep_ms(5);
        }
    }
    return NULL;
}

static bool start_writers(struct failover *failover)
{
    unsigned wanted = failover->bench->clients * failover->bench->outstanding;
    failover->writers = calloc(wanted, sizeof(*failover->writers));
    failover->value = calloc(1, failover->bench->value_size + 1);
    failover->gaps_ms = calloc(failover->bench->kills, sizeof(*failover->gaps_ms));
    if (failover->writers == NULL || failover->value == NULL || failover->gaps_ms == NULL) {
        (void)bench_complain("%s", kvp_strerror(KVP_NO_MEMORY));
        return false;
    }
    for (unsigned i = 0; i < wanted; i++) {
        struct writer *writer = &failover->writers[i];
        writer->failover = failover;
        writer->number = i;
        writer->client = bench_open(failover->bench, TIMEOUT_MS);
        if (writer->client == NULL) {
            return false;
        }
        if (pthread_create(&writer->thread, NULL, run_writer, writer) != 0) {
            kvp_client_close(writer->client);
            (void)bench_complain("not enough threads can be started");
            return false;
        }
        failover->writer_count++;
    }
    return true;
}

/* ---- kills ---- */

static bool wait_for_write_begun_after(struct failover *failover, uint64_t when_ns)
{
    uint64_t until_ns = bench_now_ns() + RECOVER_SECONDS * UINT64_C(1000000000);
    bool found = false;
    while (!found && bench_signal == 0 && bench_now_ns() < until_ns) {
        bench_sleep_ms(10);
        pthread_mutex_lock(&failover->mutex);
        found = failover->newest_ns > when_ns;
        pthread_mutex_unlock(&failover->mutex);
    }
    if (!found && bench_signal == 0) {
        (void)bench_complain("no write was acknowledged within %u s", RECOVER_SECONDS);
    }
    return found;
}

static bool kill_once(struct failover *failover)
{
    unsigned primary = group_wait_in_sync(failover->bench, failover->group);
    if (primary == 0 || !wait_for_write_begun_after(failover, bench_now_ns())) {
        return false;
    }
    bench_sleep_ms(CALM_MS);
    pthread_mutex_lock(&failover->mutex);
    failover->gap_ns = 0;
    pthread_mutex_unlock(&failover->mutex);
    uint64_t killed_ns = bench_now_ns();
    group_kill(failover->group, primary);
    if (!wait_for_write_begun_after(failover, killed_ns)) {
        return false;
    }
    bench_sleep_ms(CALM_MS);
    pthread_mutex_lock(&failover->mutex);
    failover->gaps_ms[failover->gap_count++] = (double)failover->gap_ns / 1e6;
    pthread_mutex_unlock(&failover->mutex);
    return group_spawn(failover->group, primary);
}

/* ---- what is left of it ---- */

struct verdict {
    uint64_t acknowledged, verified, lost;
};

static bool failover_verify(struct failover *failover, struct verdict *verdict)
{
    uint64_t until_ns = bench_now_ns() + VERIFY_SECONDS * UINT64_C(1000000000);
    char text[KEY_SIZE];
    for (unsigned i = 0; i < failover->writer_count; i++) {
        verdict->acknowledged += failover->writers[i].count;
    }
    for (unsigned i = 0; i < failover->writer_count; i++) {
        struct writer *writer = &failover->writers[i];
        for (size_t k = 0; k < writer->count; k++) {
            kvp_slice key = failover_write_key(writer, writer->acknowledged[k], text);
            kvp_status status = kvp_get(writer->client, key, NULL);
            if ((status != KVP_OK && status != KVP_NOT_FOUND) || bench_now_ns() > until_ns ||
                bench_signal != 0) {
                (void)bench_complain("not all acknowledged writes could be looked for: %s",
                                     kvp_strerror(status == KVP_OK ? KVP_TIMEOUT : status));
                return false;
            }
            verdict->verified++;
            verdict->lost += status == KVP_NOT_FOUND;
        }
    }
    return true;
}

static int failover_compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void report(struct failover *failover, const struct verdict *verdict, cJSON *line)
{
    unsigned count = failover->gap_count;
    double *gaps = failover->gaps_ms;
    qsort(gaps, count, sizeof(*gaps), failover_compare);
    bench_add_number(line, "kills", count, 0);
    bench_add_number(line, "gap_min_ms", gaps[0], 1);
    bench_add_number(line, "gap_median_ms", (gaps[(count - 1) / 2] + gaps[count / 2]) / 2, 1);
    bench_add_number(line, "gap_max_ms", gaps[count - 1], 1);
    bench_add_number(line, "acknowledged", (double)verdict->acknowledged, 0);
    bench_add_number(line, "verified", (double)verdict->verified, 0);
    bench_add_number(line, "lost", (double)verdict->lost, 0);
    bench_add_number(line, "twice", (double)failover->result.errors[-KVP_EXISTS], 0);
    bench_add_result(line, &failover->result, true);
}

static void failover_clean_up(struct failover *failover)
{
    for (unsigned i = 0; i < failover->writer_count; i++) {
        kvp_client_close(failover->writers[i].client);
        free(failover->writers[i].acknowledged);
    }
    free(failover->writers);
    free(failover->value);
    free(failover->gaps_ms);
    pthread_mutex_destroy(&failover->mutex);
    free(failover);
}

int bench_failover(const struct bench *bench, struct group *group, cJSON *line)
{
    struct failover *failover = calloc(1, sizeof(*failover));
    struct verdict verdict = {0};
    if (failover == NULL) {
        (void)bench_complain("%s", kvp_strerror(KVP_NO_MEMORY));
        return EXIT_NOTHING;
    }
    failover->bench = bench;
    failover->group = group;
    failover->run = bench_now_ns() ^ (uint64_t)getpid() << 48;
    pthread_mutex_init(&failover->mutex, NULL);
    uint64_t begin_ns = bench_now_ns();
    bool ok = start_writers(failover);
    for (unsigned i = 0; i < bench->kills && ok; i++) {
        ok = kill_once(failover);
    }
    atomic_store(&failover->ends, true);
    for (unsigned i = 0; i < failover->writer_count; i++) {
        pthread_join(failover->writers[i].thread, NULL);
    }
    failover->result.seconds = (double)(bench_now_ns() - begin_ns) / 1e9;
    ok = ok && failover_verify(failover, &verdict);
    if (ok) {
        report(failover, &verdict, line);
    }
    bool wrong = verdict.lost > 0 || failover->result.errors[-KVP_EXISTS] > 0;
    failover_clean_up(failover);
    return wrong ? EXIT_NO : ok ? EXIT_DONE : EXIT_NOTHING;
}
