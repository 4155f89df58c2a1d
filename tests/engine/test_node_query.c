/* SPDX-License-Identifier: Apache-2.0 */
/* Scans and transactions of an application at a node in its own process. */
#include "tests/engine/node_support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PAIRS 5000u /* more than one page */

struct fixture {
    struct place place;
    kvp_node *node;
};

static kvp_slice text_of(const char *text)
{
    return kvp_slice_of(text, strlen(text));
}

static void begin(struct fixture *f)
{
    place_open(&f->place);
    kvp_node_options options = alone(&f->place);
    f->node = node_open_serving(&options);
}

static void end(struct fixture *f)
{
    kvp_node_close(f->node);
    place_close(&f->place);
}

/* Keys k0000 to k4999, 1000 with each transaction. */
static void fill(kvp_node *node)
{
    char key[16], value[16];
    for (unsigned i = 0; i < PAIRS;) {
        bool succeeded = false;
        kvp_txn *txn = kvp_node_txn_new(node);
        assert_non_null(txn);
        do {
            snprintf(key, sizeof(key), "k%04u", i);
            snprintf(value, sizeof(value), "v%u", i);
            kvp_txn_put(txn, KVP_THEN, text_of(key), text_of(value));
        } while (++i % 1000 != 0);
        assert_int_equal(kvp_txn_commit(txn, &succeeded, NULL), KVP_OK);
        assert_true(succeeded);
        kvp_txn_free(txn);
    }
}

/* Reads `scan` to its end: keys `first` to `last`. */
static void check_scan(kvp_scan *scan, unsigned first, unsigned last, bool keys_only)
{
    kvp_slice key, value;
    uint64_t version = 0;
    char text[16];
    for (unsigned i = first; i <= last; i++) {
        assert_int_equal(kvp_scan_next(scan, &key, &value, &version), KVP_OK);
        snprintf(text, sizeof(text), "k%04u", i);
        assert_int_equal(kvp_slice_compare(key, text_of(text)), 0);
        snprintf(text, sizeof(text), "v%u", i);
        assert_int_equal(kvp_slice_compare(value, keys_only ? TEXT("") : text_of(text)), 0);
        assert_true(version > 0);
    }
    assert_int_equal(kvp_scan_next(scan, &key, &value, NULL), KVP_NOT_FOUND);
    assert_int_equal(kvp_scan_next(scan, &key, &value, NULL), KVP_NOT_FOUND);
    kvp_scan_close(scan);
}

static void test_a_scan_shows_one_point_in_time(void **state)
{
    struct fixture f;
    kvp_scan *scan = NULL;
    (void)state;
    begin(&f);
    fill(f.node);
    assert_int_equal(kvp_node_scan_open(f.node, TEXT(""), TEXT(""), false, &scan), KVP_OK);
    must_put(f.node, "k4999", "changed later", NULL);
    must_put(f.node, "z", "came later", NULL);
    check_scan(scan, 0, PAIRS - 1, false);
    assert_int_equal(kvp_node_scan_open(f.node, TEXT("k0010"), TEXT("k0020"), true, &scan), KVP_OK);
    check_scan(scan, 10, 19, true);
    assert_int_equal(kvp_node_scan_open_prefix(f.node, TEXT("k012"), false, &scan), KVP_OK);
    check_scan(scan, 120, 129, false);
    assert_int_equal(kvp_node_scan_open_prefix(f.node, TEXT("nothing"), false, &scan), KVP_OK);
    check_scan(scan, 1, 0, false);
    end(&f);
}

/* Of the keys `first` to `last`, over several pages. */
static void check_backwards(struct fixture *f, kvp_slice start, kvp_slice end, unsigned first,
                            unsigned last)
{
    kvp_scan *scan = NULL;
    kvp_slice key, value;
    char text[16];
    assert_int_equal(kvp_node_scan_open_backwards(f->node, start, end, false, &scan), KVP_OK);
    for (unsigned i = last + 1; i > first; i--) {
        assert_int_equal(kvp_scan_next(scan, &key, &value, NULL), KVP_OK);
        snprintf(text, sizeof(text), "k%04u", i - 1);
        assert_int_equal(kvp_slice_compare(key, text_of(text)), 0);
        snprintf(text, sizeof(text), "v%u", i - 1);
        assert_int_equal(kvp_slice_compare(value, text_of(text)), 0);
    }
    assert_int_equal(kvp_scan_next(scan, &key, &value, NULL), KVP_NOT_FOUND);
    kvp_scan_close(scan);
}

static void test_a_scan_backwards_shows_the_same_from_the_end_on(void **state)
{
    struct fixture f;
    (void)state;
    begin(&f);
    fill(f.node);
    check_backwards(&f, TEXT(""), TEXT(""), 0, PAIRS - 1);
    check_backwards(&f, TEXT("k0010"), TEXT("k0020"), 10, 19);
    check_backwards(&f, TEXT("k00099"), TEXT("k00199"), 10, 19);
    check_backwards(&f, TEXT("a"), TEXT("k0003"), 0, 2);
    check_backwards(&f, TEXT("k4998"), TEXT("z"), 4998, 4999);
    check_backwards(&f, TEXT("l"), TEXT(""), 1, 0);
    check_backwards(&f, TEXT("a"), TEXT("b"), 1, 0);
    end(&f);
}

/* Each that is left early gives its place back, or the node's places would be taken. */
static void test_scans_that_are_left_early_hold_no_place(void **state)
{
    struct fixture f;
    kvp_slice key, value;
    (void)state;
    begin(&f);
    fill(f.node);
    for (unsigned i = 0; i < 300; i++) {
        kvp_scan *scan = NULL;
        assert_int_equal(kvp_node_scan_open(f.node, TEXT(""), TEXT(""), true, &scan), KVP_OK);
        assert_int_equal(kvp_scan_next(scan, &key, &value, NULL), KVP_OK);
        assert_string_equal(kvp_scan_error(scan), "");
        kvp_scan_close(scan);
    }
    end(&f);
}

static void check_event(kvp_watch *watch, const char *key, const char *value)
{
    kvp_event event;
    assert_int_equal(kvp_watch_next(watch, 5000, &event), KVP_OK);
    assert_int_equal(kvp_slice_compare(event.key, text_of(key)), 0);
    assert_int_equal(kvp_slice_compare(event.value, text_of(value != NULL ? value : "")), 0);
    assert_int_equal(event.create_revision != 0, value != NULL);
}

static void test_a_watch_tells_what_happens_from_its_opening_on(void **state)
{
    struct fixture f;
    kvp_watch *watch = NULL, *later = NULL;
    kvp_event event;
    (void)state;
    begin(&f);
    must_put(f.node, "w/before", "1", NULL);
    assert_int_equal(kvp_node_watch_open_prefix(f.node, TEXT("w/"), 0, false, &watch), KVP_OK);
    assert_int_equal(kvp_watch_next(watch, 0, &event), KVP_TIMEOUT);
    must_put(f.node, "w/a", "1", NULL);
    uint64_t from = kvp_watch_revision(watch);
    must_put(f.node, "x", "1", NULL);
    must_put(f.node, "w/b", "2", NULL);
    assert_int_equal(kvp_node_delete(f.node, TEXT("w/a"), 0, NULL), KVP_OK);
    check_event(watch, "w/a", "1");
    check_event(watch, "w/b", "2");
    assert_int_equal(kvp_node_watch_open(f.node, TEXT("w/b"), TEXT("w/c"), from, false, &later),
                     KVP_OK);
    check_event(later, "w/b", "2");
    check_event(watch, "w/a", NULL);
    assert_int_equal(kvp_watch_next(watch, 20, &event), KVP_TIMEOUT);
    kvp_watch_close(later);
    kvp_watch_close(watch);
    end(&f);
}

static void test_a_transaction_takes_one_branch(void **state)
{
    struct fixture f;
    bool succeeded = true;
    uint64_t version = 0, revision = 0, found = 0;
    kvp_slice value;
    (void)state;
    begin(&f);
    must_put(f.node, "a", "one", &version);
    kvp_txn *txn = kvp_node_txn_new(f.node);
    kvp_txn_if_absent(txn, TEXT("b"));
    kvp_txn_if_present(txn, TEXT("a"));
    kvp_txn_if_version(txn, TEXT("a"), '=', version);
    kvp_txn_if_value(txn, TEXT("a"), true, TEXT("one"));
    kvp_txn_get(txn, KVP_THEN, TEXT("a"));
    kvp_txn_put(txn, KVP_THEN, TEXT("b"), TEXT("two"));
    kvp_txn_delete(txn, KVP_THEN, TEXT("a"));
    kvp_txn_get(txn, KVP_ELSE, TEXT("b"));
    assert_int_equal(kvp_txn_commit(txn, &succeeded, &revision), KVP_OK);
    assert_true(succeeded && revision > version);
    assert_int_equal(kvp_txn_result_count(txn), 3);
    assert_int_equal(kvp_txn_result(txn, 0, &value, &found), KVP_OK);
    assert_true(kvp_slice_compare(value, TEXT("one")) == 0 && found == version);
    assert_int_equal(kvp_txn_result(txn, 1, NULL, NULL), KVP_OK);
    assert_int_equal(kvp_txn_result(txn, 2, NULL, NULL), KVP_OK);
    check_value(f.node, "a", NULL, 0);
    check_value(f.node, "b", "two", revision);
    /* Again: the compares do not hold any more. */
    assert_int_equal(kvp_txn_commit(txn, &succeeded, NULL), KVP_OK);
    assert_false(succeeded);
    assert_int_equal(kvp_txn_result_count(txn), 1);
    assert_int_equal(kvp_txn_result(txn, 0, &value, &found), KVP_OK);
    assert_true(kvp_slice_compare(value, TEXT("two")) == 0 && found == revision);
    kvp_txn_free(txn);
    end(&f);
}

static void test_a_transaction_that_cannot_be_is_refused(void **state)
{
    struct fixture f;
    (void)state;
    begin(&f);
    kvp_txn *txn = kvp_node_txn_new(f.node);
    kvp_txn_put(txn, KVP_THEN, TEXT(""), TEXT("x"));
    assert_int_equal(kvp_txn_commit(txn, NULL, NULL), KVP_BAD_ARGUMENT);
    assert_string_equal(kvp_txn_error(txn), "the key is empty");
    kvp_txn_free(txn);
    kvp_node_stop(f.node);
    assert_int_equal(kvp_node_wait_end(f.node, WAIT_MS), KVP_OK);
    txn = kvp_node_txn_new(f.node);
    kvp_txn_put(txn, KVP_THEN, TEXT("a"), TEXT("x"));
    assert_int_equal(kvp_txn_commit(txn, NULL, NULL), KVP_NOT_PRIMARY);
    kvp_txn_free(txn);
    kvp_scan *scan = NULL;
    assert_int_equal(kvp_node_scan_open(f.node, TEXT(""), TEXT(""), true, &scan), KVP_NOT_PRIMARY);
    assert_null(scan);
    end(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_scan_shows_one_point_in_time),
        cmocka_unit_test(test_a_scan_backwards_shows_the_same_from_the_end_on),
        cmocka_unit_test(test_scans_that_are_left_early_hold_no_place),
        cmocka_unit_test(test_a_watch_tells_what_happens_from_its_opening_on),
        cmocka_unit_test(test_a_transaction_takes_one_branch),
        cmocka_unit_test(test_a_transaction_that_cannot_be_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
