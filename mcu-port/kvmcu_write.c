/* SPDX-License-Identifier: Apache-2.0 */
/* Requests as bytes: the values of MessagePack, the operations, the frame around them. */
#include "kvmcu_private.h"

#include <string.h>

static void put_byte(struct kvmcu *client, unsigned byte)
{
    client->buffer[client->out_size++] = (uint8_t)byte;
}

/* Big-endian. */
static void put_word(struct kvmcu *client, uint32_t word, unsigned bytes)
{
    while (bytes > 0) {
        bytes--;
        put_byte(client, word >> (8 * bytes) & 0xff);
    }
}

static void put_uint(struct kvmcu *client, uint64_t value)
{
    uint32_t high = (uint32_t)(value >> 32), low = (uint32_t)value;
    if (high != 0) {
        put_byte(client, 0xcf);
        put_word(client, high, 4);
        put_word(client, low, 4);
    } else if (low > 0xffff) {
        put_byte(client, 0xce);
        put_word(client, low, 4);
    } else if (low > 0xff) {
        put_byte(client, 0xcd);
        put_word(client, low, 2);
    } else {
        if (low > 0x7f) {
            put_byte(client, 0xcc);
        }
        put_byte(client, low);
    }
}

void kvmcu_put_bytes(struct kvmcu *client, const void *data, size_t size)
{
    if (size > 0) {
        memcpy(client->buffer + client->out_size, data, size);
        client->out_size = (uint16_t)(client->out_size + size);
    }
}

unsigned kvmcu_text_size(const char *text)
{
    unsigned size = 0;
    while (size <= KVMCU_NAME_MAX && text[size] != '\0') {
        size++;
    }
    return size;
}

static void put_text(struct kvmcu *client, const char *text)
{
    unsigned size = kvmcu_text_size(text);
    if (size > 31) {
        put_byte(client, 0xd9);
    }
    put_byte(client, size > 31 ? size : 0xa0u | size);
    kvmcu_put_bytes(client, text, size);
}

static void put_bin_size(struct kvmcu *client, uint32_t size)
{
    unsigned bytes = size > 0xffff ? 4 : size > 0xff ? 2 : 1;
    put_byte(client, 0xc4 + bytes / 2);
    put_word(client, size, bytes);
}

/* The end of a request. What does not fit the buffer is sent from where it lies. */
static void put_value(struct kvmcu *client)
{
    const struct kvmcu_request *request = client->request;
    put_bin_size(client, request->value_size);
    if (request->value_size <= (uint32_t)client->buffer_size - client->out_size) {
        kvmcu_put_bytes(client, request->value, request->value_size);
    } else {
        client->tail_left = request->value_size;
    }
}

static void put_bool(struct kvmcu *client, bool value)
{
    put_byte(client, value ? 0xc3 : 0xc2);
}

/* The key, and so many bytes that are to follow. */
static void put_bare_key(struct kvmcu *client, unsigned more)
{
    const struct kvmcu_request *request = client->request;
    put_bin_size(client, request->key_size + more);
    kvmcu_put_bytes(client, request->key, request->key_size);
}

static void put_key(struct kvmcu *client)
{
    const struct kvmcu_request *request = client->request;
    put_bare_key(client, 0);
    if (client->op == KVMCU_GET) {
        put_bool(client, request->stale);
    }
    if (client->op >= KVMCU_DELETE) {
        put_uint(client, request->version);
    }
    if (client->op != KVMCU_GET && client->op != KVMCU_DELETE) {
        put_value(client);
    }
}

/* What happens to the key: from it to the key with a 0 behind, which is the next there may be. One
 * event at a time, however large. */
static void put_watch(struct kvmcu *client)
{
    const struct kvmcu_request *request = client->request;
    put_bare_key(client, 0);
    put_bare_key(client, 1);
    put_byte(client, 0);
    put_uint(client, request->version);
    put_word(client, 0x0100, 2); /* so many events and bytes, that is */
    put_uint(client, request->wait_ms);
    put_bool(client, false);
    put_bool(client, request->stale);
}

/* Four bits at a time. */
uint32_t kvmcu_crc32(const uint8_t *data, uint32_t size)
{
    static const uint32_t table[16] = {
        0x00000000, 0x1db71064, 0x3b6e20c8, 0x26d930ac, 0x76dc4190, 0x6b6b51f4,
        0x4db26158, 0x5005713c, 0xedb88320, 0xf00f9344, 0xd6d6a3e8, 0xcb61b38c,
        0x9b64c2b0, 0x86d3d2d4, 0xa00ae278, 0xbdbdf21c,
    };
    uint32_t crc = 0xffffffff;

    for (uint32_t i = 0; i < size; i++) {
        crc ^= data[i];
        crc = crc >> 4 ^ table[crc & 15u];
        crc = crc >> 4 ^ table[crc & 15u];
    }
    return ~crc;
}

static void put_worker(struct kvmcu *client)
{
    const struct kvmcu_worker *worker = client->worker;
    put_byte(client, 0x90u | worker->kind_count);
    for (unsigned i = 0; i < worker->kind_count; i++) {
        put_text(client, worker->kinds[i]);
    }
    put_uint(client, worker->workspace_size);
    put_bool(client, worker->standby);
}

static void put_about_task(struct kvmcu *client)
{
    const struct kvmcu_request *request = client->request;
    const struct kvmcu_task *task = request->task;
    put_uint(client, task->job);
    put_uint(client, task->number);
    put_uint(client, task->attempt);
    if (client->op == KVMCU_POST) {
        put_byte(client, request->outcome);
        put_uint(client, kvmcu_crc32(request->value, request->value_size));
    } else {
        put_uint(client, request->progress);
    }
    if (client->op == KVMCU_POST || request->value != NULL) {
        put_value(client);
    } else {
        put_byte(client, 0xc0);
    }
}

static void put_work(struct kvmcu *client)
{
    put_text(client, client->worker->name);
    if (client->asked == KVMCU_JOIN) {
        put_worker(client);
        return;
    }
    put_uint(client, client->instance);
    if (client->op == KVMCU_FETCH) {
        put_byte(client, 0); /* one task at a time */
        put_uint(client, client->fetches);
        put_uint(client, client->request->wait_ms);
    } else if (client->op != KVMCU_LEAVE) {
        put_about_task(client);
    }
}

/* What is to be sent next for the call. A task needs an identity of the worker; a new session needs
 * a start, and a group that was replaced shows by its id, so both have to wait for a HELLO. */
static unsigned next_op(const struct kvmcu *client)
{
    unsigned op = client->op;
    if (op == KVMCU_FETCH && client->instance == 0) {
        op = KVMCU_JOIN;
    }
    if ((is_update(op) && (client->flags & SESSION_START_KNOWN) == 0) ||
        (is_for_primary(client) && (client->flags & GROUP_DOUBTFUL) != 0)) {
        op = KVMCU_HELLO;
    }
    return op;
}

static void put_session(struct kvmcu *client, bool none)
{
    if (none) {
        put_word(client, 0, 4); /* four numbers, that is */
        return;
    }
    put_uint(client, client->client);
    put_uint(client, client->slot);
    put_uint(client, client->number);
    put_uint(client, client->session_start);
}

/* The array with its elements' number, the version, the operation. */
static void put_array(struct kvmcu *client, unsigned op)
{
    static const uint8_t elements[] = {0, 8, 10, 10, 10, 10, 11, 0, 12, 10, 13, 15, 16, 0, 0, 16};
    unsigned count = elements[PLACE_OF(op)];
    if (count > 15) {
        put_word(client, 0xdc00, 2);
    }
    put_byte(client, count > 15 ? count : 0x90u | count);
    put_byte(client, 1);
    put_byte(client, op);
}

/* kvmcu_start() has seen that it fits. */
void kvmcu_write_request(struct kvmcu *client)
{
    unsigned op = next_op(client);
    client->asked = (uint8_t)op;
    client->tail_left = 0;
    client->out_at = 0;
    client->out_size = FRAME_HEAD;
    put_array(client, op);
    put_text(client, client->group);
    put_uint(client, client->epoch_seen);
    put_session(client, !is_update(op));
    if (op >= KVMCU_JOIN) {
        put_work(client);
    } else if (op == KVMCU_WATCH) {
        put_watch(client);
    } else if (op != KVMCU_HELLO) {
        put_key(client);
    }

    uint16_t size = client->out_size;
    client->id = (client->id + 1) | 0x80000000u;
    client->out_size = 0;
    put_word(client, 0, 4);
    put_word(client, size - 8u + client->tail_left, 4);
    put_word(client, client->id, 4);
    client->out_size = size;
    client->state = SENDING;
    count_up(&client->sent_here);
    kvmcu_wait_for_word(client);
}
