/* SPDX-License-Identifier: Apache-2.0 */
/* watch: what happens to keys, on lines or given to a command. */
#include "client/kvcli/kvcli.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define LOOK_MS        10000u
#define LOOK_PROMPT_MS 300u /* somebody may want the prompt back */

struct watching {
    struct kvcli *cli;
    kvp_watch *watch;
    char **command; /* NULL: print */
    bool once;
};

static const char *watch_kind(const kvp_event *event)
{
    return event->create_revision != 0 ? "put" : "delete";
}

/* ---- printed ---- */

static bool watch_print(const struct kvcli *cli, const kvp_event *event)
{
    if (cli->json) {
        cJSON *object = cJSON_CreateObject();
        kvcli_json_add(&object, "event", cJSON_CreateString(watch_kind(event)));
        kvcli_json_add(&object, "key", kvcli_json_bytes(event->key));
        kvcli_json_add(&object, "version", kvcli_json_number(event->revision));
        if (event->create_revision != 0) {
            kvcli_json_add(&object, "value", kvcli_json_bytes(event->value));
        }
        return kvcli_print_json(object);
    }
    printf("%" PRIu64 "\t%s\t", event->revision, watch_kind(event));
    kvcli_print_escaped(event->key);
    if (event->create_revision != 0) {
        putchar('\t');
        kvcli_print_escaped(event->value);
    }
    putchar('\n');
    return true;
}

/* ---- given to a command ---- */

/* Names what happened to the command; -1: memory was short. */
static int watch_name_event(const kvp_event *event)
{
    char *key = NULL;
    size_t size = 0;
    char revision[24];
    FILE *text = open_memstream(&key, &size);
    if (text == NULL) {
        return -1;
    }
    (void)kvcli_write_escaped(text, event->key);
    bool written = fclose(text) == 0;
    (void)snprintf(revision, sizeof(revision), "%" PRIu64, event->revision);
    int failed = !written || setenv("KVPAIR_KEY", key, 1) != 0 ||
                 setenv("KVPAIR_REVISION", revision, 1) != 0 ||
                 setenv("KVPAIR_EVENT", watch_kind(event), 1) != 0;
    free(key);
    return failed ? -1 : 0;
}

/* The value, to be read from its beginning; it may be larger than a pipe holds. */
static FILE *watch_value(const kvp_event *event)
{
    FILE *file = tmpfile();
    if (file == NULL) {
        return NULL;
    }
    bool good =
        event->value.size == 0 || fwrite(event->value.data, event->value.size, 1, file) == 1;
    if (!good || fflush(file) != 0 || fseek(file, 0, SEEK_SET) != 0) {
        (void)fclose(file);
        return NULL;
    }
    return file;
}

static void watch_become(char **command, int input)
{
    static const int numbers[] = {SIGINT, SIGTERM, SIGHUP, SIGPIPE};
    sigset_t none;
    (void)sigemptyset(&none);
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        (void)signal(numbers[i], SIG_DFL);
    }
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    if (dup2(input, STDIN_FILENO) >= 0) {
        (void)execvp(command[0], command);
    }
    (void)kvcli_complain("watch: %s: %s", command[0], strerror(errno));
    _exit(127);
}

/* The command's exit status, as a shell tells it; -1: it could not be started. */
static int watch_run(char **command, const kvp_event *event)
{
    int status = 0;
    FILE *value = watch_value(event);
    if (value == NULL || watch_name_event(event) != 0) {
        if (value != NULL) {
            (void)fclose(value);
        }
        return -1;
    }
    (void)fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        watch_become(command, fileno(value));
    }
    (void)fclose(value);
    while (child > 0 && waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    return child < 0 ? -1 : WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* What the command could not do is not lost: the watch ends there, and says where. */
static int watch_hand_over(const struct watching *watching, const kvp_event *event)
{
    int code = watch_run(watching->command, event);
    if (code < 0) {
        (void)kvcli_complain("watch: %s cannot be started: %s; go on with --from %" PRIu64,
                             watching->command[0], strerror(errno), event->revision);
        return EXIT_NOTHING;
    }
    if (code != 0) {
        (void)kvcli_complain("watch: %s has failed (%d); go on with --from %" PRIu64,
                             watching->command[0], code, event->revision);
        return EXIT_NO;
    }
    return EXIT_DONE;
}

/* ---- watching ---- */

static int watch_event(const struct watching *watching, const kvp_event *event)
{
    if (watching->command != NULL) {
        return watch_hand_over(watching, event);
    }
    if (!watch_print(watching->cli, event)) {
        return kvcli_failed_to_print(false);
    }
    return EXIT_DONE;
}

static int watch_end(const struct watching *watching, kvp_status status)
{
    if (status == KVP_COMPACTED) {
        (void)kvcli_complain("watch: the log goes back to revision %" PRIu64
                             " only: scan, then watch --from %" PRIu64,
                             kvp_watch_revision(watching->watch),
                             kvp_watch_revision(watching->watch));
        return EXIT_NO;
    }
    return kvcli_failed_because(status, kvp_watch_error(watching->watch));
}

static int watch_all(const struct watching *watching)
{
    uint32_t look_ms = watching->cli->prompt ? LOOK_PROMPT_MS : LOOK_MS;
    kvp_event event;
    for (;;) {
        kvp_status status = kvp_watch_next(watching->watch, look_ms, &event);
        if (status == KVP_OK) {
            int code = watch_event(watching, &event);
            /* Each as it comes, also into a pipe. */
            if (code != EXIT_DONE || watching->once || fflush(stdout) != 0) {
                return code;
            }
        } else if (status != KVP_TIMEOUT) {
            return watch_end(watching, status);
        }
        if (watching->cli->prompt && kvcli_interrupted()) {
            return EXIT_DONE;
        }
    }
}

int kvcli_watch(struct kvcli *cli, int argc, char **argv)
{
    const char *from = kvcli_option(cli, "--from");
    int before = cli->given->before; /* the command's words stand behind the prefix */
    int prefixes = before >= 0 && before < argc ? before : argc;
    struct watching watching = {.cli = cli, .once = kvcli_option(cli, "--once") != NULL};
    bool stale = kvcli_option(cli, "--stale") != NULL;
    uint64_t revision = 0;
    kvp_result result;
    if (prefixes > 1) {
        return kvcli_complain("watch: one prefix; a command stands behind '--'");
    }
    if (from != NULL && (!kvcli_parse_number(from, UINT64_MAX, &revision) || revision == 0)) {
        return kvcli_complain("watch: --from: '%s' is not a revision", from);
    }
    watching.command = prefixes < argc ? argv + prefixes : NULL;
    kvp_slice prefix = prefixes > 0 ? kvp_slice_of(argv[0], strlen(argv[0])) : (kvp_slice){0};
    kvp_status status =
        kvp_watch_open_prefix(cli->client, prefix, revision, stale, &watching.watch, &result);
    if (status != KVP_OK) {
        int code = kvcli_failed(status, &result);
        kvp_result_free(&result);
        return code;
    }
    int code = watch_all(&watching);
    kvp_watch_close(watching.watch);
    return code;
}
