/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ethernet with lwIP. BOARD_IP, BOARD_MASK, BOARD_GATEWAY are the board's place in the network;
 * BOARD_ADDRESSES is where the nodes are seen from there, when that is not what they call
 * themselves.
 */
#include "board.h"
#include "link.h"
#include "lwip/init.h"
#include "lwip/netif.h"
#include "lwip/timeouts.h"
#include "netif/ethernet.h"
#include "nic.h"
#include "port_lwip.h"

#define ASSERTION_STATUS 4u

#ifdef BOARD_ADDRESSES
static const char *const addresses[] = {BOARD_ADDRESSES};
#endif
static struct netif interface;
static struct kvmcu_lwip connection;
static uint32_t random_state;

/* ---- what lwIP wants ---- */

uint32_t sys_now(void)
{
    return board_now_ms();
}

/* Marsaglia's xorshift. After a reset the first port must be another one: the nodes, or whatever is
 * between, may still have the connections of before. */
uint32_t network_random(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 17;
    random_state ^= random_state << 5;
    return random_state;
}

void network_failed(const char *why)
{
    board_log("fault: lwIP: ");
    board_log(why);
    board_log("\n");
    board_exit(ASSERTION_STATUS);
}

/* ---- the link ---- */

static void idle(void)
{
    board_sleep();
    nic_poll(&interface);
    sys_check_timeouts();
}

const struct kvmcu_transport *link_init(const char *const *urls)
{
    ip4_addr_t own, mask, gateway;
    uint32_t seed[4];
    board_seed(seed);
    random_state = (uint32_t)kvmcu_client_number(seed, sizeof(seed)); /* odd, so it is not 0 */
    if (ip4addr_aton(BOARD_IP, &own) == 0 || ip4addr_aton(BOARD_MASK, &mask) == 0 ||
        ip4addr_aton(BOARD_GATEWAY, &gateway) == 0) {
        return NULL;
    }
    lwip_init();
    if (netif_add(&interface, &own, &mask, &gateway, NULL, nic_init, ethernet_input) == NULL) {
        return NULL;
    }
    netif_set_default(&interface);
    netif_set_up(&interface);
#ifdef BOARD_ADDRESSES
    urls = addresses;
#endif
    kvmcu_lwip_init(&connection, urls, idle);
    return &connection.transport;
}
