/* SPDX-License-Identifier: Apache-2.0 */
/* A board's network chip, for lwIP. */
#ifndef FIRMWARE_NIC_H
#define FIRMWARE_NIC_H

#include "lwip/netif.h"

/* For netif_add(). */
err_t nic_init(struct netif *netif);
/* Gives lwIP the frames that have come; never waits. */
void nic_poll(struct netif *netif);

#endif
