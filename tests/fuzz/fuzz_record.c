/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes as what is kept in a store: a write set, a data record, a session record, the key of
 * one. What is read must be written as the same bytes: these forms have one way to say a thing.
 */
#include "tests/fuzz/fuzz.h"
#include "kvstore/keyspace.h"
#include "kvstore/writeset.h"
#include "replication/wire/members.h"

#include <stdio.h>
#include <stdlib.h>

static void must(bool condition, const char *what)
{
    if (!condition) {
        fprintf(stderr, "%s\n", what);
        abort();
    }
}

static void same(kvp_buf *made, kvp_slice bytes)
{
    must(kvp_slice_compare(kvp_buf_slice(made), bytes) == 0, "written as other bytes than read");
    kvp_buf_free(made);
}

static void try_writeset(kvp_slice bytes)
{
    struct kvp_writeset_iter iter;
    struct kvp_batch_op op;
    kvp_buf made = {0};
    kvp_status status;
    kvp_writeset_begin(&iter, bytes);
    while ((status = kvp_writeset_next(&iter, &op)) == KVP_OK) {
        status = op.is_delete ? kvp_writeset_delete(&made, op.key)
                              : kvp_writeset_put(&made, op.key, op.value);
        must(status == KVP_OK, "an operation that was read cannot be written");
    }
    bool sound = kvp_writeset_check(bytes) == KVP_OK;
    must(sound == (status == KVP_NOT_FOUND), "check and iterator disagree");
    if (sound) {
        same(&made, bytes);
    }
    kvp_buf_free(&made);
}

static void try_records(kvp_slice bytes)
{
    struct kvp_record record;
    struct kvp_session_record session;
    struct kvp_raw_key raw;
    uint64_t client;
    uint16_t slot;
    kvp_buf made = {0};
    if (kvp_record_decode(bytes, &record) == KVP_OK) {
        must(kvp_record_encode(&record, &made) == KVP_OK, "record");
        same(&made, bytes);
    }
    if (kvp_session_decode(bytes, &session) == KVP_OK) {
        must(kvp_session_encode(&session, &made) == KVP_OK, "session");
        same(&made, bytes);
    }
    if (kvp_session_key_decode(bytes, &client, &slot) == KVP_OK) {
        kvp_raw_key_session(&raw, client, slot);
        must(kvp_slice_compare(kvp_raw_key_slice(&raw), bytes) == 0, "session key");
    }
}

/* The list of members: what is read is written so again, and every change leaves one that is. */
static void try_members(kvp_slice bytes)
{
    struct kvp_members members = {0}, again;
    const struct kvp_member_change change = {.what = bytes.size % 5,
                                             .id = 1 + bytes.size % 9,
                                             .new_id = 7,
                                             .kind = KVP_MEMBER_DATA,
                                             .url = kvp_slice_of("tcp://a:1", 9)};
    const char *reason = "";
    kvp_buf made = {0};
    if (kvp_members_decode(bytes, &members) != KVP_OK) {
        return;
    }
    must(kvp_members_encode(&members, &made) == KVP_OK, "members");
    same(&made, bytes);
    made.size = 0;
    if (kvp_members_change(&members, &change, &reason) == KVP_OK) {
        must(kvp_members_encode(&members, &made) == KVP_OK &&
                 kvp_members_decode(kvp_buf_slice(&made), &again) == KVP_OK,
             "changed members");
    }
    kvp_buf_free(&made);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    kvp_slice bytes = kvp_slice_of(data, size);
    (void)kvp_raw_key_is_state(bytes);
    try_writeset(bytes);
    try_records(bytes);
    try_members(bytes);
    return 0;
}
