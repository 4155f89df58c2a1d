/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The built-in kind of task: the product of two tiles.
 *
 * Integers are multiplied here. So are floats, bit by bit the same on every machine, unless there
 * is something faster: OpenBLAS, one and a half to three times as fast. The reference BLAS that
 * Debian has beside it takes five times as long as the function here, so it is not used unasked.
 */
#include "client/kvworker/kvworker.h"
#include "replication/matrix/matrix_multiply.h"
#include "kvstore/keyspace.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef KVWORKER_CBLAS
#include <cblas.h>

/* Tasks are what is done in parallel. OpenBLAS has this function, others do without. */
void openblas_set_num_threads(int count) __attribute__((weak));
#endif

#define SLICE_WORK (1u << 26) /* multiplications between two looks at whether to go on */

struct product {
    enum kvp_matrix_type type;
    uint64_t rows, inner, columns;
    const uint8_t *a, *b;
    size_t size; /* of the result */
};

static bool matmul_fail(struct kvworker_result *result, const char *reason)
{
    result->outcome = KVP_OUTCOME_FAILED;
    result->bytes.size = 0;
    (void)kvp_buf_append(&result->bytes, reason, strlen(reason)); /* without memory: no reason */
    return true;
}

/* What is wrong with the head; NULL: nothing, and `product` is what it says. */
static const char *matmul_read_head(kvp_slice head, struct product *product)
{
    const uint8_t *bytes = head.data;
    if (head.size < KVP_JOB_TILE_HEADER) {
        return "the payload is shorter than its head";
    }
    if (!kvp_matrix_type_valid(kvp_get_u32(bytes))) {
        return "unknown type of elements";
    }
    product->type = (enum kvp_matrix_type)kvp_get_u32(bytes);
    product->rows = kvp_get_u32(bytes + 4);
    product->inner = kvp_get_u32(bytes + 8);
    product->columns = kvp_get_u32(bytes + 12);
    if (product->rows == 0 || product->inner == 0 || product->columns == 0) {
        return "a matrix without elements";
    }
    return NULL;
}

static const char *check_result(struct product *product)
{
    size_t element = kvp_matrix_element_size(product->type);
    if (product->rows * product->columns > KVP_JOB_BLOCK_MAX / element) {
        return "the result would be longer than 1 MiB";
    }
    product->size = (size_t)(product->rows * product->columns) * element;
    return NULL;
}

static const char *read_blocks(kvp_slice head, kvp_slice a, kvp_slice b, struct product *product)
{
    const char *wrong = matmul_read_head(head, product);
    if (wrong != NULL) {
        return wrong;
    }
    size_t element = kvp_matrix_element_size(product->type);
    if (product->rows * product->inner != a.size / element || a.size % element != 0 ||
        product->inner * product->columns != b.size / element || b.size % element != 0) {
        return "a block does not have the size that the head says";
    }
    product->a = a.data;
    product->b = b.data;
    return check_result(product);
}

/* The blocks lie behind the head, A first. */
static const char *read_payload(kvp_slice payload, struct product *product)
{
    const char *wrong = matmul_read_head(payload, product);
    if (wrong != NULL) {
        return wrong;
    }
    const uint8_t *blocks = (const uint8_t *)payload.data + KVP_JOB_TILE_HEADER;
    size_t element = kvp_matrix_element_size(product->type);
    size_t size = payload.size - KVP_JOB_TILE_HEADER;
    uint64_t a = product->rows * product->inner, b = product->inner * product->columns;
    if (a > size / element || b > size / element || (a + b) * element != size) {
        return "the payload does not have the size that its head says";
    }
    product->a = blocks;
    product->b = blocks + a * element;
    return check_result(product);
}

/* In slices, to hear when it is not wanted any more. False: interrupted. */
static bool matmul_multiply(const struct product *p, struct kvworker_slot *slot, void *c,
                            kvp_status *status)
{
    uint64_t step = SLICE_WORK / (p->inner * p->columns);
    step = step < 64 ? 64 : step;
    *status = KVP_OK;
    for (uint64_t row = 0; row < p->rows && *status == KVP_OK; row += step) {
        uint64_t end = p->rows - row < step ? p->rows : row + step;
        if (slot != NULL && row > 0) {
            atomic_store(&slot->progress, (uint32_t)(row * 1000 / p->rows));
            if (!kvworker_pause(slot, 0)) {
                return false;
            }
        }
        *status = kvp_multiply_rows(p->type, p->inner, p->columns, row, end, p->a, p->b, c);
    }
    return true;
}

#ifdef KVWORKER_CBLAS
static void call_blas(const struct product *p, const void *a, const void *b, void *c)
{
    const int m = (int)p->rows, k = (int)p->inner, n = (int)p->columns; /* in 16 MiB they fit */

    if (openblas_set_num_threads != NULL) {
        openblas_set_num_threads(1);
    }
    if (p->type == KVP_FLOAT32) {
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, m, n, k, 1, a, k, b, n, 0, c, n);
    } else {
        cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, m, n, k, 1, a, k, b, n, 0, c, n);
    }
}

/* BLAS wants aligned elements in the machine's byte order. */
static kvp_status multiply_blas(const struct product *p, void *c)
{
    size_t element = kvp_matrix_element_size(p->type);
    size_t a_size = (size_t)(p->rows * p->inner) * element;
    size_t b_size = (size_t)(p->inner * p->columns) * element;
    uint8_t *copy = aligned_alloc(64, (a_size + b_size + 64 + 63) / 64 * 64);
    if (copy == NULL) {
        return KVP_NO_MEMORY;
    }
    uint8_t *b = copy + (a_size + 63) / 64 * 64;
    memcpy(copy, p->a, a_size);
    memcpy(b, p->b, b_size);
    call_blas(p, copy, b, c);
    free(copy);
    return kvp_matrix_has_nonfinite(p->type, kvp_slice_of(c, p->size)) ? KVP_OVERFLOW : KVP_OK;
}
#endif

static bool use_blas(const struct product *p, enum kvworker_blas blas)
{
#if defined(KVWORKER_CBLAS) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    return kvp_matrix_type_is_float(p->type) &&
           (blas == KVWORKER_BLAS_ALWAYS ||
            (blas == KVWORKER_BLAS_AUTO && openblas_set_num_threads != NULL));
#else
    (void)p;
    (void)blas;
    return false;
#endif
}

static bool matmul_run(struct product product, enum kvworker_blas blas, struct kvworker_slot *slot,
                       struct kvworker_result *result)
{
    kvp_status status = KVP_OK;
    if (kvp_buf_reserve(&result->bytes, product.size) != KVP_OK) {
        return matmul_fail(result, "out of memory");
    }
    result->bytes.size = product.size;
    if (!use_blas(&product, blas)) {
        if (!matmul_multiply(&product, slot, result->bytes.data, &status)) {
            return false;
        }
    } else {
#ifdef KVWORKER_CBLAS
        status = multiply_blas(&product, result->bytes.data);
#endif
    }
    result->outcome = KVP_OUTCOME_RESULT;
    if (status == KVP_OVERFLOW) {
        result->outcome = KVP_OUTCOME_OVERFLOW;
        result->bytes.size = 0;
    } else if (status != KVP_OK) {
        return matmul_fail(result, kvp_strerror(status));
    }
    return true;
}

bool kvworker_matmul(kvp_slice payload, enum kvworker_blas blas, struct kvworker_slot *slot,
                     struct kvworker_result *result)
{
    struct product product;
    const char *wrong = read_payload(payload, &product);
    return wrong != NULL ? matmul_fail(result, wrong) : matmul_run(product, blas, slot, result);
}

bool kvworker_matmul_blocks(kvp_slice header, kvp_slice a, kvp_slice b, enum kvworker_blas blas,
                            struct kvworker_slot *slot, struct kvworker_result *result)
{
    struct product product;
    const char *wrong = read_blocks(header, a, b, &product);
    return wrong != NULL ? matmul_fail(result, wrong) : matmul_run(product, blas, slot, result);
}
