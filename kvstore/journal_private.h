/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the journal share: its files in memory, and frames. */
#ifndef KVP_JOURNAL_PRIVATE_H
#define KVP_JOURNAL_PRIVATE_H

#include "kvstore/journal.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NAME_PREFIX     "journal-"
#define FRAME_MAGIC     0x314a764bu                                      /* "KvJ1" */
#define FILE_SIZE_LIMIT ((uint64_t)UINT32_MAX / BLOCK_SIZE * BLOCK_SIZE) /* of a place's half */
#define FILE_ID_LIMIT   ((uint64_t)UINT32_MAX)                           /* of the other half */

enum {
    ERROR_SIZE = 512,
    NAME_SIZE = 32,
    FILE_HEADER_SIZE = 16,
    FRAME_HEADER_SIZE = 24,
    HASH_SIZE = 8, /* a frame's checksum is first and covers the rest */
    BLOCK_SIZE = 4096,
    CHUNK_SIZE = 16 * 1024, /* of zeros */
    FREE_MAX = 2,
    BUFFER_KEPT_MAX = 1024 * 1024,
};

struct journal_file {
    int fd;
    uint64_t id; /* in its name */
    uint64_t size;
    uint64_t key;   /* of its frames' checksums */
    bool has_key;   /* without one it has no frames */
    uint64_t first; /* number of its first frame, 0: none */
    bool reusable;  /* all numbers in it are smaller than those to come */
};

struct kvp_journal {
    char *path;
    int directory;
    uint64_t file_size;
    struct journal_file *files; /* the chain, then the free ones */
    size_t count;
    size_t capacity;
    size_t chain;     /* so many files; the last one is the current one */
    uint64_t end;     /* in the current file */
    uint64_t next;    /* number of the next frame */
    uint64_t next_id; /* of a new file */
    bool unsynced;    /* the current file */
    struct kvp_syncs syncs;
    bool replayed;
    bool begun;
    bool failed;
    kvp_buf frame; /* being put together, behind room for a file's header; only its memory
                      outlives an append */
    char error[ERROR_SIZE];
};

/* A frame as it lies in a file. */
struct frame_view {
    uint64_t number;
    uint64_t size; /* of its bytes */
    uint64_t total;
};

/* ---- journal_frame.c ---- */

uint64_t journal_total_of(uint64_t size);
void journal_write_file_header(uint8_t *header, uint64_t key);

/* Zeros are no header: the checksum of a key of zeros is not zero. */
bool journal_read_file_header(const uint8_t *header, uint64_t *key);

/* A header that can be a frame's, with `room` bytes from its beginning to the end of its file. */
bool journal_frame_plausible(const uint8_t *header, uint64_t room, struct frame_view *frame);
uint64_t journal_frame_checksum(const uint8_t *data, uint64_t total, uint64_t key);
bool journal_frame_whole(const uint8_t *data, const struct frame_view *frame, uint64_t key);

/* In a file that has a key. */
bool journal_frame_at(const struct journal_file *file, const kvp_buf *content, uint64_t offset,
                      struct frame_view *frame);
uint64_t journal_place_of(const struct journal_file *file, uint64_t offset);

/* ---- journal_files.c ---- */

/* Keeps the reason; from now on the journal refuses everything. `file` may be NULL. */
kvp_status journal_fail(struct kvp_journal *journal, kvp_status status,
                        const struct journal_file *file, const char *reason);
kvp_status journal_fail_errno(struct kvp_journal *journal, const struct journal_file *file);

/* Reading can be repeated when there is memory again. */
kvp_status journal_short_of_memory(struct kvp_journal *journal);
kvp_status journal_fail_reading(struct kvp_journal *journal, const struct journal_file *file);

/* What the file does not have is read as zeros, which are never a frame. */
bool journal_read_padded(int fd, uint8_t *data, size_t size, uint64_t offset);
void journal_forget_files(struct kvp_journal *journal);

/* Room for one file more. */
bool journal_reserve_file(struct kvp_journal *journal);

/* Makes a file behind the chain the last one of it, and so the current one. */
struct journal_file *journal_join_chain(struct kvp_journal *journal, size_t index);

/* Leaves few free files, the largest ones, and none that cannot be used. That they are gone need
 * not be durable while all in them is old. */
kvp_status journal_remove_useless(struct kvp_journal *journal);
kvp_status journal_find_files(struct kvp_journal *journal);

/* Reads the first `size` bytes of a file. */
kvp_status journal_load(struct kvp_journal *journal, const struct journal_file *file, uint64_t size,
                        kvp_buf *content);

/* Learns the file's key and the number of its first frame. */
kvp_status journal_read_beginning(struct kvp_journal *journal, struct journal_file *file,
                                  kvp_buf *content);

#endif
