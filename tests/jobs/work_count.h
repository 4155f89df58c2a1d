/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Counts what the job engine does, where it does it: the program is linked with --wrap for the
 * functions that read the store and multiply. Unlike the time that it takes, it is the same on
 * every machine.
 */
#ifndef WORK_COUNT_H
#define WORK_COUNT_H

#include <stdint.h>

struct work_count {
    uint64_t reads;    /* of the store */
    uint64_t bytes;    /* that they gave */
    uint64_t products; /* elementary ones, and sums and comparisons */
};

extern struct work_count work_count; /* so far */

#endif
