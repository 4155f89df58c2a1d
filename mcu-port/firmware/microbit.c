/* SPDX-License-Identifier: Apache-2.0 */
/* BBC micro:bit (the first one): nRF51822, a Cortex-M0. The line is its UART, on the pins that lead
 * to USB; the tick is TIMER0. QEMU has it, too. */
#include "board.h"

#define REGISTER(address) (*(volatile uint32_t *)(address))
#define UART(offset)      REGISTER(0x40002000u + (offset))
#define TIMER(offset)     REGISTER(0x40008000u + (offset))
#define ENABLE_IRQS       REGISTER(0xe000e100u)

#define CRYSTAL_START  REGISTER(0x40000000u)
#define CRYSTAL_STARTS REGISTER(0x40000100u)
#define PIN_HIGH       REGISTER(0x50000508u)
#define PIN_IS_OUT     REGISTER(0x50000518u)
#define OUT_PIN        24u
#define IN_PIN         25u

#define UART_START_IN   UART(0x000u)
#define UART_START_OUT  UART(0x008u)
#define UART_RECEIVED   UART(0x108u)
#define UART_SENT       UART(0x11cu)
#define UART_ENABLE_IRQ UART(0x304u)
#define UART_ENABLE     UART(0x500u)
#define UART_OUT_PIN    UART(0x50cu)
#define UART_IN_PIN     UART(0x514u)
#define UART_IN         UART(0x518u)
#define UART_OUT        UART(0x51cu)
#define UART_BAUD       UART(0x524u)
#define RECEIVED_IRQ    (1u << 2)
#define BAUD_115200     0x01d7e000u
#define UART_NUMBER     2u

#define TIMER_START      TIMER(0x000u)
#define TIMER_REACHED    TIMER(0x140u)
#define TIMER_SHORTS     TIMER(0x200u)
#define TIMER_ENABLE_IRQ TIMER(0x304u)
#define TIMER_BITS       TIMER(0x508u)
#define TIMER_PRESCALER  TIMER(0x510u)
#define TIMER_COMPARE    TIMER(0x540u)
#define REACHED_IRQ      (1u << 16)
#define REACHED_CLEARS   1u
#define TIMER_NUMBER     8u

#define WATCH(offset) REGISTER(0x40010000u + (offset))
#define WATCH_START   WATCH(0x000u)
#define WATCH_RUNS    WATCH(0x400u)
#define WATCH_TICKS   WATCH(0x504u)
#define WATCH_RELOAD  WATCH(0x600u)
#define WATCH_HZ      32768u
#define WATCH_KEY     0x6e524635u

#define RANDOM(offset) REGISTER(0x4000d000u + (offset))
#define RANDOM_START   RANDOM(0x000u)
#define RANDOM_READY   RANDOM(0x100u)
#define RANDOM_VALUE   RANDOM(0x508u)
#define DEVICE_ID      REGISTER(0x10000060u)
#define PATIENCE       100000u

#define RING 512u /* a power of 2 */

static volatile uint32_t ticks;
static volatile uint32_t ring_in, ring_out;
static uint8_t ring[RING];
static bool sending;

void board_tick(void)
{
}

/* What finds no room is lost: the frames above notice. */
void board_interrupt(void)
{
    if (TIMER_REACHED != 0) {
        TIMER_REACHED = 0;
        ticks++;
    }
    while (UART_RECEIVED != 0) {
        UART_RECEIVED = 0;
        uint8_t byte = (uint8_t)UART_IN;
        if (ring_in - ring_out < RING) {
            ring[ring_in % RING] = byte;
            ring_in++;
        }
    }
}

/* The UART's speed needs the crystal: what runs without it is off by some per cent. */
static void start_crystal(void)
{
    CRYSTAL_START = 1;
    for (uint32_t i = 0; i < PATIENCE && CRYSTAL_STARTS == 0; i++) {
    }
}

void board_init(void)
{
    start_crystal();
    PIN_HIGH = 1u << OUT_PIN; /* as the line is while nothing is sent */
    PIN_IS_OUT = 1u << OUT_PIN;
    UART_OUT_PIN = OUT_PIN;
    UART_IN_PIN = IN_PIN;
    UART_BAUD = BAUD_115200;
    UART_ENABLE = 4;
    UART_ENABLE_IRQ = RECEIVED_IRQ;
    UART_START_IN = 1;
    UART_START_OUT = 1;
    TIMER_BITS = 3;      /* 32 */
    TIMER_PRESCALER = 4; /* 16 MHz / 2^4 */
    TIMER_COMPARE = 1000;
    TIMER_SHORTS = REACHED_CLEARS;
    TIMER_ENABLE_IRQ = REACHED_IRQ;
    TIMER_START = 1;
    ENABLE_IRQS = 1u << UART_NUMBER | 1u << TIMER_NUMBER;
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

/* A byte at a time, as fast as the line takes them. */
size_t board_write(const void *data, size_t size)
{
    const uint8_t *from = data;
    size_t count = 0;
    while (count < size && (!sending || UART_SENT != 0)) {
        UART_SENT = 0;
        UART_OUT = from[count++];
        sending = true;
    }
    return count;
}

void board_alive(void)
{
    if ((WATCH_RUNS & 1u) == 0) {
        WATCH_TICKS = WATCH_HZ * BOARD_WATCHDOG_S;
        WATCH_START = 1;
    }
    WATCH_RELOAD = WATCH_KEY;
}

uint32_t board_random(void)
{
    uint32_t number = DEVICE_ID;
    RANDOM_START = 1;
    for (unsigned byte = 0; byte < 4; byte++) {
        RANDOM_READY = 0;
        for (uint32_t i = 0; i < PATIENCE && RANDOM_READY == 0; i++) {
        }
        number = number << 8 ^ number >> 24 ^ RANDOM_VALUE;
    }
    return number;
}

/* Its only UART is the line. */
void board_print(const char *text)
{
    (void)text;
}
