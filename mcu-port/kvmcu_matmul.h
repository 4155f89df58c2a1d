/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tasks of the kind "matmul" for the microcontroller's client: the product of two tiles, row by
 * row, with beats between rows, in one thread. C99, no heap, no globals. Needs the compiler's
 * arithmetic of 64-bit integers and, for tiles of floats, of doubles.
 */
#ifndef KVMCU_MATMUL_H
#define KVMCU_MATMUL_H

#include "kvmcu.h"

#ifdef __cplusplus
extern "C" {
#endif

#define KVMCU_MATMUL_KIND "matmul"

enum kvmcu_element { KVMCU_INT32 = 0, KVMCU_INT64 = 1, KVMCU_FLOAT32 = 2, KVMCU_FLOAT64 = 3 };

/* Elements are little-endian, one row after the other; they need no alignment. */
struct kvmcu_tile {
    const uint8_t *a; /* rows x inner */
    const uint8_t *b; /* inner x columns */
    uint32_t rows, inner, columns;
    uint32_t result_size; /* of rows x columns */
    uint8_t type;         /* enum kvmcu_element */
    uint8_t element_size;
};

/* Writes one row of the product to where it belongs in `result`. False: an element does not fit its
 * type, or is no finite number. */
typedef bool kvmcu_row(const struct kvmcu_tile *tile, uint32_t row, uint8_t *result);

/* False: this payload is none of a matrix task. */
bool kvmcu_tile_read(struct kvmcu_tile *tile, const uint8_t *payload, uint32_t size);

/* Integers: exact. Floats: added in rising order of the inner index, as doubles, and a float32 is
 * rounded once more at the end: the same bits as on any other machine, if the compiler contracts no
 * expressions (-ffp-contract=off, or -std=c99 with gcc). */
bool kvmcu_tile_row(const struct kvmcu_tile *tile, uint32_t row, uint8_t *result);

/*
 * Waits for one task and does it: fetches, multiplies, beats, posts until there is an answer. The
 * result goes behind the payload in the worker's workspace. `row`: another function than
 * kvmcu_tile_row(), a faster one of the chip's vendor, say; NULL: that one.
 *
 * KVMCU_OK: one task less, whoever did it. KVMCU_WORKER_REPLACED, KVMCU_WORKER_BARRED: end. Others
 * (KVMCU_NO_TASK, KVMCU_TIMEOUT, ...): once more.
 */
int kvmcu_matmul(struct kvmcu *client, kvmcu_row *row, uint16_t wait_ms, uint32_t timeout_ms);

#ifdef __cplusplus
}
#endif

#endif
