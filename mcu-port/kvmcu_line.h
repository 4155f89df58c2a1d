/* SPDX-License-Identifier: Apache-2.0 */
/* A board's serial line, as port_uart.h and port_at.h need it. No function waits. */
#ifndef KVMCU_LINE_H
#define KVMCU_LINE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct kvmcu_line {
    size_t (*read)(void *arg, void *data, size_t size);        /* how many bytes there were */
    size_t (*write)(void *arg, const void *data, size_t size); /* how many were taken */
    uint32_t (*now_ms)(void *arg);
    void (*idle)(void *arg); /* NULL: nothing */
    void *arg;
};

#ifdef __cplusplus
}
#endif

#endif
