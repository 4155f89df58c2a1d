/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Option structs of programs that were built for another release of the library. Such a struct
 * begins with its size (size_t) in the program, and grows at its end only, so each release knows
 * the beginning of every other one's. In all of them zero means the default.
 */
#ifndef KVP_OPTIONS_H
#define KVP_OPTIONS_H

#include "kvpair/kvp_base.h"

/*
 * Copies the struct `from` of a program into `to`, which has `size` bytes: fields that the program
 * does not know are zero. `size_first`: that of the first release; no struct was ever smaller.
 * KVP_BAD_ARGUMENT, with a reason in `message` (may be NULL): its size was never set (`init` names
 * the function that does it), or it sets what this release does not know.
 */
kvp_status kvp_options_take(void *to, size_t size, const void *from, size_t size_first,
                            const char *init, char *message, size_t message_size);

#endif
