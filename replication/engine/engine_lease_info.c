/* SPDX-License-Identifier: Apache-2.0 */
/* What leases look like from outside. */
#include "replication/engine/engine_state.h"
#include "replication/engine/lease_record.h"
#include "replication/wire/wire.h"

#define SHOW_KEYS_MAX   1024u /* names in one answer; */
#define SHOW_SLOTS_MAX  4096u /* and slots that are looked at for them */
#define LIST_LEASES_MAX 256u

static kvp_status info_count(kvp_buf *out, const char *name, uint64_t number)
{
    kvp_status status = kvp_wire_string(out, name);
    return status == KVP_OK ? kvp_wire_uint(out, number) : status;
}

static uint64_t info_left_ms(const struct kvp_engine *engine, uint64_t lease)
{
    const struct lease_timer *timer = lease_index_find(&engine->leases.index, lease);
    uint64_t now_us = engine_lease_now(engine);
    return timer != NULL && timer->deadline_us > now_us ? (timer->deadline_us - now_us) / 1000 : 0;
}

static kvp_status info_read(struct kvp_engine *engine, uint64_t lease, kvp_buf *bytes,
                            struct lease_record *record)
{
    struct kvp_raw_key key;
    lease_key(&key, lease);
    kvp_status status = engine_record_get(engine, kvp_raw_key_slice(&key), bytes);
    if (status == KVP_OK) {
        status = lease_record_decode(kvp_buf_slice(bytes), record);
    }
    return status == KVP_OK ? engine_lease_warm(engine, lease) : status;
}

/* Four members of a map. */
static kvp_status info_head(const struct kvp_engine *engine, uint64_t lease,
                            const struct lease_record *record, kvp_buf *out)
{
    kvp_status status = info_count(out, "lease", record->of_one ? 0 : lease);
    if (status == KVP_OK) {
        status = info_count(out, "ttl_ms", record->ttl_ms);
    }
    if (status == KVP_OK) {
        status = info_count(out, "left_ms", info_left_ms(engine, lease));
    }
    return status == KVP_OK ? info_count(out, "keys", record->of_one ? 1 : record->keys) : status;
}

static kvp_status info_owner(const struct lease_record *record, kvp_buf *out)
{
    kvp_status status = kvp_wire_string(out, "granted_to");
    return status == KVP_OK ? kvp_wire_text(out, record->name) : status;
}

/* The names that may be shown, into `names`; *count: how many. */
static kvp_status info_names(struct kvp_engine *engine, uint64_t lease,
                             const struct lease_record *record,
                             const struct kvp_lease_reader *reader, kvp_buf *names, uint32_t *count)
{
    struct kvp_raw_key raw;
    kvp_buf bytes = {0};
    kvp_status status = KVP_OK;
    *count = 0;
    for (uint32_t i = 0; i < record->slots && i < SHOW_SLOTS_MAX && *count < SHOW_KEYS_MAX; i++) {
        struct lease_slot slot;
        lease_key_slot(&raw, lease, i);
        bytes.size = 0;
        status = engine_record_get(engine, kvp_raw_key_slice(&raw), &bytes);
        if (status == KVP_OK) {
            status = lease_slot_decode(kvp_buf_slice(&bytes), &slot);
        }
        if (status != KVP_OK) {
            break;
        }
        if (slot.key.size > 0 &&
            (reader->may_read == NULL || reader->may_read(reader->arg, slot.key))) {
            status = kvp_wire_result_bin(names, slot.key);
            ++*count;
        }
    }
    kvp_buf_free(&bytes);
    return status == KVP_NOT_FOUND ? KVP_CORRUPT : status;
}

static kvp_status info_of_lease(struct kvp_engine *engine, uint64_t lease,
                                const struct kvp_lease_reader *reader, kvp_buf *answer)
{
    struct lease_record record;
    kvp_buf bytes = {0}, names = {0};
    uint32_t count = 0;
    kvp_status status =
        lease_is_of_one(lease) ? KVP_NOT_FOUND : info_read(engine, lease, &bytes, &record);
    if (status == KVP_OK) {
        status = info_names(engine, lease, &record, reader, &names, &count);
    }
    status = status == KVP_OK ? kvp_wire_map(answer, 6) : status;
    status = status == KVP_OK ? info_head(engine, lease, &record, answer) : status;
    status = status == KVP_OK ? info_owner(&record, answer) : status;
    status = status == KVP_OK ? kvp_wire_string(answer, "names") : status;
    status = status == KVP_OK ? kvp_wire_array(answer, count) : status;
    status = status == KVP_OK ? kvp_buf_append(answer, names.data, names.size) : status;
    kvp_buf_free(&names);
    kvp_buf_free(&bytes);
    return status;
}

/* Of a key that is there: a map of four; all 0 where it does not end by itself. */
static kvp_status info_of_key(struct kvp_engine *engine, kvp_slice key, kvp_buf *answer)
{
    struct engine_value present;
    struct lease_record record = {.name = key};
    kvp_buf bytes = {0};
    kvp_status status = engine_look(engine, key, &present);
    if (status != KVP_OK || !present.present) {
        return status == KVP_OK ? KVP_NOT_FOUND : status;
    }
    if (present.lease != 0) {
        status = info_read(engine, present.lease, &bytes, &record);
        status = status == KVP_NOT_FOUND ? KVP_CORRUPT : status;
    }
    status = status == KVP_OK ? kvp_wire_map(answer, 4) : status;
    status = status == KVP_OK ? info_head(engine, present.lease, &record, answer) : status;
    kvp_buf_free(&bytes);
    return status;
}

kvp_status kvp_engine_lease_show(struct kvp_engine *engine, uint64_t lease, kvp_slice key,
                                 const struct kvp_lease_reader *reader, kvp_buf *answer)
{
    return lease != 0 ? info_of_lease(engine, lease, reader, answer)
                      : info_of_key(engine, key, answer);
}

/* ---- the list ---- */

/* The smallest numbers above one, in their order; returns how many. */
static uint32_t list_choose(const struct lease_index *index, uint64_t above,
                            uint64_t chosen[LIST_LEASES_MAX])
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < index->count; i++) {
        const struct lease_timer *timer = &index->timers[index->heap[i]];
        uint32_t at = count;
        if (timer->of_one || timer->lease <= above ||
            (count == LIST_LEASES_MAX && timer->lease > chosen[count - 1])) {
            continue;
        }
        count += count < LIST_LEASES_MAX;
        for (at = at < LIST_LEASES_MAX ? at : LIST_LEASES_MAX - 1;
             at > 0 && chosen[at - 1] > timer->lease; at--) {
            chosen[at] = chosen[at - 1];
        }
        chosen[at] = timer->lease;
    }
    return count;
}

static kvp_status list_lease(struct kvp_engine *engine, uint64_t lease, kvp_buf *answer)
{
    struct lease_record record;
    kvp_buf bytes = {0};
    kvp_status status = info_read(engine, lease, &bytes, &record);
    status = status == KVP_NOT_FOUND ? KVP_CORRUPT : status;
    status = status == KVP_OK ? kvp_wire_map(answer, 5) : status;
    status = status == KVP_OK ? info_head(engine, lease, &record, answer) : status;
    status = status == KVP_OK ? info_owner(&record, answer) : status;
    kvp_buf_free(&bytes);
    return status;
}

kvp_status kvp_engine_lease_list(struct kvp_engine *engine, uint64_t above, kvp_buf *answer)
{
    uint64_t chosen[LIST_LEASES_MAX];
    if (engine->leases.view != NULL) {
        return KVP_UNAVAILABLE;
    }
    uint32_t count = list_choose(&engine->leases.index, above, chosen);
    kvp_status status = kvp_wire_array(answer, count);
    for (uint32_t i = 0; i < count && status == KVP_OK; i++) {
        status = list_lease(engine, chosen[i], answer);
    }
    return status;
}
