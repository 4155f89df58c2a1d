/* SPDX-License-Identifier: Apache-2.0 */
/* The overlay: versions of keys in layers, of which the newest come and go by rollback, the oldest
 * by drop. */
#include "tests/engine/engine_support.h"

#include "replication/engine/overlay.h"

#include <stdio.h>
#include <string.h>

static void set(struct overlay *overlay, const char *key, const char *raw)
{
    kvp_buf made = {0};
    assert_int_equal(kvp_buf_append(&made, raw, raw != NULL ? strlen(raw) : 0), KVP_OK);
    assert_int_equal(overlay_set(overlay, text(key), &made, raw == NULL), KVP_OK);
    assert_null(made.data); /* the overlay has the bytes now */
}

static void layer(struct overlay *overlay, uint64_t seq, const char *key, const char *raw)
{
    assert_int_equal(overlay_begin(overlay, seq), KVP_OK);
    set(overlay, key, raw);
}

/* At `seq` the key was said to be `raw` by the layer `from`; NULL: deleted. */
static void check(const struct overlay *overlay, const char *key, uint64_t seq, uint64_t from,
                  const char *raw)
{
    const struct overlay_version *version = overlay_find(overlay, text(key), seq);
    assert_non_null(version);
    assert_int_equal(version->seq, from);
    assert_int_equal(version->is_delete, raw == NULL);
    check_slice(kvp_buf_slice(&version->raw), text(raw));
}

static void check_none(const struct overlay *overlay, const char *key, uint64_t seq)
{
    assert_null(overlay_find(overlay, text(key), seq));
}

static void test_finds_the_newest_version_up_to_a_seq(void **state)
{
    struct overlay overlay;
    (void)state;
    assert_int_equal(overlay_init(&overlay), KVP_OK);
    check_none(&overlay, "a", UINT64_MAX);
    layer(&overlay, 5, "a", "five");
    layer(&overlay, 6, "b", "six");
    layer(&overlay, 8, "a", NULL);
    layer(&overlay, 9, "a", "nine");
    check_none(&overlay, "a", 4);
    check(&overlay, "a", 5, 5, "five");
    check(&overlay, "a", 7, 5, "five");
    check(&overlay, "a", 8, 8, NULL);
    check(&overlay, "a", 9, 9, "nine");
    check(&overlay, "a", UINT64_MAX, 9, "nine");
    check_none(&overlay, "b", 5);
    check(&overlay, "b", 9, 6, "six");
    check_none(&overlay, "c", UINT64_MAX);
    overlay_free(&overlay);
}

static void test_a_layer_says_one_thing_about_a_key(void **state)
{
    struct overlay overlay;
    (void)state;
    assert_int_equal(overlay_init(&overlay), KVP_OK);
    layer(&overlay, 1, "a", "old");
    layer(&overlay, 2, "a", "first");
    set(&overlay, "b", "other");
    set(&overlay, "a", NULL);
    check(&overlay, "a", 2, 2, NULL);
    set(&overlay, "a", "last");
    check(&overlay, "a", 2, 2, "last");
    check(&overlay, "a", 1, 1, "old");
    /* Once each, in the order of the first mention: the write set follows it. */
    const struct overlay_version *version = overlay.newest->first;
    check_slice(kvp_slice_of(version->key->data, version->key->size), TEXT("a"));
    version = version->next;
    check_slice(kvp_slice_of(version->key->data, version->key->size), TEXT("b"));
    assert_null(version->next);
    overlay_free(&overlay);
}

static void test_rollback_takes_the_newest_layer_away(void **state)
{
    struct overlay overlay;
    (void)state;
    assert_int_equal(overlay_init(&overlay), KVP_OK);
    layer(&overlay, 1, "a", "one");
    layer(&overlay, 2, "a", "two");
    layer(&overlay, 3, "a", "three");
    set(&overlay, "b", "three");
    overlay_rollback(&overlay);
    check(&overlay, "a", UINT64_MAX, 2, "two");
    check_none(&overlay, "b", UINT64_MAX);
    layer(&overlay, 3, "b", "again"); /* the same seq may be used again */
    check(&overlay, "b", 3, 3, "again");
    overlay_rollback(&overlay);
    overlay_rollback(&overlay);
    overlay_rollback(&overlay);
    check_none(&overlay, "a", UINT64_MAX);
    assert_null(overlay.oldest);
    assert_null(overlay.newest);
    assert_int_equal(overlay.count, 0);
    layer(&overlay, 1, "a", "anew");
    check(&overlay, "a", 1, 1, "anew");
    overlay_free(&overlay);
}

static void test_the_newest_layer_may_be_emptied(void **state)
{
    struct overlay overlay;
    (void)state;
    assert_int_equal(overlay_init(&overlay), KVP_OK);
    layer(&overlay, 1, "a", "one");
    layer(&overlay, 2, "a", "two");
    set(&overlay, "b", "two");
    overlay_empty(&overlay);
    check(&overlay, "a", UINT64_MAX, 1, "one");
    check_none(&overlay, "b", UINT64_MAX);
    assert_int_equal(overlay.newest->seq, 2);
    assert_null(overlay.newest->first);
    set(&overlay, "b", "again");
    check(&overlay, "b", 2, 2, "again");
    overlay_rollback(&overlay);
    assert_int_equal(overlay.newest->seq, 1);
    overlay_free(&overlay);
}

static void test_drop_gives_up_what_the_store_has(void **state)
{
    struct overlay overlay;
    (void)state;
    assert_int_equal(overlay_init(&overlay), KVP_OK);
    layer(&overlay, 1, "a", "one");
    layer(&overlay, 2, "b", "two");
    layer(&overlay, 3, "a", "three");
    overlay_drop(&overlay, 0);
    check(&overlay, "a", 2, 1, "one");
    overlay_drop(&overlay, 2);
    check_none(&overlay, "a", 2);
    check_none(&overlay, "b", UINT64_MAX);
    check(&overlay, "a", 3, 3, "three");
    assert_int_equal(overlay.count, 1);
    overlay_drop(&overlay, 2);
    check(&overlay, "a", 3, 3, "three");
    overlay_drop(&overlay, 7);
    check_none(&overlay, "a", UINT64_MAX);
    assert_int_equal(overlay.count, 0);
    assert_null(overlay.newest);
    layer(&overlay, 8, "a", "eight");
    check(&overlay, "a", 8, 8, "eight");
    overlay_free(&overlay);
}

static void test_empty_layers_come_and_go(void **state)
{
    struct overlay overlay;
    (void)state;
    assert_int_equal(overlay_init(&overlay), KVP_OK);
    for (uint64_t seq = 1; seq <= 10; seq++) {
        assert_int_equal(overlay_begin(&overlay, seq), KVP_OK);
    }
    assert_null(overlay.newest->first);
    overlay_drop(&overlay, 4);
    assert_int_equal(overlay.oldest->seq, 5);
    overlay_rollback(&overlay);
    assert_int_equal(overlay.newest->seq, 9);
    overlay_clear(&overlay);
    assert_null(overlay.oldest);
    overlay_free(&overlay);
}

static void test_keys_are_bytes(void **state)
{
    static const struct {
        const char *data;
        size_t size;
    } keys[] = {{"", 0}, {"\0", 1}, {"\0\0", 2}, {"k", 1}, {"k\0", 2}, {"k\0x", 3}, {"k\xff", 2}};
    const size_t count = sizeof(keys) / sizeof(keys[0]);
    struct overlay overlay;
    (void)state;
    assert_int_equal(overlay_init(&overlay), KVP_OK);
    for (size_t i = 0; i < count; i++) {
        kvp_buf raw = {0};
        kvp_slice key = kvp_slice_of(keys[i].data, keys[i].size);
        assert_int_equal(kvp_buf_append(&raw, &i, sizeof(i)), KVP_OK);
        assert_int_equal(overlay_begin(&overlay, i + 1), KVP_OK);
        assert_null(overlay_find(&overlay, key, UINT64_MAX));
        assert_int_equal(overlay_set(&overlay, key, &raw, false), KVP_OK);
    }
    for (size_t i = 0; i < count; i++) {
        kvp_slice key = kvp_slice_of(keys[i].data, keys[i].size);
        const struct overlay_version *version = overlay_find(&overlay, key, UINT64_MAX);
        assert_non_null(version);
        check_slice(kvp_buf_slice(&version->raw), kvp_slice_of(&i, sizeof(i)));
    }
    overlay_free(&overlay);
}

/* More keys than the table has at first, each in two layers; half of the layers go. */
static void test_grows_and_still_knows_every_key(void **state)
{
    enum {
        KEYS = 5000,
    };
    struct overlay overlay;
    char key[16], raw[16];
    (void)state;
    assert_int_equal(overlay_init(&overlay), KVP_OK);
    for (unsigned i = 0; i < 2 * KEYS; i++) {
        (void)snprintf(key, sizeof(key), "key-%u", i % KEYS);
        (void)snprintf(raw, sizeof(raw), "%u", i);
        layer(&overlay, i + 1, key, i % 3 ? raw : NULL);
    }
    assert_int_equal(overlay.count, KEYS);
    overlay_drop(&overlay, KEYS + KEYS / 2);
    assert_int_equal(overlay.count, KEYS - KEYS / 2);
    for (unsigned i = KEYS; i < 2 * KEYS; i++) {
        (void)snprintf(key, sizeof(key), "key-%u", i % KEYS);
        (void)snprintf(raw, sizeof(raw), "%u", i);
        if (i + 1 <= KEYS + KEYS / 2) {
            check_none(&overlay, key, UINT64_MAX);
        } else {
            check(&overlay, key, UINT64_MAX, i + 1, i % 3 ? raw : NULL);
            check_none(&overlay, key, i);
        }
    }
    overlay_free(&overlay);
}

/* The ends of a key's versions come and go in turn, and what is between them stays. */
static void test_one_key_in_many_layers(void **state)
{
    enum {
        LAYERS = 16000, /* about what may be under way */
    };
    struct overlay overlay;
    uint64_t first = 1, last = 0;
    char raw[16];
    (void)state;
    assert_int_equal(overlay_init(&overlay), KVP_OK);
    while (last < LAYERS) {
        (void)snprintf(raw, sizeof(raw), "%u", (unsigned)++last);
        layer(&overlay, last, "hot", raw);
    }
    while (first + 4 < last) {
        first += 3;
        overlay_drop(&overlay, first - 1);
        overlay_rollback(&overlay);
        last--;
        if (last % 100 == 0) {
            check_none(&overlay, "hot", first - 1);
            (void)snprintf(raw, sizeof(raw), "%u", (unsigned)last);
            check(&overlay, "hot", UINT64_MAX, last, raw);
            (void)snprintf(raw, sizeof(raw), "%u", (unsigned)first);
            check(&overlay, "hot", first, first, raw);
        }
    }
    overlay_free(&overlay);
}

static void test_what_is_kept_to_be_used_again_is_bounded(void **state)
{
    struct overlay overlay;
    (void)state;
    assert_int_equal(overlay_init(&overlay), KVP_OK);
    for (uint64_t seq = 1; seq <= 3 * OVERLAY_SPARES; seq++) {
        layer(&overlay, seq, "hot", "raw");
    }
    overlay_drop(&overlay, UINT64_MAX);
    assert_int_equal(overlay.spare_layer_count, OVERLAY_SPARES);
    assert_int_equal(overlay.spare_version_count, OVERLAY_SPARES);
    layer(&overlay, 1, "cold", NULL); /* nothing of what it was is left in it */
    check_none(&overlay, "hot", UINT64_MAX);
    check(&overlay, "cold", UINT64_MAX, 1, NULL);
    overlay_free_spares(&overlay);
    assert_int_equal(overlay.spare_layer_count + overlay.spare_version_count, 0);
    overlay_free(&overlay);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_finds_the_newest_version_up_to_a_seq),
        cmocka_unit_test(test_a_layer_says_one_thing_about_a_key),
        cmocka_unit_test(test_rollback_takes_the_newest_layer_away),
        cmocka_unit_test(test_the_newest_layer_may_be_emptied),
        cmocka_unit_test(test_drop_gives_up_what_the_store_has),
        cmocka_unit_test(test_empty_layers_come_and_go),
        cmocka_unit_test(test_keys_are_bytes),
        cmocka_unit_test(test_one_key_in_many_layers),
        cmocka_unit_test(test_what_is_kept_to_be_used_again_is_bounded),
        cmocka_unit_test(test_grows_and_still_knows_every_key),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
