/* SPDX-License-Identifier: Apache-2.0 */
/* What is known of certificates without OpenSSL. */
#include "replication/net/tls.h"
#include "replication/net/sp_address.h"

bool kvp_tls_is_url(const char *url)
{
    struct sp_address address;
    return sp_address_parse(url, &address) == KVP_OK && address.tls;
}

bool kvp_tls_is_named(const struct kvp_tls_files *files)
{
    return files->cert != NULL || files->key != NULL || files->ca != NULL || files->min != NULL;
}
