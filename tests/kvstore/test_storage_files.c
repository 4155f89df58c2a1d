/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Damage to the files of a store: cut off, changed, missing. A journal that was cut off looks like
 * one that was never longer, and this must not go unnoticed. Whatever happens: the storage is
 * refused, or has a log without a hole whose state is right, and is in doubt if that is shorter.
 */
#include "tests/kvstore/storage_support.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    FIRST = 30, /* entries in one frame; what is applied of them is in a table of LevelDB's */
    ALONE = 30, /* entries with a frame each */
    TRIMMED = 4,
    APPLIED = 20,
};

static struct history history;

static void shell(const char *format, const char *from, const char *to)
{
    char command[512];
    assert_true(snprintf(command, sizeof(command), format, from, to) < (int)sizeof(command));
    assert_int_equal(system(command), 0);
}

/* Entries so large that the state alone fills more than one of LevelDB's blocks of 4 KiB. */
static void grow(uint64_t epoch, unsigned count)
{
    char key[16], value[1000];
    memset(value, 'v', sizeof(value) - 1);
    value[sizeof(value) - 1] = '\0';
    for (unsigned i = 0; i < count; i++) {
        (void)snprintf(key, sizeof(key), "k%zu", history.count % 7);
        history_put(&history, epoch, key, value);
    }
}

/* A directory to be copied for each case, and the copy. The storage is open when it is copied, so
 * that the copy is what the process would leave if it were killed. */
struct files {
    struct depot original, copy;
};

static void fill(struct depot *depot)
{
    struct kvp_storage_write trim = {.trim_to = TRIMMED};
    depot_append(depot, &history, 1, FIRST);
    depot_apply(depot, &history, 1, APPLIED);
    depot_write(depot, &trim);
    depot_reopen(depot); /* LevelDB makes a table of its log when it is opened */
    for (uint64_t seq = FIRST + 1; seq <= FIRST + ALONE; seq++) {
        depot_append(depot, &history, seq, seq);
    }
}

static int setup(void **state)
{
    static struct files files;
    memset(&files, 0, sizeof(files));
    grow(1, FIRST + ALONE);
    depot_make(&files.original, true);
    fill(&files.original);
    *state = &files;
    return 0;
}

static void remove_copy(struct files *files)
{
    depot_remove(&files->copy);
    files->copy.place.on_disk = false;
}

static int teardown(void **state)
{
    struct files *files = *state;
    if (files->copy.place.on_disk) { /* left by a case that failed */
        remove_copy(files);
    }
    depot_remove(&files->original);
    history_free(&history);
    return 0;
}

static void make_copy(struct files *files)
{
    struct depot *copy = &files->copy;
    memset(copy, 0, sizeof(*copy));
    copy->place.on_disk = true;
    assert_true(snprintf(copy->place.path, sizeof(copy->place.path), "%s-copy",
                         files->original.place.path) < (int)sizeof(copy->place.path));
    shell("cp -r %s %s", files->original.place.path, copy->place.path);
}

static kvp_status open_copy(struct files *files)
{
    assert_int_equal(kvp_env_posix_open(files->copy.place.path, &files->copy.place.env, NULL, 0),
                     KVP_OK);
    return depot_try(&files->copy);
}

/* ---- the file in question ---- */

static long size_of(const char *path)
{
    struct stat info;
    assert_int_equal(stat(path, &info), 0);
    return (long)info.st_size;
}

/* The path of the largest file of the copy's store with that in its name: there is one log and one
 * manifest; of the tables the small one was made with the store. */
static void find_file(struct files *files, const char *part, char path[256])
{
    char store[128], other[256];
    long size = -1;
    (void)snprintf(store, sizeof(store), "%s/store-1", files->copy.place.path);
    DIR *dir = opendir(store);
    assert_non_null(dir);
    for (struct dirent *item = readdir(dir); item != NULL; item = readdir(dir)) {
        assert_true(snprintf(other, sizeof(other), "%s/%s", store, item->d_name) < 256);
        if (strstr(item->d_name, part) != NULL && size_of(other) > size) {
            size = size_of(other);
            memcpy(path, other, sizeof(other));
        }
    }
    closedir(dir);
    assert_true(size > 0);
}

/* A journal's file ends with zeros. */
static long content_size_of(const char *path)
{
    FILE *file = fopen(path, "r");
    long size = size_of(path);

    assert_non_null(file);
    for (int byte = 0; byte == 0; size--) {
        assert_int_equal(fseek(file, size - 1, SEEK_SET), 0);
        byte = fgetc(file);
        assert_true(byte != EOF);
    }
    assert_int_equal(fclose(file), 0);
    return size + 1;
}

static void change_byte(const char *path, long at)
{
    FILE *file = fopen(path, "r+");

    assert_non_null(file);
    assert_int_equal(fseek(file, at, SEEK_SET), 0);
    int byte = fgetc(file);
    assert_true(byte != EOF);
    assert_int_equal(fseek(file, at, SEEK_SET), 0);
    assert_true(fputc(byte ^ 0x41, file) != EOF);
    assert_int_equal(fclose(file), 0);
}

/* ---- what may come of it ---- */

/* What happened to the directory, counted over many cases. */
struct outcomes {
    unsigned refused, doubtful, whole;
};

/* Opening does not read the state: damage in it is found when somebody comes to it. */
static kvp_status read_state(struct depot *depot)
{
    struct kvp_state_view *view = kvp_storage_snapshot(depot->storage);
    kvp_slice key, value;
    kvp_status status = KVP_OK;
    if (view == NULL) {
        check_stopped(depot);
        return KVP_CORRUPT;
    }
    while ((status = kvp_state_view_read(view, &key, &value)) == KVP_OK) {
        kvp_state_view_next(view);
    }
    kvp_state_view_close(view);
    return status == KVP_NOT_FOUND ? KVP_OK : status;
}

/* What may be: refused as damaged, or right but shorter and in doubt, or nothing missing at all. */
static void check_outcome(struct files *files, struct outcomes *outcomes)
{
    struct depot *depot = &files->copy;
    kvp_status status = open_copy(files);
    assert_true(status == KVP_OK || depot->message[0] != '\0');
    status = status == KVP_OK ? read_state(depot) : status;
    if (status != KVP_OK) {
        assert_int_equal(status, KVP_CORRUPT);
        outcomes->refused++;
        return;
    }
    uint64_t tail = depot->loaded.tail.seq;
    assert_true(tail >= FIRST && tail <= FIRST + ALONE);
    check_all(depot, &history, TRIMMED + 1, tail, APPLIED);
    assert_int_equal(depot->loaded.meta.log_regressed, tail < FIRST + ALONE);
    outcomes->doubtful += depot->loaded.meta.log_regressed ? 1 : 0;
    outcomes->whole += depot->loaded.meta.log_regressed ? 0 : 1;
}

static void test_an_untouched_copy_is_whole(void **state)
{
    struct outcomes outcomes = {0};
    make_copy(*state);
    check_outcome(*state, &outcomes);
    remove_copy(*state);
    assert_int_equal(outcomes.whole, 1);
}

static void test_a_journal_cut_off_anywhere_leaves_a_doubt(void **state)
{
    struct files *files = *state;
    struct outcomes outcomes = {0};
    char path[256];
    make_copy(files);
    find_file(files, "journal-", path);
    long size = content_size_of(path);
    remove_copy(files);
    for (long at = 0; at < size; at += size / 80) {
        make_copy(files);
        find_file(files, "journal-", path);
        assert_int_equal(truncate(path, at), 0);
        check_outcome(files, &outcomes);
        remove_copy(files);
    }
    assert_int_equal(outcomes.whole, 0);
    assert_true(outcomes.doubtful >= 38);
    assert_true(outcomes.refused >= 38); /* in the first half is what was applied */
}

static void test_the_doubt_outlives_what_comes_later(void **state)
{
    struct files *files = *state;
    char path[256];
    make_copy(files);
    find_file(files, "journal-", path);
    assert_int_equal(truncate(path, content_size_of(path) / 4 * 3), 0);
    assert_int_equal(open_copy(files), KVP_OK);
    uint64_t tail = files->copy.loaded.tail.seq;
    assert_true(tail > FIRST && tail < FIRST + ALONE);
    /* The log grows beyond its old length again, but not by the entries that it had. */
    history_cut(&history, tail);
    grow(7, ALONE);
    depot_append(&files->copy, &history, tail + 1, tail + ALONE);
    depot_reopen(&files->copy);
    assert_true(files->copy.loaded.meta.log_regressed);
    check_all(&files->copy, &history, TRIMMED + 1, tail + ALONE, APPLIED);
    remove_copy(files);
}

static void test_a_missing_journal_is_found(void **state)
{
    struct files *files = *state;
    struct outcomes outcomes = {0};
    char path[256];
    make_copy(files);
    find_file(files, "journal-", path);
    assert_int_equal(unlink(path), 0);
    check_outcome(files, &outcomes);
    remove_copy(files);
    assert_int_equal(outcomes.refused, 1);
}

static void change_everywhere(struct files *files, const char *ending, struct outcomes *outcomes)
{
    char path[256];
    make_copy(files);
    find_file(files, ending, path);
    long size = content_size_of(path);
    remove_copy(files);
    for (long at = 0; at < size; at += size / 50 + 1) {
        make_copy(files);
        find_file(files, ending, path);
        change_byte(path, at);
        check_outcome(files, outcomes);
        remove_copy(files);
    }
}

static void test_a_byte_changed_in_a_journal_is_found(void **state)
{
    struct outcomes outcomes = {0};
    change_everywhere(*state, "journal-", &outcomes);
    assert_int_equal(outcomes.whole, 0);
    assert_true(outcomes.doubtful <= 2); /* the last frame may never have been whole */
    assert_true(outcomes.refused > 40);
}

static void test_a_byte_changed_in_a_table_is_found(void **state)
{
    struct outcomes outcomes = {0};
    change_everywhere(*state, ".ldb", &outcomes);
    assert_int_equal(outcomes.doubtful, 0); /* what is in a table was synced before the log */
    assert_true(outcomes.refused > 20);     /* a few bytes are filling or filter */
}

static void test_a_missing_table_is_found(void **state)
{
    struct files *files = *state;
    struct outcomes outcomes = {0};
    static const char *const endings[] = {".ldb", "MANIFEST"};
    char path[256];

    for (size_t i = 0; i < 2; i++) {
        make_copy(files);
        find_file(files, endings[i], path);
        assert_int_equal(unlink(path), 0);
        check_outcome(files, &outcomes);
        remove_copy(files);
    }
    assert_int_equal(outcomes.refused, 2);
}

/* ---- damage that comes to light while the storage is open ---- */

static void check_read_log_fails(struct depot *depot)
{
    struct kvp_entry *entries[64];
    size_t count = 0;
    assert_int_equal(
        kvp_storage_read_log(depot->storage, TRIMMED + 1, SIZE_MAX, entries, 64, &count),
        KVP_CORRUPT);
    assert_int_equal(count, 0);
    check_stopped(depot);
}

static void test_damage_met_in_the_log_stops_everything(void **state)
{
    struct files *files = *state;
    char path[256];
    make_copy(files);
    assert_int_equal(open_copy(files), KVP_OK);
    find_file(files, "journal-", path); /* in use now */
    for (long at = 0, size = content_size_of(path); at < size; at += 50) {
        change_byte(path, at);
    }
    check_read_log_fails(&files->copy);
    remove_copy(files);
}

/* The table's first block has the state, so what the opening reads is not concerned. LevelDB's
 * iterators step over a block that they cannot read, as if it were empty. */
static void spoil_state(struct files *files)
{
    char path[256];
    make_copy(files);
    find_file(files, ".ldb", path);
    change_byte(path, 10);
    assert_int_equal(open_copy(files), KVP_OK);
}

static void test_damage_met_by_a_view_stops_everything(void **state)
{
    struct files *files = *state;
    kvp_slice key, value;
    kvp_buf chunk = {0};
    bool last = false;
    spoil_state(files);
    struct kvp_state_view *view = kvp_storage_snapshot(files->copy.storage);
    assert_non_null(view);
    assert_int_equal(kvp_state_view_read(view, &key, &value), KVP_CORRUPT);
    assert_int_equal(kvp_state_view_chunk(view, 1000, &chunk, &last), KVP_CORRUPT);
    assert_false(last);
    assert_int_equal(chunk.size, 0);
    kvp_state_view_close(view);
    check_stopped(&files->copy);
    remove_copy(files);
}

static void test_damage_met_by_reading_a_key_stops_everything(void **state)
{
    struct files *files = *state;
    kvp_buf value = {0};
    spoil_state(files);
    assert_int_equal(kvp_storage_get(files->copy.storage, TEXT("Dk1"), &value), KVP_CORRUPT);
    assert_int_equal(value.size, 0);
    check_stopped(&files->copy);
    remove_copy(files);
}

/* A view is held open while another thread's failure stops the storage. */
static void test_a_view_outlives_the_failure(void **state)
{
    struct files *files = *state;
    kvp_buf value = {0};
    spoil_state(files);
    struct kvp_state_view *view = kvp_storage_snapshot(files->copy.storage);
    assert_int_equal(kvp_storage_get(files->copy.storage, TEXT("Dk1"), &value), KVP_CORRUPT);
    check_stopped(&files->copy);
    assert_int_equal(kvp_state_view_seek(view, TEXT("E"), TEXT("")), KVP_OK);
    check_point(kvp_state_view_point(view), history_point(&history, APPLIED));
    kvp_state_view_close(view);
    remove_copy(files);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_an_untouched_copy_is_whole),
        CASE(test_a_journal_cut_off_anywhere_leaves_a_doubt),
        CASE(test_the_doubt_outlives_what_comes_later),
        CASE(test_a_missing_journal_is_found),
        CASE(test_a_byte_changed_in_a_journal_is_found),
        CASE(test_a_byte_changed_in_a_table_is_found),
        CASE(test_a_missing_table_is_found),
        CASE(test_damage_met_in_the_log_stops_everything),
        CASE(test_damage_met_by_a_view_stops_everything),
        CASE(test_damage_met_by_reading_a_key_stops_everything),
        CASE(test_a_view_outlives_the_failure),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
