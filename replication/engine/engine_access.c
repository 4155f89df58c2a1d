/* SPDX-License-Identifier: Apache-2.0 */
/* Rights are given, taken and shown; and what of the state rights are decided by. */
#include "replication/access/access.h"
#include "replication/access/rights_record.h"
#include "replication/engine/engine_state.h"
#include "replication/jobs/job_records.h"
#include "replication/wire/mp_reader.h"
#include "replication/wire/wire.h"

#include <string.h>

static kvp_status access_read(struct kvp_engine *engine, const struct kvp_raw_key *key,
                              kvp_buf *value)
{
    const struct overlay_version *version =
        overlay_find(&engine->overlay, kvp_raw_key_slice(key), engine->committed);
    if (version == NULL) {
        return kvp_storage_get(engine->storage, kvp_raw_key_slice(key), value);
    }
    return version->is_delete ? KVP_NOT_FOUND
                              : kvp_buf_append(value, version->raw.data, version->raw.size);
}

kvp_status kvp_engine_rights(struct kvp_engine *engine, kvp_buf *record)
{
    struct kvp_raw_key key;
    kvp_raw_key_rights(&key);
    kvp_status status = access_read(engine, &key, record);
    return status == KVP_NOT_FOUND ? KVP_OK : status;
}

kvp_status kvp_engine_job_owner(struct kvp_engine *engine, uint64_t job, kvp_buf *owner)
{
    struct kvp_raw_key key;
    job_key_owner(&key, job);
    return access_read(engine, &key, owner);
}

/* As whoever executes sees it. */
static kvp_status access_look_up(struct kvp_engine *engine, kvp_buf *record)
{
    struct kvp_raw_key key;
    kvp_raw_key_rights(&key);
    const struct overlay_version *version =
        overlay_find(&engine->overlay, kvp_raw_key_slice(&key), UINT64_MAX);
    if (version != NULL) {
        return kvp_buf_append(record, version->raw.data, version->raw.size);
    }
    kvp_status status = kvp_storage_get(engine->storage, kvp_raw_key_slice(&key), record);
    return status == KVP_NOT_FOUND ? KVP_OK : status;
}

static kvp_status access_refuse(struct kvp_execution *execution, kvp_status status,
                                const char *reason)
{
    execution->status = status;
    return kvp_wire_result_string(&execution->answer, reason);
}

/* The engine goes on where only this request cannot be executed. */
static kvp_status access_fail(struct kvp_execution *execution, kvp_status status,
                              const char *reason)
{
    bool unknown = status == KVP_BAD_VERSION || status == KVP_CORRUPT;
    return unknown ? access_refuse(execution, KVP_REFUSED,
                                   "the record of rights is of a newer release: all nodes have to "
                                   "be of that")
           : status == KVP_TOO_LARGE || status == KVP_BAD_REQUEST
               ? access_refuse(execution, status, reason)
               : status;
}

/* ["read app/", ...] as a list. KVP_BAD_REQUEST with a reason; KVP_NO_MEMORY. */
static kvp_status access_take_rights(kvp_slice array, kvp_buf *list, const char **reason)
{
    struct kvp_mp_reader reader;
    uint8_t room[KVP_KEY_SIZE_MAX];
    struct kvp_right right;
    kvp_mp_begin(&reader, array);
    uint32_t count = kvp_mp_array(&reader);
    kvp_status status = KVP_OK;
    *reason = "at most 64 rights at once";
    if (count > KVP_RIGHTS_OF_ONE_MAX) {
        return KVP_BAD_REQUEST;
    }
    for (uint32_t i = 0; i < count && status == KVP_OK; i++) {
        kvp_slice text = kvp_mp_str(&reader);
        status = kvp_right_parse(text, room, &right, reason) == KVP_OK ? KVP_OK : KVP_BAD_REQUEST;
        if (status == KVP_OK) {
            status = kvp_rights_append(list, &right);
        }
    }
    if (status == KVP_OK && !kvp_mp_done(&reader)) {
        *reason = "rights are an array of str";
        status = KVP_BAD_REQUEST;
    }
    return status;
}

static kvp_status access_write(struct kvp_engine *engine, kvp_buf *record)
{
    struct kvp_raw_key key;
    kvp_raw_key_rights(&key);
    return overlay_set(&engine->overlay, kvp_raw_key_slice(&key), record, false);
}

static kvp_status access_change(struct kvp_engine *engine, const struct kvp_request *request,
                                struct kvp_execution *execution)
{
    kvp_buf record = {0}, list = {0}, out = {0};
    const char *reason = "whose rights? node/N, witness/NAME, user/NAME or worker/NAME";
    kvp_status status = kvp_access_is_name(request->key) ? KVP_OK : KVP_BAD_REQUEST;
    if (status == KVP_OK) {
        status = access_take_rights(request->value, &list, &reason);
    }
    if (status == KVP_OK && request->force && list.size == 0) {
        reason = "which right is to be granted?";
        status = KVP_BAD_REQUEST;
    }
    if (status == KVP_OK) {
        status = access_look_up(engine, &record);
    }
    if (status == KVP_OK) {
        const struct kvp_rights_change change = {request->key, request->force,
                                                 kvp_buf_slice(&list)};
        status = kvp_rights_record_change(kvp_buf_slice(&record), &change, &out, &reason);
    }
    if (status == KVP_OK) {
        status = access_write(engine, &out);
    }
    kvp_buf_free(&record);
    kvp_buf_free(&list);
    kvp_buf_free(&out);
    return status == KVP_OK ? KVP_OK : access_fail(execution, status, reason);
}

/* ---- showing ---- */

static kvp_status access_print(kvp_buf *out, const struct kvp_rights_entry *entry)
{
    struct kvp_right right;
    uint32_t count = 0;
    kvp_buf text = {0};
    for (kvp_slice list = entry->list; kvp_rights_next(&list, &right); count++) {
    }
    kvp_status status = kvp_wire_map(out, 2);
    if (status == KVP_OK) {
        status = kvp_wire_string(out, "identity");
    }
    if (status == KVP_OK) {
        status = kvp_wire_text(out, entry->name);
    }
    if (status == KVP_OK) {
        status = kvp_wire_string(out, "rights");
    }
    if (status == KVP_OK) {
        status = kvp_wire_array(out, count);
    }
    for (kvp_slice list = entry->list; status == KVP_OK && kvp_rights_next(&list, &right);) {
        text.size = 0;
        status = kvp_right_print(&right, &text);
        if (status == KVP_OK) {
            status = kvp_wire_text(out, kvp_buf_slice(&text));
        }
    }
    kvp_buf_free(&text);
    return status;
}

static kvp_status access_list(struct kvp_engine *engine, struct kvp_execution *execution)
{
    struct kvp_rights_entry entry;
    kvp_buf record = {0};
    kvp_slice rest;
    uint32_t count = 0;
    kvp_status status = access_look_up(engine, &record);
    if (status == KVP_OK) {
        status = kvp_rights_record_begin(kvp_buf_slice(&record), &rest);
    }
    if (status == KVP_OK) {
        for (kvp_slice counted = rest; kvp_rights_record_next(&counted, &entry); count++) {
        }
        status = kvp_wire_array(&execution->answer, count);
    }
    while (status == KVP_OK && kvp_rights_record_next(&rest, &entry)) {
        status = access_print(&execution->answer, &entry);
    }
    kvp_buf_free(&record);
    return status == KVP_OK ? KVP_OK : access_fail(execution, status, "");
}

kvp_status engine_access(struct kvp_engine *engine, const struct kvp_request *request,
                         struct kvp_execution *execution)
{
    return request->op == KVP_OP_ACCESS_CHANGE ? access_change(engine, request, execution)
                                               : access_list(engine, execution);
}
