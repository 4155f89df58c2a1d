/* SPDX-License-Identifier: Apache-2.0 */
/* ARM's MPS2 board with a Cortex-M3 (AN385), or M4 (AN386), as QEMU has it. The log is its
 * first UART, the line its second. */
#include "board.h"

#define REGISTER(address) (*(volatile uint32_t *)(address))
#define UART_DATA         REGISTER(0x40005000u)
#define UART_STATE        REGISTER(0x40005004u)
#define UART_CONTROL      REGISTER(0x40005008u)
#define UART_INTERRUPT    REGISTER(0x4000500cu)
#define UART_DIVIDER      REGISTER(0x40005010u)
#define LOG_DATA          REGISTER(0x40004000u)
#define LOG_STATE         REGISTER(0x40004004u)
#define LOG_CONTROL       REGISTER(0x40004008u)
#define LOG_DIVIDER       REGISTER(0x40004010u)
#define WATCH_LOAD        REGISTER(0x40008000u)
#define WATCH_CONTROL     REGISTER(0x40008008u)
#define WATCH_LOCK        REGISTER(0x40008c00u)
#define TICK_CONTROL      REGISTER(0xe000e010u)
#define TICK_RELOAD       REGISTER(0xe000e014u)
#define TICK_VALUE        REGISTER(0xe000e018u)
#define ENABLE_IRQS       REGISTER(0xe000e100u)

#define CLOCK_HZ    25000000u
#define BAUD        115200u
#define OUT_FULL    1u
#define IN_FULL     2u
#define OUT_ENABLE  1u
#define IN_ENABLE   2u
#define IN_IRQ      8u
#define IN_IRQ_FLAG 2u
#define LINE_IRQ    2u
#define WATCH_KEY   0x1acce551u
#define WATCH_BOTH  3u /* an NMI, and a reset when nobody cared for it as long again */
#define PATIENCE    100000u
#define RING        512u /* a power of 2 */

static volatile uint32_t ticks;
static volatile uint32_t ring_in, ring_out;
static uint8_t ring[RING];

void board_tick(void)
{
    ticks++;
}

/* What finds no room is lost: the frames above notice. */
void board_interrupt(void)
{
    UART_INTERRUPT = IN_IRQ_FLAG;
    while ((UART_STATE & IN_FULL) != 0) {
        uint8_t byte = (uint8_t)UART_DATA;
        if (ring_in - ring_out < RING) {
            ring[ring_in % RING] = byte;
            ring_in++;
        }
    }
}

void board_init(void)
{
    LOG_DIVIDER = CLOCK_HZ / BAUD;
    LOG_CONTROL = OUT_ENABLE;
    UART_DIVIDER = CLOCK_HZ / BAUD;
    UART_CONTROL = OUT_ENABLE | IN_ENABLE | IN_IRQ;
    ENABLE_IRQS = 1u << LINE_IRQ;
    TICK_RELOAD = CLOCK_HZ / 1000 - 1;
    TICK_VALUE = 0;
    TICK_CONTROL = 7;
}

uint32_t board_now_ms(void)
{
    return ticks;
}

void board_sleep(void)
{
    __asm__ volatile("wfi");
}

size_t board_read(void *data, size_t size)
{
    uint8_t *to = data;
    size_t count = 0;
    while (count < size && ring_out != ring_in) {
        to[count++] = ring[ring_out % RING];
        ring_out++;
    }
    return count;
}

size_t board_write(const void *data, size_t size)
{
    const uint8_t *from = data;
    size_t count = 0;
    while (count < size && (UART_STATE & OUT_FULL) == 0) {
        UART_DATA = from[count++];
    }
    return count;
}

void board_alive(void)
{
    WATCH_LOCK = WATCH_KEY;
    WATCH_LOAD = CLOCK_HZ * BOARD_WATCHDOG_S;
    WATCH_CONTROL = WATCH_BOTH;
    WATCH_LOCK = 0;
}

uint32_t board_random(void)
{
    return 0;
}

/* By its first UART. */
void board_print(const char *text)
{
    for (; *text != '\0'; text++) {
        for (uint32_t i = 0; i < PATIENCE && (LOG_STATE & OUT_FULL) != 0; i++) {
        }
        LOG_DATA = (uint8_t)*text;
    }
}
