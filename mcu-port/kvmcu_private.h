/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of the client share, and nobody else includes. One connection, one message under
 * way: what is not answered in time is given up together with its connection, so an answer that is
 * awaited is always that of the newest message. Each file calls only those above it here:
 *
 *   kvmcu_route.c   whom to ask, for how long, and when again
 *   kvmcu_write.c   requests, as bytes
 *   kvmcu_answer.c  what an answer means: for the session, the route, the task in hand
 *   kvmcu_read.c    answers, byte by byte: a flat list of values against a pattern
 *   kvmcu.c         the steps of a call
 *
 * 64-bit numbers are taken apart by halves: shifts and products of them are calls into the
 * compiler's library on small cores.
 */
#ifndef KVMCU_PRIVATE_H
#define KVMCU_PRIVATE_H

#include "kvmcu.h"

#ifdef __cplusplus
extern "C" {
#endif

#define FRAME_HEAD   12u
#define NONE         0xffu
#define PLACE_OF(op) ((op)&15u) /* of an operation in tables */

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
enum {
    EPOCH,
    REVISION,
    CREATED,
    BEHIND,
    NEXT = BEHIND,
    GROUP_ID = BEHIND,
    JOB = REVISION,
    ATTEMPT = BEHIND
};
enum { VERSION, CODE, NODE, ROLE, PRIMARY, TASK_NUMBER, TASK_BEAT, TASK_DEADLINE, TASK_CRC };

static inline void count_up(uint8_t *counter)
{
    if (*counter < NONE) {
        (*counter)++;
    }
}

static inline bool passed(const struct kvmcu *client, uint32_t when_ms)
{
    return (int32_t)(client->now_ms - when_ms) >= 0;
}

static inline bool is_update(unsigned op)
{
    return op >= KVMCU_PUT && op != KVMCU_WATCH && op != KVMCU_FETCH && op != KVMCU_BEAT;
}

/* The node answers when there is something, or when the wait is over. */
static inline bool is_long_poll(unsigned op)
{
    return op == KVMCU_FETCH || op == KVMCU_WATCH;
}

static inline bool is_for_primary(const struct kvmcu *client)
{
    return client->op != KVMCU_HELLO && (client->flags & STALE) == 0;
}

/* ---- kvmcu_route.c ---- */

/* Sets due_ms: how long to wait for a sign of life. */
void kvmcu_wait_for_word(struct kvmcu *client);
void kvmcu_back_off(struct kvmcu *client, unsigned times);
/* The newest message may be executed. */
void kvmcu_doubt(struct kvmcu *client);
void kvmcu_drop_link(struct kvmcu *client);
void kvmcu_finish(struct kvmcu *client, int status);
/* Likewise, where no answer said so: an update may be executed all the same. */
void kvmcu_finish_failed(struct kvmcu *client, int status);
void kvmcu_go_to(struct kvmcu *client, unsigned target);
unsigned kvmcu_next_target(const struct kvmcu *client);
/* This node is of no use: to the one of the hint, or NONE. */
void kvmcu_move_on(struct kvmcu *client, unsigned hint);
/* No answer will come to what is under way. */
void kvmcu_lose(struct kvmcu *client);

/* ---- kvmcu_write.c ---- */

unsigned kvmcu_text_size(const char *text);
uint32_t kvmcu_crc32(const uint8_t *data, uint32_t size);
void kvmcu_put_bytes(struct kvmcu *client, const void *data, size_t size);
void kvmcu_write_request(struct kvmcu *client);

/* ---- kvmcu_answer.c ---- */

/* Of the session, for the next update. */
void kvmcu_next_number(struct kvmcu *client);
void kvmcu_take_answer(struct kvmcu *client);

/* ---- kvmcu_read.c ---- */

/* Takes what has come. The state may be another one afterwards, and the connection gone. */
void kvmcu_receive(struct kvmcu *client);

#ifdef __cplusplus
}
#endif

#endif
