/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A node that runs: the executor on one loop thread, fed by a queue that the transport's callbacks,
 * the disk thread and the application's calls fill. Nothing on the loop waits for a disk's fsync or
 * for another machine, so heartbeats go out and in at all times.
 */
#include "replication/node/node_state.h"
#include "replication/net/tls.h"

#include <stdlib.h>
#include <time.h>

#define CLIENT_SLICE_US   5000u
#define CLIENT_ANSWERS    16u       /* may wait for each other to share a system call */
#define FAILED_LINGER_US  1000000u  /* the others hear of the failure and take over */
#define STOPPED_LINGER_MS 100u      /* last answers leave */
#define CLOSE_US          15000000u /* what is under way on a disk that works ends before */
#define CLOSE_SILENT_US   1500000u  /* its end cannot be known */

/* ---- the executor's host: the loop thread ---- */

static void host_send(void *arg, uint8_t peer, enum kvp_link_kind kind, kvp_slice body)
{
    struct kvp_node *node = arg;
    for (unsigned i = 0; i < node->link_count; i++) {
        struct node_link *link = node->links[i];
        if (link->peer == peer && link->kind == kind && link->link != NULL) {
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
    if (node->arbiter != NULL) {
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

static void host_look(void *arg, struct kvp_executor_sight *sight)
{
    const struct kvp_node *node = arg;
    struct timespec wall;
    (void)clock_gettime(CLOCK_REALTIME, &wall);
    sight->wall_ms = (uint64_t)wall.tv_sec * 1000 + (uint64_t)wall.tv_nsec / 1000000;
    sight->connections = kvp_net_server_connections(node->server);
    sight->refused = kvp_net_server_refused(node->server);
    sight->store_size = node_count_read(&node->store_size);
    sight->disk_free = node_count_read(&node->disk_free);
    sight->disk_size = node_count_read(&node->disk_size);
    sight->fsync_us = node_count_read(&node->fsync_us);
    sight->certificate_ends = node->tls != NULL ? (uint64_t)kvp_tls.not_after(node->tls) : 0;
}

static void host_members(void *arg, const struct kvp_executor_peer *peers, unsigned count)
{
    node_members_change(arg, peers, count);
}

static const char *host_address(void *arg, const char *url)
{
    return node_members_refuse_url(arg, url);
}

static void log_sink(void *arg, enum kvp_log_level level, const char *line)
{
    struct kvp_node *node = arg;
    if (!atomic_load(&node->mute)) {
        node->on_log(node->arg, (int)level, line);
    }
}

/* ---- the loop ---- */

static void run_event(struct kvp_node *node, struct node_event *event, uint64_t now_us)
{
    struct kvp_executor *executor = node->executor;
    switch (event->kind) {
    case NODE_REQUEST:
        if (event->from_peer) {
            node_run_message(node, event->request, now_us);
        } else {
            node_run_request(node, event->request, now_us);
        }
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
    case NODE_REFUSED:
        kvp_log(&node->logger, KVP_LOG_WARN, event->reason, "%s", (const char *)event->body.data);
        break;
    case NODE_STOP:
        kvp_executor_stop(executor, now_us);
        break;
    }
}

static kvp_node_state node_look(struct kvp_node *node)
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
    *state = node_look(node);
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
    return differs && node->on_change != NULL;
}

/* Clients get a slice of time, so that a burst of theirs does not hold up heartbeats. */
static void run_clients(struct kvp_node *node, bool all)
{
    uint64_t now_us = kvp_clock_now_us();
    uint64_t until_us = now_us + CLIENT_SLICE_US;
    bool goes_on = true;
    while (goes_on) {
        kvp_net_server_cork(node->server);
        for (unsigned i = 0; i < CLIENT_ANSWERS && goes_on; i++) {
            struct node_event *event = node_take_client(node);
            if (event != NULL) {
                kvp_executor_asked(node->executor, event->came_us);
                run_event(node, event, now_us);
                now_us = kvp_clock_now_us();
                kvp_executor_handled(node->executor, now_us);
                node_event_free(node, event);
            }
            goes_on = event != NULL && (all || now_us < until_us);
        }
        kvp_net_server_uncork(node->server);
    }
}

static uint64_t next_deadline(const struct kvp_node *node)
{
    uint64_t deadline_us = kvp_executor_deadline(node->executor);
    bool lingers = node->linger_us != 0 && node->linger_us < deadline_us;
    return lingers ? node->linger_us : deadline_us;
}

static void note_busy(struct kvp_node *node, uint64_t since_us)
{
    atomic_store_explicit(&node->loop_busy_us, since_us, memory_order_relaxed);
}

/* What has come, and what follows from it. The executor is in use. */
static void run_batch(struct kvp_node *node, const struct node_batch *batch)
{
    note_busy(node, kvp_clock_now_us());
    node_tls_watch(node, kvp_clock_now_us());
    kvp_net_server_cork(node->server);
    for (struct kvp_disk_job *job = batch->jobs, *next; job != NULL; job = next) {
        next = job->next;
        kvp_executor_disk_done(node->executor, kvp_clock_now_us(), job);
    }
    for (struct node_event *event = batch->events, *next; event != NULL; event = next) {
        next = event->next;
        run_event(node, event, kvp_clock_now_us());
        node_event_free(node, event);
    }
    kvp_net_server_uncork(node->server);
    run_clients(node, batch->quit);
    uint64_t now_us = kvp_clock_now_us();
    if (now_us >= kvp_executor_deadline(node->executor)) {
        kvp_executor_tick(node->executor, now_us);
    }
    kvp_net_server_cork(node->server);
    kvp_executor_flush(node->executor, now_us);
    kvp_net_server_uncork(node->server);
}

static void *loop(void *arg)
{
    struct kvp_node *node = arg;
    uint64_t deadline_us = 0;
    kvp_node_state state;
    (void)pthread_setname_np(pthread_self(), "kvpair-loop"); /* for top -H, and debuggers */
    atomic_store(&node->loop_runs, true);
    for (;;) {
        struct node_batch batch = node_take(node, deadline_us);
        atomic_store(&node->loop_waits, true);
        pthread_mutex_lock(&node->work);
        atomic_store(&node->loop_waits, false);
        run_batch(node, &batch);
        bool stale =
            node->state_stale || (node->linger_us != 0 && kvp_clock_now_us() >= node->linger_us);
        bool tell = stale && publish(node, &state);
        deadline_us = next_deadline(node);
        pthread_mutex_unlock(&node->work);
        if (tell && !atomic_load(&node->mute)) {
            node->on_change(node->arg, &state);
        }
        atomic_store_explicit(&node->loop_due_us, deadline_us, memory_order_relaxed);
        note_busy(node, 0);
        if (batch.quit) {
            return NULL;
        }
    }
}

/* ---- opening and closing ---- */

/* Begins anew with an empty store, where that is safe. `message` has the damage. */
static kvp_status repair_storage(struct kvp_node *node, const kvp_node_options *options,
                                 struct kvp_loaded *loaded, char *message, size_t size)
{
    struct kvp_quarantined quarantined;
    char damage[512], reason[600];
    bool arbiter = node->config.core.policy == KVP_PAIR_NONE && node->config.peer_count > 0;
    (void)snprintf(damage, sizeof(damage), "%s", message);
    kvp_log(&node->logger, KVP_LOG_ERROR, "store_damaged", "data=%s reason=%s", options->data_dir,
            kvp_log_quote(reason, sizeof(reason), damage));
    kvp_status status = kvp_storage_repair(node->env, node->config.group, options->id, arbiter,
                                           node->quarantine, &quarantined, reason, sizeof(reason));
    if (status != KVP_OK) {
        (void)snprintf(message, size, "%s; %s", damage, reason);
        return status;
    }
    kvp_log(&node->logger, KVP_LOG_WARN, "damaged_set_aside",
            "name=%s kept=%u dropped=%u reason=\"damaged: this node begins anew as an empty one, "
            "and is sent everything by a node that is in sync\"",
            quarantined.name[0] != '\0' ? quarantined.name : "-", quarantined.count,
            quarantined.dropped);
    return kvp_storage_open(node->env, node->config.group, options->id, &node->storage, loaded,
                            message, size);
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
    if (status == KVP_CORRUPT) {
        status = repair_storage(node, options, loaded, message, size);
    }
    if (status == KVP_OK) {
        kvp_storage_set_quarantine(node->storage, node->quarantine);
    }
    return status;
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
        .look = host_look,
        .members = host_members,
        .address = host_address,
    };
    struct kvp_executor_host host = functions;
    host.arg = node;
    node->config.stores_quarantined = loaded->stores_quarantined;
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
    if (node != NULL) {
        pthread_mutex_init(&node->mutex, NULL);
        init_checked_mutex(&node->work);
        node_init_cond(&node->wake);
        node_init_cond(&node->changed);
        pthread_mutex_init(&node->closer.mutex, NULL);
        node_init_cond(&node->closer.wake);
        node_disk_init(&node->writer);
        node_disk_init(&node->sender);
        node->state.role = KVP_ROLE_OUTSIDE;
    }
    return node;
}

/* A group of one is made without asking anybody: it may be that --peer was forgotten. */
static void say_alone(struct kvp_node *node)
{
    if (node->config.peer_count == 0 && node->arbiter != NULL) {
        kvp_log(&node->logger, KVP_LOG_WARN, "alone_with_a_witness",
                "reason=\"it has a witness and no peers: it is a group of one; if there are other "
                "nodes, "
                "stop it and name them with --peer\"");
    }
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
    if (made == NULL) {
        return KVP_NO_MEMORY;
    }
    kvp_status status = node_configure(made, options, message, message_size);
    (void)snprintf(made->data_dir, sizeof(made->data_dir), "%s",
                   options->data_dir != NULL ? options->data_dir : "");
    if (made->on_log != NULL) {
        made->logger.sink = log_sink;
        made->logger.arg = made;
    }
    if (status == KVP_OK) {
        status = open_storage(made, options, &loaded, message, message_size);
    }
    if (status == KVP_OK) {
        status = node_tls_open(made, options, message, message_size);
    }
    if (status == KVP_OK) {
        status = node_members_open(made, options, message, message_size);
    }
    if (status == KVP_OK) {
        status = node_links_open(made, options, message, message_size);
    }
    if (status == KVP_OK) {
        say_strangers(made, &loaded);
        say_alone(made);
        kvp_log(&made->logger, KVP_LOG_INFO, "started", "url=%s group_id=%llu tail=%llu%s",
                made->config.url, (unsigned long long)loaded.meta.group_id,
                (unsigned long long)loaded.tail.seq,
                loaded.meta.log_regressed ? " doubt=true" : "");
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
        if (message != NULL && message_size > 0 && message[0] == '\0') {
            node_say(message, message_size, status, "the node cannot start");
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
    if (message != NULL && message_size > 0) {
        message[0] = '\0';
    }
    if (node == NULL) {
        return KVP_BAD_ARGUMENT;
    }
    kvp_status status = node_options_take(&known, options, message, message_size);
    return status == KVP_OK ? node_open(&known, node, message, message_size) : status;
}

/* Nobody executes these any more. */
static void refuse_rest(struct kvp_node *node)
{
    struct node_batch batch = node_take(node, 0);
    for (struct node_event *event = batch.events, *next; event != NULL; event = next) {
        next = event->next;
        if (event->kind == NODE_REQUEST) {
            kvp_net_drop(event->request);
        } else if (event->kind == NODE_CALL) {
            struct kvp_answer answer = {.status = KVP_CLOSED};
            node_call_answer(event->call, &answer);
        }
        node_event_free(node, event);
    }
    for (struct kvp_disk_job *job = batch.jobs, *next; job != NULL; job = next) {
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
    pthread_mutex_destroy(&node->closer.mutex);
    pthread_cond_destroy(&node->closer.wake);
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
    node_members_close(node);
    if (node->arbiter != NULL) {
        node->arbiter->ops->close(node->arbiter);
    }
    node_fence_stop(node);
    node_disk_stop(node);
    refuse_rest(node);
    if (node->tls != NULL) {
        kvp_tls.close(node->tls);
    }
    kvp_executor_close(node->executor);
    kvp_storage_close(node->storage);
    if (node->env != NULL) {
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
    if (node == NULL) {
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
    if (node == NULL) {
        return KVP_BAD_ARGUMENT;
    }
    struct node_event *event = calloc(1, sizeof(*event));
    if (event == NULL) {
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
    if (node == NULL) {
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
    if (node == NULL || state == NULL) {
        return KVP_BAD_ARGUMENT;
    }
    pthread_mutex_lock(&node->mutex);
    *state = node->state;
    pthread_mutex_unlock(&node->mutex);
    return KVP_OK;
}

const char *kvp_node_url(const kvp_node *node)
{
    return node != NULL ? kvp_net_server_url(node->server) : "";
}

kvp_status kvp_node_wait_serving(kvp_node *node, uint32_t timeout_ms)
{
    if (node == NULL) {
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
