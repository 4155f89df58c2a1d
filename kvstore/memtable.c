/* SPDX-License-Identifier: Apache-2.0 */
/* LevelDB's arena, without the bytes. */
#include "kvstore/memtable.h"

#include <string.h>

enum {
    BLOCK_SIZE = 4096,
    BLOCK_COST = 8, /* the pointer to it */
    LARGE_MIN = BLOCK_SIZE / 4 + 1,
    NODE_SIZE = 16,  /* of height 1 */
    HEAD_SIZE = 104, /* the list's first node has all 12 heights */
    TAG_SIZE = 8,    /* number and kind, behind the key */
};

static void allocate(struct memtable_usage *usage, size_t size, size_t align)
{
    size_t slop = usage->left % align;
    if (size + slop <= usage->left) {
        usage->left -= size + slop;
    } else if (size >= LARGE_MIN) {
        usage->bytes += size + BLOCK_COST;
    } else {
        usage->bytes += BLOCK_SIZE + BLOCK_COST;
        usage->left = BLOCK_SIZE - size;
    }
}

static size_t varint_size(size_t number)
{
    size_t size = 1;
    for (; number >= 128; number >>= 7) {
        size++;
    }
    return size;
}

void memtable_usage_reset(struct memtable_usage *usage)
{
    memset(usage, 0, sizeof(*usage));
    allocate(usage, HEAD_SIZE, 8);
}

void memtable_usage_add(struct memtable_usage *usage, const struct kvp_batch_op *op)
{
    size_t key = op->key.size + TAG_SIZE;
    size_t value = op->is_delete ? 0 : op->value.size;
    bool taller = ++usage->count % 3 == 0; /* one pointer more for each third, on average */

    allocate(usage, varint_size(key) + key + varint_size(value) + value, 1);
    allocate(usage, NODE_SIZE + (taller ? 8 : 0), 8);
}
