/* SPDX-License-Identifier: Apache-2.0 */
/* The journal in its files: frames, files that come and go, their keys. */
#include "tests/kvstore/journal_desk.h"

#include "kvstore/keyspace.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <xxhash.h>

/* ---- frames ---- */

static void test_an_empty_journal_has_no_files(void **state)
{
    (void)state;
    desk_start(1);
    assert_false(desk.more);
    assert_int_equal(kvp_journal_sync(desk.journal), KVP_OK);
    assert_int_equal(kvp_journal_oldest(desk.journal, 0), 1);
    assert_int_equal(kvp_journal_oldest(desk.journal, 9), 1);
    assert_int_equal(kvp_journal_drop(desk.journal, 9), KVP_OK);
    assert_int_equal(disk_list_files("journal-").count, 0);
    disk_write_file("journal-1", kvp_slice_of("", 0)); /* a power cut can leave it so */
    desk_start(1);
    assert_false(desk.more);
    assert_int_equal(disk_list_files("journal-").count, 0);
    desk_start(7);
    assert_int_equal(kvp_journal_oldest(desk.journal, 0), 7);
    desk_append(10, true);
    assert_int_equal(disk_list_files("journal-").count, 1);
    assert_int_equal(desk_replay(7), 8);
}

static void test_frames_of_all_sizes_come_back(void **state)
{
    static const uint32_t large[] = {4055, 4056, 4057, 4096, 8152, 8153, 20000, 3, 0, 65536, 1};
    (void)state;
    desk_start(1);
    for (uint32_t size = 0; size < 70; size++) {
        desk_append(size, size % 5 == 0);
    }
    for (size_t i = 0; i < sizeof(large) / sizeof(large[0]); i++) {
        desk_append(large[i], i % 2 == 0);
    }
    desk_check_read(1, desk.next);
    uint64_t next = desk.next;
    assert_int_equal(desk_replay(1), next);
    assert_false(desk.more);
    desk_check_read(1, next);
    for (uint64_t first = 1; first <= next; first++) {
        assert_int_equal(desk_replay(first), next);
        assert_false(desk.more);
    }
}

static void test_a_frame_and_the_header_fill_a_file(void **state)
{
    /* Each one needs a file of its own, of so many times SIZE. */
    static const uint32_t frames[] = {4049, 4056, 4057, 8145, 8152, 8153};
    static const size_t sizes[] = {1, 1, 2, 2, 2, 3};
    kvp_buf content = {0};

    (void)state;
    desk_start(1);
    for (size_t i = 0; i < 6; i++) {
        desk_append(frames[i], false);
    }
    struct names names = disk_list_files("journal-");
    assert_int_equal(names.count, 6);
    for (size_t i = 0; i < 6; i++) {
        disk_read_file(names.name[i], &content);
        assert_int_equal(content.size, sizes[i] * SIZE);
    }
    assert_int_equal(desk_replay(1), 7);
    /* A free file that is too small for the header and the frame is not used. */
    desk_start(7);
    assert_int_equal(disk_list_files("journal-").count, 2);
    desk_append(12249, false);
    disk_read_file("journal-7", &content);
    assert_int_equal(content.size, 4 * SIZE);
    desk_append(12248, false);
    assert_int_equal(desk.frames[8].place >> 32, 6);
    assert_int_equal(disk_list_files("journal-").count, 3);
    assert_int_equal(desk_replay(7), 9);
    kvp_buf_free(&content);
}

static void test_parts_are_put_together(void **state)
{
    kvp_slice parts[200];
    struct kvp_frame frame;
    kvp_buf bytes = {0};
    (void)state;
    desk_start(1);
    for (size_t i = 0; i < 200; i++) {
        parts[i] = i % 3 == 0 ? kvp_slice_of(NULL, 0) : kvp_slice_of("abcdefgh", i % 8);
    }
    assert_int_equal(kvp_journal_append(desk.journal, NULL, 0, false, &frame), KVP_OK);
    assert_int_equal(kvp_journal_append(desk.journal, parts, 200, false, &frame), KVP_OK);
    assert_int_equal(kvp_buf_append(&bytes, "before", 6), KVP_OK);
    assert_int_equal(kvp_journal_read(desk.journal, frame, &bytes), KVP_OK);
    size_t at = 6;
    assert_memory_equal(bytes.data, "before", 6);
    for (size_t i = 0; i < 200; i++) {
        if (parts[i].size > 0) {
            assert_memory_equal(bytes.data + at, parts[i].data, parts[i].size);
            at += parts[i].size;
        }
    }
    assert_int_equal(bytes.size, at);
    kvp_buf_free(&bytes);
}

static void test_a_frame_of_megabytes_has_a_file_of_its_own(void **state)
{
    size_t size = 3 * 1024 * 1024 + 5;
    uint8_t *large = calloc(1, size);
    kvp_slice parts[2] = {kvp_slice_of(large, size), kvp_slice_of("end", 3)};
    struct kvp_frame frame;
    kvp_buf bytes = {0};
    (void)state;
    assert_non_null(large);
    desk_start(1);
    desk_append(10, false);
    for (unsigned i = 0; i < 3; i++) {
        large[i] = 1;
        large[size - 1 - i] = 2;
        bytes.size = 0;
        assert_int_equal(kvp_journal_append(desk.journal, parts, 2, true, &frame), KVP_OK);
        assert_int_equal(kvp_journal_read(desk.journal, frame, &bytes), KVP_OK);
        assert_int_equal(bytes.size, size + 3);
        assert_memory_equal(bytes.data, large, size);
        assert_memory_equal(bytes.data + size, "end", 3);
    }
    assert_int_equal(disk_list_files("journal-").count, 4);
    kvp_buf_free(&bytes);
    free(large);
}

static void test_numbers_go_on_after_reopening(void **state)
{
    (void)state;
    for (unsigned life = 0; life < 50; life++) {
        uint64_t before = desk.next;
        desk_start(1);
        assert_int_equal(desk.next, life == 0 ? 1 : before);
        assert_false(desk.more);
        desk_append_many(1 + life % 7, 10 * life);
        desk_check_read(1, desk.next);
    }
}

static void test_more_than_a_frame_can_hold_is_refused(void **state)
{
    kvp_slice parts[2] = {kvp_slice_of("x", SIZE_MAX), kvp_slice_of("x", 1)};
    struct kvp_frame frame;
    (void)state;
    desk_start(1);
    assert_int_equal(kvp_journal_append(desk.journal, parts, 2, true, &frame), KVP_TOO_LARGE);
    parts[0].size = UINT32_MAX;
    assert_int_equal(kvp_journal_append(desk.journal, parts, 2, true, &frame), KVP_TOO_LARGE);
    desk_append(10, true);
    struct kvp_journal *other = NULL;
    assert_int_equal(kvp_journal_open(desk.place.path, SIZE - 1, &other), KVP_BAD_ARGUMENT);
    assert_int_equal(kvp_journal_open("/nowhere/at/all", SIZE, &other), KVP_NOT_FOUND);
    assert_null(other);
}

static void test_calls_out_of_order_are_refused(void **state)
{
    (void)state;
    desk_open();
    assert_int_equal(kvp_journal_begin(desk.journal), KVP_BAD_ARGUMENT);
    desk.next = 1;
    assert_int_equal(desk_try_append(1, false), KVP_BAD_ARGUMENT);
    assert_int_equal(kvp_journal_drop(desk.journal, 1), KVP_BAD_ARGUMENT);
    assert_int_equal(desk_try_replay(1), KVP_OK);
    assert_int_equal(desk_try_append(1, false), KVP_BAD_ARGUMENT);
    assert_int_equal(kvp_journal_begin(desk.journal), KVP_OK);
    assert_int_equal(kvp_journal_begin(desk.journal), KVP_BAD_ARGUMENT);
    assert_int_equal(desk_try_replay(1), KVP_BAD_ARGUMENT);
    desk_append(1, true);
}

static void test_an_error_of_the_reader_ends_the_reading(void **state)
{
    (void)state;
    desk_start(1);
    desk_append_many(30, 300);
    desk_open();
    desk.stop_at = 20;
    assert_int_equal(desk_try_replay(1), KVP_BUSY);
    assert_int_equal(desk.next, 20);
    assert_int_equal(kvp_journal_begin(desk.journal), KVP_BAD_ARGUMENT);
    desk.stop_at = 0;
    assert_int_equal(desk_try_replay(1), KVP_OK);
    assert_int_equal(desk.next, 31);
    assert_int_equal(kvp_journal_begin(desk.journal), KVP_OK);
}

static void test_a_write_and_a_sync_are_one_call_each(void **state)
{
    (void)state;
    desk_start(1);
    desk_append(10, true);
    disk.writes = disk.syncs = disk.directory_syncs = 0;
    assert_int_equal(kvp_journal_sync(desk.journal), KVP_OK);
    assert_int_equal(disk.syncs, 0);
    desk_append(11, false);
    desk_append(12, false);
    assert_int_equal(disk.writes, 2);
    assert_int_equal(disk.syncs, 0);
    desk_append(13, true);
    assert_int_equal(kvp_journal_sync(desk.journal), KVP_OK);
    assert_int_equal(disk.writes, 3);
    assert_int_equal(disk.syncs, 1);
    desk_append(14, false);
    assert_int_equal(kvp_journal_sync(desk.journal), KVP_OK);
    assert_int_equal(disk.syncs, 2);
    assert_int_equal(disk.directory_syncs, 0);
    desk_append_many(25, 400);
    assert_int_equal(kvp_journal_drop(desk.journal, desk.next), KVP_OK);
    desk_append_many(3, 400);
    disk.writes = disk.directory_syncs = disk.randoms = 0;
    desk_append_many(9, 400); /* begins a file that was used before, with its header */
    assert_int_equal(disk.writes, 9);
    assert_int_equal(disk.randoms, 1);
    assert_int_equal(disk.directory_syncs, 0);
}

/* A file is all there before it is used, so a sync of frames need not write down its size; and what
 * a beginning removes does not come back with the next power cut. */
static void test_files_come_and_go_durably(void **state)
{
    static const uint8_t zeros[SIZE];
    (void)state;
    desk_start(1);
    desk_append(10, false);
    assert_int_equal(disk.syncs, 1);
    assert_true(disk_file("journal-1")->has_entry);
    check_slice(kvp_buf_slice(&disk_file("journal-1")->content), kvp_slice_of(zeros, SIZE));
    assert_int_equal(desk_replay(5), 5);
    disk.directory_syncs = 0;
    desk.file_size = 2 * SIZE;
    desk_start(5);
    assert_int_equal(disk_list_files("journal-").count, 0);
    assert_int_equal(disk.directory_syncs, 1);
    assert_int_equal(disk.count, 0);
}

/* ---- dropping ---- */

static uint64_t bytes_on_disk(void)
{
    struct names names = disk_list_files("journal-");
    uint64_t sum = 0;
    for (size_t i = 0; i < names.count; i++) {
        char path[256];
        struct stat info;
        disk_path_of(names.name[i], path);
        assert_int_equal(stat(path, &info), 0);
        sum += (uint64_t)info.st_size;
    }
    return sum;
}

static void test_files_are_used_again(void **state)
{
    uint64_t keep = 1;
    int made = 0;
    (void)state;
    desk_start(1);
    for (unsigned i = 0; i < 10000; i++) {
        int before = disk.directory_syncs;
        desk_append((uint32_t)disk_draw(200), false);
        made += disk.directory_syncs - before;
        if (i % 40 == 39) {
            keep = desk.next > 50 ? desk.next - 50 : 1;
            uint64_t oldest = kvp_journal_oldest(desk.journal, keep);
            assert_true(oldest <= keep && oldest + 40 > keep);
            assert_int_equal(kvp_journal_drop(desk.journal, keep), KVP_OK);
            assert_int_equal(kvp_journal_oldest(desk.journal, 0), oldest);
            assert_int_equal(kvp_journal_oldest(desk.journal, keep), oldest);
            desk_check_read(oldest, desk.next);
        }
        assert_true(bytes_on_disk() <= 10 * SIZE);
    }
    assert_true(made < 20);
    uint64_t next = desk.next;
    assert_int_equal(desk_replay(keep), next);
    assert_false(desk.more);
}

static void test_what_drop_leaves_is_what_oldest_said(void **state)
{
    (void)state;
    for (uint64_t keep = 0; keep < 60; keep++) {
        desk_start(keep == 0 ? 1 : desk.next);
        uint64_t begin = desk.next;
        desk_append_many(50, 400); /* 9 in each file */
        uint64_t next = desk.next;
        uint64_t oldest = kvp_journal_oldest(desk.journal, begin + keep);
        uint64_t expected = begin + (keep < 50 ? keep / 9 * 9 : 45);
        assert_int_equal(oldest, expected);
        assert_int_equal(kvp_journal_drop(desk.journal, begin + keep), KVP_OK);
        assert_int_equal(desk_replay(oldest), next);
        assert_int_equal(kvp_journal_oldest(desk.journal, 0), expected);
        if (keep < 45 && expected > begin + 2 * 9) {
            assert_true(disk_list_files("journal-").count <= 2 + (next - oldest + 8) / 9);
        }
    }
}

/* The same sizes all the time: each new frame ends where an old one begins. */
static void test_old_frames_of_a_file_are_not_taken_for_new_ones(void **state)
{
    (void)state;
    desk_start(1);
    desk_append_many(90, 400);
    for (unsigned i = 0; i < 200; i++) {
        uint64_t next = desk.next;
        assert_int_equal(kvp_journal_drop(desk.journal, next), KVP_OK);
        desk_append(400, false);
        desk_stop();
        assert_int_equal(desk_replay(next), next + 1);
        assert_false(desk.more);
        desk_start(next);
        desk_append_many((unsigned)disk_draw(20), 400);
        next = desk.next;
        assert_int_equal(desk_replay(kvp_journal_oldest(desk.journal, 0)), next);
        assert_false(desk.more);
        desk_start(kvp_journal_oldest(desk.journal, 0));
    }
    assert_true(disk_list_files("journal-").count <= 5);
}

static void test_free_files_outlive_the_process(void **state)
{
    (void)state;
    desk_start(1);
    desk_append_many(40, 400);
    desk_start(desk.next); /* nothing is in the journal any more */
    assert_int_equal(disk_list_files("journal-").count, 2);
    disk.directory_syncs = 0;
    desk_append_many(18, 400);
    assert_int_equal(disk.directory_syncs, 0);
    desk_append(400, false);
    assert_int_equal(disk.directory_syncs, 1);
    uint64_t next = desk.next;
    assert_int_equal(desk_replay(41), next);
    desk.file_size = 2 * SIZE; /* now they are too small to be used again */
    desk_start(next);
    assert_int_equal(disk_list_files("journal-").count, 0);
}

/* ---- keys ---- */

/* The key in a file's header, which must be a valid one. */
static uint64_t key_of(const char *name)
{
    kvp_buf content = {0};
    disk_read_file(name, &content);
    assert_true(content.size >= FILE_HEADER);
    uint64_t key = kvp_get_u64(content.data);
    assert_int_equal(kvp_get_u64(content.data + 8), XXH3_64bits(content.data, 8));
    kvp_buf_free(&content);
    return key;
}

static void test_each_use_of_a_file_has_a_key_of_its_own(void **state)
{
    uint64_t keys[100];
    size_t count = 0;
    (void)state;
    desk.next = 1;
    for (unsigned life = 0; life < 10; life++) {
        desk_start(desk.next);
        for (unsigned use = 0; use < 10; use++) {
            char name[32];
            desk_append(400, false);
            uint64_t file = desk.frames[desk.next - 1].place >> 32;
            (void)snprintf(name, sizeof(name), "journal-%" PRIu64, file);
            keys[count++] = key_of(name);
            desk_append_many(8, 400); /* now it is full */
            assert_int_equal(keys[count - 1], key_of(name));
            assert_int_equal(kvp_journal_drop(desk.journal, desk.next), KVP_OK);
            assert_true(file <= 5);
        }
    }
    for (size_t i = 0; i < count; i++) {
        assert_true(keys[i] != 0);
        for (size_t k = 0; k < i; k++) {
            assert_true(keys[i] != keys[k]);
        }
    }
}

static void test_without_random_numbers_nothing_goes_on(void **state)
{
    (void)state;
    desk.next = 1;
    for (unsigned files = 0; files < 3; files++) { /* none yet; a new one; one that is used again */
        desk_start(desk.next);
        desk_append_many(9 * files, 400);
        assert_int_equal(kvp_journal_drop(desk.journal, desk.next), KVP_OK);
        size_t count = disk_list_files("journal-").count;
        uint64_t end = desk.next;
        disk.no_random = ENOSYS;
        assert_int_equal(desk_try_append(400, true), KVP_IO);
        disk.no_random = 0;
        desk_check_failed();
        assert_int_equal(disk_list_files("journal-").count, files < 2 ? count + 1 : count);
        assert_int_equal(desk_replay(desk.first), end);
        assert_false(desk.more);
    }
}

/* Perfectly formed frames that no journal has written. They lie where the frames of a file that is
 * used again may end: so each of them has the number that is the next one there. */
enum {
    SLOT = FRAME_HEADER + 400, /* a frame */
    SLOTS = 9,                 /* of a file; forged are all but the first */
    FORGED_SALT = 99999,
    FORGED_FIRST = 12, /* number of the true frame in the first slot */
};

enum checksum {
    WITHOUT_KEY,
    OLD_KEY, /* that of the file's first use */
    CHECKSUMS,
};

static void forge(uint64_t seed, kvp_buf *frames)
{
    frames->size = 0;
    assert_int_equal(kvp_buf_reserve(frames, (size_t)SLOT * SLOTS), KVP_OK);
    for (unsigned slot = 1; slot < SLOTS; slot++) {
        uint8_t *frame = frames->data + frames->size;
        kvp_put_u64(frame + 8, FORGED_FIRST + slot);
        kvp_put_u32(frame + 16, 400);
        kvp_put_u32(frame + 20, 0x314a764b);
        desk_fill(frame + FRAME_HEADER, FORGED_FIRST + slot, 400, FORGED_SALT);
        kvp_put_u64(frame, XXH3_64bits_withSeed(frame + 8, SLOT - 8, seed));
        frames->size += SLOT;
    }
}

/* Uses journal-1 a second time, for `count` frames that are not synced. Its first use had the
 * forged ones as bytes of a frame. Returns the number from which on all frames count. */
static uint64_t use_again(enum checksum checksum, unsigned count)
{
    static const uint8_t filling[SLOT];
    size_t begin = FILE_HEADER + FRAME_HEADER + 8 + FRAME_HEADER; /* of the second frame's bytes */
    struct kvp_frame frame;
    kvp_buf forged = {0};

    desk_start(1);
    desk_append(8, false); /* with it the file gets its key */
    forge(checksum == OLD_KEY ? key_of("journal-1") : 0, &forged);
    kvp_slice parts[2] = {
        kvp_slice_of(filling, FILE_HEADER + SLOT - begin),
        kvp_buf_slice(&forged),
    };
    assert_int_equal(kvp_journal_append(desk.journal, parts, 2, true, &frame), KVP_OK);
    kvp_buf_free(&forged);
    uint64_t keep = ++desk.next;
    desk_append_many(SLOTS, 400); /* they fill journal-2 */
    assert_int_equal(desk.next, FORGED_FIRST);
    assert_int_equal(kvp_journal_drop(desk.journal, keep), KVP_OK);
    desk_append_many(count, 400);
    assert_int_equal(disk_list_files("journal-").count, 2);
    desk_stop();
    return keep;
}

static void test_bytes_that_look_like_frames_are_none(void **state)
{
    for (enum checksum checksum = 0; checksum < CHECKSUMS; checksum++) {
        for (unsigned count = 1; count <= SLOTS; count++) {
            (void)desk_teardown(state);
            (void)desk_setup(state);
            uint64_t keep = use_again(checksum, count);
            assert_int_equal(desk_replay(keep), FORGED_FIRST + count);
            assert_false(desk.more);
            desk_start(keep);
            desk_append(400, false);
            assert_int_equal(desk_replay(keep), FORGED_FIRST + count + 1);
            assert_false(desk.more);
        }
    }
}

static void test_bytes_that_look_like_frames_are_none_after_a_power_cut(void **state)
{
    for (uint64_t seed = 1; seed <= 300; seed++) {
        (void)desk_teardown(state);
        (void)desk_setup(state);
        disk_random = seed;
        unsigned count = 1 + (unsigned)disk_draw(SLOTS);
        uint64_t keep = use_again((enum checksum)disk_draw(CHECKSUMS), count);
        disk_cut_power();
        uint64_t end = desk_replay(keep); /* looks into each frame, too */
        assert_true(end >= FORGED_FIRST && end <= FORGED_FIRST + count);
        desk_start(keep);
        desk_append(400, false);
        assert_int_equal(desk_replay(keep), end + 1);
        assert_false(desk.more);
    }
}

/* With the right key they would be: so there is nothing else that the tests above could miss. */
static void test_with_the_key_they_would_be_frames(void **state)
{
    kvp_buf content = {0}, forged = {0};
    (void)state;
    uint64_t keep = use_again(WITHOUT_KEY, 4);
    disk_read_file("journal-1", &content);
    forge(key_of("journal-1"), &forged);
    memcpy(content.data + FILE_HEADER + 4 * SLOT, forged.data + 3 * SLOT, forged.size - 3 * SLOT);
    disk_write_file("journal-1", kvp_buf_slice(&content));
    for (uint64_t number = FORGED_FIRST + 4; number < FORGED_FIRST + SLOTS; number++) {
        desk.frames[number].size = 400;
        desk.frames[number].salt = FORGED_SALT;
    }
    assert_int_equal(desk_replay(keep), FORGED_FIRST + SLOTS);
    kvp_buf_free(&content);
    kvp_buf_free(&forged);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, desk_setup, desk_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_an_empty_journal_has_no_files),
        TEST(test_frames_of_all_sizes_come_back),
        TEST(test_a_frame_and_the_header_fill_a_file),
        TEST(test_parts_are_put_together),
        TEST(test_a_frame_of_megabytes_has_a_file_of_its_own),
        TEST(test_numbers_go_on_after_reopening),
        TEST(test_more_than_a_frame_can_hold_is_refused),
        TEST(test_calls_out_of_order_are_refused),
        TEST(test_an_error_of_the_reader_ends_the_reading),
        TEST(test_a_write_and_a_sync_are_one_call_each),
        TEST(test_files_come_and_go_durably),
        TEST(test_files_are_used_again),
        TEST(test_what_drop_leaves_is_what_oldest_said),
        TEST(test_old_frames_of_a_file_are_not_taken_for_new_ones),
        TEST(test_free_files_outlive_the_process),
        TEST(test_each_use_of_a_file_has_a_key_of_its_own),
        TEST(test_without_random_numbers_nothing_goes_on),
        TEST(test_bytes_that_look_like_frames_are_none),
        TEST(test_bytes_that_look_like_frames_are_none_after_a_power_cut),
        TEST(test_with_the_key_they_would_be_frames),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
