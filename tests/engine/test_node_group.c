/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two nodes in one process, with a witness or as a pair: one goes away, the other takes over, and
 * calls that are under way at that moment end as the header says.
 */
#include "tests/engine/node_support.h"

#include "kvpair/kvp_client.h"
#include "kvstore/base/clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define BOTH ((1u << 1) | (1u << 2))

struct group {
    struct place place;
    struct watcher *witness; /* NULL: a pair */
    char witness_url[64];
    kvp_node_options options[3];
    kvp_node *nodes[3]; /* by id; NULL: closed */
    unsigned primary, backup;
};

/* ---- both ---- */

static void settle(struct group *group)
{
    kvp_node *serving = wait_any_serving(group->nodes[1], group->nodes[2]);
    group->primary = serving == group->nodes[1] ? 1 : 2;
    group->backup = 3 - group->primary;
    if (group->nodes[group->backup] != NULL) {
        wait_in_sync(serving, BOTH);
        wait_in_sync(group->nodes[group->backup], BOTH);
    }
}

static void configure(struct group *group, const char *pair)
{
    memset(group, 0, sizeof(*group));
    place_open(&group->place);
    group->witness = pair != NULL ? NULL : witness_open(group->witness_url);
    for (unsigned id = 1; id <= 2; id++) {
        group->options[id] =
            member(&group->place, id, pair != NULL ? NULL : group->witness_url, pair);
    }
}

static void start(struct group *group)
{
    for (unsigned id = 1; id <= 2; id++) {
        group->nodes[id] = node_open(&group->options[id]);
    }
    settle(group);
}

static kvp_node *primary(const struct group *group)
{
    return group->nodes[group->primary];
}

static void lose(struct group *group, unsigned id)
{
    kvp_node_close(group->nodes[id]);
    group->nodes[id] = NULL;
}

static void end(struct group *group)
{
    lose(group, 1);
    lose(group, 2);
    if (group->witness != NULL) {
        witness_close(group->witness);
    }
    place_close(&group->place);
}

/* ---- taking over ---- */

static void check_backup_refuses(const struct group *group)
{
    kvp_node *backup = group->nodes[group->backup];
    kvp_node_state now;
    kvp_buf value = {0};
    kvp_node_get_state(backup, &now);
    assert_int_equal(now.role, KVP_ROLE_BACKUP);
    assert_false(now.serving);
    assert_int_equal(now.primary_id, group->primary);
    assert_int_equal(kvp_node_put(backup, TEXT("a"), TEXT("x"), NULL), KVP_NOT_PRIMARY);
    assert_int_equal(kvp_node_get(backup, TEXT("a"), &value, NULL), KVP_NOT_PRIMARY);
    assert_int_equal(kvp_node_wait_serving(backup, 1), KVP_TIMEOUT);
}

/* One is closed as in a crash; the other has everything, goes on, and takes it back when it is
 * there again. Then the same the other way round. */
static void check_takeovers(const char *pair)
{
    struct group group;
    uint64_t first = 0, second = 0, epoch = 0;
    kvp_node_state now;
    configure(&group, pair);
    start(&group);
    must_put(primary(&group), "a", "zero", &first);
    check_backup_refuses(&group);
    for (unsigned round = 0; round < 2; round++) {
        unsigned lost = group.primary;
        must_put(primary(&group), "a", "one", &first);
        lose(&group, lost);
        settle(&group);
        assert_int_equal(group.backup, lost);
        kvp_node_get_state(primary(&group), &now);
        assert_true(now.epoch > epoch);
        epoch = now.epoch;
        check_value(primary(&group), "a", "one", first);
        must_put(primary(&group), "b", "alone", &second);
        assert_true(second > first);
        group.nodes[lost] = node_open(&group.options[lost]);
        settle(&group);
        check_backup_refuses(&group);
        check_value(primary(&group), "b", "alone", second);
    }
    end(&group);
}

/* What the application at a backup sees of its own node. */
static void test_a_backup_tells_what_it_has_applied_to_who_takes_that(void **state)
{
    struct group group;
    kvp_watch *watch = NULL, *stale = NULL;
    kvp_event event;
    (void)state;
    configure(&group, NULL);
    start(&group);
    kvp_node *backup = group.nodes[group.backup];
    assert_int_equal(kvp_node_watch_open_prefix(backup, TEXT("w/"), 0, true, &stale), KVP_OK);
    assert_int_equal(kvp_node_watch_open_prefix(backup, TEXT("w/"), 1, false, &watch), KVP_OK);
    must_put(primary(&group), "w/a", "1", NULL);
    assert_int_equal(kvp_watch_next(stale, 5000, &event), KVP_OK);
    assert_int_equal(kvp_slice_compare(event.key, TEXT("w/a")), 0);
    assert_int_equal(kvp_watch_next(watch, 50, &event), KVP_TIMEOUT);
    kvp_watch_close(stale);
    kvp_watch_close(watch);
    end(&group);
}

static void test_the_other_takes_over_with_a_witness(void **state)
{
    (void)state;
    check_takeovers(NULL);
}

static void test_the_other_takes_over_in_a_pair(void **state)
{
    (void)state;
    check_takeovers("backup-wins");
}

static void test_a_stopping_primary_hands_over(void **state)
{
    struct group group;
    uint64_t version = 0;
    (void)state;
    configure(&group, NULL);
    start(&group);
    must_put(primary(&group), "a", "one", &version);
    unsigned leaving = group.primary;
    kvp_node_stop(group.nodes[leaving]);
    assert_int_equal(kvp_node_wait_end(group.nodes[leaving], WAIT_MS), KVP_OK);
    assert_int_equal(kvp_node_wait_serving(group.nodes[3 - leaving], WAIT_MS), KVP_OK);
    check_value(group.nodes[3 - leaving], "a", "one", version);
    wait_in_sync(group.nodes[3 - leaving], 1u << (3 - leaving));
    end(&group);
}

static void test_a_primary_hands_over_to_the_node_named(void **state)
{
    struct group group;
    uint64_t version = 0;
    (void)state;
    configure(&group, NULL);
    start(&group);
    must_put(primary(&group), "a", "one", &version);
    for (unsigned round = 0; round < 2; round++) {
        unsigned target = round == 0 ? group.backup : 0;
        assert_int_equal(kvp_node_handover(group.nodes[group.backup], 0), KVP_NOT_PRIMARY);
        assert_int_equal(kvp_node_handover(primary(&group), group.primary), KVP_OK);
        assert_int_equal(kvp_node_handover(primary(&group), KVP_NODE_ID_MAX), KVP_REFUSED);
        assert_int_equal(kvp_node_handover(primary(&group), KVP_NODE_ID_MAX + 1), KVP_BAD_ARGUMENT);
        unsigned next = group.backup;
        assert_int_equal(kvp_node_handover(primary(&group), target), KVP_OK);
        assert_int_equal(kvp_node_wait_serving(group.nodes[next], WAIT_MS), KVP_OK);
        settle(&group);
        assert_int_equal(group.primary, next);
        check_value(primary(&group), "a", "one", version);
    }
    end(&group);
}

static void test_a_primary_goes_on_without_its_backup(void **state)
{
    struct group group;
    uint64_t version = 0;
    (void)state;
    configure(&group, "primary-wins");
    start(&group);
    lose(&group, group.backup);
    must_put(primary(&group), "a", "alone", &version); /* waits until the other is given up */
    wait_in_sync(primary(&group), 1u << group.primary);
    check_value(primary(&group), "a", "alone", version);
    group.nodes[group.backup] = node_open(&group.options[group.backup]);
    settle(&group);
    end(&group);
}

static void test_without_the_witness_nobody_serves(void **state)
{
    struct group group;
    char nowhere[64];
    (void)state;
    configure(&group, NULL);
    snprintf(nowhere, sizeof(nowhere), "tcp://127.0.0.1:%u", free_port());
    kvp_node_options options = group.options[1];
    options.witness = nowhere;
    options.peers = NULL;
    kvp_node *node = node_open(&options);
    assert_int_equal(kvp_node_wait_serving(node, 300), KVP_TIMEOUT);
    assert_int_equal(kvp_node_put(node, TEXT("a"), TEXT("x"), NULL), KVP_NOT_PRIMARY);
    kvp_node_close(node);
    end(&group);
}

/* ---- calls under way ---- */

/* The end of the node's log, as its STATUS tells. */
static unsigned long tail_of(kvp_client *client, kvp_node *node)
{
    kvp_result result;
    assert_int_equal(kvp_node_status(client, kvp_node_url(node), &result), KVP_OK);
    assert_int_equal(kvp_buf_append(&result.value, "", 1), KVP_OK);
    const char *tail = strstr((const char *)result.value.data, "\"tail\":");
    assert_non_null(tail);
    unsigned long seq = strtoul(tail + 7, NULL, 10);
    kvp_result_free(&result);
    return seq;
}

static void wait_tail(kvp_client *client, kvp_node *node, unsigned long seq)
{
    uint64_t deadline_us = kvp_clock_now_us() + WAIT_MS * 1000ull;
    struct timespec pause = {0, 5000000};
    while (tail_of(client, node) < seq) {
        assert_true(kvp_clock_now_us() < deadline_us);
        nanosleep(&pause, NULL);
    }
}

struct call {
    kvp_node *node;
    kvp_status status;
};

static void *put(void *arg)
{
    struct call *call = arg;
    call->status = kvp_node_put(call->node, TEXT("late"), TEXT("x"), NULL);
    return NULL;
}

/*
 * A pair whose backup is lost, with leases so long that the primary still takes updates, and which
 * it can never commit. Only the primary's log tells that the calls have come so far.
 */
static void start_stuck(struct group *group, uint32_t timeout_ms)
{
    configure(group, "backup-wins");
    for (unsigned id = 1; id <= 2; id++) {
        group->options[id].lease_ms = 6000;
        group->options[id].grace_ms = 7000;
        group->options[id].timeout_ms = timeout_ms;
    }
    start(group);
    must_put(primary(group), "a", "before", NULL);
    lose(group, group->backup);
}

static void test_a_call_under_way_ends_when_the_node_is_closed(void **state)
{
    enum {
        CALLS = 4,
    };
    struct group group;
    struct call calls[CALLS];
    pthread_t threads[CALLS];
    kvp_client *client = NULL;
    kvp_client_options options;
    (void)state;
    start_stuck(&group, WAIT_MS);
    kvp_client_options_init(&options);
    options.nodes = kvp_node_url(primary(&group));
    assert_int_equal(kvp_client_open(&options, &client, NULL, 0), KVP_OK);
    unsigned long tail = tail_of(client, primary(&group));
    for (unsigned i = 0; i < CALLS; i++) {
        calls[i].node = primary(&group);
        assert_int_equal(pthread_create(&threads[i], NULL, put, &calls[i]), 0);
    }
    wait_tail(client, primary(&group), tail + CALLS);
    kvp_client_close(client);
    lose(&group, group.primary);
    for (unsigned i = 0; i < CALLS; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(calls[i].status, KVP_UNCERTAIN);
    }
    end(&group);
}

static void test_a_call_over_its_deadline_is_unknown(void **state)
{
    struct group group;
    (void)state;
    start_stuck(&group, 1500);
    struct call call = {.node = primary(&group)};
    put(&call);
    assert_int_equal(call.status, KVP_TIMEOUT_UNKNOWN);
    end(&group); /* the answer still comes, and frees the call */
}

/* ---- fencing ---- */

static void fence_with(struct group *group, const char *command, struct watch *watch)
{
    configure(group, NULL);
    for (unsigned id = 1; id <= 2; id++) {
        group->options[id].fence_command = command;
        group->options[id].arg = watch;
    }
}

static void test_the_fence_command_runs_before_a_promotion(void **state)
{
    struct group group;
    char command[128], path[96];
    (void)state;
    snprintf(path, sizeof(path), "/tmp/kvp-fence-%u", (unsigned)getpid());
    snprintf(command, sizeof(command), "echo fenced >> %s", path);
    fence_with(&group, command, NULL);
    start(&group);
    unlink(path); /* the founding of the group is none of our business */
    must_put(primary(&group), "a", "one", NULL);
    lose(&group, group.primary);
    settle(&group);
    assert_int_equal(access(path, F_OK), 0);
    unlink(path);
    end(&group);
}

static void test_a_failed_fence_command_forbids_it(void **state)
{
    struct group group;
    struct watch watch;
    (void)state;
    watch_open(&watch, "fence_failed");
    fence_with(&group, "exit 1", &watch);
    start(&group);
    must_put(primary(&group), "a", "one", NULL);
    lose(&group, group.primary);
    watch_wait(&watch, 2); /* it is tried again, and never overridden */
    assert_int_equal(kvp_node_wait_serving(group.nodes[group.backup], 1), KVP_TIMEOUT);
    end(&group);
    watch_close(&watch);
}

static void test_closing_does_not_wait_for_a_fence_command(void **state)
{
    struct group group;
    struct watch watch;
    (void)state;
    watch_open(&watch, "fence_started");
    fence_with(&group, "sleep 25; exit 1", &watch); /* its limit is 30 s */
    start(&group);
    lose(&group, group.primary);
    watch_wait(&watch, 1);
    uint64_t started_us = kvp_clock_now_us();
    lose(&group, group.backup);
    assert_true(kvp_clock_now_us() - started_us < 15000000);
    end(&group);
    watch_close(&watch);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_backup_tells_what_it_has_applied_to_who_takes_that),
        cmocka_unit_test(test_the_other_takes_over_with_a_witness),
        cmocka_unit_test(test_the_other_takes_over_in_a_pair),
        cmocka_unit_test(test_a_stopping_primary_hands_over),
        cmocka_unit_test(test_a_primary_hands_over_to_the_node_named),
        cmocka_unit_test(test_a_primary_goes_on_without_its_backup),
        cmocka_unit_test(test_without_the_witness_nobody_serves),
        cmocka_unit_test(test_a_call_under_way_ends_when_the_node_is_closed),
        cmocka_unit_test(test_a_call_over_its_deadline_is_unknown),
        cmocka_unit_test(test_the_fence_command_runs_before_a_promotion),
        cmocka_unit_test(test_a_failed_fence_command_forbids_it),
        cmocka_unit_test(test_closing_does_not_wait_for_a_fence_command),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
