/* SPDX-License-Identifier: Apache-2.0 */
/* How often the rare branches of the core were entered by what this process has simulated. */
#ifndef KVP_SIM_MARKS_H
#define KVP_SIM_MARKS_H

#include "replication/core/core_marks.h"

#include <stdbool.h>

unsigned sim_marks_missing(void); /* how many never were */
void sim_marks_print(bool all);   /* or those that never were */

#endif
