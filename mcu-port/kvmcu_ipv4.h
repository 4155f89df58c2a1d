/* SPDX-License-Identifier: Apache-2.0 */
/* URLs with numbers, tcp://A.B.C.D:PORT, for ports to stacks without names. */
#ifndef KVMCU_IPV4_H
#define KVMCU_IPV4_H

#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A number up to `most`, and *text behind it. False: there is none. */
static inline bool kvmcu_ipv4_number(const char **text, uint32_t most, uint32_t *number)
{
    const char *begin = *text;

    *number = 0;
    while (**text >= '0' && **text <= '9' && *number <= most) {
        *number = *number * 10 + (uint32_t)(**text - '0');
        (*text)++;
    }
    return *text != begin && *number <= most;
}

/* Both in the host's order. */
static inline bool kvmcu_ipv4_read(const char *url, uint32_t *host, uint16_t *port)
{
    const char *at = url;
    uint32_t number;

    for (const char *scheme = "tcp://"; *scheme != '\0'; scheme++) {
        if (*at != *scheme) {
            return false;
        }
        at++;
    }
    *host = 0;
    for (unsigned i = 0; i < 4; i++) {
        if (!kvmcu_ipv4_number(&at, 255, &number) || *at != (i < 3 ? '.' : ':')) {
            return false;
        }
        *host = *host << 8 | number;
        at++;
    }
    if (!kvmcu_ipv4_number(&at, 65535, &number) || *at != '\0') {
        return false;
    }
    *port = (uint16_t)number;
    return true;
}

#ifdef __cplusplus
}
#endif

#endif
