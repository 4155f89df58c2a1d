/* SPDX-License-Identifier: Apache-2.0 */
#include "kvstore/base/posix_file.h"

#include <errno.h>
#include <unistd.h>

kvp_status kvp_status_of_errno(int number)
{
    switch (number) {
    case ENOSPC:
    case EDQUOT:
        return KVP_DISK_FULL;
    case ENOENT:
        return KVP_NOT_FOUND;
    case EEXIST:
    case ENOTEMPTY:
        return KVP_EXISTS;
    case ENOMEM:
        return KVP_NO_MEMORY;
    default:
        return KVP_IO;
    }
}

bool kvp_write_all(int fd, const void *data, size_t size, uint64_t offset)
{
    const char *next = data;
    while (size > 0) {
        ssize_t written = pwrite(fd, next, size, (off_t)offset);
        if (written < 0 && errno == EINTR) {
            continue;
        }
        if (written <= 0) {
            errno = written == 0 ? EIO : errno;
            return false;
        }
        next += written;
        offset += (uint64_t)written;
        size -= (size_t)written;
    }
    return true;
}

bool kvp_read_all(int fd, void *data, size_t size, uint64_t offset, size_t *got)
{
    char *next = data;
    *got = 0;
    while (*got < size) {
        ssize_t part = pread(fd, next + *got, size - *got, (off_t)(offset + *got));
        if (part < 0 && errno == EINTR) {
            continue;
        }
        if (part < 0) {
            return false;
        }
        if (part == 0) {
            break;
        }
        *got += (size_t)part;
    }
    return true;
}
