/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes as the files of a journal. Bytes with wrong checksums get no further than those, so
 * what the first byte asks for are frames whose checksums are right and whose numbers and sizes are
 * not.
 *
 * Input: a byte with options; then frames of {u8 file, u8 number, u16 size declared, u16 size,
 * bytes}.
 */
#include "tests/fuzz/fuzz.h"
#include "kvstore/journal.h"
#include "kvstore/keyspace.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

#define FILES      3u
#define SIZE_MAX_  32768u
#define HEADER     16u
#define FRAME_HEAD 24u
#define MAGIC      0x314a764bu

static char directory[64];
static uint8_t content[FILES][SIZE_MAX_];
static size_t used[FILES];

static void must(bool condition, const char *what)
{
    if (!condition) {
        fprintf(stderr, "%s\n", what);
        abort();
    }
}

static void remove_files(void)
{
    char path[96];
    for (unsigned i = 1; i <= FILES + 8; i++) {
        (void)snprintf(path, sizeof(path), "%s/journal-%u", directory, i);
        (void)unlink(path);
    }
}

static void remove_all(void)
{
    remove_files();
    (void)rmdir(directory);
}

static void make_directory(void)
{
    if (directory[0] == '\0') {
        (void)snprintf(directory, sizeof(directory), "%s/kvpair-fuzz-XXXXXX",
                       access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
        must(mkdtemp(directory) != NULL, "no directory");
        must(atexit(remove_all) == 0, "atexit");
    }
}

static void write_files(void)
{
    char path[96];
    for (unsigned i = 0; i < FILES; i++) {
        (void)snprintf(path, sizeof(path), "%s/journal-%u", directory, i + 1);
        int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
        must(fd >= 0 && write(fd, content[i], used[i]) == (ssize_t)used[i], "cannot write");
        (void)close(fd);
    }
}

static void begin_file(unsigned file, uint64_t key)
{
    memset(content[file], 0, sizeof(content[file]));
    kvp_put_u64(content[file], key);
    kvp_put_u64(content[file] + 8, XXH3_64bits(content[file], 8));
    used[file] = HEADER;
}

/* A frame that says `declared` of itself, and has a checksum over so much. */
static void add_frame(unsigned file, uint64_t number, uint32_t declared, const uint8_t *bytes,
                      size_t size)
{
    uint8_t *at = content[file] + used[file];
    size_t total = (FRAME_HEAD + size + 7) / 8 * 8;
    size_t said = (FRAME_HEAD + (size_t)declared + 7) / 8 * 8;
    size_t room = SIZE_MAX_ - used[file];
    if (total > room) {
        return;
    }
    kvp_put_u64(at + 8, number);
    kvp_put_u32(at + 16, declared);
    kvp_put_u32(at + 20, MAGIC);
    memcpy(at + FRAME_HEAD, bytes, size);
    kvp_put_u64(at, XXH3_64bits_withSeed(at + 8, (said < room ? said : room) - 8,
                                         kvp_get_u64(content[file])));
    used[file] += total;
}

static void build_files(const uint8_t *data, size_t size)
{
    for (unsigned i = 0; i < FILES; i++) {
        begin_file(i, 7 + i);
    }
    while (size >= 6) {
        size_t body = (size_t)(data[4] | data[5] << 8) % 512;
        body = body < size - 6 ? body : size - 6;
        uint32_t declared = data[2] == 0xff ? (uint32_t)(data[3] << 8) : (uint32_t)body;
        add_frame(data[0] % FILES, data[1], declared, data + 6, body);
        data += 6 + body;
        size -= 6 + body;
    }
}

static void copy_files(const uint8_t *data, size_t size)
{
    for (unsigned i = 0; i < FILES; i++) {
        used[i] = size / FILES < SIZE_MAX_ ? size / FILES : SIZE_MAX_;
        if (used[i] > 0) {
            memcpy(content[i], data + i * (size / FILES), used[i]);
        }
    }
}

struct seen {
    uint64_t next;
    size_t bytes;
};

static kvp_status take_frame(void *arg, struct kvp_frame frame, kvp_slice bytes)
{
    struct seen *seen = arg;
    must(seen->next == 0 || frame.number == seen->next, "frames out of order");
    must(bytes.size <= SIZE_MAX_, "a frame larger than its file");
    for (size_t i = 0; i < bytes.size; i++) {
        seen->bytes += ((const uint8_t *)bytes.data)[i] != 0; /* all of it can be read */
    }
    seen->next = frame.number + 1;
    return KVP_OK;
}

static void use_journal(uint64_t first)
{
    struct kvp_journal *journal = NULL;
    struct seen seen = {0};
    bool more = false;
    if (kvp_journal_open(directory, 4096, &journal) != KVP_OK) {
        return;
    }
    if (kvp_journal_replay(journal, first, take_frame, &seen, &more) == KVP_OK &&
        kvp_journal_begin(journal) == KVP_OK) {
        const kvp_slice part = kvp_slice_of("appended", 8);
        struct kvp_frame frame;
        kvp_buf again = {0};
        if (kvp_journal_append(journal, &part, 1, true, &frame) == KVP_OK) {
            must(seen.next == 0 || frame.number == seen.next, "appended elsewhere");
            must(kvp_journal_read(journal, frame, &again) == KVP_OK &&
                     kvp_slice_compare(kvp_buf_slice(&again), part) == 0,
                 "what was appended is not there");
        }
        kvp_buf_free(&again);
    }
    kvp_journal_close(journal);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    make_directory();
    if (size == 0) {
        return 0;
    }
    remove_files();
    if ((data[0] & 1) != 0) {
        build_files(data + 1, size - 1);
    } else {
        copy_files(data + 1, size - 1);
    }
    write_files();
    use_journal(data[0] >> 1 & 7);
    return 0;
}
