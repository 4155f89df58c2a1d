/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The client's core against a group that does everything a group may do to a client: answers are
 * lost, late, doubled and out of order, connections drop, the primary changes, sessions expire,
 * outcomes are uncertain and come true later. Time is virtual; a seed is a run. What has to hold is
 * in check_call().
 *
 * KVPAIR_SEEDS: how many runs (default 60); KVPAIR_SEED: the first.
 */
#include "client/client_core.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define NODES_MAX         3u
#define NOBODY            NODES_MAX
#define CALLS             400u /* in one run; two for each session slot follow at its end */
#define SESSION_SLOTS_MAX 16u
#define CALLS_MAX         (CALLS + 2 * SESSION_SLOTS_MAX)
#define EVENTS_MAX        20000u
#define SESSIONS_MAX      4096u
#define MS                1000u

enum event_kind {
    REQUEST_ARRIVES,
    ANSWER_ARRIVES,
    APPLIED_LATE, /* a request whose answer was UNCERTAIN takes effect */
    LINK_CHANGES,
    VIEW_CHANGES,  /* another primary */
    NODE_LEARNS,   /* of the newest view */
    SESSIONS_DROP, /* the oldest */
    CALL_STARTS,
};

struct event {
    uint64_t at_us;
    enum event_kind kind;
    unsigned node, connection;
    uint32_t id;
    bool up;
    kvp_buf body;
};

struct node {
    bool up; /* connected to the client */
    unsigned connection;
    uint64_t epoch; /* of the newest view it has heard of */
};

struct session {
    uint64_t client, number, revision;
    uint16_t slot;
};

struct call {
    struct client_call core; /* first */
    char key[8];
    bool started, done;
    kvp_status status;
    uint64_t done_us;
    uint64_t revision;        /* of the answer */
    uint64_t revision_before; /* the group's, when it was started */
    unsigned executed;
};

struct world {
    struct client_core *core;
    uint64_t now_us, random;
    bool faulty;
    unsigned loss; /* percent of messages */

    struct event events[EVENTS_MAX];
    size_t event_count;

    struct node nodes[NODES_MAX];
    unsigned node_count, session_slots;
    unsigned primary; /* or NOBODY */
    uint64_t epoch, revision, floor;
    struct session sessions[SESSIONS_MAX]; /* oldest first */
    size_t session_count;

    struct call calls[CALLS_MAX];
    size_t call_count, done_count;
};

/* Over all runs: a simulation in which nothing happens would prove nothing. */
static struct {
    unsigned long ok, timeouts, unknown, expired, repeats_answered, late_applied, resets;
} seen;

static struct world world;
static struct kvp_txn_scratch scratch;

static uint64_t draw(uint64_t below)
{
    world.random ^= world.random << 13;
    world.random ^= world.random >> 7;
    world.random ^= world.random << 17;
    return (world.random >> 11) % below;
}

static bool percent(unsigned chance)
{
    return world.faulty && draw(100) < chance;
}

static const char *url_of(unsigned node)
{
    static const char *const urls[] = {"tcp://n0:1", "tcp://n1:1", "tcp://n2:1", ""};

    return urls[node];
}

/* ---- events ---- */

static struct event *schedule(enum event_kind kind, uint64_t delay_us)
{
    assert_true(world.event_count < EVENTS_MAX);
    struct event *event = &world.events[world.event_count++];
    *event = (struct event){.kind = kind, .at_us = world.now_us + delay_us};
    return event;
}

/* Mostly short; some messages are very late. */
static uint64_t travel_time(void)
{
    return percent(5) ? draw(2000 * MS) : 100 + draw(percent(30) ? 400 * MS : 3 * MS);
}

static void schedule_link(unsigned node, bool up, uint64_t delay_us)
{
    struct event *event = schedule(LINK_CHANGES, delay_us);
    event->node = node;
    event->up = up;
}

/* ---- the group ---- */

static struct session *find_session(const struct kvp_session_id *id)
{
    for (size_t i = 0; i < world.session_count; i++) {
        if (world.sessions[i].client == id->client && world.sessions[i].slot == id->slot) {
            return &world.sessions[i];
        }
    }
    return NULL;
}

static void drop_session(size_t index)
{
    world.session_count--;
    memmove(&world.sessions[index], &world.sessions[index + 1],
            (world.session_count - index) * sizeof(world.sessions[0]));
}

static void note_session(const struct kvp_session_id *id)
{
    struct session *old = find_session(id);
    struct session noted = {id->client, id->number, world.revision, id->slot};
    if (old != NULL) {
        drop_session((size_t)(old - world.sessions));
    }
    assert_true(world.session_count < SESSIONS_MAX);
    world.sessions[world.session_count++] = noted;
}

/* The table of docs/protocol.md, section 4. */
static kvp_status execute(const struct kvp_request *request, uint64_t *revision)
{
    const struct kvp_session_id *id = &request->session;
    const struct session *session = id->client == 0 ? NULL : find_session(id);
    char key[8] = "";
    if (session != NULL && id->number <= session->number) {
        *revision = session->revision;
        seen.repeats_answered += id->number == session->number ? 1 : 0;
        return id->number == session->number ? KVP_OK : KVP_STALE_REQUEST;
    }
    if (session == NULL && id->client != 0 && id->session_start < world.floor) {
        seen.expired++;
        return KVP_SESSION_EXPIRED;
    }
    *revision = ++world.revision;
    if (request->op == KVP_OP_HANDOVER) { /* its target says whose it is */
        world.calls[request->target].executed++;
        return KVP_OK;
    }
    assert_true(id->client != 0 && id->number > 0 && request->key.size < sizeof(key));
    memcpy(key, request->key.data, request->key.size);
    world.calls[strtoul(key, NULL, 10)].executed++;
    note_session(id);
    return KVP_OK;
}

static void hello_result(unsigned node, kvp_buf *result)
{
    struct kvp_hello hello = {
        .node_id = node + 1,
        .role = node == world.primary ? KVP_ROLE_PRIMARY : KVP_ROLE_BACKUP,
        .group_id = 99,
        .session_start = node == world.primary ? world.revision : 0,
        .node_count = world.node_count,
    };

    for (unsigned i = 0; i < world.node_count; i++) {
        hello.nodes[i].id = i + 1;
        hello.nodes[i].url = kvp_slice_of(url_of(i), strlen(url_of(i)));
    }
    assert_int_equal(kvp_wire_result_hello(result, &hello), KVP_OK);
}

static void schedule_late(const struct event *arrived, uint64_t delay_us)
{
    struct event *late = schedule(APPLIED_LATE, delay_us);
    assert_int_equal(kvp_buf_append(&late->body, arrived->body.data, arrived->body.size), KVP_OK);
}

/* The primary loses its role with the request in its hands: it has run, or will, or never does. */
static kvp_status lose_role(const struct event *arrived, const struct kvp_request *request)
{
    uint64_t revision = 0;
    switch (draw(3)) {
    case 0:
        (void)execute(request, &revision);
        break;
    case 1:
        schedule_late(arrived, draw(3000 * MS));
        break;
    default:
        break;
    }
    return KVP_UNCERTAIN;
}

static kvp_status serve(const struct event *arrived, const struct kvp_request *request,
                        kvp_buf *result)
{
    uint64_t revision = world.revision;
    kvp_status status = KVP_OK;
    if (request->op == KVP_OP_HELLO) {
        hello_result(arrived->node, result);
        return KVP_OK;
    }
    if (request->op == KVP_OP_GET && request->stale) {
        return kvp_wire_result_get(result, draw(revision + 1), 1, request->key, 0);
    }
    if (arrived->node != world.primary) {
        return KVP_NOT_PRIMARY;
    }
    if (request->epoch_seen > world.nodes[arrived->node].epoch || percent(5)) {
        return percent(50) ? KVP_BUSY : KVP_UNAVAILABLE;
    }
    if (request->op == KVP_OP_GET) {
        return kvp_wire_result_get(result, revision, 1, request->key, 0);
    }
    if (percent(5)) {
        return lose_role(arrived, request);
    }
    status = execute(request, &revision);
    assert_int_equal(kvp_wire_result_uint(result, revision), KVP_OK);
    return status;
}

static void send_answer(const struct event *arrived, const struct kvp_answer *answer)
{
    unsigned copies = percent(world.loss) ? 0 : percent(5) ? 2 : 1;
    for (unsigned i = 0; i < copies; i++) {
        struct event *event = schedule(ANSWER_ARRIVES, travel_time());
        event->node = arrived->node;
        event->connection = arrived->connection;
        event->id = arrived->id;
        assert_int_equal(kvp_wire_answer_encode(answer, &event->body), KVP_OK);
    }
}

static void take_request(const struct event *arrived)
{
    struct kvp_request request;
    const char *reason = "";
    kvp_buf result = {0};
    unsigned hint = percent(20) ? (unsigned)draw(world.node_count + 1) : world.primary;
    hint = hint >= world.node_count ? NOBODY : hint;
    assert_int_equal(
        kvp_wire_request_decode(kvp_buf_slice(&arrived->body), &scratch, &request, &reason),
        KVP_OK);
    struct kvp_answer answer = {.status = serve(arrived, &request, &result),
                                .epoch = world.nodes[arrived->node].epoch,
                                .hint = kvp_slice_of(url_of(hint), strlen(url_of(hint))),
                                .result = kvp_buf_slice(&result)};
    send_answer(arrived, &answer);
    kvp_buf_free(&result);
}

static void apply_late(const struct event *event)
{
    struct kvp_request request;
    const char *reason = "";
    uint64_t revision = 0;
    assert_int_equal(
        kvp_wire_request_decode(kvp_buf_slice(&event->body), &scratch, &request, &reason), KVP_OK);
    seen.late_applied += execute(&request, &revision) == KVP_OK ? 1 : 0;
}

/* First nobody is primary, then somebody: of whom the others hear later. */
static void change_view(void)
{
    if (world.primary != NOBODY && world.faulty) {
        world.primary = NOBODY;
        (void)schedule(VIEW_CHANGES, draw(600 * MS));
        return;
    }
    world.primary = (unsigned)draw(world.node_count);
    world.nodes[world.primary].epoch = ++world.epoch;
    for (unsigned i = 0; i < world.node_count; i++) {
        schedule(NODE_LEARNS, draw(500 * MS))->node = i;
    }
    if (world.faulty) {
        (void)schedule(VIEW_CHANGES, draw(3000 * MS));
    }
}

static void drop_sessions(void)
{
    uint64_t count = world.faulty ? draw(world.session_count + 1) : 0;
    for (uint64_t left = count; left > 0; left--) {
        world.floor = world.sessions[0].revision;
        drop_session(0);
    }
    if (world.faulty) {
        (void)schedule(SESSIONS_DROP, draw(4000 * MS));
    }
}

/* ---- the network ---- */

static void change_link(unsigned node, bool up)
{
    struct node *changed = &world.nodes[node];
    if (changed->up != up) {
        changed->up = up;
        changed->connection++;
        client_core_link(world.core, node, up, world.now_us);
    }
    if (!up) {
        schedule_link(node, true, draw(500 * MS));
    } else if (world.faulty) {
        schedule_link(node, false, draw(4000 * MS));
    }
}

static void port_connect(void *arg, unsigned endpoint, const char *url)
{
    (void)arg;
    assert_true(endpoint < world.node_count); /* no node tells of others */
    assert_string_equal(url, url_of(endpoint));
    schedule_link(endpoint, true, draw(50 * MS));
}

static kvp_status port_send(void *arg, unsigned endpoint, uint32_t id, kvp_slice body)
{
    (void)arg;
    assert_true(endpoint < world.node_count);
    if (!world.nodes[endpoint].up) {
        return KVP_UNAVAILABLE;
    }
    if (percent(2)) {
        return KVP_BUSY;
    }
    if (!percent(world.loss)) {
        /* It may arrive even if the connection is gone for the client by then. */
        struct event *event = schedule(REQUEST_ARRIVES, travel_time());
        event->node = endpoint;
        event->connection = world.nodes[endpoint].connection;
        event->id = id;
        assert_int_equal(kvp_buf_append(&event->body, body.data, body.size), KVP_OK);
    }
    return KVP_OK;
}

static void port_reset(void *arg, unsigned endpoint)
{
    (void)arg;
    seen.resets++;
    schedule_link(endpoint, false, draw(5 * MS));
}

/* ---- calls ---- */

static void port_done(void *arg, struct client_call *core_call, kvp_status status, kvp_slice result,
                      const char *reason)
{
    struct call *call = (struct call *)core_call;
    struct kvp_get_result get = {0};
    (void)arg;
    (void)reason;
    assert_true(call->started);
    assert_false(call->done);
    call->done = true;
    call->done_us = world.now_us;
    call->status = status;
    world.done_count++;
    if (status == KVP_OK && call->core.request.op == KVP_OP_GET) {
        assert_int_equal(kvp_wire_read_get(result, &get), KVP_OK);
        call->revision = get.modify;
    } else if (status == KVP_OK) {
        assert_int_equal(kvp_wire_read_uint(result, &call->revision), KVP_OK);
    }
}

static void start_call(unsigned op, uint64_t timeout_us)
{
    size_t index = world.call_count++;
    struct call *call = &world.calls[index];
    (void)snprintf(call->key, sizeof(call->key), "%zu", index);
    call->core.request.op = op;
    call->core.request.key = kvp_slice_of(call->key, strlen(call->key));
    call->core.update = op == KVP_OP_PUT;
    call->core.once = op == KVP_OP_HANDOVER;
    call->core.request.target = (unsigned)index;
    call->core.request.stale = op == KVP_OP_GET && percent(30);
    call->core.route = call->core.request.stale ? CLIENT_TO_ANY : CLIENT_TO_PRIMARY;
    call->core.deadline_us = world.now_us + timeout_us;
    call->revision_before = world.revision;
    call->started = true;
    client_core_start(world.core, &call->core, world.now_us);
}

static void start_some_call(void)
{
    /* HANDOVER has few targets on the wire; those calls are the first ones. */
    bool may_handover = world.call_count < KVP_NODE_ID_MAX;
    unsigned op = may_handover && draw(4) == 0 ? KVP_OP_HANDOVER
                  : draw(4) == 0               ? KVP_OP_GET
                                               : KVP_OP_PUT;

    start_call(op, 20 * MS + draw(draw(3) == 0 ? 300 * MS : 4000 * MS));
    if (world.call_count < CALLS) {
        (void)schedule(CALL_STARTS, draw(draw(5) == 0 ? 300 * MS : 20 * MS));
    }
}

static void check_call(size_t index, const struct call *call)
{
    bool read = call->core.request.op == KVP_OP_GET;
    assert_true(call->done);
    if (call->done_us > call->core.deadline_us) {
        fail_msg("call %zu ended after its deadline", index);
    }
    switch (call->status) {
    case KVP_OK:
        seen.ok++;
        if (!read && call->executed != 1) {
            fail_msg("call %zu is OK and was executed %u times", index, call->executed);
        }
        if (read && !call->core.request.stale && call->revision < call->revision_before) {
            fail_msg("call %zu has read what was there before its start", index);
        }
        break;
    case KVP_TIMEOUT:
    case KVP_UNAVAILABLE:
        seen.timeouts++;
        if (call->executed != 0) {
            fail_msg("call %zu did not happen, it says, but was executed", index);
        }
        break;
    case KVP_TIMEOUT_UNKNOWN:
        seen.unknown++;
        assert_false(read);
        if (call->executed > 1) {
            fail_msg("call %zu was executed %u times", index, call->executed);
        }
        break;
    default:
        fail_msg("call %zu: %s", index, kvp_strerror(call->status));
    }
}

/* ---- a run ---- */

static void happen(const struct event *event)
{
    switch (event->kind) {
    case REQUEST_ARRIVES:
        take_request(event);
        break;
    case ANSWER_ARRIVES:
        if (world.nodes[event->node].up &&
            world.nodes[event->node].connection == event->connection) {
            client_core_answer(world.core, event->node, event->id, kvp_buf_slice(&event->body),
                               world.now_us);
        }
        break;
    case APPLIED_LATE:
        apply_late(event);
        break;
    case LINK_CHANGES:
        change_link(event->node, event->up);
        break;
    case VIEW_CHANGES:
        change_view();
        break;
    case NODE_LEARNS:
        world.nodes[event->node].epoch = world.epoch;
        break;
    case SESSIONS_DROP:
        drop_sessions();
        break;
    case CALL_STARTS:
        start_some_call();
        break;
    }
}

static size_t first_event(void)
{
    size_t first = 0;
    for (size_t i = 1; i < world.event_count; i++) {
        first = world.events[i].at_us < world.events[first].at_us ? i : first;
    }
    return first;
}

/* False: nothing will ever happen again. */
static bool step(void)
{
    uint64_t due_us = client_core_next(world.core);
    size_t first = first_event();
    if (world.event_count == 0 && due_us == UINT64_MAX) {
        return false;
    }
    if (world.event_count == 0 || due_us <= world.events[first].at_us) {
        world.now_us = due_us > world.now_us ? due_us : world.now_us;
        assert_true(client_core_tick(world.core, world.now_us) > world.now_us);
        return true;
    }
    struct event event = world.events[first];
    world.events[first] = world.events[--world.event_count];
    world.now_us = event.at_us;
    happen(&event);
    kvp_buf_free(&event.body);
    return true;
}

static void begin(uint64_t seed)
{
    struct client_core_config config = {
        .group = "random",
        .client_id = seed + 1,
        .seed = seed,
        .try_us = 50 * MS + seed % 5 * 100 * MS,
        .port = {.connect = port_connect,
                 .send = port_send,
                 .reset = port_reset,
                 .done = port_done},
    };

    memset(&world, 0, sizeof(world));
    world.random = seed * 0x9e3779b97f4a7c15u | 1;
    world.faulty = true;
    world.loss = (unsigned)draw(15);
    world.node_count = 1 + (unsigned)(seed % NODES_MAX);
    world.session_slots = 1 + (unsigned)draw(SESSION_SLOTS_MAX);
    world.primary = NOBODY;
    config.session_slots = world.session_slots;
    assert_int_equal(client_core_new(&config, &world.core), KVP_OK);
    for (unsigned i = 0; i < world.node_count; i++) {
        assert_int_equal(client_core_add(world.core, url_of(i)), KVP_OK);
    }
    (void)schedule(VIEW_CHANGES, 0);
    (void)schedule(SESSIONS_DROP, 1000 * MS);
    (void)schedule(CALL_STARTS, 0);
}

/* A call for each session slot, all at once. */
static void fill_session_slots(void)
{
    for (unsigned i = 0; i < world.session_slots; i++) {
        start_call(KVP_OP_PUT, 20000 * MS);
    }
    while (step()) {
    }
}

/* The faults are over. A session may have expired under the first call of a session slot while it
 * was repeated; but then all calls must succeed. */
static void calm_down(void)
{
    world.faulty = false;
    (void)schedule(VIEW_CHANGES, 700 * MS);
    fill_session_slots();
    fill_session_slots();
    for (unsigned i = 0; i < world.session_slots; i++) {
        const struct call *call = &world.calls[CALLS + world.session_slots + i];
        if (call->status != KVP_OK) {
            fail_msg("a call in calm times: %s", kvp_strerror(call->status));
        }
    }
}

static void run(uint64_t seed)
{
    begin(seed);
    while (world.done_count < CALLS) {
        assert_true(step());
    }
    calm_down();
    assert_int_equal(world.done_count, CALLS + 2 * world.session_slots);
    for (size_t i = 0; i < world.call_count; i++) {
        check_call(i, &world.calls[i]);
    }
    assert_true(client_core_next(world.core) == UINT64_MAX);
    client_core_stop(world.core, KVP_CLOSED);
    assert_int_equal(world.done_count,
                     CALLS + 2 * world.session_slots); /* there was nothing left */
    client_core_free(world.core);
}

static uint64_t setting(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);
    return text == NULL ? otherwise : strtoull(text, NULL, 10);
}

static void test_every_call_ends_as_it_should(void **state)
{
    (void)state;
    uint64_t count = setting("KVPAIR_SEEDS", 60);
    uint64_t first = setting("KVPAIR_SEED", 1);
    for (uint64_t seed = first; seed < first + count; seed++) {
        printf("seed %llu\r", (unsigned long long)seed); /* the one that fails stays there */
        fflush(stdout);
        run(seed);
    }
    printf("%llu runs: %lu OK, %lu nothing happened, %lu unknown; %lu sessions expired, "
           "%lu repeats answered, %lu applied late, %lu resets\n",
           (unsigned long long)count, seen.ok, seen.timeouts, seen.unknown, seen.expired,
           seen.repeats_answered, seen.late_applied, seen.resets);
    if (count >= 10) {
        assert_true(seen.ok > count * CALLS / 4);
        assert_true(seen.timeouts > count && seen.unknown > count && seen.expired > count);
        assert_true(seen.repeats_answered > count && seen.late_applied > 0 && seen.resets > 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_call_ends_as_it_should),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
