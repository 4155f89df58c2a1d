/* SPDX-License-Identifier: Apache-2.0 */
/* What the firmware wants of a board. */
#ifndef FIRMWARE_BOARD_H
#define FIRMWARE_BOARD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A board does this. */
void board_init(void);
void board_tick(void);      /* the core's timer */
void board_interrupt(void); /* any other interrupt */
uint32_t board_now_ms(void);
void board_sleep(void); /* until something happens, a millisecond at most */
void board_alive(
    void); /* winds the watchdog up: it resets the board BOARD_WATCHDOG_S after the last time */
uint32_t board_random(void);        /* 0: the board has nothing random */
void board_print(const char *text); /* where no debugger is; may do nothing */

/* The serial line. */
size_t board_read(void *data, size_t size);
size_t board_write(const void *data, size_t size);

#ifndef BOARD_WATCHDOG_S
#define BOARD_WATCHDOG_S 60u
#endif

/* And startup.c this. For people, and for tests: the debugger's channel (semihosting) where there
 * is a debugger, which the first use finds out; else board_print(). */
void board_log(const char *text);
void board_log_number(uint32_t number);
void board_exit(unsigned code); /* ends an emulator; without a debugger nothing more happens */
void board_restart(void);
/* What no other start of any board has had. On real hardware: the chip's serial number, and a
 * counter in flash or a generator of random numbers. */
void board_seed(uint32_t seed[4]);

/* Bytes of stack that have been in use so far. */
uint32_t stack_used(void);

#endif
