/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One connection, one message under way: what is not answered in time is given up together with its
 * connection, so an answer that is awaited is always that of the newest message. Answers are read
 * byte by byte, as a flat list of values against a pattern, and looked at when they are complete.
 *
 * 64-bit numbers are taken apart by halves: shifts and products of them are calls into the
 * compiler's library on small cores.
 */
#include "kvmcu.h"

#include <string.h>

#define FRAME_HEAD     12u
#define FRAME_MAX      0x1000000u
#define CHUNK          32u /* bytes read at a time */
#define CHUNKS         16u /* so many of them in one poll */
#define TRY_MS         300u
#define TRY_DOUBLINGS  3u
#define BACKOFF_MS     10u
#define BACKOFF_MAX_MS 500u
#define RETRY_LIMIT    4u          /* so many tries at a node that is not ready; a power of 2 */
#define PARDON         8u          /* after so many back-offs a mute node is asked again */
#define PLACE_HIGH_MAX 0x40000000u /* of a place in the log or an epoch: 2^62 */
#define ROLE_PRIMARY   4u
#define NONE           0xffu
#define PLACE_OF(op)   ((op)&15u) /* of an operation in tables */

enum link { LINK_DOWN, LINK_OPENING, LINK_GREETING, LINK_UP };

enum state {
    IDLE,
    RESTING, /* until due_ms */
    READY,   /* to be sent as soon as there is a connection */
    SENDING,
    WAITING,
};

enum stage {
    AT_GREETING,
    AT_HEAD, /* of a frame */
    AT_BODY,
    AT_FOREIGN, /* of another version: it will not be understood */
    AT_OTHER,   /* not the answer that is awaited */
};

enum flags {
    SESSION_START_KNOWN = 1,
    GROUP_DOUBTFUL = 2, /* epochs went back: is it still the same group? */
    STALE = 4,          /* the call is a read that any node may answer */
    UNSETTLED = 8,      /* a copy of the request may have been executed */
};

/* numbers[] and small[] of an answer, and what goes to a task */
enum { EPOCH, REVISION, CREATED, BEHIND, GROUP_ID = BEHIND, JOB = REVISION, ATTEMPT = BEHIND };
enum { VERSION, CODE, NODE, ROLE, PRIMARY, TASK_NUMBER, TASK_BEAT, TASK_DEADLINE, TASK_CRC };

static void count_up(uint8_t *counter)
{
    if (*counter < NONE) {
        (*counter)++;
    }
}

/* ---- time ---- */

static bool passed(const struct kvmcu *client, uint32_t when_ms)
{
    return (int32_t)(client->now_ms - when_ms) >= 0;
}

static void wait_for_word(struct kvmcu *client)
{
    unsigned times = client->losses < TRY_DOUBLINGS ? client->losses : TRY_DOUBLINGS;

    client->due_ms = client->now_ms + ((uint32_t)client->try_ms << times);
    if (client->state == WAITING && client->asked == KVMCU_FETCH && client->stage == AT_HEAD) {
        client->due_ms += client->request->wait_ms;
    }
}

/* 10 ms, doubled each time up to 500 ms, half of it at random: clients that were refused together
 * shall not come back together. */
static void back_off(struct kvmcu *client, unsigned times)
{
    uint32_t time_ms = BACKOFF_MS << (times < 6 ? times : 6);
    uint32_t random = (client->id ^ client->now_ms ^ (uint32_t)client->client) * 2654435761u >> 16;

    time_ms = (time_ms < BACKOFF_MAX_MS ? time_ms : BACKOFF_MAX_MS) / 2;
    client->due_ms = client->now_ms + time_ms + (time_ms * random >> 16);
    client->state = RESTING;
}

/* ---- whom to ask ---- */

static bool is_update(unsigned op)
{
    return op >= KVMCU_PUT && op != KVMCU_FETCH && op != KVMCU_BEAT;
}

static bool is_for_primary(const struct kvmcu *client)
{
    return client->op != KVMCU_HELLO && (client->flags & STALE) == 0;
}

/* The newest message may be executed, and it is the call's. */
static void doubt(struct kvmcu *client)
{
    if (client->asked == client->op && is_update(client->op)) {
        client->flags |= UNSETTLED;
    }
}

static void drop_link(struct kvmcu *client)
{
    if (client->link != LINK_DOWN) {
        client->transport->close(client->transport->arg);
        client->link = LINK_DOWN;
    }
}

static void finish(struct kvmcu *client, int status)
{
    if (client->state == SENDING || client->state == WAITING || client->link != LINK_UP) {
        drop_link(client);
    }
    client->state = IDLE;
    client->status = (int16_t)status;
}

static void finish_failed(struct kvmcu *client, int status)
{
    if (client->state == WAITING) {
        doubt(client);
    }
    client->kept = 0;
    finish(client, (client->flags & UNSETTLED) != 0 ? KVMCU_TIMEOUT_UNKNOWN : status);
}

static void go_to(struct kvmcu *client, unsigned target)
{
    if (target != client->target) {
        drop_link(client);
        client->target = (uint8_t)target;
    }
}

static unsigned behind(const struct kvmcu *client, unsigned target)
{
    return target + 1u < client->url_count ? target + 1u : 0;
}

/* A node that let a try pass without a word is left alone for a while: each visit takes that long.
 */
static unsigned next_target(const struct kvmcu *client)
{
    unsigned next = behind(client, client->target);

    return next == client->mute ? behind(client, next) : next;
}

/* A hint to a node that gave no answer would lead there again and again. */
static bool is_of_use(const struct kvmcu *client, unsigned hint)
{
    return hint != NONE && hint != client->target && (client->silent >> hint & 1) == 0;
}

/* This node is of no use at the moment: on to the one of the hint, or the next; when all have been
 * asked in vain, after a pause. */
static void move_on(struct kvmcu *client, unsigned hint)
{
    count_up(&client->tries);
    go_to(client, is_of_use(client, hint) ? hint : next_target(client));
    client->moves++;
    if (client->moves >= client->url_count) {
        client->moves = 0;
        back_off(client, client->backoffs);
        count_up(&client->backoffs);
        if (client->backoffs % PARDON == 0) {
            client->silent = 0;
            client->mute = NONE;
        }
    } else {
        client->state = READY;
    }
}

/* No answer will come to what is under way. */
static void lose(struct kvmcu *client)
{
    bool in_vain = client->state >= READY && passed(client, client->due_ms);

    if (client->state == WAITING) {
        doubt(client);
    }
    drop_link(client);
    if (client->state >= READY) {
        count_up(&client->losses);
        client->mute = in_vain ? client->target : client->mute;
        client->silent |= (uint16_t)(1u << client->target);
        move_on(client, NONE);
    }
}

/* ---- writing ---- */

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

static void put_bytes(struct kvmcu *client, const void *data, size_t size)
{
    if (size > 0) {
        memcpy(client->buffer + client->out_size, data, size);
        client->out_size = (uint16_t)(client->out_size + size);
    }
}

static unsigned text_size(const char *text)
{
    unsigned size = 0;

    while (size <= KVMCU_NAME_MAX && text[size] != '\0') {
        size++;
    }
    return size;
}

static void put_text(struct kvmcu *client, const char *text)
{
    unsigned size = text_size(text);

    if (size > 31) {
        put_byte(client, 0xd9);
    }
    put_byte(client, size > 31 ? size : 0xa0u | size);
    put_bytes(client, text, size);
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
        put_bytes(client, request->value, request->value_size);
    } else {
        client->tail_left = request->value_size;
    }
}

static void put_bool(struct kvmcu *client, bool value)
{
    put_byte(client, value ? 0xc3 : 0xc2);
}

static void put_key(struct kvmcu *client)
{
    const struct kvmcu_request *request = client->request;

    put_bin_size(client, request->key_size);
    put_bytes(client, request->key, request->key_size);
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

/* Four bits at a time. */
static uint32_t crc32_of(const uint8_t *data, uint32_t size)
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
        put_uint(client, crc32_of(request->value, request->value_size));
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
    static const uint8_t elements[] = {0, 8, 10, 10, 10, 10, 11, 0, 12, 10, 13, 15, 16};
    unsigned count = elements[PLACE_OF(op)];

    if (count > 15) {
        put_word(client, 0xdc00, 2);
    }
    put_byte(client, count > 15 ? count : 0x90u | count);
    put_byte(client, 1);
    put_byte(client, op);
}

/* kvmcu_start() has seen that it fits. */
static void write_request(struct kvmcu *client)
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
    wait_for_word(client);
}

/* ---- answers, when they are complete ---- */

#define SESSION_EXPIRED 8u

/* LATER: not executed, like ELSEWHERE. Few enough for the compiler to compare one by one: a table
 * of jumps would be a call into its library. */
enum verdict { UNKNOWN, FINAL, ELSEWHERE, LATER, FOREIGN };

static enum verdict judge(unsigned code)
{
    static const uint8_t verdicts[] = {
        FINAL, FINAL, FINAL,   FINAL,   ELSEWHERE, UNKNOWN, LATER, LATER,   LATER, FINAL,
        FINAL, FINAL, FOREIGN, FOREIGN, FINAL,     UNKNOWN, FINAL, UNKNOWN, LATER,
    };
    if (code >= KVMCU_NO_SUCH_JOB && code <= KVMCU_NOT_HELD) {
        return FINAL;
    }
    return code < sizeof(verdicts) ? (enum verdict)verdicts[code] : UNKNOWN;
}

/* A session slot that was never used. */
static void new_session(struct kvmcu *client)
{
    client->number = 1;
    client->slot++;
    if (client->slot == 0) {
        client->client += 0x9e3779b97f4a7c15u;
        client->client |= 1;
    }
    client->flags &= (uint8_t)~SESSION_START_KNOWN;
}

static void next_number(struct kvmcu *client)
{
    client->number++;
    if (client->number == 0) {
        new_session(client);
    }
}

/* Not one of our group, it says: that is final when all say so. */
static void take_refusal(struct kvmcu *client)
{
    client->refused |= (uint16_t)(1u << client->target);
    if (client->refused == (uint16_t)((1u << client->url_count) - 1)) {
        finish_failed(client, client->small[CODE]);
    } else {
        move_on(client, NONE);
    }
}

/* The answer to the HELLO that asked for a session start. */
static void take_hello(struct kvmcu *client)
{
    uint64_t group_id = client->numbers[GROUP_ID];

    if (client->small[CODE] != KVMCU_OK || client->small[ROLE] != ROLE_PRIMARY) {
        move_on(client, client->hinted);
        return;
    }
    bool replaced = client->group_id != 0 && client->group_id != group_id;
    if (replaced) {
        client->epoch_seen = client->numbers[EPOCH];
        client->instance = 0;
        new_session(client);
    }
    if (client->numbers[EPOCH] < client->epoch_seen) {
        move_on(client, NONE); /* it has been deposed and does not know it yet */
        return;
    }
    client->group_id = group_id;
    if ((client->flags & SESSION_START_KNOWN) == 0) {
        client->session_start = client->numbers[REVISION];
    }
    client->flags = (uint8_t)((client->flags | SESSION_START_KNOWN) & ~GROUP_DOUBTFUL);
    client->moves = client->backoffs = 0;
    if (replaced && (client->flags & UNSETTLED) != 0) {
        finish_failed(client, KVMCU_TIMEOUT_UNKNOWN); /* in the other group, that was */
    } else {
        client->state = READY;
    }
}

static void take_expired(struct kvmcu *client)
{
    new_session(client);
    if ((client->flags & UNSETTLED) != 0) {
        finish_failed(client, KVMCU_TIMEOUT_UNKNOWN);
    } else {
        count_up(&client->tries);
        back_off(client, client->tries);
    }
}

/* From a node that has not heard of the newest view? Then it must not be believed. */
static bool is_outdated(struct kvmcu *client)
{
    uint64_t epoch = client->numbers[EPOCH];

    if (epoch == 0 || !is_for_primary(client)) {
        return false;
    }
    if (epoch >= client->epoch_seen) {
        client->epoch_seen = epoch;
        return false;
    }
    return client->asked != KVMCU_HELLO;
}

/* An answer with a task is complete. */
static int take_task(struct kvmcu *client)
{
    struct kvmcu_task *task = client->request->task;

    task->job = client->numbers[JOB];
    task->attempt = client->numbers[ATTEMPT];
    if (client->kept > 0 && client->sink == NULL) {
        return KVMCU_OK; /* it is said below that it does not fit */
    }
    client->kept = 0;
    return crc32_of(client->worker->workspace, task->payload_size) == task->crc ? KVMCU_OK
                                                                                : KVMCU_CORRUPT;
}

/* The nodes have forgotten the worker. False: that is the end of the call. */
static bool joins_again(struct kvmcu *client)
{
    client->instance = 0;
    if (client->op != KVMCU_FETCH) {
        return false;
    }
    next_number(client);
    count_up(&client->tries);
    back_off(client, client->tries);
    return true;
}

static void take_final(struct kvmcu *client)
{
    int status = client->small[CODE];

    client->moves = client->backoffs = 0;
    if (status == KVMCU_WORKER_UNKNOWN && joins_again(client)) {
        return;
    }
    if (status == KVMCU_OK && client->asked == KVMCU_JOIN) {
        client->instance = client->numbers[REVISION];
        if (client->op == KVMCU_FETCH) {
            return;
        }
    }
    if (client->op == KVMCU_FETCH) {
        status = status == KVMCU_OK ? take_task(client) : status;
        client->fetches += status == KVMCU_OK || status == KVMCU_NO_TASK ? 1 : 0;
    } else if (client->op == KVMCU_LEAVE) {
        client->instance = 0;
    }
    if (client->kept > 0 && client->sink == NULL) {
        status = status == KVMCU_OK ? KVMCU_DOES_NOT_FIT : status;
        client->kept = status == KVMCU_DOES_NOT_FIT ? client->kept : 0;
    }
    finish(client, status);
}

static void take_later(struct kvmcu *client)
{
    if (client->small[CODE] == SESSION_EXPIRED) {
        take_expired(client);
        return;
    }
    back_off(client, client->tries);
    count_up(&client->tries);
    if (client->tries % RETRY_LIMIT == 0) {
        go_to(client, next_target(client));
    }
}

static void take_unknown(struct kvmcu *client)
{
    doubt(client);
    move_on(client, client->hinted);
}

static void take_answer(struct kvmcu *client)
{
    enum verdict verdict = judge(client->small[CODE]);

    client->state = READY; /* nothing is under way */
    if (verdict == FOREIGN) {
        take_refusal(client);
        return;
    }
    client->refused &= (uint16_t) ~(1u << client->target);
    client->silent &= (uint16_t) ~(1u << client->target);
    client->mute = client->mute == client->target ? NONE : client->mute;
    if (is_outdated(client)) {
        client->flags |= GROUP_DOUBTFUL;
        client->hinted = NONE;
        take_unknown(client);
    } else if (client->asked == KVMCU_HELLO && client->op != KVMCU_HELLO) {
        take_hello(client);
    } else if (verdict == FINAL ||
               (client->small[CODE] == KVMCU_CORRUPT && client->op == KVMCU_POST)) {
        take_final(client);
    } else if (verdict == ELSEWHERE) {
        move_on(client, client->hinted);
    } else if (verdict == LATER) {
        take_later(client);
    } else {
        take_unknown(client);
    }
}

/* ---- reading: values ---- */

enum kind {
    BAD,
    NIL,
    BOOL,
    UINT,
    INT,
    STR,
    BIN,
    ARRAY,
    MAP,
    ANY,       /* in patterns only, and so are the next */
    TO_RESULT, /* goes on with what belongs to operation and code */
    TO_NODE,   /* as often as the list is long, then behind it */
};

/* What an answer has to be, value by value: kind and, in the low half, which of numbers[] (0 to 3)
 * or small[] (from 4 on) it goes to, or how many elements. */
#define P(kind, detail) (uint8_t)((kind) << 4 | (detail))
#define SMALL           4u
#define UNUSED          15u
#define LIST            15u

enum {
    PATTERN_HEAD = 0,
    PATTERN_HINT = 4,
    PATTERN_GET = 6,
    PATTERN_HELLO = 12,
    PATTERN_NODE = 19,
    PATTERN_BEHIND_NODES = 23,
    PATTERN_REVISION = 30,
    PATTERN_WANTED = 32,
    PATTERN_GRANT = 34,
    PATTERN_KIND = 38,
    PATTERN_CHECKPOINT = 41,
    PATTERN_PAYLOAD = 42,
    PATTERN_ANY = 45,
};

static const uint8_t patterns[] = {
    P(ARRAY, 5),
    P(UINT, SMALL + VERSION),
    P(UINT, SMALL + CODE),
    P(UINT, EPOCH),
    P(STR, 0),
    P(TO_RESULT, 0),
    /* GET */
    P(ARRAY, 4),
    P(UINT, REVISION),
    P(UINT, CREATED),
    P(BIN, 0),
    P(UINT, BEHIND),
    P(BAD, 0),
    /* HELLO */
    P(ARRAY, 11),
    P(UINT, SMALL + NODE),
    P(UINT, SMALL + ROLE),
    P(UINT, GROUP_ID),
    P(UINT, SMALL + PRIMARY),
    P(ARRAY, LIST),
    P(TO_NODE, 0),
    P(ARRAY, 2),
    P(UINT, UNUSED),
    P(STR, 0),
    P(TO_NODE, 0),
    P(UINT, REVISION),
    P(UINT, UNUSED),
    P(UINT, UNUSED),
    P(UINT, UNUSED),
    P(UINT, UNUSED),
    P(UINT, UNUSED),
    P(BAD, 0),
    /* updates, and errors with a revision */
    P(UINT, REVISION),
    P(BAD, 0),
    /* BEAT, POST */
    P(BOOL, REVISION),
    P(BAD, 0),
    /* FETCH */
    P(ARRAY, 9),
    P(UINT, JOB),
    P(UINT, SMALL + TASK_NUMBER),
    P(UINT, ATTEMPT),
    P(STR, 0),
    P(UINT, SMALL + TASK_BEAT),
    P(UINT, SMALL + TASK_DEADLINE),
    P(BIN, 0),
    P(BIN, 0),
    P(UINT, SMALL + TASK_CRC),
    P(BAD, 0),
    /* LEAVE, and other errors */
    P(ANY, 0),
};

static unsigned result_pattern(const struct kvmcu *client)
{
    static const uint8_t good[] = {
        0,
        PATTERN_HELLO,
        PATTERN_GET,
        PATTERN_REVISION,
        PATTERN_REVISION,
        PATTERN_REVISION,
        PATTERN_REVISION,
        0,
        PATTERN_REVISION,
        PATTERN_ANY,
        PATTERN_GRANT,
        PATTERN_WANTED,
        PATTERN_WANTED,
    };
    unsigned code = client->small[CODE];

    if (code == KVMCU_EXISTS || code == KVMCU_VERSION_DIFFERS) {
        return PATTERN_REVISION;
    }
    return code == KVMCU_OK ? good[PLACE_OF(client->asked)] : PATTERN_ANY;
}

/* The place in the pattern behind `at`. */
static unsigned next_pattern(struct kvmcu *client, unsigned at)
{
    if (at == PATTERN_ANY) {
        return PATTERN_ANY;
    }
    at++;
    if (patterns[at] == P(TO_RESULT, 0)) {
        return result_pattern(client);
    }
    if (patterns[at] != P(TO_NODE, 0)) {
        return at;
    }
    if (client->list_left == 0) {
        return PATTERN_BEHIND_NODES;
    }
    client->list_left--;
    return PATTERN_NODE;
}

/* The place of what was read in a list of names. */
static unsigned find(const struct kvmcu *client, const char *const *names, unsigned count)
{
    for (unsigned i = 0; i < count && client->sink != NULL; i++) {
        const char *name = names[i];
        uint32_t at = 0;

        while (at < client->kept && name[at] != '\0' && (uint8_t)name[at] == client->buffer[at]) {
            at++;
        }
        if (at == client->kept && name[at] == '\0') {
            return i;
        }
    }
    return NONE;
}

/* A value is complete. */
static void end_value(struct kvmcu *client)
{
    struct kvmcu_task *task = client->request->task;

    switch (client->expect) {
    case PATTERN_HINT:
        client->hinted = (uint8_t)find(client, client->urls, client->url_count);
        break;
    case PATTERN_KIND:
        task->kind = (uint8_t)find(client, client->worker->kinds, client->worker->kind_count);
        break;
    case PATTERN_CHECKPOINT:
        task->checkpoint_size = client->sink != NULL ? client->kept : 0;
        break;
    case PATTERN_PAYLOAD:
        task->payload_size = client->kept;
        break;
    default:
        break;
    }
    if (client->kind == STR && client->expect != PATTERN_ANY) {
        client->kept = 0; /* hints and the like are not for the user */
    }
    client->expect = (uint8_t)next_pattern(client, client->expect);
    client->bytes = 0;
}

/* Where str and bin go. NULL: nowhere, it is too long. */
static uint8_t *sink_of(const struct kvmcu *client)
{
    uint8_t *sink = client->buffer;
    uint32_t room = client->buffer_size;

    if (client->expect == PATTERN_CHECKPOINT) {
        sink = client->worker->checkpoint;
        room = client->worker->checkpoint_max;
    } else if (client->expect == PATTERN_PAYLOAD) {
        sink = client->worker->workspace;
        room = client->worker->workspace_size;
    }
    return client->low <= room ? sink : NULL;
}

static bool take_task_number(struct kvmcu_task *task, unsigned what, uint32_t number)
{
    uint32_t *const places[] = {&task->number, &task->beat_ms, &task->deadline_ms, &task->crc};

    *places[what - TASK_NUMBER] = number;
    return true;
}

/* false: it is out of range. */
static bool take_number(struct kvmcu *client, unsigned detail)
{
    uint32_t high = client->high, low = client->low;

    if (detail == UNUSED) {
        return true;
    }
    if (detail >= SMALL + TASK_NUMBER) {
        return high == 0 && take_task_number(client->request->task, detail - SMALL, low);
    }
    if (detail >= SMALL) {
        client->small[detail - SMALL] = high != 0 || low > 0xff ? 0xff : (uint8_t)low;
        return true;
    }
    client->numbers[detail] = (uint64_t)high << 32 | low;
    return detail == BEHIND || high < PLACE_HIGH_MAX;
}

/* Room in what is left of the message for that many values more? */
static bool take_elements(struct kvmcu *client, unsigned kind, unsigned detail)
{
    uint32_t count = client->low;

    if (count > client->frame_left) {
        return false;
    }
    client->values_left += kind == MAP ? 2 * count : count;
    if (client->values_left > client->frame_left) {
        return false;
    }
    if (detail == LIST) {
        client->list_left = count < NONE ? (uint8_t)count : 0;
        return count < NONE;
    }
    return detail == 0 || detail == count;
}

/* The first byte of a value and what belongs to it is there. false: that must not be. */
static bool take_value(struct kvmcu *client)
{
    unsigned wanted = patterns[client->expect];
    unsigned kind = client->kind, detail = wanted & 15u;

    if (client->values_left == 0 || (wanted >> 4 != kind && wanted >> 4 != ANY)) {
        return false;
    }
    client->values_left--;
    if (kind == STR || kind == BIN) {
        client->payload_left = client->kept = client->low;
        client->sink = sink_of(client);
        if (client->low > client->frame_left) {
            return false;
        }
        if (client->low > 0) {
            return true;
        }
    } else if (kind == ARRAY || kind == MAP) {
        if (!take_elements(client, kind, detail)) {
            return false;
        }
    } else if ((kind == UINT || kind == BOOL) && wanted >> 4 == kind &&
               !take_number(client, detail)) {
        return false;
    }
    end_value(client);
    return true;
}

/* 0xc0 to 0xdf: the kind, and how many bytes of number or size follow. */
static const uint8_t formats[32] = {
    P(NIL, 0), P(BAD, 0), P(BOOL, 0), P(BOOL, 0), P(BIN, 1),   P(BIN, 2),   P(BIN, 4),  P(BAD, 0),
    P(BAD, 0), P(BAD, 0), P(BAD, 0),  P(BAD, 0),  P(UINT, 1),  P(UINT, 2),  P(UINT, 4), P(UINT, 8),
    P(INT, 1), P(INT, 2), P(INT, 4),  P(INT, 8),  P(BAD, 0),   P(BAD, 0),   P(BAD, 0),  P(BAD, 0),
    P(BAD, 0), P(STR, 1), P(STR, 2),  P(STR, 4),  P(ARRAY, 2), P(ARRAY, 4), P(MAP, 2),  P(MAP, 4),
};

/* The first byte of a value. */
static bool begin_value(struct kvmcu *client, unsigned byte)
{
    unsigned format = P(BAD, 0);

    client->high = 0;
    client->low = 0;
    if (byte < 0x80) {
        format = P(UINT, 0);
        client->low = byte;
    } else if (byte < 0xa0) {
        format = byte < 0x90 ? P(MAP, 0) : P(ARRAY, 0);
        client->low = byte & 15u;
    } else if (byte < 0xc0) {
        format = P(STR, 0);
        client->low = byte & 31u;
    } else if (byte < 0xe0) {
        format = formats[byte - 0xc0];
    }
    client->kind = (uint8_t)(format >> 4);
    client->bytes = format & 15u;
    if (client->kind == BAD) {
        return false;
    }
    if (client->kind == BOOL) {
        client->low = byte & 1u;
    }
    return client->bytes > 0 || take_value(client);
}

static void shift_in(struct kvmcu *client, unsigned byte)
{
    client->high = client->high << 8 | client->low >> 24;
    client->low = client->low << 8 | byte;
}

static bool feed_value(struct kvmcu *client, uint8_t byte)
{
    if (client->payload_left > 0) {
        if (client->sink != NULL) {
            *client->sink = byte;
            client->sink++;
        }
        client->payload_left--;
        if (client->payload_left == 0) {
            end_value(client);
        }
        return true;
    }
    if (client->bytes == 0) {
        return begin_value(client, byte);
    }
    if (client->kind == INT) {
        if (byte >= 0x80) {
            return false; /* nothing here is negative */
        }
        client->kind = UINT;
    }
    shift_in(client, byte);
    client->bytes--;
    return client->bytes > 0 || take_value(client);
}

/* ---- reading: frames ---- */

static void expect_frame(struct kvmcu *client)
{
    client->stage = AT_HEAD;
    client->bytes = 0;
    client->high = client->low = 0;
}

/* The id has come. An answer to an earlier message of this connection is of no interest. */
static bool begin_frame(struct kvmcu *client)
{
    client->frame_left -= 4;
    client->bytes = 0;
    if (client->state == WAITING && client->low == client->id) {
        client->stage = AT_BODY;
        client->expect = PATTERN_HEAD;
        client->values_left = 1;
        client->payload_left = client->kept = 0;
        client->hinted = NONE;
        client->numbers[EPOCH] = client->numbers[REVISION] = 0;
        client->numbers[CREATED] = client->numbers[BEHIND] = 0;
        memset(client->small, 0, sizeof(client->small));
        return client->frame_left > 0;
    }
    client->stage = AT_OTHER;
    if (client->id - client->low >= client->sent_here) {
        return false;
    }
    if (client->frame_left == 0) {
        expect_frame(client);
    }
    return true;
}

static bool feed_head(struct kvmcu *client, uint8_t byte)
{
    shift_in(client, byte);
    client->bytes++;
    if (client->bytes == 8) {
        client->frame_left = client->low;
        return client->high == 0 && client->low >= 4 && client->low <= FRAME_MAX;
    }
    return client->bytes < FRAME_HEAD || begin_frame(client);
}

static bool feed_body(struct kvmcu *client, uint8_t byte)
{
    client->frame_left--;
    if (client->stage == AT_BODY && !feed_value(client, byte)) {
        return false;
    }
    if (client->stage == AT_BODY && client->expect == 2 && client->small[VERSION] != 1) {
        client->stage = AT_FOREIGN;
        client->small[CODE] = KVMCU_BAD_VERSION;
    }
    if (client->frame_left > 0) {
        return true;
    }
    unsigned stage = client->stage;
    bool complete = client->values_left == 0 && client->bytes == 0 && client->payload_left == 0;
    expect_frame(client);
    if (stage == AT_FOREIGN || (stage == AT_BODY && complete)) {
        take_answer(client);
    }
    return stage != AT_BODY || complete;
}

static bool feed(struct kvmcu *client, uint8_t byte)
{
    static const uint8_t greeting[8] = {0, 'S', 'P', 0, 0, 0x31, 0, 0};

    if (client->stage == AT_GREETING) {
        bool good = byte == greeting[client->bytes];
        client->bytes++;
        if (good && client->bytes == sizeof(greeting)) {
            expect_frame(client);
        }
        return good;
    }
    return client->stage == AT_HEAD ? feed_head(client, byte) : feed_body(client, byte);
}

/* What is within str or bin needs no look at each byte. The last one is left to feed(). */
static uint32_t feed_inside(struct kvmcu *client, const uint8_t *data, uint32_t size)
{
    if (client->stage != AT_BODY || client->payload_left <= 1) {
        return 0;
    }
    size = size < client->payload_left ? size : client->payload_left - 1;
    if (client->sink != NULL) {
        memcpy(client->sink, data, size);
        client->sink += size;
    }
    client->payload_left -= size;
    client->frame_left -= size;
    return size;
}

/* The state may be another one afterwards, and the connection gone. */
static void receive(struct kvmcu *client)
{
    uint8_t chunk[CHUNK];

    for (unsigned round = 0; round < CHUNKS && client->link >= LINK_GREETING; round++) {
        int count = client->transport->recv(client->transport->arg, chunk, sizeof(chunk));
        if (count == 0) {
            return;
        }
        if (count < 0 || count > (int)sizeof(chunk)) {
            lose(client);
            return;
        }
        /* An answer that is taken may end the connection. */
        uint32_t size = (uint32_t)count;
        for (uint32_t i = 0; i < size && client->link >= LINK_GREETING; i++) {
            i += feed_inside(client, chunk + i, size - i);
            if (i < size && !feed(client, chunk[i])) {
                lose(client);
                return;
            }
        }
        if (client->stage == AT_BODY && client->state == WAITING) {
            wait_for_word(client); /* a long answer on a slow line */
        }
    }
}

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
    put_bytes(client, greeting, sizeof(greeting));
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
        wait_for_word(client);
    }
    return true;
}

/* Towards a connection, and a request on it. */
static bool connect_step(struct kvmcu *client)
{
    if (client->link == LINK_DOWN) {
        client->link = LINK_OPENING;
        wait_for_word(client);
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
    write_request(client);
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
        wait_for_word(client);
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
        lose(client);
        return;
    }
    bool fine = client->state != READY || connect_step(client);
    if (fine && client->state == SENDING) {
        fine = send_step(client);
    }
    if (!fine) {
        lose(client);
    }
}

int kvmcu_poll(struct kvmcu *client, uint32_t now_ms)
{
    client->now_ms = now_ms;
    receive(client);
    if (client->state != IDLE && passed(client, client->deadline_ms)) {
        finish_failed(client, KVMCU_TIMEOUT);
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
    return op > KVMCU_HELLO && op <= KVMCU_CAS && request->key != NULL && request->key_size > 0 &&
           request->key_size <= KVMCU_KEY_MAX;
}

int kvmcu_start(struct kvmcu *client, const struct kvmcu_request *request, uint32_t now_ms,
                uint32_t timeout_ms)
{
    if (client->state != IDLE || !is_sound(client, request) || timeout_ms > INT32_MAX) {
        return KVMCU_BAD_ARGUMENT;
    }
    client->kept = 0;
    client->status = KVMCU_DOES_NOT_FIT;
    if (request->op < KVMCU_JOIN &&
        KVMCU_BUFFER_FOR(text_size(client->group), request->key_size) > client->buffer_size) {
        return KVMCU_DOES_NOT_FIT;
    }
    client->request = request;
    client->op = request->op;
    client->flags &= (uint8_t) ~(UNSETTLED | STALE);
    if (request->op == KVMCU_GET && request->stale) {
        client->flags |= STALE;
    }
    if (request->op >= KVMCU_PUT) {
        next_number(client);
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
        finish_failed(client, KVMCU_CLOSED);
    }
    drop_link(client);
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
    if (client->status > KVMCU_VERSION_DIFFERS && client->status != KVMCU_DOES_NOT_FIT) {
        return;
    }
    result->revision = client->numbers[REVISION];
    if (client->op == KVMCU_GET) {
        result->created = client->numbers[CREATED];
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
    return text != NULL && text_size(text) - 1 < KVMCU_NAME_MAX;
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
        kinds += 2 + text_size(worker->kinds[i]);
    }
    return KVMCU_BUFFER_FOR_WORKER(text_size(config->group), text_size(worker->name), kinds) <=
           config->buffer_size;
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
