/* SPDX-License-Identifier: Apache-2.0 */
/* kvmcu's transport over sockets, for hosts: tests, and programs that want a client this small. */
#ifndef KVMCU_PORT_POSIX_H
#define KVMCU_PORT_POSIX_H

#include "kvmcu.h"

#ifdef __cplusplus
extern "C" {
#endif

struct kvmcu_posix {
    struct kvmcu_transport transport; /* for kvmcu_config */
    const char *const *urls;
    int fd; /* -1: none */
};

/* `urls`: the ones of kvmcu_config, "tcp://HOST:PORT", with an IPv6 host in brackets. Host names
 * are looked up when connecting, which may block; numbers do not. Must not be moved afterwards. */
void kvmcu_posix_init(struct kvmcu_posix *port, const char *const *urls);

#ifdef __cplusplus
}
#endif

#endif
