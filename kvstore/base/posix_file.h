/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Files on POSIX: reading and writing that goes on after interruptions and short counts, and what
 * becomes of errno. Internal; for the parts of kvstore that have files of their own.
 */
#ifndef KVP_POSIX_FILE_H
#define KVP_POSIX_FILE_H

#include "kvpair/kvp_base.h"

/* What a value of errno means to callers: KVP_DISK_FULL, KVP_NOT_FOUND, KVP_EXISTS, KVP_NO_MEMORY
 * and for all others KVP_IO. */
kvp_status kvp_status_of_errno(int number);

/* Writes all of the bytes at the offset, in one call if the system lets it; the position of `fd`
 * does not matter. false: errno tells why, and a part may be written. */
bool kvp_write_all(int fd, const void *data, size_t size, uint64_t offset);

/* Reads `size` bytes from the offset on, or fewer if the file ends before that; *got is how many.
 * false: errno tells why. */
bool kvp_read_all(int fd, void *data, size_t size, uint64_t offset, size_t *got);

#endif
