/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Scans, watches and transactions of an application, whoever executes their requests for it: a
 * client that sends them, or a node in the same process.
 */
#ifndef KVP_ASKER_H
#define KVP_ASKER_H

#include "kvpair/kvp_scan.h"
#include "kvpair/kvp_txn.h"
#include "kvpair/kvp_watch.h"
#include "replication/wire/request.h"

struct kvp_asker {
    void *handle;
    /* Executes a request and waits: at the primary where *place is 0 (at any node if the request is
     * stale), else at the node that set it, which sets it. KVP_OK: `answer`, which is empty before,
     * is the encoded result; other codes: it is a text for people with a zero byte behind it, or
     * empty; with KVP_COMPACTED the result. A watch may wait for so long as it asks for. */
    kvp_status (*ask)(void *handle, const struct kvp_request *request, unsigned *place,
                      kvp_buf *answer);
    /* Lets the node at that place forget the cursor; nobody waits. */
    void (*close_scan)(void *handle, uint64_t cursor, unsigned place);
};

/* On failure *reason is a text for people, or empty; to be freed. */
enum kvp_direction { KVP_FORWARDS, KVP_BACKWARDS };
kvp_status kvp_scan_start(const struct kvp_asker *asker, kvp_slice start, kvp_slice end,
                          enum kvp_direction direction, bool keys_only, kvp_scan **scan,
                          kvp_buf *reason);
kvp_status kvp_scan_start_prefix(const struct kvp_asker *asker, kvp_slice prefix, bool keys_only,
                                 kvp_scan **scan, kvp_buf *reason);
kvp_status kvp_watch_start(const struct kvp_asker *asker, kvp_slice start, kvp_slice end,
                           uint64_t from, bool stale, kvp_watch **watch, kvp_buf *reason);
kvp_status kvp_watch_start_prefix(const struct kvp_asker *asker, kvp_slice prefix, uint64_t from,
                                  bool stale, kvp_watch **watch, kvp_buf *reason);
/* NULL when memory is short. */
kvp_txn *kvp_txn_start(const struct kvp_asker *asker);

/* Keys and values that no node would take: KVP_BAD_ARGUMENT, KVP_TOO_LARGE; *reason is static. */
kvp_status kvp_key_check(kvp_slice key, const char **reason);
kvp_status kvp_value_check(kvp_slice value, const char **reason);
kvp_status kvp_range_check(kvp_slice start, kvp_slice end, const char **reason);
/* The first key behind all that begin with the prefix, in `end`; empty: there is none. */
kvp_slice kvp_prefix_end(kvp_slice prefix, uint8_t end[KVP_KEY_SIZE_MAX]);
/* A text as a failure's reason; without memory there is none. */
void kvp_reason_set(kvp_buf *reason, kvp_slice text);
const char *kvp_reason_text(const kvp_buf *reason);

#endif
