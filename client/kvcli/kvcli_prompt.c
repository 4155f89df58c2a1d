/* SPDX-License-Identifier: Apache-2.0 */
/* The prompt: lines with history and completion, each one a command. */
#include "client/kvcli/kvcli.h"

#include <histedit.h>
#include <langinfo.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <wchar.h>

#define HISTORY_SIZE 1000

/* Reads a key. libedit's own function takes no notice of a first interrupt, and leaves out bytes
 * that are no character here: another key would be changed than the one typed. */
static int read_key(EditLine *line, wchar_t *key)
{
    mbstate_t state = {0};
    size_t used = (size_t)-2; /* more bytes are needed */
    char byte = 0;

    (void)line;
    while (used == (size_t)-2) {
        ssize_t got = kvcli_read_input(&byte, 1);
        if (got <= 0) {
            return (int)got;
        }
        used = mbrtowc(key, &byte, 1, &state);
    }
    if (used == (size_t)-1) {
        *key = L'?';
    }
    return 1;
}

/* Where nobody has chosen a character set, it is UTF-8. */
static void choose_characters(void)
{
    (void)setlocale(LC_CTYPE, "");
    if (strcmp(nl_langinfo(CODESET), "ANSI_X3.4-1968") == 0) { /* that is ASCII */
        (void)setlocale(LC_CTYPE, "C.UTF-8");
    }
}

static char *prompt_text(EditLine *line)
{
    static char text[] = "kvpair> ";
    (void)line;
    return text;
}

/* The commands that begin with what has been typed: completes as far as they agree. */
static size_t common_part(const struct kvcli_command *table, const char *typed, size_t size,
                          const char **first, unsigned *count)
{
    size_t common = 0;
    *count = 0;
    for (const struct kvcli_command *command = table; command->name != NULL; command++) {
        if (strncmp(command->name, typed, size) != 0) {
            continue;
        }
        if ((*count)++ == 0) {
            *first = command->name;
            common = strlen(command->name);
        }
        for (size_t i = 0; i < common; i++) {
            if (command->name[i] != (*first)[i]) {
                common = i;
            }
        }
    }
    return common;
}

static void list_commands(const struct kvcli_command *table, const char *typed, size_t size)
{
    putchar('\n');
    for (const struct kvcli_command *command = table; command->name != NULL; command++) {
        if (strncmp(command->name, typed, size) == 0) {
            printf("%s ", command->name);
        }
    }
    putchar('\n');
}

/* Keys are the other thing to be completed: as far as all that begin so agree. */
static unsigned char complete_key(EditLine *line, struct kvcli *cli, const char *typed, size_t size)
{
    kvp_scan *scan = NULL;
    kvp_slice key, value;
    char common[KVP_KEY_SIZE_MAX + 1];
    size_t agreed = 0;
    unsigned count = 0;
    if (kvp_scan_open_prefix(cli->client, kvp_slice_of(typed, size), true, &scan, NULL) != KVP_OK) {
        return CC_ERROR;
    }
    for (; count < HISTORY_SIZE && kvp_scan_next(scan, &key, &value, NULL) == KVP_OK; count++) {
        if (count == 0) {
            agreed = key.size < KVP_KEY_SIZE_MAX ? key.size : KVP_KEY_SIZE_MAX;
            memcpy(common, key.data, agreed);
        }
        size_t same = 0;
        while (same < agreed && same < key.size && common[same] == ((const char *)key.data)[same]) {
            same++;
        }
        agreed = same;
    }
    kvp_scan_close(scan);
    common[agreed] = '\0';
    bool plain = strpbrk(common, " \t\n\\'\"") == NULL && kvcli_is_printable(common, agreed);
    if (!plain || agreed <= size || el_insertstr(line, common + size) != 0) {
        return CC_ERROR;
    }
    return CC_REFRESH;
}

/* What the word at `word` can be: a command, or the verb of one. NULL: neither. */
static const struct kvcli_command *words_for(const struct kvcli_command *table, const char *begin,
                                             const char *word)
{
    for (const struct kvcli_command *command = table; command->name != NULL; command++) {
        size_t size = strlen(command->name);
        bool before = (size_t)(word - begin) > size && strncmp(begin, command->name, size) == 0 &&
                      begin[size] == ' ';
        if (before && command->verbs != NULL) {
            bool second = strspn(begin + size, " ") == (size_t)(word - begin) - size;
            return second ? command->verbs : NULL;
        }
    }
    return begin == word ? table : NULL;
}

/* Keys are arguments of all commands but those with verbs. */
static bool may_be_key(const struct kvcli_command *table, const char *begin)
{
    for (const struct kvcli_command *command = table; command->name != NULL; command++) {
        size_t size = strlen(command->name);
        if (command->verbs != NULL && strncmp(begin, command->name, size) == 0 &&
            begin[size] == ' ') {
            return false;
        }
    }
    return true;
}

static unsigned char complete_word(EditLine *line, const struct kvcli_command *table,
                                   const char *typed, size_t size)
{
    const char *first = NULL;
    unsigned count = 0;
    size_t common = common_part(table, typed, size, &first, &count);
    if (count == 0) {
        return CC_ERROR;
    }
    if (common > size) {
        char rest[32];
        (void)snprintf(rest, sizeof(rest), "%.*s%s", (int)(common - size), first + size,
                       count == 1 ? " " : "");
        return el_insertstr(line, rest) == 0 ? CC_REFRESH : CC_ERROR;
    }
    list_commands(table, typed, size);
    return CC_REDISPLAY;
}

static unsigned char prompt_complete(EditLine *line, int key)
{
    const LineInfo *info = el_line(line);
    const char *word = info->cursor;
    struct kvcli *cli = NULL;

    (void)key;
    el_get(line, EL_CLIENTDATA, &cli);
    while (word > info->buffer && word[-1] != ' ') {
        word--;
    }
    size_t size = (size_t)(info->cursor - word);
    const struct kvcli_command *table = words_for(cli->commands, info->buffer, word);
    if (table != NULL) {
        return complete_word(line, table, word, size);
    }
    if (!may_be_key(cli->commands, info->buffer)) {
        return CC_ERROR;
    }
    return complete_key(line, cli, word, size);
}

static void print_help(const struct kvcli *cli)
{
    kvcli_print_commands(stdout, cli->commands);
    printf("  %-9s %-30s %s\n", "help", "", "this");
    printf("  %-9s %-30s %s\n", "exit", "", "the end; also Ctrl-D");
}

bool kvcli_run_typed(struct kvcli *cli, int argc, const char **argv, int *code)
{
    *code = EXIT_DONE;
    if (strcmp(argv[0], "exit") == 0 || strcmp(argv[0], "quit") == 0) {
        return false;
    }
    if (argc > 1 && strcmp(argv[0], "help") == 0) {
        (void)kvcli_help(cli->commands, argc - 1, (char **)argv + 1);
    } else if (strcmp(argv[0], "help") == 0) {
        print_help(cli);
    } else {
        *code = kvcli_run(cli, argc, (char **)argv); /* nothing changes the arguments */
    }
    return true;
}

/* False: the end. */
static bool run_line(struct kvcli *cli, Tokenizer *tokenizer, const char *text)
{
    int argc = 0, code;
    const char **argv = NULL;
    bool more = true;
    if (tok_str(tokenizer, text, &argc, &argv) != 0) {
        (void)kvcli_complain("a quote is not closed");
    } else if (argc > 0) {
        more = kvcli_run_typed(cli, argc, argv, &code);
    }
    tok_reset(tokenizer);
    return more;
}

static void read_lines(struct kvcli *cli, EditLine *line, History *past, Tokenizer *tokenizer)
{
    HistEvent event;
    int count = 0;

    for (;;) {
        const char *text = el_gets(line, &count);
        if (text == NULL && kvcli_interrupted()) {
            kvcli_interrupt_forget(); /* as in a shell: a new line */
            putchar('\n');
            el_reset(line);
            continue;
        }
        if (text == NULL || count <= 0) {
            putchar('\n');
            return;
        }
        if (strspn(text, " \t\n") < (size_t)count) {
            (void)history(past, &event, H_ENTER, text);
        }
        if (!run_line(cli, tokenizer, text)) {
            return;
        }
    }
}

int kvcli_prompt(struct kvcli *cli)
{
    char file[4096] = "";
    const char *home = getenv("HOME");
    HistEvent event;
    choose_characters();
    EditLine *line = el_init("kvcli", stdin, stdout, stderr);
    History *past = history_init();
    Tokenizer *tokenizer = tok_init(NULL);

    if (line == NULL || past == NULL || tokenizer == NULL) {
        return kvcli_failed(KVP_NO_MEMORY, NULL);
    }
    cli->prompt = true;
    kvcli_interrupts_note();
    if (home != NULL) {
        (void)snprintf(file, sizeof(file), "%s/.kvcli_history", home);
    }
    (void)history(past, &event, H_SETSIZE, HISTORY_SIZE);
    (void)history(past, &event, H_SETUNIQUE, 1);
    (void)history(past, &event, H_LOAD, file); /* there may be none yet */
    el_set(line, EL_PROMPT, prompt_text);
    el_set(line, EL_EDITOR, "emacs");
    el_set(line, EL_GETCFN, read_key);
    el_set(line, EL_HIST, history, past);
    el_set(line, EL_CLIENTDATA, cli);
    /* Wide: el_set() would copy the names and never free them. */
    el_wset(line, EL_ADDFN, L"kvcli-complete", L"Complete a command or key", prompt_complete);
    el_set(line, EL_BIND, "^I", "kvcli-complete", NULL);
    el_source(line, NULL);
    puts("kvcli: 'help' lists the commands, Tab completes, Ctrl-D ends.");
    read_lines(cli, line, past, tokenizer);
    (void)history(past, &event, H_SAVE, file);
    tok_end(tokenizer);
    history_end(past);
    el_end(line);
    return EXIT_DONE;
}
