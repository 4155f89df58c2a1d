/* SPDX-License-Identifier: Apache-2.0 */
#include "net_support.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define DEADLINE_S 10

struct kvp_tls *net_support_tls;

static struct timespec deadline(void)
{
    struct timespec at;
    clock_gettime(CLOCK_REALTIME, &at);
    at.tv_sec += DEADLINE_S;
    return at;
}

/* With the lock held; fails the test when the time is up. */
static void wait_changed(pthread_cond_t *changed, pthread_mutex_t *lock,
                         const struct timespec *until)
{
    if (pthread_cond_timedwait(changed, lock, until) != 0) {
        pthread_mutex_unlock(lock);
        fail_msg("the condition did not come true in %d s", DEADLINE_S);
    }
}

void wait_for(bool (*check)(void *arg), void *arg)
{
    const struct timespec pause = {.tv_nsec = 1000000};
    struct timespec until = deadline();
    struct timespec now;
    while (!check(arg)) {
        clock_gettime(CLOCK_REALTIME, &now);
        if (now.tv_sec > until.tv_sec) {
            fail_msg("the condition did not come true in %d s", DEADLINE_S);
        }
        nanosleep(&pause, NULL);
    }
}

/* ---- host ---- */

static void host_request(void *arg, struct kvp_net_request *request)
{
    struct host *host = arg;
    if (atomic_fetch_add(&host->inside, 1) != 0) {
        atomic_fetch_add(&host->overlap, 1);
    }
    if (host->echo) {
        kvp_net_answer(request, kvp_net_request_body(request));
    } else {
        pthread_mutex_lock(&host->lock);
        if (host->held_count < HELD_MAX) {
            host->held[host->held_count++] = request;
        } else {
            kvp_net_drop(request);
        }
        pthread_cond_broadcast(&host->changed);
        pthread_mutex_unlock(&host->lock);
    }
    atomic_fetch_sub(&host->inside, 1);
}

static void host_refused(void *arg, const char *address, const char *reason)
{
    struct host *host = arg;
    pthread_mutex_lock(&host->lock);
    (void)snprintf(host->refused, sizeof(host->refused), "%s: %s", address, reason);
    pthread_cond_broadcast(&host->changed);
    pthread_mutex_unlock(&host->lock);
}

void host_open(struct host *host, const struct kvp_net_server_config *config)
{
    struct kvp_net_server_config filled = *config;
    filled.tls = filled.tls != NULL ? filled.tls : net_support_tls;
    filled.on_refused = host_refused;
    filled.on_request = host_request;
    filled.arg = host;
    pthread_mutex_init(&host->lock, NULL);
    pthread_cond_init(&host->changed, NULL);
    host->held_count = 0;
    atomic_store(&host->inside, 0);
    atomic_store(&host->overlap, 0);
    assert_int_equal(kvp_net_listen(&filled, &host->server), KVP_OK);
}

void host_wait_held(struct host *host, size_t count)
{
    struct timespec until = deadline();
    pthread_mutex_lock(&host->lock);
    while (host->held_count < count) {
        wait_changed(&host->changed, &host->lock, &until);
    }
    pthread_mutex_unlock(&host->lock);
}

void host_wait_refused(struct host *host, const char *words)
{
    struct timespec until = deadline();
    pthread_mutex_lock(&host->lock);
    while (strstr(host->refused, words) == NULL) {
        if (pthread_cond_timedwait(&host->changed, &host->lock, &until) != 0) {
            pthread_mutex_unlock(&host->lock);
            fail_msg("nobody was refused because of \"%s\", but: %s", words, host->refused);
        }
    }
    host->refused[0] = '\0';
    pthread_mutex_unlock(&host->lock);
}

struct connections {
    struct host *host;
    unsigned count;
};

static bool has_connections(void *arg)
{
    struct connections *wanted = arg;
    return kvp_net_server_connections(wanted->host->server) == wanted->count;
}

void host_wait_connections(struct host *host, unsigned count)
{
    struct connections wanted = {host, count};
    wait_for(has_connections, &wanted);
}

void host_answer(struct host *host, size_t index)
{
    kvp_net_answer(host->held[index], kvp_net_request_body(host->held[index]));
    host->held[index] = NULL;
}

void host_close(struct host *host)
{
    kvp_net_server_close(host->server);
    for (size_t i = 0; i < host->held_count; i++) {
        if (host->held[i] != NULL) {
            kvp_net_drop(host->held[i]);
        }
    }
    assert_int_equal(atomic_load(&host->overlap), 0);
    pthread_mutex_destroy(&host->lock);
    pthread_cond_destroy(&host->changed);
}

/* ---- caller ---- */

static void caller_answer(void *arg, uint32_t id, kvp_slice body)
{
    struct caller *caller = arg;
    pthread_mutex_lock(&caller->lock);
    if (caller->answer_count < ANSWERS_MAX) {
        caller->ids[caller->answer_count++] = id;
    }
    caller->last.size = 0;
    (void)kvp_buf_append(&caller->last, body.data, body.size);
    pthread_cond_broadcast(&caller->changed);
    pthread_mutex_unlock(&caller->lock);
}

static void caller_state(void *arg, bool connected)
{
    struct caller *caller = arg;
    pthread_mutex_lock(&caller->lock);
    if (caller->state_count < STATES_MAX) {
        caller->states[caller->state_count++] = connected;
    }
    pthread_cond_broadcast(&caller->changed);
    pthread_mutex_unlock(&caller->lock);
}

static void caller_failed(void *arg, const char *reason)
{
    struct caller *caller = arg;
    pthread_mutex_lock(&caller->lock);
    caller->failure = reason;
    pthread_cond_broadcast(&caller->changed);
    pthread_mutex_unlock(&caller->lock);
}

void caller_open_with(struct caller *caller, const struct kvp_net_link_config *config)
{
    struct kvp_net_link_config filled = *config;
    filled.on_answer = caller_answer;
    filled.on_state = caller_state;
    filled.on_failure = caller_failed;
    filled.arg = caller;
    filled.tls = filled.tls != NULL ? filled.tls : net_support_tls;
    memset(caller, 0, sizeof(*caller));
    pthread_mutex_init(&caller->lock, NULL);
    pthread_cond_init(&caller->changed, NULL);
    assert_int_equal(kvp_net_link_open(&filled, &caller->link), KVP_OK);
}

void caller_open(struct caller *caller, const char *url)
{
    caller_open_with(caller, &(struct kvp_net_link_config){.url = url});
}

void caller_wait_failure(struct caller *caller, const char *words)
{
    struct timespec until = deadline();
    pthread_mutex_lock(&caller->lock);
    while (caller->failure == NULL || strstr(caller->failure, words) == NULL) {
        if (pthread_cond_timedwait(&caller->changed, &caller->lock, &until) != 0) {
            pthread_mutex_unlock(&caller->lock);
            fail_msg("it did not fail because of \"%s\", but: %s", words,
                     caller->failure != NULL ? caller->failure : "nothing");
        }
    }
    pthread_mutex_unlock(&caller->lock);
}

void caller_wait_states(struct caller *caller, size_t count)
{
    struct timespec until = deadline();
    pthread_mutex_lock(&caller->lock);
    while (caller->state_count < count) {
        wait_changed(&caller->changed, &caller->lock, &until);
    }
    pthread_mutex_unlock(&caller->lock);
}

/* With the lock held. Nothing told yet: down. */
static bool is_connected(const struct caller *caller)
{
    return caller->state_count > 0 && caller->states[caller->state_count - 1];
}

bool caller_is_connected(struct caller *caller)
{
    pthread_mutex_lock(&caller->lock);
    bool connected = is_connected(caller);
    pthread_mutex_unlock(&caller->lock);
    return connected;
}

void caller_wait_connected(struct caller *caller, bool connected)
{
    struct timespec until = deadline();
    pthread_mutex_lock(&caller->lock);
    while (is_connected(caller) != connected) {
        wait_changed(&caller->changed, &caller->lock, &until);
    }
    pthread_mutex_unlock(&caller->lock);
}

void caller_wait_answers(struct caller *caller, size_t count)
{
    struct timespec until = deadline();
    pthread_mutex_lock(&caller->lock);
    while (caller->answer_count < count) {
        wait_changed(&caller->changed, &caller->lock, &until);
    }
    pthread_mutex_unlock(&caller->lock);
}

void caller_send(struct caller *caller, uint32_t id, const char *body)
{
    assert_int_equal(kvp_net_link_send(caller->link, id, kvp_slice_of(body, strlen(body))), KVP_OK);
}

void caller_check_echo(struct caller *caller, const char *body)
{
    caller_wait_connected(caller, true);
    size_t before = caller->answer_count;
    caller_send(caller, 77, body);
    caller_wait_answers(caller, before + 1);
    assert_int_equal(caller->answer_count, before + 1);
    assert_int_equal(caller->ids[before], 77);
    assert_int_equal(caller->last.size, strlen(body));
    assert_memory_equal(caller->last.data, body, strlen(body));
}

/* The states that a link tells alternate, up first. */
void caller_close(struct caller *caller)
{
    kvp_net_link_close(caller->link);
    for (size_t i = 0; i < caller->state_count; i++) {
        assert_int_equal(caller->states[i], i % 2 == 0);
    }
    kvp_buf_free(&caller->last);
    pthread_mutex_destroy(&caller->lock);
    pthread_cond_destroy(&caller->changed);
}

/* ---- raw peers ---- */

unsigned url_port(const char *url)
{
    const char *colon = strrchr(url, ':');
    assert_non_null(colon);
    return (unsigned)strtoul(colon + 1, NULL, 10);
}

static void set_deadline(int fd)
{
    const struct timeval limit = {.tv_sec = DEADLINE_S};
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)), 0);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)), 0);
}

static struct sockaddr_in loopback(unsigned port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
}

int raw_socket(void)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    set_deadline(fd);
    return fd;
}

void raw_dial(int fd, unsigned port)
{
    struct sockaddr_in address = loopback(port);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
}

int raw_connect(unsigned port)
{
    int fd = raw_socket();
    raw_dial(fd, port);
    return fd;
}

int raw_listen(unsigned *port)
{
    struct sockaddr_in address = loopback(0);
    socklen_t size = sizeof(address);
    int fd = raw_socket();
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(listen(fd, 16), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &size), 0);
    *port = ntohs(address.sin_port);
    return fd;
}

int raw_accept(int listener)
{
    int fd = accept(listener, NULL, NULL);
    assert_true(fd >= 0);
    set_deadline(fd);
    return fd;
}

/* The other side may have closed already: that is for the test to find out, not for here. */
void raw_send(int fd, const void *data, size_t size)
{
    ssize_t sent = send(fd, data, size, MSG_NOSIGNAL);
    (void)sent;
}

bool raw_receive(int fd, void *data, size_t size)
{
    return recv(fd, data, size, MSG_WAITALL) == (ssize_t)size;
}

void raw_greet(int fd, unsigned protocol)
{
    const uint8_t greeting[8] = {0, 'S', 'P', 0, (uint8_t)(protocol >> 8), (uint8_t)protocol, 0, 0};
    raw_send(fd, greeting, sizeof(greeting));
}

void raw_take_greeting(int fd, unsigned protocol)
{
    const uint8_t expected[8] = {0, 'S', 'P', 0, (uint8_t)(protocol >> 8), (uint8_t)protocol, 0, 0};
    uint8_t greeting[8];
    assert_true(raw_receive(fd, greeting, sizeof(greeting)));
    assert_memory_equal(greeting, expected, sizeof(expected));
}

void raw_send_message(int fd, const uint32_t *words, size_t word_count, const char *body)
{
    uint8_t bytes[512];
    size_t body_size = strlen(body);
    size_t size = 4 * word_count + body_size;
    assert_true(8 + size <= sizeof(bytes));
    memset(bytes, 0, 8);
    bytes[6] = (uint8_t)(size >> 8);
    bytes[7] = (uint8_t)size;
    for (size_t i = 0; i < word_count; i++) {
        uint32_t word = htonl(words[i]);
        memcpy(bytes + 8 + 4 * i, &word, 4);
    }
    memcpy(bytes + 8 + 4 * word_count, body, body_size);
    raw_send(fd, bytes, 8 + size);
}

void raw_wait_closed(int fd)
{
    char sink[256];
    ssize_t got;
    do {
        got = recv(fd, sink, sizeof(sink), 0);
    } while (got > 0);
    assert_true(got == 0 || errno == ECONNRESET);
    close(fd);
}
