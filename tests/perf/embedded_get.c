/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads of an application that carries its own node, in one thread:
 *
 *     embedded_get DIRECTORY [KEYS]
 *
 * writes KEYS (10000) values of 100 bytes into a node alone in its group, reads them for two
 * seconds in an order that is not theirs, and prints how many that were in a second.
 */
#include "kvpair/kvp_node.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define SECONDS 2.0

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static void must(kvp_status status, const char *what)
{
    if (status != KVP_OK) {
        fprintf(stderr, "embedded_get: %s: %s\n", what, kvp_strerror(status));
        exit(1);
    }
}

static kvp_slice key_of(unsigned long number, char *room)
{
    return (kvp_slice){room, (size_t)sprintf(room, "key-%08lu", number)};
}

static void fill(kvp_node *node, unsigned long keys)
{
    char room[32], value[100];
    memset(value, 'v', sizeof(value));
    for (unsigned long i = 0; i < keys; i++) {
        must(kvp_node_put(node, key_of(i, room), (kvp_slice){value, sizeof(value)}, NULL), "put");
    }
}

static double measure(kvp_node *node, unsigned long keys)
{
    char room[32];
    kvp_buf value = {0};
    unsigned long reads = 0;
    double begin = now(), end = begin;
    for (unsigned long number = 1; end - begin < SECONDS; end = now()) {
        for (unsigned i = 0; i < 1000; i++, reads++) {
            number = (number * 1103515245u + 12345u) & 0x7fffffffu; /* ISO C's example of rand() */
            value.size = 0;
            must(kvp_node_get(node, key_of(number % keys, room), &value, NULL), "get");
        }
    }
    kvp_buf_free(&value);
    return (double)reads / (end - begin);
}

int main(int argc, char **argv)
{
    kvp_node_options options;
    kvp_node *node = NULL;
    char message[256];
    unsigned long keys = argc > 2 ? strtoul(argv[2], NULL, 10) : 10000;
    if (argc < 2 || keys == 0) {
        fprintf(stderr, "usage: embedded_get DIRECTORY [KEYS]\n");
        return 2;
    }
    kvp_node_options_init(&options);
    options.id = 1;
    options.data_dir = argv[1];
    options.listen = "tcp://127.0.0.1:0";
    options.pair = "backup-wins";
    if (kvp_node_open(&options, &node, message, sizeof(message)) != KVP_OK) {
        fprintf(stderr, "embedded_get: %s\n", message);
        return 1;
    }
    must(kvp_node_wait_serving(node, 10000), "the node does not serve");
    fill(node, keys);
    printf("%.0f reads per second of %lu keys\n", measure(node, keys), keys);
    kvp_node_close(node);
    return 0;
}
