/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The options of a command: one reader for all of them, so that each knows --help, "--" and what is
 * unknown. An argument that begins with a dash is an option, except "-" itself and numbers.
 */
#include "client/kvcli/kvcli.h"

#include <ctype.h>
#include <string.h>

struct reading {
    const char *title; /* "job show" */
    const struct kvcli_command *command;
    struct kvcli_given *given;
    int argc;
    char **argv;
    int next;
};

bool kvcli_is_option(const char *argument)
{
    return argument[0] == '-' && argument[1] != '\0' && !isdigit((unsigned char)argument[1]) &&
           argument[1] != '.';
}

/* The option's place in the table; -1: unknown. `size`: of the name within the argument. */
static int find_option(const struct kvcli_option *options, const char *argument, size_t size)
{
    for (int i = 0; options != NULL && options[i].name != NULL; i++) {
        if (strlen(options[i].name) == size && memcmp(options[i].name, argument, size) == 0) {
            return i;
        }
    }
    return -1;
}

static int refuse_unknown(const struct reading *reading, const char *argument, size_t size)
{
    static const char *const general[] = {"--nodes", "--group",    "--timeout", "--json",
                                          "--bail",  "--tls-cert", "--tls-key", "--tls-ca"};
    const char *nearest = NULL;
    unsigned least = KVCLI_DISTANCE_MAX + 1;

    for (size_t i = 0; i < sizeof(general) / sizeof(general[0]); i++) {
        if (strlen(general[i]) == size && memcmp(general[i], argument, size) == 0) {
            return kvcli_complain("%s: %s stands before the command: kvcli %s ... %s",
                                  reading->title, general[i], general[i], reading->title);
        }
    }
    for (const struct kvcli_option *option = reading->command->options;
         option != NULL && option->name != NULL; option++) {
        unsigned distance = kvcli_distance(argument, size, option->name);
        nearest = distance < least ? option->name : nearest;
        least = distance < least ? distance : least;
    }
    if (nearest != NULL) {
        return kvcli_complain("%s: unknown option '%.*s'; did you mean %s?", reading->title,
                              (int)size, argument, nearest);
    }
    return kvcli_complain(
        "%s: unknown option '%.*s' (what begins with '-' and is none stands after "
        "'--')",
        reading->title, (int)size, argument);
}

/* --name, --name VALUE, --name=VALUE, -n VALUE. -1: go on; else the exit status. */
static int kvcli_take_option(struct reading *reading, const char *argument)
{
    size_t size = argument[1] == '-' ? strcspn(argument, "=") : strlen(argument);
    const char *value = argument[size] == '=' ? argument + size + 1 : NULL;
    if (strcmp(argument, "--help") == 0 || strcmp(argument, "-h") == 0) {
        kvcli_print_command(stdout, reading->title, reading->command);
        return EXIT_DONE;
    }
    int index = find_option(reading->command->options, argument, size);
    if (index < 0) {
        return refuse_unknown(reading, argument, size);
    }
    const struct kvcli_option *option = &reading->command->options[index];
    if (option->argument == NULL && value != NULL) {
        return kvcli_complain("%s: %s has no value", reading->title, option->name);
    }
    if (option->argument != NULL && value == NULL) {
        if (reading->next == reading->argc) {
            return kvcli_complain("%s: %s %s: nothing follows", reading->title, option->name,
                                  option->argument);
        }
        value = reading->argv[reading->next++];
    }
    reading->given->values[index] = value == NULL ? "" : value;
    return -1;
}

int kvcli_read_options(const char *title, const struct kvcli_command *command, int *argc,
                       char **argv, struct kvcli_given *given)
{
    struct reading reading = {title, command, given, *argc, argv, 0};
    int kept = 0;
    bool options = true;
    memset(given, 0, sizeof(*given));
    given->options = command->options;
    given->before = -1;
    while (reading.next < reading.argc) {
        char *argument = argv[reading.next++];
        if (options && strcmp(argument, "--") == 0) {
            options = false;
            given->before = kept;
        } else if (options && kvcli_is_option(argument)) {
            int code = kvcli_take_option(&reading, argument);
            if (code >= 0) {
                return code;
            }
        } else {
            argv[kept++] = argument;
        }
    }
    argv[kept] = NULL;
    *argc = kept;
    return -1;
}

const char *kvcli_option(const struct kvcli *cli, const char *name)
{
    int index = cli->given == NULL ? -1 : find_option(cli->given->options, name, strlen(name));
    return index < 0 ? NULL : cli->given->values[index];
}
