/* SPDX-License-Identifier: Apache-2.0 */
/* What the nodes of the story say to each other and to the witness. */
#include "tests/wire/samples_parts.h"
#include "kvstore/keyspace.h"
#include "kvstore/writeset.h"
#include "replication/wire/mp_writer.h"
#include "replication/wire/peer_wire.h"
#include "replication/wire/wire.h"

/* ---- the witness ---- */

static struct kvp_view view_of(uint64_t version, uint64_t epoch, unsigned primary,
                               kvp_node_set in_sync)
{
    return (struct kvp_view){version, epoch, (uint8_t)primary, in_sync};
}

static struct kvp_witness_request witness_of(unsigned op)
{
    return (struct kvp_witness_request){
        .op = op, .group = text("default"), .epoch = EPOCH, .from = 2, .group_id = GROUP_ID};
}

void register_get(kvp_buf *out)
{
    struct kvp_witness_request request = witness_of(KVP_OP_REGISTER_GET);
    must(kvp_wire_witness_encode(&request, out));
}

void register_cas(kvp_buf *out)
{
    struct kvp_witness_request request = witness_of(KVP_OP_REGISTER_CAS);
    request.expected = 8;
    request.view = view_of(9, 6, 2, kvp_set_of(2));
    must(kvp_wire_witness_encode(&request, out));
}

void register_seed(kvp_buf *out)
{
    struct kvp_witness_request request = witness_of(KVP_OP_REGISTER_SEED);
    request.view = view_of(8, EPOCH, 1, kvp_set_of(1) | kvp_set_of(2));
    must(kvp_wire_witness_encode(&request, out));
}

void register_answer(kvp_buf *out)
{
    kvp_buf result = {0};
    struct kvp_view view = view_of(8, EPOCH, 1, kvp_set_of(1) | kvp_set_of(2));
    must(kvp_wire_result_register(&result, GROUP_ID, &view, 0));
    put_answer(out, KVP_OK, "", &result);
}

void register_unknown_answer(kvp_buf *out)
{
    kvp_buf result = {0};
    struct kvp_answer answer = {.status = KVP_NOT_SEEDED};
    must(kvp_wire_answer_encode(&answer, out));
    kvp_buf_free(&result);
}

/* ---- peers ---- */

static const struct kvp_point start_point = {41, EPOCH, 0x1111111111111111u};

static void put_peer(kvp_buf *out, struct kvp_peer_request *request)
{
    request->from = 1;
    request->to = 2;
    request->group_id = GROUP_ID;
    request->sent_us = 1000000;
    request->view = view_of(8, EPOCH, 1, kvp_set_of(1) | kvp_set_of(2));
    must(kvp_peer_request_encode(request, text("default"), out));
}

static struct kvp_peer_report report_of(void)
{
    return (struct kvp_peer_report){
        .role = KVP_ROLE_BACKUP,
        .view = view_of(8, EPOCH, 1, kvp_set_of(1) | kvp_set_of(2)),
        .tail = start_point,
        .commit = {40, EPOCH, 0x2222222222222222u},
        .received = 43,
        .member_epoch = EPOCH,
        .incarnation = 77,
        .grace_us = 500000,
    };
}

void peer_state(kvp_buf *out)
{
    struct kvp_peer_request request = {.op = KVP_OP_STATE, .report = report_of()};
    put_peer(out, &request);
}

void peer_heartbeat(kvp_buf *out)
{
    struct kvp_peer_request request = {
        .op = KVP_OP_HEARTBEAT, .commit = start_point, .prepare = true, .forced = 3};
    request.incarnation = 77;
    put_peer(out, &request);
}

/* Entry 42 puts "lamp", entry 43 deletes it. */
void peer_append(kvp_buf *out)
{
    struct kvp_peer_request request = {.op = KVP_OP_APPEND,
                                       .prev = start_point,
                                       .commit = start_point,
                                       .lead_epoch = EPOCH,
                                       .end = 43,
                                       .entry_count = 2};
    struct kvp_point previous = start_point;
    for (unsigned i = 0; i < 2; i++) {
        kvp_buf set = {0};
        kvp_buf record = {0};
        const struct kvp_record stored = {12, 42, text("on")};
        must(kvp_record_encode(&stored, &record));
        must(i == 0 ? kvp_writeset_put(&set, text("Dlamp"), kvp_buf_slice(&record))
                    : kvp_writeset_delete(&set, text("Dlamp")));
        struct kvp_entry *entry = kvp_entry_new(set.size);
        if (entry == NULL) {
            must(KVP_NO_MEMORY);
            return;
        }
        memcpy(entry->payload, set.data, set.size);
        kvp_entry_chain(entry, previous, EPOCH);
        previous = entry->point;
        request.entries[i] = entry;
        kvp_buf_free(&set);
        kvp_buf_free(&record);
    }
    put_peer(out, &request);
    kvp_peer_request_release(&request);
}

void peer_snapshot(kvp_buf *out)
{
    static const uint8_t chunk[] = {1, 0, 0, 0, 8, 0, 0, 0, 'E', 40, 0, 0, 0, 0, 0, 0, 0};
    struct kvp_peer_request request = {.op = KVP_OP_SNAPSHOT,
                                       .snapshot = 77,
                                       .index = 3,
                                       .last = true,
                                       .point = start_point,
                                       .chunk = kvp_slice_of(chunk, sizeof(chunk))};
    put_peer(out, &request);
}

void peer_ask_view(kvp_buf *out)
{
    struct kvp_peer_request request = {
        .op = KVP_OP_ASK_VIEW, .expected = 8, .proposed = view_of(65, 65, 1, kvp_set_of(1))};
    put_peer(out, &request);
}

void peer_leave(kvp_buf *out)
{
    struct kvp_peer_request request = {.op = KVP_OP_LEAVE};
    put_peer(out, &request);
}

void peer_resign(kvp_buf *out)
{
    struct kvp_peer_request request = {.op = KVP_OP_RESIGN};
    put_peer(out, &request);
}

void peer_reply(kvp_buf *out)
{
    struct kvp_peer_reply reply = {.code = KVP_OK,
                                   .op = KVP_OP_APPEND,
                                   .from = 2,
                                   .group_id = GROUP_ID,
                                   .echo_us = 1000000,
                                   .report = report_of()};
    must(kvp_peer_reply_encode(&reply, out));
}

void peer_blank_reply(kvp_buf *out)
{
    struct kvp_peer_reply reply = {
        .code = KVP_STALE_VIEW, .op = KVP_OP_HEARTBEAT, .from = 3, .echo_us = 1000000};
    reply.report = (struct kvp_peer_report){.blank = true, .incarnation = 78, .grace_us = 500000};
    must(kvp_peer_reply_encode(&reply, out));
}
