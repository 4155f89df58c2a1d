/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/kvstore/journal_desk.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

uint64_t disk_random;

uint64_t disk_draw(uint64_t below)
{
    disk_random += 0x9e3779b97f4a7c15u;
    uint64_t z = disk_random;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return (z ^ (z >> 31)) % below;
}

/* ---- the disk ---- */

struct journal_disk disk;

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

static bool disk_faulty(void)
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
    if (disk.path != NULL && disk_faulty()) {
        int number = errno;
        /* A part of it may be there nevertheless. */
        if (lseek(fd, offset, SEEK_SET) == offset) {
            (void)!write(fd, data, (size_t)disk_draw(size));
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

void disk_path_of(const char *name, char path[256])
{
    assert_true(snprintf(path, 256, "%s/%s", disk.path, name) < 256);
}

void disk_read_file(const char *name, kvp_buf *content)
{
    char path[256];
    struct stat info;
    disk_path_of(name, path);
    int fd = open(path, O_RDONLY);
    assert_true(fd >= 0);
    assert_int_equal(fstat(fd, &info), 0);
    content->size = 0;
    assert_int_equal(kvp_buf_reserve(content, (size_t)info.st_size + 1), KVP_OK);
    assert_int_equal(read(fd, content->data, (size_t)info.st_size), info.st_size);
    content->size = (size_t)info.st_size;
    close(fd);
}

void disk_write_file(const char *name, kvp_slice content)
{
    char path[256];
    disk_path_of(name, path);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, content.data, content.size), content.size);
    close(fd);
}

struct disk_file *disk_file(const char *name)
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

void disk_forget_file(struct disk_file *file)
{
    kvp_buf_free(&file->content);
    *file = disk.files[--disk.count];
}

static int compare_names(const void *a, const void *b)
{
    size_t length_a = strlen(a), length_b = strlen(b);
    return length_a != length_b ? (length_a < length_b ? -1 : 1) : strcmp(a, b);
}

struct names disk_list_files(const char *prefix)
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

bool names_have(const struct names *names, const char *name)
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
    struct names names = disk_list_files("journal-");
    for (size_t i = 0; i < names.count; i++) {
        disk_file(names.name[i])->has_entry = true;
    }
    for (size_t i = disk.count; i-- > 0;) {
        if (!names_have(&names, disk.files[i].name)) {
            disk_forget_file(&disk.files[i]);
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
    disk_read_file(name, &file->content);
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
    if (disk_faulty()) {
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
    return disk.path != NULL && disk_faulty() ? -1 : __real_unlinkat(fd, name, flags);
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
    enum fate fate = (enum fate)disk_draw(FATES);
    size_t kept = (size_t)disk_draw(12), changed = 0;
    if (durable->size < now->size && disk_draw(2) == 0) {
        now->size = durable->size + (size_t)disk_draw(now->size - durable->size + 1);
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
        bool keep = fate == KEPT || (fate == PREFIX && changed < kept) ||
                    (fate == SUBSET && disk_draw(2) == 0);
        changed++;
        if (!keep) {
            memcpy(now->data + at, old, size);
        }
    }
}

void disk_remove_file(const char *name)
{
    char path[256];
    disk_path_of(name, path);
    assert_int_equal(unlink(path), 0);
}

void disk_cut_power(void)
{
    struct names names = disk_list_files("journal-");
    kvp_buf now = {0};
    for (size_t i = disk.count; i-- > 0;) {
        struct disk_file *file = &disk.files[i];
        if (!names_have(&names, file->name) && file->has_entry && disk_draw(2) == 0) {
            disk_write_file(file->name,
                            kvp_buf_slice(&file->content)); /* it is not gone after all */
        } else if (!names_have(&names, file->name)) {
            disk_forget_file(file);
        }
    }
    for (size_t i = 0; i < names.count; i++) {
        struct disk_file *file = disk_file(names.name[i]);
        if (!file->has_entry && disk_draw(2) == 0) {
            disk_remove_file(file->name);
            disk_forget_file(file);
            continue;
        }
        disk_read_file(file->name, &now);
        mix(&now, &file->content);
        disk_write_file(file->name, kvp_buf_slice(&now));
        file->content.size = 0;
        assert_int_equal(kvp_buf_append(&file->content, now.data, now.size), KVP_OK);
        file->has_entry = true;
    }
    kvp_buf_free(&now);
}

/* ---- the desk: a journal and what must be in it ---- */

struct desk desk;

void desk_fill(uint8_t *bytes, uint64_t number, uint32_t size, uint32_t salt)
{
    uint64_t state = number * 0x9e3779b97f4a7c15u + salt;
    for (uint32_t i = 0; i < size; i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        bytes[i] = (uint8_t)(state >> 56);
    }
}

static void desk_check_bytes(uint64_t number, kvp_slice bytes)
{
    static uint8_t expected[64 * 1024];
    uint32_t size = desk.frames[number].size;
    assert_true(number < NUMBERS && size <= sizeof(expected));
    desk_fill(expected, number, size, desk.frames[number].salt);
    check_slice(bytes, kvp_slice_of(expected, size));
}

kvp_status desk_check_frame(void *arg, struct kvp_frame frame, kvp_slice bytes)
{
    assert_ptr_equal(arg, &desk);
    assert_int_equal(frame.number, desk.next);
    desk_check_bytes(frame.number, bytes);
    desk.frames[frame.number].place = frame.place;
    if (frame.number == desk.stop_at) {
        return KVP_BUSY;
    }
    desk.next++;
    return KVP_OK;
}

kvp_status desk_try_replay(uint64_t first)
{
    desk.next = desk.first = first;
    desk.more = true;
    return kvp_journal_replay(desk.journal, first, desk_check_frame, &desk, &desk.more);
}

void desk_stop(void)
{
    kvp_journal_close(desk.journal);
    desk.journal = NULL;
}

void desk_open(void)
{
    desk_stop();
    desk.salt++;
    assert_int_equal(kvp_journal_open(desk.place.path, desk.file_size, &desk.journal), KVP_OK);
    assert_string_equal(kvp_journal_error(desk.journal), "");
}

uint64_t desk_replay(uint64_t first)
{
    desk_open();
    kvp_status status = desk_try_replay(first);
    if (status != KVP_OK) {
        fail_msg("%d: %s", status, kvp_journal_error(desk.journal));
    }
    return desk.next;
}

void desk_start(uint64_t first)
{
    (void)desk_replay(first);
    assert_int_equal(kvp_journal_begin(desk.journal), KVP_OK);
}

kvp_status desk_try_append(uint32_t size, bool sync)
{
    static uint8_t bytes[64 * 1024];
    struct kvp_frame frame = {0};
    assert_true(desk.next < NUMBERS && size <= sizeof(bytes));
    desk_fill(bytes, desk.next, size, desk.salt);
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

void desk_append(uint32_t size, bool sync)
{
    kvp_status status = desk_try_append(size, sync);
    if (status != KVP_OK) {
        fail_msg("%d: %s", status, kvp_journal_error(desk.journal));
    }
}

void desk_append_many(unsigned count, uint32_t size)
{
    for (unsigned i = 0; i < count; i++) {
        desk_append(size, false);
    }
}

kvp_status desk_try_read(uint64_t number, kvp_buf *bytes)
{
    struct kvp_frame frame = {.number = number, .place = desk.frames[number].place};
    bytes->size = 0;
    return kvp_journal_read(desk.journal, frame, bytes);
}

void desk_check_read(uint64_t from, uint64_t to)
{
    kvp_buf bytes = {0};
    for (uint64_t number = from; number < to; number++) {
        assert_int_equal(desk_try_read(number, &bytes), KVP_OK);
        desk_check_bytes(number, kvp_buf_slice(&bytes));
    }
    kvp_buf_free(&bytes);
}

void desk_check_failed(void)
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
    assert_int_equal(kvp_journal_replay(desk.journal, 1, desk_check_frame, &desk, &more),
                     KVP_FAILED);
}

void desk_check_missing(uint64_t first, uint64_t number)
{
    char text[64];
    desk_open();
    assert_int_equal(desk_try_replay(first), KVP_CORRUPT);
    (void)snprintf(text, sizeof(text), "frame %" PRIu64 " of the journal is missing", number);
    assert_non_null(strstr(kvp_journal_error(desk.journal), text));
    desk_check_failed();
}

int desk_setup(void **state)
{
    (void)state;
    memset(&desk, 0, sizeof(desk));
    memset(&disk, 0, sizeof(disk));
    desk.file_size = SIZE;
    place_open(&desk.place, true);
    disk.path = desk.place.path;
    disk.before_fault = -1;
    disk_random = 1;
    return 0;
}

int desk_teardown(void **state)
{
    (void)state;
    desk_stop();
    while (disk.count > 0) {
        disk_forget_file(&disk.files[0]);
    }
    disk.path = NULL;
    place_close(&desk.place);
    return 0;
}
