/* SPDX-License-Identifier: Apache-2.0 */
/* The table of sessions: who is known, who goes first, and what a new primary finds in the store.
 */
#include "tests/engine/engine_support.h"

#include "kvstore/writeset.h"
#include "replication/engine/session.h"

#include <stdlib.h>
#include <string.h>

static void open_table(struct session_table *table, size_t count_max)
{
    const struct session_config config = {
        .count_max = count_max, .large_max = 1000000, .idle_us = 1000};
    assert_int_equal(session_table_init(table, &config), KVP_OK);
    table->aged = UINT64_MAX; /* whoever was not used for the longest time may go */
}

static void note(struct session_table *table, uint64_t client, uint16_t slot, uint64_t number,
                 uint64_t seq)
{
    struct kvp_session_record record = {.number = number, .seq = seq, .code = 2};
    struct session_found found = {.known = session_find(table, client, slot) != NULL};
    struct session *spare = NULL;
    kvp_buf answer = {0};
    assert_int_equal(session_reserve(table, &found, sizeof(seq), &spare), KVP_OK);
    assert_int_equal(kvp_buf_append(&answer, &seq, sizeof(seq)), KVP_OK);
    session_note(table, spare, &found, client, slot, &record, &answer);
    assert_int_equal(answer.size, 0); /* the table has it now */
    assert_true(answer.data == NULL ||
                answer.data != session_find(table, client, slot)->answer.data);
    kvp_buf_free(&answer);
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

static void check_victim(struct session_table *table, uint64_t client)
{
    struct session_age victim;
    assert_true(session_victim(table, &victim));
    assert_int_equal(victim.client, client);
}

static void drop(struct session_table *table)
{
    struct session_age victim;
    assert_true(session_victim(table, &victim));
    session_drop(table, victim);
}

static void test_remembers_the_last_request_of_each_slot(void **state)
{
    struct session_table table;
    (void)state;
    open_table(&table, 8);
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
    struct session_age victim;
    (void)state;
    open_table(&table, 3);
    note(&table, 1, 0, 1, 10);
    note(&table, 2, 0, 1, 11);
    assert_false(session_victim(&table, &victim)); /* there is room */
    note(&table, 3, 0, 1, 12);
    check_victim(&table, 1);
    note(&table, 1, 0, 2, 13); /* used again: now client 2 is the oldest */
    check_victim(&table, 2);
    drop(&table);
    assert_null(session_find(&table, 2, 0));
    assert_int_equal(table.floor, 11);
    assert_int_equal(table.count, 2);
    note(&table, 9, 0, 1, 14);
    drop(&table);
    assert_null(session_find(&table, 3, 0));
    assert_int_equal(table.floor, 12);
    session_table_free(&table);
}

static void test_a_slot_that_is_not_idle_makes_no_room(void **state)
{
    struct session_table table;
    struct session_age victim;
    const char *reason = NULL;
    (void)state;
    open_table(&table, 2);
    table.aged = 0;
    table.mark_us = table.last_us = 5000;
    note(&table, 1, 0, 1, 10);
    note(&table, 2, 0, 1, 11);
    session_age(&table, 5999, 11);
    assert_false(session_victim(&table, &victim));
    assert_false(session_may_begin(&table, 0, &reason));
    assert_non_null(reason);
    table.last_us = 5999;
    session_age(&table, 6000, 11); /* what was there at 5000 is idle: nothing */
    assert_false(session_victim(&table, &victim));
    table.last_us = 6500;
    session_age(&table, 7000, 12); /* what was there at 6000 */
    check_victim(&table, 1);
    assert_int_equal(table.aged, 11);
    session_age(&table, 7500, 15); /* nothing was used since 6500 */
    assert_int_equal(table.aged, 15);
    assert_true(session_may_begin(&table, SESSION_SLOTS_OF_CLIENT_MAX - 1, &reason));
    assert_false(session_may_begin(&table, SESSION_SLOTS_OF_CLIENT_MAX, &reason));
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
    struct session_age victim;
    (void)state;
    open_table(&table, 1); /* no bound of its own: see victim */
    for (unsigned i = 0; i < CLIENTS * SLOTS; i++) {
        note(&table, UINT64_C(1) << (i / SLOTS), (uint16_t)(i % SLOTS), i + 1, 100 + i);
    }
    assert_int_equal(table.count, CLIENTS * SLOTS);
    for (unsigned i = 0; i < CLIENTS * SLOTS; i++) {
        check(&table, UINT64_C(1) << (i / SLOTS), (uint16_t)(i % SLOTS), i + 1, 100 + i);
    }
    for (unsigned i = 0; i < CLIENTS * SLOTS; i++) {
        assert_true(session_victim(&table, &victim));
        assert_int_equal(victim.seq, 100 + i);
        session_drop(&table, victim);
        assert_null(session_find(&table, UINT64_C(1) << (i / SLOTS), (uint16_t)(i % SLOTS)));
    }
    assert_false(session_victim(&table, &victim));
    session_table_free(&table);
}

static void test_an_answer_leaves_only_when_it_is_the_one_applied(void **state)
{
    struct session_table table;
    (void)state;
    open_table(&table, 8);
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

static void test_ages_come_out_in_order(void **state)
{
    enum {
        COUNT = 3000,
    };
    struct session_ages ages = {0};
    uint64_t random = 1, last = 0;
    (void)state;
    for (unsigned i = 0; i < COUNT; i++) {
        random = random * 6364136223846793005u + 1442695040888963407u;
        assert_int_equal(session_ages_reserve(&ages), KVP_OK);
        session_ages_push(&ages, (struct session_age){.seq = random >> 40, .client = random});
        if (i % 5 == 4) {
            (void)session_ages_pop(&ages);
        }
    }
    while (ages.count > 0) {
        struct session_age age = session_ages_pop(&ages);
        assert_true(age.seq >= last && age.seq == age.client >> 40);
        last = age.seq;
    }
    session_ages_free(&ages);
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

static kvp_status load(struct session_table *table, struct shelf *shelf, kvp_buf *set)
{
    shelf_open(shelf);
    shelf_add(shelf, kvp_buf_slice(set));
    kvp_buf_free(set);
    kvp_status status = session_table_start(table, shelf->storage, 1000, 1);
    while (status == KVP_OK && table->loading) {
        status = session_table_load(table, 1);
    }
    session_table_release(table);
    return status;
}

static void check_cold(const struct session_table *table, struct shelf *shelf, uint64_t client,
                       uint16_t slot, size_t answer_size)
{
    kvp_buf scratch = {0};
    struct session_found found;
    assert_int_equal(session_look(table, shelf->storage, client, slot, &scratch, &found), KVP_OK);
    assert_true(found.known && found.cold);
    assert_int_equal(found.number, client);
    assert_int_equal(found.code, 2);
    assert_int_equal(found.answer.size, answer_size);
    kvp_buf_free(&scratch);
}

static void test_a_new_primary_finds_table_floor_and_age(void **state)
{
    struct session_table table;
    struct shelf shelf;
    struct session_found found;
    kvp_buf set = {0}, scratch = {0};
    static const uint64_t order[] = {5, 900, 3};
    (void)state;
    open_table(&table, 1);
    note(&table, 77, 0, 1, 1); /* what was known before is forgotten */
    put_raw(&set, TEXT("Dkey"), TEXT("no session"));
    put_raw(&set, TEXT("E"), TEXT("\x09\0\0\0\0\0\0\0"));
    put_raw(&set, TEXT("Ea"), TEXT("\xff\x01\0\0\0\0\0\0"));
    put_raw(&set, TEXT("Tkey"), TEXT("no session"));
    put_session(&set, 3, 2, 400, SESSION_ANSWER_KEPT);
    put_session(&set, 5, 0, 20, 1);
    put_session(&set, 6, 0, 9, 1); /* dropped: at the floor */
    put_session(&set, 900, 0xffff, 300, SESSION_ANSWER_KEPT + 1);
    assert_int_equal(load(&table, &shelf, &set), KVP_OK);
    assert_int_equal(table.floor, 9);
    assert_int_equal(table.aged, 511);
    assert_int_equal(table.count, 0);
    assert_int_equal(table.cold_count, 3);
    assert_int_equal(table.large_size, SESSION_ANSWER_KEPT + 1);
    check_cold(&table, &shelf, 3, 2, SESSION_ANSWER_KEPT);
    check_cold(&table, &shelf, 900, 0xffff, SESSION_ANSWER_KEPT + 1);
    assert_int_equal(session_look(&table, shelf.storage, 6, 0, &scratch, &found), KVP_OK);
    assert_false(found.known);
    assert_int_equal(session_look(&table, shelf.storage, 77, 0, &scratch, &found), KVP_OK);
    assert_false(found.known);
    for (size_t i = 0; i < 3; i++) { /* by age, not by key */
        check_victim(&table, order[i]);
        drop(&table);
    }
    assert_int_equal(table.cold_count, 0);
    assert_int_equal(table.large_size, 0);
    kvp_buf_free(&scratch);
    session_table_free(&table);
    shelf_close(&shelf);
}

static void test_an_empty_state_has_no_sessions(void **state)
{
    struct session_table table;
    struct shelf shelf;
    kvp_buf set = {0};
    (void)state;
    open_table(&table, 3);
    assert_int_equal(load(&table, &shelf, &set), KVP_OK);
    assert_int_equal(table.floor, 0);
    assert_int_equal(table.aged, 0);
    assert_int_equal(table.count + table.cold_count, 0);
    session_table_free(&table);
    shelf_close(&shelf);
}

static void check_damaged(kvp_slice key, kvp_slice value)
{
    struct session_table table;
    struct shelf shelf;
    kvp_buf set = {0};
    open_table(&table, 3);
    put_session(&set, 1, 0, 20, 1);
    put_raw(&set, key, value);
    put_session(&set, UINT64_MAX, 0, 21, 1);
    assert_int_equal(load(&table, &shelf, &set), KVP_CORRUPT);
    session_table_free(&table);
    shelf_close(&shelf);
}

static void test_damaged_records_are_not_believed(void **state)
{
    (void)state;
    check_damaged(TEXT("E"), TEXT("\x09\0\0\0\0\0\0"));
    check_damaged(TEXT("E"), TEXT("\x09\0\0\0\0\0\0\0\0"));
    check_damaged(TEXT("E"), TEXT(""));
    check_damaged(TEXT("Ea"), TEXT("\x09"));
    check_damaged(TEXT("S"), TEXT("\x01\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\x01"));
    check_damaged(TEXT("S\0\0\0\0\0\0\0\x07\0"), TEXT("\x01\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\x01"));
    check_damaged(TEXT("S\0\0\0\0\0\0\0\x07\0\0"), TEXT("\x01\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0"));
    check_damaged(TEXT("S\0\0\0\0\0\0\0\x07\0\0"), TEXT(""));
}

/* The room of a small answer goes back for the next one; that of a large one is freed. */
static void test_no_slot_hands_on_the_room_of_a_large_answer(void **state)
{
    static const uint8_t bytes[100];
    struct session_table table;
    struct session_found found = {.known = true};
    struct kvp_session_record record = {.number = 2, .seq = 2};
    kvp_buf answer = {0};
    (void)state;
    open_table(&table, 8);
    note(&table, 7, 0, 1, 1);
    assert_int_equal(kvp_buf_append(&answer, bytes, sizeof(bytes)), KVP_OK);
    session_note(&table, NULL, &found, 7, 0, &record, &answer);
    assert_true(answer.size == 0 && answer.capacity > 0);
    assert_int_equal(kvp_buf_append(&answer, bytes, 1), KVP_OK);
    session_note(&table, NULL, &found, 7, 0, &record, &answer);
    assert_int_equal(answer.capacity, 0);
    check_slice(kvp_buf_slice(&session_find(&table, 7, 0)->answer), kvp_slice_of(bytes, 1));
    session_table_free(&table);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_slot_hands_on_the_room_of_a_large_answer),
        cmocka_unit_test(test_remembers_the_last_request_of_each_slot),
        cmocka_unit_test(test_the_longest_unused_slot_makes_room),
        cmocka_unit_test(test_a_slot_that_is_not_idle_makes_no_room),
        cmocka_unit_test(test_many_slots_are_told_apart),
        cmocka_unit_test(test_an_answer_leaves_only_when_it_is_the_one_applied),
        cmocka_unit_test(test_ages_come_out_in_order),
        cmocka_unit_test(test_a_new_primary_finds_table_floor_and_age),
        cmocka_unit_test(test_an_empty_state_has_no_sessions),
        cmocka_unit_test(test_damaged_records_are_not_believed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
