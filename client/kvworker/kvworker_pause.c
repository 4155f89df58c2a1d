/* SPDX-License-Identifier: Apache-2.0 */
/* How long a slot may go on with its task, and waiting that ends when it may not. */
#include "client/kvworker/kvworker.h"
#include "kvstore/base/clock.h"

#include <poll.h>

uint32_t kvworker_left_ms(const struct kvworker_slot *slot)
{
    uint64_t now_us = kvp_clock_now_us();
    uint64_t left_us = slot->deadline_us > now_us ? slot->deadline_us - now_us : 0;
    return left_us / 1000 < INT32_MAX ? (uint32_t)((left_us + 999) / 1000) : INT32_MAX;
}

bool kvworker_pause(struct kvworker_slot *slot, uint32_t ms)
{
    struct pollfd event = {.fd = slot->wake, .events = POLLIN};
    uint32_t left_ms = kvworker_left_ms(slot);
    return poll(&event, 1, (int)(ms < left_ms ? ms : left_ms)) <= 0 && kvworker_left_ms(slot) > 0;
}
