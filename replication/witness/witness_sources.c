/* SPDX-License-Identifier: Apache-2.0 */
#include "replication/witness/witness_sources.h"

#include <stdio.h>
#include <string.h>

static uint32_t sources_find(const struct witness_sources *sources, const char *address)
{
    uint32_t i = 0;
    while (i < sources->count && strcmp(sources->table[i].address, address) != 0) {
        i++;
    }
    return i;
}

bool witness_sources_permit(const struct witness_sources *sources, const char *address,
                            uint32_t most)
{
    uint32_t place = sources_find(sources, address);
    if (place < sources->count) {
        return sources->table[place].groups < most;
    }
    return sources->count < WITNESS_SOURCES_MAX || sources->others < most;
}

void witness_sources_note(struct witness_sources *sources, const char *address, uint32_t groups)
{
    uint32_t place = sources_find(sources, address);
    if (place == WITNESS_SOURCES_MAX) {
        sources->others += groups;
        return;
    }
    struct witness_source *source = &sources->table[place];
    if (place == sources->count) {
        sources->count++;
        source->groups = 0;
        (void)snprintf(source->address, sizeof(source->address), "%s", address);
    }
    source->groups += groups;
}
