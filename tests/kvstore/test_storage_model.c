/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Random writes, exchanges and reopenings from fixed seeds on two storages, one on disk and one in
 * memory, beside a history from which everything that they should hold follows.
 */
#include "tests/kvstore/storage_support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    STEPS = 1200,
};

struct run {
    struct depot depots[2]; /* memory, disk */
    struct history history;
    uint64_t base, applied;
    struct kvp_meta meta;
    unsigned quarantined;
    uint64_t random;
};

static unsigned long seed, step; /* said when a case fails */

static uint64_t roll(struct run *run, uint64_t count)
{
    run->random = run->random * 6364136223846793005u + 1442695040888963407u;
    return (run->random >> 33) % count;
}

static void roll_meta(struct run *run)
{
    run->meta.group_id = roll(run, UINT32_MAX);
    run->meta.view.version++;
    run->meta.view.in_sync = roll(run, UINT32_MAX);
    run->meta.unreplicated_from = roll(run, 3);
}

/* ---- what can happen ---- */

/* Cuts, appends, applies and trims, each or not, in one write. */
static void do_write(struct run *run)
{
    struct history *history = &run->history;
    uint64_t tail = history->count;
    uint64_t cut = roll(run, 4) == 0 ? roll(run, tail - run->applied + 1) : 0;
    history_cut(history, tail - cut);
    if (roll(run, 3) != 0 && history->count + 8 < HISTORY_MAX) {
        history_grow(history, step + 1, roll(run, 8));
    }
    uint64_t apply = roll(run, 2) == 0 ? roll(run, history->count - run->applied + 1) : 0;
    uint64_t trim = roll(run, 4) == 0 ? roll(run, run->applied + apply - run->base + 1) : 0;
    bool meta = roll(run, 4) == 0;
    struct kvp_storage_write write = {
        .sync = roll(run, 3) == 0,
        .truncate = cut > 0 || roll(run, 10) == 0,
        .truncate_after = tail - cut,
        .append = history->entries + (tail - cut),
        .append_count = history->count - (tail - cut),
        .apply = history->entries + run->applied,
        .apply_count = apply,
        .trim_to = run->base + trim,
        .meta = meta ? &run->meta : NULL,
    };
    if (meta) {
        roll_meta(run);
    }
    depot_write(&run->depots[0], &write);
    depot_write(&run->depots[1], &write);
    run->applied += apply;
    run->base += trim;
}

static void copy_state(struct depot *from, struct depot *to, size_t size, struct kvp_meta *meta)
{
    struct kvp_state_view *view = kvp_storage_snapshot(from->storage);
    kvp_buf chunk = {0};
    assert_non_null(view);
    assert_int_equal(kvp_storage_incoming_begin(to->storage), KVP_OK);
    for (bool last = false; !last; chunk.size = 0) {
        assert_int_equal(kvp_state_view_chunk(view, size, &chunk, &last), KVP_OK);
        assert_int_equal(kvp_storage_incoming_write(to->storage, kvp_buf_slice(&chunk)), KVP_OK);
    }
    struct kvp_point point = kvp_state_view_point(view);
    struct kvp_quarantined quarantined;
    kvp_state_view_close(view);
    kvp_buf_free(&chunk);
    assert_int_equal(
        kvp_storage_incoming_finish(to->storage, point, meta, KVP_KEEP_NOT, &quarantined), KVP_OK);
}

/* Each takes the state of the other; so both are where they were, with an empty log. */
static void do_snapshot(struct run *run)
{
    size_t size = (size_t)roll(run, 300) + 1;
    roll_meta(run);
    copy_state(&run->depots[0], &run->depots[1], size, &run->meta);
    copy_state(&run->depots[1], &run->depots[0], size, &run->meta);
    history_cut(&run->history, run->applied);
    run->base = run->applied;
}

static void do_quarantine(struct run *run)
{
    struct kvp_quarantined quarantined[2];
    roll_meta(run);
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(
            kvp_storage_quarantine(run->depots[i].storage, &run->meta, KVP_KEEP, &quarantined[i]),
            KVP_OK);
    }
    assert_string_equal(quarantined[1].name, quarantined[0].name);
    history_free(&run->history);
    run->base = run->applied = 0;
    run->quarantined++;
}

static void do_begin(struct run *run)
{
    static const char pair[] = "\2\0\0\0\1\0\0\0Dxv";
    for (unsigned i = 0; i < 2; i++) {
        struct kvp_storage *storage = run->depots[i].storage;
        assert_int_equal(kvp_storage_incoming_begin(storage), KVP_OK);
        assert_int_equal(kvp_storage_incoming_write(storage, kvp_slice_of(pair, sizeof(pair) - 1)),
                         KVP_OK);
    }
}

static void do_reopen(struct run *run)
{
    for (unsigned i = 0; i < 2; i++) {
        struct depot *depot = &run->depots[i];
        depot_reopen(depot);
        check_meta(&depot->loaded.meta, &run->meta);
        check_all(depot, &run->history, run->base + 1, run->history.count, run->applied);
        assert_int_equal(depot->loaded.stores_quarantined, run->quarantined);
    }
}

static void do_look(struct run *run)
{
    for (unsigned i = 0; i < 2; i++) {
        check_log(&run->depots[i], &run->history, run->base + 1, run->history.count);
        check_state(&run->depots[i], &run->history, run->applied);
    }
    char *memory = place_stores(&run->depots[0].place);
    place_check_stores(&run->depots[1].place, memory);
    free(memory);
}

/* ---- the run ---- */

static void do_one(struct run *run)
{
    uint64_t what = roll(run, 100);
    if (what < 84) {
        do_write(run);
    } else if (what < 90) {
        do_look(run);
    } else if (what < 94) {
        do_reopen(run);
    } else if (what < 97) {
        do_snapshot(run);
    } else if (what < 98) {
        do_begin(run);
    } else if (run->quarantined < 20) {
        do_quarantine(run);
    }
}

static struct run run; /* its depots are removed also after a failure */

static void run_seed(uint64_t number)
{
    memset(&run, 0, sizeof(run));
    seed = number;
    run.random = number;
    depot_make(&run.depots[0], false);
    depot_make(&run.depots[1], true);
    for (step = 0; step < STEPS; step++) {
        do_one(&run);
    }
    do_reopen(&run);
    depot_remove(&run.depots[0]);
    depot_remove(&run.depots[1]);
    history_free(&run.history);
    seed = 0;
}

static int clean_up(void **state)
{
    (void)state;
    if (seed != 0) {
        print_error("seed %lu, step %lu\n", seed, step);
        depot_remove(&run.depots[0]);
        depot_remove(&run.depots[1]);
        history_free(&run.history);
    }
    return 0;
}

static void test_storages_hold_what_was_written(void **state)
{
    (void)state;
    for (uint64_t number = 1; number <= 3; number++) {
        run_seed(number);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_storages_hold_what_was_written, clean_up),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
