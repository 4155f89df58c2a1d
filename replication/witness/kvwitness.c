/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kvwitness: the arbiter process. Requests arrive on the transport's threads and go into a bounded
 * queue; the main thread alone handles them, one after the other, and takes the signals. Another
 * one watches it: a disk that hangs holds the main thread, and then what waits is answered and a
 * signal obeyed all the same. Nothing here decides anything: that is witness.c.
 */
#include "kvstore/base/notify.h"
#include "kvstore/base/clock.h"
#include "replication/net/await_address.h"
#include "replication/net/plain_address.h"
#include "kvstore/base/logger.h"
#include "replication/net/net.h"
#include "replication/net/tls.h"
#include "replication/net/tls_expiry.h"
#include "kvstore/base/process.h"
#include "replication/witness/witness.h"
#include "replication/http/http_server.h"
#include "replication/witness/witness_access.h"
#include "replication/witness/witness_http.h"
#include "replication/witness/witness_sources.h"

#include <assert.h>
#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#define QUEUE_MAX          1024u
#define MESSAGE_SIZE_MAX   4096u /* the largest request has under 200 bytes */
#define EXIT_USAGE         2
#define SILENT_US          2000000u /* so long the disk may take */
#define WATCH_MS           500
#define STOP_MS            2000 /* after a signal, until the disk is waited for no more */
#define SOURCE_GROUPS_MAX  (KVP_WITNESS_GROUPS_MAX / 4) /* that may come from one address */
#define LOOK_EVERY_MS      3600000                      /* when its certificate ends */
#define STRANGERS_EVERY_US 10000000u                    /* the log tells of those who are refused */

struct options {
    const char *data;
    const char *listen;
    bool insecure;    /* other machines may reach it without TLS */
    const char *http; /* NULL: no pages */
    struct kvp_tls_files tls;
    enum kvp_log_level log_level;
    struct witness_access access; /* handed on to the app */
};

struct refusals {
    uint64_t count;   /* since the log last told of them */
    uint64_t told_us; /* when it did */
};

struct app {
    struct kvp_logger logger;
    struct kvp_env *env;
    struct kvp_witness *witness;
    struct witness_access access;
    struct witness_sources sources;
    struct kvp_tls *tls; /* NULL: no certificate */
    struct kvp_tls_expiry expiry;
    struct refusals strangers, unproven;
    struct kvp_net_server *server;
    struct witness_http http;
    sigset_t signals;
    int signal_fd; /* readable: a signal to stop */
    int hangup_fd; /* readable: the files of the certificate are to be read again */
    int wake_fd;   /* a semaphore: counts the requests in the queue */
    int end_fd;    /* readable: the watch may end */
    bool watched;
    pthread_t watch;
    atomic_uint_fast64_t
        disk_us; /* since when the main thread may be waiting for the disk; 0: not */
    kvp_buf busy, crowd, silent; /* encoded answers */
    pthread_mutex_t lock;
    struct kvp_net_request *queue[QUEUE_MAX]; /* a ring */
    size_t queue_first, queue_count;
};

/* ---- queue ---- */

static void kvwitness_on_request(void *arg, struct kvp_net_request *request)
{
    struct app *app = arg;
    pthread_mutex_lock(&app->lock);
    bool full = app->queue_count == QUEUE_MAX;
    if (!full) {
        app->queue[(app->queue_first + app->queue_count) % QUEUE_MAX] = request;
        app->queue_count++;
    }
    pthread_mutex_unlock(&app->lock);
    if (full) {
        kvp_net_answer(request, kvp_buf_slice(&app->busy));
        return;
    }
    const uint64_t one = 1;
    ssize_t written = write(app->wake_fd, &one, sizeof(one));
    assert(written == (ssize_t)sizeof(one)); /* the counter holds far more than the queue */
    (void)written;
}

static struct kvp_net_request *next_request(struct app *app)
{
    struct kvp_net_request *request = NULL;
    pthread_mutex_lock(&app->lock);
    if (app->queue_count > 0) {
        request = app->queue[app->queue_first];
        app->queue_first = (app->queue_first + 1) % QUEUE_MAX;
        app->queue_count--;
    }
    pthread_mutex_unlock(&app->lock);
    return request;
}

/* ---- log ---- */

#define QUOTED_GROUP_SIZE (4 * KVP_GROUP_NAME_MAX + 3) /* every byte may take four */

static const char *quote_group(char out[QUOTED_GROUP_SIZE], kvp_slice group)
{
    char name[KVP_GROUP_NAME_MAX + 1];
    memcpy(name, group.data, group.size);
    name[group.size] = '\0';
    return kvp_log_quote(out, QUOTED_GROUP_SIZE, name);
}

static const char *change_event(const struct kvp_witness_request *request)
{
    if (request->op == KVP_OP_REGISTER_SEED) {
        return request->force ? "group_seeded_by_force" : "group_seeded";
    }
    if (request->op == KVP_OP_REGISTER_CLAIM) {
        return "store_known";
    }
    return request->expected == 0 ? "group_created" : "view_changed";
}

static void log_change(const struct app *app, const struct kvp_witness_request *request,
                       const struct kvp_answer *answer)
{
    char group[QUOTED_GROUP_SIZE];
    char in_sync[KVP_SET_TEXT_SIZE];
    uint64_t group_id, known;
    struct kvp_view view;
    if (kvp_wire_read_register(answer->result, &group_id, &view, &known) != KVP_OK) {
        return;
    }
    kvp_log(&app->logger, KVP_LOG_INFO, change_event(request),
            "group=%s version=%llu epoch=%llu primary=%u in_sync=%s from=%u",
            quote_group(group, request->group), (unsigned long long)view.version,
            (unsigned long long)view.epoch, view.primary, kvp_set_print(in_sync, view.in_sync),
            request->from);
}

static void log_outcome(const struct app *app, kvp_slice message, kvp_slice encoded, bool changed)
{
    struct kvp_witness_request request;
    struct kvp_answer answer;
    const char *reason;
    char text[QUOTED_GROUP_SIZE];
    kvp_status status = kvp_wire_witness_decode(message, &request, &reason);
    if (status != KVP_OK) {
        kvp_log(&app->logger, KVP_LOG_DEBUG, "bad_request", "reason=%s",
                kvp_log_quote(text, sizeof(text), reason));
        return;
    }
    if (kvp_wire_answer_decode(encoded, &answer) != KVP_OK) {
        return;
    }
    if (changed) {
        log_change(app, &request, &answer);
    } else if (answer.status == KVP_REFUSED || answer.status == KVP_WRONG_GROUP) {
        kvp_log(&app->logger, KVP_LOG_WARN, "refused",
                "group=%s from=%u op=%u expected=%llu epoch=%llu primary=%u why=%s",
                quote_group(text, request.group), request.from, request.op,
                (unsigned long long)request.expected, (unsigned long long)request.view.epoch,
                request.view.primary,
                answer.status == KVP_REFUSED ? "not_allowed" : "other_group_id");
    }
}

/* ---- serving ---- */

static kvp_status encode_refusal(kvp_status code, const char *reason, kvp_buf *out)
{
    kvp_buf result = {0};
    kvp_status status = kvp_wire_result_string(&result, reason);
    if (status == KVP_OK) {
        struct kvp_answer answer = {.status = code, .result = kvp_buf_slice(&result)};
        status = kvp_wire_answer_encode(&answer, out);
    }
    kvp_buf_free(&result);
    return status;
}

/* Each kind is refused by one thread. */
static void tell_refused(const struct app *app, struct refusals *refusals, const char *event,
                         const char *address, const char *hint)
{
    uint64_t now_us = kvp_clock_now_us();
    refusals->count++;
    if (refusals->told_us == 0 || now_us - refusals->told_us >= STRANGERS_EVERY_US) {
        kvp_log(&app->logger, KVP_LOG_WARN, event, "address=%s count=%llu hint=\"%s\"", address,
                (unsigned long long)refusals->count, hint);
        refusals->count = 0;
        refusals->told_us = now_us;
    }
}

static void refuse_stranger(struct app *app, struct kvp_net_request *request, const char *reason)
{
    char address[KVP_NET_ADDRESS_SIZE];
    kvp_buf answer = {0};
    tell_refused(app, &app->strangers, "stranger_refused",
                 kvp_net_request_address(request, address), reason);
    if (encode_refusal(KVP_REFUSED, reason, &answer) == KVP_OK) {
        kvp_net_answer(request, kvp_buf_slice(&answer));
    } else {
        kvp_net_drop(request);
    }
    kvp_buf_free(&answer);
}

static void kvwitness_on_refused(void *arg, const char *address, const char *reason)
{
    struct app *app = arg;
    tell_refused(app, &app->unproven, "connection_refused", address, reason);
}

static void witness_count(atomic_uint_fast64_t *number)
{
    (void)atomic_fetch_add_explicit(number, 1, memory_order_relaxed);
}

/* For the pages. */
static void show_registers(struct app *app)
{
    atomic_store(&app->http.groups, kvp_witness_groups(app->witness));
    atomic_store(&app->http.changes, kvp_witness_changes(app->witness));
}

/* False: it would bring one more group from an address that has brought its share. */
static bool has_place(struct app *app, struct kvp_net_request *request, const char *address)
{
    return !kvp_witness_is_new(app->witness, kvp_net_request_body(request)) ||
           witness_sources_permit(&app->sources, address, SOURCE_GROUPS_MAX);
}

/* False when the witness can go on no more. */
static bool handle(struct app *app, struct kvp_net_request *request)
{
    witness_count(&app->http.handled);
    const char *refused = witness_access_refuses(&app->access, request);
    if (refused != NULL) {
        witness_count(&app->http.strangers);
        refuse_stranger(app, request, refused);
        return true;
    }
    char address[KVP_NET_ADDRESS_SIZE];
    size_t names = kvp_witness_names(app->witness);
    if (!has_place(app, request, kvp_net_request_address(request, address))) {
        witness_count(&app->http.refused);
        kvp_net_answer(request, kvp_buf_slice(&app->crowd));
        return true;
    }
    kvp_buf answer = {0};
    uint64_t changes = kvp_witness_changes(app->witness);
    kvp_slice message = kvp_net_request_body(request);
    atomic_store(&app->disk_us, kvp_clock_now_us());
    kvp_status status = kvp_witness_handle(app->witness, message, &answer);
    atomic_store(&app->disk_us, 0);
    if (status == KVP_OK) {
        log_outcome(app, message, kvp_buf_slice(&answer),
                    kvp_witness_changes(app->witness) != changes);
        kvp_net_answer(request, kvp_buf_slice(&answer));
    } else {
        kvp_net_drop(request);
    }
    kvp_buf_free(&answer);
    show_registers(app);
    if (kvp_witness_names(app->witness) > names) {
        witness_sources_note(&app->sources, address, 1);
    }
    if (status == KVP_FAILED) {
        char reason[256];
        kvp_log(&app->logger, KVP_LOG_ERROR, "disk_failed", "reason=%s",
                kvp_log_quote(reason, sizeof(reason), kvp_witness_error(app->witness)));
    } else if (status != KVP_OK) {
        kvp_log(&app->logger, KVP_LOG_ERROR, "request_dropped", "status=%d", (int)status);
    }
    return status != KVP_FAILED;
}

/* Feeds the supervisor's watchdog when that is due; returns for how long the loop may sleep. */
static int tell_supervisor(const struct app *app, uint64_t feed_us, uint64_t *due_us)
{
    uint64_t now_us = kvp_clock_now_us();
    if (feed_us == 0) {
        return -1;
    }
    if (now_us >= *due_us) {
        kvp_notify("WATCHDOG=1\nSTATUS=serving, %zu groups", kvp_witness_groups(app->witness));
        *due_us = now_us + feed_us;
    }
    return (int)((*due_us - now_us) / 1000 + 1);
}

/* ---- its certificate ---- */

/* Says, again and again, how long it still has, as it comes to its end. */
static void watch_certificate(struct app *app)
{
    if (app->tls != NULL) {
        kvp_tls_expiry_watch(&app->expiry, &app->logger, kvp_tls.not_after(app->tls));
    }
}

/* A terminal that closes sends SIGHUP, too, and has no certificates in mind. */
static void take_hangup(struct app *app)
{
    struct signalfd_siginfo about;
    char reason[2 * KVP_URL_SIZE_MAX] = "", quoted[4 * KVP_URL_SIZE_MAX];
    ssize_t got = read(app->hangup_fd, &about, sizeof(about));
    (void)got;
    if (app->tls == NULL) {
        return;
    }
    if (kvp_tls.reload(app->tls, reason, sizeof(reason)) == KVP_OK) {
        kvp_log(&app->logger, KVP_LOG_INFO, "certificate_loaded", "ends=%lld",
                (long long)kvp_tls.not_after(app->tls));
    } else {
        kvp_log(&app->logger, KVP_LOG_ERROR, "certificate_kept", "reason=%s",
                kvp_log_quote(quoted, sizeof(quoted), reason));
    }
}

static int serve(struct app *app)
{
    struct pollfd fds[] = {{.fd = app->signal_fd, .events = POLLIN},
                           {.fd = app->wake_fd, .events = POLLIN},
                           {.fd = app->hangup_fd, .events = POLLIN}};
    uint64_t feed_us = kvp_notify_feed_us(), due_us = 0;
    kvp_notify("READY=1\nSTATUS=serving, %zu groups", kvp_witness_groups(app->witness));
    for (;;) {
        watch_certificate(app);
        int wait_ms = tell_supervisor(app, feed_us, &due_us);
        wait_ms = wait_ms < 0 && app->tls != NULL ? LOOK_EVERY_MS : wait_ms;
        if (poll(fds, sizeof(fds) / sizeof(fds[0]), wait_ms) < 0 && errno != EINTR) {
            kvp_log(&app->logger, KVP_LOG_ERROR, "poll_failed", "errno=%d", errno);
            return EXIT_FAILURE;
        }
        if ((fds[0].revents & POLLIN) != 0) {
            kvp_notify("STOPPING=1\nSTATUS=stopping");
            return EXIT_SUCCESS;
        }
        if ((fds[2].revents & POLLIN) != 0) {
            take_hangup(app);
        }
        uint64_t one;
        if ((fds[1].revents & POLLIN) == 0 || read(app->wake_fd, &one, sizeof(one)) < 0) {
            continue;
        }
        struct kvp_net_request *request = next_request(app);
        if (request != NULL && !handle(app, request)) {
            return EXIT_FAILURE;
        }
    }
}

/* ---- a disk that neither answers nor fails ---- */

/* They would wait for ever; who asked asks again. */
static void answer_waiting(struct app *app)
{
    struct kvp_net_request *request;
    while ((request = next_request(app)) != NULL) {
        kvp_net_answer(request, kvp_buf_slice(&app->silent));
    }
}

/* Says how long the disk has been silent, each time that it has been for twice as long. */
static void watch_disk(struct app *app, uint64_t *said_us)
{
    uint64_t since_us = atomic_load(&app->disk_us), now_us = kvp_clock_now_us();
    uint64_t silent_us = since_us != 0 && now_us > since_us ? now_us - since_us : 0;
    if (silent_us < SILENT_US) {
        *said_us = 0;
        return;
    }
    if (*said_us == 0 || silent_us >= 2 * *said_us) {
        *said_us = silent_us;
        kvp_log(&app->logger, KVP_LOG_ERROR, "disk_silent",
                "for_ms=%llu reason=\"the disk of the registers has not answered\"",
                (unsigned long long)silent_us / 1000);
    }
    answer_waiting(app);
}

static void *kvwitness_watch(void *arg)
{
    struct app *app = arg;
    struct pollfd fds[] = {{.fd = app->end_fd, .events = POLLIN},
                           {.fd = app->signal_fd, .events = POLLIN}};
    uint64_t said_us = 0;
    while (poll(fds, 2, WATCH_MS) >= 0 && fds[0].revents == 0) {
        if ((fds[1].revents & POLLIN) != 0 && poll(fds, 1, STOP_MS) == 0) {
            kvp_log(&app->logger, KVP_LOG_ERROR, "stopped",
                    "exit=1 reason=\"the disk of the registers does not answer\"");
            _exit(EXIT_FAILURE);
        }
        watch_disk(app, &said_us);
    }
    return NULL;
}

static bool open_watch(struct app *app)
{
    app->end_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    atomic_store(&app->disk_us, kvp_clock_now_us());
    app->watched = app->end_fd >= 0 && pthread_create(&app->watch, NULL, kvwitness_watch, app) == 0;
    return app->watched;
}

static void close_watch(struct app *app)
{
    if (app->watched) {
        const uint64_t one = 1;
        ssize_t written = write(app->end_fd, &one, sizeof(one));
        (void)written;
        pthread_join(app->watch, NULL);
    }
    if (app->end_fd >= 0) {
        close(app->end_fd);
    }
}

/* ---- starting and stopping ---- */

/* Before any thread is made, so that all of them have the signals blocked. */
static bool open_signals(struct app *app)
{
    sigemptyset(&app->signals);
    sigaddset(&app->signals, SIGTERM);
    sigaddset(&app->signals, SIGINT);
    sigset_t hangup;
    sigemptyset(&hangup);
    sigaddset(&hangup, SIGHUP);
    if (pthread_sigmask(SIG_BLOCK, &app->signals, NULL) != 0 ||
        pthread_sigmask(SIG_BLOCK, &hangup, NULL) != 0) {
        return false;
    }
    kvp_process_bear_failed_writes(); /* a log reader that goes away */
    app->signal_fd = signalfd(-1, &app->signals, SFD_CLOEXEC);
    app->hangup_fd = signalfd(-1, &hangup, SFD_CLOEXEC | SFD_NONBLOCK);
    app->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK | EFD_SEMAPHORE);
    return app->signal_fd >= 0 && app->hangup_fd >= 0 && app->wake_fd >= 0;
}

static int open_data(struct app *app, const struct options *options)
{
    char message[512] = "";
    kvp_status status = kvp_env_posix_open(options->data, &app->env, message, sizeof(message));
    if (status == KVP_OK) {
        status = kvp_witness_open(app->env, &app->witness, message, sizeof(message));
    }
    atomic_store(&app->disk_us, 0);
    if (status != KVP_OK) {
        const char *reason = message[0] != '\0' ? message : kvp_strerror(status);
        bool named = strncmp(reason, options->data, strlen(options->data)) == 0;
        fprintf(stderr, "kvwitness: %s%s%s\n", named ? "" : options->data, named ? "" : ": ",
                reason);
        return EXIT_FAILURE;
    }
    return EXIT_SUCCESS;
}

/* Those that are always the same. */
static kvp_status encode_answers(struct app *app)
{
    struct kvp_answer answer = {.status = KVP_BUSY};
    kvp_status status = kvp_wire_answer_encode(&answer, &app->busy);
    if (status == KVP_OK) {
        answer.status = KVP_UNAVAILABLE;
        status = kvp_wire_answer_encode(&answer, &app->silent);
    }
    if (status == KVP_OK) {
        status = encode_refusal(KVP_BUSY,
                                "a quarter of the places for groups were taken from your address: "
                                "the others are for others",
                                &app->crowd);
    }
    return status;
}

/* What addresses with TLS need. */
static int open_tls(struct app *app, const struct options *options)
{
    char reason[2 * KVP_URL_SIZE_MAX];
    if (!kvp_tls_is_named(&options->tls) && !kvp_tls_is_url(options->listen)) {
        return EXIT_SUCCESS;
    }
    kvp_status status = kvp_tls.open(&options->tls, &app->tls, reason, sizeof(reason));
    if (status != KVP_OK) {
        fprintf(stderr, "kvwitness: %s\n", reason);
    }
    return status == KVP_OK ? EXIT_SUCCESS : status == KVP_BAD_ARGUMENT ? EXIT_USAGE : EXIT_FAILURE;
}

static int open_server(struct app *app, const struct options *options)
{
    char reason[KVP_URL_SIZE_MAX + 128] = "out of memory";
    const struct kvp_net_server_config config = {.url = options->listen,
                                                 .tls = app->tls,
                                                 .message_size_max = MESSAGE_SIZE_MAX,
                                                 .peers = app->access.all,
                                                 .on_request = kvwitness_on_request,
                                                 .on_refused = kvwitness_on_refused,
                                                 .arg = app,
                                                 .reason = reason,
                                                 .reason_size = sizeof(reason)};
    kvp_status status = encode_answers(app);
    if (status == KVP_OK) {
        status = witness_access_start(&app->access);
    }
    if (status == KVP_OK) {
        status = kvp_net_listen(&config, &app->server);
    }
    if (status == KVP_OK) {
        return EXIT_SUCCESS;
    }
    fprintf(stderr, "kvwitness: cannot listen on %s: %s\n", options->listen, reason);
    return status == KVP_BAD_ARGUMENT ? EXIT_USAGE : EXIT_FAILURE;
}

static int open_pages(struct app *app, const struct options *options)
{
    char reason[KVP_URL_SIZE_MAX + 128] = "";
    app->http.disk_us = &app->disk_us;
    kvp_status status = witness_http_open(&app->http, options->http, reason, sizeof(reason));
    if (status != KVP_OK) {
        fprintf(stderr, "kvwitness: --http: cannot listen on %s: %s\n", options->http, reason);
        return status == KVP_BAD_ARGUMENT ? EXIT_USAGE : EXIT_FAILURE;
    }
    if (app->http.server != NULL) {
        kvp_log(&app->logger, KVP_LOG_INFO, "http_started", "url=%s",
                kvp_http.url(app->http.server));
    }
    return EXIT_SUCCESS;
}

static void close_all(struct app *app)
{
    witness_http_close(&app->http);
    kvp_net_server_close(app->server);
    if (app->tls != NULL) {
        kvp_tls.close(app->tls);
    }
    struct kvp_net_request *request = next_request(app);
    while (request != NULL) {
        kvp_net_drop(request);
        request = next_request(app);
    }
    atomic_store(&app->disk_us, kvp_clock_now_us());
    kvp_witness_close(app->witness);
    if (app->env != NULL) {
        app->env->ops->close(app->env);
    }
    atomic_store(&app->disk_us, 0);
    close_watch(app);
    kvp_buf_free(&app->busy);
    kvp_buf_free(&app->crowd);
    kvp_buf_free(&app->silent);
    witness_access_free(&app->access);
    if (app->signal_fd >= 0) {
        close(app->signal_fd);
    }
    if (app->hangup_fd >= 0) {
        close(app->hangup_fd);
    }
    if (app->wake_fd >= 0) {
        close(app->wake_fd);
    }
}

static int kvwitness_run(const struct options *options)
{
    static struct app app = {.signal_fd = -1,
                             .hangup_fd = -1,
                             .wake_fd = -1,
                             .end_fd = -1,
                             .lock = PTHREAD_MUTEX_INITIALIZER};
    char url[2 * KVP_URL_SIZE_MAX];
    int code = EXIT_FAILURE;
    app.logger.level = options->log_level;
    kvp_await_address("kvwitness", options->listen);
    app.access = options->access;
    if (!open_signals(&app) || !open_watch(&app)) {
        perror("kvwitness");
        goto out;
    }
    code = open_tls(&app, options);
    if (code == EXIT_SUCCESS) {
        code = open_pages(&app, options);
    }
    if (code == EXIT_SUCCESS) {
        code = open_data(&app, options);
    }
    if (code != EXIT_SUCCESS) {
        goto out;
    }
    code = open_server(&app, options);
    if (code != EXIT_SUCCESS) {
        goto out;
    }
    kvp_log(&app.logger, KVP_LOG_INFO, "started", "url=%s groups=%zu version=%s",
            kvp_log_quote(url, sizeof(url), kvp_net_server_url(app.server)),
            kvp_witness_groups(app.witness), kvp_version());
    show_registers(&app);
    atomic_store(&app.http.serving, true);
    code = serve(&app);
    kvp_log(&app.logger, KVP_LOG_INFO, "stopped", "exit=%d", code);
out:
    close_all(&app);
    return code;
}

/* ---- command line ---- */

static void kvwitness_print_usage(FILE *out)
{
    fputs("usage: kvwitness --data DIR --listen URL [--allow [GROUP=]LIST]... "
          "[--insecure] [--http URL] [--log-level LEVEL]\n"
          "\n"
          "The arbiter of kvpair groups: keeps, for each group, who is primary.\n"
          "\n"
          "  --data DIR         directory of the registers; made if absent\n"
          "  --listen URL       address to serve, such as tcp://127.0.0.1:7400\n"
          "  --insecure         serve an address without TLS that other machines can reach\n"
          "  --allow [GROUP=]LIST  take changes of registers (of that group) only from these "
          "addresses,\n"
          "                     networks or host names, with commas between; repeat for more\n"
          "  --tls-cert FILE, --tls-key FILE, --tls-ca FILE\n"
          "                     for a tls+tcp:// address: certificate of this witness, its key, "
          "the CA\n"
          "                     of the groups (PEM); SIGHUP reads them again\n"
          "  --tls-min VERSION  1.3 (default) or 1.2\n"
          "  --http URL         pages for operators (/metrics, /livez, /readyz, /api/v1/status),\n"
          "                     on this machine's own addresses only, e.g. http://127.0.0.1:9100\n"
          "  --log-level LEVEL  error, warn, info (default) or debug\n"
          "  --help             print this and exit\n"
          "  --version          print the version and exit\n",
          out);
}

enum {
    OPTION_DATA = 256,
    OPTION_LISTEN,
    OPTION_INSECURE,
    OPTION_ALLOW,
    OPTION_TLS_CERT,
    OPTION_TLS_KEY,
    OPTION_TLS_CA,
    OPTION_TLS_MIN,
    OPTION_HTTP,
    OPTION_LOG_LEVEL,
    OPTION_HELP,
    OPTION_VERSION
};

static const struct option long_options[] = {
    {"data", required_argument, NULL, OPTION_DATA},
    {"listen", required_argument, NULL, OPTION_LISTEN},
    {"insecure", no_argument, NULL, OPTION_INSECURE},
    {"allow", required_argument, NULL, OPTION_ALLOW},
    {"tls-cert", required_argument, NULL, OPTION_TLS_CERT},
    {"tls-key", required_argument, NULL, OPTION_TLS_KEY},
    {"tls-ca", required_argument, NULL, OPTION_TLS_CA},
    {"tls-min", required_argument, NULL, OPTION_TLS_MIN},
    {"http", required_argument, NULL, OPTION_HTTP},
    {"log-level", required_argument, NULL, OPTION_LOG_LEVEL},
    {"help", no_argument, NULL, OPTION_HELP},
    {"version", no_argument, NULL, OPTION_VERSION},
    {NULL, 0, NULL, 0},
};

static int usage_error(const char *message)
{
    if (message != NULL) {
        fprintf(stderr, "kvwitness: %s\n", message);
    }
    fputs("Try 'kvwitness --help'.\n", stderr);
    return EXIT_USAGE;
}

/* -1: go on; else the exit status. */
static int parse_option(int option, struct options *options)
{
    switch (option) {
    case OPTION_DATA:
        options->data = optarg;
        return -1;
    case OPTION_LISTEN:
        options->listen = optarg;
        return -1;
    case OPTION_INSECURE:
        options->insecure = true;
        return -1;
    case OPTION_ALLOW:
        if (witness_access_add(&options->access, optarg) != KVP_OK) {
            return usage_error(
                "--allow is a list of addresses, networks (10.1.0.0/16) and host names, "
                "or any, perhaps with GROUP= before it");
        }
        return -1;
    case OPTION_TLS_CERT:
        options->tls.cert = optarg;
        return -1;
    case OPTION_TLS_KEY:
        options->tls.key = optarg;
        return -1;
    case OPTION_TLS_CA:
        options->tls.ca = optarg;
        return -1;
    case OPTION_TLS_MIN:
        options->tls.min = optarg;
        return -1;
    case OPTION_HTTP:
        options->http = optarg;
        return -1;
    case OPTION_LOG_LEVEL:
        if (kvp_log_level_parse(optarg, &options->log_level) != KVP_OK) {
            return usage_error("--log-level is error, warn, info or debug");
        }
        return -1;
    case OPTION_HELP:
        kvwitness_print_usage(stdout);
        return kvp_process_printed("kvwitness") ? EXIT_SUCCESS : EXIT_FAILURE;
    case OPTION_VERSION:
        printf("kvwitness %s\n", kvp_version());
        return kvp_process_printed("kvwitness") ? EXIT_SUCCESS : EXIT_FAILURE;
    default:
        return usage_error(NULL); /* getopt has said what is wrong */
    }
}

int main(int argc, char **argv)
{
    struct options options = {.log_level = KVP_LOG_INFO};
    if (!kvp_process_fill_standard()) {
        return EXIT_FAILURE;
    }
    kvp_process_raise_descriptor_limit("kvwitness");
    int option = getopt_long(argc, argv, "", long_options, NULL);
    while (option != -1) {
        int code = parse_option(option, &options);
        if (code >= 0) {
            return code;
        }
        option = getopt_long(argc, argv, "", long_options, NULL);
    }
    if (optind < argc) {
        return usage_error("unexpected argument");
    }
    if (options.data == NULL || options.data[0] == '\0') {
        return usage_error("--data DIR is required");
    }
    if (options.listen == NULL || options.listen[0] == '\0') {
        return usage_error("--listen URL is required");
    }
    if (!options.insecure && kvp_address_refuse_exposed("kvwitness", options.listen)) {
        return EXIT_USAGE;
    }
    return kvwitness_run(&options);
}
