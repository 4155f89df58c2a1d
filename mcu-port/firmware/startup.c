/* SPDX-License-Identifier: Apache-2.0 */
/* From reset to main() on a Cortex-M, without any library; the linker script brings the places. */
#include "board.h"

#include <string.h>

#define PAINT         0xa5a5a5a5u
#define FAULT_STATUS  3u
#define BKPT_DEBUGGER 0xbeabu /* the instruction that calls the debugger */
#define RESET_CONTROL (*(volatile uint32_t *)0xe000ed0cu)
#define RESET_REQUEST 0x05fa0004u

extern uint32_t stack_begin[], stack_end[]; /* its lowest word, and behind its highest */
extern uint32_t text_begin[], data_load[], data_begin[], data_end[], bss_begin[], bss_end[];

int main(void);
void reset(void);

/* Whom nobody listens to must not call for a debugger: that would be a fault each time. */
static volatile bool alone;
static uint32_t noise; /* what RAM held at the start: of the last run, or by chance */

#ifdef BOARD_FAULT_WAITS
/* For labs: after a fault the board is dead until its watchdog calls, which comes here, too. */
static void await_watchdog(void)
{
    static volatile bool waits;
    if (!waits) {
        waits = true;
        board_log("fault, waits for the watchdog\n");
        for (;;) {
        }
    }
    board_log("reset by the watchdog\n");
    board_restart();
}
#endif

/* `frame`: r0 to r3, r12, lr, pc and psr, as they were. */
__attribute__((used)) static void fault_taken(uint32_t *frame)
{
    uint32_t at = frame[6];
    if (at >= (uintptr_t)text_begin && at < (uintptr_t)data_load &&
        *(const volatile uint16_t *)(uintptr_t)at == BKPT_DEBUGGER) {
        alone = true;
        frame[0] = UINT32_MAX;
        frame[6] = at + 2;
        return;
    }
#ifdef BOARD_FAULT_WAITS
    await_watchdog();
#endif
    board_log("fault\n");
    if (!alone) {
        board_exit(FAULT_STATUS);
    }
    board_restart();
}

/* Finds the stack that was in use, also on an ARMv6-M. */
__attribute__((naked)) static void fault(void)
{
    __asm__ volatile("movs r0, #4\n"
                     "mov r1, lr\n"
                     "tst r0, r1\n"
                     "bne 1f\n"
                     "mrs r0, msp\n"
                     "b 2f\n"
                     "1: mrs r0, psp\n"
                     "2: ldr r1, 3f\n"
                     "bx r1\n"
                     ".balign 4\n"
                     "3: .word fault_taken\n");
}

void board_restart(void)
{
    RESET_CONTROL = RESET_REQUEST;
    for (;;) {
    }
}

/* From one place of the linker's to another. */
static size_t distance(const uint32_t *begin, const uint32_t *end)
{
    return (uintptr_t)end - (uintptr_t)begin;
}

/* Up to the frames that are there already. */
static void paint_stack(const void *up_to)
{
    size_t words = distance(stack_begin, up_to) / 4 - 16;
    volatile uint32_t *at = stack_begin;

    for (size_t i = 0; i < words; i++) {
        at[i] = PAINT;
    }
}

uint32_t stack_used(void)
{
    size_t words = distance(stack_begin, stack_end) / 4, clean = 0;
    while (clean < words && stack_begin[clean] == PAINT) {
        clean++;
    }
    return (uint32_t)(words - clean) * 4;
}

static uint32_t mix(const uint32_t *begin, const uint32_t *end)
{
    uint32_t sum = 2166136261u;
    for (size_t i = 0; i < distance(begin, end) / 4; i++) {
        sum = (sum ^ begin[i]) * 16777619u;
    }
    return sum;
}

void reset(void)
{
    uint32_t found = mix(bss_begin, bss_end);
    paint_stack(__builtin_frame_address(0));
    memcpy(data_begin, data_load, distance(data_begin, data_end));
    memset(bss_begin, 0, distance(bss_begin, bss_end));
    noise = found;
    board_init();
    board_alive();
    board_exit((unsigned)main());
}

/* ---- what compilers take for granted ---- */

void *memcpy(void *restrict to, const void *restrict from, size_t size)
{
    uint8_t *target = to;
    const uint8_t *source = from;
    while (size-- > 0) {
        *target++ = *source++;
    }
    return to;
}

void *memset(void *to, int value, size_t size)
{
    uint8_t *target = to;
    while (size-- > 0) {
        *target++ = (uint8_t)value;
    }
    return to;
}

void *memmove(void *to, const void *from, size_t size)
{
    uint8_t *target = to;
    const uint8_t *source = from;
    if ((uintptr_t)target <= (uintptr_t)source) {
        return memcpy(to, from, size);
    }
    while (size-- > 0) {
        target[size] = source[size];
    }
    return to;
}

int memcmp(const void *a, const void *b, size_t size)
{
    const uint8_t *left = a, *right = b;
    for (size_t i = 0; i < size; i++) {
        if (left[i] != right[i]) {
            return left[i] < right[i] ? -1 : 1;
        }
    }
    return 0;
}

size_t strlen(const char *text)
{
    size_t size = 0;
    while (text[size] != '\0') {
        size++;
    }
    return size;
}

/* ---- the debugger's channel ---- */

#define SYS_WRITE0        0x04
#define SYS_TIME          0x11
#define SYS_EXIT_EXTENDED 0x20
#define SYS_ELAPSED       0x30
#define APPLICATION_EXIT  0x20026u

static int debugger(int operation, const void *argument)
{
    register int r0 __asm__("r0") = operation;
    register const void *r1 __asm__("r1") = argument;

    __asm__ volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
    return r0;
}

void board_log(const char *text)
{
    if (!alone) {
        (void)debugger(SYS_WRITE0, text);
    }
    if (alone) { /* perhaps since now */
        board_print(text);
    }
}

void board_log_number(uint32_t number)
{
    char text[11];
    unsigned at = sizeof(text) - 1;
    text[at] = '\0';
    do {
        uint32_t tenth = number / 10;
        at--;
        text[at] = (char)('0' + (number - tenth * 10));
        number = tenth;
    } while (number != 0);
    board_log(text + at);
}

void board_exit(unsigned code)
{
    const uint32_t block[2] = {APPLICATION_EXIT, code};
    if (!alone) {
        (void)debugger(SYS_EXIT_EXTENDED, block);
    }
    for (;;) {
        board_alive();
        board_sleep();
    }
}

/* In an emulator the host's clock and the time since its start. */
void board_seed(uint32_t seed[4])
{
    uint32_t elapsed[2] = {0, 0};
    seed[0] = (uint32_t)debugger(SYS_TIME, NULL);
    if (!alone) {
        (void)debugger(SYS_ELAPSED, elapsed);
    }
    seed[1] = elapsed[0] ^ board_random();
    seed[2] = elapsed[1] ^ noise;
    seed[3] = board_now_ms();
}

/* ---- where it begins ---- */

static void nothing(void)
{
}

#define FOUR(handler) handler, handler, handler, handler

/* The core's, and 32 of the chip. */
__attribute__((section(".vectors"), used)) static const struct {
    uint32_t *stack;
    void (*handlers[47])(void);
} vectors = {
    stack_end,
    {reset, fault, fault, FOUR(fault), FOUR(nothing), nothing, nothing, nothing, board_tick,
     FOUR(board_interrupt), FOUR(board_interrupt), FOUR(board_interrupt), FOUR(board_interrupt),
     FOUR(board_interrupt), FOUR(board_interrupt), FOUR(board_interrupt), FOUR(board_interrupt)},
};
