/* SPDX-License-Identifier: Apache-2.0 */
/* Time and entropy of the machine. Thread-safe. */
#ifndef KVP_CLOCK_H
#define KVP_CLOCK_H

#include "kvpair/kvp_base.h"

/* Microseconds of CLOCK_BOOTTIME: goes on during suspend, never steps. */
uint64_t kvp_clock_now_us(void);
/* Milliseconds since 1970, for people to read only. */
uint64_t kvp_clock_wall_ms(void);
/* Random bits from the kernel; never 0. */
uint64_t kvp_random_u64(void);

#endif
