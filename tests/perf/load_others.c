/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Load for the systems that people use today, so that kvpair can be measured beside them in one run
 * (compare.py): one thread, one connection for each request under way.
 *
 *     load_others redis|etcd|beanstalkd PORT CONNECTIONS SECONDS
 *
 *   redis       SET and WAIT 1 in one message; done when one replica has it
 *   etcd        a put over the HTTP gateway
 *   beanstalkd  a cycle: put, reserve, delete
 *
 * Keys and values are those of kvbench: 100 bytes under one of 100,000 keys. Prints one JSON line.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { CONNECTIONS_MAX = 1024, VALUE_SIZE = 100, KEYS = 100000, TIMES_MAX = 1 << 22 };

struct connection {
    int socket;
    int step; /* of beanstalkd's cycle */
    uint64_t began_ns;
    unsigned long long job;
    size_t size;
    char got[2048];
};

struct protocol {
    const char *name;
    /* The next message of a connection, as text. */
    int (*ask)(struct connection *connection, char *text, size_t size);
    /* Is the answer whole? Sets *done when the operation is, and ends the program on a refusal. */
    bool (*take)(struct connection *connection, bool *done);
};

static char value[VALUE_SIZE + 1], value_base64[4 * VALUE_SIZE / 3 + 8];
static uint32_t *times_us;
static size_t time_count;

static void die(const char *what, const char *text)
{
    fprintf(stderr, "load_others: %s: %s\n", what, text);
    exit(1);
}

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static unsigned any_key(void)
{
    static uint64_t state = 88172645463325252u; /* xorshift64 (Marsaglia 2003) */
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (unsigned)(state % KEYS);
}

/* ---- Redis ---- */

static int redis_ask(struct connection *connection, char *text, size_t size)
{
    char key[16];
    (void)connection;
    int key_size = snprintf(key, sizeof(key), "key-%u", any_key());
    return snprintf(text, size,
                    "*3\r\n$3\r\nSET\r\n$%d\r\n%s\r\n$%d\r\n%s\r\n"
                    "*3\r\n$4\r\nWAIT\r\n$1\r\n1\r\n$4\r\n5000\r\n",
                    key_size, key, VALUE_SIZE, value);
}

static bool redis_take(struct connection *connection, bool *done)
{
    static const char good[] = "+OK\r\n:1\r\n";
    if (connection->size < sizeof(good) - 1 && memcmp(connection->got, "-", 1) != 0) {
        return false;
    }
    if (strcmp(connection->got, good) != 0) {
        die("redis", connection->got);
    }
    return *done = true;
}

/* ---- etcd ---- */

static void base64(const char *text, size_t size, char *out)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < size; i += 3) {
        uint32_t bits = 0;
        for (size_t j = 0; j < 3; j++) {
            bits = bits << 8 | (i + j < size ? (uint8_t)text[i + j] : 0);
        }
        for (size_t j = 0; j < 4; j++) {
            *out++ = i + j > size ? '=' : digits[bits >> (18 - 6 * j) & 63];
        }
    }
    *out = '\0';
}

static int etcd_ask(struct connection *connection, char *text, size_t size)
{
    char key[16], key_base64[32], body[256];
    (void)connection;
    int key_size = snprintf(key, sizeof(key), "key-%u", any_key());
    base64(key, (size_t)key_size, key_base64);
    int body_size =
        snprintf(body, sizeof(body), "{\"key\":\"%s\",\"value\":\"%s\"}", key_base64, value_base64);
    return snprintf(text, size,
                    "POST /v3/kv/put HTTP/1.1\r\nHost: localhost\r\n"
                    "Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%s",
                    body_size, body);
}

static bool etcd_take(struct connection *connection, bool *done)
{
    const char *end = strstr(connection->got, "\r\n\r\n");
    const char *length = strstr(connection->got, "Content-Length: ");
    if (end == NULL) {
        return false;
    }
    if (strncmp(connection->got, "HTTP/1.1 200", 12) != 0 || length == NULL) {
        die("etcd", connection->got);
    }
    size_t whole = (size_t)(end + 4 - connection->got) + strtoul(length + 16, NULL, 10);
    return *done = connection->size >= whole;
}

/* ---- beanstalkd ---- */

static int beanstalkd_ask(struct connection *connection, char *text, size_t size)
{
    switch (connection->step) {
    case 0:
        return snprintf(text, size, "put 0 0 60 %d\r\n%s\r\n", VALUE_SIZE, value);
    case 1:
        return snprintf(text, size, "reserve\r\n");
    default:
        return snprintf(text, size, "delete %llu\r\n", connection->job);
    }
}

static bool beanstalkd_take(struct connection *connection, bool *done)
{
    static const char *const answers[] = {"INSERTED %llu\r\n", "RESERVED %llu %*d\r\n",
                                          "DELETED\r\n"};
    const char *end = strstr(connection->got, "\r\n");
    if (end == NULL) {
        return false;
    }
    size_t whole = (size_t)(end + 2 - connection->got);
    whole += connection->step == 1 ? VALUE_SIZE + 2 : 0;
    if (connection->size < whole) {
        return false;
    }
    if (connection->step < 2
            ? sscanf(connection->got, answers[connection->step], &connection->job) != 1
            : strcmp(connection->got, answers[2]) != 0) {
        die("beanstalkd", connection->got);
    }
    *done = connection->step == 2;
    connection->step = (connection->step + 1) % 3;
    return true;
}

/* ---- load ---- */

static const struct protocol protocols[] = {{"redis", redis_ask, redis_take},
                                            {"etcd", etcd_ask, etcd_take},
                                            {"beanstalkd", beanstalkd_ask, beanstalkd_take}};

static int connect_to(unsigned port)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int one = 1, made = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (made < 0 || connect(made, (struct sockaddr *)&address, sizeof(address)) != 0) {
        die("connecting", strerror(errno));
    }
    (void)setsockopt(made, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    return made;
}

static void ask(const struct protocol *protocol, struct connection *connection)
{
    char text[1024];
    int size = protocol->ask(connection, text, sizeof(text));
    if (write(connection->socket, text, (size_t)size) != size) {
        die("writing", strerror(errno));
    }
    connection->size = 0;
}

/* What has come; asks the next when it is an answer. */
static void take(const struct protocol *protocol, struct connection *connection)
{
    bool done = false;
    ssize_t got = read(connection->socket, connection->got + connection->size,
                       sizeof(connection->got) - 1 - connection->size);
    if (got <= 0) {
        die("reading", got < 0 ? strerror(errno) : "the connection was closed");
    }
    connection->size += (size_t)got;
    connection->got[connection->size] = '\0';
    if (!protocol->take(connection, &done)) {
        return;
    }
    if (done) {
        uint64_t now = now_ns();
        if (time_count < TIMES_MAX) {
            times_us[time_count++] = (uint32_t)((now - connection->began_ns) / 1000);
        }
        connection->began_ns = now;
    }
    ask(protocol, connection);
}

static int by_time(const void *a, const void *b)
{
    uint32_t first = *(const uint32_t *)a, second = *(const uint32_t *)b;
    return first < second ? -1 : first > second;
}

static double run(const struct protocol *protocol, struct connection *connections, unsigned count,
                  double seconds)
{
    struct pollfd polled[CONNECTIONS_MAX];
    uint64_t begin = now_ns(), end = begin + (uint64_t)(seconds * 1e9);
    for (unsigned i = 0; i < count; i++) {
        polled[i] = (struct pollfd){.fd = connections[i].socket, .events = POLLIN};
        connections[i].began_ns = now_ns();
        ask(protocol, &connections[i]);
    }
    while (now_ns() < end) {
        int ready = poll(polled, count, 10000);
        if (ready <= 0) {
            die("waiting", "no answer for ten seconds");
        }
        for (unsigned i = 0; i < count; i++) {
            if (polled[i].revents != 0) {
                take(protocol, &connections[i]);
            }
        }
    }
    return (double)(now_ns() - begin) / 1e9;
}

int main(int argc, char **argv)
{
    static struct connection connections[CONNECTIONS_MAX];
    const struct protocol *protocol = NULL;
    unsigned count = argc == 5 ? (unsigned)strtoul(argv[3], NULL, 10) : 0;

    for (size_t i = 0; argc == 5 && i < sizeof(protocols) / sizeof(protocols[0]); i++) {
        protocol = strcmp(argv[1], protocols[i].name) == 0 ? &protocols[i] : protocol;
    }
    if (protocol == NULL || count == 0 || count > CONNECTIONS_MAX) {
        fprintf(stderr, "usage: load_others redis|etcd|beanstalkd PORT CONNECTIONS SECONDS\n");
        return 2;
    }
    memset(value, 'v', VALUE_SIZE);
    base64(value, VALUE_SIZE, value_base64);
    times_us = malloc(TIMES_MAX * sizeof(*times_us));
    if (times_us == NULL) {
        die("starting", strerror(ENOMEM));
    }
    for (unsigned i = 0; i < count; i++) {
        connections[i].socket = connect_to((unsigned)strtoul(argv[2], NULL, 10));
    }
    double seconds = run(protocol, connections, count, strtod(argv[4], NULL));
    if (time_count == 0) {
        die("measuring", "nothing was done in that time");
    }
    qsort(times_us, time_count, sizeof(*times_us), by_time);
    printf("{\"system\":\"%s\",\"outstanding\":%u,\"operations\":%zu,\"ops_per_s\":%.0f,"
           "\"p50_us\":%u,\"p99_us\":%u,\"max_us\":%u}\n",
           protocol->name, count, time_count, (double)time_count / seconds,
           times_us[time_count / 2], times_us[time_count * 99 / 100], times_us[time_count - 1]);
    free(times_us);
    return 0;
}
