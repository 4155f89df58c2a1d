/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes as a matrix file. The first byte selects the format and, for text, the type wanted.
 * What is read fits the limit, is finite, and is read again from what a writer makes of it.
 */
#include "tests/fuzz/fuzz.h"
#include "replication/matrix/matrix_file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SIZE_MAX_READ 65536u

static void must(bool condition, const char *what)
{
    if (!condition) {
        fprintf(stderr, "%s\n", what);
        abort();
    }
}

static kvp_status read_matrix(unsigned format, int wanted, kvp_slice file,
                              struct kvp_matrix *matrix, char *message, size_t size)
{
    switch (format) {
    case 0:
        return kvp_npy_read(file, SIZE_MAX_READ, matrix, message, size);
    case 1:
        return kvp_csv_read(file, wanted, SIZE_MAX_READ, matrix, message, size);
    default:
        return kvp_market_read(file, wanted, SIZE_MAX_READ, matrix, message, size);
    }
}

static void same(const struct kvp_matrix *matrix, kvp_status status, struct kvp_matrix *again)
{
    must(status == KVP_OK && again->type == matrix->type && again->rows == matrix->rows &&
             again->columns == matrix->columns &&
             memcmp(again->data.data, matrix->data.data, matrix->data.size) == 0,
         "what was written is not what is read");
    kvp_matrix_free(again);
}

static void write_and_read(const struct kvp_matrix *matrix)
{
    kvp_buf file = {0};
    struct kvp_matrix again;
    must(kvp_npy_write(matrix, &file) == KVP_OK, "npy");
    same(matrix, kvp_npy_read(kvp_buf_slice(&file), SIZE_MAX_READ, &again, NULL, 0), &again);
    file.size = 0;
    must(kvp_csv_write(matrix, &file) == KVP_OK, "csv");
    same(matrix,
         kvp_csv_read(kvp_buf_slice(&file), (int)matrix->type, SIZE_MAX_READ, &again, NULL, 0),
         &again);
    kvp_buf_free(&file);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char message[64];
    struct kvp_matrix matrix;
    if (size == 0) {
        return 0;
    }
    memset(message, 'x', sizeof(message));
    int wanted = data[0] / 3 % 5 - 1;
    kvp_status status = read_matrix(data[0] % 3, wanted, kvp_slice_of(data + 1, size - 1), &matrix,
                                    message, sizeof(message));
    if (status != KVP_OK) {
        must(matrix.data.data == NULL, "a refused file has a matrix");
        must(memchr(message, '\0', sizeof(message)) != NULL, "no message");
        return 0;
    }
    must(matrix.data.size <= SIZE_MAX_READ, "over the limit");
    must(!kvp_matrix_has_nonfinite(matrix.type, kvp_buf_slice(&matrix.data)), "not finite");
    write_and_read(&matrix);
    kvp_matrix_free(&matrix);
    return 0;
}
