/* SPDX-License-Identifier: Apache-2.0 */
/* What kvwitness shows at --http. */
#ifndef KVP_WITNESS_HTTP_H
#define KVP_WITNESS_HTTP_H

#include "kvpair/kvp_base.h"

#include <stdatomic.h>

struct kvp_http_server;

/* Written by the main thread, read by that of the pages. Zeroed: nothing is known yet. */
struct witness_http {
    struct kvp_http_server *server;
    uint64_t started_us;
    atomic_bool serving;
    atomic_uint_fast64_t groups, changes, handled, refused, strangers;
    const atomic_uint_fast64_t *disk_us; /* since when the disk may be waited for; 0: it is not */
};

/* Listens and shows. `url` NULL: nothing is done. */
kvp_status witness_http_open(struct witness_http *http, const char *url, char *reason,
                             size_t reason_size);
void witness_http_close(struct witness_http *http);

#endif
