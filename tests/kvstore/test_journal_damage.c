/* SPDX-License-Identifier: Apache-2.0 */
/* Files of a journal that were cut off, damaged or lost; calls that fail; power cuts. */
#include "tests/kvstore/journal_desk.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- files that were cut off, damaged or lost ---- */

struct picture {
    struct names names;
    kvp_buf content[FILES];
};

static struct picture take_picture(void)
{
    struct picture picture = {.names = disk_list_files("journal-")};
    for (size_t i = 0; i < picture.names.count; i++) {
        disk_read_file(picture.names.name[i], &picture.content[i]);
    }
    return picture;
}

static void restore(const struct picture *picture)
{
    struct names now = disk_list_files("journal-");
    desk_stop();
    for (size_t i = 0; i < now.count; i++) {
        if (!names_have(&picture->names, now.name[i])) {
            disk_remove_file(now.name[i]);
        }
    }
    for (size_t i = 0; i < picture->names.count; i++) {
        disk_write_file(picture->names.name[i], kvp_buf_slice(&picture->content[i]));
    }
}

static void free_picture(struct picture *picture)
{
    for (size_t i = 0; i < picture->names.count; i++) {
        kvp_buf_free(&picture->content[i]);
    }
}

/* Appends frames of the same sizes as those that were there: what was behind the end stays away. */
static void check_goes_on(uint64_t end, uint32_t size)
{
    assert_int_equal(kvp_journal_begin(desk.journal), KVP_OK);
    assert_int_equal(desk_replay(1), end);
    assert_false(desk.more);
    desk_start(1);
    desk_append(size, false);
    assert_int_equal(desk_replay(1), end + 1);
    assert_false(desk.more);
    desk_start(1);
    desk_append_many(12, size);
    assert_int_equal(desk_replay(1), end + 13);
    assert_false(desk.more);
}

static void test_a_file_cut_off_anywhere_leaves_a_prefix(void **state)
{
    static struct desk before;
    (void)state;
    desk_start(1);
    desk_append_many(13, 400); /* 9 and 4, of 424 bytes */
    before = desk;
    struct picture picture = take_picture();
    assert_int_equal(picture.names.count, 2);
    for (size_t cut = 0; cut <= SIZE; cut++) {
        restore(&picture);
        memcpy(desk.frames, before.frames, sizeof(before.frames[0]) * 64);
        kvp_slice rest = kvp_slice_of(picture.content[1].data, cut);
        disk_write_file(picture.names.name[1], rest);
        uint64_t whole = cut < FILE_HEADER ? 0 : (cut - FILE_HEADER) / 424;
        whole = whole < 4 ? whole : 4;
        assert_int_equal(desk_replay(1), 10 + whole);
        assert_false(desk.more);
        if (cut % 8 < 2) {
            check_goes_on(10 + whole, 400);
        }
    }
    for (size_t cut = 0; cut < SIZE; cut += 7) {
        restore(&picture);
        memcpy(desk.frames, before.frames, sizeof(before.frames[0]) * 64);
        disk_write_file(picture.names.name[0], kvp_slice_of(picture.content[0].data, cut));
        if (cut < FILE_HEADER + 9 * 424) {
            desk_check_missing(1, cut < FILE_HEADER ? 1 : 1 + (cut - FILE_HEADER) / 424);
        } else {
            assert_int_equal(desk_replay(1), 14);
        }
    }
    free_picture(&picture);
}

static void flip(const struct picture *picture, size_t file, size_t at, unsigned bit)
{
    kvp_buf content = picture->content[file];
    content.data[at] ^= (uint8_t)(1u << bit);
    disk_write_file(picture->names.name[file], kvp_buf_slice(&content));
    content.data[at] ^= (uint8_t)(1u << bit);
}

/* 3 files with a header and 9, 9 and 4 frames of 424 bytes. Without its header a file has none. */
static void check_flip(const struct picture *picture, size_t file, size_t at, unsigned bit)
{
    bool header = at < FILE_HEADER;
    uint64_t index = header ? 0 : (at - FILE_HEADER) / 424;
    uint64_t hit = file * 9 + 1 + index;
    flip(picture, file, at, bit);
    if (index >= (file < 2 ? 9 : 4)) {
        assert_int_equal(desk_replay(1), 23);
        assert_false(desk.more);
    } else if (file < 2) {
        desk_check_missing(1, hit);
    } else {
        assert_int_equal(desk_replay(1), hit);
        assert_int_equal(desk.more, !header && hit < 22);
    }
}

static struct picture picture_of_22_frames(void)
{
    desk_start(1);
    desk_append_many(22, 397); /* the last bytes are padding */
    assert_int_equal(kvp_journal_sync(desk.journal), KVP_OK);
    struct picture picture = take_picture();
    assert_int_equal(picture.names.count, 3);
    return picture;
}

static void test_a_flipped_bit_takes_its_frame_and_all_behind_it(void **state)
{
    (void)state;
    struct picture picture = picture_of_22_frames();
    for (size_t at = FILE_HEADER; at < SIZE; at++) {
        for (unsigned bit = 0; bit < 8; bit++) {
            if ((at - FILE_HEADER) % 424 < FRAME_HEADER || at % 8 == bit) {
                check_flip(&picture, 2, at, bit);
            }
        }
    }
    restore(&picture);
    for (size_t at = 0; at < 2 * SIZE; at += 1 + (size_t)disk_draw(9)) {
        check_flip(&picture, at / SIZE, at % SIZE, (unsigned)disk_draw(8));
        restore(&picture);
    }
    /* The first frame of the last file is hit: those behind it are found, and do not come back. */
    flip(&picture, 2, FILE_HEADER + 3, 3);
    assert_int_equal(desk_replay(1), 19);
    assert_true(desk.more);
    check_goes_on(19, 397);
    free_picture(&picture);
}

static void test_a_flipped_bit_of_a_header_takes_the_file(void **state)
{
    static struct desk before;
    (void)state;
    struct picture picture = picture_of_22_frames();
    before = desk;
    for (size_t file = 0; file < 3; file++) {
        for (unsigned bit = 0; bit < 8 * FILE_HEADER; bit++) {
            check_flip(&picture, file, bit / 8, bit % 8);
            if (file == 2 && bit % 5 == 0) {
                check_goes_on(19, 397);
                memcpy(desk.frames, before.frames, sizeof(before.frames[0]) * 64);
            }
            restore(&picture);
        }
    }
    /* Where nothing is asked of a file, its header does not matter. */
    flip(&picture, 0, 3, 3);
    assert_int_equal(desk_replay(10), 23);
    assert_false(desk.more);
    free_picture(&picture);
}

static void test_a_damaged_frame_is_not_read(void **state)
{
    kvp_buf bytes = {0};
    (void)state;
    desk_start(1);
    desk_append_many(22, 397);
    struct picture picture = take_picture();
    for (size_t at = 0; at < 424; at += 5) {
        desk_start(1);
        flip(&picture, 1, FILE_HEADER + 424 + at, (unsigned)disk_draw(8));
        desk_check_read(10, 11);
        assert_int_equal(desk_try_read(11, &bytes), KVP_CORRUPT);
        assert_int_equal(bytes.size, 0);
        desk_check_failed();
        restore(&picture);
    }
    desk_start(1);
    desk.frames[5].place = desk.frames[6].place;
    assert_int_equal(desk_try_read(5, &bytes), KVP_CORRUPT);
    desk_start(1);
    desk.frames[5].place = UINT64_MAX;
    assert_int_equal(desk_try_read(5, &bytes), KVP_CORRUPT);
    desk_start(1);
    desk.frames[5].place |= UINT32_MAX;
    assert_int_equal(desk_try_read(5, &bytes), KVP_CORRUPT);
    kvp_buf_free(&bytes);
    free_picture(&picture);
}

static void test_a_missing_file_is_told(void **state)
{
    (void)state;
    desk_start(1);
    desk_append_many(40, 400);
    struct picture picture = take_picture();
    assert_int_equal(picture.names.count, 5);
    for (size_t i = 0; i < 4; i++) {
        disk_remove_file(picture.names.name[i]);
        desk_check_missing(1, 1 + 9 * i);
        desk_check_missing(1 + 9 * i, 1 + 9 * i);
        /* What is wanted begins behind the gap. */
        assert_int_equal(desk_replay(1 + 9 * (i + 1)), 41);
        restore(&picture);
    }
    disk_remove_file(picture.names.name[4]);
    assert_int_equal(desk_replay(1), 37);
    assert_false(desk.more);
    free_picture(&picture);
}

static void make_strangers(void)
{
    static const char *const names[] = {
        "journal-",    "journal-1x", "journal-01",  "journal-99999999999", "journal-4294967296",
        "journal- 1",  "000003.log", "journal--1",  "xjournal-1",          "journal-1~",
        "journal-+12", "Journal-1",  "journal-0x1",
    };
    char path[256];

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        disk_write_file(names[i], TEXT("not a journal"));
    }
    disk_path_of("journal-5", path);
    assert_int_equal(mkdir(path, 0700), 0);
    disk_path_of("journal-6", path);
    assert_int_equal(symlink("journal-7", path), 0);
    disk_path_of("journal-8", path);
    assert_int_equal(mkfifo(path, 0600), 0);
}

static void test_other_files_are_left_alone(void **state)
{
    (void)state;
    make_strangers();
    struct names before = disk_list_files("");
    desk_start(1);
    desk_append_many(40, 400);
    assert_int_equal(disk_list_files("").count, before.count + 5);
    desk_check_read(1, 41);
    assert_int_equal(desk_replay(1), 41);
    assert_int_equal(kvp_journal_begin(desk.journal), KVP_OK);
    assert_int_equal(kvp_journal_drop(desk.journal, 41), KVP_OK);
    struct names after = disk_list_files("");
    for (size_t i = 0; i < before.count; i++) {
        assert_true(names_have(&after, before.name[i]));
    }
    assert_int_equal(after.count, before.count + 3);
}

/* Anything at all can be in the files: pieces of true frames in any order, noise, true frames. */
static void make_nonsense(const struct picture *picture, size_t file)
{
    uint8_t bytes[2 * SIZE];
    size_t size = (size_t)disk_draw(sizeof(bytes) + 1);
    const kvp_buf *content = &picture->content[disk_draw(picture->names.count)];
    for (size_t at = 0; at < sizeof(bytes); at++) {
        bytes[at] = content->data[at % content->size];
    }
    for (uint64_t i = disk_draw(6); i > 0; i--) {
        const kvp_buf *source = &picture->content[disk_draw(picture->names.count)];
        size_t length = (size_t)disk_draw(disk_draw(2) == 0 ? 32 : 1500);
        size_t from = (size_t)disk_draw(source->size - length) / 8 * 8;
        size_t to = (size_t)disk_draw(sizeof(bytes) - length) / 8 * 8;
        memcpy(bytes + to, source->data + from, length);
    }
    for (uint64_t i = disk_draw(6); i > 0; i--) {
        bytes[disk_draw(sizeof(bytes))] = (uint8_t)disk_draw(256);
        memset(bytes + disk_draw(sizeof(bytes) - 8), disk_draw(2) == 0 ? 0xff : 0, 4);
    }
    disk_write_file(picture->names.name[file], kvp_slice_of(bytes, size));
}

static void test_no_content_does_harm(void **state)
{
    static struct desk before;
    (void)state;
    desk_start(1);
    for (unsigned i = 0; i < 60; i++) {
        desk_append((uint32_t)disk_draw(500), false);
    }
    before = desk;
    struct picture picture = take_picture();
    for (unsigned round = 0; round < 5000; round++) {
        disk_random = round;
        restore(&picture);
        memcpy(desk.frames, before.frames, sizeof(before.frames[0]) * 64);
        for (uint64_t i = disk_draw(4); i > 0; i--) {
            make_nonsense(&picture, (size_t)disk_draw(picture.names.count));
        }
        desk_open();
        uint64_t first = 1 + disk_draw(61);
        kvp_status status = desk_try_replay(first);
        assert_true(status == KVP_OK || status == KVP_CORRUPT);
        assert_true(desk.next >= first && desk.next <= 61);
        if (status == KVP_OK) {
            uint64_t next = desk.next;
            assert_int_equal(kvp_journal_begin(desk.journal), KVP_OK);
            desk_append(100, false);
            assert_int_equal(desk_replay(first), next + 1);
            assert_false(desk.more);
        }
    }
    free_picture(&picture);
}

/* ---- failures ---- */

static void test_pieces_and_interruptions_of_writes_do_not_matter(void **state)
{
    (void)state;
    disk.write_max = 100;
    disk.interrupted = true;
    desk_start(1);
    desk_append_many(30, 700);
    assert_int_equal(desk_replay(1), 31);
}

/* Every call of a script fails once, with all that follow. */
static kvp_status run_script(void)
{
    kvp_status status = kvp_journal_begin(desk.journal);
    for (unsigned i = 0; i < 40 && status == KVP_OK; i++) {
        status = desk_try_append(400 + i % 2 * 5000, i % 3 == 0);
        if (i % 10 == 9 && status == KVP_OK) {
            status = kvp_journal_drop(desk.journal, desk.next - 3);
        }
    }
    return status;
}

static void check_fault(int number, kvp_status expected)
{
    kvp_status status = KVP_IO;
    for (int calls = 0; status != KVP_OK; calls++) {
        uint64_t next = desk.next;
        disk.before_fault = -1;
        assert_int_equal(desk_replay(next), next);
        assert_int_equal(kvp_journal_begin(desk.journal), KVP_OK);
        desk_append_many(3, 400); /* something to begin with */
        next = desk_replay(next);
        disk.before_fault = calls;
        disk.fault = number;
        status = run_script();
        if (status != KVP_OK) {
            assert_int_equal(status, expected);
            assert_non_null(strstr(kvp_journal_error(desk.journal), strerror(number)));
            disk.before_fault = -1;
            desk_check_failed();
            uint64_t end = desk.next;
            uint64_t oldest = kvp_journal_oldest(desk.journal, 0);
            /* A frame whose sync failed may be there. */
            uint64_t found = desk_replay(oldest > desk.first ? oldest : desk.first);
            assert_true(found == end || found == end + 1);
        }
    }
}

static void test_after_a_failure_nothing_goes_on(void **state)
{
    (void)state;
    desk.next = 1;
    check_fault(ENOSPC, KVP_DISK_FULL);
    check_fault(EDQUOT, KVP_DISK_FULL);
    check_fault(EIO, KVP_IO);
    check_fault(ENOMEM, KVP_NO_MEMORY);
}

/* A kernel that could not write a page takes it for written from then on, and shows it to readers:
 * what is read when the journal is opened again has to be written again before anybody relies on
 * it. */
static void test_what_a_failed_sync_left_is_written_again(void **state)
{
    (void)state;
    desk_start(1);
    desk_append_many(4, 400);
    assert_int_equal(kvp_journal_sync(desk.journal), KVP_OK);
    disk.forgetful = true;
    disk.before_fault = 1; /* the frame is written, its sync fails */
    disk.fault = EIO;
    assert_int_equal(desk_try_append(400, true), KVP_IO);
    disk.before_fault = -1;
    desk_start(1);
    assert_int_equal(desk.next, 6);
    desk_stop();
    disk_write_file("journal-1", kvp_buf_slice(&disk_file("journal-1")->content)); /* a power cut */
    assert_int_equal(desk_replay(1), 6);
}

static void test_a_file_that_could_not_be_made_is_gone(void **state)
{
    (void)state;
    desk_start(1);
    desk_append_many(9, 400);
    disk.before_fault = 2; /* the sync of what is there, and the first chunk of the new file */
    disk.fault = ENOSPC;
    assert_int_equal(desk_try_append(40000, true), KVP_DISK_FULL);
    assert_non_null(strstr(kvp_journal_error(desk.journal), "journal-2: "));
    disk.before_fault = -1;
    /* Its removal fails here, too: then it goes at the next beginning. */
    assert_int_equal(disk_list_files("journal-").count, 2);
    desk_start(1);
    assert_int_equal(desk.next, 10);
    assert_int_equal(disk_list_files("journal-").count, 1);
}

/* ---- the random model ---- */

/* Frames up to `least` must be there after what comes next, none behind `most` may. */
static uint64_t least, most, kept;

static void check_end(bool power_cut)
{
    uint64_t next = desk_replay(kept);
    uint64_t low = least + 1 > kept ? least + 1 : kept;
    uint64_t high = most + 1 > kept ? most + 1 : kept;
    if (next < low || next > high) {
        fail_msg("the end is %" PRIu64 ", not in %" PRIu64 "..%" PRIu64, next, low, high);
    }
    if (!power_cut) {
        assert_false(desk.more);
    }
    desk_check_read(kept, next);
    /* Without a sync the next power cut can take them yet, but not give more. */
    most = next - 1;
}

static void arm_fault(uint64_t calls)
{
    static const int numbers[] = {EIO, ENOSPC};
    disk.fault = numbers[disk_draw(2)];
    disk.before_fault = (int)disk_draw(calls);
}

/* The process ends, and often the power. Beginning again can be cut short as well. */
static void die(bool clean)
{
    kvp_status status = KVP_IO;
    while (status != KVP_OK) {
        bool power_cut = disk_draw(2) == 0;
        uint64_t end = desk.next;
        desk_stop();
        disk.before_fault = -1;
        if (power_cut) {
            disk_cut_power();
        } else if (clean) {
            assert_int_equal(desk_replay(kept), end);
        }
        desk.file_size = disk_draw(20) == 0 ? 2 * SIZE : SIZE;
        check_end(power_cut || !clean);
        if (disk_draw(4) == 0) {
            arm_fault(6);
        }
        status = kvp_journal_begin(desk.journal);
        clean = false;
    }
    disk.before_fault = -1;
    least = desk.next - 1;
}

static kvp_status model_append(uint32_t usual)
{
    uint64_t kind = disk_draw(50);
    uint32_t size = kind == 0  ? (uint32_t)disk_draw(12000)
                    : kind < 5 ? (uint32_t)disk_draw(2000)
                               : usual;
    bool sync = disk_draw(6) == 0;

    /* If it fails, it may be there nevertheless. */
    most = desk.next;
    kvp_status status = desk_try_append(size, sync);
    if (status == KVP_OK && sync) {
        least = desk.next - 1;
    }
    return status;
}

static kvp_status model_step(uint32_t usual)
{
    uint64_t kind = disk_draw(100);
    kvp_status status = KVP_OK;
    if (kind < 80) {
        return model_append(usual);
    }
    if (kind < 84) {
        status = kvp_journal_sync(desk.journal);
        least = status == KVP_OK ? desk.next - 1 : least;
    } else if (kind < 92) {
        uint64_t keep = kept + disk_draw(desk.next - kept + 1);
        uint64_t oldest = kvp_journal_oldest(desk.journal, keep);
        assert_true(oldest <= keep);
        kept = keep;
        status = kvp_journal_drop(desk.journal, keep);
        if (status == KVP_OK) {
            assert_int_equal(kvp_journal_oldest(desk.journal, 0), oldest);
        }
    } else if (kind < 96) {
        desk_check_read(kept + disk_draw(desk.next - kept + 1), desk.next);
    } else if (kind < 98) {
        arm_fault(12);
    }
    return status;
}

static void run_model(uint64_t seed)
{
    uint32_t usual;
    disk_random = seed;
    least = most = 0;
    kept = desk.next = 1;
    usual = (uint32_t)disk_draw(500);
    desk_open();
    desk_start(1);
    for (unsigned i = 0; i < 300; i++) {
        kvp_status status = model_step(usual);
        if (status != KVP_OK) {
            disk.before_fault = -1;
            desk_check_failed();
        }
        if (status != KVP_OK || disk_draw(30) == 0) {
            die(status == KVP_OK);
        }
        if (disk_draw(100) == 0) {
            usual = (uint32_t)disk_draw(500);
        }
    }
}

static void test_many_lives_with_power_cuts(void **state)
{
    for (uint64_t seed = 1; seed <= 150; seed++) {
        (void)desk_teardown(state);
        (void)desk_setup(state);
        run_model(seed);
    }
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, desk_setup, desk_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_a_file_cut_off_anywhere_leaves_a_prefix),
        TEST(test_a_flipped_bit_takes_its_frame_and_all_behind_it),
        TEST(test_a_flipped_bit_of_a_header_takes_the_file),
        TEST(test_a_damaged_frame_is_not_read),
        TEST(test_a_missing_file_is_told),
        TEST(test_other_files_are_left_alone),
        TEST(test_no_content_does_harm),
        TEST(test_pieces_and_interruptions_of_writes_do_not_matter),
        TEST(test_after_a_failure_nothing_goes_on),
        TEST(test_what_a_failed_sync_left_is_written_again),
        TEST(test_a_file_that_could_not_be_made_is_gone),
        TEST(test_many_lives_with_power_cuts),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
