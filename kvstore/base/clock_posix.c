/* SPDX-License-Identifier: Apache-2.0 */
/* Time and entropy from the kernel. Neither can fail on a Linux that boots, so neither returns a
 * status; a kernel that refuses is a broken invariant, not input. */
#include "kvstore/base/clock.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <time.h>

/* Without clock or entropy no promise of the replication protocol holds: better no node at all. */
static _Noreturn void clock_give_up(const char *what)
{
    perror(what);
    abort();
}

static struct timespec read_clock(clockid_t clock)
{
    struct timespec now;
    if (clock_gettime(clock, &now) != 0) {
        clock_give_up("clock_gettime");
    }
    return now;
}

uint64_t kvp_clock_now_us(void)
{
    struct timespec now = read_clock(CLOCK_BOOTTIME);
    return (uint64_t)now.tv_sec * 1000000u + (uint64_t)now.tv_nsec / 1000u;
}

uint64_t kvp_clock_wall_ms(void)
{
    struct timespec now = read_clock(CLOCK_REALTIME);
    return (uint64_t)now.tv_sec * 1000u + (uint64_t)now.tv_nsec / 1000000u;
}

uint64_t kvp_random_u64(void)
{
    uint64_t value = 0;
    while (value == 0) {
        /* Up to 256 bytes come whole or not at all; a signal may come before the pool is ready. */
        ssize_t got = getrandom(&value, sizeof(value), 0);
        if (got != (ssize_t)sizeof(value)) {
            if (got >= 0 || errno == EINTR) {
                value = 0;
                continue;
            }
            clock_give_up("getrandom");
        }
    }
    return value;
}
