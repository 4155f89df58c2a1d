/* SPDX-License-Identifier: Apache-2.0 */
#include "replication/net/plain_address.h"
#include "replication/net/address_list.h"
#include "replication/net/sp_address.h"

#include <stdio.h>

bool kvp_address_is_exposed(const char *url)
{
    struct sp_address address;
    struct addrinfo *found = NULL;
    if (sp_address_parse(url, &address) != KVP_OK || address.kind != SP_ADDRESS_TCP ||
        address.tls) {
        return false;
    }
    bool exposed = sp_address_resolve(&address, true, &found) != 0;
    if (exposed) {
        return true;
    }
    for (const struct addrinfo *each = found; each != NULL; each = each->ai_next) {
        exposed = exposed || !kvp_address_is_loopback(each->ai_addr);
    }
    freeaddrinfo(found);
    return exposed;
}

bool kvp_address_refuse_exposed(const char *program, const char *url)
{
    if (!kvp_address_is_exposed(url)) {
        return false;
    }
    fprintf(stderr,
            "%s: --listen: other machines can reach %s, and without TLS whoever does may read, "
            "write and stop everything.\n"
            "Listen on tls+tcp:// with certificates (kvcli cert init), or on this machine's own "
            "tcp://127.0.0.1:PORT; or say --insecure, where the network keeps strangers out.\n"
            "Try '%s --help'.\n",
            program, url, program);
    return true;
}
