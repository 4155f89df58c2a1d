/* SPDX-License-Identifier: Apache-2.0 */
/* Writes every sample to a file of its name: for renewing the examples and the seed corpora. */
#include "tests/wire/samples.h"

#include <stdio.h>
#include <stdlib.h>

static int dump(const char *directory, const struct sample *sample)
{
    char path[4096];
    kvp_buf bytes = {0};
    int size = snprintf(path, sizeof(path), "%s/%s", directory, sample->name);
    FILE *file = size > 0 && (size_t)size < sizeof(path) ? fopen(path, "wb") : NULL;
    if (file == NULL) {
        perror(directory);
        return EXIT_FAILURE;
    }
    sample->build(&bytes);
    size_t written = fwrite(bytes.data, 1, bytes.size, file);
    int closed = fclose(file);
    int result = written == bytes.size && closed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
    kvp_buf_free(&bytes);
    return result;
}

int main(int argc, char **argv)
{
    int result = EXIT_SUCCESS;
    if (argc != 2) {
        fprintf(stderr, "usage: dump_samples DIRECTORY\n");
        return 2;
    }
    for (size_t i = 0; i < sample_count && result == EXIT_SUCCESS; i++) {
        result = dump(argv[1], &samples[i]);
    }
    return result;
}
