/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a worker that was killed has left behind. The shell of a handler dies with its worker; what
 * the shell has started may go on. So every handler carries a mark in its environment: the worker's
 * process number, the time when that process began, and its session. Whoever has the mark of a
 * process that is no more is ended by the next worker that starts. A process that made itself a
 * session of its own was meant to stay, and does.
 *
 * Numbers of processes are used again: a worker is known by the time of its start as well, and who
 * is to be ended is held by a pidfd from before its mark is read.
 */
#include "client/kvworker/kvworker.h"

#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <unistd.h>

#define MARK            "KVPAIR_WORKER_PROCESS="
#define ENVIRONMENT_MAX (256u * 1024u) /* bytes of it that are looked at */

/* Of a file below /proc as much as fits, ended by a zero; 0: it cannot be read. */
static size_t orphans_read(pid_t pid, const char *name, char *bytes, size_t size)
{
    char path[64];
    size_t used = 0;
    ssize_t got = 1;
    (void)snprintf(path, sizeof(path), "/proc/%ld/%s", (long)pid, name);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return 0;
    }
    while (used + 1 < size && got > 0) {
        got = read(fd, bytes + used, size - 1 - used);
        used += got > 0 ? (size_t)got : 0;
    }
    (void)close(fd);
    bytes[used] = '\0';
    return used;
}

/* When a process began, in ticks since the machine did; 0: there is none, or it has ended. */
static uint64_t orphans_start_of(pid_t pid)
{
    char text[1024];
    char state = 'X';
    unsigned long long start = 0;

    if (orphans_read(pid, "stat", text, sizeof(text)) == 0) {
        return 0;
    }
    const char *at = strrchr(text, ')'); /* the name before may have anything in it */
    if (at == NULL || sscanf(at, ") %c", &state) != 1 || state == 'Z' || state == 'X') {
        return 0;
    }
    for (unsigned field = 2; field < 22 && at != NULL; field++) {
        at = strchr(at + 1, ' ');
    }
    return at != NULL && sscanf(at, "%llu", &start) == 1 ? start : 0;
}

void kvworker_mark(char *mark, size_t size)
{
    (void)snprintf(mark, size, MARK "%ld:%" PRIu64 ":%ld", (long)getpid(),
                   orphans_start_of(getpid()), (long)getsid(0));
}

/* Does the environment say that it belongs to a worker that is gone, and to this session? */
static bool orphans_has_mark_of_dead(const char *environment, size_t size, pid_t session)
{
    const char *at = environment, *end = environment + size;
    while (at < end && strncmp(at, MARK, sizeof(MARK) - 1) != 0) {
        at += strlen(at) + 1;
    }
    long pid = 0, its_session = 0;
    unsigned long long start = 0;
    if (at >= end || sscanf(at, MARK "%ld:%llu:%ld", &pid, &start, &its_session) != 3) {
        return false;
    }
    return pid > 0 && start > 0 && its_session == session && orphans_start_of((pid_t)pid) != start;
}

static bool orphans_end(pid_t pid, char *environment)
{
    int process = pidfd_open(pid, 0);
    if (process < 0) {
        return false;
    }
    size_t size = orphans_read(pid, "environ", environment, ENVIRONMENT_MAX);
    bool ended = size > 0 && orphans_has_mark_of_dead(environment, size, getsid(pid)) &&
                 pidfd_send_signal(process, SIGKILL, NULL, 0) == 0;
    (void)close(process);
    return ended;
}

unsigned kvworker_end_orphans(void)
{
    char *environment = malloc(ENVIRONMENT_MAX);
    DIR *processes = environment != NULL ? opendir("/proc") : NULL;
    unsigned count = 0;

    for (const struct dirent *entry; processes != NULL && (entry = readdir(processes)) != NULL;) {
        if (isdigit((unsigned char)entry->d_name[0])) {
            count += orphans_end((pid_t)atol(entry->d_name), environment);
        }
    }
    if (processes != NULL) {
        (void)closedir(processes);
    }
    free(environment);
    return count;
}
