/* SPDX-License-Identifier: Apache-2.0 */
/* The bytes of the journal: a file's header, and frames. */
#include "kvstore/journal_private.h"
#include "kvstore/keyspace.h"

#include <xxhash.h>

uint64_t journal_total_of(uint64_t size)
{
    return (FRAME_HEADER_SIZE + size + 7) / 8 * 8;
}

void journal_write_file_header(uint8_t *header, uint64_t key)
{
    kvp_put_u64(header, key);
    kvp_put_u64(header + 8, XXH3_64bits(header, 8));
}

bool journal_read_file_header(const uint8_t *header, uint64_t *key)
{
    *key = kvp_get_u64(header);
    return kvp_get_u64(header + 8) == XXH3_64bits(header, 8);
}

bool journal_frame_plausible(const uint8_t *header, uint64_t room, struct frame_view *frame)
{
    if (room < FRAME_HEADER_SIZE || kvp_get_u32(header + 20) != FRAME_MAGIC) {
        return false;
    }
    frame->number = kvp_get_u64(header + 8);
    frame->size = kvp_get_u32(header + 16);
    frame->total = journal_total_of(frame->size);
    return frame->total <= room && frame->number != 0 && frame->number != UINT64_MAX;
}

uint64_t journal_frame_checksum(const uint8_t *data, uint64_t total, uint64_t key)
{
    return XXH3_64bits_withSeed(data + HASH_SIZE, (size_t)(total - HASH_SIZE), key);
}

bool journal_frame_whole(const uint8_t *data, const struct frame_view *frame, uint64_t key)
{
    return kvp_get_u64(data) == journal_frame_checksum(data, frame->total, key);
}

bool journal_frame_at(const struct journal_file *file, const kvp_buf *content, uint64_t offset,
                      struct frame_view *frame)
{
    return offset + FRAME_HEADER_SIZE <= content->size &&
           journal_frame_plausible(content->data + offset, content->size - offset, frame) &&
           journal_frame_whole(content->data + offset, frame, file->key);
}

uint64_t journal_place_of(const struct journal_file *file, uint64_t offset)
{
    return file->id << 32 | offset;
}
