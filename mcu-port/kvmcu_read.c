/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Answers are read byte by byte, as a flat list of values against a pattern, and looked at when
 * they are complete.
 */
#include "kvmcu_private.h"

#include <string.h>

#define FRAME_MAX      0x1000000u
#define CHUNK          32u         /* bytes read at a time */
#define CHUNKS         16u         /* so many of them in one poll */
#define PLACE_HIGH_MAX 0x40000000u /* of a place in the log or an epoch: 2^62 */

/* ---- values ---- */

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
    TO_EVENT,  /* likewise */
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
    PATTERN_EVENTS = 45,
    PATTERN_EVENT = 50,
    PATTERN_BEHIND_EVENTS = 56,
    PATTERN_NEXT = 58,
    PATTERN_ANY = 60,
};

/* An offset that is too small is a value written twice, which compilers warn of; one that is too
 * large leaves BAD in the gap, which nothing matches. */
static const uint8_t patterns[] = {
    [PATTERN_HEAD] = P(ARRAY, 5),
    P(UINT, SMALL + VERSION),
    P(UINT, SMALL + CODE),
    P(UINT, EPOCH),
    [PATTERN_HINT] = P(STR, 0),
    P(TO_RESULT, 0),
    /* GET */
    [PATTERN_GET] = P(ARRAY, 4),
    P(UINT, REVISION),
    P(UINT, CREATED),
    P(BIN, 0),
    P(UINT, BEHIND),
    P(BAD, 0),
    /* HELLO */
    [PATTERN_HELLO] = P(ARRAY, 11),
    P(UINT, SMALL + NODE),
    P(UINT, SMALL + ROLE),
    P(UINT, GROUP_ID),
    P(UINT, SMALL + PRIMARY),
    P(ARRAY, LIST),
    P(TO_NODE, 0),
    [PATTERN_NODE] = P(ARRAY, 2),
    P(UINT, UNUSED),
    P(STR, 0),
    P(TO_NODE, 0),
    [PATTERN_BEHIND_NODES] = P(UINT, REVISION),
    P(UINT, UNUSED),
    P(UINT, UNUSED),
    P(UINT, UNUSED),
    P(UINT, UNUSED),
    P(UINT, UNUSED),
    P(BAD, 0),
    /* updates, and errors with a revision */
    [PATTERN_REVISION] = P(UINT, REVISION),
    P(BAD, 0),
    /* BEAT, POST */
    [PATTERN_WANTED] = P(BOOL, REVISION),
    P(BAD, 0),
    /* FETCH */
    [PATTERN_GRANT] = P(ARRAY, 9),
    P(UINT, JOB),
    P(UINT, SMALL + TASK_NUMBER),
    P(UINT, ATTEMPT),
    [PATTERN_KIND] = P(STR, 0),
    P(UINT, SMALL + TASK_BEAT),
    P(UINT, SMALL + TASK_DEADLINE),
    [PATTERN_CHECKPOINT] = P(BIN, 0),
    [PATTERN_PAYLOAD] = P(BIN, 0),
    P(UINT, SMALL + TASK_CRC),
    P(BAD, 0),
    /* WATCH */
    [PATTERN_EVENTS] = P(ARRAY, 4),
    P(UINT, NEXT),
    P(UINT, UNUSED),
    P(ARRAY, LIST),
    P(TO_EVENT, 0),
    [PATTERN_EVENT] = P(ARRAY, 4),
    P(BIN, 0), /* the key, then in its place the value */
    P(UINT, REVISION),
    P(UINT, CREATED),
    P(BIN, 0),
    P(TO_EVENT, 0),
    [PATTERN_BEHIND_EVENTS] = P(UINT, UNUSED),
    P(BAD, 0),
    /* COMPACTED */
    [PATTERN_NEXT] = P(UINT, NEXT),
    P(BAD, 0),
    /* LEAVE, and other errors */
    [PATTERN_ANY] = P(ANY, 0),
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
        0,
        0,
        PATTERN_EVENTS,
    };
    unsigned code = client->small[CODE];

    if (code == KVMCU_EXISTS || code == KVMCU_VERSION_DIFFERS) {
        return PATTERN_REVISION;
    }
    if (code == KVMCU_COMPACTED) {
        return PATTERN_NEXT;
    }
    return code == KVMCU_OK ? good[PLACE_OF(client->asked)] : PATTERN_ANY;
}

/* Round again in a list, or behind it. */
static unsigned list_pattern(struct kvmcu *client, unsigned element, unsigned behind)
{
    if (client->list_left == 0) {
        return behind;
    }
    client->list_left--;
    return element;
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
    if (patterns[at] == P(TO_NODE, 0)) {
        return list_pattern(client, PATTERN_NODE, PATTERN_BEHIND_NODES);
    }
    if (patterns[at] == P(TO_EVENT, 0)) {
        return list_pattern(client, PATTERN_EVENT, PATTERN_BEHIND_EVENTS);
    }
    return at;
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

/* ---- frames ---- */

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
        kvmcu_take_answer(client);
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
void kvmcu_receive(struct kvmcu *client)
{
    uint8_t chunk[CHUNK];
    for (unsigned round = 0; round < CHUNKS && client->link >= LINK_GREETING; round++) {
        int count = client->transport->recv(client->transport->arg, chunk, sizeof(chunk));
        if (count == 0) {
            return;
        }
        if (count < 0 || count > (int)sizeof(chunk)) {
            kvmcu_lose(client);
            return;
        }
        /* An answer that is taken may end the connection. */
        uint32_t size = (uint32_t)count;
        for (uint32_t i = 0; i < size && client->link >= LINK_GREETING; i++) {
            i += feed_inside(client, chunk + i, size - i);
            if (i < size && !feed(client, chunk[i])) {
                kvmcu_lose(client);
                return;
            }
        }
        if (client->stage == AT_BODY && client->state == WAITING) {
            kvmcu_wait_for_word(client); /* a long answer on a slow line */
        }
    }
}
