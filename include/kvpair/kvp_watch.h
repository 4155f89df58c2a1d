/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Watching keys: what happens to the keys of [start, end), from a revision on, as it is committed.
 * A client (kvp_client.h) and a node (kvp_node.h) open watches; then next again and again, and
 * close. Events come in the order of their revisions, each once, over failovers, too. One thread at
 * a time uses a watch, and none after its client or node has been closed: close it before.
 *
 * With `stale` any node answers, of what it has applied: behind the primary, but without it, too.
 *
 * To see all that is there and all that changes: open a watch from 0, then scan, then next; what is
 * in the scan already comes once more.
 */
#ifndef KVP_WATCH_H
#define KVP_WATCH_H

#include "kvp_base.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct kvp_watch kvp_watch;

typedef struct kvp_event {
    uint64_t revision;        /* at which it happened: the key's version, if it is there */
    uint64_t create_revision; /* that of the key; 0: it was deleted */
    kvp_slice key, value;     /* valid until the next call on the watch; value empty if deleted */
    uint64_t reserved[2];
} kvp_event;

/*
 * Waits for the next event, for timeout_ms at most, and a request beyond that.
 *   KVP_TIMEOUT    there was none, or nobody to ask: call it again, the watch goes on
 *   KVP_COMPACTED  the log does not go back so far any more: what happened up to
 *                  kvp_watch_revision() is not told. Scan; called again, it goes on from there
 *   others         of no use to call it again, as KVP_REFUSED; kvp_watch_error() says why
 */
KVP_API kvp_status kvp_watch_next(kvp_watch *watch, uint32_t timeout_ms, kvp_event *event);
/* From where a later watch goes on: all before it has been given. The events of one transaction
 * have one revision: in the middle of them it is theirs, and they come again. */
KVP_API uint64_t kvp_watch_revision(const kvp_watch *watch);
/* How many committed updates the node that answered last knew of and had not applied: what of them
 * concerns the range is told later. 0 unless the watch was opened with `stale`. */
KVP_API uint64_t kvp_watch_behind(const kvp_watch *watch);
/* Why next failed, for people; may be empty. Lives until the next call. */
KVP_API const char *kvp_watch_error(const kvp_watch *watch);
KVP_API void kvp_watch_close(kvp_watch *watch);

#ifdef __cplusplus
}
#endif

#endif
