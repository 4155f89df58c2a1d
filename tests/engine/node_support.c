/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/engine/node_support.h"

#include "kvstore/base/clock.h"
#include "replication/net/net.h"
#include "replication/witness/witness.h"

#include <arpa/inet.h>
#include <errno.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* LevelDB is built without the sanitizer, which does not see the order that its atomics make. No
 * other part of the process is C++. */
const char *__tsan_default_suppressions(void);

const char *__tsan_default_suppressions(void)
{
    return "called_from_lib:libleveldb.so\n"
           "called_from_lib:libsnappy.so\n"
           "called_from_lib:libstdc++.so\n";
}

/* ---- places ---- */

static bool may_listen(unsigned port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_true(fd >= 0);
    bool free = bind(fd, (struct sockaddr *)&address, sizeof(address)) == 0;
    close(fd);
    return free;
}

/* Below the ports that the system gives to connections, which could take it before the node does:
 * a peer that dials it while nobody listens could even be connected to itself. */
unsigned free_port(void)
{
    static unsigned drawn;
    for (unsigned tries = 0; tries < 10000; tries++) {
        unsigned port = 12000 + ((unsigned)getpid() * 37 + drawn++) % 18000;
        if (may_listen(port)) {
            return port;
        }
    }
    fail_msg("no port is free");
    return 0;
}

void place_open(struct place *place)
{
    snprintf(place->path, sizeof(place->path), "/tmp/kvp-node-XXXXXX");
    assert_non_null(mkdtemp(place->path));
    for (unsigned id = 0; id < 3; id++) {
        snprintf(place->dirs[id], sizeof(place->dirs[id]), "%s/%u", place->path, id);
        snprintf(place->urls[id], sizeof(place->urls[id]), "tcp://127.0.0.1:%u", free_port());
    }
    snprintf(place->peers[1], sizeof(place->peers[1]), "2=%s", place->urls[2]);
    snprintf(place->peers[2], sizeof(place->peers[2]), "1=%s", place->urls[1]);
}

static int remove_one(const char *path, const struct stat *info, int type, struct FTW *where)
{
    (void)info;
    (void)type;
    (void)where;
    return remove(path);
}

void place_close(struct place *place)
{
    assert_int_equal(nftw(place->path, remove_one, 16, FTW_DEPTH | FTW_PHYS), 0);
}

/* ---- waiting ---- */

static void pause_shortly(void)
{
    struct timespec pause = {0, 5000000};
    nanosleep(&pause, NULL);
}

static uint64_t deadline(void)
{
    return kvp_clock_now_us() + WAIT_MS * 1000ull;
}

static void still(uint64_t deadline_us, const char *what)
{
    if (kvp_clock_now_us() > deadline_us) {
        fail_msg("waited too long for: %s", what);
    }
}

/* ---- what nodes say ---- */

void watch_open(struct watch *watch, const char *text)
{
    *watch = (struct watch){.text = text};
    pthread_mutex_init(&watch->lock, NULL);
    pthread_cond_init(&watch->changed, NULL);
}

void watch_wait(struct watch *watch, unsigned seen)
{
    struct timespec until;
    int error = 0;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += WAIT_MS / 1000;
    pthread_mutex_lock(&watch->lock);
    while (watch->seen < seen && error != ETIMEDOUT) {
        error = pthread_cond_timedwait(&watch->changed, &watch->lock, &until);
    }
    bool good = watch->seen >= seen;
    pthread_mutex_unlock(&watch->lock);
    if (!good) {
        fail_msg("no log line with: %s", watch->text);
    }
}

void watch_close(struct watch *watch)
{
    pthread_mutex_destroy(&watch->lock);
    pthread_cond_destroy(&watch->changed);
}

static void on_log(void *arg, int level, const char *line)
{
    struct watch *watch = arg;
    (void)level;
    if (watch != NULL) {
        pthread_mutex_lock(&watch->lock);
        watch->lines++;
        watch->seen += strstr(line, watch->text) != NULL;
        pthread_cond_broadcast(&watch->changed);
        pthread_mutex_unlock(&watch->lock);
    }
}

/* ---- a witness ---- */

struct watcher {
    struct kvp_env *env;
    struct kvp_witness *witness;
    struct kvp_net_server *server;
};

/* Its directory is in memory: it does not block. Calls are serialized by the transport. */
static void on_request(void *arg, struct kvp_net_request *request)
{
    struct watcher *watcher = arg;
    kvp_buf answer = {0};
    if (kvp_witness_handle(watcher->witness, kvp_net_request_body(request), &answer) == KVP_OK) {
        kvp_net_answer(request, kvp_buf_slice(&answer));
    } else {
        kvp_net_drop(request);
    }
    kvp_buf_free(&answer);
}

struct watcher *witness_open(char url[64])
{
    struct watcher *watcher = calloc(1, sizeof(*watcher));
    char message[256] = "";
    struct kvp_net_server_config config = {
        .url = "tcp://127.0.0.1:0", .on_request = on_request, .arg = watcher};
    assert_non_null(watcher);
    assert_int_equal(kvp_env_memory_open(&watcher->env), KVP_OK);
    assert_int_equal(kvp_witness_open(watcher->env, &watcher->witness, message, sizeof(message)),
                     KVP_OK);
    assert_int_equal(kvp_net_listen(&config, &watcher->server), KVP_OK);
    snprintf(url, 64, "%s", kvp_net_server_url(watcher->server));
    return watcher;
}

void witness_close(struct watcher *watcher)
{
    kvp_net_server_close(watcher->server);
    kvp_witness_close(watcher->witness);
    watcher->env->ops->close(watcher->env);
    free(watcher);
}

/* ---- nodes ---- */

kvp_node_options alone(const struct place *place)
{
    kvp_node_options options;
    kvp_node_options_init(&options);
    options.id = 1;
    options.data_dir = place->dirs[1];
    options.listen = "tcp://127.0.0.1:0";
    options.pair = "backup-wins";
    options.timeout_ms = WAIT_MS;
    options.log_level = KVP_LOG_DEBUG;
    options.on_log = on_log;
    return options;
}

kvp_node_options member(const struct place *place, unsigned id, const char *witness,
                        const char *pair)
{
    kvp_node_options options = alone(place);
    options.id = id;
    options.data_dir = place->dirs[id];
    options.listen = place->urls[id];
    options.peers = place->peers[id];
    options.witness = witness;
    options.pair = pair;
    return options;
}

kvp_node *node_open(const kvp_node_options *options)
{
    kvp_node *node = NULL;
    char message[512] = "";
    kvp_status status = kvp_node_open(options, &node, message, sizeof(message));
    if (status != KVP_OK) {
        fail_msg("%s: %s", kvp_strerror(status), message);
    }
    assert_string_equal(message, "");
    return node;
}

kvp_node *node_open_serving(const kvp_node_options *options)
{
    kvp_node *node = node_open(options);
    assert_int_equal(kvp_node_wait_serving(node, WAIT_MS), KVP_OK);
    return node;
}

kvp_node *wait_any_serving(kvp_node *a, kvp_node *b)
{
    uint64_t deadline_us = deadline();
    for (;; still(deadline_us, "a node that serves")) {
        if (a != NULL && kvp_node_wait_serving(a, 10) == KVP_OK) {
            return a;
        }
        if (b != NULL && kvp_node_wait_serving(b, 10) == KVP_OK) {
            return b;
        }
    }
}

void wait_in_sync(kvp_node *node, uint64_t set)
{
    uint64_t deadline_us = deadline();
    kvp_node_state state;
    for (kvp_node_get_state(node, &state); state.in_sync != set; kvp_node_get_state(node, &state)) {
        still(deadline_us, "the in-sync set");
        pause_shortly();
    }
}

void wait_not_serving(kvp_node *node)
{
    uint64_t deadline_us = deadline();
    kvp_node_state state;
    for (kvp_node_get_state(node, &state); state.serving; kvp_node_get_state(node, &state)) {
        still(deadline_us, "the end of serving");
        pause_shortly();
    }
}

void must_put(kvp_node *node, const char *key, const char *value, uint64_t *version)
{
    uint64_t deadline_us = deadline();
    kvp_slice k = kvp_slice_of(key, strlen(key)), v = kvp_slice_of(value, strlen(value));
    kvp_status status = kvp_node_put(node, k, v, version);
    while (status == KVP_UNAVAILABLE) {
        still(deadline_us, "a put");
        pause_shortly();
        status = kvp_node_put(node, k, v, version);
    }
    assert_int_equal(status, KVP_OK);
}

void check_value(kvp_node *node, const char *key, const char *value, uint64_t version)
{
    uint64_t deadline_us = deadline(), found_version = 0;
    kvp_buf found = {0};
    kvp_slice k = kvp_slice_of(key, strlen(key));
    kvp_status status = kvp_node_get(node, k, &found, &found_version);
    while (status == KVP_UNAVAILABLE) {
        still(deadline_us, "a get");
        pause_shortly();
        status = kvp_node_get(node, k, &found, &found_version);
    }
    assert_int_equal(status, value != NULL ? KVP_OK : KVP_NOT_FOUND);
    assert_int_equal(found_version, version);
    assert_int_equal(found.size, value != NULL ? strlen(value) : 0);
    assert_memory_equal(value != NULL ? (const char *)found.data : "", value != NULL ? value : "",
                        found.size);
    kvp_buf_free(&found);
}
