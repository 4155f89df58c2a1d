/* SPDX-License-Identifier: Apache-2.0 */
/* A call, from its start to its outcome: the steps towards a connection, a request on it, and an
 * answer. */
#include "kvmcu_private.h"

#include <string.h>

#define TRY_MS 300u

/* ---- steps ---- */

static void begin_link(struct kvmcu *client)
{
    static const uint8_t greeting[8] = {0, 'S', 'P', 0, 0, 0x30, 0, 0};
    client->link = LINK_GREETING;
    client->stage = AT_GREETING;
    client->bytes = 0;
    client->sent_here = 0;
    client->out_at = client->out_size = 0;
    client->tail_left = 0;
    kvmcu_put_bytes(client, greeting, sizeof(greeting));
}

/* What lies in the buffer, or else the tail. false: the connection is broken. */
static bool flush(struct kvmcu *client)
{
    const uint8_t *from = client->buffer + client->out_at;
    uint32_t left = (uint32_t)client->out_size - client->out_at;
    bool tail = left == 0;
    if (tail) {
        const struct kvmcu_request *request = client->request;
        left = client->tail_left;
        from = (const uint8_t *)request->value + (request->value_size - left);
    }
    if (left == 0) {
        return true;
    }
    int count = client->transport->send(client->transport->arg, from, left);
    if (count < 0 || (uint32_t)count > left) {
        return false;
    }
    if (tail) {
        client->tail_left -= (uint32_t)count;
    } else {
        client->out_at = (uint16_t)(client->out_at + count);
    }
    if (count > 0) {
        kvmcu_wait_for_word(client);
    }
    return true;
}

/* Towards a connection, and a request on it. */
static bool connect_step(struct kvmcu *client)
{
    if (client->link == LINK_DOWN) {
        client->link = LINK_OPENING;
        kvmcu_wait_for_word(client);
    }
    if (client->link == LINK_OPENING) {
        int opened = client->transport->open(client->transport->arg, client->target);
        if (opened <= 0) {
            return opened == 0;
        }
        begin_link(client);
    }
    if (client->link == LINK_GREETING) {
        if (!flush(client)) {
            return false;
        }
        if (client->out_at < client->out_size || client->stage == AT_GREETING) {
            return true;
        }
        client->link = LINK_UP;
    }
    kvmcu_write_request(client);
    return true;
}

static bool send_step(struct kvmcu *client)
{
    for (unsigned part = 0; part < 2; part++) { /* what is in the buffer, and the tail */
        if (!flush(client)) {
            return false;
        }
    }
    if (client->out_at == client->out_size && client->tail_left == 0) {
        client->state = WAITING;
        kvmcu_wait_for_word(client);
    }
    return true;
}

static void step(struct kvmcu *client)
{
    if (client->state == RESTING && passed(client, client->due_ms)) {
        client->state = READY;
    }
    bool trying =
        client->state > READY ||
        (client->state == READY && (client->link == LINK_OPENING || client->link == LINK_GREETING));
    if (trying && passed(client, client->due_ms)) {
        kvmcu_lose(client);
        return;
    }
    bool fine = client->state != READY || connect_step(client);
    if (fine && client->state == SENDING) {
        fine = send_step(client);
    }
    if (!fine) {
        kvmcu_lose(client);
    }
}

int kvmcu_poll(struct kvmcu *client, uint32_t now_ms)
{
    client->now_ms = now_ms;
    kvmcu_receive(client);
    if (client->state != IDLE && passed(client, client->deadline_ms)) {
        kvmcu_finish_failed(client, KVMCU_TIMEOUT);
    }
    if (client->state != IDLE) {
        step(client);
    }
    return client->state == IDLE ? client->status : KVMCU_PENDING;
}

/* ---- calls ---- */

static bool is_sound(const struct kvmcu *client, const struct kvmcu_request *request)
{
    unsigned op = request->op;
    if (op == KVMCU_HELLO) {
        return true;
    }
    if (request->value == NULL && request->value_size > 0) {
        return false;
    }
    if (op >= KVMCU_JOIN && op <= KVMCU_POST) {
        return client->worker != NULL && (op < KVMCU_FETCH || request->task != NULL);
    }
    return ((op > KVMCU_HELLO && op <= KVMCU_CAS) || op == KVMCU_WATCH) && request->key != NULL &&
           request->key_size > 0 &&
           request->key_size <= (op == KVMCU_WATCH ? KVMCU_KEY_MAX - 1 : KVMCU_KEY_MAX);
}

/* What of a request has to lie in the buffer, but a worker's. */
static uint32_t size_of(const struct kvmcu *client, const struct kvmcu_request *request)
{
    uint32_t key_size = request->key_size;
    return KVMCU_BUFFER_FOR(kvmcu_text_size(client->group),
                            request->op == KVMCU_WATCH ? 2 * key_size : key_size);
}

int kvmcu_start(struct kvmcu *client, const struct kvmcu_request *request, uint32_t now_ms,
                uint32_t timeout_ms)
{
    if (client->state != IDLE || !is_sound(client, request) || timeout_ms > INT32_MAX) {
        return KVMCU_BAD_ARGUMENT;
    }
    client->kept = 0;
    client->status = KVMCU_DOES_NOT_FIT;
    if (request->op < KVMCU_JOIN && size_of(client, request) > client->buffer_size) {
        return KVMCU_DOES_NOT_FIT;
    }
    client->request = request;
    client->op = request->op;
    client->flags &= (uint8_t) ~(UNSETTLED | STALE);
    if ((request->op == KVMCU_GET || request->op == KVMCU_WATCH) && request->stale) {
        client->flags |= STALE;
    }
    if (request->op >= KVMCU_PUT) {
        kvmcu_next_number(client);
    }
    client->tries = client->losses = client->moves = client->backoffs = 0;
    client->refused = client->silent = 0;
    client->mute = NONE;
    client->now_ms = now_ms;
    client->deadline_ms = now_ms + timeout_ms;
    client->state = READY;
    return KVMCU_PENDING;
}

void kvmcu_stop(struct kvmcu *client)
{
    if (client->state != IDLE) {
        kvmcu_finish_failed(client, KVMCU_CLOSED);
    }
    kvmcu_drop_link(client);
}

int kvmcu_call(struct kvmcu *client, const struct kvmcu_request *request, uint32_t timeout_ms)
{
    const struct kvmcu_transport *transport = client->transport;
    int status = kvmcu_start(client, request, transport->now_ms(transport->arg), timeout_ms);
    while (status == KVMCU_PENDING) {
        status = kvmcu_poll(client, transport->now_ms(transport->arg));
        if (status == KVMCU_PENDING && transport->idle != NULL) {
            transport->idle(transport->arg);
        }
    }
    return status;
}

void kvmcu_result(const struct kvmcu *client, struct kvmcu_result *result)
{
    memset(result, 0, sizeof(*result));
    result->status = client->state == IDLE ? client->status : KVMCU_PENDING;
    result->value = client->buffer;
    if (client->state != IDLE) {
        return;
    }
    result->size = client->kept;
    if (client->op == KVMCU_WATCH) {
        result->next = client->numbers[NEXT];
    }
    if (client->status > KVMCU_VERSION_DIFFERS && client->status != KVMCU_DOES_NOT_FIT) {
        return;
    }
    result->revision = client->numbers[REVISION];
    result->created = client->numbers[CREATED];
    if (client->op == KVMCU_GET) {
        result->behind = client->numbers[BEHIND];
    } else if (client->op == KVMCU_HELLO) {
        result->group_id = client->numbers[GROUP_ID];
        result->node = client->small[NODE];
        result->role = client->small[ROLE];
        result->primary = client->small[PRIMARY];
    }
}

/* FNV-1a by halves, one with the bytes turned over. */
uint64_t kvmcu_client_number(const void *seed, size_t size)
{
    const uint8_t *bytes = seed;
    uint32_t high = 2166136261u, low = 2166136261u ^ 0x9e3779b9u;
    for (size_t i = 0; i < size; i++) {
        high = (high ^ bytes[i]) * 16777619u;
        low = (low ^ bytes[size - 1 - i]) * 16777619u;
        low ^= high >> 15;
    }
    return (uint64_t)high << 32 | low | 1u;
}

static bool is_name(const char *text)
{
    return text != NULL && kvmcu_text_size(text) - 1 < KVMCU_NAME_MAX;
}

/* All that it will ever say fits the buffer. */
static bool is_worker(const struct kvmcu_config *config)
{
    const struct kvmcu_worker *worker = config->worker;
    uint32_t kinds = 0;
    if (!is_name(worker->name) || worker->kind_count - 1u >= KVMCU_KINDS_MAX) {
        return false;
    }
    for (unsigned i = 0; i < worker->kind_count; i++) {
        kinds += 2 + kvmcu_text_size(worker->kinds[i]);
    }
    return KVMCU_BUFFER_FOR_WORKER(kvmcu_text_size(config->group), kvmcu_text_size(worker->name),
                                   kinds) <= config->buffer_size;
}

int kvmcu_init(struct kvmcu *client, const struct kvmcu_config *config)
{
    if (!is_name(config->group) || config->url_count == 0 ||
        config->url_count > KVMCU_ADDRESSES_MAX || config->buffer_size < KVMCU_BUFFER_MIN ||
        config->client == 0 || (config->worker != NULL && !is_worker(config))) {
        return KVMCU_BAD_ARGUMENT;
    }
    memset(client, 0, sizeof(*client));
    client->transport = config->transport;
    client->group = config->group;
    client->worker = config->worker;
    client->urls = config->urls;
    client->url_count = config->url_count;
    client->buffer = config->buffer;
    client->buffer_size = config->buffer_size;
    client->try_ms = config->try_ms != 0 ? config->try_ms : TRY_MS;
    client->client = config->client;
    client->id = (uint32_t)config->client;
    client->fetches = 1;
    return KVMCU_OK;
}
