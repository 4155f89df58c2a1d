/* SPDX-License-Identifier: Apache-2.0 */
/* Firmware that does not last: it faults at once, or hangs. */
#include "board.h"

int main(void)
{
    board_log("start\n");
#ifndef BAD_HANGS
    __asm__ volatile("udf #0");
#endif
    for (;;) {
    }
}
