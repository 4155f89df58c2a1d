/* SPDX-License-Identifier: Apache-2.0 */
/* What the programs do about their descriptors first of all. */
#ifndef KVP_PROCESS_H
#define KVP_PROCESS_H

#include <fcntl.h>
#include <stdbool.h>
#include <sys/resource.h>
#include <unistd.h>

/* Who starts a program with one of the descriptors 0 to 2 closed would find its output in the file or
 * connection that gets the number. False: there is no /dev/null. */
static inline bool kvp_process_fill_standard(void)
{
    int fd;
    do {
        fd = open("/dev/null", O_RDWR);
    } while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd >= 0) {
        (void)close(fd);
    }
    return fd >= 0;
}

#endif
