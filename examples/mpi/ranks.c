/* SPDX-License-Identifier: Apache-2.0 */
/*
 * MPI ranks as workers of a kvpair group: each takes tasks "FIRST ROWS" of a job, rows of the
 * product of two matrices, which rank 0 gets from the keys mpi/A and mpi/B and broadcasts. When
 * mpirun is killed and started again, ranks go on where those of before were: after each row, a
 * rank puts down what it has of its task, by cas. So one that was left over from before loses it.
 *
 *   mpirun -n RANKS mpi_ranks URL,URL JOB TASKS ROW-MS
 */
#include <kvpair/kvp_client.h>
#include <kvpair/kvp_jobs.h>

#include <inttypes.h>
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define KIND         "rows"
#define WAIT_MS      500u
#define TEXT_MAX     65536u
#define FAILURES_MAX 10u /* of 5 s each, where no node can be reached */

struct matrix {
    int64_t *at;
    size_t rows, columns;
};

struct rank {
    kvp_client *client;
    kvp_worker worker;
    uint64_t job;
    uint32_t tasks, known; /* of the job; so many have results, as far as was asked */
    long row_ms;           /* a row takes so much longer, to be seen at work */
    int number;
    struct matrix a, b;
};

static void die(const char *what, kvp_status status)
{
    fprintf(stderr, "mpi_ranks: %s: %s\n", what, kvp_strerror(status));
    MPI_Abort(MPI_COMM_WORLD, 1);
    exit(1);
}

/* Lines of numbers with commas between them. */
static struct matrix parse(const char *text)
{
    struct matrix matrix = {NULL, 0, 0};
    size_t numbers = 0;
    for (const char *at = text; *at != '\0'; at++) {
        matrix.rows += *at == '\n';
        numbers += *at == '\n' || *at == ',';
    }
    matrix.at = calloc(numbers + 1, sizeof(int64_t));
    if (matrix.at == NULL || matrix.rows == 0) {
        die("a matrix", KVP_BAD_ARGUMENT);
    }
    matrix.columns = numbers / matrix.rows;
    for (size_t i = 0; i < numbers; i++) {
        char *end;
        matrix.at[i] = strtoll(text, &end, 10);
        text = end + 1;
    }
    return matrix;
}

/* Rank 0 knows the store; the others have it from rank 0. */
static struct matrix get_matrix(const struct rank *rank, const char *key)
{
    kvp_result found = {0};
    uint64_t size = 0;
    if (rank->number == 0) {
        kvp_status status = kvp_get(rank->client, kvp_slice_of(key, strlen(key)), &found);
        if (status != KVP_OK) {
            die(key, status);
        }
        size = found.value.size;
    }
    MPI_Bcast(&size, 1, MPI_UINT64_T, 0, MPI_COMM_WORLD);
    char *text = calloc(size + 1, 1);
    if (text == NULL) {
        die(key, KVP_NO_MEMORY);
    }
    if (rank->number == 0) {
        memcpy(text, found.value.data, size);
    }
    MPI_Bcast(text, (int)size, MPI_CHAR, 0, MPI_COMM_WORLD);
    struct matrix matrix = parse(text);
    free(text);
    kvp_result_free(&found);
    return matrix;
}

/* One row of the product, behind `size` bytes of text. The new size; TEXT_MAX or more: no room. */
static size_t write_row(const struct rank *rank, size_t row, char *text, size_t size)
{
    const struct matrix *a = &rank->a, *b = &rank->b;
    for (size_t column = 0; column < b->columns && size < TEXT_MAX; column++) {
        int64_t sum = 0;
        for (size_t i = 0; i < a->columns; i++) {
            sum += a->at[row * a->columns + i] * b->at[i * b->columns + column];
        }
        size += (size_t)snprintf(text + size, TEXT_MAX - size, "%" PRId64 "%c", sum,
                                 column + 1 < b->columns ? ',' : '\n');
    }
    nanosleep(&(struct timespec){rank->row_ms / 1000, rank->row_ms % 1000 * 1000000}, NULL);
    return size;
}

/* What the last one who had this task has put down: so many rows are done. */
static size_t load_checkpoint(const struct rank *rank, kvp_slice key, char *text, size_t *size,
                              uint64_t *version)
{
    kvp_result found = {0};
    size_t rows = 0;
    if (kvp_get(rank->client, key, &found) == KVP_OK && found.value.size < TEXT_MAX) {
        *size = found.value.size;
        memcpy(text, found.value.data, *size);
        for (size_t i = 0; i < *size; i++) {
            rows += text[i] == '\n';
        }
    }
    *version = found.version;
    kvp_result_free(&found);
    return rows;
}

/* False: the task is somebody else's now. */
static bool save_checkpoint(const struct rank *rank, const kvp_task *task, kvp_slice key,
                            kvp_slice text, uint64_t *version)
{
    kvp_result result = {0};
    bool wanted = true;
    kvp_status status = kvp_cas(rank->client, key, *version, text, &result);
    *version = result.version;
    kvp_result_free(&result);
    kvp_status beat = kvp_task_beat(rank->client, &rank->worker, task, 0, NULL, &wanted, NULL);
    return status == KVP_OK && wanted && beat != KVP_NOT_HELD && beat != KVP_WORKER_UNKNOWN;
}

static bool do_task(const struct rank *rank, const kvp_task *task)
{
    static char text[TEXT_MAX + 1];
    char payload[64] = "", name[64];
    size_t first, rows, size = 0;
    uint64_t version;

    memcpy(payload, task->payload.data,
           task->payload.size < sizeof(payload) ? task->payload.size : sizeof(payload) - 1);
    if (sscanf(payload, "%zu %zu", &first, &rows) != 2 || first + rows > rank->a.rows) {
        die(payload, KVP_BAD_REQUEST);
    }
    int length = snprintf(name, sizeof(name), "mpi/%" PRIu64 "/%u", rank->job, task->number);
    kvp_slice key = kvp_slice_of(name, (size_t)length);
    size_t done = load_checkpoint(rank, key, text, &size, &version);
    if (done > 0) {
        printf("rank %d goes on with task %u after %zu of %zu rows\n", rank->number, task->number,
               done, rows);
        fflush(stdout);
    }
    for (; done < rows; done++) {
        size = write_row(rank, first + done, text, size);
        if (size >= TEXT_MAX) {
            die("rows", KVP_TOO_LARGE);
        }
        if (!save_checkpoint(rank, task, key, kvp_slice_of(text, size), &version)) {
            return false;
        }
    }
    kvp_status status = kvp_task_post(rank->client, &rank->worker, task, KVP_OUTCOME_RESULT,
                                      kvp_slice_of(text, size), NULL);
    (void)kvp_delete(rank->client, key, version, NULL);
    return status == KVP_OK;
}

static bool all_done(struct rank *rank)
{
    while (rank->known < rank->tasks &&
           kvp_job_result(rank->client, rank->job, rank->known, NULL) == KVP_OK) {
        rank->known++;
    }
    return rank->known == rank->tasks;
}

static void join(struct rank *rank)
{
    static const char *const kinds[] = {KIND};
    kvp_status status =
        kvp_worker_join(rank->client, &rank->worker, kinds, 1, KVP_VALUE_SIZE_MAX, false, NULL);
    if (status != KVP_OK) {
        die("join", status);
    }
}

/* Until all tasks of the job have results; how many of them are this rank's. A rank that nobody
 * answers for long gives up: its mpirun may be gone, too. */
static uint64_t work(struct rank *rank)
{
    uint64_t done = 0;
    join(rank);
    for (unsigned failures = 0;;) {
        kvp_task task;
        kvp_status status = kvp_task_fetch(rank->client, &rank->worker, 0, WAIT_MS, &task, NULL);
        if (status == KVP_OK) {
            done += do_task(rank, &task);
            kvp_task_free(&task);
        } else if (status == KVP_WORKER_UNKNOWN) {
            join(rank);
        } else if (status == KVP_WORKER_REPLACED || status == KVP_WORKER_BARRED) {
            die(rank->worker.name, status);
        } else if (status == KVP_NO_TASK && all_done(rank)) {
            return done;
        }
        failures = status == KVP_OK || status == KVP_NO_TASK ? 0 : failures + 1;
        if (failures == FAILURES_MAX) {
            die("fetch", status);
        }
    }
}

int main(int argc, char **argv)
{
    struct rank rank = {0};
    kvp_client_options options;
    char message[256];
    uint64_t done, all = 0;

    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank.number);
    if (argc != 5) {
        die("usage: mpi_ranks URL,URL JOB TASKS ROW-MS", KVP_BAD_ARGUMENT);
    }
    kvp_client_options_init(&options);
    options.nodes = argv[1];
    if (kvp_client_open(&options, &rank.client, message, sizeof(message)) != KVP_OK) {
        die(message, KVP_BAD_ARGUMENT);
    }
    rank.job = strtoull(argv[2], NULL, 10);
    rank.tasks = (uint32_t)strtoul(argv[3], NULL, 10);
    rank.row_ms = strtol(argv[4], NULL, 10);
    snprintf(rank.worker.name, sizeof(rank.worker.name), "rank-%d", rank.number);
    rank.a = get_matrix(&rank, "mpi/A");
    rank.b = get_matrix(&rank, "mpi/B");
    if (rank.a.columns != rank.b.rows) {
        die("mpi/A and mpi/B have no product", KVP_BAD_ARGUMENT);
    }
    done = work(&rank);
    (void)kvp_worker_leave(rank.client, &rank.worker, NULL);
    MPI_Reduce(&done, &all, 1, MPI_UINT64_T, MPI_SUM, 0, MPI_COMM_WORLD);
    if (rank.number == 0) {
        printf("the ranks of this run have done %" PRIu64 " tasks\n", all);
    }
    kvp_client_close(rank.client);
    free(rank.a.at);
    free(rank.b.at);
    MPI_Finalize();
    return 0;
}
