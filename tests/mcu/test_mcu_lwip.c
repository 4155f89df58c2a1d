/* SPDX-License-Identifier: Apache-2.0 */
/* The port to lwIP's raw interface, on a lwIP of this file that counts what it gives and gets back.
 */
#include "mcu-port/port_lwip.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lwip/pbuf.h"
#include "lwip/sys.h"
#include "lwip/tcp.h"

#define ROOM  1072u
#define BYTES 20000u

static struct {
    struct tcp_pcb pcb; /* there is only one */
    bool used;
    void *arg;
    tcp_recv_fn recv;
    tcp_err_fn err;
    tcp_connected_fn connected;
    uint32_t host;
    uint16_t port;
    err_t connect_error, write_error;
    uint8_t sent[ROOM];
    size_t sent_size, read_size;
    unsigned aborts, outputs, pieces;
} lwip;

static const char *const urls[] = {"tcp://10.0.0.1:7000", "tcp://10.0.0.2:7001", "tcp://node:7000"};
static struct kvmcu_lwip port;
static unsigned idles;

/* ---- lwIP ---- */

struct tcp_pcb *tcp_new(void)
{
    if (lwip.used) {
        return NULL;
    }
    lwip.used = true;
    memset(&lwip.pcb, 0, sizeof(lwip.pcb));
    lwip.pcb.snd_buf = ROOM;
    return &lwip.pcb;
}

void tcp_arg(struct tcp_pcb *pcb, void *arg)
{
    assert_true(lwip.used && pcb == &lwip.pcb);
    lwip.arg = arg;
}

void tcp_recv(struct tcp_pcb *pcb, tcp_recv_fn recv)
{
    assert_true(lwip.used && pcb == &lwip.pcb);
    lwip.recv = recv;
}

void tcp_err(struct tcp_pcb *pcb, tcp_err_fn err)
{
    assert_true(lwip.used && pcb == &lwip.pcb);
    lwip.err = err;
}

err_t tcp_connect(struct tcp_pcb *pcb, const ip_addr_t *address, u16_t number,
                  tcp_connected_fn connected)
{
    assert_true(lwip.used && pcb == &lwip.pcb);
    lwip.host = lwip_htonl(ip_2_ip4(address)->addr);
    lwip.port = number;
    lwip.connected = connected;
    return lwip.connect_error;
}

void tcp_abort(struct tcp_pcb *pcb)
{
    assert_true(lwip.used && pcb == &lwip.pcb);
    assert_null(lwip.err); /* it would be called */
    lwip.used = false;
    lwip.aborts++;
}

err_t tcp_write(struct tcp_pcb *pcb, const void *data, u16_t size, u8_t flags)
{
    assert_true(lwip.used && size > 0 && size <= pcb->snd_buf && flags == TCP_WRITE_FLAG_COPY);
    if (lwip.write_error == ERR_OK) {
        memcpy(lwip.sent + lwip.sent_size, data, size);
        lwip.sent_size += size;
        pcb->snd_buf = (tcpwnd_size_t)(pcb->snd_buf - size);
    }
    return lwip.write_error;
}

err_t tcp_output(struct tcp_pcb *pcb)
{
    assert_true(lwip.used && pcb == &lwip.pcb);
    lwip.outputs++;
    return ERR_MEM; /* for once: its timers will see to it */
}

void tcp_recved(struct tcp_pcb *pcb, u16_t size)
{
    assert_true(lwip.used && pcb == &lwip.pcb);
    lwip.read_size += size;
}

u8_t pbuf_free(struct pbuf *piece)
{
    u8_t count = 0;
    while (piece != NULL) {
        assert_true(piece->ref > 0);
        piece->ref--;
        if (piece->ref > 0) {
            break;
        }
        struct pbuf *next = piece->next;
        free(piece->payload);
        free(piece);
        lwip.pieces--;
        count++;
        piece = next;
    }
    return count;
}

void pbuf_ref(struct pbuf *piece)
{
    piece->ref++;
}

void pbuf_cat(struct pbuf *head, struct pbuf *tail)
{
    while (head->next != NULL) {
        head->tot_len = (u16_t)(head->tot_len + tail->tot_len);
        head = head->next;
    }
    head->tot_len = (u16_t)(head->tot_len + tail->tot_len);
    head->next = tail;
}

u32_t lwip_htonl(u32_t number)
{
    return number << 24 | (number & 0xff00u) << 8 | (number >> 8 & 0xff00u) | number >> 24;
}

u32_t sys_now(void)
{
    return 42;
}

/* ---- what happens ---- */

static void idle(void)
{
    idles++;
}

static int setup(void **state)
{
    (void)state;
    memset(&lwip, 0, sizeof(lwip));
    idles = 0;
    kvmcu_lwip_init(&port, urls, idle);
    return 0;
}

/* Nothing is left with lwIP. */
static int teardown(void **state)
{
    (void)state;
    port.transport.close(&port);
    assert_false(lwip.used);
    assert_int_equal(lwip.pieces, 0);
    return 0;
}

static int open_to(unsigned index)
{
    return port.transport.open(&port, index);
}

static int read_some(void *data, size_t size)
{
    return port.transport.recv(&port, data, size);
}

static void connect_to(unsigned index)
{
    assert_int_equal(open_to(index), 0);
    assert_int_equal(lwip.connected(lwip.arg, &lwip.pcb, ERR_OK), ERR_OK);
    assert_int_equal(open_to(index), 1);
}

/* A chain of pieces of `most` bytes; the last one may be shorter. */
static void come(const uint8_t *data, size_t size, size_t most)
{
    struct pbuf *chain = NULL;
    for (size_t at = 0; at < size;) {
        struct pbuf *piece = calloc(1, sizeof(*piece));
        size_t count = most < size - at ? most : size - at;
        assert_non_null(piece);
        piece->ref = 1;
        piece->len = piece->tot_len = (u16_t)count;
        piece->payload = malloc(count); /* of its own, so that a sanitizer sees its end */
        assert_non_null(piece->payload);
        memcpy(piece->payload, data + at, count);
        lwip.pieces++;
        at += count;
        if (chain == NULL) {
            chain = piece;
        } else {
            pbuf_cat(chain, piece);
        }
    }
    assert_int_equal(lwip.recv(lwip.arg, &lwip.pcb, chain, ERR_OK), ERR_OK);
}

static void node_ends(void)
{
    assert_int_equal(lwip.recv(lwip.arg, &lwip.pcb, NULL, ERR_OK), ERR_OK);
}

static void lwip_drops(void)
{
    tcp_err_fn err = lwip.err;
    lwip.used = false;
    lwip.err = NULL;
    err(lwip.arg, ERR_RST);
}

/* ---- tests ---- */

static void test_opening(void **state)
{
    (void)state;
    assert_int_equal(open_to(1), 0);
    assert_int_equal(lwip.host, 0x0a000002);
    assert_int_equal(lwip.port, 7001);
    assert_true((lwip.pcb.flags & TF_NODELAY) != 0);
    assert_int_equal(open_to(1), 0);
    assert_int_equal(lwip.connected(lwip.arg, &lwip.pcb, ERR_OK), ERR_OK);
    assert_int_equal(open_to(1), 1);
    port.transport.close(&port);
    assert_int_equal(lwip.aborts, 1);
    assert_int_equal(open_to(0), 0); /* a new one */
    assert_int_equal(lwip.host, 0x0a000001);
}

static void test_what_cannot_be_opened_has_failed(void **state)
{
    (void)state;
    assert_int_equal(open_to(2), -1); /* a name */
    assert_false(lwip.used);
    lwip.connect_error = ERR_RTE;
    assert_int_equal(open_to(0), -1);
    assert_false(lwip.used);
    lwip.connect_error = ERR_OK;
    lwip.used = true; /* by somebody else, and there is no other one */
    assert_int_equal(open_to(0), -1);
    port.transport.close(&port);
    assert_true(lwip.used);
    lwip.used = false;
    assert_int_equal(open_to(0), 0);
    lwip_drops(); /* refused */
    assert_int_equal(open_to(0), -1);
    port.transport.close(&port);
    connect_to(0);
}

static void test_bytes_come_out_as_they_came(void **state)
{
    static uint8_t data[BYTES], got[BYTES];
    size_t in = 0, out = 0;
    (void)state;
    srand(1);
    for (size_t i = 0; i < BYTES; i++) {
        data[i] = (uint8_t)rand();
    }
    connect_to(0);
    while (out < BYTES) {
        size_t size = 1 + (size_t)rand() % 700;
        if (in < BYTES && in - out < 1500) {
            size = size < BYTES - in ? size : BYTES - in;
            come(data + in, size, 1 + (size_t)rand() % 300);
            in += size;
        }
        int count = read_some(got + out, 1 + (size_t)rand() % 600);
        assert_true(count > 0 || (count == 0 && in == out));
        out += (size_t)count;
        assert_int_equal(lwip.read_size, out); /* and so the window opens again */
    }
    assert_memory_equal(data, got, BYTES);
    assert_int_equal(read_some(got, 1), 0);
    assert_int_equal(lwip.pieces, 0);
}

static void test_close_drops_what_was_not_read(void **state)
{
    uint8_t got[10];
    (void)state;
    connect_to(0);
    come((const uint8_t *)"from before", 11, 4);
    assert_int_equal(read_some(got, 1), 1);
    port.transport.close(&port);
    assert_int_equal(lwip.pieces, 0);
    connect_to(1);
    assert_int_equal(read_some(got, sizeof(got)), 0);
    come((const uint8_t *)"new", 3, 100);
    assert_int_equal(read_some(got, sizeof(got)), 3);
    assert_memory_equal(got, "new", 3);
}

static void test_what_came_before_the_end_can_be_read(void **state)
{
    static void (*const ends[])(void) = {node_ends, lwip_drops};
    uint8_t got[10];

    (void)state;
    for (unsigned i = 0; i < 2; i++) {
        connect_to(0);
        come((const uint8_t *)"last", 4, 100);
        ends[i]();
        assert_int_equal(port.transport.send(&port, "x", 1), -1);
        assert_int_equal(read_some(got, 3), 3);
        assert_int_equal(read_some(got, 3), 1);
        assert_int_equal(read_some(got, 3), -1);
        assert_int_equal(open_to(0), -1);
        port.transport.close(&port);
        assert_int_equal(lwip.aborts, 1); /* what lwIP has dropped is not there any more */
    }
}

static void test_sending_takes_what_there_is_room_for(void **state)
{
    static uint8_t data[2 * ROOM];
    (void)state;
    for (size_t i = 0; i < sizeof(data); i++) {
        data[i] = (uint8_t)(i * 7);
    }
    connect_to(0);
    assert_int_equal(port.transport.send(&port, data, 100), 100);
    assert_int_equal(lwip.outputs, 1);
    lwip.write_error = ERR_MEM;
    assert_int_equal(port.transport.send(&port, data + 100, 100), 0);
    lwip.write_error = ERR_OK;
    assert_int_equal(port.transport.send(&port, data + 100, sizeof(data) - 100), ROOM - 100);
    assert_int_equal(port.transport.send(&port, data + ROOM, 1), 0);
    assert_int_equal(lwip.sent_size, ROOM);
    assert_memory_equal(lwip.sent, data, ROOM);
    lwip.pcb.snd_buf = 1;
    lwip.write_error = ERR_CONN;
    assert_int_equal(port.transport.send(&port, data, 1), -1);
}

static void test_time(void **state)
{
    (void)state;
    assert_int_equal(port.transport.now_ms(port.transport.arg), 42);
    port.transport.idle(port.transport.arg);
    assert_int_equal(idles, 1);
}

#define test(name) cmocka_unit_test_setup_teardown(test_##name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        test(opening),
        test(what_cannot_be_opened_has_failed),
        test(bytes_come_out_as_they_came),
        test(close_drops_what_was_not_read),
        test(what_came_before_the_end_can_be_read),
        test(sending_takes_what_there_is_room_for),
        test(time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
