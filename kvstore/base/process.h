/* SPDX-License-Identifier: Apache-2.0 */
/* What the programs do about their descriptors first of all. */
#ifndef KVP_PROCESS_H
#define KVP_PROCESS_H

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

/* Who starts a program with one of the descriptors 0 to 2 closed would find its output in the file
 * or connection that gets the number. False: there is no /dev/null. */
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

/* The same for a tool in a pipeline: reading from or writing to what was closed fails, as if it
 * still were. (An input that is /dev/null would be taken for an empty one.) */
static inline bool kvp_process_break_standard(void)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
        int flags = fd == STDIN_FILENO ? O_WRONLY : O_RDONLY;
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", flags) != fd) {
            return false;
        }
    }
    return true;
}

/* Writing what grows over a limit (ulimit -f), and to whom reads no more, fails like any write, and
 * is told as such: it ends nobody. */
static inline void kvp_process_bear_failed_writes(void)
{
    (void)signal(SIGPIPE, SIG_IGN);
    (void)signal(SIGXFSZ, SIG_IGN);
}

/* Is what was printed on standard output there? Else says why not. */
static inline bool kvp_process_printed(const char *program)
{
    bool printed = fflush(stdout) == 0 && ferror(stdout) == 0;
    if (!printed) {
        fprintf(stderr, "%s: standard output: %s\n", program, strerror(errno));
    }
    return printed;
}

#define KVP_PROCESS_DESCRIPTORS_WANTED 1024u

/* As many connections as the system lets us have. (Who uses select(2) keeps the soft limit low; we
 * do not.) Says so if that is little: files and peers come first, and what is left is for clients.
 */
static inline void kvp_process_raise_descriptor_limit(const char *program)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) {
        return;
    }
    limit.rlim_cur = limit.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &limit); /* else it stays as it is */
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < KVP_PROCESS_DESCRIPTORS_WANTED) {
        fprintf(
            stderr,
            "%s: only %llu files and connections may be open at once (ulimit -n); at least %u are "
            "wanted\n",
            program, (unsigned long long)limit.rlim_cur, KVP_PROCESS_DESCRIPTORS_WANTED);
    }
}

#endif
