/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/jobs/work_count.h"

#include "replication/matrix/matrix_multiply.h"
#include "replication/matrix/matrix_verify.h"
#include "kvstore/storage.h"

struct work_count work_count;

static unsigned rounds; /* of the verification made last */
static uint64_t rows, block_rows,
    block_cols; /* of what is verified, and of what is computed anew */

kvp_status __real_kvp_storage_get(struct kvp_storage *storage, kvp_slice key, kvp_buf *value);
kvp_status __wrap_kvp_storage_get(struct kvp_storage *storage, kvp_slice key, kvp_buf *value);

kvp_status __wrap_kvp_storage_get(struct kvp_storage *storage, kvp_slice key, kvp_buf *value)
{
    size_t before = value->size;
    kvp_status status = __real_kvp_storage_get(storage, key, value);
    work_count.reads++;
    work_count.bytes += value->size - before;
    return status;
}

kvp_status __real_kvp_matrix_add(enum kvp_matrix_type type, uint64_t count, void *sum,
                                 const void *addend);
kvp_status __wrap_kvp_matrix_add(enum kvp_matrix_type type, uint64_t count, void *sum,
                                 const void *addend);

kvp_status __wrap_kvp_matrix_add(enum kvp_matrix_type type, uint64_t count, void *sum,
                                 const void *addend)
{
    work_count.products += count;
    return __real_kvp_matrix_add(type, count, sum, addend);
}

/* ---- the whole product ---- */

kvp_status __real_kvp_verify_new(const struct kvp_verify_config *config,
                                 struct kvp_verify **verify);
kvp_status __wrap_kvp_verify_new(const struct kvp_verify_config *config,
                                 struct kvp_verify **verify);

kvp_status __wrap_kvp_verify_new(const struct kvp_verify_config *config, struct kvp_verify **verify)
{
    rounds = config->rounds;
    rows = config->rows;
    work_count.products += config->columns * rounds;
    return __real_kvp_verify_new(config, verify);
}

#define WRAP_FEED(letter)                                                                          \
    kvp_status __real_kvp_verify_feed_##letter(struct kvp_verify *verify,                          \
                                               const struct kvp_block *block, kvp_slice elements); \
    kvp_status __wrap_kvp_verify_feed_##letter(struct kvp_verify *verify,                          \
                                               const struct kvp_block *block, kvp_slice elements); \
    kvp_status __wrap_kvp_verify_feed_##letter(struct kvp_verify *verify,                          \
                                               const struct kvp_block *block, kvp_slice elements)  \
    {                                                                                              \
        work_count.products += block->rows * block->columns * rounds;                              \
        return __real_kvp_verify_feed_##letter(verify, block, elements);                           \
    }

WRAP_FEED(a)
WRAP_FEED(b)
WRAP_FEED(c)

kvp_status __real_kvp_verify_finish(const struct kvp_verify *verify, uint64_t *row);
kvp_status __wrap_kvp_verify_finish(const struct kvp_verify *verify, uint64_t *row);

kvp_status __wrap_kvp_verify_finish(const struct kvp_verify *verify, uint64_t *row)
{
    work_count.products += rows * rounds;
    return __real_kvp_verify_finish(verify, row);
}

/* ---- a block of it, computed anew ---- */

kvp_status __real_kvp_recheck_new(enum kvp_matrix_type type, uint64_t block_height, uint64_t inner,
                                  uint64_t cols, double factor, struct kvp_recheck **recheck);
kvp_status __wrap_kvp_recheck_new(enum kvp_matrix_type type, uint64_t block_height, uint64_t inner,
                                  uint64_t cols, double factor, struct kvp_recheck **recheck);

kvp_status __wrap_kvp_recheck_new(enum kvp_matrix_type type, uint64_t block_height, uint64_t inner,
                                  uint64_t cols, double factor, struct kvp_recheck **recheck)
{
    block_rows = block_height;
    block_cols = cols;
    return __real_kvp_recheck_new(type, block_height, inner, cols, factor, recheck);
}

kvp_status __real_kvp_recheck_feed(struct kvp_recheck *recheck, uint64_t count, kvp_slice a,
                                   kvp_slice b);
kvp_status __wrap_kvp_recheck_feed(struct kvp_recheck *recheck, uint64_t count, kvp_slice a,
                                   kvp_slice b);

kvp_status __wrap_kvp_recheck_feed(struct kvp_recheck *recheck, uint64_t count, kvp_slice a,
                                   kvp_slice b)
{
    work_count.products += block_rows * count * block_cols;
    return __real_kvp_recheck_feed(recheck, count, a, b);
}

kvp_status __real_kvp_recheck_finish(const struct kvp_recheck *recheck, kvp_slice c, uint64_t *row,
                                     uint64_t *col);
kvp_status __wrap_kvp_recheck_finish(const struct kvp_recheck *recheck, kvp_slice c, uint64_t *row,
                                     uint64_t *col);

kvp_status __wrap_kvp_recheck_finish(const struct kvp_recheck *recheck, kvp_slice c, uint64_t *row,
                                     uint64_t *col)
{
    work_count.products += block_rows * block_cols;
    return __real_kvp_recheck_finish(recheck, c, row, col);
}
