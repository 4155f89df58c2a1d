/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SMSC's LAN9118 (and LAN9220) as on the MPS2 boards, polled. Frames go by 32-bit words through two
 * FIFOs in the chip, which hold about 10 KB of what comes while nobody looks; TCP repeats what
 * finds no room. The chip puts two bytes before each frame (ETH_PAD_SIZE), so that IP's headers lie
 * at full words.
 */
#include "nic.h"

#include "lwip/etharp.h"
#include "lwip/pbuf.h"

#include <stdbool.h>

#define REGISTER(offset) (*(volatile uint32_t *)(0x40200000u + (offset)))

#define RX_DATA    REGISTER(0x00u)
#define TX_DATA    REGISTER(0x20u)
#define RX_STATUS  REGISTER(0x40u)
#define TX_STATUS  REGISTER(0x48u)
#define BYTE_TEST  REGISTER(0x64u)
#define RX_CFG     REGISTER(0x6cu)
#define TX_CFG     REGISTER(0x70u)
#define HW_CFG     REGISTER(0x74u)
#define RX_FIFO    REGISTER(0x7cu)
#define TX_FIFO    REGISTER(0x80u)
#define MAC_ACCESS REGISTER(0xa4u)
#define MAC_DATA   REGISTER(0xa8u)

#define AWAKE        0x87654321u
#define SOFT_RESET   1u
#define TX_FIFO_SIZE (5u << 16 | 1u << 20) /* KB of 16; and a bit that must be one */
#define RX_OFFSET    ((uint32_t)ETH_PAD_SIZE << 8)
#define TX_ON        2u
#define TX_OFFSET    ((uint32_t)ETH_PAD_SIZE << 16)
#define TX_WHOLE     (1u << 13 | 1u << 12) /* first and last piece */
#define MAC_BUSY     0x80000000u
#define MAC_READ     0x40000000u
#define MAC_CONTROL  1u
#define MAC_HIGH     2u
#define MAC_LOW      3u
#define FULL_DUPLEX  (1u << 20)
#define TRANSMIT     8u
#define RECEIVE      4u
#define RX_ERROR     0x8000u
#define CRC_SIZE     4u
#define HEAD_SIZE    14u
#define FRAME_MAX    1514u
#define PATIENCE     100000u /* reads of a register */
#define FRAMES       8u      /* taken in one go */

/* ---- starting it ---- */

static bool mac_ready(void)
{
    for (unsigned i = 0; i < PATIENCE; i++) {
        if ((MAC_ACCESS & MAC_BUSY) == 0) {
            return true;
        }
    }
    return false;
}

static bool mac_write(uint32_t number, uint32_t value)
{
    MAC_DATA = value;
    MAC_ACCESS = MAC_BUSY | number;
    return mac_ready();
}

static bool mac_read(uint32_t number, uint32_t *value)
{
    MAC_ACCESS = MAC_BUSY | MAC_READ | number;
    if (!mac_ready()) {
        return false;
    }
    *value = MAC_DATA;
    return true;
}

static bool chip_reset(void)
{
    unsigned i = 0;
    while (BYTE_TEST != AWAKE && i < PATIENCE) {
        i++;
    }
    HW_CFG = SOFT_RESET;
    while ((HW_CFG & SOFT_RESET) != 0 && i < PATIENCE) {
        i++;
    }
    return i < PATIENCE;
}

/* A switch is taken for granted: full duplex. */
static bool chip_start(void)
{
    HW_CFG = TX_FIFO_SIZE;
    RX_CFG = RX_OFFSET;
    TX_CFG = TX_ON;
    return mac_write(MAC_CONTROL, FULL_DUPLEX | TRANSMIT | RECEIVE);
}

/* ---- frames ---- */

static void put_words(const struct pbuf *frame)
{
    uint32_t word = 0;
    unsigned shift = 0;
    for (const struct pbuf *piece = frame; piece != NULL; piece = piece->next) {
        const uint8_t *data = piece->payload;
        for (unsigned i = 0; i < piece->len; i++) {
            word |= (uint32_t)data[i] << shift;
            shift += 8;
            if (shift == 32) {
                TX_DATA = word;
                word = 0;
                shift = 0;
            }
        }
    }
    if (shift > 0) {
        TX_DATA = word;
    }
}

static err_t nic_output(struct netif *netif, struct pbuf *frame)
{
    uint32_t size = frame->tot_len - (uint32_t)ETH_PAD_SIZE;
    (void)netif;
    while ((TX_FIFO >> 16 & 0xff) != 0) {
        (void)TX_STATUS; /* TCP finds out what was lost, this need not tell */
    }
    if ((TX_FIFO & 0xffff) < frame->tot_len + 16u) {
        return ERR_MEM;
    }
    TX_DATA = TX_OFFSET | TX_WHOLE | size;
    TX_DATA = size;
    put_words(frame);
    return ERR_OK;
}

/* Into the frame as far as it goes; what is behind is the checksum. NULL: to nowhere. */
static void get_words(struct pbuf *frame, uint32_t count)
{
    struct pbuf *piece = frame;
    unsigned at = 0;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t word = RX_DATA;
        for (unsigned shift = 0; shift < 32 && piece != NULL; shift += 8) {
            ((uint8_t *)piece->payload)[at] = (uint8_t)(word >> shift);
            at++;
            if (at == piece->len) {
                piece = piece->next;
                at = 0;
            }
        }
    }
}

static struct pbuf *next_frame(void)
{
    uint32_t status = RX_STATUS, size = (status >> 16 & 0x3fff) - CRC_SIZE;
    struct pbuf *frame = NULL;
    if ((status & RX_ERROR) == 0 && size >= HEAD_SIZE && size <= FRAME_MAX) {
        frame = pbuf_alloc(PBUF_RAW, (uint16_t)(size + ETH_PAD_SIZE), PBUF_POOL);
    }
    get_words(frame, (size + CRC_SIZE + ETH_PAD_SIZE + 3) / 4);
    return frame;
}

void nic_poll(struct netif *netif)
{
    for (unsigned i = 0; i < FRAMES && (RX_FIFO >> 16 & 0xff) != 0; i++) {
        struct pbuf *frame = next_frame();
        if (frame != NULL && netif->input(frame, netif) != ERR_OK) {
            (void)pbuf_free(frame);
        }
    }
}

/* The chip has its address from its EEPROM. */
err_t nic_init(struct netif *netif)
{
    uint32_t high, low;
    if (!chip_reset() || !mac_read(MAC_HIGH, &high) || !mac_read(MAC_LOW, &low) || !chip_start()) {
        return ERR_IF;
    }
    for (unsigned i = 0; i < ETH_HWADDR_LEN; i++) {
        netif->hwaddr[i] = (uint8_t)(i < 4 ? low >> 8 * i : high >> 8 * (i - 4));
    }
    netif->hwaddr_len = ETH_HWADDR_LEN;
    netif->mtu = 1500;
    netif->flags =
        NETIF_FLAG_BROADCAST | NETIF_FLAG_ETHARP | NETIF_FLAG_ETHERNET | NETIF_FLAG_LINK_UP;
    netif->output = etharp_output;
    netif->linkoutput = nic_output;
    return ERR_OK;
}
