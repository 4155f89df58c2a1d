/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Damage everywhere: single bits, and sectors that are zeroed, torn, swapped or written to the
 * wrong place, in every file of a data directory. Whatever happens, the storage opens and says what
 * it said before (or is in doubt if its log is shorter), or says that it is damaged; and then it is
 * set aside, and an empty one takes its place. KVPAIR_FLIPS and KVPAIR_SECTORS say how many.
 */
#include "tests/kvstore/storage_support.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    FIRST = 30, /* in one frame; what is applied of them is in a table of LevelDB's */
    ALL = 60,
    TRIMMED = 4,
    APPLIED = 20,
    LATER = 40, /* applied since, in LevelDB's log */
    SECTOR = 512,
    FILES_MAX = 32,
    BITS = 8,
};

/* A file of the directory as it was. Journals end with zeros, which are not kept. */
struct flips_file {
    char name[128]; /* below the directory */
    uint8_t *bytes;
    size_t size, length; /* kept, and altogether */
};

struct flips {
    struct depot original, copy;
    struct flips_file files[FILES_MAX];
    size_t count;
    unsigned whole, doubtful, refused, later;
};

static struct history history;
static uint64_t random_state = 88172645463325252u;

static size_t chance(size_t below)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (size_t)(random_state % below);
}

static unsigned wanted(const char *variable, unsigned usual)
{
    const char *text = getenv(variable);
    return text != NULL ? (unsigned)strtoul(text, NULL, 10) : usual;
}

/* ---- the directory ---- */

static void grow(unsigned count)
{
    char key[16], value[1000];
    for (unsigned i = 0; i < count; i++) {
        for (size_t at = 0; at < sizeof(value) - 1; at++) {
            value[at] = (char)('a' + chance(26));
        }
        value[sizeof(value) - 1] = '\0';
        (void)snprintf(key, sizeof(key), "k%zu", history.count % 9);
        history_put(&history, 1, key, value);
    }
}

static void fill(struct depot *depot)
{
    struct kvp_meta meta = {.group_id = 7,
                            .view = {.version = 3, .epoch = 3, .primary = 2, .in_sync = 12}};
    struct kvp_storage_write trim = {.trim_to = TRIMMED};
    struct kvp_storage_write known = {.sync = true, .meta = &meta};
    depot_write(depot, &known);
    depot_append(depot, &history, 1, FIRST);
    depot_apply(depot, &history, 1, APPLIED);
    depot_write(depot, &trim);
    depot_reopen(depot); /* LevelDB makes a table of its log when it is opened */
    for (uint64_t seq = FIRST + 1; seq <= ALL; seq++) {
        depot_append(depot, &history, seq, seq);
    }
    depot_apply(depot, &history, APPLIED + 1, LATER);
    assert_int_equal(kvp_storage_sync_tail(depot->storage), KVP_OK);
    assert_int_equal(kvp_storage_incoming_begin(depot->storage), KVP_OK);
}

static void flips_read(struct flips *flips, const char *folder, const char *name)
{
    struct flips_file *file = &flips->files[flips->count++];
    char path[256];
    struct stat info;
    assert_true(flips->count <= FILES_MAX);
    assert_true(snprintf(file->name, sizeof(file->name), "%s%s", folder, name) < 128);
    (void)snprintf(path, sizeof(path), "%s/%s", flips->original.place.path, file->name);
    int fd = open(path, O_RDONLY);
    assert_true(fd >= 0 && fstat(fd, &info) == 0);
    file->size = file->length = (size_t)info.st_size;
    file->bytes = malloc(file->size + 1);
    assert_non_null(file->bytes);
    assert_int_equal(read(fd, file->bytes, file->size), (ssize_t)file->size);
    close(fd);
    while (file->size > 0 && file->bytes[file->size - 1] == 0) {
        file->size--;
    }
}

static void flips_read_folder(struct flips *flips, const char *folder)
{
    char path[256];
    (void)snprintf(path, sizeof(path), "%s/%s", flips->original.place.path, folder);
    DIR *dir = opendir(path);
    assert_non_null(dir);
    for (struct dirent *item = readdir(dir); item != NULL; item = readdir(dir)) {
        bool counts = item->d_name[0] != '.' && strncmp(item->d_name, "LO", 2) != 0;
        if (item->d_type == DT_REG && counts) {
            flips_read(flips, folder, item->d_name);
        }
    }
    closedir(dir);
}

static int setup(void **state)
{
    static struct flips flips;
    memset(&flips, 0, sizeof(flips));
    grow(ALL);
    depot_make(&flips.original, true);
    fill(&flips.original);
    flips_read_folder(&flips, "");
    flips_read_folder(&flips, "store-1/");
    flips_read_folder(&flips, "incoming-2/");
    *state = &flips;
    return 0;
}

static int teardown(void **state)
{
    struct flips *flips = *state;
    for (size_t i = 0; i < flips->count; i++) {
        free(flips->files[i].bytes);
    }
    depot_remove(&flips->original);
    history_free(&history);
    return 0;
}

/* ---- a copy ---- */

static void write_file(const struct depot *copy, const struct flips_file *file)
{
    char path[256];
    (void)snprintf(path, sizeof(path), "%s/%s", copy->place.path, file->name);
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, file->bytes, file->size), (ssize_t)file->size);
    assert_int_equal(ftruncate(fd, (off_t)file->length), 0);
    close(fd);
}

static void make_copy(struct flips *flips)
{
    struct depot *copy = &flips->copy;
    char path[256];
    memset(copy, 0, sizeof(*copy));
    copy->place.on_disk = true;
    assert_true(snprintf(copy->place.path, sizeof(copy->place.path), "%s-copy",
                         flips->original.place.path) < (int)sizeof(copy->place.path));
    assert_int_equal(mkdir(copy->place.path, 0700), 0);
    for (unsigned i = 0; i < 2; i++) {
        (void)snprintf(path, sizeof(path), "%s/%s", copy->place.path,
                       i == 0 ? "store-1" : "incoming-2");
        assert_int_equal(mkdir(path, 0700), 0);
    }
    for (size_t i = 0; i < flips->count; i++) {
        write_file(copy, &flips->files[i]);
    }
}

/* ---- what comes of it ---- */

static kvp_status read_state(struct depot *depot)
{
    struct kvp_state_view *view = kvp_storage_snapshot(depot->storage);
    kvp_slice key, value;
    kvp_status status = KVP_OK;
    if (view == NULL) {
        return KVP_CORRUPT;
    }
    while ((status = kvp_state_view_read(view, &key, &value)) == KVP_OK) {
        kvp_buf again = {0}; /* by way of the table's filter */
        if (kvp_storage_get(depot->storage, key, &again) == KVP_OK) {
            check_slice(kvp_buf_slice(&again), value);
        } else {
            check_stopped(depot);
        }
        kvp_buf_free(&again);
        kvp_state_view_next(view);
    }
    kvp_state_view_close(view);
    return status == KVP_NOT_FOUND ? KVP_OK : status;
}

static void check_whole(struct flips *flips, const char *what)
{
    struct depot *depot = &flips->copy;
    uint64_t tail = depot->loaded.tail.seq;
    bool shorter = tail < ALL;
    bool doubt = depot->loaded.meta.log_regressed;
    bool forgotten = doubt && strstr(what, "tail") != NULL; /* both records of it are gone */
    if (tail < LATER || tail > ALL || (shorter != doubt && !forgotten)) {
        fail_msg("%s: tail %llu, doubt %d", what, (unsigned long long)tail,
                 depot->loaded.meta.log_regressed);
    }
    check_all(depot, &history, TRIMMED + 1, tail, depot->loaded.applied.seq);
    flips->doubtful += shorter ? 1 : 0;
    flips->whole += shorter ? 0 : 1;
    depot_close(depot);
}

static void check_repaired(struct flips *flips, const char *what)
{
    struct depot *depot = &flips->copy;
    const struct kvp_quarantine bound = {KVP_QUARANTINE_COUNT, KVP_QUARANTINE_SIZE};
    struct kvp_quarantined done;
    char message[512] = "";
    if (kvp_storage_repair(depot->place.env, GROUP, NODE, false, bound, &done, message,
                           sizeof(message)) != KVP_OK) {
        fail_msg("%s: %s; %s", what, depot->message, message);
    }
    if (depot_try(depot) != KVP_OK || !depot->loaded.repaired || depot->loaded.tail.seq != 0 ||
        depot->loaded.meta.group_id != 0) {
        fail_msg("%s: after the repair: %s", what, depot->message);
    }
    check_state(depot, &history, 0);
    flips->refused++;
    depot_close(depot);
}

static void check_outcome(struct flips *flips, const char *what)
{
    struct depot *depot = &flips->copy;
    assert_int_equal(kvp_env_posix_open(depot->place.path, &depot->place.env, NULL, 0), KVP_OK);
    kvp_status status = depot_try(depot);
    if (status == KVP_OK) {
        status = read_state(depot);
        if (status == KVP_OK) {
            check_whole(flips, what);
            return;
        }
        char found[512];
        (void)snprintf(found, sizeof(found), "%s", kvp_storage_error(depot->storage));
        depot_close(depot);
        flips->later++;
        status = depot_try(depot); /* it is not met again, but known */
        if (status != KVP_CORRUPT) {
            fail_msg("%s: found (%s) and forgotten", what, found);
        }
    }
    if (status != KVP_CORRUPT || depot->message[0] == '\0') {
        fail_msg("%s: %s (%s)", what, kvp_strerror(status), depot->message);
    }
    check_repaired(flips, what);
}

static void check_damaged(struct flips *flips, const char *what)
{
    make_copy(flips);
    check_outcome(flips, what);
    depot_remove(&flips->copy);
}

static void check_flip(struct flips *flips, struct flips_file *file, size_t bit)
{
    char what[256];
    (void)snprintf(what, sizeof(what), "bit %zu of byte %zu of %zu in %s", bit % BITS, bit / BITS,
                   file->size, file->name);
    file->bytes[bit / BITS] ^= (uint8_t)(1u << bit % BITS);
    check_damaged(flips, what);
    file->bytes[bit / BITS] ^= (uint8_t)(1u << bit % BITS);
}

static void say(const struct flips *flips)
{
    print_message("whole %u, in doubt %u, damaged %u, of which found later %u\n", flips->whole,
                  flips->doubtful, flips->refused, flips->later);
}

static void test_any_flipped_bit_is_found_or_does_no_harm(void **state)
{
    struct flips *flips = *state;
    unsigned count = wanted("KVPAIR_FLIPS", 400);
    for (unsigned i = 0; i < count; i++) {
        struct flips_file *file = &flips->files[i % flips->count];
        if (file->size > 0) {
            check_flip(flips, file, chance(file->size * BITS));
        }
    }
    say(flips);
}

static void test_every_bit_of_the_small_files(void **state)
{
    struct flips *flips = *state;
    size_t step = wanted("KVPAIR_FLIPS", 400) > 1000 ? 1 : 11;
    for (size_t i = 0; i < flips->count; i++) {
        struct flips_file *file = &flips->files[i];
        for (size_t bit = chance(step); file->size <= 256 && bit < file->size * BITS; bit += step) {
            check_flip(flips, file, bit);
        }
    }
    say(flips);
}

/* ---- sectors ---- */

static size_t part(const struct flips_file *file, size_t sector)
{
    size_t left = file->size - sector * SECTOR;
    return left < SECTOR ? left : SECTOR;
}

static void spoil(struct flips_file *file, unsigned how, size_t first, size_t second)
{
    uint8_t *one = file->bytes + first * SECTOR, *other = file->bytes + second * SECTOR;
    size_t size = part(file, first) < part(file, second) ? part(file, first) : part(file, second);
    uint8_t kept[SECTOR];
    memcpy(kept, one, size);
    if (how == 0) {
        memset(one, 0, part(file, first));
    } else if (how == 1) { /* of what was written only half came */
        for (size_t i = size / 2; i < size; i++) {
            one[i] = (uint8_t)chance(256);
        }
    } else {
        memcpy(one, other, size);
        if (how == 2) { /* swapped, and not only misdirected */
            memcpy(other, kept, size);
        }
    }
}

static void check_sector(struct flips *flips, struct flips_file *file)
{
    static const char *const kinds[] = {"zeroed", "torn", "swapped", "misdirected"};
    char what[256];
    size_t sectors = (file->size + SECTOR - 1) / SECTOR;
    unsigned how = (unsigned)chance(4);
    size_t first = chance(sectors), second = chance(sectors);
    uint8_t *kept = malloc(file->size);
    assert_non_null(kept);
    memcpy(kept, file->bytes, file->size);
    (void)snprintf(what, sizeof(what), "sectors %zu, %zu of %s %s", first, second, file->name,
                   kinds[how]);
    spoil(file, how, first, second);
    check_damaged(flips, what);
    memcpy(file->bytes, kept, file->size);
    free(kept);
}

static void test_any_bad_sector_is_found_or_does_no_harm(void **state)
{
    struct flips *flips = *state;
    unsigned count = wanted("KVPAIR_SECTORS", 150);
    for (unsigned i = 0; i < count; i++) {
        struct flips_file *file = &flips->files[i % flips->count];
        if (file->size > 0) {
            check_sector(flips, file);
        }
    }
    say(flips);
}

static void test_any_file_may_be_missing_or_cut_off(void **state)
{
    struct flips *flips = *state;
    for (size_t i = 0; i < flips->count; i++) {
        struct flips_file file = flips->files[i];
        for (unsigned cut = 0; cut < 4; cut++) {
            char what[256];
            flips->files[i].size = flips->files[i].length = cut == 3 ? 0 : file.size * cut / 3;
            (void)snprintf(what, sizeof(what), "%s, of %zu bytes %zu", file.name, file.size,
                           flips->files[i].size);
            make_copy(flips);
            if (cut == 3) {
                char path[256];
                (void)snprintf(path, sizeof(path), "%s/%s", flips->copy.place.path, file.name);
                assert_int_equal(unlink(path), 0);
            }
            check_outcome(flips, what);
            depot_remove(&flips->copy);
            flips->files[i] = file;
        }
    }
    say(flips);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_any_flipped_bit_is_found_or_does_no_harm, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_every_bit_of_the_small_files, setup, teardown),
        cmocka_unit_test_setup_teardown(test_any_bad_sector_is_found_or_does_no_harm, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_any_file_may_be_missing_or_cut_off, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
