/* SPDX-License-Identifier: Apache-2.0 */
/* What kvnode shows at --http: is it alive, is it ready, its status. */
#ifndef KVNODE_HTTP_H
#define KVNODE_HTTP_H

#include "kvpair/kvp_node.h"

struct kvnode_http;

/* Listens; until there is a node it says that it starts. `others`: the pages of the other nodes,
 * with commas between; borrowed for as long as it is open. `reason` as of kvp_http.open(). */
kvp_status kvnode_http_open(const char *url, const char *others, struct kvnode_http **http,
                            char *reason, size_t reason_size);
/* The node that it tells of; not to be closed before this is. NULL for `http` is fine. */
void kvnode_http_show(struct kvnode_http *http, kvp_node *node);
const char *kvnode_http_url(const struct kvnode_http *http);
void kvnode_http_close(struct kvnode_http *http); /* NULL is fine */

#endif
