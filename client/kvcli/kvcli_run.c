/* SPDX-License-Identifier: Apache-2.0 */
/* Runs commands, and sees to it that what they print gets out. */
#include "client/kvcli/kvcli.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A pipe or connection whose other end is closed. */
static bool reader_is_gone(void)
{
    struct pollfd output = {.fd = STDOUT_FILENO};
    return poll(&output, 1, 0) > 0 && (output.revents & (POLLERR | POLLHUP)) != 0;
}

/* ---- output ---- */

static int output_error; /* of the first write that failed; 0: none has */

static ssize_t output_write(void *arg, const char *data, size_t size)
{
    size_t written = 0;
    (void)arg;
    while (written < size) {
        ssize_t some = write(STDOUT_FILENO, data + written, size - written);
        if (some < 0 && errno != EINTR) {
            output_error = output_error != 0 ? output_error : errno;
            break;
        }
        written += some > 0 ? (size_t)some : 0;
    }
    return (ssize_t)written;
}

void kvcli_watch_output(void)
{
    const cookie_io_functions_t functions = {.write = output_write};
    FILE *watched = isatty(STDOUT_FILENO) ? NULL : fopencookie(NULL, "w", functions);
    if (watched != NULL) {
        stdout = watched;
    }
}

/* Output that got lost must not look like success, nor an update as if it had not happened. Who
 * stops reading ("| head") has seen enough: that is no news to him. */
int kvcli_check_output(int code, bool update)
{
    bool failed = ferror(stdout) != 0;
    errno = 0;
    if (fflush(stdout) == 0 && !failed) {
        return code;
    }
    int error = output_error != 0 ? output_error : errno;
    if (reader_is_gone() && !update) {
        code = code != EXIT_DONE ? code : EXIT_PIPE;
    } else {
        (void)kvcli_complain("standard output: %s%s",
                             error != 0 ? strerror(error) : "some of it could not be written",
                             update && code == EXIT_DONE ? "; the command was executed" : "");
        code = code != EXIT_DONE ? code : update ? EXIT_UNKNOWN : EXIT_NOTHING;
    }
    clearerr(stdout); /* the prompt goes on */
    output_error = 0;
    return code;
}

static int refuse_command(const struct kvcli *cli, const char *group,
                          const struct kvcli_command *table, const char *name)
{
    const char *nearest = group[0] == '\0' ? kvcli_synonym(name) : NULL;
    const char *blank = group[0] == '\0' ? "" : " ";
    nearest = nearest != NULL ? nearest : kvcli_nearest(table, name);
    if (nearest != NULL) {
        return kvcli_complain("unknown command '%s%s%s'; did you mean %s%s%s?", group, blank, name,
                              group, blank, nearest);
    }
    return kvcli_complain("unknown command '%s%s%s'; try %s", group, blank, name,
                          cli->prompt ? "help" : "kvcli help");
}

static int kvcli_run_command(struct kvcli *cli, const char *title,
                             const struct kvcli_command *command, int argc, char **argv)
{
    struct kvcli_given given;
    int code = kvcli_read_options(title, command, &argc, argv, &given);
    if (code >= 0) {
        return kvcli_check_output(code, false);
    }
    if (argc < command->arguments_min || argc > command->arguments_max) {
        return kvcli_complain("usage: %s%s %s", title,
                              command->options == NULL ? "" : " [OPTION]...", command->arguments);
    }
    bool reads = strstr(command->arguments, "|-") != NULL;
    if (cli->script && reads && (argc == 0 || strcmp(argv[argc - 1], "-") == 0)) {
        return kvcli_complain("%s: standard input has the commands; name a file", title);
    }
    cli->given = &given;
    if (command->update && !cli->prompt) {
        kvcli_update_begins();
    }
    code = command->run(cli, argc, argv);
    kvcli_settled();
    cli->given = NULL;
    return kvcli_check_output(code, command->update);
}

/* The arguments are moved about. */
static int run_words(struct kvcli *cli, int argc, char **argv)
{
    const struct kvcli_command *command = kvcli_find(cli->commands, argv[0]);
    char title[64];
    if (command == NULL) {
        return refuse_command(cli, "", cli->commands, argv[0]);
    }
    if (command->verbs == NULL) {
        return kvcli_run_command(cli, command->name, command, argc - 1, argv + 1);
    }
    if (argc == 1) {
        kvcli_print_command(stderr, command->name, command);
        return EXIT_USAGE;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
        return kvcli_check_output(kvcli_help(cli->commands, 1, argv), false);
    }
    const struct kvcli_command *verb = kvcli_find(command->verbs, argv[1]);
    if (verb == NULL) {
        return refuse_command(cli, command->name, command->verbs, argv[1]);
    }
    (void)snprintf(title, sizeof(title), "%s %s", command->name, verb->name);
    return kvcli_run_command(cli, title, verb, argc - 2, argv + 2);
}

int kvcli_run(struct kvcli *cli, int argc, char **argv)
{
    char **words = calloc((size_t)argc + 1, sizeof(*words));
    if (words == NULL) {
        return kvcli_failed(KVP_NO_MEMORY, NULL);
    }
    memcpy(words, argv, (size_t)argc * sizeof(*words));
    int code = run_words(cli, argc, words);
    free(words);
    return code;
}
