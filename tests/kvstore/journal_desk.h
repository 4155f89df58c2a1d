/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A journal in its files, and what must be in it. All its writes and syncs go through these
 * functions, which make them fail, count them, and keep what of them is durable: so a power cut can
 * be made at any time.
 */
#ifndef KVP_TEST_JOURNAL_DESK_H
#define KVP_TEST_JOURNAL_DESK_H

#include "tests/kvstore/kv_support.h"

#include "kvstore/journal.h"

enum {
    SIZE = 4096,       /* of files */
    FILE_HEADER = 16,  /* {key, its checksum} */
    FRAME_HEADER = 24, /* {checksum, number, size, magic} */
    NUMBERS = 30000,
    FILES = 64,
    SECTOR = 512,
    ALL = 1000000,
};

extern uint64_t disk_random;

uint64_t disk_draw(uint64_t below);

/* What a power cut leaves of a file at least. */
struct disk_file {
    char name[64];
    bool has_entry; /* the directory with its name is synced */
    kvp_buf content;
};

struct journal_disk {
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
};

extern struct journal_disk disk;

void disk_path_of(const char *name, char path[256]);
void disk_read_file(const char *name, kvp_buf *content);
void disk_write_file(const char *name, kvp_slice content);
struct disk_file *disk_file(const char *name);
void disk_forget_file(struct disk_file *file);

/* Names of all files of the directory that begin so, sorted by their numbers. */
struct names {
    char name[FILES][64];
    size_t count;
};

struct names disk_list_files(const char *prefix);
bool names_have(const struct names *names, const char *name);
void disk_remove_file(const char *name);

/* The process has ended, and then the power. What is left is durable. */
void disk_cut_power(void);

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

extern struct desk desk;

void desk_fill(uint8_t *bytes, uint64_t number, uint32_t size, uint32_t salt);
kvp_status desk_check_frame(void *arg, struct kvp_frame frame, kvp_slice bytes);
kvp_status desk_try_replay(uint64_t first);
void desk_stop(void);
void desk_open(void);

/* Opens the journal again and reads it; the number behind its end. */
uint64_t desk_replay(uint64_t first);
void desk_start(uint64_t first);
kvp_status desk_try_append(uint32_t size, bool sync);
void desk_append(uint32_t size, bool sync);
void desk_append_many(unsigned count, uint32_t size);
kvp_status desk_try_read(uint64_t number, kvp_buf *bytes);
void desk_check_read(uint64_t from, uint64_t to);
void desk_check_failed(void);
void desk_check_missing(uint64_t first, uint64_t number);
int desk_setup(void **state);
int desk_teardown(void **state);

#endif
