/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kvmcu on a host: mcu_tool URL,URL... TIMEOUT-MS WORD..., where the words are calls one after the
 * other: hello, get KEY, put KEY VALUE, create KEY VALUE, delete KEY VERSION,
 * cas KEY VERSION VALUE, watch KEY FROM (a second long); and wait, for a line of standard input.
 * With sockets: before the URLs the smaller port is used. One line of output for each call: status,
 * revision, value; after watch what to ask from next stands before the value.
 */
#include "mcu-port/port_posix.h"
#include "mcu-port/port_sockets.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

struct tool {
    struct kvmcu client;
    uint32_t timeout_ms;
    char **words; /* those that are left */
};

static const char *next_word(struct tool *tool)
{
    if (*tool->words == NULL) {
        fprintf(stderr, "mcu_tool: words are missing\n");
        exit(2);
    }
    return *tool->words++;
}

static unsigned find_op(const char *word)
{
    static const char *const names[] = {"hello", "get", "put", "create", "delete", "cas"};

    for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (strcmp(word, names[i]) == 0) {
            return KVMCU_HELLO + i;
        }
    }
    if (strcmp(word, "watch") == 0) {
        return KVMCU_WATCH;
    }
    fprintf(stderr, "mcu_tool: what is %s?\n", word);
    exit(2);
}

static void run_word(struct tool *tool, const char *word)
{
    struct kvmcu_request request = {.op = (uint8_t)find_op(word)};
    struct kvmcu_result result;
    if (request.op != KVMCU_HELLO) {
        request.key = next_word(tool);
        request.key_size = (uint16_t)strlen(request.key);
    }
    if (request.op >= KVMCU_DELETE) {
        request.version = strtoull(next_word(tool), NULL, 10);
    }
    if (request.op == KVMCU_WATCH) {
        request.wait_ms = 1000;
    } else if (request.op >= KVMCU_PUT && request.op != KVMCU_DELETE) {
        request.value = next_word(tool);
        request.value_size = (uint16_t)strlen(request.value);
    }
    int status = kvmcu_call(&tool->client, &request, tool->timeout_ms);
    kvmcu_result(&tool->client, &result);
    printf("%d %llu ", status, (unsigned long long)result.revision);
    if (request.op == KVMCU_WATCH) {
        printf("%llu ", (unsigned long long)result.next);
    }
    printf("%.*s\n", status == KVMCU_OK ? (int)result.size : 0, (const char *)result.value);
    (void)fflush(stdout);
}

static uint64_t client_number(void)
{
    struct {
        struct timespec now;
        long pid;
    } seed;

    memset(&seed, 0, sizeof(seed));
    (void)clock_gettime(CLOCK_REALTIME, &seed.now);
    seed.pid = (long)getpid();
    return kvmcu_client_number(&seed, sizeof(seed));
}

static uint32_t now_ms(void *arg)
{
    struct timespec now;
    (void)arg;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint32_t)((uint64_t)now.tv_sec * 1000u + (uint64_t)now.tv_nsec / 1000000u);
}

int main(int argc, char **argv)
{
    static struct kvmcu_sockets sockets;
    static uint8_t buffer[256];
    static const char *urls[KVMCU_ADDRESSES_MAX];
    struct kvmcu_posix port;
    struct tool tool;
    unsigned count = 0;
    char line[8];
    if (argc < 4) {
        fprintf(stderr, "usage: mcu_tool URL,URL... TIMEOUT-MS WORD...\n");
        return 2;
    }
    for (char *url = strtok(argv[1], ","); url != NULL && count < KVMCU_ADDRESSES_MAX;
         url = strtok(NULL, ",")) {
        urls[count++] = url;
    }
    kvmcu_posix_init(&port, urls);
    kvmcu_sockets_init(&sockets, urls, now_ms, NULL);
    bool small = strncmp(urls[0], "sockets:", 8) == 0;
    urls[0] += small ? 8 : 0;
    struct kvmcu_config config = {.transport = small ? &sockets.transport : &port.transport,
                                  .group = "default",
                                  .urls = urls,
                                  .url_count = (uint8_t)count,
                                  .buffer = buffer,
                                  .buffer_size = sizeof(buffer),
                                  .client = client_number()};
    if (kvmcu_init(&tool.client, &config) != KVMCU_OK) {
        fprintf(stderr, "mcu_tool: bad configuration\n");
        return 2;
    }
    tool.timeout_ms = (uint32_t)strtoul(argv[2], NULL, 10);
    tool.words = argv + 3;
    while (*tool.words != NULL) {
        const char *word = next_word(&tool);
        if (strcmp(word, "wait") != 0) {
            run_word(&tool, word);
        } else if (fgets(line, sizeof(line), stdin) == NULL) {
            break;
        }
    }
    kvmcu_stop(&tool.client);
    return 0;
}
