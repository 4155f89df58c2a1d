/* SPDX-License-Identifier: Apache-2.0 */
/* The same wire as NNG: its REQ and REP sockets talk to our server and our link. */
#include "net_support.h"

#include <nng/nng.h>
#include <nng/protocol/reqrep0/rep.h>
#include <nng/protocol/reqrep0/req.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define TIMEOUT_MS 10000

static void ask(nng_socket socket, const char *text)
{
    char answer[64];
    size_t size = sizeof(answer);
    assert_int_equal(nng_send(socket, (void *)(uintptr_t)text, strlen(text), 0), 0);
    assert_int_equal(nng_recv(socket, answer, &size, 0), 0);
    assert_int_equal(size, strlen(text));
    assert_memory_equal(answer, text, size);
}

static void check_nng_client(const char *url)
{
    struct host host = {.echo = true};
    nng_socket socket;
    host_open(&host, &(struct kvp_net_server_config){.url = url});
    assert_int_equal(nng_req0_open(&socket), 0);
    assert_int_equal(nng_socket_set_ms(socket, NNG_OPT_RECVTIMEO, TIMEOUT_MS), 0);
    assert_int_equal(nng_dial(socket, kvp_net_server_url(host.server), NULL, 0), 0);
    for (unsigned round = 0; round < 20; round++) {
        ask(socket, "a request of NNG");
    }
    ask(socket, "");
    assert_int_equal(nng_close(socket), 0);
    host_close(&host);
}

static void test_a_req_socket_of_nng_is_served(void **state)
{
    char url[64];
    (void)state;
    check_nng_client("tcp://127.0.0.1:0");
    (void)snprintf(url, sizeof(url), "ipc:///tmp/kvpair-interop-%ld.sock", (long)getpid());
    check_nng_client(url);
}

/* Answers what comes, until the socket is closed. */
static void *serve(void *arg)
{
    nng_socket socket = *(nng_socket *)arg;
    nng_msg *message;
    while (nng_recvmsg(socket, &message, 0) == 0) {
        if (nng_sendmsg(socket, message, 0) != 0) {
            nng_msg_free(message);
        }
    }
    return NULL;
}

static void test_a_link_is_served_by_a_rep_socket_of_nng(void **state)
{
    (void)state;
    struct caller caller;
    nng_socket socket;
    nng_listener listener;
    pthread_t thread;
    char *url;
    assert_int_equal(nng_rep0_open(&socket), 0);
    assert_int_equal(nng_listen(socket, "tcp://127.0.0.1:0", &listener, 0), 0);
    assert_int_equal(nng_listener_get_string(listener, NNG_OPT_URL, &url), 0);
    assert_int_equal(pthread_create(&thread, NULL, serve, &socket), 0);
    caller_open(&caller, url);
    for (unsigned round = 0; round < 20; round++) {
        caller_check_echo(&caller, "answered by NNG");
    }
    caller_close(&caller);
    assert_int_equal(nng_close(socket), 0);
    pthread_join(thread, NULL);
    nng_strfree(url);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_req_socket_of_nng_is_served),
        cmocka_unit_test(test_a_link_is_served_by_a_rep_socket_of_nng),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
