/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Scans: the pairs of [start, end), in the order of their keys or backwards, from one point in
 * time. A client (kvp_client.h) and a node (kvp_node.h) open them; then next until KVP_NOT_FOUND,
 * and close. One thread at a time uses a scan, and none after its client or node has been closed:
 * close it before.
 */
#ifndef KVP_SCAN_H
#define KVP_SCAN_H

#include "kvp_base.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct kvp_scan kvp_scan;

/* *key and *value are valid until the next call on the scan. version may be NULL. If the primary
 * changes in the middle: KVP_CURSOR_EXPIRED, start again. After a failure next returns it again. */
KVP_API kvp_status kvp_scan_next(kvp_scan *scan, kvp_slice *key, kvp_slice *value,
                                 uint64_t *version);
/* Why next failed, for people; may be empty. Lives as long as the scan. */
KVP_API const char *kvp_scan_error(const kvp_scan *scan);
KVP_API void kvp_scan_close(kvp_scan *scan);

#ifdef __cplusplus
}
#endif

#endif
