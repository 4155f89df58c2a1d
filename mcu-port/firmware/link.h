/* SPDX-License-Identifier: Apache-2.0 */
/* The way from a board to the nodes. */
#ifndef FIRMWARE_LINK_H
#define FIRMWARE_LINK_H

#include "kvmcu.h"

/* NULL: it does not work. */
const struct kvmcu_transport *link_init(const char *const *urls);

#endif
