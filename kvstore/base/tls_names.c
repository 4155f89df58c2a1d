/* SPDX-License-Identifier: Apache-2.0 */
#include "kvstore/base/tls_names.h"

#include <stdlib.h>

bool kvp_tls_names_take(struct kvp_tls_names *names, int option, const char *value)
{
    const char **name = option == KVP_TLS_CERT  ? &names->cert
                        : option == KVP_TLS_KEY ? &names->key
                        : option == KVP_TLS_CA  ? &names->ca
                                                : NULL;
    if (name != NULL) {
        *name = value;
    }
    return name != NULL;
}

static const char *tls_name(const char *given, const char *variable)
{
    const char *value = given != NULL ? given : getenv(variable);
    return value != NULL && value[0] != '\0' ? value : NULL;
}

void kvp_tls_names_fill(const struct kvp_tls_names *names, kvp_client_options *options)
{
    options->tls_cert = tls_name(names->cert, "KVPAIR_TLS_CERT");
    options->tls_key = tls_name(names->key, "KVPAIR_TLS_KEY");
    options->tls_ca = tls_name(names->ca, "KVPAIR_TLS_CA");
}
