/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Is C the product of A and B? Two ways to find out, both in bounded steps: the matrices come in
 * blocks that the caller cuts, and no step does more than its blocks ask for.
 *
 * kvp_verify: the whole product at once, by Freivalds' method (R. Freivalds, "Probabilistic
 * machines can use less running time", IFIP 1977): for random vectors r, A(Br) = Cr is compared row
 * by row, which takes O(n^2) and memory for vectors only.
 *
 *   kvp_verify_new -> feed_b, feed_c (any mixture) -> feed_a (B must be complete) -> finish
 *
 * Of each matrix every element is fed once: blocks may come in any order, except that those of the
 * same row come from left to right without gap or overlap.
 *
 * The random numbers follow from the seed. Someone who knows it beforehand can make a wrong product
 * that passes, so choose it when all results are there.
 *
 * Integers. Both sides are compared modulo the prime p = 2^61 - 1 and modulo 2^64, with every r_j
 * uniform in [0, p). A correct product always passes. A wrong row passes a round with probability
 * 1/p < 5e-19, so one round is enough. That holds whenever the true product fits the type, for then
 * an element's error d is less than 2^64 in magnitude: if p does not divide d, then it is seen
 * modulo p; if it does, d is a multiple of p by 8 at most, and seen modulo 2^64. The exception is a
 * true product far outside int64 whose difference from C is a multiple of p and of a high power of
 * 2.
 *
 * Floats. Every r_j is -1 or +1, all sums are in float64. With u the type's unit roundoff (2^-24 or
 * 2^-53), v = 2^-53, n the inner and q the outer number of columns, row i passes if
 *
 *   |A(Br) - Cr|_i <= factor * 1.01 * ((n + 2) u + (n + 4q + 16) v) * (|A| (|B| 1))_i + tiny
 *
 * The first term bounds the errors of a correct product: each element is off by at most n u
 * (|A||B|), whatever the order of its summation, with or without fused multiply-add, in parts or at
 * once (N. Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed., 3.1: gamma_n; for n u
 * not small, C.-P. Jeannerod and S. Rump, SIAM J. Matrix Anal. Appl. 34(2), 2013). The second
 * bounds the rounding of the check itself. `tiny` covers underflow, also where it is flushed to
 * zero: n q 2^-126 for float32, n q 2^-1022 + (n + q) 2^-956 for float64. So with factor 1 a
 * correct product always passes. An element that is wrong by more than twice the bound of its row
 * is found with probability 1 - 2^-rounds at least, since for every choice of the other signs one
 * of its two fails.
 *
 * The bound is one for a whole row, and for the worst case: in float32, with 1000 columns and 1000
 * summands of size 1, it is about 60, and float64's is about 1e-6. Smaller errors stay unseen, as
 * they do in the sum of a row; kvp_recheck looks at every element. A factor below 1 (errors of
 * roundings mostly cancel out; 0.1 is still generous for random data) is sharper, but without the
 * promise to correct products.
 *
 * kvp_recheck: one block of C, computed anew. Integers are compared exactly. A float c_ij passes if
 * |c_ij - (AB)_ij| <= factor * 1.01 * ((n + 2) u + (2n + 16) v) * (|A||B|)_ij + tiny: the same
 * terms for one element; any that is wrong by more than twice that is found.
 */
#ifndef KVP_MATRIX_VERIFY_H
#define KVP_MATRIX_VERIFY_H

#include "kvpair/matrix.h"

#define KVP_VERIFY_ROUNDS_MAX 64u

/* A is rows x inner, B is inner x columns, C is rows x columns. */
struct kvp_verify_config {
    enum kvp_matrix_type type;
    uint64_t rows, inner, columns;
    unsigned rounds; /* 1..KVP_VERIFY_ROUNDS_MAX */
    uint64_t seed;
    double factor; /* of the floats' bound, above 0; 0 stands for 1 */
};

struct kvp_verify;

/* Bytes that kvp_verify_new() takes: at most (16 * rounds + 24) * (rows + inner + columns).
 * KVP_BAD_REQUEST: no such type, shape, number of rounds or factor; KVP_TOO_LARGE. */
kvp_status kvp_verify_memory(const struct kvp_verify_config *config, uint64_t *size);

/* To be freed by the caller, NULL on failure. Fails as kvp_verify_memory(), and KVP_NO_MEMORY. */
kvp_status kvp_verify_new(const struct kvp_verify_config *config, struct kvp_verify **verify);
void kvp_verify_free(struct kvp_verify *verify); /* NULL is fine */

/*
 * Feeds one block: its place in the matrix, its elements without alignment. Takes about rounds
 * multiplications an element. KVP_BAD_REQUEST: the block is empty or not inside, or `elements` has
 * another size; KVP_BAD_ARGUMENT: not this block's turn (see above). A block that is refused has
 * changed nothing.
 */
kvp_status kvp_verify_feed_b(struct kvp_verify *verify, const struct kvp_block *block,
                             kvp_slice elements);
kvp_status kvp_verify_feed_c(struct kvp_verify *verify, const struct kvp_block *block,
                             kvp_slice elements);
kvp_status kvp_verify_feed_a(struct kvp_verify *verify, const struct kvp_block *block,
                             kvp_slice elements);

/* KVP_OK: all rows pass; KVP_CORRUPT: *row (may be NULL) is the first that does not, counted from
 * 0; a NaN or an infinity in it is reason enough. KVP_BAD_ARGUMENT: something was not fed yet. */
kvp_status kvp_verify_finish(const struct kvp_verify *verify, uint64_t *row);

struct kvp_recheck;

/*
 * For a block of C of this size; `inner` is that of the whole product. `factor` as above. To be
 * freed by the caller, NULL on failure: KVP_BAD_REQUEST, KVP_TOO_LARGE, KVP_NO_MEMORY (32 bytes an
 * element for integers, 16 for floats, and what kvp_multiply() needs while it is fed).
 */
kvp_status kvp_recheck_new(enum kvp_matrix_type type, uint64_t rows, uint64_t inner,
                           uint64_t columns, double factor, struct kvp_recheck **recheck);
void kvp_recheck_free(struct kvp_recheck *recheck); /* NULL is fine */

/*
 * Feeds `count` of the inner dimension: a has rows x count elements, from the rows of A that belong
 * to the block, b has count x columns. Every part is fed once, in any order. Takes the time of
 * kvp_multiply(), twice for floats. KVP_BAD_REQUEST: a wrong size, KVP_BAD_ARGUMENT: more than
 * `inner`; both have changed nothing. After KVP_NO_MEMORY it is of no use any more.
 */
kvp_status kvp_recheck_feed(struct kvp_recheck *recheck, uint64_t count, kvp_slice a, kvp_slice b);

/* Compares with the block of C. KVP_OK; KVP_CORRUPT: *row and *column, within the block, are the
 * first wrong element's (either may be NULL); KVP_BAD_REQUEST: a wrong size; KVP_BAD_ARGUMENT: not
 * all of the inner dimension was fed. */
kvp_status kvp_recheck_finish(const struct kvp_recheck *recheck, kvp_slice c, uint64_t *row,
                              uint64_t *column);

#endif
