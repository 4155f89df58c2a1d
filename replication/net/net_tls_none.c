/* SPDX-License-Identifier: Apache-2.0 */
/* In place of net_tls.c in a build without OpenSSL: nothing can be loaded, so there is never a
 * connection, and never anything that the other functions could be called with. */
#include "replication/net/net_tls.h"

#include <stdio.h>

static kvp_status tls_none_open(const struct kvp_tls_files *files, struct kvp_tls **tls,
                                char *reason, size_t reason_size)
{
    (void)files;
    (void)tls;
    if (reason != NULL) {
        (void)snprintf(reason, reason_size,
                       "this build has no TLS: build it with OpenSSL (meson setup -Dtls=enabled)");
    }
    return KVP_BAD_ARGUMENT;
}

const struct kvp_tls_functions kvp_tls = {.open = tls_none_open};
const struct net_tls_functions net_tls = {0};
