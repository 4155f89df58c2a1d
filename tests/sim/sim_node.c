/* SPDX-License-Identifier: Apache-2.0 */
/* A node in the simulator: its executor's host, its disk, its life. */
#include "sim.h"

#include "replication/core/core_state.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Passed to the executor as its host's argument. */
struct host {
    struct sim *sim;
    struct sim_node *node;
};

static struct host hosts[SIM_COPY + 1]; /* one simulation at a time in a process */

uint64_t sim_node_clock(const struct sim *sim, const struct sim_node *node)
{
    int64_t drift = (int64_t)sim->now_us * node->clock_ppm / 1000000;
    return (uint64_t)((int64_t)sim->now_us + node->clock_offset_us + drift + 1000000000);
}

/* ---- the executor's host ---- */

static void host_send(void *arg, uint8_t peer, enum kvp_link_kind kind, kvp_slice body)
{
    struct host *host = arg;
    struct sim_message message = {
        .from = host->node->id, .to = peer, .kind = kind, .life = host->node->life};
    sim_send(host->sim, &message, body);
}

static void token_end(struct sim_token *token)
{
    token->next->previous = token->previous;
    token->previous->next = token->next;
    free(token);
}

static void answer_bytes(struct host *host, struct sim_token *token, kvp_slice body)
{
    struct sim_message message = {
        .from = token->at,
        .to = token->from,
        .kind = token->kind,
        .call = token->call,
        .life = token->from_life,
        .answer = true,
    };
    if (body.size > 0 && host->node->alive) { /* a dead one's closing words are not heard */
        sim_send(host->sim, &message, body);
    }
    token_end(token);
}

static void host_answer(void *arg, void *token, const struct kvp_answer *answer)
{
    struct host *host = arg;
    const struct sim_token *asked = token;
    kvp_buf body = {0};
    if (asked->reads && (answer->status == KVP_OK || answer->status == KVP_NOT_FOUND)) {
        sim_contract_read(host->sim, host->node);
    }
    if (kvp_wire_answer_encode(answer, &body) != KVP_OK) {
        abort();
    }
    answer_bytes(host, token, kvp_buf_slice(&body));
    kvp_buf_free(&body);
}

static void host_answer_peer(void *arg, void *token, kvp_slice body)
{
    answer_bytes(arg, token, body);
}

static bool host_alive(void *arg, void *token)
{
    const struct host *host = arg;
    return sim_call_alive(host->sim, token);
}

static uint64_t disk_time(struct sim *sim, const struct sim_node *node)
{
    return 10 + sim_exponential(&sim->random, sim->plan.disk_us) * node->disk_factor;
}

static struct sim_disk_queue *disk_queue(struct sim_node *node, bool sends)
{
    return sends ? &node->sender : &node->writer;
}

static void disk_event(struct sim *sim, struct sim_node *node, bool sends, uint64_t delay_us)
{
    struct sim_event *event = sim_at(sim, delay_us, SIM_DISK);
    event->node = node->id;
    event->life = node->life;
    event->flag = sends;
}

static void disk_next(struct sim *sim, struct sim_node *node, bool sends)
{
    struct sim_disk_queue *queue = disk_queue(node, sends);
    if (!queue->busy && queue->first != NULL) {
        uint64_t time_us = disk_time(sim, node);
        queue->busy = true;
        queue->due_us = sim->now_us + time_us;
        disk_event(sim, node, sends, time_us);
    }
}

static void host_disk(void *arg, struct kvp_disk_job *job)
{
    struct host *host = arg;
    bool sends = kvp_disk_sends(job->op);
    struct sim_disk_queue *queue = disk_queue(host->node, sends);
    job->next = NULL;
    if (queue->first != NULL) {
        queue->last->next = job;
    } else {
        queue->first = job;
    }
    queue->last = job;
    disk_next(host->sim, host->node, sends);
}

static void host_arbiter(void *arg, const struct kvp_arbiter_request *request)
{
    struct host *host = arg;
    struct sim_message message = {
        .from = host->node->id, .to = SIM_WITNESS, .call = request->id, .life = host->node->life};
    kvp_buf body = {0};
    if (kvp_arbiter_witness_encode(request, "sim", host->node->self, &body) != KVP_OK) {
        abort();
    }
    sim_send(host->sim, &message, kvp_buf_slice(&body));
    kvp_buf_free(&body);
}

static void host_fence(void *arg)
{
    struct host *host = arg;
    struct sim_event *event = sim_at(host->sim, 1000, SIM_FENCE);
    event->node = host->node->id;
    event->life = host->node->life;
}

static void host_log(void *arg, enum kvp_log_level level, const char *event, const char *fields)
{
    struct host *host = arg;
    (void)level;
    sim_trace(host->sim, "%u %s %s", host->node->id, event, fields);
}

static void host_changed(void *arg)
{
    (void)arg; /* looked at after every event */
}

static void host_stopped(void *arg)
{
    struct host *host = arg;
    host->node->stopped = true; /* ended when the event is over */
}

/* Links to them are opened. */
static void host_members(void *arg, const struct kvp_executor_peer *peers, unsigned count)
{
    struct host *host = arg;
    for (unsigned i = 0; i < count; i++) {
        struct sim_event *event = sim_at(host->sim, 1000, SIM_LINK);
        event->node = host->node->id;
        event->peer = peers[i].id;
        event->life = host->node->life;
        event->flag = true;
    }
}

/* ---- life ---- */

static void configure(const struct sim *sim, const struct sim_node *node,
                      struct kvp_executor_config *config, uint64_t random)
{
    memset(config, 0, sizeof(*config));
    config->core.self = (uint8_t)node->self;
    config->core.sync_replicas = sim->plan.sync_replicas;
    config->core.policy = sim->plan.policy;
    config->core.heartbeat_us = 100000;
    config->core.lease_us = 400000;
    config->core.grace_us = 500000;
    config->core.sync_timeout_us = 2000000;
    config->core.log_size_max = sim->plan.log_size_max;
    config->core.cache_size_max =
        sim->plan.cache_size_max ? sim->plan.cache_size_max : sim->plan.log_size_max;
    config->core.random = random;
    config->core.fence = sim->plan.operators.fence;
    if (sim->plan.operators.short_grace && node->self == 1) {
        config->core.lease_us = 200000;
        config->core.grace_us = 250000;
    }
    config->sessions_max = sim->plan.sessions.sessions_max ? sim->plan.sessions.sessions_max : 64;
    config->session_idle_ms = sim->plan.sessions.idle_ms;
    config->jobs = (struct kvp_jobs_config){
        .load_at_once =
            sim->plan.jobs.on ? sim->plan.jobs.load_at_once : sim->plan.sessions.load_at_once,
        .jobs_max = sim->plan.jobs.jobs_max,
        .workers_max = sim->plan.jobs.workers_max,
        .step_work = sim->plan.jobs.load_at_once * 200u,
        .verify_size_max = sim->plan.jobs.load_at_once > 0 ? SIM_VERIFY_SIZE : 0,
    };
    strcpy(config->group, "sim");
    strcpy(config->admins, "user/root");
    snprintf(config->url, sizeof(config->url), "sim://%u", node->id);
    for (unsigned id = 1; id <= sim->plan.nodes; id++) {
        config->core.nodes |= kvp_set_of(id);
        if (id != node->self) {
            struct kvp_executor_peer *peer = &config->peers[config->peer_count++];
            peer->id = (uint8_t)id;
            snprintf(peer->url, sizeof(peer->url), "sim://%u", id);
        }
    }
}

/* Nobody connects to a copy. */
static void links(struct sim *sim, const struct sim_node *node)
{
    unsigned sides = node->id == node->self ? 2 : 1;
    for (unsigned id = 1; id <= sim->plan.nodes; id++) {
        for (unsigned side = 0; id != node->self && side < sides; side++) {
            struct sim_event *event = sim_at(sim, 1000, SIM_LINK);
            event->node = side ? id : node->id;
            event->peer = side ? node->id : id;
            event->life = sim->nodes[event->node].life;
            event->flag = true;
        }
    }
}

void sim_node_start(struct sim *sim, struct sim_node *node)
{
    static const struct kvp_executor_host functions = {
        .send = host_send,
        .answer = host_answer,
        .answer_peer = host_answer_peer,
        .disk = host_disk,
        .arbiter = host_arbiter,
        .fence = host_fence,
        .log = host_log,
        .changed = host_changed,
        .stopped = host_stopped,
        .members = host_members,
    };
    struct kvp_executor_config config;
    struct kvp_loaded loaded;
    char message[256] = "";
    node->life = ++sim->order;
    node->started_us = sim->now_us;
    node->disk_factor = 1;
    node->disk_hangs = false;
    kvp_status status = kvp_storage_open(node->env, "sim", node->self, &node->storage, &loaded,
                                         message, sizeof(message));
    if (status != KVP_OK) {
        sim_fail(sim, "node %u cannot open its storage: %s (%s)", node->id, kvp_strerror(status),
                 message);
        return;
    }
    sim_operators_room(sim, node);
    sim_trace(sim, "%u start tail=%llu applied=%llu epoch=%llu doubt=%d", node->id,
              (unsigned long long)loaded.tail.seq, (unsigned long long)loaded.applied.seq,
              (unsigned long long)loaded.meta.view.epoch, loaded.meta.log_regressed);
    configure(sim, node, &config, sim_random(&sim->random));
    config.stores_quarantined = loaded.stores_quarantined;
    hosts[node->id] = (struct host){sim, node};
    struct kvp_executor_host host = functions;
    host.arg = &hosts[node->id];
    host.alive = sim->plan.jobs.deaths_show ? host_alive : NULL;
    node->disk.storage = node->storage;
    node->disk.chunk_size = sim->plan.chunk_size;
    sim_contract_opened(sim, node);
    node->alive = true;
    status = kvp_executor_open(&config, &host, node->storage, &loaded, sim_node_clock(sim, node),
                               &node->executor);
    if (status != KVP_OK) {
        sim_fail(sim, "node %u cannot start: %s", node->id, kvp_strerror(status));
        return;
    }
    links(sim, node);
    sim_node_settle(sim, node);
}

static void drop_held(struct sim_node *node)
{
    while (node->held != NULL) {
        struct sim_event *event = node->held;
        node->held = event->next;
        sim_message_free(&event->message);
        free(event);
    }
}

static void drop_jobs(struct sim_disk_queue *queue)
{
    while (queue->first != NULL) {
        struct kvp_disk_job *job = queue->first;
        queue->first = job->next;
        kvp_disk_job_free(job);
    }
    *queue = (struct sim_disk_queue){0};
}

/* Ends the process; what its end has durably on disk is the caller's business. */
static void end(struct sim_node *node)
{
    node->alive = node->paused = node->serving = node->told_to_stop = node->stopped = false;
    node->tick_at = 0;
    kvp_disk_close(&node->disk);
    drop_jobs(&node->writer);
    drop_jobs(&node->sender);
    if (node->executor != NULL) {
        bool known = kvp_executor_core(node->executor)->confirmed;
        node->starts_unknown = known ? 0 : node->starts_unknown + 1;
        kvp_executor_close(node->executor);
        node->executor = NULL;
    }
    while (node->tokens.next != NULL && node->tokens.next != &node->tokens) {
        token_end(node->tokens.next);
    }
    drop_held(node);
    kvp_storage_close(node->storage);
    node->storage = NULL;
}

void sim_node_end(struct sim *sim, struct sim_node *node)
{
    sim_trace(sim, "%u END", node->id);
    end(node);
    kvp_env_memory_restart(node->env);
}

void sim_node_crash(struct sim *sim, struct sim_node *node)
{
    if (!node->alive) {
        return;
    }
    size_t kept =
        sim_below(&sim->random_faults, 4) == 0 ? 0 : (size_t)sim_below(&sim->random_faults, 8);
    bool files = sim_below(&sim->random_faults, 2) != 0;
    /* A power cut, of which few batches of the state are left, or the end of a process. */
    size_t batches = kept < 4 ? kept : SIZE_MAX;
    sim_trace(sim, "%u CRASH keeps %zu unsynced batches and %zu frames", node->id, batches, kept);
    kvp_env_memory_crash(node->env, batches, kept, files);
    end(node);
    kvp_env_memory_restart(node->env);
}

void sim_node_free(struct sim_node *node)
{
    if (node->env != NULL) {
        end(node);
        node->env->ops->close(node->env);
        node->env = NULL;
    }
}

/* ---- events ---- */

static void schedule_tick(struct sim *sim, struct sim_node *node)
{
    uint64_t local = sim_node_clock(sim, node);
    uint64_t deadline = kvp_executor_deadline(node->executor);
    if (deadline == UINT64_MAX) {
        return;
    }
    uint64_t wait = deadline > local ? deadline - local : 0;
    if (sim->plan.lazy_ticks) {
        wait = wait * 1000000 / (uint64_t)(1000000 + node->clock_ppm) + 1;
    } else {
        wait += wait / 10 + 1; /* a slow clock needs longer; late is allowed */
    }
    wait += sim->plan.jobs.tick_us;
    bool scheduled =
        sim->plan.lazy_ticks ? node->tick_for <= deadline : node->tick_at <= sim->now_us + wait;
    if (node->tick_at > sim->now_us && scheduled) {
        return;
    }
    struct sim_event *event = sim_at(sim, wait, SIM_TICK);
    event->node = node->id;
    event->life = node->life;
    node->tick_at = event->at;
    node->tick_for = deadline;
}

/* While there are faults, a node that has failed stays as it is until its disk is repaired. */
static void end_failed(struct sim *sim, struct sim_node *node)
{
    if (sim->calm && kvp_core_role(kvp_executor_core(node->executor)) == KVP_ROLE_FAILED) {
        sim_node_crash(sim, node);
        sim_at(sim, 1000000, SIM_RESTART)->node = node->id;
    }
}

void sim_node_settle(struct sim *sim, struct sim_node *node)
{
    if (node->alive && node->executor != NULL) {
        kvp_executor_flush(node->executor, sim_node_clock(sim, node));
        schedule_tick(sim, node);
        end_failed(sim, node);
    }
}

/* False: there is no answer yet. What was asked of a disk that hangs may have been done, or not. */
static bool do_job(struct sim *sim, struct sim_node *node, struct sim_disk_queue *queue)
{
    bool hangs = node->disk_hangs;
    if (!queue->ran && (!hangs || sim_below(&sim->random_hangs, 2) != 0)) {
        sim_jobs_applied(sim, queue->first);
        sim_watches_applied(sim, queue->first);
        sim_rights_wrote(sim, queue->first);
        sim_leases_applied(sim, queue->first);
        sim_contract_run(sim, node, queue->first);
        queue->ran = true;
    }
    queue->waits = hangs;
    return !hangs;
}

static void run_disk(struct sim *sim, struct sim_node *node, bool sends)
{
    struct sim_disk_queue *queue = disk_queue(node, sends);
    struct kvp_disk_job *job = queue->first;
    if (!do_job(sim, node, queue)) {
        return;
    }
    queue->first = job->next;
    queue->busy = queue->ran = false;
    kvp_executor_disk_done(node->executor, sim_node_clock(sim, node), job);
    disk_next(sim, node, sends);
}

void sim_node_disk_answers(struct sim *sim, struct sim_node *node)
{
    node->disk_hangs = false;
    for (unsigned sends = 0; node->alive && sends < 2; sends++) {
        if (disk_queue(node, sends)->waits) {
            disk_queue(node, sends)->waits = false;
            disk_event(sim, node, sends, 0);
        }
    }
}

static void hold(struct sim_node *node, const struct sim_event *event)
{
    struct sim_event *copy = malloc(sizeof(*copy));
    if (copy == NULL) {
        abort();
    }
    *copy = *event;
    copy->next = NULL;
    if (node->held != NULL) {
        node->held_last->next = copy;
    } else {
        node->held = copy;
    }
    node->held_last = copy;
}

static void resume(struct sim *sim, struct sim_node *node)
{
    sim_trace(sim, "%u RESUME", node->id);
    node->paused = false;
    struct sim_event *held = node->held;
    node->held = NULL;
    while (held != NULL) {
        struct sim_event *event = held;
        held = event->next;
        if (event->kind == SIM_MESSAGE) {
            sim_node_message(sim, node, &event->message);
            sim_message_free(&event->message);
        } else {
            sim_node_event(sim, event);
        }
        free(event);
    }
}

void sim_node_event(struct sim *sim, struct sim_event *event)
{
    struct sim_node *node = &sim->nodes[event->node];
    if (event->kind == SIM_RESTART) {
        if (sim_accidents_hold(sim, node)) {
            sim_at(sim, 100000, SIM_RESTART)->node = node->id;
        } else if (!node->alive && node->env != NULL) {
            sim_node_start(sim, node);
        }
        return;
    }
    if (!node->alive || event->life != node->life) {
        return;
    }
    if (event->kind == SIM_RESUME) {
        resume(sim, node);
        return;
    }
    if (event->kind == SIM_TICK && sim->plan.lazy_ticks && event->at != node->tick_at) {
        return; /* another one came before it */
    }
    if (node->paused) {
        hold(node, event);
        return;
    }
    uint64_t clock = sim_node_clock(sim, node);
    switch (event->kind) {
    case SIM_TICK:
        node->tick_at = 0;
        kvp_executor_tick(node->executor, clock);
        break;
    case SIM_DISK:
        run_disk(sim, node, event->flag);
        break;
    case SIM_LINK:
        for (unsigned kind = 0; kind < KVP_LINK_KINDS; kind++) {
            kvp_executor_link(node->executor, clock, (uint8_t)event->peer, (enum kvp_link_kind)kind,
                              event->flag);
        }
        break;
    case SIM_FENCE:
        kvp_executor_fence_done(node->executor, clock, sim_operators_fence(sim));
        break;
    default:
        break;
    }
    sim_node_settle(sim, node);
}

/* Is it a read that wants the newest state? */
static bool reads(const struct sim_message *message)
{
    static struct kvp_txn_scratch scratch;
    struct kvp_request request;
    const char *reason;
    return message->from >= SIM_CLIENT(0) &&
           kvp_wire_request_decode(kvp_slice_of(message->bytes, message->size), &scratch, &request,
                                   &reason) == KVP_OK &&
           (request.op == KVP_OP_GET || request.op == KVP_OP_SCAN) && !request.stale;
}

static struct sim_token *token_new(struct sim_node *node, const struct sim_message *message)
{
    struct sim_token *token = calloc(1, sizeof(*token));
    if (token == NULL) {
        abort();
    }
    token->from = message->from;
    token->from_life = message->life;
    token->at = node->id;
    token->kind = message->kind;
    token->call = message->call;
    token->reads = reads(message);
    token->next = node->tokens.next;
    token->previous = &node->tokens;
    token->next->previous = token;
    node->tokens.next = token;
    return token;
}

void sim_node_message(struct sim *sim, struct sim_node *node, struct sim_message *message)
{
    if (!node->alive || (message->answer && message->life != node->life)) {
        return;
    }
    if (node->paused) {
        struct sim_event event = {.kind = SIM_MESSAGE, .message = *message};
        hold(node, &event);
        message->bytes = NULL; /* moved */
        return;
    }
    uint64_t clock = sim_node_clock(sim, node);
    kvp_slice body = kvp_slice_of(message->bytes, message->size);
    if (!message->answer) {
        kvp_executor_message(node->executor, clock, body, sim_rights_identity(message->from),
                             token_new(node, message));
    } else if (message->from == SIM_WITNESS) {
        struct kvp_arbiter_answer answer;
        if (kvp_arbiter_witness_decode(body, message->call, &answer) == KVP_OK) {
            kvp_executor_arbiter_answer(node->executor, clock, &answer);
        }
    } else {
        kvp_executor_peer_answer(node->executor, clock, (uint8_t)message->from, body);
    }
    sim_node_settle(sim, node);
}
