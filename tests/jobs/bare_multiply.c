/* SPDX-License-Identifier: Apache-2.0 */
/* bare_multiply A.npy B.npy: how many milliseconds the product takes here, in one thread, with the
 * code that workers use. What jobs are measured against. */
#include "replication/matrix/matrix_file.h"
#include "replication/matrix/matrix_multiply.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static bool load(const char *path, struct kvp_matrix *matrix)
{
    char message[256] = "";
    kvp_buf bytes = {0};
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        perror(path);
        return false;
    }
    kvp_status status = KVP_OK;
    for (size_t size = 1; size > 0 && status == KVP_OK;) {
        char part[65536];
        size = fread(part, 1, sizeof(part), file);
        status = kvp_buf_append(&bytes, part, size);
    }
    (void)fclose(file);
    if (status == KVP_OK) {
        status = kvp_npy_read(kvp_buf_slice(&bytes), SIZE_MAX, matrix, message, sizeof(message));
    }
    kvp_buf_free(&bytes);
    if (status != KVP_OK) {
        fprintf(stderr, "%s: %s %s\n", path, kvp_strerror(status), message);
    }
    return status == KVP_OK;
}

int main(int argc, char **argv)
{
    struct kvp_matrix a = {0}, b = {0}, c = {0};
    struct timespec from, to;
    if (argc != 3 || !load(argv[1], &a) || !load(argv[2], &b) ||
        kvp_matrix_new(a.type, a.rows, b.columns, &c) != KVP_OK) {
        return 1;
    }
    clock_gettime(CLOCK_MONOTONIC, &from);
    kvp_status status =
        kvp_multiply(a.type, a.rows, a.columns, b.columns, a.data.data, b.data.data, c.data.data);
    clock_gettime(CLOCK_MONOTONIC, &to);
    printf("%.3f\n",
           (double)(to.tv_sec - from.tv_sec) * 1e3 + (double)(to.tv_nsec - from.tv_nsec) / 1e6);
    kvp_matrix_free(&a);
    kvp_matrix_free(&b);
    kvp_matrix_free(&c);
    return status == KVP_OK ? 0 : 1;
}
