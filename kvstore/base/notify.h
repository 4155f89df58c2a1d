/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a program tells who supervises it: systemd's protocol for Type=notify, datagrams to the
 * socket that $NOTIFY_SOCKET names. Where there is none nothing is done. Never blocks; what cannot
 * be sent is lost.
 */
#ifndef KVP_NOTIFY_H
#define KVP_NOTIFY_H

#include <stdbool.h>
#include <stdint.h>

bool kvp_notify_wanted(void);
/* Assignments, one a line: "READY=1", "STATUS=primary". */
void kvp_notify(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* "WATCHDOG=1" is to be told so often: half of the time after which this process would be taken for
 * dead. 0: nobody waits for it. */
uint64_t kvp_notify_feed_us(void);

#endif
