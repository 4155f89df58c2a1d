/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A program of release 0.1.0: what it has of the library's headers is a copy of them as they were.
 * It is linked with the library as it is now and still runs. Its option structs stand before bytes
 * that the library must not touch.
 */
#include <assert.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#undef NDEBUG
#define GUARD 0xa5

typedef int kvp_status;
typedef struct kvp_node kvp_node;
typedef struct kvp_client kvp_client;

typedef struct kvp_slice {
    const void *data;
    size_t size;
} kvp_slice;

typedef struct kvp_buf {
    uint8_t *data;
    size_t size;
    size_t capacity;
} kvp_buf;

typedef struct kvp_node_options {
    size_t size;
    unsigned id;
    const char *data_dir;
    const char *listen;
    const char *advertise;
    const char *group;
    const char *peers;
    const char *witness;
    const char *pair;
    const char *fence_command;
    uint32_t heartbeat_ms;
    uint32_t lease_ms;
    uint32_t grace_ms;
    uint32_t sync_timeout_ms;
    uint32_t sync_replicas;
    uint64_t log_size_max;
    uint32_t timeout_ms;
    int log_level;
    void (*on_log)(void *arg, int level, const char *line);
    void (*on_change)(void *arg, const void *state);
    void *arg;
} kvp_node_options;

typedef struct kvp_client_options {
    size_t size;
    const char *nodes;
    const char *group;
    uint32_t timeout_ms;
    uint32_t try_ms;
    uint32_t outstanding_max;
} kvp_client_options;

void kvp_node_options_init(kvp_node_options *options);
kvp_status kvp_node_open(const kvp_node_options *options, kvp_node **node, char *message,
                         size_t message_size);
void kvp_node_stop(kvp_node *node);
kvp_status kvp_node_wait_end(kvp_node *node, uint32_t timeout_ms);
kvp_status kvp_node_wait_serving(kvp_node *node, uint32_t timeout_ms);
const char *kvp_node_url(const kvp_node *node);
kvp_status kvp_node_get(kvp_node *node, kvp_slice key, kvp_buf *value, uint64_t *version);
kvp_status kvp_node_put(kvp_node *node, kvp_slice key, kvp_slice value, uint64_t *version);
void kvp_node_close(kvp_node *node);
void kvp_client_options_init(kvp_client_options *options);
kvp_status kvp_client_open(const kvp_client_options *options, kvp_client **client, char *message,
                           size_t message_size);
kvp_status kvp_put(kvp_client *client, kvp_slice key, kvp_slice value, void *result);
void kvp_client_close(kvp_client *client);
void kvp_buf_free(kvp_buf *buf);

static unsigned lines;

static void on_log(void *arg, int level, const char *line)
{
    assert(*(int *)arg == 7 && level >= 0 && level <= 3 && line[0] != '\0');
    lines++;
}

static void check_guard(const uint8_t *guard, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        assert(guard[i] == GUARD);
    }
}

static kvp_node *open_node(const char *data_dir, int *arg)
{
    struct {
        kvp_node_options options;
        uint8_t guard[64];
    } own;
    kvp_node *node = NULL;
    char message[512];
    memset(&own, GUARD, sizeof(own));
    kvp_node_options_init(&own.options);
    assert(own.options.size == sizeof(own.options));
    own.options.id = 1;
    own.options.data_dir = data_dir;
    own.options.listen = "tcp://127.0.0.1:0";
    own.options.pair = "backup-wins";
    own.options.on_log = on_log;
    own.options.arg = arg;
    if (kvp_node_open(&own.options, &node, message, sizeof(message)) != 0) {
        fprintf(stderr, "%s\n", message);
        exit(1);
    }
    check_guard(own.guard, sizeof(own.guard));
    return node;
}

static kvp_client *open_client(const char *url)
{
    struct {
        kvp_client_options options;
        uint8_t guard[64];
    } own;
    kvp_client *client = NULL;
    char message[512];
    memset(&own, GUARD, sizeof(own));
    kvp_client_options_init(&own.options);
    assert(own.options.size == sizeof(own.options));
    own.options.nodes = url;
    if (kvp_client_open(&own.options, &client, message, sizeof(message)) != 0) {
        fprintf(stderr, "%s\n", message);
        exit(1);
    }
    check_guard(own.guard, sizeof(own.guard));
    return client;
}

int main(void)
{
    char data_dir[] = "/tmp/kvpair-old-XXXXXX", command[64];
    kvp_slice key = {"key", 3};
    kvp_buf value = {0};
    int arg = 7;
    assert(mkdtemp(data_dir) != NULL);
    kvp_node *node = open_node(data_dir, &arg);
    assert(kvp_node_wait_serving(node, 10000) == 0);
    assert(kvp_node_put(node, key, (kvp_slice){"old", 3}, NULL) == 0);
    kvp_client *client = open_client(kvp_node_url(node));
    assert(kvp_put(client, key, (kvp_slice){"older", 5}, NULL) == 0);
    kvp_client_close(client);
    assert(kvp_node_get(node, key, &value, NULL) == 0);
    assert(value.size == 5 && memcmp(value.data, "older", 5) == 0);
    kvp_buf_free(&value);
    kvp_node_stop(node);
    assert(kvp_node_wait_end(node, 10000) == 0);
    kvp_node_close(node);
    assert(lines > 0);
    snprintf(command, sizeof(command), "rm -rf %s", data_dir);
    return system(command);
}
