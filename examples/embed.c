/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An application that carries its own replica: it counts, one step every 100 ms, and never counts a
 * step twice or loses one, whichever of the two machines dies. Start it twice, with a witness:
 *
 *   kvwitness --data /tmp/w --listen tcp://127.0.0.1:7100 &
 *   embed 1 /tmp/one tcp://127.0.0.1:7101 2=tcp://127.0.0.1:7102 tcp://127.0.0.1:7100 &
 *   embed 2 /tmp/two tcp://127.0.0.1:7102 1=tcp://127.0.0.1:7101 tcp://127.0.0.1:7100 &
 *
 * and kill either with any signal: the other goes on counting from the same number.
 */
#include <kvpair/kvp_node.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static volatile sig_atomic_t stop_asked;

static void on_signal(int number)
{
    (void)number;
    stop_asked = 1;
}

static void on_change(void *arg, const kvp_node_state *state)
{
    printf("node %u: %s%s, epoch %llu\n", *(unsigned *)arg, kvp_role_name(state->role),
           state->serving ? ", serving" : "", (unsigned long long)state->epoch);
    fflush(stdout);
}

/* One step: read, add one, write if nobody else has written. */
static void count_on(kvp_node *node, unsigned id)
{
    kvp_slice key = {"counter", 7};
    kvp_buf value = {0};
    uint64_t version = 0;
    unsigned long count = 0;
    char text[32];
    kvp_status status = kvp_node_get(node, key, &value, &version);
    if (status == KVP_OK && value.size < sizeof(text)) {
        memcpy(text, value.data, value.size);
        text[value.size] = '\0';
        count = strtoul(text, NULL, 10);
    }
    kvp_buf_free(&value);
    if (status == KVP_OK || status == KVP_NOT_FOUND) {
        int size = snprintf(text, sizeof(text), "%lu", count + 1);
        status = kvp_node_cas(node, key, version, (kvp_slice){text, (size_t)size}, NULL);
    }
    if (status == KVP_OK) {
        printf("node %u counts %lu\n", id, count + 1);
        fflush(stdout);
    }
}

int main(int argc, char **argv)
{
    kvp_node_options options;
    kvp_node *node = NULL;
    char message[512];
    if (argc != 6) {
        fprintf(stderr, "usage: embed ID DATA-DIR LISTEN-URL PEER-ID=URL WITNESS-URL\n");
        return 2;
    }
    signal(SIGTERM, on_signal);
    signal(SIGINT, on_signal);
    kvp_node_options_init(&options);
    options.id = (unsigned)strtoul(argv[1], NULL, 10);
    options.data_dir = argv[2];
    options.listen = argv[3];
    options.peers = argv[4];
    options.witness = argv[5];
    options.on_change = on_change;
    options.arg = &options.id;
    options.log_level = KVP_LOG_ERROR;
    if (kvp_node_open(&options, &node, message, sizeof(message)) != KVP_OK) {
        fprintf(stderr, "embed: %s\n", message);
        return 1;
    }
    while (!stop_asked) {
        struct timespec rest = {0, 100000000};
        if (kvp_node_wait_serving(node, 100) == KVP_OK) {
            count_on(node, options.id);
            nanosleep(&rest, NULL);
        }
    }
    kvp_node_stop(node); /* hands over, so that the other one goes on at once */
    kvp_node_wait_end(node, 6000);
    kvp_node_close(node);
    return 0;
}
