/* SPDX-License-Identifier: Apache-2.0 */
/* Loads `--count` values of `--size` bytes, many at a time: PREFIX%010lu. */
#include "kvpair/kvp_client.h"

#include <getopt.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WINDOW 128u

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t landed = PTHREAD_COND_INITIALIZER;
static unsigned under_way;
static atomic_int worst;

static void done(void *arg, const kvp_result *result)
{
    (void)arg;
    pthread_mutex_lock(&mutex);
    under_way--;
    if (result->status != KVP_OK) {
        worst = result->status;
    }
    pthread_cond_signal(&landed);
    pthread_mutex_unlock(&mutex);
}

static void wait_below(unsigned limit)
{
    pthread_mutex_lock(&mutex);
    while (under_way >= limit) {
        pthread_cond_wait(&landed, &mutex);
    }
    under_way++;
    pthread_mutex_unlock(&mutex);
}

static void fill(char *value, size_t size, unsigned long seed)
{
    uint64_t x = seed * 0x9e3779b97f4a7c15u + 1;
    for (size_t i = 0; i < size; i++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        value[i] = (char)x;
    }
}

int main(int argc, char **argv)
{
    static const struct option known[] = {{"nodes", required_argument, NULL, 'n'},
                                          {"count", required_argument, NULL, 'c'},
                                          {"size", required_argument, NULL, 's'},
                                          {"prefix", required_argument, NULL, 'p'},
                                          {NULL, 0, NULL, 0}};
    kvp_client_options options;
    kvp_client *client = NULL;
    const char *prefix = "load";
    unsigned long count = 1;
    size_t size = 100;
    char key[256], message[256];
    int which;
    kvp_client_options_init(&options);
    options.timeout_ms = 60000;
    while ((which = getopt_long(argc, argv, "", known, NULL)) != -1) {
        switch (which) {
        case 'n':
            options.nodes = optarg;
            break;
        case 'c':
            count = strtoul(optarg, NULL, 10);
            break;
        case 's':
            size = strtoul(optarg, NULL, 10);
            break;
        case 'p':
            prefix = optarg;
            break;
        default:
            return 2;
        }
    }
    char *value = malloc(size + 1);
    if (value == NULL || kvp_client_open(&options, &client, message, sizeof(message)) != KVP_OK) {
        fprintf(stderr, "load: cannot start\n");
        free(value);
        return 1;
    }
    for (unsigned long i = 0; i < count && worst == KVP_OK; i++) {
        snprintf(key, sizeof(key), "%s%010lu", prefix, i);
        fill(value, size, i);
        wait_below(WINDOW);
        kvp_slice k = {key, strlen(key)}, v = {value, size};
        kvp_status status = kvp_put_async(client, k, v, 0, done, NULL);
        if (status != KVP_OK) {
            kvp_result failed = {.status = status};
            done(NULL, &failed);
        }
    }
    wait_below(1);
    kvp_client_close(client);
    free(value);
    if (worst != KVP_OK) {
        fprintf(stderr, "load: %s\n", kvp_strerror(worst));
    }
    return worst != KVP_OK;
}
