/* SPDX-License-Identifier: Apache-2.0 */
/* A lease becomes known to a new primary, and is kept. */
#include "replication/engine/engine_state.h"
#include "kvstore/base/mutant.h"
#include "replication/engine/lease_record.h"

/* Since this node became primary it cannot have had more than its full time. */
static void leases_know(struct kvp_engine *engine, uint64_t lease,
                        const struct lease_record *record)
{
    uint64_t full_us = engine->leases.began_us + record->ttl_ms * 1000;
    uint64_t deadline_us = record->ends                                      ? 0
                           : record->of_one && record->deadline_us < full_us ? record->deadline_us
                                                                             : full_us;
    if (KVP_MUTANT(LEASE_SHORTENED) && !record->of_one) {
        deadline_us -= record->ttl_ms * 500;
    }
    lease_index_set(&engine->leases.index, lease, deadline_us, record->ttl_ms, record->of_one);
}

kvp_status engine_lease_warm(struct kvp_engine *engine, uint64_t lease)
{
    struct lease_record record;
    struct kvp_raw_key key;
    kvp_buf bytes = {0};
    if (engine->leases.view == NULL || lease_index_find(&engine->leases.index, lease) != NULL) {
        return KVP_OK;
    }
    lease_key(&key, lease);
    kvp_status status = engine_record_get(engine, kvp_raw_key_slice(&key), &bytes);
    if (status == KVP_OK) {
        status = lease_record_decode(kvp_buf_slice(&bytes), &record);
    }
    if (status == KVP_OK) {
        status = lease_index_reserve(&engine->leases.index, 1);
    }
    if (status == KVP_OK) {
        leases_know(engine, lease, &record);
    }
    kvp_buf_free(&bytes);
    return status == KVP_NOT_FOUND ? KVP_OK : status;
}

kvp_status kvp_engine_lease_keep(struct kvp_engine *engine, uint64_t lease, uint64_t *ttl_ms)
{
    kvp_status status = engine_lease_warm(engine, lease);
    const struct lease_timer *timer = lease_index_find(&engine->leases.index, lease);
    if (status != KVP_OK || timer == NULL || timer->of_one || timer->deadline_us == 0) {
        return status != KVP_OK ? status : KVP_NOT_FOUND;
    }
    *ttl_ms = timer->ttl_ms;
    if (!KVP_MUTANT(LEASE_NOT_KEPT)) {
        lease_index_set(&engine->leases.index, lease,
                        engine_lease_now(engine) + timer->ttl_ms * 1000, timer->ttl_ms, false);
    }
    return KVP_OK;
}
