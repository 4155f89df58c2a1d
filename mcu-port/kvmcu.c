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

#define FRAME_HEAD      12u
#define FRAME_MAX       0x1000000u
#define CHUNK           32u  /* bytes read at a time */
#define CHUNKS          16u  /* so many of them in one poll */
#define TRY_MS          300u
#define TRY_DOUBLINGS   3u
#define REST_MS         10u
#define REST_MAX_MS     500u
#define PATIENCE        4u   /* so many tries at a node that is not ready; a power of 2 */
#define PLACE_HIGH_MAX  0x40000000u /* of a place in the log or an epoch: 2^62 */
#define ROLE_PRIMARY    4u
#define NONE            0xffu

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
    BIRTH_KNOWN = 1,
    GROUP_DOUBTFUL = 2, /* epochs went back: is it still the same group? */
    ASKS_HELLO = 4,     /* the newest message is a HELLO for a birth */
    UNSETTLED = 8,      /* a copy of the request may have been executed */
};

/* numbers[] and small[] of an answer */
enum { EPOCH, REVISION, CREATED, BEHIND, GROUP_ID = BEHIND };
enum { VERSION, CODE, NODE, ROLE, PRIMARY };

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
    unsigned times = client->tries < TRY_DOUBLINGS ? client->tries : TRY_DOUBLINGS;

    client->due_ms = client->now_ms + ((uint32_t)client->try_ms << times);
}

/* 10 ms, doubled each time up to 500 ms, half of it at random: clients that were refused together
 * shall not come back together. */
static void rest(struct kvmcu *client, unsigned times)
{
    uint32_t time_ms = REST_MS << (times < 6 ? times : 6);
    uint32_t random = (client->id ^ client->now_ms ^ (uint32_t)client->client) * 2654435761u >> 16;

    time_ms = (time_ms < REST_MAX_MS ? time_ms : REST_MAX_MS) / 2;
    client->due_ms = client->now_ms + time_ms + (time_ms * random >> 16);
    client->state = RESTING;
}

/* ---- whom to ask ---- */

static bool is_update(const struct kvmcu *client)
{
    return client->request.op >= KVMCU_PUT;
}

static bool is_for_primary(const struct kvmcu *client)
{
    return client->request.op != KVMCU_HELLO && !client->request.stale;
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
    if (client->state == WAITING && (client->flags & ASKS_HELLO) == 0 && is_update(client)) {
        client->flags |= UNSETTLED;
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

static unsigned next_target(const struct kvmcu *client)
{
    return client->target + 1u < client->url_count ? client->target + 1u : 0;
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
    client->strikes++;
    if (client->strikes >= client->url_count) {
        client->strikes = 0;
        rest(client, client->rests);
        count_up(&client->rests);
    } else {
        client->state = READY;
    }
}

/* No answer will come to what is under way. */
static void lose(struct kvmcu *client)
{
    if (client->state == WAITING && (client->flags & ASKS_HELLO) == 0 && is_update(client)) {
        client->flags |= UNSETTLED;
    }
    drop_link(client);
    if (client->state >= READY) {
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

static void put_bin(struct kvmcu *client, const void *data, size_t size)
{
    put_byte(client, size > 0xff ? 0xc5 : 0xc4);
    put_word(client, (uint32_t)size, size > 0xff ? 2 : 1);
    put_bytes(client, data, size);
}

static bool has_value(unsigned op)
{
    return op == KVMCU_PUT || op == KVMCU_CREATE || op == KVMCU_CAS;
}

static void put_arguments(struct kvmcu *client)
{
    const struct kvmcu_request *request = &client->request;

    put_bin(client, request->key, request->key_size);
    if (request->op == KVMCU_GET) {
        put_byte(client, request->stale ? 0xc3 : 0xc2);
    }
    if (request->op >= KVMCU_DELETE) {
        put_uint(client, request->version);
    }
    if (has_value(request->op)) {
        put_bin(client, request->value, request->value_size);
    }
}

/* Whether the request has to wait for a HELLO: a new session needs a birth, and a group that was
 * replaced shows by its id. */
static bool needs_hello(const struct kvmcu *client)
{
    return (is_update(client) && (client->flags & BIRTH_KNOWN) == 0) ||
           (is_for_primary(client) && (client->flags & GROUP_DOUBTFUL) != 0);
}

static void put_session(struct kvmcu *client, bool none)
{
    put_uint(client, none ? 0 : client->client);
    put_uint(client, none ? 0 : client->slot);
    put_uint(client, none ? 0 : client->number);
    put_uint(client, none ? 0 : client->birth);
}

/* kvmcu_start() has seen that it fits. */
static void write_request(struct kvmcu *client)
{
    unsigned op = client->request.op;

    client->flags &= (uint8_t)~ASKS_HELLO;
    if (needs_hello(client)) {
        client->flags |= ASKS_HELLO;
        op = KVMCU_HELLO;
    }
    client->out_at = 0;
    client->out_size = FRAME_HEAD;
    put_byte(client, 0x98 + (op == KVMCU_HELLO ? 0 : op == KVMCU_CAS ? 3 : 2));
    put_byte(client, 1);
    put_byte(client, op);
    if (client->group_size > 31) {
        put_byte(client, 0xd9);
    }
    put_byte(client, client->group_size > 31 ? client->group_size : 0xa0u | client->group_size);
    put_bytes(client, client->group, client->group_size);
    put_uint(client, client->epoch_seen);
    put_session(client, op < KVMCU_PUT);
    if (op != KVMCU_HELLO) {
        put_arguments(client);
    }

    uint16_t size = client->out_size;
    client->id = (client->id + 1) | 0x80000000u;
    client->out_size = 0;
    put_word(client, 0, 4);
    put_word(client, size - 8u, 4);
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
    return code < sizeof(verdicts) ? (enum verdict)verdicts[code] : UNKNOWN;
}

/* A lane that was never used. */
static void new_session(struct kvmcu *client)
{
    client->number = 1;
    client->slot++;
    if (client->slot == 0) {
        client->client += 0x9e3779b97f4a7c15u;
        client->client |= 1;
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

/* The answer to the HELLO that asked for a birth. */
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
        new_session(client);
    }
    if (client->numbers[EPOCH] < client->epoch_seen) {
        move_on(client, NONE); /* it has been deposed and does not know it yet */
        return;
    }
    client->group_id = group_id;
    if (replaced || (client->flags & BIRTH_KNOWN) == 0) {
        client->birth = client->numbers[REVISION];
    }
    client->flags = (uint8_t)((client->flags | BIRTH_KNOWN) & ~GROUP_DOUBTFUL);
    client->strikes = client->rests = 0;
    if (replaced && (client->flags & UNSETTLED) != 0) {
        finish_failed(client, KVMCU_TIMEOUT_UNKNOWN); /* in the other group, that was */
    } else {
        client->state = READY;
    }
}

static void take_expired(struct kvmcu *client)
{
    new_session(client);
    client->flags &= (uint8_t)~BIRTH_KNOWN;
    if ((client->flags & UNSETTLED) != 0) {
        finish_failed(client, KVMCU_TIMEOUT_UNKNOWN);
    } else {
        count_up(&client->tries);
        rest(client, client->tries);
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
    return (client->flags & ASKS_HELLO) == 0;
}

static void take_final(struct kvmcu *client)
{
    int status = client->small[CODE];

    client->strikes = client->rests = 0;
    if (client->kept > client->buffer_size) {
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
    rest(client, client->tries);
    count_up(&client->tries);
    if (client->tries % PATIENCE == 0) {
        go_to(client, next_target(client));
    }
}

static void take_unknown(struct kvmcu *client)
{
    client->flags |= is_update(client) ? UNSETTLED : 0;
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
    client->refused &= (uint16_t)~(1u << client->target);
    client->silent &= (uint16_t)~(1u << client->target);
    if (is_outdated(client)) {
        client->flags |= GROUP_DOUBTFUL;
        client->hinted = NONE;
        take_unknown(client);
    } else if ((client->flags & ASKS_HELLO) != 0) {
        take_hello(client);
    } else if (verdict == FINAL) {
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
    BAD, NIL, BOOL, UINT, INT, STR, BIN, ARRAY, MAP,
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
    PATTERN_ANY = 32,
};

static const uint8_t patterns[] = {
    P(ARRAY, 5), P(UINT, SMALL + VERSION), P(UINT, SMALL + CODE), P(UINT, EPOCH), P(STR, 0),
    P(TO_RESULT, 0),
    /* GET */
    P(ARRAY, 4), P(UINT, REVISION), P(UINT, CREATED), P(BIN, 0), P(UINT, BEHIND), P(BAD, 0),
    /* HELLO */
    P(ARRAY, 11), P(UINT, SMALL + NODE), P(UINT, SMALL + ROLE), P(UINT, GROUP_ID),
    P(UINT, SMALL + PRIMARY), P(ARRAY, LIST), P(TO_NODE, 0),
    P(ARRAY, 2), P(UINT, UNUSED), P(STR, 0), P(TO_NODE, 0),
    P(UINT, REVISION), P(UINT, UNUSED), P(UINT, UNUSED), P(UINT, UNUSED), P(UINT, UNUSED),
    P(UINT, UNUSED), P(BAD, 0),
    /* updates, and errors with a revision */
    P(UINT, REVISION), P(BAD, 0),
    /* other errors */
    P(ANY, 0),
};

static unsigned result_pattern(const struct kvmcu *client)
{
    unsigned code = client->small[CODE];
    unsigned op = (client->flags & ASKS_HELLO) != 0 ? KVMCU_HELLO : client->request.op;

    if (code == KVMCU_EXISTS || code == KVMCU_VERSION_DIFFERS) {
        return PATTERN_REVISION;
    }
    if (code != KVMCU_OK) {
        return PATTERN_ANY;
    }
    return op == KVMCU_HELLO ? PATTERN_HELLO : op == KVMCU_GET ? PATTERN_GET : PATTERN_REVISION;
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

static void take_hint(struct kvmcu *client)
{
    for (unsigned i = 0; i < client->url_count; i++) {
        const char *url = client->urls[i];
        uint32_t at = 0;

        while (at < client->kept && url[at] != '\0' && (uint8_t)url[at] == client->buffer[at]) {
            at++;
        }
        if (at == client->kept && url[at] == '\0') {
            client->hinted = (uint8_t)i;
        }
    }
}

/* A value is complete. */
static void end_value(struct kvmcu *client)
{
    if (client->expect == PATTERN_HINT && client->kept <= client->buffer_size) {
        take_hint(client);
    }
    if (client->kind == STR && client->expect != PATTERN_ANY) {
        client->kept = 0; /* hints and nodes are not for the user */
    }
    client->expect = (uint8_t)next_pattern(client, client->expect);
    client->bytes = 0;
}

/* false: it is out of range. */
static bool take_number(struct kvmcu *client, unsigned detail)
{
    uint32_t high = client->high, low = client->low;

    if (detail == UNUSED) {
        return true;
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
    } else if (kind == UINT && wanted >> 4 == UINT && !take_number(client, detail)) {
        return false;
    }
    end_value(client);
    return true;
}

/* 0xc0 to 0xdf: the kind, and how many bytes of number or size follow. */
static const uint8_t formats[32] = {
    P(NIL, 0),   P(BAD, 0),   P(BOOL, 0),  P(BOOL, 0), P(BIN, 1),  P(BIN, 2),  P(BIN, 4),
    P(BAD, 0),   P(BAD, 0),   P(BAD, 0),   P(BAD, 0),  P(BAD, 0),  P(UINT, 1), P(UINT, 2),
    P(UINT, 4),  P(UINT, 8),  P(INT, 1),   P(INT, 2),  P(INT, 4),  P(INT, 8),  P(BAD, 0),
    P(BAD, 0),   P(BAD, 0),   P(BAD, 0),   P(BAD, 0),  P(STR, 1),  P(STR, 2),  P(STR, 4),
    P(ARRAY, 2), P(ARRAY, 4), P(MAP, 2),   P(MAP, 4),
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
        uint32_t at = client->kept - client->payload_left;
        if (client->kept <= client->buffer_size) {
            client->buffer[at] = byte;
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
        for (int i = 0; i < count && client->link >= LINK_GREETING; i++) {
            if (!feed(client, chunk[i])) {
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
    put_bytes(client, greeting, sizeof(greeting));
}

/* false: the connection is broken. */
static bool flush(struct kvmcu *client)
{
    int left = client->out_size - client->out_at;

    if (left > 0) {
        int count = client->transport->send(client->transport->arg,
                                            client->buffer + client->out_at, (size_t)left);
        if (count < 0 || count > left) {
            return false;
        }
        if (count > 0) {
            client->out_at = (uint16_t)(client->out_at + count);
            wait_for_word(client);
        }
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
    if (!flush(client)) {
        return false;
    }
    if (client->out_at == client->out_size) {
        client->state = WAITING;
    }
    return true;
}

static void step(struct kvmcu *client)
{
    if (client->state == RESTING && passed(client, client->due_ms)) {
        client->state = READY;
    }
    bool trying = client->state > READY || (client->state == READY &&
                  (client->link == LINK_OPENING || client->link == LINK_GREETING));
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

static bool is_sound(const struct kvmcu_request *request)
{
    if (request->op < KVMCU_HELLO || request->op > KVMCU_CAS) {
        return false;
    }
    return request->op == KVMCU_HELLO ||
           (request->key != NULL && request->key_size > 0 && request->key_size <= KVMCU_KEY_MAX &&
            (request->value != NULL || request->value_size == 0));
}

int kvmcu_start(struct kvmcu *client, const struct kvmcu_request *request, uint32_t now_ms,
                uint32_t timeout_ms)
{
    if (client->state != IDLE || !is_sound(request) || timeout_ms > INT32_MAX) {
        return KVMCU_BAD_ARGUMENT;
    }
    uint32_t value_size = has_value(request->op) ? request->value_size : 0u;
    client->kept = 0;
    client->status = KVMCU_DOES_NOT_FIT;
    if (request->op != KVMCU_HELLO &&
        KVMCU_BUFFER_FOR(client->group_size, request->key_size, value_size) > client->buffer_size) {
        return KVMCU_DOES_NOT_FIT;
    }
    client->request = *request;
    client->request.stale = request->stale && request->op == KVMCU_GET;
    if (is_update(client)) {
        client->number++;
        if (client->number == 0) {
            new_session(client);
            client->flags &= (uint8_t)~BIRTH_KNOWN;
        }
    }
    client->flags &= (uint8_t)~(UNSETTLED | ASKS_HELLO);
    client->tries = client->strikes = client->rests = 0;
    client->refused = client->silent = 0;
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
    if (client->request.op == KVMCU_GET) {
        result->created = client->numbers[CREATED];
        result->behind = client->numbers[BEHIND];
    } else if (client->request.op == KVMCU_HELLO) {
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

static unsigned name_size(const char *name)
{
    unsigned size = 0;

    while (size <= 64 && name[size] != '\0') {
        size++;
    }
    return size;
}

int kvmcu_init(struct kvmcu *client, const struct kvmcu_config *config)
{
    unsigned group_size = name_size(config->group);

    if (group_size == 0 || group_size > 64 || config->url_count == 0 ||
        config->url_count > KVMCU_ADDRESSES_MAX || config->buffer_size < KVMCU_BUFFER_MIN ||
        config->client == 0) {
        return KVMCU_BAD_ARGUMENT;
    }
    memset(client, 0, sizeof(*client));
    client->transport = config->transport;
    client->group = config->group;
    client->group_size = (uint8_t)group_size;
    client->urls = config->urls;
    client->url_count = config->url_count;
    client->buffer = config->buffer;
    client->buffer_size = config->buffer_size;
    client->try_ms = config->try_ms != 0 ? config->try_ms : TRY_MS;
    client->client = config->client;
    client->id = (uint32_t)config->client;
    return KVMCU_OK;
}
