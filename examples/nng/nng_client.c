/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Gets and puts with nothing but NNG: requests and answers are made by hand, after docs/protocol.md
 * (its sections are named below). It asks the nodes in turn until the primary has answered.
 *
 *   nng_client URL,URL get KEY          exit status 1: there is none
 *   nng_client URL,URL put KEY VALUE
 */
#include <nng/nng.h>
#include <nng/protocol/reqrep0/req.h>

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

enum { OP_HELLO = 1, OP_GET = 2, OP_PUT = 3 };                                             /* 6 */
enum { OK = 0, NOT_FOUND = 1, NOT_PRIMARY = 4, UNCERTAIN = 5, UNAVAILABLE = 6, BUSY = 7 }; /* 3 */
enum { ROLE_PRIMARY = 4 };

#define TRY_MS         500
#define PAUSE_MS       50
#define GIVE_UP        100 /* tries: a failover takes about a second */
#define NODES          16
#define URL_SIZE       257
#define SIZE_MAX_BYTES 8192

/* ---- msgpack, as much as there is of it here (2) ---- */

struct bytes {
    uint8_t at[SIZE_MAX_BYTES];
    size_t size;
};

/* A tag, then the number in 1, 2, 4 or 8 bytes, the highest first. */
static void put_number(struct bytes *out, uint8_t tag, uint64_t number, unsigned size)
{
    if (out->size + size + 1 > sizeof(out->at)) {
        fprintf(stderr, "nng_client: key and value are too long for this example\n");
        exit(2);
    }
    out->at[out->size++] = tag;
    while (size-- > 0) {
        out->at[out->size++] = (uint8_t)(number >> 8 * size);
    }
}

static void put_uint(struct bytes *out, uint64_t number)
{
    if (number < 0x80) {
        put_number(out, (uint8_t)number, 0, 0);
    } else if (number <= UINT8_MAX) {
        put_number(out, 0xcc, number, 1);
    } else if (number <= UINT16_MAX) {
        put_number(out, 0xcd, number, 2);
    } else if (number <= UINT32_MAX) {
        put_number(out, 0xce, number, 4);
    } else {
        put_number(out, 0xcf, number, 8);
    }
}

static void put_data(struct bytes *out, const char *text)
{
    size_t size = strlen(text);
    for (size_t i = 0; i < size; i++) {
        put_number(out, (uint8_t)text[i], 0, 0);
    }
}

static void put_bin(struct bytes *out, const char *text)
{
    size_t size = strlen(text);
    put_number(out, size <= UINT8_MAX ? 0xc4 : 0xc5, size, size <= UINT8_MAX ? 1 : 2);
    put_data(out, text);
}

/* What is read next; `good` is false from the first thing on that is not what it should be. */
struct reader {
    const uint8_t *at;
    size_t left;
    bool good;
};

static uint64_t take_number(struct reader *in, unsigned size)
{
    uint64_t number = 0;
    in->good = in->good && in->left >= size;
    for (; in->good && size > 0; size--) {
        number = number << 8 | *in->at++;
        in->left--;
    }
    return number;
}

static uint64_t take_uint(struct reader *in)
{
    uint64_t tag = take_number(in, 1);
    if (tag < 0x80) {
        return tag;
    }
    in->good = in->good && ((tag >= 0xcc && tag <= 0xcf) || (tag >= 0xd0 && tag <= 0xd3));
    return take_number(in, 1u << (tag & 3));
}

static size_t take_array(struct reader *in)
{
    uint64_t tag = take_number(in, 1);
    if (tag >> 4 == 9) {
        return tag & 15;
    }
    in->good = in->good && (tag == 0xdc || tag == 0xdd);
    return take_number(in, tag == 0xdc ? 2 : 4);
}

/* Text or bytes; they stay where they are. */
static const uint8_t *take_data(struct reader *in, size_t *size)
{
    uint64_t tag = take_number(in, 1);
    if (tag >> 5 == 5) {
        *size = tag & 31;
    } else if (tag >= 0xc4 && tag <= 0xc6) {
        *size = take_number(in, 1u << (tag - 0xc4));
    } else {
        in->good = in->good && tag >= 0xd9 && tag <= 0xdb;
        *size = take_number(in, in->good ? 1u << (tag - 0xd9) : 0);
    }
    in->good = in->good && *size <= in->left;
    const uint8_t *at = in->at;
    if (in->good) {
        in->at += *size;
        in->left -= *size;
    }
    return at;
}

/* ---- the nodes (5) ---- */

struct group {
    char urls[NODES][URL_SIZE], hint[URL_SIZE]; /* hint: who is to be asked next, if any */
    unsigned count, next;
    uint64_t epoch; /* the highest that was seen */
};

struct answer {
    nng_msg *message;
    uint64_t code;
    struct reader result;
};

static void pause_ms(long ms)
{
    nanosleep(&(struct timespec){0, ms * 1000000}, NULL);
}

/* Sends it to the node and waits a moment for what it says. NULL: nothing. */
static nng_msg *exchange(const char *url, const struct bytes *request)
{
    nng_socket socket;
    nng_msg *answer = NULL;
    if (nng_req0_open(&socket) != 0) {
        return NULL;
    }
    nng_socket_set_ms(socket, NNG_OPT_SENDTIMEO, TRY_MS);
    nng_socket_set_ms(socket, NNG_OPT_RECVTIMEO, TRY_MS);
    if (nng_dial(socket, url, NULL, 0) == 0) {
        uint8_t copy[SIZE_MAX_BYTES];
        memcpy(copy, request->at, request->size);
        if (nng_send(socket, copy, request->size, 0) != 0 || nng_recvmsg(socket, &answer, 0) != 0) {
            answer = NULL;
        }
    }
    nng_close(socket);
    return answer;
}

/* The answer's five elements: version, code, epoch, hint, result. */
static bool read_answer(struct group *group, struct answer *answer)
{
    struct reader in = {nng_msg_body(answer->message), nng_msg_len(answer->message), true};
    size_t size = 0, elements = take_array(&in);
    uint64_t version = take_uint(&in), epoch;
    answer->code = take_uint(&in);
    epoch = take_uint(&in);
    const uint8_t *hint = take_data(&in, &size);
    if (!in.good || elements != 5 || version != 1 || size >= URL_SIZE || epoch < group->epoch) {
        return false; /* a node that has not heard of the newest view is not believed */
    }
    group->epoch = epoch;
    snprintf(group->hint, sizeof(group->hint), "%.*s", (int)size, (const char *)hint);
    answer->result = in;
    return true;
}

/* One try; false: somebody else is to be asked, or the same one later. */
static bool ask_once(struct group *group, const struct bytes *request, struct answer *answer)
{
    char url[URL_SIZE];
    bool hinted = group->hint[0] != '\0';
    memcpy(url, hinted ? group->hint : group->urls[group->next++ % group->count], sizeof(url));
    group->hint[0] = '\0';
    answer->message = exchange(url, request);
    if (answer->message == NULL) {
        return false;
    }
    bool useful = read_answer(group, answer) && answer->code != NOT_PRIMARY &&
                  answer->code != UNCERTAIN && answer->code != UNAVAILABLE && answer->code != BUSY;
    if (!useful) {
        nng_msg_free(answer->message);
    }
    return useful;
}

static struct bytes begin(const struct group *group, unsigned elements, unsigned op,
                          uint64_t client, uint64_t number, uint64_t start)
{
    struct bytes request = {.size = 0};
    put_number(&request, (uint8_t)(0x90 | elements), 0, 0);
    put_uint(&request, 1); /* version */
    put_uint(&request, op);
    put_number(&request, 0xa0 | 7, 0, 0);
    put_data(&request, "default"); /* the group's name */
    put_uint(&request, group->epoch);
    put_uint(&request, client); /* the session (4) */
    put_uint(&request, 0);      /* its slot */
    put_uint(&request, number);
    put_uint(&request, start);
    return request;
}

/* Until somebody answers for good; the request may be sent many times, and is executed once. */
static bool ask(struct group *group, const struct bytes *request, struct answer *answer)
{
    for (unsigned tries = 0; tries < GIVE_UP; tries++) {
        if (ask_once(group, request, answer)) {
            return true;
        }
        if (group->hint[0] == '\0') {
            pause_ms(PAUSE_MS);
        }
    }
    fprintf(stderr, "nng_client: no primary has answered\n");
    return false;
}

/* HELLO is answered by any node; only the primary's word counts for how old a session is. */
static bool hello(struct group *group, uint64_t *start)
{
    for (unsigned tries = 0; tries < GIVE_UP; tries++) {
        struct answer answer;
        struct bytes request = begin(group, 8, OP_HELLO, 0, 0, 0);
        if (!ask(group, &request, &answer)) {
            return false;
        }
        struct reader *in = &answer.result;
        size_t elements = take_array(in), size;
        (void)take_uint(in); /* the node's id */
        uint64_t role = take_uint(in);
        (void)take_uint(in); /* the group's id, the primary's */
        (void)take_uint(in);
        for (size_t nodes = take_array(in); in->good && nodes > 0; nodes--) {
            (void)take_array(in);
            (void)take_uint(in);
            (void)take_data(in, &size);
        }
        *start = take_uint(in);
        bool found = in->good && elements == 11 && role == ROLE_PRIMARY;
        nng_msg_free(answer.message);
        if (found) {
            return true;
        }
        pause_ms(PAUSE_MS);
    }
    return false;
}

static int get(struct group *group, const char *key)
{
    struct answer answer;
    struct bytes request = begin(group, 10, OP_GET, 0, 0, 0);
    put_bin(&request, key);
    put_number(&request, 0xc2, 0, 0); /* not stale */
    if (!ask(group, &request, &answer)) {
        return 2;
    }
    int status = answer.code == OK ? 0 : answer.code == NOT_FOUND ? 1 : 2;
    if (status == 0) {
        size_t size = 0;
        (void)take_array(&answer.result);
        (void)take_uint(&answer.result); /* its revisions: of the last change, and the first */
        (void)take_uint(&answer.result);
        const uint8_t *value = take_data(&answer.result, &size);
        status = answer.result.good ? 0 : 2;
        fwrite(value, 1, answer.result.good ? size : 0, stdout);
    }
    nng_msg_free(answer.message);
    return status;
}

static int put(struct group *group, const char *key, const char *value)
{
    struct answer answer;
    uint64_t start, client;
    if (getrandom(&client, sizeof(client), 0) != sizeof(client) || !hello(group, &start)) {
        return 2;
    }
    client |= 1; /* 0: no session */
    struct bytes request = begin(group, 10, OP_PUT, client, 1, start);
    put_bin(&request, key);
    put_bin(&request, value);
    if (!ask(group, &request, &answer)) {
        return 2;
    }
    int status = answer.code == OK ? 0 : 2;
    if (status == 0) {
        printf("%llu\n", (unsigned long long)take_uint(&answer.result));
    } else {
        fprintf(stderr, "nng_client: refused with code %llu\n", (unsigned long long)answer.code);
    }
    nng_msg_free(answer.message);
    return status;
}

int main(int argc, char **argv)
{
    struct group group = {.count = 0};
    if (argc == 4 || argc == 5) {
        char *rest = NULL;
        for (char *url = strtok_r(argv[1], ",", &rest); url != NULL && group.count < NODES;
             url = strtok_r(NULL, ",", &rest)) {
            snprintf(group.urls[group.count++], URL_SIZE, "%s", url);
        }
    }
    if (group.count > 0 && argc == 4 && strcmp(argv[2], "get") == 0) {
        return get(&group, argv[3]);
    }
    if (group.count > 0 && argc == 5 && strcmp(argv[2], "put") == 0) {
        return put(&group, argv[3], argv[4]);
    }
    fprintf(stderr, "usage: nng_client URL,URL get KEY | put KEY VALUE\n");
    return 2;
}
