/* SPDX-License-Identifier: Apache-2.0 */
#define _POSIX_C_SOURCE 200809L
#include "port_posix.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define SCHEME       "tcp://"
#define HOST_MAX     256u
#define IDLE_WAIT_MS 5 /* as often the client looks at its deadlines, at least */

/* HOST:PORT of the URL, without the brackets of an IPv6 host. NULL: it is none. */
static const char *split_url(const char *url, char *host)
{
    const char *begin = url + strlen(SCHEME);
    if (strncmp(url, SCHEME, strlen(SCHEME)) != 0) {
        return NULL;
    }
    const char *colon = strrchr(begin, ':');
    if (colon == NULL) {
        return NULL;
    }
    size_t size = (size_t)(colon - begin);
    if (size >= 2 && begin[0] == '[' && begin[size - 1] == ']') {
        begin++;
        size -= 2;
    }
    if (size >= HOST_MAX) {
        return NULL;
    }
    memcpy(host, begin, size);
    host[size] = '\0';
    return colon + 1;
}

static bool would_block(int error)
{
    return error == EAGAIN || error == EWOULDBLOCK || error == EINTR;
}

static int connect_to(const struct addrinfo *address)
{
    int on = 1;
    int fd = socket(address->ai_family, address->ai_socktype, address->ai_protocol);
    if (fd < 0) {
        return -1;
    }
    if (fcntl(fd, F_SETFL, O_NONBLOCK) != 0 || fcntl(fd, F_SETFD, FD_CLOEXEC) != 0 ||
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) != 0 ||
        (connect(fd, address->ai_addr, address->ai_addrlen) != 0 && errno != EINPROGRESS)) {
        (void)close(fd);
        return -1;
    }
    return fd;
}

static int begin_connect(const char *url)
{
    char host[HOST_MAX];
    const char *port = split_url(url, host);
    struct addrinfo hints, *found = NULL;
    memset(&hints, 0, sizeof(hints));
    hints.ai_socktype = SOCK_STREAM;
    if (port == NULL || getaddrinfo(host, port, &hints, &found) != 0) {
        return -1;
    }
    int fd = connect_to(found);
    freeaddrinfo(found);
    return fd;
}

static int port_open(void *arg, unsigned index)
{
    struct kvmcu_posix *port = arg;
    int error = 0;
    socklen_t size = sizeof(error);
    if (port->fd < 0) {
        port->fd = begin_connect(port->urls[index]);
        if (port->fd < 0) {
            return -1;
        }
    }
    struct pollfd item = {.fd = port->fd, .events = POLLOUT};
    int ready = poll(&item, 1, 0);
    if (ready <= 0) {
        return ready == 0 || errno == EINTR ? 0 : -1;
    }
    if (getsockopt(port->fd, SOL_SOCKET, SO_ERROR, &error, &size) != 0 || error != 0) {
        return -1;
    }
    return 1;
}

static int port_send(void *arg, const void *data, size_t size)
{
    struct kvmcu_posix *port = arg;
    ssize_t count = send(port->fd, data, size, MSG_NOSIGNAL);
    return count < 0 ? (would_block(errno) ? 0 : -1) : (int)count;
}

static int port_recv(void *arg, void *data, size_t size)
{
    struct kvmcu_posix *port = arg;
    ssize_t count = recv(port->fd, data, size, 0);
    if (count < 0) {
        return would_block(errno) ? 0 : -1;
    }
    return count == 0 ? -1 : (int)count;
}

static void port_close(void *arg)
{
    struct kvmcu_posix *port = arg;
    if (port->fd >= 0) {
        (void)close(port->fd);
        port->fd = -1;
    }
}

static uint32_t port_now_ms(void *arg)
{
    struct timespec now;
    (void)arg;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint32_t)((uint64_t)now.tv_sec * 1000u + (uint64_t)now.tv_nsec / 1000000u);
}

static void port_idle(void *arg)
{
    struct kvmcu_posix *port = arg;
    struct pollfd item = {.fd = port->fd, .events = POLLIN};
    (void)poll(&item, 1, IDLE_WAIT_MS); /* without a connection, fd -1: just the time */
}

void kvmcu_posix_init(struct kvmcu_posix *port, const char *const *urls)
{
    port->urls = urls;
    port->fd = -1;
    port->transport.open = port_open;
    port->transport.send = port_send;
    port->transport.recv = port_recv;
    port->transport.close = port_close;
    port->transport.now_ms = port_now_ms;
    port->transport.idle = port_idle;
    port->transport.arg = port;
}
