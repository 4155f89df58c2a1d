/* SPDX-License-Identifier: Apache-2.0 */
#include "port_uart.h"

#include <string.h>

#define END          0xc0u
#define ESCAPE       0xdbu
#define HEAD_SIZE    3u
#define CRC_SIZE     4u
#define NO_CRC       0xffffffffu
#define WITH_ITS_CRC 0xdebb20e3u /* of any bytes and their CRC behind them */
#define READ_MAX     512u        /* bytes in one call: the line shall not keep it for ever */

enum state { CLOSED, OPENING, OPEN, BROKEN };

/* One byte more of a CRC-32, which begins and ends with all its bits turned over. */
static uint32_t crc_add(uint32_t crc, uint8_t byte)
{
    crc ^= byte;
    for (unsigned bit = 0; bit < 8; bit++) {
        crc = crc >> 1 ^ (0xedb88320u & (0u - (crc & 1u)));
    }
    return crc;
}

/* ---- out ---- */

/* True: there is room for a frame. */
static bool flush(struct kvmcu_uart *uart)
{
    const struct kvmcu_line *line = uart->line;
    size_t left = (size_t)uart->out_size - uart->out_at;
    if (left > 0) {
        size_t count = line->write(line->arg, uart->out + uart->out_at, left);
        uart->out_at = (uint8_t)(uart->out_at + (count < left ? count : left));
    }
    return uart->out_at == uart->out_size;
}

static void put(struct kvmcu_uart *uart, uint8_t byte)
{
    if (byte == END || byte == ESCAPE) {
        uart->out[uart->out_size++] = ESCAPE;
        byte = byte == END ? 0xdc : 0xdd;
    }
    uart->out[uart->out_size++] = byte;
}

static void send_frame(struct kvmcu_uart *uart, unsigned type, unsigned count, const void *data,
                       size_t size)
{
    const uint8_t head[HEAD_SIZE] = {(uint8_t)type, uart->link, (uint8_t)count};
    uint32_t crc = NO_CRC;
    uart->out_at = 0;
    uart->out_size = 1;
    uart->out[0] = END; /* ends what may be left of another frame */
    for (size_t i = 0; i < HEAD_SIZE + size; i++) {
        uint8_t byte = i < HEAD_SIZE ? head[i] : ((const uint8_t *)data)[i - HEAD_SIZE];
        crc = crc_add(crc, byte);
        put(uart, byte);
    }
    for (unsigned i = 0; i < CRC_SIZE; i++) {
        put(uart, (uint8_t)(~crc >> 8 * i));
    }
    uart->out[uart->out_size++] = END;
    (void)flush(uart);
}

/* ---- in ---- */

/* A frame that is whole. Those of other connections are late. */
static void take_frame(struct kvmcu_uart *uart)
{
    const uint8_t *frame = uart->in;
    uint8_t end = (uint8_t)(uart->in_size - CRC_SIZE);
    if (frame[1] != uart->link) {
        return;
    }
    if (uart->state == OPENING && frame[0] == KVMCU_UART_OPENED) {
        uart->state = OPEN;
    } else if (uart->state >= OPENING && frame[0] == KVMCU_UART_CLOSE) {
        uart->state = BROKEN;
    } else if (uart->state == OPEN && frame[0] == KVMCU_UART_DATA) {
        if (frame[2] == uart->in_count) {
            uart->in_count++;
            uart->in_at = HEAD_SIZE;
            uart->in_end = end;
        } else {
            uart->state = BROKEN; /* something is missing */
        }
    }
}

static void end_frame(struct kvmcu_uart *uart)
{
    uint8_t size = uart->in_size;
    if (size >= HEAD_SIZE + CRC_SIZE && size <= KVMCU_UART_FRAME_MAX) {
        uint32_t crc = NO_CRC;
        for (unsigned i = 0; i < size; i++) {
            crc = crc_add(crc, uart->in[i]);
        }
        if (crc == WITH_ITS_CRC) {
            take_frame(uart);
        }
    }
    uart->in_size = 0;
    uart->escaped = 0;
}

static void take_byte(struct kvmcu_uart *uart, uint8_t byte)
{
    if (byte == END) {
        end_frame(uart);
        return;
    }
    if (byte == ESCAPE) {
        uart->escaped = 1;
        return;
    }
    if (uart->escaped != 0) {
        byte = byte == 0xdc ? END : byte == 0xdd ? ESCAPE : byte;
        uart->escaped = 0;
    }
    if (uart->in_size < KVMCU_UART_FRAME_MAX) {
        uart->in[uart->in_size] = byte;
    }
    if (uart->in_size <= KVMCU_UART_FRAME_MAX) {
        uart->in_size++; /* one more than that: it is too long */
    }
}

/* Until there is data, or what came is read. */
static void pump(struct kvmcu_uart *uart)
{
    uint8_t byte;
    for (unsigned i = 0; i < READ_MAX && uart->in_at == uart->in_end; i++) {
        if (uart->line->read(uart->line->arg, &byte, 1) == 0) {
            break;
        }
        take_byte(uart, byte);
    }
}

/* ---- the transport ---- */

static int uart_open(void *arg, unsigned index)
{
    struct kvmcu_uart *uart = arg;
    uint8_t address = (uint8_t)index;
    if (!flush(uart)) {
        return 0;
    }
    if (uart->state == CLOSED) {
        uart->link++;
        uart->out_count = uart->in_count = 0;
        uart->state = OPENING;
        send_frame(uart, KVMCU_UART_OPEN, 0, &address, 1);
    }
    pump(uart);
    return uart->state == OPENING ? 0 : uart->state == OPEN ? 1 : -1;
}

static int uart_send(void *arg, const void *data, size_t size)
{
    struct kvmcu_uart *uart = arg;
    if (uart->state != OPEN) {
        return -1;
    }
    if (!flush(uart)) {
        return 0;
    }
    size = size < KVMCU_UART_DATA_MAX ? size : KVMCU_UART_DATA_MAX;
    send_frame(uart, KVMCU_UART_DATA, uart->out_count++, data, size);
    return (int)size;
}

static int uart_recv(void *arg, void *data, size_t size)
{
    struct kvmcu_uart *uart = arg;
    size_t left;
    (void)flush(uart);
    pump(uart);
    left = (size_t)uart->in_end - uart->in_at;
    size = size < left ? size : left;
    memcpy(data, uart->in + uart->in_at, size);
    uart->in_at = (uint8_t)(uart->in_at + size);
    return size == 0 && uart->state == BROKEN ? -1 : (int)size;
}

static void uart_close(void *arg)
{
    struct kvmcu_uart *uart = arg;
    if (uart->state != CLOSED && flush(uart)) {
        send_frame(uart, KVMCU_UART_CLOSE, 0, "", 0); /* the next OPEN says so, too */
    }
    uart->state = CLOSED;
    uart->in_at = uart->in_end = 0;
}

static uint32_t uart_now_ms(void *arg)
{
    const struct kvmcu_line *line = ((struct kvmcu_uart *)arg)->line;
    return line->now_ms(line->arg);
}

static void uart_idle(void *arg)
{
    struct kvmcu_uart *uart = arg;
    (void)flush(uart);
    if (uart->line->idle != NULL) {
        uart->line->idle(uart->line->arg);
    }
}

void kvmcu_uart_init(struct kvmcu_uart *uart, const struct kvmcu_line *line)
{
    memset(uart, 0, sizeof(*uart));
    uart->line = line;
    uart->transport.open = uart_open;
    uart->transport.send = uart_send;
    uart->transport.recv = uart_recv;
    uart->transport.close = uart_close;
    uart->transport.now_ms = uart_now_ms;
    uart->transport.idle = uart_idle;
    uart->transport.arg = uart;
}
