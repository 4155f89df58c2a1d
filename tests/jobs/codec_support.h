/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of the codecs share. */
#ifndef KVP_TEST_CODEC_SUPPORT_H
#define KVP_TEST_CODEC_SUPPORT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "kvpair/kvp_base.h"

#define LONG_AGO "0123456789012345678901234567890123456789012345678901234567890123" /* 64 bytes */

kvp_slice text(const char *string);

/* A copy in memory of exactly its size, so that the address sanitizer sees one byte too far. */
uint8_t *exact(const void *data, size_t size);

#endif
