/* SPDX-License-Identifier: Apache-2.0 */
/* The files of the journal: what is said when one fails, the list of them, and the directory. */
#include "kvstore/journal_private.h"
#include "kvstore/base/posix_file.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- failures ---- */

kvp_status journal_fail(struct kvp_journal *journal, kvp_status status,
                        const struct journal_file *file, const char *reason)
{
    char name[NAME_SIZE] = "";
    if (file != NULL) {
        (void)snprintf(name, sizeof(name), "/" NAME_PREFIX "%" PRIu64, file->id);
    }
    (void)snprintf(journal->error, sizeof(journal->error), "%s%s: %s", journal->path, name, reason);
    journal->failed = true;
    return status;
}

kvp_status journal_fail_errno(struct kvp_journal *journal, const struct journal_file *file)
{
    int number = errno;
    return journal_fail(journal, kvp_status_of_errno(number), file, strerror(number));
}

kvp_status journal_short_of_memory(struct kvp_journal *journal)
{
    (void)snprintf(journal->error, sizeof(journal->error), "%s: %s", journal->path,
                   kvp_strerror(KVP_NO_MEMORY));
    return KVP_NO_MEMORY;
}

kvp_status journal_fail_reading(struct kvp_journal *journal, const struct journal_file *file)
{
    return errno == ENOMEM ? journal_short_of_memory(journal) : journal_fail_errno(journal, file);
}

/* ---- bytes of files ---- */

bool journal_read_padded(int fd, uint8_t *data, size_t size, uint64_t offset)
{
    size_t got;
    if (!kvp_read_all(fd, data, size, offset, &got)) {
        return false;
    }
    if (got < size) {
        memset(data + got, 0, size - got);
    }
    return true;
}

/* ---- the list of files ---- */

void journal_forget_files(struct kvp_journal *journal)
{
    for (size_t i = 0; i < journal->count; i++) {
        close(journal->files[i].fd);
    }
    journal->count = journal->chain = 0;
}

bool journal_reserve_file(struct kvp_journal *journal)
{
    if (journal->count < journal->capacity) {
        return true;
    }
    size_t capacity = journal->capacity == 0 ? 8 : 2 * journal->capacity;
    struct journal_file *files = realloc(journal->files, capacity * sizeof(*files));
    if (files == NULL) {
        return false;
    }
    journal->files = files;
    journal->capacity = capacity;
    return true;
}

struct journal_file *journal_join_chain(struct kvp_journal *journal, size_t index)
{
    assert(index >= journal->chain && index < journal->count);
    struct journal_file file = journal->files[index];

    journal->files[index] = journal->files[journal->chain];
    journal->files[journal->chain] = file;
    return &journal->files[journal->chain++];
}

static kvp_status journal_remove_file(struct kvp_journal *journal, size_t index)
{
    struct journal_file *file = &journal->files[index];
    char name[NAME_SIZE];
    assert(index >= journal->chain && index < journal->count);
    (void)snprintf(name, sizeof(name), NAME_PREFIX "%" PRIu64, file->id);
    if (unlinkat(journal->directory, name, 0) != 0 && errno != ENOENT) {
        return journal_fail_errno(journal, file);
    }
    close(file->fd);
    journal->files[index] = journal->files[--journal->count];
    return KVP_OK;
}

kvp_status journal_remove_useless(struct kvp_journal *journal)
{
    kvp_status status = KVP_OK;
    size_t i = journal->chain;
    while (status == KVP_OK && i < journal->count) {
        const struct journal_file *file = &journal->files[i];
        if (file->reusable && file->size >= journal->file_size) {
            i++;
        } else {
            status = journal_remove_file(journal, i);
        }
    }
    while (status == KVP_OK && journal->count - journal->chain > FREE_MAX) {
        size_t smallest = journal->chain;
        for (i = smallest + 1; i < journal->count; i++) {
            smallest = journal->files[i].size < journal->files[smallest].size ? i : smallest;
        }
        status = journal_remove_file(journal, smallest);
    }
    return status;
}

/* ---- looking through the directory ---- */

/* Names are as the journal writes them: decimal, without zeros in front. */
static bool parse_name(const char *name, uint64_t *id)
{
    if (strncmp(name, NAME_PREFIX, sizeof(NAME_PREFIX) - 1) != 0) {
        return false;
    }
    const char *digits = name + sizeof(NAME_PREFIX) - 1;
    size_t length = strlen(digits);
    if (length == 0 || length > 10 || strspn(digits, "0123456789") != length ||
        (digits[0] == '0' && length > 1)) {
        return false;
    }
    *id = 0;
    for (const char *digit = digits; *digit != '\0'; digit++) {
        *id = *id * 10 + (uint64_t)(*digit - '0');
    }
    return *id <= FILE_ID_LIMIT;
}

/* Takes the file into the list if it can be one of the journal's. */
static kvp_status add_found(struct kvp_journal *journal, const char *name)
{
    struct journal_file file = {.fd = -1};
    struct stat info;
    if (!parse_name(name, &file.id)) {
        return KVP_OK;
    }
    if (file.id >= journal->next_id) {
        journal->next_id = file.id + 1;
    }
    if (fstatat(journal->directory, name, &info, AT_SYMLINK_NOFOLLOW) != 0) {
        return journal_fail_reading(journal, &file);
    }
    if (!S_ISREG(info.st_mode)) {
        return KVP_OK;
    }
    if (!journal_reserve_file(journal)) {
        return journal_short_of_memory(journal);
    }
    file.fd = openat(journal->directory, name, O_RDWR | O_NOFOLLOW | O_CLOEXEC);
    if (file.fd < 0) {
        return journal_fail_reading(journal, &file);
    }
    file.size = (uint64_t)info.st_size < FILE_SIZE_LIMIT ? (uint64_t)info.st_size : FILE_SIZE_LIMIT;
    journal->files[journal->count++] = file;
    return KVP_OK;
}

kvp_status journal_find_files(struct kvp_journal *journal)
{
    int fd = openat(journal->directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    kvp_status status = KVP_OK;

    if (dir == NULL) {
        status = journal_fail_reading(journal, NULL);
        if (fd >= 0) {
            close(fd);
        }
        return status;
    }
    journal_forget_files(journal);
    journal->next_id = 1;
    while (status == KVP_OK) {
        errno = 0;
        struct dirent *item = readdir(dir);
        if (item == NULL) {
            status = errno == 0 ? KVP_OK : journal_fail_reading(journal, NULL);
            break;
        }
        status = add_found(journal, item->d_name);
    }
    closedir(dir);
    return status;
}

kvp_status journal_load(struct kvp_journal *journal, const struct journal_file *file, uint64_t size,
                        kvp_buf *content)
{
    content->size = 0;
    if (kvp_buf_reserve(content, size) != KVP_OK) {
        return journal_short_of_memory(journal);
    }
    if (!journal_read_padded(file->fd, content->data, size, 0)) {
        return journal_fail_reading(journal, file);
    }
    content->size = size;
    return KVP_OK;
}

kvp_status journal_read_beginning(struct kvp_journal *journal, struct journal_file *file,
                                  kvp_buf *content)
{
    uint8_t headers[FILE_HEADER_SIZE + FRAME_HEADER_SIZE];
    struct frame_view frame;
    if (!journal_read_padded(file->fd, headers, sizeof(headers), 0)) {
        return journal_fail_reading(journal, file);
    }
    file->has_key = file->size >= FILE_HEADER_SIZE && journal_read_file_header(headers, &file->key);
    if (!file->has_key || !journal_frame_plausible(headers + FILE_HEADER_SIZE,
                                                   file->size - FILE_HEADER_SIZE, &frame)) {
        return KVP_OK;
    }
    kvp_status status = journal_load(journal, file, FILE_HEADER_SIZE + frame.total, content);
    if (status == KVP_OK && journal_frame_at(file, content, FILE_HEADER_SIZE, &frame)) {
        file->first = frame.number;
    }
    return status;
}
