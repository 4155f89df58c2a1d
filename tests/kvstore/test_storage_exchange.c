/* SPDX-License-Identifier: Apache-2.0 */
/* Another store in the place of the active one: snapshots sent and received, quarantined stores. */
#include "tests/kvstore/storage_support.h"

#include "kvstore/storage_private.h"
#include "kvstore/writeset.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool on_disk; /* which kind of directory the running group is about */

/* Two nodes: what one sends the other receives. */
struct pair {
    struct depot from, to;
    struct history sent; /* the log of `from` */
    struct history own;  /* the log of `to`, before */
};

static struct kvp_quarantined quarantined;
static const struct kvp_meta new_meta = {.group_id = 7, .member_epoch = 5, .diverged_count = 2};

static int setup(void **state)
{
    static struct pair pair;
    memset(&pair, 0, sizeof(pair));
    depot_make(&pair.from, on_disk);
    depot_make(&pair.to, on_disk);
    history_grow(&pair.sent, 3, 40);
    depot_append(&pair.from, &pair.sent, 1, 40);
    depot_apply(&pair.from, &pair.sent, 1, 33);
    history_grow(&pair.own, 2, 12);
    depot_append(&pair.to, &pair.own, 1, 12);
    depot_apply(&pair.to, &pair.own, 1, 9);
    *state = &pair;
    return 0;
}

static int teardown(void **state)
{
    struct pair *pair = *state;
    depot_remove(&pair->from);
    depot_remove(&pair->to);
    history_free(&pair->sent);
    history_free(&pair->own);
    return 0;
}

/* Sends the state in chunks of about `size_max` bytes, up to but without the finish. No pair of it
 * is larger than `pair_max`. */
static struct kvp_point send_chunks(struct pair *pair, size_t size_max, size_t pair_max)
{
    struct kvp_state_view *view = kvp_storage_snapshot(pair->from.storage);
    kvp_buf chunk = {0};
    assert_non_null(view);
    struct kvp_point point = kvp_state_view_point(view);
    for (bool last = false; !last; chunk.size = 0) {
        assert_int_equal(kvp_state_view_chunk(view, size_max, &chunk, &last), KVP_OK);
        assert_true(chunk.size < size_max + pair_max);
        assert_true(chunk.size > 0 || last);
        assert_int_equal(kvp_storage_incoming_write(pair->to.storage, kvp_buf_slice(&chunk)),
                         KVP_OK);
    }
    kvp_buf_free(&chunk);
    kvp_state_view_close(view);
    return point;
}

/* `to` holds the state that was sent, an empty log behind it, and nothing of its own. */
static void check_received(struct pair *pair, uint64_t seq)
{
    check_state(&pair->to, &pair->sent, seq);
    check_log(&pair->to, &pair->sent, seq + 1, seq);
    depot_reopen(&pair->to);
    check_all(&pair->to, &pair->sent, seq + 1, seq, seq);
    check_meta(&pair->to.loaded.meta, &new_meta);
    assert_int_equal(pair->to.loaded.stores_quarantined, 0);
}

/* `to` is as it was before anything came in. */
static void check_untouched(struct pair *pair)
{
    check_log(&pair->to, &pair->own, 1, 12);
    check_state(&pair->to, &pair->own, 9);
}

/* ---- a snapshot goes over ---- */

static void test_a_snapshot_goes_over_in_chunks_of_any_size(void **state)
{
    struct pair *pair = *state;
    static const size_t sizes[] = {1, 10, 15, 64, 1000, 1 << 20};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        assert_int_equal(kvp_storage_incoming_begin(pair->to.storage), KVP_OK);
        struct kvp_point point = send_chunks(pair, sizes[i], 64);
        assert_int_equal(kvp_storage_incoming_finish(pair->to.storage, point, &new_meta,
                                                     KVP_KEEP_NOT, &quarantined),
                         KVP_OK);
        check_received(pair, 33);
    }
}

static void test_the_old_store_is_destroyed(void **state)
{
    struct pair *pair = *state;
    place_check_stores(&pair->to.place, "store-1 ");
    assert_int_equal(kvp_storage_incoming_begin(pair->to.storage), KVP_OK);
    place_check_stores(&pair->to.place, "incoming-2 store-1 ");
    struct kvp_point point = send_chunks(pair, 100, 64);
    check_untouched(pair);
    assert_int_equal(
        kvp_storage_incoming_finish(pair->to.storage, point, &new_meta, KVP_KEEP_NOT, &quarantined),
        KVP_OK);
    place_check_stores(&pair->to.place, "incoming-2 ");
    depot_reopen(&pair->to);
    place_check_stores(&pair->to.place, "incoming-2 ");
}

static void test_the_log_continues_behind_the_snapshot(void **state)
{
    struct pair *pair = *state;
    assert_int_equal(kvp_storage_incoming_begin(pair->to.storage), KVP_OK);
    struct kvp_point point = send_chunks(pair, 100, 64);
    assert_int_equal(
        kvp_storage_incoming_finish(pair->to.storage, point, &new_meta, KVP_KEEP_NOT, &quarantined),
        KVP_OK);
    depot_append(&pair->to, &pair->sent, 34, 40);
    depot_apply(&pair->to, &pair->sent, 34, 36);
    check_state(&pair->to, &pair->sent, 36);
    depot_reopen(&pair->to);
    check_all(&pair->to, &pair->sent, 34, 40, 36);
    assert_false(pair->to.loaded.meta.log_regressed);
}

static void test_a_state_of_nothing_is_a_snapshot_too(void **state)
{
    struct pair *pair = *state;
    struct kvp_point zero = {0};
    assert_int_equal(kvp_storage_quarantine(pair->from.storage, &new_meta, KVP_KEEP, &quarantined),
                     KVP_OK);
    assert_int_equal(kvp_storage_incoming_begin(pair->to.storage), KVP_OK);
    check_point(send_chunks(pair, 100, 64), zero);
    assert_int_equal(
        kvp_storage_incoming_finish(pair->to.storage, zero, &new_meta, KVP_KEEP_NOT, &quarantined),
        KVP_OK);
    check_received(pair, 0);
}

static void test_a_chunk_is_appended_to_what_the_caller_has(void **state)
{
    struct pair *pair = *state;
    struct kvp_state_view *view = kvp_storage_snapshot(pair->from.storage);
    kvp_buf chunk = {0}, other = {0};
    bool last = true; /* of an earlier chunk */

    assert_int_equal(kvp_buf_append(&chunk, "head", 4), KVP_OK);
    assert_int_equal(kvp_state_view_chunk(view, 1, &chunk, &last), KVP_OK);
    assert_false(last);
    assert_int_equal(kvp_state_view_seek(view, TEXT(""), TEXT("")), KVP_OK);
    assert_int_equal(kvp_state_view_chunk(view, 1, &other, &last), KVP_OK);
    check_slice(kvp_slice_of(chunk.data, 4), TEXT("head"));
    check_slice(kvp_slice_of(chunk.data + 4, chunk.size - 4), kvp_buf_slice(&other));
    kvp_buf_free(&chunk);
    kvp_buf_free(&other);
    kvp_state_view_close(view);
}

/* An entry that puts `size` bytes which no compression makes smaller. */
static void add_large(struct history *history, unsigned number, size_t size)
{
    uint8_t *value = malloc(size);
    struct kvp_raw_key raw;
    char key[16];
    kvp_buf set = {0};
    assert_non_null(value);
    for (size_t i = 0; i < size; i++) {
        value[i] = (uint8_t)((number * size + i) * 2654435761u >> 24);
    }
    (void)snprintf(key, sizeof(key), "large%u", number);
    kvp_raw_key_data(&raw, slice_of_text(key));
    assert_int_equal(kvp_writeset_put(&set, kvp_raw_key_slice(&raw), kvp_slice_of(value, size)),
                     KVP_OK);
    history_add(history, 4, kvp_buf_slice(&set));
    kvp_buf_free(&set);
    free(value);
}

/* More than LevelDB keeps in memory, so that it is in several files when the exchange happens. */
static void test_a_large_state_goes_over(void **state)
{
    struct pair *pair = *state;
    const size_t size = 1 << 20;
    for (unsigned i = 0; i < 10; i++) {
        add_large(&pair->sent, i, size);
    }
    depot_append(&pair->from, &pair->sent, 41, 50);
    depot_apply(&pair->from, &pair->sent, 34, 50);
    assert_int_equal(kvp_storage_incoming_begin(pair->to.storage), KVP_OK);
    struct kvp_point point = send_chunks(pair, 3 << 20, size + 64);
    assert_int_equal(
        kvp_storage_incoming_finish(pair->to.storage, point, &new_meta, KVP_KEEP_NOT, &quarantined),
        KVP_OK);
    check_received(pair, 50);
}

/* ---- what does not go over ---- */

#define PAIR(k) "\2\0\0\0\1\0\0\0D" k "v"

static void test_a_malformed_chunk_is_refused_as_a_whole(void **state)
{
    struct pair *pair = *state;
    const kvp_slice chunks[] = {
        TEXT("\2\0\0\0\1\0\0"),              /* half of the sizes */
        TEXT("\2\0\0\0\1\0\0\0"),            /* no key */
        TEXT("\2\0\0\0\1\0\0\0Dz"),          /* no value */
        TEXT(PAIR("x") PAIR("y") "\2"),      /* good ones first */
        TEXT("\xff\xff\xff\xff\1\0\0\0Dzv"), /* sizes past the end */
        TEXT("\2\0\0\0\xff\xff\xff\xff"
             "Dzv"),
        TEXT("\xff\xff\xff\xff\xff\xff\xff\xff"
             "Dzv"),                    /* a sum that would wrap in 32 bits */
        TEXT("\0\0\0\0\1\0\0\0v"),      /* a key of nothing */
        TEXT("\5\0\0\0\1\0\0\0Mmetav"), /* keys that are no state */
        TEXT("\x9\0\0\0\1\0\0\0L\0\0\0\0\0\0\0\1v"),
        TEXT("\2\0\0\0\1\0\0\0Czv"),
        TEXT("\2\0\0\0\1\0\0\0[zv"),
        TEXT(PAIR("y") PAIR("x")), /* falling */
        TEXT(PAIR("x") PAIR("x")), /* twice the same */
        TEXT(PAIR("m")),           /* again what came in an earlier chunk */
        TEXT(PAIR("l")),           /* before that */
    };

    assert_int_equal(kvp_storage_incoming_begin(pair->to.storage), KVP_OK);
    assert_int_equal(kvp_storage_incoming_write(pair->to.storage, TEXT(PAIR("m"))), KVP_OK);
    for (size_t i = 0; i < sizeof(chunks) / sizeof(chunks[0]); i++) {
        assert_int_equal(kvp_storage_incoming_write(pair->to.storage, chunks[i]), KVP_BAD_REQUEST);
    }
    /* Nothing of them has come in, and what follows fits. */
    assert_int_equal(kvp_storage_incoming_write(pair->to.storage, TEXT("")), KVP_OK);
    assert_int_equal(kvp_storage_incoming_write(pair->to.storage, TEXT(PAIR("n"))), KVP_OK);
    check_untouched(pair);
    struct kvp_point point = {.seq = 5, .epoch = 4, .hash = 3};
    assert_int_equal(
        kvp_storage_incoming_finish(pair->to.storage, point, &new_meta, KVP_KEEP_NOT, &quarantined),
        KVP_OK);
    struct kvp_state_view *view = kvp_storage_snapshot(pair->to.storage);
    char *dump = state_dump(view);
    assert_string_equal(dump, "Dm=v Dn=v ");
    check_point(kvp_state_view_point(view), point);
    free(dump);
    kvp_state_view_close(view);
}

static void test_a_key_is_at_most_as_long_as_keys_are(void **state)
{
    struct pair *pair = *state;
    uint8_t chunk[8 + KVP_RAW_KEY_SIZE_MAX + 1] = {0};
    const size_t longest = KVP_RAW_KEY_SIZE_MAX;
    memset(chunk + 8, 'D', longest + 1);
    assert_int_equal(kvp_storage_incoming_begin(pair->to.storage), KVP_OK);
    kvp_put_u32(chunk, (uint32_t)longest + 1);
    assert_int_equal(
        kvp_storage_incoming_write(pair->to.storage, kvp_slice_of(chunk, 8 + longest + 1)),
        KVP_BAD_REQUEST);
    kvp_put_u32(chunk, (uint32_t)longest);
    assert_int_equal(kvp_storage_incoming_write(pair->to.storage, kvp_slice_of(chunk, 8 + longest)),
                     KVP_OK);
    /* It is remembered in full: the same once more is not rising. */
    assert_int_equal(kvp_storage_incoming_write(pair->to.storage, kvp_slice_of(chunk, 8 + longest)),
                     KVP_BAD_REQUEST);
}

static void test_nothing_comes_in_before_the_beginning(void **state)
{
    struct pair *pair = *state;
    struct kvp_point point = {0};
    assert_int_equal(kvp_storage_incoming_write(pair->to.storage, TEXT(PAIR("x"))),
                     KVP_BAD_ARGUMENT);
    assert_int_equal(
        kvp_storage_incoming_finish(pair->to.storage, point, &new_meta, KVP_KEEP_NOT, &quarantined),
        KVP_BAD_ARGUMENT);
    kvp_storage_incoming_abort(pair->to.storage);
    check_untouched(pair);
}

/* ---- attempts given up ---- */

static void test_an_attempt_given_up_leaves_nothing(void **state)
{
    struct pair *pair = *state;
    assert_int_equal(kvp_storage_incoming_begin(pair->to.storage), KVP_OK);
    (void)send_chunks(pair, 100, 64);
    kvp_storage_incoming_abort(pair->to.storage);
    place_check_stores(&pair->to.place, "store-1 ");
    assert_int_equal(kvp_storage_incoming_write(pair->to.storage, TEXT(PAIR("x"))),
                     KVP_BAD_ARGUMENT);
    check_untouched(pair);
    depot_reopen(&pair->to);
    check_untouched(pair);
}

static void test_a_new_beginning_forgets_the_earlier_attempt(void **state)
{
    struct pair *pair = *state;
    assert_int_equal(kvp_storage_incoming_begin(pair->to.storage), KVP_OK);
    assert_int_equal(kvp_storage_incoming_write(pair->to.storage, TEXT(PAIR("z"))), KVP_OK);
    assert_int_equal(kvp_storage_incoming_begin(pair->to.storage), KVP_OK);
    struct kvp_point point = send_chunks(pair, 100, 64); /* its keys are below "z" */
    place_check_stores(&pair->to.place, "incoming-3 store-1 ");
    assert_int_equal(
        kvp_storage_incoming_finish(pair->to.storage, point, &new_meta, KVP_KEEP_NOT, &quarantined),
        KVP_OK);
    check_received(pair, 33);
}

static void test_what_an_unfinished_attempt_left_is_removed_at_opening(void **state)
{
    struct pair *pair = *state;
    assert_int_equal(kvp_storage_incoming_begin(pair->to.storage), KVP_OK);
    (void)send_chunks(pair, 100, 64);
    depot_close(&pair->to);
    place_check_stores(&pair->to.place, "incoming-2 store-1 ");
    depot_open(&pair->to);
    place_check_stores(&pair->to.place, "store-1 ");
    check_untouched(pair);
    /* A number is not used twice while something with it may lie about. */
    assert_int_equal(kvp_storage_incoming_begin(pair->to.storage), KVP_OK);
    place_check_stores(&pair->to.place, "incoming-3 store-1 ");
}

/* ---- views in the way ---- */

static void test_the_store_is_not_exchanged_under_a_view(void **state)
{
    struct pair *pair = *state;
    struct kvp_state_view *view = kvp_storage_snapshot(pair->to.storage);
    assert_int_equal(kvp_storage_incoming_begin(pair->to.storage), KVP_OK);
    struct kvp_point point = send_chunks(pair, 100, 64);
    assert_int_equal(
        kvp_storage_incoming_finish(pair->to.storage, point, &new_meta, KVP_KEEP_NOT, &quarantined),
        KVP_BUSY);
    check_untouched(pair); /* also: views are to be had again */
    char *expected = history_state(&pair->own, 9), *found = state_dump(view);
    assert_string_equal(found, expected);
    free(found);
    free(expected);
    kvp_state_view_close(view);
    /* Nothing was lost by waiting. */
    assert_int_equal(
        kvp_storage_incoming_finish(pair->to.storage, point, &new_meta, KVP_KEEP_NOT, &quarantined),
        KVP_OK);
    check_received(pair, 33);
    view = kvp_storage_snapshot(pair->to.storage);
    assert_int_equal(kvp_storage_quarantine(pair->to.storage, &new_meta, KVP_KEEP, &quarantined),
                     KVP_BUSY);
    kvp_state_view_close(view);
    assert_string_equal(kvp_storage_error(pair->to.storage), "");
    check_received(pair, 33);
}

/* ---- quarantined ---- */

static void test_a_store_set_aside_keeps_all_it_had(void **state)
{
    struct pair *pair = *state;
    struct kvp_env *env = pair->to.place.env;
    struct kvp_store *store = NULL;
    struct frames frames;
    kvp_buf expected = {0};
    assert_int_equal(kvp_storage_quarantine(pair->to.storage, &new_meta, KVP_KEEP, &quarantined),
                     KVP_OK);
    assert_string_equal(quarantined.name, "diverged-2-12");
    place_check_stores(&pair->to.place, "diverged-2-12 store-2 ");
    assert_int_equal(env->ops->open_store(env, quarantined.name, false, &store), KVP_OK);
    frames_take(store, &frames);
    frame_of(&pair->own, 1, 12, &expected); /* they were written together */
    assert_int_equal(frames.count, 1);
    check_slice(kvp_buf_slice(&frames.items[0]), kvp_buf_slice(&expected));
    frames_free(&frames);
    kvp_buf_free(&expected);
    store->ops->close(store);
}

static void test_the_new_store_is_empty_but_for_the_metadata(void **state)
{
    struct pair *pair = *state;
    struct history *own = &pair->own;
    assert_int_equal(kvp_storage_quarantine(pair->to.storage, &new_meta, KVP_KEEP, &quarantined),
                     KVP_OK);
    check_log(&pair->to, own, 1, 0);
    check_state(&pair->to, own, 0);
    depot_reopen(&pair->to);
    check_all(&pair->to, own, 1, 0, 0);
    check_meta(&pair->to.loaded.meta, &new_meta);
    assert_int_equal(pair->to.loaded.stores_quarantined, 1);
    history_cut(own, 0);
    history_grow(own, 5, 3);
    depot_append(&pair->to, own, 1, 3);
    depot_reopen(&pair->to);
    check_all(&pair->to, own, 1, 3, 0);
    assert_false(pair->to.loaded.meta.log_regressed);
}

static void test_names_of_stores_set_aside_never_collide(void **state)
{
    struct pair *pair = *state;
    static const char *const names[] = {"diverged-2-12", "diverged-2-12-2", "diverged-2-12-3"};

    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(
            kvp_storage_quarantine(pair->to.storage, &new_meta, KVP_KEEP, &quarantined), KVP_OK);
        assert_string_equal(quarantined.name, names[i]);
        depot_append(&pair->to, &pair->own, 1, 12);
        depot_reopen(&pair->to);
        assert_int_equal(pair->to.loaded.stores_quarantined, i + 1);
    }
    place_check_stores(&pair->to.place, "diverged-2-12 diverged-2-12-2 diverged-2-12-3 store-4 ");
    /* A blank one has a name, too. */
    assert_int_equal(kvp_storage_quarantine(pair->to.storage, &new_meta, KVP_KEEP, &quarantined),
                     KVP_OK);
    assert_int_equal(kvp_storage_quarantine(pair->to.storage, &new_meta, KVP_KEEP, &quarantined),
                     KVP_OK);
    assert_string_equal(quarantined.name, "diverged-0-0");
    depot_reopen(&pair->to);
    assert_int_equal(pair->to.loaded.stores_quarantined, 5);
}

static void test_setting_aside_gives_a_snapshot_under_way_up(void **state)
{
    struct pair *pair = *state;
    assert_int_equal(kvp_storage_incoming_begin(pair->to.storage), KVP_OK);
    (void)send_chunks(pair, 100, 64);
    assert_int_equal(kvp_storage_quarantine(pair->to.storage, &new_meta, KVP_KEEP, &quarantined),
                     KVP_OK);
    place_check_stores(&pair->to.place, "diverged-2-12 store-3 ");
    assert_int_equal(kvp_storage_incoming_write(pair->to.storage, TEXT(PAIR("x"))),
                     KVP_BAD_ARGUMENT);
}

static void test_stores_set_aside_survive_everything_else(void **state)
{
    struct pair *pair = *state;
    assert_int_equal(kvp_storage_quarantine(pair->to.storage, &new_meta, KVP_KEEP, &quarantined),
                     KVP_OK);
    assert_int_equal(kvp_storage_incoming_begin(pair->to.storage), KVP_OK);
    struct kvp_point point = send_chunks(pair, 100, 64);
    assert_int_equal(
        kvp_storage_incoming_finish(pair->to.storage, point, &new_meta, KVP_KEEP_NOT, &quarantined),
        KVP_OK);
    depot_reopen(&pair->to);
    place_check_stores(&pair->to.place, "diverged-2-12 incoming-3 ");
    assert_int_equal(pair->to.loaded.stores_quarantined, 1);
    check_all(&pair->to, &pair->sent, 34, 33, 33);
}

/* ---- keeping what a snapshot replaces ---- */

static struct kvp_point send_all(struct pair *pair)
{
    assert_int_equal(kvp_storage_incoming_begin(pair->to.storage), KVP_OK);
    return send_chunks(pair, 100, 64);
}

static kvp_status replace(struct pair *pair, enum kvp_keep keep)
{
    struct kvp_point point = send_all(pair);
    memset(&quarantined, 0, sizeof(quarantined));
    return kvp_storage_incoming_finish(pair->to.storage, point, &new_meta, keep, &quarantined);
}

static void test_a_snapshot_can_leave_the_old_store_whole(void **state)
{
    struct pair *pair = *state;
    assert_int_equal(replace(pair, KVP_KEEP), KVP_OK);
    assert_string_equal(quarantined.name, "diverged-2-12");
    assert_int_equal(quarantined.count, 1);
    place_check_stores(&pair->to.place, "diverged-2-12 incoming-2 ");
    check_state(&pair->to, &pair->sent, 33);
    assert_int_equal(replace(pair, KVP_KEEP_SPARE), KVP_OK);
    assert_string_equal(quarantined.name, "replaced-3-33");
    depot_reopen(&pair->to);
    assert_int_equal(pair->to.loaded.stores_quarantined, 2);
    place_check_stores(&pair->to.place, "diverged-2-12 incoming-3 replaced-3-33 ");
    struct kvp_store *store = store_open(&pair->to.place, "diverged-2-12");
    struct frames frames;
    frames_take(store, &frames);
    assert_int_equal(frames.tail.seq, 12);
    frames_free(&frames);
    store->ops->close(store);
}

static void test_spares_make_room_and_the_newest_stay(void **state)
{
    struct pair *pair = *state;
    const struct kvp_quarantine quarantine = {.count = 3, .size = UINT64_MAX};
    kvp_storage_set_quarantine(pair->to.storage, quarantine);
    assert_int_equal(replace(pair, KVP_KEEP), KVP_OK);
    for (unsigned i = 0; i < 10; i++) {
        assert_int_equal(replace(pair, KVP_KEEP_SPARE), KVP_OK);
        assert_int_equal(quarantined.dropped, i < 2 ? 0 : 1);
        assert_int_equal(quarantined.count, i < 2 ? i + 2 : 3);
    }
    place_check_stores(&pair->to.place, "diverged-2-12 incoming-12 replaced-3-33 replaced-3-33-2 ");
    depot_reopen(&pair->to);
    kvp_storage_set_quarantine(pair->to.storage, quarantine);
    assert_int_equal(kvp_storage_quarantine(pair->to.storage, &new_meta, KVP_KEEP, &quarantined),
                     KVP_OK);
    assert_int_equal(quarantined.dropped, 1);
}

/* What may have what nobody else has is never dropped: then nothing is replaced any more. */
static void test_at_the_bound_nothing_is_replaced_and_nothing_deleted(void **state)
{
    struct pair *pair = *state;
    const struct kvp_quarantine one = {.count = 1, .size = UINT64_MAX};
    const struct kvp_quarantine small = {.count = 8, .size = 1};
    assert_int_equal(replace(pair, KVP_KEEP), KVP_OK);
    for (unsigned i = 0; i < 2; i++) {
        kvp_storage_set_quarantine(pair->to.storage, i == 0 ? one : small);
        assert_int_equal(
            kvp_storage_quarantine(pair->to.storage, &new_meta, KVP_KEEP, &quarantined),
            KVP_REFUSED);
        assert_int_equal(replace(pair, KVP_KEEP), KVP_REFUSED);
        assert_int_equal(replace(pair, KVP_KEEP_SPARE), KVP_REFUSED);
        kvp_storage_incoming_abort(pair->to.storage);
        check_state(&pair->to, &pair->sent, 33); /* and it works on */
        depot_reopen(&pair->to);
        assert_int_equal(pair->to.loaded.stores_quarantined, 1);
    }
    kvp_storage_set_quarantine(pair->to.storage, one);
    assert_int_equal(replace(pair, KVP_KEEP_NOT), KVP_OK);
    assert_int_equal(pair->to.place.env->ops->destroy_store(pair->to.place.env, "diverged-2-12"),
                     KVP_OK); /* as an operator would */
    assert_int_equal(replace(pair, KVP_KEEP), KVP_OK);
}

/* ---- what others keep in the same place ---- */

static void make_foreign(struct pair *pair, const char *name)
{
    struct kvp_store *store = store_open(&pair->to.place, name);
    store->ops->close(store);
}

static void test_copies_beside_the_data_stay(void **state)
{
    struct pair *pair = *state;
    static const char *const names[] = {"store-1.bak",
                                        "store-20261129",
                                        "store-",
                                        "store-007",
                                        "incoming-2",
                                        "incoming-old",
                                        "active-1",
                                        "store-1-2",
                                        "replaced-1-1",
                                        "diverged-1-1",
                                        "store-999999999999999999999"};
    char all[512] = "";

    for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        make_foreign(pair, names[i]);
    }
    depot_reopen(&pair->to);
    assert_int_equal(pair->to.loaded.stranger_count, 8);
    assert_int_equal(replace(pair, KVP_KEEP_NOT), KVP_OK);
    const struct kvp_quarantine two = {.count = 2, .size = UINT64_MAX};
    kvp_storage_set_quarantine(pair->to.storage, two);
    assert_int_equal(replace(pair, KVP_KEEP_SPARE), KVP_REFUSED); /* not for these to go */
    depot_reopen(&pair->to);
    make_foreign(pair, "incoming-20261132"); /* while it runs, where the next number would be */
    assert_int_equal(replace(pair, KVP_KEEP_NOT), KVP_OK);
    depot_reopen(&pair->to);
    char *found = place_stores(&pair->to.place);
    (void)snprintf(all, sizeof(all), " %s", found);
    free(found);
    for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        char name[64];
        (void)snprintf(name, sizeof(name), " %s ", names[i]);
        if (strstr(all, name) == NULL) {
            fail_msg("%s is gone: %s", names[i], all);
        }
    }
    assert_non_null(strstr(all, " incoming-20261132 "));
    check_state(&pair->to, &pair->sent, 33);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_a_snapshot_goes_over_in_chunks_of_any_size),
        CASE(test_the_old_store_is_destroyed),
        CASE(test_the_log_continues_behind_the_snapshot),
        CASE(test_a_state_of_nothing_is_a_snapshot_too),
        CASE(test_a_chunk_is_appended_to_what_the_caller_has),
        CASE(test_a_large_state_goes_over),
        CASE(test_a_malformed_chunk_is_refused_as_a_whole),
        CASE(test_a_key_is_at_most_as_long_as_keys_are),
        CASE(test_nothing_comes_in_before_the_beginning),
        CASE(test_an_attempt_given_up_leaves_nothing),
        CASE(test_a_new_beginning_forgets_the_earlier_attempt),
        CASE(test_what_an_unfinished_attempt_left_is_removed_at_opening),
        CASE(test_the_store_is_not_exchanged_under_a_view),
        CASE(test_a_store_set_aside_keeps_all_it_had),
        CASE(test_the_new_store_is_empty_but_for_the_metadata),
        CASE(test_names_of_stores_set_aside_never_collide),
        CASE(test_setting_aside_gives_a_snapshot_under_way_up),
        CASE(test_stores_set_aside_survive_everything_else),
        CASE(test_a_snapshot_can_leave_the_old_store_whole),
        CASE(test_spares_make_room_and_the_newest_stay),
        CASE(test_at_the_bound_nothing_is_replaced_and_nothing_deleted),
        CASE(test_copies_beside_the_data_stay),
    };

    on_disk = false;
    int failed = cmocka_run_group_tests_name("exchange in memory", tests, NULL, NULL);
    on_disk = true;
    return failed + cmocka_run_group_tests_name("exchange on disk", tests, NULL, NULL);
}
