/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The HTTP server, by libmicrohttpd. It runs in a thread of ours, which also bounds what the
 * library does not: how long a connection lasts in all, and that a crowd of silent ones shuts
 * nobody out. (NNG's server bounds neither; tests/process/http_torture.py shows it.)
 */
#include "kvstore/base/clock.h"
#include "replication/http/http_server.h"
#include "replication/net/sp_listen.h"

#include <errno.h>
#include <microhttpd.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define HTTP_CONNECTIONS_MAX 64u /* for moments: those above half of it are being cut off */
#define HTTP_CONNECTIONS_MIN 4u
#define HTTP_DESCRIPTOR_PART 16u           /* of the process's, at most */
#define HTTP_MEMORY_MAX      (16u * 1024u) /* of one connection: its head, and that of the answer */
#define HTTP_TIME_US         5000000u
#define HTTP_LOOK_MS         250
#define HTTP_NICE            10 /* where a processor is short the data goes first */
#define HTTP_PAUSE_NS        20000000L

struct http_place {
    bool used, cut;
    int fd;
    uint64_t order, opened_us;
};

struct kvp_http_server {
    void (*answer)(void *arg, const char *path, bool verbose, struct kvp_http_answer *answer);
    void *arg;
    struct sp_listener listener;
    char url[KVP_URL_SIZE_MAX + 16];
    struct MHD_Daemon *daemon;
    int epoll_fd;
    int end_fd; /* readable: the thread is to end */
    bool running;
    pthread_t thread;
    /* Of the thread. */
    unsigned connections_max, count;
    uint64_t order; /* of the next connection */
    struct http_place places[HTTP_CONNECTIONS_MAX];
};

/* ---- connections ---- */

static void http_cut(struct http_place *place)
{
    (void)shutdown(place->fd, SHUT_RDWR); /* the library notices, and closes it */
    place->cut = true;
}

static void http_cut_oldest(struct kvp_http_server *server)
{
    struct http_place *oldest = NULL;
    unsigned kept = 0;
    for (unsigned i = 0; i < HTTP_CONNECTIONS_MAX; i++) {
        struct http_place *place = &server->places[i];
        if (place->used && !place->cut) {
            kept++;
            oldest = oldest == NULL || place->order < oldest->order ? place : oldest;
        }
    }
    if (oldest != NULL && kept > server->connections_max / 2) {
        http_cut(oldest);
    }
}

static void http_cut_overdue(struct kvp_http_server *server)
{
    uint64_t now_us = kvp_clock_now_us();
    for (unsigned i = 0; i < HTTP_CONNECTIONS_MAX; i++) {
        struct http_place *place = &server->places[i];
        if (place->used && !place->cut && now_us - place->opened_us >= HTTP_TIME_US) {
            http_cut(place);
        }
    }
}

static void http_connection_opened(struct kvp_http_server *server,
                                   struct MHD_Connection *connection, void **context)
{
    const union MHD_ConnectionInfo *about =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    for (unsigned i = 0; i < HTTP_CONNECTIONS_MAX && about != NULL; i++) {
        struct http_place *place = &server->places[i];
        if (!place->used) {
            *place = (struct http_place){.used = true,
                                         .fd = about->connect_fd,
                                         .order = ++server->order,
                                         .opened_us = kvp_clock_now_us()};
            *context = place;
            server->count++;
            break;
        }
    }
    http_cut_oldest(server);
}

static void http_on_connection(void *arg, struct MHD_Connection *connection, void **context,
                               enum MHD_ConnectionNotificationCode what)
{
    struct kvp_http_server *server = arg;
    struct http_place *place = *context;
    if (what == MHD_CONNECTION_NOTIFY_STARTED) {
        http_connection_opened(server, connection, context);
    } else if (place != NULL) {
        place->used = false;
        server->count--;
    }
}

/* ---- requests ---- */

/* A page of a browser must not read ours by a name of its own that it has led here. */
static bool http_is_own_name(const char *host)
{
    static const char *const names[] = {"localhost", "127.0.0.1", "[::1]"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        size_t size = strlen(names[i]);
        if (strncmp(host, names[i], size) == 0 && (host[size] == '\0' || host[size] == ':')) {
            return true;
        }
    }
    return strncmp(host, "127.", 4) == 0 && host[strspn(host, "0123456789.:")] == '\0';
}

static void http_say(struct kvp_http_answer *answer, unsigned code, const char *text)
{
    answer->code = code;
    (void)kvp_buf_append(&answer->body, text, strlen(text));
}

static void http_make(struct kvp_http_server *server, struct MHD_Connection *connection,
                      const char *path, const char *method, struct kvp_http_answer *answer)
{
    const char *host =
        MHD_lookup_connection_value(connection, MHD_HEADER_KIND, MHD_HTTP_HEADER_HOST);
    if (strcmp(method, MHD_HTTP_METHOD_GET) != 0 && strcmp(method, MHD_HTTP_METHOD_HEAD) != 0) {
        http_say(answer, MHD_HTTP_METHOD_NOT_ALLOWED, "only GET and HEAD\n");
    } else if (host != NULL && !http_is_own_name(host)) {
        http_say(answer, MHD_HTTP_FORBIDDEN, "ask for 127.0.0.1, [::1] or localhost\n");
    } else {
        static const char verbose[] = "verbose";
        bool found = MHD_lookup_connection_value_n(connection, MHD_GET_ARGUMENT_KIND, verbose,
                                                   sizeof(verbose) - 1, NULL, NULL) == MHD_YES;
        server->answer(server->arg, path, found, answer);
    }
}

/* A page of another node on this machine may read what this one says. */
static void http_allow_origin(struct MHD_Connection *connection, struct MHD_Response *response)
{
    static const char scheme[] = "http://";
    const char *origin =
        MHD_lookup_connection_value(connection, MHD_HEADER_KIND, MHD_HTTP_HEADER_ORIGIN);
    (void)MHD_add_response_header(response, MHD_HTTP_HEADER_VARY, "Origin");
    if (origin != NULL && strncmp(origin, scheme, sizeof(scheme) - 1) == 0 &&
        http_is_own_name(origin + sizeof(scheme) - 1)) {
        (void)MHD_add_response_header(response, MHD_HTTP_HEADER_ACCESS_CONTROL_ALLOW_ORIGIN,
                                      origin);
    }
}

static void http_add_headers(struct MHD_Connection *connection, struct MHD_Response *response,
                             const struct kvp_http_answer *answer)
{
    const char *policy =
        answer->policy != NULL ? answer->policy : "default-src 'none'; frame-ancestors 'none'";
    (void)MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, answer->type);
    (void)MHD_add_response_header(response, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
    (void)MHD_add_response_header(response, "X-Content-Type-Options", "nosniff");
    (void)MHD_add_response_header(response, "Content-Security-Policy", policy);
    (void)MHD_add_response_header(response, "Referrer-Policy", "no-referrer");
    (void)MHD_add_response_header(response, MHD_HTTP_HEADER_CONNECTION, "close");
    http_allow_origin(connection, response);
}

static enum MHD_Result http_on_request(void *arg, struct MHD_Connection *connection,
                                       const char *path, const char *method, const char *version,
                                       const char *body, size_t *body_size, void **context)
{
    struct kvp_http_answer answer = {.code = MHD_HTTP_OK, .type = "text/plain; charset=utf-8"};
    (void)version;
    (void)body;
    (void)body_size;
    (void)context;
    http_make(arg, connection, path, method, &answer);
    struct MHD_Response *response =
        MHD_create_response_from_buffer(answer.body.size, answer.body.data, MHD_RESPMEM_MUST_COPY);
    kvp_buf_free(&answer.body);
    if (response == NULL) {
        return MHD_NO;
    }
    http_add_headers(connection, response, &answer);
    enum MHD_Result result = MHD_queue_response(connection, answer.code, response);
    MHD_destroy_response(response);
    return result;
}

/* ---- the thread ---- */

static int http_wait_ms(const struct kvp_http_server *server)
{
    MHD_UNSIGNED_LONG_LONG wait_ms;
    int longest_ms = server->count > 0 ? HTTP_LOOK_MS : -1;
    bool limited = MHD_get_timeout(server->daemon, &wait_ms) == MHD_YES;
    return limited && wait_ms < HTTP_LOOK_MS ? (int)wait_ms : longest_ms;
}

static void *http_run(void *arg)
{
    struct kvp_http_server *server = arg;
    const struct timespec pause = {.tv_nsec = HTTP_PAUSE_NS};
    (void)setpriority(PRIO_PROCESS, (id_t)gettid(), HTTP_NICE); /* of this thread alone */
    struct pollfd fds[] = {{.fd = server->epoll_fd, .events = POLLIN},
                           {.fd = server->end_fd, .events = POLLIN}};
    while ((poll(fds, 2, http_wait_ms(server)) >= 0 || errno == EINTR) && fds[1].revents == 0) {
        uint64_t order = server->order;
        (void)MHD_run(server->daemon);
        http_cut_overdue(server);
        if (server->count == 0 && server->order == order) {
            (void)nanosleep(&pause, NULL); /* woken in vain: no descriptor is left to accept with */
        }
    }
    return NULL;
}

/* ---- opening and closing ---- */

static kvp_status http_refuse(const struct kvp_http_config *config, kvp_status status,
                              const char *reason)
{
    (void)snprintf(config->reason, config->reason_size, "%s", reason);
    return status;
}

static kvp_status http_parse(const struct kvp_http_config *config, struct sp_address *address)
{
    static const char scheme[] = "http://";
    char url[KVP_URL_SIZE_MAX + 1];
    size_t size = sizeof(scheme) - 1;
    int printed = strncmp(config->url, scheme, size) == 0
                      ? snprintf(url, sizeof(url), "tcp://%s", config->url + size)
                      : -1;
    if (printed < 0 || printed >= (int)sizeof(url) || sp_address_parse(url, address) != KVP_OK) {
        return http_refuse(config, KVP_BAD_ARGUMENT,
                           "not of the form http://127.0.0.1:PORT, with a PORT of 0 to 65535");
    }
    if (strcmp(address->name, "localhost") == 0) {
        (void)snprintf(address->name, sizeof(address->name), "127.0.0.1");
    }
    bool loopback = strcmp(address->name, "::1") == 0 ||
                    (strncmp(address->name, "127.", 4) == 0 &&
                     address->name[strspn(address->name, "0123456789.")] == '\0');
    if (!loopback) {
        return http_refuse(
            config, KVP_BAD_ARGUMENT,
            "HTTP has no TLS yet, so it is served on this machine's own addresses only: "
            "use http://127.0.0.1:PORT or http://[::1]:PORT, and reach it from "
            "elsewhere through a proxy or ssh -L");
    }
    return KVP_OK;
}

static unsigned http_connections_max(void)
{
    struct rlimit limit;
    rlim_t wanted = HTTP_CONNECTIONS_MAX;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur / HTTP_DESCRIPTOR_PART < wanted) {
        wanted = limit.rlim_cur / HTTP_DESCRIPTOR_PART;
    }
    return wanted > HTTP_CONNECTIONS_MIN ? (unsigned)wanted : HTTP_CONNECTIONS_MIN;
}

static bool http_start_daemon(struct kvp_http_server *server)
{
    server->connections_max = http_connections_max();
    server->daemon = MHD_start_daemon(
        MHD_USE_EPOLL, 0, NULL, NULL, http_on_request, server, MHD_OPTION_LISTEN_SOCKET,
        server->listener.fds[0], MHD_OPTION_CONNECTION_LIMIT, server->connections_max,
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)HTTP_MEMORY_MAX, MHD_OPTION_NOTIFY_CONNECTION,
        http_on_connection, server, MHD_OPTION_END);
    if (server->daemon == NULL) {
        return false;
    }
    server->listener.count = 0; /* the socket is the library's now */
    const union MHD_DaemonInfo *about =
        MHD_get_daemon_info(server->daemon, MHD_DAEMON_INFO_EPOLL_FD);
    server->epoll_fd = about != NULL ? about->epoll_fd : -1;
    return server->epoll_fd >= 0;
}

/* With all signals blocked: they are for others. */
static bool http_start_thread(struct kvp_http_server *server)
{
    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    if (pthread_sigmask(SIG_SETMASK, &all, &before) != 0) {
        return false;
    }
    server->running = pthread_create(&server->thread, NULL, http_run, server) == 0;
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    return server->running;
}

static const char *http_url(const struct kvp_http_server *server)
{
    return server != NULL ? server->url : "";
}

static void http_close(struct kvp_http_server *server)
{
    if (server == NULL) {
        return;
    }
    if (server->running) {
        const uint64_t one = 1;
        ssize_t written = write(server->end_fd, &one, sizeof(one));
        (void)written; /* fails only when the counter is full */
        pthread_join(server->thread, NULL);
    }
    if (server->daemon != NULL) {
        MHD_stop_daemon(server->daemon);
    }
    sp_listen_close(&server->listener);
    if (server->end_fd >= 0) {
        (void)close(server->end_fd);
    }
    free(server);
}

static kvp_status http_open(const struct kvp_http_config *config, struct kvp_http_server **server)
{
    struct sp_address address;
    kvp_status status = http_parse(config, &address);
    if (status != KVP_OK) {
        return status;
    }
    struct kvp_http_server *opened = calloc(1, sizeof(*opened));
    if (opened == NULL) {
        return http_refuse(config, KVP_NO_MEMORY, kvp_strerror(KVP_NO_MEMORY));
    }
    opened->answer = config->answer;
    opened->arg = config->arg;
    opened->end_fd = -1;
    status = sp_listen_open(&address, &opened->listener);
    if (status != KVP_OK) {
        (void)http_refuse(config, status, opened->listener.reason);
        free(opened);
        return status;
    }
    (void)snprintf(opened->url, sizeof(opened->url), "http://%s",
                   opened->listener.url + strlen("tcp://"));
    opened->end_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (opened->end_fd < 0 || !http_start_daemon(opened) || !http_start_thread(opened)) {
        http_close(opened);
        return http_refuse(config, KVP_NO_MEMORY, "no memory, thread or descriptor for it");
    }
    *server = opened;
    return KVP_OK;
}

const struct kvp_http_functions kvp_http = {http_open, http_url, http_close};
