/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A node that runs: the executor on one loop thread, fed by a queue that the transport's callbacks,
 * the disk thread and the application's calls fill. Nothing on the loop waits for a disk's fsync or
 * for another machine, so heartbeats go out and in at all times.
 */
#include "replication/node/node_state.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define CLIENT_SLICE_US  5000u
#define CLIENT_ANSWERS   16u /* may wait for each other to share a system call */
#define STRANGERS_EVERY_US 10000000u /* the log tells of those who are refused */
#define FAILED_LINGER_US  1000000u /* the others hear of the failure and take over */
#define STOPPED_LINGER_MS 100u     /* last answers leave */
#define STALL_MIN_MS      700u
#define CLOSE_US          15000000u /* what is under way on a disk that works ends before */
#define CLOSE_SILENT_US   1500000u  /* its end cannot be known */

/* ---- the queue ---- */

void node_init_cond(pthread_cond_t *cond)
{
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(cond, &attributes);
    pthread_condattr_destroy(&attributes);
}

/* Waits on `cond` once, at most until `deadline_us` of kvp_clock_now_us(); false when that is over. */
bool node_wait_until(pthread_cond_t *cond, pthread_mutex_t *mutex, uint64_t deadline_us)
{
    uint64_t now_us = kvp_clock_now_us();
    if (now_us >= deadline_us) {
        return false;
    }
    uint64_t left_us = deadline_us - now_us;
    left_us = left_us < 3600000000u ? left_us : 3600000000u;
    struct timespec when;
    clock_gettime(CLOCK_MONOTONIC, &when);
    when.tv_sec += (time_t)(left_us / 1000000);
    when.tv_nsec += (long)(left_us % 1000000) * 1000;
    if (when.tv_nsec >= 1000000000) {
        when.tv_sec++;
        when.tv_nsec -= 1000000000;
    }
    pthread_cond_timedwait(cond, mutex, &when);
    return kvp_clock_now_us() < deadline_us; /* not so when it was cut to an hour */
}

static size_t event_size(const struct node_event *event)
{
    return event->request ? kvp_net_request_body(event->request).size : 0;
}

/* An application's calls and a client's requests wait in one line, so neither is served first. */
static bool is_client(const struct node_event *event)
{
    return event->kind == NODE_CALL || (event->kind == NODE_REQUEST && !event->from_peer);
}

static bool nothing_to_do(const struct kvp_node *node)
{
    return !node->urgent.first && !node->clients.first && !node->done_first;
}

void node_post(struct kvp_node *node, struct node_event *event)
{
    struct node_queue *queue = is_client(event) ? &node->clients : &node->urgent;
    event->next = NULL;
    pthread_mutex_lock(&node->mutex);
    bool idle = nothing_to_do(node);
    *(queue->last ? &queue->last->next : &queue->first) = event;
    queue->last = event;
    if (event->kind == NODE_REQUEST) {
        queue->count++;
        queue->size += event_size(event);
    }
    /* Threads of the node's own are joined before it goes, so they may signal late. For the
     * application's the node may be gone as soon as the mutex is free. */
    bool early = event->kind == NODE_CALL || event->kind == NODE_STOP;
    if (idle && early) {
        pthread_cond_signal(&node->wake);
    }
    pthread_mutex_unlock(&node->mutex);
    if (idle && !early) {
        pthread_cond_signal(&node->wake); /* the loop does not wake up to wait for the mutex */
    }
}

void node_post_done(struct kvp_node *node, struct kvp_disk_job *job)
{
    job->next = NULL;
    pthread_mutex_lock(&node->mutex);
    if (node->done_last) {
        node->done_last->next = job;
    } else {
        node->done_first = job;
    }
    node->done_last = job;
    pthread_mutex_unlock(&node->mutex);
    pthread_cond_signal(&node->wake);
}

static void event_free(struct kvp_node *node, struct node_event *event)
{
    if (event != &node->fence_event) {
        kvp_buf_free(&event->body);
        free(event);
    }
}

/* ---- callbacks of transport and arbiter: their threads ---- */

static bool overloaded(struct kvp_node *node, bool peer)
{
    pthread_mutex_lock(&node->mutex);
    bool full = peer ? node->urgent.count >= NODE_PEERS_MAX ||
                           node->urgent.size >= NODE_PEERS_SIZE_MAX
                     : node->clients.count >= NODE_CLIENTS_MAX ||
                           node->clients.size >= NODE_CLIENTS_SIZE_MAX;
    pthread_mutex_unlock(&node->mutex);
    return full;
}

static void answer_plainly(struct kvp_net_request *request, kvp_status code, kvp_slice result)
{
    struct kvp_answer answer = {.status = code, .result = result};
    kvp_buf body = {0};
    if (kvp_wire_answer_encode(&answer, &body) == KVP_OK) {
        kvp_net_answer(request, kvp_buf_slice(&body));
    } else {
        kvp_net_drop(request);
    }
    kvp_buf_free(&body);
}

/* Has the loop tell of it, which is the one that writes the log. */
static void report_stranger(struct kvp_node *node, const char *address)
{
    uint64_t now_us = kvp_clock_now_us();
    node->strangers++;
    if (node->stranger_us != 0 && now_us - node->stranger_us < STRANGERS_EVERY_US) {
        return;
    }
    struct node_event *event = calloc(1, sizeof(*event));
    char fields[KVP_NET_ADDRESS_SIZE + 32];
    int size = snprintf(fields, sizeof(fields), "address=%s count=%llu", address,
                        (unsigned long long)node->strangers);
    if (!event || kvp_buf_append(&event->body, fields, (size_t)size + 1) != KVP_OK) {
        free(event);
        return;
    }
    node->strangers = 0;
    node->stranger_us = now_us;
    event->kind = NODE_STRANGER;
    node_post(node, event);
}

static void refuse_stranger(struct kvp_node *node, struct kvp_net_request *request)
{
    char address[KVP_NET_ADDRESS_SIZE];
    kvp_buf reason = {0};
    report_stranger(node, kvp_net_request_address(request, address));
    if (kvp_wire_result_string(&reason, "peer operations are taken from the addresses that --peer "
                                        "and --peer-from name, and yours is none of them") ==
        KVP_OK) {
        answer_plainly(request, KVP_REFUSED, kvp_buf_slice(&reason));
    } else {
        kvp_net_drop(request);
    }
    kvp_buf_free(&reason);
}

static void on_request(void *arg, struct kvp_net_request *request)
{
    struct kvp_node *node = arg;
    unsigned version, op;
    bool peer_op = kvp_wire_peek(kvp_net_request_body(request), &version, &op) == KVP_OK &&
                   version == KVP_WIRE_VERSION && KVP_OP_IS_PEER(op);
    bool peer = peer_op && kvp_net_request_from_peer(request);
    if (peer_op && !peer) {
        refuse_stranger(node, request);
        return;
    }
    struct node_event *event = overloaded(node, peer) ? NULL : calloc(1, sizeof(*event));
    if (!event) {
        answer_plainly(request, KVP_BUSY, kvp_slice_of(NULL, 0));
        return;
    }
    event->kind = NODE_REQUEST;
    event->from_peer = peer;
    event->request = request;
    node_post(node, event);
}

static void on_link_answer(void *arg, uint32_t id, kvp_slice body)
{
    struct node_link *link = arg;
    struct node_event *event = calloc(1, sizeof(*event));
    (void)id; /* a reply shows the replier's whole position: it needs no request to go with */
    if (!event || kvp_buf_append(&event->body, body.data, body.size) != KVP_OK) {
        free(event);
        return; /* as if lost */
    }
    event->kind = NODE_PEER_ANSWER;
    event->peer = link->peer;
    node_post(link->node, event);
}

static void on_link_state(void *arg, bool connected)
{
    struct node_link *link = arg;
    struct node_event *event = calloc(1, sizeof(*event));
    if (event) {
        event->kind = NODE_LINK;
        event->peer = link->peer;
        event->link = link->kind;
        event->flag = connected;
        node_post(link->node, event);
    }
}

static void post_unreached(struct kvp_node *node, uint8_t peer, const char *reason)
{
    struct node_event *event = calloc(1, sizeof(*event));
    if (event) {
        event->kind = NODE_UNREACHED;
        event->peer = peer;
        event->reason = reason;
        node_post(node, event);
    }
}

static void on_link_failure(void *arg, const char *reason)
{
    const struct node_link *link = arg;
    if (link->kind == KVP_LINK_CONTROL) { /* the other one fails likewise */
        post_unreached(link->node, link->peer, reason);
    }
}

static void on_arbiter_failure(void *arg, const char *reason)
{
    post_unreached(arg, 0, reason);
}

static void on_arbiter_answer(void *arg, const struct kvp_arbiter_answer *answer)
{
    struct node_event *event = calloc(1, sizeof(*event));
    if (event) {
        event->kind = NODE_ARBITER;
        event->arbiter = *answer;
        node_post(arg, event);
    }
}

/* ---- the executor's host: the loop thread ---- */

static void host_send(void *arg, uint8_t peer, enum kvp_link_kind kind, kvp_slice body)
{
    struct kvp_node *node = arg;
    for (unsigned i = 0; i < node->link_count; i++) {
        struct node_link *link = &node->links[i];
        if (link->peer == peer && link->kind == kind && link->link) {
            link->last_id = (link->last_id + 1) & 0x7fffffff;
            kvp_net_link_send(link->link, link->last_id, body);
        }
    }
}

static void host_answer(void *arg, void *token, const struct kvp_answer *answer)
{
    struct kvp_node *node = arg;
    if (node_token_is_call(token)) {
        node_call_answer(node_token_call(token), answer);
        return;
    }
    node->out.size = 0;
    if (kvp_wire_answer_encode(answer, &node->out) == KVP_OK) {
        kvp_net_answer(token, kvp_buf_slice(&node->out));
    } else {
        kvp_net_drop(token);
    }
}

static bool host_alive(void *arg, void *token)
{
    (void)arg;
    return node_token_is_call(token) || kvp_net_request_alive(token);
}

static void host_answer_peer(void *arg, void *token, kvp_slice body)
{
    (void)arg;
    if (body.size > 0) {
        kvp_net_answer(token, body);
    } else {
        kvp_net_drop(token);
    }
}

static void host_disk(void *arg, struct kvp_disk_job *job)
{
    node_disk_submit(arg, job);
}

static void host_arbiter(void *arg, const struct kvp_arbiter_request *request)
{
    struct kvp_node *node = arg;
    if (node->arbiter) {
        node->arbiter->ops->ask(node->arbiter, request);
    }
}

static void host_fence(void *arg)
{
    node_fence_start(arg);
}

static void host_log(void *arg, enum kvp_log_level level, const char *event, const char *fields)
{
    struct kvp_node *node = arg;
    kvp_log(&node->logger, level, event, "%s", fields);
}

static void host_changed(void *arg)
{
    struct kvp_node *node = arg;
    node->state_stale = true;
}

static void host_stopped(void *arg)
{
    struct kvp_node *node = arg;
    node->stopped = node->state_stale = true;
}

static void log_sink(void *arg, enum kvp_log_level level, const char *line)
{
    struct kvp_node *node = arg;
    if (!atomic_load(&node->mute)) {
        node->on_log(node->arg, (int)level, line);
    }
}

/* ---- the loop ---- */

static void run_event(struct kvp_node *node, struct node_event *event)
{
    struct kvp_executor *executor = node->executor;
    uint64_t now_us = kvp_clock_now_us();
    switch (event->kind) {
    case NODE_REQUEST:
        if (!event->from_peer && kvp_net_request_postpone(event->request)) {
            break;
        }
        /* The executor answers it before or after it returns: the body lives until then. */
        kvp_executor_message(executor, now_us, kvp_net_request_body(event->request),
                             event->request);
        break;
    case NODE_CALL:
        node_call_run(node, event->call, now_us);
        break;
    case NODE_PEER_ANSWER:
        kvp_executor_peer_answer(executor, now_us, event->peer, kvp_buf_slice(&event->body));
        break;
    case NODE_LINK:
        kvp_executor_link(executor, now_us, event->peer, event->link, event->flag);
        break;
    case NODE_ARBITER:
        kvp_executor_arbiter_answer(executor, now_us, &event->arbiter);
        break;
    case NODE_UNREACHED:
        kvp_executor_unreached(executor, now_us, event->peer, event->reason);
        break;
    case NODE_FENCE_DONE:
        kvp_executor_fence_done(executor, now_us, event->flag);
        break;
    case NODE_STRANGER:
        kvp_log(&node->logger, KVP_LOG_WARN, "peer_refused",
                "%s hint=\"not an address of --peer or --peer-from\"",
                (const char *)event->body.data);
        break;
    case NODE_STOP:
        kvp_executor_stop(executor, now_us);
        break;
    }
}

static kvp_node_state look(struct kvp_node *node)
{
    const struct kvp_core *core = kvp_executor_core(node->executor);
    const struct kvp_view *view = kvp_core_view(core);
    kvp_node_state state = {
        .role = kvp_core_role(core),
        .serving = kvp_core_serving(core, kvp_clock_now_us()),
        .primary_id = view->primary,
        .epoch = view->epoch,
        .in_sync = view->in_sync,
    };
    return state;
}

static bool same(const kvp_node_state *a, const kvp_node_state *b)
{
    return a->role == b->role && a->serving == b->serving && a->primary_id == b->primary_id &&
           a->epoch == b->epoch && a->in_sync == b->in_sync;
}

/* True: the application is to be told `state`, when nobody uses the executor any more. */
static bool publish(struct kvp_node *node, kvp_node_state *state)
{
    bool failed = kvp_core_role(kvp_executor_core(node->executor)) == KVP_ROLE_FAILED;
    uint64_t now_us = kvp_clock_now_us();
    *state = look(node);
    node->state_stale = false;
    if (failed && node->linger_us == 0) {
        node->linger_us = now_us + FAILED_LINGER_US;
    }
    pthread_mutex_lock(&node->mutex);
    bool differs = !same(state, &node->state);
    node->state = *state;
    if (node->stopped || (failed && now_us >= node->linger_us)) {
        node->ended = true;
        node->end_status = failed ? KVP_FAILED : KVP_OK;
        node->linger_us = UINT64_MAX;
    }
    pthread_cond_broadcast(&node->changed);
    pthread_mutex_unlock(&node->mutex);
    return differs && node->on_change;
}

struct batch {
    struct node_event *events;
    struct kvp_disk_job *jobs;
    bool quit;
};

static struct batch take(struct kvp_node *node, uint64_t deadline_us)
{
    pthread_mutex_lock(&node->mutex);
    while (nothing_to_do(node) && !node->quit &&
           node_wait_until(&node->wake, &node->mutex, deadline_us)) {
    }
    struct batch batch = {node->urgent.first, node->done_first, node->quit};
    memset(&node->urgent, 0, sizeof(node->urgent));
    node->done_first = node->done_last = NULL;
    pthread_mutex_unlock(&node->mutex);
    return batch;
}

static struct node_event *take_client(struct kvp_node *node)
{
    pthread_mutex_lock(&node->mutex);
    struct node_queue *queue = &node->clients;
    struct node_event *event = queue->first;
    if (event) {
        queue->first = event->next;
        queue->last = queue->first ? queue->last : NULL;
    }
    if (event && event->kind == NODE_REQUEST) {
        queue->count--;
        queue->size -= event_size(event);
    }
    pthread_mutex_unlock(&node->mutex);
    return event;
}

/* Clients get a slice of time, so that a burst of theirs does not hold up heartbeats. */
static void run_clients(struct kvp_node *node, bool all)
{
    uint64_t until_us = kvp_clock_now_us() + CLIENT_SLICE_US;
    bool goes_on = true;
    while (goes_on) {
        kvp_net_server_hold(node->server);
        for (unsigned i = 0; i < CLIENT_ANSWERS && goes_on; i++) {
            struct node_event *event = take_client(node);
            if (event) {
                run_event(node, event);
                event_free(node, event);
            }
            goes_on = event && (all || kvp_clock_now_us() < until_us);
        }
        kvp_net_server_let_go(node->server);
    }
}

static uint64_t next_deadline(const struct kvp_node *node)
{
    uint64_t deadline_us = kvp_executor_deadline(node->executor);
    bool lingers = node->linger_us != 0 && node->linger_us < deadline_us;
    return lingers ? node->linger_us : deadline_us;
}

/* What has come, and what follows from it. The executor is in use. */
static void run_batch(struct kvp_node *node, const struct batch *batch)
{
    kvp_net_server_hold(node->server);
    for (struct kvp_disk_job *job = batch->jobs, *next; job; job = next) {
        next = job->next;
        kvp_executor_disk_done(node->executor, kvp_clock_now_us(), job);
    }
    for (struct node_event *event = batch->events, *next; event; event = next) {
        next = event->next;
        run_event(node, event);
        event_free(node, event);
    }
    kvp_net_server_let_go(node->server);
    run_clients(node, batch->quit);
    uint64_t now_us = kvp_clock_now_us();
    if (now_us >= kvp_executor_deadline(node->executor)) {
        kvp_executor_tick(node->executor, now_us);
    }
    kvp_net_server_hold(node->server);
    kvp_executor_flush(node->executor, now_us);
    kvp_net_server_let_go(node->server);
}

static void *loop(void *arg)
{
    struct kvp_node *node = arg;
    uint64_t deadline_us = 0;
    kvp_node_state state;
    for (;;) {
        struct batch batch = take(node, deadline_us);
        atomic_store(&node->loop_waits, true);
        pthread_mutex_lock(&node->work);
        atomic_store(&node->loop_waits, false);
        run_batch(node, &batch);
        bool stale = node->state_stale ||
                     (node->linger_us != 0 && kvp_clock_now_us() >= node->linger_us);
        bool tell = stale && publish(node, &state);
        deadline_us = next_deadline(node);
        pthread_mutex_unlock(&node->work);
        if (tell && !atomic_load(&node->mute)) {
            node->on_change(node->arg, &state);
        }
        if (batch.quit) {
            return NULL;
        }
    }
}

/* ---- opening and closing ---- */

static kvp_status say(char *message, size_t size, kvp_status status, const char *what)
{
    if (message && size > 0) {
        snprintf(message, size, "%s: %s", what,
                 status == KVP_BAD_ARGUMENT ? "not an address of the form tcp://HOST:PORT or ipc://PATH"
                                            : kvp_strerror(status));
    }
    return status;
}

static kvp_status open_storage(struct kvp_node *node, const kvp_node_options *options,
                               struct kvp_loaded *loaded, char *message, size_t size)
{
    kvp_status status = kvp_env_posix_open(options->data_dir, &node->env, message, size);
    if (status != KVP_OK) {
        return status;
    }
    status = kvp_storage_open(node->env, node->config.group, options->id, &node->storage, loaded,
                              message, size);
    if (status == KVP_OK) {
        kvp_storage_set_quarantine(node->storage, node->quarantine);
    }
    return status;
}

static kvp_status open_server(struct kvp_node *node, const char *url, char *message, size_t size)
{
    char reason[KVP_URL_SIZE_MAX + 128] = "";
    struct kvp_net_server_config config = {.url = url,
                                           .peers = node->peer_addresses,
                                           .on_request = on_request,
                                           .arg = node,
                                           .reason = reason,
                                           .reason_size = sizeof(reason)};
    kvp_status status = kvp_address_list_start(node->peer_addresses);
    if (status != KVP_OK) {
        return say(message, size, status, "the list of the peers' addresses");
    }
    status = kvp_net_listen(&config, &node->server);
    if (status != KVP_OK) {
        if (message && size > 0) {
            snprintf(message, size, "cannot listen on %s: %s", url, reason);
        }
        return status;
    }
    if (node->config.url[0] == '\0') {
        snprintf(node->config.url, sizeof(node->config.url), "%s",
                 kvp_net_server_url(node->server));
    }
    return KVP_OK;
}

/* A connection that swallows what is sent is given up for a new one: not before a lost packet or two
 * would have been sent again. */
static unsigned stall_ms(const struct kvp_node *node)
{
    uint64_t lease_ms = node->config.core.lease_us / 1000;
    return lease_ms > STALL_MIN_MS ? (unsigned)lease_ms : STALL_MIN_MS;
}

static kvp_status open_links(struct kvp_node *node, char *message, size_t size)
{
    for (unsigned i = 0; i < node->config.peer_count * KVP_LINK_KINDS; i++) {
        const struct kvp_executor_peer *peer = &node->config.peers[i / KVP_LINK_KINDS];
        struct node_link *link = &node->links[i];
        link->node = node;
        link->peer = peer->id;
        link->kind = (enum kvp_link_kind)(i % KVP_LINK_KINDS);
        struct kvp_net_link_config config = {.url = peer->url,
                                             .stall_ms = stall_ms(node),
                                             .on_answer = on_link_answer,
                                             .on_state = on_link_state,
                                             .on_failure = on_link_failure,
                                             .arg = link};
        kvp_status status = kvp_net_link_open(&config, &link->link);
        if (status != KVP_OK) {
            return say(message, size, status, peer->url);
        }
        node->link_count++;
    }
    return KVP_OK;
}

static kvp_status open_arbiter(struct kvp_node *node, const kvp_node_options *options,
                               char *message, size_t size)
{
    if (!options->witness) {
        return KVP_OK;
    }
    struct kvp_arbiter_config config = {
        .url = options->witness,
        .group = node->config.group,
        .node_id = options->id,
        .on_answer = on_arbiter_answer,
        .on_failure = on_arbiter_failure,
        .arg = node,
    };
    kvp_status status = kvp_arbiter_witness_open(&config, &node->arbiter);
    return status == KVP_OK ? KVP_OK : say(message, size, status, options->witness);
}

static kvp_status open_executor(struct kvp_node *node, const struct kvp_loaded *loaded)
{
    static const struct kvp_executor_host functions = {
        .send = host_send,
        .answer = host_answer,
        .alive = host_alive,
        .answer_peer = host_answer_peer,
        .disk = host_disk,
        .arbiter = host_arbiter,
        .fence = host_fence,
        .log = host_log,
        .changed = host_changed,
        .stopped = host_stopped,
    };
    struct kvp_executor_host host = functions;
    host.arg = node;
    node->config.stores_set_aside = loaded->stores_set_aside;
    return kvp_executor_open(&node->config, &host, node->storage, loaded, kvp_clock_now_us(),
                             &node->executor);
}

/* Taken twice by one thread it says so. */
static void init_checked_mutex(pthread_mutex_t *mutex)
{
    pthread_mutexattr_t attributes;
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_ERRORCHECK);
    pthread_mutex_init(mutex, &attributes);
    pthread_mutexattr_destroy(&attributes);
}

static struct kvp_node *node_new(void)
{
    struct kvp_node *node = calloc(1, sizeof(*node));
    if (node) {
        pthread_mutex_init(&node->mutex, NULL);
        init_checked_mutex(&node->work);
        node_init_cond(&node->wake);
        node_init_cond(&node->changed);
        node_disk_init(&node->writer);
        node_disk_init(&node->sender);
        node->state.role = KVP_ROLE_OUTSIDE;
    }
    return node;
}

static void say_strangers(struct kvp_node *node, const struct kvp_loaded *loaded)
{
    if (loaded->stranger_count > 0) {
        kvp_log(&node->logger, KVP_LOG_WARN, "directories_left_alone",
                "count=%u one=%s reason=\"not made by this node, or by a release without books; "
                "remove them if nobody needs them\"",
                loaded->stranger_count, loaded->stranger);
    }
}

static kvp_status node_open(const kvp_node_options *options, kvp_node **node, char *message,
                            size_t message_size)
{
    struct kvp_loaded loaded;
    struct kvp_node *made = node_new();
    if (!made) {
        return KVP_NO_MEMORY;
    }
    kvp_status status = node_configure(made, options, message, message_size);
    if (made->on_log) {
        made->logger.sink = log_sink;
        made->logger.arg = made;
    }
    if (status == KVP_OK) {
        status = open_storage(made, options, &loaded, message, message_size);
    }
    if (status == KVP_OK) {
        status = open_server(made, options->listen, message, message_size);
    }
    if (status == KVP_OK) {
        status = open_links(made, message, message_size);
    }
    if (status == KVP_OK) {
        status = open_arbiter(made, options, message, message_size);
    }
    if (status == KVP_OK) {
        say_strangers(made, &loaded);
        kvp_log(&made->logger, KVP_LOG_INFO, "started", "url=%s group_id=%016llx tail=%llu%s",
                made->config.url, (unsigned long long)loaded.meta.group_id,
                (unsigned long long)loaded.tail.seq, loaded.meta.doubt ? " doubt=true" : "");
        status = open_executor(made, &loaded);
    }
    if (status == KVP_OK) {
        kvp_node_state state;
        if (publish(made, &state)) {
            made->on_change(made->arg, &state);
        }
        status = node_disk_start(made);
    }
    if (status == KVP_OK && pthread_create(&made->loop_thread, NULL, loop, made) != 0) {
        status = KVP_NO_MEMORY;
    }
    if (status != KVP_OK) {
        if (message && message_size > 0 && message[0] == '\0') {
            say(message, message_size, status, "the node cannot start");
        }
        kvp_node_close(made);
        return status;
    }
    made->loop_running = true;
    *node = made;
    return KVP_OK;
}

kvp_status kvp_node_open(const kvp_node_options *options, kvp_node **node, char *message,
                         size_t message_size)
{
    kvp_node_options known;
    if (message && message_size > 0) {
        message[0] = '\0';
    }
    if (!node) {
        return KVP_BAD_ARGUMENT;
    }
    kvp_status status = node_options_take(&known, options, message, message_size);
    return status == KVP_OK ? node_open(&known, node, message, message_size) : status;
}

/* Nobody executes these any more. */
static void refuse_rest(struct kvp_node *node)
{
    struct batch batch = take(node, 0);
    for (struct node_event *event = batch.events, *next; event; event = next) {
        next = event->next;
        if (event->kind == NODE_REQUEST) {
            kvp_net_drop(event->request);
        } else if (event->kind == NODE_CALL) {
            struct kvp_answer answer = {.status = KVP_CLOSED};
            node_call_answer(event->call, &answer);
        }
        event_free(node, event);
    }
    for (struct kvp_disk_job *job = batch.jobs, *next; job; job = next) {
        next = job->next;
        kvp_disk_job_free(job);
    }
}

static bool has_stopped(struct kvp_node *node)
{
    pthread_mutex_lock(&node->mutex);
    bool stopped = node->ended && node->end_status == KVP_OK;
    pthread_mutex_unlock(&node->mutex);
    return stopped;
}

static void node_free(struct kvp_node *node)
{
    pthread_mutex_destroy(&node->mutex);
    pthread_mutex_destroy(&node->work);
    pthread_cond_destroy(&node->wake);
    pthread_cond_destroy(&node->changed);
    node_disk_destroy(&node->writer);
    node_disk_destroy(&node->sender);
    free(node);
}

/* Ends everything, as long as that may take: threads that wait for a disk are waited for. */
static void end_parts(struct kvp_node *node)
{
    node_call_stop_readers(node);
    if (node->loop_running) {
        pthread_mutex_lock(&node->mutex);
        node->quit = true;
        pthread_cond_signal(&node->wake);
        pthread_mutex_unlock(&node->mutex);
        pthread_join(node->loop_thread, NULL);
    }
    kvp_net_server_close(node->server);
    kvp_address_list_free(node->peer_addresses);
    for (unsigned i = 0; i < node->link_count; i++) {
        kvp_net_link_close(node->links[i].link);
    }
    if (node->arbiter) {
        node->arbiter->ops->close(node->arbiter);
    }
    node_fence_stop(node);
    node_disk_stop(node);
    refuse_rest(node);
    kvp_executor_close(node->executor);
    kvp_storage_close(node->storage);
    if (node->env) {
        node->env->ops->close(node->env);
    }
    kvp_buf_free(&node->out);
}

static void *closer(void *arg)
{
    struct kvp_node *node = arg;
    end_parts(node);
    pthread_mutex_lock(&node->mutex);
    node->closed = true;
    bool abandoned = node->abandoned;
    pthread_cond_broadcast(&node->changed);
    pthread_mutex_unlock(&node->mutex);
    if (abandoned) {
        node_free(node);
    }
    return NULL;
}

/* False: it is not over, and the node is the closer's from now on. */
static bool wait_closed(struct kvp_node *node)
{
    uint64_t limit_us = node_disk_silent(node) ? CLOSE_SILENT_US : CLOSE_US;
    uint64_t deadline_us = kvp_clock_now_us() + limit_us;
    pthread_mutex_lock(&node->mutex);
    while (!node->closed && node_wait_until(&node->changed, &node->mutex, deadline_us)) {
    }
    bool closed = node->closed;
    if (!closed) {
        kvp_log(&node->logger, KVP_LOG_ERROR, "close_abandoned",
                "after_ms=%llu reason=\"a thread waits for the disk: the data stays locked and "
                "its memory taken until the disk answers or the process ends\"",
                (unsigned long long)limit_us / 1000);
        atomic_store(&node->mute, true);
        node->abandoned = true;
    }
    pthread_mutex_unlock(&node->mutex);
    return closed;
}

kvp_status kvp_node_close(kvp_node *node)
{
    pthread_t thread;
    if (!node) {
        return KVP_OK;
    }
    if (has_stopped(node)) {
        struct timespec linger = {0, STOPPED_LINGER_MS * 1000000L};
        nanosleep(&linger, NULL);
    }
    if (pthread_create(&thread, NULL, closer, node) != 0) {
        end_parts(node);
        node_free(node);
        return KVP_OK;
    }
    if (!wait_closed(node)) {
        pthread_detach(thread);
        return KVP_TIMEOUT;
    }
    pthread_join(thread, NULL);
    node_free(node);
    return KVP_OK;
}

/* ---- what the application asks ---- */

kvp_status kvp_node_stop(kvp_node *node)
{
    if (!node) {
        return KVP_BAD_ARGUMENT;
    }
    struct node_event *event = calloc(1, sizeof(*event));
    if (!event) {
        return KVP_NO_MEMORY;
    }
    event->kind = NODE_STOP;
    node_post(node, event);
    return KVP_OK;
}

static uint64_t deadline_of(uint32_t timeout_ms)
{
    return timeout_ms ? kvp_clock_now_us() + timeout_ms * 1000ull : UINT64_MAX;
}

kvp_status kvp_node_wait_end(kvp_node *node, uint32_t timeout_ms)
{
    if (!node) {
        return KVP_BAD_ARGUMENT;
    }
    uint64_t deadline_us = deadline_of(timeout_ms);
    kvp_status status = KVP_TIMEOUT;
    pthread_mutex_lock(&node->mutex);
    while (!node->ended && node_wait_until(&node->changed, &node->mutex, deadline_us)) {
    }
    if (node->ended) {
        status = node->end_status;
    }
    pthread_mutex_unlock(&node->mutex);
    return status;
}

kvp_status kvp_node_get_state(kvp_node *node, kvp_node_state *state)
{
    if (!node || !state) {
        return KVP_BAD_ARGUMENT;
    }
    pthread_mutex_lock(&node->mutex);
    *state = node->state;
    pthread_mutex_unlock(&node->mutex);
    return KVP_OK;
}

const char *kvp_node_url(const kvp_node *node)
{
    return node ? kvp_net_server_url(node->server) : "";
}

kvp_status kvp_node_wait_serving(kvp_node *node, uint32_t timeout_ms)
{
    if (!node) {
        return KVP_BAD_ARGUMENT;
    }
    uint64_t deadline_us = deadline_of(timeout_ms);
    pthread_mutex_lock(&node->mutex);
    while (!node->state.serving && !node->ended &&
           node_wait_until(&node->changed, &node->mutex, deadline_us)) {
    }
    kvp_status status = KVP_TIMEOUT;
    if (node->state.serving) {
        status = KVP_OK;
    } else if (node->ended) {
        status = node->end_status == KVP_OK ? KVP_CLOSED : node->end_status;
    }
    pthread_mutex_unlock(&node->mutex);
    return status;
}
