/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The same load for kvpair and for the systems that people use today, so that they can be measured
 * beside each other in one run (compare.py): one thread, so many connections, so many requests
 * under way on each.
 *
 *     load_systems SYSTEM PORT CONNECTIONS REQUESTS SECONDS KEYS READS
 *
 * READS is how many of 100 requests are gets; "fill" instead writes each key once, whatever SECONDS
 * says. Values have 100 bytes. What has been answered in one read of a connection is asked anew in
 * one write. Prints one JSON line.
 */
#include "tests/perf/load_systems.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

enum { CONNECTIONS_MAX = 10000, TIMES_MAX = 1 << 23, EVENTS_MAX = 256, SILENCE_MS = 10000 };

struct load {
    const struct load_protocol *protocol;
    struct load_connection *connections;
    unsigned count, width, keys, reads;
    bool fill;
    unsigned filled; /* keys that were asked for */
    unsigned under_way;
    int poll;
};

static char value_text[LOAD_VALUE_SIZE + 1];
const char *load_value = value_text;
static uint32_t *times_us;
static size_t time_count;

_Noreturn void load_die(const char *what, const char *text)
{
    fprintf(stderr, "load_systems: %s: %s\n", what, text);
    exit(1);
}

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static uint64_t any_number(void)
{
    static uint64_t state = 88172645463325252u; /* xorshift64 (Marsaglia 2003) */
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state;
}

void load_send(struct load_connection *connection, const void *bytes, size_t size)
{
    if (size > sizeof(connection->out) - connection->out_size) {
        load_die("asking", "more than fits goes out at once");
    }
    memcpy(connection->out + connection->out_size, bytes, size);
    connection->out_size += size;
}

void load_print(struct load_connection *connection, const char *format, ...)
{
    char text[1024];
    va_list values;
    va_start(values, format);
    int size = vsnprintf(text, sizeof(text), format, values);
    va_end(values);
    load_send(connection, text, (size_t)size);
}

void load_drop(struct load_connection *connection, size_t size)
{
    connection->in_size -= size;
    memmove(connection->in, connection->in + size, connection->in_size + 1);
}

void load_done(struct load_connection *connection, unsigned index)
{
    uint64_t took_ns = now_ns() - connection->requests[index].began_ns;
    if (time_count < TIMES_MAX) {
        times_us[time_count++] = (uint32_t)(took_ns / 1000);
    }
    connection->done[connection->done_count++] = (uint8_t)index;
}

static bool choose(struct load *load, struct load_request *request)
{
    if (load->fill && load->filled == load->keys) {
        return false;
    }
    uint64_t number = any_number();
    request->key = load->fill ? load->filled++ : (unsigned)(number % load->keys);
    request->operation = !load->fill && (number >> 32) % 100 < load->reads ? LOAD_GET : LOAD_PUT;
    request->began_ns = now_ns();
    return true;
}

/* Everything that has been answered is asked anew, in one write. */
static void ask_anew(struct load *load, struct load_connection *connection)
{
    unsigned count = connection->done_count;
    connection->done_count = 0;
    load->under_way -= count;
    for (unsigned i = 0; i < count; i++) {
        unsigned index = connection->done[i];
        if (choose(load, &connection->requests[index])) {
            load->protocol->ask(connection, index);
            load->under_way++;
        }
    }
    if (connection->out_size > 0 && count > 0 && load->protocol->seal != NULL) {
        load->protocol->seal(connection);
    }
    if (connection->out_size > 0 && write(connection->socket, connection->out,
                                          connection->out_size) != (ssize_t)connection->out_size) {
        load_die("writing", strerror(errno));
    }
    connection->out_size = 0;
}

static void take(struct load *load, struct load_connection *connection)
{
    ssize_t got = read(connection->socket, connection->in + connection->in_size,
                       LOAD_ANSWERS_SIZE - connection->in_size);
    if (got <= 0) {
        load_die("reading", got < 0 ? strerror(errno) : "the connection was closed");
    }
    connection->in_size += (size_t)got;
    connection->in[connection->in_size] = '\0';
    while (connection->in_size > 0 && load->protocol->take(connection)) {
    }
    ask_anew(load, connection);
}

static double run(struct load *load, double seconds)
{
    struct epoll_event events[EVENTS_MAX];
    uint64_t begin = now_ns(), end = begin + (uint64_t)(seconds * 1e9);
    for (unsigned i = 0; i < load->count; i++) {
        struct load_connection *connection = &load->connections[i];
        for (unsigned index = 0; index < load->width; index++) {
            connection->done[connection->done_count++] = (uint8_t)index;
        }
        load->under_way += load->width;
        ask_anew(load, connection);
    }
    while (load->fill ? load->under_way > 0 : now_ns() < end) {
        int ready = epoll_wait(load->poll, events, EVENTS_MAX, SILENCE_MS);
        if (ready <= 0) {
            load_die("waiting", "no answer for ten seconds");
        }
        for (int i = 0; i < ready; i++) {
            take(load, events[i].data.ptr);
        }
    }
    return (double)(now_ns() - begin) / 1e9;
}

static void connect_to(struct load *load, struct load_connection *connection, unsigned port)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = connection};
    int one = 1;
    connection->width = load->width;
    connection->socket = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connection->socket < 0 ||
        connect(connection->socket, (struct sockaddr *)&address, sizeof(address)) != 0) {
        load_die("connecting", strerror(errno));
    }
    (void)setsockopt(connection->socket, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    if (load->protocol->greet != NULL) {
        load->protocol->greet(connection);
    }
    if (epoll_ctl(load->poll, EPOLL_CTL_ADD, connection->socket, &event) != 0) {
        load_die("waiting", strerror(errno));
    }
}

static int by_time(const void *a, const void *b)
{
    uint32_t first = *(const uint32_t *)a, second = *(const uint32_t *)b;
    return first < second ? -1 : first > second;
}

static bool parse(struct load *load, char **argv)
{
    for (unsigned i = 0; i < load_protocol_count; i++) {
        load->protocol =
            strcmp(argv[1], load_protocols[i].name) == 0 ? &load_protocols[i] : load->protocol;
    }
    load->count = (unsigned)strtoul(argv[3], NULL, 10);
    load->width = (unsigned)strtoul(argv[4], NULL, 10);
    load->keys = (unsigned)strtoul(argv[6], NULL, 10);
    load->fill = strcmp(argv[7], "fill") == 0;
    load->reads = load->fill ? 0 : (unsigned)strtoul(argv[7], NULL, 10);
    return load->protocol != NULL && load->count > 0 && load->count <= CONNECTIONS_MAX &&
           load->width > 0 && load->width <= load->protocol->width_max && load->keys > 0 &&
           load->reads <= 100 && (load->reads == 0 || load->protocol->gets);
}

static void print(const struct load *load, double seconds)
{
    if (time_count == 0) {
        load_die("measuring", "nothing was done in that time");
    }
    qsort(times_us, time_count, sizeof(*times_us), by_time);
    printf("{\"system\":\"%s\",\"connections\":%u,\"requests\":%u,\"operations\":%zu,"
           "\"ops_per_s\":%.0f,\"p50_us\":%u,\"p99_us\":%u,\"max_us\":%u}\n",
           load->protocol->name, load->count, load->width, time_count, (double)time_count / seconds,
           times_us[time_count / 2], times_us[time_count * 99 / 100], times_us[time_count - 1]);
}

int main(int argc, char **argv)
{
    struct load load = {0};
    if (argc != 8 || !parse(&load, argv)) {
        fprintf(stderr, "usage: load_systems kvpair|redis|etcd|beanstalkd PORT CONNECTIONS REQUESTS"
                        " SECONDS KEYS READS|fill\n");
        return 2;
    }
    memset(value_text, 'v', LOAD_VALUE_SIZE);
    times_us = malloc(TIMES_MAX * sizeof(*times_us));
    load.connections = calloc(load.count, sizeof(*load.connections));
    load.poll = epoll_create1(EPOLL_CLOEXEC);
    if (times_us == NULL || load.connections == NULL || load.poll < 0) {
        load_die("starting", strerror(errno));
    }
    for (unsigned i = 0; i < load.count; i++) {
        connect_to(&load, &load.connections[i], (unsigned)strtoul(argv[2], NULL, 10));
    }
    print(&load, run(&load, strtod(argv[5], NULL)));
    free(load.connections);
    free(times_us);
    return 0;
}
