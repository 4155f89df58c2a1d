/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Connections through a modem with AT commands: an ESP8266 or ESP32 with Espressif's ESP-AT
 * firmware, on a serial line. C99, freestanding, no heap, no globals.
 *
 * The line to the modem has no checksums. Bytes that it loses break a connection, or show in the
 * client's frames; a flipped bit in a value that is read does not show. Use hardware flow control
 * where there is some, or no more than 115200 baud.
 */
#ifndef KVMCU_PORT_AT_H
#define KVMCU_PORT_AT_H

#include "kvmcu.h"
#include "kvmcu_line.h"

#ifdef __cplusplus
extern "C" {
#endif

#define KVMCU_AT_OUT_MAX 256u /* bytes in one command to send; at most 2048 */

struct kvmcu_at {
    struct kvmcu_transport transport; /* for kvmcu_config */
    const struct kvmcu_line *line;
    const char *const *urls;
    const char *const *setup; /* commands after each start of the modem, like AT+CWJAP="net","word";
                                 the last is NULL */
    void (*reset)(
        void *arg); /* of the line: pulls the modem's reset; NULL: there is no such wire */
    uint32_t since_ms;
    uint32_t in_left; /* bytes of data that come before the next word */
    uint16_t out_size, out_at, chunk;
    uint8_t phase, setup_at, tries, failures, address, flags, in_size;
    char in[24];
    uint8_t out[KVMCU_AT_OUT_MAX + 24];
};

/* The modem may be in any state. */
void kvmcu_at_init(struct kvmcu_at *modem, const struct kvmcu_line *line, const char *const *urls,
                   const char *const *setup, void (*reset)(void *arg));

#ifdef __cplusplus
}
#endif

#endif
