/* SPDX-License-Identifier: Apache-2.0 */
/* Locks: a key that is created with a lease, and watched by whoever waits. */
#include "client/client_priv.h"
#include "kvpair/kvp_lock.h"
#include "kvstore/base/clock.h"

/* So often a wait is broken off, to see that the lease is still there. */
#define LOCK_LOOK_MS 5000u

/* The present holder: *own, it is this lease. KVP_NOT_FOUND: nobody, meanwhile. It is the same
 * holder before and after the lease was looked at: else it might be this one's lease, which has
 * ended since, and another one's version. */
static kvp_status lock_look(kvp_client *client, kvp_slice name, uint64_t lease, bool *own,
                            uint64_t *version, kvp_result *result)
{
    uint64_t of = 0;
    kvp_status status = kvp_get(client, name, result);
    uint64_t before = result->version;
    if (status == KVP_OK) {
        kvp_result_free(result);
        status = kvp_key_left(client, name, NULL, &of, result);
    }
    if (status == KVP_OK) {
        kvp_result_free(result);
        status = kvp_get(client, name, result);
    }
    *version = result->version;
    *own = of == lease && *version == before;
    return status;
}

/* Until it is deleted after that version, or the time is over, or it is better to ask again. */
static kvp_status lock_wait(kvp_client *client, kvp_slice name, uint64_t version, uint64_t until_us,
                            kvp_result *result)
{
    kvp_watch *watch = NULL;
    kvp_event event = {.create_revision = 1};
    uint64_t now_us = kvp_clock_now_us(), begun_us = now_us;
    kvp_status status = kvp_watch_open_key(client, name, version + 1, false, &watch, result);
    while (status == KVP_OK && event.create_revision != 0 && now_us < until_us &&
           now_us - begun_us < LOCK_LOOK_MS * 1000u) {
        uint64_t left_ms = (until_us - now_us) / 1000 + 1;
        kvp_status next = kvp_watch_next(
            watch, left_ms < LOCK_LOOK_MS ? (uint32_t)left_ms : LOCK_LOOK_MS, &event);
        status = next == KVP_OK || next == KVP_TIMEOUT ? KVP_OK : next;
        now_us = kvp_clock_now_us();
    }
    kvp_watch_close(watch);
    return status == KVP_COMPACTED ? KVP_OK : status;
}

/* One try. KVP_EXISTS: another one has it, in that *version. */
static kvp_status lock_try(kvp_client *client, kvp_slice name, kvp_slice value, uint64_t lease,
                           uint64_t *version, kvp_result *result)
{
    bool own = false;
    kvp_status status = kvp_create_held(client, name, value, 0, lease, result);
    *version = result->version;
    if (status != KVP_EXISTS) {
        return status;
    }
    kvp_result_free(result);
    status = lock_look(client, name, lease, &own, version, result);
    return status != KVP_OK ? status : own ? KVP_OK : KVP_EXISTS;
}

kvp_status kvp_lock_acquire(kvp_client *client, kvp_slice name, kvp_slice value, uint64_t lease,
                            uint32_t timeout_ms, uint64_t *fence, kvp_result *result)
{
    kvp_result own_result = {0};
    kvp_result *told = result != NULL ? result : &own_result;
    uint64_t until_us = kvp_clock_now_us() + (uint64_t)timeout_ms * 1000, version = 0;
    kvp_status status = client_require(client != NULL && fence != NULL && lease != 0, result);
    if (status != KVP_OK) {
        return status;
    }
    for (;;) {
        status = lock_try(client, name, value, lease, &version, told);
        bool freed = status == KVP_NOT_FOUND &&
                     kvp_lease_keep(client, lease, NULL, NULL) == KVP_OK; /* it is the key */
        if ((status != KVP_EXISTS && !freed) || kvp_clock_now_us() >= until_us) {
            break;
        }
        kvp_result_free(told);
        status = freed ? KVP_OK : lock_wait(client, name, version, until_us, told);
        if (status != KVP_OK) {
            break;
        }
        kvp_result_free(told);
    }
    if (status == KVP_OK) {
        *fence = version;
    }
    told->status = status;
    kvp_result_free(result == NULL ? told : NULL);
    return status;
}

kvp_status kvp_lock_release(kvp_client *client, kvp_slice name, uint64_t fence, kvp_result *result)
{
    kvp_status status = client_require(client != NULL && fence != 0, result);
    return status == KVP_OK ? kvp_delete(client, name, fence, result) : status;
}
