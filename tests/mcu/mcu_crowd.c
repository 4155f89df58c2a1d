/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Many microcontrollers' clients in one thread: mcu_crowd URL,URL... FIRST COUNT TIMEOUT-MS. Each
 * puts its number under a key of its own and reads it again; all keep their connections. Then it
 * says how many were served and waits for the end of standard input.
 */
#include "mcu-port/port_posix.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

struct member {
    struct kvmcu client;
    struct kvmcu_posix port;
    struct kvmcu_request request;
    char key[24];
    uint8_t buffer[KVMCU_BUFFER_MIN];
    bool done, served;
};

static uint32_t now_ms(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint32_t)((uint64_t)now.tv_sec * 1000u + (uint64_t)now.tv_nsec / 1000000u);
}

static void begin(struct member *member, unsigned op, uint32_t timeout_ms)
{
    uint32_t size = (uint32_t)strlen(member->key);
    member->request = (struct kvmcu_request){.op = (uint8_t)op,
                                             .key = member->key,
                                             .key_size = (uint16_t)size,
                                             .value = member->key,
                                             .value_size = size};
    if (kvmcu_start(&member->client, &member->request, now_ms(), timeout_ms) != KVMCU_PENDING) {
        abort();
    }
}

static void open_member(struct member *member, const char *const *urls, unsigned count,
                        unsigned number, uint32_t timeout_ms)
{
    struct {
        struct timespec now;
        unsigned number;
    } seed;

    memset(&seed, 0, sizeof(seed));
    (void)clock_gettime(CLOCK_REALTIME, &seed.now);
    seed.number = number;
    (void)snprintf(member->key, sizeof(member->key), "board-%u", number);
    kvmcu_posix_init(&member->port, urls);
    struct kvmcu_config config = {
        .transport = &member->port.transport,
        .group = "default",
        .urls = urls,
        .url_count = (uint8_t)count,
        .buffer = member->buffer,
        .buffer_size = sizeof(member->buffer),
        .try_ms = 2000,
        .client = kvmcu_client_number(&seed, sizeof(seed)),
    };
    if (kvmcu_init(&member->client, &config) != KVMCU_OK) {
        abort();
    }
    begin(member, KVMCU_PUT, timeout_ms);
}

/* True: it came to an end now. */
static bool step(struct member *member, uint32_t timeout_ms)
{
    int status = kvmcu_poll(&member->client, now_ms());
    if (status == KVMCU_PENDING) {
        return false;
    }
    if (status == KVMCU_OK && member->request.op == KVMCU_PUT) {
        begin(member, KVMCU_GET, timeout_ms);
        return false;
    }
    struct kvmcu_result result;
    kvmcu_result(&member->client, &result);
    member->done = true;
    member->served = status == KVMCU_OK && result.size == strlen(member->key) &&
                     memcmp(result.value, member->key, result.size) == 0;
    return true;
}

int main(int argc, char **argv)
{
    const char *urls[KVMCU_ADDRESSES_MAX];
    unsigned url_count = 0, served = 0, left;
    struct rlimit limit;
    if (argc != 5) {
        fprintf(stderr, "usage: mcu_crowd URL,URL... FIRST COUNT TIMEOUT-MS\n");
        return 2;
    }
    for (char *url = strtok(argv[1], ","); url != NULL && url_count < KVMCU_ADDRESSES_MAX;
         url = strtok(NULL, ",")) {
        urls[url_count++] = url;
    }
    unsigned first = (unsigned)strtoul(argv[2], NULL, 10);
    unsigned count = (unsigned)strtoul(argv[3], NULL, 10);
    uint32_t timeout_ms = (uint32_t)strtoul(argv[4], NULL, 10);
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
    }
    struct member *members = calloc(count, sizeof(*members));
    if (members == NULL) {
        return 2;
    }
    for (unsigned i = 0; i < count; i++) {
        open_member(&members[i], urls, url_count, first + i, timeout_ms);
    }
    for (left = count; left > 0;) {
        for (unsigned i = 0; i < count; i++) {
            left -= !members[i].done && step(&members[i], timeout_ms) ? 1 : 0;
        }
        (void)poll(NULL, 0, 1);
    }
    for (unsigned i = 0; i < count; i++) {
        served += members[i].served ? 1 : 0;
    }
    printf("served %u\n", served);
    (void)fflush(stdout);
    while (getchar() != EOF) {
    }
    for (unsigned i = 0; i < count; i++) {
        kvmcu_stop(&members[i].client);
    }
    free(members);
    return 0;
}
