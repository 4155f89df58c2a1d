/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Files that people name: values and matrices in, results out.
 *
 * A result is written beside the file it is for and takes its name when it is whole, so that what
 * was there is lost only for something better. Devices, fifos and such are written to as they are.
 * Nothing is removed that was not made here.
 */
#include "client/kvcli/kvcli.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- reading ---- */

static void (*before_input)(void *arg);
static void *before_input_arg;

void kvcli_before_input(void (*call)(void *arg), void *arg)
{
    before_input = call;
    before_input_arg = arg;
}

static ssize_t files_read_input(void *cookie, char *bytes, size_t size)
{
    (void)cookie;
    if (before_input != NULL) {
        before_input(before_input_arg);
    }
    return kvcli_read_input(bytes, size);
}

static int files_seek_input(void *cookie, off64_t *place, int whence)
{
    (void)cookie;
    *place = lseek(STDIN_FILENO, *place, whence);
    return *place < 0 ? -1 : 0;
}

FILE *kvcli_input(void)
{
    static FILE *input; /* as long as the program runs: it may have read ahead */

    if (input == NULL) {
        const cookie_io_functions_t calls = {.read = files_read_input, .seek = files_seek_input};
        input = fopencookie(NULL, "r", calls);
    }
    return input != NULL ? input : stdin;
}

static bool read_stream(FILE *file, const char *name, size_t size_max, kvp_buf *content)
{
    uint8_t bytes[65536];
    for (;;) {
        size_t got = fread(bytes, 1, sizeof(bytes), file);
        if (content->size + got > size_max) {
            (void)kvcli_complain("%s: longer than %zu bytes", name, size_max);
            return false;
        }
        if (kvp_buf_append(content, bytes, got) != KVP_OK) {
            (void)kvcli_complain("out of memory");
            return false;
        }
        if (got < sizeof(bytes)) { /* not once more: a terminal would want a second Ctrl-D */
            break;
        }
    }
    if (ferror(file)) {
        (void)kvcli_complain("%s: %s", name, strerror(errno));
        return false;
    }
    return true;
}

bool kvcli_read_file(const char *name, size_t size_max, kvp_buf *content)
{
    if (strcmp(name, "-") == 0) {
        bool done = read_stream(kvcli_input(), "standard input", size_max, content);
        clearerr(kvcli_input()); /* at the prompt there is more to come */
        return done;
    }
    FILE *file = fopen(name, "rb");
    if (file == NULL) {
        (void)kvcli_complain("%s: %s", name, strerror(errno));
        return false;
    }
    bool done = read_stream(file, name, size_max, content);
    fclose(file);
    return done;
}

kvp_status kvcli_read_line(FILE *file, kvp_buf *line)
{
    int byte;
    line->size = 0;
    while ((byte = getc_unlocked(file)) != EOF && byte != '\n') {
        uint8_t one = (uint8_t)byte;
        if (line->size == KVCLI_LINE_MAX) {
            return KVP_TOO_LARGE;
        }
        if (kvp_buf_append(line, &one, 1) != KVP_OK) {
            return KVP_NO_MEMORY;
        }
    }
    return byte == EOF && (line->size == 0 || ferror(file)) ? KVP_NOT_FOUND : KVP_OK;
}

/* ---- writing ---- */

static bool files_write_all(int fd, kvp_slice bytes)
{
    const char *next = bytes.data;
    for (size_t left = bytes.size; left > 0;) {
        ssize_t written = write(fd, next, left);
        if (written < 0 && errno != EINTR) {
            return false;
        }
        next += written > 0 ? written : 0;
        left -= written > 0 ? (size_t)written : 0;
    }
    return true;
}

/* Closes it; returns 0 or the errno of what failed. */
static int write_and_close(int fd, kvp_slice bytes, bool sync)
{
    int error = files_write_all(fd, bytes) && (!sync || fsync(fd) == 0) ? 0 : errno;
    return close(fd) != 0 && error == 0 ? errno : error;
}

static int write_in_place(const char *name, kvp_slice bytes)
{
    int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    return fd < 0 ? errno : write_and_close(fd, bytes, false);
}

/* As if the file had been made by open(), or had been written to. */
static void files_take_after(int fd, const struct stat *before)
{
    mode_t mask = umask(0);
    (void)umask(mask);
    if (before != NULL) {
        (void)!fchown(fd, before->st_uid, before->st_gid); /* where we may */
    }
    (void)fchmod(fd, before != NULL ? before->st_mode & 07777 : 0666 & ~mask);
}

/* Returns 0 or an errno. `before`: what is there now; NULL: nothing. */
static int write_beside(const char *name, const struct stat *before, kvp_slice bytes)
{
    char beside[PATH_MAX];
    int printed = snprintf(beside, sizeof(beside), "%s.XXXXXX", name);
    if (printed < 0 || (size_t)printed >= sizeof(beside)) {
        return ENAMETOOLONG;
    }
    int fd = mkostemp(beside, O_CLOEXEC);
    if (fd < 0) {
        /* A file may be writable in a directory that is not, and its name nearly as long as may be.
         */
        return before != NULL && errno != ENOSPC ? write_in_place(name, bytes) : errno;
    }
    files_take_after(fd, before);
    int error = write_and_close(fd, bytes, true);
    if (error == 0 && rename(beside, name) != 0) {
        error = errno;
    }
    if (error != 0) {
        (void)unlink(beside);
    }
    return error;
}

/* /dev/stdout and the like lead to a file that is open already, and that others may be writing to:
 * it is written on, not replaced. -1: it is no such name, or nothing is open there. */
static int own_descriptor(const char *name)
{
    static const char directory[] = "/dev/fd/";
    int number = -1;
    if (strcmp(name, "/dev/stdout") == 0) {
        number = STDOUT_FILENO;
    } else if (strcmp(name, "/dev/stderr") == 0) {
        number = STDERR_FILENO;
    } else if (strncmp(name, directory, sizeof(directory) - 1) == 0) {
        uint64_t value;
        bool is_number = kvcli_parse_number(name + sizeof(directory) - 1, INT_MAX, &value);
        number = is_number ? (int)value : -1;
    }
    return number < 0 ? -1 : dup(number);
}

int kvcli_write_file(const char *name, kvp_slice bytes)
{
    struct stat about, link;
    int own = own_descriptor(name);
    bool there = stat(name, &about) == 0;
    bool dangling = !there && lstat(name, &link) == 0;  /* then what it points to is made */
    char *target = there ? realpath(name, NULL) : NULL; /* a link stays one */
    int error;

    if (own >= 0) {
        error = write_and_close(own, bytes, false);
    } else if (dangling || (there && (!S_ISREG(about.st_mode) || target == NULL))) {
        error = write_in_place(name, bytes);
    } else {
        error = write_beside(there ? target : name, there ? &about : NULL, bytes);
    }
    free(target);
    if (error != 0) {
        (void)kvcli_complain("%s: %s", name, strerror(error));
        return EXIT_NOTHING;
    }
    return EXIT_DONE;
}
