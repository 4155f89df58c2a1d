/* SPDX-License-Identifier: Apache-2.0 */
/* The table of sessions: who is known, who goes first, and what a restart finds again. */
#include "tests/engine/engine_support.h"

#include "kvstore/writeset.h"
#include "replication/session.h"

#include <stdlib.h>
#include <string.h>

static void note(struct session_table *table, uint64_t client, uint16_t slot, uint64_t number,
                 uint64_t seq)
{
    struct kvp_session_record record = {.number = number, .seq = seq, .code = 2};
    kvp_buf answer = {0};
    struct session *spare = session_new();
    assert_non_null(spare);
    assert_int_equal(kvp_buf_append(&answer, &seq, sizeof(seq)), KVP_OK);
    session_note(table, spare, client, slot, &record, &answer);
    assert_null(answer.data); /* the table has it now */
}

static void check(const struct session_table *table, uint64_t client, uint16_t slot,
                  uint64_t number, uint64_t seq)
{
    const struct session *session = session_find(table, client, slot);
    assert_non_null(session);
    assert_true(session->client == client && session->slot == slot);
    assert_int_equal(session->number, number);
    assert_int_equal(session->seq, seq);
    assert_int_equal(session->code, 2);
    check_slice(kvp_buf_slice(&session->answer), kvp_slice_of(&seq, sizeof(seq)));
}

static void test_remembers_the_last_request_of_each_slot(void **state)
{
    struct session_table table;
    (void)state;
    assert_int_equal(session_table_init(&table, 8), KVP_OK);
    assert_null(session_find(&table, 7, 0));
    note(&table, 7, 0, 1, 10);
    note(&table, 7, 1, 1, 11);
    note(&table, 8, 0, 5, 12);
    note(&table, 7, 0, 2, 13);
    assert_int_equal(table.count, 3);
    check(&table, 7, 0, 2, 13);
    check(&table, 7, 1, 1, 11);
    check(&table, 8, 0, 5, 12);
    assert_null(session_find(&table, 8, 1));
    assert_null(session_find(&table, 0, 7));
    session_table_clear(&table);
    assert_null(session_find(&table, 7, 0));
    assert_int_equal(table.count, 0);
    note(&table, 7, 0, 3, 14);
    check(&table, 7, 0, 3, 14);
    session_table_free(&table);
}

static void test_the_longest_unused_slot_makes_room(void **state)
{
    struct session_table table;
    (void)state;
    assert_int_equal(session_table_init(&table, 3), KVP_OK);
    note(&table, 1, 0, 1, 10);
    note(&table, 2, 0, 1, 11);
    assert_null(session_victim(&table, 9, 0)); /* there is room */
    note(&table, 3, 0, 1, 12);
    assert_null(session_victim(&table, 2, 0)); /* known: takes no room */
    assert_ptr_equal(session_victim(&table, 9, 0), session_find(&table, 1, 0));
    note(&table, 1, 0, 2, 13); /* used again: now slot 2 is the oldest */
    assert_ptr_equal(session_victim(&table, 9, 0), session_find(&table, 2, 0));
    session_drop(&table, session_victim(&table, 9, 0));
    assert_null(session_find(&table, 2, 0));
    assert_int_equal(table.floor, 11);
    assert_int_equal(table.count, 2);
    note(&table, 9, 0, 1, 14);
    session_drop(&table, session_victim(&table, 8, 0));
    assert_null(session_find(&table, 3, 0));
    session_drop(&table, session_find(&table, 9, 0)); /* out of turn, the newest */
    assert_int_equal(table.floor, 14);
    session_drop(&table, session_find(&table, 1, 0));
    assert_int_equal(table.floor, 14); /* never sinks */
    assert_int_equal(table.count, 0);
    assert_null(table.oldest);
    assert_null(table.newest);
    session_table_free(&table);
}

/* Clients that differ in few bits, and many slots: chains get long, and are searched well. */
static void test_many_slots_are_told_apart(void **state)
{
    enum {
        CLIENTS = 64,
        SLOTS = 64,
    };
    struct session_table table;
    (void)state;
    assert_int_equal(session_table_init(&table, 1), KVP_OK); /* no bound of its own: see victim */
    for (unsigned i = 0; i < CLIENTS * SLOTS; i++) {
        note(&table, UINT64_C(1) << (i / SLOTS), (uint16_t)(i % SLOTS), i + 1, 100 + i);
    }
    assert_int_equal(table.count, CLIENTS * SLOTS);
    for (unsigned i = 0; i < CLIENTS * SLOTS; i++) {
        check(&table, UINT64_C(1) << (i / SLOTS), (uint16_t)(i % SLOTS), i + 1, 100 + i);
    }
    for (unsigned i = 0; i < CLIENTS * SLOTS; i++) {
        const struct session *victim = session_victim(&table, 12345, 0);
        assert_non_null(victim);
        assert_int_equal(victim->seq, 100 + i);
        session_drop(&table, victim);
        assert_null(session_find(&table, UINT64_C(1) << (i / SLOTS), (uint16_t)(i % SLOTS)));
    }
    assert_null(session_victim(&table, 12345, 0));
    session_table_free(&table);
}

static void test_an_answer_leaves_only_when_it_is_the_one_applied(void **state)
{
    struct session_table table;
    (void)state;
    assert_int_equal(session_table_init(&table, 8), KVP_OK);
    note(&table, 1, 0, 1, 10);
    note(&table, 1, 0, 2, 12);
    session_applied(&table, 1, 0, 10); /* another one has come since */
    check(&table, 1, 0, 2, 12);
    assert_false(session_find(&table, 1, 0)->stored);
    session_applied(&table, 1, 1, 12); /* another slot */
    session_applied(&table, 2, 0, 12);
    check(&table, 1, 0, 2, 12);
    session_applied(&table, 1, 0, 12);
    assert_true(session_find(&table, 1, 0)->stored);
    assert_int_equal(session_find(&table, 1, 0)->answer.size, 0);
    note(&table, 1, 0, 3, 13);
    assert_false(session_find(&table, 1, 0)->stored);
    check(&table, 1, 0, 3, 13);
    session_table_free(&table);
}

/* ---- from the state ---- */

static void put_session(kvp_buf *set, uint64_t client, uint16_t slot, uint64_t seq,
                        size_t answer_size)
{
    struct kvp_raw_key key;
    struct kvp_session_record record = {
        .number = client, .seq = seq, .code = 2, .answer = bytes('x', answer_size)};
    kvp_buf raw = {0};
    kvp_raw_key_session(&key, client, slot);
    assert_int_equal(kvp_session_encode(&record, &raw), KVP_OK);
    assert_int_equal(kvp_writeset_put(set, kvp_raw_key_slice(&key), kvp_buf_slice(&raw)), KVP_OK);
    kvp_buf_free(&raw);
}

static void put_raw(kvp_buf *set, kvp_slice key, kvp_slice value)
{
    assert_int_equal(kvp_writeset_put(set, key, value), KVP_OK);
}

static kvp_status load(struct session_table *table, kvp_buf *set)
{
    struct shelf shelf;
    shelf_open(&shelf);
    shelf_add(&shelf, kvp_buf_slice(set));
    kvp_buf_free(set);
    kvp_status status = session_table_load(table, shelf.storage);
    shelf_close(&shelf);
    return status;
}

static void test_a_restart_finds_table_and_floor_again(void **state)
{
    struct session_table table;
    kvp_buf set = {0};
    static const uint64_t order[] = {5, 900, 3};
    (void)state;
    assert_int_equal(session_table_init(&table, 3), KVP_OK);
    note(&table, 77, 0, 1, 1); /* loading forgets what was known before */
    put_raw(&set, TEXT("Dkey"), TEXT("no session"));
    put_raw(&set, TEXT("E"), TEXT("\x09\0\0\0\0\0\0\0"));
    put_raw(&set, TEXT("Tkey"), TEXT("no session"));
    put_session(&set, 3, 2, 400, SESSION_ANSWER_KEPT);
    put_session(&set, 5, 0, 20, 1);
    put_session(&set, 900, 0xffff, 300, SESSION_ANSWER_KEPT + 1);
    assert_int_equal(load(&table, &set), KVP_OK);
    assert_int_equal(table.floor, 9);
    assert_int_equal(table.count, 3);
    const struct session *session = table.oldest;
    for (size_t i = 0; i < 3; i++, session = session->newer) { /* by age, not by key */
        assert_non_null(session);
        assert_int_equal(session->client, order[i]);
        assert_int_equal(session->number, order[i]);
        assert_int_equal(session->code, 2);
    }
    assert_null(session);
    assert_false(session_find(&table, 3, 2)->stored);
    assert_int_equal(session_find(&table, 3, 2)->answer.size, SESSION_ANSWER_KEPT);
    assert_true(session_find(&table, 900, 0xffff)->stored);
    assert_int_equal(session_find(&table, 900, 0xffff)->answer.size, 0);
    assert_ptr_equal(session_victim(&table, 1, 0), session_find(&table, 5, 0));
    session_table_free(&table);
}

static void test_an_empty_state_has_no_sessions(void **state)
{
    struct session_table table;
    kvp_buf set = {0};
    (void)state;
    assert_int_equal(session_table_init(&table, 3), KVP_OK);
    assert_int_equal(load(&table, &set), KVP_OK);
    assert_int_equal(table.floor, 0);
    assert_int_equal(table.count, 0);
    session_table_free(&table);
}

static void check_damaged(kvp_slice key, kvp_slice value)
{
    struct session_table table;
    kvp_buf set = {0};
    assert_int_equal(session_table_init(&table, 3), KVP_OK);
    put_session(&set, 1, 0, 20, 1);
    put_raw(&set, key, value);
    put_session(&set, UINT64_MAX, 0, 21, 1);
    assert_int_equal(load(&table, &set), KVP_CORRUPT);
    session_table_free(&table);
}

static void test_damaged_records_are_not_believed(void **state)
{
    (void)state;
    check_damaged(TEXT("E"), TEXT("\x09\0\0\0\0\0\0"));
    check_damaged(TEXT("E"), TEXT("\x09\0\0\0\0\0\0\0\0"));
    check_damaged(TEXT("E"), TEXT(""));
    check_damaged(TEXT("S"), TEXT("\x01\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\x01"));
    check_damaged(TEXT("S\0\0\0\0\0\0\0\x07\0"), TEXT("\x01\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\x01"));
    check_damaged(TEXT("S\0\0\0\0\0\0\0\x07\0\0"), TEXT("\x01\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0"));
    check_damaged(TEXT("S\0\0\0\0\0\0\0\x07\0\0"), TEXT(""));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_remembers_the_last_request_of_each_slot),
        cmocka_unit_test(test_the_longest_unused_slot_makes_room),
        cmocka_unit_test(test_many_slots_are_told_apart),
        cmocka_unit_test(test_an_answer_leaves_only_when_it_is_the_one_applied),
        cmocka_unit_test(test_a_restart_finds_table_and_floor_again),
        cmocka_unit_test(test_an_empty_state_has_no_sessions),
        cmocka_unit_test(test_damaged_records_are_not_believed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
