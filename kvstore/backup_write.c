/* SPDX-License-Identifier: Apache-2.0 */
/* Making the parts of a backup's file. */
#include "kvstore/backup_format.h"

#include "kvstore/base/mutant.h"
#include "kvstore/keyspace.h"

#include <string.h>
#include <xxhash.h>

/* Of the keys behind KVP_PREFIX_JOB those of whole jobs: replication/jobs/job_records.h. */
#define JOB_OF_KEY 'j'

uint64_t backup_sum(uint64_t before, const uint8_t *part, size_t size)
{
    return XXH3_64bits_withSeed(part, size, KVP_MUTANT(BACKUP_UNCHAINED) ? 0 : before);
}

bool backup_take_pair(kvp_slice *pairs, kvp_slice *pair, kvp_slice *key)
{
    const uint8_t *bytes = pairs->data;
    if (pairs->size < BACKUP_PAIR_HEADER) {
        return false;
    }
    size_t rest = pairs->size - BACKUP_PAIR_HEADER;
    size_t key_size = kvp_get_u32(bytes), value_size = kvp_get_u32(bytes + 4);
    if (key_size > rest || value_size > rest - key_size) {
        return false;
    }
    *pair = kvp_slice_of(bytes, BACKUP_PAIR_HEADER + key_size + value_size);
    *key = kvp_slice_of(bytes + BACKUP_PAIR_HEADER, key_size);
    *pairs = kvp_slice_of(bytes + pair->size, pairs->size - pair->size);
    return true;
}

static void backup_count_pair(kvp_slice pair, kvp_slice key, struct kvp_backup_totals *totals)
{
    const uint8_t *bytes = key.data;
    totals->pairs++;
    totals->keys += bytes[0] == KVP_PREFIX_DATA ? 1 : 0;
    totals->jobs += key.size > 1 && bytes[0] == KVP_PREFIX_JOB && bytes[1] == JOB_OF_KEY ? 1 : 0;
    totals->size += pair.size - BACKUP_PAIR_HEADER;
    totals->digest += XXH3_64bits(pair.data, pair.size);
}

kvp_status backup_count(kvp_slice pairs, kvp_slice *last, struct kvp_backup_totals *totals,
                        uint32_t *count)
{
    kvp_slice pair, key;
    for (*count = 0; pairs.size > 0; ++*count) {
        if (!backup_take_pair(&pairs, &pair, &key) || key.size > KVP_RAW_KEY_SIZE_MAX ||
            !kvp_raw_key_is_state(key) || kvp_slice_compare(key, *last) <= 0) {
            return KVP_CORRUPT;
        }
        *last = key;
        backup_count_pair(pair, key, totals);
    }
    return KVP_OK;
}

/* Room for a part of that size and its checksum, appended; NULL: no memory. */
static uint8_t *backup_begin_part(kvp_buf *out, size_t size)
{
    if (kvp_buf_reserve(out, size + BACKUP_SUM_SIZE) != KVP_OK) {
        return NULL;
    }
    uint8_t *part = out->data + out->size;
    out->size += size + BACKUP_SUM_SIZE;
    return part;
}

static void backup_end_part(struct kvp_backup_writer *writer, uint8_t *part, size_t size)
{
    writer->chain = backup_sum(writer->chain, part, size);
    kvp_put_u64(part + size, writer->chain);
}

kvp_status kvp_backup_write_header(struct kvp_backup_writer *writer,
                                   const struct kvp_backup_header *header, kvp_buf *out)
{
    size_t name = strlen(header->group), size = BACKUP_HEADER_HEAD + BACKUP_HEADER_FIXED + name;
    uint8_t *part = backup_begin_part(out, size), *body = part + BACKUP_HEADER_HEAD;
    if (part == NULL) {
        return KVP_NO_MEMORY;
    }
    memcpy(part, BACKUP_MAGIC, BACKUP_MAGIC_SIZE);
    kvp_put_u32(part + BACKUP_MAGIC_SIZE, KVP_BACKUP_FORMAT);
    kvp_put_u32(part + BACKUP_MAGIC_SIZE + 4, (uint32_t)(BACKUP_HEADER_FIXED + name));
    kvp_put_u32(body, header->store_format);
    body[4] = header->node;
    kvp_put_u64(body + 5, header->group_id);
    kvp_put_u64(body + 13, header->point.seq);
    kvp_put_u64(body + 21, header->point.epoch);
    kvp_put_u64(body + 29, header->point.hash);
    kvp_put_u64(body + 37, header->wall_ms);
    kvp_put_u16(body + 45, (uint16_t)name);
    memcpy(body + BACKUP_HEADER_FIXED, header->group, name);
    backup_end_part(writer, part, size);
    return KVP_OK;
}

kvp_status kvp_backup_write_chunk(struct kvp_backup_writer *writer, kvp_slice pairs, kvp_buf *out)
{
    struct kvp_backup_totals totals = writer->totals;
    kvp_slice last = {0};
    uint32_t count = 0;
    if (pairs.size == 0 || pairs.size > KVP_BACKUP_CHUNK_SIZE_MAX) {
        return KVP_TOO_LARGE;
    }
    kvp_status status = backup_count(pairs, &last, &totals, &count);
    uint8_t *part =
        status == KVP_OK ? backup_begin_part(out, BACKUP_CHUNK_HEAD + pairs.size) : NULL;
    if (part == NULL) {
        return status == KVP_OK ? KVP_NO_MEMORY : status;
    }
    memcpy(part, BACKUP_CHUNK, BACKUP_TAG_SIZE);
    kvp_put_u32(part + BACKUP_TAG_SIZE, (uint32_t)pairs.size);
    kvp_put_u32(part + BACKUP_TAG_SIZE + 4, count);
    memcpy(part + BACKUP_CHUNK_HEAD, pairs.data, pairs.size);
    backup_end_part(writer, part, BACKUP_CHUNK_HEAD + pairs.size);
    totals.chunks++;
    writer->totals = totals;
    return KVP_OK;
}

kvp_status kvp_backup_write_trailer(struct kvp_backup_writer *writer, kvp_buf *out)
{
    const struct kvp_backup_totals *totals = &writer->totals;
    uint8_t *part = backup_begin_part(out, BACKUP_TRAILER_SIZE);
    if (part == NULL) {
        return KVP_NO_MEMORY;
    }
    memcpy(part, BACKUP_TRAILER, BACKUP_TAG_SIZE);
    kvp_put_u64(part + 4, totals->chunks);
    kvp_put_u64(part + 12, totals->pairs);
    kvp_put_u64(part + 20, totals->keys);
    kvp_put_u64(part + 28, totals->jobs);
    kvp_put_u64(part + 36, totals->size);
    kvp_put_u64(part + 44, totals->digest);
    backup_end_part(writer, part, BACKUP_TRAILER_SIZE);
    return KVP_OK;
}
