/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Connections by a small set of BSD sockets: lwIP's (compile with -DKVMCU_LWIP; needs LWIP_SOCKET
 * and LWIP_SOCKET_POLL), those of other stacks that have them, or a host's. No heap and no globals
 * of its own. Addresses are numbers: tcp://10.0.0.1:7000.
 */
#ifndef KVMCU_PORT_SOCKETS_H
#define KVMCU_PORT_SOCKETS_H

#include "kvmcu.h"

#ifdef __cplusplus
extern "C" {
#endif

struct kvmcu_sockets {
    struct kvmcu_transport transport; /* for kvmcu_config */
    const char *const *urls;
    uint32_t (*now_ms)(void *arg);
    void (*idle)(void *arg); /* NULL: waits for the connection, a few milliseconds at most */
    int fd;                  /* -1: none */
};

void kvmcu_sockets_init(struct kvmcu_sockets *port, const char *const *urls,
                        uint32_t (*now_ms)(void *arg), void (*idle)(void *arg));

#ifdef __cplusplus
}
#endif

#endif
