/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A connection that the client gives up is aborted: lwIP forgets it at once, nothing of it waits in
 * the pools for a peer that may be gone, and no byte of it can come later.
 */
#include "port_lwip.h"

#include "kvmcu_ipv4.h"
#include "lwip/pbuf.h"
#include "lwip/sys.h"
#include "lwip/tcp.h"

#include <string.h>

enum phase {
    DOWN,
    CONNECTING,
    UP,
    ENDED, /* by the node, or by lwIP: what has come before can be read */
};

/* ---- what lwIP calls ---- */

static err_t connected(void *arg, struct tcp_pcb *pcb, err_t error)
{
    struct kvmcu_lwip *port = arg;
    (void)pcb;
    (void)error; /* always OK; a failure is an end */
    port->phase = UP;
    return ERR_OK;
}

/* Never more than TCP_WND, as the window opens only when it is read. */
static err_t received(void *arg, struct tcp_pcb *pcb, struct pbuf *data, err_t error)
{
    struct kvmcu_lwip *port = arg;
    (void)pcb;
    (void)error;
    if (data == NULL) {
        port->phase = ENDED;
    } else if (port->in == NULL) {
        port->in = data;
    } else {
        pbuf_cat(port->in, data);
    }
    return ERR_OK;
}

/* There is no such connection any more. */
static void ended(void *arg, err_t error)
{
    struct kvmcu_lwip *port = arg;
    (void)error;
    port->pcb = NULL;
    port->phase = ENDED;
}

/* ---- the transport ---- */

static void drop(struct kvmcu_lwip *port)
{
    if (port->pcb != NULL) {
        tcp_arg(port->pcb, NULL);
        tcp_recv(port->pcb, NULL);
        tcp_err(port->pcb, NULL);
        tcp_abort(port->pcb);
        port->pcb = NULL;
    }
    if (port->in != NULL) {
        (void)pbuf_free(port->in);
        port->in = NULL;
    }
    port->in_at = 0;
    port->phase = DOWN;
}

static bool begin_connect(struct kvmcu_lwip *port, const char *url)
{
    uint32_t host;
    uint16_t number;
    ip_addr_t address;
    if (!kvmcu_ipv4_read(url, &host, &number)) {
        return false;
    }
    port->pcb = tcp_new();
    if (port->pcb == NULL) {
        return false;
    }
    tcp_arg(port->pcb, port);
    tcp_recv(port->pcb, received);
    tcp_err(port->pcb, ended);
    tcp_nagle_disable(port->pcb);
    port->phase = CONNECTING;
    ip_addr_set_ip4_u32_val(address, lwip_htonl(host));
    if (tcp_connect(port->pcb, &address, number, connected) != ERR_OK) {
        drop(port);
        return false;
    }
    return true;
}

static int lwip_open(void *arg, unsigned index)
{
    struct kvmcu_lwip *port = arg;
    if (port->phase == DOWN && !begin_connect(port, port->urls[index])) {
        return -1;
    }
    if (port->phase == CONNECTING) {
        return 0;
    }
    return port->phase == UP ? 1 : -1;
}

static int lwip_send(void *arg, const void *data, size_t size)
{
    struct kvmcu_lwip *port = arg;
    if (port->phase != UP) {
        return -1;
    }
    size_t room = tcp_sndbuf(port->pcb);
    uint16_t count = (uint16_t)(size < room ? size : room);
    if (count == 0) {
        return 0;
    }
    err_t error = tcp_write(port->pcb, data, count, TCP_WRITE_FLAG_COPY);
    if (error != ERR_OK) {
        return error == ERR_MEM ? 0 : -1; /* there is room again when something is acknowledged */
    }
    (void)tcp_output(port->pcb); /* what cannot go now goes by lwIP's timers */
    return count;
}

/* Of the first piece. */
static uint16_t take(struct kvmcu_lwip *port, void *data, size_t size)
{
    struct pbuf *first = port->in;
    uint16_t left = (uint16_t)(first->len - port->in_at);
    uint16_t count = size < left ? (uint16_t)size : left;
    memcpy(data, (const uint8_t *)first->payload + port->in_at, count);
    port->in_at = (uint16_t)(port->in_at + count);
    if (port->in_at == first->len) {
        port->in = first->next;
        port->in_at = 0;
        if (port->in != NULL) {
            pbuf_ref(port->in); /* or it would go with the first */
        }
        (void)pbuf_free(first);
    }
    return count;
}

static int lwip_recv(void *arg, void *data, size_t size)
{
    struct kvmcu_lwip *port = arg;
    if (port->in == NULL) {
        return port->phase == UP ? 0 : -1;
    }
    uint16_t count = take(port, data, size);
    if (port->pcb != NULL) {
        tcp_recved(port->pcb, count);
    }
    return count;
}

static void lwip_close(void *arg)
{
    drop(arg);
}

static uint32_t lwip_now_ms(void *arg)
{
    (void)arg;
    return sys_now();
}

static void lwip_idle(void *arg)
{
    const struct kvmcu_lwip *port = arg;
    port->idle();
}

void kvmcu_lwip_init(struct kvmcu_lwip *port, const char *const *urls, void (*idle)(void))
{
    memset(port, 0, sizeof(*port));
    port->urls = urls;
    port->idle = idle;
    port->transport.open = lwip_open;
    port->transport.send = lwip_send;
    port->transport.recv = lwip_recv;
    port->transport.close = lwip_close;
    port->transport.now_ms = lwip_now_ms;
    port->transport.idle = lwip_idle;
    port->transport.arg = port;
}
