/* SPDX-License-Identifier: Apache-2.0 */
/* Messages between nodes: every field arrives, and nothing unsound gets through. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "kvstore/writeset.h"
#include "replication/wire/mp_writer.h"
#include "replication/wire/peer_wire.h"
#include "tests/wire/samples.h"

#include <stdlib.h>

static struct kvp_peer_request sent, got;

static kvp_slice text(const char *string)
{
    return kvp_slice_of(string, strlen(string));
}

static const struct kvp_view view = {8, 5, 1, 6}; /* 1 and 2 */

static void begin(unsigned op)
{
    memset(&sent, 0, sizeof(sent));
    sent.op = op;
    sent.from = 1;
    sent.to = 2;
    sent.group_id = 3;
    sent.sent_us = 4;
    sent.view = view;
}

static kvp_status encode(kvp_buf *out)
{
    return kvp_peer_request_encode(&sent, text("g"), out);
}

static kvp_status decode(const kvp_buf *bytes)
{
    kvp_slice group = {0};
    memset(&got, 0x5a, sizeof(got));
    kvp_status status = kvp_peer_request_decode(kvp_buf_slice(bytes), &got, &group);
    if (status == KVP_OK) {
        assert_int_equal(kvp_slice_compare(group, text("g")), 0);
    } else {
        assert_int_equal(got.entry_count, 0);
        kvp_peer_request_release(&got); /* is right after failure, too */
    }
    return status;
}

/* Encodes and decodes; the caller releases `got`. */
static void pass(void)
{
    kvp_buf out = {0};
    assert_int_equal(encode(&out), KVP_OK);
    assert_int_equal(decode(&out), KVP_OK);
    assert_int_equal(got.op, sent.op);
    assert_int_equal(got.from, 1);
    assert_int_equal(got.to, 2);
    assert_int_equal(got.group_id, 3);
    assert_int_equal(got.sent_us, 4);
    assert_true(kvp_view_equal(&got.view, &sent.view));
    kvp_buf_free(&out);
}

static struct kvp_entry *entry_of(const char *key, struct kvp_point previous, uint64_t epoch)
{
    kvp_buf set = {0};
    assert_int_equal(kvp_writeset_put(&set, text(key), text("value")), KVP_OK);
    struct kvp_entry *entry = kvp_entry_new(set.size);
    assert_non_null(entry);
    memcpy(entry->payload, set.data, set.size);
    kvp_entry_chain(entry, previous, epoch);
    kvp_buf_free(&set);
    return entry;
}

static void begin_append(unsigned count)
{
    struct kvp_point previous = {10, 4, 0xfeedu};
    begin(KVP_OP_APPEND);
    sent.prev = previous;
    sent.commit = (struct kvp_point){9, 4, 0xbeefu};
    sent.lead_epoch = 5;
    sent.end = 10 + count;
    for (unsigned i = 0; i < count; i++) {
        sent.entries[i] = entry_of("Dkey", previous, 5);
        previous = sent.entries[i]->point;
        sent.entry_count++;
    }
}

static void test_a_state_carries_a_whole_report(void **state)
{
    (void)state;
    begin(KVP_OP_STATE);
    sent.report = (struct kvp_peer_report){.role = KVP_ROLE_STOPPED,
                                           .log_regressed = true,
                                           .unsettled = true,
                                           .view = {1, 2, 3, 8},
                                           .tail = {4, 5, 6},
                                           .commit = {7, 8, 9},
                                           .received = 10,
                                           .member_epoch = 11,
                                           .snapshot = 12,
                                           .wanted = 13,
                                           .grace_us = 500000};
    pass();
    assert_int_equal(got.report.role, KVP_ROLE_STOPPED);
    assert_false(got.report.blank);
    assert_true(got.report.log_regressed);
    assert_true(got.report.unsettled);
    assert_true(kvp_view_equal(&got.report.view, &sent.report.view));
    assert_true(kvp_point_equal(got.report.tail, sent.report.tail));
    assert_true(kvp_point_equal(got.report.commit, sent.report.commit));
    assert_int_equal(got.report.received, 10);
    assert_int_equal(got.report.member_epoch, 11);
    assert_int_equal(got.report.snapshot, 12);
    assert_int_equal(got.report.wanted, 13);
    assert_int_equal(got.report.grace_us, 500000);
}

static void test_flags_of_a_heartbeat_are_told_apart(void **state)
{
    (void)state;
    for (unsigned flags = 0; flags < 4; flags++) {
        begin(KVP_OP_HEARTBEAT);
        sent.commit = (struct kvp_point){1, 2, 3};
        sent.prepare = (flags & 1) != 0;
        sent.diverged = (flags & 2) != 0;
        pass();
        assert_true(got.prepare == sent.prepare && got.diverged == sent.diverged);
        assert_true(kvp_point_equal(got.commit, sent.commit));
    }
}

static void test_unknown_flags_are_refused(void **state)
{
    kvp_buf out = {0};
    (void)state;
    begin(KVP_OP_HEARTBEAT);
    assert_int_equal(encode(&out), KVP_OK);
    out.data[out.size - 3] = 3; /* before the life and the forced epoch */
    assert_int_equal(decode(&out), KVP_OK);
    out.data[out.size - 3] = 4;
    assert_int_equal(decode(&out), KVP_BAD_REQUEST);
    kvp_buf_free(&out);
}

static void test_entries_arrive_chained_and_owned(void **state)
{
    (void)state;
    begin_append(3);
    pass();
    assert_int_equal(got.entry_count, 3);
    assert_int_equal(got.end, 13);
    assert_int_equal(got.lead_epoch, 5);
    assert_true(kvp_point_equal(got.prev, sent.prev));
    assert_true(kvp_point_equal(got.commit, sent.commit));
    for (unsigned i = 0; i < 3; i++) {
        assert_true(kvp_point_equal(got.entries[i]->point, sent.entries[i]->point));
        assert_int_equal(got.entries[i]->size, sent.entries[i]->size);
        assert_memory_equal(got.entries[i]->payload, sent.entries[i]->payload,
                            sent.entries[i]->size);
    }
    kvp_peer_request_release(&got);
    kvp_peer_request_release(&sent);
    assert_int_equal(got.entry_count, 0);
}

static void test_an_append_holds_at_most_1024_entries(void **state)
{
    kvp_buf out = {0};
    (void)state;
    begin_append(KVP_APPEND_COUNT_MAX);
    pass();
    assert_int_equal(got.entry_count, KVP_APPEND_COUNT_MAX);
    kvp_peer_request_release(&got);
    sent.entry_count = KVP_APPEND_COUNT_MAX + 1;
    assert_int_equal(encode(&out), KVP_TOO_LARGE);
    sent.entry_count = KVP_APPEND_COUNT_MAX;
    kvp_peer_request_release(&sent);
    assert_null(out.data);
}

static void test_an_append_without_entries_passes(void **state)
{
    (void)state;
    begin_append(0);
    pass();
    assert_int_equal(got.entry_count, 0);
}

static void test_an_empty_write_set_is_an_entry(void **state)
{
    (void)state;
    begin_append(0);
    sent.end = 11;
    sent.entries[0] = kvp_entry_new(0);
    assert_non_null(sent.entries[0]);
    kvp_entry_chain(sent.entries[0], sent.prev, 5);
    sent.entry_count = 1;
    pass();
    assert_int_equal(got.entry_count, 1);
    assert_int_equal(got.entries[0]->size, 0);
    kvp_peer_request_release(&got);
    kvp_peer_request_release(&sent);
}

/* The status of an APPEND with one entry of the payload, whose hash is right. */
static kvp_status append_payload(kvp_slice payload)
{
    kvp_buf out = {0};
    begin_append(0);
    sent.end = 11;
    sent.entries[0] = kvp_entry_new(payload.size);
    assert_non_null(sent.entries[0]);
    memcpy(sent.entries[0]->payload, payload.data, payload.size);
    kvp_entry_chain(sent.entries[0], sent.prev, 5);
    sent.entry_count = 1;
    assert_int_equal(encode(&out), KVP_OK);
    kvp_status status = decode(&out);
    kvp_peer_request_release(&got);
    kvp_peer_request_release(&sent);
    kvp_buf_free(&out);
    return status;
}

static void test_a_payload_that_is_no_write_set_is_corrupt(void **state)
{
    (void)state;
    assert_int_equal(append_payload(kvp_slice_of("\x02\x02\0\0\0Dk", 7)), KVP_OK);
    assert_int_equal(append_payload(kvp_slice_of("\x03\x02\0\0\0Dk", 7)), KVP_CORRUPT);
    assert_int_equal(append_payload(kvp_slice_of("\x02\x02\0\0\0Mk", 7)), KVP_CORRUPT);
    assert_int_equal(append_payload(kvp_slice_of("\x02\x03\0\0\0Dk", 7)), KVP_CORRUPT);
    assert_int_equal(append_payload(kvp_slice_of("\x01\x02\0\0\0Dk", 7)), KVP_CORRUPT);
    assert_int_equal(append_payload(kvp_slice_of("\x01\x02\0\0\0Dk\xff\xff\xff\xff", 11)),
                     KVP_CORRUPT);
}

static void test_an_entry_that_breaks_the_chain_is_corrupt(void **state)
{
    (void)state;
    for (unsigned broken = 0; broken < 3; broken++) {
        for (unsigned field = 0; field < 3; field++) {
            kvp_buf out = {0};
            begin_append(3);
            struct kvp_entry *entry = sent.entries[broken];
            entry->point.hash ^= field == 0;
            entry->point.epoch += field == 1;
            entry->payload[entry->size - 1] ^= field == 2;
            assert_int_equal(encode(&out), KVP_OK);
            assert_int_equal(decode(&out), KVP_CORRUPT);
            kvp_peer_request_release(&sent);
            kvp_buf_free(&out);
        }
    }
}

static void test_another_predecessor_breaks_the_chain(void **state)
{
    kvp_buf out = {0};
    (void)state;
    begin_append(1);
    sent.prev.hash++;
    assert_int_equal(encode(&out), KVP_OK);
    assert_int_equal(decode(&out), KVP_CORRUPT);
    kvp_peer_request_release(&sent);
    kvp_buf_free(&out);
}

static void test_entries_behind_the_end_of_the_log_are_refused(void **state)
{
    kvp_buf out = {0};
    (void)state;
    begin_append(2);
    sent.end = 11;
    assert_int_equal(encode(&out), KVP_BAD_REQUEST);
    sent.end = 9;
    assert_int_equal(encode(&out), KVP_BAD_REQUEST);
    sent.end = UINT64_MAX;
    assert_int_equal(encode(&out), KVP_OK);
    kvp_peer_request_release(&sent);
    kvp_buf_free(&out);
}

/* Nothing that a node adds to a number of the log may overflow. */
static void test_places_in_the_log_have_a_limit(void **state)
{
    static const uint64_t limit = (uint64_t)1 << 62;
    (void)state;
    for (unsigned part = 0; part < 4; part++) {
        for (unsigned over = 0; over < 2; over++) {
            kvp_buf out = {0};
            uint64_t number = limit - 1 + over;
            begin_append(0);
            sent.end = part == 0 ? number : limit - 1;
            sent.prev.seq = part == 1 ? number : 9;
            sent.end = part == 1 ? number : sent.end;
            sent.commit.seq = part == 2 ? number : 9;
            sent.lead_epoch = part == 3 ? number : 5;
            assert_int_equal(encode(&out), KVP_OK);
            assert_int_equal(decode(&out), over != 0 ? KVP_BAD_REQUEST : KVP_OK);
            kvp_peer_request_release(&sent);
            kvp_buf_free(&out);
        }
    }
}

static void test_a_declared_count_of_entries_is_not_believed(void **state)
{
    static const kvp_slice lists[] = {
        {"\xdd\xff\xff\xff\xff", 5}, {"\xdc\x04\x00", 3}, {"\x9f", 1}, {"\x91", 1}};
    (void)state;
    for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
        kvp_buf out = {0};
        begin_append(0);
        assert_int_equal(encode(&out), KVP_OK);
        out.size--;
        assert_int_equal(kvp_buf_append(&out, lists[i].data, lists[i].size), KVP_OK);
        assert_int_equal(decode(&out), KVP_BAD_REQUEST);
        kvp_buf_free(&out);
    }
}

static void test_more_entries_than_allowed_are_refused_before_any_is_made(void **state)
{
    kvp_buf out = {0};
    struct kvp_mp_writer writer;
    (void)state;
    begin_append(0);
    assert_int_equal(encode(&out), KVP_OK);
    out.size--;
    kvp_mp_write_begin(&writer, &out);
    kvp_mp_write_array(&writer, KVP_APPEND_COUNT_MAX + 1);
    for (unsigned i = 0; i <= KVP_APPEND_COUNT_MAX; i++) {
        kvp_mp_write_nil(&writer);
    }
    assert_int_equal(decode(&out), KVP_TOO_LARGE);
    kvp_buf_free(&out);
}

static void test_a_chunk_is_checked_with_its_crc(void **state)
{
    uint8_t bytes[100];
    (void)state;
    memset(bytes, 7, sizeof(bytes));
    begin(KVP_OP_SNAPSHOT);
    sent.snapshot = 5;
    sent.index = 6;
    sent.last = true;
    sent.point = (struct kvp_point){7, 8, 9};
    sent.chunk = kvp_slice_of(bytes, sizeof(bytes));
    kvp_buf out = {0};
    assert_int_equal(encode(&out), KVP_OK);
    assert_int_equal(decode(&out), KVP_OK);
    assert_int_equal(got.snapshot, 5);
    assert_int_equal(got.index, 6);
    assert_true(got.last);
    assert_true(kvp_point_equal(got.point, sent.point));
    assert_int_equal(kvp_slice_compare(got.chunk, sent.chunk), 0);
    for (size_t back = 1; back <= 4 + sizeof(bytes); back++) {
        if (back == 5) {
            continue; /* the head of the checksum's number */
        }
        out.data[out.size - back] ^= 1;
        assert_int_equal(decode(&out), KVP_CORRUPT);
        out.data[out.size - back] ^= 1;
    }
    kvp_buf_free(&out);
}

static void test_an_empty_chunk_passes(void **state)
{
    (void)state;
    begin(KVP_OP_SNAPSHOT);
    sent.snapshot = 5;
    pass();
    assert_int_equal(got.chunk.size, 0);
}

static void test_a_wish_arrives_and_names_a_primary(void **state)
{
    kvp_buf out = {0};
    (void)state;
    begin(KVP_OP_ASK_VIEW);
    sent.expected = 8;
    sent.proposed = (struct kvp_view){9, 6, 2, 4};
    pass();
    assert_int_equal(got.expected, 8);
    assert_true(kvp_view_equal(&got.proposed, &sent.proposed));
    sent.proposed = (struct kvp_view){0};
    assert_int_equal(encode(&out), KVP_BAD_REQUEST);
}

static void test_leaving_needs_nothing_but_the_head(void **state)
{
    (void)state;
    begin(KVP_OP_LEAVE);
    pass();
    begin(KVP_OP_RESIGN);
    pass();
}

static void test_unsound_views_are_refused(void **state)
{
    static const struct kvp_view unsound[] = {
        {0, 5, 1, 2},  {8, 0, 1, 2}, {8, 5, 1, 4}, {8, 5, 1, 3}, /* 3: node 0 is in it */
        {8, 5, 64, 2}, {8, 5, 0, 2}, {0, 0, 0, 2}, {8, 0, 0, 0}, {0, 5, 0, 0},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(unsound) / sizeof(unsound[0]); i++) {
        kvp_buf out = {0};
        begin(KVP_OP_LEAVE);
        sent.view = unsound[i];
        assert_int_equal(encode(&out), KVP_BAD_REQUEST);
        assert_null(out.data);
        begin(KVP_OP_STATE);
        sent.report.view = unsound[i];
        assert_int_equal(encode(&out), KVP_BAD_REQUEST);
        assert_null(out.data);
    }
}

static void put_leave(kvp_buf *out, uint64_t epoch, const uint64_t fields[4])
{
    struct kvp_mp_writer writer;
    kvp_mp_write_begin(&writer, out);
    kvp_mp_write_array(&writer, 9);
    kvp_mp_write_uint(&writer, KVP_WIRE_VERSION);
    kvp_mp_write_uint(&writer, KVP_OP_LEAVE);
    kvp_mp_write_text(&writer, "g");
    kvp_mp_write_uint(&writer, epoch);
    kvp_mp_write_uint(&writer, 1);
    kvp_mp_write_uint(&writer, 2);
    kvp_mp_write_uint(&writer, 3);
    kvp_mp_write_uint(&writer, 4);
    kvp_mp_write_array(&writer, 4);
    for (unsigned i = 0; i < 4; i++) {
        kvp_mp_write_uint(&writer, fields[i]);
    }
    assert_int_equal(kvp_mp_write_end(&writer), KVP_OK);
}

static void test_the_decoder_refuses_unsound_views_and_epochs(void **state)
{
    static const struct {
        uint64_t epoch, view[4];
        kvp_status expected;
    } cases[] = {
        {5, {8, 5, 1, 6}, KVP_OK},
        {0, {0, 0, 0, 0}, KVP_OK},
        {4, {8, 5, 1, 6}, KVP_BAD_REQUEST}, /* two epochs */
        {5, {8, 5, 1, 4}, KVP_BAD_REQUEST},
        {5, {8, 5, 1, 7}, KVP_BAD_REQUEST},
        {5, {8, 5, 64, 6}, KVP_BAD_REQUEST},
        {5, {8, 5, 257, 6}, KVP_BAD_REQUEST}, /* not cut to 1 */
        {5, {0, 5, 1, 6}, KVP_BAD_REQUEST},
        {0, {8, 0, 0, 0}, KVP_BAD_REQUEST},
        {5, {8, 5, 63, UINT64_MAX - 1}, KVP_OK},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        kvp_buf out = {0};
        put_leave(&out, cases[i].epoch, cases[i].view);
        assert_int_equal(decode(&out), cases[i].expected);
        kvp_buf_free(&out);
    }
}

static void test_ids_outside_1_to_63_are_refused(void **state)
{
    static const unsigned ids[] = {0, 1, 63, 64, 255};
    (void)state;
    for (size_t i = 0; i < 5; i++) {
        kvp_buf out = {0};
        kvp_status expected = ids[i] >= 1 && ids[i] <= 63 ? KVP_OK : KVP_BAD_REQUEST;
        begin(KVP_OP_LEAVE);
        sent.from = (uint8_t)ids[i];
        assert_int_equal(encode(&out), expected);
        begin(KVP_OP_LEAVE);
        sent.to = (uint8_t)ids[i];
        assert_int_equal(encode(&out), expected);
        kvp_buf_free(&out);
    }
}

static void test_ops_of_others_are_unknown(void **state)
{
    kvp_buf out = {0};
    (void)state;
    begin(KVP_OP_GET);
    assert_int_equal(encode(&out), KVP_BAD_OP);
    sample_find("get-request")->build(&out);
    assert_int_equal(decode(&out), KVP_BAD_OP);
    out.size = 0;
    sample_find("register-get-request")->build(&out);
    assert_int_equal(decode(&out), KVP_BAD_OP);
    out.data[1] = KVP_WIRE_VERSION + 1;
    assert_int_equal(decode(&out), KVP_BAD_VERSION);
    kvp_buf_free(&out);
}

static void test_a_reply_shows_the_whole_position(void **state)
{
    kvp_buf out = {0};
    struct kvp_peer_reply answer = {.code = KVP_STALE_VIEW,
                                    .op = KVP_OP_ASK_VIEW,
                                    .from = 63,
                                    .group_id = 2,
                                    .echo_us = 3,
                                    .report = {.role = KVP_ROLE_ELECT,
                                               .blank = true,
                                               .view = {8, 5, 1, 6},
                                               .tail = {4, 5, 6},
                                               .wanted = 7}};
    struct kvp_peer_reply back;
    (void)state;
    assert_int_equal(kvp_peer_reply_encode(&answer, &out), KVP_OK);
    assert_int_equal(kvp_peer_reply_decode(kvp_buf_slice(&out), &back), KVP_OK);
    assert_int_equal(back.code, KVP_STALE_VIEW);
    assert_int_equal(back.op, KVP_OP_ASK_VIEW);
    assert_int_equal(back.from, 63);
    assert_int_equal(back.group_id, 2);
    assert_int_equal(back.echo_us, 3);
    assert_int_equal(back.report.role, KVP_ROLE_ELECT);
    assert_true(back.report.blank);
    assert_false(back.report.log_regressed);
    assert_true(kvp_view_equal(&back.report.view, &answer.report.view));
    assert_true(kvp_point_equal(back.report.tail, answer.report.tail));
    assert_int_equal(back.report.wanted, 7);
    kvp_buf_free(&out);
}

static void test_a_reply_that_no_decoder_takes_is_not_written(void **state)
{
    const struct kvp_peer_reply good = {.op = KVP_OP_LEAVE, .from = 1};
    struct kvp_peer_reply bad[6];
    kvp_buf out = {0};
    (void)state;
    for (unsigned i = 0; i < 6; i++) {
        bad[i] = good;
    }
    bad[0].code = 1;
    bad[1].code = -256;
    bad[2].op = KVP_OP_GET;
    bad[3].from = 0;
    bad[4].report.role = KVP_ROLE_STOPPED + 1;
    bad[5].report.view.primary = 1;
    for (unsigned i = 0; i < 6; i++) {
        assert_int_equal(kvp_peer_reply_encode(&bad[i], &out), KVP_BAD_ARGUMENT);
        assert_null(out.data);
    }
}

static void test_an_answer_of_another_kind_is_no_reply(void **state)
{
    kvp_buf out = {0};
    struct kvp_peer_reply reply = {.from = 42};
    (void)state;
    sample_find("get-answer")->build(&out);
    assert_int_equal(kvp_peer_reply_decode(kvp_buf_slice(&out), &reply), KVP_CORRUPT);
    out.size = 0;
    sample_find("bad-request-answer")->build(&out);
    assert_int_equal(kvp_peer_reply_decode(kvp_buf_slice(&out), &reply), KVP_CORRUPT);
    out.data[1] = 2;
    assert_int_equal(kvp_peer_reply_decode(kvp_buf_slice(&out), &reply), KVP_BAD_VERSION);
    assert_int_equal(reply.from, 42);
    kvp_buf_free(&out);
}

static void test_a_reply_tells_which_store_answers(void **state)
{
    kvp_buf out = {0};
    struct kvp_peer_reply back;
    const struct kvp_peer_reply told = {.op = KVP_OP_STATE,
                                        .from = 2,
                                        .report.known = true,
                                        .knows = 40,
                                        .numbers = {50, 60, {70, 80}}};
    (void)state;
    assert_int_equal(kvp_peer_reply_encode(&told, &out), KVP_OK);
    assert_int_equal(kvp_peer_reply_decode(kvp_buf_slice(&out), &back), KVP_OK);
    assert_true(back.report.known);
    assert_int_equal(back.knows, 40);
    assert_memory_equal(&back.numbers, &told.numbers, sizeof(told.numbers));
    kvp_buf_free(&out);
}

/* Entries and chunks tell no more than they need. */
static void test_a_request_tells_which_store_asks(void **state)
{
    static struct kvp_peer_request asked, back;
    (void)state;
    for (unsigned op = KVP_OP_STATE; op <= KVP_OP_RESIGN; op++) {
        kvp_buf out = {0};
        kvp_slice group;
        bool data = op == KVP_OP_APPEND || op == KVP_OP_SNAPSHOT;
        asked = (struct kvp_peer_request){.op = op,
                                          .from = 1,
                                          .to = 2,
                                          .proposed = {1, 1, 1, kvp_set_of(1)},
                                          .numbers = {50, 60, {70, 80}}};
        assert_int_equal(kvp_peer_request_encode(&asked, kvp_slice_of("g", 1), &out), KVP_OK);
        assert_int_equal(kvp_peer_request_decode(kvp_buf_slice(&out), &back, &group), KVP_OK);
        assert_int_equal(back.numbers.incarnation, 50);
        assert_int_equal(back.numbers.replaces, data ? 0 : 60);
        assert_int_equal(back.numbers.earlier[1], data ? 0 : 80);
        kvp_peer_request_release(&back);
        kvp_buf_free(&out);
    }
}

/* A reply with some fields set by hand. */
static kvp_status read_reply(uint64_t epoch, const char *hint, uint64_t role, uint64_t flags)
{
    kvp_buf out = {0};
    struct kvp_mp_writer writer;
    struct kvp_peer_reply reply;
    kvp_mp_write_begin(&writer, &out);
    kvp_mp_write_raw(&writer, kvp_slice_of("\x95\x01\x00", 3));
    kvp_mp_write_uint(&writer, epoch);
    kvp_mp_write_text(&writer, hint);
    kvp_mp_write_raw(&writer, kvp_slice_of("\x95\x45\x01\x03\x04\x9b", 6)); /* of LEAVE, from 1 */
    kvp_mp_write_uint(&writer, role);
    kvp_mp_write_uint(&writer, flags);
    kvp_mp_write_raw(&writer, kvp_slice_of("\x94\x08\x05\x01\x06", 5)); /* view of epoch 5 */
    kvp_mp_write_raw(&writer, kvp_slice_of("\x93\x00\x00\x00\x93\x00\x00\x00", 8));
    kvp_mp_write_raw(&writer, kvp_slice_of("\x00\x00\x00\x00\x00\x00", 6));
    assert_int_equal(kvp_mp_write_end(&writer), KVP_OK);
    kvp_status status = kvp_peer_reply_decode(kvp_buf_slice(&out), &reply);
    kvp_buf_free(&out);
    return status;
}

static void test_a_reply_that_contradicts_itself_is_refused(void **state)
{
    (void)state;
    assert_int_equal(read_reply(5, "", KVP_ROLE_STOPPED, 15), KVP_OK);
    assert_int_equal(read_reply(6, "", 0, 0), KVP_CORRUPT);
    assert_int_equal(read_reply(5, "tcp://a:1", 0, 0), KVP_CORRUPT);
    assert_int_equal(read_reply(5, "", KVP_ROLE_STOPPED + 1, 0), KVP_CORRUPT);
    assert_int_equal(read_reply(5, "", 256, 0), KVP_CORRUPT);
    assert_int_equal(read_reply(5, "", 0, 16), KVP_CORRUPT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_state_carries_a_whole_report),
        cmocka_unit_test(test_flags_of_a_heartbeat_are_told_apart),
        cmocka_unit_test(test_unknown_flags_are_refused),
        cmocka_unit_test(test_entries_arrive_chained_and_owned),
        cmocka_unit_test(test_an_append_holds_at_most_1024_entries),
        cmocka_unit_test(test_an_append_without_entries_passes),
        cmocka_unit_test(test_an_empty_write_set_is_an_entry),
        cmocka_unit_test(test_a_payload_that_is_no_write_set_is_corrupt),
        cmocka_unit_test(test_an_entry_that_breaks_the_chain_is_corrupt),
        cmocka_unit_test(test_another_predecessor_breaks_the_chain),
        cmocka_unit_test(test_entries_behind_the_end_of_the_log_are_refused),
        cmocka_unit_test(test_places_in_the_log_have_a_limit),
        cmocka_unit_test(test_a_declared_count_of_entries_is_not_believed),
        cmocka_unit_test(test_more_entries_than_allowed_are_refused_before_any_is_made),
        cmocka_unit_test(test_a_chunk_is_checked_with_its_crc),
        cmocka_unit_test(test_an_empty_chunk_passes),
        cmocka_unit_test(test_a_wish_arrives_and_names_a_primary),
        cmocka_unit_test(test_leaving_needs_nothing_but_the_head),
        cmocka_unit_test(test_unsound_views_are_refused),
        cmocka_unit_test(test_the_decoder_refuses_unsound_views_and_epochs),
        cmocka_unit_test(test_ids_outside_1_to_63_are_refused),
        cmocka_unit_test(test_ops_of_others_are_unknown),
        cmocka_unit_test(test_a_reply_shows_the_whole_position),
        cmocka_unit_test(test_a_reply_that_no_decoder_takes_is_not_written),
        cmocka_unit_test(test_an_answer_of_another_kind_is_no_reply),
        cmocka_unit_test(test_a_reply_tells_which_store_answers),
        cmocka_unit_test(test_a_request_tells_which_store_asks),
        cmocka_unit_test(test_a_reply_that_contradicts_itself_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
