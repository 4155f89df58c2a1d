/* SPDX-License-Identifier: Apache-2.0 */
/* lwIP includes it; nothing of it is called. */
#ifndef FIRMWARE_STDLIB_H
#define FIRMWARE_STDLIB_H

int atoi(const char *text);

#endif
