/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The journal on a POSIX file system. In memory are its files only: those with frames that count,
 * in the order of their frames (the chain, whose last one is appended to), and behind them free
 * ones.
 *
 * Four things keep what is left of earlier times from being taken for a frame. The checksums of a
 * file's frames need its key, which nobody had before the file was begun. A file is used again only
 * when all numbers in it are smaller than those to come. When the journal begins, all behind its
 * end is made zero and synced, even if an earlier life may have done so: it may have died before
 * its own sync. And a file with frames that come after the end is removed durably, not used again.
 */
#include "kvstore/journal.h"
#include "kvstore/journal_private.h"
#include "kvstore/keyspace.h"
#include "kvstore/base/clock.h"
#include "kvstore/base/posix_file.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>
#include <xxhash.h>

static const uint8_t zeros[CHUNK_SIZE];

/* ---- opening ---- */

kvp_status kvp_journal_open(const char *path, size_t file_size, struct kvp_journal **journal)
{
    if (file_size < BLOCK_SIZE || file_size > FILE_SIZE_LIMIT) {
        return KVP_BAD_ARGUMENT;
    }
    struct kvp_journal *self = calloc(1, sizeof(*self));
    char *copy = strdup(path);
    if (self == NULL || copy == NULL) {
        free(self);
        free(copy);
        return KVP_NO_MEMORY;
    }
    self->path = copy;
    self->file_size = file_size;
    self->directory = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (self->directory < 0) {
        kvp_status status = kvp_status_of_errno(errno);
        kvp_journal_close(self);
        return status;
    }
    *journal = self;
    return KVP_OK;
}

void kvp_journal_close(struct kvp_journal *journal)
{
    if (journal == NULL) {
        return;
    }
    journal_forget_files(journal);
    if (journal->directory >= 0) {
        close(journal->directory);
    }
    kvp_buf_free(&journal->frame);
    free(journal->files);
    free(journal->path);
    free(journal);
}

const char *kvp_journal_error(const struct kvp_journal *journal)
{
    return journal->error;
}

/* ---- replay ---- */

/* The file behind the chain with the greatest first number up to that; `count` if there is none. */
static size_t find_start(const struct kvp_journal *journal, uint64_t number)
{
    size_t best = journal->count;
    for (size_t i = journal->chain; i < journal->count; i++) {
        uint64_t first = journal->files[i].first;
        if (first != 0 && first <= number &&
            (best == journal->count || first > journal->files[best].first)) {
            best = i;
        }
    }
    return best;
}

struct reader {
    kvp_journal_each each;
    void *arg;
    kvp_buf content; /* of one file */
};

/* Reads the file's frames up to its end of them; those from journal->next on are for the reader,
 * and if there are any the file joins the chain. */
static kvp_status journal_scan(struct kvp_journal *journal, size_t index, struct reader *reader)
{
    struct journal_file *file = &journal->files[index];
    kvp_status status = journal_load(journal, file, file->size, &reader->content);
    const kvp_buf *content = &reader->content;
    struct frame_view frame;
    uint64_t offset = FILE_HEADER_SIZE, number = file->first;
    while (status == KVP_OK && journal_frame_at(file, content, offset, &frame) &&
           frame.number == number) {
        if (number >= journal->next) {
            struct kvp_frame found = {.number = number, .place = journal_place_of(file, offset)};
            status = reader->each(
                reader->arg, found,
                kvp_slice_of(content->data + offset + FRAME_HEADER_SIZE, (size_t)frame.size));
        }
        offset += frame.total;
        number++;
    }
    if (status == KVP_OK && number > journal->next) {
        (void)journal_join_chain(journal, index);
        journal->next = number;
        journal->end = offset;
    }
    return status;
}

static kvp_status read_chain(struct kvp_journal *journal, struct reader *reader)
{
    kvp_status status = KVP_OK;
    uint64_t before = 0;
    for (size_t i = 0; i < journal->count && status == KVP_OK; i++) {
        status = journal_read_beginning(journal, &journal->files[i], &reader->content);
    }
    while (status == KVP_OK && journal->next != before) {
        before = journal->next;
        size_t index = find_start(journal, journal->next);
        /* Behind the first file only one that begins with the next number can have it. */
        if (index < journal->count &&
            (journal->chain == 0 || journal->files[index].first == journal->next)) {
            status = journal_scan(journal, index, reader);
        }
    }
    return status;
}

/* A file is only begun when all before it is durable: so no power cut makes a gap. */
static kvp_status check_no_gap(struct kvp_journal *journal)
{
    for (size_t i = journal->chain; i < journal->count; i++) {
        if (journal->files[i].first > journal->next) {
            char reason[80];
            (void)snprintf(reason, sizeof(reason), "frame %" PRIu64 " of the journal is missing",
                           journal->next);
            return journal_fail(journal, KVP_CORRUPT, NULL, reason);
        }
    }
    return KVP_OK;
}

/* Is there a whole frame with a number from next to `last` anywhere from the offset on? */
static bool has_newer(const struct kvp_journal *journal, const struct journal_file *file,
                      const kvp_buf *content, uint64_t offset, uint64_t last)
{
    struct frame_view frame;
    for (; file->has_key && offset + FRAME_HEADER_SIZE <= content->size; offset += 8) {
        if (journal_frame_plausible(content->data + offset, content->size - offset, &frame) &&
            frame.number >= journal->next && frame.number <= last &&
            journal_frame_whole(content->data + offset, &frame, file->key)) {
            return true;
        }
    }
    return false;
}

/* Looks for frames behind the end: in the current file and in all that are not in the chain, one of
 * which may have begun with a frame that is torn. */
static kvp_status look_behind(struct kvp_journal *journal, kvp_buf *content, bool *more)
{
    uint64_t bytes = 0;
    /* Only a stranger's copy of a file has what the chain has, too; it must not stay beside it. */
    uint64_t oldest = kvp_journal_oldest(journal, 0);

    for (size_t i = 0; i < journal->count; i++) {
        bytes += journal->files[i].size;
    }
    /* No more frames can be there than that. Other numbers are not worth a checksum. */
    uint64_t most = bytes / FRAME_HEADER_SIZE;
    uint64_t last = journal->next < UINT64_MAX - most ? journal->next + most : UINT64_MAX;
    for (size_t i = journal->chain == 0 ? 0 : journal->chain - 1; i < journal->count; i++) {
        struct journal_file *file = &journal->files[i];
        bool current = i + 1 == journal->chain;
        kvp_status status = journal_load(journal, file, file->size, content);
        if (status != KVP_OK) {
            return status;
        }
        uint64_t from = current ? journal->end : FILE_HEADER_SIZE;
        bool newer = has_newer(journal, file, content, from, last);
        file->reusable = file->first != 0 && file->first < oldest && !newer;
        *more = *more || newer;
    }
    return KVP_OK;
}

kvp_status kvp_journal_replay(struct kvp_journal *journal, uint64_t first, kvp_journal_each each,
                              void *arg, bool *more)
{
    struct reader reader = {.each = each, .arg = arg};
    *more = false;
    if (journal->failed) {
        return KVP_FAILED;
    }
    if (journal->begun) {
        return KVP_BAD_ARGUMENT;
    }
    journal->replayed = false;
    journal->next = first == 0 ? 1 : first;
    journal->end = 0;
    kvp_status status = journal_find_files(journal);
    if (status == KVP_OK) {
        status = read_chain(journal, &reader);
    }
    if (status == KVP_OK) {
        status = check_no_gap(journal);
    }
    if (status == KVP_OK) {
        status = look_behind(journal, &reader.content, more);
    }
    kvp_buf_free(&reader.content);
    journal->replayed = status == KVP_OK;
    return status;
}

/* ---- beginning ---- */

/* Writes the current file once more as it was read, and zeros behind the end. All of it: where an
 * earlier sync has failed, the kernel shows to readers what is not on the disk, takes it for
 * written, and the next sync does nothing about it. */
static kvp_status write_again(struct kvp_journal *journal)
{
    const struct journal_file *file = &journal->files[journal->chain - 1];
    uint8_t chunk[CHUNK_SIZE];
    size_t size = 0;
    for (uint64_t offset = 0; offset < file->size; offset += size) {
        size = file->size - offset < CHUNK_SIZE ? (size_t)(file->size - offset) : CHUNK_SIZE;
        if (!journal_read_padded(file->fd, chunk, size, offset)) {
            return journal_fail_errno(journal, file);
        }
        if (offset + size > journal->end) {
            size_t kept = offset < journal->end ? (size_t)(journal->end - offset) : 0;
            memset(chunk + kept, 0, size - kept);
        }
        if (!kvp_write_all(file->fd, chunk, size, offset)) {
            return journal_fail_errno(journal, file);
        }
    }
    return KVP_OK;
}

kvp_status kvp_journal_begin(struct kvp_journal *journal)
{
    if (journal->failed) {
        return KVP_FAILED;
    }
    if (!journal->replayed || journal->begun) {
        return KVP_BAD_ARGUMENT;
    }
    kvp_status status = journal->chain == 0 ? KVP_OK : write_again(journal);
    status = status == KVP_OK ? journal_remove_useless(journal) : status;
    /* What was read need not be on the disk yet: frames, zeros, and files that are gone may be the
     * unsynced work of an earlier life. Files before the current one were synced by whoever left
     * them. */
    for (size_t i = journal->chain == 0 ? 0 : journal->chain - 1;
         i < journal->count && status == KVP_OK; i++) {
        if (fdatasync(journal->files[i].fd) != 0) {
            status = journal_fail_errno(journal, &journal->files[i]);
        }
    }
    if (status == KVP_OK && fsync(journal->directory) != 0) {
        status = journal_fail_errno(journal, NULL);
    }
    journal->begun = status == KVP_OK;
    return status;
}

/* ---- appending ---- */

static kvp_status sync_current(struct kvp_journal *journal)
{
    if (!journal->unsynced) {
        return KVP_OK;
    }
    assert(journal->chain > 0);
    const struct journal_file *file = &journal->files[journal->chain - 1];
    uint64_t since_us = kvp_clock_now_us();
    if (fdatasync(file->fd) != 0) {
        return journal_fail_errno(journal, file);
    }
    journal->syncs.count++;
    journal->syncs.time_us += kvp_clock_now_us() - since_us;
    journal->unsynced = false;
    return KVP_OK;
}

struct kvp_syncs kvp_journal_syncs(const struct kvp_journal *journal)
{
    return journal->syncs;
}

static bool fill_with_zeros(int fd, uint64_t from, uint64_t size)
{
    for (uint64_t offset = from; offset < size; offset += CHUNK_SIZE) {
        size_t part = size - offset < CHUNK_SIZE ? (size_t)(size - offset) : CHUNK_SIZE;
        if (!kvp_write_all(fd, zeros, part, offset)) {
            return false;
        }
    }
    return true;
}

/* Makes a file of zeros, durably, and puts it at the end of the list. */
static kvp_status make_file(struct kvp_journal *journal, uint64_t size)
{
    struct journal_file file = {.id = journal->next_id, .size = size, .reusable = true};
    char name[NAME_SIZE];
    if (!journal_reserve_file(journal)) {
        return journal_fail(journal, KVP_NO_MEMORY, NULL, kvp_strerror(KVP_NO_MEMORY));
    }
    if (file.id > FILE_ID_LIMIT) {
        return journal_fail(journal, KVP_IO, &file, "no more files can be numbered");
    }
    (void)snprintf(name, sizeof(name), NAME_PREFIX "%" PRIu64, file.id);
    file.fd = openat(journal->directory, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (file.fd < 0) {
        return journal_fail_errno(journal, &file);
    }
    journal->next_id++;
    /* A larger one is for a frame that fills it but for the last block: at once, so it would only
     * be written twice. */
    uint64_t from = size > journal->file_size ? size - BLOCK_SIZE : 0;
    if (!fill_with_zeros(file.fd, from, size) || fsync(file.fd) != 0 ||
        fsync(journal->directory) != 0) {
        kvp_status status = journal_fail_errno(journal, &file);
        /* Others may need the room; if it stays, the next beginning removes it. */
        (void)unlinkat(journal->directory, name, 0);
        close(file.fd);
        return status;
    }
    journal->files[journal->count++] = file;
    return KVP_OK;
}

/* Guessing it must not be possible for those whose bytes are in the frames. */
static kvp_status draw_key(struct kvp_journal *journal, struct journal_file *file)
{
    uint64_t key;
    ssize_t got;
    do {
        got = getrandom(&key, sizeof(key), 0);
    } while (got < 0 && errno == EINTR);
    if (got != (ssize_t)sizeof(key)) {
        return journal_fail(journal, KVP_IO, file, "no random number for the key");
    }
    file->key = key;
    file->has_key = true;
    return KVP_OK;
}

/* Goes on in another file, the smallest free one that is large enough or a new one. Its header is
 * written with its first frame. */
static kvp_status next_file(struct kvp_journal *journal, uint64_t total)
{
    uint64_t needed = FILE_HEADER_SIZE + total;
    size_t best = journal->count;
    kvp_status status = sync_current(journal);
    for (size_t i = journal->chain; i < journal->count; i++) {
        uint64_t size = journal->files[i].size;
        if (size >= needed && (best == journal->count || size < journal->files[best].size)) {
            best = i;
        }
    }
    if (status == KVP_OK && best == journal->count) {
        uint64_t size = (needed + BLOCK_SIZE - 1) / BLOCK_SIZE * BLOCK_SIZE;
        status = make_file(journal, size < journal->file_size ? journal->file_size : size);
    }
    status = status == KVP_OK ? draw_key(journal, &journal->files[best]) : status;
    if (status == KVP_OK) {
        journal_join_chain(journal, best)->first = journal->next;
        journal->end = FILE_HEADER_SIZE;
    }
    return status;
}

/* The parts as a frame in journal->frame, but for the checksum: that needs the key of the file. */
static kvp_status build_frame(struct kvp_journal *journal, const kvp_slice *parts, size_t count)
{
    kvp_buf *frame = &journal->frame;
    uint64_t size = 0;
    for (size_t i = 0; i < count; i++) {
        if (parts[i].size > FILE_SIZE_LIMIT - FILE_HEADER_SIZE - FRAME_HEADER_SIZE - size) {
            return KVP_TOO_LARGE;
        }
        size += parts[i].size;
    }
    uint64_t total = journal_total_of(size);
    frame->size = 0;
    if (kvp_buf_reserve(frame, (size_t)(FILE_HEADER_SIZE + total)) != KVP_OK) {
        return journal_fail(journal, KVP_NO_MEMORY, NULL, kvp_strerror(KVP_NO_MEMORY));
    }
    frame->size = (size_t)(FILE_HEADER_SIZE + total);
    uint8_t *header = frame->data + FILE_HEADER_SIZE;
    uint8_t *at = header + FRAME_HEADER_SIZE;
    for (size_t i = 0; i < count; i++) {
        if (parts[i].size > 0) {
            memcpy(at, parts[i].data, parts[i].size);
            at += parts[i].size;
        }
    }
    memset(at, 0, (size_t)(frame->data + frame->size - at));
    kvp_put_u64(header + 8, journal->next);
    kvp_put_u32(header + 16, (uint32_t)size);
    kvp_put_u32(header + 20, FRAME_MAGIC);
    return KVP_OK;
}

static kvp_status write_frame(struct kvp_journal *journal, struct kvp_frame *frame)
{
    uint64_t total = journal->frame.size - FILE_HEADER_SIZE;
    if (journal->chain == 0 || total > journal->files[journal->chain - 1].size - journal->end) {
        kvp_status status = next_file(journal, total);
        if (status != KVP_OK) {
            return status;
        }
    }
    const struct journal_file *file = &journal->files[journal->chain - 1];
    uint8_t *data = journal->frame.data + FILE_HEADER_SIZE;
    size_t before = 0;
    if (journal->end == FILE_HEADER_SIZE) {
        /* The file's header goes in front of its first frame, in the same call. */
        before = FILE_HEADER_SIZE;
        journal_write_file_header(journal->frame.data, file->key);
    }
    kvp_put_u64(data, journal_frame_checksum(data, total, file->key));
    assert(journal->end + total <= file->size);
    if (!kvp_write_all(file->fd, data - before, before + (size_t)total, journal->end - before)) {
        return journal_fail_errno(journal, file);
    }
    frame->number = journal->next++;
    frame->place = journal_place_of(file, journal->end);
    journal->end += total;
    journal->unsynced = true;
    return KVP_OK;
}

kvp_status kvp_journal_append(struct kvp_journal *journal, const kvp_slice *parts, size_t count,
                              bool sync, struct kvp_frame *frame)
{
    if (journal->failed) {
        return KVP_FAILED;
    }
    if (!journal->begun) {
        return KVP_BAD_ARGUMENT;
    }
    kvp_status status = build_frame(journal, parts, count);
    status = status == KVP_OK ? write_frame(journal, frame) : status;
    if (journal->frame.capacity > BUFFER_KEPT_MAX) {
        kvp_buf_free(&journal->frame);
    }
    return status == KVP_OK && sync ? sync_current(journal) : status;
}

kvp_status kvp_journal_sync(struct kvp_journal *journal)
{
    return journal->failed ? KVP_FAILED : sync_current(journal);
}

/* ---- reading and dropping ---- */

kvp_status kvp_journal_read(struct kvp_journal *journal, struct kvp_frame frame, kvp_buf *bytes)
{
    const struct journal_file *file = NULL;
    uint64_t offset = frame.place & UINT32_MAX;
    uint8_t header[FRAME_HEADER_SIZE];
    struct frame_view found;
    if (journal->failed) {
        return KVP_FAILED;
    }
    for (size_t i = 0; i < journal->count && file == NULL; i++) {
        file = journal->files[i].id == frame.place >> 32 ? &journal->files[i] : NULL;
    }
    if (file == NULL || offset > file->size) {
        return journal_fail(journal, KVP_CORRUPT, file, "a frame is not where it should be");
    }
    if (!journal_read_padded(file->fd, header, sizeof(header), offset)) {
        return journal_fail_reading(journal, file);
    }
    if (!journal_frame_plausible(header, file->size - offset, &found) ||
        found.number != frame.number) {
        return journal_fail(journal, KVP_CORRUPT, file, "a frame is damaged");
    }
    if (kvp_buf_reserve(bytes, (size_t)found.total) != KVP_OK) {
        return journal_short_of_memory(journal);
    }
    uint8_t *data = bytes->data + bytes->size;
    if (!journal_read_padded(file->fd, data, (size_t)found.total, offset)) {
        return journal_fail_reading(journal, file);
    }
    if (memcmp(data, header, sizeof(header)) != 0 ||
        !journal_frame_whole(data, &found, file->key)) {
        return journal_fail(journal, KVP_CORRUPT, file, "a frame is damaged");
    }
    memmove(data, data + FRAME_HEADER_SIZE, (size_t)found.size);
    bytes->size += (size_t)found.size;
    return KVP_OK;
}

/* The files of the chain that have nothing from `keep` on. */
static size_t files_before(const struct kvp_journal *journal, uint64_t keep)
{
    size_t count = 0;
    while (count + 1 < journal->chain && journal->files[count + 1].first <= keep) {
        count++;
    }
    return count;
}

uint64_t kvp_journal_oldest(const struct kvp_journal *journal, uint64_t keep)
{
    return journal->chain == 0 ? journal->next : journal->files[files_before(journal, keep)].first;
}

kvp_status kvp_journal_drop(struct kvp_journal *journal, uint64_t keep)
{
    if (journal->failed) {
        return KVP_FAILED;
    }
    if (!journal->begun) {
        return KVP_BAD_ARGUMENT;
    }
    for (size_t left = files_before(journal, keep); left > 0; left--) {
        struct journal_file file = journal->files[0];
        file.reusable = true;
        memmove(journal->files, journal->files + 1, (journal->count - 1) * sizeof(file));
        journal->files[journal->count - 1] = file;
        journal->chain--;
    }
    return journal_remove_useless(journal);
}
