/* SPDX-License-Identifier: Apache-2.0 */
#include "replication/net/await_address.h"
#include "replication/net/sp_listen.h"

#include <stdio.h>
#include <time.h>

#define LOOK_EVERY_MS 500
#define TELL_MIN_S    5u
#define TELL_MAX_S    320u

static void await_rest(void)
{
    const struct timespec time = {.tv_nsec = LOOK_EVERY_MS * 1000000L};
    (void)nanosleep(&time, NULL);
}

void kvp_await_address(const char *program, const char *url)
{
    struct sp_address address;
    struct sp_listener listener;
    unsigned pause_s = TELL_MIN_S;
    time_t tell = 0;
    if (sp_address_parse(url, &address) != KVP_OK || address.kind != SP_ADDRESS_TCP) {
        return;
    }
    while (sp_listen_open(&address, &listener) == KVP_UNAVAILABLE) {
        struct timespec now;
        (void)clock_gettime(CLOCK_MONOTONIC, &now);
        if (now.tv_sec >= tell) {
            fprintf(stderr, "%s: cannot listen on %s yet: %s; waiting for it\n", program, url,
                    listener.reason);
            tell = now.tv_sec + pause_s;
            pause_s = 2 * pause_s < TELL_MAX_S ? 2 * pause_s : TELL_MAX_S;
        }
        await_rest();
    }
    sp_listen_close(&listener);
}
