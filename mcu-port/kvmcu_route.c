/* SPDX-License-Identifier: Apache-2.0 */
/* Whom to ask, how long to wait for a word of it, and when to ask again. */
#include "kvmcu_private.h"

#define TRY_DOUBLINGS  3u
#define BACKOFF_MS     10u
#define BACKOFF_MAX_MS 500u
#define PARDON         8u /* after so many back-offs a mute node is asked again */

/* ---- time ---- */

void kvmcu_wait_for_word(struct kvmcu *client)
{
    unsigned times = client->losses < TRY_DOUBLINGS ? client->losses : TRY_DOUBLINGS;
    client->due_ms = client->now_ms + ((uint32_t)client->try_ms << times);
    if (client->state == WAITING && is_long_poll(client->asked) && client->stage == AT_HEAD) {
        client->due_ms += client->request->wait_ms;
    }
}

/* 10 ms, doubled each time up to 500 ms, half of it at random: clients that were refused together
 * shall not come back together. */
void kvmcu_back_off(struct kvmcu *client, unsigned times)
{
    uint32_t time_ms = BACKOFF_MS << (times < 6 ? times : 6);
    uint32_t random = (client->id ^ client->now_ms ^ (uint32_t)client->client) * 2654435761u >> 16;
    time_ms = (time_ms < BACKOFF_MAX_MS ? time_ms : BACKOFF_MAX_MS) / 2;
    client->due_ms = client->now_ms + time_ms + (time_ms * random >> 16);
    client->state = RESTING;
}

/* ---- whom to ask ---- */

/* The newest message may be executed, and it is the call's. */
void kvmcu_doubt(struct kvmcu *client)
{
    if (client->asked == client->op && is_update(client->op)) {
        client->flags |= UNSETTLED;
    }
}

void kvmcu_drop_link(struct kvmcu *client)
{
    if (client->link != LINK_DOWN) {
        client->transport->close(client->transport->arg);
        client->link = LINK_DOWN;
    }
}

void kvmcu_finish(struct kvmcu *client, int status)
{
    if (client->state == SENDING || client->state == WAITING || client->link != LINK_UP) {
        kvmcu_drop_link(client);
    }
    client->state = IDLE;
    client->status = (int16_t)status;
}

void kvmcu_finish_failed(struct kvmcu *client, int status)
{
    if (client->state == WAITING) {
        kvmcu_doubt(client);
    }
    client->kept = 0;
    kvmcu_finish(client, (client->flags & UNSETTLED) != 0 ? KVMCU_TIMEOUT_UNKNOWN : status);
}

void kvmcu_go_to(struct kvmcu *client, unsigned target)
{
    if (target != client->target) {
        kvmcu_drop_link(client);
        client->target = (uint8_t)target;
    }
}

static unsigned behind(const struct kvmcu *client, unsigned target)
{
    return target + 1u < client->url_count ? target + 1u : 0;
}

/* A node that let a try pass without a word is left alone for a while: each visit takes that long.
 */
unsigned kvmcu_next_target(const struct kvmcu *client)
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
void kvmcu_move_on(struct kvmcu *client, unsigned hint)
{
    count_up(&client->tries);
    kvmcu_go_to(client, is_of_use(client, hint) ? hint : kvmcu_next_target(client));
    client->moves++;
    if (client->moves >= client->url_count) {
        client->moves = 0;
        kvmcu_back_off(client, client->backoffs);
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
void kvmcu_lose(struct kvmcu *client)
{
    bool in_vain = client->state >= READY && passed(client, client->due_ms);
    if (client->state == WAITING) {
        kvmcu_doubt(client);
    }
    kvmcu_drop_link(client);
    if (client->state >= READY) {
        count_up(&client->losses);
        client->mute = in_vain ? client->target : client->mute;
        client->silent |= (uint16_t)(1u << client->target);
        kvmcu_move_on(client, NONE);
    }
}
