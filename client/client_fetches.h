/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which number the next TASK_FETCH of a worker's slot has. The node hands a slot the same task
 * again when it asks under the same number again, so a number is used until a task has arrived
 * under it: a grant that got lost on its way is granted once more and not to somebody else.
 *
 * Not thread-safe.
 */
#ifndef KVP_CLIENT_FETCHES_H
#define KVP_CLIENT_FETCHES_H

#include "kvpair/kvp_jobs.h"

struct client_fetch {
    char name[KVP_NAME_SIZE_MAX + 1];
    uint64_t instance; /* numbers begin anew when the worker has joined again */
    uint32_t slot;
    uint64_t number;
};

/* A zeroed struct is empty and valid. */
struct client_fetches {
    struct client_fetch *slots; /* one for each slot that was ever fetched for */
    size_t count;
};

/* KVP_NO_MEMORY. */
kvp_status client_fetches_number(struct client_fetches *fetches, const kvp_worker *worker,
                                 uint32_t slot, uint64_t *number);
/* A task has arrived under the number. */
void client_fetches_arrived(struct client_fetches *fetches, const kvp_worker *worker, uint32_t slot,
                            uint64_t number);
void client_fetches_free(struct client_fetches *fetches);

#endif
