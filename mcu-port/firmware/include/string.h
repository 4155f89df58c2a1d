/* SPDX-License-Identifier: Apache-2.0 */
/* All that the client needs of a C library, for compilers that come without one: the core and its
 * product of tiles the first two, port_at.c all. */
#ifndef FIRMWARE_STRING_H
#define FIRMWARE_STRING_H

#include <stddef.h>

void *memcpy(void *restrict to, const void *restrict from, size_t size);
void *memset(void *to, int value, size_t size);
void *memmove(void *to, const void *from, size_t size);
int memcmp(const void *a, const void *b, size_t size);
size_t strlen(const char *text);

#endif
