/* SPDX-License-Identifier: Apache-2.0 */
/* A watch over what answers it gets: from where it asks, what it makes of failures. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "replication/wire/asker.h"
#include "replication/wire/wire.h"

#include <string.h>

/* What the next request is answered. */
struct said {
    kvp_status status;
    uint64_t asked;  /* it must ask from there */
    uint64_t next;   /* or the oldest */
    unsigned events; /* of the revision asked for, two to each transaction */
};

struct script {
    const struct said *said;
    unsigned at;
};

static kvp_slice text_of(const char *text)
{
    return kvp_slice_of(text, strlen(text));
}

static void say_events(const struct said *said, kvp_buf *answer)
{
    static const char *const keys[] = {"a", "b"};
    struct kvp_scan_writer writer;
    assert_int_equal(kvp_wire_scan_begin(&writer, answer), KVP_OK);
    for (unsigned i = 0; i < said->events; i++) {
        assert_int_equal(
            kvp_wire_scan_pair(&writer, text_of(keys[i % 2]), said->asked + i / 2, 1, text_of("v")),
            KVP_OK);
    }
    assert_int_equal(kvp_wire_scan_end(&writer, said->next, said->next, 0), KVP_OK);
}

static kvp_status on_ask(void *handle, const struct kvp_request *request, unsigned *place,
                         kvp_buf *answer)
{
    struct script *script = handle;
    const struct said *said = &script->said[script->at++];
    assert_int_equal(request->op, KVP_OP_WATCH);
    assert_int_equal(*place, 0);
    assert_true(request->version == said->asked);
    if (said->status == KVP_OK) {
        say_events(said, answer);
    } else if (said->status == KVP_COMPACTED) {
        assert_int_equal(kvp_wire_result_uint(answer, said->next), KVP_OK);
    } else {
        kvp_reason_set(answer, text_of("why"));
    }
    return said->status;
}

static kvp_watch *open_watch(struct script *script, uint64_t from)
{
    const struct kvp_asker asker = {.handle = script, .ask = on_ask};
    kvp_watch *watch = NULL;
    kvp_buf reason = {0};
    assert_int_equal(kvp_watch_start_prefix(&asker, text_of("p\xff"), from, false, &watch, &reason),
                     KVP_OK);
    return watch;
}

static void check_event(kvp_watch *watch, const char *key, uint64_t revision)
{
    kvp_event event;
    assert_int_equal(kvp_watch_next(watch, 1000, &event), KVP_OK);
    assert_int_equal(kvp_slice_compare(event.key, text_of(key)), 0);
    assert_true(event.revision == revision);
}

static void test_a_watch_goes_on_where_it_was_over_failures(void **state)
{
    static const struct said said[] = {{KVP_OK, 0, 7, 0},          {KVP_OK, 7, 9, 4},
                                       {KVP_UNAVAILABLE, 9, 0, 0}, {KVP_TIMEOUT, 9, 0, 0},
                                       {KVP_NOT_PRIMARY, 9, 0, 0}, {KVP_OK, 9, 12, 0},
                                       {KVP_OK, 12, 13, 1}};
    struct script script = {.said = said};
    (void)state;
    kvp_watch *watch = open_watch(&script, 0);
    assert_int_equal(script.at, 1);
    assert_true(kvp_watch_revision(watch) == 7);
    check_event(watch, "a", 7);
    assert_true(kvp_watch_revision(watch) == 7); /* the other one of the transaction */
    check_event(watch, "b", 7);
    assert_true(kvp_watch_revision(watch) == 8);
    check_event(watch, "a", 8);
    check_event(watch, "b", 8);
    assert_true(kvp_watch_revision(watch) == 9);
    check_event(watch, "a", 12);
    assert_int_equal(script.at, 7);
    kvp_watch_close(watch);
}

static void test_a_watch_that_comes_too_late_says_so_and_goes_on(void **state)
{
    static const struct said said[] = {{KVP_COMPACTED, 3, 50, 0}, {KVP_OK, 50, 51, 1}};
    struct script script = {.said = said};
    kvp_event event;
    (void)state;
    kvp_watch *watch = open_watch(&script, 3);
    assert_int_equal(kvp_watch_next(watch, 1000, &event), KVP_COMPACTED);
    assert_true(kvp_watch_revision(watch) == 50);
    check_event(watch, "a", 50);
    kvp_watch_close(watch);
}

static void test_what_is_refused_is_not_asked_again(void **state)
{
    static const struct said said[] = {{KVP_REFUSED, 3, 0, 0}};
    struct script script = {.said = said};
    kvp_event event;
    (void)state;
    kvp_watch *watch = open_watch(&script, 3);
    assert_int_equal(kvp_watch_next(watch, 1000, &event), KVP_REFUSED);
    assert_string_equal(kvp_watch_error(watch), "why");
    kvp_watch_close(watch);
}

static void test_a_node_that_leads_back_is_not_believed(void **state)
{
    static const struct said said[] = {{KVP_OK, 9, 5, 0}, {KVP_COMPACTED, 9, 8, 0}};
    struct script script = {.said = said};
    kvp_event event;
    (void)state;
    kvp_watch *watch = open_watch(&script, 9);
    assert_int_equal(kvp_watch_next(watch, 1000, &event), KVP_CORRUPT);
    assert_int_equal(kvp_watch_next(watch, 1000, &event), KVP_CORRUPT);
    kvp_watch_close(watch);
}

static void test_who_does_not_wait_asks_once(void **state)
{
    static const struct said said[] = {{KVP_OK, 9, 11, 0}, {KVP_UNAVAILABLE, 11, 0, 0}};
    struct script script = {.said = said};
    kvp_event event;
    (void)state;
    kvp_watch *watch = open_watch(&script, 9);
    assert_int_equal(kvp_watch_next(watch, 0, &event), KVP_TIMEOUT);
    assert_int_equal(kvp_watch_next(watch, 0, &event), KVP_TIMEOUT);
    assert_int_equal(script.at, 2);
    assert_true(kvp_watch_revision(watch) == 11);
    kvp_watch_close(watch);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_watch_goes_on_where_it_was_over_failures),
        cmocka_unit_test(test_a_watch_that_comes_too_late_says_so_and_goes_on),
        cmocka_unit_test(test_what_is_refused_is_not_asked_again),
        cmocka_unit_test(test_a_node_that_leads_back_is_not_believed),
        cmocka_unit_test(test_who_does_not_wait_asks_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
