/* SPDX-License-Identifier: Apache-2.0 */
/* What kvnode shows at /metrics; docs/metrics.md has the table. */
#ifndef KVNODE_METRICS_H
#define KVNODE_METRICS_H

#include "kvpair/kvp_node.h"

#include <cjson/cJSON.h>

/* `status` as of node_eyes_status(). */
void kvnode_metrics_print(kvp_buf *out, const kvp_node *node, const cJSON *status);

#endif
