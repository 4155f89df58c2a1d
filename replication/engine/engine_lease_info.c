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

struct lease_list {
    kvp_buf entries; /* encoded */
    uint32_t count;
};

static kvp_status list_lease(struct kvp_engine *engine, uint64_t lease, struct lease_list *list)
{
    struct lease_record record;
    kvp_buf bytes = {0};
    kvp_status status = info_read(engine, lease, &bytes, &record);
    if (status == KVP_NOT_FOUND) { /* it has ended since */
        kvp_buf_free(&bytes);
        return KVP_OK;
    }
    list->count++;
    status = status == KVP_OK ? kvp_wire_map(&list->entries, 5) : status;
    status = status == KVP_OK ? info_head(engine, lease, &record, &list->entries) : status;
    status = status == KVP_OK ? info_owner(&record, &list->entries) : status;
    kvp_buf_free(&bytes);
    return status;
}

/* Those above one that the state has, in their order: a lease's number is that of the entry which
 * granted it, and those of one key come behind all others. */
static kvp_status list_stored(struct kvp_engine *engine, struct kvp_state_view *view,
                              uint64_t above, struct lease_list *list)
{
    struct kvp_raw_key from, to;
    kvp_slice key, value;
    uint64_t lease;
    lease_key(&from, above < LEASE_OF_ONE_MIN ? above + 1 : LEASE_OF_ONE_MIN);
    lease_key(&to, LEASE_OF_ONE_MIN);
    kvp_status status = kvp_state_view_seek(view, kvp_raw_key_slice(&from), kvp_raw_key_slice(&to));
    while (status == KVP_OK && list->count < LIST_LEASES_MAX) {
        status = kvp_state_view_read(view, &key, &value);
        if (status == KVP_OK && !lease_key_decode(key, &lease)) {
            status = KVP_CORRUPT;
        }
        status = status == KVP_OK ? list_lease(engine, lease, list) : status;
        kvp_state_view_next(view);
    }
    return status == KVP_NOT_FOUND ? KVP_OK : status;
}

/* And those that were granted since: by this node, so it knows them. */
static kvp_status list_granted(struct kvp_engine *engine, uint64_t above, struct lease_list *list)
{
    kvp_status status = KVP_OK;
    for (uint64_t seq = above + 1;
         seq <= engine->executed && list->count < LIST_LEASES_MAX && status == KVP_OK; seq++) {
        if (lease_index_find(&engine->leases.index, seq) != NULL) {
            status = list_lease(engine, seq, list);
        }
    }
    return status;
}

kvp_status kvp_engine_lease_list(struct kvp_engine *engine, uint64_t above, kvp_buf *answer)
{
    struct lease_list list = {.count = 0};
    struct kvp_state_view *view = kvp_storage_snapshot(engine->storage);
    if (view == NULL) {
        return KVP_NO_MEMORY;
    }
    uint64_t applied = kvp_state_view_point(view).seq;
    kvp_status status = list_stored(engine, view, above, &list);
    kvp_state_view_close(view);
    if (status == KVP_OK) {
        status = list_granted(engine, above > applied ? above : applied, &list);
    }
    status = status == KVP_OK ? kvp_wire_array(answer, list.count) : status;
    status =
        status == KVP_OK ? kvp_buf_append(answer, list.entries.data, list.entries.size) : status;
    kvp_buf_free(&list.entries);
    return status;
}
