/* SPDX-License-Identifier: Apache-2.0 */
/* BACKUP at an executor: pages of one point in time, asked for again, kept, given up, too many. */
#include "tests/engine/exec_stage.h"

#include "kvstore/backup.h"
#include "replication/core/core_state.h"

#include <string.h>

static struct kvp_request ask_backup(uint64_t cursor)
{
    return (struct kvp_request){.op = KVP_OP_BACKUP, .cursor = cursor, .size_max = 1};
}

static struct kvp_request ask_end(uint64_t cursor, enum kvp_backup_end end)
{
    struct kvp_request request = ask_backup(cursor);
    request.target = end;
    return request;
}

/* The page, and a copy of its bytes. */
static struct kvp_backup_page page_of(struct stage *stage, uint64_t cursor, kvp_buf *bytes)
{
    struct kvp_request request = ask_backup(cursor);
    struct kvp_backup_page page;
    struct reply reply;
    stage_send(stage, &request, &reply);
    assert_true(reply.done);
    assert_int_equal(reply.status, KVP_OK);
    assert_int_equal(kvp_wire_read_backup(kvp_buf_slice(&reply.result), &page), KVP_OK);
    bytes->size = 0;
    assert_int_equal(kvp_buf_append(bytes, page.bytes.data, page.bytes.size), KVP_OK);
    page.bytes = kvp_buf_slice(bytes);
    reply_free(&reply);
    return page;
}

/* A stage with values enough for some pages. */
static void setup(struct stage *stage)
{
    static char value[9000];
    memset(value, 'v', sizeof(value) - 1);
    stage_open(stage);
    for (unsigned i = 0; i < 8; i++) {
        char key[8] = {'k', (char)('0' + i), '\0'};
        must_put(stage, key, value);
    }
}

static void test_pages_are_of_one_point_in_time_and_come_again_byte_for_byte(void **state)
{
    struct stage stage;
    kvp_buf bytes = {0}, again = {0};
    (void)state;
    setup(&stage);
    struct kvp_backup_reader *reader = kvp_backup_reader_new(NULL, NULL);
    struct kvp_backup_page page = page_of(&stage, 0, &bytes);
    uint64_t revision = page.revision;
    unsigned pages = 1;
    must_put(&stage, "k0", "changed");
    must_put(&stage, "later", "1");
    for (;; pages++) {
        struct kvp_backup_page same = page_of(&stage, page.cursor, &again);
        assert_true(same.cursor == page.cursor && same.more == page.more);
        check_slice(same.bytes, page.bytes);
        assert_true(page.revision == revision);
        assert_int_equal(kvp_backup_reader_feed(reader, page.bytes), KVP_OK);
        if (!page.more) {
            break;
        }
        page = page_of(&stage, page.cursor + 1, &bytes);
    }
    assert_true(pages > 2);
    assert_int_equal(kvp_backup_reader_end(reader), KVP_OK);
    assert_true(kvp_backup_reader_header(reader)->point.seq == revision);
    assert_int_equal(kvp_backup_reader_totals(reader)->keys, 8);
    check_now(&stage, ask_backup(page.cursor + 1), KVP_CURSOR_EXPIRED);
    check_now(&stage, ask_end(page.cursor, KVP_BACKUP_KEPT), KVP_OK);
    check_now(&stage, ask_backup(page.cursor), KVP_CURSOR_EXPIRED);
    kvp_backup_reader_free(reader);
    kvp_buf_free(&bytes);
    kvp_buf_free(&again);
    stage_close(&stage);
}

static void test_no_more_than_two_are_under_way_and_who_goes_away_is_forgotten(void **state)
{
    struct stage stage;
    kvp_buf bytes = {0};
    (void)state;
    setup(&stage);
    uint64_t first = page_of(&stage, 0, &bytes).cursor, second = page_of(&stage, 0, &bytes).cursor;
    check_now(&stage, ask_backup(0), KVP_BUSY);
    check_now(&stage, ask_end(second, KVP_BACKUP_KEPT),
              KVP_BAD_REQUEST); /* not all of it is read */
    check_now(&stage, ask_end(first, KVP_BACKUP_GIVEN_UP), KVP_OK);
    first = page_of(&stage, 0, &bytes).cursor;
    stage_pass(&stage, 50000000);
    (void)page_of(&stage, first, &bytes);
    stage_pass(&stage, 20000000); /* the second has not been asked for a minute */
    (void)page_of(&stage, 0, &bytes);
    check_now(&stage, ask_backup(second), KVP_CURSOR_EXPIRED);
    stage_pass(&stage, 310000000);
    check_now(&stage, ask_backup(first), KVP_CURSOR_EXPIRED);
    kvp_buf_free(&bytes);
    stage_close(&stage);
}

static void test_what_was_acknowledged_is_waited_for(void **state)
{
    struct stage stage;
    struct kvp_request request = ask_backup(0);
    (void)state;
    setup(&stage);
    request.version = 8;
    check_now(&stage, request, KVP_OK);
    request.version = 9;
    check_now(&stage, request, KVP_UNAVAILABLE);
    stage_close(&stage);
}

/* Each allocation fails once: no page is wrong, and it can be asked for again or begun anew. */
static void test_without_memory_a_page_is_refused_or_right(void **state)
{
    struct stage stage;
    kvp_buf bytes = {0};
    (void)state;
    setup(&stage);
    for (long limit = 0; limit < 40; limit++) {
        struct kvp_request request = ask_backup(0);
        struct reply reply;
        hand_in(&stage, &request, &reply, limit);
        kvp_executor_flush(stage.executor, stage.now_us);
        assert_true(reply.done);
        if (kvp_core_role(kvp_executor_core(stage.executor)) == KVP_ROLE_FAILED) {
            reply_free(&reply);
            stage_close(&stage);
            setup(&stage);
            continue;
        }
        struct kvp_backup_page page;
        if (reply.status == KVP_OK) {
            assert_int_equal(kvp_wire_read_backup(kvp_buf_slice(&reply.result), &page), KVP_OK);
            check_now(&stage, ask_end(page.cursor, KVP_BACKUP_GIVEN_UP), KVP_OK);
        }
        reply_free(&reply);
    }
    kvp_buf_free(&bytes);
    stage_close(&stage);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pages_are_of_one_point_in_time_and_come_again_byte_for_byte),
        cmocka_unit_test(test_no_more_than_two_are_under_way_and_who_goes_away_is_forgotten),
        cmocka_unit_test(test_what_was_acknowledged_is_waited_for),
        cmocka_unit_test(test_without_memory_a_page_is_refused_or_right),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
