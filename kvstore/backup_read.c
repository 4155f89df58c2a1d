/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading a backup: each part is gathered up to its checksum, judged, and only then believed. What
 * a part says of its own size is bounded before anything is gathered for it, and memory is taken as
 * the bytes come.
 */
#include "kvstore/backup_format.h"

#include "kvstore/base/mutant.h"
#include "kvstore/keyspace.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum stage {
    STAGE_HEADER_HEAD,
    STAGE_HEADER,
    STAGE_TAG,
    STAGE_CHUNK_HEAD,
    STAGE_CHUNK,
    STAGE_TRAILER,
    STAGE_DONE,
};

struct kvp_backup_reader {
    kvp_backup_take take;
    void *arg;
    enum stage stage;
    kvp_buf part;    /* what is there of the part */
    size_t wanted;   /* so much of it is needed for the next step */
    uint64_t offset; /* of the part in the file */
    uint64_t chain;  /* checksum of the part before */
    kvp_buf last;    /* the last key */
    struct kvp_backup_header header;
    struct kvp_backup_totals totals;
    kvp_status status;
    char error[KVP_BACKUP_MESSAGE_SIZE];
};

struct kvp_backup_reader *kvp_backup_reader_new(kvp_backup_take take, void *arg)
{
    struct kvp_backup_reader *reader = calloc(1, sizeof(*reader));
    if (reader != NULL) {
        reader->take = take;
        reader->arg = arg;
        reader->wanted = BACKUP_HEADER_HEAD;
    }
    return reader;
}

void kvp_backup_reader_free(struct kvp_backup_reader *reader)
{
    if (reader != NULL) {
        kvp_buf_free(&reader->part);
        kvp_buf_free(&reader->last);
        free(reader);
    }
}

static kvp_status backup_fail(struct kvp_backup_reader *reader, kvp_status status, const char *what)
{
    reader->status = status;
    (void)snprintf(reader->error, sizeof(reader->error), "at offset %" PRIu64 ": %s",
                   reader->offset, what);
    return status;
}

/* The part is whole: is its checksum the right one? Then the next one begins. */
static kvp_status backup_close_part(struct kvp_backup_reader *reader, const char *damaged)
{
    size_t size = reader->part.size - BACKUP_SUM_SIZE;
    uint64_t sum = backup_sum(reader->chain, reader->part.data, size);
    if (kvp_get_u64(reader->part.data + size) != sum) {
        return backup_fail(reader, KVP_CORRUPT, damaged);
    }
    reader->chain = sum;
    return KVP_OK;
}

static void backup_next_part(struct kvp_backup_reader *reader)
{
    reader->offset += reader->part.size;
    reader->part.size = 0;
    reader->wanted = BACKUP_TAG_SIZE;
    reader->stage = STAGE_TAG;
}

/* ---- the header ---- */

static kvp_status backup_take_header_head(struct kvp_backup_reader *reader)
{
    const uint8_t *head = reader->part.data;
    uint32_t format = kvp_get_u32(head + BACKUP_MAGIC_SIZE);
    uint32_t size = kvp_get_u32(head + BACKUP_MAGIC_SIZE + 4);
    char text[96];
    if (memcmp(head, BACKUP_MAGIC, BACKUP_MAGIC_SIZE) != 0) {
        return backup_fail(reader, KVP_CORRUPT, "this is no backup of kvpair");
    }
    if (format != KVP_BACKUP_FORMAT) {
        (void)snprintf(text, sizeof(text), "a backup of format %" PRIu32 "; this release reads %u",
                       format, KVP_BACKUP_FORMAT);
        return backup_fail(reader, KVP_BAD_VERSION, text);
    }
    if (size < BACKUP_HEADER_FIXED || size > BACKUP_HEADER_FIXED + KVP_GROUP_NAME_MAX) {
        return backup_fail(reader, KVP_CORRUPT, "the header is damaged");
    }
    reader->wanted = BACKUP_HEADER_HEAD + size + BACKUP_SUM_SIZE;
    reader->stage = STAGE_HEADER;
    return KVP_OK;
}

static kvp_status backup_take_header(struct kvp_backup_reader *reader)
{
    const uint8_t *body = reader->part.data + BACKUP_HEADER_HEAD;
    size_t size = reader->part.size - BACKUP_HEADER_HEAD - BACKUP_SUM_SIZE;
    size_t name = kvp_get_u16(body + 45);
    struct kvp_backup_header *header = &reader->header;
    kvp_status status = backup_close_part(reader, "the header is damaged");
    if (status != KVP_OK) {
        return status;
    }
    *header = (struct kvp_backup_header){
        .store_format = kvp_get_u32(body),
        .node = body[4],
        .group_id = kvp_get_u64(body + 5),
        .point = {kvp_get_u64(body + 13), kvp_get_u64(body + 21), kvp_get_u64(body + 29)},
        .wall_ms = kvp_get_u64(body + 37),
    };
    if (name != size - BACKUP_HEADER_FIXED || memchr(body + BACKUP_HEADER_FIXED, 0, name) != NULL ||
        header->group_id == 0) {
        return backup_fail(reader, KVP_CORRUPT, "the header makes no sense");
    }
    memcpy(header->group, body + BACKUP_HEADER_FIXED, name);
    backup_next_part(reader);
    return KVP_OK;
}

/* ---- what follows ---- */

static kvp_status backup_take_tag(struct kvp_backup_reader *reader)
{
    if (memcmp(reader->part.data, BACKUP_CHUNK, BACKUP_TAG_SIZE) == 0) {
        reader->wanted = BACKUP_CHUNK_HEAD;
        reader->stage = STAGE_CHUNK_HEAD;
    } else if (memcmp(reader->part.data, BACKUP_TRAILER, BACKUP_TAG_SIZE) == 0) {
        reader->wanted = BACKUP_TRAILER_SIZE + BACKUP_SUM_SIZE;
        reader->stage = STAGE_TRAILER;
    } else {
        return backup_fail(reader, KVP_CORRUPT, "neither a chunk nor the end begins here");
    }
    return KVP_OK;
}

static kvp_status backup_take_chunk_head(struct kvp_backup_reader *reader)
{
    uint32_t size = kvp_get_u32(reader->part.data + BACKUP_TAG_SIZE);
    if (size == 0 || size > KVP_BACKUP_CHUNK_SIZE_MAX) {
        return backup_fail(reader, KVP_CORRUPT, "the chunk that begins here is damaged");
    }
    reader->wanted = BACKUP_CHUNK_HEAD + size + BACKUP_SUM_SIZE;
    reader->stage = STAGE_CHUNK;
    return KVP_OK;
}

static kvp_status backup_take_chunk(struct kvp_backup_reader *reader)
{
    const uint8_t *bytes = reader->part.data;
    kvp_slice pairs = kvp_slice_of(bytes + BACKUP_CHUNK_HEAD,
                                   reader->part.size - BACKUP_CHUNK_HEAD - BACKUP_SUM_SIZE);
    kvp_slice last = KVP_MUTANT(BACKUP_UNORDERED) ? (kvp_slice){0} : kvp_buf_slice(&reader->last);
    uint32_t count = 0;
    kvp_status status = backup_close_part(reader, "the chunk that begins here is damaged");
    if (status != KVP_OK) {
        return status;
    }
    status = backup_count(pairs, &last, &reader->totals, &count);
    if (status != KVP_OK || count != kvp_get_u32(bytes + BACKUP_TAG_SIZE + 4)) {
        return backup_fail(reader, KVP_CORRUPT, "the chunk that begins here makes no sense");
    }
    reader->totals.chunks++;
    status = kvp_buf_reserve(&reader->last, KVP_RAW_KEY_SIZE_MAX);
    if (status == KVP_OK) {
        reader->last.size = 0;
        (void)kvp_buf_append(&reader->last, last.data, last.size); /* room was made */
        status = reader->take == NULL ? KVP_OK : reader->take(reader->arg, pairs);
    }
    if (status != KVP_OK) {
        return backup_fail(reader, status, kvp_strerror(status));
    }
    backup_next_part(reader);
    return KVP_OK;
}

static kvp_status backup_take_trailer(struct kvp_backup_reader *reader)
{
    const uint8_t *body = reader->part.data;
    const struct kvp_backup_totals said = {
        .chunks = kvp_get_u64(body + 4),
        .pairs = kvp_get_u64(body + 12),
        .keys = kvp_get_u64(body + 20),
        .jobs = kvp_get_u64(body + 28),
        .size = kvp_get_u64(body + 36),
        .digest = kvp_get_u64(body + 44),
    };
    kvp_status status = backup_close_part(reader, "the end of the backup is damaged");
    if (status == KVP_OK && memcmp(&said, &reader->totals, sizeof(said)) != 0) {
        status = backup_fail(reader, KVP_CORRUPT, "the end of the backup counts something else");
    }
    if (status == KVP_OK) {
        backup_next_part(reader);
        reader->wanted = 0;
        reader->stage = STAGE_DONE;
    }
    return status;
}

static kvp_status backup_take_step(struct kvp_backup_reader *reader)
{
    switch (reader->stage) {
    case STAGE_HEADER_HEAD:
        return backup_take_header_head(reader);
    case STAGE_HEADER:
        return backup_take_header(reader);
    case STAGE_TAG:
        return backup_take_tag(reader);
    case STAGE_CHUNK_HEAD:
        return backup_take_chunk_head(reader);
    case STAGE_CHUNK:
        return backup_take_chunk(reader);
    case STAGE_TRAILER:
        return backup_take_trailer(reader);
    default:
        return backup_fail(reader, KVP_CORRUPT, "something follows the end of the backup");
    }
}

/* ---- from outside ---- */

kvp_status kvp_backup_reader_feed(struct kvp_backup_reader *reader, kvp_slice bytes)
{
    const uint8_t *next = bytes.data;
    size_t left = bytes.size;
    while (reader->status == KVP_OK && left > 0) {
        size_t missing = reader->wanted - reader->part.size;
        size_t size = missing < left ? missing : left;
        if (size > 0 && kvp_buf_append(&reader->part, next, size) != KVP_OK) {
            return backup_fail(reader, KVP_NO_MEMORY, kvp_strerror(KVP_NO_MEMORY));
        }
        next += size;
        left -= size;
        if (reader->part.size == reader->wanted) {
            (void)backup_take_step(reader); /* its failure is kept */
        }
    }
    return reader->status;
}

kvp_status kvp_backup_reader_end(struct kvp_backup_reader *reader)
{
    char text[96];
    if (reader->status == KVP_OK && reader->stage != STAGE_DONE) {
        (void)snprintf(text, sizeof(text),
                       "the backup is cut off: what begins here has %zu bytes and no end",
                       reader->part.size);
        return backup_fail(reader, KVP_CORRUPT, text);
    }
    return reader->status;
}

const char *kvp_backup_reader_error(const struct kvp_backup_reader *reader)
{
    return reader->error;
}

uint64_t kvp_backup_reader_offset(const struct kvp_backup_reader *reader)
{
    return reader->offset;
}

const struct kvp_backup_header *kvp_backup_reader_header(const struct kvp_backup_reader *reader)
{
    return reader->stage > STAGE_HEADER ? &reader->header : NULL;
}

const struct kvp_backup_totals *kvp_backup_reader_totals(const struct kvp_backup_reader *reader)
{
    return &reader->totals;
}

bool kvp_backup_reader_done(const struct kvp_backup_reader *reader)
{
    return reader->stage == STAGE_DONE;
}
