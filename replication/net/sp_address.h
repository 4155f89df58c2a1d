/* SPDX-License-Identifier: Apache-2.0 */
/* URLs of the transport, and the sockets made from them. inproc:// is a Unix socket whose abstract
 * name holds the process id: seen by nobody else's URL. tls+tcp:// is tcp:// with TLS in it. */
#ifndef KVP_SP_ADDRESS_H
#define KVP_SP_ADDRESS_H

#include "kvpair/kvp_base.h"

#include <netdb.h>
#include <sys/un.h>

enum sp_address_kind { SP_ADDRESS_TCP, SP_ADDRESS_IPC, SP_ADDRESS_INPROC };

struct sp_address {
    enum sp_address_kind kind;
    bool tls;                        /* tcp */
    char name[KVP_URL_SIZE_MAX + 1]; /* host, path or name; tcp: "" stands for all */
    char port[8];                    /* tcp */
};

/* KVP_BAD_ARGUMENT. */
kvp_status sp_address_parse(const char *url, struct sp_address *address);

/* Begins to connect; `attempt` picks among the addresses of a host in turn. Blocks while a host
 * name is looked up. KVP_UNAVAILABLE when that already failed; *reason (which lives on) says why.
 */
kvp_status sp_address_connect(const struct sp_address *address, unsigned attempt, int *fd,
                              const char **reason);
/* What an errno of connecting means, for people. */
const char *sp_address_reason(int error);

/* Makes a connected TCP socket fit for short messages and dead peers; others are left alone. */
void sp_address_tune(const struct sp_address *address, int fd);

/* What listening and connecting share: a non-blocking socket (-1: errno), the addresses of a tcp
 * host (to be freed with freeaddrinfo(); returns what getaddrinfo() did), the name of a Unix socket
 * (KVP_BAD_ARGUMENT: it is too long). */
int sp_address_socket(int family);
int sp_address_resolve(const struct sp_address *address, bool listening, struct addrinfo **found);
kvp_status sp_address_unix(const struct sp_address *address, struct sockaddr_un *name,
                           socklen_t *size);

#endif
