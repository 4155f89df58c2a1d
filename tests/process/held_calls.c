/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Preloaded into a process: a disk that neither answers nor fails. The calls named in $HELD_CALLS
 * (fsync, fdatasync, open, read, pread, rename; separated by commas), on files below $HELD_UNDER,
 * wait while the file named by $HELD_WHILE exists.
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

#define REAL(name) (__extension__(__typeof__(&name)) dlsym(RTLD_NEXT, #name))

static bool is_named(const char *call)
{
    const char *at = getenv("HELD_CALLS");
    size_t size = strlen(call);
    while (at != NULL && *at != '\0') {
        size_t length = strcspn(at, ",");
        if (length == size && memcmp(at, call, size) == 0) {
            return true;
        }
        at += length + (at[length] == ',' ? 1 : 0);
    }
    return false;
}

static void hold(const char *call, const char *path)
{
    const char *under = getenv("HELD_UNDER"), *held = getenv("HELD_WHILE");
    if (under == NULL || held == NULL || strncmp(path, under, strlen(under)) != 0 ||
        !is_named(call)) {
        return;
    }
    while (access(held, F_OK) == 0) {
        usleep(20000);
    }
}

static void hold_fd(const char *call, int fd)
{
    char name[64], path[4096];
    (void)snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
    ssize_t size = readlink(name, path, sizeof(path) - 1);
    path[size > 0 ? size : 0] = '\0';
    hold(call, path);
}

int fsync(int fd)
{
    hold_fd("fsync", fd);
    return REAL(fsync)(fd);
}

int fdatasync(int fd)
{
    hold_fd("fdatasync", fd);
    return REAL(fdatasync)(fd);
}

ssize_t read(int fd, void *data, size_t size)
{
    hold_fd("read", fd);
    return REAL(read)(fd, data, size);
}

ssize_t pread(int fd, void *data, size_t size, off_t offset)
{
    hold_fd("pread", fd);
    return REAL(pread)(fd, data, size, offset);
}

ssize_t pread64(int fd, void *data, size_t size, off_t offset)
{
    hold_fd("pread", fd);
    return REAL(pread64)(fd, data, size, offset);
}

int rename(const char *from, const char *to)
{
    hold("rename", from);
    return REAL(rename)(from, to);
}

static int open_with(__typeof__(&open) call, const char *path, int flags, va_list args)
{
    mode_t mode = (flags & (O_CREAT | O_TMPFILE)) != 0 ? va_arg(args, mode_t) : 0;
    hold("open", path);
    return call(path, flags, mode);
}

int open(const char *path, int flags, ...)
{
    va_list args;
    va_start(args, flags);
    int fd = open_with(REAL(open), path, flags, args);
    va_end(args);
    return fd;
}

int open64(const char *path, int flags, ...)
{
    va_list args;
    va_start(args, flags);
    int fd = open_with(REAL(open64), path, flags, args);
    va_end(args);
    return fd;
}
