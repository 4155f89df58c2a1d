/* SPDX-License-Identifier: Apache-2.0 */
/* Matrices in and out of files, and what came of a job. */
#include "client/kvcli/kvcli.h"
#include "kvpair/kvp_jobs.h"
#include "kvpair/job_spec.h"
#include "replication/matrix/matrix_file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- reading ---- */

enum format { NPY, CSV, MARKET, OTHER };

static bool ends_with(const char *name, const char *suffix)
{
    size_t size = strlen(name), end = strlen(suffix);
    return size > end && strcasecmp(name + size - end, suffix) == 0;
}

static enum format format_of_name(const char *name)
{
    return ends_with(name, ".npy")                              ? NPY
           : ends_with(name, ".csv") || ends_with(name, ".tsv") ? CSV
           : ends_with(name, ".mtx") || ends_with(name, ".mm")  ? MARKET
                                                                : OTHER;
}

static enum format format_of_content(kvp_slice file)
{
    static const char npy[] = "\x93NUMPY", market[] = "%%MatrixMarket";
    if (file.size >= sizeof(npy) - 1 && memcmp(file.data, npy, sizeof(npy) - 1) == 0) {
        return NPY;
    }
    bool is_market =
        file.size >= sizeof(market) - 1 && strncasecmp(file.data, market, sizeof(market) - 1) == 0;
    return is_market ? MARKET : CSV;
}

/* Half of the memory of the machine: two of them are there at once. */
static uint64_t size_max(void)
{
    long pages = sysconf(_SC_PHYS_PAGES), size = sysconf(_SC_PAGESIZE);
    return pages <= 0 || size <= 0 ? (uint64_t)1 << 32 : (uint64_t)pages * (uint64_t)size / 2;
}

static kvp_status matrix_file_convert(struct kvp_matrix *matrix, int wanted, char *message,
                                      size_t size)
{
    struct kvp_matrix converted;
    if (wanted == KVP_MATRIX_GUESS || wanted == (int)matrix->type) {
        return KVP_OK;
    }
    kvp_status status =
        kvp_matrix_convert(matrix, (enum kvp_matrix_type)wanted, &converted, message, size);
    kvp_matrix_free(matrix);
    *matrix = converted;
    return status;
}

static bool matrix_file_read(const char *name, kvp_slice file, int wanted,
                             struct kvp_matrix *matrix)
{
    char message[256] = "";
    enum format format = format_of_name(name);
    kvp_status status;
    switch (format == OTHER ? format_of_content(file) : format) {
    case NPY:
        status = kvp_npy_read(file, size_max(), matrix, message, sizeof(message));
        status = status == KVP_OK ? matrix_file_convert(matrix, wanted, message, sizeof(message))
                                  : status;
        break;
    case MARKET:
        status = kvp_market_read(file, wanted, size_max(), matrix, message, sizeof(message));
        break;
    default:
        status = kvp_csv_read(file, wanted, size_max(), matrix, message, sizeof(message));
        break;
    }
    if (status != KVP_OK) {
        (void)kvcli_complain("%s: %s", name, message[0] == '\0' ? kvp_strerror(status) : message);
    }
    return status == KVP_OK;
}

static bool read_stdin(int wanted, struct kvp_matrix *matrix)
{
    kvp_buf content = {0};
    bool good = kvcli_read_file("-", (size_t)size_max(), &content) &&
                matrix_file_read("-", kvp_buf_slice(&content), wanted, matrix);

    kvp_buf_free(&content);
    return good;
}

/* The file is mapped, not read: it needs no memory of its own beside the matrix. */
static bool read_open(const char *name, int fd, int wanted, struct kvp_matrix *matrix)
{
    struct stat about;
    if (fstat(fd, &about) != 0) {
        (void)kvcli_complain("%s: %s", name, strerror(errno));
        return false;
    }
    if (!S_ISREG(about.st_mode) || about.st_size == 0) {
        (void)kvcli_complain("%s: %s", name,
                             S_ISREG(about.st_mode) ? "the file is empty" : "not a file");
        return false;
    }
    size_t size = (size_t)about.st_size;
    void *bytes = mmap(NULL, size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (bytes == MAP_FAILED) {
        (void)kvcli_complain("%s: %s", name, strerror(errno));
        return false;
    }
    bool good = matrix_file_read(name, kvp_slice_of(bytes, size), wanted, matrix);
    (void)munmap(bytes, size);
    return good;
}

bool kvcli_read_matrix(const char *name, int wanted, struct kvp_matrix *matrix)
{
    memset(matrix, 0, sizeof(*matrix));
    if (strcmp(name, "-") == 0) {
        return read_stdin(wanted, matrix);
    }
    int fd = open(name, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        (void)kvcli_complain("%s: %s", name, strerror(errno));
        return false;
    }
    bool good = read_open(name, fd, wanted, matrix);
    (void)close(fd);
    return good;
}

/* ---- writing ---- */

struct result_options {
    uint64_t job;
    const char *file; /* NULL: standard output */
    bool one;         /* the result of one task, or one block */
    uint64_t task;
};

static int matrix_file_write(const struct result_options *options, kvp_slice bytes)
{
    if (options->file != NULL) {
        return kvcli_write_file(options->file, bytes);
    }
    fwrite(bytes.size == 0 ? "" : bytes.data, 1, bytes.size, stdout);
    return EXIT_DONE;
}

/* {"job":..,"element":..,"rows":..,"columns":..,"data":[[..],..]} from lines of numbers. */
static void print_matrix_json(const struct result_options *options, const struct kvp_matrix *matrix,
                              kvp_slice lines)
{
    const char *next = lines.data, *end = next + lines.size;
    printf("{\"job\":%" PRIu64 ",\"element\":\"%s\",\"rows\":%" PRIu64 ",\"columns\":%" PRIu64
           ",\"data\":[",
           options->job, kvp_matrix_type_name(matrix->type), matrix->rows, matrix->columns);
    while (next < end) {
        const char *stop = memchr(next, '\n', (size_t)(end - next));
        stop = stop == NULL ? end : stop;
        printf("[%.*s]%s", (int)(stop - next), next, stop + 1 < end ? "," : "");
        next = stop + 1;
    }
    puts("]}");
}

static int write_matrix(const struct kvcli *cli, const struct result_options *options,
                        const struct kvp_matrix *matrix)
{
    kvp_buf bytes = {0};
    bool npy = options->file != NULL && format_of_name(options->file) == NPY;
    kvp_status status = npy ? kvp_npy_write(matrix, &bytes) : kvp_csv_write(matrix, &bytes);
    int code = EXIT_DONE;
    if (status != KVP_OK) {
        code = kvcli_failed(status, NULL);
    } else if (cli->json && options->file == NULL) {
        print_matrix_json(options, matrix, kvp_buf_slice(&bytes));
    } else {
        code = matrix_file_write(options, kvp_buf_slice(&bytes));
    }
    kvp_buf_free(&bytes);
    return code;
}

/* ---- results ---- */

/* The specification of a product from what the group says about it. */
static bool read_spec(const cJSON *object, struct kvp_job_spec *spec)
{
    enum kvp_matrix_type element = KVP_INT32;
    const char *reason = "";
    kvp_job_spec_init(spec, KVP_JOB_MATMUL);
    bool good = kvp_matrix_type_of(kvcli_json_text(object, "element"), &element) == KVP_OK;
    spec->element = (uint8_t)element;
    spec->rows = kvcli_json_integer(object, "rows", UINT64_C(1) << 32);
    spec->inner = kvcli_json_integer(object, "inner", UINT64_C(1) << 32);
    spec->columns = kvcli_json_integer(object, "columns", UINT64_C(1) << 32);
    spec->tile_rows = (uint32_t)kvcli_json_integer(object, "tile_rows", UINT32_MAX);
    spec->tile_inner = (uint32_t)kvcli_json_integer(object, "tile_inner", UINT32_MAX);
    spec->tile_columns = (uint32_t)kvcli_json_integer(object, "tile_columns", UINT32_MAX);
    return good && kvp_job_spec_check(spec, &reason) == KVP_OK;
}

static int product(struct kvcli *cli, const struct result_options *options, const cJSON *object)
{
    struct kvp_job_spec spec;
    struct kvp_matrix matrix;
    kvp_result result;
    if (!read_spec(object, &spec)) {
        return kvcli_failed_because(KVP_CORRUPT, "the job's matrices are not understood");
    }
    kvp_status status = kvp_job_product(cli->client, options->job, &spec, &matrix, &result);
    if (status != KVP_OK) {
        int code = kvcli_failed(status, &result);
        kvp_result_free(&result);
        return code;
    }
    int code = write_matrix(cli, options, &matrix);
    kvp_matrix_free(&matrix);
    return code;
}

static int print_task_json(uint64_t task, kvp_slice bytes)
{
    cJSON *object = cJSON_CreateObject();

    kvcli_json_add(&object, "task", kvcli_json_number(task));
    kvcli_json_add(&object, "result", kvcli_json_bytes(bytes));
    return kvcli_print_json(object) ? EXIT_DONE : kvcli_failed_to_print(false);
}

/* The bytes of one task, as they are. */
static int one_result(struct kvcli *cli, const struct result_options *options)
{
    kvp_result result;
    kvp_status status = kvp_job_result(cli->client, options->job, (uint32_t)options->task, &result);
    int code = EXIT_DONE;
    if (status != KVP_OK) {
        code = kvcli_failed(status, &result);
    } else if (cli->json && options->file == NULL) {
        code = print_task_json(options->task, kvp_buf_slice(&result.value));
    } else {
        code = matrix_file_write(options, kvp_buf_slice(&result.value));
    }
    kvp_result_free(&result);
    return code;
}

static void print_task(FILE *out, uint64_t task, kvp_slice bytes)
{
    fprintf(out, "%" PRIu64 "\t", task);
    (void)kvcli_write_escaped(out, bytes);
    fputc('\n', out);
}

/* All tasks, a line each. */
static int all_results(struct kvcli *cli, const struct result_options *options, uint32_t count,
                       FILE *out)
{
    int code = EXIT_DONE;
    for (uint32_t i = 0; i < count && code == EXIT_DONE && !ferror(out); i++) {
        kvp_result result;
        kvp_status status = kvp_job_result(cli->client, options->job, i, &result);
        kvp_slice bytes = kvp_buf_slice(&result.value);
        if (status != KVP_OK) {
            code = kvcli_failed(status, &result);
        } else if (cli->json && out == stdout) {
            code = print_task_json(i, bytes);
        } else {
            print_task(out, i, bytes);
        }
        kvp_result_free(&result);
    }
    return code;
}

/* The lines in a file, all or none. */
static int all_results_in_file(struct kvcli *cli, const struct result_options *options,
                               uint32_t count)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);

    if (out == NULL) {
        return kvcli_failed(KVP_NO_MEMORY, NULL);
    }
    int code = all_results(cli, options, count, out);
    bool whole = !ferror(out);
    whole = fclose(out) == 0 && whole;
    if (code == EXIT_DONE) {
        code = whole ? kvcli_write_file(options->file, kvp_slice_of(text, size))
                     : kvcli_failed(KVP_NO_MEMORY, NULL);
    }
    free(text);
    return code;
}

static int parse_result(const struct kvcli *cli, const char *id, struct result_options *options)
{
    const char *task = kvcli_option(cli, "--task");
    *options = (struct result_options){.file = kvcli_option(cli, "-o"), .one = task != NULL};
    if (!kvcli_job_id(id, &options->job)) {
        return EXIT_USAGE;
    }
    return task == NULL || kvcli_parse_number(task, KVP_JOB_TASKS_MAX, &options->task)
               ? EXIT_DONE
               : kvcli_complain("job result: --task: '%s' is not the number of a task", task);
}

int kvcli_job_result(struct kvcli *cli, int argc, char **argv)
{
    struct result_options options;
    kvp_result result;
    (void)argc;
    if (parse_result(cli, argv[0], &options) != EXIT_DONE) {
        return EXIT_USAGE;
    }
    if (options.one) {
        return one_result(cli, &options);
    }
    cJSON *object = kvcli_job_fetch(cli, options.job, NULL, &result);
    if (object == NULL) {
        int code = kvcli_failed(result.status, &result);
        kvp_result_free(&result);
        return code;
    }
    int code;
    if (strcmp(kvcli_json_text(object, "type"), "matmul") != 0) {
        uint32_t count = (uint32_t)kvcli_json_integer(object, "tasks", KVP_JOB_TASKS_MAX);
        code = options.file != NULL ? all_results_in_file(cli, &options, count)
                                    : all_results(cli, &options, count, stdout);
    } else if (options.file != NULL && format_of_name(options.file) != NPY &&
               format_of_name(options.file) != CSV) {
        code = kvcli_complain("%s: the name has to end in .npy or .csv", options.file);
    } else {
        code = product(cli, &options, object);
    }
    cJSON_Delete(object);
    return code;
}
