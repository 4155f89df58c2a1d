/* SPDX-License-Identifier: Apache-2.0 */
/* What there is, in general and of one command, and what somebody may have meant. */
#include "client/kvcli/kvcli.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#define WORD_MAX 32u

const struct kvcli_command *kvcli_find(const struct kvcli_command *table, const char *name)
{
    for (const struct kvcli_command *command = table; command->name != NULL; command++) {
        if (strcmp(command->name, name) == 0) {
            return command;
        }
    }
    return NULL;
}

/* ---- lists ---- */

static void help_print_line(FILE *out, const char *indent, const char *group,
                            const struct kvcli_command *command)
{
    int width = fprintf(out, "%s%s%s%-*s", indent, group, group[0] == '\0' ? "" : " ",
                        group[0] == '\0' ? 9 : 0, command->name);

    for (const struct kvcli_option *option = command->brief ? NULL : command->options;
         option != NULL && option->name != NULL; option++) {
        width += fprintf(out, " [%s%s%s]", option->name, option->argument == NULL ? "" : " ",
                         option->argument == NULL ? "" : option->argument);
    }
    width += fprintf(out, " %s", command->arguments);
    fprintf(out, "%*s %s\n", width < 42 ? 42 - width : 0, "", command->summary);
}

static void print_verbs(FILE *out, const struct kvcli_command *command)
{
    for (const struct kvcli_command *verb = command->verbs; verb != NULL && verb->name != NULL;
         verb++) {
        help_print_line(out, "    ", command->name, verb);
    }
}

void kvcli_print_commands(FILE *out, const struct kvcli_command *table)
{
    for (const struct kvcli_command *command = table; command->name != NULL; command++) {
        help_print_line(out, "  ", "", command);
        print_verbs(out, command);
    }
}

void kvcli_print_command(FILE *out, const char *title, const struct kvcli_command *command)
{
    const struct kvcli_option *option = command->options;
    fprintf(out, "usage: %s%s %s\n  %s\n", title, option == NULL ? "" : " [OPTION]...",
            command->arguments, command->summary);
    if (command->verbs != NULL) {
        fputc('\n', out);
        print_verbs(out, command);
    }
    for (; option != NULL && option->name != NULL; option++) {
        int width = fprintf(out, "%s  %s%s%s", option == command->options ? "\n" : "", option->name,
                            option->argument == NULL ? "" : " ",
                            option->argument == NULL ? "" : option->argument);
        width -= option == command->options ? 1 : 0;
        fprintf(out, "%*s  %s\n", width < 22 ? 22 - width : 0, "", option->summary);
    }
}

/* ---- what was meant ---- */

/* Levenshtein's: letters to be put in, left out or changed; upper and lower case are the same. */
unsigned kvcli_distance(const char *text, size_t size, const char *word)
{
    unsigned row[WORD_MAX + 1];
    size_t length = strlen(word);
    if (size > WORD_MAX || length > WORD_MAX) {
        return KVCLI_DISTANCE_MAX + 1;
    }
    for (unsigned j = 0; j <= length; j++) {
        row[j] = j;
    }
    for (size_t i = 0; i < size; i++) {
        unsigned diagonal = row[0];
        row[0]++;
        for (size_t j = 0; j < length; j++) {
            unsigned changed = diagonal + (strncasecmp(&text[i], &word[j], 1) != 0 ? 1 : 0);
            unsigned other = (row[j] < row[j + 1] ? row[j] : row[j + 1]) + 1;
            diagonal = row[j + 1];
            row[j + 1] = changed < other ? changed : other;
        }
    }
    return row[length];
}

const char *kvcli_synonym(const char *word)
{
    static const char *const pairs[][2] = {
        {"del", "delete"}, {"rm", "delete"},       {"remove", "delete"}, {"unset", "delete"},
        {"set", "put"},    {"store", "put"},       {"ls", "scan"},       {"list", "scan"},
        {"keys", "scan"},  {"read", "get"},        {"cat", "get"},       {"info", "status"},
        {"jobs", "job"},   {"check", "doctor"},    {"health", "doctor"}, {"failover", "promote"},
        {"add", "create"}, {"transaction", "txn"},
    };

    for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
        if (strcasecmp(word, pairs[i][0]) == 0) {
            return pairs[i][1];
        }
    }
    return NULL;
}

const char *kvcli_nearest(const struct kvcli_command *table, const char *word)
{
    const char *nearest = NULL;
    size_t size = strlen(word);
    unsigned least = size < 3 ? 2 : KVCLI_DISTANCE_MAX + 1;
    for (const struct kvcli_command *command = table; command->name != NULL; command++) {
        unsigned distance = kvcli_distance(word, size, command->name);
        nearest = distance < least ? command->name : nearest;
        least = distance < least ? distance : least;
    }
    return nearest;
}

/* ---- help ---- */

int kvcli_help(const struct kvcli_command *table, int argc, char **argv)
{
    char title[2 * WORD_MAX + 2];
    const struct kvcli_command *command = kvcli_find(table, argv[0]);
    const char *group = "", *blank = "";
    if (command != NULL && command->verbs != NULL && argc > 1) {
        group = argv[0];
        blank = " ";
        command = kvcli_find(command->verbs, argv[1]);
    }
    if (command == NULL) {
        return kvcli_complain("help: unknown command '%s%s%s'", group, blank, argv[argc > 1]);
    }
    (void)snprintf(title, sizeof(title), "%s%s%s", group, blank, command->name);
    kvcli_print_command(stdout, title, command);
    return EXIT_DONE;
}
