/* SPDX-License-Identifier: Apache-2.0 */
/* All that the client needs of a C library, for compilers that come without one. */
#ifndef FIRMWARE_STRING_H
#define FIRMWARE_STRING_H

#include <stddef.h>

void *memcpy(void *restrict to, const void *restrict from, size_t size);
void *memset(void *to, int value, size_t size);

#endif
