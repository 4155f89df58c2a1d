/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes as the file of a backup. Their own checksums would stop nearly all of them at the first
 * part: so the first byte says whether they are made right, as whoever can write a file could do.
 * What is read says the same in whatever pieces it comes.
 */
#include "tests/fuzz/fuzz.h"
#include "kvstore/backup_format.h"
#include "kvstore/keyspace.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void must(bool condition, const char *what)
{
    if (!condition) {
        fprintf(stderr, "%s\n", what);
        abort();
    }
}

/* The size of the part that begins there, as it says itself; 0: none does. */
static size_t part_size(const uint8_t *at, size_t left, bool first)
{
    if (first) {
        return left < BACKUP_HEADER_HEAD
                   ? 0
                   : BACKUP_HEADER_HEAD + (size_t)kvp_get_u32(at + BACKUP_MAGIC_SIZE + 4);
    }
    if (left >= BACKUP_CHUNK_HEAD && memcmp(at, BACKUP_CHUNK, BACKUP_TAG_SIZE) == 0) {
        return BACKUP_CHUNK_HEAD + (size_t)kvp_get_u32(at + BACKUP_TAG_SIZE);
    }
    return BACKUP_TRAILER_SIZE;
}

static void correct_sums(uint8_t *bytes, size_t size)
{
    uint64_t chain = 0;
    for (size_t at = 0; at < size;) {
        size_t part = part_size(bytes + at, size - at, at == 0);
        if (part == 0 || part > size - at || size - at - part < BACKUP_SUM_SIZE) {
            return;
        }
        chain = backup_sum(chain, bytes + at, part);
        kvp_put_u64(bytes + at + part, chain);
        at += part + BACKUP_SUM_SIZE;
    }
}

static kvp_status take_nothing(void *arg, kvp_slice pairs)
{
    *(uint64_t *)arg += pairs.size;
    return KVP_OK;
}

static kvp_status read_all(const uint8_t *bytes, size_t size, size_t piece, uint64_t *offset)
{
    uint64_t taken = 0;
    struct kvp_backup_reader *reader = kvp_backup_reader_new(take_nothing, &taken);
    must(reader != NULL, "memory");
    kvp_status status = KVP_OK;
    for (size_t at = 0; status == KVP_OK && at < size; at += piece) {
        size_t rest = size - at < piece ? size - at : piece;
        status = kvp_backup_reader_feed(reader, kvp_slice_of(bytes + at, rest));
    }
    status = status == KVP_OK ? kvp_backup_reader_end(reader) : status;
    must((status == KVP_OK) == (kvp_backup_reader_error(reader)[0] == '\0'), "a silent refusal");
    must(status != KVP_OK || kvp_backup_reader_header(reader) != NULL, "no header");
    must(kvp_backup_reader_offset(reader) <= size, "an offset behind the end");
    must(taken <= size, "more than there is");
    *offset = kvp_backup_reader_offset(reader);
    kvp_backup_reader_free(reader);
    return status;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint64_t whole, pieces;
    if (size == 0) {
        return 0;
    }
    uint8_t *bytes = malloc(size);
    must(bytes != NULL, "memory");
    memcpy(bytes, data + 1, size - 1);
    if (data[0] % 2 == 1) {
        correct_sums(bytes, size - 1);
    }
    kvp_status status = read_all(bytes, size - 1, size, &whole);
    must(read_all(bytes, size - 1, 1 + data[0] / 2, &pieces) == status && whole == pieces,
         "read otherwise in pieces");
    free(bytes);
    return 0;
}
