/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The float64 kernel computes C in blocks of ROWS_BLOCK x COLS_BLOCK. For each, the inner dimension
 * is walked in steps of INNER_BLOCK: the operands' parts are packed (converted to float64, aligned,
 * in the order in which they are read), then small tiles of C, TILE_ROWS x TILE_COLS, stay in
 * registers while a step is added to them. This is the scheme of Goto and van de Geijn, "Anatomy of
 * High-Performance Matrix Multiplication", ACM TOMS 34(3), 2008, with every sum in rising order.
 *
 * The tile's code is compiled twice, for AVX2 and for any processor. The width of a vector does not
 * change a result: each lane is another element of C. Fused multiply-add would; the build forbids
 * it (-ffp-contract=off).
 */
#include "replication/matrix/matrix_kernel.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>

#define TILE_ROWS   4
#define LANES       4
#define TILE_COLS   (2 * LANES)
#define ROWS_BLOCK  64u /* multiples of the tile's sides */
#define COLS_BLOCK  256u
#define INNER_BLOCK 256u
#define ALIGNMENT   64u

typedef double lanes __attribute__((vector_size(LANES * sizeof(double))));

/* Packed parts of a and b, and the tiles of C. */
struct scratch {
    double *a; /* [row tile][k][TILE_ROWS] */
    double *b; /* [column tile][k][TILE_COLS] */
    double *c; /* [row tile][column tile][TILE_ROWS][TILE_COLS] */
};

/* One step's part of the product: where it begins and how much it is, in elements. */
struct part {
    uint64_t row, inner, column;
    size_t rows, depth, columns;
};

static size_t kernel_tiles(size_t count, size_t tile)
{
    return (count + tile - 1) / tile;
}

/* ---- packing ---- */

/* Elements as float64: count of them, one after the other. */
static inline void kernel_convert(enum kvp_matrix_type type, const uint8_t *from, size_t count,
                                  double *to)
{
    switch (type) {
    case KVP_INT32:
        for (size_t i = 0; i < count; i++) {
            to[i] = kvp_load_int32(from + 4 * i);
        }
        break;
    case KVP_INT64:
        for (size_t i = 0; i < count; i++) {
            to[i] = (double)kvp_load_int64(from + 8 * i);
        }
        break;
    case KVP_FLOAT32:
        for (size_t i = 0; i < count; i++) {
            to[i] = (double)kvp_load_float32(from + 4 * i);
        }
        break;
    case KVP_FLOAT64:
        memcpy(to, from, count * sizeof(*to));
        break;
    }
}

/* Elements of one row of an operand, as float64; the rest up to `room` is zeros. `lost`: what
 * scaling may have cost each, in magnitudes. */
static void load_row(const struct kvp_product *product, const uint8_t *from, size_t count,
                     size_t room, double scale, double lost, double *to)
{
    kernel_convert(product->type, from, count, to);
    for (size_t i = 0; product->scaled && i < count; i++) {
        to[i] = (product->magnitudes ? fabs(to[i]) + lost : to[i]) * scale;
    }
    memset(to + count, 0, (room - count) * sizeof(*to));
}

static void pack_a(const struct kvp_product *product, const struct part *part, double *to)
{
    double row[INNER_BLOCK];
    size_t size = kvp_matrix_element_size(product->type);
    for (size_t i = 0; i < kernel_tiles(part->rows, TILE_ROWS) * TILE_ROWS; i++) {
        uint64_t at = (part->row + i) * product->inner + part->inner;
        load_row(product, product->a + (i < part->rows ? at * size : 0),
                 i < part->rows ? part->depth : 0, part->depth, 1, 0, row);
        double *tile = to + i / TILE_ROWS * part->depth * TILE_ROWS + i % TILE_ROWS;
        for (size_t k = 0; k < part->depth; k++) {
            tile[k * TILE_ROWS] = row[k];
        }
    }
}

static void pack_b(const struct kvp_product *product, const struct part *part, double *to)
{
    double row[COLS_BLOCK];
    size_t size = kvp_matrix_element_size(product->type);
    size_t count = kernel_tiles(part->columns, TILE_COLS);
    for (size_t k = 0; k < part->depth; k++) {
        uint64_t at = (part->inner + k) * product->columns + part->column;
        load_row(product, product->b + at * size, part->columns, count * TILE_COLS, KVP_SCALE,
                 DBL_MIN / KVP_SCALE, row);
        for (size_t tile = 0; tile < count; tile++) {
            memcpy(to + (tile * part->depth + k) * TILE_COLS, row + tile * TILE_COLS,
                   TILE_COLS * sizeof(*row));
        }
    }
}

/* ---- tiles ---- */

/* c += a * b for one tile. */
static inline __attribute__((always_inline)) void add_tile(size_t depth, const double *a,
                                                           const double *b, double *c)
{
    lanes sums[TILE_ROWS][2];
    memcpy(sums, c, sizeof(sums));
    for (size_t k = 0; k < depth; k++) {
        lanes left, right;
        memcpy(&left, b + k * TILE_COLS, sizeof(left));
        memcpy(&right, b + k * TILE_COLS + LANES, sizeof(right));
        for (size_t i = 0; i < TILE_ROWS; i++) {
            sums[i][0] += a[k * TILE_ROWS + i] * left;
            sums[i][1] += a[k * TILE_ROWS + i] * right;
        }
    }
    memcpy(c, sums, sizeof(sums));
}

static inline __attribute__((always_inline)) void add_part(const struct part *part,
                                                           const struct scratch *scratch)
{
    size_t down = kernel_tiles(part->rows, TILE_ROWS),
           across = kernel_tiles(part->columns, TILE_COLS);
    for (size_t column = 0; column < across; column++) {
        for (size_t row = 0; row < down; row++) {
            add_tile(part->depth, scratch->a + row * part->depth * TILE_ROWS,
                     scratch->b + column * part->depth * TILE_COLS,
                     scratch->c + (row * across + column) * TILE_ROWS * TILE_COLS);
        }
    }
}

#if defined(__x86_64__)
__attribute__((target("avx2"))) static void add_part_avx2(const struct part *part,
                                                          const struct scratch *scratch)
{
    add_part(part, scratch);
}

static bool has_avx2(void)
{
    return __builtin_cpu_supports("avx2");
}
#else
static void add_part_avx2(const struct part *part, const struct scratch *scratch)
{
    add_part(part, scratch);
}

static bool has_avx2(void)
{
    return false;
}
#endif

static void add_part_any(const struct part *part, const struct scratch *scratch)
{
    add_part(part, scratch);
}

/* ---- the product ---- */

static kvp_status give_sums(const struct part *part, const struct scratch *scratch,
                            kvp_take_sums take, void *context)
{
    double row[COLS_BLOCK];
    size_t across = kernel_tiles(part->columns, TILE_COLS);
    kvp_status status = KVP_OK;
    for (size_t i = 0; status == KVP_OK && i < part->rows; i++) {
        for (size_t tile = 0; tile < across; tile++) {
            const double *at = scratch->c + (i / TILE_ROWS * across + tile) * TILE_ROWS * TILE_COLS;
            memcpy(row + tile * TILE_COLS, at + i % TILE_ROWS * TILE_COLS,
                   TILE_COLS * sizeof(*row));
        }
        status = take(context, part->row + i, part->column, part->columns, row);
    }
    return status;
}

static size_t kernel_least(uint64_t count, size_t most)
{
    return count < most ? (size_t)count : most;
}

static kvp_status product_block(const struct kvp_product *product, struct part *part,
                                const struct scratch *scratch, kvp_take_sums take, void *context)
{
    memset(scratch->c, 0, ROWS_BLOCK * COLS_BLOCK * sizeof(double));
    for (part->inner = 0; part->inner < product->inner; part->inner += INNER_BLOCK) {
        part->depth = kernel_least(product->inner - part->inner, INNER_BLOCK);
        pack_a(product, part, scratch->a);
        pack_b(product, part, scratch->b);
        (has_avx2() ? add_part_avx2 : add_part_any)(part, scratch);
    }
    return give_sums(part, scratch, take, context);
}

kvp_status kvp_product_double(const struct kvp_product *product, kvp_take_sums take, void *context)
{
    const size_t a = ROWS_BLOCK * INNER_BLOCK, b = INNER_BLOCK * COLS_BLOCK,
                 c = ROWS_BLOCK * COLS_BLOCK;
    double *memory = aligned_alloc(ALIGNMENT, (a + b + c) * sizeof(double));
    if (memory == NULL) {
        return KVP_NO_MEMORY;
    }
    const struct scratch scratch = {memory, memory + a, memory + a + b};
    struct part part = {0};
    kvp_status status = KVP_OK;
    for (; status == KVP_OK && part.row < product->rows; part.row += ROWS_BLOCK) {
        part.rows = kernel_least(product->rows - part.row, ROWS_BLOCK);
        for (part.column = 0; status == KVP_OK && part.column < product->columns;
             part.column += COLS_BLOCK) {
            part.columns = kernel_least(product->columns - part.column, COLS_BLOCK);
            status = product_block(product, &part, &scratch, take, context);
        }
    }
    free(memory);
    return status;
}

/* ---- integers ---- */

static uint64_t magnitude(int64_t value)
{
    return value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
}

/* The largest row sum of |a| times the largest |b|. */
uint64_t kvp_product_bound(const struct kvp_product *product)
{
    size_t size = kvp_matrix_element_size(product->type);
    uint64_t largest_sum = 0, largest = 0, bound;
    for (uint64_t row = 0; row < product->rows; row++) {
        const uint8_t *at = product->a + row * product->inner * size;
        uint64_t sum = 0;
        for (uint64_t k = 0; k < product->inner; k++) {
            uint64_t add = magnitude(kvp_load_integer(product->type, at + k * size));
            if (__builtin_add_overflow(sum, add, &sum)) {
                return UINT64_MAX;
            }
        }
        largest_sum = sum > largest_sum ? sum : largest_sum;
    }
    for (uint64_t i = 0; i < product->inner * product->columns; i++) {
        uint64_t value = magnitude(kvp_load_integer(product->type, product->b + i * size));
        largest = value > largest ? value : largest;
    }
    return __builtin_mul_overflow(largest_sum, largest, &bound) ? UINT64_MAX : bound;
}

void kvp_product_int64(const struct kvp_product *product, uint64_t row, int64_t *sums)
{
    enum kvp_matrix_type type = product->type;
    size_t size = kvp_matrix_element_size(type);
    for (uint64_t k = 0; k < product->inner; k++) {
        int64_t left = kvp_load_integer(type, product->a + (row * product->inner + k) * size);
        const uint8_t *b = product->b + k * product->columns * size;
        if (type == KVP_INT32) {
            for (uint64_t column = 0; column < product->columns; column++) {
                sums[column] += left * kvp_load_int32(b + 4 * column);
            }
        } else {
            for (uint64_t column = 0; column < product->columns; column++) {
                sums[column] += left * kvp_load_int64(b + 8 * column);
            }
        }
    }
}

void kvp_product_wide(const struct kvp_product *product, uint64_t row, struct kvp_wide *sums)
{
    enum kvp_matrix_type type = product->type;
    size_t size = kvp_matrix_element_size(type);
    for (uint64_t k = 0; k < product->inner; k++) {
        int64_t left = kvp_load_integer(type, product->a + (row * product->inner + k) * size);
        const uint8_t *b = product->b + k * product->columns * size;
        for (uint64_t column = 0; column < product->columns; column++) {
            kvp_wide_add(&sums[column], (kvp_i128)left * kvp_load_integer(type, b + column * size));
        }
    }
}
