/* SPDX-License-Identifier: Apache-2.0 */
#include "replication/engine/session_age.h"

#include <assert.h>
#include <stdlib.h>

#define AGES_MIN 64u

void session_ages_free(struct session_ages *ages)
{
    free(ages->items);
    *ages = (struct session_ages){0};
}

kvp_status session_ages_reserve(struct session_ages *ages)
{
    if (ages->count < ages->capacity) {
        return KVP_OK;
    }
    size_t capacity = ages->capacity ? ages->capacity * 2 : AGES_MIN;
    struct session_age *items = realloc(ages->items, capacity * sizeof(*items));
    if (items == NULL) {
        return KVP_NO_MEMORY;
    }
    ages->items = items;
    ages->capacity = capacity;
    return KVP_OK;
}

void session_ages_push(struct session_ages *ages, struct session_age age)
{
    assert(ages->count < ages->capacity);
    size_t at = ages->count++;
    while (at > 0 && age.seq < ages->items[(at - 1) / 2].seq) {
        ages->items[at] = ages->items[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    ages->items[at] = age;
}

struct session_age session_ages_pop(struct session_ages *ages)
{
    assert(ages->count > 0);
    struct session_age first = ages->items[0], moved = ages->items[--ages->count];
    size_t at = 0;
    for (;;) {
        size_t child = 2 * at + 1;
        if (child >= ages->count) {
            break;
        }
        if (child + 1 < ages->count && ages->items[child + 1].seq < ages->items[child].seq) {
            child++;
        }
        if (ages->items[child].seq >= moved.seq) {
            break;
        }
        ages->items[at] = ages->items[child];
        at = child;
    }
    ages->items[at] = moved;
    return first;
}
