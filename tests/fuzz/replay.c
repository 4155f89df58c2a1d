/* SPDX-License-Identifier: Apache-2.0 */
/* Runs a fuzz target with every file of the directories named: the seed corpus, or a finding. */
#include "tests/fuzz/fuzz.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define INPUT_SIZE_MAX (16u * 1024u * 1024u)

/* The bytes are in memory of exactly their size: the sanitizers see one too many. */
static int run_file(const char *path, size_t size)
{
    int result = -1;
    uint8_t *bytes = malloc(size > 0 ? size : 1);
    FILE *file = fopen(path, "rb");
    if (bytes != NULL && file != NULL && fread(bytes, 1, size, file) == size) {
        result = LLVMFuzzerTestOneInput(bytes, size);
    } else {
        fprintf(stderr, "%s: %s\n", path, strerror(errno));
    }
    if (file != NULL) {
        (void)fclose(file);
    }
    free(bytes);
    return result;
}

static int run_path(const char *path, unsigned *count)
{
    struct stat info;
    if (stat(path, &info) != 0) {
        perror(path);
        return -1;
    }
    if (!S_ISREG(info.st_mode)) {
        return 0;
    }
    if (info.st_size < 0 || (uint64_t)info.st_size > INPUT_SIZE_MAX) {
        fprintf(stderr, "%s: too large\n", path);
        return -1;
    }
    (*count)++;
    return run_file(path, (size_t)info.st_size);
}

static int run_directory(const char *directory, unsigned *count)
{
    char path[4096];
    int result = 0;
    struct dirent *item;
    DIR *stream = opendir(directory);
    if (stream == NULL) {
        perror(directory);
        return -1;
    }
    while (result == 0 && (item = readdir(stream)) != NULL) {
        int size = snprintf(path, sizeof(path), "%s/%s", directory, item->d_name);
        result = size > 0 && (size_t)size < sizeof(path) ? run_path(path, count) : -1;
    }
    (void)closedir(stream);
    return result;
}

int main(int argc, char **argv)
{
    unsigned count = 0;
    if (argc < 2) {
        fprintf(stderr, "usage: %s DIRECTORY...\n", argv[0]);
        return 2;
    }
    for (int i = 1; i < argc; i++) {
        if (run_directory(argv[i], &count) != 0) {
            return EXIT_FAILURE;
        }
    }
    printf("%u inputs\n", count);
    return count > 0 ? EXIT_SUCCESS : EXIT_FAILURE; /* no corpus: nothing was tested */
}
