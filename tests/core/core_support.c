/* SPDX-License-Identifier: Apache-2.0 */
#include "core_disk.h"

#include "tests/support/store_memory.h"
#include "replication/core/core_state.h"
#include "replication/wire/wire_parts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NET_US     500u
#define WITNESS_US 1000u

enum event_kind { EVENT_REQUEST, EVENT_REPLY, EVENT_DISK, EVENT_ARBITER, EVENT_FENCE };

struct event {
    struct event *next;
    enum event_kind kind;
    uint64_t at_us;
    unsigned node, life; /* whose event it is; life 0: of any */
    unsigned from;
    struct kvp_peer_request *request;
    struct kvp_peer_reply reply;
    struct kvp_arbiter_answer answer;
};

/* A request under way in a core: port.reply must be called once for it. */
struct core_token {
    struct core_token *next;
    unsigned from, from_life;
};

void *world_must(void *memory)
{
    assert_non_null(memory);
    return memory;
}

/* ---- the log of what happened ---- */

void world_log(struct node *node, unsigned peer, enum happening did, int what, uint64_t number)
{
    struct world *world = node->world;
    if (world->happened_count == world->happened_room) {
        world->happened_room = world->happened_room * 2 + 64;
        world->happened =
            world_must(realloc(world->happened, world->happened_room * sizeof(*world->happened)));
    }
    world->happened[world->happened_count++] =
        (struct happened){world->now_us, node->id, peer, did, what, number};
    if (getenv("CORE_TRACE") != NULL) {
        static const char *const names[] = {"note",    "asks promise", "grant", "set aside",
                                            "serves",  "cut",          "fence", "handover",
                                            "promote", "stopped"};
        printf("[%8.3f] %u %s %s %d peer %u number %llu\n", (double)world->now_us / 1e6, node->id,
               names[did], did == DID_NOTE ? kvp_note_name((enum kvp_note)what) : "", what, peer,
               (unsigned long long)number);
    }
}

unsigned world_count(const struct world *world, unsigned id, enum happening did, int what)
{
    unsigned count = 0;
    for (size_t i = 0; i < world->happened_count; i++) {
        const struct happened *one = &world->happened[i];
        count += one->node == id && one->did == did && (what == ANY || one->what == what);
    }
    return count;
}

struct happened world_last(const struct world *world, unsigned id, enum happening did, int what)
{
    for (size_t i = world->happened_count; i > 0; i--) {
        const struct happened *one = &world->happened[i - 1];
        if (one->node == id && one->did == did && (what == ANY || one->what == what)) {
            return *one;
        }
    }
    fail_msg("node %u never did %d (%d)", id, (int)did, what);
    return (struct happened){0};
}

/* ---- events ---- */

/* splitmix64 */
uint64_t world_random(struct world *world, uint64_t below)
{
    uint64_t z = world->random += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    z ^= z >> 31;
    return below ? z % below : z;
}

static struct event *event_new(struct world *world, enum event_kind kind, unsigned node,
                               uint64_t wait_us)
{
    struct event *event = world_must(calloc(1, sizeof(*event)));
    event->kind = kind;
    event->node = node;
    event->at_us = world->now_us + wait_us;
    struct event **at = &world->events;
    while (*at != NULL && (*at)->at_us <= event->at_us) {
        at = &(*at)->next;
    }
    event->next = *at;
    *at = event;
    return event;
}

void world_disk_event(struct node *node)
{
    event_new(node->world, EVENT_DISK, node->id, node->disk_us)->life = node->life;
}

static struct kvp_peer_request *request_copy(const struct kvp_peer_request *request)
{
    struct kvp_peer_request *copy = world_must(malloc(sizeof(*copy)));
    *copy = *request;
    for (size_t i = 0; i < copy->entry_count; i++) {
        kvp_entry_ref(copy->entries[i]);
    }
    if (copy->op == KVP_OP_SNAPSHOT) {
        uint8_t *bytes = world_must(malloc(request->chunk.size + 1));
        if (request->chunk.size > 0) {
            memcpy(bytes, request->chunk.data, request->chunk.size);
        }
        copy->chunk = kvp_slice_of(bytes, request->chunk.size);
    }
    return copy;
}

static void event_free(struct event *event)
{
    struct kvp_peer_request *request = event->request;
    for (size_t i = 0; request != NULL && i < request->entry_count; i++) {
        kvp_entry_unref(request->entries[i]);
    }
    if (request != NULL && request->op == KVP_OP_SNAPSHOT) {
        free((void *)(uintptr_t)request->chunk.data);
    }
    free(request);
    free(event);
}

/* ---- the network ---- */

/* How often a message arrives: 0, 1 or 2 times. */
static unsigned copies(struct world *world)
{
    if (world->lose_percent && world_random(world, 100) < world->lose_percent) {
        return 0;
    }
    return world->twice_percent && world_random(world, 100) < world->twice_percent ? 2 : 1;
}

static uint64_t travel_us(struct world *world)
{
    return NET_US + (world->jitter_us ? world_random(world, world->jitter_us) : 0);
}

/* Would the wire carry it? After lies numbers may be too large, and entries may not fit. */
static bool passes(const struct kvp_peer_request *request)
{
    uint64_t hash = request->prev.hash;
    if (request->op == KVP_OP_APPEND && request->entry_count > 0) {
        const struct kvp_entry *first = request->entries[0];
        kvp_slice payload = kvp_slice_of(first->payload, first->size);
        if (first->point.seq != request->prev.seq + 1 ||
            first->point.hash !=
                kvp_chain_hash(hash, first->point.seq, first->point.epoch, payload)) {
            return false;
        }
    }
    return kvp_wire_view_is_sound(&request->view);
}

static void port_send(void *arg, const struct kvp_peer_request *request)
{
    struct node *node = arg;
    struct world *world = node->world;
    if (request->to >= sizeof(world->nodes) / sizeof(world->nodes[0])) {
        return; /* there is no such node: a liar has told of it */
    }
    const struct path *path = &world->paths[node->id][request->to];
    if (request->op == KVP_OP_HEARTBEAT && request->prepare) {
        world_log(node, request->to, DID_ASK_PROMISE, 0, world->nodes[request->to].disk.tail.seq);
    }
    if (world->hostile && !passes(request)) {
        return;
    }
    if (path->cut || (path->swallow >> (request->op - KVP_OP_STATE) & 1)) {
        return;
    }
    bool data = request->op == KVP_OP_APPEND || request->op == KVP_OP_SNAPSHOT;
    for (unsigned i = copies(world); i > 0; i--) {
        struct event *event = event_new(world, EVENT_REQUEST, request->to,
                                        travel_us(world) + (data ? path->delay_us : 0));
        event->from = node->id;
        event->life = world->nodes[request->to].life;
        event->request = request_copy(request);
    }
}

static void port_reply(void *arg, void *given, const struct kvp_peer_reply *reply)
{
    struct node *node = arg;
    struct world *world = node->world;
    struct core_token **at = &node->held;
    while (*at != given) {
        assert_non_null(*at); /* else: answered twice, or never given */
        at = &(*at)->next;
    }
    struct core_token *token = *at;
    *at = token->next;
    node->tokens--;
    world->last_reply = *reply;
    bool known = token->from >= 1 && token->from <= world->count;
    known = known && (!world->hostile || kvp_wire_view_is_sound(&reply->report.view));
    if (known && node->alive && !world->paths[node->id][token->from].cut) {
        for (unsigned i = copies(world); i > 0; i--) {
            struct event *event =
                event_new(world, EVENT_REPLY, token->from,
                          travel_us(world) + world->paths[node->id][token->from].reply_us);
            event->from = node->id;
            event->life = token->from_life;
            event->reply = *reply;
        }
    }
    free(token);
}

static void deliver(struct node *node, const struct kvp_peer_request *request, unsigned from)
{
    struct core_token *token = world_must(malloc(sizeof(*token)));
    token->from = from;
    token->from_life = from <= CORES ? node->world->nodes[from].life : 0;
    token->next = node->held;
    node->held = token;
    node->tokens++;
    kvp_core_request(node->core, node->world->now_us, request, token);
}

/* ---- the witness, the fence, the news ---- */

static bool ask_witness(struct world *world, unsigned id, const struct kvp_arbiter_request *request,
                        struct kvp_arbiter_answer *answer)
{
    kvp_buf message = {0}, said = {0};
    if (kvp_arbiter_witness_encode(request, "g", id, &message) != KVP_OK) {
        assert_true(world->hostile);
        return false;
    }
    assert_int_equal(kvp_witness_handle(world->witness, kvp_buf_slice(&message), &said), KVP_OK);
    assert_int_equal(kvp_arbiter_witness_decode(kvp_buf_slice(&said), request->id, answer), KVP_OK);
    kvp_buf_free(&message);
    kvp_buf_free(&said);
    return true;
}

static void port_arbiter(void *arg, const struct kvp_arbiter_request *request)
{
    struct node *node = arg;
    struct world *world = node->world;
    struct kvp_arbiter_answer answer = {.id = request->id};
    bool change = request->op == KVP_ARBITER_CAS || request->op == KVP_ARBITER_SEED;
    assert_int_equal(world->config.policy, KVP_PAIR_NONE);
    if (node->witness_loses & (change ? LOSES_CHANGE : LOSES_GET)) {
        return;
    }
    if (world->arbiter != NULL ? !world->arbiter(node, request, &answer)
                               : !ask_witness(world, node->id, request, &answer)) {
        return;
    }
    if (change) {
        world_log(node, answer.view.primary, DID_GRANT, answer.status, answer.view.epoch);
    }
    if (!change || !(node->witness_loses & LOSES_OUTCOME)) {
        struct event *event = event_new(world, EVENT_ARBITER, node->id, WITNESS_US);
        event->life = node->life;
        event->answer = answer;
    }
}

static void port_fence(void *arg)
{
    struct node *node = arg;
    world_log(node, 0, DID_FENCE, 0, 0);
    event_new(node->world, EVENT_FENCE, node->id, MS)->life = node->life;
}

/* An entry that was cut may have had the same number as one that is committed now. */
static void port_committed(void *arg, uint64_t seq)
{
    struct node *node = arg;
    struct world *world = node->world;
    struct kvp_point ours;
    assert_true(seq > node->commit);
    node->commit = seq;
    for (size_t i = 0; i < world->made_count && world_serves(world, node->id); i++) {
        struct made *made = &world->made[i];
        if (made->node == node->id && made->point.seq <= seq && !made->acknowledged &&
            kvp_core_log_point(&node->core->log, made->point.seq, &ours)) {
            made->acknowledged = kvp_point_equal(ours, made->point);
        }
    }
}

static void port_changed(void *arg)
{
    (void)arg; /* looked at after every event */
}

static void port_handover_done(void *arg, kvp_status status)
{
    world_log(arg, 0, DID_HANDOVER, status, 0);
}

static void port_promote_done(void *arg, kvp_status status)
{
    world_log(arg, 0, DID_PROMOTE, status, 0);
}

static void port_stopped(void *arg)
{
    struct node *node = arg;
    assert_false(node->stopped);
    node->stopped = true;
    world_log(node, 0, DID_STOP, 0, 0);
}

static void port_note(void *arg, enum kvp_note note, uint64_t number)
{
    world_log(arg, 0, DID_NOTE, (int)note, number);
}

/* ---- what must hold always ---- */

static void check_view(struct world *world, const struct kvp_view *view)
{
    for (size_t i = 0; i < world->view_count; i++) {
        if (world->views[i].epoch == view->epoch) {
            if (!kvp_view_equal(&world->views[i], view)) {
                fail_msg("two views of epoch %llu", (unsigned long long)view->epoch);
            }
            return;
        }
    }
    world->views = world_must(realloc(world->views, (world->view_count + 1) * sizeof(*view)));
    world->views[world->view_count++] = *view;
}

/* Who begins to serve has all that was acknowledged. */
static void check_served(struct world *world, const struct node *node)
{
    for (size_t i = 0; i < world->made_count; i++) {
        const struct made *made = &world->made[i];
        struct kvp_point ours;
        if (!made->acknowledged) {
            continue;
        }
        if (made->point.seq > node->disk.tail.seq ||
            (disk_point(&node->disk, made->point.seq, &ours) &&
             !kvp_point_equal(ours, made->point))) {
            fail_msg("node %u serves without entry %llu", node->id,
                     (unsigned long long)made->point.seq);
        }
    }
}

static void check(struct world *world)
{
    unsigned servers = 0;
    for (unsigned i = 1; i <= world->count; i++) {
        struct node *node = &world->nodes[i];
        if (!node->alive) {
            continue;
        }
        const struct kvp_view *view = kvp_core_view(node->core);
        if (view->version != 0 && !world->hostile) {
            check_view(world, view);
        }
        assert_true(node->core->commit <= node->core->durable.seq);
        bool serving = kvp_core_serving(node->core, world->now_us);
        if (serving && !node->serving) {
            world_log(node, 0, DID_SERVE, 0, kvp_core_next_seq(node->core) - 1);
            if (!world->may_split && !world->hostile) {
                check_served(world, node);
            }
        }
        node->serving = serving;
        servers += serving;
    }
    if (servers > 1 && !world->may_split && !world->hostile) {
        fail_msg("%u nodes serve at once", servers);
    }
}

/* ---- running ---- */

static void happen(struct world *world, struct event *event)
{
    struct node *node = &world->nodes[event->node];
    if (!node->alive || (event->life != 0 && event->life != node->life)) {
        return;
    }
    switch (event->kind) {
    case EVENT_REQUEST:
        deliver(node, event->request, event->from);
        break;
    case EVENT_REPLY:
        kvp_core_reply(node->core, world->now_us, &event->reply);
        break;
    case EVENT_DISK:
        disk_run(node);
        break;
    case EVENT_ARBITER:
        kvp_core_arbiter_answer(node->core, world->now_us, &event->answer);
        break;
    case EVENT_FENCE:
        kvp_core_fence_done(node->core, world->now_us, node->fence_works);
        break;
    }
    kvp_core_flush(node->core, world->now_us);
    check(world);
}

/* The next node whose deadline comes before `*at_us`, which becomes that; NULL: none. */
static struct node *next_tick(struct world *world, uint64_t *at_us)
{
    struct node *next = NULL;
    for (unsigned i = 1; i <= world->count; i++) {
        struct node *node = &world->nodes[i];
        if (node->alive) {
            uint64_t due = kvp_core_deadline(node->core);
            due = due > world->now_us ? due : world->now_us + 1;
            if (due < *at_us) {
                *at_us = due;
                next = node;
            }
        }
    }
    return next;
}

static bool world_step(struct world *world, uint64_t end_us)
{
    uint64_t at_us = end_us + 1;
    struct node *node = next_tick(world, &at_us);
    struct event *event = world->events;
    if (event != NULL && event->at_us < at_us) {
        world->events = event->next;
        world->now_us = event->at_us > world->now_us ? event->at_us : world->now_us;
        happen(world, event);
        event_free(event);
        return true;
    }
    if (node != NULL) {
        world->now_us = at_us;
        kvp_core_tick(node->core, at_us);
        kvp_core_flush(node->core, at_us);
        check(world);
        return true;
    }
    world->now_us = end_us;
    return false;
}

void world_run(struct world *world, uint64_t us)
{
    uint64_t end_us = world->now_us + us;
    while (world_step(world, end_us)) {
    }
}

void world_run_serving(struct world *world, unsigned id, uint64_t us)
{
    uint64_t end_us = world->now_us + us;
    while (!world_serves(world, id)) {
        if (!world_step(world, end_us)) {
            fail_msg("node %u does not serve", id);
        }
    }
}

void world_form(struct world *world)
{
    for (unsigned i = 1; i <= world->count; i++) {
        world_start(world, i);
    }
    unsigned wanted = world->config.sync_replicas ? world->config.sync_replicas : world->count;
    for (unsigned i = 0; i < 100; i++) {
        world_run(world, HEARTBEAT_US);
        if (world_serves(world, 1) &&
            kvp_set_count(kvp_core_view(world->nodes[1].core)->in_sync) == wanted) {
            world_run(world, 5 * HEARTBEAT_US);
            return;
        }
    }
    fail_msg("no group came into being");
}

/* ---- life ---- */

static void open_witness(struct world *world)
{
    char message[128];
    assert_int_equal(kvp_env_memory_open(&world->env), KVP_OK);
    assert_int_equal(kvp_witness_open(world->env, &world->witness, message, sizeof(message)),
                     KVP_OK);
}

void world_open(struct world *world, unsigned count)
{
    memset(world, 0, sizeof(*world));
    world->now_us = SECONDS;
    world->count = count;
    world->snapshot_chunks = 3;
    world->config = (struct kvp_core_config){
        .heartbeat_us = HEARTBEAT_US,
        .lease_us = LEASE_US,
        .grace_us = GRACE_US,
        .sync_timeout_us = SYNC_TIMEOUT_US,
        .log_size_max = 1u << 20,
        .cache_size_max = 1u << 20,
    };
    for (unsigned i = 1; i <= count; i++) {
        struct node *node = &world->nodes[i];
        world->config.nodes |= kvp_set_of(i);
        node->world = world;
        node->id = i;
        node->disk.first = 1;
        node->disk_us = 200;
        node->disk_status = KVP_OK;
        node->fence_works = true;
    }
    open_witness(world);
}

static void tell_links(struct world *world, unsigned id, bool up)
{
    for (unsigned i = 1; i <= world->count; i++) {
        if (i != id && world->nodes[i].alive) {
            if (up) {
                world_link(world, id, i, true);
            }
            if (!world->unnoticed) {
                world_link(world, i, id, up);
            }
        }
    }
}

void world_start(struct world *world, unsigned id)
{
    static const struct kvp_core_port functions = {
        .send = port_send,
        .reply = port_reply,
        .arbiter = port_arbiter,
        .fence = port_fence,
        .committed = port_committed,
        .changed = port_changed,
        .handover_done = port_handover_done,
        .promote_done = port_promote_done,
        .stopped = port_stopped,
        .note = port_note,
    };
    struct node *node = &world->nodes[id];
    struct kvp_core_config config = world->config;
    struct kvp_core_port port = functions;
    assert_false(node->alive);
    port.arg = node;
    disk_port(&port);
    config.self = (uint8_t)id;
    config.random = id * 77 + world->now_us;
    assert_int_equal(kvp_core_new(&config, &port, &node->core), KVP_OK);
    node->alive = true;
    node->life = (unsigned)++world->order;
    node->commit = 0;
    node->stopped = false;
    struct kvp_loaded loaded = disk_load(&node->disk);
    kvp_core_start(node->core, world->now_us, &loaded);
    kvp_core_flush(node->core, world->now_us);
    tell_links(world, id, true);
}

static void end(struct node *node)
{
    node->alive = node->serving = false;
    kvp_core_free(node->core);
    node->core = NULL;
    assert_int_equal(node->tokens, 0);
    disk_drop_jobs(node);
}

void world_kill(struct world *world, unsigned id)
{
    assert_true(world->nodes[id].alive);
    end(&world->nodes[id]);
    tell_links(world, id, false);
}

void world_close(struct world *world)
{
    for (unsigned i = 1; i <= world->count; i++) {
        struct node *node = &world->nodes[i];
        if (node->alive) {
            end(node);
        }
        disk_clear(&node->disk, (struct kvp_point){0});
        free(node->disk.log);
    }
    while (world->events != NULL) {
        struct event *event = world->events;
        world->events = event->next;
        event_free(event);
    }
    free(world->happened);
    free(world->views);
    free(world->made);
    kvp_witness_close(world->witness);
    world->env->ops->close(world->env);
}

/* ---- what a test does ---- */

void world_cut(struct world *world, unsigned a, unsigned b)
{
    world->paths[a][b].cut = world->paths[b][a].cut = true;
}

void world_heal(struct world *world, unsigned a, unsigned b)
{
    world->paths[a][b] = world->paths[b][a] = (struct path){0};
}

void world_isolate(struct world *world, unsigned id)
{
    for (unsigned i = 1; i <= world->count; i++) {
        world_cut(world, id, i);
    }
}

void world_rejoin(struct world *world, unsigned id)
{
    for (unsigned i = 1; i <= world->count; i++) {
        world_heal(world, id, i);
    }
}

void world_swallow(struct world *world, unsigned from, unsigned to, unsigned op)
{
    world->paths[from][to].swallow |= 1u << (op - KVP_OP_STATE);
}

void world_link(struct world *world, unsigned id, unsigned peer, bool up)
{
    struct kvp_core *core = world->nodes[id].core;
    kvp_core_link(core, world->now_us, (uint8_t)peer, up);
    kvp_core_flush(core, world->now_us);
}

void world_witness(struct world *world, unsigned id, bool up)
{
    world->nodes[id].witness_loses = up ? 0 : LOSES_GET | LOSES_CHANGE;
}

void world_witness_forgets(struct world *world)
{
    kvp_witness_close(world->witness);
    world->env->ops->close(world->env);
    open_witness(world);
}

static void remember(struct world *world, unsigned id, struct kvp_point point)
{
    if (world->made_count == world->made_room) {
        world->made_room = world->made_room * 2 + 64;
        world->made = world_must(realloc(world->made, world->made_room * sizeof(*world->made)));
    }
    world->made[world->made_count++] = (struct made){id, point, false};
}

void world_put(struct world *world, unsigned id, unsigned count)
{
    struct kvp_core *core = world->nodes[id].core;
    for (unsigned i = 0; i < count; i++) {
        uint64_t number = ++world->order;
        struct kvp_entry *entry = world_must(kvp_entry_new(sizeof(number)));
        memcpy(entry->payload, &number, sizeof(number));
        assert_true(kvp_core_accepting(core, world->now_us));
        kvp_core_submit(core, world->now_us, entry);
        remember(world, id, entry->point);
        kvp_entry_unref(entry);
    }
    kvp_core_flush(core, world->now_us);
}

void world_promote(struct world *world, unsigned id, bool force)
{
    kvp_core_promote(world->nodes[id].core, world->now_us, force);
    kvp_core_flush(world->nodes[id].core, world->now_us);
    check(world);
}

void world_handover(struct world *world, unsigned id, unsigned target)
{
    kvp_core_handover(world->nodes[id].core, world->now_us, (uint8_t)target);
    kvp_core_flush(world->nodes[id].core, world->now_us);
    check(world);
}

void world_stop(struct world *world, unsigned id)
{
    kvp_core_stop(world->nodes[id].core, world->now_us);
    kvp_core_flush(world->nodes[id].core, world->now_us);
    check(world);
}

void world_request(struct world *world, unsigned to, const struct kvp_peer_request *request)
{
    deliver(&world->nodes[to], request, request->from);
    kvp_core_flush(world->nodes[to].core, world->now_us);
    check(world);
}

/* ---- what is so ---- */

struct kvp_core_status world_status(struct world *world, unsigned id)
{
    struct kvp_core_status status;
    assert_true(world->nodes[id].alive);
    kvp_core_status(world->nodes[id].core, world->now_us, &status);
    return status;
}

bool world_serves(struct world *world, unsigned id)
{
    const struct node *node = &world->nodes[id];
    return node->alive && kvp_core_serving(node->core, world->now_us);
}

uint64_t world_match(struct world *world, unsigned id, unsigned peer)
{
    struct kvp_core_status status = world_status(world, id);
    for (unsigned i = 0; i < status.peer_count; i++) {
        if (status.peers[i].id == peer) {
            return status.peers[i].match;
        }
    }
    fail_msg("node %u does not know %u", id, peer);
    return 0;
}

void assert_serves(struct world *world, unsigned id, kvp_node_set in_sync)
{
    assert_true(world_serves(world, id));
    assert_int_equal(kvp_core_view(world->nodes[id].core)->in_sync, in_sync);
}

void assert_same(struct world *world, kvp_node_set nodes)
{
    const struct disk *first = NULL;
    for (unsigned i = 1; i <= world->count; i++) {
        const struct disk *disk = &world->nodes[i].disk;
        if (!kvp_set_has(nodes, i)) {
            continue;
        }
        first = first != NULL ? first : disk;
        assert_true(kvp_point_equal(disk->tail, first->tail));
        assert_true(kvp_point_equal(disk->applied, first->applied));
    }
}

kvp_node_set set2(unsigned a, unsigned b)
{
    return kvp_set_of(a) | kvp_set_of(b);
}

kvp_node_set set_to(unsigned last)
{
    return (kvp_set_of(last + 1) - 1) & ~(kvp_node_set)1;
}
