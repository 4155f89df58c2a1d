/* SPDX-License-Identifier: Apache-2.0 */
#include "core_support.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define GROUP  "fake"
#define RECENT 2000u /* messages that the port's rules look back at */

static struct kvp_txn_scratch scratch;

const char *node_url(unsigned node)
{
    static char urls[CLIENT_ENDPOINTS_MAX + 1][32];

    (void)snprintf(urls[node], sizeof(urls[node]), "tcp://node%u:7000", node);
    return urls[node];
}

/* ---- the port ---- */

static void port_connect(void *arg, unsigned endpoint, const char *url)
{
    struct fake *fake = arg;
    fake->connects[endpoint]++;
    (void)snprintf(fake->last_url, sizeof(fake->last_url), "%s", url);
}

static void check_rules(const struct fake *fake, unsigned endpoint, uint32_t id)
{
    unsigned unanswered = 0;
    size_t first = fake->sent_count < RECENT ? 0 : fake->sent_count - RECENT;
    for (size_t i = first; i < fake->sent_count; i++) {
        const struct sent *sent = &fake->sent[i];
        if (sent->endpoint == endpoint && sent->connection == fake->connection[endpoint] &&
            !sent->answered) {
            assert_int_not_equal(sent->id, id);
            unanswered++;
        }
    }
    assert_true(unanswered < KVP_WIRE_OUTSTANDING_MAX);
    assert_true(id >> 31 == 0);
}

static kvp_status port_send(void *arg, unsigned endpoint, uint32_t id, kvp_slice body)
{
    struct fake *fake = arg;
    const char *reason = "";
    if (fake->send_status != KVP_OK) {
        return fake->send_status;
    }
    check_rules(fake, endpoint, id);
    if (fake->sent_count == fake->sent_capacity) {
        fail_msg("more messages than the test has room for");
    }
    struct sent *sent = &fake->sent[fake->sent_count++];
    *sent = (struct sent){.endpoint = endpoint,
                          .connection = fake->connection[endpoint],
                          .id = id,
                          .at_us = fake->now_us};
    assert_int_equal(kvp_buf_append(&sent->body, body.data, body.size), KVP_OK);
    assert_int_equal(
        kvp_wire_request_decode(kvp_buf_slice(&sent->body), &scratch, &sent->request, &reason),
        KVP_OK);
    assert_int_equal(sent->request.group.size, strlen(GROUP));
    assert_memory_equal(sent->request.group.data, GROUP, strlen(GROUP));
    return KVP_OK;
}

static void port_reset(void *arg, unsigned endpoint)
{
    struct fake *fake = arg;
    fake->resets[endpoint]++;
}

static void port_flow(void *arg, unsigned endpoint, struct kvp_net_flow *flow)
{
    const struct fake *fake = arg;
    (void)endpoint;
    *flow = fake->flow;
}

static void port_done(void *arg, struct client_call *core_call, kvp_status status, kvp_slice result,
                      const char *reason)
{
    struct fake *fake = arg;
    struct call *call = (struct call *)core_call;
    assert_non_null(reason);
    assert_true(call->started);
    assert_false(call->done);
    call->done = true;
    call->status = status;
    call->order = fake->done_count++;
    call->at_us = fake->now_us;
    (void)snprintf(call->reason, sizeof(call->reason), "%s", reason);
    (void)kvp_wire_read_uint(result, &call->revision);
}

/* ---- life ---- */

/* Only before anything is sent: messages keep their place. */
void fake_make_room(struct fake *fake, size_t messages)
{
    assert_int_equal(fake->sent_count, 0);
    free(fake->sent);
    fake->sent_capacity = messages;
    fake->sent = calloc(messages, sizeof(fake->sent[0]));
    assert_non_null(fake->sent);
}

void fake_open_down(struct fake *fake, unsigned session_slots, unsigned nodes)
{
    struct client_core_config config = {
        .group = GROUP,
        .client_id = 12345,
        .seed = 1,
        .try_us = TRY_MS * 1000u,
        .session_slots = session_slots,
        .port = {.arg = fake,
                 .connect = port_connect,
                 .send = port_send,
                 .reset = port_reset,
                 .flow = port_flow,
                 .done = port_done},
    };

    memset(fake, 0, sizeof(*fake));
    fake->now_us = 1000000;
    fake_make_room(fake, 10000);
    assert_int_equal(client_core_new(&config, &fake->core), KVP_OK);
    for (unsigned i = 0; i < nodes; i++) {
        assert_int_equal(client_core_add(fake->core, node_url(i)), KVP_OK);
        assert_int_equal(fake->connects[i], 1);
        assert_string_equal(fake->last_url, node_url(i));
    }
}

void fake_open(struct fake *fake, unsigned session_slots, unsigned nodes)
{
    fake_open_down(fake, session_slots, nodes);
    for (unsigned i = 0; i < nodes; i++) {
        fake_link(fake, i, true);
    }
}

void fake_close(struct fake *fake)
{
    client_core_stop(fake->core, KVP_CLOSED);
    assert_true(client_core_tick(fake->core, fake->now_us) == UINT64_MAX);
    client_core_free(fake->core);
    for (size_t i = 0; i < fake->sent_count; i++) {
        kvp_buf_free(&fake->sent[i].body);
    }
    free(fake->sent);
}

/* ---- events ---- */

void fake_link(struct fake *fake, unsigned endpoint, bool up)
{
    fake->connection[endpoint]++;
    client_core_link(fake->core, endpoint, up, fake->now_us);
}

/* True: something was due before `until_us` and has happened. */
static bool step(struct fake *fake, uint64_t until_us)
{
    uint64_t next_us = client_core_next(fake->core);
    if (next_us > until_us) {
        fake->now_us = until_us;
        return false;
    }
    fake->now_us = next_us > fake->now_us ? next_us : fake->now_us;
    /* What was due has been done: else the thread that ticks would run hot. */
    assert_true(client_core_tick(fake->core, fake->now_us) > fake->now_us);
    assert_true(client_core_next(fake->core) > fake->now_us);
    return true;
}

void fake_pass(struct fake *fake, unsigned ms)
{
    uint64_t until_us = fake->now_us + (uint64_t)ms * 1000;
    while (step(fake, until_us)) {
    }
}

struct sent *fake_pass_until_sent(struct fake *fake, unsigned ms)
{
    uint64_t until_us = fake->now_us + (uint64_t)ms * 1000;
    while (fake->taken == fake->sent_count && step(fake, until_us)) {
    }
    assert_true(fake->taken < fake->sent_count);
    return &fake->sent[fake->taken++];
}

void start_as(struct fake *fake, struct call *call, unsigned timeout_ms)
{
    call->core.deadline_us = fake->now_us + (uint64_t)timeout_ms * 1000;
    call->started = true;
    client_core_start(fake->core, &call->core, fake->now_us);
}

void start(struct fake *fake, struct call *call, unsigned op, unsigned timeout_ms)
{
    memset(call, 0, sizeof(*call));
    call->core.request.op = op;
    call->core.request.key = kvp_slice_of("key", 3);
    call->core.update = op == KVP_OP_PUT;
    call->core.once = op == KVP_OP_HANDOVER;
    start_as(fake, call, timeout_ms);
}

struct sent *take(struct fake *fake, unsigned endpoint, unsigned op)
{
    assert_true(fake->taken < fake->sent_count);
    struct sent *sent = &fake->sent[fake->taken++];
    assert_int_equal(sent->endpoint, endpoint);
    assert_int_equal(sent->request.op, op);
    return sent;
}

void check_nothing_sent(struct fake *fake)
{
    assert_int_equal(fake->sent_count - fake->taken, 0);
}

/* ---- answers ---- */

void answer_raw(struct fake *fake, struct sent *sent, int status, uint64_t epoch, const char *hint,
                kvp_slice result)
{
    struct kvp_answer answer = {.status = status,
                                .epoch = epoch,
                                .hint = kvp_slice_of(hint, strlen(hint)),
                                .result = result};
    kvp_buf body = {0};

    assert_int_equal(kvp_wire_answer_encode(&answer, &body), KVP_OK);
    sent->answered = true;
    client_core_answer(fake->core, sent->endpoint, sent->id, kvp_buf_slice(&body), fake->now_us);
    kvp_buf_free(&body);
}

void answer(struct fake *fake, struct sent *sent, kvp_status status)
{
    answer_raw(fake, sent, status, EPOCH, "", kvp_slice_of(NULL, 0));
}

void answer_hint(struct fake *fake, struct sent *sent, const char *hint)
{
    answer_raw(fake, sent, KVP_NOT_PRIMARY, EPOCH, hint, kvp_slice_of(NULL, 0));
}

void answer_done(struct fake *fake, struct sent *sent, uint64_t revision)
{
    kvp_buf result = {0};
    assert_int_equal(kvp_wire_result_uint(&result, revision), KVP_OK);
    answer_raw(fake, sent, KVP_OK, EPOCH, "", kvp_buf_slice(&result));
    kvp_buf_free(&result);
}

void answer_hello_as(struct fake *fake, struct sent *sent, unsigned role, uint64_t group_id,
                     uint64_t epoch)
{
    struct kvp_hello hello = {.node_id = sent->endpoint + 1,
                              .role = role,
                              .primary_id = sent->endpoint + 1,
                              .group_id = group_id,
                              .session_start = role == KVP_ROLE_PRIMARY ? SESSION_START : 0,
                              .node_count = 3};
    kvp_buf result = {0};

    assert_int_equal(sent->request.op, KVP_OP_HELLO);
    for (unsigned i = 0; i < hello.node_count; i++) {
        hello.nodes[i].id = i + 1;
        hello.nodes[i].url = kvp_slice_of(node_url(i), strlen(node_url(i)));
    }
    assert_int_equal(kvp_wire_result_hello(&result, &hello), KVP_OK);
    answer_raw(fake, sent, KVP_OK, epoch, "", kvp_buf_slice(&result));
    kvp_buf_free(&result);
}

void answer_hello(struct fake *fake, struct sent *sent)
{
    answer_hello_as(fake, sent, KVP_ROLE_PRIMARY, GROUP_ID, EPOCH);
}

void warm_up(struct fake *fake, unsigned node)
{
    struct call call;
    start(fake, &call, KVP_OP_PUT, 1000);
    answer_hello(fake, take(fake, node, KVP_OP_HELLO));
    answer_done(fake, take(fake, node, KVP_OP_PUT), 1);
    check_done(&call, KVP_OK);
    check_nothing_sent(fake);
}

void check_open(const struct call *call)
{
    assert_true(call->started);
    assert_false(call->done);
}

void check_done(const struct call *call, kvp_status status)
{
    assert_true(call->done);
    assert_int_equal(call->status, status);
}
