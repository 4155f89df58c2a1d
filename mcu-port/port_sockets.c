/* SPDX-License-Identifier: Apache-2.0 */
#ifdef KVMCU_LWIP
#include "lwip/sockets.h"
#define CALL(name) lwip_##name
#define SEND_FLAGS 0
#else
#define CALL(name)      name
#define SEND_FLAGS      MSG_NOSIGNAL
#define _POSIX_C_SOURCE 200809L
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>
#endif
#include "kvmcu_ipv4.h"
#include "port_sockets.h"

#include <string.h>

#define IDLE_WAIT_MS 5

static bool read_url(const char *url, struct sockaddr_in *address)
{
    uint32_t host;
    uint16_t port;
    if (!kvmcu_ipv4_read(url, &host, &port)) {
        return false;
    }
    memset(address, 0, sizeof(*address));
    address->sin_family = AF_INET;
    address->sin_port = htons(port);
    address->sin_addr.s_addr = htonl(host);
    return true;
}

static bool would_block(void)
{
    return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR;
}

static int begin_connect(const char *url)
{
    struct sockaddr_in address;
    int on = 1, fd = -1;
    if (read_url(url, &address)) {
        fd = CALL(socket)(AF_INET, SOCK_STREAM, 0);
    }
    if (fd < 0) {
        return -1;
    }
    if (CALL(fcntl)(fd, F_SETFL, O_NONBLOCK) != 0 ||
        CALL(setsockopt)(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) != 0 ||
        (CALL(connect)(fd, (const struct sockaddr *)&address, sizeof(address)) != 0 &&
         errno != EINPROGRESS)) {
        (void)CALL(close)(fd);
        return -1;
    }
    return fd;
}

/* Whether it can be written to, or read. */
static int wait_for(int fd, bool write, int wait_ms)
{
    struct pollfd item = {.fd = fd, .events = write ? POLLOUT : POLLIN};
    return CALL(poll)(&item, 1, wait_ms);
}

static int sockets_open(void *arg, unsigned index)
{
    struct kvmcu_sockets *port = arg;
    int error = 0;
    socklen_t size = sizeof(error);
    if (port->fd < 0) {
        port->fd = begin_connect(port->urls[index]);
        if (port->fd < 0) {
            return -1;
        }
    }
    int ready = wait_for(port->fd, true, 0);
    if (ready <= 0) {
        return ready == 0 || errno == EINTR ? 0 : -1;
    }
    if (CALL(getsockopt)(port->fd, SOL_SOCKET, SO_ERROR, &error, &size) != 0 || error != 0) {
        return -1;
    }
    return 1;
}

static int sockets_send(void *arg, const void *data, size_t size)
{
    struct kvmcu_sockets *port = arg;
    int count = (int)CALL(send)(port->fd, data, size, SEND_FLAGS);
    return count < 0 && would_block() ? 0 : count;
}

static int sockets_recv(void *arg, void *data, size_t size)
{
    struct kvmcu_sockets *port = arg;
    int count = (int)CALL(recv)(port->fd, data, size, 0);
    if (count < 0) {
        return would_block() ? 0 : -1;
    }
    return count == 0 ? -1 : count;
}

static void sockets_close(void *arg)
{
    struct kvmcu_sockets *port = arg;
    if (port->fd >= 0) {
        (void)CALL(close)(port->fd);
        port->fd = -1;
    }
}

static uint32_t sockets_now_ms(void *arg)
{
    return ((const struct kvmcu_sockets *)arg)->now_ms(arg);
}

static void sockets_idle(void *arg)
{
    struct kvmcu_sockets *port = arg;
    if (port->idle != NULL) {
        port->idle(arg);
    } else if (port->fd >= 0) {
        (void)wait_for(port->fd, false, IDLE_WAIT_MS);
    }
}

void kvmcu_sockets_init(struct kvmcu_sockets *port, const char *const *urls,
                        uint32_t (*now_ms)(void *arg), void (*idle)(void *arg))
{
    memset(port, 0, sizeof(*port));
    port->urls = urls;
    port->now_ms = now_ms;
    port->idle = idle;
    port->fd = -1;
    port->transport.open = sockets_open;
    port->transport.send = sockets_send;
    port->transport.recv = sockets_recv;
    port->transport.close = sockets_close;
    port->transport.now_ms = sockets_now_ms;
    port->transport.idle = sockets_idle;
    port->transport.arg = port;
}
