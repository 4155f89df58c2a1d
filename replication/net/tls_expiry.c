/* SPDX-License-Identifier: Apache-2.0 */
#include "replication/net/tls_expiry.h"

#include <time.h>

#define DAY_S 86400

/* The step that so many days are in: fewer of them are a higher one. */
static unsigned expiry_step(int64_t days)
{
    return days < 0 ? 4 : days < 1 ? 3 : days < 7 ? 2 : days < 30 ? 1 : 0;
}

void kvp_tls_expiry_watch(struct kvp_tls_expiry *expiry, const struct kvp_logger *logger,
                          int64_t not_after)
{
    int64_t left_s = not_after - (int64_t)time(NULL);
    int64_t days = left_s < 0 ? -1 : left_s / DAY_S;
    unsigned told = expiry->not_after == not_after ? expiry_step(expiry->days) : 0;
    if (expiry_step(days) <= told) {
        return;
    }
    expiry->not_after = not_after;
    expiry->days = days;
    kvp_log(logger, days < 7 ? KVP_LOG_ERROR : KVP_LOG_WARN,
            days < 0 ? "certificate_expired" : "certificate_expires",
            "days=%lld hint=\"renew it (kvcli cert renew), put it in place, and send SIGHUP\"",
            (long long)days);
}
