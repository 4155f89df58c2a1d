/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A serial line: to a host where mcu-port/uart_bridge.py runs with the same URLs; or, with
 * BOARD_MODEM, to a modem with AT commands, which joins the network by the commands BOARD_MODEM.
 */
#include "board.h"
#include "link.h"
#include "port_at.h"
#include "port_uart.h"

#ifdef BOARD_MODEM
static const char *const setup[] = {BOARD_MODEM, NULL};
static struct kvmcu_at connection;
#else
static struct kvmcu_uart connection;
#endif

static size_t line_read(void *arg, void *data, size_t size)
{
    (void)arg;
    return board_read(data, size);
}

static size_t line_write(void *arg, const void *data, size_t size)
{
    (void)arg;
    return board_write(data, size);
}

static uint32_t line_now_ms(void *arg)
{
    (void)arg;
    return board_now_ms();
}

static void line_idle(void *arg)
{
    (void)arg;
    board_sleep();
}

static const struct kvmcu_line line = {line_read, line_write, line_now_ms, line_idle, NULL};

const struct kvmcu_transport *link_init(const char *const *urls)
{
#ifdef BOARD_MODEM
    kvmcu_at_init(&connection, &line, urls, setup, NULL);
#else
    (void)urls; /* the bridge has them */
    kvmcu_uart_init(&connection, &line);
#endif
    return &connection.transport;
}
