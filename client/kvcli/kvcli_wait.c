/* SPDX-License-Identifier: Apache-2.0 */
/* Waiting for the end of a job, with a bar for who watches. */
#include "client/kvcli/kvcli.h"
#include "kvpair/kvp_jobs.h"
#include "kvstore/base/clock.h"

#include <inttypes.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#define POLL_MS     200u /* between looks: five a second at most */
#define POLL_MIN_MS 20u  /* the first ones, for short jobs */
#define BAR_WIDTH   30

static bool bar_drawn;

void kvcli_draw_bar(const char *label, double done, double all, const char *text)
{
    char bar[BAR_WIDTH + 1], line[256];
    struct winsize window = {.ws_col = 80};
    double part = all > 0 && done > 0 ? done / all : 0;
    int filled;
    if (!isatty(STDERR_FILENO)) {
        return;
    }
    (void)ioctl(STDERR_FILENO, TIOCGWINSZ, &window);
    part = part < 1 ? part : 1;
    filled = (int)(part * BAR_WIDTH);
    for (int i = 0; i < BAR_WIDTH; i++) {
        bar[i] = i < filled ? '#' : '.';
    }
    bar[BAR_WIDTH] = '\0';
    (void)snprintf(line, sizeof(line), "%s [%s] %3.0f %% %s", label, bar, part * 100, text);
    /* A line that is wrapped could not be drawn over. */
    size_t width = window.ws_col > 1 ? window.ws_col - 1u : 79;
    fputc('\r', stderr);
    kvcli_complain_escaped(kvp_slice_of(line, strnlen(line, width)));
    fputs("\033[K", stderr);
    fflush(stderr);
    bar_drawn = true;
}

void kvcli_clear_bar(void)
{
    if (bar_drawn) {
        fputs("\r\033[K", stderr);
        bar_drawn = false;
    }
}

/* ---- what a job is at ---- */

static bool is_state(const cJSON *job, const char *state)
{
    return strcmp(kvcli_json_text(job, "state"), state) == 0;
}

static bool wait_has_ended(const cJSON *job)
{
    return !is_state(job, "uploading") && !is_state(job, "running") && !is_state(job, "verifying");
}

static void wait_draw_progress(uint64_t id, const cJSON *job)
{
    char label[64], text[160];
    double done = kvcli_json_count(job, "done"), all = kvcli_json_count(job, "tasks");
    double redone = kvcli_json_count(job, "redone");
    double disagreed = kvcli_json_count(job, "disagreements");
    char again[40] = "", against[40] = "";
    if (redone > 0) {
        (void)snprintf(again, sizeof(again), ", %.0f redone", redone);
    }
    if (disagreed > 0) {
        (void)snprintf(against, sizeof(against), ", %.0f disagreed", disagreed);
    }
    (void)snprintf(text, sizeof(text), "%.0f/%.0f tasks, %.0f running%s%s", done, all,
                   kvcli_json_count(job, "running"), again, against);
    (void)snprintf(label, sizeof(label), "job %" PRIu64 " %.20s", id,
                   kvcli_json_text(job, "state"));
    if (is_state(job, "verifying")) {
        kvcli_draw_bar(label, kvcli_json_count(job, "verified"), 1000, text);
    } else {
        kvcli_draw_bar(label, done, all, text);
    }
}

static int exit_status(const cJSON *job)
{
    if (is_state(job, "done-with-failures")) {
        return EXIT_PARTLY;
    }
    return is_state(job, "done") ? EXIT_DONE : is_state(job, "failed") ? EXIT_NO : EXIT_CANCELLED;
}

static void complain_text(const char *text)
{
    kvcli_complain_escaped(kvp_slice_of(text, strlen(text)));
}

static int say_end(const struct kvcli *cli, uint64_t id, const cJSON *job, const kvp_buf *text)
{
    const char *reason = kvcli_json_text(job, "reason");
    if (cli->json) {
        printf("%.*s\n", (int)text->size, (const char *)text->data);
    } else {
        fprintf(stderr, "job %" PRIu64 ": ", id);
        complain_text(kvcli_json_text(job, "state"));
        fputs(reason[0] == '\0' ? "" : ": ", stderr);
        complain_text(reason);
        fprintf(stderr, "; %.0f of %.0f tasks, %.1f s, %.0f redone, %.0f disagreed\n",
                kvcli_json_count(job, "done"), kvcli_json_count(job, "tasks"),
                kvcli_json_count(job, "elapsed_ms") / 1000, kvcli_json_count(job, "redone"),
                kvcli_json_count(job, "disagreements"));
    }
    return exit_status(job);
}

/* ---- waiting ---- */

static void wait_rest(uint32_t ms)
{
    struct timespec time = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};
    (void)nanosleep(&time, NULL);
}

enum look { LOOK_ENDED, LOOK_GOES_ON, LOOK_NO_ANSWER, LOOK_FAILED };

/* *code is set with LOOK_ENDED and LOOK_FAILED. */
static enum look wait_look(struct kvcli *cli, uint64_t job, bool patient, int *code)
{
    kvp_result result = {0};
    kvp_buf text = {0};
    enum look found = LOOK_GOES_ON;
    cJSON *object = kvcli_job_fetch(cli, job, &text, &result);

    if (object != NULL && wait_has_ended(object)) {
        kvcli_clear_bar();
        *code = say_end(cli, job, object, &text);
        found = LOOK_ENDED;
    } else if (object != NULL) {
        wait_draw_progress(job, object);
    } else if (patient && (result.status == KVP_TIMEOUT || result.status == KVP_UNAVAILABLE)) {
        found = LOOK_NO_ANSWER;
    } else {
        kvcli_clear_bar();
        *code = kvcli_failed(result.status, &result);
        found = LOOK_FAILED;
    }
    cJSON_Delete(object);
    kvp_buf_free(&text);
    kvp_result_free(&result);
    return found;
}

int kvcli_wait_for(struct kvcli *cli, uint64_t job, uint64_t timeout_ms)
{
    uint64_t begin_us = kvp_clock_now_us();
    uint32_t pause_ms = POLL_MIN_MS;
    int code = EXIT_NOTHING;
    bool seen = false, said = false;
    kvcli_settled();
    for (;;) {
        enum look found = wait_look(cli, job, seen, &code);
        if (found == LOOK_ENDED || found == LOOK_FAILED) {
            return code;
        }
        seen = seen || found == LOOK_GOES_ON;
        if (found == LOOK_NO_ANSWER && !said) {
            kvcli_clear_bar();
            (void)kvcli_complain("no answer from the group; it is asked again until it answers");
        }
        said = found == LOOK_NO_ANSWER;
        bool late = timeout_ms > 0 && kvp_clock_now_us() - begin_us >= timeout_ms * 1000;
        if (late || (cli->prompt && kvcli_interrupted())) {
            kvcli_clear_bar();
            (void)kvcli_complain("job %" PRIu64 " has not ended yet", job);
            return EXIT_NOTHING;
        }
        wait_rest(pause_ms);
        pause_ms = pause_ms * 2 < POLL_MS ? pause_ms * 2 : POLL_MS;
    }
}

int kvcli_job_wait(struct kvcli *cli, int argc, char **argv)
{
    const char *timeout = kvcli_option(cli, "--timeout");
    uint64_t job = 0, seconds = 0;
    (void)argc;
    if (!kvcli_job_id(argv[0], &job)) {
        return EXIT_USAGE;
    }
    if (timeout != NULL && (!kvcli_parse_number(timeout, 86400 * 365, &seconds) || seconds == 0)) {
        return kvcli_complain("job wait: --timeout: '%s' is not a number of seconds", timeout);
    }
    return kvcli_wait_for(cli, job, seconds * 1000);
}
