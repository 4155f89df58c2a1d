/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any words as the command line of a program: the first byte says of which one, zeros end the
 * words. What a program does with the settings is not part of it, but what it understands has to
 * make sense.
 */
#include "tests/fuzz/fuzz.h"
#include "client/kvcli/kvcli.h"
#include "client/kvworker/kvworker.h"
#include "replication/net/address_list.h"
#include "replication/node/kvnode_settings.h"
#include "replication/node/node_state.h"
#include "replication/witness/witness_access.h"

#include <fcntl.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define WORDS_MAX 48

static void must(bool condition, const char *what)
{
    if (!condition) {
        fprintf(stderr, "%s\n", what);
        abort();
    }
}

/* The complaints of a million command lines are of no interest. */
static void silence(void)
{
    static bool silent;
    int fd = silent ? -1 : open("/dev/null", O_WRONLY | O_CLOEXEC);
    if (fd >= 0) {
        (void)dup2(fd, STDOUT_FILENO);
        fclose(stderr);
        stderr = fdopen(fd, "w");
        must(stderr != NULL, "no place for complaints");
    }
    silent = true;
}

static int split(char *text, size_t size, char *words[WORDS_MAX + 1])
{
    int count = 0;
    words[count++] = (char *)"program";
    for (size_t at = 0; at < size && count < WORDS_MAX; at += strlen(text + at) + 1) {
        words[count++] = text + at;
    }
    words[count] = NULL;
    optind = 0; /* getopt begins anew */
    return count;
}

static void configure(struct kvnode_settings *settings)
{
    static struct kvp_node node;
    char message[2 * KVNODE_TEXT_MAX] = "";
    kvp_node_options options;
    kvp_node_options_init(&options);
    if (!kvnode_settings_fill(settings, &options, message, sizeof(message))) {
        must(message[0] != '\0', "refused without a reason");
        return;
    }
    memset(&node, 0, sizeof(node));
    bool good = node_configure(&node, &options, message, sizeof(message)) == KVP_OK;
    must(good == (message[0] == '\0'), "refused without a reason, or taken with one");
    kvp_address_list_free(node.peer_addresses);
}

static void try_kvnode(int argc, char **argv)
{
    static struct kvnode_settings settings;
    int which;
    memset(&settings, 0, sizeof(settings));
    while ((which = getopt_long(argc, argv, "", kvnode_options, NULL)) != -1) {
        if (which == '?' || optarg == NULL || !kvnode_settings_give(&settings, which, optarg)) {
            return;
        }
    }
    configure(&settings);
}

static void try_kvworker(int argc, char **argv)
{
    struct kvworker_options options;
    if (kvworker_parse(argc, argv, &options) < 0) {
        must(options.nodes != NULL && options.name[0] != '\0', "a worker without nodes or name");
        must(options.parallel >= 1 && options.handler_count <= KVP_JOB_KINDS_MAX, "out of range");
    }
}

static void try_kvwitness(char **argv)
{
    static const char *const addresses[] = {"127.0.0.1", "10.1.2.3"};
    struct witness_access access = {0};
    for (char **word = argv + 1; *word != NULL; word++) {
        (void)witness_access_add(&access, *word);
    }
    must(access.count <= WITNESS_ACCESS_GROUPS_MAX, "too many groups");
    for (size_t i = 0; access.all != NULL && i < 2; i++) {
        struct kvp_address_list *one = kvp_address_list_new();
        must(one != NULL && kvp_address_list_add_all(one, addresses[i]) == KVP_OK, "an address");
        kvp_address_list_free(one);
    }
    witness_access_free(&access);
}

/* Every command of kvcli, by the reader of options that all of them share. */
static void try_kvcli(uint8_t pick, int argc, char **argv)
{
    struct kvcli_given given;
    unsigned count = 0;
    while (kvcli_commands[count].name != NULL) {
        count++;
    }
    const struct kvcli_command *command = &kvcli_commands[pick % count];
    if (command->verbs == NULL) {
        argc--;
        if (kvcli_read_options(command->name, command, &argc, argv + 1, &given) < 0) {
            must(argc >= 0 && argv[1 + argc] == NULL, "words without an end");
        }
    }
    for (char **word = argv + 1; *word != NULL; word++) {
        uint64_t number;
        (void)kvcli_nearest(kvcli_commands, *word);
        (void)kvcli_synonym(*word);
        if (kvcli_parse_number(*word, 1000, &number)) {
            must(number <= 1000, "a number out of range");
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *words[WORDS_MAX + 1];
    if (size == 0) {
        return 0;
    }
    silence();
    char *text = malloc(size);
    must(text != NULL, "no memory");
    memcpy(text, data + 1, size - 1);
    text[size - 1] = '\0';
    int count = split(text, size, words);
    switch (data[0] & 3) {
    case 0:
        try_kvnode(count, words);
        break;
    case 1:
        try_kvworker(count, words);
        break;
    case 2:
        try_kvwitness(words);
        break;
    default:
        try_kvcli(data[0] >> 2, count, words);
        break;
    }
    free(text);
    return 0;
}
