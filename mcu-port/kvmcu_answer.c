/* SPDX-License-Identifier: Apache-2.0 */
/* What a complete answer means: for the session, for the route, for the task in hand. */
#include "kvmcu_private.h"

#define RETRY_LIMIT     4u /* so many tries at a node that is not ready; a power of 2 */
#define ROLE_PRIMARY    4u
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
    if (code >= KVMCU_NO_SUCH_JOB && code <= KVMCU_COMPACTED) {
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

void kvmcu_next_number(struct kvmcu *client)
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
        kvmcu_finish_failed(client, client->small[CODE]);
    } else {
        kvmcu_move_on(client, NONE);
    }
}

/* The answer to the HELLO that asked for a session start. */
static void take_hello(struct kvmcu *client)
{
    uint64_t group_id = client->numbers[GROUP_ID];
    if (client->small[CODE] != KVMCU_OK || client->small[ROLE] != ROLE_PRIMARY) {
        kvmcu_move_on(client, client->hinted);
        return;
    }
    bool replaced = client->group_id != 0 && client->group_id != group_id;
    if (replaced) {
        client->epoch_seen = client->numbers[EPOCH];
        client->instance = 0;
        new_session(client);
    }
    if (client->numbers[EPOCH] < client->epoch_seen) {
        kvmcu_move_on(client, NONE); /* it has been deposed and does not know it yet */
        return;
    }
    client->group_id = group_id;
    if ((client->flags & SESSION_START_KNOWN) == 0) {
        client->session_start = client->numbers[REVISION];
    }
    client->flags = (uint8_t)((client->flags | SESSION_START_KNOWN) & ~GROUP_DOUBTFUL);
    client->moves = client->backoffs = 0;
    if (replaced && (client->flags & UNSETTLED) != 0) {
        kvmcu_finish_failed(client, KVMCU_TIMEOUT_UNKNOWN); /* in the other group, that was */
    } else {
        client->state = READY;
    }
}

static void take_expired(struct kvmcu *client)
{
    new_session(client);
    if ((client->flags & UNSETTLED) != 0) {
        kvmcu_finish_failed(client, KVMCU_TIMEOUT_UNKNOWN);
    } else {
        count_up(&client->tries);
        kvmcu_back_off(client, client->tries);
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
    return kvmcu_crc32(client->worker->workspace, task->payload_size) == task->crc ? KVMCU_OK
                                                                                   : KVMCU_CORRUPT;
}

/* The nodes have forgotten the worker. False: that is the end of the call. */
static bool joins_again(struct kvmcu *client)
{
    client->instance = 0;
    if (client->op != KVMCU_FETCH) {
        return false;
    }
    kvmcu_next_number(client);
    count_up(&client->tries);
    kvmcu_back_off(client, client->tries);
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
    kvmcu_finish(client, status);
}

static void take_later(struct kvmcu *client)
{
    if (client->small[CODE] == SESSION_EXPIRED) {
        take_expired(client);
        return;
    }
    kvmcu_back_off(client, client->tries);
    count_up(&client->tries);
    if (client->tries % RETRY_LIMIT == 0) {
        kvmcu_go_to(client, kvmcu_next_target(client));
    }
}

static void take_unknown(struct kvmcu *client)
{
    kvmcu_doubt(client);
    kvmcu_move_on(client, client->hinted);
}

void kvmcu_take_answer(struct kvmcu *client)
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
        kvmcu_move_on(client, client->hinted);
    } else if (verdict == LATER) {
        take_later(client);
    } else {
        take_unknown(client);
    }
}
