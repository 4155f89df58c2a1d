/* SPDX-License-Identifier: Apache-2.0 */
/* Looking at jobs and workers. */
#include "client/kvcli/kvcli.h"
#include "kvpair/kvp_jobs.h"
#include "kvpair/job_spec.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define NAME_WIDTH      14u /* that is left of a line in the list of jobs */
#define KINDS_SIZE      4096
#define SHOWN_TASKS_MAX 20000u /* looked at for what is remarkable, if not all are asked for */

static bool json_true(const cJSON *object, const char *name)
{
    return cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(object, name));
}

static void print_text(const char *text)
{
    kvcli_print_escaped(kvp_slice_of(text, strlen(text)));
}

bool kvcli_job_id(const char *argument, uint64_t *job)
{
    bool good = kvcli_parse_number(argument, UINT64_MAX, job) && *job > 0;
    if (!good) {
        (void)kvcli_complain("'%s' is not the id of a job", argument);
    }
    return good;
}

cJSON *kvcli_job_fetch(struct kvcli *cli, uint64_t job, kvp_buf *text, kvp_result *result)
{
    kvp_status status = kvp_job_info(cli->client, KVP_INFO_JOB, job, 0, NULL, result);
    if (status != KVP_OK) {
        return NULL;
    }
    cJSON *object = cJSON_ParseWithLength((const char *)result->value.data, result->value.size);
    if (text != NULL) {
        *text = result->value;
        result->value = (kvp_buf){0};
    }
    if (object == NULL) {
        result->status = KVP_NO_MEMORY;
    } else {
        kvp_result_free(result);
    }
    return object;
}

/* ---- lists that come in pages ---- */

struct listing {
    struct kvcli *cli;
    unsigned what;
    uint64_t job;
    uint64_t count_max; /* of items, more or less; 0: all */
    /* Of one item. */
    void (*print)(struct listing *listing, const cJSON *item);
    uint64_t count; /* so far */
    bool all;       /* nothing was left out */
    uint64_t printed;
};

/* As the nodes wrote it: cJSON would round large numbers. */
static void print_raw(struct listing *listing, const kvp_buf *text)
{
    if (text->size > 2) { /* "[]": nothing */
        printf("%s%.*s", listing->count > 0 ? "," : "", (int)text->size - 2,
               (const char *)text->data + 1);
        listing->count++;
    }
}

static kvp_status print_items(struct listing *listing, const kvp_buf *text)
{
    cJSON *array = cJSON_ParseWithLength((const char *)text->data, text->size);
    const cJSON *item;

    if (array == NULL) {
        return KVP_NO_MEMORY;
    }
    cJSON_ArrayForEach(item, array)
    {
        listing->print(listing, item);
        listing->count++;
    }
    cJSON_Delete(array);
    return KVP_OK;
}

/* Returns the exit status. */
static int print_list(struct listing *listing)
{
    uint64_t from = 0, next = 0;
    do {
        kvp_result result;
        from = next;
        kvp_status status =
            kvp_job_info(listing->cli->client, listing->what, listing->job, from, &next, &result);
        if (status == KVP_OK && next != 0 && next <= from) {
            kvp_result_free(&result);
            return kvcli_failed_because(KVP_CORRUPT, "the list goes backwards");
        }
        if (status == KVP_OK && listing->print == NULL) {
            print_raw(listing, &result.value);
        } else if (status == KVP_OK) {
            status = print_items(listing, &result.value);
        }
        int code = status == KVP_OK ? EXIT_DONE : kvcli_failed(status, &result);
        kvp_result_free(&result);
        if (code != EXIT_DONE) {
            return code;
        }
    } while (next != 0 && !ferror(stdout) &&
             (listing->count_max == 0 || listing->count < listing->count_max));
    listing->all = next == 0;
    return EXIT_DONE;
}

static int print_json_list(struct listing *listing)
{
    putchar('[');
    int code = print_list(listing);
    puts("]");
    return code;
}

static void print_task_row(struct listing *listing, const cJSON *task);

/* ---- jobs ---- */

/* One state has a name that is wider than its column. */
static const char *state_cell(const cJSON *job)
{
    const char *state = kvcli_json_text(job, "state");
    return strcmp(state, "done-with-failures") == 0 ? "partly" : state;
}

static void print_job_row(struct listing *listing, const cJSON *job)
{
    const char *name = kvcli_json_text(job, "name");
    (void)listing;
    printf("%8.0f ", kvcli_json_count(job, "id"));
    kvcli_print_cell(state_cell(job), 10);
    kvcli_print_cell(kvcli_json_text(job, "type"), 6);
    printf(" %7.0f %7.0f %7.0f %6.0f %8.0f ", kvcli_json_count(job, "tasks"),
           kvcli_json_count(job, "done"), kvcli_json_count(job, "running"),
           kvcli_json_count(job, "redone"), kvcli_json_count(job, "disagreements"));
    if (strlen(name) > NAME_WIDTH) {
        putchar('\n');
        kvcli_print_wrapped(9, name);
    } else {
        print_text(name);
        putchar('\n');
    }
}

int kvcli_job_list(struct kvcli *cli, int argc, char **argv)
{
    struct listing listing = {.cli = cli, .what = KVP_INFO_JOBS};
    (void)argc;
    (void)argv;
    if (cli->json) {
        return print_json_list(&listing);
    }
    listing.print = print_job_row;
    printf("%8s %-9s %-6s %7s %7s %7s %6s %8s %s\n", "ID", "STATE", "TYPE", "TASKS", "DONE",
           "RUNNING", "REDONE", "DISAGREE", "NAME");
    return print_list(&listing);
}

int kvcli_job_dead(struct kvcli *cli, int argc, char **argv)
{
    struct listing listing = {.cli = cli, .what = KVP_INFO_DEAD};
    (void)argc;
    if (!kvcli_job_id(argv[0], &listing.job)) {
        return EXIT_USAGE;
    }
    if (cli->json) {
        return print_json_list(&listing);
    }
    listing.print = print_task_row;
    return print_list(&listing);
}

static int end_job(struct kvcli *cli, const char *id,
                   kvp_status (*end)(kvp_client *client, uint64_t job, kvp_result *result))
{
    uint64_t job = 0;
    kvp_result result;
    if (!kvcli_job_id(id, &job)) {
        return EXIT_USAGE;
    }
    kvp_status status = end(cli->client, job, &result);
    int code = status == KVP_OK ? EXIT_DONE : kvcli_failed(status, &result);
    if (status == KVP_OK && cli->prompt) {
        puts("done");
    }
    kvp_result_free(&result);
    return code;
}

int kvcli_job_cancel(struct kvcli *cli, int argc, char **argv)
{
    (void)argc;
    return end_job(cli, argv[0], kvp_job_cancel);
}

int kvcli_job_remove(struct kvcli *cli, int argc, char **argv)
{
    (void)argc;
    return end_job(cli, argv[0], kvp_job_remove);
}

/* ---- workers ---- */

static void print_worker_kinds(const cJSON *worker)
{
    char line[KINDS_SIZE] = "kinds:";
    size_t used = strlen(line);
    const cJSON *kind;

    cJSON_ArrayForEach(kind, cJSON_GetObjectItemCaseSensitive(worker, "kinds"))
    {
        const char *name = cJSON_IsString(kind) ? kind->valuestring : "";
        int more = snprintf(line + used, sizeof(line) - used, " %s", name);
        used += (size_t)more < sizeof(line) - used ? (size_t)more : sizeof(line) - used - 1;
    }
    kvcli_print_wrapped(2, line);
}

static void print_worker_row(struct listing *listing, const cJSON *worker)
{
    (void)listing;
    kvcli_print_name(kvcli_json_text(worker, "name"), 0, 25);
    kvcli_print_cell(kvcli_json_text(worker, "state"), 9);
    printf(" %7.0f %8.0f %10.0f %6.0f %8.1f s\n", kvcli_json_count(worker, "tasks"),
           kvcli_json_count(worker, "done"), kvcli_json_count(worker, "lost_votes"),
           kvcli_json_count(worker, "faults"), kvcli_json_count(worker, "silent_ms") / 1000);
    print_worker_kinds(worker);
    if (kvcli_json_count(worker, "faults") > 0) {
        printf("%26sfailed what others did: ", "");
        print_text(kvcli_json_text(worker, "reason"));
        putchar('\n');
    }
}

static void print_worker_head(void)
{
    printf("%-24s %-9s %7s %8s %10s %6s %10s\n", "WORKER", "STATE", "RUNNING", "DONE", "LOST VOTES",
           "FAULTS", "SILENT");
}

int kvcli_job_workers(struct kvcli *cli, int argc, char **argv)
{
    struct listing listing = {.cli = cli, .what = KVP_INFO_WORKERS};
    (void)argc;
    (void)argv;
    if (cli->json) {
        return print_json_list(&listing);
    }
    listing.print = print_worker_row;
    print_worker_head();
    return print_list(&listing);
}

/* ---- one job ---- */

static void print_product(const cJSON *job)
{
    static const char *const verifications[] = {"not verified", "Freivalds' check",
                                                "recomputation"};
    uint64_t verify = kvcli_json_integer(job, "verify", 3);

    fputs("  product      ", stdout);
    print_text(kvcli_json_text(job, "element"));
    printf(", %.0f x %.0f times %.0f x %.0f, tiles of %.0f x %.0f x %.0f\n",
           kvcli_json_count(job, "rows"), kvcli_json_count(job, "inner"),
           kvcli_json_count(job, "inner"), kvcli_json_count(job, "columns"),
           kvcli_json_count(job, "tile_rows"), kvcli_json_count(job, "tile_inner"),
           kvcli_json_count(job, "tile_columns"));
    printf("  uploaded     %.0f of %.0f blocks\n", kvcli_json_count(job, "uploaded"),
           kvcli_json_count(job, "inputs"));
    printf("  combined     %.0f of %.0f blocks\n", kvcli_json_count(job, "combined"),
           kvcli_json_count(job, "outputs"));
    printf("  verification %s", verifications[verify < 3 ? verify : 0]);
    if (verify > 0) {
        printf(", %.1f %%", kvcli_json_count(job, "verified") / 10);
    }
    putchar('\n');
}

static void print_job(const cJSON *job)
{
    const char *reason = kvcli_json_text(job, "reason");
    printf("job %.0f ", kvcli_json_count(job, "id"));
    print_text(kvcli_json_text(job, "name"));
    fputs("\n  state        ", stdout);
    print_text(kvcli_json_text(job, "state"));
    printf(", %.1f s\n", kvcli_json_count(job, "elapsed_ms") / 1000);
    if (reason[0] != '\0') {
        kvcli_print_named("  reason       ", reason);
    }
    if (kvcli_json_text(job, "lacks")[0] != '\0') {
        kvcli_print_named("  waits        ", kvcli_json_text(job, "lacks"));
    }
    if (strcmp(kvcli_json_text(job, "type"), "matmul") == 0) {
        print_product(job);
    }
    printf("  copies       %.0f, of which %.0f must agree; at most %.0f\n",
           kvcli_json_count(job, "copies"), kvcli_json_count(job, "quorum"),
           kvcli_json_count(job, "copies_max"));
    printf("  tasks        %.0f: %.0f done, %.0f running, %.0f waiting for others\n",
           kvcli_json_count(job, "tasks"), kvcli_json_count(job, "done"),
           kvcli_json_count(job, "running"), kvcli_json_count(job, "waiting"));
    if (kvcli_json_count(job, "failed") > 0) {
        printf("  failed       %.0f: job dead tells which, and why\n",
               kvcli_json_count(job, "failed"));
    }
    printf("  redone       %.0f\n  disagreed    %.0f\n  late         %.0f\n",
           kvcli_json_count(job, "redone"), kvcli_json_count(job, "disagreements"),
           kvcli_json_count(job, "late"));
}

/* Results that were outvoted; while nothing is decided, results that differ. */
static bool disagreed(const cJSON *task)
{
    const cJSON *results = cJSON_GetObjectItemCaseSensitive(task, "results");
    const char *first = kvcli_json_text(cJSON_GetArrayItem(results, 0), "digest");
    const cJSON *vote;
    bool decided = false, outvoted = false, differ = false;

    cJSON_ArrayForEach(vote, results)
    {
        bool agreed = json_true(vote, "agreed");
        decided = decided || agreed;
        outvoted = outvoted || !agreed;
        differ = differ || strcmp(first, kvcli_json_text(vote, "digest")) != 0;
    }
    return decided ? outvoted : differ;
}

static bool is_remarkable(const cJSON *task)
{
    return strcmp(kvcli_json_text(task, "state"), "failed") == 0 ||
           kvcli_json_count(task, "lost") > 0 || disagreed(task) ||
           cJSON_GetArraySize(cJSON_GetObjectItemCaseSensitive(task, "running")) > 0;
}

static void print_attempt(const cJSON *attempt)
{
    printf("%14s", "");
    kvcli_print_name(kvcli_json_text(attempt, "worker"), 14, 16);
}

/* Who works on it, and what came in: the evidence, where results disagreed. */
static void print_attempts(const cJSON *task)
{
    const cJSON *item;
    bool decided = false;

    cJSON_ArrayForEach(item, cJSON_GetObjectItemCaseSensitive(task, "results"))
    {
        decided = decided || json_true(item, "agreed");
    }
    cJSON_ArrayForEach(item, cJSON_GetObjectItemCaseSensitive(task, "results"))
    {
        print_attempt(item);
        printf("%-9s  ", json_true(item, "agreed") ? "agreed"
                         : decided                 ? "disagreed"
                                                   : "undecided");
        if (json_true(item, "overflow")) {
            puts("overflow");
        } else {
            printf("%.0f bytes, digest ", kvcli_json_count(item, "size"));
            print_text(kvcli_json_text(item, "digest"));
            putchar('\n');
        }
    }
    cJSON_ArrayForEach(item, cJSON_GetObjectItemCaseSensitive(task, "faults"))
    {
        print_attempt(item);
        printf("failed %.0f times, lost %.0f times\n", kvcli_json_count(item, "failed"),
               kvcli_json_count(item, "lost"));
    }
    cJSON_ArrayForEach(item, cJSON_GetObjectItemCaseSensitive(task, "running"))
    {
        print_attempt(item);
        printf("running    %.1f %% after %.1f s\n", kvcli_json_count(item, "progress") / 10,
               kvcli_json_count(item, "ms") / 1000);
    }
}

static void print_task_row(struct listing *listing, const cJSON *task)
{
    if (listing->count_max != 0 && !is_remarkable(task)) {
        return;
    }
    if (listing->printed++ == 0) {
        printf("%12s  %-7s  %6s  %5s  %6s  %4s  %s\n", "TASK", "STATE", "COPIES", "VOTES", "FAILED",
               "LOST", "REASON");
    }
    printf("%12.0f  ", kvcli_json_count(task, "task"));
    kvcli_print_cell(kvcli_json_text(task, "state"), 7);
    double failed = kvcli_json_count(task, "failed"), all = kvcli_json_count(task, "lost");
    printf("  %6.0f  %5.0f  %6.0f  %4.0f  ", kvcli_json_count(task, "copies"),
           kvcli_json_count(task, "votes"), failed, all > failed ? all - failed : 0);
    print_text(kvcli_json_text(task, "reason"));
    putchar('\n');
    print_attempts(task);
}

static void print_bad_worker(struct listing *listing, const cJSON *worker)
{
    if (kvcli_json_count(worker, "lost_votes") > 0 || kvcli_json_count(worker, "faults") > 0) {
        if (listing->printed++ == 0) {
            print_worker_head();
        }
        print_worker_row(listing, worker);
    }
}

static int show_json(struct kvcli *cli, uint64_t job, const kvp_buf *text)
{
    struct listing tasks = {.cli = cli, .what = KVP_INFO_TASKS, .job = job};
    struct listing workers = {.cli = cli, .what = KVP_INFO_WORKERS};
    printf("{\"job\":%.*s,\"tasks\":[", (int)text->size, (const char *)text->data);
    int code = print_list(&tasks);
    fputs("],\"workers\":[", stdout);
    if (code == EXIT_DONE) {
        code = print_list(&workers);
    }
    puts("]}");
    return code;
}

static int show_table(struct kvcli *cli, uint64_t job, const cJSON *object, bool all)
{
    struct listing tasks = {.cli = cli,
                            .what = KVP_INFO_TASKS,
                            .job = job,
                            .count_max = all ? 0 : SHOWN_TASKS_MAX,
                            .print = print_task_row};
    struct listing workers = {.cli = cli, .what = KVP_INFO_WORKERS, .print = print_bad_worker};

    print_job(object);
    int code = print_list(&tasks);
    if (code == EXIT_DONE && !tasks.all) {
        printf("of the tasks the first %" PRIu64 " were looked at; all with --tasks\n",
               tasks.count);
    }
    return code == EXIT_DONE ? print_list(&workers) : code;
}

int kvcli_job_show(struct kvcli *cli, int argc, char **argv)
{
    uint64_t job = 0;
    kvp_result result;
    kvp_buf text = {0};
    (void)argc;
    if (!kvcli_job_id(argv[0], &job)) {
        return EXIT_USAGE;
    }
    cJSON *object = kvcli_job_fetch(cli, job, &text, &result);
    int code;
    if (object == NULL) {
        code = kvcli_failed(result.status, &result);
        kvp_result_free(&result);
    } else {
        bool all = kvcli_option(cli, "--tasks") != NULL;
        code = cli->json ? show_json(cli, job, &text) : show_table(cli, job, object, all);
    }
    cJSON_Delete(object);
    kvp_buf_free(&text);
    return code;
}
