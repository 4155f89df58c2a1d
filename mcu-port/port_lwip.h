/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Connections by lwIP's raw interface, for boards without an operating system (NO_SYS=1): C99, no
 * heap and no globals of its own. lwIP and the client belong to one thread. Addresses are numbers:
 * tcp://10.0.0.1:7000.
 */
#ifndef KVMCU_PORT_LWIP_H
#define KVMCU_PORT_LWIP_H

#include "kvmcu.h"

#ifdef __cplusplus
extern "C" {
#endif

struct kvmcu_lwip {
    struct kvmcu_transport transport; /* for kvmcu_config */
    const char *const *urls;
    void (*idle)(void);
    struct tcp_pcb *pcb; /* NULL: none, or lwIP has dropped it */
    struct pbuf *in;     /* what has come and was not read yet */
    uint16_t in_at;      /* of its first piece */
    uint8_t phase;
};

/*
 * `urls`: where the nodes are, in the order of kvmcu_config.urls, which may have other names for
 * them. `idle`: sleeps until something happens, a few milliseconds at most; then it hands what the
 * network has to lwIP, and calls sys_check_timeouts(). Calls that wait call it; a super-loop does
 * these two things itself, between polls.
 */
void kvmcu_lwip_init(struct kvmcu_lwip *port, const char *const *urls, void (*idle)(void));

#ifdef __cplusplus
}
#endif

#endif
