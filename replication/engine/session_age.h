/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Session slots by age: a heap whose first item is the one that was not used for the longest time.
 * Items are never looked up; whoever takes the first one finds out whether it still says the truth.
 */
#ifndef KVP_SESSION_AGE_H
#define KVP_SESSION_AGE_H

#include "kvpair/kvp_base.h"

struct session_age {
    uint64_t seq; /* of the slot's last request */
    uint64_t client;
    uint32_t size; /* of its answer */
    uint16_t slot;
};

struct session_ages {
    struct session_age *items;
    size_t count, capacity;
};

void session_ages_free(struct session_ages *ages);
/* Room for one more: then the next push cannot fail. */
kvp_status session_ages_reserve(struct session_ages *ages);
void session_ages_push(struct session_ages *ages, struct session_age age);
/* Takes out the oldest; there must be one. */
struct session_age session_ages_pop(struct session_ages *ages);

#endif
