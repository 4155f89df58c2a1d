/* SPDX-License-Identifier: Apache-2.0 */
/* Sockets that listen at an address, and the file that a Unix socket is for others. */
#ifndef KVP_SP_LISTEN_H
#define KVP_SP_LISTEN_H

#include "replication/net/sp_address.h"

#include <sys/stat.h>

#define SP_LISTENERS_MAX 8u /* a host name may have several addresses */

struct sp_listener {
    unsigned count;
    int fds[SP_LISTENERS_MAX];           /* listening, non-blocking */
    char url[KVP_URL_SIZE_MAX + 24];     /* with the real port */
    char reason[KVP_URL_SIZE_MAX + 128]; /* of a failure, for people */
    char path[KVP_URL_SIZE_MAX + 1];     /* ipc: the file made; "": none */
    dev_t device;
    ino_t inode;
};

/*
 * Listens on all addresses that the host has and this machine can use. At the path of an ipc URL
 * only a socket that nobody listens on is replaced; anything else stays, and `reason` names it.
 * KVP_ADDRESS_IN_USE; KVP_UNAVAILABLE: the host's name or address may come yet, nobody has it at
 * the moment; KVP_BAD_ARGUMENT, KVP_IO, KVP_NO_MEMORY.
 */
kvp_status sp_listen_open(const struct sp_address *address, struct sp_listener *listener);

/* Closes the sockets, and removes the file if it still is the one that was made. */
void sp_listen_close(struct sp_listener *listener);

#endif
