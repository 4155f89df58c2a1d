/* SPDX-License-Identifier: Apache-2.0 */
/* Records of the state other than keys: the overlay above the store. */
#include "replication/engine/engine_state.h"

kvp_status engine_record_get(struct kvp_engine *engine, kvp_slice raw_key, kvp_buf *value)
{
    const struct overlay_version *version = overlay_find(&engine->overlay, raw_key, UINT64_MAX);
    if (version == NULL) {
        return kvp_storage_get(engine->storage, raw_key, value);
    }
    return version->is_delete ? KVP_NOT_FOUND
                              : kvp_buf_append(value, version->raw.data, version->raw.size);
}

kvp_status engine_record_put(struct kvp_engine *engine, kvp_slice raw_key, kvp_buf *value)
{
    return overlay_set(&engine->overlay, raw_key, value, false);
}

kvp_status engine_record_delete(struct kvp_engine *engine, kvp_slice raw_key)
{
    kvp_buf none = {0};
    return overlay_set(&engine->overlay, raw_key, &none, true);
}
