/* SPDX-License-Identifier: Apache-2.0 */
/* Tells the log of a certificate that comes to its end. */
#ifndef KVP_TLS_EXPIRY_H
#define KVP_TLS_EXPIRY_H

#include "kvstore/base/logger.h"

/* Starts zeroed. For one thread. */
struct kvp_tls_expiry {
    int64_t not_after; /* of the certificate that the log was told of */
    int64_t days;      /* that it still had */
};

/* `not_after` in seconds of Unix time. To be called every hour: it tells 30, 7 and 1 days before
 * the end, and then. */
void kvp_tls_expiry_watch(struct kvp_tls_expiry *expiry, const struct kvp_logger *logger,
                          int64_t not_after);

#endif
