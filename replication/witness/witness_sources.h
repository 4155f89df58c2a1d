/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From which addresses names of groups have come to a witness since it began, so that one of them
 * does not take the places of all.
 */
#ifndef KVP_WITNESS_SOURCES_H
#define KVP_WITNESS_SOURCES_H

#include "kvpair/kvp_base.h"

#define WITNESS_SOURCES_MAX     256u
#define WITNESS_SOURCE_SIZE_MAX 64u

struct witness_source {
    char address[WITNESS_SOURCE_SIZE_MAX];
    uint32_t groups;
};

/* Zero it before its first use. */
struct witness_sources {
    struct witness_source table[WITNESS_SOURCES_MAX];
    uint32_t count;
    uint32_t others; /* groups from addresses that have no place in the table */
};

/* May this address bring one more group, where each may bring `most`? Those that have no place in
 * the table share one number. */
bool witness_sources_permit(const struct witness_sources *sources, const char *address,
                            uint32_t most);
/* It has brought so many. */
void witness_sources_note(struct witness_sources *sources, const char *address, uint32_t groups);

#endif
