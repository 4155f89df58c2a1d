/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the client library share. */
#ifndef KVP_CLIENT_PRIV_H
#define KVP_CLIENT_PRIV_H

#include "client/client_core.h"
#include "kvpair/kvp_jobs.h"

/* One call of the API: the core's part and where the result goes. */
struct call {
    struct client_call core; /* first: the core hands back a pointer to it */
    kvp_result result;
    kvp_callback done; /* NULL: nobody waits */
    void *arg;
    bool allocated; /* with its key and value behind it; freed when it is done */
    struct call *next_done;
};

/* Sets `result` to a failure with its reason; `result` may be NULL. Returns `status`. */
kvp_status client_refuse(kvp_result *result, kvp_status status, const char *reason);
/* KVP_OK if the caller gave what it has to; else KVP_BAD_ARGUMENT, in `result`, too. */
kvp_status client_require(bool given, kvp_result *result);
/* The node has said that an update is done, but `status` is all that comes of reading the rest. To
 * call that a failure would be wrong: it is KVP_TIMEOUT_UNKNOWN that callers know how to treat. */
kvp_status client_unread(kvp_result *result, kvp_status status);
/* The reason text of a failure, "" if there is none. */
const char *client_reason(const kvp_result *result);

/* Refuses keys and values that no node would take. */
kvp_status client_check_key(kvp_slice key, kvp_result *result);
kvp_status client_check_value(kvp_slice value, kvp_result *result);

/* Runs the call and waits. timeout_ms 0: the handle's. The result of a scan, a transaction, a
 * status or an operation on jobs is the answer's, undecoded, in call->result.value. */
kvp_status client_perform(kvp_client *client, struct call *call, uint32_t timeout_ms);
/* Starts it and does not wait. */
kvp_status client_start(kvp_client *client, struct call *call, uint32_t timeout_ms);
/* Hands the call's result over to `result`; frees it where that is NULL. */
void client_gather(struct call *call, kvp_result *result);
/* The handle's timeout, and a second for each 128 KiB that a call carries, or has to wait behind.
 */
uint32_t client_timeout_ms(const kvp_client *client, uint64_t bytes);

/* The endpoint of a URL; `reason` gets why not. */
kvp_status client_endpoint(kvp_client *client, const char *url, unsigned *endpoint,
                           const char **reason);

/* A call on jobs, to the primary. The rest of the request is the caller's. */
struct call client_job_call(unsigned op);
/* Ends a synchronous call on jobs: with KVP_OK, too, its undecoded answer is dropped. Returns
 * status. */
kvp_status client_job_end(struct call *call, kvp_status status, kvp_result *result);

/* client_fetches.h: the number of the next fetch for a slot; a task has arrived under it. */
kvp_status client_fetch_begin(kvp_client *client, const kvp_worker *worker, uint32_t slot,
                              uint64_t *number);
void client_fetch_end(kvp_client *client, const kvp_worker *worker, uint32_t slot, uint64_t number);

#endif
