/* SPDX-License-Identifier: Apache-2.0 */
/* Log, state and metadata of one store: what is written is what is read, now and after reopening.
 */
#include "tests/kvstore/storage_support.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool on_disk; /* which kind of directory the running group is about */
static struct history history;

static int setup(void **state)
{
    static struct depot depot;
    depot_make(&depot, on_disk);
    *state = &depot;
    return 0;
}

static int teardown(void **state)
{
    depot_remove(*state);
    history_free(&history);
    return 0;
}

/* ---- the log ---- */

static void test_a_new_directory_is_blank(void **state)
{
    struct depot *depot = *state;
    struct kvp_meta blank = {0};
    check_meta(&depot->loaded.meta, &blank);
    check_all(depot, &history, 1, 0, 0);
    assert_int_equal(depot->loaded.stores_quarantined, 0);
    assert_string_equal(kvp_storage_error(depot->storage), "");
    depot_reopen(depot);
    check_meta(&depot->loaded.meta, &blank);
    check_all(depot, &history, 1, 0, 0);
}

static void test_entries_are_read_as_they_were_appended(void **state)
{
    struct depot *depot = *state;
    history_grow(&history, 1, 10);
    history_add(&history, 2, TEXT("")); /* nothing to do is an entry, too */
    history_grow(&history, 2, 5);
    depot_append(depot, &history, 1, 10);
    struct kvp_storage_write unsynced = write_of(&history, 11, 16);
    depot_write(depot, &unsynced);
    check_log(depot, &history, 1, 16);
    check_state(depot, &history, 0);
    depot_reopen(depot);
    check_all(depot, &history, 1, 16, 0);
}

static void test_the_log_is_read_in_pieces(void **state)
{
    struct depot *depot = *state;
    struct kvp_entry *entries[10];
    static const struct {
        uint64_t from;
        size_t size_max, count_max, count;
    } cases[] = {
        {1, SIZE_MAX, 10, 6}, {3, SIZE_MAX, 10, 4}, {6, SIZE_MAX, 10, 1}, {2, SIZE_MAX, 3, 3},
        {1, 0, 10, 1},        {1, 99, 10, 1},       {1, 100, 10, 1},      {1, 199, 10, 1},
        {1, 200, 10, 2},      {1, 599, 10, 5},      {2, 300, 2, 2},
    };
    char payload[100] = "";
    size_t count = 0;

    for (int i = 0; i < 6; i++) {
        history_add(&history, 1, kvp_slice_of(payload, sizeof(payload)));
    }
    depot_append(depot, &history, 1, 6);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_int_equal(kvp_storage_read_log(depot->storage, cases[i].from, cases[i].size_max,
                                              entries, cases[i].count_max, &count),
                         KVP_OK);
        assert_int_equal(count, cases[i].count);
        for (size_t j = 0; j < count; j++) {
            assert_int_equal(entries[j]->point.seq, cases[i].from + j);
            kvp_entry_unref(entries[j]);
        }
    }
}

static void test_applying_changes_the_state_and_says_how_far(void **state)
{
    struct depot *depot = *state;
    history_grow(&history, 1, 12);
    depot_append(depot, &history, 1, 12);
    for (uint64_t seq = 1; seq <= 9; seq += 3) {
        depot_apply(depot, &history, seq, seq + 2);
        check_state(depot, &history, seq + 2);
    }
    check_log(depot, &history, 1, 12);
    depot_reopen(depot);
    check_all(depot, &history, 1, 12, 9);
    depot_apply(depot, &history, 10, 12);
    check_state(depot, &history, 12);
}

static void test_entries_are_appended_and_applied_at_once(void **state)
{
    struct depot *depot = *state;
    history_grow(&history, 1, 8);
    struct kvp_storage_write write = write_of(&history, 1, 8);
    write.apply = write.append;
    write.apply_count = 5;
    depot_write(depot, &write);
    check_log(depot, &history, 1, 8);
    check_state(depot, &history, 5);
    depot_reopen(depot);
    check_all(depot, &history, 1, 8, 5);
}

static void test_a_large_entry_goes_through(void **state)
{
    struct depot *depot = *state;
    const size_t size = KVP_TXN_SIZE_MAX;
    uint8_t *payload = calloc(1, size);
    assert_non_null(payload);
    history_add(&history, 1, kvp_slice_of(payload, size));
    free(payload);
    depot_append(depot, &history, 1, 1);
    check_log(depot, &history, 1, 1);
    depot_reopen(depot);
    check_all(depot, &history, 1, 1, 0);
}

/* ---- trimming ---- */

static void trim(struct depot *depot, uint64_t to)
{
    struct kvp_storage_write write = {.trim_to = to};
    depot_write(depot, &write);
}

static void test_trimming_takes_the_oldest_entries(void **state)
{
    struct depot *depot = *state;
    history_grow(&history, 1, 10);
    depot_append(depot, &history, 1, 10);
    depot_apply(depot, &history, 1, 8);
    trim(depot, 3);
    check_log(depot, &history, 4, 10);
    trim(depot, 2); /* gone already */
    check_log(depot, &history, 4, 10);
    depot_reopen(depot);
    check_all(depot, &history, 4, 10, 8);
}

/* What is not applied is in the log alone. */
static void test_trimming_stops_at_the_applied_point(void **state)
{
    struct depot *depot = *state;
    history_grow(&history, 1, 10);
    depot_append(depot, &history, 1, 10);
    trim(depot, 5);
    check_log(depot, &history, 1, 10);
    depot_apply(depot, &history, 1, 6);
    trim(depot, 10);
    check_log(depot, &history, 7, 10);
    depot_reopen(depot);
    check_all(depot, &history, 7, 10, 6);
}

static void test_an_empty_log_goes_on_where_it_was(void **state)
{
    struct depot *depot = *state;
    history_grow(&history, 3, 6);
    depot_append(depot, &history, 1, 4);
    depot_apply(depot, &history, 1, 4);
    trim(depot, 4);
    check_log(depot, &history, 5, 4);
    depot_reopen(depot);
    check_all(depot, &history, 5, 4, 4);
    assert_false(depot->loaded.meta.log_regressed);
    depot_append(depot, &history, 5, 6);
    depot_reopen(depot);
    check_all(depot, &history, 5, 6, 4);
}

/* ---- cutting the end off ---- */

static void test_truncating_takes_the_newest_entries(void **state)
{
    struct depot *depot = *state;
    struct kvp_storage_write cut = {.truncate = true, .truncate_after = 6};
    history_grow(&history, 1, 10);
    depot_append(depot, &history, 1, 10);
    depot_apply(depot, &history, 1, 4);
    depot_write(depot, &cut);
    check_log(depot, &history, 1, 6);
    cut.truncate_after = 6; /* nothing behind it: nothing to do */
    depot_write(depot, &cut);
    cut.truncate_after = 4;
    depot_write(depot, &cut);
    check_log(depot, &history, 1, 4);
    depot_reopen(depot);
    check_all(depot, &history, 1, 4, 4);
    assert_false(depot->loaded.meta.log_regressed);
}

static void test_another_end_takes_the_place_of_the_old_one(void **state)
{
    struct depot *depot = *state;
    history_grow(&history, 1, 10);
    depot_append(depot, &history, 1, 10);
    depot_apply(depot, &history, 1, 5);
    history_cut(&history, 6);
    history_grow(&history, 2, 2);
    struct kvp_storage_write write = write_of(&history, 7, 8);
    write.truncate = true;
    write.truncate_after = 6;
    depot_write(depot, &write);
    check_log(depot, &history, 1, 8);
    depot_apply(depot, &history, 6, 8);
    depot_reopen(depot);
    check_all(depot, &history, 1, 8, 8);
    assert_false(depot->loaded.meta.log_regressed);
}

/* The new end may be as long as the old one: then all numbers are the same, and no hash. */
static void test_everything_at_once_leads_to_the_new_end(void **state)
{
    struct depot *depot = *state;
    for (uint64_t trimmed = 3; trimmed <= 8; trimmed++) {
        history_cut(&history, 0);
        history_grow(&history, 1, 8);
        depot_append(depot, &history, 1, 8);
        depot_apply(depot, &history, 1, 2);
        history_cut(&history, 4);
        history_grow(&history, 2, 4);
        struct kvp_storage_write write = write_of(&history, 5, 8);
        write.truncate = true;
        write.truncate_after = 4;
        write.apply = &history.entries[2];
        write.apply_count = 6;
        write.trim_to = trimmed;
        depot_write(depot, &write);
        check_log(depot, &history, trimmed + 1, 8);
        depot_reopen(depot);
        check_all(depot, &history, trimmed + 1, 8, 8);
        assert_false(depot->loaded.meta.log_regressed);
        struct kvp_quarantined quarantined;
        struct kvp_meta meta = {0};
        assert_int_equal(kvp_storage_quarantine(depot->storage, &meta, KVP_KEEP, &quarantined),
                         KVP_OK);
    }
}

/* Five entries to a frame: the log is trimmed and cut at, before and behind each end of one. */
static void test_frames_are_cut_and_trimmed_anywhere(void **state)
{
    struct depot *depot = *state;
    struct kvp_meta meta = {0};
    struct kvp_quarantined quarantined;
    for (uint64_t cut = 0; cut <= 12; cut++) {
        for (uint64_t trimmed = 0; trimmed <= cut; trimmed += cut % 3 + 1) {
            history_cut(&history, 0);
            history_grow(&history, 1, 12);
            depot_append(depot, &history, 1, 5);
            depot_append(depot, &history, 6, 10);
            depot_append(depot, &history, 11, 12);
            if (cut > 0) {
                depot_apply(depot, &history, 1, cut);
            }
            trim(depot, trimmed);
            check_log(depot, &history, trimmed + 1, 12);
            history_cut(&history, cut);
            history_grow(&history, 2, 3);
            struct kvp_storage_write write = write_of(&history, cut + 1, cut + 3);
            write.truncate = true;
            write.truncate_after = cut;
            depot_write(depot, &write);
            check_log(depot, &history, trimmed + 1, cut + 3);
            depot_reopen(depot);
            check_all(depot, &history, trimmed + 1, cut + 3, cut);
            assert_int_equal(kvp_storage_quarantine(depot->storage, &meta, KVP_KEEP, &quarantined),
                             KVP_OK);
        }
    }
}

/* In memory each frame goes alone, on disk a file of them at a time. */
static void check_trimmed(struct depot *depot, uint64_t seq)
{
    depot_reopen(depot);
    assert_true(depot->place.on_disk || depot->loaded.log_first == seq + 1);
}

static void test_a_log_just_opened_is_trimmed_whole(void **state)
{
    struct depot *depot = *state;
    struct kvp_quarantined quarantined;
    const struct kvp_meta meta = {0};
    history_grow(&history, 1, 10);
    for (uint64_t seq = 1; seq <= 10; seq++) {
        depot_append(depot, &history, seq, seq);
    }
    depot_apply(depot, &history, 1, 10);
    depot_reopen(depot);
    trim(depot, 10);
    check_trimmed(depot, 10);
    assert_int_equal(kvp_storage_quarantine(depot->storage, &meta, KVP_KEEP, &quarantined), KVP_OK);
    history_cut(&history, 6);
    for (uint64_t seq = 1; seq <= 6; seq++) { /* frames have smaller numbers again */
        depot_append(depot, &history, seq, seq);
    }
    depot_apply(depot, &history, 1, 6);
    trim(depot, 4);
    check_trimmed(depot, 4);
    check_all(depot, &history, 5, 6, 6);
}

static void test_what_is_trimmed_goes_in_the_end(void **state)
{
    struct depot *depot = *state;
    static char value[400001];
    memset(value, 'v', sizeof(value) - 1);
    for (uint64_t seq = 1; seq <= 40; seq++) {
        history_put(&history, 1, "key", value);
        depot_append(depot, &history, seq, seq);
        depot_apply(depot, &history, seq, seq);
        trim(depot, seq > 3 ? seq - 3 : 0);
    }
    depot_reopen(depot);
    assert_in_range(depot->loaded.log_first, 28, 38); /* a file has five of them */
    check_log(depot, &history, 38, 40);
    check_state(depot, &history, 40);
}

/* ---- what the log does not allow ---- */

/* Refuses the write, stops, and has changed nothing. */
static void check_not_allowed(struct depot *depot, const struct kvp_storage_write *write)
{
    assert_int_equal(kvp_storage_write(depot->storage, write), KVP_BAD_ARGUMENT);
    check_stopped(depot);
    depot_reopen(depot);
    check_all(depot, &history, 2, 6, 4);
}

static void test_a_write_out_of_order_is_refused(void **state)
{
    struct depot *depot = *state;
    struct kvp_storage_write applied_cut = {.truncate = true, .truncate_after = 3};
    struct kvp_storage_write beyond_cut = {.truncate = true, .truncate_after = 7};
    struct kvp_storage_write skip_apply = {.apply = &history.entries[5], .apply_count = 1};
    struct kvp_storage_write again_apply = {.apply = &history.entries[3], .apply_count = 1};
    struct kvp_storage_write apply_beyond = {.apply = &history.entries[4], .apply_count = 3};
    history_grow(&history, 1, 9);
    depot_append(depot, &history, 1, 6);
    depot_apply(depot, &history, 1, 4);
    trim(depot, 1);
    struct kvp_storage_write gap = write_of(&history, 8, 9);
    struct kvp_storage_write again = write_of(&history, 6, 7);
    check_not_allowed(depot, &applied_cut);
    check_not_allowed(depot, &beyond_cut);
    check_not_allowed(depot, &gap);
    check_not_allowed(depot, &again);
    check_not_allowed(depot, &skip_apply);
    check_not_allowed(depot, &again_apply);
    check_not_allowed(depot, &apply_beyond);
}

static void test_a_malformed_write_set_is_not_applied(void **state)
{
    struct depot *depot = *state;
    history_grow(&history, 1, 1);
    history_add(&history, 1, TEXT("\1\2\0\0\0Lx\0\0\0\0")); /* into the log itself */
    depot_append(depot, &history, 1, 2);
    struct kvp_storage_write write = {.apply = history.entries, .apply_count = 2};
    assert_int_equal(kvp_storage_write(depot->storage, &write), KVP_CORRUPT);
    check_stopped(depot);
    depot_reopen(depot);
    check_all(depot, &history, 1, 2, 0);
}

static void test_a_name_or_number_that_none_can_have_is_refused(void **state)
{
    struct depot *depot = *state;
    struct kvp_env *env = depot->place.env;
    struct kvp_storage *storage = NULL;
    char name[KVP_GROUP_NAME_MAX + 2];
    char message[64];
    memset(name, 'g', sizeof(name) - 1);
    name[sizeof(name) - 1] = '\0';
    depot_close(depot);
    static const unsigned nodes[] = {0, KVP_NODE_ID_MAX + 1, 256 + NODE};
    for (size_t i = 0; i < sizeof(nodes) / sizeof(nodes[0]); i++) {
        message[0] = '\0';
        assert_int_equal(kvp_storage_open(env, GROUP, nodes[i], &storage, &depot->loaded, message,
                                          sizeof(message)),
                         KVP_BAD_ARGUMENT);
        assert_true(message[0] != '\0');
    }
    assert_int_equal(
        kvp_storage_open(env, name, NODE, &storage, &depot->loaded, message, sizeof(message)),
        KVP_BAD_ARGUMENT);
    assert_null(storage);
}

/* ---- metadata ---- */

static void test_metadata_is_kept_whole(void **state)
{
    struct depot *depot = *state;
    const struct kvp_meta meta = {
        .group_id = 0x0102030405060708,
        .view = {.version = UINT64_MAX, .epoch = 77, .primary = 63, .in_sync = 1ull << 63 | 2},
        .member_epoch = 76,
        .unreplicated_from = 1ull << 40,
        .log_regressed = true,
        .diverged_count = 12,
        .forced_epoch = 13,
    };
    const struct kvp_meta other = {.group_id = 1, .unreplicated_from = 9};
    struct kvp_storage_write write = {.meta = &meta};

    depot_write(depot, &write);
    depot_reopen(depot);
    check_meta(&depot->loaded.meta, &meta);
    history_grow(&history, 1, 2);
    depot_append(depot, &history, 1, 2); /* a write without metadata leaves it */
    depot_reopen(depot);
    check_meta(&depot->loaded.meta, &meta);
    write.meta = &other;
    depot_write(depot, &write);
    depot_reopen(depot);
    check_meta(&depot->loaded.meta, &other);
    check_all(depot, &history, 1, 2, 0);
}

/* ---- reading the state ---- */

/* One entry that puts state records of all kinds and reaches the ends of their range. */
static void put_all_kinds(struct depot *depot)
{
    static const char set[] = "\1\1\0\0\0D\1\0\0\0z"
                              "\1\2\0\0\0Da\1\0\0\0a"
                              "\1\2\0\0\0Db\0\0\0\0"
                              "\1\1\0\0\0E\1\0\0\0e"
                              "\1\2\0\0\0Kz\1\0\0\0k"
                              "\1\2\0\0\0Na\1\0\0\0n"
                              "\1\2\0\0\0S1\1\0\0\0s"
                              "\1\2\0\0\0Z\xff\1\0\0\0z";

    history_add(&history, 1, kvp_slice_of(set, sizeof(set) - 1));
    depot_append(depot, &history, 1, 1);
    depot_apply(depot, &history, 1, 1);
}

static void check_range(struct kvp_state_view *view, kvp_slice key, kvp_slice end,
                        const char *expected)
{
    assert_int_equal(kvp_state_view_seek(view, key, end), KVP_OK);
    char *found = state_dump(view);
    assert_string_equal(found, expected);
    free(found);
}

static void test_a_view_goes_through_the_state_and_nothing_else(void **state)
{
    struct depot *depot = *state;
    put_all_kinds(depot);
    struct kvp_state_view *view = kvp_storage_snapshot(depot->storage);
    assert_non_null(view);
    char *all = state_dump(view); /* starts at the first pair by itself */
    assert_string_equal(all, "D=z Da=a Db= E=e Kz=k Na=n S1=s Z\xff=z ");
    free(all);
    check_range(view, TEXT(""), TEXT(""), "D=z Da=a Db= E=e Kz=k Na=n S1=s Z\xff=z ");
    check_range(view, TEXT("Da"), TEXT("E"), "Da=a Db= ");
    check_range(view, TEXT("D\0"), TEXT("Db"), "Da=a ");
    check_range(view, TEXT("K"), TEXT("Na"), "Kz=k ");
    check_range(view, TEXT("K"), TEXT("Na\0"), "Kz=k Na=n ");
    check_range(view, TEXT("Da"), TEXT("Da"), "");
    check_range(view, TEXT("E"), TEXT("D"), "");
    check_range(view, TEXT("Z\xff\xff"), TEXT(""), "");
    /* Between K and N lie log and metadata. */
    check_range(view, TEXT("Kzz"), TEXT("S"), "Na=n ");
    check_range(view, TEXT("L"), TEXT("S"), "Na=n ");
    check_range(view, TEXT("L\0\0\0\0\0\0\0\1"), TEXT("M"), "");
    check_range(view, TEXT("Mmeta"), TEXT("S"), "Na=n ");
    kvp_state_view_close(view);
    kvp_state_view_close(NULL);
}

static void test_a_view_of_no_state_shows_no_log(void **state)
{
    struct depot *depot = *state;
    history_grow(&history, 1, 3);
    depot_append(depot, &history, 1, 3);
    check_state(depot, &history, 0);
}

static void test_the_end_of_a_view_stays_the_end(void **state)
{
    struct depot *depot = *state;
    kvp_slice key, value;
    put_all_kinds(depot);
    struct kvp_state_view *view = kvp_storage_snapshot(depot->storage);
    assert_int_equal(kvp_state_view_seek(view, TEXT("Z"), TEXT("")), KVP_OK);
    kvp_state_view_next(view);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(kvp_state_view_read(view, &key, &value), KVP_NOT_FOUND);
        kvp_state_view_next(view);
    }
    check_range(view, TEXT("S"), TEXT("T"), "S1=s "); /* but there is a way back */
    kvp_state_view_close(view);
}

static void test_a_view_does_not_see_what_comes_later(void **state)
{
    struct depot *depot = *state;
    history_grow(&history, 1, 20);
    depot_append(depot, &history, 1, 20);
    depot_apply(depot, &history, 1, 7);
    struct kvp_state_view *view = kvp_storage_snapshot(depot->storage);
    depot_apply(depot, &history, 8, 20);
    char *expected = history_state(&history, 7);
    check_point(kvp_state_view_point(view), history_point(&history, 7));
    check_range(view, TEXT(""), TEXT(""), expected);
    free(expected);
    kvp_state_view_close(view);
    check_state(depot, &history, 20);
}

static void check_get(struct depot *depot, kvp_slice key, const char *expected)
{
    kvp_buf value = {0};
    kvp_status status = kvp_storage_get(depot->storage, key, &value);
    assert_int_equal(status, expected == NULL ? KVP_NOT_FOUND : KVP_OK);
    check_slice(kvp_buf_slice(&value), slice_of_text(expected == NULL ? "" : expected));
    kvp_buf_free(&value);
}

static void test_single_keys_are_read_from_the_applied_state(void **state)
{
    struct depot *depot = *state;
    put_all_kinds(depot);
    history_put(&history, 1, "new", "x");
    depot_append(depot, &history, 2, 2);
    check_get(depot, TEXT("Da"), "a");
    check_get(depot, TEXT("Db"), "");
    check_get(depot, TEXT("D"), "z");
    check_get(depot, TEXT("Dnew"), NULL); /* not applied yet */
    depot_apply(depot, &history, 2, 2);
    check_get(depot, TEXT("Dnew"), "x");
    check_get(depot, TEXT("Mmeta"), NULL); /* metadata are no state */
    check_get(depot, TEXT(""), NULL);
}

/* ---- readers beside the writer ---- */

struct reading {
    struct kvp_storage *storage;
    atomic_bool stop;
    unsigned looks, wrong;
};

/* Entry n puts "Dk0".."Dk3" = n, so a view at point n shows n four times. */
static bool look(struct kvp_storage *storage)
{
    struct kvp_state_view *view = kvp_storage_snapshot(storage);
    kvp_slice key, value;
    char expected[32];
    unsigned count = 0;
    if (view == NULL) {
        return false;
    }
    uint64_t seq = kvp_state_view_point(view).seq;
    int size = snprintf(expected, sizeof(expected), "%llu", (unsigned long long)seq);
    bool right = true;
    for (; kvp_state_view_read(view, &key, &value) == KVP_OK; kvp_state_view_next(view)) {
        right = right && kvp_slice_compare(value, kvp_slice_of(expected, (size_t)size)) == 0;
        count++;
    }
    kvp_state_view_close(view);
    return right && count == (seq == 0 ? 0 : 4);
}

static void *read_on(void *arg)
{
    struct reading *reading = arg;
    while (!atomic_load(&reading->stop) || reading->looks == 0) {
        reading->wrong += look(reading->storage) ? 0 : 1;
        reading->looks++;
    }
    return NULL;
}

static void add_round(uint64_t number)
{
    char text[64];
    kvp_buf set = {0};
    for (unsigned i = 0; i < 4; i++) {
        int size = snprintf(text, sizeof(text), "%llu", (unsigned long long)number);
        uint8_t head[] = {1, 3, 0, 0, 0, 'D', 'k', (uint8_t)('0' + i), (uint8_t)size, 0, 0, 0};
        assert_int_equal(kvp_buf_append(&set, head, sizeof(head)), KVP_OK);
        assert_int_equal(kvp_buf_append(&set, text, (size_t)size), KVP_OK);
    }
    history_add(&history, 1, kvp_buf_slice(&set));
    kvp_buf_free(&set);
}

static void test_another_thread_sees_the_state_of_one_point(void **state)
{
    struct depot *depot = *state;
    struct reading reading = {.storage = depot->storage};
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, read_on, &reading), 0);
    for (uint64_t seq = 1; seq <= 300; seq++) {
        add_round(seq);
        struct kvp_storage_write write = write_of(&history, seq, seq);
        write.apply = write.append;
        write.apply_count = 1;
        write.trim_to = seq / 2;
        depot_write(depot, &write);
    }
    atomic_store(&reading.stop, true);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(reading.wrong, 0);
    check_state(depot, &history, 300);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_a_new_directory_is_blank),
        CASE(test_entries_are_read_as_they_were_appended),
        CASE(test_the_log_is_read_in_pieces),
        CASE(test_applying_changes_the_state_and_says_how_far),
        CASE(test_entries_are_appended_and_applied_at_once),
        CASE(test_a_large_entry_goes_through),
        CASE(test_trimming_takes_the_oldest_entries),
        CASE(test_trimming_stops_at_the_applied_point),
        CASE(test_frames_are_cut_and_trimmed_anywhere),
        CASE(test_a_log_just_opened_is_trimmed_whole),
        CASE(test_what_is_trimmed_goes_in_the_end),
        CASE(test_an_empty_log_goes_on_where_it_was),
        CASE(test_truncating_takes_the_newest_entries),
        CASE(test_another_end_takes_the_place_of_the_old_one),
        CASE(test_everything_at_once_leads_to_the_new_end),
        CASE(test_a_write_out_of_order_is_refused),
        CASE(test_a_malformed_write_set_is_not_applied),
        CASE(test_a_name_or_number_that_none_can_have_is_refused),
        CASE(test_metadata_is_kept_whole),
        CASE(test_a_view_goes_through_the_state_and_nothing_else),
        CASE(test_a_view_of_no_state_shows_no_log),
        CASE(test_the_end_of_a_view_stays_the_end),
        CASE(test_a_view_does_not_see_what_comes_later),
        CASE(test_single_keys_are_read_from_the_applied_state),
        CASE(test_another_thread_sees_the_state_of_one_point),
    };

    on_disk = false;
    int failed = cmocka_run_group_tests_name("storage in memory", tests, NULL, NULL);
    on_disk = true;
    return failed + cmocka_run_group_tests_name("storage on disk", tests, NULL, NULL);
}
