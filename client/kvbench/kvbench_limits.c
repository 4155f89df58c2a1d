/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the machine allows, measured with as little as possible in between: a byte stream over
 * loopback, NNG, a synced append, LevelDB. If there is a group, puts and gets in the same run, and
 * how they relate: on a machine that others use, too, only ratios within one run mean anything.
 */
#include "client/kvbench/kvbench.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <leveldb/c.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#define MESSAGE_SIZE 100u
#define BUFFER_SIZE  65536u
#define MANY         64u
#define SETTLED_SIZE (4u * 1024 * 1024) /* of the file that is written before it is measured */
#define SECONDS_EACH 1.0

struct limits {
    const struct bench *bench;
    const char *dir;
    cJSON *line;
    double seconds;
    struct bench_result result; /* of the part measured last */
};

static bool limits_fail(const char *what)
{
    (void)bench_complain("%s: %s", what, strerror(errno));
    return false;
}

static void add(struct limits *limits, const char *name)
{
    bench_add_result(cJSON_AddObjectToObject(limits->line, name), &limits->result, false);
}

static uint64_t limits_begin(struct limits *limits)
{
    memset(&limits->result, 0, sizeof(limits->result));
    return bench_now_ns();
}

static void end(struct limits *limits, uint64_t begin_ns)
{
    limits->result.seconds = (double)(bench_now_ns() - begin_ns) / 1e9;
}

static bool goes_on(const struct limits *limits, uint64_t begin_ns, uint64_t now_ns)
{
    return bench_signal == 0 && (double)(now_ns - begin_ns) < limits->seconds * 1e9;
}

/* ---- TCP ---- */

static bool send_all(int fd, const char *data, size_t size)
{
    while (size > 0) {
        ssize_t sent = send(fd, data, size, MSG_NOSIGNAL);
        if (sent <= 0) {
            return false;
        }
        data += sent;
        size -= (size_t)sent;
    }
    return true;
}

static void *echo(void *arg)
{
    static char buffer[BUFFER_SIZE]; /* one of these runs at a time */
    int fd = *(int *)arg;
    ssize_t size;

    while ((size = recv(fd, buffer, sizeof(buffer), 0)) > 0 && send_all(fd, buffer, (size_t)size)) {
    }
    return NULL;
}

/* A connection with itself: fds[0] and fds[1] are its ends. */
static bool limits_connect(int fds[2])
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    struct timeval patience = {.tv_sec = 5};
    socklen_t size = sizeof(address);
    int one = 1;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    fds[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    fds[1] = -1;
    if (listener >= 0 && fds[0] >= 0 && bind(listener, (struct sockaddr *)&address, size) == 0 &&
        listen(listener, 1) == 0 &&
        getsockname(listener, (struct sockaddr *)&address, &size) == 0 &&
        connect(fds[0], (struct sockaddr *)&address, size) == 0) {
        fds[1] = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    }
    (void)close(listener);
    for (int i = 0; i < 2 && fds[1] >= 0; i++) {
        (void)setsockopt(fds[i], IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
        (void)setsockopt(fds[i], SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
        (void)setsockopt(fds[i], SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
    }
    return fds[1] >= 0;
}

/* Each message carries the time it was sent at; what has come back goes out again. */
static bool ping(struct limits *limits, int fd, unsigned outstanding)
{
    static char buffer[BUFFER_SIZE];
    uint64_t begin_ns = limits_begin(limits), now_ns = begin_ns;
    size_t held = 0, under_way = outstanding;
    for (unsigned i = 0; i < outstanding; i++) {
        memcpy(buffer + (size_t)i * MESSAGE_SIZE, &begin_ns, sizeof(begin_ns));
    }
    if (!send_all(fd, buffer, (size_t)outstanding * MESSAGE_SIZE)) {
        return false;
    }
    while (under_way > 0) {
        ssize_t size = recv(fd, buffer + held, sizeof(buffer) - held, 0);
        if (size <= 0) {
            return false;
        }
        held += (size_t)size;
        size_t whole = held / MESSAGE_SIZE;
        now_ns = bench_now_ns();
        for (size_t i = 0; i < whole; i++) {
            uint64_t sent_ns;
            memcpy(&sent_ns, buffer + i * MESSAGE_SIZE, sizeof(sent_ns));
            hist_add(&limits->result.hist, now_ns - sent_ns);
            memcpy(buffer + i * MESSAGE_SIZE, &now_ns, sizeof(now_ns));
        }
        if (!goes_on(limits, begin_ns, now_ns)) {
            under_way -= whole;
        } else if (!send_all(fd, buffer, whole * MESSAGE_SIZE)) {
            return false;
        }
        held -= whole * MESSAGE_SIZE;
        memmove(buffer, buffer + whole * MESSAGE_SIZE, held);
    }
    end(limits, begin_ns);
    return true;
}

static bool measure_tcp(struct limits *limits, const char *name, unsigned outstanding)
{
    int fds[2];
    pthread_t thread;
    bool ok = limits_connect(fds);
    if (ok && pthread_create(&thread, NULL, echo, &fds[1]) == 0) {
        ok = ping(limits, fds[0], outstanding);
        (void)shutdown(fds[0], SHUT_RDWR);
        pthread_join(thread, NULL);
    } else {
        ok = false;
    }
    for (int i = 0; i < 2; i++) {
        if (fds[i] >= 0) {
            (void)close(fds[i]);
        }
    }
    if (!ok) {
        return limits_fail("TCP");
    }
    add(limits, name);
    return true;
}

/* ---- disk ---- */

static bool limits_settle(int fd)
{
    static const char zeroes[BUFFER_SIZE];
    for (size_t at = 0; at < SETTLED_SIZE; at += sizeof(zeroes)) {
        if (pwrite(fd, zeroes, sizeof(zeroes), (off_t)at) != (ssize_t)sizeof(zeroes)) {
            return false;
        }
    }
    return fsync(fd) == 0;
}

/* Appends to the file, or, settled, goes over blocks that it has already. */
static bool measure_fdatasync(struct limits *limits, const char *name, bool settled)
{
    static const char message[MESSAGE_SIZE];
    char path[PATH_MAX + 32];
    size_t at = 0;
    (void)snprintf(path, sizeof(path), "%s/limits.append", limits->dir);
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    bool ok = fd >= 0 && (!settled || limits_settle(fd));
    uint64_t begin_ns = limits_begin(limits), now_ns = begin_ns;
    while (ok && goes_on(limits, begin_ns, now_ns)) {
        uint64_t begun_ns = now_ns;
        ok = pwrite(fd, message, sizeof(message), (off_t)at) == (ssize_t)sizeof(message) &&
             fdatasync(fd) == 0;
        at += sizeof(message);
        at = settled && at + sizeof(message) > SETTLED_SIZE ? 0 : at;
        now_ns = bench_now_ns();
        hist_add(&limits->result.hist, now_ns - begun_ns);
    }
    end(limits, begin_ns);
    if (!ok) {
        (void)limits_fail(path);
    } else {
        add(limits, name);
    }
    if (fd >= 0) {
        (void)close(fd);
        (void)unlink(path);
    }
    return ok;
}

static bool write_batches(struct limits *limits, leveldb_t *db, char **error)
{
    static const char value[MESSAGE_SIZE];
    leveldb_writeoptions_t *options = leveldb_writeoptions_create();
    leveldb_writebatch_t *batch = leveldb_writebatch_create();
    uint64_t begin_ns = limits_begin(limits), now_ns = begin_ns;
    leveldb_writeoptions_set_sync(options, 1);
    for (unsigned long i = 0; *error == NULL && goes_on(limits, begin_ns, now_ns); i++) {
        char key[24];
        uint64_t begun_ns = now_ns;
        int size = snprintf(key, sizeof(key), "kvbench/%012lu", i);
        leveldb_writebatch_clear(batch);
        leveldb_writebatch_put(batch, key, (size_t)size, value, sizeof(value));
        leveldb_write(db, options, batch, error);
        now_ns = bench_now_ns();
        hist_add(&limits->result.hist, now_ns - begun_ns);
    }
    end(limits, begin_ns);
    leveldb_writebatch_destroy(batch);
    leveldb_writeoptions_destroy(options);
    return *error == NULL;
}

static bool measure_leveldb(struct limits *limits)
{
    char path[PATH_MAX + 32];
    char *error = NULL, *unwanted = NULL;
    leveldb_options_t *options = leveldb_options_create();
    (void)snprintf(path, sizeof(path), "%s/limits.leveldb", limits->dir);
    leveldb_options_set_create_if_missing(options, 1);
    leveldb_t *db = leveldb_open(options, path, &error);
    if (db != NULL) {
        (void)write_batches(limits, db, &error);
        leveldb_close(db);
        leveldb_destroy_db(options, path, &unwanted);
    }
    leveldb_options_destroy(options);
    bool ok = error == NULL;
    if (ok) {
        add(limits, "leveldb_synced");
    } else {
        (void)bench_complain("LevelDB: %s", error);
    }
    leveldb_free(error);
    leveldb_free(unwanted);
    return ok;
}

/* ---- NNG ---- */

static bool measure_nng(struct limits *limits, const char *name, unsigned outstanding)
{
#ifdef KVBENCH_NNG
    if (!bench_nng(outstanding, limits->seconds, &limits->result)) {
        return false;
    }
    add(limits, name);
#else
    (void)limits, (void)name, (void)outstanding;
#endif
    return true;
}

/* ---- ours ---- */

static bool measure_group(struct limits *limits, const char *name, enum bench_op op,
                          unsigned outstanding, int *code)
{
    struct bench bench = *limits->bench;
    bench.clients = 1;
    bench.outstanding = outstanding;
    bench.seconds = limits->seconds;
    bench.count = 0;
    *code = bench_measure(&bench, op, &limits->result);
    if (*code == EXIT_DONE) {
        add(limits, name);
    }
    return *code == EXIT_DONE;
}

static double limits_number(const cJSON *line, const char *part, const char *name)
{
    const cJSON *object = cJSON_GetObjectItemCaseSensitive(line, part);
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, name);

    return item == NULL ? 0 : strtod(item->valuestring, NULL); /* bench_add_number() adds text */
}

static void add_ratio(cJSON *ratios, const char *name, double above, double below)
{
    if (above > 0 && below > 0) {
        bench_add_number(ratios, name, above / below, 3);
    }
}

static void add_ratios(cJSON *line)
{
    cJSON *ratios = cJSON_AddObjectToObject(line, "ratios");
    double append = limits_number(line, "fdatasync_append", "p50_us");
    double nng = limits_number(line, "nng_1", "p50_us"),
           tcp = limits_number(line, "tcp_1", "p50_us");
    double put = limits_number(line, "put_1", "p50_us"),
           get = limits_number(line, "get_1", "p50_us");

    add_ratio(ratios, "put_1_to_2_nng_and_fdatasync", put, nng > 0 ? 2 * nng + append : 0);
    add_ratio(ratios, "put_1_to_2_tcp_and_fdatasync", put, 2 * tcp + append);
    add_ratio(ratios, "put_64_to_put_1_rate", limits_number(line, "put_64", "ops_per_s"),
              limits_number(line, "put_1", "ops_per_s"));
    add_ratio(ratios, "get_1_to_nng", get, nng);
    add_ratio(ratios, "get_1_to_tcp", get, tcp);
    add_ratio(ratios, "get_64_to_nng_rate", limits_number(line, "get_64", "ops_per_s"),
              limits_number(line, "nng_64", "ops_per_s"));
}

static int measure_all(struct limits *limits)
{
    int code = EXIT_DONE;
    if (!measure_tcp(limits, "tcp_1", 1) || !measure_tcp(limits, "tcp_64", MANY) ||
        !measure_nng(limits, "nng_1", 1) || !measure_nng(limits, "nng_64", MANY) ||
        !measure_fdatasync(limits, "fdatasync_append", false) ||
        !measure_fdatasync(limits, "fdatasync_settled", true) || !measure_leveldb(limits)) {
        return EXIT_NOTHING;
    }
    if (limits->bench->nodes == NULL) {
        return code;
    }
    code = bench_load(limits->bench);
    if (code == EXIT_DONE && measure_group(limits, "put_1", BENCH_PUT, 1, &code) &&
        measure_group(limits, "put_64", BENCH_PUT, MANY, &code) &&
        measure_group(limits, "get_1", BENCH_GET, 1, &code) &&
        measure_group(limits, "get_64", BENCH_GET, MANY, &code)) {
        add_ratios(limits->line);
    }
    return code;
}

int bench_limits(const struct bench *bench, const char *dir, cJSON *line)
{
    struct limits *limits = calloc(1, sizeof(*limits));
    if (limits == NULL) {
        (void)bench_complain("%s", kvp_strerror(KVP_NO_MEMORY));
        return EXIT_NOTHING;
    }
    limits->bench = bench;
    limits->dir = dir;
    limits->line = line;
    limits->seconds = bench->seconds > 0 ? bench->seconds : SECONDS_EACH;
    int code = measure_all(limits);
    free(limits);
    return code;
}
