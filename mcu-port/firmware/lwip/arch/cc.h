/* SPDX-License-Identifier: Apache-2.0 */
/* lwIP without a C library. */
#ifndef FIRMWARE_ARCH_CC_H
#define FIRMWARE_ARCH_CC_H

#include <stddef.h>
#include <stdint.h>

#define LWIP_NO_INTTYPES_H 1
#define LWIP_NO_LIMITS_H   1
#define LWIP_NO_CTYPE_H    1
#define LWIP_NO_UNISTD_H   1
#define INT_MAX            0x7fffffff

int strncmp(const char *a, const char *b, size_t size); /* for functions that nobody calls */
void network_failed(const char *why);
uint32_t network_random(void);

#define LWIP_PLATFORM_DIAG(text)
#define LWIP_PLATFORM_ASSERT(text) network_failed(text)
#define LWIP_RAND()                network_random()

#endif
