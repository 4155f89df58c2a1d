/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The transport's bytes as documented, against a real NNG socket: a plain TCP client that knows
 * only docs/protocol.md gets its request through and its answer back.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/wire/samples.h"

#include <arpa/inet.h>
#include <errno.h>
#include <nng/nng.h>
#include <nng/protocol/reqrep0/rep.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

struct pair {
    nng_socket server;
    int client;
};

static int connect_to(uint16_t port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    struct timeval patience = {.tv_sec = 10};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int client = socket(AF_INET, SOCK_STREAM, 0);
    assert_true(client >= 0);
    assert_int_equal(setsockopt(client, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)), 0);
    assert_int_equal(connect(client, (const struct sockaddr *)&address, sizeof(address)), 0);
    return client;
}

static int set_up(void **state)
{
    static struct pair pair;
    nng_listener listener;
    nng_sockaddr address;
    assert_int_equal(nng_rep0_open(&pair.server), 0);
    assert_int_equal(nng_socket_set_ms(pair.server, NNG_OPT_RECVTIMEO, 10000), 0);
    assert_int_equal(nng_listen(pair.server, "tcp://127.0.0.1:0", &listener, 0), 0);
    assert_int_equal(nng_listener_get_addr(listener, NNG_OPT_LOCADDR, &address), 0);
    pair.client = connect_to(ntohs(address.s_in.sa_port));
    *state = &pair;
    return 0;
}

static int tear_down(void **state)
{
    struct pair *pair = *state;
    assert_int_equal(close(pair->client), 0);
    assert_int_equal(nng_close(pair->server), 0);
    return 0;
}

static kvp_buf sample_bytes(const char *name)
{
    kvp_buf bytes = {0};
    sample_find(name)->build(&bytes);
    return bytes;
}

static void send_sample(int client, const char *name)
{
    kvp_buf bytes = sample_bytes(name);
    assert_int_equal(send(client, bytes.data, bytes.size, 0), bytes.size);
    kvp_buf_free(&bytes);
}

static void expect_sample(int client, const char *name)
{
    uint8_t read[1024];
    kvp_buf bytes = sample_bytes(name);
    assert_true(bytes.size <= sizeof(read));
    assert_int_equal(recv(client, read, bytes.size, MSG_WAITALL), bytes.size);
    assert_memory_equal(read, bytes.data, bytes.size);
    kvp_buf_free(&bytes);
}

static void test_a_plain_tcp_client_is_answered(void **state)
{
    struct pair *pair = *state;
    void *received;
    size_t size;
    send_sample(pair->client, "sp-greeting-request");
    expect_sample(pair->client, "sp-greeting-answer");
    send_sample(pair->client, "sp-frame-request");
    assert_int_equal(nng_recv(pair->server, &received, &size, NNG_FLAG_ALLOC), 0);
    kvp_buf request = sample_bytes("hello-request");
    assert_int_equal(size, request.size);
    assert_memory_equal(received, request.data, size);
    nng_free(received, size);
    kvp_buf_free(&request);
    kvp_buf answer = sample_bytes("not-found-answer");
    assert_int_equal(nng_send(pair->server, answer.data, answer.size, 0), 0);
    expect_sample(pair->client, "sp-frame-answer");
    kvp_buf_free(&answer);
}

static void test_a_greeting_of_another_protocol_is_hung_up_on(void **state)
{
    struct pair *pair = *state;
    uint8_t byte;
    send_sample(pair->client, "sp-greeting-answer"); /* a REP has nothing to say to a REP */
    expect_sample(pair->client, "sp-greeting-answer");
    ssize_t size = recv(pair->client, &byte, 1, 0);
    assert_true(size == 0 || (size < 0 && errno == ECONNRESET));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_a_plain_tcp_client_is_answered, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_greeting_of_another_protocol_is_hung_up_on, set_up,
                                        tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
