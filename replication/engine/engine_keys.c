/* SPDX-License-Identifier: Apache-2.0 */
/* Keys as whoever executes sees them, the overlay above the store, and what may be a key or a
 * value. */
#include "replication/engine/engine_state.h"
#include "kvstore/writeset.h"

#include <string.h>

kvp_status engine_check_key(kvp_slice key, const char **reason)
{
    if (key.size == 0) {
        *reason = "the key is empty";
        return KVP_BAD_REQUEST;
    }
    *reason = "the key is longer than 1024 bytes";
    return key.size > KVP_KEY_SIZE_MAX ? KVP_TOO_LARGE : KVP_OK;
}

kvp_status engine_check_value(kvp_slice value, const char **reason)
{
    *reason = "the value is longer than 1 MiB";
    return value.size > KVP_VALUE_SIZE_MAX ? KVP_TOO_LARGE : KVP_OK;
}

static kvp_status key_decode(kvp_slice raw, struct engine_value *value)
{
    struct kvp_record record;
    kvp_status status = kvp_record_decode(raw, &record);
    if (status == KVP_OK) {
        *value = (struct engine_value){true,         record.create_revision, record.modify_revision,
                                       record.value, record.lease,           record.slot};
    }
    return status;
}

/*
 * A key at `seq`: the newest version that the overlay has up to there, else what the store has. The
 * disk thread applies entries while this runs, but only committed ones, in their order, and a
 * version leaves the overlay only after it was applied. So what is found in the store is never
 * older than a version that the overlay has given up, and where the overlay has none up to `seq`
 * the store has nothing newer than the committed point: two reads never go back in time.
 */
static kvp_status key_look_at(struct kvp_engine *engine, kvp_slice key, uint64_t seq,
                              struct engine_value *value)
{
    struct kvp_raw_key raw;
    kvp_raw_key_data(&raw, key);
    const struct overlay_version *version =
        overlay_find(&engine->overlay, kvp_raw_key_slice(&raw), seq);
    memset(value, 0, sizeof(*value));
    if (version != NULL) {
        return version->is_delete ? KVP_OK : key_decode(kvp_buf_slice(&version->raw), value);
    }
    engine->scratch.size = 0;
    kvp_status status = kvp_storage_get(engine->storage, kvp_raw_key_slice(&raw), &engine->scratch);
    if (status == KVP_NOT_FOUND) {
        return KVP_OK;
    }
    return status == KVP_OK ? key_decode(kvp_buf_slice(&engine->scratch), value) : status;
}

kvp_status engine_look(struct kvp_engine *engine, kvp_slice key, struct engine_value *value)
{
    return key_look_at(engine, key, UINT64_MAX, value);
}

kvp_status kvp_engine_get(struct kvp_engine *engine, kvp_slice key, kvp_buf *value,
                          struct kvp_record_versions *versions)
{
    struct engine_value found;
    kvp_status status = key_look_at(engine, key, engine->committed, &found);
    if (status == KVP_OK && !found.present) {
        return KVP_NOT_FOUND;
    }
    if (status == KVP_OK) {
        status = kvp_buf_append(value, found.value.data, found.value.size);
    }
    if (status == KVP_OK) {
        versions->create_revision = found.create_revision;
        versions->modify_revision = found.modify_revision;
    }
    return status;
}

kvp_status engine_put(struct kvp_engine *engine, kvp_slice key, kvp_slice value, uint64_t seq,
                      const struct engine_value *present, struct engine_hold hold)
{
    struct kvp_raw_key raw_key;
    kvp_buf raw = {0};
    struct kvp_record record = {present->present ? present->create_revision : seq, seq, value,
                                hold.lease, hold.slot};
    kvp_raw_key_data(&raw_key, key);
    kvp_status status = kvp_record_encode(&record, &raw);
    if (status == KVP_OK) {
        status = overlay_set(&engine->overlay, kvp_raw_key_slice(&raw_key), &raw, false);
    }
    kvp_buf_free(&raw);
    return status;
}

kvp_status engine_delete(struct kvp_engine *engine, kvp_slice key)
{
    struct kvp_raw_key raw_key;
    kvp_buf none = {0};
    kvp_raw_key_data(&raw_key, key);
    return overlay_set(&engine->overlay, kvp_raw_key_slice(&raw_key), &none, true);
}

kvp_status engine_collect(const struct kvp_engine *engine, kvp_buf *set)
{
    kvp_status status = KVP_OK;
    for (const struct overlay_version *v = engine->overlay.newest->first;
         v != NULL && status == KVP_OK; v = v->next) {
        kvp_slice key = kvp_slice_of(v->key->data, v->key->size);
        status = v->is_delete ? kvp_writeset_delete(set, key)
                              : kvp_writeset_put(set, key, kvp_buf_slice(&v->raw));
    }
    return status;
}
