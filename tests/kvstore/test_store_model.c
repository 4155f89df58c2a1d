/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Random operations from fixed seeds on a directory on disk and on one in memory, which is simple
 * enough to be believed: every status and everything that can be read must be the same.
 */
#include "tests/kvstore/kv_support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    STORES = 3,
    SNAPSHOTS = 4,
    OPS_MAX = 12,
    STEPS = 4000,
    VALUE_MAX = 3000,
};

static const char *const names[STORES] = {"one", "two", "three"};

/* One of the two directories; the store of each name may be open, with snapshots of the past. */
struct side {
    struct place place;
    struct kvp_store *stores[STORES];
    struct kvp_snapshot *snapshots[STORES][SNAPSHOTS];
};

struct both {
    struct side side[2]; /* memory, disk */
    uint64_t random;
};

static unsigned long seed, step; /* said when a case fails */

static unsigned roll(struct both *both, unsigned count)
{
    both->random = both->random * 6364136223846793005u + 1442695040888963407u;
    return (unsigned)((both->random >> 33) % count);
}

/* ---- writing ---- */

struct batch {
    struct kvp_batch_op ops[OPS_MAX];
    char keys[OPS_MAX][8];
    uint8_t bytes[VALUE_MAX];
    size_t count;
    bool sync;
};

/* Few short keys, so that they meet again; values that differ in length and content. */
static void roll_batch(struct both *both, struct batch *batch)
{
    for (size_t i = 0; i < VALUE_MAX; i++) {
        batch->bytes[i] = (uint8_t)roll(both, 256);
    }
    batch->count = roll(both, OPS_MAX + 1);
    batch->sync = roll(both, 8) == 0;
    for (size_t i = 0; i < batch->count; i++) {
        unsigned key_size = 1 + roll(both, 3);
        for (unsigned j = 0; j < key_size; j++) {
            batch->keys[i][j] = "ab\0\xff"[roll(both, 4)];
        }
        size_t size = roll(both, 4) == 0 ? roll(both, VALUE_MAX) : roll(both, 20);
        struct kvp_batch_op op = {.key = kvp_slice_of(batch->keys[i], key_size),
                                  .value = kvp_slice_of(batch->bytes + VALUE_MAX - size, size),
                                  .is_delete = roll(both, 3) == 0};
        batch->ops[i] = op;
    }
}

static void do_write(struct both *both, unsigned which)
{
    static struct batch batch;
    roll_batch(both, &batch);
    for (unsigned i = 0; i < 2; i++) {
        struct kvp_store *store = both->side[i].stores[which];
        assert_int_equal(store->ops->write(store, batch.ops, batch.count, batch.sync), KVP_OK);
    }
}

/* ---- reading ---- */

static void do_get(struct both *both, unsigned which)
{
    char key[2] = {"ab\0\xff"[roll(both, 4)], "ab\0\xff"[roll(both, 4)]};
    kvp_slice slice = {key, 1 + roll(both, 2)};
    kvp_status status[2];
    kvp_buf value[2] = {{0}, {0}};
    for (unsigned i = 0; i < 2; i++) {
        struct kvp_store *store = both->side[i].stores[which];
        status[i] = store->ops->get(store, slice, &value[i]);
    }
    assert_int_equal(status[1], status[0]);
    check_slice(kvp_buf_slice(&value[1]), kvp_buf_slice(&value[0]));
    kvp_buf_free(&value[0]);
    kvp_buf_free(&value[1]);
}

/* Moves two iterators alike: `moves` steps with a new seek now and then. */
static void walk(struct both *both, unsigned which, int snapshot, unsigned moves)
{
    const struct kvp_store_ops *ops[2];
    struct kvp_iter *iter[2];
    for (unsigned i = 0; i < 2; i++) {
        struct side *side = &both->side[i];
        ops[i] = side->stores[which]->ops;
        iter[i] = ops[i]->iter(side->stores[which],
                               snapshot < 0 ? NULL : side->snapshots[which][snapshot], true);
    }
    for (unsigned move = 0; move < moves; move++) {
        char key[2] = {"ab\0\xff"[roll(both, 4)], "ab\0\xff"[roll(both, 4)]};
        bool seek = move == 0 || roll(both, 10) == 0, back = roll(both, 3) == 0;
        kvp_slice start = {key, move == 0 ? 0 : roll(both, 3)};
        for (unsigned i = 0; i < 2; i++) {
            if (seek) {
                (back ? ops[i]->iter_seek_back : ops[i]->iter_seek)(iter[i], start);
            } else {
                (back ? ops[i]->iter_back : ops[i]->iter_next)(iter[i]);
            }
        }
        assert_int_equal(ops[1]->iter_valid(iter[1]), ops[0]->iter_valid(iter[0]));
        assert_int_equal(ops[1]->iter_status(iter[1]), ops[0]->iter_status(iter[0]));
        if (ops[0]->iter_valid(iter[0])) {
            check_slice(ops[1]->iter_key(iter[1]), ops[0]->iter_key(iter[0]));
            check_slice(ops[1]->iter_value(iter[1]), ops[0]->iter_value(iter[0]));
        }
    }
    ops[0]->iter_close(iter[0]);
    ops[1]->iter_close(iter[1]);
}

/* ---- snapshots ---- */

static void drop_snapshot(struct side *side, unsigned which, unsigned slot)
{
    struct kvp_store *store = side->stores[which];
    store->ops->snapshot_release(store, side->snapshots[which][slot]);
    side->snapshots[which][slot] = NULL;
}

/* Takes a snapshot in a free slot; looks at one that is there, and sometimes lets it go. */
static void do_snapshot(struct both *both, unsigned which)
{
    unsigned slot = roll(both, SNAPSHOTS);
    if (both->side[0].snapshots[which][slot] == NULL) {
        for (unsigned i = 0; i < 2; i++) {
            struct kvp_store *store = both->side[i].stores[which];
            both->side[i].snapshots[which][slot] = store->ops->snapshot(store);
            assert_non_null(both->side[i].snapshots[which][slot]);
        }
        return;
    }
    walk(both, which, (int)slot, 60);
    if (roll(both, 3) == 0) {
        drop_snapshot(&both->side[0], which, slot);
        drop_snapshot(&both->side[1], which, slot);
    }
}

/* ---- the directory ---- */

static void close_store(struct side *side, unsigned which)
{
    for (unsigned slot = 0; slot < SNAPSHOTS; slot++) {
        drop_snapshot(side, which, slot);
    }
    side->stores[which]->ops->close(side->stores[which]);
    side->stores[which] = NULL;
}

static void do_close(struct both *both, unsigned which)
{
    close_store(&both->side[0], which);
    close_store(&both->side[1], which);
}

static void do_open(struct both *both, unsigned which)
{
    bool create = roll(both, 3) != 0;
    kvp_status status[2];
    for (unsigned i = 0; i < 2; i++) {
        struct side *side = &both->side[i];
        struct kvp_env *env = side->place.env;
        status[i] = env->ops->open_store(env, names[which], create, &side->stores[which]);
    }
    assert_int_equal(status[1], status[0]);
}

static void do_directory(struct both *both, unsigned which)
{
    unsigned other = roll(both, STORES);
    bool rename = roll(both, 2) == 0;
    kvp_status status[2];
    char *stores[2];
    if (both->side[0].stores[other] != NULL || roll(both, 3) != 0) {
        return; /* only closed ones, and not so often that nothing ever lives long */
    }
    for (unsigned i = 0; i < 2; i++) {
        struct kvp_env *env = both->side[i].place.env;
        status[i] = rename ? env->ops->rename_store(env, names[which], names[other])
                           : env->ops->destroy_store(env, names[which]);
        stores[i] = place_stores(&both->side[i].place);
    }
    assert_int_equal(status[1], status[0]);
    assert_string_equal(stores[1], stores[0]);
    free(stores[0]);
    free(stores[1]);
}

static void do_file(struct both *both)
{
    static const char *const files[] = {"x", "y"};
    const char *name = files[roll(both, 2)];
    uint8_t bytes[64];
    kvp_slice content = {bytes, roll(both, sizeof(bytes))};
    unsigned what = roll(both, 4);
    uint64_t offset = roll(both, 20) == 0 ? 4050 : roll(both, 100);
    kvp_status status[2];
    kvp_buf found[2] = {{0}, {0}};

    for (size_t i = 0; i < sizeof(bytes); i++) {
        bytes[i] = (uint8_t)roll(both, 256);
    }
    for (unsigned i = 0; i < 2; i++) {
        struct kvp_env *env = both->side[i].place.env;
        status[i] = what == 0   ? env->ops->replace_file(env, name, content)
                    : what == 1 ? env->ops->read_file(env, name, &found[i])
                                : env->ops->write_at(env, name, offset, content, what == 2);
    }
    assert_int_equal(status[1], status[0]);
    check_slice(kvp_buf_slice(&found[1]), kvp_buf_slice(&found[0]));
    kvp_buf_free(&found[0]);
    kvp_buf_free(&found[1]);
}

static void close_all(struct both *both)
{
    for (unsigned which = 0; which < STORES; which++) {
        if (both->side[0].stores[which] != NULL) {
            do_close(both, which);
        }
    }
}

static void do_reopen(struct both *both)
{
    close_all(both);
    place_reopen(&both->side[0].place);
    place_reopen(&both->side[1].place);
}

/* ---- the run ---- */

static void do_one(struct both *both)
{
    unsigned which = roll(both, STORES);
    unsigned what = roll(both, 100);
    if (what < 8) {
        do_file(both);
    } else if (both->side[0].stores[which] == NULL) {
        what < 20 ? do_directory(both, which) : do_open(both, which);
    } else if (what < 60) {
        do_write(both, which);
    } else if (what < 75) {
        do_get(both, which);
    } else if (what < 85) {
        walk(both, which, -1, 60);
    } else if (what < 96) {
        do_snapshot(both, which);
    } else if (what < 99) {
        do_close(both, which);
    } else {
        do_reopen(both);
    }
}

static struct both *running;

static void run(uint64_t number)
{
    static struct both both;
    memset(&both, 0, sizeof(both));
    running = &both;
    seed = number;
    both.random = number;
    place_open(&both.side[0].place, false);
    place_open(&both.side[1].place, true);
    for (step = 0; step < STEPS; step++) {
        do_one(&both);
    }
    close_all(&both);
    place_close(&both.side[0].place);
    place_close(&both.side[1].place);
    running = NULL;
}

static int clean_up(void **state)
{
    (void)state;
    if (running != NULL) {
        print_error("seed %lu, step %lu\n", seed, step);
        close_all(running);
        place_close(&running->side[0].place);
        place_close(&running->side[1].place);
    }
    return 0;
}

static void test_disk_and_memory_are_the_same_to_everybody(void **state)
{
    (void)state;
    for (uint64_t number = 1; number <= 4; number++) {
        run(number);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_disk_and_memory_are_the_same_to_everybody, clean_up),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
