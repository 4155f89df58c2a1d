/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A connection over a serial line, for boards without a network: on its other end
 * mcu-port/uart_bridge.py makes TCP connections for it. Frames have a CRC-32 and are counted, so a
 * byte that is lost or flipped breaks the connection and nothing else. C99, freestanding, no heap,
 * no globals.
 *
 * A frame: type, connection, count, 0 to KVMCU_UART_DATA_MAX bytes, CRC-32 of all that, the lowest
 * byte first. On the line there is 0xC0 before and behind it; 0xC0 and 0xDB within are DB DC and DB
 * DD.
 */
#ifndef KVMCU_PORT_UART_H
#define KVMCU_PORT_UART_H

#include "kvmcu.h"
#include "kvmcu_line.h"

#ifdef __cplusplus
extern "C" {
#endif

#define KVMCU_UART_DATA_MAX  64u
#define KVMCU_UART_FRAME_MAX (3u + KVMCU_UART_DATA_MAX + 4u)

enum kvmcu_uart_type {
    KVMCU_UART_OPEN = 1,   /* to the bridge: the number of an address */
    KVMCU_UART_OPENED = 2, /* from it */
    KVMCU_UART_DATA = 3,   /* both ways, counted from 0 */
    KVMCU_UART_CLOSE = 4,  /* both ways: it is no more, or was not made */
};

struct kvmcu_uart {
    struct kvmcu_transport transport; /* for kvmcu_config */
    const struct kvmcu_line *line;
    uint8_t state, link, out_count, in_count;
    uint8_t in_size, in_at, in_end, escaped; /* received; of its data given out, and all of it */
    uint8_t out_size, out_at;
    uint8_t in[KVMCU_UART_FRAME_MAX];
    uint8_t out[2 * KVMCU_UART_FRAME_MAX + 2];
};

void kvmcu_uart_init(struct kvmcu_uart *uart, const struct kvmcu_line *line);

#ifdef __cplusplus
}
#endif

#endif
