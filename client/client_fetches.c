/* SPDX-License-Identifier: Apache-2.0 */
#include "client/client_fetches.h"

#include <stdlib.h>
#include <string.h>

static struct client_fetch *fetch_find(struct client_fetches *fetches, const kvp_worker *worker,
                                       uint32_t slot)
{
    for (size_t i = 0; i < fetches->count; i++) {
        struct client_fetch *fetch = &fetches->slots[i];
        if (fetch->slot == slot && strncmp(fetch->name, worker->name, KVP_NAME_SIZE_MAX) == 0) {
            return fetch;
        }
    }
    return NULL;
}

static struct client_fetch *fetch_add(struct client_fetches *fetches, const kvp_worker *worker,
                                      uint32_t slot)
{
    struct client_fetch *slots =
        realloc(fetches->slots, (fetches->count + 1) * sizeof(fetches->slots[0]));
    if (slots == NULL) {
        return NULL;
    }
    fetches->slots = slots;
    struct client_fetch *fetch = &slots[fetches->count++];
    *fetch = (struct client_fetch){.slot = slot};
    memcpy(fetch->name, worker->name, KVP_NAME_SIZE_MAX);
    return fetch;
}

kvp_status client_fetches_number(struct client_fetches *fetches, const kvp_worker *worker,
                                 uint32_t slot, uint64_t *number)
{
    struct client_fetch *fetch = fetch_find(fetches, worker, slot);
    if (fetch == NULL) {
        fetch = fetch_add(fetches, worker, slot);
    }
    if (fetch == NULL) {
        return KVP_NO_MEMORY;
    }
    if (fetch->number == 0 || fetch->instance != worker->instance) {
        fetch->instance = worker->instance;
        fetch->number = 1;
    }
    *number = fetch->number;
    return KVP_OK;
}

void client_fetches_arrived(struct client_fetches *fetches, const kvp_worker *worker, uint32_t slot,
                            uint64_t number)
{
    struct client_fetch *fetch = fetch_find(fetches, worker, slot);
    if (fetch != NULL && fetch->instance == worker->instance && fetch->number == number) {
        fetch->number++;
    }
}

void client_fetches_free(struct client_fetches *fetches)
{
    free(fetches->slots);
    *fetches = (struct client_fetches){0};
}
