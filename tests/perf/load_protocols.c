/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the load says to each system:
 *
 *   kvpair      PUT with a session, as the client library; done when both nodes have it on disk.
 * GET redis       SET, and WAIT 1 behind those that go out together; done when one replica has
 * them. GET etcd        a put over the HTTP gateway beanstalkd  a cycle: put, reserve, delete
 */
#include "tests/perf/load_systems.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "replication/wire/wire.h"

enum { ORDER_WAIT = 0xff, ORDER_ROOM = 2 * LOAD_WIDTH_MAX };

/* ---- answers in the order of the requests ---- */

static void order_add(struct load_connection *connection, unsigned what)
{
    unsigned at = (connection->order_first + connection->order_count++) % ORDER_ROOM;
    connection->order[at] = (uint8_t)what;
}

static unsigned order_take(struct load_connection *connection)
{
    unsigned what = connection->order[connection->order_first];
    connection->order_first = (connection->order_first + 1) % ORDER_ROOM;
    connection->order_count--;
    return what;
}

/* ---- Redis ---- */

static void redis_ask(struct load_connection *connection, unsigned index)
{
    const struct load_request *request = &connection->requests[index];
    char key[LOAD_KEY_SIZE];
    int key_size = snprintf(key, sizeof(key), "key-%u", request->key);
    if (request->operation == LOAD_GET) {
        load_print(connection, "*2\r\n$3\r\nGET\r\n$%d\r\n%s\r\n", key_size, key);
    } else {
        load_print(connection, "*3\r\n$3\r\nSET\r\n$%d\r\n%s\r\n$%d\r\n%s\r\n", key_size, key,
                   LOAD_VALUE_SIZE, load_value);
    }
    order_add(connection, index);
}

/* A WAIT holds up whatever stands behind it, so there is one for all that go out together. */
static void redis_seal(struct load_connection *connection)
{
    unsigned sets = 0;
    for (unsigned i = 0; i < connection->order_count; i++) {
        unsigned what = connection->order[(connection->order_first + i) % ORDER_ROOM];
        sets = what == ORDER_WAIT ? 0 : sets;
        sets += what != ORDER_WAIT && connection->requests[what].operation == LOAD_PUT;
    }
    if (sets > 0) {
        load_print(connection, "*3\r\n$4\r\nWAIT\r\n$1\r\n1\r\n$4\r\n5000\r\n");
        order_add(connection, ORDER_WAIT);
    }
}

static void redis_waited(struct load_connection *connection)
{
    for (unsigned i = 0; i < connection->waiting_count; i++) {
        load_done(connection, connection->waiting[i]);
    }
    connection->waiting_count = 0;
}

static bool redis_take(struct load_connection *connection)
{
    char *text = (char *)connection->in, *end = strstr(text, "\r\n");
    if (end == NULL) {
        return false;
    }
    size_t whole = (size_t)(end + 2 - text);
    if (text[0] == '$') {
        whole += (size_t)LOAD_VALUE_SIZE + 2;
        if (connection->in_size < whole) {
            return false;
        }
    }
    unsigned what = order_take(connection);
    const char *wanted = what == ORDER_WAIT                                 ? ":1\r\n"
                         : connection->requests[what].operation == LOAD_GET ? "$100\r\n"
                                                                            : "+OK\r\n";
    if (strncmp(text, wanted, strlen(wanted)) != 0) {
        load_die("redis", text);
    }
    load_drop(connection, whole);
    if (what == ORDER_WAIT) {
        redis_waited(connection);
    } else if (connection->requests[what].operation == LOAD_GET) {
        load_done(connection, what);
    } else {
        connection->waiting[connection->waiting_count++] = (uint8_t)what;
    }
    return true;
}

/* ---- etcd ---- */

static void base64(const char *text, size_t size, char *out)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < size; i += 3) {
        uint32_t bits = 0;
        for (size_t j = 0; j < 3; j++) {
            bits = bits << 8 | (i + j < size ? (uint8_t)text[i + j] : 0);
        }
        for (size_t j = 0; j < 4; j++) {
            *out++ = i + j > size ? '=' : digits[bits >> (18 - 6 * j) & 63];
        }
    }
    *out = '\0';
}

static void etcd_ask(struct load_connection *connection, unsigned index)
{
    char key[LOAD_KEY_SIZE], key_base64[32], value_base64[4 * LOAD_VALUE_SIZE / 3 + 8], body[256];
    int key_size = snprintf(key, sizeof(key), "key-%u", connection->requests[index].key);
    base64(key, (size_t)key_size, key_base64);
    base64(load_value, LOAD_VALUE_SIZE, value_base64);
    int body_size =
        snprintf(body, sizeof(body), "{\"key\":\"%s\",\"value\":\"%s\"}", key_base64, value_base64);
    load_print(connection,
               "POST /v3/kv/put HTTP/1.1\r\nHost: localhost\r\n"
               "Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%s",
               body_size, body);
}

static bool etcd_take(struct load_connection *connection)
{
    const char *text = (const char *)connection->in;
    const char *end = strstr(text, "\r\n\r\n");
    const char *length = strstr(text, "Content-Length: ");
    if (end == NULL) {
        return false;
    }
    if (strncmp(text, "HTTP/1.1 200", 12) != 0 || length == NULL) {
        load_die("etcd", text);
    }
    size_t whole = (size_t)(end + 4 - text) + strtoul(length + 16, NULL, 10);
    if (connection->in_size < whole) {
        return false;
    }
    load_drop(connection, whole);
    load_done(connection, 0);
    return true;
}

/* ---- beanstalkd ---- */

static void beanstalkd_ask(struct load_connection *connection, unsigned index)
{
    (void)index;
    connection->step = 0;
    load_print(connection, "put 0 0 60 %d\r\n%s\r\n", LOAD_VALUE_SIZE, load_value);
}

static void beanstalkd_go_on(struct load_connection *connection)
{
    switch (++connection->step) {
    case 1:
        load_print(connection, "reserve\r\n");
        break;
    case 2:
        load_print(connection, "delete %llu\r\n", connection->job);
        break;
    default:
        load_done(connection, 0);
        break;
    }
}

static bool beanstalkd_take(struct load_connection *connection)
{
    static const char *const answers[] = {"INSERTED %llu\r\n", "RESERVED %llu %*d\r\n",
                                          "DELETED\r\n"};
    const char *text = (const char *)connection->in, *end = strstr(text, "\r\n");
    if (end == NULL) {
        return false;
    }
    size_t whole = (size_t)(end + 2 - text);
    whole += connection->step == 1 ? LOAD_VALUE_SIZE + 2 : 0;
    if (connection->in_size < whole) {
        return false;
    }
    if (connection->step < 2 ? sscanf(text, answers[connection->step], &connection->job) != 1
                             : strncmp(text, answers[2], strlen(answers[2])) != 0) {
        load_die("beanstalkd", text);
    }
    load_drop(connection, whole);
    beanstalkd_go_on(connection);
    return true;
}

/* ---- kvpair ---- */

enum { SP_HEAD = 8, SP_ID = 4, SP_GREETING = 8 };

static kvp_buf kvpair_message; /* one thread: reused for every request */

static void kvpair_send(struct load_connection *connection, struct kvp_request *request,
                        uint32_t id)
{
    uint8_t head[SP_HEAD + SP_ID] = {0};
    request->group = kvp_slice_of("default", 7);
    kvpair_message.size = 0;
    if (kvp_wire_request_encode(request, &kvpair_message) != KVP_OK) {
        load_die("kvpair", "a request cannot be encoded");
    }
    uint32_t size = htonl((uint32_t)(kvpair_message.size + SP_ID));
    uint32_t name = htonl(id | UINT32_C(0x80000000));
    memcpy(head + 4, &size, sizeof(size));
    memcpy(head + SP_HEAD, &name, sizeof(name));
    load_send(connection, head, sizeof(head));
    load_send(connection, kvpair_message.data, kvpair_message.size);
}

static void kvpair_ask(struct load_connection *connection, unsigned index)
{
    struct load_request *asked = &connection->requests[index];
    struct kvp_request request = {.op = asked->operation == LOAD_GET ? KVP_OP_GET : KVP_OP_PUT};
    char key[LOAD_KEY_SIZE];
    int key_size = snprintf(key, sizeof(key), "key-%u", asked->key);
    request.key = kvp_slice_of(key, (size_t)key_size);
    if (asked->operation == LOAD_PUT) {
        request.value = kvp_slice_of(load_value, LOAD_VALUE_SIZE);
        request.session = (struct kvp_session_id){.client = connection->client,
                                                  .slot = (uint16_t)index,
                                                  .number = ++asked->number,
                                                  .session_start = connection->session_start};
    }
    kvpair_send(connection, &request, index);
}

/* One answer of what has come: its id and how many bytes it is. */
static bool kvpair_answer(struct load_connection *connection, uint32_t *id,
                          struct kvp_answer *answer, size_t *whole)
{
    uint32_t size, name;
    if (connection->in_size < SP_HEAD + SP_ID) {
        return false;
    }
    memcpy(&size, connection->in + 4, sizeof(size));
    memcpy(&name, connection->in + SP_HEAD, sizeof(name));
    *whole = SP_HEAD + (size_t)ntohl(size);
    if (connection->in_size < *whole) {
        return false;
    }
    *id = ntohl(name) & ~UINT32_C(0x80000000);
    kvp_slice message = kvp_slice_of(connection->in + SP_HEAD + SP_ID, *whole - SP_HEAD - SP_ID);
    if (kvp_wire_answer_decode(message, answer) != KVP_OK) {
        load_die("kvpair", "an answer cannot be decoded");
    }
    if (answer->status != KVP_OK) {
        load_die("kvpair", kvp_strerror((kvp_status)answer->status));
    }
    return true;
}

static bool kvpair_take(struct load_connection *connection)
{
    struct kvp_answer answer;
    uint32_t id;
    size_t whole;
    if (!kvpair_answer(connection, &id, &answer, &whole)) {
        return false;
    }
    if (id >= connection->width) {
        load_die("kvpair", "an answer to nothing that was asked");
    }
    load_drop(connection, whole);
    load_done(connection, id);
    return true;
}

static void kvpair_read(struct load_connection *connection)
{
    ssize_t got = read(connection->socket, connection->in + connection->in_size,
                       LOAD_ANSWERS_SIZE - connection->in_size);
    if (got <= 0) {
        load_die("greeting kvpair", got < 0 ? strerror(errno) : "the connection was closed");
    }
    connection->in_size += (size_t)got;
}

/* SP's greeting, then HELLO, which tells when the session begins. */
static void kvpair_greet(struct load_connection *connection)
{
    static const uint8_t greeting[SP_GREETING] = {0, 'S', 'P', 0, 0, 0x30, 0, 0};
    struct kvp_request request = {.op = KVP_OP_HELLO};
    struct kvp_answer answer;
    struct kvp_hello hello;
    uint32_t id;
    size_t whole;
    connection->client = (uint64_t)getpid() << 32 | (uint32_t)(connection->socket + 1);
    load_send(connection, greeting, sizeof(greeting));
    kvpair_send(connection, &request, 0);
    if (write(connection->socket, connection->out, connection->out_size) !=
        (ssize_t)connection->out_size) {
        load_die("greeting kvpair", strerror(errno));
    }
    connection->out_size = 0;
    while (connection->in_size < SP_GREETING) {
        kvpair_read(connection);
    }
    load_drop(connection, SP_GREETING);
    while (!kvpair_answer(connection, &id, &answer, &whole)) {
        kvpair_read(connection);
    }
    if (kvp_wire_read_hello(answer.result, &hello) != KVP_OK || hello.node_id != hello.primary_id) {
        load_die("kvpair", "this node is not the primary");
    }
    connection->session_start = hello.session_start;
    load_drop(connection, whole);
}

const struct load_protocol load_protocols[] = {
    {"kvpair", LOAD_WIDTH_MAX, true, kvpair_greet, kvpair_ask, NULL, kvpair_take},
    {"redis", LOAD_WIDTH_MAX, true, NULL, redis_ask, redis_seal, redis_take},
    {"etcd", 1, false, NULL, etcd_ask, NULL, etcd_take},
    {"beanstalkd", 1, false, NULL, beanstalkd_ask, NULL, beanstalkd_take},
};
const unsigned load_protocol_count = sizeof(load_protocols) / sizeof(load_protocols[0]);
