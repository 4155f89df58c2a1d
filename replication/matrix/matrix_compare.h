/* SPDX-License-Identifier: Apache-2.0 */
/* Do two results of the same computation agree? */
#ifndef KVP_MATRIX_COMPARE_H
#define KVP_MATRIX_COMPARE_H

#include "kvpair/job_codes.h"
#include "kvpair/matrix.h"

struct kvp_compare_rule {
    enum kvp_agreement kind;
    double tolerance; /* finite, not negative; EXACT, and CHECKSUM of integers, ignore it */
    /* Where numbers cancel out, none is near another in relation to its size; a multiple of what
     * one rounding at the operands' scale costs is sensible. 0: the smallest normal number of the
     * type (floats), or no floor (integers). */
    double floor;
};

struct kvp_comparison {
    bool agree;
    /* If not, the first difference in reading order, from 0. CHECKSUM: the first row and the first
     * column whose sums differ (0 where only the others do). */
    uint64_t row, column;
};

bool kvp_agreement_valid(uint64_t kind);

/*
 * Compares two results of this type and shape; they need no alignment. NaN agrees with nothing;
 * neither do infinities, except as EXACT. Integers are compared exactly under ABSOLUTE (with the
 * tolerance rounded down), and in float64 under RELATIVE. KVP_BAD_REQUEST: the shape is impossible
 * or one has not the size of that shape; KVP_BAD_ARGUMENT: the rule is none; KVP_NO_MEMORY
 * (CHECKSUM: 40 bytes a column). On failure *result stays.
 */
kvp_status kvp_matrix_compare(const struct kvp_compare_rule *rule, enum kvp_matrix_type type,
                              uint64_t rows, uint64_t columns, kvp_slice x, kvp_slice y,
                              struct kvp_comparison *result);

#endif
