/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Peer messages to bytes and back. One function (check_request) knows what a request may say, and
 * both directions go through it: whatever can be encoded can be decoded. Memory is taken for log
 * entries only, each as large as the payload that is really there and only after it was found to be
 * sound.
 */
#include "replication/wire/peer_wire.h"
#include "kvstore/writeset.h"
#include "replication/wire/wire_parts.h"

#include <assert.h>
#include <zlib.h>

#define HEAD_SIZE            9u /* elements of a request before the args */
#define REPLY_SIZE           5u /* elements of the result of a reply */
#define REPLY_TOLD_SIZE      7u /* with which store answers, and which one it knows */
#define REPORT_SIZE          11u
#define CODE_MAX             255
#define REPORT_FLAGS_MAX     15u
#define HEARTBEAT_FLAGS_MAX  3u
#define REPORT_BLANK         1u
#define REPORT_LOG_REGRESSED 2u
#define REPORT_UNSETTLED     4u
#define REPORT_KNOWN         8u
#define HEARTBEAT_PREPARE    1u
#define HEARTBEAT_DIVERGED   2u

/* There are many of them, and HEARTBEAT says the rest of a store's numbers. */
static bool carries_data(unsigned op)
{
    return op == KVP_OP_APPEND || op == KVP_OP_SNAPSHOT;
}

static bool is_node_id(unsigned id)
{
    return id >= 1 && id <= KVP_NODE_ID_MAX;
}

/* ---- limits ---- */

static bool report_is_sound(const struct kvp_peer_report *report)
{
    return report->role <= KVP_ROLE_STOPPED && kvp_wire_view_is_sound(&report->view);
}

/* No entry is behind the end of the sender's log; so no seq can overflow either. */
static kvp_status check_append(const struct kvp_peer_request *request, size_t count,
                               const char **reason)
{
    if (count > KVP_APPEND_COUNT_MAX) {
        return kvp_wire_refuse(KVP_TOO_LARGE, "more than 1024 entries", reason);
    }
    if (request->prev.seq > request->end || request->end - request->prev.seq < count) {
        return kvp_wire_refuse(KVP_BAD_REQUEST, "entries after the end of the log", reason);
    }
    return KVP_OK;
}

static kvp_status peer_check_request(const struct kvp_peer_request *request, kvp_slice group,
                                     const char **reason)
{
    kvp_status status = kvp_wire_check_group(group, reason);
    if (status != KVP_OK) {
        return status;
    }
    if (!is_node_id(request->from) || !is_node_id(request->to)) {
        return kvp_wire_refuse(KVP_BAD_REQUEST, "node ids are 1 to 63", reason);
    }
    if (!kvp_wire_view_is_sound(&request->view)) {
        return kvp_wire_refuse(KVP_BAD_REQUEST, "unsound view", reason);
    }
    if (request->op == KVP_OP_STATE && !report_is_sound(&request->report)) {
        return kvp_wire_refuse(KVP_BAD_REQUEST, "unsound report", reason);
    }
    if (request->op == KVP_OP_ASK_VIEW &&
        (request->proposed.primary == 0 || !kvp_wire_view_is_sound(&request->proposed))) {
        return kvp_wire_refuse(KVP_BAD_REQUEST, "the view asked for has no primary", reason);
    }
    return request->op == KVP_OP_APPEND ? check_append(request, request->entry_count, reason)
                                        : KVP_OK;
}

/* ---- parts ---- */

static void write_point(struct kvp_mp_writer *writer, const struct kvp_point *point)
{
    kvp_mp_write_array(writer, 3);
    kvp_mp_write_uint(writer, point->seq);
    kvp_mp_write_uint(writer, point->epoch);
    kvp_mp_write_uint(writer, point->hash);
}

static struct kvp_point take_point(struct kvp_mp_reader *reader)
{
    struct kvp_point point;
    kvp_mp_array_of(reader, 3);
    point.seq = kvp_mp_uint_max(reader, KVP_WIRE_NUMBER_END - 1);
    point.epoch = kvp_mp_uint_max(reader, KVP_WIRE_NUMBER_END - 1);
    point.hash = kvp_mp_uint(reader);
    return point;
}

static void write_report(struct kvp_mp_writer *writer, const struct kvp_peer_report *report)
{
    kvp_mp_write_array(writer, REPORT_SIZE);
    kvp_mp_write_uint(writer, report->role);
    kvp_mp_write_uint(writer, (report->blank ? REPORT_BLANK : 0u) |
                                  (report->log_regressed ? REPORT_LOG_REGRESSED : 0u) |
                                  (report->unsettled ? REPORT_UNSETTLED : 0u) |
                                  (report->known ? REPORT_KNOWN : 0u));
    kvp_wire_write_view(writer, &report->view);
    write_point(writer, &report->tail);
    write_point(writer, &report->commit);
    kvp_mp_write_uint(writer, report->received);
    kvp_mp_write_uint(writer, report->member_epoch);
    kvp_mp_write_uint(writer, report->snapshot);
    kvp_mp_write_uint(writer, report->wanted);
    kvp_mp_write_uint(writer, report->incarnation);
    kvp_mp_write_uint(writer, report->grace_us);
}

static struct kvp_peer_report take_report(struct kvp_mp_reader *reader)
{
    struct kvp_peer_report report;
    kvp_mp_array_of(reader, REPORT_SIZE);
    report.role = (uint8_t)kvp_mp_uint_max(reader, KVP_ROLE_STOPPED);
    uint64_t flags = kvp_mp_uint_max(reader, REPORT_FLAGS_MAX);
    report.blank = (flags & REPORT_BLANK) != 0;
    report.log_regressed = (flags & REPORT_LOG_REGRESSED) != 0;
    report.unsettled = (flags & REPORT_UNSETTLED) != 0;
    report.known = (flags & REPORT_KNOWN) != 0;
    report.view = kvp_wire_take_view(reader);
    report.tail = take_point(reader);
    report.commit = take_point(reader);
    report.received = kvp_mp_uint(reader);
    report.member_epoch = kvp_mp_uint(reader);
    report.snapshot = kvp_mp_uint(reader);
    report.wanted = kvp_mp_uint(reader);
    report.incarnation = kvp_mp_uint(reader);
    report.grace_us = kvp_mp_uint_max(reader, KVP_WIRE_NUMBER_END - 1);
    return report;
}

static uint32_t peer_checksum(kvp_slice chunk)
{
    uLong crc = crc32_z(0L, Z_NULL, 0);
    return (uint32_t)(chunk.size == 0 ? crc : crc32_z(crc, chunk.data, chunk.size));
}

/* ---- encoding requests ---- */

static void write_append(struct kvp_mp_writer *writer, const struct kvp_peer_request *request)
{
    write_point(writer, &request->prev);
    write_point(writer, &request->commit);
    kvp_mp_write_uint(writer, request->lead_epoch);
    kvp_mp_write_uint(writer, request->end);
    kvp_mp_write_array(writer, (uint32_t)request->entry_count);
    for (size_t i = 0; i < request->entry_count; i++) {
        const struct kvp_entry *entry = request->entries[i];
        assert(entry->point.seq == request->prev.seq + 1 + i);
        kvp_mp_write_array(writer, 3);
        kvp_mp_write_uint(writer, entry->point.epoch);
        kvp_mp_write_uint(writer, entry->point.hash);
        kvp_mp_write_bin(writer, kvp_slice_of(entry->payload, entry->size));
    }
}

static void write_snapshot(struct kvp_mp_writer *writer, const struct kvp_peer_request *request)
{
    kvp_mp_write_uint(writer, request->snapshot);
    kvp_mp_write_uint(writer, request->index);
    kvp_mp_write_bool(writer, request->last);
    write_point(writer, &request->point);
    kvp_mp_write_bin(writer, request->chunk);
    kvp_mp_write_uint(writer, peer_checksum(request->chunk));
}

static void write_args(struct kvp_mp_writer *writer, const struct kvp_peer_request *request)
{
    switch (request->op) {
    case KVP_OP_STATE:
        write_report(writer, &request->report);
        break;
    case KVP_OP_HEARTBEAT:
        write_point(writer, &request->commit);
        kvp_mp_write_uint(writer, (request->prepare ? HEARTBEAT_PREPARE : 0u) |
                                      (request->diverged ? HEARTBEAT_DIVERGED : 0u));
        kvp_mp_write_uint(writer, request->incarnation);
        kvp_mp_write_uint(writer, request->forced);
        break;
    case KVP_OP_APPEND:
        write_append(writer, request);
        break;
    case KVP_OP_SNAPSHOT:
        write_snapshot(writer, request);
        break;
    case KVP_OP_ASK_VIEW:
        kvp_mp_write_uint(writer, request->expected);
        kvp_wire_write_view(writer, &request->proposed);
        break;
    default: /* LEAVE, RESIGN: none */
        break;
    }
}

kvp_status kvp_peer_request_encode(const struct kvp_peer_request *request, kvp_slice group,
                                   kvp_buf *out)
{
    const struct kvp_operation *operation = kvp_operation_by(request->op, KVP_BY_PEER);
    if (operation == NULL) {
        return KVP_BAD_OP;
    }
    const char *reason;
    kvp_status status = peer_check_request(request, group, &reason);
    if (status != KVP_OK) {
        return status;
    }
    struct kvp_mp_writer writer;
    kvp_mp_write_begin(&writer, out);
    bool told = request->numbers.incarnation != 0;
    kvp_mp_write_array(&writer, HEAD_SIZE + (uint32_t)operation->args_min + told);
    kvp_mp_write_uint(&writer, KVP_WIRE_VERSION);
    kvp_mp_write_uint(&writer, request->op);
    kvp_mp_write_str(&writer, group);
    kvp_mp_write_uint(&writer, request->view.epoch);
    kvp_mp_write_uint(&writer, request->from);
    kvp_mp_write_uint(&writer, request->to);
    kvp_mp_write_uint(&writer, request->group_id);
    kvp_mp_write_uint(&writer, request->sent_us);
    kvp_wire_write_view(&writer, &request->view);
    write_args(&writer, request);
    if (told && carries_data(request->op)) {
        kvp_mp_write_uint(&writer, request->numbers.incarnation);
    } else if (told) {
        kvp_wire_write_numbers(&writer, &request->numbers);
    }
    return kvp_mp_write_end_message(&writer);
}

/* ---- decoding requests ---- */

static kvp_status peer_take_entry(struct kvp_mp_reader *reader, struct kvp_point previous,
                                  struct kvp_entry **entry)
{
    kvp_mp_array_of(reader, 3);
    uint64_t epoch = kvp_mp_uint_max(reader, KVP_WIRE_NUMBER_END - 1);
    uint64_t hash = kvp_mp_uint(reader);
    kvp_slice payload = kvp_mp_bin(reader);
    if (reader->failed) {
        return KVP_BAD_REQUEST;
    }
    if (kvp_writeset_check(payload) != KVP_OK) {
        return KVP_CORRUPT;
    }
    struct kvp_entry *taken = kvp_entry_new(payload.size);
    if (taken == NULL) {
        return KVP_NO_MEMORY;
    }
    if (payload.size > 0) {
        memcpy(taken->payload, payload.data, payload.size);
    }
    kvp_entry_chain(taken, previous, epoch);
    if (taken->point.hash != hash) {
        kvp_entry_unref(taken);
        return KVP_CORRUPT;
    }
    *entry = taken;
    return KVP_OK;
}

static kvp_status take_append(struct kvp_mp_reader *reader, struct kvp_peer_request *request)
{
    request->prev = take_point(reader);
    request->commit = take_point(reader);
    request->lead_epoch = kvp_mp_uint_max(reader, KVP_WIRE_NUMBER_END - 1);
    request->end = kvp_mp_uint_max(reader, KVP_WIRE_NUMBER_END - 1);
    uint32_t count = kvp_mp_array(reader);
    const char *reason;
    kvp_status status = reader->failed ? KVP_BAD_REQUEST : check_append(request, count, &reason);
    struct kvp_point previous = request->prev;
    for (uint32_t i = 0; status == KVP_OK && i < count; i++) {
        struct kvp_entry *entry;
        status = peer_take_entry(reader, previous, &entry);
        if (status == KVP_OK) {
            request->entries[request->entry_count++] = entry;
            previous = entry->point;
        }
    }
    return status;
}

static kvp_status take_snapshot(struct kvp_mp_reader *reader, struct kvp_peer_request *request)
{
    request->snapshot = kvp_mp_uint(reader);
    request->index = kvp_mp_uint(reader);
    request->last = kvp_mp_bool(reader);
    request->point = take_point(reader);
    request->chunk = kvp_mp_bin(reader);
    uint64_t crc = kvp_mp_uint_max(reader, UINT32_MAX);
    if (!reader->failed && crc != peer_checksum(request->chunk)) {
        return KVP_CORRUPT;
    }
    return KVP_OK;
}

static kvp_status take_args(struct kvp_mp_reader *reader, struct kvp_peer_request *request)
{
    uint64_t flags;
    switch (request->op) {
    case KVP_OP_STATE:
        request->report = take_report(reader);
        return KVP_OK;
    case KVP_OP_HEARTBEAT:
        request->commit = take_point(reader);
        flags = kvp_mp_uint_max(reader, HEARTBEAT_FLAGS_MAX);
        request->prepare = (flags & HEARTBEAT_PREPARE) != 0;
        request->diverged = (flags & HEARTBEAT_DIVERGED) != 0;
        request->incarnation = kvp_mp_uint(reader);
        request->forced = kvp_mp_uint_max(reader, KVP_WIRE_NUMBER_END - 1);
        return KVP_OK;
    case KVP_OP_APPEND:
        return take_append(reader, request);
    case KVP_OP_SNAPSHOT:
        return take_snapshot(reader, request);
    case KVP_OP_ASK_VIEW:
        request->expected = kvp_mp_uint(reader);
        request->proposed = kvp_wire_take_view(reader);
        return KVP_OK;
    default: /* LEAVE, RESIGN: none */
        return KVP_OK;
    }
}

static kvp_status take_numbers(struct kvp_mp_reader *reader, struct kvp_peer_request *request)
{
    if (!carries_data(request->op)) {
        kvp_wire_take_numbers(reader, &request->numbers);
    } else {
        request->numbers.incarnation = kvp_mp_uint(reader);
    }
    return reader->failed || request->numbers.incarnation == 0 ? KVP_BAD_REQUEST : KVP_OK;
}

/* Everything behind version and op, in the order of the wire. */
static kvp_status take_request(struct kvp_mp_reader *reader, struct kvp_peer_request *request,
                               bool told, kvp_slice *group)
{
    const char *reason;
    *group = kvp_mp_str(reader);
    uint64_t epoch = kvp_mp_uint(reader);
    request->from = (uint8_t)kvp_mp_uint_max(reader, KVP_NODE_ID_MAX);
    request->to = (uint8_t)kvp_mp_uint_max(reader, KVP_NODE_ID_MAX);
    request->group_id = kvp_mp_uint(reader);
    request->sent_us = kvp_mp_uint(reader);
    request->view = kvp_wire_take_view(reader);
    if (reader->failed || epoch != request->view.epoch) {
        return KVP_BAD_REQUEST;
    }
    kvp_status status = take_args(reader, request);
    if (status == KVP_OK && told) {
        status = take_numbers(reader, request);
    }
    if (status == KVP_OK) {
        status = kvp_wire_finish(reader, &reason);
    }
    return status == KVP_OK ? peer_check_request(request, *group, &reason) : status;
}

kvp_status kvp_peer_request_decode(kvp_slice message, struct kvp_peer_request *request,
                                   kvp_slice *group)
{
    struct kvp_mp_reader reader;
    unsigned op = 0;
    uint32_t count = 0;
    const char *reason;
    kvp_slice group_read;
    memset(request, 0, offsetof(struct kvp_peer_request, entries));
    kvp_status status = kvp_wire_open(message, &reader, &op, &count, &reason);
    if (status != KVP_OK) {
        return status;
    }
    const struct kvp_operation *operation = kvp_operation_by(op, KVP_BY_PEER);
    if (operation == NULL) {
        return KVP_BAD_OP;
    }
    if (!kvp_operation_takes(operation, count - HEAD_SIZE)) {
        return KVP_BAD_REQUEST;
    }
    bool told = count - HEAD_SIZE == operation->args_max;
    request->op = op;
    status = take_request(&reader, request, told, &group_read);
    if (status != KVP_OK) {
        kvp_peer_request_release(request);
        return status;
    }
    *group = group_read;
    return KVP_OK;
}

void kvp_peer_request_release(struct kvp_peer_request *request)
{
    for (size_t i = 0; i < request->entry_count; i++) {
        kvp_entry_unref(request->entries[i]);
    }
    request->entry_count = 0;
}

/* ---- replies ---- */

kvp_status kvp_peer_reply_encode(const struct kvp_peer_reply *reply, kvp_buf *out)
{
    if (reply->code > 0 || reply->code < -CODE_MAX ||
        kvp_operation_by(reply->op, KVP_BY_PEER) == NULL || !is_node_id(reply->from) ||
        !report_is_sound(&reply->report)) {
        return KVP_BAD_ARGUMENT;
    }
    struct kvp_mp_writer writer;
    kvp_mp_write_begin(&writer, out);
    kvp_mp_write_array(&writer, KVP_WIRE_ANSWER_SIZE);
    kvp_mp_write_uint(&writer, KVP_WIRE_VERSION);
    kvp_mp_write_uint(&writer, (uint64_t)-reply->code);
    kvp_mp_write_uint(&writer, reply->report.view.epoch);
    kvp_mp_write_text(&writer, "");
    bool told = reply->numbers.incarnation != 0;
    kvp_mp_write_array(&writer, told ? REPLY_TOLD_SIZE : REPLY_SIZE);
    kvp_mp_write_uint(&writer, reply->op);
    kvp_mp_write_uint(&writer, reply->from);
    kvp_mp_write_uint(&writer, reply->group_id);
    kvp_mp_write_uint(&writer, reply->echo_us);
    write_report(&writer, &reply->report);
    if (told) {
        kvp_wire_write_numbers(&writer, &reply->numbers);
        kvp_mp_write_uint(&writer, reply->knows);
    }
    return kvp_mp_write_end_message(&writer);
}

kvp_status kvp_peer_reply_decode(kvp_slice message, struct kvp_peer_reply *reply)
{
    struct kvp_mp_reader reader;
    struct kvp_peer_reply decoded;
    kvp_mp_begin(&reader, message);
    uint32_t count = kvp_mp_array(&reader);
    uint64_t version = kvp_mp_uint(&reader);
    if (!reader.failed && version != KVP_WIRE_VERSION) {
        return KVP_BAD_VERSION;
    }
    decoded.code = -(int)kvp_mp_uint_max(&reader, CODE_MAX);
    uint64_t epoch = kvp_mp_uint(&reader);
    kvp_slice hint = kvp_mp_str(&reader);
    uint32_t size = kvp_mp_array(&reader);
    bool told = size == REPLY_TOLD_SIZE;
    decoded.op = (unsigned)kvp_mp_uint_max(&reader, UINT8_MAX);
    decoded.from = (uint8_t)kvp_mp_uint_max(&reader, KVP_NODE_ID_MAX);
    decoded.group_id = kvp_mp_uint(&reader);
    decoded.echo_us = kvp_mp_uint(&reader);
    decoded.report = take_report(&reader);
    decoded.numbers.incarnation = 0;
    if (told) {
        kvp_wire_take_numbers(&reader, &decoded.numbers);
    }
    decoded.knows = told ? kvp_mp_uint(&reader) : 0;
    if (count != KVP_WIRE_ANSWER_SIZE || (size != REPLY_SIZE && !told) || hint.size != 0 ||
        !kvp_mp_done(&reader) || epoch != decoded.report.view.epoch ||
        kvp_operation_by(decoded.op, KVP_BY_PEER) == NULL || decoded.from == 0) {
        return KVP_CORRUPT;
    }
    memcpy(reply, &decoded,
           told ? sizeof(decoded) : offsetof(struct kvp_peer_reply, numbers.replaces));
    return KVP_OK;
}
