/* SPDX-License-Identifier: Apache-2.0 */
/* Where a tool's certificate is: --tls-cert, --tls-key and --tls-ca, else $KVPAIR_TLS_CERT,
 * $KVPAIR_TLS_KEY and $KVPAIR_TLS_CA. */
#ifndef KVP_TLS_NAMES_H
#define KVP_TLS_NAMES_H

#include "kvpair/kvp_client.h"

#include <getopt.h>

enum { KVP_TLS_CERT = 1000, KVP_TLS_KEY, KVP_TLS_CA };

/* For getopt_long(). */
#define KVP_TLS_LONG_OPTIONS                                                                       \
    {"tls-cert", required_argument, NULL, KVP_TLS_CERT},                                           \
        {"tls-key", required_argument, NULL, KVP_TLS_KEY},                                         \
    {                                                                                              \
        "tls-ca", required_argument, NULL, KVP_TLS_CA                                              \
    }

/* Starts zeroed. */
struct kvp_tls_names {
    const char *cert, *key, *ca;
};

/* False: it is another option. */
bool kvp_tls_names_take(struct kvp_tls_names *names, int option, const char *value);
void kvp_tls_names_fill(const struct kvp_tls_names *names, kvp_client_options *options);

#endif
