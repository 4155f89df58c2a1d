/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A directory in which something is not as the storage left it: records changed or missing, another
 * owner, a log that is shorter than the second record of its tail says.
 */
#include "tests/kvstore/storage_support.h"

#include "kvstore/storage_private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>
#include <zlib.h>

static bool on_disk; /* which kind of directory the running group is about */
static struct history history;

static struct frames intact; /* of that depot: one for each entry */

/* Entries 1..20, of which 1..5 are trimmed and 1..12 applied; closed. */
static int setup(void **state)
{
    static struct depot depot;
    depot_make(&depot, on_disk);
    history_grow(&history, 1, 20);
    for (uint64_t seq = 1; seq <= 20; seq++) {
        depot_append(&depot, &history, seq, seq);
    }
    depot_apply(&depot, &history, 1, 12);
    depot_close(&depot);
    for (uint64_t seq = 6; seq <= 20; seq++) {
        frame_of(&history, seq, 1, &intact.items[intact.count++]);
    }
    frames_put(&depot, "store-1", &intact, history_point(&history, 5));
    *state = &depot;
    return 0;
}

static int teardown(void **state)
{
    depot_remove(*state);
    frames_free(&intact);
    history_free(&history);
    return 0;
}

static void check_refused(struct depot *depot, kvp_status status, const char *reason)
{
    assert_int_equal(depot_try(depot), status);
    if (strstr(depot->message, reason) == NULL) {
        fail_msg("'%s' does not say '%s'", depot->message, reason);
    }
}

/* ---- another owner, another format ---- */

static void test_the_store_of_another_group_is_refused(void **state)
{
    struct depot *depot = *state;
    store_set_raw(depot, "store-1", TEXT("Mgroup"), TEXT("mill"));
    check_refused(depot, KVP_WRONG_GROUP, "group 'mill', not 'plant'");
    store_set_raw(depot, "store-1", TEXT("Mgroup"), TEXT("plantation"));
    check_refused(depot, KVP_WRONG_GROUP, "'plantation'");
    store_set_raw(depot, "store-1", TEXT("Mgroup"), TEXT(""));
    check_refused(depot, KVP_WRONG_GROUP, "''");
}

static void test_the_store_of_another_node_is_refused(void **state)
{
    struct depot *depot = *state;
    store_set_raw(depot, "store-1", TEXT("Mnode"), TEXT("\3"));
    check_refused(depot, KVP_REFUSED, "node 3, not 2");
    store_set_raw(depot, "store-1", TEXT("Mnode"), TEXT(""));
    check_refused(depot, KVP_REFUSED, "not 2");
}

static void test_a_store_of_another_format_is_refused(void **state)
{
    struct depot *depot = *state;
    store_set_raw(depot, "store-1", TEXT("Mformat"), TEXT("\4\0\0\0"));
    check_refused(depot, KVP_BAD_VERSION, "has format 4");
    store_set_raw(depot, "store-1", TEXT("Mformat"), TEXT("\2\0\0\0"));
    check_refused(depot, KVP_BAD_VERSION, "has format 2");
    store_set_raw(depot, "store-1", TEXT("Mformat"), TEXT("\0\0\0\0"));
    check_refused(depot, KVP_BAD_VERSION, "has format 0");
}

/* What another node or a later release keeps in its directory is not ours to tidy up. */
static void test_a_directory_that_is_refused_stays_as_it_is(void **state)
{
    struct depot *depot = *state;
    struct kvp_store *store = store_open(&depot->place, "incoming-7");
    store->ops->close(store);
    store = store_open(&depot->place, "store-9");
    store->ops->close(store);
    store_set_raw(depot, "store-1", TEXT("Mformat"), TEXT("\4\0\0\0"));
    check_refused(depot, KVP_BAD_VERSION, "");
    place_check_stores(&depot->place, "incoming-7 store-1 store-9 ");
    store_set_raw(depot, "store-1", TEXT("Mformat"), TEXT("\3\0\0\0"));
    store_set_raw(depot, "store-1", TEXT("Mnode"), TEXT("\3"));
    check_refused(depot, KVP_REFUSED, "");
    place_check_stores(&depot->place, "incoming-7 store-1 store-9 ");
    store_set_raw(depot, "store-1", TEXT("Mnode"), TEXT("\2"));
    depot_open(depot);
    place_check_stores(&depot->place, "incoming-7 store-1 store-9 "); /* who knows whose they are */
    assert_int_equal(depot->loaded.stranger_count, 2);
}

/* ---- records ---- */

static void test_every_record_must_be_there(void **state)
{
    struct depot *depot = *state;
    static const char *const keys[] = {"Mformat", "Mgroup", "Mnode", "Mmeta", "Mbase", "Mapplied"};

    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        kvp_slice key = slice_of_text(keys[i]);
        kvp_buf value = {0};
        store_get_raw(depot, "store-1", key, &value);
        store_delete_raw(depot, "store-1", key);
        check_refused(depot, KVP_CORRUPT, keys[i] + 1);
        store_set_raw(depot, "store-1", key, kvp_buf_slice(&value));
        kvp_buf_free(&value);
    }
    depot_open(depot);
    check_all(depot, &history, 6, 20, 12);
}

static void check_record_refused(struct depot *depot, const char *key, kvp_slice value)
{
    kvp_buf good = {0};
    store_get_raw(depot, "store-1", slice_of_text(key), &good);
    store_set_raw(depot, "store-1", slice_of_text(key), value);
    check_refused(depot, KVP_CORRUPT, "damaged");
    store_set_raw(depot, "store-1", slice_of_text(key), kvp_buf_slice(&good));
    kvp_buf_free(&good);
}

static void test_malformed_records_are_damage(void **state)
{
    struct depot *depot = *state;
    uint8_t meta[STORAGE_META_SIZE + 1] = {0}, base[STORAGE_BASE_SIZE + 1] = {0};
    const struct kvp_meta blank = {0};
    storage_meta_encode(&blank, meta);
    check_record_refused(depot, "Mformat", TEXT("\1\0\0"));
    check_record_refused(depot, "Mmeta", TEXT(""));
    check_record_refused(depot, "Mmeta", kvp_slice_of(meta, STORAGE_META_SIZE - 1));
    check_record_refused(depot, "Mmeta", kvp_slice_of(meta, STORAGE_META_SIZE + 1));
    meta[0] = 3; /* another version */
    check_record_refused(depot, "Mmeta", kvp_slice_of(meta, STORAGE_META_SIZE));
    meta[0] = 2;
    meta[50] = 2; /* neither doubt nor none */
    check_record_refused(depot, "Mmeta", kvp_slice_of(meta, STORAGE_META_SIZE));
    check_record_refused(depot, "Mbase", kvp_slice_of(base, STORAGE_BASE_SIZE - 1));
    check_record_refused(depot, "Mbase", kvp_slice_of(base, STORAGE_BASE_SIZE + 1));
    check_record_refused(depot, "Mapplied", TEXT(""));
    depot_open(depot);
    check_all(depot, &history, 6, 20, 12);
}

static void set_point(struct depot *depot, const char *key, struct kvp_point point)
{
    uint8_t bytes[STORAGE_POINT_SIZE];
    storage_point_encode(point, bytes);
    store_set_raw(depot, "store-1", slice_of_text(key), kvp_slice_of(bytes, sizeof(bytes)));
}

static void test_the_state_must_be_that_of_a_place_in_the_log(void **state)
{
    struct depot *depot = *state;
    struct kvp_point point = history_point(&history, 12);
    point.hash++;
    set_point(depot, "Mapplied", point);
    check_refused(depot, KVP_CORRUPT, "state");
    point = history_point(&history, 20);
    point.seq++; /* beyond the log */
    set_point(depot, "Mapplied", point);
    check_refused(depot, KVP_CORRUPT, "state");
    set_point(depot, "Mapplied", history_point(&history, 4)); /* before it */
    check_refused(depot, KVP_CORRUPT, "state");
    set_point(depot, "Mapplied", history_point(&history, 5)); /* its base is in it */
    depot_open(depot);
}

/* ---- the log ---- */

static void restore(struct depot *depot)
{
    frames_put(depot, "store-1", &intact, history_point(&history, 5));
}

/* The frame of the entry `seq` is another one for a while. */
static void set_frame(struct depot *depot, uint64_t seq, kvp_slice bytes)
{
    struct frames changed = intact;
    kvp_buf frame = {0};
    assert_int_equal(kvp_buf_append(&frame, bytes.data, bytes.size), KVP_OK);
    changed.items[seq - 6] = frame;
    frames_put(depot, "store-1", &changed, history_point(&history, 5));
    kvp_buf_free(&frame);
}

/* One entry with another place or payload. */
static void set_entry(struct depot *depot, uint64_t seq, struct kvp_point point, kvp_slice payload)
{
    struct history other = history;
    kvp_buf frame = {0};
    other.entries[seq - 1] = kvp_entry_new(payload.size);
    other.entries[seq - 1]->point = point;
    memcpy(other.entries[seq - 1]->payload, payload.data, payload.size);
    frame_of(&other, seq, 1, &frame);
    kvp_entry_unref(other.entries[seq - 1]);
    set_frame(depot, seq, kvp_buf_slice(&frame));
    kvp_buf_free(&frame);
}

static void delete_entries(struct depot *depot, uint64_t first, uint64_t last)
{
    struct frames changed = intact;
    memmove(&changed.items[first - 6], &changed.items[last - 5],
            (20 - last) * sizeof(changed.items[0]));
    changed.count -= (size_t)(last - first + 1);
    frames_put(depot, "store-1", &changed, history_point(&history, 5));
}

static void test_a_missing_entry_is_damage(void **state)
{
    struct depot *depot = *state;
    char expected[64];
    for (uint64_t seq = 6; seq < 20; seq++) {
        delete_entries(depot, seq, seq);
        (void)snprintf(expected, sizeof(expected), "entry %u of the log does not follow",
                       (unsigned)seq + 1);
        check_refused(depot, KVP_CORRUPT, expected);
    }
    restore(depot);
    depot_open(depot);
    check_all(depot, &history, 6, 20, 12);
}

static void test_a_changed_entry_is_damage(void **state)
{
    struct depot *depot = *state;
    for (uint64_t seq = 6; seq <= 20; seq += 7) {
        const struct kvp_entry *entry = history.entries[seq - 1];
        kvp_slice payload = kvp_slice_of(entry->payload, entry->size);
        struct kvp_point point = entry->point;
        set_entry(depot, seq, point, kvp_slice_of(payload.data, payload.size - 1));
        check_refused(depot, KVP_CORRUPT, "does not follow");
        point.epoch++;
        set_entry(depot, seq, point, payload);
        check_refused(depot, KVP_CORRUPT, "does not follow");
        point.epoch--;
        point.hash ^= 1;
        set_entry(depot, seq, point, payload);
        check_refused(depot, KVP_CORRUPT, "does not follow");
    }
    restore(depot);
    depot_open(depot);
    check_all(depot, &history, 6, 20, 12);
}

/* Puts the entries 18 to 20 into one frame. */
static void set_last_frame(struct depot *depot, kvp_slice frame)
{
    struct frames changed = intact;
    kvp_buf copy = {0};
    assert_int_equal(kvp_buf_append(&copy, frame.data, frame.size), KVP_OK);
    changed.items[12] = copy;
    changed.count = 13;
    frames_put(depot, "store-1", &changed, history_point(&history, 5));
    kvp_buf_free(&copy);
}

static void test_a_frame_that_is_not_whole_is_damage(void **state)
{
    struct depot *depot = *state;
    static const uint32_t wrong[] = {0, 1, 2, 4, 20, 21, UINT32_MAX};
    kvp_buf frame = {0};
    frame_of(&history, 18, 3, &frame);
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        kvp_put_u32(frame.data + 1, wrong[i]);
        set_last_frame(depot, kvp_buf_slice(&frame));
        check_refused(depot, KVP_CORRUPT, "log");
    }
    kvp_put_u32(frame.data + 1, 3);
    for (size_t size = 0; size < frame.size; size++) {
        set_last_frame(depot, kvp_slice_of(frame.data, size));
        check_refused(depot, KVP_CORRUPT, "log");
    }
    assert_int_equal(kvp_buf_append(&frame, "", 1), KVP_OK);
    set_last_frame(depot, kvp_buf_slice(&frame));
    check_refused(depot, KVP_CORRUPT, "log");
    frame_of(&history, 18, 3, &frame);
    kvp_put_u32(frame.data + 13, UINT32_MAX); /* an entry's size */
    set_last_frame(depot, kvp_buf_slice(&frame));
    check_refused(depot, KVP_CORRUPT, "log");
    frame_of(&history, 18, 3, &frame);
    frame.data[0] = 4; /* a flag that this release does not know */
    set_last_frame(depot, kvp_buf_slice(&frame));
    check_refused(depot, KVP_CORRUPT, "log");
    frame.data[0] = 0;
    set_last_frame(depot, kvp_buf_slice(&frame));
    depot_open(depot);
    check_all(depot, &history, 6, 20, 12);
    kvp_buf_free(&frame);
}

/* Opens with a doubt, which stays until it is settled, and then is gone. */
static void check_doubt(struct depot *depot, uint64_t first, uint64_t last, uint64_t applied)
{
    struct kvp_storage_write write = {0};
    for (int i = 0; i < 2; i++) {
        depot_open(depot);
        assert_true(depot->loaded.meta.log_regressed);
        check_all(depot, &history, first, last, applied);
        depot_close(depot);
    }
    depot_open(depot);
    struct kvp_meta meta = depot->loaded.meta;
    meta.log_regressed = false;
    write.meta = &meta;
    depot_write(depot, &write);
    depot_reopen(depot);
    assert_false(depot->loaded.meta.log_regressed);
    check_all(depot, &history, first, last, applied);
    depot_close(depot);
}

/* A frame that cuts the log after `after` and has no entries. */
static void set_cut(struct depot *depot, uint64_t after)
{
    uint8_t frame[21] = {1};
    struct frames changed = intact;
    kvp_put_u64(frame + 5, after + 1);
    kvp_put_u64(frame + 13, after);
    changed.items[changed.count++] = (kvp_buf){.data = frame, .size = sizeof(frame)};
    frames_put(depot, "store-1", &changed, history_point(&history, 5));
}

static void test_a_cut_must_be_in_the_log(void **state)
{
    struct depot *depot = *state;
    set_cut(depot, 21);
    check_refused(depot, KVP_CORRUPT, "behind entry 21");
    set_cut(depot, 4);
    check_refused(depot, KVP_CORRUPT, "behind entry 4");
    set_cut(depot, 5); /* into what is applied */
    check_refused(depot, KVP_CORRUPT, "state");
    set_cut(depot, 20);
    depot_open(depot);
    assert_false(depot->loaded.meta.log_regressed);
    check_all(depot, &history, 6, 20, 12);
    depot_close(depot);
    set_cut(depot, 15); /* the record of the tail is lowered before */
    check_doubt(depot, 6, 15, 12);
}

static void set_base(struct depot *depot, struct kvp_point point, uint64_t frame)
{
    uint8_t bytes[STORAGE_BASE_SIZE];
    storage_point_encode(point, bytes);
    kvp_put_u64(bytes + STORAGE_POINT_SIZE, frame);
    store_set_raw(depot, "store-1", TEXT("Mbase"), kvp_slice_of(bytes, sizeof(bytes)));
}

static void test_another_base_is_damage(void **state)
{
    struct depot *depot = *state;
    struct kvp_point base = history_point(&history, 5);
    set_base(depot, history_point(&history, 4), 1);
    check_refused(depot, KVP_CORRUPT, "entry 6");
    set_base(depot, base, 2); /* begins with entry 7 */
    check_refused(depot, KVP_CORRUPT, "entry 7");
    set_base(depot, base, 17); /* behind the last */
    check_refused(depot, KVP_CORRUPT, "");
    base.hash++;
    set_base(depot, base, 1);
    check_refused(depot, KVP_CORRUPT, "entry 6");
}

/* ---- the second record of the tail ---- */

static void write_slot(struct depot *depot, unsigned index, const char *store,
                       struct kvp_point tail, uint64_t generation)
{
    struct storage_slot slot = {generation, XXH3_64bits(store, strlen(store)), tail};
    uint8_t bytes[STORAGE_SLOT_SIZE];
    struct kvp_env *env = depot->place.env;
    storage_slot_encode(&slot, bytes);
    assert_int_equal(env->ops->write_at(env, "tail", (uint64_t)index * sizeof(bytes),
                                        kvp_slice_of(bytes, sizeof(bytes)), true),
                     KVP_OK);
}

static void check_no_doubt(struct depot *depot)
{
    depot_open(depot);
    assert_false(depot->loaded.meta.log_regressed);
    check_all(depot, &history, 6, 20, 12);
    depot_close(depot);
}

static void test_a_log_shorter_than_it_was_is_in_doubt(void **state)
{
    struct depot *depot = *state;
    check_no_doubt(depot);
    delete_entries(depot, 20, 20);
    check_doubt(depot, 6, 19, 12);
    delete_entries(depot, 13, 20);
    write_slot(depot, 0, "store-1", history_point(&history, 20), 1000);
    check_doubt(depot, 6, 12, 12);
}

static void test_a_log_with_another_end_is_in_doubt(void **state)
{
    struct depot *depot = *state;
    history_cut(&history, 19);
    history_put(&history, 9, "other", "x");
    const struct kvp_entry *entry = history.entries[19];
    set_entry(depot, 20, entry->point, kvp_slice_of(entry->payload, entry->size));
    check_doubt(depot, 6, 20, 12);
}

static void test_a_log_longer_than_recorded_is_in_no_doubt(void **state)
{
    struct depot *depot = *state;
    write_slot(depot, 0, "store-1", history_point(&history, 14), 1000);
    check_no_doubt(depot);
    write_slot(depot, 1, "store-1", history_point(&history, 3), 2000); /* trimmed since */
    check_no_doubt(depot);
}

static void test_the_newest_valid_slot_counts(void **state)
{
    struct depot *depot = *state;
    struct kvp_point beyond = {.seq = 21, .epoch = 1, .hash = 5};
    write_slot(depot, 0, "store-1", beyond, 1000);
    write_slot(depot, 1, "store-1", history_point(&history, 20), 1001);
    check_no_doubt(depot);
    write_slot(depot, 0, "store-1", history_point(&history, 20), 3001);
    write_slot(depot, 1, "store-1", beyond, 3000);
    check_no_doubt(depot);
    write_slot(depot, 0, "store-2", beyond, 5000); /* speaks of another store */
    write_slot(depot, 1, "store-1", history_point(&history, 20), 4000);
    check_no_doubt(depot);
    write_slot(depot, 0, "store-1", beyond, 6000);
    check_doubt(depot, 6, 20, 12);
}

/* Written by another release in a form of its own, though with a right checksum. */
static void test_a_slot_of_another_version_is_none(void **state)
{
    struct depot *depot = *state;
    const struct kvp_point beyond = {.seq = 21, .epoch = 1, .hash = 5};
    struct storage_slot slot = {1000, XXH3_64bits("store-1", 7), beyond};
    uint8_t bytes[STORAGE_SLOT_SIZE];
    static const size_t fields[] = {0, 4}; /* magic, version */

    for (size_t i = 0; i < 2; i++) {
        storage_slot_encode(&slot, bytes);
        bytes[fields[i]]++;
        kvp_put_u32(bytes + STORAGE_SLOT_SIZE - 4,
                    (uint32_t)crc32(0, bytes, STORAGE_SLOT_SIZE - 4));
        assert_int_equal(depot->place.env->ops->write_at(depot->place.env, "tail", 0,
                                                         kvp_slice_of(bytes, sizeof(bytes)), true),
                         KVP_OK);
        write_slot(depot, 1, "store-1", history_point(&history, 20), 500);
        check_no_doubt(depot);
    }
}

/* Whatever tears the newer slot, the older one is true as well. */
static void test_one_damaged_slot_is_no_doubt(void **state)
{
    struct depot *depot = *state;
    struct kvp_env *env = depot->place.env;
    for (unsigned at = 0; at < 2 * STORAGE_SLOT_SIZE; at += 9) {
        kvp_buf content = {0};
        assert_int_equal(env->ops->read_file(env, "tail", &content), KVP_OK);
        uint8_t byte = content.data[at] ^ 0x10;
        kvp_buf_free(&content);
        assert_int_equal(env->ops->write_at(env, "tail", at, kvp_slice_of(&byte, 1), true), KVP_OK);
        depot_open(depot);
        assert_false(depot->loaded.meta.log_regressed);
        depot_close(depot); /* writes the damaged one anew */
    }
}

static void replace_slots(struct depot *depot, kvp_slice content)
{
    assert_int_equal(depot->place.env->ops->replace_file(depot->place.env, "tail", content),
                     KVP_OK);
}

static void test_without_a_record_nobody_can_tell(void **state)
{
    struct depot *depot = *state;
    replace_slots(depot, TEXT(""));
    check_doubt(depot, 6, 20, 12);
    replace_slots(depot, TEXT("gibberish"));
    check_doubt(depot, 6, 20, 12);
    write_slot(depot, 0, "store-3", history_point(&history, 20), 1000); /* both of others */
    write_slot(depot, 1, "store-4", history_point(&history, 20), 1001);
    check_doubt(depot, 6, 20, 12);
}

/* ---- which store is the active one ---- */

static void read_active(struct depot *depot, kvp_buf *text)
{
    assert_int_equal(depot->place.env->ops->read_file(depot->place.env, "active", text), KVP_OK);
}

static void write_active(struct depot *depot, kvp_slice text)
{
    assert_int_equal(depot->place.env->ops->replace_file(depot->place.env, "active", text), KVP_OK);
}

static void test_a_damaged_pointer_leads_nowhere(void **state)
{
    struct depot *depot = *state;
    kvp_buf text = {0};
    read_active(depot, &text);
    for (size_t i = 0; i < text.size; i++) {
        write_active(depot, kvp_slice_of(text.data, i)); /* cut off */
        check_refused(depot, KVP_CORRUPT, "'active'");
        for (unsigned bit = 0; bit < 8; bit++) {
            text.data[i] ^= (uint8_t)(1u << bit);
            write_active(depot, kvp_buf_slice(&text));
            check_refused(depot, KVP_CORRUPT, "'active'");
            text.data[i] ^= (uint8_t)(1u << bit);
        }
    }
    assert_int_equal(kvp_buf_append(&text, "x", 1), KVP_OK);
    write_active(depot, kvp_buf_slice(&text));
    check_refused(depot, KVP_CORRUPT, "'active'");
    text.size--;
    place_check_stores(&depot->place, "store-1 ");
    write_active(depot, kvp_buf_slice(&text));
    kvp_buf_free(&text);
    check_no_doubt(depot);
}

static void test_the_store_it_names_must_be_there(void **state)
{
    struct depot *depot = *state;
    struct kvp_env *env = depot->place.env;
    struct storage_pointer pointer = {.active = "store-2"};
    kvp_buf text = {0};
    assert_int_equal(storage_pointer_encode(&pointer, &text), KVP_OK);
    write_active(depot, kvp_buf_slice(&text));
    kvp_buf_free(&text);
    check_refused(depot, KVP_CORRUPT, "store-2");
    place_check_stores(&depot->place, "store-1 "); /* it may be the only copy of something */
    assert_int_equal(env->ops->destroy_store(env, "store-1"), KVP_OK);
    check_refused(depot, KVP_CORRUPT, "store-2");
}

/* Makes the store `name` in a directory of its own, equal to the depot's, but without `active`. */
static void copy_without_pointer(struct depot *depot, struct depot *copy, const char *name)
{
    struct kvp_store *from = store_open(&depot->place, "store-1");
    memset(copy, 0, sizeof(*copy));
    place_open(&copy->place, on_disk);
    struct kvp_store *to = store_open(&copy->place, name);
    struct frames frames, none;
    struct kvp_frame frame;

    store_copy_pairs(from, to);
    frames_take(from, &frames);
    frames_take(to, &none);
    assert_int_equal(to->ops->journal_begin(to), KVP_OK);
    for (size_t i = 0; i < frames.count; i++) {
        kvp_slice part = kvp_buf_slice(&frames.items[i]);
        assert_int_equal(to->ops->journal_append(to, &part, 1, true, &frame), KVP_OK);
    }
    frames_free(&frames);
    from->ops->close(from);
    to->ops->close(to);
}

/* The depot is closed. */
static void check_needs_pointer(struct depot *depot, const char *name)
{
    struct depot copy;
    char expected[64];
    copy_without_pointer(depot, &copy, name);
    check_refused(&copy, KVP_CORRUPT, "'active' is missing");
    (void)snprintf(expected, sizeof(expected), "%s ", name);
    place_check_stores(&copy.place, expected);
    depot_remove(&copy);
}

/* It is taken for what a first opening left that did not get to its end, and left alone. */
static void check_needs_none(struct depot *depot, const char *name)
{
    struct depot copy;
    char expected[64];
    copy_without_pointer(depot, &copy, name);
    depot_open(&copy);
    (void)snprintf(expected, sizeof(expected), "%s store-4 ", name);
    place_check_stores(&copy.place, expected);
    depot_remove(&copy);
}

static void test_a_store_with_anything_in_it_needs_a_pointer(void **state)
{
    struct depot depot;
    const struct kvp_meta meta = {.group_id = 5};
    struct kvp_storage_write member = {.meta = &meta};
    check_needs_pointer(*state, "store-3");
    check_needs_pointer(*state, "incoming-3");
    depot_make(&depot, on_disk);
    depot_close(&depot);
    check_needs_none(&depot, "store-3");
    check_needs_none(&depot, "incoming-3");
    set_point(&depot, "Mapplied", history_point(&history, 9)); /* a state that came to nothing */
    set_base(&depot, history_point(&history, 9), 1);
    check_needs_pointer(&depot, "store-3");
    depot_remove(&depot);
    depot_make(&depot, on_disk);
    depot_write(&depot, &member); /* promises are kept here, and none may be forgotten */
    depot_close(&depot);
    check_needs_pointer(&depot, "store-3");
    depot_remove(&depot);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_the_store_of_another_group_is_refused),
        CASE(test_the_store_of_another_node_is_refused),
        CASE(test_a_store_of_another_format_is_refused),
        CASE(test_a_directory_that_is_refused_stays_as_it_is),
        CASE(test_every_record_must_be_there),
        CASE(test_malformed_records_are_damage),
        CASE(test_the_state_must_be_that_of_a_place_in_the_log),
        CASE(test_a_missing_entry_is_damage),
        CASE(test_a_changed_entry_is_damage),
        CASE(test_a_frame_that_is_not_whole_is_damage),
        CASE(test_a_cut_must_be_in_the_log),
        CASE(test_another_base_is_damage),
        CASE(test_a_log_shorter_than_it_was_is_in_doubt),
        CASE(test_a_log_with_another_end_is_in_doubt),
        CASE(test_a_log_longer_than_recorded_is_in_no_doubt),
        CASE(test_the_newest_valid_slot_counts),
        CASE(test_a_slot_of_another_version_is_none),
        CASE(test_one_damaged_slot_is_no_doubt),
        CASE(test_without_a_record_nobody_can_tell),
        CASE(test_a_damaged_pointer_leads_nowhere),
        CASE(test_the_store_it_names_must_be_there),
        CASE(test_a_store_with_anything_in_it_needs_a_pointer),
    };

    on_disk = false;
    int failed = cmocka_run_group_tests_name("damage in memory", tests, NULL, NULL);
    on_disk = true;
    return failed + cmocka_run_group_tests_name("damage on disk", tests, NULL, NULL);
}
