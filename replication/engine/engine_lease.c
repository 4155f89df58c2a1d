/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Leases: granted, given keys, kept, revoked. What is replicated is which keys end with which
 * lease; when that is, is the primary's to know, but for keys with a time of their own.
 *
 * A lease may have many keys, each in a slot: what a key's record says of its lease is where to
 * find it there. So whatever happens to a key costs some reads and writes of records, however many
 * keys there are. A key with a time of its own has a lease of one key, which has no slots.
 */
#include "replication/engine/engine_state.h"
#include "kvstore/base/mutant.h"
#include "replication/access/access.h"
#include "replication/engine/lease_record.h"
#include "replication/wire/wire.h"

#include <string.h>

#define MS_US 1000u

uint64_t engine_lease_now(const struct kvp_engine *engine)
{
    const struct engine_leases *leases = &engine->leases;
    return leases->clock_us +
           (engine->now_us > leases->seen_us ? engine->now_us - leases->seen_us : 0);
}

/* ---- records ---- */

/* `bytes` holds what the record points to. */
static kvp_status lease_read(struct kvp_engine *engine, uint64_t lease, kvp_buf *bytes,
                             struct lease_record *record)
{
    struct kvp_raw_key key;
    lease_key(&key, lease);
    bytes->size = 0;
    kvp_status status = engine_record_get(engine, kvp_raw_key_slice(&key), bytes);
    return status == KVP_OK ? lease_record_decode(kvp_buf_slice(bytes), record) : status;
}

/* So that what is written can be followed (engine_leases_follow()), which must not fail. One that a
 * new primary has not read yet is as new to the index as one that is made here. */
static kvp_status lease_reserve(struct kvp_engine *engine, uint64_t lease)
{
    struct engine_leases *leases = &engine->leases;
    if (lease_index_find(&leases->index, lease) != NULL || KVP_MUTANT(LEASE_UNREAD)) {
        return KVP_OK;
    }
    return lease_index_reserve(&leases->index, ++leases->unread);
}

static kvp_status lease_write(struct kvp_engine *engine, uint64_t lease,
                              const struct lease_record *record)
{
    struct kvp_raw_key key;
    kvp_buf bytes = {0};
    lease_key(&key, lease);
    kvp_status status = lease_reserve(engine, lease);
    status = status == KVP_OK ? lease_record_encode(record, &bytes) : status;
    if (status == KVP_OK) {
        status = engine_record_put(engine, kvp_raw_key_slice(&key), &bytes);
    }
    kvp_buf_free(&bytes);
    engine->leases.changed = true;
    return status;
}

static kvp_status lease_delete(struct kvp_engine *engine, uint64_t lease)
{
    struct kvp_raw_key key;
    lease_key(&key, lease);
    engine->leases.changed = true;
    return engine_record_delete(engine, kvp_raw_key_slice(&key));
}

static kvp_status slot_read(struct kvp_engine *engine, uint64_t lease, uint32_t number,
                            kvp_buf *bytes, struct lease_slot *slot)
{
    struct kvp_raw_key key;
    lease_key_slot(&key, lease, number);
    bytes->size = 0;
    kvp_status status = engine_record_get(engine, kvp_raw_key_slice(&key), bytes);
    if (status == KVP_NOT_FOUND) {
        return KVP_CORRUPT; /* the lease says that it is there */
    }
    return status == KVP_OK ? lease_slot_decode(kvp_buf_slice(bytes), slot) : status;
}

static kvp_status slot_write(struct kvp_engine *engine, uint64_t lease, uint32_t number,
                             const struct lease_slot *slot)
{
    struct kvp_raw_key key;
    kvp_buf bytes = {0};
    lease_key_slot(&key, lease, number);
    kvp_status status = lease_slot_encode(slot, &bytes);
    if (status == KVP_OK) {
        status = engine_record_put(engine, kvp_raw_key_slice(&key), &bytes);
    }
    kvp_buf_free(&bytes);
    return status;
}

static kvp_status lease_refuse(struct kvp_engine *engine, kvp_status status, const char *reason)
{
    engine->leases.refusal = reason;
    return status;
}

static bool lease_has_room(const struct kvp_engine *engine)
{
    uint32_t most = engine->config.leases_max ? engine->config.leases_max : KVP_LEASES_MAX;
    return engine->leases.index.count + engine->leases.made < most;
}

/* One more is made. */
static kvp_status lease_make(struct kvp_engine *engine)
{
    if (!lease_has_room(engine)) {
        return lease_refuse(engine, KVP_TOO_LARGE,
                            "there are as many leases as there may be: some have to end first");
    }
    engine->leases.made++;
    return KVP_OK;
}

/* ---- keys of leases ---- */

/* A free slot, or a new one, gets the key. */
static kvp_status lease_fill_slot(struct kvp_engine *engine, uint64_t lease,
                                  struct lease_record *record, kvp_slice key, uint32_t *number)
{
    struct lease_slot slot;
    kvp_buf bytes = {0};
    kvp_status status = KVP_OK;
    *number = record->free;
    if (record->free == LEASE_NO_SLOT) {
        *number = record->slots++;
    } else {
        status = slot_read(engine, lease, record->free, &bytes, &slot);
        record->free = status == KVP_OK ? slot.next : record->free;
        kvp_buf_free(&bytes);
    }
    record->keys++;
    slot = (struct lease_slot){.key = key};
    return status == KVP_OK ? slot_write(engine, lease, *number, &slot) : status;
}

/* `hold`: that of the key already, if it has this lease. */
static kvp_status lease_join(struct kvp_engine *engine, uint64_t lease, kvp_slice key,
                             const struct engine_value *present, struct engine_hold *hold)
{
    struct lease_record record;
    kvp_buf bytes = {0};
    kvp_status status =
        lease_is_of_one(lease) ? KVP_NOT_FOUND : lease_read(engine, lease, &bytes, &record);
    *hold = (struct engine_hold){present->lease, present->slot};
    if (status == KVP_NOT_FOUND || (status == KVP_OK && record.ends)) {
        status = lease_refuse(engine, KVP_NOT_FOUND,
                              "there is no such lease: it has ended, or never was");
    } else if (status == KVP_OK && present->lease != lease && record.keys >= KVP_LEASE_KEYS_MAX) {
        status = lease_refuse(engine, KVP_TOO_LARGE, "the lease has 65536 keys: no more fit");
    } else if (status == KVP_OK && present->lease != lease) {
        hold->lease = lease;
        status = lease_fill_slot(engine, lease, &record, key, &hold->slot);
        status = status == KVP_OK ? lease_write(engine, lease, &record) : status;
    }
    kvp_buf_free(&bytes);
    return status;
}

/* A lease of this key alone: the one that it has, or a new one. */
static kvp_status lease_of_key(struct kvp_engine *engine, kvp_slice key, uint64_t ttl_ms,
                               uint64_t seq, const struct engine_value *present,
                               struct engine_hold *hold)
{
    bool has_one = lease_is_of_one(present->lease);
    kvp_status status = has_one ? KVP_OK : lease_make(engine);
    if (status != KVP_OK) {
        return status;
    }
    struct lease_record record = {.of_one = true,
                                  .ttl_ms = ttl_ms,
                                  .deadline_us = engine_lease_now(engine) + ttl_ms * MS_US,
                                  .free = LEASE_NO_SLOT,
                                  .name = key};
    hold->slot = 0;
    hold->lease =
        has_one ? present->lease : seq | (uint64_t)engine->leases.made << LEASE_OF_ONE_SHIFT;
    return lease_write(engine, hold->lease, &record);
}

kvp_status engine_lease_leave(struct kvp_engine *engine, const struct engine_value *present)
{
    struct lease_record record;
    kvp_buf bytes = {0};
    if (KVP_MUTANT(LEASE_CROSSED)) {
        return KVP_OK;
    }
    if (lease_is_of_one(present->lease)) {
        return lease_delete(engine, present->lease);
    }
    kvp_status status = lease_read(engine, present->lease, &bytes, &record);
    if (status == KVP_OK && (present->slot >= record.slots || record.keys == 0)) {
        status = KVP_CORRUPT;
    }
    if (status == KVP_OK) {
        const struct lease_slot slot = {.next = record.free};
        record.free = present->slot;
        record.keys--;
        status = slot_write(engine, present->lease, present->slot, &slot);
    }
    status = status == KVP_OK ? lease_write(engine, present->lease, &record) : status;
    kvp_buf_free(&bytes);
    return status == KVP_NOT_FOUND ? KVP_CORRUPT : status;
}

kvp_status engine_put_wish(struct kvp_engine *engine, kvp_slice key, kvp_slice value,
                           struct engine_wish wish, uint64_t seq,
                           const struct engine_value *present)
{
    struct engine_hold hold = {0};
    kvp_status status = KVP_OK;
    if (wish.lease != 0) {
        status = lease_join(engine, wish.lease, key, present, &hold);
    } else if (wish.ttl_ms == 0 && KVP_MUTANT(LEASE_STAYS)) {
        hold = (struct engine_hold){present->lease, present->slot};
    } else if (wish.ttl_ms != 0) {
        status = lease_of_key(engine, key, wish.ttl_ms, seq, present, &hold);
    }
    if (status == KVP_OK && present->lease != 0 && present->lease != hold.lease) {
        status = engine_lease_leave(engine, present);
    }
    return status == KVP_OK ? engine_put(engine, key, value, seq, present, hold) : status;
}

/* ---- whose it is ---- */

/* Counts one more, or one less. KVP_TOO_LARGE. */
static kvp_status lease_count(struct kvp_engine *engine, kvp_slice name, bool more)
{
    struct kvp_raw_key key;
    kvp_buf bytes = {0};
    uint32_t count = 0;
    if (name.size == 0) {
        return KVP_OK; /* without TLS nobody is told apart */
    }
    lease_key_identity(&key, name);
    kvp_status status = engine_record_get(engine, kvp_raw_key_slice(&key), &bytes);
    if (status == KVP_OK) {
        count = bytes.size == sizeof(count) ? kvp_get_u32(bytes.data) : 0;
    } else if (status != KVP_NOT_FOUND) {
        return status;
    }
    if (more && count >= KVP_LEASES_OWNED_MAX) {
        kvp_buf_free(&bytes);
        return lease_refuse(engine, KVP_TOO_LARGE, "you have 65536 leases: no more fit");
    }
    count = more ? count + 1 : count > 0 ? count - 1 : 0;
    bytes.size = 0;
    uint8_t written[sizeof(count)];
    kvp_put_u32(written, count);
    status = count > 0 ? kvp_buf_append(&bytes, written, sizeof(written)) : KVP_OK;
    if (status == KVP_OK) {
        status = count > 0 ? engine_record_put(engine, kvp_raw_key_slice(&key), &bytes)
                           : engine_record_delete(engine, kvp_raw_key_slice(&key));
    }
    kvp_buf_free(&bytes);
    return status;
}

kvp_status kvp_engine_lease_owner(struct kvp_engine *engine, uint64_t lease, kvp_buf *owner)
{
    struct lease_record record;
    kvp_buf bytes = {0};
    kvp_status status =
        lease_is_of_one(lease) ? KVP_NOT_FOUND : lease_read(engine, lease, &bytes, &record);
    if (status == KVP_OK) {
        status = kvp_buf_append(owner, record.name.data, record.name.size);
    }
    kvp_buf_free(&bytes);
    return status;
}

/* ---- granting and ending ---- */

static kvp_status lease_grant(struct kvp_engine *engine, const struct kvp_request *request,
                              uint64_t seq, struct kvp_execution *execution)
{
    char name[KVP_ACCESS_NAME_SIZE] = "";
    if (request->asker != NULL) {
        (void)kvp_access_print(request->asker, name);
    }
    struct lease_record record = {
        .ttl_ms = request->ttl_ms, .free = LEASE_NO_SLOT, .name = kvp_slice_of(name, strlen(name))};
    kvp_status status = lease_make(engine);
    if (status == KVP_OK) {
        status = lease_count(engine, record.name, true);
    }
    if (status == KVP_OK) {
        status = lease_write(engine, seq, &record);
    }
    return status == KVP_OK ? kvp_wire_result_uint(&execution->answer, seq) : status;
}

/* A key that still has this lease goes. */
static kvp_status lease_end_key(struct kvp_engine *engine, uint64_t lease, kvp_slice key)
{
    struct engine_value present;
    kvp_status status = engine_look(engine, key, &present);
    if (KVP_MUTANT(LEASE_KEY_STAYS)) {
        return status;
    }
    if (status == KVP_OK && present.present &&
        (present.lease == lease || KVP_MUTANT(LEASE_CROSSED))) {
        status = engine_delete(engine, key);
    }
    return status;
}

static kvp_status lease_end_slots(struct kvp_engine *engine, uint64_t lease,
                                  struct lease_record *record, uint32_t *budget)
{
    struct lease_slot slot;
    struct kvp_raw_key raw;
    kvp_buf bytes = {0};
    kvp_status status = KVP_OK;
    while (status == KVP_OK && record->slots > 0 && *budget > 0) {
        uint32_t number = record->slots - 1;
        status = slot_read(engine, lease, number, &bytes, &slot);
        if (status == KVP_OK && slot.key.size > 0) {
            status = lease_end_key(engine, lease, slot.key);
            record->keys -= record->keys > 0;
        }
        if (status == KVP_OK) {
            lease_key_slot(&raw, lease, number);
            status = engine_record_delete(engine, kvp_raw_key_slice(&raw));
        }
        record->slots = number;
        --*budget;
    }
    kvp_buf_free(&bytes);
    return status;
}

/* Of many keys: those that fit the budget; it is gone with the last. */
static kvp_status lease_end_many(struct kvp_engine *engine, uint64_t lease,
                                 struct lease_record *record, uint32_t *budget, bool *ended)
{
    kvp_status status = lease_end_slots(engine, lease, record, budget);
    *ended = record->slots == 0;
    if (status != KVP_OK || *ended) {
        status = status == KVP_OK ? lease_count(engine, record->name, false) : status;
        return status == KVP_OK ? lease_delete(engine, lease) : status;
    }
    /* No slot is given away any more, and those that are free and still there lie below. */
    record->ends = true;
    record->free = LEASE_NO_SLOT;
    return lease_write(engine, lease, record);
}

kvp_status engine_lease_end(struct kvp_engine *engine, uint64_t lease, uint32_t *budget,
                            bool *ended)
{
    struct lease_record record;
    kvp_buf bytes = {0};
    kvp_status status = lease_read(engine, lease, &bytes, &record);
    *ended = true;
    *budget -= *budget > 0;
    if (status == KVP_OK && record.of_one) {
        status = lease_end_key(engine, lease, record.name);
        status = status == KVP_OK ? lease_delete(engine, lease) : status;
    } else if (status == KVP_OK) {
        status = lease_end_many(engine, lease, &record, budget, ended);
    }
    kvp_buf_free(&bytes);
    return status == KVP_NOT_FOUND ? KVP_OK : status;
}

#define REVOKE_AT_ONCE 1024u

static kvp_status lease_revoke(struct kvp_engine *engine, const struct kvp_request *request,
                               struct kvp_execution *execution)
{
    struct lease_record record;
    kvp_buf bytes = {0};
    uint32_t budget = REVOKE_AT_ONCE;
    bool ended;
    kvp_status status = lease_is_of_one(request->lease)
                            ? KVP_NOT_FOUND
                            : lease_read(engine, request->lease, &bytes, &record);
    kvp_buf_free(&bytes);
    if (status == KVP_NOT_FOUND || (status == KVP_OK && record.ends)) {
        execution->status = KVP_NOT_FOUND;
        return KVP_OK;
    }
    return status == KVP_OK ? engine_lease_end(engine, request->lease, &budget, &ended) : status;
}

kvp_status engine_lease(struct kvp_engine *engine, const struct kvp_request *request, uint64_t seq,
                        struct kvp_execution *execution)
{
    if (request->op == KVP_OP_LEASE_REVOKE) {
        return lease_revoke(engine, request, execution);
    }
    kvp_status status = lease_grant(engine, request, seq, execution);
    if (engine->leases.refusal != NULL && status == KVP_TOO_LARGE) {
        execution->status = status;
        return kvp_wire_result_string(&execution->answer, engine->leases.refusal);
    }
    return status;
}

/* ---- the index ---- */

void engine_leases_follow(struct kvp_engine *engine)
{
    struct lease_index *index = &engine->leases.index;
    for (const struct overlay_version *v = engine->overlay.newest->first; v != NULL; v = v->next) {
        struct lease_record record;
        uint64_t lease;
        if (!lease_key_decode(kvp_slice_of(v->key->data, v->key->size), &lease)) {
            continue;
        }
        if (v->is_delete || lease_record_decode(kvp_buf_slice(&v->raw), &record) != KVP_OK) {
            lease_index_remove(index, lease);
            continue;
        }
        const struct lease_timer *known = lease_index_find(index, lease);
        uint64_t deadline_us = record.of_one   ? record.deadline_us
                               : record.ends   ? 0
                               : known != NULL ? known->deadline_us
                                               : engine_lease_now(engine) + record.ttl_ms * MS_US;
        lease_index_set(index, lease, deadline_us, record.ttl_ms, record.of_one);
    }
}
