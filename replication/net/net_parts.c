/* SPDX-License-Identifier: Apache-2.0 */
#include "replication/net/net_parts.h"

#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

int net_start_thread(pthread_t *thread, void *(*run)(void *arg), void *arg)
{
    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    int error = pthread_sigmask(SIG_SETMASK, &all, &before);
    if (error == 0) {
        error = pthread_create(thread, NULL, run, arg);
        (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    }
    return error;
}

void net_wake(int wake_fd)
{
    const uint64_t one = 1;
    ssize_t written = write(wake_fd, &one, sizeof(one));
    (void)written; /* fails only when the counter is full, and then it is awake */
}

void net_take_wake(int wake_fd)
{
    uint64_t count;
    ssize_t got = read(wake_fd, &count, sizeof(count));
    (void)got; /* nothing to take is fine */
}

void net_close_fd(int fd)
{
    if (fd >= 0) {
        (void)close(fd);
    }
}

void net_break_off(const struct sp_stream *stream)
{
    (void)shutdown(stream->fd, SHUT_RDWR);
}

size_t net_or_default(size_t value, size_t otherwise)
{
    return value != 0 ? value : otherwise;
}
