/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Changes of the list of members. A change is an update like others; what makes it one of a row is
 * that it begins with what the one before has made, and only when that is committed.
 */
#include "replication/engine/engine_state.h"
#include "replication/wire/members.h"
#include "replication/wire/wire.h"

static kvp_status members_refuse(struct kvp_execution *execution, kvp_status status,
                                 const char *reason)
{
    execution->status = status;
    return kvp_wire_result_string(&execution->answer, reason);
}

/* The list that is committed; where there is none, what the request brings. */
static kvp_status members_read(struct kvp_engine *engine, const struct kvp_request *request,
                               struct kvp_members *members)
{
    struct kvp_raw_key key;
    kvp_raw_key_members(&key);
    const struct overlay_version *version =
        overlay_find(&engine->overlay, kvp_raw_key_slice(&key), engine->committed);
    if (version != NULL) {
        return kvp_members_decode(kvp_slice_of(version->raw.data, version->raw.size), members);
    }
    kvp_buf record = {0};
    kvp_status status = kvp_storage_get(engine->storage, kvp_raw_key_slice(&key), &record);
    if (status == KVP_OK) {
        status = kvp_members_decode(kvp_buf_slice(&record), members);
    } else if (status == KVP_NOT_FOUND) {
        status = kvp_members_decode(request->value, members);
    }
    kvp_buf_free(&record);
    return status;
}

static bool members_pending(const struct kvp_engine *engine)
{
    struct kvp_raw_key key;
    kvp_raw_key_members(&key);
    const struct overlay_version *newest =
        overlay_find(&engine->overlay, kvp_raw_key_slice(&key), UINT64_MAX);
    return newest != NULL && newest->seq > engine->committed;
}

static kvp_status members_write(struct kvp_engine *engine, const struct kvp_members *members,
                                struct kvp_execution *execution)
{
    struct kvp_raw_key key;
    kvp_buf record = {0};
    kvp_raw_key_members(&key);
    kvp_status status = kvp_members_encode(members, &record);
    if (status == KVP_OK) {
        status = overlay_set(&engine->overlay, kvp_raw_key_slice(&key), &record, false);
    }
    kvp_buf_free(&record);
    return status == KVP_OK ? kvp_wire_result_uint(&execution->answer, members->version) : status;
}

kvp_status engine_members(struct kvp_engine *engine, const struct kvp_request *request,
                          struct kvp_execution *execution)
{
    const struct kvp_member_change change = {.what = request->member.what,
                                             .id = request->member.id,
                                             .new_id = request->member.new_id,
                                             .kind = request->member.kind,
                                             .url = request->key};
    struct kvp_members members = {0};
    const char *reason = "";
    if (members_pending(engine)) {
        return members_refuse(execution, KVP_BUSY, "a change of members is under way");
    }
    kvp_status status = members_read(engine, request, &members);
    if (status == KVP_BAD_VERSION || status == KVP_CORRUPT) {
        return members_refuse(execution, KVP_REFUSED,
                              "the list of members is of a newer release: all nodes have to be of "
                              "that");
    }
    if (status != KVP_OK) {
        return status;
    }
    status = kvp_members_change(&members, &change, &reason);
    return status == KVP_OK ? members_write(engine, &members, execution)
                            : members_refuse(execution, status, reason);
}
