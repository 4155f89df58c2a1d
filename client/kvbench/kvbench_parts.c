/* SPDX-License-Identifier: Apache-2.0 */
/* What all files of kvbench use: complaints, exit statuses, the clock, numbers in JSON. */
#include "client/kvbench/kvbench.h"

#include <stdarg.h>
#include <stdio.h>
#include <time.h>

volatile sig_atomic_t bench_signal;

int bench_complain(const char *format, ...)
{
    va_list arguments;
    fputs("kvbench: ", stderr);
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    return EXIT_USAGE;
}

int bench_exit_status(kvp_status status)
{
    switch (status) {
    case KVP_OK:
        return EXIT_DONE;
    case KVP_BAD_ARGUMENT:
    case KVP_BAD_REQUEST:
    case KVP_TOO_LARGE:
        return EXIT_USAGE;
    case KVP_REFUSED:
    case KVP_WRONG_GROUP:
        return EXIT_REFUSED;
    default:
        return EXIT_NOTHING;
    }
}

uint64_t bench_now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

void bench_sleep_ms(unsigned ms)
{
    struct timespec time = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};
    (void)nanosleep(&time, NULL);
}

void bench_add_number(cJSON *object, const char *name, double value, int decimals)
{
    char text[64];
    (void)snprintf(text, sizeof(text), "%.*f", decimals, value);
    (void)cJSON_AddRawToObject(object, name, text);
}
