/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which rare branches of the core (core_marks.h) the seeds of the test run enter: all of them have
 * to be entered by one.
 */
#include "sim_marks.h"

#include <stdio.h>

uint64_t kvp_marks[KVP_MARK_COUNT];

static const struct {
    const char *name, *what;
} marks[] = {
#define MARKS_ROW(name, what) {#name, what},
    KVP_MARKS_LIST(MARKS_ROW)
#undef MARKS_ROW
};

unsigned sim_marks_missing(void)
{
    unsigned missing = 0;
    for (unsigned i = 0; i < KVP_MARK_COUNT; i++) {
        missing += kvp_marks[i] == 0;
    }
    return missing;
}

void sim_marks_print(bool all)
{
    if (sim_marks_missing() != 0 && !all) {
        printf("No seed has entered these branches of the core:\n");
    }
    for (unsigned i = 0; i < KVP_MARK_COUNT; i++) {
        if (all || kvp_marks[i] == 0) {
            printf("%10llu  %-22s %s\n", (unsigned long long)kvp_marks[i], marks[i].name,
                   marks[i].what);
        }
    }
}
