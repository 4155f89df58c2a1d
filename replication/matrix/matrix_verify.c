/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every pass does the same thing: rows of a block times a part of a vector, added to one number for
 * each row of the matrix. B times r gives y; C times r and A times y give the two sides, whose
 * difference alone is kept. An integer's vectors exist twice, modulo p and modulo 2^64.
 *
 * Floats: B and C are scaled by 2^-64, so that sums over a correct product cannot overflow. What
 * that costs tiny elements is a part of the bound.
 */
#include "replication/matrix/matrix_verify.h"
#include "replication/matrix/matrix_kernel.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>

#define PRIME (((uint64_t)1 << 61) - 1)
#define CHUNK 256u /* elements of a row that are looked at together */
#define LANES 8u

/* What was fed of a matrix: how many elements of every row, and how many are left. */
struct fed {
    uint64_t rows, columns;
    uint64_t *filled;
    uint64_t left;
};

/* A vector for every round, one after the other: floats, or residues modulo p and modulo 2^64. */
struct vectors {
    uint64_t size;
    double *real;
    uint64_t *prime, *power;
};

struct kvp_verify {
    struct kvp_verify_config config;
    struct fed a, b, c;
    struct vectors random, product, difference; /* r, Br, A(Br) - Cr */
    double *magnitude_b, *magnitude_ab;         /* |B|1, |A|(|B|1): floats only */
    uint64_t memory[];
};

/* ---- making one ---- */

static bool is_float(const struct kvp_verify_config *config)
{
    return kvp_matrix_type_is_float(config->type);
}

/* Words of 8 bytes behind the struct; the config is known to be sane. */
static uint64_t words(const struct kvp_verify_config *config)
{
    uint64_t filled = 2 * config->rows + config->inner;
    if (is_float(config)) {
        return config->rounds * (config->columns + config->inner + config->rows) + config->inner +
               config->rows + filled;
    }
    return config->rounds * (config->columns + 2 * config->inner + 2 * config->rows) + filled;
}

kvp_status kvp_verify_memory(const struct kvp_verify_config *config, uint64_t *size)
{
    uint64_t unused;
    const uint64_t shapes[3][2] = {{config->rows, config->inner},
                                   {config->inner, config->columns},
                                   {config->rows, config->columns}};
    if (config->rounds < 1 || config->rounds > KVP_VERIFY_ROUNDS_MAX || !isfinite(config->factor) ||
        config->factor < 0) {
        return KVP_BAD_REQUEST;
    }
    for (int i = 0; i < 3; i++) {
        kvp_status status = kvp_matrix_size(config->type, shapes[i][0], shapes[i][1], &unused);
        if (status != KVP_OK) {
            return status;
        }
    }
    const uint64_t most = PTRDIFF_MAX / (64 * KVP_VERIFY_ROUNDS_MAX);
    if (config->rows > most || config->inner > most || config->columns > most) {
        return KVP_TOO_LARGE;
    }
    *size = sizeof(struct kvp_verify) + 8 * words(config);
    return KVP_OK;
}

static uint64_t *take_words(uint64_t **at, uint64_t count)
{
    uint64_t *taken = *at;
    *at += count;
    return taken;
}

static void make_fed(struct fed *fed, uint64_t rows, uint64_t columns, uint64_t **at)
{
    fed->rows = rows;
    fed->columns = columns;
    fed->left = rows * columns;
    fed->filled = take_words(at, rows);
}

static void make_vectors(const struct kvp_verify_config *config, struct vectors *vectors,
                         uint64_t size, uint64_t **at)
{
    vectors->size = size;
    if (is_float(config)) {
        vectors->real = (double *)(void *)take_words(at, config->rounds * size);
    } else {
        vectors->prime = take_words(at, config->rounds * size);
        vectors->power = take_words(at, config->rounds * size);
    }
}

/* SplitMix64: G. Steele, D. Lea, C. Flood, "Fast splittable pseudorandom number generators",
 * OOPSLA 2014. */
static uint64_t verify_random(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

static uint64_t next_residue(uint64_t *state)
{
    uint64_t value;
    do {
        value = verify_random(state) >> 3;
    } while (value >= PRIME);
    return value;
}

static void make_random(struct kvp_verify *verify, uint64_t **at)
{
    struct vectors *random = &verify->random;
    uint64_t state = verify->config.seed, size = verify->config.columns;
    uint64_t count = verify->config.rounds * size;
    uint64_t *memory = take_words(at, count);
    random->size = size;
    if (is_float(&verify->config)) {
        random->real = (double *)(void *)memory;
        for (uint64_t i = 0; i < count; i++) {
            random->real[i] = verify_random(&state) >> 63 ? -1 : 1;
        }
        return;
    }
    random->prime = random->power = memory;
    for (uint64_t i = 0; i < count; i++) {
        memory[i] = next_residue(&state);
    }
}

kvp_status kvp_verify_new(const struct kvp_verify_config *config, struct kvp_verify **verify)
{
    uint64_t size;
    *verify = NULL;
    kvp_status status = kvp_verify_memory(config, &size);
    if (status != KVP_OK) {
        return status;
    }
    struct kvp_verify *made = calloc(1, (size_t)size);
    if (made == NULL) {
        return KVP_NO_MEMORY;
    }
    uint64_t *at = made->memory;
    made->config = *config;
    made->config.factor = config->factor > 0 ? config->factor : 1;
    make_fed(&made->a, config->rows, config->inner, &at);
    make_fed(&made->b, config->inner, config->columns, &at);
    make_fed(&made->c, config->rows, config->columns, &at);
    make_random(made, &at);
    make_vectors(config, &made->product, config->inner, &at);
    make_vectors(config, &made->difference, config->rows, &at);
    if (is_float(config)) {
        made->magnitude_b = (double *)(void *)take_words(&at, config->inner);
        made->magnitude_ab = (double *)(void *)take_words(&at, config->rows);
        for (uint64_t i = 0; i < config->inner; i++) {
            made->magnitude_b[i] = (double)config->columns * DBL_MIN; /* lost by scaling */
        }
    }
    *verify = made;
    return KVP_OK;
}

void kvp_verify_free(struct kvp_verify *verify)
{
    free(verify);
}

/* ---- integers ---- */

static uint64_t fold(kvp_u128 value)
{
    value = (value & PRIME) + (value >> 61); /* 2^61 is 1 modulo p */
    value = (value & PRIME) + (value >> 61);
    value = (value & PRIME) + (value >> 61);
    return value >= PRIME ? (uint64_t)(value - PRIME) : (uint64_t)value;
}

static uint64_t add_residues(uint64_t x, uint64_t y)
{
    return x + y >= PRIME ? x + y - PRIME : x + y;
}

static uint64_t negate_residue(uint64_t x)
{
    return x == 0 ? 0 : PRIME - x;
}

static uint64_t wide_residue(const struct kvp_wide *sum)
{
    bool negative = sum->high < 0;
    uint64_t high = fold(negative ? 0 - (kvp_u128)sum->high : (kvp_u128)sum->high);
    high = fold((kvp_u128)high * 8); /* 2^64 is 8 modulo p */
    return add_residues(fold(sum->low), negative ? negate_residue(high) : high);
}

static void add_integers(const int64_t *x, size_t count, const struct vectors *factors,
                         uint64_t from, struct vectors *sums, uint64_t to, bool subtract)
{
    const uint64_t *prime = factors->prime + from, *power = factors->power + from;
    struct kvp_wide sum = {0, 0};
    uint64_t wrapped = 0;
    for (size_t i = 0; i < count; i++) {
        kvp_wide_add(&sum, (kvp_i128)x[i] * (int64_t)prime[i]);
        wrapped += (uint64_t)x[i] * power[i];
    }
    uint64_t residue = wide_residue(&sum);
    sums->prime[to] = add_residues(sums->prime[to], subtract ? negate_residue(residue) : residue);
    sums->power[to] += subtract ? 0 - wrapped : wrapped;
}

/* ---- floats ---- */

/* Lanes of their own, so that the compiler may use vectors: the order is that of the source. */
static double dot(const double *x, const double *y, size_t count)
{
    double sums[LANES] = {0}, sum = 0;
    size_t i = 0;
    for (; i + LANES <= count; i += LANES) {
        for (size_t lane = 0; lane < LANES; lane++) {
            sums[lane] += x[i + lane] * y[i + lane];
        }
    }
    for (; i < count; i++) {
        sums[0] += x[i] * y[i];
    }
    for (size_t lane = 0; lane < LANES; lane++) {
        sum += sums[lane];
    }
    return sum;
}

/* ---- passes ---- */

/* One pass: a matrix's blocks times `factors`, added to `sums`. */
struct pass {
    struct fed *fed;
    const struct vectors *factors;
    struct vectors *sums;
    bool subtract;
    double scale; /* of the elements, floats only */
    /* Floats: |elements| times these (NULL: ones) are added to those, unless that is NULL. */
    const double *magnitude_factors;
    double *magnitude_sums;
};

static void chunk_integers(const struct kvp_verify *verify, const struct pass *pass, uint64_t row,
                           uint64_t column, const uint8_t *elements, size_t count)
{
    int64_t x[CHUNK];
    size_t size = kvp_matrix_element_size(verify->config.type);
    for (size_t i = 0; i < count; i++) {
        x[i] = kvp_load_integer(verify->config.type, elements + i * size);
    }
    for (unsigned round = 0; round < verify->config.rounds; round++) {
        add_integers(x, count, pass->factors, round * pass->factors->size + column, pass->sums,
                     round * pass->sums->size + row, pass->subtract);
    }
}

static void chunk_reals(const struct kvp_verify *verify, const struct pass *pass, uint64_t row,
                        uint64_t column, const uint8_t *elements, size_t count)
{
    double x[CHUNK], ones = 0;
    size_t size = kvp_matrix_element_size(verify->config.type);
    for (size_t i = 0; i < count; i++) {
        x[i] = kvp_load_real(verify->config.type, elements + i * size) * pass->scale;
    }
    for (unsigned round = 0; round < verify->config.rounds; round++) {
        double sum = dot(x, pass->factors->real + round * pass->factors->size + column, count);
        pass->sums->real[round * pass->sums->size + row] += pass->subtract ? -sum : sum;
    }
    if (pass->magnitude_sums == NULL) {
        return;
    }
    for (size_t i = 0; i < count; i++) {
        x[i] = fabs(x[i]);
        ones += x[i];
    }
    pass->magnitude_sums[row] +=
        pass->magnitude_factors != NULL ? dot(x, pass->magnitude_factors + column, count) : ones;
}

static kvp_status verify_check_block(const struct kvp_verify *verify, const struct fed *fed,
                                     const struct kvp_block *block, kvp_slice elements)
{
    if (block->rows == 0 || block->columns == 0 || block->rows > fed->rows ||
        block->columns > fed->columns || block->row > fed->rows - block->rows ||
        block->column > fed->columns - block->columns ||
        elements.size !=
            block->rows * block->columns * kvp_matrix_element_size(verify->config.type)) {
        return KVP_BAD_REQUEST;
    }
    for (uint64_t row = block->row; row < block->row + block->rows; row++) {
        if (fed->filled[row] != block->column) {
            return KVP_BAD_ARGUMENT;
        }
    }
    return KVP_OK;
}

static kvp_status verify_run(const struct kvp_verify *verify, const struct pass *pass,
                             const struct kvp_block *block, kvp_slice elements)
{
    kvp_status status = verify_check_block(verify, pass->fed, block, elements);
    if (status != KVP_OK) {
        return status;
    }
    size_t size = kvp_matrix_element_size(verify->config.type);
    const uint8_t *at = elements.data;
    for (uint64_t row = block->row; row < block->row + block->rows; row++) {
        for (uint64_t done = 0; done < block->columns;) {
            uint64_t left = block->columns - done;
            size_t count = left < CHUNK ? (size_t)left : CHUNK;
            (is_float(&verify->config) ? chunk_reals : chunk_integers)(
                verify, pass, row, block->column + done, at, count);
            at += count * size;
            done += count;
        }
        pass->fed->filled[row] += block->columns;
    }
    pass->fed->left -= block->rows * block->columns;
    return KVP_OK;
}

kvp_status kvp_verify_feed_b(struct kvp_verify *verify, const struct kvp_block *block,
                             kvp_slice elements)
{
    const struct pass pass = {
        .fed = &verify->b,
        .factors = &verify->random,
        .sums = &verify->product,
        .scale = KVP_SCALE,
        .magnitude_sums = verify->magnitude_b,
    };
    return verify_run(verify, &pass, block, elements);
}

kvp_status kvp_verify_feed_c(struct kvp_verify *verify, const struct kvp_block *block,
                             kvp_slice elements)
{
    const struct pass pass = {
        .fed = &verify->c,
        .factors = &verify->random,
        .sums = &verify->difference,
        .subtract = true,
        .scale = KVP_SCALE,
    };
    return verify_run(verify, &pass, block, elements);
}

kvp_status kvp_verify_feed_a(struct kvp_verify *verify, const struct kvp_block *block,
                             kvp_slice elements)
{
    const struct pass pass = {
        .fed = &verify->a,
        .factors = &verify->product,
        .sums = &verify->difference,
        .scale = 1,
        .magnitude_factors = verify->magnitude_b,
        .magnitude_sums = verify->magnitude_ab,
    };
    return verify->b.left > 0 ? KVP_BAD_ARGUMENT : verify_run(verify, &pass, block, elements);
}

/* ---- the verdict ---- */

/* The largest difference that a correct row can have, scaled as B and C are: see the header. */
static double row_bound(const struct kvp_verify *verify, uint64_t row)
{
    const struct kvp_verify_config *config = &verify->config;
    double n = (double)config->inner, q = (double)config->columns;
    bool is_single = config->type == KVP_FLOAT32;
    double u = is_single ? 0x1p-24 : 0x1p-53;
    double relative = 1.01 * ((n + 2) * u + (n + 4 * q + 16) * 0x1p-53);
    double tiny = n * q * KVP_SCALE * (is_single ? (double)FLT_MIN : DBL_MIN);
    return config->factor * relative * verify->magnitude_ab[row] + tiny + 4 * (n + q) * DBL_MIN;
}

static bool row_passes(const struct kvp_verify *verify, uint64_t row)
{
    const struct vectors *difference = &verify->difference;
    double bound = is_float(&verify->config) ? row_bound(verify, row) : 0;
    for (unsigned round = 0; round < verify->config.rounds; round++) {
        uint64_t at = round * difference->size + row;
        if (is_float(&verify->config) ? !isfinite(bound) || !(fabs(difference->real[at]) <= bound)
                                      : difference->prime[at] != 0 || difference->power[at] != 0) {
            return false;
        }
    }
    return true;
}

kvp_status kvp_verify_finish(const struct kvp_verify *verify, uint64_t *row)
{
    if (verify->a.left > 0 || verify->b.left > 0 || verify->c.left > 0) {
        return KVP_BAD_ARGUMENT;
    }
    for (uint64_t i = 0; i < verify->config.rows; i++) {
        if (!row_passes(verify, i)) {
            if (row != NULL) {
                *row = i;
            }
            return KVP_CORRUPT;
        }
    }
    return KVP_OK;
}
