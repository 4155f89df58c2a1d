/* SPDX-License-Identifier: Apache-2.0 */
/* Making jobs: products of matrices from files, tasks from lines of JSON. */
#include "client/kvcli/kvcli.h"
#include "kvpair/kvp_jobs.h"
#include "kvpair/job_spec.h"
#include "replication/matrix/matrix_file.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define BATCH_SIZE      (1u << 20) /* bytes of tasks in a message, about */
#define TOLERANCE_UNSET (-1.0)

struct submission {
    struct kvp_job_spec spec;
    int type; /* of the elements, or KVP_MATRIX_GUESS */
    bool compare_given;
    uint64_t buffer; /* 0: the default */
    bool wait;
    const char *files[2];
};

/* ---- options ---- */

/* The index of `text` in a list of names that ends with NULL; -1. */
static int find_name(const char *text, const char *const *names)
{
    for (int i = 0; names[i] != NULL; i++) {
        if (strcmp(text, names[i]) == 0) {
            return i;
        }
    }
    return -1;
}

static bool take_name_of(const char *text, const char *const *names, uint8_t *number)
{
    int index = find_name(text, names);
    *number = index < 0 ? *number : (uint8_t)index;
    return index >= 0;
}

static bool take_tolerance(const char *text, double *tolerance)
{
    char *end = NULL;
    *tolerance = strtod(text, &end);
    return end != text && *end == '\0' && isfinite(*tolerance) && *tolerance >= 0;
}

static bool take_job_name(const char *text, struct kvp_job_spec *spec)
{
    size_t size = strlen(text);
    if (size > KVP_NAME_SIZE_MAX) {
        return false;
    }
    memcpy(spec->name, text, size + 1);
    return true;
}

static bool submit_take_byte(const char *text, uint64_t min, uint64_t max, uint8_t *number)
{
    uint64_t value = 0;
    bool good = kvcli_parse_number(text, max, &value) && value >= min;
    *number = (uint8_t)value;
    return good;
}

static bool submit_take_u32(const char *text, uint32_t *number)
{
    uint64_t value = 0;
    bool good = kvcli_parse_number(text, UINT32_MAX, &value);
    *number = (uint32_t)value;
    return good;
}

/* What any job may have. 1: taken; 0: not one of these; -1: not understood. */
static int take_common(struct kvp_job_spec *spec, const char *name, const char *value)
{
    static const char *const on_failures[] = {"stop", "continue", NULL};

    if (strcmp(name, "--mode") == 0) {
        return kvp_job_spec_mode(spec, value) == KVP_OK ? 1 : -1;
    }
    if (strcmp(name, "--max-copies") == 0) {
        return submit_take_byte(value, 1, KVP_JOB_COPIES_MAX, &spec->copies_max) ? 1 : -1;
    }
    if (strcmp(name, "--priority") == 0) {
        return submit_take_byte(value, 0, UINT8_MAX, &spec->priority) ? 1 : -1;
    }
    if (strcmp(name, "--max-attempts") == 0) {
        return submit_take_byte(value, 1, UINT8_MAX, &spec->attempts_max) ? 1 : -1;
    }
    if (strcmp(name, "--retry-delay") == 0) {
        return submit_take_u32(value, &spec->retry_ms) ? 1 : -1;
    }
    if (strcmp(name, "--delay") == 0) {
        return submit_take_u32(value, &spec->delay_ms) ? 1 : -1;
    }
    if (strcmp(name, "--deadline") == 0) {
        return submit_take_u32(value, &spec->deadline_ms) ? 1 : -1;
    }
    if (strcmp(name, "--silence") == 0) {
        return submit_take_u32(value, &spec->silence_ms) ? 1 : -1;
    }
    if (strcmp(name, "--keep") == 0) {
        return submit_take_u32(value, &spec->keep_s) ? 1 : -1;
    }
    if (strcmp(name, "--max-running") == 0) {
        return submit_take_u32(value, &spec->max_running) ? 1 : -1;
    }
    if (strcmp(name, "--expires") == 0) {
        return submit_take_u32(value, &spec->expires_s) ? 1 : -1;
    }
    if (strcmp(name, "--on-failure") == 0) {
        return take_name_of(value, on_failures, &spec->on_failure) ? 1 : -1;
    }
    if (strcmp(name, "--key") == 0) {
        spec->key = value;
        return strlen(value) <= KVP_NAME_SIZE_MAX ? 1 : -1;
    }
    if (strcmp(name, "--name") == 0) {
        return take_job_name(value, spec) ? 1 : -1;
    }
    return 0;
}

static int take_matmul(struct submission *submission, const char *name, const char *value)
{
    static const char *const compares[] = {"exact", "absolute", "relative", "checksum", NULL};
    static const char *const verifies[] = {"none", "freivalds", "recompute", NULL};
    struct kvp_job_spec *spec = &submission->spec;
    enum kvp_matrix_type type;

    if (strcmp(name, "--type") == 0) {
        if (kvp_matrix_type_of(value, &type) != KVP_OK) {
            return -1;
        }
        submission->type = (int)type;
        return 1;
    }
    if (strcmp(name, "--compare") == 0) {
        submission->compare_given = true;
        return take_name_of(value, compares, &spec->compare) ? 1 : -1;
    }
    if (strcmp(name, "--tolerance") == 0) {
        return take_tolerance(value, &spec->tolerance) ? 1 : -1;
    }
    if (strcmp(name, "--verify") == 0) {
        return take_name_of(value, verifies, &spec->verify) ? 1 : -1;
    }
    if (strcmp(name, "--rounds") == 0) {
        return submit_take_byte(value, 1, 64, &spec->rounds) ? 1 : -1;
    }
    if (strcmp(name, "--buffer") == 0) {
        return kvcli_parse_number(value, SIZE_MAX, &submission->buffer) ? 1 : -1;
    }
    return 0;
}

/* The mode stands first: what is said about copies holds, wherever it stands. */
const struct kvcli_option kvcli_submit_options[] = {
    {"--mode", "MODE", "single, dual-first, dual-compare, tmr, quad or COPIES/QUORUM"},
    {"--max-copies", "N", "so many results at most, where they disagree"},
    {"--priority", "N", "0 to 255: the higher ones first (100)"},
    {"--max-attempts", "N", "a task that was lost so often has failed (5)"},
    {"--retry-delay", "MS", "before a task that failed is tried again; doubled each time (200)"},
    {"--delay", "MS", "until the first task is handed out"},
    {"--deadline", "MS", "a worker that takes longer loses the task"},
    {"--silence", "MS", "a worker that is silent for so long loses the task (2000)"},
    {"--keep", "S", "the job stays so long after its end (86400)"},
    {"--on-failure", "WHAT", "tasks: stop at one that has failed, or continue (stop)"},
    {"--max-running", "N", "so many attempts at a time"},
    {"--expires", "S", "it has failed if it has not ended so long after its start"},
    {"--key", "NAME", "one job at most of this key; where there is one, its id is printed"},
    {"--name", "TEXT", "for people"},
    {"--wait", NULL, "and wait for its end"},
    {"--type", "TYPE", "matmul: int32, int64, float32 or float64"},
    {"--compare", "HOW", "matmul: exact, absolute, relative or checksum"},
    {"--tolerance", "X", "matmul: how far results may be apart"},
    {"--verify", "HOW", "matmul: freivalds, recompute or none"},
    {"--rounds", "N", "matmul: of freivalds, 1 to 64 (10)"},
    {"--buffer", "BYTES", "matmul: a task and its result take at most so much (2097152)"},
    {NULL, NULL, NULL},
};

static const char *summary_of(const char *name)
{
    const struct kvcli_option *option = kvcli_submit_options;
    while (strcmp(option->name, name) != 0) {
        option++;
    }
    return option->summary;
}

static int submit_take_option(struct submission *submission, const char *name, const char *value)
{
    bool matmul = submission->spec.type == KVP_JOB_MATMUL;
    if (strcmp(name, "--wait") == 0) {
        submission->wait = true;
        return EXIT_DONE;
    }
    int taken = take_common(&submission->spec, name, value);
    taken = taken == 0 && matmul ? take_matmul(submission, name, value) : taken;
    if (taken == 0) {
        return kvcli_complain("job submit tasks: %s is for products of matrices", name);
    }
    return taken > 0
               ? EXIT_DONE
               : kvcli_complain("job submit: %s cannot be '%s': %s", name, value, summary_of(name));
}

static int submit_parse(const struct kvcli *cli, int argc, char **argv,
                        struct submission *submission)
{
    int files_max = submission->spec.type == KVP_JOB_MATMUL ? 2 : 1;
    if (argc != files_max) {
        return kvcli_complain("usage: job submit [OPTION]... matmul A B | tasks FILE|-");
    }
    for (int i = 0; i < argc; i++) {
        submission->files[i] = argv[i];
    }
    for (const struct kvcli_option *option = kvcli_submit_options; option->name != NULL; option++) {
        const char *value = kvcli_option(cli, option->name);
        if (value != NULL && submit_take_option(submission, option->name, value) != EXIT_DONE) {
            return EXIT_USAGE;
        }
    }
    return EXIT_DONE;
}

/* ---- after it has been made ---- */

static int made(struct kvcli *cli, const struct submission *submission, uint64_t job)
{
    if (!cli->json) {
        printf("%" PRIu64 "\n", job);
    } else if (!submission->wait) {
        cJSON *object = cJSON_CreateObject();
        kvcli_json_add(&object, "job", kvcli_json_number(job));
        if (!kvcli_print_json(object)) {
            return kvcli_failed_to_print(true);
        }
    }
    if (!submission->wait) {
        return EXIT_DONE;
    }
    (void)fflush(stdout); /* who reads it may want to look in the meantime */
    return kvcli_wait_for(cli, job, 0);
}

/* ---- products ---- */

/*
 * Two results of the same floats differ by roundings: either is off by at most n*u of the sum of
 * the magnitudes of its n products, u being the type's unit roundoff. So twice that is tolerated
 * where nobody says otherwise, in relation to the larger of two elements or the largest of the
 * block.
 */
static int choose_comparison(struct submission *submission)
{
    struct kvp_job_spec *spec = &submission->spec;
    bool floats = kvp_matrix_type_is_float(spec->element);
    bool tolerance_given = spec->tolerance != TOLERANCE_UNSET;
    if (!submission->compare_given && floats) {
        spec->compare = KVP_AGREE_RELATIVE;
    }
    if (spec->compare == KVP_AGREE_EXACT && tolerance_given) {
        return kvcli_complain("job submit: --tolerance needs --compare absolute, relative or "
                              "checksum");
    }
    if (tolerance_given) {
        return EXIT_DONE;
    }
    bool exact =
        spec->compare == KVP_AGREE_EXACT || (spec->compare == KVP_AGREE_CHECKSUM && !floats);
    if (!exact && (!floats || spec->compare == KVP_AGREE_ABSOLUTE)) {
        return kvcli_complain("job submit: --tolerance is missing: how far may results be apart?");
    }
    double unit = spec->element == KVP_FLOAT32 ? 0x1p-24 : 0x1p-53;
    spec->tolerance = exact ? 0 : 2 * ((double)spec->inner + 2) * unit;
    return EXIT_DONE;
}

/* Both of one type: that which was asked for, else one that both fit in. */
static bool same_type(const struct submission *submission, struct kvp_matrix *a,
                      struct kvp_matrix *b)
{
    char message[200] = "";
    if (a->type == b->type) {
        return true;
    }
    bool floats = kvp_matrix_type_is_float(a->type) || kvp_matrix_type_is_float(b->type);
    enum kvp_matrix_type type = floats ? KVP_FLOAT64 : KVP_INT64;
    struct kvp_matrix *const both[] = {a, b};
    for (int i = 0; i < 2; i++) {
        struct kvp_matrix converted;
        if (both[i]->type == type) {
            continue;
        }
        kvp_status status = kvp_matrix_convert(both[i], type, &converted, message, sizeof(message));
        if (status != KVP_OK) {
            (void)kvcli_complain("%s: %s", submission->files[i],
                                 message[0] == '\0' ? kvp_strerror(status) : message);
            return false;
        }
        kvp_matrix_free(both[i]);
        *both[i] = converted;
    }
    return true;
}

static void show_upload(void *arg, uint64_t sent, uint64_t all)
{
    char text[64];
    (void)arg;
    (void)snprintf(text, sizeof(text), "%.1f of %.1f MiB", (double)sent / 1048576,
                   (double)all / 1048576);
    kvcli_draw_bar("uploading", (double)sent, (double)all, text);
}

static int submit_product(struct kvcli *cli, struct submission *submission, struct kvp_matrix *a,
                          struct kvp_matrix *b)
{
    uint64_t job = 0;
    kvp_result result;
    if (!kvcli_read_matrix(submission->files[0], submission->type, a) ||
        !kvcli_read_matrix(submission->files[1], submission->type, b) ||
        !same_type(submission, a, b)) {
        return EXIT_USAGE;
    }
    submission->spec.element = (uint8_t)a->type;
    submission->spec.inner = a->columns;
    if (choose_comparison(submission) != EXIT_DONE) {
        return EXIT_USAGE;
    }
    kvp_status status =
        kvp_job_submit_matmul(cli->client, &submission->spec, a, b, (size_t)submission->buffer,
                              &job, show_upload, NULL, &result);
    kvcli_clear_bar();
    int code = status == KVP_OK ? EXIT_DONE : kvcli_failed(status, &result);
    kvp_result_free(&result);
    kvp_matrix_free(a); /* nobody needs them while somebody waits */
    kvp_matrix_free(b);
    return code == EXIT_DONE ? made(cli, submission, job) : code;
}

static int submit_matmul(struct kvcli *cli, int argc, char **argv)
{
    struct submission submission = {.type = KVP_MATRIX_GUESS};
    struct kvp_matrix a = {0}, b = {0};
    kvp_job_spec_init(&submission.spec, KVP_JOB_MATMUL);
    submission.spec.tolerance = TOLERANCE_UNSET;
    int code = submit_parse(cli, argc, argv, &submission);
    if (code == EXIT_DONE) {
        code = submit_product(cli, &submission, &a, &b);
    }
    kvp_matrix_free(&a);
    kvp_matrix_free(&b);
    return code;
}

/* ---- tasks ---- */

/* Tasks that wait to be sent in one message. */
struct batch {
    struct kvcli *cli;
    uint64_t job;
    uint32_t first; /* the number of the first of them */
    uint32_t count;
    kvp_buf tasks; /* without the array's head */
    uint64_t line;
    bool checking; /* they are looked at, not sent */
    char kinds[KVP_JOB_KINDS_MAX][KVP_NAME_SIZE_MAX + 1];
    unsigned kind_count;
};

static int send_batch(struct batch *batch)
{
    kvp_buf message = {0};
    kvp_result result = {0};
    if (batch->count == 0) {
        return EXIT_DONE;
    }
    kvp_status status = kvp_job_tasks_open(&message, batch->count);
    if (status == KVP_OK) {
        status = kvp_buf_append(&message, batch->tasks.data, batch->tasks.size);
    }
    int code = EXIT_DONE;
    if (status == KVP_OK && batch->checking) {
        struct kvp_job_tasks read;
        const char *reason = "";
        status = kvp_job_tasks_begin(kvp_buf_slice(&message), &read, &reason);
        code = status == KVP_OK ? EXIT_DONE : kvcli_failed_because(status, reason);
    } else {
        if (status == KVP_OK) {
            status = kvp_job_add_tasks(batch->cli->client, batch->job, batch->first,
                                       kvp_buf_slice(&message), &result);
        }
        code = status == KVP_OK ? EXIT_DONE : kvcli_failed(status, &result);
    }
    kvp_result_free(&result);
    kvp_buf_free(&message);
    batch->first += batch->count;
    batch->count = 0;
    batch->tasks.size = 0;
    return code;
}

static int submit_complain_line(const struct batch *batch, const char *what)
{
    return kvcli_complain("job submit: line %" PRIu64 ": %s", batch->line, what);
}

/* "FIRST-LAST" */
static bool submit_take_pair(const char *text, uint64_t *first, uint64_t *last)
{
    char begin[24];
    size_t size = strcspn(text, "-");
    if (text[size] == '\0' || size >= sizeof(begin)) {
        return false;
    }
    memcpy(begin, text, size);
    begin[size] = '\0';
    return kvcli_parse_number(begin, KVP_JOB_TASKS_MAX, first) &&
           kvcli_parse_number(text + size + 1, KVP_JOB_TASKS_MAX, last) && *first <= *last;
}

/* A number of a task, or two. */
static bool take_range(const cJSON *item, uint64_t *first, uint64_t *last)
{
    if (cJSON_IsNumber(item) && item->valuedouble >= 0 && item->valuedouble < KVP_JOB_TASKS_MAX &&
        item->valuedouble == (double)(uint32_t)item->valuedouble) {
        *first = *last = (uint64_t)item->valuedouble;
        return true;
    }
    return cJSON_IsString(item) && submit_take_pair(item->valuestring, first, last);
}

/* *numbers is to be freed. False: not understood, or more than may be. */
static bool submit_take_after(const cJSON *array, uint32_t **numbers, uint32_t *count)
{
    const cJSON *item;

    *count = 0;
    *numbers = malloc(KVP_JOB_DEPS_MAX * sizeof(**numbers));
    if (*numbers == NULL || (array != NULL && !cJSON_IsArray(array))) {
        return false;
    }
    cJSON_ArrayForEach(item, array)
    {
        uint64_t first = 0, last = 0;
        if (!take_range(item, &first, &last) || last - first >= KVP_JOB_DEPS_MAX - *count) {
            return false;
        }
        for (uint64_t number = first; number <= last; number++) {
            (*numbers)[(*count)++] = (uint32_t)number;
        }
    }
    return true;
}

static int check_members(const struct batch *batch, const cJSON *line)
{
    static const char *const known[] = {"kind", "payload", "file", "after", "feed", NULL};
    const char *wrong = NULL;

    if (kvcli_json_only(line, known, &wrong)) {
        return EXIT_DONE;
    }
    return wrong == NULL
               ? submit_complain_line(batch, "an object is wanted")
               : kvcli_complain("job submit: line %" PRIu64 ": unknown, or there twice: '%s'",
                                batch->line, wrong);
}

/* The payload is in the line, in a file, or empty. */
static int take_payload(const struct batch *batch, const cJSON *line, kvp_buf *payload)
{
    const cJSON *bytes = cJSON_GetObjectItemCaseSensitive(line, "payload");
    const cJSON *file = cJSON_GetObjectItemCaseSensitive(line, "file");

    if (bytes != NULL && file != NULL) {
        return submit_complain_line(batch, "\"payload\" and \"file\" exclude each other");
    }
    if (file != NULL) {
        return cJSON_IsString(file) &&
                       kvcli_read_file(file->valuestring, KVP_VALUE_SIZE_MAX, payload)
                   ? EXIT_DONE
                   : submit_complain_line(batch, "the payload cannot be read");
    }
    if (bytes != NULL && !kvcli_bytes_of_json(bytes, payload)) {
        return submit_complain_line(batch, "\"payload\" is text or {\"base64\": \"...\"}");
    }
    return payload->size <= KVP_VALUE_SIZE_MAX
               ? EXIT_DONE
               : submit_complain_line(batch, "a payload of more than 1 MiB");
}

static bool take_kind(struct batch *batch, const char *kind)
{
    for (unsigned i = 0; i < batch->kind_count; i++) {
        if (strcmp(batch->kinds[i], kind) == 0) {
            return true;
        }
    }
    if (batch->kind_count == KVP_JOB_KINDS_MAX) {
        return false;
    }
    (void)snprintf(batch->kinds[batch->kind_count++], sizeof(batch->kinds[0]), "%s", kind);
    return true;
}

static int add_task(struct batch *batch, const cJSON *line, kvp_slice payload)
{
    const char *kind = kvcli_json_text(line, "kind");
    const cJSON *feed = cJSON_GetObjectItemCaseSensitive(line, "feed");
    uint32_t *after = NULL, count = 0;
    int code = EXIT_DONE;

    if (kind[0] == '\0' || strlen(kind) > KVP_NAME_SIZE_MAX) {
        return submit_complain_line(batch, "\"kind\" is 1 to 64 bytes of text");
    }
    if (!take_kind(batch, kind)) {
        return submit_complain_line(batch, "a job has at most 16 kinds of tasks");
    }
    if (batch->first + batch->count >= KVP_JOB_TASKS_MAX) {
        return submit_complain_line(batch, "too many tasks for a job");
    }
    if (feed != NULL && !cJSON_IsBool(feed)) {
        return submit_complain_line(batch, "\"feed\" is true or false");
    }
    if (!submit_take_after(cJSON_GetObjectItemCaseSensitive(line, "after"), &after, &count)) {
        code = submit_complain_line(batch,
                                    "\"after\" is an array of at most 4096 numbers of tasks, or "
                                    "\"FIRST-LAST\"");
    }
    for (uint32_t i = 0; i < count && code == EXIT_DONE; i++) {
        if (after[i] >= batch->first + batch->count) {
            code = submit_complain_line(batch, "it waits for itself or for a task behind it");
        }
    }
    if (code == EXIT_DONE &&
        kvp_job_tasks_put(&batch->tasks, kvp_slice_of(kind, strlen(kind)), after, count,
                          cJSON_IsTrue(feed), payload) != KVP_OK) {
        code = kvcli_failed(KVP_NO_MEMORY, NULL);
    }
    free(after);
    batch->count += code == EXIT_DONE ? 1 : 0;
    return code;
}

static int submit_take_line(struct batch *batch, kvp_slice text)
{
    const char *reason = "";
    size_t at = 0;
    kvp_buf payload = {0};
    cJSON *line = kvcli_parse_json(text, &reason, &at);

    if (line == NULL) {
        return kvcli_complain("job submit: line %" PRIu64 ": %s near byte %zu", batch->line, reason,
                              at);
    }
    int code = check_members(batch, line);
    code = code == EXIT_DONE ? take_payload(batch, line, &payload) : code;
    if (code == EXIT_DONE) {
        code = add_task(batch, line, kvp_buf_slice(&payload));
    }
    kvp_buf_free(&payload);
    cJSON_Delete(line);
    if (code == EXIT_DONE &&
        (batch->count == KVP_JOB_BATCH_MAX || batch->tasks.size >= BATCH_SIZE)) {
        code = send_batch(batch);
    }
    return code;
}

static int send_lines(struct batch *batch, FILE *file, const char *name)
{
    kvp_buf line = {0};
    kvp_status status = KVP_OK;
    int code = EXIT_DONE;
    while (code == EXIT_DONE && (status = kvcli_read_line(file, &line)) == KVP_OK) {
        batch->line++;
        while (line.size > 0 && memchr(" \t\r", line.data[line.size - 1], 3) != NULL) {
            line.size--;
        }
        if (line.size > 0) {
            code = submit_take_line(batch, kvp_buf_slice(&line));
        }
    }
    kvp_buf_free(&line);
    if (code == EXIT_DONE && status != KVP_OK && status != KVP_NOT_FOUND) {
        batch->line++;
        return status == KVP_TOO_LARGE ? submit_complain_line(batch, "longer than a task can be")
                                       : kvcli_failed(status, NULL);
    }
    if (code == EXIT_DONE && ferror(file)) {
        code = kvcli_complain("%s: %s", name, strerror(errno));
    }
    return code == EXIT_DONE ? send_batch(batch) : code;
}

static int take_lines(struct batch *batch, const struct submission *submission, FILE *file)
{
    int code =
        send_lines(batch, file, file == kvcli_input() ? "standard input" : submission->files[0]);

    kvp_buf_free(&batch->tasks);
    return code == EXIT_DONE && batch->first == 0
               ? kvcli_complain("%s: no tasks", submission->files[0])
               : code;
}

/* Before there is a job: what can be read twice is looked at. */
static int check_lines(struct kvcli *cli, const struct submission *submission, FILE *file)
{
    struct batch batch = {.cli = cli, .checking = true};
    off_t begin = ftello(file);
    if (begin < 0) {
        return EXIT_DONE; /* a pipe */
    }
    int code = take_lines(&batch, submission, file);
    if (code == EXIT_DONE && fseeko(file, begin, SEEK_SET) != 0) {
        return kvcli_complain("%s: %s", submission->files[0], strerror(errno));
    }
    return code;
}

/* Makes the job, fills it from the file, starts it. What could not be made whole is taken away. */
static int submit_lines(struct kvcli *cli, const struct submission *submission, FILE *file,
                        uint64_t *job)
{
    kvp_result result;
    int code = check_lines(cli, submission, file);
    if (code != EXIT_DONE) {
        return code;
    }
    kvp_status status = kvp_job_new(cli->client, &submission->spec, job, &result);
    bool there = status == KVP_OK && !result.counted; /* under its key */
    code = status == KVP_OK ? EXIT_DONE : kvcli_failed(status, &result);
    kvp_result_free(&result);
    if (code != EXIT_DONE || there) {
        return code;
    }
    struct batch batch = {.cli = cli, .job = *job};
    code = take_lines(&batch, submission, file);
    if (code == EXIT_DONE) {
        status = kvp_job_start(cli->client, *job, &result);
        code = status == KVP_OK ? EXIT_DONE : kvcli_failed(status, &result);
        *job = status == KVP_OK && result.version != 0 ? result.version : *job;
        kvp_result_free(&result);
    }
    if (code != EXIT_DONE && code != EXIT_UNKNOWN &&
        kvp_job_cancel(cli->client, *job, NULL) == KVP_OK) {
        (void)kvp_job_remove(cli->client, *job, NULL);
    }
    return code;
}

static int submit_list_of_tasks(struct kvcli *cli, int argc, char **argv)
{
    struct submission submission = {0};
    uint64_t job = 0;
    kvp_job_spec_init(&submission.spec, KVP_JOB_TASKS);
    if (submit_parse(cli, argc, argv, &submission) != EXIT_DONE) {
        return EXIT_USAGE;
    }
    bool standard = strcmp(submission.files[0], "-") == 0;
    FILE *file = standard ? kvcli_input() : fopen(submission.files[0], "r");
    if (file == NULL) {
        return kvcli_complain("%s: %s", submission.files[0], strerror(errno));
    }
    int code = submit_lines(cli, &submission, file, &job);
    if (standard) {
        clearerr(kvcli_input()); /* at the prompt there is more to come */
    } else {
        fclose(file);
    }
    return code == EXIT_DONE ? made(cli, &submission, job) : code;
}

int kvcli_job_submit(struct kvcli *cli, int argc, char **argv)
{
    if (strcmp(argv[0], "matmul") == 0) {
        return submit_matmul(cli, argc - 1, argv + 1);
    }
    if (strcmp(argv[0], "tasks") == 0) {
        return submit_list_of_tasks(cli, argc - 1, argv + 1);
    }
    return kvcli_complain("job submit: 'matmul' or 'tasks' is wanted, not '%s'", argv[0]);
}
