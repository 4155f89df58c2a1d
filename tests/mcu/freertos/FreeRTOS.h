/* SPDX-License-Identifier: Apache-2.0 */
/* What the example uses of FreeRTOS's interface (version 10), to compile it where there is none. */
#ifndef TEST_FREERTOS_H
#define TEST_FREERTOS_H

#include <stdint.h>

typedef long BaseType_t;
typedef unsigned long UBaseType_t;
typedef uint32_t TickType_t;
typedef uint16_t configSTACK_DEPTH_TYPE;

#define configTICK_RATE_HZ ((TickType_t)1000)
#define portTICK_PERIOD_MS ((TickType_t)1000 / configTICK_RATE_HZ)
#define pdMS_TO_TICKS(ms)  ((TickType_t)(((TickType_t)(ms)*configTICK_RATE_HZ) / (TickType_t)1000))

#endif
