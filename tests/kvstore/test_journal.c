/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The journal in its files. All its writes and syncs go through this file, which makes them fail,
 * counts them, and keeps what of them is durable: so a power cut can be made at any time.
 */
#include "tests/kvstore/kv_support.h"

#include "kvstore/journal.h"
#include "kvstore/keyspace.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

enum {
    SIZE = 4096,       /* of files */
    FILE_HEADER = 16,  /* {key, its checksum} */
    FRAME_HEADER = 24, /* {checksum, number, size, magic} */
    NUMBERS = 30000,
    FILES = 64,
    SECTOR = 512,
    ALL = 1000000,
};

static uint64_t random_state;

static uint64_t draw(uint64_t below)
{
    random_state += 0x9e3779b97f4a7c15u;
    uint64_t z = random_state;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return (z ^ (z >> 31)) % below;
}

/* ---- the disk ---- */

/* What a power cut leaves of a file at least. */
struct disk_file {
    char name[64];
    bool has_entry; /* the directory with its name is synced */
    kvp_buf content;
};

static struct {
    const char *path; /* of the directory; NULL: nothing is followed */
    struct disk_file files[FILES];
    size_t count;
    int writes, syncs, directory_syncs;
    int before_fault; /* calls that still succeed; negative: no fault */
    int fault;        /* errno of all calls from then on */
    size_t write_max; /* a call writes no more than that; 0: all */
    bool interrupted; /* every second write is */
    int randoms;      /* calls of getrandom() */
    int no_random;    /* errno of those to come; 0: none */
    bool forgetful;   /* what was written before an fsync that failed stays off the disk */
    bool touched[SIZE / SECTOR]; /* sectors written since */
} disk;

int __real_fsync(int fd);
int __real_fdatasync(int fd);
int __real_unlinkat(int fd, const char *name, int flags);
int __wrap_fsync(int fd);
int __wrap_fdatasync(int fd);
int __wrap_unlinkat(int fd, const char *name, int flags);
ssize_t __real_getrandom(void *bytes, size_t size, unsigned flags);
ssize_t __wrap_getrandom(void *bytes, size_t size, unsigned flags);
ssize_t __wrap_pwrite(int fd, const void *data, size_t size, off_t offset);
ssize_t __wrap_pwrite64(int fd, const void *data, size_t size, off_t offset);

static bool faulty(void)
{
    if (disk.before_fault < 0) {
        return false;
    }
    if (disk.before_fault > 0) {
        disk.before_fault--;
        return false;
    }
    errno = disk.fault;
    return true;
}

ssize_t __wrap_pwrite(int fd, const void *data, size_t size, off_t offset)
{
    disk.writes++;
    if (disk.interrupted && disk.writes % 2 == 0) {
        errno = EINTR;
        return -1;
    }
    if (disk.path != NULL && faulty()) {
        int number = errno;
        /* A part of it may be there nevertheless. */
        if (lseek(fd, offset, SEEK_SET) == offset) {
            (void)!write(fd, data, (size_t)draw(size));
        }
        errno = number;
        return -1;
    }
    if (disk.write_max > 0 && size > disk.write_max) {
        size = disk.write_max;
    }
    for (size_t at = (size_t)offset / SECTOR;
         at < SIZE / SECTOR && at * SECTOR < (size_t)offset + size; at++) {
        disk.touched[at] = true;
    }
    return lseek(fd, offset, SEEK_SET) == offset ? write(fd, data, size) : -1;
}

ssize_t __wrap_pwrite64(int fd, const void *data, size_t size, off_t offset)
{
    return __wrap_pwrite(fd, data, size, offset);
}

static void path_of(const char *name, char path[256])
{
    assert_true(snprintf(path, 256, "%s/%s", disk.path, name) < 256);
}

static void read_file(const char *name, kvp_buf *content)
{
    char path[256];
    struct stat info;

    path_of(name, path);
    int fd = open(path, O_RDONLY);
    assert_true(fd >= 0);
    assert_int_equal(fstat(fd, &info), 0);
    content->size = 0;
    assert_int_equal(kvp_buf_reserve(content, (size_t)info.st_size + 1), KVP_OK);
    assert_int_equal(read(fd, content->data, (size_t)info.st_size), info.st_size);
    content->size = (size_t)info.st_size;
    close(fd);
}

static void write_file(const char *name, kvp_slice content)
{
    char path[256];

    path_of(name, path);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, content.data, content.size), content.size);
    close(fd);
}

static struct disk_file *disk_file(const char *name)
{
    for (size_t i = 0; i < disk.count; i++) {
        if (strcmp(disk.files[i].name, name) == 0) {
            return &disk.files[i];
        }
    }
    assert_true(disk.count < FILES);
    struct disk_file *file = &disk.files[disk.count++];
    memset(file, 0, sizeof(*file));
    (void)snprintf(file->name, sizeof(file->name), "%s", name);
    return file;
}

static void forget_disk_file(struct disk_file *file)
{
    kvp_buf_free(&file->content);
    *file = disk.files[--disk.count];
}

/* Names of all files of the directory that begin so, sorted by their numbers. */
struct names {
    char name[FILES][64];
    size_t count;
};

static int compare_names(const void *a, const void *b)
{
    size_t length_a = strlen(a), length_b = strlen(b);
    return length_a != length_b ? (length_a < length_b ? -1 : 1) : strcmp(a, b);
}

static struct names list_files(const char *prefix)
{
    struct names names = {.count = 0};
    DIR *dir = opendir(disk.path);

    assert_non_null(dir);
    for (struct dirent *item = readdir(dir); item != NULL; item = readdir(dir)) {
        if (strncmp(item->d_name, prefix, strlen(prefix)) == 0 && strlen(item->d_name) < 64) {
            assert_true(names.count < FILES);
            memcpy(names.name[names.count++], item->d_name, strlen(item->d_name) + 1);
        }
    }
    closedir(dir);
    qsort(names.name, names.count, sizeof(names.name[0]), compare_names);
    return names;
}

static bool listed(const struct names *names, const char *name)
{
    for (size_t i = 0; i < names->count; i++) {
        if (strcmp(names->name[i], name) == 0) {
            return true;
        }
    }
    return false;
}

static void entries_are_durable(void)
{
    struct names names = list_files("journal-");

    for (size_t i = 0; i < names.count; i++) {
        disk_file(names.name[i])->has_entry = true;
    }
    for (size_t i = disk.count; i-- > 0;) {
        if (!listed(&names, disk.files[i].name)) {
            forget_disk_file(&disk.files[i]);
        }
    }
}

static void synced(int fd)
{
    char link[64], path[256];
    struct stat info;

    assert_int_equal(fstat(fd, &info), 0);
    if (S_ISDIR(info.st_mode)) {
        disk.directory_syncs++;
        entries_are_durable();
        return;
    }
    disk.syncs++;
    (void)snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof(path) - 1);
    assert_true(length > 0);
    path[length] = '\0';
    const char *name = strrchr(path, '/') + 1;
    struct disk_file *file = disk_file(name);
    kvp_buf before = file->content;
    file->content = (kvp_buf){0};
    read_file(name, &file->content);
    for (size_t at = 0; disk.forgetful && at < before.size; at += SECTOR) {
        if (!disk.touched[at / SECTOR]) {
            memcpy(file->content.data + at, before.data + at, SECTOR);
        }
    }
    kvp_buf_free(&before);
}

int __wrap_fsync(int fd)
{
    if (disk.path == NULL) {
        return __real_fsync(fd);
    }
    if (faulty()) {
        memset(disk.touched, 0, sizeof(disk.touched));
        return -1;
    }
    synced(fd);
    return 0;
}

int __wrap_fdatasync(int fd)
{
    return disk.path == NULL ? __real_fdatasync(fd) : __wrap_fsync(fd);
}

int __wrap_unlinkat(int fd, const char *name, int flags)
{
    return disk.path != NULL && faulty() ? -1 : __real_unlinkat(fd, name, flags);
}

ssize_t __wrap_getrandom(void *bytes, size_t size, unsigned flags)
{
    disk.randoms++;
    if (disk.interrupted && disk.randoms % 2 == 1) {
        errno = EINTR;
        return -1;
    }
    errno = disk.no_random;
    return disk.no_random != 0 ? -1 : __real_getrandom(bytes, size, flags);
}

/* ---- power cuts ---- */

enum fate {
    LOST,
    PREFIX,
    SUBSET,
    KEPT,
    FATES,
};

/* Of the sectors that were not synced only some are on the disk. */
static void mix(kvp_buf *now, const kvp_buf *durable)
{
    enum fate fate = (enum fate)draw(FATES);
    size_t kept = (size_t)draw(12), changed = 0;

    if (durable->size < now->size && draw(2) == 0) {
        now->size = durable->size + (size_t)draw(now->size - durable->size + 1);
    }
    for (size_t at = 0; at < now->size; at += SECTOR) {
        size_t size = now->size - at < SECTOR ? now->size - at : SECTOR;
        uint8_t old[SECTOR] = {0};
        if (at < durable->size) {
            size_t left = durable->size - at;
            memcpy(old, durable->data + at, left < size ? left : size);
        }
        if (memcmp(now->data + at, old, size) == 0) {
            continue;
        }
        bool keep =
            fate == KEPT || (fate == PREFIX && changed < kept) || (fate == SUBSET && draw(2) == 0);
        changed++;
        if (!keep) {
            memcpy(now->data + at, old, size);
        }
    }
}

static void remove_file(const char *name)
{
    char path[256];

    path_of(name, path);
    assert_int_equal(unlink(path), 0);
}

/* The process has ended, and then the power. What is left is durable. */
static void cut_power(void)
{
    struct names names = list_files("journal-");
    kvp_buf now = {0};

    for (size_t i = disk.count; i-- > 0;) {
        struct disk_file *file = &disk.files[i];
        if (!listed(&names, file->name) && file->has_entry && draw(2) == 0) {
            write_file(file->name, kvp_buf_slice(&file->content)); /* it is not gone after all */
        } else if (!listed(&names, file->name)) {
            forget_disk_file(file);
        }
    }
    for (size_t i = 0; i < names.count; i++) {
        struct disk_file *file = disk_file(names.name[i]);
        if (!file->has_entry && draw(2) == 0) {
            remove_file(file->name);
            forget_disk_file(file);
            continue;
        }
        read_file(file->name, &now);
        mix(&now, &file->content);
        write_file(file->name, kvp_buf_slice(&now));
        file->content.size = 0;
        assert_int_equal(kvp_buf_append(&file->content, now.data, now.size), KVP_OK);
        file->has_entry = true;
    }
    kvp_buf_free(&now);
}

/* ---- the desk: a journal and what must be in it ---- */

struct desk {
    struct place place;
    struct kvp_journal *journal;
    size_t file_size;
    struct {
        uint32_t size;
        uint32_t salt;
        uint64_t place;
    } frames[NUMBERS]; /* by number, as they were written last */
    uint64_t next;     /* number that a replay or an append leads to */
    uint32_t salt;     /* of what is written now */
    uint64_t stop_at;  /* `each` returns an error there */
    uint64_t first;    /* of the last replay */
    bool more;
};

static struct desk desk;

static void fill(uint8_t *bytes, uint64_t number, uint32_t size, uint32_t salt)
{
    uint64_t state = number * 0x9e3779b97f4a7c15u + salt;

    for (uint32_t i = 0; i < size; i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        bytes[i] = (uint8_t)(state >> 56);
    }
}

static void check_bytes(uint64_t number, kvp_slice bytes)
{
    static uint8_t expected[64 * 1024];
    uint32_t size = desk.frames[number].size;

    assert_true(number < NUMBERS && size <= sizeof(expected));
    fill(expected, number, size, desk.frames[number].salt);
    check_slice(bytes, kvp_slice_of(expected, size));
}

static kvp_status check_frame(void *arg, struct kvp_frame frame, kvp_slice bytes)
{
    assert_ptr_equal(arg, &desk);
    assert_int_equal(frame.number, desk.next);
    check_bytes(frame.number, bytes);
    desk.frames[frame.number].place = frame.place;
    if (frame.number == desk.stop_at) {
        return KVP_BUSY;
    }
    desk.next++;
    return KVP_OK;
}

static kvp_status try_replay(uint64_t first)
{
    desk.next = desk.first = first;
    desk.more = true;
    return kvp_journal_replay(desk.journal, first, check_frame, &desk, &desk.more);
}

static void stop(void)
{
    kvp_journal_close(desk.journal);
    desk.journal = NULL;
}

static void open_journal(void)
{
    stop();
    desk.salt++;
    assert_int_equal(kvp_journal_open(desk.place.path, desk.file_size, &desk.journal), KVP_OK);
    assert_string_equal(kvp_journal_error(desk.journal), "");
}

/* Opens the journal again and reads it; the number behind its end. */
static uint64_t replay(uint64_t first)
{
    open_journal();
    kvp_status status = try_replay(first);
    if (status != KVP_OK) {
        fail_msg("%d: %s", status, kvp_journal_error(desk.journal));
    }
    return desk.next;
}

static void start(uint64_t first)
{
    (void)replay(first);
    assert_int_equal(kvp_journal_begin(desk.journal), KVP_OK);
}

static kvp_status try_append(uint32_t size, bool sync)
{
    static uint8_t bytes[64 * 1024];
    struct kvp_frame frame = {0};

    assert_true(desk.next < NUMBERS && size <= sizeof(bytes));
    fill(bytes, desk.next, size, desk.salt);
    desk.frames[desk.next].size = size;
    desk.frames[desk.next].salt = desk.salt;
    kvp_slice parts[3] = {
        kvp_slice_of(bytes, size / 3),
        kvp_slice_of(NULL, 0),
        kvp_slice_of(bytes + size / 3, size - size / 3),
    };
    kvp_status status = kvp_journal_append(desk.journal, parts, 3, sync, &frame);
    if (status == KVP_OK) {
        assert_int_equal(frame.number, desk.next);
        desk.frames[desk.next++].place = frame.place;
    }
    return status;
}

static void append(uint32_t size, bool sync)
{
    kvp_status status = try_append(size, sync);
    if (status != KVP_OK) {
        fail_msg("%d: %s", status, kvp_journal_error(desk.journal));
    }
}

static void append_many(unsigned count, uint32_t size)
{
    for (unsigned i = 0; i < count; i++) {
        append(size, false);
    }
}

static kvp_status try_read(uint64_t number, kvp_buf *bytes)
{
    struct kvp_frame frame = {.number = number, .place = desk.frames[number].place};

    bytes->size = 0;
    return kvp_journal_read(desk.journal, frame, bytes);
}

static void check_read(uint64_t from, uint64_t to)
{
    kvp_buf bytes = {0};

    for (uint64_t number = from; number < to; number++) {
        assert_int_equal(try_read(number, &bytes), KVP_OK);
        check_bytes(number, kvp_buf_slice(&bytes));
    }
    kvp_buf_free(&bytes);
}

static void check_failed(void)
{
    struct kvp_frame frame = {.number = 1};
    kvp_slice part = TEXT("x");
    kvp_buf bytes = {0};
    bool more;

    assert_non_null(strstr(kvp_journal_error(desk.journal), desk.place.path));
    assert_int_equal(kvp_journal_append(desk.journal, &part, 1, true, &frame), KVP_FAILED);
    assert_int_equal(kvp_journal_sync(desk.journal), KVP_FAILED);
    assert_int_equal(kvp_journal_read(desk.journal, frame, &bytes), KVP_FAILED);
    assert_int_equal(kvp_journal_drop(desk.journal, 1), KVP_FAILED);
    assert_int_equal(kvp_journal_begin(desk.journal), KVP_FAILED);
    assert_int_equal(kvp_journal_replay(desk.journal, 1, check_frame, &desk, &more), KVP_FAILED);
}

static void check_missing(uint64_t first, uint64_t number)
{
    char text[64];

    open_journal();
    assert_int_equal(try_replay(first), KVP_CORRUPT);
    (void)snprintf(text, sizeof(text), "frame %" PRIu64 " of the journal is missing", number);
    assert_non_null(strstr(kvp_journal_error(desk.journal), text));
    check_failed();
}

static int setup(void **state)
{
    (void)state;
    memset(&desk, 0, sizeof(desk));
    memset(&disk, 0, sizeof(disk));
    desk.file_size = SIZE;
    place_open(&desk.place, true);
    disk.path = desk.place.path;
    disk.before_fault = -1;
    random_state = 1;
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    stop();
    while (disk.count > 0) {
        forget_disk_file(&disk.files[0]);
    }
    disk.path = NULL;
    place_close(&desk.place);
    return 0;
}

/* ---- frames ---- */

static void test_an_empty_journal_has_no_files(void **state)
{
    (void)state;
    start(1);
    assert_false(desk.more);
    assert_int_equal(kvp_journal_sync(desk.journal), KVP_OK);
    assert_int_equal(kvp_journal_oldest(desk.journal, 0), 1);
    assert_int_equal(kvp_journal_oldest(desk.journal, 9), 1);
    assert_int_equal(kvp_journal_drop(desk.journal, 9), KVP_OK);
    assert_int_equal(list_files("journal-").count, 0);
    write_file("journal-1", kvp_slice_of("", 0)); /* a power cut can leave it so */
    start(1);
    assert_false(desk.more);
    assert_int_equal(list_files("journal-").count, 0);
    start(7);
    assert_int_equal(kvp_journal_oldest(desk.journal, 0), 7);
    append(10, true);
    assert_int_equal(list_files("journal-").count, 1);
    assert_int_equal(replay(7), 8);
}

static void test_frames_of_all_sizes_come_back(void **state)
{
    static const uint32_t large[] = {4055, 4056, 4057, 4096, 8152, 8153, 20000, 3, 0, 65536, 1};

    (void)state;
    start(1);
    for (uint32_t size = 0; size < 70; size++) {
        append(size, size % 5 == 0);
    }
    for (size_t i = 0; i < sizeof(large) / sizeof(large[0]); i++) {
        append(large[i], i % 2 == 0);
    }
    check_read(1, desk.next);
    uint64_t next = desk.next;
    assert_int_equal(replay(1), next);
    assert_false(desk.more);
    check_read(1, next);
    for (uint64_t first = 1; first <= next; first++) {
        assert_int_equal(replay(first), next);
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
    start(1);
    for (size_t i = 0; i < 6; i++) {
        append(frames[i], false);
    }
    struct names names = list_files("journal-");
    assert_int_equal(names.count, 6);
    for (size_t i = 0; i < 6; i++) {
        read_file(names.name[i], &content);
        assert_int_equal(content.size, sizes[i] * SIZE);
    }
    assert_int_equal(replay(1), 7);
    /* A free file that is too small for the header and the frame is not used. */
    start(7);
    assert_int_equal(list_files("journal-").count, 2);
    append(12249, false);
    read_file("journal-7", &content);
    assert_int_equal(content.size, 4 * SIZE);
    append(12248, false);
    assert_int_equal(desk.frames[8].place >> 32, 6);
    assert_int_equal(list_files("journal-").count, 3);
    assert_int_equal(replay(7), 9);
    kvp_buf_free(&content);
}

static void test_parts_are_put_together(void **state)
{
    kvp_slice parts[200];
    struct kvp_frame frame;
    kvp_buf bytes = {0};

    (void)state;
    start(1);
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
    start(1);
    append(10, false);
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
    assert_int_equal(list_files("journal-").count, 4);
    kvp_buf_free(&bytes);
    free(large);
}

static void test_numbers_go_on_after_reopening(void **state)
{
    (void)state;
    for (unsigned life = 0; life < 50; life++) {
        uint64_t before = desk.next;
        start(1);
        assert_int_equal(desk.next, life == 0 ? 1 : before);
        assert_false(desk.more);
        append_many(1 + life % 7, 10 * life);
        check_read(1, desk.next);
    }
}

static void test_more_than_a_frame_can_hold_is_refused(void **state)
{
    kvp_slice parts[2] = {kvp_slice_of("x", SIZE_MAX), kvp_slice_of("x", 1)};
    struct kvp_frame frame;

    (void)state;
    start(1);
    assert_int_equal(kvp_journal_append(desk.journal, parts, 2, true, &frame), KVP_TOO_LARGE);
    parts[0].size = UINT32_MAX;
    assert_int_equal(kvp_journal_append(desk.journal, parts, 2, true, &frame), KVP_TOO_LARGE);
    append(10, true);
    struct kvp_journal *other = NULL;
    assert_int_equal(kvp_journal_open(desk.place.path, SIZE - 1, &other), KVP_BAD_ARGUMENT);
    assert_int_equal(kvp_journal_open("/nowhere/at/all", SIZE, &other), KVP_NOT_FOUND);
    assert_null(other);
}

static void test_calls_out_of_order_are_refused(void **state)
{
    (void)state;
    open_journal();
    assert_int_equal(kvp_journal_begin(desk.journal), KVP_BAD_ARGUMENT);
    desk.next = 1;
    assert_int_equal(try_append(1, false), KVP_BAD_ARGUMENT);
    assert_int_equal(kvp_journal_drop(desk.journal, 1), KVP_BAD_ARGUMENT);
    assert_int_equal(try_replay(1), KVP_OK);
    assert_int_equal(try_append(1, false), KVP_BAD_ARGUMENT);
    assert_int_equal(kvp_journal_begin(desk.journal), KVP_OK);
    assert_int_equal(kvp_journal_begin(desk.journal), KVP_BAD_ARGUMENT);
    assert_int_equal(try_replay(1), KVP_BAD_ARGUMENT);
    append(1, true);
}

static void test_an_error_of_the_reader_ends_the_reading(void **state)
{
    (void)state;
    start(1);
    append_many(30, 300);
    open_journal();
    desk.stop_at = 20;
    assert_int_equal(try_replay(1), KVP_BUSY);
    assert_int_equal(desk.next, 20);
    assert_int_equal(kvp_journal_begin(desk.journal), KVP_BAD_ARGUMENT);
    desk.stop_at = 0;
    assert_int_equal(try_replay(1), KVP_OK);
    assert_int_equal(desk.next, 31);
    assert_int_equal(kvp_journal_begin(desk.journal), KVP_OK);
}

static void test_a_write_and_a_sync_are_one_call_each(void **state)
{
    (void)state;
    start(1);
    append(10, true);
    disk.writes = disk.syncs = disk.directory_syncs = 0;
    assert_int_equal(kvp_journal_sync(desk.journal), KVP_OK);
    assert_int_equal(disk.syncs, 0);
    append(11, false);
    append(12, false);
    assert_int_equal(disk.writes, 2);
    assert_int_equal(disk.syncs, 0);
    append(13, true);
    assert_int_equal(kvp_journal_sync(desk.journal), KVP_OK);
    assert_int_equal(disk.writes, 3);
    assert_int_equal(disk.syncs, 1);
    append(14, false);
    assert_int_equal(kvp_journal_sync(desk.journal), KVP_OK);
    assert_int_equal(disk.syncs, 2);
    assert_int_equal(disk.directory_syncs, 0);
    append_many(25, 400);
    assert_int_equal(kvp_journal_drop(desk.journal, desk.next), KVP_OK);
    append_many(3, 400);
    disk.writes = disk.directory_syncs = disk.randoms = 0;
    append_many(9, 400); /* begins a file that was used before, with its header */
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
    start(1);
    append(10, false);
    assert_int_equal(disk.syncs, 1);
    assert_true(disk_file("journal-1")->has_entry);
    check_slice(kvp_buf_slice(&disk_file("journal-1")->content), kvp_slice_of(zeros, SIZE));
    assert_int_equal(replay(5), 5);
    disk.directory_syncs = 0;
    desk.file_size = 2 * SIZE;
    start(5);
    assert_int_equal(list_files("journal-").count, 0);
    assert_int_equal(disk.directory_syncs, 1);
    assert_int_equal(disk.count, 0);
}

/* ---- dropping ---- */

static uint64_t bytes_on_disk(void)
{
    struct names names = list_files("journal-");
    uint64_t sum = 0;

    for (size_t i = 0; i < names.count; i++) {
        char path[256];
        struct stat info;
        path_of(names.name[i], path);
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
    start(1);
    for (unsigned i = 0; i < 10000; i++) {
        int before = disk.directory_syncs;
        append((uint32_t)draw(200), false);
        made += disk.directory_syncs - before;
        if (i % 40 == 39) {
            keep = desk.next > 50 ? desk.next - 50 : 1;
            uint64_t oldest = kvp_journal_oldest(desk.journal, keep);
            assert_true(oldest <= keep && oldest + 40 > keep);
            assert_int_equal(kvp_journal_drop(desk.journal, keep), KVP_OK);
            assert_int_equal(kvp_journal_oldest(desk.journal, 0), oldest);
            assert_int_equal(kvp_journal_oldest(desk.journal, keep), oldest);
            check_read(oldest, desk.next);
        }
        assert_true(bytes_on_disk() <= 10 * SIZE);
    }
    assert_true(made < 20);
    uint64_t next = desk.next;
    assert_int_equal(replay(keep), next);
    assert_false(desk.more);
}

static void test_what_drop_leaves_is_what_oldest_said(void **state)
{
    (void)state;
    for (uint64_t keep = 0; keep < 60; keep++) {
        start(keep == 0 ? 1 : desk.next);
        uint64_t begin = desk.next;
        append_many(50, 400); /* 9 in each file */
        uint64_t next = desk.next;
        uint64_t oldest = kvp_journal_oldest(desk.journal, begin + keep);
        uint64_t expected = begin + (keep < 50 ? keep / 9 * 9 : 45);
        assert_int_equal(oldest, expected);
        assert_int_equal(kvp_journal_drop(desk.journal, begin + keep), KVP_OK);
        assert_int_equal(replay(oldest), next);
        assert_int_equal(kvp_journal_oldest(desk.journal, 0), expected);
        if (keep < 45 && expected > begin + 2 * 9) {
            assert_true(list_files("journal-").count <= 2 + (next - oldest + 8) / 9);
        }
    }
}

/* The same sizes all the time: each new frame ends where an old one begins. */
static void test_old_frames_of_a_file_are_not_taken_for_new_ones(void **state)
{
    (void)state;
    start(1);
    append_many(90, 400);
    for (unsigned i = 0; i < 200; i++) {
        uint64_t next = desk.next;
        assert_int_equal(kvp_journal_drop(desk.journal, next), KVP_OK);
        append(400, false);
        stop();
        assert_int_equal(replay(next), next + 1);
        assert_false(desk.more);
        start(next);
        append_many((unsigned)draw(20), 400);
        next = desk.next;
        assert_int_equal(replay(kvp_journal_oldest(desk.journal, 0)), next);
        assert_false(desk.more);
        start(kvp_journal_oldest(desk.journal, 0));
    }
    assert_true(list_files("journal-").count <= 5);
}

static void test_free_files_outlive_the_process(void **state)
{
    (void)state;
    start(1);
    append_many(40, 400);
    start(desk.next); /* nothing is in the journal any more */
    assert_int_equal(list_files("journal-").count, 2);
    disk.directory_syncs = 0;
    append_many(18, 400);
    assert_int_equal(disk.directory_syncs, 0);
    append(400, false);
    assert_int_equal(disk.directory_syncs, 1);
    uint64_t next = desk.next;
    assert_int_equal(replay(41), next);
    desk.file_size = 2 * SIZE; /* now they are too small to be used again */
    start(next);
    assert_int_equal(list_files("journal-").count, 0);
}

/* ---- keys ---- */

/* The key in a file's header, which must be a valid one. */
static uint64_t key_of(const char *name)
{
    kvp_buf content = {0};

    read_file(name, &content);
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
        start(desk.next);
        for (unsigned use = 0; use < 10; use++) {
            char name[32];
            append(400, false);
            uint64_t file = desk.frames[desk.next - 1].place >> 32;
            (void)snprintf(name, sizeof(name), "journal-%" PRIu64, file);
            keys[count++] = key_of(name);
            append_many(8, 400); /* now it is full */
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
        start(desk.next);
        append_many(9 * files, 400);
        assert_int_equal(kvp_journal_drop(desk.journal, desk.next), KVP_OK);
        size_t count = list_files("journal-").count;
        uint64_t end = desk.next;
        disk.no_random = ENOSYS;
        assert_int_equal(try_append(400, true), KVP_IO);
        disk.no_random = 0;
        check_failed();
        assert_int_equal(list_files("journal-").count, files < 2 ? count + 1 : count);
        assert_int_equal(replay(desk.first), end);
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
        fill(frame + FRAME_HEADER, FORGED_FIRST + slot, 400, FORGED_SALT);
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

    start(1);
    append(8, false); /* with it the file gets its key */
    forge(checksum == OLD_KEY ? key_of("journal-1") : 0, &forged);
    kvp_slice parts[2] = {
        kvp_slice_of(filling, FILE_HEADER + SLOT - begin),
        kvp_buf_slice(&forged),
    };
    assert_int_equal(kvp_journal_append(desk.journal, parts, 2, true, &frame), KVP_OK);
    kvp_buf_free(&forged);
    uint64_t keep = ++desk.next;
    append_many(SLOTS, 400); /* they fill journal-2 */
    assert_int_equal(desk.next, FORGED_FIRST);
    assert_int_equal(kvp_journal_drop(desk.journal, keep), KVP_OK);
    append_many(count, 400);
    assert_int_equal(list_files("journal-").count, 2);
    stop();
    return keep;
}

static void test_bytes_that_look_like_frames_are_none(void **state)
{
    for (enum checksum checksum = 0; checksum < CHECKSUMS; checksum++) {
        for (unsigned count = 1; count <= SLOTS; count++) {
            (void)teardown(state);
            (void)setup(state);
            uint64_t keep = use_again(checksum, count);
            assert_int_equal(replay(keep), FORGED_FIRST + count);
            assert_false(desk.more);
            start(keep);
            append(400, false);
            assert_int_equal(replay(keep), FORGED_FIRST + count + 1);
            assert_false(desk.more);
        }
    }
}

static void test_bytes_that_look_like_frames_are_none_after_a_power_cut(void **state)
{
    for (uint64_t seed = 1; seed <= 300; seed++) {
        (void)teardown(state);
        (void)setup(state);
        random_state = seed;
        unsigned count = 1 + (unsigned)draw(SLOTS);
        uint64_t keep = use_again((enum checksum)draw(CHECKSUMS), count);
        cut_power();
        uint64_t end = replay(keep); /* looks into each frame, too */
        assert_true(end >= FORGED_FIRST && end <= FORGED_FIRST + count);
        start(keep);
        append(400, false);
        assert_int_equal(replay(keep), end + 1);
        assert_false(desk.more);
    }
}

/* With the right key they would be: so there is nothing else that the tests above could miss. */
static void test_with_the_key_they_would_be_frames(void **state)
{
    kvp_buf content = {0}, forged = {0};

    (void)state;
    uint64_t keep = use_again(WITHOUT_KEY, 4);
    read_file("journal-1", &content);
    forge(key_of("journal-1"), &forged);
    memcpy(content.data + FILE_HEADER + 4 * SLOT, forged.data + 3 * SLOT, forged.size - 3 * SLOT);
    write_file("journal-1", kvp_buf_slice(&content));
    for (uint64_t number = FORGED_FIRST + 4; number < FORGED_FIRST + SLOTS; number++) {
        desk.frames[number].size = 400;
        desk.frames[number].salt = FORGED_SALT;
    }
    assert_int_equal(replay(keep), FORGED_FIRST + SLOTS);
    kvp_buf_free(&content);
    kvp_buf_free(&forged);
}

/* ---- files that were cut off, damaged or lost ---- */

struct picture {
    struct names names;
    kvp_buf content[FILES];
};

static struct picture take_picture(void)
{
    struct picture picture = {.names = list_files("journal-")};

    for (size_t i = 0; i < picture.names.count; i++) {
        read_file(picture.names.name[i], &picture.content[i]);
    }
    return picture;
}

static void restore(const struct picture *picture)
{
    struct names now = list_files("journal-");

    stop();
    for (size_t i = 0; i < now.count; i++) {
        if (!listed(&picture->names, now.name[i])) {
            remove_file(now.name[i]);
        }
    }
    for (size_t i = 0; i < picture->names.count; i++) {
        write_file(picture->names.name[i], kvp_buf_slice(&picture->content[i]));
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
    assert_int_equal(replay(1), end);
    assert_false(desk.more);
    start(1);
    append(size, false);
    assert_int_equal(replay(1), end + 1);
    assert_false(desk.more);
    start(1);
    append_many(12, size);
    assert_int_equal(replay(1), end + 13);
    assert_false(desk.more);
}

static void test_a_file_cut_off_anywhere_leaves_a_prefix(void **state)
{
    static struct desk before;

    (void)state;
    start(1);
    append_many(13, 400); /* 9 and 4, of 424 bytes */
    before = desk;
    struct picture picture = take_picture();
    assert_int_equal(picture.names.count, 2);
    for (size_t cut = 0; cut <= SIZE; cut++) {
        restore(&picture);
        memcpy(desk.frames, before.frames, sizeof(before.frames[0]) * 64);
        kvp_slice rest = kvp_slice_of(picture.content[1].data, cut);
        write_file(picture.names.name[1], rest);
        uint64_t whole = cut < FILE_HEADER ? 0 : (cut - FILE_HEADER) / 424;
        whole = whole < 4 ? whole : 4;
        assert_int_equal(replay(1), 10 + whole);
        assert_false(desk.more);
        if (cut % 8 < 2) {
            check_goes_on(10 + whole, 400);
        }
    }
    for (size_t cut = 0; cut < SIZE; cut += 7) {
        restore(&picture);
        memcpy(desk.frames, before.frames, sizeof(before.frames[0]) * 64);
        write_file(picture.names.name[0], kvp_slice_of(picture.content[0].data, cut));
        if (cut < FILE_HEADER + 9 * 424) {
            check_missing(1, cut < FILE_HEADER ? 1 : 1 + (cut - FILE_HEADER) / 424);
        } else {
            assert_int_equal(replay(1), 14);
        }
    }
    free_picture(&picture);
}

static void flip(const struct picture *picture, size_t file, size_t at, unsigned bit)
{
    kvp_buf content = picture->content[file];

    content.data[at] ^= (uint8_t)(1u << bit);
    write_file(picture->names.name[file], kvp_buf_slice(&content));
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
        assert_int_equal(replay(1), 23);
        assert_false(desk.more);
    } else if (file < 2) {
        check_missing(1, hit);
    } else {
        assert_int_equal(replay(1), hit);
        assert_int_equal(desk.more, !header && hit < 22);
    }
}

static struct picture picture_of_22_frames(void)
{
    start(1);
    append_many(22, 397); /* the last bytes are padding */
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
    for (size_t at = 0; at < 2 * SIZE; at += 1 + (size_t)draw(9)) {
        check_flip(&picture, at / SIZE, at % SIZE, (unsigned)draw(8));
        restore(&picture);
    }
    /* The first frame of the last file is hit: those behind it are found, and do not come back. */
    flip(&picture, 2, FILE_HEADER + 3, 3);
    assert_int_equal(replay(1), 19);
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
    assert_int_equal(replay(10), 23);
    assert_false(desk.more);
    free_picture(&picture);
}

static void test_a_damaged_frame_is_not_read(void **state)
{
    kvp_buf bytes = {0};

    (void)state;
    start(1);
    append_many(22, 397);
    struct picture picture = take_picture();
    for (size_t at = 0; at < 424; at += 5) {
        start(1);
        flip(&picture, 1, FILE_HEADER + 424 + at, (unsigned)draw(8));
        check_read(10, 11);
        assert_int_equal(try_read(11, &bytes), KVP_CORRUPT);
        assert_int_equal(bytes.size, 0);
        check_failed();
        restore(&picture);
    }
    start(1);
    desk.frames[5].place = desk.frames[6].place;
    assert_int_equal(try_read(5, &bytes), KVP_CORRUPT);
    start(1);
    desk.frames[5].place = UINT64_MAX;
    assert_int_equal(try_read(5, &bytes), KVP_CORRUPT);
    start(1);
    desk.frames[5].place |= UINT32_MAX;
    assert_int_equal(try_read(5, &bytes), KVP_CORRUPT);
    kvp_buf_free(&bytes);
    free_picture(&picture);
}

static void test_a_missing_file_is_told(void **state)
{
    (void)state;
    start(1);
    append_many(40, 400);
    struct picture picture = take_picture();
    assert_int_equal(picture.names.count, 5);
    for (size_t i = 0; i < 4; i++) {
        remove_file(picture.names.name[i]);
        check_missing(1, 1 + 9 * i);
        check_missing(1 + 9 * i, 1 + 9 * i);
        /* What is wanted begins behind the gap. */
        assert_int_equal(replay(1 + 9 * (i + 1)), 41);
        restore(&picture);
    }
    remove_file(picture.names.name[4]);
    assert_int_equal(replay(1), 37);
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
        write_file(names[i], TEXT("not a journal"));
    }
    path_of("journal-5", path);
    assert_int_equal(mkdir(path, 0700), 0);
    path_of("journal-6", path);
    assert_int_equal(symlink("journal-7", path), 0);
    path_of("journal-8", path);
    assert_int_equal(mkfifo(path, 0600), 0);
}

static void test_other_files_are_left_alone(void **state)
{
    (void)state;
    make_strangers();
    struct names before = list_files("");
    start(1);
    append_many(40, 400);
    assert_int_equal(list_files("").count, before.count + 5);
    check_read(1, 41);
    assert_int_equal(replay(1), 41);
    assert_int_equal(kvp_journal_begin(desk.journal), KVP_OK);
    assert_int_equal(kvp_journal_drop(desk.journal, 41), KVP_OK);
    struct names after = list_files("");
    for (size_t i = 0; i < before.count; i++) {
        assert_true(listed(&after, before.name[i]));
    }
    assert_int_equal(after.count, before.count + 3);
}

/* Anything at all can be in the files: pieces of true frames in any order, noise, true frames. */
static void make_nonsense(const struct picture *picture, size_t file)
{
    uint8_t bytes[2 * SIZE];
    size_t size = (size_t)draw(sizeof(bytes) + 1);
    const kvp_buf *content = &picture->content[draw(picture->names.count)];

    for (size_t at = 0; at < sizeof(bytes); at++) {
        bytes[at] = content->data[at % content->size];
    }
    for (uint64_t i = draw(6); i > 0; i--) {
        const kvp_buf *source = &picture->content[draw(picture->names.count)];
        size_t length = (size_t)draw(draw(2) == 0 ? 32 : 1500);
        size_t from = (size_t)draw(source->size - length) / 8 * 8;
        size_t to = (size_t)draw(sizeof(bytes) - length) / 8 * 8;
        memcpy(bytes + to, source->data + from, length);
    }
    for (uint64_t i = draw(6); i > 0; i--) {
        bytes[draw(sizeof(bytes))] = (uint8_t)draw(256);
        memset(bytes + draw(sizeof(bytes) - 8), draw(2) == 0 ? 0xff : 0, 4);
    }
    write_file(picture->names.name[file], kvp_slice_of(bytes, size));
}

static void test_no_content_does_harm(void **state)
{
    static struct desk before;

    (void)state;
    start(1);
    for (unsigned i = 0; i < 60; i++) {
        append((uint32_t)draw(500), false);
    }
    before = desk;
    struct picture picture = take_picture();
    for (unsigned round = 0; round < 5000; round++) {
        random_state = round;
        restore(&picture);
        memcpy(desk.frames, before.frames, sizeof(before.frames[0]) * 64);
        for (uint64_t i = draw(4); i > 0; i--) {
            make_nonsense(&picture, (size_t)draw(picture.names.count));
        }
        open_journal();
        uint64_t first = 1 + draw(61);
        kvp_status status = try_replay(first);
        assert_true(status == KVP_OK || status == KVP_CORRUPT);
        assert_true(desk.next >= first && desk.next <= 61);
        if (status == KVP_OK) {
            uint64_t next = desk.next;
            assert_int_equal(kvp_journal_begin(desk.journal), KVP_OK);
            append(100, false);
            assert_int_equal(replay(first), next + 1);
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
    start(1);
    append_many(30, 700);
    assert_int_equal(replay(1), 31);
}

/* Every call of a script fails once, with all that follow. */
static kvp_status run_script(void)
{
    kvp_status status = kvp_journal_begin(desk.journal);

    for (unsigned i = 0; i < 40 && status == KVP_OK; i++) {
        status = try_append(400 + i % 2 * 5000, i % 3 == 0);
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
        assert_int_equal(replay(next), next);
        assert_int_equal(kvp_journal_begin(desk.journal), KVP_OK);
        append_many(3, 400); /* something to begin with */
        next = replay(next);
        disk.before_fault = calls;
        disk.fault = number;
        status = run_script();
        if (status != KVP_OK) {
            assert_int_equal(status, expected);
            assert_non_null(strstr(kvp_journal_error(desk.journal), strerror(number)));
            disk.before_fault = -1;
            check_failed();
            uint64_t end = desk.next;
            uint64_t oldest = kvp_journal_oldest(desk.journal, 0);
            /* A frame whose sync failed may be there. */
            uint64_t found = replay(oldest > desk.first ? oldest : desk.first);
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
    start(1);
    append_many(4, 400);
    assert_int_equal(kvp_journal_sync(desk.journal), KVP_OK);
    disk.forgetful = true;
    disk.before_fault = 1; /* the frame is written, its sync fails */
    disk.fault = EIO;
    assert_int_equal(try_append(400, true), KVP_IO);
    disk.before_fault = -1;
    start(1);
    assert_int_equal(desk.next, 6);
    stop();
    write_file("journal-1", kvp_buf_slice(&disk_file("journal-1")->content)); /* a power cut */
    assert_int_equal(replay(1), 6);
}

static void test_a_file_that_could_not_be_made_is_gone(void **state)
{
    (void)state;
    start(1);
    append_many(9, 400);
    disk.before_fault = 2; /* the sync of what is there, and the first chunk of the new file */
    disk.fault = ENOSPC;
    assert_int_equal(try_append(40000, true), KVP_DISK_FULL);
    assert_non_null(strstr(kvp_journal_error(desk.journal), "journal-2: "));
    disk.before_fault = -1;
    /* Its removal fails here, too: then it goes at the next beginning. */
    assert_int_equal(list_files("journal-").count, 2);
    start(1);
    assert_int_equal(desk.next, 10);
    assert_int_equal(list_files("journal-").count, 1);
}

/* ---- the random model ---- */

/* Frames up to `least` must be there after what comes next, none behind `most` may. */
static uint64_t least, most, kept;

static void check_end(bool power_cut)
{
    uint64_t next = replay(kept);
    uint64_t low = least + 1 > kept ? least + 1 : kept;
    uint64_t high = most + 1 > kept ? most + 1 : kept;

    if (next < low || next > high) {
        fail_msg("the end is %" PRIu64 ", not in %" PRIu64 "..%" PRIu64, next, low, high);
    }
    if (!power_cut) {
        assert_false(desk.more);
    }
    check_read(kept, next);
    /* Without a sync the next power cut can take them yet, but not give more. */
    most = next - 1;
}

static void arm_fault(uint64_t calls)
{
    static const int numbers[] = {EIO, ENOSPC};

    disk.fault = numbers[draw(2)];
    disk.before_fault = (int)draw(calls);
}

/* The process ends, and often the power. Beginning again can be cut short as well. */
static void die(bool clean)
{
    kvp_status status = KVP_IO;

    while (status != KVP_OK) {
        bool power_cut = draw(2) == 0;
        uint64_t end = desk.next;
        stop();
        disk.before_fault = -1;
        if (power_cut) {
            cut_power();
        } else if (clean) {
            assert_int_equal(replay(kept), end);
        }
        desk.file_size = draw(20) == 0 ? 2 * SIZE : SIZE;
        check_end(power_cut || !clean);
        if (draw(4) == 0) {
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
    uint64_t kind = draw(50);
    uint32_t size = kind == 0 ? (uint32_t)draw(12000) : kind < 5 ? (uint32_t)draw(2000) : usual;
    bool sync = draw(6) == 0;

    /* If it fails, it may be there nevertheless. */
    most = desk.next;
    kvp_status status = try_append(size, sync);
    if (status == KVP_OK && sync) {
        least = desk.next - 1;
    }
    return status;
}

static kvp_status model_step(uint32_t usual)
{
    uint64_t kind = draw(100);
    kvp_status status = KVP_OK;

    if (kind < 80) {
        return model_append(usual);
    }
    if (kind < 84) {
        status = kvp_journal_sync(desk.journal);
        least = status == KVP_OK ? desk.next - 1 : least;
    } else if (kind < 92) {
        uint64_t keep = kept + draw(desk.next - kept + 1);
        uint64_t oldest = kvp_journal_oldest(desk.journal, keep);
        assert_true(oldest <= keep);
        kept = keep;
        status = kvp_journal_drop(desk.journal, keep);
        if (status == KVP_OK) {
            assert_int_equal(kvp_journal_oldest(desk.journal, 0), oldest);
        }
    } else if (kind < 96) {
        check_read(kept + draw(desk.next - kept + 1), desk.next);
    } else if (kind < 98) {
        arm_fault(12);
    }
    return status;
}

static void run_model(uint64_t seed)
{
    uint32_t usual;

    random_state = seed;
    least = most = 0;
    kept = desk.next = 1;
    usual = (uint32_t)draw(500);
    open_journal();
    start(1);
    for (unsigned i = 0; i < 300; i++) {
        kvp_status status = model_step(usual);
        if (status != KVP_OK) {
            disk.before_fault = -1;
            check_failed();
        }
        if (status != KVP_OK || draw(30) == 0) {
            die(status == KVP_OK);
        }
        if (draw(100) == 0) {
            usual = (uint32_t)draw(500);
        }
    }
}

static void test_many_lives_with_power_cuts(void **state)
{
    for (uint64_t seed = 1; seed <= 150; seed++) {
        (void)teardown(state);
        (void)setup(state);
        run_model(seed);
    }
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

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
