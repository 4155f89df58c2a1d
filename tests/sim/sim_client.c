/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Clients: each makes its operations one after the other on a few shared keys, repeats them with
 * the same session until its deadline, and tells the history what it knows.
 */
#include "sim.h"

#include <stdlib.h>
#include <string.h>

#define TRY_US      300000u
#define DEADLINE_US 4000000u
#define REST_US     50000u

enum client_state { NEEDS_HELLO, IDLE, BUSY, DONE };

struct sim_client {
    enum client_state state;
    uint64_t client_id, number, birth;
    uint64_t timer;  /* number of the timer that counts */
    unsigned target; /* node to talk to */
    unsigned done_count;
    uint32_t call; /* number of the operation: answers carry it */
    uint64_t started_us;
    unsigned op, key;
    uint64_t value;
    bool unsure;      /* a transmission may have been executed */
    uint64_t used_us; /* the last one that is known to have been executed began then; 0: none */
    bool expired_once;
};

static void timer(struct sim *sim, unsigned index, uint64_t delay_us)
{
    struct sim_event *event = sim_at(sim, delay_us, SIM_CLIENT_TIMER);
    event->node = index;
    event->number = ++sim->clients[index].timer;
}

kvp_status sim_clients_start(struct sim *sim)
{
    sim->clients = calloc(sim->plan.clients, sizeof(*sim->clients));
    if (sim->clients == NULL) {
        return KVP_NO_MEMORY;
    }
    for (unsigned i = 0; i < sim->plan.clients; i++) {
        struct sim_client *client = &sim->clients[i];
        client->client_id = 1 + sim_random(&sim->random) % 1000000007;
        client->target = 1 + (unsigned)sim_below(&sim->random, sim->plan.nodes);
        timer(sim, i, sim_below(&sim->random, 1000000));
    }
    return KVP_OK;
}

void sim_clients_free(struct sim *sim)
{
    free(sim->clients);
    sim->clients = NULL;
}

bool sim_clients_done(const struct sim *sim)
{
    for (unsigned i = 0; i < sim->plan.clients; i++) {
        if (sim->clients[i].state != DONE) {
            return false;
        }
    }
    return true;
}

static void transmit(struct sim *sim, unsigned index)
{
    struct sim_client *client = &sim->clients[index];
    char key[8];
    uint8_t value[8];
    struct kvp_request request = {.op = KVP_OP_HELLO, .group = kvp_slice_of("sim", 3)};
    struct sim_message message = {
        .from = SIM_CLIENT(index), .to = client->target, .call = client->call};
    if (client->state == BUSY) {
        key[0] = 'k';
        key[1] = (char)('0' + client->key);
        memcpy(value, &client->value, sizeof(value));
        request.op = client->op;
        request.key = kvp_slice_of(key, 2);
        request.value = kvp_slice_of(value, sizeof(value));
        if (client->op != KVP_OP_GET) {
            request.session = (struct kvp_session_id){.client = client->client_id,
                                                      .slot = 0,
                                                      .number = client->number,
                                                      .session_start = client->birth};
            client->unsure = true;
        }
    }
    kvp_buf body = {0};
    if (kvp_wire_request_encode(&request, &body) != KVP_OK) {
        abort();
    }
    sim_send(sim, &message, kvp_buf_slice(&body));
    kvp_buf_free(&body);
    timer(sim, index, TRY_US);
}

static void begin(struct sim *sim, unsigned index)
{
    static const unsigned ops[] = {KVP_OP_PUT, KVP_OP_PUT,    KVP_OP_GET,
                                   KVP_OP_GET, KVP_OP_CREATE, KVP_OP_DELETE};
    struct sim_client *client = &sim->clients[index];
    client->op = ops[sim_below(&sim->random, 6)];
    client->key = (unsigned)sim_below(&sim->random, SIM_KEYS);
    client->value = (uint64_t)(index + 1) << 32 | (client->done_count + 1);
    client->number++;
    client->call++;
    client->started_us = sim->now_us;
    client->unsure = false;
    client->state = BUSY;
    sim_check_invoked(sim, index, client->op, client->key, client->value);
    transmit(sim, index);
}

static void fresh_session(struct sim_client *client)
{
    client->client_id += 1000000007;
    client->number = 0;
    client->used_us = 0;
    if (client->state == IDLE) {
        client->state = NEEDS_HELLO;
    }
}

static void finish(struct sim *sim, unsigned index, bool known, bool effect, uint64_t value)
{
    struct sim_client *client = &sim->clients[index];
    sim_check_returned(sim, index, known, effect, value);
    client->used_us = known && client->op != KVP_OP_GET ? client->started_us : client->used_us;
    client->done_count++;
    client->state = client->done_count >= sim->plan.operations ? DONE : IDLE;
    if (sim->plan.sessions.renew > 0 && !sim->calm &&
        sim_below(&sim->random, 1000) < sim->plan.sessions.renew) {
        fresh_session(client);
    }
    timer(sim, index, sim_exponential(&sim->random, REST_US));
}

static void elsewhere(struct sim *sim, struct sim_client *client)
{
    client->target = 1 + (unsigned)sim_below(&sim->random, sim->plan.nodes);
}

void sim_client_timer(struct sim *sim, unsigned index, uint64_t number)
{
    struct sim_client *client = &sim->clients[index];
    if (number != client->timer || client->state == DONE) {
        return;
    }
    if (client->state == IDLE) {
        begin(sim, index);
        return;
    }
    if (client->state == BUSY && sim->now_us - client->started_us > DEADLINE_US) {
        finish(sim, index, false, false, 0);
        return;
    }
    if (client->state == NEEDS_HELLO) {
        client->call++;
    }
    elsewhere(sim, client);
    transmit(sim, index);
}

static void hello(struct sim *sim, unsigned index, const struct kvp_answer *answer)
{
    struct sim_client *client = &sim->clients[index];
    struct kvp_hello hello;
    if (answer->status == KVP_OK && kvp_wire_read_hello(answer->result, &hello) == KVP_OK &&
        hello.role == KVP_ROLE_PRIMARY) {
        client->birth = hello.session_start;
        client->state = IDLE;
        timer(sim, index, sim_exponential(&sim->random, REST_US));
    }
}

/* The session has been dropped: this request is not executed with it any more, but an earlier
 * transmission may have been. */
static void expired(struct sim *sim, unsigned index)
{
    struct sim_client *client = &sim->clients[index];
    uint64_t idle_us = (uint64_t)sim->plan.sessions.idle_ms * 1000;
    if (client->used_us != 0 && sim->plan.policy != KVP_PAIR_AVAILABLE &&
        sim->now_us - client->used_us < idle_us - idle_us / 20) {
        sim_fail(sim, "client %u: its session was dropped %llu us after its last use", index,
                 (unsigned long long)(sim->now_us - client->used_us));
        return;
    }
    finish(sim, index, false, false, 0);
    fresh_session(client);
}

static void value_of(struct sim *sim, unsigned index, const struct kvp_answer *answer)
{
    struct kvp_get_result get;
    uint64_t value = 0;
    if (answer->status == KVP_OK) {
        if (kvp_wire_read_get(answer->result, &get) != KVP_OK || get.value.size != sizeof(value)) {
            sim_fail(sim, "client %u got a malformed value", index);
            return;
        }
        memcpy(&value, get.value.data, sizeof(value));
    }
    finish(sim, index, true, true, value);
}

void sim_client_answer(struct sim *sim, unsigned index, const struct sim_message *message)
{
    struct kvp_answer answer;
    if (index >= sim->plan.clients) {
        return; /* the operator's */
    }
    struct sim_client *client = &sim->clients[index];
    if (message->call != client->call || client->state == DONE || client->state == IDLE) {
        return;
    }
    if (kvp_wire_answer_decode(kvp_slice_of(message->bytes, message->size), &answer) != KVP_OK) {
        sim_fail(sim, "client %u got a malformed answer", index);
        return;
    }
    if (client->state == NEEDS_HELLO) {
        hello(sim, index, &answer);
        return;
    }
    switch (answer.status) {
    case KVP_OK:
    case KVP_NOT_FOUND:
    case KVP_EXISTS:
        if (client->op == KVP_OP_GET) {
            value_of(sim, index, &answer);
        } else {
            finish(sim, index, true, answer.status == KVP_OK, 0);
        }
        break;
    case KVP_NOT_PRIMARY:
    case KVP_UNCERTAIN:
    case KVP_UNAVAILABLE:
    case KVP_BUSY:
        break; /* again by the timer */
    case KVP_SESSION_EXPIRED:
        expired(sim, index);
        break;
    default:
        sim_fail(sim, "client %u: unexpected answer %s", index, kvp_strerror(answer.status));
        break;
    }
}
