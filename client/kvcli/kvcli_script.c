/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Commands from standard input, one a line. What is about one key is under way with others; what
 * is not waits for all before it, and what is behind waits for it.
 *
 * A line that fails is named, and the next one is run; but a group that nobody can reach ends the
 * script, as each further line would only wait for its deadline.
 */
#include "client/kvcli/kvcli_pipeline.h"

#include <errno.h>
#include <histedit.h>
#include <poll.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define TOGETHER 128u

struct script {
    struct kvcli *cli;
    Tokenizer *tokenizer;
    struct kvcli_pipeline *pipeline;
    unsigned long line, begun; /* read; the last that was begun */
    unsigned long done, failed, unknown;
    unsigned long first_failed;
    int code;          /* of the first that failed */
    const char *ended; /* why no more lines are begun; NULL: they are */
    struct timespec begin;
};

static bool script_tell(void *arg, unsigned long line, int code)
{
    struct script *script = arg;
    script->done += code == EXIT_DONE ? 1 : 0;
    script->unknown += code == EXIT_UNKNOWN ? 1 : 0;
    script->failed += code != EXIT_DONE && code != EXIT_UNKNOWN ? 1 : 0;
    if (code != EXIT_DONE && script->code == EXIT_DONE) {
        script->code = code;
        script->first_failed = line;
    }
    if (code != EXIT_DONE && script->cli->bail) {
        script->ended = "a line failed";
    }
    return script->ended == NULL;
}

/* Of a line about one key: it fails so where the group cannot be asked. */
static bool script_tell_key(void *arg, unsigned long line, int code)
{
    struct script *script = arg;
    (void)script_tell(script, line, code);
    if ((code == EXIT_NOTHING || code == EXIT_UNKNOWN) && script->ended == NULL) {
        script->ended = "the group does not do what it is asked for";
    }
    if (ferror(stdout)) {
        script->ended = "standard output is not read";
    }
    return script->ended == NULL;
}

/* Who reads the answers may have to see them before there is more input. */
static void script_before_input(void *arg)
{
    struct script *script = arg;
    struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};
    if (poll(&input, 1, 0) == 0) {
        kvcli_pipeline_finish(script->pipeline);
        (void)fflush(stdout);
    }
}

/* As if nothing else were under way. False: the end. */
static bool script_alone(struct script *script, int argc, const char **argv)
{
    int code = EXIT_DONE;
    kvcli_pipeline_finish(script->pipeline);
    if (kvcli_interrupted() || script->ended != NULL) {
        return true; /* not begun */
    }
    script->begun = script->line;
    kvcli_complain_at(script->line);
    kvcli_interrupts_end();
    bool more = kvcli_run_typed(script->cli, argc, argv, &code);
    kvcli_ends_note();
    kvcli_complain_at(0);
    if (more) {
        (void)script_tell(script, script->line, code);
    }
    return more;
}

static void script_refuse(struct script *script, const char *reason)
{
    kvcli_pipeline_finish(script->pipeline);
    if (kvcli_interrupted() || script->ended != NULL) {
        return;
    }
    script->begun = script->line;
    kvcli_complain_at(script->line);
    (void)script_tell(script, script->line, kvcli_complain("%s", reason));
    kvcli_complain_at(0);
}

/* Blank lines and those that begin with # are none. False: the end. */
static bool script_line(struct script *script, char *text, size_t size)
{
    size_t blank = strspn(text, " \t\r");
    int argc = 0;
    const char **argv = NULL;
    bool more = true;
    if (strlen(text) != size) {
        script_refuse(script, "a zero byte in the line");
        return true;
    }
    if (text[blank] == '\0' || text[blank] == '#') {
        return true;
    }
    text[strcspn(text, "\r")] = '\0';
    if (tok_str(script->tokenizer, text, &argc, &argv) != 0) {
        script_refuse(script, "a quote is not closed");
    } else if (argc > 0) {
        enum kvcli_begun how = kvcli_pipeline_begin(script->pipeline, script->line, argc, argv);
        more = how != KVCLI_ALONE || script_alone(script, argc, argv);
        script->begun = how == KVCLI_BEGUN ? script->line : script->begun;
    }
    tok_reset(script->tokenizer);
    return more;
}

/* Until the end of the input, or of the script. Returns what ended the input. */
static kvp_status script_lines(struct script *script, kvp_buf *text)
{
    kvp_status status = KVP_OK;
    bool more = true;
    while (more && script->ended == NULL && !kvcli_interrupted()) {
        status = kvcli_read_line(kvcli_input(), text);
        if (status != KVP_OK) {
            return status;
        }
        script->line++;
        /* The commands' words are strings. */
        status = kvp_buf_append(text, "", 1);
        if (status != KVP_OK) {
            return status;
        }
        more = script_line(script, (char *)text->data, text->size - 1);
    }
    return KVP_OK;
}

static double script_seconds(const struct script *script)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    double seconds = (double)(now.tv_sec - script->begin.tv_sec) +
                     (double)(now.tv_nsec - script->begin.tv_nsec) / 1e9;
    return seconds > 1e-6 ? seconds : 1e-6;
}

static void summarize_json(const struct script *script, double seconds, double lines)
{
    cJSON *object = cJSON_CreateObject();
    kvcli_json_add(&object, "done", kvcli_json_number(script->done));
    kvcli_json_add(&object, "failed", kvcli_json_number(script->failed));
    kvcli_json_add(&object, "unknown", kvcli_json_number(script->unknown));
    if (script->first_failed > 0) {
        kvcli_json_add(&object, "first_failed_line", kvcli_json_number(script->first_failed));
    }
    if (script->ended != NULL) {
        kvcli_json_add(&object, "ended", kvcli_json_readable(script->ended));
        kvcli_json_add(&object, "ended_after_line", kvcli_json_number(script->begun));
    }
    kvcli_json_add(&object, "seconds", cJSON_CreateNumber(seconds));
    kvcli_json_add(&object, "lines_per_second", cJSON_CreateNumber(lines / seconds));
    char *text = object == NULL ? NULL : cJSON_PrintUnformatted(object);
    fprintf(stderr, "%s\n", text == NULL ? "{\"error\":\"out of memory\"}" : text);
    cJSON_free(text);
    cJSON_Delete(object);
}

static void script_summarize(const struct script *script)
{
    double seconds = script_seconds(script);
    double lines = (double)(script->done + script->failed + script->unknown);
    char first[48] = "", unknown[64] = "";
    if (script->cli->json) {
        summarize_json(script, seconds, lines);
        return;
    }
    if (script->ended != NULL) {
        (void)kvcli_complain("%s: what follows line %lu was not begun", script->ended,
                             script->begun);
    }
    if (script->first_failed > 0) {
        (void)snprintf(first, sizeof(first), ", the first in line %lu", script->first_failed);
    }
    if (script->unknown > 0) {
        (void)snprintf(unknown, sizeof(unknown), ", %lu unknown", script->unknown);
    }
    (void)kvcli_complain("lines: %lu done, %lu failed%s%s; %.2f s, %.0f lines a second",
                         script->done, script->failed, unknown, first, seconds, lines / seconds);
}

/* The exit status, when all lines that were begun have their outcome. */
static int script_end(struct script *script, kvp_status status)
{
    int code = script->code;
    if (kvcli_interrupted()) {
        script->ended = "interrupted";
        code = 128 + kvcli_interrupt_number();
    } else if (status == KVP_TOO_LARGE) {
        code = kvcli_complain("line %lu: longer than a command can be; it and what follows were "
                              "not begun",
                              script->line + 1);
    } else if (status == KVP_NO_MEMORY) {
        code = kvcli_failed(status, NULL);
    } else if (status == KVP_NOT_FOUND && ferror(kvcli_input())) {
        code = kvcli_complain("standard input: %s", strerror(errno));
    } else if (script->begun == 0 && script->ended == NULL) {
        return kvcli_complain(
            "no command, neither as an argument nor on standard input; try kvcli --help");
    }
    script_summarize(script);
    return kvcli_check_output(code, false);
}

int kvcli_script(struct kvcli *cli)
{
    struct script script = {.cli = cli, .tokenizer = tok_init(NULL)};
    kvp_buf text = {0};
    int code;
    cli->script = true;
    script.pipeline = kvcli_pipeline_new(cli, cli->bail ? 1 : TOGETHER, script_tell_key, &script);
    if (script.tokenizer == NULL || script.pipeline == NULL) {
        code = kvcli_failed(KVP_NO_MEMORY, NULL);
    } else {
        (void)clock_gettime(CLOCK_MONOTONIC, &script.begin);
        kvcli_ends_note();
        kvcli_before_input(script_before_input, &script);
        kvp_status status = script_lines(&script, &text);
        int reason = errno;
        kvcli_before_input(NULL, NULL);
        kvcli_pipeline_finish(script.pipeline);
        errno = reason;
        code = script_end(&script, status);
    }
    kvp_buf_free(&text);
    kvcli_pipeline_free(script.pipeline);
    if (script.tokenizer != NULL) {
        tok_end(script.tokenizer);
    }
    return code;
}
